//! Runs, compares, counts, and makes what is left unexplained small.

use crate::case::{Case, End, Outcome};
use crate::deviations::{Deviation, Deviations, MAYBE, OURS, Peer};
use crate::generate::{self, Family};
use crate::model::model;
use crate::peers::{self, Child};
use std::collections::BTreeMap;
use std::thread;

/// The settings of a run.
#[derive(Default)]
pub struct Run {
    pub seed: u64,
    pub streams: usize,
    /// The drivers in other languages: program and arguments.
    pub wsproto: Vec<String>,
    pub websockets: Vec<String>,
    pub ws: Vec<String>,
}

/// Cases are handed on in portions, so that memory does not grow with a run.
const PORTION: usize = 1000;

/// How many unexplained differences are made small and printed.
const SHOWN: usize = 10;

/// How often a case is tried while it is made small.
const MOST_TRIES: usize = 3000;

/// What was counted over all cases.
#[derive(Default)]
struct Tally {
    streams: BTreeMap<Family, usize>,
    /// How the model ended.
    ends: BTreeMap<String, usize>,
    explained: BTreeMap<(&'static str, &'static str), usize>,
    unexplained: usize,
}

/// A peer, ready to be asked.
pub enum Reader {
    Here(fn(&Case) -> Outcome),
    There(Child),
}

impl Reader {
    fn read_all(&mut self, cases: &[Case]) -> Result<Vec<Outcome>, String> {
        match self {
            // The one that is read here has no compression.
            Self::Here(_) if cases.iter().all(|case| case.deflate.is_some()) => Ok(Vec::new()),
            Self::Here(read) => Ok(cases.iter().map(|case| peers::caught(*read, case)).collect()),
            Self::There(child) => child.read_all(cases),
        }
    }

    pub fn read(&mut self, case: &Case) -> Result<Outcome, String> {
        match self {
            Self::Here(read) => Ok(peers::caught(*read, case)),
            Self::There(child) => child.read(case),
        }
    }
}

impl Run {
    /// Everything; `Err` says what is wrong.
    pub fn all(&self) -> Result<(), String> {
        // A panic of an implementation is an outcome; its message would only be in the way.
        std::panic::set_hook(Box::new(|_| ()));
        let mut tally = Tally::default();
        let mut readers = Peer::ALL.map(|peer| (peer, self.reader(peer)));
        for (_, reader) in &mut readers {
            if let Err(error) = reader {
                return Err(std::mem::take(error));
            }
        }
        let mut readers = readers.map(|(peer, reader)| (peer, reader.expect("looked at above")));
        let part = self.streams / 6;
        let parts = [(Family::Framing, self.streams - 2 * part), (Family::Size, part), (Family::Deflate, part)];
        for (family, count) in parts {
            for from in (0..count).step_by(PORTION) {
                let to = count.min(from + PORTION);
                let cases: Vec<Case> =
                    (from..to).map(|index| generate::case(self.seed, index as u64, family)).collect();
                portion(&cases, &mut readers, &mut tally)?;
                *tally.streams.entry(family).or_default() += cases.len();
            }
        }
        tally.print();
        match tally.unexplained {
            0 => {
                println!("{} streams, no unexplained difference", self.streams);
                Ok(())
            }
            n => Err(format!("{n} unexplained differences")),
        }
    }

    pub fn reader(&self, peer: Peer) -> Result<Reader, String> {
        let child = |command| Child::start(command).map(Reader::There);
        match peer {
            Peer::TokioWebsockets => Ok(Reader::Here(peers::tokio_websockets)),
            Peer::Wsproto => child(&self.wsproto),
            Peer::Websockets => child(&self.websockets),
            Peer::Ws => child(&self.ws),
        }
    }
}

fn portion(cases: &[Case], readers: &mut [(Peer, Reader)], tally: &mut Tally) -> Result<(), String> {
    let theirs: Vec<Result<Vec<Outcome>, String>> = thread::scope(|scope| {
        let asked: Vec<_> = readers.iter_mut().map(|(_, reader)| scope.spawn(move || reader.read_all(cases))).collect();
        for case in cases {
            ours(case, tally);
        }
        asked.into_iter().map(|one| one.join().unwrap_or_else(|_| Err("a reader panicked".into()))).collect()
    });
    for ((peer, reader), outcomes) in readers.iter_mut().zip(theirs) {
        let outcomes = outcomes.map_err(|error| format!("{}: {error}", peer.name()))?;
        for (case, outcome) in cases.iter().zip(&outcomes) {
            compare(*peer, case, outcome, reader, tally)?;
        }
    }
    Ok(())
}

/// What tautline must say.
fn ours_of(case: &Case) -> Outcome {
    model(case, OURS)
}

/// tautline must say what the model says, and the same at every cut.
fn ours(case: &Case, tally: &mut Tally) {
    let expected = model(case, Deviations::NONE);
    let end = match &expected.end {
        End::Open => "open".to_owned(),
        End::Peer { .. } => "closed by the peer".to_owned(),
        End::Failed(Some(code)) => format!("failed with {code}"),
        End::Failed(None) | End::Crash(_) => "failed".to_owned(),
    };
    *tally.ends.entry(end).or_default() += 1;
    let wrong = |case: &Case| {
        ways_to_cut(case).iter().any(|cut| !ours_of(case).agrees_with(&peers::caught(peers::tautline, cut)))
    };
    if !wrong(case) {
        if !ours_of(case).agrees_with(&expected) {
            for class in causes(case, OURS) {
                *tally.explained.entry(("tautline", class)).or_default() += 1;
            }
        }
        return;
    }
    tally.unexplained += 1;
    if tally.unexplained <= SHOWN {
        let small = minimise(case, wrong);
        println!("tautline differs from the model: {}", small.line());
        println!("  model    {}", expected_of(&small));
        println!("  expected {}", ours_of(&small));
        for cut in ways_to_cut(&small) {
            println!("  tautline {}, read in {} pieces", peers::caught(peers::tautline, &cut), cut.cuts.len() + 1);
        }
    }
}

