//! A subscriber's connection: what it is sent, its heartbeat, and its end.

use super::polls::{self, Offered, Poll};
use super::requests::Errand;
use crate::hub::{
    Cursor, First, Identity, Item, Most, Offer, Pressure, Pulled, SessionId, SlowReader, Unsubscribed, WhoIsHere,
    notice,
};
use crate::net::context::{Context, Line, SendError};
use crate::net::core::{Command, Core};
use crate::net::peer::{Cold, HttpLine, Meta, Mode, PeerId, flag};
use crate::net::publish::Published;
use crate::net::worker::give_up;
use crate::time::{Instant, earlier};
use crate::ws::CloseCode;
use bytes::Bytes;
use std::borrow::Cow;
use std::boxed::Box;
use std::collections::VecDeque;
use std::format;
use std::string::String;
use std::time::Duration;
use std::vec::Vec;

/// What the hub keeps with a connection, besides what its [`Desk`](crate::hub::Desk) knows of the subscriber.
pub(crate) enum HubLine {
    /// A WebSocket or an event stream.
    Subscriber(Subscriber),
    /// A WebSocket whose first message is to bring a token.
    Nameless(Box<Errand>, Instant),
    /// A request whose body is on its way.
    Errand(Box<Errand>),
    /// A held poll.
    Poll(Poll),
}

pub(crate) struct Subscriber {
    /// What it is told as soon as there is room; `None` where there is nothing.
    #[expect(clippy::box_collection, reason = "each subscriber has it, and hardly one at a time has anything in it")]
    owed: Option<Box<VecDeque<Owed>>>,
    /// When it was last told its position.
    told: Instant,
    /// After how long without being told it is told again.
    silence: Millis,
    /// When the desk wants to be asked.
    due: Option<Instant>,
}

/// A block that is made when there is room for it.
pub(super) enum Owed {
    /// The session.
    Welcome(Bytes),
    /// Who is on a topic.
    Snapshot(Box<str>),
    /// Where it is: the end of an attach.
    Position,
}

/// A time of up to seven weeks in four bytes: each subscriber has one.
#[derive(Clone, Copy)]
struct Millis(u32);

impl Millis {
    fn of(time: Duration) -> Self {
        Self(u32::try_from(time.as_millis()).unwrap_or(u32::MAX))
    }

    fn duration(self) -> Duration {
        Duration::from_millis(u64::from(self.0))
    }
}

impl Subscriber {
    pub(super) fn new(welcome: Bytes, silence: Duration, now: Instant) -> Self {
        let owed = Some(Box::new(VecDeque::from([Owed::Welcome(welcome)])));
        Self { owed, told: now, silence: Millis::of(silence), due: None }
    }
}

impl HubLine {
    pub(crate) fn due(&self) -> Option<Instant> {
        match self {
            Self::Subscriber(subscriber) => {
                earlier(Some(subscriber.told + subscriber.silence.duration()), subscriber.due)
            }
            Self::Nameless(_, due) => Some(*due),
            Self::Errand(_) => None,
            Self::Poll(poll) => Some(poll.until),
        }
    }
}

/// From whom something is taken.
pub(crate) struct Revocation {
    who: Whose,
    topic: Option<Box<str>>,
}

enum Whose {
    User(Box<str>),
    Session(SessionId),
}

impl Revocation {
    pub(crate) fn user(user: &str, topic: Option<&str>) -> Self {
        Self { who: Whose::User(user.into()), topic: topic.map(Box::from) }
    }

    pub(crate) fn session(session: SessionId, topic: Option<&str>) -> Self {
        Self { who: Whose::Session(session), topic: topic.map(Box::from) }
    }

    pub(crate) fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// Whose presence ends with it, if nobody else of that name is here. Whoever has a session of a user's may have another.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        match &self.who {
            Whose::User(user) => Cow::Borrowed(user),
            Whose::Session(session) => guest(*session),
        }
    }

    pub(crate) fn concerns(&self, session: Option<SessionId>, identity: &Identity) -> bool {
        match &self.who {
            Whose::User(user) => identity.user.as_deref() == Some(user),
            Whose::Session(own) => Some(*own) == session,
        }
    }
}

