//! The hub over real sockets, where two things happen at once: a revocation and a message, a trial and an acknowledgement, HEAD and presence.

mod net_support;

use net_support::hub::{
    BOTH, Block, Sub, Via, ask_poll, hub, on, open, poll, polled, post, publish, send, settings, with,
};
use net_support::wire::Client;
use net_support::{On, start};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;
use tautline::http::{RequestHead, Response};
use tautline::hub::{Asking, Authority, Denied, HubConfig, Identity, PresenceLimits, RateLimit};
use tautline::net::Endpoint;

/// With a grace that does not end: who polled once is here.
fn lasting() -> HubConfig {
    let presence = PresenceLimits { grace: Duration::from_secs(3600), ..PresenceLimits::default() };
    HubConfig { presence, ..settings() }
}

/// So many guests that are here without connections.
fn crowd(address: SocketAddr, count: usize, query: &str) {
    let mut client = Client::connect(address);
    for _ in 0..count {
        ask_poll(&mut client, query);
        polled(&mut client);
    }
}

#[test]
fn a_head_of_a_session_that_is_here_does_not_make_its_user_leave() {
    for target in ["/poll?topic=room", "/events?topic=room"] {
        let server = hub(1);
        let sub = Sub::new(server.address, Via::WebSocket, "topic=room");
        let mut client = Client::connect(server.address);
        client.write(format!("HEAD {target}&session={} HTTP/1.1\r\nHost: a\r\n\r\n", sub.session).as_bytes());
        assert!(client.head().starts_with("HTTP/1.1 200"));
        std::thread::sleep(Duration::from_millis(900));
        assert_eq!(server.handle.presence("room").0, 1, "{target}");
        drop(sub);
    }
}

#[test]
fn an_acknowledgement_reaches_a_stream_although_another_connection_of_its_session_came_and_went() {
    let config = HubConfig { acknowledge_within: Duration::from_millis(500), ..settings() };
    let server = start(&open(config), 1, on());
    let mut stream = Sub::new(server.address, Via::Events, "topic=a&ack=1");
    // As a client's trial of a better transport.
    let mut trial = Sub::new(server.address, Via::WebSocket, &format!("topic=a&ack=1&session={}", stream.session));
    trial.client.send_close(1000);
    trial.client.close_frame();
    drop(trial);
    let id = publish(server.address, "topic=a", "1");
    assert_eq!(stream.word(), "1");
    let answer = post(server.address, &format!("/ack?lastId={id}&session={}", stream.session), "", "");
    assert_eq!(answer.status, 204);
    std::thread::sleep(Duration::from_millis(1200));
    publish(server.address, "topic=a", "2");
    assert_eq!(stream.word(), "2", "nothing is sent again");
}

struct Users;

impl Authority for Users {
    fn identify(&self, asking: &Asking<'_>) -> Result<Identity, Denied> {
        let head = asking.head.ok_or(Denied::Unauthorized)?;
        let user = head.headers().get("x-user").and_then(|user| std::str::from_utf8(user).ok());
        Ok(user.map(Identity::user).unwrap_or_default())
    }
}

#[test]
fn whoever_was_revoked_publishes_nothing_more_while_the_close_is_on_its_way() {
    let server = start(&with(settings(), Users), 1, on());
    let mut watch = Sub::new(server.address, Via::WebSocket, "topic=a");
    let mut ann = Sub::begin(server.address, Via::WebSocket, "topic=a", "X-User: ann\r\n");
    ann.until_position();
    server.handle.revoke("ann", None);
    let word = ann.word();
    assert!(word.starts_with("close 4001"), "{word}");
    ann.say("topic: a\ndata: still here");
    std::thread::sleep(Duration::from_millis(200));
    publish(server.address, "topic=a", "end");
    assert_eq!(watch.word(), "end");
}

#[test]
fn a_poll_whose_body_never_comes_is_answered_and_nothing_of_it_is_taken_for_a_request() {
    let server = hub(1);
    let start = poll(server.address, "topic=a").last;
    for sent in ["GET /x HT", "0123456789"] {
        let mut client = Client::connect(server.address);
        client.write(
            format!("GET /poll?topic=a&lastId={start} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nAccept: text/event-stream\r\n\r\n{}", sent)
                .as_bytes(),
        );
        std::thread::sleep(Duration::from_millis(100));
        publish(server.address, "topic=a", "1");
        assert_eq!(polled(&mut client).words[0], "1");
        if sent.len() == 10 {
            ask_poll(&mut client, "topic=a");
            assert_eq!(polled(&mut client).words, Vec::<String>::new());
        }
        client.reset();
    }
}

