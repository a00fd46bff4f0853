//! Bodies: what is data, what is refused, and that the cut of the bytes changes nothing.

use bytes::Bytes;
use proptest::prelude::*;
use tautline::http::response::{push_chunk, push_chunk_shared, push_last_chunk};
use tautline::http::{BodyError, BodyEvent, BodyReader, Framing};
use tautline::{Input, Output};

/// Reads one body cut into pieces: its data, whether it ended or why it was refused, and how many bytes it left.
fn read(framing: Framing, limit: u64, bytes: &[u8], piece: usize) -> (Vec<u8>, Result<bool, BodyError>, usize) {
    let mut data = Vec::new();
    let mut body = match BodyReader::new(framing, limit) {
        Ok(body) => body,
        Err(e) => return (data, Err(e), 0),
    };
    let mut taken = 0;
    let mut ended = false;
    // A body without bytes ends without input too.
    for piece in [&mut [][..]].into_iter().chain(bytes.to_vec().chunks_mut(piece)) {
        let mut input = Input::new(piece);
        loop {
            match body.read(&mut input) {
                Ok(Some(BodyEvent::Data(part))) => {
                    assert!(!part.is_empty() && !ended);
                    data.extend_from_slice(part);
                }
                Ok(Some(BodyEvent::End)) => {
                    assert!(!ended);
                    ended = true;
                }
                Ok(None) => break,
                Err(e) => {
                    assert_eq!(body.read(&mut input), Err(e), "an error stands");
                    return (data, Err(e), 0);
                }
            }
        }
        taken += input.taken();
        if ended {
            break;
        }
        assert!(input.is_empty());
    }
    (data, Ok(ended), bytes.len() - taken)
}

fn chunked(bytes: impl AsRef<[u8]>) -> (Vec<u8>, Result<bool, BodyError>, usize) {
    let bytes = bytes.as_ref();
    let whole = read(Framing::Chunked, BodyReader::LIMIT, bytes, usize::MAX);
    for piece in [1, 2, 3, 5] {
        assert_eq!(read(Framing::Chunked, BodyReader::LIMIT, bytes, piece), whole, "{}", bytes.escape_ascii());
    }
    whole
}

#[test]
fn a_chunked_body_is_its_data_and_nothing_behind_it_is_taken() {
    let (data, end, left) =
        chunked("4\r\nWiki\r\n00006;a=b;c=\"d e\"\r\npedia \r\nD \t;x\r\nin\r\n\r\nchunks.\r\n0\r\n\r\nnext");
    assert_eq!((&data[..], end, left), (&b"Wikipedia in\r\n\r\nchunks."[..], Ok(true), 4));
    let (data, end, left) = chunked("000;ext\r\nA: b\r\nEmpty:\r\n\r\nnext");
    assert_eq!((&data[..], end, left), (&b""[..], Ok(true), 4));
}

#[test]
fn bodies_by_length_and_until_close() {
    assert_eq!(read(Framing::Length(3), 3, b"abcd", 1), (b"abc".to_vec(), Ok(true), 1));
    assert_eq!(read(Framing::Length(3), 3, b"ab", 9), (b"ab".to_vec(), Ok(false), 0));
    assert_eq!(read(Framing::None, 0, b"x", 9), (vec![], Ok(true), 1));
    assert_eq!(read(Framing::Length(0), 0, b"x", 9), (vec![], Ok(true), 1));
    assert_eq!(read(Framing::UntilClose, 3, b"abc", 1), (b"abc".to_vec(), Ok(false), 0));
    let mut body = BodyReader::new(Framing::UntilClose, 3).unwrap();
    body.handle_eof().unwrap();
    assert_eq!(body.read(&mut Input::new(&mut [])), Ok(Some(BodyEvent::End)));
    assert_eq!(body.read(&mut Input::new(&mut [])), Ok(None));
}

#[test]
fn an_end_of_the_connection_inside_a_body_is_an_error() {
    for (framing, bytes) in
        [(Framing::Length(3), "ab"), (Framing::Chunked, "3\r\nabc\r\n0\r\n"), (Framing::Chunked, "")]
    {
        let mut body = BodyReader::new(framing, 10).unwrap();
        let mut bytes = bytes.as_bytes().to_vec();
        let mut input = Input::new(&mut bytes);
        while body.read(&mut input).unwrap().is_some() {}
        assert_eq!(body.handle_eof(), Err(BodyError::Truncated));
        assert_eq!(body.read(&mut Input::new(&mut [])), Err(BodyError::Truncated));
    }
}

