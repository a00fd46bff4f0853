//! Servers as black boxes: the CPU that tautline's example `echo` spends on a load, as a multiple of what a server without any
//! protocol spends on it. Linux only. See README.md.

mod cells;
mod contestants;
mod deflate;
mod echo;
mod fanout;
mod handshakes;
mod json;
mod process;
mod random;
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
  CELL              the cell of this name, or those whose name contains this; all without
  --servers A,B     servers whose name is one of these; what they are compared with runs in any case
  --rounds N        rounds to time (15)
  --ms N            how long each server is timed per round, in milliseconds (200)
  --cpus S,G        the CPUs for the servers and for the load (the first two that are allowed)
  --tautline PATH   this program instead of building tautline's example `echo`
  --uwebsockets DIR uWebSockets too, from this source (README.md says where to get it); needs a C++20 compiler
  --npm             npm's ws too, in the cells that compress; needs node and npm, and fetches it once
  --json            JSON lines instead of tables
  --strict          exit with 1 where tautline is over a bar
  --strace          count each server's system calls instead of its time
  --verify          a tiny load on every server, checked and not timed; what CI runs
  --list            name the cells and their bars";

/// So many connections of this process fit under the usual hard limit of 20,000 files.
const CONNECTED: usize = 19_000;

/// Of a round. Each is still long enough to fill the server's caches anew before it counts.
const SLICES: u32 = 10;

struct Options {
    cells: Vec<String>,
    servers: Vec<String>,
    rounds: usize,
    turn: Duration,
    cpus: Option<(usize, usize)>,
    tautline: Option<String>,
    uwebsockets: Option<String>,
    npm: bool,
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
    /// Bytes of the replies, where they are counted.
    pub replied: u64,
}

