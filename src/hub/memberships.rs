//! Which topics each subscriber has, as numbers: the back references of [`Topics`](super::Topics).

use crate::hub::slab::{Slab, give_back};
use alloc::vec::Vec;
use core::slice;

/// One subscriber in one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    /// The topic's number.
    pub(super) topic: u32,
    /// Where the subscriber stands in the topic's array.
    pub(super) at: u32,
}

/// The memberships of every subscriber, in the order of their topics' numbers.
///
/// A subscriber takes 8 bytes, in which its only membership lies, too; with two or more it has a list. Subscribers behind the last
/// one with a topic take nothing. To find, add or remove one of k memberships is a binary search, and a move of at most 8k bytes.
#[derive(Debug)]
pub(super) struct Memberships {
    slots: Vec<Slot>,
    lists: Slab<Vec<Membership>>,
}

/// What a subscriber has: a membership, or with a number that no topic has ([`NOTHING`], [`LIST`]) something else.
#[derive(Clone, Copy, Debug)]
struct Slot(Membership);

/// No topics.
const NOTHING: u32 = u32::MAX;
/// Two topics or more: `at` is the number of the list.
const LIST: u32 = u32::MAX - 1;
/// The most topics there can be: their numbers stay below those.
pub(super) const MOST_TOPICS: usize = LIST as usize;

const _: () = assert!(size_of::<Slot>() == 8);

impl Memberships {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), lists: Slab::new() }
    }

    /// What a subscriber has.
    pub(super) fn of(&self, subscriber: u32) -> &[Membership] {
        match self.slots.get(subscriber as usize) {
            None | Some(Slot(Membership { topic: NOTHING, .. })) => &[],
            Some(Slot(Membership { topic: LIST, at })) => &self.lists[*at],
            Some(Slot(one)) => slice::from_ref(one),
        }
    }

    /// Its membership in one topic.
    pub(super) fn find(&self, subscriber: u32, topic: u32) -> Option<Membership> {
        let held = self.of(subscriber);
        Some(held[search(held, topic).ok()?])
    }

    /// Adds one of a topic that the subscriber does not have.
    pub(super) fn add(&mut self, subscriber: u32, new: Membership) {
        let index = subscriber as usize;
        if index >= self.slots.len() {
            self.slots.resize(index + 1, Slot(Membership { topic: NOTHING, at: 0 }));
        }
        let slot = &mut self.slots[index].0;
        match *slot {
            Membership { topic: NOTHING, .. } => *slot = new,
            Membership { topic: LIST, at } => {
                let list = &mut self.lists[at];
                let place = search(list, new.topic).unwrap_or_else(|place| place);
                list.insert(place, new);
            }
            one => {
                let pair = if one.topic < new.topic { [one, new] } else { [new, one] };
                *slot = Membership { topic: LIST, at: self.lists.insert(Vec::from(pair)) };
            }
        }
    }

    /// Removes the one of a topic, if there is one.
    pub(super) fn remove(&mut self, subscriber: u32, topic: u32) {
        let Some(Slot(slot)) = self.slots.get_mut(subscriber as usize) else { return };
        if let Membership { topic: LIST, at } = *slot {
            let list = &mut self.lists[at];
            let Ok(place) = search(list, topic) else { return };
            list.remove(place);
            if let [one] = list[..] {
                *slot = one;
                self.lists.remove(at);
            } else {
                give_back(list);
            }
        } else if slot.topic == topic {
            slot.topic = NOTHING;
            while let Some(Slot(Membership { topic: NOTHING, .. })) = self.slots.last() {
                self.slots.pop();
            }
            give_back(&mut self.slots);
        }
    }

    /// Notes that a subscriber has another place in a topic's array.
    pub(super) fn moved(&mut self, subscriber: u32, to: Membership) {
        let slot = &mut self.slots[subscriber as usize].0;
        let held = if slot.topic == LIST { &mut self.lists[slot.at][..] } else { slice::from_mut(slot) };
        let place = search(held, to.topic).expect("who stands in a topic's array has a membership of it");
        held[place] = to;
    }
}

fn search(held: &[Membership], topic: u32) -> Result<usize, usize> {
    held.binary_search_by_key(&topic, |membership| membership.topic)
}
