//! The event loop: sockets, threads, clocks and randomness around the machines of this crate. Feature `net`.

mod client;
mod config;
mod context;
mod control;
mod core;
mod counters;
mod doors;
mod forwarded;
mod handler;
mod limits;
mod listener;
mod peer;
mod publish;
mod server;
mod shared;
mod slab;
mod timers;
mod worker;

pub use client::Connect;
pub use config::{Config, ConfigError, DrainConfig, Linger, PeerLimits, QueueConfig, SlowPolicy, TurnConfig};
pub use context::{Accept, Audience, Context, SendError, StreamOpened, UpgradeError, Upgraded};
pub use control::Control;
pub use counters::{Distribution, Totals, Transport, TransportTotals};
pub use forwarded::{ForwardedField, ProxyListCause, ProxyListError, ProxyRanges, TrustedProxies};
pub use handler::{ConnectError, Ended, Handler, Message};
pub use limits::{AcceptRate, PerAddressLimit};
pub use listener::{ListenAddress, ListenCause, ListenConfig, ListenError, NoDelay, PortSharing, SocketBuffers};
pub use peer::PeerId;
pub use publish::Published;
pub use server::Server;
pub use shared::Handle;
pub use worker::{StartError, Worker};
