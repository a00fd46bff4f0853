//! When to ping and when to give up: one rule for every transport.
//!
//! A line is silent when nothing was heard for an interval. Then it is asked (WebSocket ping) or told (SSE comment), and where an
//! answer is owed, silence for another `deadline` means that the peer is gone. Any byte counts as life, not only the answer.

use crate::time::Instant;
use core::time::Duration;

/// How often to probe a silent line, and how long to wait for a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatConfig {
    /// Silence after which the peer is probed. Default 25 s: inside every common proxy's idle time (60 s and up), with room for
    /// one lost probe.
    pub interval: Duration,
    /// Silence after a probe that means death. Default 10 s.
    pub deadline: Duration,
    /// By how many percent of the interval a probe may come early, at random, so that connections that opened together do not
    /// probe together for ever. Default 10, at most [`MOST_JITTER`](Self::MOST_JITTER).
    pub jitter_percent: u8,
}

impl Default for HeartbeatConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl HeartbeatConfig {
    /// No interval is cut by more than half: what comes more often is no heartbeat.
    pub const MOST_JITTER: u8 = 50;

    /// The default settings.
    pub const DEFAULT: Self =
        Self { interval: Duration::from_secs(25), deadline: Duration::from_secs(10), jitter_percent: 10 };

    /// Whether the interval is over 55 s, so that a proxy or balancer that closes idle connections after 60 s (a common
    /// default) closes these. Worth a warning to whoever configured it.
    pub fn is_slower_than_proxies(&self) -> bool {
        self.interval > Duration::from_secs(55)
    }

    /// The interval less a random part: `random` spreads evenly over its whole range.
    fn jittered(&self, random: u32) -> Duration {
        let early = self.interval.as_nanos() * u128::from(self.jitter_percent.min(Self::MOST_JITTER)) / 100
            * u128::from(random)
            / u128::from(u32::MAX);
        self.interval - Duration::from_nanos(early as u64)
    }
}

/// What a heartbeat asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing yet; ask again at [`Heartbeat::due`].
    Quiet,
    /// Probe the peer now.
    Probe,
    /// The peer did not answer in time.
    Dead,
}

/// The state of one line: 16 bytes.
///
/// The owner keeps when it last heard a byte, tells it on each [`beat`](Self::beat), and calls again when
/// [`due`](Self::due) has come. Hearing a byte costs nothing here: the deadline moves when it is next looked at.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    due: Instant,
    probed: Option<Instant>,
}

impl Heartbeat {
    /// A line that opened at `now`.
    pub fn new(config: &HeartbeatConfig, now: Instant, random: u32) -> Self {
        Self { due: now + config.jittered(random), probed: None }
    }

    /// When [`beat`](Self::beat) wants to be called next. Early where bytes were heard since, never late.
    #[inline]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// When the probe that is still unanswered was sent.
    pub fn probed(&self) -> Option<Instant> {
        self.probed
    }

    /// Notes that the probe was answered and says when it was sent; `None` where none is unanswered.
    pub fn answered(&mut self) -> Option<Instant> {
        self.probed.take()
    }

