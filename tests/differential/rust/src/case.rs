//! One stream of bytes with everything that an implementation must know to read it, and what it made of it.

use sha1::{Digest, Sha1};
use std::fmt::Write as _;

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
pub const FIN: u8 = 0x80;

/// Who reads the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

/// A stream, and how it is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub role: Role,
    /// Bytes of a message.
    pub limit: u64,
    /// Frames of a message.
    pub fragments: u32,
    /// permessage-deflate as it was agreed upon.
    pub deflate: Option<Agreed>,
    pub bytes: Vec<u8>,
    /// Where reads end, ascending; the last read ends with the stream.
    pub cuts: Vec<usize>,
}

/// What was agreed upon of permessage-deflate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub server_no_takeover: bool,
    pub client_no_takeover: bool,
    pub server_bits: u8,
    pub client_bits: u8,
}

impl Agreed {
    /// Of whoever sends to `role`: whether each message stands for itself, and the window in bits.
    pub fn of_peer(self, role: Role) -> (bool, u8) {
        match role {
            Role::Server => (self.client_no_takeover, self.client_bits),
            Role::Client => (self.server_no_takeover, self.server_bits),
        }
    }
}

impl Case {
    /// The line that the drivers read.
    pub fn line(&self) -> String {
        let role = if self.role == Role::Server { 's' } else { 'c' };
        let deflate = self.deflate.map_or("-".to_owned(), |agreed| {
            let Agreed { server_no_takeover, client_no_takeover, server_bits, client_bits } = agreed;
            format!("{},{},{server_bits},{client_bits}", u8::from(server_no_takeover), u8::from(client_no_takeover))
        });
        let mut line = format!("{role} {} {} {deflate} ", self.limit, self.fragments);
        if self.cuts.is_empty() {
            line.push('-');
        }
        for (i, cut) in self.cuts.iter().enumerate() {
            let _ = write!(line, "{}{cut}", if i == 0 { "" } else { "," });
        }
        line.push(' ');
        line.push_str(&if self.bytes.is_empty() { "-".into() } else { hex(&self.bytes) });
        line
    }

    /// The stream in the pieces in which it is read.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.cuts.iter().copied());
        let ends = self.cuts.iter().copied().chain([self.bytes.len()]);
        starts.zip(ends).map(|(from, to)| &self.bytes[from..to])
    }
}

/// What was read, in the words that all implementations share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub events: Vec<String>,
    pub end: End,
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// Open, waiting for more.
    #[default]
    Open,
    /// The peer closed with this code and reason and was answered with `echo`: a code, 0 where the answer was empty, `None` where an
    /// implementation does not show it.
    Peer { code: u16, reason: String, echo: Option<u16> },
    /// Failed from here, with this code in a Close frame; without one: `None`.
    Failed(Option<u16>),
    /// Nothing that an implementation should do.
    Crash(String),
}

impl Outcome {
    pub fn event(&mut self, letter: char, payload: &[u8]) {
        self.events.push(format!("{letter}:{}", digest(payload)));
    }

    /// The line that the drivers write: events, a bar, the end.
    pub fn parse(line: &str) -> Result<Self, String> {
        let (events, end) = line.split_once("| ").ok_or_else(|| format!("no outcome: {line}"))?;
        let words: Vec<&str> = end.split_whitespace().collect();
        let number = |word: &str| word.parse::<u16>().map_err(|e| format!("{e} in {line}"));
        let end = match words[..] {
            ["open"] => End::Open,
            ["peer", code, reason, echo] => End::Peer {
                code: number(code)?,
                reason: reason.to_owned(),
                echo: if echo == "-" { None } else { Some(number(echo)?) },
            },
            ["fail", "-"] => End::Failed(None),
            ["fail", code] => End::Failed(Some(number(code)?)),
            _ => End::Crash(end.to_owned()),
        };
        Ok(Self { events: events.split_whitespace().map(str::to_owned).collect(), end })
    }

    /// Whether both say the same; an echo that one does not show is not compared.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let ends = match (&self.end, &other.end) {
            (End::Peer { code, reason, echo: Some(_) }, End::Peer { code: c, reason: r, echo: None })
            | (End::Peer { code, reason, echo: None }, End::Peer { code: c, reason: r, echo: Some(_) }) => {
                code == c && reason == r
            }
            (one, other) => one == other,
        };
        ends && self.events == other.events
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for event in &self.events {
            write!(f, "{event} ")?;
        }
        match &self.end {
            End::Open => f.write_str("| open"),
            End::Peer { code, reason, echo: Some(echo) } => write!(f, "| peer {code} {reason} {echo}"),
            End::Peer { code, reason, echo: None } => write!(f, "| peer {code} {reason} -"),
            End::Failed(Some(code)) => write!(f, "| fail {code}"),
            End::Failed(None) => f.write_str("| fail -"),
            End::Crash(what) => write!(f, "| crash {what}"),
        }
    }
}

/// A short payload in hex, a long one as length and hash.
pub fn digest(payload: &[u8]) -> String {
    if payload.len() <= 32 {
        return hex(payload);
    }
    format!("#{}:{}", payload.len(), hex(&Sha1::digest(payload)[..8]))
}

pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A frame header that announces `len` bytes, in the form of `wide` bytes (0, 2 or 8).
pub fn header(first: u8, len: u64, wide: usize, key: Option<[u8; 4]>) -> Vec<u8> {
    let mask = if key.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match wide {
        0 => bytes.push(mask | len as u8 & 0x7f),
        2 => {
            bytes.push(mask | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend(len.to_be_bytes());
        }
    }
    bytes.extend(key.into_iter().flatten());
    bytes
}

/// The bytes of length that the shortest form of `len` has behind the second byte.
pub fn shortest(len: u64) -> usize {
    match len {
        0..=125 => 0,
        126..=0xffff => 2,
        _ => 8,
    }
}

pub fn masked(payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let key = key.unwrap_or_default();
    payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}

/// The code in the Close frame that an implementation in `role` wrote last, if it wrote one: 0 for an empty one.
pub fn close_code_written(wire: &[u8], role: Role) -> Option<u16> {
    if let Some(second) = wire.get(1) {
        assert_eq!(second & 0x80 != 0, role == Role::Client, "a frame of the other role was written: {}", hex(wire));
    }
    let close = frames_written(wire).filter(|(first, _)| first & 15 == CLOSE).last()?;
    Some(close.1.first_chunk::<2>().map_or(0, |code| u16::from_be_bytes(*code)))
}

/// The frames that an implementation wrote: first byte and payload.
pub fn frames_written(wire: &[u8]) -> impl Iterator<Item = (u8, Vec<u8>)> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let [first, second, tail @ ..] = rest else { return None };
        let wide = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let short = if wide == 0 { usize::from(second & 0x7f) } else { 0 };
        let len = tail.get(..wide)?.iter().fold(short, |len, &byte| len << 8 | usize::from(byte));
        let tail = tail.get(wide..)?;
        let masks = second & 0x80 != 0;
        let (key, tail) = if masks { (tail.first_chunk::<4>().copied(), tail.get(4..)?) } else { (None, tail) };
        let payload = masked(tail.get(..len)?, key);
        rest = &tail[len..];
        Some((*first, payload))
    })
}
