//! Cursors, positions, entries and the sequence that workers read.

use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use tautline::Input;
use tautline::hub::{
    Cursor, CursorError, CursorText, Entry, LogId, Position, PublishError, Sequence, SequenceFull, SequenceLimits,
    Sequencer, TopicError,
};
use tautline::sse::{EncodeError, Event, Parser};

// Cursors.

#[test]
fn the_start_of_everything_is_0() {
    assert_eq!(Cursor::parse("0"), Ok(Cursor::START));
    assert_eq!(Cursor::parse("0-0"), Ok(Cursor::START));
    assert_eq!(Cursor::START, Cursor { position: Position::ZERO, log: None });
    // The start of a certain log is another matter.
    assert_eq!(Cursor::parse("0-0-00000000"), Ok(Cursor { position: Position::ZERO, log: Some(LogId(0)) }));
}

#[test]
fn the_longest_cursor_fits_its_text() {
    let position = Position { ms: u64::MAX, seq: u64::MAX };
    let longest = Cursor { position, log: Some(LogId(u32::MAX)) };
    assert_eq!(longest.text().as_str(), "18446744073709551615-18446744073709551615-ffffffff");
    assert_eq!(longest.text().as_str().len(), CursorText::MAX);
    assert_eq!(Cursor::parse(longest.text().as_str()), Ok(longest));
}

#[test]
fn hostile_cursors_are_refused() {
    let zeros = "0".repeat(1 << 20);
    let zeros_first = format!("{zeros}1-1");
    let hyphens = "-".repeat(1 << 20);
    for (text, error) in [
        ("", CursorError::Form),
        ("abc", CursorError::Form),
        ("1", CursorError::Form),
        ("00", CursorError::Form),
        ("18446744073709551616", CursorError::Form),
        ("1.5", CursorError::Form),
        ("1\u{2212}1", CursorError::Form),
        ("-", CursorError::Number),
        ("-1", CursorError::Number),
        ("--", CursorError::Number),
        ("1-", CursorError::Number),
        ("-1-1", CursorError::Number),
        ("1--1", CursorError::Number),
        ("1--00000000", CursorError::Number),
        ("+1-1", CursorError::Number),
        ("1-+1", CursorError::Number),
        ("01-1", CursorError::Number),
        ("1-00", CursorError::Number),
        ("18446744073709551616-0", CursorError::Number),
        ("0-18446744073709551616", CursorError::Number),
        ("99999999999999999999-0", CursorError::Number),
        ("100000000000000000000-0", CursorError::Number),
        ("1e1-0", CursorError::Number),
        ("0x1-0", CursorError::Number),
        (" 1-1", CursorError::Number),
        ("1-1 ", CursorError::Number),
        ("1-1\n", CursorError::Number),
        ("1\0-1", CursorError::Number),
        ("١-1", CursorError::Number),
        (&zeros_first, CursorError::Number),
        (&hyphens, CursorError::Number),
        (&zeros, CursorError::Form),
        ("1-1-", CursorError::Log),
        ("1-1-0000beeF", CursorError::Log),
        ("1-1-DEADBEEF", CursorError::Log),
        ("1-1-beef", CursorError::Log),
        ("1-1-00000beef", CursorError::Log),
        ("1-1-+000beef", CursorError::Log),
        ("1-1-0x00beef", CursorError::Log),
        ("1-1-0000bee ", CursorError::Log),
        ("1-1-0000beég", CursorError::Log),
        ("1-1-0000beef-", CursorError::Log),
        ("1-1-0000beef-1", CursorError::Log),
        ("1-1-1-1", CursorError::Log),
        ("1-1-0000-eef", CursorError::Log),
    ] {
        assert_eq!(Cursor::parse(text), Err(error), "{:?}", &text.chars().take(40).collect::<String>());
        assert_eq!(error.status(), 400);
    }
}

fn cursor() -> impl Strategy<Value = Cursor> {
    let number = || prop_oneof![any::<u64>(), 0..20u64, u64::MAX - 9..=u64::MAX];
    (number(), number(), prop::option::of(prop_oneof![any::<u32>(), 0..300u32]))
        .prop_map(|(ms, seq, log)| Cursor { position: Position { ms, seq }, log: log.map(LogId) })
}

