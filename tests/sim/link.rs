//! A connection's two directions, and what can happen to it.

use super::sim::{Line, Pipe, Rng};
use std::time::Duration;
use tautline::Instant;

/// A connection between a client and the hub. Connections know nothing of each other, so what goes over two of them arrives in any order.
pub(crate) struct Link {
    /// From the client.
    pub(crate) up: Pipe,
    /// To the client.
    pub(crate) down: Pipe,
}

impl Link {
    pub(crate) fn random(rng: &mut Rng, now: Instant) -> Self {
        let mut line = || {
            let capacity = [600, 4_000, 20_000, 200_000][rng.below(4)];
            let piece = [50, 500, 1_460, 65_536][rng.below(4)].max(capacity / 20);
            let delay = if rng.chance(20) { rng.millis(100, 900) } else { rng.millis(0, 80) };
            Line { delay, capacity, piece }
        };
        Self { up: Pipe::new(line(), now), down: Pipe::new(line(), now) }
    }

    pub(crate) fn set_now(&mut self, now: Instant) {
        (self.up.now, self.down.now) = (now, now);
    }

    /// It breaks: what is on its way is lost, and each side hears of it in its own time.
    pub(crate) fn cut(&mut self, client: Duration, server: Duration) {
        let now = self.up.now;
        self.down.cut(now + client);
        self.up.cut(now + server);
    }

    /// Nothing comes down for so long.
    pub(crate) fn stall_down(&mut self, duration: Duration) {
        self.down.stalled = self.down.stalled.max(self.down.now + duration);
    }

    /// Nothing goes up for so long.
    pub(crate) fn stall_up(&mut self, duration: Duration) {
        self.up.stalled = self.up.stalled.max(self.up.now + duration);
    }

    /// What was slow is not any more.
    pub(crate) fn heal(&mut self) {
        (self.up.stalled, self.down.stalled) = (self.up.now, self.down.now);
        for pipe in [&mut self.up, &mut self.down] {
            pipe.line.capacity = pipe.line.capacity.max(100_000);
            pipe.line.piece = pipe.line.piece.max(50_000);
            pipe.line.delay = pipe.line.delay.min(Duration::from_millis(80));
        }
    }
}
