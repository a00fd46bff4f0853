//! The client of an event stream: one source across as many connections as it takes (WHATWG HTML section 9.2.2 and 9.2.3).

use super::event::Event;
use super::parse::{Limits, ParseError, Parser};
use super::server::MAX_LAST_EVENT_ID;
use crate::backoff::{Backoff, BackoffConfig};
use crate::http::client::{self, Client, ClientConfig};
use crate::http::url::Url;
use crate::http::{Request, RequestError, ResponseHead};
use crate::input::Input;
use crate::output::Output;
use crate::time::{Instant, earlier};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// Redirects followed for one connection: what the Fetch standard allows is 20, and no event stream needs more than a few.
const REDIRECTS: u8 = 5;

/// How event sources behave; shared by all of them. Every value is a valid one.
#[derive(Clone, Debug)]
pub struct EventSourceConfig {
    /// What a stream may make the parser hold on to.
    pub limits: Limits,
    /// The least wait before reconnecting, until the stream sets another with `retry:`. Default 3 s, as browsers have it.
    ///
    /// Jitter comes on top, drawn by `backoff`. A connection shorter than [`BackoffConfig::stable`] counts as a failure even if the
    /// stream ended in good order, so a server that ends each stream after a few seconds makes the waits longer, and uses up
    /// [`BackoffConfig::attempts`] where they are limited.
    pub retry: Duration,
    /// Reconnect delays: `retry` plus what this draws at random, more after each failure.
    pub backoff: BackoffConfig,
    /// How often the server is known to send something, be it a comment. Silence for two and a half times as long ends the
    /// connection, and another is made. Default 15 s, which means 37.5 s; set it to `None` for a server that sends no heartbeats:
    /// then silence is waited out for ever.
    pub heartbeat: Option<Duration>,
    /// Limits and deadlines of response heads, and of bodies that are no event stream. Its limit on bodies and its silence do
    /// not concern event streams.
    pub http: ClientConfig,
    /// Further header fields of each request: credentials, say. They are sent to the source's origin only.
    pub headers: Vec<(String, String)>,
}

impl Default for EventSourceConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            retry: Duration::from_secs(3),
            backoff: BackoffConfig::default(),
            heartbeat: Some(Duration::from_secs(15)),
            http: ClientConfig::default(),
            headers: Vec::new(),
        }
    }
}

/// What an event source says.
#[derive(Debug)]
pub enum EventSourceEvent<'i> {
    /// Connect to [`EventSource::url`] now, dropping any connection there was and what its output still holds, and say how it went:
    /// [`EventSource::connected`] or [`EventSource::connect_failed`]. How long connecting may take is the caller's choice.
    Connect,
    /// The stream is open. Comes again after each reconnect.
    Open,
    /// An event. [`EventSource::last_event_id`] is its `lastEventId`.
    Message(Event<'i>),
    /// The connection is lost: close it. `Connect` comes by itself after the wait.
    Disconnected {
        /// Why.
        cause: Disconnected,
        /// How long the source waits.
        wait: Duration,
    },
    /// The source is over, for good: close the connection. Comes exactly once.
    Closed(Closed),
}

/// Why a connection was lost that is to be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disconnected {
    /// No connection could be made.
    ConnectFailed,
    /// The stream ended: in good order, by a reset, or inside a chunk.
    Ended,
    /// Nothing came for two and a half heartbeats, or no response in time.
    Silent,
    /// A response that is no HTTP/1.1.
    Http(crate::http::Error),
}

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectFailed => f.write_str("could not connect"),
            Self::Ended => f.write_str("stream ended"),
            Self::Silent => f.write_str("server silent for too long"),
            Self::Http(error) => error.fmt(f),
        }
    }
}

