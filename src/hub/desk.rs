//! One worker's hub: who is attached, what each of them has had, and what comes next for each.

use crate::hub::attach::{Delivery, Resume};
use crate::hub::authority::Identity;
use crate::hub::config::HubConfig;
use crate::hub::cursor::{Cursor, LogId, Position};
use crate::hub::member::{Acknowledging, Behind, Gap, Member, Own, Owns, Place};
use crate::hub::notice::{self, GapReason};
use crate::hub::publication::{Carry, Publication};
use crate::hub::rate::{Bucket, Poster, RateExceeded};
use crate::hub::retained::Retained;
use crate::hub::session::SessionId;
use crate::hub::topic::TopicError;
use crate::hub::topics::{Subscribed, TopicLimits, Topics, Unsubscribed};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

/// One worker's replica of the hub. Every worker [applies](Self::apply) the same publications in the same order, so all retain the same.
///
/// A subscriber is a number, as for [`Topics`]; one that is [attached](Self::attach) is a _member_. What is applied goes to the topic's
/// [`subscribers`](Topics::subscribers) at once: to a [plain](Self::is_plain) member as it is, to any other as [`offer`](Self::offer) says.
/// What a member missed, it [pulls](Self::pull), as fast as its connection takes it.
///
/// # Contract
///
/// - Every member gets each event of its topics at most once (but for what it was to acknowledge and did not), in ascending position; and either
///   all of them behind the cursor it came with, or a gap notice that names the topics.
/// - No memory is held for what a member has still to get: it is in the histories, or it is gone and told as a gap.
/// - Calls may come in any order; a member that is not there has nothing to pull.
#[derive(Debug)]
pub struct Desk<C> {
    config: Arc<HubConfig>,
    log: LogId,
    applied: Position,
    topics: Topics,
    retained: Retained<C>,
    members: Vec<Option<Box<Member>>>,
    /// Members whose cursor is beyond what was applied here: they wait for that.
    ahead: Vec<u32>,
    /// Those who are no members and give commands, by connection.
    posters: BTreeMap<u32, Poster>,
}

/// Who attaches, to what, and from where on.
#[derive(Clone, Debug)]
pub struct Attachment<'a> {
    /// The session.
    pub session: SessionId,
    /// Whose it is.
    pub identity: Identity,
    /// The topics, some with a cursor of their own.
    pub topics: &'a [(&'a str, Option<Resume>)],
    /// Where the others go on.
    pub resume: Resume,
    /// Whether what is sent has to be acknowledged, or is sent again.
    pub delivery: Delivery,
    /// What the session acknowledged before: it goes on from there, wherever its cursor is.
    pub acknowledged: Option<Position>,
    /// The position given out last in the log, which may be beyond what this worker has applied.
    pub head: Position,
}

/// Something for a member.
#[derive(Clone, Debug)]
pub enum Item<C> {
    /// An event.
    Publication(C),
    /// A block of the protocol's own.
    Notice(Bytes),
}

/// How much a member takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Events.
    pub events: usize,
    /// Bytes of blocks.
    pub bytes: usize,
    /// Whether these hold for the first event, too.
    pub first: First,
}

/// What the first event of a pull may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Of any length: the queue is empty, or the answer has no bound but this.
    Any,
    /// One that fits: else it waits for the next pull.
    Fitting,
}

/// How a pull ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// There is more: pull again when there is room.
    More,
    /// That was all, for the first time: the attach ends with presence and a [`position`](Desk::position) block.
    Attached,
    /// That was all. From here on it is live.
    CaughtUp,
}

/// What becomes of an event for a member that is not plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Send it now.
    Send,
    /// Not now: it comes with the next pull. Or never, as it is not for this member.
    Skip,
}

impl<C: Carry> Desk<C> {
    /// A hub of a log that begins at `origin`: nothing applied, nobody attached.
    pub fn new(config: Arc<HubConfig>, topics: TopicLimits, log: LogId, origin: Position) -> Self {
        let retained = Retained::new(config.retained, origin);
        Self {
            config,
            log,
            applied: origin,
            topics: Topics::new(topics),
            retained,
            members: Vec::new(),
            ahead: Vec::new(),
            posters: BTreeMap::new(),
        }
    }

    /// Subscribers and topics. Those that are no members may be changed directly.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// As [`topics`](Self::topics).
    pub fn topics_mut(&mut self) -> &mut Topics {
        &mut self.topics
    }

