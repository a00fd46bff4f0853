//! What a client says: commands and publications, on a WebSocket or in a POST.

use super::line::{self, HubLine, hub_line};
use super::requests::{self, Errand};
use crate::hub::{
    Command, Commands, Cursor, Entry, Identity, Kept, Owner, Publish, PublishError, RateExceeded, Refusal, SessionId,
    Subscribed, To, notice,
};
use crate::net::context::Context;
use crate::net::handler::Message;
use crate::net::publish::Sender;
use crate::sse::Event;
use crate::ws::CloseCode;
use bytes::Bytes;
use std::string::{String, ToString};
use std::time::Duration;
use std::vec::Vec;

/// Why something was refused, as the client is told.
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) cause: String,
    /// After how long it pays to come back.
    pub(super) after: Option<Duration>,
    /// With a 405.
    pub(super) allow: &'static str,
}

impl Refused {
    pub(super) fn new(status: u16, cause: impl ToString) -> Self {
        Self { status, cause: cause.to_string(), after: None, allow: "" }
    }

    /// For a WebSocket that is refused after it was accepted.
    pub(super) fn close_code(&self) -> u16 {
        match self.status {
            401 => 4001,
            403 => 4003,
            429 | 503 => 1013,
            _ => 1008,
        }
    }
}

impl From<RateExceeded> for Refused {
    fn from(exceeded: RateExceeded) -> Self {
        let mut refused = Self::new(exceeded.status(), exceeded);
        refused.after = Some(exceeded.retry_after);
        refused
    }
}

impl From<PublishError> for Refused {
    fn from(error: PublishError) -> Self {
        let mut refused = Self::new(error.status(), error);
        if refused.status == 503 {
            // Workers that are behind by this are overloaded.
            refused.after = Some(Duration::from_secs(1));
        }
        refused
    }
}

/// A message of a hub's WebSocket.
pub(crate) fn receive<S>(cx: &mut Context<'_, S>, message: Message<'_>) {
    if let Some(HubLine::Nameless(..)) = hub_line(cx) {
        first_message(cx, message);
        return;
    }
    let Message::Text(text) = message else {
        cx.close(CloseCode::UNSUPPORTED, "events carry text");
        return;
    };
    let limit = cx.core.settings.queue.limit;
    for command in Commands::read(text) {
        // What was received is said as often as it has to be.
        let counts = !matches!(command, Ok(Command::Ack { .. }));
        if counts && let Err(exceeded) = cx.core.desk.count_command(cx.id.index, None, cx.core.now) {
            let _ = line::hand_block(cx, &not_obeyed(&command, &exceeded.into()));
            break;
        }
        // Messages are read where half of the queue is free: that much their answers may take, and there is always room for the last one.
        let full = |cx: &Context<'_, S>, answer: usize| cx.queued() + answer + ANSWER > limit;
        if counts && full(cx, ANSWER) {
            let _ = line::hand_block(cx, &not_obeyed(&command, &no_room(limit)));
            break;
        }
        let answer = match &command {
            Ok(command) => obey(cx, command),
            Err(refusal) => Some(refusal_block(refusal)),
        };
        match answer {
            Some(answer) if full(cx, answer.len()) => {
                let _ = line::hand_block(cx, &not_obeyed(&command, &no_room(limit)));
                break;
            }
            Some(answer) => _ = line::hand_block(cx, &answer),
            None => {}
        }
    }
    line::pump(cx);
    line::heard(cx);
}

/// Nothing but a token is taken from somebody without a name.
fn first_message<S>(cx: &mut Context<'_, S>, message: Message<'_>) {
    let line = cx.cold.as_mut().and_then(|cold| cold.hub.take());
    let mut commands = Commands::read(if let Message::Text(text) = message { text } else { "" });
    match (commands.next(), commands.next(), line.map(|line| *line)) {
        (Some(Ok(Command::Token(token))), None, Some(HubLine::Nameless(errand, _))) => {
            let errand: Errand = *errand;
            requests::admit_by_token(cx, errand, token);
        }
        _ => cx.close(CloseCode::new(4001).unwrap_or(CloseCode::POLICY), "the first message is not a token"),
    }
}

