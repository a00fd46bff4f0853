//! The distances of a DEFLATE stream (RFC 1951) held to an agreed window, beside the inflater and without its output.
//!
//! RFC 7692 lets the peers agree on windows of 2^8 to 2^14 bytes. An inflater does not hold a stream to that. zlib refers back as
//! far as its window and the output of the present call reach, so whether a distance beyond the window passes depends on how
//! input and output are cut; zlib-rs keeps 2^15 bytes whatever the window. Here no output is kept and none is needed.

/// Follows a DEFLATE stream (RFC 1951) and holds its distances to a window.
///
/// Give [`check`](Self::check) the compressed bytes, in any pieces. A distance beyond the window is [`TooFar`] as soon as its
/// Huffman code is in, before its extra bits: never after an inflater could have produced output from it. Windows are powers of
/// two, and at every power of two a distance code ends, so the code decides.
///
/// Malformed streams are not reported; that is the inflater's part. Where the bytes are no DEFLATE this stops looking, until
/// [`reset`](Self::reset). It stops where zlib finds an error, or sooner where one has become certain, and so misses nothing
/// that zlib inflates. A distance within the window that reaches back before the beginning of the stream is not noticed: the
/// inflater refuses it.
///
/// What follows a final block begins a new stream at the next byte.
///
/// About 1.6 KiB, without allocation. O(1) per byte: a byte is looked at again only while the length and distance that it is
/// part of, seven bytes at most, are not whole; and a block's tables, built in some thousand steps, follow at least ten bytes.
#[derive(Clone)]
pub(crate) struct Distances {
    /// Bits that were taken from the input and not used yet.
    hold: u64,
    /// How many: 63 at most.
    held: u32,
    window_bits: u8,
    state: State,
    /// Whether the block is the stream's last (BFINAL).
    is_final: bool,
    /// Of a dynamic block's header: HLEN, HLIT and HDIST, as numbers of lengths, and how many are read.
    length_codes: u16,
    literals: u16,
    distances: u16,
    read: u16,
    /// Code lengths as they are read, of the literals and lengths first; at the beginning those of the code for code lengths.
    lengths: [u8; MOST_LITERALS + MOST_DISTANCES],
    length_code: LengthCode,
    codes: Codes,
}

/// A distance is longer than the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFar;

/// What comes next in the stream (RFC 1951 section 3.2.3).
///
/// ```text
///            ┌─ StoredLength ── Stored ──────────────────────────────┐
/// Block ─────┼─ Fixed ───────────────────────────────────────────────┼── Block
///            └─ Counts ── LengthLengths ── Lengths ── Dynamic ───────┘
/// ```
/// and from everywhere to `Lost`, from `Fixed` and `Dynamic` to `TooFar`, which only a reset leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The three bits that begin a block.
    Block,
    /// LEN and NLEN, from a byte boundary on.
    StoredLength,
    /// So many bytes of a stored block, from a byte boundary on.
    Stored(u16),
    /// HLIT, HDIST and HCLEN.
    Counts,
    /// The lengths of the code for code lengths.
    LengthLengths,
    /// The lengths of the codes for literals and lengths, and for distances.
    Lengths,
    /// Symbols in the fixed codes.
    Fixed,
    /// Symbols in the codes that the block brought.
    Dynamic,
    /// There was a distance beyond the window.
    TooFar,
    /// There was something that is no DEFLATE.
    Lost,
}

impl Distances {
    /// For a window of `1 << window_bits` bytes: 8 to 15, and with 15 no distance is too long.
    pub(crate) const fn new(window_bits: u8) -> Self {
        debug_assert!(8 <= window_bits && window_bits <= 15);
        Self {
            hold: 0,
            held: 0,
            window_bits,
            state: State::Block,
            is_final: false,
            length_codes: 0,
            literals: 0,
            distances: 0,
            read: 0,
            lengths: [0; MOST_LITERALS + MOST_DISTANCES],
            length_code: LengthCode::new(),
            codes: Codes::new(),
        }
    }

    /// Forgets the stream: the next byte begins a new one. The window stays.
    pub(crate) fn reset(&mut self) {
        (self.hold, self.held, self.state, self.is_final) = (0, 0, State::Block, false);
    }

