//! Request and response heads (RFC 9112 sections 2 to 5), in any pieces, under caps.
//!
//! A head that lies whole in the input is parsed where it lies: no copy, no allocation. One that arrives in pieces is collected
//! in a buffer that the reader holds only meanwhile. Line ends are searched as bytes arrive, each byte once; the collected head is
//! parsed once, when its end is in. The parsed head borrows the [`Input`].
//!
//! On top of `httparse`, which knows the grammar of lines, this file holds the policy: CRLF only, caps, exactly one Host, and the
//! framing of the body that follows (RFC 9112 section 6.3), so that no head that could be read two ways is ever handed out.

use crate::http::field::is;
use crate::http::framing::framing;
use crate::http::headers::{Field, text};
use crate::http::lines::{Lines, StartLine};
use crate::http::origin::parse_port;
use crate::http::target::{self, DecodeError, Plus, Query};
use crate::input::Input;
use alloc::borrow::Cow;
use core::fmt;
use core::mem::MaybeUninit;

pub use crate::http::framing::Framing;
pub use crate::http::headers::Headers;

/// The most header fields that a head can hold, whatever the configuration says: the fixed size of its table.
pub const MAX_HEADERS: usize = 64;

/// The least that [`HeadLimits::bytes`] can be: the size of the shortest head that there is, `HTTP/1.1 200` and an empty line.
pub const MIN_HEAD: usize = 16;

/// The most bytes that a head can hold, whatever the configuration says: positions in it are 16 bits.
pub const MAX_HEAD: usize = u16::MAX as usize;

/// Caps on a head. Each is checked as soon as it is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, its empty line included; from [`MIN_HEAD`] to [`MAX_HEAD`], and what is beyond counts as these.
    /// Default 8192 (as Pushpin): some cookies and a
    /// token fit, a flood does not. Exceeded: 431.
    pub bytes: usize,
    /// Header fields; at most [`MAX_HEADERS`], which is the default. Exceeded: 431.
    pub headers: usize,
    /// Octets of the request line without its CRLF. Default 8000, the least that RFC 9112 section 3 recommends to support.
    /// Exceeded: 414. Does not concern responses.
    pub request_line: usize,
}

impl HeadLimits {
    /// The cap on the whole head that holds.
    #[inline]
    pub(super) fn cap(&self) -> usize {
        self.bytes.clamp(MIN_HEAD, MAX_HEAD)
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: 8192, headers: MAX_HEADERS, request_line: 8000 }
    }
}

/// The protocol version of a message. Others are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Why a head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// More bytes than `limit` without an end.
    TooLong {
        /// The cap that holds: [`HeadLimits::bytes`] within its bounds.
        limit: usize,
    },
    /// More header fields than `limit`.
    TooManyHeaders {
        /// The cap that holds: [`HeadLimits::headers`], at most [`MAX_HEADERS`].
        limit: usize,
    },
    /// A request line of more than `limit` octets.
    RequestLineTooLong {
        /// [`HeadLimits::request_line`], or the cap on the whole head where that is lower.
        limit: usize,
    },
    /// More than two empty lines before the request line, or any before a status line.
    EmptyLines,
    /// A line that does not end with CRLF, or a CR elsewhere.
    LineEnd,
    /// A method that is no token, a target that is none, or not three parts with single spaces between.
    RequestLine,
    /// A well-formed version other than HTTP/1.0 and HTTP/1.1, HTTP/1.2 and above among them: deliberate strictness.
    Version,
    /// A malformed status line, or a status below 100.
    StatusLine,
    /// A header name that is empty or no token, a space before the colon, or a folded line.
    HeaderName,
    /// A control character in a header value.
    HeaderValue,
    /// No Host field in an HTTP/1.1 request.
    HostMissing,
    /// More than one Host field.
    HostRepeated,
    /// A Host field that is no host with an optional port.
    HostInvalid,
    /// A Content-Length that is not one plain decimal number, or stands there more than once.
    ContentLength,
    /// Both Content-Length and Transfer-Encoding.
    LengthAndEncoding,
    /// A malformed Transfer-Encoding, one that stands there more than once, one that does not end in `chunked`, or any in HTTP/1.0.
    TransferEncoding,
    /// A transfer coding other than `chunked`.
    CodingUnknown,
}

