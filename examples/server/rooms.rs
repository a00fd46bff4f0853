//! Who is in which room, for all workers.
//!
//! Presence is right because of one rule: a room's members change, and the change is published, under one lock. So the order in which
//! changes are announced is the order in which they happened, and whoever joins gets a list that is exact at one point of that order.
//! Each change has a number, one higher than the room's last. A client passes over announcements up to the number of its list (they
//! were on their way when it joined), and one that misses a number asks for the list again (the log was full, say).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Members of a room, so that the list that each newcomer gets stays a short message.
const MOST_MEMBERS: usize = 1000;

/// All rooms that have members.
#[derive(Default)]
pub(crate) struct Rooms {
    inner: Mutex<Inner>,
    names: AtomicU64,
}

#[derive(Default)]
struct Inner {
    rooms: HashMap<Box<str>, Room>,
    /// The highest number of any change. A new room counts on from here, so that an announcement of an earlier room of the same name,
    /// still on its way, has a lower number than all of this one.
    changes: u64,
    members: u64,
}

struct Room {
    seq: u64,
    members: Vec<Present>,
}

/// Someone who is there.
#[derive(Clone)]
pub(crate) struct Present {
    /// Names one connection. Names of people need not be unique: someone whose connection broke comes back before it is missed.
    pub(crate) id: u64,
    pub(crate) name: Arc<str>,
}

/// A room's members after change number `seq`.
pub(crate) struct Roll {
    pub(crate) seq: u64,
    pub(crate) members: Vec<Present>,
}

/// Why someone did not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinError {
    /// The room has as many members as it may have.
    Full,
    /// The announcement could not be published: the log has no room.
    Busy,
}

impl Rooms {
    /// An id for a new connection.
    pub(crate) fn new_id(&self) -> u64 {
        self.names.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Adds someone, and says so with `announce`, which gets the number of the change and says whether it could.
    pub(crate) fn join(&self, room: &str, who: Present, announce: impl FnOnce(u64) -> bool) -> Result<Roll, JoinError> {
        let mut inner = self.lock();
        let seq = match inner.rooms.get(room) {
            Some(there) if there.members.len() >= MOST_MEMBERS => return Err(JoinError::Full),
            Some(there) => there.seq + 1,
            None => inner.changes + 1,
        };
        if !announce(seq) {
            return Err(JoinError::Busy);
        }
        inner.changes = inner.changes.max(seq);
        inner.members += 1;
        let there = inner.rooms.entry(room.into()).or_insert_with(|| Room { seq, members: Vec::new() });
        there.seq = seq;
        there.members.push(who);
        Ok(Roll { seq, members: there.members.clone() })
    }

    /// Removes someone, and says so with `announce`. An announcement that fails is made good by the number of the next.
    pub(crate) fn leave(&self, room: &str, id: u64, announce: impl FnOnce(u64)) {
        let mut inner = self.lock();
        let Some(there) = inner.rooms.get_mut(room) else { return };
        let Some(at) = there.members.iter().position(|member| member.id == id) else { return };
        there.members.remove(at);
        there.seq += 1;
        let (seq, empty) = (there.seq, there.members.is_empty());
        if empty {
            inner.rooms.remove(room);
        }
        inner.changes = inner.changes.max(seq);
        inner.members -= 1;
        announce(seq);
    }

    /// Who is there.
    pub(crate) fn roll(&self, room: &str) -> Option<Roll> {
        let inner = self.lock();
        let there = inner.rooms.get(room)?;
        Some(Roll { seq: there.seq, members: there.members.clone() })
    }

    /// Rooms and members.
    pub(crate) fn count(&self) -> (usize, u64) {
        let inner = self.lock();
        (inner.rooms.len(), inner.members)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No panic can leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
