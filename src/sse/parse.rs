//! The parser: event-stream interpretation, WHATWG HTML section 9.2.6.
//!
//! Most events lie whole in one read. They are found, joined and lent where they lie (this file). What spans reads is
//! collected into a buffer that exists only while the event is open (`collect.rs`). Both ways give the same events.

use super::Event;
use super::collect::{Collected, Open};
use super::sought::{Hit, Peek, Sought};
use crate::input::Input;
use crate::payload::{self, ascii, first_control};
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

/// The byte order mark, which is no part of the stream at its very start.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// How nearly every line of data begins.
const DATA: &[u8] = b"data: ";

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
    /// Bytes of all lines of one event, each with one byte for its line end (the blank line not). Default 1 MiB.
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
///   collected: its data in a buffer taken from the input's [`Buffers`](crate::Buffers), given back with the event, and its other
///   fields in a small one of their own.
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
        Self { state: State::Bom(0), after_cr: false, open: None, limits, last_id: String::new(), retry: None }
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

    /// Whether fields of a block are waiting for its end. Comments and unknown fields are none.
    pub(crate) fn is_collecting(&self) -> bool {
        self.open.is_some()
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
        if self.state == State::Value && self.trickle(input) {
            return Ok(None);
        }
        self.next_due(input)
    }

    /// [`next_event`](Self::next_event) but for single bytes of a value.
    #[inline(never)]
    fn next_due<'i>(&mut self, input: &'i mut Input<'_>) -> Result<Option<Event<'i>>, ParseError> {
        if self.state == State::Idle {
            // One line of data, ended by LF LF, is what nearly all streams consist of.
            if let Some(line) = single_line(input.rest(), self.window()) {
                return Ok(Some(lend_line(line, input)));
            }
        }
        match self.find(input, usize::MAX)? {
            Some(found) => Ok(Some(self.lend(found, input))),
            None => Ok(None),
        }
    }

    /// Bytes of input in which no limit can be broken.
    #[inline]
    fn window(&self) -> usize {
        self.limits.line.min(self.limits.event)
    }

    /// Looks for the next event in the input, up to where `until` bytes of it are taken. Takes what is not part of that event.
    ///
    /// What was found is to be lent at once: the parser may be asked nothing else before.
    #[inline(never)]
    pub(super) fn find(&mut self, input: &mut Input<'_>, until: usize) -> Result<Option<Found>, ParseError> {
        self.search(input, until)
    }

    /// As [`find`](Self::find), but a block that only moves the last event id is found, too.
    #[inline(never)]
    pub(crate) fn find_block(&mut self, input: &mut Input<'_>, until: usize) -> Result<Option<Hit>, ParseError> {
        self.search(input, until)
    }

    /// Looks for what is sought: a copy for each, so that who has no use for positions does not pay for them.
    #[inline(always)]
    fn search<T: Sought>(&mut self, input: &mut Input<'_>, until: usize) -> Result<Option<T>, ParseError> {
        input.reclaim();
        loop {
            match self.state {
                State::Idle => {
                    if input.rest_until(until).is_empty() {
                        return Ok(None);
                    }
                    let mut block = Block::default();
                    match self.scan(input, until, &mut block) {
                        Scan::Event(taken) => return Ok(Some(T::event(Found { block, taken }))),
                        Scan::Empty(taken) => {
                            let mut position = None;
                            if let Some(id) = block.id.of(input.rest()) {
                                commit(&mut self.last_id, &String::from_utf8_lossy(id));
                                position = T::position();
                            }
                            input.skip(taken);
                            if position.is_some() {
                                return Ok(position);
                            }
                        }
                        Scan::Open(at) => self.open_block(&block, at, input, until),
                    }
                }
                State::Name | State::Space | State::Value | State::Line if self.open.is_some() => {
                    match self.collect(input, until) {
                        Ok(Collected::Event) => {
                            return Ok(Some(T::event(Found { block: Block::default(), taken: 0 })));
                        }
                        Ok(Collected::Position) => {
                            if let Some(position) = T::position() {
                                return Ok(Some(position));
                            }
                        }
                        Ok(Collected::Nothing) => {}
                        Ok(Collected::Empty) => return Ok(None),
                        Err(error) => {
                            self.restart();
                            self.state = State::Failed(error);
                        }
                    }
                }
                State::Name | State::Space | State::Value | State::Line => {
                    if self.after_cr {
                        let Some(&first) = input.rest_until(until).first() else { return Ok(None) };
                        input.skip(usize::from(first == b'\n'));
                        self.after_cr = false;
                    }
                    self.state = State::Idle;
                }
                State::Skip => {
                    let rest = input.rest_until(until);
                    let Some(end) = line_end(rest) else {
                        let len = rest.len();
                        input.skip(len);
                        return Ok(None);
                    };
                    self.after_cr = rest[end] == b'\r';
                    self.state = State::Line;
                    input.skip(end + 1);
                }
                State::Bom(seen) => {
                    let Some(&byte) = input.rest_until(until).first() else { return Ok(None) };
                    if BOM.get(usize::from(seen)) == Some(&byte) {
                        input.skip(1);
                        self.state = if seen == 2 { State::Idle } else { State::Bom(seen + 1) };
                    } else {
                        // Part of a mark is the start of a field name that nobody knows.
                        self.state = if seen == 0 { State::Idle } else { State::Skip };
                    }
                }
                State::Failed(error) => {
                    let len = input.rest_until(until).len();
                    input.skip(len);
                    return Err(error);
                }
            }
        }
    }

    /// Goes on with the rest of a block line by line, behind the `taken` bytes that were scanned where they lie.
    fn open_block(&mut self, block: &Block, taken: usize, input: &mut Input<'_>, until: usize) {
        let next = input.rest_until(until).get(taken..).unwrap_or_default();
        // A blank line is here only behind a window that ends before it.
        let blank = matches!(next.first(), Some(b'\r' | b'\n'));
        let name = if next.is_empty() || blank { None } else { Some(classify(next)) };
        if block.size > 0 || blank || !matches!(name, None | Some(Name::Other)) {
            self.open = Some(Box::new(Open::new(block, input)));
        }
        input.skip(taken);
        self.state = if name == Some(Name::Other) { State::Skip } else { State::Line };
    }

    /// Reads the lines of a block where they lie, as far as they are in. Data lines are joined with LF behind the first.
    #[inline]
    fn scan(&mut self, input: &mut Input<'_>, until: usize, block: &mut Block) -> Scan {
        let window = self.window();
        let mut bytes = input.rest_until_mut(until);
        if bytes.len() > window {
            bytes = &mut bytes[..window];
        }
        let mut at = scan_plain(bytes, block);
        if block.lines > 0 && bytes.get(at) == Some(&b'\n') {
            return Scan::Event(at + 1);
        }
        while let Some(len) = line_end(&bytes[at..]) {
            let end = at + len;
            let cr = bytes[end] == b'\r';
            let next = end + 1 + usize::from(cr && bytes.get(end + 1) == Some(&b'\n'));
            if len == 0 {
                if cr && end + 1 == bytes.len() {
                    // It is open whether an LF belongs to this CR.
                    self.after_cr = true;
                    self.state = State::Line;
                }
                return if block.lines > 0 { Scan::Event(next) } else { Scan::Empty(next) };
            }
            if let Name::Known(field, named) = classify(&bytes[at..=end]) {
                let from = at + named;
                // Without a colon a line end stands here.
                let value = Span { start: from + usize::from(bytes[from] == b' '), end };
                match field {
                    Field::Data => {
                        if block.lines == 0 {
                            block.data = value;
                        } else if block.kept > block.data.end {
                            // Joining would overwrite a field.
                            return Scan::Open(at);
                        } else {
                            block.data.end = append(bytes, block.data.end, value);
                        }
                        block.lines += 1;
                    }
                    Field::Event => (block.event, block.kept) = (value, end),
                    Field::Topic => (block.topic, block.kept) = (value, end),
                    Field::Id if bytes[value.start..end].contains(&0) => {}
                    Field::Id => (block.id, block.kept) = (value, end),
                    Field::Retry => self.retry = digits(&bytes[value.start..end]).or(self.retry),
                }
                block.size += len + 1;
            }
            at = next;
        }
        // Mid-line, or behind a CR whose LF may still come.
        self.after_cr = at == bytes.len() && at > 0 && bytes[at - 1] == b'\r';
        Scan::Open(at)
    }

    /// The fields of what [`find`](Self::find) found, as they came, before it is lent.
    pub(crate) fn peek<'a>(&'a self, found: &'a Found, input: &'a Input<'_>) -> Peek<'a> {
        if found.taken == 0 {
            return self.open.as_deref().map(Open::peek).unwrap_or_default();
        }
        let (block, bytes) = (&found.block, input.rest());
        Peek {
            event: block.event.of(bytes).unwrap_or_default(),
            id: block.id.of(bytes),
            topic: block.topic.of(bytes),
            data: block.data.of(bytes).unwrap_or_default(),
        }
    }

    /// Lends what [`find`](Self::find) found, and takes it.
    #[inline]
    pub(crate) fn lend<'i>(&mut self, found: Found, input: &'i mut Input<'_>) -> Event<'i> {
        if found.taken == 0 {
            return self.dispatch(input);
        }
        let (bytes, lent) = input.take_or_lend(found.taken);
        let block = found.block;
        // Mostly the data comes last: then one check covers all fields.
        let whole = if block.kept < block.data.end { text(bytes, block.data.end) } else { None };
        let event = match whole {
            Some(whole) => block.slices(whole),
            None => block.separate(bytes, lent.put_text(String::new())),
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

/// An event that is due.
pub(crate) struct Found {
    /// Where its fields lie, if they lie in the input.
    block: Block,
    /// Bytes of the input that are still to be taken with it: none where it was collected.
    pub(crate) taken: usize,
}

/// How far a scan came.
enum Scan {
    /// A block with data ends here.
    Event(usize),
    /// A block without data ends here.
    Empty(usize),
    /// The block goes on at this line start.
    Open(usize),
}

/// Where a value lies. The default is nowhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    /// The bytes at this place of `bytes`.
    #[inline]
    pub(super) fn of(self, bytes: &[u8]) -> Option<&[u8]> {
        bytes.get(self.start..self.end)
    }

    /// The text at this place of `text`.
    #[inline]
    pub(super) fn of_text(self, text: &str) -> Option<&str> {
        text.get(self.start..self.end)
    }

    #[inline]
    pub(super) fn is_somewhere(self) -> bool {
        self.start != usize::MAX
    }
}

impl Default for Span {
    #[inline]
    fn default() -> Self {
        Self { start: usize::MAX, end: 0 }
    }
}

/// What a block holds, as places in the bytes it lies in.
#[derive(Default)]
pub(super) struct Block {
    /// The lines, joined.
    pub(super) data: Span,
    pub(super) lines: usize,
    pub(super) event: Span,
    pub(super) id: Span,
    pub(super) topic: Span,
    /// Where the last field but data ends.
    pub(super) kept: usize,
    /// What counts against [`Limits::event`].
    pub(super) size: usize,
}

impl Block {
    /// The event as slices of `text`.
    #[inline]
    pub(super) fn slices<'i>(&self, text: &'i str) -> Event<'i> {
        let event = self.event.of_text(text).unwrap_or_default();
        Event {
            event: if event.is_empty() { MESSAGE } else { event },
            data: self.data.of_text(text).unwrap_or_default(),
            id: self.id.of_text(text),
            topic: self.topic.of_text(text),
        }
    }

    /// The event from a text of its own: invalid UTF-8 replaced, or fields that lie behind the data.
    #[cold]
    pub(super) fn separate<'i>(&self, bytes: &[u8], all: &'i mut String) -> Event<'i> {
        let mut put = |span: Span| match span.of(bytes) {
            Some(bytes) => {
                let start = all.len();
                all.push_str(&String::from_utf8_lossy(bytes));
                Span { start, end: all.len() }
            }
            None => span,
        };
        let separate = Block {
            data: put(self.data),
            event: put(self.event),
            id: put(self.id),
            topic: put(self.topic),
            ..Block::default()
        };
        separate.slices(all)
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
#[inline(always)]
pub(super) fn classify(line: &[u8]) -> Name {
    match line {
        [b'd', b'a', b't', b'a', b':', ..] => Name::Known(Field::Data, 5),
        [b'i', b'd', b':', ..] => Name::Known(Field::Id, 3),
        [b'e', b'v', b'e', b'n', b't', b':', ..] => Name::Known(Field::Event, 6),
        [b':', ..] => Name::Other,
        _ => classify_rare(line),
    }
}