#[test]
fn more_than_the_limit_is_413_before_it_arrives() {
    let over = BodyError::TooLarge { limit: 5 };
    assert_eq!(over.status(), 413);
    assert_eq!(BodyReader::new(Framing::Length(6), 5).err(), Some(over));
    assert!(BodyReader::new(Framing::Length(5), 5).is_ok());
    for piece in [1, 99] {
        assert_eq!(read(Framing::Chunked, 5, b"3\r\nabc\r\n3\r\n", piece), (b"abc".to_vec(), Err(over), 0));
        assert_eq!(read(Framing::Chunked, 5, b"ffffffffffffffff\r\n", piece), (vec![], Err(over), 0));
        assert_eq!(read(Framing::UntilClose, 5, b"abcdef", piece), (b"abcde".to_vec(), Err(over), 0));
        assert_eq!(
            read(Framing::Chunked, 6, b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", piece),
            (b"abcdef".to_vec(), Ok(true), 0)
        );
    }
}

#[test]
fn h20_a_chunk_size_of_17_digits_or_none_is_400() {
    for size in
        ["00000000000000001", "fffffffffffffffff", "", "g", "-1", "+1", "0x1", " 1", "1 1", "1 ", "1\t", ";", "1_0"]
    {
        let (_, end, _) = chunked(format!("{size}\r\na\r\n0\r\n\r\n"));
        assert_eq!(end, Err(BodyError::ChunkSize), "{size:?}");
    }
    assert_eq!(chunked("0000000000000001\r\na\r\n0\r\n\r\n").1, Ok(true));
    assert_eq!(BodyError::ChunkSize.status(), 400);
}

#[test]
fn h20_chunk_extensions_are_bounded_by_the_data_they_carry() {
    let with = |extension: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(extension));
    assert_eq!(chunked(with(10_000)).1, Err(BodyError::ChunkOverhead));
    assert_eq!(chunked(with(1000)).1, Ok(true));
    // Many small ones add up; small chunks without extensions do not.
    let many = |chunk: &str, count: usize| {
        read(Framing::Chunked, 1 << 20, format!("{}0\r\n\r\n", chunk.repeat(count)).as_bytes(), 777)
    };
    assert_eq!(many(&format!("1;{}\r\na\r\n", "x".repeat(100)), 60).1, Err(BodyError::ChunkOverhead));
    assert_eq!(many("1\r\na\r\n", 100_000).1, Ok(true));
    assert_eq!(many("0000000000000001\r\na\r\n", 10_000).1, Ok(true));
    assert_eq!(many(&format!("100;{}\r\n{}\r\n", "x".repeat(400), "a".repeat(256)), 1000).1, Ok(true));
}

#[test]
fn h20_control_characters_in_an_extension_are_400() {
    for extension in ["a\rb", "\0", "a\x7f", "\x0b"] {
        assert!(chunked(format!("1;{extension}\r\na\r\n0\r\n\r\n")).1.is_err(), "{extension:?}");
    }
    assert_eq!(chunked("1;a\n2\r\n").1, Err(BodyError::ChunkExtension));
    assert_eq!(chunked("1;a\r2").1, Err(BodyError::ChunkEnd));
    assert_eq!(chunked("1;\u{e9}\ta\r\na\r\n0\r\n\r\n").1, Ok(true));
}

#[test]
fn h20_a_missing_crlf_behind_a_chunk_is_400() {
    for bytes in ["1\r\nab", "1\r\na\n0\r\n\r\n", "1\r\na\r0", "1\na", "1\r\na0\r\n", "1\r\na\r\r\n"] {
        assert_eq!(chunked(bytes).1.map_err(BodyError::status), Err(400), "{bytes:?}");
    }
}

#[test]
fn trailers_are_checked_bounded_and_dropped() {
    for trailer in [" a: b", "a", "a : b", ": b", "a: b\r\n c", "a: \0", "\u{e9}: a", "a: b\rc"] {
        assert_eq!(chunked(format!("0\r\n{trailer}\r\n\r\n")).1, Err(BodyError::Trailer), "{trailer:?}");
    }
    assert_eq!(chunked("0\r\na: b\n\r\n").1, Err(BodyError::Trailer));
    assert_eq!(chunked(format!("0\r\n{}\r\n", "a: b\r\n".repeat(64))).1, Ok(true));
    assert_eq!(chunked(format!("0\r\n{}\r\n", "a: b\r\n".repeat(65))).1, Err(BodyError::Trailer));
    assert_eq!(chunked(format!("0\r\na: {}\r\n\r\n", "b".repeat(8185))).1, Ok(true));
    assert_eq!(chunked(format!("0\r\na: {}\r\n\r\n", "b".repeat(8186))).1, Err(BodyError::Trailer));
}

proptest! {
    #[test]
    fn what_is_written_in_chunks_is_read_back(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20), piece in 1usize..50) {
        let mut out = Output::new();
        for (i, part) in parts.iter().enumerate() {
            match i % 3 {
                0 => push_chunk(&[part], &mut out).unwrap(),
                1 => push_chunk(&[&part[..part.len() / 2], &part[part.len() / 2..]], &mut out).unwrap(),
                _ => {
                    out.set_blocked();
                    push_chunk_shared(&Bytes::copy_from_slice(part), &mut out).unwrap();
                }
            }
        }
        push_last_chunk(&mut out).unwrap();
        let mut bytes: Vec<u8> = out.chunks().flatten().copied().collect();
        bytes.extend_from_slice(b"GET");
        prop_assert_eq!(read(Framing::Chunked, 1 << 20, &bytes, piece), (parts.concat(), Ok(true), 3));
    }

    #[test]
    fn any_cut_of_a_chunked_body_gives_the_same(
        parts in prop::collection::vec(prop::sample::select(vec![
            "0", "1", "5", "f", "\r\n", "\r", "\n", "abcde", ";", " ", "a: b", ":", "0\r\n\r\n", "5\r\nabcde\r\n", "1;x\r\na\r\n", "\0",
        ]), 0..12),
    ) {
        let bytes = parts.concat().into_bytes();
        let whole = read(Framing::Chunked, 12, &bytes, usize::MAX);
        for piece in 1..8 {
            prop_assert_eq!(&read(Framing::Chunked, 12, &bytes, piece), &whole);
        }
    }
}
