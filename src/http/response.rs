//! Responses as bytes (RFC 9112 section 4 and 7): validated first, then written whole or not at all.

use crate::http::field::{self, FRAMING_FIELDS, FieldError, Fill};
use crate::output::{Full, LAST_ANSWER, Output};
use bytes::Bytes;
use core::fmt::{self, Write};

/// Status and header fields of a response to be written.
///
/// Content-Length, Transfer-Encoding, Connection and their like are the engine's to write and are refused here. A `Date`, which
/// an origin server with a clock should send (RFC 9110 section 6.6.1), is the caller's: this crate has no calendar.
///
/// ```
/// use tautline::http::Response;
/// let common = [("server", "mine")];
/// let ok = Response::new(200).base(&common).headers(&[("content-type", "text/plain")]);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Response<'a> {
    status: u16,
    base: &'a [(&'a str, &'a str)],
    headers: &'a [(&'a str, &'a str)],
    closes: bool,
}

/// Why a response, or a part of its body, was not written. Nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseError {
    /// A status that is no final one: not in 200..=599.
    Status,
    /// A header field that cannot be written.
    Field(FieldError),
    /// A body, or a stream, with a status that has none (204, 205, 304).
    BodyNotAllowed,
    /// No request waits for a response: none came yet, it was answered, or the connection is over.
    NotOwed,
    /// No streamed response is open.
    NotStreaming,
    /// A prepared answer whose bytes, as they are, do not answer the present request.
    NotAsPrepared,
    /// Connection handed over while a part of the request's body is still to come.
    BodyUnread,
    /// It does not fit into the output. Not now, where it is no longer than [`Full::limit`]: write some of the output and try
    /// again. Never, where it is longer: an answer goes in whole, so send a long body in chunks.
    Full(Full),
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Field(e) => return e.fmt(f),
            Self::Full(e) => return e.fmt(f),
            Self::Status => "status is not in 200..=599",
            Self::BodyNotAllowed => "body with a status that has none",
            Self::NotOwed => "no request waits for a response",
            Self::NotStreaming => "no streamed response is open",
            Self::NotAsPrepared => "prepared answer that is not right for this request as it is",
            Self::BodyUnread => "request body not read to its end",
        })
    }
}

impl core::error::Error for ResponseError {}

impl From<FieldError> for ResponseError {
    fn from(e: FieldError) -> Self {
        Self::Field(e)
    }
}

impl From<Full> for ResponseError {
    fn from(e: Full) -> Self {
        Self::Full(e)
    }
}

impl<'a> Response<'a> {
    /// A response with `status` and no header fields of its own.
    pub const fn new(status: u16) -> Self {
        Self { status, base: &[], headers: &[], closes: false }
    }

    /// The header fields of this response, name and value. Replaces what was set before.
    pub const fn headers(mut self, headers: &'a [(&'a str, &'a str)]) -> Self {
        self.headers = headers;
        self
    }

    /// Further header fields, written before the others: those that many responses share. Replaces what was set before.
    pub const fn base(mut self, headers: &'a [(&'a str, &'a str)]) -> Self {
        self.base = headers;
        self
    }

    /// Ends the connection with this response (`Connection: close`); requests behind this one are never read.
    pub const fn close(mut self) -> Self {
        self.closes = true;
        self
    }

    /// The status code.
    pub const fn status(&self) -> u16 {
        self.status
    }

    pub(crate) const fn closes(&self) -> bool {
        self.closes
    }

    /// Whether the status alone says that there is no body (RFC 9110 section 6.4.1; 205 in section 15.3.6).
    pub(crate) const fn is_bodiless(&self) -> bool {
        matches!(self.status, 204 | 205 | 304)
    }

    pub(crate) fn check(&self) -> Result<(), ResponseError> {
        if !(200..=599).contains(&self.status) {
            return Err(ResponseError::Status);
        }
        field::check(self.base, &FRAMING_FIELDS)?;
        field::check(self.headers, &FRAMING_FIELDS)?;
        Ok(())
    }

    /// Appends the head, with the engine's own fields, and behind it `body`: whole or not at all. The fields were checked.
    pub(crate) fn push(&self, own: &[(&str, &str)], body: &[u8], out: &mut Output) -> Result<(), Full> {
        self.fill(own, body, out.space(self.head_len(own) + body.len())?);
        Ok(())
    }

