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
    pub(super) place: Place,
    /// Topics with a cursor of their own, in the order in which they catch up. Their events come when the member is live.
    pub(super) own: Owns,
    pub(super) acknowledging: Option<Box<Acknowledging>>,
    pub(super) rate: Bucket,
}

/// Topics with cursors of their own. None, the usual case, take a pointer, and not the three words of a list.
#[derive(Debug, Default)]
#[allow(clippy::box_collection)]
pub(super) struct Owns(Option<Box<Vec<Own>>>);

impl Owns {
    pub(super) fn push(&mut self, own: Own) {
        self.0.get_or_insert_default().push(own);
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&Own) -> bool) {
        if let Some(owns) = &mut self.0 {
            owns.retain(keep);
            if owns.is_empty() {
                self.0 = None;
            }
        }
    }

    pub(super) fn remove(&mut self, at: usize) -> Option<Own> {
        let owns = self.0.as_mut().filter(|owns| at < owns.len())?;
        let own = owns.remove(at);
        if owns.is_empty() {
            self.0 = None;
        }
        Some(own)
    }

    pub(super) fn as_slice(&self) -> &[Own] {
        self.0.as_ref().map_or(&[], |owns| owns)
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Own> {
        self.0.as_mut()?.get_mut(at)
    }
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
    /// The last position that a block may have told before it was set back.
    pub(super) told_before: Position,
    /// When what is not acknowledged is sent again.
    pub(super) due: Option<Instant>,
    /// The cursor that it came with: it had everything up to there, whether it acknowledged that or not.
    pub(super) known: Position,
    /// As [`Behind::told`], while it is live.
    pub(super) told: Vec<(Arc<str>, Position)>,
    /// Topics that began later than what was acknowledged, and where.
    since: Vec<(Arc<str>, Position)>,
}

impl Acknowledging {
    /// Nothing was sent yet.
    pub(super) fn new(acknowledged: Position, known: Position) -> Self {
        Self {
            acknowledged,
            sent: acknowledged,
            told_before: Position::ZERO,
            due: None,
            known,
            told: Vec::new(),
            since: Vec::new(),
        }
    }

    /// A topic begins: what it had before is not sent, or sent again.
    pub(super) fn begin(&mut self, topic: &str, at: Position) {
        self.end(topic);
        if at > self.acknowledged {
            self.since.push((topic.into(), at));
        }
    }

    /// A topic has ended.
    pub(super) fn end(&mut self, topic: &str) {
        self.told.retain(|(told, _)| **told != *topic);
        self.since.retain(|(since, _)| **since != *topic);
    }

    /// Where a topic began, if that matters.
    pub(super) fn since(&self, topic: &str) -> Position {
        self.since.iter().find(|(since, _)| **since == *topic).map_or(Position::ZERO, |(_, at)| *at)
    }

    /// Notes what was received, which is more than before.
    pub(super) fn acknowledge(&mut self, acknowledged: Position) {
        self.acknowledged = acknowledged;
        // Nothing goes back behind this.
        self.told.retain(|(_, floor)| *floor > acknowledged);
        self.since.retain(|(_, at)| *at > acknowledged);
    }

    /// Notes that something was sent.
    pub(super) fn note(&mut self, sent: Position, due: Instant) {
        self.sent = self.sent.max(sent);
        self.due.get_or_insert(due);
    }
}

impl Member {
    /// Goes on from an earlier position, if it is one.
    pub(super) fn go_back(&mut self, at: Position) {
        match &mut self.place {
            Place::Behind(behind) => behind.at = behind.at.min(at),
            place => {
                let told = self.acknowledging.as_mut().map(|past| core::mem::take(&mut past.told)).unwrap_or_default();
                *place = Place::Behind(Box::new(Behind { at, told, gaps: Vec::new(), first: false }));
            }
        }
    }

    /// Whether it waits for more to be applied before it can go on.
    pub(super) fn beyond(&self, applied: Position) -> bool {
        let main = matches!(&self.place, Place::Behind(behind) if behind.at > applied);
        main || self.own.as_slice().iter().any(|own| own.at.max(self.came()) > applied)
    }

    /// The cursor that it came with, where what it is sent may begin before that. Below it no topic has caught up with the others: a client
    /// whose own cursor ends compares with the connection's, which is no less.
    pub(super) fn came(&self) -> Position {
        self.acknowledging.as_ref().map_or(Position::ZERO, |past| past.known)
    }
}
