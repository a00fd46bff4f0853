//! Streams: valid ones, nearly valid ones, and what comes of damaging them; a seed gives the same ones everywhere.

use crate::case::{Agreed, BINARY, CLOSE, CONTINUATION, Case, FIN, PING, PONG, Role, TEXT, header, masked, shortest};
use crate::random::Random;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

/// What a stream is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Framing,
    Size,
    Deflate,
}

/// A frame to be.
#[derive(Clone, Debug)]
struct Frame {
    first: u8,
    payload: Vec<u8>,
    key: Option<[u8; 4]>,
    /// Bytes of the extended length; the length that is announced, where it is not the payload's.
    wide: usize,
    announced: Option<u64>,
}

const MOST: u64 = 1 << 20;

/// The `index`-th stream of a run.
pub fn case(seed: u64, index: u64, family: Family) -> Case {
    let mut random = Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ index << 8 ^ family as u64);
    let role = if random.percent(70) { Role::Server } else { Role::Client };
    let mut deflate = None;
    if family == Family::Deflate {
        let bits = |random: &mut Random| if random.percent(50) { 15 } else { random.between(9, 15) as u8 };
        let (server_bits, client_bits) = (bits(&mut random), bits(&mut random));
        let (server_no_takeover, client_no_takeover) = (random.percent(50), random.percent(50));
        deflate = Some(Agreed { server_no_takeover, client_no_takeover, server_bits, client_bits });
    }
    let mut generator = Generator { random, role, sizes: Vec::new() };
    let mut frames = match deflate {
        Some(agreed) => generator.compressed_stream(agreed),
        None => generator.stream(family),
    };
    let (mut limit, mut fragments) = (MOST, 1024);
    if family == Family::Deflate {
        if generator.random.percent(40) {
            let size = generator.random.below(generator.sizes.len());
            let size = generator.sizes[size] as u64;
            limit = generator.random.pick(&[size, size, size.saturating_sub(1), size + 1, size / 2]).clamp(1, MOST);
        }
    } else if family == Family::Size || generator.random.percent(5) {
        (limit, fragments) = generator.limits(&frames);
    }
    let mutations = generator.random.pick(&[0, 0, 1, 1, 1, 1, 2, 3]);
    for _ in 0..mutations {
        if family == Family::Deflate && generator.random.percent(70) {
            generator.damage_compressed(&mut frames);
        } else {
            generator.damage_frame(&mut frames);
        }
    }
    let mut bytes = Vec::new();
    for frame in &frames {
        let len = frame.announced.unwrap_or(frame.payload.len() as u64);
        bytes.extend(header(frame.first, len, frame.wide, frame.key));
        bytes.extend(masked(&frame.payload, frame.key));
    }
    if generator.random.percent(if family == Family::Deflate { 10 } else { 25 }) {
        generator.damage_bytes(&mut bytes);
    }
    let cuts = generator.cuts(bytes.len());
    Case { role, limit, fragments, deflate, bytes, cuts }
}

struct Generator {
    random: Random,
    role: Role,
    /// What compressed messages come to.
    sizes: Vec<usize>,
}

impl Generator {
    fn frame(&mut self, first: u8, payload: Vec<u8>) -> Frame {
        let key = match self.role {
            Role::Client => None,
            Role::Server if self.random.percent(10) => Some([0; 4]),
            Role::Server => Some((self.random.next() as u32).to_le_bytes()),
        };
        Frame { first, wide: shortest(payload.len() as u64), payload, key, announced: None }
    }

    fn stream(&mut self, family: Family) -> Vec<Frame> {
        let mut frames = Vec::new();
        for _ in 0..self.random.between(1, 4) {
            if self.random.percent(25) {
                let control = self.control();
                frames.push(control);
            }
            self.message(&mut frames, family);
        }
        if self.random.percent(35) {
            let close = self.close();
            frames.push(close);
            if self.random.percent(30) {
                self.message(&mut frames, family);
            }
        }
        frames
    }

    fn message(&mut self, frames: &mut Vec<Frame>, family: Family) {
        let (opcode, mut payload) =
            if self.random.percent(70) { (TEXT, self.text(family)) } else { (BINARY, self.binary(family)) };
        if opcode == TEXT && self.random.percent(25) {
            self.break_text(&mut payload);
        }
        self.fragment(frames, opcode, &payload);
    }

