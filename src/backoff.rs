//! How long to wait before connecting again.
//!
//! Delays double from a base to a cap and are drawn evenly from the whole range (full jitter), so that clients that lost their
//! server together do not come back together. A connection counts only if it stayed up for a while: the state outlives the
//! attempt, and one accepted handshake does not reset it.

use crate::time::Instant;
use core::time::Duration;

/// No wait is shorter, whatever a server advises: a server that says `retry: 0` must not be hammered.
pub const FLOOR: Duration = Duration::from_millis(100);

/// No advice of a server makes the wait longer: a mistyped `retry:` must not end a client for good.
pub const CEILING: Duration = Duration::from_secs(3600);

/// The schedule of reconnect delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffConfig {
    /// The range of the first delay. Default 1 s; doubled by each failure.
    pub base: Duration,
    /// The widest range. Default 30 s.
    pub cap: Duration,
    /// Up this long, a connection counts as a success and the schedule starts over. Default 10 s.
    pub stable: Duration,
    /// Give up after so many attempts in a row without success. Default: never.
    pub attempts: Option<u32>,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(30),
            stable: Duration::from_secs(10),
            attempts: None,
        }
    }
}

/// The state of one client's reconnecting.
#[derive(Clone, Debug)]
pub struct Backoff {
    config: BackoffConfig,
    failures: u32,
    connected: Option<Instant>,
}

impl Backoff {
    /// A client that has not failed yet.
    pub fn new(config: BackoffConfig) -> Self {
        Self { config, failures: 0, connected: None }
    }

    /// Attempts that failed since the last stable connection.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A connection opened. It resets nothing until it has lasted.
    pub fn connected(&mut self, now: Instant) {
        self.connected = Some(now);
    }

    /// Sets the range of the first delay from now on, as `retry:` of an event stream does.
    pub fn set_base(&mut self, base: Duration) {
        self.config.base = base;
    }

    /// An attempt failed or a connection ended: how long to wait, or `None` where the attempts are used up.
    ///
    /// `random` is even over all of `u64`. `advice` is a wait that the server asked for (`retry:`, Retry-After), held to
    /// [`FLOOR`] and [`CEILING`]; the jitter comes on top of it, because coming back earlier than asked is not polite.
    pub fn failed(&mut self, now: Instant, random: u64, advice: Option<Duration>) -> Option<Duration> {
        let up = self.connected.take().map(|since| now.saturating_duration_since(since));
        if up.is_some_and(|up| up >= self.config.stable) {
            self.failures = 0;
        }
        if self.config.attempts.is_some_and(|attempts| self.failures >= attempts) {
            return None;
        }
        let range = self.range();
        self.failures = self.failures.saturating_add(1);
        let drawn = fraction(range, random);
        Some(match advice {
            Some(advice) => advice.clamp(FLOOR, CEILING) + drawn,
            None => drawn.max(FLOOR),
        })
    }

    /// The range of the next delay: base, doubled per failure, at most the cap.
    fn range(&self) -> Duration {
        let doubled =
            1u32.checked_shl(self.failures).map_or(Duration::MAX, |factor| self.config.base.saturating_mul(factor));
        doubled.min(self.config.cap)
    }
}

/// `range` times `random / 2^64`.
fn fraction(range: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(range.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(nanos) * u128::from(random)) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ORIGIN;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// The delay at the top of its range, rounded to whole milliseconds.
    fn widest(backoff: &mut Backoff) -> Duration {
        let delay = backoff.failed(NOW, u64::MAX, None).unwrap();
        Duration::from_millis((delay.as_micros() as u64).div_ceil(1000))
    }

    #[test]
    fn the_ranges_are_1_2_4_8_16_30_30_seconds() {
        let mut backoff = Backoff::new(BackoffConfig::default());
        for expected in [1, 2, 4, 8, 16, 30, 30, 30] {
            assert_eq!(widest(&mut backoff), seconds(expected));
        }
        for _ in 0..100 {
            assert_eq!(widest(&mut backoff), seconds(30));
        }
    }

    #[test]
    fn delays_fill_their_range_evenly() {
        let mut backoff = Backoff::new(BackoffConfig { base: seconds(30), ..BackoffConfig::default() });
        for tenth in 1..=10u64 {
            let delay = backoff.failed(NOW, u64::MAX / 10 * tenth, None).unwrap();
            let off = delay.as_millis().abs_diff(u128::from(3000 * tenth));
            assert!(off <= 1, "{delay:?}");
        }
    }

    #[test]
    fn a_short_connection_does_not_reset_the_schedule_and_a_stable_one_does() {
        let mut backoff = Backoff::new(BackoffConfig::default());
        backoff.failed(NOW, 0, None);
        backoff.connected(NOW);
        backoff.failed(NOW + seconds(9), 0, None);
        assert_eq!(backoff.failures(), 2);
        backoff.connected(NOW);
        backoff.failed(NOW + seconds(10), 0, None);
        assert_eq!(backoff.failures(), 1);
    }

    #[test]
    fn the_wait_is_never_below_the_floor() {
        let mut backoff = Backoff::new(BackoffConfig::default());
        assert_eq!(backoff.failed(NOW, 0, None), Some(FLOOR));
        assert_eq!(backoff.failed(NOW, 0, Some(Duration::ZERO)), Some(FLOOR));
    }

    #[test]
    fn advice_is_kept_to_with_jitter_on_top_and_clamped_to_an_hour() {
        let mut backoff = Backoff::new(BackoffConfig::default());
        assert_eq!(backoff.failed(NOW, 0, Some(seconds(3))), Some(seconds(3)));
        assert!(backoff.failed(NOW, u64::MAX, Some(seconds(3))).unwrap() > seconds(4));
        assert_eq!(backoff.failed(NOW, 0, Some(Duration::MAX)), Some(CEILING));
    }

    #[test]
    fn attempts_run_out_only_where_asked_for() {
        let mut backoff = Backoff::new(BackoffConfig { attempts: Some(10), ..BackoffConfig::default() });
        for _ in 0..10 {
            assert!(backoff.failed(NOW, 0, None).is_some());
        }
        assert_eq!(backoff.failed(NOW, 0, None), None);
    }
}
