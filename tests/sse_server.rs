//! The server's stream: what a client sees on the wire. Ids are those of docs/BAD_INPUTS.md.

use std::sync::Arc;
use std::time::Duration;
use tautline::http::{self, Server, ServerConfig};
use tautline::sse::{
    Event, HeadOnly, Opened, Refusal, ServerStream, ServerStreamConfig, Signal, StreamError, Subscription,
};
use tautline::{Input, Instant, Output};

/// What a request asked for, free of the input.
type Asked = Result<(Option<String>, HeadOnly), Refusal>;

struct Peer {
    http: Server,
    out: Output,
    now: Instant,
}

impl Peer {
    fn new() -> Self {
        let now = Instant::from_millis(1000);
        Self { http: Server::new(Arc::new(ServerConfig::default()), now), out: Output::new(), now }
    }

    /// Feeds a request and reads what it asks for.
    fn ask(&mut self, request: impl AsRef<[u8]>) -> Asked {
        let mut bytes = request.as_ref().to_vec();
        let mut input = Input::new(&mut bytes);
        let mut asked = None;
        while let Some(event) = self.http.next_event(&mut input, &mut self.out, self.now).expect("a sound request") {
            if let http::server::Event::Request(head) = event {
                let subscription = Subscription::read(&head);
                asked = Some(subscription.map(|s| (s.last_event_id.map(String::from), s.head_only)));
            }
        }
        asked.expect("a request")
    }

    fn open(&mut self, headers: &[(&str, &str)], random: u64) -> Opened {
        self.open_with(&ServerStreamConfig::default(), headers, random)
    }

    fn open_with(&mut self, config: &ServerStreamConfig, headers: &[(&str, &str)], random: u64) -> Opened {
        ServerStream::open(config, &mut self.http, headers, random, &mut self.out, self.now).unwrap()
    }

    fn stream(&mut self, request: &str) -> ServerStream {
        self.ask(request).unwrap();
        match self.open(&[], 0) {
            Opened::Stream(stream) => stream,
            Opened::HeadOnly => panic!("not a HEAD"),
        }
    }

    fn written(&mut self) -> String {
        let bytes = self.out.chunks().collect::<Vec<_>>().concat();
        self.out.clear();
        String::from_utf8(bytes).unwrap()
    }
}

