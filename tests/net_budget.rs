//! What goes first when queues, histories and the log take too much together; and that a hub's heartbeats cost a heartbeat each.
#![cfg(feature = "net")]

mod net_support;

use net_support::{On, Running, config, eventually, start};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tautline::http::RequestHead;
use tautline::hub::{Budget, HubConfig, Policies, PublishError, SlowReader, TopicPolicy};
use tautline::net::{Config, Endpoint, HubSettings};
use tautline::sse::Event;

fn hub(config: Config, hub: HubConfig) -> Running {
    let request: fn(&mut net_support::Script, &RequestHead<'_>, &mut net_support::Cx<'_>) = |_, head, cx| {
        match Endpoint::of(head.path()) {
            Some(endpoint) => cx.hub(head, endpoint, &[]).unwrap(),
            None => cx.reject(404).unwrap(),
        };
    };
    let settings = HubSettings { hub, ..HubSettings::default() };
    start(&Config { hub: Some(settings), ..config }, 1, On { request, ..On::default() })
}

fn get(server: &Running, target: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(net_support::WAIT)).unwrap();
    write!(socket, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    socket
}

/// Reads until the text is there.
fn read_until(socket: &mut TcpStream, what: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(what) {
        let n = socket.read(&mut buffer).unwrap();
        assert!(n > 0, "the end before {what:?}: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    text
}

#[test]
fn histories_let_go_when_the_budget_is_spent_and_the_gap_is_told() {
    let budget = Budget { bytes: 64 << 10 };
    let server = hub(Config { budget, ..config() }, HubConfig::default());
    let data = "x".repeat(4 << 10);
    let first = server.handle.publish("a", &Event::new(&data)).unwrap();
    for _ in 0..40 {
        // The worker reads between them, so that it is histories that fill up and not the log.
        let cursor = server.handle.publish("a", &Event::new(&data)).unwrap();
        eventually("the worker has it", || server.ask(0, move |_, control| control.cursor()) == cursor);
    }
    let mut poll = get(&server, &format!("/poll?topic=a&lastId={first}"));
    let answer = read_until(&mut poll, "lastId");
    assert!(answer.contains("a expired"), "{answer}");
    let retained = answer.matches("\"data\":\"xx").count();
    assert!((8..16).contains(&retained), "{retained} of 4 KiB in 64 KiB");
}

#[test]
fn who_has_something_waiting_counts_as_slow_when_nothing_is_left_to_let_go() {
    let budget = Budget { bytes: 256 << 10 };
    let policy = TopicPolicy { slow: SlowReader::Close, ..TopicPolicy::default() };
    let server =
        hub(Config { budget, ..config() }, HubConfig { policies: Policies::new(policy), ..HubConfig::default() });
    // Two that read nothing: their queues may have a MiB each, but not together with all else.
    let stuck = [get(&server, "/events?topic=a"), get(&server, "/events?topic=a")];
    eventually("they are attached", || server.totals().transport(tautline::net::Transport::EventStream).opened == 2);
    let data = "x".repeat(64 << 10);
    let mut refused = 0;
    eventually("they are closed", || {
        match server.handle.publish("a", &Event::new(&data)) {
            Ok(_) => {}
            Err(PublishError::Budget { limit }) => {
                assert_eq!(limit, budget.bytes);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
        server.totals().slow_closed == 2
    });
    // And then there is room again.
    eventually("it can be published again", || server.handle.publish("a", &Event::new("y")).is_ok());
    drop(stuck);
}

#[test]
fn the_heartbeat_of_a_hubs_stream_is_one_position_block_an_interval() {
    let mut config = config();
    config.stream.heartbeat = Duration::from_millis(200);
    let server = hub(config, HubConfig::default());
    let mut stream = get(&server, "/events?topic=a");
    read_until(&mut stream, "\nid: ");
    let before = server.totals().turns;
    for _ in 0..3 {
        let text = read_until(&mut stream, "\n\n");
        assert!(text.contains("id: ") && !text.contains("event:"), "{text}");
    }
    // A deadline that stays in the past would make thousands.
    let turns = server.totals().turns - before;
    assert!(turns < 200, "{turns} turns for three heartbeats");
}

#[test]
fn bodies_that_are_on_their_way_count_and_nothing_is_published_while_they_take_all() {
    let server = hub(Config { budget: Budget { bytes: 2 << 20 }, ..config() }, HubConfig::default());
    let post = |target: &str, length: usize| {
        let mut socket = TcpStream::connect(server.address).unwrap();
        socket.set_read_timeout(Some(net_support::WAIT)).unwrap();
        write!(socket, "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").unwrap();
        socket
    };
    assert!(server.handle.publish("a", &Event::new("x")).is_ok());
    let body = vec![b'x'; 900_000];
    let mut bodies: Vec<_> = (0..3)
        .map(|_| {
            let mut socket = post("/publish?topic=a", body.len());
            socket.write_all(&body[1..]).unwrap();
            socket
        })
        .collect();
    eventually("they are in but for a byte", || server.totals().held == 3 * (body.len() as u64 - 1));
    assert!(matches!(server.handle.publish("a", &Event::new("x")), Err(PublishError::Budget { .. })));
    let refused = || read_until(&mut post("/publish?topic=a", 10), "\r\n\r\n").starts_with("HTTP/1.1 503");
    eventually("no further body is read", refused);
    // One that goes away, or is whole, is none any more.
    drop(bodies.pop());
    eventually("there is room", || server.handle.publish("a", &Event::new("x")).is_ok());
    for mut socket in bodies {
        socket.write_all(b"x").unwrap();
        read_until(&mut socket, "\"id\"");
    }
    eventually("nothing is on its way", || server.totals().held == 0);
}
