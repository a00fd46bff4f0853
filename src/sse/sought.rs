//! What the parser is asked to look for, and what it finds.

use super::parse::Found;

/// What a search came to.
pub(crate) enum Hit {
    /// An event is due.
    Event(Found),
    /// A block without data set the last event id, be it to what it was.
    Position,
}

/// What a search is for.
pub(super) trait Sought: Sized {
    fn event(found: Found) -> Self;

    /// A position, where that is sought.
    fn position() -> Option<Self>;
}

impl Sought for Found {
    #[inline]
    fn event(found: Found) -> Self {
        found
    }

    #[inline]
    fn position() -> Option<Self> {
        None
    }
}

impl Sought for Hit {
    #[inline]
    fn event(found: Found) -> Self {
        Self::Event(found)
    }

    #[inline]
    fn position() -> Option<Self> {
        Some(Self::Position)
    }
}

/// The fields of an event where they lie. They need not be UTF-8.
#[derive(Default)]
pub(crate) struct Peek<'a> {
    /// The event type; empty where the block names none.
    pub(crate) event: &'a [u8],
    pub(crate) id: Option<&'a [u8]>,
    pub(crate) topic: Option<&'a [u8]>,
    pub(crate) data: &'a [u8],
}
