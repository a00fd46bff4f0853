//! One event loop: its connections, their deadlines, and the order of a turn.

mod accept;
mod deliver;
mod drain;
mod feed;
mod hub;
mod read;
mod serve;

use super::config::{Config, ConfigError};
use super::control::Control;
use super::core::{Command, Core, Random};
use super::doors::Doors;
use super::handler::Handler;
use super::hub::polls::HeaderSets;
use super::limits::AcceptBucket;
use super::listener::Listener;
use super::peer::{Peer, PeerId, Wire, flag};
use super::publish::Published;
use super::shared::{Handle, Shared, What};
use super::slab::Slab;
use super::timers::{Link, Links, Wheel};
use crate::hub::{Desk, Pressure, Reader};
use crate::input::Buffers;
use crate::output::Output;
use crate::time::{Instant, earlier};
use accept::Acceptor;
use drain::Drain;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, Waker};
use serve::Cause;
pub(super) use serve::{Sink, give_up};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

/// The bit that all tokens of a worker have, and an embedder's own must not.
const OURS: usize = 1 << 63;

/// The index in the token of the waker; the listeners' stand below.
const WAKER: u32 = u32::MAX;

/// The lowest index that is a listener's.
const LISTENERS: u32 = u32::MAX - 1024;

/// After so many connections the clock is read anew within a turn: some 100 microseconds.
const CLOCK: usize = 16;

/// Rounds of commands in a turn, each of what the round before asked for; the rest waits for the next turn.
const ROUNDS: usize = 8;

/// How long accepting rests after it failed for want of file descriptors or memory: no edge says when there are some again.
const ACCEPT_REST: Duration = Duration::from_millis(100);

const _: () = assert!(size_of::<usize>() == 8, "tokens hold an index, a generation and a mark: 64 bits");

/// One event loop, to be driven by a thread of [`Server`](super::Server)'s or by the embedder's own `mio::Poll`.
///
/// # Contract
///
/// - [`new`](Self::new) registers with the poll of the registry. All its tokens have the highest bit set ([`owns`](Self::owns)); give the
///   embedder's own sources lower ones. It takes the poll's one `mio::Waker`.
/// - Wait in `Poll::poll` for at most [`timeout`](Self::timeout), then call [`turn`](Self::turn) with all events; those of other sources are passed
///   over. Whatever else the thread does between two turns delays every connection.
/// - Dropping it closes everything at once; [`Handle::drain`] first lets go in order, until [`is_over`](Self::is_over).
///
/// # A turn
///
/// 1. Each connection that is ready is read once (a short read is the end), everything in the read is handled, and all replies leave in
///    one write. Connections that had more than [`bytes_per_peer`](super::TurnConfig::bytes_per_peer) are listed for the next turn.
/// 2. New connections are accepted, and read at once.
/// 3. Deadlines that have come.
/// 4. What handlers asked for that concerns others, and what came from other threads, in the order of the calls.
/// 5. What was published, in the order of the log, by anyone.
pub struct Worker<H: Handler> {
    handler: H,
    peers: Slab<Peer<H::State>>,
    wheel: Wheel,
    core: Core,
    scratch: Output,
    buffer: Vec<u8>,
    buffers: Buffers,
    registry: Registry,
    shared: Arc<Shared<H>>,
    /// Connections to be served again although no event comes.
    ready: Vec<PeerId>,
    /// Outgoing connections to be made.
    connects: Vec<PeerId>,
    acceptors: Vec<Acceptor>,
    accept_rate: Option<AcceptBucket>,
    reader: Reader,
    /// Publications read so far.
    seen: u64,
    alarm: Option<Instant>,
    drain: Option<Drain>,
    life: Life,
    served: usize,
    // For reuse; empty between turns.
    due: Vec<u32>,
    /// Publications read and not yet delivered.
    batch: VecDeque<Arc<Published>>,
    /// Connections that a publication did not reach by the short way.
    aside: Vec<u32>,
}

