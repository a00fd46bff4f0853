//! What a hub sends on one connection, taken apart: just enough of WebSocket, event streams and answers to polls to count with.

use serde_json::Value;
use std::borrow::Cow;

/// How a subscriber is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    Stream,
    Poll,
}

impl Transport {
    pub(crate) const ALL: [Self; 3] = [Self::WebSocket, Self::Stream, Self::Poll];

    /// As the leader says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Stream => "stream",
            Self::Poll => "poll",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.name() == name)
    }
}

/// Something that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got<'a> {
    /// A publication.
    Event { id: &'a str, data: &'a str },
    /// Everything up to there has come.
    Position(&'a str),
    /// The token of the connection's session.
    Session(&'a str),
    /// Something is missing.
    Gap,
    /// To be answered with the same.
    Ping(&'a [u8]),
    /// A poll has its answer, with so many events.
    Answered(u64),
}

/// What is to come next.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Head,
    Frames,
    Chunks,
    /// So many bytes.
    Body(usize),
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    transport: Transport,
    stage: Stage,
    /// What came of a unit that is not complete.
    input: Vec<u8>,
    /// Blocks of an event stream that are not complete.
    text: Vec<u8>,
}

impl Wire {
    pub(super) fn new(transport: Transport) -> Self {
        Self { transport, stage: Stage::Head, input: Vec::new(), text: Vec::new() }
    }

    /// Takes bytes, and hands out what they complete. An error says why the connection is of no more use.
    pub(super) fn feed(&mut self, bytes: &[u8], got: &mut dyn FnMut(Got<'_>)) -> Result<(), Cow<'static, str>> {
        if self.input.is_empty() {
            let used = self.steps(bytes, got)?;
            self.input.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let used = self.steps(&input, got)?;
        input.drain(..used);
        self.input = input;
        Ok(())
    }

    fn steps(&mut self, input: &[u8], got: &mut dyn FnMut(Got<'_>)) -> Result<usize, Cow<'static, str>> {
        let mut used = 0;
        while let Some(step) = self.step(&input[used..], got)? {
            used += step;
        }
        Ok(used)
    }

    fn step(&mut self, input: &[u8], got: &mut dyn FnMut(Got<'_>)) -> Result<Option<usize>, Cow<'static, str>> {
        match self.stage {
            Stage::Head => {
                let Some(head) = Head::read(input) else { return Ok(None) };
                let expected = if self.transport == Transport::WebSocket { "101" } else { "200" };
                if head.status != expected {
                    return Err(format!("answered with {}", head.status).into());
                }
                if let Some(token) = head.session {
                    got(Got::Session(token));
                }
                self.stage = match (self.transport, head.length) {
                    (Transport::WebSocket, _) => Stage::Frames,
                    (Transport::Stream, None) => Stage::Chunks,
                    (Transport::Poll, Some(length)) => Stage::Body(length),
                    _ => return Err("an answer of no use".into()),
                };
                Ok(Some(head.len))
            }
            Stage::Frames => {
                let Some((opcode, from, len)) = frame(input) else { return Ok(None) };
                let payload = &input[from..len];
                match opcode {
                    1 => _ = blocks(payload, got),
                    8 => {
                        let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                        return Err(format!("closed with {code}").into());
                    }
                    9 => got(Got::Ping(payload)),
                    _ => {}
                }
                Ok(Some(len))
            }
            Stage::Chunks => {
                let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
                let size = std::str::from_utf8(&input[..end]).ok().map(str::trim_end);
                let size = size.and_then(|size| usize::from_str_radix(size, 16).ok()).ok_or("no chunk")?;
                let (from, len) = (end + 1, end + 1 + size + 2);
                if input.len() < len {
                    return Ok(None);
                }
                if size == 0 {
                    return Err("the stream ended".into());
                }
                let chunk = &input[from..from + size];
                if self.text.is_empty() {
                    let used = blocks(chunk, got);
                    self.text.extend_from_slice(&chunk[used..]);
                } else {
                    self.text.extend_from_slice(chunk);
                    let used = blocks(&self.text, got);
                    self.text.drain(..used);
                }
                Ok(Some(len))
            }
            Stage::Body(length) => {
                let Some(body) = input.get(..length) else { return Ok(None) };
                self.stage = Stage::Head;
                let mut events = 0;
                if body.first() == Some(&b'{') {
                    json(body, &mut events, got).ok_or("an answer that is not JSON as it should be")?;
                } else {
                    blocks(body, &mut |what| {
                        events += u64::from(matches!(what, Got::Event { .. }));
                        got(what);
                    });
                }
                got(Got::Answered(events));
                Ok(Some(length))
            }
        }
    }
}

/// The head of an answer.
struct Head<'a> {
    status: &'a str,
    /// `None`: in chunks.
    length: Option<usize>,
    session: Option<&'a str>,
    len: usize,
}

impl<'a> Head<'a> {
    fn read(input: &'a [u8]) -> Option<Self> {
        let len = input.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let mut lines = std::str::from_utf8(&input[..len]).ok()?.lines();
        let status = lines.next()?.split(' ').nth(1)?;
        let (mut length, mut session) = (None, None);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("tautline-session") {
                session = Some(value.trim());
            }
        }
        Some(Self { status, length, session, len })
    }
}

/// A frame without a mask: its opcode, where its payload begins and where it ends.
fn frame(input: &[u8]) -> Option<(u8, usize, usize)> {
    let (opcode, length) = (input.first()? & 15, input.get(1)? & 127);
    let (from, length) = match length {
        126 => (4, u64::from(u16::from_be_bytes(*input.get(2..)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*input.get(2..)?.first_chunk()?)),
        length => (2, u64::from(length)),
    };
    let len = from + usize::try_from(length).ok()?;
    (input.len() >= len).then_some((opcode, from, len))
}

/// Hands out complete blocks, and says how long they are.
fn blocks(text: &[u8], got: &mut dyn FnMut(Got<'_>)) -> usize {
    let mut used = 0;
    while let Some(end) = text[used..].windows(2).position(|end| end == b"\n\n") {
        if let Ok(block) = std::str::from_utf8(&text[used..used + end]) {
            one_block(block, got);
        }
        used += end + 2;
    }
    used
}

fn one_block(block: &str, got: &mut dyn FnMut(Got<'_>)) {
    let (mut id, mut event, mut data) = (None, "message", None);
    for (name, value) in block.lines().filter_map(|line| line.split_once(": ")) {
        match name {
            "id" => id = Some(value),
            "event" => event = value,
            // What this program publishes has one line, and of a session's lines the first is the token's.
            "data" if data.is_none() => data = Some(value),
            _ => {}
        }
    }
    match (event, id, data) {
        ("message", Some(id), Some(data)) => got(Got::Event { id, data }),
        ("message", Some(id), None) => got(Got::Position(id)),
        (event, _, Some(data)) => own(event, data, got),
        _ => {}
    }
}

/// One of the protocol's own events.
fn own(event: &str, data: &str, got: &mut dyn FnMut(Got<'_>)) {
    match event {
        "tautline.gap" => got(Got::Gap),
        "tautline.session" => {
            if let Some(token) = data.strip_prefix("session ") {
                got(Got::Session(token));
            }
        }
        _ => {}
    }
}

fn json(body: &[u8], events: &mut u64, got: &mut dyn FnMut(Got<'_>)) -> Option<()> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    for message in answer["messages"].as_array()? {
        let data = message["data"].as_str()?;
        match message["id"].as_str() {
            Some(id) => {
                *events += 1;
                got(Got::Event { id, data });
            }
            None => own(message["event"].as_str()?, data, got),
        }
    }
    got(Got::Position(answer["lastId"].as_str()?));
    Some(())
}