    /// A message in one frame or several, with control frames between some.
    fn fragment(&mut self, frames: &mut Vec<Frame>, opcode: u8, payload: &[u8]) {
        let pieces = if self.random.percent(50) { 1 } else { self.random.between(2, 6) };
        let mut ends: Vec<usize> = (1..pieces).map(|_| self.random.between(0, payload.len())).collect();
        ends.push(payload.len());
        ends.sort_unstable();
        if self.random.percent(10) {
            // An empty last fragment, and one of everything before it.
            ends.push(payload.len());
        }
        let (last, mut from) = (ends.len() - 1, 0);
        for (i, &to) in ends.iter().enumerate() {
            let first = if i == last { FIN } else { 0 } | if i == 0 { opcode } else { CONTINUATION };
            let frame = self.frame(first, payload[from..to].to_vec());
            frames.push(frame);
            from = to;
            if i < last && self.random.percent(20) {
                let control = if self.random.percent(8) { self.close() } else { self.control() };
                frames.push(control);
            }
        }
    }

    fn length(&mut self, family: Family) -> usize {
        match (self.random.below(20), family) {
            (0, _) => 0,
            (1..=2, _) => self.random.between(120, 130),
            (3..=4, _) => self.random.between(200, 2000),
            (5, Family::Size) => self.random.between(65_530, 65_540),
            (5, Family::Framing) if self.random.percent(10) => self.random.between(65_530, 65_540),
            _ => self.random.between(1, 40),
        }
    }

    fn text(&mut self, family: Family) -> Vec<u8> {
        const EDGES: [char; 14] = [
            '\0',
            ' ',
            '\x7f',
            '\u{80}',
            'é',
            '\u{7ff}',
            '\u{800}',
            '漢',
            '\u{d7ff}',
            '\u{e000}',
            '\u{feff}',
            '\u{ffff}',
            '\u{10000}',
            '\u{10ffff}',
        ];
        let len = self.length(family);
        let ascii = self.random.percent(30);
        let mut text = String::new();
        while text.len() < len {
            if ascii || self.random.percent(40) {
                text.push(char::from(self.random.between(0x20, 0x7e) as u8));
            } else {
                text.push(self.random.pick(&EDGES));
            }
        }
        text.into_bytes()
    }

    fn binary(&mut self, family: Family) -> Vec<u8> {
        let len = self.length(family);
        self.random.bytes(len)
    }

    fn control(&mut self) -> Frame {
        let len = if self.random.percent(15) { self.random.between(120, 125) } else { self.random.between(0, 12) };
        let payload = self.random.bytes(len);
        let opcode = self.random.pick(&[PING, PING, PONG]);
        self.frame(FIN | opcode, payload)
    }

    fn close(&mut self) -> Frame {
        const GOOD: [u16; 16] =
            [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
        const BAD: [u16; 14] = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 32_768, 65_535];
        let code = match self.random.below(10) {
            0 => return self.frame(FIN | CLOSE, Vec::new()),
            1 => {
                let byte = self.random.bytes(1);
                return self.frame(FIN | CLOSE, byte);
            }
            2..=3 => self.random.pick(&BAD),
            _ => self.random.pick(&GOOD),
        };
        let mut reason = match self.random.below(4) {
            0 => Vec::new(),
            1 => vec![b'r'; 123],
            _ => self.text(Family::Framing),
        };
        reason.truncate(123);
        if std::str::from_utf8(&reason).is_err() && self.random.percent(70) {
            reason.clear();
        }
        if self.random.percent(15) {
            self.break_text(&mut reason);
            reason.truncate(123);
        }
        self.frame(FIN | CLOSE, [&code.to_be_bytes()[..], &reason].concat())
    }

    /// Makes something that is mostly not UTF-8 any more.
    fn break_text(&mut self, text: &mut Vec<u8>) {
        const BAD: [&[u8]; 22] = [
            b"\x80",
            b"\xbf",
            b"\xc0\x80",
            b"\xc1\xbf",
            b"\xc2",
            b"\xc2\x20",
            b"\xe0\x80\x80",
            b"\xe0\x9f\xbf",
            b"\xe0\xa0",
            b"\xe1\x80\xc0",
            b"\xed\xa0\x80",
            b"\xed\xbf\xbf",
            b"\xed\xa0",
            b"\xf0\x80\x80\x80",
            b"\xf0\x8f\xbf\xbf",
            b"\xf0\x90\x80",
            b"\xf4\x90\x80\x80",
            b"\xf4\x8f\xbf",
            b"\xf5\x80\x80\x80",
            b"\xf8\x88\x80\x80\x80",
            b"\xfe",
            b"\xff",
        ];
        let at = self.random.between(0, text.len());
        match self.random.below(6) {
            0 if !text.is_empty() => text.truncate(at.min(text.len() - 1)),
            1 if at < text.len() => text[at] = self.random.next() as u8,
            2 if at < text.len() => drop(text.remove(at)),
            3 => {
                let bad = self.random.pick(&BAD);
                text.extend(bad);
            }
            _ => {
                let bad = self.random.pick(&BAD);
                text.splice(at..at, bad.iter().copied());
            }
        }
    }