proptest! {
    #[test]
    fn a_cursor_is_read_as_it_was_written(cursor in cursor()) {
        let text = cursor.to_string();
        prop_assert_eq!(cursor.text().as_str().to_owned(), &*text);
        prop_assert_eq!(Cursor::parse(&text), Ok(cursor));
        let log = cursor.log.map_or(String::new(), |log| format!("-{:08x}", log.0));
        prop_assert_eq!(text, format!("{}-{}{log}", cursor.position.ms, cursor.position.seq));
    }

    #[test]
    fn what_is_read_as_a_cursor_has_that_one_spelling(text in "[0-9a-fF+]{0,3}(-[0-9a-f]{0,21}){0,3}") {
        match Cursor::parse(&text) {
            Ok(cursor) if cursor == Cursor::START => prop_assert!(text == "0" || text == "0-0"),
            Ok(cursor) => prop_assert_eq!(cursor.to_string(), text),
            Err(_) => {}
        }
    }

    #[test]
    fn positions_strictly_ascend_for_any_clock(
        clock in prop::collection::vec(prop_oneof![any::<u64>(), 0..5u64, Just(u64::MAX)], 1..100),
    ) {
        let mut sequencer = Sequencer::new(LogId(7));
        prop_assert_eq!(sequencer.head(), Position::ZERO);
        let mut latest = 0;
        for now in clock {
            let before = sequencer.head();
            let next = sequencer.next(now);
            latest = latest.max(now);
            prop_assert!(next > before && next > Position::ZERO);
            prop_assert_eq!((next, next.ms), (sequencer.head(), latest));
            prop_assert_eq!(next.seq, if now > before.ms { 0 } else { before.seq + 1 });
            prop_assert_eq!(sequencer.cursor(next), Cursor { position: next, log: Some(sequencer.log()) });
        }
    }
}

// Entries.

const CURSOR: Cursor = Cursor { position: Position { ms: 5, seq: 1 }, log: Some(LogId(0xbeef)) };

#[test]
fn a_block_has_id_and_topic_and_an_ephemeral_one_no_id() {
    let event = Event::new("x\ny").with_event("typing");
    let logged = Entry::new("room/1", &event).unwrap();
    assert_eq!(logged.block(CURSOR), "id: 5-1-0000beef\ntopic: room/1\nevent: typing\ndata: x\ndata: y\n\n");
    let ephemeral = Entry::ephemeral("room/1", &event).unwrap();
    assert_eq!(ephemeral.block(CURSOR), "topic: room/1\nevent: typing\ndata: x\ndata: y\n\n");
    assert!(ephemeral.is_ephemeral() && !logged.is_ephemeral() && ephemeral != logged);
    assert_eq!(logged.bytes(), size_of::<Entry>() + "room/1typingx\ny".len());
}

#[test]
fn what_an_entry_must_not_say_is_refused() {
    let event = Event::new("x");
    for (topic, event, error) in [
        ("", event, PublishError::Topic(TopicError::EmptyName)),
        ("a\ndata: y", event, PublishError::Topic(TopicError::BadCharacter)),
        ("a\0", event, PublishError::Topic(TopicError::BadCharacter)),
        (&"x".repeat(129), event, PublishError::Topic(TopicError::LongName)),
        ("a", event.with_id("1"), PublishError::Id),
        ("a", event.with_id(""), PublishError::Id),
        ("a", event.with_topic("b"), PublishError::OtherTopic),
        ("a", event.with_event("tautline."), PublishError::Reserved),
        ("a", event.with_event("tautline.gap"), PublishError::Reserved),
        ("a", event.with_event("tautline.gap\n"), PublishError::Reserved),
        ("a", event.with_event("b\nid: 1"), PublishError::Encode(EncodeError::Event)),
        ("a", event.with_event("b\r"), PublishError::Encode(EncodeError::Event)),
    ] {
        assert_eq!(Entry::new(topic, &event), Err(error));
        assert_eq!(Entry::ephemeral(topic, &event), Err(error));
        assert_eq!(error.status(), 400);
    }
    for name in ["tautline", "Tautline.gap", "my.tautline.gap", " tautline.gap"] {
        assert_eq!(Entry::new("a", &event.with_event(name)).unwrap().event(), name);
    }
    assert!(Entry::new("a", &event.with_topic("a")).is_ok());
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c \r\n:]{0,20}",
        prop::collection::vec(prop::sample::select(vec!['\r', '\n', '\0', ' ', '\u{FEFF}', 'é', '😀']), 0..20)
            .prop_map(|chars| chars.into_iter().collect()),
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn a_block_is_parsed_as_the_entry_it_is_of(
        topic in "[A-Za-z0-9_.:/-]{1,128}",
        name in text().prop_map(|name| name.replace(['\r', '\n'], "-")),
        data in text(),
        cursor in cursor(),
    ) {
        let event = Event::new(&data).with_event(&name);
        let lines = data.replace("\r\n", "\n").replace('\r', "\n");
        let name = if name.is_empty() { "message" } else { &name };
        let id = cursor.to_string();
        for (entry, id) in [(Entry::new(&topic, &event), Some(&*id)), (Entry::ephemeral(&topic, &event), None)] {
            let entry = entry.unwrap();
            prop_assert_eq!((entry.topic(), entry.event(), entry.data()), (&*topic, name, &*lines));
            let mut block = entry.block(cursor).to_vec();
            let (mut parser, mut input) = (Parser::new(), Input::new(&mut block));
            let parsed = parser.next_event(&mut input).unwrap();
            prop_assert_eq!(parsed, Some(Event { event: name, data: &lines, id, topic: Some(&topic) }));
            prop_assert_eq!(parser.next_event(&mut input).unwrap(), None);
        }
    }
}