    /// Follows the next bytes. Any cut gives the same answer, and after an error it stays that error until [`reset`](Self::reset).
    pub(crate) fn check(&mut self, bytes: &[u8]) -> Result<(), TooFar> {
        let mut bits = Bits { hold: self.hold, held: self.held, input: bytes };
        while let Some(next) = self.step(&mut bits) {
            self.state = next;
        }
        (self.hold, self.held) = (bits.hold, bits.held);
        if self.state == State::TooFar { Err(TooFar) } else { Ok(()) }
    }

    /// Goes to the end of what is next. `None`: the input is used up, or nothing of it matters any more.
    fn step(&mut self, bits: &mut Bits<'_>) -> Option<State> {
        Some(match self.state {
            State::Block => {
                let head = bits.take(3)?;
                self.is_final = head & 1 != 0;
                match head >> 1 {
                    0 => {
                        bits.align();
                        State::StoredLength
                    }
                    1 => State::Fixed,
                    2 => State::Counts,
                    _ => State::Lost,
                }
            }
            State::StoredLength => {
                let lengths = bits.take(32)?;
                let len = lengths as u16;
                if len == !((lengths >> 16) as u16) { State::Stored(len) } else { State::Lost }
            }
            State::Stored(left) => match bits.skip_bytes(left) {
                0 => self.end_block(bits),
                left => {
                    self.state = State::Stored(left);
                    return None;
                }
            },
            State::Counts => {
                let counts = bits.take(14)? as u16;
                self.literals = 257 + (counts & 31);
                self.distances = 1 + (counts >> 5 & 31);
                self.length_codes = 4 + (counts >> 10);
                self.read = 0;
                self.lengths[..LENGTH_SYMBOLS].fill(0);
                if usize::from(self.literals) > MOST_LITERALS || usize::from(self.distances) > MOST_DISTANCES {
                    State::Lost
                } else {
                    State::LengthLengths
                }
            }
            State::LengthLengths => {
                for &symbol in &LENGTH_ORDER[usize::from(self.read)..usize::from(self.length_codes)] {
                    self.lengths[usize::from(symbol)] = bits.take(3)? as u8;
                    self.read += 1;
                }
                self.read = 0;
                match self.length_code.set(&self.lengths[..LENGTH_SYMBOLS], &LENGTH_CLASSES) {
                    Shape::Complete => State::Lengths,
                    Shape::AtMostOne | Shape::Malformed => State::Lost,
                }
            }
            State::Lengths => self.read_lengths(bits)?,
            State::Fixed => self.end_symbols(symbols(bits, &FIXED, self.window_bits)?, bits),
            State::Dynamic => self.end_symbols(symbols(bits, &self.codes, self.window_bits)?, bits),
            State::TooFar | State::Lost => return None,
        })
    }

    /// Reads the lengths of both codes (RFC 1951 section 3.2.7) and makes the codes. `None`: the input is used up.
    fn read_lengths(&mut self, bits: &mut Bits<'_>) -> Option<State> {
        let all = usize::from(self.literals) + usize::from(self.distances);
        let mut read = usize::from(self.read);
        while read < all {
            // At most a code of 7 bits and 7 extra bits.
            bits.want(14);
            let entry = self.length_code.entry(bits.hold);
            let (symbol, len) = (LengthCode::class(entry), LengthCode::len(entry));
            // What is repeated how often; the number is the extra bits' and these.
            let (extra, least) = match symbol {
                0..16 => (0, 1),
                16 => (2, 3),
                17 => (3, 3),
                _ => (7, 11),
            };
            let Some(number) = bits.take_after(len, extra) else {
                self.read = read as u16;
                return None;
            };
            let (value, times) = match symbol {
                0..16 => (symbol, least),
                16 if read == 0 => return Some(State::Lost),
                16 => (self.lengths[read - 1], least + number as usize),
                _ => (0, least + number as usize),
            };
            if times > all - read {
                return Some(State::Lost);
            }
            self.lengths[read..read + times].fill(value);
            read += times;
        }
        let (literals, distances) = self.lengths.split_at(usize::from(self.literals));
        let distances = &distances[..usize::from(self.distances)];
        // There must be a code for the end of the block.
        let is_sound = literals[usize::from(END_OF_BLOCK)] != 0
            && self.codes.literals.set(literals, &LITERAL_CLASSES) != Shape::Malformed
            && self.codes.distances.set(distances, &DISTANCE_CLASSES) != Shape::Malformed;
        Some(if is_sound { State::Dynamic } else { State::Lost })
    }

