//! The URLs that a client connects to: `ws`, `wss`, `http` and `https`, taken apart and checked once.
//!
//! No general URL type: what is odd is refused, not repaired. International host names come in their ASCII form (`xn--`), and
//! whatever a path cannot hold comes percent-encoded.

use crate::http::origin::parse_port;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::fmt;
use core::net::Ipv6Addr;

/// The longest URL taken, in bytes: what RFC 9112 section 3 wants every recipient to take as a request line, and what our own
/// server takes.
pub const MAX_LEN: usize = 8000;

/// The longest host name of the DNS in text form (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 253;

/// How a connection begins: with HTTP or with a WebSocket, in clear or over TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP in clear, port 80.
    #[default]
    Http,
    /// HTTP over TLS, port 443.
    Https,
    /// WebSocket in clear, port 80.
    Ws,
    /// WebSocket over TLS, port 443.
    Wss,
}

impl Scheme {
    /// The scheme as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// Whether TLS comes first.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Https | Self::Wss)
    }

    /// Whether it opens a WebSocket.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// The port where a URL names none.
    pub const fn default_port(self) -> u16 {
        if self.is_secure() { 443 } else { 80 }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https, Self::Ws, Self::Wss]
            .into_iter()
            .find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A URL to connect to. `Display` and `Debug` show no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    scheme: Scheme,
    /// Host in lower case, IPv6 canonical and in brackets; behind it the port, where it is not the scheme's default.
    authority: String,
    host_len: usize,
    port: u16,
    /// Path and query, beginning with a slash.
    target: String,
    credentials: Option<UserInfo>,
}

/// User and password, percent-decoded.
#[derive(Clone, PartialEq, Eq)]
struct UserInfo {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl Url {
    /// Parses an absolute URL: `scheme://[user[:password]@]host[:port][/path][?query]`.
    ///
    /// User info without user and password is none, and an empty port means the scheme's own (RFC 3986 section 3.2.3).
    /// Dot segments of the path are resolved. A fragment of an `http` or `https` URL is dropped, as it never leaves a client.
    ///
    /// # Errors
    /// What part is wrong. A fragment in a `ws` or `wss` URL is one ("Fragment identifiers are meaningless in the context of
    /// WebSocket URIs and MUST NOT be used on these URIs", RFC 6455 section 3).
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > MAX_LEN {
            return Err(UrlError::TooLong);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = Scheme::parse(scheme).ok_or(UrlError::Scheme)?;
        let (rest, fragment) = split_fragment(rest);
        if fragment.is_some() && scheme.is_websocket() {
            return Err(UrlError::Fragment);
        }
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (credentials, host_port) = match authority.rsplit_once('@') {
            Some((user_info, host_port)) => (UserInfo::parse(user_info)?, host_port),
            None => (None, authority),
        };
        let (mut authority, port) = parse_host(host_port)?;
        let host_len = authority.len();
        let port = port.unwrap_or(scheme.default_port());
        if port != scheme.default_port() {
            authority.push_str(&format!(":{port}"));
        }
        Ok(Self { scheme, authority, host_len, port, target: parse_target(target)?, credentials })
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host to look up or connect to, in lower case; an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        let host = &self.authority[..self.host_len];
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and, where it is not the scheme's default, port: the value of the Host header. Never with user info.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query: the request's target.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path, beginning with a slash, as it is written (percent-encoded).
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// The query behind the question mark, where there is one.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The value of an Authorization header from the URL's user info (RFC 7617), where it has one. A secret.
    pub fn basic_authorization(&self) -> Option<String> {
        let UserInfo { user, password } = self.credentials.as_ref()?;
        let pair = [user, &b":"[..], password].concat();
        let mut encoded = alloc::vec![0; pair.len().div_ceil(3) * 4];
        let len = STANDARD.encode_slice(&pair, &mut encoded).ok()?;
        Some(format!("Basic {}", core::str::from_utf8(&encoded[..len]).ok()?))
    }

    /// Whether both have the same scheme, host and port (RFC 6454 section 5), so that credentials for one may go to the other.
    pub fn same_origin(&self, other: &Self) -> bool {
        // The authority has one form for one host and port of one scheme.
        self.scheme == other.scheme && self.authority == other.authority
    }

    /// The URL that a Location header means, which may be absolute or relative to this one (RFC 3986 section 5.2).
    ///
    /// User info follows the origin: it is kept where the new URL has the same origin, and never comes from `reference`. A
    /// fragment is dropped.
    ///
    /// # Errors
    /// What part is wrong; another scheme than the four is one.
    pub fn resolve(&self, reference: &str) -> Result<Self, UrlError> {
        if reference.len() > MAX_LEN {
            return Err(UrlError::TooLong);
        }
        let (reference, _) = split_fragment(reference);
        if has_scheme(reference) {
            return Self::parse(reference).map(|url| self.with_own_credentials(url));
        }
        if reference.starts_with("//") {
            return Self::parse(&format!("{}:{reference}", self.scheme)).map(|url| self.with_own_credentials(url));
        }
        let target = match reference.as_bytes() {
            [] => self.target.clone(),
            [b'/', ..] => reference.to_string(),
            [b'?', ..] => format!("{}{reference}", self.path()),
            _ => {
                let path = self.path();
                let folder = path.rfind('/').map_or("/", |slash| &path[..=slash]);
                format!("{folder}{reference}")
            }
        };
        if target.len() > MAX_LEN {
            return Err(UrlError::TooLong);
        }
        Ok(Self { target: parse_target(&target)?, ..self.clone() })
    }

    fn with_own_credentials(&self, url: Self) -> Self {
        let credentials = if self.same_origin(&url) { self.credentials.clone() } else { None };
        Self { credentials, ..url }
    }
}

impl core::str::FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The user is left out with the password: tokens are often given in its place.
        let credentials = if self.credentials.is_some() { "***@" } else { "" };
        write!(f, "{}://{credentials}{}{}", self.scheme, self.authority, self.target)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// It has more than [`MAX_LEN`] bytes.
    TooLong,
    /// It does not begin with `ws://`, `wss://`, `http://` or `https://`.
    Scheme,
    /// A percent sign without two hexadecimal digits behind it.
    Percent,
    /// The user info holds a byte that has to be percent-encoded, a control character, or a colon in the user's name.
    Credentials,
    /// The host is empty, too long, or neither a name in ASCII nor an address.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
    /// Path or query hold a byte that has to be percent-encoded.
    Target,
    /// A WebSocket URL has a fragment.
    Fragment,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => return write!(f, "URL too long: limit of {MAX_LEN} bytes"),
            Self::Scheme => "URL does not begin with ws://, wss://, http:// or https://",
            Self::Percent => "percent sign without two hexadecimal digits in URL",
            Self::Credentials => "malformed user or password in URL",
            Self::Host => "malformed host in URL",
            Self::Port => "malformed port in URL",
            Self::Target => "path or query of URL holds a byte that has to be percent-encoded",
            Self::Fragment => "a WebSocket URL has no fragment",
        })
    }
}

