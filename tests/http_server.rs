//! A server's connection: requests, answers, keep-alive, pipelining, deadlines, refusals.

use bytes::Bytes;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use tautline::http::cors::{Cors, Credentials};
use tautline::http::origin::OriginPolicy;
use tautline::http::server::{Event, Streaming};
use tautline::http::url::Scheme;
use tautline::http::{
    BodyError, Closed, Deadline, Error, FieldError, HeadError, Response, ResponseError, Server, ServerConfig,
};
use tautline::{Input, Instant, Output};

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

/// A connection with its driver: keeps what the server leaves, writes down what happens.
struct Line {
    server: Server,
    out: Output,
    kept: Vec<u8>,
    log: String,
}

impl Line {
    fn new() -> Self {
        Self::with(ServerConfig::default())
    }

    fn with(config: ServerConfig) -> Self {
        Self { server: Server::new(Arc::new(config), at(0)), out: Output::new(), kept: Vec::new(), log: String::new() }
    }

    /// Feeds bytes at second `now`; `answer` is told of each event and may answer.
    fn feed_with(&mut self, bytes: &[u8], now: u64, answer: impl Fn(&mut Server, &str, &mut Output)) {
        self.kept.extend_from_slice(bytes);
        let mut bytes = std::mem::take(&mut self.kept);
        let mut input = Input::new(&mut bytes);
        for _ in 0..10_000 {
            let event = match self.server.next_event(&mut input, &mut self.out, at(now)) {
                Ok(None) => {
                    self.kept = input.rest().to_vec();
                    return;
                }
                Ok(Some(Event::Request(head))) => format!("{} {}", head.method(), head.target()),
                Ok(Some(Event::Body(data))) => {
                    // Data events may be cut anywhere: only their sum counts.
                    self.log.push_str(&data.escape_ascii().to_string());
                    answer(&mut self.server, "data", &mut self.out);
                    continue;
                }
                Ok(Some(Event::BodyEnd)) => "end".into(),
                Ok(Some(Event::Closed(closed))) => format!("{closed:?}"),
                Err(e) => format!("{e:?}"),
            };
            self.log += &format!("<{event}>");
            answer(&mut self.server, &event, &mut self.out);
        }
        panic!("a bounded number of events for bounded bytes");
    }

    fn feed(&mut self, bytes: impl AsRef<[u8]>) {
        self.feed_with(bytes.as_ref(), 0, |_, _, _| {});
    }

    fn sent(&mut self) -> String {
        let sent: Vec<u8> = self.out.chunks().flatten().copied().collect();
        self.out.clear();
        String::from_utf8(sent).unwrap()
    }

    fn tick(&mut self, now: u64) {
        self.server.handle_timeout(at(now), &mut self.out);
        if let Some(deadline) = self.server.poll_timeout() {
            assert!(deadline > at(now), "a deadline that was handled moves on");
        }
        self.feed_with(b"", now, |_, _, _| {});
    }

