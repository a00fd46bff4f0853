//! What a worker has besides its connections and its handler: the part that a [`Context`](super::Context) may use.

use super::config::{DrainConfig, Settings};
use super::counters::Counters;
use super::doors::Doors;
use super::peer::PeerId;
use super::publish::{Content, Log};
use crate::hub::{Cursor, Entry, PublishError, Topics};
use crate::sse;
use crate::time::{Clock, Instant};
use crate::ws::{CloseCode, Prepared, Seed};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::boxed::Box;
use std::hash::Hasher;
use std::sync::Arc;
use std::vec::Vec;

/// The part of a worker that callbacks may change while one of its connections is being served.
pub(crate) struct Core {
    pub(crate) worker: u16,
    /// The time of the turn, read anew every few connections.
    pub(crate) now: Instant,
    pub(crate) clock: Time,
    pub(crate) settings: Arc<Settings>,
    pub(crate) topics: Topics,
    pub(crate) log: Arc<Log>,
    /// The last publication that this worker has read: who attaches to a topic now gets what comes behind it.
    pub(crate) read: Cursor,
    pub(crate) counters: Arc<Counters>,
    pub(crate) random: Random,
    pub(crate) doors: Doors,
    /// What callbacks asked for that concerns others, in the order of the calls.
    pub(crate) commands: Vec<Command>,
    /// Messages and events sent by callbacks, not yet counted.
    pub(crate) sent: u64,
    /// The server lets its connections go: no new ones, and requests are refused.
    pub(crate) draining: bool,
    /// Something was published in this turn, which other workers must be told at its end.
    pub(crate) published: bool,
}

/// What is done between connections.
pub(crate) enum Command {
    Send(PeerId, Prepared),
    SendBlock(PeerId, bytes::Bytes),
    Close(PeerId, CloseCode, Box<str>),
    /// Look whether something is to be done that was put off: reading.
    Resume(PeerId),
    /// Tell the handler that nothing waits any more, if it wants to know.
    Emptied(PeerId),
    /// Look at a connection that was acted on from outside.
    Look(PeerId),
    /// Look at a new outgoing connection for the first time.
    Start(PeerId),
    Drain(DrainConfig),
    Stop,
}

impl Core {
    pub(crate) fn publish(
        &mut self,
        topic: &str,
        event: &sse::Event<'_>,
        except: Option<PeerId>,
    ) -> Result<Cursor, PublishError> {
        let entry = Entry::new(topic, event)?;
        self.append(topic, except, Content::Event(entry))
    }

    pub(crate) fn broadcast(
        &mut self,
        topic: &str,
        message: Prepared,
        except: Option<PeerId>,
    ) -> Result<(), PublishError> {
        crate::hub::check_name(topic)?;
        self.append(topic, except, Content::Message(message)).map(drop)
    }

    pub(crate) fn broadcast_event(
        &mut self,
        topic: &str,
        event: &sse::Event<'_>,
        except: Option<PeerId>,
    ) -> Result<(), PublishError> {
        crate::hub::check_name(topic)?;
        let block = event.to_bytes()?;
        self.append(topic, except, Content::Block(block)).map(drop)
    }

    fn append(&mut self, topic: &str, except: Option<PeerId>, content: Content) -> Result<Cursor, PublishError> {
        let cursor = self.log.append(self.clock.unix_ms(self.now), topic, except, content)?;
        self.published = true;
        Ok(cursor)
    }
}

/// The monotonic clock of a process, and what the calendar said when it started: ids of publications are milliseconds of Unix time that
/// never go backwards, while deadlines know the monotonic clock only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    clock: Clock,
    unix_ms: u64,
}

impl Time {
    pub(crate) fn new() -> Self {
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { clock: Clock::new(), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(0) }
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn unix_ms(&self, now: Instant) -> u64 {
        self.unix_ms.saturating_add(now.as_nanos() / 1_000_000)
    }
}

/// Unpredictable bytes: SipHash of a counter, under a key from the system's generator. One system call per worker instead of one per
/// connection.
pub(crate) struct Random {
    key: [u8; 16],
    drawn: u64,
}

impl Random {
    pub(crate) fn new() -> std::io::Result<Self> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(std::io::Error::other)?;
        Ok(Self { key, drawn: 0 })
    }

    pub(crate) fn seed(&mut self) -> Seed {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u64(self.drawn);
        self.drawn += 1;
        hasher.finish128().as_bytes()
    }

    pub(crate) fn number(&mut self) -> u64 {
        let seed = self.seed();
        u64::from_le_bytes(std::array::from_fn(|i| seed[i]))
    }
}
