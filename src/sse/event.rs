//! Events as values.

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The event type; `"message"` where the stream named none.
    pub event: &'a str,
    /// The data. Lines are joined with LF.
    pub data: &'a str,
    /// The id that the event's own block sets; the empty string resets it. `None` where the block has no (valid) `id` field: then
    /// the standard's `lastEventId` is an earlier one, [`Parser::last_event_id`](super::Parser::last_event_id).
    pub id: Option<&'a str>,
    /// The topic: a field of this crate's hub, which standard parsers skip.
    pub topic: Option<&'a str>,
}
