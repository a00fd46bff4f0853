//! Where a worker keeps its connections: slots that never move, reached by index, reused lowest first.
//!
//! A slot is exactly its entry. What a slab needs to know of a slot, the entry itself says through [`Entry`], out of fields that it
//! has anyway or that lie idle while nobody lives there: memory per idle connection is counted in single bytes here.

use std::ops::{Index, IndexMut};
use std::vec::Vec;

/// Slots per chunk. At some 130 bytes each a chunk is 34 KB: small enough that a server with one connection pays little, under the
/// size from which allocators map memory page by page, and large enough that the chunk's own 32 bytes vanish.
const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 8;

/// The most chunks: indices have 31 bits, since the [timers](super::timers) mark the ends of their lists with the highest bit.
const MOST_CHUNKS: usize = 1 << (31 - CHUNK_BITS);

/// No slot: the end of a list of vacant slots.
const NONE: u32 = u32::MAX;

/// What can live in a [`Slab`].
///
/// An entry is either occupied, made by the closure given to [`Slab::insert_with`], or vacant, made by
/// [`vacant`](Self::vacant), and says which by [`next_vacant`](Self::next_vacant). A vacant entry should own nothing.
pub(crate) trait Entry {
    /// An entry for a slot where nobody lives. It must give `next` back from [`next_vacant`](Self::next_vacant), as it is.
    fn vacant(next: u32) -> Self;

    /// What [`vacant`](Self::vacant) was given; `None` if this entry is occupied.
    fn next_vacant(&self) -> Option<u32>;

    /// The generation that an occupied entry was made with. What a vacant one says does not matter.
    fn generation(&self) -> u32;
}

/// Entries at stable indices.
///
/// - Memory grows by chunks of 256 slots that never move: growth copies nothing, and pages of a chunk that were never used are
///   never touched.
/// - [`insert_with`](Self::insert_with) takes a slot of the lowest chunk that has one, so that after a peak the entries gather
///   at the bottom as connections come and go. Empty chunks at the end are given back, all but one: a load that swings about a
///   chunk's edge allocates nothing.
/// - Each insertion has a _generation_ of its own, so that an index kept beyond its entry's life is told from its successor
///   with [`get_if`](Self::get_if). They repeat after 2^32 - 1 insertions and are never 0.
pub(crate) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// One bit per chunk, set where the chunk has room.
    room: Vec<u64>,
    len: usize,
    generation: u32,
}

struct Chunk<T> {
    // INVARIANT: its capacity is CHUNK from the start, so that it never moves. Slots from `len` on were never used.
    slots: Vec<T>,
    /// The last slot that was left, the first to be taken again; its entry names the one before. NONE: none.
    vacant: u32,
    occupied: u32,
}

