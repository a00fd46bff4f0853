//! What clients say to the hub: blocks in, commands out, and the way back for those who write clients.

use crate::hub::cursor::{Cursor, CursorError};
use crate::hub::entry::RESERVED_EVENTS;
use crate::hub::keys::{KeyError, check_key};
use crate::hub::topic::{DEFAULT_TOPIC, TopicError, check_name};
use crate::sse::Event;
use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;
use memchr::memchr2;

/// The longest slot name in bytes: as a topic's. It is kept with what is retained.
pub const MAX_SLOT_NAME: usize = 128;

/// A client's command: one block. docs/PROTOCOL.md, "Commands, from the client".
///
/// Its Debug output hides tokens and data.
#[derive(Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// `tautline.subscribe`
    Subscribe {
        /// The topic; [`DEFAULT_TOPIC`] where the block names none.
        topic: &'a str,
        /// Where to go on; `None` is from now on.
        cursor: Option<Cursor>,
    },
    /// `tautline.unsubscribe`
    Unsubscribe {
        /// The topic.
        topic: &'a str,
    },
    /// `tautline.ack`
    Ack {
        /// Everything up to here was received.
        cursor: Cursor,
    },
    /// `tautline.presence`
    Presence {
        /// The topic.
        topic: &'a str,
    },
    /// `tautline.token`: first-message authentication. Not empty.
    Token(&'a str),
    /// Any other event.
    Publish(Publish<'a>),
}

/// A publication, as a client asks for it. Its names are checked, except that the topic need not exist.
#[derive(Clone, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The topic; [`DEFAULT_TOPIC`] where the block names none.
    pub topic: &'a str,
    /// The event type; `message` by default. Never one of the protocol's own.
    pub event: &'a str,
    /// The data. Lines are joined with LF; borrowed where there is one line.
    pub data: Cow<'a, str>,
    /// By which it is answered, and published once: 1 to [`MAX_KEY`](crate::hub::MAX_KEY) visible ASCII characters.
    pub key: Option<&'a str>,
    /// Who gets it.
    pub audience: To,
    /// Whether it has a place in the history.
    pub keep: Kept,
    /// What it replaces in a topic that conflates, 1 to [`MAX_SLOT_NAME`] bytes; the event type by default.
    pub slot: Option<&'a str>,
}

/// Who gets a publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum To {
    /// Every subscriber of the topic.
    #[default]
    All,
    /// Every one but the sender's own session, in replay too. `to: others`.
    Others,
}

/// Whether a publication has a place in the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// It has an id and is retained.
    #[default]
    Retained,
    /// It has neither, and is the first to be shed. `keep: no`.
    Ephemeral,
}

impl<'a> Publish<'a> {
    /// To everyone on `topic`, retained, of type `message`, without key and slot.
    pub const fn new(topic: &'a str, data: &'a str) -> Self {
        Self {
            topic,
            event: Event::new("").event,
            data: Cow::Borrowed(data),
            key: None,
            audience: To::All,
            keep: Kept::Retained,
            slot: None,
        }
    }

    /// Checks every name, as reading does.
    ///
    /// # Errors
    ///
    /// The first fault, in the order topic, key, `keep` beside a key, event, slot.
    pub fn check(&self) -> Result<(), CommandError> {
        check_name(self.topic)?;
        if let Some(key) = self.key {
            check_key(key)?;
            if self.keep == Kept::Ephemeral {
                return Err(CommandError::EphemeralKey);
            }
        }
        if self.event.starts_with(RESERVED_EVENTS) {
            return Err(CommandError::Unknown);
        }
        if has_line_end(self.event) {
            return Err(CommandError::Event);
        }
        match self.slot {
            Some(slot) if slot.is_empty() || slot.len() > MAX_SLOT_NAME || has_line_end(slot) => {
                Err(CommandError::Slot)
            }
            _ => Ok(()),
        }
    }
}

