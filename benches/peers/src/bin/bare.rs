//! The floor of a server on epoll: what is left of the work when there is no protocol. Linux only.
//!
//! Edge-triggered; each socket is registered once; one `recv` into the loop's shared buffer per ready socket, where a short
//! read counts as drained; the answer leaves in one `send`. It knows requests by their first bytes and answers with fixed
//! ones, so its clients have to send a request in one piece and close when they are done. See `USAGE` for the modes.

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::{io, ptr};

use libc::{c_int, epoll_event};

const USAGE: &str = "\
usage: bare --port P --mode MODE [--deliver HEX] [--level] [--eager] [--defer-accept]
  --mode echo       send back what came
  --mode fanout     send the bytes of --deliver to every connection that began with a GET, whenever another request or
                    a frame comes
  --mode handshake  as echo, but for the request that opens a connection; a name for what is measured
  --level           level-triggered instead of edge-triggered
  --eager           recv right after accept instead of waiting for epoll to say so
  --defer-accept    the kernel holds a connection back until its first bytes are there (TCP_DEFER_ACCEPT)";

const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
    Transfer-Encoding: chunked\r\n\r\n";
const PUBLISHED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// As large as tautline's shared buffer.
const BUFFER: usize = 64 * 1024;
/// As many as mio's users ask for.
const EVENTS: usize = 1024;
const READABLE: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP) as u32;
const EDGE: u32 = libc::EPOLLET as u32;
const WRITABLE: u32 = libc::EPOLLOUT as u32;
const ENDED: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
const NOWHERE: u32 = u32::MAX;

struct Options {
    port: u16,
    fan_out: bool,
    deliver: Vec<u8>,
    /// What sockets are registered for.
    readable: u32,
    eager: bool,
    defer_accept: bool,
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)).and_then(|options| serve(options).map_err(|error| error.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut port = None;
    let mut mode = None;
    let mut options = Options {
        port: 0,
        fan_out: false,
        deliver: Vec::new(),
        readable: READABLE | EDGE,
        eager: false,
        defer_accept: false,
    };
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{option} needs a value"));
        match option.as_str() {
            "--port" => port = Some(value()?.parse().map_err(|_| "not a port")?),
            "--mode" => mode = Some(value()?),
            "--deliver" => options.deliver = hex(&value()?).ok_or("not in hexadecimal")?,
            "--level" => options.readable = READABLE,
            "--eager" => options.eager = true,
            "--defer-accept" => options.defer_accept = true,
            _ => return Err(format!("unknown option {option}\n{USAGE}")),
        }
    }
    options.port = port.ok_or(USAGE)?;
    options.fan_out = match mode.as_deref() {
        Some("echo" | "handshake") => false,
        Some("fanout") => true,
        _ => return Err(USAGE.to_owned()),
    };
    Ok(options)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

fn serve(options: Options) -> io::Result<()> {
    let listener = listen(&options)?;
    let mut server = Server {
        // SAFETY: no pointers.
        epoll: checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?,
        listener: listener.as_raw_fd(),
        buffer: vec![0; BUFFER],
        options,
        subscribers: Vec::new(),
        places: Vec::new(),
        blocked: HashMap::new(),
    };
    server.register(libc::EPOLL_CTL_ADD, server.listener, server.options.readable)?;
    let mut events = [epoll_event { events: 0, u64: 0 }; EVENTS];
    loop {
        // SAFETY: `events` has room for `EVENTS`.
        let ready = unsafe { libc::epoll_wait(server.epoll, events.as_mut_ptr(), EVENTS as c_int, -1) };
        let ready = match checked(ready) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            ready => ready? as usize,
        };
        for event in &events[..ready] {
            let (socket, events) = (event.u64 as c_int, event.events);
            if socket == server.listener {
                server.accept()?;
            } else {
                server.ready(socket, events)?;
            }
        }
    }
}

fn listen(options: &Options) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", options.port))?;
    listener.set_nonblocking(true)?;
    // What is accepted inherits it.
    set(&listener, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    if options.defer_accept {
        set(&listener, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 5)?;
    }
    // SAFETY: no pointers. Listening again replaces std's shorter backlog.
    checked(unsafe { libc::listen(listener.as_raw_fd(), 4096) })?;
    Ok(listener)
}

struct Server {
    epoll: c_int,
    listener: c_int,
    buffer: Vec<u8>,
    options: Options,
    /// Who gets what is published; dense.
    subscribers: Vec<c_int>,
    /// By descriptor: the place in `subscribers`, or `NOWHERE`.
    places: Vec<u32>,
    /// By descriptor: what a full socket did not take. While it is here, the socket is not read.
    blocked: HashMap<c_int, Vec<u8>>,
}

