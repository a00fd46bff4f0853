//! One HTTP/1.1 connection, seen from the server (RFC 9112 section 9).

mod prepared;
mod suspended;

pub use prepared::PreparedAnswer;
pub use suspended::Suspended;

use crate::http::body::{BodyEvent, BodyReader};
use crate::http::error::{Closed, Deadline, Error};
use crate::http::head::{Framing, HeadLimits, RequestHead, RequestReader, Version};
use crate::http::response::{self, Decimal, Response, ResponseError};
use crate::http::upgrade::{Accepted, Rejection};
use crate::input::Input;
use crate::output::Output;
use crate::time::Instant;
use alloc::sync::Arc;
use bytes::Bytes;
use core::fmt;
use core::time::Duration;

/// Limits and deadlines of server connections, shared by all of them. Every value is a valid one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Caps on request heads.
    pub head: HeadLimits,
    /// Bytes of a request's body. Default 1 MiB. Exceeded: 413. Announced to be: the request comes, so that it may be answered with lines of
    /// the application's, and then 413 where it was not. None of it is read.
    pub body: u64,
    /// Bytes of a body that are read and dropped after its request was answered, so that the connection can go on. Default
    /// 64 KiB: less than what a new connection costs a browser. With more to come the connection ends instead.
    pub drain: u32,
    /// From accept, later from a head's first byte, to the head's end. Bytes do not renew it. Default 5 s. Passed: 408, or silence
    /// where no byte came.
    pub head_deadline: Duration,
    /// From a head's end to its body's end. Default 30 s. Passed: 408.
    pub body_deadline: Duration,
    /// From a response's end to the next request's first byte. Default 75 s: later than balancers and proxies that keep theirs for 60 s, or they would send requests on connections that are being closed.
    pub idle_deadline: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            head: HeadLimits::default(),
            body: BodyReader::LIMIT,
            drain: 64 << 10,
            head_deadline: Duration::from_secs(5),
            body_deadline: Duration::from_secs(30),
            idle_deadline: Duration::from_secs(75),
        }
    }
}

/// What a client did.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // A head is lent once per request and not stored.
pub enum Event<'i> {
    /// A request. Its body, where [`RequestHead::framing`] announces one, follows.
    Request(RequestHead<'i>),
    /// The next bytes of the request's body, never empty.
    Body(&'i [u8]),
    /// The request is complete. Comes once per request, also without a body, unless it was answered before. Trailers behind a
    /// chunked body were checked and dropped: see [`body`](super::body).
    BodyEnd,
    /// The connection is over: write what lies in the output, then close the socket. Comes exactly once.
    Closed(Closed),
}

/// What [`Server::respond_stream`] began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Streaming {
    /// Chunks may follow, and [`Server::finish`] at the end.
    Open,
    /// The request was a HEAD: the response is complete.
    HeadOnly,
}

/// How the parts of a streamed answer are told apart from what follows (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Chunks.
    Chunked,
    /// The end of the connection.
    UntilClose,
}

