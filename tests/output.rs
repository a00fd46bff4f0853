//! `Output` against a naive model: a queue of bytes and a limit. Any sequence of calls leaves the same bytes in the same order,
//! refuses the same, and loses nothing to a sink that takes a few bytes at a time (Q6).

mod ws_wire;

use bytes::Bytes;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::io::{Error, ErrorKind, IoSlice, Write};
use tautline::output::{BY_REFERENCE, LAST_ANSWER};
use tautline::ws::{CloseCode, Config};
use tautline::{Full, Output};
use ws_wire::*;

/// The longest pong frame: what lies beyond the limit at most, besides the last answer.
const PONG_FRAME: usize = 131;

#[derive(Clone, Debug)]
enum Call {
    Push(usize),
    Space(usize),
    Shared(usize, usize),
    Advance(usize),
    Write(usize),
    TakeUnsent,
    Clear,
    Blocked,
}

fn call() -> impl Strategy<Value = Call> {
    let size = || prop_oneof![4 => 0usize..40, 2 => 40usize..300, 1 => 300usize..40_000];
    prop_oneof![
        4 => size().prop_map(Call::Push),
        2 => size().prop_map(Call::Space),
        4 => (0usize..14, prop_oneof![4 => size(), 1 => BY_REFERENCE - 1..BY_REFERENCE + 2]).prop_map(|(head, n)| Call::Shared(head, n)),
        4 => prop_oneof![0usize..20, 0usize..500, 0usize..60_000].prop_map(Call::Advance),
        3 => (1usize..=64).prop_map(Call::Write),
        1 => Just(Call::TakeUnsent),
        1 => Just(Call::Clear),
        2 => Just(Call::Blocked),
    ]
}

