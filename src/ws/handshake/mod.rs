//! The client's side of the opening handshake (RFC 6455 section 4.1).

mod config;
mod error;

pub use config::{HandshakeConfig, HandshakeConfigError};
pub use error::HandshakeError;

#[cfg(feature = "deflate")]
use super::deflate::{BadAnswer, Deflate};
use crate::http::body::{BodyEvent, BodyReader};
use crate::http::upgrade::{
    ACCEPT_LEN, Extensions, Lines, accept_value, has_token, is_extension_list, key_value, trim,
};
use crate::http::url::Url;
use crate::http::{Framing, ResponseHead, ResponseReader, Version};
use crate::input::Input;
use crate::output::{Full, Output};
use crate::time::Instant;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// Interim (1xx) answers that are passed over before the final one. Proxies send one or two.
const INTERIM: u8 = 8;

/// One opening handshake, over a connection that was just made (TLS done, for `wss`).
///
/// # Contract
///
/// - [`start`](Self::start) writes the request; any other call that is given an output does it too where it was not done.
/// - [`next_event`](Self::next_event) is called with what was read until it says `None`. The handshake ends exactly once: with
///   [`HandshakeEvent::Open`], or with an error. After that it says `None`, and takes nothing.
/// - What follows the 101 stays in the input: frames, for [`Connection::client`](crate::ws) to take.
/// - After an error the transport is to be closed. Nothing is owed to the server.
/// - Every byte is looked at a bounded number of times, and any cut gives the same events.
///
/// ```text
///            101, checked                                    Open
///   Head ----------------------------------------------------------> Done
///    |  1xx: Interim, again in Head                                   ^
///    |  other answers: Refused                 body at its end: error |
///    +------------------------> Body -------------------------------->+
///    |                           |  each piece: Body                  |
///    +---------------------------+------------------------------------+
///      malformed, too long, end of stream, deadline: error
/// ```
pub struct ClientHandshake {
    config: Arc<HandshakeConfig>,
    /// What is still to be written.
    request: Option<Vec<u8>>,
    /// The value that `Sec-WebSocket-Accept` must have.
    accept: [u8; ACCEPT_LEN],
    deadline: Instant,
    interim: u8,
    state: State,
}

enum State {
    Head(ResponseReader),
    /// The body of an answer that is not 101.
    Body {
        reader: BodyReader,
        end: HandshakeError,
    },
    /// Ended without a word yet.
    Ended(HandshakeError),
    Done,
}