impl HeadError {
    /// The status that answers it: 400, 414, 431, 501 or 505.
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLong { .. } | Self::TooManyHeaders { .. } => 431,
            Self::RequestLineTooLong { .. } => 414,
            Self::CodingUnknown => 501,
            Self::Version => 505,
            _ => 400,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong { limit } => return write!(f, "head of more than {limit} bytes"),
            Self::TooManyHeaders { limit } => return write!(f, "more than {limit} header fields"),
            Self::RequestLineTooLong { limit } => return write!(f, "request line of more than {limit} octets"),
            Self::EmptyLines => "empty lines before the start line",
            Self::LineEnd => "line does not end with CRLF",
            Self::RequestLine => "malformed request line",
            Self::Version => "protocol version is neither HTTP/1.0 nor HTTP/1.1",
            Self::StatusLine => "malformed status line",
            Self::HeaderName => "malformed header name",
            Self::HeaderValue => "control character in a header value",
            Self::HostMissing => "no Host header",
            Self::HostRepeated => "more than one Host header",
            Self::HostInvalid => "malformed Host header",
            Self::ContentLength => "malformed or repeated Content-Length",
            Self::LengthAndEncoding => "both Content-Length and Transfer-Encoding",
            Self::TransferEncoding => "malformed, repeated or misplaced Transfer-Encoding",
            Self::CodingUnknown => "transfer coding other than chunked",
        })
    }
}

impl core::error::Error for HeadError {}

/// Reads request heads.
///
/// # Contract
///
/// - `Ok(Some(head))`: the head was taken from the input; what follows it lies in [`Input::rest`].
/// - `Ok(None)`: everything was taken, the head is not complete.
/// - `Err`: nothing of the head was taken from this input, and asking again gives the same answer. The connection cannot be read
///   further.
/// - Any cut of the bytes gives the same heads and errors. Each byte is examined at most three times.
///
/// 32 bytes; holds a buffer only while a head is half-received.
#[derive(Debug, Default)]
pub struct RequestReader {
    lines: Lines,
}

impl RequestReader {
    #[cfg(test)]
    pub(super) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// A reader at the start of a head. Allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a part of a head (or of an empty line before it) was taken and its end was not.
    pub fn is_half_received(&self) -> bool {
        !self.lines.is_fresh()
    }

    /// Takes the next request head from `input`, or what there is of it.
    #[inline]
    pub fn read<'i>(
        &mut self,
        limits: &HeadLimits,
        input: &'i mut Input<'_>,
    ) -> Result<Option<RequestHead<'i>>, HeadError> {
        // The fast path: a valid head lies whole in the input. Anything else, errors included, is judged line by line
        // below, so that the verdict does not depend on the cut.
        if self.lines.is_fresh() {
            // Filled where it will be returned: moving half a kilobyte costs more than checking it.
            let mut head = RequestHead { bytes: &[], parts: RequestParts::empty() };
            if let Ok(Some(end)) = parse_request(capped(input.rest(), limits), limits, &mut head.parts)
                && usize::from(head.parts.line_len) <= limits.request_line
            {
                head.bytes = input.take(end);
                return Ok(Some(head));
            }
        }
        self.read_slowly(limits, input)
    }

    #[cold]
    fn read_slowly<'i>(
        &mut self,
        limits: &HeadLimits,
        input: &'i mut Input<'_>,
    ) -> Result<Option<RequestHead<'i>>, HeadError> {
        let mut parts = RequestParts::empty();
        let parse = |head: &[u8]| match parse_request(head, limits, &mut parts) {
            Ok(Some(_)) => Ok(()),
            // The line search saw the end of the head; a parser that wants more disagrees about the request line.
            Ok(None) => Err(HeadError::RequestLine),
            Err(e) => Err(e),
        };
        let found = self.lines.find(limits, StartLine::Request, input, parse)?;
        Ok(found.map(|bytes| RequestHead { bytes, parts }))
    }
}

/// Reads response heads. The same contract as [`RequestReader`]'s.
#[derive(Debug, Default)]
pub struct ResponseReader {
    lines: Lines,
}

impl ResponseReader {
    #[cfg(test)]
    pub(super) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// A reader at the start of a head. Allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a part of a head was taken and its end was not.
    pub fn is_half_received(&self) -> bool {
        !self.lines.is_fresh()
    }

