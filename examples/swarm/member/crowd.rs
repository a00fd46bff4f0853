//! Subscribers of a hub, on sockets of their own: thousands of them in one process, on each transport, as cheap as they come.
//!
//! The library's loop does not poll as a client, and what subscribers cost must not differ by transport more than it has to. So this is a
//! plain loop on mio.

use super::deliveries::Deliveries;
use super::wire::{Got, Transport, Wire};
use super::{Job, OPENING, PENDING, SAYING, State, say};
use crate::Failure;
use crate::latency::Latency;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write, stdin};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;
use tautline::Instant;
use tautline::time::Clock;

/// What all subscribe to.
pub(crate) const TOPIC: &str = "load";

/// While something changes, so often the leader hears of it: it waits for the last delivery of a publication.
const SOON: Duration = Duration::from_millis(5);

/// Of the waker.
const ORDERS: Token = Token(usize::MAX);

/// Runs as the leader orders, until standard input ends.
pub(super) fn run(job: Job) -> Result<(), Failure> {
    let mut poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), ORDERS)?);
    let (says, orders) = mpsc::channel();
    thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            if says.send(line).is_err() || waker.wake().is_err() {
                return;
            }
        }
        drop(says);
        let _ = waker.wake();
    });
    let mut crowd = Crowd::new(job);
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, Some(crowd.patience())) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            if event.token() != ORDERS {
                crowd.ready(event.token().0, event.is_writable());
            }
        }
        if !crowd.obey(&orders)? {
            return Ok(());
        }
        crowd.open_some(&poll);
        crowd.tell();
    }
}

/// One subscriber.
struct Line {
    socket: TcpStream,
    transport: Transport,
    wire: Wire,
    /// When its connection was begun.
    begun: Instant,
    is_connected: bool,
    /// Open, and counted as such.
    is_open: bool,
    /// Counted among those that were opened.
    is_counted: bool,
    /// It comes back, and the first event that it gets ends that.
    returns: bool,
    /// A poll that the server holds, or is about to.
    is_parked: bool,
    /// Of polls: where to go on, and the session. Empty: none yet.
    cursor: String,
    session: String,
    state: State,
}

struct Crowd {
    job: Job,
    clock: Clock,
    lines: Vec<Option<Line>>,
    buffer: Vec<u8>,
    deliveries: Deliveries,
    until: u64,
    allowed: f64,
    last: Instant,
    said: Instant,
    changed: bool,
    opened: u64,
    open: u64,
    failed: u64,
    lost: u64,
    parked: u64,
    /// Answers without an event to polls that were held.
    empty: u64,
    gaps: u64,
    /// Connections that came back.
    returned: u64,
    causes: BTreeMap<String, u64>,
    opening: Latency,
    returning: Latency,
    /// Whether a poll that was answered with events waits for an order until it comes again.
    holds_back: bool,
    /// The newest event's cursor, and that of the one before.
    newest: (Position, String),
    previous: String,
    /// Connections to be made anew.
    again: VecDeque<usize>,
    again_rate: f64,
    /// The leader has heard all; what came later would hide it.
    has_ended: bool,
}

/// A cursor's place in the log.
type Position = (u64, u64);

impl Crowd {
    fn new(job: Job) -> Self {
        let clock = Clock::new();
        Self {
            lines: Vec::with_capacity(job.connections as usize),
            job,
            clock,
            buffer: vec![0; 64 << 10],
            deliveries: Deliveries::new(),
            until: 0,
            allowed: 0.0,
            last: clock.now(),
            said: Instant::ORIGIN,
            changed: false,
            opened: 0,
            open: 0,
            failed: 0,
            lost: 0,
            parked: 0,
            empty: 0,
            gaps: 0,
            returned: 0,
            causes: BTreeMap::new(),
            opening: Latency::new(),
            returning: Latency::new(),
            holds_back: false,
            newest: ((0, 0), String::new()),
            previous: String::new(),
            again: VecDeque::new(),
            again_rate: 0.0,
            has_ended: false,
        }
    }

