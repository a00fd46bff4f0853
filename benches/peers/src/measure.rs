//! Time: interleaved rounds on the thread's own CPU clock.

use std::hint::black_box;

use crate::cell::{Cell, Contestant, OURS, Reference, Scale, Standing};
use crate::corpus::Random;

/// What one pass of one contestant should fill; short enough that a round of all contestants sees the same machine.
const TARGET_NS: f64 = 5e6;

/// One contestant's figures in one cell.
pub struct Row {
    pub name: &'static str,
    pub standing: Standing,
    /// Per operation and round: nanoseconds, or one entry of instructions.
    pub costs: Vec<f64>,
}

/// One cell's figures.
pub struct Outcome {
    pub bytes_per_operation: f64,
    pub rows: Vec<Row>,
}

impl Row {
    pub fn median(&self) -> f64 {
        median(self.costs.clone())
    }

    pub fn best(&self) -> f64 {
        self.costs.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The median of the ratios within each round: what disturbs a round disturbs both sides of it.
    pub fn ratio_to(&self, reference: &Row) -> f64 {
        median(self.costs.iter().zip(&reference.costs).map(|(ours, theirs)| ours / theirs).collect())
    }
}

impl Outcome {
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The row that `reference` means in this run, if it ran.
    pub fn reference(&self, reference: Reference) -> Option<&Row> {
        match reference {
            Reference::Named(name) => self.row(name),
            Reference::FastestPeer => self
                .rows
                .iter()
                .filter(|row| row.standing == Standing::Counts && row.name != OURS)
                .min_by(|a, b| a.median().total_cmp(&b.median())),
        }
    }
}

/// Runs one cell: calibration and a warm-up round, which are dropped, then `rounds` rounds.
///
/// Where the heap happens to put a buffer can double the cost of a short message: stores of the read that cross cache lines
/// are slow to be loaded back. So each round builds its contestants anew at another place, and the median is one over
/// places too.
pub fn time(cell: &Cell, wanted: &dyn Fn(&str) -> bool, rounds: usize) -> Result<Outcome, String> {
    let bench = (cell.open)(Scale::Full);
    let operations = bench.operations() as f64;
    let mut random = Random::new(cell.name.len() as u64);
    let mut passes = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    for contestant in &mut bench.contestants(wanted) {
        passes.push(calibrate(contestant).map_err(|error| fault(cell, contestant, &error))?);
        rows.push(Row { name: contestant.name, standing: contestant.standing, costs: Vec::with_capacity(rounds) });
    }
    for round in 0..=rounds {
        // Large, to be cut from where buffers are cut from, and alive for the round.
        let _moved = black_box(Vec::<u8>::with_capacity((1 << 20) + 16 * random.below(256) as usize));
        let mut contestants = bench.contestants(wanted);
        // Another first one each time: nobody always runs in the cache that the same other one left.
        for turn in 0..contestants.len() {
            let at = (turn + round) % contestants.len();
            let contestant = &mut contestants[at];
            // What only a first pass does (growing buffers, faulting in their pages) stays out of the figure.
            let mut ran = contestant.work.run(1);
            let before = thread_cpu_ns();
            ran = ran.and_then(|()| contestant.work.run(passes[at]));
            let spent = thread_cpu_ns() - before;
            ran.map_err(|error| fault(cell, contestant, &error))?;
            if round > 0 {
                rows[at].costs.push(spent as f64 / (passes[at] as f64 * operations));
            }
        }
    }
    Ok(Outcome { bytes_per_operation: bench.bytes() as f64 / operations, rows })
}

/// Keeps large buffers on the heap, where [`time`] can move them: one of its own mapping always begins 16 bytes into a page.
pub fn keep_buffers_on_the_heap() {
    // SAFETY: plain integers, and no other thread runs.
    let set =
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20) & libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 20) };
    assert_eq!(set, 1, "glibc takes both settings");
}

/// The passes that fill the target, from the best of three single ones.
fn calibrate(contestant: &mut Contestant<'_>) -> Result<u64, String> {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let before = thread_cpu_ns();
        contestant.work.run(1)?;
        best = best.min((thread_cpu_ns() - before).max(100) as f64);
    }
    Ok((TARGET_NS / best).round().max(1.0) as u64)
}

pub fn fault(cell: &Cell, contestant: &Contestant<'_>, error: &str) -> String {
    format!("{} in {}: {error}", contestant.name, cell.name)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => (values[len / 2 - 1] + values[len / 2]) / 2.0,
    }
}

fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to, and the clock exists on every Linux.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "the thread's CPU clock can be read");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
