//! A naive WebSocket, written from RFC 6455 alone: what the tests, the simulation and the fuzz targets compare the real one
//! with. It looks at whole streams, copies freely and keeps no state between calls.
#![allow(dead_code, unreachable_pub, reason = "every test binary takes its own part of it")]

use std::sync::Arc;
use std::time::Duration;
use tautline::ws::{Config, Connection, Ending, Error, Event, Kind, Limits, Part};
use tautline::{Buffers, Input, Instant, Output};

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
pub const FIN: u8 = 0x80;

/// The masking key of RFC 6455's own examples.
pub const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Any moment that is not the origin.
pub const NOW: Instant = Instant::from_millis(1_000_000);

/// The default settings but for what `set` changes.
pub fn config(set: impl FnOnce(&mut Config)) -> Config {
    changed(Config::DEFAULT, set)
}

/// `config` but for what `set` changes.
pub fn changed(mut config: Config, set: impl FnOnce(&mut Config)) -> Config {
    set(&mut config);
    config
}

/// The role of a machine under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

impl Role {
    pub const BOTH: [Self; 2] = [Self::Server, Self::Client];

    pub fn peer(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }

    /// A connection in this role at [`NOW`].
    pub fn connect(self, config: Config) -> Connection {
        self.connect_at(config, NOW)
    }

    pub fn connect_at(self, config: Config, now: Instant) -> Connection {
        let config = Arc::new(config.check().expect("settings of a test are valid"));
        let seed = *b"sixteen bytes of";
        match self {
            Self::Server => Connection::server(config, seed, now),
            Self::Client => Connection::client(config, seed, now),
        }
    }

    /// The masking key of frames that a machine in this role must receive.
    pub fn key(self) -> Option<[u8; 4]> {
        (self == Self::Server).then_some(KEY)
    }

    /// One frame to a machine in this role, in the shortest form.
    pub fn frame(self, first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = self.header(first, payload.len() as u64);
        bytes.extend(masked(payload, self.key(), 0));
        bytes
    }

    /// The header of a frame to a machine in this role that announces `len` bytes, in the shortest form.
    pub fn header(self, first: u8, len: u64) -> Vec<u8> {
        header(first, Form::shortest(len), len, self.key())
    }
}

/// How a payload length stands in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Bits7,
    Bits16,
    Bits64,
}

impl Form {
    pub fn shortest(len: u64) -> Self {
        match len {
            0..=125 => Self::Bits7,
            126..=65_535 => Self::Bits16,
            _ => Self::Bits64,
        }
    }
}

pub fn header(first: u8, form: Form, len: u64, key: Option<[u8; 4]>) -> Vec<u8> {
    let mask = if key.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match form {
        Form::Bits7 => bytes.push(mask | u8::try_from(len).expect("a 7-bit length")),
        Form::Bits16 => {
            bytes.push(mask | 126);
            bytes.extend(u16::try_from(len).expect("a 16-bit length").to_be_bytes());
        }
        Form::Bits64 => {
            bytes.push(mask | 127);
            bytes.extend(len.to_be_bytes());
        }
    }
    bytes.extend(key.unwrap_or_default().iter().take(if key.is_some() { 4 } else { 0 }));
    bytes
}

pub fn masked(payload: &[u8], key: Option<[u8; 4]>, offset: usize) -> Vec<u8> {
    let key = key.unwrap_or_default();
    payload.iter().enumerate().map(|(i, byte)| byte ^ key[(offset + i) % 4]).collect()
}

/// The payload of a Close frame.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// A frame as it was seen on the wire, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(first: u8, payload: &[u8]) -> Self {
        Self { first, payload: payload.to_vec() }
    }

    pub fn opcode(&self) -> u8 {
        self.first & 15
    }

    pub fn close_code(&self) -> Option<u16> {
        assert_eq!(self.opcode(), CLOSE);
        Some(u16::from_be_bytes([*self.payload.first()?, *self.payload.get(1)?]))
    }
}

