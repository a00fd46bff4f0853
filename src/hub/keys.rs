//! Which publications were made already: a key that comes again is answered and not published again.

use crate::hub::cursor::Position;
use crate::hub::session::SessionId;
use crate::time::Instant;
use alloc::collections::{BTreeMap, VecDeque};
use core::fmt;
use core::time::Duration;

/// The longest key in bytes: room for a UUID and a counter.
pub const MAX_KEY: usize = 64;

/// Checks a key: 1 to [`MAX_KEY`] visible ASCII characters (0x21 to 0x7E). Costs no more for a longer one than for one at the limit.
///
/// # Errors
///
/// [`KeyError`].
pub fn check_key(key: &str) -> Result<(), KeyError> {
    match key.len() {
        0 => Err(KeyError::Empty),
        1..=MAX_KEY if key.bytes().all(|b| b.is_ascii_graphic()) => Ok(()),
        1..=MAX_KEY => Err(KeyError::BadCharacter),
        _ => Err(KeyError::Long),
    }
}

/// Why a key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// A key of no bytes.
    Empty,
    /// A key of more than [`MAX_KEY`] bytes.
    Long,
    /// A key with anything but visible ASCII characters.
    BadCharacter,
}

impl KeyError {
    /// The status of the answer: 400.
    pub const fn status(self) -> u16 {
        400
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty key"),
            Self::Long => write!(f, "key of more than {MAX_KEY} bytes"),
            Self::BadCharacter => f.write_str("key with a character that is not visible ASCII"),
        }
    }
}

impl core::error::Error for KeyError {}

/// Whose keys they are: a session's, or a user's where there is one who is known by name. A session and a user never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
// INVARIANT: the highest bit tells the kinds apart. The 127 others are random, or a keyed hash.
pub struct Owner(u128);

impl Owner {
    const USER: u128 = 1 << 127;

    /// A session.
    pub const fn session(session: SessionId) -> Self {
        Self(session.0 & !Self::USER)
    }

    /// A user, by the number that [`SessionKeys::user`](crate::hub::SessionKeys::user) gives to the name.
    pub const fn user(number: u128) -> Self {
        Self(number | Self::USER)
    }
}

/// How long and how many keys are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysLimits {
    /// How long after its publication a key is known. Default 5 minutes: what docs/PROTOCOL.md promises to clients.
    pub window: Duration,
    /// Keys of all owners. Default 65,536, which is some 20 MB at most.
    pub entries: usize,
    /// Keys of one owner. Default 1,024.
    pub per_owner: usize,
}

impl Default for KeysLimits {
    fn default() -> Self {
        Self { window: Duration::from_secs(300), entries: 65_536, per_owner: 1_024 }
    }
}

/// The keys of what was published within the window, and the position of each.
///
/// Whoever publishes with a key looks with [`check`](Self::check) first, and calls [`remember`](Self::remember) with the position,
/// both within one critical section, or the key is published twice. Every call is O(log keys).
///
/// # What a limit costs
///
/// Where an owner, or all together, have more than they may, the oldest keys go before the window is over: those of that owner
/// first, else the oldest of all. What weakens is one promise: a publication whose answer was lost, and that is sent again
/// behind so many others, is published twice. A session that is cut off publishes nothing meanwhile, so its own keys do not push
/// each other out; a user's other sessions may, and with the default rate of 100 per second for each need 10 s for it.
#[derive(Debug)]
pub struct Keys {
    limits: KeysLimits,
    by_name: BTreeMap<(Owner, Key), Made>,
    /// By the number that each key was given, which ascends with the time.
    by_age: BTreeMap<u64, (Owner, Key)>,
    /// The numbers of each owner's keys, the oldest first.
    owners: BTreeMap<Owner, VecDeque<u64>>,
    /// The number of the next key.
    next: u64,
    /// The latest time that was heard of: workers read the clock before they wait for their turn.
    now: Instant,
}

/// A publication that was made.
#[derive(Clone, Copy, Debug)]
struct Made {
    position: Position,
    at: Instant,
}

impl Keys {
    /// No keys, and nothing on the heap.
    pub const fn new(limits: KeysLimits) -> Self {
        Self {
            limits,
            by_name: BTreeMap::new(),
            by_age: BTreeMap::new(),
            owners: BTreeMap::new(),
            next: 0,
            now: Instant::ORIGIN,
        }
    }

    /// The position of the publication that was made with this key, where it is still known.
    ///
    /// # Errors
    ///
    /// The key is none.
    pub fn check(&self, owner: Owner, key: &str, now: Instant) -> Result<Option<Position>, KeyError> {
        let made = self.by_name.get(&(owner, Key::new(key)?));
        Ok(made.filter(|made| !self.is_over(made.at, now)).map(|made| made.position))
    }

