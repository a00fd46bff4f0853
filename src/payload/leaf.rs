//! Payloads: unmasked where they lie, checked in the same pass, and lent as what they were proved to be. Lines: searched, copied and
//! checked in one pass.
//!
//! The one file with unsafe code. It does two things: bytes become `str` right after the pass that proved them to be UTF-8 (a second,
//! safe pass would double the cost of small messages), and long payloads and lines go through vectors where the machine has them.
//! What holds it: the proof and the conversion stand in the same function or behind the same private field; vectors are loaded from and stored
//! to references to arrays; the tests compare every pass with a naive twin, and fuzzing every text with the standard library.
#![allow(unsafe_code)]

use super::mask::{self, Key};
use super::utf8::{Invalid, Utf8};
use alloc::string::String;
use alloc::vec::Vec;
#[cfg(target_arch = "x86_64")]
use core::cell::Cell;
use memchr::memchr2;

/// From so many bytes on a payload goes through AVX2 where there is some; below, two overlapping words cover it.
const LONG: usize = 33;

/// Without AVX2 a long text is unmasked and checked in pieces of this size, so that the second pass finds it in the first-level
/// cache (32 KiB on every common machine).
const PIECE: usize = 8 << 10;

/// The least and the most bytes to read right behind what was assembled: fewer are copied as cheaply, and a usual read buffer holds no more.
const DIRECT: core::ops::RangeInclusive<usize> = 4 << 10..=64 << 10;

/// Unmasks (or masks: it is the same) a payload in place.
#[inline(always)]
pub(crate) fn unmask_binary(bytes: &mut [u8], key: Key) {
    if bytes.len() < LONG {
        mask::unmask_short(bytes, key);
    } else {
        unmask_long_binary(bytes, key);
    }
}

/// Unmasks a whole text in place and lends it.
#[inline(always)]
pub(crate) fn unmask_text(bytes: &mut [u8], key: Key) -> Result<&str, Invalid> {
    if bytes.len() < LONG {
        if mask::unmask_short(bytes, key) {
            // SAFETY: `unmask_short` returned true: every byte is below 0x80, and ASCII is UTF-8.
            return Ok(unsafe { core::str::from_utf8_unchecked(bytes) });
        }
        return check(bytes);
    }
    unmask_long_text(bytes, key)
}

/// A short text that is not all ASCII.
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

/// Unmasks the last `len` bytes of `bytes` to its front, and lends them.
#[cfg(feature = "net")]
#[inline(always)]
pub(crate) fn unmask_binary_to_front(bytes: &mut [u8], len: usize, key: Key) -> &[u8] {
    if len < LONG {
        mask::unmask_short_to_front(bytes, len, key);
    } else {
        unmask_long_binary_to_front(bytes, len, key);
    }
    bytes.get(..len).unwrap_or_default()
}

/// Unmasks a whole text, the last `len` bytes of `bytes`, to its front, and lends it.
#[cfg(feature = "net")]
#[inline(always)]
pub(crate) fn unmask_text_to_front(bytes: &mut [u8], len: usize, key: Key) -> Result<&str, Invalid> {
    if len < LONG {
        let ascii = mask::unmask_short_to_front(bytes, len, key);
        let text = bytes.get(..len).unwrap_or_default();
        if ascii {
            // SAFETY: `unmask_short_to_front` returned true: every byte of the first `len` is below 0x80, and ASCII is UTF-8.
            return Ok(unsafe { core::str::from_utf8_unchecked(text) });
        }
        return check(text);
    }
    unmask_long_text_to_front(bytes, len, key)
}

/// Up to so many bytes are unmasked as if they were so many, where there is room.
#[cfg(feature = "net")]
pub(crate) const WIDE: usize = 32;

/// Unmasks `len` bytes (at most [`WIDE`]) to the front of `bytes` and lends them. They begin `WIDE` before its end; the `WIDE` bytes at
/// its front may be overwritten.
#[cfg(feature = "net")]
#[inline(always)]
pub(crate) fn unmask_wide_binary(bytes: &mut [u8], len: usize, key: Key) -> &[u8] {
    unmask_wide(bytes, key);
    bytes.get(..len).unwrap_or_default()
}

