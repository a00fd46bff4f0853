//! Promises of the loop that cut across its parts: what lasts, what ends, what keeps its order.
#![cfg(feature = "net")]

mod net_support;

use net_support::wire::{CLOSE, Client, TEXT};
use net_support::{On, code, config, eventually, loopback, start, start_at};
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};
use tautline::http::Response;
use tautline::net::{Config, DrainConfig, ListenConfig, Message, QueueConfig, SlowPolicy, SocketBuffers, Transport};
use tautline::sse::Event;

fn small_sends() -> ListenConfig {
    ListenConfig { buffers: SocketBuffers { send: Some(8 << 10), receive: None }, ..loopback() }
}

const LONG: usize = 600 << 10;

/// Reads steadily, never idle for more than 20 ms, and says how many bytes came.
fn read_steadily(client: &mut Client) -> usize {
    let (mut total, mut buffer) = (0, vec![0; 4 << 10]);
    loop {
        match client.stream.read(&mut buffer) {
            Ok(0) | Err(_) => return total,
            Ok(n) => total += n,
        }
        if total >= LONG {
            return total;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn long() -> On {
    On {
        request: |_, head, cx| {
            let response = Response::new(200);
            let response = if head.path() == "/close" { response.close() } else { response };
            cx.respond(&response, &vec![b'x'; LONG]).unwrap();
        },
        ..On::default()
    }
}

/// `Lingering(now + linger)` is set when the machine is over, not when the last byte was taken.
#[test]
fn a_last_answer_is_not_cut_off_while_the_client_takes_it() {
    let server = start_at(&config(), 1, small_sends(), long());
    let mut client = Client::connect_small(server.address, 4 << 10);
    client.get("/close");
    let got = read_steadily(&mut client);
    assert!(got >= LONG, "{got} bytes of {LONG}, cut off at the linger deadline");
}

/// The idle deadline runs while the answer is still being written.
#[test]
fn an_answer_is_not_idle_time() {
    let mut config = config();
    config.http.idle_deadline = Duration::from_millis(300);
    let server = start_at(&config, 1, small_sends(), long());
    let mut client = Client::connect_small(server.address, 4 << 10);
    client.get("/keep");
    let got = read_steadily(&mut client);
    assert!(got >= LONG, "{got} bytes of {LONG}, cut off at the idle deadline and linger");
}

/// Messages for WebSockets alone count as written to event streams, whose heartbeat then never comes.
#[test]
fn broadcasts_to_websockets_do_not_silence_a_streams_heartbeat() {
    let mut config = config();
    config.stream.heartbeat = Duration::from_millis(100);
    let server = start(&config, 1, On::default());
    let mut client = Client::stream(server.address, "/events?topic=t");
    let handle = server.handle.clone();
    thread::spawn(move || {
        for _ in 0..100 {
            let _ = handle.broadcast("t", Message::Text("for sockets"));
            thread::sleep(Duration::from_millis(20));
        }
    });
    client.stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    // `retry:` comes first, then comments.
    let _ = client.try_chunk();
    let comment = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client.try_chunk()));
    assert!(comment.is_ok(), "no heartbeat in a second, at an interval of 100 ms");
}

/// `read_body` behind `open_stream` throws the stream away.
#[test]
fn reading_the_body_of_a_streaming_post_leaves_the_stream_and_its_closed() {
    let on = On {
        request: |_, head, cx| {
            let _ = cx.open_stream(head, &[]);
            cx.read_body();
        },
        body: |script, body, cx| {
            let sent = cx.send_event(&Event::new(std::str::from_utf8(body).unwrap()));
            script.log.push(format!("sent {sent:?}"));
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut client = Client::connect(server.address);
    client.write(b"POST / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nContent-Length: 2\r\n\r\nhi");
    thread::sleep(Duration::from_millis(200));
    drop(client);
    server.wait_for_no_peers();
    eprintln!("{:?}", server.log.all());
    let totals = server.totals();
    let streams = totals.transport(Transport::EventStream);
    assert_eq!((streams.opened, streams.closed), (1, 1), "the gauge of open streams leaks");
    assert_eq!(server.log.count("closed stream"), 1);
}

/// The subscription of an answered hold outlives it: the next request on the connection (another user's, behind a proxy that
/// pools connections) gets its events.
#[test]
fn a_stream_gets_nothing_of_an_earlier_requests_topics() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::connect(server.address);
    client.get("/hold?topic=secret");
    server.log.wait("opened held", 1);
    server.handle.publish("secret", &Event::new("for the first")).unwrap();
    assert_eq!(client.response().status, 200);
    let mut client = client.subscribe("/events?topic=public");
    server.log.wait("opened stream", 1);
    server.handle.publish("secret", &Event::new("still for the first")).unwrap();
    server.handle.publish("public", &Event::new("for all")).unwrap();
    let event = client.event();
    assert!(event.contains("for all"), "{event}");
}

/// With a queue no longer than the read buffer, replies to one read overflow on an idle socket.
#[test]
fn replies_never_overflow_whatever_the_queue() {
    let queue = QueueConfig { limit: 48 << 10, ..QueueConfig::default() };
    let config = Config { queue, ..config() };
    let on = On {
        message: |script, message, cx| {
            if let Err(error) = cx.send(message) {
                script.log.push(format!("failed {error}"));
            }
        },
        ..On::default()
    };
    let server = start(&config, 1, on);
    let mut client = Client::websocket(server.address, "/ws");
    for _ in 0..50 {
        let mut bytes = net_support::wire::frame(0x82, &vec![1; 23 << 10]);
        bytes.extend(net_support::wire::frame(0x82, &vec![2; 30 << 10]));
        client.write(&bytes);
        client.frame();
        if server.log.count("failed") > 0 {
            break;
        }
        client.frame();
    }
    assert_eq!(server.log.count("failed"), 0, "{:?}", server.log.all());
}

/// What a thread publishes is overtaken by what it does next.
#[test]
fn calls_of_one_thread_take_effect_in_their_order() {
    let on = On { opened: |script, cx| script.remember("it", cx), ..On::default() };
    let server = start(&config(), 1, on);
    let mut client = Client::websocket(server.address, "/ws?topic=t");
    server.log.wait("opened", 1);
    server.handle.broadcast("t", Message::Text("goodbye")).unwrap();
    server.handle.close_peer(server.id("it"), code(1000), "").unwrap();
    let frame = client.frame();
    assert_eq!(frame.opcode, TEXT, "{frame:?}");
}

/// A paused connection that is closed never hears the peer's answer.
#[test]
fn closing_a_paused_connection_ends_cleanly() {
    let mut config = config();
    config.ws.close_timeout = Duration::from_millis(500);
    let on = On {
        message: |_, _, cx| {
            cx.pause();
            cx.close(code(1000), "");
        },
        ..On::default()
    };
    let server = start(&config, 1, on);
    let mut client = Client::websocket(server.address, "/ws");
    client.send_text("x");
    assert_eq!(client.frame().opcode, CLOSE);
    client.send_close(1000);
    server.log.wait("closed", 1);
    assert_eq!(server.log.count("closed websocket 1000"), 1, "{:?}", server.log.all());
}

/// "every value is a valid one".
#[test]
fn a_long_retry_does_not_end_the_worker_when_it_drains() {
    let mut config = config();
    config.stream.retry = Some(Duration::MAX);
    let mut server = start(&config, 1, On::default());
    let _client = Client::stream(server.address, "/events?topic=t");
    server.log.wait("opened", 1);
    server.handle.drain(DrainConfig {
        over: Duration::ZERO,
        grace: Duration::from_millis(100),
        ..DrainConfig::default()
    });
    let server = server.server.take().unwrap();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.join())).is_ok(), "the worker panicked");
}

