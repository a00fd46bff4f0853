//! Publications: once to every subscriber, in the log's order, whatever the transport and the worker, and whoever else is slow.
#![cfg(feature = "net")]

mod net_support;

use net_support::wire::{Client, TEXT, field};
use net_support::{On, Running, config, eventually, eventually_eq, loopback, start, start_at};
use std::thread;
use tautline::hub::{Cursor, Position};
use tautline::net::{Audience, Config, ListenConfig, Message, QueueConfig, SlowPolicy, SocketBuffers};
use tautline::sse::Event;

/// The next event block, of either transport.
fn block(client: &mut Client) -> String {
    if client.chunked {
        return client.event();
    }
    let frame = client.frame();
    assert_eq!(frame.opcode, TEXT, "{frame:?}");
    frame.text().to_owned()
}

fn position(block: &str) -> Position {
    Cursor::parse(field(block, "id").unwrap()).unwrap().position
}

/// Reads so many events and returns their data, having seen that positions ascend.
fn read_all(client: &mut Client, count: usize) -> Vec<String> {
    let mut last = Position::ZERO;
    let mut data = Vec::new();
    let mut pending = Vec::new();
    while data.len() < count {
        // Publications of one turn may share a chunk.
        let text = block(client);
        pending.extend(text.split_inclusive("\n\n").map(str::to_owned));
        for block in pending.drain(..).filter(|block| field(block, "data").is_some()) {
            let at = position(&block);
            assert!(at > last, "{at:?} behind {last:?}");
            last = at;
            data.push(field(&block, "data").unwrap().to_owned());
        }
    }
    assert_eq!(data.len(), count);
    data
}

/// WebSockets that publish what they are sent: `topic data`.
fn publishing() -> On {
    On {
        message: |_, message, cx| {
            let text = std::str::from_utf8(message.as_bytes()).unwrap().to_owned();
            let (topic, data) = text.split_once(' ').unwrap();
            cx.publish(topic, &Event::new(data)).unwrap();
        },
        ..On::default()
    }
}

fn subscribers(server: &Running, target: &str, each: usize) -> Vec<Client> {
    (0..each)
        .flat_map(|_| {
            [
                Client::websocket(server.address, &format!("/ws?{target}")),
                Client::stream(server.address, &format!("/events?{target}")),
            ]
        })
        .collect()
}

#[test]
fn every_subscriber_gets_every_publication_once_and_in_one_order_across_workers_and_transports() {
    let server = start(&config(), 4, publishing());
    let mut clients = subscribers(&server, "topic=t", 12);
    server.log.wait("opened", 24);
    // From four threads, from handlers of four workers, and from calls.
    let publishers: Vec<_> = (0..4)
        .map(|thread| {
            let handle = server.handle.clone();
            let mut client = Client::websocket(server.address, "/ws");
            thread::spawn(move || {
                for number in 0..100 {
                    handle.publish("t", &Event::new(&format!("handle {thread} {number:03}"))).unwrap();
                    client.send_text(&format!("t socket {thread} {number:03}"));
                    let event = format!("call {thread} {number:03}");
                    handle
                        .call(thread, move |_, control| {
                            control.publish("t", &Event::new(&event)).unwrap();
                        })
                        .unwrap();
                }
                client
            })
        })
        .collect();
    let all: Vec<_> = clients.iter_mut().map(|client| read_all(client, 1200)).collect();
    let publishers: Vec<_> = publishers.into_iter().map(|thread| thread.join().unwrap()).collect();
    for (number, of_one) in all.iter().enumerate() {
        assert!(of_one == &all[0], "client {number} saw another order");
    }
    // Each publisher's own in its own order, each once.
    for kind in ["handle", "socket", "call"] {
        for thread in 0..4 {
            let start = format!("{kind} {thread} ");
            let of_one: Vec<_> = all[0].iter().filter(|data| data.starts_with(&start)).collect();
            assert_eq!(of_one.len(), 100, "{start}");
            assert!(of_one.is_sorted(), "{start}");
        }
    }
    drop(publishers);
    eventually_eq(1200, || server.totals().publications);
}

