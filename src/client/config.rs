//! Settings of a session.

use super::ladder::{LadderConfig, Transports};
use super::outgoing::QueueLimits;
use crate::backoff::BackoffConfig;
use crate::http::url::{Url, UrlError};
use crate::http::{ClientConfig, Request, RequestError};
use crate::sse;
use crate::ws::{self, Delivery, HandshakeConfig, HandshakeConfigError};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// The subprotocol of the hub.
pub(super) const SUBPROTOCOL: &str = "tautline";

/// The longest that a base path may be: what is behind it takes some 7,000 bytes at most.
const MAX_BASE: usize = 900;

/// Longer than any connection: deadlines that the session itself keeps.
const NEVER: Duration = Duration::from_secs(1 << 32);

/// How a session behaves. Build one from the default, [`check`](Self::check) it with its URL, share it.
#[derive(Clone)]
pub struct SessionConfig {
    /// What may be used. Default: all of them.
    pub transports: Transports,
    /// When another transport is tried.
    pub ladder: LadderConfig,
    /// Reconnect delays.
    pub backoff: BackoffConfig,
    /// Whether what is received is acknowledged. Default: no.
    pub acknowledge: Acknowledge,
    /// Acknowledgements: at most one for so many events. Default 32.
    pub acknowledge_events: u32,
    /// Acknowledgements: an event waits at most so long for its. Default 1 s, far below the server's 30 s.
    pub acknowledge_delay: Duration,
    /// How long a connection may take to stand. Default 10 s.
    pub connect: Duration,
    /// How long it may take from there to the first block. Default 10 s. A proxy that holds an event stream back is found out by this.
    pub probe: Duration,
    /// The longest time between two blocks, until the server says it. Default 25 s.
    pub heartbeat: Duration,
    /// How long a poll asks to be held, in whole seconds: 1 to 55. Default 25 s.
    pub poll: Duration,
    /// What may wait to be published.
    pub queue: QueueLimits,
    /// How long an event may be.
    pub limits: sse::Limits,
    /// Header fields of each request: credentials, say. `Authorization` goes before the URL's user info.
    pub headers: Vec<(String, String)>,
    /// A token that is sent as the first message of each WebSocket (`tautline.token`), by which the server is to know the client whatever
    /// the request says. Other requests have `headers`. Default: none.
    pub token: Option<String>,
}

/// Whether received events are acknowledged (`ack=1`), and by whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledge {
    /// No: what was sent counts as received.
    #[default]
    Never,
    /// By the session, once the caller has come back for the next event.
    Automatic,
    /// By the caller: [`Session::ack`](super::Session::ack).
    ByCaller,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            transports: Transports::ALL,
            ladder: LadderConfig::default(),
            backoff: BackoffConfig::default(),
            acknowledge: Acknowledge::Never,
            acknowledge_events: 32,
            acknowledge_delay: Duration::from_secs(1),
            connect: Duration::from_secs(10),
            probe: Duration::from_secs(10),
            heartbeat: Duration::from_secs(25),
            poll: Duration::from_secs(25),
            queue: QueueLimits::default(),
            limits: sse::Limits::default(),
            headers: Vec::new(),
            token: None,
        }
    }
}

impl fmt::Debug for SessionConfig {
    /// Without the values of headers and without the token: they are credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("SessionConfig")
            .field("transports", &self.transports)
            .field("backoff", &self.backoff)
            .field("acknowledge", &self.acknowledge)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

impl SessionConfig {
    /// These settings for the hub at `base` (`http`, `https`, `ws` or `wss`; its query is dropped), if all of it can be sent.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn check(self, base: &Url) -> Result<Arc<Endpoint>, SessionConfigError> {
        if self.transports.is_empty() {
            return Err(SessionConfigError::NoTransport);
        }
        if [self.connect, self.probe, self.heartbeat].iter().any(Duration::is_zero) {
            return Err(SessionConfigError::ZeroDuration);
        }
        if !(1..=55).contains(&self.poll.as_secs()) || self.poll.subsec_nanos() != 0 {
            return Err(SessionConfigError::Poll);
        }
        if let Some(token) = &self.token
            && (token.is_empty() || token.bytes().any(|byte| byte.is_ascii_control()))
        {
            return Err(SessionConfigError::Token);
        }
        let path = base.path().trim_end_matches('/');
        if path.len() + base.authority().len() > MAX_BASE {
            return Err(SessionConfigError::LongUrl { limit: MAX_BASE });
        }
        let (web, http) = if base.scheme().is_secure() { ("wss", "https") } else { ("ws", "http") };
        let authority = base.authority();
        let web = format!("{web}://{authority}{path}");
        let parse = |text: &str| Url::parse(text).map_err(SessionConfigError::Url);
        let (web_url, url) = (parse(&format!("{web}/ws"))?, parse(&format!("{http}://{authority}{path}/"))?);