    /// What is retained.
    pub fn retained(&self) -> &Retained<C> {
        &self.retained
    }

    /// The settings.
    pub fn config(&self) -> &Arc<HubConfig> {
        &self.config
    }

    /// Up to where publications were applied.
    pub fn position(&self) -> Cursor {
        Cursor { position: self.applied, log: Some(self.log) }
    }

    /// Applies a publication: it is retained, if its topic does that. Positions ascend. Send it to the subscribers next.
    pub fn apply(&mut self, position: Position, carried: C) {
        self.applied = self.applied.max(position);
        let Some(publication) = carried.publication() else { return };
        let entry = publication.entry();
        if !entry.is_ephemeral() {
            let topic = entry.topic();
            let limits = self.config.policies.of(topic).history;
            // The topic's name lies in what is given away.
            let topic: Box<str> = topic.into();
            self.retained.push(&topic, &limits, carried);
        }
    }

    /// Notes that something was published that is no event of the hub's, or that nothing is retained here.
    pub fn pass(&mut self, position: Position) {
        self.applied = self.applied.max(position);
    }

    /// Lets go of what is too old. `unix_ms` as positions have it.
    pub fn let_go(&mut self, unix_ms: u64) {
        self.retained.let_go(unix_ms);
    }

    /// Lets go of so many bytes of histories and more, the oldest first: where a budget is shared with others.
    pub fn shed(&mut self, bytes: usize) -> usize {
        self.retained.shed(bytes)
    }

    // Members.

    /// Attaches a subscriber, in one step: what is behind its cursor it gets by [pulling](Self::pull), what is applied from now on besides.
    ///
    /// # Errors
    ///
    /// [`TopicError`]: it is subscribed to nothing.
    pub fn attach(&mut self, subscriber: u32, who: &Attachment<'_>) -> Result<(), TopicError> {
        self.detach(subscriber);
        let mut own = Owns::default();
        let (cursor, mut reason) = self.begin(who.resume, who.head);
        let acknowledged = match (who.delivery, who.acknowledged) {
            (Delivery::Acknowledged, Some(before)) if reason == Begin::Known => before.min(cursor),
            _ => cursor,
        };
        // Who has no cursor says nothing of what it has.
        let known = if who.resume == Resume::Live { acknowledged } else { cursor };
        if known == Position::ZERO && reason == Begin::Known {
            reason = Begin::Everything;
        }
        let mut behind = Behind { at: acknowledged, told: Vec::new(), gaps: Vec::new(), first: true };
        for &(topic, cursor) in who.topics {
            if let Err(error) = self.topics.subscribe(subscriber, topic) {
                self.topics.forget(subscriber);
                return Err(error);
            }
            match cursor {
                Some(resume) => own.push(self.own(topic, resume, who.head)),
                None => self.told(&mut behind, topic, reason),
            }
        }
        let acknowledging = match who.delivery {
            Delivery::Plain => None,
            Delivery::Acknowledged => {
                let mut acknowledging = Acknowledging::new(acknowledged, known);
                own.as_slice().iter().for_each(|own| acknowledging.begin(&own.topic, own.at));
                Some(Box::new(acknowledging))
            }
        };
        let member = Member {
            session: who.session,
            identity: who.identity.clone(),
            place: Place::Behind(Box::new(behind)),
            own,
            acknowledging,
            rate: Bucket::new(),
        };
        self.insert(subscriber, member);
        Ok(())
    }

    /// Ends a member and its subscriptions. Nothing happens to who is none but that its subscriptions end.
    pub fn detach(&mut self, subscriber: u32) {
        self.topics.forget(subscriber);
        if !self.ahead.is_empty() {
            self.ahead.retain(|&waits| waits != subscriber);
        }
        if let Some(slot) = self.members.get_mut(subscriber as usize) {
            *slot = None;
            while let Some(None) = self.members.last() {
                self.members.pop();
            }
            if self.members.capacity() > 64 && self.members.len() < self.members.capacity() / 4 {
                self.members.shrink_to(self.members.len() * 2);
            }
        }
    }

    /// The session and the identity of a member.
    pub fn member(&self, subscriber: u32) -> Option<(SessionId, &Identity)> {
        self.at(subscriber).map(|member| (member.session, &member.identity))
    }

