//! Text, closing and control frames: rows U1 to U6, C1 to C9 and K1 to K4 of the list of bad inputs, with their neighbours, in
//! both roles. (What K2 says about memory: `allocations.rs`.)

mod ws_wire;

use std::time::Duration;
use tautline::heartbeat::HeartbeatConfig;
use tautline::ws::{
    CloseCode, Config, Connection, Delivery, Ending, Error, Limits, Prepared, Replies, SendError, Text,
};
use tautline::{Instant, Output};
use ws_wire::*;

const QUIET: Config = {
    let mut config = Config::DEFAULT;
    config.heartbeat = None;
    config
};

const BEATING: Config = {
    let mut config = Config::DEFAULT;
    config.heartbeat = Some(HeartbeatConfig {
        interval: Duration::from_secs(25),
        deadline: Duration::from_secs(10),
        jitter_percent: 0,
    });
    config
};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Asserts that the stream fails with `error` when its last byte is in, and not before; whole and byte by byte, kept and passed.
fn fails_at_the_last_byte(role: Role, bytes: &[u8], error: Error) {
    for delivery in [Delivery::Messages, Delivery::Chunks] {
        let config = config(|config| config.delivery = delivery);
        let failure = [Seen::Error(error), Seen::closed(error.close_code().as_u16(), Ending::Failed(error))];
        let mut ws = role.connect(config);
        let mut out = Output::new();
        let (before, last) = bytes.split_at(bytes.len() - 1);
        let seen = trickle(&mut ws, before, &mut out, NOW);
        assert!(!seen.iter().any(|seen| matches!(seen, Seen::Error(_) | Seen::Closed { .. })), "{bytes:x?}: {seen:?}");
        assert!(out.is_empty());
        assert_eq!(feed(&mut ws, last, &mut out, NOW), failure, "{bytes:x?}");
        let close = close_payload(error.close_code().as_u16(), error.as_str());
        assert_eq!(frames_of(&out, role), [Frame::new(FIN | CLOSE, &close)]);

        let mut ws = role.connect(config);
        let seen = feed(&mut ws, bytes, &mut Output::new(), NOW);
        assert_eq!(&seen[seen.len() - 2..], failure, "{bytes:x?}");
    }
}

fn text_of(role: Role, bytes: &[u8], expected: &str) {
    for cuts in [vec![], (0..bytes.len()).collect::<Vec<_>>()] {
        for delivery in [Delivery::Messages, Delivery::Chunks] {
            let mut ws = role.connect(config(|config| config.delivery = delivery));
            let seen = join_chunks(feed_cut(&mut ws, bytes, &cuts, &mut Output::new(), NOW));
            assert_eq!(seen, [Seen::Text(expected.into())], "{role:?} {delivery:?}");
        }
    }
}

#[test]
fn u1_bad_byte_in_the_first_fragment_is_1007_before_the_next() {
    for role in Role::BOTH {
        for (good, bad) in [(&b""[..], 0xff), (b"abc", 0x80), (b"Gr\xc3", 0x28), (&[b'a'; 500], 0xc0)] {
            let payload = [good, &[bad]].concat();
            fails_at_the_last_byte(role, &role.frame(TEXT, &payload), Error::InvalidUtf8);
            let second = [role.frame(TEXT, b"x"), role.frame(CONTINUATION, &payload)].concat();
            fails_at_the_last_byte(role, &second, Error::InvalidUtf8);
            // Inside a frame: the rest of it need not come.
            let mut unfinished = role.header(TEXT, 1000);
            unfinished.extend(masked(&payload, role.key(), 0));
            fails_at_the_last_byte(role, &unfinished, Error::InvalidUtf8);
            let mut unfinished = role.header(FIN | TEXT, 1000);
            unfinished.extend(masked(&payload, role.key(), 0));
            fails_at_the_last_byte(role, &unfinished, Error::InvalidUtf8);
        }
    }
}

#[test]
fn u2_a_character_split_over_fragments_and_reads_is_accepted() {
    for role in Role::BOTH {
        for text in ["é", "漢", "😀", "a😀é漢z", "κόσμε", "\u{10ffff}\u{7ff}\u{800}\u{ffff}"] {
            let bytes = text.as_bytes();
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let frames = [
                        role.frame(TEXT, &bytes[..first]),
                        role.frame(FIN | PONG, b""),
                        role.frame(CONTINUATION, &bytes[first..second]),
                        role.frame(FIN, &bytes[second..]),
                    ];
                    text_of(role, &[&frames[0][..], &frames[2], &frames[3]].concat(), text);
                    // With a control frame inside the character.
                    let mut ws = role.connect(Config::DEFAULT);
                    let seen = trickle(&mut ws, &frames.concat(), &mut Output::new(), NOW);
                    assert_eq!(seen, [Seen::Pong(vec![], None), Seen::Text(text.into())]);
                }
            }
            let long = text.repeat(5000);
            text_of(role, &role.frame(FIN | TEXT, long.as_bytes()), &long);
        }
    }
}

