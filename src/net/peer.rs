//! One connection as its worker keeps it.

use super::client::ClientLine;
use super::hub::line::HubLine;
use super::hub::polls::Poll;
use super::slab::Entry;
use super::timers::Link;
use crate::http;
use crate::output::Output;
use crate::sse::ServerStream;
use crate::time::{Instant, earlier};
use crate::ws;
use socket2::Socket;
use std::boxed::Box;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::vec::Vec;

/// Names one connection of one worker, for as long as the process runs: the number of a connection that is gone is not given out
/// again (until 2^32 connections later).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId {
    pub(crate) worker: u16,
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl PeerId {
    /// The number of the worker that serves it, from 0.
    pub fn worker(self) -> usize {
        usize::from(self.worker)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {}.{}.{}", self.worker, self.index, self.generation)
    }
}

/// One slot of a worker's slab. What an idle WebSocket costs is this and nothing else, so every byte counts (a test says how many).
pub(crate) struct Peer<S> {
    pub(crate) wire: Wire,
    /// The handler's.
    pub(crate) state: S,
    /// What only a busy, blocked or timed peer has.
    pub(crate) cold: Option<Box<Cold>>,
    pub(crate) socket: Option<Socket>,
    pub(crate) generation: u32,
    pub(crate) link: Link,
    pub(crate) meta: Meta,
}

/// What a connection speaks.
pub(crate) enum Wire {
    /// HTTP: between requests, held, or streaming events.
    Http(Box<HttpLine>),
    WebSocket(ws::Connection),
    /// An outgoing connection, until it is a WebSocket.
    Client(Box<ClientLine>),
    /// A held poll of the hub's, with nothing else to it: see [`Parked`].
    Parked(Parked),
    /// HTTP between two requests, and nothing else: until when it waits for the next.
    Resting(Instant),
    /// Over and reported. What it still sends is read and dropped until it ends its side or time is up (RFC 9112 section 9.6).
    Lingering(Instant),
    /// No connection; the next free slot.
    Vacant(u32),
}

impl Wire {
    /// Whether bytes fed now would be taken.
    pub(crate) fn wants_input(&self) -> bool {
        match self {
            Wire::Http(line) => line.http.wants_input(),
            _ => true,
        }
    }

    /// Bytes of a body or message that is not whole yet, where they are more than what a connection has anyway.
    pub(crate) fn charge(&self) -> usize {
        /// Below, the counting would cost more than it saves.
        const LEAST: usize = 16 << 10;
        let held = match self {
            Self::WebSocket(ws) => ws.held(),
            Self::Http(line) => line.body.len(),
            _ => 0,
        };
        if held < LEAST { 0 } else { held }
    }

    /// How much may wait while more is handled, where `limit` bytes may wait at all, so that a reply to what comes next finds room: half, as
    /// no more is read at a time. But where messages are compressed, one of a few bytes may come to the longest there is.
    #[inline]
    pub(crate) fn most_waiting(&self, limit: usize) -> usize {
        #[cfg(feature = "deflate")]
        if let Wire::WebSocket(ws) = self
            && ws.deflate().is_some()
        {
            /// The longest header of a server's frame.
            const HEADER: usize = 10;
            let longest = usize::try_from(ws.config().limits.message).unwrap_or(usize::MAX).saturating_add(HEADER);
            return limit.saturating_sub(longest).min(limit / 2);
        }
        limit / 2
    }
}

/// The server's side of an HTTP connection.
pub(crate) struct HttpLine {
    pub(crate) http: http::Server,
    pub(crate) mode: Mode,
    /// What the WebSocket will be, once a request was accepted as one.
    pub(crate) upgraded: Option<Upgrading>,
    /// The body so far, where the handler wants it.
    pub(crate) body: Vec<u8>,
    /// When the present hold or event stream began.
    pub(crate) since: Instant,
}

/// A held poll. Thousands of them wait at a time, so what is not needed for that is given back, and made anew when something happens.
pub(crate) struct Parked {
    pub(crate) poll: Poll,
    pub(crate) since: Instant,
    pub(crate) http: http::Suspended,
}

/// How a request was accepted as a WebSocket.
pub(crate) struct Upgrading {
    pub(crate) config: Arc<ws::Config>,
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Option<ws::Deflate>,
}

impl Upgrading {
    pub(crate) fn connection(self, seed: ws::Seed, now: Instant) -> ws::Connection {
        let connection = ws::Connection::server(self.config, seed, now);
        #[cfg(feature = "deflate")]
        let connection = connection.with_deflate(self.deflate);
        connection
    }
}

/// What the present request has become.
pub(crate) enum Mode {
    /// Not answered yet, or answered at once.
    Plain,
    /// The handler waits for the body.
    Body,
    /// Held, to be answered later.
    Held,
    /// Answered by an event stream.
    Stream(ServerStream),
}

