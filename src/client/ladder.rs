//! Which transport to use: down a rung after failures, up again after a cool-down.

use crate::time::Instant;
use core::fmt;
use core::time::Duration;

/// A way to get events, from the best to the one that works everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// A WebSocket with the subprotocol `tautline`.
    WebSocket,
    /// Server-Sent Events, with POSTs for the way up.
    EventStream,
    /// Long polls, with POSTs for the way up.
    LongPoll,
}

impl Transport {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::EventStream, Self::LongPoll];

    const fn bit(self) -> u8 {
        match self {
            Self::WebSocket => 1,
            Self::EventStream => 2,
            Self::LongPoll => 4,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::WebSocket => "websocket",
            Self::EventStream => "event stream",
            Self::LongPoll => "long poll",
        })
    }
}

/// A set of transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transports(u8);

impl Transports {
    /// Every transport.
    pub const ALL: Self = Self(7);

    /// This one alone.
    #[must_use]
    pub const fn only(transport: Transport) -> Self {
        Self(transport.bit())
    }

    /// Without this one.
    #[must_use]
    pub const fn without(self, transport: Transport) -> Self {
        Self(self.0 & !transport.bit())
    }

    /// Whether it is among them.
    pub const fn contains(self, transport: Transport) -> bool {
        self.0 & transport.bit() != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Default for Transports {
    fn default() -> Self {
        Self::ALL
    }
}

/// When to change the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LadderConfig {
    /// Useless connections in a row after which the next transport is tried. Default 3.
    pub failures: u8,
    /// From a fall to the first attempt to get up again. Default 60 s; doubled by each attempt that fails, and up to a quarter of it
    /// less at random, so that clients that fell together do not climb together.
    pub cool_down: Duration,
    /// The longest cool-down. Default 10 min.
    pub longest_cool_down: Duration,
}

impl Default for LadderConfig {
    fn default() -> Self {
        Self { failures: 3, cool_down: Duration::from_secs(60), longest_cool_down: Duration::from_secs(600) }
    }
}

/// The least cool-down, whatever is configured: each attempt costs a connection.
const LEAST_COOL_DOWN: Duration = Duration::from_secs(1);

/// The transport in use, and what is known against it.
///
/// ```text
///   WebSocket ──▶ EventStream ──▶ LongPoll      down: `failures` useless connections in a row, or one that cannot work
///       ◀────────────◀───────────────          up: a trial that attached, at the earliest after the cool-down
/// ```
#[derive(Clone, Debug)]
pub(super) struct Ladder {
    config: LadderConfig,
    enabled: Transports,
    rung: Transport,
    useless: u8,
    cool_down: Duration,
    /// When to try a better transport; `None` on the best one.
    climb_at: Option<Instant>,
    /// The transport that was left for the present one by climbing, until the present one has proven useful.
    came_from: Option<Transport>,
}

impl Ladder {
    /// On the best of the enabled transports; of none enabled it is the last resort.
    pub(super) fn new(config: LadderConfig, enabled: Transports) -> Self {
        let enabled = if enabled.is_empty() { Transports::only(Transport::LongPoll) } else { enabled };
        let rung = Transport::ALL.into_iter().find(|t| enabled.contains(*t)).unwrap_or(Transport::LongPoll);
        let cool_down = config.cool_down.max(LEAST_COOL_DOWN);
        Self { config, enabled, rung, useless: 0, cool_down, climb_at: None, came_from: None }
    }

    pub(super) fn rung(&self) -> Transport {
        self.rung
    }

    /// The next transport below the present one.
    pub(super) fn below(&self) -> Option<Transport> {
        Transport::ALL.into_iter().find(|t| *t > self.rung && self.enabled.contains(*t))
    }

    /// The connection was of use: nothing is held against its transport any more.
    pub(super) fn useful(&mut self) {
        self.useless = 0;
        if self.came_from.take().is_some() {
            self.cool_down = self.config.cool_down.max(LEAST_COOL_DOWN);
        }
    }

    /// A connection was of no use. Whether that leads to another transport.
    pub(super) fn useless(&mut self, now: Instant, random: u64) -> bool {
        self.useless = self.useless.saturating_add(1);
        if self.came_from.is_some() || self.useless >= self.config.failures.max(1) {
            return self.fall(now, random);
        }
        false
    }

    /// This transport cannot work here. Whether there is another one below.
    pub(super) fn fall(&mut self, now: Instant, random: u64) -> bool {
        let to = match self.came_from.take() {
            Some(former) => {
                self.lengthen();
                Some(former)
            }
            None => self.below(),
        };
        let Some(to) = to else { return false };
        self.rung = to;
        self.useless = 0;
        self.climb_at = Some(now + self.cooling(random));
        true
    }

    /// When a better transport is to be tried.
    pub(super) fn climb_at(&self) -> Option<Instant> {
        self.climb_at
    }

    /// The transport to try first where that is due, and the one to try after `failed`: from the best to the one above the present.
    pub(super) fn candidate(&self, failed: Option<Transport>) -> Option<Transport> {
        Transport::ALL
            .into_iter()
            .find(|t| *t < self.rung && failed.is_none_or(|failed| *t > failed) && self.enabled.contains(*t))
    }

