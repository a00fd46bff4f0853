//! The parser: event-stream interpretation, WHATWG HTML section 9.2.6.
//!
//! Most events lie whole in one read. They are found, joined and lent where they lie (this file). What spans reads is
//! collected into a buffer that exists only while the event is open (`collect.rs`). Both ways give the same events.

use super::Event;
use super::collect::{Collected, Open};
use crate::input::{Input, Lent};
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::ops::Range;
use memchr::memchr2;

/// The byte order mark, which is no part of the stream at its very start.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// The type of an event that names none.
pub(super) const MESSAGE: &str = "message";

/// Above this capacity a long last event id is not kept allocated for a short one.
const ID_KEPT: usize = 1024;

/// What an event stream may make its reader hold on to.
///
/// Only lines that carry a field of the standard (or `topic`) count. Comments and unknown fields may be of any length: they
/// are passed over and never kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one line, field name included, line end not. Default 1 MiB.
    pub line: usize,
    /// Bytes of all lines of one event, each with one byte for its line end. Default 1 MiB.
    pub event: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { line: 1 << 20, event: 1 << 20 }
    }
}

/// Why a stream cannot be read on: the limit that it broke.
///
/// Nothing else is an error. The standard gives a meaning to every sequence of bytes, and invalid UTF-8 is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// A line is longer than [`Limits::line`].
    LineTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// An event is longer than [`Limits::event`].
    EventTooLong {
        /// The limit in bytes.
        limit: usize,
    },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineTooLong { limit } => write!(f, "event stream: line longer than {limit} bytes"),
            Self::EventTooLong { limit } => write!(f, "event stream: event longer than {limit} bytes"),
        }
    }
}

impl core::error::Error for ParseError {}

/// Where in the stream the parser stands.
///
/// ```text
/// Bom ──> Idle ──> Line ──> Name ──> Space ──> Value ──┐
///          ^        ^  │      └─────────────> Skip ──┤
///          └────────│──┘ <──── line end ───────────────┘
///                   └─ blank line: the event is due
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Between two blocks, at the start of a line: nothing is kept. Only here whole blocks are taken where they lie.
    Idle,
    /// At the start of the stream, so many bytes of a byte order mark in.
    Bom(u8),
    /// At the start of a line of an open block, or behind a CR whose LF may still come.
    Line,
    /// In a field name.
    Name,
    /// Behind a colon, where one space is no part of the value.
    Space,
    /// In the value of a known field.
    Value,
    /// In a comment or an unknown field.
    Skip,
    /// Broke a limit.
    Failed(ParseError),
}

/// Reads an event stream: bytes in, [`Event`]s out.
///
/// # Contract
///
/// - Call [`next_event`](Self::next_event) until it gives `None`: then the input is used up. The stream may be cut anywhere.
/// - An event is due the moment the first byte of its blank line is in; a CR is not held back to see whether an LF follows.
/// - Where the event lies whole in the input its fields are lent from there: nothing is copied elsewhere and nothing is
///   allocated. (Data of several lines is joined in place: the input's bytes are overwritten.) An event that spans reads is
///   collected in buffers taken from the input's [`Buffers`](crate::Buffers) and given back with the event.
/// - At the end of the stream there is nothing to do: an event without its blank line is dropped, as the standard asks. For the
///   next stream of the same source call [`restart`](Self::restart): the last event id and the retry time survive it.
/// - A broken limit is final for the stream: every later call gives the same error, and nothing is kept.
pub struct Parser {
    pub(super) state: State,
    /// A CR ended the last line: an LF right behind it belongs to that end.
    pub(super) after_cr: bool,
    /// The open block, where it spans reads.
    pub(super) open: Option<Box<Open>>,
    pub(super) limits: Limits,
    pub(super) last_id: String,
    pub(super) retry: Option<u64>,
}

impl Parser {
    /// A parser at the start of a stream, with the default [`Limits`]. Allocates nothing.
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// A parser at the start of a stream.
    pub fn with_limits(limits: Limits) -> Self {
        Self {
            state: State::Bom(0),
            after_cr: false,
            open: None,
            limits,
            last_id: String::new(),
            retry: None,
        }
    }

    /// The last event id: what a reconnecting client sends as `Last-Event-ID`, where it is not empty.
    ///
    /// Read right after an event it is the `lastEventId` of that event. A block without data moves it too.
    #[inline]
    pub fn last_event_id(&self) -> &str {
        &self.last_id
    }

    /// Sets the last event id, for a client that resumes from an id it stored.
    pub fn set_last_event_id(&mut self, id: &str) {
        commit(&mut self.last_id, id);
    }

