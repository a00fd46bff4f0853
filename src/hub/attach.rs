//! What a request asks of the hub: topics, the place to go on from, session and delivery. The same for all three transports.

use crate::http::RequestHead;
use crate::http::credentials::Secret;
use crate::http::target::{DecodeError, Plus, decode, raw_values};
use crate::hub::cursor::{Cursor, CursorError};
use crate::hub::topic::{DEFAULT_TOPIC, TopicError, check_name};
use crate::sse::MAX_LAST_EVENT_ID;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

/// What a request asks of the hub. Borrows the request's head; all of it is untrusted.
///
/// ```
/// use tautline::hub::{Attach, Cursors, Resume};
/// use tautline::http::{HeadLimits, RequestReader};
/// use tautline::Input;
///
/// let mut bytes = *b"GET /events?topic=a&topic=b@0&lastId=5-0-0000beef HTTP/1.1\r\nHost: x\r\n\r\n";
/// let mut input = Input::new(&mut bytes);
/// let head = RequestReader::new().read(&HeadLimits::default(), &mut input)?.expect("a whole head");
/// let attach = Attach::read(&head, Cursors::Lenient, 128)?;
/// assert_eq!(attach.topics.iter().map(|topic| &*topic.name).collect::<Vec<_>>(), ["a", "b"]);
/// assert_eq!(attach.topics[1].own, Some(Resume::Start));
/// assert!(matches!(attach.resume, Resume::At(cursor) if cursor.position.ms == 5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach<'h> {
    /// The topics, each once, in the order they were named; never empty.
    pub topics: Vec<AttachTopic<'h>>,
    /// Where to go on, for the topics without a cursor of their own.
    pub resume: Resume,
    /// The session that the client says is its own.
    pub session: Option<Secret<'h>>,
    /// Whether the client will acknowledge.
    pub delivery: Delivery,
    /// What the client is to be known by.
    pub authentication: Authentication,
    /// A token out of the query: to be looked at only where the application lets tokens be there, for queries get into logs.
    pub token: Option<Secret<'h>>,
}

/// A topic of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachTopic<'h> {
    /// Its name, which was [checked](check_name).
    pub name: Cow<'h, str>,
    /// Its own cursor (`topic=NAME@CURSOR`), which goes before the request's. Never [`Resume::Live`].
    pub own: Option<Resume>,
}

/// Where a subscriber goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// With what is published from now on: the request has no cursor.
    Live,
    /// With everything that is retained, without a gap: `0`.
    Start,
    /// Behind a cursor, which may be of any log.
    At(Cursor),
    /// It had a place, and it is none of ours: it gets a gap notice, then what is retained.
    Unknown,
}

/// What becomes of a cursor that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursors {
    /// It is [`Resume::Unknown`], and an empty one is none: for event streams and WebSockets, whose clients send back whatever id they saw
    /// last, of this server or another.
    Lenient,
    /// It is refused: for polls and commands.
    Strict,
}

/// Whether what is sent counts as received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// When it is sent.
    #[default]
    Plain,
    /// When the client says so: `ack=1`.
    Acknowledged,
}

/// By what a client is to be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authentication {
    /// By its request.
    #[default]
    Request,
    /// By a token that its first message will bring, whatever its request says: `auth=message`, on a WebSocket. A server that admits
    /// nobody in particular, too, could not know otherwise that one is to come.
    FirstMessage,
}

/// Why a request is not for the hub. Every one is a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachError {
    /// A topic's name, or too many of them.
    Topic(TopicError),
    /// A topic that is named with two different cursors.
    TopicCursors,
    /// A cursor that is none ([`Cursors::Strict`]).
    Cursor(CursorError),
    /// More than one `Last-Event-ID`, `lastEventId` or `lastId`.
    Cursors,
    /// A last event id that is no text of one line, or over [`MAX_LAST_EVENT_ID`] bytes.
    LastEventId,
    /// A session that is not UTF-8, or more than one.
    Session,
    /// More than one token.
    Token,
    /// `ack` that is neither 0 nor 1, or more than one.
    Ack,
    /// A part of the query that cannot be decoded.
    Query(DecodeError),
}

