//! Header fields to be written: what a name and a value may hold (RFC 9110 section 5).

use core::fmt;

/// Why a header field cannot be written. Nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldError {
    /// The name is empty or holds a byte that no token has.
    Name,
    /// The value holds a control character (CR, LF and NUL among them), or begins or ends with white space.
    Value,
    /// The field is the engine's own to write: what delimits messages and connections.
    Reserved,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "header name is no token",
            Self::Value => "header value with a control character or white space around it",
            Self::Reserved => "header field that the engine writes itself",
        })
    }
}

impl core::error::Error for FieldError {}

/// The fields that delimit messages and connections: the engine writes them, nobody else.
pub(crate) const FRAMING_FIELDS: [&str; 6] =
    ["content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "trailer"];

/// Whether `byte` may stand in a token: a method, a header name (RFC 9110 section 5.6.2).
#[inline]
pub(crate) const fn is_token(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// Whether `text` is `lower` (a literal in lower case) in any case. With the length known, this is a few words compared.
#[inline(always)]
pub(crate) fn is<const N: usize>(text: &[u8], lower: &[u8; N]) -> bool {
    let Ok(text) = <&[u8; N]>::try_from(text) else { return false };
    if N < 4 {
        return text.iter().zip(lower).fold(0, |differ, (byte, lower)| differ | (byte | fold(*lower)) ^ lower) == 0;
    }
    // Words of eight, or of four, the last of which ends where the text ends and so may overlap the one before.
    if N < 8 {
        let mut differ = 0;
        for from in [0, N - 4] {
            if let (Some(text), Some(lower)) = (text[from..].first_chunk(), lower[from..].first_chunk::<4>()) {
                let folds = u32::from_le_bytes(lower.map(fold));
                differ |= (u32::from_le_bytes(*text) | folds) ^ u32::from_le_bytes(*lower);
            }
        }
        return differ == 0;
    }
    let mut differ = 0;
    let mut at = 0;
    while at < N {
        let from = at.min(N - 8);
        if let (Some(text), Some(lower)) = (text[from..].first_chunk(), lower[from..].first_chunk::<8>()) {
            let folds = u64::from_le_bytes(lower.map(fold));
            differ |= (u64::from_le_bytes(*text) | folds) ^ u64::from_le_bytes(*lower);
        }
        at += 8;
    }
    differ == 0
}

/// The bit that a letter has in lower case and not in upper case; none for other bytes.
#[inline(always)]
const fn fold(lower: u8) -> u8 {
    if lower.is_ascii_lowercase() { 0x20 } else { 0 }
}

/// Checks a list of fields that an application wants to write, none of which may be among `reserved`. O(bytes).
pub(crate) fn check(fields: &[(&str, &str)], reserved: &[&str]) -> Result<(), FieldError> {
    for (name, value) in fields {
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(FieldError::Name);
        }
        let value = value.as_bytes();
        // Spaces around a value are no part of it (section 5.5): what comes out at the other end would differ.
        if value.iter().any(|b| is_control(*b)) || value.trim_ascii().len() != value.len() {
            return Err(FieldError::Value);
        }
        if reserved.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return Err(FieldError::Reserved);
        }
    }
    Ok(())
}

/// Whether `byte` is a control character that no header value has: all but the tab.
#[inline]
pub(crate) const fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7F
}

/// The bytes that [`Fill::put_fields`] will write.
#[inline]
pub(crate) fn len(fields: &[(&str, &str)]) -> usize {
    fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum()
}

/// A cursor that fills a slice of exactly the right length: see [`Output::space`](crate::Output::space).
pub(crate) struct Fill<'o> {
    left: &'o mut [u8],
}

impl<'o> Fill<'o> {
    #[inline]
    pub(crate) fn new(space: &'o mut [u8]) -> Self {
        Self { left: space }
    }

    /// Writes `bytes`, which have room: the space was measured beforehand.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let left = core::mem::take(&mut self.left);
        debug_assert!(left.len() >= bytes.len());
        let n = bytes.len().min(left.len());
        let (to, left) = left.split_at_mut(n);
        to.copy_from_slice(&bytes[..n]);
        self.left = left;
    }

    /// Writes each field as a line.
    #[inline]
    pub(crate) fn put_fields(&mut self, fields: &[(&str, &str)]) {
        for (name, value) in fields {
            self.put(name.as_bytes());
            self.put(b": ");
            self.put(value.as_bytes());
            self.put(b"\r\n");
        }
    }

    /// How many bytes are still to be written; zero when the measure was right.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.left.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_token_is_the_table_of_the_rfc() {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        assert!((0..=255).all(|b| is_token(b) == token(b)));
    }

    #[test]
    fn h25_fields_with_line_ends_or_controls_are_refused() {
        for value in ["a\rb", "a\nb", "a\r\nb: c", "a\0b", "\x01", "\x7f", " a", "a\t"] {
            assert_eq!(check(&[("x", value)], &[]), Err(FieldError::Value), "{value:?}");
        }
        for name in ["", "a b", "a:", "a\r\n", "é", "a\0"] {
            assert_eq!(check(&[(name, "v")], &[]), Err(FieldError::Name), "{name:?}");
        }
        assert_eq!(check(&[("Content-LENGTH", "5")], &FRAMING_FIELDS), Err(FieldError::Reserved));
        assert_eq!(check(&[("x", "a\tb é"), ("y", "")], &FRAMING_FIELDS), Ok(()));
    }

    #[test]
    fn is_compares_every_byte_in_any_case() {
        fn check<const N: usize>(lower: &[u8; N]) {
            assert!(is(lower, lower) && is(&lower.to_ascii_uppercase(), lower));
            assert!(!is(&lower[1..], lower) && !is(&[lower, &b"x"[..]].concat(), lower));
            for at in 0..N {
                for byte in 0..=255 {
                    let mut other = *lower;
                    other[at] = byte;
                    assert_eq!(is(&other, lower), other.eq_ignore_ascii_case(lower), "{at} {byte:#x}");
                }
            }
        }
        check(b"get");
        check(b"host");
        check(b"range");
        check(b"origin");
        check(b"upgrade");
        check(b"cookies-");
        check(b"websocket");
        check(b"content-length");
        check(b"sec-websocket-ke");
        check(b"sec-websocket-key");
        check(b"sec-websocket-extensions");
    }
}
