//! One connection of a session: whatever the transport, blocks come out of it.
//!
//! The bytes of an event stream lie in the input in one piece wherever they come from (a chunk of a message, a piece of a body). The
//! connection that found them gives them back to the input and says how many there are, and the parser takes them from there, in place.

use super::config::Endpoint;
use super::cursors::Scope;
use super::event::Cause;
use super::ladder::Transport;
use crate::http::client::{self, Client};
use crate::http::{self, Headers};
use crate::input::Input;
use crate::output::Output;
use crate::sse::{Event, Found, Hit, ParseError, Parser};
use crate::time::{Instant, earlier};
use crate::ws::{self, ClientHandshake, Connection, Ending, HandshakeError, HandshakeEvent, Seed};
use alloc::boxed::Box;
use alloc::string::String;
use core::time::Duration;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It brings the events.
    Feed,
    /// A better transport, tried beside the feed.
    Trial,
    /// It carries POSTs beside a feed that only goes down.
    Errand,
}

/// What a connection's own deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// The caller connects.
    Connect,
    /// No block has come yet.
    Probe,
    /// The last block was so long ago.
    Silence,
}

impl Watch {
    fn cause(self) -> Cause {
        match self {
            Self::Connect => Cause::ConnectFailed,
            Self::Probe => Cause::Unproven,
            Self::Silence => Cause::Silent,
        }
    }
}

pub(super) struct Line {
    pub(super) role: Role,
    pub(super) transport: Transport,
    pub(super) wire: Wire,
    parser: Parser,
    /// Bytes at the front of the input that belong to the event stream and that the parser has not taken yet.
    body: usize,
    /// With those bytes a WebSocket message ends.
    message_ends: bool,
    /// The body of this answer is of no interest.
    discards: bool,
    watch: Watch,
    deadline: Option<Instant>,
    /// Whether any block came.
    pub(super) greeted: bool,
    /// When all that was missed had come.
    pub(super) attached: Option<Instant>,
    /// Whether a block came after that.
    pub(super) useful: bool,
    pub(super) exchange: Exchange,
    /// Answers on this connection.
    pub(super) answers: u32,
    /// When the next poll goes out.
    pub(super) poll_at: Option<Instant>,
    /// When the last request went out.
    pub(super) asked: Instant,
    /// New events in the present answer.
    pub(super) events: u32,
    /// Bytes of blocks came since the last look.
    pub(super) fed: bool,
    /// For the masks of a WebSocket.
    pub(super) seed: Seed,
    /// A position block came with the present answer.
    pub(super) positioned: bool,
    /// For which topics its positions speak, until it has attached; of a poll, in the present answer.
    pub(super) scope: Scope,
}

pub(super) enum Wire {
    Connecting,
    Handshake(Box<ClientHandshake>),
    WebSocket(Box<Connection>),
    Http(Box<Client>),
}

/// Where an HTTP connection is with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    Idle,
    Asked,
    /// The head of the answer has come, with this status.
    Answered(u16),
}

/// What came of a look at a connection.
pub(super) enum Read {
    /// It needs more bytes.
    Dry,
    /// Its state moved: look again.
    Again,
    /// The WebSocket is open.
    Opened,
    /// The head of an answer, which is a stream of blocks where the cause is `None`.
    Answer { session: Option<String>, refused: Option<Cause>, after: Option<Duration> },
    /// An event is found.
    Event(Found),
    /// A position block: the cursor is the parser's last event id.
    Position,
    /// The answer is complete.
    End,
    /// The connection is over, and it was not this side that ended it.
    Lost(Cause, Advice),
    /// A limit on events was broken.
    TooLong(ParseError),
}

/// What a server says about coming back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Advice {
    /// Not before: `Retry-After`.
    pub(super) after: Option<Duration>,
    /// At a random time within: the reason of a 1012 or 1013.
    pub(super) window: Option<Duration>,
}

impl Line {
    pub(super) fn new(role: Role, transport: Transport, endpoint: &Endpoint, now: Instant) -> Self {
        Self {
            role,
            transport,
            wire: Wire::Connecting,
            parser: Parser::with_limits(endpoint.config.limits),
            body: 0,
            message_ends: false,
            discards: false,
            watch: Watch::Connect,
            deadline: Some(now + endpoint.config.connect),
            greeted: false,
            attached: None,
            useful: false,
            exchange: Exchange::Idle,
            answers: 0,
            poll_at: None,
            asked: now,
            events: 0,
            fed: false,
            seed: [0; 16],
            positioned: false,
            scope: Scope::Shared,
        }
    }

