//! Events as values, and as bytes: the encoder.
//!
//! Whatever is encoded here, a conforming parser reads back as it was, however the bytes are cut. Line ends cannot be carried
//! as they are (the format has none but its own): CR and CRLF in data arrive as LF, and in an id, type or topic they are refused.

use crate::output::{Full, Output};
use crate::sse::parse::MESSAGE;
use alloc::vec;
use bytes::Bytes;
use core::fmt;
use memchr::{memchr2, memchr3};

/// One event: what an encoder is given and what a parser yields.
///
/// ```
/// use tautline::{Output, sse::Event};
/// let mut out = Output::new();
/// Event::new("first\nsecond").with_id("7").encode(&mut out).unwrap();
/// assert_eq!(out.chunks().next().unwrap(), b"id: 7\ndata: first\ndata: second\n\n");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The event type. `"message"` where the stream names none; that and the empty string are not written.
    pub event: &'a str,
    /// The data. Lines are joined with LF.
    pub data: &'a str,
    /// The id that the event's own block sets; the empty string resets it. `None` where the block has no (valid) `id` field: then
    /// the standard's `lastEventId` is an earlier one, [`Parser::last_event_id`](super::Parser::last_event_id).
    pub id: Option<&'a str>,
    /// The topic: a field of this crate's hub, which standard parsers skip.
    pub topic: Option<&'a str>,
}

/// Why an event was not encoded. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A line end in the event type: what follows it would be another field.
    Event,
    /// A line end in the id, or a NUL, for which receivers ignore the whole field.
    Id,
    /// A line end in the topic.
    Topic,
    /// Data that is not UTF-8.
    Utf8,
    /// It does not fit into the output.
    Full(Full),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Event => "line end in an event type",
            Self::Id => "line end or NUL in an event id",
            Self::Topic => "line end in a topic",
            Self::Utf8 => "event data is not UTF-8",
            Self::Full(full) => return full.fmt(f),
        })
    }
}

impl core::error::Error for EncodeError {}

impl From<Full> for EncodeError {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl<'a> Event<'a> {
    /// An event of type `message` without id and topic.
    pub const fn new(data: &'a str) -> Self {
        Self { event: MESSAGE, data, id: None, topic: None }
    }

    /// As [`new`](Self::new), of bytes that should be text. O(n).
    ///
    /// # Errors
    ///
    /// [`EncodeError::Utf8`]: an event stream carries nothing else.
    pub fn from_utf8(data: &'a [u8]) -> Result<Self, EncodeError> {
        super::parse::valid(data).map(Self::new).ok_or(EncodeError::Utf8)
    }

    /// Sets the event type.
    #[must_use]
    pub const fn with_event(mut self, event: &'a str) -> Self {
        self.event = event;
        self
    }

    /// Sets the id. The empty string resets the client's last event id.
    ///
    /// An id of more than [`MAX_LAST_EVENT_ID`](super::MAX_LAST_EVENT_ID) bytes is encoded and read like any other, but will not come
    /// back: this crate's client leaves it out of its next request, and this crate's server refuses a request that has it.
    #[must_use]
    pub const fn with_id(mut self, id: &'a str) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the topic.
    #[must_use]
    pub const fn with_topic(mut self, topic: &'a str) -> Self {
        self.topic = Some(topic);
        self
    }

    /// The block's length in bytes. O(n): every field is looked through.
    ///
    /// # Errors
    ///
    /// A field that cannot be encoded.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        let mut len = 1;
        if let Some(id) = self.id {
            if memchr3(b'\n', b'\r', 0, id.as_bytes()).is_some() {
                return Err(EncodeError::Id);
            }
            len += ID.len() + id.len() + 1;
        }
        if let Some(topic) = self.topic {
            if has_line_end(topic) {
                return Err(EncodeError::Topic);
            }
            len += TOPIC.len() + topic.len() + 1;
        }
        if !self.is_message() {
            if has_line_end(self.event) {
                return Err(EncodeError::Event);
            }
            len += EVENT.len() + self.event.len() + 1;
        }
        Ok(len + Lines(Some(self.data)).map(|line| DATA.len() + line.len() + 1).sum::<usize>())
    }

    /// Appends the event's block, its blank line included: whole or not at all. O(n).
    ///
    /// # Errors
    ///
    /// A field that cannot be encoded, or [`EncodeError::Full`]. Nothing was written.
    pub fn encode(&self, out: &mut Output) -> Result<(), EncodeError> {
        self.fill(out.space(self.encoded_len()?)?);
        Ok(())
    }

    /// The event's block as bytes to be shared: encoded once, sent to any number of clients.
    ///
    /// # Errors
    ///
    /// A field that cannot be encoded.
    pub fn to_bytes(&self) -> Result<Bytes, EncodeError> {
        let mut block = vec![0; self.encoded_len()?];
        self.fill(&mut block);
        Ok(block.into())
    }