impl Server {
    fn accept(&mut self) -> io::Result<()> {
        loop {
            let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            // SAFETY: null pointers mean that the address is not asked for.
            let socket = unsafe { libc::accept4(self.listener, ptr::null_mut(), ptr::null_mut(), flags) };
            match checked(socket) {
                Ok(socket) => {
                    if self.options.eager {
                        // Before it is registered, or epoll would report these bytes too.
                        if !self.read(socket, false)? {
                            continue;
                        }
                    }
                    self.register(libc::EPOLL_CTL_ADD, socket, self.options.readable)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn ready(&mut self, socket: c_int, events: u32) -> io::Result<()> {
        if !self.blocked.is_empty() && self.blocked.contains_key(&socket) {
            if events & (WRITABLE | ENDED) == 0 {
                return Ok(());
            }
            let rest = self.blocked.remove(&socket).unwrap_or_default();
            self.send(socket, &rest, false);
            if self.blocked.contains_key(&socket) {
                return Ok(());
            }
            self.register(libc::EPOLL_CTL_MOD, socket, self.options.readable)?;
        }
        self.read(socket, events & ENDED != 0).map(drop)
    }

    /// Reads until a short read, or until the end where `ended` says that there is one. False: the socket is closed.
    fn read(&mut self, socket: c_int, ended: bool) -> io::Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let open = loop {
            // SAFETY: `buffer` is valid for its length.
            let read = unsafe { libc::recv(socket, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            match read {
                1.. => {
                    let read = read as usize;
                    self.answer(socket, &buffer[..read]);
                    let drained = read < buffer.len() && !ended;
                    if drained || !self.blocked.is_empty() && self.blocked.contains_key(&socket) {
                        break true;
                    }
                }
                0 => break self.close(socket),
                _ if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => break true,
                _ => break self.close(socket),
            }
        };
        self.buffer = buffer;
        Ok(open)
    }

    fn answer(&mut self, socket: c_int, bytes: &[u8]) {
        if bytes.starts_with(b"GET ") {
            let stream = bytes.starts_with(b"GET /events");
            self.send(socket, if stream { STREAM } else { SWITCHING }, false);
            if self.options.fan_out {
                self.subscribe(socket);
            }
        } else if !self.options.fan_out {
            self.send(socket, bytes, false);
        } else {
            if bytes.starts_with(b"POST ") {
                self.send(socket, PUBLISHED, false);
            }
            self.publish();
        }
    }

    fn publish(&mut self) {
        let deliver = std::mem::take(&mut self.options.deliver);
        let subscribers = std::mem::take(&mut self.subscribers);
        for socket in &subscribers {
            let behind = !self.blocked.is_empty() && self.blocked.contains_key(socket);
            self.send(*socket, &deliver, behind);
        }
        self.subscribers = subscribers;
        self.options.deliver = deliver;
    }

    /// Sends, or keeps what the socket does not take; all of it if it is `behind` already. An error is epoll's to report.
    #[inline]
    fn send(&mut self, socket: c_int, bytes: &[u8], behind: bool) {
        let sent = if behind {
            0
        } else {
            // SAFETY: `bytes` is valid for its length.
            let sent = unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
            match sent {
                0.. => sent as usize,
                _ if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => 0,
                _ => return,
            }
        };
        if sent < bytes.len() {
            self.block(socket, &bytes[sent..]);
        }
    }

    #[cold]
    fn block(&mut self, socket: c_int, rest: &[u8]) {
        self.blocked.entry(socket).or_default().extend_from_slice(rest);
        // It fails where the socket is not registered yet, right after accept: then there are no more than a few hundred bytes.
        let _ = self.register(libc::EPOLL_CTL_MOD, socket, WRITABLE);
    }

    fn subscribe(&mut self, socket: c_int) {
        let at = socket as usize;
        if at >= self.places.len() {
            self.places.resize(at + 1, NOWHERE);
        }
        self.places[at] = self.subscribers.len() as u32;
        self.subscribers.push(socket);
    }

    /// Always false, for [`Server::read`].
    fn close(&mut self, socket: c_int) -> bool {
        if let Some(place) = self.places.get_mut(socket as usize).filter(|place| **place != NOWHERE) {
            let at = std::mem::replace(place, NOWHERE) as usize;
            self.subscribers.swap_remove(at);
            if let Some(moved) = self.subscribers.get(at) {
                self.places[*moved as usize] = at as u32;
            }
        }
        if !self.blocked.is_empty() {
            self.blocked.remove(&socket);
        }
        // SAFETY: the descriptor is this server's own and is not used after. Closing it takes it out of the epoll set.
        unsafe { libc::close(socket) };
        false
    }

    fn register(&self, operation: c_int, socket: c_int, events: u32) -> io::Result<()> {
        let mut event = epoll_event { events, u64: socket as u64 };
        // SAFETY: `event` lives through the call, which copies it.
        checked(unsafe { libc::epoll_ctl(self.epoll, operation, socket, &mut event) }).map(drop)
    }
}

fn set(listener: &TcpListener, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the value is an int, valid for the call.
    let set = unsafe {
        libc::setsockopt(listener.as_raw_fd(), level, option, ptr::from_ref(&value).cast(), size_of::<c_int>() as u32)
    };
    checked(set).map(drop)
}

fn checked(status: c_int) -> io::Result<c_int> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(status) }
}
