//! What a handler may do that concerns no connection, or a new one.

use super::client::{ClientLine, Connect};
use super::config::DrainConfig;
use super::context::{Context, InPlace, Line};
use super::core::{Command, Core};
use super::handler::Handler;
use super::peer::{Peer, PeerId, Wire};
use super::shared::{Handle, Shared};
use super::slab::Slab;
use crate::hub::{Cursor, PublishError};
use crate::output::Output;
use crate::sse::{self, EventSource, EventSourceConfig};
use crate::time::Instant;
use crate::ws::{self, CloseCode, HandshakeConfig, HandshakeConfigError, Prepared};
use bytes::Bytes;
use std::boxed::Box;
use std::sync::Arc;
use std::time::Duration;

/// The worker, for the length of one call that is about no connection in particular.
pub struct Control<'a, H: Handler> {
    pub(super) core: &'a mut Core,
    pub(super) peers: &'a mut Slab<Peer<H::State>>,
    pub(super) alarm: &'a mut Option<Instant>,
    pub(super) shared: &'a Arc<Shared<H>>,
    /// It has the thread's compressors.
    #[cfg(feature = "deflate")]
    pub(super) scratch: &'a mut Output,
}

impl<H: Handler> Control<'_, H> {
    /// The time, as the loop last read it.
    pub fn now(&self) -> Instant {
        self.core.now
    }

    /// The worker's number, from 0.
    pub fn worker(&self) -> usize {
        usize::from(self.core.worker)
    }

    /// An unpredictable number.
    pub fn random(&mut self) -> u64 {
        self.core.random.number()
    }

    /// This worker's place in the log: see [`Context::cursor`].
    pub fn cursor(&self) -> Cursor {
        self.core.desk.position()
    }

    /// What other threads hold of the server.
    pub fn handle(&self) -> Handle<H> {
        Handle::new(self.shared.clone())
    }

    /// Connections of this worker, those that are closing included.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Calls [`Handler::alarm`] after so long, once. A new call replaces the last.
    pub fn set_alarm(&mut self, after: Duration) {
        *self.alarm = Some(self.core.now + after);
    }

    /// Opens a WebSocket to somewhere else. [`Handler::opened`] says that it is open, or [`Handler::closed`] why not
    /// ([`HandshakeConfig::timeout`] limits connecting and the handshake together).
    ///
    /// # Errors
    ///
    /// The URL or the settings ask for what cannot be sent.
    pub fn connect(
        &mut self,
        connect: &Connect,
        handshake: Arc<HandshakeConfig>,
        config: Option<Arc<ws::Config>>,
        state: H::State,
    ) -> Result<PeerId, HandshakeConfigError> {
        let config = config.unwrap_or_else(|| self.core.settings.ws.clone());
        let line = ClientLine::handshake(connect, handshake, config, &mut self.core.random, self.core.now)?;
        Ok(self.insert(line, state))
    }

    /// Subscribes to an event stream somewhere else; [`Handler::event`] gets what comes of it. The source comes back by itself until it is
    /// over for good, which [`Handler::closed`] says.
    pub fn connect_stream(&mut self, connect: &Connect, config: Arc<EventSourceConfig>, state: H::State) -> PeerId {
        let source = EventSource::new(config, connect.url.clone(), self.core.random.number());
        self.insert(ClientLine::source(connect, source), state)
    }

    fn insert(&mut self, line: ClientLine, state: H::State) -> PeerId {
        let now = self.core.now;
        let mut id = PeerId { worker: self.core.worker, index: 0, generation: 0 };
        self.peers.insert_with(|index, generation| {
            (id.index, id.generation) = (index, generation);
            Peer::outgoing(Wire::Client(Box::new(line)), state, generation, now)
        });
        self.core.counters.outgoing.add(1);
        // An event source asks for its connection when it is first looked at.
        self.core.commands.push(Command::Start(id));
        id
    }

    /// Calls `f` about a connection of this worker, whatever it is: to answer a held request, to send an event, to read its state.
    /// What is written leaves in this turn. `None` if the connection is gone, or of another worker.
    pub fn with_peer<T>(&mut self, peer: PeerId, f: impl FnOnce(&mut Context<'_, H::State>) -> T) -> Option<T> {
        if peer.worker != self.core.worker {
            return None;
        }
        let found = self.peers.get_if(peer.index, peer.generation)?;
        found.unpark(&self.core.settings.http, self.core.now);
        let Peer { wire, state, cold, socket, meta, .. } = found;
        let line = match wire {
            Wire::WebSocket(ws) => Line::WebSocket(ws),
            Wire::Http(line) => Line::Http(line),
            Wire::Client(line) => Line::Client(line),
            Wire::Lingering(_) | Wire::Parked(_) | Wire::Resting(_) | Wire::Vacant(_) => Line::Over,
        };
        let limit = self.core.settings.queue.limit;
        let mut out = cold.as_mut().and_then(|cold| cold.outbox.take());
        self.core.counters.queued.sub(out.as_ref().map_or(0, |out| out.len()) as u64);
        let outbox = out.get_or_insert_with(|| Box::new(Output::with_limit(limit)));
        #[cfg(feature = "deflate")]
        self.scratch.hand_compressors(outbox);
        let (socket, in_place) = (socket.as_ref(), InPlace::NONE);
        let core = &mut *self.core;
        let answer = f(&mut Context { id: peer, line, state, cold, meta, socket, out: outbox, in_place, core });
        #[cfg(feature = "deflate")]
        if let Some(out) = &mut out {
            out.hand_compressors(self.scratch);
        }
        if let Some(out) = out.filter(|out| !out.is_empty()) {
            self.core.counters.queued.add(out.len() as u64);
            cold.get_or_insert_default().outbox = Some(out);
        }
        // It is written, and what came of it is seen to, when the connection is served next.
        self.core.commands.push(Command::Look(peer));
        Some(answer)
    }

    /// How many connections of this worker are subscribed to a topic, by whatever transport.
    pub fn subscribers(&self, topic: &str) -> usize {
        self.core.desk.topics().subscribers(topic).len()
    }

    /// See [`Context::publish`](super::Context::publish).
    ///
    /// # Errors
    ///
    /// [`PublishError`]: nothing was published.
    pub fn publish(&mut self, topic: &str, event: &sse::Event<'_>) -> Result<Cursor, PublishError> {
        self.core.publish(topic, event, None)
    }

    /// See [`Context::broadcast`](super::Context::broadcast).
    ///
    /// # Errors
    ///
    /// [`PublishError`]: nothing was sent.
    pub fn broadcast(&mut self, topic: &str, message: impl Into<Prepared>) -> Result<(), PublishError> {
        self.core.broadcast(topic, message.into(), None)
    }

    /// See [`Context::broadcast_event`](super::Context::broadcast_event).
    ///
    /// # Errors
    ///
    /// [`PublishError`]: nothing was sent.
    pub fn broadcast_event(&mut self, topic: &str, event: &sse::Event<'_>) -> Result<(), PublishError> {
        self.core.broadcast_event(topic, event, None)
    }

    /// See [`Context::send_to`](super::Context::send_to).
    pub fn send_to(&mut self, peer: PeerId, message: Prepared) {
        self.core.commands.push(Command::Send(peer, message));
    }

    /// See [`Context::send_block_to`](super::Context::send_block_to).
    pub fn send_block_to(&mut self, peer: PeerId, block: Bytes) {
        self.core.commands.push(Command::SendBlock(peer, block));
    }

    /// See [`Context::close_peer`](super::Context::close_peer).
    pub fn close_peer(&mut self, peer: PeerId, code: CloseCode, reason: &str) {
        self.core.commands.push(Command::Close(peer, code, Box::from(reason)));
    }

    /// Lets go of this worker's connections in order, and then ends it. See [`Handle::drain`] for all workers.
    pub fn drain(&mut self, config: DrainConfig) {
        self.core.commands.push(Command::Drain(config));
    }

    /// Closes this worker's connections and ends it, now.
    pub fn stop(&mut self) {
        self.core.commands.push(Command::Stop);
    }
}
