//! What the tests of the loop share: a server whose handler is made of functions, and clients that know nothing of the library.
//!
//! Clients are plain sockets of `std::net` with frames made by hand, so that the library is not judged by itself. Every wait has a
//! bound, generous enough for a busy machine; nothing asserts how long something took.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod hub;
pub mod wire;

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tautline::http::{RequestHead, Response};
use tautline::net::{
    Accept, Config, Context, Control, Ended, Handle, Handler, Linger, ListenAddress, ListenConfig, Message, PeerId,
    Published, Server, StreamOpened, Totals, Upgraded,
};
use tautline::{sse, ws};

/// The bound of every wait.
pub const WAIT: Duration = Duration::from_secs(30);

/// The state of a connection: whatever the test likes.
pub type Cx<'a> = Context<'a, u64>;

/// What happened, in order, for any thread to read and to wait for.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Log {
    pub fn push(&self, entry: impl Into<String>) {
        self.entries().push(entry.into());
        self.0.1.notify_all();
    }

    /// Also behind a wait of another thread's that failed.
    fn entries(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn all(&self) -> Vec<String> {
        self.entries().clone()
    }

    /// How many entries begin so.
    pub fn count(&self, start: &str) -> usize {
        self.entries().iter().filter(|entry| entry.starts_with(start)).count()
    }

    /// Waits until so many entries begin so.
    pub fn wait(&self, start: &str, count: usize) {
        let until = Instant::now() + WAIT;
        let mut entries = self.entries();
        while entries.iter().filter(|entry| entry.starts_with(start)).count() < count {
            let left = until.saturating_duration_since(Instant::now());
            let tail = entries.len().saturating_sub(20);
            assert!(!left.is_zero(), "no {count} of {start:?} in the log, which ends in {:#?}", &entries[tail..]);
            entries = self.0.1.wait_timeout(entries, left).unwrap().0;
        }
    }
}

