//! What the workers of one server share, and what other threads hold of it.

use super::config::{Config, DrainConfig, Settings};
use super::control::Control;
use super::core::{Command, Random, Time};
use super::counters::{Counters, HubTotals, Totals};
use super::handler::Handler;
use super::hub::HubShared;
use super::hub::line::Revocation;
use super::limits::PerAddress;
use super::listener::SocketFile;
use super::peer::PeerId;
use super::publish::{Content, Log, Sender};
use super::worker::StartError;
use crate::hub::{Compressing, Cursor, Entry, LogId, Pressure, PublishError};
use crate::sse;
use crate::ws::{CloseCode, Prepared};
use bytes::Bytes;
use mio::Waker;
use std::boxed::Box;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::vec::Vec;

/// A call on a worker's thread.
pub(super) type Call<H> = Box<dyn FnOnce(&mut H, &mut Control<'_, H>) + Send>;

/// Something for a worker, from elsewhere, and how many publications went before it: they are delivered before.
pub(super) struct Post<H: Handler> {
    pub(super) behind: u64,
    pub(super) what: What<H>,
}

/// What is to be done.
pub(super) enum What<H: Handler> {
    Command(Command),
    Call(Call<H>),
}

/// What may wait in a worker's mailbox. A loop looks at it every turn, so this many are some milliseconds of a busy publisher; more
/// means that the worker is held up.
const POSTS: usize = 65_536;

/// Why a worker did not get what was meant for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostError {
    /// So many posts wait already: the worker is behind.
    Full {
        /// The limit.
        limit: usize,
    },
    /// There is no such worker, or it has ended.
    Gone,
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { limit } => write!(f, "{limit} posts wait for the worker already"),
            Self::Gone => f.write_str("the worker has ended"),
        }
    }
}

impl std::error::Error for PostError {}

/// What other threads left for a worker.
pub(super) struct Mailbox<H: Handler> {
    /// `None`: the worker is gone.
    posts: Mutex<Option<Vec<Post<H>>>>,
    /// There is something to look for, and the worker was woken for it.
    signalled: AtomicBool,
    waker: OnceLock<Waker>,
}

impl<H: Handler> Mailbox<H> {
    fn new() -> Self {
        Self { posts: Mutex::new(Some(Vec::new())), signalled: AtomicBool::new(false), waker: OnceLock::new() }
    }

    pub(super) fn open(&self, waker: Waker) {
        // Posts may have come before the worker.
        let _ = self.waker.set(waker);
        if self.signalled.load(Ordering::Acquire) {
            self.ring();
        }
    }

    pub(super) fn take(&self) -> Vec<Post<H>> {
        if !self.signalled.load(Ordering::Relaxed) || !self.signalled.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The worker is gone: nothing is kept for it any more.
    pub(super) fn close(&self) {
        let left = self.lock().take();
        // Outside the lock: what a call holds may do anything when it is dropped.
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Post<H>>>> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, post: Post<H>, limit: usize) -> Result<(), PostError> {
        match &mut *self.lock() {
            Some(posts) if posts.len() < limit => posts.push(post),
            Some(_) => return Err(PostError::Full { limit }),
            None => return Err(PostError::Gone),
        }
        self.wake();
        Ok(())
    }

    /// At most one wake-up until the worker has looked.
    pub(super) fn wake(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel) {
            self.ring();
        }
    }

    fn ring(&self) {
        if let Some(waker) = self.waker.get() {
            // It fails where the worker's poll is gone, and then nobody waits.
            let _ = waker.wake();
        }
    }
}

/// What workers share.
pub(super) struct Shared<H: Handler> {
    pub(super) settings: Arc<Settings>,
    pub(super) time: Time,
    pub(super) log: Arc<Log>,
    pub(super) hub: Option<Arc<HubShared>>,
    pub(super) addresses: Option<Arc<PerAddress>>,
    mailboxes: Vec<Mailbox<H>>,
    counters: Vec<Arc<Counters>>,
    /// Socket files, removed with the last that knows of them.
    files: Mutex<Vec<SocketFile>>,
}

impl<H: Handler> Shared<H> {
    pub(super) fn new(config: &Config, workers: u16) -> Result<Self, StartError> {
        let settings = config.settle()?;
        let mut random = Random::new()?;
        let id = LogId(random.number() as u32);
        let time = Time::new();
        let hub = match &config.hub {
            Some(hub) => Some(Arc::new(HubShared::new(hub, id, &mut random)?)),
            None => None,
        };
        let keys = config.hub.as_ref().map(|hub| hub.hub.keys).unwrap_or_default();
        Ok(Self {
            time,
            log: Arc::new(Log::new(id, time.unix_ms(time.now()), config.sequence, keys)),
            hub,
            addresses: settings.peers.per_address.map(|limit| Arc::new(PerAddress::new(limit))),
            mailboxes: (0..workers).map(|_| Mailbox::new()).collect(),
            counters: (0..workers).map(|_| Arc::default()).collect(),
            files: Mutex::new(Vec::new()),
            settings,
        })
    }

