//! What a handler may do, on behalf of the connection that it is called about.

use super::client::ClientLine;
use super::core::{Command, Core};
use super::counters::Transport;
use super::handler::Message;
use super::peer::{Cold, HttpLine, Meta, Mode, PeerId, Upgrading, flag};
use super::worker::Sink;
use crate::http::upgrade::{Answer, AnswerError, Rejection, Upgrade};
use crate::http::{RequestHead, Response, ResponseError};
use crate::hub::{Cursor, PublishError, Subscribed, TopicError, Unsubscribed};
use crate::output::{Full, Output};
use crate::sse::{self, Opened, Refusal, Signal, Subscription};
use crate::time::Instant;
use crate::ws::{self, CloseCode, Connection, Prepared};
use bytes::Bytes;
use std::boxed::Box;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// One connection, and the worker that serves it, for the length of one call of the [`Handler`](super::Handler).
pub struct Context<'a, S> {
    pub(crate) id: PeerId,
    pub(crate) line: Line<'a>,
    pub(crate) state: &'a mut S,
    pub(crate) cold: &'a mut Option<Box<Cold>>,
    pub(crate) meta: &'a mut Meta,
    pub(crate) socket: Option<&'a socket2::Socket>,
    pub(crate) out: &'a mut Output,
    pub(crate) in_place: InPlace,
    pub(crate) core: &'a mut Core,
}

/// Replies that need no copy: the message at hand, sent back as it is.
pub(crate) struct InPlace {
    /// Where the header of such a reply would be written: see [`Connection::next_event_movable`]. Or [`NOWHERE`](Self::NOWHERE).
    pub(crate) address: usize,
    /// The kind of the reply that the call at hand sent, and the length of its payload.
    pub(crate) reply: Option<ws::Kind>,
    pub(crate) len: usize,
    /// Bytes of such replies so far. They stand before what is in the output.
    pub(crate) bytes: usize,
}

impl InPlace {
    /// An address behind which nothing can lie, not even an empty slice.
    pub(crate) const NOWHERE: usize = usize::MAX - 4;

    /// Nothing so far, and no message at hand.
    pub(crate) const NONE: Self = Self { address: Self::NOWHERE, reply: None, len: 0, bytes: 0 };

    /// Whether `payload` is what lies behind the header's place.
    #[inline(always)]
    fn is_at(&self, payload: &[u8]) -> bool {
        // Where the address is the same, so are the bytes: they are lent for the whole call. No other bytes that may be asked for here
        // can stand there, as they would overlap.
        payload.as_ptr().addr() == self.address + Connection::reply_header(payload.len())
    }

    fn queued(&self) -> usize {
        self.bytes + self.reply.map_or(0, |_| Connection::reply_header(self.len) + self.len)
    }
}