#[inline(never)]
fn classify_rare(line: &[u8]) -> Name {
    const NAMES: [(Field, &[u8]); 5] = [
        (Field::Data, b"data"),
        (Field::Event, b"event"),
        (Field::Id, b"id"),
        (Field::Retry, b"retry"),
        (Field::Topic, b"topic"),
    ];
    for (field, name) in NAMES {
        match line.strip_prefix(name) {
            Some([b':', ..]) => return Name::Known(field, name.len() + 1),
            Some([b'\r' | b'\n', ..]) => return Name::Known(field, name.len()),
            Some([_, ..]) => {}
            Some([]) => return Name::Unfinished,
            None if name.starts_with(line) => return Name::Unfinished,
            None => {}
        }
    }
    Name::Other
}

/// The length of the line at the front, where it is `data: ` and a short value, ends in LF and is followed by another LF.
#[inline(always)]
fn single_line(bytes: &[u8], window: usize) -> Option<usize> {
    if !bytes.starts_with(DATA) {
        return None;
    }
    let end = plain_line(bytes)?;
    (bytes[end..].starts_with(b"\n\n") && end + 2 <= window).then_some(end)
}

/// Lends the one line of data at the front, `len` bytes with its name, and takes it and its two line ends.
#[inline(always)]
fn lend_line<'i>(len: usize, input: &'i mut Input<'_>) -> Event<'i> {
    let (bytes, lent) = input.take_or_lend(len + 2);
    let line = match text(bytes, len) {
        Some(line) => line,
        None => lent.put_text(String::from_utf8_lossy(&bytes[..len]).into_owned()),
    };
    // The name is ASCII and stays what it is.
    Event { event: MESSAGE, data: line.get(DATA.len()..).unwrap_or_default(), id: None, topic: None }
}