// The sequence.

#[test]
fn a_reader_begins_at_the_end_and_gets_each_entry_once_in_order() {
    let mut sequence = Sequence::new(SequenceLimits::default());
    sequence.push(0, 1).unwrap();
    let early = sequence.add_reader();
    assert!(sequence.is_empty() && !sequence.has_unread(early), "nobody was there");
    sequence.push(1, 1).unwrap();
    let late = sequence.add_reader();
    sequence.push(2, 1).unwrap();
    let mut seen = vec![9];
    assert_eq!(sequence.read(late, 9, &mut seen), 1);
    assert_eq!((&seen[..], sequence.has_unread(late), sequence.len()), (&[9, 2][..], false, 2));
    assert_eq!(sequence.read(early, 0, &mut seen), 0);
    assert_eq!(sequence.read(early, 1, &mut seen), 1);
    assert_eq!((sequence.has_unread(early), sequence.len(), sequence.bytes()), (true, 1, 1));
    assert_eq!(sequence.read(early, usize::MAX, &mut seen), 1);
    assert_eq!((seen, sequence.len(), sequence.bytes()), (vec![9, 2, 1, 2], 0, 0));
}

#[test]
fn a_full_sequence_refuses_by_the_limits_name_and_loses_nothing() {
    let mut sequence = Sequence::new(SequenceLimits { entries: 3, bytes: 10 });
    let reader = sequence.add_reader();
    for (entry, bytes) in [(0, 4), (1, 6)] {
        sequence.push(entry, bytes).unwrap();
    }
    let full = sequence.push(2, 1).unwrap_err();
    assert_eq!((full, full.status()), (SequenceFull::Bytes { limit: 10 }, 503));
    assert!(full.to_string().contains("10"), "{full}");
    assert_eq!(sequence.push(2, usize::MAX), Err(full));
    assert_eq!(sequence.room_for(0), Ok(()));
    sequence.push(2, 0).unwrap();
    let full = sequence.push(3, 0).unwrap_err();
    assert_eq!((full, full.status()), (SequenceFull::Entries { limit: 3 }, 503));
    assert!(full.to_string().contains('3'), "{full}");
    let mut seen = vec![];
    assert_eq!(sequence.read(reader, 1, &mut seen), 1);
    sequence.push(3, 4).unwrap();
    assert_eq!(sequence.read(reader, 9, &mut seen), 3);
    assert_eq!(seen, [0, 1, 2, 3]);
    assert_eq!(sequence.push(4, 11), Err(SequenceFull::Bytes { limit: 10 }), "never fits");
}

