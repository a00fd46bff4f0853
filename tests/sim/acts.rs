//! What happens in a world: what clients do, and what befalls them.

use super::client::{Client, Post};
use super::hub::{Hub, is_retained, unix_ms};
use super::link::Link;
use super::sim::Rng;
use super::witness::Truth;
use super::world::{TOPICS, World};
use std::time::Duration;
use tautline::hub::Cursor;

impl World {
    pub(crate) fn act(&mut self) {
        self.steps += 1;
        self.action =
            self.now + if self.rng.chance(3) { self.rng.millis(1_000, 30_000) } else { self.rng.millis(0, 250) };
        let at = self.rng.below(self.inhabitants.len());
        let dice = self.rng.below(1000);
        match dice {
            0..550 => self.publish(at),
            550..570 => {
                for _ in 0..self.rng.range(10, 120) {
                    let at = self.rng.below(self.inhabitants.len());
                    self.publish(at);
                }
            }
            570..630 => self.subscribe(at),
            630..680 => self.unsubscribe(at),
            680..760 => self.with_conn(|rng, link| {
                let late = |rng: &mut Rng| if rng.chance(20) { rng.millis(1_000, 60_000) } else { rng.millis(0, 300) };
                let (client, hub) = (late(rng), late(rng));
                link.cut(client, hub);
            }),
            760..830 => self.with_conn(|rng, link| {
                let long = rng.millis(100, 40_000);
                if rng.chance(70) { link.stall_down(long) } else { link.stall_up(long) }
            }),
            830..890 => {
                let worker = self.rng.below(self.hub.workers.len());
                self.hub.workers[worker].lag = self.now + self.rng.millis(10, 4_000);
            }
            890..900 if !self.plan.ample => {
                let worker = self.rng.below(self.hub.workers.len());
                let bytes = self.rng.range(100, 20_000);
                self.hub.workers[worker].desk.shed(bytes);
            }
            900..925 => self.save(at),
            925..940 => self.restart_client(at),
            940..960 => self.inhabitants[at].blocked[0] = self.now + self.rng.millis(1_000, 40_000),
            960..964 => self.restart_hub(),
            // Long enough for what is retained to grow old.
            964..970 => self.action = self.now + self.rng.millis(5_000, 400_000),
            _ => {}
        }
        self.check_bounds();
    }

    pub(crate) fn publish(&mut self, at: usize) {
        self.uid += 1;
        let rng = &mut self.rng;
        let topic = TOPICS[rng.below(TOPICS.len())];
        let len = match rng.below(100) {
            0..80 => rng.below(60),
            80..97 => rng.below(800),
            _ => rng.below(self.plan.hub.queue - 1400),
        };
        let post = Post {
            topic: topic.into(),
            data: format!("{} {}", self.uid, "x".repeat(len)),
            others: rng.chance(20),
            ephemeral: rng.chance(10),
            slot: topic.starts_with("cat/").then(|| format!("s{}", rng.below(12))),
        };
        let one = &mut self.inhabitants[at];
        let taken = one.client.publish(&post);
        *self.counts.entry(if taken { "published" } else { "not taken" }).or_default() += 1;
        self.turn_of(at);
    }

    pub(crate) fn turn_of(&mut self, at: usize) {
        let mut said = Vec::new();
        self.inhabitants[at].client.turn(self.now, &mut said);
        self.hear(at, said);
    }

    pub(crate) fn subscribe(&mut self, at: usize) {
        let topic = TOPICS[self.rng.below(TOPICS.len())];
        let one = &mut self.inhabitants[at];
        if one.witness.topics().any(|other| other == topic) {
            return;
        }
        // From now on, from some time ago, from the beginning.
        let from = match self.rng.below(5) {
            0 => Some(Cursor::START),
            // As far as the others, which may be ahead of the worker.
            2 => one.client.cursor().filter(|cursor| cursor.log == Some(self.hub.shared.log())),
            1 => one.client.cursor().filter(|cursor| cursor.log == Some(self.hub.shared.log())).map(|mut cursor| {
                cursor.position.ms =
                    cursor.position.ms.saturating_sub(self.rng.below(20_000) as u64).max(unix_ms(self.restarted));
                cursor
            }),
            _ => None,
        };
        one.client.subscribe(topic, from);
        self.story(|| format!("client {at} subscribes to {topic} from {from:?}"));
        let one = &mut self.inhabitants[at];
        let hub = &self.hub;
        let retained = |topic: &str, fact: &_| is_retained(hub, topic, fact);
        let head = hub.shared.head().position;
        let truth = Truth { ledger: &hub.shared.ledger, head, retained: &retained, session: None };
        one.witness.subscribe(&truth, topic, from, true, self.steps);
        self.turn_of(at);
    }

