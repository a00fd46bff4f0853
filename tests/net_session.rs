//! The driver of a hub session, against a small server over loopback.
#![cfg(feature = "net")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tautline::client::{Publication, SessionConfig, SessionEvent, Transport, Transports};
use tautline::http::upgrade::accept_value;
use tautline::http::url::Url;
use tautline::net::Subscriber;

/// A server that answers each connection by `serve`, one thread each. Gives its base URL.
fn server(serve: impl Fn(usize, &str, &mut TcpStream) + Send + Sync + 'static) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hub", listener.local_addr().unwrap());
    let serve = std::sync::Arc::new(serve);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (mut stream, serve) = (stream.unwrap(), serve.clone());
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            thread::spawn(move || {
                while let Some(request) = request(&mut stream) {
                    serve(number, &request, &mut stream);
                }
            });
        }
    });
    Url::parse(&url).unwrap()
}

/// One request: its head and, where it has a length, its body.
fn request(stream: &mut TcpStream) -> Option<String> {
    let (mut bytes, mut byte) = (vec![], [0]);
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8(body).unwrap())
}

fn switch(request: &str, stream: &mut TcpStream) {
    let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let accept = accept_value(key.as_bytes().try_into().unwrap());
    let accept = std::str::from_utf8(&accept).unwrap();
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: tautline\r\n\r\n"
    )
    .unwrap();
}

fn text(text: &str, stream: &mut TcpStream) {
    let mut frame = vec![0x81, 126];
    frame.extend((text.len() as u16).to_be_bytes());
    if text.len() < 126 {
        frame = vec![0x81, text.len() as u8];
    }
    frame.extend(text.as_bytes());
    stream.write_all(&frame).unwrap();
}

fn event(seq: u64, data: &str) -> String {
    format!("id: 7-{seq}-00000001\ntopic: a\ndata: {data}\n\n")
}

fn position(seq: u64) -> String {
    format!("id: 7-{seq}-00000001\n\n")
}

fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &str) {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/event-stream\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
}