    fn end_symbols(&self, stop: Stop, bits: &mut Bits<'_>) -> State {
        match stop {
            Stop::EndOfBlock => self.end_block(bits),
            Stop::TooFar => State::TooFar,
            Stop::Invalid => State::Lost,
        }
    }

    fn end_block(&self, bits: &mut Bits<'_>) -> State {
        if self.is_final {
            bits.align();
        }
        State::Block
    }
}

/// Why a block's symbols end.
enum Stop {
    EndOfBlock,
    TooFar,
    Invalid,
}

/// Follows a block's symbols (RFC 1951 section 3.2.3). `None`: the next is not whole yet.
///
/// Nothing is used up of a symbol that is not whole. A length goes with its distance, 48 bits in all, so there is nothing to
/// remember but the bits themselves.
fn symbols(from: &mut Bits<'_>, codes: &Codes, window_bits: u8) -> Option<Stop> {
    // A copy, which the compiler keeps in registers.
    let mut bits = *from;
    let stop = loop {
        bits.want(WHOLE_MATCH);
        let entry = codes.literals.entry(bits.hold);
        let (class, len) = (LiteralCode::class(entry), LiteralCode::len(entry));
        if len > bits.held {
            break None;
        }
        if class == LITERAL {
            bits.drop(len);
            continue;
        }
        if class == END {
            bits.drop(len);
            break Some(Stop::EndOfBlock);
        }
        if class == INVALID {
            break Some(Stop::Invalid);
        }
        // A length; its class is the number of its extra bits.
        let len = len + u32::from(class);
        let entry = codes.distances.entry(bits.hold >> len);
        let (class, len) = (DistanceCode::class(entry), len + DistanceCode::len(entry));
        if len > bits.held {
            break None;
        }
        // A distance; its class is the number of its extra bits too. With e of them, above none, it is 2^(e+1)+1 to 2^(e+2).
        if class + 1 >= window_bits {
            break Some(if class == INVALID { Stop::Invalid } else { Stop::TooFar });
        }
        let len = len + u32::from(class);
        if len > bits.held {
            break None;
        }
        bits.drop(len);
    };
    *from = bits;
    stop
}

/// The bits of a length with its distance: codes of 15 bits, 5 and 13 extra bits.
const WHOLE_MATCH: u32 = 15 + 5 + 15 + 13;

/// The input as bits, the least significant of a byte first (RFC 1951 section 3.1.1).
#[derive(Clone, Copy)]
struct Bits<'a> {
    /// The next bits; those above the `held` lowest are zero.
    hold: u64,
    /// At most 63.
    held: u32,
    input: &'a [u8],
}

impl Bits<'_> {
    /// Takes more from the input where fewer than `bits` are held, 56 at most. Fewer are held afterwards only if the input is used up.
    #[inline(always)]
    fn want(&mut self, bits: u32) {
        if self.held >= bits {
            return;
        }
        if let Some(word) = self.input.first_chunk() {
            let bytes = (63 - self.held) / 8;
            self.hold |= u64::from_le_bytes(*word) << self.held;
            self.held += 8 * bytes;
            self.hold &= u64::MAX >> (64 - self.held);
            self.input = &self.input[bytes as usize..];
        } else {
            while let (Some((&byte, rest)), 0..56) = (self.input.split_first(), self.held) {
                self.hold |= u64::from(byte) << self.held;
                self.held += 8;
                self.input = rest;
            }
        }
    }

    /// The next `bits`, 32 at most, if they are in.
    fn take(&mut self, bits: u32) -> Option<u32> {
        self.want(bits);
        self.take_after(0, bits)
    }

    /// Drops `len` bits and takes the next `bits`, 32 at most, if they are all held.
    fn take_after(&mut self, len: u32, bits: u32) -> Option<u32> {
        if len + bits > self.held {
            return None;
        }
        let taken = self.hold >> len & ((1 << bits) - 1);
        self.drop(len + bits);
        Some(taken as u32)
    }

    /// Drops so many of the bits that are held.
    #[inline(always)]
    fn drop(&mut self, bits: u32) {
        self.hold >>= bits;
        self.held -= bits;
    }

    /// Drops the rest of a byte that was begun.
    fn align(&mut self) {
        self.drop(self.held % 8);
    }

    /// Skips bytes, at a byte boundary. How many the input lacks.
    fn skip_bytes(&mut self, bytes: u16) -> u16 {
        let held = u32::from(bytes).min(self.held / 8);
        self.drop(8 * held);
        let bytes = bytes - held as u16;
        let skipped = usize::from(bytes).min(self.input.len());
        self.input = &self.input[skipped..];
        bytes - skipped as u16
    }
}

