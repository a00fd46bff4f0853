//! Answers to polls: what a client reads out of them is what was put in, within the limits, and nothing of the request.

use proptest::prelude::*;
use serde_json::Value;
use std::sync::Arc;
use tautline::http::server::Event as HttpEvent;
use tautline::http::{ResponseError, Server, ServerConfig};
use tautline::poll::{Answer, Batch, Form, Item, More, PollConfig, Pushed};
use tautline::sse::{EncodeError, Parser};
use tautline::{Input, Instant, Output};

/// An event with an owner.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    id: Option<String>,
    topic: Option<String>,
    event: String,
    data: String,
}

impl Owned {
    fn item(&self) -> Item<'_> {
        Item { id: self.id.as_deref(), topic: self.topic.as_deref(), event: &self.event, data: &self.data }
    }

    fn data(data: impl Into<String>) -> Self {
        Self { id: Some("7-0-0000beef".into()), topic: Some("t".into()), event: "message".into(), data: data.into() }
    }
}

/// Takes as many as fit.
fn batch(form: Form, config: &PollConfig, events: &[Owned]) -> (usize, Answer) {
    let mut batch = Batch::new(form, config);
    assert!(batch.is_empty() && batch.form() == form);
    let mut taken = 0;
    for event in events {
        match batch.push(&event.item().to_bytes().unwrap(), &event.item()) {
            Pushed::Taken => taken += 1,
            Pushed::Full => {
                // It stays so.
                assert_eq!(batch.push(&event.item().to_bytes().unwrap(), &event.item()), Pushed::Full);
                break;
            }
        }
    }
    let more = if taken < events.len() { More::Yes } else { More::No };
    let answer = batch.finish("9-1-0000beef", more).unwrap();
    assert_eq!((answer.form(), answer.more()), (form, more));
    (taken, answer)
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

/// The messages, and nothing else in each.
fn messages(json: &Value) -> Vec<Owned> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let each = |message: &Value| {
        let fields = message.as_object().unwrap();
        assert!(fields.keys().all(|key| ["id", "topic", "event", "data"].contains(&key.as_str())));
        Owned {
            id: fields.get("id").map(text),
            topic: fields.get("topic").map(text),
            event: text(&fields["event"]),
            data: text(&fields["data"]),
        }
    };
    json["messages"].as_array().unwrap().iter().map(each).collect()
}

/// What a client of the standard reads: the events, and its last event id.
fn blocks(answer: &Answer) -> (Vec<Owned>, String) {
    let mut parser = Parser::new();
    let mut bytes = answer.body().to_vec();
    let mut input = Input::new(&mut bytes);
    let mut events = Vec::new();
    while let Some(event) = parser.next_event(&mut input).unwrap() {
        events.push(Owned {
            id: event.id.map(str::to_owned),
            topic: event.topic.map(str::to_owned),
            event: event.event.to_owned(),
            data: event.data.to_owned(),
        });
    }
    (events, parser.last_event_id().to_owned())
}

fn asked(request: &str) -> Server {
    let mut server = Server::new(Arc::new(ServerConfig::default()), Instant::ORIGIN);
    let (mut bytes, mut out) = (request.as_bytes().to_vec(), Output::new());
    let mut input = Input::new(&mut bytes);
    while let Ok(Some(event)) = server.next_event(&mut input, &mut out, Instant::ORIGIN) {
        assert!(!matches!(event, HttpEvent::Closed(_)));
    }
    server
}

fn written(out: &Output) -> String {
    String::from_utf8(out.chunks().flatten().copied().collect()).unwrap()
}

/// Texts with what escapes are for; a block carries no CR and no NUL in ids, so these have none.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,80}",
        "[a-z]{0,40}[<>&\"\\\\/\u{2026}-\u{202a}\u{1}-\u{9}\u{b}\u{c}\u{e}-\u{20}\u{7f}-\u{ff}€𝄞\u{ffff}]{0,40}[a-z]{0,40}",
    ]
}

fn event() -> impl Strategy<Value = Owned> {
    let line = prop_oneof!["[a-z]{1,12}", "[<>&\"\\\\é€ ]{1,8}x"];
    let data = proptest::collection::vec(text(), 0..4).prop_map(|lines| lines.join("\n"));
    (proptest::option::of("[0-9]{1,9}-[0-9]"), proptest::option::of("[a-z./:]{1,9}"), line, data)
        .prop_map(|(id, topic, event, data)| Owned { id, topic, event, data })
}

