//! What a session reports.

use super::ladder::Transport;
use crate::http;
use crate::hub::Cursor;
use crate::sse::{Event, ParseError};
use crate::ws::{self, HandshakeError};
use core::fmt;
use core::str::Lines;
use core::time::Duration;

/// One of the connections that a session may have at a time. What each is for is the session's business, and changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub(super) u8);

impl Lane {
    /// All of them: one that brings events, one for what is sent beside it, one for a better transport that is tried out.
    pub const ALL: [Self; 3] = [Self(0), Self(1), Self(2)];

    /// 0, 1 or 2.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a session says.
#[derive(Debug)]
#[non_exhaustive]
pub enum SessionEvent<'i> {
    /// Connect this lane to [`Endpoint::url`](super::Endpoint::url) now, with an empty output, and say how it went:
    /// [`Session::connected`](super::Session::connected) or [`Session::connect_failed`](super::Session::connect_failed).
    Connect(Lane),
    /// Close this lane's connection, also one that is being made. What its output holds is worth one attempt to write it.
    Drop(Lane),
    /// Attached by this transport: what was missed has come, and from here on events come as they are published. Comes again after each
    /// reconnect, and when a better transport has taken over.
    Attached(Transport),
    /// An event.
    Message(Message<'i>),
    /// Events may be missing in these topics. What is retained of them comes next.
    Gap(Gaps<'i>),
    /// Who is there.
    Presence {
        /// The topic.
        topic: &'i str,
        /// What changed.
        presence: Presence<'i>,
    },
    /// A topic that was added has caught up with the others.
    Subscribed {
        /// The topic.
        topic: &'i str,
    },
    /// No more events of this topic.
    Unsubscribed {
        /// The topic.
        topic: &'i str,
        /// `asked` or `revoked`. A revoked topic is not asked for again.
        reason: &'i str,
    },
    /// A publication is in the log.
    Acknowledged {
        /// Its key.
        key: &'i str,
        /// Its place.
        cursor: Cursor,
    },
    /// The server did not do what it was asked to.
    Refused(Refused<'i>),
    /// The connection that brought events is lost; another is made by itself, after the wait.
    Lost {
        /// What was in use.
        transport: Transport,
        /// Why.
        cause: Cause,
        /// How long the session waits.
        wait: Duration,
        /// What it tries next.
        next: Transport,
    },
    /// The session is over. Comes exactly once, and nothing after it but `Drop`.
    Closed(Closed),
}

/// An event of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'i> {
    /// Its place; `None` for an ephemeral one.
    pub cursor: Option<Cursor>,
    /// The topic.
    pub topic: &'i str,
    /// The event type.
    pub event: &'i str,
    /// The data.
    pub data: &'i str,
}

/// Topics in which events may be missing, and why.
#[derive(Clone, Debug)]
pub struct Gaps<'i>(Lines<'i>);

impl<'i> Gaps<'i> {
    pub(super) fn new(data: &'i str) -> Self {
        Self(data.lines())
    }
}

impl<'i> Iterator for Gaps<'i> {
    type Item = Gap<'i>;

    fn next(&mut self) -> Option<Gap<'i>> {
        let (topic, reason) = self.0.by_ref().find_map(|line| line.split_once(' '))?;
        let reason = match reason {
            "expired" => GapReason::Expired,
            "ahead" => GapReason::Ahead,
            _ => GapReason::Unknown,
        };
        Some(Gap { topic, reason })
    }
}

/// A topic in which events may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap<'i> {
    /// The topic.
    pub topic: &'i str,
    /// Why.
    pub reason: GapReason,
}

/// Why events may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// The history let them go, or they were let go because the connection was too slow.
    Expired,
    /// The cursor is ahead of the log.
    Ahead,
    /// The cursor is of another log or of none, or the reason is one that this version does not know.
    Unknown,
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Expired => "expired",
            Self::Ahead => "ahead",
            Self::Unknown => "unknown",
        })
    }
}

