//! Long polling: what a poll asks for, and the bodies that answer it. Pure functions; who waits for what, and until when, is the hub's.
//!
//! - [`Request::read`]: how long a poll wants to be held, and in which form it wants its answer.
//! - [`Batch`]: the events of one answer, in either form, bounded by [`PollConfig`].
//! - [`Answer`]: the finished body, with the header lines it needs; [`Answer::prepare`] makes it one for any number of polls.
//!
//! ```
//! use tautline::poll::{Batch, Form, Item, More, PollConfig, Pushed};
//!
//! let mut batch = Batch::new(Form::Json, &PollConfig::default());
//! let item = Item { id: Some("5-0-0000beef"), topic: Some("prices"), event: "message", data: "12.50" };
//! assert_eq!(batch.push(b"id: 5-0-0000beef\ntopic: prices\ndata: 12.50\n\n", &item), Pushed::Taken);
//! let answer = batch.finish("5-0-0000beef", More::No)?;
//! assert_eq!(
//!     &answer.body()[..],
//!     br#"{"messages":[{"id":"5-0-0000beef","topic":"prices","event":"message","data":"12.50"}],"lastId":"5-0-0000beef"}"#
//! );
//! # Ok::<(), tautline::sse::EncodeError>(())
//! ```

mod answer;
mod json;
mod request;

pub use answer::{Answer, Batch, Fields, Item, More, Pushed};
pub use request::{Form, PollConfig, Request, RequestError};
