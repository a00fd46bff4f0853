//! The hub: topics that remember, on three transports. docs/PROTOCOL.md says what clients may ask; this says what topics do here.
//!
//! | Topics | |
//! |---|---|
//! | any | keep their last events (`--history`) for who comes back; a reader that is too slow is closed, and comes back |
//! | `room/...` | tell who is here: a snapshot, then who joins and leaves |
//! | `latest/...` | conflate: of each slot (`slot`, or else the event type) the latest is kept, and a slow reader skips to it |
//! | `lossy/...` | let a slow reader fall behind: it goes on with what is retained, and is told of the gap |
//! | `server/stats` | the server's figures, conflated: see [`stats`] |
//! | `user:NAME` | that user's own |
//!
//! Who may what is [`gate`](super::gate)'s.

use super::gate::Gate;
use super::stats;
use std::sync::Arc;
use tautline::hub::{HistoryLimits, HubConfig, Keeps, Policies, SlowReader, Tokens, TopicPolicy, WhoIsHere};
use tautline::net::HubSettings;

/// The hub's settings: `events` of each topic are retained, and `gate` says who may what.
pub(crate) fn settings(events: usize, gate: Arc<Gate>) -> HubSettings {
    let history = HistoryLimits { events, ..HistoryLimits::default() };
    let plain = TopicPolicy { history, ..TopicPolicy::default() };
    let conflating = TopicPolicy {
        history: HistoryLimits { keeps: Keeps::LatestPerSlot, ..history },
        slow: SlowReader::FallBehind,
        ..plain
    };
    // However little is retained elsewhere: the latest figures make up for all before.
    let figures = TopicPolicy { history: HistoryLimits { events: 1, ..conflating.history }, ..conflating };
    let policies = Policies::new(plain)
        .with("room/", TopicPolicy { presence: WhoIsHere::Kept, ..plain })
        .with("latest/", conflating)
        .with("lossy/", TopicPolicy { slow: SlowReader::FallBehind, ..plain })
        .with(stats::TOPIC, figures);
    HubSettings { hub: HubConfig { policies, tokens: Tokens::Subprotocol, ..HubConfig::default() }, authority: gate }
}
