//! The chat's protocol: JSON objects as text messages of a WebSocket at `/ws`, without a subprotocol.
//!
//! The client asks, each time with a `type`. It may add `ref`, a string or number, which comes back in the answer:
//!
//! | Client | Answer | To the others in the room |
//! |---|---|---|
//! | `{"type":"join","room":"lobby","name":"Ada"}` | `joined` with `room`, `seq`, `members` | `entered` with `room`, `seq`, `id`, `name` |
//! | `{"type":"leave","room":"lobby"}` | `parted` with `room` | `left` with `room`, `seq`, `id` |
//! | `{"type":"message","room":"lobby","text":"hi"}` | `sent` with `room`, `at` | `message` with `room`, `from`, `text`, `at` |
//! | `{"type":"who","room":"lobby"}` | `here` with `room`, `seq`, `members` | |
//! | `{"type":"ping"}` | `pong` | |
//!
//! On its own the server says `welcome` with the connection's `id` first of all. What is published to a topic of the room's name comes as
//! the block that all subscribers of that topic get (docs/PROTOCOL.md), no JSON: `id:`, `topic:`, `event:` and `data:`, one field a line.
//! What the server cannot do is answered with `error`, a `code` and a `message` for people; the connection goes on.
//!
//! `members` and `from` hold `{"id":7,"name":"Ada"}`; `at` is milliseconds of Unix time; what `seq` is for [`rooms`](super::rooms) says. A
//! client that loses its connection joins again.
//!
//! Browsers do not show a page the protocol's own pings, so `ping` is how the page measures its round trip.

use super::rooms::{JoinError, Present, Rooms};
use super::site::Cx;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tautline::Instant;
use tautline::net::{Audience, Message};
use tautline::ws::CloseCode;

/// Bytes of a message on the wire. The longest text, each character escaped, fits.
pub(crate) const MAX_MESSAGE: u64 = 16 << 10;

/// Characters of a text.
const MAX_TEXT: usize = 2000;
/// Characters of a name.
const MAX_NAME: usize = 32;
/// Bytes of a room's name.
const MAX_ROOM: usize = 64;
/// Rooms of one connection.
const MAX_ROOMS: usize = 8;
/// Bytes of a `ref`.
const MAX_REF: usize = 64;

/// One request costs so much of the time that a connection has: 100 a second, ...
const COST: Duration = Duration::from_millis(10);
/// ... or 200 at once after a quiet time.
const BURST: Duration = Duration::from_millis(200 * 10);

/// The loop's topic of a room. The prefix is closed to the hub's clients: what is on it is JSON for the chat.
pub(crate) fn topic_of(room: &str) -> String {
    format!("{PREFIX}{room}")
}

/// See [`topic_of`].
pub(crate) const PREFIX: &str = "chat/";

/// Whether a name is one for a room: what a topic may be called, without the slash that parts prefixes.
fn is_room(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
    (1..=MAX_ROOM).contains(&name.len()) && name.bytes().all(allowed)
}

/// One connection to the chat.
pub(crate) struct Member {
    id: u64,
    rooms: Vec<Membership>,
    /// When all that it asked for is paid (the generic cell rate algorithm).
    paid: Instant,
}

struct Membership {
    room: Box<str>,
    topic: Box<str>,
    name: Arc<str>,
}

/// Why a request was not done.
struct Complaint {
    /// For programs.
    code: &'static str,
    /// For people.
    message: String,
}

fn complain(code: &'static str, message: impl Into<String>) -> Complaint {
    Complaint { code, message: message.into() }
}

impl Member {
    pub(crate) fn new(rooms: &Rooms) -> Self {
        Self { id: rooms.new_id(), rooms: Vec::new(), paid: Instant::ORIGIN }
    }

    pub(crate) fn welcome(&self) -> Value {
        json!({ "type": "welcome", "id": self.id })
    }

    /// Does what a message asks for, and answers.
    pub(crate) fn receive(&mut self, rooms: &Rooms, message: Message<'_>, cx: &mut Cx<'_>) {
        let mut reference = None;
        let done = self.pay(cx.now()).and_then(|()| {
            let request = parse(message)?;
            reference = reference_of(&request)?;
            self.act(rooms, &request, cx)
        });
        let mut answer = done
            .unwrap_or_else(|Complaint { code, message }| json!({ "type": "error", "code": code, "message": message }));
        if let Some(reference) = reference {
            answer["ref"] = reference;
        }
        send(cx, &answer);
    }

