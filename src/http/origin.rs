//! Which web pages may connect: the Origin header (RFC 6454, RFC 6455 section 10.2).
//!
//! A browser says from which origin the page came that opens a connection, and sends the user's cookies along whatever that
//! origin is. A server that serves users by cookie has to look at it. Other clients send none, or what they like.

use crate::http::upgrade::trim;
use crate::http::url::Scheme;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv6Addr;

/// Which origins are let in. A request without an Origin header always is: no web page sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OriginPolicy {
    /// The origin must be the listener's own: its scheme, and the host and port that the request's Host header names.
    ///
    /// Behind a proxy that ends TLS the listener's scheme is not the one that the page sees: list the public origin then.
    #[default]
    Same,
    /// The origin must be one of these. See [`listed`](Self::listed).
    Listed(Vec<Origin>),
    /// Any page in the world may connect, in the name of its visitor.
    Any,
}

impl OriginPolicy {
    /// The policy that lets in these origins (`https://example.com`, `http://localhost:8080`, `null`); with none, the policy
    /// [`Same`](Self::Same).
    ///
    /// # Errors
    /// The first that is no origin.
    pub fn listed<'a>(origins: impl IntoIterator<Item = &'a str>) -> Result<Self, OriginError> {
        let origins = origins.into_iter().map(Origin::parse).collect::<Result<Vec<_>, _>>()?;
        Ok(if origins.is_empty() { Self::Same } else { Self::Listed(origins) })
    }

    /// Whether the page of `origin` may talk to the server that it called `host`, over a listener that speaks `scheme`.
    ///
    /// Two origins are the same if scheme, host and port are; scheme and host are compared in any case, and the default port
    /// may be written out or not. Everything else is compared byte for byte; white space around both is no part of them.
    /// O(origins listed). Allocates nothing.
    ///
    /// `host` is taken to be the Host of a request that was parsed: with one that is no host, an origin that is none can be the
    /// same. [`Cors`](super::cors::Cors), which echoes the origin, looks at it once more.
    ///
    /// # Errors
    /// The refusal to answer with.
    #[inline]
    pub fn check(&self, scheme: Scheme, origin: &[u8], host: &[u8]) -> Result<(), OriginRefusal> {
        match self {
            Self::Same if is_spelled_alike(scheme, origin, host) => Ok(()),
            _ => self.check_slowly(scheme, origin, host),
        }
    }

    /// As `check`, which has seen to what nearly every browser sends.
    #[inline(never)]
    fn check_slowly(&self, scheme: Scheme, origin: &[u8], host: &[u8]) -> Result<(), OriginRefusal> {
        match self {
            Self::Any => Ok(()),
            Self::Listed(origins) if origins.iter().any(|listed| listed.matches(origin)) => Ok(()),
            Self::Listed(origins) if !origins.is_empty() => Err(OriginRefusal::NotListed),
            // An empty list is possible only by naming the variant; it means what `listed` makes of it.
            Self::Same | Self::Listed(_) if is_same(scheme, origin, host) => Ok(()),
            Self::Same | Self::Listed(_) => Err(OriginRefusal::NotSame),
        }
    }
}

/// Whether `origin` is `http://` or `https://` and then `host` to the byte, as in nearly every request of a browser.
#[inline(always)]
fn is_spelled_alike(scheme: Scheme, origin: &[u8], host: &[u8]) -> bool {
    let page = if scheme.is_secure() { origin.strip_prefix(b"https://") } else { origin.strip_prefix(b"http://") };
    page == Some(host) && host.first().is_some_and(u8::is_ascii_alphanumeric)
}

/// An Origin header as text, if it is an origin: `null`, or what [`Parts::parse`] takes, which is ASCII without control characters.
pub(crate) fn serialized(header: &[u8]) -> Option<&str> {
    let origin = trim(header);
    let sound = origin == Origin::NULL.as_bytes() || Parts::parse(origin).is_some();
    if sound { core::str::from_utf8(origin).ok() } else { None }
}

/// Whether `origin` means the host and port that `host` means, however they are written.
#[cold]
fn is_same(scheme: Scheme, origin: &[u8], host: &[u8]) -> bool {
    Parts::parse(trim(origin)).is_some_and(|page| page.is_at(scheme, host))
}

/// Why an origin may not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OriginRefusal {
    /// It is not the listener's own, and no origins are listed.
    NotSame,
    /// It is not among those listed.
    NotListed,
}

impl OriginRefusal {
    /// The status code of the answer: 403.
    pub fn status(self) -> u16 {
        403
    }