    fn respond(&mut self, response: &Response<'_>, body: &str) -> Result<(), ResponseError> {
        self.server.respond(response, body.as_bytes(), &mut self.out)
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn ok() -> Response<'static> {
    Response::new(200)
}

/// Answers each request at its end.
fn echo(server: &mut Server, event: &str, out: &mut Output) {
    if event == "end" {
        server.respond(&ok(), b"hi", out).unwrap();
    }
}

#[test]
fn a_request_is_answered_and_the_connection_goes_on() {
    let mut line = Line::new();
    line.feed("POST /p?q HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
    assert_eq!(line.log, "<POST /p?q>hel");
    line.feed("lo");
    assert_eq!(line.log, "<POST /p?q>hello<end>");
    assert!(line.server.owes_answer() && line.server.keeps_alive() && !line.server.wants_input());
    line.respond(&Response::new(201).base(&[("server", "t")]).headers(&[("x-a", "é"), ("x-b", "")]), "made").unwrap();
    assert_eq!(line.sent(), "HTTP/1.1 201 Created\r\nContent-Length: 4\r\nserver: t\r\nx-a: é\r\nx-b: \r\n\r\nmade");
    assert!(!line.server.owes_answer() && line.server.wants_input() && !line.server.is_finished());
    line.feed(GET);
    assert!(line.log.ends_with("<GET /><end>"));
}

#[test]
fn pipelined_requests_are_answered_in_order_and_wait_in_the_input() {
    let mut line = Line::new();
    line.feed(GET.repeat(3));
    assert_eq!(line.log, "<GET /><end>");
    assert_eq!(line.kept, GET.repeat(2).as_bytes());
    line.respond(&ok(), "1").unwrap();
    line.feed("");
    assert_eq!(line.kept, GET.as_bytes());
    line.feed_with(b"", 0, echo);
    assert_eq!(line.log, "<GET /><end>".repeat(2));
    line.respond(&ok(), "2").unwrap();
    line.feed_with(b"", 0, echo);
    assert_eq!(line.log, "<GET /><end>".repeat(3));
    assert!(line.kept.is_empty());
    let one = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(line.sent(), [one("1"), one("2"), one("hi")].concat());
}

#[test]
fn persistence_of_answers_follows_request_and_response() {
    for (head, closes, connection) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, ""),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", true, "Connection: close\r\n"),
        ("GET / HTTP/1.0\r\n\r\n", true, "Connection: close\r\n"),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false, "Connection: keep-alive\r\n"),
    ] {
        let mut line = Line::new();
        line.feed([head, GET].concat());
        line.respond(&ok(), "x").unwrap();
        assert_eq!(line.sent(), format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{connection}\r\nx"));
        assert_eq!((line.server.is_finished(), line.server.keeps_alive()), (closes, !closes));
        line.feed("");
        assert_eq!(line.log.ends_with("<Finished>"), closes, "{}", line.log);
        assert_eq!(line.log.matches("<GET").count(), if closes { 1 } else { 2 }, "{}", line.log);
        assert!(line.kept.is_empty());
    }
    let mut line = Line::new();
    line.feed(GET);
    line.respond(&ok().close(), "x").unwrap();
    assert!(line.sent().contains("Connection: close\r\n"));
    assert!(line.server.is_finished());
}

#[test]
fn closed_comes_exactly_once() {
    let mut line = Line::new();
    line.server.handle_eof(at(1));
    line.server.abort();
    line.server.shut_down();
    line.server.handle_eof(at(1));
    line.feed(GET);
    line.feed(GET);
    line.tick(1000);
    assert_eq!(line.log, "<PeerClosed>");
    assert!(line.sent().is_empty() && line.server.is_finished() && line.kept.is_empty());
}

