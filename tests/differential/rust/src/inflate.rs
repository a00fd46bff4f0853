//! DEFLATE decompression as RFC 1951 says it, bit by bit and without state between calls: whole streams in, all that can be made of them out.

/// What the bytes of a stream so far come to.
pub struct Inflated {
    pub made: Vec<u8>,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Between two blocks, every byte looked at.
    Boundary,
    /// Inside a block: more bytes are wanted.
    Inside,
    /// Behind a block that says it is the last; so many bytes were taken.
    Ended { taken: usize },
    /// What no bytes to come can mend.
    Corrupt,
    /// A distance beyond the window.
    BeyondWindow,
}

/// Inflates `bytes`; a distance may be up to `window`. Stops behind `most` bytes.
pub fn inflate(bytes: &[u8], window: usize, most: usize) -> Inflated {
    let mut run = Run { bytes, at: 0, made: Vec::new(), window, most };
    let state = match run.blocks() {
        Ok(()) => State::Ended { taken: run.at.div_ceil(8) },
        Err(state) => state,
    };
    Inflated { made: run.made, state }
}

struct Run<'a> {
    bytes: &'a [u8],
    /// The next bit.
    at: usize,
    made: Vec<u8>,
    window: usize,
    most: usize,
}

/// A prefix code: how many codes there are of each length, and their symbols in order.
struct Code {
    counts: [u16; 16],
    symbols: Vec<u16>,
}

const LENGTH_BASE: [u16; 29] =
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
const LENGTH_BITS: [u8; 29] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASE: [u16; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
    8193, 12289, 16385, 24577,
];
const DISTANCE_BITS: [u8; 30] =
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

