//! The leaf held to naive twins and to the standard library. In a file of its own: the leaf is as long as a file may be.

use super::*;
use alloc::string::String;
use alloc::vec::Vec;
use proptest::prelude::*;

fn text_or_junk() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof!["[ -~]{0,200}", "[a-zé漢😀\u{ffff}\u{10ffff}]{0,90}"].prop_map(|text| text.into_bytes());
    let long = (text.clone(), 1usize..200).prop_map(|(text, times)| text.repeat(times));
    (prop_oneof![text, long], prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()))).prop_map(
        |(mut bytes, damage)| {
            if let (Some((at, byte)), false) = (damage, bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        },
    )
}

proptest! {
    #[test]
    fn a_text_comes_out_exactly_where_std_finds_utf8(bytes in text_or_junk(), key: [u8; 4]) {
        let mut masked = bytes.clone();
        mask::apply(&mut masked, Key::new(key));
        prop_assert_eq!(unmask_text(&mut masked, Key::new(key)).ok(), core::str::from_utf8(&bytes).ok());
    }

    #[test]
    fn an_assembled_text_comes_out_exactly_where_std_finds_utf8(
        bytes in text_or_junk(),
        key: [u8; 4],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let mut masked = bytes.clone();
        mask::apply(&mut masked, Key::new(key));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let mut text = Assembly::text(b"left over".to_vec());
        let mut from = 0;
        let mut outcome = Ok(());
        for cut in cuts {
            outcome = outcome.and_then(|()| text.push(&masked[from..cut], Key::new(key).after(from)));
            from = cut;
        }
        let text = outcome.and_then(|()| text.finish());
        prop_assert_eq!(text.ok(), String::from_utf8(bytes).ok());
    }

    #[test]
    fn gathered_lines_are_what_a_byte_by_byte_walk_gathers(
        pieces in prop::collection::vec(text_or_junk(), 0..5),
        ends in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&b"\n\r\t\0"[..])), 0..4),
        capacity in 0usize..40_000,
    ) {
        let mut bytes = pieces.concat();
        for (at, end) in ends {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = end;
            }
        }
        let cuts: Vec<usize> = pieces.iter().scan(0, |at, piece| { *at += piece.len(); Some(*at) }).collect();
        let mut gathered = Gathered::with(Vec::with_capacity(capacity));
        let mut twin = Vec::new();
        let mut from = 0;
        for cut in cuts {
            while from < cut {
                let piece = &bytes[from..cut];
                let end = piece.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
                prop_assert_eq!(line_end(piece), end);
                prop_assert_eq!(gathered.push_line(piece), end);
                let len = end.unwrap_or(piece.len());
                twin.extend_from_slice(&piece[..len]);
                if end.is_some() {
                    gathered.push_byte(b'\n');
                    twin.push(b'\n');
                }
                from += len + usize::from(end.is_some());
            }
        }
        prop_assert_eq!(gathered.bytes(), &twin[..]);
        prop_assert_eq!(gathered.finish(), String::from_utf8(twin).map_err(|error| error.into_bytes()));
    }

    #[test]
    fn a_text_appended_never_completes_one_that_is_cut_off(first in text_or_junk(), second in text_or_junk(), ended: bool) {
        let of = |bytes: &[u8]| {
            let mut text = Gathered::default();
            text.push(bytes);
            text
        };
        let mut both = of(&first);
        if ended {
            both.end();
            both.push(&second);
        } else {
            both.append(&of(&second));
        }
        let valid = core::str::from_utf8(&first).is_ok() && core::str::from_utf8(&second).is_ok();
        let all = [first, second].concat();
        prop_assert_eq!(both.finish(), if valid { Ok(String::from_utf8(all).unwrap()) } else { Err(all) });
    }
}

