//! What the blocks of a connection mean for its session.

use super::cursors::{Scope, topic_of};
use super::event::{Cause, Gaps, Lane, Message, Presence, Refused, SessionEvent};
use super::ladder::Transport;
use super::line::{Advice, Line, Read, Role, Watch, token};
use super::session::{Session, within};
use crate::hub::{Cursor, RESERVED_EVENTS};
use crate::input::Input;
use crate::output::Output;
use crate::sse::{Event, Found};
use crate::time::Instant;
use core::time::Duration;

/// No heartbeat is taken for shorter, whatever the server says: the connection would be dropped between two blocks.
const LEAST_HEARTBEAT: Duration = Duration::from_secs(1);

/// No heartbeat is taken for longer: a dead connection has to be noticed some time.
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(600);

/// A poll that outlives its timeout by so much is dead.
pub(super) const POLL_GRACE: Duration = Duration::from_secs(10);

/// A poll that was answered with nothing before its time is followed by the next one after so long at least, and at most by
/// [`POLL_SPREAD`] later: all of a server's that lets its connections go come back.
const POLL_PAUSE: Duration = Duration::from_millis(100);

/// See [`POLL_PAUSE`].
const POLL_SPREAD: Duration = Duration::from_secs(1);

/// What a look at a lane came to.
pub(super) enum Step {
    /// Look again.
    Again,
    /// It needs bytes or time.
    Dry,
    /// An event is to be lent and reported.
    Lend(Kind, Found),
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message(Option<Cursor>),
    Gap(Scope),
    Presence,
    Subscribed,
    Unsubscribed,
    Acknowledged(Cursor),
    Refused,
}

/// What becomes of an event.
enum Fate {
    Report(Kind),
    Pass,
    /// It is known already.
    Duplicate,
    Greeting,
    Broken,
}

impl Session {
    /// Takes the next thing that a lane says.
    pub(super) fn step(&mut self, lane: Lane, input: &mut Input<'_>, out: &mut Output, now: Instant) -> Step {
        if self.lanes[lane.index()].is_none() {
            input.skip_all();
            return Step::Dry;
        }
        let endpoint = self.endpoint.clone();
        let Some(line) = &mut self.lanes[lane.index()] else { return Step::Dry };
        match line.read(&endpoint, input, out, now) {
            Read::Again => Step::Again,
            Read::Dry => {
                // A block that takes long to arrive is life.
                if core::mem::take(&mut line.fed) && line.is_mid_block() && line.greeted {
                    self.hear(lane, now);
                }
                self.write(lane, out, now);
                // What was written may have ended it, and a deadline may have passed.
                match self.lanes[lane.index()].as_mut().and_then(|line| line.handle_timeout(now, out)) {
                    Some(cause) => {
                        self.lost(lane, cause, Advice::default(), now);
                        Step::Again
                    }
                    None if self.lanes[lane.index()].as_ref().is_none_or(Line::is_ended) => Step::Again,
                    None => Step::Dry,
                }
            }
            Read::Opened => {
                self.opened(lane, out);
                Step::Again
            }
            Read::Answer { session, refused, after } => {
                if let Some(session) = session {
                    self.token = Some(session);
                }
                match refused {
                    Some(cause) if line.role != Role::Errand => {
                        self.lost(lane, cause, Advice { after, window: None }, now);
                    }
                    Some(Cause::Status(status)) => self.errand_refused(lane, status, after, now),
                    _ => {}
                }
                Step::Again
            }
            Read::Event(found) => self.event(lane, found, input, now),
            Read::Position => {
                let cursor = Cursor::parse(line.parser().last_event_id());
                if line.role != Role::Errand {
                    self.block(lane, now);
                    match cursor {
                        Ok(cursor) => self.position(lane, cursor, now),
                        Err(_) => self.lost(lane, Cause::Cursor, Advice::default(), now),
                    }
                }
                Step::Again
            }
            Read::End => {
                self.answered(lane, now);
                Step::Again
            }
            Read::Lost(cause, advice) => {
                // Between two answers a server may end the connection; a poll that got no byte of an answer is asked again.
                let polls = line.role == Role::Feed && line.transport == Transport::LongPoll;
                let between = cause == Cause::Ended
                    && line.answers > 0
                    && !matches!(line.exchange, super::line::Exchange::Answered(_));
                if polls && between {
                    self.reopen(lane, now)
                } else {
                    self.lost(lane, cause, advice, now)
                }
                Step::Again
            }
            Read::TooLong(error) => {
                if line.role == Role::Feed {
                    self.end(super::event::Closed::TooLong(error));
                } else {
                    self.lost(lane, Cause::Ended, Advice::default(), now);
                }
                Step::Again
            }
        }
    }

