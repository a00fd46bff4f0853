//! How many system calls a server makes per operation, as `strace -c` counts them.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::Server;

const ATTACH: Duration = Duration::from_secs(10);

pub struct Tracer {
    strace: Child,
    server: u32,
}

pub struct Calls {
    operations: u64,
    /// Name and number, the most frequent first.
    calls: Vec<(String, u64)>,
}

impl Tracer {
    /// Returns when every thread of the server is traced.
    pub fn attach(server: &Server) -> Result<Self, String> {
        let id = server.id();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-p", &id.to_string()]);
        // The summary is all that it prints here besides "attached" and "detached".
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut tracer = Tracer { strace: strace.spawn().map_err(|error| format!("strace: {error}"))?, server: id };
        let deadline = Instant::now() + ATTACH;
        while !is_traced(tracer.server) {
            if matches!(tracer.strace.try_wait(), Ok(Some(_))) || Instant::now() > deadline {
                return Err("strace does not attach".to_owned());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(tracer)
    }

    pub fn finish(self, operations: u64) -> Result<Calls, String> {
        // SAFETY: no pointers; the process is a child that has not been waited for.
        unsafe { libc::kill(self.strace.id() as libc::pid_t, libc::SIGINT) };
        let output = self.strace.wait_with_output().map_err(|error| format!("strace: {error}"))?;
        let summary = String::from_utf8_lossy(&output.stderr);
        let calls: Vec<_> = summary.lines().filter_map(call).collect();
        if calls.is_empty() {
            return Err(format!("strace counted nothing: {summary}"));
        }
        Ok(Calls { operations, calls })
    }
}

impl Calls {
    pub fn markdown(&self, server: &str, cell: &str) -> String {
        let mut text = format!(
            "**{server}, {cell}: {} operations**\n\n| call | calls | per operation |\n|---|---|---|\n",
            self.operations
        );
        for (name, number) in &self.calls {
            text.push_str(&format!("| {name} | {number} | {:.4} |\n", *number as f64 / self.operations as f64));
        }
        text
    }
}

/// A line of the summary: `% time, seconds, usecs/call, calls, [errors,] syscall`.
fn call(line: &str) -> Option<(String, u64)> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let ([share, _, _, calls, name] | [share, _, _, calls, _, name]) = columns[..] else { return None };
    share.parse::<f64>().ok()?;
    Some((name.to_owned(), calls.parse().ok()?)).filter(|(name, _)| name != "total")
}

fn is_traced(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return false };
    let traced = |thread: std::io::Result<fs::DirEntry>| -> Option<bool> {
        let status = fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
        Some(tracer.trim() != "0")
    };
    threads.map(traced).all(|traced| traced == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_with_and_without_errors() {
        assert_eq!(call(" 51.20    0.012   2   5000           sendto"), Some(("sendto".to_owned(), 5000)));
        assert_eq!(call(" 48.80    0.011   2   4000       12  recvfrom"), Some(("recvfrom".to_owned(), 4000)));
        assert_eq!(call("100.00    0.023   2   9000       12  total"), None);
        assert_eq!(call("------ ----------- ----------- --------- --------- ----------------"), None);
        assert_eq!(call("% time     seconds  usecs/call     calls    errors syscall"), None);
    }
}
