//! A client's connection: requests as bytes, responses in any pieces, reuse, deadlines, limits; and both roles joined.

use proptest::prelude::*;
use std::sync::Arc;
use tautline::http::client::Event;
use tautline::http::server::{self, Streaming};
use tautline::http::{
    BodyError, Client, ClientConfig, Closed, Deadline, Error, FieldError, HeadError, Request, RequestError, Response,
    Server, ServerConfig,
};
use tautline::{Input, Instant, Output};

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

struct Line {
    client: Client,
    out: Output,
    log: String,
    data: usize,
}

impl Line {
    fn new() -> Self {
        Self::with(ClientConfig::default())
    }

    fn with(config: ClientConfig) -> Self {
        Self { client: Client::new(Arc::new(config), at(0)), out: Output::new(), log: String::new(), data: 0 }
    }

    fn send(&mut self, method: &str, now: u64) {
        self.client.send(&Request::new(method, "/", "a"), b"", &mut self.out, at(now)).unwrap();
    }

    fn feed(&mut self, bytes: impl AsRef<[u8]>, now: u64) {
        let mut bytes = bytes.as_ref().to_vec();
        let mut input = Input::new(&mut bytes);
        for _ in 0..10_000 {
            let event = match self.client.next_event(&mut input, &mut self.out, at(now)) {
                Ok(None) => {
                    assert!(input.is_empty());
                    return;
                }
                Ok(Some(Event::Interim(head))) => format!("~{}", head.status()),
                Ok(Some(Event::Response(head))) => {
                    format!("{} {}", head.status(), head.headers().get("x").unwrap_or_default().escape_ascii())
                }
                Ok(Some(Event::Body(data))) => {
                    self.data += data.len();
                    if self.data < 1000 {
                        self.log.push_str(&data.escape_ascii().to_string());
                    }
                    continue;
                }
                Ok(Some(Event::End)) => "end".into(),
                Ok(Some(Event::Closed(closed))) => format!("{closed:?}"),
                Err(e) => format!("{e:?}"),
            };
            self.log += &format!("<{event}>");
        }
        panic!("a bounded number of events for bounded bytes");
    }

    fn tick(&mut self, now: u64) {
        self.client.handle_timeout(at(now), &mut self.out);
        assert!(self.client.poll_timeout().is_none_or(|deadline| deadline > at(now)));
        self.feed("", now);
    }
}

#[test]
fn a_request_is_written_as_told() {
    let mut out = Output::new();
    let request = Request::new("POST", "/p?q=1", "example.com:81")
        .base(&[("user-agent", "t")])
        .headers(&[("x-a", "b")])
        .cookies(&[("a", "1"), ("b", "")]);
    request.push(b"hello", &mut out).unwrap();
    let sent: Vec<u8> = out.chunks().flatten().copied().collect();
    assert_eq!(
        String::from_utf8(sent).unwrap(),
        "POST /p?q=1 HTTP/1.1\r\nHost: example.com:81\r\nContent-Length: 5\r\nuser-agent: t\r\nx-a: b\r\nCookie: a=1; b=\r\n\r\nhello"
    );
    for (method, length) in [("GET", false), ("DELETE", false), ("POST", true), ("PUT", true)] {
        let mut out = Output::new();
        Request::new(method, "/", "a").push(b"", &mut out).unwrap();
        let sent: Vec<u8> = out.chunks().flatten().copied().collect();
        assert_eq!(String::from_utf8(sent).unwrap().contains("Content-Length: 0"), length);
    }
}