/// What the connection speaks, as a context sees it.
pub(crate) enum Line<'a> {
    Http(&'a mut HttpLine),
    WebSocket(&'a mut Connection),
    Client(&'a mut ClientLine),
    Over,
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is not (or no more) one that this can be sent on.
    NotOpen,
    /// By the WebSocket's word.
    WebSocket(ws::SendError),
    /// By the event stream's word.
    Stream(sse::StreamError),
}

impl SendError {
    /// The queue's word where it is full: what was to be sent, and the limit.
    pub const fn full(&self) -> Option<Full> {
        match self {
            Self::WebSocket(ws::SendError::Full(full))
            | Self::Stream(sse::StreamError::Response(ResponseError::Full(full))) => Some(*full),
            _ => None,
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("the connection is not open for this"),
            Self::WebSocket(error) => error.fmt(f),
            Self::Stream(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SendError {}

impl From<ws::SendError> for SendError {
    fn from(error: ws::SendError) -> Self {
        Self::WebSocket(error)
    }
}

impl From<sse::StreamError> for SendError {
    fn from(error: sse::StreamError) -> Self {
        Self::Stream(error)
    }
}

impl From<Full> for SendError {
    fn from(full: Full) -> Self {
        Self::WebSocket(ws::SendError::Full(full))
    }
}

/// What came of a request to become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a refused request is answered and over"]
pub enum Upgraded {
    /// It is one: [`Handler::opened`](super::Handler::opened) comes next.
    Yes,
    /// It was refused, and the answer is written.
    Refused(Rejection),
}

/// What came of a request for an event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a refused request is answered and over"]
pub enum StreamOpened {
    /// Events can be sent.
    Yes,
    /// It was a HEAD, which is answered; no events.
    HeadOnly,
    /// It was refused, and the answer is written.
    Refused(Refusal),
}

/// How to accept a WebSocket.
#[derive(Clone, Debug, Default)]
pub struct Accept<'a> {
    /// Subprotocols that this side speaks; the first of the client's that is among them is chosen. None is no error.
    pub protocols: &'a [&'a str],
    /// Further header lines of the answer.
    pub headers: &'a [(&'a str, &'a str)],
    /// Settings other than the worker's. They are used as they are: pass them through [`ws::Config::check`] where they are made.
    pub config: Option<Arc<ws::Config>>,
}

impl<S> Context<'_, S> {
    /// The connection's name, for [`send_to`](Self::send_to) and [`Handle`](super::Handle)s.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// What the handler keeps with the connection.
    #[inline]
    pub fn state(&mut self) -> &mut S {
        self.state
    }

    /// The time, as the loop last read it: at most some connections' work ago.
    pub fn now(&self) -> Instant {
        self.core.now
    }

    /// An unpredictable number.
    pub fn random(&mut self) -> u64 {
        self.core.random.number()
    }

    /// The address of the socket's other end; `None` for a unix-domain socket or one that is gone. One system call. Behind a proxy
    /// that is the proxy's: see [`TrustedProxies`](super::TrustedProxies).
    pub fn remote_address(&self) -> Option<IpAddr> {
        Some(self.socket?.peer_addr().ok()?.as_socket()?.ip())
    }

    /// The address of the client that sent a request with this head: that of the socket or, on a connection of one of
    /// [`Config::proxies`](super::Config::proxies), the one which the proxy names.
    pub fn client_address(&self, head: &RequestHead<'_>) -> Option<IpAddr> {
        self.core.settings.proxies.client(self.remote_address(), &head.headers())
    }

    /// Bytes that wait to be written, those of this turn included.
    #[inline]
    pub fn queued(&self) -> usize {
        self.in_place.queued() + self.out.len()
    }

    /// Stops reading from this connection, from now on: messages that were read already come after
    /// [`resume`](Self::resume). Heartbeats go on: a peer whose pongs are not read counts as silent, so do not pause for longer than the
    /// heartbeat allows.
    pub fn pause(&mut self) {
        self.cold().reading.paused = true;
    }

    #[inline]
    pub(crate) fn is_paused(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.reading.paused)
    }

    /// Reads from this connection again.
    pub fn resume(&mut self) {
        if let Some(cold) = self.cold
            && cold.reading.paused
        {
            cold.reading.paused = false;
            // What was read and kept must be fed although no new edge comes.
            self.core.commands.push(Command::Resume(self.id));
        }
    }

    /// Calls [`Handler::timer`](super::Handler::timer) after so long, once, up to 8.4 ms late. A new call replaces the last.
    pub fn set_timer(&mut self, after: Duration) {
        let at = self.core.now + after;
        self.cold().timer = Some(at);
    }

    /// Forgets the timer.
    pub fn clear_timer(&mut self) {
        if let Some(cold) = self.cold {
            cold.timer = None;
        }
    }

    /// Calls [`Handler::writable`](super::Handler::writable) once everything written so far has left.
    pub fn notify_writable(&mut self) {
        self.cold().wants_writable = true;
    }

    // Requests.

    /// Answers the request.
    ///
    /// # Errors
    ///
    /// [`ResponseError`]: nothing was written, and the request is still to be answered.
    pub fn respond(&mut self, response: &Response<'_>, body: &[u8]) -> Result<(), ResponseError> {
        match self.line.http()?.http.respond(response, body, self.out) {
            Err(ResponseError::Full(_)) if self.made_room() => self.line.http()?.http.respond(response, body, self.out),
            outcome => outcome,
        }
    }

    /// As [`respond`](Self::respond), with a body that is shared.
    ///
    /// # Errors
    ///
    /// As for [`respond`](Self::respond).
    pub fn respond_shared(&mut self, response: &Response<'_>, body: &Bytes) -> Result<(), ResponseError> {
        match self.line.http()?.http.respond_shared(response, body, self.out) {
            Err(ResponseError::Full(_)) if self.made_room() => {
                self.line.http()?.http.respond_shared(response, body, self.out)
            }
            outcome => outcome,
        }
    }

    /// Refuses the request with `status` and no body.
    ///
    /// # Errors
    ///
    /// As for [`respond`](Self::respond).
    pub fn reject(&mut self, status: u16) -> Result<(), ResponseError> {
        self.respond(&Response::new(status), &[])
    }

    /// Asks for the request's body: [`Handler::body`](super::Handler::body) gets it when it is whole, and answers. A request without a body gets an
    /// empty one.
    pub fn read_body(&mut self) {
        if let Line::Http(line) = &mut self.line
            && line.http.owes_answer()
            && matches!(line.mode, Mode::Plain)
        {
            line.mode = Mode::Body;
        }
    }

    /// Holds the request: it is answered later, from any callback of this connection; then its timer and its subscriptions end. After `at_most` [`Handler::timer`](super::Handler::timer) comes, and
    /// a 204 if that does not answer it. The answer ends the timer, too.
    pub fn hold(&mut self, at_most: Duration) {
        if let Line::Http(line) = &mut self.line
            && line.http.owes_answer()
            && !matches!(line.mode, Mode::Held | Mode::Stream(_))
        {
            line.mode = Mode::Held;
            line.since = self.core.now;
            self.core.counters.opened(Transport::LongPoll);
            self.meta.set(flag::REPORTED);
            self.set_timer(at_most);
        }
    }

    /// Makes the connection a WebSocket (from [`Handler::opened`](super::Handler::opened) on: what is sent or closed before has no effect), if `head` satisfies RFC 6455 section 4.2.1 and the origin policy
    /// ([`Config::upgrade`](super::Config::upgrade)).
    ///
    /// # Errors
    ///
    /// [`UpgradeError`]: nothing was written, and the request is still to be answered.
    pub fn accept(&mut self, head: &RequestHead<'_>, how: &Accept<'_>) -> Result<Upgraded, UpgradeError> {
        let line = self.line.http()?;
        let upgrade = match Upgrade::check_head(&self.core.settings.upgrade, head) {
            Ok(upgrade) => upgrade,
            Err(rejection) => {
                line.http.reject_upgrade(rejection, how.headers, self.out)?;
                return Ok(Upgraded::Refused(rejection));
            }
        };
        let config = how.config.as_ref().unwrap_or(&self.core.settings.ws);
        #[cfg(feature = "deflate")]
        let deflate = config.deflate.and_then(|ours| ours.accept(upgrade.extensions()));
        #[cfg(feature = "deflate")]
        let answer = deflate.map(|agreed| agreed.answer());
        #[cfg(not(feature = "deflate"))]
        let answer: Option<std::string::String> = None;
        let accepted = if how.protocols.is_empty() && how.headers.is_empty() && answer.is_none() {
            upgrade.accept_plain()
        } else {
            let protocol = upgrade.choose_protocol(how.protocols);
            upgrade.accept(Answer { protocol, headers: how.headers, extensions: answer.as_deref() })?
        };
        line.http.accept_upgrade(&accepted, self.out)?;
        line.upgraded = Some(Upgrading {
            config: config.clone(),
            #[cfg(feature = "deflate")]
            deflate,
        });
        Ok(Upgraded::Yes)
    }

    /// Answers the request with an event stream, if `head` asks for one in order. `headers` besides those that event streams have.
    ///
    /// # Errors
    ///
    /// [`ResponseError`]: nothing was written, and the request is still to be answered.
    pub fn open_stream(
        &mut self,
        head: &RequestHead<'_>,
        headers: &[(&str, &str)],
    ) -> Result<StreamOpened, ResponseError> {
        let subscription = match Subscription::read(head) {
            Ok(subscription) => subscription,
            Err(refusal) => {
                refusal.respond(&mut self.line.http()?.http, headers, self.out)?;
                return Ok(StreamOpened::Refused(refusal));
            }
        };
        let opened = self.begin_stream(headers)?;
        if opened == StreamOpened::Yes && subscription.last_event_id.is_some() {
            self.core.counters.reconnected(Transport::EventStream);
        }
        Ok(opened)
    }

    /// Begins an event stream in answer to a request whose head is not at hand any more: behind its body, say. A hold that becomes one
    /// keeps its subscriptions, but not its timer.
    ///
    /// # Errors
    ///
    /// As for [`open_stream`](Self::open_stream).
    pub fn begin_stream(&mut self, headers: &[(&str, &str)]) -> Result<StreamOpened, ResponseError> {
        let random = self.core.random.number();
        let line = self.line.http()?;
        let config = &self.core.settings.stream;
        match sse::ServerStream::open(config, &mut line.http, headers, random, self.out, self.core.now)? {
            Opened::HeadOnly => Ok(StreamOpened::HeadOnly),
            Opened::Stream(stream) => {
                self.streams(stream);
                Ok(StreamOpened::Yes)
            }
        }
    }

    /// The connection is an event stream now, and neither HTTP nor a held request any more.
    fn streams(&mut self, stream: sse::ServerStream) {
        let Line::Http(line) = &mut self.line else { return };
        let (counters, now) = (&self.core.counters, self.core.now);
        if matches!(line.mode, Mode::Held) {
            counters.closed(Transport::LongPoll, line.age(now));
            // The hold's.
            if let Some(cold) = self.cold {
                cold.timer = None;
            }
        }
        counters.closed(Transport::Http, self.meta.age(now));
        counters.opened(Transport::EventStream);
        self.meta.set(flag::REPORTED);
        line.mode = Mode::Stream(stream);
        line.since = now;
    }

    // WebSockets.

    /// Sends a message. It leaves when all that was read from this connection has been handled. The message at hand, sent back as it is
    /// and before anything else waits to be written, needs no copy: it becomes the reply where it lies.
    ///
    /// # Errors
    ///
    /// [`SendError`]: nothing was sent.
    #[inline]
    pub fn send(&mut self, message: Message<'_>) -> Result<(), SendError> {
        // The replies in place leave first, so nothing may stand before this one elsewhere. That also tells that the connection takes a
        // message, as it did when this one was moved: whatever ends that writes something.
        if self.in_place.is_at(message.as_bytes()) && self.out.is_empty() {
            let kind = match message {
                Message::Text(_) => ws::Kind::Text,
                Message::Binary(_) => ws::Kind::Binary,
            };
            self.in_place.address = InPlace::NOWHERE;
            self.in_place.reply = Some(kind);
            self.in_place.len = message.as_bytes().len();
            self.core.sent += 1;
            return Ok(());
        }
        self.send_copy(message)
    }

    #[inline(never)]
    fn send_copy(&mut self, message: Message<'_>) -> Result<(), SendError> {
        self.send_by(message.as_bytes().len(), |ws, out| match message {
            Message::Text(text) => ws.send_text(text, out),
            Message::Binary(bytes) => ws.send_binary(bytes, out),
        })
    }

    /// Sends a message of so many bytes, behind what waits, or, where that leaves no room for it, after that was written.
    fn send_by(
        &mut self,
        len: usize,
        send: impl FnOnce(&mut Connection, &mut Output) -> Result<(), ws::SendError>,
    ) -> Result<(), SendError> {
        /// The longest header of a frame.
        const HEADER: usize = 14;
        // Before it is compressed: what is refused then was compressed for nothing, and a kept context is lost.
        if self.out.room() < len + HEADER {
            self.made_room();
        }
        send(self.line.websocket()?, self.out)?;
        self.core.sent += 1;
        Ok(())
    }

    /// Writes what waits, where a reply did not fit behind it; whether there may be room now.
    #[cold]
    fn made_room(&mut self) -> bool {
        // Replies in place stand before the output, and are not at hand here.
        if self.in_place.bytes > 0 || self.out.is_blocked() || self.out.is_empty() {
            return false;
        }
        let Some(socket) = self.socket else { return false };
        let before = self.out.len();
        // An error shows again when the loop writes.
        let _ = self.out.write_to(&mut Sink(socket));
        let wrote = before - self.out.len();
        self.core.counters.bytes_out.add(wrote as u64);
        wrote > 0
    }

    /// As [`send`](Self::send), but the message is not compressed, whatever was agreed upon: see
    /// [`ws::Connection::uncompressed`].
    ///
    /// # Errors
    ///
    /// [`SendError`]: nothing was sent.
    #[cfg(feature = "deflate")]
    pub fn send_uncompressed(&mut self, message: Message<'_>) -> Result<(), SendError> {
        self.send_by(message.as_bytes().len(), |ws, out| match message {
            Message::Text(text) => ws.uncompressed().send_text(text, out),
            Message::Binary(bytes) => ws.uncompressed().send_binary(bytes, out),
        })
    }

    /// Sends a message that was encoded once for many.
    ///
    /// # Errors
    ///
    /// [`SendError`]: nothing was sent.
    pub fn send_prepared(&mut self, message: &Prepared) -> Result<(), SendError> {
        self.send_by(message.payload().len(), |ws, out| ws.send_prepared(message, out))
    }

    /// The WebSocket itself and where it writes to: for fragments, pings, manual replies. `None` on other transports.
    pub fn websocket(&mut self) -> Option<(&mut Connection, &mut Output)> {
        match &mut self.line {
            Line::WebSocket(ws) => Some((ws, self.out)),
            _ => None,
        }
    }

    /// Closes: a WebSocket by the close handshake, an event stream in good order, anything else after the present answer.
    /// A code without meaning for the transport is not sent. Closing twice does nothing.
    ///
    /// A reason that is longer than 123 bytes is cut.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        let now = self.core.now;
        // Or the peer's answer would never be read.
        self.resume();
        match &mut self.line {
            Line::WebSocket(ws) => {
                // The one other error is that a Close frame was sent already.
                let _ = ws.close(Some(code), cut(reason), now, self.out);
            }
            Line::Http(line) => line.close(None, self.out),
            Line::Client(line) => line.close(),
            Line::Over => {}
        }
    }

    // Event streams.

    /// Sends an event.
    ///
    /// # Errors
    ///
    /// [`SendError`]: nothing was sent.
    pub fn send_event(&mut self, event: &sse::Event<'_>) -> Result<(), SendError> {
        let now = self.core.now;
        let (http, stream) = self.line.stream()?;
        stream.send(http, event, self.out, now)?;
        self.core.sent += 1;
        Ok(())
    }

    /// Sends a comment, a retry time or a position.
    ///
    /// # Errors
    ///
    /// [`SendError`]: nothing was sent.
    pub fn signal(&mut self, signal: Signal<'_>) -> Result<(), SendError> {
        let now = self.core.now;
        let (http, stream) = self.line.stream()?;
        Ok(stream.signal(http, signal, self.out, now)?)
    }

    /// Ends the event stream in good order; the client comes back after `retry`, or its own time.
    ///
    /// # Errors
    ///
    /// [`SendError`]: it is still open.
    pub fn finish_stream(&mut self, retry: Option<Duration>) -> Result<(), SendError> {
        let (http, stream) = self.line.stream()?;
        Ok(stream.finish(http, retry, self.out)?)
    }

    // Topics and others.

    /// Subscribes the connection. It gets what is published from now on, and what was published before and not delivered yet.
    ///
    /// # Errors
    ///
    /// [`TopicError`]: the name, or a limit.
    pub fn subscribe(&mut self, topic: &str) -> Result<Subscribed, TopicError> {
        self.core.desk.topics_mut().subscribe(self.id.index, topic)
    }

    /// Ends a subscription, at once.
    pub fn unsubscribe(&mut self, topic: &str) -> Unsubscribed {
        self.core.unsubscribe(self.id, topic)
    }

    /// The connection's topics. O(their number).
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.core.desk.topics().topics_of(self.id.index)
    }

    /// Publishes an event to all subscribers of `topic`, on every worker and transport, in the one order of everything: the cursor is its
    /// id. WebSockets get the event's block as a text message. Delivered at the end of the turn.
    ///
    /// # Errors
    ///
    /// [`PublishError`]: nothing was published.
    pub fn publish(&mut self, topic: &str, event: &sse::Event<'_>) -> Result<Cursor, PublishError> {
        self.core.publish(topic, event, None)
    }

    /// Sends a message to the WebSockets that are subscribed to `topic`, on every worker, and tells nobody else. It has no id. A
    /// [`Prepared`] one may go to several topics, or be one that is not to be compressed.
    ///
    /// # Errors
    ///
    /// [`PublishError`]: nothing was sent.
    pub fn broadcast(&mut self, topic: &str, message: impl Into<Prepared>, to: Audience) -> Result<(), PublishError> {
        self.core.broadcast(topic, message.into(), to.except(self.id))
    }

    /// Sends an event as it is, with the id that it has or none, to the subscribers of `topic` on every worker.
    ///
    /// # Errors
    ///
    /// [`PublishError`]: nothing was sent.
    pub fn broadcast_event(&mut self, topic: &str, event: &sse::Event<'_>, to: Audience) -> Result<(), PublishError> {
        self.core.broadcast_event(topic, event, to.except(self.id))
    }

    /// Where a client that attaches now begins: it gets everything behind this position, and nothing up to it. That is this worker's place
    /// in the log, which may be behind the log's own ([`Handle::cursor`](super::Handle::cursor)) by what is not delivered yet.
    pub fn cursor(&self) -> Cursor {
        self.core.desk.position()
    }

    /// Sends a message to another WebSocket of this worker or any other, behind all events of this turn. To one that is gone nothing is
    /// sent. The peer's [`SlowPolicy`](super::SlowPolicy) applies.
    pub fn send_to(&mut self, peer: PeerId, message: Prepared) {
        self.core.commands.push(Command::Send(peer, message));
    }

    /// Sends an encoded block ([`sse::Event::to_bytes`]) to another event stream, behind all events of this turn.
    pub fn send_block_to(&mut self, peer: PeerId, block: Bytes) {
        self.core.commands.push(Command::SendBlock(peer, block));
    }

    /// Closes another connection, behind all events of this turn.
    pub fn close_peer(&mut self, peer: PeerId, code: CloseCode, reason: &str) {
        self.core.commands.push(Command::Close(peer, code, Box::from(reason)));
    }

    fn cold(&mut self) -> &mut Cold {
        self.cold.get_or_insert_default()
    }
}

