//! What is on its way up: publications, kept with their keys until they are answered.

use crate::hub::{PublishError, RESERVED_EVENTS, TopicError, check_name};
use crate::sse::Event;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The longest key of a publication in bytes.
pub const MAX_KEY: usize = 64;

/// Something to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Publication<'a> {
    topic: &'a str,
    event: &'a str,
    data: &'a str,
    key: Option<&'a str>,
    slot: Option<&'a str>,
    to: To,
    keep: Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    All,
    Others,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

impl<'a> Publication<'a> {
    /// An event of type `message` for all subscribers of `topic`, kept until it is acknowledged.
    pub const fn new(topic: &'a str, data: &'a str) -> Self {
        Self { topic, event: "message", data, key: None, slot: None, to: To::All, keep: Keep::Yes }
    }

    /// Sets the event type.
    pub const fn with_event(mut self, event: &'a str) -> Self {
        self.event = event;
        self
    }

    /// Sets the key: 1 to [`MAX_KEY`] visible ASCII characters, unlike those of other publications. Without one the session makes one up.
    pub const fn with_key(mut self, key: &'a str) -> Self {
        self.key = Some(key);
        self
    }

    /// Sets what it replaces in a topic that conflates; the event type by default.
    pub const fn with_slot(mut self, slot: &'a str) -> Self {
        self.slot = Some(slot);
        self
    }

    /// For all but this session.
    pub const fn to_others(mut self) -> Self {
        self.to = To::Others;
        self
    }

    /// Ephemeral: sent now or never, not retained by anyone, without a key and an acknowledgement.
    pub const fn ephemeral(mut self) -> Self {
        self.keep = Keep::No;
        self
    }

    pub(super) const fn is_ephemeral(&self) -> bool {
        matches!(self.keep, Keep::No)
    }

    pub(super) const fn key(&self) -> Option<&'a str> {
        self.key
    }

    /// The block to be sent, with `key` where it is kept.
    fn block(&self, key: &str) -> Result<Vec<u8>, QueueError> {
        check_name(self.topic).map_err(|error| QueueError::Publication(PublishError::Topic(error)))?;
        if self.event.starts_with(RESERVED_EVENTS) {
            return Err(QueueError::Publication(PublishError::Reserved));
        }
        let mut event = Event::new(self.data).with_event(self.event).with_topic(self.topic);
        if !self.is_ephemeral() {
            if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(QueueError::Key);
            }
            event = event.with_id(key);
        }
        let mut block = Vec::new();
        if self.to == To::Others {
            block.extend_from_slice(b"to: others\n");
        }
        if self.is_ephemeral() {
            block.extend_from_slice(b"keep: no\n");
        }
        if let Some(slot) = self.slot {
            if slot.is_empty() || slot.bytes().any(|byte| byte.is_ascii_control()) {
                return Err(QueueError::Slot);
            }
            block.extend_from_slice(b"slot: ");
            block.extend_from_slice(slot.as_bytes());
            block.push(b'\n');
        }
        let event = event.to_bytes().map_err(|error| QueueError::Publication(PublishError::Encode(error)))?;
        block.extend_from_slice(&event);
        Ok(block)
    }
}

/// How much may wait to be sent and acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Publications. Default 1,000.
    pub count: usize,
    /// Bytes of their blocks. Default 1 MiB.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { count: 1000, bytes: 1 << 20 }
    }
}

/// Why a publication was not taken. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueError {
    /// As many wait as may.
    Count {
        /// [`QueueLimits::count`].
        limit: usize,
    },
    /// It and what waits are longer than may be.
    Bytes {
        /// [`QueueLimits::bytes`].
        limit: usize,
    },
    /// It is ephemeral, and there is no connection to send it on.
    NotConnected,
    /// A key that is not 1 to [`MAX_KEY`] visible ASCII characters.
    Key,
    /// A publication with this key waits already.
    KeyInUse,
    /// A slot that is empty or holds a control character.
    Slot,
    /// A topic or event type that cannot be published.
    Publication(PublishError),
    /// The session is over.
    Closed,
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { limit } => write!(f, "{limit} publications wait, the limit"),
            Self::Bytes { limit } => write!(f, "publications of more than {limit} bytes would wait"),
            Self::NotConnected => f.write_str("ephemeral publication without a connection"),
            Self::Key => write!(f, "key is not 1 to {MAX_KEY} visible ASCII characters"),
            Self::KeyInUse => f.write_str("a publication with this key waits already"),
            Self::Slot => f.write_str("slot is empty or holds a control character"),
            Self::Publication(error) => error.fmt(f),
            Self::Closed => f.write_str("session is over"),
        }
    }
}