/// What a machine in role `from` put on the wire, as frames. Fails on anything that RFC 6455 forbids a sender, and on anything
/// behind a Close frame. The end may be cut inside a frame: how many bytes of whole frames there are comes second.
pub fn parse_output(bytes: &[u8], from: Role) -> Result<(Vec<Frame>, usize), String> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = 0;
    let mut open: Option<(u8, Vec<u8>)> = None;
    let mut closed = false;
    loop {
        let rest = &bytes[at..];
        if closed && !rest.is_empty() {
            return Err(format!("{} bytes behind a Close frame", rest.len()));
        }
        if rest.len() < 2 {
            return Ok((frames, at));
        }
        let (first, second) = (rest[0], rest[1]);
        if first & 0x70 != 0 {
            return Err(format!("reserved bits in {first:#x}"));
        }
        if (second & 0x80 != 0) != (from == Role::Client) {
            return Err("mask bit of the other role".into());
        }
        let (len, mut head) = match second & 0x7f {
            126 if rest.len() < 4 => return Ok((frames, at)),
            126 => (u64::from(rest[2]) << 8 | u64::from(rest[3]), 4),
            127 if rest.len() < 10 => return Ok((frames, at)),
            127 => (rest[2..10].iter().fold(0, |len, &byte| len << 8 | u64::from(byte)), 10),
            short => (u64::from(short), 2),
        };
        let minimal = match len {
            0..=125 => 2,
            126..=65_535 => 4,
            _ => 10,
        };
        if head != minimal {
            return Err(format!("a length of {len} in a header of {head}"));
        }
        let mut key = None;
        if from == Role::Client {
            if rest.len() < head + 4 {
                return Ok((frames, at));
            }
            key = Some([rest[head], rest[head + 1], rest[head + 2], rest[head + 3]]);
            head += 4;
        }
        let Some(payload) = rest.get(head..head + len as usize) else { return Ok((frames, at)) };
        let payload = masked(payload, key, 0);
        at += head + len as usize;
        let (fin, opcode) = (first & FIN != 0, first & 15);
        match opcode {
            CONTINUATION => {
                let Some((_, message)) = open.as_mut() else { return Err("continuation of nothing".into()) };
                message.extend(&payload);
            }
            TEXT | BINARY => {
                if open.is_some() {
                    return Err("a message inside a message".into());
                }
                open = Some((opcode, payload.clone()));
            }
            CLOSE | PING | PONG => {
                if !fin || len > 125 {
                    return Err(format!("control frame {first:#x} of {len} bytes"));
                }
                if opcode == CLOSE {
                    closed = true;
                    close_of(&payload).map_err(|code| format!("Close frame {payload:x?} deserves {code}"))?;
                }
            }
            _ => return Err(format!("opcode {opcode}")),
        }
        if opcode < 8
            && fin
            && let Some((TEXT, message)) = open.take()
        {
            std::str::from_utf8(&message).map_err(|e| format!("text that is not UTF-8: {e}"))?;
        }
        frames.push(Frame { first, payload });
    }
}

/// As [`parse_output`], of an output that holds whole frames.
pub fn frames_of(out: &Output, from: Role) -> Vec<Frame> {
    let bytes = unsent(out);
    let (frames, whole) = parse_output(&bytes, from).unwrap_or_else(|e| panic!("{e} in {bytes:x?}"));
    assert_eq!(whole, bytes.len(), "a cut frame at the end of {bytes:x?}");
    frames
}

/// All unsent bytes, in order.
pub fn unsent(out: &Output) -> Vec<u8> {
    let bytes = out.chunks().collect::<Vec<_>>().concat();
    assert_eq!(bytes.len(), out.len(), "`len` says what `chunks` yields");
    bytes
}

/// Code and reason of a Close frame's payload, or the code that it deserves.
fn close_of(payload: &[u8]) -> Result<(u16, String), u16> {
    if payload.is_empty() {
        return Ok((1005, String::new()));
    }
    if payload.len() == 1 {
        return Err(1002);
    }
    let code = u16::from(payload[0]) << 8 | u16::from(payload[1]);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(1002);
    }
    let reason = String::from_utf8(payload[2..].to_vec()).map_err(|_| 1007u16)?;
    Ok((code, reason))
}

/// An event, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Chunk { kind: Kind, data: Vec<u8>, part: Part },
    Ping(Vec<u8>),
    Pong(Vec<u8>, Option<Duration>),
    CloseReceived(u16, String),
    Closed { code: u16, reason: String, ending: Ending },
    Error(Error),
}

impl Seen {
    pub fn closed(code: u16, ending: Ending) -> Self {
        Self::Closed { code, reason: String::new(), ending }
    }

    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => {
                // Not `to_owned` alone: the bytes behind a `str` must be proved here, by another than the code under test.
                Self::Text(std::str::from_utf8(text.as_bytes()).expect("a text is UTF-8").to_owned())
            }
            Event::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Event::Chunk(chunk) => Self::Chunk { kind: chunk.kind, data: chunk.data.to_vec(), part: chunk.part },
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong { payload, round_trip } => Self::Pong(payload.to_vec(), round_trip),
            Event::CloseReceived { code, reason } => Self::CloseReceived(code, reason.to_owned()),
            Event::Closed(closed) => {
                Self::Closed { code: closed.code, reason: closed.reason.to_owned(), ending: closed.ending }
            }
            other => panic!("an event that the tests do not know: {other:?}"),
        }
    }
}