/// What a test's handler does: functions, so that one is written where it is used.
#[derive(Clone, Copy)]
pub struct On {
    pub request: fn(&mut Script, &RequestHead<'_>, &mut Cx<'_>),
    pub body: fn(&mut Script, &[u8], &mut Cx<'_>),
    pub opened: fn(&mut Script, &mut Cx<'_>),
    pub message: fn(&mut Script, Message<'_>, &mut Cx<'_>),
    pub event: fn(&mut Script, &sse::EventSourceEvent<'_>, &mut Cx<'_>),
    pub writable: fn(&mut Script, &mut Cx<'_>),
    pub lost: fn(&mut Script, u64, &mut Cx<'_>),
    pub publication: fn(&mut Script, &Published, &mut Cx<'_>),
    pub timer: fn(&mut Script, &mut Cx<'_>),
    pub drained: fn(&mut Script, &mut Cx<'_>),
    pub closed: fn(&mut Script, &Ended<'_>, &mut Cx<'_>),
    pub started: fn(&mut Script, &mut Control<'_, Script>),
    pub alarm: fn(&mut Script, &mut Control<'_, Script>),
}

impl Default for On {
    /// An echo with the paths of [`routes`], which logs what opens and what closes.
    fn default() -> Self {
        Self {
            request: routes,
            body: |_, body, cx| cx.respond(&Response::new(200), body).unwrap(),
            opened: |_, _| {},
            message: |_, message, cx| cx.send(message).unwrap(),
            event: |_, _, _| {},
            writable: |script, _| script.log.push("writable"),
            lost: |script, messages, _| script.log.push(format!("lost {messages}")),
            publication: |_, publication, cx| {
                let block = publication.block().cloned().unwrap_or_default();
                cx.respond_shared(&Response::new(200), &block).unwrap();
            },
            timer: |script, _| script.log.push("timer"),
            drained: |script, _| script.log.push("drained"),
            closed: |_, _, _| {},
            started: |_, _| {},
            alarm: |_, _| {},
        }
    }
}

/// - `/ws?topic=a&topic=b` is a WebSocket, subscribed to these; so is `/`.
/// - `/events?topic=a` an event stream.
/// - `/hold?topic=a` a request held for the length of a test.
/// - `/body` answers with the request's body, `/nothing` not at all, all else with its own target.
pub fn routes(script: &mut Script, head: &RequestHead<'_>, cx: &mut Cx<'_>) {
    let query = head.target().split_once('?').map_or("", |(_, query)| query);
    let topics = || query.split('&').filter_map(|part| part.strip_prefix("topic="));
    match head.path() {
        "/" | "/ws" => match cx.accept(head, &Accept::default()) {
            Ok(Upgraded::Yes) => topics().for_each(|topic| subscribe(cx, topic)),
            refused => script.log.push(format!("{refused:?}")),
        },
        "/events" => match cx.open_stream(head, &[]) {
            Ok(StreamOpened::Yes) => {
                topics().for_each(|topic| subscribe(cx, topic));
                script.remember(query, cx);
                script.log.push("opened stream");
            }
            refused => script.log.push(format!("{refused:?}")),
        },
        "/hold" => {
            cx.hold(4 * WAIT);
            topics().for_each(|topic| subscribe(cx, topic));
            script.remember(query, cx);
            script.log.push("opened held");
        }
        "/body" => cx.read_body(),
        "/nothing" => {}
        _ => cx.respond(&Response::new(200), head.target().as_bytes()).unwrap(),
    }
}

fn subscribe(cx: &mut Cx<'_>, topic: &str) {
    cx.subscribe(topic).unwrap();
}

/// The handler.
pub struct Script {
    pub on: On,
    pub log: Log,
    pub worker: usize,
    /// Connections by a name, for all workers.
    pub ids: Arc<Mutex<HashMap<String, PeerId>>>,
    /// For whatever a test counts.
    pub number: u64,
}

impl Script {
    pub fn remember(&self, name: impl Into<String>, cx: &Cx<'_>) {
        self.ids.lock().unwrap().insert(name.into(), cx.id());
    }

    pub fn id(&self, name: &str) -> PeerId {
        self.ids.lock().unwrap()[name]
    }
}

impl Handler for Script {
    type State = u64;

    fn request(&mut self, head: &RequestHead<'_>, cx: &mut Cx<'_>) {
        (self.on.request)(self, head, cx);
    }

    fn body(&mut self, body: &[u8], cx: &mut Cx<'_>) {
        (self.on.body)(self, body, cx);
    }

    fn opened(&mut self, cx: &mut Cx<'_>) {
        self.log.push("opened websocket");
        (self.on.opened)(self, cx);
    }

    fn message(&mut self, message: Message<'_>, cx: &mut Cx<'_>) {
        (self.on.message)(self, message, cx);
    }

    fn event(&mut self, event: &sse::EventSourceEvent<'_>, cx: &mut Cx<'_>) {
        (self.on.event)(self, event, cx);
    }

    fn writable(&mut self, cx: &mut Cx<'_>) {
        (self.on.writable)(self, cx);
    }

    fn lost(&mut self, messages: u64, cx: &mut Cx<'_>) {
        (self.on.lost)(self, messages, cx);
    }

    fn publication(&mut self, publication: &Published, cx: &mut Cx<'_>) {
        (self.on.publication)(self, publication, cx);
    }

    fn timer(&mut self, cx: &mut Cx<'_>) {
        (self.on.timer)(self, cx);
    }

    fn drained(&mut self, cx: &mut Cx<'_>) {
        (self.on.drained)(self, cx);
    }

    fn closed(&mut self, ended: &Ended<'_>, cx: &mut Cx<'_>) {
        self.log.push(match ended {
            Ended::WebSocket(closed) => format!("closed websocket {} {}", closed.code, closed.reason),
            Ended::Stream(_) => "closed stream".into(),
            Ended::Held(_) => "closed held".into(),
            other => format!("closed {other:?}"),
        });
        (self.on.closed)(self, ended, cx);
    }

    fn started(&mut self, control: &mut Control<'_, Self>) {
        (self.on.started)(self, control);
    }

    fn alarm(&mut self, control: &mut Control<'_, Self>) {
        (self.on.alarm)(self, control);
    }
}

/// A server that runs until it is dropped.
pub struct Running {
    pub server: Option<Server<Script>>,
    pub handle: Handle<Script>,
    pub address: SocketAddr,
    pub log: Log,
    pub ids: Arc<Mutex<HashMap<String, PeerId>>>,
}

/// Settings whose lingering ends soon.
pub fn config() -> Config {
    Config { linger: Linger(Duration::from_millis(300)), ..Config::default() }
}

pub fn loopback() -> ListenConfig {
    ListenConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

/// Starts a server with so many workers.
pub fn start(config: &Config, workers: usize, on: On) -> Running {
    start_at(config, workers, loopback(), on)
}

pub fn start_at(config: &Config, workers: usize, listen: ListenConfig, on: On) -> Running {
    let log = Log::default();
    let ids = Arc::default();
    let (of_handler, ids_of_handler) = (log.clone(), Arc::clone(&ids));
    let make =
        move |worker| Script { on, log: of_handler.clone(), worker, ids: Arc::clone(&ids_of_handler), number: 0 };
    let server = Server::start(config, &[listen], NonZeroUsize::new(workers), make).unwrap();
    let address = match &server.addresses()[0] {
        ListenAddress::Tcp(address) => *address,
        _ => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
    };
    Running { handle: server.handle(), address, server: Some(server), log, ids }
}

impl Running {
    pub fn totals(&self) -> Totals {
        self.handle.totals()
    }

    pub fn id(&self, name: &str) -> PeerId {
        self.ids.lock().unwrap()[name]
    }

    /// Calls `f` on a worker and waits for what it returns.
    pub fn ask<T: Send + 'static>(
        &self,
        worker: usize,
        f: impl FnOnce(&mut Script, &mut Control<'_, Script>) -> T + Send + 'static,
    ) -> T {
        let (sender, answer) = mpsc::channel();
        self.handle.call(worker, move |script, control| drop(sender.send(f(script, control)))).expect("room");
        answer.recv_timeout(WAIT).expect("the worker answers")
    }

    /// Connections of all workers, those that are closing included.
    pub fn peers(&self) -> usize {
        (0..self.handle.workers()).map(|worker| self.ask(worker, |_, control| control.peers())).sum()
    }

    /// Waits until all slots are free.
    pub fn wait_for_no_peers(&self) {
        eventually("no connection is left", || self.peers() == 0);
    }

    /// Waits until the workers have ended by themselves.
    pub fn join(mut self) {
        let server = self.server.take().unwrap();
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || {
            server.join();
            let _ = sender.send(());
        });
        ended.recv_timeout(WAIT).expect("the workers end");
    }
}

/// Waits until it is so.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < until, "in {WAIT:?} it did not come about that {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until two values are equal.
#[track_caller]
pub fn eventually_eq<T: PartialEq + Debug>(expected: T, mut actual: impl FnMut() -> T) {
    let until = Instant::now() + WAIT;
    loop {
        let value = actual();
        if value == expected {
            return;
        }
        assert!(Instant::now() < until, "in {WAIT:?} it stayed {value:?}, not {expected:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The close codes that a test names.
pub fn code(code: u16) -> ws::CloseCode {
    ws::CloseCode::new(code).unwrap()
}
