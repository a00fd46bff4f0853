//! The hub over real sockets: one event on three transports, sessions, presence, acknowledgement, refusals.

mod net_support;

use net_support::hub::{
    BOTH, Block, CORS, Sub, Via, ask_poll, header, hub, on, open, poll, polled, post, publish, send, settings, with,
    ws_request,
};
use net_support::wire::{BINARY, Client, End, PING, TEXT, frame};
use net_support::{Running, WAIT, eventually, eventually_eq, start};
use std::io::Write;
use std::num::NonZeroU32;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tautline::heartbeat::HeartbeatConfig;
use tautline::http::credentials::{bearer, cookie};
use tautline::hub::{
    Asking, Authority, Denied, HistoryLimits, HubConfig, Identity, Keeps, OwnTopic, Policies, RateLimit, SlowReader,
    Tokens, TopicPolicy,
};
use tautline::net::{Config, DrainConfig, QueueConfig, SlowPolicy};

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

// Presence.

#[test]
fn who_is_here_is_a_snapshot_then_joins_and_after_the_grace_leaves() {
    let server = start(&with(settings(), Names), 2, on());
    let (mut ann, words) = named(server.address, Via::Events, "ann", "topic=room");
    assert_eq!(words, ["presence room here 1\nann"]);
    let (mut bob, words) = named(server.address, Via::WebSocket, "bob", "topic=room");
    assert_eq!(words, ["presence room here 2\nann\nbob"]);
    assert_eq!(ann.words(2), ["presence room join ann", "presence room join bob"]);
    // A second connection of one user's, another session or not, is no second user.
    let (again, _) = named(server.address, Via::Events, "bob", "topic=room");
    bob.say("event: tautline.presence\ntopic: room");
    while bob.word() != "presence room here 2\nann\nbob" {}
    drop(again);
    // Longer than the grace: bob is still here by the other one.
    std::thread::sleep(Duration::from_millis(700));
    server.handle.publish("room", &tautline::sse::Event::new("still two")).unwrap();
    assert_eq!(ann.word(), "still two");
    drop(bob);
    assert_eq!(ann.word(), "presence room leave bob");
    assert_eq!(server.handle.presence("room"), (1, vec!["ann".to_owned()]));
    // Who is back within the grace never went.
    let (bob, _) = named(server.address, Via::WebSocket, "bob", "topic=room");
    assert_eq!(ann.word(), "presence room join bob");
    drop(bob);
    let (mut bob, _) = named(server.address, Via::WebSocket, "bob", "topic=room");
    std::thread::sleep(Duration::from_millis(700));
    server.handle.publish("room", &tautline::sse::Event::new("still here")).unwrap();
    assert_eq!(ann.word(), "still here");
    bob.say("event: tautline.unsubscribe\ntopic: room");
    assert_eq!(ann.word(), "presence room leave bob");
    bob.say("event: tautline.presence\ntopic: room");
    while bob.word() != "error room 403 presence\nnot subscribed" {}
}

#[test]
fn who_polls_is_here_between_polls() {
    let server = start(&with(settings(), Names), 2, on());
    let (mut ann, _) = named(server.address, Via::Events, "ann", "topic=room");
    assert_eq!(ann.word(), "presence room join ann");
    let mut client = Client::connect(server.address);
    let poll = |client: &mut Client, query: &str| {
        client.write(
            format!("GET /poll?topic=room&{query} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer bob\r\nAccept: text/event-stream\r\n\r\n")
                .as_bytes(),
        );
        polled(client)
    };
    let first = poll(&mut client, "");
    let session = first.session.unwrap();
    assert_eq!(ann.word(), "presence room join bob");
    // For longer than the grace, in all.
    let (mut last, until) = (first.last, Instant::now() + Duration::from_secs(1));
    while Instant::now() < until {
        last = poll(&mut client, &format!("timeout=0&lastId={last}&session={session}")).last;
        std::thread::sleep(Duration::from_millis(20));
    }
    server.handle.publish("room", &tautline::sse::Event::new("nobody came and nobody went")).unwrap();
    assert_eq!(ann.word(), "nobody came and nobody went");
    assert_eq!(ann.word(), "presence room leave bob");
}

// Acknowledged delivery.