/// Where the line at the front ends: the index of its CR or LF.
///
/// Lines are short: sixteen bytes at a time, without a call, are faster for them than a vectorised search.
#[inline(always)]
pub(super) fn line_end(bytes: &[u8]) -> Option<usize> {
    /// Longer lines are searched by vectors.
    const SHORT: usize = 128;
    let mut at = 0;
    while at < SHORT {
        let Some(next) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else { break };
        if let Some(control) = first_control(next) {
            at += control;
            if matches!(bytes[at], b'\n' | b'\r') {
                return Some(at);
            }
            // A tab or a NUL, say.
            break;
        }
        at += 16;
    }
    Some(at + payload::line_end(bytes.get(at..)?)?)
}

/// Takes the lines at the front as nearly all blocks have them: `id: ` and `event: `, then `data: `, all ended by LF and without
/// tabs and the like. Gives where a line begins that is otherwise, the blank line in the end.
#[inline(always)]
fn scan_plain(bytes: &mut [u8], block: &mut Block) -> usize {
    let mut at = 0;
    while let Some(line) = bytes.get(at..) {
        let (name, value) = match line {
            [b'd', b'a', b't', b'a', b':', b' ', ..] => break,
            [b'i', b'd', b':', b' ', ..] => (b"id: ".len(), &mut block.id),
            [b'e', b'v', b'e', b'n', b't', b':', b' ', ..] => (b"event: ".len(), &mut block.event),
            _ => break,
        };
        let Some(len) = plain_line(line) else { break };
        *value = Span { start: at + name, end: at + len };
        at += len + 1;
    }
    (block.kept, block.size) = (at, at);
    while let Some(line) = bytes.get(at..).filter(|line| line.starts_with(DATA)) {
        let Some(len) = plain_line(line) else { break };
        let value = Span { start: at + DATA.len(), end: at + len };
        if block.lines == 0 {
            block.data = value;
        } else {
            block.data.end = append(bytes, block.data.end, value);
        }
        block.lines += 1;
        block.size += len + 1;
        at += len + 1;
    }
    at
}