/// The name that presence shows: the user's, or one that is made up for the session and does not give it away.
pub(crate) fn name_of(session: SessionId, identity: &Identity) -> Cow<'_, str> {
    match &identity.user {
        Some(user) => Cow::Borrowed(user),
        None => guest(session),
    }
}

/// A quarter of what nobody can guess; the rest is as much as a key.
fn guest(session: SessionId) -> Cow<'static, str> {
    Cow::Owned(format!("guest-{:08x}", (session.0 >> 96) as u32))
}

/// The WebSocket is open, or the stream: the welcome, and then what it missed.
pub(crate) fn opened<S>(cx: &mut Context<'_, S>) {
    if !cx.meta.has(flag::HUB) {
        return;
    }
    pump(cx);
}

/// Gives a subscriber what it has still to get, as much as its queue takes.
pub(crate) fn pump<S>(cx: &mut Context<'_, S>) {
    if !cx.meta.has(flag::HUB) {
        return;
    }
    if let Some(HubLine::Poll(_)) = hub_line(cx) {
        polls::look(cx);
        return;
    }
    let limit = cx.core.settings.queue.limit;
    let mut items = Vec::new();
    while pay(cx) && cx.core.desk.is_behind(cx.id.index) {
        let queued = cx.queued();
        if queued > limit / 4 {
            wait(cx);
            break;
        }
        let first = if queued == 0 { First::Any } else { First::Fitting };
        let most = Most { events: EVENTS, bytes: limit / 2 - queued, first };
        let pulled = cx.core.desk.pull(cx.id.index, most, cx.core.now, &mut items);
        let nothing = items.is_empty();
        for item in items.drain(..) {
            let outcome = match &item {
                Item::Publication(published) => hand(cx, published),
                Item::Notice(block) => hand_block(cx, block),
            };
            if let Err(error) = outcome {
                if error.full().is_some() {
                    // What does not fit an empty queue was never published; but a notice may be longer than a queue that is set very short.
                    give_up(cx);
                }
                return;
            }
        }
        match pulled {
            Pulled::Attached => finish_attach(cx),
            Pulled::More if nothing => {
                wait(cx);
                break;
            }
            Pulled::More => {}
            Pulled::CaughtUp => break,
        }
    }
    note(cx);
}

/// Events in a row, before it is looked how much is queued.
const EVENTS: usize = 256;

/// Goes on when the queue is empty.
fn wait<S>(cx: &mut Context<'_, S>) {
    cx.cold.get_or_insert_default().pumps = true;
}

/// Sees to what follows from the desk's word.
fn note<S>(cx: &mut Context<'_, S>) {
    let index = cx.id.index;
    if cx.core.desk.is_plain(index) {
        cx.meta.clear(flag::ASIDE);
    } else {
        cx.meta.set(flag::ASIDE);
    }
    let due = cx.core.desk.poll_timeout(index);
    if let Some(HubLine::Subscriber(subscriber)) = hub_line(cx) {
        subscriber.due = due;
    }
}

/// An attach ends with who is here, and the position.
fn finish_attach<S>(cx: &mut Context<'_, S>) {
    let Some(hub) = cx.core.hub.clone() else { return };
    let kept: Vec<String> = cx
        .core
        .desk
        .topics()
        .topics_of(cx.id.index)
        .filter(|topic| hub.config.policies.of(topic).presence == WhoIsHere::Kept)
        .map(String::from)
        .collect();
    kept.into_iter().for_each(|topic| owe(cx, Owed::Snapshot(topic.into())));
    owe(cx, Owed::Position);
}

/// Puts a block behind those that a subscriber is owed: [`pump`] sends it.
pub(super) fn owe<S>(cx: &mut Context<'_, S>, owed: Owed) {
    if let Some(HubLine::Subscriber(subscriber)) = hub_line(cx) {
        subscriber.owed.get_or_insert_default().push_back(owed);
    }
}

