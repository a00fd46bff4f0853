//! A command-line client: a WebSocket that sends the lines you type, or an event stream that comes back by itself.
//!
//! ```text
//! cargo run --example client ws://127.0.0.1:8080/echo [Name:value ...]        lines of standard input go out as text messages
//! cargo run --example client http://127.0.0.1:8080/clock [Name:value ...]     prints events until the server says 204
//! ```
//!
//! Further arguments are header fields of the request. `wss` and `https` need TLS, which is not this example's matter.

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, ErrorKind, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;
use std::{env, error, io, thread};

use tautline::http::url::Url;
use tautline::sse::{EventSource, EventSourceConfig, EventSourceEvent};
use tautline::time::Clock;
use tautline::ws::{self, ClientHandshake, CloseCode, Connection, HandshakeConfig, HandshakeEvent};
use tautline::{Buffers, Input, Output};

/// How soon a typed line is noticed while the socket is silent: one thread waits for both in turn.
const TICK: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn error::Error>> {
    let mut arguments = env::args().skip(1);
    let url = Url::parse(&arguments.next().ok_or("usage: client URL [Name:value ...]")?)?;
    let headers: Option<Vec<_>> = arguments
        .map(|field| field.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
        .collect();
    let headers = headers.ok_or("a header is written Name:value")?;
    if url.scheme().is_secure() {
        return Err("TLS is not part of this example; connect to ws:// or http://".into());
    }
    if url.scheme().is_websocket() { web_socket(&url, headers) } else { event_stream(url, headers) }
}

fn web_socket(url: &Url, headers: Vec<(String, String)>) -> Result<(), Box<dyn error::Error>> {
    let (clock, typed) = (Clock::new(), typed_lines());
    let mut socket = connect(url)?;
    let (mut buffer, mut buffers, mut out) = (vec![0; 64 << 10], Buffers::new(), Output::new());
    let config = Arc::new(HandshakeConfig { headers, ..HandshakeConfig::default() }.check()?);
    let mut handshake = ClientHandshake::new(url, config, seed(), clock.now())?;
    handshake.start(&mut out)?;
    let mut connection: Option<Connection> = None;
    loop {
        out.write_to(&mut socket)?;
        let read = read(&mut socket, &mut buffer)?;
        let now = clock.now();
        let mut input = Input::with_buffers(&mut buffer[..read.unwrap_or(0)], &mut buffers);
        if connection.is_none() {
            handshake.handle_timeout(now, &mut out);
            if read == Some(0) {
                handshake.handle_eof(now);
            }
            while let Some(event) = handshake.next_event(&mut input, &mut out, now)? {
                match event {
                    HandshakeEvent::Open(opened) => {
                        eprintln!("open, subprotocol {}", opened.protocol().unwrap_or("none"));
                        // What the server sent behind its answer is still in the input.
                        connection = Some(Connection::client(Arc::new(ws::Config::default()), seed(), now));
                    }
                    HandshakeEvent::Refused(refusal) => eprintln!("refused with status {}", refusal.status()),
                    HandshakeEvent::Body(text) => eprint!("{}", String::from_utf8_lossy(text)),
                    _ => {}
                }
            }
        }
        let Some(connection) = &mut connection else { continue };
        connection.handle_timeout(now, &mut out);
        if read == Some(0) {
            connection.handle_eof(now);
        }
        loop {
            match connection.next_event(&mut input, &mut out, now) {
                Ok(Some(ws::Event::Text(text))) => println!("{text}"),
                Ok(Some(ws::Event::Binary(bytes))) => println!("{} bytes", bytes.len()),
                Ok(Some(ws::Event::Pong { round_trip: Some(time), .. })) => eprintln!("round trip {time:?}"),
                Ok(Some(ws::Event::Closed(closed))) => {
                    eprintln!("closed: {} {} ({:?})", closed.code, closed.reason, closed.ending);
                    // Best effort: the server may be gone.
                    let _ = out.write_to(&mut socket);
                    return Ok(());
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(cause) => eprintln!("the server broke a rule: {cause}"),
            }
        }
        loop {
            match typed.try_recv() {
                // A Close frame may have been sent: then `Closed` is on its way, and the line is lost.
                Ok(line) => _ = connection.send_text(&line, &mut out),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    _ = connection.close(Some(CloseCode::NORMAL), "end of input", now, &mut out);
                    break;
                }
            }
        }
    }
}

fn event_stream(url: Url, headers: Vec<(String, String)>) -> Result<(), Box<dyn error::Error>> {
    let clock = Clock::new();
    let (mut buffer, mut buffers, mut out) = (vec![0; 64 << 10], Buffers::new(), Output::new());
    let config = Arc::new(EventSourceConfig { headers, ..EventSourceConfig::default() });
    let mut source = EventSource::new(config, url, u64::from_le_bytes(*seed().first_chunk().ok_or("eight bytes")?));
    let mut socket: Option<TcpStream> = None;
    loop {
        let read = match &mut socket {
            // A reset ends a stream like anything else.
            Some(socket) => out.write_to(socket).and_then(|()| read(socket, &mut buffer)).unwrap_or(Some(0)),
            None => {
                let wait = source.poll_timeout().map(|deadline| deadline.saturating_duration_since(clock.now()));
                thread::sleep(wait.unwrap_or_default());
                None
            }
        };
        let now = clock.now();
        source.handle_timeout(now, &mut out);
        let mut input = Input::with_buffers(&mut buffer[..read.unwrap_or(0)], &mut buffers);
        if read == Some(0) {
            source.handle_eof(now);
        }
        while let Some(event) = source.next_event(&mut input, &mut out, now) {
            match event {
                EventSourceEvent::Connect => {
                    out.clear();
                    socket = connect(source.url()).ok();
                    match socket {
                        Some(_) => source.connected(&mut out, clock.now())?,
                        None => source.connect_failed(clock.now()),
                    }
                }
                EventSourceEvent::Open => eprintln!("open"),
                EventSourceEvent::Message(event) => println!("{}: {}", event.event, event.data),
                EventSourceEvent::Disconnected { cause, wait } => {
                    eprintln!("{cause}; back in {wait:.1?} from id {:?}", source.last_event_id());
                    socket = None;
                }
                EventSourceEvent::Closed(cause) => {
                    eprintln!("closed: {cause}");
                    return Ok(());
                }
            }
        }
    }
}

fn connect(url: &Url) -> io::Result<TcpStream> {
    let socket = TcpStream::connect((url.host(), url.port()))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(TICK))?;
    Ok(socket)
}

/// Reads once: `Some(0)` at the end of the stream, `None` where nothing came for a tick. A tick is far shorter than any deadline
/// of the engine's, so deadlines need no wait of their own here.
fn read(socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match socket.read(buffer) {
        Ok(n) => Ok(Some(n)),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The lines of standard input, read by a thread of their own.
fn typed_lines() -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    lines
}

/// Sixteen random bytes from the standard library's one source of them: hash maps are keyed from the system's generator.
fn seed() -> ws::Seed {
    let half = || u128::from(RandomState::new().hash_one(0));
    (half() << 64 | half()).to_le_bytes()
}
