//! Servers as black boxes: the CPU that tautline's example `echo` spends on a load, as a multiple of what a server without any
//! protocol spends on it. Linux only. See README.md.

mod cells;
mod contestants;
mod echo;
mod fanout;
mod handshakes;
mod process;
mod report;
mod socket;
mod strace;
mod wire;

use std::process::ExitCode;
use std::time::Duration;

use cells::{Cell, Work};
use contestants::Contestant;
use process::{Cpus, Server};
use report::{Outcome, Report, Turn};

const USAGE: &str = "\
usage: servers [options] [CELL]...
  CELL              cells whose name contains one of these; all without
  --servers A,B     servers whose name is one of these; `bare` runs in any case
  --rounds N        rounds to time (15)
  --ms N            how long each server is timed per round, in milliseconds (200)
  --cpus S,G        the CPUs for the servers and for the load (the first two that are allowed)
  --tautline PATH   this program instead of building tautline's example `echo`
  --json            JSON lines instead of tables
  --strict          exit with 1 where tautline is over a bar
  --strace          count each server's system calls instead of its time
  --verify          a tiny load on every server, checked and not timed; what CI runs
  --list            name the cells and their bars";

pub struct Options {
    cells: Vec<String>,
    servers: Vec<String>,
    rounds: usize,
    turn: Duration,
    cpus: Option<(usize, usize)>,
    tautline: Option<String>,
    json: bool,
    strict: bool,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Time,
    Strace,
    Verify,
    List,
    Help,
}

/// What one timed load came to.
#[derive(Clone, Copy, Default)]
pub struct Load {
    /// Messages echoed, deliveries, or handshakes.
    pub operations: u64,
    pub cpu_ns: u64,
    /// How often a thread of the server went to sleep.
    pub sleeps: u64,
    /// Operations before those, to warm up.
    pub unmeasured: u64,
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
    let mut options = Options {
        cells: Vec::new(),
        servers: Vec::new(),
        rounds: 15,
        turn: Duration::from_millis(200),
        cpus: None,
        tautline: None,
        json: false,
        strict: false,
        mode: Mode::Time,
    };
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{option} needs a value"));
        let number = |text: &str| text.parse::<usize>().map_err(|_| format!("not a number: {text}"));
        match option.as_str() {
            "--servers" => options.servers = value()?.split(',').map(str::to_owned).collect(),
            "--rounds" => options.rounds = number(&value()?)?.max(1),
            "--ms" => options.turn = Duration::from_millis(number(&value()?)?.max(1) as u64),
            "--cpus" => {
                let value = value()?;
                let (server, load) = value.split_once(',').ok_or("--cpus needs two numbers")?;
                options.cpus = Some((number(server)?, number(load)?));
            }
            "--tautline" => options.tautline = Some(value()?),
            "--json" => options.json = true,
            "--strict" => options.strict = true,
            "--strace" => options.mode = Mode::Strace,
            "--verify" => options.mode = Mode::Verify,
            "--list" => options.mode = Mode::List,
            "--help" | "-h" => options.mode = Mode::Help,
            _ if option.starts_with('-') => return Err(format!("unknown option {option}\n{USAGE}")),
            _ => options.cells.push(option),
        }
    }
    Ok(options)
}

