//! A hub session with its sockets: in the embedder's own `mio::Poll`, or in a loop of its own.

use super::core::Random;
use crate::client::{Endpoint, Lane, Session, SessionEvent};
use crate::input::{Buffers, Input};
use crate::output::Output;
use crate::time::{Clock, Instant};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use std::boxed::Box;
use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

/// Bytes that one lane reads at most before the others get their turn.
const BUDGET: usize = 256 << 10;

/// Bytes of one read.
const READ: usize = 64 << 10;

/// Events that one wait of [`Subscriber::run`] takes: three sockets have few.
const EVENTS: usize = 16;

/// A [`Session`] and its connections: `http` and `ws` only, TLS is not of this crate.
///
/// # Contract
///
/// - It registers its sockets under [`TOKENS`](Self::TOKENS) tokens, from the one it was given on. Give it each event with one of these:
///   [`handle`](Self::handle).
/// - Call [`turn`](Self::turn) at the start, after the events of a wait were handled, after calls of the [`session`](Self::session), and
///   when [`poll_timeout`](Self::poll_timeout) is over. It reads, reports and writes.
/// - Names are resolved by the caller, as that blocks. Each attempt to connect takes the next address.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use tautline::client::{SessionConfig, SessionEvent};
/// use tautline::http::url::Url;
/// use tautline::net::Subscriber;
///
/// let endpoint = SessionConfig::default().check(&Url::parse("http://example.com/hub")?)?;
/// let mut subscriber = Subscriber::alone(endpoint)?;
/// subscriber.session().subscribe("prices", None)?;
/// subscriber.run(|_session, event| {
///     if let SessionEvent::Message(message) = event {
///         println!("{}: {}", message.topic, message.data);
///     }
///     ControlFlow::Continue(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Subscriber {
    session: Session,
    sockets: [Socket; 3],
    addresses: Vec<SocketAddr>,
    /// Attempts so far: which address is next.
    attempts: usize,
    registry: Registry,
    tokens: usize,
    /// Where there is no embedder's.
    poll: Option<Poll>,
    clock: Clock,
    buffer: Box<[u8]>,
    buffers: Buffers,
}

struct Socket {
    stream: Option<TcpStream>,
    state: State,
    out: Output,
    /// Something may be there to be read.
    readable: bool,
    /// The socket may take bytes.
    writable: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    None,
    Connecting,
    Connected,
    /// The session was told that nothing more comes.
    Ended,
}

impl Subscriber {
    /// How many tokens it takes.
    pub const TOKENS: usize = Lane::ALL.len();

    /// A session whose sockets are registered with `registry` under `token` and the next ones.
    ///
    /// # Errors
    ///
    /// The system gives no randomness, or the registry cannot be shared.
    pub fn new(
        endpoint: Arc<Endpoint>,
        addresses: Vec<SocketAddr>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let seed = Random::new()?.seed();
        let socket =
            || Socket { stream: None, state: State::None, out: Output::new(), readable: false, writable: false };
        Ok(Self {
            session: Session::new(endpoint, seed),
            sockets: [socket(), socket(), socket()],
            addresses,
            attempts: 0,
            registry: registry.try_clone()?,
            tokens: token.0,
            poll: None,
            clock: Clock::new(),
            buffer: vec![0; READ].into(),
            buffers: Buffers::new(),
        })
    }

    /// A session with a loop of its own, for [`run`](Self::run). Resolves the name of the endpoint's host, which blocks.
    ///
    /// # Errors
    ///
    /// No address, no randomness, or no more file descriptors.
    pub fn alone(endpoint: Arc<Endpoint>) -> io::Result<Self> {
        let url = endpoint.url();
        let host = url.host().trim_start_matches('[').trim_end_matches(']');
        let addresses = (host, url.port()).to_socket_addrs()?.collect();
        let poll = Poll::new()?;
        let mut subscriber = Self::new(endpoint, addresses, poll.registry(), Token(0))?;
        subscriber.poll = Some(poll);
        Ok(subscriber)
    }

