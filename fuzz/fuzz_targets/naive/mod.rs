//! What the targets of connections share: a reader of the fuzzer's bytes, a naive reader of what a connection writes, and a naive
//! inflater ([`inflate`]).
#![allow(dead_code, unreachable_pub, reason = "every target takes its own part of it")]

pub mod inflate;

use crate::wire::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Role, TEXT, masked};
use inflate::Inflater;
use tautline::http::Version;
use tautline::http::origin::OriginPolicy;
use tautline::http::upgrade::{Upgrade, UpgradeConfig};
use tautline::ws::{Deflate, DeflateConfig, Kind, Takeover};

/// The first reserved bit: of a message's first frame it says that the message is compressed (RFC 7692 section 6).
pub const RSV1: u8 = 0x40;

/// The fuzzer's bytes, read from the front. Where there are none left it reads zeros.
pub struct Steps<'a> {
    pub rest: &'a [u8],
    /// Bytes of content that may still be made of few: an input that takes long finds little.
    budget: usize,
}

impl<'a> Steps<'a> {
    pub fn new(rest: &'a [u8], budget: usize) -> Self {
        Self { rest, budget }
    }

    /// The next byte, if there is one.
    pub fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    pub fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    pub fn pair(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// The next `n` bytes, or all that are left.
    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (now, rest) = self.rest.split_at(n.min(self.rest.len()));
        self.rest = rest;
        now
    }

    /// A length of mostly few bytes, and now and then of some thousands.
    pub fn length(&mut self) -> usize {
        let n = match self.byte() {
            few @ 0..240 => usize::from(few),
            255 => 20_000,
            many => usize::from(many - 239) * 379,
        };
        let n = n.min(self.budget);
        self.budget -= n;
        n
    }

    /// Content: of the fuzzer's own bytes, those again and again, or such as no compressor makes shorter.
    pub fn content(&mut self) -> Vec<u8> {
        let how = self.byte();
        match how & 3 {
            0 => self.bytes(usize::from(how >> 2)).to_vec(),
            1 | 2 => {
                let n = self.length();
                let part = self.bytes(1 + usize::from(how >> 4));
                part.iter().copied().cycle().take(if part.is_empty() { 0 } else { n }).collect()
            }
            _ => {
                let n = self.length();
                let mut state = u32::from(how >> 2) + 1;
                let mut next = || {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                };
                (0..n).map(|_| next()).collect()
            }
        }
    }

    /// Content that is a text: what is not is replaced, so that characters of all lengths come up.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.content()).into_owned()
    }

    pub fn kind(&mut self) -> Kind {
        if self.byte() & 1 == 0 { Kind::Text } else { Kind::Binary }
    }

    /// Settings of permessage-deflate in all combinations, some of them out of range.
    pub fn deflate(&mut self) -> DeflateConfig {
        let (a, b, c, d) = (self.byte(), self.byte(), self.byte(), self.byte());
        let takeover = |bit: u8| if bit == 0 { Takeover::None } else { Takeover::Kept };
        let window = |nibble: u8| if nibble < 12 { 9 + nibble % 7 } else { [0, 7, 8, 16][usize::from(nibble - 12)] };
        DeflateConfig {
            level: a & 15,
            memory: a >> 4,
            threshold: [0, 1, 20, 128][usize::from(c & 3)] + if d == 255 { u32::MAX - 128 } else { 0 },
            server_takeover: takeover(c & 4),
            client_takeover: takeover(c & 8),
            server_window: window(b & 15),
            client_window: window(b >> 4),
        }
    }
}

/// What a server with `config` makes of `offers`, as far as a request may have them.
pub fn accepted(config: &DeflateConfig, offers: &str) -> Option<Deflate> {
    let head: [(&str, &[u8]); 6] = [
        ("Host", b"a"),
        ("Connection", b"Upgrade"),
        ("Upgrade", b"websocket"),
        ("Sec-WebSocket-Version", b"13"),
        ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Extensions", offers.as_bytes()),
    ];
    let policy = UpgradeConfig { origins: OriginPolicy::Any, ..UpgradeConfig::default() };
    config.accept(Upgrade::check(&policy, "GET", Version::Http11, head).ok()?.extensions())
}

/// The window of what a machine in `role` sends, in bytes, and whether it keeps its context.
pub fn sends(deflate: &Deflate, role: Role) -> (usize, bool) {
    let (window, takeover) = match role {
        Role::Server => (deflate.server_window(), deflate.server_takeover()),
        Role::Client => (deflate.client_window(), deflate.client_takeover()),
    };
    (1 << window, takeover == Takeover::Kept)
}

