//! How far a client is: one cursor, and one of its own for each topic that catches up.

use crate::hub::{Cursor, DEFAULT_TOPIC, MAX_TOPIC_NAME, TopicError, check_name};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Topics of one subscriber, as the protocol has it.
pub const MAX_TOPICS: usize = 128;

/// Bytes of topics in a query: a request target has 8,000 in all (RFC 9112 section 3), and the base URL and the cursor take theirs.
pub const MAX_TOPICS_QUERY: usize = 6000;

/// `topic=` and `&`.
const PARAMETER: usize = 7;

/// Why a topic was not subscribed to. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The name is none, or there are [`MAX_TOPICS`] already.
    Topic(TopicError),
    /// All topics together would not fit into a request any more.
    Query {
        /// [`MAX_TOPICS_QUERY`].
        limit: usize,
    },
    /// The session is over.
    Closed,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) => error.fmt(f),
            Self::Query { limit } => write!(f, "topics of more than {limit} bytes in a query"),
            Self::Closed => f.write_str("session is over"),
        }
    }
}

impl core::error::Error for SubscribeError {}

impl From<TopicError> for SubscribeError {
    fn from(error: TopicError) -> Self {
        Self::Topic(error)
    }
}

/// What a subscription changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    New,
    Already,
}

#[derive(Debug, Default)]
pub(super) struct Cursors {
    main: Option<Cursor>,
    topics: Vec<Topic>,
    /// Bytes that the topics take in a query.
    query: usize,
}

#[derive(Debug)]
struct Topic {
    name: Box<str>,
    /// Its own cursor, while it catches up.
    own: Option<Cursor>,
}

impl Cursors {
    /// The cursor of all topics that have none of their own.
    pub(super) fn main(&self) -> Option<Cursor> {
        self.main
    }

    pub(super) fn set_main(&mut self, cursor: Option<Cursor>) {
        self.main = cursor;
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(|topic| &*topic.name)
    }

    /// Whether it is one of the topics.
    pub(super) fn has(&self, name: &str) -> bool {
        self.topics.iter().any(|topic| &*topic.name == name)
    }

    pub(super) fn add(&mut self, name: &str, own: Option<Cursor>) -> Result<Added, SubscribeError> {
        check_name(name)?;
        if let Some(topic) = self.topic(name) {
            // Asked for again from an older place: it catches up from there.
            topic.own = own.or(topic.own);
            return Ok(if own.is_some() { Added::New } else { Added::Already });
        }
        if self.topics.len() == MAX_TOPICS {
            return Err(TopicError::TooManyTopics { limit: MAX_TOPICS }.into());
        }
        let query = self.query + PARAMETER + name.len();
        if query > MAX_TOPICS_QUERY {
            return Err(SubscribeError::Query { limit: MAX_TOPICS_QUERY });
        }
        self.query = query;
        self.topics.push(Topic { name: name.into(), own });
        Ok(Added::New)
    }

    pub(super) fn remove(&mut self, name: &str) -> bool {
        let Some(at) = self.topics.iter().position(|topic| &*topic.name == name) else { return false };
        self.query -= PARAMETER + name.len();
        self.topics.remove(at);
        true
    }

    /// Whether an event is new, by the cursor that counts for its topic; if so that cursor is moved.
    pub(super) fn admit(&mut self, topic: &str, id: Cursor) -> bool {
        let cursor = match self.topic(topic) {
            Some(Topic { own: Some(own), .. }) => own,
            _ => {
                let new = self.main.is_none_or(|main| is_above(id, main));
                if new {
                    self.main = Some(id);
                }
                return new;
            }
        };
        let new = is_above(id, *cursor);
        if new {
            *cursor = id;
        }
        new
    }