/// One connection of a server: requests in, responses out.
///
/// # Contract
///
/// - Ask [`next_event`](Self::next_event) until it says `None`. Answer each request with [`respond`](Self::respond) or
///   [`respond_stream`](Self::respond_stream), at once or later, before its body or behind it.
/// - While an answer is owed or streamed, the next request stays in [`Input::rest`], and `None` comes with bytes left: keep
///   them and feed them first when the answer is complete. [`wants_input`](Self::wants_input) says so; do not read the socket
///   meanwhile, or read no more than you keep.
/// - Asking for the next event behind a `Request` with `Expect: 100-continue` asks for its body: `100 Continue` is written
///   then, unless an answer went before. To refuse such a body, answer first.
/// - An answer that does not fit into the output is refused whole and stays owed: write, then answer again.
/// - An answer given before the body came in drops the rest of the body (up to [`ServerConfig::drain`]) and no event tells of it.
///   Behind a stream that is still open the body goes on to be delivered.
/// - After an error its answer lies in the output, with `Connection: close`, and `Closed` comes next. Once
///   [`is_finished`](Self::is_finished) holds, the driver writes what there is, ends its side, reads until the peer ends its own
///   or a second has passed (a reset would overtake the answer), and closes.
/// - Ask [`poll_timeout`](Self::poll_timeout) again after every call. It may be early, never late.
///
/// ```text
///   Fresh -> Head -> Body -> Answer -> Rest -> Idle -> Head ...
///                      \--- answered --> Drain --^
///   any -> Over (Closed is due) -> Done;   Body, Answer -> HandedOver
/// ```
///
/// ```
/// use std::sync::Arc;
/// use tautline::http::server::Event;
/// use tautline::http::{Response, Server, ServerConfig};
/// use tautline::{Input, Instant, Output};
///
/// let now = Instant::ORIGIN;
/// let mut server = Server::new(Arc::new(ServerConfig::default()), now);
/// let mut out = Output::new();
/// let mut read = *b"GET /hello HTTP/1.1\r\nHost: example.com\r\n\r\n";
/// let mut input = Input::new(&mut read);
/// // An error was answered already, so it ends the loop like the end of the input does; `Closed` comes on the next turn.
/// while let Ok(Some(event)) = server.next_event(&mut input, &mut out, now) {
///     match event {
///         Event::Request(head) if head.path() == "/hello" => {
///             server.respond(&Response::new(200).headers(&[("Content-Type", "text/plain")]), b"hi", &mut out)?;
///         }
///         Event::Request(_) => server.respond(&Response::new(404), b"", &mut out)?,
///         Event::Body(_) | Event::BodyEnd => {}
///         Event::Closed(cause) => println!("{cause}"),
///     }
/// }
/// let sent: Vec<u8> = out.chunks().flatten().copied().collect();
/// assert!(sent.ends_with(b"Content-Length: 2\r\nContent-Type: text/plain\r\n\r\nhi"));
/// # Ok::<(), tautline::http::ResponseError>(())
/// ```
pub struct Server {
    config: Arc<ServerConfig>,
    head: RequestReader,
    body: BodyReader,
    deadline: Option<Instant>,
    drained: u32,
    phase: Phase,
    answer: Answer,
    persistence: Persistence,
    version: Version,
    method: Method,
    expectation: Expectation,
}

/// Where the connection stands, seen from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Accepted, no byte yet.
    Fresh,
    /// Inside a head.
    Head,
    /// The head is in, the body is being delivered.
    Body,
    /// The request is in, its answer is not complete.
    Answer,
    /// Answered; the rest of the body is dropped.
    Drain,
    /// Answered; the idle deadline is to be set by whoever next knows the time.
    Rest,
    /// Between requests.
    Idle,
    /// The connection belongs to another protocol.
    HandedOver,
    /// Over, and not yet said.
    Over(Closed),
    Done,
}

/// The answer to the present request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// None is owed.
    Complete,
    Owed,
    Chunked,
    /// Delimited by the end of the connection.
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Persistence {
    Keep,
    Close,
}

/// As far as the framing of responses depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Head,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expectation {
    None,
    /// The client waits for `100 Continue`.
    Waiting,
}

impl Server {
    /// A connection accepted at `now`. The head deadline runs from here.
    pub fn new(config: Arc<ServerConfig>, now: Instant) -> Self {
        Self {
            deadline: Some(now + config.head_deadline),
            config,
            head: RequestReader::new(),
            body: BodyReader::lenient(Framing::None, 0),
            drained: 0,
            phase: Phase::Fresh,
            answer: Answer::Complete,
            persistence: Persistence::Keep,
            version: Version::Http11,
            method: Method::Other,
            expectation: Expectation::None,
        }
    }

