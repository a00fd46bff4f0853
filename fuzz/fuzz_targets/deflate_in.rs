//! Compressed messages to a connection: any bytes, and what a compressor makes, whole or spoilt; in fragments, cut anywhere.
//!
//! - Never a panic; nothing is held, and of no message is passed on, more than the limit.
//! - The same stream cut otherwise gives the same events, the same error and the same replies.
//! - They are those of a naive receiver that inflates each message whole, bit by bit, in the agreed window; and `zlib-rs` by itself makes
//!   the same of it.
#![no_main]

mod naive;
#[path = "../../tests/ws_wire/mod.rs"]
mod wire;

use libfuzzer_sys::fuzz_target;
use naive::inflate::{Fault, Inflater};
use naive::{RSV1, Reader, Steps, Told, accepted, sends};
use tautline::ws::{Config, Connection, Deflate, Delivery, Ending, Limits};
use tautline::{Buffers, Input, Output};
use wire::{BINARY, CONTINUATION, FIN, NOW, PING, Role, Seen, TEXT, join_chunks};

/// Small, so that short inputs meet them; the last one large enough for a message to wait for its inflater.
const MESSAGE: [u64; 4] = [64, 600, 5000, 70_000];

/// Frames of a message.
const FRAGMENTS: u32 = 3;

/// Bytes that may wait, and what they can come to (RFC 1951): such a message may be found wrong later.
const WAITING: (u64, u64) = (1024, 1032);

fuzz_target!(|data: &[u8]| deflate_in(data));

fn deflate_in(data: &[u8]) {
    let mut steps = Steps::new(data, 30_000);
    let mode = steps.byte();
    let role = Role::BOTH[usize::from(mode & 1)];
    let message = MESSAGE[usize::from(mode >> 2 & 3)];
    let config = Config {
        limits: Limits { message, frame: message, fragments: FRAGMENTS, ..Limits::DEFAULT },
        delivery: if mode & 2 == 0 { Delivery::Messages } else { Delivery::Chunks },
        ..Config::DEFAULT
    };
    let settings = steps.deflate();
    let offer = match mode >> 4 & 3 {
        0 | 1 => settings.offer(),
        2 => "permessage-deflate; client_max_window_bits=8; server_max_window_bits=9".into(),
        _ => "permessage-deflate".into(),
    };
    let deflate = accepted(&settings, &offer).expect("a good offer");
    let pooled = mode & 64 != 0;
    let cuts: Vec<usize> = (0..1 + steps.byte() % 6).map(|_| 1 + usize::from(steps.pair()) % 9000).collect();
    let end = usize::from(steps.pair());

    let frames = frames(role, &deflate, mode & 128 != 0, &mut steps);
    let wire: Vec<u8> = frames.iter().flat_map(|(first, payload)| role.frame(*first, payload)).collect();
    let receive = |wire: &[u8], cuts: &[usize]| receive(role, config, deflate, pooled, wire, cuts);

    let whole = receive(&wire, &[wire.len().max(1)]);
    assert_eq!(receive(&wire, &cuts), whole, "cut at every {cuts:?}");
    if wire.len() < 1500 {
        assert_eq!(receive(&wire, &[1]), whole, "cut everywhere");
    }
    // What came so far is told so far: no more, and nothing else.
    let part = receive(&wire[..end.min(wire.len())], &cuts);
    assert!(whole.0.starts_with(&part.0), "{:?} at first, {:?} then", part.0, whole.0);

    let (told, failed) = naive(&frames, role, &deflate, &config.limits);
    let ours: Vec<Told> = whole.0.iter().filter_map(told_of).collect();
    let error = whole.0.iter().find_map(|seen| match seen {
        Seen::Error(error) => Some(error.close_code().as_u16()),
        _ => None,
    });
    // A few bits may be enough to tell that a message is wrong, before something that stands between its fragments; nothing else is less.
    let sooner = told.starts_with(&ours) && told[ours.len()..].iter().all(|told| matches!(told, Told::Ping(_)));
    match failed {
        Some(Code::Unclear) => {
            assert!(ours.starts_with(&told) || sooner && error == Some(1007), "{ours:?} for {told:?}")
        }
        Some(Code::Sure(code)) => assert_eq!((&ours, error), (&told, Some(code))),
        Some(Code::OrSooner(code)) => {
            assert!(sooner && error == Some(1007) || (&ours, error) == (&told, Some(code)), "{ours:?} for {told:?}");
        }
        None => assert_eq!((&ours, error), (&told, None)),
    }
}

