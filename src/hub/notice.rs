//! The protocol's own events, from the server: each as one block, made once and shared. docs/PROTOCOL.md, "The protocol's own
//! events".
//!
//! None has an id. Names and keys are the caller's to check before they come here; a line end in one becomes a space, so that
//! nothing can add a line of its own.

use crate::hub::cursor::Cursor;
use crate::hub::session::SessionToken;
use alloc::string::String;
use bytes::Bytes;
use core::fmt::{self, Display, Write};
use core::time::Duration;

/// Why events of a topic may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapReason {
    /// Let go by the history, or for a slow reader.
    Expired,
    /// The cursor is beyond the log's head.
    Ahead,
    /// The cursor is of another log, or names none.
    Unknown,
}

impl Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Expired => "expired",
            Self::Ahead => "ahead",
            Self::Unknown => "unknown",
        })
    }
}

/// Why a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client asked for it.
    Asked,
    /// The application took the topic away.
    Revoked,
}

/// `tautline.session`: the session to be sent from now on, and the longest time between two blocks, in whole milliseconds.
pub fn session(token: &SessionToken, heartbeat: Duration) -> Bytes {
    let mut block = Block::new("session", None);
    block.line(format_args!("session {}", token.as_str()));
    block.line(format_args!("heartbeat {}", heartbeat.as_millis()));
    block.end()
}

/// `tautline.gap`: the topics in which events may be missing. `None` where there is none of them. O(topics).
pub fn gap<'a>(topics: impl IntoIterator<Item = (&'a str, GapReason)>) -> Option<Bytes> {
    let mut topics = topics.into_iter().peekable();
    topics.peek()?;
    let mut block = Block::new("gap", None);
    topics.for_each(|(topic, reason)| block.line(format_args!("{topic} {reason}")));
    Some(block.end())
}

/// `tautline.subscribed`: the topic has caught up, to `cursor`.
pub fn subscribed(topic: &str, cursor: Cursor) -> Bytes {
    let mut block = Block::new("subscribed", Some(topic));
    block.line(format_args!("{}", cursor.text().as_str()));
    block.end()
}

/// `tautline.unsubscribed`.
pub fn unsubscribed(topic: &str, why: Ended) -> Bytes {
    let mut block = Block::new("unsubscribed", Some(topic));
    block.line(format_args!(
        "{}",
        match why {
            Ended::Asked => "asked",
            Ended::Revoked => "revoked",
        }
    ));
    block.end()
}

/// `tautline.ack`: the publication with that key has this position.
pub fn ack(topic: &str, key: &str, cursor: Cursor) -> Bytes {
    let mut block = Block::new("ack", Some(topic));
    block.line(format_args!("{key} {}", cursor.text().as_str()));
    block.end()
}

/// `tautline.presence`: how many users are here, and those whom [`Presence::snapshot`](crate::hub::Presence::snapshot) lists.
/// O(users).
pub fn here<'a>(topic: &str, count: usize, users: impl IntoIterator<Item = &'a str>) -> Bytes {
    let mut block = Block::new("presence", Some(topic));
    block.line(format_args!("here {count}"));
    users.into_iter().for_each(|user| block.line(format_args!("{user}")));
    block.end()
}

/// `tautline.presence`: a user came.
pub fn joined(topic: &str, user: &str) -> Bytes {
    let mut block = Block::new("presence", Some(topic));
    block.line(format_args!("join {user}"));
    block.end()
}

/// `tautline.presence`: a user went.
pub fn left(topic: &str, user: &str) -> Bytes {
    let mut block = Block::new("presence", Some(topic));
    block.line(format_args!("leave {user}"));
    block.end()
}

/// `tautline.error`: a command that changed nothing.
///
/// ```
/// use core::time::Duration;
/// use tautline::hub::notice::Error;
/// let error = Error { topic: Some("a"), status: 429, command: "publish", key: Some("k7"), cause: "slow down", after: None };
/// assert_eq!(error.block(), "topic: a\nevent: tautline.error\ndata: 429 publish k7\ndata: slow down\n\n");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error<'a, C> {
    /// The topic, if any.
    pub topic: Option<&'a str>,
    /// HTTP's.
    pub status: u16,
    /// The command, without `tautline.`; `publish` of a publication.
    pub command: &'a str,
    /// The publication's key.
    pub key: Option<&'a str>,
    /// In words, with the limit. One line.
    pub cause: C,
    /// After how long it pays to come back. Written in milliseconds, rounded up.
    pub after: Option<Duration>,
}