    /// Takes the next response head from `input`, or what there is of it. Interim (1xx) heads are heads like others here.
    #[inline]
    pub fn read<'i>(
        &mut self,
        limits: &HeadLimits,
        input: &'i mut Input<'_>,
    ) -> Result<Option<ResponseHead<'i>>, HeadError> {
        if self.lines.is_fresh() {
            let mut head = ResponseHead { bytes: &[], parts: ResponseParts::empty() };
            if let Ok(Some(end)) = parse_response(capped(input.rest(), limits), limits, &mut head.parts) {
                head.bytes = input.take(end);
                return Ok(Some(head));
            }
        }
        self.read_slowly(limits, input)
    }

    #[cold]
    fn read_slowly<'i>(
        &mut self,
        limits: &HeadLimits,
        input: &'i mut Input<'_>,
    ) -> Result<Option<ResponseHead<'i>>, HeadError> {
        let mut parts = ResponseParts::empty();
        let parse = |head: &[u8]| match parse_response(head, limits, &mut parts) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(HeadError::StatusLine),
            Err(e) => Err(e),
        };
        let found = self.lines.find(limits, StartLine::Status, input, parse)?;
        Ok(found.map(|bytes| ResponseHead { bytes, parts }))
    }
}

/// A request head, borrowing the input it came from. Some 0.5 KiB, without heap.
#[derive(Clone)]
pub struct RequestHead<'i> {
    bytes: &'i [u8],
    parts: RequestParts,
}

impl<'i> RequestHead<'i> {
    /// The method, case-sensitive (RFC 9110 section 9.1).
    pub fn method(&self) -> &'i str {
        text(self.method_bytes())
    }

    /// The method as bytes, which saves looking at it once more.
    #[inline]
    pub(crate) fn method_bytes(&self) -> &'i [u8] {
        self.bytes.get(..self.parts.method_len.into()).unwrap_or_default()
    }

    /// The request target as sent: printable ASCII without spaces.
    pub fn target(&self) -> &'i str {
        let from = usize::from(self.parts.method_len) + 1;
        text(self.bytes.get(from..from + usize::from(self.parts.target_len)).unwrap_or_default())
    }

    /// The path as sent, still percent-encoded: of an absolute target (`http://host/path`) the part behind the authority, `/`
    /// where that is empty; `*` and the authority of `CONNECT` as they are.
    pub fn path(&self) -> &'i str {
        let target = self.target();
        let path = &target[..target.find('?').unwrap_or(target.len())];
        match absolute(path) {
            Some((_, "")) => "/",
            Some((_, path)) => path,
            None => path,
        }
    }

    /// The path percent-decoded. An encoded slash (`%2F`) becomes one like any other: compare segments before decoding where
    /// that matters. Dot segments stay.
    pub fn decoded_path(&self) -> Result<Cow<'i, str>, DecodeError> {
        target::decode(self.path(), Plus::Plus)
    }

    /// The query as sent, without its `?`; `None` where there is none.
    pub fn raw_query(&self) -> Option<&'i str> {
        self.target().split_once('?').map(|(_, query)| query)
    }

    /// The pairs of the query, each decoded when asked for.
    pub fn query(&self) -> Query<'i> {
        Query::new(self.raw_query().unwrap_or_default())
    }

    /// Host and port that the request is for: the authority of an absolute target, which goes before the Host field (RFC 9112
    /// section 3.2.2), else the Host field. `None` only in HTTP/1.0.
    pub fn authority(&self) -> Option<&str> {
        match self.target_authority() {
            Some(authority) => Some(authority),
            None => self.headers().get("host").map(text),
        }
    }

    /// The authority of an absolute target; `None` for the other forms.
    #[inline]
    pub(crate) fn target_authority(&self) -> Option<&'i str> {
        match self.bytes.get(usize::from(self.parts.method_len) + 1) {
            Some(b'/') => None,
            _ => self.absolute_authority(),
        }
    }

    #[cold]
    fn absolute_authority(&self) -> Option<&'i str> {
        let target = self.target();
        absolute(&target[..target.find('?').unwrap_or(target.len())]).map(|(authority, _)| authority)
    }

    /// The protocol version.
    pub fn version(&self) -> Version {
        self.parts.fields.version
    }

    /// The header fields, in order.
    pub fn headers(&self) -> Headers<'_> {
        Headers { bytes: self.bytes, fields: self.parts.fields.all() }
    }

    /// How the body is delimited. Never [`Framing::UntilClose`].
    pub fn framing(&self) -> Framing {
        self.parts.framing
    }

    /// Whether the client is ready to send another request on this connection (RFC 9112 section 9.3).
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(self.version(), self.headers())
    }
}