fn get(headers: &str) -> String {
    format!("GET /events HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

fn asked(request: impl AsRef<[u8]>) -> Asked {
    Peer::new().ask(request)
}

#[test]
fn the_head_has_the_headers_of_an_event_stream_and_goes_out_at_once() {
    let mut peer = Peer::new();
    peer.ask(get("")).unwrap();
    let Opened::Stream(_) =
        peer.open(&[("access-control-allow-origin", "https://b"), ("Cache-Control", "no-store")], 0)
    else {
        panic!("a stream");
    };
    let written = peer.written();
    let (head, body) = written.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
    for field in [
        "Content-Type: text/event-stream",
        "Cache-Control: no-store",
        "X-Accel-Buffering: no",
        "Transfer-Encoding: chunked",
        "access-control-allow-origin: https://b",
    ] {
        assert!(head.contains(field), "{field} in {head}");
    }
    assert!(!head.contains("Content-Length") && !head.contains("no-cache"));
    assert_eq!(body, "d\r\nretry: 3000\n\n\r\n");
}

#[test]
fn the_opening_retry_is_jittered_per_connection() {
    let retry = |random| {
        let mut peer = Peer::new();
        peer.ask(get("")).unwrap();
        let _ = peer.open(&[], random);
        let written = peer.written();
        let (_, retry) = written.split_once("retry: ").unwrap();
        retry.split('\n').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(retry(0), 3000);
    assert_eq!(retry(u64::MAX), 4500);
    assert_eq!(retry(u64::from(u32::MAX / 2)), 3749);
}

#[test]
fn every_configuration_is_a_valid_one_and_no_heartbeat_spins() {
    let lengths = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(3), Duration::MAX];
    for (heartbeat, retry) in lengths.into_iter().flat_map(|a| lengths.map(|b| (a, b))) {
        for (jitter, random) in
            [(0, 0), (10, u64::MAX), (50, u64::MAX), (51, 1 << 63), (100, u64::MAX), (255, u64::MAX)]
        {
            let config = ServerStreamConfig {
                heartbeat,
                heartbeat_jitter_percent: jitter,
                retry: Some(retry),
                retry_jitter_percent: jitter,
            };
            let mut peer = Peer::new();
            peer.ask(get("")).unwrap();
            let Opened::Stream(mut stream) = peer.open_with(&config, &[], random) else { panic!("not a HEAD") };
            let written = peer.written();
            let (_, sent) = written.split_once("retry: ").unwrap();
            let sent: u64 = sent.split('\n').next().unwrap().parse().unwrap();
            let least = u64::try_from(retry.as_millis()).unwrap_or(u64::MAX);
            assert!(sent >= least && u128::from(sent) <= u128::from(least) * 4, "{sent} for {config:?}");
            // Jitter takes half at most, and each beat moves the deadline.
            let due = stream.poll_timeout();
            assert!(due >= peer.now + (heartbeat / 2).max(Duration::from_millis(1)), "{due:?} for {config:?}");
            stream.handle_timeout(&mut peer.http, peer.now, &mut peer.out);
            assert!(peer.out.is_empty());
            if heartbeat != Duration::MAX {
                stream.handle_timeout(&mut peer.http, due, &mut peer.out);
                assert_eq!(peer.written(), "2\r\n:\n\r\n");
                assert!(stream.poll_timeout() >= due + Duration::from_millis(1));
            }
        }
    }
}

#[test]
fn events_go_out_as_one_chunk_each() {
    let mut peer = Peer::new();
    let mut stream = peer.stream(&get(""));
    peer.written();
    stream.send(&mut peer.http, &Event::new("a\nb").with_id("1"), &mut peer.out, peer.now).unwrap();
    assert_eq!(peer.written(), "17\r\nid: 1\ndata: a\ndata: b\n\n\r\n");
    let shared = Event::new("x").to_bytes().unwrap();
    stream.send_shared(&mut peer.http, &shared, &mut peer.out, peer.now).unwrap();
    assert_eq!(peer.written(), "9\r\ndata: x\n\n\r\n");
    stream.signal(&mut peer.http, Signal::Comment("hi"), &mut peer.out, peer.now).unwrap();
    assert_eq!(peer.written(), "5\r\n: hi\n\r\n");
    let refused = stream.send(&mut peer.http, &Event::new("x").with_id("\n"), &mut peer.out, peer.now);
    assert!(matches!(refused, Err(StreamError::Encode(_))));
    assert_eq!(peer.written(), "");
}

#[test]
fn a_stream_may_be_started_by_post_and_no_other_method() {
    let post = "POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(asked(post), Ok((None, HeadOnly::No)));
    let mut peer = Peer::new();
    peer.stream(post);
    assert!(peer.written().contains("retry: 3000"));
    let mut peer = Peer::new();
    assert_eq!(peer.ask(get("").replace("GET", "PUT")), Err(Refusal::Method));
    Refusal::Method.respond(&mut peer.http, &[], &mut peer.out).unwrap();
    let written = peer.written();
    assert!(written.starts_with("HTTP/1.1 405 ") && written.contains("Allow: GET, HEAD, POST"), "{written}");
}

#[test]
fn the_rest_of_a_post_arrives_behind_the_open_stream() {
    let mut peer = Peer::new();
    let mut stream = peer.stream("POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhi");
    let mut rest = *b"yo";
    let mut input = Input::new(&mut rest);
    let mut body = Vec::new();
    while let Some(event) = peer.http.next_event(&mut input, &mut peer.out, peer.now).unwrap() {
        if let http::server::Event::Body(bytes) = event {
            body.extend_from_slice(bytes);
        }
    }
    assert_eq!(body, b"yo");
    stream.send(&mut peer.http, &Event::new("x"), &mut peer.out, peer.now).unwrap();
    assert!(peer.written().ends_with("9\r\ndata: x\n\n\r\n"));
}

#[test]
fn s8_head_gets_the_head_only_and_is_said_to() {
    let mut peer = Peer::new();
    assert_eq!(peer.ask(get("").replace("GET", "HEAD")), Ok((None, HeadOnly::Yes)));
    assert!(matches!(peer.open(&[], 0), Opened::HeadOnly));
    let written = peer.written();
    assert!(written.starts_with("HTTP/1.1 200 OK\r\n") && written.ends_with("\r\n\r\n"), "{written}");
    assert!(written.contains("Content-Type: text/event-stream") && !written.contains("retry"));
}

#[test]
fn s9_accept_that_excludes_event_streams_is_406() {
    for refused in ["application/json", "text/event-stream;q=0", "text/html, application/*"] {
        assert_eq!(asked(get(&format!("Accept: {refused}\r\n"))), Err(Refusal::NotAcceptable), "{refused}");
    }
    for accepted in [
        "",
        "Accept: */*\r\n",
        "Accept: text/event-stream;q=\r\n",
        "Accept: text/event-stream\r\n",
        "Accept: application/json, text/*;q=0.1\r\n",
    ] {
        assert!(asked(get(accepted)).is_ok(), "{accepted}");
    }
    let mut peer = Peer::new();
    peer.ask(get("Accept: application/json\r\n")).unwrap_err();
    Refusal::NotAcceptable.respond(&mut peer.http, &[], &mut peer.out).unwrap();
    assert!(peer.written().starts_with("HTTP/1.1 406 "));
}

#[test]
fn s10_a_last_event_id_too_long_or_with_nul_or_not_utf8_is_400() {
    let header = |id: &[u8]| {
        let before = get("");
        asked([before.trim_end().as_bytes(), &b"\r\nLast-Event-ID: "[..], id, b"\r\n\r\n"].concat())
    };
    let query = |id: &str| asked(get("").replace("/events", &format!("/events?a=b&lastEventId={id}")));
    for refused in [&[b'x'; 5000][..], &[b'x'; 4097], b"\xFF", b"a\xE2\x82"] {
        assert_eq!(header(refused), Err(Refusal::LastEventId));
    }
    for refused in ["%00", "a%0Ab", "%0D", "%FF", "%zz", "x".repeat(5000).as_str()] {
        assert_eq!(query(refused), Err(Refusal::LastEventId), "{refused}");
    }
    assert_eq!(Refusal::LastEventId.status(), 400);
    assert_eq!(asked(get("Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n")), Err(Refusal::LastEventId));
    for twice in ["1&lastEventId=2", "1&lastEventId=1", "&lastEventId=2", "1&b=c&lastEventId"] {
        assert_eq!(query(twice), Err(Refusal::LastEventId), "{twice}");
    }
    assert_eq!(header("…".as_bytes()), Ok((Some("…".into()), HeadOnly::No)));
    assert_eq!(header(&[b'x'; 4096]).unwrap().0.unwrap().len(), 4096);
    assert_eq!(query("%E2%80%A6+x"), Ok((Some("… x".into()), HeadOnly::No)));
    assert_eq!(query(""), Ok((None, HeadOnly::No)));
    // The HTTP layer sees to a NUL in the header.
    let mut nul = get("Last-Event-ID: a\0b\r\n").into_bytes();
    let error =
        Peer::new().http.next_event(&mut Input::new(&mut nul), &mut Output::new(), Instant::ORIGIN).unwrap_err();
    assert_eq!(error.status(), 400);
}

#[test]
fn s12_the_header_wins_over_the_query() {
    for query in ["lastEventId=query", "lastEventId=query&lastEventId=3", "lastEventId=%00"] {
        let request = get("Last-Event-ID: header\r\n").replace("/events", &format!("/events?{query}"));
        assert_eq!(asked(request), Ok((Some("header".into()), HeadOnly::No)));
    }
    let request = get("").replace("/events", "/events?xlastEventId=1&lastEventId=query&lastEventIds=3");
    assert_eq!(asked(request), Ok((Some("query".into()), HeadOnly::No)));
}

#[test]
fn s13_an_http10_client_gets_no_chunks_and_the_end_of_the_connection() {
    let mut peer = Peer::new();
    let mut stream = peer.stream("GET /events HTTP/1.0\r\n\r\n");
    stream.send(&mut peer.http, &Event::new("x"), &mut peer.out, peer.now).unwrap();
    stream.finish(&mut peer.http, None, &mut peer.out).unwrap();
    let written = peer.written();
    assert!(!written.contains("chunked") && written.contains("Connection: close"), "{written}");
    assert!(written.ends_with("\r\n\r\nretry: 3000\n\ndata: x\n\n"), "{written}");
    assert!(peer.http.is_finished());
}

#[test]
fn s15_a_request_behind_a_stream_is_not_processed_and_the_connection_ends_with_it() {
    let mut peer = Peer::new();
    let mut stream = peer.stream(&[get(""), get("")].concat());
    let mut more = get("").into_bytes();
    let mut input = Input::new(&mut more);
    assert!(peer.http.next_event(&mut input, &mut peer.out, peer.now).unwrap().is_none());
    assert!(input.is_empty());
    assert!(!peer.http.is_finished());
    stream.finish(&mut peer.http, Some(Duration::from_secs(9)), &mut peer.out).unwrap();
    let written = peer.written();
    assert_eq!(written.matches("HTTP/1.1").count(), 1);
    assert!(
        written.contains("Connection: close") && written.ends_with("d\r\nretry: 9000\n\n\r\n0\r\n\r\n"),
        "{written}"
    );
    let mut empty = Input::new(&mut []);
    let closed = peer.http.next_event(&mut empty, &mut peer.out, peer.now).unwrap();
    assert!(matches!(closed, Some(http::server::Event::Closed(http::Closed::Finished))));
    let late = stream.send(&mut peer.http, &Event::new("x"), &mut peer.out, peer.now);
    assert!(matches!(late, Err(StreamError::Response(_))));
}

#[test]
fn a_204_stops_the_client() {
    let mut peer = Peer::new();
    peer.ask(get("")).unwrap();
    ServerStream::stop(&mut peer.http, &[], &mut peer.out).unwrap();
    let written = peer.written();
    assert!(written.starts_with("HTTP/1.1 204 ") && !written.contains("Content-Length"), "{written}");
}

#[test]
fn a_silent_stream_sends_a_comment_each_interval_and_a_busy_one_none() {
    let mut peer = Peer::new();
    let mut stream = peer.stream(&get(""));
    peer.written();
    let start = peer.now;
    assert_eq!(stream.poll_timeout(), start + Duration::from_secs(15));
    stream.handle_timeout(&mut peer.http, start + Duration::from_secs(14), &mut peer.out);
    assert_eq!(peer.written(), "");
    stream.send(&mut peer.http, &Event::new("x"), &mut peer.out, start + Duration::from_secs(10)).unwrap();
    peer.written();
    let due = stream.poll_timeout();
    stream.handle_timeout(&mut peer.http, due, &mut peer.out);
    assert_eq!(peer.written(), "");
    assert_eq!(stream.poll_timeout(), start + Duration::from_secs(25));
    for beat in 0..3 {
        let due = stream.poll_timeout();
        assert_eq!(due, start + Duration::from_secs(25 + 15 * beat));
        stream.handle_timeout(&mut peer.http, due, &mut peer.out);
        assert_eq!(peer.written(), "2\r\n:\n\r\n");
        assert!(stream.poll_timeout() > due);
    }
    // To a socket that blocks nothing is added.
    stream.send(&mut peer.http, &Event::new("x"), &mut peer.out, start).unwrap();
    peer.out.set_blocked();
    let (due, len) = (start + Duration::from_secs(3600), peer.out.len());
    stream.handle_timeout(&mut peer.http, due, &mut peer.out);
    assert_eq!(peer.out.len(), len);
    assert!(stream.poll_timeout() > due);
}