/// The length of the line at the front, where it ends in LF and nothing else in it is below 0x0E.
#[inline(always)]
fn plain_line(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(next) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        if let Some(control) = first_control(next) {
            at += control;
            return (bytes[at] == b'\n').then_some(at);
        }
        at += 16;
        if at == 128 {
            break;
        }
    }
    None
}

/// Joins another line of data with LF to those that end at `end`, further down than it lies now. Gives the new end.
#[inline(always)]
fn append(bytes: &mut [u8], end: usize, line: Span) -> usize {
    /// Up to here moving word by word is faster than a call.
    const SHORT: usize = 64;
    let len = line.end - line.start;
    bytes[end] = b'\n';
    let to = end + 1;
    if (8..=SHORT).contains(&len) {
        // The last word may overlap the one before it, so it is read before anything moves.
        let last = word(bytes, line.end - 8);
        let mut moved = 0;
        while moved + 8 < len {
            let word = word(bytes, line.start + moved);
            bytes[to + moved..to + moved + 8].copy_from_slice(&word);
            moved += 8;
        }
        bytes[to + len - 8..to + len].copy_from_slice(&last);
    } else {
        bytes.copy_within(line.start..line.end, to);
    }
    to + len
}

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> [u8; 8] {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk().copied()).unwrap_or_default()
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