    /// Decides about an event before it is lent.
    fn event(&mut self, lane: Lane, found: Found, input: &mut Input<'_>, now: Instant) -> Step {
        self.block(lane, now);
        let Some(line) = &mut self.lanes[lane.index()] else { return Step::Dry };
        let role = line.role;
        let peek = line.parser().peek(&found, input);
        let topic = topic_of(peek.topic);
        // On its way out when it was unsubscribed from, and perhaps subscribed to again from another place.
        let stale = (role == Role::Feed && self.leaving.iter().any(|leaving| **leaving == *topic))
            || self.commands.iter().any(|command| command.lets_go_of(topic));
        let fate = match peek.event.strip_prefix(RESERVED_EVENTS.as_bytes()) {
            Some(b"session") => Fate::Greeting,
            Some(b"ack") => match acknowledgement(peek.data) {
                Some((key, cursor)) if self.outgoing.settle(key) => Fate::Report(Kind::Acknowledged(cursor)),
                _ => Fate::Pass,
            },
            Some(b"error") => Fate::Report(Kind::Refused),
            // A trial's changes are told by the feed.
            Some(b"presence") if role != Role::Trial || peek.data.starts_with(b"here ") => Fate::Report(Kind::Presence),
            Some(_) if role == Role::Errand => Fate::Pass,
            Some(b"gap") => Fate::Report(Kind::Gap(line.scope)),
            Some(b"subscribed") if stale || !self.cursors.has(topic) => Fate::Pass,
            Some(b"subscribed") => Fate::Report(Kind::Subscribed),
            Some(b"unsubscribed") => Fate::Report(Kind::Unsubscribed),
            Some(_) => Fate::Pass,
            // Of a topic that was not asked for, too: a server may add the user's own.
            None if role == Role::Errand || stale => Fate::Pass,
            None => match peek.id.map(|id| core::str::from_utf8(id).ok().and_then(|id| Cursor::parse(id).ok())) {
                Some(Some(cursor)) if self.cursors.admit(topic, cursor) => Fate::Report(Kind::Message(Some(cursor))),
                Some(Some(_)) => Fate::Duplicate,
                Some(None) => Fate::Broken,
                None if role == Role::Trial => Fate::Pass,
                None => Fate::Report(Kind::Message(None)),
            },
        };
        match fate {
            Fate::Report(kind) => {
                line.events = line.events.saturating_add(1);
                return Step::Lend(kind, found);
            }
            Fate::Broken => self.lost(lane, Cause::Cursor, Advice::default(), now),
            fate => {
                let event = line.lend(found, input);
                if matches!(fate, Fate::Greeting) {
                    greeting(event.data, &mut self.token, &mut self.heartbeat);
                    self.hear(lane, now);
                } else if matches!(fate, Fate::Duplicate) {
                    self.acks.again(&self.cursors, &self.endpoint.config, now);
                }
            }
        }
        Step::Again
    }

