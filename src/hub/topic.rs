//! Topic names, and why a subscription is refused.

use core::fmt;

/// The topic of a request that names none.
pub const DEFAULT_TOPIC: &str = "default";

/// The longest topic name in bytes. Enough for a path of ids; short enough that 100,000 of them are 13 MB.
pub const MAX_TOPIC_NAME: usize = 128;

/// Checks a topic name: 1 to [`MAX_TOPIC_NAME`] bytes of `A-Z a-z 0-9 _ . : / -`, so that it stands in queries, event streams and logs
/// as it is. Costs no more for a longer name than for one at the limit.
///
/// # Errors
///
/// [`TopicError::EmptyName`], [`TopicError::LongName`], [`TopicError::BadCharacter`].
pub fn check_name(name: &str) -> Result<(), TopicError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'/' | b'-');
    match name.len() {
        0 => Err(TopicError::EmptyName),
        1..=MAX_TOPIC_NAME if name.bytes().all(allowed) => Ok(()),
        1..=MAX_TOPIC_NAME => Err(TopicError::BadCharacter),
        _ => Err(TopicError::LongName),
    }
}

/// Why a topic was refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// A name of no bytes. (A request without any name means [`DEFAULT_TOPIC`].)
    EmptyName,
    /// A name of more than [`MAX_TOPIC_NAME`] bytes.
    LongName,
    /// A name with anything but `A-Z a-z 0-9 _ . : / -`.
    BadCharacter,
    /// The subscriber has as many topics as it may have.
    TooManyTopics {
        /// The limit per subscriber.
        limit: usize,
    },
    /// The topic would be a new one, and the hub has as many as it may have.
    HubFull {
        /// The limit of the hub.
        limit: usize,
    },
}

impl TopicError {
    /// The status of the answer: 400 for what the client asked, 503 where the hub is full. A subscriber's own limit is a 400 and
    /// not a 429, which clients take as "the same again, later": later it is refused again.
    pub const fn status(self) -> u16 {
        match self {
            Self::EmptyName | Self::LongName | Self::BadCharacter | Self::TooManyTopics { .. } => 400,
            Self::HubFull { .. } => 503,
        }
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyName => f.write_str("empty topic name"),
            Self::LongName => write!(f, "topic name of more than {MAX_TOPIC_NAME} bytes"),
            Self::BadCharacter => f.write_str("topic name with a character other than A-Z a-z 0-9 _ . : / -"),
            Self::TooManyTopics { limit } => write!(f, "more than {limit} topics of one subscriber"),
            Self::HubFull { limit } => write!(f, "more than {limit} topics in the hub"),
        }
    }
}

impl core::error::Error for TopicError {}
