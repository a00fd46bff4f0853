//! What a cell of the table is: one kind of work on one corpus, the contestants that do it, and the bar tautline has to clear.

/// The contestant that the bars are about.
pub const OURS: &str = "tautline";

pub struct Cell {
    /// Unique, such as `recv-16B-ascii`.
    pub name: String,
    /// The table it is printed in.
    pub table: &'static str,
    /// Its column there.
    pub column: String,
    pub bar: Option<Bar>,
    /// Builds the corpus. Not called before the cell's turn, so memory holds one corpus at a time.
    pub open: Box<dyn Fn(Scale) -> Box<dyn Bench>>,
}

/// How much of the corpus one pass covers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Enough for straddled reads to come up in their usual share.
    Full,
    /// Enough for each path to be taken: callgrind is some fifty times slower.
    Small,
}

/// "At most `max` times the reference", in time and in instructions alike.
#[derive(Clone, Copy)]
pub struct Bar {
    pub reference: Reference,
    pub max: f64,
}

#[derive(Clone, Copy)]
pub enum Reference {
    /// This peer or floor.
    Named(&'static str),
    /// Whichever peer is fastest in this run, floors and invalid rows excepted.
    FastestPeer,
}

/// A corpus and what can be run on it.
pub trait Bench {
    /// Operations in one pass.
    fn operations(&self) -> u64;

    /// Payload bytes in one pass; 0 where a rate says nothing.
    fn bytes(&self) -> u64;

    /// Builds the contestants whose names `wanted` accepts.
    fn contestants<'b>(&'b self, wanted: &dyn Fn(&str) -> bool) -> Vec<Contestant<'b>>;
}

pub struct Contestant<'b> {
    pub name: &'static str,
    pub standing: Standing,
    pub work: Box<dyn Work + 'b>,
}

/// What a row counts for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// tautline or a peer: a whole implementation of the work.
    Counts,
    /// A bound, not a product: never the fastest peer.
    Floor,
    /// A peer that does not do the whole work of this cell, with the reason: never the fastest peer.
    Invalid(&'static str),
}

pub trait Work {
    /// Does the work `passes` times and checks what came out (counts, bytes and a checksum).
    fn run(&mut self, passes: u64) -> Result<(), String>;

    /// Does the work once and checks every byte of what came out; the slow check, never timed.
    fn verify(&mut self) -> Result<(), String>;
}

/// The input was refused: malformed in the eyes of the contestant.
#[derive(Debug)]
pub struct Refused;

/// A hash of everything delivered, for [`Work::verify`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digest(u64);

impl Digest {
    pub fn add(&mut self, tag: u8, bytes: &[u8]) {
        let mut mix = |word: u64| self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        mix(u64::from(tag) << 56 ^ bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| mix(u64::from(*byte)));
    }
}

/// What the timed sinks add up: enough to notice a message lost, doubled, cut or left masked, at next to no cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    pub messages: u64,
    pub bytes: u64,
    pub ends: u64,
}

impl Totals {
    #[inline]
    pub fn add(&mut self, payload: &[u8]) {
        // The optimiser must assume that all of the payload is read here, so it cannot skip unmasking or checking it.
        let payload = std::hint::black_box(payload);
        self.messages += 1;
        self.bytes += payload.len() as u64;
        if let ([first, ..], [.., last]) = (payload, payload) {
            self.ends += u64::from(*first) + u64::from(*last);
        }
    }

    pub fn expect(self, once: Totals, passes: u64) -> Result<(), String> {
        let wanted = Totals { messages: once.messages * passes, bytes: once.bytes * passes, ends: once.ends * passes };
        if self == wanted { Ok(()) } else { Err(format!("delivered {self:?}, not {wanted:?}")) }
    }
}
