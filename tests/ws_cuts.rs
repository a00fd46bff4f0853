//! A stream cut anywhere gives the same events and the same replies (F17), in both roles and both deliveries, also where bytes
//! of it are damaged; and what one machine writes, the other reads.
//!
//! Byte by byte nothing goes the fast way and in one piece nearly everything does, so these properties hold the one against the
//! other, and both against a naive receiver.

mod ws_wire;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use tautline::Output;
use tautline::ws::{CloseCode, Config, Connection, Delivery, Ending, Kind, Limits, Prepared, Text};
use ws_wire::*;

/// Small enough that streams of a few kilobytes meet every limit.
const LIMITS: Limits = Limits { message: 30_000, frame: 20_000, fragments: 6, control_rate: 1000, control_burst: 12 };

fn settings(delivery: Delivery) -> Config {
    config(|config| {
        config.limits = LIMITS;
        config.delivery = delivery;
    })
}

/// A frame to be, and the masking key that it gets if its receiver is a server.
type Plan = (u8, Vec<u8>, [u8; 4]);

fn to_wire(plans: &[Plan], role: Role) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (first, payload, key) in plans {
        let key = role.key().and(Some(*key));
        bytes.extend(header(*first, Form::shortest(payload.len() as u64), payload.len() as u64, key));
        bytes.extend(masked(payload, key, 0));
    }
    bytes
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ -~]{0,40}",
        4 => "[a-zé漢😀\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}]{0,40}",
        2 => "[ -~é]{120,135}",
        1 => ("[a-zé漢😀]{1,5}", 1usize..1500).prop_map(|(text, times)| text.repeat(times)),
    ]
}

fn binary() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        2 => prop::collection::vec(any::<u8>(), 120..135),
        1 => (any::<u8>(), 250usize..19_000).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn control() -> impl Strategy<Value = Plan> {
    let payload =
        prop_oneof![3 => 0usize..10, 1 => 120usize..=125].prop_flat_map(|n| prop::collection::vec(any::<u8>(), n));
    (prop::sample::select(vec![FIN | PING, FIN | PONG]), payload, any::<[u8; 4]>())
}

/// A message in 1 to 5 fragments, with control frames between some of them.
fn message() -> impl Strategy<Value = Vec<Plan>> {
    let content =
        prop_oneof![text().prop_map(|text| (TEXT, text.into_bytes())), binary().prop_map(|bytes| (BINARY, bytes))];
    let cuts = prop_oneof![3 => Just(vec![]), 2 => prop::collection::vec(any::<Index>(), 1..5)];
    let between = prop::collection::vec(prop::option::weighted(0.3, control()), 4);
    (content, cuts, between, any::<[u8; 4]>()).prop_map(|((opcode, payload), cuts, between, key)| {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
        cuts.sort_unstable();
        let last = cuts.len();
        let (mut from, mut plans) = (0, Vec::new());
        for (i, to) in cuts.into_iter().chain([payload.len()]).enumerate() {
            let opcode = if i == 0 { opcode } else { CONTINUATION };
            let fin = if i == last { FIN } else { 0 };
            plans.push((fin | opcode, payload[from..to].to_vec(), key));
            if let (false, Some(Some(control))) = (i == last, between.get(i)) {
                plans.push(control.clone());
            }
            from = to;
        }
        plans
    })
}

fn close() -> impl Strategy<Value = Plan> {
    let code = prop::sample::select(vec![1000, 1001, 1007, 1014, 3000, 4999]);
    let payload =
        prop_oneof![Just(vec![]), (code, "[a-zé]{0,60}").prop_map(|(code, reason)| close_payload(code, &reason))];
    (Just(FIN | CLOSE), payload, any::<[u8; 4]>())
}

/// A valid stream, perhaps with a Close frame and something behind it.
fn stream() -> impl Strategy<Value = Vec<Plan>> {
    let item = prop_oneof![3 => message(), 1 => control().prop_map(|control| vec![control])];
    let end = prop::option::weighted(0.3, (close(), prop::option::of(message())));
    (prop::collection::vec(item, 0..6), end).prop_map(|(items, end)| {
        let mut plans = items.concat();
        if let Some((close, behind)) = end {
            plans.push(close);
            plans.extend(behind.unwrap_or_default());
        }
        plans
    })
}

/// One thing done to a stream.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    Remove(Index),
    Insert(Index, u8),
    Truncate(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        any::<Index>().prop_map(Damage::Remove),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        any::<Index>().prop_map(Damage::Truncate),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages.iter().filter(|_| !bytes.is_empty()).cloned().collect::<Vec<_>>() {
        let len = bytes.len();
        if len == 0 {
            break;
        }
        match damage {
            Damage::Set(at, byte) => bytes[at.index(len)] = byte,
            Damage::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Damage::Remove(at) => drop(bytes.remove(at.index(len))),
            Damage::Insert(at, byte) => bytes.insert(at.index(len), byte),
            Damage::Truncate(at) => bytes.truncate(at.index(len)),
        }
    }
    bytes
}

