//! The event source: what the standard asks of a client across connections. Ids are those of docs/BAD_INPUTS.md.

use base64::Engine as _;
use proptest::prelude::*;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tautline::backoff::BackoffConfig;
use tautline::http::url::Url;
use tautline::sse::{Closed, Disconnected, EventSource, EventSourceConfig, EventSourceEvent, Limits};
use tautline::{Buffers, Input, Instant, Output};

/// What an event source said, free of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Connect(String),
    Open,
    Message { event: String, data: String, id: String },
    Disconnected(Disconnected, Duration),
    Closed(Closed),
}

struct Peer {
    source: EventSource,
    out: Output,
    buffers: Buffers,
    now: Instant,
}

impl Peer {
    fn new() -> Self {
        Self::with(EventSourceConfig::default())
    }

    fn with(config: EventSourceConfig) -> Self {
        let url = Url::parse("http://example.com:8080/events?a=b").unwrap();
        let source = EventSource::new(Arc::new(config), url, 7);
        Self { source, out: Output::new(), buffers: Buffers::new(), now: Instant::from_millis(5000) }
    }

    fn feed(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut bytes = bytes.to_vec();
        let mut input = Input::with_buffers(&mut bytes, &mut self.buffers);
        let mut said = Vec::new();
        loop {
            let event = match self.source.next_event(&mut input, &mut self.out, self.now) {
                None => break,
                Some(EventSourceEvent::Connect) => Said::Connect(self.source.url().target().into()),
                Some(EventSourceEvent::Open) => Said::Open,
                Some(EventSourceEvent::Message(event)) => Said::Message {
                    event: event.event.into(),
                    data: event.data.into(),
                    id: self.source.last_event_id().into(),
                },
                Some(EventSourceEvent::Disconnected { cause, wait }) => Said::Disconnected(cause, wait),
                Some(EventSourceEvent::Closed(closed)) => Said::Closed(closed),
            };
            said.push(event);
            assert!(said.len() < 100_000, "an event source that never comes to rest");
        }
        said
    }

    /// Waits for the next `Connect`, connects, and gives the request that went out.
    fn connect(&mut self) -> String {
        if let Some(deadline) = self.source.poll_timeout() {
            self.now = self.now.max(deadline);
            self.source.handle_timeout(self.now, &mut self.out);
        }
        let said = self.feed(&[]);
        assert!(matches!(said[..], [Said::Connect(_)]), "{said:?}");
        self.request()
    }

    fn request(&mut self) -> String {
        self.source.connected(&mut self.out, self.now).unwrap();
        let request = self.out.chunks().collect::<Vec<_>>().concat();
        self.out.clear();
        String::from_utf8(request).unwrap()
    }

