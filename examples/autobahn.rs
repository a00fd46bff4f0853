//! A client for the fuzzing server of the Autobahn testsuite: asks how many cases there are, runs each on a connection of its own,
//! where every message goes back as it came, and has the report written. `tests/autobahn/run` starts both.
//!
//! ```text
//! cargo run --release --example autobahn -- --url ws://127.0.0.1:9001 --agent tautline
//! ```
//!
//! The engine does no I/O, so all of it is here: [`Client::converse`] is a whole WebSocket client on plain `std::net`, from the
//! handshake to the end of the connection, which waits no longer than the engine's next deadline.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lexopt::prelude::*;
use tautline::http::url::Url;
use tautline::time::Clock;
use tautline::ws::{
    self, ClientHandshake, CloseCode, Connection, DeflateConfig, HandshakeConfig, HandshakeEvent, Limits, SendError,
    Takeover,
};
use tautline::{Buffers, Input, Instant, Output};

const HELP: &str = "autobahn [--url ws://127.0.0.1:9001] [--agent tautline]";

/// Bytes of the testsuite's longest message (cases 9.1.6 and 9.2.6).
const MESSAGE: usize = 16 << 20;

/// Frames of its most fragmented message: 4 MiB in frames of 64 bytes, and an empty one to end it (cases 9.3.1 and 9.4.1).
const FRAGMENTS: u32 = (64 << 10) + 1;

/// With so much to write, write before going on.
const FLUSH: usize = 64 << 10;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let problem = run().map_err(|error| eprintln!("error: {error}"));
    problem.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn run() -> Result<(), Failure> {
    let (mut server, mut agent) = ("ws://127.0.0.1:9001".to_owned(), "tautline".to_owned());
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("help") | Short('h') => return Ok(writeln!(io::stdout(), "{HELP}")?),
            Long("url") => server = args.value()?.parse()?,
            Long("agent") => agent = args.value()?.parse()?,
            _ => return Err(arg.unexpected().into()),
        }
    }
    let client = Client::new()?;
    let mut count = String::new();
    client.converse(&format!("{server}/getCaseCount"), |event, _, _| {
        if let ws::Event::Text(text) = event {
            text.clone_into(&mut count);
        }
        Ok(())
    })?;
    let count: u32 = count.parse().map_err(|_| format!("the server has {count:?} cases"))?;
    for case in 1..=count {
        // What goes wrong in a case is for the server's report to tell; only what never became a WebSocket is told here.
        if let Err(error) = client.converse(&format!("{server}/runCase?case={case}&agent={agent}"), echo) {
            eprintln!("case {case} of {count}: {error}");
        }
    }
    client.converse(&format!("{server}/updateReports?agent={agent}"), |_, _, _| Ok(()))?;
    Ok(writeln!(io::stdout(), "{count} cases")?)
}

/// Each message back to its sender, as what it is.
fn echo(event: ws::Event<'_>, connection: &mut Connection, out: &mut Output) -> Result<(), SendError> {
    match event {
        ws::Event::Text(text) => connection.send_text(text, out),
        ws::Event::Binary(bytes) => connection.send_binary(bytes, out),
        // Pings and Close frames were answered by the engine.
        _ => Ok(()),
    }
}

/// What all connections share.
struct Client {
    clock: Clock,
    handshake: Arc<HandshakeConfig>,
    connection: Arc<ws::Config>,
}

impl Client {
    fn new() -> Result<Self, Failure> {
        let (message, fragments) = (MESSAGE as u64, FRAGMENTS);
        let limits = Limits { message, frame: message, fragments, ..Limits::DEFAULT };
        // Cases 12 and 13 are about compression, so short messages are compressed, too, and with context where the case allows it.
        let deflate = DeflateConfig {
            threshold: 0,
            server_takeover: Takeover::Kept,
            client_takeover: Takeover::Kept,
            ..DeflateConfig::DEFAULT
        };
        Ok(Self {
            clock: Clock::new(),
            handshake: Arc::new(HandshakeConfig { deflate: Some(deflate), ..HandshakeConfig::default() }.check()?),
            connection: Arc::new(ws::Config { limits, ..ws::Config::DEFAULT }.check()?),
        })
    }