#[test]
fn u3_a_message_that_ends_inside_a_character_is_1007() {
    for role in Role::BOTH {
        for text in ["é", "漢", "😀"] {
            for cut in 1..text.len() {
                for before in [0, 3, 40, 9000] {
                    let payload = [&vec![b'a'; before][..], &text.as_bytes()[..cut]].concat();
                    let whole = role.frame(FIN | TEXT, &payload);
                    fails_at_the_last_byte(role, &whole, Error::InvalidUtf8);
                    // Split: the last fragment brings nothing more.
                    let head = role.frame(TEXT, &payload);
                    let empty = [&head[..], &role.frame(FIN, b"")].concat();
                    fails_at_the_last_byte(role, &empty, Error::InvalidUtf8);
                }
            }
        }
        // Binary messages may end with anything.
        let mut ws = role.connect(Config::DEFAULT);
        let seen = feed(&mut ws, &role.frame(FIN | BINARY, b"\xf0\x9f"), &mut Output::new(), NOW);
        assert_eq!(seen, [Seen::Binary(b"\xf0\x9f".to_vec())]);
    }
}

#[test]
fn u4_overlong_forms_surrogates_and_what_is_beyond_unicode_are_1007_at_the_first_impossible_byte() {
    // Each sequence up to and with its first impossible byte.
    let bad: [&[u8]; 16] = [
        b"\xc0",
        b"\xc1",
        b"\xe0\x80",
        b"\xe0\x9f",
        b"\xed\xa0",
        b"\xed\xbf",
        b"\xf0\x80",
        b"\xf0\x8f",
        b"\xf4\x90",
        b"\xf5",
        b"\xf8",
        b"\xfe",
        b"\xff",
        b"\x80",
        b"\xbf",
        b"\xf0\x90\x80\x00",
    ];
    for role in Role::BOTH {
        for bad in bad {
            for before in [0, 1, 31, 32, 33, 8191, 8192] {
                let payload = [&vec![b'a'; before][..], bad].concat();
                let mut frame = role.header(FIN | TEXT, payload.len() as u64 + 7);
                frame.extend(masked(&payload, role.key(), 0));
                fails_at_the_last_byte(role, &frame, Error::InvalidUtf8);
            }
            // As a whole frame, too: that goes another way.
            let mut ws = role.connect(Config::DEFAULT);
            let frame = role.frame(FIN | TEXT, &[bad, b"tail"].concat());
            assert_eq!(feed(&mut ws, &frame, &mut Output::new(), NOW)[0], Seen::Error(Error::InvalidUtf8));
        }
    }
}

#[test]
fn u6_a_byte_order_mark_is_delivered_unchanged() {
    for role in Role::BOTH {
        for text in ["\u{feff}x", "\u{feff}", "a\u{feff}b", "\u{0}\u{fffd}\u{fffe}"] {
            text_of(role, &role.frame(FIN | TEXT, text.as_bytes()), text);
            let fragments = [role.frame(TEXT, &text.as_bytes()[..1]), role.frame(FIN, &text.as_bytes()[1..])].concat();
            text_of(role, &fragments, text);
        }
    }
}

#[test]
fn c1_close_payload_of_one_byte_is_1002_at_its_length() {
    for role in Role::BOTH {
        fails_at_the_last_byte(role, &role.header(FIN | CLOSE, 1)[..2], Error::CloseTooShort);
        for byte in [0, 3, 0xff] {
            let frame = role.frame(FIN | CLOSE, &[byte]);
            let open = [role.frame(TEXT, b"x"), frame.clone()].concat();
            for bytes in [frame, open] {
                let mut ws = role.connect(Config::DEFAULT);
                let seen = feed(&mut ws, &bytes, &mut Output::new(), NOW);
                let error = Error::CloseTooShort;
                assert_eq!(seen, [Seen::Error(error), Seen::closed(1002, Ending::Failed(error))]);
            }
        }
    }
}