    /// Makes an event of the session's of what was lent.
    pub(super) fn report<'i>(&mut self, kind: Kind, event: Event<'i>, now: Instant) -> SessionEvent<'i> {
        let topic = event.topic.unwrap_or(crate::hub::DEFAULT_TOPIC);
        match kind {
            Kind::Message(cursor) => {
                self.acks.lent(cursor.is_some());
                SessionEvent::Message(Message { cursor, topic, event: event.event, data: event.data })
            }
            Kind::Gap(scope) => {
                for gap in Gaps::new(event.data) {
                    // Of a topic that is asked for from another place it is the old place that has a gap.
                    let stale = self.leaving.iter().any(|leaving| **leaving == *gap.topic);
                    if gap.reason != super::event::GapReason::Expired && !stale {
                        self.cursors.forget(gap.topic, scope);
                    }
                }
                SessionEvent::Gap(Gaps::new(event.data))
            }
            Kind::Presence => SessionEvent::Presence { topic, presence: Presence::new(event.data) },
            Kind::Subscribed => {
                self.cursors.caught_up(topic, Cursor::parse(event.data).ok());
                SessionEvent::Subscribed { topic }
            }
            Kind::Unsubscribed => {
                if event.data == "revoked" {
                    self.cursors.remove(topic);
                } else if let Some(at) = self.leaving.iter().position(|leaving| **leaving == *topic) {
                    self.leaving.remove(at);
                }
                SessionEvent::Unsubscribed { topic, reason: event.data }
            }
            Kind::Acknowledged(cursor) => {
                let key = event.data.split(' ').next().unwrap_or_default();
                SessionEvent::Acknowledged { key, cursor }
            }
            Kind::Refused => {
                let refused = Refused::new(&event);
                self.refused(&refused, now);
                SessionEvent::Refused(refused)
            }
        }
    }

    /// A block came: the connection is alive, and it may have proven to be of use.
    fn block(&mut self, lane: Lane, now: Instant) {
        if let Some(line) = &mut self.lanes[lane.index()] {
            line.greeted = true;
            if line.role == Role::Feed && line.attached.is_some() && !line.useful {
                line.useful = true;
                self.ladder.useful();
            }
            self.hear(lane, now);
        }
    }

    /// The watchdog of a stream starts over. A poll has its own deadline.
    fn hear(&mut self, lane: Lane, now: Instant) {
        let silence = self.heartbeat.saturating_mul(5) / 2;
        if let Some(line) = &mut self.lanes[lane.index()]
            && line.role != Role::Errand
            && line.transport != Transport::LongPoll
        {
            line.watch(Watch::Silence, Some(now + silence));
        }
    }

    fn position(&mut self, lane: Lane, cursor: Cursor, now: Instant) {
        let Some(line) = &mut self.lanes[lane.index()] else { return };
        line.positioned = true;
        self.cursors.reach(cursor, line.scope);
        if line.transport != Transport::LongPoll && line.attached.is_none() {
            line.scope = Scope::Shared;
            self.attached(lane, now);
        }
    }

    /// An answer is complete.
    fn answered(&mut self, lane: Lane, now: Instant) {
        let Some(line) = &mut self.lanes[lane.index()] else { return };
        match (line.role, line.transport) {
            (Role::Errand, _) => self.errand_done(lane, now),
            (_, Transport::LongPoll) => {
                if !line.positioned {
                    return self.lost(lane, Cause::Ended, Advice::default(), now);
                }
                line.exchange = super::line::Exchange::Idle;
                // The first poll of a connection is answered at once; a later one only if it brought something.
                let early = now.saturating_duration_since(line.asked) < self.endpoint.config.poll;
                let first = line.attached.is_none();
                let pause = line.events == 0 && early && !first;
                line.poll_at = Some(now);
                line.watch(Watch::Silence, None);
                if pause {
                    let at = now + POLL_PAUSE + within(POLL_SPREAD, self.draw());
                    if let Some(line) = &mut self.lanes[lane.index()] {
                        line.poll_at = Some(at);
                    }
                }
                if first {
                    self.attached(lane, now);
                }
            }
            _ => self.lost(lane, Cause::Ended, Advice::default(), now),
        }
    }
}

/// Reads the data of a `tautline.ack`.
fn acknowledgement(data: &[u8]) -> Option<(&str, Cursor)> {
    let (key, cursor) = core::str::from_utf8(data).ok()?.split_once(' ')?;
    Some((key, Cursor::parse(cursor).ok()?))
}

/// Reads the data of a `tautline.session`.
fn greeting(data: &str, session: &mut Option<alloc::string::String>, heartbeat: &mut Duration) {
    for line in data.lines() {
        match line.split_once(' ') {
            Some(("session", value)) => *session = token(value.as_bytes()).or(session.take()),
            Some(("heartbeat", value)) => {
                if let Ok(millis) = value.parse() {
                    *heartbeat = Duration::from_millis(millis).clamp(LEAST_HEARTBEAT, LONGEST_HEARTBEAT);
                }
            }
            _ => {}
        }
    }
}