    /// Everything up to here was sent of the topics that do not catch up. Behind an attach (or a poll's answer) that holds for all of
    /// them: a topic that has come as far as the others needs no cursor of its own any more.
    pub(super) fn reach(&mut self, position: Cursor, scope: Scope) {
        if self.main.is_none_or(|main| is_above(position, main)) {
            self.main = Some(position);
        }
        let Some(main) = self.main else { return };
        if scope == Scope::Attached {
            for topic in &mut self.topics {
                if let Some(own) = topic.own {
                    let own = if is_above(position, own) { position } else { own };
                    topic.own = Some(own).filter(|own| *own != main && !is_above(*own, main));
                }
            }
        }
    }

    /// The topic's own cursor, while it catches up.
    pub(super) fn own(&self, topic: &str) -> Option<Cursor> {
        self.topics.iter().find(|other| &*other.name == topic)?.own
    }

    /// A topic has caught up.
    pub(super) fn caught_up(&mut self, topic: &str) {
        if let Some(topic) = self.topic(topic) {
            topic.own = None;
        }
    }

    /// The log does not know the cursor of this topic: what comes next is compared with nothing.
    pub(super) fn forget(&mut self, topic: &str) {
        match self.topic(topic) {
            Some(Topic { own: Some(own), .. }) => *own = Cursor::START,
            _ => self.main = self.main.map(|_| Cursor::START),
        }
    }

    /// Appends `topic=…&…&lastId=…`. Own cursors that would make it too long are left out, and the oldest cursor of all is named
    /// instead: what comes twice by that is dropped on arrival.
    pub(super) fn query(&self, to: &mut String) {
        use fmt::Write as _;
        let own = self.topics.iter().filter(|topic| topic.own.is_some()).count();
        let fits = self.query + own * 51 <= MAX_TOPICS_QUERY;
        let mut last = self.main;
        // Writing to a string does not fail.
        for topic in &self.topics {
            let _ = write!(to, "topic={}", topic.name);
            match topic.own {
                Some(own) if fits => {
                    let _ = write!(to, "@{}", text(own).as_str());
                }
                Some(own) if last.is_none_or(|last| last.log == own.log && is_above(last, own)) => last = Some(own),
                _ => {}
            }
            to.push('&');
        }
        if let Some(last) = last {
            let _ = write!(to, "lastId={}&", text(last).as_str());
        }
    }

    fn topic(&mut self, name: &str) -> Option<&mut Topic> {
        self.topics.iter_mut().find(|topic| &*topic.name == name)
    }
}

/// For which topics a position block speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those that do not catch up.
    Live,
    /// All that the request named.
    Attached,
}

/// Whether `a` is behind `b` in its log. Of two logs the newer replaces the older, and the newer is the one that comes.
pub(super) fn is_above(a: Cursor, b: Cursor) -> bool {
    a.log != b.log || a.position > b.position
}

/// A cursor as it is sent.
pub(super) fn text(cursor: Cursor) -> CursorField {
    if cursor == Cursor::START { CursorField::Start } else { CursorField::Text(cursor.text()) }
}

pub(super) enum CursorField {
    Start,
    Text(crate::hub::CursorText),
}

impl CursorField {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Start => "0",
            Self::Text(text) => text.as_str(),
        }
    }
}