    /// How long the loop may sleep.
    fn patience(&self) -> Duration {
        if self.is_opening() {
            OPENING
        } else if self.changed {
            SOON
        } else {
            SAYING
        }
    }

    fn is_opening(&self) -> bool {
        (self.lines.len() as u64) < self.until || !self.again.is_empty()
    }

    /// Does what the leader wants by now. `false`: it is gone.
    fn obey(&mut self, orders: &Receiver<String>) -> Result<bool, Failure> {
        loop {
            let order: Value = match orders.try_recv() {
                Ok(order) => serde_json::from_str(&order)?,
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(false),
            };
            match order["do"].as_str() {
                Some("open") => {
                    self.until = order["until"].as_u64().unwrap_or(0).min(self.job.connections);
                    self.last = self.clock.now();
                }
                Some("measure") => self.deliveries.measure(order["from_unix_ns"].as_u64().unwrap_or(0)),
                Some("hold_back") => self.holds_back = true,
                Some("poll") => {
                    for at in 0..self.lines.len() {
                        self.poll_again(at);
                    }
                }
                Some("return") => {
                    self.again = (0..self.lines.len()).filter(|at| self.lines[*at].is_some()).collect();
                    self.again_rate = order["rate"].as_f64().unwrap_or(self.job.open_rate);
                    self.last = self.clock.now();
                }
                Some("end") => self.end(),
                other => return Err(format!("no order {other:?}").into()),
            }
            self.changed = true;
        }
    }

    /// Opens as many as rate and backlog allow.
    fn open_some(&mut self, poll: &Poll) {
        if !self.is_opening() {
            return;
        }
        let now = self.clock.now();
        let elapsed = now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
        let rate = if self.again.is_empty() { self.job.open_rate } else { self.again_rate };
        // What could not be begun in a tenth of a second is not made up for: it would be a burst.
        self.allowed = (self.allowed + elapsed * rate).min((rate / 10.0).max(1.0));
        while self.allowed >= 1.0 {
            if let Some(at) = self.again.pop_front() {
                self.open_again(at, poll);
            } else if (self.lines.len() as u64) < self.until
                && self.lines.len() as u64 - self.opened - self.failed < PENDING
            {
                let number = self.job.first + self.lines.len() as u64;
                let transport = self.job.transports[number as usize % self.job.transports.len()];
                let line = self.connect(self.lines.len(), transport, poll);
                self.lines.push(None);
                self.put(self.lines.len() - 1, line, false);
            } else {
                return;
            }
            self.allowed -= 1.0;
        }
    }

    /// Connects once more, to go on before the newest event.
    fn open_again(&mut self, at: usize, poll: &Poll) {
        let Some(old) = self.lines[at].take() else { return };
        self.open -= u64::from(old.is_open);
        self.parked -= u64::from(old.is_parked);
        let (transport, session) = (old.transport, old.session);
        drop(old.socket);
        let line = self.connect(at, transport, poll);
        let cursor = self.previous.clone();
        self.put(at, line.map(|line| Line { returns: true, is_counted: true, session, cursor, ..line }), true);
    }

    fn put(&mut self, at: usize, line: Result<Line, std::io::Error>, was_open: bool) {
        match line {
            Ok(line) => self.lines[at] = Some(line),
            Err(error) => {
                *if was_open { &mut self.lost } else { &mut self.failed } += 1;
                *self.causes.entry(error.to_string()).or_insert(0) += 1;
            }
        }
        self.changed = true;
    }