/// What a peer has only while it needs it.
#[derive(Default)]
pub(crate) struct Cold {
    /// What the socket did not take.
    pub(crate) outbox: Option<Box<Output>>,
    /// Read and not yet fed: the handler paused, or the queue was long, in the middle of a read.
    pub(crate) kept: Kept,
    /// The handler's timer.
    pub(crate) timer: Option<Instant>,
    /// When a peer that takes nothing of what others sent it is given up; moved on by every byte that the socket takes.
    pub(crate) stall: Option<Instant>,
    pub(crate) reading: Reading,
    /// Messages of others that were dropped for want of room and not yet told to the handler.
    pub(crate) lost: u64,
    /// The handler is told when the output is empty.
    pub(crate) wants_writable: bool,
    /// A subscriber of the hub's goes on when the output is empty.
    pub(crate) pumps: bool,
    /// What the hub keeps with the connection.
    pub(crate) hub: Option<Box<HubLine>>,
    /// Bytes of a body or message that is not whole yet, as the counters have them.
    pub(crate) charged: usize,
}

/// Bytes that were read before they are wanted. Feeding them bit by bit moves nothing.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    /// What is still to be fed begins here.
    pub(crate) from: usize,
}

impl Kept {
    pub(crate) fn is_empty(&self) -> bool {
        self.from >= self.bytes.len()
    }
}

/// Whether a peer is read from.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The handler paused it.
    pub(crate) paused: bool,
    /// Its own queue is too long.
    pub(crate) throttled: bool,
}

impl Cold {
    /// Whether it can go.
    fn is_idle(&self) -> bool {
        self.outbox.is_none()
            && self.kept.is_empty()
            && self.timer.is_none()
            && self.reading == Reading::default()
            && self.lost == 0
            && !self.wants_writable
            && !self.pumps
            && self.hub.is_none()
            && self.charged == 0
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let hub = self.hub.as_ref().and_then(|hub| hub.due());
        earlier(earlier(self.timer, self.stall), hub)
    }
}

/// Flags and the time of accept or, for a WebSocket, of its beginning, in four bytes.
#[derive(Clone, Copy)]
pub(crate) struct Meta(u32);

/// The flags of [`Meta`].
pub(crate) mod flag {
    /// The kernel may have bytes for us: the last edge was not read to its end.
    pub(crate) const READABLE: u32 = 1;
    /// The event said that the peer's side ended or failed: a short read is not the end.
    pub(crate) const HANGUP: u32 = 1 << 1;
    /// Registered for writability too.
    pub(crate) const AWAITS_WRITABLE: u32 = 1 << 2;
    /// Stands in the list of peers to be served again.
    pub(crate) const LISTED: u32 = 1 << 3;
    /// The peer ended its side.
    pub(crate) const EOF: u32 = 1 << 4;
    /// The handler knows of it, and is owed `closed`.
    pub(crate) const REPORTED: u32 = 1 << 5;
    /// The socket is broken: nothing more can be written.
    pub(crate) const BROKEN: u32 = 1 << 6;
    /// Registered with the poll.
    pub(crate) const REGISTERED: u32 = 1 << 7;
    /// It is the hub's: a subscriber, or one that will be.
    pub(crate) const HUB: u32 = 1 << 8;
    /// A publication is no short way's case for it: it is behind, acknowledges, or has a topic that catches up.
    pub(crate) const ASIDE: u32 = 1 << 9;
}

impl Meta {
    const FLAGS: u32 = 10;

    /// Accepted at `now`. Time is kept in quarters of a second modulo 2^22 of them, which is 12 days.
    pub(crate) fn new(now: Instant) -> Self {
        Self(Self::quarters(now) << Self::FLAGS)
    }

    #[inline]
    pub(crate) fn has(self, flags: u32) -> bool {
        self.0 & flags != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, flags: u32) {
        self.0 |= flags;
    }

    #[inline]
    pub(crate) fn clear(&mut self, flags: u32) {
        self.0 &= !flags;
    }

    /// Begins the time anew.
    pub(crate) fn renew(&mut self, now: Instant) {
        self.0 = Self::new(now).0 | self.0 & ((1 << Self::FLAGS) - 1);
    }

    /// Since its time, to a quarter of a second.
    pub(crate) fn age(self, now: Instant) -> Duration {
        let quarters = Self::quarters(now).wrapping_sub(self.0 >> Self::FLAGS) & (u32::MAX >> Self::FLAGS);
        Duration::from_millis(u64::from(quarters) * 250)
    }

    fn quarters(now: Instant) -> u32 {
        (now.as_nanos() / 250_000_000) as u32 & (u32::MAX >> Self::FLAGS)
    }
}

impl<S: Default> Peer<S> {
    pub(crate) fn new(wire: Wire, socket: Socket, generation: u32, now: Instant) -> Self {
        Self {
            wire,
            state: S::default(),
            cold: None,
            socket: Some(socket),
            generation,
            link: Link::new(),
            meta: Meta::new(now),
        }
    }
}

