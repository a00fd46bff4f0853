//! Who gives out positions.

use crate::hub::cursor::{Cursor, LogId, Position};

/// Gives every publication its place in the one order of a log.
///
/// There is one per log. Positions follow the clock where it moves on, and ascend strictly whatever it does: in an equal or earlier
/// millisecond the sequence number counts up. A clock that leapt ahead and came back is waited for.
#[derive(Debug)]
pub struct Sequencer {
    log: LogId,
    head: Position,
}

impl Sequencer {
    /// The sequencer of an empty log. `log` should be chosen at random: by it, cursors of an earlier run are told apart.
    pub const fn new(log: LogId) -> Self {
        Self { log, head: Position::ZERO }
    }

    /// The next position, above all before it. `unix_ms`: milliseconds since the Unix epoch, from any clock.
    #[must_use = "the position is used up"]
    pub fn next(&mut self, unix_ms: u64) -> Position {
        let Position { ms, seq } = self.head;
        self.head = if unix_ms > ms {
            Position { ms: unix_ms, seq: 0 }
        } else {
            match seq.checked_add(1) {
                Some(seq) => Position { ms, seq },
                // Not in the life of a machine: 2^64 publications in one millisecond.
                None => Position { ms: ms.saturating_add(1), seq: 0 },
            }
        };
        self.head
    }

    /// The position given out last; [`Position::ZERO`] before the first. A cursor beyond it is not of this log.
    pub const fn head(&self) -> Position {
        self.head
    }

    /// The log's id.
    pub const fn log(&self) -> LogId {
        self.log
    }

    /// A position of this log as the cursor that clients are given.
    pub const fn cursor(&self, position: Position) -> Cursor {
        Cursor { position, log: Some(self.log) }
    }
}
