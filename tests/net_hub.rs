//! The hub over real sockets: one event on three transports, sessions, presence, acknowledgement, refusals.

mod net_support;

use net_support::hub::{
    BOTH, Block, CORS, Sub, Via, ask_poll, header, hub, on, open, poll, polled, post, publish, send, settings,
    ws_request,
};
use net_support::wire::{BINARY, Client};
use net_support::{Running, WAIT, eventually, eventually_eq, start};
use std::num::NonZeroU32;
use std::time::Duration;
use tautline::hub::{HistoryLimits, HubConfig, Keeps, Policies, RateLimit, SlowReader, TopicPolicy};
use tautline::net::{Config, QueueConfig, SlowPolicy};

// One event, three transports.

#[test]
fn an_event_reaches_websockets_event_streams_and_polls_of_every_worker() {
    for workers in [1, 2] {
        let server = hub(workers);
        let mut subs: Vec<_> =
            (0..8).flat_map(|_| BOTH).map(|via| Sub::new(server.address, via, "topic=a&topic=b")).collect();
        let start = poll(server.address, "topic=a").last;
        let mut polls: Vec<_> = (0..8).map(|_| Client::connect(server.address)).collect();
        polls.iter_mut().for_each(|client| ask_poll(client, &format!("topic=a&lastId={start}")));
        eventually_eq(24, || server.peers());
        let id = publish(server.address, "topic=a&event=trade", "one\ntwo");
        for sub in &mut subs {
            let block = sub.block();
            assert_eq!(block.id.as_deref(), Some(&*id));
            assert_eq!((block.topic.as_deref(), &*block.event), (Some("a"), "trade"));
            assert_eq!(block.data.as_deref(), Some("one\ntwo"));
        }
        for client in &mut polls {
            let polled = polled(client);
            assert_eq!((polled.words, polled.last), (vec!["one\ntwo".to_owned()], id.clone()));
        }
        // And from each of them back to all others.
        subs[0].say("topic: b\ndata: from a client");
        subs.iter_mut().for_each(|sub| assert_eq!(sub.word(), "from a client"));
    }
}

#[test]
fn a_subscriber_goes_on_from_its_cursor_on_any_other_transport() {
    let server = hub(2);
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=a");
    publish(server.address, "topic=a", "1");
    assert_eq!(sub.word(), "1");
    let (session, mut cursor) = (sub.session.clone(), sub.cursor.clone());
    drop(sub);
    let mut number = 2;
    for round in 0..4 {
        let (missed, live) = (number.to_string(), (number + 1).to_string());
        number += 2;
        publish(server.address, "topic=a", &missed);
        publish(server.address, "topic=other", "x");
        let query = format!("topic=a&lastId={cursor}&session={session}");
        match round % 2 {
            0 => {
                let polled = poll(server.address, &query);
                assert_eq!((polled.words, polled.session), (vec![missed], None));
                publish(server.address, "topic=a", &live);
                let polled = poll(server.address, &format!("topic=a&lastId={}&session={session}", polled.last));
                assert_eq!(polled.words, [live]);
                cursor = polled.last;
            }
            _ => {
                let via = BOTH[round / 2];
                let (mut sub, words) = Sub::replay(server.address, via, &query, 1);
                assert_eq!((words, &sub.session), (vec![missed], &session));
                publish(server.address, "topic=a", &live);
                assert_eq!(sub.word(), live);
                cursor = sub.cursor.clone();
            }
        }
    }
}

#[test]
fn s12_the_header_last_event_id_goes_before_the_query() {
    let server = hub(1);
    let first = publish(server.address, "topic=a", "1");
    let second = publish(server.address, "topic=a", "2");
    publish(server.address, "topic=a", "3");
    for via in BOTH {
        let lines = format!("Last-Event-ID: {second}\r\n");
        let query = format!("topic=a&lastId={first}&lastEventId={first}");
        let mut sub = Sub::begin(server.address, via, &query, &lines);
        assert_eq!(sub.words(1), ["3"]);
        let query = format!("topic=a&lastId={first}&lastEventId={second}");
        assert_eq!(Sub::replay(server.address, via, &query, 1).1, ["3"]);
        assert_eq!(Sub::replay(server.address, via, &format!("topic=a&lastId={first}"), 2).1, ["2", "3"]);
    }
}

