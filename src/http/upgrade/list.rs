//! Comma-separated lists of tokens and of extensions (RFC 9110 section 5.6.1, RFC 6455 section 9.1).
//!
//! Several header lines of one name are one list. Lines are kept as they lie in the head: nothing is copied, nothing is
//! allocated, and each byte is looked at twice at most, once to check the grammar and once by whoever reads the elements.

use crate::http::credentials::TOKEN_PROTOCOL;
use crate::http::field::is_token as is_tchar;
use core::fmt;

/// Header lines of one list-valued name that are taken; browsers send one. RFC 6455 allows several and sets no bound.
pub(crate) const MAX_LINES: usize = 4;

/// The header lines of one list-valued name, in order.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lines<'h> {
    lines: [&'h [u8]; MAX_LINES],
    count: usize,
}

impl<'h> Lines<'h> {
    /// Adds a line. Lines beyond the bound are counted and dropped, see [`all`](Self::all).
    #[inline]
    pub(crate) fn push(&mut self, line: &'h [u8]) {
        if let Some(slot) = self.lines.get_mut(self.count) {
            *slot = line;
        }
        self.count += 1;
    }

    /// Whether no line was dropped and all of them pass. True where there are none.
    #[inline(always)]
    pub(crate) fn all(&self, pass: impl Fn(&[u8]) -> bool) -> bool {
        match self.count {
            0 => true,
            // What nearly all requests have.
            1 => pass(self.lines[0]),
            count => self.lines.get(..count).is_some_and(|lines| lines.iter().all(|line| pass(line))),
        }
    }

    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'h [u8]> + use<'h> {
        self.lines.into_iter().take(self.count)
    }
}

/// Whether `bytes` are a token: one or more token characters.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    examined(bytes.len());
    !bytes.is_empty() && bytes.iter().all(|&byte| is_tchar(byte))
}

/// `bytes` without the spaces and tabs around them.
#[inline]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let mut trimmed = bytes;
    while let [b' ' | b'\t', rest @ ..] = trimmed {
        trimmed = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = trimmed {
        trimmed = rest;
    }
    examined(bytes.len() - trimmed.len() + 2);
    trimmed
}

/// Counts the bytes looked at, so that a test can hold the cost to be linear.
#[inline(always)]
fn examined(_bytes: usize) {
    #[cfg(all(test, feature = "std"))]
    tests::EXAMINED.with(|examined| examined.set(examined.get() + _bytes));
}

/// Whether the list in `line` has `token` among its elements, in any case. Linear.
pub(crate) fn has_token(line: &[u8], token: &[u8]) -> bool {
    examined(line.len());
    line.split(|&byte| byte == b',').any(|element| trim(element).eq_ignore_ascii_case(token))
}

/// Whether `line` is a list of tokens. Empty elements are passed over, as RFC 9110 section 5.6.1.2 asks of a recipient.
pub(crate) fn is_token_list(line: &[u8]) -> bool {
    examined(line.len());
    line.split(|&byte| byte == b',').map(trim).all(|element| element.is_empty() || is_token(element))
}

/// The elements of a list of tokens.
#[derive(Clone, Copy)]
pub struct Tokens<'h> {
    lines: Lines<'h>,
    line: usize,
    rest: &'h [u8],
}

impl<'h> Tokens<'h> {
    pub(crate) fn new(lines: Lines<'h>) -> Self {
        Self { lines, line: 0, rest: &[] }
    }
}

impl<'h> Iterator for Tokens<'h> {
    type Item = &'h str;

    fn next(&mut self) -> Option<&'h str> {
        loop {
            while self.rest.is_empty() {
                self.rest = self.lines.iter().nth(self.line)?;
                self.line += 1;
            }
            let end = self.rest.iter().position(|&byte| byte == b',').unwrap_or(self.rest.len());
            examined(end + 1);
            let element = trim(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            // Only tokens come through, whatever the lines hold; a token is ASCII.
            if is_token(element) {
                return core::str::from_utf8(element).ok();
            }
        }
    }
}