/// Takes up to `n` bytes a call and `calls` calls, then blocks.
struct Sink {
    n: usize,
    calls: usize,
    taken: Vec<u8>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> std::io::Result<usize> {
        if self.calls == 0 {
            return Err(Error::from(ErrorKind::WouldBlock));
        }
        self.calls -= 1;
        let all = slices.iter().flat_map(|slice| slice.iter().copied());
        let before = self.taken.len();
        self.taken.extend(all.take(self.n));
        Ok(self.taken.len() - before)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The next `n` bytes of a sequence in which each position is told from its neighbours.
fn fresh(count: &mut usize, n: usize) -> Vec<u8> {
    let bytes = (*count..*count + n).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect();
    *count += n;
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_sequence_of_calls_equals_a_queue_of_bytes_with_a_limit(
        calls in prop::collection::vec(call(), 0..60),
        limit in prop_oneof![Just(0usize), 1usize..200, 200usize..5000, Just(60_000), Just(Output::LIMIT), Just(usize::MAX)],
    ) {
        let mut out = Output::with_limit(limit);
        let mut model: VecDeque<u8> = VecDeque::new();
        let mut count = 0;
        for call in calls {
            match call {
                Call::Push(n) => {
                    let bytes = fresh(&mut count, n);
                    let fits = model.len() + n <= limit;
                    prop_assert_eq!(out.push(&bytes), if fits { Ok(()) } else { Err(Full { limit, needed: n }) });
                    if fits {
                        model.extend(bytes);
                    }
                }
                Call::Space(n) => {
                    let bytes = fresh(&mut count, n);
                    let fits = model.len() + n <= limit;
                    prop_assert_eq!(fits, out.space(n).map(|space| space.copy_from_slice(&bytes)).is_ok());
                    if fits {
                        model.extend(bytes);
                    }
                }
                Call::Shared(head, n) => {
                    let bytes = fresh(&mut count, head + n);
                    let fits = model.len() + head + n <= limit;
                    let outcome = out.push_shared(&bytes[..head], &Bytes::copy_from_slice(&bytes[head..]));
                    prop_assert_eq!(outcome, if fits { Ok(()) } else { Err(Full { limit, needed: head + n }) });
                    if fits {
                        model.extend(bytes);
                    }
                }
                Call::Advance(n) => {
                    let n = n.min(model.len());
                    out.advance(n);
                    model.drain(..n);
                }
                Call::Write(n) => {
                    let mut sink = Sink { n, calls: 1 + n % 7, taken: Vec::new() };
                    let outcome = out.write_to(&mut sink);
                    let expected: Vec<u8> = model.drain(..sink.taken.len()).collect();
                    prop_assert_eq!(sink.taken, expected);
                    match outcome {
                        Ok(()) => prop_assert!(model.is_empty() && !out.is_blocked()),
                        Err(e) => {
                            prop_assert_eq!(e.kind(), ErrorKind::WouldBlock);
                            prop_assert!(!model.is_empty() && out.is_blocked());
                        }
                    }
                }
                Call::TakeUnsent => {
                    let taken = out.take_unsent();
                    prop_assert!(out.is_empty() && !out.is_blocked());
                    prop_assert_eq!(taken.is_blocked(), !model.is_empty());
                    // The scratch goes on to the next peer; here it is put aside and the peer's own goes on.
                    prop_assert_eq!(out.limit(), taken.limit());
                    out = taken;
                }
                Call::Clear => {
                    out.clear();
                    model.clear();
                }
                Call::Blocked => {
                    out.set_blocked();
                    prop_assert_eq!(out.is_blocked(), !model.is_empty());
                }
            }
            prop_assert_eq!(out.len(), model.len());
            prop_assert_eq!(out.is_empty(), model.is_empty());
            prop_assert_eq!(out.room(), limit - model.len());
            prop_assert!(!(out.is_blocked() && out.is_empty()));
            prop_assert!(out.chunks().all(|chunk| !chunk.is_empty()));
            let mut expected = &*model.make_contiguous();
            for chunk in out.chunks() {
                let (same, rest) = expected.split_at(chunk.len().min(expected.len()));
                prop_assert!(chunk == same, "bytes differ");
                expected = rest;
            }
        }
    }

    #[test]
    fn q06_a_sink_that_takes_n_bytes_and_then_blocks_gets_every_byte_in_order(
        n in 1usize..=64,
        calls in 1usize..4,
        payloads in prop::collection::vec((any::<bool>(), prop_oneof![0usize..300, Just(BY_REFERENCE)]), 1..12),
        role in prop::sample::select(Role::BOTH.to_vec()),
    ) {
        // Messages are sent while earlier ones are still on their way out.
        let (mut sender, mut receiver) = (role.connect(Config::DEFAULT), role.peer().connect(Config::DEFAULT));
        let (mut out, mut none) = (Output::new(), Output::new());
        let mut sink = Sink { n, calls: 0, taken: Vec::new() };
        let mut expected = Vec::new();
        for (i, (shared, len)) in payloads.into_iter().enumerate() {
            let payload = vec![i as u8; len];
            if shared {
                sender.send_shared_binary(Bytes::from(payload.clone()), &mut out).expect("room");
            } else {
                sender.send_binary(&payload, &mut out).expect("room");
            }
            expected.push(Seen::Binary(payload));
            sink.calls = calls;
            if let Err(e) = out.write_to(&mut sink) {
                prop_assert_eq!(e.kind(), ErrorKind::WouldBlock);
            }
        }
        while !out.is_empty() {
            sink.calls = calls;
            let _ = out.write_to(&mut sink);
        }
        prop_assert_eq!(feed(&mut receiver, &sink.taken, &mut none, NOW), expected);
    }

    #[test]
    fn k2_the_reserve_beyond_the_limit_is_one_pong_and_one_close_frame(
        limit in PONG_FRAME..2000,
        steps in prop::collection::vec((0usize..4, 0usize..=125), 0..80),
        role in prop::sample::select(Role::BOTH.to_vec()),
    ) {
        let mut ws = role.connect(Config::DEFAULT);
        let mut out = Output::with_limit(limit);
        let mut wire = Vec::new();
        let mut pings = 0u32;
        for (step, n) in steps {
            match step {
                0 => drop(ws.send_binary(&vec![1; n * 5], &mut out)),
                1 => {
                    pings += 1;
                    let payload = [&pings.to_be_bytes()[..], &vec![b'p'; n.min(121)]].concat();
                    feed(&mut ws, &role.frame(FIN | PING, &payload), &mut out, NOW);
                }
                2 => out.set_blocked(),
                _ => {
                    let n = n.min(out.len());
                    wire.extend(&unsent(&out)[..n]);
                    out.advance(n);
                }
            }
            prop_assert!(out.len() <= limit + PONG_FRAME, "{} over {}", out.len(), limit);
        }
        ws.close(Some(CloseCode::NORMAL), &"r".repeat(123), NOW, &mut out).expect("a Close frame always fits");
        prop_assert!(out.len() <= limit + 2 * PONG_FRAME);
        prop_assert!(PONG_FRAME <= LAST_ANSWER);
        wire.extend(unsent(&out));
        let (frames, whole) = parse_output(&wire, role).map_err(TestCaseError::fail)?;
        prop_assert_eq!(whole, wire.len());
        prop_assert_eq!(frames.last().map(Frame::opcode), Some(CLOSE));
        let pongs: Vec<u32> = frames.iter().filter(|frame| frame.opcode() == PONG)
            .map(|frame| u32::from_be_bytes([frame.payload[0], frame.payload[1], frame.payload[2], frame.payload[3]])).collect();
        // The newest ping is always answered, and none twice.
        let mut once = pongs.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), pongs.len());
        prop_assert_eq!(once.last().copied().unwrap_or(0), pings);
    }
}

