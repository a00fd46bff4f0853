//! What waits for a socket is bounded: a reader that stops stops its own writer, and nobody else.
#![cfg(feature = "net")]

mod net_support;

use net_support::wire::{self, BINARY, Client, TEXT, field};
use net_support::{On, WAIT, config, eventually, eventually_eq, loopback, start, start_at};
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tautline::net::{Config, ListenConfig, Message, QueueConfig, SlowPolicy, SocketBuffers};
use tautline::sse::Event;
use tautline::ws::Prepared;

/// A little for each read, and rests between, on a thread of its own: returns what was read up to the end.
fn read_slowly(mut client: Client, rest: Duration, until: usize) -> Vec<(u8, usize)> {
    let mut frames = Vec::new();
    while frames.len() < until {
        let frame = client.frame();
        frames.push((frame.payload.first().copied().unwrap_or(0), frame.payload.len()));
        thread::sleep(rest);
    }
    client.send_close(1000);
    assert_eq!(client.close_frame(), 1000);
    client.expect_eof();
    frames
}

#[test]
fn fifty_messages_of_64_kib_to_a_reader_that_takes_its_time_all_come_back_and_it_closes_cleanly() {
    let server = start(&config(), 1, On::default());
    let client = Client::connect_small(server.address, 8 << 10).upgrade("/ws");
    let mut writer = Client::over(client.stream.try_clone().unwrap());
    let writing = thread::spawn(move || {
        for number in 0..50 {
            writer.send(BINARY, &vec![number; 64 << 10]);
        }
    });
    let frames = read_slowly(client, Duration::from_millis(10), 50);
    writing.join().unwrap();
    let expected: Vec<_> = (0..50).map(|number| (number, 64 << 10)).collect();
    assert_eq!(frames, expected);
    server.log.wait("closed websocket 1000", 1);
    server.wait_for_no_peers();
    let totals = server.totals();
    assert_eq!((totals.queued, totals.dropped, totals.slow_closed), (0, 0, 0));
}

/// The longest queue that a message's handler saw.
static LONGEST: AtomicU64 = AtomicU64::new(0);

