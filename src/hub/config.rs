//! Settings of a hub: what topics keep and do, and its limits.

use crate::hub::history::HistoryLimits;
use crate::hub::keys::KeysLimits;
use crate::hub::presence::PresenceLimits;
use crate::hub::publication::Compressing;
use crate::hub::rate::RateLimit;
use crate::hub::retained::RetainedLimits;
use crate::poll::PollConfig;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

/// What a topic does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicPolicy {
    /// How much it keeps for those who come back, and whether a slot's newer event replaces the older.
    pub history: HistoryLimits,
    /// What happens to a subscriber that does not take its events.
    pub slow: SlowReader,
    /// Whether it keeps who is here.
    pub presence: WhoIsHere,
    /// Whether connections may compress what it carries.
    pub compressing: Compressing,
}

/// What happens to a subscriber whose queue has no room for an event of the topic. Heartbeats and replies count in the queue, too, and
/// never pile up. Ephemeral events are dropped before any of this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowReader {
    /// Its connection is closed: 1013, or the end of the stream.
    #[default]
    Close,
    /// It falls behind: its queue gets nothing more until it has emptied; then it goes on with what the topic still retains, the oldest
    /// being dropped with a gap notice. In a topic that conflates ([`Keeps::LatestPerSlot`](super::Keeps::LatestPerSlot)) that is the latest of each slot, without a gap.
    FallBehind,
}

/// Whether a topic keeps who is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhoIsHere {
    /// It does not. The default: each join and leave goes to every subscriber.
    #[default]
    Unknown,
    /// It does: a snapshot for who attaches, then who joins and leaves.
    Kept,
}

/// Which topic has which policy: the longest prefix that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    otherwise: TopicPolicy,
    /// Longest prefixes first.
    prefixes: Vec<(Box<str>, TopicPolicy)>,
}

impl Policies {
    /// The same for every topic.
    pub const fn new(policy: TopicPolicy) -> Self {
        Self { otherwise: policy, prefixes: Vec::new() }
    }

    /// And another for topics whose names begin with `prefix`. A second one of the same prefix replaces the first.
    #[must_use]
    pub fn with(mut self, prefix: &str, policy: TopicPolicy) -> Self {
        self.prefixes.retain(|(known, _)| **known != *prefix);
        let at = self.prefixes.partition_point(|(known, _)| known.len() >= prefix.len());
        self.prefixes.insert(at, (prefix.into(), policy));
        self
    }

    /// The policy of a topic. O(prefixes).
    pub fn of(&self, topic: &str) -> &TopicPolicy {
        let found = self.prefixes.iter().find(|(prefix, _)| topic.starts_with(&**prefix));
        found.map_or(&self.otherwise, |(_, policy)| policy)
    }
}

/// Where a token may be. What is not enabled is not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tokens {
    /// In a cookie, in `Authorization`, or in the first message of a WebSocket.
    #[default]
    Headers,
    /// In the query, too: it ends up in the logs of whatever is in between.
    Query,
    /// In an offered subprotocol `tautline.token.TOKEN`, too, which is never echoed.
    Subprotocol,
    /// In any of these.
    Anywhere,
}

impl Tokens {
    /// Whether the query may have one.
    pub const fn in_query(self) -> bool {
        matches!(self, Self::Query | Self::Anywhere)
    }

    /// Whether a subprotocol may be one.
    pub const fn in_subprotocol(self) -> bool {
        matches!(self, Self::Subprotocol | Self::Anywhere)
    }
}

/// How a hub behaves. Every value is a valid one.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// What topics keep and do.
    pub policies: Policies,
    /// What all histories together may take.
    pub retained: RetainedLimits,
    /// Commands of one connection, publications among them.
    pub rate: RateLimit,
    /// For how long a publication's key is remembered, and how many.
    pub keys: KeysLimits,
    /// Who is here: grace and counts.
    pub presence: PresenceLimits,
    /// Holds and batches of long polls.
    pub poll: PollConfig,
    /// When what was sent for acknowledgement and not acknowledged is sent again. Default 30 s.
    pub acknowledge_within: Duration,
    /// Where a token may be, besides a cookie, `Authorization` and a first message.
    pub tokens: Tokens,
    /// For how long the token of a first message is waited for. Default 5 s.
    pub token_within: Duration,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            policies: Policies::default(),
            retained: RetainedLimits::default(),
            rate: RateLimit::default(),
            keys: KeysLimits::default(),
            presence: PresenceLimits::default(),
            poll: PollConfig::default(),
            acknowledge_within: Duration::from_secs(30),
            tokens: Tokens::Headers,
            token_within: Duration::from_secs(5),
        }
    }
}
