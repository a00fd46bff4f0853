//! Who is here: the users of each topic that keeps presence, whatever the number of their connections.

use crate::hub::session::SessionId;
use crate::hub::slab::Slab;
use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// The longest user name in bytes: as a topic's, since `user:<id>` is one. (It may hold what a topic's may not.)
pub const MAX_USER_NAME: usize = 128;

/// Checks a user name: 1 to [`MAX_USER_NAME`] bytes without CR, LF and NUL, so that it is one line of a block. Costs no more for a
/// longer name than for one at the limit.
///
/// # Errors
///
/// [`UserError`].
pub fn check_user(user: &str) -> Result<(), UserError> {
    match user.len() {
        0 => Err(UserError::Empty),
        1..=MAX_USER_NAME if !user.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) => Ok(()),
        1..=MAX_USER_NAME => Err(UserError::BadCharacter),
        _ => Err(UserError::Long),
    }
}

/// Why a user name was refused. It is the application's: whoever authenticates should check it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserError {
    /// A name of no bytes.
    Empty,
    /// A name of more than [`MAX_USER_NAME`] bytes.
    Long,
    /// A name with CR, LF or NUL.
    BadCharacter,
}

impl UserError {
    /// The status of the answer: 400.
    pub const fn status(self) -> u16 {
        400
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty user name"),
            Self::Long => write!(f, "user name of more than {MAX_USER_NAME} bytes"),
            Self::BadCharacter => f.write_str("user name with CR, LF or NUL"),
        }
    }
}

impl core::error::Error for UserError {}

/// Why a user is not listed. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PresenceError {
    /// The user's name is none.
    User(UserError),
    /// The topic lists as many users as it may.
    TopicFull {
        /// [`PresenceLimits::users_per_topic`].
        limit: usize,
    },
    /// All topics together list as many users as they may.
    HubFull {
        /// [`PresenceLimits::users`].
        limit: usize,
    },
}

impl PresenceError {
    /// The status of the answer: 400 for a name, 503 where it is full.
    pub const fn status(self) -> u16 {
        match self {
            Self::User(e) => e.status(),
            Self::TopicFull { .. } | Self::HubFull { .. } => 503,
        }
    }
}

impl fmt::Display for PresenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(e) => e.fmt(f),
            Self::TopicFull { limit } => write!(f, "more than {limit} users present in a topic"),
            Self::HubFull { limit } => write!(f, "more than {limit} users present in the hub"),
        }
    }
}

impl core::error::Error for PresenceError {}

impl From<UserError> for PresenceError {
    fn from(e: UserError) -> Self {
        Self::User(e)
    }
}

/// Bounds of [`Presence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceLimits {
    /// How long a user without connections is still here. Default 10 s: a page that is loaded again is no coming and going.
    pub grace: Duration,
    /// Users of one topic. Default 10,000.
    pub users_per_topic: usize,
    /// Users of all topics, one who is in two of them counted twice. Default 262,144: some 60 MB, or 200 MB where each is alone in a
    /// topic and every name is as long as it may be.
    pub users: usize,
    /// How many users a snapshot names. Default 1,000.
    pub listed: usize,
}

impl Default for PresenceLimits {
    fn default() -> Self {
        Self { grace: Duration::from_secs(10), users_per_topic: 10_000, users: 262_144, listed: 1_000 }
    }
}

/// Someone came or went: what the topic's subscribers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The user was not here before.
    Joined {
        /// The topic.
        topic: Arc<str>,
        /// The user.
        user: Arc<str>,
    },
    /// The user is not here any more.
    Left {
        /// The topic.
        topic: Arc<str>,
        /// The user.
        user: Arc<str>,
    },
}

