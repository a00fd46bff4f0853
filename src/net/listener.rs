//! Where a server listens: TCP or a unix-domain socket, one listener per worker.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::vec::Vec;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, Socket, Type};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenAddress {
    /// A TCP address. Port 0 lets the system choose a free one. Whether `[::]` takes IPv4 connections too is the system's setting
    /// (on Linux it does, unless `net.ipv6.bindv6only` is set).
    Tcp(SocketAddr),
    /// The path of a unix-domain socket, at most 107 bytes on Linux. Who may connect is the folder's and the umask's matter.
    Unix(PathBuf),
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<PathBuf> for ListenAddress {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl fmt::Display for ListenAddress {
    /// As `127.0.0.1:8080` or `unix:/run/chat.sock`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Whether small writes leave at once (TCP_NODELAY). Set on the listener; accepted connections inherit it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoDelay {
    /// They do: what is written is a whole turn's replies, and waiting for an acknowledgement would gain nothing but delay.
    #[default]
    On,
    /// They may wait until what was sent before is acknowledged (Nagle's algorithm): fewer packets where many small events are
    /// published one by one and 40 ms do not matter.
    Off,
}

/// Who else may listen on the same TCP port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortSharing {
    /// Nobody: starting a second server is an error, "address in use".
    ///
    /// With several workers each needs SO_REUSEPORT, which by itself would let a second server in. So the first listener claims the
    /// port without it and takes it on only when it listens: whoever listens already is noticed, and a second server that is
    /// exclusive too is refused, also when both start at the same time. What cannot be kept out is a later program of the same
    /// user that asks for SO_REUSEPORT, as a [`Shared`](Self::Shared) server does. Where the system does not allow the switch
    /// (Linux does), the first listener is closed again, and for that moment the port is anyone's.
    #[default]
    Exclusive,
    /// Any process of the same user that sets SO_REUSEPORT too; the system spreads connections over all listeners. For one
    /// service in several processes, where one process's limit of file descriptors is too small. With port 0 nothing is shared
    /// but by whoever is told the port that was chosen.
    Shared,
}

/// Sizes of the system's buffers per connection (SO_RCVBUF, SO_SNDBUF), in bytes; set on the listener and inherited.
///
/// `None`, the default, leaves them to the system, which adapts them to each connection: right for nearly everyone. A size that
/// is set stays; Linux doubles it for its own bookkeeping, and caps it (`net.core.rmem_max`, `wmem_max`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketBuffers {
    /// Bytes that the system receives ahead.
    pub receive: Option<usize>,
    /// Bytes that the system takes before a write blocks. With ten thousand slow readers this is where the memory goes.
    pub send: Option<usize>,
}