    /// Writes the head, and behind it `body`, into a space of exactly their length.
    pub(crate) fn fill(&self, own: &[(&str, &str)], body: &[u8], space: &mut [u8]) {
        let mut fill = Fill::new(space);
        self.put_head(own, &mut fill);
        fill.put(body);
        debug_assert_eq!(fill.left(), 0);
    }

    /// As [`push`](Self::push); a long body by reference.
    pub(crate) fn push_shared(&self, own: &[(&str, &str)], body: &Bytes, out: &mut Output) -> Result<(), Full> {
        let head = self.head_len(own);
        if head + body.len() > out.room() {
            return Err(out.full(head + body.len()));
        }
        self.put_head(own, &mut Fill::new(out.space(head)?));
        out.push_shared(&[], body)
    }

    /// The length of the head with the engine's own fields.
    pub(crate) fn head_len(&self, own: &[(&str, &str)]) -> usize {
        const AROUND: usize = "HTTP/1.1 200 \r\n\r\n".len();
        AROUND + reason(self.status).len() + field::len(own) + field::len(self.base) + field::len(self.headers)
    }

    fn put_head(&self, own: &[(&str, &str)], fill: &mut Fill<'_>) {
        fill.put(b"HTTP/1.1 ");
        let digit = |divisor: u16| b'0' + (self.status / divisor % 10) as u8;
        fill.put(&[digit(100), digit(10), digit(1), b' ']);
        fill.put(reason(self.status).as_bytes());
        fill.put(b"\r\n");
        fill.put_fields(own);
        fill.put_fields(self.base);
        fill.put_fields(self.headers);
        fill.put(b"\r\n");
    }
}

/// The phrase of a status code as registered (RFC 9110 section 15 and the IANA registry); empty for others, which is allowed.
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}

/// Appends the last answer of a connection, beyond the output's limit where it must be: `status`, `fields` (which say what the
/// connection is: nothing is added but type and length), and `cause` as a line of text. What does not fit into
/// [`LAST_ANSWER`] bytes goes without the text.
#[cold]
pub(crate) fn refuse(status: u16, fields: &[(&str, &str)], cause: &dyn fmt::Display, out: &mut Output) {
    let mut text = Text::default();
    // A text too long is cut, which it never is: causes are one short line.
    let _ = writeln!(text, "{cause}");
    let body = text.as_bytes();
    let length = Decimal::new(body.len() as u64);
    let own = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", length.as_str())];
    let response = Response::new(status).headers(fields);
    let fits = response.head_len(&own) + body.len() <= LAST_ANSWER;
    if fits { push_last(&response, &own, body, out) } else { push_last(&response, &[], &[], out) }
}

/// As [`refuse`], without text: the head alone, which `fields` make up.
#[cold]
pub(crate) fn refuse_bare(status: u16, fields: &[(&str, &str)], out: &mut Output) {
    push_last(&Response::new(status), fields, &[], out);
}

fn push_last(response: &Response<'_>, own: &[(&str, &str)], body: &[u8], out: &mut Output) {
    let mut answer = [0; LAST_ANSWER];
    // Fields that do not fit are left out with everything else: such a refusal ends the connection without a word.
    let Some(answer) = answer.get_mut(..response.head_len(own) + body.len()) else { return };
    let mut fill = Fill::new(answer);
    response.put_head(own, &mut fill);
    fill.put(body);
    // An answer of this length always fits.
    let _ = out.push_last(answer);
}

/// One line of text on the stack.
struct Text {
    bytes: [u8; 512],
    len: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; 512], len: 0 }
    }
}

impl Text {
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let space = self.bytes.get_mut(self.len..self.len + s.len()).ok_or(fmt::Error)?;
        space.copy_from_slice(s.as_bytes());
        self.len += s.len();
        Ok(())
    }
}