#[test]
fn what_is_not_acknowledged_in_time_is_sent_again_in_order_and_with_the_same_ids() {
    let config = HubConfig { acknowledge_within: Duration::from_millis(300), ..settings() };
    let server = start(&open(config), 2, on());
    for via in BOTH {
        let mut sub = Sub::new(server.address, via, &format!("topic={via:?}&ack=1"));
        let ids: Vec<_> =
            (0..3).map(|number| publish(server.address, &format!("topic={via:?}"), &number.to_string())).collect();
        let mut got = || {
            let mut got = Vec::new();
            while got.len() < 3 {
                let block = sub.block();
                if !block.is_position() {
                    got.push(block.id.unwrap());
                }
            }
            got
        };
        assert_eq!((got(), got()), (ids.clone(), ids.clone()));
        let acknowledge = |sub: &mut Sub, id: &str| match via {
            Via::WebSocket => sub.say(&format!("event: tautline.ack\ndata: {id}")),
            Via::Events => {
                let query = format!("/ack?lastId={id}&session={}", sub.session);
                assert_eq!(post(server.address, &query, "", "").status, 204);
            }
        };
        acknowledge(&mut sub, &ids[1]);
        // What was on the way comes, and then the last one alone.
        let mut in_a_row = 0;
        while in_a_row < 3 {
            let block = sub.block();
            if !block.is_position() {
                in_a_row = if block.id.as_ref() == Some(&ids[2]) { in_a_row + 1 } else { 0 };
            }
        }
        acknowledge(&mut sub, &ids[2]);
        std::thread::sleep(Duration::from_millis(700));
        publish(server.address, &format!("topic={via:?}"), "next");
        while sub.word() != "next" {}
    }
}

#[test]
fn a_session_that_comes_back_goes_on_from_what_it_acknowledged_wherever_its_cursor_is() {
    let server = hub(2);
    for via in BOTH {
        let mut sub = Sub::new(server.address, via, &format!("topic={via:?}&ack=1"));
        let ids: Vec<_> =
            (0..3).map(|number| publish(server.address, &format!("topic={via:?}"), &number.to_string())).collect();
        let words = sub.words(3);
        let query = format!("/ack?lastId={}&session={}", ids[0], sub.session);
        assert_eq!(post(server.address, &query, "", "").status, 204);
        let session = sub.session.clone();
        sub.client.reset();
        eventually_eq(0, || server.peers());
        for other in BOTH {
            let query = format!("topic={via:?}&ack=1&session={session}&lastId={}", ids[2]);
            let (sub, again) = Sub::replay(server.address, other, &query, 2);
            assert_eq!(again, words[1..]);
            sub.client.reset();
            eventually_eq(0, || server.peers());
        }
    }
}

// Who may what.

/// Whoever says a name is that; topics that begin with `no` are nobody's, and `user:` their user's.
struct Names;

impl Authority for Names {
    fn identify(&self, asking: &Asking<'_>) -> Result<Identity, Denied> {
        let of_head = asking.head.and_then(|head| {
            let cookie = cookie(head, "name").map(|value| value.expose().to_owned());
            bearer(head).map(|token| token.expose().to_owned()).or(cookie)
        });
        let name = of_head.or(asking.token.as_ref().map(|token| token.expose().to_owned()));
        match name.as_deref() {
            None => Err(Denied::TokenNeeded),
            Some("nobody") => Err(Denied::Unauthorized),
            Some("banned") => Err(Denied::Forbidden),
            Some(name) => {
                let own_topic = if name.starts_with("own") { OwnTopic::Subscribed } else { OwnTopic::No };
                Ok(Identity { own_topic, ..Identity::user(name) })
            }
        }
    }

    fn may_subscribe(&self, _: &Identity, topic: &str) -> bool {
        !topic.starts_with("no") && !topic.starts_with("user:")
    }

    fn may_publish(&self, who: &Identity, topic: &str) -> bool {
        who.user.as_deref() == Some("ann") && !topic.starts_with("no")
    }
}

fn named(address: std::net::SocketAddr, via: Via, name: &str, query: &str) -> (Sub, Vec<String>) {
    let mut sub = Sub::begin(address, via, query, &format!("Authorization: Bearer {name}\r\n"));
    let words = sub.until_position();
    (sub, words)
}