/// As [`unmask_wide_binary`], a whole text.
#[cfg(feature = "net")]
#[inline(always)]
pub(crate) fn unmask_wide_text(bytes: &mut [u8], len: usize, key: Key) -> Result<&str, Invalid> {
    let high = unmask_wide(bytes, key);
    let text = bytes.get(..len).unwrap_or_default();
    if len <= WIDE && high & ((1 << len) - 1) == 0 {
        // SAFETY: `unmask_wide` has a bit for each byte that is not below 0x80, and `text`, not longer than `WIDE`, has none: ASCII is
        // UTF-8.
        return Ok(unsafe { core::str::from_utf8_unchecked(text) });
    }
    check(text)
}

/// Unmasks the last [`WIDE`] bytes to the front, and gives a bit for each that is not ASCII, the first one's the lowest.
#[cfg(feature = "net")]
#[inline(always)]
fn unmask_wide(bytes: &mut [u8], key: Key) -> u64 {
    let Some(&masked) = bytes.last_chunk::<WIDE>() else { return u64::MAX };
    let Some(to) = bytes.first_chunk_mut::<WIDE>() else { return u64::MAX };
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    // SAFETY: the halves are 16 readable bytes of `masked` and 16 writable ones of `to`, and loads and stores need no alignment. SSE2 is
    // there: it was asked for above.
    unsafe {
        use core::arch::x86_64::*;
        let key = _mm_set1_epi32(key.word() as i32);
        let low = _mm_xor_si128(_mm_loadu_si128(masked.as_ptr().cast()), key);
        let high = _mm_xor_si128(_mm_loadu_si128(masked.as_ptr().add(16).cast()), key);
        _mm_storeu_si128(to.as_mut_ptr().cast(), low);
        _mm_storeu_si128(to.as_mut_ptr().add(16).cast(), high);
        u64::from(_mm_movemask_epi8(low) as u32) | u64::from(_mm_movemask_epi8(high) as u32) << 16
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
    {
        *to = masked;
        mask::unmask(to, key);
        to.iter().rev().fold(0, |bits, &byte| bits << 1 | u64::from(byte >> 7))
    }
}

#[inline(never)]
#[cfg(feature = "net")]
fn unmask_long_binary_to_front(bytes: &mut [u8], len: usize, key: Key) {
    let Some(distance) = bytes.len().checked_sub(len) else { return };
    #[cfg(target_arch = "x86_64")]
    if avx2::is_there() {
        let bytes = Cell::from_mut(bytes).as_slice_of_cells();
        // SAFETY: the machine has AVX2.
        unsafe { avx2::unmask::<true>(&bytes[distance..], &bytes[..len], key) };
        return;
    }
    bytes.copy_within(distance.., 0);
    mask::unmask(&mut bytes[..len], key);
}

#[cfg(feature = "net")]
#[inline(never)]
fn unmask_long_text_to_front(bytes: &mut [u8], len: usize, key: Key) -> Result<&str, Invalid> {
    let Some(distance) = bytes.len().checked_sub(len) else { return Err(Invalid) };
    #[cfg(target_arch = "x86_64")]
    if avx2::is_there() {
        let cells = Cell::from_mut(&mut *bytes).as_slice_of_cells();
        // SAFETY: the machine has AVX2.
        if !unsafe { avx2::unmask_and_check::<true>(&cells[distance..], &cells[..len], key) } {
            return Err(Invalid);
        }
        // SAFETY: `unmask_and_check` returned true: what it wrote there is UTF-8.
        return Ok(unsafe { core::str::from_utf8_unchecked(&bytes[..len]) });
    }
    bytes.copy_within(distance.., 0);
    unmask_long_text(&mut bytes[..len], key)
}

#[inline(never)]
fn unmask_long_binary(bytes: &mut [u8], key: Key) {
    #[cfg(target_arch = "x86_64")]
    if avx2::is_there() {
        let bytes = Cell::from_mut(bytes).as_slice_of_cells();
        // SAFETY: the machine has AVX2.
        unsafe { avx2::unmask::<false>(bytes, &[], key) };
        return;
    }
    mask::unmask(bytes, key);
}

#[inline(never)]
fn unmask_long_text(bytes: &mut [u8], key: Key) -> Result<&str, Invalid> {
    if !unmask_and_check(bytes, key) {
        return Err(Invalid);
    }
    // SAFETY: `unmask_and_check` returned true: `bytes` is now UTF-8.
    Ok(unsafe { core::str::from_utf8_unchecked(bytes) })
}

/// Unmasks and says whether the result is UTF-8, from its first byte to its last.
#[inline(always)]
fn unmask_and_check(bytes: &mut [u8], key: Key) -> bool {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= LONG && avx2::is_there() {
        let bytes = Cell::from_mut(bytes).as_slice_of_cells();
        // SAFETY: the machine has AVX2.
        return unsafe { avx2::unmask_and_check::<false>(bytes, &[], key) };
    }
    let mut state = Utf8::START;
    // PIECE is a multiple of the key's length, so the key is the same for each piece.
    let valid = bytes.chunks_mut(PIECE).all(|piece| {
        let ascii = mask::unmask(piece, key);
        (ascii && state.is_boundary()) || state.push(piece).is_ok()
    });
    valid && state.is_boundary()
}

/// Unmasks a piece of a text in place and checks it, going on from `state`.
pub(crate) fn unmask_piece(piece: &mut [u8], key: Key, state: &mut Utf8) -> Result<(), Invalid> {
    if piece.len() < 2 * LONG {
        mask::unmask(piece, key);
        return state.push(piece);
    }
    // The rest of a character that the last cut split: three bytes at most.
    let mut split = 0;
    while let (false, Some(byte)) = (state.is_boundary(), piece.get_mut(split)) {
        mask::unmask(core::slice::from_mut(byte), key.after(split));
        state.push(core::slice::from_ref(byte))?;
        split += 1;
    }
    let (piece, key) = (&mut piece[split..], key.after(split));
    // What may be an incomplete character at the end stays out of the bulk.
    let mut last = [0; 3];
    let from = piece.len().saturating_sub(last.len());
    if let Some(end) = piece.last_chunk() {
        last = *end;
    }
    mask::unmask(&mut last, key.after(from));
    let cut = last.iter().rposition(|&byte| byte >= 0xc0).map_or(piece.len(), |at| from + at);
    let (whole, tail) = piece.split_at_mut(cut);
    if !unmask_and_check(whole, key) {
        return Err(state.reject());
    }
    mask::unmask(tail, key.after(cut));
    state.push(tail)
}

/// A message that is assembled from pieces: unmasked, and, of a text, checked.
#[derive(Debug)]
pub(crate) struct Assembly<C> {
    /// What was filled, and behind it slack that was written before (so that reading into it needs no clearing).
    // INVARIANT: filled <= bytes.len(); for text, `check` is the state of the check after all of `bytes[..filled]`.
    bytes: Vec<u8>,
    filled: usize,
    check: C,
}

/// How the pieces of a message are unmasked.
pub(crate) trait Check {
    /// Unmasks a piece, going on from the pieces before.
    fn unmask(&mut self, piece: &mut [u8], key: Key) -> Result<(), Invalid>;
}

/// Of a binary message nothing is checked.
#[derive(Debug)]
pub(crate) struct Unchecked;

impl Check for Unchecked {
    fn unmask(&mut self, piece: &mut [u8], key: Key) -> Result<(), Invalid> {
        unmask_binary(piece, key);
        Ok(())
    }
}

impl Check for Utf8 {
    fn unmask(&mut self, piece: &mut [u8], key: Key) -> Result<(), Invalid> {
        unmask_piece(piece, key, self)
    }
}

impl<C: Check> Assembly<C> {
    /// Bytes of the message so far.
    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    /// Appends `piece`, unmasked and checked. After an error the message is empty.
    pub(crate) fn push(&mut self, piece: &[u8], mut key: Key) -> Result<(), Invalid> {
        // In pieces that stay in the first-level cache between the copy and the pass.
        for piece in piece.chunks(PIECE) {
            let to = self.filled + piece.len();
            match self.bytes.get_mut(self.filled..to) {
                Some(slack) => slack.copy_from_slice(piece),
                None => {
                    self.bytes.truncate(self.filled);
                    self.bytes.extend_from_slice(piece);
                }
            }
            self.filled(piece.len(), key)?;
            key = key.after(piece.len());
        }
        Ok(())
    }

    /// Room to read the frame's next bytes into; `remaining` are to come. No more than came already: what is announced reserves nothing.
    pub(crate) fn spare(&mut self, remaining: u64) -> Option<&mut [u8]> {
        let most = self.filled.min(*DIRECT.end());
        let len = usize::try_from(remaining).unwrap_or(usize::MAX).min(most);
        if len < *DIRECT.start() {
            return None;
        }
        let to = self.filled + len;
        if self.bytes.len() < to {
            self.bytes.resize(to, 0);
        }
        self.bytes.get_mut(self.filled..to)
    }

    /// Room for bytes that are not masked, for [`filled`](Self::filled): `least` of them, better `wanted` or as many as were filled, and
    /// never more than `most`. The buffer moves only where it has no room for the least.
    #[cfg(feature = "deflate")]
    pub(crate) fn room(&mut self, (least, wanted): (usize, usize), most: usize) -> &mut [u8] {
        let most = self.filled.saturating_add(most);
        let to = self.filled.saturating_add(self.filled.max(wanted)).min(most);
        if self.bytes.capacity() < self.filled.saturating_add(least).min(most) {
            // A little more, so that messages that get longer bit by bit do not move it each time.
            let capacity = to.saturating_add(*DIRECT.start()).min(most);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        let to = to.min(self.bytes.capacity()).max(self.bytes.len());
        self.bytes.resize(to, 0);
        &mut self.bytes[self.filled..to.min(most)]
    }

    /// Unmasks, checks and keeps the first `n` bytes of what was put there. After an error the message is empty.
    pub(crate) fn filled(&mut self, n: usize, key: Key) -> Result<(), Invalid> {
        let to = (self.filled + n).min(self.bytes.len());
        let outcome = self.check.unmask(&mut self.bytes[self.filled..to], key);
        self.filled = if outcome.is_ok() { to } else { 0 };
        outcome
    }

    /// The buffer, whatever it holds.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

impl Assembly<Unchecked> {
    /// An empty binary message in `buffer`, whose content is overwritten.
    pub(crate) fn binary(buffer: Vec<u8>) -> Self {
        Self { bytes: buffer, filled: 0, check: Unchecked }
    }

    /// The whole message.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.truncate(self.filled);
        self.bytes
    }
}

impl Assembly<Utf8> {
    /// An empty text in `buffer`, whose content is overwritten.
    pub(crate) fn text(buffer: Vec<u8>) -> Self {
        Self { bytes: buffer, filled: 0, check: Utf8::START }
    }

    /// The whole text, if it ends with a whole character.
    pub(crate) fn finish(mut self) -> Result<String, Invalid> {
        // After an error `filled` is zero, and the empty text is a text.
        if self.filled > 0 && !self.check.is_boundary() {
            return Err(Invalid);
        }
        self.bytes.truncate(self.filled);
        // SAFETY: by the invariant all of `bytes` was checked, and the check ended between two characters.
        Ok(unsafe { String::from_utf8_unchecked(self.bytes) })
    }
}

/// The place of the first byte below SO (0x0E), which CR and LF are, and hardly anything else in a text but tabs.
#[inline(always)]
pub(crate) fn first_control(bytes: &[u8; 16]) -> Option<usize> {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    {
        use core::arch::x86_64::*;
        // SAFETY: `bytes` is 16 readable bytes, and the load needs no alignment. SSE2 is there: it was asked for above.
        let below = unsafe {
            let vector = _mm_loadu_si128(bytes.as_ptr().cast());
            _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(vector, _mm_set1_epi8(0x0d)), vector))
        };
        (below != 0).then_some(below.trailing_zeros() as usize)
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
    {
        const ONES: u128 = u128::MAX / 0xff;
        let word = u128::from_le_bytes(*bytes);
        // Only the lowest mark is exact: a borrow may set some above it.
        let below = word.wrapping_sub(ONES * 0x0e) & !word & (ONES * 0x80);
        (below != 0).then_some(below.trailing_zeros() as usize / 8)
    }
}

/// The place of the first CR or LF.
pub(crate) fn line_end(bytes: &[u8]) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= LONG && avx2::is_there() {
        // SAFETY: the machine has AVX2.
        return unsafe { avx2::line_end(bytes) };
    }
    memchr2(b'\n', b'\r', bytes)
}

