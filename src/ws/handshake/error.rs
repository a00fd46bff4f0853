//! Why an opening handshake came to nothing.

use crate::http::HeadError;
use crate::http::body::BodyError;
use core::fmt;
use core::time::Duration;

/// Why an opening handshake came to nothing, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The server answered, but not 101.
    Refused {
        /// The answer's status code.
        status: u16,
    },
    /// The server answered with a redirect (301, 302, 303, 307, 308).
    Redirected {
        /// The answer's status code.
        status: u16,
    },
    /// The answer's head is malformed or beyond a limit.
    Head(HeadError),
    /// The answer is not 101, and its body is malformed, cut off, or beyond the limit.
    Body(BodyError),
    /// More interim answers than `limit`.
    Interim {
        /// The limit.
        limit: u8,
    },
    /// The 101 is not HTTP/1.1.
    HttpVersion,
    /// The 101 has no `Upgrade: websocket`, or more than one `Upgrade`.
    Upgrade,
    /// The 101 has no `Connection: Upgrade`.
    Connection,
    /// The 101 has no `Sec-WebSocket-Accept`.
    AcceptMissing,
    /// The 101 has more than one `Sec-WebSocket-Accept`.
    AcceptRepeated,
    /// `Sec-WebSocket-Accept` does not answer the key.
    AcceptWrong,
    /// The server chose a subprotocol that was not offered, or more than one.
    Protocol,
    /// The server accepted an extension that was not offered, or one twice.
    Extension,
    /// The server's answer to the offer of permessage-deflate is none (RFC 7692 section 7.1): a parameter that is unknown, wrong, repeated,
    /// more than was offered, or missing.
    Deflate,
    /// `Sec-WebSocket-Extensions` breaks RFC 6455 section 9.1, or has more than 4 lines.
    ExtensionsMalformed,
    /// No complete answer within `limit`.
    TimedOut {
        /// [`HandshakeConfig::timeout`](super::HandshakeConfig::timeout).
        limit: Duration,
    },
    /// The server ended the connection before its answer was complete.
    Eof,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused { status } => return write!(f, "server answered {status} instead of 101"),
            Self::Redirected { status } => return write!(f, "server answered with a redirect ({status})"),
            Self::Head(error) => return write!(f, "server's answer: {error}"),
            Self::Body(error) => return write!(f, "body of the server's answer: {error}"),
            Self::Interim { limit } => return write!(f, "more than {limit} interim answers"),
            Self::HttpVersion => "server's 101 is not HTTP/1.1",
            Self::Upgrade => "server's 101 needs exactly one Upgrade, with the value websocket",
            Self::Connection => "server's 101 has no Connection: Upgrade",
            Self::AcceptMissing => "server's 101 has no Sec-WebSocket-Accept",
            Self::AcceptRepeated => "server's 101 has more than one Sec-WebSocket-Accept",
            Self::AcceptWrong => "Sec-WebSocket-Accept does not answer the key",
            Self::Protocol => "server chose a subprotocol that was not offered, or more than one",
            Self::Extension => "server accepted an extension that was not offered, or one twice",
            Self::Deflate => "server's answer does not fit the offer of permessage-deflate",
            Self::ExtensionsMalformed => "malformed Sec-WebSocket-Extensions in the server's 101",
            Self::TimedOut { limit } => return write!(f, "no complete answer within {limit:?}"),
            Self::Eof => "server ended the connection before its answer was complete",
        })
    }
}

impl core::error::Error for HandshakeError {}
