//! Topics, one order over all of them, histories, and subscribers that never lose their place. Sans-IO: time and ids come in as numbers.
//!
//! - [`Desk`]: one worker's hub. Who attached, where each of them is, what comes next for each; it has the worker's [`Topics`] (names and
//!   subscribers, for fan-out) and [`Retained`] (the histories of all topics).
//! - [`Publication`]: an [`Entry`] at its place, encoded once and framed once for each transport.
//! - [`HubConfig`], [`TopicPolicy`]: what topics keep, and what happens to slow readers. [`Authority`]: who may do what.
//! - [`Attach`]: what a request asks for.
//! - [`Entry`]: what is to be published, checked once.
//! - [`Sequencer`]: the next [`Position`] in the one order over all topics; a [`Cursor`] is its text.
//! - [`SessionKeys`], [`Keys`], [`Presence`], [`Parked`], [`Acknowledged`]: what all workers share besides the log, each behind a lock of the
//!   caller's: who a client is, what it published already, who is here, which poll waits, how far a client that is away acknowledged.
//! - [`Bucket`]: how fast one connection may publish.
//! - [`Commands`] and [`notice`]: what clients and server say to each other, as blocks.
//! - [`Sequence`]: the bounded sequence of entries that every worker reads in order, each from its own index.
//! - [`Budget`]: one bound over all that waits and is kept, and what goes first.
//!
//! Publishing is to propose, then to apply. Where there is one process, it is one short critical section:
//!
//! ```
//! use std::sync::Arc;
//! use tautline::hub::{Entry, LogId, Sequence, SequenceLimits, Sequencer, Subscribed, TopicLimits, Topics};
//! use tautline::sse::Event;
//!
//! // Shared by the workers, behind a lock of the caller's.
//! let mut sequencer = Sequencer::new(LogId(0x5eed));
//! let mut sequence = Sequence::new(SequenceLimits::default());
//! // Each worker has its own reader and its own topics.
//! let reader = sequence.add_reader();
//! let mut topics = Topics::new(TopicLimits::default());
//! assert_eq!(topics.subscribe(7, "prices"), Ok(Subscribed::New));
//!
//! // A publisher: check outside the lock; position and entry inside it.
//! let entry = Arc::new(Entry::new("prices", &Event::new("12.50"))?);
//! let bytes = entry.bytes();
//! sequence.room_for(bytes)?;
//! let position = sequencer.next(1_700_000_000_000);
//! sequence.push((position, entry), bytes)?;
//!
//! // A worker: take what is new inside the lock; encode and send outside it.
//! let mut batch = Vec::new();
//! sequence.read(reader, 64, &mut batch);
//! for (position, entry) in batch {
//!     let block = entry.block(sequencer.cursor(position));
//!     assert_eq!(block, "id: 1700000000000-0-00005eed\ntopic: prices\ndata: 12.50\n\n");
//!     assert_eq!(topics.subscribers(entry.topic()), [7]);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attach;
mod authority;
mod budget;
mod command;
mod config;
mod cursor;
mod desk;
mod entry;
mod history;
mod keys;
mod member;
mod memberships;
pub mod notice;
mod parked;
mod presence;
mod publication;
mod rate;
mod retained;
mod sequence;
mod sequencer;
mod session;
mod slab;
mod topic;
mod topics;

pub use attach::{Attach, AttachError, AttachTopic, Authentication, Cursors, Delivery, Resume};
pub use authority::{Asking, Authority, Denied, Identity, Open, OwnTopic, USER_TOPICS};
pub use budget::{Budget, Pressure};
pub use command::{Command, CommandError, Commands, Kept, MAX_SLOT_NAME, Publish, Refusal, To};
pub use config::{HubConfig, Policies, SlowReader, Tokens, TopicPolicy, WhoIsHere};
pub use cursor::{Cursor, CursorError, CursorText, LogId, Position};
pub use desk::{Attachment, Desk, First, Item, Most, Offer, Pulled};
pub use entry::{Entry, MAX_EVENT, MAX_SLOT, PublishError, RESERVED_EVENTS};
pub use history::{HistoryLimits, Keeps, Retain};
pub use keys::{KeyError, Keys, KeysLimits, MAX_KEY, Owner, check_key};
pub use parked::{Acknowledged, AcknowledgedLimits, Parked, Unparked};
pub use presence::{Change, MAX_USER_NAME, Presence, PresenceError, PresenceLimits, UserError, check_user};
#[cfg(feature = "net")]
pub(crate) use publication::as_chunk;
pub use publication::{Carry, Compressing, Publication};
pub use rate::{Bucket, RateExceeded, RateLimit};
pub use retained::{After, Retained, RetainedLimits};
pub use sequence::{Reader, Sequence, SequenceFull, SequenceLimits};
pub use sequencer::Sequencer;
pub use session::{SessionError, SessionId, SessionKeys, SessionToken};
pub use topic::{DEFAULT_TOPIC, MAX_TOPIC_NAME, TopicError, check_name};
pub use topics::{Subscribed, TopicLimits, Topics, Unsubscribed};
