//! Single sentences of docs/PROTOCOL.md that a client has to keep, against a server that is written out byte by byte.

#[path = "client_session/world.rs"]
#[allow(dead_code, reason = "what other tests use")]
mod world;

use std::time::Duration;
use tautline::client::{Lane, Publication, SessionConfig, Transport, Transports};
use tautline::hub::Cursor;
use world::{Wish, World, attach, cursor, event, position};

fn only(transport: Transport) -> SessionConfig {
    SessionConfig { transports: Transports::only(transport), ..SessionConfig::default() }
}

/// A world whose session is attached by WebSocket.
fn attached(topics: &[&str]) -> (World, Lane) {
    let mut world = World::new(only(Transport::WebSocket), topics);
    let lane = world.expect_connect();
    attach_websocket(&mut world, lane, &attach(10));
    world.log();
    (world, lane)
}

fn attach_websocket(world: &mut World, lane: Lane, first: &str) -> String {
    let request = world.connected(lane);
    world.switch(lane);
    world.text(lane, first);
    request
}

fn subscribed(topic: &str, seq: u64) -> String {
    format!("event: tautline.subscribed\ntopic: {topic}\ndata: {}\n\n", cursor(seq))
}

#[test]
fn own_cursors_of_a_query_end_with_subscribed_on_a_stream_and_in_a_poll() {
    for transport in [Transport::EventStream, Transport::LongPoll] {
        let mut world = World::new(only(transport), &["a"]);
        world.session.resume_from(cursor(10));
        world.session.subscribe("b", Some(cursor(2))).unwrap();
        let lane = world.expect_connect();
        let request = world.connected(lane);
        assert!(request.contains("?topic=a&topic=b@7-2-00000001&lastId=7-10-00000001"), "{request}");
        match transport {
            Transport::EventStream => {
                world.stream(lane);
                // The topics with cursors of their own follow behind the position.
                world.feed(lane, (event(11, "a", "new") + &attach(12)).as_bytes());
                world.feed(lane, (event(3, "b", "old") + &event(4, "b", "old too")).as_bytes());
                assert_eq!(world.session.cursor(), Some(cursor(12)));
                world.feed(lane, subscribed("b", 13).as_bytes());
                world
                    .feed(lane, (event(13, "a", "known") + &event(13, "b", "known") + &event(14, "b", "b")).as_bytes());
            }
            _ => {
                let first = event(11, "a", "new") + &event(3, "b", "old") + &position(12);
                world.answer(lane, "200 OK", "Tautline-More: 1\r\n", &first);
                let request = world.written(lane);
                assert!(request.contains("?topic=a&topic=b@7-3-00000001&lastId=7-12-00000001"), "{request}");
                let rest = event(4, "b", "old too") + &subscribed("b", 13) + &position(13);
                world.answer(lane, "200 OK", "", &rest);
                let request = world.written(lane);
                assert!(request.contains("?topic=a&topic=b&lastId=7-13-00000001"), "{request}");
                world.answer(lane, "200 OK", "", &(event(13, "b", "known") + &event(14, "b", "b") + &position(14)));
            }
        }
        let log: Vec<_> = world.log().into_iter().filter(|line| !line.starts_with("attached")).collect();
        assert_eq!(log, ["a new", "b old", "b old too", "subscribed b", "b b"], "{transport}");
    }
}

#[test]
fn a_topic_that_is_added_from_now_on_may_begin_with_an_event_older_than_the_others() {
    let (mut world, lane) = attached(&["a"]);
    world.session.subscribe("b", None).unwrap();
    world.turn();
    world.text(lane, &event(13, "a", "thirteen"));
    world.text(lane, &(event(12, "b", "twelve") + &event(12, "b", "twelve again") + &subscribed("b", 13)));
    world.text(lane, &(event(13, "b", "known") + &event(14, "b", "fourteen")));
    assert_eq!(world.log(), ["a thirteen", "b twelve", "subscribed b", "b fourteen"]);
}