impl core::error::Error for UrlError {}

impl UserInfo {
    /// `None` where both are empty: that names nobody, and `Basic Og==` would name somebody without a name.
    fn parse(text: &str) -> Result<Option<Self>, UrlError> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let (user, password) = (percent_decode(user)?, percent_decode(password)?);
        // RFC 7617 section 2: no colon in the user-id, no control characters in either.
        let control = user.iter().chain(&password).any(u8::is_ascii_control);
        if control || user.contains(&b':') {
            return Err(UrlError::Credentials);
        }
        Ok((!user.is_empty() || !password.is_empty()).then_some(Self { user, password }))
    }
}

/// Decodes what RFC 3986 section 3.2.1 lets user info hold.
fn percent_decode(text: &str) -> Result<Vec<u8>, UrlError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = digit().zip(digit()).ok_or(UrlError::Percent)?;
                (high * 16 + low) as u8
            }
            _ if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(&byte) => byte,
            _ => return Err(UrlError::Credentials),
        });
    }
    Ok(decoded)
}

/// The host in its one form, and the port where one is written.
fn parse_host(text: &str) -> Result<(String, Option<u16>), UrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(UrlError::Host)?;
            let address: Ipv6Addr = address.parse().map_err(|_| UrlError::Host)?;
            (format!("[{address}]"), port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            // One dot at the end names the root of the DNS; elsewhere no label is empty.
            let labels = host.strip_suffix('.').unwrap_or(host);
            if host.len() > MAX_HOST || !host.bytes().all(named) || labels.split('.').any(str::is_empty) {
                return Err(UrlError::Host);
            }
            (host.to_ascii_lowercase(), port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some("") => None,
        Some(digits) => Some(parse_port(digits.as_bytes()).filter(|port| *port != 0).ok_or(UrlError::Port)?),
        None if port.is_empty() => None,
        None => return Err(UrlError::Host),
    };
    Ok((host, port))
}

