//! The encoder: what goes in comes out of a conforming parser, and nothing can be smuggled. Ids are those of docs/BAD_INPUTS.md.

mod support;

use proptest::prelude::*;
use support::{Seen, every_cut, fast, naive};
use tautline::sse::{EncodeError, Event, Parser, Signal};
use tautline::{Input, Output};

fn block(event: &Event<'_>) -> Vec<u8> {
    let mut out = Output::new();
    event.encode(&mut out).unwrap();
    let bytes = out.chunks().collect::<Vec<_>>().concat();
    assert_eq!(event.to_bytes().unwrap(), bytes);
    assert_eq!(event.encoded_len(), Ok(bytes.len()));
    bytes
}

fn signal(signal: Signal<'_>) -> Vec<u8> {
    let mut out = Output::new();
    signal.encode(&mut out).unwrap();
    let bytes = out.chunks().collect::<Vec<_>>().concat();
    assert_eq!(signal.encoded_len(), Ok(bytes.len()));
    bytes
}

/// Asserts that the encoding is refused and leaves no trace.
fn refused(event: &Event<'_>, error: EncodeError) {
    let mut out = Output::new();
    assert_eq!(event.encode(&mut out), Err(error));
    assert_eq!(event.to_bytes(), Err(error));
    assert!(out.is_empty());
}

#[test]
fn s1_an_id_with_a_line_end_or_nul_is_refused_and_nothing_is_written() {
    for id in ["\n", "a\r", "a\r\nb", "a\0b"] {
        refused(&Event::new("x").with_id(id), EncodeError::Id);
        let mut out = Output::new();
        assert_eq!(Signal::Position(id).encode(&mut out), Err(EncodeError::Id));
        assert!(out.is_empty());
    }
}

#[test]
fn s2_an_event_type_or_topic_with_a_line_end_is_refused() {
    for name in ["\n", "a\rdata: x", "a\r\n"] {
        refused(&Event::new("x").with_event(name), EncodeError::Event);
        refused(&Event::new("x").with_topic(name), EncodeError::Topic);
    }
}

#[test]
fn s3_each_line_end_in_data_begins_a_line_and_crlf_counts_once() {
    for (data, seen) in [
        ("a\rb", "a\nb"),
        ("a\r\nb", "a\nb"),
        ("a\n\nb", "a\n\nb"),
        ("a\n\rb", "a\n\nb"),
        ("a\r\r\nb", "a\n\nb"),
        ("a\n", "a\n"),
        ("\na\r\n", "\na\n"),
        ("\n\n\n", "\n\n\n"),
        ("\r", "\n"),
    ] {
        let block = block(&Event::new(data));
        assert!(!block.contains(&b'\r'));
        every_cut(&block, |chunks| assert_eq!(fast(chunks).events[0].data, seen, "{data:?}"));
        assert_eq!(naive(&block).events.len(), 1);
    }
}

#[test]
fn s4_empty_data_is_one_event_with_the_empty_string() {
    assert_eq!(block(&Event::new("")), b"data: \n\n");
    assert_eq!(fast([&block(&Event::new(""))[..]]).events[0].data, "");
}

#[test]
fn s5_leading_spaces_reach_the_client_in_every_field() {
    let event = Event::new("  x").with_id(" 1").with_event(" t").with_topic(" u");
    let seen = &fast([&block(&event)[..]]).events[0];
    let expected =
        Seen { event: " t".into(), data: "  x".into(), last_event_id: " 1".into(), topic: Some(" u".into()) };
    assert_eq!(*seen, expected);
}

#[test]
fn s6_each_line_of_a_comment_has_its_own_colon() {
    let comment = signal(Signal::Comment("a\ndata: x\r\n\r\nid: 1\r"));
    assert_eq!(comment, b": a\n: data: x\n: \n: id: 1\n: \n");
    assert_eq!(signal(Signal::KeepAlive), b":\n");
    assert_eq!(fast([&comment[..]]), support::Outcome::default());
}