    /// The connection is gone.
    pub(crate) fn leave_all(mut self, rooms: &Rooms, cx: &mut Cx<'_>) {
        for membership in std::mem::take(&mut self.rooms) {
            self.part(rooms, &membership, cx);
        }
    }

    fn act(&mut self, rooms: &Rooms, request: &Value, cx: &mut Cx<'_>) -> Result<Value, Complaint> {
        match request["type"].as_str() {
            Some("ping") => Ok(json!({ "type": "pong" })),
            Some("join") => self.join(rooms, request, cx),
            Some("leave") => self.leave(rooms, request, cx),
            Some("message") => self.speak(request, cx),
            Some("who") => {
                let membership = self.membership(request)?;
                let roll = rooms.roll(&membership.room).ok_or_else(not_there)?;
                Ok(json!({
                    "type": "here", "room": membership.room, "seq": roll.seq, "members": list(&roll.members),
                }))
            }
            Some(_) => Err(complain("unknown", "type is none of join, leave, message, who, ping")),
            None => Err(complain("malformed", "type is missing, or no string")),
        }
    }

    fn join(&mut self, rooms: &Rooms, request: &Value, cx: &mut Cx<'_>) -> Result<Value, Complaint> {
        let room = room_of(request)?;
        let name: Arc<str> = name_of(request)?.into();
        if self.rooms.iter().any(|there| *there.room == *room) {
            return Err(complain("joined_already", "you are in this room; leave it first to change your name"));
        }
        if self.rooms.len() >= MAX_ROOMS {
            return Err(complain("too_many_rooms", format!("at most {MAX_ROOMS} rooms at a time")));
        }
        let topic = topic_of(room);
        // Before the roll is taken, so that nothing falls between the two. The room's own name is for what is published to everybody.
        let subscribed = cx.subscribe(&topic).and_then(|_| cx.subscribe(room));
        if let Err(error) = subscribed {
            cx.unsubscribe(&topic);
            return Err(complain("busy", error.to_string()));
        }
        let who = Present { id: self.id, name: name.clone() };
        let entered = |seq| {
            let text = json!({ "type": "entered", "room": room, "seq": seq, "id": who.id, "name": &*who.name });
            cx.broadcast(&topic, Message::Text(&text.to_string()), Audience::Others).is_ok()
        };
        match rooms.join(room, who.clone(), entered) {
            Ok(roll) => {
                self.rooms.push(Membership { room: room.into(), topic: topic.into(), name });
                Ok(json!({ "type": "joined", "room": room, "seq": roll.seq, "members": list(&roll.members) }))
            }
            Err(error) => {
                cx.unsubscribe(&topic);
                cx.unsubscribe(room);
                Err(match error {
                    JoinError::Full => complain("room_full", "this room has as many members as it may have"),
                    JoinError::Busy => busy(),
                })
            }
        }
    }

    fn leave(&mut self, rooms: &Rooms, request: &Value, cx: &mut Cx<'_>) -> Result<Value, Complaint> {
        let room = room_of(request)?;
        let at = self.rooms.iter().position(|there| *there.room == *room).ok_or_else(not_there)?;
        let membership = self.rooms.remove(at);
        cx.unsubscribe(&membership.topic);
        cx.unsubscribe(room);
        self.part(rooms, &membership, cx);
        Ok(json!({ "type": "parted", "room": room }))
    }

    /// Takes this member off the roll and tells the others.
    fn part(&self, rooms: &Rooms, from: &Membership, cx: &mut Cx<'_>) {
        rooms.leave(&from.room, self.id, |seq| {
            let left = json!({ "type": "left", "room": from.room, "seq": seq, "id": self.id });
            // If there is no room for it, the number of the next change tells them.
            let _ = cx.broadcast(&from.topic, Message::Text(&left.to_string()), Audience::Others);
        });
    }

