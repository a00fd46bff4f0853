//! The one bounded sequence that every worker reads in order.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

/// How much a [`Sequence`] holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceLimits {
    /// Entries that some reader has not read. Default 65,536: at 100,000 a second, over half a second of a worker's absence.
    pub entries: usize,
    /// Their bytes, as the publishers counted them. Default 64 MiB.
    pub bytes: usize,
}

impl Default for SequenceLimits {
    fn default() -> Self {
        Self { entries: 65_536, bytes: 64 << 20 }
    }
}

/// Entries in one order, read by any number of readers, each at its own pace.
///
/// A reader begins at the end and gets every entry pushed from then on, once and in order. What all readers have passed is dropped
/// at once. A full sequence refuses the publisher: it never drops what is unread, and never waits. So each reader must read, or be
/// [removed](Self::remove_reader), for the others' publishers to go on.
///
/// All calls are amortised O(1) beyond the entries they yield, whatever the number of readers. `T` is best an `Arc`: readers get
/// clones, the last of them the entry itself.
#[derive(Debug)]
pub struct Sequence<T> {
    limits: SequenceLimits,
    entries: VecDeque<Slot<T>>,
    /// The index of the first entry; they are numbered from 0.
    first: u64,
    bytes: usize,
    readers: Vec<Place>,
    /// Readers that have read everything.
    at_end: u32,
}

#[derive(Debug)]
struct Slot<T> {
    entry: T,
    bytes: usize,
    /// Readers whose next entry is this one. The first entry always has one: otherwise it would be gone.
    next_of: u32,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Told apart from an earlier reader of the same number.
    generation: u32,
    /// The index of its next entry; `None` where the reader was removed.
    next: Option<u64>,
}

/// The name of a reader of one [`Sequence`]. Of a removed reader it means nothing any more, and reads nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    number: u32,
    generation: u32,
}

impl<T> Sequence<T> {
    /// Empty, without readers, and with nothing on the heap.
    pub const fn new(limits: SequenceLimits) -> Self {
        Self { limits, entries: VecDeque::new(), first: 0, bytes: 0, readers: Vec::new(), at_end: 0 }
    }

    /// Adds a reader of everything that is pushed from now on. O(readers).
    #[must_use = "what the reader does not read fills the sequence until it is removed"]
    pub fn add_reader(&mut self) -> Reader {
        let next = Some(self.end());
        self.at_end += 1;
        match self.readers.iter().position(|place| place.next.is_none()) {
            Some(number) => {
                let place = &mut self.readers[number];
                *place = Place { generation: place.generation.wrapping_add(1), next };
                Reader { number: number as u32, generation: place.generation }
            }
            None => {
                self.readers.push(Place { generation: 0, next });
                Reader { number: (self.readers.len() - 1) as u32, generation: 0 }
            }
        }
    }

    /// Removes a reader; what only it had still to read is dropped. Nothing happens where it was removed before.
    pub fn remove_reader(&mut self, reader: Reader) {
        let Some(place) = self.place(reader) else { return };
        if let Some(next) = place.next.take() {
            self.depart(next);
            while self.pop_passed().is_some() {}
        }
    }

    /// Whether an entry of so many bytes fits now.
    ///
    /// # Errors
    ///
    /// Which limit it is over.
    pub fn room_for(&self, bytes: usize) -> Result<(), SequenceFull> {
        let SequenceLimits { entries, bytes: limit } = self.limits;
        if self.entries.len() >= entries {
            return Err(SequenceFull::Entries { limit: entries });
        }
        if self.bytes.checked_add(bytes).is_none_or(|sum| sum > limit) {
            return Err(SequenceFull::Bytes { limit });
        }
        Ok(())
    }

    /// Appends an entry that counts for so many bytes. Without readers it is dropped at once.
    ///
    /// # Errors
    ///
    /// Which limit it is over. Everything that was unread still is; the entry is dropped. A publisher that must keep it, or would
    /// rather not number it in vain, asks [`room_for`](Self::room_for) first.
    pub fn push(&mut self, entry: T, bytes: usize) -> Result<(), SequenceFull> {
        self.room_for(bytes)?;
        // Those at the end have it as their next.
        let next_of = core::mem::take(&mut self.at_end);
        if next_of == 0 && self.entries.is_empty() {
            return Ok(());
        }
        self.entries.push_back(Slot { entry, bytes, next_of });
        self.bytes += bytes;
        Ok(())
    }

    /// Whether there is something that a reader has not read.
    pub fn has_unread(&self, reader: Reader) -> bool {
        let place = self.readers.get(reader.number as usize);
        place.is_some_and(|place| {
            place.generation == reader.generation && place.next.is_some_and(|next| next < self.end())
        })
    }

    /// How many entries are held: what the slowest reader has not read.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether every reader has read everything.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of the entries that are held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The index behind the last entry.
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn place(&mut self, reader: Reader) -> Option<&mut Place> {
        self.readers.get_mut(reader.number as usize).filter(|place| place.generation == reader.generation)
    }

    /// How many readers have the entry at an index as their next; the end counts as one.
    fn next_of(&mut self, index: u64) -> &mut u32 {
        let slot = self.entries.get_mut((index - self.first) as usize);
        slot.map_or(&mut self.at_end, |slot| &mut slot.next_of)
    }

    fn depart(&mut self, index: u64) {
        *self.next_of(index) -= 1;
    }

    /// Takes the first entry out if all readers have passed it.
    fn pop_passed(&mut self) -> Option<T> {
        if self.entries.front()?.next_of != 0 {
            return None;
        }
        let slot = self.entries.pop_front()?;
        self.first += 1;
        self.bytes -= slot.bytes;
        // As for vectors, but a burst as of every turn keeps its room.
        const KEPT: usize = 1024;
        if self.entries.capacity() > KEPT && self.entries.len() <= self.entries.capacity() / 8 * 3 {
            self.entries.shrink_to((self.entries.capacity() / 2).max(KEPT));
        }
        Some(slot.entry)
    }
}

impl<T: Clone> Sequence<T> {
    /// Appends a reader's next entries to `into`, `at_most` so many, and returns how many. They are read then. O(entries read).
    pub fn read(&mut self, reader: Reader, at_most: usize, into: &mut Vec<T>) -> usize {
        let end = self.end();
        let Some(place) = self.place(reader) else { return 0 };
        let Some(from) = place.next else { return 0 };
        let to = end.min(from.saturating_add(at_most as u64));
        if from == to {
            return 0;
        }
        place.next = Some(to);
        *self.next_of(to) += 1;
        self.depart(from);

        let count = (to - from) as usize;
        into.reserve(count);
        // Where this reader was the last, the entries themselves; none beyond `to`, where it now stands.
        into.extend(core::iter::from_fn(|| self.pop_passed()));
        let rest = from.max(self.first) - self.first..to - self.first;
        let rest = rest.start as usize..rest.end as usize;
        into.extend(self.entries.range(rest).map(|slot| slot.entry.clone()));
        count
    }
}

/// Which limit a publication is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SequenceFull {
    /// As many entries are unread as may be.
    Entries {
        /// The limit.
        limit: usize,
    },
    /// With it, more bytes would be unread than may be.
    Bytes {
        /// The limit.
        limit: usize,
    },
}

impl SequenceFull {
    /// The status of the answer: 503, as a worker is behind.
    pub const fn status(self) -> u16 {
        503
    }
}

impl fmt::Display for SequenceFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entries { limit } => write!(f, "more than {limit} publications under way"),
            Self::Bytes { limit } => write!(f, "more than {limit} bytes of publications under way"),
        }
    }
}

impl core::error::Error for SequenceFull {}
