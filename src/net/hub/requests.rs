//! Requests to the hub's endpoints: who asks, for what, and what comes of it.

use super::HubShared;
use super::commands::{self, Refused};
use super::line::{self, HubLine, Subscriber, name_of};
use super::polls::{self, Headers, Poll, Wait};
use crate::http::credentials::{Secret, subprotocol};
use crate::http::origin::OriginPolicy;
use crate::http::target::{Plus, decode, raw_values};
use crate::http::upgrade::{Upgrade, UpgradeConfig};
use crate::http::{Framing, RequestHead, Response, ResponseError};
use crate::hub::{
    Asking, Attach, Attachment, Authentication, Cursor, Cursors, DEFAULT_TOPIC, Delivery, Denied, Identity, Kept,
    OwnTopic, Publish, PublishError, Resume, SessionError, SessionId, SessionToken, To, USER_TOPICS, WhoIsHere, notice,
};
use crate::net::context::{Accept, Context, StreamOpened, UpgradeError, Upgraded};
use crate::net::counters::Transport;
use crate::net::peer::flag;
use crate::poll;
use crate::sse::{HeadOnly, Refusal as StreamRefusal, Subscription};
use crate::ws::CloseCode;
use std::borrow::Cow;
use std::boxed::Box;
use std::format;
use std::string::{String, ToString};
use std::sync::Arc;
use std::time::Duration;
use std::vec::Vec;

/// What a path of the hub's is for: docs/PROTOCOL.md. Which path that is, the application says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A WebSocket of the subprotocol `tautline`.
    WebSocket,
    /// An event stream.
    Events,
    /// Long and short polls.
    Poll,
    /// `POST`: the body is published.
    Publish,
    /// `POST`: the body is commands.
    Send,
    /// `POST`: what was received.
    Acknowledge,
}

/// The subprotocol of the hub's WebSockets.
pub const PROTOCOL: &str = "tautline";

impl Endpoint {
    /// By the usual paths: `/ws`, `/events`, `/poll`, `/publish`, `/send`, `/ack`. Where they stand below another one, take that off first:
    /// `path.strip_prefix("/live").and_then(Endpoint::of)`.
    pub fn of(path: &str) -> Option<Self> {
        Some(match path.strip_prefix('/')? {
            "ws" => Self::WebSocket,
            "events" => Self::Events,
            "poll" => Self::Poll,
            "publish" => Self::Publish,
            "send" => Self::Send,
            "ack" => Self::Acknowledge,
            _ => return None,
        })
    }
}

/// Something that is under way: a request whose body, or a WebSocket whose first message, is still to come.
pub(crate) struct Errand {
    pub(super) what: What,
    headers: Headers,
}

pub(super) enum What {
    /// To attach, when it is known who asks.
    Attach { topics: Vec<(String, Option<Resume>)>, resume: Resume, delivery: Delivery, session: Option<String> },
    /// The body is data.
    Publish { identity: Identity, session: Option<SessionId>, query: PublishQuery },
    /// The body is commands.
    Send { identity: Identity, session: Option<SessionId> },
    /// Who asked may not any more.
    Revoked,
}

impl Errand {
    /// Ends it, where it is of whom everything is taken from.
    pub(crate) fn revoke(&mut self, revocation: &line::Revocation) {
        if let What::Publish { identity, session, .. } | What::Send { identity, session } = &self.what
            && revocation.concerns(*session, identity)
        {
            self.what = What::Revoked;
        }
    }
}

/// A publication but for its data.
pub(super) struct PublishQuery {
    topic: String,
    event: Option<String>,
    key: Option<String>,
    audience: To,
    keep: Kept,
    slot: Option<String>,
}

/// How an attempt ended.
enum No {
    /// With this answer, still to be written.
    Refused(Refused),
    /// The answer could not be written.
    Response(ResponseError),
}

impl From<ResponseError> for No {
    fn from(error: ResponseError) -> Self {
        Self::Response(error)
    }
}

