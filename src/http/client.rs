//! One HTTP/1.1 connection, seen from the client (RFC 9112 section 9).

use crate::http::body::{BodyEvent, BodyReader};
use crate::http::error::{Closed, Deadline, Error};
use crate::http::head::{Framing, HeadLimits, ResponseHead, ResponseReader};
use crate::http::request::{Request, RequestError};
use crate::input::Input;
use crate::output::Output;
use crate::time::Instant;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

/// Limits and deadlines of client connections, shared by all of them. Every value is a valid one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Caps on response heads; [`HeadLimits::request_line`] does not concern them.
    pub head: HeadLimits,
    /// Bytes of the body of a successful (2xx) response. Default 1 MiB; `u64::MAX` for event streams.
    pub body: u64,
    /// Bytes of the body of any other response. Default 64 KiB: what an error page needs.
    pub error_body: u64,
    /// From a request to the end of its response's head, interim responses included. Default 30 s; for long polls more than
    /// they hold.
    pub head_deadline: Duration,
    /// Silence inside a body, renewed by bytes. Default 60 s. `None` where somebody else watches, as an event stream's watchdog does.
    pub silence: Option<Duration>,
    /// Between a response and the next request. Default 60 s.
    pub idle_deadline: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            head: HeadLimits::default(),
            body: BodyReader::LIMIT,
            error_body: 64 << 10,
            head_deadline: Duration::from_secs(30),
            silence: Some(Duration::from_secs(60)),
            idle_deadline: Duration::from_secs(60),
        }
    }
}

/// Interim responses to one request: 100, 102 and 103 come once or twice; an endless row of them is no answer.
const INTERIM: u8 = 8;

/// What a server did.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // A head is lent once per response and not stored.
pub enum Event<'i> {
    /// An interim (1xx) response: the final one follows.
    Interim(ResponseHead<'i>),
    /// The response. Its body follows, then `End`.
    Response(ResponseHead<'i>),
    /// The next bytes of the response's body, never empty.
    Body(&'i [u8]),
    /// The response is complete. Comes once per response, also without a body. Trailers behind a chunked body were checked and
    /// dropped: see [`body`](super::body).
    End,
    /// The connection is over. Comes exactly once.
    Closed(Closed),
}

/// One connection of a client: requests out, responses in, one at a time.
///
/// # Contract
///
/// - [`send`](Self::send) a request, then ask [`next_event`](Self::next_event) until it says `None`. Where
///   [`is_ready`](Self::is_ready) holds, the next request may follow on the same connection.
/// - After an error `Closed` comes next, and nothing more is taken from the input.
/// - A connection that ends with `Closed(PeerClosed)` before any byte of a response had been kept alive too long: a request that
///   may be repeated can go out on a new one (RFC 9112 section 9.3.1).
/// - Ask [`poll_timeout`](Self::poll_timeout) again after every call. It may be early, never late.
///
/// ```text
///   Idle -> Head -> Body -> Idle ...      any -> Over (Closed is due) -> Done
/// ```
pub struct Client {
    config: Arc<ClientConfig>,
    head: ResponseReader,
    body: BodyReader,
    deadline: Option<Instant>,
    phase: Phase,
    interim: u8,
    method: Method,
    last: Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request is outstanding.
    Idle,
    /// Waiting for a response, no byte of it is in.
    Waiting,
    /// Inside its head, or between an interim response and it.
    Head,
    Body,
    /// Over, and not yet said.
    Over(Closed),
    Done,
}

/// As far as the framing of responses depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Head,
    Other,
}

/// Whether another response may follow the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    No,
    Yes,
}

impl Client {
    /// A connection that was established at `now`.
    pub fn new(config: Arc<ClientConfig>, now: Instant) -> Self {
        Self {
            deadline: Some(now + config.idle_deadline),
            config,
            head: ResponseReader::new(),
            body: BodyReader::lenient(Framing::None, 0),
            phase: Phase::Idle,
            interim: 0,
            method: Method::Other,
            last: Last::No,
        }
    }

    /// Sends a request with its whole `body`. The head deadline runs from here.
    ///
    /// # Errors
    ///
    /// Nothing was written: see [`RequestError`].
    pub fn send(
        &mut self,
        request: &Request<'_>,
        body: &[u8],
        out: &mut Output,
        now: Instant,
    ) -> Result<(), RequestError> {
        match self.phase {
            Phase::Idle => {}
            Phase::Waiting | Phase::Head | Phase::Body => return Err(RequestError::Busy),
            Phase::Over(_) | Phase::Done => return Err(RequestError::Closed),
        }
        request.push(body, out)?;
        self.phase = Phase::Waiting;
        self.interim = 0;
        self.method = if request.method() == "HEAD" { Method::Head } else { Method::Other };
        self.deadline = Some(now + self.config.head_deadline);
        Ok(())
    }

