//! Which transport a falling-back client takes, when it comes back and when it does not, against a server that is written out byte by byte.

#[path = "client_session/world.rs"]
#[allow(dead_code, reason = "what other tests use")]
mod world;

use std::time::Duration;
use tautline::client::{SessionConfig, Transport, Transports};
use world::{World, attach, attach_lane, attached, event, only, position, seconds};

#[test]
fn x1_three_websockets_that_are_killed_after_the_101_lead_to_an_event_stream() {
    let mut world = World::new(SessionConfig::default(), &["a"]);
    for _ in 0..3 {
        let lane = world.expect_connect();
        let request = world.connected(lane);
        assert!(request.starts_with("GET /hub/ws?"), "{request}");
        world.switch(lane);
        world.pass(Duration::from_millis(200));
        world.eof(lane);
        world.wait();
    }
    let lane = world.expect_connect();
    let request = world.connected(lane);
    assert!(request.starts_with("GET /hub/events?topic=a HTTP/1.1\r\n"), "{request}");
    assert_eq!(
        world.log(),
        [
            "lost: connection ended; next websocket",
            "lost: connection ended; next websocket",
            "lost: connection ended; next event stream"
        ]
    );
}

#[test]
fn x1_three_websockets_that_attach_and_are_killed_lead_to_an_event_stream_without_loss() {
    let mut world = World::new(SessionConfig::default(), &["a"]);
    for i in 0..3 {
        let lane = world.expect_connect();
        world.connected(lane);
        world.switch(lane);
        world.text(lane, &(event(i + 1, "a", "x") + &attach(i + 1)));
        world.pass(Duration::from_millis(200));
        world.eof(lane);
        world.wait();
    }
    let lane = world.expect_connect();
    let request = world.connected(lane);
    assert!(request.starts_with("GET /hub/events?topic=a&lastId=7-3-00000001 HTTP/1.1\r\n"), "{request}");
    assert_eq!(world.log().iter().filter(|line| *line == "a x").count(), 3);
}

#[test]
fn a_websocket_that_was_of_use_is_forgiven_two_that_were_not() {
    let mut world = World::new(SessionConfig::default(), &["a"]);
    for i in 0..9 {
        let lane = world.expect_connect();
        world.connected(lane);
        world.switch(lane);
        if i % 3 == 2 {
            world.text(lane, &attach(i));
            // Beyond the attach.
            world.text(lane, &position(i));
        }
        world.eof(lane);
        world.wait();
    }
    assert_eq!(world.session.transport(), Transport::WebSocket);
}

#[test]
fn a_websocket_that_lived_for_the_stable_time_was_of_use_without_a_word() {
    let mut world = World::new(SessionConfig::default(), &["a"]);
    for _ in 0..5 {
        let lane = world.expect_connect();
        world.connected(lane);
        world.switch(lane);
        world.text(lane, &attach(1));
        world.pass(seconds(10));
        world.eof(lane);
        world.wait();
    }
    assert_eq!(world.session.transport(), Transport::WebSocket);
}

#[test]
fn a_server_that_is_away_says_nothing_about_the_transport() {
    let mut world = World::new(SessionConfig::default(), &["a"]);
    for _ in 0..20 {
        let lane = world.expect_connect();
        world.connect_failed(lane);
        world.wait();
    }
    assert_eq!(world.session.transport(), Transport::WebSocket);
}

#[test]
fn a_101_and_then_silence_leads_down_after_the_probe_deadline() {
    let mut world = World::new(SessionConfig::default(), &["a"]);
    let lane = world.expect_connect();
    world.connected(lane);
    world.switch(lane);
    assert_eq!(world.wait(), seconds(10));
    let lane = world.expect_connect();
    assert!(world.connected(lane).starts_with("GET /hub/events?"));
    assert_eq!(world.log(), ["lost: no block in time on a new connection; next event stream"]);
}

#[test]
fn an_event_stream_of_which_only_the_head_comes_leads_to_long_polls() {
    let mut world = World::new(
        SessionConfig { transports: Transports::ALL.without(Transport::WebSocket), ..SessionConfig::default() },
        &["a"],
    );
    let lane = world.expect_connect();
    world.connected(lane);
    world.stream(lane);
    // Nor is a comment a block.
    world.pass(seconds(5));
    world.feed(lane, b":\n\n");
    assert_eq!(world.wait(), seconds(5));
    let lane = world.expect_connect();
    assert!(world.connected(lane).starts_with("GET /hub/poll?topic=a&timeout=0 HTTP/1.1\r\n"));
    assert_eq!(world.log(), ["lost: no block in time on a new connection; next long poll"]);
}

