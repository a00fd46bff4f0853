//! Where a request carries credentials, and how to look at them: bearer tokens, cookies, tokens among subprotocols.
//!
//! What is found is a [`Secret`], which shows itself to nobody who does not ask by name, and compares in a time that tells nothing of
//! where two differ. Deciding whom it belongs to is the application's.

use crate::http::RequestHead;
use crate::http::upgrade::Tokens;
use alloc::borrow::Cow;
use core::fmt;
use core::hint::black_box;

/// What a subprotocol begins with that is no protocol but a token: browsers let a page set no other header of a WebSocket's request.
pub const TOKEN_PROTOCOL: &str = "tautline.token.";

/// A credential that a client sent. Untrusted text; never shown by `Debug` or `Display`, so that it gets into no log.
///
/// ```
/// use tautline::http::credentials::Secret;
/// let given = Secret::new("hunter2");
/// assert!(given.is("hunter2") && !given.is("hunter3"));
/// assert_eq!(format!("{given:?} {given}"), "Secret(..) [secret]");
/// ```
#[derive(Clone)]
pub struct Secret<'a>(Cow<'a, str>);

impl<'a> Secret<'a> {
    /// Text that is not to be shown.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, to look it up by or to hand it on.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is this secret, as [`same`] compares.
    pub fn is(&self, secret: &str) -> bool {
        same(self.0.as_bytes(), secret.as_bytes())
    }

    /// The secret with a text of its own, to be kept beyond the request.
    pub fn into_owned(self) -> Secret<'static> {
        Secret(Cow::Owned(self.0.into_owned()))
    }
}

impl PartialEq for Secret<'_> {
    /// As [`same`].
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for Secret<'_> {}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Display for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Compares in a time that tells nothing about where the two differ. (Their length it tells.) O(n).
pub fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let difference = a.iter().zip(b).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
    black_box(difference) == 0
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750 section 2.1). `None` where there is no such field, more than one of that name,
/// another scheme, or no token of printable ASCII without spaces. O(headers).
pub fn bearer<'h>(head: &'h RequestHead<'_>) -> Option<Secret<'h>> {
    let mut given = head.headers().all("authorization");
    let (Some(value), None) = (given.next(), given.next()) else { return None };
    // The scheme's name comes in any case, one or more spaces behind it (RFC 9110 sections 11.1 and 11.4).
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return None;
    }
    let token = core::str::from_utf8(token.trim_ascii_start()).ok()?;
    let sound = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then(|| Secret::new(token))
}

/// The value of a cookie (RFC 6265 section 4.2), in whichever `Cookie` field it stands, without the quotes around it. Names compare by
/// the letter. Of several of one name the first counts, which browsers send for the longest path. `None` where there is none, or its
/// value is not UTF-8. O(headers).
pub fn cookie<'h>(head: &'h RequestHead<'_>, name: &str) -> Option<Secret<'h>> {
    let value = head.headers().all("cookie").flat_map(|field| field.split(|byte| *byte == b';')).find_map(|pair| {
        let equals = memchr::memchr(b'=', pair)?;
        let (found, value) = pair.split_at(equals);
        (!name.is_empty() && found.trim_ascii() == name.as_bytes()).then(|| value[1..].trim_ascii())
    })?;
    let value = match value {
        [b'"', quoted @ .., b'"'] => quoted,
        _ => value,
    };
    core::str::from_utf8(value).ok().map(Secret::new)
}

