//! A low-level engine for real-time transports: WebSocket (RFC 6455), Server-Sent Events (WHATWG) and the HTTP/1.1 (RFC 9112) that
//! carries them, as state machines that do no I/O. Bytes in, events out; calls in, bytes out; time in, deadlines out. That core
//! is `no_std` with `alloc`; sockets, clocks, threads and randomness are the caller's, or those of one thin event loop on `mio`,
//! the module `net`, which serves tens of thousands of connections per thread.
//!
//! # The map
//!
//! | module | what it is |
//! |---|---|
//! | [`http`] | one HTTP/1.1 connection of each side ([`http::Server`], [`http::Client`]), and the parts to take one at a time: heads, bodies, responses, [the upgrade](http::upgrade), origins, CORS, URLs |
//! | [`ws`] | [`ws::Connection`]: a WebSocket of either role; [`ws::ClientHandshake`] opens one |
//! | [`sse`] | event streams: encoder, parser, [`sse::ServerStream`], and [`sse::EventSource`], which comes back by itself |
//! | [`poll`] | long polling: [`poll::Request`], and [`poll::Batch`], the events of one answer |
//! | [`hub`] | topics with histories, one order of everything published, subscribers that resume: [`hub::Desk`]; what workers share |
//! | [`client`] | [`client::Session`]: a subscriber of a hub that falls back from WebSocket to event stream to long poll, and up again |
#![cfg_attr(
    feature = "net",
    doc = "| [`net`] | the event loop: [`net::Server`], [`net::Worker`] in your own poll, [`net::Handler`] |"
)]
//! | [`input`], [`output`] | the bytes just read, as one cursor; the bytes to write, bounded and in order |
//! | [`time`] | [`Instant`], eight bytes and no clock; with the feature `std`, [`time::Clock`] |
//! | [`heartbeat`], [`backoff`] | when to ping and when to give up; how long to wait before connecting again |
//!
//! # The run loop
//!
//! Every machine is driven alike. This is a WebSocket echo over a loop-back in memory; `examples/blocking.rs` has the same with
//! sockets, and its HTTP side.
//!
//! ```
//! use std::sync::Arc;
//! use tautline::ws::{Config, Connection, Event};
//! use tautline::{Buffers, Input, Output, time::Clock};
//!
//! # struct Socket(Vec<u8>, Vec<u8>);
//! # impl Socket { fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
//! #     let n = self.0.len().min(to.len()); to[..n].copy_from_slice(&self.0[..n]); self.0.drain(..n); Ok(n) } }
//! # impl std::io::Write for Socket {
//! #     fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> { self.1.extend_from_slice(bytes); Ok(bytes.len()) }
//! #     fn flush(&mut self) -> std::io::Result<()> { Ok(()) } }
//! # let mut socket = Socket(vec![0x81, 0x82, 0, 0, 0, 0, b'h', b'i'], vec![]);
//! // One of each per thread, for any number of connections.
//! let (mut buffer, mut buffers, mut out) = (vec![0; 64 << 10], Buffers::new(), Output::new());
//! let clock = Clock::new();
//! let mut ws = Connection::server(Arc::new(Config::default().check()?), [7; 16], clock.now());
//!
//! // 1. Wait until the socket is readable, or until `poll_timeout`.
//! let deadline = ws.poll_timeout();
//! # let _ = deadline;
//! let n = socket.read(&mut buffer)?;
//! let now = clock.now();
//! // 2. Feed what was read, and ask until there is nothing more.
//! let mut input = Input::with_buffers(&mut buffer[..n], &mut buffers);
//! let outcome = loop {
//!     match ws.next_event(&mut input, &mut out, now) {
//!         Ok(Some(Event::Text(text))) => if let Err(e) = ws.send_text(text, &mut out) { break Err(e.into()) },
//!         Ok(Some(Event::Binary(bytes))) => if let Err(e) = ws.send_binary(bytes, &mut out) { break Err(e.into()) },
//!         Ok(Some(Event::Closed(closed))) => println!("{} {}", closed.code, closed.reason),
//!         Ok(Some(_)) => {}                  // a ping, answered already; a pong
//!         Ok(None) => break Ok(()),          // the input is used up
//!         Err(cause) => break Err(cause.into()), // the Close frame that says so is already in `out`
//!     }
//! };
//! // 3. Let it do what is due; early is harmless. Behind what was read: a pong among it is life. Where `n` was zero, the end of
//! //    the file, call `handle_eof`; both report through `next_event`, on the next turn or with an empty input now.
//! if n == 0 { ws.handle_eof(now) } else { ws.handle_timeout(now, &mut out) }
//! // 4. Write, whatever the outcome. What the socket does not take stays in `out`.
//! out.write_to(&mut socket)?;
//! // 5. Close the socket once `is_ended` says so and everything is written.
//! # assert_eq!(socket.1, b"\x81\x02hi");
//! outcome.map_err(|e: Box<dyn std::error::Error>| e)
//! # ?; Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is guaranteed
//!
//! - **Any cut, any order.** A stream cut anywhere gives the same events and the same replies. No order of calls is wrong.
//! - **Nothing in advance.** An idle connection holds no buffer ([`ws::Connection`] is 96 bytes at most, with heartbeat); nothing is
//!   reserved on an announced length; a head that trickles in costs O(n).
//! - **Everything bounded**: heads, bodies, messages, fragments, control frames, queues, waits; the error names the limit.
//! - **Errors are answered.** When an error is returned, the 4xx or the Close frame is already in the [`Output`], beyond its limit
//!   where it must be. Errors are small and `Copy`. Bad input never panics; a panic is a bug in this crate.
//! - **No copy that the wire does not force.** A message that lies whole in the read buffer is unmasked there and lent.
//! - **No I/O** outside `net`, and no unsafe code but in one file, `src/payload/leaf.rs`, where bytes that were just proved to be UTF-8 become `str`
//!   and long payloads go through AVX2.
//!
//! # Features
//!
//! - `std` (default): [`time::Clock`], `Output::write_to`, and the choice of vector code at run time. Without it the crate needs
//!   only `alloc`, and behaves the same.
//! - `deflate` (default, implies `std`): permessage-deflate for `ws`, with `zlib-rs`. Nothing is negotiated until a configuration says so.
//! - `net` (default, implies `std`): the module `net`, with `mio`, `socket2`, `libc` and `getrandom`.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

// Named, so that each use of more than `core` shows.
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod backoff;
pub mod client;
#[cfg(feature = "deflate")]
mod deflate;
pub mod heartbeat;
pub mod http;
pub mod hub;
pub mod input;
#[cfg(feature = "net")]
pub mod net;
pub mod output;
mod payload;
pub mod poll;
pub mod sse;
pub mod time;
pub mod ws;

pub use input::{Buffers, Input};
pub use output::{Full, Output};
pub use time::Instant;
