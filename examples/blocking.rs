//! A WebSocket echo and an event-stream clock on plain `std::net`, one thread per connection.
//!
//! ```text
//! cargo run --example blocking [ADDRESS]        listens on 127.0.0.1:8080 by default
//! cargo run --example client ws://127.0.0.1:8080/echo
//! curl -N http://127.0.0.1:8080/clock
//! ```
//!
//! The engine does no I/O, so all of it is here: `serve` reads what the socket has, feeds it, writes what came of it, and waits
//! no longer than the engine's next deadline.

use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use std::{env, io, thread};

use tautline::http::server::Event as Http;
use tautline::http::upgrade::{Upgrade, UpgradeConfig};
use tautline::http::{RequestHead, Response, ResponseError, Server, ServerConfig};
use tautline::sse::{self, Opened, ServerStream, ServerStreamConfig, Subscription};
use tautline::time::Clock;
use tautline::ws::{self, Connection};
use tautline::{Buffers, Input, Instant, Output};

const PAGE: &str = "<!doctype html><meta charset=utf-8><title>tautline</title><pre id=o></pre><script>
const say = text => o.textContent += text + '\\n'
const socket = new WebSocket('/echo'); socket.onopen = () => socket.send('hello'); socket.onmessage = e => say('echo: ' + e.data)
new EventSource('/clock').onmessage = e => say('clock: ' + e.data)
</script>";

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080"))?;
    let address = listener.local_addr()?;
    println!("ws://{address}/echo echoes, http://{address}/clock ticks, http://{address}/ shows both");
    let clock = Clock::new();
    loop {
        // A client that is gone before it is accepted, or too many open files, ends that connection, not the server.
        match listener.accept() {
            Ok((socket, _)) => drop(thread::spawn(move || serve(socket, clock))),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// With so much to write, write before going on.
const FLUSH: usize = 64 << 10;

/// What a connection speaks at present.
enum Line {
    Http(Server, Option<Ticking>),
    Echo(Connection),
    Over,
}

/// The event stream that a connection is being answered with.
struct Ticking {
    stream: ServerStream,
    second: u64,
    next: Instant,
}

fn serve(mut socket: TcpStream, clock: Clock) -> io::Result<()> {
    let (mut buffer, mut buffers, mut out) = (vec![0; 64 << 10], Buffers::new(), Output::new());
    let mut line = Line::Http(Server::new(Arc::new(ServerConfig::default()), clock.now()), None);
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(Duration::from_secs(5)))?;
    loop {
        let read = wait(&mut socket, &mut buffer, line.poll_timeout(), clock.now())?;
        let now = clock.now();
        let mut input = Input::with_buffers(&mut buffer[..read.unwrap_or(0)], &mut buffers);
        while line.step(&mut input, &mut out, now) {
            // Many requests or messages in one read: their answers leave before they fill the output.
            if out.len() >= FLUSH {
                out.write_to(&mut socket)?;
            }
        }
        // Behind what was read: a pong among it is life.
        match read {
            Some(0) => line.handle_eof(now),
            _ => line.handle_timeout(now, &mut out),
        }
        // Whatever ended just now is reported without input.
        while line.step(&mut Input::new(&mut []), &mut out, now) {}
        drop(input);
        out.write_to(&mut socket)?;
        if let Line::Over = line {
            return linger(&mut socket, &mut buffer);
        }
    }
}

/// Reads once, until the deadline at most: `None` says that it has come.
fn wait(
    socket: &mut TcpStream,
    buffer: &mut [u8],
    deadline: Option<Instant>,
    now: Instant,
) -> io::Result<Option<usize>> {
    // A timeout of zero would mean none.
    let timeout = deadline.map(|deadline| deadline.saturating_duration_since(now).max(Duration::from_millis(1)));
    socket.set_read_timeout(timeout)?;
    match socket.read(buffer) {
        Ok(n) => Ok(Some(n)),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Closing with unread bytes would reset the connection and could destroy our last answer (RFC 9112 section 9.6): says that
/// nothing more comes, and reads on for a while.
fn linger(socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    socket.shutdown(Shutdown::Write)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    for _ in 0..64 {
        if !matches!(socket.read(buffer), Ok(n) if n > 0) {
            break;
        }
    }
    Ok(())
}

impl Line {
    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Line::Http(http, None) => http.poll_timeout(),
            Line::Http(http, Some(ticking)) => {
                http.poll_timeout().into_iter().chain([ticking.stream.poll_timeout(), ticking.next]).min()
            }
            Line::Echo(echo) => echo.poll_timeout(),
            Line::Over => None,
        }
    }

    fn handle_eof(&mut self, now: Instant) {
        match self {
            Line::Http(http, _) => http.handle_eof(now),
            Line::Echo(echo) => echo.handle_eof(now),
            Line::Over => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Output) {
        match self {
            Line::Http(http, None) => http.handle_timeout(now, out),
            Line::Http(http, Some(Ticking { stream, second, next })) => {
                http.handle_timeout(now, out);
                stream.handle_timeout(http, now, out);
                if now >= *next {
                    *second += 1;
                    *next = *next + Duration::from_secs(1);
                    let (id, data) = (second.to_string(), format!("{second} s"));
                    // The output is empty before each tick, so it has room; a peer that is gone shows at the next write.
                    let _ = stream.send(http, &sse::Event::new(&data).with_id(&id), out, now);
                }
            }
            Line::Echo(echo) => echo.handle_timeout(now, out),
            Line::Over => {}
        }
    }

    /// Acts on the next event; false when there is none.
    fn step(&mut self, input: &mut Input<'_>, out: &mut Output, now: Instant) -> bool {
        match self {
            Line::Http(http, ticking) => match http.next_event(input, out, now) {
                Ok(Some(Http::Request(ref head))) => match answer(http, head, out, now) {
                    Ok(Next::Request) => {}
                    Ok(Next::Clock(clock)) => *ticking = Some(clock),
                    Ok(Next::Echo(echo)) => *self = Line::Echo(echo),
                    // The answer does not fit: many requests in one read, none of whose answers was written yet.
                    Err(_) => *self = Line::Over,
                },
                Ok(Some(Http::Closed(_))) => *self = Line::Over,
                Ok(None) => return false,
                // An error was answered already; `Closed` comes next.
                Ok(Some(_)) | Err(_) => {}
            },
            Line::Echo(echo) => {
                let sent = match echo.next_event(input, out, now) {
                    Ok(Some(ws::Event::Text(text))) => echo.send_text(text, out),
                    Ok(Some(ws::Event::Binary(bytes))) => echo.send_binary(bytes, out),
                    Ok(Some(ws::Event::Closed(_))) => {
                        *self = Line::Over;
                        return true;
                    }
                    Ok(None) => return false,
                    Ok(Some(_)) | Err(_) => Ok(()),
                };
                if sent.is_err() {
                    // It does not fit even now that the rest was written. A second Close frame would be refused, too.
                    _ = echo.close(Some(ws::CloseCode::TOO_BIG), "too big to be echoed", now, out);
                }
            }
            Line::Over => return false,
        }
        true
    }
}

/// What a connection goes on with, once a request is answered.
enum Next {
    Request,
    Clock(Ticking),
    Echo(Connection),
}

fn answer(http: &mut Server, head: &RequestHead<'_>, out: &mut Output, now: Instant) -> Result<Next, ResponseError> {
    match head.path() {
        "/" => http.respond(&Response::new(200).headers(&[("content-type", "text/html")]), PAGE.as_bytes(), out)?,
        "/echo" => match Upgrade::check_head(&UpgradeConfig::default(), head) {
            Ok(upgrade) => {
                http.accept_upgrade(&upgrade.accept_plain(), out)?;
                return Ok(Next::Echo(Connection::server(Arc::new(ws::Config::default()), seed(), now)));
            }
            Err(rejection) => http.reject_upgrade(rejection, &[], out)?,
        },
        "/clock" => match Subscription::read(head) {
            Ok(subscription) => {
                // A client that comes back goes on counting from where it was.
                let second = subscription.last_event_id.and_then(|id| id.parse().ok()).unwrap_or(0);
                let random = u64::from_le_bytes(*seed().first_chunk().unwrap_or(&[0; 8]));
                let opened = ServerStream::open(&ServerStreamConfig::default(), http, &[], random, out, now)?;
                if let Opened::Stream(stream) = opened {
                    return Ok(Next::Clock(Ticking { stream, second, next: now }));
                }
            }
            Err(refusal) => refusal.respond(http, &[], out)?,
        },
        _ => http.respond(&Response::new(404), b"no such page\n", out)?,
    }
    Ok(Next::Request)
}

/// Sixteen random bytes from the standard library's one source of them: hash maps are keyed from the system's generator.
fn seed() -> ws::Seed {
    let half = || u128::from(RandomState::new().hash_one(0));
    (half() << 64 | half()).to_le_bytes()
}