/// The two codes of a block.
#[derive(Clone)]
struct Codes {
    literals: LiteralCode,
    distances: DistanceCode,
}

// The tables' sizes are for messages of a kilobyte: most of their symbols are found at once, and making the tables takes less than
// the symbols do.
type LiteralCode = Code<288, 512, 4>;
type DistanceCode = Code<32, 128, 4>;
/// Lengths of this code have three bits, and all its codes are in the table.
type LengthCode = Code<LENGTH_SYMBOLS, 128, 3>;

/// A canonical Huffman code (RFC 1951 section 3.2.2), decoded to classes of symbols: what is to be known of a symbol here.
///
/// An entry is a class and, in the lowest `LEN_BITS` bits, the length of the code.
#[derive(Clone)]
struct Code<const SYMBOLS: usize, const TABLE: usize, const LEN_BITS: u32> {
    /// The entry of each short code, at all indices that begin (from the least significant bit) with it; zero for longer ones.
    table: [u8; TABLE],
    /// The number of codes of each length.
    counts: [u16; 16],
    /// The classes of the symbols in the order of their codes.
    sorted: [u8; SYMBOLS],
}

/// How the lengths of a code fit together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Every sequence of bits is a sequence of codes.
    Complete,
    /// There is one code, of one bit, or none: incomplete, and allowed for literals and distances.
    AtMostOne,
    /// Incomplete otherwise, or over-subscribed. Nothing was set.
    Malformed,
}

impl<const SYMBOLS: usize, const TABLE: usize, const LEN_BITS: u32> Code<SYMBOLS, TABLE, LEN_BITS> {
    const fn new() -> Self {
        Self { table: [0; TABLE], counts: [0; 16], sorted: [0; SYMBOLS] }
    }

    /// Makes the code from the length of each symbol's code, at most `SYMBOLS` of them, zero for none, and each symbol's class.
    ///
    /// O(number of symbols + size of the table).
    const fn set(&mut self, lengths: &[u8], classes: &[u8]) -> Shape {
        let mut counts = [0; 16];
        let mut symbol = 0;
        while symbol < lengths.len() {
            counts[lengths[symbol] as usize] += 1;
            symbol += 1;
        }
        counts[0] = 0;

        // How many codes of the present length are still to be had, and where the symbols of each length begin.
        let mut free = 1;
        let mut begin = [0; 16];
        let mut longest = 0;
        let mut len = 1;
        while len < 16 {
            free <<= 1;
            if counts[len] > free {
                return Shape::Malformed;
            }
            free -= counts[len];
            begin[len] = begin[len - 1] + counts[len - 1];
            if counts[len] > 0 {
                longest = len;
            }
            len += 1;
        }
        let shape = match (free, longest) {
            (0, _) => Shape::Complete,
            (_, 0 | 1) => Shape::AtMostOne,
            _ => return Shape::Malformed,
        };

        let mut symbol = 0;
        while symbol < lengths.len() {
            let len = lengths[symbol] as usize;
            if len > 0 {
                self.sorted[begin[len] as usize] = classes[symbol];
                begin[len] += 1;
            }
            symbol += 1;
        }
        self.counts = counts;

        // A table for codes of `len` bits is two for `len - 1`, with the codes of `len` bits put in.
        self.table[0] = if let Shape::AtMostOne = shape { Self::pack(INVALID, 1) } else { 0 };
        let (mut code, mut sorted) = (0_u16, 0);
        let mut len = 1;
        while 1 << len <= TABLE {
            let (half, other) = self.table.split_at_mut(1 << (len - 1));
            other.split_at_mut(half.len()).0.copy_from_slice(half);
            code <<= 1;
            let mut left = counts[len];
            while left > 0 {
                // Codes come most significant bit first, unlike all else.
                self.table[(code.reverse_bits() >> (16 - len)) as usize] = Self::pack(self.sorted[sorted], len as u32);
                code += 1;
                sorted += 1;
                left -= 1;
            }
            len += 1;
        }
        shape
    }