    /// The members, with session and identity. O(subscribers).
    pub fn members(&self) -> impl Iterator<Item = (u32, SessionId, &Identity)> {
        self.members.iter().enumerate().filter_map(|(number, member)| {
            let member = member.as_ref()?;
            Some((number as u32, member.session, &member.identity))
        })
    }

    /// Adds a topic to a member: with an older cursor it has one of its own until it has caught up. Ends with a
    /// `tautline.subscribed`, which is pulled.
    ///
    /// # Errors
    ///
    /// [`TopicError`]: nothing changed.
    pub fn subscribe(
        &mut self,
        subscriber: u32,
        topic: &str,
        cursor: Option<Cursor>,
        head: Position,
    ) -> Result<Subscribed, TopicError> {
        let subscribed = self.topics.subscribe(subscriber, topic)?;
        if subscribed == Subscribed::New {
            let own = self.own(topic, cursor.map_or(Resume::Live, Resume::At), head);
            let applied = self.applied;
            if let Some(member) = self.at_mut(subscriber) {
                if let Some(acknowledging) = &mut member.acknowledging {
                    acknowledging.begin(&own.topic, own.at);
                }
                member.own.push(own);
                if member.beyond(applied) && !self.ahead.contains(&subscriber) {
                    self.ahead.push(subscriber);
                }
            }
        }
        Ok(subscribed)
    }

    /// Takes a topic from a member.
    pub fn unsubscribe(&mut self, subscriber: u32, topic: &str) -> Unsubscribed {
        if let Some(member) = self.at_mut(subscriber) {
            member.own.retain(|own| *own.topic != *topic);
            if let Place::Behind(behind) = &mut member.place {
                behind.gaps.retain(|gap| *gap.topic != *topic);
            }
            if let Some(acknowledging) = &mut member.acknowledging {
                acknowledging.end(topic);
            }
        }
        self.topics.unsubscribe(subscriber, topic)
    }

    /// Notes that a member has received everything up to a cursor. One of another log, or beyond what it was sent or told, counts as nothing.
    pub fn acknowledge(&mut self, subscriber: u32, cursor: Cursor, now: Instant) -> Option<Position> {
        let (log, within) = (self.log, self.config.acknowledge_within);
        // A position block goes further than the last event.
        let told = self.position_of(subscriber).position;
        let member = self.at_mut(subscriber)?;
        let acknowledging = member.acknowledging.as_mut()?;
        if cursor.log != Some(log) || cursor.position > acknowledging.sent.max(acknowledging.told_before).max(told) {
            return None;
        }
        if cursor.position > acknowledging.acknowledged {
            acknowledging.acknowledge(cursor.position);
            acknowledging.due = (acknowledging.sent > cursor.position).then(|| now + within);
            if let Place::Behind(behind) = &mut member.place {
                // It was being sent again.
                behind.at = behind.at.max(cursor.position);
            }
        }
        Some(acknowledging.acknowledged)
    }

    /// Up to where a member acknowledged, if it does that.
    pub fn acknowledged(&self, subscriber: u32) -> Option<Position> {
        Some(self.at(subscriber)?.acknowledging.as_ref()?.acknowledged)
    }

    /// Counts a command of a connection's, whatever comes of it. One that is no member (it posts commands) is remembered until
    /// [`forget_poster`](Self::forget_poster), and counts anew for each `session`: proxies carry many on one connection.
    ///
    /// # Errors
    ///
    /// [`RateExceeded`]: there are too many.
    pub fn count_command(
        &mut self,
        subscriber: u32,
        session: Option<SessionId>,
        now: Instant,
    ) -> Result<(), RateExceeded> {
        let limit = self.config.rate;
        if let Some(member) = self.at_mut(subscriber) {
            return member.rate.take(&limit, now);
        }
        self.posters.entry(subscriber).or_default().take(session, &limit, now)
    }

    /// A connection is gone, which may have posted commands.
    pub fn forget_poster(&mut self, subscriber: u32) {
        self.posters.remove(&subscriber);
    }

    /// Whether a topic of a member's has a cursor of its own: a `tautline.subscribed` will come.
    pub fn is_catching_up(&self, subscriber: u32, topic: &str) -> bool {
        self.at(subscriber).is_some_and(|member| member.own.as_slice().iter().any(|own| *own.topic == *topic))
    }

