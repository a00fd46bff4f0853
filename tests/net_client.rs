//! The loop's own client side, against servers made by hand.
#![cfg(feature = "net")]

mod net_support;

use base64::Engine as _;
use net_support::wire::{CLOSE, TEXT};
use net_support::{On, Running, Script, WAIT, code, config, eventually, start, start_at};
use sha1::{Digest, Sha1};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tautline::backoff::BackoffConfig;
use tautline::http::url::Url;
use tautline::net::{Connect, DrainConfig, Message, PeerId};
use tautline::sse::{EventSourceConfig, EventSourceEvent};
use tautline::ws::HandshakeConfig;

/// A server's side of one connection, made by hand.
struct Peer {
    stream: TcpStream,
}

impl Peer {
    fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        Self { stream }
    }

    fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads the request for a WebSocket and answers it, with these bytes behind the answer.
    fn upgrade(&mut self, behind: &[u8]) -> String {
        let head = self.head();
        let key = value(&head, "sec-websocket-key").expect("a key");
        let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        let mut encoded = [0; 28];
        base64::engine::general_purpose::STANDARD.encode_slice(digest, &mut encoded).unwrap();
        let accept = std::str::from_utf8(&encoded).unwrap();
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .into_bytes();
        answer.extend(behind);
        self.write(&answer);
        head
    }

    /// A masked frame of the client's: opcode and payload.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).unwrap();
        assert_eq!(head[1] & 0x80, 0x80, "a client masks");
        let len = match head[1] & 0x7f {
            126 => {
                let mut len = [0; 2];
                self.stream.read_exact(&mut len).unwrap();
                usize::from(u16::from_be_bytes(len))
            }
            short => usize::from(short),
        };
        let mut key = [0; 4];
        self.stream.read_exact(&mut key).unwrap();
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).unwrap();
        payload.iter_mut().enumerate().for_each(|(i, byte)| *byte ^= key[i % 4]);
        (head[0] & 15, payload)
    }

    fn expect_end(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }

    /// Answers with an event stream that ends with the connection.
    fn stream(&mut self, events: &str) -> String {
        let head = self.head();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n{events}");
        self.write(answer.as_bytes());
        head
    }
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

fn connect(address: SocketAddr, path: &str) -> Connect {
    Connect { url: Url::parse(&format!("ws://{address}{path}")).unwrap(), address, source: None }
}

/// Asks worker 0 for a connection.
fn open(server: &Running, connect: Connect, timeout: Duration) -> PeerId {
    server.ask(0, move |_, control| {
        let handshake = Arc::new(HandshakeConfig { timeout, ..HandshakeConfig::default() });
        control.connect(&connect, handshake, None, 0).unwrap()
    })
}

/// Logs what comes of sources and messages.
fn logging() -> On {
    On {
        message: |script, message, cx| {
            let text = String::from_utf8_lossy(message.as_bytes()).into_owned();
            script.log.push(format!("message {text}"));
            cx.send(message).unwrap();
        },
        event: |script, event, _| {
            script.log.push(match event {
                EventSourceEvent::Open => "event open".into(),
                EventSourceEvent::Message(event) => format!("event {} {:?}", event.data, event.id),
                EventSourceEvent::Disconnected { cause, .. } => format!("event disconnected {cause:?}"),
                other => format!("event {other:?}"),
            });
        },
        ..On::default()
    }
}

#[test]
fn a_websocket_is_opened_messages_go_both_ways_and_it_closes_cleanly() {
    let (server, there) = (start(&config(), 1, logging()), listener());
    let id = open(&server, connect(there.local_addr().unwrap(), "/chat?x=1"), WAIT);
    let mut peer = Peer::accept(&there);
    // A message in the same segment as the answer.
    let head = peer.upgrade(b"\x81\x05early");
    assert!(head.starts_with("GET /chat?x=1 HTTP/1.1\r\n"), "{head}");
    assert_eq!(value(&head, "sec-websocket-version"), Some("13"));
    assert_eq!(peer.frame(), (TEXT, b"early".to_vec()));
    for _ in 0..10 {
        peer.write(b"\x82\x03abc");
        assert_eq!(peer.frame().1, b"abc");
    }
    server.handle.send_to(id, tautline::ws::Prepared::text("by handle")).unwrap();
    assert_eq!(peer.frame(), (TEXT, b"by handle".to_vec()));
    peer.write(b"\x88\x02\x0f\xa0");
    assert_eq!(peer.frame(), (CLOSE, vec![0x0f, 0xa0]));
    drop(peer);
    server.log.wait("closed websocket 4000", 1);
    server.wait_for_no_peers();
    assert_eq!(server.log.count("opened"), 1);
    assert_eq!(server.log.count("closed"), 1);
}

