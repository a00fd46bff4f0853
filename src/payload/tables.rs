//! What the check of UTF-8 by vectors looks up.

/// The largest bytes that a vector may end with: beyond it a lead byte among the last three wants more bytes than follow.
pub(super) static MOST: [u8; 32] = {
    let mut most = [0xff; 32];
    [most[29], most[30], most[31]] = [0xef, 0xdf, 0xbf];
    most
};

/// A lead byte without a continuation.
const TOO_SHORT: u8 = 1;
/// A continuation after ASCII.
const TOO_LONG: u8 = 1 << 1;
/// E0 and a continuation below A0.
const OVERLONG_3: u8 = 1 << 2;
/// F4 and a continuation above 8F, or F5 and more with one above 8F.
const TOO_LARGE: u8 = 1 << 3;
/// ED and a continuation above 9F.
const SURROGATE: u8 = 1 << 4;
/// C0 or C1.
const OVERLONG_2: u8 = 1 << 5;
/// F0 and a continuation below 90, or F5 and more with one below 90.
const OVERLONG_4: u8 = 1 << 6;
/// Two continuations in a row: right only where a longer character wants it.
pub(super) const TWO_CONTINUATIONS: u8 = 1 << 7;
/// What the low half of a first byte says nothing about.
const ANY: u8 = TOO_SHORT | TOO_LONG | TWO_CONTINUATIONS;

/// What may be wrong with a pair, by the high half of its first byte.
pub(super) static FIRST_HIGH: [u8; 16] = {
    let mut table = [TOO_LONG; 16];
    table[0x8] = TWO_CONTINUATIONS;
    table[0x9] = TWO_CONTINUATIONS;
    table[0xa] = TWO_CONTINUATIONS;
    table[0xb] = TWO_CONTINUATIONS;
    table[0xc] = TOO_SHORT | OVERLONG_2;
    table[0xd] = TOO_SHORT;
    table[0xe] = TOO_SHORT | OVERLONG_3 | SURROGATE;
    table[0xf] = TOO_SHORT | TOO_LARGE | OVERLONG_4;
    table
};

/// By the low half of its first byte.
pub(super) static FIRST_LOW: [u8; 16] = {
    let mut table = [ANY | TOO_LARGE | OVERLONG_4; 16];
    table[0x0] = ANY | OVERLONG_2 | OVERLONG_3 | OVERLONG_4;
    table[0x1] = ANY | OVERLONG_2;
    table[0x2] = ANY;
    table[0x3] = ANY;
    table[0x4] = ANY | TOO_LARGE;
    table[0xd] = ANY | TOO_LARGE | OVERLONG_4 | SURROGATE;
    table
};

/// By the high half of its second byte.
pub(super) static SECOND_HIGH: [u8; 16] = {
    let mut table = [TOO_SHORT; 16];
    let continuation = TOO_LONG | OVERLONG_2 | TWO_CONTINUATIONS;
    table[0x8] = continuation | OVERLONG_3 | OVERLONG_4;
    table[0x9] = continuation | OVERLONG_3 | TOO_LARGE;
    table[0xa] = continuation | SURROGATE | TOO_LARGE;
    table[0xb] = continuation | SURROGATE | TOO_LARGE;
    table
};
