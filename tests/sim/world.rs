//! The world: a hub, its clients, the links between them, one clock and one seed.

use super::client::{Client, Real, Said, Twin};
use super::hub::{Hub, HubPlan, PeerId, is_retained};
use super::link::Link;
use super::peer::{Wire, earlier};
use super::sim::Rng;
use super::witness::{Ledger, Truth, Witness};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tautline::backoff::BackoffConfig;
use tautline::client::{Acknowledge, Endpoint, LadderConfig, SessionConfig, Transport, Transports};
use tautline::http::url::Url;
use tautline::hub::{
    Cursor, Delivery, HistoryLimits, HubConfig, Keeps, KeysLimits, Policies, RateLimit, RetainedLimits, SequenceLimits,
    SlowReader, TopicLimits, TopicPolicy,
};
use tautline::poll::PollConfig;
use tautline::{Instant, Output};

/// What a world is like.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) clients: usize,
    pub(crate) hub: HubPlan,
    /// Whether histories are so long that nothing is ever told as a gap.
    pub(crate) ample: bool,
}

pub(crate) const TOPICS: [&str; 7] = ["log/a", "log/b", "close/a", "cat/a", "cat/b", "none/a", "small/a"];

impl Plan {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let ample = rng.chance(20);
        let history =
            |events, bytes, seconds, keeps| HistoryLimits { events, bytes, age: Duration::from_secs(seconds), keeps };
        let policy = |history, slow| TopicPolicy { history, slow, ..TopicPolicy::default() };
        let long = history(1_000_000, 1 << 30, 1 << 30, Keeps::All);
        let log = if ample { long } else { history(rng.range(20, 100), 1 << 20, 300, Keeps::All) };
        let small = if ample { long } else { history(50, 4 << 10, 10, Keeps::All) };
        let none = if ample { long } else { history(0, 0, 0, Keeps::All) };
        let cat =
            history(if ample { 1000 } else { 8 }, 1 << 20, if ample { 1 << 30 } else { 120 }, Keeps::LatestPerSlot);
        let policies = Policies::new(policy(log, SlowReader::FallBehind))
            .with("close/", policy(log, SlowReader::Close))
            .with("cat/", policy(cat, SlowReader::FallBehind))
            .with("none/", policy(none, SlowReader::FallBehind))
            .with("small/", policy(small, SlowReader::FallBehind));
        let retained = if ample { 1 << 30 } else { [60 << 10, 1 << 20, 16 << 20][rng.below(3)] };
        let queue = [16 << 10, 40 << 10, 128 << 10][rng.below(3)];
        let poll = PollConfig {
            events: [3, 20, 100][rng.below(3)],
            // An answer goes whole: it has to fit the queue.
            bytes: [600, 8 << 10, 256 << 10][rng.below(3)].min(queue / 2),
            ..PollConfig::default()
        };
        let config = HubConfig {
            policies,
            retained: RetainedLimits { topics: if rng.chance(30) && !ample { 5 } else { 1000 }, bytes: retained },
            rate: RateLimit {
                per_second: NonZeroU32::new(100_000).expect("not zero"),
                burst: NonZeroU32::new(100_000).expect("not zero"),
            },
            keys: KeysLimits::default(),
            poll,
            acknowledge_within: Duration::from_secs([3, 30][rng.below(2)]),
            ..HubConfig::default()
        };
        let hub = HubPlan {
            config,
            workers: rng.range(1, 3),
            queue,
            heartbeat: rng.millis(4_000, 20_000),
            sequence: SequenceLimits { entries: [64, 1000][rng.below(2)], bytes: 1 << 20 },
            topics: TopicLimits::default(),
        };
        Self { clients: rng.range(4, 18), hub, ample }
    }
}

pub(crate) struct Conn {
    pub(crate) client: usize,
    pub(crate) lane: usize,
    pub(crate) link: Link,
    pub(crate) peer: PeerId,
    /// The step in which it stood.
    pub(crate) born: u64,
    /// Each side has closed its end.
    pub(crate) closed: [bool; 2],
    /// A middlebox: so many bytes come down, then it is cut.
    pub(crate) leaky: Option<u64>,
}

pub(crate) struct Inhabitant {
    pub(crate) client: Client,
    pub(crate) witness: Witness,
    /// The connection of each lane.
    pub(crate) lanes: [Option<usize>; 3],
    /// When the connection of each lane stands, or does not.
    pub(crate) connecting: [Option<Instant>; 3],
    pub(crate) saved: Option<(Cursor, Vec<String>)>,
    pub(crate) blocked: [Instant; 2],
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    pub(crate) told: u64,
}

