//! Who a hub's subscribers are and what holds between them and the hub: presence, acknowledgement, tokens and permissions, heartbeats, the
//! end.

mod net_support;

use net_support::hub::{
    BOTH, Sub, Via, ask_poll, header, hub, on, open, poll, polled, post, publish, send, settings, with,
};
use net_support::wire::{BINARY, Client, End, PING, TEXT, frame};
use net_support::{eventually, eventually_eq, start};
use std::io::Write;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tautline::heartbeat::HeartbeatConfig;
use tautline::http::credentials::{bearer, cookie};
use tautline::hub::{
    Asking, Authority, Denied, HubConfig, Identity, OwnTopic, Policies, PresenceLimits, Tokens, TopicPolicy, WhoIsHere,
};
use tautline::net::{Config, DrainConfig};

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
fn who_unsubscribes_or_has_a_topic_taken_away_is_gone_without_the_grace() {
    let policies = Policies::new(TopicPolicy { presence: WhoIsHere::Kept, ..TopicPolicy::default() });
    let presence = PresenceLimits { grace: Duration::from_secs(3600), ..PresenceLimits::default() };
    let server = start(&with(HubConfig { policies, presence, ..HubConfig::default() }, Names), 2, on());
    let (mut ann, _) = named(server.address, Via::Events, "ann", "topic=room");
    assert_eq!(ann.word(), "presence room join ann");
    let come = |ann: &mut Sub, via| {
        let (bob, _) = named(server.address, via, "bob", "topic=room");
        assert_eq!(ann.word(), "presence room join bob");
        bob
    };
    let mut bob = come(&mut ann, Via::WebSocket);
    bob.say("event: tautline.unsubscribe\ntopic: room");
    assert_eq!(ann.word(), "presence room leave bob");
    for (via, topic) in
        [(Via::WebSocket, Some("room")), (Via::Events, Some("room")), (Via::WebSocket, None), (Via::Events, None)]
    {
        let _bob = come(&mut ann, via);
        server.handle.revoke("bob", topic);
        assert_eq!(ann.word(), "presence room leave bob", "{via:?} {topic:?}");
    }
    // Between two polls, and with a connection on each worker.
    let mut client = Client::connect(server.address);
    client.write(
        b"GET /poll?topic=room HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer bob\r\nAccept: text/event-stream\r\n\r\n",
    );
    polled(&mut client);
    assert_eq!(ann.word(), "presence room join bob");
    let _others: Vec<_> = (0..8).map(|_| named(server.address, Via::WebSocket, "bob", "topic=room")).collect();
    server.handle.revoke("bob", None);
    assert_eq!(ann.word(), "presence room leave bob");
    assert_eq!(server.handle.presence("room"), (1, vec!["ann".to_owned()]));
}