/// Follows topic `a` until `until` is said, and gives everything that was said.
fn follow(config: SessionConfig, url: &Url, publish: &[&str], until: &str) -> Vec<String> {
    let (done, timer) = mpsc::channel::<()>();
    // A test that hangs says so.
    thread::spawn(move || {
        if timer.recv_timeout(Duration::from_secs(60)).is_err_and(|e| e == mpsc::RecvTimeoutError::Timeout) {
            eprintln!("the session hangs");
            std::process::abort();
        }
    });
    let mut subscriber = Subscriber::alone(config.check(url).unwrap()).unwrap();
    subscriber.session().subscribe("a", None).unwrap();
    for data in publish {
        subscriber.session().publish(&Publication::new("a", data).with_key(data)).unwrap();
    }
    let mut said = vec![];
    subscriber
        .run(|_session, event| {
            said.push(match event {
                SessionEvent::Message(message) => message.data.to_owned(),
                SessionEvent::Attached(transport) => format!("attached {transport}"),
                SessionEvent::Lost { cause, .. } => format!("lost: {cause}"),
                SessionEvent::Acknowledged { key, .. } => format!("acknowledged {key}"),
                SessionEvent::Closed(cause) => format!("closed: {cause}"),
                other => format!("{other:?}"),
            });
            if said.last().is_some_and(|last| last == until) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    drop(done);
    said
}

#[test]
fn it_follows_over_a_websocket_and_resumes_after_a_reset() {
    let url = server(|number, request, stream| {
        switch(request, stream);
        if number == 0 {
            assert!(request.starts_with("GET /hub/ws?topic=a HTTP"), "{request}");
            text(&(position(1) + &event(2, "two")), stream);
            thread::sleep(Duration::from_millis(50));
            let _ = stream.shutdown(std::net::Shutdown::Both);
        } else {
            assert!(request.starts_with("GET /hub/ws?topic=a&lastId=7-2-00000001 HTTP"), "{request}");
            text(&(event(2, "two") + &event(3, "three") + &position(3)), stream);
            text(&event(4, "four"), stream);
            thread::sleep(Duration::from_secs(5));
        }
    });
    let said = follow(SessionConfig::default(), &url, &[], "four");
    assert_eq!(said, ["attached websocket", "two", "lost: connection ended", "three", "attached websocket", "four"]);
}

#[test]
fn it_falls_back_to_a_stream_and_publishes_by_post_beside_it() {
    let url = server(|_, request, stream| {
        if request.starts_with("GET /hub/ws") {
            answer(stream, "426 Upgrade Required", "Connection: close\r\n", "");
        } else if request.starts_with("GET /hub/events") {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").unwrap();
            write!(stream, "event: tautline.session\ndata: session 5e551\n\n{}", position(1)).unwrap();
        } else {
            assert!(request.starts_with("POST /hub/send HTTP"), "{request}");
            assert!(request.contains("Tautline-Session: 5e551\r\n"), "{request}");
            assert!(request.ends_with("id: k1\ntopic: a\ndata: k1\n\nid: k2\ntopic: a\ndata: k2\n\n"), "{request}");
            let ack = |key| format!("event: tautline.ack\ntopic: a\ndata: {key} 7-5-00000001\n\n");
            answer(stream, "200 OK", "", &(ack("k1") + &ack("k2")));
        }
    });
    let said = follow(SessionConfig::default(), &url, &["k1", "k2"], "acknowledged k2");
    let lost = "lost: status 426";
    assert_eq!(said, [lost, "attached event stream", "acknowledged k1", "acknowledged k2"]);
}

#[test]
fn it_polls_on_one_connection_and_on_another_where_the_server_ends_it() {
    let url = server(|number, request, stream| {
        let last =
            request.split("lastId=7-").nth(1).map(|rest| rest.split('-').next().unwrap().parse::<u64>().unwrap());
        let headers = if last == Some(3) { "Connection: close\r\n" } else { "" };
        assert!(number <= 1);
        match last {
            None => answer(stream, "200 OK", "", &position(1)),
            Some(n) => answer(stream, "200 OK", headers, &(event(n + 1, &format!("{}", n + 1)) + &position(n + 1))),
        }
        if !headers.is_empty() {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
    });
    let config = SessionConfig { transports: Transports::only(Transport::LongPoll), ..SessionConfig::default() };
    let said = follow(config, &url, &[], "6");
    assert_eq!(said, ["attached long poll", "2", "3", "4", "5", "6"]);
}

#[test]
fn a_terminal_answer_ends_the_loop() {
    let url = server(|_, _, stream| answer(stream, "401 Unauthorized", "", ""));
    assert_eq!(follow(SessionConfig::default(), &url, &[], "never"), ["closed: refused for good with status 401"]);
}

#[test]
fn a_server_that_is_not_there_is_tried_again_until_attempts_run_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let mut config = SessionConfig::default();
    config.backoff.attempts = Some(2);
    config.backoff.base = Duration::from_millis(200);
    let said = follow(config, &url, &[], "never");
    assert_eq!(said, ["lost: could not connect", "lost: could not connect", "closed: reconnect attempts used up"]);
}

#[test]
fn a_long_message_and_a_long_publication_pass_through_small_socket_buffers() {
    let long = "x".repeat(600_000);
    let expected = long.clone();
    let url = server(move |_, request, stream| {
        if request.starts_with("GET /hub/events") {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{}", position(1)).unwrap();
            stream.write_all(event(2, &expected).as_bytes()).unwrap();
        } else {
            assert!(request.len() > 600_000);
            let ack = "event: tautline.ack\ntopic: a\ndata: k 7-5-00000001\n\n";
            answer(stream, "200 OK", "", ack);
        }
    });
    let config = SessionConfig { transports: Transports::only(Transport::EventStream), ..SessionConfig::default() };
    let mut subscriber = Subscriber::alone(config.check(&url).unwrap()).unwrap();
    subscriber.session().subscribe("a", None).unwrap();
    subscriber.session().publish(&Publication::new("a", &long).with_key("k")).unwrap();
    let (mut came, mut acknowledged) = (0, 0);
    subscriber
        .run(|_session, event| {
            match event {
                SessionEvent::Message(message) => came += message.data.len(),
                SessionEvent::Acknowledged { .. } => acknowledged += 1,
                _ => {}
            }
            if came > 0 && acknowledged > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!((came, acknowledged), (600_000, 1));
}