/// Does what a subscriber says; the answer to it, if there is one.
fn obey<S>(cx: &mut Context<'_, S>, command: &Command<'_>) -> Option<Bytes> {
    let index = cx.id.index;
    let (session, identity) = cx.core.desk.member(index)?;
    let identity = identity.clone();
    match command {
        Command::Subscribe { topic, cursor } => match subscribe(cx, session, &identity, topic, *cursor) {
            Ok(()) => None,
            Err(refused) => Some(error("subscribe", Some(topic), None, &refused)),
        },
        Command::Unsubscribe { topic } => {
            cx.core.unsubscribe(cx.id, topic);
            Some(notice::unsubscribed(topic, notice::Ended::Asked))
        }
        Command::Ack { cursor } => {
            cx.core.desk.acknowledge(index, *cursor, cx.core.now);
            None
        }
        Command::Token(_) => {
            Some(error("token", None, None, &Refused::new(400, "only the first message may be a token")))
        }
        Command::Presence { topic } => Some(presence(cx, topic)),
        Command::Publish(publish) => publish_and_answer(cx, &identity, Some(session), publish),
    }
}

fn subscribe<S>(
    cx: &mut Context<'_, S>,
    session: SessionId,
    identity: &Identity,
    topic: &str,
    cursor: Option<Cursor>,
) -> Result<(), Refused> {
    let Some(hub) = cx.core.hub.clone() else { return Ok(()) };
    crate::hub::check_name(topic).map_err(|error| Refused::new(error.status(), error))?;
    if !hub.authority.may_subscribe(identity, topic) {
        return Err(Refused::new(403, "not allowed"));
    }
    let head = cx.core.log.head().position;
    let subscribed = cx.core.desk.subscribe(cx.id.index, topic, cursor, head);
    match subscribed.map_err(|error| Refused::new(error.status(), error))? {
        Subscribed::New => {
            requests::join(cx, &hub, identity, session, topic);
            if hub.config.policies.of(topic).presence == crate::hub::WhoIsHere::Kept {
                line::owe(cx, line::Owed::Snapshot(topic.into()));
            }
        }
        // It has what it asks for; it is told so all the same, if it is not about to be.
        Subscribed::Already if cx.core.desk.is_catching_up(cx.id.index, topic) => {}
        Subscribed::Already => {
            let cursor = cx.core.desk.position_of(cx.id.index);
            let _ = line::hand_block(cx, &notice::subscribed(topic, cursor));
        }
    }
    Ok(())
}

/// Who is on a topic, for who is subscribed to it.
fn presence<S>(cx: &Context<'_, S>, topic: &str) -> Bytes {
    if cx.core.desk.topics().topics_of(cx.id.index).any(|own| own == topic) {
        line::snapshot(cx, topic)
    } else {
        error("presence", Some(topic), None, &Refused::new(403, "not subscribed"))
    }
}

/// The longest answer to a command but presence: names, a key and a cause.
const ANSWER: usize = 512;

/// Commands that came in a POST: publications, and who is here. The answers are blocks, of `room` bytes at most: the command that finds no
/// room for its answer is not obeyed, nor what follows.
pub(super) fn obey_posted<S>(
    cx: &mut Context<'_, S>,
    identity: &Identity,
    session: Option<SessionId>,
    text: &str,
    room: usize,
) -> Vec<u8> {
    let mut answers = Vec::new();
    for command in Commands::read(text) {
        let counts = !matches!(command, Ok(Command::Ack { .. }));
        if counts && let Err(exceeded) = cx.core.desk.count_command(cx.id.index, session, cx.core.now) {
            answers.extend_from_slice(&not_obeyed(&command, &exceeded.into()));
            break;
        }
        // There is always room for the last one.
        if counts && answers.len() + 2 * ANSWER > room {
            answers.extend_from_slice(&not_obeyed(&command, &no_room(room)));
            break;
        }
        let answer = match &command {
            Ok(Command::Publish(publish)) => publish_and_answer(cx, identity, session, publish),
            Ok(Command::Ack { cursor }) => {
                if let Some(session) = session {
                    cx.core.acknowledge_beside(session, *cursor);
                }
                None
            }
            Ok(Command::Presence { topic }) => {
                let allowed = cx.core.hub.clone().is_some_and(|hub| hub.authority.may_subscribe(identity, topic));
                Some(if allowed {
                    line::snapshot(cx, topic)
                } else {
                    error("presence", Some(topic), None, &Refused::new(403, "not allowed"))
                })
            }
            Ok(Command::Subscribe { topic, .. }) => Some(on_websockets("subscribe", Some(topic))),
            Ok(Command::Unsubscribe { topic }) => Some(on_websockets("unsubscribe", Some(topic))),
            Ok(Command::Token(_)) => Some(on_websockets("token", None)),
            Err(refusal) => Some(refusal_block(refusal)),
        };
        match answer {
            Some(answer) if answers.len() + answer.len() + ANSWER > room => {
                answers.extend_from_slice(&not_obeyed(&command, &no_room(room)));
                break;
            }
            Some(answer) => answers.extend_from_slice(&answer),
            None => {}
        }
    }
    answers
}

