//! The loop's further promises: what idle peers own, what the kernel's moods may not change, heartbeats, proxies, counters.
#![cfg(feature = "net")]

mod counting;
mod net_support;

use net_support::wire::{self, BINARY, Client, PING, PONG, TEXT, field, upgrade_request};
use net_support::{On, WAIT, config, eventually, eventually_eq, loopback, start, start_at};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use tautline::heartbeat::HeartbeatConfig;
use tautline::http::{Response, ServerConfig};
use tautline::net::{
    Accept, Config, Connect, Context, Handler, Linger, ListenAddress, ListenConfig, Message, PeerLimits,
    PerAddressLimit, QueueConfig, Server, SlowPolicy, SocketBuffers, Transport, Upgraded, Worker,
};
use tautline::sse::{Event, ServerStreamConfig};
use tautline::ws::Prepared;

#[test]
fn the_defaults_are_those_that_the_documentation_names() {
    let config = Config::default();
    let s = Duration::from_secs;
    let ServerConfig { head_deadline, idle_deadline, .. } = config.http;
    assert_eq!((head_deadline, idle_deadline), (s(5), s(75)));
    let heartbeat = config.ws.heartbeat.unwrap();
    assert_eq!((heartbeat.interval, heartbeat.deadline), (s(25), s(10)));
    assert!(heartbeat.jitter_percent > 0);
    assert_eq!((config.ws.close_timeout, config.linger), (s(5), Linger(s(5))));
    let ServerStreamConfig { heartbeat, heartbeat_jitter_percent, retry_jitter_percent, .. } = config.stream;
    assert_eq!(heartbeat, s(15));
    assert!(heartbeat_jitter_percent > 0 && retry_jitter_percent > 0);
    let QueueConfig { limit, slow } = config.queue;
    assert!((1 << 20..(1 << 20) + (16 << 10)).contains(&limit));
    assert_eq!(slow, SlowPolicy::Close { after: s(5) });
    assert_eq!(config.peers, PeerLimits::default());
    assert_eq!((config.peers.most, config.peers.per_address, config.peers.accept_rate), (None, None, None));
    config.check().unwrap();
}

#[test]
fn there_are_as_many_workers_as_cores_unless_one_says_otherwise() {
    struct Nothing;
    impl Handler for Nothing {
        type State = u64;
        fn request(&mut self, _: &tautline::http::RequestHead<'_>, _: &mut Context<'_, u64>) {}
        fn message(&mut self, _: Message<'_>, _: &mut Context<'_, u64>) {}
    }
    let server = Server::start(&config(), &[loopback()], None, |_| Nothing).unwrap();
    assert_eq!(server.handle().workers(), thread::available_parallelism().unwrap().get());
}

// Memory.

/// Echoes, with eight bytes of state.
struct Echo;

impl Handler for Echo {
    type State = u64;

    fn request(&mut self, head: &tautline::http::RequestHead<'_>, cx: &mut Context<'_, u64>) {
        assert!(matches!(cx.accept(head, &Accept::default()), Ok(Upgraded::Yes)));
    }

    fn message(&mut self, message: Message<'_>, cx: &mut Context<'_, u64>) {
        cx.send(message).unwrap();
    }
}