#[test]
fn a_topic_that_is_asked_for_from_another_place_is_let_go_of_first() {
    let (mut world, lane) = attached(&["a", "b"]);
    world.text(lane, &event(11, "b", "eleven"));
    world.session.subscribe("b", Some(cursor(5))).unwrap();
    world.turn();
    assert_eq!(
        world.messages(lane),
        ["topic: b\nevent: tautline.unsubscribe\n\n", "topic: b\nevent: tautline.subscribe\ndata: 7-5-00000001\n\n"]
    );
    // What was on its way then is of before.
    world.text(lane, &event(12, "b", "on its way"));
    world.text(lane, "event: tautline.unsubscribed\ntopic: b\ndata: asked\n\n");
    world.text(lane, &(event(11, "b", "eleven") + &event(12, "b", "twelve") + &subscribed("b", 12)));
    assert_eq!(world.log(), ["b eleven", "unsubscribed b asked", "b eleven", "b twelve", "subscribed b"]);
}

#[test]
fn a_gap_of_the_old_place_says_nothing_of_the_new_one() {
    let (mut world, lane) = attached(&["a", "b"]);
    world.session.subscribe("b", Some(cursor(5))).unwrap();
    world.turn();
    world.text(lane, "event: tautline.gap\ndata: b unknown\n\n");
    world.text(lane, "event: tautline.unsubscribed\ntopic: b\ndata: asked\n\n");
    world.text(lane, &(event(4, "b", "known") + &event(6, "b", "six")));
    assert_eq!(world.log(), ["gap b unknown", "unsubscribed b asked", "b six"]);
}

#[test]
fn a_topic_that_the_server_does_not_let_go_of_just_now_is_asked_for_on_another_connection() {
    let (mut world, lane) = attached(&["a", "b"]);
    world.session.subscribe("b", Some(cursor(5))).unwrap();
    world.turn();
    world.messages(lane);
    world.text(lane, "event: tautline.error\ntopic: b\ndata: 429 unsubscribe\ndata: too many\ndata: after 10\n\n");
    world.turn();
    let other = world.expect_connect();
    let request = world.connected(other);
    assert!(request.contains("topic=b@7-5-00000001"), "{request}");
}

#[test]
fn a_first_message_that_is_refused_for_its_session_goes_once_more_without() {
    let mut config = only(Transport::WebSocket);
    config.token = Some("t0k3n".into());
    let mut world = World::new(config, &["a"]);
    let lane = world.expect_connect();
    let request = attach_websocket(&mut world, lane, &attach(10));
    assert!(request.contains("/ws?auth=message&topic=a"), "{request}");
    assert!(!request.contains("Tautline-Session"), "{request}");
    world.eof(lane);
    world.wait();
    for session in [true, false] {
        let lane = world.expect_connect();
        let request = world.connected(lane);
        assert_eq!(request.contains("Tautline-Session: 5e551\r\n"), session, "{request}");
        world.switch(lane);
        world.close(lane, 4003, "not allowed");
    }
    assert!(world.log().last().unwrap().starts_with("closed: "));
}

#[test]
fn a_gap_ahead_or_unknown_forgets_the_cursor_and_a_topics_own_alone() {
    for reason in ["ahead", "unknown", "of a later version"] {
        let (mut world, lane) = attached(&["a"]);
        world.text(lane, &event(100, "a", "x"));
        world.session.subscribe("b", Some(cursor(50))).unwrap();
        world.turn();
        world.text(lane, &format!("event: tautline.gap\ndata: b {reason}\n\n"));
        world.text(lane, &(event(3, "b", "three") + &event(99, "a", "known")));
        world.text(lane, &format!("event: tautline.gap\ndata: a {reason}\n\n"));
        assert_eq!(world.session.cursor(), Some(Cursor::START));
        world.text(lane, &(event(4, "a", "four") + &event(3, "b", "known")));
        let log: Vec<_> = world.log().into_iter().filter(|line| !line.starts_with("gap")).collect();
        assert_eq!(log, ["a x", "b three", "a four"], "{reason}");
    }
    // What a history let go of is another matter: the place stays.
    let (mut world, lane) = attached(&["a"]);
    world.text(lane, "event: tautline.gap\ndata: a expired\n\n");
    world.text(lane, &(event(9, "a", "known") + &event(11, "a", "eleven")));
    assert_eq!(world.log(), ["gap a expired", "a eleven"]);
}