impl fmt::Debug for RequestHead<'_> {
    /// Without header values: they hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method())
            .field("path", &self.path())
            .field("version", &self.version())
            .field("headers", &self.headers().len())
            .finish()
    }
}

/// A response head, borrowing the input it came from. Some 0.5 KiB, without heap.
#[derive(Clone)]
pub struct ResponseHead<'i> {
    bytes: &'i [u8],
    parts: ResponseParts,
}

impl<'i> ResponseHead<'i> {
    /// The protocol version.
    pub fn version(&self) -> Version {
        self.parts.fields.version
    }

    /// The status code, 100 to 999; what is above 599 is to be treated as 500 (RFC 9110 section 15).
    pub fn status(&self) -> u16 {
        self.parts.status
    }

    /// The reason phrase, often empty. For people only.
    pub fn reason(&self) -> &'i [u8] {
        // "HTTP/1.1 200", then a space where a phrase follows.
        self.bytes.get(13..self.parts.line_len.into()).unwrap_or_default()
    }

    /// The header fields, in order.
    pub fn headers(&self) -> Headers<'_> {
        Headers { bytes: self.bytes, fields: self.parts.fields.all() }
    }

    /// How the body is delimited, in answer to a request with `method`: none for HEAD and for the statuses 1xx, 204 and 304.
    /// (After a 2xx to CONNECT the connection is a tunnel; this crate sends no CONNECT.)
    pub fn framing(&self, method: &str) -> Framing {
        match self.parts.status {
            100..=199 | 204 | 304 => Framing::None,
            _ if method == "HEAD" => Framing::None,
            _ => self.parts.framing,
        }
    }

    /// Whether the server keeps the connection open after this response (RFC 9112 section 9.3).
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(self.version(), self.headers())
    }
}

impl fmt::Debug for ResponseHead<'_> {
    /// Without header values: they hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("version", &self.version())
            .field("status", &self.status())
            .field("headers", &self.headers().len())
            .finish()
    }
}

/// The table of a head's fields.
#[derive(Clone)]
struct Fields {
    table: [Field; MAX_HEADERS],
    count: u8,
    version: Version,
}

impl Fields {
    /// A function and no constant: a constant would be copied from the binary instead of being cleared in place.
    #[inline(always)]
    fn empty() -> Self {
        Self { table: [Field::EMPTY; MAX_HEADERS], count: 0, version: Version::Http11 }
    }

    #[inline]
    fn all(&self) -> &[Field] {
        self.table.get(..self.count.into()).unwrap_or_default()
    }
}

#[derive(Clone)]
struct RequestParts {
    method_len: u16,
    target_len: u16,
    line_len: u16,
    framing: Framing,
    fields: Fields,
}

impl RequestParts {
    #[inline(always)]
    fn empty() -> Self {
        Self { method_len: 0, target_len: 0, line_len: 0, framing: Framing::None, fields: Fields::empty() }
    }
}

#[derive(Clone)]
struct ResponseParts {
    status: u16,
    line_len: u16,
    framing: Framing,
    fields: Fields,
}

impl ResponseParts {
    #[inline(always)]
    fn empty() -> Self {
        Self { status: 0, line_len: 0, framing: Framing::None, fields: Fields::empty() }
    }
}

/// The part of `bytes` that a head may lie in: the cap counts head bytes only, so what follows is not looked at.
#[inline]
pub(super) fn capped<'b>(bytes: &'b [u8], limits: &HeadLimits) -> &'b [u8] {
    &bytes[..bytes.len().min(limits.cap())]
}

/// Parses the request head that `bytes` begin with into `parts`: where it ends.
#[inline]
fn parse_request(bytes: &[u8], limits: &HeadLimits, parts: &mut RequestParts) -> Result<Option<usize>, HeadError> {
    // `httparse` would pass over any number of empty lines; here they were counted and taken before.
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return Err(HeadError::EmptyLines);
    }
    let mut table = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_HEADERS];
    let most = limits.headers.min(MAX_HEADERS);
    let mut request = httparse::Request::new(&mut []);
    let end = match request.parse_with_uninit_headers(bytes, &mut table[..most]) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(e) => return Err(refusal(e, bytes, most)),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadError::RequestLine);
    };
    if !target.is_ascii() || !is_target(method, target) {
        return Err(HeadError::RequestLine);
    }
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    parts.fields.version = version;
    let known = tabulate(&mut parts.fields, request.headers, bytes, end)?;
    check_host(&known, version)?;
    let headers = Headers { bytes, fields: parts.fields.all() };
    parts.framing = framing(known.framed, headers, version, Framing::None)?;
    // "GET / HTTP/1.1"
    parts.line_len = (method.len() + target.len() + 10) as u16;
    (parts.method_len, parts.target_len) = (method.len() as u16, target.len() as u16);
    Ok(Some(end))
}

