//! The hub of the example server, by whatever transport: docs/PROTOCOL.md over real sockets.

use super::client::{Answer, Event, Line, PATIENCE, Server, read_head};
use serde_json::{Value, json};
use std::io::{BufReader, Read};
use std::time::{Duration, Instant};

/// A WebSocket that speaks the hub's protocol.
struct Subscriber(Line);

impl Subscriber {
    fn attach(server: &Server, query: &str, headers: &[(&str, &str)]) -> Self {
        let headers = [headers, &[("Sec-WebSocket-Protocol", "other, tautline")]].concat();
        let line = server.upgrade(&format!("/ws?{query}"), &headers).expect("a WebSocket");
        assert_eq!(line.protocol.as_deref(), Some("tautline"));
        Self(line)
    }

    fn block(&mut self) -> String {
        let (opcode, payload) = self.0.frame();
        assert_eq!(opcode, 1, "{payload:?}");
        String::from_utf8(payload).expect("UTF-8").trim_end_matches('\n').to_owned()
    }

    fn say(&mut self, block: &str) {
        self.0.send(1, block.as_bytes());
    }

    /// Blocks up to the position block that ends an attach, and that position.
    fn position(&mut self) -> (String, Vec<String>) {
        let mut before = Vec::new();
        loop {
            let block = self.block();
            match block.strip_prefix("id: ").filter(|id| !id.contains('\n')) {
                Some(id) => return (id.to_owned(), before),
                None => before.push(block),
            }
        }
    }

    /// The next block of the protocol's own with this type.
    fn until(&mut self, event: &str) -> String {
        loop {
            let block = self.block();
            if block.lines().any(|line| line.strip_prefix("event: ") == Some(event)) {
                return block;
            }
        }
    }
}