    /// Opens a WebSocket, hands its events to `act`, which may send, and returns when it has ended, however it did.
    fn converse(
        &self,
        url: &str,
        mut act: impl FnMut(ws::Event<'_>, &mut Connection, &mut Output) -> Result<(), SendError>,
    ) -> Result<(), Failure> {
        let url = Url::parse(url)?;
        let mut socket = TcpStream::connect((url.host(), url.port()))?;
        socket.set_nodelay(true)?;
        let mut buffer = vec![0; 64 << 10];
        // Room for the longest message beside what may wait for its write.
        let (mut buffers, mut out) = (Buffers::keeping(MESSAGE), Output::with_limit(MESSAGE + 2 * FLUSH));
        let mut handshake = ClientHandshake::new(&url, Arc::clone(&self.handshake), seed(), self.clock.now())?;
        handshake.start(&mut out)?;
        write(&mut out, &mut socket);
        let mut connection: Option<Connection> = None;
        loop {
            let deadline = connection.as_ref().map_or_else(|| handshake.poll_timeout(), Connection::poll_timeout);
            let read = wait(&mut socket, &mut buffer, deadline, self.clock.now());
            let now = self.clock.now();
            let mut input = Input::with_buffers(&mut buffer[..read.unwrap_or(0)], &mut buffers);
            if connection.is_none() {
                if read == Some(0) {
                    handshake.handle_eof(now);
                }
                while let Some(event) = handshake.next_event(&mut input, &mut out, now)? {
                    if let HandshakeEvent::Open(opened) = event {
                        // What the server sent behind its answer is still in the input.
                        let plain = Connection::client(Arc::clone(&self.connection), seed(), now);
                        connection = Some(match opened.deflate() {
                            Some(deflate) => plain.with_deflate(deflate),
                            None => plain,
                        });
                    }
                }
            }
            let Some(connection) = &mut connection else { continue };
            let mut step = |connection: &mut Connection, input: &mut Input<'_>, out: &mut Output| {
                let sent = match connection.next_event(input, out, now) {
                    Ok(Some(event)) => act(event, connection, out),
                    Ok(None) => return false,
                    // The Close frame that says so is in the output; `Closed` comes next.
                    Err(_) => Ok(()),
                };
                if sent.is_err() {
                    // It does not fit even now that the rest was written. A second Close frame would be refused, too.
                    _ = connection.close(Some(CloseCode::TOO_BIG), "too big to be sent back", now, out);
                }
                true
            };
            while step(connection, &mut input, &mut out) {
                // Many messages in one read: their answers leave before they fill the output.
                if out.len() >= FLUSH {
                    write(&mut out, &mut socket);
                }
            }
            // Behind what was read: a pong among it is life.
            match read {
                Some(0) => connection.handle_eof(now),
                _ => connection.handle_timeout(now, &mut out),
            }
            // Whatever ended just now is reported without input.
            while step(connection, &mut Input::new(&mut []), &mut out) {}
            drop(input);
            write(&mut out, &mut socket);
            if connection.is_ended() {
                linger(&mut socket, &mut buffer);
                return Ok(());
            }
        }
    }
}

/// Writes all of it, or nothing more: a server that is gone shows at the next read.
fn write(out: &mut Output, socket: &mut TcpStream) {
    if out.write_to(socket).is_err() {
        out.clear();
    }
}

/// Reads once, until the deadline at most: `None` says that it has come, `Some(0)` that the stream has ended, by a reset or not.
fn wait(socket: &mut TcpStream, buffer: &mut [u8], deadline: Option<Instant>, now: Instant) -> Option<usize> {
    // A timeout of zero would mean none.
    let timeout = deadline.map(|deadline| deadline.saturating_duration_since(now).max(Duration::from_millis(1)));
    match socket.set_read_timeout(timeout).and_then(|()| socket.read(buffer)) {
        Ok(n) => Some(n),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => None,
        Err(_) => Some(0),
    }
}

/// The server closes the TCP connection first (RFC 6455 section 7.1.1): says that nothing more comes, and waits for that a while.
fn linger(socket: &mut TcpStream, buffer: &mut [u8]) {
    if socket.shutdown(Shutdown::Write).is_err() || socket.set_read_timeout(Some(Duration::from_secs(1))).is_err() {
        return;
    }
    for _ in 0..64 {
        if !matches!(socket.read(buffer), Ok(n) if n > 0) {
            return;
        }
    }
}

/// Sixteen random bytes from the standard library's one source of them: hash maps are keyed from the system's generator.
fn seed() -> ws::Seed {
    let half = || u128::from(RandomState::new().hash_one(0));
    (half() << 64 | half()).to_le_bytes()
}