/// Parses the response head that `bytes` begin with into `parts`: where it ends.
#[inline]
fn parse_response(bytes: &[u8], limits: &HeadLimits, parts: &mut ResponseParts) -> Result<Option<usize>, HeadError> {
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return Err(HeadError::EmptyLines);
    }
    let mut table = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_HEADERS];
    let most = limits.headers.min(MAX_HEADERS);
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let end = match config.parse_response_with_uninit_headers(&mut response, bytes, &mut table[..most]) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(e) => return Err(refusal(e, bytes, most)),
    };
    let (Some(minor), Some(status @ 100..)) = (response.version, response.code) else {
        return Err(HeadError::StatusLine);
    };
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    parts.fields.version = version;
    let known = tabulate(&mut parts.fields, response.headers, bytes, end)?;
    let headers = Headers { bytes, fields: parts.fields.all() };
    parts.framing = framing(known.framed, headers, version, Framing::UntilClose)?;
    // `httparse` drops a phrase with bytes from 0x80 up, so the line is measured here: up to the first field or the end.
    let line_end = parts.fields.all().first().map_or(end - 2, |field| field.name.into()) - 2;
    (parts.status, parts.line_len) = (status, line_end as u16);
    Ok(Some(end))
}

/// The fields that decide about host and framing, met while the table is filled.
#[derive(Default)]
struct Known<'b> {
    host: Option<&'b [u8]>,
    host_repeated: bool,
    /// Whether a Content-Length or a Transfer-Encoding stands there.
    framed: bool,
}

impl<'b> Known<'b> {
    #[inline]
    fn note(&mut self, name: &[u8], value: &'b [u8]) {
        if is(name, b"host") {
            self.host_repeated |= self.host.is_some();
            self.host = Some(value);
        } else {
            self.framed |= is(name, b"content-length") || is(name, b"transfer-encoding");
        }
    }
}

/// Fills the table, and refuses bare line feeds: `httparse` lets them end a line, so what stands before the one that
/// each name follows, and the end of the head, are looked at.
#[inline]
fn tabulate<'b>(
    fields: &mut Fields,
    headers: &[httparse::Header<'b>],
    bytes: &'b [u8],
    end: usize,
) -> Result<Known<'b>, HeadError> {
    /// Of `host`, `content-length`, `transfer-encoding`.
    const LENGTHS: u32 = 1 << 4 | 1 << 14 | 1 << 17;
    // Names and values lie in `bytes`, behind a start line: the differences are positions in it.
    let base = bytes.as_ptr() as usize;
    let mut known = Known::default();
    if bytes.get(end.wrapping_sub(4)..end) != Some(b"\r\n\r\n") {
        return Err(HeadError::LineEnd);
    }
    for (field, header) in fields.table.iter_mut().zip(headers) {
        let name = header.name.as_bytes();
        let at = name.as_ptr() as usize - base;
        // A name follows a line feed always; only what stands before that is in question.
        if bytes.get(at.wrapping_sub(2)) != Some(&b'\r') {
            return Err(HeadError::LineEnd);
        }
        *field = Field {
            name: at as u16,
            name_len: name.len() as u16,
            value: (header.value.as_ptr() as usize - base) as u16,
            value_len: header.value.len() as u16,
        };
        // Most names have other lengths, modulo 32 too: one test passes them all.
        if LENGTHS >> (name.len() % 32) & 1 == 1 {
            known.note(name, header.value);
        }
    }
    fields.count = headers.len() as u8;
    Ok(known)
}

