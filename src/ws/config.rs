//! Settings of a connection: checked once, shared by `Arc` among any number of connections.

#[cfg(feature = "deflate")]
use super::deflate::{DeflateConfig, DeflateConfigError};
use crate::heartbeat::HeartbeatConfig;
use core::fmt;
use core::time::Duration;

/// How a connection behaves. Build one from the default (`Config { idle, ..Config::DEFAULT }`), [`check`](Self::check) it, share it. One
/// that was not checked is no danger: at worst it forbids everything, or ends every connection at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the peer may send.
    pub limits: Limits,
    /// Whole messages or their pieces.
    pub delivery: Delivery,
    /// Who answers pings and Close frames.
    pub replies: Replies,
    /// Pings to a silent peer. Default: 25 s, answered within 10 s. `None`: no pings.
    pub heartbeat: Option<HeartbeatConfig>,
    /// Close with 1001 when the peer sent no message for so long; pings and pongs do not count. Default: never.
    pub idle: Option<Duration>,
    /// How long the peer may take to answer a Close frame. Default 5 s.
    pub close_timeout: Duration,
    /// What a server grants to clients that offer permessage-deflate (RFC 7692). Default: nothing. A client offers by
    /// [`HandshakeConfig::deflate`](super::HandshakeConfig::deflate).
    #[cfg(feature = "deflate")]
    pub deflate: Option<DeflateConfig>,
}

impl Config {
    /// The default settings.
    pub const DEFAULT: Self = Self {
        limits: Limits::DEFAULT,
        delivery: Delivery::Messages,
        replies: Replies::Automatic,
        heartbeat: Some(HeartbeatConfig::DEFAULT),
        idle: None,
        close_timeout: Duration::from_secs(5),
        #[cfg(feature = "deflate")]
        deflate: None,
    };

    /// These settings if they make sense together, else what is wrong with them.
    pub fn check(self) -> Result<Self, ConfigError> {
        let Limits { message, frame, fragments, control_rate, control_burst } = self.limits;
        if frame > message {
            return Err(ConfigError::FrameOverMessage);
        }
        if fragments == 0 || control_rate == 0 || control_burst == 0 {
            return Err(ConfigError::ZeroLimit);
        }
        if let Some(heartbeat) = self.heartbeat {
            if heartbeat.interval.is_zero() || heartbeat.deadline.is_zero() {
                return Err(ConfigError::ZeroDuration);
            }
            if heartbeat.jitter_percent > HeartbeatConfig::MOST_JITTER {
                return Err(ConfigError::Jitter);
            }
        }
        if self.close_timeout.is_zero() || self.idle.is_some_and(|idle| idle.is_zero()) {
            return Err(ConfigError::ZeroDuration);
        }
        #[cfg(feature = "deflate")]
        if let Some(Err(error)) = self.deflate.map(DeflateConfig::check) {
            return Err(ConfigError::Deflate(error));
        }
        Ok(self)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What the peer may send. Nothing is ever reserved on an announced length, so a limit costs nothing until it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message, of a compressed one as it came and decompressed. Default 1 MiB.
    pub message: u64,
    /// Bytes of a frame's payload. Default 1 MiB; at most `message`.
    pub frame: u64,
    /// Frames of a message. Default 1,024: frames of one byte or none cost work, not memory.
    pub fragments: u32,
    /// Control frames per second, on average. Default 1,000.
    pub control_rate: u32,
    /// Control frames at once. Default 1,000. Replies are bounded by this, too: one read causes
    /// no more of them, and once the socket blocks a single pong waits.
    pub control_burst: u32,
}

impl Limits {
    /// The default limits.
    pub const DEFAULT: Self =
        Self { message: 1 << 20, frame: 1 << 20, fragments: 1024, control_rate: 1000, control_burst: 1000 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How data reaches the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// As whole messages ([`Event::Text`](super::Event::Text), [`Event::Binary`](super::Event::Binary)). One that spans frames or
    /// reads is assembled.
    Messages,
    /// As pieces, as they arrive ([`Event::Chunk`](super::Event::Chunk)). Nothing is kept; for proxies and streams.
    Chunks,
}

/// Who answers the peer's pings and Close frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replies {
    /// The connection, at once.
    Automatic,
    /// The application, by [`pong`](super::Connection::pong) and [`close`](super::Connection::close).
    Manual,
}

/// What is wrong with a [`Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// `limits.frame` is larger than `limits.message`.
    FrameOverMessage,
    /// A limit is zero that would forbid everything.
    ZeroLimit,
    /// A duration is zero.
    ZeroDuration,
    /// More than 50 percent of jitter.
    Jitter,
    /// `deflate` is wrong.
    #[cfg(feature = "deflate")]
    Deflate(DeflateConfigError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FrameOverMessage => "`limits.frame` is larger than `limits.message`",
            Self::ZeroLimit => "`fragments`, `control_rate` and `control_burst` must be at least 1",
            Self::ZeroDuration => "a duration is zero",
            Self::Jitter => "`heartbeat.jitter_percent` is over 50",
            #[cfg(feature = "deflate")]
            Self::Deflate(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for ConfigError {}