/// Why a source is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// [`EventSource::close`].
    ByCaller,
    /// A status other than 200. 204 is how a server says that it is done.
    Status {
        /// The status.
        status: u16,
        /// Its `Retry-After`, where that is a number of seconds: for a caller that starts anew. A date is not read.
        retry_after: Option<Duration>,
    },
    /// A content type other than `text/event-stream`.
    ContentType,
    /// A redirect to another origin, or without a usable target; see [`EventSource::redirect`].
    Redirect {
        /// The status.
        status: u16,
    },
    /// More redirects than `limit` in a row.
    Redirects {
        /// The limit.
        limit: u8,
    },
    /// The stream broke a limit of the parser.
    Parse(ParseError),
    /// The request cannot be written.
    Request(RequestError),
    /// [`BackoffConfig::attempts`] failed in a row.
    Attempts,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByCaller => f.write_str("closed by the caller"),
            Self::Status { status: 204, .. } => f.write_str("the server said that it is done (204)"),
            Self::Status { status, .. } => write!(f, "status {status} is not 200"),
            Self::ContentType => f.write_str("content type is not text/event-stream"),
            Self::Redirect { status } => write!(f, "redirect ({status}) out of the origin, or to nowhere"),
            Self::Redirects { limit } => write!(f, "more than {limit} redirects"),
            Self::Parse(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::Attempts => f.write_str("reconnect attempts used up"),
        }
    }
}

impl core::error::Error for Closed {}

/// The client of one event stream, across reconnects. Its requests are GETs without a body.
///
/// **A silent server is left.** With the default [`EventSourceConfig::heartbeat`] of 15 s a connection on which nothing arrives for
/// 37.5 s, not even a comment, is given up and made again. Streams of this crate send comments, as the standard advises; for a
/// server that does not, set the heartbeat to `None` or to what that server keeps to.
///
/// # Contract
///
/// - At each `Connect` drop the socket there was, and clear the output ([`Output::clear`]) before
///   [`connected`](Self::connected): what an earlier connection left unsent would stand in front of the request.
/// - While the caller connects there is no deadline: connecting and what goes with it (name resolution, TLS) is the caller's to
///   limit, who then says [`connect_failed`](Self::connect_failed).
/// - Ask [`next_event`](Self::next_event) until it says `None`, at the start and after every other call, with an empty input where
///   nothing was read. Bytes belong to the connection that the last `Connect` asked for; give each connection's bytes in order and
///   none of an earlier one.
/// - [`handle_eof`](Self::handle_eof) says that this connection ended, in whatever way.
/// - Ask [`poll_timeout`](Self::poll_timeout) again after every call. It may be early, never late.
/// - Lost connections come back by themselves, with the last event id and after the stream's retry time; what was half received is
///   gone, as the standard asks. A status other than 200 or another content type is final.
/// - [`close`](Self::close) is final from any state: after it come `Closed` and nothing more.
///
/// ```text
///   Due ──> Connecting ──> Response ──> Open ──┐
///    ^          │              │         │    │
///    └─ Waiting <──────────────┴─────────┘    │   any ──> Closing ──> Closed
///        (Disconnected)                       └── (final causes)
/// ```
pub struct EventSource {
    config: Arc<EventSourceConfig>,
    http_config: Arc<ClientConfig>,
    /// What the caller asked for: each reconnect begins there again.
    source: Url,
    /// Where redirects led, for the present connection.
    redirected: Option<Url>,
    redirects: u8,
    redirect: Option<String>,
    http: Option<Client>,
    /// Bytes at the front of the input that the connection has handed out as body and the parser has not taken yet.
    body: usize,
    parser: Parser,
    backoff: Backoff,
    random: u64,
    phase: Phase,
    /// The connection's watchdog.
    silent: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A connection is due.
    Due,
    /// The caller connects, for as long as the caller likes.
    Connecting,
    /// The request is out.
    Response,
    /// The response is a stream.
    Open,
    /// The connection is lost, and it was not said yet.
    Lost {
        cause: Disconnected,
        wait: Duration,
        until: Instant,
    },
    /// Until the next attempt.
    Waiting(Instant),
    /// Over, and not said yet.
    Closing(Closed),
    Closed,
}

