//! How fast something may come: a token bucket whose state is one instant.

use crate::hub::session::SessionId;
use crate::time::Instant;
use core::fmt;
use core::num::NonZeroU32;
use core::time::Duration;

/// A rate and a burst. Default 100 per second, 200 at once: what one connection may say: publications and other commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many per second in the long run.
    pub per_second: NonZeroU32,
    /// How many may come at once after a quiet time.
    pub burst: NonZeroU32,
}

impl Default for RateLimit {
    fn default() -> Self {
        const { Self { per_second: NonZeroU32::new(100).unwrap(), burst: NonZeroU32::new(200).unwrap() } }
    }
}

impl RateLimit {
    /// So many times as much.
    fn times(self, n: u32) -> Self {
        let times = |rate: NonZeroU32| rate.saturating_mul(NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN));
        Self { per_second: times(self.per_second), burst: times(self.burst) }
    }

    /// Nanoseconds for each, rounded up: never more than `per_second`.
    const fn interval(&self) -> u64 {
        1_000_000_000_u64.div_ceil(self.per_second.get() as u64)
    }
}

/// The state of a [`RateLimit`]: 8 bytes. The limit itself is shared, so it comes with each call; it reads no clock.
///
/// Kept as the instant at which the bucket is full again, the generic cell rate algorithm (ITU-T I.371): each token that is taken
/// puts that off by one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    full: Instant,
}

impl Bucket {
    /// A full bucket.
    pub const fn new() -> Self {
        Self { full: Instant::ORIGIN }
    }

    /// Whether there is a token, without taking it.
    ///
    /// # Errors
    ///
    /// When there is none: the limit, and after how long there will be one.
    pub fn check(&self, limit: &RateLimit, now: Instant) -> Result<(), RateExceeded> {
        let RateLimit { per_second, burst } = *limit;
        // At most 2^30 times 2^32.
        let slack = limit.interval() * u64::from(burst.get() - 1);
        let next = Instant::from_nanos(self.full.as_nanos().saturating_sub(slack));
        match next > now {
            true => Err(RateExceeded { per_second, burst, retry_after: next.saturating_duration_since(now) }),
            false => Ok(()),
        }
    }

    /// Takes a token.
    ///
    /// # Errors
    ///
    /// As for [`check`](Self::check). Nothing changed: who asks too often does not wait longer for it.
    pub fn take(&mut self, limit: &RateLimit, now: Instant) -> Result<(), RateExceeded> {
        self.check(limit, now)?;
        self.full = self.full.max(now) + Duration::from_nanos(limit.interval());
        Ok(())
    }
}

impl Default for Bucket {
    fn default() -> Self {
        Self::new()
    }
}

/// Connections that give commands for others (a proxy's): for how many at a time, so that whoever alternates sessions is held, too.
const SHARED_BY: u32 = 16;

/// A connection that is no subscriber's and gives commands.
#[derive(Debug, Default)]
pub(crate) struct Poster {
    /// As whom it did last, and how many that one may still give.
    session: Option<SessionId>,
    own: Bucket,
    /// How many it may still give as whomever.
    all: Bucket,
}

impl Poster {
    /// Takes a token for a session.
    pub(crate) fn take(
        &mut self,
        session: Option<SessionId>,
        limit: &RateLimit,
        now: Instant,
    ) -> Result<(), RateExceeded> {
        if self.session != session {
            (self.session, self.own) = (session, Bucket::new());
        }
        let all = limit.times(SHARED_BY);
        self.all.check(&all, now)?;
        self.own.take(limit, now)?;
        self.all.take(&all, now)
    }
}

/// More came than the limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateExceeded {
    /// [`RateLimit::per_second`].
    pub per_second: NonZeroU32,
    /// [`RateLimit::burst`].
    pub burst: NonZeroU32,
    /// After how long one more is taken. Never zero.
    pub retry_after: Duration,
}

impl RateExceeded {
    /// The status of the answer: 429.
    pub const fn status(self) -> u16 {
        429
    }
}

impl fmt::Display for RateExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} commands per second, {} at once", self.per_second, self.burst)
    }
}

impl core::error::Error for RateExceeded {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn limit(per_second: u32, burst: u32) -> RateLimit {
        RateLimit { per_second: NonZeroU32::new(per_second).unwrap(), burst: NonZeroU32::new(burst).unwrap() }
    }

    #[test]
    fn a_bucket_is_eight_bytes_also_when_optional() {
        assert_eq!((size_of::<Bucket>(), size_of::<Option<Bucket>>()), (8, 8));
    }

    #[test]
    fn a_burst_of_200_is_taken_at_once_then_100_per_second_and_the_answer_names_both() {
        let (mut bucket, limit, now) = (Bucket::new(), RateLimit::default(), Instant::from_millis(5000));
        assert_eq!((0..300).filter(|_| bucket.take(&limit, now).is_ok()).count(), 200);
        let error = bucket.take(&limit, now).unwrap_err();
        assert_eq!((error.status(), error.retry_after), (429, Duration::from_millis(10)));
        assert_eq!(error.to_string(), "more than 100 commands per second, 200 at once");
        let later = now + error.retry_after;
        assert_eq!(bucket.take(&limit, later), Ok(()));
        let second = (0..1_000).filter(|ms| bucket.take(&limit, later + Duration::from_millis(*ms)).is_ok());
        assert_eq!(second.count(), 99);
        // Never more than the burst, however long it was quiet.
        let much_later = later + Duration::from_secs(86_400);
        assert_eq!((0..300).filter(|_| bucket.take(&limit, much_later).is_ok()).count(), 200);
    }

    #[test]
    fn looking_for_a_token_takes_none_and_a_clock_that_goes_back_gives_none() {
        let (mut bucket, limit) = (Bucket::new(), limit(1, 1));
        let now = Instant::from_millis(5000);
        (0..10).for_each(|_| assert_eq!(bucket.check(&limit, now), Ok(())));
        assert_eq!(bucket.take(&limit, now), Ok(()));
        let back = Instant::from_millis(4000);
        assert_eq!(bucket.take(&limit, back).unwrap_err().retry_after, Duration::from_secs(2));
        assert!(bucket.take(&limit, Instant::from_nanos(5_999_999_999)).is_err());
        assert_eq!(bucket.take(&limit, Instant::from_millis(6000)), Ok(()));
    }

    #[test]
    fn the_extremes_neither_overflow_nor_stand_still() {
        for (per_second, burst) in [(1, 1), (1, u32::MAX), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
            for start in [Instant::ORIGIN, Instant::from_nanos(u64::MAX)] {
                let (mut bucket, limit) = (Bucket::new(), limit(per_second, burst));
                assert_eq!(bucket.take(&limit, start), Ok(()));
                if let Err(error) = bucket.take(&limit, start) {
                    assert!(!error.retry_after.is_zero());
                    assert_eq!(bucket.take(&limit, start + error.retry_after), Ok(()));
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
            let (mut bucket, limit) = (Bucket::new(), limit(per_second, burst));
            let mut now = Instant::from_millis(5);
            let mut taken = Vec::new();
            for gap in gaps {
                now = now + Duration::from_nanos(gap);
                match bucket.take(&limit, now) {
                    Ok(()) => taken.push(now),
                    Err(error) => {
                        let mut then = bucket;
                        prop_assert_eq!(then.take(&limit, now + error.retry_after), Ok(()));
                    }
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