#[test]
fn h25_a_request_that_would_break_the_message_is_an_error_and_no_byte_is_sent() {
    let mut line = Line::new();
    let good = Request::new("GET", "/", "a");
    for (request, error) in [
        (Request::new("", "/", "a"), RequestError::Method),
        (Request::new("G T", "/", "a"), RequestError::Method),
        (Request::new("CONNECT", "/", "a"), RequestError::Method),
        (Request::new("GET", "", "a"), RequestError::Target),
        (Request::new("GET", "p", "a"), RequestError::Target),
        (Request::new("GET", "foo?u=http://x", "a"), RequestError::Target),
        (Request::new("GET", "/?u=/../http://x y", "a"), RequestError::Target),
        (Request::new("GET", "://x/", "a"), RequestError::Target),
        (Request::new("GET", "1http://x/", "a"), RequestError::Target),
        (Request::new("GET", "http://u@x/", "a"), RequestError::Target),
        (Request::new("GET", "*", "a"), RequestError::Target),
        (Request::new("GET", "/p#f", "a"), RequestError::Target),
        (Request::new("GET", "/", "a:65536"), RequestError::Host),
        (Request::new("GET", "/ HTTP/1.1\r\nx: y", "a"), RequestError::Target),
        (Request::new("GET", "/é", "a"), RequestError::Target),
        (Request::new("GET", "/", "a\r\nb: c"), RequestError::Host),
        (Request::new("GET", "/", "u@a"), RequestError::Host),
        (good.headers(&[("x", "a\r\nb")]), RequestError::Field(FieldError::Value)),
        (good.base(&[("x:", "a")]), RequestError::Field(FieldError::Name)),
        (good.headers(&[("Host", "b")]), RequestError::Field(FieldError::Reserved)),
        (good.headers(&[("Upgrade", "x")]), RequestError::Field(FieldError::Reserved)),
        (good.cookies(&[("a", "b;c")]), RequestError::Cookie),
        (good.cookies(&[("a", "b\r\nc")]), RequestError::Cookie),
        (good.cookies(&[("a=", "b")]), RequestError::Cookie),
    ] {
        assert_eq!(line.client.send(&request, b"", &mut line.out, at(0)), Err(error), "{request:?}");
    }
    assert!(line.out.is_empty() && line.client.is_ready());
    line.out = Output::with_limit(10);
    let full = line.client.send(&good, b"", &mut line.out, at(0));
    assert!(matches!(full, Err(RequestError::Full(_))));
    assert!(line.out.is_empty() && line.client.is_ready());
}

#[test]
fn responses_follow_one_another_on_one_connection() {
    let mut line = Line::new();
    line.send("GET", 0);
    assert!(!line.client.is_ready());
    assert_eq!(line.client.send(&Request::new("GET", "/", "a"), b"", &mut line.out, at(0)), Err(RequestError::Busy));
    line.feed("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nx: 1\r\nContent-Length: 2\r\n\r\nhi", 0);
    assert_eq!(line.log, "<~103><200 1>hi<end>");
    assert!(line.client.is_ready());
    line.send("HEAD", 0);
    line.feed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 0);
    line.send("GET", 0);
    line.feed("HTTP/1.1 304 x\r\nContent-Length: 2\r\n\r\n", 0);
    line.send("GET", 0);
    line.feed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\na\r\n0\r\n\r\n", 0);
    assert_eq!(line.log, "<~103><200 1>hi<end><200 ><end><304 ><end><200 >a<end><Finished>");
    assert_eq!(line.client.send(&Request::new("GET", "/", "a"), b"", &mut line.out, at(0)), Err(RequestError::Closed));
}

#[test]
fn a_body_without_length_ends_with_the_connection() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"] {
        let mut line = Line::new();
        line.send("GET", 0);
        line.feed([head, "abc"].concat(), 0);
        assert_eq!(line.log, "<200 >abc");
        line.client.handle_eof(at(1));
        line.feed("", 1);
        assert_eq!(line.log, "<200 >abc<end><Finished>");
    }
}

#[test]
fn the_end_of_the_servers_side_inside_a_message_is_truncated() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    for cut in 0..=response.len() {
        let mut line = Line::new();
        line.send("GET", 0);
        line.feed(&response[..cut], 0);
        line.client.handle_eof(at(1));
        line.feed("", 1);
        let between = cut == 0 || cut == response.len();
        assert!(line.log.ends_with(if between { "<PeerClosed>" } else { "<Truncated>" }), "{cut} {}", line.log);
    }
}