    /// Writes the block into a space of exactly its length.
    pub(super) fn fill(&self, space: &mut [u8]) {
        let mut fill = Fill(space);
        if let Some(id) = self.id {
            fill.line(ID, id);
        }
        if let Some(topic) = self.topic {
            fill.line(TOPIC, topic);
        }
        if !self.is_message() {
            fill.line(EVENT, self.event);
        }
        Lines(Some(self.data)).for_each(|line| fill.line(DATA, line));
        fill.put(b"\n");
        debug_assert!(fill.0.is_empty());
    }

    /// Whether the type is the one that a block without an `event` field has.
    fn is_message(&self) -> bool {
        matches!(self.event, "" | MESSAGE)
    }
}

// The space behind the colon is always written: a value that begins with one would lose it otherwise.
const DATA: &[u8] = b"data: ";
const EVENT: &[u8] = b"event: ";
const ID: &[u8] = b"id: ";
const RETRY: &[u8] = b"retry: ";
const TOPIC: &[u8] = b"topic: ";
const COMMENT: &[u8] = b": ";

/// What a stream holds besides events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal<'a> {
    /// The shortest line there is, a lone colon: keeps proxies from closing a silent stream and shows whether the client is there.
    KeepAlive,
    /// A comment; each of its lines becomes one of its own. Receivers skip it.
    Comment(&'a str),
    /// How long the client should wait before it comes back, in milliseconds.
    Retry(u64),
    /// Moves the client's last event id without an event. As for [`Event::with_id`], a very long one will not come back.
    Position(&'a str),
}

impl Signal<'_> {
    /// The signal's length in bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Id`] where a position cannot be encoded.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        match self {
            Self::KeepAlive => Ok(2),
            Self::Comment(text) => Ok(Lines(Some(text)).map(|line| COMMENT.len() + line.len() + 1).sum()),
            Self::Retry(millis) => Ok(RETRY.len() + Digits::new(*millis).as_str().len() + 2),
            Self::Position(id) if memchr3(b'\n', b'\r', 0, id.as_bytes()).is_some() => Err(EncodeError::Id),
            Self::Position(id) => Ok(ID.len() + id.len() + 2),
        }
    }

    /// Appends the signal between two blocks, whole or not at all.
    ///
    /// # Errors
    ///
    /// As for [`Event::encode`].
    pub fn encode(&self, out: &mut Output) -> Result<(), EncodeError> {
        self.fill(out.space(self.encoded_len()?)?);
        Ok(())
    }

    /// Writes the signal into a space of exactly its length.
    pub(super) fn fill(&self, space: &mut [u8]) {
        let mut fill = Fill(space);
        match self {
            Self::KeepAlive => fill.put(b":\n"),
            Self::Comment(text) => Lines(Some(text)).for_each(|line| fill.line(COMMENT, line)),
            Self::Retry(millis) => {
                fill.line(RETRY, Digits::new(*millis).as_str());
                fill.put(b"\n");
            }
            Self::Position(id) => {
                fill.line(ID, id);
                fill.put(b"\n");
            }
        }
        debug_assert!(fill.0.is_empty());
    }
}

fn has_line_end(text: &str) -> bool {
    memchr2(b'\n', b'\r', text.as_bytes()).is_some()
}

/// The lines of a text, which end at LF, CR or CRLF. One more than there are line ends: an empty text is one empty line.
struct Lines<'a>(Option<&'a str>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let text = self.0?;
        let Some(end) = memchr2(b'\n', b'\r', text.as_bytes()) else {
            self.0 = None;
            return Some(text);
        };
        let (line, rest) = text.split_at(end);
        self.0 = rest.strip_prefix("\r\n").or_else(|| rest.get(1..));
        Some(line)
    }
}

/// A space that was measured beforehand, filled from the front.
struct Fill<'o>(&'o mut [u8]);

impl Fill<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let (to, rest) = core::mem::take(&mut self.0).split_at_mut(bytes.len());
        to.copy_from_slice(bytes);
        self.0 = rest;
    }

    #[inline]
    fn line(&mut self, name: &[u8], value: &str) {
        self.put(name);
        self.put(value.as_bytes());
        self.put(b"\n");
    }
}

/// A number in decimal.
struct Digits {
    /// 20 digits hold every `u64`.
    digits: [u8; 20],
    from: usize,
}

impl Digits {
    fn new(mut number: u64) -> Self {
        let mut digits = Self { digits: [b'0'; 20], from: 20 };
        loop {
            digits.from -= 1;
            digits.digits[digits.from] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return digits;
            }
        }
    }

    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.digits[self.from..]).unwrap_or_default()
    }
}