impl From<Refused> for No {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<PublishError> for No {
    fn from(error: PublishError) -> Self {
        Self::Refused(error.into())
    }
}

impl<S> Context<'_, S> {
    /// Serves a request to one of the hub's endpoints, with `headers` (of CORS, say) in the answer besides. All that follows on this
    /// connection is the hub's business: its messages do not reach the handler, but [`opened`](super::super::Handler::opened) and
    /// [`closed`](super::super::Handler::closed) do.
    ///
    /// Without a hub ([`Config::hub`](super::super::Config::hub)) it is a 404.
    ///
    /// # Errors
    ///
    /// [`ResponseError`]: nothing was written, and the request is still to be answered.
    pub fn hub(
        &mut self,
        head: &RequestHead<'_>,
        endpoint: Endpoint,
        headers: &[(&str, &str)],
    ) -> Result<(), ResponseError> {
        let outcome = match self.core.hub.clone() {
            Some(hub) => match endpoint {
                Endpoint::WebSocket | Endpoint::Events | Endpoint::Poll => attach(self, &hub, head, endpoint, headers),
                Endpoint::Publish | Endpoint::Send | Endpoint::Acknowledge => post(self, &hub, head, endpoint, headers),
            },
            None => Err(Refused::new(404, "no hub").into()),
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(No::Refused(refused)) => refuse(self, &refused, headers),
            Err(No::Response(error)) => Err(error),
        }
    }
}

fn refuse<S>(cx: &mut Context<'_, S>, refused: &Refused, headers: &[(&str, &str)]) -> Result<(), ResponseError> {
    let after = refused.after.map(|after| after.as_secs().max(1).to_string());
    let mut lines = headers.to_vec();
    lines.push(("Content-Type", "text/plain; charset=utf-8"));
    lines.push(("Cache-Control", "no-store"));
    lines.push(("X-Content-Type-Options", "nosniff"));
    if let Some(after) = &after {
        lines.push(("Retry-After", after));
    }
    match refused.status {
        401 => lines.push(("WWW-Authenticate", "Bearer")),
        405 => lines.push(("Allow", refused.allow)),
        _ => {}
    }
    let text = format!("{}\n", refused.cause);
    cx.respond(&Response::new(refused.status).headers(&lines), text.as_bytes())
}

/// Who asks, by the request.
fn identify(hub: &HubShared, head: &RequestHead<'_>, query: Option<Secret<'_>>) -> Result<Identity, Denied> {
    let tokens = hub.config.tokens;
    let query = query.filter(|_| tokens.in_query());
    let offered = || {
        let upgrade = Upgrade::check_head(&anybody(), head).ok()?;
        subprotocol(upgrade.protocols()).map(|token| token.into_owned())
    };
    let offered = if tokens.in_subprotocol() { offered() } else { None };
    hub.authority.identify(&Asking { head: Some(head), token: offered.or(query.map(Secret::into_owned)) })
}

/// Origins are looked at where the upgrade is.
fn anybody() -> UpgradeConfig {
    UpgradeConfig { origins: OriginPolicy::Any, ..Default::default() }
}

fn denied(denied: Denied) -> Refused {
    Refused::new(denied.status(), denied)
}

/// The session that a client says is its own, or a new one; and whether it was known.
fn session<S>(
    cx: &mut Context<'_, S>,
    hub: &HubShared,
    token: Option<&str>,
    identity: &Identity,
) -> Result<(SessionId, SessionToken, Known), Refused> {
    let user = identity.user.as_deref();
    if let Some(token) = token {
        match hub.sessions.check(token, user) {
            // The same text, as there is one spelling.
            Ok(id) => return Ok((id, hub.sessions.mint(id.0, user), Known::Before)),
            // Of before a restart: nothing is kept of it here.
            Err(SessionError::OtherLog) => {}
            Err(error) => return Err(Refused::new(error.status(), error)),
        }
    }
    let random = u128::from(cx.random()) << 64 | u128::from(cx.random());
    let token = hub.sessions.mint(random, user);
    Ok((SessionId(random), token, Known::New))
}

/// Whether a client has its session's token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// It sent it.
    Before,
    /// It has to be told.
    New,
}

