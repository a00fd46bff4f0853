//! Histories: the same as the naive way to keep them, and never a gap that is not told. Ids are those of docs/BAD_INPUTS.md.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tautline::hub::{HistoryLimits, Keeps, Position, Retain, Retained, RetainedLimits};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Publication(Arc<(Position, usize, String)>);

impl Retain for Publication {
    fn position(&self) -> Position {
        self.0.0
    }

    fn bytes(&self) -> usize {
        self.0.1
    }

    fn slot(&self) -> &str {
        &self.0.2
    }
}

fn at(ms: u64, seq: u64) -> Position {
    Position { ms, seq }
}

fn publication(position: Position, bytes: usize, slot: &str) -> Publication {
    Publication(Arc::new((position, bytes, slot.to_owned())))
}

fn retained() -> Retained<Publication> {
    Retained::new(RetainedLimits::default(), Position::ZERO)
}

fn positions<'a>(of: impl IntoIterator<Item = &'a Publication>) -> Vec<Position> {
    of.into_iter().map(Retain::position).collect()
}

fn all(retained: &Retained<Publication>, topic: &str) -> Vec<Position> {
    positions(retained.after_one(topic, Position::ZERO))
}

const TOPIC: usize = Retained::<Publication>::TOPIC_BYTES;
const PLACE: usize = Retained::<Publication>::place_bytes(Keeps::All);

// ---- What each limit does at its edge.

#[test]
fn the_101st_publication_lets_go_of_the_first_which_becomes_the_floor() {
    let (mut retained, limits) = (retained(), HistoryLimits::default());
    for ms in 1..=100 {
        retained.push("a", &limits, publication(at(ms, 0), 1, ""));
    }
    assert_eq!((retained.publications(), retained.floor("a")), (100, Position::ZERO));
    assert!(!retained.has_gap("a", Position::ZERO));
    retained.push("a", &limits, publication(at(101, 0), 1, ""));
    assert_eq!((retained.publications(), retained.floor("a"), retained.latest("a")), (100, at(1, 0), Some(at(101, 0))));
    assert!(retained.has_gap("a", at(0, 9)) && !retained.has_gap("a", at(1, 0)));
    assert_eq!(positions(retained.after_one("a", at(99, 0))), [at(100, 0), at(101, 0)]);
    assert_eq!(positions(retained.after_one("a", at(99, 1))), [at(100, 0), at(101, 0)]);
    assert!(positions(retained.after_one("a", at(101, 0))).is_empty());
}

#[test]
fn bytes_are_full_at_the_limit_and_over_it_one_beyond() {
    let mut retained = retained();
    let limits = HistoryLimits { bytes: 10, ..Default::default() };
    retained.push("a", &limits, publication(at(1, 0), 4, ""));
    retained.push("a", &limits, publication(at(1, 1), 6, ""));
    assert_eq!(all(&retained, "a"), [at(1, 0), at(1, 1)]);
    retained.push("a", &limits, publication(at(1, 2), 5, ""));
    assert_eq!((all(&retained, "a"), retained.floor("a")), (vec![at(1, 2)], at(1, 1)));
    retained.push("a", &limits, publication(at(1, 3), 10, ""));
    assert_eq!(all(&retained, "a"), [at(1, 3)]);
    // One beyond the limit alone: it is the floor, and what was there stays.
    retained.push("a", &limits, publication(at(1, 4), 11, ""));
    assert_eq!(
        (all(&retained, "a"), retained.floor("a"), retained.latest("a")),
        (vec![at(1, 3)], at(1, 4), Some(at(1, 3)))
    );
    assert!(retained.has_gap("a", at(1, 3)) && !retained.has_gap("a", at(1, 4)));
    retained.push("a", &limits, publication(at(1, 5), usize::MAX, ""));
    retained.push("a", &HistoryLimits { bytes: usize::MAX, ..limits }, publication(at(1, 6), usize::MAX, ""));
    assert_eq!((all(&retained, "a"), retained.floor("a")), (vec![at(1, 3)], at(1, 6)));
}