/// Path and query, checked, with a slash in front and dot segments resolved.
fn parse_target(text: &str) -> Result<String, UrlError> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let good = match byte {
            b'%' => {
                let mut digit = || bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit());
                if !(digit() && digit()) {
                    return Err(UrlError::Percent);
                }
                true
            }
            // Browsers leave some of what RFC 3986 wants encoded (brackets, bars, braces), and servers take it. Not these:
            // a quote or an angle bracket breaks what it is printed into, and some take a backslash for a slash.
            b'"' | b'<' | b'>' | b'\\' => false,
            _ => byte.is_ascii_graphic(),
        };
        if !good {
            return Err(UrlError::Target);
        }
    }
    let (path, query) = text.split_at(text.find('?').unwrap_or(text.len()));
    let mut target = remove_dot_segments(path);
    target.push_str(query);
    Ok(target)
}

/// RFC 3986 section 5.2.4, with a slash in front in any case. Linear.
fn remove_dot_segments(path: &str) -> String {
    let mut kept = String::with_capacity(path.len() + 1);
    let mut open = true;
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => kept.truncate(kept.rfind('/').unwrap_or(0)),
            _ => {
                kept.push('/');
                kept.push_str(segment);
            }
        }
    }
    // A path that ends in a dot segment names a folder.
    if open {
        kept.push('/');
    }
    kept
}

fn split_fragment(text: &str) -> (&str, Option<&str>) {
    text.split_once('#').map_or((text, None), |(text, fragment)| (text, Some(fragment)))
}