fn sorted(cuts: &[Index], len: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
    cuts.sort_unstable();
    cuts
}

/// Reads the stream in every way there is and holds the outcomes against each other and against the naive receiver.
fn same_in_every_way(bytes: &[u8], role: Role, cuts: &[Index]) -> Result<Vec<Seen>, TestCaseError> {
    let mut first: Option<(Vec<Seen>, Vec<u8>)> = None;
    for delivery in [Delivery::Messages, Delivery::Chunks] {
        for cuts in [vec![], sorted(cuts, bytes.len()), (0..bytes.len()).collect()] {
            let mut ws = role.connect(settings(delivery));
            let mut out = Output::new();
            let seen = join_chunks(feed_cut(&mut ws, bytes, &cuts, &mut out, NOW));
            let wire = unsent(&out);
            if let Some((expected, replies)) = &first {
                prop_assert_eq!(&seen, expected, "events, {:?} cut at {:?}", delivery, cuts);
                prop_assert_eq!(&wire, replies, "replies, {:?} cut at {:?}", delivery, cuts);
            } else {
                let reading = Reading::of(&seen, &frames_of(&out, role));
                prop_assert_eq!(reading, Reading::naive(bytes, role, &LIMITS), "the naive receiver");
                first = Some((seen, wire));
            }
        }
    }
    Ok(first.unwrap_or_default().0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn f17_any_cut_of_a_valid_stream_gives_the_same_events_and_replies(
        plans in stream(),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        for role in Role::BOTH {
            let seen = same_in_every_way(&to_wire(&plans, role), role, &cuts)?;
            // Valid means valid: only a limit can end it.
            let failed = seen.iter().find_map(|seen| match seen {
                Seen::Error(error) => Some(error.close_code().as_u16()),
                _ => None,
            });
            prop_assert!(matches!(failed, None | Some(1008 | 1009)), "{:?}", failed);
        }
    }

    #[test]
    fn f17_any_cut_of_a_damaged_stream_gives_the_same_events_error_and_replies(
        plans in stream(),
        damages in prop::collection::vec(damage(), 1..4),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        for role in Role::BOTH {
            same_in_every_way(&damaged(to_wire(&plans, role), &damages), role, &cuts)?;
        }
    }

    #[test]
    fn f17_any_cut_of_any_bytes_gives_the_same(
        headers in prop::collection::vec((any::<[u8; 2]>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..20)), 0..8),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        for role in Role::BOTH {
            // Half of the headers are made plausible for the role, so that some get past the first check.
            let bytes: Vec<u8> = headers.iter().flat_map(|(head, plausible, rest)| {
                let [mut first, mut second] = *head;
                if *plausible {
                    first &= 0x8b;
                    second = second & 0x1f | if role == Role::Server { 0x80 } else { 0 };
                }
                [&[first, second][..], rest].concat()
            }).collect();
            same_in_every_way(&bytes, role, &cuts)?;
        }
    }
}

#[test]
fn f17_every_cut_and_every_two_cuts_of_one_stream_with_everything_in_it() {
    let plans: Vec<Plan> = [
        (FIN | TEXT, "Grüße 😀".as_bytes().to_vec()),
        (TEXT, b"\xf0\x9f".to_vec()),
        (FIN | PING, b"inside a character".to_vec()),
        (CONTINUATION, vec![]),
        (FIN | CONTINUATION, b"\x98\x80".to_vec()),
        (FIN | BINARY, vec![0xff; 126]),
        (FIN | PONG, vec![]),
        (FIN | TEXT, vec![]),
        (FIN | CLOSE, close_payload(1001, "bye")),
    ]
    .map(|(first, payload)| (first, payload, [1, 0x82, 3, 0x84]))
    .to_vec();
    for role in Role::BOTH {
        let bytes = to_wire(&plans, role);
        for delivery in [Delivery::Messages, Delivery::Chunks] {
            let mut expected = None;
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let mut ws = role.connect(settings(delivery));
                    let mut out = Output::new();
                    let seen = join_chunks(feed_cut(&mut ws, &bytes, &[first, second], &mut out, NOW));
                    let outcome = (seen, unsent(&out));
                    assert_eq!(expected.get_or_insert_with(|| outcome.clone()), &outcome, "{role:?} {first} {second}");
                }
            }
            assert_eq!(expected.unwrap_or_default().0.len(), 7);
        }
    }
}