thread_local! {
    /// Of whom it was talked last.
    pub(crate) static STORY: Cell<(usize, &'static str)> = const { Cell::new((0, "")) };
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) hub: Hub,
    pub(crate) plan: Plan,
    pub(crate) inhabitants: Vec<Inhabitant>,
    pub(crate) conns: Vec<Option<Conn>>,
    pub(crate) action: Instant,
    pub(crate) steps: u64,
    pub(crate) uid: u64,
    /// A hash of everything that happened.
    pub(crate) trace: u64,
    pub(crate) restarted: Instant,
    /// Answered publications, by number: those of the present log.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) calm: bool,
    pub(crate) tells: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::random(&mut rng);
        let now = Instant::from_millis(1_000_000);
        let hub = Hub::new(&plan.hub, Ledger::default(), &mut rng, now);
        let mut world = Self {
            now,
            hub,
            inhabitants: Vec::new(),
            conns: Vec::new(),
            action: now,
            steps: 0,
            uid: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            restarted: now,
            counts: BTreeMap::new(),
            calm: false,
            tells: std::env::var_os("SIM_STORY").is_some(),
            rng,
            plan,
        };
        for _ in 0..world.plan.clients {
            world.settle_in();
        }
        world
    }

    fn settle_in(&mut self) {
        let (client, endpoint) = self.new_client();
        self.inhabitants.push(Inhabitant {
            client,
            witness: Witness::default(),
            lanes: [None; 3],
            connecting: [None; 3],
            saved: None,
            blocked: [self.now; 2],
            endpoint,
            told: 0,
        });
        for _ in 0..self.rng.range(1, 3) {
            self.subscribe(self.inhabitants.len() - 1);
        }
    }

    pub(crate) fn new_client(&mut self) -> (Client, Option<Arc<Endpoint>>) {
        let rng = &mut self.rng;
        if rng.chance(30) {
            let delivery = if rng.chance(50) { Delivery::Plain } else { Delivery::Acknowledged };
            return (Client::Twin(Box::new(Twin::new(delivery, rng, self.now))), None);
        }
        let transports = match rng.below(6) {
            0 => Transports::only(Transport::WebSocket),
            1 => Transports::only(Transport::EventStream),
            2 => Transports::only(Transport::LongPoll),
            _ => Transports::ALL,
        };
        let config = SessionConfig {
            transports,
            ladder: LadderConfig {
                cool_down: Duration::from_secs(8),
                longest_cool_down: Duration::from_secs(40),
                failures: 2,
            },
            backoff: BackoffConfig {
                base: Duration::from_millis(300),
                cap: Duration::from_secs(5),
                ..BackoffConfig::default()
            },
            acknowledge: if rng.chance(40) { Acknowledge::Automatic } else { Acknowledge::Never },
            acknowledge_events: 4,
            poll: Duration::from_secs(rng.range(2, 25) as u64),
            ..SessionConfig::default()
        };
        let endpoint = config.check(&Url::parse("http://hub.example/hub").expect("a URL")).expect("good settings");
        (Client::Real(Box::new(Real::new(endpoint.clone(), rng))), Some(endpoint))
    }

    // The run.

    /// Lets things happen, until there were so many steps.
    pub(crate) fn run(&mut self, steps: u64) {
        while self.steps < steps {
            self.turn(None);
        }
    }

    /// All that is broken is mended, nobody does anything any more, and time passes: then nothing may be owed.
    pub(crate) fn come_to_rest(&mut self) {
        self.last_storm();
        self.calm = true;
        for worker in &mut self.hub.workers {
            worker.lag = self.now;
        }
        for conn in self.conns.iter_mut().flatten() {
            conn.link.heal();
            conn.leaky = None;
        }
        for one in &mut self.inhabitants {
            one.blocked = [self.now; 2];
        }
        let rest = self.now + Duration::from_secs(200);
        while self.now < rest {
            self.turn(Some(rest));
        }
        self.check_bounds();
        for at in 0..self.inhabitants.len() {
            let one = &mut self.inhabitants[at];
            if one.witness.topics().next().is_none() {
                continue;
            }
            STORY.set((at, one.client.kind()));
            if !one.client.is_attached() {
                for conn in self.conns.iter().flatten().filter(|conn| conn.client == at) {
                    let peer = self.hub.peer(conn.peer);
                    eprintln!(
                        "lane {}: closed {:?}, {:?} to be written, blocked {:?}, {:?}, down due {:?}, up due {:?}",
                        conn.lane,
                        conn.closed,
                        peer.map(|peer| peer.out.len()),
                        peer.map(|peer| peer.out.is_blocked()),
                        peer.map(|peer| &peer.state),
                        conn.link.down,
                        conn.link.up.due(),
                    );
                }
            }
            assert!(one.client.is_attached(), "client {at} is not attached after 200 s of calm");
            assert_eq!(one.client.waiting(), 0, "client {at} still waits for answers");
            let hub = &self.hub;
            let retained = |topic: &str, fact: &_| is_retained(hub, topic, fact);
            let truth = Truth {
                ledger: &hub.shared.ledger,
                head: hub.shared.head().position,
                retained: &retained,
                session: None,
            };
            one.witness.settle(&truth);
        }
        for worker in 0..self.hub.workers.len() {
            assert!(!self.hub.has_unread(worker));
        }
        assert_eq!(self.hub.shared.sequence.len(), 0);
    }

    /// What would be seen only at the end: all connections break while a worker is far behind, so that clients come back ahead of it.
    fn last_storm(&mut self) {
        self.action = self.now + Duration::from_secs(3600);
        let steps_to = |world: &mut Self, until: Instant| {
            while world.now < until {
                world.turn(Some(until));
            }
        };
        let late = self.rng.below(self.hub.workers.len());
        for at in 0..self.hub.workers.len() {
            self.hub.workers[at].lag = if at == late { self.now + Duration::from_secs(12) } else { self.now };
        }
        for round in 0..20 {
            let at = self.rng.below(self.inhabitants.len());
            self.publish(at);
            steps_to(self, self.now + Duration::from_millis(200 + round));
        }
        for slot in 0..self.conns.len() {
            if let Some(conn) = &mut self.conns[slot] {
                let (client, hub) = (self.rng.millis(0, 500), self.rng.millis(0, 500));
                conn.link.cut(client, hub);
            }
        }
        steps_to(self, self.now + Duration::from_secs(4));
        for at in 0..self.inhabitants.len() {
            self.subscribe(at);
        }
        steps_to(self, self.now + Duration::from_secs(1));
    }

    /// Everybody leaves, and what is retained grows old: the hub holds nothing then. Returns it.
    pub(crate) fn come_to_an_end(mut self) -> Hub {
        for slot in 0..self.conns.len() {
            if let Some(conn) = self.conns[slot].take() {
                self.hub.remove(conn.peer, self.now);
            }
        }
        assert!(self.hub.shared.parked.is_empty(), "polls parked by nobody");
        assert!(self.hub.shared.acknowledging.is_empty(), "connections that acknowledge, and are gone");
        let much_later = self.now + Duration::from_secs(1 << 31);
        for at in 0..self.hub.workers.len() {
            self.hub.workers[at].sweep = much_later;
            self.hub.see_to(at, much_later);
            let worker = &mut self.hub.workers[at];
            assert_eq!(worker.desk.members().count(), 0, "members without a connection");
            assert!(worker.desk.topics().is_empty(), "topics without subscribers");
            let retained = worker.desk.retained();
            assert_eq!((retained.publications(), retained.topics(), retained.bytes()), (0, 0, 0), "retained for ever");
        }
        assert!(self.hub.shared.keys.is_empty() && self.hub.shared.acknowledged.is_empty());
        self.hub
    }

    /// Does what is due now, or lets time pass to what is due next.
    fn turn(&mut self, until: Option<Instant>) {
        if self.settle() {
            return;
        }
        let mut next = if self.calm { None } else { Some(self.action) };
        for conn in self.conns.iter().flatten() {
            if !conn.closed[0] {
                next = earlier(next, conn.link.down.due());
            }
            if !conn.closed[1] && self.hub.peer(conn.peer).is_some_and(|peer| peer.reads(self.plan.hub.queue)) {
                next = earlier(next, conn.link.up.due());
            }
            if !conn.closed[1]
                && let Some(peer) = self.hub.peer(conn.peer)
            {
                next = earlier(next, peer.poll_timeout(self.plan.hub.heartbeat));
            }
        }
        for one in &self.inhabitants {
            next = earlier(next, one.client.poll_timeout());
            next = one.connecting.iter().fold(next, |next, at| earlier(next, *at));
        }
        for (at, worker) in self.hub.workers.iter().enumerate() {
            next = earlier(next, Some(worker.sweep));
            if self.hub.has_unread(at) {
                next = earlier(next, Some(worker.lag));
            }
        }
        let next = earlier(next, until).expect("sweeps go on");
        assert!(next >= self.now, "time runs forward");
        self.now = next.max(self.now);
        for conn in self.conns.iter_mut().flatten() {
            conn.link.set_now(self.now);
        }
        if !self.calm && self.action <= self.now {
            self.act();
        }
    }

    /// One look at everything; whether something happened.
    fn settle(&mut self) -> bool {
        let mut busy = false;
        let now = self.now;
        let (conns, clients) = (self.conns.len(), self.inhabitants.len());
        // Whoever comes first is a matter of chance.
        let offset = self.rng.below(conns.max(1));
        for at in 0..conns {
            let slot = (at + offset) % conns;
            let client_first = self.rng.chance(50);
            for client in [client_first, !client_first] {
                busy |= if client { self.client_side(slot) } else { self.hub_side(slot) };
            }
        }
        for at in 0..clients {
            let one = &mut self.inhabitants[at];
            if one.client.poll_timeout().is_some_and(|due| due <= now) {
                let mut said = Vec::new();
                one.client.turn(now, &mut said);
                self.hear(at, said);
                busy = true;
                self.steps += 1;
            }
            for lane in 0..3 {
                if self.inhabitants[at].connecting[lane].is_some_and(|due| due <= now) {
                    self.inhabitants[at].connecting[lane] = None;
                    self.connect(at, lane);
                    busy = true;
                }
            }
        }
        for worker in 0..self.hub.workers.len() {
            self.hub.see_to(worker, now);
            if self.hub.deliver(worker, now) {
                busy = true;
                self.steps += 1;
            }
        }
        busy |= self.hub.run_commands(now);
        busy
    }

    fn hub_side(&mut self, slot: usize) -> bool {
        let now = self.now;
        let Some(conn) = self.conns[slot].as_mut().filter(|conn| !conn.closed[1]) else { return false };
        let (id, mut busy) = (conn.peer, false);
        let Some(peer) = self.hub.peer(id) else { return false };
        if peer.poll_timeout(self.plan.hub.heartbeat).is_some_and(|due| due <= now) {
            self.hub.with(id, now, |cx| cx.handle_timeout());
            busy = true;
        }
        let Some(peer) = self.hub.peer(id) else { return false };
        if peer.reads(self.plan.hub.queue) {
            match conn.link.up.read(&mut self.rng) {
                Some(mut piece) if !piece.is_empty() => {
                    self.hub.with(id, now, |cx| cx.receive(&mut piece));
                    busy = true;
                }
                Some(_) => {
                    self.hub.with(id, now, |cx| cx.handle_eof());
                    busy = true;
                }
                None => {}
            }
        }
        self.hub.with(id, now, |cx| {
            if !cx.out.is_empty() {
                conn.link.down.burst = self.rng.range(1, conn.link.down.line.piece);
                let before = cx.out.len();
                write(cx.out, &mut conn.link.down);
                if cx.out.len() != before {
                    busy = true;
                }
            }
            // What has nothing to write any more may have something to pull.
            let before = cx.out.len();
            cx.wrote();
            busy |= cx.out.len() != before;
            if cx.state.over && (cx.out.is_empty() || conn.link.up.end_seen) {
                conn.closed[1] = true;
                let seen = now + conn.link.down.line.delay;
                conn.link.down.end.get_or_insert(seen);
                busy = true;
            }
        });
        if let Some(most) = conn.leaky
            && conn.link.down.written >= most
            && conn.link.down.end.is_none()
        {
            conn.link.cut(Duration::ZERO, Duration::ZERO);
            busy = true;
        }
        if conn.closed[1] {
            self.hub.remove(id, now);
        }
        self.steps += u64::from(busy);
        if conn.closed == [true, true] {
            self.conns[slot] = None;
        }
        busy
    }

    fn client_side(&mut self, slot: usize) -> bool {
        let now = self.now;
        let Some(conn) = self.conns[slot].as_mut().filter(|conn| !conn.closed[0]) else { return false };
        let (at, lane, mut busy) = (conn.client, conn.lane, false);
        let one = &mut self.inhabitants[at];
        let mut said = Vec::new();
        match conn.link.down.read(&mut self.rng) {
            Some(mut piece) if !piece.is_empty() => {
                self.trace = hash(self.trace, &piece);
                if self.tells {
                    eprintln!(
                        "{:>9} client {at} lane {lane} reads {:?}",
                        now.as_nanos() / 1_000_000 - 1_000_000,
                        String::from_utf8_lossy(&piece)
                    );
                }
                one.client.feed(lane, &mut piece, now, &mut said);
                busy = true;
            }
            Some(_) => {
                conn.closed[0] = true;
                one.lanes[lane] = None;
                one.client.eof(lane, now);
                one.client.turn(now, &mut said);
                let seen = now + conn.link.up.line.delay;
                conn.link.up.end.get_or_insert(seen);
                busy = true;
            }
            None => {}
        }
        let conn = self.conns[slot].as_mut().expect("as before");
        let out = one.client.out(lane);
        if !conn.closed[0] && !out.is_empty() {
            conn.link.up.burst = self.rng.range(1, conn.link.up.line.piece);
            let before = out.len();
            write(out, &mut conn.link.up);
            busy |= out.len() != before;
        }
        self.steps += u64::from(busy);
        if conn.closed == [true, true] {
            self.conns[slot] = None;
        }
        self.hear(at, said);
        busy
    }

    /// Tells what happens, where somebody wants to hear it (`SIM_STORY`).
    pub(crate) fn story(&self, line: impl FnOnce() -> String) {
        if self.tells {
            let mut line = line();
            line.truncate(240);
            eprintln!("{:>9} {line}", (self.now.as_nanos() / 1_000_000) - 1_000_000);
        }
    }

    /// What a client said.
    pub(crate) fn hear(&mut self, at: usize, said: Vec<Said>) {
        let kind = self.inhabitants[at].client.kind();
        STORY.set((at, kind));
        for said in said {
            self.story(|| format!("client {at}: {said:?}"));
            self.trace = hash(self.trace, format!("{} {at} {said:?}", self.now.as_nanos()).as_bytes());
            let one = &mut self.inhabitants[at];
            let hub = &self.hub;
            let session = one.client.token().and_then(|token| hub.shared.sessions.check(token, None).ok());
            one.witness.sessions.extend(session);
            let retained = |topic: &str, fact: &_| is_retained(hub, topic, fact);
            let head = hub.shared.head().position;
            let truth = Truth { ledger: &hub.shared.ledger, head, retained: &retained, session };
            match said {
                Said::Message { topic, cursor, data } => one.witness.message(&truth, &topic, cursor, &data),
                Said::Claim(cursor) => one.witness.claim(&truth, cursor),
                Said::Gap(gaps) => {
                    *self.counts.entry("gaps").or_default() += 1;
                    for (topic, reason) in gaps {
                        // No cursor is ahead of a log that it is of: the head is the log's, not the worker's.
                        assert_ne!(reason, "ahead", "client {at}: {topic}");
                        // What is not acknowledged comes again, and with it the word of what was not there.
                        let quiet = self.plan.ample && !one.client.acknowledges();
                        assert!(!quiet || reason == "unknown", "client {at}: a gap in {topic}: {reason}");
                        one.witness.gap(&truth, &topic, &reason);
                    }
                }
                // On a connection that is not as far as the one before, it goes on by itself until they meet.
                Said::Subscribed(topic) if one.client.is_apart(&topic) => {}
                Said::Subscribed(topic) => one.witness.caught_up(&truth, &topic),
                Said::Attached => {
                    *self.counts.entry("attached").or_default() += 1;
                    let born = one
                        .lanes
                        .iter()
                        .flatten()
                        .filter_map(|slot| self.conns[*slot].as_ref())
                        .map(|conn| conn.born)
                        .min();
                    one.witness.attached(&truth, one.client.cursor(), born.unwrap_or(0));
                }
                Said::Acknowledged { key, cursor } => {
                    *self.counts.entry("acknowledged").or_default() += 1;
                    assert!(cursor.log.is_some(), "{key}");
                    one.told += 1;
                }
                Said::Refused { status, command, cause } => {
                    *self.counts.entry("refused").or_default() += 1;
                    assert!(status == 503 || status == 413, "client {at}: {status} {command}: {cause}");
                }
                Said::Closed(cause) => panic!("client {at} is over: {cause}"),
                Said::Lost(_) => *self.counts.entry("lost").or_default() += 1,
                Said::Unsubscribed(_) => {}
                Said::Drop(lane) => {
                    one.connecting[lane] = None;
                    if let Some(slot) = one.lanes[lane].take()
                        && let Some(conn) = &mut self.conns[slot]
                    {
                        let out = one.client.out(lane);
                        conn.link.up.burst = usize::MAX;
                        write(out, &mut conn.link.up);
                        out.clear();
                        conn.closed[0] = true;
                        let seen = self.now + conn.link.up.line.delay;
                        conn.link.up.end.get_or_insert(seen);
                    }
                }
                Said::Connect(lane) => {
                    assert!(one.lanes[lane].is_none(), "client {at} connects lane {lane}, which is in use");
                    one.connecting[lane] = Some(self.now + self.rng.millis(0, 300));
                }
            }
        }
    }

    /// A connection is made, or not.
    fn connect(&mut self, at: usize, lane: usize) {
        let now = self.now;
        self.steps += 1;
        let one = &mut self.inhabitants[at];
        let mut said = Vec::new();
        if !self.calm && self.rng.chance(4) {
            one.client.connect_failed(lane, now);
            one.client.turn(now, &mut said);
            return self.hear(at, said);
        }
        let worker = self.rng.below(self.hub.workers.len());
        let wire = match &one.client {
            Client::Real(_) => Wire::http(now),
            Client::Twin(_) => Wire::Blocks(String::new()),
        };
        let peer = self.hub.accept(worker, wire, now);
        let slot = match self.conns.iter().position(Option::is_none) {
            Some(slot) => slot,
            None => {
                self.conns.push(None);
                self.conns.len() - 1
            }
        };
        one.lanes[lane] = Some(slot);
        one.client.connected(lane, now);
        one.witness.connected();
        self.story(|| {
            format!("client {at} lane {lane} stands: connection {slot}, worker {worker} number {}", peer.index)
        });
        let one = &mut self.inhabitants[at];
        let mut link = Link::random(&mut self.rng, now);
        if self.calm {
            link.heal();
        }
        let leaky = (one.blocked[0] > now).then(|| self.rng.range(0, 900) as u64);
        self.conns[slot] = Some(Conn { client: at, lane, link, peer, born: self.steps, closed: [false; 2], leaky });
        if let Client::Twin(twin) = &one.client {
            let (topics, resume) = twin.request();
            let topics: Vec<_> = topics.iter().map(|(topic, own)| (&**topic, *own)).collect();
            let (token, delivery) = (twin.token.clone(), twin.delivery);
            self.hub.with(peer, now, |cx| cx.attach_blocks(token.as_deref(), &topics, resume, delivery));
        }
        let one = &mut self.inhabitants[at];
        one.client.turn(now, &mut said);
        self.hear(at, said);
    }

    /// Nothing is larger than it may be.
    pub(crate) fn check_bounds(&self) {
        let (hub, plan) = (&self.hub, &self.plan.hub);
        let mut connections = 0;
        for worker in &hub.workers {
            let retained = worker.desk.retained();
            assert!(retained.bytes() <= plan.config.retained.bytes && retained.topics() <= plan.config.retained.topics);
            assert!(worker.desk.members().count() <= worker.peers.iter().flatten().count());
            connections += worker.peers.iter().flatten().count();
            for peer in worker.peers.iter().flatten() {
                // One pong and one Close have their room beyond it.
                assert!(peer.out.len() <= plan.queue + 1024, "a queue of {} bytes", peer.out.len());
            }
        }
        let shared = &hub.shared;
        assert!(shared.sequence.len() <= plan.sequence.entries && shared.sequence.bytes() <= plan.sequence.bytes);
        assert!(shared.keys.len() <= plan.config.keys.entries);
        assert!(shared.parked.len() <= connections && shared.acknowledging.len() <= connections);
        // A lane each, and those whose end is still on its way.
        assert!(connections <= self.conns.iter().flatten().count(), "connections that nobody has");
    }

    pub(crate) fn events(&self) -> u64 {
        self.inhabitants.iter().map(|one| one.witness.events).sum()
    }

    pub(crate) fn missed(&self) -> u64 {
        self.inhabitants.iter().map(|one| one.witness.missed).sum()
    }
}

/// Writes as a socket does.
fn write(out: &mut Output, to: &mut super::sim::Pipe) {
    if let Err(error) = out.write_to(to) {
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

/// FNV-1a.
fn hash(mut state: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    state
}
