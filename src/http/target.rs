//! The query part of a request target, percent-decoding included (RFC 3986 section 2.1, WHATWG URL's form encoding).

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Why a part of a target has no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A `%` without two hexadecimal digits behind it.
    Percent,
    /// The decoded bytes are not UTF-8.
    Utf8,
}

impl DecodeError {
    /// The status that answers it: 400.
    pub const fn status(self) -> u16 {
        400
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Percent => "percent sign without two hexadecimal digits",
            Self::Utf8 => "percent-decoded bytes are not UTF-8",
        })
    }
}

impl core::error::Error for DecodeError {}

/// What `+` stands for in the part that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plus {
    /// Itself, as in a path.
    Plus,
    /// A space, as in a query (form encoding).
    Space,
}

/// Percent-decodes `text`. Borrowed where there is nothing to decode; O(n).
pub fn decode(text: &str, plus: Plus) -> Result<Cow<'_, str>, DecodeError> {
    let coded = |b: &u8| *b == b'%' || (*b == b'+' && plus == Plus::Space);
    let Some(first) = text.as_bytes().iter().position(coded) else {
        return Ok(Cow::Borrowed(text));
    };
    let (plain, rest) = text.as_bytes().split_at(first);
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(plain);
    let mut rest = rest.iter();
    while let Some(&byte) = rest.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|b| (*b as char).to_digit(16)).ok_or(DecodeError::Percent);
                (digit()? << 4 | digit()?) as u8
            }
            b'+' if plus == Plus::Space => b' ',
            byte => byte,
        });
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| DecodeError::Utf8)
}

/// The pairs of a query, in order: `a=1&b` gives `("a", "1")`, `("b", "")`. Empty pieces (`&&`) are passed over.
///
/// Each pair is decoded when it is asked for; one that cannot be decoded is an error of its own and the next follows.
#[derive(Clone, Debug)]
pub struct Query<'h> {
    rest: &'h str,
}

impl<'h> Query<'h> {
    /// The pairs of `query`, the part of a target behind the first `?`.
    pub const fn new(query: &'h str) -> Self {
        Self { rest: query }
    }

    /// The value of the first pair called `name`; an error where that value, or a name before it, cannot be decoded.
    /// O(query).
    pub fn get(mut self, name: &str) -> Result<Option<Cow<'h, str>>, DecodeError> {
        self.find_map(|pair| match pair {
            Ok((key, value)) => (key == name).then_some(Ok(value)),
            Err(e) => Some(Err(e)),
        })
        .transpose()
    }
}

impl<'h> Iterator for Query<'h> {
    type Item = Result<(Cow<'h, str>, Cow<'h, str>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let (piece, rest) = self.rest.split_once('&').unwrap_or((self.rest, ""));
            self.rest = rest;
            if piece.is_empty() {
                continue;
            }
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            let name = decode(name, Plus::Space);
            return Some(name.and_then(|name| Ok((name, decode(value, Plus::Space)?))));
        }
    }
}

/// The undecoded values of a query's pairs of that name, which itself is in need of no coding. A broken pair elsewhere in the query is
/// nobody's concern here.
pub(crate) fn raw_values<'q, 'n>(query: &'q str, name: &'n str) -> impl Iterator<Item = &'q str> + use<'q, 'n> {
    query.split('&').filter_map(move |pair| match pair.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (pair == name).then_some(""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(query: &str) -> Vec<Result<(String, String), DecodeError>> {
        Query::new(query).map(|pair| pair.map(|(name, value)| (name.into_owned(), value.into_owned()))).collect()
    }

    fn pair(name: &str, value: &str) -> Result<(String, String), DecodeError> {
        Ok((name.into(), value.into()))
    }

    #[test]
    fn pairs_are_decoded_and_plus_is_a_space() {
        assert_eq!(pairs("a=1&b&&c=%C3%A9+x=y&=v"), [pair("a", "1"), pair("b", ""), pair("c", "é x=y"), pair("", "v")]);
        assert!(pairs("").is_empty());
        assert!(pairs("&&&").is_empty());
    }

    #[test]
    fn a_bad_pair_is_an_error_of_its_own() {
        assert_eq!(
            pairs("a=%zz&b=%&c=%4&d=%ff&e=1"),
            [
                Err(DecodeError::Percent),
                Err(DecodeError::Percent),
                Err(DecodeError::Percent),
                Err(DecodeError::Utf8),
                pair("e", "1")
            ]
        );
    }

    #[test]
    fn the_first_pair_of_a_name_wins() {
        let query = Query::new("t=a&t=b&x=%");
        assert_eq!(query.clone().get("t"), Ok(Some("a".into())));
        assert_eq!(query.clone().get("x"), Err(DecodeError::Percent));
        assert_eq!(Query::new("t=a").get("none"), Ok(None));
    }

    #[test]
    fn raw_values_are_those_of_the_whole_name_as_they_stand() {
        let values: Vec<&str> = raw_values("a=1&ab=2&a&%61=3&b=%zz&a=%2B=&A=4&&a=", "a").collect();
        assert_eq!(values, ["1", "", "%2B=", ""]);
        assert_eq!(raw_values("", "a").count(), 0);
    }

    #[test]
    fn a_path_keeps_its_plus_and_what_needs_no_decoding_is_borrowed() {
        assert_eq!(decode("/a+b%20c", Plus::Plus), Ok("/a+b c".into()));
        assert!(matches!(decode("/plain", Plus::Plus), Ok(Cow::Borrowed("/plain"))));
    }
}