fn attach<S>(
    cx: &mut Context<'_, S>,
    hub: &Arc<HubShared>,
    head: &RequestHead<'_>,
    endpoint: Endpoint,
    headers: &[(&str, &str)],
) -> Result<(), No> {
    let cursors = if endpoint == Endpoint::Poll { Cursors::Strict } else { Cursors::Lenient };
    let asked = Attach::read(head, cursors, cx.core.settings.topics.per_subscriber)
        .map_err(|error| Refused::new(error.status(), error))?;
    let poll = match endpoint {
        Endpoint::Poll => match poll::Request::read(head, &hub.config.poll) {
            Ok(poll) => Some(poll),
            Err(error) => {
                let mut refused = Refused::new(error.status(), error);
                refused.allow = "GET, HEAD";
                return Err(refused.into());
            }
        },
        _ => None,
    };
    let identity = match (endpoint, asked.authentication) {
        // What the request says besides, a cookie perhaps, is not what it wants to be known by.
        (Endpoint::WebSocket, Authentication::FirstMessage) => Err(Denied::TokenNeeded),
        _ => identify(hub, head, asked.token.clone()),
    };
    let identity = match identity {
        Ok(identity) => identity,
        Err(Denied::TokenNeeded) if endpoint == Endpoint::WebSocket => {
            let what = What::Attach {
                topics: asked.topics.iter().map(|topic| (topic.name.to_string(), topic.own)).collect(),
                resume: asked.resume,
                delivery: asked.delivery,
                session: asked.session.map(|session| session.expose().into()),
            };
            return upgrade(cx, head, headers, |cx| {
                let due = cx.core.now + hub.config.token_within;
                line::set_hub_line(cx, HubLine::Nameless(Box::new(Errand { what, headers: Headers::default() }), due));
            });
        }
        Err(error) => return Err(denied(error).into()),
    };
    let topics: Vec<_> = asked.topics.iter().map(|topic| (&*topic.name, topic.own)).collect();
    let token = asked.session.as_ref().map(Secret::expose);
    let (session, token, known) = session(cx, hub, token, &identity)?;
    let delivery = match endpoint {
        // What it asks for next says what it has.
        Endpoint::Poll => {
            if let (Delivery::Acknowledged, Resume::At(cursor)) = (asked.delivery, asked.resume)
                && head.method() != "HEAD"
                && topics.iter().all(|(_, own)| own.is_none())
            {
                cx.core.note_acknowledged(session, cursor);
            }
            Delivery::Plain
        }
        _ => asked.delivery,
    };
    let seen = if head.method() == "HEAD" { Seen::No } else { Seen::Yes };
    let attached = |cx: &mut Context<'_, S>| {
        admit(cx, hub, &identity, session, &topics, (asked.resume, delivery), seen).map_err(No::Refused)
    };
    match (endpoint, poll) {
        (_, Some(request)) => {
            attached(cx)?;
            let wait = match () {
                () if asked.resume == Resume::Live || request.head_only == HeadOnly::Yes => Wait::No,
                () if request.timeout.is_zero() => Wait::Applied,
                () => Wait::Yes,
            };
            let timeout = if wait == Wait::Yes { request.timeout } else { Duration::ZERO };
            let poll = Poll {
                form: request.form,
                until: cx.core.now + timeout,
                known,
                headers: cx.core.header_sets.get(headers),
            };
            polls::begin(cx, poll, wait, seen);
            Ok(())
        }
        (Endpoint::WebSocket, _) => {
            // Nobody is told that somebody came who cannot.
            if speaks(head, &cx.core.settings.upgrade).unwrap_or(false) {
                // Before the answer, while there still is a status to refuse with.
                attached(cx)?;
            }
            let outcome = upgrade(cx, head, headers, |cx| welcome(cx, &token));
            if asked.resume != Resume::Live && cx.meta.has(flag::HUB) {
                cx.core.counters.reconnected(Transport::WebSocket);
            }
            if !cx.meta.has(flag::HUB) {
                line::leave(cx.id, cx.core, cx.cold, cx.meta);
            }
            outcome
        }
        _ => {
            // What is no request for a stream is answered as such, whatever it may.
            if let Err(refusal) = Subscription::read(head) {
                let mut refused = Refused::new(refusal.status(), refusal);
                refused.allow = "GET, HEAD, POST";
                // A cursor that is none is no reason here: it was read leniently.
                if refusal != StreamRefusal::LastEventId {
                    return Err(refused.into());
                }
            }
            attached(cx)?;
            match cx.open_stream(head, headers) {
                Ok(StreamOpened::Yes) => {
                    welcome(cx, &token);
                    line::opened(cx);
                    Ok(())
                }
                closed => {
                    leave(cx, seen);
                    closed.map(drop).map_err(No::Response)
                }
            }
        }
    }
}

