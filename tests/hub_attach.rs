//! What a request asks of the hub: topics, cursor, session, delivery, on every transport alike.

use tautline::Input;
use tautline::http::{HeadLimits, RequestReader};
use tautline::hub::{Attach, AttachError, Cursor, CursorError, Cursors, Delivery, LogId, Position, Resume, TopicError};

/// As much of an [`Attach`] as can leave its head.
#[derive(Clone, Debug, PartialEq)]
struct Read {
    topics: Vec<(String, Option<Resume>)>,
    resume: Resume,
    session: Option<String>,
    delivery: Delivery,
    token: Option<String>,
}

fn read_as(query: &str, fields: impl AsRef<[u8]>, cursors: Cursors) -> Result<Read, AttachError> {
    let mut bytes = format!("GET /events{query} HTTP/1.1\r\nHost: a\r\n").into_bytes();
    bytes.extend_from_slice(fields.as_ref());
    bytes.extend_from_slice(b"\r\n");
    let mut input = Input::new(&mut bytes);
    let limits = HeadLimits { bytes: 32 << 10, ..HeadLimits::default() };
    let head = RequestReader::new().read(&limits, &mut input).expect("a sound head").expect("a whole head");
    let attach = Attach::read(&head, cursors, 128)?;
    assert!(!attach.topics.is_empty());
    let shown = format!("{attach:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    Ok(Read {
        topics: attach.topics.iter().map(|topic| (topic.name.to_string(), topic.own)).collect(),
        resume: attach.resume,
        session: attach.session.map(|secret| secret.expose().to_owned()),
        delivery: attach.delivery,
        token: attach.token.map(|secret| secret.expose().to_owned()),
    })
}

fn read(query: &str, fields: &str) -> Result<Read, AttachError> {
    let lenient = read_as(query, fields, Cursors::Lenient);
    // What is sound is read alike.
    if let Ok(strict) = read_as(query, fields, Cursors::Strict) {
        assert_eq!(lenient.as_ref(), Ok(&strict));
    }
    lenient
}

fn topics(query: &str) -> Result<Vec<String>, AttachError> {
    read(query, "").map(|read| read.topics.into_iter().map(|(name, _)| name).collect())
}

fn at(ms: u64) -> Resume {
    Resume::At(Cursor { position: Position { ms, seq: 0 }, log: Some(LogId(0xbeef)) })
}

/// What is no cursor.
const NONE: [&str; 9] =
    ["-1", "abc", "18446744073709551616", "18446744073709551616-0", "5", "5-", "01-0", "5-0-beef", "5-0-0000BEEF"];

#[test]
fn no_topic_means_the_default() {
    for query in ["", "?", "?x=y", "?Topic=a", "?topics=a"] {
        assert_eq!(topics(query).unwrap(), ["default"], "{query}");
    }
}

#[test]
fn topics_are_named_once_each_in_order() {
    assert_eq!(topics("?topic=b&topic=a&x=%zz&topic=b&topic=%61").unwrap(), ["b", "a"]);
    assert_eq!(topics("?topic=A-z_0.9:/x").unwrap(), ["A-z_0.9:/x"]);
    assert_eq!(topics("?topic=a%2Fb").unwrap(), ["a/b"]);
}

#[test]
fn names_that_are_none_are_400() {
    let refused = |query: &str| match topics(query) {
        Err(error) => {
            assert_eq!(error.status(), 400);
            error
        }
        Ok(topics) => panic!("{query}: {topics:?}"),
    };
    for query in ["?topic=", "?topic", "?topic=a&topic=", "?topic=@0", "?topic=@"] {
        assert_eq!(refused(query), AttachError::Topic(TopicError::EmptyName), "{query}");
    }
    for query in ["?topic=a+b", "?topic=a%20", "?topic=%C3%A9", "?topic=a%00", "?topic=a%0Ab@0", "?topic=a*"] {
        assert_eq!(refused(query), AttachError::Topic(TopicError::BadCharacter), "{query}");
    }
    assert_eq!(topics(&format!("?topic={}", "x".repeat(128))).unwrap().len(), 1);
    for cursor in ["", "@0"] {
        let long = format!("?topic={}{cursor}", "x".repeat(129));
        assert_eq!(refused(&long), AttachError::Topic(TopicError::LongName));
    }
    for query in ["?topic=%", "?topic=%f", "?topic=%ff", "?session=%zz", "?token=%ff"] {
        assert!(matches!(refused(query), AttachError::Query(_)), "{query}");
    }
}

