//! The session of a falling-back client, against a server that is written out byte by byte.

#[path = "client_session/world.rs"]
#[allow(dead_code, reason = "what other tests use")]
mod world;

use proptest::prelude::*;
use std::time::Duration;
use tautline::client::{Acknowledge, Lane, Publication, QueueError, QueueLimits, SessionConfig, Transport, Transports};
use tautline::hub::Cursor;
use world::{World, attach, attach_lane, attached, cursor, event, only, position, seconds};

#[test]
fn it_attaches_by_websocket_and_reports_each_event_once_and_in_order() {
    let mut world = World::new(SessionConfig::default(), &["a", "b"]);
    let lane = world.expect_connect();
    let request = world.connected(lane);
    assert!(request.starts_with("GET /hub/ws?topic=a&topic=b HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("Sec-WebSocket-Protocol: tautline\r\n"), "{request}");
    world.switch(lane);
    world.text(lane, "event: tautline.session\ndata: session 5e551\ndata: heartbeat 20000\n\n");
    assert_eq!(world.session.token(), Some("5e551"));
    world.text(lane, &(event(1, "a", "one") + &event(2, "b", "two") + &position(2)));
    world.text(lane, &event(2, "b", "two"));
    world.text(lane, &event(3, "a", "three"));
    assert_eq!(world.log(), ["a one", "b two", "attached websocket", "a three"]);
    assert_eq!(world.session.cursor(), Some(cursor(3)));
}

#[test]
fn attempts_run_out_where_they_are_limited() {
    let mut config = only(Transport::WebSocket);
    config.backoff.attempts = Some(10);
    let mut world = World::new(config, &["a"]);
    for _ in 0..10 {
        let lane = world.expect_connect();
        world.connect_failed(lane);
        world.wait();
    }
    let lane = world.expect_connect();
    world.connect_failed(lane);
    assert_eq!(world.log().last().unwrap(), "closed: reconnect attempts used up");
}

#[test]
fn two_and_a_half_heartbeats_without_a_block_mean_dead_on_streams_and_sockets() {
    for transport in [Transport::WebSocket, Transport::EventStream] {
        let (mut world, lane) = attached(only(transport), &["a"]);
        assert_eq!(world.wait(), seconds(50), "{transport}");
        assert_eq!(world.log().len(), 1);
        assert_eq!(world.wishes(), [(world::Wish::Drop, lane)]);
    }
}

#[test]
fn a_block_that_takes_long_to_arrive_is_life() {
    let (mut world, lane) = attached(only(Transport::EventStream), &["a"]);
    world.feed(lane, format!("id: {}\ntopic: a\ndata: ", cursor(11)).as_bytes());
    for _ in 0..10 {
        world.pass(seconds(40));
        world.feed(lane, b"x");
    }
    world.feed(lane, b"\n\n");
    assert_eq!(world.log(), ["a xxxxxxxxxx"]);
}

#[test]
fn a_poll_that_outlives_its_timeout_by_ten_seconds_is_dead() {
    let (mut world, lane) = attached(only(Transport::LongPoll), &["a"]);
    let poll = world.written(lane);
    assert!(poll.starts_with("GET /hub/poll?topic=a&lastId=7-10-00000001&timeout=25 "), "{poll}");
    assert!(poll.contains("Tautline-Session: 5e551\r\n"), "{poll}");
    assert_eq!(world.wait(), seconds(35));
    assert_eq!(world.log(), ["lost: no block for two and a half heartbeats; next long poll"]);
}

#[test]
fn polls_go_on_from_what_was_answered_and_at_once_where_there_is_more() {
    let (mut world, lane) = attached(only(Transport::LongPoll), &["a"]);
    world.written(lane);
    world.answer(
        lane,
        "200 OK",
        "Tautline-More: 1\r\n",
        &(event(11, "a", "one") + &event(12, "a", "two") + &position(12)),
    );
    let poll = world.written(lane);
    assert!(poll.starts_with("GET /hub/poll?topic=a&lastId=7-12-00000001&timeout=25 "), "{poll}");
    // Twice the same and something new.
    world.answer(
        lane,
        "200 OK",
        "Connection: close\r\n",
        &(event(12, "a", "two") + &event(13, "a", "three") + &position(15)),
    );
    assert_eq!(world.expect_connect(), lane);
    let poll = world.connected(lane);
    assert!(poll.starts_with("GET /hub/poll?topic=a&lastId=7-15-00000001&timeout=25 "), "{poll}");
    assert_eq!(world.log(), ["a one", "a two", "a three"]);
}

#[test]
fn a_poll_that_is_answered_with_nothing_before_its_time_is_followed_after_a_tenth_to_eleven_tenths_of_a_second() {
    let (mut world, lane) = attached(only(Transport::LongPoll), &["a"]);
    assert!(world.written(lane).starts_with("GET /hub/poll?"));
    let mut waits = vec![];
    for _ in 0..50 {
        world.answer(lane, "200 OK", "", &position(10));
        assert_eq!(world.written(lane), "");
        waits.push(world.wait().as_millis());
        assert!(world.written(lane).starts_with("GET /hub/poll?"));
    }
    waits.sort();
    assert!(waits[0] >= 100 && waits[49] <= 1100 && waits[49] - waits[0] > 800, "{waits:?}");
    // In its time it is followed at once, and so is one that brought something.
    world.pass(seconds(25));
    world.answer(lane, "200 OK", "", &position(11));
    assert!(world.written(lane).contains("lastId=7-11-"));
    world.answer(lane, "200 OK", "", &(event(12, "a", "x") + &position(12)));
    assert!(world.written(lane).contains("lastId=7-12-"));
}

#[test]
fn a_gap_is_told_and_a_cursor_that_the_log_does_not_know_is_forgotten() {
    let (mut world, lane) = attached(only(Transport::WebSocket), &["a", "b"]);
    world.text(lane, &event(100, "a", "x"));
    world.eof(lane);
    world.wait();
    let lane = world.expect_connect();
    world.connected(lane);
    world.switch(lane);
    world.text(
        lane,
        &("event: tautline.gap\ndata: a expired\ndata: b ahead\n\n".to_owned() + &event(3, "b", "y") + &position(4)),
    );
    assert_eq!(
        world.log(),
        ["a x", "lost: connection ended; next websocket", "gap a expired, gap b ahead", "b y", "attached websocket"]
    );
    assert_eq!(world.session.cursor(), Some(cursor(4)));
}

#[test]
fn a_topic_that_catches_up_has_its_own_cursor_and_resumes_with_it_on_any_transport() {
    let (mut world, lane) = attached(SessionConfig::default(), &["a"]);
    world.session.subscribe("b", Some(cursor(2))).unwrap();
    world.turn();
    assert_eq!(world.messages(lane), ["topic: b\nevent: tautline.subscribe\ndata: 7-2-00000001\n\n"]);
    world.text(
        lane,
        &(event(3, "b", "old") + &event(11, "a", "new") + &event(4, "b", "older than a") + &event(4, "b", "again")),
    );
    world.text(lane, &position(12));
    world.text(lane, &event(5, "b", "still old"));
    world.eof(lane);
    world.wait();
    let lane = world.expect_connect();
    let request = world.connected(lane);
    assert!(request.starts_with("GET /hub/ws?topic=a&topic=b@7-5-00000001&lastId=7-12-00000001 "), "{request}");
    world.switch(lane);
    world.text(lane, &(event(6, "b", "resumed") + &position(13)));
    // Not the position, `tautline.subscribed` ends it; and that moves the connection's, too.
    world.text(lane, &(event(7, "b", "behind the attach") + &event(7, "b", "again") + &event(14, "a", "live")));
    world.text(lane, &format!("event: tautline.subscribed\ntopic: b\ndata: {}\n\n", cursor(15)));
    assert_eq!(world.session.cursor(), Some(cursor(15)));
    world.text(lane, &(event(15, "b", "known") + &event(15, "a", "known") + &event(16, "b", "live")));
    assert_eq!(
        world.log(),
        [
            "b old",
            "a new",
            "b older than a",
            "b still old",
            "lost: connection ended; next websocket",
            "b resumed",
            "attached websocket",
            "b behind the attach",
            "a live",
            "subscribed b",
            "b live"
        ]
    );
}

#[test]
fn a_topic_that_has_caught_up_is_told_and_counts_like_the_others() {
    let (mut world, lane) = attached(only(Transport::WebSocket), &["a"]);
    world.session.subscribe("b", Some(Cursor::START)).unwrap();
    world.turn();
    assert_eq!(world.messages(lane), ["topic: b\nevent: tautline.subscribe\ndata: 0\n\n"]);
    world.text(lane, &event(3, "b", "old"));
    world.text(lane, &format!("event: tautline.subscribed\ntopic: b\ndata: {}\n\n", cursor(10)));
    world.text(lane, &(event(10, "b", "known") + &event(11, "b", "new")));
    assert_eq!(world.log(), ["b old", "subscribed b", "b new"]);
    assert!(world.session.unsubscribe("b"));
    world.turn();
    assert_eq!(world.messages(lane), ["topic: b\nevent: tautline.unsubscribe\n\n"]);
}

#[test]
fn topics_of_a_stream_change_by_another_request_without_a_wait() {
    let (mut world, lane) = attached(only(Transport::EventStream), &["a"]);
    world.session.subscribe("b", None).unwrap();
    world.session.subscribe("c", None).unwrap();
    world.session.unsubscribe("a");
    world.turn();
    assert_eq!(world.expect_connect(), lane);
    let request = world.connected(lane);
    assert!(request.starts_with("GET /hub/events?topic=b&topic=c&lastId=7-10-00000001 "), "{request}");
}

#[test]
fn publications_are_kept_with_their_keys_and_sent_again_on_the_next_connection() {
    let (mut world, lane) = attached(SessionConfig::default(), &["a"]);
    world.session.publish(&Publication::new("a", "one").with_key("k1")).unwrap();
    world.session.publish(&Publication::new("a", "two").with_key("k2").to_others()).unwrap();
    world.session.publish(&Publication::new("a", "now or never").ephemeral()).unwrap();
    world.turn();
    let one = "id: k1\ntopic: a\ndata: one\n\n";
    let two = "to: others\nid: k2\ntopic: a\ndata: two\n\n";
    assert_eq!(world.messages(lane), [one, two, "keep: no\ntopic: a\ndata: now or never\n\n"]);
    world.text(lane, &format!("event: tautline.ack\ntopic: a\ndata: k1 {}\n\n", cursor(11)));
    world.eof(lane);
    world.session.publish(&Publication::new("a", "three").with_key("k3")).unwrap();
    let refused = world.session.publish(&Publication::new("a", "x").ephemeral());
    assert_eq!(refused, Err(QueueError::NotConnected));
    world.turn();
    world.wait();
    let lane = world.expect_connect();
    world.connected(lane);
    world.switch(lane);
    assert_eq!(world.messages(lane), Vec::<String>::new());
    world.text(lane, &attach(12));
    assert_eq!(world.messages(lane), [two, "id: k3\ntopic: a\ndata: three\n\n"]);
    world.text(lane, &format!("event: tautline.ack\ntopic: a\ndata: k2 {}\n\n", cursor(12)));
    world.text(lane, &format!("event: tautline.ack\ntopic: a\ndata: k2 {}\n\n", cursor(12)));
    world.text(lane, "event: tautline.error\ntopic: a\ndata: 413 publish k3\ndata: too long\n\n");
    assert_eq!(
        world.log(),
        [
            "acknowledged k1 11",
            "lost: connection ended; next websocket",
            "attached websocket",
            "acknowledged k2 12",
            "refused 413 publish k3"
        ]
    );
    assert_eq!(world.session.waiting(), (0, 0));
}

#[test]
fn a_publication_that_came_too_fast_goes_again_when_the_server_said() {
    let (mut world, lane) = attached(only(Transport::WebSocket), &["a"]);
    for key in ["k1", "k2"] {
        world.session.publish(&Publication::new("a", key).with_key(key)).unwrap();
    }
    world.turn();
    world.messages(lane);
    world.text(lane, "event: tautline.error\ntopic: a\ndata: 429 publish k1\ndata: too fast\ndata: after 2000\n\n");
    assert_eq!(world.messages(lane), Vec::<String>::new());
    let waited = world.wait();
    assert!(waited >= seconds(2) && waited <= Duration::from_millis(2500), "{waited:?}");
    assert_eq!(world.messages(lane), ["id: k1\ntopic: a\ndata: k1\n\n", "id: k2\ntopic: a\ndata: k2\n\n"]);
}

#[test]
fn the_queue_is_bounded_and_a_full_one_names_its_limit() {
    let queue = QueueLimits { count: 3, bytes: 1000 };
    let mut world = World::new(SessionConfig { queue, ..SessionConfig::default() }, &["a"]);
    for _ in 0..3 {
        world.session.publish(&Publication::new("a", "x")).unwrap();
    }
    assert_eq!(world.session.publish(&Publication::new("a", "x")), Err(QueueError::Count { limit: 3 }));
    let mut world = World::new(SessionConfig { queue, ..SessionConfig::default() }, &["a"]);
    let long = "x".repeat(990);
    assert_eq!(world.session.publish(&Publication::new("a", &long)), Err(QueueError::Bytes { limit: 1000 }));
    assert_eq!(world.session.waiting(), (0, 0));
}

#[test]
fn beside_a_stream_publications_go_by_post_and_their_answers_come_as_blocks() {
    let (mut world, _) = attached(only(Transport::EventStream), &["a"]);
    world.session.publish(&Publication::new("a", "one").with_key("k1")).unwrap();
    world.session.publish(&Publication::new("a", "two").with_key("k2")).unwrap();
    world.turn();
    let post = world.expect_connect();
    let request = world.connected(post);
    assert!(request.starts_with("POST /hub/send HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("Tautline-Session: 5e551\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nid: k1\ntopic: a\ndata: one\n\nid: k2\ntopic: a\ndata: two\n\n"), "{request}");
    // Cut in the middle of the answer: what is not answered goes again.
    let ack = |key| format!("event: tautline.ack\ntopic: a\ndata: {key} {}\n\n", cursor(11));
    world.feed(post, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    world.feed(post, ack("k1").as_bytes());
    world.eof(post);
    assert_eq!(world.log(), ["acknowledged k1 11"]);
    world.wait();
    let post = world.expect_connect();
    let request = world.connected(post);
    assert!(request.ends_with("\r\n\r\nid: k2\ntopic: a\ndata: two\n\n"), "{request}");
    world.answer(post, "200 OK", "", &ack("k2"));
    assert_eq!(world.log(), ["acknowledged k2 11"]);
    // The connection serves for the next one.
    world.session.publish(&Publication::new("a", "three").with_key("k3")).unwrap();
    world.turn();
    assert!(world.written(post).ends_with("\r\n\r\nid: k3\ntopic: a\ndata: three\n\n"));
    world.answer(post, "429 Too Many Requests", "Retry-After: 3\r\n", "");
    assert!(world.wait() >= seconds(3));
    let post = world.expect_connect();
    assert!(world.connected(post).ends_with("\r\n\r\nid: k3\ntopic: a\ndata: three\n\n"));
}

#[test]
fn of_a_post_that_is_refused_as_a_whole_only_the_bad_publication_is_given_up() {
    let (mut world, _) = attached(only(Transport::EventStream), &["a"]);
    for key in ["good", "bad", "better"] {
        world.session.publish(&Publication::new("a", key).with_key(key)).unwrap();
    }
    world.turn();
    let post = world.expect_connect();
    let mut request = world.connected(post);
    for _ in 0..10 {
        if request.contains("id: bad") {
            world.answer(post, "400 Bad Request", "", "what?");
        } else if let Some((_, rest)) = request.split_once("\r\n\r\nid: ") {
            let key = rest.split('\n').next().unwrap();
            let ack = format!("event: tautline.ack\ntopic: a\ndata: {key} {}\n\n", cursor(11));
            world.answer(post, "200 OK", "", &ack);
        }
        request = world.written(post);
    }
    assert_eq!(world.log(), ["acknowledged good 11", "refused 400 publish bad", "acknowledged better 11"]);
    assert_eq!(world.session.waiting(), (0, 0));
}

#[test]
fn acknowledgements_go_out_in_batches_on_a_websocket_and_by_post_beside_a_stream() {
    let acknowledging = |transport| SessionConfig { acknowledge: Acknowledge::Automatic, ..only(transport) };
    let (mut world, lane) = attached(acknowledging(Transport::WebSocket), &["a"]);
    world.messages(lane);
    for seq in 11..15 {
        world.text(lane, &event(seq, "a", "x"));
    }
    assert_eq!(world.messages(lane), Vec::<String>::new());
    assert_eq!(world.wait(), seconds(1));
    assert_eq!(world.messages(lane), ["event: tautline.ack\ndata: 7-14-00000001\n\n"]);
    for seq in 15..15 + 32 {
        world.text(lane, &event(seq, "a", "x"));
    }
    assert_eq!(world.messages(lane), ["event: tautline.ack\ndata: 7-46-00000001\n\n"]);
    // What comes again is dropped, and acknowledged again.
    world.log();
    world.text(lane, &event(46, "a", "x"));
    world.wait();
    assert_eq!(world.messages(lane), ["event: tautline.ack\ndata: 7-46-00000001\n\n"]);
    assert_eq!(world.log(), Vec::<String>::new());

    let mut world = World::new(acknowledging(Transport::EventStream), &["a"]);
    let lane = world.expect_connect();
    let request = attach_lane(&mut world, lane, Transport::EventStream);
    assert!(request.starts_with("GET /hub/events?topic=a&ack=1 "), "{request}");
    world.feed(lane, event(11, "a", "x").as_bytes());
    assert_eq!(world.wait(), seconds(1));
    let post = world.expect_connect();
    let request = world.connected(post);
    assert!(request.starts_with("POST /hub/ack?lastId=7-11-00000001 "), "{request}");
    world.feed(post, b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(world.session.poll_timeout().map(|at| at > world.now), Some(true));
}

#[test]
fn a_session_that_the_server_does_not_accept_any_more_is_left_out_once() {
    let (mut world, lane) = attached(only(Transport::EventStream), &["a"]);
    world.eof(lane);
    world.wait();
    let lane = world.expect_connect();
    assert!(world.connected(lane).contains("Tautline-Session: 5e551\r\n"));
    world.answer(lane, "403 Forbidden", "", "");
    let lane = world.expect_connect();
    assert!(!world.connected(lane).contains("Tautline-Session"));
    world.answer(lane, "403 Forbidden", "", "");
    assert_eq!(world.log().last().unwrap(), "closed: refused for good with status 403");
}

#[test]
fn presence_and_revocation_are_told_and_a_revoked_topic_is_not_asked_for_again() {
    let (mut world, lane) = attached(only(Transport::WebSocket), &["a", "b"]);
    world.text(lane, "event: tautline.presence\ntopic: a\ndata: here 2\ndata: ann\ndata: bob\n\n");
    world.text(lane, "event: tautline.presence\ntopic: a\ndata: leave bob\n\nevent: tautline.later\ndata: x\n\n");
    world.text(lane, "event: tautline.unsubscribed\ntopic: b\ndata: revoked\n\n");
    assert_eq!(world.log(), ["a here 2: ann bob", "a leave bob", "unsubscribed b revoked"]);
    assert_eq!(world.session.topics().collect::<Vec<_>>(), ["a"]);
    world.session.ask_presence("a").unwrap();
    world.turn();
    assert_eq!(world.messages(lane), ["topic: a\nevent: tautline.presence\n\n"]);
}

#[test]
fn closing_says_goodbye_and_ends_everything() {
    let (mut world, lane) = attached(only(Transport::WebSocket), &["a"]);
    world.session.close();
    world.turn();
    assert_eq!(world.messages(lane), ["close 1000"]);
    assert_eq!(world.wishes(), [(world::Wish::Drop, lane)]);
    assert_eq!(world.log(), ["closed: closed by the caller"]);
    assert!(world.session.subscribe("b", None).is_err());
    assert_eq!(world.session.publish(&Publication::new("a", "x")), Err(QueueError::Closed));
    world.turn();
    assert_eq!(world.log(), Vec::<String>::new());
}

#[test]
fn an_event_that_breaks_a_limit_ends_the_session_because_it_would_come_again() {
    let mut config = only(Transport::EventStream);
    config.limits.event = 100;
    let (mut world, lane) = attached(config, &["a"]);
    world.feed(lane, event(11, "a", &"x".repeat(200)).as_bytes());
    assert!(world.log()[0].starts_with("closed: event stream: event longer than 100"));
}

#[test]
fn an_id_that_is_no_cursor_loses_the_connection_and_not_the_place() {
    let (mut world, lane) = attached(only(Transport::WebSocket), &["a"]);
    world.text(lane, "id: 12\ntopic: a\ndata: x\n\n");
    assert_eq!(world.log(), ["lost: event id is no cursor; next websocket"]);
    assert_eq!(world.session.cursor(), Some(cursor(10)));
}

#[test]
fn any_cut_of_the_bytes_gives_the_same_events() {
    let run = |cut: usize| {
        let mut world = World::new(SessionConfig::default(), &["a", "b"]);
        world.cut = cut;
        let lane = world.expect_connect();
        world.connected(lane);
        world.switch(lane);
        world.text(
            lane,
            &("event: tautline.gap\ndata: a expired\n\n".to_owned()
                + &event(1, "a", "ä€😀")
                + &attach(2)
                + &event(3, "b", "x\ndata: y")),
        );
        world.text(lane, &event(4, "b", &"z".repeat(300)));
        world.close(lane, 1001, "bye");
        world.wait();
        let lane = world.expect_connect();
        world.connected(lane);
        world.answer(lane, "404 Not Found", "", "nothing");
        let lane = world.expect_connect();
        world.connected(lane);
        world.stream(lane);
        world.feed(lane, attach(4).as_bytes());
        world.feed(lane, event(5, "a", "s").as_bytes());
        (world.log(), world.session.cursor(), world.session.poll_timeout())
    };
    let whole = run(usize::MAX);
    assert_eq!(whole.0.len(), 9, "{whole:?}");
    for cut in 1..80 {
        assert_eq!(run(cut), whole, "pieces of {cut}");
    }
}

/// Something that a caller or a server may do.
#[derive(Clone, Debug)]
enum Deed {
    /// Whatever is wanted stands, and attaches at this place.
    Serve(u64),
    Connected(u8),
    Failed(u8),
    Eof(u8),
    Switch(u8),
    Stream(u8),
    Answer(u8, u64),
    Text(u8, u64),
    Block(u8, u64),
    Close(u8, u16),
    Junk(u8, Vec<u8>),
    Deadline,
    Pass(u16),
    Publish,
    Ephemeral,
    Subscribe(u8, u64),
    Unsubscribe(u8),
    Presence,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    // The first lane is the one that mostly exists.
    let lane = || prop_oneof![6 => Just(0u8), 1 => Just(1), 1 => Just(2)];
    let deed = prop_oneof![
        8 => (0..40u64).prop_map(Deed::Serve),
        4 => lane().prop_map(Deed::Connected),
        1 => lane().prop_map(Deed::Failed),
        1 => lane().prop_map(Deed::Eof),
        4 => lane().prop_map(Deed::Switch),
        2 => lane().prop_map(Deed::Stream),
        2 => (lane(), 0..40u64).prop_map(|(lane, seq)| Deed::Answer(lane, seq)),
        4 => (lane(), 0..40u64).prop_map(|(lane, seq)| Deed::Text(lane, seq)),
        4 => (lane(), 0..40u64).prop_map(|(lane, seq)| Deed::Block(lane, seq)),
        1 => (lane(), prop_oneof![Just(1000u16), Just(1012), Just(1001)]).prop_map(|(lane, code)| Deed::Close(lane, code)),
        1 => (lane(), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(lane, junk)| Deed::Junk(lane, junk)),
        4 => Just(Deed::Deadline),
        2 => any::<u16>().prop_map(Deed::Pass),
        1 => Just(Deed::Publish),
        1 => Just(Deed::Ephemeral),
        1 => (0..3u8, 0..40u64).prop_map(|(topic, seq)| Deed::Subscribe(topic, seq)),
        1 => (0..3u8).prop_map(Deed::Unsubscribe),
        1 => Just(Deed::Presence),
    ];
    proptest::collection::vec(deed, 0..60)
}

fn run(deeds: &[Deed], cut: usize, transports: Transports, acknowledge: Acknowledge) -> World {
    let mut world = World::new(SessionConfig { transports, acknowledge, ..SessionConfig::default() }, &["a"]);
    world.cut = cut;
    let lane = |lane: u8| Lane::ALL[usize::from(lane)];
    for deed in deeds {
        match deed.clone() {
            Deed::Serve(seq) => {
                for (wish, lane) in world.wishes() {
                    if wish == world::Wish::Drop {
                        continue;
                    }
                    let request = world.connected(lane);
                    let blocks = event(seq, "a", &format!("{seq}")) + &position(seq);
                    if request.starts_with("GET /hub/ws") {
                        world.switch(lane);
                        world.text(lane, &blocks);
                    } else if request.starts_with("GET /hub/events") {
                        world.stream(lane);
                        world.feed(lane, blocks.as_bytes());
                    } else if request.starts_with("GET /hub/poll") {
                        world.answer(lane, "200 OK", "", &blocks);
                    }
                }
            }
            Deed::Connected(at) => drop(world.connected(lane(at))),
            Deed::Failed(at) => world.connect_failed(lane(at)),
            Deed::Eof(at) => world.eof(lane(at)),
            Deed::Switch(at) => world.switch(lane(at)),
            Deed::Stream(at) => world.stream(lane(at)),
            Deed::Answer(at, seq) => {
                world.answer(lane(at), "200 OK", "", &(event(seq, "a", &format!("{seq}")) + &position(seq)))
            }
            Deed::Text(at, seq) => world.text(lane(at), &(event(seq, "a", &format!("{seq}")) + &position(seq))),
            Deed::Block(at, seq) => {
                world.feed(lane(at), (event(seq, "a", &format!("{seq}")) + &position(seq)).as_bytes())
            }
            Deed::Close(at, code) => world.close(lane(at), code, "retry=500"),
            Deed::Junk(at, junk) => world.feed(lane(at), &junk),
            Deed::Deadline => {
                if let Some(at) = world.session.poll_timeout() {
                    world.pass(at.saturating_duration_since(world.now));
                }
            }
            Deed::Pass(millis) => world.pass(Duration::from_millis(millis.into())),
            Deed::Publish => {
                let _ = world.session.publish(&Publication::new("a", "x"));
            }
            Deed::Ephemeral => {
                let _ = world.session.publish(&Publication::new("a", "x").ephemeral());
            }
            Deed::Subscribe(topic, seq) => {
                let _ = world.session.subscribe(["b", "c", "d"][usize::from(topic)], Some(cursor(seq)));
            }
            Deed::Unsubscribe(topic) => {
                let _ = world.session.unsubscribe(["b", "c", "d"][usize::from(topic)]);
            }
            Deed::Presence => {
                let _ = world.session.ask_presence("a");
            }
        }
        world.turn();
        // A lane has a connection, is to get one, or has none: every wish is about that.
        let waiting = world.session.waiting();
        assert!(waiting.0 <= 1000 && waiting.1 <= 1 << 20);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// `World` itself holds that no deadline stays and that no call goes on for ever.
    #[test]
    fn any_order_of_calls_and_bytes_leaves_a_session_that_reports_in_order_and_comes_back(
        deeds in deeds(), cut in 1..200usize, set in 0..4usize, acks in 0..3usize
    ) {
        let transports = [Transports::ALL, Transports::only(Transport::WebSocket), Transports::only(Transport::EventStream),
            Transports::only(Transport::LongPoll)][set];
        let acknowledge = [Acknowledge::Never, Acknowledge::Automatic, Acknowledge::ByCaller][acks];
        let mut whole = run(&deeds, usize::MAX, transports, acknowledge);
        let mut cuts = run(&deeds, cut, transports, acknowledge);
        let log = whole.log();
        prop_assert_eq!(&log, &cuts.log());
        prop_assert_eq!(whole.session.cursor(), cuts.session.cursor());
        prop_assert_eq!(whole.session.poll_timeout(), cuts.session.poll_timeout());
        // Events of one topic, in one log, without a gap notice: strictly ascending.
        let seqs: Vec<u64> = log.iter().filter_map(|line| line.strip_prefix("a ")?.parse().ok()).collect();
        prop_assert!(seqs.is_sorted_by(|a, b| a < b), "{:?}", log);
        // Unless it is over it has a connection, or a deadline at which it asks for one.
        if !whole.session.is_over() && !whole.session.is_attached() {
            prop_assert!(whole.session.poll_timeout().is_some(), "{:?}", log);
        }
    }
}

#[test]
fn what_has_no_id_comes_from_the_feed_alone_and_moves_no_cursor() {
    let mut world = World::new(SessionConfig::default(), &["a"]);
    let lane = world.expect_connect();
    world.connected(lane);
    world.answer(lane, "426 Upgrade Required", "", "");
    let stream = world.expect_connect();
    attach_lane(&mut world, stream, Transport::EventStream);
    let trial = loop {
        world.feed(stream, position(10).as_bytes());
        world.pass(seconds(1));
        if let [(world::Wish::Connect, lane)] = world.wishes()[..] {
            break lane;
        }
    };
    world.connected(trial);
    world.switch(trial);
    world.log();
    let typing = "topic: a\ndata: typing\n\nevent: tautline.presence\ntopic: a\ndata: join ann\n\n";
    world.feed(stream, typing.as_bytes());
    world.text(trial, typing);
    world.text(trial, "event: tautline.presence\ntopic: a\ndata: here 1\ndata: ann\n\n");
    assert_eq!(world.log(), ["ephemeral a typing", "a join ann", "a here 1: ann"]);
    assert_eq!(world.session.cursor(), Some(cursor(10)));
    // Its topics change: the trial is for nothing, and the next one asks for the new ones.
    world.session.subscribe("b", None).unwrap();
    world.turn();
    assert_eq!(world.session.topics().count(), 2);
    let wishes = world.wishes();
    assert!(
        wishes.contains(&(world::Wish::Drop, trial)) && wishes.contains(&(world::Wish::Drop, stream)),
        "{wishes:?}"
    );
}
