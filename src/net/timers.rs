//! One deadline per connection, for any number of connections: a hashed timer wheel (Varghese and Lauck, scheme 6) whose list links
//! lie in the connections' own slots.
//!
//! A connection has many deadlines but waits on one number, its machine's `poll_timeout`, so it needs one entry here. Most
//! deadlines are moved later long before they come: each byte that arrives puts a heartbeat off. That costs nothing at all,
//! because nobody tells the wheel. The entry stays where it is, comes up early, and its owner, who asks the machine anyway, sets
//! it again. Only a deadline that becomes _earlier_ has to be told ([`Wheel::set`]), and the wheel ignores the rest.

use crate::time::Instant;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

/// Nanoseconds per tick, as a power of two: 8.39 ms, a shift and no division.
///
/// An entry fires up to one tick after its time: at 8 ms a handler's timer of 20 ms takes up to 28 (at 16 ms, up to 36). And what is
/// due together is gathered into at most 119 turns a second.
const TICK_BITS: u32 = 23;

/// How many ticks the wheel looks ahead: 34 s. Heads and closing handshakes (5 s), pong deadlines (10 s) and heartbeats (25 s) lie
/// within, so an idle WebSocket's entry is touched once per heartbeat; an idle time of 60 s is touched once on its way.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 12;
const WORDS: usize = SLOTS / 64;
// One word says which words are not empty.
const _: () = assert!(WORDS == 64);

/// Ticks are kept as 32 bits and compared by their distance; farther than this they cannot be told from the past. 208 days: what
/// is set for later comes up then, early.
const FARTHEST: u64 = i32::MAX as u64;

/// Marks the end of a list: the other bits are the number of its slot.
const END: u32 = 1 << 31;

/// In [`Link::prev`]: in no list. Not the end of a list, whose slot would have to have a number above [`SLOTS`].
const UNSET: u32 = u32::MAX;

/// A connection's place in the wheel: 12 bytes in its slot.
///
/// It belongs to the [`Wheel`]; the owner keeps it, gives it out through [`Links`], and makes it with [`Link::new`]. Whoever
/// gives up a slot says [`Wheel::clear`] first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// The entry before it, `END | slot` for the first one, UNSET if this is in no list.
    prev: u32,
    /// The entry behind it, `END | slot` for the last one.
    next: u32,
    /// When it is due, as the low bits of a tick that is at most FARTHEST ahead.
    tick: u32,
}

impl Link {
    /// In no list: no deadline.
    pub(crate) const fn new() -> Self {
        Self { prev: UNSET, next: UNSET, tick: 0 }
    }

    /// Whether an entry is set: it fires some time, unless it is cleared.
    #[inline]
    pub(crate) const fn is_set(&self) -> bool {
        self.prev != UNSET
    }
}

/// Where the links are: the table of connections.
pub(crate) trait Links {
    /// The link of the connection at `index`. The wheel asks for indices that it was given by [`Wheel::set`] and that were not
    /// cleared since.
    fn link(&mut self, index: u32) -> &mut Link;
}

/// The deadlines of one worker's connections.
///
/// - Each turn the owner calls [`expire`](Self::expire) with the time, before anything sets entries, and handles every index that
///   it gets: it asks the machine what is due and then calls [`set`](Self::set) with the machine's next deadline.
/// - After any call that may have made a deadline earlier it calls `set` as well. Calling `set` too often costs a comparison.
/// - [`poll_timeout`](Self::poll_timeout) says how long the worker may sleep; ask last, behind all of these.
///
/// An entry set for T fires in the first `expire` whose `now` is T or later, at most one tick (8.4 ms) after T, and never
/// before it; unless that call was full, then in one of the next. An index that was fired may have changed hands when the owner
/// comes to it, closed by an earlier one of the same batch: machines that are asked early do nothing.
///
/// 32 KiB, allocated once. Indices have 31 bits. All links must come from the same place on each call.
pub(crate) struct Wheel {
    /// First and last entry of each slot; `END` where it is empty.
    slots: Box<[(u32, u32)]>,
    /// One bit per slot that is not empty.
    bits: [u64; WORDS],
    /// One bit per word of `bits` that is not zero.
    summary: u64,
    /// The tick that is being expired: all entries lie in the slots of `base..base + SLOTS`, and none is due before `base`.
    /// An entry that is due beyond them is parked in the last and moved on when `base` comes there.
    base: u64,
}

