//! What a session sends: requests, commands, publications, acknowledgements.

use super::blocks::POLL_GRACE;
use super::config::{Acknowledge, SessionConfig};
use super::cursors::{Cursors, is_above, text};
use super::event::{Cause, Closed, Lane, Refused};
use super::ladder::Transport;
use super::line::{Advice, Exchange, Line, Role, Watch, Wire};
use super::outgoing::Outgoing;
use super::session::{Session, within};
use crate::backoff::{Backoff, BackoffConfig, CEILING, FLOOR};
use crate::http::{Request, RequestError};
use crate::hub::Cursor;
use crate::output::Output;
use crate::sse::Event;
use crate::time::{Instant, earlier};
use crate::ws::SendError;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// Publications in one POST: as many as a long poll's answer has events.
const BATCH: usize = 100;

/// Bytes of publications in one POST; a longer one goes alone.
const BATCH_BYTES: usize = 256 << 10;

/// After this an acknowledgement that found no room is tried again.
const ACK_AGAIN: Duration = Duration::from_secs(1);

/// What is to be said on a WebSocket about topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Subscribe(Box<str>),
    Unsubscribe(Box<str>),
    Presence(Box<str>),
}

impl Command {
    /// Whether a newer command makes this one needless.
    pub(super) fn is_replaced_by(&self, newer: &Self) -> bool {
        match (self, newer) {
            (Self::Presence(one), Self::Presence(other)) => one == other,
            (Self::Presence(_), _) | (_, Self::Presence(_)) => false,
            // The server has the topic still: only if it lets go of it first does it come from another place.
            (Self::Unsubscribe(_), Self::Subscribe(_)) => false,
            (Self::Subscribe(one) | Self::Unsubscribe(one), Self::Subscribe(other) | Self::Unsubscribe(other)) => {
                one == other
            }
        }
    }

    /// Whether it is an unsubscription from a topic.
    pub(super) fn lets_go_of(&self, topic: &str) -> bool {
        matches!(self, Self::Unsubscribe(own) if **own == *topic)
    }

    /// The command's block.
    fn block(&self, cursors: &Cursors) -> Bytes {
        let (event, topic) = match self {
            Self::Subscribe(topic) => ("tautline.subscribe", topic),
            Self::Unsubscribe(topic) => ("tautline.unsubscribe", topic),
            Self::Presence(topic) => ("tautline.presence", topic),
        };
        let own = cursors.own(topic).filter(|_| matches!(self, Self::Subscribe(_))).map(text);
        // An empty line of data would be a cursor that is none.
        let data = own.as_ref().map(|own| format!("data: {}\n", own.as_str())).unwrap_or_default();
        format!("topic: {topic}\nevent: {event}\n{data}\n").into()
    }
}

/// Acknowledgements of what was received.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// The newest cursor that is still to be acknowledged.
    pending: Option<Cursor>,
    /// The newest that was.
    acknowledged: Option<Cursor>,
    events: u32,
    due: Option<Instant>,
    /// An event is with the caller.
    lent: bool,
}

impl Acks {
    /// An event is handed out.
    pub(super) fn lent(&mut self, has_cursor: bool) {
        self.lent = has_cursor;
    }

    /// The caller has come back: what was handed out last is received.
    pub(super) fn received(&mut self, cursors: &Cursors, config: &SessionConfig, now: Instant) {
        if core::mem::take(&mut self.lent)
            && config.acknowledge == Acknowledge::Automatic
            && let Some(cursor) = cursors.main()
        {
            self.note(cursor, config, now);
        }
    }

