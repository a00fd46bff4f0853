//! Request heads: no panic, the same verdict at every cut, and what is handed out is what the policy promises.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tautline::Input;
use tautline::http::{HeadError, HeadLimits, RequestHead, RequestReader};

fuzz_target!(|data: &[u8]| check(data));

fn check(data: &[u8]) {
    // The first byte says where to cut, so that the fuzzer can aim.
    let Some((&cut, bytes)) = data.split_first() else { return };
    let whole = read(&[bytes]);
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(read(&[first, second]), whole);
    if bytes.len() < 2048 {
        assert_eq!(read(&bytes.chunks(1).collect::<Vec<_>>()), whole);
    }
}

fn read(pieces: &[&[u8]]) -> Result<Option<(String, usize)>, HeadError> {
    let limits = HeadLimits::default();
    let mut reader = RequestReader::new();
    let mut taken = 0;
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        let found = reader.read(&limits, &mut input)?.map(|head| describe(&head));
        taken += input.taken();
        match found {
            Some(found) => return Ok(Some((found, taken))),
            None => assert!(input.is_empty()),
        }
    }
    Ok(None)
}

fn describe(head: &RequestHead<'_>) -> String {
    let (target, headers) = (head.target(), head.headers());
    assert!(!target.is_empty() && target.bytes().all(|b| b.is_ascii_graphic()));
    assert!(!head.method().is_empty() && !head.path().is_empty());
    assert!(headers.len() <= HeadLimits::default().headers);
    assert!(headers.all("host").count() <= 1);
    assert!(headers.all("content-length").count() + headers.all("transfer-encoding").count() <= 1);
    for (name, value) in headers.iter() {
        assert!(!name.is_empty() && value.trim_ascii().len() == value.len());
        assert!(value.iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f)));
    }
    let _ = (head.decoded_path(), head.query().count(), head.authority(), head.keeps_alive());
    format!("{head:?} {target} {:?} {:?}", head.framing(), headers.iter().collect::<Vec<_>>())
}