/// To whom a broadcast goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// To every subscriber.
    All,
    /// To every subscriber but the connection that sends it.
    Others,
}

impl Audience {
    fn except(self, sender: PeerId) -> Option<PeerId> {
        (self == Self::Others).then_some(sender)
    }
}

/// Why a request did not become a WebSocket: the caller's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpgradeError {
    /// What the answer was to say.
    Answer(AnswerError),
    /// The connection waits for no answer, or the output is full.
    Response(ResponseError),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(error) => error.fmt(f),
            Self::Response(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UpgradeError {}

impl From<AnswerError> for UpgradeError {
    fn from(error: AnswerError) -> Self {
        Self::Answer(error)
    }
}

impl From<ResponseError> for UpgradeError {
    fn from(error: ResponseError) -> Self {
        Self::Response(error)
    }
}

impl<'a> Line<'a> {
    fn http(&mut self) -> Result<&mut HttpLine, ResponseError> {
        match self {
            Line::Http(line) => Ok(line),
            _ => Err(ResponseError::NotOwed),
        }
    }

    fn websocket(&mut self) -> Result<&mut Connection, SendError> {
        match self {
            Line::WebSocket(ws) => Ok(ws),
            _ => Err(SendError::NotOpen),
        }
    }

    pub(crate) fn stream(&mut self) -> Result<(&mut crate::http::Server, &mut sse::ServerStream), SendError> {
        match self {
            Line::Http(HttpLine { http, mode: Mode::Stream(stream), .. }) => Ok((http, stream)),
            _ => Err(SendError::NotOpen),
        }
    }
}

impl HttpLine {
    /// Ends what there is: a stream in good order, with `retry` for the way back.
    pub(crate) fn close(&mut self, retry: Option<Duration>, out: &mut Output) {
        if let Mode::Stream(stream) = &mut self.mode
            && stream.finish(&mut self.http, retry, out).is_err()
        {
            self.http.abort();
        }
        self.http.shut_down();
    }
}

/// As much of a reason as fits into a Close frame (RFC 6455 section 5.5), cut between characters.
pub(crate) fn cut(reason: &str) -> &str {
    const MOST: usize = 123;
    let mut end = reason.len().min(MOST);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}