    /// What comes next in `input`, or `None` where that needs more bytes. Writes nothing: `out` is there so that all machines are
    /// driven alike.
    ///
    /// # Errors
    ///
    /// What the server did wrong; `Closed` comes next.
    pub fn next_event<'i>(
        &mut self,
        input: &'i mut Input<'_>,
        _out: &mut Output,
        now: Instant,
    ) -> Result<Option<Event<'i>>, Error> {
        match self.phase {
            Phase::Idle if input.is_empty() => Ok(None),
            Phase::Idle => Err(self.fail(Error::Unsolicited)),
            Phase::Waiting | Phase::Head => {
                if !input.is_empty() {
                    self.phase = Phase::Head;
                }
                match self.head.read(&self.config.head, input) {
                    Ok(Some(head)) if head.status() < 200 => match self.count_interim(&head) {
                        Ok(()) => Ok(Some(Event::Interim(head))),
                        Err(e) => Err(self.fail(e)),
                    },
                    Ok(Some(head)) => {
                        self.begin_response(&head, now);
                        Ok(Some(Event::Response(head)))
                    }
                    Ok(None) => Ok(None),
                    Err(e) => Err(self.fail(Error::Head(e))),
                }
            }
            Phase::Body => match self.body.read(input) {
                Ok(Some(BodyEvent::Data(data))) => {
                    self.deadline = self.config.silence.map(|silence| now + silence);
                    Ok(Some(Event::Body(data)))
                }
                Ok(Some(BodyEvent::End)) => {
                    self.deadline = Some(now + self.config.idle_deadline);
                    self.phase = Phase::Idle;
                    if self.last == Last::Yes {
                        self.end(Closed::Finished);
                    }
                    Ok(Some(Event::End))
                }
                Ok(None) => Ok(None),
                Err(e) => Err(self.fail(Error::Body(e))),
            },
            Phase::Over(closed) => {
                input.skip_all();
                self.phase = Phase::Done;
                Ok(Some(Event::Closed(closed)))
            }
            Phase::Done => {
                input.skip_all();
                Ok(None)
            }
        }
    }

    /// Gives the connection up.
    pub fn abort(&mut self) {
        self.end(Closed::Aborted);
    }

    /// Whether a request may be sent now.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Whether the connection is over: close it.
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Over(_) | Phase::Done)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Acts on the deadline if it has passed; called early it does nothing. `Closed` then comes from
    /// [`next_event`](Self::next_event). Writes nothing to `out`.
    pub fn handle_timeout(&mut self, now: Instant, _out: &mut Output) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        self.end(Closed::Timeout(match self.phase {
            Phase::Waiting | Phase::Head => Deadline::Head,
            Phase::Body => Deadline::Body,
            _ => Deadline::Idle,
        }));
    }

    /// The server ended its side. That completes a body without a length: `End` comes, then `Closed`.
    pub fn handle_eof(&mut self, _now: Instant) {
        match self.phase {
            Phase::Idle | Phase::Waiting => self.end(Closed::PeerClosed),
            Phase::Body if self.body.handle_eof().is_ok() => {
                self.last = Last::Yes;
                self.deadline = None;
            }
            _ => self.end(Closed::Truncated),
        }
    }

    fn count_interim(&mut self, head: &ResponseHead<'_>) -> Result<(), Error> {
        if head.status() == 101 {
            return Err(Error::Upgrade);
        }
        if self.interim == INTERIM {
            return Err(Error::InterimResponses { limit: INTERIM });
        }
        self.interim += 1;
        Ok(())
    }

    fn begin_response(&mut self, head: &ResponseHead<'_>, now: Instant) {
        let framing = head.framing(if self.method == Method::Head { "HEAD" } else { "" });
        let limit = if (200..300).contains(&head.status()) { self.config.body } else { self.config.error_body };
        self.last = if head.keeps_alive() { Last::No } else { Last::Yes };
        // A length above the limit is refused behind the head, so that its status is seen.
        self.body = BodyReader::lenient(framing, limit);
        self.phase = Phase::Body;
        self.deadline = self.config.silence.map(|silence| now + silence);
    }

    #[cold]
    fn fail(&mut self, error: Error) -> Error {
        self.end(Closed::Error(error));
        error
    }

    /// The connection is over. The first cause stands.
    fn end(&mut self, closed: Closed) {
        if !self.is_finished() {
            self.phase = Phase::Over(closed);
            self.deadline = None;
            self.head = ResponseReader::new();
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("phase", &self.phase).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_at_most_128_bytes() {
        assert!(size_of::<Client>() <= 128, "{}", size_of::<Client>());
    }
}