impl<T: Entry> Slab<T> {
    /// A slab that holds nothing, no memory either.
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), room: Vec::new(), len: 0, generation: 0 }
    }

    /// Puts in the entry that `make` makes of its index and its generation, and returns the index.
    ///
    /// O(1), but for one step per 16,384 slots that are in use below the one that is taken.
    ///
    /// # Panics
    ///
    /// With 2^31 entries. A limit on connections is the caller's and far below.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(u32, u32) -> T) -> u32 {
        let at = match self.lowest_with_room() {
            Some(at) => at,
            None => self.grow(),
        };
        let generation = self.generation.wrapping_add(1).max(1);
        let chunk = &mut self.chunks[at];
        let vacant = chunk.vacant;
        let index = if vacant == NONE { (at << CHUNK_BITS | chunk.slots.len()) as u32 } else { vacant };
        // Nothing is changed yet: `make` may panic.
        let entry = make(index, generation);
        debug_assert!(entry.next_vacant().is_none() && entry.generation() == generation);
        if vacant == NONE {
            chunk.slots.push(entry);
        } else {
            let slot = &mut chunk.slots[slot_of(index)];
            chunk.vacant = slot.next_vacant().unwrap_or(NONE);
            *slot = entry;
        }
        chunk.occupied += 1;
        if chunk.occupied as usize == CHUNK {
            self.room[at / 64] &= !(1 << (at % 64));
        }
        self.generation = generation;
        self.len += 1;
        index
    }

    /// Takes the entry at `index` out. Its slot goes to the next insertion into its chunk.
    ///
    /// # Panics
    ///
    /// If there is none: whoever removes twice has mistaken another's slot for its own before.
    pub(crate) fn remove(&mut self, index: u32) -> T {
        let at = chunk_of(index);
        let chunk = &mut self.chunks[at];
        let slot = &mut chunk.slots[slot_of(index)];
        assert!(slot.next_vacant().is_none(), "slot {index} is vacant already");
        let entry = std::mem::replace(slot, T::vacant(chunk.vacant));
        chunk.vacant = index;
        chunk.occupied -= 1;
        self.room[at / 64] |= 1 << (at % 64);
        self.len -= 1;
        if self.chunks[at].occupied == 0 {
            self.shrink();
        }
        entry
    }

    /// The entry at `index`; `None` if the slot is vacant or there is none.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let entry = self.chunks.get(chunk_of(index))?.slots.get(slot_of(index))?;
        if entry.next_vacant().is_none() { Some(entry) } else { None }
    }

    /// The entry at `index`; `None` if the slot is vacant or there is none.
    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let entry = self.chunks.get_mut(chunk_of(index))?.slots.get_mut(slot_of(index))?;
        if entry.next_vacant().is_none() { Some(entry) } else { None }
    }

    /// The entry at `index` if it is the one that was made with `generation`, not one that came after it.
    #[inline]
    pub(crate) fn get_if(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        self.get_mut(index).filter(|entry| entry.generation() == generation)
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many slots memory is held for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// The indices of all entries, ascending. O(capacity).
    pub(crate) fn iter_indices(&self) -> impl Iterator<Item = u32> + '_ {
        self.chunks.iter().enumerate().filter(|(_, chunk)| chunk.occupied > 0).flat_map(|(at, chunk)| {
            let occupied = chunk.slots.iter().enumerate().filter(|(_, entry)| entry.next_vacant().is_none());
            occupied.map(move |(slot, _)| (at << CHUNK_BITS | slot) as u32)
        })
    }

    fn lowest_with_room(&self) -> Option<usize> {
        let word = self.room.iter().position(|word| *word != 0)?;
        Some(word * 64 + self.room[word].trailing_zeros() as usize)
    }

    #[cold]
    fn grow(&mut self) -> usize {
        let at = self.chunks.len();
        assert!(at < MOST_CHUNKS, "a slab holds at most 2^31 entries");
        self.chunks.push(Chunk { slots: Vec::with_capacity(CHUNK), vacant: NONE, occupied: 0 });
        if at.is_multiple_of(64) {
            self.room.push(0);
        }
        self.room[at / 64] |= 1 << (at % 64);
        at
    }

    /// Gives back the empty chunks at the end, but for the lowest of them. O(chunks given back).
    #[cold]
    fn shrink(&mut self) {
        while let [.., next_to_last, last] = self.chunks.as_slice()
            && last.occupied == 0
            && next_to_last.occupied == 0
        {
            self.chunks.pop();
            let at = self.chunks.len();
            self.room[at / 64] &= !(1 << (at % 64));
            self.room.truncate(self.chunks.len().div_ceil(64));
        }
    }
}

/// For indices that are known to be good: two loads and two bounds checks. A vacant slot shows its vacant entry.
///
/// # Panics
///
/// If no slot is held for the index.
impl<T: Entry> Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.chunks[chunk_of(index)].slots[slot_of(index)]
    }
}

impl<T: Entry> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.chunks[chunk_of(index)].slots[slot_of(index)]
    }
}

#[inline(always)]
const fn chunk_of(index: u32) -> usize {
    (index >> CHUNK_BITS) as usize
}