#[test]
fn frames_of_a_client_have_masks_that_differ() {
    let (server, there) = (start(&config(), 1, logging()), listener());
    open(&server, connect(there.local_addr().unwrap(), "/"), WAIT);
    let mut peer = Peer::accept(&there);
    peer.upgrade(b"");
    let mut keys = std::collections::HashSet::new();
    for _ in 0..20 {
        peer.write(b"\x81\x01x");
        let mut frame = [0; 7];
        peer.stream.read_exact(&mut frame).unwrap();
        keys.insert(frame[2..6].to_vec());
    }
    assert_eq!(keys.len(), 20);
}

#[test]
fn a_connection_that_is_refused_is_one_closed_with_the_systems_word() {
    let server = start(&config(), 1, logging());
    let nobody = listener().local_addr().unwrap();
    for _ in 0..5 {
        open(&server, connect(nobody, "/"), WAIT);
    }
    server.log.wait("closed Connect(Io(ConnectionRefused))", 5);
    server.wait_for_no_peers();
    assert_eq!(server.log.all().len(), 5, "{:?}", server.log.all());
}

#[test]
fn h26_a_handshake_that_is_refused_or_wrong_is_one_closed_and_nothing_is_delivered() {
    let (server, there) = (start(&config(), 1, logging()), listener());
    let address = there.local_addr().unwrap();
    let answers = [
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n\x01",
        "nothing of the kind\r\n\r\n",
        "",
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        open(&server, connect(address, "/"), WAIT);
        let mut peer = Peer::accept(&there);
        peer.head();
        peer.write(answer.as_bytes());
        if answer.is_empty() {
            drop(peer);
        } else {
            peer.expect_end();
        }
        server.log.wait("closed Connect(Handshake(", number + 1);
    }
    server.wait_for_no_peers();
    assert_eq!(server.log.all().len(), 5, "{:?}", server.log.all());
}

#[test]
fn a_server_that_does_not_answer_meets_the_deadline() {
    let (server, there) = (start(&config(), 1, logging()), listener());
    open(&server, connect(there.local_addr().unwrap(), "/"), Duration::from_millis(150));
    let mut peer = Peer::accept(&there);
    peer.head();
    server.log.wait("closed Connect(", 1);
    peer.expect_end();
    drop(peer);
    server.wait_for_no_peers();
    assert_eq!(server.log.count("closed"), 1);
}

#[test]
fn a_server_that_cannot_be_reached_meets_the_same_deadline() {
    // A queue that is full: further connections are not refused, they hang.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fill = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        fill.push(stream);
        assert!(fill.len() < 100);
    }
    let server = start(&config(), 1, logging());
    open(&server, connect(address, "/"), Duration::from_millis(150));
    server.log.wait("closed Connect(Io(TimedOut))", 1);
    server.wait_for_no_peers();
    assert_eq!(server.log.count("closed"), 1);
}

#[test]
fn a_connection_goes_out_from_the_address_that_was_asked_for() {
    let (server, there) = (start(&config(), 1, logging()), listener());
    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    open(&server, Connect { source: Some(from), ..connect(there.local_addr().unwrap(), "/") }, WAIT);
    let mut peer = Peer::accept(&there);
    assert_eq!(peer.stream.peer_addr().unwrap().ip(), from);
    peer.upgrade(b"");
    server.log.wait("opened", 1);
}