fn run(options: Options) -> Result<ExitCode, String> {
    let mut cells = if options.mode == Mode::Verify { cells::tiny() } else { cells::all() };
    cells.retain(|cell| options.cells.is_empty() || options.cells.iter().any(|part| cell.name.contains(part)));
    match options.mode {
        Mode::Help => {
            println!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
        Mode::List => {
            cells.iter().for_each(|cell| println!("{:<20} at most {:.2} x bare", cell.name, cell.bar));
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let mut contestants = contestants::build(options.tautline.as_deref())?;
    contestants.retain(|contestant| {
        options.servers.is_empty()
            || contestant.name == contestants::FLOOR
            || options.servers.iter().any(|name| name == contestant.name)
    });
    process::raise_file_limit()?;
    let cpus = Cpus::pick(options.cpus)?;
    match options.mode {
        Mode::Verify => verify(&cells, &contestants, &cpus).map(|()| ExitCode::SUCCESS),
        Mode::Strace => strace(&cells, &contestants, &cpus, options.turn).map(|()| ExitCode::SUCCESS),
        _ => {
            let mut report = Report::default();
            for cell in &cells {
                eprintln!("{}", cell.name);
                report.add(time(cell, &contestants, &cpus, &options)?);
            }
            print!("{}", if options.json { report.json() } else { report.markdown() });
            Ok(if options.strict && report.misses() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
    }
}

/// Round by round, each server in turn and in another order, each time as a new process: where the memory of one happens
/// to lie is part of what the rounds average over.
fn time(cell: &Cell, contestants: &[Contestant], cpus: &Cpus, options: &Options) -> Result<Outcome, String> {
    let mut outcome = Outcome::new(cell, contestants.iter().filter(|one| one.takes(cell.work)).map(|one| one.name));
    let mut order: Vec<&Contestant> = contestants.iter().filter(|one| one.takes(cell.work)).collect();
    let mut random = wire::Random::new(1);
    for _ in 0..options.rounds {
        random.shuffle(&mut order);
        for contestant in &order {
            let mut load = Load::default();
            with_server(cell.work, contestant, cpus, &mut |server, timed| {
                load = timed(server, options.turn)?;
                Ok(())
            })
            .map_err(|error| format!("{} in {}: {error}", contestant.name, cell.name))?;
            outcome.add(contestant.name, Turn::new(load, cell.work));
        }
    }
    Ok(outcome)
}

fn verify(cells: &[Cell], contestants: &[Contestant], cpus: &Cpus) -> Result<(), String> {
    let mut faults = Vec::new();
    let mut checked = 0;
    for cell in cells {
        for contestant in contestants.iter().filter(|one| one.takes(cell.work)) {
            checked += 1;
            let outcome = with_server(cell.work, contestant, cpus, &mut |server, timed| {
                let load = timed(server, Duration::from_millis(20))?;
                if load.operations == 0 || load.cpu_ns == 0 {
                    Err(format!("nothing done: {}", load.operations))
                } else {
                    Ok(())
                }
            });
            if let Err(error) = outcome {
                faults.push(format!("{} in {}: {error}", contestant.name, cell.name));
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
    println!("{checked} times a server did its work, in {} cells", cells.len());
    Ok(())
}

fn strace(cells: &[Cell], contestants: &[Contestant], cpus: &Cpus, turn: Duration) -> Result<(), String> {
    for cell in cells {
        for contestant in contestants.iter().filter(|one| one.takes(cell.work)) {
            with_server(cell.work, contestant, cpus, &mut |server, timed| {
                let tracer = strace::Tracer::attach(server)?;
                let load = timed(server, turn)?;
                println!("{}", tracer.finish(load.unmeasured + load.operations)?.markdown(contestant.name, &cell.name));
                Ok(())
            })
            .map_err(|error| format!("{} in {}: {error}", contestant.name, cell.name))?;
        }
    }
    Ok(())
}

/// Applies the load for about so long. What came back is counted to the byte.
type Timed<'t> = dyn FnMut(&Server, Duration) -> Result<Load, String> + 't;

/// Starts the server, connects and checks what it answers, byte by byte, then hands it over.
fn with_server(
    work: Work,
    contestant: &Contestant,
    cpus: &Cpus,
    then: &mut dyn FnMut(&Server, &mut Timed) -> Result<(), String>,
) -> Result<(), String> {
    let server = Server::start(contestant.command(work), cpus)?;
    let dialect = contestant.dialect;
    match work {
        Work::Echo(shape) => {
            let mut load = echo::Lines::connect(&server, shape, dialect)?;
            load.verify()?;
            then(&server, &mut |server, turn| load.run(server, turn))
        }
        Work::FanOut(shape) => {
            let mut load = fanout::Subscribers::connect(&server, shape)?;
            load.verify()?;
            then(&server, &mut |server, turn| load.run(server, turn))?;
            load.verify()
        }
        Work::Handshakes => {
            let mut load = handshakes::Clients::new(&server)?;
            then(&server, &mut |server, turn| load.run(server, turn))
        }
    }
}