proptest! {
    #[test]
    fn both_forms_give_back_what_was_put_in(events in proptest::collection::vec(event(), 0..20)) {
        let (taken, answer) = batch(Form::Json, &PollConfig::default(), &events);
        prop_assert_eq!(taken, events.len());
        let json = json(&answer);
        prop_assert_eq!(messages(&json), events.clone());
        prop_assert_eq!(&json["lastId"], "9-1-0000beef");
        prop_assert!(!answer.body().iter().any(|byte| b"<>&".contains(byte)));

        let (taken, answer) = batch(Form::EventStream, &PollConfig::default(), &events);
        prop_assert_eq!(taken, events.len());
        prop_assert_eq!(blocks(&answer), (events, "9-1-0000beef".to_owned()));
    }

    #[test]
    fn an_answer_is_within_its_limits_but_for_its_first_event_with_an_id_and_what_has_none(
        events in proptest::collection::vec(event(), 1..20), bytes in 0..800usize, most in 0..8usize
    ) {
        let config = PollConfig { bytes, events: most, ..PollConfig::default() };
        for form in [Form::Json, Form::EventStream] {
            let (taken, answer) = batch(form, &config, &events);
            // What has no id would not come again, and without the first that has one the next poll would go on where this one did.
            let bound = events[..taken].iter().filter(|event| event.id.is_some()).count();
            prop_assert!(taken == events.len() || events[taken].id.is_some() && bound > 0);
            prop_assert!(bound <= most.max(1));
            let around = batch(form, &config, &[]).1.body().len() + ",\"more\":true".len();
            let blocks: usize = events[..taken].iter().map(|event| event.item().to_bytes().unwrap().len()).sum();
            let last_is_bound = events[taken - 1].id.is_some();
            prop_assert!(bound <= 1 || !last_is_bound || (answer.body().len() <= bytes + around && blocks <= bytes));
        }
    }
}

#[test]
fn an_event_longer_than_an_answer_goes_behind_the_notices_before_it() {
    let config = PollConfig { bytes: 10, events: 1, ..PollConfig::default() };
    let owned = |id: Option<&str>, data: &str| Owned {
        id: id.map(str::to_owned),
        topic: None,
        event: "x".to_owned(),
        data: data.to_owned(),
    };
    let events =
        [owned(None, "a gap"), owned(None, "another"), owned(Some("1-0"), &"long".repeat(9)), owned(Some("2-0"), "")];
    for form in [Form::Json, Form::EventStream] {
        assert_eq!(batch(form, &config, &events).0, 3);
    }
}

#[test]
fn every_byte_in_utf_8_reads_back_from_json() {
    for from in (0..0x11_0000u32).step_by(0x1000) {
        // A sample: the first planes whole, the others by their edges.
        let span = if from < 0x4000 { 0x1000 } else { 0x20 };
        let text: String = (from..from + span).filter_map(char::from_u32).collect();
        let mut batch = Batch::new(Form::Json, &PollConfig::default());
        assert_eq!(batch.push(b"", &Item::new(&text)), Pushed::Taken);
        let answer = batch.finish("0", More::No).unwrap();
        assert_eq!(json(&answer)["messages"][0]["data"], *text, "{from:#x}");
    }
}

