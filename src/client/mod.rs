//! A subscriber of a hub that never loses its place: WebSocket, event stream or long poll, whichever gets through. Sans-IO.
//!
//! [`Session`] is a state machine above connections that it does not own. Calls go in (topics, publications), bytes and time; events
//! come out, bytes and deadlines, and the wish to connect or to drop a [`Lane`]. It follows `docs/PROTOCOL.md`. `net` has a driver for
//! it with sockets.
//!
//! # What it promises
//!
//! - **Each event once and in order**, on whichever transport it comes, or a [gap](SessionEvent::Gap) that names the topic and the reason.
//! - **A transport is judged by use.** The handshake proves nothing. A connection is *attached* when what was missed has come and the
//!   position block behind it; it was *of use* once another block came after that, or when it lived for
//!   [`BackoffConfig::stable`](crate::backoff::BackoffConfig::stable) after the attach. A connection that ends before is useless, and
//!   [`LadderConfig::failures`] of them in a row lead to the next transport. So does a single one that cannot work: a request for a
//!   WebSocket or a stream that is refused as such (4xx but 401, 403, 408, 429), an answer of another type, or a connection that stays silent
//!   for [`SessionConfig::probe`] after it stood, head or no head. A connection that could not be made at all, and a server that says that
//!   it is overloaded, say nothing about the transport.
//! - **Up again without letting go.** After a cool-down the better transports are tried beside the one in use, the best first. The trial
//!   takes over once it has attached; both may bring the same events meanwhile, and each is reported once. If it then turns out useless
//!   it is left at once for where the session came from.
//! - **Publications arrive once.** Each is kept with its key until it is answered, and sent again on the next connection. The queue is bounded
//!   and a full one says so.
//! - **Nobody is hammered.** Full jitter, Retry-After, `retry:`, the window of a 1012 or 1013, and statuses and codes that mean stop.
//!
//! # A session by hand
//!
//! ```
//! use tautline::client::{Lane, Session, SessionConfig, SessionEvent};
//! use tautline::{Input, Instant, Output, http::url::Url};
//!
//! let endpoint = SessionConfig::default().check(&Url::parse("http://example.com/hub")?)?;
//! let mut session = Session::new(endpoint, [7; 16]);
//! session.subscribe("prices", None)?;
//! let (now, lane) = (Instant::ORIGIN, Lane::ALL[0]);
//! let mut out = Output::new();
//! // It wants a connection for its first lane.
//! let mut nothing = Input::new(&mut []);
//! let wish = session.next_event(lane, &mut nothing, &mut out, now);
//! assert!(matches!(wish, Some(SessionEvent::Connect(to)) if to == lane));
//! // The caller makes it and says so; the request is in the lane's output.
//! session.connected(lane, now);
//! assert!(session.next_event(lane, &mut nothing, &mut out, now).is_none());
//! assert!(out.chunks().next().unwrap().starts_with(b"GET /hub/ws?topic=prices HTTP/1.1\r\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocks;
mod config;
mod cursors;
mod event;
mod ladder;
mod line;
mod outgoing;
mod requests;
mod session;

pub use config::{Acknowledge, Endpoint, SessionConfig, SessionConfigError};
pub use cursors::{MAX_TOPICS, MAX_TOPICS_QUERY, SubscribeError};
pub use event::{Cause, Closed, Gap, GapReason, Gaps, Lane, Message, Presence, Refused, SessionEvent};
pub use ladder::{LadderConfig, Transport, Transports};
pub use outgoing::{MAX_KEY, Publication, QueueError, QueueLimits};
pub use session::Session;
