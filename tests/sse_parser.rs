//! The event-stream parser: the standard to the letter, at any cut. Ids are those of docs/BAD_INPUTS.md.

mod support;

use base64::Engine;
use proptest::prelude::*;
use serde_json::Value;
use support::{Outcome, Seen, every_cut, fast, limited, naive};
use tautline::sse::{ParseError, Parser};
use tautline::{Buffers, Input};

fn message(data: &str) -> Seen {
    Seen { event: "message".into(), data: data.into(), last_event_id: String::new(), topic: None }
}

/// Asserts what `stream` means, at every cut, and that the naive twin agrees.
#[track_caller]
fn means(stream: &[u8], expected: &Outcome) {
    assert_eq!(naive(stream), *expected, "the naive twin");
    every_cut(stream, |chunks| assert_eq!(fast(chunks), *expected));
}

#[track_caller]
fn messages(stream: &[u8], data: &[&str]) {
    means(stream, &Outcome { events: data.iter().map(|data| message(data)).collect(), ..Outcome::default() });
}

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("data/sse_cases.json")).expect("the cases are JSON")
}

fn chunks(case: &Value) -> Vec<Vec<u8>> {
    let decode = |chunk: &Value| {
        let text = chunk.as_str().unwrap();
        let mut bytes = vec![0; text.len()];
        let len = base64::prelude::BASE64_STANDARD.decode_slice(text, &mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    };
    case["chunks"].as_array().unwrap().iter().map(decode).collect()
}

#[test]
fn every_case_of_the_standard_comes_out_as_listed_at_every_cut() {
    let cases = cases();
    assert_eq!(cases.len(), 107);
    // What the response head decides is the client stream's; see sse_client.rs.
    for case in cases.iter().filter(|case| case["should_connect"] == true) {
        let events = case["expected_events"].as_array().unwrap().iter().map(|event| Seen {
            event: event["event"].as_str().unwrap().into(),
            data: event["data"].as_str().unwrap().into(),
            last_event_id: event["last_event_id"].as_str().unwrap().into(),
            topic: None,
        });
        let events: Vec<Seen> = events.collect();
        let check = |outcome: Outcome| {
            assert_eq!(outcome.events, events, "{}", case["name"]);
            assert_eq!(outcome.retry, case["expected_retry_ms"].as_u64(), "{}", case["name"]);
            if let Some(id) = case["reconnect_last_event_id"].as_str() {
                assert_eq!(outcome.last_event_id, id, "{}", case["name"]);
            }
        };
        let chunks = chunks(case);
        check(fast(chunks.iter().map(Vec::as_slice)));
        if case["rechunk_every_byte"] == true {
            every_cut(&chunks.concat(), |chunks| check(fast(chunks)));
        } else {
            check(fast(chunks.concat().chunks(1)));
            check(fast(chunks.concat().chunks(1460)));
        }
        check(naive(&chunks.concat()));
    }
}

#[test]
fn events_are_due_at_the_first_byte_of_their_blank_line() {
    let mut checked = 0;
    for case in cases() {
        let Some(after) = case["events_after_chunk"].as_array() else { continue };
        let (mut parser, mut seen) = (Parser::new(), 0);
        for (chunk, after) in chunks(&case).iter().zip(after) {
            seen += support::feed(&mut parser, [&chunk[..]]).unwrap().events.len() as u64;
            assert_eq!(seen, after.as_u64().unwrap(), "{}", case["name"]);
        }
        checked += 1;
    }
    assert!(checked >= 5);
    // The same for the naive twin's view: no prefix of a stream has its event later.
    for stream in [&b"data:a\n\n"[..], b"data:a\r\r", b"data:a\r\n\r\n", b"id:1\ndata:a\r\n\n", b"data:a\n\r\n"] {
        let due = (0..stream.len()).find(|end| !naive(&stream[..*end + 1]).events.is_empty()).unwrap();
        for end in 0..stream.len() {
            assert_eq!(fast(stream[..=end].chunks(1)).events.len(), usize::from(end >= due));
            assert_eq!(fast([&stream[..=end]]).events.len(), usize::from(end >= due));
        }
    }
}

#[test]
fn r1_a_byte_order_mark_is_removed_once_at_the_very_start() {
    messages("\u{FEFF}data: a\n\n\u{FEFF}data: b\n\ndata: c\n\n".as_bytes(), &["a", "c"]);
    messages("\u{FEFF}\u{FEFF}data: a\n\ndata: b\n\n".as_bytes(), &["b"]);
    messages("data: \u{FEFF}a\n\n".as_bytes(), &["\u{FEFF}a"]);
    messages(b"\xEF\xBBdata: a\n\ndata: b\n\n", &["b"]);
    messages(b"\xEF\ndata: a\n\n", &["a"]);
    messages("\n\u{FEFF}data: a\n\n".as_bytes(), &[]);
}

#[test]
fn r2_cr_and_lf_in_two_reads_are_one_line_end() {
    messages(b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", &["a\nb", "c"]);
    messages(b"data: a\r\r\ndata: b\n\n", &["a", "b"]);
    messages(b"data: a\n\r\n\n\ndata: b\n\r", &["a", "b"]);
}

#[test]
fn r3_a_stream_of_lone_crs_is_parsed() {
    messages(b"data: a\rdata: b\r\rdata: c\r\r\r:x\rdata: d\r\r", &["a\nb", "c", "d"]);
}

#[test]
fn r4_a_data_value_loses_one_leading_space_and_needs_no_colon() {
    messages(b"data\n\ndata:\n\ndata:x\n\ndata: x\n\ndata:  x\n\ndata:\tx\n\n", &["", "", "x", "x", " x", "\tx"]);
    messages(b"data\ndata\n\n", &["\n"]);
    messages(b"data :x\ndat\ndatax:y\nDATA:z\n data:x\n\n", &[]);
}

#[test]
fn r5_an_empty_id_resets_and_one_with_nul_is_ignored() {
    let seen = |data: &str, id: &str| Seen { last_event_id: id.into(), ..message(data) };
    let events = vec![seen("1", "x"), seen("2", ""), seen("3", "y"), seen("4", "y"), seen("5", "z")];
    means(
        b"id:x\ndata:1\n\nid\ndata:2\n\nid: y\ndata:3\n\nid: a\0b\ndata:4\n\nid:z\nid:\0\ndata:5\n\n",
        &Outcome { events, last_event_id: "z".into(), retry: None },
    );
    means(b"id:x\n\nid:\n\n", &Outcome::default());
    means(b"id: x\n\nid: y\n", &Outcome { last_event_id: "x".into(), ..Outcome::default() });
}

#[test]
fn r6_retry_takes_digits_only_and_is_reported_as_sent() {
    let retry = |value: &str| {
        let stream = format!("retry: 7\nretry:{value}\n");
        let expected = naive(stream.as_bytes());
        every_cut(stream.as_bytes(), |chunks| assert_eq!(fast(chunks), expected));
        expected.retry
    };
    for ignored in ["12a", "-1", "+5", "  5", "", " ", "1.5", "0x10", "5 ", "٣", "5\0", "18446744073709551616"] {
        assert_eq!(retry(ignored), Some(7), "{ignored:?}");
    }
    assert_eq!(retry("0"), Some(0));
    assert_eq!(retry(" 00012"), Some(12));
    assert_eq!(retry("1000000000000"), Some(1_000_000_000_000));
    assert_eq!(retry("18446744073709551615"), Some(u64::MAX));
    // At once, without a blank line; but not before the line's end.
    assert_eq!(fast([&b"retry: 5\r"[..]]).retry, Some(5));
    assert_eq!(fast([&b"retry: 5"[..]]).retry, None);
}

#[test]
fn r7_an_event_without_its_blank_line_is_discarded_at_the_end() {
    messages(b"data: a\n\ndata: b\n", &["a"]);
    messages(b"data: a\n\nda", &["a"]);
    let mut parser = Parser::new();
    support::feed(&mut parser, [&b"id: 1\ndata: a\n\nretry: 5\nid: 2\nevent: x\ndata: b\r"[..]]).unwrap();
    assert!(parser.is_mid_event());
    parser.restart();
    assert!(!parser.is_mid_event());
    // A CR at the end of the old stream does not swallow an LF of the new one, and its mark goes again.
    let again = support::feed(&mut parser, ["\u{FEFF}\ndata: c\n\n".as_bytes()]).unwrap();
    assert_eq!(again.events, [Seen { last_event_id: "1".into(), ..message("c") }]);
    assert_eq!((again.last_event_id.as_str(), again.retry), ("1", Some(5)));
}

#[test]
fn r8_a_line_without_end_is_an_error_at_the_line_cap() {
    for name in ["data: ", "id: ", "event:", "retry:", "topic: "] {
        let mut parser = Parser::new();
        let mut buffers = Buffers::new();
        let mut read = vec![b'1'; 64 << 10];
        read[..name.len()].copy_from_slice(name.as_bytes());
        let mut fed = 0;
        let error = loop {
            let mut input = Input::with_buffers(&mut read, &mut buffers);
            fed += 64 << 10;
            match parser.next_event(&mut input) {
                Ok(event) => assert_eq!(event, None),
                Err(error) => break error,
            }
            drop(input);
            read.fill(b'1');
            assert!(fed <= 1 << 20, "{name}");
        };
        assert_eq!(error, ParseError::LineTooLong { limit: 1 << 20 });
        // For good, and with nothing kept.
        assert!(!parser.is_mid_event());
        let mut more = *b"\n\ndata: x\n\n";
        assert_eq!(parser.next_event(&mut Input::new(&mut more)), Err(error));
        parser.restart();
        assert!(parser.next_event(&mut Input::new(&mut b"data: x\n\n".to_owned())).unwrap().is_some());
    }
}

#[test]
fn r8_comments_and_unknown_fields_of_any_length_are_skipped_and_not_counted() {
    for name in [":", "unknown:", "dat", "ids:", "\u{FEFF}"] {
        let mut stream = b"data: a\n".to_vec();
        for _ in 0..3 {
            stream.extend_from_slice(name.as_bytes());
            stream.resize(stream.len() + 1000, b'x');
            stream.push(b'\n');
        }
        stream.extend_from_slice(b"data: b\n\n");
        for step in [1, 7, 100, 1460, stream.len()] {
            let events = limited(100, 100, stream.chunks(step)).unwrap().events;
            assert_eq!(events, [message("a\nb")], "{name} {step}");
        }
    }
}

#[test]
fn r9_a_million_data_lines_are_an_error_at_the_event_cap() {
    let stream = b"data:\n".repeat(1_000_000);
    for step in [1460, 64 << 10, stream.len()] {
        let error = limited(1 << 20, 1 << 20, stream.chunks(step)).unwrap_err();
        assert_eq!(error, ParseError::EventTooLong { limit: 1 << 20 });
    }
    let ids = b"id: x\n".repeat(1_000_000);
    assert!(limited(1 << 20, 1 << 20, ids.chunks(1460)).is_err());
}

#[test]
fn limits_are_exact_and_the_same_at_every_cut() {
    let strike = |stream: &str, line, event, error: Option<ParseError>| {
        let expected = error.map_or_else(|| Ok(naive(stream.as_bytes())), Err);
        every_cut(stream.as_bytes(), |chunks| {
            assert_eq!(limited(line, event, chunks), expected, "{stream:?} within {line} and {event}");
        });
    };
    for end in ["\n", "\r", "\r\n"] {
        let (line, event) =
            (|limit| Some(ParseError::LineTooLong { limit }), |limit| Some(ParseError::EventTooLong { limit }));
        // 10 bytes of line; 10 + 1 + 7 + 1 bytes of event.
        let two = "data: 1234\n:comment\nevent:x\n\n".replace('\n', end);
        strike(&two, 10, 19, None);
        strike(&two, 9, 100, line(9));
        strike(&two, 10, 18, event(18));
        strike(&two, 10, 17, event(17));
        // The end of a lone line counts as well, with and without a blank line behind it.
        for one in
            ["data: 1234\n\n", "data: 1234\n", "id: 123456\n\n", "retry:1234\n", ":c\n\ndata: 1234\n\ndata: 1234\n\n"]
        {
            let one = one.replace('\n', end);
            strike(&one, 10, 11, None);
            strike(&one, 11, 11, None);
            strike(&one, 9, 11, line(9));
            strike(&one, 100, 9, event(9));
            strike(&one, 100, 10, event(10));
            strike(&one, 10, 10, event(10));
        }
        strike(&["data", "data", ""].join(end), 4, 10, None);
        strike(&["data", "data", ""].join(end), 4, 9, event(9));
    }
}

#[test]
fn r10_invalid_utf8_becomes_one_replacement_per_maximal_subpart() {
    messages(b"data: a\xFFb\n\n", &["a\u{FFFD}b"]);
    messages(b"data: \xF0\x9F\x98\ndata: \xF0\x9F\x98\x80\n\n", &["\u{FFFD}\n😀"]);
    messages(b"data: \xE0\x80\x80\xED\xA0\x80\n\n", &["\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}"]);
    messages(b"data: \xF4\x90\x80\x80\xC0\x80\n\n", &["\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}"]);
    messages(b"data: \xF0\x9F\xE2\x82\xF0\x9F\x98\xE2\x82\xAC\n\n", &["\u{FFFD}\u{FFFD}\u{FFFD}€"]);
    let stream = b"event:\xFFt\nid:\xFE\ntopic:\x80\ndata:x\n\nid:\xE2\x82\n\n";
    let expected = naive(stream);
    assert_eq!(expected.events[0].event, "\u{FFFD}t");
    assert_eq!(expected.last_event_id, "\u{FFFD}");
    means(stream, &expected);
}

#[test]
fn r10_a_character_cut_off_by_a_field_is_not_completed_by_the_next_field() {
    let replaced = |event: &str, data: &str, id: &str| Outcome {
        events: vec![Seen { event: event.into(), data: data.into(), last_event_id: id.into(), topic: None }],
        last_event_id: id.into(),
        retry: None,
    };
    means(b"data: a\xe6\nid: \xbc\xa2\n\n", &replaced("message", "a\u{fffd}", "\u{fffd}\u{fffd}"));
    means(b"event: \xf0\x9f\nid: \x98\x80\ndata: a\n\n", &replaced("\u{fffd}", "a", "\u{fffd}\u{fffd}"));
    // The id is the client's afterwards, whichever fields are beyond repair.
    let torn = Seen { event: "\u{fffd}".into(), data: "\u{fffd}".into(), last_event_id: "7".into(), topic: None };
    means(
        b"data: \xc3\nevent: \xa9\nid: 7\n\n",
        &Outcome { events: vec![torn], last_event_id: "7".into(), retry: None },
    );
    means(b"event: \xc3\nid: \xa9\ndata: hello\n\n", &replaced("\u{fffd}", "hello", "\u{fffd}"));
    means(b"id: a\0\xc3\nevent: \xa9\ndata: b\xc3\n\n", &replaced("\u{fffd}", "b\u{fffd}", ""));
    means(b"data: \xe6\ndata: \xbc\xa2\n\n", &replaced("message", "\u{fffd}\n\u{fffd}\u{fffd}", ""));
}

#[test]
fn r10_a_long_line_that_spans_reads_is_repaired_as_a_short_one() {
    for (bad, good) in
        [(&b"\xff"[..], "\u{fffd}"), (b"\xe6\xbc", "\u{fffd}"), (b"\xe6\xbc\xa2", "\u{6f22}"), (b"\t", "\t")]
    {
        for at in [0, 127, 255, 8191, 8192] {
            let mut stream = b"data: ".to_vec();
            stream.resize(6 + at, b'x');
            stream.extend_from_slice(bad);
            stream.resize(10_000, b'y');
            stream.extend_from_slice(b"\ndata: z\n\n");
            let data = format!("{}{good}{}\nz", "x".repeat(at), "y".repeat(10_000 - 6 - at - bad.len()));
            let expected = Outcome { events: vec![message(&data)], ..Outcome::default() };
            for step in [1, 129, 1000, 1460, 9999, 16_384] {
                assert_eq!(fast(stream.chunks(step)), expected, "{bad:x?} at {at}, in reads of {step}");
            }
        }
    }
}

#[test]
fn r12_an_event_type_holds_for_its_own_block_only() {
    messages(b"event: x\n\ndata: y\n\n", &["y"]);
    let named = Seen { event: "x".into(), ..message("1") };
    means(b"event: x\ndata: 1\n\ndata: 2\n\n", &Outcome { events: vec![named, message("2")], ..Outcome::default() });
}

#[test]
fn fields_between_data_lines_survive_the_joining_of_the_lines() {
    let stream = b"data: a\nid: 3\ndata: bb\nevent: t\ntopic: u\n:c\ndata: ccc\nretry: 9\ndata\n\n";
    let event =
        Seen { event: "t".into(), data: "a\nbb\nccc\n".into(), last_event_id: "3".into(), topic: Some("u".into()) };
    means(stream, &Outcome { events: vec![event], last_event_id: "3".into(), retry: Some(9) });
}

#[test]
fn an_idle_parser_is_small() {
    assert!(size_of::<Parser>() <= 96, "{}", size_of::<Parser>());
}

/// Streams made of what matters to the parser, in any order.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            &b"\n"[..], b"\r", b"\r\n", b"\n\n", b"data", b"data:", b"data: ", b"event:", b"event: ", b"id:", b"id: ", b"retry:",
            b"retry: ", b"topic: ", b":", b" ", b"d", b"da", b"even", b"t", b"retr", b"\0", b"\xEF\xBB\xBF", b"\xEF", b"\xBB",
            b"\xFF", b"\xF0\x9F\x98\x80", b"\xF0\x9F", b"\xE2\x82\xAC", b"\xE2\x82", b"\x80", b"12", b"x", b"unknown: y",
        ]).prop_map(<[u8]>::to_vec),
        1 => "[a-z ]{0,80}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    // A character that one field cuts off and the next would complete; then data, mostly, and the end of the block.
    let name = || prop::sample::select(vec!["data:", "data: ", "event: ", "id:", "id: ", "topic: "]);
    let line_end = || prop::sample::select(vec!["\n", "\n", "\r", "\r\n"]);
    let torn = (name(), name(), "[a-z]{0,3}", prop::sample::select(vec!["é", "漢", "😀"]), 1..4usize, line_end())
        .prop_map(|(first, second, text, character, at, end)| {
            let (head, tail) = character.as_bytes().split_at(at.min(character.len() - 1));
            [first.as_bytes(), text.as_bytes(), head, end.as_bytes(), second.as_bytes(), tail, end.as_bytes()].concat()
        });
    let plain = prop::sample::select(vec!["data: x\n", "data: x\n\n", "id: 7\n", "\n"])
        .prop_map(|text| text.as_bytes().to_vec());
    prop_oneof![
        3 => prop::collection::vec(piece.clone(), 0..40),
        1 => prop::collection::vec(prop_oneof![torn.clone(), plain.clone()], 0..8),
        1 => prop::collection::vec(prop_oneof![torn, plain, piece], 0..20),
    ]
    .prop_map(|pieces| pieces.concat())
}

