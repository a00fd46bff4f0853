//! Server-Sent Events (WHATWG HTML section 9.2): both ends of an event stream, without I/O.
//!
//! - [`Parser`]: bytes of a stream in, [`Event`]s out, to the letter of the standard and at any cut.
//! - [`Event::encode`] and its neighbours: events, comments and `retry:` as bytes, safe against line ends in any field.

mod collect;
mod event;
mod parse;

pub use event::Event;
pub use parse::{Limits, ParseError, Parser};
