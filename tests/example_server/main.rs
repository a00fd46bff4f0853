//! The example server as its users meet it: the built program, over real sockets on loopback.

mod client;
mod hub;
mod metrics;

use client::{PATIENCE, Server, read_head, run};
use serde_json::{Value, json};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

// Requests.

#[test]
fn every_path_answers_its_methods_and_no_other() {
    let server = Server::start(&[]);
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/tautline.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/healthz", "text/plain; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
    ] {
        let get = server.ask("GET", path, &[], b"");
        assert_eq!((get.status, get.header("content-type")), (200, Some(kind)), "{path}");
        assert!(!get.body.is_empty());
        let head = server.ask("HEAD", path, &[], b"");
        assert_eq!((head.status, head.header("content-type"), &*head.body), (200, Some(kind), &b""[..]), "{path}");
        let delete = server.ask("DELETE", path, &[], b"");
        assert_eq!((delete.status, delete.header("allow")), (405, Some("GET, HEAD, OPTIONS")), "{path}");
    }
    for path in ["/publish", "/send", "/ack", "/tokens"] {
        for method in ["GET", "HEAD", "PUT"] {
            let answer = server.ask(method, path, &[], b"");
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST, OPTIONS")), "{method} {path}");
        }
    }
    assert_eq!(server.ask("HEAD", "/events", &[], b"").header("content-type"), Some("text/event-stream"));
    assert_eq!(server.ask("HEAD", "/poll", &[], b"").header("content-type"), Some("application/json"));
    for path in ["/events", "/poll"] {
        assert_eq!(server.ask("POST", path, &[], b"").header("allow"), Some("GET, HEAD, OPTIONS"), "{path}");
    }
    for path in ["/ws", "/echo"] {
        assert_eq!(server.ask("GET", path, &[], b"").status, 426);
        assert_eq!(server.ask("POST", path, &[], b"").header("allow"), Some("GET, OPTIONS"));
    }
    for path in ["/nothing", "/..", "/app.js/", "//"] {
        assert_eq!(server.ask("GET", path, &[], b"").status, 404, "{path}");
    }
    assert_eq!(server.ask("OPTIONS", "/publish", &[], b"").header("allow"), Some("POST, OPTIONS"));
}

#[test]
fn the_page_may_load_its_own_files_and_nothing_else() {
    let server = Server::start(&[]);
    let page = server.ask("GET", "/", &[], b"");
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let text = page.text();
    let mut files = 0;
    for part in
        text.split(['"', '\'']).filter(|part| part.starts_with('/') && part.len() > 1 && !part.starts_with("/>"))
    {
        assert_eq!(server.ask("GET", part, &[], b"").status, 200, "{part}");
        files += 1;
    }
    assert!(files >= 3, "the page names its files");
    assert!(!text.contains("http://") && !text.contains("https://"), "nothing from elsewhere");
}

// Publishing.

#[test]
fn a_publication_reaches_streams_and_the_room_of_its_name_as_it_is() {
    let server = Server::start(&["--workers", "2"]);
    let mut feeds: Vec<_> = (0..4).map(|_| server.stream("GET", "/events?topic=lobby", &[], b"")).collect();
    let mut other = server.stream("GET", "/events?topic=other", &[], b"");
    let mut members: Vec<_> = (0..4).map(|n| server.join("lobby", &format!("m{n}"))).collect();
    for data in ["hello", "{\"a\":[1,2]}", "two\nlines", "", "naïve 🙂"] {
        let answer = server.ask("POST", "/publish?topic=lobby", &[], data.as_bytes());
        assert_eq!(answer.status, 200);
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        for feed in &mut feeds {
            let event = feed.event();
            assert_eq!((&*event.data, &*event.id, &*event.kind), (data, &*id, ""));
        }
        for member in &mut members {
            let event = member.published();
            assert_eq!((&*event.data, &*event.id, &*event.topic), (data, &*id, "lobby"));
        }
    }
    server.ask("POST", "/publish?topic=other", &[], b"mine");
    assert_eq!(other.event().data, "mine", "of five publications elsewhere none came here");
}

