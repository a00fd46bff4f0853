//! What one topic retains.

use crate::hub::cursor::Position;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque, btree_map, vec_deque};
use core::cmp::Ordering;
use core::ops::Bound;
use core::time::Duration;

/// What a history keeps: a publication with its place in the order.
///
/// Cheap to clone, as an `Arc` is. What its methods answer must not change while it is retained.
pub trait Retain: Clone {
    /// Its place in the one order over all topics; never [`Position::ZERO`].
    fn position(&self) -> Position;

    /// What it takes of memory in bytes. Where replicas in one process share it, that of one.
    fn bytes(&self) -> usize;

    /// What it replaces in a topic that [keeps the latest of each slot](Keeps::LatestPerSlot).
    fn slot(&self) -> &str;
}

/// How much of a topic is retained: each publication as long as all of these allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Publications. Default 100. With 0 nothing is retained.
    pub events: usize,
    /// Their bytes, as [`Retain::bytes`] counts them. Default 1 MiB.
    pub bytes: usize,
    /// How old a publication becomes, in whole milliseconds. Default 300 s. With 0 nothing is retained.
    pub age: Duration,
    /// Which are kept within these limits. Default all.
    pub keeps: Keeps,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { events: 100, bytes: 1 << 20, age: Duration::from_secs(300), keeps: Keeps::All }
    }
}

impl HistoryLimits {
    /// The age in milliseconds, `u64::MAX` where it is longer.
    pub(super) fn age_ms(&self) -> u64 {
        u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Which publications of a topic are kept within its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeps {
    /// Each.
    #[default]
    All,
    /// Conflation: the latest of each slot. A newer one removes the older of its slot and stands at the end, in its own place in the
    /// order. What is removed so was replaced, not lost: it makes no gap.
    LatestPerSlot,
}

/// When what was published at `ms` is over an age, both in milliseconds; [`NEVER`] where that is no time.
pub(super) const fn due(ms: u64, age: u64) -> u64 {
    ms.saturating_add(age)
}

/// No time: whatever the clock shows is taken for earlier.
pub(super) const NEVER: u64 = u64::MAX;

/// The publications of one topic in ascending position, and the newest position that it let go.
///
/// A plain history is a ring of publications and nothing else. One that conflates has two ordered maps.
#[derive(Debug)]
pub(super) struct History<P> {
    floor: Position,
    /// Of the publications alone.
    bytes: usize,
    kept: Kept<P>,
}

#[derive(Debug)]
enum Kept<P> {
    All(VecDeque<P>),
    Latest(Box<Latest<P>>),
}

#[derive(Debug)]
struct Latest<P> {
    by_position: BTreeMap<Position, P>,
    /// The same ones.
    by_slot: BTreeSet<BySlot<P>>,
    /// The newest that was replaced. To a topic that ceases to conflate, it is missing.
    replaced: Position,
}

impl<P: Retain> History<P> {
    pub(super) const fn new(floor: Position) -> Self {
        Self { floor, bytes: 0, kept: Kept::All(VecDeque::new()) }
    }

    /// The newest position let go: from there on nothing is missing.
    pub(super) const fn floor(&self) -> Position {
        self.floor
    }

    pub(super) fn len(&self) -> usize {
        match &self.kept {
            Kept::All(ring) => ring.len(),
            Kept::Latest(latest) => latest.by_position.len(),
        }
    }

    pub(super) fn oldest(&self) -> Option<Position> {
        match &self.kept {
            Kept::All(ring) => ring.front().map(P::position),
            Kept::Latest(latest) => latest.by_position.first_key_value().map(|(position, _)| *position),
        }
    }

    pub(super) fn newest(&self) -> Option<Position> {
        match &self.kept {
            Kept::All(ring) => ring.back().map(P::position),
            Kept::Latest(latest) => latest.by_position.last_key_value().map(|(position, _)| *position),
        }
    }

    /// What publications and their places take.
    pub(super) fn footprint(&self) -> usize {
        let keeps = match self.kept {
            Kept::All(_) => Keeps::All,
            Kept::Latest(_) => Keeps::LatestPerSlot,
        };
        self.bytes + self.len() * Self::place(keeps) + Self::base(keeps)
    }

    /// How much larger the footprint is when a publication is [appended](Self::append).
    pub(super) fn footprint_of(&self, keeps: Keeps, publication: &P) -> usize {
        let base = match self.kept {
            Kept::All(_) => Self::base(keeps),
            Kept::Latest(_) => 0,
        };
        publication.bytes().saturating_add(Self::place(keeps) + base)
    }

    /// What the place of a publication takes: rings and the nodes of maps are half empty at times.
    pub(super) const fn place(keeps: Keeps) -> usize {
        2 * match keeps {
            Keeps::All => size_of::<P>(),
            Keeps::LatestPerSlot => size_of::<Position>() + 2 * size_of::<P>(),
        }
    }

    /// What it takes to have a first place: for two maps, one node each of 11 places and some links.
    pub(super) const fn base(keeps: Keeps) -> usize {
        match keeps {
            Keeps::All => 0,
            Keeps::LatestPerSlot => {
                let place = size_of::<Position>() + 2 * size_of::<P>();
                size_of::<Latest<P>>() + 11 * place + 4 * size_of::<usize>()
            }
        }
    }

    /// Lets go of what must give way to a publication, above all positions before it. Then either it is to be
    /// [appended](Self::append), or `false`: it was let go itself, as it is over a limit alone, or over `largest`.
    pub(super) fn admit(&mut self, limits: &HistoryLimits, largest: usize, publication: &P) -> bool {
        self.convert(limits.keeps);
        if let Kept::Latest(latest) = &mut self.kept {
            self.bytes -= latest.replace(publication);
        }
        let (position, bytes, age) = (publication.position(), publication.bytes(), limits.age_ms());
        self.expire(position.ms, age);
        if limits.events == 0 || age == 0 || bytes > limits.bytes.min(largest) {
            self.floor = self.floor.max(position);
            self.settle();
            return false;
        }
        let full = |history: &Self| {
            let sum = history.bytes.checked_add(bytes);
            history.len() >= limits.events || sum.is_none_or(|sum| sum > limits.bytes)
        };
        while full(self) && self.pop() {}
        true
    }

    /// Appends a publication that was admitted.
    pub(super) fn append(&mut self, keeps: Keeps, publication: P) {
        self.convert(keeps);
        self.bytes += publication.bytes();
        match &mut self.kept {
            Kept::All(ring) => ring.push_back(publication),
            Kept::Latest(latest) => latest.insert(publication),
        }
    }

    /// Lets go of what is over an age.
    pub(super) fn expire(&mut self, now_ms: u64, age: u64) {
        let over = |oldest: Position| due(oldest.ms, age) <= now_ms.min(NEVER - 1);
        while self.oldest().is_some_and(over) && self.pop() {}
    }

    /// Lets go of the oldest; `false` where there is none. [`settle`](Self::settle) gives its room back.
    pub(super) fn pop(&mut self) -> bool {
        let oldest = match &mut self.kept {
            Kept::All(ring) => ring.pop_front(),
            Kept::Latest(latest) => latest.pop_first(),
        };
        let Some(oldest) = oldest else { return false };
        self.bytes -= oldest.bytes();
        self.floor = self.floor.max(oldest.position());
        true
    }

    /// Gives back room, as [`give_back`](crate::hub::slab::give_back) does. After changes, so that a history of one publication keeps
    /// its ring.
    pub(super) fn settle(&mut self) {
        const LEAST: usize = 4;
        let ring = match &mut self.kept {
            Kept::All(ring) => ring,
            // What was replaced is missing then as it is. (Not where what replaced it is about to be appended.)
            Kept::Latest(latest) if latest.by_position.is_empty() && latest.replaced <= self.floor => {
                self.kept = Kept::All(VecDeque::new());
                return;
            }
            Kept::Latest(_) => return,
        };
        if ring.is_empty() {
            *ring = VecDeque::new();
        } else if ring.capacity() > LEAST && ring.len() <= ring.capacity() / 8 * 3 {
            ring.shrink_to(ring.capacity() / 2);
        }
    }

    /// Those above a position, in ascending order. O(log n) to find the first.
    pub(super) fn above(&self, at: Position) -> Above<'_, P> {
        match &self.kept {
            Kept::All(ring) => Above::All(ring.range(ring.partition_point(|p| p.position() <= at)..)),
            Kept::Latest(latest) => Above::Latest(latest.by_position.range((Bound::Excluded(at), Bound::Unbounded))),
        }
    }

    /// Goes over to another way to keep. O(n) where it is another, otherwise O(1).
    fn convert(&mut self, keeps: Keeps) {
        match (&mut self.kept, keeps) {
            (Kept::All(_), Keeps::All) | (Kept::Latest(_), Keeps::LatestPerSlot) => {}
            (Kept::All(ring), Keeps::LatestPerSlot) => {
                let mut latest = Latest::default();
                for publication in core::mem::take(ring) {
                    self.bytes -= latest.replace(&publication);
                    latest.insert(publication);
                }
                self.kept = Kept::Latest(Box::new(latest));
            }
            (Kept::Latest(latest), Keeps::All) => {
                self.floor = self.floor.max(latest.replaced);
                let ring = core::mem::take(&mut latest.by_position).into_values().collect();
                self.kept = Kept::All(ring);
            }
        }
    }
}

impl<P> Default for Latest<P> {
    fn default() -> Self {
        Self { by_position: BTreeMap::new(), by_slot: BTreeSet::new(), replaced: Position::ZERO }
    }
}

impl<P: Retain> Latest<P> {
    /// Removes the one of a newer one's slot, and returns its bytes.
    fn replace(&mut self, newer: &P) -> usize {
        let Some(BySlot(old)) = self.by_slot.take(&BySlot(newer.clone())) else { return 0 };
        self.by_position.remove(&old.position());
        // Slots are replaced in any order.
        self.replaced = self.replaced.max(old.position());
        old.bytes()
    }