/// One call of the sender's.
#[derive(Clone, Debug)]
enum Send {
    Text(String),
    Binary(Vec<u8>),
    SharedText(String),
    SharedBinary(Vec<u8>),
    PreparedText(String),
    PreparedBinary(Vec<u8>),
    Fragments(Kind, Vec<u8>, Vec<Index>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn send() -> impl Strategy<Value = Send> {
    let small = || prop::collection::vec(any::<u8>(), 0..=125);
    let cuts = || prop::collection::vec(any::<Index>(), 0..4);
    prop_oneof![
        text().prop_map(Send::Text),
        binary().prop_map(Send::Binary),
        text().prop_map(Send::SharedText),
        binary().prop_map(Send::SharedBinary),
        text().prop_map(Send::PreparedText),
        binary().prop_map(Send::PreparedBinary),
        (text(), cuts()).prop_map(|(text, cuts)| Send::Fragments(Kind::Text, text.into_bytes(), cuts)),
        (binary(), cuts()).prop_map(|(bytes, cuts)| Send::Fragments(Kind::Binary, bytes, cuts)),
        small().prop_map(Send::Ping),
        small().prop_map(Send::Pong),
    ]
}

/// Does the call, and says what the peer must report.
fn apply(send: &Send, ws: &mut Connection, out: &mut Output) -> Vec<Seen> {
    match send.clone() {
        Send::Text(text) => {
            ws.send_text(&text, out).expect("room");
            vec![Seen::Text(text)]
        }
        Send::Binary(bytes) => {
            ws.send_binary(&bytes, out).expect("room");
            vec![Seen::Binary(bytes)]
        }
        Send::SharedText(text) => {
            ws.send_shared_text(Text::from(text.clone()), out).expect("room");
            vec![Seen::Text(text)]
        }
        Send::SharedBinary(bytes) => {
            ws.send_shared_binary(Bytes::from(bytes.clone()), out).expect("room");
            vec![Seen::Binary(bytes)]
        }
        Send::PreparedText(text) => {
            ws.send_prepared(&Prepared::text(&text), out).expect("room");
            vec![Seen::Text(text)]
        }
        Send::PreparedBinary(bytes) => {
            ws.send_prepared(&Prepared::binary(&bytes), out).expect("room");
            vec![Seen::Binary(bytes)]
        }
        Send::Fragments(kind, bytes, cuts) => {
            let cuts = sorted(&cuts, bytes.len());
            let mut from = 0;
            let mut expected = Vec::new();
            for (i, &to) in cuts.iter().enumerate() {
                let piece = &bytes[from..to];
                if i == 0 { ws.begin(kind, piece, out) } else { ws.append(piece, out) }.expect("room");
                // A control frame may stand between any two.
                ws.ping(&[i as u8], out).expect("room");
                expected.push(Seen::Ping(vec![i as u8]));
                from = to;
            }
            if cuts.is_empty() {
                ws.begin(kind, b"", out).expect("room");
            }
            ws.finish(&bytes[from..], out).expect("room");
            expected.push(match kind {
                Kind::Text => Seen::Text(String::from_utf8(bytes).expect("text")),
                Kind::Binary => Seen::Binary(bytes),
            });
            expected
        }
        Send::Ping(payload) => {
            ws.ping(&payload, out).expect("room");
            vec![Seen::Ping(payload)]
        }
        Send::Pong(payload) => {
            ws.pong(&payload, out).expect("room");
            vec![Seen::Pong(payload, None)]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_one_side_sends_in_any_way_the_other_reports_cut_anywhere(
        sends in prop::collection::vec(send(), 0..12),
        close in (prop::option::of(prop::sample::select(vec![1000u16, 1012, 3000, 4999])), "[a-zé]{0,61}"),
        cuts in prop::collection::vec(any::<Index>(), 0..20),
        blocked: bool,
    ) {
        for role in Role::BOTH {
            let mut sender = role.connect(Config::DEFAULT);
            let mut receiver = role.peer().connect(Config::DEFAULT);
            let mut out = Output::new();
            let mut expected = Vec::new();
            for send in &sends {
                if blocked {
                    // Shared payloads go by reference from 64 bytes on. A newer pong replaces an older one, so none is sent.
                    out.set_blocked();
                    if matches!(send, Send::Pong(_)) {
                        continue;
                    }
                }
                expected.extend(apply(send, &mut sender, &mut out));
            }
            let (code, reason) = close.clone();
            let reason = if code.is_some() { reason } else { String::new() };
            sender.close(code.and_then(CloseCode::new), &reason, NOW, &mut out).expect("open");
            expected.push(Seen::Closed { code: code.unwrap_or(1005), reason, ending: Ending::Peer });

            let wire = unsent(&out);
            frames_of(&out, role);
            let mut back = Output::new();
            let seen = feed_cut(&mut receiver, &wire, &sorted(&cuts, wire.len()), &mut back, NOW);
            prop_assert_eq!(seen, expected);

            let mut nothing = Output::new();
            let answered = trickle(&mut sender, &unsent(&back), &mut nothing, NOW);
            prop_assert_eq!(answered.last(), Some(&Seen::closed(code.unwrap_or(1005), Ending::Local)));
            prop_assert!(nothing.is_empty());
        }
    }
}
