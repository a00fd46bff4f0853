//! The client keeps its place beside the real hub: whatever gets in the way between them, each number comes once and in order, or a gap
//! names the topic.
#![cfg(feature = "net")]

#[path = "net_resume/follower.rs"]
mod follower;
mod net_support;
#[path = "net_resume/proxy.rs"]
mod proxy;

use follower::{Follower, only, quick};
use net_support::{On, Running, Script, config, eventually, start};
use proxy::{Fate, Proxy};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tautline::client::{Acknowledge, Publication, SessionConfig, Transport, Transports};
use tautline::hub::{Cursor, HistoryLimits, HubConfig, Policies, TopicPolicy};
use tautline::net::{Config, DrainConfig, Endpoint, Handle, HubSettings};
use tautline::sse::Event;
use tautline::ws::CloseCode;

/// A server with a hub that retains enough for all that is missed here. `/401/…` and `/403/…` are refused so.
fn hub(workers: usize) -> Running {
    hub_with(workers, HubConfig::default())
}

fn hub_with(workers: usize, hub: HubConfig) -> Running {
    let history = HistoryLimits { events: 10_000, ..HistoryLimits::default() };
    let policies = Policies::new(TopicPolicy { history, ..TopicPolicy::default() });
    let settings = HubSettings { hub: HubConfig { policies, ..hub }, ..HubSettings::default() };
    let mut config = Config { hub: Some(settings), ..config() };
    config.stream.retry = Some(Duration::from_millis(100));
    let on = On {
        request: |script, head, cx| {
            script.log.push(head.target());
            script.remember(head.path(), cx);
            match (Endpoint::of(head.path()), head.path().get(..4)) {
                (_, Some("/401")) => cx.reject(401).unwrap(),
                (_, Some("/403")) => cx.reject(403).unwrap(),
                (Some(endpoint), _) => cx.hub(head, endpoint, &[]).unwrap(),
                (None, _) => cx.reject(404).unwrap(),
            }
        },
        ..On::default()
    };
    start(&config, workers, on)
}