#[test]
fn outgoing_connections_can_be_given_up_at_every_stage_and_each_has_one_closed() {
    let (server, there) = (start(&config(), 1, logging()), listener());
    let address = there.local_addr().unwrap();
    // Before it is made, in the same call.
    server.ask(0, move |_, control| {
        let id = control.connect(&connect(address, "/"), Arc::default(), None, 0).unwrap();
        control.close_peer(id, code(1000), "");
    });
    server.log.wait("closed Connect(Io(ConnectionAborted))", 1);
    // In the handshake.
    let id = open(&server, connect(address, "/"), WAIT);
    let mut peer = Peer::accept(&there);
    if peer.stream.peek(&mut [0]).unwrap() == 0 {
        // That was the first one.
        peer = Peer::accept(&there);
    }
    peer.head();
    server.handle.close_peer(id, code(1000), "").unwrap();
    peer.expect_end();
    server.log.wait("closed Connect(Io(ConnectionAborted))", 2);
    // Open.
    let id = open(&server, connect(address, "/"), WAIT);
    let mut peer = Peer::accept(&there);
    peer.upgrade(b"");
    server.log.wait("opened", 1);
    server.handle.close_peer(id, code(4000), "enough").unwrap();
    assert_eq!(peer.frame(), (CLOSE, [&[0x0f, 0xa0], &b"enough"[..]].concat()));
    peer.write(b"\x88\x02\x0f\xa0");
    server.log.wait("closed websocket 4000", 1);
    drop(peer);
    server.wait_for_no_peers();
    assert_eq!(server.log.count("closed"), 3);
}

#[test]
fn stopping_and_draining_tell_of_every_outgoing_connection_too() {
    for drain in [false, true] {
        let (server, there) = (start(&config(), 1, logging()), listener());
        let address = there.local_addr().unwrap();
        open(&server, connect(address, "/open"), WAIT);
        let mut opened = Peer::accept(&there);
        opened.upgrade(b"");
        server.log.wait("opened", 1);
        open(&server, connect(address, "/handshake"), WAIT);
        let mut handshake = Peer::accept(&there);
        handshake.head();
        source(&server, address, fast());
        let mut stream = Peer::accept(&there);
        stream.stream("data: x\n\n");
        server.log.wait("event x", 1);
        if drain {
            server.handle.drain(DrainConfig { over: Duration::ZERO, ..DrainConfig::default() });
            let (opcode, payload) = opened.frame();
            assert_eq!((opcode, &payload[..2]), (CLOSE, &1012_u16.to_be_bytes()[..]));
            opened.write(b"\x88\x02\x03\xf4");
        } else {
            server.handle.stop();
        }
        let log = server.log.clone();
        let peers = (opened, handshake, stream);
        if drain {
            drop(peers);
            server.join();
        } else {
            // An end of theirs could come before the stop.
            server.join();
            drop(peers);
        }
        let closed: Vec<_> = log.all().into_iter().filter(|entry| entry.starts_with("closed")).collect();
        assert_eq!(closed.len(), 3, "{closed:?}");
        assert_eq!(log.count("closed Source"), 1, "{closed:?}");
        assert_eq!(log.count("closed Connect(Stopped)"), usize::from(!drain), "{closed:?}");
    }
}

// Event sources.

/// Settings that come back soon.
fn fast() -> EventSourceConfig {
    let ms = Duration::from_millis;
    let backoff = BackoffConfig { base: ms(10), cap: ms(20), stable: ms(1), attempts: None };
    EventSourceConfig { retry: ms(10), backoff, ..EventSourceConfig::default() }
}

fn source(server: &Running, address: SocketAddr, config: EventSourceConfig) -> PeerId {
    let url = Url::parse(&format!("http://{address}/events")).unwrap();
    server
        .ask(0, move |_, control| control.connect_stream(&Connect { url, address, source: None }, Arc::new(config), 0))
}

