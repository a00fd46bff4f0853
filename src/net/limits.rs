//! How many connections one address may hold, and how fast new ones are taken.

use crate::hub::{Bucket, RateLimit};
use crate::net::slab::{Entry, Slab};
use crate::time::Instant;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A limit on the connections that one client address holds at a time.
///
/// Off unless set: behind a proxy that is not named as trusted, all clients have one address, and whole offices and mobile
/// networks share one by design. It holds for all workers of a server together. IPv4-mapped IPv6 addresses count as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerAddressLimit {
    /// The most connections of one address.
    pub connections: NonZeroU32,
    /// How many leading bits of an IPv6 address make it one client, at most 128. Default 64: a subscriber is given at least that
    /// much of a network and may use a new address out of it for every connection, so a limit on single addresses limits
    /// nothing.
    pub ipv6_prefix: u8,
}

impl PerAddressLimit {
    /// At most so many connections per address, IPv6 by /64.
    pub const fn new(connections: NonZeroU32) -> Self {
        Self { connections, ipv6_prefix: 64 }
    }

    /// What `address` is counted as.
    fn key(&self, address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let host_bits = 128 - u32::from(self.ipv6_prefix.min(128));
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
            v4 => v4,
        }
    }
}

/// The connections of each address, counted: shared by all workers, and touched only when a connection comes or goes.
///
/// [`admit`](Self::admit) gives a [`Seat`], four bytes that the connection keeps; it is given back with
/// [`leave`](Self::leave). An address without connections is forgotten, so memory follows the connections that there are.
#[derive(Debug)]
pub(crate) struct PerAddress {
    limit: PerAddressLimit,
    // Two short operations per connection's life: no contention worth a finer lock.
    counts: Mutex<Counts>,
}

/// One connection's part in its address's count. It is given back by [`PerAddress::leave`], not by being dropped: it would need to
/// hold the way there, and a connection has no bytes to spare.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a seat that is not given back is taken for ever"]
// INVARIANT: the index of the address's count, plus one.
pub(crate) struct Seat(NonZeroU32);

impl PerAddress {
    pub(crate) fn new(limit: PerAddressLimit) -> Self {
        Self { limit, counts: Mutex::new(Counts { by_address: HashMap::new(), counts: Slab::new() }) }
    }

    /// Counts a connection of `address`; `None` if it has as many as it may. O(1).
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Seat> {
        let key = self.limit.key(address);
        let Counts { by_address, counts } = &mut *self.lock();
        let index = match by_address.get(&key) {
            Some(index) => {
                let count = &mut counts[*index];
                if count.connections >= self.limit.connections.get() {
                    return None;
                }
                count.connections += 1;
                *index
            }
            None => {
                let index =
                    counts.insert_with(|_, generation| Count { address: key, connections: 1, or_next: generation });
                by_address.insert(key, index);
                index
            }
        };
        Some(Seat(NonZeroU32::MIN.saturating_add(index)))
    }

    /// Gives a seat back. O(1), amortised.
    pub(crate) fn leave(&self, seat: Seat) {
        let Counts { by_address, counts } = &mut *self.lock();
        let index = seat.0.get() - 1;
        // A seat of another's making counts nothing here.
        let Some(count) = counts.get_mut(index) else { return };
        if count.connections > 1 {
            count.connections -= 1;
        } else {
            by_address.remove(&counts.remove(index).address);
            // After a peak the table is given back too; not below what a small server uses anyway.
            if by_address.capacity() > 1024 && by_address.len() < by_address.capacity() / 8 {
                by_address.shrink_to(by_address.len() * 2);
            }
        }
    }

    /// How many connections `address` has.
    #[cfg(test)]
    pub(crate) fn connections(&self, address: IpAddr) -> u32 {
        let counts = self.lock();
        counts.by_address.get(&self.limit.key(address)).map_or(0, |index| counts.counts[*index].connections)
    }

    /// How many addresses have connections.
    #[cfg(test)]
    pub(crate) fn addresses(&self) -> usize {
        self.lock().by_address.len()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Nothing panics between two changes that belong together.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// Addresses are the clients' choice; the standard hasher is keyed at random, so they cannot choose collisions.
struct Counts {
    by_address: HashMap<IpAddr, u32>,
    counts: Slab<Count>,
}

impl core::fmt::Debug for Counts {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Counts").field("addresses", &self.by_address.len()).finish_non_exhaustive()
    }
}

struct Count {
    address: IpAddr,
    /// Zero where the entry is vacant.
    connections: u32,
    /// The generation, or the next vacant entry.
    or_next: u32,
}

impl Entry for Count {
    fn vacant(next: u32) -> Self {
        Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), connections: 0, or_next: next }
    }

    fn next_vacant(&self) -> Option<u32> {
        (self.connections == 0).then_some(self.or_next)
    }

    fn generation(&self) -> u32 {
        self.or_next
    }
}