fn no_room(limit: usize) -> Refused {
    let mut refused = Refused::new(503, format_args!("what is to be answered comes to more than {limit} bytes"));
    refused.after = Some(Duration::from_secs(1));
    refused
}

/// The answer to one command too many. What comes behind it in the message is not looked at: as many bad ones as there may be in a message
/// are owed much more than was sent.
fn not_obeyed(command: &Result<Command<'_>, Refusal<'_>>, refused: &Refused) -> Bytes {
    let (command, topic, key) = match command {
        Ok(Command::Subscribe { topic, .. }) => ("subscribe", Some(*topic), None),
        Ok(Command::Unsubscribe { topic }) => ("unsubscribe", Some(*topic), None),
        Ok(Command::Ack { .. }) => ("ack", None, None),
        Ok(Command::Token(_)) => ("token", None, None),
        Ok(Command::Presence { topic }) => ("presence", Some(*topic), None),
        Ok(Command::Publish(publish)) => ("publish", Some(publish.topic), publish.key),
        Err(refusal) => (refusal.command, refusal.topic, refusal.key),
    };
    error(command, topic, key, refused)
}

/// The answer to what is no command.
fn refusal_block(refusal: &Refusal<'_>) -> Bytes {
    let Refusal { command, topic, key, cause, .. } = *refusal;
    notice::Error { topic, status: cause.status(), command, key, cause, after: None }.block()
}

fn on_websockets(command: &str, topic: Option<&str>) -> Bytes {
    error(command, topic, None, &Refused::new(400, "on a WebSocket only: elsewhere the query says it"))
}

fn error(command: &str, topic: Option<&str>, key: Option<&str>, refused: &Refused) -> Bytes {
    notice::Error { topic, status: refused.status, command, key, cause: &refused.cause, after: refused.after }.block()
}

fn publish_and_answer<S>(
    cx: &mut Context<'_, S>,
    identity: &Identity,
    session: Option<SessionId>,
    publish_: &Publish<'_>,
) -> Option<Bytes> {
    match publish(cx, identity, session, publish_) {
        Ok(cursor) => publish_.key.map(|key| notice::ack(publish_.topic, key, cursor)),
        Err(refused) => Some(error("publish", Some(publish_.topic), publish_.key, &refused)),
    }
}

/// Publishes for somebody, if they may.
pub(super) fn publish<S>(
    cx: &mut Context<'_, S>,
    identity: &Identity,
    session: Option<SessionId>,
    publish: &Publish<'_>,
) -> Result<Cursor, Refused> {
    let Some(hub) = cx.core.hub.clone() else { return Err(Refused::new(404, "no hub")) };
    publish.check().map_err(|error| Refused::new(error.status(), error))?;
    if !hub.authority.may_publish(identity, publish.topic) {
        return Err(Refused::new(403, "not allowed"));
    }
    let event = Event { event: publish.event, data: &publish.data, id: None, topic: None };
    let entry = match publish.keep {
        Kept::Ephemeral => Entry::ephemeral(publish.topic, &event),
        Kept::Retained => Entry::in_slot(publish.topic, &event, publish.slot.unwrap_or_default()),
    }?;
    let except = match publish.audience {
        To::All => None,
        To::Others => session,
    };
    let owner = match (&identity.user, session) {
        (Some(user), _) => Some(Owner::user(hub.sessions.user(user))),
        (None, session) => session.map(Owner::session),
    };
    let key = match (publish.key, owner) {
        (None, _) => None,
        (Some(key), Some(owner)) => Some((owner, key)),
        (Some(_), None) => return Err(Refused::new(400, "a key is a session's or a user's, and there is neither")),
    };
    Ok(cx.core.publish_entry(entry, except, Sender { except: None, key })?.cursor())
}
