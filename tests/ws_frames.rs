//! Frames and messages: rows F1 to F22 of the list of bad inputs, each with its neighbours, in both roles, whole and byte by
//! byte. (F9, F24 and what rows say about memory: `allocations.rs`; F17: `ws_cuts.rs`; F23: `src/payload/mask.rs`.)

mod ws_wire;

use tautline::ws::{Config, Delivery, Ending, Error, Kind, Limits, Part, SendError};
use tautline::{Input, Output};
use ws_wire::*;

/// Asserts that `bytes`, in one piece and byte by byte, give `before` and then fail with `error`: one Close frame with its code,
/// one end, nothing left to do.
fn fails_after(role: Role, config: Config, bytes: &[u8], before: &[Seen], error: Error) {
    for cuts in [vec![], (0..bytes.len()).collect::<Vec<_>>()] {
        let mut ws = role.connect(config);
        let mut out = Output::new();
        let seen = feed_cut(&mut ws, bytes, &cuts, &mut out, NOW);
        let code = error.close_code().as_u16();
        let end = [Seen::Error(error), Seen::closed(code, Ending::Failed(error))];
        let expected = [before, &end].concat();
        assert_eq!(seen, expected, "{role:?} {:x?}", &bytes[..bytes.len().min(40)]);
        let close = frames_of(&out, role).pop().expect("a Close frame");
        assert_eq!(close, Frame::new(FIN | CLOSE, &close_payload(code, error.as_str())));
        assert!(ws.is_ended() && ws.poll_timeout().is_none());
        assert_eq!(ws.send_text("late", &mut out), Err(SendError::Closed));
        assert_eq!(feed(&mut ws, &role.frame(FIN | TEXT, b"later"), &mut out, NOW), [], "nothing behind the end");
    }
}

fn fails(role: Role, bytes: &[u8], error: Error) {
    fails_after(role, Config::DEFAULT, bytes, &[], error);
    let chunks = config(|config| config.delivery = Delivery::Chunks);
    fails_after(role, chunks, bytes, &[], error);
}

/// Asserts that `bytes`, in one piece and byte by byte, give `events` and leave the connection open.
fn gives(role: Role, config: Config, bytes: &[u8], events: &[Seen]) -> Vec<Frame> {
    let mut replies = None;
    for cuts in [vec![], (0..bytes.len()).collect::<Vec<_>>()] {
        let mut ws = role.connect(config);
        let mut out = Output::new();
        assert_eq!(feed_cut(&mut ws, bytes, &cuts, &mut out, NOW), events, "{role:?}");
        assert!(ws.is_open());
        let frames = frames_of(&out, role);
        assert_eq!(replies.get_or_insert(frames.clone()), &frames, "replies depend on the cut");
    }
    replies.unwrap_or_default()
}

fn limits(limits: Limits) -> Config {
    config(|config| config.limits = limits)
}

/// The first two bytes of a frame to `role`, and nothing more.
fn two(role: Role, first: u8, short: u8) -> [u8; 2] {
    [first, short | if role == Role::Server { 0x80 } else { 0 }]
}

#[test]
fn f01_unmasked_frame_to_server_is_1002() {
    for first in [FIN | TEXT, FIN | BINARY, TEXT, FIN | PING, FIN | PONG, FIN | CLOSE] {
        for len in [0, 2, 125] {
            fails(Role::Server, &Role::Client.frame(first, &vec![b'a'; len]), Error::Unmasked);
        }
        // As soon as the second byte is in, also in the longer forms of a length.
        fails(Role::Server, &[first, 5], Error::Unmasked);
    }
    for second in [126, 127] {
        fails(Role::Server, &[FIN | BINARY, second], Error::Unmasked);
    }
    // A fragment of an open message, too.
    let bytes = [Role::Server.frame(TEXT, b"a"), Role::Client.frame(FIN, b"b")].concat();
    fails_after(Role::Server, Config::DEFAULT, &bytes, &[], Error::Unmasked);
}