#[test]
fn more_topics_than_the_limit_are_refused_and_the_limit_is_named() {
    let query = |n: usize| {
        let pairs: Vec<String> = (0..n).map(|i| format!("topic=t{i}")).collect();
        format!("?{}", pairs.join("&"))
    };
    assert_eq!(topics(&query(128)).unwrap().len(), 128);
    let error = topics(&query(129)).unwrap_err();
    assert_eq!(error, AttachError::Topic(TopicError::TooManyTopics { limit: 128 }));
    assert!(error.to_string().contains("128"), "{error}");
    // Repeats count, so that no request makes the server compare for long.
    assert_eq!(topics(&format!("?{}", ["topic=a"; 128].join("&"))).unwrap(), ["a"]);
    assert!(topics(&format!("?{}", ["topic=a"; 129].join("&"))).is_err());
}

#[test]
fn a_topic_may_have_a_cursor_of_its_own() {
    let own = |query: &str| read(query, "").map(|read| read.topics);
    let one = |own| Ok(vec![("a".to_owned(), own)]);
    assert_eq!(own("?topic=a@5-0-0000beef"), one(Some(at(5))));
    assert_eq!(own("?topic=a%405-0-0000beef"), one(Some(at(5))));
    assert_eq!(own("?topic=a@0"), one(Some(Resume::Start)));
    // Repeats agree, or say nothing of it.
    for query in [
        "?topic=a@5-0-0000beef&topic=a",
        "?topic=a&topic=a@5-0-0000beef",
        "?topic=a@5-0-0000beef&topic=%61@5-0-0000beef",
    ] {
        assert_eq!(own(query), one(Some(at(5))), "{query}");
    }
    assert_eq!(own("?topic=a@5-0-0000beef&topic=a@6-0-0000beef"), Err(AttachError::TopicCursors));
    for text in NONE.into_iter().chain(["", "@0", "0@"]) {
        let query = format!("?topic=a@{text}");
        assert_eq!(own(&query), one(Some(Resume::Unknown)), "{query}");
        let strict = read_as(&query, "", Cursors::Strict);
        assert!(matches!(strict, Err(AttachError::Cursor(_))), "{query}: {strict:?}");
    }
}

#[test]
fn a_cursor_says_where_to_go_on() {
    let resume = |query: &str| read(query, "").unwrap().resume;
    assert_eq!(resume(""), Resume::Live);
    for name in ["lastId", "lastEventId"] {
        assert_eq!(resume(&format!("?{name}=0")), Resume::Start);
        assert_eq!(resume(&format!("?{name}=0-0")), Resume::Start);
        assert_eq!(resume(&format!("?a=b&{name}=5-0-0000beef")), at(5));
        assert_eq!(resume(&format!("?{name}=%35-0-0000beef")), at(5));
        // Of no log: a cursor all the same.
        assert!(matches!(resume(&format!("?{name}=5-0")), Resume::At(Cursor { log: None, .. })));
    }
}

#[test]
fn s12_the_header_wins_over_the_query_and_last_event_id_over_last_id() {
    let resume = |query: &str, fields: &str| read(query, fields).unwrap().resume;
    let (header, first, second) =
        ("Last-Event-ID: 1-0-0000beef\r\n", "lastEventId=2-0-0000beef", "lastId=3-0-0000beef");
    assert_eq!(resume(&format!("?{first}&{second}"), header), at(1));
    assert_eq!(resume(&format!("?{second}&{first}"), ""), at(2));
    assert_eq!(resume(&format!("?{second}"), header), at(1));
    assert_eq!(resume(&format!("?{second}"), ""), at(3));
    // What has lost is not looked at.
    assert_eq!(resume("?lastEventId=%zz&lastId=abc", header), at(1));
    assert_eq!(read_as("?lastEventId=abc&lastId=-1", header, Cursors::Strict).unwrap().resume, at(1));
    // An empty header wins too: the client's own id was reset.
    assert_eq!(resume(&format!("?{second}"), "Last-Event-ID:\r\n"), Resume::Live);
}

#[test]
fn a_cursor_that_is_given_twice_is_400() {
    for (query, fields) in [
        ("?lastId=1-0&lastId=1-0", ""),
        ("?lastEventId=1-0&x=y&lastEventId=2-0", ""),
        ("", "Last-Event-ID: 1-0\r\nLast-Event-ID: 1-0\r\n"),
        ("?lastId=1-0&lastId=1-0", "Last-Event-ID: 1-0\r\n"),
        ("?lastId&lastId=1-0&lastEventId=0", ""),
    ] {
        assert_eq!(read(query, fields), Err(AttachError::Cursors), "{query} {fields}");
        assert_eq!(read_as(query, fields, Cursors::Strict), Err(AttachError::Cursors));
    }
}

#[test]
fn s11_a_last_event_id_that_is_no_cursor_is_an_unknown_place_and_never_silence() {
    for text in NONE.into_iter().chain(["Grüße", "a b"]) {
        assert_eq!(read("", &format!("Last-Event-ID: {text}\r\n")).unwrap().resume, Resume::Unknown, "{text}");
    }
    for text in NONE.into_iter().chain(["+", "%20", "%C3%A9"]) {
        assert_eq!(read(&format!("?lastId={text}"), "").unwrap().resume, Resume::Unknown, "{text}");
    }
    // The longest that is taken.
    let long = "x".repeat(4096);
    assert_eq!(read("", &format!("Last-Event-ID: {long}\r\n")).unwrap().resume, Resume::Unknown);
    // None at all.
    for (query, fields) in [("?lastId=", ""), ("?lastId", ""), ("", "Last-Event-ID: \r\n")] {
        assert_eq!(read(query, fields).unwrap().resume, Resume::Live, "{query}");
    }
}

