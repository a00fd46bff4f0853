//! What the kernel knows of a process: memory, processor time, files.

use crate::Failure;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// All of it: `VmRSS` of `/proc/PID/status`.
    pub(crate) rss: u64,
    /// What is no file's: `RssAnon`. Heap and stacks.
    pub(crate) anon: u64,
}

impl Memory {
    /// Of all `pids` together.
    ///
    /// Taken from `/proc/PID/smaps_rollup` where that may be read: it counts pages, while the counters behind `status` lag by up to 64 pages
    /// for each thread or processor.
    pub(crate) fn of(pids: &[u32]) -> Result<Self, Failure> {
        let mut sum = Self::default();
        for pid in pids {
            let one = of_rollup(*pid).map_or_else(|| of_status(*pid), Ok)?;
            sum.rss += one.rss;
            sum.anon += one.anon;
        }
        Ok(sum)
    }
}

/// The most memory that `pids` ever had resident, together: the kernel's `VmHWM`.
pub(crate) fn peak(pids: &[u32]) -> Option<u64> {
    pids.iter().map(|pid| kilobytes(&read(*pid, "status").ok()?, "VmHWM:")).sum()
}

fn of_rollup(pid: u32) -> Option<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some(Memory { rss: kilobytes(&text, "Rss:")?, anon: kilobytes(&text, "Anonymous:")? })
}

fn of_status(pid: u32) -> Result<Memory, Failure> {
    let text = read(pid, "status")?;
    let field = |name| kilobytes(&text, name).ok_or_else(|| format!("/proc/{pid}/status has no {name}"));
    Ok(Memory { rss: field("VmRSS:")?, anon: field("RssAnon:")? })
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Processor time at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    taken: Instant,
    used: Duration,
}

impl Cpu {
    /// Of all `pids` together, user and system.
    pub(crate) fn of(pids: &[u32]) -> Result<Self, Failure> {
        let mut used = Duration::ZERO;
        for pid in pids {
            used += of_scheduler(*pid).map_or_else(|| of_ticks(*pid), Ok)?;
        }
        Ok(Self { taken: Instant::now(), used })
    }

    /// Processor seconds since `before`.
    pub(crate) fn seconds_since(&self, before: &Self) -> f64 {
        self.used.saturating_sub(before.used).as_secs_f64()
    }

    /// Seconds on the clock since `before`.
    pub(crate) fn wall_since(&self, before: &Self) -> f64 {
        self.taken.duration_since(before.taken).as_secs_f64()
    }

    /// Processor seconds per second since `before`: 1 is a whole core.
    pub(crate) fn share_since(&self, before: &Self) -> f64 {
        self.seconds_since(before) / self.wall_since(before).max(1e-9)
    }
}

/// In nanoseconds, as the scheduler counts: the sum over the process's threads. Those that ended are missing, so it is no use for processes
/// that start a thread for each task.
fn of_scheduler(pid: u32) -> Option<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanos += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

/// In hundredths of a second.
fn of_ticks(pid: u32) -> Result<Duration, Failure> {
    let text = read(pid, "stat")?;
    // The name in parentheses may hold anything; user and system time are the 14th and 15th fields (proc_pid_stat(5)).
    let mut fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    let mut tick = || fields.next().and_then(|field| field.parse::<u64>().ok());
    let ticks = tick().zip(tick()).map(|(user, system)| user + system);
    Ok(Duration::from_millis(10 * ticks.ok_or_else(|| format!("/proc/{pid}/stat is not as expected"))?))
}

/// Waits until processes have nothing to do but their timers: the processor time that they take is next to none for some time.
pub(crate) fn rest(pids: &[u32]) -> Result<(), Failure> {
    let began = Instant::now();
    let (mut last, mut quiet) = (Cpu::of(pids)?, 0);
    while quiet < QUIET && began.elapsed() < RESTLESS {
        thread::sleep(LOOK);
        let now = Cpu::of(pids)?;
        quiet = if now.used.saturating_sub(last.used) < LOOK / 50 { quiet + 1 } else { 0 };
        last = now;
    }
    Ok(())
}

/// Looks in a row that show nothing.
const QUIET: u32 = 4;

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(15);

/// What does not rest for so long will not.
const RESTLESS: Duration = Duration::from_secs(5);

/// Memory and processor time at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) memory: Memory,
    pub(crate) cpu: Cpu,
}

impl Sample {
    /// Of all `pids` together.
    pub(crate) fn of(pids: &[u32]) -> Result<Self, Failure> {
        Ok(Self { memory: Memory::of(pids)?, cpu: Cpu::of(pids)? })
    }
}

/// How many files a process may have open.
pub(crate) fn file_limit(pid: &str) -> Result<u64, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).ok_or("/proc/PID/limits is not as expected")?;
    Ok(soft.parse().unwrap_or(u64::MAX))
}

fn read(pid: u32, file: &str) -> Result<String, Failure> {
    fs::read_to_string(format!("/proc/{pid}/{file}"))
        .map_err(|error| format!("cannot read /proc/{pid}/{file}: {error}. Is {pid} the server's process id?").into())
}