/// A change in who is there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Presence<'i> {
    /// A snapshot.
    Here {
        /// How many users there are.
        count: u64,
        /// The first of them.
        users: Lines<'i>,
    },
    /// A user came.
    Join(&'i str),
    /// A user left.
    Leave(&'i str),
    /// Something that this version does not know.
    Other(&'i str),
}

impl<'i> Presence<'i> {
    pub(super) fn new(data: &'i str) -> Self {
        let mut lines = data.lines();
        let first = lines.next().unwrap_or_default();
        match first.split_once(' ') {
            Some(("here", count)) => match count.parse() {
                Ok(count) => Self::Here { count, users: lines },
                Err(_) => Self::Other(data),
            },
            Some(("join", user)) => Self::Join(user),
            Some(("leave", user)) => Self::Leave(user),
            _ => Self::Other(data),
        }
    }
}

/// What the server did not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused<'i> {
    /// An HTTP status.
    pub status: u16,
    /// The command: `subscribe`, `publish`, ...
    pub command: &'i str,
    /// The key of the publication that it is about, if any.
    pub key: Option<&'i str>,
    /// The topic, if any.
    pub topic: Option<&'i str>,
    /// The cause in words.
    pub cause: &'i str,
    /// When it pays to come back. The session does so by itself for publications, which stay in the queue.
    pub after: Option<Duration>,
}

impl<'i> Refused<'i> {
    /// Reads the data of a `tautline.error`.
    pub(super) fn new(event: &Event<'i>) -> Self {
        let mut lines = event.data.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let status = words.next().and_then(|word| word.parse().ok()).unwrap_or(500);
        let command = words.next().unwrap_or_default();
        let key = words.next();
        let cause = lines.next().unwrap_or_default();
        let after = lines.find_map(|line| line.strip_prefix("after ")?.parse().ok().map(Duration::from_millis));
        Self { status, command, key, topic: event.topic, cause, after }
    }
}

/// Why a connection was lost that is to be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// No connection could be made, or not in time.
    ConnectFailed,
    /// It was opened, and no block came in time: something on the way holds them back.
    Unproven,
    /// No block for two and a half heartbeats, or an answer to a poll 10 s late.
    Silent,
    /// The other side ended it.
    Ended,
    /// The WebSocket was closed with this code.
    CloseCode(u16),
    /// The request was answered with this status.
    Status(u16),
    /// No WebSocket came of it.
    Handshake(HandshakeError),
    /// The server broke the rules of WebSocket.
    WebSocket(ws::Error),
    /// The server broke the rules of HTTP.
    Http(http::Error),
    /// An answer that is no event stream.
    ContentType,
    /// A WebSocket without the subprotocol `tautline`, or a message that is not of it.
    Subprotocol,
    /// An event with an id that is no cursor.
    Cursor,
    /// The server does not know the session any more.
    SessionGone,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectFailed => "could not connect",
            Self::Unproven => "no block in time on a new connection",
            Self::Silent => "no block for two and a half heartbeats",
            Self::Ended => "connection ended",
            Self::CloseCode(code) => return write!(f, "closed with {code}"),
            Self::Status(status) => return write!(f, "status {status}"),
            Self::Handshake(error) => return error.fmt(f),
            Self::WebSocket(error) => return error.fmt(f),
            Self::Http(error) => return error.fmt(f),
            Self::ContentType => "content type is not text/event-stream",
            Self::Subprotocol => "not the subprotocol tautline",
            Self::Cursor => "event id is no cursor",
            Self::SessionGone => "session not accepted any more",
        })
    }
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// [`Session::close`](super::Session::close).
    ByCaller,
    /// A status that says that the same request will fail again.
    Status(u16),
    /// A close code that says so.
    CloseCode(u16),
    /// An event that is longer than [`SessionConfig::limits`](super::SessionConfig::limits) allow, or a message around it: it would
    /// come again.
    TooLong(ParseError),
    /// A WebSocket message beyond its limit.
    MessageTooLong,
    /// [`BackoffConfig::attempts`](crate::backoff::BackoffConfig::attempts) failed in a row.
    Attempts,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByCaller => f.write_str("closed by the caller"),
            Self::Status(status) => write!(f, "refused for good with status {status}"),
            Self::CloseCode(code) => write!(f, "closed for good with code {code}"),
            Self::TooLong(error) => error.fmt(f),
            Self::MessageTooLong => f.write_str("message over the limit of a WebSocket message"),
            Self::Attempts => f.write_str("reconnect attempts used up"),
        }
    }
}

impl core::error::Error for Closed {}