/// The first `len` bytes, where they are there and ASCII. For short texts: from some hundred bytes on a check of UTF-8 by vectors
/// is faster.
#[inline(always)]
pub(crate) fn ascii(bytes: &[u8], len: usize) -> Option<&str> {
    let bytes = bytes.get(..len)?;
    let pair = |pair: &[u8; 16]| u128::from_ne_bytes(*pair);
    let any = if let Some(last) = bytes.last_chunk() {
        bytes.as_chunks().0.iter().fold(pair(last), |any, next| any | pair(next))
    } else {
        bytes.iter().fold(0, |any, &byte| any | u128::from(byte))
    };
    const HIGH: u128 = u128::MAX / 0xff * 0x80;
    if any & HIGH != 0 {
        return None;
    }
    // SAFETY: `any` has the bits of all of `bytes`, in whichever lane, and none is above 0x7F: ASCII is UTF-8.
    Some(unsafe { core::str::from_utf8_unchecked(bytes) })
}

/// Text gathered from pieces of lines. Invalid bytes are no error here: they are kept, and [`finish`](Self::finish) tells.
#[derive(Debug)]
pub(crate) struct Gathered {
    // INVARIANT: `check` is the state of the check after all of `bytes`, or has been rejected.
    bytes: Vec<u8>,
    check: Utf8,
}

