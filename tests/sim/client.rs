//! The clients: the crate's own session, and a small model of one that speaks bare blocks, its naive twin.

use super::sim::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tautline::client::{Acknowledge, Endpoint, Lane, Publication, Session, SessionEvent, Transport};
use tautline::hub::{Cursor, Delivery, Resume};
use tautline::{Buffers, Input, Instant, Output};

/// What a client says to its application and to its network.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "some of it is for the trace alone")]
pub(crate) enum Said {
    Connect(usize),
    Drop(usize),
    Attached,
    Message {
        topic: String,
        cursor: Option<Cursor>,
        data: String,
    },
    Gap(Vec<(String, String)>),
    Subscribed(String),
    Unsubscribed(String),
    Acknowledged {
        key: String,
        cursor: Cursor,
    },
    Refused {
        status: u16,
        command: String,
        cause: String,
    },
    Lost(String),
    Closed(String),
    /// Its cursor, behind what came.
    Claim(Cursor),
}

/// A publication as an application makes it.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) topic: String,
    pub(crate) data: String,
    pub(crate) others: bool,
    pub(crate) ephemeral: bool,
    pub(crate) slot: Option<String>,
}

pub(crate) enum Client {
    Real(Box<Real>),
    Twin(Box<Twin>),
}

impl Client {
    /// What it is, and what it uses.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Real(real) => match real.session.transport() {
                Transport::WebSocket => "session by WebSocket",
                Transport::EventStream => "session by event stream",
                Transport::LongPoll => "session by long poll",
            },
            Self::Twin(twin) if twin.delivery == Delivery::Plain => "twin",
            Self::Twin(_) => "twin that acknowledges",
        }
    }

    /// Takes what was read on a lane.
    pub(crate) fn feed(&mut self, lane: usize, bytes: &mut [u8], now: Instant, said: &mut Vec<Said>) {
        match self {
            Self::Real(real) => {
                real.ask(lane, bytes, now, said);
                real.turn(now, said);
            }
            Self::Twin(twin) => twin.feed(bytes, now, said),
        }
    }

    /// Does what is due.
    pub(crate) fn turn(&mut self, now: Instant, said: &mut Vec<Said>) {
        match self {
            Self::Real(real) => real.turn(now, said),
            Self::Twin(twin) => twin.turn(now, said),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Real(real) => real.session.poll_timeout(),
            Self::Twin(twin) => twin.poll_timeout(),
        }
    }

    pub(crate) fn out(&mut self, lane: usize) -> &mut Output {
        match self {
            Self::Real(real) => &mut real.outs[lane],
            Self::Twin(twin) => &mut twin.out,
        }
    }

    pub(crate) fn connected(&mut self, lane: usize, now: Instant) {
        match self {
            Self::Real(real) => real.session.connected(Lane::ALL[lane], now),
            Self::Twin(twin) => twin.connected(now),
        }
    }

    pub(crate) fn eof(&mut self, lane: usize, now: Instant) {
        match self {
            Self::Real(real) => real.session.handle_eof(Lane::ALL[lane], now),
            Self::Twin(twin) => twin.lost(now),
        }
    }

    pub(crate) fn connect_failed(&mut self, lane: usize, now: Instant) {
        match self {
            Self::Real(real) => real.session.connect_failed(Lane::ALL[lane], now),
            Self::Twin(twin) => twin.lost(now),
        }
    }

    pub(crate) fn cursor(&self) -> Option<Cursor> {
        match self {
            Self::Real(real) => real.session.cursor(),
            Self::Twin(twin) => twin.main,
        }
    }

    pub(crate) fn token(&self) -> Option<&str> {
        match self {
            Self::Real(real) => real.session.token(),
            Self::Twin(twin) => twin.token.as_deref(),
        }
    }

    /// Whether a topic still has a cursor of its own.
    pub(crate) fn is_apart(&self, topic: &str) -> bool {
        match self {
            Self::Real(real) => real.session.own_cursor(topic).is_some(),
            Self::Twin(_) => false,
        }
    }

    pub(crate) fn acknowledges(&self) -> bool {
        match self {
            Self::Real(real) => real.acknowledges,
            Self::Twin(twin) => twin.delivery == Delivery::Acknowledged,
        }
    }

    pub(crate) fn is_attached(&self) -> bool {
        match self {
            Self::Real(real) => real.session.is_attached(),
            Self::Twin(twin) => twin.attached,
        }
    }

    pub(crate) fn subscribe(&mut self, topic: &str, from: Option<Cursor>) {
        match self {
            Self::Real(real) => real.session.subscribe(topic, from).expect("a good name, and room"),
            Self::Twin(twin) => twin.subscribe(topic, from),
        }
    }

    pub(crate) fn unsubscribe(&mut self, topic: &str) {
        match self {
            Self::Real(real) => assert!(real.session.unsubscribe(topic)),
            Self::Twin(twin) => twin.unsubscribe(topic),
        }
    }

    /// Whether it was taken.
    pub(crate) fn publish(&mut self, post: &Post) -> bool {
        match self {
            Self::Real(real) => {
                let mut publication = Publication::new(&post.topic, &post.data);
                if let Some(slot) = &post.slot {
                    publication = publication.with_slot(slot);
                }
                if post.others {
                    publication = publication.to_others();
                }
                if post.ephemeral {
                    publication = publication.ephemeral();
                }
                real.session.publish(&publication).is_ok()
            }
            Self::Twin(twin) => twin.publish(post),
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        match self {
            Self::Real(real) => real.session.waiting().0,
            Self::Twin(twin) => twin.pending.len(),
        }
    }
}

