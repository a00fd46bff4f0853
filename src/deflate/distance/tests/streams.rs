//! Streams by hand, and the twins: a naive inflater that tells the distances, and zlib-rs.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;
use zlib_rs::{Inflate, InflateFlush, Status};

/// RFC 1951 section 3.2.5: the least length of each length symbol from 257 on, and the least distance of each distance symbol.
pub(super) const LENGTHS: [u16; 29] =
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
pub(super) const LENGTHS_EXTRA: [u32; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
pub(super) const DISTANCES: [u16; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
    8193, 12289, 16385, 24577,
];
pub(super) const DISTANCES_EXTRA: [u32; 30] =
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];

/// The codes of symbols by their lengths (section 3.2.2), as (length, code).
pub(super) fn canonical(lengths: &[u8]) -> Vec<(u8, u16)> {
    let mut codes = vec![(0, 0); lengths.len()];
    let mut code = 0;
    for len in 1..=15 {
        for (symbol, _) in lengths.iter().enumerate().filter(|(_, of)| **of == len) {
            codes[symbol] = (len, code);
            // An over-subscribed code is no code, but its lengths can be written.
            code = u16::wrapping_add(code, 1);
        }
        code <<= 1;
    }
    codes
}

/// The lengths of the fixed codes (section 3.2.6).
pub(super) fn fixed_lengths() -> (Vec<u8>, Vec<u8>) {
    ([vec![8; 144], vec![9; 112], vec![7; 24], vec![8; 8]].concat(), vec![5; 32])
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    Literal(u8),
    Match { length: u16, distance: u16 },
}

#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
    /// Bits in all.
    len: usize,
    /// What was written to be found again: how many bits are in when a distance's code is, and the distance.
    pub(super) distances: Vec<(usize, u16)>,
    pub(super) literals: Vec<(u8, u16)>,
    pub(super) distance_codes: Vec<(u8, u16)>,
}

impl Writer {
    pub(super) fn bits(&mut self, value: u16, bits: u32) -> &mut Self {
        for bit in 0..bits {
            if self.len.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (self.len % 8);
            self.len += 1;
        }
        self
    }

    pub(super) fn code(&mut self, (len, code): (u8, u16)) -> &mut Self {
        assert!(len > 0, "a symbol without a code");
        self.bits(code.reverse_bits() >> (16 - len), len.into())
    }

    /// To the next byte boundary, with bits that mean nothing.
    pub(super) fn align(&mut self) -> &mut Self {
        self.bits(0xff, (8 - self.len as u32 % 8) % 8)
    }

    /// A block's head. A final block ends with [`align`](Self::align).
    pub(super) fn head(&mut self, is_final: u16, kind: u16) -> &mut Self {
        self.bits(is_final, 1).bits(kind, 2)
    }

    pub(super) fn stored(&mut self, is_final: u16, bytes: &[u8]) -> &mut Self {
        self.head(is_final, 0).align().bits(bytes.len() as u16, 16).bits(!(bytes.len() as u16), 16);
        self.bytes.extend_from_slice(bytes);
        self.len += 8 * bytes.len();
        self
    }

    pub(super) fn fixed(&mut self, is_final: u16) -> &mut Self {
        let (literals, distances) = fixed_lengths();
        (self.literals, self.distance_codes) = (canonical(&literals), canonical(&distances));
        self.head(is_final, 1)
    }

    /// Brings codes of these lengths, each length as a code of four bits.
    pub(super) fn dynamic(&mut self, is_final: u16, literals: &[u8], distances: &[u8]) -> &mut Self {
        (self.literals, self.distance_codes) = (canonical(literals), canonical(distances));
        self.counts(is_final, literals.len(), distances.len());
        for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15] {
            self.bits(if symbol < 16 { 4 } else { 0 }, 3);
        }
        for &length in literals.iter().chain(distances) {
            self.code((4, length.into()));
        }
        self
    }

    /// The head of a dynamic block with all 19 lengths of the code for code lengths.
    pub(super) fn counts(&mut self, is_final: u16, literals: usize, distances: usize) -> &mut Self {
        self.head(is_final, 2).bits(literals as u16 - 257, 5).bits(distances as u16 - 1, 5).bits(15, 4)
    }

    pub(super) fn token(&mut self, token: Token) -> &mut Self {
        match token {
            Token::Literal(byte) => self.code(self.literals[usize::from(byte)]),
            Token::Match { length, distance } => {
                let symbol = LENGTHS.partition_point(|least| *least <= length) - 1;
                self.code(self.literals[257 + symbol]).bits(length - LENGTHS[symbol], LENGTHS_EXTRA[symbol]);
                let symbol = DISTANCES.partition_point(|least| *least <= distance) - 1;
                self.code(self.distance_codes[symbol]);
                self.distances.push((self.len, distance));
                self.bits(distance - DISTANCES[symbol], DISTANCES_EXTRA[symbol])
            }
        }
    }

    pub(super) fn end(&mut self) -> &mut Self {
        self.code(self.literals[256])
    }

    /// A fixed block of literals and matches that fill a window of 2^15.
    pub(super) fn full_window(&mut self) -> &mut Self {
        self.fixed(0).token(Token::Literal(b'x'));
        for _ in 0..=(1 << 15) / 258 {
            self.token(Token::Match { length: 258, distance: 1 });
        }
        self.end()
    }
}

