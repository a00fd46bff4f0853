//! Bodies as they arrive (RFC 9112 sections 6 and 7): by length, chunked, or until the peer ends its side.
//!
//! Nothing is kept: data is lent where it lies. What surrounds the data of a chunked body (sizes, extensions, trailers) is checked
//! byte by byte, bounded, and dropped. Trailers in particular reach nobody: a field that a head parser never saw is the classic
//! way around a check (RFC 9110 section 6.5.1).

use crate::http::field::{is_control, is_token};
use crate::http::head::Framing;
use crate::input::Input;
use core::fmt;

/// Hexadecimal digits of a chunk size: as many as 64 bits have.
const SIZE_DIGITS: u8 = 16;

/// Bytes of chunk sizes and extensions that may run ahead of the data they carry: each chunk earns [`FREE_PER_CHUNK`] and twice
/// its data. Real extensions (signatures) are some 100 bytes; without a bound one byte of data could cost any number.
const OVERHEAD: u16 = 4096;

/// What each chunk's framing costs without an extension, with 16 digits of size.
const FREE_PER_CHUNK: u16 = 18;

/// Bytes of a trailer section: as many as a head may have by default.
const TRAILER_BYTES: u16 = 8192;

/// Fields of a trailer section: as many as a head may have.
const TRAILER_FIELDS: u8 = 64;

/// Why a body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// More data than `limit` bytes, announced or arrived.
    TooLarge {
        /// The limit that the reader was made with.
        limit: u64,
    },
    /// A chunk size that is no hexadecimal number of 1 to 16 digits.
    ChunkSize,
    /// A control character in a chunk extension.
    ChunkExtension,
    /// Chunk extensions of more than 4 KiB in excess of the data.
    ChunkOverhead,
    /// A line end of the chunked coding that is no CRLF, or is missing behind a chunk's data.
    ChunkEnd,
    /// A malformed trailer field, or more than 8 KiB or 64 fields of them.
    Trailer,
    /// The peer ended its side inside the body.
    Truncated,
}

impl BodyError {
    /// The status that answers it: 413 or 400.
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge { .. } => 413,
            _ => 400,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge { limit } => return write!(f, "body of more than {limit} bytes"),
            Self::ChunkSize => "malformed chunk size",
            Self::ChunkExtension => "control character in a chunk extension",
            Self::ChunkOverhead => "chunk extensions more than 4096 bytes ahead of their data",
            Self::ChunkEnd => "chunk does not end with CRLF",
            Self::Trailer => "malformed trailer, or more than 8192 bytes or 64 fields of trailers",
            Self::Truncated => "connection ended inside the body",
        })
    }
}

impl core::error::Error for BodyError {}

/// A step of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEvent<'i> {
    /// The next bytes, never empty.
    Data(&'i [u8]),
    /// The body is complete. Comes once.
    End,
}

/// Reads one body.
///
/// # Contract
///
/// - [`read`](Self::read) until it says `None`: then the input is used up, or the body was complete and said so.
/// - It takes no byte beyond the body. Any cut gives the same data and the same end or error.
/// - After an error the connection cannot be read further; asking again gives the same error.
///
/// ```text
///   Size -> (Blank -> Extension) -> SizeLf -> Data -> DataCr -> DataLf -> Size ...
///                                     | size 0
///                                     v
///                                  Trailer -> (Name -> Value -> ValueLf -> Trailer) -> LastLf -> Ended -> Done
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BodyReader {
    /// Bytes left of the body (`Length`, `UntilClose`) or of the chunk.
    left: u64,
    /// Bytes that further chunks may hold.
    room: u64,
    limit: u64,
    /// See [`OVERHEAD`]; in the trailer section, its bytes.
    overhead: u16,
    /// Digits of the size; in the trailer section, its fields.
    count: u8,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length,
    UntilClose,
    Size,
    /// White space behind the size, which a semicolon must follow (section 7.1.1).
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer,
    Name,
    Value,
    ValueLf,
    LastLf,
    /// Complete, and not yet said.
    Ended,
    Done,
    Failed(Failure),
}

/// [`BodyError`] without the limit, which the reader holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    TooLarge,
    Size,
    Extension,
    Overhead,
    End,
    Trailer,
    Truncated,
}

impl BodyReader {
    /// The default limit: 1 MiB.
    pub const LIMIT: u64 = 1 << 20;

    /// A reader of one body of at most `limit` bytes of data. A length above it is refused here, before any byte arrives.
    pub fn new(framing: Framing, limit: u64) -> Result<Self, BodyError> {
        let reader = Self::lenient(framing, limit);
        reader.verdict().map(|()| reader)
    }

    /// As [`new`](Self::new), but a length above the limit is refused at the first read.
    pub(crate) fn lenient(framing: Framing, limit: u64) -> Self {
        let (state, left) = match framing {
            Framing::None | Framing::Length(0) => (State::Ended, 0),
            Framing::Length(length) if length > limit => (State::Failed(Failure::TooLarge), 0),
            Framing::Length(length) => (State::Length, length),
            Framing::Chunked => (State::Size, 0),
            Framing::UntilClose => (State::UntilClose, limit),
        };
        Self { left, room: limit, limit, overhead: 0, count: 0, state }
    }