    /// Remembers what was published with a key. Where the key is known, the first publication's position stays.
    ///
    /// # Errors
    ///
    /// The key is none. Nothing changed.
    pub fn remember(&mut self, owner: Owner, key: &str, position: Position, now: Instant) -> Result<(), KeyError> {
        let name = (owner, Key::new(key)?);
        self.now = self.now.max(now);
        // Also the same key, where it is over.
        self.handle_timeout(now);
        if self.by_name.contains_key(&name) {
            return Ok(());
        }
        let number = self.next;
        self.next += 1;
        self.by_name.insert(name, Made { position, at: self.now });
        self.by_age.insert(number, name);
        let own = self.owners.entry(owner).or_default();
        own.push_back(number);
        if own.len() > self.limits.per_owner {
            let oldest = own[0];
            self.forget(oldest);
        }
        if self.by_age.len() > self.limits.entries {
            self.forget_oldest();
        }
        Ok(())
    }

    /// When the next key is over. Ask again after every call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (_, name) = self.by_age.first_key_value()?;
        self.by_name.get(name).map(|made| made.at + self.limits.window)
    }

    /// Lets go what is over. Early, it does nothing. O(log keys) for each.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|due| due <= now) {
            self.forget_oldest();
        }
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    fn is_over(&self, at: Instant, now: Instant) -> bool {
        at + self.limits.window <= now
    }

    fn forget_oldest(&mut self) {
        if let Some((&number, _)) = self.by_age.first_key_value() {
            self.forget(number);
        }
    }

    /// Forgets a key that is the oldest of its owner.
    fn forget(&mut self, number: u64) {
        let Some(name) = self.by_age.remove(&number) else { return };
        self.by_name.remove(&name);
        let Some(own) = self.owners.get_mut(&name.0) else { return };
        debug_assert_eq!(own.front(), Some(&number));
        own.pop_front();
        if own.is_empty() {
            self.owners.remove(&name.0);
        } else if own.len() < own.capacity() / 4 {
            own.shrink_to(own.len() * 2);
        }
    }
}

/// A key in place. Zeros behind it: no key has one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key([u8; MAX_KEY]);

