//! What the application is told, and what it answers.

use super::context::Context;
use super::control::Control;
use super::publish::Published;
use crate::http::{self, RequestHead};
use crate::ws::Prepared;
use crate::{sse, ws};

/// The application: one value per worker, called on that worker's thread.
///
/// # Contract
///
/// - Every call is about one connection, that of the [`Context`], except [`started`](Self::started) and [`alarm`](Self::alarm).
/// - A request is answered through the context, at once or, after [`Context::hold`] or [`Context::read_body`], later. One that
///   returns without any of these is answered with 500: a client that waits for ever helps nobody.
/// - Each WebSocket and event stream ends with exactly one [`closed`](Self::closed); so does a held request that was not answered, and an
///   outgoing connection that could not be made.
/// - What a call does to its own connection happens at once; what it sends leaves when all that was read from this connection has
///   been handled, in one write. What it does to others is done in the order of the calls, behind all events of the turn; what
///   was published (by anyone) is delivered after that, in the log's order. See [the module](super) for a turn as a whole.
///
/// A panic in a handler ends its worker, and with it the [`Server`](super::Server): all workers stop.
pub trait Handler: Sized {
    /// What the application keeps with each connection. Eight bytes are free: they are in the figure that is measured.
    type State: Default;

    /// A request arrived. Its body, if any, has not: see [`Context::read_body`].
    fn request(&mut self, head: &RequestHead<'_>, cx: &mut Context<'_, Self::State>);

    /// The body that [`Context::read_body`] asked for, whole. Held to the limit of [`http::ServerConfig::body`].
    fn body(&mut self, body: &[u8], cx: &mut Context<'_, Self::State>) {
        let _ = body;
        // Without an answer the request gets a 500, like one that nobody answers.
        let _ = cx;
    }

    /// The connection is a WebSocket now, a server's or a client's; messages can be sent.
    fn opened(&mut self, cx: &mut Context<'_, Self::State>) {
        let _ = cx;
    }

    /// A whole message. It is lent out of the read buffer, unmasked where it lay.
    fn message(&mut self, message: Message<'_>, cx: &mut Context<'_, Self::State>);

    /// All other events of a WebSocket but its end: pings (already answered, by default), pongs with the heartbeat's round trip, pieces of
    /// messages with [`ws::Delivery::Chunks`].
    fn frame(&mut self, event: &ws::Event<'_>, cx: &mut Context<'_, Self::State>) {
        let _ = (event, cx);
    }

    /// An event of a stream that this side opened: see [`Control::connect_stream`].
    fn event(&mut self, event: &sse::EventSourceEvent<'_>, cx: &mut Context<'_, Self::State>) {
        let _ = (event, cx);
    }

    /// Everything that waited for the socket was written. Comes after a call of [`Context::notify_writable`], or at once on the next turn
    /// where nothing waits.
    fn writable(&mut self, cx: &mut Context<'_, Self::State>) {
        let _ = cx;
    }

    /// Messages of others were dropped, because the queue was full ([`SlowPolicy::Drop`](super::SlowPolicy::Drop)) or because this
    /// handler had begun a message in fragments and not finished it; now there is room to tell the peer.
    fn lost(&mut self, messages: u64, cx: &mut Context<'_, Self::State>) {
        let _ = (messages, cx);
    }

    /// Something was published to a topic that a held request is subscribed to. Answering ends the hold.
    fn publication(&mut self, publication: &Published, cx: &mut Context<'_, Self::State>) {
        let _ = (publication, cx);
    }

    /// The time of [`Context::set_timer`] or of [`Context::hold`] has come. A held request that is not answered now gets a 204.
    fn timer(&mut self, cx: &mut Context<'_, Self::State>) {
        let _ = cx;
    }

    /// The server is draining and it is this connection's turn. The default lets the loop do it: 1012 to a WebSocket, `retry:` and the end
    /// to a stream. A held request that is not answered now gets a 503 with `Retry-After`.
    fn drained(&mut self, cx: &mut Context<'_, Self::State>) {
        let _ = cx;
    }

    /// The connection ended. Nothing more can be sent.
    fn closed(&mut self, ended: &Ended<'_>, cx: &mut Context<'_, Self::State>) {
        let _ = (ended, cx);
    }

    /// The worker starts. The place to open outgoing connections and to set the first [alarm](Control::set_alarm).
    fn started(&mut self, control: &mut Control<'_, Self>) {
        let _ = control;
    }

    /// The time of [`Control::set_alarm`] has come.
    fn alarm(&mut self, control: &mut Control<'_, Self>) {
        let _ = control;
    }
}

/// A message as it was received, or to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// UTF-8.
    Text(&'a str),
    /// Any bytes.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The payload.
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The message as a frame, encoded once for many.
    pub fn prepare(&self) -> Prepared {
        match self {
            Self::Text(text) => Prepared::text(text),
            Self::Binary(bytes) => Prepared::binary(bytes),
        }
    }
}

impl From<Message<'_>> for Prepared {
    fn from(message: Message<'_>) -> Self {
        message.prepare()
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended<'a> {
    /// A WebSocket, with code and reason.
    WebSocket(ws::Closed<'a>),
    /// An event stream.
    Stream(http::Closed),
    /// A held request whose client went away.
    Held(http::Closed),
    /// An outgoing connection that became nothing.
    Connect(ConnectError),
    /// An event source that is over for good.
    Source(sse::Closed),
}

/// Why an outgoing connection was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// By the system's word.
    Io(std::io::ErrorKind),
    /// The handshake failed.
    Handshake(ws::HandshakeError),
    /// The worker stopped.
    Stopped,
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(kind) => write!(f, "could not connect: {kind}"),
            Self::Handshake(error) => write!(f, "handshake failed: {error}"),
            Self::Stopped => f.write_str("the worker stopped"),
        }
    }
}

impl std::error::Error for ConnectError {}