impl fmt::Debug for Tokens<'_> {
    /// Without credentials: see [`subprotocol`](crate::http::credentials::subprotocol).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |token| if str::starts_with(token, TOKEN_PROTOCOL) { TOKEN_PROTOCOL } else { token };
        f.debug_list().entries(self.map(shown)).finish()
    }
}

/// The extensions of one or several header lines, in order of preference (RFC 6455 section 9.1).
///
/// Read it once: an iteration is one pass over the lines, and stepping from one extension to the next parses its
/// parameters on the way.
#[derive(Clone, Copy)]
pub struct Extensions<'h> {
    lines: Lines<'h>,
    line: usize,
    rest: &'h [u8],
}

impl<'h> Extensions<'h> {
    pub(crate) fn new(lines: Lines<'h>) -> Self {
        Self { lines, line: 0, rest: &[] }
    }
}

impl<'h> Iterator for Extensions<'h> {
    type Item = Extension<'h>;

    fn next(&mut self) -> Option<Extension<'h>> {
        loop {
            while self.rest.is_empty() {
                self.rest = self.lines.iter().nth(self.line)?;
                self.line += 1;
            }
            match extension(self.rest) {
                Ok((found, rest)) => {
                    self.rest = rest;
                    if let Some(extension) = found {
                        return Some(extension);
                    }
                }
                // Lines were checked before they came here; a bad one ends the list rather than being guessed at.
                Err(Malformed) => {
                    (self.rest, self.line) = (&[], MAX_LINES);
                    return None;
                }
            }
        }
    }
}

impl fmt::Debug for Extensions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// One extension: its name and its parameters.
#[derive(Clone, Copy)]
pub struct Extension<'h> {
    name: &'h str,
    params: &'h [u8],
}

impl<'h> Extension<'h> {
    /// The extension's registered name.
    pub fn name(&self) -> &'h str {
        self.name
    }

    /// The parameters, in order. Repeated ones are all there: whether that is an error is the extension's business.
    pub fn params(&self) -> Params<'h> {
        Params { rest: self.params }
    }
}

impl fmt::Debug for Extension<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extension").field("name", &self.name).field("params", &self.params()).finish()
    }
}

/// The parameters of one extension.
#[derive(Clone, Copy)]
pub struct Params<'h> {
    rest: &'h [u8],
}

impl<'h> Iterator for Params<'h> {
    type Item = Param<'h>;

    fn next(&mut self) -> Option<Param<'h>> {
        let (param, rest) = param(self.rest).ok().flatten()?;
        self.rest = rest;
        Some(param)
    }
}

impl fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// One parameter of an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'h> {
    /// The parameter's name.
    pub name: &'h str,
    /// Its value, where it has one.
    pub value: Option<Value<'h>>,
}

/// The value of a parameter: a token, given plainly or as a quoted string that unescapes to one.
#[derive(Clone, Copy)]
pub struct Value<'h> {
    /// Between the quotes, escapes and all.
    raw: &'h [u8],
}