#[test]
fn a_publication_goes_when_it_is_as_old_as_its_topic_lets_it_be() {
    let mut retained = retained();
    let limits = HistoryLimits { age: Duration::from_millis(100), ..Default::default() };
    retained.push("a", &limits, publication(at(1000, 0), 1, ""));
    retained.push("a", &limits, publication(at(1050, 0), 1, ""));
    assert_eq!(retained.next_expiry(), Some(1100));
    retained.let_go(1099);
    assert_eq!(all(&retained, "a").len(), 2);
    retained.let_go(1100);
    assert_eq!(
        (all(&retained, "a"), retained.floor("a"), retained.next_expiry()),
        (vec![at(1050, 0)], at(1000, 0), Some(1150))
    );
    // A clock that goes back lets nothing go; a publication on another topic says the time, too.
    retained.let_go(0);
    retained.push("b", &limits, publication(at(1149, 0), 1, ""));
    assert_eq!(all(&retained, "a").len(), 1);
    retained.push("b", &limits, publication(at(1150, 0), 1, ""));
    assert_eq!((all(&retained, "a").len(), all(&retained, "b").len()), (0, 2));
    assert_eq!((retained.floor("a"), retained.topics()), (at(1050, 0), 2));
    // A shorter limit holds from the next publication on, whether that is retained or not.
    let short = HistoryLimits { age: Duration::from_millis(1), bytes: 0, ..limits };
    retained.push("b", &short, publication(at(1150, 1), 1, ""));
    assert_eq!((all(&retained, "b"), retained.next_expiry()), (vec![at(1150, 0)], Some(1151)));
}

#[test]
fn limits_of_nothing_retain_nothing_and_limits_of_everything_everything() {
    let nothing = [
        HistoryLimits { events: 0, ..Default::default() },
        HistoryLimits { bytes: 0, ..Default::default() },
        HistoryLimits { age: Duration::ZERO, ..Default::default() },
        HistoryLimits { age: Duration::from_nanos(999_999), ..Default::default() },
    ];
    for limits in nothing {
        let mut retained = retained();
        retained.push("a", &limits, publication(at(7, 0), 1, ""));
        assert_eq!(
            (retained.publications(), retained.floor("a"), retained.latest("a")),
            (0, at(7, 0), None),
            "{limits:?}"
        );
        assert!(retained.has_gap("a", at(6, 0)) && !retained.has_gap("b", at(6, 0)), "{limits:?}");
    }
    let limits = HistoryLimits { events: usize::MAX, bytes: usize::MAX, age: Duration::MAX, keeps: Keeps::All };
    let mut retained = Retained::new(RetainedLimits { topics: usize::MAX, bytes: usize::MAX }, Position::ZERO);
    for ms in [1, 2, u64::MAX - 1, u64::MAX] {
        retained.push("a", &limits, publication(at(ms, 0), 1, ""));
    }
    retained.let_go(u64::MAX);
    assert_eq!((retained.publications(), retained.next_expiry()), (4, None));
    // More bytes than can be counted are too many.
    retained.push("b", &limits, publication(at(u64::MAX, 1), usize::MAX - 10, ""));
    assert_eq!((retained.publications(), retained.floor("b")), (4, at(u64::MAX, 1)));
    retained.push("b", &limits, publication(at(u64::MAX, 2), usize::MAX / 2 + 1, ""));
    retained.push("b", &limits, publication(at(u64::MAX, 3), usize::MAX / 2 + 1, ""));
    assert_eq!(all(&retained, "b"), [at(u64::MAX, 3)]);
    for limits in [RetainedLimits { topics: 0, bytes: 1 << 20 }, RetainedLimits { topics: 9, bytes: 0 }] {
        let mut none = Retained::new(limits, Position::ZERO);
        none.push("a", &HistoryLimits::default(), publication(at(7, 0), 0, ""));
        assert_eq!((none.publications(), none.topics(), none.bytes(), none.floor("z")), (0, 0, 0, at(7, 0)));
    }
}

#[test]
fn the_hub_is_full_at_its_bytes_and_one_beyond_lets_the_oldest_of_all_topics_go() {
    let limits = HistoryLimits::default();
    let budget = 2 * (TOPIC + 1) + 3 * PLACE + 60;
    let mut retained = Retained::new(RetainedLimits { topics: 9, bytes: budget }, Position::ZERO);
    retained.push("a", &limits, publication(at(1, 0), 20, ""));
    retained.push("b", &limits, publication(at(2, 0), 20, ""));
    retained.push("a", &limits, publication(at(3, 0), 20, ""));
    assert_eq!((retained.bytes(), retained.publications()), (budget, 3));
    retained.push("b", &limits, publication(at(4, 0), 20, ""));
    assert_eq!((all(&retained, "a"), all(&retained, "b")), (vec![at(3, 0)], vec![at(2, 0), at(4, 0)]));
    assert_eq!(
        (retained.floor("a"), retained.floor("b"), retained.floor("c")),
        (at(1, 0), Position::ZERO, Position::ZERO)
    );
    retained.push("a", &limits, publication(at(5, 0), 21, ""));
    assert_eq!((all(&retained, "a"), all(&retained, "b")), (vec![at(5, 0)], vec![at(4, 0)]));
    // What can never fit moves nothing out.
    let most = budget - TOPIC - 1 - PLACE;
    retained.push("a", &limits, publication(at(6, 0), most + 1, ""));
    assert_eq!((retained.publications(), retained.floor("a")), (2, at(6, 0)));
    retained.push("a", &limits, publication(at(7, 0), most, ""));
    assert_eq!((retained.publications(), retained.topics(), retained.bytes()), (1, 1, budget));
}