#[test]
fn f02_masked_frame_to_client_is_1002() {
    for first in [FIN | TEXT, FIN | BINARY, TEXT, FIN | PING, FIN | PONG, FIN | CLOSE] {
        for len in [0, 2, 125] {
            fails(Role::Client, &Role::Server.frame(first, &vec![b'a'; len]), Error::Masked);
        }
        fails(Role::Client, &[first, 0x80 | 5], Error::Masked);
    }
    for second in [126, 127] {
        fails(Role::Client, &[FIN | BINARY, 0x80 | second], Error::Masked);
    }
    let bytes = [Role::Client.frame(TEXT, b"a"), Role::Server.frame(FIN, b"b")].concat();
    fails_after(Role::Client, Config::DEFAULT, &bytes, &[], Error::Masked);
}

#[test]
fn f03_any_reserved_bit_without_extension_is_1002() {
    for role in Role::BOTH {
        for bits in (0x10..=0x70).step_by(0x10) {
            for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
                fails(role, &role.frame(FIN | bits | opcode, b""), Error::ReservedBit);
            }
            fails(role, &two(role, bits | TEXT, 126), Error::ReservedBit);
        }
    }
}

#[test]
fn f04_reserved_bit_on_continuation_or_control_inside_a_message_is_1002() {
    // Where no extension was agreed upon every frame is refused. With permessage-deflate: `ws_deflate.rs`.
    for role in Role::BOTH {
        for opcode in [CONTINUATION, PING, PONG, CLOSE] {
            let bytes = [role.frame(TEXT, b"a"), role.frame(FIN | 0x40 | opcode, b"")].concat();
            fails_after(role, Config::DEFAULT, &bytes, &[], Error::ReservedBit);
        }
    }
}

#[test]
fn f05_reserved_opcode_is_1002_at_the_second_header_byte() {
    for role in Role::BOTH {
        for opcode in (3..=7).chain(0xb..=0xf) {
            for first in [opcode, FIN | opcode] {
                let mut ws = role.connect(Config::DEFAULT);
                let mut out = Output::new();
                let [first, second] = two(role, first, 5);
                assert_eq!(feed(&mut ws, &[first], &mut out, NOW), [], "one byte says nothing yet");
                assert_eq!(feed(&mut ws, &[second], &mut out, NOW)[0], Seen::Error(Error::ReservedOpcode));
                fails(role, &[first, second], Error::ReservedOpcode);
            }
        }
    }
}

#[test]
fn f06_length_with_the_top_bit_is_1002() {
    for role in Role::BOTH {
        for len in [1 << 63, u64::MAX, (1 << 63) + 5] {
            for opcode in [TEXT, BINARY] {
                fails(role, &header(FIN | opcode, Form::Bits64, len, role.key()), Error::LengthOverflow);
                // Without the mask: the length alone is enough.
                let whole = header(FIN | opcode, Form::Bits64, len, role.key());
                fails(role, &whole[..10], Error::LengthOverflow);
            }
        }
    }
}

#[test]
fn f06_length_in_more_bytes_than_needed_is_1002() {
    for role in Role::BOTH {
        for len in [0, 1, 125] {
            fails(role, &header(FIN | TEXT, Form::Bits16, len, role.key()), Error::LengthNotMinimal);
        }
        for len in [0, 125, 126, 65_535] {
            fails(role, &header(FIN | TEXT, Form::Bits64, len, role.key()), Error::LengthNotMinimal);
        }
        for len in [126, 65_535, 65_536] {
            let payload = vec![b'a'; len];
            let event = Seen::Text("a".repeat(len));
            gives(role, Config::DEFAULT, &role.frame(FIN | TEXT, &payload), &[event]);
        }
    }
}

#[test]
fn f07_length_of_63_bits_is_1009() {
    for role in Role::BOTH {
        for len in [i64::MAX as u64, 1 << 62, 1 << 32, (1 << 20) + 1] {
            for first in [FIN | TEXT, BINARY] {
                fails(role, &header(first, Form::Bits64, len, role.key()), Error::FrameTooBig);
            }
        }
        let bytes = [role.frame(TEXT, b"a"), header(CONTINUATION, Form::Bits64, i64::MAX as u64, role.key())].concat();
        fails_after(role, Config::DEFAULT, &bytes, &[], Error::FrameTooBig);
    }
}