#[test]
fn a_request_for_a_websocket_that_is_answered_otherwise_leads_down_at_once() {
    for status in ["400 Bad Request", "404 Not Found", "426 Upgrade Required", "200 OK", "301 Moved Permanently"] {
        let mut world = World::new(SessionConfig::default(), &["a"]);
        let lane = world.expect_connect();
        world.connected(lane);
        world.answer(lane, status, "", "");
        let lane = world.expect_connect();
        assert!(world.connected(lane).starts_with("GET /hub/events?"), "{status}");
    }
}

#[test]
fn a_websocket_without_the_subprotocol_is_none_of_ours() {
    let mut world = World::new(SessionConfig::default(), &["a"]);
    world.protocol = "";
    let lane = world.expect_connect();
    world.connected(lane);
    world.switch(lane);
    let lane = world.expect_connect();
    assert!(world.connected(lane).starts_with("GET /hub/events?"));
}

#[test]
fn x2_up_again_after_the_cool_down_beside_what_works_and_each_event_once() {
    let mut world = World::new(SessionConfig::default(), &["a"]);
    let lane = world.expect_connect();
    world.connected(lane);
    world.answer(lane, "426 Upgrade Required", "", "");
    let stream = world.expect_connect();
    attach_lane(&mut world, stream, Transport::EventStream);
    world.log();
    // The server restarts, and the client comes back where it was.
    world.pass(seconds(20));
    world.eof(stream);
    world.wait();
    let stream = world.expect_connect();
    attach_lane(&mut world, stream, Transport::EventStream);
    assert_eq!(world.log(), ["lost: connection ended; next event stream", "attached event stream"]);
    // Heartbeats until the cool-down is over.
    let trial = loop {
        world.feed(stream, position(10).as_bytes());
        world.pass(seconds(1));
        assert!(world.now < tautline::Instant::from_millis(62_000), "{:?}", world.now);
        if let [(world::Wish::Connect, lane)] = world.wishes()[..] {
            break lane;
        }
    };
    assert!(world.now >= tautline::Instant::from_millis(45_000));
    world.feed(stream, event(11, "a", "by stream").as_bytes());
    let request = world.connected(trial);
    assert!(request.starts_with("GET /hub/ws?topic=a&lastId=7-11-00000001 "), "{request}");
    assert!(request.contains("Tautline-Session: 5e551\r\n"), "{request}");
    world.switch(trial);
    // Both bring events: each counts once.
    world.feed(stream, event(12, "a", "by both").as_bytes());
    world.text(trial, &(event(12, "a", "by both") + &event(13, "a", "by socket")));
    world.feed(stream, event(13, "a", "by socket").as_bytes());
    assert!(world.wishes().is_empty());
    world.text(trial, &position(13));
    assert_eq!(world.wishes(), [(world::Wish::Drop, stream)]);
    world.text(trial, &event(14, "a", "alone"));
    assert_eq!(world.log(), ["a by stream", "a by both", "a by socket", "attached websocket", "a alone"]);
}

#[test]
fn a_trial_that_fails_costs_nothing_and_comes_again_later_and_later() {
    let mut world = World::new(SessionConfig::default(), &["a"]);
    let lane = world.expect_connect();
    world.connected(lane);
    world.answer(lane, "426 Upgrade Required", "", "");
    let stream = world.expect_connect();
    attach_lane(&mut world, stream, Transport::EventStream);
    world.log();
    let mut trials = vec![];
    let mut last = world.now;
    while trials.len() < 6 {
        world.feed(stream, position(10).as_bytes());
        world.pass(seconds(1));
        for (wish, lane) in world.wishes() {
            if wish == world::Wish::Connect {
                trials.push(world.now.saturating_duration_since(last).as_secs());
                last = world.now;
                world.connected(lane);
                world.answer(lane, "502 Bad Gateway", "", "");
            }
        }
    }
    for (waited, cool_down) in trials.iter().zip([60, 120, 240, 480, 600, 600]) {
        assert!((cool_down * 3 / 4..=cool_down + 1).contains(waited), "{trials:?}");
    }
    assert_eq!(world.log(), Vec::<String>::new());
    assert!(world.session.is_attached());
}

#[test]
fn x4_terminal_codes_and_statuses_end_the_session() {
    for code in [1002, 1003, 1007, 1008, 1009, 4000, 4001, 4003, 4499] {
        let (mut world, lane) = attached(only(Transport::WebSocket), &["a"]);
        world.close(lane, code, "no");
        assert_eq!(world.log(), [format!("closed: closed for good with code {code}")]);
        world.pass(seconds(3600));
        assert_eq!(world.wishes(), [(world::Wish::Drop, lane)], "{code}");
        assert_eq!(world.session.poll_timeout(), None);
    }
    for (status, transport) in [
        ("401 Unauthorized", Transport::WebSocket),
        ("403 Forbidden", Transport::WebSocket),
        ("403 Forbidden", Transport::EventStream),
        ("400 Bad Request", Transport::LongPoll),
        ("404 Not Found", Transport::LongPoll),
        ("415 Unsupported Media Type", Transport::EventStream),
    ] {
        let mut world = World::new(only(transport), &["a"]);
        let lane = world.expect_connect();
        world.connected(lane);
        world.answer(lane, status, "", "");
        assert_eq!(world.log(), [format!("closed: refused for good with status {}", &status[..3])]);
        assert!(world.session.is_over());
    }
}

