//! What a connection reports.

use super::close::Closed;
use core::time::Duration;

/// Something that happened on a connection. It borrows the [`Input`](crate::Input), never the connection or the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
// With a tag of its own: one folded into the spare values of a `Duration` costs four instructions on every message.
#[repr(u8)]
pub enum Event<'i> {
    /// A whole text message.
    Text(&'i str),
    /// A whole binary message.
    Binary(&'i [u8]),
    /// A piece of a message, with [`Delivery::Chunks`](super::Delivery::Chunks).
    Chunk(Chunk<'i>),
    /// The peer's ping; answered already with [`Replies::Automatic`](super::Replies::Automatic).
    Ping(&'i [u8]),
    /// The peer's pong.
    Pong {
        /// Its payload.
        payload: &'i [u8],
        /// Since the heartbeat's ping, where it answers the last one. `None`: unsolicited, or the answer to a ping of the
        /// application's.
        round_trip: Option<Duration>,
    },
    /// The peer closes and waits for an answer: only with [`Replies::Manual`](super::Replies::Manual). Messages may still be sent;
    /// [`close`](super::Connection::close) answers.
    CloseReceived {
        /// The code, [`NO_CODE`](super::NO_CODE) where there is none.
        code: u16,
        /// The reason.
        reason: &'i str,
    },
    /// The connection ended. Comes exactly once, after everything else.
    Closed(Closed<'i>),
}

/// Whether a message is text or not (RFC 6455 section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// A piece of a message as it arrived: unmasked, nothing kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'i> {
    /// What the message is.
    pub kind: Kind,
    /// The bytes. Of a text they are checked, but a cut may stand inside a character. May be empty.
    pub data: &'i [u8],
    /// Where in the message they stand.
    pub part: Part,
}

/// Where in its message a chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first, with more to come.
    First,
    /// Neither first nor last.
    Middle,
    /// The last.
    Last,
}

impl Part {
    pub(super) fn new(first: bool, last: bool) -> Self {
        match (first, last) {
            (true, true) => Self::Whole,
            (true, false) => Self::First,
            (false, false) => Self::Middle,
            (false, true) => Self::Last,
        }
    }

    /// Whether a message begins here.
    pub fn is_first(self) -> bool {
        matches!(self, Self::Whole | Self::First)
    }

    /// Whether a message ends here.
    pub fn is_last(self) -> bool {
        matches!(self, Self::Whole | Self::Last)
    }
}