#[test]
fn a_topic_too_many_lets_the_one_go_that_was_silent_for_longest() {
    let limits = HistoryLimits::default();
    let mut retained = Retained::new(RetainedLimits { topics: 2, bytes: 1 << 20 }, Position::ZERO);
    retained.push("a", &limits, publication(at(1, 0), 1, ""));
    retained.push("b", &limits, publication(at(2, 0), 1, ""));
    retained.push("a", &limits, publication(at(3, 0), 1, ""));
    retained.push("c", &limits, publication(at(4, 0), 1, ""));
    assert_eq!((retained.topics(), retained.latest("b"), retained.publications()), (2, None, 3));
    // Nothing of "a" is missing. "b", and what has no record either, may miss something up to 2-0.
    assert_eq!((retained.floor("a"), retained.floor("b"), retained.floor("z")), (Position::ZERO, at(2, 0), at(2, 0)));
    // Nor does a new record say that there was nothing before it.
    assert!(retained.has_gap("c", at(1, 9)) && !retained.has_gap("c", at(2, 0)));
}

#[test]
fn shedding_says_how_much_it_was_and_begins_with_the_oldest() {
    let (mut retained, limits) = (retained(), HistoryLimits::default());
    for ms in 1..=10 {
        retained.push(["a", "b"][ms as usize % 2], &limits, publication(at(ms, 0), 100, ""));
    }
    let before = retained.bytes();
    assert_eq!(retained.shed(0), 0);
    assert_eq!(retained.shed(1), 100 + PLACE);
    assert_eq!((all(&retained, "b")[0], all(&retained, "a")[0], retained.floor("b")), (at(3, 0), at(2, 0), at(1, 0)));
    assert_eq!(retained.shed(101 + PLACE), 2 * (100 + PLACE));
    assert_eq!(retained.bytes(), before - 3 * (100 + PLACE));
    let rest = retained.bytes();
    assert_eq!(retained.shed(usize::MAX), rest);
    assert_eq!((retained.bytes(), retained.topics(), retained.publications()), (0, 0, 0));
    assert_eq!((retained.floor("a"), retained.floor("z"), retained.next_expiry()), (at(10, 0), at(10, 0), None));
}

// ---- Gaps.

#[test]
fn a_silent_topic_has_no_gap_because_others_let_go() {
    let mut retained = retained();
    let (none, few) =
        (HistoryLimits { events: 0, ..Default::default() }, HistoryLimits { events: 1, ..Default::default() });
    for ms in 1_000..200_000u64 {
        retained.push(["none", "few"][ms as usize % 2], [&none, &few][ms as usize % 2], publication(at(ms, 0), 1, ""));
    }
    assert!(retained.has_gap("none", at(199_000, 0)) && retained.has_gap("few", at(199_000, 0)));
    assert!(!retained.has_gap("silent", Position::ZERO) && !retained.has_gap("silent", at(1, 0)));
    // The records go 300 s behind the last publication, and only those who were away for longer are told that they may miss something.
    retained.let_go(200_000 - 2 + 300_000 - 1);
    assert_eq!((retained.topics(), retained.has_gap("silent", at(1, 0))), (2, false));
    retained.let_go(200_000 - 1 + 300_000);
    assert_eq!((retained.topics(), retained.bytes()), (0, 0));
    assert!(retained.has_gap("silent", at(199_998, 9)) && !retained.has_gap("silent", at(199_999, 0)));
}

#[test]
fn records_stay_as_long_as_the_longest_age_limit() {
    let mut retained = retained();
    let day = HistoryLimits { age: Duration::from_secs(86_400), ..Default::default() };
    retained.push("day", &day, publication(at(1, 0), 1, ""));
    retained.push("short", &HistoryLimits { events: 0, ..Default::default() }, publication(at(2, 0), 1, ""));
    retained.let_go(86_400_000);
    assert_eq!((retained.topics(), retained.publications(), retained.next_expiry()), (2, 1, Some(86_400_001)));
    retained.let_go(86_400_001);
    assert_eq!((retained.topics(), retained.floor("day"), retained.next_expiry()), (1, at(1, 0), Some(86_400_002)));
    retained.let_go(86_400_002);
    assert_eq!((retained.topics(), retained.floor("day")), (0, at(2, 0)));
}

