//! The hub's desk against a naive model: whatever is done in whatever order, a member gets each event of its topics once, in order, and
//! either all of them behind its cursor or a gap notice that names the topic.

mod desk;

use desk::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tautline::Instant;
use tautline::hub::{
    Attachment, Cursor, Delivery, Desk, Entry, First, Identity, Item, Most, Offer, Position, Publication, Pulled,
    Resume, SessionId, Subscribed, notice,
};
use tautline::sse::Event;

const SLOTS: [&str; 2] = ["left", "right"];
const MEMBERS: u32 = 3;

fn ephemeral(position: Position, topic: &str) -> Arc<Publication> {
    let entry = Entry::ephemeral(topic, &Event::new("now")).unwrap();
    Arc::new(Publication::new(cursor(position), entry, None, Default::default()))
}

// Anything in any order, against the model.

#[derive(Clone, Debug)]
enum Op {
    /// Appended to the log.
    Publish(Kind),
    /// So many of the log are applied; `taken` says of each member whether it takes what it is offered.
    Apply {
        count: usize,
        taken: [bool; MEMBERS as usize],
    },
    Attach {
        member: u32,
        resume: From,
        topics: Vec<(usize, Option<From>)>,
        delivery: Delivery,
        /// Whether it brings what it acknowledged before.
        back: bool,
    },
    Subscribe {
        member: u32,
        topic: usize,
        from: From,
    },
    Unsubscribe {
        member: u32,
        topic: usize,
    },
    Pull {
        member: u32,
        most: Most,
    },
    /// The last that it got, or so many before.
    Acknowledge {
        member: u32,
        before: u64,
    },
    /// A cursor that it got nothing of.
    AcknowledgeNonsense {
        member: u32,
    },
    /// Time passes.
    Wait(u64),
    FallBehind {
        member: u32,
    },
    Detach {
        member: u32,
    },
    Shed(usize),
}

#[derive(Clone, Debug)]
enum Kind {
    Event { topic: usize, slot: usize, except: Option<u32> },
    Ephemeral { topic: usize },
    Other,
}

#[derive(Clone, Copy, Debug)]
enum From {
    Live,
    Start,
    /// So many positions before the log's head.
    Before(u64),
    Ahead,
    OtherLog,
    Unknown,
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        2 => Just(From::Live),
        1 => Just(From::Start),
        6 => (0u64..20).prop_map(From::Before),
        1 => Just(From::Ahead),
        1 => Just(From::OtherLog),
        1 => Just(From::Unknown),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        // Nothing is published to `quiet`.
        8 => (0..TOPICS.len() - 1, 0..SLOTS.len(), prop::option::weighted(0.2, 0..MEMBERS))
            .prop_map(|(topic, slot, except)| Kind::Event { topic, slot, except }),
        1 => (0..TOPICS.len()).prop_map(|topic| Kind::Ephemeral { topic }),
        1 => Just(Kind::Other),
    ]
}