/// Sends what a subscriber is owed. Whether that was all: the rest is sent when the queue is empty.
fn pay<S>(cx: &mut Context<'_, S>) -> bool {
    loop {
        let Some(HubLine::Subscriber(subscriber)) = hub_line(cx) else { return true };
        let Some(owed) = &mut subscriber.owed else { return true };
        let Some(next) = owed.pop_front() else {
            subscriber.owed = None;
            return true;
        };
        match next {
            Owed::Welcome(block) => _ = hand_block(cx, &block),
            Owed::Snapshot(topic) if cx.queued() > cx.core.settings.queue.limit / 4 => {
                if let Some(HubLine::Subscriber(Subscriber { owed: Some(owed), .. })) = hub_line(cx) {
                    owed.push_front(Owed::Snapshot(topic));
                }
                wait(cx);
                return false;
            }
            Owed::Snapshot(topic) => {
                // It may have let go of it.
                if cx.core.desk.topics().topics_of(cx.id.index).any(|own| *own == *topic) {
                    let block = snapshot(cx, &topic);
                    let _ = hand_block(cx, &block);
                }
            }
            Owed::Position => tell_position(cx),
        }
    }
}

/// Who is on a topic: as many names as half a queue takes.
pub(super) fn snapshot<S>(cx: &Context<'_, S>, topic: &str) -> Bytes {
    /// What a line of data has besides the name.
    const LINE: usize = "data: \n".len();
    let Some(hub) = &cx.core.hub else { return notice::here(topic, 0, []) };
    let presence = hub.presence();
    let (count, users) = presence.snapshot(topic);
    let mut room = cx.core.settings.queue.limit / 2;
    let users = users.take_while(|user| {
        let fits = user.len() + LINE <= room;
        room = room.saturating_sub(user.len() + LINE);
        fits
    });
    notice::here(topic, count, users)
}

fn tell_position<S>(cx: &mut Context<'_, S>) {
    let block = notice::position(cx.core.desk.position_of(cx.id.index));
    let now = cx.core.now;
    // Where it does not fit, blocks are on their way.
    let _ = hand_block(cx, &block);
    if let Some(HubLine::Subscriber(subscriber)) = hub_line(cx) {
        subscriber.told = now;
    }
}

/// A heartbeat's time: the position is the heartbeat. Where earlier blocks still wait for the socket none is added.
pub(crate) fn beat<S>(cx: &mut Context<'_, S>) {
    let (now, blocked) = (cx.core.now, cx.out.is_blocked());
    if let Line::Http(HttpLine { mode: Mode::Stream(stream), .. }) = &mut cx.line {
        // So that its own heartbeat moves on, whatever comes of this one.
        stream.wrote(now);
    }
    match hub_line(cx) {
        Some(HubLine::Subscriber(subscriber)) if blocked => subscriber.told = now,
        Some(HubLine::Subscriber(_)) => tell_position(cx),
        _ => {}
    }
}

/// The client said something. A WebSocket that hears is not pinged, so what its client waits for comes from here.
pub(super) fn heard<S>(cx: &mut Context<'_, S>) {
    let interval = interval(cx);
    let now = cx.core.now;
    if let Some(HubLine::Subscriber(subscriber)) = hub_line(cx)
        && now.saturating_duration_since(subscriber.told) >= interval / 4
    {
        beat(cx);
    }
}

