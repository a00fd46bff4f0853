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
    /// It was there, and is to come from another place.
    Again,
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
    own: Own,
}

/// A topic's own cursor, while it catches up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// The connection's counts.
    None,
    /// It was asked for on an open connection, from now on: whatever comes of it first is new, be it older than what came of others.
    Fresh,
    At(Cursor),
    /// It has caught up, but on a connection that is not as far yet as the others were on the one before: until they meet it is compared
    /// with its own.
    Until(Cursor),
}

impl Own {
    fn cursor(self) -> Option<Cursor> {
        match self {
            Self::At(cursor) | Self::Until(cursor) => Some(cursor),
            Self::None | Self::Fresh => None,
        }
    }
}

impl From<Option<Cursor>> for Own {
    fn from(cursor: Option<Cursor>) -> Self {
        cursor.map_or(Self::None, Self::At)
    }
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
            let Some(own) = own else { return Ok(Added::Already) };
            topic.own = Own::At(own);
            return Ok(Added::Again);
        }
        if self.topics.len() == MAX_TOPICS {
            return Err(TopicError::TooManyTopics { limit: MAX_TOPICS }.into());
        }
        let query = self.query + PARAMETER + name.len();
        if query > MAX_TOPICS_QUERY {
            return Err(SubscribeError::Query { limit: MAX_TOPICS_QUERY });
        }
        self.query = query;
        self.topics.push(Topic { name: name.into(), own: own.into() });
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
        let new = self.judge(topic, id);
        self.meet(id);
        new
    }

    fn judge(&mut self, topic: &str, id: Cursor) -> bool {
        match self.topic(topic) {
            Some(Topic { own: own @ Own::Until(_), .. }) => {
                let new = own.cursor().is_none_or(|own| is_above(id, own));
                if new {
                    *own = Own::Until(id);
                }
                new
            }
            Some(Topic { own: own @ (Own::Fresh | Own::At(_)), .. }) => {
                let new = own.cursor().is_none_or(|own| is_above(id, own));
                if new {
                    *own = Own::At(id);
                }
                new
            }
            _ => {
                let new = self.main.is_none_or(|main| is_above(id, main));
                if new {
                    self.main = Some(id);
                }
                new
            }
        }
    }

    /// The connection is at `position` now: topics that waited for it to come as far as the others were are with them again.
    fn meet(&mut self, position: Cursor) {
        let Some(main) = self.main else { return };
        if is_above(main, position) {
            return;
        }
        for topic in &mut self.topics {
            if let Own::Until(own) = topic.own {
                topic.own = Own::None;
                if self.main.is_some_and(|main| is_above(own, main)) {
                    self.main = Some(own);
                }
            }
        }
    }

    /// Everything up to here was sent of the topics in `scope`. Where that is all of them, those that have come as far as the others need
    /// no cursor of their own any more.
    pub(super) fn reach(&mut self, position: Cursor, scope: Scope) {
        if self.main.is_none_or(|main| is_above(position, main)) {
            self.main = Some(position);
        }
        self.meet(position);
        let Some(main) = self.main else { return };
        if scope == Scope::All {
            for topic in &mut self.topics {
                if let Own::At(own) = topic.own {
                    let own = if is_above(position, own) { position } else { own };
                    topic.own = Some(own).filter(|own| *own != main && !is_above(*own, main)).into();
                }
            }
        }
    }

    /// Whether a topic has a cursor of its own.
    pub(super) fn is_catching_up(&self) -> bool {
        self.topics.iter().any(|topic| topic.own != Own::None)
    }

    /// A topic without a cursor of its own is asked for on an open connection.
    pub(super) fn freshen(&mut self, topic: &str) {
        if let Some(Topic { own: own @ Own::None, .. }) = self.topic(topic) {
            *own = Own::Fresh;
        }
    }

    /// The connection is gone: what was asked for from now on goes on with the others.
    pub(super) fn disconnected(&mut self) {
        for topic in &mut self.topics {
            if topic.own == Own::Fresh {
                topic.own = Own::None;
            }
        }
    }

    /// The topic's own cursor, while it catches up.
    pub(super) fn own(&self, topic: &str) -> Option<Cursor> {
        self.topics.iter().find(|other| &*other.name == topic)?.own.cursor()
    }

    /// A topic has caught up: of all that have no cursors of their own everything up to `position` was sent.
    pub(super) fn caught_up(&mut self, topic: &str, position: Option<Cursor>) {
        let behind = position.zip(self.main).filter(|(at, main)| main.log == at.log && is_above(*main, *at));
        if let Some(topic) = self.topic(topic) {
            topic.own = match (behind, topic.own) {
                (Some((at, _)), Own::Fresh) => Own::Until(at),
                (Some(_), Own::At(own) | Own::Until(own)) => Own::Until(own),
                _ => Own::None,
            };
        }
        if let Some(position) = position {
            self.reach(position, Scope::Shared);
        }
    }

    /// The log does not know the cursor of this topic: what comes next is compared with nothing. A topic's own goes alone, where the
    /// request named it: the others go on.
    pub(super) fn forget(&mut self, topic: &str, scope: Scope) {
        let own = match self.topic(topic) {
            Some(Topic { own: Own::Fresh, .. }) => true,
            Some(Topic { own: Own::At(own) | Own::Until(own), .. }) => {
                *own = Cursor::START;
                true
            }
            _ => false,
        };
        if !own || scope == Scope::All {
            self.main = self.main.map(|_| Cursor::START);
        }
    }

    /// For which topics the positions of an answer to [`query`](Self::query) speak.
    pub(super) fn scope(&self) -> Scope {
        if self.is_catching_up() && !self.fits() { Scope::All } else { Scope::Shared }
    }

    /// Whether all own cursors go into a query.
    fn fits(&self) -> bool {
        let own = self.topics.iter().filter(|topic| topic.own.cursor().is_some()).count();
        self.query + own * 51 <= MAX_TOPICS_QUERY
    }

    /// Appends `topic=…&…&lastId=…`. Own cursors that would make it too long are left out, and the oldest cursor of all is named
    /// instead: what comes twice by that is dropped on arrival.
    pub(super) fn query(&self, to: &mut String) {
        use fmt::Write as _;
        let fits = self.fits();
        let mut last = self.main;
        // Writing to a string does not fail.
        for topic in &self.topics {
            let _ = write!(to, "topic={}", topic.name);
            match topic.own.cursor() {
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
    /// Those that have no cursors of their own.
    Shared,
    /// All: there were too many own cursors for the request, and it named none of them.
    All,
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

    #[test]
    fn a_topic_that_caught_up_where_the_others_are_not_yet_loses_nothing_until_they_meet() {
        let mut cursors = Cursors::default();
        cursors.add("a", None).unwrap();
        cursors.add("b", Some(at(1))).unwrap();
        // On the connection before, the others came to 9. This one is at 5, and has all of `b` up to there.
        cursors.set_main(Some(at(9)));
        cursors.caught_up("b", Some(at(5)));
        assert!(cursors.admit("b", at(6)), "it was never sent");
        assert!(!cursors.admit("a", at(7)), "it was");
        assert!(cursors.admit("b", at(8)) && !cursors.admit("b", at(8)));
        assert_eq!(cursors.main(), Some(at(9)));
        // They meet.
        cursors.reach(at(9), Scope::Shared);
        assert!(!cursors.is_catching_up());
        assert!(cursors.admit("b", at(10)) && cursors.main() == Some(at(10)));
    }

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
        cursors.reach(in_log(0, 3), Scope::Shared);
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
        cursors.reach(at(12), Scope::Shared);
        assert!(cursors.admit("b", at(5)), "a position does not speak for it");
        cursors.caught_up("b", Some(at(20)));
        assert_eq!(query(&cursors), "topic=a&topic=b&lastId=7-20-00000001&");
        assert!(!cursors.admit("b", at(20)) && !cursors.admit("a", at(20)) && cursors.admit("b", at(21)));
    }

    #[test]
    fn a_topic_that_is_asked_for_from_now_on_may_bring_older_events_than_the_others_until_it_has_caught_up() {
        let mut cursors = Cursors::default();
        cursors.add("a", None).unwrap();
        cursors.admit("a", at(10));
        cursors.add("b", None).unwrap();
        cursors.freshen("b");
        assert!(cursors.is_catching_up());
        assert!(cursors.admit("b", at(8)) && !cursors.admit("b", at(8)) && cursors.admit("b", at(9)));
        cursors.caught_up("b", None);
        assert!(!cursors.is_catching_up() && !cursors.admit("b", at(10)));
        // Before anything came of it, it goes on with the others.
        cursors.add("c", None).unwrap();
        cursors.freshen("c");
        cursors.disconnected();
        assert_eq!(query(&cursors), "topic=a&topic=b&topic=c&lastId=7-10-00000001&");
    }

    #[test]
    fn where_a_request_named_no_own_cursors_its_positions_end_those_that_they_reached() {
        let mut cursors = Cursors::default();
        cursors.set_main(Some(at(10)));
        cursors.add("b", Some(at(2))).unwrap();
        // A part of a poll's answer: not as far as the others.
        cursors.reach(at(7), Scope::All);
        assert_eq!(query(&cursors), "topic=b@7-7-00000001&lastId=7-10-00000001&");
        cursors.reach(at(15), Scope::All);
        assert_eq!(query(&cursors), "topic=b&lastId=7-15-00000001&");
    }

    #[test]
    fn own_cursors_that_no_request_had_room_for_end_with_the_attach() {
        let mut cursors = Cursors::default();
        cursors.set_main(Some(at(1000)));
        for i in 0..MAX_TOPICS {
            cursors.add(&format!("topic-{i:030}"), Some(at(500))).unwrap();
        }
        let scope = cursors.scope();
        cursors.reach(at(700), scope);
        assert_eq!(cursors.own(&format!("topic-{:030}", 0)), Some(at(700)), "a part of a poll's answer");
        cursors.reach(at(1000), scope);
        assert_eq!(cursors.own(&format!("topic-{:030}", 0)), None);
    }

    #[test]
    fn a_cursor_that_the_log_does_not_know_drops_nothing() {
        let mut cursors = Cursors::default();
        cursors.set_main(Some(at(100)));
        cursors.forget("a", Scope::Shared);
        assert!(cursors.admit("a", at(3)) && !cursors.admit("a", at(3)));
        cursors.add("b", Some(at(50))).unwrap();
        cursors.forget("b", Scope::Shared);
        assert_eq!(query(&cursors), "topic=b@0&lastId=7-3-00000001&");
        cursors.forget("b", Scope::All);
        assert_eq!(query(&cursors), "topic=b@0&lastId=0&");
    }

    #[test]
    fn more_own_cursors_than_a_request_can_hold_become_the_oldest_one() {
        let mut cursors = Cursors::default();
        cursors.set_main(Some(at(1000)));
        for i in 0..MAX_TOPICS {
            cursors.add(&format!("topic-{i:030}"), Some(at(500 - i as u64))).unwrap();
        }
        assert_eq!(cursors.scope(), Scope::All);
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
