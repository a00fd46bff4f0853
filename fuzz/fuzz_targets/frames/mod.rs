//! The body of both frame targets: a stream of the peer's in pieces, with calls of the application's in between.
//!
//! The input is one byte of settings and a list of steps: a byte that says how many bytes come next, or which call is made and,
//! in the byte after it, how much of it.

use crate::wire::{Reading, Role, Seen, join_chunks, parse_output};
use bytes::Bytes;
use std::time::Duration;
use tautline::heartbeat::HeartbeatConfig;
use tautline::ws::{CloseCode, Config, Delivery, Ending, Kind, Limits, Prepared, Replies, Text};
use tautline::{Buffers, Input, Instant, Output};

/// Small, so that short inputs meet every limit.
const LIMITS: Limits =
    Limits { message: 600, frame: 400, fragments: 5, control_rate: 1_000_000, control_burst: 1_000_000 };

struct Steps<'a>(&'a [u8]);

impl<'a> Steps<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (now, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        now
    }
}

pub fn run(role: Role, data: &[u8]) {
    let mut steps = Steps(data);
    let Some(mode) = steps.byte() else { return };
    let mut config = Config::DEFAULT;
    config.limits = LIMITS;
    config.delivery = if mode & 1 == 0 { Delivery::Messages } else { Delivery::Chunks };
    config.replies = if mode & 2 == 0 { Replies::Automatic } else { Replies::Manual };
    config.heartbeat = (mode & 4 != 0).then_some(HeartbeatConfig {
        interval: Duration::from_secs(5),
        deadline: Duration::from_secs(2),
        jitter_percent: 10,
    });
    config.idle = (mode & 8 != 0).then_some(Duration::from_secs(20));
    // With calls, what the peer said is only part of the story; without, the naive receiver tells it all.
    let calls = mode & 16 != 0;
    let pooled = mode & 32 != 0;
    let limit = if calls && mode & 64 != 0 { 700 } else { Output::LIMIT };

    let mut now = Instant::from_millis(1000);
    let mut ws = role.connect_at(config, now);
    let mut out = Output::with_limit(limit);
    let mut buffers = Buffers::new();
    let (mut received, mut wire, mut seen) = (Vec::new(), Vec::new(), Vec::<Seen>::new());
    while let Some(step) = steps.byte() {
        // Most steps receive: a long piece, a short one, one byte.
        let receive = match step {
            _ if !calls => Some(usize::from(step)),
            128.. => Some(usize::from(step - 127)),
            _ => None,
        };
        let ended = ws.is_ended();
        if let Some(n) = receive {
            let piece = steps.bytes(n);
            if !ended && !matches!(seen.last(), Some(Seen::CloseReceived(..))) {
                received.extend_from_slice(piece);
            }
            let mut piece = piece.to_vec();
            let mut input = if pooled { Input::with_buffers(&mut piece, &mut buffers) } else { Input::new(&mut piece) };
            loop {
                let one = match ws.next_event(&mut input, &mut out, now) {
                    Ok(Some(event)) => Seen::from(event),
                    Ok(None) => break,
                    Err(error) => Seen::Error(error),
                };
                assert!(!seen.last().is_some_and(Seen::is_closed), "{one:?} behind the end");
                seen.push(one);
            }
            assert!(input.is_empty());
        } else {
            let n = steps.byte().map_or(0, usize::from);
            let before = out.len();
            let outcome = match step % 16 {
                0 => ws.send_text(&"é".repeat(n), &mut out),
                1 => ws.send_binary(&vec![7; n * 3], &mut out),
                2 => ws.send_shared_text(Text::from("漢".repeat(n)), &mut out).map_err(|unsent| unsent.cause),
                3 => ws.send_shared_binary(Bytes::from(vec![9; n]), &mut out).map_err(|unsent| unsent.cause),
                4 => ws.send_prepared(&Prepared::text(&"x".repeat(n)), &mut out),
                5 => ws.begin(if n & 1 == 0 { Kind::Text } else { Kind::Binary }, steps.bytes(n), &mut out),
                6 => ws.append(steps.bytes(n), &mut out),
                7 => ws.finish(steps.bytes(n), &mut out),
                8 => ws.ping(&vec![b'p'; n], &mut out),
                9 => ws.pong(&vec![b'q'; n], &mut out),
                10 => ws.close(CloseCode::new(1000 + n as u16), &"r".repeat(n), now, &mut out),
                11 => {
                    now = now + Duration::from_millis(n as u64 * 100);
                    ws.handle_timeout(now, &mut out);
                    assert!(ws.poll_timeout().is_none_or(|due| due > now), "a deadline that does not move");
                    Ok(())
                }
                12 => {
                    out.set_blocked();
                    Ok(())
                }
                13 | 14 => {
                    let n = (n * 4).min(out.len());
                    let bytes = out.chunks().collect::<Vec<_>>().concat();
                    wire.extend_from_slice(&bytes[..n]);
                    out.advance(n);
                    Ok(())
                }
                _ => {
                    if n == 0 {
                        ws.handle_eof(now);
                    } else {
                        out = out.take_unsent();
                    }
                    Ok(())
                }
            };
            assert!(outcome.is_ok() || out.len() == before, "an error that leaves bytes");
        }
        assert!(!ws.is_ended() || ws.poll_timeout().is_none(), "a deadline of what has ended");
    }
    // The end comes once, whatever came before.
    ws.handle_eof(now);
    let mut rest = |ws: &mut tautline::ws::Connection| match ws.next_event(&mut Input::new(&mut []), &mut out, now) {
        Ok(event) => event.map(Seen::from),
        Err(error) => panic!("{error} in nothing"),
    };
    seen.extend(rest(&mut ws));
    assert!(seen.last().is_some_and(Seen::is_closed));
    assert_eq!(rest(&mut ws), None);

    wire.extend(out.chunks().collect::<Vec<_>>().concat());
    let (frames, whole) = parse_output(&wire, role).unwrap_or_else(|e| panic!("{e} in {wire:x?}"));
    assert_eq!(whole, wire.len(), "a cut frame in the output");

    let seen = join_chunks(seen);
    if !calls {
        // A last Closed that only says what this function did is no news of the peer's.
        let told: Vec<Seen> =
            seen.into_iter().filter(|seen| !matches!(seen, Seen::Closed { ending: Ending::Eof, .. })).collect();
        let mut naive = Reading::naive(&received, role, &LIMITS);
        if config.replies == Replies::Manual {
            // Nothing but the answer to a mistake is said then.
            naive.replies.retain(|frame| {
                frame.opcode() == crate::wire::CLOSE && matches!(told.iter().rev().nth(1), Some(Seen::Error(_)))
            });
        }
        assert_eq!(Reading::of(&told, &frames), naive);
    }
}
