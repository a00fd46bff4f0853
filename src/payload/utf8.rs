//! UTF-8 checked as it arrives: the first impossible byte fails, and a character may be cut anywhere.
//!
//! The state between two pieces is one byte. Within a piece the bulk goes through `simdutf8`, whose AVX2 or SSE 4.2 code is
//! chosen at run time (feature `std`); only a character that a cut split, and short pieces, go through the automaton here.

/// Below so many bytes the automaton is quicker than setting up the vector code (measured; the two meet at some 40 bytes).
const SHORT: usize = 32;

/// Where in a character a text stands: between two characters, or what the next byte may be.
///
/// The value is a bit offset into [`STEPS`]' entries, so that one step is a load and a shift without a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Utf8(u8);

/// Bytes that cannot be UTF-8, whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid;

/// Bits per state: ten states of six bits fit a `u64`, and six bits are a shift distance.
const WIDTH: u8 = 6;

/// Between two characters.
const ACCEPT: u8 = 0;
/// No way on.
const REJECT: u8 = WIDTH;
/// One more continuation byte.
const ONE: u8 = 2 * WIDTH;
/// Two more continuation bytes.
const TWO: u8 = 3 * WIDTH;
/// Three more continuation bytes.
const THREE: u8 = 4 * WIDTH;
/// After E0: A0 to BF, then one more (shorter forms are overlong).
const AFTER_E0: u8 = 5 * WIDTH;
/// After ED: 80 to 9F, then one more (above are surrogates).
const AFTER_ED: u8 = 6 * WIDTH;
/// After F0: 90 to BF, then two more (shorter forms are overlong).
const AFTER_F0: u8 = 7 * WIDTH;
/// After F4: 80 to 8F, then two more (above is beyond U+10FFFF).
const AFTER_F4: u8 = 8 * WIDTH;

/// For each byte, the next state of every state, each at its own bit offset (RFC 3629 section 4, as an automaton).
static STEPS: [u64; 256] = steps();

const fn steps() -> [u64; 256] {
    let states = [ACCEPT, REJECT, ONE, TWO, THREE, AFTER_E0, AFTER_ED, AFTER_F0, AFTER_F4];
    let mut steps = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut i = 0;
        while i < states.len() {
            let next = step(states[i], byte as u8);
            steps[byte] |= (next as u64) << states[i];
            i += 1;
        }
        byte += 1;
    }
    steps
}

const fn step(state: u8, byte: u8) -> u8 {
    match (state, byte) {
        (ACCEPT, 0x00..=0x7f) => ACCEPT,
        (ACCEPT, 0xc2..=0xdf) => ONE,
        (ACCEPT, 0xe0) => AFTER_E0,
        (ACCEPT, 0xe1..=0xec | 0xee | 0xef) => TWO,
        (ACCEPT, 0xed) => AFTER_ED,
        (ACCEPT, 0xf0) => AFTER_F0,
        (ACCEPT, 0xf1..=0xf3) => THREE,
        (ACCEPT, 0xf4) => AFTER_F4,
        (ONE, 0x80..=0xbf) => ACCEPT,
        (TWO, 0x80..=0xbf) | (AFTER_E0, 0xa0..=0xbf) | (AFTER_ED, 0x80..=0x9f) => ONE,
        (THREE, 0x80..=0xbf) | (AFTER_F0, 0x90..=0xbf) | (AFTER_F4, 0x80..=0x8f) => TWO,
        _ => REJECT,
    }
}

impl Utf8 {
    /// The start of a text.
    pub(crate) const START: Self = Self(ACCEPT);

    /// Whether the text so far ends with a whole character.
    #[inline]
    pub(crate) fn is_boundary(self) -> bool {
        self.0 == ACCEPT
    }

    /// Goes on with `bytes`. Looks at each byte at most twice.
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Invalid> {
        if bytes.len() < SHORT {
            return self.walk(bytes);
        }
        self.push_long(bytes)
    }