/// Events of one topic, for a subscriber that does not get them by the short way.
pub(crate) fn offer<S>(cx: &mut Context<'_, S>, offered: &Offered<'_>) {
    if let Some(HubLine::Poll(_)) = hub_line(cx) {
        polls::offer(cx, offered);
        return;
    }
    for published in offered.publications {
        let Some(publication) = published.publication() else { continue };
        if cx.core.desk.offer(cx.id.index, publication, cx.core.now) == Offer::Skip {
            continue;
        }
        let limit = cx.core.settings.queue.limit;
        let ephemeral = publication.entry().is_ephemeral();
        // What is shed first may not fill the queue.
        let limit = if ephemeral { limit / 4 } else { limit };
        // With nothing left to let go, whoever has something waiting is too slow.
        let spent = cx.core.pressure == Pressure::Queues && cx.out.is_blocked();
        let limit = if spent { 0 } else { limit };
        if cx.queued() + publication.block().len() + FRAME <= limit {
            if hand(cx, published).is_ok() && cx.out.is_blocked() && slow(cx, published) == SlowReader::Close {
                let after = cx.core.settings.queue.stall();
                let at = cx.core.now + after;
                cx.cold.get_or_insert_default().stall.get_or_insert(at);
            }
            continue;
        }
        cx.core.counters.dropped.add(1);
        if ephemeral {
            continue;
        }
        match slow(cx, published) {
            SlowReader::Close => {
                give_up(cx);
                return;
            }
            SlowReader::FallBehind => {
                cx.core.desk.fall_behind(cx.id.index, published.cursor().position);
                wait(cx);
            }
        }
    }
    note(cx);
}

/// The most that a transport puts around a block.
const FRAME: usize = 32;

fn slow<S>(cx: &Context<'_, S>, published: &Published) -> SlowReader {
    cx.core.desk.config().policies.of(published.topic()).slow
}

/// Sends an event, as the transport frames it.
fn hand<S>(cx: &mut Context<'_, S>, published: &Published) -> Result<(), SendError> {
    let now = cx.core.now;
    match &mut cx.line {
        Line::WebSocket(ws) => ws.send_prepared(published.message(), cx.out)?,
        Line::Http(HttpLine { http, mode: Mode::Stream(stream), .. }) => {
            let Some(block) = published.block() else { return Ok(()) };
            stream.send_shared(http, block, cx.out, now)?;
        }
        _ => return Err(SendError::NotOpen),
    }
    cx.core.sent += 1;
    Ok(())
}

/// Sends one of the protocol's own blocks.
pub(super) fn hand_block<S>(cx: &mut Context<'_, S>, block: &Bytes) -> Result<(), SendError> {
    let now = cx.core.now;
    match &mut cx.line {
        // It was encoded out of `str`s.
        Line::WebSocket(ws) => ws.send_text(std::str::from_utf8(block).unwrap_or_default(), cx.out)?,
        Line::Http(HttpLine { http, mode: Mode::Stream(stream), .. }) => {
            stream.send_shared(http, block, cx.out, now)?
        }
        _ => return Err(SendError::NotOpen),
    }
    Ok(())
}

/// What a session has received, said beside its connection.
pub(crate) fn acknowledge<S>(cx: &mut Context<'_, S>, session: SessionId, cursor: Cursor) {
    // The number may have become someone else's.
    if cx.core.desk.member(cx.id.index).is_some_and(|(own, _)| own == session) {
        cx.core.desk.acknowledge(cx.id.index, cursor, cx.core.now);
        note(cx);
    }
}

/// Before something is sent again: what the session acknowledged beside its connections, of which only the newest was told at once, and that
/// one may be gone.
fn hear_beside<S>(cx: &mut Context<'_, S>) {
    let (index, log) = (cx.id.index, Some(cx.core.log.id()));
    let session = cx.core.desk.member(index).map(|(session, _)| session);
    let position = session.zip(cx.core.hub.as_ref()).and_then(|(session, hub)| hub.acknowledged().of(session));
    if let Some(position) = position {
        cx.core.desk.acknowledge(index, Cursor { position, log }, cx.core.now);
    }
}

