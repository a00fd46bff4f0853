//! Masking and unmasking in place (RFC 6455 section 5.3), and, in the same pass, whether the result is ASCII.
//!
//! Short payloads are covered by two overlapping words, both loaded before either is stored; long ones by blocks of 32 bytes, which
//! vectorise on the default target, and an overlapping last word. No loop runs over single bytes from four bytes on.

/// A masking key as it applies to the next byte: rotates as bytes pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u32);

/// Bytes per step of the loop: two vector registers of the default x86-64 target.
const BLOCK: usize = 32;

impl Key {
    /// The key that changes nothing.
    pub(crate) const NONE: Self = Self(0);

    /// The key as it lies in the header.
    #[inline(always)]
    pub(crate) fn new(key: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(key))
    }

    /// The key for what stands `n` bytes further on.
    #[inline]
    pub(crate) fn after(self, n: usize) -> Self {
        let bits = 8 * (n as u32 & 3);
        if cfg!(target_endian = "little") { Self(self.0.rotate_right(bits)) } else { Self(self.0.rotate_left(bits)) }
    }

    /// The four bytes as they lie in memory, as one word.
    #[inline]
    pub(crate) fn word(self) -> u32 {
        self.0
    }

    #[inline]
    fn wide(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }

    #[inline]
    fn widest(self) -> u128 {
        u128::from(self.wide()) << 64 | u128::from(self.wide())
    }
}

/// Two words that cover the slice, from its front and from its end.
macro_rules! overlapping {
    ($bytes:expr, $size:literal, $word:ty, $front:expr, $back:expr) => {{
        let (Some(front), Some(back)) = ($bytes.first_chunk::<$size>(), $bytes.last_chunk::<$size>()) else {
            return true;
        };
        let front = <$word>::from_ne_bytes(*front) ^ $front;
        let back = <$word>::from_ne_bytes(*back) ^ $back;
        if let Some(to) = $bytes.first_chunk_mut::<$size>() {
            *to = front.to_ne_bytes();
        }
        if let Some(to) = $bytes.last_chunk_mut::<$size>() {
            *to = back.to_ne_bytes();
        }
        (front | back) & (<$word>::MAX / 0xff * 0x80) == 0
    }};
}

/// Masks or unmasks `bytes` in place (RFC 6455 section 5.3). `offset` is how many payload bytes of the same frame stand before them.
///
/// [`Connection`](crate::ws::Connection) does this by itself; this is for whoever handles frames on their own.
#[inline]
pub fn apply_mask(bytes: &mut [u8], key: [u8; 4], offset: usize) {
    super::leaf::unmask_binary(bytes, Key::new(key).after(offset));
}

/// Applies `key` to `bytes`. Its own inverse.
#[inline]
pub(crate) fn apply(bytes: &mut [u8], key: Key) {
    unmask(bytes, key);
}

/// Applies `key` to `bytes` and says whether the result is all ASCII.
#[inline]
pub(crate) fn unmask(bytes: &mut [u8], key: Key) -> bool {
    if bytes.len() <= BLOCK { unmask_short(bytes, key) } else { unmask_long(bytes, key) }
}

/// [`unmask`] for up to [`BLOCK`] bytes; of more only the ends would be unmasked.
#[inline(always)]
pub(crate) fn unmask_short(bytes: &mut [u8], key: Key) -> bool {
    debug_assert!(bytes.len() <= BLOCK);
    let n = bytes.len();
    if n >= 16 {
        overlapping!(bytes, 16, u128, key.widest(), key.after(n).widest())
    } else if n >= 8 {
        overlapping!(bytes, 8, u64, key.wide(), key.after(n).wide())
    } else if n >= 4 {
        overlapping!(bytes, 4, u32, key.0, key.after(n).0)
    } else {
        let mut all = 0;
        for (byte, key) in bytes.iter_mut().zip(key.0.to_ne_bytes()) {
            *byte ^= key;
            all |= *byte;
        }
        all < 0x80
    }
}

