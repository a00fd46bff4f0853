//! An event stream as an HTTP server answers with it.
//!
//! [`Subscription::read`] decides from the request's head; [`ServerStream::open`] answers; the stream then sends events, comments
//! when it was silent, and ends in good order.

use super::event::{EncodeError, Event, Signal};
use crate::heartbeat::HeartbeatConfig;
use crate::http::accept::Preference;
use crate::http::response::ResponseError;
use crate::http::server::{Server, Streaming};
use crate::http::target::{decode, raw_values};
use crate::http::{RequestHead, Response, target};
use crate::output::{Full, Output};
use crate::time::Instant;
use alloc::borrow::Cow;
use bytes::Bytes;
use core::fmt;
use core::time::Duration;

/// The longest last event id taken from a request, and sent in one: half of what all of a head may have, and many times what ids are.
pub const MAX_LAST_EVENT_ID: usize = 4096;

/// No heartbeats come closer together, whatever is configured: an interval of nothing would always be over.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// The fields of every event stream's head. `no-cache` keeps a cache from answering a reconnect with an old stream;
/// `X-Accel-Buffering` keeps nginx from holding events back.
const HEAD: [(&str, &str); 3] =
    [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no")];

/// What a request for an event stream asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription<'h> {
    /// Where the client wants to go on: the id of the last event that it saw, never empty. Untrusted: any text without NUL and
    /// line ends, of at most [`MAX_LAST_EVENT_ID`] bytes.
    pub last_event_id: Option<Cow<'h, str>>,
    /// The request was a HEAD: it wants the head and no events, so nothing is to be subscribed for it.
    pub head_only: HeadOnly,
}

/// Whether only the head of a stream was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadOnly {
    /// HEAD.
    Yes,
    /// GET or POST.
    No,
}

/// Why a request gets no event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// A method other than GET, HEAD and POST.
    Method,
    /// `Accept` excludes `text/event-stream` (RFC 9110 section 12.5.1).
    NotAcceptable,
    /// The last event id is too long, not UTF-8, given twice, or holds a NUL or a line end.
    LastEventId,
}

impl Refusal {
    /// The status of the answer. To a browser each of them is final: it does not come back.
    pub const fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::NotAcceptable => 406,
            Self::LastEventId => 400,
        }
    }

    /// Answers the request, with `headers` besides.
    ///
    /// # Errors
    ///
    /// As for [`Server::respond`].
    pub fn respond(self, http: &mut Server, headers: &[(&str, &str)], out: &mut Output) -> Result<(), ResponseError> {
        let allow: &[_] = if self == Self::Method { &[("Allow", "GET, HEAD, POST")] } else { &[] };
        http.respond(&Response::new(self.status()).base(allow).headers(headers), &[], out)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("event streams answer GET, HEAD and POST only"),
            Self::NotAcceptable => f.write_str("Accept excludes text/event-stream"),
            Self::LastEventId => {
                write!(
                    f,
                    "last event id over {MAX_LAST_EVENT_ID} bytes, given twice, not UTF-8, or with NUL or a line end"
                )
            }
        }
    }
}

impl core::error::Error for Refusal {}

impl<'h> Subscription<'h> {
    /// Reads a request for an event stream. The last event id comes from the header `Last-Event-ID` or, without it, from the query's
    /// `lastEventId` (which a client sends that cannot set headers). Beside the header the query is not looked at. O(head).
    ///
    /// A weight in `Accept` that is no number (`q=`) counts as none, which means that the type is accepted.
    ///
    /// # Errors
    ///
    /// Why it gets none; answer with [`Refusal::respond`].
    pub fn read(head: &'h RequestHead<'_>) -> Result<Self, Refusal> {
        let head_only = match head.method() {
            "GET" | "POST" => HeadOnly::No,
            "HEAD" => HeadOnly::Yes,
            _ => return Err(Refusal::Method),
        };
        if !Preference::of("text/event-stream", head.headers().all("accept")).accepts() {
            return Err(Refusal::NotAcceptable);
        }
        Ok(Self { last_event_id: last_event_id(head)?, head_only })
    }
}

fn last_event_id<'h>(head: &'h RequestHead<'_>) -> Result<Option<Cow<'h, str>>, Refusal> {
    let headers = head.headers();
    let id = match only(headers.all("last-event-id"))? {
        // The bytes are UTF-8, as the standard has clients encode them, not Latin-1.
        Some(value) => Cow::Borrowed(core::str::from_utf8(value).map_err(|_| Refusal::LastEventId)?),
        None => match only(raw_values(head.raw_query().unwrap_or_default(), "lastEventId"))? {
            Some(value) => decode(value, target::Plus::Space).map_err(|_| Refusal::LastEventId)?,
            None => return Ok(None),
        },
    };
    let sound = id.len() <= MAX_LAST_EVENT_ID && !id.contains(['\0', '\r', '\n']);
    if !sound {
        return Err(Refusal::LastEventId);
    }
    Ok(Some(id).filter(|id| !id.is_empty()))
}