fn expected_of(case: &Case) -> Outcome {
    model(case, Deviations::NONE)
}

/// As it was cut, whole, and byte by byte.
fn ways_to_cut(case: &Case) -> Vec<Case> {
    let whole = Case { cuts: Vec::new(), ..case.clone() };
    let bytes = Case { cuts: (1..case.bytes.len()).collect(), ..case.clone() };
    vec![case.clone(), whole, bytes]
}

fn compare(peer: Peer, case: &Case, theirs: &Outcome, reader: &mut Reader, tally: &mut Tally) -> Result<(), String> {
    let all = peer.deviations();
    if let Some(explained) = explained_by(case, all, theirs) {
        let all_here = if explained == model(case, all) { all } else { all.with(MAYBE) };
        if !explained.agrees_with(&ours_of(case)) {
            for class in causes(case, all_here) {
                *tally.explained.entry((peer.name(), class)).or_default() += 1;
            }
        }
        return Ok(());
    }
    tally.unexplained += 1;
    if tally.unexplained <= SHOWN {
        let mut failure = None;
        let small = minimise(case, |case| match reader.read(case) {
            Ok(outcome) => explained_by(case, all, &outcome).is_none(),
            Err(error) => {
                failure = Some(error);
                false
            }
        });
        if let Some(error) = failure {
            return Err(format!("{}: {error}", peer.name()));
        }
        println!("{} differs: {}", peer.name(), small.line());
        println!("  model    {}", expected_of(&small));
        println!("  expected {}", model(&small, all));
        println!("  {:8} {}", peer.name(), reader.read(&small)?);
    }
    Ok(())
}

/// The model's outcome that explains `theirs`.
fn explained_by(case: &Case, all: Deviations, theirs: &Outcome) -> Option<Outcome> {
    let without = model(case, all);
    if theirs.agrees_with(&without) {
        return Some(without);
    }
    let with = model(case, all.with(MAYBE));
    // Of several references beyond the window the first ones may pass, and a later one not.
    let between = theirs.end == without.end
        && theirs.events.starts_with(&without.events)
        && with.events.starts_with(&theirs.events);
    (theirs.agrees_with(&with) || with != without && between).then_some(with)
}

/// The deviations without which the outcome would be another; where each alone changes nothing, all that could be.
fn causes(case: &Case, all: Deviations) -> Vec<&'static str> {
    let with_all = model(case, all);
    let changes = |one: &Deviation| model(case, all.without(*one)) != with_all;
    let mut needed: Vec<Deviation> = all.iter().filter(changes).collect();
    if needed.is_empty() {
        let plain = expected_of(case);
        needed = all.iter().filter(|&one| model(case, Deviations::new(&[one])) != plain).collect();
    }
    needed.into_iter().map(Deviation::name).collect()
}

/// A smaller case for which `holds` still does.
fn minimise(case: &Case, mut holds: impl FnMut(&Case) -> bool) -> Case {
    let mut tries = 0;
    let mut holds = |case: &Case| {
        tries += 1;
        tries < MOST_TRIES && holds(case)
    };
    let mut best = case.clone();
    let whole = Case { cuts: Vec::new(), ..best.clone() };
    if holds(&whole) {
        best = whole;
    }
    let mut from = 0;
    while let Some(end) = frame_end(&best.bytes, from) {
        match without(&best, from, end) {
            smaller if holds(&smaller) => best = smaller,
            _ => from = end,
        }
    }
    let mut size = best.bytes.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < best.bytes.len() {
            let end = best.bytes.len().min(at + size);
            let smaller = without(&best, at, end);
            if holds(&smaller) {
                best = smaller;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    while let Some(fewer) = (0..best.cuts.len())
        .map(|i| {
            let mut cuts = best.cuts.clone();
            cuts.remove(i);
            Case { cuts, ..best.clone() }
        })
        .find(|case| holds(case))
    {
        best = fewer;
    }
    best
}

/// `case` without its bytes from `from` to `to`.
fn without(case: &Case, from: usize, to: usize) -> Case {
    let mut bytes = case.bytes.clone();
    bytes.drain(from..to);
    let moved = |&cut: &usize| if cut >= to { cut - (to - from) } else { cut.min(from) };
    let mut cuts: Vec<usize> = case.cuts.iter().map(moved).filter(|&cut| cut > 0 && cut < bytes.len()).collect();
    cuts.dedup();
    Case { bytes, cuts, ..case.clone() }
}

/// Where the frame that begins at `from` ends, if all of it is there.
fn frame_end(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let second = *rest.get(1)?;
    let (wide, short) = match second & 0x7f {
        126 => (2, 0),
        127 => (8, 0),
        short => (0, usize::from(short)),
    };
    let len = rest.get(2..2 + wide)?.iter().fold(short, |len, &byte| len << 8 | usize::from(byte));
    let end = len.checked_add(from + 2 + wide + if second & 0x80 != 0 { 4 } else { 0 })?;
    (end <= bytes.len()).then_some(end)
}

impl Tally {
    fn print(&self) {
        for (family, count) in &self.streams {
            println!("{count:7} streams: {family:?}");
        }
        for (end, count) in &self.ends {
            println!("{count:7} {end}");
        }
        println!();
        for ((peer, class), count) in &self.explained {
            println!("{count:7} {peer}: {class}");
        }
    }
}