    /// What comes next in `input`, or `None` where that needs more bytes or an answer first.
    ///
    /// # Errors
    ///
    /// What the client did wrong. The answer lies in `out`; `Closed` comes next.
    pub fn next_event<'i>(
        &mut self,
        input: &'i mut Input<'_>,
        out: &mut Output,
        now: Instant,
    ) -> Result<Option<Event<'i>>, Error> {
        loop {
            match self.phase {
                Phase::Fresh | Phase::Head | Phase::Idle => return self.read_head(input, out, now),
                Phase::Rest => self.begin_idle(now),
                Phase::Body => {
                    self.invite_body(out);
                    return match self.body.read(input) {
                        Ok(Some(BodyEvent::Data(data))) => Ok(Some(Event::Body(data))),
                        Ok(Some(BodyEvent::End)) => {
                            self.phase = Phase::Answer;
                            self.deadline = None;
                            Ok(Some(Event::BodyEnd))
                        }
                        Ok(None) => Ok(None),
                        Err(e) => Err(self.fail(Error::Body(e), out)),
                    };
                }
                Phase::Drain => match self.body.read(input) {
                    Ok(Some(BodyEvent::Data(data))) => {
                        self.drained = self.drained.saturating_add(u32::try_from(data.len()).unwrap_or(u32::MAX));
                        if self.drained > self.config.drain {
                            self.end(Closed::Finished);
                        }
                    }
                    Ok(Some(BodyEvent::End)) => self.rest(),
                    Ok(None) => return Ok(None),
                    Err(e) => return Err(self.fail(Error::Body(e), out)),
                },
                Phase::Answer => {
                    if self.persistence == Persistence::Close {
                        // Nothing behind this request will be read (RFC 9112 section 9.6): nobody need keep it.
                        input.skip_all();
                    }
                    return Ok(None);
                }
                Phase::HandedOver => return Ok(None),
                Phase::Over(closed) => {
                    input.skip_all();
                    self.phase = Phase::Done;
                    return Ok(Some(Event::Closed(closed)));
                }
                Phase::Done => {
                    input.skip_all();
                    return Ok(None);
                }
            }
        }
    }

    /// Answers the present request with a `body` of known length. To a HEAD the same head goes out without the body.
    ///
    /// An answer of more bytes, head and body, than the output's [limit](Output::limit) never fits, however empty the output is:
    /// stream it, or make the output with a higher limit.
    ///
    /// # Errors
    ///
    /// Nothing was written, and the answer is still owed: see [`ResponseError`].
    pub fn respond(&mut self, response: &Response<'_>, body: &[u8], out: &mut Output) -> Result<(), ResponseError> {
        self.respond_with(response, body.len(), |method, own| match method {
            Method::Head => response.push(own, &[], out),
            Method::Other => response.push(own, body, out),
        })
    }

    /// As [`respond`](Self::respond); a long body (16 KiB and more, or 64 bytes and more while the socket blocks) goes by reference.
    ///
    /// # Errors
    ///
    /// As for [`respond`](Self::respond).
    pub fn respond_shared(
        &mut self,
        response: &Response<'_>,
        body: &Bytes,
        out: &mut Output,
    ) -> Result<(), ResponseError> {
        self.respond_with(response, body.len(), |method, own| match method {
            Method::Head => response.push(own, &[], out),
            Method::Other => response.push_shared(own, body, out),
        })
    }

    /// Begins an answer of unknown length: chunked to an HTTP/1.1 client, delimited by the end of the connection to an HTTP/1.0
    /// client. The head goes out at once.
    ///
    /// # Errors
    ///
    /// Nothing was written, and the answer is still owed: see [`ResponseError`].
    pub fn respond_stream(&mut self, response: &Response<'_>, out: &mut Output) -> Result<Streaming, ResponseError> {
        self.check(response)?;
        if response.is_bodiless() {
            return Err(ResponseError::BodyNotAllowed);
        }
        let raw = self.version == Version::Http10;
        let persistence = if raw { Persistence::Close } else { self.persistence_with(response) };
        let chunked = [("Transfer-Encoding", "chunked"), ("Connection", "close")];
        let own = match (raw, persistence) {
            (true, _) => &chunked[1..],
            (false, Persistence::Close) => &chunked[..],
            (false, Persistence::Keep) => &chunked[..1],
        };
        response.push(own, &[], out)?;
        self.persistence = persistence;
        self.expectation = Expectation::None;
        if self.method == Method::Head {
            self.complete();
            return Ok(Streaming::HeadOnly);
        }
        self.answer = if raw { Answer::Raw } else { Answer::Chunked };
        Ok(Streaming::Open)
    }

    /// Sends the next part of the streamed answer, by copy. No bytes send nothing.
    ///
    /// # Errors
    ///
    /// [`ResponseError::NotStreaming`] or [`ResponseError::Full`]; nothing was written.
    pub fn send_chunk(&mut self, data: &[u8], out: &mut Output) -> Result<(), ResponseError> {
        self.send_parts(&[data], out)
    }

    /// As [`send_chunk`](Self::send_chunk), of several parts that become one chunk.
    ///
    /// # Errors
    ///
    /// As for [`send_chunk`](Self::send_chunk).
    pub fn send_parts(&mut self, parts: &[&[u8]], out: &mut Output) -> Result<(), ResponseError> {
        match self.answer {
            Answer::Chunked => response::push_chunk(parts, out)?,
            Answer::Raw => {
                let mut space = out.space(parts.iter().map(|part| part.len()).sum())?;
                for part in parts {
                    let (to, rest) = space.split_at_mut(part.len());
                    to.copy_from_slice(part);
                    space = rest;
                }
            }
            Answer::Complete | Answer::Owed => return Err(ResponseError::NotStreaming),
        }
        Ok(())
    }

    /// As [`send_chunk`](Self::send_chunk), of `len` bytes that `fill` writes into their place.
    pub(crate) fn send_with(
        &self,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
        out: &mut Output,
    ) -> Result<(), ResponseError> {
        match self.answer {
            Answer::Chunked => response::push_chunk_with(len, fill, out)?,
            Answer::Raw => fill(out.space(len)?),
            Answer::Complete | Answer::Owed => return Err(ResponseError::NotStreaming),
        }
        Ok(())
    }

    /// As [`send_chunk`](Self::send_chunk); long data goes by reference.
    ///
    /// # Errors
    ///
    /// As for [`send_chunk`](Self::send_chunk).
    pub fn send_shared(&mut self, data: &Bytes, out: &mut Output) -> Result<(), ResponseError> {
        match self.answer {
            Answer::Chunked => response::push_chunk_shared(data, out)?,
            Answer::Raw => out.push_shared(&[], data)?,
            Answer::Complete | Answer::Owed => return Err(ResponseError::NotStreaming),
        }
        Ok(())
    }

    /// Ends the streamed answer.
    ///
    /// # Errors
    ///
    /// [`ResponseError::NotStreaming`] or [`ResponseError::Full`]; the stream is as it was.
    pub fn finish(&mut self, out: &mut Output) -> Result<(), ResponseError> {
        match self.answer {
            Answer::Chunked => response::push_last_chunk(out)?,
            Answer::Raw => {}
            Answer::Complete | Answer::Owed => return Err(ResponseError::NotStreaming),
        }
        self.complete();
        Ok(())
    }

    /// Gives the connection up: no answer is completed, so that a client sees that a streamed one was cut off.
    pub fn abort(&mut self) {
        self.end(Closed::Aborted);
    }

    /// Ends the connection in good order: at once where it is between requests, else with the present answer, which says so if its
    /// head is still to be written.
    pub fn shut_down(&mut self) {
        self.persistence = Persistence::Close;
        if matches!(self.phase, Phase::Fresh | Phase::Rest | Phase::Idle | Phase::Drain) {
            self.end(Closed::Finished);
        }
    }

    /// Hands the connection to another protocol, whose own answer (`101 Switching Protocols`) the caller has written or writes. From
    /// then on nothing is taken from the input, no deadline is kept, and no `Closed` comes from here.
    ///
    /// # Errors
    ///
    /// [`ResponseError::NotOwed`] where no request waits for an answer, [`ResponseError::BodyUnread`] where its body is not in.
    pub fn hand_over(&mut self) -> Result<(), ResponseError> {
        self.may_hand_over()?;
        self.answer = Answer::Complete;
        self.phase = Phase::HandedOver;
        self.deadline = None;
        Ok(())
    }

    /// Writes the 101 of an upgrade and hands the connection over: the next bytes of the input are frames.
    ///
    /// # Errors
    ///
    /// As for [`hand_over`](Self::hand_over), and [`ResponseError::Full`]; nothing was written.
    pub fn accept_upgrade(&mut self, accepted: &Accepted<'_>, out: &mut Output) -> Result<(), ResponseError> {
        self.may_hand_over()?;
        accepted.write(out)?;
        self.hand_over()
    }

    /// Answers a request whose upgrade is refused, with `headers` besides, and ends the connection.
    ///
    /// # Errors
    ///
    /// [`ResponseError::NotOwed`] where no request waits for an answer; otherwise as for [`Rejection::write_with`].
    pub fn reject_upgrade(
        &mut self,
        rejection: Rejection,
        headers: &[(&str, &str)],
        out: &mut Output,
    ) -> Result<(), ResponseError> {
        if self.answer != Answer::Owed {
            return Err(ResponseError::NotOwed);
        }
        rejection.write_with(headers, out)?;
        self.end(Closed::Finished);
        Ok(())
    }

    /// How the streamed answer is coded; `None` where none is streamed at present. For whoever writes the same coded bytes to many
    /// sockets.
    #[inline]
    pub fn coding(&self) -> Option<Coding> {
        match self.answer {
            Answer::Chunked => Some(Coding::Chunked),
            Answer::Raw => Some(Coding::UntilClose),
            Answer::Complete | Answer::Owed => None,
        }
    }

    /// Whether a request waits for its answer, or for the rest of it.
    pub fn owes_answer(&self) -> bool {
        self.answer != Answer::Complete
    }

    /// Whether bytes fed now would be taken. Not while an answer is owed or streamed and the whole request is in (unless the
    /// connection ends with it: then bytes are dropped), nor after a hand-over.
    pub fn wants_input(&self) -> bool {
        match self.phase {
            Phase::Answer => self.persistence == Persistence::Close,
            Phase::HandedOver => false,
            _ => true,
        }
    }

    /// Whether another request may follow the present one.
    pub fn keeps_alive(&self) -> bool {
        self.persistence == Persistence::Keep && !self.is_finished() && self.phase != Phase::HandedOver
    }

    /// Whether the connection is over: write what lies in the output, then close.
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Over(_) | Phase::Done)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called. In the past once after an answer, which is given without
    /// the time: the call then starts the idle deadline. None while an answer is owed: that wait is the
    /// application's.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Acts on the deadline if it has passed; called early it does nothing. `Closed` then comes from
    /// [`next_event`](Self::next_event).
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Output) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        let (closed, answer) = match self.phase {
            Phase::Rest => return self.begin_idle(now),
            Phase::Fresh => (Deadline::Head, false),
            Phase::Head => (Deadline::Head, true),
            Phase::Idle => (Deadline::Idle, false),
            Phase::Body => (Deadline::Body, self.answer == Answer::Owed),
            Phase::Drain => (Deadline::Body, false),
            Phase::Answer | Phase::HandedOver | Phase::Over(_) | Phase::Done => {
                self.deadline = None;
                return;
            }
        };
        if answer {
            let method = if self.phase == Phase::Head { Method::Other } else { self.method };
            refuse(method, 408, &Closed::Timeout(closed), out);
        }
        self.end(Closed::Timeout(closed));
    }

    /// The client ended its side. It is taken to be gone: an answer that is still owed or streamed will not be read. (A client that
    /// half-closes and waits, as `nc -N` does, gets the answers that were given before.)
    pub fn handle_eof(&mut self, _now: Instant) {
        self.end(match self.phase {
            Phase::Head | Phase::Body => Closed::Truncated,
            _ => Closed::PeerClosed,
        });
    }

    fn may_hand_over(&self) -> Result<(), ResponseError> {
        match self.answer {
            Answer::Owed if self.body.is_complete() => Ok(()),
            Answer::Owed => Err(ResponseError::BodyUnread),
            _ => Err(ResponseError::NotOwed),
        }
    }

    fn read_head<'i>(
        &mut self,
        input: &'i mut Input<'_>,
        out: &mut Output,
        now: Instant,
    ) -> Result<Option<Event<'i>>, Error> {
        if self.phase != Phase::Head && !input.is_empty() {
            if self.phase == Phase::Idle {
                self.deadline = Some(now + self.config.head_deadline);
            }
            self.phase = Phase::Head;
        }
        match self.head.read(&self.config.head, input) {
            Ok(Some(head)) => match self.begin_request(&head, now) {
                Ok(()) => Ok(Some(Event::Request(head))),
                Err(e) => Err(self.fail(e, out)),
            },
            Ok(None) => Ok(None),
            Err(e) => Err(self.fail(Error::Head(e), out)),
        }
    }

    fn begin_request(&mut self, head: &RequestHead<'_>, now: Instant) -> Result<(), Error> {
        self.version = head.version();
        self.method = if head.method() == "HEAD" { Method::Head } else { Method::Other };
        if !head.keeps_alive() {
            self.persistence = Persistence::Close;
        }
        self.answer = Answer::Owed;
        self.expectation = Expectation::None;
        for value in head.headers().all("expect") {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Error::Expectation);
            }
            // From an HTTP/1.0 client it means nothing (RFC 9110 section 10.1.1).
            if self.version == Version::Http11 && !head.framing().is_empty() {
                self.expectation = Expectation::Waiting;
            }
        }
        // Too long a one is refused where it is read: before that the application may answer in its own words.
        self.body = BodyReader::lenient(head.framing(), self.config.body);
        if self.body.verdict().is_err() {
            self.persistence = Persistence::Close;
            self.expectation = Expectation::None;
        }
        self.phase = Phase::Body;
        self.deadline = Some(now + self.config.body_deadline);
        Ok(())
    }

    /// Writes the interim response that the client waits for. Also where body bytes are here already: whether they are depends on the
    /// cut, and the reply must not. Where the output is full, the next call tries again.
    fn invite_body(&mut self, out: &mut Output) {
        if self.expectation == Expectation::Waiting
            && self.answer == Answer::Owed
            && out.push(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok()
        {
            self.expectation = Expectation::None;
        }
    }

    fn check(&self, response: &Response<'_>) -> Result<(), ResponseError> {
        if self.answer != Answer::Owed {
            return Err(ResponseError::NotOwed);
        }
        response.check()
    }

    /// Writes an answer of known length by `push`, which gets the engine's own fields.
    fn respond_with(
        &mut self,
        response: &Response<'_>,
        len: usize,
        push: impl FnOnce(Method, &[(&str, &str)]) -> Result<(), crate::output::Full>,
    ) -> Result<(), ResponseError> {
        self.check(response)?;
        if response.is_bodiless() && len > 0 {
            return Err(ResponseError::BodyNotAllowed);
        }
        let persistence = self.persistence_with(response);
        let length = Decimal::new(len as u64);
        let connection = match (persistence, self.version) {
            (Persistence::Close, _) => Some(("Connection", "close")),
            (Persistence::Keep, Version::Http10) => Some(("Connection", "keep-alive")),
            (Persistence::Keep, Version::Http11) => None,
        };
        // 204 must have no length (RFC 9110 section 8.6), and in a 304 it would be that of another response.
        let length = (!matches!(response.status(), 204 | 304)).then(|| ("Content-Length", length.as_str()));
        let mut own = [("", ""); 2];
        let mut count = 0;
        for field in [length, connection].into_iter().flatten() {
            own[count] = field;
            count += 1;
        }
        push(self.method, &own[..count])?;
        self.persistence = persistence;
        self.complete();
        Ok(())
    }

    fn persistence_with(&self, response: &Response<'_>) -> Persistence {
        self.persistence_after(if response.closes() { Persistence::Close } else { Persistence::Keep })
    }

    /// Whether the connection survives an answer given now, which itself says so much of it.
    fn persistence_after(&self, answer: Persistence) -> Persistence {
        // A client that waits for 100 may send the body or not: what follows could be either (RFC 9110 section 10.1.1).
        let uninvited = self.expectation == Expectation::Waiting;
        let too_much = self.body.remaining().is_some_and(|left| left > u64::from(self.config.drain));
        let closes = answer == Persistence::Close || uninvited || too_much;
        if closes { Persistence::Close } else { self.persistence }
    }

    /// The answer is complete.
    fn complete(&mut self) {
        self.answer = Answer::Complete;
        if self.persistence == Persistence::Close {
            self.end(Closed::Finished);
        } else if self.body.is_complete() {
            self.rest();
        } else {
            self.phase = Phase::Drain;
            self.drained = 0;
        }
    }

    /// Between requests, at a time that is not known here: a deadline in the past makes the caller tell it.
    fn rest(&mut self) {
        self.phase = Phase::Rest;
        self.deadline = Some(Instant::ORIGIN);
    }

    fn begin_idle(&mut self, now: Instant) {
        self.phase = Phase::Idle;
        self.deadline = Some(now + self.config.idle_deadline);
    }

    /// Refuses what the client sent: with an answer, where none has begun.
    #[cold]
    fn fail(&mut self, error: Error, out: &mut Output) -> Error {
        let begun = match error {
            Error::Head(_) => false,
            _ => self.answer != Answer::Owed,
        };
        if !begun {
            // Of a head that was refused no method is known; the present one is that of the request before.
            let method = if matches!(error, Error::Head(_)) { Method::Other } else { self.method };
            refuse(method, error.status(), &error, out);
        }
        self.end(Closed::Error(error));
        error
    }

    /// The connection is over. The first cause stands.
    fn end(&mut self, closed: Closed) {
        if matches!(self.phase, Phase::Over(_) | Phase::Done | Phase::HandedOver) {
            return;
        }
        self.phase = Phase::Over(closed);
        self.answer = Answer::Complete;
        self.persistence = Persistence::Close;
        self.deadline = None;
        self.head = RequestReader::new();
    }
}

/// The last answer of a connection; to a HEAD without the text, which no body may carry.
#[cold]
fn refuse(method: Method, status: u16, cause: &dyn fmt::Display, out: &mut Output) {
    match method {
        Method::Head => response::refuse_bare(status, &[("Connection", "close")], out),
        Method::Other => response::refuse(status, &[("Connection", "close")], cause, out),
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("phase", &self.phase)
            .field("answer", &self.answer)
            .field("persistence", &self.persistence)
            .field("deadline", &self.deadline)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_at_most_128_bytes() {
        assert!(size_of::<Server>() <= 128, "{}", size_of::<Server>());
    }
}