    fn connect(&self, at: usize, transport: Transport, poll: &Poll) -> Result<Line, std::io::Error> {
        let to = self.job.targets[0].address;
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if !self.job.sources.is_empty() {
            let from = self.job.sources[at % self.job.sources.len()];
            socket.bind(&SockAddr::from(SocketAddr::new(from, 0)))?;
        }
        let begun = self.clock.now();
        match socket.connect(&SockAddr::from(to)) {
            Err(error) if error.raw_os_error() != Some(IN_PROGRESS) && error.kind() != ErrorKind::WouldBlock => {
                return Err(error);
            }
            _ => {}
        }
        let mut socket = TcpStream::from_std(socket.into());
        poll.registry().register(&mut socket, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Line {
            socket,
            transport,
            wire: Wire::new(transport),
            begun,
            is_connected: false,
            is_open: false,
            is_counted: false,
            returns: false,
            is_parked: false,
            cursor: String::new(),
            session: String::new(),
            state: State::default(),
        })
    }

    /// A socket has something to say.
    fn ready(&mut self, at: usize, is_writable: bool) {
        let Some(mut line) = self.lines.get_mut(at).and_then(Option::take) else { return };
        let outcome = self.serve(&mut line, is_writable);
        self.lines[at] = Some(line);
        if let Err(error) = outcome {
            self.lose(at, error.to_string());
        }
    }