    /// Another connection for the same purpose: a server may end one between two answers.
    pub(super) fn reconnect(&mut self, endpoint: &Endpoint, now: Instant) {
        self.wire = Wire::Connecting;
        self.parser.restart();
        (self.body, self.message_ends, self.discards) = (0, false, false);
        (self.exchange, self.answers) = (Exchange::Idle, 0);
        self.watch(Watch::Connect, Some(now + endpoint.config.connect));
    }

    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.wire, Wire::Connecting)
    }

    pub(super) fn is_websocket(&self) -> bool {
        self.transport == Transport::WebSocket && self.role != Role::Errand
    }

    pub(super) fn watch(&mut self, watch: Watch, deadline: Option<Instant>) {
        (self.watch, self.deadline) = (watch, deadline);
    }

    /// The next thing that the connection says.
    pub(super) fn read(&mut self, endpoint: &Endpoint, input: &mut Input<'_>, out: &mut Output, now: Instant) -> Read {
        if self.body > 0 {
            return self.parse(input);
        }
        if core::mem::take(&mut self.message_ends) && self.parser.is_mid_event() {
            return Read::Lost(Cause::Subprotocol, Advice::default());
        }
        match &mut self.wire {
            Wire::Connecting => {
                input.skip_all();
                Read::Dry
            }
            Wire::Handshake(handshake) => match handshake.next_event(input, out, now) {
                Ok(Some(HandshakeEvent::Open(opened))) => {
                    if opened.protocol() != Some(super::config::SUBPROTOCOL) {
                        return Read::Lost(Cause::Subprotocol, Advice::default());
                    }
                    self.wire = Wire::WebSocket(Box::new(Connection::client(endpoint.ws.clone(), self.seed, now)));
                    Read::Opened
                }
                Ok(Some(HandshakeEvent::Refused(refusal))) => {
                    let advice = Advice { after: refusal.retry_after(), window: None };
                    Read::Lost(Cause::Status(refusal.status()), advice)
                }
                Ok(Some(_)) => Read::Again,
                Ok(None) => Read::Dry,
                Err(HandshakeError::Eof) => Read::Lost(Cause::Ended, Advice::default()),
                Err(error) => Read::Lost(Cause::Handshake(error), Advice::default()),
            },
            Wire::WebSocket(connection) => match connection.next_event(input, out, now) {
                Ok(Some(ws::Event::Chunk(chunk))) => {
                    if chunk.kind == ws::Kind::Binary {
                        let _ = connection.close(Some(ws::CloseCode::UNSUPPORTED), "binary message", now, out);
                        return Read::Lost(Cause::Subprotocol, Advice::default());
                    }
                    self.body = chunk.data.len();
                    self.fed |= self.body > 0;
                    self.message_ends = chunk.part.is_last();
                    input.untake(self.body);
                    Read::Again
                }
                Ok(Some(ws::Event::Closed(closed))) => match closed.ending {
                    Ending::Peer => {
                        let window = retry_window(closed.reason).filter(|_| matches!(closed.code, 1012 | 1013));
                        Read::Lost(Cause::CloseCode(closed.code), Advice { after: None, window })
                    }
                    Ending::Failed(error) => Read::Lost(Cause::WebSocket(error), Advice::default()),
                    _ => Read::Lost(Cause::Ended, Advice::default()),
                },
                Ok(Some(_)) => Read::Again,
                Ok(None) => Read::Dry,
                Err(error) => Read::Lost(Cause::WebSocket(error), Advice::default()),
            },
            Wire::Http(http) => match http.next_event(input, out, now) {
                Ok(Some(client::Event::Response(head))) => {
                    let (status, headers) = (head.status(), head.headers());
                    let session = headers.get("tautline-session").and_then(token);
                    let after = headers.get("retry-after").and_then(seconds);
                    let accepted = status == 200 || (status == 204 && self.role == Role::Errand);
                    let refused = match accepted {
                        false => Some(Cause::Status(status)),
                        true if status == 200 && self.role != Role::Errand && !is_event_stream(headers) => {
                            Some(Cause::ContentType)
                        }
                        true => None,
                    };
                    self.exchange = Exchange::Answered(status);
                    self.discards = refused.is_some();
                    (self.events, self.positioned) = (0, false);
                    self.parser.restart();
                    Read::Answer { session, refused, after }
                }
                Ok(Some(client::Event::Body(data))) => {
                    if !self.discards {
                        self.body = data.len();
                        self.fed = true;
                        input.untake(self.body);
                    }
                    Read::Again
                }
                Ok(Some(client::Event::End)) => {
                    self.answers = self.answers.saturating_add(1);
                    Read::End
                }
                Ok(Some(client::Event::Interim(_))) => Read::Again,
                Ok(Some(client::Event::Closed(http::Closed::Error(error)))) | Err(error) => {
                    Read::Lost(Cause::Http(error), Advice::default())
                }
                Ok(Some(client::Event::Closed(_))) => Read::Lost(Cause::Ended, Advice::default()),
                Ok(None) => Read::Dry,
            },
        }
    }

    /// Looks for the next block in the bytes that belong to the stream.
    fn parse(&mut self, input: &mut Input<'_>) -> Read {
        let before = input.taken();
        let hit = self.parser.find_block(input, before.saturating_add(self.body));
        self.body = self.body.saturating_sub(input.taken() - before);
        match hit {
            Ok(Some(Hit::Event(found))) => Read::Event(found),
            Ok(Some(Hit::Position)) => Read::Position,
            // Fewer bytes came back than were left: the rest is still to come.
            Ok(None) if self.body > 0 => Read::Dry,
            Ok(None) => Read::Again,
            Err(error) => Read::TooLong(error),
        }
    }

    pub(super) fn parser(&self) -> &Parser {
        &self.parser
    }

    /// Lends what was found.
    pub(super) fn lend<'i>(&mut self, found: Found, input: &'i mut Input<'_>) -> Event<'i> {
        self.body = self.body.saturating_sub(found.taken);
        self.parser.lend(found, input)
    }

    /// Whether it is over, and has not said so yet.
    pub(super) fn is_ended(&self) -> bool {
        match &self.wire {
            Wire::Connecting => false,
            Wire::Handshake(handshake) => handshake.is_ended(),
            Wire::WebSocket(connection) => connection.is_ended(),
            Wire::Http(http) => http.is_finished(),
        }
    }

    /// Whether a block is coming in right now.
    pub(super) fn is_mid_block(&self) -> bool {
        self.parser.is_collecting()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let own = earlier(self.deadline, self.poll_at.filter(|_| self.is_ready()));
        match &self.wire {
            Wire::Connecting => self.deadline,
            Wire::Handshake(handshake) => earlier(own, handshake.poll_timeout()),
            Wire::WebSocket(connection) => earlier(own, connection.poll_timeout()),
            Wire::Http(http) => earlier(own, http.poll_timeout()),
        }
    }

    /// Acts on deadlines; why the connection is lost by one.
    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Output) -> Option<Cause> {
        match &mut self.wire {
            Wire::Connecting => {}
            Wire::Handshake(handshake) => handshake.handle_timeout(now, out),
            Wire::WebSocket(connection) => connection.handle_timeout(now, out),
            Wire::Http(http) => http.handle_timeout(now, out),
        }
        (self.deadline.is_some_and(|deadline| deadline <= now)).then(|| self.watch.cause())
    }

    pub(super) fn handle_eof(&mut self, now: Instant) {
        match &mut self.wire {
            Wire::Connecting => {}
            Wire::Handshake(handshake) => handshake.handle_eof(now),
            Wire::WebSocket(connection) => connection.handle_eof(now),
            Wire::Http(http) => http.handle_eof(now),
        }
    }

    /// Whether an HTTP request may go out.
    pub(super) fn is_ready(&self) -> bool {
        self.exchange == Exchange::Idle && matches!(&self.wire, Wire::Http(http) if http.is_ready())
    }

    /// `retry:` of an event stream.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.parser.retry().filter(|_| self.transport == Transport::EventStream).map(Duration::from_millis)
    }

    /// The WebSocket, if it is open and somebody is to be told that it is let go of.
    pub(super) fn into_open_websocket(self) -> Option<Box<Connection>> {
        match self.wire {
            Wire::WebSocket(connection) if !connection.is_ended() => Some(connection),
            _ => None,
        }
    }
}