    /// The newest reconnection time that the stream set, in milliseconds as sent: not clamped, zero included.
    ///
    /// It acts as soon as its line ends, so it may change without an event.
    #[inline]
    pub fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Whether part of an event or of a line is waiting for its rest; with [`restart`](Self::restart) it would be lost.
    pub fn is_mid_event(&self) -> bool {
        self.open.is_some() || matches!(self.state, State::Skip | State::Bom(1..))
    }

    /// Begins a new stream of the same source. What is half read is dropped and a byte order mark may come again; the last event
    /// id and the retry time stay.
    pub fn restart(&mut self) {
        self.state = State::Bom(0);
        self.after_cr = false;
        self.open = None;
    }

    /// The next event, or `None` once the input is used up.
    ///
    /// Invalid UTF-8 is replaced by U+FFFD, one for each maximal subpart. Looks at each byte a bounded number of times,
    /// however the stream is cut.
    ///
    /// # Errors
    ///
    /// [`ParseError`] where the stream breaks one of the [`Limits`].
    #[inline]
    pub fn next_event<'i>(&mut self, input: &'i mut Input<'_>) -> Result<Option<Event<'i>>, ParseError> {
        if self.state == State::Idle {
            // One line of data, ended by LF LF, is what nearly all streams consist of.
            if let Some(line) = single_line(input.rest(), self.window()) {
                let (bytes, lent) = input.take_or_lend(line + 2);
                // `data:` and one space: see `single_line`.
                let data = bytes.get(6..line).unwrap_or_default();
                return Ok(Some(Event { event: MESSAGE, data: text(data, lent), id: None, topic: None }));
            }
        }
        self.next_block(input)
    }

    /// Bytes of input in which no limit can be broken.
    #[inline]
    fn window(&self) -> usize {
        self.limits.line.min(self.limits.event)
    }

