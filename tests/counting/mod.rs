//! The allocator of the tests that count: what each thread takes from the heap.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting for each thread of its own, so that tests may run side by side.
struct Counting;

thread_local! {
    static COUNTS: Cell<Counts> = const { Cell::new(Counts { calls: 0, live: 0, peak: 0, moved: 0 }) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Allocations and reallocations.
    pub calls: u64,
    /// Bytes held.
    pub live: i64,
    /// The most that was held.
    pub peak: i64,
    /// Bytes that reallocations had to move, at worst.
    pub moved: u64,
}

fn count(change: impl FnOnce(&mut Counts)) {
    // Gone while the thread ends; nothing is counted then.
    let _ = COUNTS.try_with(|cell| {
        let mut counts = cell.get();
        change(&mut counts);
        counts.peak = counts.peak.max(counts.live);
        cell.set(counts);
    });
}

// SAFETY: every call goes to `System` with the arguments as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(|counts| {
            counts.calls += 1;
            counts.live += layout.size() as i64;
        });
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(|counts| counts.live -= layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        let new = unsafe { System.realloc(at, layout, size) };
        count(|counts| {
            counts.calls += 1;
            counts.live += size as i64 - layout.size() as i64;
            counts.moved += if new == at { 0 } else { layout.size() as u64 };
        });
        new
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What this thread has allocated so far.
pub fn counts() -> Counts {
    COUNTS.with(Cell::get)
}

/// What this thread held at most while `work` ran, beyond what it held before.
pub fn peak_of(work: impl FnOnce()) -> i64 {
    count(|counts| counts.peak = counts.live);
    let before = counts().live;
    work();
    counts().peak - before
}