#[test]
fn an_empty_answer_says_how_far_it_is_complete() {
    let (_, answer) = batch(Form::Json, &PollConfig::default(), &[]);
    assert_eq!(&answer.body()[..], br#"{"messages":[],"lastId":"9-1-0000beef"}"#);
    let (_, answer) = batch(Form::EventStream, &PollConfig::default(), &[]);
    assert_eq!(&answer.body()[..], b"id: 9-1-0000beef\n\n");
}

#[test]
fn l6_the_101st_event_is_left_for_the_next_poll() {
    for form in [Form::Json, Form::EventStream] {
        for (there, taken) in [(99, 99), (100, 100), (101, 100), (250, 100)] {
            let events = vec![Owned::data("x"); there];
            let (got, answer) = batch(form, &PollConfig::default(), &events);
            assert_eq!(got, taken);
            let more = there > taken;
            assert_eq!(answer.more() == More::Yes, more);
            let fields = answer.fields(None);
            assert_eq!(fields.as_slice().contains(&("Tautline-More", "1")), more);
            if form == Form::Json {
                assert_eq!(json(&answer).get("more"), more.then_some(&Value::Bool(true)));
                assert_eq!(messages(&json(&answer)).len(), taken);
            } else {
                assert_eq!(blocks(&answer).0.len(), taken);
            }
        }
    }
}

#[test]
fn an_event_over_the_limit_goes_alone() {
    let long = Owned::data("x".repeat(300 << 10));
    let short = Owned::data("y");
    for form in [Form::Json, Form::EventStream] {
        let config = PollConfig::default();
        assert_eq!(batch(form, &config, &[long.clone(), short.clone()]).0, 1);
        assert_eq!(batch(form, &config, &[short.clone(), long.clone(), short.clone()]).0, 1);
        assert_eq!(batch(form, &config, std::slice::from_ref(&long)).1.more(), More::No);
    }
    // The block is within the limit, its escapes are not.
    let escaped = Owned::data("\u{1}".repeat(100 << 10));
    assert_eq!(batch(Form::EventStream, &PollConfig::default(), &[short.clone(), escaped.clone()]).0, 2);
    assert_eq!(batch(Form::Json, &PollConfig::default(), &[short, escaped.clone()]).0, 1);
    assert_eq!(
        messages(&json(&batch(Form::Json, &PollConfig::default(), std::slice::from_ref(&escaped)).1)),
        [escaped]
    );
}

#[test]
fn the_limit_is_exact() {
    let event = Owned::data("x".repeat(1000));
    let block = event.item().to_bytes().unwrap().len();
    let config = |bytes| PollConfig { bytes, ..PollConfig::default() };
    for (bytes, taken) in [(2 * block - 1, 1), (2 * block, 2), (3 * block - 1, 2), (3 * block, 3)] {
        assert_eq!(batch(Form::EventStream, &config(bytes), &vec![event.clone(); 9]).0, taken, "{bytes}");
    }
}

#[test]
fn the_protocols_own_events_are_messages_without_id_and_topic() {
    let gap = Owned { id: None, topic: None, event: "tautline.gap".into(), data: "a expired\nb ahead".into() };
    let (_, answer) = batch(Form::Json, &PollConfig::default(), &[gap]);
    assert_eq!(
        &answer.body()[..],
        br#"{"messages":[{"event":"tautline.gap","data":"a expired\nb ahead"}],"lastId":"9-1-0000beef"}"#
    );
    // The empty type is `message`, as in a block.
    let (_, answer) = batch(Form::Json, &PollConfig::default(), &[Owned { event: String::new(), ..Owned::data("") }]);
    assert_eq!(json(&answer)["messages"][0]["event"], "message");
}

#[test]
fn a_last_id_cannot_bring_in_a_line() {
    for id in ["1\n", "\r", "1\n\ndata: x", "\0"] {
        for form in [Form::Json, Form::EventStream] {
            let batch = Batch::new(form, &PollConfig::default());
            assert_eq!(batch.finish(id, More::No).unwrap_err(), EncodeError::Id);
        }
    }
}

#[test]
fn l9_an_answer_is_never_stored_and_says_what_it_is() {
    for (form, media) in [(Form::Json, "application/json"), (Form::EventStream, "text/event-stream")] {
        let (_, answer) = batch(form, &PollConfig::default(), &[Owned::data("é")]);
        let mut out = Output::new();
        let mut server = asked("GET /poll HTTP/1.1\r\nHost: a\r\n\r\n");
        answer.respond(&mut server, Some("s1"), &[("Vary", "Origin")], &mut out).unwrap();
        let text = written(&out);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.as_bytes(), &answer.body()[..]);
        let mut lines: Vec<&str> = head.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "Cache-Control: no-store",
                &format!("Content-Length: {}", body.len()),
                &format!("Content-Type: {media}"),
                "HTTP/1.1 200 OK",
                "Tautline-Session: s1",
                "Vary: Origin",
                "X-Content-Type-Options: nosniff",
            ]
        );
        // To a HEAD the same without the body.
        let mut out = Output::new();
        let mut server = asked("HEAD /poll HTTP/1.1\r\nHost: a\r\n\r\n");
        answer.respond(&mut server, Some("s1"), &[("Vary", "Origin")], &mut out).unwrap();
        assert_eq!(written(&out), format!("{head}\r\n\r\n"));
    }
}

#[test]
fn l10_nothing_of_the_request_comes_back() {
    let request = "GET /poll?callback=alert(1)&jsonp=alert(1)&timeout=0 HTTP/1.1\r\nHost: a\r\nX: alert(1)\r\n\r\n";
    for form in [Form::Json, Form::EventStream] {
        let (_, answer) = batch(form, &PollConfig::default(), &[Owned::data("x")]);
        let mut out = Output::new();
        answer.respond(&mut asked(request), None, &[], &mut out).unwrap();
        answer.prepare(&[]).map(|prepared| asked(request).respond_prepared(&prepared, &mut out)).unwrap().unwrap();
        assert!(!written(&out).contains("alert") && !written(&out).contains("callback"));
    }
}

#[test]
fn a_session_that_is_no_header_value_is_refused_before_a_byte_is_written() {
    let (_, answer) = batch(Form::Json, &PollConfig::default(), &[]);
    let mut out = Output::new();
    let mut server = asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let refused = answer.respond(&mut server, Some("a\r\nSet-Cookie: x"), &[], &mut out);
    assert!(matches!(refused, Err(ResponseError::Field(_))) && out.is_empty() && server.owes_answer());
}

#[test]
fn an_answer_prepared_once_is_what_each_poll_would_get() {
    let events = vec![Owned::data("<b>"); 101];
    for form in [Form::Json, Form::EventStream] {
        for events in [&events[..], &events[..1], &[]] {
            let (_, answer) = batch(form, &PollConfig::default(), events);
            let headers = [("Access-Control-Allow-Origin", "*")];
            let prepared = answer.prepare(&headers).unwrap();
            for request in [
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                "GET / HTTP/1.0\r\n\r\n",
                "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            ] {
                let (mut one, mut other) = (Output::new(), Output::new());
                answer.respond(&mut asked(request), None, &headers, &mut one).unwrap();
                asked(request).respond_prepared(&prepared, &mut other).unwrap();
                let sorted = |out: &Output| {
                    let text = written(out);
                    let (head, body) = text.split_once("\r\n\r\n").unwrap();
                    let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
                    lines.sort_unstable();
                    (lines, body.to_owned())
                };
                assert_eq!(sorted(&one), sorted(&other), "{request}");
            }
        }
    }
}