/// The value where there is at most one: of two nobody knows which is meant.
fn only<T>(mut values: impl Iterator<Item = T>) -> Result<Option<T>, Refusal> {
    let value = values.next();
    if values.next().is_some() { Err(Refusal::LastEventId) } else { Ok(value) }
}

/// How server streams behave; shared by all of them. Every value is a valid one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerStreamConfig {
    /// Silence after which a comment is sent. Default 15 s, as the standard advises; a proxy that closes silent connections
    /// does so after 30 to 60 s. Less than 1 ms counts as 1 ms.
    pub heartbeat: Duration,
    /// By how many percent of the interval a connection's heartbeat may be faster, at random, so that connections that opened
    /// together do not tick together. Default 10; more than [`HeartbeatConfig::MOST_JITTER`], which is 50, counts as that.
    pub heartbeat_jitter_percent: u8,
    /// The `retry:` that opens each stream. Default 3 s. `None` leaves the client its own.
    pub retry: Option<Duration>,
    /// By how many percent of it a connection's retry may be longer, at random, so that clients that lost their server together do not
    /// come back together. Default 50.
    pub retry_jitter_percent: u8,
}

impl Default for ServerStreamConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(15),
            heartbeat_jitter_percent: 10,
            retry: Some(Duration::from_secs(3)),
            retry_jitter_percent: 50,
        }
    }
}

/// What [`ServerStream::open`] began.
#[derive(Debug)]
#[must_use]
pub enum Opened {
    /// The stream is open.
    Stream(ServerStream),
    /// The request was a HEAD, and is answered.
    HeadOnly,
}