    #[inline(never)]
    fn next_block<'i>(&mut self, input: &'i mut Input<'_>) -> Result<Option<Event<'i>>, ParseError> {
        input.reclaim();
        loop {
            match self.state {
                State::Idle => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let (block, end) = self.scan(input);
                    match end {
                        Scan::Event(taken) => {
                            return Ok(Some(self.lend(&block, input.take_or_lend(taken))));
                        }
                        Scan::Empty(taken) => {
                            if let Some(id) = block.id {
                                let id = input.rest().get(id).unwrap_or_default();
                                commit(&mut self.last_id, &String::from_utf8_lossy(id));
                            }
                            input.skip(taken);
                        }
                        Scan::Open(taken) => self.open_block(&block, taken, input),
                    }
                }
                State::Name | State::Space | State::Value | State::Line if self.open.is_some() => {
                    match self.collect(input) {
                        Ok(Collected::Event) => return Ok(Some(self.dispatch(input))),
                        Ok(Collected::Nothing) => {}
                        Ok(Collected::Empty) => return Ok(None),
                        Err(error) => {
                            self.restart();
                            self.state = State::Failed(error);
                        }
                    }
                }
                State::Name | State::Space | State::Value | State::Line => {
                    if !self.behind_block(input) {
                        return Ok(None);
                    }
                }
                State::Skip => {
                    let Some(end) = line_end(input.rest()) else {
                        input.skip_all();
                        return Ok(None);
                    };
                    self.after_cr = input.rest()[end] == b'\r';
                    self.state = State::Line;
                    input.skip(end + 1);
                }
                State::Bom(seen) => {
                    let Some(&byte) = input.rest().first() else { return Ok(None) };
                    if BOM.get(usize::from(seen)) == Some(&byte) {
                        input.skip(1);
                        self.state = if seen == 2 { State::Idle } else { State::Bom(seen + 1) };
                    } else {
                        // Part of a mark is the start of a field name that nobody knows.
                        self.state = if seen == 0 { State::Idle } else { State::Skip };
                    }
                }
                State::Failed(error) => {
                    input.skip_all();
                    return Err(error);
                }
            }
        }
    }

    /// Goes on with the rest of a block line by line, behind the `taken` bytes that were scanned where they lie.
    fn open_block(&mut self, block: &Block, taken: usize, input: &mut Input<'_>) {
        self.state = State::Line;
        let next = input.rest().get(taken..).unwrap_or_default();
        if block.size == 0 && (next.is_empty() || classify(next) == Name::Other) {
            // Only comments so far: nothing to keep.
            if !next.is_empty() {
                self.state = State::Skip;
            }
        } else {
            self.open = Some(Box::new(Open::new(block, input)));
        }
        input.skip(taken);
    }

    /// Behind the end of a block: between two blocks, unless that end was a CR and an LF may still come (`false`).
    pub(super) fn behind_block(&mut self, input: &mut Input<'_>) -> bool {
        self.state = State::Line;
        if self.after_cr {
            let Some(&first) = input.rest().first() else { return false };
            input.skip(usize::from(first == b'\n'));
            self.after_cr = false;
        }
        self.state = State::Idle;
        true
    }

    /// Reads the lines of a block where they lie, as far as they are in. Data lines are joined with LF behind the first.
    fn scan(&mut self, input: &mut Input<'_>) -> (Block, Scan) {
        let window = self.window();
        let mut bytes = input.rest_mut();
        if bytes.len() > window {
            bytes = &mut bytes[..window];
        }
        let mut block = Block::default();
        let mut at = 0;
        loop {
            let Some(len) = line_end(&bytes[at..]) else { return (block, Scan::Open(at)) };
            let end = at + len;
            let cr = bytes[end] == b'\r';
            let mut next = end + 1;
            if cr && bytes.get(next) == Some(&b'\n') {
                next += 1;
            }
            // A CR that ends the bytes at hand leaves it open whether an LF belongs to it.
            let torn = cr && next == bytes.len() && next == end + 1;
            if len == 0 {
                if torn {
                    self.after_cr = true;
                    self.state = State::Line;
                }
                let end = if block.lines > 0 { Scan::Event(next) } else { Scan::Empty(next) };
                return (block, end);
            }
            match classify(&bytes[at..next]) {
                Name::Known(field, skip) => {
                    let mut from = at + skip;
                    // Without a colon a line end stands here.
                    from += usize::from(bytes[from] == b' ');
                    let value = from..end;
                    match field {
                        Field::Data if block.lines == 0 => block.data = value,
                        Field::Data if block.kept_after_data() => return (block, Scan::Open(at)),
                        Field::Data => {
                            let to = block.data.end;
                            block.data.end += 1 + value.len();
                            bytes[to] = b'\n';
                            shift(bytes, value, to + 1);
                        }
                        Field::Event => block.event = value,
                        Field::Topic => block.topic = Some(value),
                        Field::Id if memchr::memchr(0, &bytes[value.clone()]).is_none() => block.id = Some(value),
                        Field::Id => {}
                        Field::Retry => self.retry = digits(&bytes[value]).or(self.retry),
                    }
                    if field == Field::Data {
                        block.lines += 1;
                    }
                    block.size += len + 1;
                }
                Name::Other | Name::Unfinished => {}
            }
            at = next;
            if torn {
                self.after_cr = true;
                return (block, Scan::Open(at));
            }
        }
    }

    /// Lends a block that was scanned where it lies.
    fn lend<'i>(&mut self, block: &Block, (bytes, lent): (&'i mut [u8], &'i mut Lent)) -> Event<'i> {
        let bytes = &*bytes;
        let event = match block.texts(bytes) {
            Some(event) => event,
            None => block.repaired(bytes, lent),
        };
        if let Some(id) = event.id {
            commit(&mut self.last_id, id);
        }
        event
    }
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser")
            .field("state", &self.state)
            .field("last_event_id", &self.last_id)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// How far a scan came.
enum Scan {
    /// A block with data ends here.
    Event(usize),
    /// A block without data ends here.
    Empty(usize),
    /// The block goes on beyond this line start.
    Open(usize),
}

/// What a block holds, as ranges of the bytes it lies in.
#[derive(Default)]
pub(super) struct Block {
    /// The lines, joined.
    pub(super) data: Range<usize>,
    pub(super) lines: usize,
    pub(super) event: Range<usize>,
    pub(super) id: Option<Range<usize>>,
    pub(super) topic: Option<Range<usize>>,
    /// What counts against [`Limits::event`].
    pub(super) size: usize,
}

impl Block {
    /// Whether joining another line of data to the first ones would overwrite a field.
    fn kept_after_data(&self) -> bool {
        let after = |field: &Range<usize>| field.end > self.data.end;
        after(&self.event) || self.id.as_ref().is_some_and(after) || self.topic.as_ref().is_some_and(after)
    }

