//! A publication: a proposal for the log, checked once.

use crate::hub::cursor::{Cursor, CursorText};
use crate::hub::sequence::SequenceFull;
use crate::hub::topic::{TopicError, check_name};
use crate::sse::{EncodeError, Event};
use alloc::boxed::Box;
use alloc::string::String;
use bytes::Bytes;
use core::fmt;
use memchr::memchr;

/// Event types that begin with this are the protocol's own (gaps, errors, presence, acknowledgements). Nobody publishes one.
pub const RESERVED_EVENTS: &str = "tautline.";

/// The longest slot in bytes: as a topic's name.
pub const MAX_SLOT: usize = 128;

/// The longest event type in bytes that is published. Longer ones are data.
pub const MAX_EVENT: usize = 1024;

/// What is published: a topic, an event type and data, checked and owned.
///
/// It holds what every receiver gets on every transport: line ends are LF (an event stream has no other inside data), and an
/// empty event type is `message`. Where it stands in the order is said when it is encoded.
///
/// An _ephemeral_ one (someone types, a pointer moves) has no place in the order: its block has no id, and it is not kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Topic, event type, slot and data, one behind the other: one allocation, one copy.
    text: Box<str>,
    /// Where the event type begins.
    event_at: u32,
    /// Where the slot begins: it is empty where it is the event type.
    slot_at: u32,
    /// Where the data begins.
    data_at: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Logged,
    Ephemeral,
}

impl Entry {
    /// A publication on `topic`, of the event's type and data. O(n): copied once.
    ///
    /// How long data may be is for the caller to bound where it comes in; a [`Sequence`](crate::hub::Sequence) refuses what is over
    /// its own limit, and clients what is over [`sse::Limits`](crate::sse::Limits).
    ///
    /// # Errors
    ///
    /// What [`PublishError`] lists: a name, an id of the caller's, a reserved event type, what cannot be encoded.
    pub fn new(topic: &str, event: &Event<'_>) -> Result<Self, PublishError> {
        Self::check(topic, event, "", Kind::Logged)
    }

    /// As [`new`](Self::new), but in a topic that conflates it replaces what was published before in the same slot. An empty one is the event
    /// type.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new), and [`PublishError::Slot`].
    pub fn in_slot(topic: &str, event: &Event<'_>, slot: &str) -> Result<Self, PublishError> {
        if slot.len() > MAX_SLOT || slot.contains(['\r', '\n', '\0']) {
            return Err(PublishError::Slot);
        }
        Self::check(topic, event, slot, Kind::Logged)
    }

    /// As [`new`](Self::new), but ephemeral: without id, and not kept.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn ephemeral(topic: &str, event: &Event<'_>) -> Result<Self, PublishError> {
        Self::check(topic, event, "", Kind::Ephemeral)
    }

    /// One of the protocol's own, on a topic: who came, who went. It is ephemeral.
    #[cfg(feature = "net")]
    pub(crate) fn own(topic: &str, event: &str, data: &str) -> Result<Self, PublishError> {
        check_name(topic)?;
        Ok(Self::join(topic, event, "", data, Kind::Ephemeral))
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.text[..self.event_at as usize]
    }

    /// The event type; `message` by default.
    pub fn event(&self) -> &str {
        &self.text[self.event_at as usize..self.slot_at as usize]
    }

    /// What it replaces in a topic that conflates: the event type, unless [`in_slot`](Self::in_slot) says otherwise.
    pub fn slot(&self) -> &str {
        match &self.text[self.slot_at as usize..self.data_at as usize] {
            "" => self.event(),
            slot => slot,
        }
    }

    /// The data, with LF at its line ends.
    pub fn data(&self) -> &str {
        &self.text[self.data_at as usize..]
    }

    /// Whether it is ephemeral.
    pub const fn is_ephemeral(&self) -> bool {
        matches!(self.kind, Kind::Ephemeral)
    }

    /// What it takes of memory in bytes: its text and itself.
    pub const fn bytes(&self) -> usize {
        size_of::<Self>() + self.text.len()
    }

    /// The most that its block may take in bytes, whatever its cursor. O(n).
    pub fn block_len(&self) -> usize {
        let event = Event { event: self.event(), data: self.data(), id: None, topic: Some(self.topic()) };
        event.encoded_len().unwrap_or(usize::MAX).saturating_add("id: \n".len() + CursorText::MAX)
    }

    /// The event-stream block: `id:` with the cursor, `topic:`, the type unless it is `message`, and the data. An ephemeral entry
    /// has no id, whatever the cursor. O(n), encoded anew at each call: keep the bytes and share them.
    pub fn block(&self, cursor: Cursor) -> Bytes {
        let id = cursor.text();
        let id = match self.kind {
            Kind::Logged => Some(id.as_str()),
            Kind::Ephemeral => None,
        };
        let event = Event { event: self.event(), data: self.data(), id, topic: Some(self.topic()) };
        event.to_bytes().expect("an entry is checked when it is made, and a cursor has no line end")
    }

    fn check(topic: &str, event: &Event<'_>, slot: &str, kind: Kind) -> Result<Self, PublishError> {
        check_name(topic)?;
        if event.topic.is_some_and(|other| other != topic) {
            return Err(PublishError::OtherTopic);
        }
        if event.id.is_some() {
            return Err(PublishError::Id);
        }
        if event.event.starts_with(RESERVED_EVENTS) {
            return Err(PublishError::Reserved);
        }
        if event.event.len() > MAX_EVENT {
            return Err(PublishError::LongEvent);
        }
        // Data can always be encoded; the names are what may not.
        Event { data: "", ..*event }.encoded_len()?;

        let name = if event.event.is_empty() { Event::new("").event } else { event.event };
        Ok(Self::join(topic, name, slot, event.data, kind))
    }

    fn join(topic: &str, event: &str, slot: &str, data: &str, kind: Kind) -> Self {
        let mut text = String::with_capacity(topic.len() + event.len() + slot.len() + data.len());
        text.push_str(topic);
        text.push_str(event);
        text.push_str(slot);
        let event_at = topic.len();
        let slot_at = event_at + event.len();
        let data_at = slot_at + slot.len();
        push_lines(&mut text, data);
        // Names are shorter than 4 GiB.
        Self { text: text.into(), event_at: event_at as u32, slot_at: slot_at as u32, data_at: data_at as u32, kind }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("topic", &self.topic())
            .field("event", &self.event())
            .field("data", &self.data())
            .field("kind", &self.kind)
            .finish()
    }
}