/// Whether a reference begins with a scheme (RFC 3986 section 3.1) and a colon.
fn has_scheme(reference: &str) -> bool {
    let end = reference.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
    end.is_some_and(|end| reference[end..].starts_with(':') && reference.starts_with(|c: char| c.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_url_falls_into_the_parts_that_a_client_needs() {
        for (text, scheme, host, port, authority, target) in [
            ("ws://example.com", Scheme::Ws, "example.com", 80, "example.com", "/"),
            ("wss://Example.COM/chat?room=1", Scheme::Wss, "example.com", 443, "example.com", "/chat?room=1"),
            ("http://example.com:80/", Scheme::Http, "example.com", 80, "example.com", "/"),
            ("HTTPS://example.com:8443?x=%20y", Scheme::Https, "example.com", 8443, "example.com:8443", "/?x=%20y"),
            ("ws://[::1]:9000/a", Scheme::Ws, "::1", 9000, "[::1]:9000", "/a"),
            ("wss://[2001:DB8:0:0::1]", Scheme::Wss, "2001:db8::1", 443, "[2001:db8::1]", "/"),
            ("ws://127.0.0.1:8080/", Scheme::Ws, "127.0.0.1", 8080, "127.0.0.1:8080", "/"),
            ("http://a/b/../c/./d#top", Scheme::Http, "a", 80, "a", "/c/d"),
            ("http://a.?q?/../x", Scheme::Http, "a.", 80, "a.", "/?q?/../x"),
        ] {
            let parsed = url(text);
            assert_eq!(
                (parsed.scheme(), parsed.host(), parsed.port(), parsed.authority(), parsed.target()),
                (scheme, host, port, authority, target),
                "{text}"
            );
        }
        assert_eq!((url("ws://a/p?q=1").path(), url("ws://a/p?q=1").query()), ("/p", Some("q=1")));
        assert_eq!((url("ws://a/p").path(), url("ws://a/p").query()), ("/p", None));
    }

    #[test]
    fn what_is_odd_is_refused_by_its_part() {
        for (error, texts) in [
            (UrlError::Scheme, &["", "example.com", "ftp://a", "ws:/a", "ws:a", "//a", " ws://a", "w s://a"][..]),
            (
                UrlError::Host,
                &[
                    "ws://",
                    "ws:///path",
                    "ws://:80",
                    "ws://a b",
                    "ws://\u{e9}.com",
                    "ws://a%41",
                    "ws://[::1",
                    "ws://::1",
                    "ws://[::1]x",
                    "ws://[fe80::1%25eth0]",
                    "ws://a..b",
                    "ws://.a",
                    "ws://a\n",
                    "ws://a\\b",
                    "ws://u@",
                    "ws://[]",
                    "ws://.",
                ][..],
            ),
            (UrlError::Port, &["ws://a:0", "ws://a:65536", "ws://a:+80", "ws://a:8a", "ws://a:000080", "ws://a:80:80"]),
            (
                UrlError::Target,
                &[
                    "ws://a/b c",
                    "ws://a/\u{e9}",
                    "ws://a/\r\nX: y",
                    "ws://a/\0",
                    "ws://a/b\\c",
                    "ws://a/?\"",
                    "ws://a/\u{7f}",
                ],
            ),
            (UrlError::Percent, &["ws://a/%", "ws://a/%2", "ws://a/%zz", "ws://a/?%2", "ws://u%@a", "ws://u:%4@a"]),
            (UrlError::Fragment, &["ws://a#", "wss://a/b#c", "ws://a?b#c"]),
            (UrlError::Credentials, &["ws://u%3Av:p@a", "ws://u:p%0A@a", "ws://u u@a", "ws://u@v@a", "ws://\u{e9}@a"]),
        ] {
            for text in texts {
                // A lone "::1" reads as an empty host with a port.
                assert_eq!(Url::parse(text).unwrap_err(), error, "{text:?}");
            }
        }
        assert_eq!(Url::parse(&format!("ws://a/{}", "x".repeat(MAX_LEN))), Err(UrlError::TooLong));
        assert_eq!(Url::parse(&format!("ws://{}", "x".repeat(254))), Err(UrlError::Host));
    }

    #[test]
    fn user_info_becomes_basic_credentials_and_shows_nowhere_else() {
        let with = url("wss://Aladdin:open%20sesame@example.com/x?y");
        assert_eq!(with.basic_authorization().as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        assert_eq!(with.authority(), "example.com");
        assert_eq!(format!("{with} {with:?}"), "wss://***@example.com/x?y wss://***@example.com/x?y");
        assert_eq!(url("ws://u@a").basic_authorization().as_deref(), Some("Basic dTo="));
        assert_eq!(url("ws://u:p:q@a").basic_authorization().as_deref(), Some("Basic dTpwOnE="));
        assert_eq!(url("ws://:p@a").basic_authorization().as_deref(), Some("Basic OnA="));
        assert_eq!(url("ws://a").basic_authorization(), None);
    }

    #[test]
    fn empty_user_info_is_none_and_an_empty_port_is_the_schemes_own() {
        for text in ["http://@h/", "http://:@h/", "http://h:/", "http://@h:/", "http://h:80/"] {
            let parsed = url(text);
            assert_eq!(parsed, url("http://h/"), "{text}");
            assert_eq!(parsed.basic_authorization(), None, "{text}");
            assert_eq!((parsed.port(), parsed.authority(), parsed.to_string().as_str()), (80, "h", "http://h/"));
        }
        assert_eq!((url("wss://[::1]:").port(), url("wss://[::1]:").authority()), (443, "[::1]"));
    }

    #[test]
    fn a_bad_percent_escape_is_named_as_the_cause() {
        let text = Url::parse("http://h/a%2").unwrap_err().to_string();
        assert_eq!(text, "percent sign without two hexadecimal digits in URL");
    }

    #[test]
    fn h28_a_location_resolves_against_the_url_it_answers() {
        let base = url("http://a/b/c/d;p?q");
        for (reference, expected) in [
            // The examples of RFC 3986 section 5.4, as far as they stay with http.
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("https://B:444/x", "https://b:444/x"),
            ("//a:80/x", "http://a/x"),
            ("/x:y", "http://a/x:y"),
        ] {
            assert_eq!(base.resolve(reference).unwrap().to_string(), expected, "{reference}");
        }
        for bad in ["ftp://a/", "javascript:alert(1)", "http:g", "//", "/ b", "http://a b/"] {
            assert!(base.resolve(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn h28_credentials_follow_the_origin_and_never_come_from_a_location() {
        let base = url("http://u:p@a:8080/x");
        for same in ["/y", "z", "http://a:8080/y", "//A:8080/", "http://evil:evil@a:8080/"] {
            let to = base.resolve(same).unwrap();
            assert!(to.same_origin(&base));
            assert_eq!(to.basic_authorization(), base.basic_authorization(), "{same}");
        }
        for other in
            ["http://a/y", "https://a:8080/", "//b:8080/", "http://a.evil:8080/", "http://u:p@b/", "ws://a:8080/"]
        {
            let to = base.resolve(other).unwrap();
            assert!(!to.same_origin(&base));
            assert_eq!(to.basic_authorization(), None, "{other}");
        }
        assert_eq!(url("http://a/").resolve("http://u:p@a/").unwrap().basic_authorization(), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_to_the_same(text in "(ws|wss|http|https)://[a-z0-9]{1,8}(:[1-9][0-9]{0,3})?(/[a-z./%20]{0,12})?(\\?[a-z=&]{0,8})?") {
            if let Ok(parsed) = Url::parse(&text) {
                prop_assert_eq!(Url::parse(&parsed.to_string()), Ok(parsed));
            }
        }

        #[test]
        fn junk_never_panics_and_what_passes_cannot_break_a_request(junk in "(ws://|http://)?\\PC{0,40}", reference in "\\PC{0,40}") {
            for parsed in [Url::parse(&junk), url("http://a/b").resolve(&reference)].into_iter().flatten() {
                let clean = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
                prop_assert!(clean(parsed.target()) && clean(parsed.authority()) && parsed.target().starts_with('/'));
            }
        }
    }
}