/// How fast new connections are taken, per worker: a token bucket.
///
/// What comes faster is not refused. It waits in the listener's queue, as far as
/// [`backlog`](crate::net::ListenConfig::backlog) goes: handshakes are what a reconnect storm costs, and so they leave time for
/// the connections that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptRate {
    /// Connections per second in the long run.
    pub per_second: NonZeroU32,
    /// Connections that may come at once after a quiet time.
    pub burst: NonZeroU32,
}

/// The state of an [`AcceptRate`]. It reads no clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AcceptBucket {
    limit: RateLimit,
    bucket: Bucket,
}

impl AcceptBucket {
    /// A full bucket.
    pub(crate) fn new(rate: AcceptRate) -> Self {
        let AcceptRate { per_second, burst } = rate;
        Self { limit: RateLimit { per_second, burst }, bucket: Bucket::new() }
    }

    /// Whether there is a token, without taking it.
    ///
    /// # Errors
    ///
    /// When there is none: at what time there will be one.
    pub(crate) fn check(&self, now: Instant) -> Result<(), Instant> {
        self.bucket.check(&self.limit, now).map_err(|e| now + e.retry_after)
    }

    /// Takes a token for one connection.
    ///
    /// # Errors
    ///
    /// As for [`check`](Self::check).
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        self.bucket.take(&self.limit, now).map_err(|e| now + e.retry_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;
    use std::format;
    use std::sync::Arc;
    use std::vec::Vec;

    fn limit(connections: u32) -> PerAddressLimit {
        PerAddressLimit::new(NonZeroU32::new(connections).unwrap())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn looking_for_a_token_takes_none() {
        let one = NonZeroU32::MIN;
        let mut bucket = AcceptBucket::new(AcceptRate { per_second: one, burst: one });
        let now = Instant::from_millis(5000);
        for _ in 0..10 {
            assert_eq!(bucket.check(now), Ok(()));
        }
        assert_eq!(bucket.take(now), Ok(()));
        assert_eq!(bucket.check(now), Err(Instant::from_millis(6000)));
        assert_eq!(bucket.take(now), Err(Instant::from_millis(6000)));
    }

    #[test]
    fn an_address_holds_as_many_connections_as_it_may_and_others_are_not_concerned() {
        let counts = PerAddress::new(limit(2));
        let first = counts.admit(ip("192.0.2.1")).unwrap();
        let second = counts.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(counts.admit(ip("192.0.2.1")), None);
        let other = counts.admit(ip("192.0.2.2")).unwrap();
        assert_eq!((counts.connections(ip("192.0.2.1")), counts.addresses()), (2, 2));
        counts.leave(first);
        let third = counts.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(counts.admit(ip("192.0.2.1")), None);
        for seat in [second, third, other] {
            counts.leave(seat);
        }
        assert_eq!((counts.connections(ip("192.0.2.1")), counts.addresses()), (0, 0));
    }

    #[test]
    fn a_seat_is_four_bytes_also_when_there_is_none() {
        assert_eq!(size_of::<Option<Seat>>(), 4);
    }

    #[test]
    fn a_mapped_address_counts_as_ipv4() {
        let counts = PerAddress::new(limit(1));
        let seat = counts.admit(ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(counts.admit(ip("192.0.2.1")), None);
        // Unlike two addresses in the /64 that all mapped addresses share.
        let other = counts.admit(ip("::ffff:192.0.2.2")).unwrap();
        counts.leave(seat);
        counts.leave(other);
    }

    #[test]
    fn ipv6_counts_by_its_prefix() {
        for (prefix, same, other) in [
            (64, "2001:db8::ffff:1", "2001:db8:0:1::1"),
            (128, "2001:db8::1", "2001:db8::2"),
            (255, "2001:db8::1", "2001:db8::2"),
            (48, "2001:db8:0:ffff::1", "2001:db8:1::1"),
        ] {
            let counts = PerAddress::new(PerAddressLimit { ipv6_prefix: prefix, ..limit(1) });
            let seats = [counts.admit(ip("2001:db8::1")), counts.admit(ip(same)), counts.admit(ip(other))];
            assert_eq!(seats.map(|seat| seat.is_some()), [true, false, true], "/{prefix}");
        }
        let counts = PerAddress::new(PerAddressLimit { ipv6_prefix: 0, ..limit(1) });
        let seats = [counts.admit(ip("2001:db8::1")), counts.admit(ip("ff::1"))];
        assert_eq!(seats.map(|seat| seat.is_some()), [true, false]);
    }

    #[test]
    fn memory_is_given_back_after_a_million_addresses() {
        let counts = PerAddress::new(limit(1));
        for round in 0..10_u32 {
            let seats: Vec<Seat> =
                (0..100_000).map(|n| counts.admit(IpAddr::from((round << 20 | n).to_be_bytes())).unwrap()).collect();
            seats.into_iter().for_each(|seat| counts.leave(seat));
        }
        let counts = counts.lock();
        assert!(counts.by_address.capacity() <= 1024, "{}", counts.by_address.capacity());
        assert_eq!((counts.counts.len(), counts.counts.capacity()), (0, 256));
    }

    #[test]
    fn workers_share_the_counts() {
        let counts = Arc::new(PerAddress::new(limit(10)));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let counts = Arc::clone(&counts);
                std::thread::spawn(move || (0..5).filter_map(|_| counts.admit(ip("192.0.2.1"))).collect::<Vec<_>>())
            })
            .collect();
        let seats: Vec<Seat> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
        assert_eq!(seats.len(), 10);
        seats.into_iter().for_each(|seat| counts.leave(seat));
        assert_eq!(counts.addresses(), 0);
    }

    #[test]
    fn addresses_do_not_show_where_it_is_printed() {
        let counts = PerAddress::new(limit(10));
        let seat = counts.admit(ip("192.0.2.1")).unwrap();
        assert!(!format!("{counts:?}").contains("192"));
        counts.leave(seat);
    }

    proptest! {
        #[test]
        fn it_counts_as_a_map_would(steps in prop::collection::vec((0u8..6, any::<bool>()), 0..200)) {
            let counts = PerAddress::new(limit(3));
            let mut seats: Vec<(u8, Seat)> = Vec::new();
            for (host, come) in steps {
                let address = IpAddr::from([192, 0, 2, host]);
                let there = seats.iter().filter(|(other, _)| *other == host).count();
                if come {
                    let seat = counts.admit(address);
                    prop_assert_eq!(seat.is_some(), there < 3);
                    seats.extend(seat.map(|seat| (host, seat)));
                } else if let Some(at) = seats.iter().position(|(other, _)| *other == host) {
                    counts.leave(seats.swap_remove(at).1);
                }
                let there = seats.iter().filter(|(other, _)| *other == host).count();
                prop_assert_eq!(counts.connections(address) as usize, there);
            }
        }
    }

    fn bucket(per_second: u32, burst: u32) -> AcceptBucket {
        AcceptBucket::new(AcceptRate {
            per_second: NonZeroU32::new(per_second).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        })
    }

    #[test]
    fn a_burst_is_taken_at_once_and_then_one_per_interval() {
        let mut bucket = bucket(100, 5);
        let mut now = Instant::from_millis(1_000_000);
        assert_eq!((0..10).filter(|_| bucket.take(now).is_ok()).count(), 5);
        for _ in 0..20 {
            let next = bucket.take(now).unwrap_err();
            assert_eq!(next, now + Duration::from_millis(10));
            assert!(bucket.take(Instant::from_nanos(next.as_nanos() - 1)).is_err());
            now = next;
            assert_eq!(bucket.take(now), Ok(()));
        }
        // Never more than the burst, however long it was quiet.
        now = now + Duration::from_secs(86_400);
        assert_eq!((0..10).filter(|_| bucket.take(now).is_ok()).count(), 5);
    }

    #[test]
    fn the_extremes_neither_overflow_nor_stand_still() {
        for (per_second, burst) in [(1, 1), (1, u32::MAX), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
            for start in [Instant::ORIGIN, Instant::from_nanos(u64::MAX)] {
                let mut bucket = bucket(per_second, burst);
                assert_eq!(bucket.take(start), Ok(()));
                if let Err(next) = bucket.take(start) {
                    assert!(next > start);
                    assert_eq!(bucket.take(next), Ok(()));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_window_of_time_holds_more_than_its_rate_and_the_burst(
            per_second in 1u32..2000,
            burst in 1u32..20,
            gaps in prop::collection::vec(0u64..20_000_000, 1..200),
        ) {
            let mut bucket = bucket(per_second, burst);
            let mut now = Instant::from_millis(5);
            let mut taken = Vec::new();
            for gap in gaps {
                now = now + Duration::from_nanos(gap);
                match bucket.take(now) {
                    Ok(()) => taken.push(now),
                    Err(next) => prop_assert!(next > now),
                }
            }
            for (i, from) in taken.iter().enumerate() {
                for (j, to) in taken.iter().enumerate().skip(i) {
                    let nanos = to.saturating_duration_since(*from).as_nanos();
                    let most = u128::from(burst) + nanos * u128::from(per_second) / 1_000_000_000;
                    prop_assert!((j - i + 1) as u128 <= most);
                }
            }
        }
    }
}