    pub(super) fn mailbox(&self, worker: u16) -> &Mailbox<H> {
        &self.mailboxes[usize::from(worker)]
    }

    pub(super) fn counters(&self, worker: u16) -> &Arc<Counters> {
        &self.counters[usize::from(worker)]
    }

    /// What has to go, where so much is retained.
    pub(super) fn pressure(&self, retained: usize) -> Pressure {
        let waiting: u64 = self.counters.iter().map(|counters| counters.queued.read() + counters.held.read()).sum();
        let waiting = usize::try_from(waiting).unwrap_or(usize::MAX).saturating_add(self.log.unread());
        self.settings.budget.pressure(waiting, retained)
    }

    pub(super) fn wake_others(&self, worker: u16) {
        for (number, mailbox) in self.mailboxes.iter().enumerate() {
            if number != usize::from(worker) {
                mailbox.wake();
            }
        }
    }

    /// Passes a command on to the worker of `peer`, if that is another one. What does not fit is dropped, as what is sent to a peer
    /// that does not read.
    pub(super) fn post(&self, peer: PeerId, from: u16, command: Command) {
        if peer.worker != from
            && let Some(mailbox) = self.mailboxes.get(usize::from(peer.worker))
            && let Err(PostError::Full { .. }) = mailbox.post(self.stamped(What::Command(command)), POSTS)
        {
            self.counters[usize::from(from)].dropped.add(1);
        }
    }

    fn stamped(&self, what: What<H>) -> Post<H> {
        Post { behind: self.log.appended(), what }
    }

    pub(super) fn keep_file(&self, file: SocketFile) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).push(file);
    }
}

/// A server, as any thread may hold it: to publish, to reach connections, to read counters, to shut down. Cheap to clone.
///
/// Calls take effect in the worker's next turn, in the order in which one thread makes them; the worker is woken for them, once for
/// many.
pub struct Handle<H: Handler> {
    shared: Arc<Shared<H>>,
}

impl<H: Handler> Clone for Handle<H> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<H: Handler> Handle<H> {
    pub(super) fn new(shared: Arc<Shared<H>>) -> Self {
        Self { shared }
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.shared.mailboxes.len()
    }

    /// Publishes an event to all subscribers of `topic`: see [`Context::publish`](super::Context::publish).
    ///
    /// # Errors
    ///
    /// [`PublishError`]: nothing was published.
    pub fn publish(&self, topic: &str, event: &sse::Event<'_>) -> Result<Cursor, PublishError> {
        let entry = Entry::new(topic, event)?;
        self.shared.settings.check_length(&entry)?;
        self.shared.settings.check_pressure(self.shared.pressure(0))?;
        let hub = self.shared.hub.as_ref();
        let compressing = hub.map_or(Compressing::Allowed, |hub| hub.config.policies.of(topic).compressing);
        self.append(topic, Content::Event(entry, None, compressing))
    }

    /// Takes a topic from a user, at once and on every connection; or with `None` everything: the connections are closed (4001). What the
    /// [`Authority`](crate::hub::Authority) says afterwards decides whether they come back: tell it first.
    pub fn revoke(&self, user: &str, topic: Option<&str>) {
        self.revoke_from(Revocation::user(user, topic));
    }

    /// As [`revoke`](Self::revoke), for one session: by the token that it was given. A token that is none does nothing.
    pub fn revoke_session(&self, token: &str, user: Option<&str>, topic: Option<&str>) {
        if let Some(hub) = &self.shared.hub
            && let Ok(session) = hub.sessions.check(token, user)
        {
            self.revoke_from(Revocation::session(session, topic));
        }
    }

    fn revoke_from(&self, revocation: Revocation) {
        let revocation = Arc::new(revocation);
        for mailbox in &self.shared.mailboxes {
            self.always(mailbox, Command::Revoke(revocation.clone()));
        }
    }

    /// Who is on a topic that keeps presence: how many, and the first of them.
    pub fn presence(&self, topic: &str) -> (usize, Vec<std::string::String>) {
        let Some(hub) = &self.shared.hub else { return (0, Vec::new()) };
        let presence = hub.presence();
        let (count, users) = presence.snapshot(topic);
        (count, users.map(std::string::String::from).collect())
    }