#[test]
fn idle_peers_own_no_buffers_before_and_after_they_were_busy() {
    let (sender, ready) = mpsc::channel();
    let (stop, live, peers) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)), Arc::new(AtomicUsize::new(0)));
    let worker = {
        let (stop, live, peers) = (stop.clone(), live.clone(), peers.clone());
        thread::spawn(move || {
            let mut poll = mio::Poll::new().unwrap();
            let mut events = mio::Events::with_capacity(256);
            let mut worker = Worker::new(&config(), Echo, poll.registry()).unwrap();
            // Small in the kernel, so that echoes block.
            let buffers = SocketBuffers { send: Some(16 << 10), receive: None };
            let ListenAddress::Tcp(address) = worker.listen(&ListenConfig { buffers, ..loopback() }).unwrap() else {
                panic!("it is TCP")
            };
            sender.send(address).unwrap();
            while !stop.load(Ordering::Acquire) {
                poll.poll(&mut events, Some(Duration::from_millis(5))).unwrap();
                worker.turn(&events);
                live.store(counting::counts().live, Ordering::Release);
                peers.store(worker.len(), Ordering::Release);
            }
        })
    };
    let address = ready.recv_timeout(WAIT).unwrap();
    let settled = |count: usize| {
        eventually("they are there", || peers.load(Ordering::Acquire) == count);
        // Some turns more.
        thread::sleep(Duration::from_millis(100));
        live.load(Ordering::Acquire)
    };
    // What the first connection makes the worker allocate is no connection's.
    let mut first = Client::websocket(address, "/");
    first.send(BINARY, &[0; 300_000]);
    assert_eq!(first.frame().payload.len(), 300_000);
    let base = settled(1);
    // Two chunks of the slab in all.
    let mut clients: Vec<_> = (0..511).map(|_| Client::websocket(address, "/")).collect();
    let idle = settled(512);
    let each = (idle - base) / 511;
    assert!(each <= 160, "{each} bytes for each idle connection");
    for client in &mut clients {
        // In two halves, so that it is assembled; and not read at once, so that it blocks.
        let frame = wire::frame(0x80 | BINARY, &[1; 200_000]);
        client.write(&frame[..100_000]);
        client.write(&frame[100_000..]);
        assert_eq!(client.frame().payload.len(), 200_000);
    }
    let after = settled(512);
    assert!(after - idle < 512 << 10, "{idle} bytes idle, {after} after all were busy");
    assert!((after - base) / 511 <= 160 + 1024, "{after}");
    stop.store(true, Ordering::Release);
    worker.join().unwrap();
}

// The kernel's moods.

#[test]
fn q7_signals_interrupt_system_calls_and_change_nothing() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the handler does nothing, so it may run at any time. Without SA_RESTART system calls end with EINTR.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    let server = start(&config(), 1, On::default());
    // SAFETY: it asks for the calling thread's own name.
    let worker = server.ask(0, |_, _| unsafe { libc::pthread_self() });
    let done = Arc::new(AtomicBool::new(false));
    let signals = {
        let done = done.clone();
        thread::spawn(move || {
            let mut sent = 0;
            while !done.load(Ordering::Acquire) {
                // SAFETY: the worker lives until the server is dropped, which is after this thread was joined.
                unsafe { libc::pthread_kill(worker, libc::SIGUSR1) };
                sent += 1;
                thread::sleep(Duration::from_micros(50));
            }
            sent
        })
    };
    let mut client = Client::websocket(server.address, "/ws?topic=t");
    for number in 0..2000_u32 {
        client.send(BINARY, &vec![number as u8; 1 + number as usize * 37 % 70_000]);
        let frame = client.frame();
        assert_eq!(frame.payload, vec![number as u8; 1 + number as usize * 37 % 70_000]);
    }
    for number in 0..200 {
        server.handle.publish("t", &Event::new(&number.to_string())).unwrap();
        assert_eq!(field(client.frame().text(), "data"), Some(&*number.to_string()));
    }
    done.store(true, Ordering::Release);
    assert!(signals.join().unwrap() > 100);
    assert_eq!(server.log.count("closed"), 0);
}

#[test]
fn a_queue_of_more_pieces_than_one_writev_takes_arrives_whole_and_in_order() {
    const PIECES: u32 = 4000;
    let buffers = SocketBuffers { send: Some(8 << 10), receive: None };
    let on = On { opened: |script, cx| script.remember("peer", cx), ..On::default() };
    let server = start_at(&config(), 1, ListenConfig { buffers, ..loopback() }, on);
    let mut client = Client::connect_small(server.address, 4 << 10).upgrade("/ws");
    server.log.wait("opened", 1);
    let peer = server.id("peer");
    // The first fills the socket; behind it each is kept by reference.
    server.handle.send_to(peer, Prepared::binary(&[0; 200_000])).unwrap();
    for number in 0..PIECES {
        let mut payload = [0; 150];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        server.handle.send_to(peer, Prepared::binary(&payload)).unwrap();
    }
    eventually("all are queued", || server.totals().queued > u64::from(PIECES) * 150);
    assert_eq!(client.frame().payload.len(), 200_000);
    for number in 0..PIECES {
        assert_eq!(client.frame().payload[..4], number.to_be_bytes());
    }
    eventually_eq(0, || server.totals().queued);
}

