//! One hub of several workers, as `src/net/` has it, but for sockets and threads: one log, and a replica for each worker, which reads the log at
//! its own pace.

use super::peer::{Cx, Peer, Wire};
use super::sim::Rng;
use super::witness::{Fact, Ledger};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tautline::Instant;
use tautline::hub::{
    Acknowledged, AcknowledgedLimits, Cursor, Desk, Entry, HubConfig, Keys, LogId, Owner, Parked, Publication,
    PublishError, Reader, Retain, Sequence, SequenceLimits, Sequencer, SessionId, SessionKeys, SlowReader, TopicLimits,
};

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerId {
    pub(crate) worker: usize,
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// What one connection wants of another.
pub(crate) enum Command {
    Release(PeerId),
    Acknowledge(PeerId, SessionId, Cursor),
    Pump(PeerId),
}

/// What the workers share.
pub(crate) struct Shared {
    pub(crate) config: Arc<HubConfig>,
    pub(crate) sequencer: Sequencer,
    pub(crate) sequence: Sequence<Arc<Publication>>,
    pub(crate) keys: Keys,
    pub(crate) sessions: SessionKeys,
    pub(crate) parked: Parked<PeerId>,
    pub(crate) acknowledging: Parked<PeerId>,
    pub(crate) acknowledged: Acknowledged,
    pub(crate) commands: Vec<Command>,
    pub(crate) rng: Rng,
    pub(crate) queue: usize,
    pub(crate) heartbeat: Duration,
    pub(crate) ledger: Ledger,
}

pub(crate) struct Worker {
    pub(crate) desk: Desk<Arc<Publication>>,
    pub(crate) reader: Reader,
    pub(crate) batch: VecDeque<Arc<Publication>>,
    pub(crate) peers: Vec<Option<Peer>>,
    pub(crate) generations: Vec<u32>,
    /// It does not read before.
    pub(crate) lag: Instant,
    pub(crate) sweep: Instant,
}

pub(crate) struct Hub {
    pub(crate) shared: Shared,
    pub(crate) workers: Vec<Worker>,
}

/// The Unix time of a world that began at [`Instant::ORIGIN`].
pub(crate) fn unix_ms(now: Instant) -> u64 {
    1_700_000_000_000 + now.as_nanos() / 1_000_000
}

/// How a world is made.
#[derive(Clone)]
pub(crate) struct HubPlan {
    pub(crate) config: HubConfig,
    pub(crate) workers: usize,
    pub(crate) queue: usize,
    pub(crate) heartbeat: Duration,
    pub(crate) sequence: SequenceLimits,
    pub(crate) topics: TopicLimits,
}

impl Hub {
    pub(crate) fn new(plan: &HubPlan, ledger: Ledger, rng: &mut Rng, now: Instant) -> Self {
        let log = LogId(rng.next() as u32);
        let mut sequencer = Sequencer::new(log);
        let origin = sequencer.next(unix_ms(now));
        let mut sequence = Sequence::new(plan.sequence);
        let config = Arc::new(plan.config.clone());
        let worker = |_| Worker {
            desk: Desk::new(config.clone(), plan.topics, log, origin),
            reader: sequence.add_reader(),
            batch: VecDeque::new(),
            peers: Vec::new(),
            generations: Vec::new(),
            lag: now,
            sweep: now,
        };
        let workers = (0..plan.workers).map(worker).collect();
        let mut ledger = ledger;
        ledger.begin(log);
        let shared = Shared {
            sequencer,
            sequence,
            keys: Keys::new(plan.config.keys),
            sessions: SessionKeys::new(rng.seed16(), log),
            parked: Parked::new(),
            acknowledging: Parked::new(),
            acknowledged: Acknowledged::new(AcknowledgedLimits::default()),
            commands: Vec::new(),
            rng: Rng::new(rng.next()),
            queue: plan.queue,
            heartbeat: plan.heartbeat,
            config,
            ledger,
        };
        Self { shared, workers }
    }

    /// A connection was accepted.
    pub(crate) fn accept(&mut self, worker: usize, wire: Wire, now: Instant) -> PeerId {
        let own = &mut self.workers[worker];
        let index = match own.peers.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                own.peers.push(None);
                own.generations.push(0);
                own.peers.len() - 1
            }
        };
        own.generations[index] += 1;
        own.peers[index] = Some(Peer::new(wire, self.shared.queue, now));
        PeerId { worker, index: index as u32, generation: own.generations[index] }
    }

    /// Something happens to a connection, if it is still there.
    pub(crate) fn with<R>(&mut self, id: PeerId, now: Instant, act: impl FnOnce(&mut Cx<'_>) -> R) -> Option<R> {
        let worker = self.workers.get_mut(id.worker)?;
        let index = id.index as usize;
        if worker.generations.get(index) != Some(&id.generation) {
            return None;
        }
        let mut peer = worker.peers[index].take()?;
        let Peer { wire, out, state } = &mut peer;
        let result = act(&mut Cx { shared: &mut self.shared, desk: &mut worker.desk, id, wire, out, state, now });
        worker.peers[index] = Some(peer);
        Some(result)
    }

    pub(crate) fn peer(&self, id: PeerId) -> Option<&Peer> {
        let worker = self.workers.get(id.worker)?;
        worker.peers.get(id.index as usize)?.as_ref().filter(|_| worker.generations[id.index as usize] == id.generation)
    }

    /// The connection is gone.
    pub(crate) fn remove(&mut self, id: PeerId, now: Instant) {
        if self.with(id, now, |cx| cx.leave()).is_some() {
            self.workers[id.worker].peers[id.index as usize] = None;
        }
    }

    /// What connections want of each other; whether there was something.
    pub(crate) fn run_commands(&mut self, now: Instant) -> bool {
        let commands = std::mem::take(&mut self.shared.commands);
        let any = !commands.is_empty();
        for command in commands {
            match command {
                Command::Release(id) => _ = self.with(id, now, |cx| cx.release()),
                Command::Acknowledge(id, session, cursor) => {
                    self.with(id, now, |cx| cx.acknowledged_beside(session, cursor));
                }
                Command::Pump(id) => _ = self.with(id, now, |cx| cx.pump()),
            }
        }
        any
    }

    /// One turn of a worker: takes what was published, applies it, sends it on. Whether there was something.
    pub(crate) fn deliver(&mut self, worker: usize, now: Instant) -> bool {
        let own = &mut self.workers[worker];
        if own.lag > now {
            return false;
        }
        if own.batch.is_empty() {
            let mut fresh = Vec::new();
            let at_most = self.shared.rng.range(1, 64);
            self.shared.sequence.read(own.reader, at_most, &mut fresh);
            own.batch = fresh.into();
        }
        let Some(first) = own.batch.front().cloned() else { return false };
        // Publications to one topic and for all are joined.
        let joined = |next: &&Arc<Publication>| {
            next.entry().topic() == first.entry().topic() && first.except().is_none() && next.except().is_none()
        };
        let count = 1 + own.batch.iter().skip(1).take_while(joined).count();
        let run: Vec<_> = own.batch.drain(..count).collect();
        for publication in &run {
            own.desk.apply(publication.position(), publication.clone());
        }
        let subscribers = own.desk.topics().subscribers(first.entry().topic()).to_vec();
        for index in subscribers {
            let id = PeerId { worker, index, generation: self.workers[worker].generations[index as usize] };
            self.with(id, now, |cx| cx.published(&run));
        }
        for index in self.workers[worker].desk.take_overtaken() {
            let generation = self.workers[worker].generations[index as usize];
            self.shared.commands.push(Command::Pump(PeerId { worker, index, generation }));
        }
        true
    }

    /// What is due for a worker and for all.
    pub(crate) fn see_to(&mut self, worker: usize, now: Instant) {
        let own = &mut self.workers[worker];
        if own.sweep <= now {
            own.sweep = now + Duration::from_secs(1);
            own.desk.let_go(unix_ms(now));
            self.shared.acknowledged.handle_timeout(now);
            self.shared.keys.handle_timeout(now);
        }
    }

    pub(crate) fn has_unread(&self, worker: usize) -> bool {
        let own = &self.workers[worker];
        !own.batch.is_empty() || self.shared.sequence.has_unread(own.reader)
    }
}

