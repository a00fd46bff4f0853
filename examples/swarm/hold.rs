//! `swarm hold`: many connections, idle but for their heartbeats.

use crate::fleet::{Counts, Ends, Fleet, Patience, Target, Waited};
use crate::latency::Latency;
use crate::options::Options;
use crate::process::{self, Cpu, Memory, Sample};
use crate::progress::Progress;
use crate::report::{Report, number, three};
use crate::servers::Servers;
use crate::{Failure, Verdict};
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};

/// After connections were opened, so long until memory is read: buffers of handshakes are freed by then.
const SETTLE: Duration = Duration::from_millis(500);

pub(crate) fn run(options: &Options) -> Result<Verdict, Failure> {
    let (servers, targets) = Servers::of(options)?;
    let pids = &servers.pids().to_vec()[..];
    check_files(options, pids)?;
    let before = Memory::of(pids)?;
    let peak = process::peak(pids);
    let mut fleet = Fleet::start(options, &targets)?;
    let total = options.connections;
    let warm = options.warm.unwrap_or_else(|| (total / 10).min(100 * targets.len().max(pids.len()) as u64)).min(total);

    let began = Instant::now();
    let mut waited = open(&mut fleet, warm, "warming")?;
    let warming = began.elapsed();
    if waited == Waited::Done && warm > 0 {
        thread::sleep(SETTLE);
    }
    let warmed = Memory::of(pids)?;
    let began = Instant::now();
    if waited == Waited::Done {
        waited = open(&mut fleet, total, "opening")?;
    }
    let opening = warming + began.elapsed();
    if fleet.counts().opened == 0 {
        let ends = fleet.end(servers.after())?;
        return Err(no_connection(&ends, &targets[0]));
    }
    if waited != Waited::Interrupted {
        thread::sleep(SETTLE);
    }
    let full = Memory::of(pids).ok();

    // Once there are connections, a server that ends is a result like any other.
    let (cpu, own) = (Cpu::of(pids).ok(), fleet.cpu()?);
    let held = Instant::now();
    if waited != Waited::Interrupted {
        waited = hold(&mut fleet, options.duration)?;
    }
    let (last, own_after) = (Sample::of(pids).ok(), fleet.cpu()?);
    let own_memory = Memory::of(&fleet.pids())?;
    let held = held.elapsed();
    let ends = fleet.end(servers.after())?;
    // Servers that are ours end first, so that what stays in TIME_WAIT is their ports and not the clients'.
    drop(servers);

    let Counts { opened, open, failed, lost, pings, pongs, .. } = ends.counts;
    let kind = if options.url.scheme().is_websocket() { "WebSockets" } else { "event streams" };
    let title = format!("{} {kind} held for {} s", number(opened), three(held.as_secs_f64()));
    let mut report = Report::new(title);
    report.count("asked", "connections asked for", total);
    report.count("opened", "opened", opened);
    report.count("failed", "failed to open", failed);
    report.count("lost", "lost", lost);
    report.count("open", "open at the end", open);
    for (cause, count) in ends.reasons() {
        report.note(&format!("  {cause}"), number(count));
    }
    report.field("causes", json!(ends.causes));
    if waited == Waited::Interrupted {
        report.note("interrupted", "the figures are of what was done by then".into());
    }
    report.field("interrupted", waited == Waited::Interrupted);
    report.row(
        "opening_s",
        "time to open them all",
        format!("{} s", three(opening.as_secs_f64())),
        opening.as_secs_f64(),
    );
    report.row("held_s", "held", format!("{} s", three(held.as_secs_f64())), held.as_secs_f64());
    report.count("pings_answered", "server's pings answered", pings);
    if options.heartbeat.is_some() {
        report.count("pongs", "own pings answered", pongs);
    }
    report.count("processes", "client processes", fleet.len());
    report.share("client_cpu_share", "client processor, idle", own_after.share_since(&own));
    report.memory("client_memory", "client memory", own_memory);
    match (cpu, full, last) {
        (Some(cpu), Some(full), Some(Sample { memory: after, cpu: cpu_after })) if !pids.is_empty() => {
            report.count("servers", "server processes", pids.len() as u64);
            report.share("server_cpu_share", "server processor, idle", cpu_after.share_since(&cpu));
            report.memory("memory_before", "memory before the first", before);
            report.memory("memory_warm", "memory when warm", warmed);
            report.memory("memory_full", "memory with all open", full);
            report.memory("memory_after", "memory at the end", after);
            report.count("warm", "connections when warm", warm);
            per_connection(&mut report, "bytes_per_connection", "bytes per connection", open, before, after);
            if warm < open && warm > 0 {
                let beyond = open - warm;
                let label = "  beyond the warm ones";
                per_connection(&mut report, "bytes_per_connection_beyond_warm", label, beyond, warmed, after);
            }
            let sign = sign_of_use(peak, [(0, before), (warm.min(open), warmed), (open, full)]);
            if let Some(sign) = sign {
                report.note("  too low", format!("this server is not fresh: {sign}."));
                report.note("", "It fills memory again that it had; measure a fresh one (--servers 1)".into());
            }
            report.field("server_not_fresh", sign);
        }
        _ if pids.is_empty() => report.note("server", "its memory and processor time with --pid".into()),
        _ => report.note("server", "ended meanwhile".into()),
    }
    let mut latency = Latency::new();
    ends.said.iter().for_each(|said| latency.add_json(&said["opening"]));
    report.latency("opening", "time to open one", &latency);
    let mut round_trips = Latency::new();
    ends.said.iter().for_each(|said| round_trips.add_json(&said["round_trips"]));
    if round_trips.count() > 0 {
        report.latency("round_trips", "round trip of own pings", &round_trips);
    }
    report.print(options)?;
    Ok(if failed + lost > 0 || opened < total || waited == Waited::Interrupted {
        Verdict::Short
    } else {
        Verdict::Whole
    })
}