impl<'h> Value<'h> {
    /// The value's bytes, unescaped; all are token characters.
    pub fn bytes(&self) -> impl Iterator<Item = u8> + use<'h> {
        // No token holds a backslash, and no escape of one unescapes to a token: each is the start of an escape.
        self.raw.iter().copied().filter(|&byte| byte != b'\\')
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl Eq for Value<'_> {}

impl PartialEq<str> for Value<'_> {
    fn eq(&self, other: &str) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl PartialEq<&str> for Value<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().try_for_each(|byte| fmt::Write::write_char(f, char::from(byte)))
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// What Chrome and Safari offer, and what Firefox does. Comparing once spares nearly all requests the grammar.
const BROWSERS: (&[u8; 42], &[u8; 18]) = (b"permessage-deflate; client_max_window_bits", b"permessage-deflate");

/// Whether `line` is a list of extensions. Empty elements are passed over. Linear.
#[inline]
pub(crate) fn is_extension_list(line: &[u8]) -> bool {
    *line == *BROWSERS.0 || *line == *BROWSERS.1 || keeps_extension_grammar(line)
}

fn keeps_extension_grammar(mut line: &[u8]) -> bool {
    while !line.is_empty() {
        match extension(line) {
            Ok((_, rest)) => line = rest,
            Err(Malformed) => return false,
        }
    }
    true
}

struct Malformed;

/// The first element of a list of extensions, if it is not empty, and what follows its comma.
fn extension(line: &[u8]) -> Result<(Option<Extension<'_>>, &[u8]), Malformed> {
    let line = skip_space(line);
    if let [b',', rest @ ..] = line {
        return Ok((None, rest));
    }
    if line.is_empty() {
        return Ok((None, line));
    }
    let (name, params) = token(line).ok_or(Malformed)?;
    let mut rest = skip_space(params);
    while let Some((_, after)) = param(rest)? {
        rest = after;
    }
    let params = &params[..params.len() - rest.len()];
    // `param` stops before a comma or at the end.
    Ok((Some(Extension { name, params }), rest.get(1..).unwrap_or_default()))
}

/// The next `; name[=value]`, and what follows it. `None` at a comma or at the end.
fn param(line: &[u8]) -> Result<Option<(Param<'_>, &[u8])>, Malformed> {
    let line = match skip_space(line) {
        [] | [b',', ..] => return Ok(None),
        [b';', rest @ ..] => skip_space(rest),
        _ => return Err(Malformed),
    };
    let (name, line) = token(line).ok_or(Malformed)?;
    let after = skip_space(line);
    let [b'=', rest @ ..] = after else {
        return Ok(Some((Param { name, value: None }, after)));
    };
    let rest = skip_space(rest);
    if let [b'"', rest @ ..] = rest {
        let (value, rest) = quoted(rest).ok_or(Malformed)?;
        return Ok(Some((Param { name, value: Some(value) }, skip_space(rest))));
    }
    let (value, rest) = token(rest).ok_or(Malformed)?;
    Ok(Some((Param { name, value: Some(Value { raw: value.as_bytes() }) }, skip_space(rest))))
}

/// The rest of a quoted string behind its opening quote, and what follows the closing one. "When using the quoted-string
/// syntax variant, the value after quoted-string unescaping MUST conform to the 'token' ABNF" (RFC 6455 section 9.1).
fn quoted(bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let mut at = 0;
    loop {
        examined(1);
        match *bytes.get(at)? {
            b'"' if at > 0 => return Some((Value { raw: &bytes[..at] }, &bytes[at + 1..])),
            b'\\' if is_tchar(*bytes.get(at + 1)?) => at += 2,
            byte if is_tchar(byte) => at += 1,
            _ => return None,
        }
    }
}

/// The token that `bytes` begin with, and what follows it.
fn token(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|&byte| !is_tchar(byte)).unwrap_or(bytes.len());
    examined(end + 1);
    let (token, rest) = bytes.split_at(end);
    // A token is ASCII.
    let token = core::str::from_utf8(token).ok().filter(|token| !token.is_empty())?;
    Some((token, rest))
}

