//! Places in the order of publications, and their text.

use core::fmt;

/// A place in the one order over all topics. Compared as a pair; never goes backwards within a log.
///
/// Its text, `ms-seq`, is also the id of a Redis stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Milliseconds since the Unix epoch, or more where the clock went back or the count ran over.
    pub ms: u64,
    /// Counts what was published within that millisecond, from 0.
    pub seq: u64,
}

impl Position {
    /// Before everything. No publication has it.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };

    /// The one right before: who is there has everything but this.
    #[must_use]
    pub const fn before(self) -> Self {
        match self {
            Self { ms: 0, seq: 0 } => self,
            Self { ms, seq: 0 } => Self { ms: ms - 1, seq: u64::MAX },
            Self { ms, seq } => Self { ms, seq: seq - 1 },
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Tells one log from another: chosen at random when the log is created, so that a cursor that a restart or another process gave
/// is known as foreign. Shown as 8 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogId(pub u32);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What a client remembers: everything of its topics up to here has reached it.
///
/// It travels as text, `ms-seq-log`: an event's `id`, the `Last-Event-ID` field, a poll's `lastId`. Clients send it back as it is,
/// so every cursor but [`START`](Self::START) has one spelling.
///
/// ```
/// use tautline::hub::{Cursor, LogId, Position};
/// let cursor = Cursor { position: Position { ms: 1_700_000_000_000, seq: 3 }, log: Some(LogId(0xbeef)) };
/// assert_eq!(cursor.to_string(), "1700000000000-3-0000beef");
/// assert_eq!(Cursor::parse("1700000000000-3-0000beef"), Ok(cursor));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The place.
    pub position: Position,
    /// The log it is a place in; `None` where the text names none, which makes it a cursor of an unknown log.
    pub log: Option<LogId>,
}

impl Cursor {
    /// The start of everything, written `0`: who comes with it wants all that is retained. `0-0` is read as the same.
    pub const START: Self = Self { position: Position::ZERO, log: None };

    /// Reads `ms-seq-log`, `ms-seq`, or `0`. Numbers are decimal without sign or leading zeros, `log` is 8 lower-case hex digits.
    /// Reads no further than the first fault.
    ///
    /// # Errors
    ///
    /// [`CursorError`] says which part is none. That a cursor is well-formed does not mean that its log or place is known.
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        if text == "0" {
            return Ok(Self::START);
        }
        let (ms, rest) = text.split_once('-').ok_or(CursorError::Form)?;
        let (seq, log) = match rest.split_once('-') {
            Some((seq, log)) => (seq, Some(log)),
            None => (rest, None),
        };
        let position = Position { ms: number(ms)?, seq: number(seq)? };
        Ok(Self { position, log: log.map(log_id).transpose()? })
    }

    /// The cursor's text without the heap, as `id` of an event or a position block.
    pub fn text(&self) -> CursorText {
        let mut text = CursorText { bytes: [0; CursorText::MAX], from: CursorText::MAX as u8 };
        if let Some(LogId(log)) = self.log {
            (0..8).for_each(|digit| text.prepend(b"0123456789abcdef"[(log >> (4 * digit)) as usize & 15]));
            text.prepend(b'-');
        }
        text.prepend_number(self.position.seq);
        text.prepend(b'-');
        text.prepend_number(self.position.ms);
        text
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text().as_str())
    }
}

/// The text of a [`Cursor`], held in place. See [`Cursor::text`].
#[derive(Clone, Copy)]
pub struct CursorText {
    /// Written from the back.
    bytes: [u8; Self::MAX],
    from: u8,
}

impl CursorText {
    /// The longest cursor in bytes: two numbers of 20 digits, 8 hex digits, two hyphens.
    pub const MAX: usize = 50;

    /// The text.
    pub fn as_str(&self) -> &str {
        // It is ASCII.
        core::str::from_utf8(&self.bytes[usize::from(self.from)..]).unwrap_or_default()
    }

    fn prepend(&mut self, byte: u8) {
        self.from -= 1;
        self.bytes[usize::from(self.from)] = byte;
    }

    fn prepend_number(&mut self, mut number: u64) {
        loop {
            self.prepend(b'0' + (number % 10) as u8);
            number /= 10;
            if number == 0 {
                return;
            }
        }
    }
}

impl fmt::Debug for CursorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Why a text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CursorError {
    /// Neither `0` nor parts with hyphens between them.
    Form,
    /// A part that is no decimal number of 64 bits, or not in its one spelling.
    Number,
    /// A log that is not 8 lower-case hex digits.
    Log,
}

impl CursorError {
    /// The status of the answer: 400.
    pub const fn status(self) -> u16 {
        400
    }
}

impl fmt::Display for CursorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "cursor is neither 0 nor ms-seq-log",
            Self::Number => "cursor with a part that is no number of 64 bits",
            Self::Log => "cursor with a log that is not 8 lower-case hex digits",
        })
    }
}

impl core::error::Error for CursorError {}

fn number(part: &str) -> Result<u64, CursorError> {
    // `str::parse` alone would take a sign, zeros in front, and any length of them.
    let canonical = part == "0" || (part.len() <= 20 && !part.starts_with('0'));
    if !canonical || !part.bytes().all(|b| b.is_ascii_digit()) {
        return Err(CursorError::Number);
    }
    part.parse().map_err(|_| CursorError::Number)
}

fn log_id(part: &str) -> Result<LogId, CursorError> {
    if part.len() != 8 || !part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(CursorError::Log);
    }
    u32::from_str_radix(part, 16).map(LogId).map_err(|_| CursorError::Log)
}
