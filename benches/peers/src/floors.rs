//! Bounds, not products: what the read alone costs, and idealised loops without fragments, control frames or closing.

use std::hint::black_box;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use crate::cell::{Refused, Standing, Work};
use crate::feed::Feed;
use crate::mask::Mask;
use crate::recv::{Receive, Sink, Wire};
use crate::send::{Role, Sender};
use crate::upgrade::Upgrade;

/// The read's own copy, which is in every row.
pub const MEMCPY: &str = "memcpy only";
pub const HTTPARSE_SHA1_BASE64: &str = "floor httparse+sha1+base64";

/// Reads, and does nothing with what it read.
pub struct ReadOnly<'w> {
    feed: Feed<'w>,
    buffer: Vec<u8>,
}

impl<'w> ReadOnly<'w> {
    pub fn new(feed: Feed<'w>) -> Self {
        let buffer = vec![0; feed.step()];
        ReadOnly { feed, buffer }
    }
}

impl Work for ReadOnly<'_> {
    fn run(&mut self, passes: u64) -> Result<(), String> {
        for _ in 0..passes {
            while let Some(len) = self.feed.read(&mut self.buffer) {
                black_box(&self.buffer[..len]);
            }
        }
        Ok(())
    }

    fn verify(&mut self) -> Result<(), String> {
        self.run(1)
    }
}

/// One pass over the payload that unmasks and asks whether all of it was ASCII, eight bytes at a time.
pub struct Fused<'w> {
    feed: Feed<'w>,
    buffer: Vec<u8>,
    len: usize,
    message: Vec<u8>,
}

impl<'w> Receive<'w> for Fused<'w> {
    const NAME: &'static str = "floor (fused)";

    fn new(feed: Feed<'w>) -> Self {
        // A frame of up to 64 KiB is put together in the buffer, a longer one in `message`.
        let buffer = vec![0; 128 << 10];
        Fused { feed, buffer, len: 0, message: Vec::new() }
    }

    fn receive(&mut self, sink: &mut impl Sink) -> Result<(), Refused> {
        while let Some(read) = self.feed.read(&mut self.buffer[self.len..]) {
            self.len += read;
            let mut at = 0;
            while let Some((header, rest)) = Header::parse(&mut self.buffer[at..self.len]) {
                if let Some(payload) = rest.get_mut(..header.payload_len) {
                    header.deliver(payload, sink)?;
                    at += header.len + header.payload_len;
                } else if header.payload_len > 64 << 10 {
                    self.collect(at + header.len, &header, sink)?;
                    at = self.len;
                } else {
                    break;
                }
            }
            self.buffer.copy_within(at..self.len, 0);
            self.len -= at;
        }
        Ok(())
    }

    fn standing(_: &Wire) -> Standing {
        Standing::Floor
    }
}

impl Fused<'_> {
    /// Puts a long payload together read by read; the last read ends where it ends.
    fn collect(&mut self, start: usize, header: &Header, sink: &mut impl Sink) -> Result<(), Refused> {
        self.message.clear();
        let first = &mut self.buffer[start..self.len];
        let mut seen = unmask_seen(first, header.key);
        self.message.extend_from_slice(first);
        while self.message.len() < header.payload_len {
            let old = self.message.len();
            let part = self.feed.take(header.payload_len - old).ok_or(Refused)?;
            self.message.extend_from_slice(part);
            let key = header.key.rotate_right(8 * (old as u32 % 4));
            seen |= unmask_seen(&mut self.message[old..], key);
        }
        if header.binary {
            sink.binary(&self.message);
            return Ok(());
        }
        deliver_text(&self.message, seen, sink)
    }
}

struct Header {
    binary: bool,
    len: usize,
    payload_len: usize,
    key: u32,
}

