//! Events: streams of topics, and publishing to them.

use super::chat;
use super::site::{Cx, Role, Shared, answer};
use super::stats;
use serde_json::json;
use std::borrow::Cow;
use std::sync::atomic::Ordering;
use tautline::http::cors::CorsHeaders;
use tautline::http::{RequestHead, ResponseError};
use tautline::hub::{self, DEFAULT_TOPIC};
use tautline::net::{Audience, Message, StreamOpened};
use tautline::sse::{Event, Signal};

/// Answers with an event stream of the topics that the query names.
pub(crate) fn attach(
    shared: &Shared,
    head: &RequestHead<'_>,
    cors: &CorsHeaders<'_>,
    cx: &mut Cx<'_>,
) -> Result<(), ResponseError> {
    let lines = cors.as_slice();
    let topics = match topics(head) {
        Ok(topics) => topics,
        Err(text) => return answer(cx, lines, 400, &[], &text),
    };
    if let Some(topic) = topics.iter().find(|topic| topic.starts_with(chat::PREFIX)) {
        return answer(cx, lines, 400, &[], &format!("{topic}: the chat's topics are for its own WebSockets.\n"));
    }
    // Before the answer, while there still is a status to refuse with.
    let refused = topics.iter().find_map(|topic| cx.subscribe(topic).err());
    if let Some(error) = refused {
        detach(&topics, cx);
        return answer(cx, lines, error.status(), &[], &format!("{error}\n"));
    }
    match cx.open_stream(head, lines) {
        Ok(StreamOpened::Yes) => {
            // Where the stream begins. From now on the client comes back with a cursor, although nothing may have been published.
            let _ = cx.signal(Signal::Position(cx.cursor().text().as_str()));
            if topics.iter().any(|topic| topic == stats::TOPIC) {
                shared.watchers.fetch_add(1, Ordering::Relaxed);
                *cx.state() = Some(Box::new(Role::Watcher));
            }
            Ok(())
        }
        // A HEAD, or refused: answered, and nothing to send.
        closed => {
            detach(&topics, cx);
            closed.map(drop)
        }
    }
}

fn detach(topics: &[Cow<'_, str>], cx: &mut Cx<'_>) {
    for topic in topics {
        cx.unsubscribe(topic);
    }
}

/// A stream that wanted the figures is gone.
pub(crate) fn forget(shared: &Shared) {
    shared.watchers.fetch_sub(1, Ordering::Relaxed);
}

/// A request to publish has come in, but for its body.
pub(crate) fn announce(head: &RequestHead<'_>, cors: &CorsHeaders<'_>, cx: &mut Cx<'_>) -> Result<(), ResponseError> {
    let lines = cors.as_slice();
    let mut topics = match topics(head) {
        Ok(topics) => topics,
        Err(text) => return answer(cx, lines, 400, &[], &text),
    };
    if topics.len() > 1 {
        return answer(cx, lines, 400, &[], "An event has one topic.\n");
    }
    let topic = topics.pop().unwrap_or_else(|| DEFAULT_TOPIC.into()).into_owned();
    if topic.starts_with(chat::PREFIX) || topic == stats::TOPIC {
        return answer(cx, lines, 400, &[], &format!("{topic}: only the server publishes there.\n"));
    }
    cx.read_body();
    *cx.state() = Some(Box::new(Role::Publish(Pending { topic, cors: Kept::new(cors) })));
    Ok(())
}

/// A publication that waits for its body. It was let in.
pub(crate) struct Pending {
    topic: String,
    cors: Kept,
}

impl Pending {
    /// Publishes the body, as it is, to the topic's streams and to the chat room of that name.
    pub(crate) fn publish(self, shared: &Shared, body: &[u8], cx: &mut Cx<'_>) -> Result<(), ResponseError> {
        let cors = self.cors.lines();
        let Ok(event) = Event::from_utf8(body) else {
            return answer(cx, &cors, 400, &[], "The body is not UTF-8, and events carry text.\n");
        };
        let cursor = match cx.publish(&self.topic, &event) {
            Ok(cursor) => cursor,
            Err(error) => return answer(cx, &cors, error.status(), &[], &format!("{error}\n")),
        };
        let id = cursor.text();
        if chat::is_room(&self.topic) && shared.rooms.exists(&self.topic) {
            // The id says where it belongs; that it comes behind the event itself is no matter.
            let text = chat::event(&self.topic, id.as_str(), event.data);
            let _ = cx.broadcast(&chat::topic_of(&self.topic), Message::Text(&text), Audience::All);
        }
        let done = json!({ "id": id.as_str(), "topic": self.topic }).to_string() + "\n";
        answer(cx, &cors, 200, &[("Content-Type", "application/json")], &done)
    }
}

/// CORS lines that outlive the request's head.
pub(crate) struct Kept(Vec<(String, String)>);

impl Kept {
    pub(crate) fn new(cors: &CorsHeaders<'_>) -> Self {
        Self(cors.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    pub(crate) fn lines(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value)).collect()
    }
}

/// The topics in a query, each of them checked: at least one.
fn topics<'h>(head: &RequestHead<'h>) -> Result<Vec<Cow<'h, str>>, String> {
    let mut topics = Vec::new();
    for pair in head.query() {
        let (name, value) = pair.map_err(|error| format!("query: {error}\n"))?;
        if name != "topic" {
            continue;
        }
        hub::check_name(&value).map_err(|error| format!("topic: {error}\n"))?;
        if !topics.contains(&value) {
            topics.push(value);
        }
        if topics.len() > MOST_TOPICS {
            return Err(format!("topic: at most {MOST_TOPICS} in one stream\n"));
        }
    }
    if topics.is_empty() {
        topics.push(DEFAULT_TOPIC.into());
    }
    Ok(topics)
}

/// Topics of one stream. A page needs a few; and the list is searched for repetitions.
const MOST_TOPICS: usize = 16;