impl<C: Display> Error<'_, C> {
    /// The event's block.
    pub fn block(&self) -> Bytes {
        let Self { topic, status, command, key, cause, after } = self;
        let mut block = Block::new("error", *topic);
        match key {
            Some(key) => block.line(format_args!("{status} {command} {key}")),
            None => block.line(format_args!("{status} {command}")),
        }
        block.line(format_args!("{cause}"));
        if let Some(after) = after {
            block.line(format_args!("after {}", after.as_nanos().div_ceil(1_000_000)));
        }
        block.end()
    }
}

impl<'a> From<crate::hub::Refusal<'a>> for Error<'a, crate::hub::CommandError> {
    fn from(refusal: crate::hub::Refusal<'a>) -> Self {
        let crate::hub::Refusal { command, topic, key, cause } = refusal;
        Self { topic, status: cause.status(), command, key, cause, after: None }
    }
}

/// The position block: it dispatches nothing and moves the client's cursor.
pub fn position(cursor: Cursor) -> Bytes {
    let cursor = cursor.text();
    let mut text = String::with_capacity(cursor.as_str().len() + "id: \n\n".len());
    text.push_str("id: ");
    text.push_str(cursor.as_str());
    text.push_str("\n\n");
    text.into_bytes().into()
}

/// What a block of this module's says, for answers in another form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The topic, if any.
    pub topic: Option<&'a str>,
    /// The event type.
    pub event: &'a str,
    /// The data.
    pub data: String,
}

/// The parts of a block that this module made. O(n).
pub fn parts(block: &str) -> Parts<'_> {
    let mut parts = Parts::default();
    let mut first = true;
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("topic", topic)) => parts.topic = Some(topic),
            Some(("event", event)) => parts.event = event,
            Some(("data", data)) => {
                if !core::mem::take(&mut first) {
                    parts.data.push('\n');
                }
                parts.data.push_str(data);
            }
            _ => {}
        }
    }
    parts
}

/// A block under way.
struct Block(String);

impl Block {
    /// Most notices are shorter, and the block is cut to its length in the end.
    const USUAL: usize = 128;

    fn new(event: &str, topic: Option<&str>) -> Self {
        let mut block = Self(String::with_capacity(Self::USUAL));
        if let Some(topic) = topic {
            block.field(format_args!("topic: {topic}"));
        }
        block.field(format_args!("event: tautline.{event}"));
        block
    }

    fn line(&mut self, data: fmt::Arguments<'_>) {
        self.field(format_args!("data: {data}"));
    }

    fn field(&mut self, line: fmt::Arguments<'_>) {
        // It fails only where a `Display` does: then what it wrote before stays.
        let _ = OneLine(&mut self.0).write_fmt(line);
        self.0.push('\n');
    }

    fn end(mut self) -> Bytes {
        self.0.push('\n');
        self.0.into_boxed_str().into_boxed_bytes().into()
    }
}