impl EventSource {
    /// A source that begins with an attempt to connect to `url`. `seed` is even over its range: reconnect delays are drawn from it.
    pub fn new(config: Arc<EventSourceConfig>, url: Url, seed: u64) -> Self {
        let http_config = Arc::new(ClientConfig { body: u64::MAX, silence: None, ..config.http });
        Self {
            parser: Parser::with_limits(config.limits),
            backoff: Backoff::new(config.backoff),
            config,
            http_config,
            source: url,
            redirected: None,
            redirects: 0,
            redirect: None,
            http: None,
            body: 0,
            random: seed,
            phase: Phase::Due,
            silent: None,
        }
    }

    /// Where to connect: the source's URL or, behind a redirect, that one's, which has the same origin.
    pub fn url(&self) -> &Url {
        self.redirected.as_ref().unwrap_or(&self.source)
    }

    /// The last event id, which the next request carries where it is not empty and a header can carry it. Outlives connections.
    pub fn last_event_id(&self) -> &str {
        self.parser.last_event_id()
    }

    /// Sets the last event id, for a source that resumes from one it stored.
    pub fn set_last_event_id(&mut self, id: &str) {
        self.parser.set_last_event_id(id);
    }

    /// The reconnection time in milliseconds, as the stream sent it last. Outlives connections.
    pub fn retry(&self) -> Option<u64> {
        self.parser.retry()
    }

    /// The Location of the redirect that closed the source, where it had one.
    pub fn redirect(&self) -> Option<&str> {
        self.redirect.as_deref()
    }

