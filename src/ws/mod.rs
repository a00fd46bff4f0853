//! WebSocket (RFC 6455), both roles, without I/O.
//!
//! [`Connection`] is one connection after its opening handshake: bytes in, [`Event`]s out; calls in, bytes out; time in, deadlines
//! out. Roles differ only in data: a server expects masks and sends none, a client the other way round.
//!
//! - [`Connection`], made by [`Connection::server`] behind an accepted [upgrade](crate::http::upgrade) or by
//!   [`Connection::client`] behind a [`ClientHandshake`]; configured by one shared [`Config`].
//! - [`Prepared`]: a message encoded once for many peers. [`Text`]: shared bytes that are UTF-8.
//! - [`CloseCode`]: a code that may be sent. [`Closed`]: how a connection ended; comes exactly once.
//! - [`Error`]: what the peer did wrong. [`SendError`]: why a call wrote nothing.
//! - [`apply_mask`], for whoever handles frames on their own.
//!
//! # One message to many
//!
//! ```
//! # use std::sync::Arc;
//! # use tautline::ws::{Config, Connection, Prepared};
//! # use tautline::{Instant, Output};
//! # let config = Arc::new(Config::DEFAULT);
//! # let mut peers: Vec<_> = (0..3)
//! #     .map(|i| (Connection::server(config.clone(), [i; 16], Instant::ORIGIN), Output::new()))
//! #     .collect();
//! let news = Prepared::text("encoded once");
//! for (connection, out) in &mut peers {
//!     // Copied if it is short; from 16 KiB on, or while the socket blocks, queued by reference.
//!     connection.send_prepared(&news, out)?;
//! }
//! # assert!(peers.iter().all(|(_, out)| out.len() == 14));
//! # Ok::<(), tautline::ws::SendError>(())
//! ```
//!
//! # Pieces in, fragments out
//!
//! With [`Delivery::Chunks`] a message is reported as it arrives and nothing of it is kept; [`Connection::begin`],
//! [`append`](Connection::append) and [`finish`](Connection::finish) send one piece by piece. Together they pass a message of any length on. Each
//! call makes a frame: whoever reads in small pieces gathers them, or the next peer meets its limit on fragments.
//!
//! ```
//! # use std::sync::Arc;
//! # use tautline::ws::{Config, Connection, Delivery, Event};
//! # use tautline::{Input, Instant, Output};
//! # let now = Instant::ORIGIN;
//! # let config = Arc::new(Config { delivery: Delivery::Chunks, ..Config::DEFAULT });
//! # let mut from = Connection::client(config.clone(), [1; 16], now);
//! # let mut to = Connection::server(config, [2; 16], now);
//! # let (mut from_out, mut to_out) = (Output::new(), Output::new());
//! # let mut read = *b"\x01\x02he\x80\x03llo";
//! let mut input = Input::new(&mut read);
//! while let Some(event) = from.next_event(&mut input, &mut from_out, now)? {
//!     if let Event::Chunk(chunk) = event {
//!         if chunk.part.is_first() {
//!             to.begin(chunk.kind, chunk.data, &mut to_out)?;
//!         } else {
//!             to.append(chunk.data, &mut to_out)?;
//!         }
//!         if chunk.part.is_last() {
//!             to.finish(&[], &mut to_out)?;
//!         }
//!     }
//! }
//! # assert_eq!(to_out.chunks().next(), Some(&b"\x01\x02he\x00\x03llo\x80\x00"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A begun message cannot be taken back: end it, or close. On [`SendError::Full`] nothing was written, and the chunk is still the caller's
//! to keep until there is room.
//!
//! # Compression
//!
//! permessage-deflate (RFC 7692, feature `deflate`) is in use where both sides' settings say so: a server grants by [`Config::deflate`], a
//! client offers by [`HandshakeConfig::deflate`]. What they agree upon is a [`Deflate`], and a connection takes it:
//!
//! ```
//! # #[cfg(feature = "deflate")] {
//! # use std::sync::Arc;
//! # use tautline::http::Version;
//! # use tautline::http::upgrade::{Answer, Upgrade, UpgradeConfig};
//! # use tautline::ws::{Config, Connection, DeflateConfig};
//! # use tautline::{Instant, Output};
//! # let (now, mut out) = (Instant::ORIGIN, Output::new());
//! # let head: [(&str, &[u8]); 6] = [
//! #     ("Host", b"example.com"),
//! #     ("Connection", b"Upgrade"),
//! #     ("Upgrade", b"websocket"),
//! #     ("Sec-WebSocket-Version", b"13"),
//! #     ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
//! #     ("Sec-WebSocket-Extensions", b"permessage-deflate; client_max_window_bits"),
//! # ];
//! # let upgrade = Upgrade::check(&UpgradeConfig::default(), "GET", Version::Http11, head)?;
//! let config = Config { deflate: Some(DeflateConfig::DEFAULT), ..Config::DEFAULT };
//! let agreed = config.deflate.and_then(|ours| ours.accept(upgrade.extensions()));
//! let extensions = agreed.map(|agreed| agreed.answer());
//! upgrade.accept(Answer { extensions: extensions.as_deref(), ..Answer::default() })?.write(&mut out)?;
//! let mut ws = Connection::server(Arc::new(config), [7; 16], now).with_deflate(agreed);
//! out.clear();
//! ws.send_text(&"again and ".repeat(100), &mut out)?;
//! assert!(out.len() < 50);
//! // A secret beside text that an attacker may choose:
//! ws.uncompressed().send_text("token=...&q=...", &mut out)?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A server that answers with the extension and forgets `with_deflate` fails at the first compressed message (a reserved bit is set). A client
//! takes `Connection::client(config, seed, now).with_deflate(opened.deflate())` of [`Opened::deflate`]. The event loop of `net` does all of
//! it by itself.
//!
//! Compressors lie in the [`Output`](crate::Output) that messages are sent to, decompressors in the [`Buffers`](crate::Buffers) that are lent with the input: one of each
//! per thread serves any number of connections. A connection with an output of its own would keep a compressor there: lend it the
//! thread's with [`Output::hand_compressors`](crate::Output::hand_compressors) before sending, and take them back. Decompressed sizes are held to [`Limits::message`] as they
//! are made. By default no side keeps a context between messages, and an idle connection costs some 200 bytes more; what a kept context
//! costs is in `docs/COMPRESSION.md`.
//!
//! # Answering by hand
//!
//! With [`Replies::Manual`] pings and Close frames are reported and not answered: [`Connection::pong`] and [`Connection::close`] do that.
//! Between [`Event::CloseReceived`] and `close` messages may still be sent.

mod close;
mod config;
mod connection;
#[cfg(feature = "deflate")]
mod deflate;
mod error;
mod event;
mod handshake;
mod header;
mod prepared;
mod receive;
mod send;

pub use crate::payload::apply_mask;
pub use close::{ABNORMAL, CloseCode, Closed, Ending, NO_CODE};
pub use config::{Config, ConfigError, Delivery, Limits, Replies};
pub use connection::{Connection, Seed};
#[cfg(feature = "deflate")]
#[cfg(all(feature = "deflate", feature = "net"))]
pub(crate) use deflate::Sharing;
#[cfg(feature = "deflate")]
pub use deflate::{Deflate, DeflateConfig, DeflateConfigError, Takeover};
pub use error::{Error, SendError, Unsent};
pub use event::{Chunk, Event, Kind, Part};
pub use handshake::{
    ClientHandshake, HandshakeConfig, HandshakeConfigError, HandshakeError, HandshakeEvent, Opened, Refusal,
};
pub use prepared::{Prepared, Text};
#[cfg(feature = "deflate")]
pub use send::Uncompressed;