#[test]
fn c2_codes_that_must_not_be_sent_are_1002() {
    for role in Role::BOTH {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            for reason in ["", "why"] {
                let frame = role.frame(FIN | CLOSE, &close_payload(code, reason));
                fails_at_the_last_byte(role, &frame, Error::InvalidCloseCode);
            }
        }
    }
}

#[test]
fn c3_codes_that_may_be_sent_are_echoed() {
    for role in Role::BOTH {
        for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
            for cuts in [vec![], (0..20).collect::<Vec<_>>()] {
                let mut ws = role.connect(Config::DEFAULT);
                let mut out = Output::new();
                let frame = role.frame(FIN | CLOSE, &close_payload(code, "Grüße"));
                let seen = feed_cut(&mut ws, &frame, &cuts, &mut out, NOW);
                assert_eq!(seen, [Seen::Closed { code, reason: "Grüße".into(), ending: Ending::Peer }]);
                assert_eq!(frames_of(&out, role), [Frame::new(FIN | CLOSE, &close_payload(code, ""))]);
                assert!(ws.is_ended() && ws.poll_timeout().is_none());
            }
        }
    }
}

#[test]
fn c4_reason_that_is_not_utf8_is_1007() {
    for role in Role::BOTH {
        for reason in [&b"\xff"[..], b"bye\xc3", b"\xed\xa0\x80", b"\xc0\x80"] {
            let frame = role.frame(FIN | CLOSE, &[&1000u16.to_be_bytes()[..], reason].concat());
            fails_at_the_last_byte(role, &frame, Error::InvalidCloseReason);
        }
    }
}

#[test]
fn c5_what_must_not_be_sent_is_an_error_and_writes_nothing() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        assert_eq!(CloseCode::new(code), None);
    }
    for role in Role::BOTH {
        let mut ws = role.connect(Config::DEFAULT);
        let mut out = Output::new();
        let long = "a".repeat(124);
        assert_eq!(ws.close(Some(CloseCode::NORMAL), &long, NOW, &mut out), Err(SendError::CloseReason));
        // Bytes count, not characters.
        assert_eq!(ws.close(Some(CloseCode::NORMAL), &"é".repeat(62), NOW, &mut out), Err(SendError::CloseReason));
        assert_eq!(ws.close(None, "why", NOW, &mut out), Err(SendError::CloseReason));
        assert!(out.is_empty() && ws.is_open());
        assert_eq!(ws.close(Some(CloseCode::NORMAL), &long[1..], NOW, &mut out), Ok(()));
        assert_eq!(frames_of(&out, role), [Frame::new(FIN | CLOSE, &close_payload(1000, &long[1..]))]);
    }
}

#[test]
fn c6_an_empty_close_is_answered_by_an_empty_one() {
    for role in Role::BOTH {
        let mut ws = role.connect(Config::DEFAULT);
        let mut out = Output::new();
        assert_eq!(feed(&mut ws, &role.frame(FIN | CLOSE, b""), &mut out, NOW), [Seen::closed(1005, Ending::Peer)]);
        assert_eq!(frames_of(&out, role), [Frame::new(FIN | CLOSE, b"")]);
        // And the other way round.
        let mut ws = role.connect(Config::DEFAULT);
        let mut out = Output::new();
        assert_eq!(ws.close(None, "", NOW, &mut out), Ok(()));
        assert_eq!(frames_of(&out, role), [Frame::new(FIN | CLOSE, b"")]);
        assert_eq!(feed(&mut ws, &role.frame(FIN | CLOSE, b""), &mut out, NOW), [Seen::closed(1005, Ending::Local)]);
        assert_eq!(frames_of(&out, role).len(), 1);
    }
}

#[test]
fn c7_a_peer_that_ignores_our_close_is_left_at_the_deadline_which_nothing_extends() {
    for role in Role::BOTH {
        for config in [QUIET, BEATING, changed(BEATING, |config| config.idle = Some(secs(1)))] {
            let mut ws = role.connect(config);
            let mut out = Output::new();
            ws.close(Some(CloseCode::GOING_AWAY), "", NOW, &mut out).expect("open");
            let deadline = NOW + secs(5);
            assert_eq!(ws.poll_timeout(), Some(deadline));
            for tenth in 1..50 {
                let now = NOW + Duration::from_millis(100 * tenth);
                let more = [
                    role.frame(FIN | TEXT, b"still here"),
                    role.frame(FIN | PING, b"?"),
                    role.frame(BINARY, b"frag"),
                    role.frame(FIN, b"ment"),
                ];
                let seen = feed(&mut ws, &more.concat(), &mut out, now);
                let text = Seen::Text("still here".into());
                assert_eq!(seen, [text, Seen::Ping(b"?".to_vec()), Seen::Binary(b"fragment".to_vec())]);
                ws.handle_timeout(now, &mut out);
                assert_eq!(ws.poll_timeout(), Some(deadline));
            }
            assert!(!ws.is_ended());
            ws.handle_timeout(deadline, &mut out);
            assert!(ws.is_ended() && ws.poll_timeout().is_none());
            assert_eq!(ask_end(&mut ws, &mut out, deadline), [Seen::closed(1006, Ending::CloseTimeout)]);
            assert_eq!(ask_end(&mut ws, &mut out, deadline), []);
            assert_eq!(frames_of(&out, role).len(), 1, "nothing is sent behind a Close frame");
        }
    }
}