    /// Whether the source is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closing(_) | Phase::Closed)
    }

    /// The connection stands: the request goes out, behind what the output holds, which should be nothing. Does nothing where no
    /// connection was asked for.
    ///
    /// A last event id that no header can carry (a control character, white space around it), or of more than
    /// [`MAX_LAST_EVENT_ID`] bytes, is left out: the server then begins where it begins for a new client.
    ///
    /// # Errors
    ///
    /// The request cannot be written, or not now. The source is closed then, and `Closed` comes next.
    pub fn connected(&mut self, out: &mut Output, now: Instant) -> Result<(), RequestError> {
        if self.phase != Phase::Connecting {
            return Ok(());
        }
        let mut http = Client::new(self.http_config.clone(), now);
        let sent = self.send(&mut http, out, now);
        match sent {
            Ok(()) => {
                self.parser.restart();
                self.body = 0;
                self.http = Some(http);
                self.phase = Phase::Response;
                self.silent = None;
            }
            Err(error) => self.end(Closed::Request(error)),
        }
        sent
    }

    fn send(&self, http: &mut Client, out: &mut Output, now: Instant) -> Result<(), RequestError> {
        let url = self.url();
        let authorization = url.basic_authorization();
        let id = self.parser.last_event_id();
        // A server would refuse too long a head for good; a stream that starts over is the lesser loss.
        let sendable = (1..=MAX_LAST_EVENT_ID).contains(&id.len())
            && !id.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')
            && id.trim_matches([' ', '\t']).len() == id.len();
        let mut headers = Vec::with_capacity(4 + self.config.headers.len());
        headers.extend([("Accept", "text/event-stream"), ("Cache-Control", "no-cache")]);
        headers.extend(sendable.then_some(("Last-Event-ID", id)));
        headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
        let own = headers.len();
        for (name, value) in &self.config.headers {
            // The caller's own Authorization replaces the URL's.
            if let Some(at) = headers[..own].iter().position(|(own, _)| own.eq_ignore_ascii_case(name)) {
                headers[at].1 = value;
            } else {
                headers.push((name, value));
            }
        }
        http.send(&Request::new("GET", url.target(), url.authority()).headers(&headers), &[], out, now)
    }

    /// No connection could be made. Does nothing where none was asked for.
    pub fn connect_failed(&mut self, now: Instant) {
        if self.phase == Phase::Connecting {
            self.lose(Disconnected::ConnectFailed, now);
        }
    }

    /// Ends the source for good, from any state. `Closed` comes next, unless it came before.
    pub fn close(&mut self) {
        self.end(Closed::ByCaller);
    }

    /// What comes next, or `None` where that needs more bytes, time, or the caller's word on the connection.
    pub fn next_event<'i>(
        &mut self,
        input: &'i mut Input<'_>,
        out: &mut Output,
        now: Instant,
    ) -> Option<EventSourceEvent<'i>> {
        if self.silent.is_some() && !input.is_empty() {
            self.hear(now);
        }
        loop {
            match self.phase {
                Phase::Due => {
                    input.skip_all();
                    self.phase = Phase::Connecting;
                    return Some(EventSourceEvent::Connect);
                }
                Phase::Response | Phase::Open => {
                    if self.body == 0 {
                        match self.read(input, out, now) {
                            Read::Nothing => return None,
                            Read::Opened => return Some(EventSourceEvent::Open),
                            Read::Again => {}
                        }
                        continue;
                    }
                    let before = input.taken();
                    let found = self.parser.find(input, before.saturating_add(self.body));
                    self.body = self.body.saturating_sub(input.taken() - before);
                    match found {
                        Ok(Some(found)) => {
                            self.body = self.body.saturating_sub(found.taken);
                            return Some(EventSourceEvent::Message(self.parser.lend(found, input)));
                        }
                        // Fewer bytes came back than were left: the rest of the body is still to come.
                        Ok(None) if self.body > 0 => return None,
                        // The connection has more to say, be it only that the body is over.
                        Ok(None) => {}
                        Err(error) => self.end(Closed::Parse(error)),
                    }
                }
                Phase::Lost { cause, wait, until } => {
                    input.skip_all();
                    self.phase = Phase::Waiting(until);
                    return Some(EventSourceEvent::Disconnected { cause, wait });
                }
                Phase::Closing(closed) => {
                    input.skip_all();
                    self.phase = Phase::Closed;
                    return Some(EventSourceEvent::Closed(closed));
                }
                Phase::Connecting | Phase::Waiting(_) | Phase::Closed => {
                    input.skip_all();
                    return None;
                }
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(until) => Some(until),
            Phase::Response => earlier(self.silent, self.http.as_ref().and_then(Client::poll_timeout)),
            Phase::Open => self.silent,
            _ => None,
        }
    }

    /// Acts on the deadline if it has passed; called early it does nothing. What follows comes from
    /// [`next_event`](Self::next_event).
    pub fn handle_timeout(&mut self, now: Instant, _out: &mut Output) {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.phase {
            Phase::Waiting(_) => {
                self.redirected = None;
                self.redirects = 0;
                self.phase = Phase::Due;
            }
            Phase::Response | Phase::Open => self.lose(Disconnected::Silent, now),
            _ => {}
        }
    }

    /// The present connection ended, however it did. An event without its blank line is lost with it.
    pub fn handle_eof(&mut self, now: Instant) {
        match self.phase {
            Phase::Connecting => self.lose(Disconnected::ConnectFailed, now),
            Phase::Response | Phase::Open => self.lose(Disconnected::Ended, now),
            _ => {}
        }
    }

    /// Reads on in the HTTP connection.
    fn read(&mut self, input: &mut Input<'_>, out: &mut Output, now: Instant) -> Read {
        let Some(http) = &mut self.http else { return Read::Nothing };
        match http.next_event(input, out, now) {
            Ok(None) => return Read::Nothing,
            Ok(Some(client::Event::Interim(_))) => {}
            Ok(Some(client::Event::Response(head))) => {
                let verdict = Verdict::of(&head, self.redirected.as_ref().unwrap_or(&self.source));
                return self.judge(verdict, now);
            }
            Ok(Some(client::Event::Body(data))) => {
                // The parser takes it from the same input, where it can be rewritten in place.
                let len = data.len();
                input.untake(len);
                self.body = len;
            }
            Ok(Some(client::Event::End | client::Event::Closed(_))) => self.lose(Disconnected::Ended, now),
            Err(error) => self.lose(Disconnected::Http(error), now),
        }
        Read::Again
    }

    fn judge(&mut self, verdict: Verdict, now: Instant) -> Read {
        match verdict {
            Verdict::Stream => {
                self.backoff.connected(now);
                self.phase = Phase::Open;
                self.hear(now);
                return Read::Opened;
            }
            Verdict::Final(closed) => self.end(closed),
            Verdict::Follow(_) if self.redirects == REDIRECTS => self.end(Closed::Redirects { limit: REDIRECTS }),
            Verdict::Follow(url) => {
                self.redirects += 1;
                self.redirected = Some(url);
                self.http = None;
                self.silent = None;
                self.phase = Phase::Due;
            }
            Verdict::Away { status, location } => {
                self.redirect = location;
                self.end(Closed::Redirect { status });
            }
        }
        Read::Again
    }

    /// Something came: the watchdog starts over.
    fn hear(&mut self, now: Instant) {
        // Two and a half heartbeats: one may be lost or late without a false alarm.
        self.silent = self.config.heartbeat.map(|heartbeat| now + heartbeat.saturating_mul(5) / 2);
    }

    /// The connection is lost; another is due after a wait.
    fn lose(&mut self, cause: Disconnected, now: Instant) {
        self.drop_connection();
        let advice = self.parser.retry().map_or(self.config.retry, Duration::from_millis);
        let random = self.draw();
        match self.backoff.failed(now, random, Some(advice)) {
            Some(wait) => self.phase = Phase::Lost { cause, wait, until: now + wait },
            None => self.end(Closed::Attempts),
        }
    }

    /// The source is over. The first cause stands.
    fn end(&mut self, closed: Closed) {
        self.drop_connection();
        if !self.is_closed() {
            self.phase = Phase::Closing(closed);
        }
    }

    fn drop_connection(&mut self) {
        self.http = None;
        self.silent = None;
        self.body = 0;
        self.parser.restart();
    }

    /// The next random number from the seed (SplitMix64).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl fmt::Debug for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSource")
            .field("url", self.url())
            .field("phase", &self.phase)
            .field("last_event_id", &self.last_event_id())
            .finish_non_exhaustive()
    }
}