impl Shared {
    pub(crate) fn log(&self) -> LogId {
        self.sequencer.log()
    }

    pub(crate) fn head(&self) -> Cursor {
        self.sequencer.cursor(self.sequencer.head())
    }

    /// The critical section.
    pub(crate) fn append(
        &mut self,
        entry: Entry,
        except: Option<SessionId>,
        key: Option<(Owner, &str)>,
        now: Instant,
    ) -> Result<Cursor, PublishError> {
        // As for the loop: what fits an empty queue, beside an answer.
        if entry.block_len() > self.queue - 1024 {
            return Err(PublishError::TooLong { limit: self.queue - 1024 });
        }
        if let Some((owner, key)) = key
            && let Ok(Some(position)) = self.keys.check(owner, key, now)
        {
            return Ok(self.sequencer.cursor(position));
        }
        let bytes = entry.bytes();
        self.sequence.room_for(bytes)?;
        let position = self.sequencer.next(unix_ms(now));
        let cursor = self.sequencer.cursor(position);
        let uid = entry.data().split(' ').next().unwrap_or_default().parse().expect("every event has its number");
        self.ledger.note(
            entry.topic(),
            Fact { position, uid, except, slot: entry.slot().into(), ephemeral: entry.is_ephemeral() },
        );
        let compressing = self.config.policies.of(entry.topic()).compressing;
        let publication = Arc::new(Publication::new(cursor, entry, except, compressing));
        self.sequence.push(publication, bytes)?;
        if let Some((owner, key)) = key {
            self.keys.remember(owner, key, position, now).expect("it was checked");
        }
        Ok(cursor)
    }

    pub(crate) fn slow(&self, topic: &str) -> SlowReader {
        self.config.policies.of(topic).slow
    }
}

/// Whether a publication is retained by every worker.
pub(crate) fn is_retained(hub: &Hub, topic: &str, fact: &Fact) -> bool {
    hub.workers.iter().all(|worker| {
        let mut after = worker.desk.retained().after_one(topic, fact.position.before());
        after.next().is_some_and(|publication| publication.position() == fact.position)
    })
}
