//! Whoever publishes what the subscribers are to get.

use crate::Failure;
use crate::fleet::Target;
use crate::member::{STAMP_TEXT, TOPIC, stamp_text};
use crate::options::Options;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;
use tautline::http::client::{Client, ClientConfig, Event};
use tautline::http::url::Url;
use tautline::http::{Request, RequestHead};
use tautline::net::{Config, Connect, Context, Control, Ended, Handler, Message, PeerId, Server};
use tautline::time::Clock;
use tautline::ws::HandshakeConfig;
use tautline::{Input, Output};

/// How long connecting, or one answer, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection of the leader's own.
pub(crate) enum Publisher {
    /// Sends messages to a server that sends them to everybody.
    WebSocket { server: Server<Speaker>, peer: PeerId, heard: Arc<AtomicU64> },
    /// Posts them.
    Http(Box<Poster>),
}

impl Publisher {
    /// By WebSocket where the target is one, else by POST to `path`.
    pub(crate) fn connect(target: &Target, options: &Options) -> Result<Self, Failure> {
        if !target.url.scheme().is_websocket() {
            let headers = options.headers.clone();
            return Ok(Self::Http(Box::new(Poster::connect(target, &options.publish_path, headers)?)));
        }
        Self::websocket(target, options, Vec::new())
    }

    fn websocket(target: &Target, options: &Options, protocols: Vec<String>) -> Result<Self, Failure> {
        let (headers, size) = (options.headers.clone(), options.size);
        let connect = Connect { url: target.url.clone(), address: target.address, source: None };
        let (says, said) = mpsc::channel();
        let heard = Arc::new(AtomicU64::new(0));
        let handshake = Arc::new(HandshakeConfig { headers, protocols, ..HandshakeConfig::default() });
        let speaker = Speaker { connect, handshake, says, heard: heard.clone() };
        let mut config = Config::default();
        config.ws.limits.message = config.ws.limits.message.max(size as u64);
        config.ws.limits.frame = config.ws.limits.message;
        config.queue.limit = config.queue.limit.max(8 * size).max(64 << 20);
        let server = Server::start(&config, &[], Some(NonZeroUsize::MIN), move |_| speaker.clone())?;
        let peer = said.recv_timeout(PATIENCE).map_err(|_| "the publisher's connection was not opened in time")??;
        Ok(Self::WebSocket { server, peer, heard })
    }

    /// By WebSocket to a hub.
    pub(crate) fn of_hub(target: &Target, options: &Options) -> Result<Self, Failure> {
        let path = target.url.path().trim_end_matches('/');
        // Nobody publishes where it is subscribed.
        let url = Url::parse(&format!("ws://{}{path}/ws?topic=publisher", target.url.authority()))?;
        Self::websocket(&Target { url, address: target.address }, options, vec!["tautline".into()])
    }

    /// Sends an event that begins with `stamp` to the subscribers of a hub.
    pub(crate) fn publish_event(&mut self, stamp: &[u8; STAMP_TEXT], size: usize) -> Result<(), Failure> {
        let mut text = String::new();
        push_event(&mut text, stamp, size)?;
        self.publish(&text)
    }

    /// Sends events that were due at `stamps`, in one message.
    pub(crate) fn publish_events(&mut self, stamps: &[u64], size: usize) -> Result<(), Failure> {
        let mut text = String::new();
        stamps.iter().try_for_each(|stamp| push_event(&mut text, &stamp_text(*stamp), size))?;
        self.publish(&text)
    }

    /// Sends it. A POST waits for its answer.
    pub(crate) fn publish(&mut self, text: &str) -> Result<(), Failure> {
        match self {
            Self::WebSocket { server, peer, .. } => {
                Ok(server.handle().send_to(*peer, Message::Text(text).prepare())?)
            }
            Self::Http(poster) => poster.post(text),
        }
    }

    /// Deliveries to this connection: a broadcast goes to its sender, too.
    pub(crate) fn heard(&self) -> u64 {
        match self {
            Self::WebSocket { heard, .. } => heard.load(Ordering::Relaxed),
            Self::Http(_) => 0,
        }
    }
}

/// Appends the block that publishes an event of `size` bytes.
fn push_event(text: &mut String, stamp: &[u8; STAMP_TEXT], size: usize) -> Result<(), Failure> {
    *text += &format!("topic: {TOPIC}\ndata: {}", std::str::from_utf8(stamp)?);
    text.extend((STAMP_TEXT..size).map(|at| char::from(b'a' + (at % 26) as u8)));
    *text += "\n\n";
    Ok(())
}

/// The handler of the publishing WebSocket.
#[derive(Clone)]
pub(crate) struct Speaker {
    connect: Connect,
    handshake: Arc<HandshakeConfig>,
    says: Sender<Result<PeerId, String>>,
    heard: Arc<AtomicU64>,
}

impl Handler for Speaker {
    type State = ();

    fn request(&mut self, _: &RequestHead<'_>, _: &mut Context<'_, ()>) {}

    fn started(&mut self, control: &mut Control<'_, Self>) {
        if let Err(error) = control.connect(&self.connect, self.handshake.clone(), None, ()) {
            let _ = self.says.send(Err(error.to_string()));
        }
    }

    fn opened(&mut self, cx: &mut Context<'_, ()>) {
        let _ = self.says.send(Ok(cx.id()));
    }

    fn message(&mut self, _: Message<'_>, _: &mut Context<'_, ()>) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    fn closed(&mut self, ended: &Ended<'_>, _: &mut Context<'_, ()>) {
        let _ = self.says.send(Err(format!("the publisher's connection ended: {ended:?}")));
    }
}

/// POST requests on one connection, one after the other.
pub(crate) struct Poster {
    socket: TcpStream,
    http: Client,
    out: Output,
    clock: Clock,
    buffer: Vec<u8>,
    path: String,
    host: String,
    headers: Vec<(String, String)>,
}

impl Poster {
    fn connect(target: &Target, path: &str, headers: Vec<(String, String)>) -> Result<Self, Failure> {
        let socket = TcpStream::connect_timeout(&target.address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let clock = Clock::new();
        Ok(Self {
            socket,
            http: Client::new(Arc::new(ClientConfig::default()), clock.now()),
            out: Output::with_limit(128 << 20),
            clock,
            buffer: vec![0; 16 << 10],
            path: path.into(),
            host: target.url.authority().into(),
            headers,
        })
    }

    fn post(&mut self, text: &str) -> Result<(), Failure> {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let request = Request::new("POST", &self.path, &self.host).headers(&headers);
        self.http.send(&request, text.as_bytes(), &mut self.out, self.clock.now())?;
        self.out.write_to(&mut self.socket)?;
        self.socket.flush()?;
        loop {
            let read = match self.socket.read(&mut self.buffer) {
                Ok(0) => return Err("the server closed the connection on which is published".into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("no answer to POST {}: {error}", self.path).into()),
            };
            let mut input = Input::new(&mut self.buffer[..read]);
            while let Some(event) = self.http.next_event(&mut input, &mut self.out, self.clock.now())? {
                match event {
                    Event::Response(head) if !(200..300).contains(&head.status()) => {
                        return Err(format!("POST {} was answered with {}", self.path, head.status()).into());
                    }
                    Event::Closed(closed) => return Err(format!("POST {}: {closed:?}", self.path).into()),
                    Event::End => return Ok(()),
                    _ => {}
                }
            }
        }
    }
}
