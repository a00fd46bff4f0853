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