/// A topic is taken away, or everything.
pub(crate) fn revoke<S>(cx: &mut Context<'_, S>, topic: Option<&str>) {
    let poll = matches!(hub_line(cx), Some(HubLine::Poll(_)));
    match topic {
        Some(topic) if poll => {
            if cx.core.unsubscribe(cx.id, topic) == Unsubscribed::Left {
                polls::tell(cx, &notice::unsubscribed(topic, notice::Ended::Revoked));
            }
        }
        None if poll => polls::release(cx),
        Some(topic) => {
            if cx.core.unsubscribe(cx.id, topic) == Unsubscribed::Left {
                let _ = hand_block(cx, &notice::unsubscribed(topic, notice::Ended::Revoked));
                note(cx);
            }
        }
        None => {
            // What it says until the close has reached it is nobody's.
            cx.core.expel(cx.id);
            cx.close(CloseCode::new(4001).unwrap_or(CloseCode::POLICY), "revoked");
        }
    }
}

/// A deadline of the hub's, if it has come.
pub(crate) fn handle_timeout<S>(cx: &mut Context<'_, S>) {
    let now = cx.core.now;
    match hub_line(cx) {
        Some(line) if line.due().is_some_and(|due| due <= now) => match line {
            HubLine::Poll(_) => polls::release(cx),
            HubLine::Nameless(..) => {
                // Once is enough.
                if let Some(cold) = cx.cold {
                    cold.hub = None;
                }
                cx.close(CloseCode::new(4001).unwrap_or(CloseCode::POLICY), "no token");
            }
            HubLine::Subscriber(subscriber) => {
                let waits = subscriber.due.is_some_and(|due| due <= now);
                if subscriber.told + subscriber.silence.duration() <= now {
                    beat(cx);
                }
                if waits {
                    hear_beside(cx);
                }
                if cx.core.desk.handle_timeout(cx.id.index, now) {
                    pump(cx);
                }
                note(cx);
            }
            HubLine::Errand(_) => {}
        },
        _ => {}
    }
}

/// The connection, or its request, has nothing to do with the hub any more.
pub(crate) fn leave(id: PeerId, core: &mut Core, cold: &mut Option<Box<Cold>>, meta: &mut Meta) {
    core.leave(id);
    meta.clear(flag::HUB | flag::ASIDE);
    if let Some(cold) = cold {
        cold.hub = None;
    }
}

pub(super) fn hub_line<'c, S>(cx: &'c mut Context<'_, S>) -> Option<&'c mut HubLine> {
    cx.cold.as_mut()?.hub.as_deref_mut()
}

pub(super) fn set_hub_line<S>(cx: &mut Context<'_, S>, line: HubLine) {
    cx.meta.set(flag::HUB);
    cx.cold.get_or_insert_default().hub = Some(Box::new(line));
}

/// How long a subscriber of the hub's may be without a block: what clients are told. A WebSocket's position comes with its ping, so this
/// leaves room for the way of the pong before; where there is no ping, as its client is heard all the time, a timer of the hub's sees to
/// it.
pub(super) fn heartbeat<S>(cx: &Context<'_, S>) -> Duration {
    match &cx.line {
        Line::Http(line) if line.upgraded.is_none() => cx.core.settings.stream.heartbeat + LATE,
        _ => interval(cx) * 5 / 4 + LATE,
    }
}

/// How late a timer may be, with the time of a turn.
pub(super) const LATE: Duration = Duration::from_millis(100);

/// The heartbeat of WebSockets.
fn interval<S>(cx: &Context<'_, S>) -> Duration {
    cx.core.settings.ws.heartbeat.unwrap_or_default().interval
}

/// A close reason with the window in which the client comes back as its last word (docs/PROTOCOL.md): event streams are told the same.
pub(in crate::net) fn reason<'r, S>(cx: &Context<'_, S>, reason: &'r str) -> Cow<'r, str> {
    match cx.core.settings.stream.retry {
        Some(retry) if cx.meta.has(flag::HUB) => Cow::Owned(format!("{reason} retry={}", retry.as_millis())),
        _ => Cow::Borrowed(reason),
    }
}

/// Looks again at those whose cursor was ahead of this worker.
pub(crate) fn pump_overtaken(core: &mut Core, id: impl Fn(u32) -> Option<PeerId>) {
    for index in core.desk.take_overtaken() {
        if let Some(id) = id(index) {
            core.commands.push(Command::Pump(id));
        }
    }
}