/// Our name for what `httparse` refused.
#[cold]
fn refusal(error: httparse::Error, bytes: &[u8], most: usize) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::HeaderName,
        httparse::Error::HeaderValue => HeadError::HeaderValue,
        httparse::Error::NewLine => HeadError::LineEnd,
        httparse::Error::Status => HeadError::StatusLine,
        httparse::Error::Token => HeadError::RequestLine,
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders { limit: most },
        httparse::Error::Version => {
            // A version that is well-formed (RFC 9112 section 2.3) is another one; anything else is a malformed line.
            let line = bytes.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
            let is_version = |word: &[u8]| match word.strip_prefix(b"HTTP/") {
                Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit(),
                _ => false,
            };
            let mut words = line.split(|b| *b == b' ');
            let [first, _, third, fourth] = [(); 4].map(|()| words.next());
            if first.is_some_and(is_version) || (third.is_some_and(is_version) && fourth.is_none()) {
                HeadError::Version
            } else {
                HeadError::RequestLine
            }
        }
    }
}

/// Whether a target of printable ASCII has the form that goes with the method (RFC 9112 section 3.2). No form holds a `#`: a
/// fragment never leaves a client, and who cuts it off sees another path than who does not.
#[inline]
pub(super) fn is_target(method: &str, target: &str) -> bool {
    let is_origin_form = target.as_bytes().first() == Some(&b'/') && method != "CONNECT";
    (is_origin_form || is_other_target(method, target)) && !target.as_bytes().contains(&b'#')
}

/// Whether a target is of one of the three other forms: for CONNECT the authority, with a port (section 3.2.3), and nothing else.
#[cold]
fn is_other_target(method: &str, target: &str) -> bool {
    match method {
        "CONNECT" => {
            let port = target.rsplit_once(':').and_then(|(_, port)| parse_port(port.as_bytes()));
            port.is_some_and(|port| port > 0) && !target.starts_with(':') && is_host(target.as_bytes())
        }
        "OPTIONS" if target == "*" => true,
        _ => absolute(&target[..target.find('?').unwrap_or(target.len())]).is_some_and(|(authority, path)| {
            !authority.is_empty()
                && !authority.starts_with(':')
                && is_host(authority.as_bytes())
                && (path.is_empty() || path.starts_with('/'))
        }),
    }
}

/// Authority and path of an absolute target without its query; `None` for the other forms.
fn absolute(target: &str) -> Option<(&str, &str)> {
    if target.starts_with('/') {
        return None;
    }
    let (scheme, rest) = target.split_once("://")?;
    let mut letters = scheme.bytes();
    let is_scheme = letters.next().is_some_and(|b| b.is_ascii_alphabetic())
        && letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    is_scheme.then(|| rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

/// Exactly one Host, in HTTP/1.0 at most one, with a host and an optional port in it (RFC 9112 section 3.2).
#[inline]
fn check_host(known: &Known<'_>, version: Version) -> Result<(), HeadError> {
    match known.host {
        _ if known.host_repeated => Err(HeadError::HostRepeated),
        Some(host) if is_host(host) => Ok(()),
        Some(_) => Err(HeadError::HostInvalid),
        None if version == Version::Http10 => Ok(()),
        None => Err(HeadError::HostMissing),
    }
}

/// `uri-host [ ":" port ]`, as far as the characters go, with a port of at most 65535: a name, an IPv4 address or a bracketed literal. Also empty, which is what
/// a target without authority asks for (RFC 9110 section 7.2).
pub(crate) fn is_host(host: &[u8]) -> bool {
    /// unreserved, sub-delims and percent-encoding (RFC 3986 section 3.2.2), without the comma: no host has one, and a joined
    /// list of two Host fields does.
    const REG_NAME: [bool; 256] = {
        let mut map = [false; 256];
        let allowed = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%!$&'()*+;=";
        let mut i = 0;
        while i < allowed.len() {
            map[allowed[i] as usize] = true;
            i += 1;
        }
        map
    };
    // No early exit: hosts are short, and nearly all are sound.
    let is_name = |name: &[u8]| name.iter().fold(true, |sound, b| sound & REG_NAME[usize::from(*b)]);
    // A name or an IPv4 address without a port, as most are.
    if is_name(host) {
        return true;
    }
    // From the end: digits, and a colon before them, are a port.
    let digits = host.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let name = match host.split_at(host.len() - digits) {
        ([name @ .., b':'], port) if port.is_empty() || parse_port(port).is_some() => name,
        _ => host,
    };
    match name {
        [b'[', literal @ .., b']'] => {
            literal.len() >= 2 && literal.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
        }
        _ => is_name(name),
    }
}

fn keeps_alive(version: Version, headers: Headers<'_>) -> bool {
    match version {
        Version::Http11 => !headers.has_token("connection", "close"),
        Version::Http10 => headers.has_token("connection", "keep-alive") && !headers.has_token("connection", "close"),
    }
}