    /// Sends a message to the WebSockets that are subscribed to `topic`: see [`Context::broadcast`](super::Context::broadcast).
    ///
    /// # Errors
    ///
    /// [`PublishError`]: nothing was sent.
    pub fn broadcast(&self, topic: &str, message: impl Into<Prepared>) -> Result<(), PublishError> {
        crate::hub::check_name(topic)?;
        self.append(topic, Content::Message(message.into())).map(drop)
    }

    /// Sends an event as it is to the subscribers of `topic`: see [`Context::broadcast_event`](super::Context::broadcast_event).
    ///
    /// # Errors
    ///
    /// [`PublishError`]: nothing was sent.
    pub fn broadcast_event(&self, topic: &str, event: &sse::Event<'_>) -> Result<(), PublishError> {
        crate::hub::check_name(topic)?;
        self.append(topic, Content::Block(event.to_bytes()?)).map(drop)
    }

    /// Sends a message to one WebSocket. To one that is gone nothing is sent.
    ///
    /// # Errors
    ///
    /// [`PostError`]: 65,536 posts wait for its worker already, or the worker has ended.
    pub fn send_to(&self, peer: PeerId, message: Prepared) -> Result<(), PostError> {
        self.command(peer, Command::Send(peer, message))
    }

    /// Sends an encoded block ([`sse::Event::to_bytes`]) to one event stream.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    pub fn send_block_to(&self, peer: PeerId, block: Bytes) -> Result<(), PostError> {
        self.command(peer, Command::SendBlock(peer, block))
    }

    /// Closes one connection.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    pub fn close_peer(&self, peer: PeerId, code: CloseCode, reason: &str) -> Result<(), PostError> {
        self.command(peer, Command::Close(peer, code, Box::from(reason)))
    }

    /// Calls `f` on the thread of worker `number`, in its next turn.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to); `f` is dropped then.
    pub fn call(
        &self,
        number: usize,
        f: impl FnOnce(&mut H, &mut Control<'_, H>) + Send + 'static,
    ) -> Result<(), PostError> {
        let mailbox = self.shared.mailboxes.get(number).ok_or(PostError::Gone)?;
        mailbox.post(self.shared.stamped(What::Call(Box::new(f))), POSTS)
    }

    /// Lets go of all connections in order: first the listeners close, then WebSockets get their Close frame, event streams end with a
    /// jittered `retry:`, held requests are answered, one after the other over [`DrainConfig::over`]; then the workers end.
    pub fn drain(&self, config: DrainConfig) {
        for mailbox in &self.shared.mailboxes {
            self.always(mailbox, Command::Drain(config));
        }
    }

    /// Closes everything and ends the workers, now.
    pub fn stop(&self) {
        for mailbox in &self.shared.mailboxes {
            self.always(mailbox, Command::Stop);
        }
    }

    /// What was counted so far, over all workers.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::of(self.shared.counters.iter().map(|counters| &**counters));
        // By workers and by other threads: the log knows of all.
        totals.publications = self.shared.log.appended();
        totals
    }

    /// What the hub holds at present, as each worker last noted it. O(workers), and a lock that is held for moments.
    pub fn hub(&self) -> HubTotals {
        let Some(hub) = &self.shared.hub else { return HubTotals::default() };
        let parked = hub.parked().len() as u64;
        HubTotals { parked, ..HubTotals::of(self.shared.counters.iter().map(|counters| &**counters)) }
    }

    /// Where the log is.
    pub fn cursor(&self) -> Cursor {
        self.shared.log.head()
    }

    fn append(&self, topic: &str, content: Content) -> Result<Cursor, PublishError> {
        let time = &self.shared.time;
        let now = time.now();
        let appended = self.shared.log.append((time.unix_ms(now), now), topic, Sender::default(), content)?;
        self.shared.mailboxes.iter().for_each(Mailbox::wake);
        Ok(appended.cursor())
    }

    fn command(&self, peer: PeerId, command: Command) -> Result<(), PostError> {
        let mailbox = self.shared.mailboxes.get(peer.worker()).ok_or(PostError::Gone)?;
        mailbox.post(self.shared.stamped(What::Command(command)), POSTS)
    }

    /// Posts what must arrive however full the mailbox is. A worker that has ended needs no telling.
    fn always(&self, mailbox: &Mailbox<H>, command: Command) {
        let _ = mailbox.post(self.shared.stamped(What::Command(command)), usize::MAX);
    }
}

impl<H: Handler> fmt::Debug for Handle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("workers", &self.workers()).finish_non_exhaustive()
    }
}
