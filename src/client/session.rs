//! The session: calls, the life of its connections, deadlines.

use super::config::{Acknowledge, Endpoint};
use super::cursors::{Added, Cursors, SubscribeError};
use super::event::{Cause, Closed, Lane, Refused, SessionEvent};
use super::ladder::{Ladder, Transport};
use super::line::{Advice, Line, Role, Watch, Wire};
use super::outgoing::{Outgoing, Publication, QueueError};
use super::requests::{Acks, Command, Errand};
use crate::backoff::{Backoff, CEILING, FLOOR};
use crate::http::client::Client;
use crate::http::url::Url;
use crate::hub::Cursor;
use crate::input::Input;
use crate::output::Output;
use crate::time::{Instant, earlier};
use crate::ws::{ClientHandshake, CloseCode, Connection, HandshakeConfig, Seed};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::Hasher;
use core::time::Duration;
use siphasher::sip::SipHasher13;

/// The longest base of the backoff that a `retry:` sets: a mistyped one must not end a client for good.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// A subscriber of a hub across connections and transports. See the [module](super) for what it promises.
///
/// # Contract
///
/// - Ask [`next_event`](Self::next_event) for every lane of [`Lane::ALL`] until it says `None`: at the start, after every other call, after
///   a read (for the lane that was read from first), and when [`poll_timeout`](Self::poll_timeout) has come; with an empty input where
///   nothing was read. That is also what writes: each lane has an output of its own.
/// - At [`SessionEvent::Connect`] connect that lane and say [`connected`](Self::connected) or [`connect_failed`](Self::connect_failed). At
///   [`SessionEvent::Drop`] write what the lane's output holds if the socket takes it, close the socket and clear the output. Bytes
///   read for a lane belong to the connection that its last `Connect` asked for.
/// - [`handle_eof`](Self::handle_eof) says that a lane's connection ended, in whatever way.
/// - No order of calls is wrong. Nothing is held back for a caller that comes late; what it did not do by a deadline counts as failed.
/// - A session without topics does not connect: publications wait for the first [`subscribe`](Self::subscribe). Keys, by which a
///   publication that is sent again is known, are a session's, and a session begins with an attach; who only publishes subscribes to a topic in
///   which little happens, or to the one it publishes to, or sends `POST /publish` by itself.
///
/// ```text
///            subscribe                connected, first block, position block
///   Idle ────────────▶ connecting ──────────────────────────────▶ Attached ──┐ trial of a better
///     ▲                    │ failed, no block in time                │       │ transport beside it
///     │                    ▼                                         ▼       ▼
///     └──── wait over ── Waiting ◀───────────── Lost ────────── lost, or the trial has attached
///                        any ──▶ Closed (by the caller; terminal statuses and close codes; attempts used up)
/// ```
pub struct Session {
    pub(super) endpoint: Arc<Endpoint>,
    seed: Seed,
    drawn: u64,
    pub(super) lanes: [Option<Line>; 3],
    pub(super) cursors: Cursors,
    pub(super) ladder: Ladder,
    backoff: Backoff,
    pub(super) outgoing: Outgoing,
    pub(super) commands: Vec<Command>,
    /// Topics that the feed was told to let go of, and has not said so: what comes of them is of before.
    pub(super) leaving: Vec<Box<str>>,
    /// Subscriptions that the feed's server refused, and when it may be asked again.
    pub(super) later: Vec<(Instant, Box<str>)>,
    pub(super) errand: Errand,
    pub(super) acks: Acks,
    /// The session's token, as the server gave it.
    pub(super) token: Option<String>,
    pub(super) heartbeat: Duration,
    says: VecDeque<Say>,
    /// Publications that were given up here: status and key.
    pub(super) refusals: VecDeque<(u16, String)>,
    phase: Phase,
    /// The topics changed, and the feed cannot be told.
    pub(super) reattach: bool,
    /// The session was left out of a request once since the last attach.
    without_session: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No feed; one is made as soon as there is a topic.
    Idle,
    /// Until the next attempt.
    Waiting(Instant),
    /// There is a feed, attached or not.
    Running,
    /// Connections are being let go of; then the end is said.
    Closing(Closed),
    Closed,
}