/// Found by the property above: the room that was made for copies before the pong grew stayed open, and let in more than the limit.
#[test]
fn k2_a_pong_that_is_replaced_by_a_longer_one_takes_the_difference_from_the_room() {
    let ping = |n: usize| Role::Client.frame(FIN | PING, &vec![b'p'; n]);
    let mut ws = Role::Client.connect(Config::DEFAULT);
    let mut out = Output::with_limit(204);
    for waiting in [108, 85, 29] {
        feed(&mut ws, &ping(waiting), &mut out, NOW);
    }
    ws.send_binary(&[], &mut out).expect("room");
    feed(&mut ws, &ping(44), &mut out, NOW);
    assert_eq!(out.len(), 170, "a pong, a message, and the newest pong");
    let room = out.room();
    assert_eq!(out.push(&vec![0; room + 1]), Err(Full { limit: 204, needed: room + 1 }));
    out.push(&vec![0; room]).expect("room");
    assert_eq!(out.len(), 204);
}

/// Found by the same property: a pong that grew beyond the limit in the middle was half written, and the next one lay beyond the limit besides
/// its rest.
#[test]
fn k2_a_pong_that_grows_beyond_the_limit_goes_to_the_end() {
    let ping = |n: usize| Role::Server.frame(FIN | PING, &vec![b'p'; n]);
    let mut ws = Role::Server.connect(Config::DEFAULT);
    let mut out = Output::with_limit(200);
    out.push(&[1]).expect("room");
    out.set_blocked();
    feed(&mut ws, &ping(10), &mut out, NOW);
    out.push(&[2; 180]).expect("room");
    feed(&mut ws, &ping(17), &mut out, NOW);
    assert_eq!(out.len(), 200);
    assert_eq!(out.chunks().map(<[u8]>::len).collect::<Vec<_>>(), [1, 19, 180], "in its place");
    feed(&mut ws, &ping(125), &mut out, NOW);
    assert_eq!(out.chunks().map(<[u8]>::len).collect::<Vec<_>>(), [181, 127], "behind the rest");
    out.advance(1 + 180 + 1);
    feed(&mut ws, &ping(125), &mut out, NOW);
    assert_eq!(out.len(), 126 + 127);
}

