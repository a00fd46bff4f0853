//! A server: one thread for each worker.

use super::config::Config;
use super::handler::Handler;
use super::listener::{ListenAddress, ListenConfig};
use super::shared::{Handle, Shared};
use super::worker::{StartError, Worker};
use mio::{Events, Poll};
use std::fmt;
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::vec::Vec;

/// Events taken from the system in one go: 16 KiB.
const EVENTS: usize = 1024;

/// Workers on threads of their own, all listening on the same addresses. Dropping it stops them; [`join`](Self::join) waits until they
/// have ended by themselves, after a [drain](Handle::drain), say.
pub struct Server<H: Handler> {
    handle: Handle<H>,
    addresses: Vec<ListenAddress>,
    threads: Vec<JoinHandle<()>>,
}

impl<H: Handler + 'static> Server<H> {
    /// Starts `workers` threads (one for each core where that is `None`), each with a handler of its own: `make` is called with the
    /// worker's number, on its thread.
    ///
    /// When this returns, every address is listened on.
    ///
    /// # Errors
    ///
    /// [`StartError`]: nothing runs.
    pub fn start(
        config: &Config,
        listen: &[ListenConfig],
        workers: Option<NonZeroUsize>,
        make: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let workers = workers.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
        let count = u16::try_from(workers.get()).unwrap_or(u16::MAX);
        let workers = NonZeroUsize::from(std::num::NonZeroU16::new(count).unwrap_or(std::num::NonZeroU16::MIN));
        let shared = Arc::new(Shared::new(config, count)?);
        let mut addresses = Vec::new();
        let mut listeners: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        for listen in listen {
            let mut bound = listen.bind(workers)?;
            for (listener, of_worker) in bound.listeners.drain(..).zip(&mut listeners) {
                of_worker.push(listener);
            }
            if let Some(file) = bound.file.take() {
                shared.keep_file(file);
            }
            addresses.push(bound.address);
        }
        let make = Arc::new(make);
        let mut server = Self { handle: Handle::new(shared.clone()), addresses, threads: Vec::new() };
        for (number, listeners) in (0..count).zip(listeners) {
            let (shared, make) = (shared.clone(), make.clone());
            let poll = Poll::new()?;
            let registry = poll.registry().try_clone()?;
            let name = std::format!("tautline-{number}");
            let (started, outcome) = std::sync::mpsc::channel();
            let thread = thread::Builder::new().name(name).spawn(move || {
                let mut worker = match Worker::join(shared, number, make(usize::from(number)), &registry) {
                    Ok(worker) => worker,
                    Err(e) => return drop(started.send(Err(e))),
                };
                for listener in listeners {
                    if let Err(e) = worker.add_listener(listener) {
                        return drop(started.send(Err(e.into())));
                    }
                }
                drop(started.send(Ok(())));
                let others = StopOthers(worker.handle());
                run(poll, worker);
                drop(others);
            })?;
            server.threads.push(thread);
            // A thread that panicked in `make` has said nothing.
            outcome.recv().unwrap_or_else(|_| Err(std::io::Error::other("the handler panicked").into()))?;
        }
        Ok(server)
    }
}

impl<H: Handler> Server<H> {
    /// What any thread may hold of it.
    pub fn handle(&self) -> Handle<H> {
        self.handle.clone()
    }

    /// Where it listens, in the order asked for; ports that were 0 are those that the system chose.
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.addresses
    }

    /// Waits until all workers have ended.
    ///
    /// # Panics
    ///
    /// If a handler panicked, with its panic: that stops all workers.
    pub fn join(mut self) {
        let outcomes: Vec<_> = std::mem::take(&mut self.threads).into_iter().map(JoinHandle::join).collect();
        if let Some(Err(panic)) = outcomes.into_iter().find(Result::is_err) {
            std::panic::resume_unwind(panic);
        }
    }
}

impl<H: Handler> Drop for Server<H> {
    fn drop(&mut self) {
        self.handle.stop();
        for thread in self.threads.drain(..) {
            // Its panic was printed when it happened.
            let _ = thread.join();
        }
    }
}

impl<H: Handler> fmt::Debug for Server<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).field("workers", &self.threads.len()).finish()
    }
}

/// Stops the server when a handler panics: half of a server that goes on looks well to whoever watches it.
struct StopOthers<H: Handler>(Handle<H>);

impl<H: Handler> Drop for StopOthers<H> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

/// One loop.
fn run<H: Handler>(mut poll: Poll, mut worker: Worker<H>) {
    let mut events = Events::with_capacity(EVENTS);
    while !worker.is_over() {
        match poll.poll(&mut events, worker.timeout()) {
            Ok(()) => worker.turn(&events),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            // Nothing that a loop could do about it (epoll_wait(2) has no others for a valid descriptor).
            Err(e) => panic!("poll failed: {e}"),
        }
    }
}