#[test]
fn c7_a_peer_that_breaks_the_rules_while_we_close_is_left_at_once_and_told_nothing_more() {
    for role in Role::BOTH {
        let mut ws = role.connect(Config::DEFAULT);
        let mut out = Output::new();
        ws.close(Some(CloseCode::NORMAL), "", NOW, &mut out).expect("open");
        let seen = feed(&mut ws, &role.frame(FIN | TEXT, b"\xff"), &mut out, NOW);
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], Seen::Error(Error::InvalidUtf8));
        assert!(matches!(seen[1], Seen::Closed { ending: Ending::Failed(Error::InvalidUtf8), .. }));
        assert_eq!(frames_of(&out, role).len(), 1);
    }
}

#[test]
fn c8_both_close_at_once_and_each_side_ends_once() {
    for role in Role::BOTH {
        let (mut a, mut b) = (role.connect(Config::DEFAULT), role.peer().connect(Config::DEFAULT));
        let (mut from_a, mut from_b) = (Output::new(), Output::new());
        a.close(Some(CloseCode::NORMAL), "a", NOW, &mut from_a).expect("open");
        b.close(Some(CloseCode::GOING_AWAY), "b", NOW, &mut from_b).expect("open");
        let (to_a, to_b) = (unsent(&from_b), unsent(&from_a));
        from_a.clear();
        from_b.clear();
        let closed = |code, reason: &str| [Seen::Closed { code, reason: reason.into(), ending: Ending::Local }];
        assert_eq!(trickle(&mut a, &to_a, &mut from_a, NOW), closed(1001, "b"));
        assert_eq!(feed(&mut b, &to_b, &mut from_b, NOW), closed(1000, "a"));
        assert!(from_a.is_empty() && from_b.is_empty(), "neither answers: each has sent its Close frame");
        for ws in [&mut a, &mut b] {
            ws.handle_eof(NOW);
            ws.handle_timeout(NOW + secs(100), &mut from_a);
            assert_eq!(ask_end(ws, &mut from_a, NOW + secs(100)), []);
        }
    }
}

/// Every way to send, and what each says.
fn every_send(ws: &mut Connection, out: &mut Output) -> Vec<SendError> {
    let text = ws.send_shared_text(Text::from("shared"), out).expect_err("closed");
    assert_eq!(text.payload, Text::from("shared"), "the payload comes back");
    let long = bytes::Bytes::from(vec![1; 20_000]);
    let binary = ws.send_shared_binary(long.clone(), out).expect_err("closed");
    assert_eq!(binary.payload, long);
    vec![
        ws.send_text("x", out).expect_err("closed"),
        ws.send_text(&"x".repeat(1000), out).expect_err("closed"),
        ws.send_binary(b"", out).expect_err("closed"),
        ws.send_prepared(&Prepared::text("prepared"), out).expect_err("closed"),
        ws.begin(tautline::ws::Kind::Text, b"x", out).expect_err("closed"),
        ws.append(b"x", out).expect_err("closed"),
        ws.finish(b"x", out).expect_err("closed"),
        ws.ping(b"x", out).expect_err("closed"),
        ws.pong(b"x", out).expect_err("closed"),
        ws.close(Some(CloseCode::NORMAL), "", NOW, out).expect_err("closed"),
        text.cause,
        binary.cause,
    ]
}