    /// The topics of a member's that have cursors of their own.
    pub fn catching_up(&self, subscriber: u32) -> impl Iterator<Item = &str> {
        self.at(subscriber).into_iter().flat_map(|member| member.own.as_slice()).map(|own| &*own.topic)
    }

    // What comes next.

    /// Whether what is applied goes to this subscriber as it is: it is no member, or a live one that nothing else is to be seen to for.
    #[inline]
    pub fn is_plain(&self, subscriber: u32) -> bool {
        self.at(subscriber).is_none_or(|member| {
            matches!(member.place, Place::Live) && member.own.as_slice().is_empty() && member.acknowledging.is_none()
        })
    }

    /// Whether a member is behind, or a topic of its is: it is to [pull](Self::pull).
    pub fn is_behind(&self, subscriber: u32) -> bool {
        self.at(subscriber)
            .is_some_and(|member| matches!(member.place, Place::Behind(_)) || !member.own.as_slice().is_empty())
    }

    /// What to do with an event that was just applied, for a member that is not plain.
    pub fn offer(&mut self, subscriber: u32, publication: &Publication, now: Instant) -> Offer {
        let within = self.config.acknowledge_within;
        let Some(member) = self.at_mut(subscriber) else { return Offer::Send };
        let topic = publication.entry().topic();
        let ephemeral = publication.entry().is_ephemeral();
        let later = match &member.place {
            // What has no place in the order is not asked for its place.
            Place::Behind(_) => !ephemeral,
            Place::Live => !ephemeral && member.own.as_slice().iter().any(|own| *own.topic == *topic),
        };
        if later || publication.except() == Some(member.session) {
            return Offer::Skip;
        }
        if !ephemeral && let Some(acknowledging) = &mut member.acknowledging {
            acknowledging.note(publication.cursor().position, now + within);
        }
        Offer::Send
    }

    /// Notes that a member did not take an event: it goes on behind it when it [pulls](Self::pull).
    pub fn fall_behind(&mut self, subscriber: u32, missed: Position) {
        let Some(member) = self.at_mut(subscriber) else { return };
        if let Place::Live = member.place {
            member.go_back(missed.before());
        }
    }

    /// Gives a member what comes next for it, as much as it takes. O(log topics) for each event.
    pub fn pull(&mut self, subscriber: u32, most: Most, now: Instant, into: &mut Vec<Item<C>>) -> Pulled {
        let Some(mut member) = self.members.get_mut(subscriber as usize).and_then(Option::take) else {
            return Pulled::CaughtUp;
        };
        let pulled = self.pull_for(subscriber, &mut member, most, now, into);
        self.members[subscriber as usize] = Some(member);
        pulled
    }

    /// Up to where a member has everything of its topics, if it had what it pulled.
    pub fn position_of(&self, subscriber: u32) -> Cursor {
        let position = match self.at(subscriber).map(|member| &member.place) {
            Some(Place::Behind(behind)) => behind.at,
            _ => self.applied,
        };
        Cursor { position, log: Some(self.log) }
    }

