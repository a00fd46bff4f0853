//! Long polling over real sockets: rows L1 to L11 of what may go wrong, and what stands beside them.

mod net_support;

use net_support::hub::{
    CORS, Polled, Sub, Via, ask_poll, header, hub, on, open, poll, polled, post, publish, send, settings, with,
};
use net_support::wire::Client;
use net_support::{Running, eventually_eq, start};
use serde_json::Value;
use std::time::{Duration, Instant};
use tautline::hub::{Asking, Authority, Denied, Identity};
use tautline::net::Transport;
use tautline::sse::Event;

/// Waits until so many polls are held, on all workers.
fn wait_for_held(server: &Running, count: usize) {
    eventually_eq(count as u64, || server.totals().transports[Transport::LongPoll as usize].open());
}

fn get(client: &mut Client, target: &str) -> (u16, String, Value) {
    client.get(target);
    let response = client.response();
    let json = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
    (response.status, response.head, json)
}

fn of(server: &Running, target: &str) -> (u16, String, Value) {
    get(&mut Client::connect(server.address), target)
}

#[test]
fn l1_a_cursor_ahead_of_the_head_or_of_another_log_is_answered_at_once_with_the_gap() {
    let server = hub(2);
    let present = poll(server.address, "topic=a").last;
    let log = present.rsplit('-').next().unwrap();
    for (cursor, reason) in
        [(format!("99999999999999-0-{log}"), "ahead"), ("1-1-00000000".into(), "unknown"), ("1-1".into(), "unknown")]
    {
        let began = Instant::now();
        let polled = poll(server.address, &format!("topic=a&topic=b&timeout=55&lastId={cursor}"));
        assert!(began.elapsed() < Duration::from_secs(20));
        assert_eq!(polled.words, [format!("gap a {reason}\nb {reason}")]);
        // From there on it goes.
        let next = poll(server.address, &format!("topic=a&timeout=0&lastId={}", polled.last));
        assert!(next.words.is_empty());
        let (status, _, json) = of(&server, &format!("/poll?topic=a&timeout=55&lastId={cursor}"));
        assert_eq!((status, &json["messages"][0]["event"]), (200, &"tautline.gap".into()));
        assert_eq!(json["messages"][0]["data"], format!("a {reason}"));
        assert!(json["messages"][0].get("id").is_none());
    }
}

#[test]
fn l2_what_is_no_cursor_is_400_in_polls_and_commands() {
    let server = hub(1);
    let mut client = Client::connect(server.address);
    for cursor in ["-1", "abc", "18446744073709551616", "", "1", "1-", "1-1-xyz", "%00", "1-1-0000beef%20"] {
        assert_eq!(get(&mut client, &format!("/poll?topic=a&lastId={cursor}")).0, 400, "{cursor}");
        assert_eq!(get(&mut client, &format!("/poll?topic=a@{cursor}")).0, 400, "{cursor}");
        send(&mut client, "POST", &format!("/ack?lastId={cursor}"), "", b"");
        assert_eq!(client.response().status, 400, "{cursor}");
    }
    client.write(b"GET /poll?topic=a HTTP/1.1\r\nHost: a\r\nLast-Event-ID: abc\r\n\r\n");
    assert_eq!(client.response().status, 400);
    let mut sub = Sub::new(server.address, Via::WebSocket, "topic=a");
    for cursor in ["-1", "abc", "18446744073709551616", ""] {
        sub.say(&format!("event: tautline.subscribe\ntopic: b\ndata: {cursor}"));
        assert!(sub.word().starts_with("error b 400 subscribe"));
        sub.say(&format!("event: tautline.ack\ndata: {cursor}"));
        assert!(sub.word().starts_with("error 400 ack"));
    }
}

#[test]
fn l3_of_two_polls_of_one_session_the_older_is_answered_empty_at_once_and_the_newest_holds() {
    let server = hub(2);
    let Polled { last, session, .. } = poll(server.address, "topic=a");
    let query = format!("topic=a&timeout=55&lastId={last}&session={}", session.unwrap());
    // Over both workers, one after the other.
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..10 {
        let mut client = Client::connect(server.address);
        ask_poll(&mut client, &query);
        if let Some(mut older) = clients.pop() {
            let polled = polled(&mut older);
            assert_eq!((polled.words.len(), polled.last, polled.more), (0, last.clone(), false));
            assert_eq!(polled.session, None);
        }
        clients.push(client);
        wait_for_held(&server, 1);
    }
    let id = publish(server.address, "topic=a", "x");
    let polled = polled(&mut clients[0]);
    assert_eq!((polled.words, polled.last), (vec!["x".to_owned()], id));
}