#[test]
fn a_removed_reader_holds_nothing_and_its_name_means_nothing() {
    let mut sequence = Sequence::new(SequenceLimits { entries: 2, bytes: 9 });
    let stuck = sequence.add_reader();
    let other = sequence.add_reader();
    sequence.push(0, 1).unwrap();
    sequence.push(1, 1).unwrap();
    let mut seen = vec![];
    assert_eq!(sequence.read(other, 9, &mut seen), 2);
    assert_eq!(sequence.push(2, 1), Err(SequenceFull::Entries { limit: 2 }));
    sequence.remove_reader(stuck);
    assert!(sequence.is_empty());
    sequence.push(2, 1).unwrap();
    // Its number is taken by another reader.
    let next = sequence.add_reader();
    sequence.push(3, 1).unwrap();
    sequence.remove_reader(stuck);
    assert!(!sequence.has_unread(stuck));
    assert_eq!(sequence.read(stuck, 9, &mut seen), 0);
    assert_eq!((sequence.read(next, 9, &mut seen), sequence.read(other, 9, &mut seen)), (1, 2));
    assert_eq!(seen, [0, 1, 3, 2, 3]);
    sequence.remove_reader(next);
    sequence.remove_reader(other);
    sequence.push(4, 1).unwrap();
    assert!(sequence.is_empty() && sequence.bytes() == 0);
}

#[test]
fn the_last_reader_gets_the_entry_itself_and_the_sequence_keeps_none() {
    let mut sequence = Sequence::new(SequenceLimits::default());
    let readers = [sequence.add_reader(), sequence.add_reader(), sequence.add_reader()];
    let entry = Arc::new(());
    sequence.push(entry.clone(), 1).unwrap();
    let mut seen = vec![];
    for (i, reader) in readers.into_iter().enumerate() {
        sequence.read(reader, 1, &mut seen);
        assert_eq!(Arc::strong_count(&entry), [3, 4, 4][i]);
    }
    drop(seen);
    assert_eq!(Arc::strong_count(&entry), 1);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(usize),
    Read(usize, usize),
    Add,
    Remove(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..7usize).prop_map(Step::Push),
        6 => (0..6usize, prop_oneof![0..5usize, Just(usize::MAX)]).prop_map(|(who, most)| Step::Read(who, most)),
        1 => Just(Step::Add),
        1 => (0..6usize).prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    #[test]
    fn a_sequence_is_the_same_as_a_queue_for_each_reader(
        steps in steps(), entries in 1..20usize, bytes in 0..60usize,
    ) {
        let mut sequence = Sequence::new(SequenceLimits { entries, bytes });
        // Readers and what each has still to read: number and bytes.
        let mut naive: Vec<(_, VecDeque<(usize, usize)>)> = Vec::new();
        let mut removed = Vec::new();
        let mut next = 0;
        for step in steps {
            match step {
                Step::Push(size) => {
                    let held = naive.iter().map(|(_, queue)| queue).max_by_key(|queue| queue.len());
                    let (count, sum) = held.map_or((0, 0), |queue| (queue.len(), queue.iter().map(|e| e.1).sum()));
                    let expected = if count >= entries {
                        Err(SequenceFull::Entries { limit: entries })
                    } else if sum + size > bytes {
                        Err(SequenceFull::Bytes { limit: bytes })
                    } else {
                        naive.iter_mut().for_each(|(_, queue)| queue.push_back((next, size)));
                        Ok(())
                    };
                    prop_assert_eq!(sequence.push(next, size), expected);
                    next += 1;
                }
                Step::Read(who, most) if who < naive.len() => {
                    let (reader, queue) = &mut naive[who];
                    let expected: Vec<usize> = queue.drain(..queue.len().min(most)).map(|e| e.0).collect();
                    let mut seen = Vec::new();
                    prop_assert_eq!(sequence.read(*reader, most, &mut seen), expected.len());
                    prop_assert_eq!(seen, expected);
                }
                Step::Add if naive.len() < 6 => naive.push((sequence.add_reader(), VecDeque::new())),
                Step::Remove(who) if who < naive.len() => {
                    let (reader, _) = naive.swap_remove(who);
                    sequence.remove_reader(reader);
                    removed.push(reader);
                }
                _ => {}
            }
            let longest = naive.iter().map(|(_, queue)| queue).max_by_key(|queue| queue.len());
            let bytes = longest.map_or(0, |queue| queue.iter().map(|e| e.1).sum());
            prop_assert_eq!((sequence.len(), sequence.bytes()), (longest.map_or(0, VecDeque::len), bytes));
            for (reader, queue) in &naive {
                prop_assert_eq!(sequence.has_unread(*reader), !queue.is_empty());
            }
            for reader in &removed {
                prop_assert!(!sequence.has_unread(*reader));
                prop_assert_eq!(sequence.read(*reader, 9, &mut Vec::new()), 0);
            }
        }
    }
}