/// How to listen.
///
/// ```
/// use tautline::net::{ListenConfig, PortSharing};
/// use std::net::{Ipv4Addr, SocketAddr};
///
/// let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
/// let config = ListenConfig { sharing: PortSharing::Shared, ..ListenConfig::new(address) };
/// # assert_eq!(config.backlog, 4096);
/// ```
#[derive(Clone, Debug)]
pub struct ListenConfig {
    /// Where.
    pub address: ListenAddress,
    /// How many connections may wait to be accepted, per listener. Default 4096: after a restart all clients come back within
    /// a second or two, and one for which there is no room tries again only a second later. What is above
    /// `net.core.somaxconn` (4096 on Linux since 5.4) counts as that.
    pub backlog: u32,
    /// Whether small writes leave at once. Default: yes. TCP only.
    pub no_delay: NoDelay,
    /// Whether other processes may listen on the port too. Default: no. TCP only.
    pub sharing: PortSharing,
    /// The system's buffers. Default: the system's choice.
    pub buffers: SocketBuffers,
    /// Called with each socket between `bind` and `listen`, to set an option that has no field here. Default: none.
    ///
    /// Connections inherit most options. One that is worth knowing is TCP_DEFER_ACCEPT (Linux): a connection is handed over only
    /// when its first bytes are there, which saves a wake-up per handshake. But one that sends nothing is then never seen here:
    /// its deadline for a head is the system's, it counts towards no limit and shows in no counter. For that it is off, and for
    /// want of a safe binding it has no field. By hand:
    ///
    /// ```
    /// use std::os::fd::{AsRawFd, BorrowedFd};
    ///
    /// fn defer_accept(socket: BorrowedFd<'_>) -> std::io::Result<()> {
    ///     let seconds: libc::c_int = 5;
    ///     let size = size_of_val(&seconds) as libc::socklen_t;
    ///     // SAFETY: the descriptor is borrowed, so it is open; the value is read during the call only, and `size` is its size.
    ///     let result = unsafe {
    ///         let value = (&raw const seconds).cast();
    ///         libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, value, size)
    ///     };
    ///     if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    /// }
    ///
    /// # use std::{net::{Ipv4Addr, SocketAddr, TcpListener}, os::fd::AsFd};
    /// # defer_accept(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.as_fd())?;
    /// # let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    /// let config = tautline::net::ListenConfig { prepare: Some(defer_accept), ..tautline::net::ListenConfig::new(address) };
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub prepare: Option<fn(BorrowedFd<'_>) -> io::Result<()>>,
}

impl ListenConfig {
    /// The default settings, at `address`.
    pub fn new(address: impl Into<ListenAddress>) -> Self {
        Self {
            address: address.into(),
            backlog: 4096,
            no_delay: NoDelay::default(),
            sharing: PortSharing::default(),
            buffers: SocketBuffers::default(),
            prepare: None,
        }
    }

    /// Binds a listener for each of so many workers.
    ///
    /// TCP: each worker has a socket and a queue of its own, over which the system spreads connections. Unix: all share one, so
    /// each connection wakes every worker that sleeps, and one gets it. A socket file that nobody listens on any more is
    /// replaced; any other file at the path is an error. Of two servers that find such a file at the same instant, the
    /// later may replace the earlier one's.
    pub(crate) fn bind(&self, workers: NonZeroUsize) -> Result<Bound, ListenError> {
        let bound = match &self.address {
            ListenAddress::Tcp(address) => self.bind_tcp(*address, workers.get()),
            ListenAddress::Unix(path) => self.bind_unix(path, workers.get()),
        };
        bound.map_err(|cause| ListenError { address: self.address.clone(), cause })
    }

