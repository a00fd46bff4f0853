//! Letting go of all connections in order, spread evenly over a time.

use super::serve::Cause;
use super::{Life, Worker};
use crate::net::config::DrainConfig;
use crate::net::handler::Handler;
use crate::time::Instant;
use std::vec::Vec;

/// A drain that goes on.
pub(super) struct Drain {
    config: DrainConfig,
    began: Instant,
    /// Who is to be let go, in the order of their slots, which is no order of anything: the index and the generation.
    peers: Vec<(u32, u32)>,
    done: usize,
}

impl Drain {
    /// When the next one is due, or the end.
    pub(super) fn poll_timeout(&self) -> Instant {
        match self.peers.len() {
            total if self.done < total => self.began + self.config.over.mul_f64(self.done as f64 / total as f64),
            _ => self.ends(),
        }
    }

    fn ends(&self) -> Instant {
        self.began + self.config.over + self.config.grace
    }
}

impl<H: Handler> Worker<H> {
    pub(super) fn start_drain(&mut self, config: DrainConfig) {
        if self.drain.is_some() {
            return;
        }
        // First of all nobody new.
        self.acceptors.clear();
        self.core.draining = true;
        let indices: Vec<u32> = self.peers.iter_indices().collect();
        let peers = indices.into_iter().filter_map(|index| Some((index, self.peers.get(index)?.generation))).collect();
        self.drain = Some(Drain { config, began: self.core.now, peers, done: 0 });
    }

    pub(super) fn advance_drain(&mut self) {
        let now = self.core.now;
        loop {
            let Some(drain) = &mut self.drain else { return };
            if self.peers.is_empty() {
                self.life = Life::Over;
                return;
            }
            if now < drain.poll_timeout() {
                return;
            }
            let Some(&(index, generation)) = drain.peers.get(drain.done) else { break };
            drain.done += 1;
            let code = drain.config.code;
            if self.peers.get_if(index, generation).is_some() {
                self.serve(index, Cause::Drain(code));
            }
        }
        // The last ones had their time.
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn q10_connections_are_let_go_evenly_over_the_drain_time_and_the_last_ones_have_the_grace() {
        let config =
            DrainConfig { over: Duration::from_secs(30), grace: Duration::from_secs(5), ..DrainConfig::default() };
        let began = Instant::from_millis(1000);
        let mut drain = Drain { config, began, peers: (0..20_000).map(|index| (index, 1)).collect(), done: 0 };
        for number in 0..20_000 {
            drain.done = number;
            let due = drain.poll_timeout().saturating_duration_since(began).as_micros() as u64;
            assert!(due.abs_diff(number as u64 * 1500) <= 1, "number {number} is due after {due} us");
        }
        drain.done = 20_000;
        assert_eq!(drain.poll_timeout(), began + Duration::from_secs(35));
    }
}