/// Where a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    New,
    Running,
    Over,
}

/// Why a worker could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The settings.
    Config(ConfigError),
    /// The address.
    Listen(super::listener::ListenError),
    /// The system: no thread, no poll, no random bytes.
    Io(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Listen(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<super::listener::ListenError> for StartError {
    fn from(error: super::listener::ListenError) -> Self {
        Self::Listen(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<H: Handler> Worker<H> {
    /// A worker by itself, in the poll of `registry`.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn new(config: &Config, handler: H, registry: &Registry) -> Result<Self, StartError> {
        let shared = Arc::new(Shared::new(config, 1)?);
        Self::join(shared, 0, handler, registry)
    }

    /// Worker `number` of those that share.
    pub(super) fn join(
        shared: Arc<Shared<H>>,
        number: u16,
        handler: H,
        registry: &Registry,
    ) -> Result<Self, StartError> {
        let waker = Waker::new(registry, token(WAKER, 0))?;
        shared.mailbox(number).open(waker);
        let settings = shared.settings.clone();
        let now = shared.time.now();
        let (reader, seen, read) = shared.log.add_reader();
        let config = shared.hub.as_ref().map_or_else(Arc::default, |hub| hub.config.clone());
        let desk = Desk::new(config, settings.topics, shared.log.id(), read.position);
        let core = Core {
            worker: number,
            now,
            clock: shared.time,
            desk,
            hub: shared.hub.clone(),
            header_sets: HeaderSets::default(),
            delivered: seen,
            hub_due: None,
            log: shared.log.clone(),
            counters: shared.counters(number).clone(),
            random: Random::new()?,
            doors: Doors::new(shared.addresses.clone()),
            commands: Vec::new(),
            sent: 0,
            draining: false,
            pressure: Pressure::None,
            published: false,
            settings: settings.clone(),
        };
        Ok(Self {
            handler,
            peers: Slab::new(),
            wheel: Wheel::new(now),
            scratch: Output::with_limit(settings.queue.limit),
            buffer: vec![0; settings.turn.read_buffer],
            buffers: Buffers::new(),
            registry: registry.try_clone()?,
            ready: Vec::new(),
            connects: Vec::new(),
            acceptors: Vec::new(),
            accept_rate: settings.peers.accept_rate.map(AcceptBucket::new),
            reader,
            seen,
            alarm: None,
            drain: None,
            life: Life::New,
            served: 0,
            due: Vec::new(),
            batch: VecDeque::new(),
            aside: Vec::new(),
            core,
            shared,
        })
    }

    /// Whether a token is this worker's.
    pub fn owns(token: Token) -> bool {
        token.0 & OURS != 0
    }

    /// What other threads hold of it.
    pub fn handle(&self) -> Handle<H> {
        Handle::new(self.shared.clone())
    }

    /// The handler.
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// Connections at present, those that are closing included.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Gives back the memory that is kept for reuse, between turns: buffers of assembled messages (4 MiB at most), the scratch output, lists.
    /// They grow again with the next load.
    pub fn trim(&mut self) {
        self.buffers = Buffers::new();
        self.scratch = Output::with_limit(self.core.settings.queue.limit);
        for list in [&mut self.ready, &mut self.connects] {
            list.shrink_to_fit();
        }
        for list in [&mut self.due, &mut self.aside] {
            list.shrink_to_fit();
        }
        self.batch.shrink_to_fit();
        self.core.commands.shrink_to_fit();
    }

    /// Whether it has drained or was stopped: nothing more will happen.
    pub fn is_over(&self) -> bool {
        self.life == Life::Over
    }

    /// For how long the poll may wait; `None` for ever. Ask right before waiting.
    pub fn timeout(&self) -> Option<Duration> {
        if self.life != Life::Running
            || !self.ready.is_empty()
            || !self.connects.is_empty()
            || !self.core.commands.is_empty()
            || self.core.log.appended() != self.delivered()
        {
            return Some(Duration::ZERO);
        }
        let mut at = earlier(self.wheel.poll_timeout(), self.alarm);
        at = earlier(at, self.core.hub_due);
        at = earlier(at, self.drain.as_ref().map(Drain::poll_timeout));
        for acceptor in &self.acceptors {
            at = earlier(at, acceptor.poll_timeout());
        }
        Some(at?.saturating_duration_since(self.core.clock.now()))
    }

    /// One turn, for the events of one `Poll::poll`.
    pub fn turn<'e>(&mut self, events: impl IntoIterator<Item = &'e Event>) {
        let began = self.core.clock.now();
        self.core.now = began;
        if self.life == Life::New {
            self.life = Life::Running;
            let (handler, mut control) = self.control();
            handler.started(&mut control);
        }
        for peer in std::mem::take(&mut self.ready) {
            self.serve_listed(peer);
        }
        for event in events {
            if Self::owns(event.token()) {
                self.on_event(event);
            }
        }
        self.accept();
        self.expire();
        self.obey();
        self.deliver();
        self.connect();
        self.advance_drain();
        if std::mem::take(&mut self.core.published) {
            self.shared.wake_others(self.core.worker);
        }
        let counters = &self.core.counters;
        counters.turns.add(1);
        counters.lag.record(self.core.clock.now().saturating_duration_since(began));
    }

    fn on_event(&mut self, event: &Event) {
        let (index, generation) = split(event.token());
        if index >= LISTENERS {
            if let Some(acceptor) = self.acceptors.get_mut((index - LISTENERS) as usize) {
                acceptor.is_ready();
            }
            return;
        }
        let Some(peer) = self.peers.get_mut(index) else { return };
        if peer.generation & GENERATION != generation {
            return;
        }
        if event.is_readable() || event.is_error() {
            peer.meta.set(flag::READABLE);
        }
        if event.is_read_closed() || event.is_error() {
            peer.meta.set(flag::READABLE | flag::HANGUP);
        }
        if event.is_writable() && peer.meta.has(flag::AWAITS_WRITABLE) {
            if let Wire::Client(line) = &mut peer.wire
                && !line.connected
            {
                let outcome = peer.socket.as_ref().map_or(Ok(None), |socket| socket.take_error());
                let outcome = outcome.and_then(|error| error.map_or(Ok(()), Err));
                self.forget_writable(index);
                self.serve(index, Cause::Connected(outcome));
            } else {
                self.serve(index, Cause::Writable);
            }
        }
        self.tick();
        self.readable(index);
    }

    /// Reads the clock anew every few connections.
    #[inline]
    fn tick(&mut self) {
        self.served += 1;
        if self.served.is_multiple_of(CLOCK) {
            self.core.now = self.core.clock.now();
        }
    }

    /// Lists a connection to be served in the next turn.
    fn list(&mut self, index: u32) {
        if let Some(peer) = self.peers.get_mut(index)
            && !peer.meta.has(flag::LISTED)
        {
            peer.meta.set(flag::LISTED);
            self.ready.push(PeerId { worker: self.core.worker, index, generation: peer.generation });
        }
    }

    fn serve_listed(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_if(id.index, id.generation) {
            peer.meta.clear(flag::LISTED);
            let broken = peer.meta.has(flag::BROKEN);
            self.tick();
            if broken { self.end(id.index) } else { self.readable(id.index) }
        }
    }

    fn expire(&mut self) {
        let now = self.core.now;
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(&mut self.peers, now, self.core.settings.turn.timers, &mut due);
        for index in due.drain(..) {
            self.time_out(index);
        }
        self.due = due;
        self.see_to_hub();
        if self.alarm.is_some_and(|at| at <= now) {
            self.alarm = None;
            let (handler, mut control) = self.control();
            handler.alarm(&mut control);
        }
    }

    /// Does what was asked for, by handlers and by other threads.
    fn obey(&mut self) {
        let shared = self.shared.clone();
        for post in shared.mailbox(self.core.worker).take() {
            if self.delivered() < post.behind {
                // What the same thread asked for and published before comes first, in its order.
                self.obey_commands();
                while self.delivered() < post.behind && self.deliver() {}
            }
            match post.what {
                What::Command(command) => self.core.commands.push(command),
                What::Call(call) => {
                    // In its place among the commands.
                    self.obey_commands();
                    let (handler, mut control) = self.control();
                    call(handler, &mut control);
                }
            }
        }
        for _ in 0..ROUNDS {
            if self.core.commands.is_empty() {
                break;
            }
            self.obey_commands();
        }
    }

    fn obey_commands(&mut self) {
        for command in std::mem::take(&mut self.core.commands) {
            self.tick();
            match command {
                Command::Send(id, message) => match self.local(id) {
                    Some(index) => self.serve(index, Cause::Send(&message)),
                    None => self.shared.post(id, self.core.worker, Command::Send(id, message)),
                },
                Command::SendBlock(id, block) => match self.local(id) {
                    Some(index) => self.serve(index, Cause::SendBlock(&block)),
                    None => self.shared.post(id, self.core.worker, Command::SendBlock(id, block)),
                },
                Command::Close(id, code, reason) => match self.local(id) {
                    Some(index) => self.serve(index, Cause::Close(code, &reason)),
                    None => self.shared.post(id, self.core.worker, Command::Close(id, code, reason)),
                },
                Command::Resume(id) => {
                    if let Some(index) = self.local(id) {
                        self.settle(index, 0);
                    }
                }
                Command::Emptied(id) => {
                    if let Some(index) = self.local(id) {
                        self.serve(index, Cause::Emptied);
                    }
                }
                Command::Look(id) => {
                    if let Some(index) = self.local(id) {
                        self.serve(index, Cause::Look);
                    }
                }
                Command::Start(id) => {
                    if let Some(index) = self.local(id) {
                        match self.peers.get(index).map(|peer| &peer.wire) {
                            Some(Wire::Client(line)) if line.connects_by_itself() => self.serve(index, Cause::Look),
                            _ => self.connects.push(id),
                        }
                    }
                }
                Command::Pump(id) => {
                    if let Some(index) = self.local(id) {
                        self.serve(index, Cause::Pump);
                    }
                }
                Command::Release(id) => match self.local(id) {
                    Some(index) => self.serve(index, Cause::Release),
                    None => self.shared.post(id, self.core.worker, Command::Release(id)),
                },
                Command::Acknowledge(id, session, cursor) => match self.local(id) {
                    Some(index) => self.serve(index, Cause::Acknowledge(session, cursor)),
                    None => self.shared.post(id, self.core.worker, Command::Acknowledge(id, session, cursor)),
                },
                Command::Revoke(revocation) => self.revoke(&revocation),
                Command::Drain(config) => self.start_drain(config),
                Command::Stop => self.stop(),
            }
        }
    }

    /// The index of a connection of this worker that is still there.
    fn local(&mut self, id: PeerId) -> Option<u32> {
        if id.worker != self.core.worker {
            return None;
        }
        self.peers.get_if(id.index, id.generation).map(|_| id.index)
    }

    fn id(&self, index: u32) -> Option<PeerId> {
        let generation = self.peers.get(index)?.generation;
        Some(PeerId { worker: self.core.worker, index, generation })
    }

    fn control(&mut self) -> (&mut H, Control<'_, H>) {
        #[cfg(feature = "deflate")]
        let scratch = &mut self.scratch;
        let Self { handler, core, peers, alarm, shared, .. } = self;
        let control = Control {
            core,
            peers,
            alarm,
            shared,
            #[cfg(feature = "deflate")]
            scratch,
        };
        (handler, control)
    }

    /// Registers for writability, from now on.
    fn await_writable(&mut self, index: u32) {
        self.register(index, Interest::READABLE | Interest::WRITABLE);
        if let Some(peer) = self.peers.get_mut(index) {
            peer.meta.set(flag::AWAITS_WRITABLE);
        }
    }

    fn forget_writable(&mut self, index: u32) {
        self.register(index, Interest::READABLE);
        if let Some(peer) = self.peers.get_mut(index) {
            peer.meta.clear(flag::AWAITS_WRITABLE);
        }
    }

    fn register(&mut self, index: u32, interest: Interest) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        let Some(socket) = &peer.socket else { return };
        let fd = socket.as_raw_fd();
        let token = token(index, peer.generation);
        let outcome = if peer.meta.has(flag::REGISTERED) {
            self.registry.reregister(&mut SourceFd(&fd), token, interest)
        } else {
            self.registry.register(&mut SourceFd(&fd), token, interest)
        };
        match outcome {
            Ok(()) => peer.meta.set(flag::REGISTERED),
            // No memory for it in the kernel: without events the connection is of no use.
            Err(_) => {
                peer.meta.set(flag::BROKEN | flag::EOF);
                self.list(index);
            }
        }
    }

    /// Forgets a connection. Whoever calls this has told the handler.
    fn remove(&mut self, index: u32) {
        self.wheel.clear(&mut self.peers, index);
        if let Some(id) = self.id(index) {
            self.core.leave(id);
        }
        self.core.desk.forget_poster(index);
        self.core.doors.leave(index);
        let peer = self.peers.remove(index);
        self.core.counters.queued.sub(peer.queued() as u64);
        self.core.counters.held.sub(peer.cold.map_or(0, |cold| cold.charged) as u64);
        self.core.counters.gone.add(1);
    }

    /// Closes everything, now.
    fn stop(&mut self) {
        self.acceptors.clear();
        for index in self.peers.iter_indices().collect::<Vec<_>>() {
            if let Some(peer) = self.peers.get_mut(index) {
                peer.meta.set(flag::BROKEN | flag::EOF);
                self.serve(index, Cause::Stop);
            }
            if self.peers.get(index).is_some() {
                self.remove(index);
            }
        }
        self.life = Life::Over;
    }
}

impl<H: Handler> Drop for Worker<H> {
    fn drop(&mut self) {
        self.shared.log.remove_reader(self.reader);
        self.shared.mailbox(self.core.worker).close();
    }
}

impl<H: Handler> fmt::Debug for Worker<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("number", &self.core.worker)
            .field("connections", &self.peers.len())
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl<S: Default> Links for Slab<Peer<S>> {
    #[inline]
    fn link(&mut self, index: u32) -> &mut Link {
        &mut self[index].link
    }
}

/// As much of a generation as a token holds.
const GENERATION: u32 = u32::MAX >> 1;

fn token(index: u32, generation: u32) -> Token {
    Token(OURS | ((generation & GENERATION) as usize) << 32 | index as usize)
}

fn split(token: Token) -> (u32, u32) {
    (token.0 as u32, (token.0 >> 32) as u32 & GENERATION)
}

/// Registers a listener's acceptor.
impl<H: Handler> Worker<H> {
    /// Accepts connections from `config`'s address.
    ///
    /// # Errors
    ///
    /// [`StartError`]: the address cannot be listened on.
    pub fn listen(&mut self, config: &super::ListenConfig) -> Result<super::ListenAddress, StartError> {
        let mut bound = config.bind(std::num::NonZeroUsize::MIN)?;
        for listener in std::mem::take(&mut bound.listeners) {
            self.add_listener(listener)?;
        }
        if let Some(file) = bound.file.take() {
            self.shared.keep_file(file);
        }
        Ok(bound.address)
    }

    pub(super) fn add_listener(&mut self, mut listener: Listener) -> io::Result<()> {
        let number = u32::try_from(self.acceptors.len()).unwrap_or(u32::MAX);
        if number >= WAKER - LISTENERS {
            return Err(io::Error::other("too many listeners"));
        }
        self.registry.register(&mut listener, token(LISTENERS + number, 0), Interest::READABLE)?;
        self.acceptors.push(Acceptor::new(listener));
        Ok(())
    }
}