#[test]
fn a_guest_whose_session_is_revoked_is_gone_without_the_grace() {
    let policies = Policies::new(TopicPolicy { presence: WhoIsHere::Kept, ..TopicPolicy::default() });
    let presence = PresenceLimits { grace: Duration::from_secs(3600), ..PresenceLimits::default() };
    let server = start(&net_support::hub::open(HubConfig { policies, presence, ..HubConfig::default() }), 2, on());
    let mut first = poll(server.address, "topic=room");
    server.handle.revoke_session(&first.session.take().unwrap(), None, None);
    eventually_eq(0, || server.handle.presence("room").0);
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
fn what_was_never_published_nobody_has_received() {
    let server = start(&open(settings()), 2, on());
    let sub = Sub::new(server.address, Via::Events, "topic=a&ack=1");
    let session = sub.session.clone();
    let first = publish(server.address, "topic=a", "1");
    // The same place in the log, and later than anything there is.
    let beyond = format!("9999999999999-0-{}", first.rsplit('-').next().unwrap());
    for target in
        [format!("/ack?lastId={beyond}"), "/ack?lastId=0".into(), format!("/poll?topic=b&ack=1&lastId={beyond}")]
    {
        let (method, status) = if target.starts_with("/ack") { ("POST", 204) } else { ("GET", 200) };
        let mut client = Client::connect(server.address);
        send(&mut client, method, &format!("{target}&timeout=0&session={session}"), "", b"");
        assert_eq!(client.response().status, status, "{target}");
    }
    let said = format!("event: tautline.ack\ndata: {beyond}\n\n");
    assert_eq!(post(server.address, &format!("/send?session={session}"), "", &said).status, 200);
    // Nor does who asks for the head of an answer receive anything.
    let mut client = Client::connect(server.address);
    client.write(
        format!("HEAD /poll?topic=a&ack=1&timeout=0&lastId={first}&session={session} HTTP/1.1\r\nHost: a\r\n\r\n")
            .as_bytes(),
    );
    assert!(client.head().starts_with("HTTP/1.1 200"));
    drop(sub);
    let mut sub =
        Sub::begin(server.address, Via::Events, &format!("topic=a&ack=1&lastId={first}&session={session}"), "");
    assert_eq!(sub.until_position(), ["1"], "it was not acknowledged");
}

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
        let poll = "GET /poll?topic=a&token=hunter2 HTTP/1.1\r\nHost: a\r\n\r\n";
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
fn who_says_that_a_token_will_come_is_waited_for_though_anybody_is_admitted() {
    struct Anybody;
    impl Authority for Anybody {
        fn identify(&self, asking: &Asking<'_>) -> Result<Identity, Denied> {
            match (asking.head.and_then(bearer), &asking.token) {
                (Some(token), _) => Ok(Identity::user(token.expose())),
                (None, Some(token)) => Ok(Identity::user(token.expose())),
                (None, None) => Ok(Identity::default()),
            }
        }

        fn may_publish(&self, who: &Identity, _: &str) -> bool {
            who.user.as_deref() == Some("ann")
        }
    }
    let server = start(&with(settings(), Anybody), 1, on());
    // Whatever the request says.
    for lines in ["", "Authorization: Bearer bob\r\n"] {
        let (mut sub, _) = Sub::ask(server.address, Via::WebSocket, "topic=a&auth=message", lines);
        sub.say("event: tautline.token\ndata: ann");
        sub.welcomed();
        sub.until_position();
        sub.say("topic: a\ndata: by ann");
        assert_eq!(sub.word(), "by ann");
    }
    // Who does not, has said all with the request; and another value is somebody else's parameter.
    for query in ["topic=a", "topic=a&auth=other"] {
        let mut sub = Sub::new(server.address, Via::WebSocket, query);
        sub.say("event: tautline.token\ndata: ann");
        assert!(sub.word().starts_with("error 400 token"));
    }
    // An event stream has no first message.
    let mut stream = Sub::new(server.address, Via::Events, "topic=a&auth=message");
    server.handle.publish("a", &tautline::sse::Event::new("x")).unwrap();
    assert_eq!(stream.word(), "x");
}

#[test]
fn who_is_revoked_while_a_body_is_on_its_way_does_not_publish_it() {
    let server = start(&with(settings(), Names), 2, on());
    let (mut watcher, _) = named(server.address, Via::Events, "bob", "topic=a");
    for (target, body) in [("/publish?topic=a", "data"), ("/send", "topic: a\ndata: data\n\n")] {
        for (whose, status) in [("bob", 200), ("ann", 403)] {
            let mut client = Client::connect(server.address);
            let head = format!(
                "POST {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ann\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let before = server.totals().requests;
            client.write(&[head.as_bytes(), &body.as_bytes()[..1]].concat());
            eventually("the head is in", || server.totals().requests > before);
            server.handle.revoke(whose, if whose == "bob" { Some("other") } else { None });
            std::thread::sleep(Duration::from_millis(50));
            client.write(&body.as_bytes()[1..]);
            assert_eq!(client.response().status, status, "{target} {whose}");
            if status == 200 {
                assert_eq!(watcher.word(), "data");
            }
        }
    }
    server.handle.publish("a", &tautline::sse::Event::new("end")).unwrap();
    assert_eq!(watcher.word(), "end");
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

#[test]
fn a_post_with_the_session_of_a_log_that_is_over_is_to_come_again() {
    let server = hub(1);
    let first = poll(server.address, "topic=a");
    let token = header(&first.response.head, "Tautline-Session").expect("a token").to_owned();
    let other = format!("{}00000000", &token[..token.len() - 8]);
    let lines = |token: &str| format!("Tautline-Session: {token}\r\n");
    let answer = post(server.address, "/publish?topic=a&key=k", &lines(&other), "x");
    assert_eq!((answer.status, header(&answer.head, "Retry-After")), (503, Some("1")));
    assert_eq!(post(server.address, "/publish?topic=a&key=k", &lines(&token), "x").status, 200);
}
