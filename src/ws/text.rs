//! The one file with unsafe code: bytes become `str` here, right after the pass that proved them to be UTF-8.
//!
//! A second, safe pass would double the cost of small messages. What holds this file: the proof and the conversion stand in the
//! same function or behind the same private field; the tests of `mask` and `utf8` compare each pass with a naive twin; fuzzing
//! checks every text that is handed out against the standard library.
#![allow(unsafe_code)]

use super::mask::{self, Key};
use super::utf8::{Invalid, Utf8};
use alloc::string::String;
use alloc::vec::Vec;

/// A long payload is unmasked and checked in pieces of this size, so that the second pass finds it in the first-level cache
/// (32 KiB on every common machine).
const PIECE: usize = 8 << 10;

/// Unmasks a whole text in place and lends it.
#[inline]
pub(super) fn unmask(bytes: &mut [u8], key: Key) -> Result<&str, Invalid> {
    if bytes.len() > PIECE {
        return unmask_long(bytes, key);
    }
    if mask::unmask(bytes, key) {
        // SAFETY: `mask::unmask` returned true: every byte is below 0x80, and ASCII is UTF-8.
        return Ok(unsafe { core::str::from_utf8_unchecked(bytes) });
    }
    check(bytes)
}

/// Text that is not all ASCII.
#[inline(never)]
fn check(bytes: &[u8]) -> Result<&str, Invalid> {
    let mut state = Utf8::START;
    state.push(bytes)?;
    if !state.is_boundary() {
        return Err(Invalid);
    }
    // SAFETY: the check went over all of `bytes`, found no error, and ended between two characters.
    Ok(unsafe { core::str::from_utf8_unchecked(bytes) })
}

#[inline(never)]
fn unmask_long(bytes: &mut [u8], key: Key) -> Result<&str, Invalid> {
    let mut state = Utf8::START;
    // PIECE is a multiple of the key's length, so the key is the same for each piece.
    for piece in bytes.chunks_mut(PIECE) {
        unmask_piece(piece, key, &mut state)?;
    }
    if !state.is_boundary() {
        return Err(Invalid);
    }
    // SAFETY: the loop went over all of `bytes` without an error and ended between two characters.
    Ok(unsafe { core::str::from_utf8_unchecked(bytes) })
}

/// Unmasks a piece of a text in place and checks it, going on from `state`.
#[inline]
pub(super) fn unmask_piece(piece: &mut [u8], key: Key, state: &mut Utf8) -> Result<(), Invalid> {
    let ascii = mask::unmask(piece, key);
    if ascii && state.is_boundary() { Ok(()) } else { state.push(piece) }
}

/// A text that is assembled from pieces.
#[derive(Debug)]
pub(super) struct TextBuffer {
    // INVARIANT: `state` is the state of the check after all of `bytes`, none of which it refused.
    bytes: Vec<u8>,
    state: Utf8,
}

impl TextBuffer {
    /// An empty text in `buffer`, whose content is dropped.
    pub(super) fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { bytes: buffer, state: Utf8::START }
    }

    /// Unmasks `piece` in place, checks it and appends it. After an error the text is empty.
    pub(super) fn push(&mut self, piece: &mut [u8], key: Key) -> Result<(), Invalid> {
        for piece in piece.chunks_mut(PIECE) {
            if let Err(invalid) = unmask_piece(piece, key, &mut self.state) {
                self.bytes.clear();
                self.state = Utf8::START;
                return Err(invalid);
            }
            self.bytes.extend_from_slice(piece);
        }
        Ok(())
    }

    /// The whole text, if it ends with a whole character.
    pub(super) fn finish(self) -> Result<String, Invalid> {
        if !self.state.is_boundary() {
            return Err(Invalid);
        }
        // SAFETY: by the invariant all of `bytes` was checked, and the check ended between two characters.
        Ok(unsafe { String::from_utf8_unchecked(self.bytes) })
    }

    /// The buffer, whatever it holds.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            prop_assert_eq!(unmask(&mut masked, Key::new(key)).ok(), core::str::from_utf8(&bytes).ok());
        }

        #[test]
        fn an_assembled_text_comes_out_exactly_where_std_finds_utf8(
            bytes in text_or_junk(),
            key: [u8; 4],
            mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let mut masked = bytes.clone();
            mask::apply(&mut masked, Key::new(key));
            let mut cuts: Vec<usize> = cuts.iter_mut().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let mut text = TextBuffer::new(b"left over".to_vec());
            let mut from = 0;
            let mut outcome = Ok(());
            for cut in cuts {
                outcome = outcome.and_then(|()| text.push(&mut masked[from..cut], Key::new(key).after(from)));
                from = cut;
            }
            let text = outcome.and_then(|()| text.finish());
            prop_assert_eq!(text.ok(), std::string::String::from_utf8(bytes).ok());
        }
    }
}
