//! Response heads and the client that reads them: no panic, and the same events at every cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use tautline::http::client::Event;
use tautline::http::{Client, ClientConfig, Request};
use tautline::{Input, Instant, Output};

fuzz_target!(|data: &[u8]| check(data));

fn check(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let whole = read(&[bytes]);
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(read(&[first, second]), whole);
    if bytes.len() < 2048 {
        assert_eq!(read(&bytes.chunks(1).collect::<Vec<_>>()), whole);
    }
}

fn read(pieces: &[&[u8]]) -> (String, Vec<u8>) {
    let now = Instant::ORIGIN;
    let mut client = Client::new(Arc::new(ClientConfig::default()), now);
    let mut out = Output::new();
    client.send(&Request::new("GET", "/", "a"), b"", &mut out, now).expect("a sound request");
    let (mut log, mut body) = (String::new(), Vec::new());
    let mut closed = 0;
    for piece in pieces.iter().copied().chain([&[][..]]) {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        loop {
            match client.next_event(&mut input, &mut out, now) {
                Ok(None) => break,
                Ok(Some(Event::Response(head) | Event::Interim(head))) => {
                    log += &format!("{head:?} {:?} {:?}", head.reason(), head.headers().iter().collect::<Vec<_>>());
                }
                Ok(Some(Event::Body(data))) => body.extend_from_slice(data),
                Ok(Some(Event::End)) => log.push_str("end"),
                Ok(Some(Event::Closed(cause))) => {
                    closed += 1;
                    log += &format!("{cause:?}");
                }
                Err(e) => log += &format!("{e:?}"),
            }
        }
    }
    assert!(closed <= 1);
    (log, body)
}
