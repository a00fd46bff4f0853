//! What all topics retain, under one budget.

use crate::hub::cursor::Position;
use crate::hub::history::{Above, History, HistoryLimits, Keeps, NEVER, Retain, due};
use crate::hub::slab::Slab;
use alloc::collections::binary_heap::{BinaryHeap, PeekMut};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::iter::FusedIterator;

/// How much all topics retain together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedLimits {
    /// Topics with a record: something retained, or let go not long ago. Default 100,000.
    pub topics: usize,
    /// Bytes of publications, as [`Retain::bytes`] counts them, of their places, and of the topics' records and names. Default 256 MiB.
    pub bytes: usize,
}

impl Default for RetainedLimits {
    fn default() -> Self {
        Self { topics: 100_000, bytes: 256 << 20 }
    }
}

/// The histories of all topics of a hub: what a subscriber that comes back gets, and whether it is all there was.
///
/// Everything published is [pushed](Self::push), in ascending position; time comes in with positions and with
/// [`let_go`](Self::let_go). What is retained follows from these calls alone: replicas that are fed alike answer alike.
///
/// **What goes first.** A publication goes when its topic is over a limit of its [`HistoryLimits`], the oldest first. When the hub
/// is over its bytes, the oldest of all topics goes first. One that is larger than a limit alone is not retained, and moves out
/// nothing but what it replaces (the topic's record may need room, though). When there are more topics than may be, the one goes whose last publication is the oldest.
///
/// **Gaps.** A topic has a record, which tells its _floor_: the newest position that it let go. The record stays behind what it
/// retained for as long as any topic's age limit so far, and 300 s at least, or until the hub needs the room. Then the highest
/// position in it is noted as _forgotten_, which stands for the floor of every topic without a record. So a topic in which nothing
/// happened is said to have a gap only to those who were away for longer than publications are retained, or than there was room for.
///
/// Names and slots lie in ordered maps, so no choice of them makes look-ups slow: O(log topics) for each call that names a topic,
/// besides what the call says.
#[derive(Debug)]
pub struct Retained<P> {
    limits: RetainedLimits,
    names: BTreeMap<Arc<str>, u32>,
    records: Slab<Record<P>>,
    /// The ends of the list of records, in the order of their last publication: oldest and newest.
    ends: [u32; 2],
    /// For each record with publications the oldest's position, or an earlier one: keys are moved up when they come first.
    oldest: BTreeSet<(Position, u32)>,
    /// Likewise when, in Unix milliseconds, the oldest is over its age.
    dues: BTreeSet<(u64, u32)>,
    /// The last position pushed.
    head: Position,
    /// Where the log begins, or the highest position in a record that was dropped.
    forgotten: Position,
    /// The longest age limit so far, in milliseconds.
    longest: u64,
    bytes: usize,
    publications: usize,
}

/// A topic of which something is or was retained.
#[derive(Debug)]
struct Record<P> {
    /// Shared with the map of names.
    name: Arc<str>,
    history: History<P>,
    /// The last position pushed. Where nothing is retained, it is the floor.
    last: Position,
    /// The age limit in milliseconds.
    age: u64,
    /// Its key among the oldest; [`Position::ZERO`] without one.
    key: Position,
    /// Its key among what is due; [`NEVER`] without one.
    due: u64,
    /// Its neighbours in the list: older, newer.
    beside: [u32; 2],
}

const OLDER: usize = 0;
const NEWER: usize = 1;
/// No record.
const NONE: u32 = u32::MAX;

/// How long records stay at least, in milliseconds: as the default history. Otherwise a hub with shorter histories, or none, would
/// tell those who were away for a moment of gaps in topics in which nothing happened.
const LEAST_MEMORY: u64 = 300_000;

impl<P: Retain> Retained<P> {
    /// What the record of a topic counts for in bytes, beside its name: itself, its keys in three ordered maps, a short ring. Tables
    /// and nodes of maps are half empty at times.
    pub const TOPIC_BYTES: usize = 2 * (size_of::<Option<Record<P>>>() + size_of::<[(u64, u64, u64); 3]>());

    /// What a publication's place in a history counts for, beside [`Retain::bytes`].
    pub const fn place_bytes(keeps: Keeps) -> usize {
        History::<P>::place(keeps)
    }