#[test]
fn ids_grow_and_a_stream_begins_with_the_position_that_it_goes_on_from() {
    let server = Server::start(&["--workers", "2"]);
    let number = |id: &str| id.split('-').take(2).map(|part| part.parse().unwrap()).collect::<Vec<u64>>();
    for round in 0..20 {
        let [first, second, third] = ["before", "second", "third"].map(|name| format!("{name} {round}"));
        let before = server.ask("POST", "/publish", &[], first.as_bytes()).json()["id"].as_str().unwrap().to_owned();
        // Without a topic it is `default`.
        let mut feed = server.stream("GET", "/events", &[], b"");
        let (position, attach) = feed.position();
        assert!(attach.len() == 1 && attach[0].starts_with("event: tautline.session\ndata: session "), "{attach:?}");
        server.ask("POST", "/publish?topic=default", &[], second.as_bytes());
        server.ask("POST", "/publish", &[], third.as_bytes());
        let mut events = vec![feed.event()];
        while events.last().is_some_and(|event| event.data != third) {
            events.push(feed.event());
        }
        let ids: Vec<_> =
            [&position].into_iter().chain(events.iter().map(|event| &event.id)).map(|id| number(id)).collect();
        assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
        // What another worker had not delivered yet is behind the position, or was delivered before.
        let late = number(&position) < number(&before);
        let data: Vec<_> = events.iter().map(|event| &*event.data).collect();
        // Of the round before, too, where that worker is far behind.
        let data = &data[data.len().saturating_sub(if late { 3 } else { 2 })..];
        assert_eq!(data, if late { vec![&*first, &second, &third] } else { vec![&*second, &third] });
        assert!(late || events.len() == 2, "{events:?}");
    }
}

#[test]
fn one_stream_carries_several_topics() {
    let server = Server::start(&["--workers", "2"]);
    let mut feed = server.stream("GET", "/events?topic=a&topic=b/c&topic=a", &[], b"");
    for topic in ["a", "b/c"] {
        server.ask("POST", &format!("/publish?topic={topic}"), &[], topic.as_bytes());
        assert_eq!(feed.event().data, topic);
    }
}

#[test]
fn what_cannot_be_published_or_followed_is_refused_with_a_reason() {
    let server = Server::start(&[]);
    let long = "x".repeat(129);
    for (topic, status) in [
        ("", 400),
        ("a%20b", 400),
        ("%zz", 400),
        ("%ff", 400),
        ("a%7F", 400),
        (&*long, 400),
        ("chat/lobby", 403),
        ("user:ada", 403),
    ] {
        for (method, path) in [("POST", "/publish"), ("GET", "/events"), ("GET", "/poll")] {
            let answer = server.ask(method, &format!("{path}?topic={topic}"), &[], b"");
            assert_eq!(answer.status, status, "{method} {path} {topic:?}");
            assert!(answer.body.ends_with(b"\n"), "a sentence for people");
        }
    }
    for topic in ["server/stats", "server/else"] {
        let answer = server.ask("POST", &format!("/publish?topic={topic}"), &[], b"{}");
        assert_eq!(answer.status, 403, "the server's own");
    }
    assert_eq!(server.ask("POST", "/publish?topic=a&topic=b", &[], b"x").status, 400);
    assert_eq!(server.ask("POST", "/publish", &[], b"\xff\xfe").status, 415, "not UTF-8");
    assert_eq!(server.ask("POST", "/publish", &[], b"caf\xc3").status, 415, "cut in a character");
    let binary = [("Content-Type", "application/octet-stream")];
    assert_eq!(server.ask("POST", "/publish", &binary, b"x").status, 415);
    let many: String = (0..129).map(|n| format!("topic=t{n}&")).collect();
    assert_eq!(server.ask("GET", &format!("/events?{many}"), &[], b"").status, 400);
    let accept = [("Accept", "application/json")];
    assert_eq!(server.ask("GET", "/events", &accept, b"").status, 406);
    assert_eq!(server.ask("POST", "/tokens", &accept, b"").status, 406);
}

