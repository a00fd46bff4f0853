//! A simulated world: machines joined by virtual links under a virtual clock, driven by a seed. Every run is exact and repeatable.
//!
//! - [`Rng`]: the only source of chance. [`runs`] gives each run its own seed and prints the one that failed; `SIM_SEED=<number>`
//!   runs that one alone.
//! - [`Pipe`]: one direction of a link: delay, capacity, stalls, an end. It is a `Write` that takes a part and then blocks, as a
//!   socket does, and hands out what arrived in random pieces.
//! - [`Machine`]: what stands at an end of a link: bytes in, bytes out, time in, deadlines out. A protocol's machine is a small
//!   adapter in the test that uses it.
//! - [`World`]: two machines and the two pipes between them. Time jumps from one thing that is due to the next; the number of
//!   steps is bounded, so a machine that never goes idle fails the test.
#![allow(dead_code, unreachable_pub, reason = "every test binary takes its own part of it")]

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, IoSlice, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;
use tautline::{Instant, Output};

/// Steps of a world before it counts as one that never goes idle.
const STEPS: usize = 1_000_000;

/// SplitMix64: tiny, and good enough to choose cuts.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn range(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn millis(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis(self.range(from, to) as u64)
    }

    pub fn seed16(&mut self) -> [u8; 16] {
        (u128::from(self.next()) << 64 | u128::from(self.next())).to_ne_bytes()
    }
}

/// Runs `scenario` with `count` seeds, or with the one in `SIM_SEED`. Prints the seed of a run that fails.
pub fn runs(count: u64, scenario: impl Fn(&mut Rng)) {
    let only = std::env::var("SIM_SEED").ok().map(|seed| seed.parse::<u64>().expect("SIM_SEED is a number"));
    for seed in only.map_or(0..count, |seed| seed..seed + 1) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario(&mut Rng::new(seed)))) {
            eprintln!("failed with SIM_SEED={seed}");
            resume_unwind(panic);
        }
    }
}

/// How a pipe behaves.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// From a byte's writing to its arrival.
    pub delay: Duration,
    /// Bytes on their way or not yet read, at most: what two sockets' buffers hold.
    pub capacity: usize,
    /// The largest piece that a read or a write moves at once; each moves 1 to so many.
    pub piece: usize,
}

impl Line {
    pub fn random(rng: &mut Rng) -> Self {
        let capacity = [200, 5000, 65_536, 1 << 20][rng.below(4)];
        let piece = [1, 7, 100, 1460, 65_536][rng.below(5)].max(capacity / 50);
        Self { delay: rng.millis(0, 300), capacity, piece }
    }
}

/// One direction of a link.
#[derive(Debug)]
pub struct Pipe {
    pub line: Line,
    pub now: Instant,
    /// Bytes with the time of their arrival, in order.
    flight: VecDeque<(Instant, Vec<u8>)>,
    held: usize,
    /// Nothing arrives before.
    pub stalled: Instant,
    /// The writer ended its side, to be seen behind everything that was written.
    pub end: Option<Instant>,
    pub end_seen: bool,
    /// How much the writer may still write in this step.
    pub burst: usize,
    /// Every byte that was written.
    pub written: u64,
}

impl Pipe {
    pub fn new(line: Line, now: Instant) -> Self {
        let flight = VecDeque::new();
        Self { line, now, flight, held: 0, stalled: now, end: None, end_seen: false, burst: 0, written: 0 }
    }

    /// From a byte's writing to its arrival.
    pub fn delay(&self) -> Duration {
        self.line.delay
    }

    /// What is on its way is lost, and the reader sees the end at a time.
    pub fn cut(&mut self, seen: Instant) {
        self.flight.clear();
        self.held = 0;
        self.stalled = self.now;
        self.end = Some(seen);
        self.end_seen = false;
    }

    /// When something can be read next.
    pub fn due(&self) -> Option<Instant> {
        let front = self.flight.front().map(|(at, _)| *at);
        let due = front.or(self.end.filter(|_| !self.end_seen))?;
        Some(due.max(self.stalled))
    }

    fn room(&self) -> usize {
        if self.end.is_some() { 0 } else { self.line.capacity - self.held }
    }