/// Accepts a WebSocket of the hub's, or answers why not.
fn upgrade<S>(
    cx: &mut Context<'_, S>,
    head: &RequestHead<'_>,
    headers: &[(&str, &str)],
    accepted: impl FnOnce(&mut Context<'_, S>),
) -> Result<(), No> {
    if speaks(head, &cx.core.settings.upgrade) == Some(false) {
        return Err(Refused::new(400, "the subprotocol tautline is not offered").into());
    }
    match cx.accept(head, &Accept { protocols: &[PROTOCOL], headers, config: None }) {
        Ok(Upgraded::Yes) => accepted(cx),
        Ok(Upgraded::Refused(_)) => {}
        Err(UpgradeError::Response(error)) => return Err(error.into()),
        Err(UpgradeError::Answer(_)) => return Err(Refused::new(500, "the answer cannot be written").into()),
    }
    Ok(())
}

/// Whether a request offers the hub's subprotocol; `None` where it cannot become a WebSocket at all.
fn speaks(head: &RequestHead<'_>, config: &UpgradeConfig) -> Option<bool> {
    let upgrade = Upgrade::check_head(config, head).ok()?;
    Some(upgrade.protocols().any(|protocol| protocol == PROTOCOL))
}

/// The connection is a subscriber's, and is told so first of all.
fn welcome<S>(cx: &mut Context<'_, S>, token: &SessionToken) {
    let heartbeat = line::heartbeat(cx);
    let block = notice::session(token, heartbeat);
    let now = cx.core.now;
    // Thousands that attach together are told at different times, and a stream before it would send a comment.
    let silence = (heartbeat - line::LATE).mul_f64(0.95 - (cx.random() % 1024) as f64 / 10_240.0);
    line::set_hub_line(cx, HubLine::Subscriber(Subscriber::new(block, silence, now)));
}

/// Attaches, if the application's word is that it may.
fn admit<S>(
    cx: &mut Context<'_, S>,
    hub: &HubShared,
    identity: &Identity,
    session: SessionId,
    topics: &[(&str, Option<Resume>)],
    (resume, delivery): (Resume, Delivery),
    seen: Seen,
) -> Result<(), Refused> {
    let own = own_topic(identity);
    for (topic, _) in topics {
        if own.as_deref() != Some(topic) && !hub.authority.may_subscribe(identity, topic) {
            return Err(Refused::new(403, "not allowed"));
        }
    }
    let mut all: Cow<'_, [(&str, Option<Resume>)]> = Cow::Borrowed(topics);
    if let Some(own) = &own
        && !topics.iter().any(|(topic, _)| topic == own)
    {
        all.to_mut().push((own, None));
    }
    let acknowledged = match delivery {
        Delivery::Acknowledged => hub.acknowledged().of(session),
        Delivery::Plain => None,
    };
    let head = cx.core.log.head().position;
    let attachment =
        Attachment { session, identity: identity.clone(), topics: &all, resume, delivery, acknowledged, head };
    cx.core.desk.attach(cx.id.index, &attachment).map_err(|error| Refused::new(error.status(), error))?;
    if delivery == Delivery::Acknowledged && seen == Seen::Yes {
        // The newest connection of a session is the one that acknowledgements beside it are for.
        let _ = hub.acknowledging().park(session, cx.id);
    }
    if seen == Seen::Yes {
        for (topic, _) in all.iter() {
            join(cx, hub, identity, session, topic);
        }
    }
    Ok(())
}

/// Whether others see somebody as present. Who only asks for the head of an answer is not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Yes,
    No,
}

/// A request was answered, and the connection is no subscriber's any more. Who was not seen to come does not go either: another
/// connection of the session may be here.
pub(super) fn leave<S>(cx: &mut Context<'_, S>, seen: Seen) {
    if seen == Seen::No {
        cx.core.desk.detach(cx.id.index);
    }
    line::leave(cx.id, cx.core, cx.cold, cx.meta);
}

/// A member has a topic now: who is here is told, where the topic keeps that.
pub(super) fn join<S>(cx: &mut Context<'_, S>, hub: &HubShared, identity: &Identity, session: SessionId, topic: &str) {
    if hub.config.policies.of(topic).presence == WhoIsHere::Kept {
        // Held until it is in the log: or who joins here and leaves there would be told the other way round.
        let mut presence = hub.presence();
        // One that is not listed is not told of either.
        if let Ok(Some(change)) = presence.join(topic, &name_of(session, identity), session) {
            cx.core.tell(&change);
        }
    }
}

/// The topic that is a user's own.
fn own_topic(identity: &Identity) -> Option<String> {
    match (&identity.user, identity.own_topic) {
        (Some(user), OwnTopic::Subscribed) => Some(format!("{USER_TOPICS}{user}")),
        _ => None,
    }
}

