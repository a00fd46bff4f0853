//! Chunked bodies: no panic, the same data and verdict at every cut, nothing beyond the limit, and a round trip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tautline::http::response::{push_chunk, push_last_chunk};
use tautline::http::{BodyError, BodyEvent, BodyReader, Framing};
use tautline::{Input, Output};

const LIMIT: u64 = 4096;

fuzz_target!(|data: &[u8]| check(data));

fn check(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let whole = read(&[bytes]);
    assert!(whole.0.len() as u64 <= LIMIT);
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(read(&[first, second]), whole);
    assert_eq!(read(&bytes.chunks(1).collect::<Vec<_>>()), whole);

    let mut out = Output::new();
    for chunk in bytes.chunks(usize::from(cut).max(1)).take(50) {
        push_chunk(&[chunk], &mut out).expect("room");
    }
    push_last_chunk(&mut out).expect("room");
    let sent: Vec<u8> = out.chunks().flatten().copied().collect();
    let data: Vec<u8> = bytes.chunks(usize::from(cut).max(1)).take(50).flatten().copied().collect();
    if data.len() as u64 <= LIMIT {
        assert_eq!(read(&[&sent]), (data, Ok(Some(sent.len()))));
    }
}

/// The data, and where the body ended, if it did.
fn read(pieces: &[&[u8]]) -> (Vec<u8>, Result<Option<usize>, BodyError>) {
    let mut body = BodyReader::new(Framing::Chunked, LIMIT).expect("no length is announced");
    let (mut data, mut taken) = (Vec::new(), 0);
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        loop {
            match body.read(&mut input) {
                Ok(Some(BodyEvent::Data(part))) => data.extend_from_slice(part),
                Ok(Some(BodyEvent::End)) => return (data, Ok(Some(taken + input.taken()))),
                Ok(None) => break,
                Err(e) => return (data, Err(e)),
            }
        }
        taken += input.taken();
        assert!(input.is_empty());
    }
    (data, Ok(None))
}