    /// Bytes of data still to come, where that is known: not for chunked and until-close bodies.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length => Some(self.left),
            State::Ended | State::Done => Some(0),
            _ => None,
        }
    }

    /// Whether the whole body was taken from the input, said or not.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Ended | State::Done)
    }

    /// The next step of the body.
    pub fn read<'i>(&mut self, input: &'i mut Input<'_>) -> Result<Option<BodyEvent<'i>>, BodyError> {
        loop {
            match self.state {
                State::Length | State::UntilClose | State::Data => {
                    let n = self.left.min(input.rest().len() as u64);
                    if n > 0 {
                        self.left -= n;
                        if self.left == 0 {
                            self.state = match self.state {
                                State::Length => State::Ended,
                                State::Data => State::DataCr,
                                state => state,
                            };
                        }
                        return Ok(Some(BodyEvent::Data(input.take(n as usize))));
                    }
                    if input.is_empty() {
                        return Ok(None);
                    }
                    // Only an until-close body gets here: its limit is used up, and more came.
                    self.state = State::Failed(Failure::TooLarge);
                }
                State::Ended => {
                    self.state = State::Done;
                    return Ok(Some(BodyEvent::End));
                }
                State::Done => return Ok(None),
                State::Failed(_) => return self.verdict().map(|()| None),
                _ => {
                    let Some(&byte) = input.rest().first() else { return Ok(None) };
                    input.skip(1);
                    self.state = self.step(byte).unwrap_or_else(State::Failed);
                }
            }
        }
    }

    /// The peer ended its side. That completes an until-close body, of which [`read`](Self::read) then says the end.
    pub fn handle_eof(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::UntilClose => self.state = State::Ended,
            State::Ended | State::Done | State::Failed(_) => {}
            _ => self.state = State::Failed(Failure::Truncated),
        }
        self.verdict()
    }

    /// One byte of what surrounds the data of a chunked body.
    fn step(&mut self, byte: u8) -> Result<State, Failure> {
        match (self.state, byte) {
            (State::Size | State::Blank | State::Extension, _) => {
                self.overhead += 1;
                if self.overhead > OVERHEAD + FREE_PER_CHUNK {
                    return Err(Failure::Overhead);
                }
                self.step_size(byte)
            }
            (State::SizeLf, b'\n') => self.begin_chunk(),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size),
            (State::Trailer | State::Name | State::Value | State::ValueLf | State::LastLf, _) => {
                self.overhead += 1;
                if self.overhead > TRAILER_BYTES {
                    return Err(Failure::Trailer);
                }
                self.step_trailer(byte)
            }
            _ => Err(Failure::End),
        }
    }

    fn step_size(&mut self, byte: u8) -> Result<State, Failure> {
        match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.count += 1;
                if self.count > SIZE_DIGITS {
                    return Err(Failure::Size);
                }
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                self.left = self.left << 4 | u64::from(digit);
                Ok(State::Size)
            }
            (State::Size, _) if self.count == 0 => Err(Failure::Size),
            (State::Size | State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Size | State::Blank, b' ' | b'\t') => Ok(State::Blank),
            (State::Size | State::Blank, b';') => Ok(State::Extension),
            (State::Extension, byte) if !is_control(byte) => Ok(State::Extension),
            (State::Extension, _) => Err(Failure::Extension),
            _ => Err(Failure::Size),
        }
    }

    /// The size of a chunk is in.
    fn begin_chunk(&mut self) -> Result<State, Failure> {
        self.count = 0;
        if self.left == 0 {
            self.overhead = 0;
            return Ok(State::Trailer);
        }
        self.room = self.room.checked_sub(self.left).ok_or(Failure::TooLarge)?;
        let earned = u64::from(FREE_PER_CHUNK).saturating_add(self.left.saturating_mul(2));
        self.overhead = u64::from(self.overhead).saturating_sub(earned) as u16;
        Ok(State::Data)
    }

    fn step_trailer(&mut self, byte: u8) -> Result<State, Failure> {
        match (self.state, byte) {
            (State::Trailer, b'\r') => Ok(State::LastLf),
            (State::LastLf, b'\n') => Ok(State::Ended),
            (State::Trailer, byte) if is_token(byte) => {
                self.count += 1;
                if self.count > TRAILER_FIELDS {
                    return Err(Failure::Trailer);
                }
                Ok(State::Name)
            }
            (State::Name, byte) if is_token(byte) => Ok(State::Name),
            (State::Name, b':') => Ok(State::Value),
            (State::Value, b'\r') => Ok(State::ValueLf),
            (State::Value, byte) if !is_control(byte) => Ok(State::Value),
            (State::ValueLf, b'\n') => Ok(State::Trailer),
            _ => Err(Failure::Trailer),
        }
    }

    pub(crate) fn verdict(&self) -> Result<(), BodyError> {
        let State::Failed(failure) = self.state else { return Ok(()) };
        Err(match failure {
            Failure::TooLarge => BodyError::TooLarge { limit: self.limit },
            Failure::Size => BodyError::ChunkSize,
            Failure::Extension => BodyError::ChunkExtension,
            Failure::Overhead => BodyError::ChunkOverhead,
            Failure::End => BodyError::ChunkEnd,
            Failure::Trailer => BodyError::Trailer,
            Failure::Truncated => BodyError::Truncated,
        })
    }
}
