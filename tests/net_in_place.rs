//! What a handler sends leaves in the order of its calls, whether it is sent back from where it lies or copied.
#![cfg(feature = "net")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::time::Duration;
use tautline::http::RequestHead;
use tautline::http::origin::OriginPolicy;
use tautline::http::upgrade::UpgradeConfig;
use tautline::net::{Accept, Config, Context, Handler, ListenConfig, Message, Server};
use tautline::ws::CloseCode;

struct Obedient;

impl Handler for Obedient {
    type State = ();

    fn request(&mut self, head: &RequestHead<'_>, cx: &mut Context<'_, ()>) {
        let _ = cx.accept(head, &Accept::default());
    }

    /// Does what the first byte of the message says.
    fn message(&mut self, message: Message<'_>, cx: &mut Context<'_, ()>) {
        let bytes = message.as_bytes();
        let before = cx.queued();
        let sent = match bytes.first() {
            Some(b'n') => Ok(()),
            // Something before it, something behind it, twice.
            Some(b'b') => cx.send(Message::Text("before")).and_then(|()| cx.send(message)),
            Some(b'a') => cx.send(message).and_then(|()| cx.send(Message::Text("after"))),
            Some(b't') => cx.send(message).and_then(|()| cx.send(message)),
            // A part of it, and as what it is not.
            Some(b'p') => cx.send(Message::Binary(&bytes[..bytes.len() / 2])),
            Some(b'e') => cx.send(Message::Binary(&bytes[bytes.len() / 2..])),
            Some(b'k') => cx.send(Message::Binary(bytes)),
            Some(b'c') => {
                let sent = cx.send(message);
                cx.close(CloseCode::NORMAL, "");
                assert!(cx.send(message).is_err());
                sent
            }
            _ => cx.send(message),
        };
        sent.unwrap();
        assert!(cx.queued() > before || bytes.first() == Some(&b'n'));
    }
}

fn header(first: u8, len: usize, mask: u8) -> Vec<u8> {
    match len {
        0..=125 => vec![first, mask | len as u8],
        126..=0xffff => vec![first, mask | 126, (len >> 8) as u8, len as u8],
        _ => [&[first, mask | 127][..], &(len as u64).to_be_bytes()].concat(),
    }
}

fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x11, 0x9e, 0x3c, 0xf5];
    let masked = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
    header(first, payload.len(), 0x80).into_iter().chain(key).chain(masked).collect()
}

fn from_server(first: u8, payload: &[u8]) -> Vec<u8> {
    [&header(first, payload.len(), 0)[..], payload].concat()
}

/// What comes back for one message.
fn expected(payload: &[u8]) -> Vec<u8> {
    let whole = from_server(0x81, payload);
    match payload.first() {
        Some(b'n') => vec![],
        Some(b'b') => [from_server(0x81, b"before"), whole].concat(),
        Some(b'a') => [whole, from_server(0x81, b"after")].concat(),
        Some(b't') => [&whole[..], &whole].concat(),
        Some(b'p') => from_server(0x82, &payload[..payload.len() / 2]),
        Some(b'e') => from_server(0x82, &payload[payload.len() / 2..]),
        Some(b'k') => from_server(0x82, payload),
        Some(b'c') => [&whole[..], &[0x88, 2, 0x03, 0xe8]].concat(),
        _ => whole,
    }
}

fn connect(config: Config) -> (Server<Obedient>, TcpStream) {
    let config = Config { upgrade: UpgradeConfig { origins: OriginPolicy::Any, ..UpgradeConfig::default() }, ..config };
    let listen = ListenConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let server = Server::start(&config, &[listen], NonZeroUsize::new(1), |_| Obedient).unwrap();
    let address = server.addresses()[0].to_string();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.set_nodelay(true).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    socket.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    (server, socket)
}

/// Sends `wire` while it reads `wanted`, and compares.
fn exchange(mut socket: &TcpStream, wire: &[u8], wanted: &[u8], wait: Duration) {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut socket = socket;
            socket.write_all(wire).unwrap();
        });
        // The server finds that the socket takes no more.
        std::thread::sleep(wait);
        let mut came = vec![0; wanted.len()];
        socket.read_exact(&mut came).unwrap();
        let differs = came.iter().zip(wanted).position(|(came, wanted)| came != wanted);
        assert_eq!(differs, None, "of {}", wanted.len());
    });
}

fn stop(server: Server<Obedient>) {
    server.handle().stop();
    server.join();
}

#[test]
fn replies_keep_the_order_of_the_calls_in_one_read() {
    let (server, socket) = connect(Config::default());
    let commands = ["x", "n", "b", "a", "t", "p", "e", "k", "", "x"];
    for len in [0, 1, 5, 20, 31, 32, 33, 64, 125, 126, 127, 300, 4000] {
        for second in commands {
            let (mut wire, mut wanted) = (Vec::new(), Vec::new());
            for command in ["x", "x", second, "x", "x"] {
                let payload = [command, &"ü~".repeat(len)[..len - len % 3]].concat();
                wire.extend(from_client(0x81, payload.as_bytes()));
                wanted.extend(expected(payload.as_bytes()));
            }
            // A ping is answered in its place.
            wire.extend(from_client(0x89, b"ping"));
            wanted.extend(from_server(0x8a, b"ping"));
            wire.extend(from_client(0x81, b"x"));
            wanted.extend(expected(b"x"));
            exchange(&socket, &wire, &wanted, Duration::ZERO);
        }
    }
    exchange(&socket, &from_client(0x81, b"close"), &expected(b"close"), Duration::ZERO);
    stop(server);
}

#[test]
fn what_a_full_socket_does_not_take_of_replies_in_place_comes_later_in_order() {
    for size in [20, 700, 16 << 10, 60_000] {
        let (server, socket) = connect(Config::default());
        let (mut wire, mut wanted, mut i) = (Vec::new(), Vec::new(), 0);
        while wire.len() < 12 << 20 {
            let command = ["x", "x", "x", "a", "x", "x", "k", "b"][i % 8];
            let payload = format!("{command}{i:08}{}", "z".repeat(size + i % 5));
            wire.extend(from_client(0x81, payload.as_bytes()));
            wanted.extend(expected(payload.as_bytes()));
            i += 1;
        }
        exchange(&socket, &wire, &wanted, Duration::from_millis(300));
        stop(server);
    }
}