    /// The connection ends; gives the wait until the next.
    fn lose(&mut self) -> Duration {
        self.source.handle_eof(self.now);
        let said = self.feed(&[]);
        match said[..] {
            [Said::Disconnected(_, wait)] => wait,
            _ => panic!("{said:?}"),
        }
    }
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

fn message(data: &str, id: &str) -> Said {
    Said::Message { event: "message".into(), data: data.into(), id: id.into() }
}

/// A response head with that status and type, to be followed by a body until the connection closes.
fn head(status: u64, content_type: Option<&str>) -> String {
    let content_type = content_type.map(|value| format!("Content-Type: {value}\r\n")).unwrap_or_default();
    format!("HTTP/1.1 {status} X\r\n{content_type}\r\n")
}

fn chunked(body: &[u8], step: usize) -> Vec<u8> {
    let mut wire = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(step) {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

#[test]
fn every_case_of_the_standard_connects_or_fails_and_reconnects_as_listed() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/sse_cases.json")).unwrap();
    assert_eq!(cases.len(), 107);
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let body: Vec<u8> = case["chunks"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|chunk| {
                let text = chunk.as_str().unwrap();
                let mut bytes = vec![0; text.len()];
                let len = base64::prelude::BASE64_STANDARD.decode_slice(text, &mut bytes).unwrap();
                bytes.truncate(len);
                bytes
            })
            .collect();
        let status = case["status"].as_u64().unwrap();
        let head = head(status, case["content_type"].as_str());
        let connects = case["should_connect"] == true;
        let mut wires = vec![[head.as_bytes(), &body].concat()];
        if connects {
            let chunked_head = "Transfer-Encoding: chunked\r\n\r\n";
            let start = chunked(&body, 7);
            let at = start.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            wires.push([head.trim_end().as_bytes(), b"\r\n", chunked_head.as_bytes(), &start[at..]].concat());
        }
        for wire in wires {
            for step in [wire.len(), 1460, 3, 1] {
                let mut peer = Peer::new();
                peer.connect();
                let said: Vec<Said> = wire.chunks(step).flat_map(|chunk| peer.feed(chunk)).collect();
                if !connects {
                    assert!(matches!(said[..], [Said::Closed(_)]), "{name}: {said:?}");
                    assert!(peer.source.is_closed() && peer.source.poll_timeout().is_none());
                    peer.source.handle_eof(peer.now);
                    assert_eq!(peer.feed(&[]), []);
                    continue;
                }
                let mut expected = vec![Said::Open];
                expected.extend(case["expected_events"].as_array().unwrap().iter().map(|event| Said::Message {
                    event: event["event"].as_str().unwrap().into(),
                    data: event["data"].as_str().unwrap().into(),
                    id: event["last_event_id"].as_str().unwrap().into(),
                }));
                assert_eq!(said, expected, "{name}");
                assert_eq!(peer.source.retry(), case["expected_retry_ms"].as_u64(), "{name}");
                let wait = peer.lose();
                let retry = Duration::from_millis(peer.source.retry().unwrap_or(3000)).max(Duration::from_millis(100));
                assert!(wait >= retry && wait <= retry + Duration::from_secs(1), "{name}: {wait:?}");
                let request = peer.connect();
                if let Some(id) = case["reconnect_last_event_id"].as_str() {
                    let field = format!("Last-Event-ID: {id}\r\n");
                    assert_eq!(request.contains(&field), !id.is_empty(), "{name}: {request}");
                    assert_eq!(request.contains("Last-Event-ID"), !id.is_empty(), "{name}: {request}");
                }
            }
        }
    }
}

#[test]
fn every_request_asks_for_an_event_stream_that_no_cache_answers() {
    let headers = vec![("x-own".into(), "1".into()), ("Accept".into(), "text/event-stream, */*".into())];
    let mut peer = Peer::with(EventSourceConfig { headers, ..EventSourceConfig::default() });
    for _ in 0..2 {
        let request = peer.connect();
        assert!(request.starts_with("GET /events?a=b HTTP/1.1\r\n"), "{request}");
        for field in [
            "example.com:8080\r\n",
            "Accept: text/event-stream, */*\r\n",
            "Cache-Control: no-cache\r\n",
            "x-own: 1\r\n",
        ] {
            assert_eq!(request.matches(field).count(), 1, "{field} in {request}");
        }
        assert!(!request.contains("Last-Event-ID"));
        peer.lose();
    }
}

#[test]
fn a_lost_connection_throws_half_events_away_and_keeps_id_and_retry() {
    let mut peer = Peer::new();
    peer.connect();
    let said =
        peer.feed([STREAM, "\u{FEFF}retry: 250\nid: 7\ndata: a\n\nid: 8\nevent: x\ndata: b\r"].concat().as_bytes());
    assert_eq!(said, [Said::Open, message("a", "7")]);
    let wait = peer.lose();
    assert!(wait >= Duration::from_millis(250) && wait < Duration::from_millis(1250), "{wait:?}");
    assert!(peer.connect().contains("Last-Event-ID: 7\r\n"));
    let said = peer.feed([STREAM, "\u{FEFF}\ndata: c\n\n"].concat().as_bytes());
    assert_eq!(said, [Said::Open, message("c", "7")]);
}

#[test]
fn r6_the_wait_is_clamped_to_100_ms_and_1_h() {
    for (retry, at_least) in [("0", 100), ("99", 100), ("101", 101), ("1000000000000", 3_600_000)] {
        let mut peer = Peer::new();
        peer.connect();
        peer.feed(format!("{STREAM}retry: {retry}\n").as_bytes());
        let wait = peer.lose();
        let at_least = Duration::from_millis(at_least);
        assert!(wait >= at_least && wait <= at_least + Duration::from_secs(1), "{retry}: {wait:?}");
        assert_eq!(peer.source.retry().unwrap().to_string(), retry);
    }
}

#[test]
fn a_body_of_known_length_is_over_with_its_last_byte_whatever_that_is() {
    for body in
        ["data: hi\n\n", "data: hi\n\n\n", "data: hi\n\n: and more", "data: hi\n\ndata: torn", "data: hi\n\nid: 4\n\n"]
    {
        let chunked = String::from_utf8(chunked(body.as_bytes(), body.len())).unwrap() + "0\r\n\r\n";
        let counted = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        for wire in [counted, chunked] {
            for cut in [wire.len(), 7, 1] {
                let mut peer = Peer::with(EventSourceConfig { heartbeat: None, ..EventSourceConfig::default() });
                peer.connect();
                let said: Vec<Said> = wire.as_bytes().chunks(cut).flat_map(|chunk| peer.feed(chunk)).collect();
                let ended = matches!(
                    &said[..],
                    [Said::Open, Said::Message { data, .. }, Said::Disconnected(Disconnected::Ended, _)] if data == "hi"
                );
                assert!(ended, "{body:?} in pieces of {cut}: {said:?}");
                assert!(peer.source.poll_timeout().is_some());
            }
        }
    }
    // An empty body is over with its head.
    let mut peer = Peer::with(EventSourceConfig { heartbeat: None, ..EventSourceConfig::default() });
    peer.connect();
    let said = peer.feed(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n");
    assert!(matches!(said[..], [Said::Open, Said::Disconnected(Disconnected::Ended, _)]), "{said:?}");
}

#[test]
fn r8_a_broken_limit_closes_the_source() {
    let limits = Limits { line: 100, event: 100 };
    let mut peer = Peer::with(EventSourceConfig { limits, ..EventSourceConfig::default() });
    peer.connect();
    let said = peer.feed([STREAM, "data: ", &"x".repeat(200)].concat().as_bytes());
    assert!(matches!(said[..], [Said::Open, Said::Closed(Closed::Parse(_))]), "{said:?}");
}

#[test]
fn r11_other_statuses_and_types_are_final_and_carry_what_the_server_said() {
    let closed = |head: &str| {
        let mut peer = Peer::new();
        peer.connect();
        let said = peer.feed(head.as_bytes());
        match said[..] {
            [Said::Closed(closed)] => closed,
            _ => panic!("{said:?}"),
        }
    };
    for status in [201, 204, 205, 206, 299, 300, 304, 400, 401, 403, 404, 410, 429, 500, 502, 503, 504] {
        let head = head(status, Some("text/event-stream"));
        assert_eq!(closed(&head), Closed::Status { status: status as u16, retry_after: None });
    }
    let retry_after = Some(Duration::from_secs(120));
    let head429 = "HTTP/1.1 429 X\r\nRetry-After: 120\r\nContent-Length: 3\r\n\r\nno!";
    assert_eq!(closed(head429), Closed::Status { status: 429, retry_after });
    let dated = "HTTP/1.1 503 X\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(closed(dated), Closed::Status { status: 503, retry_after: None });
    assert_eq!(closed(&head(204, None)).to_string(), "the server said that it is done (204)");
    assert_eq!(closed(&head(404, None)).to_string(), "status 404 is not 200");
    assert_eq!(closed(&head(200, Some("text/html"))), Closed::ContentType);
    assert_eq!(closed(&head(200, None)), Closed::ContentType);
}

#[test]
fn a_wrong_answer_to_a_reconnect_is_final_too() {
    for second in [head(204, None), head(200, Some("text/plain"))] {
        let mut peer = Peer::new();
        peer.connect();
        assert_eq!(peer.feed(STREAM.as_bytes()), [Said::Open]);
        peer.lose();
        peer.connect();
        assert!(matches!(peer.feed(second.as_bytes())[..], [Said::Closed(_)]));
        assert_eq!(peer.source.poll_timeout(), None);
    }
}

#[test]
fn r13_a_silent_server_is_left_after_two_and_a_half_heartbeats() {
    let mut peer = Peer::new();
    peer.connect();
    peer.feed(STREAM.as_bytes());
    let opened = peer.now;
    assert_eq!(peer.source.poll_timeout(), Some(opened + Duration::from_millis(37_500)));
    // Any byte counts, a comment's too.
    peer.now = opened + Duration::from_secs(30);
    assert_eq!(peer.feed(b":"), []);
    let deadline = peer.source.poll_timeout().unwrap();
    assert_eq!(deadline, peer.now + Duration::from_millis(37_500));
    peer.source.handle_timeout(opened + Duration::from_secs(60), &mut peer.out);
    assert_eq!(peer.feed(&[]), []);
    peer.now = deadline;
    peer.source.handle_timeout(peer.now, &mut peer.out);
    assert!(matches!(peer.feed(&[])[..], [Said::Disconnected(Disconnected::Silent, _)]));
    assert!(peer.source.poll_timeout().unwrap() > peer.now);
    // No response at all ends the attempt likewise.
    peer.connect();
    peer.now = peer.source.poll_timeout().unwrap();
    peer.source.handle_timeout(peer.now, &mut peer.out);
    assert!(matches!(peer.feed(&[])[..], [Said::Disconnected(Disconnected::Silent, _)]));
}

#[test]
fn without_a_heartbeat_silence_is_waited_out_and_connecting_has_no_deadline_of_its_own() {
    let mut peer = Peer::with(EventSourceConfig { heartbeat: None, ..EventSourceConfig::default() });
    assert_eq!(peer.feed(&[]).len(), 1);
    assert_eq!(peer.source.poll_timeout(), None);
    peer.request();
    assert_eq!(peer.feed(STREAM.as_bytes()), [Said::Open]);
    assert_eq!(peer.source.poll_timeout(), None);
    peer.now = peer.now + Duration::from_secs(1_000_000);
    peer.source.handle_timeout(peer.now, &mut peer.out);
    assert_eq!(peer.feed(b"data: a\n\n"), [message("a", "")]);
}

#[test]
fn h28_redirects_are_followed_within_the_origin_and_five_at_most() {
    let redirect =
        |status: u16, to: &str| format!("HTTP/1.1 {status} X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    for status in [301, 302, 303, 307, 308] {
        let mut peer = Peer::new();
        peer.connect();
        assert_eq!(peer.feed(redirect(status, "other?x=1").as_bytes()), [Said::Connect("/other?x=1".into())]);
        assert!(peer.request().starts_with("GET /other?x=1 HTTP/1.1\r\n"));
        assert_eq!(peer.feed(STREAM.as_bytes()), [Said::Open]);
        // A reconnect begins at the source again.
        peer.lose();
        assert!(peer.connect().starts_with("GET /events?a=b "));
    }
    let mut peer = Peer::new();
    peer.connect();
    for n in 0..5 {
        assert_eq!(peer.feed(redirect(307, &format!("/{n}")).as_bytes()), [Said::Connect(format!("/{n}"))]);
        peer.request();
    }
    assert_eq!(peer.feed(redirect(307, "/5").as_bytes()), [Said::Closed(Closed::Redirects { limit: 5 })]);
    for away in ["http://example.com/events", "https://example.com:8080/", "//evil.example:8080/", "http://[::1/"] {
        let headers = vec![("authorization".into(), "Bearer x".into())];
        let mut peer = Peer::with(EventSourceConfig { headers, ..EventSourceConfig::default() });
        peer.connect();
        assert_eq!(
            peer.feed(redirect(302, away).as_bytes()),
            [Said::Closed(Closed::Redirect { status: 302 })],
            "{away}"
        );
        assert_eq!(peer.source.redirect(), Some(away));
        assert!(peer.out.is_empty());
    }
    let mut peer = Peer::new();
    peer.connect();
    let nowhere = "HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(peer.feed(nowhere.as_bytes()), [Said::Closed(Closed::Redirect { status: 302 })]);
}

#[test]
fn close_is_final_from_any_state() {
    let steps: [fn(&mut Peer); 6] = [
        |_| (),
        |peer| drop(peer.feed(&[])),
        |peer| drop(peer.connect()),
        |peer| {
            peer.connect();
            peer.feed([STREAM, "data: a\n"].concat().as_bytes());
        },
        |peer| {
            peer.connect();
            peer.lose();
        },
        |peer| {
            peer.connect();
            peer.source.handle_eof(peer.now);
        },
    ];
    for (n, step) in steps.iter().enumerate() {
        let mut peer = Peer::new();
        step(&mut peer);
        peer.source.close();
        peer.source.close();
        assert_eq!(peer.feed(b"\ndata: b\n\n"), [Said::Closed(Closed::ByCaller)], "{n}");
        peer.source.handle_eof(peer.now);
        peer.source.connect_failed(peer.now);
        peer.source.connected(&mut peer.out, peer.now).unwrap();
        peer.now = peer.now + Duration::from_secs(10_000);
        peer.source.handle_timeout(peer.now, &mut peer.out);
        assert_eq!(peer.feed(&[]), [], "{n}");
        assert_eq!(peer.source.poll_timeout(), None);
    }
}

#[test]
fn a_refused_connection_and_a_broken_answer_are_tried_again_and_back_off() {
    let backoff = BackoffConfig { attempts: Some(3), ..BackoffConfig::default() };
    let mut peer = Peer::with(EventSourceConfig { backoff, ..EventSourceConfig::default() });
    assert_eq!(peer.feed(&[]).len(), 1);
    peer.source.connect_failed(peer.now);
    assert!(matches!(peer.feed(&[])[..], [Said::Disconnected(Disconnected::ConnectFailed, _)]));
    peer.connect();
    assert!(matches!(peer.feed(b"SSH-2.0-x\r\n\r\n")[..], [Said::Disconnected(Disconnected::Http(_), _)]));
    peer.connect();
    peer.lose();
    peer.connect();
    peer.source.handle_eof(peer.now);
    assert_eq!(peer.feed(&[]), [Said::Closed(Closed::Attempts)]);
}

#[test]
fn an_id_that_no_header_can_carry_is_left_out() {
    for id in [" a", "a\u{1}", "a\u{7F}"] {
        let mut peer = Peer::new();
        peer.source.set_last_event_id(id);
        assert!(!peer.connect().contains("Last-Event-ID"));
    }
    let mut peer = Peer::new();
    peer.source.set_last_event_id("stored");
    assert!(peer.connect().contains("Last-Event-ID: stored\r\n"));
}

#[test]
fn s10_an_id_longer_than_a_server_takes_is_left_out_and_the_source_goes_on() {
    for (len, comes_back) in [(4095, true), (4096, true), (4097, false), (1 << 19, false)] {
        let id = "7".repeat(len);
        let mut peer = Peer::new();
        peer.connect();
        let said = peer.feed([STREAM, "id: ", &id, "\ndata: a\n\n"].concat().as_bytes());
        assert_eq!(said, [Said::Open, message("a", &id)]);
        peer.lose();
        let request = peer.connect();
        assert_eq!(request.contains(&format!("Last-Event-ID: {id}\r\n")), comes_back, "{len}");
        assert_eq!(request.contains("Last-Event-ID"), comes_back, "{len}");
        assert!(!peer.source.is_closed());
        assert_eq!(peer.source.last_event_id(), id);
        assert_eq!(peer.feed(STREAM.as_bytes()), [Said::Open]);
    }
}

#[test]
fn a_caller_that_stops_early_feeds_the_rest_again_and_loses_nothing() {
    let body = b"data: a\n\nid: 1\ndata: b\ndata: c\n\ndata: d\n\n";
    for step in [body.len(), 5] {
        let mut peer = Peer::new();
        peer.connect();
        let mut wire = chunked(body, step);
        let mut data = Vec::new();
        // One event per turn, and what is left is fed again.
        for _ in 0..10 {
            let mut input = Input::with_buffers(&mut wire, &mut peer.buffers);
            if let Some(EventSourceEvent::Message(event)) = peer.source.next_event(&mut input, &mut peer.out, peer.now)
            {
                data.push(event.data.to_owned());
            }
            let rest = input.rest().to_vec();
            drop(input);
            wire = rest;
        }
        assert_eq!(data, ["a", "b\nc", "d"]);
    }
}

proptest! {
    #[test]
    fn r14_any_cut_of_the_connection_gives_the_same_events(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "data: x\n", "data:y\r\n", "\n", "\r\n", "\r", "id: 5\n", ":c\n", "event: t\n", "retry: 9\n", "é", "data",
        ]), 0..30),
        step in 1..20usize,
        cut in 1..30usize,
    ) {
        let wire = chunked(pieces.concat().as_bytes(), step);
        let run = |cut: usize| {
            let mut peer = Peer::new();
            peer.connect();
            let said: Vec<Said> = wire.chunks(cut).flat_map(|chunk| peer.feed(chunk)).collect();
            (said, peer.source.last_event_id().to_owned(), peer.source.retry())
        };
        prop_assert_eq!(run(cut), run(wire.len()));
    }
}