/// The crate's session.
pub(crate) struct Real {
    pub(crate) session: Session,
    acknowledges: bool,
    outs: [Output; 3],
    buffers: Buffers,
}

impl Real {
    pub(crate) fn new(endpoint: Arc<Endpoint>, rng: &mut Rng) -> Self {
        let acknowledges = endpoint.config().acknowledge != Acknowledge::Never;
        let session = Session::new(endpoint, rng.seed16());
        Self { session, acknowledges, outs: [Output::new(), Output::new(), Output::new()], buffers: Buffers::new() }
    }

    fn turn(&mut self, now: Instant, said: &mut Vec<Said>) {
        for lane in 0..3 {
            self.ask(lane, &mut [], now, said);
        }
        assert!(self.session.poll_timeout().is_none_or(|due| due > now), "a deadline of the session's that stays");
    }

    fn ask(&mut self, lane: usize, bytes: &mut [u8], now: Instant, said: &mut Vec<Said>) {
        let mut input = Input::with_buffers(bytes, &mut self.buffers);
        for turns in 0.. {
            assert!(turns < 100_000, "the session never ends");
            let Some(event) = self.session.next_event(Lane::ALL[lane], &mut input, &mut self.outs[lane], now) else {
                break;
            };
            said.push(match event {
                SessionEvent::Connect(lane) => {
                    self.outs[lane.index()].clear();
                    Said::Connect(lane.index())
                }
                SessionEvent::Drop(lane) => Said::Drop(lane.index()),
                SessionEvent::Attached(_) => Said::Attached,
                SessionEvent::Message(message) => {
                    Said::Message { topic: message.topic.into(), cursor: message.cursor, data: message.data.into() }
                }
                SessionEvent::Gap(gaps) => {
                    Said::Gap(gaps.map(|gap| (gap.topic.into(), gap.reason.to_string())).collect())
                }
                SessionEvent::Subscribed { topic } => Said::Subscribed(topic.into()),
                SessionEvent::Unsubscribed { topic, .. } => Said::Unsubscribed(topic.into()),
                SessionEvent::Acknowledged { key, cursor } => Said::Acknowledged { key: key.into(), cursor },
                SessionEvent::Refused(refused) => Said::Refused {
                    status: refused.status,
                    command: refused.command.into(),
                    cause: refused.cause.into(),
                },
                SessionEvent::Lost { cause, .. } => Said::Lost(cause.to_string()),
                SessionEvent::Closed(closed) => Said::Closed(closed.to_string()),
                other => panic!("not in this world: {other:?}"),
            });
            if let Some(Said::Attached) = said.last()
                && let Some(cursor) = self.session.cursor()
            {
                said.push(Said::Claim(cursor));
            }
        }
        if let Some(cursor) = self.session.cursor() {
            said.push(Said::Claim(cursor));
        }
    }
}

