//! The engine inside a loop of the embedder's own: the loop of `examples/embed.rs`, run as it stands.
#![cfg(feature = "net")]

mod net_support;

#[path = "../examples/embed.rs"]
#[allow(unreachable_pub, reason = "it is an example's")]
mod embed;

use net_support::WAIT;
use net_support::wire::{Client, field};
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;
use tautline::net::DrainConfig;

const NOWHERE: &str = "127.0.0.1:0";

#[test]
fn one_thread_and_one_poll_serve_websockets_streams_datagrams_and_a_timer() {
    let any: SocketAddr = NOWHERE.parse().unwrap();
    let mut embedded = embed::Embedded::new(any, any, Duration::from_millis(200)).unwrap();
    let (address, udp, handle) = (embedded.address(), embedded.udp_address().unwrap(), embedded.handle());
    let running = thread::spawn(move || embedded.run());

    let mut websocket = Client::websocket(address, "/ws");
    let mut stream = Client::stream(address, "/events");
    let mut elsewhere = Client::connect(address);
    elsewhere.get("/elsewhere");
    assert_eq!(elsewhere.response().status, 404);
    let socket = UdpSocket::bind(NOWHERE).unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let mut answer = [0; 200];
    let mut send = |datagram: &[u8]| {
        socket.send_to(datagram, udp).unwrap();
        let n = socket.recv(&mut answer).unwrap();
        String::from_utf8(answer[..n].to_vec()).unwrap()
    };

    // By datagram: the cursor that the sender gets is the event's id.
    for number in 0..50 {
        let headline = format!("headline {number}");
        let cursor = send(headline.as_bytes());
        let of_websocket = next(&mut websocket);
        assert_eq!((field(&of_websocket, "data"), field(&of_websocket, "id")), (Some(&*headline), Some(&*cursor)));
        assert_eq!(next(&mut stream), of_websocket);
    }
    assert!(send(b"\xff").starts_with("refused: "));
    // By WebSocket.
    websocket.send_text("from a peer");
    assert_eq!(field(&next(&mut websocket), "data"), Some("from a peer"));
    assert_eq!(field(&next(&mut stream), "data"), Some("from a peer"));
    // By the loop's own timer.
    loop {
        let frame = websocket.frame();
        if field(frame.text(), "data") == Some("3 connections") {
            break;
        }
    }

    handle.drain(DrainConfig { over: Duration::ZERO, ..DrainConfig::default() });
    assert_eq!(websocket.close_frame(), 1012);
    websocket.send_close(1012);
    drop((websocket, stream, elsewhere));
    running.join().unwrap().unwrap();
}

/// The next event that is not the timer's.
fn next(client: &mut Client) -> String {
    loop {
        let block = if client.chunked { client.event() } else { client.frame().text().to_owned() };
        if !field(&block, "data").unwrap().ends_with(" connections") {
            return block;
        }
    }
}