#[test]
fn head_and_statuses_without_body_send_none() {
    let mut line = Line::new();
    line.feed("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    line.respond(&ok(), "12345").unwrap();
    assert_eq!(line.sent(), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    for (status, head) in [
        (204, "HTTP/1.1 204 No Content\r\n\r\n"),
        (304, "HTTP/1.1 304 Not Modified\r\n\r\n"),
        (205, "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
        (599, "HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n"),
    ] {
        line.feed(GET);
        if status < 599 {
            assert_eq!(line.respond(&Response::new(status), "x"), Err(ResponseError::BodyNotAllowed));
            let stream = line.server.respond_stream(&Response::new(status), &mut line.out);
            assert_eq!(stream, Err(ResponseError::BodyNotAllowed));
        }
        line.respond(&Response::new(status), "").unwrap();
        assert_eq!(line.sent(), head);
    }
    for status in [0, 99, 100, 101, 199, 600, 65535] {
        line.feed(GET);
        assert_eq!(line.respond(&Response::new(status), ""), Err(ResponseError::Status));
    }
    assert!(line.sent().is_empty());
}

#[test]
fn h25_a_header_that_would_break_the_message_is_an_error_and_no_byte_is_sent() {
    let mut line = Line::new();
    line.feed(GET);
    for (name, value, error) in [
        ("x", "a\r\nb: c", FieldError::Value),
        ("x", "a\nb", FieldError::Value),
        ("x", "a\rb", FieldError::Value),
        ("x", "a\0b", FieldError::Value),
        ("x\r\ny", "a", FieldError::Name),
        ("", "a", FieldError::Name),
        ("Content-Length", "1", FieldError::Reserved),
        ("transfer-encoding", "chunked", FieldError::Reserved),
        ("CONNECTION", "close", FieldError::Reserved),
    ] {
        let fields = [(name, value)];
        for response in [ok().headers(&fields), ok().base(&fields)] {
            assert_eq!(line.respond(&response, ""), Err(ResponseError::Field(error)));
            let stream = line.server.respond_stream(&response, &mut line.out);
            assert_eq!(stream, Err(ResponseError::Field(error)));
        }
    }
    assert!(line.out.is_empty());
    line.respond(&ok(), "still owed").unwrap();
}

#[test]
fn an_answer_that_does_not_fit_is_still_owed_and_leaves_no_byte() {
    let mut line = Line::new();
    line.out = Output::with_limit(40);
    line.feed(GET);
    let full =
        |outcome: Result<(), ResponseError>| assert!(matches!(outcome, Err(ResponseError::Full(_))), "{outcome:?}");
    full(line.respond(&ok(), "0123456789"));
    full(line.server.respond_shared(&ok(), &Bytes::from_static(b"0123456789"), &mut line.out));
    full(line.server.respond_stream(&ok(), &mut line.out).map(|_| ()));
    assert!(line.out.is_empty() && line.server.owes_answer());
    line.out = Output::with_limit(50);
    let _ = line.server.respond_stream(&ok(), &mut line.out).unwrap();
    full(line.server.send_chunk(b"0", &mut line.out));
    full(line.server.send_parts(&[b"0"], &mut line.out));
    full(line.server.send_shared(&Bytes::from_static(b"0"), &mut line.out));
    full(line.server.finish(&mut line.out));
    line.sent();
    line.server.finish(&mut line.out).unwrap();
    assert_eq!(line.sent(), "0\r\n\r\n");
}

#[test]
fn a_stream_is_chunked_to_11_and_close_delimited_to_10() {
    let mut line = Line::new();
    line.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(line.server.respond_stream(&ok(), &mut line.out), Ok(Streaming::Open));
    line.server.send_chunk(b"abc", &mut line.out).unwrap();
    line.server.send_chunk(b"", &mut line.out).unwrap();
    line.server.send_parts(&[b"d", b"", b"efghijklmnopq"], &mut line.out).unwrap();
    line.server.send_shared(&Bytes::from(vec![b'x'; 20_000]), &mut line.out).unwrap();
    line.server.finish(&mut line.out).unwrap();
    let sent = line.sent();
    assert!(sent.starts_with(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\ne\r\ndefghijklmnopq\r\n4e20\r\nxx"
    ));
    assert!(sent.ends_with("xx\r\n0\r\n\r\n"));
    assert!(line.server.keeps_alive());
    assert_eq!(line.server.send_chunk(b"x", &mut line.out), Err(ResponseError::NotStreaming));
    assert_eq!(line.server.finish(&mut line.out), Err(ResponseError::NotStreaming));

    let mut line = Line::new();
    line.feed("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(line.server.respond_stream(&ok(), &mut line.out), Ok(Streaming::Open));
    line.server.send_parts(&[b"a", b"bc"], &mut line.out).unwrap();
    line.server.send_shared(&Bytes::from_static(b"d"), &mut line.out).unwrap();
    line.server.finish(&mut line.out).unwrap();
    assert_eq!(line.sent(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcd");
    line.feed("");
    assert!(line.log.ends_with("<Finished>"));
}

#[test]
fn s8_a_stream_to_head_is_its_head() {
    let mut line = Line::new();
    line.feed("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(line.server.respond_stream(&ok(), &mut line.out), Ok(Streaming::HeadOnly));
    assert_eq!(line.sent(), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(line.server.send_chunk(b"x", &mut line.out), Err(ResponseError::NotStreaming));
    line.feed(GET);
    assert!(line.log.contains("<GET />"));
}

#[test]
fn s15_a_request_behind_a_stream_that_ends_the_connection_is_never_processed() {
    for head in [GET, "GET / HTTP/1.0\r\n\r\n"] {
        let mut line = Line::new();
        line.feed([head, "POST /evil HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
        let _ = line.server.respond_stream(&ok().close(), &mut line.out).unwrap();
        line.feed("GET /more HTTP/1.1\r\n");
        assert!(line.kept.is_empty(), "what is never read need not be kept");
        line.server.finish(&mut line.out).unwrap();
        line.feed(GET);
        assert_eq!(line.log, "<GET /><end><Finished>");
    }
}

#[test]
fn a_body_goes_on_behind_an_open_stream() {
    let mut line = Line::new();
    line.feed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    let _ = line.server.respond_stream(&ok(), &mut line.out).unwrap();
    line.feed("1\r\nb\r\n0\r\n\r\n");
    assert_eq!(line.log, "<POST />ab<end>");
    line.server.finish(&mut line.out).unwrap();
    line.feed(GET);
    assert!(line.log.ends_with("<GET /><end>"));
}

#[test]
fn the_rest_of_a_body_behind_its_answer_is_dropped_if_small_and_ends_the_connection_if_not() {
    let answer = |server: &mut Server, event: &str, out: &mut Output| {
        if event.starts_with("POST") {
            server.respond(&ok(), b"", out).unwrap();
        }
    };
    let post =
        |length: usize| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length));
    let mut line = Line::new();
    line.feed_with([post(65536), post(65536)].concat().as_bytes(), 0, answer);
    assert_eq!(line.log, "<POST /><POST />");
    assert!(!line.sent().contains("close"));
    line.feed_with(post(65537).as_bytes(), 0, answer);
    assert_eq!(line.log, "<POST /><POST /><POST /><Finished>");
    assert!(line.sent().contains("Connection: close"));
    // What a chunked body will be is not known: it is read up to the same bound.
    let chunks = |count: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
            "1\r\nx\r\n".repeat(count)
        )
    };
    for (count, log) in [(65536, "<POST /><GET /><end>"), (65537, "<POST /><Finished>")] {
        let mut line = Line::new();
        line.feed_with([&chunks(count), GET].concat().as_bytes(), 0, answer);
        assert_eq!(line.log, log);
    }
}

#[test]
fn a_client_that_expects_100_is_invited_when_the_body_is_asked_for() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
    for piece in [head.len(), 10_000] {
        let mut line = Line::new();
        for piece in [head, "hi"].concat().into_bytes().chunks(piece) {
            line.feed(piece);
        }
        assert_eq!(line.log, "<POST />hi<end>");
        line.respond(&ok(), "").unwrap();
        assert_eq!(line.sent(), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
    // An answer in its place ends the connection: the body may come or not.
    let mut line = Line::new();
    line.feed_with(head.as_bytes(), 0, |server, event, out| {
        if event.starts_with("POST") {
            server.respond(&Response::new(413), b"", out).unwrap();
        }
    });
    assert_eq!(line.sent(), "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(line.log, "<POST /><Finished>");
    // Nothing is invited where nothing comes, or from a client that knows no 100.
    let mut line = Line::new();
    line.feed("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n");
    assert!(line.out.is_empty());
    let mut line = Line::new();
    line.feed("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    assert!(line.out.is_empty());
}

#[test]
fn an_unknown_expectation_is_417() {
    for expectation in ["200-ok", "", "100-continue, x"] {
        let mut line = Line::new();
        line.feed(format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: {expectation}\r\nContent-Length: 1\r\n\r\n"));
        assert!(line.sent().starts_with("HTTP/1.1 417 Expectation Failed\r\n"));
        assert_eq!(line.log, "<Expectation><Error(Expectation)>");
    }
}

/// The status that a stream of bytes is refused with, the same at every cut; the answer closes.
fn refusal(bytes: &[u8]) -> u16 {
    let mut status = None;
    for piece in [bytes.len(), 1] {
        let mut line = Line::new();
        for piece in bytes.chunks(piece) {
            line.feed(piece);
        }
        assert!(line.log.contains("Error("), "{}", line.log);
        assert_eq!(line.log.matches("<Error(").count(), 1, "Closed comes once: {}", line.log);
        assert!(line.server.is_finished() && line.server.poll_timeout().is_none() && line.kept.is_empty());
        let sent = line.sent();
        assert!(sent.contains("Connection: close\r\n") && sent.contains("Content-Length: "), "{sent}");
        assert_eq!(sent.matches("HTTP/1.1 ").count(), 1, "{sent}");
        let this = sent[9..12].parse().unwrap();
        assert_eq!(*status.get_or_insert(this), this);
    }
    status.unwrap()
}

#[test]
fn h3_h8_h10_h14_to_h21_h29_are_answered_with_their_status_and_close() {
    let with = |line: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
    let body = |bytes: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{bytes}");
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_string(), 400),
        (with("Host: b"), 400),
        (format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(9000)), 431),
        (with(&"x: y\r\n".repeat(64)), 431),
        (with("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400),
        (with("Content-Length: +5"), 400),
        (with("Transfer-Encoding: xchunked"), 501),
        (with("Transfer-Encoding: \x0bchunked"), 400),
        (with("x: y\r\n z"), 400),
        (with("Upgrade : websocket"), 400),
        (with("x: \0"), 400),
        (body("00000000000000001\r\n"), 400),
        (body(&format!("1;{}\r\n", "x".repeat(10_000))), 400),
        (body("1\r\nab"), 400),
        (body("fffffffff\r\n"), 413),
        (with("Content-Length: 1048577"), 413),
        (format!("GET /{}", "a".repeat(8000)), 414),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_string(), 505),
        ("\x16\x03\x01".to_string(), 400),
    ] {
        assert_eq!(refusal(bytes.as_bytes()), status, "{}", bytes.escape_debug());
    }
}

#[test]
fn a_body_that_is_announced_too_long_may_be_refused_in_the_applications_words_and_is_not_read() {
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1048577\r\n\r\n";
    let mut line = Line::new();
    line.feed_with([head, "body"].concat().as_bytes(), 0, |server, event, out| {
        if event.starts_with("POST") {
            server.respond(&Response::new(413).headers(&[("Vary", "Origin")]), b"", out).unwrap();
        }
    });
    let answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\nVary: Origin\r\n\r\n";
    assert_eq!((&*line.sent(), &*line.log), (answer, "<POST /a><Finished>"));
    // Where it does not answer, the connection does; nobody is invited to send it.
    let mut line = Line::new();
    line.feed([head, "body"].concat());
    assert!(line.sent().starts_with("HTTP/1.1 413 Content Too Large\r\n"));
    assert!(!line.log.contains("body"), "{}", line.log);
}

#[test]
fn a_refusal_fits_an_output_that_is_full() {
    let mut line = Line::new();
    line.out = Output::with_limit(3);
    line.out.push(b"abc").unwrap();
    line.feed("GET / HTTP/1.1\r\n\r\n");
    assert!(line.sent().starts_with("abcHTTP/1.1 400 Bad Request\r\n"));
}

#[test]
fn a_body_error_behind_an_answer_says_nothing_more() {
    let mut line = Line::new();
    line.feed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    let _ = line.server.respond_stream(&ok(), &mut line.out).unwrap();
    line.sent();
    line.feed("zz");
    assert!(line.log.ends_with(&format!("<{:?}>", Closed::Error(Error::Body(BodyError::ChunkSize)))));
    assert!(line.out.is_empty());
}

#[test]
fn an_error_to_head_has_no_body() {
    let mut line = Line::new();
    line.feed("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n");
    assert_eq!(line.sent(), "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n");
}

#[test]
fn h24_a_head_is_late_5_seconds_after_accept_whatever_trickles_in() {
    let mut line = Line::new();
    for second in 0..5 {
        line.feed_with(&GET.as_bytes()[second..=second], second as u64, |_, _, _| {});
        line.tick(second as u64);
        assert_eq!(line.server.poll_timeout(), Some(at(5)));
    }
    line.tick(5);
    assert!(line.sent().starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    assert_eq!(line.log, format!("<{:?}>", Closed::Timeout(Deadline::Head)));
    // Silence is not answered.
    let mut line = Line::new();
    line.tick(4);
    assert!(line.log.is_empty());
    line.tick(5);
    assert_eq!(line.log, format!("<{:?}>", Closed::Timeout(Deadline::Head)));
    assert!(line.out.is_empty());
}

#[test]
fn later_heads_have_their_deadline_from_their_first_byte() {
    let mut line = Line::new();
    line.feed_with(GET.as_bytes(), 1, echo);
    assert_eq!(line.server.poll_timeout(), Some(at(76)));
    line.sent();
    line.feed_with(b"G", 40, echo);
    line.feed_with(b"E", 43, echo);
    assert_eq!(line.server.poll_timeout(), Some(at(45)));
    line.tick(45);
    assert!(line.sent().starts_with("HTTP/1.1 408 "));
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let mut line = Line::new();
    line.feed_with(GET.as_bytes(), 1, |_, _, _| {});
    assert_eq!(line.server.poll_timeout(), None, "the answer is the application's");
    // Answered outside of a turn, the time becomes known with the next tick.
    line.respond(&ok(), "").unwrap();
    assert!(line.server.poll_timeout().unwrap() <= at(30));
    line.tick(30);
    assert_eq!(line.server.poll_timeout(), Some(at(105)));
    line.sent();
    line.tick(104);
    assert!(!line.server.is_finished());
    line.tick(105);
    assert!(line.log.ends_with(&format!("<{:?}>", Closed::Timeout(Deadline::Idle))));
    assert!(line.out.is_empty());
}

#[test]
fn a_body_is_late_30_seconds_after_its_head() {
    let mut line = Line::new();
    line.feed_with(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", 2, |_, _, _| {});
    line.feed_with(b"abc", 30, |_, _, _| {});
    assert_eq!(line.server.poll_timeout(), Some(at(32)));
    line.tick(32);
    assert!(line.sent().starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    assert!(line.log.ends_with(&format!("<{:?}>", Closed::Timeout(Deadline::Body))));
}

#[test]
fn the_end_of_the_clients_side_is_closed_at_every_point() {
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    for cut in 0..=post.len() {
        let mut line = Line::new();
        line.feed(&post[..cut]);
        line.server.handle_eof(at(1));
        line.feed("");
        let between = cut == 0 || cut == post.len();
        let expected = if between { "<PeerClosed>" } else { "<Truncated>" };
        assert!(line.log.ends_with(expected), "{cut} {}", line.log);
        assert!(line.out.is_empty());
        assert_eq!(line.respond(&ok(), ""), Err(ResponseError::NotOwed));
    }
}

#[test]
fn shutting_down_ends_idle_connections_at_once_and_busy_ones_with_their_answer() {
    let mut line = Line::new();
    line.server.shut_down();
    line.feed("");
    assert_eq!(line.log, "<Finished>");
    let mut line = Line::new();
    line.feed(GET);
    line.server.shut_down();
    assert!(!line.server.is_finished());
    line.respond(&ok(), "").unwrap();
    assert!(line.sent().contains("Connection: close"));
    assert!(line.server.is_finished());
    let mut line = Line::new();
    line.feed_with(GET.as_bytes(), 0, echo);
    line.server.shut_down();
    assert!(line.server.is_finished());
}

#[test]
fn after_a_hand_over_nothing_is_taken_and_nothing_said() {
    let mut line = Line::new();
    assert_eq!(line.server.hand_over(), Err(ResponseError::NotOwed));
    line.feed_with(format!("{GET}frames").as_bytes(), 0, |server, event, _| {
        if event.starts_with("GET") {
            server.hand_over().unwrap();
        }
    });
    assert_eq!((&line.log[..], &line.kept[..]), ("<GET />", &b"frames"[..]));
    assert_eq!(line.server.poll_timeout(), None);
    line.server.handle_eof(at(1));
    line.feed("more");
    assert_eq!((&line.log[..], &line.kept[..]), ("<GET />", &b"framesmore"[..]));
    let mut line = Line::new();
    line.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nh");
    assert_eq!(line.server.hand_over(), Err(ResponseError::BodyUnread));
}

#[test]
fn an_answer_that_nobody_asked_for_is_refused() {
    let mut line = Line::new();
    assert_eq!(line.respond(&ok(), ""), Err(ResponseError::NotOwed));
    line.feed(GET);
    line.respond(&ok(), "").unwrap();
    line.sent();
    assert_eq!(line.respond(&ok(), ""), Err(ResponseError::NotOwed));
    assert_eq!(line.server.respond_stream(&ok(), &mut line.out), Err(ResponseError::NotOwed));
    assert!(line.out.is_empty());
}

#[test]
fn errors_name_their_limit() {
    assert_eq!(Error::Head(HeadError::TooLong { limit: 8192 }).to_string(), "head of more than 8192 bytes");
    let mut line =
        Line::with(ServerConfig { body: 7, body_deadline: Duration::from_secs(1), ..ServerConfig::default() });
    line.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n");
    assert!(line.sent().ends_with("\r\n\r\nbody of more than 7 bytes\n"));
}

/// Requests, good and bad, one behind the other.
fn any_requests() -> impl Strategy<Value = Vec<u8>> {
    let request = prop::sample::select(vec![
        "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST /d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\na: b\r\n\r\n",
        "POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        "POST /early HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /stream HTTP/1.0\r\n\r\n",
        "GET /f HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /g HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /bad HTTP/1.1\r\n\r\n",
        "POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello5\r\n",
        "GET /bad HTTP/1.1\nHost: a\r\n\r\n",
    ]);
    prop::collection::vec(request, 1..6).prop_map(|requests| requests.concat().into_bytes())
}

fn answer_by_target(server: &mut Server, event: &str, out: &mut Output) {
    if event.contains("/early") {
        server.respond(&ok(), b"early", out).unwrap();
    } else if event.contains("/stream") {
        if server.respond_stream(&ok(), out).unwrap() == Streaming::Open {
            server.send_chunk(b"abc", out).unwrap();
            server.finish(out).unwrap();
        }
    } else if event == "end" && server.owes_answer() {
        server.respond(&ok(), b"done", out).unwrap();
    }
}

proptest! {
    #[test]
    fn any_cut_of_requests_gives_the_same_events_and_answers(bytes in any_requests(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..5)) {
        let run = |pieces: &[&[u8]]| {
            let mut line = Line::new();
            for piece in pieces {
                line.feed_with(piece, 0, answer_by_target);
            }
            let sent = line.sent();
            (line.log, sent)
        };
        let whole = run(&[&bytes]);
        prop_assert_eq!(&run(&bytes.chunks(1).collect::<Vec<_>>()), &whole);
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&run(&pieces), &whole);
    }

    #[test]
    fn any_order_of_calls_leaves_a_right_state(calls in prop::collection::vec(0u8..14, 0..40)) {
        let mut line = Line::new();
        let mut now = 0;
        for call in calls {
            let (server, out) = (&mut line.server, &mut line.out);
            match call {
                0 => line.feed(GET),
                1 => line.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab"),
                2 => line.feed("c"),
                3 => { let _ = server.respond(&ok(), b"x", out); }
                4 => { let _ = server.respond_stream(&ok(), out); }
                5 => { let _ = server.send_chunk(b"x", out); }
                6 => { let _ = server.finish(out); }
                7 => { now += 3; line.tick(now) }
                8 => { now += 70; line.tick(now) }
                9 => line.feed(""),
                10 => server.handle_eof(at(now)),
                11 => server.shut_down(),
                12 => server.abort(),
                _ => { let _ = server.hand_over(); }
            }
        }
        line.server.abort();
        line.feed("");
        line.feed("");
        let closed = ["Finished", "Aborted", "PeerClosed", "Truncated", "<Timeout", "<Error"];
        let count: usize = closed.iter().map(|closed| line.log.matches(closed).count()).sum();
        prop_assert_eq!(count, usize::from(line.server.is_finished()));
        prop_assert!(!line.server.owes_answer());
    }
}

/// What a server with CORS answers to `request`, which may be a preflight.
fn answer_with_cors(cors: &Cors, request: &str) -> String {
    let mut server = Server::new(Arc::new(ServerConfig::default()), at(0));
    let mut out = Output::new();
    let mut bytes = request.as_bytes().to_vec();
    let mut input = Input::new(&mut bytes);
    while let Some(event) = server.next_event(&mut input, &mut out, at(0)).unwrap() {
        let Event::Request(head) = event else { continue };
        let host = head.authority().unwrap_or_default().as_bytes();
        let (origin, preflight) = (head.headers().get("origin"), head.method() == "OPTIONS");
        let allowed = if preflight { cors.preflight(origin, host) } else { cors.simple(origin, host) };
        match &allowed {
            Ok(headers) if preflight => {
                server.respond(&Response::new(204).headers(headers.as_slice()), b"", &mut out).unwrap();
            }
            Ok(headers) => {
                let own = [("content-type", "text/plain")];
                server.respond(&Response::new(200).base(&own).headers(headers.as_slice()), b"hi", &mut out).unwrap();
            }
            Err(refusal) => server.respond(&Response::new(refusal.status()), b"", &mut out).unwrap(),
        }
    }
    String::from_utf8(out.chunks().flatten().copied().collect()).unwrap()
}

#[test]
fn h30_a_preflight_and_the_request_behind_it_are_answered_end_to_end() {
    let origins = OriginPolicy::listed(["https://app.example.com"]).unwrap();
    let cors = Cors::new(origins, Credentials::Include, Scheme::Https).unwrap();
    let request = |method: &str, origin: &str| {
        let preflight = if method == "OPTIONS" { "Access-Control-Request-Method: GET\r\n" } else { "" };
        let head = format!("{method} /events HTTP/1.1\r\nHost: api.example.com\r\nOrigin: {origin}\r\n{preflight}\r\n");
        answer_with_cors(&cors, &head)
    };
    assert_eq!(
        request("OPTIONS", "https://app.example.com"),
        "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: https://app.example.com\r\nVary: Origin\r\n\
        Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Methods: GET, POST, OPTIONS\r\n\
        Access-Control-Allow-Headers: Last-Event-ID, Tautline-Session, Authorization, Content-Type\r\n\
        Access-Control-Max-Age: 7200\r\n\r\n"
    );
    let answer = request("GET", "https://app.example.com");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhi"), "{answer}");
    for line in [
        "\r\nAccess-Control-Allow-Origin: https://app.example.com\r\n",
        "\r\nVary: Origin\r\n",
        "\r\nAccess-Control-Allow-Credentials: true\r\n",
        "\r\ncontent-type: text/plain\r\n",
    ] {
        assert!(answer.contains(line), "{answer}");
    }
    assert!(!answer.contains("Access-Control-Allow-Methods"));
    for method in ["OPTIONS", "GET"] {
        let answer = request(method, "https://evil.io");
        assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.to_lowercase().contains("access-control"), "{answer}");
    }
}

#[test]
fn h30_an_event_stream_takes_the_lines_as_they_are() {
    let cors = Cors::new(OriginPolicy::Any, Credentials::Omit, Scheme::Http).unwrap();
    let headers = cors.simple(Some(b"https://anywhere.example"), b"a").unwrap();
    let mut line = Line::new();
    line.feed(GET);
    let config = tautline::sse::ServerStreamConfig::default();
    let opened =
        tautline::sse::ServerStream::open(&config, &mut line.server, headers.as_slice(), 0, &mut line.out, at(0));
    assert!(opened.is_ok());
    let answer = line.sent();
    assert!(answer.contains("\r\nAccess-Control-Allow-Origin: *\r\nVary: Origin\r\n"), "{answer}");
}