    /// Everything up to `cursor` is received.
    pub(super) fn note(&mut self, cursor: Cursor, config: &SessionConfig, now: Instant) {
        if self.pending.is_none_or(|pending| is_above(cursor, pending)) {
            self.pending = Some(cursor);
        }
        self.events = self.events.saturating_add(1);
        let due = if self.events >= config.acknowledge_events { now } else { now + config.acknowledge_delay };
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// Something came again: its acknowledgement was lost.
    pub(super) fn again(&mut self, cursors: &Cursors, config: &SessionConfig, now: Instant) {
        let cursor = match config.acknowledge {
            Acknowledge::Never => None,
            Acknowledge::Automatic => cursors.main(),
            Acknowledge::ByCaller => self.acknowledged,
        };
        if let Some(cursor) = cursor {
            self.note(cursor, config, now);
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.pending.is_some())
    }

    fn sent(&mut self) -> Option<Cursor> {
        (self.events, self.due) = (0, None);
        self.acknowledged = self.pending.take().or(self.acknowledged);
        self.acknowledged
    }

    /// The connection is gone. The next one begins at the session's cursor or at what is acknowledged; what comes twice by that is
    /// acknowledged again.
    pub(super) fn disconnected(&mut self) {
        self.events = 0;
    }
}

/// The POSTs beside a feed that only goes down.
#[derive(Debug)]
pub(super) struct Errand {
    backoff: Backoff,
    /// Not before that.
    wait: Option<Instant>,
    job: Option<Job>,
    /// Publications per POST: one, after a refusal that did not say which of several it meant.
    batch: usize,
    /// What keys are made of: a number that no other session has, and a count.
    pub(super) keys: u64,
    pub(super) count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Publish { count: usize },
    Acknowledge,
}

impl Errand {
    pub(super) fn new(backoff: BackoffConfig) -> Self {
        // It goes on for as long as the feed does.
        let backoff = Backoff::new(BackoffConfig { attempts: None, ..backoff });
        Self { backoff, wait: None, job: None, batch: BATCH, keys: 0, count: 0 }
    }

    /// The connection is gone, with whatever it was doing.
    pub(super) fn gone(&mut self, outgoing: &mut Outgoing) {
        if matches!(self.job.take(), Some(Job::Publish { .. })) {
            outgoing.unsend();
        }
    }

    pub(super) fn failed(&mut self, now: Instant, random: u64, after: Option<Duration>) {
        let wait = self.backoff.failed(now, random, after).unwrap_or(CEILING);
        self.wait = Some(now + wait);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.job.is_none()
    }

    fn waits(&self, now: Instant) -> bool {
        self.wait.is_some_and(|until| until > now)
    }
}

impl Session {
    /// Path, query of the topics, and whether events are acknowledged.
    pub(super) fn attach_query(&self, path: &str) -> String {
        let mut target = String::from(path);
        self.cursors.query(&mut target);
        // On a poll it would say that the cursor is an acknowledgement, which is for the caller to say.
        let acknowledges = match self.endpoint.config.acknowledge {
            Acknowledge::Never => false,
            Acknowledge::Automatic => true,
            Acknowledge::ByCaller => !path.starts_with("/poll"),
        };
        if acknowledges {
            target.push_str("ack=1&");
        }
        target.truncate(target.trim_end_matches(['&', '?']).len());
        target
    }

    /// For which topics the positions speak that answer a request made now.
    pub(super) fn note_scope(&mut self, lane: Lane) {
        let scope = self.cursors.scope();
        if let Some(line) = &mut self.lanes[lane.index()] {
            line.scope = scope;
        }
    }

    /// The WebSocket is open: the token goes before everything else.
    pub(super) fn opened(&mut self, lane: Lane, out: &mut Output) {
        let Some(token) = &self.endpoint.config.token else { return };
        let Ok(block) = Event::new(token).with_event("tautline.token").to_bytes() else { return };
        if let Some(Line { wire: Wire::WebSocket(connection), .. }) = &mut self.lanes[lane.index()] {
            // The output is all but empty here; where even this does not fit, the server's deadline ends the connection.
            let _ = connection.send_text(core::str::from_utf8(&block).unwrap_or_default(), out);
        }
    }