#[test]
fn echoes_of_messages_up_to_the_limit_never_overflow_the_queue_of_a_slow_reader() {
    let on = On {
        message: |_, message, cx| {
            // Panics if there is no room.
            cx.send(message).unwrap();
            LONGEST.fetch_max(cx.queued() as u64, Ordering::Relaxed);
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let client = Client::connect_small(server.address, 16 << 10).upgrade("/ws");
    // Lengths about every bound there is, longest beside shortest.
    let sizes: Vec<usize> = (0..12)
        .flat_map(|round| [1 << 20, 1, 500_000 + round, 65_535, 65_536, 125, (1 << 20) - round, 300_000, 20, 528_000])
        .collect();
    let mut writer = Client::over(client.stream.try_clone().unwrap());
    let to_write = sizes.clone();
    let writing = thread::spawn(move || {
        for size in to_write {
            writer.send(BINARY, &vec![9; size]);
        }
    });
    let frames = read_slowly(client, Duration::from_millis(1), sizes.len());
    writing.join().unwrap();
    assert_eq!(frames.iter().map(|(_, len)| *len).collect::<Vec<_>>(), sizes);
    let limit = QueueConfig::default().limit as u64;
    let longest = LONGEST.load(Ordering::Relaxed);
    assert!(longest <= limit && longest > limit / 2, "{longest} of {limit}");
    server.log.wait("closed websocket 1000", 1);
}

#[test]
fn a_reader_that_stops_stops_the_writer_and_memory_stays_bounded() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::connect_small(server.address, 8 << 10).upgrade("/ws");
    client.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let message = wire::frame(0x80 | TEXT, &[b'x'; 10_000]);
    let mut sent = 0;
    // Until the kernel takes no more, on either side.
    let stopped = loop {
        match client.stream.write(&message[sent % message.len()..]) {
            Ok(n) => sent += n,
            Err(e) => break e,
        }
        assert!(sent < 256 << 20, "the writer is never stopped");
    };
    assert!(matches!(stopped.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{stopped}");
    let queued = server.totals().queued as usize;
    assert!(queued > 0 && queued <= QueueConfig::default().limit, "{queued}");
    // It goes on where it stopped: every byte comes back.
    client.stream.set_write_timeout(Some(WAIT)).unwrap();
    let whole = sent / message.len();
    let rest = message[sent % message.len()..].to_vec();
    let mut reader = Client::over(client.stream.try_clone().unwrap());
    let reading = thread::spawn(move || {
        for _ in 0..=whole {
            assert_eq!(reader.frame().payload, [b'x'; 10_000]);
        }
    });
    client.write(&rest);
    reading.join().unwrap();
    eventually_eq(0, || server.totals().queued);
    drop(client);
    server.log.wait("closed websocket 1006", 1);
}

#[test]
fn small_messages_to_a_reader_that_stops_are_bounded_too_and_come_back_in_order() {
    let server = start(&config(), 1, On::default());
    let mut client = Client::connect_small(server.address, 8 << 10).upgrade("/ws");
    client.stream.set_nonblocking(true).unwrap();
    let mut bytes = Vec::new();
    (0..1_000_000_u32).for_each(|number| bytes.extend(wire::frame(0x80 | BINARY, &number.to_be_bytes())));
    let mut written = 0;
    let mut blocked = 0;
    while blocked < 100 && written < bytes.len() {
        match client.stream.write(&bytes[written..]) {
            Ok(n) => (written, blocked) = (written + n, 0),
            Err(_) => {
                blocked += 1;
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
    assert!(server.totals().queued as usize <= QueueConfig::default().limit);
    client.stream.set_nonblocking(false).unwrap();
    let mut writer = client.stream.try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&bytes[written..]).unwrap());
    for number in 0..1_000_000_u32 {
        assert_eq!(client.frame().payload, number.to_be_bytes());
    }
    writing.join().unwrap();
    assert_eq!(server.totals().messages_in, 1_000_000);
}

#[test]
fn pipelined_requests_of_a_client_that_does_not_read_are_answered_in_order_when_it_does() {
    // Answers that together are far more than the queue holds, with a queue of the smallest size and with the default.
    for limit in [16 << 10, QueueConfig::default().limit] {
        let on = On {
            request: |_, head, cx| {
                let body = format!("{:1000}", head.target());
                cx.respond(&tautline::http::Response::new(200), body.as_bytes()).unwrap();
            },
            ..On::default()
        };
        let config = Config { queue: QueueConfig { limit, ..QueueConfig::default() }, ..config() };
        let server = start(&config, 1, on);
        let mut client = Client::connect_small(server.address, 8 << 10);
        let mut writer = client.stream.try_clone().unwrap();
        let writing = thread::spawn(move || {
            for number in 0..10_000 {
                writer.write_all(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
            }
        });
        // Everything is blocked before anything is read.
        eventually("answers wait", || server.totals().queued > 0);
        thread::sleep(Duration::from_millis(50));
        for number in 0..10_000 {
            let response = client.response();
            assert_eq!((response.status, response.text().trim()), (200, &*format!("/{number}")), "limit {limit}");
        }
        writing.join().unwrap();
    }
}

#[test]
fn a_handler_pauses_its_peer_and_resumes_it_and_nothing_is_lost_or_reordered() {
    let on = On {
        message: |script, message, cx| {
            assert_eq!(script.number, 0, "a message while paused");
            cx.send(message).unwrap();
            cx.pause();
            script.number = u64::MAX;
            cx.set_timer(Duration::from_millis(1));
        },
        timer: |script, cx| {
            script.number = 0;
            cx.resume();
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut client = Client::websocket(server.address, "/ws");
    let mut all = Vec::new();
    (0..60).for_each(|number: u32| all.extend(wire::frame(0x80 | TEXT, number.to_string().as_bytes())));
    client.write(&all);
    for number in 0..60 {
        client.expect_text(&number.to_string());
    }
    client.send_close(1000);
    assert_eq!(client.close_frame(), 1000);
}

#[test]
fn a_peer_paused_as_it_opens_gets_no_message_before_it_is_resumed() {
    let on = On {
        opened: |script, cx| {
            script.remember("peer", cx);
            cx.pause();
            cx.set_timer(Duration::from_millis(200));
        },
        message: |script, message, _| {
            script.log.push(format!("message {}", String::from_utf8_lossy(message.as_bytes())));
        },
        timer: |script, cx| {
            script.log.push("resumed");
            cx.resume();
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut client = Client::connect(server.address);
    // The first messages come in the same read as the request.
    let mut all = wire::upgrade_request("/ws").into_bytes();
    all.extend(wire::frame(0x81, b"1"));
    all.extend(wire::frame(0x81, b"2"));
    client.write(&all);
    assert_eq!(client.response().status, 101);
    server.log.wait("message 2", 1);
    assert_eq!(server.log.all(), ["opened websocket", "resumed", "message 1", "message 2"]);
}

#[test]
fn a_handler_that_asks_for_writable_in_writable_streams_without_end_and_starves_nobody() {
    // Each call sends a piece and asks for the next: 100,000 of them, while another peer is answered.
    let on = On {
        message: |_, message, cx| match message.as_bytes() {
            b"stream" => cx.notify_writable(),
            _ => cx.send(message).unwrap(),
        },
        writable: |_, cx| {
            *cx.state() += 1;
            let number = *cx.state();
            if number <= 100_000 {
                cx.send(Message::Binary(&number.to_be_bytes())).unwrap();
                cx.notify_writable();
            }
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut streaming = Client::websocket(server.address, "/ws");
    let mut other = Client::websocket(server.address, "/ws");
    streaming.send_text("stream");
    for number in 1..=100_000_u64 {
        assert_eq!(streaming.frame().payload, number.to_be_bytes());
        if number % 10_000 == 0 {
            other.send_text("hello");
            other.expect_text("hello");
        }
    }
}

#[test]
fn writable_comes_when_everything_was_written_and_queued_tells_how_much_waits() {
    let on = On {
        message: |script, _, cx| {
            let mut sent = 0;
            while cx.queued() < 500_000 {
                cx.send(Message::Binary(&[7; 10_000])).unwrap();
                sent += 1;
            }
            script.log.push(format!("sent {sent} queued {}", cx.queued()));
            cx.notify_writable();
        },
        writable: |script, cx| script.log.push(format!("writable {}", cx.queued())),
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut client = Client::connect_small(server.address, 8 << 10).upgrade("/ws");
    for _ in 0..3 {
        client.send_text("more");
        for _ in 0..50 {
            assert_eq!(client.frame().payload.len(), 10_000);
        }
    }
    server.log.wait("writable 0", 3);
    assert_eq!(server.log.count("sent 50 queued 500200"), 3);
    assert_eq!(server.log.count("writable"), 3);
}

/// One that reads nothing and some that do; what the stuck one gets in the end.
fn one_stuck_among_readers(
    slow: SlowPolicy,
    payload: usize,
    messages: usize,
) -> (net_support::Running, Client, Vec<Client>) {
    let queue = QueueConfig { slow, ..QueueConfig::default() };
    let config = Config { queue, ..config() };
    // Small buffers in the kernel, so that the queue is what fills.
    let buffers = SocketBuffers { send: Some(32 << 10), receive: None };
    let server = start_at(&config, 1, ListenConfig { buffers, ..loopback() }, On::default());
    let stuck = Client::connect_small(server.address, 8 << 10).upgrade("/ws?topic=all");
    let mut readers: Vec<_> = (0..4).map(|_| Client::websocket(server.address, "/ws?topic=all")).collect();
    let mut streams: Vec<_> = (0..4).map(|_| Client::stream(server.address, "/events?topic=all")).collect();
    let text = "x".repeat(payload);
    let mut last = String::new();
    for number in 0..messages {
        let event = format!("{number} {text}");
        server.handle.publish("all", &Event::new(&event)).unwrap();
        // Everyone else gets each one, in its order, whatever the stuck one does.
        for client in readers.iter_mut().chain(&mut streams) {
            let block = if client.chunked { client.event() } else { client.frame().text().to_owned() };
            assert_eq!(field(&block, "data"), Some(&*event));
            last = block;
        }
    }
    assert!(!last.is_empty());
    readers.append(&mut streams);
    (server, stuck, readers)
}

#[test]
fn q1_a_stuck_reader_is_closed_once_with_1013_when_its_queue_is_full_and_the_others_get_everything() {
    // It would stall for ever: only the full queue can end it.
    let slow = SlowPolicy::Close { after: 100 * WAIT };
    let (server, mut stuck, readers) = one_stuck_among_readers(slow, 60_000, 200);
    assert_eq!(server.totals().slow_closed, 1);
    assert_eq!(server.log.count("closed"), 0, "it may still take its Close frame");
    assert_eq!(stuck.close_frame(), 1013);
    stuck.send_close(1013);
    stuck.expect_eof();
    server.log.wait("closed websocket 1013", 1);
    drop((stuck, readers));
    server.wait_for_no_peers();
    assert_eq!((server.totals().slow_closed, server.totals().queued), (1, 0));
}

#[test]
fn q1_a_stuck_reader_is_closed_once_with_1013_when_it_stalled_too_long() {
    let slow = SlowPolicy::Close { after: Duration::from_millis(300) };
    // Less than a queue.
    let (server, mut stuck, _readers) = one_stuck_among_readers(slow, 60_000, 15);
    let queue = QueueConfig { slow, ..QueueConfig::default() };
    eventually_eq(1, || server.totals().slow_closed);
    assert!(server.totals().queued as usize <= queue.limit);
    assert_eq!(stuck.close_frame(), 1013);
    stuck.send_close(1013);
    stuck.expect_eof();
    server.log.wait("closed websocket 1013", 1);
    assert_eq!(server.log.count("closed"), 1);
}

#[test]
fn q1_a_slow_reader_that_takes_some_bytes_before_each_stall_ends_is_not_closed() {
    let slow = SlowPolicy::Close { after: Duration::from_millis(1500) };
    let (server, mut stuck, _readers) = one_stuck_among_readers(slow, 60_000, 15);
    // Three times the stall in all, but never so long without a byte.
    let until = Instant::now() + Duration::from_millis(4500);
    let mut read = 0;
    while Instant::now() < until {
        let mut some = [0; 16 << 10];
        read += stuck.stream.read(&mut some).unwrap();
        if read > 800_000 {
            break;
        }
        thread::sleep(Duration::from_millis(60));
    }
    assert_eq!(server.totals().slow_closed, 0);
}

#[test]
fn q1_a_stuck_reader_of_the_policy_that_drops_stays_and_its_handler_is_told_what_was_lost() {
    let (server, mut stuck, _readers) = one_stuck_among_readers(SlowPolicy::Drop, 60_000, 200);
    assert_eq!(server.totals().slow_closed, 0);
    // The others may have theirs a moment before the last one is dropped.
    server.ask(0, |_, _| ());
    let dropped = server.totals().dropped;
    assert!(dropped > 100, "{dropped}");
    let mut numbers = Vec::new();
    while numbers.len() as u64 + dropped < 200 {
        let frame = stuck.frame();
        let number: u64 = field(frame.text(), "data").unwrap().split(' ').next().unwrap().parse().unwrap();
        numbers.push(number);
    }
    assert!(numbers.is_sorted(), "{numbers:?}");
    server.log.wait(&format!("lost {dropped}"), 1);
    assert_eq!(server.log.count("lost"), 1);
    assert_eq!(server.log.count("writable"), 0, "nobody asked for it");
    // And it is as good as new.
    server.handle.publish("all", &Event::new("again")).unwrap();
    assert_eq!(field(stuck.frame().text(), "data"), Some("again"));
    assert_eq!(server.log.count("closed"), 0);
}

#[test]
fn q1_a_stuck_event_stream_is_ended_by_the_policy_and_its_slot_is_free() {
    let server = start(&config(), 1, On::default());
    let stuck = Client::connect_small(server.address, 8 << 10).subscribe("/events?topic=all");
    let mut reader = Client::stream(server.address, "/events?topic=all");
    let text = "y".repeat(100_000);
    for _ in 0..100 {
        server.handle.publish("all", &Event::new(&text)).unwrap();
        assert_eq!(field(&reader.event(), "data").map(str::len), Some(100_000));
    }
    assert_eq!(server.totals().slow_closed, 1);
    server.log.wait("closed stream", 1);
    drop(reader);
    server.wait_for_no_peers();
    drop(stuck);
    assert_eq!(server.log.count("closed stream"), 2);
}

#[test]
fn q1_messages_sent_to_one_peer_from_elsewhere_meet_the_same_policy() {
    let slow = SlowPolicy::Drop;
    let config = Config { queue: QueueConfig { slow, ..QueueConfig::default() }, ..config() };
    let on = On { opened: |script, cx| script.remember("peer", cx), ..On::default() };
    let server = start(&config, 2, on);
    let mut stuck = Client::connect_small(server.address, 8 << 10).upgrade("/ws");
    server.log.wait("opened", 1);
    let peer = server.id("peer");
    let message = Prepared::binary(&[1; 100_000]);
    (0..200).for_each(|_| server.handle.send_to(peer, message.clone()).unwrap());
    // Behind all of them.
    server.ask(peer.worker(), |_, _| ());
    assert!(server.totals().dropped > 0, "what does not fit is dropped");
    let mut got = 0;
    while got + server.totals().dropped < 200 {
        assert_eq!(stuck.frame().payload.len(), 100_000);
        got += 1;
    }
    server.log.wait("lost", 1);
    eventually_eq(0, || server.totals().queued);
}

#[test]
fn a_paused_http_connection_gets_no_further_request_before_it_is_resumed() {
    let on = On {
        request: |script, head, cx| {
            script.log.push(format!("request {}", head.target()));
            cx.respond(&tautline::http::Response::new(204), &[]).unwrap();
            cx.pause();
            cx.set_timer(Duration::from_millis(100));
        },
        timer: |script, cx| {
            script.log.push("resumed");
            cx.resume();
        },
        ..On::default()
    };
    let server = start(&config(), 1, on);
    let mut client = Client::connect(server.address);
    client.write(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((client.response().status, client.response().status), (204, 204));
    server.log.wait("resumed", 2);
    assert_eq!(server.log.all(), ["request /1", "resumed", "request /2", "resumed"]);
}
