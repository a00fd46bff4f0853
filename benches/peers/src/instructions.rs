//! Instructions, by running this program under callgrind, once per cell and contestant and iteration count.
//!
//! The difference between N and 2N passes holds no set-up. Callgrind hides some CPU extensions: SHA-1 takes its software
//! path, and AVX-512 is not there.

use std::process::Command;

use crate::cell::{Cell, Scale};
use crate::measure::{Outcome, Row, fault};

/// Callgrind counts, so one pass is as good as many; a second one only averages over what alternates.
const PASSES: u64 = 2;

/// glibc copies long blocks by `rep movsb`, which callgrind counts as an instruction per byte: the read's own copy would
/// drown what is measured. Under this setting it copies by vectors, whatever the length.
const NO_REP_MOVSB: &str = "glibc.cpu.x86_rep_movsb_threshold=1073741824";

/// What the child is told.
pub struct Child {
    pub cell: String,
    pub contestant: String,
    pub iters: u64,
}

pub fn count(cell: &Cell, wanted: &dyn Fn(&str) -> bool) -> Result<Outcome, String> {
    let bench = (cell.open)(Scale::Small);
    let operations = bench.operations() as f64;
    let mut rows = Vec::new();
    for contestant in bench.contestants(wanted) {
        let run =
            |passes| callgrind(&cell.name, contestant.name, passes).map_err(|error| fault(cell, &contestant, &error));
        let cost = (run(2 * PASSES)? - run(PASSES)?) / (PASSES as f64 * operations);
        rows.push(Row { name: contestant.name, standing: contestant.standing, costs: vec![cost] });
    }
    Ok(Outcome { bytes_per_operation: bench.bytes() as f64 / operations, rows })
}

/// The child's side: a pass to warm up and `iters` to be counted.
pub fn run_child(cells: &[Cell], child: &Child) -> Result<(), String> {
    let cell = cells.iter().find(|cell| cell.name == child.cell).ok_or("no such cell")?;
    let bench = (cell.open)(Scale::Small);
    let mut contestants = bench.contestants(&|name| name == child.contestant);
    let contestant = contestants.first_mut().ok_or("no such contestant in this cell")?;
    contestant.work.run(1)?;
    contestant.work.run(child.iters)
}

fn callgrind(cell: &str, contestant: &str, iters: u64) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .env("GLIBC_TUNABLES", NO_REP_MOVSB)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--cell", cell, "--contestant", contestant, "--iters", &iters.to_string()])
        .output()
        .map_err(|error| format!("valgrind did not start: {error}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(log.into_owned());
    }
    // "==1234== Collected : 5678"
    let collected = log.lines().find_map(|line| line.split_once("Collected :")).ok_or("no count in callgrind's log")?;
    collected.1.trim().parse().map_err(|_| format!("not a count: {}", collected.1))
}
