//! permessage-deflate on a connection (RFC 7692 section 7.2): what is sent arrives whatever the cut, and what is wrong is told. Rows D1 to
//! D4, D8 to D10 and U5 of the list of bad inputs. (D5 to D7: `deflate_negotiation.rs`; what rows say about memory: `deflate_memory.rs`.)
#![cfg(feature = "deflate")]

mod deflating;
mod ws_wire;

use deflating::*;
use proptest::prelude::*;
use tautline::Output;
use tautline::ws::{
    Config, Connection, DeflateConfig, Delivery, Ending, Error, Kind, Limits, Prepared, SendError, Takeover,
};
use ws_wire::*;
use zlib_rs::DeflateFlush;

/// The bit of a compressed message's first frame.
const RSV1: u8 = 0x40;

fn connect(role: Role, config: Config, deflate: DeflateConfig) -> Connection {
    role.connect(config).with_deflate(agree(deflate))
}

/// Asserts that `wire`, in one piece and byte by byte, as messages and in chunks, gives `expected`.
fn gives(role: Role, config: Config, deflate: DeflateConfig, wire: &[u8], expected: &[Seen]) {
    for delivery in [Delivery::Messages, Delivery::Chunks] {
        let config = changed(config, |config| config.delivery = delivery);
        for cuts in [vec![], (0..wire.len()).collect::<Vec<_>>(), (0..wire.len()).step_by(7).collect()] {
            let mut ws = connect(role, config, deflate);
            let mut out = Output::new();
            let seen = join_chunks(feed_cut(&mut ws, wire, &cuts, &mut out, NOW));
            assert_eq!(seen, expected, "{role:?} {delivery:?} {deflate:?} {:x?}", &wire[..wire.len().min(60)]);
            if let Some(Seen::Error(error)) = expected.iter().rev().nth(1) {
                let close = frames_of(&out, role).pop().expect("a Close frame");
                assert_eq!(close.close_code(), Some(error.close_code().as_u16()));
            } else {
                assert!(ws.is_open());
            }
        }
    }
}