/// The number behind `retry=` in the last word of a close reason, in milliseconds.
fn retry_window(reason: &str) -> Option<Duration> {
    let digits = reason.rsplit(' ').next()?.strip_prefix("retry=")?;
    number(digits.as_bytes()).map(Duration::from_millis)
}

/// The delay-seconds form of `Retry-After` (RFC 9110 section 10.2.3).
fn seconds(value: &[u8]) -> Option<Duration> {
    number(value).map(Duration::from_secs)
}

/// A decimal number; one that is too large is the largest.
fn number(digits: &[u8]) -> Option<u64> {
    let number = digits.iter().try_fold(0u64, |number, digit| {
        digit.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    });
    number.filter(|_| !digits.is_empty())
}

/// A session's token, if a header can carry it back.
pub(super) fn token(value: &[u8]) -> Option<String> {
    let fits = (1..=256).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    if fits { core::str::from_utf8(value).ok().map(String::from) } else { None }
}

/// Whether the content type's essence is `text/event-stream`; parameters make no difference.
fn is_event_stream(headers: Headers<'_>) -> bool {
    headers.get("content-type").is_some_and(|value| {
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x5_the_window_is_the_last_word_of_the_reason() {
        let millis = |n| Some(Duration::from_millis(n));
        assert_eq!(retry_window("restart retry=1500"), millis(1500));
        assert_eq!(retry_window("retry=0"), millis(0));
        assert_eq!(retry_window("retry=99999999999999999999999"), millis(u64::MAX));
        for none in ["", "retry=", "retry=1x", "retry=-1", "retry=5 later", "xretry=5", "Retry=5"] {
            assert_eq!(retry_window(none), None, "{none}");
        }
    }

    #[test]
    fn a_token_is_what_a_header_can_carry() {
        assert_eq!(token(b"0123abc").as_deref(), Some("0123abc"));
        for bad in [&b""[..], b"a b", b"a\r\nb", b"\xff", &[b'x'; 257]] {
            assert_eq!(token(bad), None);
        }
    }
}
