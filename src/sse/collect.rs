//! Events that span reads: lines are taken apart as they arrive, and what counts of them is collected.

use super::Event;
use super::parse::{Block, Field, Name, ParseError, Parser, Span, State, classify, commit, digit, line_end, valid};
use crate::input::Input;
use alloc::string::String;
use alloc::vec::Vec;
use memchr::memchr2;

/// Bytes of a value that are searched and copied at once: few enough to be in the first-level cache still when they are copied.
const PIECE: usize = 4096;

/// A line that is as long as this already mostly goes on, and is searched as a long one at once.
const LONG: usize = 128;

/// What [`Parser::collect`] came to.
pub(super) enum Collected {
    /// A block with data ended.
    Event,
    /// Nothing is kept any more, or the line is to be passed over.
    Nothing,
    /// The input is used up.
    Empty,
}

/// A block whose end is not in yet, and the line that is being read. Exists only while there is one.
#[derive(Default)]
pub(super) struct Open {
    /// Data lines, joined with LF. At dispatch the other fields are appended, so that one buffer holds the event.
    data: Vec<u8>,
    /// Values of `event`, `id` and `topic`; `block` names the valid ones.
    fields: Vec<u8>,
    /// What the block holds so far: ranges of `fields`. That of the data is set at dispatch.
    block: Block,
    /// Bytes of the present line, name and colon included.
    line: usize,
    /// Its field.
    field: Field,
    /// Where its value begins in `fields`.
    from: usize,
    /// A field name cut by the end of a read: as many bytes as tell all known names apart, their colon included.
    name: [u8; 6],
    named: usize,
    /// The number of a `retry` line so far; `None` once it is none.
    number: Option<u64>,
}

impl Open {
    /// Takes over the part of a block that was scanned in the input.
    pub(super) fn new(block: &Block, input: &mut Input<'_>) -> Self {
        let mut open = Self::default();
        open.block.size = block.size;
        open.block.lines = block.lines;
        if block.lines > 0 {
            obtain(&mut open.data, input);
        }
        if block.kept > 0 {
            obtain(&mut open.fields, input);
        }
        open.data.extend_from_slice(block.data.of(input.rest()).unwrap_or_default());
        let mut put = |span: Span| {
            let Some(bytes) = span.of(input.rest()) else { return span };
            let start = open.fields.len();
            open.fields.extend_from_slice(bytes);
            Span { start, end: open.fields.len() }
        };
        open.block.event = put(block.event);
        open.block.id = put(block.id);
        open.block.topic = put(block.topic);
        open
    }

    /// A line of `field` begins, with so many bytes of name and colon.
    fn enter(&mut self, field: Field, named: usize, input: &mut Input<'_>) {
        self.field = field;
        self.line = named;
        match field {
            Field::Data => {
                obtain(&mut self.data, input);
                if self.block.lines > 0 {
                    self.data.push(b'\n');
                }
            }
            Field::Retry => (self.number, self.from) = (Some(0), 0),
            Field::Event | Field::Id | Field::Topic => {
                obtain(&mut self.fields, input);
                self.from = self.fields.len();
            }
        }
    }

    /// Takes a line of data of which more than the name is in, but not its end.
    pub(super) fn take_data(&mut self, named: usize, input: &mut Input<'_>, until: usize) {
        self.enter(Field::Data, named, input);
        let rest = input.rest_until(until);
        let value = rest.get(named..).unwrap_or_default();
        self.line = rest.len();
        self.value(value.strip_prefix(b" ").unwrap_or(value));
        input.skip(self.line);
    }

    /// More of the line's value.
    fn value(&mut self, piece: &[u8]) {
        match self.field {
            Field::Data => self.data.extend_from_slice(piece),
            Field::Event | Field::Id | Field::Topic => self.fields.extend_from_slice(piece),
            Field::Retry => {
                self.from += piece.len();
                self.number = piece.iter().try_fold(self.number.unwrap_or(0), digit).filter(|_| self.number.is_some());
            }
        }
    }

    /// The line ended. Gives the number of a `retry` line.
    fn leave(&mut self) -> Option<u64> {
        self.block.size += self.line + 1;
        match self.field {
            Field::Data => self.block.lines += 1,
            Field::Retry => return self.number.filter(|_| self.from > 0),
            Field::Event | Field::Id | Field::Topic => {
                let value = Span { start: self.from, end: self.fields.len() };
                match self.field {
                    Field::Event => self.block.event = value,
                    Field::Topic => self.block.topic = value,
                    _ if self.fields[self.from..].contains(&0) => {}
                    _ => self.block.id = value,
                }
            }
        }
        None
    }

    /// The id that the block sets.
    fn id(&self) -> Option<&[u8]> {
        self.block.id.of(&self.fields)
    }
}