impl<S> Peer<S> {
    /// An outgoing connection, whose socket is still to be made.
    pub(crate) fn outgoing(wire: Wire, state: S, generation: u32, now: Instant) -> Self {
        Self { wire, state, cold: None, socket: None, generation, link: Link::new(), meta: Meta::new(now) }
    }

    /// When its machines or its timers want to be called. May be early, never late.
    #[inline]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let wire = match &self.wire {
            Wire::WebSocket(ws) => ws.poll_timeout(),
            Wire::Http(line) => line.poll_timeout(),
            Wire::Client(line) => line.poll_timeout(),
            Wire::Lingering(until) | Wire::Resting(until) => Some(*until),
            Wire::Parked(parked) => Some(parked.poll.until),
            Wire::Vacant(_) => None,
        };
        match &self.cold {
            None => wire,
            Some(cold) => earlier(wire, cold.poll_timeout()),
        }
    }

    /// Whether nothing is to be read from it at present.
    #[inline]
    pub(crate) fn is_paused(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.reading != Reading::default())
    }

    pub(crate) fn cold(&mut self) -> &mut Cold {
        self.cold.get_or_insert_default()
    }

    /// Frees what is not needed any more.
    pub(crate) fn cool(&mut self) {
        if self.cold.as_ref().is_some_and(|cold| cold.is_idle()) {
            self.cold = None;
        }
    }

    /// Keeps of a held poll only what it needs.
    pub(crate) fn park(&mut self) {
        let Wire::Http(line) = &mut self.wire else { return };
        if !matches!(line.mode, Mode::Held) || line.body.capacity() > 0 {
            return;
        }
        let Some(http) = line.http.suspend() else { return };
        let Some(cold) = &mut self.cold else { return };
        let only = cold.hub.take_if(|hub| matches!(**hub, HubLine::Poll(_)));
        match only.map(|hub| *hub) {
            Some(HubLine::Poll(poll)) if cold.is_idle() => {
                self.wire = Wire::Parked(Parked { poll, since: line.since, http });
                self.cold = None;
            }
            Some(other) => cold.hub = Some(Box::new(other)),
            None => {}
        }
    }

    /// Keeps nothing of an HTTP connection between two requests.
    #[inline]
    pub(crate) fn rest(&mut self) {
        if let Wire::Http(line) = &self.wire
            && matches!(line.mode, Mode::Plain)
            && self.cold.is_none()
            && let Some(until) = line.http.idle_until()
        {
            self.wire = Wire::Resting(until);
        }
    }

    /// Makes a parked poll, or a connection that rested, what it was.
    #[inline]
    pub(crate) fn unpark(&mut self, config: &Arc<http::ServerConfig>, now: Instant) {
        match self.wire {
            Wire::Parked(_) => self.unpark_poll(config),
            Wire::Resting(until) => {
                let http = http::Server::idle(config.clone(), until);
                let line = HttpLine { http, mode: Mode::Plain, upgraded: None, body: Vec::new(), since: now };
                self.wire = Wire::Http(Box::new(line));
            }
            _ => {}
        }
    }

    fn unpark_poll(&mut self, config: &Arc<http::ServerConfig>) {
        if let Wire::Parked(Parked { poll, since, http }) = std::mem::replace(&mut self.wire, Wire::Vacant(0)) {
            let http = http::Server::resume(config.clone(), http);
            let line = HttpLine { http, mode: Mode::Held, upgraded: None, body: Vec::new(), since };
            self.wire = Wire::Http(Box::new(line));
            self.cold().hub = Some(Box::new(HubLine::Poll(poll)));
        }
    }

    /// Bytes that wait for the socket.
    pub(crate) fn queued(&self) -> usize {
        self.cold.as_ref().and_then(|cold| cold.outbox.as_ref()).map_or(0, |outbox| outbox.len())
    }
}

impl HttpLine {
    pub(crate) fn new(config: &Arc<http::ServerConfig>, now: Instant) -> Self {
        let http = http::Server::new(config.clone(), now);
        Self { http, mode: Mode::Plain, upgraded: None, body: Vec::new(), since: now }
    }

    /// How long the present hold or event stream has lasted.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match &self.mode {
            Mode::Stream(stream) => earlier(self.http.poll_timeout(), Some(stream.poll_timeout())),
            _ => self.http.poll_timeout(),
        }
    }
}

impl<S: Default> Entry for Peer<S> {
    fn generation(&self) -> u32 {
        self.generation
    }

    fn vacant(next: u32) -> Self {
        Self {
            wire: Wire::Vacant(next),
            state: S::default(),
            cold: None,
            socket: None,
            generation: 0,
            link: Link::new(),
            meta: Meta(0),
        }
    }

    fn next_vacant(&self) -> Option<u32> {
        match self.wire {
            Wire::Vacant(next) => Some(next),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_websocket_with_8_bytes_of_state_takes_136_bytes() {
        assert_eq!(size_of::<Wire>(), size_of::<ws::Connection>(), "the kinds hide in the connection's spare values");
        assert!(size_of::<Peer<u64>>() <= 136, "{}", size_of::<Peer<u64>>());
    }
}