/// Reads `bytes` in one piece until they are used up, an error included, and the end where it has come.
pub fn feed(ws: &mut Connection, bytes: &[u8], out: &mut Output, now: Instant) -> Vec<Seen> {
    feed_cut(ws, bytes, &[], out, now)
}

/// As [`feed`], one byte at a time.
pub fn trickle(ws: &mut Connection, bytes: &[u8], out: &mut Output, now: Instant) -> Vec<Seen> {
    let cuts: Vec<usize> = (0..bytes.len()).collect();
    feed_cut(ws, bytes, &cuts, out, now)
}

/// As [`feed`], cut at `cuts` (ascending). Every piece is a copy, so that nothing can lean on what lay beside it.
pub fn feed_cut(ws: &mut Connection, bytes: &[u8], cuts: &[usize], out: &mut Output, now: Instant) -> Vec<Seen> {
    let mut buffers = Buffers::new();
    let mut seen = Vec::new();
    let mut from = 0;
    for &to in cuts.iter().chain([&bytes.len()]) {
        let to = to.clamp(from, bytes.len());
        let mut piece = bytes[from..to].to_vec();
        let mut input = Input::with_buffers(&mut piece, &mut buffers);
        read_all(ws, &mut input, out, now, &mut seen);
        from = to;
    }
    seen
}

/// Asks for events until there are none, past an error too. More than one end, or anything behind it, fails.
pub fn read_all(ws: &mut Connection, input: &mut Input<'_>, out: &mut Output, now: Instant, seen: &mut Vec<Seen>) {
    let bound = seen.len() + input.rest().len() + 3;
    loop {
        assert!(seen.len() <= bound, "more events than bytes");
        let one = match ws.next_event(input, out, now) {
            Ok(Some(event)) => event.into(),
            Ok(None) => {
                assert!(input.is_empty(), "`None` with {} bytes left", input.rest().len());
                return;
            }
            Err(error) => Seen::Error(error),
        };
        assert!(!seen.last().is_some_and(Seen::is_closed), "{one:?} behind the end");
        seen.push(one);
    }
}

/// The end, once more asked for with nothing read.
pub fn ask_end(ws: &mut Connection, out: &mut Output, now: Instant) -> Vec<Seen> {
    feed(ws, &[], out, now)
}

/// Chunks joined to the messages that they are pieces of; what was not finished is dropped.
pub fn join_chunks(seen: Vec<Seen>) -> Vec<Seen> {
    let mut open: Option<(Kind, Vec<u8>)> = None;
    let mut joined = Vec::new();
    for one in seen {
        let Seen::Chunk { kind, data, part } = one else {
            joined.push(one);
            continue;
        };
        match open.as_mut() {
            None => assert!(part.is_first(), "a message that begins with {part:?}"),
            Some((open, _)) => assert!(!part.is_first() && *open == kind, "{part:?} of {kind:?} inside a message"),
        }
        let (_, message) = open.get_or_insert_with(|| (kind, Vec::new()));
        assert!(!data.is_empty() || part.is_last(), "an empty chunk that ends nothing");
        message.extend(data);
        if part.is_last() {
            let (_, message) = open.take().unwrap_or((kind, Vec::new()));
            joined.push(match kind {
                Kind::Text => Seen::Text(String::from_utf8(message).expect("chunks of a text are UTF-8 together")),
                Kind::Binary => Seen::Binary(message),
            });
        }
    }
    joined
}

/// What a naive receiver makes of a whole stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Events, in order; a failure is the close code alone.
    pub events: Vec<Told>,
    /// The frames owed to the peer, in order; of a Close frame only the code.
    pub replies: Vec<Frame>,
}

/// As [`Seen`], without what a naive receiver does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// The peer's Close frame.
    Close(u16, String),
    Failed(u16),
}