    fn insert(&mut self, publication: P) {
        self.by_position.insert(publication.position(), publication.clone());
        self.by_slot.insert(BySlot(publication));
    }

    fn pop_first(&mut self) -> Option<P> {
        let (_, oldest) = self.by_position.pop_first()?;
        self.by_slot.take(&BySlot(oldest)).map(|BySlot(oldest)| oldest)
    }
}

/// A publication, ordered by its slot's name: the name lies in it already.
#[derive(Debug)]
struct BySlot<P>(P);

impl<P: Retain> PartialEq for BySlot<P> {
    fn eq(&self, other: &Self) -> bool {
        self.0.slot() == other.0.slot()
    }
}

impl<P: Retain> Eq for BySlot<P> {}

impl<P: Retain> PartialOrd for BySlot<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P: Retain> Ord for BySlot<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.slot().cmp(other.0.slot())
    }
}

/// The publications of one history above a position.
#[derive(Clone, Debug)]
pub(super) enum Above<'a, P> {
    All(vec_deque::Iter<'a, P>),
    Latest(btree_map::Range<'a, Position, P>),
}

impl<'a, P> Iterator for Above<'a, P> {
    type Item = &'a P;

    fn next(&mut self) -> Option<&'a P> {
        match self {
            Self::All(ring) => ring.next(),
            Self::Latest(range) => range.next().map(|(_, publication)| publication),
        }
    }
}
