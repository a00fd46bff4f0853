//! Server-Sent Events (WHATWG HTML section 9.2): both ends of an event stream, without I/O.
//!
//! - [`Parser`]: bytes of a stream in, [`Event`]s out, to the letter of the standard and at any cut.
//! - [`Event`] and [`Signal`]: events, comments and `retry:` as bytes, safe against line ends in any field.
//! - [`Subscription`] and [`ServerStream`]: what a request asks for, and the stream that answers it.
//! - [`EventSource`]: the client of one stream, across as many connections as it takes.

mod client;
mod collect;
mod event;
mod parse;
mod server;
mod sought;

pub use client::{Closed, Disconnected, EventSource, EventSourceConfig, EventSourceEvent};
pub use event::{EncodeError, Event, Signal};
pub(crate) use parse::Found;
pub use parse::{Limits, ParseError, Parser};
pub use server::{
    HeadOnly, MAX_LAST_EVENT_ID, Opened, Refusal, ServerStream, ServerStreamConfig, StreamError, Subscription,
};
pub(crate) use sought::Hit;