impl Wheel {
    /// A wheel without entries. `now` must be of the same clock as all later instants.
    pub(crate) fn new(now: Instant) -> Self {
        let slots = vec![(END, END); SLOTS].into_boxed_slice();
        Self { slots, bits: [0; WORDS], summary: 0, base: now.as_nanos() >> TICK_BITS }
    }

    /// Makes the entry of `index` fire at `at` at the latest. If it is set for that time or an earlier one it is left alone.
    /// A time that has passed already is due at once. O(1).
    #[inline]
    pub(crate) fn set(&mut self, links: &mut impl Links, index: u32, at: Instant) {
        let tick = tick_after(at).clamp(self.base, self.base + FARTHEST);
        let link = links.link(index);
        if link.is_set() {
            if self.tick_of(link) <= tick {
                return;
            }
            self.unlink(links, index);
        }
        self.append(links, index, tick);
    }

    /// Takes the entry of `index` out; without one it does nothing. O(1).
    ///
    /// A deadline that is merely no longer wanted can as well be left to fire. What must be cleared is a link whose slot is given
    /// up.
    #[inline]
    pub(crate) fn clear(&mut self, links: &mut impl Links, index: u32) {
        if links.link(index).is_set() {
            self.unlink(links, index);
        }
    }

    /// When to call [`expire`](Self::expire) next: in the past or now while due entries are left, `None` without entries. It can be
    /// early, where the next entry is more than 34 s ahead. O(1).
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let tick = self.next_tick()?;
        Some(Instant::from_nanos(tick.saturating_mul(1 << TICK_BITS)))
    }

    /// Takes out entries that are due at `now`, in the order of their ticks, and appends their indices to `due`.
    ///
    /// It touches `at_most` entries, so that thousands that are due together are spread over turns; at least one, or there were
    /// no progress. What is left stays due: [`poll_timeout`](Self::poll_timeout) then says so. Entries that are set meanwhile
    /// queue up behind it. O(entries touched), however long ago the last call was.
    pub(crate) fn expire(&mut self, links: &mut impl Links, now: Instant, at_most: usize, due: &mut Vec<u32>) {
        let target = now.as_nanos() >> TICK_BITS;
        let mut budget = at_most.max(1);
        while let Some(tick) = self.next_tick().filter(|tick| *tick <= target) {
            // Slots before it are empty.
            self.base = tick;
            loop {
                if budget == 0 {
                    return;
                }
                let (index, _) = self.slots[slot_of(tick)];
                if index & END != 0 {
                    break;
                }
                budget -= 1;
                let at = self.tick_of(links.link(index));
                self.unlink(links, index);
                if at > tick {
                    self.append(links, index, at);
                } else {
                    due.push(index);
                }
            }
        }
        self.base = self.base.max(target);
    }

    /// The first tick from `base` on whose slot is not empty.
    fn next_tick(&self) -> Option<u64> {
        let from = slot_of(self.base);
        let (word, bit) = (from / 64, from % 64);
        let slot = |word: usize, bits: u64| word * 64 + bits.trailing_zeros() as usize;
        let here = self.bits[word] & (u64::MAX << bit);
        let found = if here != 0 {
            slot(word, here)
        } else if self.summary != 0 {
            // The words behind this one come first, then, around the end, those from the start up to it.
            let behind = self.summary & u64::MAX.checked_shl(word as u32 + 1).unwrap_or(0);
            let word = if behind != 0 { behind } else { self.summary }.trailing_zeros() as usize;
            slot(word, self.bits[word])
        } else {
            return None;
        };
        Some(self.base + (found.wrapping_sub(from) % SLOTS) as u64)
    }

    /// The tick of an entry that is set.
    #[inline]
    fn tick_of(&self, link: &Link) -> u64 {
        // INVARIANT: from `base` to `base + FARTHEST`; while an entry is set, `base` does not pass it.
        self.base + u64::from(link.tick.wrapping_sub(self.base as u32))
    }

    /// Appends the entry of `index`, which is in no list, to the slot of `tick`, or parks it in the last one.
    fn append(&mut self, links: &mut impl Links, index: u32, tick: u64) {
        debug_assert!(index < END && tick >= self.base);
        let slot = slot_of(tick.min(self.base + SLOTS as u64 - 1));
        let end = END | slot as u32;
        let (first, last) = &mut self.slots[slot];
        let prev = if *first & END != 0 {
            *first = index;
            self.bits[slot / 64] |= 1 << (slot % 64);
            self.summary |= 1 << (slot / 64);
            end
        } else {
            links.link(*last).next = index;
            *last
        };
        *last = index;
        *links.link(index) = Link { prev, next: end, tick: tick as u32 };
    }

    /// Takes the entry of `index`, which is in a list, out of it.
    fn unlink(&mut self, links: &mut impl Links, index: u32) {
        let link = links.link(index);
        let Link { prev, next, .. } = *link;
        link.prev = UNSET;
        if prev & END == 0 {
            links.link(prev).next = next;
        } else {
            self.slots[(prev & !END) as usize].0 = next;
        }
        if next & END == 0 {
            links.link(next).prev = prev;
        } else {
            let slot = (next & !END) as usize;
            self.slots[slot].1 = prev;
            if prev & END != 0 {
                self.bits[slot / 64] &= !(1 << (slot % 64));
                if self.bits[slot / 64] == 0 {
                    self.summary &= !(1 << (slot / 64));
                }
            }
        }
    }
}

