//! What handlers may do from inside their calls, and in which order it happens.
#![cfg(feature = "net")]

mod net_support;

use net_support::wire::{self, Client, End, field};
use net_support::{On, WAIT, code, config, eventually, eventually_eq, start};
use std::time::Duration;
use tautline::http::Response;
use tautline::net::{Audience, DrainConfig, Message, PostError, SendError, Transport};
use tautline::sse::Event;
use tautline::ws::Prepared;

// Requests.

#[test]
fn pipelined_requests_are_answered_in_order_also_behind_a_body_and_behind_a_held_one() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::connect(server.address);
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let post = |body: &str| format!("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let chunked =
        "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let all = [&request("/1"), &post("two"), chunked, &request("/hold?topic=t"), &request("/5"), &post("six")].concat();
    client.write(all.as_bytes());
    assert_eq!(client.response().text(), "/1");
    assert_eq!(client.response().text(), "two");
    assert_eq!(client.response().text(), "abcde");
    server.log.wait("opened held", 1);
    server.ask(0, |_, _| ());
    assert_eq!(server.totals().requests, 4, "those behind the held one wait");
    server.handle.publish("t", &Event::new("now")).unwrap();
    assert_eq!(field(client.response().text(), "data"), Some("now"));
    assert_eq!(client.response().text(), "/5");
    assert_eq!(client.response().text(), "six");
    assert_eq!(server.log.count("closed"), 0, "an answered hold is no loss");
    let held = server.totals().transport(Transport::LongPoll).clone();
    assert_eq!((held.opened, held.closed), (1, 1));
}

#[test]
fn requests_cut_at_every_byte_are_answered_alike() {
    let server = start(&config(), 1, On::default());
    let all = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ntwoGET /3 HTTP/1.1\r\nHost: a\r\n\r\n";
    for cut in 1..all.len() {
        let mut client = Client::connect(server.address);
        client.write(&all[..cut]);
        // So that the server sees it by itself, mostly.
        std::thread::yield_now();
        client.write(&all[cut..]);
        let answers = [client.response(), client.response(), client.response()];
        assert_eq!(answers.each_ref().map(|answer| answer.text()), ["/1", "two", "/3"], "cut at {cut}");
    }
}

#[test]
fn a_request_that_the_handler_does_not_answer_is_answered_500_and_the_connection_goes_on() {
    let server = start(&config(), 1, On { body: |_, _, _| {}, ..On::default() });
    let mut client = Client::connect(server.address);
    client.get("/nothing");
    assert_eq!(client.response().status, 500);
    client.write(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response().status, 500);
    client.get("/next");
    assert_eq!(client.response().text(), "/next");
}