    /// What is wrong, as a sentence for the person at the other end. ASCII.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotSame => {
                "the Origin header does not match this server's scheme, host and port; \
                behind a proxy that terminates TLS the server has to list its public origin as allowed"
            }
            Self::NotListed => {
                "the Origin header is not among the origins that this server allows; \
                behind a proxy that terminates TLS its public origin has to be listed, https:// included"
            }
        }
    }
}

impl fmt::Display for OriginRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for OriginRefusal {}

/// An origin as a browser writes it: scheme, host, and the port where it is not the scheme's default; or `null`.
#[derive(Clone, PartialEq, Eq, Hash)]
// INVARIANT: lower case, no default port, canonical IPv6; what `Parts::parse` takes, or `null`.
pub struct Origin(String);

impl Origin {
    /// The origin of sandboxed pages, local files and many redirects. Anyone can make such a page.
    const NULL: &'static str = "null";

    /// Parses `scheme://host` or `scheme://host:port`, or `null`.
    ///
    /// # Errors
    /// [`OriginError`], also for a path, be it only a trailing slash: origins have none, and what is listed by mistake would
    /// never match.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        if text == Self::NULL {
            return Ok(Self(text.to_string()));
        }
        let parts = Parts::parse(text.as_bytes()).ok_or(OriginError)?;
        let scheme = core::str::from_utf8(parts.scheme).map_err(|_| OriginError)?;
        let host = core::str::from_utf8(parts.host).map_err(|_| OriginError)?;
        let mut origin = scheme.to_ascii_lowercase();
        origin.push_str("://");
        match host.strip_prefix('[') {
            Some(_) => {
                let address: Ipv6Addr = host.trim_matches(['[', ']']).parse().map_err(|_| OriginError)?;
                origin.push_str(&alloc::format!("[{address}]"));
            }
            None => origin.push_str(&host.to_ascii_lowercase()),
        }
        if let Some(port) = parts.port.filter(|_| parts.port != default_port(scheme.as_bytes())) {
            origin.push_str(&alloc::format!(":{port}"));
        }
        Ok(Self(origin))
    }

    /// The origin's serialization (RFC 6454 section 6.2).
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an Origin header says this.
    #[inline]
    pub(crate) fn matches(&self, header: &[u8]) -> bool {
        header == self.0.as_bytes() || self.matches_parts(trim(header))
    }

    /// As `matches`, for headers that are not written as browsers do.
    fn matches_parts(&self, header: &[u8]) -> bool {
        match (Parts::parse(self.0.as_bytes()), Parts::parse(header)) {
            (Some(ours), Some(theirs)) => ours.same(&theirs),
            _ => false,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::str::FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        Self::parse(text)
    }
}

/// Not an origin: `scheme://host`, `scheme://host:port` or `null`, with nothing before or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OriginError;

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an origin: scheme://host, scheme://host:port or null, without a path or a trailing slash")
    }
}

impl core::error::Error for OriginError {}

/// An origin taken apart, as it is written.
struct Parts<'a> {
    scheme: &'a [u8],
    host: &'a [u8],
    /// The port that is meant: written out, or the scheme's default.
    port: Option<u16>,
}

impl<'a> Parts<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        // Nearly always one of these two; other schemes have pages too (extensions, apps).
        let (scheme, rest) = match text {
            [b'h', b't', b't', b'p', b's', b':', b'/', b'/', rest @ ..] => (&text[..5], rest),
            [b'h', b't', b't', b'p', b':', b'/', b'/', rest @ ..] => (&text[..4], rest),
            _ => {
                let end = text.windows(3).position(|three| three == b"://")?;
                (&text[..end], &text[end + 3..])
            }
        };
        let [b'a'..=b'z' | b'A'..=b'Z', others @ ..] = scheme else { return None };
        if !others.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
            return None;
        }
        let (host, port) = split_authority(rest)?;
        let default = default_port(scheme);
        // Schemes without a port, such as `file`, may come without a host.
        if host.is_empty() && default.is_some() {
            return None;
        }
        Some(Self { scheme, host, port: port.or(default) })
    }

    fn same(&self, other: &Parts<'_>) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.port == other.port
            && self.host.eq_ignore_ascii_case(other.host)
    }

    /// Whether this is the origin of the server that speaks `scheme` and was called `host`.
    fn is_at(&self, scheme: Scheme, host: &[u8]) -> bool {
        let expected: &[u8] = if scheme.is_secure() { b"https" } else { b"http" };
        if !self.scheme.eq_ignore_ascii_case(expected) {
            return false;
        }
        let Some((host, port)) = split_authority(trim(host)) else { return false };
        self.host.eq_ignore_ascii_case(host) && self.port == port.or(Some(scheme.default_port()))
    }
}