        let mut headers = self.headers.clone();
        if let Some(basic) = base.basic_authorization()
            && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        {
            headers.push((String::from("Authorization"), basic));
        }
        let fields: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Request::new("GET", url.target(), url.authority())
            .headers(&fields)
            .check()
            .map_err(SessionConfigError::Request)?;
        let protocols = [SUBPROTOCOL.to_string()].to_vec();
        let handshake =
            HandshakeConfig { headers: headers.clone(), protocols, timeout: NEVER, ..HandshakeConfig::default() };
        let handshake = handshake.check().map_err(SessionConfigError::Handshake)?;
        crate::ws::ClientHandshake::new(&web_url, Arc::new(handshake.clone()), [0; 16], crate::Instant::ORIGIN)
            .map_err(SessionConfigError::Handshake)?;

        // An event goes alone in a message or an answer where it is long; its lines take their names on the way.
        let message = (self.limits.event as u64).saturating_mul(2).saturating_add(1 << 20);
        let ws = ws::Config {
            limits: ws::Limits { message, frame: message, ..ws::Limits::DEFAULT },
            delivery: Delivery::Chunks,
            // The session watches by blocks.
            heartbeat: None,
            ..ws::Config::DEFAULT
        };
        let http = ClientConfig { body: message, head_deadline: NEVER, silence: None, ..ClientConfig::default() };
        let path = url.target().trim_end_matches('/').to_string();
        Ok(Arc::new(Endpoint {
            config: self,
            url,
            path,
            web,
            headers,
            handshake,
            ws: Arc::new(ws),
            stream: Arc::new(ClientConfig { body: u64::MAX, ..http }),
            http: Arc::new(http),
        }))
    }
}

/// A hub and how to talk to it: what sessions share. Made by [`SessionConfig::check`].
pub struct Endpoint {
    pub(super) config: SessionConfig,
    pub(super) url: Url,
    /// The base path without a slash at its end.
    pub(super) path: String,
    /// The base URL for WebSockets, without a slash at its end.
    pub(super) web: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) handshake: HandshakeConfig,
    pub(super) ws: Arc<ws::Config>,
    pub(super) stream: Arc<ClientConfig>,
    pub(super) http: Arc<ClientConfig>,
}

impl Endpoint {
    /// Where all connections go, as an `http` or `https` URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The settings.
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url).field("config", &self.config).finish_non_exhaustive()
    }
}

/// What is wrong with a [`SessionConfig`] or its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionConfigError {
    /// Every transport is disabled.
    NoTransport,
    /// A duration is zero.
    ZeroDuration,
    /// `poll` is not 1 to 55 whole seconds.
    Poll,
    /// `token` is empty or holds a control character.
    Token,
    /// Host and path of the URL are longer than `limit` bytes.
    LongUrl {
        /// The limit.
        limit: usize,
    },
    /// No URL can be made of the base.
    Url(UrlError),
    /// `headers` cannot be sent with an HTTP request.
    Request(RequestError),
    /// `headers` cannot be sent with a WebSocket's handshake.
    Handshake(HandshakeConfigError),
}

impl fmt::Display for SessionConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoTransport => "no transport is enabled",
            Self::ZeroDuration => "a duration is zero",
            Self::Poll => "`poll` is not 1 to 55 whole seconds",
            Self::Token => "`token` is empty or holds a control character",
            Self::LongUrl { limit } => return write!(f, "host and path are longer than {limit} bytes"),
            Self::Url(error) => return error.fmt(f),
            Self::Request(error) => return error.fmt(f),
            Self::Handshake(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for SessionConfigError {}
