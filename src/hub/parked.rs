//! What is kept for a session between two requests: the poll that waits, and how far it acknowledged.

use crate::hub::cursor::Position;
use crate::hub::session::SessionId;
use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

/// The poll that waits for each session: one at a time, the newest.
///
/// `T` says where it waits, as a worker's number and a peer's token do. Every call is O(log sessions). It holds as many as the
/// caller parks and does not unpark, which are as many as there are connections.
#[derive(Debug)]
pub struct Parked<T> {
    polls: BTreeMap<SessionId, T>,
}

impl<T> Parked<T> {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self { polls: BTreeMap::new() }
    }

    /// Parks a poll. Where one of the same session waits, that older one is returned: answer it, empty, at once. It is not parked
    /// any more.
    #[must_use = "the older poll is to be released"]
    pub fn park(&mut self, session: SessionId, poll: T) -> Option<T> {
        self.polls.insert(session, poll)
    }

    /// Ends the wait of that poll, whatever ended it. Another one of the session, which may have taken its place meanwhile, stays.
    pub fn unpark(&mut self, session: SessionId, poll: &T) -> Unparked
    where
        T: PartialEq,
    {
        if self.polls.get(&session) != Some(poll) {
            return Unparked::NotThere;
        }
        self.polls.remove(&session);
        Unparked::Left
    }

    /// The poll that waits for a session.
    pub fn of(&self, session: SessionId) -> Option<&T> {
        self.polls.get(&session)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.polls.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.polls.is_empty()
    }
}

impl<T> Default for Parked<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`Parked::unpark`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unparked {
    /// The poll waited, and does not any more.
    Left,
    /// It did not wait: a newer one took its place, or it was unparked before. Nothing changed.
    NotThere,
}

/// How long and of how many sessions an acknowledgement is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcknowledgedLimits {
    /// How long after a session was last seen. Default 60 s: the time in which a lost connection comes back, and after which a
    /// session that polls is given up.
    pub kept: Duration,
    /// How many sessions. Default 65,536, which is 10 MB at most.
    pub sessions: usize,
}

impl Default for AcknowledgedLimits {
    fn default() -> Self {
        Self { kept: Duration::from_secs(60), sessions: 65_536 }
    }
}

/// How far each session acknowledged, while it is away.
///
/// Call [`note`](Self::note) when a session is seen: when its connection is gone, or at each of its polls; and
/// [`forget`](Self::forget) when an open connection has taken its place over. Wait for [`poll_timeout`](Self::poll_timeout). Every call
/// is O(log sessions).
///
/// Where there are more than it may hold, the one that was seen longest ago is let go. That session then comes back as one that
/// never acknowledged: it goes on from its own cursor, so what was on the way when it was cut off is only sent again where that cursor
/// says so.
#[derive(Debug)]
pub struct Acknowledged {
    limits: AcknowledgedLimits,
    sessions: BTreeMap<SessionId, Seen>,
    /// By when they were seen.
    order: BTreeSet<(Instant, SessionId)>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    position: Position,
    at: Instant,
}

impl Acknowledged {
    /// Nobody acknowledged anything.
    pub const fn new(limits: AcknowledgedLimits) -> Self {
        Self { limits, sessions: BTreeMap::new(), order: BTreeSet::new() }
    }

    /// The session was seen, and has acknowledged everything up to `position`. An acknowledgement is cumulative: an earlier one
    /// than is known moves nothing but the time.
    pub fn note(&mut self, session: SessionId, position: Position, now: Instant) {
        let mut seen = Seen { position, at: now };
        if let Some(before) = self.sessions.get(&session) {
            // Workers read the clock before they wait for their turn.
            seen = Seen { position: position.max(before.position), at: now.max(before.at) };
            self.order.remove(&(before.at, session));
        }
        self.sessions.insert(session, seen);
        self.order.insert((seen.at, session));
        while self.sessions.len() > self.limits.sessions {
            self.drop_first();
        }
    }

    /// What a session acknowledged. `None` where it never did, or was away too long.
    pub fn of(&self, session: SessionId) -> Option<Position> {
        self.sessions.get(&session).map(|seen| seen.position)
    }

    /// Lets a session go, and returns what it acknowledged.
    pub fn forget(&mut self, session: SessionId) -> Option<Position> {
        let seen = self.sessions.remove(&session)?;
        self.order.remove(&(seen.at, session));
        Some(seen.position)
    }