#[test]
fn f08_length_at_the_cap_is_delivered_one_more_is_1009_before_payload() {
    for role in Role::BOTH {
        for cap in [0, 1, 125, 126, 65_535, 65_536] {
            let config = limits(Limits { message: cap, frame: cap, ..Limits::DEFAULT });
            let payload = vec![7; cap as usize];
            gives(role, config, &role.frame(FIN | BINARY, &payload), &[Seen::Binary(payload)]);
            let head = role.header(FIN | BINARY, cap + 1);
            let length_only = head.len() - role.key().map_or(0, |key| key.len());
            fails_after(role, config, &head[..length_only], &[], Error::FrameTooBig);
        }
        let config = limits(Limits { message: 100, frame: 10, ..Limits::DEFAULT });
        fails_after(role, config, &role.frame(FIN | BINARY, &[0; 11]), &[], Error::FrameTooBig);
        gives(role, config, &role.frame(FIN | BINARY, &[0; 10]), &[Seen::Binary(vec![0; 10])]);
    }
}

#[test]
fn f10_control_frame_without_fin_is_1002() {
    for role in Role::BOTH {
        for opcode in [PING, PONG, CLOSE] {
            fails(role, &role.frame(opcode, b""), Error::FragmentedControl);
            let bytes = [role.frame(BINARY, b"a"), role.frame(opcode, b"")].concat();
            fails_after(role, Config::DEFAULT, &bytes, &[], Error::FragmentedControl);
        }
    }
}

#[test]
fn f11_control_frame_of_126_bytes_is_1002_and_of_125_is_not() {
    for role in Role::BOTH {
        for opcode in [PING, PONG, CLOSE] {
            fails(role, &role.frame(FIN | opcode, &[b'a'; 126]), Error::LongControl);
            fails(role, &two(role, FIN | opcode, 126), Error::LongControl);
            fails(role, &two(role, FIN | opcode, 127), Error::LongControl);
        }
        let full = vec![b'a'; 125];
        let replies = gives(role, Config::DEFAULT, &role.frame(FIN | PING, &full), &[Seen::Ping(full.clone())]);
        assert_eq!(replies, [Frame::new(FIN | PONG, &full)]);
        gives(role, Config::DEFAULT, &role.frame(FIN | PONG, &full), &[Seen::Pong(full.clone(), None)]);
        let mut ws = role.connect(Config::DEFAULT);
        let close = role.frame(FIN | CLOSE, &close_payload(1000, &"a".repeat(123)));
        let closed = Seen::Closed { code: 1000, reason: "a".repeat(123), ending: Ending::Peer };
        assert_eq!(feed(&mut ws, &close, &mut Output::new(), NOW), [closed]);
    }
}

#[test]
fn f12_continuation_of_nothing_is_1002() {
    for role in Role::BOTH {
        for first in [CONTINUATION, FIN | CONTINUATION] {
            fails(role, &role.frame(first, b"a"), Error::UnexpectedContinuation);
            // Also right behind a finished message, whole or fragmented.
            let whole = [role.frame(FIN | TEXT, b"a"), role.frame(first, b"")].concat();
            let message = [Seen::Text("a".into())];
            fails_after(role, Config::DEFAULT, &whole, &message, Error::UnexpectedContinuation);
            let fragmented = [role.frame(TEXT, b"a"), role.frame(FIN, b""), role.frame(first, b"")].concat();
            fails_after(role, Config::DEFAULT, &fragmented, &message, Error::UnexpectedContinuation);
        }
    }
}

#[test]
fn f13_new_message_inside_a_fragmented_one_is_1002() {
    for role in Role::BOTH {
        for open in [TEXT, BINARY] {
            for new in [TEXT, BINARY, FIN | TEXT, FIN | BINARY] {
                let bytes = [role.frame(open, b""), role.frame(new, b"b")].concat();
                fails_after(role, Config::DEFAULT, &bytes, &[], Error::ExpectedContinuation);
            }
        }
    }
}