/// With how many bytes the first distance beyond the window is in, from (bits, distance).
pub(super) fn first_too_far(distances: &[(usize, u16)], window_bits: u8) -> Option<usize> {
    let beyond = |(_, distance): &&(usize, u16)| u32::from(*distance) > 1 << window_bits;
    distances.iter().find(beyond).map(|(bits, _)| bits.div_ceil(8))
}

/// The naive twin: a stream bit by bit, with its output. It takes sound streams only.
pub(super) struct Naive<'a> {
    bytes: &'a [u8],
    at: usize,
    pub(super) output: Vec<u8>,
    pub(super) distances: Vec<(usize, u16)>,
}

impl<'a> Naive<'a> {
    /// Up to the end of the bytes, which is the end of a block.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let mut naive = Self { bytes, at: 0, output: vec![], distances: vec![] };
        while naive.at + 3 <= 8 * bytes.len() && !naive.block() {}
        naive
    }

    pub(super) fn bits(&mut self, bits: u32) -> u16 {
        let mut value = 0;
        for bit in 0..bits {
            value |= u16::from(self.bytes[self.at / 8] >> (self.at % 8) & 1) << bit;
            self.at += 1;
        }
        value
    }

    pub(super) fn symbol(&mut self, code: &BTreeMap<(u8, u16), usize>) -> usize {
        let mut bits = 0;
        for len in 1..=15 {
            bits = bits << 1 | self.bits(1);
            if let Some(symbol) = code.get(&(len, bits)) {
                return *symbol;
            }
        }
        panic!("no symbol");
    }

    /// Whether it was the final one.
    pub(super) fn block(&mut self) -> bool {
        let is_final = self.bits(1) == 1;
        match self.bits(2) {
            0 => {
                self.at = self.at.next_multiple_of(8);
                let len = self.bits(16);
                assert_eq!(self.bits(16), !len);
                let from = self.at / 8;
                self.output.extend_from_slice(&self.bytes[from..from + usize::from(len)]);
                self.at += 8 * usize::from(len);
            }
            1 => {
                let (literals, distances) = fixed_lengths();
                self.symbols(&literals, &distances);
            }
            2 => {
                let (literals, distances, codes) = (self.bits(5) + 257, self.bits(5) + 1, self.bits(4) + 4);
                let mut lengths = [0; 19];
                for symbol in &[16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15][..codes.into()] {
                    lengths[*symbol as usize] = self.bits(3) as u8;
                }
                let code = by_code(&lengths);
                let mut lengths = vec![];
                while lengths.len() < usize::from(literals + distances) {
                    let (value, times) = match self.symbol(&code) {
                        16 => (*lengths.last().unwrap(), 3 + self.bits(2)),
                        17 => (0, 3 + self.bits(3)),
                        18 => (0, 11 + self.bits(7)),
                        length => (length as u8, 1),
                    };
                    lengths.extend((0..times).map(|_| value));
                }
                let (literals, distances) = lengths.split_at(literals.into());
                self.symbols(literals, distances);
            }
            kind => panic!("a block of type {kind}"),
        }
        is_final
    }

    pub(super) fn symbols(&mut self, literals: &[u8], distances: &[u8]) {
        let (literals, distances) = (by_code(literals), by_code(distances));
        loop {
            match self.symbol(&literals) {
                256 => return,
                symbol @ 257.. => {
                    let symbol = symbol - 257;
                    let length = LENGTHS[symbol] + self.bits(LENGTHS_EXTRA[symbol]);
                    let symbol = self.symbol(&distances);
                    let bits = self.at;
                    let distance = DISTANCES[symbol] + self.bits(DISTANCES_EXTRA[symbol]);
                    self.distances.push((bits, distance));
                    for _ in 0..length {
                        self.output.push(self.output[self.output.len() - usize::from(distance)]);
                    }
                }
                literal => self.output.push(literal as u8),
            }
        }
    }
}

pub(super) fn by_code(lengths: &[u8]) -> BTreeMap<(u8, u16), usize> {
    canonical(lengths)
        .into_iter()
        .enumerate()
        .filter(|(_, (len, _))| *len > 0)
        .map(|(symbol, code)| (code, symbol))
        .collect()
}

/// How zlib-rs takes a stream.
#[derive(Debug, PartialEq)]
pub(super) enum Inflated {
    /// All of it, or all up to a final block, with how many bytes.
    Whole(Vec<u8>),
    Ended(Vec<u8>, usize),
    /// A distance reaches back before the beginning.
    TooFarBack,
    Malformed,
}

pub(super) fn inflated(bytes: &[u8]) -> Inflated {
    let mut inflate = Inflate::new(false, 15);
    let mut output = vec![];
    let mut room = [0; 4096];
    loop {
        let (from, before) = (inflate.total_in() as usize, inflate.total_out());
        let status = inflate.decompress(&bytes[from..], &mut room, InflateFlush::SyncFlush);
        output.extend_from_slice(&room[..(inflate.total_out() - before) as usize]);
        match status {
            Ok(Status::StreamEnd) => return Inflated::Ended(output, inflate.total_in() as usize),
            Ok(Status::Ok) => {}
            Ok(Status::BufError) => return Inflated::Whole(output),
            Err(_) if inflate.error_message().is_some_and(|text| text.contains("too far back")) => {
                return Inflated::TooFarBack;
            }
            Err(_) => return Inflated::Malformed,
        }
    }
}
