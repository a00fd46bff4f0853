//! What clients say to the hub, as text and back. Ids are those of docs/BAD_INPUTS.md.

use proptest::prelude::*;
use std::borrow::Cow;
use tautline::hub::{
    Command, CommandError, Commands, Cursor, CursorError, Kept, KeyError, LogId, Position, Publish, Refusal, To,
    TopicError,
};

fn read(text: &str) -> Vec<Result<Command<'_>, Refusal<'_>>> {
    Commands::read(text).collect()
}

fn one(text: &str) -> Result<Command<'_>, Refusal<'_>> {
    let mut all = read(text);
    assert_eq!(all.len(), 1, "{text:?}");
    all.remove(0)
}

fn cause(text: &str) -> CommandError {
    one(text).unwrap_err().cause
}

#[test]
fn each_command_of_the_protocol_is_read() {
    let cursor = Cursor { position: Position { ms: 17, seq: 3 }, log: Some(LogId(0xbeef)) };
    let text = "event: tautline.subscribe\ntopic: a\n\n\
        event: tautline.subscribe\ntopic: a\ndata: 17-3-0000beef\n\n\
        event: tautline.unsubscribe\ntopic: a/b\n\n\
        event: tautline.ack\ndata: 17-3-0000beef\n\n\
        event: tautline.presence\ntopic: a\n\n\
        event: tautline.token\ndata: s3cret\n\n\
        data: hello\n\n\
        id: k7\ntopic: a\nevent: moved\nto: others\nslot: knight\ndata: e2\ndata: e4\n\n\
        topic: a\nevent: typing\nkeep: no\n";
    let published = |publish| Ok(Command::Publish(publish));
    let expected = vec![
        Ok(Command::Subscribe { topic: "a", cursor: None }),
        Ok(Command::Subscribe { topic: "a", cursor: Some(cursor) }),
        Ok(Command::Unsubscribe { topic: "a/b" }),
        Ok(Command::Ack { cursor }),
        Ok(Command::Presence { topic: "a" }),
        Ok(Command::Token("s3cret")),
        published(Publish::new("default", "hello")),
        published(Publish {
            event: "moved",
            key: Some("k7"),
            audience: To::Others,
            slot: Some("knight"),
            ..Publish::new("a", "e2\ne4")
        }),
        published(Publish { event: "typing", keep: Kept::Ephemeral, ..Publish::new("a", "") }),
    ];
    assert_eq!(read(text), expected);
    for ends in ["\r", "\r\n"] {
        assert_eq!(read(&text.replace('\n', ends)), expected);
    }
}

#[test]
fn a_subscription_without_topic_is_of_the_default_one() {
    assert_eq!(one("event: tautline.subscribe"), Ok(Command::Subscribe { topic: "default", cursor: None }));
    assert_eq!(one("event:tautline.unsubscribe\n"), Ok(Command::Unsubscribe { topic: "default" }));
}

#[test]
fn comments_unknown_fields_and_empty_blocks_are_passed_over() {
    for nothing in
        ["", "\n", "\r\n\r\n\n", ": a comment\n\n", "retry: 5\n\nfoo\n:", "\u{feff}", "datum: x\n\n", " data: x"]
    {
        assert_eq!(read(nothing), [], "{nothing:?}");
    }
    let among = "\u{feff}: one\n\n\nfoo: 3\n: two\ndata: x\nretry: 7\n:\n\n: three";
    assert_eq!(read(among), [Ok(Command::Publish(Publish::new("default", "x")))]);
}

#[test]
fn one_space_behind_the_colon_is_no_part_of_a_value_and_a_later_field_replaces_an_earlier() {
    let Ok(Command::Publish(publish)) = one("data:  a:b \ndata\ndata:\nevent: x\nevent:y\n\n") else { panic!() };
    assert_eq!((&*publish.data, publish.event), (" a:b \n\n", "y"));
    let Ok(Command::Publish(publish)) = one("event: tautline.ack\nevent:\ndata: 1") else { panic!() };
    assert_eq!((publish.event, &*publish.data), ("message", "1"));
}

#[test]
fn data_of_one_line_is_borrowed() {
    let text = "data: abc\n\n";
    let Ok(Command::Publish(Publish { data: Cow::Borrowed(data), .. })) = one(text) else { panic!() };
    assert_eq!(data.as_ptr(), text[6..].as_ptr());
}

#[test]
fn an_unknown_command_is_400_and_named() {
    for (event, named) in [
        ("tautline.subscrib", "subscrib"),
        ("tautline.gap", "gap"),
        ("tautline.", "unknown"),
        ("tautline.a b", "unknown"),
        ("tautline.Ack", "unknown"),
        (&format!("tautline.{}", "a".repeat(32)), &"a".repeat(32)),
        (&format!("tautline.{}", "a".repeat(33)), "unknown"),
    ] {
        let text = format!("event: {event}\ntopic: a\nid: k\ndata: x\n\n");
        let refusal = one(&text).unwrap_err();
        assert_eq!(refusal, Refusal { command: named, topic: Some("a"), key: None, cause: CommandError::Unknown });
        assert_eq!(refusal.cause.status(), 400);
    }
    // Only the prefix is reserved.
    for event in ["tautline", "Tautline.ack", " tautline.ack", "x.tautline.ack"] {
        let text = format!("event: {event}\ndata: x");
        assert!(matches!(one(&text), Ok(Command::Publish(publish)) if publish.event == event), "{event}");
    }
}