/// What is to be told, beyond what lies in an input.
#[derive(Debug)]
enum Say {
    Connect(Lane),
    /// With a WebSocket that is still to say so.
    Drop(Lane, Option<Box<Connection>>),
    Attached(Transport),
    Lost {
        transport: Transport,
        cause: Cause,
        wait: Duration,
        next: Transport,
    },
    Closed(Closed),
}

impl Session {
    /// A session that has no topics yet. `seed` comes from a source that nobody can predict: masks, keys and delays are drawn from it.
    pub fn new(endpoint: Arc<Endpoint>, seed: Seed) -> Self {
        let config = &endpoint.config;
        let mut session = Self {
            ladder: Ladder::new(config.ladder, config.transports),
            backoff: Backoff::new(config.backoff),
            errand: Errand::new(config.backoff),
            heartbeat: config.heartbeat,
            endpoint,
            seed,
            drawn: 0,
            lanes: [None, None, None],
            cursors: Cursors::default(),
            outgoing: Outgoing::default(),
            commands: Vec::new(),
            leaving: Vec::new(),
            later: Vec::new(),
            acks: Acks::default(),
            token: None,
            says: VecDeque::new(),
            refusals: VecDeque::new(),
            phase: Phase::Idle,
            reattach: false,
            without_session: false,
        };
        session.errand.keys = session.draw();
        session
    }

    /// Goes on behind `cursor`, for a caller that stored one; [`Cursor::START`] asks for everything that is retained. Meant for the time
    /// before the first topic.
    pub fn resume_from(&mut self, cursor: Cursor) {
        self.cursors.set_main(Some(cursor));
    }

    /// Adds a topic: from now on, or behind `from`. Where the transport cannot be told on an open connection a new one is made, and
    /// events from the session's cursor on come of this topic, too.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`]: nothing changed.
    pub fn subscribe(&mut self, topic: &str, from: Option<Cursor>) -> Result<(), SubscribeError> {
        if self.is_over() {
            return Err(SubscribeError::Closed);
        }
        match self.cursors.add(topic, from)? {
            Added::New => self.topics_changed(Command::Subscribe(topic.into())),
            // Only what the server lets go of first comes from another place.
            Added::Again => {
                self.topics_changed(Command::Unsubscribe(topic.into()));
                self.topics_changed(Command::Subscribe(topic.into()));
            }
            Added::Already => {}
        }
        Ok(())
    }