/// Appends `parts` as one chunk of the chunked coding (RFC 9112 section 7.1), whole or not at all. Nothing for no bytes: an
/// empty chunk would end the body.
pub fn push_chunk(parts: &[&[u8]], out: &mut Output) -> Result<(), Full> {
    let len = parts.iter().map(|part| part.len()).sum();
    if len == 0 {
        return Ok(());
    }
    let size = ChunkSize::new(len);
    let mut fill = Fill::new(out.space(size.as_bytes().len() + len + 2)?);
    fill.put(size.as_bytes());
    parts.iter().for_each(|part| fill.put(part));
    fill.put(b"\r\n");
    debug_assert_eq!(fill.left(), 0);
    Ok(())
}

/// As [`push_chunk`], of `len` bytes that `fill` writes into their place.
pub(crate) fn push_chunk_with(len: usize, fill: impl FnOnce(&mut [u8]), out: &mut Output) -> Result<(), Full> {
    if len == 0 {
        return Ok(());
    }
    let size = ChunkSize::new(len);
    let (head, rest) = out.space(size.as_bytes().len() + len + 2)?.split_at_mut(size.as_bytes().len());
    let (data, end) = rest.split_at_mut(len);
    head.copy_from_slice(size.as_bytes());
    fill(data);
    end.copy_from_slice(b"\r\n");
    Ok(())
}

/// As [`push_chunk`]; long data by reference.
pub fn push_chunk_shared(data: &Bytes, out: &mut Output) -> Result<(), Full> {
    if data.is_empty() {
        return Ok(());
    }
    let size = ChunkSize::new(data.len());
    let needed = size.as_bytes().len() + data.len() + 2;
    if needed > out.room() {
        return Err(out.full(needed));
    }
    out.push_shared(size.as_bytes(), data)?;
    out.push(b"\r\n")
}

/// Appends the end of a chunked body, without trailers.
pub fn push_last_chunk(out: &mut Output) -> Result<(), Full> {
    out.push(b"0\r\n\r\n")
}

/// A chunk's size line: hexadecimal, CRLF.
struct ChunkSize {
    digits: [u8; 18],
    from: u8,
}

impl ChunkSize {
    fn new(mut size: usize) -> Self {
        let mut line = Self { digits: [0; 18], from: 16 };
        line.digits[16] = b'\r';
        line.digits[17] = b'\n';
        loop {
            line.from -= 1;
            line.digits[usize::from(line.from)] = b"0123456789abcdef"[size & 15];
            size >>= 4;
            if size == 0 {
                return line;
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.from.into()..).unwrap_or_default()
    }
}

/// A number in decimal digits, on the stack.
pub(crate) struct Decimal {
    digits: [u8; 20],
    from: u8,
}

impl Decimal {
    pub(crate) fn new(mut number: u64) -> Self {
        let mut decimal = Self { digits: [0; 20], from: 20 };
        loop {
            decimal.from -= 1;
            decimal.digits[usize::from(decimal.from)] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        let digits = self.digits.get(self.from.into()..).unwrap_or_default();
        core::str::from_utf8(digits).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;

    fn written(out: &Output) -> Vec<u8> {
        out.chunks().flatten().copied().collect()
    }

    #[test]
    fn numbers_are_written_to_the_last_digit() {
        for number in [0, 9, 10, 12345, u64::MAX] {
            assert_eq!(Decimal::new(number).as_str(), format!("{number}"));
            assert_eq!(ChunkSize::new(number as usize).as_bytes(), format!("{number:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn a_refusal_fits_a_full_output_and_drops_its_text_before_its_fields() {
        let mut out = Output::with_limit(0);
        let long = "x".repeat(1990);
        refuse(400, &[("Connection", "close"), ("x", &long)], &"cause", &mut out);
        let answer = written(&out);
        assert!(answer.starts_with(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nx: xxx"));
        assert!(answer.ends_with(b"x\r\n\r\n"));
    }

    #[test]
    fn a_chunk_that_does_not_fit_leaves_no_byte() {
        let mut out = Output::with_limit(9);
        assert!(push_chunk(&[b"12", b"345"], &mut out).is_err());
        assert!(push_chunk_shared(&Bytes::from_static(b"12345"), &mut out).is_err());
        assert!(out.is_empty());
        push_chunk(&[b"12", b"", b"34"], &mut out).unwrap();
        assert_eq!(written(&out), b"4\r\n1234\r\n");
        push_chunk(&[], &mut out).unwrap();
        push_chunk_shared(&Bytes::new(), &mut out).unwrap();
        assert_eq!(out.len(), 9);
    }
}