#[test]
fn a_body_over_the_limit_is_413() {
    let server = Server::start(&["--max-body", "1000"]);
    assert_eq!(server.ask("POST", "/publish", &[], &[b'x'; 1000]).status, 200);
    assert_eq!(server.ask("POST", "/publish", &[], &[b'x'; 1001]).status, 413);
}

// Token streams.

#[test]
fn a_token_stream_ends_in_order() {
    let server = Server::start(&[]);
    for (body, quoted) in [(&b"What is it?"[..], "What is it?"), (b"{\"prompt\":\"in JSON\"}", "in JSON"), (b"", "")] {
        let mut stream = server.stream("POST", "/tokens", &[], body);
        let (mut text, mut count) = (String::new(), 0);
        let done = loop {
            let event = stream.event();
            let data: Value = serde_json::from_str(&event.data).expect("JSON");
            if event.kind != "token" {
                break (event.kind, data);
            }
            assert_eq!((&data["index"], &*event.id), (&json!(count), &*count.to_string()));
            text.push_str(data["text"].as_str().expect("text"));
            count += 1;
        };
        assert_eq!(done, ("done".into(), json!({ "tokens": count, "reason": "stop" })));
        assert!(text.contains(quoted) && text.ends_with("you know that it is not."), "{text}");
        assert_eq!(stream.rest(), "", "and then nothing, in good order");
    }
    assert_eq!(server.ask("POST", "/tokens", &[], &[b'x'; 4097]).status, 413);
    assert_eq!(server.ask("POST", "/tokens", &[], b"\xff").status, 400);
}

// Who may.

/// Paths with a method that has an effect or an answer.
const ALL: [(&str, &str); 13] = [
    ("GET", "/"),
    ("GET", "/app.js"),
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/events"),
    ("GET", "/poll"),
    ("POST", "/publish"),
    ("POST", "/send"),
    ("POST", "/ack"),
    ("GET", "/tautline.js"),
    ("POST", "/tokens"),
    ("GET", "/nothing"),
    ("OPTIONS", "/publish"),
];

#[test]
fn a_foreign_origin_is_403_without_effect_on_every_path() {
    let server = Server::start(&["--origin", "https://app.example"]);
    let mut feed = server.stream("GET", "/events", &[], b"");
    feed.block();
    let same_host = format!("https://{}", server.address);
    for origin in ["http://evil.example", "null", "https://app.example.evil", "http://app.example", &same_host, "", "*"]
    {
        for (method, path) in ALL {
            let answer = server.ask(method, path, &[("Origin", origin), ("Content-Type", "text/plain")], b"evil");
            assert_eq!(answer.status, 403, "{method} {path} from {origin:?}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
            assert_eq!(answer.header("vary"), Some("Origin"), "no cache gives it to another one");
        }
        let preflight = [("Origin", origin), ("Access-Control-Request-Method", "POST")];
        assert_eq!(server.ask("OPTIONS", "/publish", &preflight, b"").status, 403);
        for path in ["/ws", "/echo"] {
            assert_eq!(server.upgrade(path, &[("Origin", origin)]).unwrap_err(), 403);
        }
    }
    let own = format!("http://{}", server.address);
    let twice = [("Origin", &*own), ("Origin", "http://evil.example")];
    assert_eq!(server.ask("POST", "/publish", &twice, b"evil").status, 403);
    for origin in [own.as_str(), "https://app.example"] {
        let answer = server.ask("POST", "/publish", &[("Origin", origin)], b"good");
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(origin)));
        assert_eq!(feed.event().data, "good", "the first and only thing that was published");
        assert!(server.upgrade("/ws", &[("Origin", origin)]).is_ok());
    }
}

