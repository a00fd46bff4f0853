//! A client's requests as bytes (RFC 9112 section 3): validated first, then written whole or not at all.

use crate::http::field::{self, FRAMING_FIELDS, FieldError, Fill, is_token};
use crate::http::head::{is_host, is_target};
use crate::http::response::Decimal;
use crate::output::{Full, Output};
use core::fmt;

/// A request to be written: method, target, host, header fields and cookies.
///
/// Host, Content-Length, Transfer-Encoding, Connection and their like are the engine's to write and are refused among the header
/// fields.
///
/// ```
/// use tautline::http::Request;
/// let request = Request::new("GET", "/events?topic=a", "example.com:8080")
///     .headers(&[("accept", "text/event-stream")])
///     .cookies(&[("session", "1f2e")]);
/// ```
#[derive(Clone, Copy)]
#[must_use]
pub struct Request<'a> {
    method: &'a str,
    target: &'a str,
    host: &'a str,
    base: &'a [(&'a str, &'a str)],
    headers: &'a [(&'a str, &'a str)],
    cookies: &'a [(&'a str, &'a str)],
}

/// Why a request was not written. Nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// A method that is no token, or is CONNECT, which this crate does not speak.
    Method,
    /// A target that does not begin with `/` (and is neither absolute nor the `*` of OPTIONS), or holds a `#` or anything but
    /// printable ASCII without spaces.
    Target,
    /// A host that is no host with an optional port.
    Host,
    /// A header field that cannot be written.
    Field(FieldError),
    /// A cookie whose name is no token, or whose value holds anything but RFC 6265's cookie octets.
    Cookie,
    /// The response to another request is not complete.
    Busy,
    /// The connection is over.
    Closed,
    /// It does not fit into the output. Not now, where it is no longer than [`Full::limit`]: write some of the output and try
    /// again. Never, where it is longer: a request goes in whole.
    Full(Full),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Field(e) => return e.fmt(f),
            Self::Full(e) => return e.fmt(f),
            Self::Method => "method is no token, or CONNECT",
            Self::Target => "target holds a # or other than printable ASCII, or begins wrongly",
            Self::Host => "host is no host with an optional port",
            Self::Cookie => "cookie with a character that cookies have not",
            Self::Busy => "another response is not complete",
            Self::Closed => "connection is over",
        })
    }
}

impl core::error::Error for RequestError {}

impl From<FieldError> for RequestError {
    fn from(e: FieldError) -> Self {
        Self::Field(e)
    }
}

impl From<Full> for RequestError {
    fn from(e: Full) -> Self {
        Self::Full(e)
    }
}

impl<'a> Request<'a> {
    /// A request for `target` (path and query, percent-encoded) of `host` (with its port, unless that is the scheme's own).
    pub const fn new(method: &'a str, target: &'a str, host: &'a str) -> Self {
        Self { method, target, host, base: &[], headers: &[], cookies: &[] }
    }

    /// The header fields of this request, name and value. Replaces what was set before.
    pub const fn headers(mut self, headers: &'a [(&'a str, &'a str)]) -> Self {
        self.headers = headers;
        self
    }

    /// Further header fields, written before the others: those that many requests share. Replaces what was set before.
    pub const fn base(mut self, headers: &'a [(&'a str, &'a str)]) -> Self {
        self.base = headers;
        self
    }

    /// Cookies, name and value, written as one `Cookie` field (RFC 6265 section 4.2). Replaces what was set before.
    pub const fn cookies(mut self, cookies: &'a [(&'a str, &'a str)]) -> Self {
        self.cookies = cookies;
        self
    }

    /// The method.
    pub const fn method(&self) -> &'a str {
        self.method
    }

    /// Whether every part can be written. O(bytes).
    ///
    /// # Errors
    ///
    /// The first part that cannot.
    pub fn check(&self) -> Result<(), RequestError> {
        self.check_without(&[])
    }

    /// As [`check`](Self::check), with further names that the application may not use.
    pub(crate) fn check_without(&self, reserved: &[&str]) -> Result<(), RequestError> {
        if self.method.is_empty() || !self.method.bytes().all(is_token) || self.method == "CONNECT" {
            return Err(RequestError::Method);
        }
        if !self.target.bytes().all(|b| b.is_ascii_graphic()) || !is_target(self.method, self.target) {
            return Err(RequestError::Target);
        }
        if !is_host(self.host.as_bytes()) {
            return Err(RequestError::Host);
        }
        for fields in [self.base, self.headers] {
            field::check(fields, &FRAMING_FIELDS)?;
            field::check(fields, &["host"])?;
            field::check(fields, reserved)?;
        }
        // cookie-octet: printable ASCII without space, quote, comma, semicolon and backslash (RFC 6265 section 4.1.1).
        let is_octet = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\');
        let sound =
            |name: &str, value: &str| !name.is_empty() && name.bytes().all(is_token) && value.bytes().all(is_octet);
        if !self.cookies.iter().all(|(name, value)| sound(name, value)) {
            return Err(RequestError::Cookie);
        }
        Ok(())
    }

    /// Checks the request and appends it with `body` behind it: whole or not at all. A Content-Length is written where there is a
    /// body, or where the method is one that has one (RFC 9110 section 8.6).
    ///
    /// # Errors
    ///
    /// Nothing was written.
    pub fn push(&self, body: &[u8], out: &mut Output) -> Result<(), RequestError> {
        self.check()?;
        let length = Decimal::new(body.len() as u64);
        let own = [("Content-Length", length.as_str())];
        let announced = !body.is_empty() || matches!(self.method, "POST" | "PUT" | "PATCH");
        self.push_with(if announced { &own } else { &[] }, body, out)?;
        Ok(())
    }

    /// Appends the request with the engine's `own` fields. The request was checked.
    pub(crate) fn push_with(&self, own: &[(&str, &str)], body: &[u8], out: &mut Output) -> Result<(), Full> {
        const AROUND: usize = "  HTTP/1.1\r\nHost: \r\n\r\n".len();
        const COOKIE: usize = "cookie: \r\n".len();
        let line = AROUND + self.method.len() + self.target.len() + self.host.len();
        // Each cookie but the first goes behind "; ", and each has its "=".
        let cookies: usize = self.cookies.iter().map(|(name, value)| name.len() + value.len() + 3).sum();
        let cookies = if cookies > 0 { COOKIE + cookies - 2 } else { 0 };
        let fields = field::len(own) + field::len(self.base) + field::len(self.headers);
        let mut fill = Fill::new(out.space(line + fields + cookies + body.len())?);
        for part in [self.method, " ", self.target, " HTTP/1.1\r\nHost: ", self.host, "\r\n"] {
            fill.put(part.as_bytes());
        }
        fill.put_fields(own);
        fill.put_fields(self.base);
        fill.put_fields(self.headers);
        for (i, (name, value)) in self.cookies.iter().enumerate() {
            fill.put(if i == 0 { b"Cookie: " } else { b"; " });
            fill.put(name.as_bytes());
            fill.put(b"=");
            fill.put(value.as_bytes());
        }
        if !self.cookies.is_empty() {
            fill.put(b"\r\n");
        }
        fill.put(b"\r\n");
        fill.put(body);
        debug_assert_eq!(fill.left(), 0);
        Ok(())
    }
}

impl fmt::Debug for Request<'_> {
    /// Without values: they hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).field("host", &self.host).finish_non_exhaustive()
    }
}