#[test]
fn f14_control_between_fragments_is_answered_at_once_and_the_message_stays_intact() {
    for role in Role::BOTH {
        let mut ws = role.connect(Config::DEFAULT);
        let mut out = Output::new();
        assert_eq!(feed(&mut ws, &role.frame(TEXT, "Grü".as_bytes()), &mut out, NOW), []);
        assert_eq!(feed(&mut ws, &role.frame(FIN | PING, b"now"), &mut out, NOW), [Seen::Ping(b"now".to_vec())]);
        assert_eq!(frames_of(&out, role), [Frame::new(FIN | PONG, b"now")], "before the message ends");
        assert_eq!(feed(&mut ws, &role.frame(FIN | PONG, b"x"), &mut out, NOW), [Seen::Pong(b"x".to_vec(), None)]);
        let last = role.frame(FIN | CONTINUATION, "ße".as_bytes());
        assert_eq!(feed(&mut ws, &last, &mut out, NOW), [Seen::Text("Grüße".into())]);

        let all = [
            role.frame(BINARY, &[1, 2]),
            role.frame(FIN | PING, b""),
            role.frame(CONTINUATION, &[3]),
            role.frame(FIN | PING, b"2"),
            role.frame(FIN, &[4]),
        ]
        .concat();
        let events = [Seen::Ping(vec![]), Seen::Ping(b"2".to_vec()), Seen::Binary(vec![1, 2, 3, 4])];
        let replies = gives(role, Config::DEFAULT, &all, &events);
        assert_eq!(replies, [Frame::new(FIN | PONG, b""), Frame::new(FIN | PONG, b"2")]);
        // A Close frame between fragments ends the connection with its own code; the message never comes.
        for (payload, code) in [(vec![], 1005), (close_payload(1000, ""), 1000), (close_payload(4000, ""), 4000)] {
            let bytes = [role.frame(TEXT, b"a"), role.frame(FIN | CLOSE, &payload), role.frame(FIN, b"b")].concat();
            let mut ws = role.connect(Config::DEFAULT);
            let mut out = Output::new();
            assert_eq!(feed(&mut ws, &bytes, &mut out, NOW), [Seen::closed(code, Ending::Peer)]);
            assert_eq!(frames_of(&out, role), [Frame::new(FIN | CLOSE, &payload)]);
        }
    }
}

#[test]
fn f15_data_behind_a_close_frame_is_ignored() {
    for role in Role::BOTH {
        for junk in [role.frame(FIN | TEXT, b"late"), role.frame(FIN | PING, b""), vec![0xff; 50], vec![0]] {
            let bytes = [role.frame(FIN | CLOSE, &close_payload(1001, "")), junk].concat();
            for cuts in [vec![], (0..bytes.len()).collect::<Vec<_>>()] {
                let mut ws = role.connect(Config::DEFAULT);
                let mut out = Output::new();
                let seen = feed_cut(&mut ws, &bytes, &cuts, &mut out, NOW);
                assert_eq!(seen, [Seen::closed(1001, Ending::Peer)]);
                assert_eq!(frames_of(&out, role), [Frame::new(FIN | CLOSE, &close_payload(1001, ""))]);
            }
        }
    }
}

#[test]
fn f16_second_close_frame_is_ignored() {
    for role in Role::BOTH {
        let close = |code| role.frame(FIN | CLOSE, &close_payload(code, "bye"));
        let mut ws = role.connect(Config::DEFAULT);
        let mut out = Output::new();
        let seen = trickle(&mut ws, &[close(1000), close(1001), close(5)].concat(), &mut out, NOW);
        assert_eq!(seen, [Seen::Closed { code: 1000, reason: "bye".into(), ending: Ending::Peer }]);
        assert_eq!(frames_of(&out, role).len(), 1);
    }
}

