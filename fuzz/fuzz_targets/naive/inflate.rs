//! A naive inflater, written from RFC 1951 and RFC 7692 alone: bit by bit, without tables, over whole messages.

/// The furthest that DEFLATE refers back.
const FURTHEST: usize = 1 << 15;

/// What the receiver puts back behind a message (RFC 7692 section 7.2.2).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no DEFLATE stream.
    Corrupt,
    /// It refers further back than the window, or than there is anything.
    Distance,
    /// It ends where a stream cannot.
    Cut,
    /// It makes more than it may.
    TooLong,
    /// It ends inside the last byte that was put back: there is no telling whether that is an end.
    Unclear,
}

/// One direction of a connection.
#[derive(Clone, Debug)]
pub struct Inflater {
    window: usize,
    kept: bool,
    /// What there is to refer to.
    before: Vec<u8>,
}

impl Inflater {
    /// `window` is in bytes.
    pub fn new(window: usize, kept: bool) -> Self {
        Self { window, kept, before: Vec::new() }
    }

    /// What a whole message comes to.
    pub fn message(&mut self, payload: &[u8]) -> Result<Vec<u8>, Fault> {
        match self.limited(payload, usize::MAX) {
            (made, None) => Ok(made),
            (_, Some(fault)) => Err(fault),
        }
    }

    /// What a whole message comes to before what is wrong with it. Stops one byte behind `limit`.
    pub fn limited(&mut self, payload: &[u8], limit: usize) -> (Vec<u8>, Option<Fault>) {
        let bytes = [payload, &TAIL].concat();
        let mut run = Run::new(self, &bytes, payload.len(), limit);
        let fault = run.whole().err();
        let Run { made, mut stream, .. } = run;
        if self.kept {
            stream.drain(..stream.len().saturating_sub(FURTHEST));
            self.before = stream;
        }
        (made, fault)
    }

    /// As [`limited`](Self::limited), of the part of a message that came: nothing is wrong with an end that may go on.
    pub fn part(&self, payload: &[u8], limit: usize) -> (Vec<u8>, Option<Fault>) {
        let mut run = Run::new(self, payload, payload.len(), limit);
        let fault = loop {
            match run.block() {
                Ok(()) => {}
                Err(Fault::Cut) => break None,
                Err(fault) => break Some(fault),
            }
        };
        (run.made, fault)
    }
}

struct Run<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
    /// Where the payload ends, in bits.
    end: usize,
    /// Where the stream began, in bits.
    began: usize,
    /// What the stream made so far, and what was before.
    stream: Vec<u8>,
    made: Vec<u8>,
    window: usize,
    limit: usize,
    /// Something was made of what was put back.
    late: bool,
}

impl<'a> Run<'a> {
    fn new(inflater: &Inflater, bytes: &'a [u8], payload: usize, limit: usize) -> Self {
        Self {
            bytes,
            at: 0,
            end: payload * 8,
            began: 0,
            stream: inflater.before.clone(),
            made: Vec::new(),
            window: inflater.window,
            limit,
            late: false,
        }
    }

    fn whole(&mut self) -> Result<(), Fault> {
        // An empty payload, or one that ended with its stream: nothing wants its end.
        while !(self.at == self.end && self.began == self.end) {
            self.block()?;
            let all = self.bytes.len() * 8;
            if self.at > self.end {
                return match () {
                    () if self.late => Err(Fault::Cut),
                    () if self.at == all => Ok(()),
                    () if self.at > all - 8 => Err(Fault::Unclear),
                    () => Err(Fault::Cut),
                };
            }
        }
        Ok(())
    }

    /// RFC 1951 section 3.2.3. The last block of a stream ends it, and the next one begins at a byte, with nothing to refer to.
    fn block(&mut self) -> Result<(), Fault> {
        let last = self.bits(1)? == 1;
        match self.bits(2)? {
            0 => self.stored()?,
            1 => {
                let lengths: Vec<u8> = (0..288)
                    .map(|symbol| match symbol {
                        0..144 => 8,
                        144..256 => 9,
                        256..280 => 7,
                        _ => 8,
                    })
                    .collect();
                self.codes(&Code::new(&lengths), &Code::new(&[5; 30]))?;
            }
            2 => {
                let (literals, distances) = self.dynamic()?;
                self.codes(&literals, &distances)?;
            }
            _ => return Err(Fault::Corrupt),
        }
        if last {
            self.at = self.at.next_multiple_of(8);
            self.began = self.at;
            self.stream.clear();
        }
        Ok(())
    }

    /// Section 3.2.4.
    fn stored(&mut self) -> Result<(), Fault> {
        self.at = self.at.next_multiple_of(8);
        let (len, complement) = (self.bits(16)?, self.bits(16)?);
        if len != !complement & 0xffff {
            return Err(Fault::Corrupt);
        }
        for _ in 0..len {
            let byte = self.bits(8)? as u8;
            self.make(byte)?;
        }
        Ok(())
    }