fn most() -> impl Strategy<Value = Most> {
    let first = prop_oneof![Just(First::Any), Just(First::Fitting)];
    prop_oneof![
        1 => Just(ALL),
        2 => (0usize..4, 0usize..200, first).prop_map(|(events, bytes, first)| Most { events, bytes, first }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let member = 0..MEMBERS;
    let topic = 0..TOPICS.len();
    let topics = prop::collection::btree_map(topic.clone(), prop::option::weighted(0.3, from()), 1..4)
        .prop_map(|topics| topics.into_iter().collect::<Vec<_>>());
    let delivery = prop_oneof![Just(Delivery::Plain), Just(Delivery::Acknowledged)];
    prop_oneof![
        12 => kind().prop_map(Op::Publish),
        8 => (1usize..4, prop::array::uniform3(prop::bool::weighted(0.9))).prop_map(|(count, taken)| Op::Apply { count, taken }),
        4 => (member.clone(), from(), topics, delivery, any::<bool>()).prop_map(|(member, resume, topics, delivery, back)| {
            // What is live needs no cursor of its own.
            let topics = topics.into_iter().map(|(topic, own)| (topic, own.filter(|own| !matches!(own, From::Live)))).collect();
            Op::Attach { member, resume, topics, delivery, back }
        }),
        3 => (member.clone(), topic.clone(), from()).prop_map(|(member, topic, from)| Op::Subscribe { member, topic, from }),
        1 => (member.clone(), topic).prop_map(|(member, topic)| Op::Unsubscribe { member, topic }),
        8 => (member.clone(), most()).prop_map(|(member, most)| Op::Pull { member, most }),
        4 => (member.clone(), 0u64..4).prop_map(|(member, before)| Op::Acknowledge { member, before }),
        1 => member.clone().prop_map(|member| Op::AcknowledgeNonsense { member }),
        3 => prop_oneof![Just(10), Just(60), Just(30_000)].prop_map(Op::Wait),
        1 => member.clone().prop_map(|member| Op::FallBehind { member }),
        1 => member.prop_map(|member| Op::Detach { member }),
        1 => (1usize..2000).prop_map(Op::Shed),
    ]
}

/// One event, as the model knows it.
#[derive(Clone, Debug)]
struct Happened {
    topic: &'static str,
    slot: &'static str,
    except: Option<SessionId>,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Retained,
    /// By a newer one of its slot: that is no loss.
    Replaced,
    Lost,
}

/// What a member has and has still to get.
#[derive(Debug)]
struct Model {
    session: SessionId,
    /// The last that it got, but of topics with cursors of their own.
    at: Position,
    topics: BTreeMap<&'static str, OfTopic>,
    /// What it acknowledged, and the cursor that it came with.
    acknowledged: Option<(Position, Position)>,
    /// The highest position of an event sent, or of a position block.
    sent: Position,
    /// It pulled, and waits for what is not applied yet.
    waits: bool,
    /// The next pull begins with these.
    gaps: BTreeMap<&'static str, &'static str>,
}

#[derive(Debug, Default)]
struct OfTopic {
    own: Option<Position>,
    /// Where it began.
    since: Position,
    owed: BTreeSet<Position>,
    /// Up to where it knows that it has not everything, or has no need to.
    told: Position,
}

struct World {
    desk: Desk<Arc<Publication>>,
    log: VecDeque<(Position, Option<Arc<Publication>>)>,
    head: Position,
    applied: Position,
    happened: BTreeMap<Position, Happened>,
    members: BTreeMap<u32, Model>,
    remembered: BTreeMap<u32, Position>,
    now: Instant,
    ms: u64,
    /// Records of topics may have gone.
    forgets: bool,
}

impl World {
    fn new() -> Self {
        Self {
            desk: desk(),
            log: VecDeque::new(),
            head: ORIGIN,
            applied: ORIGIN,
            happened: BTreeMap::new(),
            members: BTreeMap::new(),
            remembered: BTreeMap::new(),
            now: NOW,
            ms: ORIGIN.ms,
            forgets: false,
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Publish(kind) => self.publish(kind),
            Op::Apply { count, taken } => self.apply(*count, taken),
            Op::Attach { member, resume, topics, delivery, back } => {
                self.attach(*member, *resume, topics, *delivery, *back);
            }
            Op::Subscribe { member, topic, from } => self.subscribe(*member, TOPICS[*topic], *from),
            Op::Unsubscribe { member, topic } => {
                self.desk.unsubscribe(*member, TOPICS[*topic]);
                if let Some(model) = self.members.get_mut(member) {
                    model.topics.remove(TOPICS[*topic]);
                    model.gaps.remove(TOPICS[*topic]);
                }
            }
            Op::Pull { member, most } => {
                self.pull(*member, *most);
            }
            Op::Acknowledge { member, before } => self.acknowledge(*member, *before),
            Op::AcknowledgeNonsense { member } => {
                let before = self.desk.acknowledged(*member);
                for cursor in [cursor(at(self.ms + 1000)), Cursor { position: self.applied, log: Some(OTHER) }] {
                    assert_eq!(self.desk.acknowledge(*member, cursor, self.now), None);
                }
                assert_eq!(self.desk.acknowledged(*member), before);
            }
            Op::Wait(ms) => self.wait(*ms),
            Op::FallBehind { member } => {
                // What it missed is what comes next: nothing.
                self.desk.fall_behind(*member, Position { ms: self.applied.ms, seq: self.applied.seq + 1 });
            }
            Op::Detach { member } => {
                self.remember(*member);
                self.desk.detach(*member);
                self.members.remove(member);
                assert!(self.desk.member(*member).is_none());
            }
            Op::Shed(bytes) => {
                self.desk.shed(*bytes);
                self.forgets = true;
                self.look();
            }
        }
    }

    fn publish(&mut self, kind: &Kind) {
        self.ms += 1;
        let position = at(self.ms);
        self.head = position;
        let carried = match *kind {
            Kind::Event { topic, slot, except } => {
                Some(publication(position, TOPICS[topic], SLOTS[slot], except.map(session)))
            }
            Kind::Ephemeral { topic } => Some(ephemeral(position, TOPICS[topic])),
            Kind::Other => None,
        };
        self.log.push_back((position, carried));
    }

    fn apply(&mut self, count: usize, taken: &[bool; MEMBERS as usize]) {
        for _ in 0..count {
            let Some((position, carried)) = self.log.pop_front() else { break };
            self.applied = position;
            let Some(carried) = carried else {
                self.desk.pass(position);
                continue;
            };
            self.desk.apply(position, carried.clone());
            let entry = carried.entry();
            let topic = name(entry.topic());
            if !entry.is_ephemeral() {
                let slot = if entry.slot() == "left" { "left" } else { "right" };
                let except = carried.except();
                self.happened.insert(position, Happened { topic, slot, except, fate: Fate::Retained });
                for model in self.members.values_mut() {
                    let excepted = except == Some(model.session);
                    if let Some(of) = model.topics.get_mut(topic)
                        && !excepted
                        && position > of.since
                    {
                        of.owed.insert(position);
                    }
                }
            }
            self.look();
            for &subscriber in self.desk.topics().subscribers(topic).to_vec().iter() {
                self.offer(subscriber, &carried, taken[subscriber as usize]);
            }
        }
        let overtaken = self.desk.take_overtaken();
        let distinct: BTreeSet<_> = overtaken.iter().collect();
        assert_eq!(distinct.len(), overtaken.len());
        for member in overtaken {
            if let Some(model) = self.members.get_mut(&member) {
                model.waits = false;
            }
        }
    }

    fn offer(&mut self, member: u32, carried: &Arc<Publication>, taken: bool) {
        let position = carried.cursor().position;
        let model = &self.members[&member];
        let excepted = carried.except() == Some(model.session);
        let sent = if self.desk.is_plain(member) {
            assert!(!self.desk.is_behind(member));
            !excepted
        } else {
            self.desk.offer(member, carried, self.now) == Offer::Send
        };
        assert!(!(sent && excepted), "an event came back to its sender");
        if carried.entry().is_ephemeral() {
            assert!(sent || excepted, "what is ephemeral is now or never");
        } else if sent && taken {
            self.got(member, carried);
        } else if sent {
            self.desk.fall_behind(member, position);
        }
    }

    /// A member got an event.
    fn got(&mut self, member: u32, carried: &Publication) {
        let position = carried.cursor().position;
        let model = self.members.get_mut(&member).unwrap();
        let of = model.topics.get_mut(carried.entry().topic()).expect("only what it is subscribed to");
        let at = of.own.as_mut().unwrap_or(&mut model.at);
        assert!(position > *at, "{position:?} came after {at:?}");
        *at = position;
        assert!(of.owed.remove(&position), "{position:?} came twice, or was not for this member");
        model.sent = model.sent.max(position);
    }

    /// What the histories have let go.
    fn look(&mut self) {
        let mut retained = BTreeSet::new();
        for topic in TOPICS {
            retained.extend(self.desk.retained().after_one(topic, Position::ZERO).map(|p| p.cursor().position));
        }
        let all = self.happened.clone();
        for (position, happened) in &mut self.happened {
            if happened.fate == Fate::Retained && !retained.contains(position) {
                let newer = |(at, other): (&Position, &Happened)| {
                    at > position && other.topic == happened.topic && other.slot == happened.slot
                };
                let replaced = happened.topic == "latest" && all.iter().any(newer);
                happened.fate = if replaced { Fate::Replaced } else { Fate::Lost };
            }
        }
    }

    fn resume(&self, from: From) -> Resume {
        match from {
            From::Live => Resume::Live,
            From::Start => Resume::Start,
            From::Before(n) => Resume::At(cursor(at((self.head.ms - n).max(ORIGIN.ms)))),
            From::Ahead => Resume::At(cursor(at(self.head.ms + 5))),
            From::OtherLog => Resume::At(Cursor { position: self.applied, log: Some(OTHER) }),
            From::Unknown => Resume::Unknown,
        }
    }

    /// Where it begins, and whether that is told as a gap, or nothing before it is missing.
    fn begin(&self, from: From) -> (Position, Option<&'static str>, bool) {
        match (from, self.resume(from)) {
            (From::Live, _) => (self.applied, None, false),
            (From::Start, _) => (Position::ZERO, None, true),
            (From::Ahead, _) => (Position::ZERO, Some("ahead"), true),
            (_, Resume::At(cursor)) if cursor.log == Some(LOG) => (cursor.position, None, false),
            _ => (Position::ZERO, Some("unknown"), true),
        }
    }

    /// What a member of a session is owed of a topic behind a position.
    fn owed(&self, topic: &str, session: SessionId, from: Position) -> BTreeSet<Position> {
        let above = self.happened.iter().filter(|(position, _)| **position > from);
        let own = above.filter(|(_, happened)| happened.topic == topic && happened.except != Some(session));
        own.map(|(position, _)| *position).collect()
    }

    /// The newest that a topic let go.
    fn lost(&self, topic: &str) -> Position {
        let lost = self.happened.iter().filter(|(_, happened)| happened.topic == topic && happened.fate == Fate::Lost);
        let lost = lost.map(|(position, _)| *position).max().unwrap_or(ORIGIN);
        // A topic whose record went may have lost whatever any such topic had.
        if self.forgets { lost.max(self.desk.retained().floor(topic)) } else { lost }
    }

    fn attach(&mut self, member: u32, resume: From, topics: &[(usize, Option<From>)], delivery: Delivery, back: bool) {
        self.remember(member);
        let acknowledged = self.remembered.get(&member).copied().filter(|_| back);
        let named: Vec<_> = topics.iter().map(|&(at, own)| (TOPICS[at], own.map(|own| self.resume(own)))).collect();
        let who = Attachment {
            session: session(member),
            identity: Identity::default(),
            topics: &named,
            resume: self.resume(resume),
            delivery,
            acknowledged,
            head: self.head,
        };
        self.desk.attach(member, &who).unwrap();
        let (cursor, gap, mut everything) = self.begin(resume);
        let mut at = cursor;
        let mut known = cursor;
        if delivery == Delivery::Acknowledged
            && !everything
            && let Some(acknowledged) = acknowledged
        {
            at = at.min(acknowledged);
            if let From::Live = resume {
                known = at;
                everything = at == Position::ZERO;
            }
        }
        let mut model = Model {
            session: session(member),
            at,
            topics: BTreeMap::new(),
            acknowledged: (delivery == Delivery::Acknowledged).then_some((at, known)),
            sent: at,
            waits: false,
            gaps: BTreeMap::new(),
        };
        for &(topic, own) in topics {
            let topic = TOPICS[topic];
            let of = match own {
                Some(own) => self.of_topic(topic, own, &mut model),
                None => {
                    if let Some(gap) = gap {
                        model.gaps.insert(topic, gap);
                    }
                    let told = if everything { self.lost(topic) } else { known };
                    OfTopic { own: None, since: at, owed: self.owed(topic, model.session, at), told }
                }
            };
            model.topics.insert(topic, of);
        }
        self.members.insert(member, model);
    }

    /// A topic with a cursor of its own.
    fn of_topic(&self, topic: &'static str, from: From, model: &mut Model) -> OfTopic {
        let (at, gap, everything) = self.begin(from);
        if let Some(gap) = gap {
            model.gaps.insert(topic, gap);
        }
        let told = if everything { self.lost(topic) } else { at };
        OfTopic { own: Some(at), since: at, owed: self.owed(topic, model.session, at), told }
    }

    fn remember(&mut self, member: u32) {
        if let Some(position) = self.desk.acknowledged(member) {
            let known = self.remembered.entry(member).or_insert(position);
            *known = position.max(*known);
        }
    }

    fn subscribe(&mut self, member: u32, topic: &'static str, from: From) {
        let cursor = match self.resume(from) {
            Resume::At(cursor) => Some(cursor),
            Resume::Start => Some(Cursor::START),
            Resume::Live | Resume::Unknown => None,
        };
        let from = if let From::Unknown = from { From::Live } else { from };
        let Some(mut model) = self.members.remove(&member) else { return };
        let subscribed = self.desk.subscribe(member, topic, cursor, self.head).unwrap();
        assert_eq!(subscribed == Subscribed::Already, model.topics.contains_key(topic));
        if subscribed == Subscribed::New {
            let of = self.of_topic(topic, from, &mut model);
            model.topics.insert(topic, of);
            model.waits = false;
        }
        self.members.insert(member, model);
    }

    /// Pulls, and looks at what came.
    fn pull(&mut self, member: u32, most: Most) -> Pulled {
        let mut items = Vec::new();
        let pulled = self.desk.pull(member, most, self.now, &mut items);
        let mut events = 0;
        let mut bytes = 0;
        for item in &items {
            match item {
                Item::Publication(publication) => {
                    let len = publication.block().len();
                    events += 1;
                    bytes += len;
                    let free = events == 1 && most.first == First::Any;
                    assert!(events <= most.events && (free || bytes <= most.bytes || (events > 1 && bytes - len == 0)));
                    self.got(member, publication);
                }
                Item::Notice(block) => self.noticed(member, block),
            }
        }
        let Some(model) = self.members.get_mut(&member) else {
            assert!(items.is_empty() && pulled == Pulled::CaughtUp);
            return pulled;
        };
        // A position block may follow at any time.
        model.sent = model.sent.max(self.desk.position_of(member).position);
        model.waits = pulled == Pulled::CaughtUp && self.desk.is_behind(member);
        if pulled == Pulled::More || model.waits {
            return pulled;
        }
        assert!(model.gaps.is_empty() || pulled == Pulled::Attached, "{:?} was not told", model.gaps);
        for (topic, of) in &model.topics {
            if of.own.is_some() {
                continue;
            }
            for position in &of.owed {
                let fate = self.happened[position].fate;
                let excused = fate == Fate::Replaced || fate == Fate::Lost && *position <= of.told;
                assert!(excused, "{position:?} of {topic} never came to {member}: {fate:?}, told up to {:?}", of.told);
            }
        }
        let applied = self.applied;
        model.at = model.at.max(applied);
        model.topics.values_mut().filter(|of| of.own.is_none()).for_each(|of| of.owed.clear());
        pulled
    }

    fn noticed(&mut self, member: u32, block: &[u8]) {
        let parts = notice::parts(std::str::from_utf8(block).unwrap());
        let mut told = Vec::new();
        let model = &self.members[&member];
        match parts.event {
            "tautline.gap" => {
                for line in parts.data.lines() {
                    let (topic, reason) = line.split_once(' ').unwrap();
                    let topic = name(topic);
                    let of = model.topics.get(topic).expect("a gap in what it is subscribed to");
                    let lost = self.lost(topic);
                    if reason == "expired" {
                        assert!(!model.gaps.contains_key(topic));
                        let at = of.own.unwrap_or(model.at).max(of.since).max(of.told);
                        assert!(lost > at, "a false gap in {topic}: {lost:?} is not behind {at:?}");
                    } else {
                        assert_eq!(model.gaps.get(topic), Some(&reason), "{topic}");
                    }
                    told.push((topic, lost));
                }
            }
            "tautline.subscribed" => {
                let topic = name(parts.topic.unwrap());
                let of = &model.topics[topic];
                assert!(of.own.is_some(), "it had a cursor of its own");
                assert!(!model.gaps.contains_key(topic));
                for position in &of.owed {
                    let fate = self.happened[position].fate;
                    let excused = fate == Fate::Replaced || fate == Fate::Lost && *position <= of.told;
                    assert!(excused, "{position:?} of {topic} never came to {member}: {fate:?}");
                }
                assert_eq!(parts.data, cursor(self.applied).text().as_str());
                let applied = self.applied;
                let model = self.members.get_mut(&member).unwrap();
                let of = model.topics.get_mut(topic).unwrap();
                of.own = None;
                of.owed.clear();
                model.at = model.at.max(applied);
                return;
            }
            other => panic!("{other}"),
        }
        let model = self.members.get_mut(&member).unwrap();
        for (topic, lost) in told {
            model.gaps.remove(topic);
            let of = model.topics.get_mut(topic).unwrap();
            of.told = of.told.max(lost);
        }
    }

    fn acknowledge(&mut self, member: u32, before: u64) {
        let Some(model) = self.members.get_mut(&member) else {
            assert_eq!(self.desk.acknowledge(member, cursor(self.applied), self.now), None);
            return;
        };
        let position = at(model.sent.ms.saturating_sub(before));
        let outcome = self.desk.acknowledge(member, cursor(position), self.now);
        let Some((acknowledged, _)) = &mut model.acknowledged else {
            assert_eq!(outcome, None);
            return;
        };
        assert!(outcome.is_some(), "{position:?} was sent");
        if position > *acknowledged {
            *acknowledged = position;
            for of in model.topics.values_mut().filter(|of| of.own.is_none()) {
                of.owed.retain(|owed| *owed > position);
            }
        }
        assert_eq!(outcome, Some(*acknowledged));
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        if ms < 1000 {
            self.ms += ms;
            self.desk.let_go(self.ms);
            self.look();
        }
        for member in 0..MEMBERS {
            let due = self.desk.poll_timeout(member);
            let again = self.desk.handle_timeout(member, self.now);
            assert_eq!(again, due.is_some_and(|due| due <= self.now));
            assert!(self.desk.poll_timeout(member).is_none_or(|due| due > self.now));
            let Some(mut model) = self.members.remove(&member) else { continue };
            if again {
                let (acknowledged, known) = model.acknowledged.expect("only what is to be acknowledged is sent again");
                model.at = model.at.min(acknowledged);
                model.waits = false;
                for (topic, of) in &mut model.topics {
                    if of.own.is_none() {
                        of.owed.extend(self.owed(topic, model.session, acknowledged.max(of.since)));
                        of.told = of.told.max(known);
                    }
                }
            }
            self.members.insert(member, model);
        }
    }

    /// In the end everybody has everything.
    fn end(&mut self) {
        self.apply(usize::MAX, &[true; MEMBERS as usize]);
        for member in 0..MEMBERS {
            if let Some(model) = self.members.get(&member) {
                assert!(!model.waits, "{member} waits for what was applied");
            }
            let mut pulls = 0;
            while self.desk.is_behind(member) {
                self.pull(member, ALL);
                pulls += 1;
                assert!(pulls < 4, "it never catches up");
            }
            if let Some(model) = self.members.get(&member) {
                assert!(model.topics.values().all(|of| of.own.is_none()) && model.gaps.is_empty());
            }
            assert!(self.desk.is_plain(member) || self.members[&member].acknowledged.is_some());
        }
    }
}

fn session(member: u32) -> SessionId {
    SessionId(u128::from(member) + 1)
}

fn name(topic: &str) -> &'static str {
    TOPICS.into_iter().find(|known| *known == topic).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    #[test]
    fn every_member_gets_each_event_once_in_order_and_all_of_them_or_a_gap(ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::new();
        ops.iter().for_each(|op| world.run(op));
        world.end();
    }
}