#[test]
fn f18_fragments_that_sum_to_one_over_the_cap_are_1009() {
    for role in Role::BOTH {
        let config = limits(Limits { message: 10, frame: 10, ..Limits::DEFAULT });
        let fragments = [role.frame(BINARY, &[1; 4]), role.frame(CONTINUATION, &[1; 4])].concat();
        let at_cap = [&fragments[..], &role.frame(FIN, &[1; 2])].concat();
        gives(role, config, &at_cap, &[Seen::Binary(vec![1; 10])]);
        // One over, as soon as the length is in.
        let over = [&fragments[..], &role.header(FIN, 3)[..2]].concat();
        fails_after(role, config, &over, &[], Error::MessageTooBig);
        // Empty fragments do not hide the sum; a limit that is reached stands only in the way of more bytes.
        let ten = [role.frame(BINARY, &[1; 10]), role.frame(CONTINUATION, b"")].concat();
        gives(role, config, &[&ten[..], &role.frame(FIN, b"")].concat(), &[Seen::Binary(vec![1; 10])]);
        fails_after(role, config, &[&ten[..], &role.frame(FIN, b"x")].concat(), &[], Error::MessageTooBig);
    }
}

#[test]
fn f19_fragment_1025_is_1008_with_one_byte_or_none() {
    for role in Role::BOTH {
        for payload in [&b""[..], b"a"] {
            let mut bytes = role.frame(TEXT, payload);
            for _ in 0..1022 {
                bytes.extend(role.frame(CONTINUATION, payload));
            }
            let fits = [&bytes[..], &role.frame(FIN, payload)].concat();
            gives(role, Config::DEFAULT, &fits, &[Seen::Text("a".repeat(1024 * payload.len()))]);
            bytes.extend(role.frame(CONTINUATION, payload));
            let too_many = [&bytes[..], &two(role, FIN, 1)].concat();
            fails_after(role, Config::DEFAULT, &too_many, &[], Error::TooManyFragments);
            // Control frames between fragments are no fragments.
            let ping = [&bytes[..], &role.frame(FIN | PONG, b"")].concat();
            gives(role, Config::DEFAULT, &ping, &[Seen::Pong(vec![], None)]);
        }
        // The count starts over with each message.
        let config = limits(Limits { fragments: 2, ..Limits::DEFAULT });
        let twice = [role.frame(BINARY, b"a"), role.frame(FIN, b"b")].concat().repeat(3);
        gives(role, config, &twice, &vec![Seen::Binary(b"ab".to_vec()); 3]);
        let config = limits(Limits { fragments: 1, ..Limits::DEFAULT });
        gives(role, config, &role.frame(FIN | BINARY, b"a"), &[Seen::Binary(b"a".to_vec())]);
    }
}

#[test]
fn f20_empty_fragments_then_fin_are_delivered() {
    for role in Role::BOTH {
        let empty = [role.frame(TEXT, b""), role.frame(FIN, b"")].concat();
        gives(role, Config::DEFAULT, &empty, &[Seen::Text(String::new())]);
        let late = [role.frame(BINARY, b""), role.frame(CONTINUATION, b""), role.frame(FIN, b"x")].concat();
        gives(role, Config::DEFAULT, &late, &[Seen::Binary(b"x".to_vec())]);
        let early = [role.frame(TEXT, b"x"), role.frame(FIN, b"")].concat();
        gives(role, Config::DEFAULT, &early, &[Seen::Text("x".into())]);
        gives(role, Config::DEFAULT, &role.frame(FIN | TEXT, b""), &[Seen::Text(String::new())]);
        gives(role, Config::DEFAULT, &role.frame(FIN | BINARY, b""), &[Seen::Binary(vec![])]);
        let config = config(|config| config.delivery = Delivery::Chunks);
        let chunk = |kind, data: &[u8], part| Seen::Chunk { kind, data: data.to_vec(), part };
        gives(role, config, &empty, &[chunk(Kind::Text, b"", Part::Whole)]);
        gives(role, config, &late, &[chunk(Kind::Binary, b"x", Part::Whole)]);
        gives(role, config, &early, &[chunk(Kind::Text, b"x", Part::First), chunk(Kind::Text, b"", Part::Last)]);
    }
}