#[test]
fn c9_sending_after_close_is_an_error_and_writes_nothing() {
    for role in Role::BOTH {
        let ways: [fn(Role, &mut Connection, &mut Output); 5] = [
            |_, ws, out| ws.close(None, "", NOW, out).expect("open"),
            |role, ws, out| drop(feed(ws, &role.frame(FIN | CLOSE, b""), out, NOW)),
            |role, ws, out| drop(feed(ws, &role.frame(FIN | 0x40, b""), out, NOW)),
            |_, ws, _| ws.handle_eof(NOW),
            |_, ws, out| {
                ws.close(None, "", NOW, out).expect("open");
                ws.handle_timeout(NOW + secs(5), out);
            },
        ];
        for begun in [false, true] {
            for way in ways {
                let mut ws = role.connect(Config::DEFAULT);
                let mut out = Output::new();
                if begun {
                    ws.begin(tautline::ws::Kind::Text, b"begun", &mut out).expect("open");
                }
                way(role, &mut ws, &mut out);
                let before = unsent(&out);
                assert!(every_send(&mut ws, &mut out).iter().all(|error| *error == SendError::Closed));
                assert_eq!(unsent(&out), before);
                ask_end(&mut ws, &mut out, NOW);
                assert!(every_send(&mut ws, &mut out).iter().all(|error| *error == SendError::Closed));
                assert_eq!(unsent(&out), before);
            }
        }
    }
}

#[test]
fn c9_a_manual_close_is_answered_once_by_the_application() {
    let config = changed(QUIET, |config| config.replies = Replies::Manual);
    for role in Role::BOTH {
        let mut ws = role.connect(config);
        let mut out = Output::new();
        let close = role.frame(FIN | CLOSE, &close_payload(4001, "bye"));
        assert_eq!(feed(&mut ws, &close, &mut out, NOW), [Seen::CloseReceived(4001, "bye".into())]);
        assert!(out.is_empty() && ws.is_open() && !ws.is_ended());
        assert_eq!(feed(&mut ws, &role.frame(FIN | TEXT, b"late"), &mut out, NOW), [], "F15 holds here, too");
        assert_eq!(ws.poll_timeout(), Some(NOW + secs(5)));
        ws.send_text("last words", &mut out).expect("messages may go out before the answer");
        ws.close(Some(CloseCode::NORMAL), "", NOW, &mut out).expect("unanswered");
        assert_eq!(ws.close(Some(CloseCode::NORMAL), "", NOW, &mut out), Err(SendError::Closed));
        assert_eq!(ask_end(&mut ws, &mut out, NOW), [Seen::closed(4001, Ending::Peer)]);
        assert_eq!(frames_of(&out, role).len(), 2);
    }
}

#[test]
fn a_manual_close_that_is_never_answered_still_ends_with_the_peers_code() {
    let config = changed(QUIET, |config| config.replies = Replies::Manual);
    for role in Role::BOTH {
        for (payload, code) in [(close_payload(4001, ""), 4001), (vec![], 1005)] {
            let mut ws = role.connect(config);
            let mut out = Output::new();
            feed(&mut ws, &role.frame(FIN | CLOSE, &payload), &mut out, NOW);
            ws.handle_eof(NOW);
            assert_eq!(ask_end(&mut ws, &mut out, NOW), [Seen::closed(code, Ending::Eof)]);

            let mut ws = role.connect(config);
            feed(&mut ws, &role.frame(FIN | CLOSE, &payload), &mut out, NOW);
            ws.handle_timeout(NOW + secs(5), &mut out);
            assert_eq!(ask_end(&mut ws, &mut out, NOW), [Seen::closed(code, Ending::CloseTimeout)]);
            assert!(out.is_empty());
        }
    }
}

#[test]
fn k1_ten_pings_in_one_read_are_answered_in_order() {
    for role in Role::BOTH {
        let pings: Vec<u8> = (0..10u8).flat_map(|i| role.frame(FIN | PING, &vec![i; usize::from(i) * 13])).collect();
        let pongs: Vec<Frame> = (0..10u8).map(|i| Frame::new(FIN | PONG, &vec![i; usize::from(i) * 13])).collect();
        for cuts in [vec![], (0..pings.len()).collect::<Vec<_>>()] {
            let mut ws = role.connect(Config::DEFAULT);
            let mut out = Output::new();
            assert_eq!(feed_cut(&mut ws, &pings, &cuts, &mut out, NOW).len(), 10);
            assert_eq!(frames_of(&out, role), pongs);
        }
        // Replies switched off: reported, not answered; the application's answer goes out.
        let mut ws = role.connect(config(|config| config.replies = Replies::Manual));
        let mut out = Output::new();
        assert_eq!(feed(&mut ws, &pings, &mut out, NOW).len(), 10);
        assert!(out.is_empty());
        ws.pong(b"mine", &mut out).expect("open");
        assert_eq!(frames_of(&out, role), [Frame::new(FIN | PONG, b"mine")]);
    }
}

