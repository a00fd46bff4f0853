//! How connections end: the last bytes arrive, and the handler hears of each end exactly once.
#![cfg(feature = "net")]

mod net_support;

use net_support::wire::{self, BINARY, CLOSE, Client, End, TEXT};
use net_support::{On, WAIT, code, config, eventually, eventually_eq, start};
use std::thread;
use std::time::{Duration, Instant};
use tautline::http;
use tautline::net::{Config, Linger, Transport};

#[test]
fn an_echo_comes_back_and_a_close_is_answered_and_the_slot_is_free() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::websocket(server.address, "/ws");
    client.send_text("hello");
    client.expect_text("hello");
    client.send(CLOSE, &wire_close(4001, "enough"));
    let close = client.frame();
    assert_eq!(close.close_code(), 4001);
    client.expect_eof();
    drop(client);
    server.wait_for_no_peers();
    assert_eq!(server.log.all(), ["opened websocket", "closed websocket 4001 enough"]);
}

#[test]
fn a_peer_that_leaves_after_the_close_handshake_is_forgotten_before_the_linger_deadline() {
    // Far beyond the length of a test: only the client's end can free the slot.
    let config = Config { linger: Linger(100 * WAIT), ..config() };
    let server = start(&config, 1, On::default());
    for _ in 0..3 {
        let mut client = Client::websocket(server.address, "/ws");
        client.send_close(1000);
        assert_eq!(client.frame().close_code(), 1000);
        client.expect_eof();
    }
    server.wait_for_no_peers();
}

#[test]
fn a_peer_that_never_ends_its_side_is_cut_off_at_the_linger_deadline_and_costs_no_turns_meanwhile() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::websocket(server.address, "/ws");
    client.send_close(1000);
    assert_eq!(client.frame().close_code(), 1000);
    client.expect_eof();
    // It stays, and says no more.
    let before = server.totals().turns;
    eventually("the slot is free", || {
        thread::sleep(Duration::from_millis(20));
        server.peers() == 0
    });
    // Each look is a call of its own: some 15 of them, one turn each, and one for the deadline.
    let turns = server.totals().turns - before;
    assert!(turns < 200, "{turns} turns for one deadline");
    drop(client);
}

#[test]
fn the_close_frame_reaches_a_client_that_sent_data_behind_its_own() {
    let server = start(&config(), 1, On::default());
    for _ in 0..20 {
        let mut client = Client::websocket(server.address, "/ws");
        let mut bytes = wire::frame(0x80 | CLOSE, &wire_close(1000, ""));
        // More than a read of the server's: what is left unread would reset the connection and destroy the Close frame.
        bytes.extend(wire::frame(0x80 | BINARY, &[7; 200 << 10]));
        client.write(&bytes);
        assert_eq!(client.close_frame(), 1000);
        client.expect_eof();
    }
    server.log.wait("closed websocket 1000", 20);
    assert_eq!(server.totals().messages_in, 0, "data behind a Close is no message");
}

#[test]
fn the_close_frame_of_a_failed_connection_reaches_a_client_that_goes_on_sending() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::websocket(server.address, "/ws");
    // Unmasked.
    client.write(&[0x81, 1, b'a']);
    client.write(&vec![0; 300 << 10]);
    assert_eq!(client.close_frame(), 1002);
    client.expect_eof();
    drop(client);
    server.wait_for_no_peers();
}

#[test]
fn an_error_answer_reaches_a_client_that_goes_on_sending() {
    let server = start(&config(), 1, On::default());
    let cases: [(&[u8], u16); 4] = [
        (b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nContent-Length: 4\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ];
    for (request, status) in cases {
        let mut client = Client::connect(server.address);
        client.write(request);
        for _ in 0..16 {
            // As a client that looks for no answer before it has sent all.
            client.write(&[b'x'; 16 << 10]);
        }
        let answer = client.response();
        assert_eq!(answer.status, status, "{answer:?}");
        client.expect_eof();
    }
    server.wait_for_no_peers();
}

#[test]
fn a_client_that_floods_behind_its_error_is_cut_off_by_the_linger_deadline() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::connect(server.address);
    client.write(b"BAD\r\n\r\n");
    let until = Instant::now() + WAIT;
    // Until it is reset: whoever reads and drops must not do so for ever.
    while std::io::Write::write_all(&mut client.stream, &[b'x'; 4096]).is_ok() {
        assert!(Instant::now() < until, "it is still read from");
        thread::sleep(Duration::from_millis(1));
    }
    server.wait_for_no_peers();
}

#[test]
fn f22_a_reset_in_the_middle_of_a_message_is_one_closed_with_1006_and_no_message() {
    let server = start(&config(), 1, On::default());
    for _ in 0..10 {
        let mut client = Client::websocket(server.address, "/ws");
        let whole = wire::frame(0x80 | TEXT, &[b'a'; 100_000]);
        client.write(&whole[..70_000]);
        client.reset();
    }
    server.log.wait("closed websocket 1006", 10);
    server.wait_for_no_peers();
    assert_eq!((server.log.count("closed"), server.totals().messages_in), (10, 0));
}