impl Header {
    /// The header, and the bytes behind it; `None` if it is not all there.
    #[inline(always)]
    fn parse(bytes: &mut [u8]) -> Option<(Header, &mut [u8])> {
        let [head, short, rest @ ..] = bytes else {
            return None;
        };
        let (extended, payload_len) = match *short & 0x7f {
            126 => (2, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
            127 => (8, u64::from_be_bytes(*rest.first_chunk()?) as usize),
            short => (0, usize::from(short)),
        };
        let (key, rest) = rest[extended..].split_first_chunk_mut()?;
        let key = u32::from_le_bytes(*key);
        Some((Header { binary: *head & 0xf == 2, len: 6 + extended, payload_len, key }, rest))
    }

    #[inline(always)]
    fn deliver(&self, payload: &mut [u8], sink: &mut impl Sink) -> Result<(), Refused> {
        if self.binary {
            Words::mask(payload, self.key.to_le_bytes());
            sink.binary(payload);
            return Ok(());
        }
        let seen = unmask_seen(payload, self.key);
        deliver_text(payload, seen, sink)
    }
}

#[inline(always)]
fn deliver_text(payload: &[u8], seen: u8, sink: &mut impl Sink) -> Result<(), Refused> {
    if seen < 0x80 {
        // SAFETY: every byte is below 0x80, so this is ASCII and therefore UTF-8.
        sink.text(unsafe { std::str::from_utf8_unchecked(payload) });
    } else {
        sink.text(simdutf8::basic::from_utf8(payload).map_err(|_| Refused)?);
    }
    Ok(())
}

/// Unmasks in place and returns all plain bytes or-ed together.
#[inline(always)]
fn unmask_seen(payload: &mut [u8], key: u32) -> u8 {
    let wide = u64::from(key) << 32 | u64::from(key);
    let mut seen = 0;
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        let plain = u64::from_le_bytes(*word) ^ wide;
        seen |= plain;
        *word = plain.to_le_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(wide.to_le_bytes()) {
        *byte ^= key;
        seen |= u64::from(*byte);
    }
    // All eight lanes into the lowest.
    seen |= seen >> 32;
    seen |= seen >> 16;
    (seen | seen >> 8) as u8
}

/// A u64 at a time, which vectorises.
pub struct Words;

impl Mask for Words {
    const NAME: &'static str = "floor (u64 words)";
    const STANDING: Standing = Standing::Floor;

    #[inline(always)]
    fn mask(payload: &mut [u8], key: [u8; 4]) {
        let key = u32::from_le_bytes(key);
        let wide = u64::from(key) << 32 | u64::from(key);
        let (words, rest) = payload.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_le_bytes(*word) ^ wide).to_le_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(wide.to_le_bytes()) {
            *byte ^= key;
        }
    }
}

/// The one copy of the payload that every send contains.
pub struct Copy {
    out: Vec<u8>,
}

impl Sender for Copy {
    const NAME: &'static str = MEMCPY;
    const STANDING: Standing = Standing::Floor;

    fn new(_: Role, capacity: usize) -> Self {
        Copy { out: Vec::with_capacity(capacity) }
    }

    fn send(&mut self, payload: &[u8]) {
        self.out.extend_from_slice(payload);
    }

    fn clear(&mut self) -> usize {
        let len = self.out.len();
        self.out.clear();
        len
    }

    fn take(&mut self) -> Vec<u8> {
        self.out.split_off(0)
    }
}

/// The reference of the upgrade's bar: the head through httparse, SHA-1 of the key and the GUID, base64, a fixed answer around it.
pub struct HttparseSha1Base64 {
    answer: Vec<u8>,
}

impl Upgrade for HttparseSha1Base64 {
    const NAME: &'static str = HTTPARSE_SHA1_BASE64;
    const STANDING: Standing = Standing::Floor;

    fn new() -> Self {
        HttparseSha1Base64 { answer: Vec::with_capacity(512) }
    }

    fn upgrade(&mut self, request: &mut [u8]) -> Result<&[u8], Refused> {
        const BEFORE: &[u8] =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ";
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut headers);
        let parsed = head.parse(request).map_err(|_| Refused)?;
        black_box(parsed.is_complete());
        // Compares one name per header by length first: next to free, and nothing else of the head is looked at.
        let key = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("sec-websocket-key"));
        let mut sha1 = Sha1::new();
        sha1.update(key.ok_or(Refused)?.value);
        sha1.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let mut accept = [0; 28];
        STANDARD.encode_slice(sha1.finalize(), &mut accept).map_err(|_| Refused)?;
        self.answer.clear();
        self.answer.extend_from_slice(BEFORE);
        self.answer.extend_from_slice(&accept);
        self.answer.extend_from_slice(b"\r\n\r\n");
        Ok(&self.answer)
    }
}
