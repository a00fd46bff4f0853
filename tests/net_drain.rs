//! Letting go of everybody in order.
#![cfg(feature = "net")]

mod net_support;

use net_support::wire::{Client, End};
use net_support::{On, WAIT, code, config, eventually, start};
use std::net::TcpStream;
use std::time::Duration;
use tautline::http::Response;
use tautline::net::{Config, DrainConfig, Transport};

/// WebSockets, event streams and held requests of each test.
const EACH: usize = 100;

struct Clients {
    websockets: Vec<Client>,
    streams: Vec<Client>,
    held: Vec<Client>,
}

/// Opens them in a known order: websocket, stream, held; and again.
fn connect(server: &net_support::Running, each: usize) -> Clients {
    let mut clients = Clients { websockets: Vec::new(), streams: Vec::new(), held: Vec::new() };
    for number in 0..each {
        clients.websockets.push(Client::websocket(server.address, "/ws"));
        clients.streams.push(Client::stream(server.address, "/events?topic=a"));
        let mut held = Client::connect(server.address);
        held.get("/hold?topic=a");
        clients.held.push(held);
        server.log.wait("opened held", number + 1);
    }
    clients
}

/// What each must see, whatever the order; those of WebSockets answer.
fn see_the_end(clients: &mut Clients, code: u16) {
    for client in &mut clients.websockets {
        assert_eq!(client.close_frame(), code);
        client.send_close(code);
        client.expect_eof();
    }
    for client in &mut clients.streams {
        let mut text = String::new();
        loop {
            let chunk = client.try_chunk().expect("the last chunk");
            if chunk.is_empty() {
                break;
            }
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        assert!(text.lines().any(|line| line.starts_with("retry: ")), "{text}");
        client.expect_eof();
    }
    for client in &mut clients.held {
        let answer = client.response();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.head.to_lowercase().contains("retry-after: "), "{answer:?}");
        client.expect_eof();
    }
}

#[test]
fn q10_a_drain_closes_the_listeners_first_and_tells_every_connection_in_its_own_way_and_ends() {
    let server = start(&config(), 2, On::default());
    let mut clients = connect(&server, EACH);
    let mut idle = Client::connect(server.address);
    idle.get("/a");
    assert_eq!(idle.response().status, 200);
    let silent = Client::connect(server.address);
    server.handle.drain(DrainConfig { over: Duration::from_secs(1), ..DrainConfig::default() });
    let address = server.address;
    see_the_end(&mut clients, 1012);
    idle.expect_eof();
    drop((clients, idle, silent));
    let log = server.log.clone();
    let handle = server.handle.clone();
    server.join();
    assert!(TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err(), "nobody listens");
    assert_eq!(log.count("closed websocket 1012"), EACH);
    assert_eq!(log.count("closed stream"), EACH);
    assert_eq!(log.count("drained"), 3 * EACH + 2, "each connection once");
    let totals = handle.totals();
    for transport in [Transport::WebSocket, Transport::EventStream, Transport::LongPoll] {
        assert_eq!(totals.transport(transport).open(), 0, "{transport:?}");
    }
}

