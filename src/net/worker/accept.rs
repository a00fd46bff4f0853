//! New connections, incoming and outgoing.

use super::{ACCEPT_REST, Worker};
use crate::net::counters::Transport;
use crate::net::handler::Handler;
use crate::net::listener::Listener;
use crate::net::peer::{HttpLine, Peer, PeerId, Wire, flag};
use crate::time::Instant;
use mio::Interest;
use socket2::{Domain, SockAddr, Socket, Type};
use std::boxed::Box;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use super::Cause;

/// A listener and what is known of it.
pub(super) struct Acceptor {
    listener: Listener,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The kernel has none for us, until the next edge.
    Drained,
    /// There may be more.
    Ready,
    /// There may be more, but not before then.
    Resting(Instant),
}

impl Acceptor {
    pub(super) fn new(listener: Listener) -> Self {
        // Whatever came between `listen` and now.
        Self { listener, state: State::Ready }
    }

    pub(super) fn is_ready(&mut self) {
        if self.state == State::Drained {
            self.state = State::Ready;
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Drained => None,
            State::Ready => Some(Instant::ORIGIN),
            State::Resting(until) => Some(until),
        }
    }
}

impl<H: Handler> Worker<H> {
    pub(super) fn accept(&mut self) {
        for number in 0..self.acceptors.len() {
            self.accept_from(number);
        }
    }

    fn accept_from(&mut self, number: usize) {
        for _ in 0..self.core.settings.turn.accepts {
            let now = self.core.now;
            // A handler may have stopped the worker.
            let Some(acceptor) = self.acceptors.get_mut(number) else { return };
            match acceptor.state {
                State::Drained => return,
                State::Resting(until) if now < until => return,
                _ => acceptor.state = State::Ready,
            }
            if let Some(rate) = &self.accept_rate
                && let Err(until) = rate.check(now)
            {
                acceptor.state = State::Resting(until);
                return;
            }
            match acceptor.listener.accept() {
                Ok((socket, address)) => {
                    if let Some(rate) = &mut self.accept_rate {
                        // There is one: it was asked for just now.
                        let _ = rate.take(now);
                    }
                    self.core.counters.accepted.add(1);
                    self.admit(socket, address);
                    self.tick();
                }
                Err(e) => match e.kind() {
                    ErrorKind::WouldBlock => acceptor.state = State::Drained,
                    // One connection that is gone already (accept(2)): the next may be there.
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset => {}
                    _ => {
                        acceptor.state = State::Resting(now + ACCEPT_REST);
                        self.core.counters.accept_errors.add(1);
                    }
                },
            }
        }
    }

    /// Takes a new connection in, and reads it at once: most clients have sent their request by now.
    fn admit(&mut self, socket: Socket, address: Option<SocketAddr>) {
        let socket_address = address.map(|address| address.ip());
        let settings = &self.core.settings;
        if settings.peers.most.is_some_and(|most| self.peers.len() >= most as usize) {
            self.refuse();
            return;
        }
        let Ok(admitted) = self.core.doors.admit(socket_address, &settings.proxies) else {
            self.refuse();
            return;
        };
        let now = self.core.now;
        let wire = Wire::Http(Box::new(HttpLine::new(&self.core.settings.http, now)));
        let index = self.peers.insert_with(|_, generation| {
            let mut peer = Peer::new(wire, socket, generation, now);
            peer.meta.set(flag::READABLE);
            peer
        });
        self.core.doors.enter(index, admitted);
        self.core.counters.opened(Transport::Http);
        self.readable(index);
        // Registering behind the first read spares an event for what was read; what came since is reported all the same.
        if let Some(peer) = self.peers.get_mut(index)
            && !peer.meta.has(flag::REGISTERED)
        {
            self.register(index, Interest::READABLE);
            self.set_timer(index);
        }
    }

    /// Counts a connection that is closed at once.
    fn refuse(&self) {
        self.core.counters.refused.add(1);
        self.core.counters.gone.add(1);
    }

    /// Makes the outgoing connections that were asked for.
    pub(super) fn connect(&mut self) {
        for id in std::mem::take(&mut self.connects) {
            let PeerId { index, generation, .. } = id;
            let Some(peer) = self.peers.get_if(index, generation) else { continue };
            let Wire::Client(line) = &peer.wire else { continue };
            match open(line.to, line.from) {
                Ok(socket) => {
                    peer.socket = Some(socket);
                    self.await_writable(index);
                    self.set_timer(index);
                }
                Err(e) => self.serve(index, Cause::Connected(Err(e))),
            }
        }
    }
}

/// Begins a connection.
fn open(to: SocketAddr, from: Option<IpAddr>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(from) = from {
        socket.bind(&SockAddr::from(SocketAddr::new(from, 0)))?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => Ok(socket),
        Err(e) if e.kind() == ErrorKind::WouldBlock || e.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
        Err(e) => Err(e),
    }
}