#[test]
fn an_event_source_comes_back_with_its_last_id_when_the_server_went_away() {
    let (server, there) = (start(&config(), 1, logging()), listener());
    let address = there.local_addr().unwrap();
    source(&server, address, fast());
    let mut peer = Peer::accept(&there);
    let head = peer.stream("id: 1\ndata: one\n\n");
    assert_eq!(value(&head, "accept"), Some("text/event-stream"));
    assert_eq!(value(&head, "last-event-id"), None);
    server.log.wait("event one", 1);
    // In good order; by a reset, in the middle of an event; and with nobody listening for a while.
    drop(peer);
    let mut peer = Peer::accept(&there);
    assert_eq!(value(&peer.stream("id: 2\ndata: two\n\ndata: half"), "last-event-id"), Some("1"));
    server.log.wait("event two", 1);
    socket2::SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    let mut peer = Peer::accept(&there);
    assert_eq!(value(&peer.stream("id: 3\ndata: three\n\n"), "last-event-id"), Some("2"));
    server.log.wait("event three", 1);
    drop((peer, there));
    server.log.wait("event disconnected ConnectFailed", 3);
    let again = TcpListener::bind(address).unwrap();
    let mut peer = Peer::accept(&again);
    assert_eq!(value(&peer.stream("data: four\n\n"), "last-event-id"), Some("3"));
    server.log.wait("event four", 1);
    drop(peer);
    // 204 is how a server says that it is done.
    let mut peer = Peer::accept(&again);
    peer.head();
    peer.write(b"HTTP/1.1 204 No Content\r\n\r\n");
    server.log.wait("closed Source(Status", 1);
    drop(peer);
    server.wait_for_no_peers();
    assert_eq!((server.log.count("closed"), server.log.count("event half")), (1, 0));
    assert_eq!(server.log.count("event open"), 4);
}

#[test]
fn an_event_source_reads_the_librarys_own_streams_across_a_restart() {
    let here = start(&config(), 1, logging());
    let first = start(&config(), 2, On::default());
    let address = first.address;
    source(&here, address, fast());
    first.log.wait("opened stream", 1);
    let publish = |server: &Running, data: &str| {
        let event = tautline::sse::Event::new(data);
        // It is subscribed by the path's query, which this URL has not: so to the one stream.
        let block = event.to_bytes().unwrap();
        eventually("the stream is known", || !server.ids.lock().unwrap().is_empty());
        server.handle.send_block_to(server.id(""), block).unwrap();
    };
    publish(&first, "first");
    here.log.wait("event first", 1);
    first.handle.drain(DrainConfig { over: Duration::ZERO, ..DrainConfig::default() });
    here.log.wait("event disconnected", 1);
    drop(first);
    let again = tautline::net::ListenConfig::new(address);
    let second = start_at(&config(), 2, again, On::default());
    second.log.wait("opened stream", 1);
    publish(&second, "second");
    here.log.wait("event second", 1);
}

#[test]
fn an_event_source_that_is_paused_gets_its_events_when_it_is_resumed() {
    let on = On {
        event: |script, event, cx| {
            if let EventSourceEvent::Message(event) = event {
                script.log.push(format!("event {}", event.data));
                cx.pause();
                cx.set_timer(Duration::from_millis(20));
            }
        },
        timer: |script, cx| {
            script.log.push("resumed");
            cx.resume();
        },
        ..On::default()
    };
    let (server, there) = (start(&config(), 1, on), listener());
    source(&server, there.local_addr().unwrap(), fast());
    Peer::accept(&there).stream("data: 1\n\ndata: 2\n\n");
    server.log.wait("resumed", 2);
    assert_eq!(server.log.all()[..4], ["event 1", "resumed", "event 2", "resumed"]);
}

#[test]
fn a_hundred_connections_at_once_to_a_server_of_ones_own_all_open_and_talk() {
    let on = On {
        started: |_, control| {
            let address: Option<SocketAddr> =
                std::env::var("NET_CLIENT_ADDRESS").ok().map(|text| text.parse().unwrap());
            for _ in 0..100 {
                let Some(address) = address else { return };
                control.connect(&connect(address, "/ws"), Arc::default(), None, 0).unwrap();
            }
        },
        opened: |_, cx| cx.send(Message::Text("hello")).unwrap(),
        message: |script: &mut Script, _, cx| {
            script.log.push("answered");
            cx.close(code(1000), "");
        },
        ..On::default()
    };
    let there = start(&config(), 2, On::default());
    // SAFETY: no other test of this file reads or writes the environment.
    unsafe { std::env::set_var("NET_CLIENT_ADDRESS", there.address.to_string()) };
    let here = start(&config(), 1, on);
    here.log.wait("closed websocket 1000", 100);
    assert_eq!(here.log.count("answered"), 100);
    there.log.wait("closed websocket 1000", 100);
    here.wait_for_no_peers();
    there.wait_for_no_peers();
}