    fn bind_tcp(&self, address: SocketAddr, workers: usize) -> Result<Bound, ListenCause> {
        let share = self.sharing == PortSharing::Shared;
        let first = self.listen_tcp(address, share)?;
        let chosen = first.local_addr()?.as_socket().unwrap_or(address);
        let mut sockets = Vec::with_capacity(workers);
        sockets.push(first);
        if workers > 1 && !share {
            sockets[0].set_reuse_port(true)?;
        }
        while sockets.len() < workers {
            match self.listen_tcp(chosen, true) {
                Ok(socket) => sockets.push(socket),
                // The system wants the option to be set before it binds: the first was a probe, then.
                Err(error) if sockets.len() == 1 && !share && error.kind() == io::ErrorKind::AddrInUse => {
                    sockets.clear();
                    sockets.push(self.listen_tcp(chosen, true)?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let listeners = sockets.into_iter().map(|socket| Listener::Tcp(mio::net::TcpListener::from_std(socket.into())));
        Ok(Bound { listeners: listeners.collect(), address: ListenAddress::Tcp(chosen), file: None })
    }

    fn listen_tcp(&self, address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // Connections of an earlier run that are still closing do not count.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(reuse_port)?;
        socket.set_tcp_nodelay(self.no_delay == NoDelay::On)?;
        self.listen(socket, &address.into())
    }

    fn bind_unix(&self, path: &Path, workers: usize) -> Result<Bound, ListenCause> {
        // An empty path and one that begins with NUL would be a socket without a file.
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(ListenCause::Path);
        }
        let address = SockAddr::unix(path).map_err(|_| ListenCause::Path)?;
        let socket = || Socket::new(Domain::UNIX, Type::STREAM, None);
        let listening = match self.listen(socket()?, &address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path, &address)?;
                self.listen(socket()?, &address)?
            }
            other => other?,
        };
        // Whatever fails from here on takes the file along.
        let file = Some(SocketFile::new(path)?);
        let mut listeners = Vec::with_capacity(workers);
        for _ in 1..workers {
            listeners.push(Listener::unix(listening.try_clone()?));
        }
        listeners.push(Listener::unix(listening));
        Ok(Bound { listeners, address: self.address.clone(), file })
    }

    fn listen(&self, socket: Socket, address: &SockAddr) -> io::Result<Socket> {
        socket.set_nonblocking(true)?;
        // Before `listen`: the window scale that is offered follows from the buffer.
        if let Some(bytes) = self.buffers.receive {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.buffers.send {
            socket.set_send_buffer_size(bytes)?;
        }
        socket.bind(address)?;
        if let Some(prepare) = self.prepare {
            prepare(socket.as_fd())?;
        }
        socket.listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
        Ok(socket)
    }
}

/// What was bound: a listener per worker, and what must live as long as any of them.
#[derive(Debug)]
pub(crate) struct Bound {
    /// One for each worker.
    pub(crate) listeners: Vec<Listener>,
    /// Where: as configured, with the port that was chosen where it was 0.
    pub(crate) address: ListenAddress,
    /// Removes the socket's file when it is dropped.
    pub(crate) file: Option<SocketFile>,
}

/// A listener of one worker: nonblocking, for its `mio::Poll`.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener),
}

impl Listener {
    /// The next connection, nonblocking and close-on-exec, and its address (none over a unix-domain socket). One system call.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none. Others concern one connection that is gone already, or the process (EMFILE and the like: then
    /// no event need come when there is room again, so ask again after a while).
    pub(crate) fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((std::net::TcpStream::from(stream).into(), Some(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                Ok((std::os::unix::net::UnixStream::from(stream).into(), None))
            }
        }
    }

    fn unix(socket: Socket) -> Self {
        Self::Unix(mio::net::UnixListener::from_std(socket.into()))
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            Self::Unix(listener) => listener,
        }
    }
}

impl Source for Listener {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.source().register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}

/// The file of a unix-domain socket, removed on drop unless another has taken its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_path_buf(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // Nobody is left to be told. The next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode: which file it is, whatever its name.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// Removes the file of a socket on which nobody listens; an error if somebody does or if it is none.
fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), ListenCause> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match fs::symlink_metadata(path) {
        Err(error) if gone(&error) => return Ok(()),
        Ok(file) if !file.file_type().is_socket() => return Err(ListenCause::NotASocket),
        other => other?,
    };
    let caller = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full queue must not hold us up: it says that somebody is there.
    caller.set_nonblocking(true)?;
    match caller.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => match fs::remove_file(path) {
            Err(error) if !gone(&error) => Err(error.into()),
            _ => Ok(()),
        },
        Err(error) if gone(&error) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(ListenCause::NotPermitted),
        _ => Err(ListenCause::InUse),
    }
}

/// Why listening failed, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenError {
    address: ListenAddress,
    cause: ListenCause,
}

impl ListenError {
    /// Where.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Why.
    pub fn cause(&self) -> ListenCause {
        self.cause
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.cause)
    }
}

impl core::error::Error for ListenError {}

/// Why listening failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenCause {
    /// Somebody listens there already.
    InUse,
    /// This machine has no such address.
    NotAvailable,
    /// Not allowed: a port below 1024, or a folder of somebody else.
    NotPermitted,
    /// The folder of the path does not exist.
    NotFound,
    /// There is a file at the path that is no socket; it is left alone.
    NotASocket,
    /// The path is empty, too long for a socket, or holds a NUL.
    Path,
    /// Another answer of the system, by its number (`errno`).
    System(i32),
    /// [`ListenConfig::prepare`] failed with an error that is not the system's.
    Prepare,
}