    fn speak(&self, request: &Value, cx: &mut Cx<'_>) -> Result<Value, Complaint> {
        let membership = self.membership(request)?;
        let text = request["text"].as_str().ok_or_else(|| complain("malformed", "text is missing, or no string"))?;
        if text.trim().is_empty() || text.chars().count() > MAX_TEXT || text.contains(is_unseemly) {
            let message =
                format!("text is 1 to {MAX_TEXT} characters, without control characters but line feed and tab");
            return Err(complain("bad_text", message));
        }
        let at = unix_ms();
        let message = json!({
            "type": "message", "room": membership.room, "from": { "id": self.id, "name": &*membership.name },
            "text": text, "at": at,
        });
        cx.broadcast(&membership.topic, Message::Text(&message.to_string()), Audience::Others).map_err(|_| busy())?;
        Ok(json!({ "type": "sent", "room": membership.room, "at": at }))
    }

    fn membership(&self, request: &Value) -> Result<&Membership, Complaint> {
        let room = room_of(request)?;
        self.rooms.iter().find(|there| *there.room == *room).ok_or_else(not_there)
    }

    /// Charges a request, so that nobody drowns a room.
    fn pay(&mut self, now: Instant) -> Result<(), Complaint> {
        if self.paid.saturating_duration_since(now) >= BURST {
            return Err(complain("too_fast", "at most 100 requests a second; this one was not done"));
        }
        self.paid = self.paid.max(now) + COST;
        Ok(())
    }
}

/// Sends an answer. It finds room, as reading pauses while half of the queue waits; if not, the client is told to come back.
pub(crate) fn send(cx: &mut Cx<'_>, answer: &Value) {
    if cx.send(Message::Text(&answer.to_string())).is_err() {
        cx.close(CloseCode::TRY_AGAIN, "no room for the answer");
    }
}

fn parse(message: Message<'_>) -> Result<Value, Complaint> {
    let Message::Text(text) = message else {
        return Err(complain("binary", "the chat speaks JSON in text messages"));
    };
    match serde_json::from_str(text) {
        Ok(request @ Value::Object(_)) => Ok(request),
        Ok(_) => Err(complain("malformed", "not a JSON object")),
        Err(error) => Err(complain("malformed", format!("not JSON: {error}"))),
    }
}

fn reference_of(request: &Value) -> Result<Option<Value>, Complaint> {
    match &request["ref"] {
        Value::Null => Ok(None),
        reference @ Value::Number(_) => Ok(Some(reference.clone())),
        Value::String(text) if text.len() <= MAX_REF => Ok(Some(request["ref"].clone())),
        _ => Err(complain("malformed", format!("ref is a number, or a string of at most {MAX_REF} bytes"))),
    }
}

fn room_of(request: &Value) -> Result<&str, Complaint> {
    let room = request["room"].as_str().ok_or_else(|| complain("malformed", "room is missing, or no string"))?;
    if is_room(room) {
        return Ok(room);
    }
    Err(complain("bad_room", format!("a room's name is 1 to {MAX_ROOM} of A-Z a-z 0-9 _ . : -")))
}

fn name_of(request: &Value) -> Result<&str, Complaint> {
    let name = request["name"].as_str().ok_or_else(|| complain("malformed", "name is missing, or no string"))?.trim();
    if name.is_empty()
        || name.chars().count() > MAX_NAME
        || name.contains(|c| is_unseemly(c) || matches!(c, '\n' | '\t'))
    {
        return Err(complain(
            "bad_name",
            format!("a name is 1 to {MAX_NAME} characters, none of them control characters"),
        ));
    }
    Ok(name)
}

/// Control characters, and those that change the direction of the text around them: with those one can write in another's name.
fn is_unseemly(c: char) -> bool {
    let bends = matches!(c, '\u{200E}' | '\u{200F}' | '\u{061C}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    bends || (c.is_control() && !matches!(c, '\n' | '\t'))
}

fn not_there() -> Complaint {
    complain("not_joined", "you are not in this room")
}

fn busy() -> Complaint {
    complain("busy", "the server is busy; try again")
}

fn list(members: &[Present]) -> Vec<Value> {
    members.iter().map(|member| json!({ "id": member.id, "name": &*member.name })).collect()
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