    /// Lets go of a topic. Whether it was one of the session's.
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        let was = !self.is_over() && self.cursors.remove(topic);
        if was {
            self.topics_changed(Command::Unsubscribe(topic.into()));
        }
        was
    }

    /// Asks who is there; [`SessionEvent::Presence`] answers. Forgotten if the connection is lost before (each attach brings a snapshot).
    pub fn ask_presence(&mut self, topic: &str) -> Result<(), SubscribeError> {
        crate::hub::check_name(topic)?;
        if self.is_over() {
            return Err(SubscribeError::Closed);
        }
        let attached = self.feed().is_some_and(|(_, line)| line.attached.is_some());
        if attached {
            self.command(Command::Presence(topic.into()));
        }
        Ok(())
    }

    /// Publishes: now, or as soon as there is a connection; again, with the same key, where no answer came. An ephemeral one goes now or
    /// never.
    ///
    /// # Errors
    ///
    /// [`QueueError`] names the limit or what is wrong. Nothing changed.
    pub fn publish(&mut self, publication: &Publication<'_>) -> Result<(), QueueError> {
        if self.is_over() {
            return Err(QueueError::Closed);
        }
        let attached = self.feed().is_some_and(|(_, line)| line.attached.is_some());
        if publication.is_ephemeral() && !attached {
            return Err(QueueError::NotConnected);
        }
        let limits = self.endpoint.config.queue;
        if let Some(key) = publication.key() {
            return self.outgoing.push(&limits, publication, key);
        }
        // Of this session, and of no other: the server knows keys by session or user.
        let key = format!("{:016x}-{}", self.errand.keys, self.errand.count);
        self.outgoing.push(&limits, publication, &key)?;
        self.errand.count += 1;
        Ok(())
    }

    /// With [`Acknowledge::ByCaller`]: everything up to `cursor` was received.
    pub fn ack(&mut self, cursor: Cursor, now: Instant) {
        if self.endpoint.config.acknowledge == Acknowledge::ByCaller && !self.is_over() {
            self.acks.note(cursor, &self.endpoint.config, now);
        }
    }

    /// Ends the session for good. A WebSocket is sent a Close frame; publications that were not answered are lost.
    pub fn close(&mut self) {
        self.end(Closed::ByCaller);
    }

    /// The lane's connection stands. Does nothing where none was asked for.
    pub fn connected(&mut self, lane: Lane, now: Instant) {
        let Some(line) = self.lanes[lane.index()].as_ref().filter(|line| line.is_connecting()) else { return };
        let wire = match (line.role, line.transport) {
            (Role::Errand, _) | (_, Transport::LongPoll) => {
                Wire::Http(Box::new(Client::new(self.endpoint.http.clone(), now)))
            }
            (_, Transport::EventStream) => Wire::Http(Box::new(Client::new(self.endpoint.stream.clone(), now))),
            (_, Transport::WebSocket) => match self.handshake(now) {
                Some(handshake) => {
                    self.note_scope(lane);
                    Wire::Handshake(Box::new(handshake))
                }
                None => return self.lost(lane, Cause::ConnectFailed, Advice::default(), now),
            },
        };
        let (probe, seed) = (now + self.endpoint.config.probe, self.draw_seed());
        if let Some(line) = &mut self.lanes[lane.index()] {
            line.watch(Watch::Probe, (line.role != Role::Errand).then_some(probe));
            line.wire = wire;
            line.seed = seed;
            line.asked = now;
        }
    }

    /// The lane's connection could not be made. Does nothing where none was asked for.
    pub fn connect_failed(&mut self, lane: Lane, now: Instant) {
        if self.lanes[lane.index()].as_ref().is_some_and(Line::is_connecting) {
            self.lost(lane, Cause::ConnectFailed, Advice::default(), now);
        }
    }

    /// The lane's connection ended, in whatever way. What that means comes from [`next_event`](Self::next_event).
    pub fn handle_eof(&mut self, lane: Lane, now: Instant) {
        match &mut self.lanes[lane.index()] {
            Some(line) if line.is_connecting() => self.lost(lane, Cause::ConnectFailed, Advice::default(), now),
            Some(line) => line.handle_eof(now),
            None => {}
        }
    }

    /// What comes next, or `None` where that needs more bytes of this lane, time, or the caller's word on a connection. Does what is due at
    /// `now`, behind what was read.
    pub fn next_event<'i>(
        &mut self,
        lane: Lane,
        input: &'i mut Input<'_>,
        out: &mut Output,
        now: Instant,
    ) -> Option<SessionEvent<'i>> {
        self.acks.received(&self.cursors, &self.endpoint.config, now);
        loop {
            if let Some(say) = self.next_say(lane, out, now) {
                return Some(say.event());
            }
            if let Some((status, key)) = self.refusals.pop_front() {
                let key = Some(input.lend_text(key)).filter(|key| !key.is_empty());
                let cause = if status == 413 { "longer than the output's limit" } else { "the POST was refused" };
                return Some(SessionEvent::Refused(Refused {
                    status,
                    command: "publish",
                    key,
                    topic: None,
                    cause,
                    after: None,
                }));
            }
            self.tend(now);
            if let Some(say) = self.next_say(lane, out, now) {
                return Some(say.event());
            }
            if let Phase::Closing(closed) = self.phase {
                input.skip_all();
                self.drop_lane(lane);
                if self.lanes.iter().all(Option::is_none) {
                    self.phase = Phase::Closed;
                    self.says.push_back(Say::Closed(closed));
                }
                return self.next_say(lane, out, now).map(Say::event);
            }
            match self.step(lane, input, out, now) {
                super::blocks::Step::Again => {}
                super::blocks::Step::Dry => return None,
                super::blocks::Step::Lend(kind, found) => {
                    let line = self.lanes[lane.index()].as_mut()?;
                    let event = line.lend(found, input);
                    return Some(self.report(kind, event, now));
                }
            }
        }
    }

    /// When [`next_event`](Self::next_event) wants to be called for all lanes. May be early, never late.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.phase {
            Phase::Waiting(until) if self.cursors.names().next().is_some() => Some(until),
            Phase::Running => {
                let feed = self.feed().filter(|(_, line)| line.attached.is_some());
                let climb = feed.and_then(|_| self.climb_at());
                earlier(climb, feed.and_then(|(_, line)| self.way_up_timeout(line)))
            }
            _ => None,
        };
        self.lanes.iter().flatten().fold(own, |least, line| earlier(least, line.poll_timeout()))
    }

    /// Where all connections go.
    pub fn url(&self) -> &Url {
        &self.endpoint.url
    }

    /// The cursor: everything of the session's topics up to there has come, but of topics that still catch up.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursors.main()
    }

    /// The cursor of a topic that has one of its own: it still catches up, or waits until the others have come as far. Whoever keeps the session's place
    /// for later keeps these, too.
    pub fn own_cursor(&self, topic: &str) -> Option<Cursor> {
        self.cursors.own(topic)
    }

    /// The topics.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.cursors.names()
    }

    /// The transport in use, or to be tried next.
    pub fn transport(&self) -> Transport {
        self.ladder.rung()
    }

    /// Whether events come as they are published.
    pub fn is_attached(&self) -> bool {
        self.feed().is_some_and(|(_, line)| line.attached.is_some())
    }

    /// Publications that wait to be sent or answered, and the bytes that they take.
    pub fn waiting(&self) -> (usize, usize) {
        (self.outgoing.len(), self.outgoing.bytes())
    }

    /// The session's token, as the server gave it.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether the session is over; [`SessionEvent::Closed`] says or said so.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Closing(_) | Phase::Closed)
    }

    /// The connection that brings events.
    pub(super) fn feed(&self) -> Option<(Lane, &Line)> {
        self.with_role(Role::Feed)
    }

    pub(super) fn with_role(&self, role: Role) -> Option<(Lane, &Line)> {
        let at = self.lanes.iter().position(|line| line.as_ref().is_some_and(|line| line.role == role))?;
        Some((Lane::ALL[at], self.lanes[at].as_ref()?))
    }

    /// The next random number (SipHash of a counter under the seed).
    pub(super) fn draw(&mut self) -> u64 {
        self.drawn += 1;
        let mut hasher = SipHasher13::new_with_key(&self.seed);
        hasher.write_u64(self.drawn);
        hasher.finish()
    }

    pub(super) fn draw_seed(&mut self) -> Seed {
        let (high, low) = (self.draw(), self.draw());
        ((u128::from(high) << 64) | u128::from(low)).to_be_bytes()
    }

    /// Starts what is due.
    fn tend(&mut self, now: Instant) {
        if core::mem::take(&mut self.reattach) && self.phase == Phase::Running {
            self.drop_all();
            self.phase = Phase::Idle;
        }
        if let Phase::Waiting(until) = self.phase
            && until <= now
        {
            self.phase = Phase::Idle;
        }
        match self.phase {
            Phase::Idle if self.cursors.names().next().is_some() => {
                self.phase = Phase::Running;
                self.open(Role::Feed, self.ladder.rung(), now);
            }
            Phase::Running => {
                let Some(transport) =
                    self.feed().filter(|(_, line)| line.attached.is_some()).map(|(_, line)| line.transport)
                else {
                    return;
                };
                if self.climb_at().is_some_and(|at| at <= now)
                    && let Some(candidate) = self.ladder.candidate(None)
                {
                    self.open(Role::Trial, candidate, now);
                }
                if transport != Transport::WebSocket && self.needs_errand(transport, now) {
                    self.open(Role::Errand, transport, now);
                }
            }
            _ => {}
        }
    }

    fn climb_at(&self) -> Option<Instant> {
        // Own cursors are a connection's: two that bring the same topic would have to have two.
        let ready = self.with_role(Role::Trial).is_none() && !self.cursors.is_catching_up();
        self.ladder.climb_at().filter(|_| ready && self.ladder.candidate(None).is_some())
    }

    fn open(&mut self, role: Role, transport: Transport, now: Instant) {
        // There are as many lanes as roles, and at most one connection of each role.
        let Some(at) = self.lanes.iter().position(Option::is_none) else { return };
        self.lanes[at] = Some(Line::new(role, transport, &self.endpoint, now));
        self.says.push_back(Say::Connect(Lane::ALL[at]));
    }

    /// The same again: a server may end a connection between two answers.
    pub(super) fn reopen(&mut self, lane: Lane, now: Instant) {
        if let Some(line) = &mut self.lanes[lane.index()] {
            line.reconnect(&self.endpoint, now);
            self.says.push_back(Say::Drop(lane, None));
            self.says.push_back(Say::Connect(lane));
        }
    }

    /// Lets go of a lane's connection, in order where it is an open WebSocket.
    pub(super) fn drop_lane(&mut self, lane: Lane) -> Option<Dropped> {
        let line = self.lanes[lane.index()].take()?;
        if line.role == Role::Errand {
            self.errand.gone(&mut self.outgoing);
        }
        let Line { role, transport, attached, useful, answers, .. } = line;
        let dropped = Dropped { role, transport, attached, useful, answers, retry: line.retry() };
        self.says.push_back(Say::Drop(lane, line.into_open_websocket()));
        Some(dropped)
    }

    /// What is to be told next. What a WebSocket has to say at its end goes into its own lane's output, so that waits until this lane is
    /// asked, and so does what concerns the lane after that.
    fn next_say(&mut self, lane: Lane, out: &mut Output, now: Instant) -> Option<Say> {
        let mut waits = [false; Lane::ALL.len()];
        let at = self.says.iter().position(|say| match say {
            Say::Drop(other, Some(_)) if *other != lane => {
                waits[other.index()] = true;
                false
            }
            Say::Drop(other, _) | Say::Connect(other) => !waits[other.index()],
            _ => true,
        })?;
        let mut say = self.says.remove(at)?;
        if let Say::Drop(_, Some(connection)) = &mut say {
            // One that cannot be said any more need not be.
            let _ = connection.close(Some(CloseCode::NORMAL), "", now, out);
        }
        Some(say)
    }

    fn drop_all(&mut self) {
        for lane in Lane::ALL {
            self.drop_lane(lane);
        }
        self.outgoing.unsend();
        self.commands.clear();
        self.leaving.clear();
        self.later.clear();
        self.cursors.disconnected();
        self.acks.disconnected();
    }

    /// The topics are others now: tells the feed, or makes another one.
    fn topics_changed(&mut self, command: Command) {
        if let Some((trial, _)) = self.with_role(Role::Trial) {
            // It asked for other topics. It is still due, and will ask for these.
            self.drop_lane(trial);
        }
        if let Command::Subscribe(topic) | Command::Unsubscribe(topic) = &command {
            self.later.retain(|(_, waiting)| waiting != topic);
        }
        match self.feed() {
            Some((_, line)) if line.is_connecting() => {}
            Some((_, line)) if line.is_websocket() => {
                if let Command::Subscribe(topic) = &command {
                    self.cursors.freshen(topic);
                }
                self.command(command);
            }
            Some(_) => self.reattach = true,
            None => {}
        }
    }

    pub(super) fn command(&mut self, command: Command) {
        // The newest word on a topic replaces one that did not go out yet.
        self.commands.retain(|waiting| !waiting.is_replaced_by(&command));
        self.commands.push(command);
    }

    fn handshake(&mut self, now: Instant) -> Option<ClientHandshake> {
        // A server that admits anybody would not wait for the token otherwise.
        let token = self.endpoint.config.token.is_some();
        let target = self.attach_query(if token { "/ws?auth=message&" } else { "/ws?" });
        let url = Url::parse(&format!("{}{target}", self.endpoint.web)).ok()?;
        let mut config: HandshakeConfig = self.endpoint.handshake.clone();
        if let Some(token) = &self.token {
            config.headers.push((String::from("Tautline-Session"), token.clone()));
        }
        let nonce = self.draw_seed();
        ClientHandshake::new(&url, Arc::new(config), nonce, now).ok()
    }

    /// All that was missed has come: the connection is the one in use.
    pub(super) fn attached(&mut self, lane: Lane, now: Instant) {
        let Some(line) = &mut self.lanes[lane.index()] else { return };
        line.attached = Some(now);
        let (role, transport) = (line.role, line.transport);
        if role == Role::Trial {
            // Out of the way for a moment: all others are let go of.
            let trial = self.lanes[lane.index()].take();
            self.drop_all();
            self.lanes[lane.index()] = trial;
            if let Some(line) = &mut self.lanes[lane.index()] {
                line.role = Role::Feed;
            }
            let random = self.draw();
            self.ladder.climbed(transport, now, random);
        }
        self.without_session = false;
        self.backoff.connected(now);
        self.says.push_back(Say::Attached(transport));
    }

    /// A connection is lost, or has turned out to be of no use.
    pub(super) fn lost(&mut self, lane: Lane, cause: Cause, advice: Advice, now: Instant) {
        let idle = self.errand.is_idle();
        let Some(line) = self.drop_lane(lane) else { return };
        let idle = idle && line.answers > 0;
        match line.role {
            // One that had nothing to do was closed for that.
            Role::Errand if idle => {}
            Role::Errand => {
                let random = self.draw();
                self.errand.failed(now, random, advice.after);
            }
            Role::Trial => match self.ladder.candidate(Some(line.transport)) {
                Some(next) => self.open(Role::Trial, next, now),
                None => {
                    let random = self.draw();
                    self.ladder.climb_failed(now, random);
                }
            },
            Role::Feed => self.lost_feed(&line, cause, advice, now),
        }
    }

    fn lost_feed(&mut self, line: &Dropped, cause: Cause, advice: Advice, now: Instant) {
        self.drop_all();
        let stable = self.endpoint.config.backoff.stable;
        let useful = line.useful || line.attached.is_some_and(|since| now.saturating_duration_since(since) >= stable);
        if useful {
            self.ladder.useful();
        }
        if let Some(retry) = line.retry {
            self.backoff.set_base(retry.clamp(FLOOR, LONGEST_RETRY));
        }
        let (random, second) = (self.draw(), self.draw());
        let (mut at_once, mut cause) = (false, cause);
        let session = self.token.is_some() && !self.without_session;
        match Verdict::of(cause, session, line.attached.is_some()) {
            Verdict::Stop(closed) => return self.end(closed),
            Verdict::WithoutSession => {
                self.token = None;
                self.without_session = true;
                (at_once, cause) = (true, Cause::SessionGone);
            }
            Verdict::Fall(closed) => {
                at_once = self.ladder.fall(now, random);
                if let (false, Some(closed)) = (at_once, closed) {
                    return self.end(closed);
                }
            }
            Verdict::Useless => {
                if !useful {
                    self.ladder.useless(now, random);
                }
            }
            Verdict::Neutral => {}
        }
        let wait = if at_once {
            Duration::ZERO
        } else {
            let Some(wait) = self.backoff.failed(now, second, advice.after) else { return self.end(Closed::Attempts) };
            match advice.window {
                Some(window) => within(window.min(CEILING), second).max(FLOOR),
                None => wait,
            }
        };
        self.phase = Phase::Waiting(now + wait);
        self.says.push_back(Say::Lost { transport: line.transport, cause, wait, next: self.ladder.rung() });
    }

    /// The session is over. The first cause stands.
    pub(super) fn end(&mut self, closed: Closed) {
        if !self.is_over() {
            self.phase = Phase::Closing(closed);
        }
    }
}