#[test]
fn q10_the_listener_is_closed_before_the_first_connection_is_told() {
    let on = On {
        // The first that is told tries to connect.
        drained: |script, _| {
            if script.number == 0 {
                script.number = 1;
                let to = std::env::var("NET_DRAIN_ADDRESS").unwrap().parse().unwrap();
                let refused = TcpStream::connect_timeout(&to, Duration::from_secs(1)).is_err();
                script.log.push(format!("refused {refused}"));
            }
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    // SAFETY: no other thread of this test reads the environment before the drain, and no other test reads this name.
    unsafe { std::env::set_var("NET_DRAIN_ADDRESS", server.address.to_string()) };
    let mut client = Client::websocket(server.address, "/ws");
    server.handle.drain(DrainConfig { over: Duration::ZERO, ..DrainConfig::default() });
    assert_eq!(client.close_frame(), 1012);
    server.log.wait("refused true", 1);
}

#[test]
fn q10_closes_are_spread_over_the_drain_time_in_the_order_of_slots() {
    // Far longer than a test: what is due in its first moments is a few of many, and no more.
    let server = start(&config(), 1, On::default());
    let mut websockets: Vec<_> = (0..EACH).map(|_| Client::websocket(server.address, "/ws")).collect();
    let over = EACH as u32 * WAIT;
    server.handle.drain(DrainConfig { over, ..DrainConfig::default() });
    // One is due at once, the next after WAIT.
    assert_eq!(websockets[0].close_frame(), 1012);
    let asked = server.ask(0, |script, control| (script.log.count("drained"), control.peers()));
    assert_eq!(asked, (1, EACH));
    // The others go on as before.
    for client in &mut websockets[1..] {
        client.send_text("still here");
        client.expect_text("still here");
    }
    // And nobody new: a second request on a connection that is open is refused.
    assert!(TcpStream::connect_timeout(&server.address, Duration::from_secs(1)).is_err());
}

#[test]
fn q10_those_that_do_not_close_are_gone_by_the_deadline() {
    let mut config = config();
    config.ws.close_timeout = 10 * WAIT;
    let server = start(&Config { linger: tautline::net::Linger(10 * WAIT), ..config }, 2, On::default());
    let mut clients = connect(&server, 20);
    let over = Duration::from_millis(200);
    server.handle.drain(DrainConfig { over, grace: Duration::from_millis(300), ..DrainConfig::default() });
    // None answers, none ends its side.
    let log = server.log.clone();
    server.join();
    for client in &mut clients.websockets {
        assert_eq!(client.close_frame(), 1012);
        assert_eq!(client.rest().0, b"");
    }
    assert_eq!(log.count("closed websocket"), 20);
    assert_eq!(log.count("closed stream"), 20);
    for client in clients.streams.iter_mut().chain(&mut clients.held) {
        assert!(matches!(client.rest().1, End::Eof | End::Reset));
    }
}

#[test]
fn q10_the_code_is_the_callers_choice_and_a_handler_may_say_more_or_answer_itself() {
    let on = On {
        drained: |script, cx| {
            if cx.send(tautline::net::Message::Text("goodbye")).is_err() {
                // A held request, or a stream.
                let _ = cx.respond(&Response::new(200), b"nothing new");
            }
            script.log.push("drained");
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut clients = connect(&server, 1);
    let code = code(1001);
    server.handle.drain(DrainConfig { over: Duration::ZERO, code, ..DrainConfig::default() });
    clients.websockets[0].expect_text("goodbye");
    assert_eq!(clients.websockets[0].frame().close_code(), 1001);
    let answer = clients.held[0].response();
    assert_eq!((answer.status, answer.text()), (200, "nothing new"));
    drop(clients);
    server.join();
}

#[test]
fn q10_a_connection_that_is_over_already_is_not_told_of_the_drain() {
    let server = start(&Config { linger: tautline::net::Linger(10 * WAIT), ..config() }, 1, On::default());
    let mut over = Client::websocket(server.address, "/ws");
    over.send_close(1000);
    assert_eq!(over.close_frame(), 1000);
    over.expect_eof();
    server.log.wait("closed", 1);
    let mut open = Client::websocket(server.address, "/ws");
    server.handle.drain(DrainConfig { over: Duration::ZERO, ..DrainConfig::default() });
    assert_eq!(open.close_frame(), 1012);
    assert_eq!(server.log.count("drained"), 1);
    // Its end, still awaited, does not hold up the drain beyond its deadline, nor does it once it is there.
    drop((over, open));
    server.join();
}

#[test]
fn q10_a_request_that_comes_while_draining_is_refused_and_its_connection_closed() {
    let server = start(&config(), 1, On::default());
    let mut first = Client::connect(server.address);
    let mut second = Client::connect(server.address);
    for client in [&mut first, &mut second] {
        client.get("/a");
        assert_eq!(client.response().status, 200);
    }
    server.handle.drain(DrainConfig { over: 4 * WAIT, ..DrainConfig::default() });
    eventually("the first was told", || server.log.count("drained") == 1);
    second.get("/b");
    let answer = second.response();
    assert_eq!(answer.status, 503, "{answer:?}");
    second.expect_eof();
    first.expect_eof();
}

#[test]
fn q10_a_second_drain_does_not_start_anew_and_stop_ends_a_drain_at_once() {
    let server = start(&config(), 2, On::default());
    let mut clients: Vec<_> = (0..10).map(|_| Client::websocket(server.address, "/ws")).collect();
    for _ in 0..3 {
        server.handle.drain(DrainConfig { over: 10 * WAIT, ..DrainConfig::default() });
    }
    server.handle.stop();
    let log = server.log.clone();
    server.join();
    for client in &mut clients {
        client.rest();
    }
    assert_eq!(log.count("closed websocket"), 10);
}

#[test]
fn q10_a_worker_without_connections_ends_at_once() {
    let server = start(&config(), 3, On::default());
    server.handle.drain(DrainConfig { over: 10 * WAIT, ..DrainConfig::default() });
    server.join();
}

#[test]
fn q10_a_stuck_reader_does_not_hold_up_a_drain() {
    let server = start(&config(), 1, On::default());
    let stuck = Client::connect_small(server.address, 8 << 10).upgrade("/ws?topic=all");
    for _ in 0..20 {
        server.handle.broadcast("all", tautline::net::Message::Binary(&[0; 400_000])).unwrap();
        if server.totals().queued > 0 {
            break;
        }
        server.ask(0, |_, _| ());
    }
    let grace = Duration::from_millis(300);
    server.handle.drain(DrainConfig { over: Duration::ZERO, grace, ..DrainConfig::default() });
    server.join();
    drop(stuck);
}