#[test]
fn a_foreign_host_is_refused_without_effect_on_every_path() {
    let server = Server::start(&["--host", "Chat.Example"]);
    let mut feed = server.stream("GET", "/events", &[], b"");
    feed.block();
    for host in
        ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example", "0.0.0.0"]
    {
        for (method, path) in ALL {
            // Rebinding makes the page's origin and the host the same.
            let origin = format!("http://{host}");
            let answer = server.ask(method, path, &[("Host", host), ("Origin", &origin)], b"evil");
            assert_eq!(answer.status, 421, "{method} {path} at {host}");
        }
        assert_eq!(server.upgrade("/ws", &[("Host", host)]).unwrap_err(), 421);
    }
    let absolute = server.ask("POST", "http://evil.example/publish", &[], b"evil");
    assert_eq!(absolute.status, 421, "what is asked for counts, not the Host line beside it");
    for host in [
        "localhost",
        "LOCALHOST:9",
        "127.0.0.1:1",
        "[::1]:8080",
        "app.localhost",
        "127.8.8.8",
        "chat.example",
        "Chat.example:80",
        "localhost.",
    ] {
        assert_eq!(server.ask("GET", "/healthz", &[("Host", host)], b"").status, 200, "{host}");
    }
    server.ask("POST", "/publish", &[], b"good");
    assert_eq!(feed.event().data, "good");
}

#[test]
fn a_preflight_of_a_listed_origin_is_allowed_what_it_needs() {
    let server = Server::start(&["--origin", "https://app.example", "--token", "t"]);
    for path in ["/publish", "/events", "/poll", "/send", "/ack", "/tokens"] {
        let asks = [
            ("Origin", "https://app.example"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization,tautline-session"),
        ];
        let answer = server.ask("OPTIONS", path, &asks, b"");
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("https://app.example")));
        let headers = answer.header("access-control-allow-headers").unwrap();
        assert!(headers.contains("Authorization") && headers.contains("Tautline-Session"), "{headers}");
        assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    }
    let answer = server.ask("POST", "/publish", &[("Origin", "https://app.example")], b"x");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, Some("https://app.example")));
}

#[test]
fn with_a_token_nothing_is_published_without_it_and_no_body_is_waited_for() {
    let server = Server::start(&["--token", "s3cret"]);
    let mut feed = server.stream("GET", "/events", &[], b"");
    feed.block();
    for path in ["/publish", "/tokens"] {
        for value in [
            "",
            "s3cret",
            "Basic s3cret",
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3crets",
            "Bearer S3CRET",
            "Bearer s3cret x",
        ] {
            let answer = server.ask("POST", path, &[("Authorization", value)], b"x");
            assert_eq!(answer.status, 401, "{path} {value:?}");
            assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
        }
        assert_eq!(server.ask("POST", path, &[], b"x").status, 401);
        // The body is announced and does not come.
        let mut line = server.connect();
        write!(line, "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n").unwrap();
        assert_eq!(read_head(&mut BufReader::new(line)).0, 401);
    }
    assert_eq!(server.ask("POST", "/publish", &[("Authorization", "bearer s3cret")], b"good").status, 200);
    assert_eq!(feed.event().data, "good");
}

// WebSockets.

#[test]
fn echo_gives_back_text_and_bytes_and_chooses_the_first_subprotocol_that_was_offered() {
    let server = Server::start(&[]);
    let mut echo = server.upgrade("/echo", &[("Sec-WebSocket-Protocol", "v2, echo, tautline")]).unwrap();
    assert_eq!(echo.protocol.as_deref(), Some("v2"));
    for (opcode, len) in [(1, 0), (2, 3), (1, 125), (2, 126), (2, 65_536), (2, 1 << 20)] {
        let payload = vec![b'a'; len];
        echo.send(opcode, &payload);
        assert_eq!(echo.frame(), (opcode, payload));
    }
    let lines = [("Sec-WebSocket-Protocol", "x.y"), ("Sec-WebSocket-Protocol", "v2, x.y")];
    assert_eq!(server.upgrade("/echo", &lines).unwrap().protocol.as_deref(), Some("x.y"));
    assert_eq!(server.upgrade("/echo", &[]).unwrap().protocol, None);
}