#[test]
fn l4_what_is_published_when_a_held_poll_s_client_is_gone_comes_with_the_next_poll() {
    let server = hub(2);
    let start = poll(server.address, "topic=a").last;
    for number in 0..6 {
        let mut client = Client::connect(server.address);
        ask_poll(&mut client, &format!("topic=a&timeout=55&lastId={start}"));
        wait_for_held(&server, 1);
        if number % 2 == 0 {
            client.reset()
        } else {
            drop(client)
        }
        server.wait_for_no_peers();
    }
    publish(server.address, "topic=a", "missed");
    assert_eq!(poll(server.address, &format!("topic=a&lastId={start}")).words, ["missed"]);
}

#[test]
fn l4_what_a_client_did_not_live_to_read_comes_again() {
    let server = hub(1);
    let start = poll(server.address, "topic=a").last;
    let mut client = Client::connect(server.address);
    ask_poll(&mut client, &format!("topic=a&timeout=55&lastId={start}"));
    wait_for_held(&server, 1);
    publish(server.address, "topic=a", "answered");
    client.reset();
    assert_eq!(poll(server.address, &format!("topic=a&lastId={start}")).words, ["answered"]);
}

#[test]
fn l5_what_is_published_between_an_answer_and_the_next_poll_is_answered_at_once() {
    let server = hub(2);
    let mut last = poll(server.address, "topic=a").last;
    let mut client = Client::connect(server.address);
    for number in 0..50 {
        let id = publish(server.address, "topic=a", &number.to_string());
        ask_poll(&mut client, &format!("topic=a&timeout=55&lastId={last}"));
        let polled = polled(&mut client);
        assert_eq!((polled.words, &polled.last), (vec![number.to_string()], &id));
        last = polled.last;
    }
}