impl Key {
    fn new(key: &str) -> Result<Self, KeyError> {
        check_key(key)?;
        let mut bytes = [0; MAX_KEY];
        bytes[..key.len()].copy_from_slice(key.as_bytes());
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.0.iter().position(|b| *b == 0).unwrap_or(MAX_KEY);
        core::str::from_utf8(&self.0[..len]).unwrap_or_default().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    const ANN: Owner = Owner::user(1);
    const SESSION: Owner = Owner::session(SessionId(1));

    fn at(secs: u64) -> Instant {
        Instant::from_millis(secs * 1000)
    }

    fn position(ms: u64) -> Position {
        Position { ms, seq: 0 }
    }

    fn keys(entries: usize, per_owner: usize) -> Keys {
        Keys::new(KeysLimits { entries, per_owner, ..KeysLimits::default() })
    }

    #[test]
    fn a_key_that_comes_again_within_5_minutes_has_the_same_position() {
        let mut keys = keys(10, 10);
        assert_eq!(keys.check(ANN, "k", at(1)), Ok(None));
        assert_eq!(keys.remember(ANN, "k", position(5), at(1)), Ok(()));
        assert_eq!(keys.check(ANN, "k", at(300)), Ok(Some(position(5))));
        // The first stays.
        assert_eq!(keys.remember(ANN, "k", position(6), at(300)), Ok(()));
        assert_eq!(keys.check(ANN, "k", at(300)), Ok(Some(position(5))));
        assert_eq!((keys.check(ANN, "k", at(301)), keys.poll_timeout()), (Ok(None), Some(at(301))));
        // Over, though nobody called `handle_timeout`.
        assert_eq!(keys.remember(ANN, "k", position(7), at(301)), Ok(()));
        assert_eq!((keys.check(ANN, "k", at(301)), keys.len()), (Ok(Some(position(7))), 1));
        keys.handle_timeout(at(600));
        assert_eq!(keys.len(), 1);
        keys.handle_timeout(at(601));
        assert!(keys.is_empty() && keys.poll_timeout().is_none() && keys.owners.is_empty());
    }

    #[test]
    fn a_session_and_a_user_never_meet() {
        let mut keys = keys(10, 10);
        for number in [0, 1, u128::MAX, 1 << 127] {
            assert_ne!(Owner::session(SessionId(number)), Owner::user(number));
        }
        keys.remember(ANN, "k", position(5), at(1)).unwrap();
        assert_eq!(keys.check(SESSION, "k", at(1)), Ok(None));
        assert_eq!(keys.check(Owner::user(2), "k", at(1)), Ok(None));
        assert_eq!((keys.check(ANN, "K", at(1)), keys.check(ANN, "k!", at(1))), (Ok(None), Ok(None)));
    }

    #[test]
    fn a_key_is_1_to_64_visible_ascii_characters() {
        let mut keys = keys(10, 10);
        let status = |key: &str| check_key(key).map_err(|e| (e, e.status()));
        assert_eq!(status(""), Err((KeyError::Empty, 400)));
        assert_eq!(status(&"k".repeat(65)), Err((KeyError::Long, 400)));
        for wrong in ["a b", " ", "\t", "\0", "\x7f", "a\n", "ä"] {
            assert_eq!(status(wrong), Err((KeyError::BadCharacter, 400)), "{wrong:?}");
            assert_eq!(keys.remember(ANN, wrong, position(1), at(1)), Err(KeyError::BadCharacter));
            assert_eq!(keys.check(ANN, wrong, at(1)), Err(KeyError::BadCharacter));
        }
        assert_eq!((status("!~"), status(&"k".repeat(64)), keys.len()), (Ok(()), Ok(()), 0));
        assert_eq!(KeyError::Long.to_string(), "key of more than 64 bytes");
    }

    #[test]
    fn beyond_its_limit_an_owner_loses_its_own_oldest_key_and_beyond_the_common_one_the_oldest_goes() {
        let mut keys = keys(4, 2);
        for (owner, key) in [(SESSION, "s1"), (ANN, "a1"), (ANN, "a2"), (ANN, "a3"), (Owner::user(2), "b1")] {
            keys.remember(owner, key, position(9), at(1)).unwrap();
        }
        let held = |keys: &Keys| {
            [(SESSION, "s1"), (ANN, "a1"), (ANN, "a2"), (ANN, "a3"), (Owner::user(2), "b1"), (Owner::user(2), "b2")]
                .map(|(owner, key)| keys.check(owner, key, at(1)).unwrap().is_some())
        };
        assert_eq!(held(&keys), [true, false, true, true, true, false]);
        keys.remember(Owner::user(2), "b2", position(9), at(1)).unwrap();
        assert_eq!(held(&keys), [false, false, true, true, true, true]);
        let mut none = Keys::new(KeysLimits { entries: 0, ..KeysLimits::default() });
        none.remember(ANN, "k", position(1), at(1)).unwrap();
        assert!(none.is_empty() && none.owners.is_empty());
        let mut none = Keys::new(KeysLimits { per_owner: 0, ..KeysLimits::default() });
        none.remember(ANN, "k", position(1), at(1)).unwrap();
        assert!(none.is_empty() && none.by_age.is_empty());
    }

    #[test]
    fn a_clock_that_goes_back_keeps_the_order_of_age() {
        let mut keys = keys(10, 10);
        keys.remember(ANN, "late", position(1), at(10)).unwrap();
        keys.remember(ANN, "early", position(2), at(5)).unwrap();
        assert_eq!(keys.poll_timeout(), Some(at(310)));
        keys.handle_timeout(at(310));
        assert!(keys.is_empty());
    }

    proptest! {
        #[test]
        fn it_is_what_a_list_would_say(ops in prop::collection::vec((0u128..3, 0u8..6, 0u64..60, 0u8..10), 0..300)) {
            let (mut keys, mut now) = (keys(8, 4), at(0));
            // Owner, key, position, since when; the oldest first.
            let mut naive: Vec<(Owner, String, Position, Instant)> = Vec::new();
            for (i, (owner, key, secs, op)) in ops.into_iter().enumerate() {
                let (owner, key) = (Owner::user(owner), format!("k{key}"));
                now = now + Duration::from_secs(secs);
                if op == 0 {
                    keys.handle_timeout(now);
                    prop_assert!(keys.poll_timeout().is_none_or(|due| due > now));
                }
                naive.retain(|made| made.3 + Duration::from_secs(300) > now);
                let known = naive.iter().find(|made| made.0 == owner && made.1 == key).map(|made| made.2);
                prop_assert_eq!(keys.check(owner, &key, now), Ok(known));
                if op > 3 {
                    keys.remember(owner, &key, position(i as u64), now).unwrap();
                    if known.is_none() {
                        naive.push((owner, key, position(i as u64), now));
                        if naive.iter().filter(|made| made.0 == owner).count() > 4 {
                            let oldest = naive.iter().position(|made| made.0 == owner).unwrap();
                            naive.remove(oldest);
                        }
                        if naive.len() > 8 {
                            naive.remove(0);
                        }
                    }
                    prop_assert_eq!(keys.len(), naive.len());
                }
                prop_assert_eq!(keys.len(), keys.by_age.len());
                prop_assert_eq!(keys.len(), keys.owners.values().map(VecDeque::len).sum::<usize>());
            }
        }
    }
}