#[test]
fn l2_a_cursor_that_is_none_is_400() {
    for wrong in ["-1", "abc", "18446744073709551616-0", "18446744073709551616", "", "1", " 0", "0\ndata: 0"] {
        for command in ["subscribe", "ack"] {
            let text = format!("event: tautline.{command}\ntopic: a\ndata: {wrong}\n\n");
            let refusal = one(&text).unwrap_err();
            assert!(matches!(refusal.cause, CommandError::Cursor(_)), "{text:?}");
            assert_eq!((refusal.command, refusal.cause.status()), (command, 400));
        }
    }
    assert_eq!(cause("event: tautline.ack"), CommandError::Cursor(CursorError::Form));
    assert_eq!(
        one("event: tautline.subscribe\ndata: 0"),
        Ok(Command::Subscribe { topic: "default", cursor: Some(Cursor::START) })
    );
    assert!(one("event: tautline.ack\ndata: 18446744073709551615-18446744073709551615").is_ok());
}

#[test]
fn q2_a_topic_that_is_no_name_is_400_in_every_command_and_not_repeated() {
    let long = "a".repeat(10 << 10);
    for (topic, why) in [
        (&*long, TopicError::LongName),
        ("a\0b", TopicError::BadCharacter),
        ("a b", TopicError::BadCharacter),
        ("ä", TopicError::BadCharacter),
        ("", TopicError::EmptyName),
        // The line behind is another field, and what a topic has behind a newline is lost: it names another topic.
        ("\nb", TopicError::EmptyName),
    ] {
        for event in ["tautline.subscribe", "tautline.unsubscribe", "tautline.presence", "message", "x"] {
            let text = format!("event: {event}\ntopic: {topic}\ndata: 0\n\ndata: next\n\n");
            let all = read(&text);
            let refusal = all[0].clone().unwrap_err();
            assert_eq!((refusal.topic, refusal.cause), (None, CommandError::Topic(why)), "{event} {topic:.9}");
            assert_eq!(refusal.cause.status(), 400);
            // The connection is kept: what follows is read.
            assert_eq!(all[1], Ok(Command::Publish(Publish::new("default", "next"))));
        }
    }
    assert!(one(&format!("topic: {}\ndata: x", "a".repeat(128))).is_ok());
}

#[test]
fn the_fields_of_a_publication_are_checked_and_its_good_key_and_topic_are_in_the_answer() {
    let refused = |text: &str| {
        let text = format!("topic: a\nid: k7\n{text}");
        let refusal = one(&text).unwrap_err();
        assert_eq!((refusal.command, refusal.topic, refusal.key), ("publish", Some("a"), Some("k7")), "{text}");
        refusal.cause
    };
    assert_eq!(refused("data: x\nkeep: no"), CommandError::EphemeralKey);
    assert_eq!(refused("data: x\nkeep: yes"), CommandError::Keep);
    assert_eq!(refused("data: x\nkeep"), CommandError::Keep);
    assert_eq!(refused("data: x\nto: other"), CommandError::To);
    assert_eq!(refused("data: x\nto:"), CommandError::To);
    assert_eq!(refused("data: x\nslot:"), CommandError::Slot);
    assert_eq!(refused(&format!("data: x\nslot: {}", "s".repeat(129))), CommandError::Slot);
    assert_eq!(refused(""), CommandError::Empty);
    for (key, why) in [("", KeyError::Empty), ("a b", KeyError::BadCharacter), ("ä", KeyError::BadCharacter)] {
        let text = format!("data: x\nid: {key}");
        let refusal = one(&text).unwrap_err();
        assert_eq!((refusal.key, refusal.cause), (None, CommandError::Key(why)));
    }
    assert_eq!(cause(&format!("data: x\nid: {}", "k".repeat(65))), CommandError::Key(KeyError::Long));
    assert!(one(&format!("data: x\nid: {}\nslot: {}", "k".repeat(64), "s".repeat(128))).is_ok());
    // A position block sent back is not a publication.
    assert_eq!(cause("id: 1-2-0000beef\n\n"), CommandError::Empty);
}

#[test]
fn a_token_is_one_line_and_is_shown_nowhere() {
    for wrong in ["", "data:", "data: a\ndata: b"] {
        assert_eq!(cause(&format!("event: tautline.token\n{wrong}")), CommandError::Token);
    }
    let shown = format!("{:?}", one("event: tautline.token\ndata: s3cret"));
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(!format!("{:?}", Commands::read("data: s3cret")).contains("s3cret"));
    assert!(!format!("{:?}", one("data: s3cret")).contains("s3cret"));
}