impl AttachError {
    /// The status of the answer: 400.
    pub const fn status(self) -> u16 {
        400
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) => error.fmt(f),
            Self::TopicCursors => f.write_str("topic with two different cursors"),
            Self::Cursor(error) => error.fmt(f),
            Self::Cursors => f.write_str("more than one Last-Event-ID, lastEventId or lastId"),
            Self::LastEventId => {
                write!(f, "last event id over {MAX_LAST_EVENT_ID} bytes, not UTF-8, or with NUL or a line end")
            }
            Self::Session => f.write_str("session that is not UTF-8, or more than one"),
            Self::Token => f.write_str("more than one token"),
            Self::Ack => f.write_str("ack that is not one 0 or 1"),
            Self::Query(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for AttachError {}

impl From<TopicError> for AttachError {
    fn from(error: TopicError) -> Self {
        Self::Topic(error)
    }
}

impl From<CursorError> for AttachError {
    fn from(error: CursorError) -> Self {
        Self::Cursor(error)
    }
}

impl From<DecodeError> for AttachError {
    fn from(error: DecodeError) -> Self {
        Self::Query(error)
    }
}

impl<'h> Attach<'h> {
    /// Reads what a request asks for. `limit` is how often it may name a topic, repeats included. O(head + `limit`²) of short
    /// comparisons.
    ///
    /// A value stands for its first place in this order: of the cursor `Last-Event-ID`, `lastEventId`, `lastId`; of the session
    /// `Tautline-Session`, `session`. Values behind it are not looked at, but none may be there twice. Empty sessions and tokens are none.
    /// The query's other pairs are the application's.
    ///
    /// # Errors
    ///
    /// [`AttachError`]; nothing was looked up.
    pub fn read(head: &'h RequestHead<'_>, cursors: Cursors, limit: usize) -> Result<Self, AttachError> {
        let query = head.raw_query().unwrap_or_default();
        let header = |name: &str, error| only(head.headers().all(name), error);
        let value = |name: &str, error| only(raw_values(query, name), error);
        Ok(Self {
            topics: topics(query, cursors, limit)?,
            resume: {
                let header = header("last-event-id", AttachError::Cursors)?;
                let (first, second) =
                    (value("lastEventId", AttachError::Cursors)?, value("lastId", AttachError::Cursors)?);
                match (header, first.or(second)) {
                    (Some(id), _) => {
                        let id = core::str::from_utf8(id).map_err(|_| AttachError::LastEventId)?;
                        resume(id, cursors)?
                    }
                    (None, Some(id)) => {
                        let id = decode(id, Plus::Space).map_err(|_| AttachError::LastEventId)?;
                        resume(&id, cursors)?
                    }
                    (None, None) => Resume::Live,
                }
            },
            session: {
                let (header, value) =
                    (header("tautline-session", AttachError::Session)?, value("session", AttachError::Session)?);
                match (header, value) {
                    (Some(token), _) => {
                        secret(Cow::Borrowed(core::str::from_utf8(token).map_err(|_| AttachError::Session)?))
                    }
                    (None, Some(token)) => secret(decode(token, Plus::Space)?),
                    (None, None) => None,
                }
            },
            delivery: match value("ack", AttachError::Ack)? {
                None | Some("0") => Delivery::Plain,
                Some("1") => Delivery::Acknowledged,
                Some(_) => return Err(AttachError::Ack),
            },
            // Another value is the application's own.
            authentication: match raw_values(query, "auth").any(|value| value == "message") {
                true => Authentication::FirstMessage,
                false => Authentication::Request,
            },
            token: match value("token", AttachError::Token)? {
                Some(token) => secret(decode(token, Plus::Space)?),
                None => None,
            },
        })
    }
}

fn topics(query: &str, cursors: Cursors, limit: usize) -> Result<Vec<AttachTopic<'_>>, AttachError> {
    let mut topics: Vec<AttachTopic<'_>> = Vec::new();
    for (count, value) in raw_values(query, "topic").enumerate() {
        // Repeats count: each is compared with all that came before.
        if count >= limit {
            return Err(TopicError::TooManyTopics { limit }.into());
        }
        let topic = topic(decode(value, Plus::Space)?, cursors)?;
        match topics.iter_mut().find(|known| known.name == topic.name) {
            None => topics.push(topic),
            Some(known) => match (known.own, topic.own) {
                (_, None) => {}
                (None, own) => known.own = own,
                (own, other) if own == other => {}
                _ => return Err(AttachError::TopicCursors),
            },
        }
    }
    if topics.is_empty() {
        topics.push(AttachTopic { name: Cow::Borrowed(DEFAULT_TOPIC), own: None });
    }
    Ok(topics)
}

/// `NAME` or `NAME@CURSOR`. No name holds an `@`.
fn topic(value: Cow<'_, str>, cursors: Cursors) -> Result<AttachTopic<'_>, AttachError> {
    let Some((name, cursor)) = value.split_once('@') else {
        check_name(&value)?;
        return Ok(AttachTopic { name: value, own: None });
    };
    check_name(name)?;
    // An empty one is no cursor: whoever writes the `@` means a place.
    let own = match (parse(cursor), cursors) {
        (Ok(resume), _) => resume,
        (Err(_), Cursors::Lenient) => Resume::Unknown,
        (Err(error), Cursors::Strict) => return Err(error.into()),
    };
    let end = name.len();
    let name = match value {
        Cow::Borrowed(value) => Cow::Borrowed(&value[..end]),
        Cow::Owned(mut value) => {
            value.truncate(end);
            Cow::Owned(value)
        }
    };
    Ok(AttachTopic { name, own: Some(own) })
}

fn resume(id: &str, cursors: Cursors) -> Result<Resume, AttachError> {
    if id.len() > MAX_LAST_EVENT_ID || id.contains(['\0', '\r', '\n']) {
        return Err(AttachError::LastEventId);
    }
    match (parse(id), cursors) {
        (Ok(resume), _) => Ok(resume),
        // "If the last event ID string is not the empty string" (WHATWG HTML section 9.2.3): an empty one is none.
        (Err(_), Cursors::Lenient) => Ok(if id.is_empty() { Resume::Live } else { Resume::Unknown }),
        (Err(error), Cursors::Strict) => Err(error.into()),
    }
}

fn parse(text: &str) -> Result<Resume, CursorError> {
    let cursor = Cursor::parse(text)?;
    Ok(if cursor == Cursor::START { Resume::Start } else { Resume::At(cursor) })
}

fn secret(text: Cow<'_, str>) -> Option<Secret<'_>> {
    (!text.is_empty()).then(|| Secret::new(text))
}

/// The value where there is at most one: of two nobody knows which is meant.
fn only<T>(mut values: impl Iterator<Item = T>, error: AttachError) -> Result<Option<T>, AttachError> {
    let value = values.next();
    if values.next().is_some() { Err(error) } else { Ok(value) }
}