#[test]
fn f21_masking_key_of_zeroes_is_accepted() {
    for payload in [&b"zero"[..], &[b'a'; 200], "Grüße".as_bytes()] {
        let mut bytes = header(FIN | TEXT, Form::shortest(payload.len() as u64), payload.len() as u64, Some([0; 4]));
        bytes.extend(payload);
        let text = String::from_utf8(payload.to_vec()).expect("UTF-8");
        gives(Role::Server, Config::DEFAULT, &bytes, &[Seen::Text(text)]);
    }
    // Any other key, too, and another one for each frame.
    let keys = [[0xff; 4], [0, 0, 0, 1], [0x80, 0x40, 0x20, 0x10]];
    let bytes: Vec<u8> = keys
        .iter()
        .flat_map(|&key| [header(FIN | BINARY, Form::Bits7, 50, Some(key)), masked(&[9; 50], Some(key), 0)].concat())
        .collect();
    gives(Role::Server, Config::DEFAULT, &bytes, &vec![Seen::Binary(vec![9; 50]); 3]);
}

#[test]
fn f22_end_of_file_anywhere_is_1006_without_a_partial_message() {
    for role in Role::BOTH {
        let whole = role.frame(FIN | TEXT, b"hello");
        let fragmented = [role.frame(TEXT, b"he"), role.frame(FIN | PING, b"p"), role.frame(FIN, b"llo")].concat();
        for stream in [whole, fragmented] {
            for cut in 0..stream.len() {
                let mut ws = role.connect(Config::DEFAULT);
                let mut out = Output::new();
                let before = trickle(&mut ws, &stream[..cut], &mut out, NOW);
                assert!(before.iter().all(|seen| *seen == Seen::Ping(b"p".to_vec())), "{before:?}");
                let replies = out.len();
                ws.handle_eof(NOW);
                ws.handle_eof(NOW);
                assert!(ws.is_ended() && !ws.is_open() && ws.poll_timeout().is_none());
                assert_eq!(ask_end(&mut ws, &mut out, NOW), [Seen::closed(1006, Ending::Eof)]);
                assert_eq!(ask_end(&mut ws, &mut out, NOW), []);
                assert_eq!(feed(&mut ws, &stream[cut..], &mut out, NOW), []);
                assert_eq!(out.len(), replies, "nothing is said to a peer that is gone");
            }
        }
    }
}

#[test]
fn f22_end_of_file_in_chunks_leaves_the_last_chunk_open() {
    for role in Role::BOTH {
        let config = config(|config| config.delivery = Delivery::Chunks);
        let mut ws = role.connect(config);
        let mut out = Output::new();
        let frame = role.frame(FIN | TEXT, b"hello");
        let seen = feed(&mut ws, &frame[..frame.len() - 1], &mut out, NOW);
        assert_eq!(seen, [Seen::Chunk { kind: Kind::Text, data: b"hell".to_vec(), part: Part::First }]);
        ws.handle_eof(NOW);
        assert_eq!(ask_end(&mut ws, &mut out, NOW), [Seen::closed(1006, Ending::Eof)]);
    }
}

#[test]
fn a_caller_that_stops_early_goes_on_with_the_rest() {
    for role in Role::BOTH {
        let stream: Vec<u8> = (0..20).flat_map(|i| role.frame(FIN | BINARY, &[i; 9])).collect();
        let mut ws = role.connect(Config::DEFAULT);
        let mut out = Output::new();
        let (mut left, mut seen) = (stream, Vec::new());
        while !left.is_empty() {
            let rest = {
                let mut input = Input::new(&mut left);
                match ws.next_event(&mut input, &mut out, NOW) {
                    Ok(Some(event)) => seen.push(Seen::from(event)),
                    other => panic!("{other:?}"),
                }
                input.rest().to_vec()
            };
            left = rest;
        }
        assert_eq!(seen, (0..20).map(|i| Seen::Binary(vec![i; 9])).collect::<Vec<_>>());
    }
}