    /// Limits that some message just keeps, or just does not.
    fn limits(&mut self, frames: &[Frame]) -> (u64, u32) {
        let (mut sizes, mut counts, mut size, mut count) = (Vec::new(), Vec::new(), 0, 0);
        for frame in frames.iter().filter(|frame| frame.first & 15 < 8) {
            size += frame.payload.len();
            count += 1;
            if frame.first & FIN != 0 {
                sizes.push(size);
                counts.push(count);
                (size, count) = (0, 0);
            }
        }
        if sizes.is_empty() {
            return (MOST, 1024);
        }
        let size = self.random.pick(&sizes) as u64;
        let limit = match self.random.below(6) {
            0 | 1 => size.saturating_sub(1),
            2 | 3 => size,
            4 => self.random.pick(&[1, 125, 126, 127, 65_535, 65_536]),
            _ => MOST,
        };
        let count = self.random.pick(&counts);
        let fragments = match self.random.below(6) {
            0 => count - 1,
            1 => count,
            _ => 1024,
        };
        (limit.max(1), fragments.max(1))
    }

    fn compressed_stream(&mut self, agreed: Agreed) -> Vec<Frame> {
        let (no_takeover, bits) = agreed.of_peer(self.role);
        let (mut frames, mut context) = (Vec::new(), Vec::new());
        let mut compressor = self.compressor(bits);
        let count = self.random.between(1, 5);
        for i in 0..count {
            if self.random.percent(15) {
                let control = self.control();
                frames.push(control);
            }
            if self.random.percent(15) {
                self.message(&mut frames, Family::Framing);
                self.sizes.push(frames.last().map_or(0, |frame| frame.payload.len()));
                continue;
            }
            let is_text = self.random.percent(60);
            let mut plain = self.content(is_text, &context);
            if is_text && self.random.percent(10) {
                self.break_text(&mut plain);
            }
            if no_takeover {
                compressor.reset();
                context.clear();
            }
            let beyond = i + 1 == count && bits < 12 && self.random.percent(30);
            let payload = if beyond {
                plain = self.far(bits);
                self.far_compressed(&plain, &mut context)
            } else {
                self.compressed(&plain, &mut compressor, &mut context, bits)
            };
            self.sizes.push(plain.len());
            let opcode = if is_text && !beyond { TEXT } else { BINARY };
            if payload.len() < 60 && self.random.percent(10) {
                // A byte to a fragment.
                for (i, byte) in payload.iter().enumerate() {
                    let first = if i + 1 == payload.len() { FIN } else { 0 } | if i == 0 { 0x40 | opcode } else { 0 };
                    let frame = self.frame(first, vec![*byte]);
                    frames.push(frame);
                }
            } else {
                self.fragment(&mut frames, 0x40 | opcode, &payload);
            }
        }
        if self.sizes.is_empty() {
            self.sizes.push(1);
        }
        if self.random.percent(20) {
            let close = self.close();
            frames.push(close);
        }
        frames
    }

    fn compressor(&mut self, bits: u8) -> Deflate {
        let level = self.random.pick(&[0, 1, 1, 3, 6, 6, 9]);
        let window_bits = -i32::from(bits);
        Deflate::new_with_config(DeflateConfig { level, window_bits, ..DeflateConfig::default() })
    }

    /// Something that compresses, in part with what went before it.
    fn content(&mut self, is_text: bool, context: &[u8]) -> Vec<u8> {
        match self.random.below(12) {
            0 => Vec::new(),
            // A bomb.
            1 => vec![
                b'0';
                self.random.pick(&[1 << 10, 10_000, 100_000, MOST as usize - 1, MOST as usize, MOST as usize + 1])
            ],
            2 if !is_text => {
                let len = self.random.between(1, 3000);
                self.random.bytes(len)
            }
            3 | 4 if !context.is_empty() => {
                let text = String::from_utf8_lossy(context);
                text.chars().rev().take(200).collect::<String>().into_bytes()
            }
            5 => self.text(Family::Size),
            _ => {
                let word = self.text(Family::Framing);
                let mut text = Vec::new();
                for _ in 0..self.random.between(1, 30) {
                    text.extend(&word);
                    text.push(b'a' + self.random.below(26) as u8);
                }
                text
            }
        }
    }