#[test]
fn k2_while_the_socket_blocks_a_newer_pong_replaces_the_unsent_one() {
    for role in Role::BOTH {
        let mut ws = role.connect(Config::DEFAULT);
        let mut out = Output::new();
        ws.send_text("stuck", &mut out).expect("room");
        out.set_blocked();
        for i in 0..900u32 {
            let ping = role.frame(FIN | PING, &i.to_be_bytes());
            assert_eq!(feed(&mut ws, &ping, &mut out, NOW).len(), 1);
            if i == 450 {
                ws.send_text("between", &mut out).expect("room");
            }
        }
        let frames = frames_of(&out, role);
        let expected = [
            Frame::new(FIN | TEXT, b"stuck"),
            Frame::new(FIN | PONG, &899u32.to_be_bytes()),
            Frame::new(FIN | TEXT, b"between"),
        ];
        assert_eq!(frames, expected);
        // Once the socket takes everything, every ping is answered again.
        out.advance(out.len());
        for i in 0..3u8 {
            feed(&mut ws, &role.frame(FIN | PING, &[i]), &mut out, NOW);
        }
        assert_eq!(frames_of(&out, role).len(), 3);
    }
}

#[test]
fn k2_a_pong_of_which_a_byte_was_sent_is_never_replaced() {
    for role in Role::BOTH {
        for sent in 0..40 {
            let mut ws = role.connect(Config::DEFAULT);
            let mut out = Output::new();
            ws.send_text("stuck", &mut out).expect("room");
            out.set_blocked();
            let mut wire = Vec::new();
            for payload in [&b"the first pong"[..], b"2", b"the third of them"] {
                feed(&mut ws, &role.frame(FIN | PING, payload), &mut out, NOW);
                let n = if payload == b"the first pong" { sent.min(out.len() - 1) } else { 0 };
                wire.extend(&unsent(&out)[..n]);
                out.advance(n);
            }
            wire.extend(unsent(&out));
            let (frames, whole) = parse_output(&wire, role).expect("frames");
            assert_eq!(whole, wire.len());
            assert_eq!(frames.last(), Some(&Frame::new(FIN | PONG, b"the third of them")));
            let begun = sent > unsent_len_of_text(role);
            assert_eq!(frames.len(), if begun { 3 } else { 2 }, "{sent} {frames:?}");
        }
    }
}

fn unsent_len_of_text(role: Role) -> usize {
    role.peer().frame(FIN | TEXT, b"stuck").len()
}

#[test]
fn k2_more_control_frames_than_the_rate_are_1008() {
    for role in Role::BOTH {
        for opcode in [PING, PONG] {
            let mut ws = role.connect(Config::DEFAULT);
            let mut out = Output::new();
            let burst = role.frame(FIN | opcode, b"").repeat(1000);
            assert_eq!(feed(&mut ws, &burst, &mut out, NOW).len(), 1000);
            let seen = feed(&mut ws, &role.frame(FIN | opcode, b""), &mut out, NOW);
            assert_eq!(seen[0], Seen::Error(Error::TooManyControls));
            assert_eq!(frames_of(&out, role).last().and_then(Frame::close_code), Some(1008));
        }
        // At the rate it goes on for ever; twice the rate ends it.
        let mut ws = role.connect(Config::DEFAULT);
        let mut out = Output::new();
        let ping = role.frame(FIN | PING, b"");
        for i in 0..20_000 {
            let now = NOW + Duration::from_millis(i);
            assert_eq!(feed(&mut ws, &ping, &mut out, now), [Seen::Ping(vec![])], "ping {i}");
            out.clear();
        }
        let mut count = 0u64;
        while ws.is_open() {
            count += 1;
            feed(&mut ws, &ping, &mut out, NOW + Duration::from_millis(20_000) + Duration::from_micros(500 * count));
            out.clear();
            assert!(count < 2100);
        }
        assert!(count > 1000, "{count}");
        // Data frames are not counted.
        let mut ws = role.connect(Config::DEFAULT);
        assert_eq!(feed(&mut ws, &role.frame(FIN | TEXT, b"").repeat(3000), &mut out, NOW).len(), 3000);
    }
}

