//! `swarm park`: many polls that wait, answered all at once and parked again.

use crate::fleet::{Counts, Fleet, Patience, Waited};
use crate::hold::{no_connection, open};
use crate::member::{Transport, stamp_text, unix_clock};
use crate::options::Options;
use crate::process::{Memory, rest};
use crate::publisher::Publisher;
use crate::report::{Report, bytes, number, three};
use crate::servers::Servers;
use crate::{Failure, Verdict};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The first ones bring the buffers that all share.
const WARM: u64 = 500;

pub(crate) fn run(options: &Options) -> Result<Verdict, Failure> {
    let (servers, targets) = Servers::of(options)?;
    let pids = &servers.pids().to_vec()[..];
    if pids.is_empty() {
        return Err("whose memory? --pid, or no URL: then a hub is started".into());
    }
    let mut publisher = Publisher::of_hub(&targets[0], options)?;
    let mut fleet = Fleet::subscribed(options, &targets, &[Transport::Poll])?;
    let total = options.connections;
    let warm = options.warm.unwrap_or(WARM.min(total / 10)).min(total);
    open(&mut fleet, warm, "warming")?;
    rest(pids)?;
    let warmed = Memory::of(pids)?;
    let waited = open(&mut fleet, total, "parking")?;
    let parked = fleet.counts().parked;
    if fleet.counts().opened == 0 || waited == Waited::Interrupted {
        return Err(no_connection(&fleet.end(servers.after())?, &targets[0]));
    }
    fleet.tell(&json!({"do": "hold_back"}))?;
    let per_poll = |memory: Memory| (memory.rss as f64 - warmed.rss as f64) / parked.saturating_sub(warm).max(1) as f64;

    let (clock, unix) = unix_clock();
    let mut rounds: Vec<Round> = Vec::new();
    for at in 0..options.rounds {
        rest(pids)?;
        let memory = Memory::of(pids)?;
        let mut round = Round { memory, each: per_poll(memory), after: memory, answered: 0, took: Duration::ZERO };
        let before = fleet.counts().received;
        let began = Instant::now();
        publisher.publish_event(&stamp_text(unix + clock.now().as_nanos()), options.size)?;
        let all = |counts: &Counts| counts.received >= before + parked || counts.open == 0;
        fleet.wait(Patience::WhileMoving(Duration::from_secs(10)), all, |_| {})?;
        round.answered = fleet.counts().received - before;
        round.took = began.elapsed();
        rest(pids)?;
        round.after = Memory::of(pids)?;
        rounds.push(round);
        if at + 1 < options.rounds {
            fleet.tell(&json!({"do": "poll"}))?;
            let all = |counts: &Counts| counts.parked >= parked || counts.open == 0;
            fleet.wait(Patience::WhileMoving(Duration::from_secs(10)), all, |_| {})?;
        }
    }
    let ends = fleet.end(servers.after())?;
    drop(servers);

    let whose = if options.sessions { "of a session each" } else { "without sessions" };
    let mut report = Report::new(format!("{} polls parked, {whose}", number(parked)));
    report.count("parked", "parked", parked);
    report.count("failed", "failed", ends.counts.failed);
    report.count("lost", "lost", ends.counts.lost);
    for (cause, count) in ends.reasons() {
        report.note(&format!("  {cause}"), number(count));
    }
    report.field("causes", json!(ends.causes));
    report.field("sessions", options.sessions);
    report.count("warm", "polls when warm", warm);
    report.memory("memory_warm", "memory when warm", warmed);
    let worst = rounds.iter().map(|round| round.each).fold(f64::MIN, f64::max);
    for (at, round) in rounds.iter().enumerate() {
        report.note(
            &format!("round {}", at + 1),
            format!(
                "{} resident bytes each, {} in all; {} answered in {} s, then {}",
                three(round.each),
                bytes(round.memory.rss),
                number(round.answered),
                three(round.took.as_secs_f64()),
                bytes(round.after.rss)
            ),
        );
    }
    let of_rounds: Value = rounds
        .iter()
        .map(|round| {
            json!({
                "bytes_per_poll": round.each,
                "rss": round.memory.rss,
                "anon": round.memory.anon,
                "rss_answered": round.after.rss,
                "answered": round.answered,
                "answered_s": round.took.as_secs_f64(),
            })
        })
        .collect();
    report.field("rounds", of_rounds);
    let missing: u64 = rounds.iter().map(|round| parked.saturating_sub(round.answered)).sum();
    report.count("missing", "answers missing", missing);
    report.count("gaps", "gaps", ends.sum("gaps"));
    let first = rounds.first().map_or(0.0, |round| round.each);
    report.row("bytes_per_poll", "bytes for each, first parked", three(first), first);
    report.row("bytes_per_poll_worst", "  at most, over the rounds", three(worst), worst);
    report.print(options)?;
    if let Some(limit) = options.limit.filter(|limit| worst > *limit) {
        return Err(format!("a parked poll takes {} bytes, more than {}", three(worst), three(limit)).into());
    }
    let is_short = ends.counts.failed + ends.counts.lost + missing + ends.sum("gaps") > 0 || parked < total;
    Ok(if is_short { Verdict::Short } else { Verdict::Whole })
}

/// Polls that were parked, and then answered.
struct Round {
    /// While all were parked.
    memory: Memory,
    /// Resident bytes of each beyond the warm ones.
    each: f64,
    /// When all were answered and none had come again.
    after: Memory,
    answered: u64,
    took: Duration,
}