impl core::error::Error for QueueError {}

impl From<TopicError> for QueueError {
    fn from(error: TopicError) -> Self {
        Self::Publication(PublishError::Topic(error))
    }
}

/// Publications in the order of the calls. Those in front were sent and wait for their answer.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    waiting: VecDeque<Waiting>,
    /// How many of them were sent on the present connection.
    sent: usize,
    bytes: usize,
    /// Nothing more is sent before that: the server asked for it.
    pause: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    /// `None` where it is ephemeral.
    key: Option<Box<str>>,
    block: Box<[u8]>,
}

impl Outgoing {
    pub(super) fn push(
        &mut self,
        limits: &QueueLimits,
        publication: &Publication<'_>,
        key: &str,
    ) -> Result<(), QueueError> {
        let block = publication.block(key)?;
        if self.waiting.len() >= limits.count {
            return Err(QueueError::Count { limit: limits.count });
        }
        if block.len() > limits.bytes.saturating_sub(self.bytes) {
            return Err(QueueError::Bytes { limit: limits.bytes });
        }
        let key = (!publication.is_ephemeral()).then_some(key);
        if key.is_some_and(|key| self.waiting.iter().any(|waiting| waiting.key.as_deref() == Some(key))) {
            return Err(QueueError::KeyInUse);
        }
        self.bytes += block.len();
        self.waiting.push_back(Waiting { key: key.map(Box::from), block: block.into() });
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When sending may go on, where it pauses.
    pub(super) fn pause(&self) -> Option<Instant> {
        self.pause.filter(|_| self.has_unsent())
    }

    /// Whether something is to be sent now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.has_unsent() && self.pause.is_none_or(|until| until <= now)
    }