/// A client written from docs/PROTOCOL.md in the plainest way: whole blocks, one connection, strings.
pub(crate) struct Twin {
    pub(crate) main: Option<Cursor>,
    /// Each topic, with its own cursor while it catches up.
    pub(crate) topics: BTreeMap<String, Option<Cursor>>,
    /// Topics that it has let go of, and how often, until the server has said so: what comes of them till then is of before.
    leaving: BTreeMap<String, u32>,
    pub(crate) token: Option<String>,
    pub(crate) delivery: Delivery,
    out: Output,
    received: String,
    link: LinkState,
    attached: bool,
    heard: Instant,
    /// Publications that were not answered: key and block.
    pending: VecDeque<(String, String)>,
    key: u64,
    unacknowledged: u32,
    heartbeat: Duration,
    rng: Rng,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LinkState {
    Away(Instant),
    Connecting,
    Up,
}

impl Twin {
    pub(crate) fn new(delivery: Delivery, rng: &mut Rng, now: Instant) -> Self {
        Self {
            main: None,
            topics: BTreeMap::new(),
            leaving: BTreeMap::new(),
            token: None,
            delivery,
            out: Output::new(),
            received: String::new(),
            link: LinkState::Away(now),
            attached: false,
            heard: now,
            pending: VecDeque::new(),
            key: rng.next(),
            unacknowledged: 0,
            heartbeat: Duration::from_secs(25),
            rng: Rng::new(rng.next()),
        }
    }

    /// What its request would say.
    pub(crate) fn request(&self) -> (Vec<(String, Option<Resume>)>, Resume) {
        let resume = |cursor: Cursor| if cursor == Cursor::START { Resume::Start } else { Resume::At(cursor) };
        let topics = self.topics.iter().map(|(topic, own)| (topic.clone(), own.map(resume))).collect();
        (topics, self.main.map_or(Resume::Live, resume))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.link {
            LinkState::Away(until) => Some(until),
            LinkState::Connecting => None,
            LinkState::Up => Some(self.heard + self.heartbeat * 5 / 2),
        }
    }

    fn connected(&mut self, now: Instant) {
        self.link = LinkState::Up;
        self.heard = now;
        self.received.clear();
    }

    fn lost(&mut self, now: Instant) {
        self.link = LinkState::Away(now + self.rng.millis(50, 3000));
        self.attached = false;
        self.leaving.clear();
        self.out.clear();
    }

    fn turn(&mut self, now: Instant, said: &mut Vec<Said>) {
        match self.link {
            LinkState::Away(until) if until <= now => {
                self.link = LinkState::Connecting;
                said.push(Said::Connect(0));
            }
            LinkState::Up if self.heard + self.heartbeat * 5 / 2 <= now => {
                self.lost(now);
                said.push(Said::Drop(0));
            }
            _ => {}
        }
    }

    fn say(&mut self, block: &str) {
        if self.link == LinkState::Up {
            self.out.push(block.as_bytes()).expect("room");
        }
    }

    fn subscribe(&mut self, topic: &str, from: Option<Cursor>) {
        self.topics.insert(topic.into(), from);
        let data = match from {
            None => String::new(),
            Some(Cursor::START) => "data: 0\n".into(),
            Some(cursor) => format!("data: {cursor}\n"),
        };
        self.say(&format!("event: tautline.subscribe\ntopic: {topic}\n{data}\n"));
    }

    fn unsubscribe(&mut self, topic: &str) {
        self.topics.remove(topic);
        if self.link == LinkState::Up {
            *self.leaving.entry(topic.into()).or_default() += 1;
        }
        self.say(&format!("event: tautline.unsubscribe\ntopic: {topic}\n\n"));
    }

    fn publish(&mut self, post: &Post) -> bool {
        let Post { topic, data, others, ephemeral, slot } = post;
        let others = if *others { "to: others\n" } else { "" };
        let slot = slot.as_ref().map_or(String::new(), |slot| format!("slot: {slot}\n"));
        if *ephemeral {
            if !self.attached {
                return false;
            }
            self.say(&format!("topic: {topic}\nkeep: no\n{others}data: {data}\n\n"));
            return true;
        }
        if self.pending.len() > 200 {
            return false;
        }
        self.key += 1;
        let key = format!("k{}", self.key);
        let block = format!("id: {key}\ntopic: {topic}\n{others}{slot}data: {data}\n\n");
        if self.attached {
            self.say(&block);
        }
        self.pending.push_back((key, block));
        true
    }