/// What a peer learns from frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// The payload of a Close frame.
    Close(Vec<u8>),
}

impl Told {
    /// A message. A text has to be one.
    pub fn message(kind: Kind, bytes: Vec<u8>) -> Self {
        match kind {
            Kind::Text => Self::Text(String::from_utf8(bytes).expect("a text is UTF-8")),
            Kind::Binary => Self::Binary(bytes),
        }
    }
}

/// Reads, frame by frame, what a connection put on the wire, and panics at whatever RFC 6455 or RFC 7692 forbids a sender.
pub struct Reader {
    from: Role,
    /// Where compression was agreed upon.
    inflater: Option<Inflater>,
    /// What came and is no whole frame yet.
    rest: Vec<u8>,
    /// The message that is open: its opcode, whether it is compressed, its payload so far.
    open: Option<(u8, bool, Vec<u8>)>,
    closed: bool,
    pub told: Vec<Told>,
    /// Of each message in order, whether it was compressed, and its payload on the wire.
    pub payloads: Vec<(bool, Vec<u8>)>,
}

impl Reader {
    pub fn new(from: Role, deflate: Option<&Deflate>) -> Self {
        let inflater = deflate.map(|deflate| {
            let (window, kept) = sends(deflate, from);
            Inflater::new(window, kept)
        });
        Self { from, inflater, rest: Vec::new(), open: None, closed: false, told: Vec::new(), payloads: Vec::new() }
    }

    /// Takes the next bytes, cut anywhere.
    pub fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some((first, payload, len)) = self.frame() {
            assert!(!self.closed, "a frame behind a Close frame");
            self.rest.drain(..len);
            self.enter(first, payload);
        }
        assert!(!self.closed || self.rest.is_empty(), "bytes behind a Close frame");
    }

    /// Whether it stands between two frames.
    pub fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn frame(&self) -> Option<(u8, Vec<u8>, usize)> {
        let (&first, &second) = (self.rest.first()?, self.rest.get(1)?);
        assert_eq!(second & 0x80 != 0, self.from == Role::Client, "mask bit of the other role");
        let wide = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let length = self.rest.get(2..2 + wide)?;
        let len = match wide {
            0 => usize::from(second & 0x7f),
            _ => length.iter().fold(0, |len, &byte| len << 8 | usize::from(byte)),
        };
        let least = match wide {
            0 => 0,
            2 => 126,
            _ => 65_536,
        };
        assert!(len >= least, "a length of {len} in {wide} bytes");
        let mut head = 2 + wide;
        let mut key = None;
        if self.from == Role::Client {
            key = Some(self.rest.get(head..head + 4)?.try_into().expect("four bytes"));
            head += 4;
        }
        let payload = self.rest.get(head..head + len)?;
        Some((first, masked(payload, key, 0), head + len))
    }

    fn enter(&mut self, first: u8, payload: Vec<u8>) {
        let (fin, compressed, opcode) = (first & FIN != 0, first & RSV1 != 0, first & 15);
        assert_eq!(first & 0x30, 0, "reserved bits");
        match opcode {
            CLOSE | PING | PONG => {
                assert!(fin && !compressed && payload.len() <= 125, "control frame {first:#x} of {}", payload.len());
                self.closed = opcode == CLOSE;
                self.told.push(match opcode {
                    PING => Told::Ping(payload),
                    PONG => Told::Pong(payload),
                    _ => {
                        assert!(
                            payload.len() != 1 && std::str::from_utf8(payload.get(2..).unwrap_or_default()).is_ok()
                        );
                        Told::Close(payload)
                    }
                });
            }
            TEXT | BINARY => {
                assert!(self.open.is_none(), "a message inside a message");
                assert!(!compressed || self.inflater.is_some(), "compressed, and never agreed upon");
                self.open = Some((opcode, compressed, payload));
                self.end(fin);
            }
            CONTINUATION => {
                assert!(!compressed, "RSV1 on a continuation");
                self.open.as_mut().expect("continuation of nothing").2.extend(payload);
                self.end(fin);
            }
            _ => panic!("opcode {opcode}"),
        }
    }

    fn end(&mut self, fin: bool) {
        let Some((opcode, compressed, payload)) = self.open.take_if(|_| fin) else { return };
        self.payloads.push((compressed, payload.clone()));
        let bytes = match &mut self.inflater {
            Some(inflater) if compressed => {
                inflater.message(&payload).unwrap_or_else(|fault| panic!("{fault:?} in {payload:x?}"))
            }
            _ => payload,
        };
        let kind = if opcode == TEXT { Kind::Text } else { Kind::Binary };
        self.told.push(Told::message(kind, bytes));
    }
}