#[test]
fn compression_is_granted_where_it_was_switched_on() {
    let offer = [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")];
    assert_eq!(Server::start(&[]).upgrade("/echo", &offer).unwrap().extensions, None);
    let server = Server::start(&["--deflate"]);
    let mut echo = server.upgrade("/echo", &offer).unwrap();
    let answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(echo.extensions.as_deref(), Some(answer));
    assert_eq!(server.upgrade("/echo", &[]).unwrap().extensions, None);
    // "Hello" of RFC 7692 section 7.2.3.1; too short to go back compressed.
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    echo.send(0x41, &hello);
    assert_eq!(echo.frame(), (1, b"Hello".to_vec()));
}

#[test]
fn a_chat_message_reaches_everyone_in_the_room_but_its_sender() {
    let server = Server::start(&["--workers", "3"]);
    let mut members: Vec<_> = (0..6).map(|n| server.join("lobby", &format!("m{n}"))).collect();
    let mut stranger = server.join("elsewhere", "stranger");
    for sender in 0..members.len() {
        let text = format!("from {sender}");
        members[sender].tell(&json!({ "type": "message", "room": "lobby", "text": text, "ref": sender }));
        for (n, member) in members.iter_mut().enumerate() {
            if n == sender {
                // Its own does not come back; what comes first of all that is no news of members is the receipt.
                let receipt = member.until_any(&["sent", "message"]);
                assert_eq!((&receipt["type"], &receipt["ref"]), (&json!("sent"), &json!(sender)));
            } else {
                let message = member.until("message");
                assert_eq!((&message["text"], &message["from"]["name"]), (&json!(text), &json!(format!("m{sender}"))));
            }
        }
    }
    stranger.tell(&json!({ "type": "ping", "ref": "r" }));
    assert_eq!(stranger.answer(), json!({ "type": "pong", "ref": "r" }), "nothing else came");
}

#[test]
fn presence_is_right_however_members_are_spread_over_workers() {
    let server = Server::start(&["--workers", "3"]);
    let mut watcher = server.join("lobby", "watcher");
    // All at once, and each second one leaves again, by a word or without one.
    let names: Vec<_> = (0..24).map(|n| format!("m{n}")).collect();
    let members: Vec<_> = std::thread::scope(|scope| {
        let joins: Vec<_> = names.iter().map(|name| scope.spawn(|| server.join("lobby", name))).collect();
        joins.into_iter().map(|join| join.join().unwrap()).collect()
    });
    let (mut stay, mut leave) = (Vec::new(), Vec::new());
    for (n, member) in members.into_iter().enumerate() {
        if n % 2 == 0 { stay.push(member) } else { leave.push(member) }
    }
    for (n, mut member) in leave.into_iter().enumerate() {
        if n % 2 == 0 {
            member.tell(&json!({ "type": "leave", "room": "lobby" }));
            member.until("parted");
        }
    }
    let expected: Vec<_> = (0..24).step_by(2).map(|n| format!("m{n}")).chain(["watcher".to_owned()]).collect();
    // Who was told of every change knows who is there, and so does who asks.
    let mut known = watcher.members.clone();
    let end = Instant::now() + PATIENCE;
    while sorted(known.values()) != sorted(expected.iter()) {
        assert!(Instant::now() < end, "{known:?}");
        let change = watcher.until_any(&["entered", "left"]);
        assert_eq!(change["seq"], json!(watcher.seq + 1), "no change is missing, and none comes twice");
        watcher.seq += 1;
        let id = change["id"].as_u64().unwrap();
        match change["name"].as_str() {
            Some(name) => drop(known.insert(id, name.to_owned())),
            None => drop(known.remove(&id)),
        }
    }
    for member in stay.iter_mut().chain([&mut watcher]) {
        member.tell(&json!({ "type": "who", "room": "lobby" }));
        let here = member.until("here");
        assert_eq!(sorted(names_of(&here).iter()), sorted(expected.iter()));
    }
}

#[test]
fn what_the_chat_cannot_do_is_answered_and_the_connection_goes_on() {
    let server = Server::start(&[]);
    let mut member = server.join("lobby", "Ada");
    let long = "x".repeat(2001);
    for (request, code) in [
        ("", "malformed"),
        ("{", "malformed"),
        ("[]", "malformed"),
        ("{}", "malformed"),
        ("{\"type\":7}", "malformed"),
        ("{\"type\":\"dance\"}", "unknown"),
        ("{\"type\":\"join\"}", "malformed"),
        ("{\"type\":\"join\",\"room\":\"a b\",\"name\":\"A\"}", "bad_room"),
        ("{\"type\":\"join\",\"room\":\"\",\"name\":\"A\"}", "bad_room"),
        ("{\"type\":\"join\",\"room\":\"a/b\",\"name\":\"A\"}", "bad_room"),
        ("{\"type\":\"join\",\"room\":\"r\",\"name\":\"  \"}", "bad_name"),
        ("{\"type\":\"join\",\"room\":\"r\",\"name\":\"a\\u0000\"}", "bad_name"),
        ("{\"type\":\"join\",\"room\":\"r\",\"name\":\"a\\u202eb\"}", "bad_name"),
        ("{\"type\":\"join\",\"room\":\"r\",\"name\":\"123456789012345678901234567890123\"}", "bad_name"),
        ("{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"A\"}", "joined_already"),
        ("{\"type\":\"leave\",\"room\":\"r\"}", "not_joined"),
        ("{\"type\":\"message\",\"room\":\"r\",\"text\":\"x\"}", "not_joined"),
        ("{\"type\":\"message\",\"room\":\"lobby\",\"text\":\" \"}", "bad_text"),
        ("{\"type\":\"message\",\"room\":\"lobby\"}", "malformed"),
        (&json!({ "type": "message", "room": "lobby", "text": long }).to_string(), "bad_text"),
        ("{\"type\":\"ping\",\"ref\":{}}", "malformed"),
        (&"[".repeat(16_000), "malformed"),
    ] {
        member.line.send(1, request.as_bytes());
        let answer = member.answer();
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!(code)), "{request:.60}: {answer}");
        assert!(answer["message"].is_string());
    }
    member.line.send(2, b"{\"type\":\"ping\"}");
    assert_eq!(member.answer()["code"], "binary");
    for n in 0..7 {
        member.tell(&json!({ "type": "join", "room": format!("r{n}"), "name": "Ada" }));
        assert_eq!(member.answer()["type"], "joined");
    }
    member.tell(&json!({ "type": "join", "room": "r7", "name": "Ada" }));
    assert_eq!(member.answer()["code"], "too_many_rooms");
}