/// Publishes these numbers to topic `a`.
fn publish(handle: &Handle<Script>, numbers: std::ops::RangeInclusive<u64>, pace: Duration) {
    for number in numbers {
        while handle.publish("a", &Event::new(&number.to_string())).is_err() {
            // The workers are behind by as much as they may be.
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(pace);
    }
}

/// As [`publish`], beside what else goes on.
fn publisher(server: &Running, numbers: std::ops::RangeInclusive<u64>, pace: Duration) -> JoinHandle<()> {
    let handle = server.handle.clone();
    thread::spawn(move || publish(&handle, numbers, pace))
}

const PACE: Duration = Duration::from_millis(3);

#[test]
fn x1_websockets_that_are_cut_behind_the_101_lead_to_an_event_stream_without_loss() {
    for workers in [1, 2] {
        let server = hub(workers);
        let proxy = Proxy::new(server.address);
        proxy.rule(|path, _| match path {
            "/ws" => Fate::HeadOnly(Duration::from_millis(100)),
            _ => Fate::Pass,
        });
        let mut follower = Follower::new(quick(), proxy.address);
        let publisher = publisher(&server, 1..=300, PACE);
        follower.until("it attaches", |said| !said.attached.is_empty());
        assert_eq!(follower.said.attached, [Transport::EventStream]);
        assert_eq!((follower.said.lost.len(), proxy.count("/ws")), (3, 3));
        publisher.join().unwrap();
        follower.expect_exactly(300);
    }
}

#[test]
fn streams_that_something_holds_back_lead_to_long_polls_without_loss() {
    let server = hub(2);
    let proxy = Proxy::new(server.address);
    proxy.rule(|path, _| match path {
        "/ws" | "/events" => Fate::HeadOnly(Duration::from_secs(60)),
        _ => Fate::Pass,
    });
    let config = SessionConfig { probe: Duration::from_millis(500), ..quick() };
    let mut follower = Follower::new(config, proxy.address);
    let publisher = publisher(&server, 1..=500, PACE);
    follower.until("it attaches", |said| !said.attached.is_empty());
    assert_eq!(follower.said.attached, [Transport::LongPoll]);
    publisher.join().unwrap();
    follower.expect_exactly(500);
}

#[test]
fn cuts_while_events_come_lose_nothing_and_bring_nothing_twice_on_any_transport() {
    for transport in Transport::ALL {
        for workers in [1, 2] {
            let server = hub(workers);
            let proxy = Proxy::new(server.address);
            let mut follower = Follower::new(only(transport), proxy.address);
            let publisher = publisher(&server, 1..=600, PACE);
            for cut in 1..=6 {
                follower.until("more came", |said| said.numbers.len() >= cut * 60);
                proxy.cut();
            }
            publisher.join().unwrap();
            follower.expect_exactly(600);
            // A cut between two polls is not worth a word.
            let connections = ["/ws", "/events", "/poll"].map(|path| proxy.count(path)).iter().sum::<usize>();
            assert!(connections >= 4, "{transport}: {connections}");
            assert_eq!(follower.subscriber.session().transport(), transport);
        }
    }
}

#[test]
fn while_everything_is_blocked_nothing_is_lost_on_any_transport() {
    for transport in Transport::ALL {
        let server = hub(2);
        let proxy = Proxy::new(server.address);
        let mut follower = Follower::new(only(transport), proxy.address);
        follower.until("it attaches", |said| !said.attached.is_empty());
        publish(&server.handle, 1..=50, Duration::ZERO);
        follower.expect_exactly(50);
        proxy.rule(|_, _| Fate::Refuse);
        proxy.cut();
        publish(&server.handle, 51..=150, Duration::ZERO);
        follower.run_for(Duration::from_millis(700));
        assert_eq!(follower.said.numbers.len(), 50);
        let publisher = publisher(&server, 151..=300, PACE);
        proxy.rule(|_, _| Fate::Pass);
        publisher.join().unwrap();
        follower.expect_exactly(300);
    }
}

#[test]
fn a_restarted_server_is_a_gap_that_names_the_topic_and_then_everything_new_in_order() {
    for transport in Transport::ALL {
        let first = hub(1);
        let proxy = Proxy::new(first.address);
        let mut follower = Follower::new(only(transport), proxy.address);
        follower.until("it attaches", |said| !said.attached.is_empty());
        publish(&first.handle, 1..=50, Duration::ZERO);
        follower.expect_exactly(50);
        proxy.rule(|_, _| Fate::Refuse);
        first.handle.stop();
        first.join();
        let second = hub(2);
        // Half of it before the client is back.
        publish(&second.handle, 51..=100, Duration::ZERO);
        proxy.redirect(second.address);
        let publisher = publisher(&second, 101..=200, PACE);
        proxy.rule(|_, _| Fate::Pass);
        publisher.join().unwrap();
        follower.until("200 is there", |said| said.numbers.last() == Some(&200));
        assert!(follower.said.numbers.iter().copied().eq(1..=200), "{transport}: {:?}", follower.said.numbers);
        assert_eq!(follower.said.gaps, ["a unknown"], "{transport}");
        // And what it has now is a place in the new log.
        proxy.cut();
        publish(&second.handle, 201..=250, Duration::ZERO);
        follower.until("250 is there", |said| said.numbers.last() == Some(&250));
        assert!(follower.said.numbers.iter().copied().eq(1..=250), "{transport}: {:?}", follower.said.numbers);
        assert_eq!(follower.said.gaps, ["a unknown"], "{transport}");
    }
}

#[test]
fn x2_after_the_cool_down_a_websocket_takes_over_also_from_a_stream_whose_server_restarted() {
    let first = hub(1);
    let proxy = Proxy::new(first.address);
    proxy.rule(|path, _| if path == "/ws" { Fate::Refuse } else { Fate::Pass });
    let mut follower = Follower::new(quick(), proxy.address);
    follower.until("it attaches", |said| !said.attached.is_empty());
    publish(&first.handle, 1..=20, Duration::ZERO);
    follower.expect_exactly(20);
    first.handle.stop();
    first.join();
    let second = hub(2);
    proxy.redirect(second.address);
    follower.until("it is back", |said| said.attached.len() >= 2);
    assert_eq!(follower.said.attached, [Transport::EventStream; 2]);
    assert_eq!(follower.said.gaps, ["a unknown"]);
    follower.said.gaps.clear();
    let publisher = publisher(&second, 21..=1500, PACE);
    follower.run_for(Duration::from_millis(200));
    proxy.rule(|_, _| Fate::Pass);
    follower.until("a WebSocket takes over", |said| said.attached.last() == Some(&Transport::WebSocket));
    publisher.join().unwrap();
    follower.expect_exactly(1500);
    assert_eq!(follower.said.attached.len(), 3, "{:?}", follower.said.attached);
}

#[test]
fn x4_closes_and_statuses_that_are_final_end_the_session() {
    for code in [1008, 4001, 4003, 4499] {
        let server = hub(1);
        let mut follower = Follower::attached(quick(), &server);
        server.handle.close_peer(server.id("/ws"), CloseCode::new(code).unwrap(), "for good").unwrap();
        follower.until("it is over", |said| said.closed.is_some());
        assert_eq!(follower.said.closed.as_deref(), Some(&*format!("closed for good with code {code}")));
        follower.run_for(Duration::from_millis(300));
        assert_eq!(server.log.count("/ws"), 1, "{code}");
    }
    for status in [401, 403] {
        let server = hub(1);
        let url = format!("http://{}/{status}", server.address);
        let endpoint = quick().check(&tautline::http::url::Url::parse(&url).unwrap()).unwrap();
        let mut subscriber = tautline::net::Subscriber::alone(endpoint).unwrap();
        subscriber.session().subscribe("a", None).unwrap();
        let mut closed = vec![];
        subscriber
            .run(|_, event| {
                if let tautline::client::SessionEvent::Closed(cause) = event {
                    closed.push(cause.to_string());
                }
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(closed, [format!("refused for good with status {status}")]);
        assert_eq!(server.log.count(&format!("/{status}")), 1);
    }
}

#[test]
fn x5_codes_1012_and_1013_bring_it_back_within_the_servers_window_without_loss() {
    for code in [1012, 1013] {
        let server = hub(2);
        let mut follower = Follower::attached(quick(), &server);
        publish(&server.handle, 1..=20, Duration::ZERO);
        follower.expect_exactly(20);
        for round in 1..=5 {
            let reason = "later retry=1500";
            server.handle.close_peer(server.id("/ws"), CloseCode::new(code).unwrap(), reason).unwrap();
            publish(&server.handle, round * 20 + 1..=round * 20 + 20, Duration::ZERO);
            follower.expect_exactly(round * 20 + 20);
        }
        let waits: Vec<Duration> = follower.said.lost.iter().map(|(_, wait)| *wait).collect();
        assert!(follower.said.lost.iter().all(|(cause, _)| *cause == format!("closed with {code}")));
        assert_eq!(waits.len(), 5);
        let window = Duration::from_millis(1500);
        assert!(waits.iter().all(|wait| *wait <= window), "{waits:?}");
        // The backoff's own would be 400 ms at most.
        assert!(waits.iter().any(|wait| *wait > Duration::from_millis(400)), "{waits:?}");
        assert_eq!(follower.said.attached, [Transport::WebSocket; 6]);
    }
}

#[test]
fn x5_a_drained_server_sends_its_clients_to_the_next_one_without_another_transport() {
    for transport in Transport::ALL {
        let first = hub(2);
        let proxy = Proxy::new(first.address);
        let mut follower = Follower::new(only(transport), proxy.address);
        follower.until("it attaches", |said| !said.attached.is_empty());
        publish(&first.handle, 1..=30, Duration::ZERO);
        follower.expect_exactly(30);
        let second = hub(2);
        proxy.redirect(second.address);
        first.handle.drain(DrainConfig { over: Duration::ZERO, ..DrainConfig::default() });
        publish(&second.handle, 31..=60, Duration::ZERO);
        follower.until("60 is there", |said| said.numbers.last() == Some(&60));
        assert!(follower.said.numbers.iter().copied().eq(1..=60), "{transport}: {:?}", follower.said.numbers);
        assert_eq!(follower.said.gaps, ["a unknown"], "{transport}");
        if transport == Transport::WebSocket {
            assert_eq!(follower.said.lost[0].0, "closed with 1012");
        }
        first.join();
    }
}

#[test]
fn three_hundred_missed_events_come_in_several_answers_to_polls() {
    let server = hub(1);
    let proxy = Proxy::new(server.address);
    let mut follower = Follower::new(only(Transport::LongPoll), proxy.address);
    publish(&server.handle, 1..=1, Duration::ZERO);
    follower.expect_exactly(1);
    proxy.rule(|_, _| Fate::Refuse);
    proxy.cut();
    let before = server.log.count("/poll");
    publish(&server.handle, 2..=301, Duration::ZERO);
    proxy.rule(|_, _| Fate::Pass);
    follower.expect_exactly(301);
    let polls = server.log.count("/poll") - before;
    assert!((3..=6).contains(&polls), "{polls} polls of 100 events each, and the one that is held");
}

#[test]
fn b2_what_is_sent_again_for_want_of_an_acknowledgement_has_its_effect_once() {
    for transport in [Transport::WebSocket, Transport::EventStream] {
        let server = hub_with(2, HubConfig { acknowledge_within: Duration::from_millis(150), ..HubConfig::default() });
        let proxy = Proxy::new(server.address);
        // By the caller, who does not: everything is sent again and again.
        let acknowledge_delay = Duration::from_millis(20);
        let config = SessionConfig { acknowledge: Acknowledge::ByCaller, acknowledge_delay, ..only(transport) };
        let mut follower = Follower::new(config, proxy.address);
        let publisher = publisher(&server, 1..=200, PACE);
        follower.until("half is there", |said| said.numbers.len() >= 100);
        proxy.cut();
        publisher.join().unwrap();
        follower.expect_exactly(200);
        let sent = proxy.down();
        follower.run_for(Duration::from_millis(500));
        follower.expect_exactly(200);
        // Two hundred blocks of some fifty bytes, and more than once.
        assert!(proxy.down() - sent > 2 * 200 * 40, "{transport}: {}", proxy.down() - sent);
        let now = follower.subscriber.now();
        let cursor = follower.subscriber.session().cursor().unwrap();
        follower.subscriber.session().ack(cursor, now);
        follower.run_for(Duration::from_millis(400));
        let sent = proxy.down();
        follower.run_for(Duration::from_millis(500));
        assert!(proxy.down() - sent < 200 * 40, "{transport}: acknowledged, it still comes: {}", proxy.down() - sent);
        publish(&server.handle, 201..=210, Duration::ZERO);
        follower.expect_exactly(210);
    }
    // And by itself, with cuts.
    for transport in Transport::ALL {
        let server = hub_with(2, HubConfig { acknowledge_within: Duration::from_millis(300), ..HubConfig::default() });
        let proxy = Proxy::new(server.address);
        let acknowledge_delay = Duration::from_millis(50);
        let config = SessionConfig { acknowledge: Acknowledge::Automatic, acknowledge_delay, ..only(transport) };
        let mut follower = Follower::new(config, proxy.address);
        let publisher = publisher(&server, 1..=400, PACE);
        for cut in 1..=3 {
            follower.until("more came", |said| said.numbers.len() >= cut * 80);
            proxy.cut();
        }
        publisher.join().unwrap();
        follower.expect_exactly(400);
        follower.run_for(Duration::from_millis(500));
        follower.expect_exactly(400);
    }
}

#[test]
fn publications_whose_answers_are_cut_off_are_sent_again_and_published_exactly_once() {
    for transport in Transport::ALL {
        for workers in [1, 2] {
            let server = hub(workers);
            let proxy = Proxy::new(server.address);
            let mut observer = Follower::attached(quick(), &server);
            let mut sender = Follower::new(only(transport), proxy.address);
            sender.until("it attaches", |said| !said.attached.is_empty());
            let mut next = 1;
            for _ in 0..3 {
                // The server gets them, and its answers do not get through.
                proxy.mute(true);
                for number in next..next + 20 {
                    sender.subscriber.session().publish(&Publication::new("a", &number.to_string())).unwrap();
                }
                next += 20;
                let sent = server.handle.cursor();
                eventually("the server has some of them", || {
                    sender.run_for(Duration::from_millis(10));
                    server.handle.cursor() != sent
                });
                proxy.cut();
                proxy.mute(false);
                sender.run_for(Duration::from_millis(300));
            }
            let all = (next - 1) as usize;
            sender.until("all are acknowledged", |said| said.acknowledged.len() >= all);
            assert_eq!(sender.said.acknowledged.len(), all);
            assert_eq!(sender.said.refused, Vec::<String>::new());
            assert_eq!(sender.subscriber.session().waiting(), (0, 0));
            observer.expect_exactly(next - 1);
            sender.expect_exactly(next - 1);
        }
    }
}

#[test]
fn a_topic_that_is_added_from_an_older_place_brings_all_of_it_beside_the_others_through_cuts() {
    for transport in Transport::ALL {
        let server = hub(2);
        for number in 1..=300 {
            server.handle.publish("b", &Event::new(&number.to_string())).unwrap();
        }
        let proxy = Proxy::new(server.address);
        let mut follower = Follower::new(only(transport), proxy.address);
        follower.until("it attaches", |said| !said.attached.is_empty());
        let publisher = publisher(&server, 1..=200, PACE);
        follower.until("some came", |said| said.numbers.len() >= 20);
        follower.subscriber.session().subscribe("b", Some(Cursor::START)).unwrap();
        follower.until("some of the other came", |said| said.others.len() >= 50);
        proxy.cut();
        publisher.join().unwrap();
        for number in 301..=310 {
            server.handle.publish("b", &Event::new(&number.to_string())).unwrap();
        }
        follower.expect_exactly(200);
        follower.until("all of the other came", |said| said.others.len() >= 310);
        follower.run_for(Duration::from_millis(50));
        let expected: Vec<String> = (1..=310).map(|number| format!("b {number}")).collect();
        assert_eq!(follower.said.others, expected, "{transport}");
        assert_eq!(follower.said.subscribed, ["b"], "{transport}");
    }
}

#[test]
fn what_histories_let_go_is_a_gap_that_names_the_topic_and_the_rest_comes_in_order() {
    for transport in Transport::ALL {
        let policies = Policies::default();
        let settings = HubSettings { hub: HubConfig { policies, ..HubConfig::default() }, ..HubSettings::default() };
        let on = On {
            request: |script, head, cx| {
                script.log.push(head.target());
                cx.hub(head, Endpoint::of(head.path()).unwrap(), &[]).unwrap();
            },
            ..On::default()
        };
        let server = start(&Config { hub: Some(settings), ..config() }, 1, on);
        let proxy = Proxy::new(server.address);
        let mut follower = Follower::new(only(transport), proxy.address);
        follower.until("it attaches", |said| !said.attached.is_empty());
        publish(&server.handle, 1..=10, Duration::ZERO);
        follower.expect_exactly(10);
        proxy.rule(|_, _| Fate::Refuse);
        proxy.cut();
        // 100 are retained.
        publish(&server.handle, 11..=250, Duration::ZERO);
        proxy.rule(|_, _| Fate::Pass);
        follower.until("250 is there", |said| said.numbers.last() == Some(&250));
        assert_eq!(follower.said.gaps, ["a expired"], "{transport}");
        assert!(follower.said.numbers.iter().copied().eq((1..=10).chain(151..=250)), "{:?}", follower.said.numbers);
    }
}

#[test]
fn a_session_that_may_use_streams_only_never_asks_for_a_websocket() {
    let server = hub(1);
    let config = SessionConfig { transports: Transports::ALL.without(Transport::WebSocket), ..quick() };
    let mut follower = Follower::attached(config, &server);
    publish(&server.handle, 1..=10, Duration::ZERO);
    follower.expect_exactly(10);
    assert_eq!((server.log.count("/ws"), server.log.count("/events")), (0, 1));
}