#[test]
fn s11_what_was_before_the_log_is_a_gap_on_every_topic() {
    let mut retained = Retained::new(RetainedLimits::default(), at(50, 3));
    assert!(retained.has_gap("a", at(50, 2)) && !retained.has_gap("a", at(50, 3)));
    // A publication from before the log's beginning, or one that came before, is none.
    retained.push("a", &HistoryLimits::default(), publication(at(50, 3), 1, ""));
    retained.push("a", &HistoryLimits::default(), publication(at(50, 4), 1, ""));
    retained.push("a", &HistoryLimits::default(), publication(at(50, 4), 1, ""));
    assert_eq!((all(&retained, "a"), retained.floor("a")), (vec![at(50, 4)], at(50, 3)));
}

// ---- Conflation.

#[test]
fn a_newer_event_of_a_slot_replaces_the_older_and_stands_at_the_end() {
    let mut retained = retained();
    let latest = HistoryLimits { events: 3, keeps: Keeps::LatestPerSlot, ..Default::default() };
    for (seq, slot) in ["x", "y", "x", "z"].into_iter().enumerate() {
        retained.push("a", &latest, publication(at(1, seq as u64), 1, slot));
    }
    assert_eq!((all(&retained, "a"), retained.floor("a")), (vec![at(1, 1), at(1, 2), at(1, 3)], Position::ZERO));
    assert_eq!(positions(retained.after_one("a", at(1, 1))), [at(1, 2), at(1, 3)]);
    retained.push("a", &latest, publication(at(1, 4), 1, "y"));
    assert_eq!((all(&retained, "a"), retained.floor("a")), (vec![at(1, 2), at(1, 3), at(1, 4)], Position::ZERO));
    // A fourth slot is one too many: that lets go, and moves the floor.
    retained.push("a", &latest, publication(at(1, 5), 1, ""));
    assert_eq!((all(&retained, "a"), retained.floor("a")), (vec![at(1, 3), at(1, 4), at(1, 5)], at(1, 2)));
    // One that is too large replaces, too: the older one is not the latest of its slot.
    retained.push("a", &HistoryLimits { bytes: 9, ..latest }, publication(at(1, 6), 10, "z"));
    assert_eq!((all(&retained, "a"), retained.floor("a")), (vec![at(1, 4), at(1, 5)], at(1, 6)));
}

#[test]
fn a_topic_that_ceases_to_conflate_misses_what_was_replaced() {
    let mut retained = retained();
    let plain = HistoryLimits::default();
    let latest = HistoryLimits { keeps: Keeps::LatestPerSlot, ..plain };
    for (seq, slot) in ["x", "y", "x", "y"].into_iter().enumerate() {
        retained.push("a", &plain, publication(at(1, seq as u64), 1, slot));
    }
    retained.push("a", &latest, publication(at(2, 0), 1, "x"));
    assert_eq!((all(&retained, "a"), retained.floor("a")), (vec![at(1, 3), at(2, 0)], Position::ZERO));
    retained.push("a", &plain, publication(at(2, 1), 1, "y"));
    assert_eq!((all(&retained, "a"), retained.floor("a")), (vec![at(1, 3), at(2, 0), at(2, 1)], at(1, 2)));
    // The newest of those that were replaced, whichever was replaced last.
    for (seq, slot) in ["y", "x"].into_iter().enumerate() {
        retained.push("a", &latest, publication(at(3, seq as u64), 1, slot));
    }
    retained.push("a", &plain, publication(at(4, 0), 1, "x"));
    assert_eq!((all(&retained, "a"), retained.floor("a")), (vec![at(3, 0), at(3, 1), at(4, 0)], at(2, 1)));
}