/// The end that `error` makes.
fn failed(error: Error) -> [Seen; 2] {
    [Seen::Error(error), Seen::closed(error.close_code().as_u16(), Ending::Failed(error))]
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

fn limit(message: u64) -> Config {
    config(|config| config.limits = Limits { message, frame: message.min(1 << 20), ..Limits::DEFAULT })
}

/// What waits in `out`, taken.
fn taken(out: &mut Output) -> Vec<u8> {
    let bytes = unsent(out);
    out.clear();
    bytes
}

#[test]
fn the_examples_of_rfc_7692_section_7_2_3_are_understood() {
    for role in Role::BOTH {
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        // 7.2.3.1: one block, in one frame and in two.
        gives(role, Config::DEFAULT, FRESH, &role.frame(FIN | RSV1 | TEXT, &hello), &[text("Hello")]);
        let two = [role.frame(RSV1 | TEXT, &hello[..3]), role.frame(FIN, &hello[3..])].concat();
        gives(role, Config::DEFAULT, FRESH, &two, &[text("Hello")]);
        // 7.2.3.2: the second message refers to the first.
        let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
        let shared = [role.frame(FIN | RSV1 | TEXT, &hello), role.frame(FIN | RSV1 | TEXT, &second)].concat();
        gives(role, Config::DEFAULT, KEPT, &shared, &[text("Hello"), text("Hello")]);
        // 7.2.3.3: a block that is not compressed.
        let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
        gives(role, Config::DEFAULT, FRESH, &role.frame(FIN | RSV1 | TEXT, &stored), &[text("Hello")]);
        // 7.2.3.4: a block that says that it is the last.
        let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        gives(role, Config::DEFAULT, FRESH, &role.frame(FIN | RSV1 | TEXT, &last), &[text("Hello")]);
        // 7.2.3.5: two blocks in one message.
        let blocks = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
        gives(role, Config::DEFAULT, FRESH, &role.frame(FIN | RSV1 | TEXT, &blocks), &[text("Hello")]);
        // 7.2.3.6: an empty message.
        gives(role, Config::DEFAULT, FRESH, &role.frame(FIN | RSV1 | TEXT, &[0]), &[text("")]);
    }
}

#[test]
fn d1_a_bomb_ends_with_1009_after_what_the_limit_lets_through() {
    // A megabyte of zeros behind zeros, some thousand bytes that end at a byte; eleven hundred times that come to a gigabyte.
    let zeros = vec![0; 1 << 20];
    let mut compressor = Compressor::new(15);
    let mut payload = compressor.flushed(&zeros, DeflateFlush::SyncFlush);
    payload.extend(compressor.flushed(&zeros, DeflateFlush::SyncFlush).repeat(1100));
    payload.truncate(1 << 20);
    assert_eq!(payload.len(), 1 << 20);
    for role in Role::BOTH {
        for deflate in [KEPT, FRESH] {
            let mut ws = connect(role, Config::DEFAULT, deflate);
            let mut out = Output::new();
            let wire = role.frame(FIN | RSV1 | BINARY, &payload);
            // The error comes as soon as the limit is passed: four KiB come to more than the megabyte of the limit.
            assert_eq!(feed(&mut ws, &wire[..4 << 10], &mut out, NOW), failed(Error::MessageTooBig));
        }
    }
}

#[test]
fn d2_exactly_the_limit_is_delivered_and_one_byte_more_is_1009() {
    for role in Role::BOTH {
        for deflate in [KEPT, FRESH] {
            for size in [100, 1023, 4096, 70_000] {
                let [exact, over] = [size, size + 1].map(|size| compressed(&vec![b'a'; size]));
                let config = limit(size as u64);
                let message = role.frame(FIN | RSV1 | TEXT, &exact);
                gives(role, config, deflate, &message, &[text(&"a".repeat(size))]);
                gives_error_alone(role, config, deflate, &role.frame(FIN | RSV1 | TEXT, &over), Error::MessageTooBig);
            }
        }
    }
}

/// As [`gives`], where chunks may come before the error.
fn gives_error_alone(role: Role, config: Config, deflate: DeflateConfig, wire: &[u8], error: Error) {
    for delivery in [Delivery::Messages, Delivery::Chunks] {
        let config = changed(config, |config| config.delivery = delivery);
        for cuts in [vec![], (0..wire.len()).collect::<Vec<_>>(), (0..wire.len()).step_by(5).collect()] {
            let mut ws = connect(role, config, deflate);
            let mut out = Output::new();
            let seen = feed_cut(&mut ws, wire, &cuts, &mut out, NOW);
            let (before, end) = seen.split_at(seen.len() - 2);
            assert_eq!(end, failed(error), "{role:?} {delivery:?} {deflate:?}");
            assert!(before.iter().all(|one| matches!(one, Seen::Chunk { .. })), "{before:?}");
            assert_eq!(frames_of(&out, role).pop().unwrap().close_code(), Some(error.close_code().as_u16()));
        }
    }
}

#[test]
fn d3_a_bomb_over_500_fragments_ends_with_1009_as_soon_as_it_is_over_the_limit() {
    let mut bomb = Compressor::new(15);
    let pieces: Vec<_> = (0..500).map(|_| bomb.flushed(&vec![0; 10_000], DeflateFlush::SyncFlush)).collect();
    for role in Role::BOTH {
        for deflate in [KEPT, FRESH] {
            let mut ws = connect(role, Config::DEFAULT, deflate);
            let mut out = Output::new();
            // 104 pieces come to less than 2^20 bytes, 105 to more.
            for (at, piece) in pieces.iter().enumerate().take(104) {
                let first = if at == 0 { RSV1 | BINARY } else { CONTINUATION };
                assert_eq!(feed(&mut ws, &role.frame(first, piece), &mut out, NOW), [], "{at}");
            }
            let over = feed(&mut ws, &role.frame(CONTINUATION, &pieces[104]), &mut out, NOW);
            assert_eq!(over, failed(Error::MessageTooBig));
        }
    }
}

#[test]
fn d4_a_corrupt_stream_is_1007() {
    let good =
        compressed(b"What is not a DEFLATE stream, or not a whole one, is refused; this one is long enough to be cut.");
    let mut truncated = good.clone();
    truncated.truncate(good.len() - 3);
    let stored_cut = [0x00, 0x09, 0x00, 0xf6, 0xff, b'a', b'b', b'c', b'd', b'e'];
    for (what, payload) in [
        ("a reserved block type", &[0x06, 0x00][..]),
        ("lengths of a stored block that do not match", &[0x00, 0x05, 0x00, 0x05, 0x00, 1, 2, 3, 4, 5, 0]),
        ("a distance before the beginning", &[0xf2, 0x00, 0x11, 0x00, 0x00]),
        ("cut in the middle of a block", &truncated),
        ("cut in the middle of a stored block, whose end the tail would be", &stored_cut),
        ("a stored block and no empty one behind it", &[0x00, 0x01, 0x00, 0xfe, 0xff, b'a']),
        ("the tail sent along, and cut", &[0x00, 0x00, 0x00, 0xff]),
        ("only half of a header of lengths", &[0x00, 0x00]),
        ("the end of a stream and half a block", &[0x03, 0x00, 0xf2, 0x48]),
    ] {
        for role in Role::BOTH {
            for deflate in [KEPT, FRESH] {
                println!("{what}");
                let wire = role.frame(FIN | RSV1 | BINARY, payload);
                gives_error_alone(role, Config::DEFAULT, deflate, &wire, Error::CorruptDeflate);
                let fragments: Vec<u8> = payload
                    .iter()
                    .enumerate()
                    .flat_map(|(at, byte)| role.frame(if at == 0 { RSV1 | BINARY } else { CONTINUATION }, &[*byte]))
                    .chain(role.frame(FIN | CONTINUATION, &[]))
                    .collect();
                gives_error_alone(role, Config::DEFAULT, deflate, &fragments, Error::CorruptDeflate);
            }
        }
    }
}

#[test]
fn d4_without_context_takeover_a_reference_to_the_message_before_is_1007() {
    let mut compressor = Compressor::new(15);
    let (first, second) = (compressor.message(b"the same text"), compressor.message(b"the same text"));
    for role in Role::BOTH {
        let wire = [role.frame(FIN | RSV1 | TEXT, &first), role.frame(FIN | RSV1 | TEXT, &second)].concat();
        gives(role, Config::DEFAULT, KEPT, &wire, &[text("the same text"), text("the same text")]);
        let end = failed(Error::CorruptDeflate);
        gives(role, Config::DEFAULT, FRESH, &wire, &[&[text("the same text")][..], &end].concat());
    }
}

/// A block in fixed codes (RFC 1951 section 3.2.6): these bytes, one reference of three bytes, these bytes.
fn referring(before: &[u8], distance: u32, after: &[u8]) -> Vec<u8> {
    let (mut bytes, mut bits) = (Vec::new(), 0);
    let mut put = |value: u32, count: u32| {
        for bit in 0..count {
            if bits % 8 == 0 {
                bytes.push(0);
            }
            *bytes.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (bits % 8);
            bits += 1;
        }
    };
    // Huffman codes begin with their highest bit.
    let code = |value: u32, count: u32| (value.reverse_bits() >> (32 - count), count);
    let literal = |byte: u8| match byte {
        0..144 => code(0x30 + u32::from(byte), 8),
        _ => code(0x190 + u32::from(byte) - 144, 9),
    };
    put(0b010, 3);
    for &byte in before {
        let (value, count) = literal(byte);
        put(value, count);
    }
    let (value, count) = code(1, 7);
    put(value, count);
    // From 5 on two codes share a number of extra bits; the number grows by one with each two.
    let (symbol, extra, base) = match distance {
        1..=4 => (distance - 1, 0, distance),
        _ => {
            let extra = (distance - 1).ilog2() - 1;
            let high = (distance - 1) >> extra;
            (2 * extra + high, extra, (high << extra) + 1)
        }
    };
    let (value, count) = code(symbol, 5);
    put(value, count);
    put(distance - base, extra);
    for &byte in after {
        let (value, count) = literal(byte);
        put(value, count);
    }
    // The end of the block, and an empty stored one without its lengths.
    put(0, 7);
    put(0, 3);
    bytes
}

#[test]
fn d4_a_reference_beyond_the_agreed_window_is_1007_and_one_to_its_edge_is_none() {
    let text: Vec<u8> = (0..40_000u32).map(|i| b'a' + (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 26).collect();
    for bits in 8..=15u8 {
        let window = 1u32 << bits;
        let before = &text[..window as usize + 1000];
        let whole = |distance: u32| {
            let from = before.len() - distance as usize;
            Seen::Text(String::from_utf8([before, &before[from..from + 3], b"end"].concat()).unwrap())
        };
        for role in Role::BOTH {
            // Of the peer's messages: a server's as a client, a client's as a server.
            let agreed = match role {
                Role::Server => {
                    accept(&KEPT, &[&format!("permessage-deflate; client_max_window_bits={bits}")]).unwrap()
                }
                Role::Client => {
                    confirm(KEPT, &format!("permessage-deflate; server_max_window_bits={bits}")).unwrap().unwrap()
                }
            };
            let edge = referring(before, window, b"end");
            let beyond = referring(before, (window + 1).min(32_768), b"end");
            let unsound = referring(before, (window + 1).min(32_768), b"\xff\xff");
            for cuts in [vec![], (0..edge.len() + 20).collect::<Vec<_>>(), (0..edge.len() + 20).step_by(100).collect()]
            {
                let run = |payload: &[u8]| {
                    let mut ws = role.connect(Config::DEFAULT).with_deflate(agreed);
                    feed_cut(&mut ws, &role.frame(FIN | RSV1 | TEXT, payload), &cuts, &mut Output::new(), NOW)
                };
                assert_eq!(run(&edge), [whole(window)], "{bits} {role:?}");
                if bits < 15 {
                    assert_eq!(run(&beyond), failed(Error::BeyondWindow), "{bits} {role:?}");
                    // What is wrong first is what is told, however it is cut.
                    assert_eq!(run(&unsound), failed(Error::BeyondWindow), "{bits} {role:?}");
                } else {
                    assert_eq!(run(&beyond), [whole(window)]);
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_first_is_what_is_told_wherever_it_is_cut() {
    let corrupt = |text: &[u8]| {
        let mut payload = Compressor::new(15).flushed(text, DeflateFlush::SyncFlush);
        payload.extend([0x06, 0x00]);
        payload
    };
    for role in Role::BOTH {
        let utf8 = role.frame(FIN | RSV1 | TEXT, &corrupt(b"not \xff text"));
        gives_error_alone(role, Config::DEFAULT, FRESH, &utf8, Error::InvalidUtf8);
        let long = role.frame(FIN | RSV1 | TEXT, &corrupt(&[b'a'; 2000]));
        gives_error_alone(role, limit(1000), FRESH, &long, Error::MessageTooBig);
        gives_error_alone(role, limit(3000), FRESH, &long, Error::CorruptDeflate);
        // A limit is met where its last byte stands, whatever is behind it.
        let mut both = vec![b'a'; 2000];
        both[1000] = 0xff;
        let payload = Compressor::new(15).flushed(&both, DeflateFlush::SyncFlush);
        let both = role.frame(FIN | RSV1 | TEXT, &payload);
        gives_error_alone(role, limit(1000), FRESH, &both, Error::InvalidUtf8);
        gives_error_alone(role, limit(999), FRESH, &both, Error::MessageTooBig);
    }
}

#[test]
fn d8_an_empty_payload_and_a_zero_byte_are_empty_messages_and_disturb_nothing() {
    let mut compressor = Compressor::new(15);
    let [first, second, third] = [0; 3].map(|_| compressor.message(b"refers to what was before"));
    let expected = ["refers to what was before", "", "refers to what was before", "", "refers to what was before", ""];
    for role in Role::BOTH {
        let message = |payload: &[u8]| role.frame(FIN | RSV1 | TEXT, payload);
        let wire = [message(&first), message(&[]), message(&second), message(&[0]), message(&third), message(&[])];
        gives(role, Config::DEFAULT, KEPT, &wire.concat(), &expected.map(text));
        let own = compressed(b"refers to what was before");
        let wire = [message(&own), message(&[]), message(&own), message(&[0]), message(&own), message(&[])];
        gives(role, Config::DEFAULT, FRESH, &wire.concat(), &expected.map(text));
        // In fragments that are all empty, too.
        let empty = [role.frame(RSV1 | TEXT, &[]), role.frame(CONTINUATION, &[]), role.frame(FIN, &[])].concat();
        gives(role, Config::DEFAULT, KEPT, &[empty, message(&first)].concat(), &["", expected[0]].map(text));
    }
}

#[test]
fn d9_messages_that_are_not_compressed_come_as_they_are_and_leave_the_window_alone() {
    let mut compressor = Compressor::new(15);
    let [first, second] = [0; 2].map(|_| compressor.message(b"refers to what was before"));
    for role in Role::BOTH {
        let plain = role.frame(FIN | TEXT, &vec![b'x'; 40_000]);
        let wire =
            [role.frame(FIN | RSV1 | TEXT, &first), plain.clone(), role.frame(FIN | RSV1 | TEXT, &second)].concat();
        let expected =
            [text("refers to what was before"), text(&"x".repeat(40_000)), text("refers to what was before")];
        let mut ws = connect(role, Config::DEFAULT, KEPT);
        assert_eq!(feed(&mut ws, &wire, &mut Output::new(), NOW), expected);
        gives(role, Config::DEFAULT, FRESH, &role.frame(FIN | TEXT, &first[..0]), &[text("")]);
    }
}

#[test]
fn d10_fragments_of_one_byte_with_pings_between_them_are_one_message() {
    let payload = compressed("fragments of one byte, é漢, again and again and again".as_bytes());
    for role in Role::BOTH {
        let mut wire = role.frame(RSV1 | TEXT, &[]);
        for byte in &payload {
            wire.extend(role.frame(CONTINUATION, &[*byte]));
            wire.extend(role.frame(FIN | PING, b"p"));
        }
        wire.extend(role.frame(FIN | CONTINUATION, &[]));
        let mut expected = vec![Seen::Ping(b"p".to_vec()); payload.len()];
        expected.push(text("fragments of one byte, é漢, again and again and again"));
        for deflate in [KEPT, FRESH] {
            for cuts in [vec![], (0..wire.len()).collect::<Vec<_>>()] {
                let mut ws = connect(role, Config::DEFAULT, deflate);
                let mut out = Output::new();
                assert_eq!(feed_cut(&mut ws, &wire, &cuts, &mut out, NOW), expected);
            }
        }
    }
}

#[test]
fn u5_invalid_utf8_that_shows_only_when_decompressed_is_1007() {
    let end = vec![0xe6, 0xbc];
    for bad in [&b"\xff"[..], b"good until \xc3\x28", b"\xed\xa0\x80", &end] {
        for role in Role::BOTH {
            for deflate in [KEPT, FRESH] {
                let wire = role.frame(FIN | RSV1 | TEXT, &compressed(bad));
                gives_error_alone(role, Config::DEFAULT, deflate, &wire, Error::InvalidUtf8);
                let binary = role.frame(FIN | RSV1 | BINARY, &compressed(bad));
                gives(role, Config::DEFAULT, deflate, &binary, &[Seen::Binary(bad.to_vec())]);
            }
        }
    }
}

#[test]
fn rsv1_is_an_error_on_continuations_and_control_frames_and_where_nothing_was_agreed_upon() {
    for role in Role::BOTH {
        for first in [FIN | RSV1 | PING, FIN | RSV1 | PONG, FIN | RSV1 | CLOSE, FIN | 0x20 | TEXT, FIN | 0x10 | TEXT] {
            let wire = role.frame(first, &[]);
            gives(role, Config::DEFAULT, KEPT, &wire, &failed(Error::ReservedBit));
        }
        let wire = [role.frame(TEXT, b"a"), role.frame(FIN | RSV1 | CONTINUATION, b"b")].concat();
        gives_error_alone(role, Config::DEFAULT, KEPT, &wire, Error::ReservedBit);
        let mut plain = role.connect(Config::DEFAULT);
        let seen = feed(&mut plain, &role.frame(FIN | RSV1 | TEXT, &[0]), &mut Output::new(), NOW);
        assert_eq!(seen, failed(Error::ReservedBit));
    }
}

#[test]
fn a_last_block_ends_its_stream_and_another_may_follow_in_the_message_or_the_next() {
    let hello = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    for role in Role::BOTH {
        for deflate in [KEPT, FRESH] {
            let message = |payload: &[u8]| role.frame(FIN | RSV1 | TEXT, payload);
            // With and without the byte of 7.2.3.4 behind it; several in one message; then any other.
            for (payload, expected) in [
                (hello.to_vec(), "Hello"),
                ([&hello[..], &[0]].concat(), "Hello"),
                ([hello, hello].concat(), "HelloHello"),
                ([&hello[..], &compressed(b" World")].concat(), "Hello World"),
            ] {
                let wire = [message(&payload), message(&compressed(b"next")), message(&payload)].concat();
                gives(role, Config::DEFAULT, deflate, &wire, &[expected, "next", expected].map(text));
            }
        }
    }
}

#[test]
fn what_is_short_is_sent_as_it_is_and_what_is_long_compressed() {
    let deflate = DeflateConfig { threshold: 100, ..DeflateConfig::DEFAULT };
    for role in Role::BOTH {
        let mut ws = connect(role, Config::DEFAULT, deflate);
        let mut out = Output::new();
        ws.send_text(&"a".repeat(99), &mut out).unwrap();
        ws.send_text(&"a".repeat(100), &mut out).unwrap();
        ws.uncompressed().send_text(&"a".repeat(100), &mut out).unwrap();
        ws.send_shared_text("b".repeat(20_000).into(), &mut out).unwrap();
        ws.uncompressed().send_shared_text("b".repeat(20_000).into(), &mut out).unwrap();
        ws.send_prepared(&Prepared::text(&"c".repeat(100)), &mut out).unwrap();
        ws.send_prepared(&Prepared::text(&"c".repeat(100)).uncompressed(), &mut out).unwrap();
        ws.send_prepared(&Prepared::text("short"), &mut out).unwrap();
        ws.ping(&[b'p'; 125], &mut out).unwrap();
        let (frames, _) = parse_output_with_rsv1(&unsent(&out), role);
        let compressed: Vec<bool> = frames.iter().map(|(first, _)| first & RSV1 != 0).collect();
        assert_eq!(compressed, [false, true, false, true, false, true, false, false, false]);
        for (first, payload) in &frames {
            match *first {
                0x81 => assert!([5, 99, 100, 20_000].contains(&payload.len())),
                0xc1 => assert!([100, 20_000].contains(&decompressed(payload).len())),
                other => assert_eq!(other, FIN | PING),
            }
        }
    }
}

/// First bytes and payloads of frames that this crate wrote.
fn parse_output_with_rsv1(bytes: &[u8], from: Role) -> (Vec<(u8, Vec<u8>)>, usize) {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    while let [first, second, ..] = *rest {
        let (len, at) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
            127 => (u64::from_be_bytes(rest[2..10].try_into().unwrap()) as usize, 10),
            short => (usize::from(short), 2),
        };
        let key: Option<[u8; 4]> = (from == Role::Client).then(|| rest[at..at + 4].try_into().unwrap());
        let at = at + key.map_or(0, |_| 4);
        frames.push((first, masked(&rest[at..at + len], key, 0)));
        rest = &rest[at + len..];
    }
    (frames, rest.len())
}

#[test]
fn without_a_context_what_gets_no_shorter_is_sent_as_it_is() {
    let noise: Vec<u8> = (0..2000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let noise: Vec<u8> = noise
        .iter()
        .scan(7u8, |state, byte| {
            *state = state.wrapping_mul(31) ^ byte;
            Some(*state)
        })
        .collect();
    assert!(compressed(&noise).len() >= noise.len());
    for role in Role::BOTH {
        for (deflate, expected) in [(FRESH, false), (KEPT, true)] {
            let mut ws = connect(role, Config::DEFAULT, deflate);
            let mut out = Output::new();
            ws.send_binary(&noise, &mut out).unwrap();
            ws.send_prepared(&Prepared::binary(&noise), &mut out).unwrap();
            let (frames, _) = parse_output_with_rsv1(&unsent(&out), role);
            for (first, _) in frames {
                assert_eq!(first & RSV1 != 0, expected, "{deflate:?}");
            }
        }
    }
}

#[test]
fn with_a_context_a_message_that_fills_the_window_and_gets_no_shorter_is_sent_as_it_is() {
    // xorshift: noise in which nothing repeats.
    let noise = |len: usize| -> Vec<u8> {
        let next = |state: &mut u32| {
            *state ^= *state << 13;
            *state ^= *state >> 17;
            *state ^= *state << 5;
            Some(*state as u8)
        };
        (0..len).scan(7u32, |state, _| next(state)).collect()
    };
    for role in Role::BOTH {
        for window in [9, 15] {
            let deflate = DeflateConfig { server_window: window, client_window: window, ..KEPT };
            let (mut from, mut to) =
                (connect(role, Config::DEFAULT, deflate), connect(role.peer(), Config::DEFAULT, deflate));
            let (text, filling) = ("what came before ".repeat(20), noise(1 << window));
            let sent: [&[u8]; 5] = [text.as_bytes(), &filling[1..], &filling, &filling, text.as_bytes()];
            let mut out = Output::new();
            for bytes in sent {
                from.send_binary(bytes, &mut out).unwrap();
            }
            let wire = taken(&mut out);
            let (frames, _) = parse_output_with_rsv1(&wire, role);
            let compressed: Vec<bool> = frames.iter().map(|(first, _)| first & RSV1 != 0).collect();
            assert_eq!(compressed, [true, true, false, false, true]);
            // And nothing behind refers to what the peer's window has not seen.
            let seen = feed(&mut to, &wire, &mut Output::new(), NOW);
            assert_eq!(seen, sent.map(|bytes| Seen::Binary(bytes.to_vec())));
        }
    }
}

#[test]
fn a_prepared_message_is_compressed_once_for_all_that_keep_no_context() {
    let message = Prepared::text(&"for everyone ".repeat(100));
    let mut frames = Vec::new();
    for level in [1, 6, 9] {
        let mut ws = connect(Role::Server, Config::DEFAULT, DeflateConfig { level, ..FRESH });
        let mut out = Output::new();
        out.push(b"x").unwrap();
        out.set_blocked();
        ws.send_prepared(&message, &mut out).unwrap();
        // By reference: the very same bytes.
        frames.push(out.chunks().last().unwrap().as_ptr());
    }
    assert!(frames.windows(2).all(|pair| pair[0] == pair[1]));
    let mut narrow = connect(Role::Server, Config::DEFAULT, DeflateConfig { server_window: 9, ..FRESH });
    let mut out = Output::new();
    narrow.send_prepared(&message, &mut out).unwrap();
    let (sent, _) = parse_output_with_rsv1(&unsent(&out), Role::Server);
    assert_eq!(decompressed(&sent[0].1), message.payload());
}

#[test]
fn what_a_full_output_refused_leaves_nothing_behind_that_later_messages_refer_to() {
    for role in Role::BOTH {
        for deflate in [KEPT, FRESH] {
            let mut from = connect(role, Config::DEFAULT, deflate);
            let mut to = connect(role.peer(), Config::DEFAULT, deflate);
            let mut small = Output::with_limit(40);
            let long: String = (0..300).map(|i| format!("{:x}", i * 7919 % 4093)).collect();
            let mut sent = Vec::new();
            from.send_text("first", &mut small).unwrap();
            sent.extend(taken(&mut small));
            assert!(matches!(from.send_text(&long, &mut small), Err(SendError::Full(_))));
            assert!(matches!(from.begin(Kind::Text, long.as_bytes(), &mut small), Err(SendError::Full(_))));
            from.begin(Kind::Text, b"be", &mut small).unwrap();
            sent.extend(taken(&mut small));
            assert!(matches!(from.append(long.as_bytes(), &mut small), Err(SendError::Full(_))));
            let mut large = Output::new();
            from.append(long.as_bytes(), &mut large).unwrap();
            from.finish(b"gun", &mut large).unwrap();
            from.send_text(&long, &mut large).unwrap();
            from.send_text(&long, &mut large).unwrap();
            sent.extend(taken(&mut large));
            let seen = feed(&mut to, &sent, &mut Output::new(), NOW);
            assert_eq!(seen, ["first", &format!("be{long}gun"), &long, &long].map(text));
        }
    }
}

#[test]
fn a_text_that_cannot_begin_leaves_nothing_behind_that_later_messages_refer_to() {
    for role in Role::BOTH {
        for deflate in [KEPT, FRESH] {
            let mut from = connect(role, Config::DEFAULT, deflate);
            let mut to = connect(role.peer(), Config::DEFAULT, deflate);
            let mut out = Output::new();
            assert_eq!(from.begin(Kind::Text, b"no text: \xff", &mut out), Err(SendError::InvalidUtf8));
            from.send_text("the same again", &mut out).unwrap();
            from.send_text("the same again", &mut out).unwrap();
            from.begin(Kind::Text, b"the same ", &mut out).unwrap();
            from.finish(b"again", &mut out).unwrap();
            let seen = feed(&mut to, &unsent(&out), &mut Output::new(), NOW);
            assert_eq!(seen, vec![text("the same again"); 3]);
        }
    }
}

#[test]
fn a_begun_message_that_is_marked_stays_uncompressed_to_its_end() {
    for role in Role::BOTH {
        let mut ws = connect(role, Config::DEFAULT, KEPT);
        let mut out = Output::new();
        // What failed to begin leaves no mark.
        assert_eq!(ws.begin(Kind::Text, b"\xff", &mut out), Err(SendError::InvalidUtf8));
        ws.uncompressed().begin(Kind::Text, b"secret", &mut out).unwrap();
        ws.append(b" and ", &mut out).unwrap();
        ws.finish(b"chosen", &mut out).unwrap();
        ws.begin(Kind::Text, b"open", &mut out).unwrap();
        ws.finish(&[], &mut out).unwrap();
        let (frames, _) = parse_output_with_rsv1(&unsent(&out), role);
        let firsts: Vec<u8> = frames.iter().map(|(first, _)| *first).collect();
        assert_eq!(firsts, [TEXT, CONTINUATION, FIN, RSV1 | TEXT, FIN]);
        assert_eq!(
            frames[..3].iter().flat_map(|(_, payload)| payload.clone()).collect::<Vec<_>>(),
            b"secret and chosen"
        );
        assert_eq!(decompressed(&[&*frames[3].1, &*frames[4].1].concat()), b"open");
    }
}

#[test]
fn a_peer_that_was_granted_8_bits_gets_everything_as_it_is() {
    let agreed = confirm(KEPT, "permessage-deflate; client_max_window_bits=8").unwrap().unwrap();
    let mut client = Role::Client.connect(Config::DEFAULT).with_deflate(agreed);
    let mut out = Output::new();
    client.send_text(&"a".repeat(5000), &mut out).unwrap();
    client.send_prepared(&Prepared::text(&"a".repeat(5000)), &mut out).unwrap();
    let (frames, _) = parse_output_with_rsv1(&unsent(&out), Role::Client);
    assert!(frames.iter().all(|(first, payload)| *first == FIN | TEXT && payload.len() == 5000));
    // What the server sends may be compressed all the same.
    let wire = Role::Client.frame(FIN | RSV1 | TEXT, &compressed(b"from the server"));
    assert_eq!(feed(&mut client, &wire, &mut out, NOW), [text("from the server")]);
}

fn deflate_config() -> impl Strategy<Value = DeflateConfig> {
    let takeover = || prop_oneof![Just(Takeover::Kept), Just(Takeover::None)];
    (1u8..=9, 1u8..=9, prop_oneof![Just(0u32), Just(20)], takeover(), takeover(), 9u8..=15, 9u8..=15).prop_map(
        |(level, memory, threshold, server_takeover, client_takeover, server_window, client_window)| DeflateConfig {
            level,
            memory,
            threshold,
            server_takeover,
            client_takeover,
            server_window,
            client_window,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_arrives_whatever_was_agreed_and_wherever_it_is_cut(
        deflate in deflate_config(),
        messages in prop::collection::vec((any::<bool>(), "[ -~é漢]{0,80}", 0usize..40, 0usize..4), 1..12),
        cuts in prop::collection::vec(prop_oneof![1usize..8, 1usize..3000], 1..6),
        chunks: bool,
    ) {
        let delivery = if chunks { Delivery::Chunks } else { Delivery::Messages };
        let config = Config { delivery, ..Config::DEFAULT };
        for role in Role::BOTH {
            let (mut from, mut to) = (connect(role, config, deflate), connect(role.peer(), config, deflate));
            let (mut out, mut expected) = (Output::new(), Vec::new());
            for (text, part, times, how) in &messages {
                let message = part.repeat(*times);
                let kind = if *text { Kind::Text } else { Kind::Binary };
                expected.push(match kind {
                    Kind::Text => Seen::Text(message.clone()),
                    Kind::Binary => Seen::Binary(message.as_bytes().to_vec()),
                });
                match how {
                    0 => {
                        from.begin(kind, part.repeat(times / 2).as_bytes(), &mut out).unwrap();
                        from.append(&[], &mut out).unwrap();
                        from.append(part.repeat(times - times / 2).as_bytes(), &mut out).unwrap();
                        from.finish(&[], &mut out).unwrap();
                    }
                    1 => match kind {
                        Kind::Text => from.uncompressed().send_text(&message, &mut out).unwrap(),
                        Kind::Binary => from.uncompressed().send_binary(message.as_bytes(), &mut out).unwrap(),
                    },
                    _ => match kind {
                        Kind::Text => from.send_text(&message, &mut out).unwrap(),
                        Kind::Binary => from.send_binary(message.as_bytes(), &mut out).unwrap(),
                    },
                }
            }
            let cuts: Vec<usize> = cuts.iter().cycle().scan(0, |at, cut| { *at += cut; Some(*at) }).take(5000).collect();
            let seen = feed_cut(&mut to, &unsent(&out), &cuts, &mut Output::new(), NOW);
            prop_assert_eq!(join_chunks(seen), expected);
        }
    }
}