fn publish(server: &Server, topic: &str, data: &str) -> String {
    let answer = server.ask("POST", &format!("/publish?topic={topic}"), &[], data.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().expect("an id").to_owned()
}

/// Publishes so many, numbered from 0; their ids. Every worker has them: without a cursor a poll is answered with where its worker is, and the
/// system spreads connections over the workers.
fn publish_all(server: &Server, topic: &str, count: usize) -> Vec<String> {
    let ids: Vec<_> = (0..count).map(|n| publish(server, topic, &n.to_string())).collect();
    let end = Instant::now() + PATIENCE;
    for _ in 0..20 {
        while poll(server, "", &[]).json()["lastId"].as_str() != ids.last().map(String::as_str) {
            assert!(Instant::now() < end, "a worker stays behind");
        }
    }
    ids
}

fn poll(server: &Server, query: &str, headers: &[(&str, &str)]) -> Answer {
    let answer = server.ask("GET", &format!("/poll?{query}"), headers, b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

fn data_of(blocks: &[String]) -> Vec<String> {
    blocks.iter().filter_map(|block| Event::of(block)).map(|event| event.data).collect()
}

fn told(blocks: &[String], event: &str) -> bool {
    blocks.iter().any(|block| block.lines().any(|line| line.strip_prefix("event: ") == Some(event)))
}

/// By each way that a cursor may come: what an attach brings behind it.
fn resumed(server: &Server, topic: &str, cursor: &str) -> Vec<(&'static str, Vec<String>)> {
    let query = format!("topic={topic}&lastId={cursor}");
    let stream = server.stream("GET", &format!("/events?{query}"), &[], b"").position().1;
    let header = [("Last-Event-ID", cursor)];
    // What EventSource says wins over the query that a page gave it once.
    let source = server.stream("GET", &format!("/events?topic={topic}&lastEventId=0"), &header, b"").position().1;
    let socket = Subscriber::attach(server, &query, &[]).position().1;
    let blocks = poll(server, &format!("{query}&timeout=0"), &[("Accept", "text/event-stream")]).text();
    let blocks = blocks.split("\n\n").map(str::to_owned).collect();
    let json = poll(server, &format!("{query}&timeout=0"), &[]).json();
    let messages = json["messages"].as_array().expect("a list").iter().map(|message| {
        let field = |name: &str| message[name].as_str().unwrap_or_default().replace('\n', "\ndata: ");
        format!("id: {}\ntopic: {}\nevent: {}\ndata: {}", field("id"), field("topic"), field("event"), field("data"))
    });
    let messages = messages.collect();
    vec![("stream", stream), ("EventSource", source), ("WebSocket", socket), ("blocks", blocks), ("JSON", messages)]
}

#[test]
fn a_client_that_comes_back_by_any_transport_gets_what_it_missed_once_and_in_order() {
    let server = Server::start(&["--workers", "2"]);
    let ids = publish_all(&server, "news", 10);
    for from in [0, 4, 9] {
        let expected: Vec<_> = (from + 1..10).map(|n| n.to_string()).collect();
        for (transport, blocks) in resumed(&server, "news", &ids[from]) {
            assert_eq!(data_of(&blocks), expected, "{transport} from {from}: {blocks:?}");
            let got: Vec<_> = blocks.iter().filter_map(|block| Event::of(block)).map(|event| event.id).collect();
            assert_eq!(got, ids[from + 1..], "{transport}");
            assert!(!told(&blocks, "tautline.gap"), "{transport}: {blocks:?}");
        }
    }
    for (transport, blocks) in resumed(&server, "news", "0") {
        assert_eq!(data_of(&blocks).len(), 10, "{transport}: everything that is retained");
        assert!(!told(&blocks, "tautline.gap"), "{transport}: {blocks:?}");
    }
}

#[test]
fn what_the_history_let_go_is_told_as_a_gap_by_any_transport() {
    let server = Server::start(&["--workers", "2", "--history", "3"]);
    let ids = publish_all(&server, "news", 10);
    for (transport, blocks) in resumed(&server, "news", &ids[2]) {
        assert_eq!(data_of(&blocks), ["7", "8", "9"], "{transport}");
        assert!(told(&blocks, "tautline.gap"), "{transport}: {blocks:?}");
        assert!(blocks.iter().any(|block| block.contains("news expired")), "{transport}: {blocks:?}");
    }
    for (transport, blocks) in resumed(&server, "news", "1700000000000-0-00000000") {
        assert!(blocks.iter().any(|block| block.contains("news unknown")), "{transport}: {blocks:?}");
        assert_eq!(data_of(&blocks), ["7", "8", "9"], "{transport}: then comes what is retained");
    }
}

#[test]
fn live_events_reach_every_transport_with_the_same_id() {
    let server = Server::start(&["--workers", "2"]);
    let mut sockets: Vec<_> = (0..3).map(|_| Subscriber::attach(&server, "topic=news", &[])).collect();
    let mut feeds: Vec<_> = (0..3).map(|_| server.stream("GET", "/events?topic=news", &[], b"")).collect();
    let mut cursor = String::new();
    for socket in &mut sockets {
        let (position, attach) = socket.position();
        assert!(attach[0].starts_with("event: tautline.session\ndata: session "), "{attach:?}");
        cursor = position;
    }
    for feed in &mut feeds {
        cursor = feed.position().0;
    }
    // A poll that waits, until it has an answer.
    let session = poll(&server, "topic=news", &[]).header("tautline-session").expect("a session").to_owned();
    let headers = [("Tautline-Session", &*session)];
    let held = server.send("GET", &format!("/poll?topic=news&lastId={cursor}&timeout=20"), &headers, b"");
    let end = Instant::now() + PATIENCE;
    while !server.ask("GET", "/metrics", &[], b"").text().contains("tautline_hub_parked_sessions 1\n") {
        assert!(Instant::now() < end, "it is not held");
    }
    let id = publish(&server, "news", "hello");
    for socket in &mut sockets {
        let event = Event::of(&socket.block()).expect("an event");
        assert_eq!((&*event.id, &*event.topic, &*event.data), (&*id, "news", "hello"));
    }
    for feed in &mut feeds {
        assert_eq!(feed.event().id, id);
    }
    let mut held = BufReader::new(held);
    let (status, headers) = read_head(&mut held);
    assert_eq!(status, 200);
    let length = headers.iter().find(|(name, _)| name == "content-length").expect("a length").1.parse().unwrap();
    let mut body = vec![0; length];
    held.read_exact(&mut body).expect("a body");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let message = json!({ "id": id, "topic": "news", "event": "message", "data": "hello" });
    assert_eq!(body, json!({ "messages": [message], "lastId": id }));
}

#[test]
fn polls_in_json_and_in_blocks_are_complete_up_to_their_last_id() {
    let server = Server::start(&["--workers", "2", "--history", "1000"]);
    let ids = publish_all(&server, "news", 250);
    for accept in ["application/json", "text/event-stream"] {
        let (mut cursor, mut got, mut polls) = ("0".to_owned(), Vec::new(), 0);
        let mut session = None;
        loop {
            let mut headers = vec![("Accept", accept)];
            headers.extend(session.as_deref().map(|session| ("Tautline-Session", session)));
            let answer = poll(&server, &format!("topic=news&lastId={cursor}&timeout=0"), &headers);
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            let new = answer.header("tautline-session").map(str::to_owned);
            assert_eq!(new.is_some(), session.is_none(), "a session is given once");
            session = session.or(new);
            let (more, last) = if accept == "application/json" {
                let body = answer.json();
                let ids = body["messages"].as_array().expect("a list").iter();
                got.extend(ids.map(|message| message["id"].as_str().expect("an id").to_owned()));
                (body["more"] == true, body["lastId"].as_str().expect("a cursor").to_owned())
            } else {
                let text = answer.text();
                let blocks: Vec<_> = text.split("\n\n").filter(|block| !block.is_empty()).collect();
                got.extend(blocks.iter().filter_map(|block| Event::of(block)).map(|event| event.id));
                let last = blocks.last().and_then(|block| block.strip_prefix("id: ")).expect("a position").to_owned();
                (answer.header("tautline-more") == Some("1"), last)
            };
            polls += 1;
            cursor = last;
            if !more {
                break;
            }
        }
        assert_eq!((&got, polls), (&ids, 3), "{accept}: at most 100 in an answer");
    }
    for (query, status) in [("timeout=-1", 400), ("timeout=x", 400), ("lastId=x", 400), ("timeout=56&lastId=", 400)] {
        assert_eq!(server.ask("GET", &format!("/poll?{query}"), &[], b"").status, status, "{query}");
    }
    // Without a cursor it is answered at once, with the present one.
    let body = poll(&server, "topic=news", &[]).json();
    assert_eq!((&body["messages"], body["lastId"].is_string()), (&json!([]), true));
}

#[test]
fn a_publication_with_a_key_has_its_effect_once_whichever_way_it_is_sent() {
    let server = Server::start(&["--workers", "2"]);
    let mut one = Subscriber::attach(&server, "topic=news", &[]);
    let (_, attach) = one.position();
    let session = attach[0].lines().find_map(|line| line.strip_prefix("data: session ")).expect("a token").to_owned();
    let block = "id: k1\ntopic: news\ndata: once\n\n";
    one.say(block);
    let ack = one.until("tautline.ack");
    let cursor = ack.lines().find_map(|line| line.strip_prefix("data: k1 ")).expect("a cursor").to_owned();
    one.say(block);
    assert!(one.until("tautline.ack").contains(&cursor), "the same position");
    // Its socket is lost before the answer, say.
    let headers = [("Tautline-Session", &*session)];
    let answer = server.ask("POST", "/send", &headers, block.as_bytes());
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains(&format!("data: k1 {cursor}\n")), "{}", answer.text());
    let answer = server.ask("POST", "/publish?topic=news&key=k1", &headers, b"once");
    assert_eq!(answer.json()["id"], cursor);
    // The worker that answers may not have it yet; then it is behind the position that it tells.
    let mut got = Vec::new();
    let mut at = json!("0");
    while got.is_empty() {
        let body =
            poll(&server, &format!("topic=news&lastId={}&timeout=5", at.as_str().expect("a cursor")), &[]).json();
        got.extend(body["messages"].as_array().expect("a list").iter().map(|message| message["id"].clone()));
        at = body["lastId"].clone();
        assert!(at == json!(cursor) || got.is_empty(), "{body}");
        assert!(at != json!(cursor) || !got.is_empty(), "complete up to there without it: {body}");
    }
    assert_eq!(got, [json!(cursor)]);
    let body = poll(&server, "topic=news&lastId=0&timeout=0", &[]).json();
    assert!(body["messages"].as_array().is_some_and(|messages| messages.len() <= 1), "{body}");
    let answer = server.ask("POST", &format!("/ack?lastId={cursor}"), &headers, b"");
    assert_eq!(answer.status, 204);
}

#[test]
fn with_a_token_everybody_may_follow_and_only_who_has_it_may_publish() {
    let server = Server::start(&["--token", "s3cret"]);
    let token = [("Authorization", "Bearer s3cret")];
    let mut anybody = Subscriber::attach(&server, "topic=news", &[]);
    anybody.position();
    anybody.say("id: k\ntopic: news\ndata: x\n\n");
    assert!(anybody.until("tautline.error").contains("data: 403 publish k\n"));
    let refused = server.ask("POST", "/send", &[], b"topic: news\ndata: x\n\n");
    assert!(refused.status == 200 && refused.text().contains("data: 403 publish"), "{}", refused.text());
    assert_eq!(server.ask("POST", "/publish?topic=news", &[], b"x").status, 401);
    // Who says who they are, and wrongly, is told so.
    let wrong = [("Authorization", "Bearer wrong")];
    for (method, path) in [("GET", "/events"), ("GET", "/poll"), ("POST", "/send"), ("POST", "/publish")] {
        assert_eq!(server.ask(method, path, &wrong, b"").status, 401, "{path}");
    }
    let mut publisher = Subscriber::attach(&server, "topic=news", &token);
    publisher.position();
    publisher.say("id: k\ntopic: news\ndata: by socket\n\n");
    publisher.until("tautline.ack");
    // As a page has to say it; the token does not come back.
    let offer = [("Sec-WebSocket-Protocol", "tautline.token.s3cret")];
    let mut page = Subscriber::attach(&server, "topic=news", &offer);
    page.position();
    page.say("id: k2\ntopic: news\ndata: by page\n\n");
    page.until("tautline.ack");
    let offer = [("Sec-WebSocket-Protocol", "tautline, tautline.token.wrong")];
    assert_eq!(server.upgrade("/ws", &offer).unwrap_err(), 401);
    assert_eq!(server.ask("POST", "/send", &token, b"topic: news\ndata: by post\n\n").status, 200);
    assert_eq!(server.ask("POST", "/publish?topic=news", &token, b"by publish").status, 200);
    let got: Vec<_> = (0..4).map(|_| Event::of(&anybody.block()).expect("an event").data).collect();
    assert_eq!(got, ["by socket", "by page", "by post", "by publish"], "and nothing of what was refused");
}

#[test]
fn topics_of_a_user_are_that_users_and_reserved_ones_the_servers() {
    let server = Server::start(&["--token", "s3cret"]);
    let token = [("Authorization", "Bearer s3cret")];
    for (topic, anybody, publisher) in
        [("user:publisher", 403, 200), ("user:ada", 403, 403), ("chat/lobby", 403, 403), ("server/stats", 200, 200)]
    {
        let path = format!("/poll?timeout=0&topic={topic}");
        assert_eq!(server.ask("GET", &path, &[], b"").status, anybody, "{topic}");
        assert_eq!(server.ask("GET", &path, &token, b"").status, publisher, "{topic}");
    }
    for (topic, status) in [("user:publisher", 200), ("user:ada", 403), ("chat/lobby", 403), ("server/stats", 403)] {
        let path = format!("/publish?topic={topic}");
        assert_eq!(server.ask("POST", &path, &token, b"x").status, status, "{topic}");
    }
    // By a command it is the same.
    let mut anybody = Subscriber::attach(&server, "topic=news", &[]);
    anybody.position();
    anybody.say("event: tautline.subscribe\ntopic: user:publisher\ndata: 0\n\n");
    assert!(anybody.until("tautline.error").contains("403 subscribe"));
}

#[test]
fn a_page_of_a_listed_origin_reads_polls_and_what_their_headers_say() {
    let server = Server::start(&["--origin", "https://app.example"]);
    let own = format!("http://{}", server.address);
    for origin in ["https://app.example", &own] {
        for (method, path, body) in [
            ("GET", "/poll?timeout=0", ""),
            ("HEAD", "/events", ""),
            ("POST", "/send", "data: x\n\n"),
            ("POST", "/publish", "x"),
            ("POST", "/ack", ""),
            // Refusals, too, or the page would not see why.
            ("GET", "/poll?timeout=x", ""),
            ("POST", "/publish?topic=chat/x", "x"),
        ] {
            let answer = server.ask(method, path, &[("Origin", origin)], body.as_bytes());
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{method} {path}");
            let exposed = answer.header("access-control-expose-headers").expect("they are named");
            assert!(exposed.contains("Tautline-Session") && exposed.contains("Retry-After"), "{exposed}");
            assert_eq!(answer.header("vary"), Some("Origin"));
        }
    }
    let headers = [("Origin", "https://evil.example"), ("Sec-WebSocket-Protocol", "tautline")];
    assert_eq!(server.upgrade("/ws", &headers).unwrap_err(), 403);
}

#[test]
fn rooms_tell_who_is_here() {
    let server = Server::start(&["--workers", "2"]);
    let mut first = Subscriber::attach(&server, "topic=room/a", &[]);
    let (_, attach) = first.position();
    let here = attach.iter().find(|block| block.contains("event: tautline.presence")).expect("a snapshot");
    assert!(here.contains("topic: room/a\n") && here.contains("data: here 1\n"), "{here}");
    let _second = Subscriber::attach(&server, "topic=room/a", &[]);
    assert!(first.until("tautline.presence").contains("data: join "));
    // Elsewhere nobody is told.
    let (_, attach) = Subscriber::attach(&server, "topic=news", &[]).position();
    assert!(!told(&attach, "tautline.presence"), "{attach:?}");
}

#[test]
fn a_topic_that_conflates_keeps_the_latest_of_each_slot() {
    let server = Server::start(&["--workers", "2"]);
    for (slot, data) in [("a", "1"), ("b", "1"), ("a", "2"), ("a", "3")] {
        let path = format!("/publish?topic=latest/prices&slot={slot}");
        assert_eq!(server.ask("POST", &path, &[], data.as_bytes()).status, 200);
    }
    let end = Instant::now() + PATIENCE;
    loop {
        let body = poll(&server, "topic=latest/prices&lastId=0&timeout=0", &[]).json();
        let data: Vec<_> = body["messages"].as_array().expect("a list").iter().map(|m| m["data"].clone()).collect();
        if data == ["1", "3"] {
            break;
        }
        // The worker that answers may not have all of it yet.
        assert!(Instant::now() < end, "{data:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_reader_that_is_too_slow_is_closed_or_falls_behind_as_the_topic_says() {
    let server = Server::start(&["--workers", "1", "--queue", "65536", "--history", "10"]);
    let data = "x".repeat(16_000);
    for (topic, falls_behind) in [("plain", false), ("lossy/a", true)] {
        let mut slow = Subscriber::attach(&server, &format!("topic={topic}"), &[]);
        slow.position();
        // More than the queue and what the system takes.
        let ids: Vec<_> = (0..1000).map(|_| publish(&server, topic, &data)).collect();
        let last = ids.last().expect("some").as_bytes();
        let (mut all, mut bytes) = (Vec::new(), vec![0; 64 << 10]);
        // Up to the last one, or to where the server has closed: that may be inside a frame.
        while let Ok(n @ 1..) = slow.0.line.read(&mut bytes) {
            let from = all.len().saturating_sub(last.len());
            all.extend_from_slice(&bytes[..n]);
            if all[from..].windows(last.len()).any(|window| window == last) {
                break;
            }
        }
        let text = String::from_utf8_lossy(&all);
        let (got, gaps) = (text.matches("topic: ").count(), text.matches("event: tautline.gap\n").count());
        assert!((1..1000).contains(&got), "{topic}: {got} events");
        assert_eq!((gaps > 0, text.contains(&**ids.last().unwrap())), (falls_behind, falls_behind), "{topic}");
    }
}
