//! A connection that owes an answer and nothing else, or nothing at all, in a few bytes.

use super::{Answer, Expectation, Method, Persistence, Phase, Server, ServerConfig};
use crate::http::body::BodyReader;
use crate::http::head::{Framing, RequestReader, Version};
use crate::time::Instant;
use alloc::sync::Arc;

/// What has to be known of a [`Server`] while its request waits for an answer: a held request may wait for long, and there may be many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspended {
    persistence: Persistence,
    version: Version,
    method: Method,
}

impl Server {
    /// What is needed to go on with this connection by [`resume`](Self::resume). `None` where that is more than a few bytes: it owes no answer, or
    /// some of the request, or of another, is still to be dealt with.
    pub fn suspend(&self) -> Option<Suspended> {
        let waits = self.phase == Phase::Answer
            && self.answer == Answer::Owed
            && self.deadline.is_none()
            && self.expectation == Expectation::None
            && !self.head.is_half_received();
        let Self { persistence, version, method, .. } = *self;
        waits.then_some(Suspended { persistence, version, method })
    }

    /// Until when this connection waits for its next request, if that is all it does: [`idle`](Self::idle) goes on with it.
    pub fn idle_until(&self) -> Option<Instant> {
        let waits = self.phase == Phase::Idle && self.persistence == Persistence::Keep && !self.head.is_half_received();
        self.deadline.filter(|_| waits)
    }

    /// A connection between two requests, as it was, with the same settings.
    pub fn idle(config: Arc<ServerConfig>, until: Instant) -> Self {
        let fresh = Self::new(config, Instant::ORIGIN);
        Self { phase: Phase::Idle, deadline: Some(until), ..fresh }
    }

    /// The connection as it was, with the same settings.
    pub fn resume(config: Arc<ServerConfig>, suspended: Suspended) -> Self {
        let Suspended { persistence, version, method } = suspended;
        let fresh = Self::new(config, Instant::ORIGIN);
        Self {
            head: RequestReader::new(),
            body: BodyReader::lenient(Framing::None, 0),
            deadline: None,
            phase: Phase::Answer,
            answer: Answer::Owed,
            persistence,
            version,
            method,
            ..fresh
        }
    }
}