    /// What it counts for, beside those, that a topic has publications at all: nothing, or the maps of one that conflates.
    pub const fn base_bytes(keeps: Keeps) -> usize {
        History::<P>::base(keeps)
    }

    /// Nothing yet, and nothing on the heap. `origin`: the position at which the log begins, [`Position::ZERO`] for a new one. Who
    /// comes with an earlier cursor is told of a gap. (More than 2^32 - 1 topics are never allowed.)
    pub const fn new(mut limits: RetainedLimits, origin: Position) -> Self {
        if limits.topics > NONE as usize {
            limits.topics = NONE as usize;
        }
        Self {
            limits,
            names: BTreeMap::new(),
            records: Slab::new(),
            ends: [NONE; 2],
            oldest: BTreeSet::new(),
            dues: BTreeSet::new(),
            head: origin,
            forgotten: origin,
            longest: LEAST_MEMORY,
            bytes: 0,
            publications: 0,
        }
    }

    /// Retains a publication of a topic under the limits that the topic has now, and lets go of what is over a limit then; of what is
    /// over its age, in all topics, as its position's milliseconds say the time.
    ///
    /// Publications are pushed in ascending position. One that is not above all before it was pushed before, and is ignored.
    /// Amortised O(1) beyond the name, and O(log topics) for each publication that the hub's limits let go; in a topic that
    /// conflates O(log n). To change how a topic keeps is O(n log n), once.
    pub fn push(&mut self, topic: &str, limits: &HistoryLimits, publication: P) {
        let position = publication.position();
        if position <= self.head {
            return;
        }
        self.head = position;
        self.longest = self.longest.max(limits.age_ms());
        self.let_go(position.ms);
        let Some(at) = self.touch(topic, position) else {
            self.forgotten = position;
            return;
        };
        self.records[at].age = limits.age_ms();

        let keeps = limits.keeps;
        let overhead = Self::TOPIC_BYTES + topic.len() + Self::base_bytes(keeps) + Self::place_bytes(keeps);
        // With less room than that, nothing is retained: not even of no bytes.
        let largest = self.limits.bytes.checked_sub(overhead);
        let limits = HistoryLimits { events: if largest.is_none() { 0 } else { limits.events }, ..*limits };
        let admitted = self.change(at, |history| history.admit(&limits, largest.unwrap_or(0), &publication));
        if admitted {
            // Its record stays: it is the newest, and alone it fits.
            while !self.fits(self.records[at].history.footprint_of(keeps, &publication)) && self.let_go_oldest() {}
            self.change(at, |history| {
                history.append(keeps, publication);
                history.settle();
            });
        } else {
            while !self.fits(0) && self.let_go_oldest() {}
        }
        // A record in which nothing is retained may be gone.
        if admitted || self.names.contains_key(topic) {
            self.requeue(at);
        }
    }

    /// Lets go of what is over its age at a time in Unix milliseconds, and of records that have stayed long enough. Amortised
    /// O(log topics) for each publication and record let go; nothing happens before [`next_expiry`](Self::next_expiry).
    pub fn let_go(&mut self, unix_ms: u64) {
        let unix_ms = unix_ms.min(NEVER - 1);
        while let Some(&(due, at)) = self.dues.first()
            && due <= unix_ms
        {
            self.dues.pop_first();
            let record = &mut self.records[at];
            record.due = NEVER;
            let age = record.age;
            self.change(at, |history| {
                history.expire(unix_ms, age);
                history.settle();
            });
            self.requeue(at);
        }
        // What these retained is over its age, too: no age is longer.
        while let Some((last, at)) = self.first()
            && due(last.ms, self.longest) <= unix_ms
        {
            self.drop_record(at);
        }
    }

    /// When [`let_go`](Self::let_go) may have something to do, in Unix milliseconds. May be early, never late; after `let_go(t)` it is
    /// later than `t`. `None` where time changes nothing.
    pub fn next_expiry(&self) -> Option<u64> {
        let publication = self.dues.first().map(|&(due, _)| due);
        let record = self.first().map(|(last, _)| due(last.ms, self.longest));
        publication.into_iter().chain(record).min().filter(|&due| due != NEVER)
    }