#[test]
fn who_asks_too_fast_is_told_so_and_goes_on() {
    let server = Server::start(&[]);
    let mut member = server.join("lobby", "Ada");
    for _ in 0..400 {
        member.tell(&json!({ "type": "ping" }));
    }
    let answers: Vec<_> = (0..400).map(|_| member.answer()["type"].clone()).collect();
    let pongs = answers.iter().filter(|answer| *answer == "pong").count();
    assert!((199..400).contains(&pongs), "{pongs} pongs");
    std::thread::sleep(Duration::from_millis(50));
    member.tell(&json!({ "type": "ping" }));
    assert_eq!(member.answer()["type"], "pong");
}

// Figures.

#[test]
fn metrics_are_in_the_text_format_and_count_what_happened() {
    let server = Server::start(&["--workers", "2"]);
    let mut feed = server.stream("GET", "/events", &[], b"");
    let mut back = server.stream("GET", "/events", &[("Last-Event-ID", "1-0")], b"");
    let (mut ada, ben) = (server.join("lobby", "Ada"), server.join("lobby", "Ben"));
    server.ask("POST", "/publish", &[], b"x");
    feed.event();
    back.event();
    drop(ben);
    ada.until("left");
    // Each worker counts what it sent when it has sent it, so the last may be missing for a moment.
    let end = Instant::now() + PATIENCE;
    let samples = loop {
        let samples = metrics::parse(&server.ask("GET", "/metrics", &[], b"").text());
        let sent = samples.iter().find(|(name, _)| name == "tautline_messages_sent_total").expect("it is there").1;
        // Two welcomes, two answers to joins, an `entered`, a `left`, and an event to two streams.
        if sent == 8.0 || Instant::now() > end {
            break samples;
        }
    };
    let value = |name: &str| *samples.iter().find(|(sample, _)| sample == name).map(|(_, value)| value).expect(name);
    assert_eq!(value("tautline_connections_open{transport=\"websocket\"}"), 1.0);
    assert_eq!(value("tautline_connections_open{transport=\"event_stream\"}"), 2.0);
    assert!(value("tautline_connections_open{transport=\"http\"}") >= 1.0);
    assert_eq!(value("tautline_opened_total{transport=\"websocket\"}"), 2.0);
    assert_eq!(value("tautline_reconnects_total{transport=\"event_stream\"}"), 1.0);
    assert_eq!(value("tautline_errors_total{transport=\"websocket\"}"), 1.0, "Ben left without a word");
    assert_eq!(value("tautline_websocket_closes_total{code=\"1006\"}"), 1.0);
    assert_eq!(value("tautline_connection_duration_seconds_count{transport=\"websocket\"}"), 1.0);
    assert_eq!(value("tautline_messages_received_total"), 2.0);
    assert_eq!(value("tautline_messages_sent_total"), 8.0);
    assert!(value("tautline_received_bytes_total") > 500.0 && value("tautline_sent_bytes_total") > 500.0);
    assert_eq!((value("tautline_chat_rooms"), value("tautline_chat_members")), (1.0, 1.0));
    for name in ["tautline_queued_bytes", "tautline_messages_dropped_total", "tautline_ping_round_trip_seconds_count"] {
        assert_eq!(value(name), 0.0);
    }
    assert!(value("tautline_loop_lag_seconds_count") > 5.0);
    // `default`, with what was published to it.
    assert_eq!((value("tautline_hub_topics"), value("tautline_hub_retained_events")), (1.0, 1.0));
    assert!((1.0..4096.0).contains(&value("tautline_hub_retained_bytes")));
    assert_eq!(value("tautline_hub_parked_sessions"), 0.0);
}

