//! What a worker has besides its connections and its handler: the part that a [`Context`](super::Context) may use.

use super::config::{DrainConfig, Settings};
use super::counters::Counters;
use super::doors::Doors;
use super::hub::HubShared;
use super::hub::line::Revocation;
use super::hub::polls::HeaderSets;
use super::peer::PeerId;
use super::publish::{Appended, Content, Log, Published, Sender};
use crate::hub::{
    Change, Compressing, Cursor, Desk, Entry, Pressure, PublishError, SessionId, Unsubscribed, WhoIsHere,
};
use crate::sse;
use crate::time::{Clock, Instant, earlier};
use crate::ws::{CloseCode, Prepared, Seed};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::boxed::Box;
use std::format;
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
    /// Topics, their histories, and who is attached to them.
    pub(crate) desk: Desk<Arc<Published>>,
    /// What the workers' hubs share, where there is a hub.
    pub(crate) hub: Option<Arc<HubShared>>,
    /// Header lines that its answers have had.
    pub(crate) header_sets: HeaderSets,
    /// How many publications this worker has delivered.
    pub(crate) delivered: u64,
    /// When there is something to see to in it, as far as this worker knows.
    pub(crate) hub_due: Option<Instant>,
    pub(crate) log: Arc<Log>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) random: Random,
    pub(crate) doors: Doors,
    /// What callbacks asked for that concerns others, in the order of the calls.
    pub(crate) commands: Vec<Command>,
    /// Messages and events sent by callbacks, not yet counted.
    pub(crate) sent: u64,
    /// The server lets its connections go: no new ones, and requests are refused.
    pub(crate) draining: bool,
    /// What has to go, as of this turn.
    pub(crate) pressure: Pressure,
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
    /// Give a hub's subscriber what it has still to get.
    Pump(PeerId),
    /// Answer a held poll: a newer one of its session has come.
    Release(PeerId),
    /// Note what a session has received.
    Acknowledge(PeerId, SessionId, Cursor),
    /// Take a topic, or everything, from a user or a session.
    Revoke(Arc<Revocation>),
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
        let sender = Sender { except, key: None };
        self.publish_entry(entry, None, sender).map(Appended::cursor)
    }

    /// Publishes an entry, which is kept from a session, perhaps.
    pub(crate) fn publish_entry(
        &mut self,
        entry: Entry,
        except: Option<SessionId>,
        sender: Sender<'_>,
    ) -> Result<Appended, PublishError> {
        self.settings.check_length(&entry)?;
        self.settings.check_pressure(self.pressure)?;
        if entry.is_ephemeral() && self.pressure != Pressure::None {
            // The first to go.
            self.counters.dropped.add(1);
            return Ok(Appended::Before(self.log.head()));
        }
        let compressing = self.compressing(&entry);
        let topic = std::string::String::from(entry.topic());
        self.append(&topic, sender, Content::Event(entry, except, compressing))
    }

    /// Tells a topic's subscribers who came or went.
    pub(crate) fn tell(&mut self, change: &Change) {
        let (topic, data) = match change {
            Change::Joined { topic, user } => (topic, format!("join {user}")),
            Change::Left { topic, user } => (topic, format!("leave {user}")),
        };
        // A full log tells nobody; who attaches next gets a snapshot.
        if let Ok(entry) = Entry::own(topic, "tautline.presence", &data) {
            let _ = self.append(topic, Sender::default(), Content::Event(entry, None, Compressing::Allowed));
        }
    }

    fn compressing(&self, entry: &Entry) -> Compressing {
        self.hub.as_ref().map_or(Compressing::Allowed, |hub| hub.config.policies.of(entry.topic()).compressing)
    }

    /// Takes a topic from a subscriber.
    pub(crate) fn unsubscribe(&mut self, id: PeerId, topic: &str) -> Unsubscribed {
        let unsubscribed = self.desk.unsubscribe(id.index, topic);
        if unsubscribed == Unsubscribed::Left {
            self.depart(id, topic);
        }
        unsubscribed
    }

    /// A member gave a topic up, or had it taken away.
    fn depart(&mut self, id: PeerId, topic: &str) {
        let Some(hub) = self.hub.clone() else { return };
        let Some((session, identity)) = self.desk.member(id.index) else { return };
        if hub.config.policies.of(topic).presence == WhoIsHere::Kept {
            let name = super::hub::line::name_of(session, identity);
            // Held until it is in the log, as where somebody joins.
            let mut presence = hub.presence();
            let change = presence.depart(topic, &name, session, self.now);
            self.hub_due = earlier(self.hub_due, presence.poll_timeout());
            if let Some(change) = change {
                self.tell(&change);
            }
        }
    }

    /// Everything is taken from a member, which does not come back.
    pub(crate) fn expel(&mut self, id: PeerId) {
        let topics: std::vec::Vec<_> = self.desk.topics().topics_of(id.index).map(std::string::String::from).collect();
        for topic in topics {
            self.unsubscribe(id, &topic);
        }
        self.leave(id);
    }

    /// Notes how much is retained, for who counts.
    pub(crate) fn note_retained(&self) {
        let retained = self.desk.retained();
        let [topics, events, bytes] = &self.counters.retained;
        topics.set(retained.topics() as u64);
        events.set(retained.publications() as u64);
        bytes.set(retained.bytes() as u64);
    }

    /// Notes what a session has received, for when it comes back. What is of another log or was never published is nothing that anybody
    /// has received.
    pub(crate) fn note_acknowledged(&self, session: SessionId, cursor: Cursor) -> bool {
        let Some(hub) = &self.hub else { return false };
        let valid = cursor.log == Some(self.log.id()) && cursor.position <= self.log.head().position;
        if valid {
            hub.acknowledged().note(session, cursor.position, self.now);
        }
        valid
    }

    /// As [`note_acknowledged`](Self::note_acknowledged), and tells where its stream is.
    pub(crate) fn acknowledge_beside(&mut self, session: SessionId, cursor: Cursor) {
        if self.note_acknowledged(session, cursor)
            && let Some(hub) = &self.hub
            && let Some(peer) = hub.acknowledging().of(session).copied()
        {
            self.commands.push(Command::Acknowledge(peer, session, cursor));
        }
    }

    /// A connection has nothing to do with the hub any more, nor with any topic.
    pub(crate) fn leave(&mut self, id: PeerId) {
        let Some(hub) = &self.hub else {
            self.desk.topics_mut().forget(id.index);
            return;
        };
        if let Some((session, identity)) = self.desk.member(id.index) {
            let mut presence = None;
            for topic in self.desk.topics().topics_of(id.index) {
                if hub.config.policies.of(topic).presence == WhoIsHere::Kept {
                    let name = super::hub::line::name_of(session, identity);
                    presence.get_or_insert_with(|| hub.presence()).leave(topic, &name, session, self.now);
                }
            }
            if let Some(presence) = presence {
                self.hub_due = earlier(self.hub_due, presence.poll_timeout());
            }
            if let Some(position) = self.desk.acknowledged(id.index) {
                let _ = hub.acknowledging().unpark(session, &id);
                hub.acknowledged().note(session, position, self.now);
            }
            let _ = hub.parked().unpark(session, &id);
        }
        self.desk.detach(id.index);
    }

    pub(crate) fn broadcast(
        &mut self,
        topic: &str,
        message: Prepared,
        except: Option<PeerId>,
    ) -> Result<(), PublishError> {
        crate::hub::check_name(topic)?;
        self.append(topic, Sender { except, key: None }, Content::Message(message)).map(drop)
    }

    pub(crate) fn broadcast_event(
        &mut self,
        topic: &str,
        event: &sse::Event<'_>,
        except: Option<PeerId>,
    ) -> Result<(), PublishError> {
        crate::hub::check_name(topic)?;
        let block = event.to_bytes()?;
        self.append(topic, Sender { except, key: None }, Content::Block(block)).map(drop)
    }

    fn append(&mut self, topic: &str, sender: Sender<'_>, content: Content) -> Result<Appended, PublishError> {
        let appended = self.log.append((self.clock.unix_ms(self.now), self.now), topic, sender, content)?;
        self.published = true;
        Ok(appended)
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

    /// As a key, or the half of one.
    pub(crate) fn bytes(&mut self) -> [u8; 16] {
        let seed = self.seed();
        std::array::from_fn(|i| seed[i])
    }

    pub(crate) fn number(&mut self) -> u64 {
        let seed = self.seed();
        u64::from_le_bytes(std::array::from_fn(|i| seed[i]))
    }
}
