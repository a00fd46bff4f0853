//! The search for the end of a head that arrives in pieces.

use crate::http::field::is_token;
use crate::http::head::{HeadError, HeadLimits, MAX_HEADERS};
use crate::input::Input;
use alloc::vec::Vec;

/// Empty lines passed over before a request line. RFC 9112 section 2.2 asks for at least one, which old clients sent after a
/// body; more than two is nobody's bug but noise that would evade the cap.
const EMPTY_LINES: u8 = 2;

/// Capacity of a pooled buffer that a head may begin with, in bytes: most heads fit in it.
const SMALL: usize = 1024;

/// Which line a head begins with: the only difference between the roles in the search for its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StartLine {
    /// Capped, and a few empty lines may go before it.
    Request,
    Status,
}

/// The search for the end of a head, line by line, resumable at any byte.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What was taken of the head.
    pub(super) held: Vec<u8>,
    /// Where in the head the present line begins.
    line_start: u16,
    /// Lines that ended, the start line among them.
    ended: u8,
    /// Empty lines passed over before the head.
    empty_lines: u8,
    #[cfg(test)]
    pub(super) examined: usize,
}

impl Lines {
    #[inline]
    pub(super) fn is_fresh(&self) -> bool {
        self.held.is_empty() && self.empty_lines == 0
    }

    /// Takes from `input` up to the end of the head, and parses the head when that is in. An error takes nothing.
    pub(super) fn find<'i>(
        &mut self,
        limits: &HeadLimits,
        start: StartLine,
        input: &'i mut Input<'_>,
        parse: impl FnOnce(&[u8]) -> Result<(), HeadError>,
    ) -> Result<Option<&'i [u8]>, HeadError> {
        #[cfg(test)]
        if self.is_fresh() {
            // The attempt of the fast path.
            self.examined += crate::http::head::capped(input.rest(), limits).len();
        }
        self.pass_empty_lines(start, input)?;
        // A first byte that begins no start line (a TLS record, another protocol's greeting) need not wait for a line end.
        if let (true, Some(&first)) = (self.held.is_empty(), input.rest().first()) {
            match start {
                StartLine::Request if first != b'\r' && !is_token(first) => return Err(HeadError::RequestLine),
                StartLine::Status if first != b'\r' && first != b'H' => return Err(HeadError::StatusLine),
                _ => {}
            }
        }
        let cap = limits.cap();
        let held = self.held.len();
        let rest = input.rest();
        let window = &rest[..rest.len().min(cap.saturating_sub(held))];
        let mut line_start = usize::from(self.line_start);
        let most = limits.headers.min(MAX_HEADERS);
        let mut ended = usize::from(self.ended);
        for at in memchr::memchr_iter(b'\n', window) {
            let end = held + at;
            let before = if at > 0 { window.get(at - 1) } else { self.held.last() };
            let crlf = before == Some(&b'\r') && end > line_start;
            check_line(limits, start, line_start, end - usize::from(crlf))?;
            if !crlf {
                return Err(HeadError::LineEnd);
            }
            if end - 1 == line_start {
                #[cfg(test)]
                {
                    self.examined += at + 1 + end + 1;
                }
                return self.complete(at + 1, input, parse).map(Some);
            }
            line_start = end + 1;
            ended += 1;
            // The start line is none of the fields.
            if ended > most + 1 {
                return Err(HeadError::TooManyHeaders { limit: most });
            }
        }
        // No end yet: is one still possible?
        let last = window.last().or(self.held.last());
        let end = held + window.len();
        check_line(limits, start, line_start, end - usize::from(last == Some(&b'\r') && end > line_start))?;
        if rest.len() > window.len() {
            return Err(match start {
                StartLine::Request if line_start == 0 => {
                    HeadError::RequestLineTooLong { limit: limits.request_line.min(cap) }
                }
                _ => HeadError::TooLong { limit: cap },
            });
        }
        #[cfg(test)]
        {
            self.examined += window.len();
        }
        if rest.is_empty() {
            return Ok(None);
        }
        if held == 0 {
            self.held = small_buffer(input);
        }
        self.held.extend_from_slice(input.rest());
        self.line_start = line_start as u16;
        self.ended = ended as u8;
        input.skip_all();
        Ok(None)
    }

    /// The head ends `more` bytes into the rest of the input.
    fn complete<'i>(
        &mut self,
        more: usize,
        input: &'i mut Input<'_>,
        parse: impl FnOnce(&[u8]) -> Result<(), HeadError>,
    ) -> Result<&'i [u8], HeadError> {
        if self.held.is_empty() {
            parse(&input.rest()[..more])?;
            *self = Self::default();
            return Ok(input.take(more));
        }
        let held = self.held.len();
        self.held.extend_from_slice(&input.rest()[..more]);
        match parse(&self.held) {
            Ok(()) => {
                let head = core::mem::take(&mut self.held);
                *self = Self::default();
                input.skip(more);
                Ok(input.lend_binary(head))
            }
            Err(e) => {
                self.held.truncate(held);
                Err(e)
            }
        }
    }

    /// Passes over the empty lines that may go before a request line (RFC 9112 section 2.2). Only a lone CR is ever held here.
    fn pass_empty_lines(&mut self, start: StartLine, input: &mut Input<'_>) -> Result<(), HeadError> {
        while matches!(self.held[..], [] | [b'\r']) {
            let taken = self.held.len();
            let next = match (taken, input.rest()) {
                (0, [b'\r', next, ..]) | (1, [next, ..]) => *next,
                (0, [b'\n', ..]) => b'\n',
                // Nothing yet, the lone CR of a cut, or the first byte of the head.
                _ => return Ok(()),
            };
            let crlf = taken == 1 || input.rest().first() == Some(&b'\r');
            if next != b'\n' || !crlf {
                return Err(HeadError::LineEnd);
            }
            if start == StartLine::Status || self.empty_lines == EMPTY_LINES {
                return Err(HeadError::EmptyLines);
            }
            self.empty_lines += 1;
            self.held.clear();
            input.skip(2 - taken);
        }
        Ok(())
    }
}