/// The default port of the schemes that have one here.
fn default_port(scheme: &[u8]) -> Option<u16> {
    match scheme.len() {
        4 if scheme.eq_ignore_ascii_case(b"http") => Some(80),
        5 if scheme.eq_ignore_ascii_case(b"https") => Some(443),
        _ => None,
    }
}

/// `host` or `host:port`: the host with its brackets, and the port if one is written out.
fn split_authority(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let (host, rest) = match authority {
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|byte| !HOST[*byte as usize] && *byte != b':')?;
            if rest[end] != b']' {
                return None;
            }
            authority.split_at(end + 2)
        }
        _ => {
            let end = authority.iter().position(|&byte| !HOST[byte as usize]).unwrap_or(authority.len());
            authority.split_at(end)
        }
    };
    match rest {
        [] => Some((host, None)),
        [b':', digits @ ..] => Some((host, Some(parse_port(digits)?))),
        _ => None,
    }
}

/// A port in decimal: one to five digits, at most 65535.
pub(crate) fn parse_port(digits: &[u8]) -> Option<u16> {
    if !(1..=5).contains(&digits.len()) {
        return None;
    }
    let port = digits
        .iter()
        .try_fold(0, |port: u32, &digit| digit.is_ascii_digit().then(|| port * 10 + u32::from(digit - b'0')))?;
    u16::try_from(port).ok()
}

