//! Why a request cannot become a WebSocket, and the answer that says so.

use super::answer::check_headers;
use crate::http::origin::OriginRefusal;
use crate::http::response::ResponseError;
use crate::output::Output;
use alloc::format;
use alloc::string::String;
use core::fmt;

/// Why a request cannot become a WebSocket. It knows the answer the client is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "the client waits for an answer"]
pub enum Rejection {
    /// The method is not `GET`: 405.
    Method,
    /// The request is not HTTP/1.1: 400.
    HttpVersion,
    /// No `Host`, or more than one: 400.
    Host,
    /// No `Upgrade: websocket`: 426, an ordinary request where only a WebSocket is served.
    NoUpgrade,
    /// `Upgrade: websocket` without `Connection: Upgrade`: 400.
    NoConnection,
    /// `Sec-WebSocket-Version` is missing, repeated or not 13: 426.
    Version,
    /// No `Sec-WebSocket-Key`: 400.
    KeyMissing,
    /// More than one `Sec-WebSocket-Key`: 400.
    KeyRepeated,
    /// `Sec-WebSocket-Key` is not base64 of 16 bytes: 400.
    KeyMalformed,
    /// The request announces a body: 400.
    Body,
    /// The origin may not connect: 403.
    Origin(OriginRefusal),
    /// More than one `Origin`: 400.
    OriginRepeated,
    /// `Sec-WebSocket-Protocol` is no list of tokens, or has more than 4 lines: 400.
    Protocols,
    /// `Sec-WebSocket-Extensions` breaks RFC 6455 section 9.1, or has more than 4 lines: 400.
    Extensions,
}

impl Rejection {
    /// The status code of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::NoUpgrade | Self::Version => 426,
            Self::Origin(_) => 403,
            _ => 400,
        }
    }

    /// The reason phrase that goes with [`status`](Self::status).
    pub fn reason(self) -> &'static str {
        match self.status() {
            403 => "Forbidden",
            405 => "Method Not Allowed",
            426 => "Upgrade Required",
            _ => "Bad Request",
        }
    }

    /// The header lines that the answer must have; with [`text`](Self::text) as its body come `Content-Type` and
    /// `Content-Length`. The connection ends after any of them.
    pub fn headers(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        const CLOSE: (&str, &str) = ("Connection", "close");
        const UPGRADE: (&str, &str) = ("Upgrade", "websocket");
        // A sender of Upgrade names it in Connection (RFC 9110 section 7.8), and a 426 must send it (section 15.5.22).
        const UPGRADE_CLOSE: (&str, &str) = ("Connection", "Upgrade, close");
        let lines: &'static [_] = match self {
            Self::Method => &[("Allow", "GET"), CLOSE],
            Self::NoUpgrade => &[UPGRADE, UPGRADE_CLOSE],
            Self::Version => &[("Sec-WebSocket-Version", "13"), UPGRADE, UPGRADE_CLOSE],
            _ => &[CLOSE],
        };
        lines.iter().copied()
    }

    /// What is wrong, as a sentence for the person at the other end. ASCII.
    pub fn text(self) -> &'static str {
        match self {
            Self::Method => "a WebSocket is opened with GET",
            Self::HttpVersion => "a WebSocket is opened with HTTP/1.1",
            Self::Host => "the request needs exactly one Host header",
            Self::NoUpgrade => "only WebSocket connections are served here: the request has no Upgrade: websocket",
            Self::NoConnection => "the request has Upgrade: websocket but no Connection: Upgrade",
            Self::Version => {
                "the WebSocket version served here is 13: the request needs exactly one Sec-WebSocket-Version: 13"
            }
            Self::KeyMissing => "the request has no Sec-WebSocket-Key",
            Self::KeyRepeated => "the request has more than one Sec-WebSocket-Key",
            Self::KeyMalformed => "Sec-WebSocket-Key is not base64 of 16 bytes",
            Self::Body => "a WebSocket is opened with a request that has no body",
            Self::Origin(refusal) => refusal.text(),
            Self::OriginRepeated => "the request has more than one Origin header",
            Self::Protocols => "Sec-WebSocket-Protocol is not a list of tokens in at most 4 header lines",
            Self::Extensions => "Sec-WebSocket-Extensions is not a list of extensions in at most 4 header lines",
        }
    }

    /// Writes the whole answer, [`text`](Self::text) as its body (none for [`Method`](Self::Method)). It fits even where `out` is full, if it is the connection's last.
    pub fn write(self, out: &mut Output) {
        // Below `LAST_ANSWER` by far, so the room beyond the limit takes it.
        let pushed = out.push_last(self.encode(&[]).as_bytes());
        debug_assert!(pushed.is_ok());
    }

    /// As [`write`](Self::write), with header lines of the application's own.
    ///
    /// # Errors
    /// Nothing was written: a header line is malformed or not the application's to set, or the answer has more than
    /// [`LAST_ANSWER`](crate::output::LAST_ANSWER) bytes and `out` is full.
    pub fn write_with(self, headers: &[(&str, &str)], out: &mut Output) -> Result<(), ResponseError> {
        check_headers(headers)?;
        Ok(out.push_last(self.encode(headers).as_bytes())?)
    }

    #[cold]
    fn encode(self, headers: &[(&str, &str)]) -> String {
        let mut answer = format!("HTTP/1.1 {} {}\r\n", self.status(), self.reason());
        for (name, value) in self.headers() {
            answer.extend([name, ": ", value, "\r\n"]);
        }
        for (name, value) in headers {
            answer.extend([name, ": ", value, "\r\n"]);
        }
        match self {
            // The method may have been HEAD: no body may follow then.
            Self::Method => answer.push_str("Content-Length: 0\r\n\r\n"),
            _ => {
                let text = self.text();
                answer.push_str(&format!(
                    "Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}\n",
                    text.len() + 1
                ));
            }
        }
        answer
    }
}

impl From<OriginRefusal> for Rejection {
    fn from(refusal: OriginRefusal) -> Self {
        Self::Origin(refusal)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Rejection {}