    /// When the next session is to be let go. Ask again after every call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at + self.limits.kept)
    }

    /// Lets go who was not seen for too long. Early, it does nothing. O(log sessions) for each.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|due| due <= now) {
            self.drop_first();
        }
    }

    /// How many sessions are remembered.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn drop_first(&mut self) {
        if let Some((_, session)) = self.order.pop_first() {
            self.sessions.remove(&session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    fn at(secs: u64) -> Instant {
        Instant::from_millis(secs * 1000)
    }

    fn position(ms: u64) -> Position {
        Position { ms, seq: 0 }
    }

    fn acknowledged(sessions: usize) -> Acknowledged {
        Acknowledged::new(AcknowledgedLimits { sessions, ..Default::default() })
    }

    #[test]
    fn l3_of_two_polls_of_one_session_the_older_is_released_and_the_newest_holds() {
        let mut parked = Parked::new();
        assert_eq!(parked.park(A, 10), None);
        assert_eq!(parked.park(B, 20), None);
        assert_eq!(parked.park(A, 11), Some(10));
        // The older one's end, whenever it is noticed, does not end the newer one's wait.
        assert_eq!(parked.unpark(A, &10), Unparked::NotThere);
        assert_eq!((parked.of(A), parked.len()), (Some(&11), 2));
        assert_eq!(parked.unpark(A, &11), Unparked::Left);
        assert_eq!(parked.unpark(A, &11), Unparked::NotThere);
        assert_eq!((parked.of(A), parked.of(B)), (None, Some(&20)));
    }

    #[test]
    fn an_acknowledgement_is_kept_60_s_after_its_session_was_last_seen() {
        let mut acknowledged = acknowledged(10);
        assert_eq!(acknowledged.poll_timeout(), None);
        acknowledged.note(A, position(5), at(1));
        acknowledged.note(B, position(7), at(2));
        acknowledged.note(A, position(6), at(30));
        assert_eq!(acknowledged.poll_timeout(), Some(at(62)));
        acknowledged.handle_timeout(at(61));
        assert_eq!(acknowledged.len(), 2);
        acknowledged.handle_timeout(at(62));
        assert_eq!((acknowledged.of(A), acknowledged.of(B)), (Some(position(6)), None));
        assert_eq!(acknowledged.poll_timeout(), Some(at(90)));
        assert_eq!(acknowledged.forget(A), Some(position(6)));
        assert_eq!((acknowledged.forget(A), acknowledged.poll_timeout()), (None, None));
    }

    #[test]
    fn an_acknowledgement_never_goes_back() {
        let mut acknowledged = acknowledged(10);
        acknowledged.note(A, position(5), at(9));
        acknowledged.note(A, position(4), at(3));
        assert_eq!((acknowledged.of(A), acknowledged.poll_timeout()), (Some(position(5)), Some(at(69))));
    }

    #[test]
    fn beyond_the_limit_who_was_seen_longest_ago_is_let_go() {
        let mut two = acknowledged(2);
        two.note(A, position(1), at(1));
        two.note(B, position(2), at(2));
        two.note(A, position(1), at(3));
        two.note(SessionId(3), position(3), at(4));
        assert_eq!((two.of(A), two.of(B), two.len()), (Some(position(1)), None, 2));
        let mut none = acknowledged(0);
        none.note(A, position(1), at(1));
        assert!(none.is_empty() && none.poll_timeout().is_none());
    }

    proptest! {
        #[test]
        fn it_is_what_a_list_would_say(ops in prop::collection::vec((0u128..6, 0u64..50, 0u64..30, 0u8..8), 0..200)) {
            let mut real = acknowledged(4);
            let mut naive: HashMap<SessionId, (Instant, Position)> = HashMap::new();
            let mut now = at(0);
            for (session, ms, secs, op) in ops {
                let session = SessionId(session);
                now = now + Duration::from_secs(secs);
                match op {
                    0 => {
                        prop_assert_eq!(real.forget(session), naive.remove(&session).map(|seen| seen.1));
                    }
                    1 | 2 => {
                        real.handle_timeout(now);
                        naive.retain(|_, seen| seen.0 + Duration::from_secs(60) > now);
                        prop_assert!(real.poll_timeout().is_none_or(|due| due > now));
                    }
                    _ => {
                        real.note(session, position(ms), now);
                        let seen = naive.entry(session).or_insert((now, position(ms)));
                        *seen = (now, seen.1.max(position(ms)));
                        if naive.len() > 4 {
                            let first = *naive.iter().min_by_key(|(session, seen)| (seen.0, **session)).unwrap().0;
                            naive.remove(&first);
                        }
                    }
                }
                let held: Vec<_> = (0..6).map(|n| real.of(SessionId(n))).collect();
                let known: Vec<_> = (0..6).map(|n| naive.get(&SessionId(n)).map(|seen| seen.1)).collect();
                prop_assert_eq!(held, known);
                prop_assert_eq!(real.len(), real.order.len());
            }
        }
    }
}