/// A pooled buffer if it is small, else a new one, which grows with what arrives. A large one, which a message left in the pool,
/// is not for a peer that sends one byte of a head and then waits for as long as the deadline lets it.
fn small_buffer(input: &mut Input<'_>) -> Vec<u8> {
    let buffer = input.take_buffer();
    if buffer.capacity() <= SMALL {
        return buffer;
    }
    input.give_buffer(buffer);
    Vec::new()
}

/// Refuses a request line that reaches beyond its cap.
fn check_line(limits: &HeadLimits, start: StartLine, line_start: usize, end: usize) -> Result<(), HeadError> {
    if start == StartLine::Request && line_start == 0 && end > limits.request_line {
        return Err(HeadError::RequestLineTooLong { limit: limits.request_line });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{MAX_HEAD, RequestReader, ResponseReader};
    use alloc::vec;

    #[test]
    fn h9_a_megabyte_in_single_bytes_is_431_at_the_cap_with_each_byte_examined_at_most_three_times() {
        let limits = HeadLimits::default();
        let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        bytes.resize(1 << 20, b'x');
        let mut reader = RequestReader::new();
        for (at, byte) in bytes.iter_mut().enumerate() {
            match reader.read(&limits, &mut Input::new(core::slice::from_mut(byte))) {
                Ok(None) => assert!(at < limits.bytes),
                Ok(Some(_)) => panic!("no end was sent"),
                Err(e) => {
                    assert_eq!((e, at), (HeadError::TooLong { limit: 8192 }, 8192));
                    assert!(reader.lines().examined <= 3 * limits.bytes, "{}", reader.lines().examined);
                    return;
                }
            }
        }
        panic!("no cap");
    }

    #[test]
    fn h9_a_head_of_one_field_per_byte_pair_costs_no_more() {
        let limits = HeadLimits { bytes: MAX_HEAD, request_line: MAX_HEAD, ..HeadLimits::default() };
        let mut head = vec![b'a'; 60_000];
        head.splice(..0, *b"GET / HTTP/1.1\r\nHost: a\r\nx: ");
        head.extend_from_slice(b"\r\n\r\n");
        let size = head.len();
        for piece in [1, 2, 7, 1000, 59_000] {
            let mut reader = RequestReader::new();
            let (mut examined, mut last, mut complete) = (0, 0, false);
            for piece in head.clone().chunks_mut(piece) {
                (examined, last) = (reader.lines().examined, piece.len());
                let mut input = Input::new(piece);
                complete = reader.read(&limits, &mut input).unwrap().is_some();
            }
            assert!(complete);
            // What the last piece added: its search and the one parse of the whole.
            assert!(examined + last + size <= 3 * size, "{piece}: {examined}");
        }
    }

    #[test]
    fn a_reader_between_heads_is_small_and_holds_nothing() {
        assert!(size_of::<Vec<u8>>() + 8 <= 32);
        let mut bytes = *b"HTTP/1.1 200\r\n\r\n";
        let mut reader = ResponseReader::new();
        assert!(reader.read(&HeadLimits::default(), &mut Input::new(&mut bytes[..9])).unwrap().is_none());
        assert!(reader.is_half_received());
        assert!(reader.read(&HeadLimits::default(), &mut Input::new(&mut bytes[9..])).unwrap().is_some());
        assert!(!reader.is_half_received());
        assert_eq!(reader.lines().held.capacity(), 0);
    }
}
