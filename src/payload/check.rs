//! The check of text between vectors of 32 bytes, in safe code.
//!
//! By the method of J. Keiser and D. Lemire, "Validating UTF-8 in less than one instruction per byte" (2021): three table look-ups by
//! the high and low half of a byte and the high half of the next one name what is wrong with the pair; a comparison with the bytes two
//! and three before says where a continuation must stand.

use super::leaf::avx2::{N, load, load_half};
use super::tables::{FIRST_HIGH, FIRST_LOW, MOST, SECOND_HIGH, TWO_CONTINUATIONS};
use core::arch::x86_64::*;

/// The check between two vectors.
pub(super) struct Checker {
    before: __m256i,
    errors: __m256i,
}

impl Checker {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new() -> Self {
        Self { before: _mm256_setzero_si256(), errors: _mm256_setzero_si256() }
    }

    /// Goes on with a vector that is all ASCII: only a character cut off before it can be wrong.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn ascii(&mut self, vector: __m256i) {
        let most = load(&MOST);
        self.errors = _mm256_or_si256(self.errors, _mm256_subs_epu8(self.before, most));
        self.before = vector;
    }

    /// Goes on with any vector.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn vector(&mut self, vector: __m256i) {
        let across = _mm256_permute2x128_si256::<0x21>(self.before, vector);
        let one_before = _mm256_alignr_epi8::<15>(vector, across);
        let two_before = _mm256_alignr_epi8::<14>(vector, across);
        let three_before = _mm256_alignr_epi8::<13>(vector, across);
        let half = _mm256_set1_epi8(0x0f);
        let first_high = _mm256_and_si256(_mm256_srli_epi16::<4>(one_before), half);
        let first_low = _mm256_and_si256(one_before, half);
        let second_high = _mm256_and_si256(_mm256_srli_epi16::<4>(vector), half);
        let wrong = _mm256_and_si256(
            _mm256_and_si256(
                _mm256_shuffle_epi8(table(&FIRST_HIGH), first_high),
                _mm256_shuffle_epi8(table(&FIRST_LOW), first_low),
            ),
            _mm256_shuffle_epi8(table(&SECOND_HIGH), second_high),
        );
        // Where the byte two before leads three or more, or the one three before leads four, a continuation must stand; there,
        // and only there, the look-up must have found two continuations in a row.
        let must = _mm256_or_si256(
            _mm256_subs_epu8(two_before, _mm256_set1_epi8(0xe0_u8.wrapping_sub(0x80) as i8)),
            _mm256_subs_epu8(three_before, _mm256_set1_epi8(0xf0_u8.wrapping_sub(0x80) as i8)),
        );
        let must = _mm256_and_si256(must, _mm256_set1_epi8(TWO_CONTINUATIONS as i8));
        self.errors = _mm256_or_si256(self.errors, _mm256_xor_si256(must, wrong));
        self.before = vector;
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn is_valid(&self) -> bool {
        _mm256_testz_si256(self.errors, self.errors) == 1
    }
}

/// Shuffle controls: a window at 16 + k moves 16 bytes by k places to the front, and fills up with zeros.
static SHIFTS: [u8; 48] = {
    let mut shifts = [0x80; 48];
    let mut i = 0;
    while i < 16 {
        shifts[16 + i] = i as u8;
        i += 1;
    }
    shifts
};

/// The last `count` bytes (fewer than [`N`]) of a vector, moved to its front, and zeros behind them.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn keep_end(vector: __m256i, count: usize) -> __m256i {
    let places = N - count;
    let each = _mm256_shuffle_epi8(vector, _mm256_broadcastsi128_si256(shift(16 + places.min(16))));
    let high = _mm256_extracti128_si256::<1>(vector);
    // From the high half into the low one: by `places - 16`, which is to the back where that is negative.
    let over = _mm_shuffle_epi8(high, shift(places));
    _mm256_or_si256(each, _mm256_zextsi128_si256(over))
}

/// The control in [`SHIFTS`] at `from` (0 to 32).
#[inline]
#[target_feature(enable = "avx2")]
fn shift(from: usize) -> __m128i {
    match SHIFTS.get(from..).and_then(|window| window.first_chunk()) {
        Some(window) => load_half(window),
        None => _mm_set1_epi8(-1),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn table(table: &[u8; 16]) -> __m256i {
    _mm256_broadcastsi128_si256(load_half(table))
}