    /// Lets go of so many bytes at least, or of everything: the oldest of all topics first. Returns how many it were, as
    /// [`bytes`](Self::bytes) counts them. For a budget that is shared with others.
    ///
    /// A record in which nothing is retained goes when it is older than any publication. O(log topics) for each of both.
    pub fn shed(&mut self, bytes: usize) -> usize {
        let before = self.bytes;
        while before - self.bytes < bytes && self.let_go_oldest() {}
        before - self.bytes
    }

    /// Whether something that was published on a topic above a position may be missing in [`after`](Self::after) that position. What
    /// a newer publication of its slot replaced is not missing.
    ///
    /// That the position is of this log and not beyond its head is for the caller to know, and that a cursor of `0` asks for what there
    /// is.
    pub fn has_gap(&self, topic: &str, at: Position) -> bool {
        at < self.floor(topic)
    }

    /// The position from which on nothing of a topic is missing: the newest that it let go, or where nothing is known of it, the highest
    /// that any forgotten topic had, or the log's beginning.
    pub fn floor(&self, topic: &str) -> Position {
        self.record(topic).map_or(self.forgotten, |record| record.history.floor())
    }

    /// What is retained of several topics, of each what is above its position, all in ascending position. A topic named twice
    /// counts from its lower position.
    ///
    /// O(log topics + log n) for each topic to begin with, then O(log topics given) for each publication.
    pub fn after<'t>(&self, topics: impl IntoIterator<Item = (&'t str, Position)>) -> After<'_, P> {
        let mut sources = Vec::new();
        let mut first = Vec::new();
        for (topic, at) in topics {
            let Some(record) = self.record(topic) else { continue };
            let mut rest = record.history.above(at);
            if let Some(next) = rest.next() {
                first.push(Reverse((next.position(), sources.len() as u32)));
                sources.push(Source { next, rest });
            }
        }
        After { sources, heads: BinaryHeap::from(first), last: Position::ZERO }
    }

    /// What is retained of one topic above a position, in ascending order. O(log n) to begin with, then O(1) for each.
    pub fn after_one(&self, topic: &str, at: Position) -> impl Iterator<Item = &P> + use<'_, P> {
        self.record(topic).map(|record| record.history.above(at)).into_iter().flatten()
    }

    /// The position of the newest publication that is retained of a topic.
    pub fn latest(&self, topic: &str) -> Option<Position> {
        self.record(topic)?.history.newest()
    }

    /// What everything counts for against [`RetainedLimits::bytes`].
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many topics have a record.
    pub fn topics(&self) -> usize {
        self.records.len()
    }

    /// How many publications are retained.
    pub const fn publications(&self) -> usize {
        self.publications
    }

    fn record(&self, topic: &str) -> Option<&Record<P>> {
        self.names.get(topic).map(|&at| &self.records[at])
    }

    /// The record of a topic, which is now the newest; `None` where there may be none.
    fn touch(&mut self, topic: &str, position: Position) -> Option<u32> {
        let at = match self.names.get(topic) {
            Some(&at) => {
                self.unlink(at);
                at
            }
            None => {
                while self.records.len() >= self.limits.topics {
                    let (_, oldest) = self.first()?;
                    self.drop_record(oldest);
                }
                let name: Arc<str> = topic.into();
                let at = self.records.insert(Record {
                    name: name.clone(),
                    history: History::new(self.forgotten),
                    last: position,
                    age: 0,
                    key: Position::ZERO,
                    due: NEVER,
                    beside: [NONE; 2],
                });
                self.names.insert(name, at);
                self.bytes += Self::TOPIC_BYTES + topic.len();
                at
            }
        };
        self.link_last(at);
        self.records[at].last = position;
        Some(at)
    }

    fn fits(&self, more: usize) -> bool {
        self.bytes.checked_add(more).is_some_and(|sum| sum <= self.limits.bytes)
    }

    /// Changes a history, and counts.
    fn change<R>(&mut self, at: u32, change: impl FnOnce(&mut History<P>) -> R) -> R {
        let history = &mut self.records[at].history;
        let (bytes, publications) = (history.footprint(), history.len());
        let result = change(history);
        self.bytes = self.bytes - bytes + history.footprint();
        self.publications = self.publications - publications + history.len();
        result
    }

    /// Gives a record with publications its keys, where it has none or too late ones.
    fn requeue(&mut self, at: u32) {
        let record = &mut self.records[at];
        let Some(oldest) = record.history.oldest() else { return };
        if record.key == Position::ZERO {
            record.key = oldest;
            self.oldest.insert((oldest, at));
        }
        let due = due(oldest.ms, record.age);
        if due < record.due {
            // It has none, or the age limit is shorter than it was.
            self.dues.remove(&(record.due, at));
            record.due = due;
            self.dues.insert((due, at));
        }
    }

    /// The record with the oldest publication of all. Amortised O(log topics): whoever moves a key up, does so for a publication
    /// that has gone.
    fn oldest(&mut self) -> Option<(Position, u32)> {
        loop {
            let &(key, at) = self.oldest.first()?;
            let record = &mut self.records[at];
            let oldest = record.history.oldest();
            if oldest == Some(key) {
                return Some((key, at));
            }
            self.oldest.pop_first();
            record.key = oldest.unwrap_or(Position::ZERO);
            if let Some(oldest) = oldest {
                self.oldest.insert((oldest, at));
            }
        }
    }

    /// Lets go of the oldest there is: a publication, or a record that retains nothing. `false` where there is neither.
    fn let_go_oldest(&mut self) -> bool {
        let Some((last, first)) = self.first() else { return false };
        match self.oldest() {
            Some((position, at)) if position <= last => self.change(at, |history| {
                history.pop();
                history.settle();
            }),
            // Its last publication is older than any that is retained.
            _ => self.drop_record(first),
        }
        true
    }

    /// Forgets a topic, with what it retains.
    fn drop_record(&mut self, at: u32) {
        self.unlink(at);
        let Some(record) = self.records.remove(at) else { return };
        self.names.remove(&record.name);
        self.oldest.remove(&(record.key, at));
        self.dues.remove(&(record.due, at));
        self.bytes -= Self::TOPIC_BYTES + record.name.len() + record.history.footprint();
        self.publications -= record.history.len();
        self.forgotten = self.forgotten.max(record.last);
    }

    /// The record whose last publication is the oldest.
    fn first(&self) -> Option<(Position, u32)> {
        let [first, _] = self.ends;
        (first != NONE).then(|| (self.records[first].last, first))
    }

    fn unlink(&mut self, at: u32) {
        let [older, newer] = self.records[at].beside;
        *self.beside(older, NEWER) = newer;
        *self.beside(newer, OLDER) = older;
    }

    fn link_last(&mut self, at: u32) {
        let [_, last] = self.ends;
        self.records[at].beside = [last, NONE];
        *self.beside(last, NEWER) = at;
        self.ends[1] = at;
    }

    /// A record's neighbour on one side. Beside the list lie its ends: what is newer than none is the oldest.
    fn beside(&mut self, at: u32, side: usize) -> &mut u32 {
        if at == NONE { &mut self.ends[1 - side] } else { &mut self.records[at].beside[side] }
    }
}

/// Publications of several topics in ascending position. See [`Retained::after`].
#[derive(Clone, Debug)]
pub struct After<'a, P> {
    sources: Vec<Source<'a, P>>,
    /// The position of the next of each source that has one, and the source.
    heads: BinaryHeap<Reverse<(Position, u32)>>,
    /// The position of the last one yielded.
    last: Position,
}

#[derive(Clone, Debug)]
struct Source<'a, P> {
    next: &'a P,
    rest: Above<'a, P>,
}

impl<'a, P: Retain> Iterator for After<'a, P> {
    type Item = &'a P;

    fn next(&mut self) -> Option<&'a P> {
        loop {
            let mut head = self.heads.peek_mut()?;
            let Reverse((position, at)) = *head;
            let source = &mut self.sources[at as usize];
            let publication = source.next;
            match source.rest.next() {
                Some(next) => {
                    source.next = next;
                    *head = Reverse((next.position(), at));
                }
                None => _ = PeekMut::pop(head),
            }
            // The same again comes of a topic that was named twice.
            if position > self.last {
                self.last = position;
                return Some(publication);
            }
        }
    }
}

impl<P: Retain> FusedIterator for After<'_, P> {}