impl Run<'_> {
    /// `Ok`: the last block is over.
    fn blocks(&mut self) -> Result<(), State> {
        loop {
            let from = self.at;
            let header = self.bits(3).inspect_err(|_| self.at = from);
            let Ok(header) = header else {
                // Fewer bits than a header has: padding, or its beginning.
                let whole = self.bytes.len() * 8 - from;
                return Err(if whole == 0 { State::Boundary } else { State::Inside });
            };
            match header >> 1 {
                0 => self.stored()?,
                1 => {
                    let mut lengths = [8; 288];
                    lengths[144..256].fill(9);
                    lengths[256..280].fill(7);
                    let distances = Code { counts: counts(&[5; 32]), symbols: (0..32).collect() };
                    self.symbols(&Code::new(&lengths), &distances)?;
                }
                2 => {
                    let (lengths, distances) = self.codes()?;
                    self.symbols(&lengths, &distances)?;
                }
                _ => return Err(State::Corrupt),
            }
            if header & 1 == 1 {
                return Ok(());
            }
        }
    }

    fn stored(&mut self) -> Result<(), State> {
        self.at = self.at.next_multiple_of(8);
        let len = self.bits(16)?;
        if self.bits(16)? != len ^ 0xffff {
            return Err(State::Corrupt);
        }
        for _ in 0..len {
            let byte = self.bits(8)?;
            self.make(byte as u8)?;
        }
        Ok(())
    }

    fn codes(&mut self) -> Result<(Code, Code), State> {
        let (literals, distances, code_lengths) = (self.bits(5)? + 257, self.bits(5)? + 1, self.bits(4)? + 4);
        // RFC 1951 has no more symbols than these.
        if literals > 286 || distances > 30 {
            return Err(State::Corrupt);
        }
        let mut lengths = [0; 19];
        for &place in &ORDER[..code_lengths] {
            lengths[place] = self.bits(3)? as u8;
        }
        // One without any code is noticed further on, as zlib does it: each bit is then a length of zero.
        let is_empty = lengths.iter().all(|&length| length == 0);
        if left(&lengths) != 0 && !is_empty {
            return Err(State::Corrupt);
        }
        let code = Code::new(&lengths);
        let mut lengths: Vec<u8> = Vec::new();
        while lengths.len() < literals + distances {
            let symbol = if is_empty { self.bits(1).map(|_| 0) } else { self.symbol(&code) };
            let (times, length) = match symbol? {
                length @ 0..=15 => (1, length as u8),
                16 => (self.bits(2)? + 3, *lengths.last().ok_or(State::Corrupt)?),
                17 => (self.bits(3)? + 3, 0),
                _ => (self.bits(7)? + 11, 0),
            };
            if lengths.len() + times > literals + distances {
                return Err(State::Corrupt);
            }
            lengths.resize(lengths.len() + times, length);
        }
        let (literals, distances) = lengths.split_at(literals);
        // An end of block there must be. A code may be incomplete only where it is one symbol of one bit, or none.
        let bad = |lengths: &[u8]| left(lengths) != 0 && lengths.iter().any(|&length| length > 1) || left(lengths) < 0;
        if literals[256] == 0 || bad(literals) || bad(distances) {
            return Err(State::Corrupt);
        }
        Ok((Code::new(literals), Code::new(distances)))
    }

    fn symbols(&mut self, literals: &Code, distances: &Code) -> Result<(), State> {
        loop {
            match self.symbol(literals)? {
                literal @ 0..=255 => self.make(literal as u8)?,
                256 => return Ok(()),
                symbol => {
                    let place = usize::from(symbol - 257);
                    let base = *LENGTH_BASE.get(place).ok_or(State::Corrupt)?;
                    let length = usize::from(base) + self.bits(LENGTH_BITS[place])?;
                    let place = usize::from(self.symbol(distances)?);
                    let base = *DISTANCE_BASE.get(place).ok_or(State::Corrupt)?;
                    let distance = usize::from(base) + self.bits(DISTANCE_BITS[place])?;
                    if distance > self.made.len() {
                        return Err(State::Corrupt);
                    }
                    if distance > self.window {
                        return Err(State::BeyondWindow);
                    }
                    for _ in 0..length {
                        let byte = self.made[self.made.len() - distance];
                        self.make(byte)?;
                    }
                }
            }
        }
    }

    fn symbol(&mut self, code: &Code) -> Result<u16, State> {
        let (mut value, mut first, mut index) = (0, 0, 0);
        let longest = code.counts.iter().rposition(|&count| count > 0).unwrap_or(1);
        for length in 1..=longest {
            value |= self.bits(1)? as i32;
            let count = i32::from(code.counts[length]);
            if value - count < first {
                return Ok(code.symbols[(index + value - first) as usize]);
            }
            index += count;
            first = (first + count) << 1;
            value <<= 1;
        }
        Err(State::Corrupt)
    }

    fn bits(&mut self, n: u8) -> Result<usize, State> {
        let mut value = 0;
        for i in 0..n {
            let byte = *self.bytes.get(self.at / 8).ok_or(State::Inside)?;
            value |= usize::from(byte >> (self.at % 8) & 1) << i;
            self.at += 1;
        }
        Ok(value)
    }

    fn make(&mut self, byte: u8) -> Result<(), State> {
        if self.made.len() == self.most {
            return Err(State::Inside);
        }
        self.made.push(byte);
        Ok(())
    }
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut symbols = Vec::new();
        for length in 1..16 {
            symbols.extend((0..lengths.len()).filter(|&i| lengths[i] == length).map(|i| i as u16));
        }
        Self { counts: counts(lengths), symbols }
    }
}

fn counts(lengths: &[u8]) -> [u16; 16] {
    let mut counts = [0; 16];
    for &length in lengths {
        counts[usize::from(length)] += 1;
    }
    counts[0] = 0;
    counts
}

/// Codes that are left over; negative where there are too many.
fn left(lengths: &[u8]) -> i32 {
    counts(lengths)[1..].iter().fold(1, |left, &count| (left << 1) - i32::from(count))
}