#[test]
fn k2_a_full_output_keeps_room_for_one_pong_and_the_close_frame() {
    for role in Role::BOTH {
        let mut ws = role
            .connect(changed(QUIET, |config| config.limits = Limits { message: 500, frame: 500, ..Limits::DEFAULT }));
        let mut out = Output::with_limit(400);
        let head = role.peer().header(FIN | BINARY, 200).len();
        ws.send_binary(&[0; 200], &mut out).expect("room");
        ws.send_binary(&vec![1; 200 - 2 * head], &mut out).expect("room to the last byte");
        assert_eq!(out.room(), 0);
        assert!(matches!(ws.send_binary(b"", &mut out), Err(SendError::Full(full)) if full.limit == 400));
        assert!(matches!(ws.ping(b"", &mut out), Err(SendError::Full(_))));
        for i in 0..50u8 {
            feed(&mut ws, &role.frame(FIN | PING, &[i; 125]), &mut out, NOW);
        }
        assert!(out.len() <= 400 + 131);
        ws.close(Some(CloseCode::NORMAL), &"r".repeat(123), NOW, &mut out).expect("a Close frame always fits");
        assert!(out.len() <= 400 + 131 + 131);
        let frames = frames_of(&out, role);
        assert_eq!(frames[2], Frame::new(FIN | PONG, &[49; 125]));
        assert_eq!(frames.len(), 4);
    }
}

/// A connection whose heartbeat just pinged at NOW + 25 s, and that ping's payload.
fn pinged(role: Role) -> (Connection, Vec<u8>, Instant) {
    let mut ws = role.connect(BEATING);
    let mut out = Output::new();
    let now = NOW + secs(25);
    assert_eq!(ws.poll_timeout(), Some(now));
    ws.handle_timeout(now, &mut out);
    let frames = frames_of(&out, role);
    assert_eq!((frames.len(), frames[0].first), (1, FIN | PING));
    (ws, frames[0].payload.clone(), now)
}

#[test]
fn k3_only_the_answer_to_the_last_heartbeat_measures_a_round_trip() {
    for role in Role::BOTH {
        let (mut ws, payload, sent) = pinged(role);
        let mut out = Output::new();
        let pong = |payload: &[u8]| role.frame(FIN | PONG, payload);
        let other: Vec<u8> = payload.iter().map(|byte| !byte).collect();
        for wrong in [&b""[..], &other, &payload[1..], &[&payload[..], b"x"].concat()] {
            let seen = feed(&mut ws, &pong(wrong), &mut out, sent + secs(1));
            assert_eq!(seen, [Seen::Pong(wrong.to_vec(), None)]);
        }
        let seen = feed(&mut ws, &pong(&payload), &mut out, sent + Duration::from_millis(1234));
        assert_eq!(seen, [Seen::Pong(payload.clone(), Some(Duration::from_millis(1234)))]);
        // Once only, and nobody who guesses the next payload measures anything.
        let number = u32::from_be_bytes(payload[..].try_into().expect("four bytes"));
        for guess in [number, number.wrapping_add(1), number.wrapping_add(2), number.wrapping_sub(1)] {
            let guess = guess.to_be_bytes();
            let seen = feed(&mut ws, &pong(&guess), &mut out, sent + secs(2));
            assert_eq!(seen, [Seen::Pong(guess.to_vec(), None)], "an unsolicited pong");
        }
        assert!(out.is_empty());
    }
}

#[test]
fn k3_unsolicited_pongs_before_any_ping_are_ignored() {
    for role in Role::BOTH {
        let mut ws = role.connect(BEATING);
        let mut out = Output::new();
        for guess in [&b""[..], b"\0\0\0\0", b"x"] {
            let seen = feed(&mut ws, &role.frame(FIN | PONG, guess), &mut out, NOW);
            assert_eq!(seen, [Seen::Pong(guess.to_vec(), None)]);
        }
        // The application's own ping is its own business.
        ws.ping(b"mine", &mut out).expect("open");
        let seen = feed(&mut ws, &role.frame(FIN | PONG, b"mine"), &mut out, NOW + secs(1));
        assert_eq!(seen, [Seen::Pong(b"mine".to_vec(), None)]);
    }
}

#[test]
fn k4_silence_for_interval_and_deadline_is_a_ping_timeout() {
    for role in Role::BOTH {
        let (mut ws, _, sent) = pinged(role);
        let mut out = Output::new();
        assert_eq!(ws.poll_timeout(), Some(sent + secs(10)));
        ws.handle_timeout(sent + Duration::from_millis(9_999), &mut out);
        assert!(!ws.is_ended() && out.is_empty());
        ws.handle_timeout(sent + secs(10), &mut out);
        assert!(ws.is_ended());
        assert_eq!(ask_end(&mut ws, &mut out, sent + secs(10)), [Seen::closed(1006, Ending::PingTimeout)]);
        assert_eq!(ask_end(&mut ws, &mut out, sent + secs(10)), []);
        assert_eq!(frames_of(&out, role).len(), 1, "a last Close frame, for whoever still listens");
    }
}

