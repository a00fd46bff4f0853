//! Settings of workers and servers: checked once, shared by all of them.

use crate::http::upgrade::UpgradeConfig;
use crate::http::{self};
use crate::hub::{Budget, Entry, Pressure, PublishError, SequenceLimits, TopicLimits};
use crate::output::{LAST_ANSWER, Output};
use crate::sse::ServerStreamConfig;
use crate::ws;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::forwarded::TrustedProxies;
use super::hub::HubSettings;
use super::limits::{AcceptRate, PerAddressLimit};

/// How workers treat their connections. Take the default, change what you must, and give it to [`Server`](super::Server) or
/// [`Worker`](super::Worker), which check it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Request heads and bodies, their deadlines, keep-alive.
    pub http: http::ServerConfig,
    /// WebSockets, the server's and, where a connection is not given its own, the client's.
    pub ws: ws::Config,
    /// Event streams.
    pub stream: ServerStreamConfig,
    /// Which requests may become WebSockets.
    pub upgrade: UpgradeConfig,
    /// What may wait for a socket.
    pub queue: QueueConfig,
    /// How many connections, and how fast.
    pub peers: PeerLimits,
    /// Whose word counts on whom a connection is for. Default: nobody's.
    pub proxies: TrustedProxies,
    /// How much one turn of the loop does.
    pub turn: TurnConfig,
    /// Topics of one worker and of one connection.
    pub topics: TopicLimits,
    /// What may be published and not yet delivered by every worker.
    pub sequence: SequenceLimits,
    /// The hub, where there is one: histories, resume, presence, and its endpoints ([`Context::hub`](super::Context::hub)). Without one publications go to
    /// whoever is subscribed at the moment, and that is all. Default: none.
    pub hub: Option<HubSettings>,
    /// What queues, histories and the log may take together. See [`Budget`] for what goes first.
    pub budget: Budget,
    /// How long a connection that is over may take to end its side, so that the last bytes sent to it are not destroyed by a reset (RFC
    /// 9112 section 9.6). Default: 5 s.
    pub linger: Linger,
}

/// How long to wait for the other side's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linger(pub Duration);

impl Default for Linger {
    /// 5 s, the deadline of close handshakes.
    fn default() -> Self {
        Self(Duration::from_secs(5))
    }
}

/// What may wait for one peer's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Bytes. Default [`Output::LIMIT`], 1 MiB and the head of a message of that size. Reading from a peer stops while more than half of
    /// it waits, and goes on below a quarter, so that replies never overflow.
    pub limit: usize,
    /// What happens to a peer that does not take what others send it.
    pub slow: SlowPolicy,
}

impl QueueConfig {
    /// How long a subscriber of the hub's, whose topic has it closed, may take nothing.
    pub(crate) fn stall(&self) -> Duration {
        match self.slow {
            SlowPolicy::Close { after } => after,
            SlowPolicy::Drop => STALL,
        }
    }
}

/// After so long without a byte taken a reader counts as stuck.
const STALL: Duration = Duration::from_secs(5);

impl Default for QueueConfig {
    fn default() -> Self {
        Self { limit: Output::LIMIT, slow: SlowPolicy::Close { after: STALL } }
    }
}

/// What happens to a peer that does not take what others send it (publications, broadcasts, [`Context::send_to`](super::Context::send_to)). Its
/// own replies never meet this: reading from it pauses instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowPolicy {
    /// Close with 1013 when the socket took nothing for so long while messages of others waited, or at once when another one does not fit.
    Close {
        /// Default 5 s.
        after: Duration,
    },
    /// Drop what does not fit, count it, and tell the handler ([`Handler::lost`](super::Handler::lost)) when the queue is empty again.
    Drop,
}

/// How many connections a worker takes, and how fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerLimits {
    /// Connections of a worker; what comes beyond is closed at once. Default: no limit but that of open files.
    pub most: Option<u32>,
    /// Connections of one IP address, over all workers. Default: off. The address is the socket's, or, on a connection of one of
    /// [`Config::proxies`], that of the client which the proxy names; there it is his
    /// for the length of a request (or of the WebSocket, event stream or hold that it becomes), and a request too many is answered with 429.
    pub per_address: Option<PerAddressLimit>,
    /// Connections accepted per second. Default: off. What comes faster waits in the backlog.
    pub accept_rate: Option<AcceptRate>,
}