    /// Writes what a lane has to say.
    pub(super) fn write(&mut self, lane: Lane, out: &mut Output, now: Instant) {
        let Some(line) = &self.lanes[lane.index()] else { return };
        match (&line.wire, line.role) {
            (Wire::WebSocket(_), Role::Feed) if line.greeted => self.write_messages(lane, out, now),
            (Wire::Http(_), Role::Errand) if line.is_ready() => self.write_errand(lane, out, now),
            (Wire::Http(_), Role::Feed | Role::Trial) if line.is_ready() => {
                if line.transport == Transport::LongPoll {
                    if line.poll_at.is_none_or(|at| at <= now) {
                        self.write_poll(lane, out, now);
                    }
                } else {
                    let target = self.attach_query("/events?");
                    self.note_scope(lane);
                    let probe = self.endpoint.config.probe;
                    self.write_request(lane, ("GET", &target, b""), (Watch::Probe, Some(now + probe)), out, now);
                }
            }
            _ => {}
        }
    }

    /// A poll. The first on a connection asks to be answered at once: that shows whether polls work, and where the session stands.
    fn write_poll(&mut self, lane: Lane, out: &mut Output, now: Instant) {
        let Some(line) = &self.lanes[lane.index()] else { return };
        let (timeout, watch) = match line.attached {
            Some(_) => {
                let timeout = self.endpoint.config.poll;
                (timeout, (Watch::Silence, Some(now + timeout + POLL_GRACE)))
            }
            None => (Duration::ZERO, (Watch::Probe, Some(now + self.endpoint.config.probe))),
        };
        let query = self.attach_query("/poll?");
        self.note_scope(lane);
        let between = if query.contains('?') { '&' } else { '?' };
        let target = format!("{query}{between}timeout={}", timeout.as_secs());
        self.write_request(lane, ("GET", &target, b""), watch, out, now);
    }