#[test]
fn figures_are_published_while_somebody_wants_them() {
    let server = Server::start(&["--workers", "2"]);
    let mut feed = server.stream("GET", "/events?topic=server/stats", &[], b"");
    let member = server.join("lobby", "Ada");
    let figures = (0..3).map(|_| feed.event()).last().unwrap();
    assert_eq!(figures.kind, "stats");
    let figures: Value = serde_json::from_str(&figures.data).unwrap();
    assert_eq!((&figures["websockets"], &figures["streams"], &figures["members"]), (&json!(1), &json!(1), &json!(1)));
    assert!(figures["received"].is_number() && figures["sent"].is_number());
    drop(member);
}

// The program.

#[test]
fn an_address_that_others_reach_needs_a_token_or_an_explicit_word() {
    for address in ["0.0.0.0:0", "[::]:0", "0.0.0.0"] {
        let out = run(&["--address", address]);
        assert_eq!(out.status.code(), Some(2));
        let error = String::from_utf8(out.stderr).unwrap();
        assert!(error.contains("--token") && error.contains("--open"), "{error}");
    }
    for args in [
        &["--address", "0.0.0.0:0", "--open"][..],
        &["--address", "0.0.0.0:0", "--token", "t"],
        &["--address", "0.0.0.0:0", "--open", "--token", "t"],
    ] {
        let server = Server::start(args);
        let status = server.ask("POST", "/publish", &[("Host", "192.0.2.7:80")], b"x").status;
        assert_eq!(status, if args.len() == 3 { 200 } else { 401 }, "an address is no name that could be bent");
        assert_eq!(server.greeting.contains("Anyone"), args.len() == 3, "{}", server.greeting);
        assert_eq!(server.ask("GET", "/healthz", &[("Host", "evil.example")], b"").status, 421);
    }
}