    /// Members whose cursor was beyond what was applied, and is not any more: they are to pull.
    pub fn take_overtaken(&mut self) -> Vec<u32> {
        let applied = self.applied;
        let mut overtaken = Vec::new();
        let members = &self.members;
        self.ahead.retain(|&subscriber| {
            let Some(Some(member)) = members.get(subscriber as usize) else { return false };
            let waits = member.beyond(applied);
            if !waits {
                overtaken.push(subscriber);
            }
            waits
        });
        overtaken
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called for a member.
    pub fn poll_timeout(&self, subscriber: u32) -> Option<Instant> {
        self.at(subscriber)?.acknowledging.as_ref()?.due
    }

    /// What was not acknowledged in time is sent again: whether the member is to pull.
    pub fn handle_timeout(&mut self, subscriber: u32, now: Instant) -> bool {
        let told = self.position_of(subscriber).position;
        let Some(member) = self.at_mut(subscriber) else { return false };
        let Some(acknowledging) = &mut member.acknowledging else { return false };
        if acknowledging.due.is_none_or(|due| due > now) {
            return false;
        }
        acknowledging.due = None;
        acknowledging.told_before = acknowledging.told_before.max(told);
        let at = acknowledging.acknowledged;
        member.go_back(at);
        true
    }

    fn at(&self, subscriber: u32) -> Option<&Member> {
        self.members.get(subscriber as usize)?.as_deref()
    }

    fn at_mut(&mut self, subscriber: u32) -> Option<&mut Member> {
        self.members.get_mut(subscriber as usize)?.as_deref_mut()
    }

    fn insert(&mut self, subscriber: u32, member: Member) {
        let index = subscriber as usize;
        if index >= self.members.len() {
            self.members.resize_with(index + 1, || None);
        }
        if member.beyond(self.applied) {
            self.ahead.push(subscriber);
        }
        self.members[index] = Some(Box::new(member));
    }

    /// Where to begin, and what is known of what came before.
    fn begin(&self, resume: Resume, head: Position) -> (Position, Begin) {
        match resume {
            Resume::Live => (self.applied, Begin::Known),
            Resume::Start => (Position::ZERO, Begin::Everything),
            Resume::Unknown => (Position::ZERO, Begin::Gap(GapReason::Unknown)),
            Resume::At(cursor) if cursor == Cursor::START => (Position::ZERO, Begin::Everything),
            Resume::At(cursor) if cursor.log != Some(self.log) => (Position::ZERO, Begin::Gap(GapReason::Unknown)),
            Resume::At(cursor) if cursor.position > head.max(self.applied) => {
                (Position::ZERO, Begin::Gap(GapReason::Ahead))
            }
            Resume::At(cursor) => (cursor.position, Begin::Known),
        }
    }

    /// A topic with a cursor of its own.
    fn own(&self, topic: &str, resume: Resume, head: Position) -> Own {
        let mut behind = Behind { at: Position::ZERO, told: Vec::new(), gaps: Vec::new(), first: false };
        let (at, begin) = self.begin(resume, head);
        self.told(&mut behind, topic, begin);
        Own {
            topic: topic.into(),
            at,
            told: behind.told.pop().map_or(Position::ZERO, |(_, floor)| floor),
            gap: behind.gaps.pop().map(|gap| gap.reason),
        }
    }

    /// Notes what need not be told of a topic's past, or has to be.
    fn told(&self, behind: &mut Behind, topic: &str, begin: Begin) {
        if begin == Begin::Known {
            return;
        }
        let name: Arc<str> = topic.into();
        behind.told.push((name.clone(), self.retained.floor(topic)));
        if let Begin::Gap(reason) = begin {
            behind.gaps.push(Gap { topic: name, reason });
        }
    }

    fn pull_for(
        &self,
        subscriber: u32,
        member: &mut Member,
        most: Most,
        now: Instant,
        into: &mut Vec<Item<C>>,
    ) -> Pulled {
        let mut room = most;
        let mut first = false;
        if let Place::Behind(behind) = &mut member.place {
            self.find_gaps(subscriber, member.own.as_slice(), member.acknowledging.as_deref(), behind);
            if !behind.gaps.is_empty() {
                let gaps = core::mem::take(&mut behind.gaps);
                notify(notice::gap(gaps.iter().map(|gap| (&*gap.topic, gap.reason))), into);
            }
            let own = member.own.as_slice();
            let topics = self.topics.topics_of(subscriber);
            let topics = topics.filter(|topic| !own.iter().any(|own| *own.topic == **topic));
            let (from, session) = (behind.at, member.session);
            let since = |topic: &str| member.acknowledging.as_ref().map_or(from, |past| from.max(past.since(topic)));
            let mut after = self.retained.after(topics.map(|topic| (topic, since(topic))));
            let mut sent = None;
            let more = take(&mut after, session, &mut room, &mut behind.at, &mut sent, into);
            if let (Some(acknowledging), Some(sent)) = (&mut member.acknowledging, sent) {
                acknowledging.note(sent, now + self.config.acknowledge_within);
            }
            if more {
                return Pulled::More;
            }
            if behind.at > self.applied {
                return Pulled::CaughtUp;
            }
            first = behind.first;
            if let Some(acknowledging) = &mut member.acknowledging {
                // For when it is sent again.
                acknowledging.told = core::mem::take(&mut behind.told);
            }
            member.place = Place::Live;
        }
        let came = member.came();
        let mut at = 0;
        while let Some(own) = member.own.get_mut(at) {
            // A client whose own cursor ends compares with the others', which is no less than the one that it came with.
            if own.at.max(came) > self.applied {
                at += 1;
                continue;
            }
            let floor = self.retained.floor(&own.topic);
            let missed = floor > own.at && floor > own.told;
            if let Some(reason) = own.gap.take().or(missed.then_some(GapReason::Expired)) {
                own.told = floor;
                notify(notice::gap([(&*own.topic, reason)]), into);
            }
            let mut after = self.retained.after_one(&own.topic, own.at);
            let mut sent = None;
            let more = take(&mut after, member.session, &mut room, &mut own.at, &mut sent, into);
            if let (Some(acknowledging), Some(sent)) = (&mut member.acknowledging, sent) {
                acknowledging.note(sent, now + self.config.acknowledge_within);
            }
            if more {
                return if first { Pulled::Attached } else { Pulled::More };
            }
            let Some(own) = member.own.remove(at) else { break };
            if let Some(acknowledging) = &mut member.acknowledging {
                acknowledging.told.push((own.topic.clone().into(), own.told));
            }
            let cursor = Cursor { position: self.applied, log: Some(self.log) };
            into.push(Item::Notice(notice::subscribed(&own.topic, cursor)));
        }
        if first { Pulled::Attached } else { Pulled::CaughtUp }
    }

    /// Notes topics that let go of what a member has not had and was not told of.
    fn find_gaps(&self, subscriber: u32, own: &[Own], past: Option<&Acknowledging>, behind: &mut Behind) {
        for topic in self.topics.topics_of(subscriber) {
            let floor = self.retained.floor(topic);
            let known = past.map_or(behind.at, |past| behind.at.max(past.known).max(past.since(topic)));
            if floor <= known || own.iter().any(|own| *own.topic == *topic) {
                continue;
            }
            match behind.told.iter_mut().find(|(told, _)| **told == *topic) {
                Some((_, told)) if floor <= *told => continue,
                Some((_, told)) => *told = floor,
                None => behind.told.push((topic.into(), floor)),
            }
            if !behind.gaps.iter().any(|gap| *gap.topic == *topic) {
                behind.gaps.push(Gap { topic: topic.into(), reason: GapReason::Expired });
            }
        }
    }
}

/// What is known of a subscriber's past.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// It has everything up to its position.
    Known,
    /// It wants everything that there is.
    Everything,
    /// It cannot be told what it missed.
    Gap(GapReason),
}

