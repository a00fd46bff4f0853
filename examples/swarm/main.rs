//! A load generator on the library's own client side: holds connections, measures echoes and fan-out.
//!
//! ```text
//! cargo run --release --example echo -- --port 9001 --workers 1 --mode echo
//! cargo run --release --example swarm -- hold ws://127.0.0.1:9001/ --connections 19000 --pid $(pgrep -n echo)
//! cargo run --release --example swarm -- echo ws://127.0.0.1:9001/ --connections 64 --in-flight 32 --size 20
//! cargo run --release --example swarm -- --help
//! ```
//!
//! Subscribers of a hub (docs/PROTOCOL.md), which is started where no URL is given:
//!
//! ```text
//! cargo run --release --example swarm -- park --connections 19000
//! cargo run --release --example swarm -- fanout --hub --connections 10000
//! cargo run --release --example swarm -- latency
//! ```
//!
//! With `--servers N` it starts the servers by itself: `swarm hold --servers 6 --connections 100000`.
//!
//! # How it is made
//!
//! The process that is started leads; it opens no connection of a load. For those it starts itself again as _members_ (`member`), each with
//! one event loop and a source address of its own, tells each its job in a line of JSON, and gathers their counts from lines of JSON. In a
//! member a connection costs what the loop's slab slot costs and nothing else. Servers are started by one more process (`servers`), which
//! ends them when it is ended, however that happens.

#![forbid(unsafe_code)]

mod delivery;
mod echo;
mod fanout;
mod fleet;
mod hold;
mod hub;
mod latency;
mod member;
mod mix;
mod options;
mod park;
mod plot;
mod process;
mod progress;
mod publisher;
mod report;
mod servers;

use options::{Options, Usage};
use std::process::ExitCode;

/// Anything that ends a run, to be told to whoever started it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What came of a run that could be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing failed.
    Whole,
    /// Connections failed or were lost, or messages did not come back.
    Short,
}

fn main() -> ExitCode {
    // The other roles of this program: not for users, hence no options.
    match std::env::args().nth(1).as_deref() {
        Some(member::ROLE) => return told(member::run()),
        Some(servers::ROLE) => return told(servers::run()),
        Some(hub::ROLE) => return told(hub::run()),
        _ => {}
    }
    let verdict = Options::parse().and_then(|usage| match usage {
        Usage::Help(text) => {
            print!("{text}");
            Ok(Verdict::Whole)
        }
        Usage::Run(options) => run(&options),
    });
    match verdict {
        Ok(Verdict::Whole) => ExitCode::SUCCESS,
        Ok(Verdict::Short) => ExitCode::from(2),
        Err(error) => told(Err(error)),
    }
}

fn run(options: &Options) -> Result<Verdict, Failure> {
    match options.command {
        options::Command::Hold => hold::run(options),
        options::Command::Echo => echo::run(options),
        options::Command::Fanout => fanout::run(options),
        options::Command::Mix => mix::run(options),
        options::Command::Park => park::run(options),
        options::Command::Latency => delivery::run(options),
    }
}

fn told(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("swarm: {error}");
            ExitCode::FAILURE
        }
    }
}