/// The first message brought a token: attaches, or closes. Whether it is a subscriber now.
pub(super) fn admit_by_token<S>(cx: &mut Context<'_, S>, errand: Errand, token: &str) {
    let Some(hub) = cx.core.hub.clone() else { return };
    let What::Attach { topics, resume, delivery, session: own } = errand.what else { return };
    let close = |cx: &mut Context<'_, S>, code: u16, reason: &str| {
        cx.close(CloseCode::new(code).unwrap_or(CloseCode::POLICY), reason);
    };
    let identity = match hub.authority.identify(&Asking { head: None, token: Some(Secret::new(token)) }) {
        Ok(identity) => identity,
        Err(error) => return close(cx, error.close_code(), "not allowed"),
    };
    let topics: Vec<_> = topics.iter().map(|(topic, own)| (&**topic, *own)).collect();
    let outcome = session(cx, &hub, own.as_deref(), &identity).and_then(|(id, token, _)| {
        admit(cx, &hub, &identity, id, &topics, (resume, delivery), Seen::Yes)?;
        Ok(token)
    });
    match outcome {
        Ok(token) => {
            welcome(cx, &token);
            line::opened(cx);
        }
        Err(refused) => match refused.close_code() {
            code @ 1013 => {
                let reason = line::reason(cx, "busy");
                close(cx, code, &reason);
            }
            code => close(cx, code, "not allowed"),
        },
    }
}

// POSTs.

fn post<S>(
    cx: &mut Context<'_, S>,
    hub: &HubShared,
    head: &RequestHead<'_>,
    endpoint: Endpoint,
    headers: &[(&str, &str)],
) -> Result<(), No> {
    if head.method() != "POST" {
        let mut refused = Refused::new(405, "POST only");
        refused.allow = "POST";
        return Err(refused.into());
    }
    let framed = ["content-length", "transfer-encoding"].into_iter().any(|name| head.headers().get(name).is_some());
    if endpoint != Endpoint::Acknowledge && !framed {
        // Whoever forgot the body would publish an empty event (RFC 9110 section 15.5.12).
        return Err(Refused::new(411, "the length of the body is needed").into());
    }
    let limit = cx.core.settings.http.body;
    if matches!(head.framing(), Framing::Length(length) if length > limit) {
        // The connection would say the same, but without the application's lines: a page of elsewhere would not learn that it is of no use
        // to come again.
        return Err(Refused::new(413, format_args!("body of more than {limit} bytes")).into());
    }
    if endpoint != Endpoint::Acknowledge {
        // Nor is the memory for the body there.
        cx.core.settings.check_pressure(cx.core.pressure)?;
    }
    let asked = Attach::read(head, Cursors::Strict, cx.core.settings.topics.per_subscriber)
        .map_err(|error| Refused::new(error.status(), error))?;
    let identity = identify(hub, head, asked.token.clone()).map_err(denied)?;
    let session = match &asked.session {
        None => None,
        Some(token) => match hub.sessions.check(token.expose(), identity.user.as_deref()) {
            Ok(session) => Some(session),
            // Of before a restart. What it publishes with a key goes again when it has a new one.
            Err(SessionError::OtherLog) if identity.user.is_none() => {
                let mut refused = Refused::new(503, "the session is of a log that is over");
                refused.after = Some(Duration::from_secs(1));
                return Err(refused.into());
            }
            Err(SessionError::OtherLog) => None,
            Err(error) => return Err(Refused::new(error.status(), error).into()),
        },
    };
    let what = match endpoint {
        Endpoint::Acknowledge => {
            let cursor = match asked.resume {
                Resume::At(cursor) => cursor,
                Resume::Start => Cursor::START,
                Resume::Live | Resume::Unknown => return Err(Refused::new(400, "a cursor is needed").into()),
            };
            let Some(session) = session else { return Err(Refused::new(400, "a session is needed").into()) };
            cx.core.acknowledge_beside(session, cursor);
            return Ok(cx.respond(&Response::new(204).headers(headers), &[])?);
        }
        Endpoint::Publish => {
            if asked.topics.len() > 1 || asked.topics.iter().any(|topic| topic.own.is_some()) {
                return Err(Refused::new(400, "an event has one topic, and no cursor").into());
            }
            let topic = asked.topics.first().map_or(DEFAULT_TOPIC.into(), |topic| topic.name.to_string());
            let binary = head.headers().get("content-type").is_some_and(is_binary);
            if binary {
                return Err(Refused::new(415, "events carry text").into());
            }
            let query = publish_query(head, topic)?;
            // Before the body: what is refused is not read.
            if !hub.authority.may_publish(&identity, &query.topic) {
                return Err(Refused::new(403, "not allowed").into());
            }
            What::Publish { identity, session, query }
        }
        _ => What::Send { identity, session },
    };
    let errand = Errand { what, headers: cx.core.header_sets.get(headers) };
    line::set_hub_line(cx, HubLine::Errand(Box::new(errand)));
    cx.read_body();
    Ok(())
}

