//! A command-line client: a WebSocket that sends the lines you type, or an event stream that comes back by itself.
//!
//! ```text
//! cargo run --example client ws://127.0.0.1:8080/echo [Name:value ...]        lines of standard input go out as text messages
//! cargo run --example client http://127.0.0.1:8080/clock [Name:value ...]     prints events until the server says 204
//! ```
//!
//! Further arguments are header fields of the request (`Sec-WebSocket-Protocol:` offers subprotocols). `wss` and `https` need TLS, which is not this example's matter.

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;
use std::{env, error, io, thread};

use tautline::http::url::Url;
use tautline::sse::{EventSource, EventSourceConfig, EventSourceEvent};
use tautline::time::Clock;
use tautline::ws::{self, ClientHandshake, CloseCode, Connection, HandshakeConfig, HandshakeEvent};
use tautline::{Buffers, Input, Instant, Output};

/// With so much to write, write before taking more lines.
const FLUSH: usize = 64 << 10;

/// How soon a typed line is noticed while the socket is silent: one thread waits for both in turn.
const TICK: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn error::Error>> {
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
    // The one header of the handshake that is the caller's to choose.
    let (protocols, headers): (Vec<_>, Vec<_>) =
        headers.into_iter().partition(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-protocol"));
    let protocols =
        protocols.iter().flat_map(|(_, names)| names.split(',')).map(|name| name.trim().to_owned()).collect();
    let config = Arc::new(HandshakeConfig { headers, protocols, ..HandshakeConfig::default() }.check()?);
    let mut handshake = ClientHandshake::new(url, config, seed(), clock.now())?;
    handshake.start(&mut out)?;
    let mut connection: Option<Connection> = None;
    loop {
        // A reset ends a connection like anything else.
        let read = out.write_to(&mut socket).and_then(|()| read_once(&mut socket, &mut buffer)).unwrap_or(Some(0));
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
        print_events(connection, &mut input, &mut out, now);
        match read {
            Some(0) => connection.handle_eof(now),
            _ => connection.handle_timeout(now, &mut out),
        }
        print_events(connection, &mut Input::new(&mut []), &mut out, now);
        drop(input);
        if connection.is_ended() {
            // Best effort, as the server may be gone: our half of the close handshake, then its end of the line.
            if out.write_to(&mut socket).is_ok() && socket.shutdown(Shutdown::Write).is_ok() {
                for _ in 0..20 {
                    if matches!(read_once(&mut socket, &mut buffer), Ok(Some(0)) | Err(_)) {
                        break;
                    }
                }
            }
            return Ok(());
        }
        // As many typed lines as fit; the next ones wait until these are written.
        while out.len() < FLUSH {
            match typed.try_recv() {
                Ok(line) => match connection.send_text(&line, &mut out) {
                    Ok(()) | Err(ws::SendError::Closed) => {}
                    Err(cause) => eprintln!("a line of {} bytes was not sent: {cause}", line.len()),
                },
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    _ = connection.close(Some(CloseCode::NORMAL), "end of input", now, &mut out);
                    break;
                }
            }
        }
    }
}

fn print_events(connection: &mut Connection, input: &mut Input<'_>, out: &mut Output, now: Instant) {
    loop {
        match connection.next_event(input, out, now) {
            Ok(Some(ws::Event::Text(text))) => println!("{text}"),
            Ok(Some(ws::Event::Binary(bytes))) => println!("{} bytes", bytes.len()),
            Ok(Some(ws::Event::Pong { round_trip: Some(time), .. })) => eprintln!("round trip {time:?}"),
            Ok(Some(ws::Event::Closed(closed))) => {
                let reason = if closed.reason.is_empty() { String::new() } else { format!(" {}", closed.reason) };
                eprintln!("closed: {}{reason} ({:?})", closed.code, closed.ending);
            }
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(cause) => eprintln!("the server broke a rule: {cause}"),
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
            Some(socket) => out.write_to(socket).and_then(|()| read_once(socket, &mut buffer)).unwrap_or(Some(0)),
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
fn read_once(socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
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