impl Command<'_> {
    /// Appends the command's block, its blank line included: whole or not at all. O(n).
    ///
    /// [`Commands::read`] gives the command back as it was, except that CR and CRLF in data arrive as LF, and an empty event type
    /// as `message`.
    ///
    /// # Errors
    ///
    /// A name that the server would refuse, or a token that does not fit into a line. Nothing was written.
    pub fn encode(&self, to: &mut String) -> Result<(), CommandError> {
        match self {
            Self::Subscribe { topic, cursor } => {
                check_name(topic)?;
                line(to, "event", "tautline.subscribe");
                line(to, "topic", topic);
                if let Some(cursor) = cursor {
                    line(to, "data", cursor.text().as_str());
                }
            }
            Self::Unsubscribe { topic } => {
                check_name(topic)?;
                line(to, "event", "tautline.unsubscribe");
                line(to, "topic", topic);
            }
            Self::Ack { cursor } => {
                line(to, "event", "tautline.ack");
                line(to, "data", cursor.text().as_str());
            }
            Self::Presence { topic } => {
                check_name(topic)?;
                line(to, "event", "tautline.presence");
                line(to, "topic", topic);
            }
            Self::Token(token) => {
                check_token(token)?;
                line(to, "event", "tautline.token");
                line(to, "data", token);
            }
            Self::Publish(publish) => {
                publish.check()?;
                publish.encode(to);
            }
        }
        to.push('\n');
        Ok(())
    }
}

impl Publish<'_> {
    fn encode(&self, to: &mut String) {
        if let Some(key) = self.key {
            line(to, "id", key);
        }
        line(to, "topic", self.topic);
        if !matches!(self.event, "" | "message") {
            line(to, "event", self.event);
        }
        if self.audience == To::Others {
            line(to, "to", "others");
        }
        if self.keep == Kept::Ephemeral {
            line(to, "keep", "no");
        }
        if let Some(slot) = self.slot {
            line(to, "slot", slot);
        }
        Lines(&self.data, Rest::Line).for_each(|data| line(to, "data", data));
    }
}

impl fmt::Debug for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscribe { topic, cursor } => {
                f.debug_struct("Subscribe").field("topic", topic).field("cursor", cursor).finish()
            }
            Self::Unsubscribe { topic } => f.debug_struct("Unsubscribe").field("topic", topic).finish(),
            Self::Ack { cursor } => f.debug_struct("Ack").field("cursor", cursor).finish(),
            Self::Presence { topic } => f.debug_struct("Presence").field("topic", topic).finish(),
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Publish(publish) => publish.fmt(f),
        }
    }
}

impl fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("topic", &self.topic)
            .field("event", &self.event)
            .field("data", &format_args!("{} bytes", self.data.len()))
            .field("key", &self.key)
            .field("audience", &self.audience)
            .field("keep", &self.keep)
            .field("slot", &self.slot)
            .finish()
    }
}

/// Reads the blocks of one text: a message of the WebSocket, or the body of `POST /send`.
///
/// - Lines end in LF, CR or CRLF, blocks in an empty line or with the text. One space behind a colon is no part of the value; a line
///   without colon is a field without value. Of a field that stands there twice the last one counts; `data` lines are joined.
/// - Comments, unknown fields and blocks that have no field at all are passed over. A byte order mark in front is, too.
/// - Each block is a command or a [`Refusal`], and a refusal says nothing of the others: go on.
///
/// O(n) for the whole text. Nothing is allocated, but for data of several lines.
#[derive(Clone)]
pub struct Commands<'a> {
    lines: Lines<'a>,
}

impl<'a> Commands<'a> {
    /// The commands of a text.
    pub fn read(text: &'a str) -> Self {
        Self { lines: Lines(text.strip_prefix('\u{feff}').unwrap_or(text), Rest::Line) }
    }
}

