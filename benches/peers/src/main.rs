//! The same WebSocket and event-stream work on tautline and on its peers. See README.md.

mod cell;
mod corpus;
mod feed;
mod floors;
mod instructions;
mod mask;
mod measure;
mod peers;
mod recv;
mod send;
mod sse;
mod table;
mod tautline_http;
mod tautline_sse;
mod tautline_ws;
mod upgrade;

use std::process::ExitCode;

use cell::{Cell, Scale};
use instructions::Child;
use table::{Report, Unit};

const USAGE: &str = "\
usage: tautline-peers [options]
  --only SUBSTR     cells whose name contains SUBSTR
  --peers A,B       contestants whose name begins with A or B; the bars' references run in any case
  --rounds N        rounds to time (15)
  --instructions    count instructions under valgrind instead of time
  --json            JSON lines instead of tables
  --strict          exit with 1 where tautline is over a bar
  --verify          check what every contestant delivers in every cell, and time nothing
  --list            name the cells and their bars";

#[derive(Default)]
struct Options {
    only: String,
    peers: Vec<String>,
    rounds: usize,
    mode: Mode,
    json: bool,
    strict: bool,
    cell: Option<String>,
    contestant: Option<String>,
    iters: u64,
}

#[derive(Default)]
enum Mode {
    #[default]
    Time,
    Instructions,
    Verify,
    List,
    Help,
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)).and_then(run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { rounds: 15, iters: 1, ..Options::default() };
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{option} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("not a number: {text}"));
        match option.as_str() {
            "--only" => options.only = value()?,
            "--peers" => options.peers = value()?.split(',').map(str::to_owned).collect(),
            "--rounds" => options.rounds = number(value()?)?.max(1) as usize,
            "--instructions" => options.mode = Mode::Instructions,
            "--json" => options.json = true,
            "--strict" => options.strict = true,
            "--verify" => options.mode = Mode::Verify,
            "--list" => options.mode = Mode::List,
            "--help" | "-h" => options.mode = Mode::Help,
            // What `--instructions` tells the copies of this program that it runs.
            "--cell" => options.cell = Some(value()?),
            "--contestant" => options.contestant = Some(value()?),
            "--iters" => options.iters = number(value()?)?,
            _ => return Err(format!("unknown option {option}\n{USAGE}")),
        }
    }
    Ok(options)
}

fn cells() -> Vec<Cell> {
    [recv::cells(), send::cells(), mask::cells(), upgrade::cells(), sse::cells()].into_iter().flatten().collect()
}

fn run(options: Options) -> Result<ExitCode, String> {
    let mut cells = cells();
    if let (Some(cell), Some(contestant)) = (options.cell, options.contestant) {
        instructions::run_child(&cells, &Child { cell, contestant, iters: options.iters })?;
        return Ok(ExitCode::SUCCESS);
    }
    cells.retain(|cell| cell.name.contains(&options.only));
    let wanted = |cell: &Cell, name: &str| {
        options.peers.is_empty()
            || options.peers.iter().any(|peer| name.starts_with(peer))
            || cell.bar.is_some_and(|bar| matches!(bar.reference, cell::Reference::Named(named) if named == name))
    };
    let unit = match options.mode {
        Mode::Time => Unit::Nanoseconds,
        Mode::Instructions => Unit::Instructions,
        Mode::Verify => return verify(&cells).map(|()| ExitCode::SUCCESS),
        Mode::List => {
            list(&cells);
            return Ok(ExitCode::SUCCESS);
        }
        Mode::Help => {
            println!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
    };
    measure::keep_buffers_on_the_heap();
    let mut report = Report::new(unit);
    for cell in &cells {
        eprintln!("{}", cell.name);
        let wanted = |name: &str| wanted(cell, name);
        let outcome = match unit {
            Unit::Nanoseconds => measure::time(cell, &wanted, options.rounds)?,
            Unit::Instructions => instructions::count(cell, &wanted)?,
        };
        report.add(cell, outcome);
    }
    print!("{}", if options.json { report.json() } else { report.markdown() });
    Ok(if options.strict && report.misses() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Every contestant in every cell: all bytes that come out, and bad text refused.
fn verify(cells: &[Cell]) -> Result<(), String> {
    let mut faults = Vec::new();
    let mut checked = 0;
    for cell in cells {
        let bench = (cell.open)(Scale::Small);
        for contestant in &mut bench.contestants(&|_| true) {
            // Twice, because the second pass begins in the state that the first one left.
            let outcome = contestant.work.verify().and_then(|()| contestant.work.run(2));
            checked += 1;
            if let Err(error) = outcome {
                faults.push(measure::fault(cell, contestant, &error));
            }
        }
    }
    if faults.is_empty() {
        println!("{checked} contestants in {} cells do their work", cells.len());
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

fn list(cells: &[Cell]) {
    for cell in cells {
        let bar = cell.bar.map_or(String::new(), |bar| {
            let reference = match bar.reference {
                cell::Reference::Named(name) => name,
                cell::Reference::FastestPeer => "the fastest peer",
            };
            format!("at most {:.2} x {reference}", bar.max)
        });
        println!("{:<20} {bar}", cell.name);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_contestant_does_its_work() {
        super::verify(&super::cells()).unwrap();
    }
}