#[test]
fn s11_a_last_id_that_is_no_cursor_of_this_log_is_told_as_a_gap_then_it_is_live() {
    let server = hub(1);
    publish(server.address, "topic=a", "1");
    for via in BOTH {
        for (id, reason) in [
            ("whatever", "unknown"),
            ("12345", "unknown"),
            ("1-1-0000beef", "unknown"),
            ("1-1", "unknown"),
            ("99999999999999-0-LOG", "ahead"),
        ] {
            let log = poll(server.address, "topic=a").last;
            let id = id.replace("LOG", log.rsplit('-').next().unwrap());
            let mut sub = Sub::begin(server.address, via, "topic=a&topic=q", &format!("Last-Event-ID: {id}\r\n"));
            assert_eq!(sub.words(2), [format!("gap a {reason}\nq {reason}"), "1".into()]);
            sub.client.reset();
        }
    }
}

#[test]
fn s14_what_is_published_while_a_subscriber_attaches_comes_once_and_in_order() {
    let server = hub(2);
    let writer = Sub::new(server.address, Via::WebSocket, "topic=none");
    let address = server.address;
    let publisher = std::thread::spawn(move || {
        let mut writer = writer;
        for number in 0..150 {
            writer.say(&format!("topic: a\ndata: {number}"));
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    for round in 0..20 {
        let via = BOTH[round % 2];
        let mut sub = Sub::begin(address, via, "topic=a&lastId=0", "");
        let mut got = Vec::new();
        while got.len() < 100 && got.last() != Some(&149) {
            let block = sub.block();
            if !block.is_position() {
                got.push(block.data.unwrap().parse::<u64>().unwrap());
            }
        }
        assert!(got.windows(2).all(|pair| pair[1] == pair[0] + 1), "{got:?}");
    }
    publisher.join().unwrap();
}

#[test]
fn s8_head_has_the_headers_alone_and_subscribes_nobody() {
    let server = hub(1);
    let mut watcher = Sub::new(server.address, Via::Events, "topic=room");
    for target in ["/events?topic=room", "/poll?topic=room", "/poll?topic=room&lastId=0", "/poll?topic=room&timeout=0"]
    {
        let mut client = Client::connect(server.address);
        client.write(format!("HEAD {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(header(&head, "Access-Control-Allow-Origin"), Some(CORS[0].1));
    }
    publish(server.address, "topic=room", "nobody came");
    // Its own.
    assert!(watcher.word().starts_with("presence room join"));
    assert_eq!(watcher.word(), "nobody came");
}

// Own cursors.

#[test]
fn a_topic_that_is_added_with_an_older_cursor_catches_up_by_itself() {
    let server = hub(2);
    let start = poll(server.address, "topic=a").last;
    (0..3).for_each(|number| drop(publish(server.address, "topic=a", &number.to_string())));
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=b");
    sub.say(&format!("event: tautline.subscribe\ntopic: a\ndata: {start}"));
    assert_eq!(sub.words(3), ["0", "1", "2"]);
    assert!(sub.word().starts_with("subscribed a "));
    // Again: it has it already, and hears so.
    sub.say("event: tautline.subscribe\ntopic: a");
    assert!(sub.word().starts_with("subscribed a "));
    publish(server.address, "topic=a", "3");
    assert_eq!(sub.word(), "3");
    sub.say("event: tautline.unsubscribe\ntopic: a");
    assert_eq!(sub.word(), "unsubscribed a asked");
    publish(server.address, "topic=a", "4");
    publish(server.address, "topic=b", "5");
    assert_eq!(sub.word(), "5");
    let query = format!("topic=b&lastId={}&topic=a@{start}", sub.cursor);
    let (_, words) = Sub::attach(server.address, Via::WebSocket, &query);
    assert_eq!(words[..5], ["0", "1", "2", "3", "4"]);
    assert!(words[5].starts_with("subscribed a "), "{words:?}");
}

#[test]
fn a_second_subscribe_does_not_end_a_catching_up_that_goes_on() {
    // So much that it does not fit one pull.
    let server = hub(1);
    let start = poll(server.address, "topic=behind").last;
    let data = "x".repeat(9_000);
    (0..100).for_each(|_| drop(publish(server.address, "topic=behind", &data)));
    let client = Client::connect_small(server.address, 64 << 10);
    let (mut sub, _) = Sub::ask_over(client, Via::WebSocket, "topic=b", "");
    sub.welcomed();
    sub.until_position();
    let subscribe = format!("event: tautline.subscribe\ntopic: behind\ndata: {start}");
    sub.say(&subscribe);
    sub.say(&subscribe);
    sub.say("event: tautline.subscribe\ntopic: b");
    let mut events = 0;
    loop {
        let word = sub.word();
        match () {
            () if word == data => events += 1,
            () if word.starts_with("subscribed b ") => {}
            () => {
                assert!(word.starts_with("subscribed behind"), "{word}");
                break;
            }
        }
    }
    assert_eq!(events, 100, "all of it before the topic has caught up");
}

// Slow readers.

/// A queue of 64 KiB, and so much published that it and the socket's buffers overflow.
fn small_queues(hub: HubConfig, after: Duration) -> Config {
    let queue = QueueConfig { limit: 64 << 10, slow: SlowPolicy::Close { after } };
    let mut config = open(hub);
    config.queue = queue;
    config
}

fn generous() -> RateLimit {
    RateLimit { per_second: NonZeroU32::new(100_000).unwrap(), burst: NonZeroU32::new(100_000).unwrap() }
}

fn flood(server: &Running, topic: &str, count: usize, len: usize) {
    for number in 0..count {
        let data = format!("{number} {}", "x".repeat(len));
        let event = tautline::sse::Event::new(&data);
        while server.handle.publish(topic, &event).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn q1_a_slow_reader_of_a_topic_that_closes_is_closed_with_1013_and_the_others_get_everything() {
    let server = start(&small_queues(settings(), WAIT), 2, on());
    let mut others: Vec<_> = (0..20).map(|i| Sub::new(server.address, BOTH[i % 2], "topic=a")).collect();
    let (mut stuck, _) = Sub::ask_over(Client::connect_small(server.address, 4096), Via::WebSocket, "topic=a", "");
    let (mut stream, _) = Sub::ask_over(Client::connect_small(server.address, 4096), Via::Events, "topic=a", "");
    stuck.welcomed();
    stream.welcomed();
    stuck.until_position();
    stream.until_position();
    const COUNT: usize = 1000;
    let readers: Vec<_> = others
        .drain(..)
        .map(|mut sub| {
            std::thread::spawn(move || {
                for number in 0..COUNT {
                    assert!(sub.word().starts_with(&format!("{number} ")));
                }
            })
        })
        .collect();
    flood(&server, "a", COUNT, 8192);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    let end = loop {
        let block = stuck.block();
        if block.event.starts_with("close") {
            break block.event;
        }
    };
    assert_eq!(end, "close 1013 too slow retry=3000");
    while stream.try_block().is_ok_and(|block| block.event != "end") {}
    eventually_eq(2, || server.totals().slow_closed);
}

#[test]
fn a_stuck_reader_of_a_topic_that_closes_is_closed_after_the_stall() {
    for via in BOTH {
        let server = start(&small_queues(settings(), Duration::from_millis(200)), 1, on());
        let (mut stuck, _) = Sub::ask_over(Client::connect_small(server.address, 4096), via, "topic=a", "");
        stuck.welcomed();
        stuck.until_position();
        // More than the socket's buffers, less than the queue beyond them.
        eventually("it is given up", || {
            if server.totals().queued < 16 << 10 {
                flood(&server, "a", 1, 8192);
            }
            server.totals().slow_closed == 1
        });
        while stuck.try_block().is_ok_and(|block| block.event != "end" && !block.event.starts_with("close")) {}
    }
}

#[test]
fn a_slow_reader_of_a_topic_that_falls_behind_goes_on_with_what_is_retained_behind_a_gap_notice() {
    for via in BOTH {
        let server = start(&small_queues(settings(), WAIT), 1, on());
        let (mut slow, _) = Sub::ask_over(Client::connect_small(server.address, 4096), via, "topic=behind", "");
        slow.welcomed();
        slow.until_position();
        const COUNT: usize = 2000;
        flood(&server, "behind", COUNT, 8192);
        eventually("it lost some", || server.totals().dropped > 0);
        let mut gaps = 0;
        let mut last = None;
        while last != Some(COUNT - 1) {
            let word = slow.word();
            if word == "gap behind expired" {
                gaps += 1;
                continue;
            }
            let number: usize = word.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{word}"));
            match last {
                Some(last) if gaps == 0 => assert_eq!(number, last + 1),
                Some(last) => assert!(number > last),
                None => assert_eq!(number, 0),
            }
            last = Some(number);
        }
        assert!(gaps > 0);
        assert_eq!(server.totals().slow_closed, 0);
        publish(server.address, "topic=behind", "live again");
        assert_eq!(slow.word(), "live again");
    }
}

#[test]
fn a_stream_that_may_fall_behind_may_stand_still_for_longer_than_the_stall() {
    let server = start(&small_queues(settings(), Duration::from_millis(200)), 1, on());
    let (mut slow, _) = Sub::ask_over(Client::connect_small(server.address, 4096), Via::Events, "topic=behind", "");
    slow.welcomed();
    slow.until_position();
    eventually("it lost some", || {
        flood(&server, "behind", 10, 8192);
        server.totals().dropped > 0
    });
    std::thread::sleep(Duration::from_millis(700));
    publish(server.address, "topic=behind", "the last one");
    while slow.word() != "the last one" {}
    assert_eq!(server.totals().slow_closed, 0);
}

#[test]
fn a_slow_reader_of_a_topic_that_conflates_gets_the_latest_of_each_slot_without_a_gap() {
    let history = HistoryLimits { keeps: Keeps::LatestPerSlot, ..HistoryLimits::default() };
    let policy = TopicPolicy { history, slow: SlowReader::FallBehind, ..TopicPolicy::default() };
    let config = HubConfig { policies: Policies::new(policy), rate: generous(), ..HubConfig::default() };
    let server = start(&small_queues(config, WAIT), 2, on());
    let (mut slow, _) = Sub::ask_over(Client::connect_small(server.address, 4096), Via::WebSocket, "topic=prices", "");
    slow.welcomed();
    slow.until_position();
    let mut writer = Sub::new(server.address, Via::WebSocket, "topic=none");
    const COUNT: usize = 1500;
    for number in 0..COUNT {
        let data = format!("{} {number} {}", number % 3, "x".repeat(8192));
        writer.say(&format!("topic: prices\nslot: s{}\ndata: {data}", number % 3));
    }
    eventually("it fell behind", || server.totals().dropped > 0);
    let mut latest = [0; 3];
    while latest != [COUNT - 3, COUNT - 2, COUNT - 1] {
        let word = slow.word();
        let mut parts = word.split(' ');
        let slot: usize = parts.next().unwrap().parse().unwrap_or_else(|_| panic!("{word}"));
        let number: usize = parts.next().unwrap().parse().unwrap();
        assert!(number >= latest[slot]);
        latest[slot] = number;
    }
}

// Commands.

#[test]
fn q2_a_topic_that_is_none_or_one_too_many_is_an_error_and_the_connection_is_kept() {
    let server = hub(1);
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=t0");
    (1..128).for_each(|number| sub.say(&format!("event: tautline.subscribe\ntopic: t{number}")));
    (1..128).for_each(|_| assert!(sub.word().starts_with("subscribed t")));
    let long = "x".repeat(10 << 10);
    for (topic, cause) in [
        ("t128", "more than 128 topics of one subscriber"),
        (&long, "topic name of more than 128 bytes"),
        ("a\0b", "topic name with a character"),
        ("a b", "topic name with a character"),
    ] {
        sub.say(&format!("event: tautline.subscribe\ntopic: {topic}"));
        let word = sub.word();
        assert!(word.contains("400 subscribe\n") && word.contains(cause), "{word}");
    }
    // An empty one; and a line end ends the name, and what is behind it is a line by itself.
    sub.say("event: tautline.subscribe\ntopic:");
    assert!(sub.word().contains("400 subscribe\nempty topic name"));
    sub.say("event: tautline.unsubscribe\ntopic: t1\n0");
    assert_eq!(sub.word(), "unsubscribed t1 asked");
    publish(server.address, "topic=t5", "still here");
    assert_eq!(sub.word(), "still here");
    for query in [format!("topic={long}"), "topic=".into(), "topic=a%0ab".into(), "topic=a%00".into()] {
        for via in BOTH {
            let (_, head) = Sub::ask(server.address, via, &query, "");
            assert!(head.starts_with("HTTP/1.1 400") || head.starts_with("HTTP/1.1 414"), "{head}");
        }
        assert!([400, 414].contains(&post(server.address, &format!("/publish?{query}"), "", "x").status));
    }
}

#[test]
fn q3_joining_and_leaving_10_000_times_leaves_nothing_behind() {
    let mut config = settings();
    config.rate = generous();
    let server = start(&open(config), 1, on());
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=a");
    for round in 0..100 {
        for number in 0..50 {
            let topic = format!("room{}", (round * 50 + number) % 1000);
            sub.say(&format!("event: tautline.subscribe\ntopic: {topic}"));
            sub.say(&format!("event: tautline.unsubscribe\ntopic: {topic}"));
        }
        let mut left = 0;
        while left < 50 {
            left += usize::from(sub.word().starts_with("unsubscribed"));
        }
    }
    eventually("nobody is anywhere", || {
        (0..1000).all(|number| server.handle.presence(&format!("room{number}")).0 == 0)
    });
    publish(server.address, "topic=a", "still here");
    while sub.word() != "still here" {}
}

#[test]
fn a_binary_message_closes_with_1003() {
    let server = hub(1);
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=a");
    sub.client.send(BINARY, b"x");
    assert!(sub.word().starts_with("close 1003"));
}

#[test]
fn a_publication_with_a_key_is_published_once_by_whatever_way_it_comes() {
    let server = hub(2);
    let mut watcher = Sub::new(server.address, Via::Events, "topic=a");
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=other");
    sub.say("id: k1\ntopic: a\ndata: once");
    let word = sub.word();
    let cursor = word.strip_prefix("ack a k1 ").unwrap_or_else(|| panic!("{word}")).to_owned();
    sub.say("id: k1\ntopic: a\ndata: once");
    assert_eq!(sub.word(), word);
    let session = format!("session={}", sub.session);
    assert_eq!(publish(server.address, &format!("topic=a&key=k1&{session}"), "once"), cursor);
    let response = post(server.address, &format!("/send?{session}"), "", "id: k1\ntopic: a\ndata: once\n\n");
    assert_eq!((response.status, Block::parse(response.text()).word()), (200, word));
    // Another session's is another.
    let other = Sub::new(server.address, Via::WebSocket, "topic=other");
    assert_ne!(publish(server.address, &format!("topic=a&key=k1&session={}", other.session), "twice"), cursor);
    assert_eq!(watcher.words(2), ["once", "twice"]);
    assert_eq!(post(server.address, "/publish?topic=a&key=k2", "", "x").status, 400, "whose key is it?");
}

#[test]
fn to_others_keeps_it_from_the_sender_s_session_on_every_transport_and_in_replay() {
    let server = hub(2);
    let start = poll(server.address, "topic=a").last;
    let mut mine = Sub::new(server.address, Via::WebSocket, "topic=a");
    let mut also_mine = Sub::new(server.address, Via::Events, &format!("topic=a&session={}", mine.session));
    assert_eq!(mine.session, also_mine.session);
    let mut others: Vec<_> = BOTH.into_iter().map(|via| Sub::new(server.address, via, "topic=a")).collect();
    mine.say("topic: a\nto: others\ndata: 1");
    others.iter_mut().for_each(|sub| assert_eq!(sub.word(), "1"));
    publish(server.address, &format!("topic=a&to=others&session={}", mine.session), "2");
    let sent = post(
        server.address,
        "/send",
        &format!("Tautline-Session: {}\r\n", mine.session),
        "topic: a\nto: others\ndata: 3",
    );
    assert_eq!((sent.status, sent.text()), (200, ""));
    publish(server.address, "topic=a", "4");
    others.iter_mut().for_each(|sub| assert_eq!(sub.words(3), ["2", "3", "4"]));
    assert_eq!((mine.word(), also_mine.word()), ("4".into(), "4".into()));
    for via in BOTH {
        let query = format!("topic=a&lastId={start}&session={}", mine.session);
        assert_eq!(Sub::replay(server.address, via, &query, 1).1, ["4"]);
        assert_eq!(Sub::replay(server.address, via, &format!("topic=a&lastId={start}"), 4).1, ["1", "2", "3", "4"]);
    }
    let query = format!("topic=a&lastId={start}&session={}", mine.session);
    assert_eq!(poll(server.address, &query).words, ["4"]);
}

#[test]
fn what_is_ephemeral_comes_live_without_id_and_never_again() {
    let server = hub(2);
    let start = poll(server.address, "topic=a").last;
    let mut subs: Vec<_> = BOTH.into_iter().map(|via| Sub::new(server.address, via, "topic=a")).collect();
    let mut held = Client::connect(server.address);
    ask_poll(&mut held, &format!("topic=a&lastId={start}"));
    eventually_eq(3, || server.peers());
    publish(server.address, "topic=a&keep=no", "typing");
    for sub in &mut subs {
        let block = sub.block();
        assert_eq!((block.id, block.data.as_deref()), (None, Some("typing")));
    }
    assert_eq!(polled(&mut held).words, ["typing"]);
    for via in BOTH {
        assert!(Sub::attach(server.address, via, &format!("topic=a&lastId={start}")).1.is_empty());
    }
    assert_eq!(post(server.address, "/publish?topic=a&keep=no&key=k&session=", "", "x").status, 400);
}

#[test]
fn who_publishes_too_fast_is_told_the_limit_and_when_to_come_back() {
    let config =
        HubConfig { rate: RateLimit { per_second: NonZeroU32::MIN, burst: NonZeroU32::new(3).unwrap() }, ..settings() };
    let server = start(&open(config), 1, on());
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=b");
    (0..3).for_each(|number| sub.say(&format!("id: k{number}\ntopic: a\ndata: x")));
    (0..3).for_each(|_| assert!(sub.word().starts_with("ack a")));
    sub.say("id: k3\ntopic: a\ndata: x");
    let word = sub.word();
    assert!(word.starts_with("error a 429 publish k3\nmore than 1 commands per second, 3 at once\nafter "), "{word}");
    // As answers to POSTs.
    let mut client = Client::connect(server.address);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        send(&mut client, "POST", "/publish?topic=a", "", b"x");
        let response = client.response();
        statuses.push(response.status);
        if response.status == 429 {
            assert_eq!(header(&response.head, "Retry-After"), Some("1"));
            assert_eq!(response.text(), "more than 1 commands per second, 3 at once\n");
        }
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
}

#[test]
fn every_command_counts_and_of_a_message_of_200_000_bad_ones_a_burst_is_answered() {
    let server = hub(1);
    let bad = "event: tautline.nonsense\n\n";
    let many = bad.repeat((1 << 20) / bad.len());
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=b");
    sub.client.send_text(&many);
    let mut refused = 0;
    loop {
        let word = sub.word();
        if word.starts_with("error 429 ") {
            break;
        }
        assert!(word.starts_with("error 400 "), "{word}");
        refused += 1;
    }
    assert!((200..400).contains(&refused), "{refused}");
    // Nothing of the rest is answered, and the connection goes on.
    publish(server.address, "topic=b", "live");
    assert_eq!(sub.word(), "live");
    let response = post(server.address, "/send", "", &many);
    assert_eq!(response.status, 200);
    let answers: Vec<_> = response.text().split_terminator("\n\n").map(|block| Block::parse(block).word()).collect();
    assert!((201..400).contains(&answers.len()), "{}", answers.len());
    let (last, before) = answers.split_last().unwrap();
    assert!(last.starts_with("error 429 ") && before.iter().all(|word| word.starts_with("error 400 ")));
    // Others on the same connection have their own.
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=b");
    sub.say("id: k\ntopic: b\ndata: x");
    assert!(["ack", "x"].iter().any(|start| sub.word().starts_with(start)));
}

#[test]
fn what_is_no_text_or_too_long_is_refused_with_415_and_413() {
    let server = hub(1);
    let mut client = Client::connect(server.address);
    send(&mut client, "POST", "/publish?topic=a", "", b"\xff");
    assert_eq!(client.response().status, 415);
    send(&mut client, "POST", "/send", "", b"data: \xff");
    assert_eq!(client.response().status, 415);
    let lines = "Content-Type: application/octet-stream\r\n";
    assert_eq!(post(server.address, "/publish?topic=a", lines, "x").status, 415);
    let mut client = Client::connect(server.address);
    client.write(b"POST /publish?topic=a HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n");
    assert_eq!(client.response().status, 413);
    // As long as a body may be; every line costs more as a block.
    let mut client = Client::connect(server.address);
    send(&mut client, "POST", "/publish?topic=a", "", &vec![b'\n'; 1 << 20]);
    assert_eq!(client.response().status, 413);
}

#[test]
fn the_application_s_header_lines_are_on_every_answer() {
    let server = hub(1);
    let lines = |head: &str| CORS.iter().all(|(name, value)| header(head, name) == Some(value));
    for (method, target, status) in [
        ("GET", "/poll?topic=a", 200),
        ("GET", "/poll?topic=a&timeout=x", 400),
        ("GET", "/poll?topic=a&lastId=x", 400),
        ("GET", "/poll?topic=", 400),
        ("DELETE", "/poll", 405),
        ("GET", "/ws?topic=a", 426),
        ("DELETE", "/events", 405),
        ("GET", "/publish", 405),
        ("POST", "/publish?topic=a", 200),
        ("POST", "/publish?topic=a&to=x", 400),
        ("POST", "/send", 200),
        ("POST", "/ack", 400),
        ("GET", "/events?topic=a&session=x", 400),
    ] {
        let mut client = Client::connect(server.address);
        send(&mut client, method, target, "", b"");
        let response = client.response();
        assert_eq!(response.status, status, "{method} {target} {response:?}");
        assert!(lines(&response.head), "{method} {target} {response:?}");
    }
    for via in BOTH {
        let (_, head) = Sub::ask(server.address, via, "topic=a", "");
        assert!(lines(&head), "{head}");
    }
    let mut client = Client::connect(server.address);
    client.write(b"GET /events HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n");
    let response = client.response();
    assert!(response.status == 406 && lines(&response.head), "{response:?}");
    let mut client = Client::connect(server.address);
    client.write(ws_request("topic=a", "Sec-WebSocket-Version: 7\r\n").as_bytes());
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 4") && lines(&head), "{head}");
}