#[test]
fn what_was_replaced_is_remembered_when_its_successor_moves_the_others_out() {
    let plain = HistoryLimits::default();
    let latest = HistoryLimits { keeps: Keeps::LatestPerSlot, ..plain };
    let (base, place) = (
        Retained::<Publication>::base_bytes(Keeps::LatestPerSlot),
        Retained::<Publication>::place_bytes(Keeps::LatestPerSlot),
    );
    // Room for one large, or two small.
    let bytes = TOPIC + 1 + base + place + 100;
    let mut retained = Retained::new(RetainedLimits { topics: 9, bytes }, Position::ZERO);
    retained.push("a", &plain, publication(at(1, 0), 1, "x"));
    retained.push("a", &plain, publication(at(1, 1), 1, "y"));
    retained.push("a", &latest, publication(at(1, 2), 100, "y"));
    assert_eq!((all(&retained, "a"), retained.floor("a")), (vec![at(1, 2)], at(1, 0)));
    retained.push("a", &plain, publication(at(1, 3), 1, "x"));
    assert_eq!((all(&retained, "a"), retained.floor("a")), (vec![at(1, 2), at(1, 3)], at(1, 1)));
}

// ---- Several topics.

#[test]
fn topics_are_merged_in_one_order_each_from_its_own_position() {
    let (mut retained, limits) = (retained(), HistoryLimits::default());
    for ms in 1..=9 {
        retained.push(["a", "b", "c"][ms as usize % 3], &limits, publication(at(ms, 0), 1, ""));
    }
    let after = |topics: &[(&'static str, u64)]| -> Vec<u64> {
        retained.after(topics.iter().map(|&(topic, ms)| (topic, at(ms, 0)))).map(|p| p.position().ms).collect()
    };
    assert_eq!(after(&[("a", 0), ("b", 0), ("c", 0)]), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(after(&[("c", 2), ("a", 6)]), [5, 8, 9]);
    assert_eq!(after(&[("b", 0), ("unknown", 0)]), [1, 4, 7]);
    assert_eq!(after(&[("b", 7)]), [0; 0]);
    assert_eq!(after(&[]), [0; 0]);
    // Named twice: once, from the lower position.
    assert_eq!(after(&[("b", 4), ("a", 3), ("b", 1)]), [4, 6, 7, 9]);
}

// ---- The naive way: everything in one list, and every answer from the definitions.

#[derive(Clone, Debug)]
struct Naive {
    limits: RetainedLimits,
    events: Vec<(usize, Publication)>,
    topics: BTreeMap<usize, NaiveTopic>,
    head: Position,
    forgotten: Position,
    longest: u64,
    /// Everything that was ever pushed.
    pushed: Vec<(usize, Publication)>,
    /// How each topic was last said to keep.
    keeps: BTreeMap<usize, Keeps>,
}

#[derive(Clone, Debug)]
struct NaiveTopic {
    floor: Position,
    last: Position,
    age: u64,
    keeps: Keeps,
    replaced: Position,
}

impl Naive {
    fn new(limits: RetainedLimits, origin: Position) -> Self {
        Self {
            limits,
            events: Vec::new(),
            topics: BTreeMap::new(),
            head: origin,
            forgotten: origin,
            longest: 300_000,
            pushed: Vec::new(),
            keeps: BTreeMap::new(),
        }
    }

    fn bytes(&self) -> usize {
        let records: usize = self.topics.keys().map(|&topic| TOPIC + name(topic).len()).sum();
        let place = |topic| Retained::<Publication>::place_bytes(self.topics[topic].keeps);
        let retaining: BTreeSet<usize> = self.events.iter().map(|(topic, _)| *topic).collect();
        let bases: usize =
            retaining.iter().map(|topic| Retained::<Publication>::base_bytes(self.topics[topic].keeps)).sum();
        records + bases + self.events.iter().map(|(topic, p)| p.bytes() + place(topic)).sum::<usize>()
    }

    fn of(&self, topic: usize) -> Vec<Publication> {
        self.events.iter().filter(|(of, _)| *of == topic).map(|(_, p)| p.clone()).collect()
    }

    fn let_event_go(&mut self, position: Position) {
        let index = self.events.iter().position(|(_, p)| p.position() == position).unwrap();
        let (topic, _) = self.events.remove(index);
        let floor = &mut self.topics.get_mut(&topic).unwrap().floor;
        *floor = (*floor).max(position);
    }

    fn forget(&mut self, topic: usize) {
        let record = self.topics.remove(&topic).unwrap();
        let newest = self.of(topic).last().map_or(record.floor, |p| p.position().max(record.floor));
        assert_eq!(newest, record.last);
        self.events.retain(|(of, _)| *of != topic);
        self.forgotten = self.forgotten.max(newest);
    }

    fn let_go(&mut self, now: u64) {
        let over = |(topic, p): &&(usize, Publication)| p.position().ms + self.topics[topic].age <= now;
        let gone: Vec<_> = self.events.iter().filter(over).map(|(_, p)| p.position()).collect();
        gone.into_iter().for_each(|position| self.let_event_go(position));
        let gone: Vec<_> =
            self.topics.iter().filter(|(_, t)| t.last.ms + self.longest <= now).map(|(topic, _)| *topic).collect();
        gone.into_iter().for_each(|topic| {
            assert!(self.of(topic).is_empty());
            self.forget(topic);
        });
    }

    fn silent_for_longest(&self) -> Option<usize> {
        self.topics.iter().min_by_key(|(_, t)| t.last).map(|(topic, _)| *topic)
    }

    fn let_go_oldest(&mut self) -> bool {
        let Some(record) = self.silent_for_longest() else { return false };
        match self.events.first().map(|(_, p)| p.position()) {
            Some(position) if position <= self.topics[&record].last => self.let_event_go(position),
            _ => self.forget(record),
        }
        true
    }

    fn push(&mut self, topic: usize, limits: &HistoryLimits, p: Publication) {
        let position = p.position();
        if position <= self.head {
            return;
        }
        self.head = position;
        let age = limits.age.as_millis() as u64;
        self.longest = self.longest.max(age);
        self.let_go(position.ms);
        self.pushed.push((topic, p.clone()));
        self.keeps.insert(topic, limits.keeps);
        if !self.topics.contains_key(&topic) {
            if self.limits.topics == 0 {
                self.forgotten = position;
                return;
            }
            while self.topics.len() >= self.limits.topics {
                self.forget(self.silent_for_longest().unwrap());
            }
        }
        let floor = self.forgotten;
        let new = NaiveTopic { floor, last: position, age, keeps: limits.keeps, replaced: Position::ZERO };
        let record = self.topics.entry(topic).or_insert(new);
        if limits.keeps == Keeps::All && record.keeps == Keeps::LatestPerSlot {
            record.floor = record.floor.max(record.replaced);
            record.replaced = Position::ZERO;
        }
        (record.last, record.age, record.keeps) = (position, age, limits.keeps);
        if limits.keeps == Keeps::LatestPerSlot {
            let mut of = self.of(topic);
            of.push(p.clone());
            for (i, old) in of.iter().enumerate() {
                if of[i + 1..].iter().any(|newer| newer.slot() == old.slot()) {
                    self.events.retain(|(_, p)| p != old);
                    let record = self.topics.get_mut(&topic).unwrap();
                    record.replaced = record.replaced.max(old.position());
                }
            }
        }
        for p in self.of(topic).iter().filter(|p| p.position().ms + age <= position.ms) {
            self.let_event_go(p.position());
        }
        let overhead =
            Retained::<Publication>::base_bytes(limits.keeps) + Retained::<Publication>::place_bytes(limits.keeps);
        let alone = TOPIC + name(topic).len() + overhead + p.bytes();
        let retains = limits.events > 0 && age > 0 && p.bytes() <= limits.bytes && alone <= self.limits.bytes;
        self.events.push((topic, p.clone()));
        if retains {
            let over = |of: &[Publication]| {
                of.len() > limits.events || of.iter().map(Retain::bytes).sum::<usize>() > limits.bytes
            };
            while over(&self.of(topic)) {
                self.let_event_go(self.of(topic)[0].position());
            }
        } else {
            self.let_event_go(position);
        }
        while self.bytes() > self.limits.bytes && self.let_go_oldest() {}
    }

    fn next_expiry(&self) -> Option<u64> {
        let events = self.events.iter().map(|(topic, p)| p.position().ms + self.topics[topic].age);
        events.chain(self.topics.values().map(|t| t.last.ms + self.longest)).min()
    }

    fn floor(&self, topic: usize) -> Position {
        self.topics.get(&topic).map_or(self.forgotten, |t| t.floor)
    }

    /// What must come of a topic to somebody at a position, or else there is a gap.
    fn owed(&self, topic: usize, at: Position) -> Vec<Publication> {
        let mut owed: Vec<_> =
            self.pushed.iter().filter(|(of, p)| *of == topic && p.position() > at).map(|(_, p)| p.clone()).collect();
        if self.keeps.get(&topic) == Some(&Keeps::LatestPerSlot) {
            let mut slots = BTreeSet::new();
            owed.reverse();
            owed.retain(|p| slots.insert(p.slot().to_owned()));
            owed.reverse();
        }
        owed
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push { topic: usize, after: u64, bytes: usize, slot: usize, limits: usize },
    Again(u64),
    LetGo(u64),
    Shed(usize),
}

fn name(topic: usize) -> &'static str {
    ["a", "topic/b", "c", "d:with/a/longer.name", "e", "f", "g", "silent"][topic]
}

const TOPICS: usize = 7;

fn limits(number: usize) -> HistoryLimits {
    let ms = Duration::from_millis;
    let limits = HistoryLimits { events: 4, bytes: 100, age: ms(1000), keeps: Keeps::All };
    [
        limits,
        HistoryLimits { events: 2, age: ms(400_000), ..limits },
        HistoryLimits { keeps: Keeps::LatestPerSlot, ..limits },
        HistoryLimits { keeps: Keeps::LatestPerSlot, events: 2, age: ms(100), ..limits },
        HistoryLimits { events: 0, ..limits },
        HistoryLimits { bytes: 20, age: ms(10), ..limits },
        HistoryLimits { events: usize::MAX, bytes: usize::MAX, ..limits },
    ][number]
}

fn steps() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(0u64), 4 => 1..20u64, 2 => 20..1500u64, 1 => 1500..200_000u64]
}