    /// Whether something is still to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.waiting.len()
    }

    /// Whether something was sent and not answered.
    pub(super) fn has_sent(&self) -> bool {
        self.sent > 0
    }

    /// The block to send next.
    pub(super) fn next(&self) -> Option<&[u8]> {
        self.waiting.get(self.sent).map(|waiting| &*waiting.block)
    }

    /// Up to so many blocks, and so many bytes, as one; how many there are. One that is longer goes alone.
    pub(super) fn batch(&self, count: usize, bytes: usize) -> (Vec<u8>, usize) {
        let (mut body, mut taken) = (Vec::new(), 0);
        for waiting in self.waiting.iter().skip(self.sent).take(count.max(1)) {
            if taken > 0 && body.len() + waiting.block.len() > bytes {
                break;
            }
            body.extend_from_slice(&waiting.block);
            taken += 1;
        }
        (body, taken)
    }

    /// The next ones went out. An ephemeral one is done with.
    pub(super) fn sent(&mut self, count: usize) {
        self.pause = None;
        for _ in 0..count {
            match self.waiting.get(self.sent) {
                Some(Waiting { key: None, .. }) => drop(self.remove(self.sent)),
                Some(_) => self.sent += 1,
                None => {}
            }
        }
    }

    /// The connection that they were sent on is gone: what is unanswered goes out again, what is ephemeral does not.
    pub(super) fn unsend(&mut self) {
        self.sent = 0;
        let bytes = &mut self.bytes;
        self.waiting.retain(|waiting| {
            let kept = waiting.key.is_some();
            if !kept {
                *bytes -= waiting.block.len();
            }
            kept
        });
    }

    /// A publication was answered for good. Whether it was one of these. O(what was sent), mostly the first.
    pub(super) fn settle(&mut self, key: &str) -> bool {
        match self.position(key) {
            Some(at) => {
                self.remove(at);
                true
            }
            None => false,
        }
    }

    /// A publication is to be sent again at `at`, and those behind it, so that their order stays.
    pub(super) fn postpone(&mut self, key: &str, at: Instant) {
        if let Some(position) = self.position(key) {
            self.sent = self.sent.min(position);
            self.pause = Some(at);
        }
    }

    /// All that was sent is to be sent again at `at`.
    pub(super) fn postpone_all(&mut self, at: Instant) {
        self.unsend();
        self.pause = Some(at);
    }

    /// Lets go of the one that is next; its key.
    pub(super) fn give_up_next(&mut self) -> Option<String> {
        let waiting = self.remove(self.sent)?;
        Some(waiting.key.map(String::from).unwrap_or_default())
    }

    fn position(&self, key: &str) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.key.as_deref() == Some(key))
    }

    fn remove(&mut self, at: usize) -> Option<Waiting> {
        let waiting = self.waiting.remove(at)?;
        self.bytes -= waiting.block.len();
        self.sent -= usize::from(at < self.sent);
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn queue(limits: QueueLimits, keys: &[&str]) -> Outgoing {
        let mut queue = Outgoing::default();
        for key in keys {
            queue.push(&limits, &Publication::new("t", key), key).unwrap();
        }
        queue
    }

    fn next(queue: &Outgoing) -> &str {
        queue.next().map_or("", |block| core::str::from_utf8(block).unwrap())
    }

    #[test]
    fn a_block_has_the_fields_that_the_protocol_names() {
        let mut queue = Outgoing::default();
        let publication = Publication::new("t", "a\nb").with_event("e").with_slot("s").to_others();
        queue.push(&QueueLimits::default(), &publication, "k").unwrap();
        assert_eq!(next(&queue), "to: others\nslot: s\nid: k\ntopic: t\nevent: e\ndata: a\ndata: b\n\n");
        queue.sent(1);
        queue.push(&QueueLimits::default(), &Publication::new("t", "x").ephemeral(), "k2").unwrap();
        assert_eq!(next(&queue), "keep: no\ntopic: t\ndata: x\n\n");
    }

    #[test]
    fn what_is_not_answered_is_sent_again_in_order_and_what_is_ephemeral_is_not() {
        let mut queue = queue(QueueLimits::default(), &["a", "b", "c"]);
        queue.push(&QueueLimits::default(), &Publication::new("t", "x").ephemeral(), "-").unwrap();
        queue.sent(2);
        assert!(queue.settle("a") && !queue.settle("a"));
        queue.unsend();
        let (body, count) = queue.batch(100, 1 << 16);
        assert_eq!(
            (core::str::from_utf8(&body).unwrap(), count),
            ("id: b\ntopic: t\ndata: b\n\nid: c\ntopic: t\ndata: c\n\n", 2)
        );
        queue.sent(2);
        assert!(queue.settle("c") && queue.settle("b"));
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn a_full_queue_refuses_and_names_the_limit() {
        let limits = QueueLimits { count: 2, bytes: 100 };
        let mut full = queue(limits, &["a", "b"]);
        let refused = full.push(&limits, &Publication::new("t", "c"), "c").unwrap_err();
        assert_eq!(refused, QueueError::Count { limit: 2 });
        assert_eq!(format!("{refused}"), "2 publications wait, the limit");
        let mut queue = queue(limits, &["a"]);
        let long = "x".repeat(70);
        assert_eq!(queue.push(&limits, &Publication::new("t", &long), "c"), Err(QueueError::Bytes { limit: 100 }));
        assert_eq!(queue.push(&limits, &Publication::new("t", "y"), "a"), Err(QueueError::KeyInUse));
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn nothing_can_be_smuggled_into_a_block() {
        let mut queue = Outgoing::default();
        let limits = QueueLimits::default();
        for key in ["", "a b", "a\nb", "ä", &"k".repeat(65)] {
            assert_eq!(queue.push(&limits, &Publication::new("t", ""), key), Err(QueueError::Key), "{key:?}");
        }
        assert_eq!(queue.push(&limits, &Publication::new("t", "").with_slot("a\nid: 1"), "k"), Err(QueueError::Slot));
        let reserved = Publication::new("t", "").with_event("tautline.subscribe");
        assert_eq!(queue.push(&limits, &reserved, "k"), Err(QueueError::Publication(PublishError::Reserved)));
        let event = Publication::new("t", "").with_event("a\nid: 1");
        assert!(matches!(queue.push(&limits, &event, "k"), Err(QueueError::Publication(PublishError::Encode(_)))));
        assert!(queue.push(&limits, &Publication::new("t\n", ""), "k").is_err());
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_postponed_one_and_those_behind_it_go_out_again_in_order() {
        let mut queue = queue(QueueLimits::default(), &["a", "b", "c"]);
        queue.sent(3);
        let at = Instant::from_millis(50);
        queue.postpone("b", at);
        assert_eq!(queue.pause(), Some(at));
        assert!(!queue.is_due(Instant::from_millis(49)) && queue.is_due(at));
        assert!(next(&queue).starts_with("id: b"));
        queue.sent(1);
        assert!(next(&queue).starts_with("id: c"));
    }
}
