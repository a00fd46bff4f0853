//! Events that span reads: lines are taken apart as they arrive, and what counts of them is collected.

use super::Event;
use super::parse::{Block, Field, Limits, Name, ParseError, Parser, Span, State, classify, commit, digit, line_end};
use super::sought::Peek;
use crate::input::Input;
use crate::payload::Gathered;
use alloc::string::String;
use alloc::vec::Vec;

/// Bytes of a value that are taken at once: few enough to be in the first-level cache still where they are not ASCII and are looked
/// at again.
const PIECE: usize = 8 << 10;

/// Room for the values of fields but data from the start: an id and a type, as they mostly are.
const FIELDS: usize = 64;

/// What [`Parser::collect`] came to.
pub(super) enum Collected {
    /// A block with data ended.
    Event,
    /// A block without data ended, and set the last event id.
    Position,
    /// Nothing is kept any more, or the line is to be passed over.
    Nothing,
    /// The input is used up.
    Empty,
}

/// A block whose end is not in yet, and the line that is being read. Exists only while there is one.
#[derive(Default)]
pub(super) struct Open {
    /// Data lines, joined with LF, in a buffer from the pool. At dispatch the other fields are appended, so that one buffer holds the event.
    data: Gathered,
    /// Values of `event`, `id` and `topic`; `block` names the valid ones.
    fields: Gathered,
    /// What the block holds so far: ranges of `fields`. That of the data is set at dispatch.
    block: Block,
    /// Bytes of the present line, name and colon included.
    line: usize,
    /// Bytes that it may have: what [`Limits`] allow, the lines before it counted.
    limit: usize,
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
            open.reserve_fields();
        }
        open.data.push(block.data.of(input.rest()).unwrap_or_default());
        let mut put = |span: Span| {
            let Some(bytes) = span.of(input.rest()) else { return span };
            let start = open.fields.bytes().len();
            open.fields.push(bytes);
            open.fields.end();
            Span { start, end: open.fields.bytes().len() }
        };
        open.block.event = put(block.event);
        open.block.id = put(block.id);
        open.block.topic = put(block.topic);
        open
    }

    /// A line of `field` begins, with so many bytes of name and colon.
    fn enter(&mut self, field: Field, named: usize, limits: Limits, input: &mut Input<'_>) {
        self.field = field;
        self.line = named;
        self.limit = limits.line.min(limits.event.saturating_sub(self.block.size));
        match field {
            Field::Data => {
                obtain(&mut self.data, input);
                if self.block.lines > 0 {
                    self.data.push_byte(b'\n');
                }
            }
            Field::Retry => (self.number, self.from) = (Some(0), 0),
            Field::Event | Field::Id | Field::Topic => {
                self.reserve_fields();
                self.from = self.fields.bytes().len();
            }
        }
    }

    /// Sees to a buffer for fields, and not from the pool: there they are as large as the largest messages, and a short id that waits
    /// for its event would hold one for as long.
    fn reserve_fields(&mut self) {
        if !self.fields.has_buffer() {
            self.fields = Gathered::with(Vec::with_capacity(FIELDS));
        }
    }

    /// More of the line's value, up to a line end, whose place it gives.
    fn value(&mut self, piece: &[u8]) -> Option<usize> {
        match self.field {
            Field::Data => self.data.push_line(piece),
            Field::Event | Field::Id | Field::Topic => self.fields.push_line(piece),
            Field::Retry => {
                let end = line_end(piece);
                let piece = &piece[..end.unwrap_or(piece.len())];
                self.from += piece.len();
                self.number = self.number.and_then(|number| piece.iter().try_fold(number, digit));
                end
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
                self.fields.end();
                let value = Span { start: self.from, end: self.fields.bytes().len() };
                match self.field {
                    Field::Event => self.block.event = value,
                    Field::Topic => self.block.topic = value,
                    _ if value.of(self.fields.bytes()).is_some_and(|id| id.contains(&0)) => {}
                    _ => self.block.id = value,
                }
            }
        }
        None
    }

    /// The fields as far as they are collected.
    pub(super) fn peek(&self) -> Peek<'_> {
        let fields = self.fields.bytes();
        Peek {
            event: self.block.event.of(fields).unwrap_or_default(),
            id: self.id(),
            topic: self.block.topic.of(fields),
            data: self.data.bytes(),
        }
    }

    /// The id that the block sets.
    fn id(&self) -> Option<&[u8]> {
        self.block.id.of(self.fields.bytes())
    }
}

impl Parser {
    /// Takes the input if it is one more byte of a value, as nearly all reads of a stream are that comes byte by byte.
    #[inline]
    pub(super) fn trickle(&mut self, input: &mut Input<'_>) -> bool {
        let (&[byte], Some(open)) = (input.rest(), self.open.as_deref_mut()) else { return false };
        if matches!(byte, b'\n' | b'\r') || open.line >= open.limit {
            return false;
        }
        open.line += 1;
        match open.field {
            Field::Data => open.data.push_byte(byte),
            _ => {
                open.value(&[byte]);
            }
        }
        input.skip_all();
        true
    }

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
                            open.enter(field, named, self.limits, input);
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
                    // Up to the byte that breaks the limit.
                    let most = open.limit.saturating_sub(open.line).saturating_add(1).min(PIECE);
                    let piece = rest.get(..most).unwrap_or(rest);
                    let end = open.value(piece);
                    let taken = end.unwrap_or(piece.len());
                    open.line += taken;
                    if open.line > open.limit {
                        // The one that the byte after the last good one broke, however many came at once.
                        return Err(if open.limit == self.limits.line {
                            ParseError::LineTooLong { limit: self.limits.line }
                        } else {
                            ParseError::EventTooLong { limit: self.limits.event }
                        });
                    }
                    if let Some(end) = end {
                        // The line end counts too.
                        if open.block.size.saturating_add(open.line) >= self.limits.event {
                            return Err(ParseError::EventTooLong { limit: self.limits.event });
                        }
                        self.after_cr = piece.get(end) == Some(&b'\r');
                        self.retry = open.leave().or(self.retry);
                        self.state = State::Line;
                    }
                    input.skip(taken + usize::from(end.is_some()));
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
                        let position = open.id();
                        if let Some(id) = position {
                            commit(&mut self.last_id, &String::from_utf8_lossy(id));
                        }
                        let position = position.is_some();
                        self.open = None;
                        return Ok(if position { Collected::Position } else { Collected::Nothing });
                    }
                    match classify(input.rest_until(until)) {
                        Name::Known(field, named) => {
                            input.skip(named);
                            open.enter(field, named, self.limits, input);
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
        let Some(open) = self.open.take() else { return Event::new("") };
        let Open { mut data, fields, mut block, .. } = *open;
        let len = data.bytes().len();
        block.data = Span { start: 0, end: len };
        for field in [&mut block.event, &mut block.id, &mut block.topic] {
            if field.is_somewhere() {
                *field = Span { start: len + field.start, end: len + field.end };
            }
        }
        data.append(&fields);
        let event = match data.finish() {
            Ok(text) => block.slices(input.lend_text(text)),
            Err(bytes) => {
                let (bytes, repaired) = input.lend_collected(bytes);
                block.separate(bytes, repaired)
            }
        };
        if let Some(id) = event.id {
            commit(&mut self.last_id, id);
        }
        event
    }
}

/// Takes a buffer from the input's pool, where `buffer` is none yet.
fn obtain(buffer: &mut Gathered, input: &mut Input<'_>) {
    if !buffer.has_buffer() {
        *buffer = Gathered::with(input.take_buffer());
    }
}