/// A step of the handshake.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandshakeEvent<'i> {
    /// The connection is a WebSocket. What is left of the input are frames.
    Open(Opened<'i>),
    /// An interim answer (1xx, 103 Early Hints, say). The final one is still to come.
    Interim(ResponseHead<'i>),
    /// The server answered something else. Its body follows; the caller may also stop here.
    Refused(Refusal<'i>),
    /// The next bytes of the body behind [`Refused`](Self::Refused), never empty.
    Body(&'i [u8]),
}

impl ClientHandshake {
    /// A handshake that is about to start. `nonce` has to be random, and new for each connection.
    ///
    /// # Errors
    /// The configuration or the URL asks for what cannot be sent. Nothing is written then.
    pub fn new(
        url: &Url,
        config: Arc<HandshakeConfig>,
        nonce: [u8; 16],
        now: Instant,
    ) -> Result<Self, HandshakeConfigError> {
        let key = key_value(&nonce);
        Ok(Self {
            request: Some(config.request(url, &key)?),
            accept: accept_value(&key),
            deadline: now + config.timeout,
            interim: 0,
            state: State::Head(ResponseReader::new()),
            config,
        })
    }

    /// Writes the request, once.
    ///
    /// # Errors
    /// [`Full`]: nothing was written, and it may be tried again.
    pub fn start(&mut self, out: &mut Output) -> Result<(), Full> {
        if let Some(request) = self.request.take()
            && let Err(full) = out.push(&request)
        {
            self.request = Some(request);
            return Err(full);
        }
        Ok(())
    }

    /// The next step. `None`: the input is used up, or the handshake has ended.
    ///
    /// # Errors
    /// Why there is no WebSocket, exactly once. For answers other than 101 this comes behind their body.
    pub fn next_event<'i>(
        &mut self,
        input: &'i mut Input<'_>,
        out: &mut Output,
        now: Instant,
    ) -> Result<Option<HandshakeEvent<'i>>, HandshakeError> {
        self.handle_timeout(now, out);
        let event = match &mut self.state {
            State::Head(reader) => match reader.read(&self.config.head, input) {
                Ok(Some(head)) => self.answered(head).map(Some),
                Ok(None) => Ok(None),
                Err(error) => Err(HandshakeError::Head(error)),
            },
            State::Body { reader, end } => match reader.read(input) {
                Ok(Some(BodyEvent::Data(bytes))) => Ok(Some(HandshakeEvent::Body(bytes))),
                Ok(Some(BodyEvent::End)) => Err(*end),
                Ok(None) => Ok(None),
                Err(error) => Err(HandshakeError::Body(error)),
            },
            State::Ended(error) => Err(*error),
            State::Done => Ok(None),
        };
        if event.is_err() {
            self.state = State::Done;
        }
        event
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` once the handshake has ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.is_ended()).then_some(self.deadline)
    }

    /// Gives up if the deadline is over; [`next_event`](Self::next_event) reports it. Called early it does nothing more than
    /// to write the request where that was not done.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Output) {
        if self.is_ended() {
            return;
        }
        if now >= self.deadline {
            self.state = State::Ended(HandshakeError::TimedOut { limit: self.config.timeout });
        } else {
            // Where it does not fit now, the next call tries again, until the deadline.
            let _ = self.start(out);
        }
    }

    /// Says that the server's side ended: nothing more will be read. [`next_event`](Self::next_event) reports what that means.
    pub fn handle_eof(&mut self, _now: Instant) {
        match &mut self.state {
            State::Head(_) => self.state = State::Ended(HandshakeError::Eof),
            State::Body { reader, end } => {
                let end = reader.handle_eof().map_or_else(HandshakeError::Body, |()| *end);
                self.state = State::Ended(end);
            }
            State::Ended(_) | State::Done => {}
        }
    }

    /// Whether the handshake has ended, reported or not.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended(_) | State::Done)
    }

    /// Sorts an answer by its status.
    fn answered<'i>(&mut self, head: ResponseHead<'i>) -> Result<HandshakeEvent<'i>, HandshakeError> {
        match head.status() {
            101 => {
                check_101(&head, &self.config, &self.accept)?;
                #[cfg(feature = "deflate")]
                let deflate = match &self.config.deflate {
                    Some(offer) => offer
                        .confirm(Extensions::new(extension_lines(&head)))
                        .map_err(|BadAnswer| HandshakeError::Deflate)?,
                    None => None,
                };
                self.state = State::Done;
                Ok(HandshakeEvent::Open(Opened {
                    head,
                    #[cfg(feature = "deflate")]
                    deflate,
                }))
            }
            100..=199 => {
                self.interim += 1;
                if self.interim > INTERIM {
                    return Err(HandshakeError::Interim { limit: INTERIM });
                }
                Ok(HandshakeEvent::Interim(head))
            }
            status => {
                let end = match status {
                    301 | 302 | 303 | 307 | 308 => HandshakeError::Redirected { status },
                    _ => HandshakeError::Refused { status },
                };
                let limit = self.config.body;
                let reader = match head.framing("GET") {
                    // Its first part is still worth reading; the limit then comes as it does where no length is announced.
                    Framing::Length(length) if length > limit => BodyReader::new(Framing::UntilClose, limit),
                    framing => BodyReader::new(framing, limit),
                };
                self.state = State::Body { reader: reader.map_err(HandshakeError::Body)?, end };
                Ok(HandshakeEvent::Refused(Refusal { head }))
            }
        }
    }
}

impl fmt::Debug for ClientHandshake {
    /// Without the request: it holds credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Head(_) => "Head",
            State::Body { .. } => "Body",
            State::Ended(_) => "Ended",
            State::Done => "Done",
        };
        f.debug_struct("ClientHandshake").field("started", &self.request.is_none()).field("state", &state).finish()
    }
}

/// All rules about the server's answer in one place (RFC 6455 section 4.1, "the client MUST validate the server's response").
fn check_101(
    head: &ResponseHead<'_>,
    config: &HandshakeConfig,
    accept: &[u8; ACCEPT_LEN],
) -> Result<(), HandshakeError> {
    let headers = head.headers();
    // RFC 9110 section 7.8: an upgrade is of HTTP/1.1.
    if head.version() != Version::Http11 {
        return Err(HandshakeError::HttpVersion);
    }
    // Item 2: "If the response lacks an |Upgrade| header field or the |Upgrade| header field contains a value that is not an
    // ASCII case-insensitive match for the value "websocket"".
    let mut upgrades = headers.all("upgrade");
    let websocket = upgrades.next().is_some_and(|value| trim(value).eq_ignore_ascii_case(b"websocket"));
    if !websocket || upgrades.next().is_some() {
        return Err(HandshakeError::Upgrade);
    }
    // Item 3: "If the response lacks a |Connection| header field or the |Connection| header field doesn't contain a token that
    // is an ASCII case-insensitive match for the value "Upgrade"".
    if !headers.all("connection").any(|value| has_token(value, b"upgrade")) {
        return Err(HandshakeError::Connection);
    }
    // Item 4: "If the response lacks a |Sec-WebSocket-Accept| header field or [it] contains a value other than ..., but
    // ignoring any leading and trailing whitespace". It "MUST NOT appear more than once in an HTTP response" (11.3.3).
    let mut accepts = headers.all("sec-websocket-accept");
    match (accepts.next(), accepts.next()) {
        (None, _) => return Err(HandshakeError::AcceptMissing),
        (_, Some(_)) => return Err(HandshakeError::AcceptRepeated),
        (Some(value), None) if trim(value) != accept => return Err(HandshakeError::AcceptWrong),
        _ => {}
    }
    // Item 5: "If the response includes a |Sec-WebSocket-Extensions| header field and this header field indicates the use of an
    // extension that was not present in the client's handshake".
    let lines = extension_lines(head);
    if !lines.all(is_extension_list) {
        return Err(HandshakeError::ExtensionsMalformed);
    }
    for (at, extension) in Extensions::new(lines).enumerate() {
        let repeated = Extensions::new(lines).take(at).any(|earlier| earlier.name() == extension.name());
        // Repetition is looked for among offered names only, so a long list costs one round for each of those.
        if !config.offers_extension(extension.name()) || repeated {
            return Err(HandshakeError::Extension);
        }
    }
    // Item 6: "If the response includes a |Sec-WebSocket-Protocol| header field and this header field indicates the use of a
    // subprotocol that was not present in the client's handshake". It "MUST NOT appear more than once" (11.3.4).
    let mut protocols = headers.all("sec-websocket-protocol");
    let chosen = protocols.next().map(trim);
    let offered = |chosen: &[u8]| config.protocols.iter().any(|offered| offered.as_bytes() == chosen);
    if protocols.next().is_some() || chosen.is_some_and(|chosen| !offered(chosen)) {
        return Err(HandshakeError::Protocol);
    }
    Ok(())
}

fn extension_lines<'h>(head: &'h ResponseHead<'_>) -> Lines<'h> {
    let mut lines = Lines::default();
    head.headers().all("sec-websocket-extensions").for_each(|line| lines.push(line));
    lines
}

/// The answer that opened the WebSocket.
#[derive(Debug)]
pub struct Opened<'i> {
    head: ResponseHead<'i>,
    #[cfg(feature = "deflate")]
    deflate: Option<Deflate>,
}

impl<'i> Opened<'i> {
    /// The answer's head, all its headers (`Set-Cookie`, say) among it.
    pub fn head(&self) -> &ResponseHead<'i> {
        &self.head
    }

    /// The subprotocol that the server chose: one of those offered. `None` is legal also where some were offered; a client that
    /// cannot do without (as browsers) closes.
    pub fn protocol(&self) -> Option<&str> {
        // What was offered is ASCII.
        self.head.headers().get("sec-websocket-protocol").and_then(|value| core::str::from_utf8(trim(value)).ok())
    }

    /// What the server made of the offer of permessage-deflate: give it to
    /// [`Connection::with_deflate`](crate::ws::Connection::with_deflate). `None` where it declined, or nothing was offered.
    #[cfg(feature = "deflate")]
    pub fn deflate(&self) -> Option<Deflate> {
        self.deflate
    }

    /// The extensions that the server accepted: each of them offered, and none twice.
    pub fn extensions(&self) -> Extensions<'_> {
        Extensions::new(extension_lines(&self.head))
    }
}

/// An answer that opened no WebSocket.
#[derive(Debug)]
pub struct Refusal<'i> {
    head: ResponseHead<'i>,
}

impl<'i> Refusal<'i> {
    /// The answer's head.
    pub fn head(&self) -> &ResponseHead<'i> {
        &self.head
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// `Location`: where a redirect points, for [`Url::resolve`]. Redirects are reported, not followed: a handshake carries
    /// credentials, and another origin would get them.
    pub fn location(&self) -> Option<&str> {
        self.head.headers().get("location").and_then(|value| core::str::from_utf8(value).ok())
    }

    /// `Retry-After` where it is a number of seconds (RFC 9110 section 10.2.3). As a date it needs a calendar: see
    /// [`head`](Self::head).
    pub fn retry_after(&self) -> Option<Duration> {
        let digits = trim(self.head.headers().get("retry-after")?);
        let number = digits.iter().try_fold(0u64, |number, digit| {
            digit.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
        });
        number.filter(|_| !digits.is_empty()).map(Duration::from_secs)
    }
}