    /// The session. What is called on it is done in the next [`turn`](Self::turn).
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The time line of the session's deadlines.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Where to connect to from now on.
    pub fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.addresses = addresses;
    }

    /// Takes note of an event. Whether it was one of its own.
    pub fn handle(&mut self, event: &Event) -> bool {
        let Some(socket) = event.token().0.checked_sub(self.tokens).and_then(|at| self.sockets.get_mut(at)) else {
            return false;
        };
        socket.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        socket.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        true
    }

    /// How long to wait for events at most before the next [`turn`](Self::turn). `None`: for ever.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.sockets.iter().any(|socket| socket.state == State::Connected && socket.readable) {
            return Some(Duration::ZERO);
        }
        let at = self.session.poll_timeout()?;
        Some(at.saturating_duration_since(self.clock.now()))
    }

    /// Reads what is there, up to a budget, reports what it means, and writes what there is to be written. Wishes for connections are granted
    /// here and not reported.
    pub fn turn(&mut self, mut report: impl FnMut(&mut Session, SessionEvent<'_>)) {
        let now = self.clock.now();
        for lane in Lane::ALL {
            self.settle(lane, now);
            let mut budget = BUDGET;
            while budget > 0 && self.sockets[lane.index()].readable {
                match self.read(lane, now) {
                    0 => break,
                    n => {
                        budget = budget.saturating_sub(n);
                        self.ask(lane, n, now, &mut report);
                    }
                }
            }
        }
        // What one lane said may concern the others, and granting a wish may fail at once.
        while self.ask_all(now, &mut report) {}
        for lane in Lane::ALL {
            self.flush(lane);
        }
    }

    /// Waits and turns until the session is over or `report` breaks off. Only for a session that is [`alone`](Self::alone).
    ///
    /// # Errors
    ///
    /// The wait failed, or there is no loop of its own.
    pub fn run(&mut self, mut report: impl FnMut(&mut Session, SessionEvent<'_>) -> ControlFlow<()>) -> io::Result<()> {
        let Some(mut poll) = self.poll.take() else { return Err(io::Error::from(io::ErrorKind::Unsupported)) };
        let mut events = Events::with_capacity(EVENTS);
        let mut flow = ControlFlow::Continue(());
        let outcome = loop {
            self.turn(|session, event| {
                let over = matches!(event, SessionEvent::Closed(_));
                // What is reported behind a break is of no interest any more.
                if flow.is_continue() {
                    flow = report(session, event);
                }
                if over {
                    flow = ControlFlow::Break(());
                }
            });
            if flow.is_break() {
                break Ok(());
            }
            match poll.poll(&mut events, self.poll_timeout()) {
                Ok(()) => {
                    for event in &events {
                        self.handle(event);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.poll = Some(poll);
        outcome
    }

    /// Asks the session about every lane. Whether a wish was granted, so that it is to be asked again.
    fn ask_all(&mut self, now: Instant, report: &mut impl FnMut(&mut Session, SessionEvent<'_>)) -> bool {
        let mut granted = false;
        for lane in Lane::ALL {
            granted |= self.ask(lane, 0, now, report);
        }
        granted
    }

    /// Gives the session the first `n` bytes of the buffer as those of a lane. Whether a wish was granted.
    fn ask(
        &mut self,
        lane: Lane,
        n: usize,
        now: Instant,
        report: &mut impl FnMut(&mut Session, SessionEvent<'_>),
    ) -> bool {
        let mut granted = false;
        let mut input = Input::with_buffers(self.buffer.get_mut(..n).unwrap_or_default(), &mut self.buffers);
        let mut wishes = [None; Lane::ALL.len()];
        while let Some(event) = self.session.next_event(lane, &mut input, &mut self.sockets[lane.index()].out, now) {
            match event {
                SessionEvent::Connect(lane) => {
                    granted = true;
                    let address = match self.addresses.len() {
                        0 => None,
                        many => self.addresses.get(self.attempts % many).copied(),
                    };
                    self.attempts = self.attempts.wrapping_add(1);
                    let token = Token(self.tokens + lane.index());
                    let socket = &mut self.sockets[lane.index()];
                    socket.close(&self.registry);
                    if socket.connect(address, &self.registry, token).is_err() {
                        wishes[lane.index()] = Some(lane);
                    }
                }
                SessionEvent::Drop(lane) => {
                    granted = true;
                    wishes[lane.index()] = None;
                    let socket = &mut self.sockets[lane.index()];
                    // Worth one attempt.
                    let _ = socket.write_once();
                    socket.close(&self.registry);
                }
                event => report(&mut self.session, event),
            }
        }
        drop(input);
        for failed in wishes.into_iter().flatten() {
            self.session.connect_failed(failed, now);
        }
        granted
    }

    /// Sees how an attempt to connect came out.
    fn settle(&mut self, lane: Lane, now: Instant) {
        let socket = &mut self.sockets[lane.index()];
        let (State::Connecting, true, Some(stream)) = (socket.state, socket.writable, &socket.stream) else { return };
        match (stream.take_error(), stream.peer_addr()) {
            (Ok(None), Ok(_)) => {
                // Small commands must not wait for an acknowledgement of the last ones.
                let _ = stream.set_nodelay(true);
                socket.state = State::Connected;
                socket.out.clear();
                self.session.connected(lane, now);
            }
            // It stands neither nor failed: an event that told something else.
            (Ok(None), Err(error)) if error.kind() == io::ErrorKind::NotConnected => socket.writable = false,
            _ => {
                socket.close(&self.registry);
                self.session.connect_failed(lane, now);
            }
        }
    }

    /// Reads once, into the buffer. Zero: nothing is there, or nothing more comes, which the session is told.
    fn read(&mut self, lane: Lane, now: Instant) -> usize {
        let socket = &mut self.sockets[lane.index()];
        let (State::Connected, Some(stream)) = (socket.state, &mut socket.stream) else {
            socket.readable &= socket.state == State::Connecting;
            return 0;
        };
        loop {
            match stream.read(&mut self.buffer) {
                Ok(n) if n > 0 => return n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.readable = false;
                    return 0;
                }
                // The end, in order or by a reset.
                _ => {
                    socket.readable = false;
                    socket.state = State::Ended;
                    self.session.handle_eof(lane, now);
                    return 0;
                }
            }
        }
    }

    fn flush(&mut self, lane: Lane) {
        let socket = &mut self.sockets[lane.index()];
        if socket.write_once().is_err() {
            // What the server said before it went away may still lie in the socket; behind it comes the end.
            socket.out.clear();
            (socket.readable, socket.writable) = (true, false);
        }
    }
}

impl Socket {
    fn connect(&mut self, address: Option<SocketAddr>, registry: &Registry, token: Token) -> io::Result<()> {
        let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut stream = TcpStream::connect(address)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        (self.stream, self.state) = (Some(stream), State::Connecting);
        Ok(())
    }

    /// Writes what the socket takes. An error is one of the connection.
    fn write_once(&mut self) -> io::Result<()> {
        let (State::Connected, true, Some(stream)) = (self.state, self.writable, &mut self.stream) else {
            return Ok(());
        };
        match self.out.write_to(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn close(&mut self, registry: &Registry) {
        if let Some(mut stream) = self.stream.take() {
            // It is closed next, which takes it out of the poll in any case.
            let _ = registry.deregister(&mut stream);
        }
        self.out.clear();
        (self.state, self.readable, self.writable) = (State::None, false, false);
    }
}
