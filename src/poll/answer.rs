//! The body of a poll's answer, in both forms, and the header lines it needs.

use super::json::push_string;
use super::request::{Form, PollConfig};
use crate::http::{PreparedAnswer, Response, ResponseError, Server};
use crate::output::Output;
use crate::sse::{EncodeError, Event};
use alloc::vec::Vec;
use bytes::Bytes;
use memchr::memchr3;

/// One event of an answer: id, topic, type and data, as its block has them.
pub type Item<'a> = Event<'a>;

/// Whether an event went into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pushed {
    /// It did.
    Taken,
    /// It did not, and the batch is as it was: finish it, with [`More::Yes`].
    Full,
}

/// Whether there is more than an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// There is: the client comes back at once.
    Yes,
    /// The answer is complete up to its last id.
    No,
}

/// The events of one answer, encoded as they come.
///
/// # Contract
///
/// - [`push`](Self::push) events in order until one is [`Pushed::Full`] or there are no more, then [`finish`](Self::finish). The first
///   event with an id is always taken, however long, and so is what has no id: it would not come again. Both forms take the same events of ordinary text; where escapes make JSON longer than its
///   block, JSON takes fewer, so that the limit holds for what is sent.
/// - Nothing is reserved in advance: an empty batch holds no memory beyond itself.
#[derive(Clone, Debug)]
pub struct Batch {
    form: Form,
    body: Vec<u8>,
    /// Events that may still be taken.
    events: usize,
    /// Bytes that they may still have, as blocks; of what is in `body` the limit says more.
    blocks: usize,
    /// Bytes of the body beyond which nothing is taken.
    limit: usize,
    /// Whether an event with an id was taken: by it the next poll goes on.
    progress: bool,
}

const OPENING: &[u8] = b"{\"messages\":[";

impl Batch {
    /// An empty batch under the limits of `config`.
    pub fn new(form: Form, config: &PollConfig) -> Self {
        let limit = config.bytes.saturating_add(if form == Form::Json { OPENING.len() } else { 0 });
        Self { form, body: Vec::new(), events: config.events.max(1), blocks: config.bytes, limit, progress: false }
    }

    /// Whether no event was taken yet.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The form it is encoded in.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Adds an event: `block` is its event-stream block, `item` the same as values; each form looks at the one it needs (and at the
    /// block's length). O(their length).
    pub fn push(&mut self, block: &[u8], item: &Item<'_>) -> Pushed {
        let first = self.is_empty();
        let free = item.id.is_none() || !self.progress;
        if (self.events == 0 || block.len() > self.blocks) && !free {
            return Pushed::Full;
        }
        let before = self.body.len();
        match self.form {
            Form::EventStream => self.body.extend_from_slice(block),
            Form::Json => {
                self.body.extend_from_slice(if first { OPENING } else { b"," });
                push_item(item, &mut self.body);
                if self.body.len() > self.limit && !free {
                    self.body.truncate(before);
                    // One that was refused would otherwise be encoded again by whoever asks again.
                    self.events = 0;
                    return Pushed::Full;
                }
            }
        }
        self.progress |= item.id.is_some();
        self.events = self.events.saturating_sub(1);
        self.blocks = self.blocks.saturating_sub(block.len());
        Pushed::Taken
    }

    /// The answer: what was taken, and `last_id`, the cursor up to which it is complete. O(`last_id`).
    ///
    /// # Errors
    ///
    /// [`EncodeError::Id`]: a `last_id` with a line end or a NUL, which no cursor has.
    pub fn finish(mut self, last_id: &str, more: More) -> Result<Answer, EncodeError> {
        if memchr3(b'\n', b'\r', 0, last_id.as_bytes()).is_some() {
            return Err(EncodeError::Id);
        }
        match self.form {
            Form::EventStream => {
                for part in [b"id: ", last_id.as_bytes(), b"\n\n"] {
                    self.body.extend_from_slice(part);
                }
            }
            Form::Json => {
                if self.is_empty() {
                    self.body.extend_from_slice(OPENING);
                }
                self.body.extend_from_slice(b"],\"lastId\":");
                push_string(last_id, &mut self.body);
                let end: &[u8] = if more == More::Yes { b",\"more\":true}" } else { b"}" };
                self.body.extend_from_slice(end);
            }
        }
        Ok(Answer { form: self.form, body: self.body.into(), more })
    }
}

fn push_item(item: &Item<'_>, body: &mut Vec<u8>) {
    body.push(b'{');
    for (name, value) in [("\"id\":", item.id), ("\"topic\":", item.topic)] {
        if let Some(value) = value {
            body.extend_from_slice(name.as_bytes());
            push_string(value, body);
            body.push(b',');
        }
    }
    body.extend_from_slice(b"\"event\":");
    // As in a block, where the empty type is not written.
    push_string(if item.event.is_empty() { "message" } else { item.event }, body);
    body.extend_from_slice(b",\"data\":");
    push_string(item.data, body);
    body.push(b'}');
}

/// The answer to a poll. Cheap to clone.
///
/// Nothing of the request stands in it. It is never to be stored, and has no `ETag` that could bring it back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a poll waits for it"]
pub struct Answer {
    form: Form,
    body: Bytes,
    more: More,
}

impl Answer {
    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The form of the body.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Whether there is more.
    pub fn more(&self) -> More {
        self.more
    }

    /// The header lines that the answer needs, besides its length: type, `Cache-Control`, `X-Content-Type-Options`, `Tautline-More` where
    /// there is more, and `Tautline-Session` where the client is to be told its session.
    pub fn fields<'a>(&self, session: Option<&'a str>) -> Fields<'a> {
        let always = [
            ("Content-Type", self.form.media_type()),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ];
        let more = (self.more == More::Yes).then_some(("Tautline-More", "1"));
        let session = session.map(|session| ("Tautline-Session", session));
        let mut fields = Fields { lines: [("", ""); 5], len: 0 };
        for line in always.into_iter().chain(more).chain(session) {
            fields.lines[fields.len] = line;
            fields.len += 1;
        }
        fields
    }

    /// Answers the present request of `http`, with `headers` besides (of CORS, say). A long body goes by reference.
    ///
    /// # Errors
    ///
    /// As for [`Server::respond_shared`]; a session that cannot stand in a header among them. Nothing was written.
    pub fn respond(
        &self,
        http: &mut Server,
        session: Option<&str>,
        headers: &[(&str, &str)],
        out: &mut Output,
    ) -> Result<(), ResponseError> {
        let fields = self.fields(session);
        http.respond_shared(&Response::new(200).base(fields.as_slice()).headers(headers), &self.body, out)
    }

    /// The whole answer as one piece of bytes for all polls that get the same, with `headers` besides: for
    /// [`Server::respond_prepared`]. It names no session: a poll that came with one knows it. O(body): copied once.
    ///
    /// # Errors
    ///
    /// A header field that cannot be written.
    pub fn prepare(&self, headers: &[(&str, &str)]) -> Result<PreparedAnswer, ResponseError> {
        let fields = self.fields(None);
        PreparedAnswer::new(&Response::new(200).base(fields.as_slice()).headers(headers), &self.body)
    }
}

/// Header lines of an answer: name and value. See [`Answer::fields`].
#[derive(Clone, Copy, Debug)]
#[must_use = "the answer needs these header lines"]
pub struct Fields<'a> {
    lines: [(&'a str, &'a str); 5],
    len: usize,
}

impl<'a> Fields<'a> {
    /// The lines, as [`Response::base`] takes them.
    pub fn as_slice(&self) -> &[(&'a str, &'a str)] {
        &self.lines[..self.len]
    }
}