    /// What a read returns now: a piece, an empty one at the end, `None` where it would block.
    pub fn read(&mut self, rng: &mut Rng) -> Option<Vec<u8>> {
        if self.due()? > self.now {
            return None;
        }
        // A read takes across what was written apart.
        let most = rng.range(1, self.line.piece);
        let mut piece = Vec::new();
        while piece.len() < most {
            let Some((at, bytes)) = self.flight.front_mut() else { break };
            if *at > self.now {
                break;
            }
            let n = bytes.len().min(most - piece.len());
            piece.extend(bytes.drain(..n));
            if bytes.is_empty() {
                self.flight.pop_front();
            }
        }
        self.held -= piece.len();
        if piece.is_empty() {
            self.end_seen = true;
        }
        Some(piece)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> std::io::Result<usize> {
        let n = self.room().min(self.burst);
        if n == 0 {
            return Err(Error::from(ErrorKind::WouldBlock));
        }
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(n).collect();
        let n = bytes.len();
        self.held += n;
        self.burst -= n;
        self.written += n as u64;
        self.flight.push_back((self.now + self.line.delay, bytes));
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What stands at an end of a link.
pub trait Machine {
    /// Takes what was read, all of it.
    fn receive(&mut self, bytes: &mut [u8], out: &mut Output, now: Instant);
    /// The peer's side ended.
    fn handle_eof(&mut self, out: &mut Output, now: Instant);
    fn poll_timeout(&self) -> Option<Instant>;
    fn handle_timeout(&mut self, now: Instant, out: &mut Output);
    /// Asked after each of the above: whether the transport is to be closed once everything is written.
    fn is_over(&self) -> bool;
}

/// A machine with its output.
pub struct Side<M> {
    pub machine: M,
    pub out: Output,
    /// The transport's own end was closed: nothing is read or written any more.
    pub closed: bool,
}

/// Two machines and the link between them.
pub struct World<A, B> {
    pub now: Instant,
    pub a: Side<A>,
    pub b: Side<B>,
    /// From `a` to `b`.
    pub ab: Pipe,
    /// From `b` to `a`.
    pub ba: Pipe,
    pub rng: Rng,
    steps: usize,
}

impl<A: Machine, B: Machine> World<A, B> {
    pub fn new(now: Instant, a: A, b: B, ab: Line, ba: Line, rng: &mut Rng) -> Self {
        let side_a = Side { machine: a, out: Output::new(), closed: false };
        let side_b = Side { machine: b, out: Output::new(), closed: false };
        let (ab, ba) = (Pipe::new(ab, now), Pipe::new(ba, now));
        Self { now, a: side_a, b: side_b, ab, ba, rng: Rng::new(rng.next()), steps: 0 }
    }

    /// Lets time pass up to `until`, and everything happen that is due by then.
    pub fn run_until(&mut self, until: Instant) {
        loop {
            self.settle();
            match self.due() {
                Some(due) if due <= until => self.set_now(due),
                _ => break,
            }
        }
        self.set_now(until);
        self.settle();
    }

    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Runs until nothing is due any more, and says when that was. What beats for ever never gets there and fails.
    pub fn run_to_the_end(&mut self) -> Instant {
        loop {
            self.settle();
            match self.due() {
                Some(due) => self.set_now(due),
                None => return self.now,
            }
        }
    }

    /// Nothing arrives over either pipe for so long.
    pub fn stall(&mut self, duration: Duration) {
        (self.ab.stalled, self.ba.stalled) = (self.now + duration, self.now + duration);
    }

    fn set_now(&mut self, now: Instant) {
        assert!(now >= self.now, "time runs forward");
        (self.now, self.ab.now, self.ba.now) = (now, now, now);
    }

    /// The next time at which something happens by itself.
    fn due(&self) -> Option<Instant> {
        let timeouts = [
            self.a.machine.poll_timeout().filter(|_| !self.a.closed),
            self.b.machine.poll_timeout().filter(|_| !self.b.closed),
            self.ba.due().filter(|_| !self.a.closed),
            self.ab.due().filter(|_| !self.b.closed),
        ];
        timeouts.into_iter().flatten().min()
    }

    /// Does everything that is due now.
    fn settle(&mut self) {
        loop {
            self.steps += 1;
            assert!(self.steps < STEPS, "a world that never goes idle, at {:?}", self.now);
            // Either side may come first.
            let a_first = self.rng.chance(50);
            let mut busy = false;
            for turn_of_a in [a_first, !a_first] {
                busy |= if turn_of_a {
                    turn(&mut self.a, &mut self.ba, &mut self.ab, self.now, &mut self.rng)
                } else {
                    turn(&mut self.b, &mut self.ab, &mut self.ba, self.now, &mut self.rng)
                };
            }
            if !busy {
                return;
            }
        }
    }
}

/// One turn of one side: what is due, one read, one write. Says whether anything happened.
fn turn<M: Machine>(side: &mut Side<M>, from: &mut Pipe, to: &mut Pipe, now: Instant, rng: &mut Rng) -> bool {
    if side.closed {
        return false;
    }
    let mut busy = false;
    if side.machine.poll_timeout().is_some_and(|due| due <= now) {
        side.machine.handle_timeout(now, &mut side.out);
        let due = side.machine.poll_timeout();
        assert!(due.is_none_or(|due| due > now), "a deadline that does not move: {due:?} at {now:?}");
        busy = true;
    }
    match from.read(rng) {
        Some(mut piece) if !piece.is_empty() => {
            side.machine.receive(&mut piece, &mut side.out, now);
            busy = true;
        }
        Some(_) => {
            side.machine.handle_eof(&mut side.out, now);
            busy = true;
        }
        None => {}
    }
    if !side.out.is_empty() {
        to.burst = rng.range(1, to.line.piece);
        let before = side.out.len();
        match side.out.write_to(to) {
            Ok(()) => {}
            Err(e) => assert!(e.kind() == ErrorKind::WouldBlock && side.out.is_blocked(), "{e}"),
        }
        busy |= side.out.len() != before;
        // A socket that takes some bytes and then fewer is a peer as usual; the unsent ones move to an output of its own.
        if side.out.is_blocked() && rng.chance(10) {
            side.out = side.out.take_unsent();
        }
    }
    if side.machine.is_over() && (side.out.is_empty() || from.end_seen) {
        side.closed = true;
        to.end = Some(now + to.line.delay);
        busy = true;
    }
    busy
}