#[test]
fn only_an_id_of_the_blocks_own_is_compared() {
    let mut world = World::new(only(Transport::EventStream), &["a"]);
    let lane = world.expect_connect();
    world.connected(lane);
    world.stream(lane);
    world.feed(lane, attach(10).as_bytes());
    // By the standard the second has the first one's id as last event id.
    let ephemeral = "topic: a\ndata: typing\n\n";
    world.feed(lane, (event(11, "a", "x") + ephemeral + ephemeral + &event(11, "a", "x")).as_bytes());
    assert_eq!(world.log(), ["attached event stream", "a x", "ephemeral a typing", "ephemeral a typing"]);
    assert_eq!(world.session.cursor(), Some(cursor(11)));
}

#[test]
fn x4_what_would_happen_again_takes_the_next_transport_and_ends_at_the_last() {
    for code in [1002, 1003, 1007, 1009] {
        let mut world = World::new(SessionConfig::default(), &["a"]);
        let lane = world.expect_connect();
        attach_websocket(&mut world, lane, &attach(10));
        world.close(lane, code, "");
        let lane = world.expect_connect();
        assert!(world.connected(lane).starts_with("GET /hub/events?"), "{code}");
    }
    for status in ["400 Bad Request", "404 Not Found", "405 Method Not Allowed", "406 Not Acceptable", "413 Too Large"]
    {
        let mut world = World::new(SessionConfig::default(), &["a"]);
        for path in ["GET /hub/ws?", "GET /hub/events?", "GET /hub/poll?"] {
            let lane = world.expect_connect();
            let request = world.connected(lane);
            assert!(request.starts_with(path), "{status}: {request}");
            world.answer(lane, status, "", "");
        }
        let code = &status[..3];
        assert_eq!(world.log().last().unwrap(), &format!("closed: refused for good with status {code}"));
    }
}

