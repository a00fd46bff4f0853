//! Time as a value: the engine is told what time it is and says when it wants to be told again.
//!
//! [`Instant`] is eight bytes, also inside an `Option`, and needs no operating system. Where the numbers come from is the
//! caller's business; with the feature `std`, [`Clock`] takes them from the system's monotonic clock.

use core::fmt;
use core::num::NonZeroU64;
use core::ops::Add;
use core::time::Duration;

/// A point on a monotonic time line, in nanoseconds since an origin that the caller chose.
///
/// Arithmetic saturates: 584 years after the origin the line ends, and a deadline beyond it is a deadline that never comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
// INVARIANT: holds nanoseconds + 1, so that `Option<Instant>` needs no ninth byte.
pub struct Instant(NonZeroU64);

impl Instant {
    /// The origin of the time line.
    pub const ORIGIN: Self = Self(NonZeroU64::MIN);

    /// The instant `nanos` nanoseconds after the origin.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// The instant `millis` milliseconds after the origin.
    #[inline]
    pub const fn from_millis(millis: u64) -> Self {
        Self::from_nanos(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the origin.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0.get() - 1
    }

    /// How long after `earlier` this is; zero where it is not after.
    #[inline]
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.as_nanos().saturating_sub(earlier.as_nanos()))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    #[inline]
    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self::from_nanos(self.as_nanos().saturating_add(nanos))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.as_nanos()))
    }
}

/// The earlier of two optional deadlines.
#[inline]
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b < a { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// The system's monotonic clock as a source of [`Instant`]s. Feature `std`.
///
/// Instants of two clocks do not compare; make one per process and copy it.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: std::time::Instant,
}

#[cfg(feature = "std")]
impl Clock {
    /// A clock whose origin is now.
    pub fn new() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    /// What time it is. One read of the system clock (some 20 ns where that is a vDSO call).
    pub fn now(&self) -> Instant {
        let nanos = self.origin.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(feature = "std")]
impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_eight_bytes_also_when_optional() {
        assert_eq!(size_of::<Instant>(), 8);
        assert_eq!(size_of::<Option<Instant>>(), 8);
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let end = Instant::from_nanos(u64::MAX);
        assert_eq!(end + Duration::MAX, end);
        assert_eq!(Instant::ORIGIN.saturating_duration_since(end), Duration::ZERO);
        assert_eq!(Instant::from_millis(3).as_nanos(), 3_000_000);
        assert_eq!(
            Instant::from_millis(3).saturating_duration_since(Instant::from_millis(1)),
            Duration::from_millis(2)
        );
    }

    #[test]
    fn the_earlier_deadline_wins_and_none_means_never() {
        let (a, b) = (Instant::from_nanos(1), Instant::from_nanos(2));
        assert_eq!(earlier(Some(b), Some(a)), Some(a));
        assert_eq!(earlier(None, Some(a)), Some(a));
        assert_eq!(earlier(None, None), None);
    }

    #[cfg(feature = "std")]
    #[test]
    fn a_clock_never_runs_backwards() {
        let clock = Clock::new();
        let first = clock.now();
        assert!(clock.now() >= first);
    }
}