#[test]
fn large_shared_payloads_go_to_many_and_each_gets_every_byte() {
    let server = start(&config(), 2, On::default());
    let mut clients: Vec<_> = (0..8)
        .map(|number| match number % 2 {
            0 => Client::websocket(server.address, "/ws?topic=t"),
            _ => Client::stream(server.address, "/events?topic=t"),
        })
        .collect();
    server.log.wait("opened", 8);
    for size in [16_383, 16_384, 100_000, 700_000] {
        let data: String = (0..size).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
        server.handle.publish("t", &Event::new(&data)).unwrap();
        for client in &mut clients {
            let block = if client.chunked { client.event() } else { client.frame().text().to_owned() };
            assert_eq!(field(&block, "data"), Some(&*data));
        }
    }
}

// Heartbeats.

#[test]
fn a_silent_stream_gets_comments_and_a_stuck_one_at_most_one() {
    let mut config = config();
    config.stream.heartbeat = Duration::from_millis(20);
    let buffers = SocketBuffers { send: Some(8 << 10), receive: None };
    let server = start_at(&config, 1, ListenConfig { buffers, ..loopback() }, On::default());
    let mut stream = Client::stream(server.address, "/events");
    let mut comments = 0;
    while comments < 5 {
        let chunk = stream.try_chunk().unwrap();
        comments += usize::from(chunk.starts_with(b":"));
    }
    drop(stream);
    server.wait_for_no_peers();
    let stuck = Client::connect_small(server.address, 4 << 10).subscribe("/events?topic=t");
    server.handle.publish("t", &Event::new(&"x".repeat(500_000))).unwrap();
    eventually("it blocks", || server.totals().queued > 0);
    let queued = server.totals().queued;
    thread::sleep(Duration::from_millis(400));
    // Whatever the kernel took meanwhile, 20 comments were not added.
    assert!(server.totals().queued <= queued + 20, "{queued} and then {}", server.totals().queued);
    drop(stuck);
}

#[test]
fn a_slow_reader_that_takes_bytes_is_alive_although_its_pongs_wait_behind_its_messages() {
    let mut config = config();
    let (interval, deadline) = (Duration::from_millis(200), Duration::from_millis(800));
    config.ws.heartbeat = Some(HeartbeatConfig { interval, deadline, jitter_percent: 0 });
    let buffers = SocketBuffers { send: Some(16 << 10), receive: Some(16 << 10) };
    let server = start_at(&config, 1, ListenConfig { buffers, ..loopback() }, On::default());
    let mut client = Client::connect_small(server.address, 8 << 10).upgrade("/ws");
    let mut writer = Client::over(client.stream.try_clone().unwrap());
    // More than both queues hold: the server stops reading, pongs included.
    let writing = thread::spawn(move || (0..40).for_each(|_| writer.send(BINARY, &[3; 50_000])));
    let mut messages = 0;
    while messages < 40 {
        let frame = client.frame();
        messages += u32::from(frame.opcode == BINARY);
        // Some three seconds in all, with never a pong.
        thread::sleep(Duration::from_millis(70));
    }
    writing.join().unwrap();
    assert_eq!(server.log.count("closed"), 0);
}