/// The first tick that does not begin before `at`.
#[inline]
fn tick_after(at: Instant) -> u64 {
    at.as_nanos().div_ceil(1 << TICK_BITS)
}

#[inline]
const fn slot_of(tick: u64) -> usize {
    tick as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    struct Table(Vec<Link>);

    impl Table {
        fn new(entries: usize) -> Self {
            Self(vec![Link::new(); entries])
        }
    }

    impl Links for Table {
        fn link(&mut self, index: u32) -> &mut Link {
            &mut self.0[index as usize]
        }
    }

    const TICK: u64 = 1 << TICK_BITS;

    fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn expire(wheel: &mut Wheel, links: &mut Table, now: Instant) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.expire(links, now, usize::MAX, &mut due);
        due
    }

    #[test]
    fn a_link_is_twelve_bytes() {
        assert_eq!(size_of::<Link>(), 12);
    }

    #[test]
    fn an_entry_never_fires_early_and_at_most_one_tick_late() {
        for at in [1, TICK - 1, TICK, TICK + 1, 5_000_000_000, 25_000_000_000, 60_000_000_000, 86_400_000_000_000] {
            let (mut wheel, mut links) = (Wheel::new(ms(0)), Table::new(1));
            wheel.set(&mut links, 0, Instant::from_nanos(at));
            assert_eq!(expire(&mut wheel, &mut links, Instant::from_nanos(at - 1)), [], "{at}");
            assert!(links.0[0].is_set());
            assert_eq!(expire(&mut wheel, &mut links, Instant::from_nanos(at + TICK - 1)), [0], "{at}");
            assert!(!links.0[0].is_set());
            assert_eq!(wheel.poll_timeout(), None);
        }
    }

    #[test]
    fn sleeping_as_long_as_told_reaches_every_entry_in_time() {
        for at in [1, 20, 4999, 17_179, 17_180, 25_000, 60_000, 3_600_000] {
            let (mut wheel, mut links) = (Wheel::new(ms(7)), Table::new(1));
            wheel.set(&mut links, 0, ms(at));
            let mut wakes = 0;
            let fired = loop {
                let now = wheel.poll_timeout().unwrap();
                wakes += 1;
                if expire(&mut wheel, &mut links, now) == [0] {
                    break now;
                }
            };
            assert!(fired >= ms(at).min(ms(7)) && fired < ms(at) + Duration::from_nanos(TICK), "{at}: {fired:?}");
            assert!(wakes <= 1 + at / 17_175, "{at}: {wakes} wakes");
        }
    }

    #[test]
    fn a_time_that_has_passed_is_due_at_once() {
        let (mut wheel, mut links) = (Wheel::new(ms(1000)), Table::new(2));
        assert_eq!(expire(&mut wheel, &mut links, ms(2000)), []);
        wheel.set(&mut links, 0, ms(1500));
        wheel.set(&mut links, 1, Instant::ORIGIN);
        assert!(wheel.poll_timeout().unwrap() <= ms(2000));
        assert_eq!(expire(&mut wheel, &mut links, ms(2000)), [0, 1]);
    }

    #[test]
    fn a_later_deadline_leaves_the_entry_and_an_earlier_one_moves_it() {
        let (mut wheel, mut links) = (Wheel::new(ms(0)), Table::new(1));
        wheel.set(&mut links, 0, ms(1000));
        wheel.set(&mut links, 0, ms(2000));
        let early = wheel.poll_timeout().unwrap();
        assert!(early < ms(1009));
        wheel.set(&mut links, 0, ms(500));
        assert!(wheel.poll_timeout().unwrap() < ms(509));
        assert_eq!(expire(&mut wheel, &mut links, ms(505)), [0]);
        assert_eq!(expire(&mut wheel, &mut links, ms(5000)), []);
    }

    #[test]
    fn a_parked_entry_is_moved_earlier_and_cleared_like_any_other() {
        let (mut wheel, mut links) = (Wheel::new(ms(0)), Table::new(3));
        for index in 0..3 {
            wheel.set(&mut links, index, ms(60_000));
        }
        wheel.clear(&mut links, 1);
        wheel.set(&mut links, 0, ms(10));
        assert_eq!(expire(&mut wheel, &mut links, ms(20)), [0]);
        assert_eq!(expire(&mut wheel, &mut links, ms(59_999)), []);
        assert_eq!(expire(&mut wheel, &mut links, ms(60_005)), [2]);
    }

    #[test]
    fn clearing_twice_or_without_an_entry_does_nothing() {
        let (mut wheel, mut links) = (Wheel::new(ms(0)), Table::new(2));
        wheel.clear(&mut links, 0);
        wheel.set(&mut links, 0, ms(5));
        wheel.set(&mut links, 1, ms(5));
        wheel.clear(&mut links, 0);
        wheel.clear(&mut links, 0);
        assert_eq!(expire(&mut wheel, &mut links, ms(10)), [1]);
        assert_eq!(wheel.poll_timeout(), None);
    }

    #[test]
    fn q9_a_hundred_thousand_due_together_are_spread_over_calls_and_each_fires_once() {
        const ENTRIES: usize = 100_000;
        // Within the horizon and parked beyond it.
        for at in [10_000, 30_000] {
            let (mut wheel, mut links) = (Wheel::new(ms(0)), Table::new(ENTRIES));
            for index in 0..ENTRIES {
                wheel.set(&mut links, index as u32, ms(at) + Duration::from_nanos(index as u64));
            }
            let now = ms(at + 10);
            let mut fired = vec![0; ENTRIES];
            let mut due = Vec::new();
            let mut calls = 0;
            while wheel.poll_timeout().is_some() {
                assert!(wheel.poll_timeout().unwrap() <= now);
                wheel.expire(&mut links, now, 1000, &mut due);
                assert!(due.len() <= 1000);
                due.drain(..).for_each(|index| fired[index as usize] += 1);
                calls += 1;
            }
            assert!(fired.iter().all(|times| *times == 1));
            assert!(calls <= 2 * ENTRIES / 1000, "{calls} calls");
        }
    }

    #[test]
    fn what_was_left_over_comes_before_what_is_set_again() {
        let (mut wheel, mut links) = (Wheel::new(ms(0)), Table::new(10));
        for index in 0..10 {
            wheel.set(&mut links, index, ms(5));
        }
        let now = ms(100);
        let mut order = Vec::new();
        for _ in 0..5 {
            let mut due = Vec::new();
            wheel.expire(&mut links, now, 2, &mut due);
            // An owner that wants its turn again at once, whatever the time.
            due.iter().for_each(|index| wheel.set(&mut links, *index, Instant::ORIGIN));
            order.extend(due);
        }
        assert_eq!(order, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_budget_of_nothing_still_makes_progress() {
        let (mut wheel, mut links) = (Wheel::new(ms(0)), Table::new(2));
        wheel.set(&mut links, 0, ms(1));
        wheel.set(&mut links, 1, ms(1));
        let mut due = Vec::new();
        wheel.expire(&mut links, ms(9), 0, &mut due);
        wheel.expire(&mut links, ms(9), 0, &mut due);
        assert_eq!(due, [0, 1]);
    }

    #[test]
    fn a_worker_that_slept_beyond_the_horizon_loses_nothing_and_is_at_once_on_time_again() {
        let (mut wheel, mut links) = (Wheel::new(ms(0)), Table::new(4));
        wheel.set(&mut links, 0, ms(40_000));
        wheel.set(&mut links, 1, ms(10_000));
        wheel.set(&mut links, 2, ms(30_000));
        wheel.set(&mut links, 3, ms(3_700_000));
        assert_eq!(expire(&mut wheel, &mut links, ms(3_600_000)), [1, 2, 0]);
        wheel.set(&mut links, 0, ms(3_600_050));
        assert!(wheel.poll_timeout().unwrap() > ms(3_600_000));
        assert_eq!(expire(&mut wheel, &mut links, ms(3_600_059)), [0]);
        assert_eq!(expire(&mut wheel, &mut links, ms(3_699_999)), []);
        assert_eq!(expire(&mut wheel, &mut links, ms(3_700_009)), [3]);
        // Without entries no distance takes any time.
        assert_eq!(expire(&mut wheel, &mut links, Instant::from_nanos(u64::MAX)), []);
    }

    #[test]
    fn a_clock_that_steps_back_fires_nothing_early() {
        let (mut wheel, mut links) = (Wheel::new(ms(0)), Table::new(1));
        assert_eq!(expire(&mut wheel, &mut links, ms(1000)), []);
        wheel.set(&mut links, 0, ms(2000));
        assert_eq!(expire(&mut wheel, &mut links, ms(500)), []);
        assert_eq!(expire(&mut wheel, &mut links, ms(2009)), [0]);
    }

    #[test]
    fn the_end_of_the_time_line_and_the_wrap_of_ticks_hold_no_surprise() {
        let never = Instant::from_nanos(u64::MAX);
        // Just before the low bits of the tick go round.
        let start = Instant::from_nanos(((1 << 32) - 100) << TICK_BITS);
        let (mut wheel, mut links) = (Wheel::new(start), Table::new(4));
        wheel.set(&mut links, 0, never);
        wheel.set(&mut links, 1, start + Duration::from_secs(60));
        wheel.set(&mut links, 2, start + Duration::from_millis(300));
        wheel.set(&mut links, 3, start + Duration::from_millis(500));
        assert_eq!(expire(&mut wheel, &mut links, start + Duration::from_millis(520)), [2, 3]);
        assert_eq!(expire(&mut wheel, &mut links, start + Duration::from_secs(59)), []);
        assert_eq!(expire(&mut wheel, &mut links, start + Duration::from_secs(61)), [1]);
        // "Never" comes early, after two hundred days, and is set again by its owner.
        assert_eq!(expire(&mut wheel, &mut links, start + Duration::from_secs(200 * 86_400)), []);
        assert_eq!(expire(&mut wheel, &mut links, start + Duration::from_secs(210 * 86_400)), [0]);

        let (mut wheel, mut links) = (Wheel::new(never), Table::new(1));
        wheel.set(&mut links, 0, never);
        assert!(wheel.poll_timeout().unwrap() <= never);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u32, u64),
        Clear(u32),
        Expire(u64, usize),
        /// Sleep as long as told.
        Sleep,
    }

    fn step() -> impl Strategy<Value = Step> {
        // Neighbours, the next ticks, the horizon and beyond.
        let nanos = prop_oneof![
            4 => 0..3 * TICK,
            4 => 0..200 * TICK,
            2 => (SLOTS as u64 - 3) * TICK..(SLOTS as u64 + 3) * TICK,
            2 => 0..20_000 * TICK,
        ];
        prop_oneof![
            6 => (0u32..40, nanos.clone()).prop_map(|(index, ahead)| Step::Set(index, ahead)),
            1 => (0u32..40).prop_map(Step::Clear),
            2 => (nanos, prop_oneof![Just(usize::MAX), 1usize..6]).prop_map(|(by, at_most)| Step::Expire(by, at_most)),
            1 => Just(Step::Sleep),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn it_fires_what_a_sorted_map_would_fire(
            start in prop_oneof![Just(0), Just((u32::MAX as u64 - 2000) * TICK), any::<u32>().prop_map(u64::from)],
            steps in prop::collection::vec(step(), 1..120),
        ) {
            let mut now = Instant::from_nanos(start);
            let (mut wheel, mut links) = (Wheel::new(now), Table::new(40));
            let mut twin: BTreeMap<u32, u64> = BTreeMap::new();
            for step in steps {
                let mut at_most = usize::MAX;
                match step {
                    // From a little before now.
                    Step::Set(index, ahead) => {
                        let at = Instant::from_nanos((now.as_nanos() + ahead).saturating_sub(2 * TICK));
                        wheel.set(&mut links, index, at);
                        let tick = at.as_nanos().div_ceil(TICK).max(wheel.base);
                        twin.entry(index).and_modify(|earlier| *earlier = tick.min(*earlier)).or_insert(tick);
                        continue;
                    }
                    Step::Clear(index) => {
                        wheel.clear(&mut links, index);
                        twin.remove(&index);
                        continue;
                    }
                    Step::Expire(by, most) => {
                        now = now + Duration::from_nanos(by);
                        at_most = most;
                    }
                    Step::Sleep => now = wheel.poll_timeout().map_or(now, |at| at.max(now)),
                }
                let mut due = Vec::new();
                wheel.expire(&mut links, now, at_most, &mut due);
                prop_assert!(due.len() <= at_most);
                let ticks: Vec<u64> = due.iter().map(|index| twin.remove(index).expect("was set")).collect();
                prop_assert!(ticks.is_sorted());
                let target = now.as_nanos() / TICK;
                prop_assert!(ticks.iter().all(|tick| *tick <= target));
                let earliest_left = twin.values().min().copied();
                if let (Some(last), Some(left)) = (ticks.last(), earliest_left) {
                    prop_assert!(*last <= left);
                }
                if at_most == usize::MAX {
                    prop_assert!(earliest_left.is_none_or(|left| left > target));
                }
                // Never too late, nothing forgotten, and no call for nothing.
                let next = wheel.poll_timeout().map(|at| at.as_nanos() / TICK);
                prop_assert_eq!(next.is_some(), earliest_left.is_some());
                prop_assert!(next <= earliest_left);
                if at_most == usize::MAX {
                    prop_assert!(next.is_none_or(|next| next > target));
                }
                for (index, link) in links.0.iter().enumerate() {
                    prop_assert_eq!(link.is_set(), twin.contains_key(&(index as u32)));
                }
            }
        }
    }
}