#[test]
fn f22_an_end_in_the_middle_of_a_message_is_one_closed_with_1006() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::websocket(server.address, "/ws");
    let whole = wire::frame(0x80 | TEXT, &[b'a'; 100_000]);
    client.write(&whole[..70_000]);
    client.finish();
    client.expect_eof();
    server.log.wait("closed websocket 1006", 1);
    drop(client);
    server.wait_for_no_peers();
    assert_eq!(server.log.count("closed"), 1);
}

#[test]
fn what_came_before_a_half_close_is_answered_before_the_connection_ends() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::websocket(server.address, "/ws");
    for number in 0..100 {
        client.send_text(&number.to_string());
    }
    client.finish();
    for number in 0..100 {
        client.expect_text(&number.to_string());
    }
    client.expect_eof();
    server.wait_for_no_peers();
    let mut client = Client::connect(server.address);
    client.get("/a");
    client.get("/b");
    client.finish();
    assert_eq!((client.response().text(), client.response().text()), ("/a", "/b"));
    client.expect_eof();
    server.wait_for_no_peers();
}

#[test]
fn q7_writing_to_a_peer_that_is_gone_ends_it_once_and_the_process_lives() {
    // SIGPIPE would end this process; the handlers of Rust's `main` switch it off, so it is switched on again.
    // SAFETY: the default action is no function of this process, so nothing is called in a signal's context.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let server = start(&config(), 1, On::default());
    for number in 0..50 {
        let client = Client::websocket(server.address, &format!("/ws?topic=all&name={number}"));
        if number % 2 == 0 {
            client.reset();
        }
        server.handle.broadcast("all", tautline::net::Message::Binary(&[1; 50_000])).unwrap();
        server.handle.broadcast("all", tautline::net::Message::Binary(&[2; 50_000])).unwrap();
    }
    server.log.wait("closed websocket 1006", 50);
    server.wait_for_no_peers();
    assert_eq!(server.log.count("closed"), 50);
    // And a socket that takes nothing more, by a stream and by a held request.
    Client::stream(server.address, "/events?topic=all").reset();
    let mut held = Client::connect(server.address);
    held.get("/hold?topic=all");
    server.log.wait("opened held", 1);
    held.reset();
    server.handle.publish("all", &tautline::sse::Event::new("x")).unwrap();
    server.wait_for_no_peers();
    server.log.wait("closed stream", 1);
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

#[test]
fn every_open_has_exactly_one_closed_whoever_ends_it_and_however() {
    let server = start(&config(), 2, On::default());
    for round in 0..60 {
        let mut client = Client::websocket(server.address, "/ws");
        match round % 6 {
            0 => client.reset(),
            1 => drop(client),
            2 => client.finish(),
            3 => client.send_close(1000),
            4 => client.write(&[0xff, 0xff]),
            _ => {
                client.send_close(1000);
                client.send_close(1001);
                client.reset();
            }
        }
        let stream = Client::stream(server.address, "/events?topic=x");
        if round % 2 == 0 {
            stream.reset();
        }
        let mut held = Client::connect(server.address);
        held.get("/hold?topic=x");
        if round % 2 == 0 {
            server.log.wait("opened held", round + 1);
            held.reset();
        }
    }
    server.wait_for_no_peers();
    for what in ["websocket", "stream", "held"] {
        assert_eq!(server.log.count(&format!("opened {what}")), 60, "{what}");
        assert_eq!(server.log.count(&format!("closed {what}")), 60, "{what}");
    }
    let totals = server.totals();
    for transport in [Transport::WebSocket, Transport::EventStream, Transport::LongPoll] {
        let of = totals.transport(transport);
        assert_eq!((of.opened, of.closed, of.open()), (60, 60, 0), "{transport:?}");
    }
    assert_eq!(totals.queued, 0);
}

#[test]
fn stopping_tells_the_handler_of_every_connection_and_closes_every_socket() {
    let mut server = start(&config(), 2, On::default());
    let mut clients: Vec<_> = (0..10).map(|_| Client::websocket(server.address, "/ws")).collect();
    clients.extend((0..10).map(|_| Client::stream(server.address, "/events?topic=a")));
    let mut held = Client::connect(server.address);
    held.get("/hold?topic=a");
    server.log.wait("opened", 21);
    drop(server.server.take());
    for client in &mut clients {
        client.rest();
    }
    held.rest();
    assert_eq!(server.log.count("closed websocket 1006"), 10);
    assert_eq!((server.log.count("closed stream"), server.log.count("closed held")), (10, 1));
}

#[test]
fn c7_a_peer_that_does_not_answer_our_close_but_goes_on_sending_is_cut_off() {
    let mut config = config();
    config.ws.close_timeout = Duration::from_millis(300);
    let on = On { message: |_, _, cx| cx.close(code(4000), "go"), ..On::default() };
    let server = start(&config, 1, on);
    let mut client = Client::websocket(server.address, "/ws");
    client.send_text("x");
    assert_eq!(client.frame().close_code(), 4000);
    let until = Instant::now() + WAIT;
    while std::io::Write::write_all(&mut client.stream, &wire::frame(0x89, b"still here")).is_ok() {
        assert!(Instant::now() < until, "the deadline is put off by what comes");
        thread::sleep(Duration::from_millis(5));
    }
    server.wait_for_no_peers();
    assert_eq!(server.log.count("closed"), 1);
}

#[test]
fn h24_a_head_that_trickles_in_is_answered_408_at_its_deadline_which_bytes_do_not_renew() {
    let http = http::ServerConfig { head_deadline: Duration::from_millis(400), ..http::ServerConfig::default() };
    let server = start(&Config { http, ..config() }, 1, On::default());
    let mut client = Client::connect(server.address);
    client.write(b"GET / HTTP/1.1\r\nHost: a\r\n");
    let until = Instant::now() + WAIT;
    while std::io::Write::write_all(&mut client.stream, b"X-A: b\r\n").is_ok() {
        assert!(Instant::now() < until, "bytes renew the deadline");
        thread::sleep(Duration::from_millis(20));
        if server.totals().transport(Transport::Http).failed > 0 {
            break;
        }
    }
    server.wait_for_no_peers();
    let (answer, _) = client.rest();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn h24_a_later_head_that_stops_is_answered_408() {
    let http = http::ServerConfig { head_deadline: Duration::from_millis(200), ..http::ServerConfig::default() };
    let server = start(&Config { http, ..config() }, 1, On::default());
    let mut client = Client::connect(server.address);
    client.get("/first");
    assert_eq!(client.response().text(), "/first");
    client.write(b"GET /second HTTP/1.1\r\nHo");
    assert_eq!(client.response().status, 408);
    client.expect_eof();
}

#[test]
fn q5_a_connection_that_sends_nothing_is_closed_at_the_head_deadline() {
    let http = http::ServerConfig { head_deadline: Duration::from_millis(200), ..http::ServerConfig::default() };
    let server = start(&Config { http, ..config() }, 1, On::default());
    let mut silent: Vec<_> = (0..100).map(|_| Client::connect(server.address)).collect();
    for client in &mut silent {
        client.expect_eof();
    }
    // Their side stays open: the linger deadline ends it.
    server.wait_for_no_peers();
    // The turns of the hundred deadlines and of what was asked above, not of a loop that spins.
    let turns = server.totals().turns;
    assert!(turns < 20_000, "{turns} turns");
}

#[test]
fn q5_an_idle_keep_alive_connection_is_closed_at_its_deadline_and_not_at_the_heads() {
    let http = http::ServerConfig {
        head_deadline: Duration::from_millis(50),
        idle_deadline: Duration::from_millis(600),
        ..http::ServerConfig::default()
    };
    let server = start(&Config { http, ..config() }, 1, On::default());
    let mut client = Client::connect(server.address);
    client.get("/a");
    assert_eq!(client.response().status, 200);
    // Longer than a head may take, shorter than the connection may idle.
    thread::sleep(Duration::from_millis(150));
    client.get("/b");
    assert_eq!(client.response().status, 200);
    client.expect_eof();
}

#[test]
fn k4_a_peer_that_answers_no_ping_is_closed_and_one_that_does_stays() {
    let mut config = config();
    config.ws.heartbeat = Some(tautline::heartbeat::HeartbeatConfig {
        interval: Duration::from_millis(100),
        deadline: Duration::from_millis(400),
        jitter_percent: 0,
    });
    config.ws.close_timeout = Duration::from_millis(200);
    let server = start(&config, 1, On::default());
    let mut silent = Client::websocket(server.address, "/ws");
    let mut alive = Client::websocket(server.address, "/ws");
    for _ in 0..15 {
        let ping = alive.frame();
        assert_eq!(ping.opcode, wire::PING);
        alive.send(wire::PONG, &ping.payload);
    }
    eventually("the silent one is closed", || server.log.count("closed") == 1);
    alive.send_text("here");
    loop {
        let frame = alive.frame();
        if frame.opcode == TEXT {
            break;
        }
        alive.send(wire::PONG, &frame.payload);
    }
    let (_, end) = silent.rest();
    assert_eq!(end, End::Eof);
    eventually("a round trip was measured", || server.totals().round_trips.count() > 0);
    eventually_eq(1, || server.totals().transport(Transport::WebSocket).open());
}

fn wire_close(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}