/// What counts of a connection that was let go of.
pub(super) struct Dropped {
    role: Role,
    transport: Transport,
    attached: Option<Instant>,
    useful: bool,
    answers: u32,
    /// `retry:` of an event stream.
    retry: Option<Duration>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("url", &self.endpoint.url)
            .field("phase", &self.phase)
            .field("transport", &self.transport())
            .field("cursor", &self.cursor())
            .finish_non_exhaustive()
    }
}

impl Say {
    fn event<'i>(self) -> SessionEvent<'i> {
        match self {
            Self::Connect(lane) => SessionEvent::Connect(lane),
            Self::Drop(lane, _) => SessionEvent::Drop(lane),
            Self::Attached(transport) => SessionEvent::Attached(transport),
            Self::Lost { transport, cause, wait, next } => SessionEvent::Lost { transport, cause, wait, next },
            Self::Closed(closed) => SessionEvent::Closed(closed),
        }
    }
}

/// What the loss of the feed means for the session and its transport.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It would be the same again.
    Stop(Closed),
    /// Once more, without the session.
    WithoutSession,
    /// This transport does not get through. Where it is the last one and a status said so: over.
    Fall(Option<Closed>),
    /// It counts against the transport, unless the connection had been of use.
    Useless,
    /// It says nothing about the transport.
    Neutral,
}