    /// Section 3.2.7.
    fn dynamic(&mut self) -> Result<(Code, Code), Fault> {
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let literals = self.bits(5)? as usize + 257;
        let distances = self.bits(5)? as usize + 1;
        let count = self.bits(4)? as usize + 4;
        if literals > 286 || distances > 30 {
            return Err(Fault::Corrupt);
        }
        let mut lengths = [0; 19];
        for &symbol in &ORDER[..count] {
            lengths[symbol] = self.bits(3)? as u8;
        }
        let code = Code::new(&lengths);
        if code.symbols.is_empty() {
            // Nothing can come of it. Every inflater of zlib's kind tells only behind the lengths, of which it takes a bit each for none.
            for _ in 0..literals + distances {
                self.bits(1)?;
            }
        }
        if !code.is_complete() {
            return Err(Fault::Corrupt);
        }
        let mut lengths: Vec<u8> = Vec::new();
        while lengths.len() < literals + distances {
            let (what, times) = match self.symbol(&code)? {
                16 => (*lengths.last().ok_or(Fault::Corrupt)?, 3 + self.bits(2)?),
                17 => (0, 3 + self.bits(3)?),
                18 => (0, 11 + self.bits(7)?),
                length => (length as u8, 1),
            };
            lengths.extend((0..times).map(|_| what));
        }
        if lengths.len() > literals + distances || lengths[256] == 0 {
            return Err(Fault::Corrupt);
        }
        let (literals, distances) = (Code::new(&lengths[..literals]), Code::new(&lengths[literals..]));
        // An incomplete code is only allowed where there is one symbol of one bit, or no distance at all.
        let allowed = |code: &Code| code.is_complete() || code.is_single();
        if !allowed(&literals) || !(allowed(&distances) || distances.symbols.is_empty()) {
            return Err(Fault::Corrupt);
        }
        Ok((literals, distances))
    }

    /// Section 3.2.5.
    fn codes(&mut self, literals: &Code, distances: &Code) -> Result<(), Fault> {
        loop {
            let length = match self.symbol(literals)? {
                literal @ 0..256 => {
                    self.make(literal as u8)?;
                    continue;
                }
                256 => return Ok(()),
                symbol @ 257..265 => symbol - 254,
                symbol @ 265..285 => {
                    let extra = (symbol - 261) / 4;
                    ((4 + (symbol - 265) % 4) << extra) + 3 + self.bits(extra)?
                }
                285 => 258,
                _ => return Err(Fault::Corrupt),
            };
            let distance = match self.symbol(distances)? {
                symbol @ 0..4 => symbol + 1,
                symbol @ 4..30 => {
                    let extra = symbol / 2 - 1;
                    ((2 + symbol % 2) << extra) + 1 + self.bits(extra)?
                }
                _ => return Err(Fault::Corrupt),
            } as usize;
            if distance > self.stream.len() || distance > self.window {
                return Err(Fault::Distance);
            }
            for _ in 0..length {
                self.make(self.stream[self.stream.len() - distance])?;
            }
        }
    }

    fn make(&mut self, byte: u8) -> Result<(), Fault> {
        self.late |= self.at > self.end;
        self.stream.push(byte);
        self.made.push(byte);
        match () {
            () if self.made.len() <= self.limit => Ok(()),
            // Made of what was put back: the message ends where a stream cannot.
            () if self.late => Err(Fault::Cut),
            () => Err(Fault::TooLong),
        }
    }

    /// The next `n` bits, the first one lowest.
    fn bits(&mut self, n: u32) -> Result<u32, Fault> {
        if self.at + n as usize > self.bytes.len() * 8 {
            return Err(Fault::Cut);
        }
        let bytes = self.bytes[self.at / 8..].iter().take(3);
        let word = bytes.rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
        let value = word >> (self.at % 8) & ((1 << n) - 1);
        self.at += n as usize;
        Ok(value)
    }

    /// The next symbol of a code: its bits come highest first (section 3.1.1).
    fn symbol(&mut self, code: &Code) -> Result<u32, Fault> {
        let (mut word, mut first, mut index) = (0, 0, 0);
        for count in code.counts {
            word = word << 1 | self.bits(1)?;
            if word < first + count {
                return Ok(code.symbols[(index + word - first) as usize]);
            }
            index += count;
            first = (first + count) << 1;
        }
        Err(Fault::Corrupt)
    }
}

/// A prefix code, by section 3.2.2: how many words there are of each length from one bit on, and their symbols in order.
struct Code {
    counts: [u32; 15],
    symbols: Vec<u32>,
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut counts = [0; 15];
        let mut symbols = Vec::new();
        for length in 1..=15 {
            let of_length = (0..lengths.len()).filter(|&symbol| lengths[symbol] == length).map(|symbol| symbol as u32);
            let before = symbols.len();
            symbols.extend(of_length);
            counts[usize::from(length) - 1] = (symbols.len() - before) as u32;
        }
        Self { counts, symbols }
    }

    /// Whether each sequence of bits is a word, or the start of one, and of one only.
    fn is_complete(&self) -> bool {
        self.counts.iter().zip(1..).map(|(count, length)| count << (15 - length)).sum::<u32>() == 1 << 15
    }

    fn is_single(&self) -> bool {
        self.symbols.len() == 1 && self.counts[0] == 1
    }
}