/// The bytes of a host name: RFC 3986's unreserved ones and those that a registered name may hold besides.
const HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+,;=%";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(scheme: Scheme, origin: &str, host: &str) -> bool {
        OriginPolicy::Same.check(scheme, origin.as_bytes(), host.as_bytes()).is_ok()
    }

    fn listed(origins: &[&str], origin: &str) -> bool {
        let policy = OriginPolicy::listed(origins.iter().copied()).unwrap();
        policy.check(Scheme::Https, origin.as_bytes(), b"example.com").is_ok()
    }

    #[test]
    fn default_ports_may_be_written_out_on_either_side() {
        for (scheme, origin, host) in [
            (Scheme::Http, "http://example.com", "example.com"),
            (Scheme::Http, "http://example.com", "example.com:80"),
            (Scheme::Http, "http://example.com:80", "example.com"),
            (Scheme::Https, "https://example.com", "example.com:443"),
            (Scheme::Https, "https://example.com:8443", "example.com:8443"),
            (Scheme::Http, "http://[::1]:8080", "[::1]:8080"),
            (Scheme::Http, "http://[::1]", "[::1]:80"),
            (Scheme::Http, "HTTP://Example.COM", "example.com"),
            (Scheme::Http, "http://localhost", "LOCALHOST"),
            (Scheme::Wss, "https://example.com", "example.com"),
        ] {
            assert!(same(scheme, origin, host), "{scheme:?} {origin} {host}");
        }
    }

    #[test]
    fn h22_neighbours_of_the_own_origin_are_refused() {
        for (scheme, origin, host) in [
            (Scheme::Https, "https://example.com.evil.io", "example.com"),
            (Scheme::Https, "https://evilexample.com", "example.com"),
            (Scheme::Https, "https://sub.example.com", "example.com"),
            (Scheme::Https, "https://example.com:444", "example.com"),
            (Scheme::Https, "https://example.com", "example.com:444"),
            (Scheme::Https, "https://example.com:80", "example.com"),
            (Scheme::Https, "http://example.com", "example.com"),
            (Scheme::Http, "https://example.com", "example.com"),
            (Scheme::Http, "http://example.com", "example.com:443"),
            (Scheme::Https, "null", "example.com"),
            (Scheme::Https, "null", "null"),
            (Scheme::Https, "", ""),
            (Scheme::Https, "https://", ""),
            (Scheme::Https, "https://:443", ":443"),
            (Scheme::Https, "https://example.com/", "example.com"),
            (Scheme::Https, "https://example.com", "example.com/"),
            (Scheme::Https, "https://example.com.", "example.com"),
            (Scheme::Https, "https://user@example.com", "example.com"),
            (Scheme::Https, "https://example.com:", "example.com"),
            (Scheme::Https, "https://example.com:0443x", "example.com"),
            (Scheme::Https, "https://example.com https://evil.io", "example.com"),
            (Scheme::Https, "wss://example.com", "example.com"),
            (Scheme::Https, "//example.com", "example.com"),
            (Scheme::Http, "http://[::1]", "[::2]"),
            (Scheme::Http, "http://::1", "::1"),
            (Scheme::Http, "http://[::1", "[::1"),
        ] {
            assert!(!same(scheme, origin, host), "{scheme:?} {origin} {host}");
        }
    }

    #[test]
    fn h22_a_listed_origin_is_matched_whole() {
        let ours = ["https://example.com", "http://localhost:8080", "https://[2001:DB8::1]"];
        for good in [
            "https://example.com",
            "https://EXAMPLE.com",
            "https://example.com:443",
            "http://localhost:8080",
            "https://[2001:db8::1]",
        ] {
            assert!(listed(&ours, good), "{good}");
        }
        for bad in [
            "https://example.com.evil.io",
            "https://evilexample.com",
            "https://example.com:444",
            "null",
            "http://example.com",
            "https://example.com/",
            "http://localhost",
            "http://localhost:80801",
            "https://[2001:db8::2]",
            "",
            "*",
            "https://example.comx",
            "https://example.com:4430",
            "https://xexample.com",
            "example.com",
        ] {
            assert!(!listed(&ours, bad), "{bad}");
        }
    }

    #[test]
    fn h22_null_is_let_in_only_where_it_is_listed_or_anything_is() {
        assert!(listed(&["null"], "null"));
        assert!(!listed(&["null"], "NULL"));
        assert!(!listed(&["https://null"], "null"));
        assert!(OriginPolicy::Any.check(Scheme::Http, b"null", b"example.com").is_ok());
    }

    #[test]
    fn with_none_listed_the_own_origin_is_meant() {
        assert_eq!(OriginPolicy::listed([]), Ok(OriginPolicy::Same));
        let empty = OriginPolicy::Listed(Vec::new());
        assert!(empty.check(Scheme::Http, b"http://a", b"a").is_ok());
        assert_eq!(empty.check(Scheme::Http, b"http://b", b"a"), Err(OriginRefusal::NotSame));
    }

    #[test]
    fn both_refusals_tell_of_the_proxy() {
        for refusal in [OriginRefusal::NotSame, OriginRefusal::NotListed] {
            assert!(refusal.text().contains("proxy that terminates TLS") && refusal.status() == 403);
        }
    }

    #[test]
    fn what_is_listed_is_an_origin_in_its_one_form() {
        for (text, canonical) in [
            ("HTTPS://Example.com:443", "https://example.com"),
            ("http://example.com:080", "http://example.com"),
            ("http://[0:0::1]:81", "http://[::1]:81"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
            ("file://", "file://"),
            ("null", "null"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().as_str(), canonical);
        }
        for bad in [
            "",
            "*",
            "example.com",
            "https://",
            "https://example.com/",
            "https://example.com/path",
            "https://a b",
            "https://a@b",
            "https://a:0x50",
            "https://a:65536",
            "https://a:",
            "1http://a",
            "https://[::g]",
            "https://[::1",
            "https://[::1]a",
            "https://\u{e9}.com",
            "https://a?b",
            "https://a#b",
            "https://a,https://b\n",
        ] {
            assert_eq!(Origin::parse(bad), Err(OriginError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_parsed_origin_matches_itself_and_parses_to_itself(text in "[a-zA-Z]{1,8}://[a-zA-Z0-9.-]{1,12}(:[0-9]{1,4})?") {
            let origin = Origin::parse(&text).unwrap();
            prop_assert!(origin.matches(text.as_bytes()));
            prop_assert_eq!(Origin::parse(origin.as_str()), Ok(origin));
        }

        #[test]
        fn what_is_spelled_alike_is_the_same(
            host in "[a-zA-Z0-9][a-zA-Z0-9.-]{0,8}(:[0-9]{1,4})?",
            other in "[a-zA-Z0-9][a-zA-Z0-9.-]{0,2}(:[0-9]{1,2})?",
            page in prop_oneof![Just("http://"), Just("https://")],
        ) {
            for scheme in [Scheme::Http, Scheme::Https] {
                for (origin, host) in [(&host, &host), (&host, &other), (&other, &other)] {
                    let origin = alloc::format!("{page}{origin}");
                    let alike = is_spelled_alike(scheme, origin.as_bytes(), host.as_bytes());
                    prop_assert!(!alike || is_same(scheme, origin.as_bytes(), host.as_bytes()));
                }
            }
        }

        #[test]
        fn junk_is_never_let_in(junk in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(OriginPolicy::Same.check(Scheme::Http, &junk, b"example.com").is_err());
            let policy = OriginPolicy::listed(["https://example.com"]).unwrap();
            prop_assert!(policy.check(Scheme::Http, &junk, b"example.com").is_err());
        }
    }
}
