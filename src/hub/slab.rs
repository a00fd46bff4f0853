//! Numbered slots for what comes and goes, and when memory is given back.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

/// Values under small numbers that stay while the value does. The lowest free number is given out first, and free numbers at the
/// end take no memory. O(log free).
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Option<T>>,
    /// The free slots; never the last.
    free: BTreeSet<u32>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Stores a value and returns its number. Fewer than `u32::MAX` values is the caller's to hold.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(at) = self.free.pop_first() {
            self.slots[at as usize] = Some(value);
            return at;
        }
        self.slots.push(Some(value));
        (self.slots.len() - 1) as u32
    }

    /// Takes a value out; its number may be given out again.
    pub(super) fn remove(&mut self, at: u32) -> Option<T> {
        let value = self.slots.get_mut(at as usize)?.take()?;
        self.free.insert(at);
        // Each slot that is dropped here was filled once.
        while let Some(None) = self.slots.last() {
            self.slots.pop();
            self.free.remove(&(self.slots.len() as u32));
        }
        give_back(&mut self.slots);
        Some(value)
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    /// Panics where there is none: whoever keeps numbers keeps only those of live values.
    fn index(&self, at: u32) -> &T {
        self.slots[at as usize].as_ref().expect("the number is of a live value")
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, at: u32) -> &mut T {
        self.slots[at as usize].as_mut().expect("the number is of a live value")
    }
}

/// Gives back half of a vector that has shrunk to 3/8 of its capacity, and all of an empty one. What is left is then 3/4 full, so
/// that growing again and shrinking again are both a quarter of it away: amortised O(1). Halves keep to the sizes of growth.
pub(super) fn give_back<T>(vec: &mut Vec<T>) {
    /// What a vector begins with. There are as many short ones as there are topics, so even eight values are worth a move.
    const LEAST: usize = 4;
    if vec.is_empty() {
        *vec = Vec::new();
    } else if vec.capacity() > LEAST && vec.len() <= vec.capacity() / 8 * 3 {
        vec.shrink_to(vec.capacity() / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_given_out_first_and_the_end_is_cut() {
        let mut slab = Slab::new();
        assert_eq!([0, 1, 2, 3].map(|n| slab.insert(n)), [0, 1, 2, 3]);
        assert_eq!((slab.remove(2), slab.remove(0), slab.remove(0), slab.remove(9)), (Some(2), Some(0), None, None));
        assert_eq!((slab.len(), slab[1], slab[3]), (2, 1, 3));
        assert_eq!(slab.insert(4), 0);
        assert_eq!(slab.remove(3), Some(3));
        assert_eq!((slab.slots.len(), slab.free.len()), (2, 0));
        assert_eq!([slab.remove(0), slab.remove(1)], [Some(4), Some(1)]);
        assert_eq!((slab.len(), slab.slots.capacity(), slab.free.len()), (0, 0, 0));
    }

    #[test]
    fn a_shrinking_vector_holds_less_than_three_times_its_length_and_moves_little() {
        let mut vec = alloc::vec![0u8; 1 << 16];
        let mut moved = 0;
        while vec.pop().is_some() {
            let before = vec.capacity();
            give_back(&mut vec);
            moved += if vec.capacity() == before { 0 } else { vec.len() };
            assert!(vec.capacity() <= (vec.len() * 3).max(4), "{} of {}", vec.len(), vec.capacity());
        }
        assert!(moved < 1 << 16, "{moved}");
        assert_eq!(vec.capacity(), 0);
    }
}