    /// The entry of the code that `bits` begin with. Its length tells whether there were bits enough to say so.
    #[inline(always)]
    fn entry(&self, bits: u64) -> u8 {
        let entry = self.table[bits as usize % TABLE];
        if entry == 0 { self.long_entry(bits) } else { entry }
    }

    /// The same for a code that is too long for the table.
    #[cold]
    fn long_entry(&self, bits: u64) -> u8 {
        // Where the symbols of a length begin, and how far behind their first code the bits are.
        let (mut index, mut offset) = (0, 0);
        for len in 1..16 {
            offset = 2 * offset + (bits >> (len - 1) & 1) as u16;
            let count = self.counts[len as usize];
            if offset < count {
                return Self::pack(self.sorted[usize::from(index + offset)], len);
            }
            index += count;
            offset -= count;
        }
        // Not in a complete code.
        Self::pack(INVALID, 1)
    }

    const fn pack(class: u8, len: u32) -> u8 {
        class << LEN_BITS | len as u8
    }

    #[inline(always)]
    const fn class(entry: u8) -> u8 {
        entry >> LEN_BITS
    }

    #[inline(always)]
    const fn len(entry: u8) -> u32 {
        (entry & ((1 << LEN_BITS) - 1)) as u32
    }
}

impl Codes {
    const fn new() -> Self {
        Self { literals: Code::new(), distances: Code::new() }
    }
}

/// The class of a literal; that of a length is the number of its extra bits.
const LITERAL: u8 = 13;
/// The class of the end of a block.
const END: u8 = 14;
/// The class of what no symbol has: 286 and 287, the distances 30 and 31, and codes that are nobody's.
const INVALID: u8 = 15;

/// The symbol for the end of a block.
const END_OF_BLOCK: u16 = 256;
/// A block may bring codes for so many literals and lengths. HLIT has room for 288.
const MOST_LITERALS: usize = 286;
/// For so many distances. HDIST has room for 32.
const MOST_DISTANCES: usize = 30;
/// The symbols of the code for code lengths.
const LENGTH_SYMBOLS: usize = 19;

/// The order of the lengths of the code for code lengths (RFC 1951 section 3.2.7).
static LENGTH_ORDER: [u8; LENGTH_SYMBOLS] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// The symbols themselves.
static LENGTH_CLASSES: [u8; LENGTH_SYMBOLS] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18];

/// By literal or length (RFC 1951 section 3.2.5).
static LITERAL_CLASSES: [u8; 288] = literal_classes();

/// By distance code (RFC 1951 section 3.2.5).
static DISTANCE_CLASSES: [u8; 32] = distance_classes();

/// The codes of blocks with fixed ones (RFC 1951 section 3.2.6).
static FIXED: Codes = fixed();

const fn literal_classes() -> [u8; 288] {
    let mut classes = [LITERAL; 288];
    let mut symbol = END_OF_BLOCK as usize;
    while symbol < classes.len() {
        classes[symbol] = match symbol {
            256 => END,
            257..265 | 285 => 0,
            265..285 => (symbol - 261) as u8 / 4,
            _ => INVALID,
        };
        symbol += 1;
    }
    classes
}

const fn distance_classes() -> [u8; 32] {
    let mut classes = [0; 32];
    let mut symbol = 4;
    while symbol < classes.len() {
        classes[symbol] = if symbol < MOST_DISTANCES { symbol as u8 / 2 - 1 } else { INVALID };
        symbol += 1;
    }
    classes
}

const fn fixed() -> Codes {
    let mut lengths = [8; 288];
    let mut symbol = 144;
    while symbol < 280 {
        lengths[symbol] = if symbol < 256 { 9 } else { 7 };
        symbol += 1;
    }
    let mut codes = Codes::new();
    codes.literals.set(&lengths, &literal_classes());
    codes.distances.set(&[5; 32], &distance_classes());
    codes
}

#[cfg(test)]
mod tests;