    /// The event, where all of it is valid UTF-8.
    #[inline]
    fn texts<'i>(&self, bytes: &'i [u8]) -> Option<Event<'i>> {
        let text = |range: &Range<usize>| valid(bytes.get(range.clone())?);
        let optional = |range: &Option<Range<usize>>| match range {
            Some(range) => text(range).map(Some),
            None => Some(None),
        };
        Some(Event {
            event: if self.event.is_empty() { MESSAGE } else { text(&self.event)? },
            data: text(&self.data)?,
            id: optional(&self.id)?,
            topic: optional(&self.topic)?,
        })
    }

    /// The event with invalid UTF-8 replaced, from a buffer of its own.
    #[cold]
    fn repaired<'i>(&self, bytes: &[u8], lent: &'i mut Lent) -> Event<'i> {
        let mut all = String::new();
        let mut put = |range: &Range<usize>| {
            let from = all.len();
            all.push_str(&String::from_utf8_lossy(bytes.get(range.clone()).unwrap_or_default()));
            from..all.len()
        };
        let repaired = Block {
            data: put(&self.data),
            lines: self.lines,
            event: put(&self.event),
            id: self.id.as_ref().map(&mut put),
            topic: self.topic.as_ref().map(&mut put),
            size: self.size,
        };
        repaired.slices(lent.put_text(all))
    }

    /// The event as slices of `text`.
    pub(super) fn slices<'i>(&self, text: &'i str) -> Event<'i> {
        let slice = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
        Event {
            event: if self.event.is_empty() { MESSAGE } else { slice(&self.event) },
            data: slice(&self.data),
            id: self.id.as_ref().map(slice),
            topic: self.topic.as_ref().map(slice),
        }
    }
}

/// The fields that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Field {
    #[default]
    Data,
    Event,
    Id,
    Retry,
    Topic,
}

/// What the bytes at the start of a line say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A known field: so many bytes of name, and colon where there is one, come before its value.
    Known(Field, usize),
    /// A comment or an unknown field.
    Other,
    /// Too short to tell.
    Unfinished,
}

/// Reads the field name at the start of a line. Names match byte for byte, and end at a colon or the line's end.
#[inline]
pub(super) fn classify(line: &[u8]) -> Name {
    let (field, name) = match line.first() {
        Some(b'd') => (Field::Data, &b"data"[..]),
        Some(b'e') => (Field::Event, &b"event"[..]),
        Some(b'i') => (Field::Id, &b"id"[..]),
        Some(b'r') => (Field::Retry, &b"retry"[..]),
        Some(b't') => (Field::Topic, &b"topic"[..]),
        Some(_) => return Name::Other,
        None => return Name::Unfinished,
    };
    match line.get(name.len()) {
        Some(b':') if line.starts_with(name) => Name::Known(field, name.len() + 1),
        Some(b'\r' | b'\n') if line.starts_with(name) => Name::Known(field, name.len()),
        Some(_) => Name::Other,
        None if name.starts_with(line) => Name::Unfinished,
        None => Name::Other,
    }
}

/// The length of the line at the front, where it is `data: ` and a value, ends in LF and is followed by another LF.
#[inline]
fn single_line(bytes: &[u8], window: usize) -> Option<usize> {
    if !bytes.starts_with(b"data: ") {
        return None;
    }
    let end = line_end(bytes)?;
    (bytes[end..].starts_with(b"\n\n") && end + 2 <= window).then_some(end)
}

/// Where the line at the front ends: the index of its CR or LF.
#[inline]
pub(super) fn line_end(bytes: &[u8]) -> Option<usize> {
    memchr2(b'\n', b'\r', bytes)
}

/// Moves `value` down to `to`.
#[inline]
fn shift(bytes: &mut [u8], value: Range<usize>, to: usize) {
    bytes.copy_within(value, to);
}

/// The number that a `retry` field sets: ASCII digits only. One that does not fit 64 bits counts as none.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0, digit)
}

/// `number` with one more digit behind it.
pub(super) fn digit(number: u64, byte: &u8) -> Option<u64> {
    let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
    number.checked_mul(10)?.checked_add(u64::from(digit))
}

/// `bytes` as text, where they are valid UTF-8.
#[inline]
pub(super) fn valid(bytes: &[u8]) -> Option<&str> {
    simdutf8::basic::from_utf8(bytes).ok()
}

/// `bytes` as text; invalid ones are replaced, in a buffer of `lent`.
#[inline]
fn text<'i>(bytes: &'i [u8], lent: &'i mut Lent) -> &'i str {
    match valid(bytes) {
        Some(text) => text,
        None => lent.put_text(String::from_utf8_lossy(bytes).into_owned()),
    }
}

/// Makes `id` the last event id. The allocation is reused, unless it is long and mostly unused.
pub(super) fn commit(last: &mut String, id: &str) {
    if last.capacity() > ID_KEPT && last.capacity() / 4 > id.len() {
        *last = String::new();
    }
    last.clear();
    last.push_str(id);
}