#[test]
fn x4_other_codes_do_not_end_it() {
    for code in [1000, 1001, 1011, 1012, 1013, 3000, 4500, 4999] {
        let (mut world, lane) = attached(only(Transport::WebSocket), &["a"]);
        world.close(lane, code, "");
        world.wait();
        world.expect_connect();
    }
}

#[test]
fn x5_codes_1012_and_1013_bring_it_back_within_the_window_of_the_reason() {
    for code in [1012, 1013] {
        let mut waits = vec![];
        for seed in 0..200 {
            let mut world = World::seeded(only(Transport::WebSocket), &["a"], seed);
            let lane = world.expect_connect();
            attach_lane(&mut world, lane, Transport::WebSocket);
            world.close(lane, code, "restart retry=20000");
            waits.push(world.wait());
        }
        waits.sort();
        assert!(waits[0] < seconds(2) && waits[100] > seconds(6) && waits[100] < seconds(14), "{waits:?}");
        assert!(waits[199] > seconds(18) && waits[199] <= seconds(20));
    }
}

#[test]
fn x5_overload_by_status_is_waited_out_and_not_held_against_the_transport() {
    let mut world = World::new(SessionConfig::default(), &["a"]);
    for _ in 0..5 {
        let lane = world.expect_connect();
        world.connected(lane);
        world.answer(lane, "503 Service Unavailable", "Retry-After: 7\r\n", "");
        assert!(world.wait() >= seconds(7));
    }
    assert_eq!(world.session.transport(), Transport::WebSocket);
}

#[test]
fn x6_advice_is_clamped() {
    // The base of the backoff from then on, of which a wait is a random part.
    for (advice, base) in [("0", 100), ("1000000000000", 30_000), ("2500", 2500)] {
        let mut longest = 0;
        for seed in 0..100 {
            let mut world = World::seeded(only(Transport::EventStream), &["a"], seed);
            let lane = world.expect_connect();
            attach_lane(&mut world, lane, Transport::EventStream);
            world.feed(lane, format!("retry: {advice}\n\n").as_bytes());
            world.eof(lane);
            let wait = world.wait().as_millis();
            assert!((100..=base).contains(&wait), "{advice}: {wait}");
            longest = longest.max(wait);
        }
        assert!(longest > base * 4 / 5, "{advice}: {longest}");
    }
    let mut world = World::new(only(Transport::LongPoll), &["a"]);
    let lane = world.expect_connect();
    world.connected(lane);
    world.answer(lane, "429 Too Many Requests", "Retry-After: 1000000000000\r\n", "");
    assert!(world.wait() <= seconds(3601));
    let (mut world, lane) = attached(only(Transport::WebSocket), &["a"]);
    world.close(lane, 1012, "retry=1000000000000");
    assert!(world.wait() <= seconds(3600));
    let (mut world, lane) = attached(only(Transport::WebSocket), &["a"]);
    world.close(lane, 1012, "retry=0");
    assert_eq!(world.wait(), Duration::from_millis(100));
}

#[test]
fn x3_ten_thousand_clients_that_are_dropped_at_once_come_back_evenly_spread() {
    // Kolmogorov-Smirnov, at 1 % significance: 1.63 / sqrt(n).
    let n = 10_000;
    let mut first = Vec::with_capacity(n);
    let mut capped = Vec::with_capacity(n);
    for seed in 0..n as u64 {
        let mut world = World::seeded(only(Transport::WebSocket), &["a"], seed);
        for failure in 0..7 {
            let lane = world.expect_connect();
            world.connect_failed(lane);
            let wait = world.wait();
            if failure == 0 {
                first.push(wait.as_secs_f64());
            } else if failure == 6 {
                capped.push(wait.as_secs_f64());
            }
        }
    }
    let distance = |sample: &mut Vec<f64>, range: f64| {
        sample.sort_by(f64::total_cmp);
        let n = sample.len() as f64;
        // Below the floor nothing comes: there the distribution is what it has to be anyway.
        let above = sample.iter().enumerate().filter(|(_, x)| **x > 0.1);
        above
            .map(|(i, x)| ((i as f64 + 1.0) / n - x / range).abs().max((i as f64 / n - x / range).abs()))
            .fold(0.0, f64::max)
    };
    let bound = 1.63 / (n as f64).sqrt();
    assert!(distance(&mut first, 1.0) < bound, "{}", distance(&mut first, 1.0));
    assert!(distance(&mut capped, 30.0) < bound, "{}", distance(&mut capped, 30.0));
}