/// Why nothing was sent. The stream is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// An event that cannot be encoded.
    Encode(EncodeError),
    /// The response is not open, or the output is full.
    Response(ResponseError),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => error.fmt(f),
            Self::Response(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StreamError {}

impl From<EncodeError> for StreamError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl From<ResponseError> for StreamError {
    fn from(error: ResponseError) -> Self {
        Self::Response(error)
    }
}

impl From<Full> for StreamError {
    fn from(full: Full) -> Self {
        Self::Response(full.into())
    }
}

/// One open event stream of a server, on top of the HTTP connection that carries it.
///
/// # Contract
///
/// - [`open`](Self::open) answers a request that [`Subscription::read`] approved, in chunks or, to an HTTP/1.0 client, until the
///   connection closes. Write the output at once: a client is open when it has the head.
/// - Each call writes a whole event or nothing. The connection is closed when the stream ends, so requests pipelined behind it are
///   never processed.
/// - A POST may be answered before all of its body is in. The rest then comes as events of the HTTP connection, behind the open
///   stream: go on asking for them and pass over them, or read the whole body before opening.
/// - Wait for the earlier of [`poll_timeout`](Self::poll_timeout) and the connection's own, ask it again after every call that
///   took `now`, and call [`handle_timeout`](Self::handle_timeout) when it has passed.
/// - [`finish`](Self::finish) ends the stream; the client comes back after its retry time. To keep it away answer that
///   request with [`stop`](Self::stop).
#[derive(Debug)]
pub struct ServerStream {
    /// Silence until a heartbeat, jittered once.
    interval: Duration,
    written: Instant,
    due: Instant,
}

impl ServerStream {
    /// Answers the present request of `http` with an event stream: its head, with `headers` besides (`Cache-Control` and
    /// `X-Accel-Buffering` among them replace those of this crate), and `retry:`. `random` is even over its range.
    ///
    /// # Errors
    ///
    /// As for [`Server::respond_stream`]; nothing was written.
    pub fn open(
        config: &ServerStreamConfig,
        http: &mut Server,
        headers: &[(&str, &str)],
        random: u64,
        out: &mut Output,
        now: Instant,
    ) -> Result<Opened, ResponseError> {
        let mut base = HEAD;
        let mut kept = 0;
        for field in HEAD {
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(field.0)) {
                base[kept] = field;
                kept += 1;
            }
        }
        let retry = config.retry.map(|retry| {
            let longer = share(retry, config.retry_jitter_percent, random as u32);
            Signal::Retry(u64::try_from(retry.saturating_add(longer).as_millis()).unwrap_or(u64::MAX))
        });
        let response = Response::new(200).base(&base[..kept]).headers(headers).close();
        if http.respond_stream(&response, out)? == Streaming::HeadOnly {
            return Ok(Opened::HeadOnly);
        }
        let jitter = config.heartbeat_jitter_percent.min(HeartbeatConfig::MOST_JITTER);
        let early = share(config.heartbeat, jitter, (random >> 32) as u32);
        let interval = config.heartbeat.saturating_sub(early).max(SHORTEST_INTERVAL);
        let mut stream = Self { interval, written: now, due: now + interval };
        if let Some(retry) = retry {
            // Advice only: an output that the head has filled goes without it.
            let _ = stream.signal(http, retry, out, now);
        }
        Ok(Opened::Stream(stream))
    }

    /// Answers the present request with 204, which ends a client's reconnecting for good.
    ///
    /// # Errors
    ///
    /// As for [`Server::respond`].
    pub fn stop(http: &mut Server, headers: &[(&str, &str)], out: &mut Output) -> Result<(), ResponseError> {
        http.respond(&Response::new(204).headers(headers), &[], out)
    }

    /// Sends an event. O(its length).
    ///
    /// # Errors
    ///
    /// Nothing was written: see [`StreamError`].
    pub fn send(
        &mut self,
        http: &mut Server,
        event: &Event<'_>,
        out: &mut Output,
        now: Instant,
    ) -> Result<(), StreamError> {
        let len = event.encoded_len()?;
        http.send_with(len, |space| event.fill(space), out)?;
        self.written = now;
        Ok(())
    }

    /// Sends blocks that were encoded before ([`Event::to_bytes`]); long ones by reference.
    ///
    /// # Errors
    ///
    /// Nothing was written: see [`StreamError`].
    pub fn send_shared(
        &mut self,
        http: &mut Server,
        blocks: &Bytes,
        out: &mut Output,
        now: Instant,
    ) -> Result<(), StreamError> {
        http.send_shared(blocks, out)?;
        self.written = now;
        Ok(())
    }

    /// Sends a comment, a retry time or a position.
    ///
    /// # Errors
    ///
    /// Nothing was written: see [`StreamError`].
    pub fn signal(
        &mut self,
        http: &mut Server,
        signal: Signal<'_>,
        out: &mut Output,
        now: Instant,
    ) -> Result<(), StreamError> {
        let len = signal.encoded_len()?;
        http.send_with(len, |space| signal.fill(space), out)?;
        self.written = now;
        Ok(())
    }

    /// Notes that blocks were written to the socket past this stream, as the same bytes for many: the stream was not silent.
    #[inline]
    pub fn wrote(&mut self, now: Instant) {
        self.written = now;
    }

    /// Ends the stream in good order, with another `retry:` for the way back where one is given.
    ///
    /// # Errors
    ///
    /// As for [`Server::finish`]; the stream is still open.
    pub fn finish(&mut self, http: &mut Server, retry: Option<Duration>, out: &mut Output) -> Result<(), StreamError> {
        if let Some(retry) = retry {
            self.signal(http, Signal::Retry(u64::try_from(retry.as_millis()).unwrap_or(u64::MAX)), out, self.written)?;
        }
        Ok(http.finish(out)?)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called: early where something was sent since, never late.
    pub fn poll_timeout(&self) -> Instant {
        self.due
    }

    /// Whether nothing was sent for the heartbeat interval: whoever has something better than a comment to send then sends it before
    /// [`handle_timeout`](Self::handle_timeout).
    pub fn is_silent(&self, now: Instant) -> bool {
        now >= self.due && now >= self.written + self.interval
    }

    /// Sends a comment where the stream was silent for the heartbeat interval; called early it does nothing. Where earlier bytes
    /// still wait for the socket none is added: they show a silent client as well.
    pub fn handle_timeout(&mut self, http: &mut Server, now: Instant, out: &mut Output) {
        if now < self.due {
            return;
        }
        if now >= self.written + self.interval {
            if !out.is_blocked() {
                // A full output, or a response that ended, needs no heartbeat.
                let _ = self.signal(http, Signal::KeepAlive, out, now);
            }
            self.due = now + self.interval;
        } else {
            self.due = self.written + self.interval;
        }
    }
}

/// A random part of up to so many percent of `whole`.
fn share(whole: Duration, percent: u8, random: u32) -> Duration {
    let nanos = whole.as_nanos() * u128::from(percent) / 100 * u128::from(random) / u128::from(u32::MAX);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
