//! The same generated streams of bytes to tautline and to other implementations; every disagreement explained, or the run fails.

mod case;
mod compare;
mod deviations;
mod generate;
mod inflate;
mod model;
mod peers;
mod random;
mod table;

use compare::Run;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut run = Run { seed: 1, streams: 30_000, ..Run::default() };
    let (mut drivers, mut work) = (".".to_owned(), ".".to_owned());
    let mut job = Job::Compare;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        let taken = match argument.as_str() {
            "--seed" => value().and_then(|v| v.parse().map(|n| run.seed = n).map_err(|e| format!("{v}: {e}"))),
            "--streams" => value().and_then(|v| v.parse().map(|n| run.streams = n).map_err(|e| format!("{v}: {e}"))),
            "--drivers" => value().map(|v| drivers = v),
            "--work" => value().map(|v| work = v),
            "--table" => {
                job = Job::Table;
                Ok(())
            }
            "--expected" => {
                job = Job::Expected;
                Ok(())
            }
            _ => Err(format!("{argument} is not known")),
        };
        if let Err(error) = taken {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    }
    let python = |driver: &str| vec![format!("{work}/python/bin/python"), format!("{drivers}/{driver}")];
    run.wsproto = python("wsproto_peer.py");
    run.websockets = python("websockets_peer.py");
    run.ws = vec!["node".into(), format!("{drivers}/ws_peer.cjs"), format!("{work}/node")];
    let done = match job {
        Job::Compare => expected_is_written(&drivers).and_then(|()| run.all()),
        Job::Table => table::print(&run),
        Job::Expected => {
            print!("{}", deviations::expected());
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What to do.
enum Job {
    Compare,
    Table,
    Expected,
}

/// `EXPECTED.md` says what the run goes by.
fn expected_is_written(folder: &str) -> Result<(), String> {
    let path = format!("{folder}/EXPECTED.md");
    let written = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    if written == deviations::expected() { Ok(()) } else { Err(format!("{path} is not what `run --expected` prints")) }
}