    /// A message as a sender may compress it: every kind of flush, blocks that are stored, a last block.
    fn compressed(&mut self, plain: &[u8], compressor: &mut Deflate, context: &mut Vec<u8>, bits: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        context.extend(&plain[plain.len().saturating_sub(1000)..]);
        match self.random.below(12) {
            // RFC 7692 7.2.3.2: blocks without compression.
            0 => {
                for piece in plain.chunks(self.random.between(1, 0xffff)) {
                    bytes.push(0);
                    bytes.extend((piece.len() as u16).to_le_bytes());
                    bytes.extend((!(piece.len() as u16)).to_le_bytes());
                    bytes.extend(piece);
                }
                bytes.push(0);
                compressor.reset();
            }
            // 7.2.3.4: a last block, an empty one behind it, and then perhaps more.
            1 => {
                compressor.reset();
                flush(compressor, plain, DeflateFlush::Finish, &mut bytes);
                compressor.reset();
                context.clear();
                match self.random.below(4) {
                    0 => {}
                    1 => {
                        flush(compressor, b"more", DeflateFlush::SyncFlush, &mut bytes);
                        bytes.truncate(bytes.len() - 4);
                    }
                    _ => bytes.push(0),
                }
            }
            // 7.2.3.5: two blocks and more, flushed in every way.
            2 | 3 => {
                for piece in plain.chunks(self.random.between(1, plain.len() + 1)).take(20) {
                    let how = self.random.pick(&[
                        DeflateFlush::PartialFlush,
                        DeflateFlush::SyncFlush,
                        DeflateFlush::FullFlush,
                        DeflateFlush::NoFlush,
                    ]);
                    flush(compressor, piece, how, &mut bytes);
                }
                flush(compressor, b"", DeflateFlush::SyncFlush, &mut bytes);
                if bytes.ends_with(&[0, 0, 0xff, 0xff]) {
                    bytes.truncate(bytes.len() - 4);
                } else {
                    bytes.push(0);
                }
            }
            // An empty message, as it should be and as it should not.
            4 => {
                if self.random.percent(60) {
                    bytes.push(0);
                }
            }
            // Another level.
            5 => {
                *compressor = self.compressor(bits);
                flush(compressor, plain, DeflateFlush::SyncFlush, &mut bytes);
                bytes.truncate(bytes.len() - 4);
            }
            _ => {
                flush(compressor, plain, DeflateFlush::SyncFlush, &mut bytes);
                if bytes.ends_with(&[0, 0, 0xff, 0xff]) {
                    bytes.truncate(bytes.len() - 4);
                } else {
                    bytes.push(0);
                }
            }
        }
        bytes
    }

    /// The same bytes twice, further from each other than the window.
    fn far(&mut self, bits: u8) -> Vec<u8> {
        let what = self.random.bytes(64);
        let between = (1 << bits) + self.random.between(0, 3000);
        [&what[..], &self.random.bytes(between), &what].concat()
    }

    fn far_compressed(&mut self, plain: &[u8], context: &mut Vec<u8>) -> Vec<u8> {
        context.clear();
        let mut bytes = Vec::new();
        let config = DeflateConfig { level: 9, window_bits: -15, ..DeflateConfig::default() };
        flush(&mut Deflate::new_with_config(config), plain, DeflateFlush::SyncFlush, &mut bytes);
        bytes.truncate(bytes.len() - 4);
        bytes
    }

    fn damage_compressed(&mut self, frames: &mut [Frame]) {
        if frames.is_empty() {
            return;
        }
        let at = self.random.below(frames.len());
        let frame = &mut frames[at];
        let len = frame.payload.len();
        match self.random.below(6) {
            0 | 1 if len > 0 => {
                let at = self.random.below(len);
                frame.payload[at] ^= 1 << self.random.below(8);
            }
            2 if len > 0 => frame.payload.truncate(self.random.below(len)),
            3 if len < 60_000 && frame.first & 8 == 0 => {
                let more = self.random.between(1, 5);
                frame.payload.extend(self.random.bytes(more));
            }
            _ => frame.first ^= 0x40,
        }
        if frame.announced.is_none() {
            frame.wide = shortest(frame.payload.len() as u64);
        }
    }