/// Cuts `stream` at the given places, taken modulo what is left.
fn cut<'s>(stream: &'s [u8], cuts: &[usize]) -> Vec<&'s [u8]> {
    let (mut rest, mut chunks) = (stream, Vec::new());
    for cut in cuts {
        let (chunk, tail) = rest.split_at(cut % (rest.len() + 1));
        chunks.push(chunk);
        rest = tail;
    }
    chunks.push(rest);
    chunks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn r14_any_cut_of_any_stream_gives_the_events_of_the_naive_twin(
        stream in streams(),
        cuts in prop::collection::vec(0..40usize, 0..8),
    ) {
        let expected = naive(&stream);
        prop_assert_eq!(&fast([&stream[..]]), &expected);
        prop_assert_eq!(&fast(stream.chunks(1)), &expected);
        prop_assert_eq!(&fast(cut(&stream, &cuts)), &expected);
    }

    #[test]
    fn limits_strike_alike_at_any_cut(
        stream in streams(),
        cuts in prop::collection::vec(0..40usize, 0..8),
        line in 0..40usize,
        event in 0..60usize,
    ) {
        let expected = limited(line, event, stream.chunks(1));
        prop_assert_eq!(&limited(line, event, [&stream[..]]), &expected);
        prop_assert_eq!(&limited(line, event, cut(&stream, &cuts)), &expected);
        if let Ok(outcome) = expected {
            prop_assert_eq!(outcome, naive(&stream));
        }
    }
}