    pub(crate) fn unsubscribe(&mut self, at: usize) {
        let one = &mut self.inhabitants[at];
        let topics: Vec<String> = one.witness.topics().map(str::to_owned).collect();
        if topics.len() < 2 {
            return;
        }
        let topic = &topics[self.rng.below(topics.len())];
        one.client.unsubscribe(topic);
        self.story(|| format!("client {at} unsubscribes from {topic}"));
        let one = &mut self.inhabitants[at];
        one.witness.unsubscribe(topic);
        self.turn_of(at);
    }

    pub(crate) fn with_conn(&mut self, act: impl FnOnce(&mut Rng, &mut Link)) {
        if self.conns.is_empty() {
            return;
        }
        let slot = self.rng.below(self.conns.len());
        if let Some(conn) = &mut self.conns[slot] {
            act(&mut self.rng, &mut conn.link);
        }
    }

    /// An application notes how far it is.
    pub(crate) fn save(&mut self, at: usize) {
        let one = &mut self.inhabitants[at];
        if one.witness.is_settled()
            && let Some(cursor) = one.client.cursor().filter(|cursor| cursor.log.is_some())
        {
            one.saved = Some((cursor, one.witness.topics().map(str::to_owned).collect()));
        }
    }

    /// A client's process dies, and another goes on from what was noted.
    pub(crate) fn restart_client(&mut self, at: usize) {
        let Some((cursor, topics)) = self.inhabitants[at].saved.take() else { return };
        let now = self.now;
        let (mut client, endpoint) = self.new_client();
        match &mut client {
            Client::Real(real) => real.session.resume_from(cursor),
            Client::Twin(twin) => twin.main = Some(cursor),
        }
        for topic in &topics {
            client.subscribe(topic, None);
        }
        for lane in 0..3 {
            let one = &mut self.inhabitants[at];
            one.connecting[lane] = None;
            if let Some(slot) = one.lanes[lane].take()
                && let Some(conn) = &mut self.conns[slot]
            {
                conn.closed[0] = true;
                conn.link.up.end.get_or_insert(now);
            }
        }
        let one = &mut self.inhabitants[at];
        (one.client, one.endpoint) = (client, endpoint);
        let hub = &self.hub;
        let retained = |topic: &str, fact: &_| is_retained(hub, topic, fact);
        let head = hub.shared.head().position;
        let truth = Truth { ledger: &hub.shared.ledger, head, retained: &retained, session: None };
        one.witness.restart(&truth, cursor, &topics, self.steps);
        self.story(|| format!("client {at} restarts from {cursor} with {topics:?}"));
        *self.counts.entry("clients restarted").or_default() += 1;
        self.turn_of(at);
    }

    /// The hub's process dies, and another has a log of its own.
    pub(crate) fn restart_hub(&mut self) {
        let ledger = std::mem::take(&mut self.hub.shared.ledger);
        self.hub = Hub::new(&self.plan.hub, ledger, &mut self.rng, self.now);
        self.restarted = self.now;
        self.story(|| "the hub restarts".into());
        *self.counts.entry("hubs restarted").or_default() += 1;
        for slot in 0..self.conns.len() {
            if let Some(conn) = &mut self.conns[slot] {
                conn.closed[1] = true;
                let seen = self.rng.millis(0, 2_000);
                conn.link.cut(seen, Duration::ZERO);
                if conn.closed[0] {
                    self.conns[slot] = None;
                }
            }
        }
    }
}