fn skip_space(bytes: &[u8]) -> &[u8] {
    let mut skipped = bytes;
    while let [b' ' | b'\t', rest @ ..] = skipped {
        skipped = rest;
    }
    examined(bytes.len() - skipped.len() + 1);
    skipped
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    #[cfg(feature = "std")]
    std::thread_local! {
        pub(super) static EXAMINED: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
    }

    #[cfg(feature = "std")]
    #[test]
    fn h11_lists_of_any_shape_are_read_in_linear_time() {
        let spaces = " ".repeat(7000);
        let shapes = [
            spaces.clone(),
            format!("a{spaces}"),
            format!("a,{spaces},b"),
            format!("a;{spaces}b=c"),
            format!("a;b={spaces}c"),
            format!("a{spaces};b{spaces},c"),
            format!("a;b=\"{spaces}\""),
            ",".repeat(7000),
            " ,".repeat(3500),
            "a,".repeat(3500),
            "a;".repeat(3500),
            "a;b ".repeat(1750),
            "a;b=c,".repeat(1200),
            format!("a{}", ";b=\"\\c\"".repeat(1000)),
            "a".repeat(7000),
        ];
        for shape in shapes {
            let lines = lines(&[shape.as_bytes()]);
            EXAMINED.set(0);
            has_token(shape.as_bytes(), b"upgrade");
            lines.all(is_token_list);
            lines.all(is_extension_list);
            let tokens = Tokens::new(lines).map(str::len).sum::<usize>();
            let params = Extensions::new(lines).map(|extension| extension.params().count()).sum::<usize>();
            assert!(tokens + params <= shape.len());
            // Five readings, each of which looks at a byte four times at most.
            assert!(
                EXAMINED.get() <= 20 * shape.len(),
                "{} for {} bytes of {:.20}",
                EXAMINED.get(),
                shape.len(),
                shape
            );
        }
    }

    fn lines<'h>(all: &[&'h [u8]]) -> Lines<'h> {
        let mut lines = Lines::default();
        all.iter().for_each(|line| lines.push(line));
        lines
    }

    #[test]
    fn tokens_of_several_lines_are_one_list_and_empty_elements_vanish() {
        let lines = lines(&[b"a, ,b,", b"", b",c\t", b"  "]);
        assert_eq!(Tokens::new(lines).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn a_fifth_line_is_noticed() {
        let four = lines(&[&b"a"[..]; MAX_LINES]);
        let five = lines(&[&b"a"[..]; MAX_LINES + 1]);
        assert!(four.all(is_token_list) && !five.all(is_token_list));
        assert!(Lines::default().all(|_| false));
        assert_eq!(Tokens::new(five).count(), MAX_LINES);
    }

    #[test]
    fn extensions_have_names_parameters_and_quoted_values() {
        let lines = lines(&[
            b"permessage-deflate; client_max_window_bits; server_max_window_bits = \"1\\0\", x-a",
            b" x-b;q=1 ; r=\"tok\"\t;s",
        ]);
        let all: Vec<String> = Extensions::new(lines)
            .map(|extension| {
                let params = extension.params().map(|param| match param.value {
                    Some(value) => format!("{}={value}", param.name),
                    None => param.name.to_string(),
                });
                format!("{} {}", extension.name(), params.collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(
            all,
            ["permessage-deflate client_max_window_bits server_max_window_bits=10", "x-a ", "x-b q=1 r=tok s"]
        );
        let ten = Extensions::new(lines).next().and_then(|first| first.params().nth(1)).and_then(|param| param.value);
        assert!(ten.is_some_and(|value| value == "10"));
    }

    #[test]
    fn what_breaks_the_extension_grammar_is_not_a_list() {
        for good in ["", ",", "a", " a ;b ", "a;b=c,d", "a;b=\"c\"", ",a,,b,", "a;b= c", "__proto__"] {
            assert!(is_extension_list(good.as_bytes()), "{good:?}");
        }
        for bad in [
            ";",
            "a;",
            "a;;b",
            "a b",
            "a;b=",
            "a;b=\"\"",
            "a;b=\"c",
            "a;b=\"c d\"",
            "a;b=\"\\\"\"",
            "a;b=c d",
            "a=b",
            "\"a\"",
            "a;b=\"c\"d",
            "a;\u{e9}",
            "a\0",
        ] {
            assert!(!is_extension_list(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn what_the_browsers_offer_passes_the_grammar_without_the_short_cut() {
        assert!(keeps_extension_grammar(BROWSERS.0) && keeps_extension_grammar(BROWSERS.1));
    }

    #[test]
    fn token_lists_hold_tokens_only() {
        for good in ["", "a", "a,b", " a , b ", ",,a"] {
            assert!(is_token_list(good.as_bytes()), "{good:?}");
        }
        for bad in ["a b", "a;b", "\"a\"", "a,\u{e9}", "a/b", "a\0b"] {
            assert!(!is_token_list(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn a_token_is_found_in_any_case_but_never_in_part() {
        assert!(has_token(b"keep-alive, UPGRADE", b"upgrade"));
        assert!(has_token(b",upgrade ,", b"upgrade"));
        for without in ["", "upgrades", "up grade", "keep-alive", "x-upgrade", "upgrade;q=1"] {
            assert!(!has_token(without.as_bytes(), b"upgrade"), "{without:?}");
        }
    }
}
