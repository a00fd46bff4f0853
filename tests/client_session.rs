//! The session of a falling-back client, against a server that is written out byte by byte.

#[path = "client_session/world.rs"]
mod world;

use std::time::Duration;
use tautline::client::{Acknowledge, Publication, QueueError, QueueLimits, SessionConfig, Transport, Transports};
use tautline::hub::Cursor;
use world::{World, attach, cursor, event, position};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn only(transport: Transport) -> SessionConfig {
    SessionConfig { transports: Transports::only(transport), ..SessionConfig::default() }
}

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