#[test]
fn a_hold_that_nobody_ends_is_answered_204_and_one_that_its_timer_answers_is_not() {
    let on = On {
        request: |_, head, cx| {
            *cx.state() = u64::from(head.path() == "/answered");
            cx.hold(Duration::from_millis(30));
        },
        timer: |script, cx| {
            script.log.push("timer");
            if *cx.state() == 1 {
                cx.respond(&Response::new(200), b"timer").unwrap();
            }
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut client = Client::connect(server.address);
    for _ in 0..3 {
        client.get("/");
        assert_eq!(client.response().status, 204);
        client.get("/answered");
        assert_eq!(client.response().text(), "timer");
    }
    assert_eq!((server.log.count("timer"), server.log.count("closed")), (6, 0));
    let held = server.totals().transport(Transport::LongPoll).clone();
    assert_eq!((held.opened, held.closed), (6, 6));
}

#[test]
fn a_hold_that_was_answered_has_no_timer_any_more() {
    let on = On {
        request: |_, head, cx| match head.path() {
            "/hold" => {
                cx.hold(Duration::from_millis(50));
                cx.subscribe("t").unwrap();
            }
            _ => cx.respond(&Response::new(200), b"").unwrap(),
        },
        // As one may well write it.
        timer: |_, cx| cx.respond(&Response::new(204), b"").unwrap(),
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut client = Client::connect(server.address);
    client.get("/hold");
    eventually_eq(1, || server.totals().transport(Transport::LongPoll).open());
    server.handle.publish("t", &Event::new("x")).unwrap();
    assert_eq!(client.response().status, 200);
    std::thread::sleep(Duration::from_millis(150));
    client.get("/again");
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_hold_that_becomes_a_stream_is_no_open_long_poll_and_its_timer_is_gone() {
    let on = On {
        request: |_, _, cx| {
            cx.hold(Duration::from_millis(200));
            cx.subscribe("t").unwrap();
        },
        publication: |_, publication, cx| {
            if cx.begin_stream(&[]).is_ok() {
                let _ = cx.send_event(&Event::new(publication.topic()));
            }
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let open = |transport| server.totals().transport(transport).open();
    let mut client = Client::connect(server.address);
    client.get("/");
    eventually_eq(1, || open(Transport::LongPoll));
    assert_eq!(open(Transport::Http), 1, "a hold's connection is HTTP");
    server.handle.publish("t", &Event::new("x")).unwrap();
    eventually_eq(1, || open(Transport::EventStream));
    assert_eq!((open(Transport::LongPoll), open(Transport::Http)), (0, 0));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.log.count("timer"), 0, "the hold's timer");
    drop(client);
    server.wait_for_no_peers();
    assert_eq!((open(Transport::EventStream), open(Transport::LongPoll), open(Transport::Http)), (0, 0, 0));
    assert_eq!(server.log.count("closed"), 1, "{:?}", server.log.all());
}

#[test]
fn a_held_client_that_goes_away_is_reported_at_once_and_its_slot_is_free() {
    let server = start(&config(), 1, On::default());
    for round in 1..=10 {
        let mut client = Client::connect(server.address);
        client.get("/hold?topic=t");
        server.log.wait("opened held", round);
        drop(client);
        server.log.wait("closed held", round);
    }
    server.wait_for_no_peers();
}

#[test]
fn h13_a_frame_in_the_same_read_as_the_request_is_delivered() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::connect(server.address);
    let mut bytes = wire::upgrade_request("/ws").into_bytes();
    bytes.extend(wire::frame(0x81, b"early"));
    client.write(&bytes);
    assert_eq!(client.response().status, 101);
    client.expect_text("early");
}

// Calls from inside calls.

#[test]
fn a_handler_closes_itself_and_what_it_sends_after_is_refused() {
    let on = On {
        message: |script, _, cx| {
            cx.send(Message::Text("last")).unwrap();
            cx.close(code(4000), "done");
            let refused = cx.send(Message::Text("too late"));
            script.log.push(format!("refused {}", matches!(refused, Err(SendError::WebSocket(_)))));
            cx.close(code(4001), "twice");
        },
        closed: |script, _, cx| {
            script.log.push(format!("in closed {:?}", cx.send(Message::Text("gone")).is_err()));
            // All of these are harmless on a connection that is over.
            cx.close(code(4002), "");
            let _ = cx.subscribe("t");
            cx.set_timer(Duration::ZERO);
            cx.notify_writable();
            cx.pause();
            cx.resume();
            let id = cx.id();
            cx.close_peer(id, code(4003), "");
            cx.send_to(id, Prepared::text("to itself"));
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    for _ in 0..5 {
        let mut client = Client::websocket(server.address, "/ws");
        client.send_text("x");
        client.expect_text("last");
        assert_eq!(client.frame().close_code(), 4000);
        client.send_close(4000);
        client.expect_eof();
    }
    server.wait_for_no_peers();
    server.handle.broadcast("t", Message::Text("nobody")).unwrap();
    eventually("all is quiet", || server.peers() == 0);
    assert_eq!(server.log.count("refused true"), 5);
    assert_eq!(server.log.count("in closed true"), 5);
    assert_eq!(server.log.count("closed websocket 4000"), 5);
    assert_eq!((server.log.count("timer"), server.log.count("writable")), (0, 0));
}

#[test]
fn what_a_call_asks_of_others_happens_in_the_order_of_the_calls_and_publications_after_that() {
    let on = On {
        opened: |script, cx| {
            let name = format!("peer {}", script.number);
            script.number += 1;
            script.remember(name, cx);
            cx.subscribe("t").unwrap();
        },
        message: |script, _, cx| {
            let other = script.id("peer 0");
            cx.publish("t", &Event::new("published first")).unwrap();
            cx.send_to(other, Prepared::text("sent first"));
            cx.broadcast("t", Message::Text("broadcast"), Audience::Others).unwrap();
            cx.send_to(other, Prepared::text("sent second"));
            cx.send(Message::Text("own")).unwrap();
            cx.close_peer(other, code(4000), "sent third");
            cx.send_to(other, Prepared::text("behind its close"));
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut other = Client::websocket(server.address, "/ws");
    let mut third = Client::websocket(server.address, "/ws");
    let mut caller = Client::websocket(server.address, "/ws");
    caller.send_text("go");
    other.expect_text("sent first");
    other.expect_text("sent second");
    assert_eq!(other.frame().close_code(), 4000);
    caller.expect_text("own");
    assert_eq!(field(caller.frame().text(), "data"), Some("published first"));
    assert_eq!(field(third.frame().text(), "data"), Some("published first"));
    third.expect_text("broadcast");
    // `Others`: the caller has nothing more.
    caller.send_close(1000);
    assert_eq!(caller.frame().close_code(), 1000);
}

#[test]
fn replies_of_one_turn_leave_before_what_is_published_in_it_and_in_one_piece() {
    let on = On {
        opened: |_, cx| {
            cx.subscribe("t").unwrap();
        },
        message: |_, message, cx| {
            cx.broadcast("t", message, Audience::All).unwrap();
            cx.send(message).unwrap();
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut client = Client::websocket(server.address, "/ws");
    let mut bytes = Vec::new();
    (0..10).for_each(|number| bytes.extend(wire::frame(0x81, number.to_string().as_bytes())));
    client.write(&bytes);
    let got: Vec<String> = (0..20).map(|_| client.frame().text().to_owned()).collect();
    let expected: Vec<String> = (0..10).chain(0..10).map(|number| number.to_string()).collect();
    assert_eq!(got, expected);
}

#[test]
fn sending_to_and_closing_peers_that_are_gone_or_of_other_workers_does_no_harm() {
    let on = On {
        opened: |script, cx| {
            script.number += 1;
            script.remember(format!("{} of worker {}", script.number, script.worker), cx);
        },
        message: |script, message, cx| {
            let ids: Vec<_> = script.ids.lock().unwrap().values().copied().collect();
            for id in ids {
                if message == Message::Text("close") {
                    cx.close_peer(id, code(4000), "by another");
                } else {
                    cx.send_to(id, message.prepare());
                }
            }
        },
        ..On::default()
    };
    let server = start(&config(), 3, on);
    let mut clients: Vec<_> = (0..12).map(|_| Client::websocket(server.address, "/ws")).collect();
    server.log.wait("opened", 12);
    drop(clients.split_off(8));
    server.log.wait("closed", 4);
    eventually_eq(12, || server.ids.lock().unwrap().len());
    clients[0].send_text("hello");
    clients[0].expect_text("hello");
    clients[0].send_text("close");
    for (number, client) in clients.iter_mut().enumerate() {
        if number > 0 {
            client.expect_text("hello");
        }
        assert_eq!(client.frame().close_code(), 4000);
        client.send_close(4000);
        client.expect_eof();
    }
    server.wait_for_no_peers();
    assert_eq!(server.log.count("closed websocket 4000"), 8);
}

#[test]
fn draining_and_stopping_from_inside_a_call_ends_the_worker_after_the_call() {
    for what in ["drain", "stop"] {
        let on = On {
            started: |_, control| control.set_alarm(Duration::from_millis(100)),
            alarm: |script, control| {
                // Whoever is there hears of it; repeated calls change nothing.
                script.log.push(format!("alarm {}", control.peers()));
                if script.log.count("what drain") > 0 {
                    control.drain(DrainConfig { over: Duration::ZERO, ..DrainConfig::default() });
                    control.drain(DrainConfig::default());
                } else {
                    control.stop();
                    control.stop();
                }
                control.publish("t", &Event::new("too late for anyone")).unwrap();
            },
            ..On::default()
        };
        let server = start(&config(), 1, on);
        server.log.push(format!("what {what}"));
        let mut client = Client::websocket(server.address, "/ws?topic=t");
        if what == "drain" {
            let code = client.close_frame();
            assert_eq!(code, 1012);
            client.send_close(code);
        }
        client.rest();
        drop(client);
        let log = server.log.clone();
        server.join();
        assert_eq!(log.count("alarm"), 1);
        assert_eq!(log.count("opened"), log.count("closed"), "{what}");
    }
}

#[test]
fn calls_from_other_threads_run_once_each_in_the_order_of_one_thread() {
    let server = start(&config(), 2, On::default());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let handle = server.handle.clone();
            std::thread::spawn(move || {
                for number in 0..500 {
                    let worker = number % 2;
                    handle
                        .call(worker, move |script, control| {
                            assert_eq!(control.worker(), worker);
                            script.log.push(format!("{worker} {thread} {number:04}"));
                        })
                        .unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // Nobody there: nothing happens.
    assert_eq!(server.handle.call(7, |_, _| panic!("there is no such worker")), Err(PostError::Gone));
    eventually_eq(2000, || server.log.all().len());
    let all = server.log.all();
    for worker in 0..2 {
        for thread in 0..4 {
            let start = format!("{worker} {thread} ");
            let of_one: Vec<_> = all.iter().filter(|entry| entry.starts_with(&start)).collect();
            assert_eq!(of_one.len(), 250);
            assert!(of_one.is_sorted());
        }
    }
}

#[test]
fn what_is_posted_to_a_server_that_is_gone_is_dropped_and_not_kept() {
    let mut server = start(&config(), 2, On::default());
    let on = server.handle.clone();
    drop(server.server.take());
    let held = std::sync::Arc::new(());
    for worker in [0, 1, 0, 1] {
        let held = held.clone();
        assert_eq!(on.call(worker, move |_, _| drop(held)), Err(PostError::Gone));
    }
    assert_eq!(std::sync::Arc::strong_count(&held), 1);
    on.drain(DrainConfig::default());
    on.stop();
    // More than any log holds: it is either refused or forgotten.
    for _ in 0..200_000 {
        let _ = on.publish("t", &Event::new("for nobody"));
    }
}

#[test]
fn posts_of_one_thread_take_effect_in_their_order() {
    let on = On { opened: |script, cx| script.remember("peer", cx), ..On::default() };
    let server = start(&config(), 1, on);
    let mut client = Client::websocket(server.address, "/ws?topic=t");
    server.log.wait("opened", 1);
    let peer = server.id("peer");
    for number in 0..100 {
        server.handle.send_to(peer, Prepared::text(&format!("{number} sent"))).unwrap();
        server
            .handle
            .call(0, move |_, control| control.send_to(peer, Prepared::text(&format!("{number} called"))))
            .unwrap();
    }
    server.handle.close_peer(peer, code(4000), "end").unwrap();
    for number in 0..100 {
        client.expect_text(&format!("{number} sent"));
        client.expect_text(&format!("{number} called"));
    }
    assert_eq!(client.frame().close_code(), 4000);
}

#[test]
fn a_burst_of_publications_wakes_each_worker_at_most_once_per_turn() {
    let on = On {
        message: |_, _, cx| {
            for number in 0..2000 {
                cx.publish("t", &Event::new(&number.to_string())).unwrap();
            }
        },
        ..On::default()
    };
    let server = start(&config(), 4, on);
    let mut client = Client::websocket(server.address, "/ws?topic=t");
    let before = server.totals().turns;
    client.send_text("go");
    for number in 0..2000 {
        assert_eq!(field(client.frame().text(), "data"), Some(&*number.to_string()));
    }
    let sequence_is_read = || {
        let turns = server.totals().turns;
        std::thread::sleep(Duration::from_millis(20));
        server.totals().turns == turns
    };
    eventually("all workers rest", sequence_is_read);
    // The caller's own turn and its batches of some hundreds; each of the three others the same: dozens, not thousands.
    let turns = server.totals().turns - before;
    assert!(turns <= 100, "{turns} turns for one burst");
}

#[test]
fn an_idle_server_takes_no_turns() {
    let server = start(&config(), 2, On::default());
    let _clients: Vec<_> = (0..20).map(|_| Client::websocket(server.address, "/ws?topic=t")).collect();
    let _streams: Vec<_> = (0..20).map(|_| Client::stream(server.address, "/events?topic=t")).collect();
    server.log.wait("opened", 40);
    std::thread::sleep(Duration::from_millis(100));
    let before = server.totals().turns;
    std::thread::sleep(Duration::from_millis(500));
    let turns = server.totals().turns - before;
    // A rotation of the timer wheel, a deadline that was moved: a few.
    assert!(turns < 60, "{turns} turns for nothing");
}

#[test]
fn a_panic_in_a_handler_ends_its_worker_and_its_connections_are_closed() {
    let on = On { message: |_, _, _| panic!("the handler's own mistake"), ..On::default() };
    let mut server = start(&config(), 1, on);
    let mut client = Client::websocket(server.address, "/ws");
    client.send_text("x");
    assert!(matches!(client.rest().1, End::Eof | End::Reset));
    let joined = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.server.take().unwrap().join()));
    assert!(joined.is_err(), "join passes the panic on");
}

#[test]
fn timers_fire_once_and_the_last_call_counts() {
    let on = On {
        message: |_, message, cx| match message.as_bytes() {
            b"twice" => {
                cx.set_timer(100 * WAIT);
                cx.set_timer(Duration::from_millis(10));
            }
            b"never" => {
                cx.set_timer(Duration::from_millis(10));
                cx.clear_timer();
            }
            _ => cx.send(message).unwrap(),
        },
        timer: |script, cx| {
            script.log.push("timer");
            cx.send(Message::Text("timer")).unwrap();
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut client = Client::websocket(server.address, "/ws");
    for _ in 0..5 {
        client.send_text("never");
        client.send_text("twice");
        client.expect_text("timer");
    }
    std::thread::sleep(Duration::from_millis(50));
    client.send_text("end");
    client.expect_text("end");
    assert_eq!(server.log.count("timer"), 5);
}