/// The token among offered subprotocols ([`Upgrade::protocols`](crate::http::upgrade::Upgrade::protocols)): what stands behind
/// [`TOKEN_PROTOCOL`]. `None` where there is none, more than one, or nothing behind it. O(offers).
///
/// It must never be echoed. That answer is safe which names a protocol of the server's own, as
/// [`choose_protocol`](crate::http::upgrade::Upgrade::choose_protocol) does with a fixed list.
pub fn subprotocol(offered: Tokens<'_>) -> Option<Secret<'_>> {
    let mut tokens = offered.filter_map(|offer| offer.strip_prefix(TOKEN_PROTOCOL));
    match (tokens.next(), tokens.next()) {
        (Some(token), None) if !token.is_empty() => Some(Secret::new(token)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::upgrade::{Answer, Upgrade, UpgradeConfig};
    use crate::http::{HeadLimits, RequestReader};
    use crate::{Input, Output};
    use alloc::format;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    fn with<T>(fields: &[u8], look: impl FnOnce(&RequestHead<'_>) -> T) -> T {
        let mut bytes = [b"GET / HTTP/1.1\r\nHost: a\r\n", fields, b"\r\n"].concat();
        let mut input = Input::new(&mut bytes);
        look(&RequestReader::new().read(&HeadLimits::default(), &mut input).unwrap().unwrap())
    }

    fn bearer_of(fields: &str) -> Option<String> {
        with(fields.as_bytes(), |head| bearer(head).map(|token| token.expose().into()))
    }

    fn cookie_of(fields: &[u8], name: &str) -> Option<String> {
        with(fields, |head| cookie(head, name).map(|value| value.expose().into()))
    }

    #[test]
    fn a_bearer_token_is_read_in_any_case_of_the_scheme() {
        for field in ["Bearer abc", "bearer abc", "BEARER   abc", "Bearer abc  "] {
            assert_eq!(bearer_of(&format!("authorization: {field}\r\n")).as_deref(), Some("abc"), "{field}");
        }
        assert_eq!(bearer_of("Authorization: Bearer a-._~+/b==\r\n").as_deref(), Some("a-._~+/b=="));
    }

    #[test]
    fn what_is_no_single_bearer_token_is_none() {
        for fields in [
            "",
            "Authorization:\r\n",
            "Authorization: Bearer\r\n",
            "Authorization: Bearer \r\n",
            "Authorization: Bearerabc\r\n",
            "Authorization: Basic YTpi\r\n",
            "Authorization: Bearer a b\r\n",
            "Authorization: Bearer a\tb\r\n",
            "Authorization: Bearer \u{e9}\r\n",
            "Authorization: abc\r\n",
            "Authorization: Bearer a\r\nAuthorization: Bearer a\r\n",
            "Authorization: Bearer a\r\nAuthorization: Basic b\r\n",
            "Proxy-Authorization: Bearer a\r\n",
        ] {
            assert_eq!(bearer_of(fields), None, "{fields:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_in_any_field_and_the_first_of_its_name_counts() {
        let fields = b"Cookie: a=1; sid=\"x=y\"; b=\r\nCookie:  sid=2;c = 3 ;d\r\ncookie: e=\"\r\nCookie: f=\"\"\r\n";
        let expected: [(&str, Option<&str>); 12] = [
            ("a", Some("1")),
            ("sid", Some("x=y")),
            ("b", Some("")),
            ("c", Some("3")),
            ("d", None),
            ("e", Some("\"")),
            ("f", Some("")),
            ("A", None),
            ("si", None),
            ("id", None),
            ("", None),
            ("sid=", None),
        ];
        for (name, value) in expected {
            assert_eq!(cookie_of(fields, name).as_deref(), value, "{name}");
        }
        // No value of another name stands in for one that cannot be read.
        assert_eq!(cookie_of(b"Cookie: s=\xff; s=1\r\n", "s"), None);
        assert_eq!(cookie_of(b"Cookie: =1; ;;=\r\nCookie:\r\n", ""), None);
    }

    #[test]
    fn comparing_finds_every_difference() {
        let secret = *b"0123456789abcdef";
        assert!(same(&secret, &secret) && same(b"", b""));
        for at in 0..secret.len() {
            for bit in 0..8 {
                let mut other = secret;
                other[at] ^= 1 << bit;
                assert!(!same(&secret, &other) && !same(&other, &secret));
            }
            assert!(!same(&secret, &secret[..at]) && !same(&secret[..at], &secret));
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("hunter2");
        let shown = format!("{secret} {secret:?} {secret:#?} {:>40}", secret.clone().into_owned());
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(secret == Secret::new("hunter2".to_string()) && secret != Secret::new("hunter"));
    }

    #[test]
    fn a_token_among_subprotocols_is_found_and_neither_echoed_nor_shown() {
        let offer = |offers: &str| {
            let fields = format!(
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {offers}\r\n"
            );
            with(fields.as_bytes(), |head| {
                let upgrade = Upgrade::check_head(&UpgradeConfig::default(), head).unwrap();
                let token = subprotocol(upgrade.protocols()).map(|token| String::from(token.expose()));
                let protocol = upgrade.choose_protocol(&["tautline"]);
                let mut out = Output::new();
                upgrade.accept(Answer { protocol, ..Answer::default() }).unwrap().write(&mut out).unwrap();
                let answer: Vec<u8> = out.chunks().flatten().copied().collect();
                assert!(!String::from_utf8(answer).unwrap().contains("s3cret"));
                assert!(!format!("{upgrade:?} {:?}", upgrade.protocols()).contains("s3cret"));
                (protocol.is_some(), token)
            })
        };
        assert_eq!(offer("tautline, tautline.token.s3cret"), (true, Some("s3cret".into())));
        assert_eq!(offer("tautline.token.s3cret.x , tautline"), (true, Some("s3cret.x".into())));
        assert_eq!(offer("tautline.token.s3cret"), (false, Some("s3cret".into())));
        assert_eq!(offer("tautline.token.s3cret, tautline.token.s3cret"), (false, None));
        assert_eq!(offer("tautline, tautline.token."), (true, None));
        assert_eq!(offer("tautline, tautline.tokenx, x.tautline.token.y"), (true, None));
    }
}