fn ops(mixed: bool) -> impl Strategy<Value = Vec<Op>> {
    let topic = prop_oneof![1 => 0..TOPICS, 1 => 0..2usize];
    // Mostly one that conflates and one that does not: only many in a row show what is replaced.
    let number = prop_oneof![2 => 0..7usize, 5 => Just(2usize), 1 => Just(0usize)];
    let bytes = prop_oneof![9 => 0..40usize, 1 => 40..2000usize];
    let push = (topic, steps(), bytes, 0..4usize, number).prop_map(move |(topic, after, bytes, slot, number)| {
        let limits = if mixed { number } else { topic };
        Op::Push { topic, after, bytes, slot, limits }
    });
    let op = prop_oneof![
        20 => push,
        1 => (0..5u64).prop_map(Op::Again),
        2 => steps().prop_map(Op::LetGo),
        1 => (0..2000usize).prop_map(Op::Shed),
    ];
    proptest::collection::vec(op, 1..120)
}

fn hub_limits() -> impl Strategy<Value = RetainedLimits> {
    let topics = prop_oneof![1 => 0..2usize, 2 => 2..6usize, 2 => Just(100)];
    let bytes = prop_oneof![1 => 0..3 * TOPIC, 2 => 3 * TOPIC..8 * TOPIC, 2 => Just(1 << 20)];
    (topics, bytes).prop_map(|(topics, bytes)| RetainedLimits { topics, bytes })
}