#[test]
fn a_failing_sink_loses_nothing_and_an_interrupted_one_is_asked_again() {
    struct Failing(Vec<ErrorKind>);
    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            match self.0.pop() {
                Some(ErrorKind::WriteZero) => Ok(0),
                Some(kind) => Err(Error::from(kind)),
                None => Ok(bytes.len()),
            }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for kind in [ErrorKind::BrokenPipe, ErrorKind::WriteZero, ErrorKind::ConnectionReset] {
        let mut out = Output::new();
        out.push(b"abc").expect("room");
        let failed = out.write_to(&mut Failing(vec![kind])).map_err(|e| e.kind());
        assert_eq!(failed, Err(kind));
        assert_eq!(unsent(&out), b"abc");
        assert!(!out.is_blocked(), "a dead socket is not a slow one");
    }
    let mut out = Output::new();
    out.push(b"abc").expect("room");
    out.write_to(&mut Failing(vec![ErrorKind::Interrupted; 3])).expect("asked again");
    assert!(out.is_empty());
}

#[test]
fn a_scratch_goes_on_to_the_next_peer_when_one_takes_its_unsent_bytes() {
    let mut scratch = Output::new();
    scratch.push(b"for the first").expect("room");
    scratch.push_shared(b"head", &Bytes::from(vec![1; BY_REFERENCE])).expect("room");
    scratch.advance(7);
    let mut first = scratch.take_unsent();
    scratch.push(b"for the second").expect("room");
    assert_eq!(unsent(&scratch), b"for the second");
    first.push(b"more").expect("room");
    assert_eq!(unsent(&first), [&b" first"[..], b"head", &[1; BY_REFERENCE], b"more"].concat());
}

#[test]
fn a_limit_without_bound_is_a_limit() {
    let mut out = Output::with_limit(usize::MAX);
    for _ in 0..50 {
        out.push(&[1; 700]).expect("room");
        out.push_shared(b"head", &Bytes::from(vec![2; BY_REFERENCE])).expect("room");
        out.advance(9000);
    }
    assert_eq!(out.len(), 50 * (700 + 4 + BY_REFERENCE) - 50 * 9000);
}

#[test]
fn what_the_default_limits_let_in_can_be_sent_back() {
    use tautline::http::{BodyReader, Response, Server, ServerConfig};
    use tautline::{Input, ws};
    let now = tautline::Instant::ORIGIN;
    let largest = "x".repeat(ws::Limits::DEFAULT.message as usize);
    for connect in [ws::Connection::server, ws::Connection::client] {
        let mut ws = connect(std::sync::Arc::new(ws::Config::DEFAULT), [1; 16], now);
        assert_eq!(ws.send_text(&largest, &mut Output::new()), Ok(()));
        assert_eq!(ws.send_shared_binary(Bytes::from(largest.clone()), &mut Output::new()), Ok(()));
        assert_eq!(ws.send_prepared(&ws::Prepared::text(&largest), &mut Output::new()), Ok(()));
    }
    let mut http = Server::new(std::sync::Arc::new(ServerConfig::default()), now);
    let mut request = *b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut out = Output::new();
    assert!(http.next_event(&mut Input::new(&mut request), &mut out, now).unwrap().is_some());
    assert_eq!(http.respond(&Response::new(200), &vec![0; BodyReader::LIMIT as usize], &mut out), Ok(()));
}

#[test]
fn an_item_that_never_fits_is_told_from_one_that_does_not_fit_now() {
    let mut out = Output::with_limit(100);
    out.push(&[0; 60]).unwrap();
    assert!(!out.push(&[0; 60]).unwrap_err().never_fits());
    assert!(out.push(&[0; 101]).unwrap_err().never_fits());
}