    fn feed(&mut self, bytes: &[u8], now: Instant, said: &mut Vec<Said>) {
        self.received.push_str(std::str::from_utf8(bytes).expect("ASCII"));
        self.heard = now;
        while let Some(end) = self.received.find("\n\n") {
            let block: String = self.received.drain(..end + 2).collect();
            self.block(&block, said);
        }
        if let Some(main) = self.main {
            said.push(Said::Claim(main));
        }
    }

    fn block(&mut self, block: &str, said: &mut Vec<Said>) {
        let (mut id, mut topic, mut event, mut data) = (None, None, "", Vec::new());
        for line in block.trim_end_matches('\n').lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("id", value) => id = Some(Cursor::parse(value).expect("a cursor")),
                ("topic", value) => topic = Some(value.to_owned()),
                ("event", value) => event = value,
                ("data", value) => data.push(value),
                other => panic!("no field of the protocol's: {other:?}"),
            }
        }
        let above = |a: Cursor, b: Option<Cursor>| b.is_none_or(|b| a.log != b.log || a.position > b.position);
        let first = data.first().copied().unwrap_or_default();
        let Some(name) = event.strip_prefix("tautline.") else {
            let Some(topic) = topic else {
                // The position.
                let id = id.expect("a block of something");
                assert!(data.is_empty());
                if above(id, self.main) {
                    self.main = Some(id);
                }
                if !self.attached {
                    self.attached = true;
                    said.push(Said::Attached);
                    for (_, block) in self.pending.clone() {
                        self.say(&block);
                    }
                }
                return;
            };
            let Some(own) = self.topics.get_mut(&topic).filter(|_| !self.leaving.contains_key(&topic)) else { return };
            if let Some(id) = id {
                let cursor = if own.is_some() { own } else { &mut self.main };
                if !above(id, *cursor) {
                    return;
                }
                *cursor = Some(id);
            }
            said.push(Said::Message { topic, cursor: id, data: data.join("\n") });
            self.unacknowledged += 1;
            if self.delivery == Delivery::Acknowledged
                && self.unacknowledged >= 5
                && let Some(main) = self.main
                && self.rng.chance(50)
            {
                self.unacknowledged = 0;
                self.say(&format!("event: tautline.ack\ndata: {main}\n\n"));
            }
            return;
        };
        match name {
            "session" => self.token = first.strip_prefix("session ").map(str::to_owned),
            "gap" => {
                let gaps: Vec<(String, String)> =
                    data.iter().filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.into(), b.into())).collect();
                for (topic, reason) in &gaps {
                    if reason != "expired" {
                        match self.topics.get_mut(topic) {
                            Some(own) if own.is_some() => *own = Some(Cursor::START),
                            _ => self.main = Some(Cursor::START),
                        }
                    }
                }
                said.push(Said::Gap(gaps));
            }
            "subscribed" => {
                let topic = topic.expect("a topic");
                if let Some(own) = self.topics.get_mut(&topic).filter(|_| !self.leaving.contains_key(&topic)) {
                    *own = None;
                    let cursor = Cursor::parse(first).expect("a cursor");
                    if above(cursor, self.main) {
                        self.main = Some(cursor);
                    }
                    said.push(Said::Subscribed(topic));
                }
            }
            "unsubscribed" => {
                let topic = topic.expect("a topic");
                if let Some(count) = self.leaving.get_mut(&topic) {
                    *count -= 1;
                    if *count == 0 {
                        self.leaving.remove(&topic);
                    }
                }
                said.push(Said::Unsubscribed(topic));
            }
            "ack" => {
                let (key, cursor) = first.split_once(' ').expect("key and cursor");
                self.pending.retain(|(pending, _)| pending != key);
                said.push(Said::Acknowledged { key: key.into(), cursor: Cursor::parse(cursor).expect("a cursor") });
            }
            "error" => {
                let mut words = first.split(' ');
                let status = words.next().and_then(|word| word.parse().ok()).expect("a status");
                let (command, key) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default());
                if status == 503 && self.link == LinkState::Up {
                    // Again, at once: the log has room some time.
                    if let Some((_, block)) = self.pending.iter().find(|(pending, _)| pending == key).cloned() {
                        self.say(&block);
                    }
                } else {
                    self.pending.retain(|(pending, _)| pending != key);
                }
                said.push(Said::Refused { status, command, cause: data.get(1).copied().unwrap_or_default().into() });
            }
            other => panic!("no event of the protocol's: {other}"),
        }
    }
}