#[test]
fn k1_pings_are_answered_in_order_between_messages() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::websocket(server.address, "/ws");
    let mut all = Vec::new();
    for number in 0..10_u8 {
        all.extend(wire::frame(0x80 | PING, &[number]));
        all.extend(wire::frame(0x80 | BINARY, &[number]));
    }
    client.write(&all);
    for number in 0..10_u8 {
        let (pong, echo) = (client.frame(), client.frame());
        assert_eq!(
            (pong.opcode, &*pong.payload, echo.opcode, &*echo.payload),
            (PONG, &[number][..], BINARY, &[number][..])
        );
    }
}

#[test]
fn k2_a_flood_of_pings_to_a_peer_that_does_not_read_ends_it_with_1008_and_queues_next_to_nothing() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::connect_small(server.address, 4 << 10).upgrade("/ws");
    let ping = wire::frame(0x80 | PING, &[b'p'; 125]).repeat(100);
    for _ in 0..1000 {
        if std::io::Write::write_all(&mut client.stream, &ping).is_err() {
            break;
        }
    }
    server.log.wait("closed", 1);
    assert!(server.totals().queued < 64 << 10);
    assert_eq!(client.close_frame(), 1008);
}

// Requests of every kind.

#[test]
fn a_handler_rejects_chooses_subprotocols_adds_headers_and_sends_what_was_prepared() {
    let on = On {
        request: |_, head, cx| match head.path() {
            "/forbidden" => cx.reject(403).unwrap(),
            _ => {
                let accept = Accept {
                    protocols: &["chat.v2", "chat.v1"],
                    headers: &[("X-Served-By", "me")],
                    ..Accept::default()
                };
                assert!(matches!(cx.accept(head, &accept), Ok(Upgraded::Yes)));
            }
        },
        message: |_, message, cx| {
            let prepared = message.prepare();
            cx.send_prepared(&prepared).unwrap();
            cx.send_prepared(&prepared).unwrap();
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut client = Client::connect(server.address);
    client.get("/forbidden");
    assert_eq!(client.response().status, 403);
    // The same connection goes on.
    client.write(
        upgrade_request("/ws")
            .replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: x, chat.v1, chat.v2\r\n\r\n")
            .as_bytes(),
    );
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("\r\nX-Served-By: me\r\n"), "{head}");
    assert!(head.contains("\r\nSec-WebSocket-Protocol: chat.v1\r\n"), "{head}");
    client.send_text("twice");
    client.expect_text("twice");
    client.expect_text("twice");
}

#[test]
fn h4_h22_what_is_no_upgrade_or_of_a_foreign_origin_is_refused_by_the_loop() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::connect(server.address);
    client.get("/ws");
    assert_eq!(client.response().status, 426);
    for (origin, status) in [("https://evil.example", 403), ("null", 403), ("http://a.evil.example", 403)] {
        let mut client = Client::connect(server.address);
        client.write(upgrade_request("/ws").replace("\r\n\r\n", &format!("\r\nOrigin: {origin}\r\n\r\n")).as_bytes());
        assert_eq!(client.response().status, status, "{origin}");
    }
    assert_eq!(server.log.count("opened"), 0);
}

#[test]
fn a_body_is_invited_where_the_client_waits_for_that() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::connect(server.address);
    client.write(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 100"));
    client.write(b"hello");
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn s13_a_client_of_http_1_0_reads_its_stream_up_to_the_end_of_the_connection() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::connect(server.address);
    client.write(b"GET /events?topic=t HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(!client.head().to_lowercase().contains("chunked"));
    for number in 0..3 {
        server.handle.publish("t", &Event::new(&number.to_string())).unwrap();
        let block = client.until(format!("data: {number}\n\n").as_bytes()).unwrap();
        assert!(String::from_utf8(block).unwrap().contains("id: "));
    }
    server.handle.drain(tautline::net::DrainConfig { over: Duration::ZERO, ..Default::default() });
    let (rest, _) = client.rest();
    assert!(String::from_utf8(rest).unwrap().contains("retry: "));
}

#[test]
fn s15_requests_behind_an_event_stream_are_dropped_unseen_and_the_stream_goes_on() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::stream(server.address, "/events?topic=t");
    let before = server.totals().bytes_in;
    let request = b"GET /again HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    (0..200).for_each(|_| client.write(&request));
    for number in 0..20 {
        server.handle.publish("t", &Event::new(&number.to_string())).unwrap();
        assert_eq!(field(&client.event(), "data"), Some(&*number.to_string()));
    }
    assert_eq!(server.totals().requests, 1);
    // When it has said all that, there is nothing to do.
    eventually_eq(200 * request.len() as u64, || server.totals().bytes_in - before);
    let turns = server.totals().turns;
    thread::sleep(Duration::from_millis(300));
    let idle = server.totals().turns - turns;
    assert!(idle < 50, "{idle} turns for nothing");
}

