//! What a desk keeps of each member.

use crate::hub::authority::Identity;
use crate::hub::cursor::Position;
use crate::hub::notice::GapReason;
use crate::hub::rate::Bucket;
use crate::hub::session::SessionId;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// One member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) session: SessionId,
    pub(super) identity: Identity,
    /// The cursor that it came with. What must be acknowledged may begin before it; below it no topic has caught up with the others.
    pub(super) came: Position,
    pub(super) place: Place,
    /// Topics with a cursor of their own, in the order in which they catch up. Their events come when the member is live.
    pub(super) own: Vec<Own>,
    pub(super) acknowledging: Option<Acknowledging>,
    pub(super) rate: Bucket,
}

/// Where a member is.
#[derive(Debug)]
pub(super) enum Place {
    /// It has had, or was sent, everything that was applied.
    Live,
    Behind(Box<Behind>),
}

/// A member that has something to pull, or waits until its cursor is reached.
#[derive(Debug)]
pub(super) struct Behind {
    /// It has everything of its topics up to here.
    pub(super) at: Position,
    /// Topics whose loss up to a floor it knows of.
    pub(super) told: Vec<(Arc<str>, Position)>,
    /// What it is still to be told.
    pub(super) gaps: Vec<Gap>,
    /// It has just attached.
    pub(super) first: bool,
}

/// Events of a topic may be missing.
#[derive(Debug)]
pub(super) struct Gap {
    pub(super) topic: Arc<str>,
    pub(super) reason: GapReason,
}

/// A topic that catches up by itself.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) topic: Box<str>,
    pub(super) at: Position,
    /// The floor that the member knows of.
    pub(super) told: Position,
    pub(super) gap: Option<GapReason>,
}

/// What has to be acknowledged.
#[derive(Debug)]
pub(super) struct Acknowledging {
    pub(super) acknowledged: Position,
    /// The last that was sent.
    pub(super) sent: Position,
    /// When what is not acknowledged is sent again.
    pub(super) due: Option<Instant>,
}

impl Acknowledging {
    /// Notes that something was sent.
    pub(super) fn note(&mut self, sent: Position, due: Instant) {
        self.sent = self.sent.max(sent);
        self.due.get_or_insert(due);
    }
}

impl Member {
    /// Whether it waits for more to be applied before it can go on.
    pub(super) fn beyond(&self, applied: Position) -> bool {
        let main = matches!(&self.place, Place::Behind(behind) if behind.at > applied);
        main || self.own.iter().any(|own| own.at.max(self.came) > applied)
    }
}