/// [`unmask_short`] of the last `n` bytes of `bytes`, to its front. All of them are loaded before one is stored: the two places may overlap.
#[cfg(feature = "net")]
#[inline(always)]
pub(crate) fn unmask_short_to_front(bytes: &mut [u8], n: usize, key: Key) -> bool {
    /// Two words that cover the payload, from its front and from its end.
    macro_rules! overlapping {
        ($size:literal, $word:ty, $front:expr, $back:expr) => {{
            let from = bytes.len().wrapping_sub(n);
            let (Some(front), Some(back)) =
                (bytes.get(from..).and_then(|bytes| bytes.first_chunk::<$size>()), bytes.last_chunk::<$size>())
            else {
                return false;
            };
            let front = <$word>::from_ne_bytes(*front) ^ $front;
            let back = <$word>::from_ne_bytes(*back) ^ $back;
            if let Some(to) = bytes.first_chunk_mut::<$size>() {
                *to = front.to_ne_bytes();
            }
            if let Some(to) = bytes.get_mut(n - $size..).and_then(|bytes| bytes.first_chunk_mut::<$size>()) {
                *to = back.to_ne_bytes();
            }
            (front | back) & (<$word>::MAX / 0xff * 0x80) == 0
        }};
    }
    debug_assert!(n <= BLOCK && n <= bytes.len());
    if n >= 16 {
        overlapping!(16, u128, key.widest(), key.after(n).widest())
    } else if n >= 8 {
        overlapping!(8, u64, key.wide(), key.after(n).wide())
    } else if n >= 4 {
        overlapping!(4, u32, key.0, key.after(n).0)
    } else {
        let from = bytes.len() - n;
        let mut all = 0;
        for (i, key) in key.0.to_ne_bytes().into_iter().enumerate().take(n) {
            let clear = bytes[from + i] ^ key;
            all |= clear;
            bytes[i] = clear;
        }
        all < 0x80
    }
}

fn unmask_long(bytes: &mut [u8], key: Key) -> bool {
    let wide = key.wide();
    let n = bytes.len();
    let mut all = [0u64; BLOCK / 8];
    // The last block, loaded while it is still masked: the loop below may go over a part of it.
    let mut last = [0; BLOCK];
    if let Some(from) = bytes.last_chunk::<BLOCK>() {
        last = *from;
    }
    xor(&mut last, key.after(n).wide(), &mut all);
    for block in bytes.chunks_exact_mut(BLOCK) {
        if let Some(block) = block.first_chunk_mut::<BLOCK>() {
            xor(block, wide, &mut all);
        }
    }
    if let Some(to) = bytes.last_chunk_mut::<BLOCK>() {
        *to = last;
    }
    (all[0] | all[1] | all[2] | all[3]) & 0x8080_8080_8080_8080 == 0
}

#[inline(always)]
fn xor(block: &mut [u8; BLOCK], key: u64, all: &mut [u64; BLOCK / 8]) {
    for (word, all) in block.chunks_exact_mut(8).zip(all) {
        if let Some(word) = word.first_chunk_mut::<8>() {
            let clear = u64::from_ne_bytes(*word) ^ key;
            *all |= clear;
            *word = clear.to_ne_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// The naive twin, as RFC 6455 section 5.3 puts it.
    fn naive(bytes: &mut [u8], key: [u8; 4], offset: usize) -> bool {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte ^= key[(offset + i) % 4];
        }
        bytes.is_ascii()
    }

    #[test]
    fn f23_every_length_at_every_alignment_and_key_offset_equals_the_naive_loop() {
        let source: Vec<u8> = (0..300u32).map(|i| (i * 89 + 7) as u8).collect();
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for start in 0..32 {
            for len in (0..=70).chain([127, 128, 129, 200, 255, 256]) {
                for offset in 0..4 {
                    let mut fast = source.clone();
                    let mut slow = source.clone();
                    let ascii = unmask(&mut fast[start..start + len], Key::new(key).after(offset));
                    assert_eq!(ascii, naive(&mut slow[start..start + len], key, offset), "{start} {len} {offset}");
                    assert_eq!(fast, slow, "{start} {len} {offset}");
                }
            }
        }
    }

    #[test]
    fn one_byte_that_is_not_ascii_is_seen_wherever_it_stands() {
        for len in 1..100 {
            for at in 0..len {
                let mut bytes = std::vec![b'a'; len];
                bytes[at] = 0x80;
                assert!(!unmask(&mut bytes, Key::new([0; 4])), "{len} {at}");
            }
            assert!(unmask(&mut std::vec![0x7f; len], Key::new([0; 4])));
        }
    }

    proptest! {
        #[test]
        fn masking_in_pieces_equals_masking_the_whole(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            key: [u8; 4],
            cut in 0usize..300,
        ) {
            let cut = cut.min(bytes.len());
            let (mut whole, mut pieces) = (bytes.clone(), bytes.clone());
            apply(&mut whole, Key::new(key));
            apply(&mut pieces[..cut], Key::new(key));
            apply(&mut pieces[cut..], Key::new(key).after(cut));
            prop_assert_eq!(&whole, &pieces);
            apply(&mut whole, Key::new(key));
            prop_assert_eq!(whole, bytes);
        }
    }
}