#[test]
fn h27_an_endless_head_is_refused_at_8_kib_and_an_endless_error_body_at_64() {
    let mut line = Line::new();
    line.send("GET", 0);
    line.feed("HTTP/1.1 101 Switching Protocols\r\nx: ", 0);
    for _ in 0..8192 {
        line.feed("y", 0);
    }
    let too_long = Error::Head(HeadError::TooLong { limit: 8192 });
    assert_eq!(line.log, format!("<{too_long:?}><{:?}>", Closed::Error(too_long)));

    let too_large = Error::Body(BodyError::TooLarge { limit: 65536 });
    for head in [
        "HTTP/1.1 404 x\r\n\r\n",
        "HTTP/1.1 301 x\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n",
        "HTTP/1.1 500 x\r\nContent-Length: 65537\r\n\r\n",
    ] {
        let mut line = Line::new();
        line.send("GET", 0);
        line.feed(head, 0);
        for _ in 0..70 {
            line.feed([b'x'; 1000], 0);
        }
        assert!(line.log.ends_with(&format!("<{too_large:?}><{:?}>", Closed::Error(too_large))), "{head} {}", line.log);
        assert!(line.data <= 65536);
        assert!(line.log.starts_with(&format!("<{} >", &head[9..12])), "the status is seen");
    }
    // A success may be longer.
    let mut line = Line::with(ClientConfig { body: u64::MAX, ..ClientConfig::default() });
    line.send("GET", 0);
    line.feed("HTTP/1.1 200 OK\r\n\r\n", 0);
    for _ in 0..1100 {
        line.feed([b'x'; 1000], 0);
    }
    assert_eq!(line.data, 1_100_000);
}

#[test]
fn interim_responses_are_counted_and_101_is_none_of_them() {
    let mut line = Line::new();
    line.send("GET", 0);
    line.feed("HTTP/1.1 100 Continue\r\n\r\n".repeat(9), 0);
    let error = Error::InterimResponses { limit: 8 };
    assert_eq!(line.log, format!("{}<{error:?}><{:?}>", "<~100>".repeat(8), Closed::Error(error)));
    let mut line = Line::new();
    line.send("GET", 0);
    line.feed("HTTP/1.1 101 x\r\nUpgrade: x\r\n\r\n", 0);
    assert_eq!(line.log, "<Upgrade><Error(Upgrade)>");
}

#[test]
fn bytes_that_nobody_asked_for_end_the_connection() {
    let mut line = Line::new();
    line.feed("HTTP/1.1 200 OK\r\n\r\n", 0);
    assert_eq!(line.log, "<Unsolicited><Error(Unsolicited)>");
    let mut line = Line::new();
    line.send("GET", 0);
    line.feed("HTTP/1.1 204 x\r\n\r\nx", 0);
    assert_eq!(line.log, "<204 ><end><Unsolicited><Error(Unsolicited)>");
}

#[test]
fn every_wait_has_its_deadline() {
    let closed = |deadline| format!("<{:?}>", Closed::Timeout(deadline));
    let mut line = Line::new();
    line.tick(59);
    assert!(!line.client.is_finished());
    line.tick(60);
    assert_eq!(line.log, closed(Deadline::Idle));

    let mut line = Line::new();
    line.send("GET", 10);
    line.feed("HTTP/1.1 100 x\r\n\r\nHTTP/", 39);
    assert_eq!(line.client.poll_timeout(), Some(at(40)));
    line.tick(40);
    assert!(line.log.ends_with(&closed(Deadline::Head)));

    let mut line = Line::new();
    line.send("GET", 0);
    line.feed("HTTP/1.1 200 OK\r\n\r\n", 1);
    line.feed("x", 50);
    assert_eq!(line.client.poll_timeout(), Some(at(110)));
    line.tick(110);
    assert!(line.log.ends_with(&closed(Deadline::Body)));

    let mut line = Line::with(ClientConfig { silence: None, ..ClientConfig::default() });
    line.send("GET", 0);
    line.feed("HTTP/1.1 200 OK\r\n\r\nx", 1);
    assert_eq!(line.client.poll_timeout(), None);
}

#[test]
fn responses_that_could_be_read_two_ways_are_refused() {
    for fields in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 1,1",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "x: y\r\n z",
        "x : y",
    ] {
        let mut line = Line::new();
        line.send("GET", 0);
        line.feed(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"), 0);
        assert!(line.log.starts_with("<Head("), "{fields} {}", line.log);
        assert!(line.log.contains("<Error(Head("), "{fields} {}", line.log);
    }
}