    fn write_request(
        &mut self,
        lane: Lane,
        (method, target, body): (&str, &str, &[u8]),
        (watch, deadline): (Watch, Option<Instant>),
        out: &mut Output,
        now: Instant,
    ) {
        let endpoint = self.endpoint.clone();
        let Some(line) = &mut self.lanes[lane.index()] else { return };
        let Wire::Http(http) = &mut line.wire else { return };
        let target = format!("{}{target}", endpoint.path);
        let mut headers = Vec::with_capacity(endpoint.headers.len() + 4);
        headers.push(("Accept", "text/event-stream"));
        headers.push(("Cache-Control", "no-cache"));
        if method == "POST" {
            headers.push(("Content-Type", "text/event-stream"));
        }
        if let Some(token) = &self.token {
            headers.push(("Tautline-Session", token));
        }
        headers.extend(endpoint.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let request = Request::new(method, &target, endpoint.url.authority()).headers(&headers);
        match http.send(&request, body, out, now) {
            Ok(()) => {
                line.exchange = Exchange::Asked;
                line.asked = now;
                line.watch(watch, deadline);
            }
            // Between requests the output is empty, unless the socket blocks: then it is tried again when it has drained.
            Err(RequestError::Full(full)) if !full.never_fits() => {}
            Err(_) => match self.errand.job {
                // It fits into no output of the caller's.
                Some(Job::Publish { .. }) if line.role == Role::Errand => {
                    self.refusals.extend(self.outgoing.give_up_next().map(|key| (413, key)));
                }
                _ => self.lost(lane, Cause::ConnectFailed, Advice::default(), now),
            },
        }
    }

    /// Commands, acknowledgements and publications on a WebSocket, as far as they fit.
    fn write_messages(&mut self, lane: Lane, out: &mut Output, now: Instant) {
        while let Some(at) = self.later.iter().position(|(due, _)| *due <= now) {
            let (_, topic) = self.later.swap_remove(at);
            self.command(Command::Subscribe(topic));
        }
        let Some(Line { wire: Wire::WebSocket(connection), .. }) = &mut self.lanes[lane.index()] else { return };
        let mut send =
            |block: &[u8], out: &mut Output| connection.send_text(core::str::from_utf8(block).unwrap_or_default(), out);
        while let Some(command) = self.commands.first() {
            let block = command.block(&self.cursors);
            if send(&block, out).is_err() {
                return;
            }
            if let Command::Unsubscribe(topic) = self.commands.remove(0) {
                self.leaving.push(topic);
            }
        }
        if self.acks.due().is_some_and(|due| due <= now)
            && let Some(cursor) = self.acks.pending
        {
            let block = format!("event: tautline.ack\ndata: {}\n\n", text(cursor).as_str());
            match send(block.as_bytes(), out) {
                Ok(()) => drop(self.acks.sent()),
                Err(_) => self.acks.due = Some(now + ACK_AGAIN),
            }
        }
        while self.outgoing.is_due(now) {
            let Some(block) = self.outgoing.next() else { return };
            match send(block, out) {
                Ok(()) => self.outgoing.sent(1),
                Err(SendError::Full(full)) if full.never_fits() => {
                    self.refusals.extend(self.outgoing.give_up_next().map(|key| (413, key)));
                }
                Err(_) => return,
            }
        }
    }

    fn write_errand(&mut self, lane: Lane, out: &mut Output, now: Instant) {
        if self.errand.waits(now) {
            return;
        }
        let deadline = Some(now + self.endpoint.config.probe);
        if self.outgoing.is_due(now) {
            let (body, count) = self.outgoing.batch(self.errand.batch, BATCH_BYTES);
            self.errand.job = Some(Job::Publish { count });
            self.write_request(lane, ("POST", "/send", &body), (Watch::Probe, deadline), out, now);
            if self.is_asked(lane) {
                self.outgoing.sent(count);
            }
        } else if self.acks.due().is_some_and(|due| due <= now)
            && let Some(cursor) = self.acks.pending
        {
            self.errand.job = Some(Job::Acknowledge);
            let target = format!("/ack?lastId={}", text(cursor).as_str());
            self.write_request(lane, ("POST", &target, b""), (Watch::Probe, deadline), out, now);
            if self.is_asked(lane) {
                self.acks.sent();
            } else {
                self.acks.due = Some(now + ACK_AGAIN);
            }
        }
        if !self.is_asked(lane) {
            self.errand.job = None;
        }
    }

    fn is_asked(&self, lane: Lane) -> bool {
        self.lanes[lane.index()].as_ref().is_some_and(|line| line.exchange != Exchange::Idle)
    }

    /// Whether a connection for POSTs is to be made.
    pub(super) fn needs_errand(&mut self, transport: Transport, now: Instant) -> bool {
        if transport == Transport::LongPoll && self.poll_acknowledges() {
            // The next poll says it.
            self.acks.sent();
        }
        let due = self.outgoing.is_due(now) || self.acks.due().is_some_and(|due| due <= now);
        due && !self.errand.waits(now) && self.with_role(Role::Errand).is_none()
    }

    /// The answer to a POST is complete.
    pub(super) fn errand_done(&mut self, lane: Lane, now: Instant) {
        let status = match self.lanes[lane.index()].as_mut() {
            Some(line) => {
                line.watch(Watch::Silence, None);
                match core::mem::replace(&mut line.exchange, Exchange::Idle) {
                    Exchange::Answered(status) => status,
                    _ => return,
                }
            }
            None => return,
        };
        let job = self.errand.job.take();
        if matches!(status, 200 | 204) {
            self.errand.wait = None;
            self.errand.backoff = Backoff::new(BackoffConfig { attempts: None, ..self.endpoint.config.backoff });
            if matches!(job, Some(Job::Publish { .. })) && self.outgoing.has_sent() {
                // Answered, but not all of it: once more, later.
                let random = self.draw();
                let wait = self.errand.backoff.failed(now, random, None).unwrap_or(CEILING);
                self.outgoing.postpone_all(now + wait);
            } else {
                self.errand.batch = BATCH;
            }
        }
    }

    /// A POST was answered with another status than 200.
    pub(super) fn errand_refused(&mut self, lane: Lane, status: u16, after: Option<Duration>, now: Instant) {
        let job = self.errand.job;
        match (status, job) {
            (401 | 403, _) => self.end(Closed::Status(status)),
            (408 | 429 | 500.., _) | (_, None) => {
                self.lost(lane, Cause::Status(status), Advice { after, window: None }, now);
            }
            (_, Some(Job::Publish { count })) => {
                self.errand.job = None;
                self.outgoing.unsend();
                if count > 1 {
                    // One of them: which one shows when they go one by one.
                    self.errand.batch = 1;
                } else {
                    self.refusals.extend(self.outgoing.give_up_next().map(|key| (status, key)));
                }
            }
            (_, Some(Job::Acknowledge)) => self.errand.job = None,
        }
    }

    /// The server did not do what it was asked to.
    pub(super) fn refused(&mut self, refused: &Refused<'_>, now: Instant) {
        let later = matches!(refused.status, 429 | 503);
        match (refused.command, refused.key, refused.topic) {
            ("publish", Some(key), _) if later => {
                let at = now + self.later_than(refused.after);
                self.outgoing.postpone(key, at);
            }
            ("publish", Some(key), _) => drop(self.outgoing.settle(key)),
            // Which one it means shows when they are sent again; their keys keep them from being published twice.
            ("publish", None, _) if later && refused.after.is_some() && self.outgoing.has_sent() => {
                let at = now + self.later_than(refused.after);
                self.outgoing.postpone_all(at);
            }
            ("subscribe", _, Some(topic)) if refused.after.is_some() && self.cursors.has(topic) => {
                let at = now + self.later_than(refused.after);
                self.later.retain(|(_, waiting)| **waiting != *topic);
                self.later.push((at, topic.into()));
            }
            // The topic is still the connection's, and what comes of it is from the old place.
            ("unsubscribe", ..) if later => self.reattach = true,
            // It would be the same with the next request, which it would spoil for the other topics.
            ("subscribe", _, Some(topic)) => drop(self.cursors.remove(topic)),
            _ => {}
        }
    }

    /// What the server asked for, and up to a quarter more: those that were refused together do not come back together.
    fn later_than(&mut self, after: Option<Duration>) -> Duration {
        let after = after.unwrap_or(FLOOR).clamp(FLOOR, CEILING);
        after + within(after / 4, self.draw())
    }

    /// Whether a poll's cursor is an acknowledgement: not where the caller gives them.
    fn poll_acknowledges(&self) -> bool {
        self.endpoint.config.acknowledge != Acknowledge::ByCaller
    }

    /// When the way up beside this feed wants to be looked at.
    pub(super) fn way_up_timeout(&self, feed: &Line) -> Option<Instant> {
        let by_poll = feed.transport == Transport::LongPoll && self.poll_acknowledges();
        let acks = self.acks.due().filter(|_| !by_poll);
        if feed.is_websocket() {
            let later = self.later.iter().map(|(due, _)| *due).min();
            return earlier(earlier(self.outgoing.pause(), later), acks);
        }
        if self.with_role(Role::Errand).is_some_and(|(_, line)| line.exchange != Exchange::Idle || line.is_connecting())
        {
            return None;
        }
        let due = earlier(self.outgoing.pause(), acks);
        match self.errand.wait {
            // Both the work and its connection have to be due.
            Some(wait) if self.outgoing.has_unsent() && self.outgoing.pause().is_none() => Some(wait),
            Some(wait) => due.map(|due| due.max(wait)),
            None => due,
        }
    }
}