/// The topic of an event: what its block names, or the default. Names longer than any are none.
pub(super) fn topic_of(field: Option<&[u8]>) -> &str {
    match field {
        Some(name) if name.len() <= MAX_TOPIC_NAME => core::str::from_utf8(name).unwrap_or(""),
        Some(_) => "",
        None => DEFAULT_TOPIC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{LogId, Position};
    use alloc::format;

    fn at(seq: u64) -> Cursor {
        in_log(seq, 1)
    }

    fn in_log(seq: u64, log: u32) -> Cursor {
        Cursor { position: Position { ms: 7, seq }, log: Some(LogId(log)) }
    }

    fn query(cursors: &Cursors) -> String {
        let mut text = String::new();
        cursors.query(&mut text);
        text
    }

    #[test]
    fn b2_an_event_is_new_once() {
        let mut cursors = Cursors::default();
        for (seq, new) in [(3, true), (3, false), (2, false), (4, true), (4, false)] {
            assert_eq!(cursors.admit("a", at(seq)), new, "{seq}");
        }
    }

    #[test]
    fn of_two_logs_the_newer_replaces_the_older() {
        let mut cursors = Cursors::default();
        assert!(
            cursors.admit("a", in_log(9, 1)) && cursors.admit("a", in_log(2, 2)) && !cursors.admit("a", in_log(1, 2))
        );
        cursors.reach(in_log(0, 3), Scope::Live);
        assert_eq!(cursors.main(), Some(in_log(0, 3)));
    }

    #[test]
    fn a_topic_that_catches_up_has_a_cursor_of_its_own_until_it_has() {
        let mut cursors = Cursors::default();
        cursors.add("a", None).unwrap();
        cursors.admit("a", at(10));
        cursors.add("b", Some(at(2))).unwrap();
        assert!(!cursors.admit("b", at(2)) && cursors.admit("b", at(3)) && cursors.admit("a", at(11)));
        assert!(cursors.admit("b", at(4)), "older than the other topics' cursor");
        assert_eq!(query(&cursors), "topic=a&topic=b@7-4-00000001&lastId=7-11-00000001&");
        cursors.reach(at(12), Scope::Live);
        assert!(cursors.admit("b", at(5)), "a heartbeat does not speak for it");
        cursors.caught_up("b");
        assert!(!cursors.admit("b", at(12)) && cursors.admit("b", at(13)));
    }

    #[test]
    fn the_position_of_an_attach_ends_own_cursors_that_it_reached() {
        let mut cursors = Cursors::default();
        cursors.set_main(Some(at(10)));
        cursors.add("b", Some(at(2))).unwrap();
        // A part of a poll's answer: not as far as the others.
        cursors.reach(at(7), Scope::Attached);
        assert_eq!(query(&cursors), "topic=b@7-7-00000001&lastId=7-10-00000001&");
        cursors.reach(at(15), Scope::Attached);
        assert_eq!(query(&cursors), "topic=b&lastId=7-15-00000001&");
    }

    #[test]
    fn a_cursor_that_the_log_does_not_know_drops_nothing() {
        let mut cursors = Cursors::default();
        cursors.set_main(Some(at(100)));
        cursors.forget("a");
        assert!(cursors.admit("a", at(3)) && !cursors.admit("a", at(3)));
    }

    #[test]
    fn more_own_cursors_than_a_request_can_hold_become_the_oldest_one() {
        let mut cursors = Cursors::default();
        cursors.set_main(Some(at(1000)));
        for i in 0..MAX_TOPICS {
            cursors.add(&format!("topic-{i:030}"), Some(at(500 - i as u64))).unwrap();
        }
        let text = query(&cursors);
        assert!(!text.contains('@') && text.ends_with("lastId=7-373-00000001&"), "{text}");
        assert!(text.len() <= MAX_TOPICS_QUERY + 60);
    }

    #[test]
    fn names_counts_and_lengths_are_limited_and_the_error_names_the_limit() {
        let mut cursors = Cursors::default();
        assert_eq!(cursors.add("", None), Err(SubscribeError::Topic(TopicError::EmptyName)));
        assert_eq!(cursors.add("a b", None), Err(SubscribeError::Topic(TopicError::BadCharacter)));
        let long = "x".repeat(MAX_TOPIC_NAME - 3);
        let refused = (0..).find_map(|i| cursors.add(&format!("{long}{i:03}"), None).err());
        assert_eq!(refused, Some(SubscribeError::Query { limit: MAX_TOPICS_QUERY }));
        let mut cursors = Cursors::default();
        for i in 0..MAX_TOPICS {
            cursors.add(&format!("{i}"), None).unwrap();
        }
        let error = cursors.add("one more", None).unwrap_err();
        assert_eq!(error, SubscribeError::Topic(TopicError::BadCharacter));
        let error = cursors.add("more", None).unwrap_err();
        assert_eq!(format!("{error}"), "more than 128 topics of one subscriber");
        assert!(cursors.remove("5") && !cursors.remove("5"));
        assert_eq!(cursors.add("more", None), Ok(Added::New));
    }
}