/// The peer's frames.
fn frames(role: Role, deflate: &Deflate, honest: bool, steps: &mut Steps<'_>) -> Vec<(u8, Vec<u8>)> {
    let (window, kept) = sends(deflate, role.peer());
    // Whoever does not keep to the window is to be found out.
    let bits = if honest { window.ilog2().max(9) } else { 15 };
    let mut compressor = zlib_rs::Deflate::new(1 + i32::from(steps.byte() % 9), false, bits as u8);
    let mut frames = Vec::new();
    while let (Some(how), true) = (steps.next(), frames.len() < 30) {
        let opcode = if how & 1 == 0 { TEXT } else { BINARY };
        let content = if how & 64 == 0 { steps.content() } else { steps.text().into_bytes() };
        let (first, payload) = match how >> 1 & 3 {
            0 => (RSV1 | opcode, content),
            1 => (RSV1 | opcode, compress(&mut compressor, &content, how & 8 != 0)),
            2 => {
                let mut payload = compress(&mut compressor, &content, how & 8 != 0);
                let at = usize::from(steps.pair());
                if let Some(byte) = payload.get_mut(at) {
                    *byte ^= steps.byte();
                } else {
                    payload.extend_from_slice(steps.bytes(at & 15));
                }
                (RSV1 | opcode, payload)
            }
            _ => (opcode, content),
        };
        // Nor does that one forget what it has to.
        if !kept && (honest || how & 64 == 0) {
            compressor.reset();
        }
        let mut rest = &payload[..];
        let mut first = first;
        for _ in 0..how >> 4 & 3 {
            // Fragments of one byte, of none, and of about half.
            let at = match steps.byte() {
                few @ 0..=15 => usize::from(few >> 3),
                share => rest.len() * usize::from(share) / 256,
            };
            let (now, behind) = rest.split_at(at.min(rest.len()));
            frames.push((first, now.to_vec()));
            // Only a message's first frame says that it is compressed.
            let marked = if at == 13 { RSV1 } else { 0 };
            if how & 128 != 0 {
                frames.push((FIN | marked | PING, vec![how; at % 9]));
            }
            (first, rest) = (marked | CONTINUATION, behind);
        }
        frames.push((FIN | first, rest.to_vec()));
    }
    frames
}

/// A message as RFC 7692 section 7.2.1 makes it, or with a block that says it is the last (7.2.3.4).
fn compress(compressor: &mut zlib_rs::Deflate, content: &[u8], last: bool) -> Vec<u8> {
    use zlib_rs::DeflateFlush::{Finish, SyncFlush};
    let mut room = vec![0; content.len() + content.len() / 8 + 300];
    let before = compressor.total_out();
    compressor.compress(content, &mut room, if last { Finish } else { SyncFlush }).expect("room");
    room.truncate((compressor.total_out() - before) as usize);
    if last {
        compressor.reset();
    } else if room.ends_with(&[0, 0, 0xff, 0xff]) {
        room.truncate(room.len() - 4);
    }
    room
}

/// Events, with chunks joined, and replies.
fn receive(
    role: Role,
    config: Config,
    deflate: Deflate,
    pooled: bool,
    wire: &[u8],
    cuts: &[usize],
) -> (Vec<Seen>, Vec<Told>) {
    let limit = config.limits.message;
    let mut ws: Connection = role.connect_at(config, NOW).with_deflate(deflate);
    assert_eq!(ws.deflate(), Some(&deflate));
    let (mut out, mut buffers, mut seen, mut passed) = (Output::new(), Buffers::new(), Vec::new(), 0);
    let mut rest = wire;
    for cut in cuts.iter().cycle() {
        let (now, behind) = rest.split_at((*cut).min(rest.len()));
        rest = behind;
        let mut piece = now.to_vec();
        let mut input = if pooled { Input::with_buffers(&mut piece, &mut buffers) } else { Input::new(&mut piece) };
        loop {
            let one = match ws.next_event(&mut input, &mut out, NOW) {
                Ok(Some(event)) => Seen::from(event),
                Ok(None) => break,
                Err(error) => Seen::Error(error),
            };
            assert!(!seen.last().is_some_and(Seen::is_closed), "{one:?} behind the end");
            if let Seen::Chunk { data, part, .. } = &one {
                passed = if part.is_first() { 0 } else { passed } + data.len() as u64;
                assert!(passed <= limit);
            }
            if let Seen::Text(text) = &one {
                assert!(text.len() as u64 <= limit);
            }
            assert!(ws.held() as u64 <= limit, "{} held", ws.held());
            seen.push(one);
        }
        assert!(input.is_empty() && ws.held() as u64 <= limit, "{} held", ws.held());
        if rest.is_empty() {
            break;
        }
    }
    let mut reader = Reader::new(role, Some(&deflate));
    out.chunks().for_each(|chunk| reader.take(chunk));
    assert!(reader.is_whole());
    (join_chunks(seen), reader.told)
}