    /// What to do at `now`, having last heard a byte at `heard`. Called early it does nothing.
    pub fn beat(&mut self, config: &HeartbeatConfig, heard: Instant, now: Instant, random: u32) -> Beat {
        if now < self.due {
            return Beat::Quiet;
        }
        // Deadlines move on by this much at least, so that a caller cannot spin on a deadline of zero.
        const LEAST: Duration = Duration::from_millis(1);
        if let Some(probed) = self.probed {
            if heard < probed {
                let dead = probed + config.deadline.max(LEAST);
                if now >= dead {
                    return Beat::Dead;
                }
                // An answer that is later than an interval must not put the next probe off until then.
                self.due = dead.min(now + config.interval.max(LEAST));
                return Beat::Quiet;
            }
            self.probed = None;
        }
        let next = heard + config.jittered(random).max(LEAST);
        if now < next {
            self.due = next;
            return Beat::Quiet;
        }
        self.probed = Some(now);
        // Looked at again when the next probe would be due, if that is earlier: an answer may have come long before.
        self.due = now + config.deadline.min(config.interval).max(LEAST);
        Beat::Probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: HeartbeatConfig =
        HeartbeatConfig { interval: Duration::from_secs(25), deadline: Duration::from_secs(10), jitter_percent: 0 };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn a_silent_line_is_probed_after_the_interval_and_dead_after_the_deadline() {
        let mut line = Heartbeat::new(&CONFIG, at(0), 0);
        assert_eq!(line.beat(&CONFIG, at(0), at(24), 0), Beat::Quiet);
        assert_eq!(line.beat(&CONFIG, at(0), at(25), 0), Beat::Probe);
        assert_eq!(line.beat(&CONFIG, at(0), at(34), 0), Beat::Quiet);
        assert_eq!(line.beat(&CONFIG, at(0), at(35), 0), Beat::Dead);
    }

    #[test]
    fn any_byte_after_the_probe_counts_as_life() {
        let mut line = Heartbeat::new(&CONFIG, at(0), 0);
        assert_eq!(line.beat(&CONFIG, at(0), at(25), 0), Beat::Probe);
        assert_eq!(line.beat(&CONFIG, at(25), at(35), 0), Beat::Quiet);
        assert_eq!(line.due(), at(50));
        assert_eq!(line.beat(&CONFIG, at(25), at(50), 0), Beat::Probe);
    }

    #[test]
    fn a_probe_is_answered_once() {
        let mut line = Heartbeat::new(&CONFIG, at(0), 0);
        assert_eq!(line.answered(), None);
        assert_eq!(line.beat(&CONFIG, at(0), at(25), 0), Beat::Probe);
        assert_eq!(line.answered(), Some(at(25)));
        assert_eq!(line.answered(), None);
        assert_eq!(line.beat(&CONFIG, at(26), at(35), 0), Beat::Quiet);
        assert_eq!(line.due(), at(51));
    }

    #[test]
    fn an_answer_later_than_an_interval_does_not_delay_the_next_probe_by_the_deadline() {
        let config = HeartbeatConfig { interval: Duration::from_secs(5), deadline: Duration::from_secs(60), ..CONFIG };
        let mut line = Heartbeat::new(&config, at(0), 0);
        assert_eq!(line.beat(&config, at(0), at(5), 0), Beat::Probe);
        assert_eq!(line.beat(&config, at(0), at(10), 0), Beat::Quiet);
        // Heard at 11, and looked at again within an interval.
        assert_eq!(line.due(), at(15));
        assert_eq!(line.beat(&config, at(11), at(15), 0), Beat::Quiet);
        assert_eq!(line.due(), at(16));
        assert_eq!(line.beat(&config, at(11), at(16), 0), Beat::Probe);
    }

    #[test]
    fn a_deadline_longer_than_the_interval_does_not_delay_the_next_probe() {
        let config = HeartbeatConfig { interval: Duration::from_secs(5), deadline: Duration::from_secs(60), ..CONFIG };
        let mut line = Heartbeat::new(&config, at(0), 0);
        assert_eq!(line.beat(&config, at(0), at(5), 0), Beat::Probe);
        assert_eq!(line.beat(&config, at(6), at(10), 0), Beat::Quiet);
        assert_eq!(line.due(), at(11));
        assert_eq!(line.beat(&config, at(6), at(11), 0), Beat::Probe);
        // Unanswered, it is looked at again and given its sixty seconds.
        while line.due() < at(71) {
            assert_eq!(line.beat(&config, at(6), line.due(), 0), Beat::Quiet);
        }
        assert_eq!(line.due(), at(71));
        assert_eq!(line.beat(&config, at(6), at(71), 0), Beat::Dead);
    }

    #[test]
    fn zero_durations_make_no_spin() {
        let config = HeartbeatConfig { interval: Duration::ZERO, deadline: Duration::ZERO, jitter_percent: 0 };
        let mut line = Heartbeat::new(&config, at(0), 0);
        for _ in 0..10 {
            let now = line.due();
            line.beat(&config, now, now, 0);
            assert!(line.due() > now);
        }
    }

    #[test]
    fn a_busy_line_is_never_probed() {
        let mut line = Heartbeat::new(&CONFIG, at(0), 0);
        for second in 1..1000 {
            assert_eq!(line.beat(&CONFIG, at(second - 1), at(second), 0), Beat::Quiet);
        }
    }

    #[test]
    fn the_deadline_always_moves_forward_so_a_caller_cannot_spin() {
        let mut line = Heartbeat::new(&CONFIG, at(0), 0);
        let mut now = at(0);
        for heard in [0, 0, 30, 30, 61, 90, 90] {
            now = line.due().max(now);
            if line.beat(&CONFIG, at(heard).min(now), now, 0) == Beat::Dead {
                return;
            }
            assert!(line.due() > now, "due {:?} at {now:?}", line.due());
        }
    }

    #[test]
    fn jitter_comes_early_never_late_and_fills_its_range() {
        let config = HeartbeatConfig { jitter_percent: 20, ..CONFIG };
        assert_eq!(Heartbeat::new(&config, at(0), 0).due(), at(25));
        assert_eq!(Heartbeat::new(&config, at(0), u32::MAX).due(), at(20));
        let middle = Heartbeat::new(&config, at(0), u32::MAX / 2).due();
        assert!(middle > at(22) && middle < at(23));
    }
}