/// Half of a server that goes on looks well to whoever watches it.
#[test]
fn a_panic_in_one_worker_stops_them_all() {
    for worker in [0, 1] {
        let mut server = start(&config(), 2, On::default());
        let mut client = Client::websocket(server.address, "/ws");
        server.log.wait("opened", 1);
        server.handle.call(worker, |_, _| panic!("on purpose")).unwrap();
        let gone = || server.handle.call(1 - worker, |_, _| ()).is_err();
        eventually("the other one is gone", gone);
        // To its end, whichever worker it was of.
        let _ = client.rest();
        let server = server.server.take().unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.join()));
        assert_eq!(outcome.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
    }
}

/// Nothing ends a stream whose client takes nothing of the handler's own events.
#[test]
fn a_stream_whose_client_reads_nothing_is_closed_some_time() {
    let slow = SlowPolicy::Close { after: Duration::from_millis(300) };
    let config = Config { queue: QueueConfig { slow, ..QueueConfig::default() }, ..config() };
    let on = On {
        request: |_, head, cx| {
            let _ = cx.open_stream(head, &[]);
            cx.set_timer(Duration::from_millis(1));
        },
        timer: |_, cx| {
            let data = "x".repeat(64 << 10);
            let _ = cx.send_event(&Event::new(&data));
            cx.set_timer(Duration::from_millis(5));
        },
        ..On::default()
    };
    let server = start_at(&config, 1, small_sends(), on);
    let mut client = Client::connect_small(server.address, 4 << 10);
    client.write(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until && server.log.count("closed stream") == 0 {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(
        server.log.count("closed stream"),
        1,
        "open for 5 s with a full queue ({} bytes)",
        server.totals().queued
    );
}

/// An answer behind which the server closes says so (RFC 9112 section 9.6).
#[test]
fn a_503_of_the_drain_says_that_the_connection_closes() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::connect(server.address);
    client.get("/hold?topic=t");
    server.log.wait("opened held", 1);
    server.handle.drain(DrainConfig { over: Duration::ZERO, grace: Duration::from_secs(1), ..DrainConfig::default() });
    let response = client.response();
    assert_eq!(response.status, 503);
    assert!(response.head.to_lowercase().contains("connection: close"), "{}", response.head);
}

/// The scratch output, left blocked by a handler, goes on to the next connection.
#[test]
fn bytes_of_one_connection_never_reach_another() {
    let on = On {
        message: |_, message, cx| {
            let (ws, out) = cx.websocket().unwrap();
            ws.send_binary(message.as_bytes(), out).unwrap();
            if message.as_bytes() == b"secret" {
                out.set_blocked();
            }
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut one = Client::websocket(server.address, "/ws");
    let mut other = Client::websocket(server.address, "/ws");
    server.log.wait("opened", 2);
    one.send_text("secret");
    thread::sleep(Duration::from_millis(100));
    other.send_text("mine");
    let frame = other.frame();
    assert_eq!(frame.payload, b"mine", "another connection's bytes");
}

/// Thousands of sends are spread over turns, with a look at the sockets between them.
#[test]
fn publications_in_thousands_are_spread_over_turns() {
    let on = On {
        message: |_, message, cx| {
            for _ in 0..256 {
                let _ = cx.broadcast("t", message, tautline::net::Audience::Others);
            }
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut clients: Vec<_> = (0..400).map(|_| Client::websocket(server.address, "/ws?topic=t")).collect();
    server.log.wait("opened", 400);
    let before = server.totals().turns;
    clients[0].send_text("x");
    eventually("all are sent", || server.totals().messages_out >= 256 * 399);
    // Ten thousand in a turn, and what one publication more makes.
    let turns = server.totals().turns - before;
    assert!(turns >= 256 * 399 / 10_400, "{turns}");
}

/// What waits before a reply is written where it stands in the way.
#[test]
fn a_reply_of_one_mebibyte_behind_a_short_pipelined_one_fits() {
    let on = On {
        request: |_, head, cx| {
            let len = if head.path() == "/short" { 200 << 10 } else { 1 << 20 };
            if let Err(error) = cx.respond(&Response::new(200), &vec![b'x'; len]) {
                eprintln!("{error}");
            }
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut client = Client::connect(server.address);
    client.write(b"GET /short HTTP/1.1\r\nHost: a\r\n\r\nGET /long HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(client.response().status, 200, "an answer that fits into an empty queue");
}

/// An event source keeps the socket of a stream that ended until it connects again, so the server lingers for it.
#[test]
fn an_event_source_lets_go_of_a_stream_that_ended() {
    use tautline::http::url::Url;
    use tautline::net::Connect;
    let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = there.local_addr().unwrap();
    let server = start(&config(), 1, On::default());
    server.ask(0, move |_, control| {
        let url = Url::parse(&format!("http://{address}/events")).unwrap();
        let connect = Connect { url, address, source: None };
        control.connect_stream(&connect, std::sync::Arc::default(), 0);
    });
    let (mut peer, _) = there.accept().unwrap();
    let mut buffer = [0; 4096];
    let _ = peer.read(&mut buffer).unwrap();
    peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 20000\n\n")
        .unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let read = peer.read(&mut buffer);
    assert!(matches!(read, Ok(0)), "{read:?}: the source still holds the connection 3 s after its end");
}

/// Nobody limits how long an event source's connection may take to be made.
#[test]
fn an_event_sources_connecting_has_a_deadline() {
    use tautline::http::url::Url;
    use tautline::net::Connect;
    let there = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    there.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    there.listen(0).unwrap();
    let address = there.local_addr().unwrap().as_socket().unwrap();
    // With the queue full, further SYNs are dropped, as by a host that is not there.
    let _full: Vec<_> = (0..3)
        .filter_map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok())
        .collect();
    let on = On { event: |script, event, _| script.log.push(format!("event {event:?}")), ..On::default() };
    let server = start(&config(), 1, on);
    server.ask(0, move |_, control| {
        let url = Url::parse(&format!("http://{address}/events")).unwrap();
        control.connect_stream(&Connect { url, address, source: None }, std::sync::Arc::default(), 0);
    });
    thread::sleep(Duration::from_secs(15));
    assert_ne!(server.log.count("event"), 0, "still connecting after 15 s");
}

/// An idle time that runs while the loop itself does not read.
#[test]
fn a_peer_that_the_loop_does_not_read_is_not_idle() {
    let mut config = config();
    config.ws.idle = Some(Duration::from_millis(400));
    let on = On { message: |_, message, cx| _ = cx.send(message), ..On::default() };
    let server = start_at(&config, 1, small_sends(), on);
    let mut client = Client::connect_small(server.address, 4 << 10).upgrade("/ws");
    let mut writer = client.stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let frame = net_support::wire::frame(0x82, &vec![1; 60 << 10]);
        for _ in 0..30 {
            if writer.write_all(&frame).is_err() {
                return;
            }
        }
    });
    for _ in 0..30 {
        // It reads steadily, and writes all the time.
        let frame = client.frame();
        assert_ne!(frame.opcode, CLOSE, "closed as idle: {:?}", frame.payload);
        thread::sleep(Duration::from_millis(150));
    }
    sender.join().unwrap();
}
