//! The engine inside a loop of one's own: one thread, one `mio::Poll`, and on it WebSockets, event streams, a UDP service and a timer.
//!
//! ```text
//! cargo run --example embed -- --listen 127.0.0.1:9100 --udp 127.0.0.1:9101
//! ```
//!
//! Each datagram is a headline: it is published to all WebSockets at `/ws` and all event streams at `/events`, and the sender gets its
//! cursor back. What a WebSocket sends is published, too. Every few seconds the loop's own timer publishes how many are there.
//!
//! What an embedder needs is in [`Embedded::turn`]: wait no longer than [`Worker::timeout`] allows, look after your own events, and give
//! all of them to [`Worker::turn`], which passes over those that are not its own.

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tautline::http::{RequestHead, Response};
use tautline::net::{
    Accept, Config, Context, DrainConfig, Handle, Handler, ListenAddress, ListenConfig, Message, Worker,
};
use tautline::sse::Event;
use tautline::ws::CloseCode;

/// The token of our own source. The engine's all have the highest bit set ([`Worker::owns`]), so any small number will do.
const DATAGRAMS: Token = Token(0);

/// The topic that everyone is subscribed to.
const NEWS: &str = "news";

/// The longest headline. What is longer is cut by the system.
const LONGEST: usize = 1024;

/// The engine's side: who connects is subscribed.
pub struct News;

impl Handler for News {
    type State = ();

    fn request(&mut self, head: &RequestHead<'_>, cx: &mut Context<'_, ()>) {
        // A refusal is answered where it happens; what else fails is answered with 500 by the loop.
        let subscribes = match head.path() {
            "/ws" => cx.accept(head, &Accept::default()).is_ok(),
            "/events" => cx.open_stream(head, &[]).is_ok(),
            _ => cx.respond(&Response::new(404), b"").is_err(),
        };
        if subscribes && cx.subscribe(NEWS).is_err() {
            cx.close(CloseCode::TRY_AGAIN, "too many topics");
        }
    }

    fn message(&mut self, message: Message<'_>, cx: &mut Context<'_, ()>) {
        let published = match message {
            Message::Text(text) => cx.publish(NEWS, &Event::new(text)).is_ok(),
            Message::Binary(_) => false,
        };
        if !published {
            cx.close(CloseCode::UNSUPPORTED, "headlines are text");
        }
    }
}

/// The loop and all that is on it.
pub struct Embedded {
    poll: Poll,
    events: Events,
    worker: Worker<News>,
    datagrams: UdpSocket,
    /// Our own timer: how often, and when next.
    every: Duration,
    next: Instant,
    address: SocketAddr,
}

impl Embedded {
    /// Listens on both addresses; ports may be 0.
    pub fn new(listen: SocketAddr, udp: SocketAddr, every: Duration) -> Result<Self, Box<dyn Error>> {
        let poll = Poll::new()?;
        // The worker registers its sources with our poll, and nothing else: there is no thread of its own.
        let mut worker = Worker::new(&Config::default(), News, poll.registry())?;
        let ListenAddress::Tcp(address) = worker.listen(&ListenConfig::new(listen))? else {
            return Err("TCP was asked for".into());
        };
        let mut datagrams = UdpSocket::bind(udp)?;
        poll.registry().register(&mut datagrams, DATAGRAMS, Interest::READABLE)?;
        let events = Events::with_capacity(1024);
        Ok(Self { poll, events, worker, datagrams, every, next: Instant::now() + every, address })
    }

    /// Where HTTP is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where datagrams are taken.
    pub fn udp_address(&self) -> io::Result<SocketAddr> {
        self.datagrams.local_addr()
    }

    /// What other threads may hold: to publish, to reach connections, to shut down.
    pub fn handle(&self) -> Handle<News> {
        self.worker.handle()
    }

    /// Runs until the engine has drained or was stopped.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.worker.is_over() {
            self.turn()?;
        }
        Ok(())
    }

    /// One turn of the loop.
    fn turn(&mut self) -> io::Result<()> {
        // The nearer of two deadlines: ours, and the engine's, asked for right before waiting.
        let ours = self.next.saturating_duration_since(Instant::now());
        let timeout = self.worker.timeout().map_or(ours, |theirs| theirs.min(ours));
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e),
        }
        // Our own sources first or last, as you like. What we publish here is delivered in the engine's turn below.
        let has_datagrams = self.events.iter().any(|event| event.token() == DATAGRAMS);
        if has_datagrams {
            self.read_datagrams()?;
        }
        if Instant::now() >= self.next {
            self.next += self.every;
            let count = format!("{} connections", self.worker.len());
            // A full log refuses, and the next count comes soon.
            let _ = self.worker.handle().publish(NEWS, &Event::new(&count));
        }
        self.worker.turn(&self.events);
        Ok(())
    }

    /// The poll is edge-triggered: read until there is nothing more, as each source on it must.
    fn read_datagrams(&self) -> io::Result<()> {
        let handle = self.worker.handle();
        let mut buffer = [0; LONGEST];
        loop {
            let (n, from) = match self.datagrams.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                // An answer of ours that nobody was there to take (ICMP).
                Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionRefused) => continue,
                Err(e) => return Err(e),
            };
            let answer = match Event::from_utf8(&buffer[..n]) {
                Ok(event) => match handle.publish(NEWS, &event) {
                    Ok(cursor) => cursor.to_string(),
                    Err(e) => format!("refused: {e}"),
                },
                Err(e) => format!("refused: {e}"),
            };
            // UDP: what does not get there was not promised.
            let _ = self.datagrams.send_to(answer.as_bytes(), from);
        }
    }
}

#[allow(dead_code, reason = "a test runs the loop without it")]
fn main() -> ExitCode {
    let Err(error) = serve() else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

#[allow(dead_code, reason = "a test runs the loop without it")]
const HELP: &str = "\
embed [--listen 127.0.0.1:9100] [--udp 127.0.0.1:9101]
  --listen ADDRESS:PORT  where /events and /ws are served; port 0 takes any that is free
  --udp ADDRESS:PORT     where headlines are taken, one a datagram";

#[allow(dead_code, reason = "a test runs the loop without it")]
fn serve() -> Result<(), Box<dyn Error>> {
    use lexopt::prelude::*;
    let (mut listen, mut udp) = ("127.0.0.1:9100".parse()?, "127.0.0.1:9101".parse()?);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("listen") => listen = args.value()?.parse()?,
            Long("udp") => udp = args.value()?.parse()?,
            Long("help") | Short('h') => {
                println!("{HELP}");
                return Ok(());
            }
            _ => return Err(arg.unexpected().into()),
        }
    }
    let mut embedded = Embedded::new(listen, udp, Duration::from_secs(5))?;
    println!("http://{}/events and ws://{0}/ws, headlines by UDP to {}", embedded.address(), embedded.udp_address()?);
    // On a signal everyone is let go in order, and then the loop ends.
    let handle = embedded.handle();
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        for _ in &mut signals {
            handle.drain(DrainConfig { over: Duration::from_secs(2), ..DrainConfig::default() });
        }
    });
    Ok(embedded.run()?)
}
