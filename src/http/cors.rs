//! Cross-origin requests to event streams, polls and POSTs: the CORS protocol of the Fetch standard, the server's side.
//!
//! Pure functions from a request's headers to the header lines of its answer. A WebSocket needs none of this: its own Origin
//! check is in [`upgrade`](super::upgrade).

use crate::http::origin::{OriginPolicy, OriginRefusal, serialized};
use crate::http::url::Scheme;
use core::fmt;

/// Request headers that a page of a let-in origin may set: a stream's position, its session, a token, and the type of a POST.
const ALLOW_HEADERS: &str = "Last-Event-ID, Tautline-Session, Authorization, Content-Type";

/// Headers of an answer that a page of a let-in origin may read, besides those that the Fetch standard lets it read anyway: what a
/// poll's answer says of its session and of more to come, and when a refused client may come back.
const EXPOSE_HEADERS: &str = "Tautline-Session, Tautline-More, Retry-After";

/// Methods that a page of a let-in origin may use: streams and polls, publishing, and the preflight itself.
const ALLOW_METHODS: &str = "GET, POST, OPTIONS";

/// How long a browser may remember a preflight, in seconds: two hours, the most that Chromium takes.
const MAX_AGE: &str = "7200";

/// Whether pages of other origins may send the user's cookies along and read the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// They may not.
    #[default]
    Omit,
    /// They may. Only pages of the origins that the policy names: never with [`OriginPolicy::Any`].
    Include,
}

/// Who may make cross-origin requests. Validated once, shared by all connections of a listener.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    origins: OriginPolicy,
    credentials: Credentials,
    scheme: Scheme,
}

impl Cors {
    /// Lets in the origins of a policy, with or without credentials, on a listener that speaks `scheme`.
    ///
    /// # Errors
    /// [`CorsError`]: any origin at all, with credentials. The Fetch standard forbids the wildcard there, and echoing every
    /// origin instead would let any page read as its visitor.
    pub fn new(origins: OriginPolicy, credentials: Credentials, scheme: Scheme) -> Result<Self, CorsError> {
        if origins == OriginPolicy::Any && credentials == Credentials::Include {
            return Err(CorsError);
        }
        Ok(Self { origins, credentials, scheme })
    }

    /// The header lines to add to the answer of a request that is no preflight, given its Origin header and the host that it is
    /// for ([`RequestHead::authority`](super::RequestHead::authority)).
    ///
    /// A request without Origin gets `Vary` all the same, so that no cache gives its answer to a page.
    ///
    /// # Errors
    /// The origin is not let in: answer 403, with no CORS header at all.
    pub fn simple<'o>(&self, origin: Option<&'o [u8]>, host: &[u8]) -> Result<CorsHeaders<'o>, OriginRefusal> {
        self.headers(origin, host, Kind::Simple)
    }

    /// The header lines of the answer, 204 without a body, to a preflight: an `OPTIONS` request.
    ///
    /// # Errors
    /// The origin is not let in: answer 403, with no CORS header at all.
    pub fn preflight<'o>(&self, origin: Option<&'o [u8]>, host: &[u8]) -> Result<CorsHeaders<'o>, OriginRefusal> {
        self.headers(origin, host, Kind::Preflight)
    }

    fn headers<'o>(&self, origin: Option<&'o [u8]>, host: &[u8], kind: Kind) -> Result<CorsHeaders<'o>, OriginRefusal> {
        let mut headers = CorsHeaders { lines: [("", ""); MOST_LINES], len: 0 };
        let any = self.origins == OriginPolicy::Any;
        let Some(origin) = origin else {
            if !any {
                headers.push("Vary", "Origin");
            }
            return Ok(headers);
        };
        self.origins.check(self.scheme, origin, host)?;
        // The policy compares with a host that the caller may not have looked at; what is echoed is an origin in any case.
        let allowed = if any { "*" } else { serialized(origin).ok_or(OriginRefusal::NotSame)? };
        headers.push("Access-Control-Allow-Origin", allowed);
        headers.push("Vary", "Origin");
        if self.credentials == Credentials::Include {
            headers.push("Access-Control-Allow-Credentials", "true");
        }
        if kind == Kind::Preflight {
            headers.push("Access-Control-Allow-Methods", ALLOW_METHODS);
            headers.push("Access-Control-Allow-Headers", ALLOW_HEADERS);
            headers.push("Access-Control-Max-Age", MAX_AGE);
        } else {
            headers.push("Access-Control-Expose-Headers", EXPOSE_HEADERS);
        }
        Ok(headers)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Simple,
    Preflight,
}

/// The lines of a preflight with credentials: no answer has more.
const MOST_LINES: usize = 6;

/// Header lines for an answer. What stands in them of the request (its origin) was checked to be an origin, whatever host the
/// caller compared it with.
#[derive(Clone, Copy, Debug)]
#[must_use = "the answer needs these header lines"]
pub struct CorsHeaders<'o> {
    lines: [(&'o str, &'o str); MOST_LINES],
    len: usize,
}

impl<'o> CorsHeaders<'o> {
    /// The lines, name and value, as all that writes answers takes them: [`Response::headers`](super::Response::headers),
    /// [`Rejection::write_with`](super::upgrade::Rejection::write_with), an event stream's `open`.
    pub fn as_slice(&self) -> &[(&'o str, &'o str)] {
        &self.lines[..self.len]
    }

    /// The lines: name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&'o str, &'o str)> + use<'o> {
        self.lines.into_iter().take(self.len)
    }

    /// Appends a line; there are never more than the table holds.
    fn push(&mut self, name: &'o str, value: &'o str) {
        self.lines[self.len] = (name, value);
        self.len += 1;
    }
}

