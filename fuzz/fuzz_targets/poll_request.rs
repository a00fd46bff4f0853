//! Request heads as polls and subscriptions: no panic, what is read is what the contract promises; and texts through the JSON of an
//! answer and back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use tautline::Input;
use tautline::http::{HeadLimits, RequestHead, RequestReader, credentials};
use tautline::hub::{Attach, AttachError, Cursors, Resume, check_name};
use tautline::poll::{Batch, Form, Item, More, PollConfig, Pushed, Request};
use tautline::sse::Parser;

fuzz_target!(|data: &[u8]| poll_request(data));

fn poll_request(data: &[u8]) {
    let mut bytes = data.to_vec();
    let mut input = Input::new(&mut bytes);
    if let Ok(Some(head)) = RequestReader::new().read(&HeadLimits::default(), &mut input) {
        check(&head);
    }
    // The same as a query behind a sound request line, so that the fuzzer need not find one.
    let query: String =
        data.iter().filter(|byte| byte.is_ascii_graphic() && **byte != b'#').map(|b| *b as char).collect();
    let mut bytes = format!("GET /poll?{query} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    if let Ok(Some(head)) = RequestReader::new().read(&HeadLimits::default(), &mut Input::new(&mut bytes)) {
        check(&head);
    }
    round_trip(&String::from_utf8_lossy(data));
}

fn check(head: &RequestHead<'_>) {
    let config = PollConfig::default();
    match Request::read(head, &config) {
        Ok(request) => assert!(request.timeout <= Duration::from_secs(55)),
        Err(error) => assert!(matches!(error.status(), 400 | 405 | 406)),
    }
    let lenient = Attach::read(head, Cursors::Lenient, 128);
    let strict = Attach::read(head, Cursors::Strict, 128);
    match (&lenient, &strict) {
        // Strict is lenient without what is no cursor.
        (Ok(lenient), Ok(strict)) => assert_eq!(lenient, strict),
        (Ok(_), Err(error)) => assert!(matches!(error, AttachError::Cursor(_) | AttachError::TopicCursors)),
        (Err(_), strict) => assert!(strict.is_err()),
    }
    if let Ok(attach) = strict {
        assert!(
            attach.resume != Resume::Unknown && attach.topics.iter().all(|topic| topic.own != Some(Resume::Unknown))
        );
    }
    if let Ok(attach) = lenient {
        assert!((1..=128).contains(&attach.topics.len()));
        for (i, topic) in attach.topics.iter().enumerate() {
            check_name(&topic.name).expect("a checked name");
            assert!(topic.own != Some(Resume::Live));
            assert!(attach.topics[..i].iter().all(|other| other.name != topic.name));
        }
    }
    let _ = (credentials::bearer(head), credentials::cookie(head, "sid"));
}

/// Both forms give back what was put in, up to what each can carry.
fn round_trip(text: &str) {
    let (event, data) = text.split_once('\u{1}').unwrap_or(("message", text));
    let item = Item { id: None, topic: None, event, data };
    let mut batch = Batch::new(Form::Json, &PollConfig::default());
    assert_eq!(batch.push(b"", &item), Pushed::Taken);
    let answer = batch.finish("0", More::No).unwrap();
    let json = std::str::from_utf8(answer.body()).expect("UTF-8");
    assert!(!json.contains(['<', '>', '&', '\u{2028}', '\u{2029}']));
    let body =
        json.strip_prefix("{\"messages\":[{\"event\":").and_then(|rest| rest.strip_suffix("}],\"lastId\":\"0\"}"));
    let (read_event, rest) = string(body.expect("one message"));
    let (read_data, rest) = string(rest.strip_prefix(",\"data\":").expect("data"));
    assert_eq!(
        (read_event.as_str(), read_data.as_str(), rest),
        (if event.is_empty() { "message" } else { event }, data, "")
    );

    let Ok(block) = item.to_bytes() else { return };
    let mut batch = Batch::new(Form::EventStream, &PollConfig::default());
    assert_eq!(batch.push(&block, &item), Pushed::Taken);
    let mut body = batch.finish("9-0-0000beef", More::No).unwrap().body().to_vec();
    let (mut input, mut parser, mut seen) = (Input::new(&mut body), Parser::new(), 0);
    while let Ok(Some(event)) = parser.next_event(&mut input) {
        assert_eq!(event.data, data.replace("\r\n", "\n").replace('\r', "\n"));
        seen += 1;
    }
    assert_eq!((seen, parser.last_event_id()), (1, "9-0-0000beef"));
}

/// A string of JSON at the front, read character by character, and what follows it.
fn string(json: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = json.strip_prefix('"').expect("a string").char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &json[at + 2..]),
            '\\' => text.push(match chars.next().expect("an escape").1 {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'u' => {
                    let digits: String = chars.by_ref().take(4).map(|(_, digit)| digit).collect();
                    char::from_u32(u32::from_str_radix(&digits, 16).expect("four digits")).expect("no surrogate")
                }
                c @ ('"' | '\\') => c,
                c => panic!("escape {c:?}"),
            }),
            c => {
                assert!(c >= ' ');
                text.push(c);
            }
        }
    }
    panic!("a string that does not end");
}