    fn push_long(&mut self, mut bytes: &[u8]) -> Result<(), Invalid> {
        // The rest of a character that a cut split: three bytes at most.
        while let (false, Some((&first, rest))) = (self.is_boundary(), bytes.split_first()) {
            self.walk(&[first])?;
            bytes = rest;
        }
        // What may be an incomplete character at the end: from the last lead byte on, if that is among the last three.
        let lead = bytes.iter().rev().take(3).position(|&byte| byte >= 0xc0);
        let (whole, tail) = bytes.split_at(bytes.len() - lead.map_or(0, |back| back + 1));
        simdutf8::basic::from_utf8(whole).map_err(|_| self.reject())?;
        self.walk(tail)
    }

    /// Notes that somebody else found the text invalid: nothing makes it valid again.
    pub(crate) fn reject(&mut self) -> Invalid {
        self.0 = REJECT;
        Invalid
    }

    /// Goes on byte by byte.
    #[inline]
    fn walk(&mut self, bytes: &[u8]) -> Result<(), Invalid> {
        let mut state = u64::from(self.0);
        for &byte in bytes {
            state = STEPS[usize::from(byte)] >> (state & 63);
        }
        // REJECT leads only to itself, so looking once at the end is enough.
        self.0 = (state & 63) as u8;
        if self.0 == REJECT { Err(Invalid) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// The naive twin: the text so far is a prefix of valid UTF-8.
    fn naive(bytes: &[u8]) -> Result<bool, Invalid> {
        match core::str::from_utf8(bytes) {
            Ok(_) => Ok(true),
            Err(e) if e.error_len().is_none() => Ok(false),
            Err(_) => Err(Invalid),
        }
    }

    fn pushed(bytes: &[u8], cuts: &[usize]) -> Result<bool, Invalid> {
        let mut state = Utf8::START;
        let mut from = 0;
        for &cut in cuts {
            let cut = cut.clamp(from, bytes.len());
            state.push(&bytes[from..cut])?;
            from = cut;
        }
        state.push(&bytes[from..])?;
        Ok(state.is_boundary())
    }

    #[test]
    fn every_two_and_three_byte_sequence_is_judged_as_std_does() {
        for a in 0x80..=0xffu8 {
            for b in 0..=0xffu8 {
                assert_eq!(pushed(&[a, b], &[]), naive(&[a, b]), "{a:x} {b:x}");
                for c in [0, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xff] {
                    assert_eq!(pushed(&[a, b, c], &[1, 2]), naive(&[a, b, c]), "{a:x} {b:x} {c:x}");
                    for d in [0x41, 0x7f, 0x80, 0xbf, 0xc2] {
                        assert_eq!(pushed(&[a, b, c, d], &[2]), naive(&[a, b, c, d]), "{a:x} {b:x} {c:x} {d:x}");
                    }
                }
            }
        }
    }

    #[test]
    fn u4_the_first_impossible_byte_fails() {
        for (valid, last) in [
            (&b"\xc0"[..0], 0xc0),
            (b"\xe0", 0x80),
            (b"\xed", 0xa0),
            (b"\xf4", 0x90),
            (b"", 0xf8),
            (b"", 0x80),
            (b"\xf0\x90\x80", 0x41),
        ] {
            let mut state = Utf8::START;
            assert_eq!(state.push(valid), Ok(()));
            assert_eq!(state.push(&[last]), Err(Invalid), "{valid:x?} {last:x}");
        }
    }

    fn mostly_text() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            8 => "[a-zé漢😀\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}]{0,40}".prop_map(|text| text.into_bytes()),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn any_cut_of_any_bytes_is_judged_as_std_judges_the_whole(
            bytes in mostly_text(),
            mut cuts in prop::collection::vec(0usize..300, 0..6),
        ) {
            cuts.sort_unstable();
            prop_assert_eq!(pushed(&bytes, &cuts), naive(&bytes));
        }
    }
}