fn apply(
    op: &Op,
    clock: &mut Position,
    naive: &mut Naive,
    replicas: &mut [Retained<Publication>],
) -> Result<(), TestCaseError> {
    match *op {
        Op::Push { topic, after, bytes, slot, limits: number } => {
            *clock = if after == 0 { at(clock.ms, clock.seq + 1) } else { at(clock.ms + after, 0) };
            let p = publication(*clock, bytes, ["x", "y", "z", ""][slot]);
            naive.push(topic, &limits(number), p.clone());
            replicas.iter_mut().for_each(|r| r.push(name(topic), &limits(number), p.clone()));
        }
        Op::Again(back) => {
            let p = publication(at(clock.ms.saturating_sub(back), clock.seq), 1, "x");
            naive.push(0, &limits(0), p.clone());
            replicas.iter_mut().for_each(|r| r.push(name(0), &limits(0), p.clone()));
        }
        Op::LetGo(after) => {
            // Looking on does not move the clock of those who publish.
            naive.let_go(clock.ms + after);
            for r in replicas {
                r.let_go(clock.ms + after);
                prop_assert!(r.next_expiry().is_none_or(|next| next > clock.ms + after));
            }
        }
        Op::Shed(bytes) => {
            let before = naive.bytes();
            while before - naive.bytes() < bytes && naive.let_go_oldest() {}
            for r in replicas {
                prop_assert_eq!(r.shed(bytes), before - naive.bytes());
            }
        }
    }
    Ok(())
}