/// The users of every topic.
///
/// A user is here from the first [`join`](Self::join) until [`PresenceLimits::grace`] after the last [`leave`](Self::leave), or the last
/// [`depart`](Self::depart), which waits for nothing. Connections are counted by session, so a leave without its join changes nothing,
/// and a session's two connections need two leaves.
/// What came at once is returned at once; for what comes later wait for [`poll_timeout`](Self::poll_timeout) and call
/// [`handle_timeout`](Self::handle_timeout) until it gives `None`.
///
/// A topic that is full refuses the next user by name, and that connection is not listed later either, unless it joins again: to count
/// users without their names would count one user's connections. Who is here already meets no limit.
///
/// Topics and users lie in ordered maps, so no choice of names makes look-ups slow. Every call is O(log users), and a topic without
/// users takes nothing. Topic names are the caller's to check.
#[derive(Debug)]
pub struct Presence {
    limits: PresenceLimits,
    topics: BTreeMap<Arc<str>, BTreeMap<Arc<str>, u32>>,
    members: Slab<Member>,
    /// How many connections each session has, by the member's number.
    connections: BTreeMap<(u32, SessionId), u32>,
    /// Who has no connection any more, by when that is over.
    leaving: BTreeSet<(Instant, u32)>,
}

/// One user in one topic.
#[derive(Debug)]
struct Member {
    /// Both shared with the maps.
    topic: Arc<str>,
    user: Arc<str>,
    state: State,
    /// Until when one of the sessions may come back that were lost.
    awaited: Instant,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many sessions are here.
    Here(u32),
    /// No session is; the user is given up then.
    Leaving(Instant),
}

impl Presence {
    /// Nobody is anywhere.
    pub const fn new(limits: PresenceLimits) -> Self {
        Self {
            limits,
            topics: BTreeMap::new(),
            members: Slab::new(),
            connections: BTreeMap::new(),
            leaving: BTreeSet::new(),
        }
    }

    /// A connection of the user's session came to a topic. Something changed where the user was not there; one who comes back within
    /// the grace never was away.
    ///
    /// # Errors
    ///
    /// A name that is none, or a limit. Nothing changed.
    pub fn join(&mut self, topic: &str, user: &str, session: SessionId) -> Result<Option<Change>, PresenceError> {
        check_user(user)?;
        let known = self.topics.get(topic).and_then(|users| users.get(user).copied());
        let (member, change) = match known {
            Some(member) => (member, None),
            None => {
                let (member, change) = self.begin(topic, user)?;
                (member, Some(change))
            }
        };
        let connections = self.connections.entry((member, session)).or_insert(0);
        // As many connections as there are numbers are more than a machine has.
        *connections = connections.saturating_add(1);
        if *connections == 1 {
            let state = &mut self.members[member].state;
            match *state {
                State::Here(sessions) => *state = State::Here(sessions + 1),
                State::Leaving(until) => {
                    *state = State::Here(1);
                    self.leaving.remove(&(until, member));
                }
            }
        }
        Ok(change)
    }

    /// A connection of the user's session was lost to a topic. If it was the user's last one there, that is a change once the grace is
    /// over. Without a join before, nothing happens.
    pub fn leave(&mut self, topic: &str, user: &str, session: SessionId, now: Instant) {
        let Some(member) = self.end(topic, user, session) else { return };
        let until = now + self.limits.grace;
        self.members[member].awaited = until;
        if let State::Here(0) = self.members[member].state {
            self.wait(member, until);
        }
    }

    /// A connection of the user's session gave a topic up, or had it taken away. If it was the user's last one there, that is a change at
    /// once, unless another one was lost and the grace is not over. Without a join before, nothing happens.
    pub fn depart(&mut self, topic: &str, user: &str, session: SessionId, now: Instant) -> Option<Change> {
        let member = self.end(topic, user, session)?;
        let Member { state: State::Here(0), awaited, .. } = self.members[member] else { return None };
        if awaited > now {
            self.wait(member, awaited);
            return None;
        }
        self.give_up(member)
    }