impl fmt::Debug for Commands<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands").field("rest", &self.lines.0.len()).finish()
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Command<'a>, Refusal<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut block = Block::default();
        loop {
            match self.lines.next() {
                Some("") | None if block.named => return Some(block.command()),
                Some(line) => block.take(line),
                None => return None,
            }
        }
    }
}

impl core::iter::FusedIterator for Commands<'_> {}

/// A block that is no command: what an error notice says of it, [`notice::Error`](crate::hub::notice::Error). The names in it are
/// checked; what is none is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// `subscribe`, `publish` and so on; of an unknown `tautline.` event what follows the dot, where that is 1 to 32 bytes of
    /// `a-z 0-9 _ -`, else `unknown`.
    pub command: &'a str,
    /// The topic, where the block has one that is a name.
    pub topic: Option<&'a str>,
    /// The key of a publication, where it is one.
    pub key: Option<&'a str>,
    /// Why.
    pub cause: CommandError,
}

/// Why a block is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// The event type begins with [`RESERVED_EVENTS`] and is no command.
    Unknown,
    /// The topic's name is none.
    Topic(TopicError),
    /// The cursor is none. A missing one is none where there must be one.
    Cursor(CursorError),
    /// The key is none.
    Key(KeyError),
    /// A key beside `keep: no`: what has no position is not answered with one.
    EphemeralKey,
    /// A publication with neither `event` nor `data`.
    Empty,
    /// `to` with a value other than `others`.
    To,
    /// `keep` with a value other than `no`.
    Keep,
    /// A slot of no bytes or of more than [`MAX_SLOT_NAME`], or with a line end.
    Slot,
    /// A line end in the event type. (Only where it is encoded.)
    Event,
    /// A token that is empty, or more than one line.
    Token,
}

impl CommandError {
    /// The status of the answer: 400.
    pub const fn status(self) -> u16 {
        400
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => {
                write!(f, "unknown command: event types that begin with {RESERVED_EVENTS} are the protocol's own")
            }
            Self::Topic(e) => e.fmt(f),
            Self::Cursor(e) => e.fmt(f),
            Self::Key(e) => e.fmt(f),
            Self::EphemeralKey => f.write_str("ephemeral publication with a key"),
            Self::Empty => f.write_str("publication with neither event nor data"),
            Self::To => f.write_str("to is not others"),
            Self::Keep => f.write_str("keep is not no"),
            Self::Slot => write!(f, "slot is not 1 to {MAX_SLOT_NAME} bytes"),
            Self::Event => f.write_str("line end in an event type"),
            Self::Token => f.write_str("token is not one line"),
        }
    }
}

impl core::error::Error for CommandError {}

impl From<TopicError> for CommandError {
    fn from(e: TopicError) -> Self {
        Self::Topic(e)
    }
}

impl From<CursorError> for CommandError {
    fn from(e: CursorError) -> Self {
        Self::Cursor(e)
    }
}

impl From<KeyError> for CommandError {
    fn from(e: KeyError) -> Self {
        Self::Key(e)
    }
}

/// The fields of a block, as they came.
#[derive(Default)]
struct Block<'a> {
    /// It has a field that is known.
    named: bool,
    event: Option<&'a str>,
    topic: Option<&'a str>,
    data: Option<Cow<'a, str>>,
    id: Option<&'a str>,
    to: Option<&'a str>,
    keep: Option<&'a str>,
    slot: Option<&'a str>,
}

impl<'a> Block<'a> {
    fn take(&mut self, line: &'a str) {
        let (name, value) = match line.split_once(':') {
            Some((name, value)) => (name, value.strip_prefix(' ').unwrap_or(value)),
            None => (line, ""),
        };
        let field = match name {
            "data" => {
                match &mut self.data {
                    Some(data) => {
                        let data = data.to_mut();
                        data.push('\n');
                        data.push_str(value);
                    }
                    none => *none = Some(Cow::Borrowed(value)),
                }
                self.named = true;
                return;
            }
            "event" => &mut self.event,
            "topic" => &mut self.topic,
            "id" => &mut self.id,
            "to" => &mut self.to,
            "keep" => &mut self.keep,
            "slot" => &mut self.slot,
            _ => return,
        };
        *field = Some(value);
        self.named = true;
    }