#[test]
fn k4_any_received_byte_counts_as_life() {
    for role in Role::BOTH {
        let whole = role.frame(FIN | TEXT, b"hello");
        for piece in [&whole[..], &whole[..1], &whole[..3], &role.frame(FIN | PONG, b"other"), &role.frame(TEXT, b"")] {
            let (mut ws, _, sent) = pinged(role);
            let mut out = Output::new();
            feed(&mut ws, piece, &mut out, sent + secs(9));
            ws.handle_timeout(sent + secs(10), &mut out);
            assert!(!ws.is_ended() && out.is_empty(), "{piece:x?}");
            // Probed again an interval after that byte, not earlier.
            let next = sent + secs(9) + secs(25);
            assert_eq!(ws.poll_timeout(), Some(next));
            ws.handle_timeout(next, &mut out);
            assert_eq!(frames_of(&out, role).len(), 1);
        }
    }
}

#[test]
fn k4_a_peer_that_only_pings_is_alive_but_idle() {
    for role in Role::BOTH {
        let mut ws = role.connect(changed(BEATING, |config| config.idle = Some(secs(60))));
        let mut out = Output::new();
        for second in 1..60 {
            let now = NOW + secs(second);
            feed(&mut ws, &role.frame(FIN | PING, b""), &mut out, now);
            ws.handle_timeout(now, &mut out);
            out.clear();
        }
        assert!(ws.is_open());
        ws.handle_timeout(NOW + secs(60), &mut out);
        assert_eq!(frames_of(&out, role)[0].close_code(), Some(1001));
        let answer = role.frame(FIN | CLOSE, &close_payload(1001, ""));
        assert_eq!(feed(&mut ws, &answer, &mut out, NOW + secs(61)), [Seen::closed(1001, Ending::Idle)]);
    }
}

#[test]
fn pings_inside_an_open_message_do_not_keep_an_idle_connection_open() {
    for role in Role::BOTH {
        let mut ws = role.connect(changed(QUIET, |config| config.idle = Some(secs(60))));
        let mut out = Output::new();
        feed(&mut ws, &role.frame(TEXT, b"begun"), &mut out, NOW);
        feed(&mut ws, &role.frame(FIN | PING, b""), &mut out, NOW + secs(59));
        out.clear();
        ws.handle_timeout(NOW + secs(60), &mut out);
        assert_eq!(frames_of(&out, role)[0].close_code(), Some(1001));
    }
}

#[test]
fn a_peer_that_drains_our_backlog_is_alive_though_its_pong_is_late() {
    for role in Role::BOTH {
        let (mut ws, _, sent) = pinged(role);
        let mut out = Output::new();
        ws.handle_drained(sent + secs(9));
        ws.handle_timeout(sent + secs(10), &mut out);
        assert!(!ws.is_ended() && out.is_empty());
        assert_eq!(ws.poll_timeout(), Some(sent + secs(9) + secs(25)));
    }
}

#[test]
fn k2_the_burst_holds_at_any_rate() {
    let rate = changed(QUIET, |config| (config.limits.control_rate, config.limits.control_burst) = (u32::MAX, 10));
    let mut ws = Role::Server.connect(rate);
    let mut out = Output::new();
    let seen = feed(&mut ws, &Role::Server.frame(FIN | PING, b"").repeat(100), &mut out, NOW);
    assert_eq!(seen.iter().filter(|seen| matches!(seen, Seen::Ping(_))).count(), 10);
    assert!(seen.contains(&Seen::Error(Error::TooManyControls)));
}

#[test]
fn k4_a_pong_that_was_read_after_a_stall_is_life_where_it_is_fed_first() {
    for role in Role::BOTH {
        let (mut ws, payload, sent) = pinged(role);
        let (mut out, late) = (Output::new(), sent + secs(60));
        let seen = feed(&mut ws, &role.frame(FIN | PONG, &payload), &mut out, late);
        assert_eq!(seen, [Seen::Pong(payload, Some(secs(60)))]);
        ws.handle_timeout(late, &mut out);
        assert!(ws.is_open() && out.is_empty());
    }
}