#[test]
fn s7_data_that_is_not_utf8_is_an_error() {
    assert_eq!(Event::from_utf8(b"a\xFF"), Err(EncodeError::Utf8));
    assert_eq!(Event::from_utf8(b"\xED\xA0\x80"), Err(EncodeError::Utf8));
    assert_eq!(Event::from_utf8("é".as_bytes()), Ok(Event::new("é")));
}

#[test]
fn data_that_looks_like_a_field_or_a_comment_stays_data() {
    for data in [": x", "event: x", "data: x\n\ndata: y", "id: 1\r\rid: 2", "a\0b", "\u{FEFF}", "\u{2028}\u{85}"] {
        let outcome = fast([&block(&Event::new(data))[..]]);
        assert_eq!(outcome.events.len(), 1);
        assert_eq!(outcome.events[0].data, data.replace("\r\r", "\n\n"));
        assert_eq!((outcome.events[0].event.as_str(), outcome.last_event_id.as_str()), ("message", ""));
    }
}

#[test]
fn the_type_message_is_left_out_and_an_empty_id_is_not() {
    assert_eq!(block(&Event::new("x").with_event("message")), b"data: x\n\n");
    assert_eq!(block(&Event::new("x").with_event("").with_id("")), b"id: \ndata: x\n\n");
}

#[test]
fn retry_and_position_dispatch_nothing() {
    for millis in [0, 7, 3000, u64::MAX] {
        let outcome = fast([&signal(Signal::Retry(millis))[..]]);
        assert_eq!((outcome.events.len(), outcome.retry), (0, Some(millis)));
    }
    let outcome = fast([&signal(Signal::Position("5-1"))[..]]);
    assert_eq!((outcome.events.len(), outcome.last_event_id.as_str()), (0, "5-1"));
}

#[test]
fn an_event_that_does_not_fit_is_not_begun() {
    let event = Event::new("0123456789\n0123456789");
    let len = event.encoded_len().unwrap();
    let mut out = Output::with_limit(len - 1);
    assert!(matches!(event.encode(&mut out), Err(EncodeError::Full(_))));
    assert!(out.is_empty());
    let mut out = Output::with_limit(len);
    event.encode(&mut out).unwrap();
    assert_eq!(out.len(), len);
}

/// Text with what matters: line ends, spaces, colons, NULs, marks.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c \r\n:]{0,20}",
        prop::collection::vec(
            prop::sample::select(vec!['\r', '\n', '\0', ' ', ':', '\u{FEFF}', 'é', 'd', '😀']),
            0..20
        )
        .prop_map(|chars| chars.into_iter().collect()),
        any::<String>(),
        Just("x".repeat(200)),
    ]
}

fn name() -> impl Strategy<Value = String> {
    text().prop_map(|text| text.replace(['\r', '\n', '\0'], "-"))
}

proptest! {
    #[test]
    fn what_is_encoded_is_parsed_as_it_was_at_any_cut(
        events in prop::collection::vec((text(), name(), prop::option::of(name()), prop::option::of(name())), 1..4),
        step in 1..60usize,
        comment in text(),
    ) {
        let mut out = Output::new();
        for (data, event, id, topic) in &events {
            let event = Event { event, data, id: id.as_deref(), topic: topic.as_deref() };
            event.encode(&mut out).unwrap();
            Signal::Comment(&comment).encode(&mut out).unwrap();
        }
        let stream = out.chunks().collect::<Vec<_>>().concat();
        for step in [step, stream.len()] {
            let (mut parser, mut seen) = (Parser::new(), 0);
            for chunk in stream.chunks(step) {
                let mut chunk = chunk.to_vec();
                let mut input = Input::new(&mut chunk);
                while let Some(parsed) = parser.next_event(&mut input).unwrap() {
                    let (data, event, id, topic) = &events[seen];
                    let event = if event.is_empty() { "message" } else { event };
                    let data = data.replace("\r\n", "\n").replace('\r', "\n");
                    prop_assert_eq!(parsed, Event { event, data: &data, id: id.as_deref(), topic: topic.as_deref() });
                    seen += 1;
                }
            }
            prop_assert_eq!(seen, events.len());
        }
        let outcome = naive(&stream);
        prop_assert_eq!(&fast([&stream[..]]), &outcome);
    }
}