/// Writes line ends as spaces.
struct OneLine<'s>(&'s mut String);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut parts = text.split(['\n', '\r']);
        self.0.push_str(parts.next().unwrap_or_default());
        parts.for_each(|part| {
            self.0.push(' ');
            self.0.push_str(part);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::cursor::{LogId, Position};
    use crate::hub::session::SessionKeys;
    use crate::hub::{Commands, RateExceeded};
    use crate::input::Input;
    use crate::sse::Parser;
    use alloc::format;
    use core::num::NonZeroU32;
    use proptest::prelude::*;

    const CURSOR: Cursor = Cursor { position: Position { ms: 17, seq: 3 }, log: Some(LogId(0xbeef)) };

    #[test]
    fn each_notice_is_as_the_protocol_says() {
        let token = SessionKeys::new([7; 16], LogId(0xbeef)).mint(1, None);
        assert_eq!(
            session(&token, Duration::from_secs(25)),
            format!("event: tautline.session\ndata: session {}\ndata: heartbeat 25000\n\n", token.as_str())
        );
        assert_eq!(
            gap([("a", GapReason::Expired), ("b/c", GapReason::Ahead), ("d", GapReason::Unknown)]).unwrap(),
            "event: tautline.gap\ndata: a expired\ndata: b/c ahead\ndata: d unknown\n\n"
        );
        assert_eq!(gap([]), None);
        assert_eq!(subscribed("a", CURSOR), "topic: a\nevent: tautline.subscribed\ndata: 17-3-0000beef\n\n");
        assert_eq!(unsubscribed("a", Ended::Asked), "topic: a\nevent: tautline.unsubscribed\ndata: asked\n\n");
        assert_eq!(unsubscribed("a", Ended::Revoked), "topic: a\nevent: tautline.unsubscribed\ndata: revoked\n\n");
        assert_eq!(ack("a", "k7", CURSOR), "topic: a\nevent: tautline.ack\ndata: k7 17-3-0000beef\n\n");
        let presence = "topic: a\nevent: tautline.presence\n";
        assert_eq!(here("a", 0, []), format!("{presence}data: here 0\n\n"));
        assert_eq!(here("a", 3, ["ann", "bob b"]), format!("{presence}data: here 3\ndata: ann\ndata: bob b\n\n"));
        assert_eq!(joined("a", "ann"), format!("{presence}data: join ann\n\n"));
        assert_eq!(left("a", "ann"), format!("{presence}data: leave ann\n\n"));
        assert_eq!(position(CURSOR), "id: 17-3-0000beef\n\n");
    }

    #[test]
    fn an_error_names_status_command_key_cause_and_when_to_come_back() {
        let one = NonZeroU32::MIN;
        let cause = RateExceeded { per_second: one, burst: one, retry_after: Duration::from_micros(1001) };
        let error = Error {
            topic: None,
            status: cause.status(),
            command: "publish",
            key: Some("k7"),
            cause,
            after: Some(cause.retry_after),
        };
        assert_eq!(
            error.block(),
            "event: tautline.error\ndata: 429 publish k7\ndata: more than 1 commands per second, 1 at once\ndata: after 2\n\n"
        );
        let refusal = Commands::read("event: tautline.subscribe\ntopic: a\ndata: abc").next().unwrap().unwrap_err();
        assert_eq!(
            Error::from(refusal).block(),
            "topic: a\nevent: tautline.error\ndata: 400 subscribe\ndata: cursor is neither 0 nor ms-seq-log\n\n"
        );
    }

    #[test]
    fn a_line_end_cannot_add_a_line() {
        assert_eq!(joined("a\n", "x\r\n\nid: 9"), "topic: a \nevent: tautline.presence\ndata: join x   id: 9\n\n");
    }

    proptest! {
        #[test]
        fn a_client_reads_each_as_one_event_without_id(topic: String, user: String, key: String, count: usize, after: Option<Duration>) {
            let flat = |text: &str| text.replace(['\r', '\n'], " ");
            let error = Error { topic: Some(&*topic), status: 429, command: "publish", key: Some(&*key), cause: &*user, after };
            let after = after.map_or(String::new(), |after| format!("\nafter {}", after.as_nanos().div_ceil(1_000_000)));
            for (block, event, data) in [
                (joined(&topic, &user), "presence", format!("join {}", flat(&user))),
                (here(&topic, count, [&*user, &*key]), "presence", format!("here {count}\n{}\n{}", flat(&user), flat(&key))),
                (ack(&topic, &key, CURSOR), "ack", format!("{} 17-3-0000beef", flat(&key))),
                (error.block(), "error", format!("429 publish {}\n{}{after}", flat(&key), flat(&user))),
            ] {
                let mut bytes = block.to_vec();
                let (mut parser, mut input) = (Parser::new(), Input::new(&mut bytes));
                let read = parser.next_event(&mut input).unwrap().unwrap();
                prop_assert_eq!((read.event, read.id), (&*format!("tautline.{event}"), None));
                prop_assert_eq!((read.topic, read.data), (Some(&*flat(&topic)), &*data));
                prop_assert!(parser.next_event(&mut input).unwrap().is_none());
                prop_assert!(input.is_empty());
            }
        }
    }
}
