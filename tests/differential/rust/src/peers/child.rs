//! An implementation in another language: a process that reads a case per line and writes an outcome per line.

use crate::case::{Case, Outcome};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

pub struct Child {
    process: std::process::Child,
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Child {
    /// Starts `command` (a program and its arguments).
    pub fn start(command: &[String]) -> Result<Self, String> {
        let [program, arguments @ ..] = command else { return Err("no program".into()) };
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{program}: {e}"))?;
        let to = BufWriter::new(process.stdin.take().expect("piped"));
        let from = BufReader::new(process.stdout.take().expect("piped"));
        Ok(Self { process, to, from })
    }

    /// What it makes of one case.
    pub fn read(&mut self, case: &Case) -> Result<Outcome, String> {
        let [outcome] = self.read_all(std::slice::from_ref(case))?.try_into().map_err(|_| "not one outcome")?;
        Ok(outcome)
    }

    /// What it makes of each of `cases`, in order.
    pub fn read_all(&mut self, cases: &[Case]) -> Result<Vec<Outcome>, String> {
        let Self { to, from, .. } = self;
        thread::scope(|scope| {
            let writer = scope.spawn(move || {
                for case in cases {
                    writeln!(to, "{}", case.line())?;
                }
                to.flush()
            });
            let mut outcomes = Vec::with_capacity(cases.len());
            let mut line = String::new();
            for case in cases {
                line.clear();
                let n = from.read_line(&mut line).map_err(|e| e.to_string())?;
                if n == 0 {
                    return Err(format!("it ended at {}", case.line()));
                }
                outcomes.push(Outcome::parse(line.trim_end())?);
            }
            writer.join().map_err(|_| "the writer panicked")?.map_err(|e| e.to_string())?;
            Ok(outcomes)
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