impl Default for Gathered {
    fn default() -> Self {
        Self::with(Vec::new())
    }
}

impl Gathered {
    /// No text yet, in `buffer`, whose content is dropped.
    pub(crate) fn with(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { bytes: buffer, check: Utf8::START }
    }

    /// Whether there is memory to write to.
    pub(crate) fn has_buffer(&self) -> bool {
        self.bytes.capacity() != 0
    }

    /// What is gathered.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends what stands in `piece` before the first CR or LF, and gives the place of that. Copies and searches in one pass,
    /// that also tells ASCII; only other text is looked at again.
    pub(crate) fn push_line(&mut self, mut piece: &[u8]) -> Option<usize> {
        let mut end = None;
        if piece.len() > self.bytes.capacity() - self.bytes.len() {
            // It grows by what the line needs, not by what came behind it.
            end = line_end(piece);
            piece = &piece[..end.unwrap_or(piece.len())];
            self.bytes.reserve(piece.len());
        }
        #[cfg(target_arch = "x86_64")]
        if piece.len() >= LONG && avx2::is_there() {
            // SAFETY: the machine has AVX2.
            let (copied, ascii) = unsafe { avx2::copy_line(piece, self.bytes.spare_capacity_mut()) };
            // SAFETY: `copy_line` has written that many bytes at the start of the spare capacity.
            unsafe { self.bytes.set_len(self.bytes.len() + copied) };
            if !(ascii && self.check.is_boundary()) {
                // An error stays in `check`.
                let _ = self.check.push(&piece[..copied]);
            }
            return end.or((copied < piece.len()).then_some(copied));
        }
        end = end.or_else(|| memchr2(b'\n', b'\r', piece));
        self.push(&piece[..end.unwrap_or(piece.len())]);
        end
    }