/// Credentials cannot go with [`OriginPolicy::Any`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CorsError;

impl fmt::Display for CorsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any origin and credentials exclude each other: list the origins that may send credentials")
    }
}

impl core::error::Error for CorsError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const HOST: &[u8] = b"api.example.com";
    const PAGE: &[u8] = b"https://app.example.com";

    const EXPOSED: (&str, &str) = ("Access-Control-Expose-Headers", "Tautline-Session, Tautline-More, Retry-After");

    fn listed(credentials: Credentials) -> Cors {
        let origins = OriginPolicy::listed(["https://app.example.com"]).unwrap();
        Cors::new(origins, credentials, Scheme::Https).unwrap()
    }

    fn lines(headers: CorsHeaders<'_>) -> Vec<(&str, &str)> {
        assert!(headers.iter().eq(headers.as_slice().iter().copied()));
        headers.iter().collect()
    }

    #[test]
    fn h30_a_preflight_from_a_listed_origin_is_allowed_the_headers_it_needs() {
        assert_eq!(
            lines(listed(Credentials::Omit).preflight(Some(PAGE), HOST).unwrap()),
            [
                ("Access-Control-Allow-Origin", "https://app.example.com"),
                ("Vary", "Origin"),
                ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
                ("Access-Control-Allow-Headers", "Last-Event-ID, Tautline-Session, Authorization, Content-Type"),
                ("Access-Control-Max-Age", "7200"),
            ]
        );
    }

    #[test]
    fn h30_a_preflight_from_an_unlisted_origin_is_refused_with_403() {
        for origin in
            [&b"https://evil.io"[..], b"null", b"https://app.example.com.evil.io", b"http://app.example.com", b"*"]
        {
            for credentials in [Credentials::Omit, Credentials::Include] {
                let cors = listed(credentials);
                assert_eq!(cors.preflight(Some(origin), HOST).unwrap_err().status(), 403);
                assert_eq!(cors.simple(Some(origin), HOST).unwrap_err().status(), 403);
            }
        }
    }

    #[test]
    fn h30_a_wildcard_never_comes_with_credentials() {
        assert!(Cors::new(OriginPolicy::Any, Credentials::Include, Scheme::Https).is_err());
        let any = Cors::new(OriginPolicy::Any, Credentials::Omit, Scheme::Https).unwrap();
        let simple = lines(any.simple(Some(b"https://evil.io"), HOST).unwrap());
        assert_eq!(simple, [("Access-Control-Allow-Origin", "*"), ("Vary", "Origin"), EXPOSED]);
        let preflight = lines(any.preflight(Some(b"https://evil.io"), HOST).unwrap());
        assert!(preflight.iter().all(|(name, _)| *name != "Access-Control-Allow-Credentials"));
    }

    #[test]
    fn h30_a_simple_request_from_a_listed_origin_may_be_read_by_it_alone() {
        assert_eq!(
            lines(listed(Credentials::Include).simple(Some(PAGE), HOST).unwrap()),
            [
                ("Access-Control-Allow-Origin", "https://app.example.com"),
                ("Vary", "Origin"),
                ("Access-Control-Allow-Credentials", "true"),
                EXPOSED,
            ]
        );
    }

    #[test]
    fn h30_the_longest_answer_has_room() {
        let preflight = lines(listed(Credentials::Include).preflight(Some(PAGE), HOST).unwrap());
        assert_eq!(preflight.len(), MOST_LINES);
        assert!(!preflight.contains(&EXPOSED), "a preflight's answer is read by no page");
    }

    #[test]
    fn h30_an_answer_to_no_page_still_varies_by_origin() {
        assert_eq!(lines(listed(Credentials::Omit).simple(None, HOST).unwrap()), [("Vary", "Origin")]);
        let any = Cors::new(OriginPolicy::Any, Credentials::Omit, Scheme::Https).unwrap();
        assert_eq!(any.simple(None, HOST).unwrap().iter().count(), 0);
    }

    #[test]
    fn h25_what_is_no_origin_is_never_echoed_whatever_the_host() {
        let own = Cors::new(OriginPolicy::Same, Credentials::Include, Scheme::Http).unwrap();
        for host in ["a\r\nset-cookie: x", "a\n", "a\0", "a b", "a\u{e9}", "a/", "a,http://b", "a@b", "a:b"] {
            let origin = alloc::format!("http://{host}");
            if let Ok(headers) = own.simple(Some(origin.as_bytes()), host.as_bytes()) {
                panic!("{:?}", headers.as_slice());
            }
        }
        assert!(own.simple(Some(b"http://\xff"), b"\xff").is_err());
        // White space around the value of a header is no part of it.
        let headers = own.simple(Some(b" http://a\t"), b"a").unwrap();
        assert_eq!(headers.as_slice()[0], ("Access-Control-Allow-Origin", "http://a"));
        // The opaque origin where it is listed.
        let null = Cors::new(OriginPolicy::listed(["null"]).unwrap(), Credentials::Omit, Scheme::Http).unwrap();
        assert_eq!(null.simple(Some(b"null"), b"a").unwrap().as_slice()[0].1, "null");
    }

    #[test]
    fn the_own_origin_is_let_in_where_none_is_listed() {
        let own = Cors::new(OriginPolicy::Same, Credentials::Include, Scheme::Https).unwrap();
        assert!(own.preflight(Some(b"https://api.example.com"), HOST).is_ok());
        assert!(own.preflight(Some(PAGE), HOST).is_err());
    }
}