#[test]
fn s10_a_last_event_id_that_no_event_can_have_had_is_400() {
    let refused = |query: &str, fields: &[u8]| {
        for cursors in [Cursors::Lenient, Cursors::Strict] {
            assert_eq!(read_as(query, fields, cursors), Err(AttachError::LastEventId), "{query}");
        }
    };
    let field = |value: &[u8]| [b"Last-Event-ID: ", value, b"\r\n"].concat();
    refused("", &field(&[b'x'; 5 << 10]));
    refused("", &field(&[b'x'; 4097]));
    refused("", &field(b"\xff"));
    refused("", &field(b"1-0-0000beef\xc3"));
    for text in ["%00", "1-0%00", "%0A", "1%0D", "%ff", "%", "%zz"] {
        refused(&format!("?lastId={text}"), b"");
        refused(&format!("?lastEventId={text}"), b"");
    }
    refused(&format!("?lastId={}", "x".repeat(4097)), b"");
}

#[test]
fn l2_a_poll_whose_cursor_is_none_is_400() {
    for text in NONE.into_iter().chain([""]) {
        for (query, fields) in [
            (format!("?lastId={text}"), String::new()),
            (format!("?lastEventId={text}"), String::new()),
            (String::new(), format!("Last-Event-ID: {text}\r\n")),
        ] {
            let error = read_as(&query, &fields, Cursors::Strict).unwrap_err();
            assert!(matches!(error, AttachError::Cursor(_)) && error.status() == 400, "{query} {fields}: {error}");
        }
    }
    let error = |text: &str| read_as(&format!("?lastId={text}"), "", Cursors::Strict).unwrap_err();
    assert_eq!(error("18446744073709551616-0"), AttachError::Cursor(CursorError::Number));
    assert_eq!(error(""), AttachError::Cursor(CursorError::Form));
    // Neighbours that are cursors.
    for text in ["0", "0-0", "18446744073709551615-18446744073709551615-ffffffff"] {
        assert!(read_as(&format!("?lastId={text}"), "", Cursors::Strict).is_ok(), "{text}");
    }
    assert_eq!(read_as("", "", Cursors::Strict).unwrap().resume, Resume::Live);
}

#[test]
fn the_sessions_header_wins_and_two_are_none() {
    let session = |query: &str, fields: &str| read(query, fields).map(|read| read.session);
    assert_eq!(session("", ""), Ok(None));
    assert_eq!(session("?session=s3cret", ""), Ok(Some("s3cret".into())));
    assert_eq!(session("?session=s3%63ret", ""), Ok(Some("s3cret".into())));
    assert_eq!(session("?session=other", "tautline-session: s3cret\r\n"), Ok(Some("s3cret".into())));
    assert_eq!(session("?session=%zz", "Tautline-Session: s3cret\r\n"), Ok(Some("s3cret".into())));
    assert_eq!(session("?session=", ""), Ok(None));
    for (query, fields) in [
        ("?session=a&session=a", ""),
        ("", "Tautline-Session: a\r\nTautline-Session: a\r\n"),
        ("?session=a&session=a", "Tautline-Session: a\r\n"),
    ] {
        assert_eq!(session(query, fields), Err(AttachError::Session), "{query} {fields}");
    }
    assert_eq!(read_as("", b"Tautline-Session: \xff\r\n", Cursors::Lenient), Err(AttachError::Session));
}

#[test]
fn acknowledged_delivery_is_asked_for_with_1() {
    let delivery = |query: &str| read(query, "").map(|read| read.delivery);
    assert_eq!(delivery(""), Ok(Delivery::Plain));
    assert_eq!(delivery("?ack=0"), Ok(Delivery::Plain));
    assert_eq!(delivery("?ack=1"), Ok(Delivery::Acknowledged));
    for query in ["?ack", "?ack=", "?ack=true", "?ack=01", "?ack=1&ack=1", "?ack=0&ack=1"] {
        assert_eq!(delivery(query), Err(AttachError::Ack), "{query}");
    }
}

#[test]
fn a_token_of_the_query_is_handed_on_and_never_shown() {
    let token = |query: &str| read(query, "").map(|read| read.token);
    assert_eq!(token("?token=s3cret"), Ok(Some("s3cret".into())));
    assert_eq!(token("?token=a%2Bb+c"), Ok(Some("a+b c".into())));
    assert_eq!(token("?token="), Ok(None));
    assert_eq!(token("?token=s3cret&token=s3cret"), Err(AttachError::Token));
}