    fn command(self) -> Result<Command<'a>, Refusal<'a>> {
        let command = match self.event.and_then(|event| event.strip_prefix(RESERVED_EVENTS)) {
            Some(name) if is_command_name(name) => name,
            Some(_) => "unknown",
            None => "publish",
        };
        let topic = self.topic.filter(|topic| check_name(topic).is_ok());
        let key = self.id.filter(|key| command == "publish" && check_key(key).is_ok());
        self.checked(command).map_err(|cause| Refusal { command, topic, key, cause })
    }

    fn checked(self, command: &str) -> Result<Command<'a>, CommandError> {
        let topic = self.topic.unwrap_or(DEFAULT_TOPIC);
        let published = !self.event.is_some_and(|event| event.starts_with(RESERVED_EVENTS));
        if published {
            return self.publish(topic).map(Command::Publish);
        }
        if matches!(command, "subscribe" | "unsubscribe" | "presence") {
            check_name(topic)?;
        }
        Ok(match command {
            "subscribe" => {
                Command::Subscribe { topic, cursor: self.data.map(|data| Cursor::parse(&data)).transpose()? }
            }
            "unsubscribe" => Command::Unsubscribe { topic },
            "ack" => Command::Ack { cursor: Cursor::parse(&self.data.unwrap_or_default())? },
            "presence" => Command::Presence { topic },
            "token" => match self.data {
                Some(Cow::Borrowed(token)) => {
                    check_token(token)?;
                    Command::Token(token)
                }
                _ => return Err(CommandError::Token),
            },
            _ => return Err(CommandError::Unknown),
        })
    }

    fn publish(self, topic: &'a str) -> Result<Publish<'a>, CommandError> {
        if self.event.is_none() && self.data.is_none() {
            return Err(CommandError::Empty);
        }
        let audience = match self.to {
            None => To::All,
            Some("others") => To::Others,
            // A slip in it would send to everyone.
            Some(_) => return Err(CommandError::To),
        };
        let keep = match self.keep {
            None => Kept::Retained,
            Some("no") => Kept::Ephemeral,
            Some(_) => return Err(CommandError::Keep),
        };
        let publish = Publish {
            event: self.event.filter(|event| !event.is_empty()).unwrap_or(Event::new("").event),
            data: self.data.unwrap_or_default(),
            key: self.id,
            audience,
            keep,
            slot: self.slot,
            ..Publish::new(topic, "")
        };
        publish.check()?;
        Ok(publish)
    }
}

/// The longest name of an unknown command that an error repeats.
const MAX_REPEATED: usize = 32;

fn is_command_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    (1..=MAX_REPEATED).contains(&name.len()) && name.bytes().all(allowed)
}

fn check_token(token: &str) -> Result<(), CommandError> {
    if token.is_empty() || has_line_end(token) { Err(CommandError::Token) } else { Ok(()) }
}

fn has_line_end(text: &str) -> bool {
    memchr2(b'\n', b'\r', text.as_bytes()).is_some()
}

fn line(to: &mut String, name: &str, value: &str) {
    to.push_str(name);
    // The space is always written: a value that begins with one would lose it otherwise.
    to.push_str(": ");
    to.push_str(value);
    to.push('\n');
}

/// The lines of a text: what is left, and whether a last line is among it. One more than there are line ends.
#[derive(Clone)]
struct Lines<'a>(&'a str, Rest);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Line,
    Nothing,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.1 == Rest::Nothing {
            return None;
        }
        let Some(end) = memchr2(b'\n', b'\r', self.0.as_bytes()) else {
            self.1 = Rest::Nothing;
            return Some(core::mem::take(&mut self.0));
        };
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix("\r\n").unwrap_or(&rest[1..]);
        Some(line)
    }
}