fn same(naive: &Naive, retained: &Retained<Publication>, cursors: &[Position]) -> Result<(), TestCaseError> {
    prop_assert_eq!(retained.bytes(), naive.bytes());
    prop_assert!(retained.bytes() <= naive.limits.bytes && retained.topics() <= naive.limits.topics);
    prop_assert_eq!(retained.topics(), naive.topics.len());
    prop_assert_eq!(retained.publications(), naive.events.len());
    let (next, exact) = (retained.next_expiry(), naive.next_expiry());
    prop_assert!(next.is_some() == exact.is_some() && next <= exact, "{:?} for {:?}", next, exact);
    for topic in 0..=TOPICS {
        prop_assert_eq!(retained.floor(name(topic)), naive.floor(topic));
        let of = naive.of(topic);
        prop_assert_eq!(retained.latest(name(topic)), of.last().map(Retain::position));
        for &cursor in cursors {
            let after: Vec<_> = retained.after_one(name(topic), cursor).cloned().collect();
            let expected: Vec<_> = of.iter().filter(|p| p.position() > cursor).cloned().collect();
            prop_assert_eq!(&after, &expected);
            // The promise, by all that was ever pushed.
            let gap = retained.has_gap(name(topic), cursor);
            prop_assert_eq!(gap, cursor < naive.floor(topic));
            if !gap {
                prop_assert_eq!(&after, &naive.owed(topic, cursor), "{} after {}", name(topic), cursor);
            }
        }
    }
    Ok(())
}

fn cursors(naive: &Naive, of: &[usize]) -> Vec<Position> {
    // At a publication, just below one, and at the ends.
    let pushed = |index: &usize| naive.pushed.get(index % naive.pushed.len().max(1)).map(|(_, p)| p.position());
    let below = |p: Position| if p.seq > 0 { at(p.ms, p.seq - 1) } else { at(p.ms - 1, u64::MAX) };
    let some = of.iter().filter_map(pushed).flat_map(|p| [p, below(p)]);
    some.chain([Position::ZERO, naive.head, naive.forgotten]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 400 }))]

    #[test]
    fn histories_answer_as_the_naive_ones_and_never_hide_a_gap(
        ops in any::<bool>().prop_flat_map(ops),
        limits in hub_limits(),
        of in proptest::collection::vec(any::<u16>().prop_map(usize::from), 4),
        origin in prop_oneof![Just(Position::ZERO), Just(at(900_000, 5))],
    ) {
        let mut naive = Naive::new(limits, origin);
        let mut replicas = [Retained::new(limits, origin)];
        let mut clock = at(1_000_000, 0);
        for op in &ops {
            apply(op, &mut clock, &mut naive, &mut replicas)?;
            same(&naive, &replicas[0], &cursors(&naive, &of))?;
        }
    }

    #[test]
    fn merged_topics_are_the_naive_filter_of_everything(
        ops in ops(true),
        limits in hub_limits(),
        topics in proptest::collection::vec((0..=TOPICS, any::<u16>()), 0..12),
    ) {
        let mut naive = Naive::new(limits, Position::ZERO);
        let mut replicas = [Retained::new(limits, Position::ZERO)];
        let mut clock = at(1_000_000, 0);
        for op in &ops {
            apply(op, &mut clock, &mut naive, &mut replicas)?;
        }
        let cursor = |of: u16| cursors(&naive, &[usize::from(of)])[usize::from(of) % 2];
        let asked: Vec<_> = topics.iter().map(|&(topic, of)| (topic, cursor(of))).collect();
        let expected: Vec<_> = naive.events.iter()
            .filter(|(topic, p)| asked.iter().any(|(of, cursor)| of == topic && p.position() > *cursor))
            .map(|(_, p)| p.clone()).collect();
        let after: Vec<_> = replicas[0].after(asked.iter().map(|&(topic, at)| (name(topic), at))).cloned().collect();
        prop_assert_eq!(after, expected);
    }

    #[test]
    fn replicas_that_are_fed_alike_answer_alike_whatever_they_are_asked(ops in ops(true), limits in hub_limits()) {
        let mut naive = Naive::new(limits, Position::ZERO);
        let mut replicas = [Retained::new(limits, Position::ZERO), Retained::new(limits, Position::ZERO)];
        let mut clock = at(1_000_000, 0);
        for (i, op) in ops.iter().enumerate() {
            apply(op, &mut clock, &mut naive, &mut replicas)?;
            let [one, other] = &mut replicas;
            if i % 3 == 0 {
                // Asked, and told the time that it knows, by one alone.
                let _ = (one.after([("a", Position::ZERO)]).count(), one.next_expiry(), one.shed(0));
            }
            let topics = || (0..=TOPICS).map(|topic| (name(topic), Position::ZERO));
            prop_assert_eq!(one.after(topics()).collect::<Vec<_>>(), other.after(topics()).collect::<Vec<_>>());
            prop_assert_eq!((one.bytes(), one.topics(), one.next_expiry()), (other.bytes(), other.topics(), other.next_expiry()));
            prop_assert!(topics().all(|(topic, _)| one.floor(topic) == other.floor(topic)));
        }
    }
}
