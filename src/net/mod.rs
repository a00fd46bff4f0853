//! The event loop: sockets, threads, clocks and randomness around the machines of this crate. Feature `net`.
//!
//! | | |
//! |---|---|
//! | [`Server`] | workers on threads of their own, one listener each on the same address |
//! | [`Worker`] | one loop, to be driven by a thread of the server's or from the embedder's own `mio::Poll` |
//! | [`Handler`] | the application: one value per worker, called on its thread |
//! | [`Context`], [`Control`] | what a handler may do: about its connection, about the worker |
//! | [`Handle`] | what any other thread may do |
//! | [`HubSettings`], [`Context::hub`], [`Endpoint`] | a [hub](crate::hub) on WebSockets, event streams and polls: `examples/hub.rs` |
//! | [`Subscriber`] | a hub session of [`client`](crate::client) with its sockets: in your own poll, or in a loop of its own |
//!
//! ```
//! use tautline::http::{RequestHead, Response};
//! use tautline::net::{Accept, Config, Context, Handler, ListenConfig, Message, Server};
//! use std::net::{Ipv4Addr, SocketAddr};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type State = ();
//!
//!     fn request(&mut self, head: &RequestHead<'_>, cx: &mut Context<'_, ()>) {
//!         // What is not answered here gets a 500 from the loop.
//!         let _ = match head.path() {
//!             "/echo" => cx.accept(head, &Accept::default()).map(drop).is_ok(),
//!             _ => cx.respond(&Response::new(404), b"").is_ok(),
//!         };
//!     }
//!
//!     fn message(&mut self, message: Message<'_>, cx: &mut Context<'_, ()>) {
//!         // Its own replies never overflow: the loop stops reading from a peer whose queue is half full.
//!         let _ = cx.send(message);
//!     }
//! }
//!
//! let listen = ListenConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
//! let server = Server::start(&Config::default(), &[listen], None, |_worker| Echo)?;
//! println!("listening on {}", server.addresses()[0]);
//! # server.handle().stop();
//! server.join();
//! # Ok::<(), tautline::net::StartError>(())
//! ```
//!
//! # What a worker guarantees
//!
//! - **An idle connection owns no buffer.** A WebSocket with heartbeat and eight bytes of the handler's state is one slot of 136 bytes.
//! - **One receive and one send per ready connection and turn.** All replies to what was read leave in one write; a short read is the end;
//!   a connection that has more waits its turn.
//! - **Queues are bounded.** Reading from a connection pauses while more than half of its own queue is taken, so replies never
//!   overflow; what others send to a connection that does not take it meets the [`SlowPolicy`].
//! - **Deadlines cost nothing while they move.** One entry per connection in a timer wheel; thousands that fall due together are
//!   spread over turns.
//! - **The last bytes arrive.** After a Close frame or an error answer the loop ends its side and reads until the peer ends its own, or
//!   the deadline comes; closing with unread bytes would reset the connection and could destroy them (RFC 9112 section 9.6).
//! - **Publications are encoded once** per transport and shared by reference, on all workers, in one order.
//!
//! # The order of things
//!
//! Within a turn: connections that are ready, each to its end; new connections; deadlines; what handlers asked for that concerns other
//! connections, and what came from other threads, in the order of the calls; at last publications, in the order of the log. So
//! a handler may do anything to anyone from inside any callback. What it sends to its own connection leaves before anything that
//! was published in the same turn.

mod client;
mod config;
mod context;
mod control;
mod core;
mod counters;
mod doors;
mod forwarded;
mod handler;
mod hub;
mod limits;
mod listener;
mod peer;
mod publish;
mod server;
mod session;
mod shared;
mod slab;
mod timers;
mod worker;

pub use client::Connect;
pub use config::{Config, ConfigError, DrainConfig, Linger, PeerLimits, QueueConfig, SlowPolicy, TurnConfig};
pub use context::{Accept, Audience, Context, SendError, StreamOpened, UpgradeError, Upgraded};
pub use control::Control;
pub use counters::{Distribution, HubTotals, Totals, Transport, TransportTotals};
pub use forwarded::{ForwardedField, ProxyListCause, ProxyListError, ProxyRanges, TrustedProxies};
pub use handler::{ConnectError, Ended, Handler, Message};
pub use hub::HubSettings;
pub use hub::requests::{Endpoint, PROTOCOL};
pub use limits::{AcceptRate, PerAddressLimit};
pub use listener::{ListenAddress, ListenCause, ListenConfig, ListenError, NoDelay, PortSharing, SocketBuffers};
pub use peer::PeerId;
pub use publish::Published;
pub use server::Server;
pub use session::Subscriber;
pub use shared::{Handle, PostError};
pub use worker::{StartError, Worker};