/// A sign that a server held connections before, if there is one: its slots and its heap are there already, and what it fills again is not
/// seen to grow. `stages` are connections, and memory with them: none, the warm ones, all.
fn sign_of_use(peak: Option<u64>, stages: [(u64, Memory); 3]) -> Option<&'static str> {
    let [(_, before), ..] = stages;
    if peak.is_some_and(|peak| peak > before.rss + PEAK.max(before.rss / 10)) {
        return Some("it once took more memory than before this run");
    }
    let growth = |(from, to): ((u64, Memory), (u64, Memory))| {
        let connections = to.0.saturating_sub(from.0);
        (connections >= TELLING).then(|| (to.1.anon as f64 - from.1.anon as f64) / connections as f64)
    };
    let [first, rest, all] = [(stages[0], stages[1]), (stages[1], stages[2]), (stages[0], stages[2])].map(growth);
    if all.is_some_and(|each| each < LEAST) {
        return Some("its memory hardly grew, so slots of earlier connections are used again");
    }
    // The first ones bring the buffers that all share: they should cost more than the others, and not less.
    if first.zip(rest).is_some_and(|(first, rest)| first < rest / 2.0) {
        return Some("the first connections took less than the later ones, so slots of earlier ones are used again");
    }
    None
}

/// A server that starts frees less than this of what it took.
const PEAK: u64 = 1 << 20;

/// Of fewer connections than this nothing can be told: memory grows by pages of 4 KiB.
const TELLING: u64 = 100;

/// No server keeps a connection in fewer bytes.
const LEAST: f64 = 64.0;

fn per_connection(report: &mut Report, key: &str, label: &str, connections: u64, from: Memory, to: Memory) {
    let per = |from: u64, to: u64| (to as f64 - from as f64) / connections.max(1) as f64;
    let (rss, anon) = (per(from.rss, to.rss), per(from.anon, to.anon));
    report.row(key, label, format!("{rss:.1} resident, {anon:.1} anonymous"), json!({"rss": rss, "anon": anon}));
}

/// Opens connections until there are `total`. Those of other commands need them, too.
pub(crate) fn open(fleet: &mut Fleet, total: u64, what: &'static str) -> Result<Waited, Failure> {
    fleet.open(total)?;
    let mut progress = Progress::new(what, total);
    let message = |counts: &Counts| {
        let mut message = format!("{} open", number(counts.open));
        for (count, what) in [(counts.failed, "failed"), (counts.lost, "lost")] {
            if count > 0 {
                message += &format!(", {} {what}", number(count));
            }
        }
        message
    };
    let waited = fleet.wait(
        Patience::STAGE,
        |counts| counts.opened + counts.failed >= total,
        |counts| progress.at(counts.opened + counts.failed, &message(counts)),
    )?;
    let counts = fleet.counts();
    progress.done(counts.opened + counts.failed, &message(&counts));
    Ok(waited)
}

/// Why there is not one connection.
pub(crate) fn no_connection(ends: &Ends, target: &Target) -> Failure {
    let reasons: Vec<_> = ends.reasons().into_iter().map(|(cause, count)| format!("{cause} ({count} times)")).collect();
    format!("not one connection to {} could be opened: {}", target.address, reasons.join("; ")).into()
}

fn hold(fleet: &mut Fleet, duration: Duration) -> Result<Waited, Failure> {
    let seconds = duration.as_secs();
    let mut progress = Progress::new("holding", seconds);
    let began = Instant::now();
    let message = |counts: &Counts| {
        format!(
            "{} s: {} open, {} lost, {} pings answered",
            began.elapsed().as_secs(),
            number(counts.open),
            number(counts.lost),
            number(counts.pings)
        )
    };
    let waited = fleet.wait(
        Patience::For(duration),
        |counts| counts.open == 0,
        |counts| progress.at(began.elapsed().as_secs(), &message(counts)),
    )?;
    progress.done(began.elapsed().as_secs(), &message(&fleet.counts()));
    Ok(waited)
}

/// A server that has no files left accepts nobody; better to say so before.
fn check_files(options: &Options, pids: &[u32]) -> Result<(), Failure> {
    let Some(servers) = u64::try_from(pids.len()).ok().filter(|servers| *servers > 0) else { return Ok(()) };
    let each = options.connections.div_ceil(servers);
    for pid in pids {
        let limit = process::file_limit(&pid.to_string()).unwrap_or(u64::MAX);
        if each + 16 > limit {
            return Err(format!(
                "{} connections for each server process, but process {pid} may open {} files: raise its limit (`ulimit -n`) or use more servers",
                number(each),
                number(limit)
            )
            .into());
        }
    }
    Ok(())
}