impl From<io::Error> for ListenCause {
    fn from(error: io::Error) -> Self {
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::AddrInUse, _) => Self::InUse,
            (io::ErrorKind::AddrNotAvailable, _) => Self::NotAvailable,
            (io::ErrorKind::PermissionDenied, _) => Self::NotPermitted,
            (io::ErrorKind::NotFound, _) => Self::NotFound,
            (_, Some(number)) => Self::System(number),
            (_, None) => Self::Prepare,
        }
    }
}

impl fmt::Display for ListenCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "address in use",
            Self::NotAvailable => "this machine has no such address",
            Self::NotPermitted => "not permitted",
            Self::NotFound => "no such folder",
            Self::NotASocket => "a file that is no socket is there",
            Self::Path => "the path is empty, too long for a socket, or holds a NUL",
            Self::System(number) => return io::Error::from_raw_os_error(*number).fmt(f),
            Self::Prepare => "the caller's own settings failed",
        })
    }
}

impl core::error::Error for ListenCause {}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use socket2::SockRef;
    use std::format;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
    #[cfg(target_os = "linux")]
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::string::ToString;

    fn workers(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    fn loopback(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn port(bound: &Bound) -> u16 {
        let ListenAddress::Tcp(address) = bound.address else { panic!("TCP") };
        address.port()
    }

    /// A connection may take a moment from `connect` to the queue.
    fn accept(listener: &Listener) -> (Socket, Option<SocketAddr>) {
        for _ in 0..2000 {
            match listener.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                other => return other.unwrap(),
            }
        }
        panic!("nobody came");
    }

    #[cfg(target_os = "linux")]
    fn is_close_on_exec(socket: &Socket) -> bool {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", socket.as_raw_fd())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        // O_CLOEXEC
        u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 != 0
    }

    #[cfg(not(target_os = "linux"))]
    fn is_close_on_exec(_: &Socket) -> bool {
        true
    }

    /// A folder of its own for one test, gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tautline-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn an_accepted_connection_is_nonblocking_has_its_address_and_inherits_the_options() {
        let buffers = SocketBuffers { receive: Some(20_000), send: Some(30_000) };
        for (no_delay, set) in [(NoDelay::On, true), (NoDelay::Off, false)] {
            let config = ListenConfig { no_delay, buffers, ..ListenConfig::new(loopback(0)) };
            let bound = config.bind(workers(1)).unwrap();
            let mut client = TcpStream::connect(loopback(port(&bound))).unwrap();
            let (mut socket, address) = accept(&bound.listeners[0]);
            assert_eq!(address, Some(client.local_addr().unwrap()));
            assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            assert!(is_close_on_exec(&socket));
            assert_eq!(socket.tcp_nodelay().unwrap(), set);
            // Linux doubles what it is given.
            assert!((20_000..=40_000).contains(&socket.recv_buffer_size().unwrap()));
            assert!((30_000..=60_000).contains(&socket.send_buffer_size().unwrap()));
            socket.write_all(b"hi").unwrap();
            let mut hi = [0; 2];
            client.read_exact(&mut hi).unwrap();
            assert_eq!(&hi, b"hi");
        }
    }

    #[test]
    fn nobody_waiting_is_would_block() {
        let bound = ListenConfig::new(loopback(0)).bind(workers(1)).unwrap();
        assert_eq!(bound.listeners[0].accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn port_0_gives_all_workers_the_same_port_and_each_its_share() {
        for sharing in [PortSharing::Exclusive, PortSharing::Shared] {
            let config = ListenConfig { sharing, ..ListenConfig::new(loopback(0)) };
            let bound = config.bind(workers(3)).unwrap();
            assert_eq!(bound.listeners.len(), 3);
            let clients: Vec<TcpStream> =
                (0..150).map(|_| TcpStream::connect(loopback(port(&bound))).unwrap()).collect();
            let mut shares = [0; 3];
            for _ in 0..2000 {
                for (share, listener) in shares.iter_mut().zip(&bound.listeners) {
                    *share += core::iter::from_fn(|| listener.accept().ok()).count();
                }
                if shares.iter().sum::<usize>() == clients.len() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(shares.iter().sum::<usize>(), clients.len());
            // One of them would stay below 10 of 150 once in 10^13 runs.
            assert!(shares.iter().all(|share| *share > 10), "{shares:?}");
        }
    }

    #[test]
    fn an_exclusive_port_that_somebody_listens_on_is_in_use_for_any_number_of_workers() {
        let plain = TcpListener::bind(loopback(0)).unwrap();
        let taken = plain.local_addr().unwrap();
        for n in [1, 2] {
            let error = ListenConfig::new(taken).bind(workers(n)).unwrap_err();
            assert_eq!(error.cause(), ListenCause::InUse);
            assert_eq!(error.to_string(), format!("cannot listen on {taken}: address in use"));
        }
    }

    #[test]
    fn a_second_exclusive_server_is_refused_beside_any_of_ours() {
        for sharing in [PortSharing::Exclusive, PortSharing::Shared] {
            for n in [1, 3] {
                let first = ListenConfig { sharing, ..ListenConfig::new(loopback(0)) }.bind(workers(n)).unwrap();
                for m in [1, 2] {
                    let second = ListenConfig::new(loopback(port(&first))).bind(workers(m));
                    assert_eq!(second.unwrap_err().cause(), ListenCause::InUse, "{sharing:?} {n} {m}");
                }
            }
        }
    }

    #[test]
    fn shared_servers_listen_beside_each_other_and_not_beside_an_exclusive_one() {
        let shared = |port| ListenConfig { sharing: PortSharing::Shared, ..ListenConfig::new(loopback(port)) };
        let first = shared(0).bind(workers(1)).unwrap();
        let second = shared(port(&first)).bind(workers(2)).unwrap();
        assert_eq!(second.address, first.address);
        let exclusive = ListenConfig::new(loopback(0)).bind(workers(1)).unwrap();
        assert_eq!(shared(port(&exclusive)).bind(workers(1)).unwrap_err().cause(), ListenCause::InUse);
    }

    #[test]
    fn a_port_can_be_bound_again_right_after_its_connections() {
        let bound = ListenConfig::new(loopback(0)).bind(workers(2)).unwrap();
        let client = TcpStream::connect(loopback(port(&bound))).unwrap();
        let accepted = core::iter::repeat_with(|| bound.listeners.iter().find_map(|listener| listener.accept().ok()))
            .take(1_000_000)
            .flatten()
            .next()
            .unwrap();
        let again = ListenConfig::new(loopback(port(&bound)));
        // The server closes first, so that the closing state stays on its port.
        drop(accepted);
        drop(client);
        drop(bound);
        again.bind(workers(2)).unwrap();
    }

    #[test]
    fn an_address_of_another_machine_is_not_available() {
        let error = ListenConfig::new(SocketAddr::from(([192, 0, 2, 1], 0))).bind(workers(1)).unwrap_err();
        assert_eq!(error.cause(), ListenCause::NotAvailable);
    }

    #[test]
    fn ipv6_is_bound_where_there_is_any() {
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        if TcpListener::bind(address).is_err() {
            return; // A machine without IPv6.
        }
        let bound = ListenConfig::new(address).bind(workers(2)).unwrap();
        let ListenAddress::Tcp(address) = bound.address else { panic!("TCP") };
        assert!(address.is_ipv6() && address.port() != 0);
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn the_callers_own_options_are_set_on_each_socket_and_its_errors_are_told() {
        fn keepalive(socket: BorrowedFd<'_>) -> io::Result<()> {
            SockRef::from(&socket).set_keepalive(true)
        }
        let config = ListenConfig { prepare: Some(keepalive), ..ListenConfig::new(loopback(0)) };
        let bound = config.bind(workers(2)).unwrap();
        for listener in &bound.listeners {
            let Listener::Tcp(listener) = listener else { panic!("TCP") };
            assert!(SockRef::from(listener).keepalive().unwrap());
        }
        let failing = |prepare| ListenConfig { prepare: Some(prepare), ..ListenConfig::new(loopback(0)) };
        let error = failing(|_| Err(io::Error::other("no"))).bind(workers(1)).unwrap_err();
        assert_eq!(error.cause(), ListenCause::Prepare);
        let error = failing(|_| Err(io::Error::from_raw_os_error(92))).bind(workers(1)).unwrap_err();
        assert_eq!(error.cause(), ListenCause::System(92));
    }

    #[test]
    fn any_backlog_is_taken() {
        for backlog in [0, 1, u32::MAX] {
            ListenConfig { backlog, ..ListenConfig::new(loopback(0)) }.bind(workers(1)).unwrap();
        }
    }

    #[test]
    fn unix_workers_share_one_queue_and_the_file_goes_with_the_owner() {
        let folder = Folder::new("share");
        let path = folder.0.join("socket");
        let bound = ListenConfig::new(path.clone()).bind(workers(2)).unwrap();
        for listener in &bound.listeners {
            let _client = UnixStream::connect(&path).unwrap();
            let (mut socket, address) = accept(listener);
            assert_eq!(address, None);
            assert!(socket.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
        }
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_live_one_is_in_use() {
        let folder = Folder::new("stale");
        let path = folder.0.join("socket");
        let live = UnixListener::bind(&path).unwrap();
        let config = ListenConfig::new(path.clone());
        let error = config.bind(workers(1)).unwrap_err();
        assert_eq!(error.cause(), ListenCause::InUse);
        assert_eq!(error.to_string(), format!("cannot listen on unix:{}: address in use", path.display()));
        drop(live);
        assert!(path.exists());
        let bound = config.bind(workers(1)).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_live_socket_whose_queue_is_full_is_in_use() {
        let folder = Folder::new("full");
        let path = folder.0.join("socket");
        let live = ListenConfig { backlog: 0, ..ListenConfig::new(path.clone()) }.bind(workers(1)).unwrap();
        let config = ListenConfig::new(path.clone());
        for _ in 0..5 {
            assert_eq!(config.bind(workers(1)).unwrap_err().cause(), ListenCause::InUse);
        }
        drop(live);
    }

    #[test]
    fn what_is_no_stream_socket_is_left_alone() {
        let folder = Folder::new("file");
        let path = folder.0.join("file");
        fs::write(&path, "precious").unwrap();
        let config = ListenConfig::new(path.clone());
        assert_eq!(config.bind(workers(1)).unwrap_err().cause(), ListenCause::NotASocket);
        assert_eq!(fs::read(&path).unwrap(), b"precious");

        let datagrams = folder.0.join("datagrams");
        let _live = UnixDatagram::bind(&datagrams).unwrap();
        let config = ListenConfig::new(datagrams.clone());
        assert_eq!(config.bind(workers(1)).unwrap_err().cause(), ListenCause::InUse);

        // Nor is what a link points to.
        let link = folder.0.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(ListenConfig::new(link).bind(workers(1)).unwrap_err().cause(), ListenCause::NotASocket);
    }

    #[test]
    fn a_successors_file_is_not_removed() {
        let folder = Folder::new("successor");
        let path = folder.0.join("socket");
        let old = ListenConfig::new(path.clone()).bind(workers(1)).unwrap();
        fs::rename(&path, folder.0.join("aside")).unwrap();
        let new = ListenConfig::new(path.clone()).bind(workers(1)).unwrap();
        drop(old);
        UnixStream::connect(&path).unwrap();
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_that_cannot_be_is_an_error_with_its_cause() {
        let folder = Folder::new("path");
        let cause = |path: PathBuf| ListenConfig::new(path).bind(workers(1)).unwrap_err().cause();
        assert_eq!(cause(folder.0.join("x".repeat(200))), ListenCause::Path);
        assert_eq!(cause(folder.0.join("nul\0nul")), ListenCause::Path);
        assert_eq!(cause(PathBuf::new()), ListenCause::Path);
        assert_eq!(cause(PathBuf::from("\0abstract")), ListenCause::Path);
        assert_eq!(cause(folder.0.join("nowhere/socket")), ListenCause::NotFound);
    }
}