/// The first `len` bytes as text, where they are valid UTF-8.
///
/// A short text is nearly always ASCII. Where it is not, it is validated together with what lies behind it: the check takes 64
/// bytes at once far faster than it takes some dozens one by one. Only where that fails is the text looked at by itself.
#[inline(always)]
pub(super) fn text(bytes: &[u8], len: usize) -> Option<&str> {
    /// Longer texts go through the vectorised check at once.
    const SHORT: usize = 256;
    if len <= SHORT
        && let Some(text) = ascii(bytes, len)
    {
        return Some(text);
    }
    text_in_blocks(bytes, len)
}

#[inline(never)]
fn text_in_blocks(bytes: &[u8], len: usize) -> Option<&str> {
    /// What the vectorised check takes at once.
    const BLOCK: usize = 64;
    let whole = len.next_multiple_of(BLOCK);
    if bytes.len() >= whole {
        // Not inside a character, if the next one can help it.
        let end =
            (whole..whole + 4).find(|end| bytes.get(*end).is_none_or(|byte| byte & 0xC0 != 0x80)).unwrap_or(whole);
        if let Some(text) = valid(&bytes[..end]) {
            return text.get(..len);
        }
    }
    valid(bytes.get(..len)?)
}

/// `bytes` as text, where they are valid UTF-8.
#[inline]
pub(super) fn valid(bytes: &[u8]) -> Option<&str> {
    simdutf8::basic::from_utf8(bytes).ok()
}

/// Makes `id` the last event id. The allocation is reused, unless it is long and mostly unused.
pub(super) fn commit(last: &mut String, id: &str) {
    if last.capacity() > ID_KEPT && last.capacity() / 4 > id.len() {
        *last = String::new();
    }
    last.clear();
    last.push_str(id);
}