    /// A user may not come back, to one topic or to any: nobody waits for it any more. What changed. O(users who are waited for).
    pub fn expel(&mut self, user: &str, topic: Option<&str>) -> Vec<Change> {
        let concerned = |member: &Member| *member.user == *user && topic.is_none_or(|topic| *member.topic == *topic);
        let members = &self.members;
        let gone: Vec<_> = self.leaving.iter().copied().filter(|(_, member)| concerned(&members[*member])).collect();
        gone.into_iter()
            .filter_map(|waited| {
                self.leaving.remove(&waited);
                self.give_up(waited.1)
            })
            .collect()
    }

    /// When the next user is given up. Ask again after every call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.leaving.first().map(|(until, _)| *until)
    }

    /// Gives up the next user whose grace is over; `None` where there is none. Call it until then. Who left first comes first.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Change> {
        if self.poll_timeout()? > now {
            return None;
        }
        let (_, member) = self.leaving.pop_first()?;
        self.give_up(member)
    }

    /// How many users a topic has, and up to [`PresenceLimits::listed`] of their names, in the order of their bytes. Who has just
    /// left is still among them, until the change says otherwise.
    pub fn snapshot(&self, topic: &str) -> (usize, impl Iterator<Item = &str>) {
        let users = self.topics.get(topic);
        let names = users.into_iter().flat_map(BTreeMap::keys).map(|user| &**user);
        (users.map_or(0, BTreeMap::len), names.take(self.limits.listed))
    }

    /// How many users there are in all topics, one who is in two of them counted twice.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is anywhere.
    pub fn is_empty(&self) -> bool {
        self.members.len() == 0
    }

    /// One connection less. The member, if its session has no other.
    fn end(&mut self, topic: &str, user: &str, session: SessionId) -> Option<u32> {
        let member = *self.topics.get(topic)?.get(user)?;
        let connections = self.connections.get_mut(&(member, session))?;
        *connections -= 1;
        if *connections > 0 {
            return None;
        }
        self.connections.remove(&(member, session));
        if let State::Here(sessions) = &mut self.members[member].state {
            *sessions = sessions.saturating_sub(1);
        }
        Some(member)
    }

    fn wait(&mut self, member: u32, until: Instant) {
        self.leaving.insert((until, member));
        self.members[member].state = State::Leaving(until);
    }

    /// Forgets one whom nobody waits for.
    fn give_up(&mut self, member: u32) -> Option<Change> {
        let Member { topic, user, .. } = self.members.remove(member)?;
        if let Some(users) = self.topics.get_mut(&topic) {
            users.remove(&user);
            if users.is_empty() {
                self.topics.remove(&topic);
            }
        }
        Some(Change::Left { topic, user })
    }

    fn begin(&mut self, topic: &str, user: &str) -> Result<(u32, Change), PresenceError> {
        let PresenceLimits { users_per_topic, users, .. } = self.limits;
        let known = self.topics.get_key_value(topic);
        if known.map_or(0, |(_, users)| users.len()) >= users_per_topic {
            return Err(PresenceError::TopicFull { limit: users_per_topic });
        }
        // The numbers of members are of 32 bits.
        let users = users.min(u32::MAX as usize);
        if self.members.len() >= users {
            return Err(PresenceError::HubFull { limit: users });
        }
        let topic: Arc<str> = known.map_or_else(|| topic.into(), |(topic, _)| topic.clone());
        let user: Arc<str> = user.into();
        let member = self.members.insert(Member {
            topic: topic.clone(),
            user: user.clone(),
            state: State::Here(0),
            awaited: Instant::ORIGIN,
        });
        self.topics.entry(topic.clone()).or_default().insert(user.clone(), member);
        Ok((member, Change::Joined { topic, user }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;
    use std::collections::{BTreeMap as Map, HashMap};

    const S1: SessionId = SessionId(1);
    const S2: SessionId = SessionId(2);

    fn at(secs: u64) -> Instant {
        Instant::from_millis(secs * 1000)
    }

    fn presence() -> Presence {
        Presence::new(PresenceLimits::default())
    }

    fn joined(topic: &str, user: &str) -> Result<Option<Change>, PresenceError> {
        Ok(Some(Change::Joined { topic: topic.into(), user: user.into() }))
    }

    fn left(topic: &str, user: &str) -> Option<Change> {
        Some(Change::Left { topic: topic.into(), user: user.into() })
    }

    fn users(presence: &Presence, topic: &str) -> (usize, Vec<String>) {
        let (count, users) = presence.snapshot(topic);
        (count, users.map(str::to_string).collect())
    }

    #[test]
    fn several_connections_of_one_user_count_once() {
        let mut here = presence();
        assert_eq!(here.join("a", "ann", S1), joined("a", "ann"));
        assert_eq!(here.join("a", "ann", S2), Ok(None));
        assert_eq!(here.join("a", "ann", S1), Ok(None));
        assert_eq!(users(&here, "a"), (1, ["ann".to_string()].into()));
        here.leave("a", "ann", S2, at(1));
        here.leave("a", "ann", S1, at(2));
        assert_eq!(here.poll_timeout(), None);
        here.leave("a", "ann", S1, at(3));
        assert_eq!(here.poll_timeout(), Some(at(13)));
        // One too many.
        here.leave("a", "ann", S1, at(4));
        assert_eq!(here.poll_timeout(), Some(at(13)));
    }

    #[test]
    fn a_leave_waits_10_s_for_the_user_to_come_back() {
        let mut here = presence();
        assert_eq!(here.join("a", "ann", S1), joined("a", "ann"));
        here.leave("a", "ann", S1, at(1));
        assert_eq!(here.handle_timeout(at(10)), None);
        assert_eq!(users(&here, "a").0, 1);
        // By another session, as a page that is loaded anew does.
        assert_eq!((here.join("a", "ann", S2), here.poll_timeout()), (Ok(None), None));
        here.leave("a", "ann", S2, at(20));
        assert_eq!(here.handle_timeout(at(30)), left("a", "ann"));
        assert_eq!((here.handle_timeout(at(30)), here.poll_timeout(), here.is_empty()), (None, None, true));
        assert_eq!(here.join("a", "ann", S2), joined("a", "ann"));
    }

    #[test]
    fn who_departs_is_gone_at_once_unless_another_connection_was_lost_just_now() {
        let mut here = presence();
        assert_eq!(here.join("a", "ann", S1), joined("a", "ann"));
        assert_eq!(here.depart("a", "ann", S2, at(1)), None, "never came");
        assert_eq!(here.depart("a", "ann", S1, at(1)), left("a", "ann"));
        assert!(here.is_empty() && here.topics.is_empty() && here.connections.is_empty());
        // Of two connections, the last one counts, and one that was lost is waited for.
        for session in [S1, S1, S2] {
            here.join("a", "ann", session).unwrap();
        }
        assert_eq!(here.depart("a", "ann", S1, at(1)), None);
        here.leave("a", "ann", S1, at(2));
        assert_eq!((here.depart("a", "ann", S2, at(3)), here.poll_timeout()), (None, Some(at(12))));
        assert_eq!(here.handle_timeout(at(12)), left("a", "ann"));
        assert!(here.is_empty() && here.leaving.is_empty());
    }

    #[test]
    fn nobody_waits_for_who_is_expelled() {
        let mut here = presence();
        for (topic, user) in [("a", "ann"), ("b", "ann"), ("a", "bob"), ("c", "ann")] {
            here.join(topic, user, S1).unwrap();
            if topic != "c" {
                here.leave(topic, user, S1, at(1));
            }
        }
        assert_eq!(here.expel("ann", Some("b")).pop(), left("b", "ann"));
        assert_eq!(here.expel("ann", None).pop(), left("a", "ann"));
        assert!(here.expel("ann", None).is_empty(), "of the third topic it is a subscriber");
        assert_eq!((here.len(), here.poll_timeout()), (2, Some(at(11))));
    }

    #[test]
    fn leaves_come_one_at_a_time_and_the_first_first() {
        let mut here = presence();
        for (user, topic, when) in [("ann", "a", 3), ("bob", "a", 1), ("ann", "b", 2)] {
            assert_eq!(here.join(topic, user, S1), joined(topic, user));
            here.leave(topic, user, S1, at(when));
        }
        let all: Vec<_> = core::iter::from_fn(|| here.handle_timeout(at(99))).collect();
        assert_eq!(
            all.into_iter().map(Some).collect::<Vec<_>>(),
            [left("a", "bob"), left("b", "ann"), left("a", "ann")]
        );
        assert!(here.topics.is_empty() && here.connections.is_empty());
    }

    #[test]
    fn a_leave_without_its_join_changes_nothing() {
        let mut here = presence();
        here.leave("a", "ann", S1, at(1));
        assert_eq!(here.join("a", "ann", S1), joined("a", "ann"));
        here.leave("a", "ann", S2, at(1));
        here.leave("a", "bob", S1, at(1));
        here.leave("b", "ann", S1, at(1));
        assert_eq!((here.poll_timeout(), here.len()), (None, 1));
    }

    #[test]
    fn a_full_topic_refuses_by_its_limit_and_who_is_here_meets_none() {
        let mut here = Presence::new(PresenceLimits { users_per_topic: 2, users: 3, ..PresenceLimits::default() });
        assert!(here.join("a", "ann", S1).is_ok() && here.join("a", "bob", S1).is_ok());
        let full = here.join("a", "cid", S2).unwrap_err();
        assert_eq!((full, full.status()), (PresenceError::TopicFull { limit: 2 }, 503));
        assert_eq!(full.to_string(), "more than 2 users present in a topic");
        assert_eq!(here.join("a", "ann", S2), Ok(None));
        // Its leave is one without a join.
        here.leave("a", "cid", S2, at(1));
        assert_eq!(here.poll_timeout(), None);
        assert_eq!(here.join("b", "cid", S2), joined("b", "cid"));
        assert_eq!(here.join("c", "cid", S2), Err(PresenceError::HubFull { limit: 3 }));
        assert_eq!((here.len(), here.snapshot("c").0), (3, 0));
        // Who has left holds the place until the grace is over.
        here.leave("b", "cid", S2, at(1));
        assert!(here.join("c", "cid", S2).is_err());
        assert_eq!(here.handle_timeout(at(11)), left("b", "cid"));
        assert_eq!(here.join("c", "cid", S2), joined("c", "cid"));
    }

    #[test]
    fn a_snapshot_names_the_first_1000_in_order_and_counts_all() {
        let mut here = presence();
        for i in (0..1500).rev() {
            here.join("a", &format!("u{i:04}"), S1).unwrap();
        }
        let (count, names) = users(&here, "a");
        assert_eq!((count, names.len(), &*names[0], &*names[999]), (1500, 1000, "u0000", "u0999"));
        assert_eq!(users(&here, "b"), (0, Vec::new()));
    }

    #[test]
    fn a_user_name_is_one_line_of_1_to_128_bytes() {
        let mut here = presence();
        let long = "u".repeat(129);
        for (user, why) in [
            ("", UserError::Empty),
            (&*long, UserError::Long),
            ("a\nb", UserError::BadCharacter),
            ("a\r", UserError::BadCharacter),
            ("\0", UserError::BadCharacter),
        ] {
            let error = here.join("a", user, S1).unwrap_err();
            assert_eq!((error, error.status()), (PresenceError::User(why), 400));
        }
        assert!(here.is_empty());
        assert_eq!((check_user("Zoë Ω"), check_user(&long[1..])), (Ok(()), Ok(())));
    }

    /// As [`Presence`] says of itself, without any thought of cost.
    #[derive(Default)]
    struct Naive {
        connections: HashMap<(u8, u8), HashMap<u8, u32>>,
        /// Who is told to be here, and until when if without connections.
        here: Map<(u8, u8), Option<Instant>>,
        /// Until when who was lost is waited for.
        awaited: HashMap<(u8, u8), Instant>,
    }

    impl Naive {
        /// One connection less; whether that was the session's last one, and the user's.
        fn end(&mut self, key: (u8, u8), session: u8) -> (bool, bool) {
            let sessions = self.connections.entry(key).or_default();
            let Some(count) = sessions.get_mut(&session).filter(|count| **count > 0) else { return (false, false) };
            *count -= 1;
            let last = *count == 0;
            (last, sessions.values().all(|count| *count == 0))
        }
    }

    proptest! {
        #[test]
        fn it_is_what_counting_says(ops in prop::collection::vec((0u8..3, 0u8..4, 0u8..3, 0u64..5, 0u8..8), 0..300)) {
            let (mut here, mut naive, mut now) = (presence(), Naive::default(), at(0));
            for (topic, user, session, secs, op) in ops {
                let (key, topic, user) = ((topic, user), format!("t{topic}"), format!("u{user}"));
                let id = SessionId(session.into());
                now = now + Duration::from_secs(secs);
                match op {
                    0 | 1 => {
                        *naive.connections.entry(key).or_default().entry(session).or_default() += 1;
                        let new = naive.here.insert(key, None).is_none();
                        prop_assert_eq!(here.join(&topic, &user, id), if new { joined(&topic, &user) } else { Ok(None) });
                    }
                    2 | 3 => {
                        here.leave(&topic, &user, id, now);
                        let (lost, last) = naive.end(key, session);
                        let until = now + Duration::from_secs(10);
                        if lost {
                            naive.awaited.insert(key, until);
                        }
                        if last {
                            naive.here.insert(key, Some(until));
                        }
                    }
                    4 | 5 => {
                        let change = here.depart(&topic, &user, id, now);
                        let mut expected = None;
                        if naive.end(key, session).1 {
                            let until = naive.awaited.get(&key).copied().filter(|until| *until > now);
                            match until {
                                Some(_) => _ = naive.here.insert(key, until),
                                None => {
                                    naive.here.remove(&key);
                                    expected = left(&topic, &user);
                                }
                            }
                        }
                        prop_assert_eq!(change, expected);
                    }
                    6 => {
                        let gone: Vec<_> = here.expel(&user, Some(&topic)).into_iter().map(Some).collect();
                        let waits = naive.here.get(&key).is_some_and(Option::is_some);
                        prop_assert_eq!(gone, if waits { [left(&topic, &user)].into() } else { Vec::new() });
                        if waits {
                            naive.here.remove(&key);
                            naive.awaited.remove(&key);
                        }
                    }
                    _ => {
                        let mut gone: Vec<_> = core::iter::from_fn(|| here.handle_timeout(now)).map(Some).collect();
                        let due = |until: &Option<Instant>| until.is_some_and(|until| until <= now);
                        let mut expected: Vec<_> = naive.here.iter().filter(|(_, until)| due(until))
                            .map(|((topic, user), _)| left(&format!("t{topic}"), &format!("u{user}"))).collect();
                        naive.here.retain(|_, until| !due(until));
                        gone.sort_by_key(|change| format!("{change:?}"));
                        expected.sort_by_key(|change| format!("{change:?}"));
                        prop_assert_eq!(gone, expected);
                    }
                }
                prop_assert_eq!(here.poll_timeout(), naive.here.values().copied().flatten().min());
                for t in 0..3 {
                    let expected: Vec<_> = naive.here.keys().filter(|key| key.0 == t).map(|key| format!("u{}", key.1)).collect();
                    prop_assert_eq!(users(&here, &format!("t{t}")), (expected.len(), expected));
                }
            }
        }
    }
}