    fn serve(&mut self, line: &mut Line, is_writable: bool) -> Result<(), Failure> {
        if !line.is_connected {
            if !is_writable {
                return Ok(());
            }
            if let Some(error) = line.socket.take_error()? {
                return Err(error.into());
            }
            line.is_connected = true;
            self.ask(line)?;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = self.read(line, &mut buffer);
        self.buffer = buffer;
        outcome
    }

    fn read(&mut self, line: &mut Line, buffer: &mut [u8]) -> Result<(), Failure> {
        loop {
            let read = match line.socket.read(buffer) {
                Ok(0) => return Err("closed".into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let mut wire = std::mem::replace(&mut line.wire, Wire::new(line.transport));
            let mut outcome = Ok(());
            let fed = wire.feed(&buffer[..read], &mut |got| {
                if outcome.is_ok() {
                    outcome = self.got(got, line);
                }
            });
            line.wire = wire;
            fed?;
            outcome?;
            // The end of a connection, and whatever comes later, is another event.
            if read < buffer.len() {
                return Ok(());
            }
        }
    }

    fn got(&mut self, got: Got<'_>, line: &mut Line) -> Result<(), Failure> {
        self.changed = true;
        match got {
            Got::Event { id, data } => {
                if line.returns {
                    line.returns = false;
                    let took = self.clock.now().as_nanos() - line.begun.as_nanos();
                    self.returning.record(took);
                    self.returned += 1;
                } else {
                    self.deliveries.arrived(data.as_bytes(), &mut line.state);
                }
                self.saw(id);
            }
            Got::Position(id) if line.transport == Transport::Poll => {
                line.cursor.clear();
                line.cursor.push_str(id);
            }
            // From here on the connection is live.
            Got::Position(_) => self.count_open(line),
            Got::Session(token) if line.transport == Transport::Poll && self.job.sessions => {
                line.session = token.into()
            }
            Got::Session(_) => {}
            Got::Gap => self.gaps += 1,
            Got::Ping(payload) => {
                let mut pong = vec![0x8a, 0x80 | payload.len() as u8, 0, 0, 0, 0];
                pong.extend_from_slice(payload);
                send(&mut line.socket, &pong)?;
            }
            Got::Answered(events) => {
                if line.is_parked {
                    line.is_parked = false;
                    self.parked -= 1;
                    self.empty += u64::from(events == 0);
                }
                if events == 0 || !self.holds_back {
                    self.ask(line)?;
                }
            }
        }
        Ok(())
    }

    /// Keeps the cursors of the two newest events.
    fn saw(&mut self, id: &str) {
        if id == self.newest.1 {
            return;
        }
        let mut numbers = id.split('-').map_while(|number| number.parse().ok());
        let Some(position) = numbers.next().zip(numbers.next()) else { return };
        if position > self.newest.0 {
            let (_, older) = std::mem::replace(&mut self.newest, (position, id.into()));
            self.previous = older;
        }
    }

    /// Sends the request that opens a connection, or the next poll.
    fn ask(&mut self, line: &mut Line) -> Result<(), Failure> {
        let mut lines = String::new();
        for (name, value) in &self.job.headers {
            lines += &format!("{name}: {value}\r\n");
        }
        if !line.session.is_empty() {
            lines += &format!("Tautline-Session: {}\r\n", line.session);
        }
        let from = if line.cursor.is_empty() { String::new() } else { format!("&lastId={}", line.cursor) };
        let (path, query) = match line.transport {
            Transport::WebSocket => {
                lines += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
                // RFC 6455's own example. Nothing here depends on its being random.
                lines += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: tautline\r\n";
                ("ws", "")
            }
            Transport::Stream => {
                lines += "Accept: text/event-stream\r\n";
                ("events", "")
            }
            Transport::Poll => {
                lines += if self.job.json { "Accept: application/json\r\n" } else { "Accept: text/event-stream\r\n" };
                ("poll", "&timeout=55")
            }
        };
        let target = &self.job.targets[0].url;
        let (base, host) = (target.path().trim_end_matches('/'), target.authority());
        let request = format!("GET {base}/{path}?topic={TOPIC}{query}{from} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
        send(&mut line.socket, request.as_bytes())?;
        if line.transport == Transport::Poll && !line.cursor.is_empty() {
            line.is_parked = true;
            self.parked += 1;
            self.count_open(line);
        }
        self.changed = true;
        Ok(())
    }

    /// Sends the next poll of a connection that was answered and held back.
    fn poll_again(&mut self, at: usize) {
        let Some(mut line) = self.lines[at].take() else { return };
        let waits = line.transport == Transport::Poll && line.is_open && !line.is_parked;
        let outcome = if waits { self.ask(&mut line) } else { Ok(()) };
        self.lines[at] = Some(line);
        if let Err(error) = outcome {
            self.lose(at, error.to_string());
        }
    }

    fn count_open(&mut self, line: &mut Line) {
        if line.is_open {
            return;
        }
        line.is_open = true;
        self.open += 1;
        if !std::mem::replace(&mut line.is_counted, true) {
            self.opened += 1;
            self.opening.record(self.clock.now().as_nanos() - line.begun.as_nanos());
        }
    }

    fn lose(&mut self, at: usize, cause: String) {
        let Some(line) = self.lines[at].take() else { return };
        self.parked -= u64::from(line.is_parked);
        self.open -= u64::from(line.is_open);
        *if line.is_counted { &mut self.lost } else { &mut self.failed } += 1;
        *self.causes.entry(cause).or_insert(0) += 1;
        self.changed = true;
    }

    fn tell(&mut self) {
        let now = self.clock.now();
        let every = if self.changed { SOON } else { SAYING };
        if now >= self.said + every && !self.has_ended {
            self.report(Value::Null);
        }
    }

    fn end(&mut self) {
        let mut end = json!({
            "causes": self.causes,
            "opening": self.opening.to_json(),
            "returning": self.returning.to_json(),
            "empty": self.empty,
            "gaps": self.gaps,
        });
        self.deliveries.end(&mut end);
        self.report(end);
        self.has_ended = true;
    }

    fn report(&mut self, end: Value) {
        self.said = self.clock.now();
        self.changed = false;
        say(&json!({
            "opened": self.opened,
            "open": self.open,
            "failed": self.failed,
            "lost": self.lost,
            "received": self.deliveries.received(),
            "parked": self.parked,
            "returned": self.returned,
            "done": true,
            "end": end,
        }));
    }
}

/// EINPROGRESS of Linux.
const IN_PROGRESS: i32 = 115;

/// Sends a request or a Pong: all of it, as there is nothing else in the socket's buffer.
fn send(socket: &mut TcpStream, bytes: &[u8]) -> Result<(), Failure> {
    match socket.write(bytes)? {
        n if n == bytes.len() => Ok(()),
        _ => Err("no room for a request".into()),
    }
}