/// What came of a look at the connection.
enum Read {
    /// It needs more bytes.
    Nothing,
    Opened,
    /// The state has moved: look at it again.
    Again,
}

/// What a response head means for the source.
enum Verdict {
    Stream,
    Follow(Url),
    Away { status: u16, location: Option<String> },
    Final(Closed),
}

impl Verdict {
    fn of(head: &ResponseHead<'_>, url: &Url) -> Self {
        let status = head.status();
        let headers = head.headers();
        match status {
            200 if headers.get("content-type").is_some_and(is_event_stream) => Self::Stream,
            200 => Self::Final(Closed::ContentType),
            301 | 302 | 303 | 307 | 308 => {
                let location = headers.get("location").and_then(|value| core::str::from_utf8(value).ok());
                let target = location.and_then(|location| url.resolve(location).ok());
                match target {
                    Some(target) if target.same_origin(url) => Self::Follow(target),
                    _ => Self::Away { status, location: location.map(String::from) },
                }
            }
            _ => Self::Final(Closed::Status { status, retry_after: headers.get("retry-after").and_then(seconds) }),
        }
    }
}

/// Whether a content type's essence is `text/event-stream`; parameters make no difference, a charset neither.
fn is_event_stream(value: &[u8]) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// The delay-seconds form of `Retry-After` (RFC 9110 section 10.2.3).
fn seconds(value: &[u8]) -> Option<Duration> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(value).ok()?.parse().ok().map(Duration::from_secs)
}
