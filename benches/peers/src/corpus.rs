//! Payloads and wires, the same in every run.

/// xorshift64*: payloads and mask keys need variety, not secrecy.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed | 1)
    }

    #[inline]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// A mask key with no zero byte: a zero key would let a peer skip the work.
    pub fn key(&mut self) -> [u8; 4] {
        (self.next() as u32 | 0x0101_0101).to_le_bytes()
    }
}

/// embedded-websocket's client takes its generator from the caller; this is about the cheapest honest one.
impl rand_core::RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.next()
    }

    fn fill_bytes(&mut self, into: &mut [u8]) {
        for part in into.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes()[..part.len()]);
        }
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(into);
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Ascii,
    /// One to four bytes a character, each width as likely as the others.
    Utf8,
    Binary,
}

impl Content {
    pub const ALL: [Content; 3] = [Content::Ascii, Content::Utf8, Content::Binary];

    pub fn name(self) -> &'static str {
        match self {
            Content::Ascii => "ascii",
            Content::Utf8 => "utf8",
            Content::Binary => "bin",
        }
    }

    pub fn is_text(self) -> bool {
        self != Content::Binary
    }

    /// A payload of exactly `len` bytes.
    pub fn payload(self, len: usize, random: &mut Random) -> Vec<u8> {
        match self {
            Content::Ascii => (0..len).map(|_| b' ' + random.below(95) as u8).collect(),
            Content::Binary => (0..len).map(|_| random.below(256) as u8).collect(),
            Content::Utf8 => {
                let mut text = String::with_capacity(len + 4);
                while text.len() < len {
                    let (first, count) = match random.below(4) {
                        0 => (0x20, 95),
                        1 => (0xc0, 0x440),
                        2 => (0x3041, 0x6f00),
                        _ => (0x1_f300, 0x300),
                    };
                    let character = char::from_u32(first + random.below(count)).expect("no surrogate in these ranges");
                    if text.len() + character.len_utf8() <= len {
                        text.push(character);
                    }
                }
                text.into_bytes()
            }
        }
    }
}

/// Appends one unfragmented frame, masked if there is a key.
pub fn push_frame(wire: &mut Vec<u8>, text: bool, payload: &[u8], key: Option<[u8; 4]>) {
    wire.push(0x80 | if text { 1 } else { 2 });
    let masked = if key.is_some() { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..=125 => wire.push(masked | len as u8),
        len @ 126..=0xffff => {
            wire.push(masked | 126);
            wire.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            wire.push(masked | 127);
            wire.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let key = key.inspect(|key| wire.extend_from_slice(key)).unwrap_or([0; 4]);
    wire.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// The length of a frame that [`push_frame`] writes.
pub fn frame_len(payload_len: usize, masked: bool) -> usize {
    let header = match payload_len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    header + if masked { 4 } else { 0 } + payload_len
}

/// "16B", "1KiB", "1MiB".
pub fn size_name(len: usize) -> String {
    match len {
        0..=1023 => format!("{len}B"),
        1024..=1_048_575 => format!("{}KiB", len >> 10),
        _ => format!("{}MiB", len >> 20),
    }
}