#[test]
fn blocked_peers_among_the_subscribers_get_everything_too_when_they_read_on() {
    // 50 publications of 10 KB: less than a queue, more than the small buffers in the kernel.
    let buffers = SocketBuffers { send: Some(16 << 10), receive: None };
    let slow = SlowPolicy::Drop;
    let config = Config { queue: QueueConfig { slow, ..QueueConfig::default() }, ..config() };
    let server = start_at(&config, 2, ListenConfig { buffers, ..loopback() }, On::default());
    let mut blocked: Vec<_> = (0..4)
        .flat_map(|_| {
            let websocket = Client::connect_small(server.address, 4 << 10).upgrade("/ws?topic=t");
            [websocket, Client::connect_small(server.address, 4 << 10).subscribe("/events?topic=t")]
        })
        .collect();
    let mut readers = subscribers(&server, "topic=t", 4);
    server.log.wait("opened", 16);
    let filler = "x".repeat(10_000);
    for number in 0..50 {
        server.handle.publish("t", &Event::new(&format!("{number} {filler}"))).unwrap();
        for client in &mut readers {
            assert!(field(&block(client), "data").unwrap().starts_with(&format!("{number} ")));
        }
    }
    assert!(server.totals().queued > 0);
    for client in &mut blocked {
        let data = read_all(client, 50);
        for (number, data) in data.iter().enumerate() {
            assert!(data.starts_with(&format!("{number} ")) && data.ends_with(&filler[..100]));
        }
    }
    eventually_eq(0, || server.totals().queued);
    assert_eq!(server.totals().dropped, 0);
    // And goes the short way again.
    server.handle.publish("t", &Event::new("again")).unwrap();
    for client in blocked.iter_mut().chain(&mut readers) {
        assert_eq!(field(&block(client), "data"), Some("again"));
    }
}

#[test]
fn a_subscriber_of_several_topics_gets_exactly_these_in_the_order_of_everything() {
    let server = start(&config(), 2, publishing());
    let mut both = subscribers(&server, "topic=a&topic=b", 3);
    let mut one = subscribers(&server, "topic=b", 3);
    let mut none = Client::websocket(server.address, "/ws");
    server.log.wait("opened", 13);
    for number in 0..300 {
        let topic = ["a", "b", "c"][number % 3];
        server.handle.publish(topic, &Event::new(&format!("{topic} {number}"))).unwrap();
    }
    let expected = |topics: &[usize]| -> Vec<String> {
        let of = |number: &usize| topics.contains(&(number % 3));
        (0..300).filter(of).map(|number| format!("{} {number}", ["a", "b", "c"][number % 3])).collect()
    };
    for client in &mut both {
        assert_eq!(read_all(client, 200), expected(&[0, 1]));
    }
    for client in &mut one {
        assert_eq!(read_all(client, 100), expected(&[1]));
    }
    none.send_close(1000);
    assert_eq!(none.frame().close_code(), 1000, "and nothing before it");
}

#[test]
fn others_are_all_subscribers_but_the_sender_on_every_worker() {
    let on = On {
        message: |_, message, cx| {
            cx.broadcast("room", message, Audience::Others).unwrap();
            let event = Event::new("event");
            cx.broadcast_event("room", &event, Audience::Others).unwrap();
            cx.send(Message::Text("end")).unwrap();
        },
        ..On::default()
    };
    let server = start(&config(), 3, on);
    let mut clients: Vec<_> = (0..9).map(|_| Client::websocket(server.address, "/ws?topic=room")).collect();
    let mut stream = Client::stream(server.address, "/events?topic=room");
    server.log.wait("opened", 10);
    for sender in 0..9 {
        clients[sender].send_text(&format!("from {sender}"));
        for (number, client) in clients.iter_mut().enumerate() {
            if number == sender {
                client.expect_text("end");
            } else {
                client.expect_text(&format!("from {sender}"));
                assert_eq!(field(client.frame().text(), "data"), Some("event"));
            }
        }
        // A message is for WebSockets alone.
        let block = stream.event();
        assert_eq!((field(&block, "data"), field(&block, "id")), (Some("event"), None));
    }
}