fn is_binary(kind: &[u8]) -> bool {
    let media = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    media.eq_ignore_ascii_case(b"application/octet-stream")
}

fn publish_query(head: &RequestHead<'_>, topic: String) -> Result<PublishQuery, Refused> {
    let mut query = PublishQuery { topic, event: None, key: None, audience: To::All, keep: Kept::Retained, slot: None };
    let raw = head.raw_query().unwrap_or_default();
    let value = |name: &'static str| {
        let mut values = raw_values(raw, name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Refused::new(400, format_args!("more than one `{name}`"))),
            (value, None) => value
                .map(|value| decode(value, Plus::Space).map(Cow::into_owned))
                .transpose()
                .map_err(|error| Refused::new(400, error)),
        }
    };
    (query.event, query.key, query.slot) = (value("event")?, value("key")?, value("slot")?);
    query.audience = match value("to")?.as_deref() {
        None => To::All,
        Some("others") => To::Others,
        Some(_) => return Err(Refused::new(400, "`to` with a value other than `others`")),
    };
    query.keep = match value("keep")?.as_deref() {
        None => Kept::Retained,
        Some("no") => Kept::Ephemeral,
        Some(_) => return Err(Refused::new(400, "`keep` with a value other than `no`")),
    };
    Ok(query)
}

/// The head of an answer, but for the application's lines.
const HEAD: usize = 512;

/// The body of a POST is in.
pub(crate) fn body<S>(cx: &mut Context<'_, S>, body: &[u8]) {
    let line = cx.cold.as_mut().and_then(|cold| cold.hub.take());
    cx.meta.clear(flag::HUB);
    let Some(HubLine::Errand(errand)) = line.map(|line| *line) else { return };
    let Errand { what, headers } = *errand;
    let lines = headers.lines();
    // An answer that cannot be written is a 500 of the loop's.
    let _ = match what {
        What::Publish { identity, session, query } => match publish_body(cx, &identity, session, &query, body) {
            Ok(cursor) => {
                let cursor = cursor.text();
                // Neither has anything that JSON would escape.
                let text = format!("{{\"id\":\"{}\",\"topic\":\"{}\"}}\n", cursor.as_str(), query.topic);
                let mut all = lines.clone();
                all.push(("Content-Type", "application/json"));
                all.push(("Cache-Control", "no-store"));
                cx.respond(&Response::new(200).headers(&all), text.as_bytes())
            }
            Err(refused) => refuse(cx, &refused, &lines),
        },
        What::Send { identity, session } => match std::str::from_utf8(body) {
            Ok(text) => {
                let head: usize = lines.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
                // Where more than half of it waits, no request is read.
                let room = (cx.core.settings.queue.limit / 2).saturating_sub(HEAD + head);
                let answers = commands::obey_posted(cx, &identity, session, text, room);
                let mut all = lines.clone();
                all.push(("Content-Type", "text/event-stream"));
                all.push(("Cache-Control", "no-store"));
                all.push(("X-Content-Type-Options", "nosniff"));
                cx.respond(&Response::new(200).headers(&all), &answers)
            }
            Err(_) => refuse(cx, &Refused::new(415, "commands are text"), &lines),
        },
        What::Revoked => refuse(cx, &Refused::new(403, "revoked"), &lines),
        What::Attach { .. } => Ok(()),
    };
}

fn publish_body<S>(
    cx: &mut Context<'_, S>,
    identity: &Identity,
    session: Option<SessionId>,
    query: &PublishQuery,
    body: &[u8],
) -> Result<Cursor, Refused> {
    let data =
        std::str::from_utf8(body).map_err(|_| Refused::new(415, "the body is not UTF-8, and events carry text"))?;
    let publish = Publish {
        topic: &query.topic,
        event: query.event.as_deref().unwrap_or_default(),
        data: Cow::Borrowed(data),
        key: query.key.as_deref(),
        audience: query.audience,
        keep: query.keep,
        slot: query.slot.as_deref(),
    };
    cx.core.desk.count_command(cx.id.index, session, cx.core.now)?;
    commands::publish(cx, identity, session, &publish)
}