#[test]
fn a_client_that_floods_behind_its_held_request_is_read_no_further_and_costs_no_turns() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::connect(server.address);
    client.get("/hold?topic=t");
    server.log.wait("opened held", 1);
    client.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let request = b"GET /again HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let mut sent = 0;
    while std::io::Write::write_all(&mut client.stream, &request).is_ok() {
        sent += request.len();
        assert!(sent < 256 << 20, "it is read without end");
    }
    let turns = server.totals().turns;
    thread::sleep(Duration::from_millis(300));
    let idle = server.totals().turns - turns;
    assert!(idle < 50, "{idle} turns for bytes that nobody wants yet");
    let totals = server.totals();
    assert!(totals.bytes_in < 1 << 20, "{} bytes read ahead", totals.bytes_in);
    assert_eq!(totals.requests, 1);
    // An end in good order would stand behind all that; a reset does not.
    client.reset();
    server.log.wait("closed held", 1);
    server.wait_for_no_peers();
}

// Addresses behind proxies.

#[test]
fn connections_are_counted_by_the_clients_address_behind_a_named_proxy_and_by_the_sockets_otherwise() {
    let on = On {
        request: |_, head, cx| {
            let address = cx.client_address(head).map_or("none".into(), |address| address.to_string());
            match head.path() {
                "/hold" => cx.hold(4 * WAIT),
                _ => cx.respond(&Response::new(200), address.as_bytes()).unwrap(),
            }
        },
        ..On::default()
    };
    let hold = |client: &mut Client, fields: &str| {
        client.write(format!("GET /hold HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
    };
    let get = |client: &mut Client, fields: &str| {
        client.write(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
        let response = client.response();
        (response.status, response.text().to_owned())
    };
    let per_address = Some(PerAddressLimit::new(NonZeroU32::new(2).unwrap()));
    let peers = PeerLimits { per_address, ..PeerLimits::default() };
    let trusting = Config { peers, proxies: "127.0.0.1".parse().unwrap(), ..config() };
    let server = start(&trusting, 2, on);
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(server.address)).collect();
    let one = "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n";
    hold(&mut clients[0], one);
    assert_eq!(get(&mut clients[1], one), (200, "192.0.2.1".into()));
    hold(&mut clients[1], one);
    eventually_eq(2, || server.totals().transport(Transport::LongPoll).open());
    assert_eq!(get(&mut clients[2], one).0, 429);
    assert_eq!(get(&mut clients[3], "X-Forwarded-For: 192.0.2.2\r\n"), (200, "192.0.2.2".into()));
    clients.clear();
    server.wait_for_no_peers();
    assert_eq!(get(&mut Client::connect(server.address), one), (200, "192.0.2.1".into()));
    // Nobody is named: the field is the client's own tale.
    let server = start(&config(), 1, on);
    assert_eq!(get(&mut Client::connect(server.address), one), (200, "127.0.0.1".into()));
}

#[test]
fn an_idle_connection_of_a_proxy_is_nobodys_and_one_that_holds_or_streams_is_its_clients() {
    let per_address = Some(PerAddressLimit::new(NonZeroU32::new(2).unwrap()));
    let peers = PeerLimits { per_address, ..PeerLimits::default() };
    let server = start(&Config { peers, proxies: "127.0.0.1".parse().unwrap(), ..config() }, 1, On::default());
    let ask = |client: &mut Client, target: &str, fields: &str| {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n{fields}\r\n");
        client.write(head.as_bytes());
    };
    // One request at a time, and none is open.
    let mut pool: Vec<_> = (0..5).map(|_| Client::connect(server.address)).collect();
    for client in &mut pool {
        ask(client, "/x", "");
        assert_eq!(client.response().status, 200);
    }
    ask(&mut pool[0], "/hold?topic=t", "");
    server.log.wait("opened held", 1);
    ask(&mut pool[1], "/events?topic=u", "Accept: text/event-stream\r\n");
    server.log.wait("opened stream", 1);
    ask(&mut pool[2], "/x", "");
    assert_eq!(pool[2].response().status, 429, "a hold and a stream are open");
    server.handle.publish("t", &Event::new("x")).unwrap();
    assert_eq!(pool[0].response().status, 200);
    ask(&mut pool[3], "/x", "");
    assert_eq!(pool[3].response().status, 200, "the hold was answered");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    ask(&mut pool[3], "/ws", upgrade);
    server.log.wait("opened websocket", 1);
    ask(&mut pool[4], "/x", "");
    assert_eq!(pool[4].response().status, 429, "a WebSocket and a stream are open");
}

// Counters.

#[test]
fn the_counters_add_up() {
    let server = start(&config(), 2, On::default());
    let mut websocket = Client::websocket(server.address, "/ws?topic=t");
    let mut stream = Client::connect(server.address);
    stream.write(b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\nLast-Event-ID: 1-0-0000beef\r\n\r\n");
    stream.head();
    server.log.wait("opened", 2);
    for number in 0..10 {
        websocket.send_text("12345");
        websocket.expect_text("12345");
        server.handle.publish("t", &Event::new(&number.to_string())).unwrap();
        assert_eq!(websocket.frame().opcode, TEXT);
    }
    (0..10).for_each(|_| drop(stream.event()));
    websocket.send_close(4321);
    assert_eq!(websocket.frame().close_code(), 4321);
    drop(stream);
    server.log.wait("closed", 2);
    let totals = server.totals();
    assert_eq!((totals.accepted, totals.refused, totals.accept_errors, totals.requests), (2, 0, 0, 2));
    assert_eq!((totals.messages_in, totals.messages_out, totals.publications), (10, 30, 10));
    assert_eq!((totals.dropped, totals.slow_closed, totals.queued), (0, 0, 0));
    assert!(totals.bytes_in > 10 * 11 && totals.bytes_out > 10 * 7 + 20 * 30, "{totals:?}");
    let of = |transport| {
        let of = totals.transport(transport);
        (of.opened, of.closed, of.reconnected, of.failed, of.durations.count())
    };
    assert_eq!(of(Transport::WebSocket), (1, 1, 0, 0, 1));
    assert_eq!(of(Transport::EventStream).0, 1);
    assert_eq!(of(Transport::EventStream).2, 1, "it came with a cursor");
    assert_eq!(totals.closes.iter().find(|(code, _)| *code == 4000), Some(&(4000, 1)));
    assert_eq!(totals.closes.iter().map(|(_, count)| count).sum::<u64>(), 1);
    // Not both in the middle of a turn.
    eventually("each turn was timed", || {
        let totals = server.totals();
        totals.turns > 0 && totals.lag.count() == totals.turns
    });
}

#[test]
fn durations_run_from_the_beginning_of_each_transport() {
    let server = start(&config(), 1, On::default());
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(server.address)).collect();
    for client in &mut clients {
        client.get("/x");
        client.response();
    }
    thread::sleep(Duration::from_secs(2));
    clients[0].get("/hold?topic=t");
    server.log.wait("opened held", 1);
    server.handle.publish("t", &Event::new("x")).unwrap();
    clients[0].response();
    let (websocket, stream) = (clients.pop().unwrap().upgrade("/ws"), clients.pop().unwrap().subscribe("/events"));
    server.log.wait("opened", 3);
    drop((clients, websocket, stream));
    server.wait_for_no_peers();
    let totals = server.totals();
    for transport in [Transport::WebSocket, Transport::EventStream, Transport::LongPoll] {
        let durations = &totals.transport(transport).durations;
        assert_eq!(durations.count(), 1, "{transport:?}");
        assert!(durations.sum() < Duration::from_secs(1), "{transport:?} {:?}", durations.sum());
    }
    let http = &totals.transport(Transport::Http).durations;
    assert_eq!(http.count(), 3);
    assert!(http.sum() >= Duration::from_secs(5), "{:?}", http.sum());
}

#[test]
fn open_http_connections_are_counted_and_streams_that_were_cut_off_as_failed() {
    let slow = SlowPolicy::Close { after: Duration::from_millis(200) };
    let config = Config { queue: QueueConfig { slow, ..QueueConfig::default() }, ..config() };
    let buffers = SocketBuffers { send: Some(8 << 10), receive: None };
    let server = start_at(&config, 1, ListenConfig { buffers, ..loopback() }, On::default());
    let mut client = Client::connect(server.address);
    client.get("/x");
    client.response();
    let leaves = Client::stream(server.address, "/events?topic=u");
    let takes_nothing = Client::connect_small(server.address, 4 << 10).subscribe("/events?topic=t");
    server.log.wait("opened stream", 2);
    drop(leaves);
    server.log.wait("closed stream", 1);
    assert_eq!(server.totals().transport(Transport::EventStream).failed, 0, "a client that left is no failure");
    for _ in 0..10 {
        server.handle.publish("t", &Event::new(&"x".repeat(60 << 10))).unwrap();
    }
    eventually("it is given up", || server.totals().slow_closed == 1);
    server.log.wait("closed stream", 2);
    let totals = server.totals();
    assert_eq!(totals.transport(Transport::EventStream).failed, 1, "a stream that was cut off ended by an error");
    let http = totals.transport(Transport::Http);
    assert_eq!((http.opened, http.open(), http.failed), (3, 1, 0));
    drop((client, takes_nothing));
    server.wait_for_no_peers();
    let totals = server.totals();
    assert_eq!((totals.open(), totals.transport(Transport::Http).open()), (0, 0));
}

#[test]
fn open_connections_are_counted_with_the_outgoing_and_without_the_refused() {
    let peers = PeerLimits { most: Some(2), ..PeerLimits::default() };
    let server = start(&Config { peers, ..config() }, 1, On::default());
    let first = Client::websocket(server.address, "/ws");
    let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = there.local_addr().unwrap();
    server.ask(0, move |_, control| {
        let url = tautline::http::url::Url::parse(&format!("http://{address}/")).unwrap();
        control.connect_stream(&Connect { url, address, source: None }, Default::default(), 0);
    });
    Client::connect(server.address).expect_eof();
    let totals = server.totals();
    assert_eq!((totals.accepted, totals.refused, totals.outgoing, totals.open()), (2, 1, 1, 2));
    drop(first);
    eventually_eq(1, || server.totals().open());
}

#[test]
fn messages_out_counts_of_a_joined_run_what_each_transport_gets() {
    let server = start(&config(), 1, On::default());
    let mut stream = Client::stream(server.address, "/events?topic=t");
    server.log.wait("opened stream", 1);
    let publish = || {
        server.ask(0, |_, control| {
            for _ in 0..5 {
                control.broadcast("t", Message::Text("for sockets")).unwrap();
            }
            control.publish("t", &Event::new("for all")).unwrap();
        });
    };
    publish();
    stream.event();
    eventually_eq(1, || server.totals().messages_out);
    let mut websocket = Client::websocket(server.address, "/ws?topic=t");
    server.log.wait("opened websocket", 1);
    publish();
    stream.event();
    (0..6).for_each(|_| drop(websocket.frame()));
    eventually_eq(1 + 1 + 6, || server.totals().messages_out);
}