impl Reading {
    /// What the machine reported, in the naive receiver's words. Chunks must be joined first.
    pub fn of(seen: &[Seen], replies: &[Frame]) -> Self {
        let mut events = Vec::new();
        for one in seen {
            events.push(match one.clone() {
                Seen::Text(text) => Told::Text(text),
                Seen::Binary(bytes) => Told::Binary(bytes),
                Seen::Ping(payload) => Told::Ping(payload),
                Seen::Pong(payload, _) => Told::Pong(payload),
                Seen::Closed { ending: Ending::Failed(_), .. } => continue,
                Seen::Closed { code, reason, .. } | Seen::CloseReceived(code, reason) => Told::Close(code, reason),
                Seen::Error(error) => Told::Failed(error.close_code().as_u16()),
                Seen::Chunk { .. } => panic!("chunks are joined before they are compared"),
            });
        }
        let mut replies = replies.to_vec();
        for reply in replies.iter_mut().filter(|reply| reply.opcode() == CLOSE) {
            reply.payload.truncate(2);
        }
        Self { events, replies }
    }

    /// Reads `bytes` as a machine in `role` must that answers by itself and was never asked to close.
    pub fn naive(bytes: &[u8], role: Role, limits: &Limits) -> Self {
        let mut reading = Self::default();
        if let Err(code) = reading.run(bytes, role, limits) {
            reading.events.push(Told::Failed(code));
            reading.replies.push(Frame::new(FIN | CLOSE, &code.to_be_bytes()));
        }
        reading
    }

    fn run(&mut self, bytes: &[u8], role: Role, limits: &Limits) -> Result<(), u16> {
        let mut rest = bytes;
        // Opcode, payload so far, frames so far.
        let mut open: Option<(u8, Vec<u8>, u32)> = None;
        let mut controls = 0;
        loop {
            let [first, second, ..] = *rest else { return Ok(()) };
            let (fin, opcode, short) = (first & FIN != 0, first & 15, second & 0x7f);
            let control = opcode >= 8;
            if first & 0x70 != 0 || !matches!(opcode, 0..=2 | 8..=10) || (second & 0x80 != 0) != (role == Role::Server)
            {
                return Err(1002);
            }
            if opcode == CLOSE && short == 1 {
                return Err(1002);
            }
            if control && (!fin || short > 125) || !control && (opcode == CONTINUATION) != open.is_some() {
                return Err(1002);
            }
            if !control && open.as_ref().is_some_and(|open| open.2 == limits.fragments) {
                return Err(1008);
            }
            let wide = match short {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            let Some(length) = rest.get(2..2 + wide) else { return Ok(()) };
            let len = match wide {
                0 => u64::from(short),
                _ => length.iter().fold(0, |len, &byte| len << 8 | u64::from(byte)),
            };
            if wide == 2 && len < 126 || wide == 8 && (len < 65_536 || len > i64::MAX as u64) {
                return Err(1002);
            }
            let before = open.as_ref().map_or(0, |open| open.1.len() as u64);
            if !control && (len > limits.frame || before + len > limits.message) {
                return Err(1009);
            }
            rest = &rest[2 + wide..];
            let mut key = None;
            if role == Role::Server {
                let Some((head, tail)) = rest.split_first_chunk::<4>() else { return Ok(()) };
                (key, rest) = (Some(*head), tail);
            }
            if control {
                controls += 1;
                if controls > limits.control_burst {
                    return Err(1008);
                }
            }
            let here = rest.len().min(len as usize);
            let whole = here as u64 == len;
            let payload = masked(&rest[..here], key, 0);
            rest = &rest[here..];
            if control {
                if !whole {
                    return Ok(());
                }
                match opcode {
                    PING => {
                        self.replies.push(Frame::new(FIN | PONG, &payload));
                        self.events.push(Told::Ping(payload));
                    }
                    PONG => self.events.push(Told::Pong(payload)),
                    _ => {
                        let (code, reason) = close_of(&payload)?;
                        let echo = if code == 1005 { vec![] } else { code.to_be_bytes().to_vec() };
                        self.replies.push(Frame::new(FIN | CLOSE, &echo));
                        self.events.push(Told::Close(code, reason));
                        return Ok(());
                    }
                }
                continue;
            }
            let (kind, message, frames) = open.get_or_insert((opcode, Vec::new(), 0));
            message.extend(payload);
            *frames += 1;
            if *kind == TEXT {
                match std::str::from_utf8(message) {
                    Err(e) if e.error_len().is_some() || whole && fin => return Err(1007),
                    _ => {}
                }
            }
            if !whole {
                return Ok(());
            }
            if fin && let Some((kind, message, _)) = open.take() {
                self.events.push(match kind {
                    TEXT => Told::Text(String::from_utf8(message).map_err(|_| 1007u16)?),
                    _ => Told::Binary(message),
                });
            }
        }
    }
}