    /// Appends `piece`.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        if !(self.check.is_boundary() && piece.is_ascii()) {
            let _ = self.check.push(piece);
        }
    }

    /// Appends one byte.
    #[inline]
    pub(crate) fn push_byte(&mut self, byte: u8) {
        self.bytes.push(byte);
        if !(self.check.is_boundary() && byte < 0x80) {
            let _ = self.check.push(&[byte]);
        }
    }

    /// Ends a text within the text: what comes next does not complete a character that is cut off here.
    pub(crate) fn end(&mut self) {
        if !self.check.is_boundary() {
            self.check.reject();
        }
    }

    /// Appends another text behind the end of this one.
    pub(crate) fn append(&mut self, other: &Self) {
        self.end();
        self.bytes.extend_from_slice(&other.bytes);
        if !other.check.is_boundary() {
            self.check.reject();
        }
    }

    /// The text, or the bytes where some are not UTF-8.
    pub(crate) fn finish(self) -> Result<String, Vec<u8>> {
        if !self.check.is_boundary() {
            return Err(self.bytes);
        }
        // SAFETY: by the invariant all of `bytes` was checked, no error was found, and the check ended between two characters.
        Ok(unsafe { String::from_utf8_unchecked(self.bytes) })
    }
}

/// Long payloads, 32 bytes at a time.
///
/// How text is checked is `check`'s.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    use super::Key;
    use crate::payload::check::{Checker, keep_end};
    use core::arch::x86_64::*;
    use core::cell::Cell;
    use core::mem::MaybeUninit;

    /// Bytes in a vector.
    pub(in crate::payload) const N: usize = 32;

    /// Whether the machine has AVX2: known when compiling, or asked once (then a load and a test).
    #[inline(always)]
    pub(super) fn is_there() -> bool {
        #[cfg(feature = "std")]
        {
            std::arch::is_x86_feature_detected!("avx2")
        }
        #[cfg(not(feature = "std"))]
        {
            cfg!(target_feature = "avx2")
        }
    }

    /// From so many bytes on it pays to align the stores: one that crosses a cache line costs two.
    const ALIGNED: usize = 8 * N;

    /// Unmasks at least [`N`] bytes where they lie or, if they `MOVE`, to as many that lie before them and may overlap: whatever is stored,
    /// everything up to there was loaded before.
    #[target_feature(enable = "avx2")]
    pub(super) fn unmask<const MOVE: bool>(from: &[Cell<u8>], to: &[Cell<u8>], key: Key) {
        let to = if MOVE { to } else { from };
        let (Some(first), Some(last)) = (from.first_chunk(), from.last_chunk()) else { return };
        // Loaded while they are still masked: the loop goes over parts of them.
        let first = _mm256_xor_si256(load_cell(first), broadcast(key));
        let last = _mm256_xor_si256(load_cell(last), broadcast(key.after(from.len())));
        let skipped = if to.len() < ALIGNED { 0 } else { to.as_ptr().align_offset(N).min(N) };
        let key = broadcast(key.after(skipped));
        let (blocks, rest) = from[skipped..].as_chunks::<{ 4 * N }>();
        let (to_blocks, to_rest) = to[skipped..].as_chunks::<{ 4 * N }>();
        for (block, to_block) in blocks.iter().zip(to_blocks) {
            for (vector, to) in block.as_chunks::<N>().0.iter().zip(to_block.as_chunks::<N>().0) {
                store_cell(to, _mm256_xor_si256(load_cell(vector), key));
            }
        }
        for (vector, to) in rest.as_chunks::<N>().0.iter().zip(to_rest.as_chunks::<N>().0) {
            store_cell(to, _mm256_xor_si256(load_cell(vector), key));
        }
        if let Some(to) = to.first_chunk() {
            store_cell(to, first);
        }
        if let Some(to) = to.last_chunk() {
            store_cell(to, last);
        }
    }

    /// As [`unmask`], and says whether the result is UTF-8.
    #[target_feature(enable = "avx2")]
    pub(super) fn unmask_and_check<const MOVE: bool>(from: &[Cell<u8>], to: &[Cell<u8>], key: Key) -> bool {
        let to = if MOVE { to } else { from };
        // What is checked is what is stored.
        if from.len() != to.len() {
            return false;
        }
        let Some(last) = from.last_chunk() else { return false };
        let last = _mm256_xor_si256(load_cell(last), broadcast(key.after(from.len())));
        // The last, incomplete vector, filled up with zeros: a character that the end cuts off is one that a zero cuts off.
        let tail = keep_end(last, from.len() % N);
        let key = broadcast(key);
        let mut checker = Checker::new();

        let (blocks, from_rest) = from.as_chunks::<{ 4 * N }>();
        let (to_blocks, to_rest) = to.as_chunks::<{ 4 * N }>();
        for (block, to_block) in blocks.iter().zip(to_blocks) {
            let ([a, b, c, d], [to_a, to_b, to_c, to_d]) = (block.as_chunks::<N>().0, to_block.as_chunks::<N>().0)
            else {
                continue;
            };
            let clear = [
                _mm256_xor_si256(load_cell(a), key),
                _mm256_xor_si256(load_cell(b), key),
                _mm256_xor_si256(load_cell(c), key),
                _mm256_xor_si256(load_cell(d), key),
            ];
            store_cell(to_a, clear[0]);
            store_cell(to_b, clear[1]);
            store_cell(to_c, clear[2]);
            store_cell(to_d, clear[3]);
            let any = _mm256_or_si256(_mm256_or_si256(clear[0], clear[1]), _mm256_or_si256(clear[2], clear[3]));
            if _mm256_movemask_epi8(any) == 0 {
                checker.ascii(clear[3]);
            } else {
                checker.vector(clear[0]);
                checker.vector(clear[1]);
                checker.vector(clear[2]);
                checker.vector(clear[3]);
            }
        }
        // Up to three vectors and the tail, which are nearly always either all ASCII or not.
        let mut rest = [_mm256_setzero_si256(); 3];
        let mut any = tail;
        let (vectors, to_vectors) = (from_rest.as_chunks::<N>().0, to_rest.as_chunks::<N>().0);
        let count = vectors.len();
        for (clear, (vector, to)) in rest.iter_mut().zip(vectors.iter().zip(to_vectors)) {
            *clear = _mm256_xor_si256(load_cell(vector), key);
            store_cell(to, *clear);
            any = _mm256_or_si256(any, *clear);
        }
        if let Some(to) = to.last_chunk() {
            store_cell(to, last);
        }
        if _mm256_movemask_epi8(any) == 0 {
            checker.ascii(tail);
            return checker.is_valid();
        }
        for clear in rest.iter().take(count) {
            checker.vector(*clear);
        }
        // It ends with a zero at least, so what it cuts off shows in itself.
        checker.vector(tail);
        checker.is_valid()
    }

    /// Copies at least [`N`] bytes up to the first CR or LF to the start of `to`. Gives how many (all that fit where there is neither),
    /// and whether they are ASCII. So many bytes of `to` are written for sure; more may be.
    #[target_feature(enable = "avx2")]
    pub(super) fn copy_line(from: &[u8], to: &mut [MaybeUninit<u8>]) -> (usize, bool) {
        let len = from.len().min(to.len());
        let (from, to) = (&from[..len], &mut to[..len]);
        let (mut at, mut ascii) = (0, true);
        for (block, to) in from.as_chunks::<BLOCK>().0.iter().zip(to.as_chunks_mut::<BLOCK>().0) {
            // All are loaded before any is stored: measured, a tenth faster than by turns.
            let mut vectors = [_mm256_setzero_si256(); BLOCK / N];
            for (vector, from) in vectors.iter_mut().zip(block.as_chunks().0) {
                *vector = load(from);
            }
            // Taken as signed, what is not ASCII is small, as line ends are: mostly one comparison tells that there is neither.
            let mut least = _mm256_set1_epi8(SO);
            for (vector, to) in vectors.into_iter().zip(to.as_chunks_mut().0) {
                store_new(to, vector);
                least = _mm256_min_epi8(least, vector);
            }
            if !is_so(least)
                && let Some(end) = end_in(block, 0, &mut ascii)
            {
                return (at + end, ascii);
            }
            at += BLOCK;
        }
        // The last, incomplete vector goes together with bytes before it.
        let (Some(last), Some(to_last)) = (from.last_chunk(), to.last_chunk_mut()) else { return (0, ascii) };
        store_new(to_last, load(last));
        let mut least = _mm256_min_epi8(_mm256_set1_epi8(SO), load(last));
        for (vector, to) in from[at..].as_chunks().0.iter().zip(to[at..].as_chunks_mut().0) {
            store_new(to, load(vector));
            least = _mm256_min_epi8(least, load(vector));
        }
        let end = if is_so(least) { None } else { end_in(from, at, &mut ascii) };
        (end.unwrap_or(len), ascii)
    }

    /// Finds the first CR or LF in at least [`N`] bytes.
    #[target_feature(enable = "avx2")]
    pub(super) fn line_end(bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        for block in bytes.as_chunks::<BLOCK>().0 {
            let mut least = _mm256_set1_epi8(SO);
            for vector in block.as_chunks().0 {
                least = _mm256_min_epu8(least, load(vector));
            }
            if !is_so(least)
                && let Some(end) = end_in(block, 0, &mut true)
            {
                return Some(at + end);
            }
            at += BLOCK;
        }
        let mut least = _mm256_min_epu8(_mm256_set1_epi8(SO), load(bytes.last_chunk()?));
        for vector in bytes[at..].as_chunks().0 {
            least = _mm256_min_epu8(least, load(vector));
        }
        if is_so(least) { None } else { end_in(bytes, at, &mut true) }
    }

    /// What is tested for line ends at once.
    const BLOCK: usize = 8 * N;

    /// CR and LF are below SO, and hardly anything else in a text but tabs.
    const SO: i8 = 0x0e;

    /// Whether each byte is [`SO`].
    #[inline]
    #[target_feature(enable = "avx2")]
    fn is_so(vector: __m256i) -> bool {
        _mm256_movemask_epi8(_mm256_cmpeq_epi8(vector, _mm256_set1_epi8(SO))) == -1
    }

    /// The place of the first CR or LF in at least [`N`] bytes, of which those before `at` hold none. Clears `ascii` where something
    /// before it is not.
    #[target_feature(enable = "avx2")]
    fn end_in(bytes: &[u8], mut at: usize, ascii: &mut bool) -> Option<usize> {
        let last = bytes.len().checked_sub(N)?;
        loop {
            // The last vector overlaps the one before it.
            let from = at.min(last);
            let vector = load(bytes.get(from..)?.first_chunk()?);
            let lf = _mm256_cmpeq_epi8(vector, _mm256_set1_epi8(b'\n' as i8));
            let cr = _mm256_cmpeq_epi8(vector, _mm256_set1_epi8(b'\r' as i8));
            let ends = _mm256_movemask_epi8(_mm256_or_si256(lf, cr)) as u32;
            let high = _mm256_movemask_epi8(vector) as u32;
            // Below the lowest end; all where there is none.
            *ascii &= high & (ends.wrapping_sub(1) & !ends) == 0;
            if ends != 0 {
                return Some(from + ends.trailing_zeros() as usize);
            }
            if at >= last {
                return None;
            }
            at += N;
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn broadcast(key: Key) -> __m256i {
        _mm256_set1_epi32(key.word() as i32)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in crate::payload) fn load_half(from: &[u8; 16]) -> __m128i {
        // SAFETY: `from` is 16 readable bytes, and the load needs no alignment.
        unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in crate::payload) fn load(from: &[u8; N]) -> __m256i {
        // SAFETY: `from` is 32 readable bytes, and the load needs no alignment.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    /// As [`load`], from bytes that may be among those that are stored to.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load_cell(from: &[Cell<u8>; N]) -> __m256i {
        // SAFETY: `from` is 32 readable bytes: a `Cell<u8>` lies in memory as its `u8` does, and nobody writes to it meanwhile, as it is
        // not `Sync`. The load needs no alignment.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store_cell(to: &[Cell<u8>; N], vector: __m256i) {
        // SAFETY: `to` is 32 bytes that may be written to although they are shared, since they are cells; no reference to what is in them
        // exists. The store needs no alignment.
        unsafe { _mm256_storeu_si256(to.as_ptr().cast_mut().cast(), vector) }
    }

    /// To memory that need not hold anything yet.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn store_new(to: &mut [MaybeUninit<u8>; N], vector: __m256i) {
        // SAFETY: `to` is 32 writable bytes, and the store needs no alignment.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), vector) }
    }
}
