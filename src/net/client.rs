//! Outgoing connections: WebSockets until they are open, and event sources, which come back by themselves.

use super::core::Random;
use super::handler::{ConnectError, Ended};
use crate::Input;
use crate::http::url::Url;
use crate::output::Output;
use crate::sse::{EventSource, EventSourceEvent};
use crate::time::{Instant, earlier};
use crate::ws::{self, ClientHandshake, Connection, HandshakeConfig, HandshakeEvent};
use std::boxed::Box;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Where an outgoing connection goes. Name resolution is the caller's: it blocks, and a loop must not.
#[derive(Clone, Debug)]
pub struct Connect {
    /// What is asked for.
    pub url: Url,
    /// The address that the URL's host stands for, or that of a proxy.
    pub address: SocketAddr,
    /// The address to connect from, where the system is not to choose: one address has some 28,000 ports towards one server.
    pub source: Option<IpAddr>,
}

/// How long the connection of an event source may take to stand: the system's own limit is some two minutes.
const CONNECTING: Duration = Duration::from_secs(10);

/// An outgoing connection that is not a WebSocket, or not yet.
pub(crate) struct ClientLine {
    pub(crate) to: SocketAddr,
    pub(crate) from: Option<IpAddr>,
    pub(crate) connected: bool,
    /// Until then the connection of an event source must stand. A handshake has a deadline of its own.
    connecting: Option<Instant>,
    kind: Kind,
}

enum Kind {
    Handshake { handshake: ClientHandshake, config: Arc<ws::Config>, failed: Option<ConnectError> },
    Source(Box<EventSource>),
}

/// What feeding came to.
pub(crate) enum ClientStep<'i> {
    Dry,
    Opened(Connection),
    /// A connection is wanted, a new one instead of any there was.
    Connect,
    Event(EventSourceEvent<'i>),
    Failed(Ended<'static>),
}

impl ClientLine {
    pub(crate) fn handshake(
        connect: &Connect,
        handshake: Arc<HandshakeConfig>,
        config: Arc<ws::Config>,
        random: &mut Random,
        now: Instant,
    ) -> Result<Self, ws::HandshakeConfigError> {
        let handshake = ClientHandshake::new(&connect.url, handshake, random.seed(), now)?;
        let kind = Kind::Handshake { handshake, config, failed: None };
        Ok(Self { to: connect.address, from: connect.source, connected: false, connecting: None, kind })
    }

    pub(crate) fn source(connect: &Connect, source: EventSource) -> Self {
        Self {
            to: connect.address,
            from: connect.source,
            connected: false,
            connecting: None,
            kind: Kind::Source(Box::new(source)),
        }
    }

    /// Whether it says itself when a connection is to be made.
    pub(crate) fn connects_by_itself(&self) -> bool {
        matches!(self.kind, Kind::Source(_))
    }

    /// The transport connection stands, or could not be made.
    pub(crate) fn connected(&mut self, outcome: io::Result<()>, out: &mut Output, now: Instant) {
        self.connected = outcome.is_ok();
        self.connecting = None;
        match (&mut self.kind, outcome) {
            (Kind::Handshake { handshake, .. }, Ok(())) => {
                // It fits: nothing was written before.
                let _ = handshake.start(out);
            }
            (Kind::Handshake { failed, .. }, Err(e)) => *failed = Some(ConnectError::Io(e.kind())),
            (Kind::Source(source), Ok(())) => {
                out.clear();
                // A request that cannot be written is reported by the source itself.
                let _ = source.connected(out, now);
            }
            (Kind::Source(source), Err(_)) => source.connect_failed(now),
        }
    }

    pub(crate) fn step<'i>(
        &mut self,
        input: &'i mut Input<'_>,
        out: &mut Output,
        now: Instant,
        random: &mut Random,
    ) -> ClientStep<'i> {
        match &mut self.kind {
            Kind::Handshake { failed: Some(error), .. } => ClientStep::Failed(Ended::Connect(*error)),
            Kind::Handshake { handshake, config, .. } => loop {
                match handshake.next_event(input, out, now) {
                    Ok(Some(HandshakeEvent::Open(_opened))) => {
                        let connection = Connection::client(config.clone(), random.seed(), now);
                        #[cfg(feature = "deflate")]
                        let connection = connection.with_deflate(_opened.deflate());
                        return ClientStep::Opened(connection);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return ClientStep::Dry,
                    Err(error) => return ClientStep::Failed(Ended::Connect(ConnectError::Handshake(error))),
                }
            },
            Kind::Source(source) => match source.next_event(input, out, now) {
                Some(EventSourceEvent::Connect) => {
                    self.connected = false;
                    self.connecting = Some(now + CONNECTING);
                    ClientStep::Connect
                }
                Some(EventSourceEvent::Closed(closed)) => ClientStep::Failed(Ended::Source(closed)),
                Some(event) => ClientStep::Event(event),
                None => ClientStep::Dry,
            },
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match &self.kind {
            Kind::Handshake { handshake, .. } => handshake.poll_timeout(),
            Kind::Source(source) => earlier(source.poll_timeout(), self.connecting),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Output) {
        match &mut self.kind {
            // Before the connection stands nothing may be written, so only the deadline counts.
            Kind::Handshake { handshake, failed, .. } if !self.connected => {
                if handshake.poll_timeout().is_some_and(|at| at <= now) {
                    failed.get_or_insert(ConnectError::Io(io::ErrorKind::TimedOut));
                }
            }
            Kind::Handshake { handshake, .. } => handshake.handle_timeout(now, out),
            Kind::Source(source) => {
                if self.connecting.take_if(|until| *until <= now).is_some() {
                    source.connect_failed(now);
                }
                source.handle_timeout(now, out);
            }
        }
    }

    pub(crate) fn handle_eof(&mut self, now: Instant) {
        match &mut self.kind {
            Kind::Handshake { handshake, .. } => handshake.handle_eof(now),
            Kind::Source(source) => source.handle_eof(now),
        }
    }

    /// The application gives it up.
    pub(crate) fn close(&mut self) {
        self.give_up(ConnectError::Io(io::ErrorKind::ConnectionAborted));
    }

    /// Ends it, for `cause` where it is still to be made.
    pub(crate) fn give_up(&mut self, cause: ConnectError) {
        match &mut self.kind {
            Kind::Handshake { failed, .. } => *failed = Some(cause),
            Kind::Source(source) => source.close(),
        }
    }
}