#[test]
fn what_the_server_would_refuse_is_not_encoded() {
    let mut to = "before".to_string();
    let mut refused = |command: Command<'_>| {
        let cause = command.encode(&mut to).unwrap_err();
        assert_eq!(to, "before", "nothing is written");
        cause
    };
    let publish = |change: fn(&mut Publish<'static>)| {
        let mut publish = Publish::new("a", "x");
        change(&mut publish);
        Command::Publish(publish)
    };
    let empty = CommandError::Topic(TopicError::EmptyName);
    assert_eq!(refused(Command::Subscribe { topic: "", cursor: None }), empty);
    assert_eq!(refused(Command::Unsubscribe { topic: "" }), empty);
    assert_eq!(refused(Command::Presence { topic: "" }), empty);
    assert_eq!(refused(Command::Token("a\nevent: x")), CommandError::Token);
    assert_eq!(refused(publish(|p| p.topic = "a\nb")), CommandError::Topic(TopicError::BadCharacter));
    assert_eq!(refused(publish(|p| p.event = "a\rb")), CommandError::Event);
    assert_eq!(refused(publish(|p| p.event = "tautline.ack")), CommandError::Unknown);
    assert_eq!(refused(publish(|p| p.slot = Some("a\nb"))), CommandError::Slot);
    assert_eq!(refused(publish(|p| p.key = Some("a b"))), CommandError::Key(KeyError::BadCharacter));
    assert_eq!(refused(publish(|p| (p.key, p.keep) = (Some("k"), Kept::Ephemeral))), CommandError::EphemeralKey);
}

fn cursors() -> impl Strategy<Value = Cursor> {
    (any::<(u64, u64)>(), any::<Option<u32>>())
        .prop_map(|((ms, seq), log)| Cursor { position: Position { ms, seq }, log: log.map(LogId) })
}

/// A command, owned: kind, topic, cursor, event, data, key, choices, slot.
type Owned = (u8, String, Option<Cursor>, String, String, Option<String>, (bool, bool), Option<String>);

fn owned() -> impl Strategy<Value = Owned> {
    (
        0u8..8,
        "[A-Za-z0-9_.:/-]{1,128}",
        prop::option::of(cursors()),
        "( ?[^\r\n]{0,20})|message|tautline",
        prop::collection::vec("( ?.{0,20})|(data: x)|:|", 0..4).prop_map(|lines| lines.join("\n")),
        prop::option::of("[!-~]{1,64}"),
        any::<(bool, bool)>(),
        prop::option::of("[^\r\n]{1,32}"),
    )
}

fn command(owned: &Owned) -> Command<'_> {
    let (kind, topic, cursor, event, data, key, (others, ephemeral), slot) = owned;
    match kind {
        0 => Command::Subscribe { topic, cursor: *cursor },
        1 => Command::Unsubscribe { topic },
        2 => Command::Ack { cursor: cursor.unwrap_or(Cursor::START) },
        3 => Command::Presence { topic },
        4 => Command::Token(topic),
        _ => Command::Publish(Publish {
            topic,
            event: if event.is_empty() || event.starts_with("tautline.") { "message" } else { event },
            data: Cow::Borrowed(data),
            key: key.as_deref().filter(|_| !ephemeral),
            audience: if *others { To::Others } else { To::All },
            keep: if *ephemeral { Kept::Ephemeral } else { Kept::Retained },
            slot: slot.as_deref(),
        }),
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_read_back(all in prop::collection::vec(owned(), 0..6), ends in 0usize..3, cut: bool) {
        let mut text = String::new();
        for owned in &all {
            prop_assert_eq!(command(owned).encode(&mut text), Ok(()));
        }
        if cut {
            // The empty line of the last one may be missing.
            text.pop();
        }
        let text = text.replace('\n', ["\n", "\r", "\r\n"][ends]);
        let mut read = Commands::read(&text);
        for owned in &all {
            let mut sent = owned.clone();
            sent.4 = sent.4.replace("\r\n", "\n").replace('\r', "\n");
            let got = read.next().unwrap();
            prop_assert_eq!(got, Ok(command(&sent)));
        }
        prop_assert!(read.next().is_none());
    }

    #[test]
    fn no_text_panics_and_what_is_read_can_be_encoded_and_read_again(
        text in "([a-z]{0,2}|event: ?|event: tautline\\.(ack|token|subscribe|presence|x)|data:? ?|topic: |id: k|to: others|keep: no|slot: ?|[\r\n]{1,3}|0|:|.){0,30}",
    ) {
        for one in Commands::read(&text) {
            match one {
                Ok(command) => {
                    let mut again = String::new();
                    command.encode(&mut again).unwrap();
                    prop_assert_eq!(Commands::read(&again).collect::<Vec<_>>(), [Ok(command)]);
                }
                Err(refusal) => {
                    prop_assert_eq!(refusal.cause.status(), 400);
                    prop_assert!(!refusal.cause.to_string().contains(['\r', '\n']));
                }
            }
        }
    }
}