fn notify<C>(block: Option<Bytes>, into: &mut Vec<Item<C>>) {
    into.extend(block.map(Item::Notice));
}

/// Moves events into a list until there is no room; whether there are more. `at` follows.
fn take<'a, C: Carry + 'a>(
    after: &mut impl Iterator<Item = &'a C>,
    session: SessionId,
    room: &mut Most,
    at: &mut Position,
    sent: &mut Option<Position>,
    into: &mut Vec<Item<C>>,
) -> bool {
    for carried in after {
        let Some(publication) = carried.publication() else { continue };
        let position = carried.position();
        if publication.except() != Some(session) {
            let len = publication.block().len();
            let free = room.first == First::Any && !into.iter().any(|item| matches!(item, Item::Publication(_)));
            if room.events == 0 || len > room.bytes && !free {
                return true;
            }
            room.events -= 1;
            room.bytes = room.bytes.saturating_sub(len);
            *sent = Some(position);
            into.push(Item::Publication(carried.clone()));
        }
        *at = position;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::entry::Entry;
    use crate::hub::publication::Compressing;
    use crate::sse::Event;
    use alloc::format;

    const LOG: LogId = LogId(7);

    fn at(seq: u64) -> Position {
        Position { ms: 1_700_000_000_000, seq }
    }

    fn cursor(seq: u64) -> Cursor {
        Cursor { position: at(seq), log: Some(LOG) }
    }

    fn apply(desk: &mut Desk<Arc<Publication>>, seq: u64, topic: &str) -> Arc<Publication> {
        let entry = Entry::new(topic, &Event::new(&format!("{seq}"))).unwrap();
        let publication = Arc::new(Publication::new(cursor(seq), entry, None, Compressing::Allowed));
        desk.apply(at(seq), publication.clone());
        publication
    }

    #[test]
    fn a_position_that_was_told_can_be_acknowledged_and_one_beyond_it_counts_for_nothing() {
        let mut desk = Desk::new(Arc::new(HubConfig::default()), TopicLimits::default(), LOG, at(0));
        let topics = [("a", None)];
        let who = Attachment {
            session: SessionId(1),
            identity: Identity::default(),
            topics: &topics,
            resume: Resume::Live,
            delivery: Delivery::Acknowledged,
            acknowledged: None,
            head: at(0),
        };
        desk.attach(3, &who).unwrap();
        let now = Instant::ORIGIN;
        let most = Most { events: 9, bytes: 999, first: First::Any };
        assert_eq!(desk.pull(3, most, now, &mut Vec::new()), Pulled::Attached);
        let publication = apply(&mut desk, 1, "a");
        assert_eq!(desk.offer(3, &publication, now), Offer::Send);
        // What the member does not get moves its position all the same, and so the cursor that its client knows.
        apply(&mut desk, 2, "b");
        assert_eq!(desk.position_of(3), cursor(2));
        assert!(desk.poll_timeout(3).is_some());
        assert_eq!(desk.acknowledge(3, cursor(3), now), None);
        assert_eq!(desk.acknowledge(3, Cursor { log: Some(LogId(8)), ..cursor(1) }, now), None);
        assert!(desk.poll_timeout(3).is_some());
        assert_eq!(desk.acknowledge(3, cursor(2), now), Some(at(2)));
        assert_eq!(desk.poll_timeout(3), None, "nothing is sent again");
    }

    fn pulled(desk: &mut Desk<Arc<Publication>>) -> Vec<alloc::string::String> {
        let mut items = Vec::new();
        let most = Most { events: 99, bytes: 9999, first: First::Any };
        while desk.pull(3, most, Instant::ORIGIN, &mut items) == Pulled::More {}
        let text = |bytes: &[u8]| alloc::string::String::from_utf8(bytes.to_vec()).unwrap();
        items
            .iter()
            .map(|item| match item {
                Item::Publication(publication) => text(publication.entry().data().as_bytes()),
                Item::Notice(block) => text(block),
            })
            .collect()
    }

    fn attach(desk: &mut Desk<Arc<Publication>>, from: u64, delivery: Delivery, acknowledged: Option<Position>) {
        let topics = [("a", None)];
        let who = Attachment {
            session: SessionId(1),
            identity: Identity::default(),
            topics: &topics,
            resume: Resume::At(cursor(from)),
            delivery,
            acknowledged,
            head: at(9),
        };
        desk.attach(3, &who).unwrap();
    }

    #[test]
    fn a_topic_that_is_added_ahead_of_the_worker_is_pulled_once_the_worker_is_there() {
        let mut desk = Desk::new(Arc::new(HubConfig::default()), TopicLimits::default(), LOG, at(0));
        attach(&mut desk, 0, Delivery::Plain, None);
        assert!(pulled(&mut desk).is_empty());
        desk.subscribe(3, "b", Some(cursor(2)), at(9)).unwrap();
        assert!(pulled(&mut desk).is_empty());
        apply(&mut desk, 1, "b");
        assert!(desk.take_overtaken().is_empty());
        apply(&mut desk, 2, "b");
        apply(&mut desk, 3, "b");
        assert_eq!(desk.take_overtaken(), [3]);
        let [event, subscribed] = &pulled(&mut desk)[..] else { panic!("an event and the word that it has caught up") };
        assert!(event == "3" && subscribed.contains("tautline.subscribed"), "{subscribed}");
    }

    #[test]
    fn no_topic_has_caught_up_below_the_cursor_that_its_member_came_with() {
        let mut desk = Desk::new(Arc::new(HubConfig::default()), TopicLimits::default(), LOG, at(0));
        apply(&mut desk, 1, "a");
        // Its client has everything up to 5, and has acknowledged less.
        attach(&mut desk, 5, Delivery::Acknowledged, Some(at(0)));
        assert_eq!(pulled(&mut desk), ["1"]);
        desk.subscribe(3, "b", Some(cursor(0)), at(9)).unwrap();
        apply(&mut desk, 2, "b");
        // It would take 5 for what it has of `b`, too.
        assert!(pulled(&mut desk).is_empty());
        apply(&mut desk, 4, "b");
        assert!(desk.take_overtaken().is_empty());
        apply(&mut desk, 6, "b");
        assert_eq!(desk.take_overtaken(), [3]);
        assert_eq!(pulled(&mut desk)[..3], ["2", "4", "6"]);
    }
}