    /// No better transport works yet.
    pub(super) fn climb_failed(&mut self, now: Instant, random: u64) {
        self.lengthen();
        self.climb_at = Some(now + self.cooling(random));
    }

    /// A better transport attached: it is the one in use from now on.
    pub(super) fn climbed(&mut self, to: Transport, now: Instant, random: u64) {
        self.came_from = Some(self.rung);
        self.rung = to;
        self.useless = 0;
        self.climb_at = self.candidate(None).map(|_| now + self.cooling(random));
    }

    fn lengthen(&mut self) {
        let longest = self.config.longest_cool_down.max(self.config.cool_down).max(LEAST_COOL_DOWN);
        self.cool_down = self.cool_down.saturating_mul(2).min(longest);
    }

    /// The cool-down, less up to a quarter.
    fn cooling(&self, random: u64) -> Duration {
        let nanos = self.cool_down.as_nanos();
        let less = (nanos / 4 * u128::from(random)) >> 64;
        Duration::from_nanos(u64::try_from(nanos - less).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ORIGIN;

    fn after(seconds: u64) -> Instant {
        NOW + Duration::from_secs(seconds)
    }

    #[test]
    fn three_useless_connections_in_a_row_lead_down_and_a_useful_one_forgives() {
        let mut ladder = Ladder::new(LadderConfig::default(), Transports::ALL);
        assert!(!ladder.useless(NOW, 0) && !ladder.useless(NOW, 0));
        ladder.useful();
        assert!(!ladder.useless(NOW, 0) && !ladder.useless(NOW, 0));
        assert_eq!(ladder.rung(), Transport::WebSocket);
        assert!(ladder.useless(NOW, 0));
        assert_eq!(ladder.rung(), Transport::EventStream);
        for _ in 0..2 {
            assert!(!ladder.useless(NOW, 0));
        }
        assert!(ladder.useless(NOW, 0));
        assert_eq!(ladder.rung(), Transport::LongPoll);
        for _ in 0..100 {
            assert!(!ladder.useless(NOW, 0));
        }
        assert_eq!(ladder.rung(), Transport::LongPoll);
    }

    #[test]
    fn cool_downs_are_60_120_240_480_600_600_seconds_and_start_over_after_a_success() {
        let mut ladder = Ladder::new(LadderConfig::default(), Transports::ALL);
        ladder.fall(NOW, 0);
        for seconds in [60, 120, 240, 480, 600, 600] {
            assert_eq!(ladder.climb_at(), Some(after(seconds)));
            ladder.climb_failed(NOW, 0);
        }
        ladder.climbed(Transport::WebSocket, NOW, 0);
        assert_eq!(ladder.climb_at(), None);
        ladder.useful();
        ladder.fall(NOW, 0);
        assert_eq!(ladder.climb_at(), Some(after(60)));
    }

    #[test]
    fn jitter_makes_a_cool_down_shorter_by_a_quarter_at_most() {
        let mut ladder = Ladder::new(LadderConfig::default(), Transports::ALL);
        ladder.fall(NOW, u64::MAX);
        let at = ladder.climb_at().unwrap();
        assert!(at > after(44) && at <= after(46), "{at:?}");
    }

    #[test]
    fn a_better_transport_that_was_climbed_to_for_nothing_is_left_at_once_for_where_it_came_from() {
        let mut ladder = Ladder::new(LadderConfig::default(), Transports::ALL);
        ladder.fall(NOW, 0);
        ladder.fall(NOW, 0);
        ladder.climbed(Transport::WebSocket, NOW, 0);
        assert!(ladder.useless(NOW, 0));
        assert_eq!(ladder.rung(), Transport::LongPoll);
        assert_eq!(ladder.climb_at(), Some(after(120)));
    }

    #[test]
    fn candidates_go_from_the_best_to_the_one_above_and_leave_out_what_is_disabled() {
        let mut ladder = Ladder::new(LadderConfig::default(), Transports::ALL);
        assert_eq!(ladder.candidate(None), None);
        ladder.fall(NOW, 0);
        ladder.fall(NOW, 0);
        assert_eq!(ladder.candidate(None), Some(Transport::WebSocket));
        assert_eq!(ladder.candidate(Some(Transport::WebSocket)), Some(Transport::EventStream));
        assert_eq!(ladder.candidate(Some(Transport::EventStream)), None);
        let mut two = Ladder::new(LadderConfig::default(), Transports::ALL.without(Transport::EventStream));
        two.fall(NOW, 0);
        assert_eq!(two.rung(), Transport::LongPoll);
        assert_eq!(two.candidate(Some(Transport::WebSocket)), None);
    }

    #[test]
    fn without_any_transport_it_is_the_last_resort() {
        let none = Transports::only(Transport::WebSocket).without(Transport::WebSocket);
        assert_eq!(Ladder::new(LadderConfig::default(), none).rung(), Transport::LongPoll);
    }
}
