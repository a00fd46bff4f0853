//! A made-up token stream, served as language models are: a POST with the prompt, answered by an event stream that ends in order.
//!
//! The prompt is the body: text, or JSON with a string `prompt`. Each token is an event `token` with `{"index":0,"text":"..."}` (JSON, so that
//! spaces survive), and its index as id; put together the texts are the answer. The last event is `done` with
//! `{"tokens":94,"reason":"stop"}`. A client that closes the connection stops the work.

use super::site::{Cx, Role, answer};
use serde_json::{Value, json};
use std::time::Duration;
use tautline::http::cors::CorsHeaders;
use tautline::http::{RequestHead, ResponseError};
use tautline::net::StreamOpened;
use tautline::sse::{Event, Subscription};

/// Bytes of a prompt.
const MAX_PROMPT: usize = 4096;

/// Characters of the prompt that the answer repeats.
const MAX_QUOTE: usize = 80;

/// Between two tokens, and up to that much more at random: some 30 a second.
const PACE: Duration = Duration::from_millis(20);
const JITTER_MS: u64 = 25;

/// With so many bytes waiting for a slow reader the work rests: a token that nobody reads is better not made.
const ENOUGH: usize = 16 << 10;

const ANSWER: &str = "A taut line is one that is always under tension: you feel at once when the other end lets go. \
    This stream is such a line. Your POST opened it, each piece of this sentence is one server-sent event, \
    and a timer of the event loop paces them, so no thread waits for any of it. \
    The last event says that the answer is complete; if the line breaks before, you know that it is not.";

/// A request for a stream has come in, but for its body.
pub(crate) fn announce(head: &RequestHead<'_>, cors: &CorsHeaders<'_>, cx: &mut Cx<'_>) -> Result<(), ResponseError> {
    if let Err(refusal) = Subscription::read(head) {
        return answer(cx, cors.as_slice(), refusal.status(), &[], &format!("{refusal}\n"));
    }
    cx.read_body();
    *cx.state() = Some(Box::new(Role::Prompt(Prompt(Kept::new(cors)))));
    Ok(())
}

/// CORS lines that outlive the request's head.
struct Kept(Vec<(String, String)>);

impl Kept {
    fn new(cors: &CorsHeaders<'_>) -> Self {
        Self(cors.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn lines(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value)).collect()
    }
}

/// A prompt that waits for its body. It was let in.
pub(crate) struct Prompt(Kept);

impl Prompt {
    /// Begins the stream.
    pub(crate) fn begin(self, body: &[u8], cx: &mut Cx<'_>) -> Result<(), ResponseError> {
        let cors = self.0.lines();
        if body.len() > MAX_PROMPT {
            return answer(cx, &cors, 413, &[], &format!("A prompt is at most {MAX_PROMPT} bytes.\n"));
        }
        let Ok(body) = std::str::from_utf8(body) else {
            return answer(cx, &cors, 400, &[], "The prompt is not UTF-8.\n");
        };
        let json: Value = serde_json::from_str(body).unwrap_or_default();
        let prompt = json["prompt"].as_str().unwrap_or(if json.is_object() { "" } else { body });
        if cx.begin_stream(&cors)? == StreamOpened::Yes {
            *cx.state() = Some(Box::new(Role::Tokens(Stream { text: reply(prompt), at: 0, index: 0 })));
            cx.set_timer(PACE);
        }
        Ok(())
    }
}

fn reply(prompt: &str) -> String {
    let words: Vec<&str> = prompt.split_whitespace().collect();
    let mut quote: String = words.join(" ").chars().take(MAX_QUOTE).collect();
    if quote.is_empty() {
        return ANSWER.into();
    }
    if quote.len() < prompt.trim().len() {
        quote.push('…');
    }
    format!("You asked: “{quote}”. {ANSWER}")
}

/// An answer under way.
pub(crate) struct Stream {
    text: String,
    /// Sent up to here.
    at: usize,
    index: u64,
}

impl Stream {
    /// The next token is due.
    pub(crate) fn go_on(&mut self, cx: &mut Cx<'_>) {
        let pace = PACE + Duration::from_millis(cx.random() % JITTER_MS);
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            let done = json!({ "tokens": self.index, "reason": "stop" }).to_string();
            let _ = cx.send_event(&Event::new(&done).with_event("done"));
            // A stream that cannot be ended now is asked again.
            if cx.finish_stream(None).is_err() {
                cx.set_timer(pace);
            }
            return;
        }
        if cx.queued() < ENOUGH {
            let token = &rest[..token_len(rest)];
            let (id, data) = (self.index.to_string(), json!({ "index": self.index, "text": token }).to_string());
            if cx.send_event(&Event::new(&data).with_event("token").with_id(&id)).is_ok() {
                self.at += token.len();
                self.index += 1;
            }
        }
        cx.set_timer(pace);
    }
}

/// The length of the next token, made up: a space or a letter and the letters behind it, or a single other character.
fn token_len(text: &str) -> usize {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return 0 };
    let letters = if first == ' ' || first.is_alphanumeric() { LETTERS } else { 0 };
    let rest = chars.take(letters).take_while(|c| c.is_alphanumeric());
    first.len_utf8() + rest.map(char::len_utf8).sum::<usize>()
}

/// Behind the first character of a token. Words of more are cut, as real tokenizers do.
const LETTERS: usize = 5;