impl Load {
    fn add(&mut self, other: Load) {
        self.operations += other.operations;
        self.cpu_ns += other.cpu_ns;
        self.sleeps += other.sleeps;
        self.unmeasured += other.unmeasured;
        self.replied += other.replied;
    }
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
        uwebsockets: None,
        npm: false,
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
            "--uwebsockets" => options.uwebsockets = Some(value()?),
            "--npm" => options.npm = true,
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
    if !options.cells.is_empty() {
        let names: Vec<String> = cells.iter().map(|cell| cell.name.clone()).collect();
        let is_meant =
            |name: &str, part: &String| if names.contains(part) { name == part } else { name.contains(part) };
        cells.retain(|cell| options.cells.iter().any(|part| is_meant(&cell.name, part)));
    }
    match options.mode {
        Mode::Help => {
            println!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
        Mode::List => {
            for cell in &cells {
                match cell.work.reference() {
                    contestants::OURS => println!("{:<20} nobody does more than {:.2} x tautline", cell.name, cell.bar),
                    floor => println!("{:<20} at most {:.2} x {floor}", cell.name, cell.bar),
                }
            }
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let mut contestants = contestants::build(options.tautline.as_deref(), options.uwebsockets.as_deref(), options.npm)?;
    contestants.retain(|contestant| {
        options.servers.is_empty()
            || cells.iter().any(|cell| cell.work.reference() == contestant.name)
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

/// Round by round, each time as new processes: where the memory of one happens to lie is part of what the rounds average
/// over.
fn time(cell: &Cell, contestants: &[Contestant], cpus: &Cpus, options: &Options) -> Result<Outcome, String> {
    let mut order: Vec<&Contestant> = contestants.iter().filter(|one| one.takes(cell.work)).collect();
    let mut outcome = Outcome::new(cell, order.iter().map(|one| one.name));
    let mut random = random::Random::new(1);
    // A round is cut into slices and the servers take turns at those, so that what disturbs the machine for a while
    // disturbs all of them. Where they cannot all be connected at the same time, a slice is a round.
    let (groups, slices) = match cell.work.connections() * order.len() <= CONNECTED {
        true => (1, SLICES),
        false => (order.len(), 1),
    };
    for _ in 0..options.rounds {
        random.shuffle(&mut order);
        for group in order.chunks(order.len() / groups) {
            let open = |one: &&Contestant| Session::open(cell, one, cpus);
            let mut sessions = group.iter().map(open).collect::<Result<Vec<_>, _>>()?;
            let mut loads = vec![Load::default(); sessions.len()];
            let mut turns: Vec<usize> = (0..sessions.len()).collect();
            for _ in 0..slices {
                random.shuffle(&mut turns);
                for &at in &turns {
                    loads[at].add(sessions[at].run(options.turn / slices)?);
                }
            }
            for (session, load) in sessions.into_iter().zip(loads) {
                outcome.add(session.contestant, Turn::new(load, session.grown()?, cell.work));
                session.finish()?;
            }
        }
    }
    Ok(outcome)
}

fn verify(cells: &[Cell], contestants: &[Contestant], cpus: &Cpus) -> Result<(), String> {
    let mut faults = Vec::new();
    for contestant in contestants {
        let cells: Vec<&Cell> = cells.iter().filter(|cell| contestant.takes(cell.work)).collect();
        for cell in &cells {
            let load = Session::open(cell, contestant, cpus).and_then(|mut session| {
                let load = session.run(Duration::from_millis(20))?;
                session.finish().map(|()| load)
            });
            match load {
                Ok(Load { operations: 0, .. } | Load { cpu_ns: 0, .. }) => {
                    faults.push(format!("{} in {}: nothing was measured", contestant.name, cell.name));
                }
                Ok(_) => {}
                Err(fault) => faults.push(fault),
            }
        }
        println!("{}: {} cells", contestant.name, cells.len());
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

fn strace(cells: &[Cell], contestants: &[Contestant], cpus: &Cpus, turn: Duration) -> Result<(), String> {
    for cell in cells {
        for contestant in contestants.iter().filter(|one| one.takes(cell.work)) {
            let mut session = Session::open(cell, contestant, cpus)?;
            let tracer = strace::Tracer::attach(&session.server)?;
            let load = session.run(turn)?;
            println!("{}", tracer.finish(load.unmeasured + load.operations)?.markdown(contestant.name, &cell.name));
        }
    }
    Ok(())
}

/// A server and the load that is connected to it.
struct Session<'c> {
    cell: &'c Cell,
    contestant: &'static str,
    /// Dropped before the load's sockets are: it is spared their ends.
    server: Server,
    /// Its memory before anybody connected.
    memory: u64,
    load: Connected,
}

enum Connected {
    Echo(echo::Lines),
    Deflate(Box<deflate::Lines>),
    FanOut(fanout::Subscribers),
    Handshakes(handshakes::Clients),
}

impl<'c> Session<'c> {
    /// Starts the server, connects, and compares what it answers, byte by byte.
    fn open(cell: &'c Cell, contestant: &Contestant, cpus: &Cpus) -> Result<Self, String> {
        let open = || -> Result<(Server, u64, Connected), String> {
            let server = Server::start(contestant.command(cell.work), cpus)?;
            let memory = server.memory()?;
            let load = match cell.work {
                Work::Echo(shape) => {
                    let mut lines = echo::Lines::connect(&server, shape, contestant.dialect)?;
                    lines.verify()?;
                    Connected::Echo(lines)
                }
                Work::Deflate(shape) => {
                    let mut lines = deflate::Lines::connect(&server, shape)?;
                    lines.verify()?;
                    Connected::Deflate(Box::new(lines))
                }
                Work::FanOut(shape) => {
                    let mut subscribers = fanout::Subscribers::connect(&server, shape)?;
                    subscribers.verify()?;
                    Connected::FanOut(subscribers)
                }
                Work::Handshakes => Connected::Handshakes(handshakes::Clients::new(&server)),
            };
            Ok((server, memory, load))
        };
        let (server, memory, load) = open().map_err(|error| fault(cell, contestant.name, &error))?;
        Ok(Session { cell, contestant: contestant.name, server, memory, load })
    }

    /// Applies the load for about so long. What comes back is counted to the byte.
    fn run(&mut self, turn: Duration) -> Result<Load, String> {
        let load = match &mut self.load {
            Connected::Echo(lines) => lines.run(&self.server, turn),
            Connected::Deflate(lines) => lines.run(&self.server, turn),
            Connected::FanOut(subscribers) => subscribers.run(&self.server, turn),
            Connected::Handshakes(clients) => clients.run(&self.server, turn),
        };
        load.map_err(|error| fault(self.cell, self.contestant, &error))
    }

    /// Bytes by which its memory has grown since nobody was connected.
    fn grown(&self) -> Result<u64, String> {
        Ok(self.server.memory()?.saturating_sub(self.memory))
    }

    /// Compares every byte once more.
    fn finish(mut self) -> Result<(), String> {
        let verified = match &mut self.load {
            Connected::Echo(lines) => lines.verify(),
            Connected::Deflate(lines) => lines.verify(),
            Connected::FanOut(subscribers) => subscribers.verify(),
            Connected::Handshakes(_) => Ok(()),
        };
        verified.map_err(|error| fault(self.cell, self.contestant, &error))
    }
}

fn fault(cell: &Cell, server: &str, error: &str) -> String {
    format!("{server} in {}: {error}", cell.name)
}