/// Appends text with CR and CRLF as LF.
fn push_lines(to: &mut String, mut text: &str) {
    while let Some(at) = memchr(b'\r', text.as_bytes()) {
        to.push_str(&text[..at]);
        to.push('\n');
        let rest = &text[at + 1..];
        text = rest.strip_prefix('\n').unwrap_or(rest);
    }
    to.push_str(text);
}

/// Why a publication was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic's name is none.
    Topic(TopicError),
    /// The event names another topic than the one it is published on.
    OtherTopic,
    /// The event has an id: only the log gives ids.
    Id,
    /// The event type begins with [`RESERVED_EVENTS`].
    Reserved,
    /// The event type is longer than [`MAX_EVENT`].
    LongEvent,
    /// The slot is longer than [`MAX_SLOT`], or has a line end or NUL.
    Slot,
    /// The event type cannot be encoded.
    Encode(EncodeError),
    /// Its block would not fit the queue of a subscriber.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// Queues, histories and the log take all that they may together.
    Budget {
        /// The limit in bytes.
        limit: usize,
    },
    /// The sequence has no room: workers are behind.
    Full(SequenceFull),
}

impl PublishError {
    /// The status of the answer: 400, 413 for what is too long, or 503 where there is no room.
    pub const fn status(self) -> u16 {
        match self {
            Self::Topic(e) => e.status(),
            Self::TooLong { .. } => 413,
            Self::Budget { .. } => 503,
            Self::Full(e) => e.status(),
            Self::OtherTopic | Self::Id | Self::Reserved | Self::LongEvent | Self::Slot | Self::Encode(_) => 400,
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(e) => e.fmt(f),
            Self::OtherTopic => f.write_str("event of another topic than it is published on"),
            Self::Id => f.write_str("event with an id of its own"),
            Self::Reserved => write!(f, "event type begins with {RESERVED_EVENTS}"),
            Self::LongEvent => write!(f, "event type of more than {MAX_EVENT} bytes"),
            Self::Slot => write!(f, "slot of more than {MAX_SLOT} bytes, or with a line end or NUL"),
            Self::Encode(e) => e.fmt(f),
            Self::TooLong { limit } => write!(f, "event of more than {limit} bytes"),
            Self::Budget { limit } => write!(f, "more than {limit} bytes in queues and histories"),
            Self::Full(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for PublishError {}

impl From<TopicError> for PublishError {
    fn from(e: TopicError) -> Self {
        Self::Topic(e)
    }
}

impl From<SequenceFull> for PublishError {
    fn from(e: SequenceFull) -> Self {
        Self::Full(e)
    }
}

impl From<EncodeError> for PublishError {
    fn from(e: EncodeError) -> Self {
        Self::Encode(e)
    }
}