#[test]
fn a_token_is_taken_from_where_it_may_be_and_never_told_back() {
    for (tokens, query, protocol) in [
        (Tokens::Headers, false, false),
        (Tokens::Query, true, false),
        (Tokens::Subprotocol, false, true),
        (Tokens::Anywhere, true, true),
    ] {
        let server = start(&with(HubConfig { tokens, ..settings() }, Names), 1, on());
        let status = |via, query: &str, lines: &str| {
            let (_, head) = Sub::ask(server.address, via, query, lines);
            assert!(!head.contains("hunter2"), "{head}");
            head.split(' ').nth(1).unwrap().to_owned()
        };
        for via in BOTH {
            let yes = if via == Via::WebSocket { "101" } else { "200" };
            assert_eq!(status(via, "topic=a", "Authorization: Bearer hunter2\r\n"), yes);
            assert_eq!(status(via, "topic=a", "Cookie: x=y; name=hunter2\r\n"), yes);
            assert_eq!(status(via, "topic=a", "Authorization: Bearer nobody\r\n"), "401");
            assert_eq!(status(via, "topic=a", "Authorization: Bearer banned\r\n"), "403");
        }
        assert_eq!(status(Via::Events, "topic=a", ""), "401");
        let allowed = |yes: bool| if yes { "200" } else { "401" };
        assert_eq!(status(Via::Events, "topic=a&token=hunter2", ""), allowed(query));
        let poll = format!("GET /poll?topic=a&token=hunter2 HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut client = Client::connect(server.address);
        client.write(poll.as_bytes());
        assert_eq!(client.response().status.to_string(), allowed(query));
        // On a WebSocket it is taken as told, or still waited for.
        for (place, taken) in [("token=hunter2", query), ("", protocol)] {
            let lines = if place.is_empty() { "Sec-WebSocket-Protocol: tautline.token.hunter2\r\n" } else { "" };
            let (mut sub, head) = Sub::ask(server.address, Via::WebSocket, &format!("topic=a&{place}"), lines);
            assert!(head.starts_with("HTTP/1.1 101") && !head.contains("hunter2"), "{head}");
            assert_eq!(header(&head, "Sec-WebSocket-Protocol"), Some("tautline"));
            if !taken {
                sub.say("event: tautline.token\ndata: hunter2");
            }
            sub.welcomed();
        }
    }
}

#[test]
fn before_a_first_message_token_nothing_else_is_taken_and_not_for_ever() {
    let server = start(&with(HubConfig { token_within: Duration::from_millis(300), ..settings() }, Names), 1, on());
    let begin = || {
        let (sub, head) = Sub::ask(server.address, Via::WebSocket, "topic=a", "");
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        sub
    };
    let mut watcher = named(server.address, Via::Events, "ann", "topic=a").0;
    for message in ["topic: a\ndata: x", "event: tautline.token\ndata: ann\n\ndata: x", "", "event: tautline.token"] {
        let mut sub = begin();
        sub.say(message);
        assert!(sub.word().starts_with("close 4001"), "{message}");
    }
    let mut sub = begin();
    sub.client.send(BINARY, b"event: tautline.token\ndata: ann");
    assert!(sub.word().starts_with("close 4001"));
    let mut sub = begin();
    sub.say("event: tautline.token\ndata: nobody");
    assert!(sub.word().starts_with("close 4001"));
    let mut sub = begin();
    sub.say("event: tautline.token\ndata: banned");
    assert!(sub.word().starts_with("close 4003"));
    let (mut sub, _) = Sub::ask(server.address, Via::WebSocket, "topic=nope", "");
    sub.say("event: tautline.token\ndata: ann");
    assert!(sub.word().starts_with("close 4003"));
    let mut silent = begin();
    assert_eq!(silent.word(), "close 4001 no token");
    let mut sub = begin();
    sub.say("event: tautline.token\ndata: ann");
    sub.welcomed();
    sub.until_position();
    sub.say("event: tautline.token\ndata: ann");
    assert!(sub.word().starts_with("error 400 token"));
    sub.say("topic: a\ndata: hello");
    assert_eq!((sub.word(), watcher.word()), ("hello".into(), "hello".into()));
    // Well beyond the time for a token.
    std::thread::sleep(Duration::from_millis(500));
    sub.say("topic: a\ndata: again");
    assert_eq!(sub.word(), "again");
}

#[test]
fn who_may_not_is_refused_alike_whether_the_topic_is_there_or_not() {
    let server = start(&with(settings(), Names), 1, on());
    let ann = "Authorization: Bearer ann\r\n";
    server.handle.publish("no-there", &tautline::sse::Event::new("secret")).unwrap();
    let mut answers = Vec::new();
    for topic in ["no-there", "no-nothing"] {
        for via in BOTH {
            let (_, head) = Sub::ask(server.address, via, &format!("topic=a&topic={topic}&lastId=0"), ann);
            assert!(head.starts_with("HTTP/1.1 403"), "{head}");
            answers.push(head);
        }
        let mut client = Client::connect(server.address);
        client.write(format!("GET /poll?topic={topic}&lastId=0 HTTP/1.1\r\nHost: a\r\n{ann}\r\n").as_bytes());
        let response = client.response();
        assert_eq!((response.status, response.text()), (403, "not allowed\n"));
        let response = post(server.address, &format!("/publish?topic={topic}"), ann, "x");
        assert_eq!((response.status, response.text()), (403, "not allowed\n"));
        let mut sub = named(server.address, Via::WebSocket, "ann", "topic=a").0;
        sub.say(&format!("event: tautline.subscribe\ntopic: {topic}\ndata: 0"));
        assert_eq!(sub.word(), format!("error {topic} 403 subscribe\nnot allowed"));
        sub.say(&format!("id: k\ntopic: {topic}\ndata: x"));
        assert_eq!(sub.word(), format!("error {topic} 403 publish k\nnot allowed"));
        sub.say(&format!("event: tautline.presence\ntopic: {topic}"));
        assert_eq!(sub.word(), format!("error {topic} 403 presence\nnot subscribed"));
    }
    assert_eq!((&answers[0], &answers[1]), (&answers[2], &answers[3]));
    // And whoever is not known does not learn it either.
    for topic in ["no-there", "a"] {
        assert_eq!(post(server.address, &format!("/publish?topic={topic}"), "", "x").status, 401);
    }
}

#[test]
fn a_user_has_a_topic_of_their_own() {
    let server = start(&with(settings(), Names), 2, on());
    for via in BOTH {
        let (mut own, _) = named(server.address, via, "own1", "topic=a");
        let (mut ann, _) = named(server.address, via, "ann", "topic=a");
        server.handle.publish("user:own1", &tautline::sse::Event::new("for you")).unwrap();
        server.handle.publish("a", &tautline::sse::Event::new("for all")).unwrap();
        assert_eq!(own.words(2), ["for you", "for all"]);
        assert_eq!(ann.word(), "for all");
        let (_, head) = Sub::ask(server.address, via, "topic=user:own1", "Authorization: Bearer ann\r\n");
        assert!(head.starts_with("HTTP/1.1 403"));
    }
}

#[test]
fn a_topic_or_everything_is_taken_from_a_user_or_a_session_at_once() {
    let server = start(&with(settings(), Names), 2, on());
    let mut subs: Vec<_> =
        (0..6).map(|number| named(server.address, BOTH[number % 2], "bob", "topic=a&topic=b").0).collect();
    let mut ann = named(server.address, Via::WebSocket, "ann", "topic=a&topic=b").0;
    server.handle.revoke("bob", Some("a"));
    subs.iter_mut().for_each(|sub| assert_eq!(sub.word(), "unsubscribed a revoked"));
    server.handle.publish("a", &tautline::sse::Event::new("1")).unwrap();
    server.handle.publish("b", &tautline::sse::Event::new("2")).unwrap();
    subs.iter_mut().for_each(|sub| assert_eq!(sub.word(), "2"));
    assert_eq!(ann.words(2), ["1", "2"]);
    server.handle.revoke_session(&subs[0].session, Some("bob"), None);
    assert_eq!(subs[0].word(), "close 4001 revoked");
    server.handle.revoke_session(&subs[1].session, Some("bob"), Some("b"));
    assert_eq!(subs[1].word(), "unsubscribed b revoked");
    server.handle.revoke("bob", None);
    for sub in &mut subs[1..] {
        let end = sub.word();
        assert!(end == "close 4001 revoked" || end == "end", "{end}");
    }
    server.handle.publish("b", &tautline::sse::Event::new("3")).unwrap();
    assert_eq!(ann.word(), "3");
}

// Heartbeats.

fn short_beats() -> Config {
    let mut config = open(settings());
    let beat = HeartbeatConfig { interval: Duration::from_millis(200), ..HeartbeatConfig::DEFAULT };
    config.ws.heartbeat = Some(beat);
    config.stream.heartbeat = Duration::from_millis(200);
    config
}

#[test]
fn a_silent_subscriber_gets_its_position_within_the_announced_time_and_not_much_more_often() {
    let server = start(&short_beats(), 2, on());
    for via in BOTH {
        let mut sub = Sub::new(server.address, via, "topic=a");
        assert!(sub.heartbeat >= Duration::from_millis(200) && sub.heartbeat <= Duration::from_millis(400));
        let began = Instant::now();
        for _ in 0..10 {
            assert!(sub.block().is_position());
        }
        // On a busy machine it may be late, but never early.
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(800), "{took:?} for ten beats");
        assert!(took <= 25 * sub.heartbeat, "{took:?} for ten beats of {:?}", sub.heartbeat);
        // And it is the present one.
        let id = publish(server.address, "topic=other", "x");
        while !sub.block().is_position() || sub.cursor != id {}
    }
}