    fn damage_frame(&mut self, frames: &mut Vec<Frame>) {
        if frames.is_empty() {
            return;
        }
        let at = self.random.below(frames.len());
        let what = self.random.below(17);
        let random = &mut self.random;
        let frame = &mut frames[at];
        match what {
            0 => frame.first |= random.pick(&[0x40, 0x20, 0x10, 0x70, 0x50]),
            1 => frame.first = frame.first & 0xf0 | random.pick(&[3, 4, 5, 6, 7, 11, 12, 13, 14, 15]),
            2 => frame.first ^= FIN,
            3 => frame.first = frame.first & 0xf0 | random.pick(&[CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG]),
            // The mask bit with its key, and without.
            4 => frame.key = if frame.key.is_some() { None } else { Some([1, 2, 3, 4]) },
            5 => {
                if let Some(key) = frame.key.take() {
                    frame.payload.splice(0..0, key);
                } else {
                    frame.key = Some([0; 4]);
                }
            }
            // A longer form of the length than it needs.
            6 if frame.wide == 0 => frame.wide = random.pick(&[2, 8]),
            6 => frame.wide = 8,
            7 => {
                frame.wide = 8;
                frame.announced =
                    Some(random.pick(&[1 << 63, u64::MAX, i64::MAX as u64, 1 << 40, 1 << 31, MOST + 1, MOST]));
            }
            // A control frame over its length, in every form.
            8 => {
                frame.first = FIN | random.pick(&[CLOSE, PING, PONG]);
                frame.payload = match random.below(3) {
                    0 => vec![b'x'; 126],
                    1 => [&1000u16.to_be_bytes()[..], &[b'x'; 124]].concat(),
                    _ => vec![b'x'; 200],
                };
                frame.wide = random.pick(&[2, 2, 8]);
            }
            9 => {
                frame.first = random.pick(&[CLOSE, PING, PONG]);
                frame.payload.truncate(125);
                frame.wide = shortest(frame.payload.len() as u64);
            }
            10 | 11 => {
                let (first, mut payload) = (frame.first, std::mem::take(&mut frame.payload));
                self.break_text(&mut payload);
                let announced = frames[at].announced;
                frames[at] = Frame { announced, ..self.frame(first, payload) };
            }
            12 => drop(frames.remove(at)),
            13 => {
                let copy = frames[at].clone();
                frames.insert(at, copy);
            }
            14 => {
                let close = self.close();
                frames.insert(at, close);
            }
            15 => {
                let other = self.random.below(frames.len());
                frames.swap(at, other);
            }
            _ => {
                let empty = self.random.pick(&[0, FIN]) | self.random.pick(&[CONTINUATION, CONTINUATION, TEXT, BINARY]);
                let empty = self.frame(empty, Vec::new());
                frames.insert(at, empty);
            }
        }
    }

    fn damage_bytes(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let at = self.random.below(bytes.len());
        match self.random.below(5) {
            0 | 1 => bytes.truncate(at),
            2 => bytes[at] ^= 1 << self.random.below(8),
            3 => drop(bytes.remove(at)),
            _ => bytes.insert(at, self.random.next() as u8),
        }
    }

    fn cuts(&mut self, len: usize) -> Vec<usize> {
        if len < 2 {
            return Vec::new();
        }
        match self.random.below(4) {
            0 => Vec::new(),
            1 if len < 300 => (1..len).collect(),
            _ => {
                let count = self.random.between(1, 8);
                let mut cuts: Vec<usize> = (0..count).map(|_| self.random.between(1, len - 1)).collect();
                cuts.sort_unstable();
                cuts.dedup();
                cuts
            }
        }
    }
}

/// Compresses `bytes` to the end of `to`.
fn flush(compressor: &mut Deflate, mut bytes: &[u8], how: DeflateFlush, to: &mut Vec<u8>) {
    loop {
        let mut room = vec![0; bytes.len() + 1024];
        let (taken, made) = (compressor.total_in(), compressor.total_out());
        compressor.compress(bytes, &mut room, how).expect("compression does not fail");
        bytes = &bytes[(compressor.total_in() - taken) as usize..];
        let made = (compressor.total_out() - made) as usize;
        to.extend(&room[..made]);
        if bytes.is_empty() && made < room.len() {
            return;
        }
    }
}
