//! What the event-stream tests share: a naive parser straight from the standard, and ways to feed the real one.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use tautline::sse::{Limits, ParseError, Parser};
use tautline::{Buffers, Input};

/// An event with everything that a client sees of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub event: String,
    pub data: String,
    pub last_event_id: String,
    pub topic: Option<String>,
}

/// All that a stream leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub events: Vec<Seen>,
    pub last_event_id: String,
    pub retry: Option<u64>,
}

/// Interprets a whole stream as WHATWG HTML section 9.2.6 words it, one character at a time, with `topic` besides.
pub fn naive(stream: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(stream);
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => {
                characters.next_if_eq(&'\n');
                lines.push(std::mem::take(&mut line));
            }
            '\n' => lines.push(std::mem::take(&mut line)),
            other => line.push(other),
        }
    }
    let mut outcome = Outcome::default();
    let (mut data, mut event, mut id, mut topic) = (String::new(), String::new(), String::new(), None);
    for line in lines {
        if line.is_empty() {
            outcome.last_event_id = id.clone();
            let (mut data, event, topic) =
                (std::mem::take(&mut data), std::mem::take(&mut event), std::mem::take(&mut topic));
            if data.pop().is_some() {
                let event = if event.is_empty() { "message".into() } else { event };
                outcome.events.push(Seen { event, data, last_event_id: id.clone(), topic });
            }
            continue;
        }
        let (name, value) = match line.split_once(':') {
            Some((name, value)) => (name, value.strip_prefix(' ').unwrap_or(value)),
            None => (&line[..], ""),
        };
        match name {
            "event" => event = value.into(),
            "data" => data.extend([value, "\n"]),
            "id" if !value.contains('\0') => id = value.into(),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                outcome.retry = value.parse().ok().or(outcome.retry);
            }
            "topic" => topic = Some(value.into()),
            _ => {}
        }
    }
    outcome
}

/// Feeds the chunks one after the other, each in a buffer of its own size, and gathers what comes out.
pub fn feed<'c>(parser: &mut Parser, chunks: impl IntoIterator<Item = &'c [u8]>) -> Result<Outcome, ParseError> {
    let mut outcome = Outcome::default();
    let mut buffers = Buffers::new();
    for chunk in chunks {
        let mut chunk = chunk.to_vec();
        let mut input = Input::with_buffers(&mut chunk, &mut buffers);
        while let Some(event) = parser.next_event(&mut input)? {
            if let Some(id) = event.id {
                assert_eq!(id, parser.last_event_id());
            }
            outcome.events.push(Seen {
                event: event.event.into(),
                data: event.data.into(),
                last_event_id: parser.last_event_id().into(),
                topic: event.topic.map(Into::into),
            });
        }
        assert!(input.is_empty(), "None means that the input is used up");
    }
    outcome.last_event_id = parser.last_event_id().into();
    outcome.retry = parser.retry();
    Ok(outcome)
}

/// What a fresh parser makes of the chunks.
pub fn fast<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Outcome {
    feed(&mut Parser::new(), chunks).expect("no limit is broken")
}

/// As [`fast`], with limits.
pub fn limited<'c>(
    line: usize,
    event: usize,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Result<Outcome, ParseError> {
    feed(&mut Parser::with_limits(Limits { line, event }), chunks)
}

/// Every way to feed `stream` that must make no difference: whole, byte by byte, and cut in two anywhere.
pub fn every_cut(stream: &[u8], mut check: impl FnMut(&mut dyn Iterator<Item = &[u8]>)) {
    check(&mut [stream].into_iter());
    check(&mut stream.chunks(1));
    for cut in 1..stream.len() {
        check(&mut [&stream[..cut], &stream[cut..]].into_iter());
    }
}