#[test]
fn a_subscriber_whose_client_alone_talks_gets_its_position_all_the_same() {
    let server = start(&short_beats(), 1, on());
    let ack = frame(0x80 | TEXT, b"event: tautline.ack\ndata: 1-1-0000beef\n\n");
    for words in [frame(0x80 | PING, b"x"), ack, frame(0x80 | TEXT, b": nothing\n\n")] {
        let mut sub = Sub::new(server.address, Via::WebSocket, "topic=a");
        let mut talker = sub.client.stream.try_clone().unwrap();
        let (stop, stopped) = mpsc::channel::<()>();
        let talking = std::thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(20)) == Err(mpsc::RecvTimeoutError::Timeout) {
                talker.write_all(&words).unwrap();
            }
        });
        let began = Instant::now();
        (0..10).for_each(|_| assert!(sub.block().is_position()));
        let took = began.elapsed();
        drop(stop);
        talking.join().unwrap();
        assert!(took <= 25 * sub.heartbeat, "{took:?} for ten positions");
    }
}

// The end.

#[test]
fn a_drain_tells_when_to_come_back_and_answers_held_polls() {
    let server = hub(2);
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=a");
    let mut stream = Sub::new(server.address, Via::Events, "topic=a");
    let start = poll(server.address, "topic=a").last;
    let mut held: Vec<_> = (0..4).map(|_| Client::connect(server.address)).collect();
    held.iter_mut().for_each(|client| ask_poll(client, &format!("topic=a&timeout=55&lastId={start}")));
    eventually_eq(6, || server.peers());
    server.handle.drain(DrainConfig { over: Duration::from_millis(200), ..DrainConfig::default() });
    assert_eq!(sub.word(), "close 1012 service restart retry=3000");
    sub.client.send_close(1012);
    assert_eq!(stream.word(), "end");
    for client in &mut held {
        let polled = polled(client);
        assert!(polled.words.is_empty() && polled.last == start, "{polled:?}");
        assert_eq!(header(&polled.response.head, "Connection"), Some("close"));
        client.expect_eof();
    }
}

#[test]
fn without_a_retry_the_reason_has_no_window() {
    let mut config = open(settings());
    config.stream.retry = None;
    let server = start(&config, 1, on());
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=a");
    server.handle.drain(DrainConfig { over: Duration::from_millis(10), ..DrainConfig::default() });
    assert_eq!(sub.word(), "close 1012 service restart");
}

#[test]
fn a_client_that_goes_while_it_is_sent_to_is_gone() {
    let server = hub(2);
    for round in 0..20 {
        let sub = Sub::begin(server.address, BOTH[round % 2], "topic=a&lastId=0", "");
        publish(server.address, "topic=a", &"x".repeat(10_000));
        sub.client.reset();
    }
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=a");
    publish(server.address, "topic=a", "still here");
    while sub.word() != "still here" {}
    sub.client.send_close(1000);
    assert_eq!(sub.try_block().map(|block| block.event), Ok("close 1000 ".into()));
    assert_eq!(sub.try_block(), Err(End::Eof));
    server.wait_for_no_peers();
}
