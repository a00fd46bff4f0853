//! The load's own sockets and its epoll, level-triggered.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::{Duration, Instant};

use libc::{c_int, epoll_event, sockaddr_in};

/// A server that is silent for so long has failed.
const SILENCE: Duration = Duration::from_secs(10);

/// Longer than any server on a CPU of its own takes for its next answer.
const SPIN: Duration = Duration::from_millis(50);

/// As many bytes as one read takes. No load has more in flight to one connection.
pub const READ: usize = 64 * 1024;

/// Connections per source address. The kernel has some 28,000 ports for each.
const PER_ADDRESS: usize = 20_000;

/// A non-blocking connection from the `nth` client to 127.0.0.1, from source addresses 127.0.0.1, .2 and so on. On
/// loopback it is established when this returns.
pub fn connect(nth: usize, port: u16) -> io::Result<TcpStream> {
    let flags = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the descriptor, if it is one, is new and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(checked(libc::socket(libc::AF_INET, flags, 0))?) };
    if nth >= PER_ADDRESS {
        // The port is then chosen by connect, which can use it for another destination at the same time.
        set(&socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT)?;
        let (source, length) = address([127, 0, 0, 1 + (nth / PER_ADDRESS % 250) as u8], 0);
        // SAFETY: `source` is an address of this length.
        checked(unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&source).cast(), length) })?;
    }
    let (server, length) = address([127, 0, 0, 1], port);
    // SAFETY: `server` is an address of this length.
    let connected = checked(unsafe { libc::connect(socket.as_raw_fd(), ptr::from_ref(&server).cast(), length) });
    match connected {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from(socket)),
    }
}

/// Sends all of it, and waits where the socket is full.
pub fn send(socket: &TcpStream, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        let mut socket = socket;
        match socket.write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::NotConnected => {
                writable(socket)?;
            }
            Err(error) => return Err(format!("send: {error}")),
        }
    }
    Ok(())
}

/// What one read gives. An end is an error: no server may close first.
pub fn receive<'b>(socket: &TcpStream, buffer: &'b mut [u8]) -> Result<&'b [u8], String> {
    let mut socket = socket;
    match socket.read(buffer) {
        Ok(0) => Err("the server closed a connection".to_owned()),
        Ok(read) => Ok(&buffer[..read]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(&[]),
        Err(error) => Err(format!("recv: {error}")),
    }
}

/// Waits until there is something to read.
pub fn readable(socket: &TcpStream) -> Result<(), String> {
    wait_for(socket, libc::POLLIN).then_some(()).ok_or_else(|| "the server does not answer".to_owned())
}

fn writable(socket: &TcpStream) -> Result<(), String> {
    wait_for(socket, libc::POLLOUT).then_some(()).ok_or_else(|| "the server does not read".to_owned())
}

/// Spins at first, as [`Poll::wait`] does.
fn wait_for(socket: &TcpStream, events: libc::c_short) -> bool {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 };
    // SAFETY: one valid entry.
    let mut is_ready = |timeout| unsafe { libc::poll(&mut poll, 1, timeout) == 1 };
    let since = Instant::now();
    loop {
        if is_ready(0) {
            return true;
        }
        if since.elapsed() > SPIN {
            return is_ready(SILENCE.as_millis() as c_int);
        }
    }
}

/// Which of the registered sockets have something to read.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll_event>,
}

impl Poll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor, if it is one, is new and owned by nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(checked(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Poll { epoll, events: vec![epoll_event { events: 0, u64: 0 }; 1024] })
    }

    /// Dropping the socket takes it out again.
    pub fn add(&self, socket: &TcpStream, token: usize) -> io::Result<()> {
        let mut event = epoll_event { events: libc::EPOLLIN as u32, u64: token as u64 };
        let (epoll, add) = (self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD);
        // SAFETY: `event` lives through the call, which copies it.
        checked(unsafe { libc::epoll_ctl(epoll, add, socket.as_raw_fd(), &mut event) }).map(drop)
    }

    /// The tokens of those that are ready; at least one. It spins: else the server's sends would pay for waking this
    /// process, as they pay for no client on another machine.
    pub fn wait(&mut self) -> Result<impl Iterator<Item = usize> + use<'_>, String> {
        let mut silent_since = None;
        let ready = loop {
            match self.ready(0)? {
                0 => {}
                ready => break ready,
            }
            // A server that takes its time, or that has no CPU of its own, is waited for asleep.
            if silent_since.get_or_insert_with(Instant::now).elapsed() > SPIN {
                match self.ready(SILENCE.as_millis() as c_int)? {
                    0 => return Err(format!("the server was silent for {SILENCE:?}")),
                    ready => break ready,
                }
            }
        };
        Ok(self.events[..ready].iter().map(|event| event.u64 as usize))
    }

    fn ready(&mut self, timeout: c_int) -> Result<usize, String> {
        let room = self.events.len() as c_int;
        // SAFETY: `events` has this much room.
        let ready = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), room, timeout) };
        match checked(ready) {
            Ok(ready) => Ok(ready as usize),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(format!("epoll_wait: {error}")),
        }
    }
}

fn address(ip: [u8; 4], port: u16) -> (sockaddr_in, u32) {
    let address = sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(ip) },
        sin_zero: [0; 8],
    };
    (address, size_of::<sockaddr_in>() as u32)
}

fn set(socket: &OwnedFd, level: c_int, option: c_int) -> io::Result<()> {
    let on: c_int = 1;
    let length = size_of::<c_int>() as u32;
    // SAFETY: the value is an int, valid for the call.
    checked(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(&on).cast(), length) }).map(drop)
}

fn checked(status: c_int) -> io::Result<c_int> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(status) }
}
