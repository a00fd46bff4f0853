//! Something between a client and a server that gets in the way.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of a connection, by its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    /// It ends before a byte comes back.
    Refuse,
    /// The head of the answer comes, and nothing behind it; after so long it ends.
    HeadOnly(Duration),
}

/// What decides about it: the path of the first request, and how many with that path there were before.
type Rule = Box<dyn Fn(&str, usize) -> Fate + Send>;

struct State {
    upstream: Mutex<SocketAddr>,
    rule: Mutex<Rule>,
    /// Paths of the first requests of all connections.
    paths: Mutex<Vec<String>>,
    streams: Mutex<Vec<TcpStream>>,
    /// Nothing comes back from the server, and nobody is told.
    mute: AtomicBool,
    /// Bytes from servers so far.
    down: AtomicUsize,
}

#[derive(Clone)]
pub(crate) struct Proxy {
    state: Arc<State>,
    pub(crate) address: SocketAddr,
}

impl Proxy {
    pub(crate) fn new(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            upstream: Mutex::new(upstream),
            rule: Mutex::new(Box::new(|_, _| Fate::Pass)),
            paths: Mutex::default(),
            streams: Mutex::default(),
            mute: AtomicBool::new(false),
            down: AtomicUsize::new(0),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = shared.clone();
                thread::spawn(move || drop(carry(&state, client)));
            }
        });
        Self { state, address }
    }

    pub(crate) fn rule(&self, rule: impl Fn(&str, usize) -> Fate + Send + 'static) {
        *self.state.rule.lock().unwrap() = Box::new(rule);
    }

    /// Where connections go from now on.
    pub(crate) fn redirect(&self, upstream: SocketAddr) {
        *self.state.upstream.lock().unwrap() = upstream;
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        for stream in self.state.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn mute(&self, mute: bool) {
        self.state.mute.store(mute, Ordering::SeqCst);
    }

    /// How many bytes servers have sent.
    pub(crate) fn down(&self) -> usize {
        self.state.down.load(Ordering::SeqCst)
    }

    /// How many connections began with a request for this path.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.state.paths.lock().unwrap().iter().filter(|known| *known == path).count()
    }
}

fn carry(state: &Arc<State>, mut client: TcpStream) -> std::io::Result<()> {
    let mut first = Vec::new();
    let mut buffer = [0; 16 << 10];
    while !first.windows(4).any(|window| window == b"\r\n\r\n") {
        match client.read(&mut buffer)? {
            0 => return Ok(()),
            n => first.extend_from_slice(&buffer[..n]),
        }
    }
    let text = String::from_utf8_lossy(&first);
    let path = text.split([' ', '?']).nth(1).unwrap_or_default().to_owned();
    let before = {
        let mut paths = state.paths.lock().unwrap();
        let before = paths.iter().filter(|known| **known == path).count();
        paths.push(path.clone());
        before
    };
    let fate = (state.rule.lock().unwrap())(&path, before);
    if fate == Fate::Refuse {
        return Ok(());
    }
    let upstream = *state.upstream.lock().unwrap();
    let mut server = TcpStream::connect(upstream)?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    {
        let mut streams = state.streams.lock().unwrap();
        streams.push(client.try_clone()?);
        streams.push(server.try_clone()?);
    }
    server.write_all(&first)?;
    let (mut up_from, mut up_to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(n @ 1..) = up_from.read(&mut buffer) {
            if up_to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = up_to.shutdown(Shutdown::Write);
    });
    let mut head = Vec::new();
    loop {
        let n = match server.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        state.down.fetch_add(n, Ordering::SeqCst);
        if state.mute.load(Ordering::SeqCst) {
            continue;
        }
        match fate {
            Fate::HeadOnly(after) => {
                head.extend_from_slice(&buffer[..n]);
                if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                    client.write_all(&head[..end + 4])?;
                    thread::sleep(after);
                    break;
                }
            }
            _ => client.write_all(&buffer[..n])?,
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    Ok(())
}