/// One exchange of both machines, their bytes cut into pieces of `piece`: what each side saw.
fn exchange(
    method: &str,
    fields: &[(String, String)],
    status: u16,
    parts: &[Vec<u8>],
    body: &[u8],
    piece: usize,
) -> (String, Vec<u8>, String, Vec<u8>) {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let mut client = Client::new(Arc::new(ClientConfig::default()), at(0));
    let mut server = Server::new(Arc::new(ServerConfig::default()), at(0));
    let (mut up, mut down) = (Output::new(), Output::new());
    client.send(&Request::new(method, "/x?y", "h").headers(&fields), body, &mut up, at(0)).unwrap();
    let (mut seen, mut seen_body, mut got, mut got_body) = (String::new(), Vec::new(), String::new(), Vec::new());
    let mut kept = Vec::new();
    for mut bytes in up.chunks().flatten().copied().collect::<Vec<u8>>().chunks(piece).map(<[u8]>::to_vec) {
        bytes.splice(..0, std::mem::take(&mut kept));
        let mut input = Input::new(&mut bytes);
        while let Some(event) = server.next_event(&mut input, &mut down, at(0)).unwrap() {
            match event {
                server::Event::Request(head) => {
                    seen += head.method();
                    for (name, value) in head.headers().iter().filter(|(name, _)| name.starts_with("x-")) {
                        seen += &format!(" {name}={}", value.escape_ascii());
                    }
                }
                server::Event::Body(data) => seen_body.extend_from_slice(data),
                server::Event::BodyEnd => {
                    let response = Response::new(status).headers(&fields);
                    if parts.len() == 1 || response.status() == 204 {
                        let part = if status == 204 { &[][..] } else { &parts[0] };
                        server.respond(&response, part, &mut down).unwrap();
                    } else if server.respond_stream(&response, &mut down).unwrap() == Streaming::Open {
                        for part in parts {
                            server.send_chunk(part, &mut down).unwrap();
                        }
                        server.finish(&mut down).unwrap();
                    }
                }
                server::Event::Closed(closed) => panic!("{closed}"),
            }
        }
        kept = input.rest().to_vec();
    }
    for mut bytes in down.chunks().flatten().copied().collect::<Vec<u8>>().chunks(piece).map(<[u8]>::to_vec) {
        let mut input = Input::new(&mut bytes);
        while let Some(event) = client.next_event(&mut input, &mut up, at(0)).unwrap() {
            match event {
                Event::Response(head) => {
                    got += &head.status().to_string();
                    for (name, value) in head.headers().iter().filter(|(name, _)| name.starts_with("x-")) {
                        got += &format!(" {name}={}", value.escape_ascii());
                    }
                }
                Event::Body(data) => got_body.extend_from_slice(data),
                Event::End => got += " end",
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(client.is_ready() && server.keeps_alive());
    (seen, seen_body, got, got_body)
}

proptest! {
    #[test]
    fn what_one_side_writes_the_other_reads_at_any_cut(
        method in prop::sample::select(vec!["GET", "POST", "HEAD", "DELETE", "X-odd"]),
        fields in prop::collection::vec(("x-[a-z0-9!#$%&'*+.^_`|~-]{1,8}", "([!-~\u{e9}]([ -~\t]{0,20}[!-~])?)?"), 0..8),
        status in prop::sample::select(vec![200u16, 204, 404, 500, 599]),
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5),
        body in prop::collection::vec(any::<u8>(), 0..300),
        piece in 1usize..400,
    ) {
        let (seen, seen_body, got, got_body) = exchange(method, &fields, status, &parts, &body, piece);
        let fields: String = fields.iter().map(|(name, value)| format!(" {name}={}", value.as_bytes().escape_ascii())).collect();
        prop_assert_eq!(seen, format!("{method}{fields}"));
        prop_assert_eq!(seen_body, body);
        prop_assert_eq!(got, format!("{status}{fields} end"));
        let expected = if method == "HEAD" || status == 204 { vec![] } else { parts.concat() };
        prop_assert_eq!(got_body, expected);
    }

    #[test]
    fn any_cut_of_responses_gives_the_same_events(
        bytes in prop::collection::vec(prop::sample::select(vec![
            "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 x\r\n\r\n", "HTTP/1.0 404 \r\n", "x: y\r\n", "Content-Length: 5\r\n", "\r\n", "hello",
            "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "0\r\n\r\n", "Connection: close\r\n", "\n", "\0",
        ]), 0..10),
        start in prop::sample::select(vec!["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
    ) {
        let bytes = [start, &bytes.concat()].concat().into_bytes();
        let run = |piece: usize| {
            let mut line = Line::new();
            line.send("GET", 0);
            for piece in bytes.chunks(piece) {
                line.feed(piece, 0);
            }
            line.client.handle_eof(at(1));
            line.feed("", 1);
            line.log
        };
        let whole = run(usize::MAX);
        for piece in [1, 2, 3, 7, 20] {
            prop_assert_eq!(&run(piece), &whole);
        }
    }
}