#[inline(always)]
const fn slot_of(index: u32) -> usize {
    index as usize % CHUNK
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// An entry as the worker's: the generation is never 0, so 0 says vacant, and the link lies where something else did.
    #[derive(Debug, PartialEq)]
    struct Thing {
        generation: u32,
        value_or_next: u32,
    }

    impl Entry for Thing {
        fn vacant(next: u32) -> Self {
            Self { generation: 0, value_or_next: next }
        }

        fn next_vacant(&self) -> Option<u32> {
            (self.generation == 0).then_some(self.value_or_next)
        }

        fn generation(&self) -> u32 {
            self.generation
        }
    }

    fn insert(slab: &mut Slab<Thing>, value: u32) -> u32 {
        slab.insert_with(|_, generation| Thing { generation, value_or_next: value })
    }

    #[test]
    fn an_entry_is_told_its_index_and_its_generation() {
        let mut slab = Slab::new();
        for expected in 0..1000 {
            let index = slab.insert_with(|index, generation| Thing { generation, value_or_next: index });
            assert_eq!((index, slab[index].value_or_next), (expected, expected));
            assert_eq!(slab[index].generation, expected + 1);
        }
    }

    #[test]
    fn a_slot_that_is_reused_has_another_generation() {
        let mut slab = Slab::new();
        let index = insert(&mut slab, 1);
        let old = slab[index].generation;
        slab.remove(index);
        assert!(slab.get_if(index, old).is_none());
        assert_eq!(insert(&mut slab, 2), index);
        assert!(slab.get_if(index, old).is_none());
        let new = slab[index].generation;
        assert_eq!(slab.get_if(index, new).unwrap().value_or_next, 2);
    }

    #[test]
    fn generations_wrap_around_zero() {
        let mut slab = Slab::new();
        slab.generation = u32::MAX - 1;
        let indices = [insert(&mut slab, 0), insert(&mut slab, 0), insert(&mut slab, 0)];
        assert_eq!(indices.map(|index| slab[index].generation), [u32::MAX, 1, 2]);
    }

    #[test]
    fn what_is_not_there_is_none_whatever_the_index() {
        let mut slab = Slab::new();
        assert!(slab.get(0).is_none());
        let index = insert(&mut slab, 7);
        for other in [1, 255, 256, 1 << 31, u32::MAX] {
            assert!(slab.get(other).is_none() && slab.get_mut(other).is_none() && slab.get_if(other, 1).is_none());
        }
        slab.remove(index);
        assert!(slab.get(index).is_none() && slab.get_mut(index).is_none() && slab.get_if(index, 0).is_none());
    }

    #[test]
    #[should_panic(expected = "vacant already")]
    fn removing_twice_is_a_bug_that_shows() {
        let mut slab = Slab::new();
        let index = insert(&mut slab, 7);
        slab.remove(index);
        slab.remove(index);
    }

    #[test]
    fn entries_never_move_while_the_slab_grows() {
        let mut slab = Slab::new();
        let first = insert(&mut slab, 7);
        let place: *const Thing = &slab[first];
        for value in 0..100_000 {
            insert(&mut slab, value);
        }
        assert_eq!(place, &raw const slab[first]);
    }

    #[test]
    fn q4_a_hundred_thousand_rounds_do_not_grow_it() {
        let mut slab = Slab::new();
        for value in 0..100 {
            insert(&mut slab, value);
        }
        for value in 0..100_000 {
            let index = insert(&mut slab, value);
            assert!(index <= 100);
            slab.remove(value % 101);
        }
        assert_eq!((slab.len(), slab.capacity()), (100, 256));
    }

    #[test]
    fn after_a_peak_the_memory_is_given_back() {
        let mut slab = Slab::new();
        let indices: Vec<u32> = (0..100_000).map(|value| insert(&mut slab, value)).collect();
        assert_eq!(slab.capacity(), 100_096);
        for index in indices {
            slab.remove(index);
        }
        assert_eq!((slab.len(), slab.capacity(), slab.room.len()), (0, 256, 1));
        assert!(slab.is_empty());
    }

    #[test]
    fn after_a_peak_the_load_moves_down_as_entries_come_and_go() {
        let mut slab = Slab::new();
        let peak: Vec<u32> = (0..10_000).map(|value| insert(&mut slab, value)).collect();
        // One in a hundred stays, in every chunk: nothing can be given back yet.
        for index in peak.iter().filter(|index| **index % 100 != 99) {
            slab.remove(*index);
        }
        assert_eq!((slab.len(), slab.capacity()), (100, 10_240));
        // Each of those is replaced in the end.
        for index in peak.iter().filter(|index| **index % 100 == 99) {
            slab.remove(*index);
            insert(&mut slab, 0);
        }
        assert_eq!((slab.len(), slab.capacity()), (100, 512));
    }

    #[test]
    fn a_load_that_swings_about_a_chunks_edge_keeps_the_chunk() {
        let mut slab = Slab::new();
        for value in 0..256 {
            insert(&mut slab, value);
        }
        let edge = insert(&mut slab, 256);
        let place = slab.chunks[1].slots.as_ptr();
        for _ in 0..10 {
            slab.remove(edge);
            assert_eq!(insert(&mut slab, 0), edge);
            assert_eq!(slab.chunks[1].slots.as_ptr(), place);
        }
    }

    #[test]
    fn a_closure_that_panics_leaves_the_slab_as_it_was() {
        let mut slab = Slab::new();
        let index = insert(&mut slab, 1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| slab.insert_with(|_, _| panic!("no"))));
        assert!(panicked.is_err());
        assert_eq!((slab.len(), slab.iter_indices().collect::<Vec<_>>()), (1, std::vec![index]));
        assert_eq!(insert(&mut slab, 2), index + 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16),
        /// The so-manieth of those that are there.
        Remove(usize),
        RemoveNewest(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1u16..400).prop_map(Step::Insert),
            3 => any::<usize>().prop_map(Step::Remove),
            2 => (1u16..500).prop_map(Step::RemoveNewest),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_holds_what_a_map_would_hold(steps in prop::collection::vec(step(), 1..30)) {
            let mut slab = Slab::new();
            let mut twin: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
            let mut gone = Vec::new();
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(count) => for _ in 0..count {
                        let value = n as u32;
                        let index = insert(&mut slab, value);
                        // No slot of a lower chunk was free.
                        let below = twin.range(..index & !255).count();
                        prop_assert_eq!(below, index as usize & !255);
                        prop_assert!(twin.insert(index, (slab[index].generation, value)).is_none());
                    },
                    Step::Remove(nth) if !twin.is_empty() => {
                        let index = *twin.keys().nth(nth % twin.len()).unwrap();
                        let (generation, value) = twin.remove(&index).unwrap();
                        prop_assert_eq!(slab.remove(index), Thing { generation, value_or_next: value });
                        gone.push((index, generation));
                    }
                    Step::RemoveNewest(count) => for _ in 0..count {
                        let Some((index, (generation, _))) = twin.pop_last() else { break };
                        slab.remove(index);
                        gone.push((index, generation));
                    },
                    Step::Remove(_) => {}
                }
                prop_assert_eq!(slab.len(), twin.len());
                prop_assert!(slab.iter_indices().eq(twin.keys().copied()));
                // Memory: never less than needed, at most one empty chunk at the end.
                let highest = twin.keys().last().map_or(0, |index| (*index as usize | 255) + 1);
                prop_assert!((highest..=highest + CHUNK).contains(&slab.capacity()));
                for (index, (generation, value)) in &twin {
                    let expected = Thing { generation: *generation, value_or_next: *value };
                    prop_assert_eq!(slab.get(*index), Some(&expected));
                    prop_assert!(slab.get_if(*index, *generation).is_some());
                }
                for (index, generation) in &gone {
                    prop_assert!(slab.get_if(*index, *generation).is_none());
                }
            }
        }
    }
}
