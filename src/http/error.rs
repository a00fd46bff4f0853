//! What ends a connection, and why: the causes of both roles.

use crate::http::body::BodyError;
use crate::http::head::HeadError;
use core::fmt;

/// What the peer did that ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A head that was refused.
    Head(HeadError),
    /// A body that was refused.
    Body(BodyError),
    /// Server: an `Expect` field with anything but `100-continue` (RFC 9110 section 10.1.1).
    Expectation,
    /// Client: more interim (1xx) responses to one request than `limit`.
    InterimResponses {
        /// The limit.
        limit: u8,
    },
    /// Client: `101 Switching Protocols` without a request for it.
    Upgrade,
    /// Client: bytes while no request was outstanding.
    Unsolicited,
}

impl Error {
    /// The status of the answer: a server's to its client; as a client, what a gateway would say (502).
    pub const fn status(self) -> u16 {
        match self {
            Self::Head(e) => e.status(),
            Self::Body(e) => e.status(),
            Self::Expectation => 417,
            Self::InterimResponses { .. } | Self::Upgrade | Self::Unsolicited => 502,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head(e) => return e.fmt(f),
            Self::Body(e) => return e.fmt(f),
            Self::InterimResponses { limit } => return write!(f, "more than {limit} interim responses"),
            Self::Expectation => "expectation other than 100-continue",
            Self::Upgrade => "switch of protocols that was not asked for",
            Self::Unsolicited => "response without a request",
        })
    }
}

impl core::error::Error for Error {}

impl From<HeadError> for Error {
    fn from(e: HeadError) -> Self {
        Self::Head(e)
    }
}

impl From<BodyError> for Error {
    fn from(e: BodyError) -> Self {
        Self::Body(e)
    }
}

/// Why a connection is over. What lies in the output is still to be written before the socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The last response is complete, and one side had said that it is the last.
    Finished,
    /// The application gave up: [`Server::abort`](crate::http::Server::abort) or its client twin.
    Aborted,
    /// The peer ended its side between messages, or while an answer was still being prepared.
    PeerClosed,
    /// The peer ended its side inside a message.
    Truncated,
    /// A deadline passed.
    Timeout(Deadline),
    /// What was refused before; its answer, if one could be given, went before.
    Error(Error),
}

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deadline {
    /// A head did not come in time.
    Head,
    /// A body did not come in time.
    Body,
    /// No further request came.
    Idle,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "last response complete",
            Self::Aborted => "given up by the application",
            Self::PeerClosed => "closed by the peer",
            Self::Truncated => "closed by the peer inside a message",
            Self::Timeout(Deadline::Head) => "head deadline passed",
            Self::Timeout(Deadline::Body) => "body deadline passed",
            Self::Timeout(Deadline::Idle) => "idle deadline passed",
            Self::Error(e) => return e.fmt(f),
        })
    }
}