/// Every length, every place of a line end and of what is not ASCII, and every alignment of source and destination within a vector.
#[test]
fn a_line_is_found_copied_and_judged_as_by_a_naive_walk() {
    let mut source = [b'x'; 240];
    for len in 0..=200 {
        for at in 0..=len {
            let skew = (7 * len + at) % 32;
            let line = &mut source[skew..skew + len];
            // What stands right behind the end must not count; what stands right before it must.
            for (mark, odd) in
                [(b'\n', None), (b'\r', at.checked_sub(1)), (b'\n', Some(at + 1)), (b'\r', Some(at / 2)), (b'\t', None)]
            {
                line.fill(b'x');
                if let Some(odd) = odd.and_then(|odd| line.get_mut(odd)) {
                    *odd = 0xe9;
                }
                if let Some(end) = line.get_mut(at) {
                    *end = mark;
                }
                // The second end is never the first.
                if let Some(next) = line.get_mut(at + 40) {
                    *next = b'\r';
                }
                let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
                let expected = &line[..end.unwrap_or(len)];
                assert_eq!(line_end(line), end);
                for room in [0, 256] {
                    let mut gathered = Gathered::with(Vec::with_capacity(room));
                    gathered.push(&b"before"[..at % 7]);
                    assert_eq!(gathered.push_line(line), end, "{len} {at}");
                    assert_eq!(&gathered.bytes()[at % 7..], expected);
                    assert_eq!(gathered.finish().is_ok(), expected.is_ascii(), "{len} {at} {odd:?}");
                }
                for short in [at, len] {
                    let twin = line.get(..short).filter(|text| text.is_ascii());
                    assert_eq!(ascii(line, short).map(str::as_bytes), twin);
                }
                assert_eq!(ascii(line, len + 1), None);
            }
        }
    }
}

#[test]
fn the_first_control_is_the_one_that_a_walk_finds() {
    for byte in 0..=0xff {
        for at in 0..16 {
            for around in [0x0e, b'x', 0x80, 0xff] {
                let mut bytes = [around; 16];
                bytes[at] = byte;
                bytes[15] = bytes[15].min(bytes[at ^ 1]);
                assert_eq!(first_control(&bytes), bytes.iter().position(|byte| *byte < 0x0e), "{bytes:x?}");
            }
        }
    }
}

/// A payload that is moved to the front comes out as one that is unmasked where it lies, and nothing behind the two is touched.
#[cfg(feature = "net")]
#[test]
fn a_payload_moved_by_any_distance_is_the_payload_unmasked_in_place() {
    let clear: Vec<u8> = (0..700u32).map(|i| (i * 89 + 7) as u8).collect();
    let ascii: Vec<u8> = clear.iter().map(|byte| byte & 0x7f).collect();
    for key in [[0x37, 0xfa, 0x21, 0x3d], [0; 4]] {
        for len in (0..=140).chain([255, 256, 257, 300, 511, 512, 513, 640, 700]) {
            for distance in (0..=40).chain([63, 64, 127, 128, 129, 200, 700]) {
                for text in [&clear[..len], &ascii[..len]] {
                    let mut masked = text.to_vec();
                    mask::apply(&mut masked, Key::new(key));
                    let mut window = std::vec![0xaa; distance];
                    window.extend_from_slice(&masked);
                    let mut other = window.clone();
                    assert_eq!(unmask_binary_to_front(&mut window, len, Key::new(key)), text, "{len} {distance}");
                    let found = unmask_text_to_front(&mut other, len, Key::new(key)).ok();
                    assert_eq!(found, core::str::from_utf8(text).ok(), "{len} {distance}");
                    if len <= WIDE && distance + len >= WIDE {
                        let mut window = std::vec![0xaa; distance];
                        window.extend_from_slice(&masked);
                        window.extend_from_slice(&[0xbb; WIDE][len..]);
                        let mut other = window.clone();
                        assert_eq!(unmask_wide_binary(&mut window, len, Key::new(key)), text, "{len} {distance}");
                        let found = unmask_wide_text(&mut other, len, Key::new(key)).ok();
                        assert_eq!(found, core::str::from_utf8(text).ok(), "{len} {distance}");
                        assert_eq!(&window[distance + len..], &[0xbb; WIDE][len..], "{len} {distance}");
                    }
                }
            }
        }
    }
}

#[cfg(feature = "net")]
proptest! {
    #[test]
    fn a_text_moved_to_the_front_comes_out_exactly_where_std_finds_utf8(
        bytes in text_or_junk(),
        key: [u8; 4],
        distance in 0usize..300,
    ) {
        let mut window = std::vec![0; distance];
        window.extend_from_slice(&bytes);
        mask::apply(&mut window[distance..], Key::new(key));
        let found = unmask_text_to_front(&mut window, bytes.len(), Key::new(key)).ok();
        prop_assert_eq!(found, core::str::from_utf8(&bytes).ok());
    }
}