impl Parser {
    /// Takes lines apart and collects what they hold, until the block ends or the input does.
    pub(super) fn collect(&mut self, input: &mut Input<'_>, until: usize) -> Result<Collected, ParseError> {
        let Some(open) = self.open.as_deref_mut() else { return Ok(Collected::Nothing) };
        while let Some(&first) = input.rest_until(until).first() {
            match self.state {
                State::Name => {
                    // A name of at most five bytes is torn; it is told apart byte by byte.
                    open.name[open.named] = first;
                    open.named += 1;
                    match classify(&open.name[..open.named]) {
                        Name::Unfinished => input.skip(1),
                        Name::Other => self.state = State::Skip,
                        Name::Known(field, named) => {
                            // A line end is not part of the name: then nothing of this byte is taken.
                            input.skip(usize::from(named == open.named));
                            open.enter(field, named, input);
                            self.state = State::Space;
                        }
                    }
                }
                State::Space => {
                    if first == b' ' {
                        input.skip(1);
                        open.line += 1;
                    }
                    self.state = State::Value;
                }
                State::Value => {
                    let rest = input.rest_until(until);
                    let mut taken = 0;
                    while taken < rest.len() && self.state == State::Value {
                        let next = &rest[taken..rest.len().min(taken + PIECE)];
                        let end = if open.line < LONG { line_end(next) } else { memchr2(b'\n', b'\r', next) };
                        let piece = &next[..end.unwrap_or(next.len())];
                        open.line += piece.len();
                        let room = self.limits.event.saturating_sub(open.block.size);
                        if open.line > self.limits.line.min(room) {
                            // The one that the byte after the last good one broke, however many came at once.
                            return Err(if self.limits.line <= room {
                                ParseError::LineTooLong { limit: self.limits.line }
                            } else {
                                ParseError::EventTooLong { limit: self.limits.event }
                            });
                        }
                        open.value(piece);
                        taken += piece.len();
                        if let Some(end) = end {
                            taken += 1;
                            self.after_cr = next[end] == b'\r';
                            self.retry = open.leave().or(self.retry);
                            self.state = State::Line;
                        }
                    }
                    input.skip(taken);
                }
                State::Line => {
                    if core::mem::take(&mut self.after_cr) && first == b'\n' {
                        input.skip(1);
                        continue;
                    }
                    if first == b'\n' || first == b'\r' {
                        self.after_cr = first == b'\r';
                        input.skip(1);
                        if open.block.lines > 0 {
                            return Ok(Collected::Event);
                        }
                        if let Some(id) = open.id() {
                            commit(&mut self.last_id, &String::from_utf8_lossy(id));
                        }
                        self.open = None;
                        return Ok(Collected::Nothing);
                    }
                    match classify(input.rest_until(until)) {
                        Name::Known(field, named) => {
                            input.skip(named);
                            open.enter(field, named, input);
                            self.state = State::Space;
                        }
                        Name::Other => self.state = State::Skip,
                        Name::Unfinished => {
                            let rest = input.rest_until(until);
                            open.named = rest.len();
                            open.name[..rest.len()].copy_from_slice(rest);
                            input.skip(open.named);
                            self.state = State::Name;
                        }
                    }
                }
                // Not of this function: the caller goes on.
                State::Skip | State::Idle | State::Bom(_) | State::Failed(_) => {
                    if open.block.size == 0 {
                        self.open = None;
                    }
                    return Ok(Collected::Nothing);
                }
            }
        }
        Ok(Collected::Empty)
    }

    /// Lends the collected event, and is between two blocks again.
    pub(super) fn dispatch<'i>(&mut self, input: &'i mut Input<'_>) -> Event<'i> {
        let Open { mut data, fields, mut block, .. } = self.open.take().map(|open| *open).unwrap_or_default();
        let len = data.len();
        block.data = Span { start: 0, end: len };
        for field in [&mut block.event, &mut block.id, &mut block.topic] {
            if field.is_somewhere() {
                *field = Span { start: len + field.start, end: len + field.end };
            }
        }
        data.extend_from_slice(&fields);
        input.give_buffer(fields);
        let (bytes, repaired) = input.lend_collected(data);
        let event = match valid(bytes) {
            Some(text) => block.slices(text),
            None => block.separate(bytes, repaired),
        };
        if let Some(id) = event.id {
            commit(&mut self.last_id, id);
        }
        event
    }
}

/// Takes a buffer from the input's pool, where `buffer` is none yet.
fn obtain(buffer: &mut Vec<u8>, input: &mut Input<'_>) {
    if buffer.capacity() == 0 {
        *buffer = input.take_buffer();
    }
}