/// How much one turn of the loop does for each cause, so that nothing starves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnConfig {
    /// Bytes of the worker's read buffer. Default 64 KiB: a larger one leaves the cache before it is handled (measured: 256 KiB is no
    /// better).
    pub read_buffer: usize,
    /// Bytes read from one peer before others have their turn. Default 256 KiB.
    pub bytes_per_peer: usize,
    /// Connections accepted in a row. Default 64.
    pub accepts: usize,
    /// Deadlines handled in a row; thousands that fall due together are spread over turns. Default 256: with a ping each about a
    /// millisecond.
    pub timers: usize,
}

impl Default for TurnConfig {
    fn default() -> Self {
        Self { read_buffer: 64 << 10, bytes_per_peer: 256 << 10, accepts: 64, timers: 256 }
    }
}

/// How a drain goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainConfig {
    /// The time over which the connections are let go, evenly. Default 30 s.
    pub over: Duration,
    /// The close code of WebSockets. Default 1012, service restart; 1001 where the server is not coming back.
    pub code: ws::CloseCode,
    /// How long after `over` the last ones may take to close. What is still there then is cut off. Default 5 s.
    pub grace: Duration,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { over: Duration::from_secs(30), code: ws::CloseCode::RESTART, grace: Duration::from_secs(5) }
    }
}

/// What is wrong with a [`Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// In the settings of WebSockets.
    Ws(ws::ConfigError),
    /// There is a hub, and WebSockets have no heartbeat: its clients could not tell a silent line from a dead one.
    HubHeartbeat,
    /// The queue is too short for a last answer.
    Queue {
        /// The least that it may be.
        least: usize,
    },
    /// The read buffer cannot hold the head of a frame, or a turn does nothing.
    Turn,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ws(error) => error.fmt(f),
            Self::HubHeartbeat => f.write_str("a hub needs `ws.heartbeat`"),
            Self::Queue { least } => write!(f, "`queue.limit` is under {least} bytes"),
            Self::Turn => f.write_str("`turn.read_buffer` is under 512 bytes, or a count of `turn` is zero"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The settings as connections share them.
pub(crate) struct Settings {
    pub(crate) http: Arc<http::ServerConfig>,
    pub(crate) ws: Arc<ws::Config>,
    pub(crate) stream: ServerStreamConfig,
    pub(crate) upgrade: UpgradeConfig,
    pub(crate) queue: QueueConfig,
    pub(crate) peers: PeerLimits,
    pub(crate) proxies: TrustedProxies,
    pub(crate) turn: TurnConfig,
    pub(crate) topics: TopicLimits,
    pub(crate) budget: Budget,
    pub(crate) linger: Duration,
}

impl Settings {
    /// Whether anything may be published.
    pub(crate) fn check_pressure(&self, pressure: Pressure) -> Result<(), PublishError> {
        match pressure {
            Pressure::Queues => Err(PublishError::Budget { limit: self.budget.bytes }),
            Pressure::None | Pressure::Histories(_) => Ok(()),
        }
    }

    /// Whether an event's block fits a queue, with what is around it.
    pub(crate) fn check_length(&self, entry: &Entry) -> Result<(), PublishError> {
        let limit = self.queue.limit.saturating_sub(LAST_ANSWER);
        if entry.block_len() > limit { Err(PublishError::TooLong { limit }) } else { Ok(()) }
    }
}

impl Config {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.ws.check().map_err(ConfigError::Ws)?;
        if self.hub.is_some() && self.ws.heartbeat.is_none() {
            return Err(ConfigError::HubHeartbeat);
        }
        // Twice the last answer, so that half of the queue is something.
        let least = 2 * LAST_ANSWER;
        if self.queue.limit < least {
            return Err(ConfigError::Queue { least });
        }
        let TurnConfig { read_buffer, bytes_per_peer, accepts, timers } = self.turn;
        if read_buffer < 512 || bytes_per_peer == 0 || accepts == 0 || timers == 0 {
            return Err(ConfigError::Turn);
        }
        Ok(())
    }

    pub(crate) fn settle(&self) -> Result<Arc<Settings>, ConfigError> {
        self.check()?;
        Ok(Arc::new(Settings {
            http: Arc::new(self.http),
            ws: Arc::new(self.ws),
            stream: self.stream,
            upgrade: self.upgrade.clone(),
            queue: self.queue,
            peers: self.peers,
            proxies: self.proxies.clone(),
            turn: self.turn,
            topics: self.topics,
            budget: self.budget,
            linger: self.linger.0,
        }))
    }
}