#[test]
fn pipelined_polls_are_answered_in_order_and_each_with_its_own() {
    let server = hub(1);
    let start = poll(server.address, "topic=a").last;
    let mut client = Client::connect(server.address);
    let ask = |query: &str| format!("GET /poll?{query} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
    client.write(
        format!(
            "{}{}{}",
            ask(&format!("topic=a&lastId={start}")),
            ask(&format!("topic=b&lastId={start}")),
            ask("topic=c")
        )
        .as_bytes(),
    );
    std::thread::sleep(Duration::from_millis(100));
    publish(server.address, "topic=b", "b");
    publish(server.address, "topic=a", "a");
    assert_eq!(polled(&mut client).words, ["a"]);
    assert_eq!(polled(&mut client).words, ["b"]);
    assert_eq!(polled(&mut client).words, Vec::<String>::new());
    // HTTP/1.0, and one that closes.
    for (version, line) in [("1.0", ""), ("1.1", "Connection: close\r\n"), ("1.0", "Connection: keep-alive\r\n")] {
        let start = poll(server.address, "topic=a").last;
        let mut client = Client::connect(server.address);
        client.write(
            format!(
                "GET /poll?topic=a&lastId={start} HTTP/{version}\r\nHost: a\r\n{line}Accept: text/event-stream\r\n\r\n"
            )
            .as_bytes(),
        );
        std::thread::sleep(Duration::from_millis(100));
        publish(server.address, "topic=a", "x");
        let answer = polled(&mut client);
        assert_eq!(answer.words, ["x"]);
        if line != "Connection: keep-alive\r\n" {
            client.expect_eof();
        } else {
            assert!(answer.response.head.to_lowercase().contains("connection: keep-alive"), "{}", answer.response.head);
        }
    }
}

#[test]
fn a_json_answer_that_own_cursors_fill_does_not_take_the_others_back() {
    let server = hub(1);
    let start = poll(server.address, "topic=a").last;
    // Six bytes each in JSON.
    let long = "\u{1}".repeat(30_000);
    (0..4).for_each(|_| drop(publish(server.address, "topic=a", &long)));
    let last = publish(server.address, "topic=b", "b");
    let mut client = Client::connect(server.address);
    client.write(format!("GET /poll?topic=b&topic=a@{start}&lastId={last} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    let answer = client.response();
    let text = answer.text();
    let (_, end) = text.split_once("\"lastId\":\"").unwrap();
    assert!(text.ends_with("\"more\":true}"), "{}", &text[text.len() - 100..]);
    assert_eq!(end.split('"').next().unwrap(), last, "topic b is complete up to there");
}

fn sleepy() -> On {
    On {
        request: |_, head: &RequestHead<'_>, cx| match head.path() {
            "/where" => cx.respond(&Response::new(200), cx.id().worker().to_string().as_bytes()).unwrap(),
            "/sleep" => {
                std::thread::sleep(Duration::from_millis(500));
                cx.respond(&Response::new(200), b"").unwrap();
            }
            path => {
                if let Some(endpoint) = Endpoint::of(path) {
                    let _ = cx.hub(head, endpoint, &[]);
                }
            }
        },
        ..On::default()
    }
}

/// Connections to each of two workers.
fn of_both(server: &net_support::Running) -> [Vec<Client>; 2] {
    let mut both = [Vec::new(), Vec::new()];
    while both.iter().any(|some| some.len() < 3) {
        let mut client = Client::connect(server.address);
        client.get("/where");
        let worker: usize = client.response().text().parse().unwrap();
        both[worker].push(client);
    }
    both
}

#[test]
fn a_poll_ahead_of_its_worker_is_not_taken_back_by_what_is_ephemeral() {
    let server = start(&open(settings()), 2, sleepy());
    let [mut first, mut second] = of_both(&server);
    let (mut sleeper, mut second_sleeper) = (first.pop().unwrap(), first.pop().unwrap());
    let (mut reader, mut writer) = (first.pop().unwrap(), second.pop().unwrap());
    let nap = || std::thread::sleep(Duration::from_millis(100));
    // One turn, in which the worker sleeps before it reads what the reader asks for.
    sleeper.get("/sleep");
    nap();
    second_sleeper.get("/sleep");
    nap();
    reader.write(b"GET /poll?");
    assert_eq!(sleeper.response().status, 200);
    nap();
    let mut say = |query: &str, data: &str| {
        send(&mut writer, "POST", &format!("/publish?{query}"), "", data.as_bytes());
        let answer = writer.response();
        assert_eq!(answer.status, 200);
        answer.text().split('"').nth(3).unwrap().to_owned()
    };
    say("topic=a&keep=no", "typing");
    let seen = say("topic=b", "b");
    reader.write(
        format!("topic=a&topic=b&lastId={seen}&timeout=1 HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
            .as_bytes(),
    );
    let answer = polled(&mut reader);
    assert_eq!(answer.last, seen, "{:?}", answer.words);
    let answer = polled({
        ask_poll(&mut reader, &format!("topic=a&topic=b&lastId={}&timeout=0", answer.last));
        &mut reader
    });
    assert_eq!(answer.words, Vec::<String>::new(), "it had that");
}

#[test]
fn commands_of_a_post_whose_answers_find_no_room_are_not_done_and_that_is_said() {
    let generous = NonZeroU32::new(100_000).unwrap();
    let hub = HubConfig { rate: RateLimit { per_second: generous, burst: generous }, ..lasting() };
    let mut config = open(hub);
    config.queue.limit = 8 << 10;
    let server = start(&config, 1, on());
    let (mut sub, _) = Sub::attach(server.address, Via::WebSocket, "topic=a");
    let query = format!("/send?session={}", sub.session);
    let many: String = (0..1000).map(|k| format!("id: k{k}\ntopic: a\ndata: {k}\n\n")).collect();
    let response = post(server.address, &query, "", &many);
    assert_eq!(response.status, 200);
    let answers: Vec<_> = response.text().split_terminator("\n\n").map(|block| Block::parse(block).word()).collect();
    let (last, done) = answers.split_last().unwrap();
    let k = done.len();
    assert!(k > 10, "{k}");
    assert_eq!(last.lines().next(), Some(&*format!("error a 503 publish k{k}")));
    assert!(done.iter().all(|word| word.starts_with("ack a k")), "{done:?}");
    // Those that were answered were published, and no other.
    publish(server.address, "topic=a", "the last one");
    let mut got = Vec::new();
    while got.last().is_none_or(|word| word != "the last one") {
        got.push(sub.word());
    }
    assert_eq!(got.len(), k + 1);
    // Nor does one answer come that is longer than what there is room for: 300 names here.
    let presence = || post(server.address, &query, "", "event: tautline.presence\ntopic: room\n\n");
    assert_eq!(Block::parse(presence().text()).word(), "presence room here 0");
    crowd(server.address, 300, "topic=room");
    let response = presence();
    assert_eq!(response.status, 200);
    let word = Block::parse(response.text()).word();
    assert_eq!(word.lines().next(), Some("error room 503 presence"));
}

#[test]
fn commands_of_a_message_whose_answers_find_no_room_are_refused_and_the_connection_goes_on() {
    let mut config = open(lasting());
    config.queue.limit = 16 << 10;
    let server = start(&config, 1, on());
    crowd(server.address, 300, "topic=room");
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=room");
    let asked = "event: tautline.presence\ntopic: room\n\n".repeat(20);
    sub.client.send_text(&format!("{asked}id: k\ntopic: other\ndata: x\n\n"));
    let mut snapshots = 0;
    let refused = loop {
        match sub.word() {
            word if word.starts_with("presence room here 301") => snapshots += 1,
            word if word.starts_with("presence") => {}
            word => break word,
        }
    };
    assert!(refused.starts_with("error room 503 presence"), "{refused}");
    assert!((1..5).contains(&snapshots), "{snapshots}");
    // What followed was not done: a client sends it again.
    sub.say("id: k\ntopic: other\ndata: x");
    assert!(sub.word().starts_with("ack other k "));
}

#[test]
fn who_attaches_gets_every_snapshot_although_all_together_are_longer_than_the_queue() {
    let mut config = open(lasting());
    config.queue.limit = 16 << 10;
    let server = start(&config, 1, on());
    // 12 rooms of 200 names: some 4 KiB each.
    let rooms: Vec<String> = (0..12).map(|room| format!("room{room}")).collect();
    let query = rooms.iter().map(|room| format!("topic={room}")).collect::<Vec<_>>().join("&");
    crowd(server.address, 200, &query);
    let whole = |words: Vec<String>| {
        let mut here: Vec<&str> = Vec::new();
        for word in &words {
            if let Some((room, rest)) = word.strip_prefix("presence ").and_then(|rest| rest.split_once(" here "))
                && rest.lines().count() > 200
            // and the number
            {
                here.push(room);
            }
        }
        here.sort_unstable();
        here.dedup();
        here.len()
    };
    for via in BOTH {
        let mut sub = Sub::begin(server.address, via, &query, "");
        assert_eq!(whole(sub.until_position()), rooms.len(), "{via:?}");
    }
    // By commands of one message, too.
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=none");
    sub.client.send_text(
        &rooms.iter().map(|room| format!("event: tautline.subscribe\ntopic: {room}\n\n")).collect::<String>(),
    );
    let (mut words, mut subscribed) = (Vec::new(), 0);
    while subscribed < rooms.len() {
        words.push(sub.word());
        subscribed += usize::from(words.last().unwrap().starts_with("subscribed"));
    }
    assert_eq!(whole(words), rooms.len());
}
