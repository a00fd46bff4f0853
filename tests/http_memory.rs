//! What HTTP connections cost in memory: nothing on the heap while idle, nothing per request, little for a hostile one.

mod counting;

use counting::{counts, peak_of};
use std::sync::Arc;
use tautline::http::server::Event;
use tautline::http::{Client, RequestReader, Response, ResponseReader, Server, ServerConfig};
use tautline::{Buffers, Input, Instant, Output, ws};

fn server() -> Server {
    Server::new(Arc::new(ServerConfig::default()), Instant::ORIGIN)
}

/// Feeds bytes and answers every request; the connection's own growth at its peak.
fn growth_of(bytes: &[u8], piece: usize) -> i64 {
    let mut server = server();
    let mut out = Output::with_limit(4096);
    let mut scratch = vec![0; piece];
    peak_of(|| {
        for bytes in bytes.chunks(piece) {
            let scratch = &mut scratch[..bytes.len()];
            scratch.copy_from_slice(bytes);
            let mut input = Input::new(scratch);
            while let Ok(Some(event)) = server.next_event(&mut input, &mut out, Instant::ORIGIN) {
                if matches!(event, Event::Closed(_)) {
                    return;
                }
            }
        }
    })
}

#[test]
fn readers_and_connections_are_small() {
    assert_eq!(size_of::<RequestReader>(), 32);
    assert_eq!(size_of::<ResponseReader>(), 32);
    assert!(size_of::<Server>() <= 128, "{}", size_of::<Server>());
    assert!(size_of::<Client>() <= 128, "{}", size_of::<Client>());
}

#[test]
fn a_request_that_lies_whole_in_the_input_allocates_nothing() {
    let mut server = server();
    let mut out = Output::new();
    let request = *b"POST /p?q HTTP/1.1\r\nHost: example.com\r\nCookie: a=b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let mut counted = 0;
    for round in 0..100 {
        let mut bytes = request;
        if round == 1 {
            counted = counts().calls;
        }
        let mut input = Input::new(&mut bytes);
        let mut ends = 0;
        while let Some(event) = server.next_event(&mut input, &mut out, Instant::ORIGIN).unwrap() {
            if let Event::BodyEnd = event {
                ends += 1;
                server.respond(&Response::new(200).headers(&[("x", "y")]), b"body", &mut out).unwrap();
            }
        }
        assert_eq!(ends, 1);
        out.advance(out.len());
    }
    assert_eq!(counts().calls, counted);
}

#[test]
fn heads_in_pieces_use_the_threads_buffers() {
    let mut server = server();
    let (mut out, mut buffers) = (Output::new(), Buffers::new());
    let mut bytes = *b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let mut counted = 0;
    for round in 0..100 {
        if round == 2 {
            counted = counts().calls;
        }
        let (first, second) = bytes.split_at_mut(20);
        for piece in [first, second] {
            let mut input = Input::with_buffers(piece, &mut buffers);
            while let Some(event) = server.next_event(&mut input, &mut out, Instant::ORIGIN).unwrap() {
                if let Event::BodyEnd = event {
                    server.respond(&Response::new(204), b"", &mut out).unwrap();
                }
            }
        }
        out.advance(out.len());
    }
    assert_eq!(counts().calls, counted);
}

#[test]
fn h8_h9_h20_hostile_input_grows_a_connection_by_less_than_64_kib() {
    let endless_head = [b"GET / HTTP/1.1\r\nHost: a\r\nx: ".to_vec(), vec![b'y'; 1 << 20]].concat();
    let endless_line = [b"GET /".to_vec(), vec![b'y'; 1 << 20]].concat();
    let chunked = |rest: &[u8]| [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", rest].concat();
    let cases = [
        endless_head,
        endless_line,
        b"x: y\r\n".repeat(100_000),
        b"\r\n".repeat(100_000),
        chunked(&[b"1;".to_vec(), vec![b'x'; 1 << 20]].concat()),
        chunked(&[b"0\r\n".to_vec(), b"a: b\r\n".repeat(100_000)].concat()),
        chunked(b"fffff\r\nx"),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\nx".to_vec(),
    ];
    for case in cases {
        for piece in [1, 100, 65536] {
            let peak = growth_of(&case, piece);
            assert!(peak < 64 << 10, "{peak} bytes, pieces of {piece}: {}", case[..30.min(case.len())].escape_ascii());
        }
    }
}

#[test]
fn a_half_received_head_holds_little_though_the_pool_has_a_megabyte() {
    let mut buffers = Buffers::new();
    let mut out = Output::new();
    // A message of 1 MiB over two reads leaves its buffer in the pool.
    let mut socket = ws::Connection::client(Arc::new(ws::Config::DEFAULT), [0; 16], Instant::ORIGIN);
    let mut frame = vec![0x82, 127, 0, 0, 0, 0, 0, 16, 0, 0];
    frame.resize(10 + (1 << 20), 7);
    let (first, second) = frame.split_at_mut(1 << 19);
    for part in [first, second] {
        let mut input = Input::with_buffers(part, &mut buffers);
        while let Ok(Some(_)) = socket.next_event(&mut input, &mut out, Instant::ORIGIN) {}
    }
    let before = buffers.kept();
    assert!(before >= 1 << 20);
    let mut server = server();
    let held = counts().live;
    for mut byte in *b"GET / HTTP/1.1\r\nHost: a\r\n\r" {
        let mut input = Input::with_buffers(std::slice::from_mut(&mut byte), &mut buffers);
        assert!(matches!(server.next_event(&mut input, &mut out, Instant::ORIGIN), Ok(None)));
    }
    assert_eq!(buffers.kept(), before);
    assert!(counts().live - held <= 1024, "{}", counts().live - held);
}