#[test]
fn who_subscribes_gets_what_comes_after_and_who_unsubscribes_gets_no_more() {
    let on = On {
        message: |_, message, cx| match message.as_bytes() {
            b"join" => {
                cx.subscribe("t").unwrap();
                assert_eq!(cx.topics().collect::<Vec<_>>(), ["t"]);
                cx.send(Message::Text("joined")).unwrap();
            }
            b"leave" => {
                let _ = cx.unsubscribe("t");
                assert_eq!(cx.topics().count(), 0);
                cx.send(Message::Text("left")).unwrap();
            }
            // One that publishes and leaves at once: its own publication comes later than that.
            b"publish and leave" => {
                cx.publish("t", &Event::new("by one that left")).unwrap();
                let _ = cx.unsubscribe("t");
                cx.send(Message::Text("left")).unwrap();
            }
            _ => {
                cx.publish("t", &Event::new("x")).unwrap();
            }
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut one = Client::websocket(server.address, "/ws");
    let mut two = Client::websocket(server.address, "/ws?topic=t");
    for _ in 0..3 {
        two.send_text("p");
        assert_eq!(field(two.frame().text(), "data"), Some("x"));
        one.send_text("join");
        one.expect_text("joined");
        two.send_text("p");
        assert_eq!(field(two.frame().text(), "data"), Some("x"));
        assert_eq!(field(one.frame().text(), "data"), Some("x"));
        one.send_text("leave");
        one.expect_text("left");
        one.send_text("join");
        one.expect_text("joined");
        one.send_text("publish and leave");
        one.expect_text("left");
        assert_eq!(field(two.frame().text(), "data"), Some("by one that left"));
    }
    one.send_close(1000);
    assert_eq!(one.frame().close_code(), 1000);
}

#[test]
fn a_subscription_ends_with_its_connection_and_is_not_inherited_by_the_next_of_its_slot() {
    let server = start(&config(), 1, On::default());
    for _ in 0..20 {
        let mut first = Client::websocket(server.address, "/ws?topic=t");
        first.send_close(1000);
        assert_eq!(first.frame().close_code(), 1000);
        drop(first);
        server.wait_for_no_peers();
        let mut second = Client::websocket(server.address, "/ws");
        server.handle.publish("t", &Event::new("for nobody")).unwrap();
        server.ask(0, |_, _| ());
        second.send_text("echo");
        second.expect_text("echo");
        drop(second);
        server.wait_for_no_peers();
    }
}

#[test]
fn a_held_request_is_answered_by_the_first_publication_to_its_topic_on_any_worker() {
    let server = start(&config(), 3, On::default());
    let mut held: Vec<_> = (0..9)
        .map(|_| {
            let mut client = Client::connect(server.address);
            client.get("/hold?topic=t");
            client
        })
        .collect();
    server.log.wait("opened held", 9);
    server.handle.publish("other", &Event::new("not for these")).unwrap();
    for number in 0..3 {
        server.handle.publish("t", &Event::new(&number.to_string())).unwrap();
    }
    for client in &mut held {
        let answer = client.response();
        assert_eq!(field(answer.text(), "data"), Some("0"));
        // One answer, not three.
        client.get("/after");
        assert_eq!(client.response().text(), "/after");
    }
}

#[test]
fn a_fragmented_message_of_the_applications_own_is_not_torn_by_a_publication() {
    let on = On {
        message: |script, message, cx| match message.as_bytes() {
            b"begin" => {
                let (ws, out) = cx.websocket().unwrap();
                ws.begin(tautline::ws::Kind::Text, b"one ", out).unwrap();
                script.log.push("begun");
            }
            _ => {
                let (ws, out) = cx.websocket().unwrap();
                ws.finish(b"two", out).unwrap();
            }
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut client = Client::websocket(server.address, "/ws?topic=t");
    let mut other = Client::websocket(server.address, "/ws?topic=t");
    client.send_text("begin");
    server.log.wait("begun", 1);
    server.handle.publish("t", &Event::new("between")).unwrap();
    assert_eq!(field(other.frame().text(), "data"), Some("between"));
    client.send_text("end");
    let first = client.frame();
    assert_eq!((first.fin, first.opcode, first.text()), (false, TEXT, "one "));
    // It cannot wait for an end that may never come, but is not lost without a word.
    let second = client.frame();
    assert_eq!((second.fin, second.opcode, second.text()), (true, 0, "two"));
    server.log.wait("lost 1", 1);
    assert_eq!(server.totals().dropped, 1);
}

#[test]
fn a_full_sequence_refuses_the_publisher_and_blocks_no_worker() {
    let mut config = config();
    config.sequence.entries = 16;
    let on = On {
        message: |_, _, cx| {
            let sent = (0..100).filter(|number| cx.publish("t", &Event::new(&format!("{number}"))).is_ok()).count();
            cx.send(Message::Text(&format!("published {sent}"))).unwrap();
        },
        ..On::default()
    };
    let server = start(&config, 1, on);
    let mut client = Client::websocket(server.address, "/ws?topic=t");
    for _ in 0..3 {
        client.send_text("go");
        client.expect_text("published 16");
        for number in 0..16 {
            assert_eq!(field(client.frame().text(), "data"), Some(&*number.to_string()));
        }
    }
    eventually("there is room again", || server.handle.publish("t", &Event::new("x")).is_ok());
}

#[test]
fn a_name_or_event_that_may_not_be_is_refused_and_nothing_is_sent() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::websocket(server.address, "/ws?topic=t");
    for topic in ["", "a\nb", "a\0b", &"x".repeat(10_000)] {
        server.handle.publish(topic, &Event::new("x")).unwrap_err();
        server.handle.broadcast(topic, Message::Text("x")).unwrap_err();
    }
    server.handle.publish("t", &Event::new("x").with_event("a\rb")).unwrap_err();
    server.handle.publish("t", &Event::new("x").with_event("tautline.gap")).unwrap_err();
    server.handle.publish("t", &Event::new("good")).unwrap();
    assert_eq!(field(client.frame().text(), "data"), Some("good"));
}