#[test]
fn l6_more_than_100_come_in_batches_of_100() {
    let mut config = settings();
    let history = tautline::hub::HistoryLimits { events: 1000, ..Default::default() };
    config.policies = config.policies.with("long", tautline::hub::TopicPolicy { history, ..Default::default() });
    let server = start(&open(config), 1, on());
    let mut last = poll(server.address, "topic=long").last;
    for number in 0..250 {
        server.handle.publish("long", &Event::new(&number.to_string())).unwrap();
    }
    server.ask(0, |_, _| ());
    let mut all = Vec::new();
    for (count, more) in [(100, true), (100, true), (50, false)] {
        let query = format!("topic=long&timeout=55&lastId={last}");
        let (_, _, json) = of(&server, &format!("/poll?{query}"));
        assert_eq!(json["messages"].as_array().unwrap().len(), count);
        assert_eq!(json.get("more").is_some(), more);
        let polled = poll(server.address, &query);
        assert_eq!((polled.words.len(), polled.more, &json["lastId"]), (count, more, &polled.last.clone().into()));
        all.extend(polled.words);
        last = polled.last;
    }
    assert_eq!(all, (0..250).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn l6_a_batch_is_256_kib_and_a_longer_event_goes_alone() {
    let server = hub(1);
    let start = poll(server.address, "topic=a").last;
    let (long, short) = ("l".repeat(300 << 10), "s".repeat(100 << 10));
    for data in [&short, &short, &short, &long, &short] {
        publish(server.address, "topic=a", data);
    }
    for json in [true, false] {
        let (mut last, mut lens) = (start.clone(), Vec::new());
        loop {
            let query = format!("topic=a&timeout=0&lastId={last}");
            let more;
            if json {
                let (_, _, answer) = of(&server, &format!("/poll?{query}"));
                lens.push(answer["messages"].as_array().unwrap().len());
                (last, more) = (answer["lastId"].as_str().unwrap().to_owned(), answer.get("more").is_some());
            } else {
                let polled = poll(server.address, &query);
                lens.push(polled.words.len());
                (last, more) = (polled.last, polled.more);
            }
            // The last one may still be on its way.
            if !more && lens.iter().sum::<usize>() >= 5 {
                break;
            }
        }
        lens.retain(|len| *len > 0);
        assert_eq!(lens, [2, 1, 1, 1]);
    }
}

#[test]
fn l7_a_post_over_the_cap_is_413_and_one_without_length_411() {
    let server = hub(1);
    for target in ["/publish?topic=a", "/send"] {
        let mut client = Client::connect(server.address);
        client.write(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n").as_bytes());
        let response = client.response();
        assert_eq!((response.status, header(&response.head, "connection")), (413, Some("close")));
        // A page of elsewhere is to learn that it is of no use to come again.
        assert_eq!(header(&response.head, CORS[0].0), Some(CORS[0].1));
        let mut client = Client::connect(server.address);
        client.write(format!("POST {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(client.response().status, 411);
    }
}

#[test]
fn l8_a_timeout_of_0_is_answered_at_once_and_one_that_is_no_number_is_400() {
    let server = hub(1);
    let mut client = Client::connect(server.address);
    let last = poll(server.address, "topic=a").last;
    let (status, _, json) = get(&mut client, &format!("/poll?topic=a&timeout=0&lastId={last}"));
    assert_eq!(
        (status, json["messages"].as_array().map(Vec::len), &json["lastId"]),
        (200, Some(0), &last.clone().into())
    );
    for timeout in ["-1", "x", "1.5", "", "+1"] {
        assert_eq!(get(&mut client, &format!("/poll?topic=a&timeout={timeout}&lastId={last}")).0, 400, "{timeout}");
    }
    // Clamped to 55 it is held, and not refused.
    client.get(&format!("/poll?topic=a&timeout=9999&lastId={last}"));
    wait_for_held(&server, 1);
    publish(server.address, "topic=a", "x");
    assert_eq!(client.response().status, 200);
}

#[test]
fn l8_a_poll_is_answered_empty_when_its_time_is_up() {
    let server = hub(1);
    let last = poll(server.address, "topic=a").last;
    publish(server.address, "topic=other", "x");
    let began = Instant::now();
    let polled = poll(server.address, &format!("topic=a&timeout=1&lastId={last}"));
    assert!(began.elapsed() >= Duration::from_millis(900));
    assert!(polled.words.is_empty() && !polled.more);
}

#[test]
fn l9_an_answer_is_not_to_be_stored_and_has_its_length() {
    let server = hub(1);
    let last = poll(server.address, "topic=a").last;
    publish(server.address, "topic=a", "x");
    for target in
        ["/poll?topic=a".to_owned(), format!("/poll?topic=a&lastId={last}"), "/poll?topic=a&lastId=0&timeout=0".into()]
    {
        for accept in ["application/json", "text/event-stream"] {
            for method in ["GET", "HEAD"] {
                let mut client = Client::connect(server.address);
                client.write(format!("{method} {target} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n").as_bytes());
                let head = client.head();
                assert!(head.starts_with("HTTP/1.1 200"), "{head}");
                assert_eq!(header(&head, "Cache-Control"), Some("no-store"));
                assert_eq!(header(&head, "ETag"), None);
                assert!(header(&head, "Content-Type").unwrap().starts_with(accept), "{head}");
                let length: usize = header(&head, "Content-Length").unwrap().parse().unwrap();
                client.finish();
                let (body, _) = client.rest();
                assert_eq!(body.len(), if method == "GET" { length } else { 0 });
            }
        }
    }
}

#[test]
fn l10_a_callback_is_not_reflected() {
    let server = hub(1);
    let mut client = Client::connect(server.address);
    for target in [
        "/poll?topic=a&callback=alert(1)",
        "/poll?topic=a&lastId=alert(1)",
        "/poll?topic=alert(1)",
        "/poll?timeout=alert(1)",
    ] {
        client.get(target);
        let response = client.response();
        assert!(!response.head.contains("alert") && !response.text().contains("alert"), "{response:?}");
        assert_eq!(header(&response.head, "X-Content-Type-Options"), Some("nosniff"), "{response:?}");
    }
}

/// Whoever says a name is that.
struct Names;

impl Authority for Names {
    fn identify(&self, asking: &Asking<'_>) -> Result<Identity, Denied> {
        let name = asking.head.and_then(tautline::http::credentials::bearer);
        name.map(|name| Identity::user(name.expose())).ok_or(Denied::Unauthorized)
    }
}

#[test]
fn l11_a_session_of_another_user_is_refused_without_data() {
    let server = start(&with(settings(), Names), 2, on());
    server.handle.publish("a", &Event::new("secret")).unwrap();
    let ask = |name: &str, method: &str, target: &str| {
        let mut client = Client::connect(server.address);
        send(&mut client, method, target, &format!("Authorization: Bearer {name}\r\n"), b"");
        client.response()
    };
    let session = header(&ask("ann", "GET", "/poll?topic=a").head, "Tautline-Session").unwrap().to_owned();
    assert_eq!(ask("ann", "GET", &format!("/poll?topic=a&lastId=0&session={session}")).status, 200);
    for (method, target) in [
        ("GET", format!("/poll?topic=a&lastId=0&session={session}")),
        ("GET", format!("/events?topic=a&lastId=0&session={session}")),
        ("POST", format!("/ack?lastId=1-1-0000beef&session={session}")),
        ("POST", format!("/publish?topic=a&session={session}")),
        ("POST", format!("/send?session={session}")),
    ] {
        let response = ask("bob", method, &target);
        assert_eq!(response.status, 403, "{response:?}");
        assert!(!response.text().contains("secret") && header(&response.head, "Tautline-Session").is_none());
    }
    // One that is made up is no better, and one that is no token is malformed.
    let forged = format!("{:0>56}", &session[32..]);
    assert_eq!(ask("ann", "GET", &format!("/poll?topic=a&session={forged}")).status, 403);
    assert_eq!(ask("ann", "GET", "/poll?topic=a&session=x").status, 400);
}

// Beside them.

#[test]
fn a_connection_goes_on_after_its_poll_was_answered_and_requests_behind_a_held_one_wait() {
    let server = hub(1);
    let last = poll(server.address, "topic=a").last;
    let mut client = Client::connect(server.address);
    for number in 0..5 {
        ask_poll(&mut client, &format!("topic=a&timeout=55&lastId={last}"));
        // Behind it, before it is answered.
        client.get("/poll?topic=b");
        client.write(b"POST /publish?topic=c HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        if number == 0 {
            wait_for_held(&server, 1);
        }
        publish(server.address, "topic=a", &number.to_string());
        let polled = polled(&mut client);
        assert_eq!(polled.words.first().map(|word| &**word), Some("0"));
        let second = client.response();
        assert!(second.status == 200 && second.text().starts_with("{\"messages\":[]"), "{second:?}");
        assert_eq!(client.response().status, 200);
    }
    drop(client);
    server.wait_for_no_peers();
}

#[test]
fn a_poll_without_cursor_is_answered_at_once_with_the_present_one_and_a_session() {
    let server = hub(2);
    let id = publish(server.address, "topic=a", "before");
    let first = poll(server.address, "topic=a&timeout=55");
    assert!(first.words.is_empty() && !first.last.is_empty() && id.len() >= 10);
    let session = first.session.expect("a new session");
    assert_eq!(poll(server.address, &format!("topic=a&session={session}")).session, None, "it is known");
    assert_ne!(poll(server.address, "topic=a").session.unwrap(), session);
}

#[test]
fn a_subscriber_to_many_topics_gets_them_all_in_one_order() {
    let server = hub(2);
    let start = poll(server.address, "topic=t0").last;
    for number in 0..60 {
        publish(server.address, &format!("topic=t{}", number % 6), &number.to_string());
    }
    let topics: Vec<_> = (0..6).map(|number| format!("topic=t{number}")).collect();
    let (mut last, mut got) = (start, Vec::new());
    while got.len() < 60 {
        let polled = poll(server.address, &format!("{}&lastId={last}", topics.join("&")));
        got.extend(polled.words);
        last = polled.last;
    }
    assert_eq!(got, (0..60).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn what_a_poll_did_not_wait_for_is_a_mistake_and_said_so() {
    let server = hub(1);
    let response = post(server.address, "/poll?topic=a", "", "");
    assert_eq!((response.status, header(&response.head, "Allow")), (405, Some("GET, HEAD")));
    let mut client = Client::connect(server.address);
    client.write(b"GET /poll HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n");
    assert_eq!(client.response().status, 406);
}

#[test]
fn an_event_that_is_longer_in_json_than_any_queue_is_told_as_a_gap_and_polls_go_on() {
    let server = hub(1);
    let start = poll(server.address, "topic=a").last;
    // Six bytes of JSON for each.
    publish(server.address, "topic=a", &"\u{1}".repeat(300 << 10));
    publish(server.address, "topic=a", "behind it");
    let (_, _, first) = of(&server, &format!("/poll?topic=a&timeout=0&lastId={start}"));
    assert_eq!(first["messages"][0]["event"], "tautline.gap", "{first}");
    let last = first["lastId"].as_str().unwrap();
    let (_, _, second) = of(&server, &format!("/poll?topic=a&timeout=0&lastId={last}"));
    assert_eq!(second["messages"][0]["data"], "behind it", "{second}");
    // As blocks it is what it is.
    let whole = poll(server.address, &format!("topic=a&timeout=0&lastId={start}"));
    assert_eq!(whole.words[0].len(), 300 << 10);
}

#[test]
fn a_publication_s_parameters_may_be_there_once() {
    let server = hub(1);
    for twice in
        ["event=a&event=b", "key=a&key=b", "to=others&to=others", "keep=no&keep=no", "slot=a&slot=b", "topic=b@0"]
    {
        let target = format!("/publish?topic=a&{twice}");
        let target = if twice.starts_with("topic") { format!("/publish?{twice}") } else { target };
        assert_eq!(post(server.address, &target, "", "x").status, 400, "{twice}");
    }
    assert_eq!(post(server.address, "/publish?topic=a&event=%C3%A9&slot=%20", "", "x").status, 200);
}