fn told_of(seen: &Seen) -> Option<Told> {
    match seen.clone() {
        Seen::Text(text) => Some(Told::Text(text)),
        Seen::Binary(bytes) => Some(Told::Binary(bytes)),
        Seen::Ping(payload) => Some(Told::Ping(payload)),
        Seen::Error(_) | Seen::Closed { ending: Ending::Failed(_), .. } => None,
        other => panic!("{other:?} was not sent"),
    }
}

/// A failure.
enum Code {
    /// The code that it deserves.
    Sure(u16),
    /// The same, or 1007 in an earlier fragment: that a code is wrong may show before all of its bits are there.
    OrSooner(u16),
    /// There is no telling, or not yet.
    Unclear,
}

/// What a naive receiver makes of whole frames: of each message all that came, whenever something did.
fn naive(frames: &[(u8, Vec<u8>)], role: Role, deflate: &Deflate, limits: &Limits) -> (Vec<Told>, Option<Code>) {
    let (window, kept) = sends(deflate, role.peer());
    let mut inflater = Inflater::new(window, kept);
    let mut told = Vec::new();
    let (mut kind, mut compressed, mut payload, mut fragments) = (TEXT, false, Vec::new(), 0);
    for (first, bytes) in frames {
        let (fin, opcode) = (first & FIN != 0, first & 15);
        let again = compressed && fragments > 0;
        let sure = |code| if again && opcode == CONTINUATION { Code::OrSooner(code) } else { Code::Sure(code) };
        if first & RSV1 != 0 && !matches!(opcode, TEXT | BINARY) {
            return (told, Some(if again { Code::OrSooner(1002) } else { Code::Sure(1002) }));
        }
        match opcode {
            PING => {
                told.push(Told::Ping(bytes.clone()));
                continue;
            }
            CONTINUATION => {}
            _ => (kind, compressed, payload, fragments) = (opcode, first & RSV1 != 0, Vec::new(), 0),
        }
        if fragments == limits.fragments {
            return (told, Some(sure(1008)));
        }
        if (payload.len() + bytes.len()) as u64 > limits.message {
            return (told, Some(sure(1009)));
        }
        fragments += 1;
        payload.extend_from_slice(bytes);
        let before = inflater.clone();
        let (made, fault) = match (compressed, fin) {
            (false, _) => (payload.clone(), None),
            (true, true) => inflater.limited(&payload, limits.message as usize),
            (true, false) => inflater.part(&payload, limits.message as usize),
        };
        let text = std::str::from_utf8(&made);
        let wrong = match (text, fault) {
            (Err(e), _) if kind == TEXT && e.error_len().is_some() => Some(sure(1007)),
            (_, Some(Fault::TooLong)) => Some(sure(1009)),
            (_, Some(Fault::Unclear)) => Some(Code::Unclear),
            (_, Some(_)) => Some(sure(1007)),
            (Err(_), None) if kind == TEXT && fin => Some(sure(1007)),
            _ => None,
        };
        if let Some(code) = wrong {
            let waits = compressed && !fin && payload.len() as u64 <= WAITING.0.min(limits.message / WAITING.1);
            return (told, Some(if waits { Code::Unclear } else { code }));
        }
        if fin {
            fragments = 0;
            if compressed && !kept && window == 1 << 15 && made.len() < 8 << 10 {
                assert_eq!(
                    inflated(&payload).unwrap_or_else(|| made.clone()),
                    made,
                    "the naive inflater, of {before:?}"
                );
            }
            told.push(if kind == TEXT {
                Told::Text(String::from_utf8(made).expect("seen"))
            } else {
                Told::Binary(made)
            });
        }
    }
    (told, None)
}

/// What `zlib-rs` makes of a message, where it is one stream that does not end.
fn inflated(payload: &[u8]) -> Option<Vec<u8>> {
    let bytes = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut stream = zlib_rs::Inflate::new(false, 15);
    let mut room = vec![0; 8 << 10];
    let status = stream.decompress(&bytes, &mut room, zlib_rs::InflateFlush::SyncFlush).ok()?;
    room.truncate(stream.total_out() as usize);
    (status != zlib_rs::Status::StreamEnd).then_some(room)
}