impl Verdict {
    /// The table "Errors and closes" of the protocol. What would happen again is tried on the transports below first: whoever stands
    /// between may know no upgrades or no streams.
    fn of(cause: Cause, session: bool, attached: bool) -> Self {
        match cause {
            Cause::CloseCode(code) => match code {
                // What the 403 is behind a first message: the session may be another user's.
                4003 if session && !attached => Self::WithoutSession,
                1008 | 4000..=4499 => Self::Stop(Closed::CloseCode(code)),
                1002 | 1003 | 1007 | 1009 => Self::Fall(Some(Closed::CloseCode(code))),
                1012 | 1013 => Self::Neutral,
                _ => Self::Useless,
            },
            Cause::Status(status) => match status {
                403 if session => Self::WithoutSession,
                204 | 401 | 403 => Self::Stop(Closed::Status(status)),
                429 | 503 => Self::Neutral,
                408 | 500.. => Self::Useless,
                _ => Self::Fall(Some(Closed::Status(status))),
            },
            Cause::WebSocket(crate::ws::Error::MessageTooBig | crate::ws::Error::FrameTooBig) => {
                Self::Stop(Closed::MessageTooLong)
            }
            Cause::Unproven | Cause::ContentType | Cause::Subprotocol => Self::Fall(None),
            Cause::ConnectFailed => Self::Neutral,
            _ => Self::Useless,
        }
    }
}

/// A random part of `window`.
pub(super) fn within(window: Duration, random: u64) -> Duration {
    let nanos = (window.as_nanos() * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