#[test]
fn x4_a_204_means_that_no_client_is_wanted() {
    let streams = Transports::ALL.without(Transport::WebSocket);
    for transports in [Transports::ALL, streams, Transports::only(Transport::LongPoll)] {
        let mut world = World::new(SessionConfig { transports, ..SessionConfig::default() }, &["a"]);
        let lane = world.expect_connect();
        world.connected(lane);
        world.feed(lane, b"HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(world.log(), ["closed: refused for good with status 204"], "{transports:?}");
        assert!(world.session.is_over());
    }
}

#[test]
fn a_refused_subscription_is_repeated_when_the_server_said_and_else_given_up() {
    let (mut world, lane) = attached(&["a"]);
    for topic in ["b", "c"] {
        world.session.subscribe(topic, None).unwrap();
    }
    world.turn();
    assert_eq!(world.messages(lane).len(), 2);
    let refusal = "event: tautline.error\ntopic: b\ndata: 429 subscribe\ndata: too fast\n";
    world.text(lane, &format!("{refusal}data: after 2000\n\n"));
    world.text(lane, "event: tautline.error\ntopic: c\ndata: 403 subscribe\ndata: not allowed\n\n");
    assert_eq!(world.session.topics().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(world.messages(lane), Vec::<String>::new());
    let waited = world.wait();
    assert!((2000..=2500).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!(world.messages(lane), ["topic: b\nevent: tautline.subscribe\n\n"]);
    // Let go of meanwhile, it is not asked for again.
    world.text(lane, &format!("{refusal}data: after 2000\n\n"));
    world.session.unsubscribe("b");
    world.turn();
    assert_eq!(world.messages(lane), ["topic: b\nevent: tautline.unsubscribe\n\n"]);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.messages(lane), Vec::<String>::new());
}

#[test]
fn a_session_without_topics_does_not_connect_and_its_publications_wait() {
    let mut world = World::new(SessionConfig::default(), &[]);
    world.session.publish(&Publication::new("a", "x").with_key("k")).unwrap();
    world.turn();
    assert_eq!(world.session.poll_timeout(), None);
    assert_eq!(world.wishes(), []);
    world.session.subscribe("quiet", None).unwrap();
    world.turn();
    let lane = world.expect_connect();
    attach_websocket(&mut world, lane, &attach(10));
    assert_eq!(world.messages(lane), ["id: k\ntopic: a\ndata: x\n\n"]);
}

#[test]
fn a_websocket_that_is_let_go_of_is_sent_a_close_frame() {
    // An id that is no cursor: the connection is given up by this side.
    let (mut world, lane) = attached(&["a"]);
    world.messages(lane);
    world.text(lane, "id: 12\ntopic: a\ndata: x\n\n");
    assert_eq!(world.wishes(), [(Wish::Drop, lane)]);
    assert_eq!(world.messages(lane), ["close 1000"]);

    // A trial of which nothing comes, as the topics are others now: in its own lane's output, whichever lane is asked.
    let mut world = World::new(SessionConfig::default(), &["a"]);
    let lane = world.expect_connect();
    world.connected(lane);
    world.answer(lane, "426 Upgrade Required", "", "");
    let stream = world.expect_connect();
    world.connected(stream);
    world.stream(stream);
    world.feed(stream, attach(10).as_bytes());
    let trial = loop {
        world.feed(stream, position(10).as_bytes());
        world.pass(Duration::from_secs(1));
        if let [(Wish::Connect, lane)] = world.wishes()[..] {
            break lane;
        }
    };
    world.connected(trial);
    world.switch(trial);
    assert_ne!(trial, stream);
    world.session.subscribe("b", None).unwrap();
    world.turn();
    let wishes = world.wishes();
    assert!(wishes.contains(&(Wish::Drop, trial)) && wishes.contains(&(Wish::Drop, stream)), "{wishes:?}");
    assert_eq!(world.messages(trial), ["close 1000"]);
    let again: Vec<_> = wishes.iter().filter(|(wish, _)| *wish == Wish::Connect).collect();
    assert_eq!(again.len(), 1, "{wishes:?}");
}

#[test]
fn while_a_topic_catches_up_no_better_transport_is_tried_beside() {
    let mut world = World::new(SessionConfig::default(), &["a"]);
    world.session.subscribe("b", Some(cursor(2))).unwrap();
    let lane = world.expect_connect();
    world.connected(lane);
    world.answer(lane, "426 Upgrade Required", "", "");
    let stream = world.expect_connect();
    world.connected(stream);
    world.stream(stream);
    world.feed(stream, attach(10).as_bytes());
    for _ in 0..120 {
        world.feed(stream, position(10).as_bytes());
        world.pass(Duration::from_secs(1));
    }
    assert_eq!(world.wishes(), []);
    world.feed(stream, subscribed("b", 11).as_bytes());
    let trial = world.expect_connect();
    assert!(world.connected(trial).starts_with("GET /hub/ws?topic=a&topic=b&lastId=7-11-00000001 "));
}

#[test]
fn events_of_a_topic_that_the_server_added_by_itself_are_told() {
    let (mut world, lane) = attached(&["a"]);
    world.text(lane, &event(11, "user:ann", "for you"));
    assert_eq!(world.log(), ["user:ann for you"]);
}
