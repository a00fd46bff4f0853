//! `Sec-WebSocket-Key` and `Sec-WebSocket-Accept` (RFC 6455 sections 1.3 and 4.2.2).

use super::list::trim;
use sha1::block_api::compress;

/// Length of a key: base64 of 16 bytes.
pub const KEY_LEN: usize = 24;

/// Length of an accept value: base64 of a SHA-1 digest, 20 bytes.
pub const ACCEPT_LEN: usize = 28;

/// What a server appends to the key before it hashes: the GUID of RFC 6455 section 1.3.
const GUID: &[u8; 36] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The initial state of SHA-1 (FIPS 180-4 section 5.3.1).
const SHA1_START: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// The two SHA-1 blocks of key and GUID, padded, with the key's place left empty. The message has 60 bytes always, so the
/// padding is known: a one bit, zeros, and the length in bits.
const BLOCKS: [[u8; 64]; 2] = {
    let mut blocks = [[0; 64]; 2];
    let mut at = 0;
    while at < GUID.len() {
        blocks[0][KEY_LEN + at] = GUID[at];
        at += 1;
    }
    blocks[0][KEY_LEN + GUID.len()] = 0x80;
    let bits = 8 * (KEY_LEN + GUID.len()) as u16;
    [blocks[1][62], blocks[1][63]] = bits.to_be_bytes();
    blocks
};

/// The value of `Sec-WebSocket-Accept` that answers `key`: base64(SHA-1(key + GUID)). Allocates nothing.
pub fn accept_value(key: &[u8; KEY_LEN]) -> [u8; ACCEPT_LEN] {
    let mut blocks = BLOCKS;
    blocks[0][..KEY_LEN].copy_from_slice(key);
    let mut state = SHA1_START;
    compress(&mut state, &blocks);
    let [a, b, c, d, e] = state;
    // The digest's 160 bits in groups of 24; two bits of zero fill up the last digit, and a sign of padding the last group.
    let groups = [a >> 8, a << 16 | b >> 16, b << 8 | c >> 24, c, d >> 8, d << 16 | e >> 16, e << 8];
    let mut accept = [0; ACCEPT_LEN];
    encode(&groups, &mut accept);
    accept[ACCEPT_LEN - 1] = b'=';
    accept
}

/// The key a client sends for `nonce`: 16 bytes that RFC 6455 section 4.1 wants random for each connection.
pub fn key_value(nonce: &[u8; 16]) -> [u8; KEY_LEN] {
    let mut groups = [0; KEY_LEN / 4];
    for (group, bytes) in groups.iter_mut().zip(nonce.chunks(3)) {
        let byte = |at: usize| u32::from(bytes.get(at).copied().unwrap_or(0));
        *group = byte(0) << 16 | byte(1) << 8 | byte(2);
    }
    let mut key = [0; KEY_LEN];
    encode(&groups, &mut key);
    key[KEY_LEN - 2..].fill(b'=');
    key
}

/// The key in `value`, white space around it aside, if it is base64 of exactly 16 bytes: 22 digits, the last of which holds
/// two bits only, and two signs of padding. Strict: no other alphabet, no bits left over.
#[inline]
pub(crate) fn parse_key(value: &[u8]) -> Option<&[u8; KEY_LEN]> {
    let key: &[u8; KEY_LEN] = if value.len() == KEY_LEN { value } else { trim(value) }.try_into().ok()?;
    let (digits, rest) = key.split_first_chunk::<21>()?;
    let mut ok = true;
    for &digit in digits {
        ok &= DIGIT[digit as usize];
    }
    (ok && matches!(rest, [b'A' | b'Q' | b'g' | b'w', b'=', b'='])).then_some(key)
}

/// Whether a byte is a digit of base64 (RFC 4648 section 4).
const DIGIT: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = matches!(byte as u8, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/');
        byte += 1;
    }
    table
};

/// The digits of base64 (RFC 4648 section 4).
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Four digits of base64 into `text` for the lower 24 bits of each group; padding is the caller's. For a number of groups known
/// where it is called this takes half the instructions of the general encoder, which are a tenth of a whole handshake's own.
#[inline(always)]
fn encode<const N: usize>(groups: &[u32; N], text: &mut [u8]) {
    for (group, four) in groups.iter().zip(text.chunks_exact_mut(4)) {
        let digit = |shift: u32| DIGITS[(group >> shift & 63) as usize];
        four.copy_from_slice(&[digit(18), digit(12), digit(6), digit(0)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use sha1::{Digest, Sha1};

    #[test]
    fn the_sample_key_of_rfc_6455_gets_its_sample_answer() {
        assert_eq!(&accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(&key_value(b"the sample nonce"), b"dGhlIHNhbXBsZSBub25jZQ==");
    }

    #[test]
    fn a_key_is_16_bytes_in_strict_base64() {
        for bad in [
            &b""[..],
            b"dGhlIHNhbXBsZSBub25jZQ=",
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZQ===",
            b"dGhlIHNhbXBsZSBub25j",     // 15 bytes
            b"dGhlIHNhbXBsZSBub25jZSE=", // 17 bytes
            b"dGhlIHNhbXBsZSBub25jZSEh", // 18 bytes
            b"dGhlIHNhbXBsZSBub25jZR==", // bits left over
            b"dGhlIHNhbXBsZSBub25j-Q==", // the URL alphabet
            b"dGhlIHNhbXBsZSBub25 ZQ==",
            b"dGhlIHNhbXBs=SBub25jZQ==",
            b"dGhlIHNhbXBsZSBub25jZQ=A",
        ] {
            assert!(parse_key(bad).is_none(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn the_accept_value_equals_the_plain_digest(nonce: [u8; 16]) {
            let key = key_value(&nonce);
            let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
            let mut accept = [0; ACCEPT_LEN];
            STANDARD.encode_slice(digest, &mut accept).unwrap();
            prop_assert_eq!(accept_value(&key), accept);
        }

        #[test]
        fn every_nonce_makes_a_key(nonce: [u8; 16]) {
            let mut naive = [0; KEY_LEN];
            STANDARD.encode_slice(nonce, &mut naive).unwrap();
            prop_assert_eq!(key_value(&nonce), naive);
            prop_assert!(parse_key(&naive).is_some());
        }

        #[test]
        fn the_key_check_equals_a_strict_decoder(nonce: [u8; 16], at in 0..KEY_LEN, byte: u8) {
            let mut key = key_value(&nonce);
            key[at] = byte;
            let mut decoded = [0; 18];
            // A white space at either end is trimmed, and what is left is too short.
            let naive = STANDARD.decode_slice(key, &mut decoded) == Ok(16);
            prop_assert_eq!(parse_key(&key).is_some(), naive);
        }
    }
}