#[test]
fn mistakes_on_the_command_line_are_named() {
    for (args, word) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["--workers", "0"], "--workers"),
        (&["--workers"], "--workers"),
        (&["--port", "65536"], "from 0 to 65535"),
        (&["--port", "-1"], "at least 0"),
        (&["--max-body", "99999999999999999999"], "to 18446744073709551615"),
        (&["--max-connections", "0"], "at least 1"),
        (&["--max-connections", "1", "--workers", "2"], "each of the 2 workers"),
        (&["--heartbeat", "soon"], "--heartbeat"),
        (&["--origin", "example.com"], "--origin"),
        (&["--origin", "null"], "--origin"),
        (&["--host", "http://x"], "--host"),
        (&["--host", "x:80"], "--host"),
        (&["--token", "a b"], "token"),
        (&["--token-file", "/nonexistent/file"], "--token-file"),
        (&["--address", "256.1.1.1:80"], "--address"),
        (&["--queue", "10"], "queue"),
        (&["--history", "-1"], "--history"),
        (&["stray"], "stray"),
    ] {
        let out = run(args);
        let error = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.starts_with("error: ") && error.contains(word), "{args:?}: {error}");
    }
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    for option in [
        "--address",
        "--workers",
        "--host",
        "--origin",
        "--token",
        "--open",
        "--max-connections",
        "--heartbeat",
        "--history",
        "--drain",
    ] {
        assert!(help.contains(option), "{option}");
    }
}

#[test]
fn no_more_connections_are_let_in_than_were_allowed() {
    // Two for each worker.
    let server = Server::start(&["--max-connections", "5", "--workers", "2"]);
    // All at a time: what ends makes room.
    let mut lines: Vec<_> = (0..40).map(|_| server.connect()).collect();
    let is_answered = |line: &mut TcpStream| {
        // Where it is closed already this fails, or reading does.
        let _ = line.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).as_bytes());
        line.read(&mut [0; 64]).is_ok_and(|read| read > 0)
    };
    let answered = lines.iter_mut().map(is_answered).filter(|is| *is).count();
    assert!((2..=4).contains(&answered), "{answered}");
}

#[test]
fn workers_beyond_what_files_allow_are_named_as_the_cause() {
    let out = run(&["--port", "0", "--workers", "1000000"]);
    let error = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.code() == Some(1) && error.contains("--workers") && !error.contains("--address"), "{error}");
}

#[test]
fn a_port_that_is_taken_is_named_with_what_to_do() {
    let server = Server::start(&[]);
    let port = server.address.port().to_string();
    let out = run(&["--port", &port]);
    let error = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(error.contains(&format!("127.0.0.1:{port}")) && error.contains("--port"), "{error}");
}

#[test]
fn a_signal_lets_everyone_go_in_order_and_ends_with_0() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&["--workers", "2"]);
        let mut feed = server.stream("GET", "/events", &[], b"");
        feed.position();
        let mut member = server.join("lobby", "Ada");
        server.signal(signal);
        assert_eq!(member.until_close(), 1012);
        member.line.send(8, &1012u16.to_be_bytes());
        assert!(feed.rest().starts_with("retry: "), "it says when to come back");
        assert_eq!(server.wait(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Server::start(&["--drain", "600"]);
    let members: Vec<_> = (0..8).map(|n| server.join("lobby", &format!("m{n}"))).collect();
    server.signal("INT");
    // Nobody answers its Close frame, so the drain goes on until its deadline.
    assert!(server.line().starts_with("letting go of 8 "));
    server.signal("INT");
    assert_eq!(server.wait(), Some(130));
    drop(members);
}

fn names_of(roll: &Value) -> Vec<String> {
    let list = roll["members"].as_array().expect("a list").iter();
    list.map(|member| member["name"].as_str().expect("a name").to_owned()).collect()
}

fn sorted<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}
