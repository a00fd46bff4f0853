//! `swarm echo`: messages that come back.

use crate::fleet::{Counts, Fleet, Patience, Waited};
use crate::hold::{no_connection, open};
use crate::latency::Latency;
use crate::options::Options;
use crate::process::{Cpu, Sample};
use crate::progress::Progress;
use crate::report::{Report, bytes, number, three};
use crate::servers::Servers;
use crate::{Failure, Verdict};
use serde_json::json;
use std::time::{Duration, Instant};

/// The last messages may come back as long as any do, within so long of each other.
const GRACE: Patience = Patience::WhileMoving(Duration::from_secs(5));

pub(crate) fn run(options: &Options) -> Result<Verdict, Failure> {
    let (servers, targets) = Servers::of(options)?;
    let pids = &servers.pids().to_vec()[..];
    let mut fleet = Fleet::start(options, &targets)?;
    open(&mut fleet, options.connections, "opening")?;
    if fleet.counts().opened == 0 {
        return Err(no_connection(&fleet.end(servers.after())?, &targets[0]));
    }

    let duration = options.window();
    let warmup = duration.map_or(Duration::ZERO, |_| options.warmup);
    fleet.tell(&json!({
        "do": "go",
        "warmup_ms": warmup.as_millis() as u64,
        "duration_ms": duration.map(|duration| duration.as_millis() as u64),
    }))?;
    let mut waited = Waited::Timeout;
    if !warmup.is_zero() {
        waited = fleet.wait(Patience::For(warmup), |counts| counts.open == 0, |_| {})?;
    }
    let (cpu, own) = (Cpu::of(pids).ok(), fleet.cpu()?);
    let began = Instant::now();
    if waited != Waited::Interrupted {
        waited = measure(&mut fleet, options)?;
    }
    let passed = began.elapsed();
    let (last, own_after) = (Sample::of(pids).ok(), fleet.cpu()?);
    // Whatever was left to send, nobody is there to send it.
    let deserted = fleet.counts().open == 0;
    if duration.is_some() && !deserted && waited != Waited::Interrupted {
        let members = fleet.len();
        fleet.wait(GRACE, |counts| counts.done == members || counts.open == 0, |_| {})?;
    }
    let ends = fleet.end(servers.after())?;
    // Servers that are ours end first, so that what stays in TIME_WAIT is their ports and not the clients'.
    drop(servers);

    let elapsed = ends.said.iter().filter_map(|said| said["elapsed_ns"].as_u64()).max().unwrap_or(0) as f64 / 1e9;
    let elapsed = match duration {
        Some(duration) if waited != Waited::Interrupted && !deserted => duration.as_secs_f64(),
        // It ended before its time: what passed, and not what was wanted.
        _ if deserted => passed.as_secs_f64(),
        _ => elapsed.max(1e-9),
    };
    let (measured, wrong, unanswered) = (ends.sum("measured"), ends.sum("wrong"), ends.sum("unanswered"));
    let title = format!(
        "Echo of {} on {} connections, {} in flight on each at most",
        bytes(options.size as u64),
        number(ends.counts.opened),
        number(options.in_flight.into())
    );
    let mut report = Report::new(title);
    report.count("connections", "connections", ends.counts.opened);
    report.count("failed", "failed to open", ends.counts.failed);
    report.count("lost", "lost", ends.counts.lost);
    for (cause, count) in ends.reasons() {
        report.note(&format!("  {cause}"), number(count));
    }
    report.field("causes", json!(ends.causes));
    if deserted {
        report.note("ended early", "no connection was left; the figures are of what was done by then".into());
    }
    report.field("ended_early", deserted);
    report.field("interrupted", waited == Waited::Interrupted);
    report.field("size", options.size);
    report.field("in_flight", options.in_flight);
    report.row("measured_s", "measured", format!("{} s", three(elapsed)), elapsed);
    report.count("messages", "messages that came back", measured);
    report.count("wrong", "not the same as sent", wrong);
    report.count("unanswered", "due and not answered", unanswered);
    let rate = measured as f64 / elapsed;
    report.row("messages_per_s", "messages per second", number(rate as u64), rate);
    let payload = rate * options.size as f64;
    report.row("payload_bytes_per_s", "payload each way", format!("{}/s", bytes(payload as u64)), payload);
    report.count("processes", "client processes", fleet.len());
    report.share("client_cpu_share", "client processor", own_after.share_since(&own));
    report.server(pids, (cpu, last), measured, "messages");
    let mut latency = Latency::new();
    ends.said.iter().for_each(|said| latency.add_json(&said["latency"]));
    let basis = if options.rate.is_some() { "due" } else { "sent" };
    report.field("latency_from", basis);
    if options.rate.is_some() {
        report.latency("latency", "latency, from when each was due", &latency);
        let mut late = Latency::new();
        ends.said.iter().for_each(|said| late.add_json(&said["late"]));
        report.latency("sent_late", "of that, this program's own lateness", &late);
    } else {
        report.latency("latency", "latency, from when each was sent", &latency);
        report.note("", "(a stalled server holds back what would have been sent; --rate counts that, too)".into());
    }
    report.print(options)?;
    let is_short = ends.counts.failed + ends.counts.lost + wrong + unanswered > 0 || waited == Waited::Interrupted;
    Ok(if is_short { Verdict::Short } else { Verdict::Whole })
}

fn measure(fleet: &mut Fleet, options: &Options) -> Result<Waited, Failure> {
    let members = fleet.len();
    let began = Instant::now();
    let before = fleet.counts().received;
    let rate = |counts: &Counts| {
        let per = (counts.received - before) as f64 / began.elapsed().as_secs_f64().max(0.1);
        format!("{} messages, {} per second", number(counts.received - before), number(per as u64))
    };
    match options.messages {
        Some(messages) => {
            let mut progress = Progress::new("echoing", messages);
            let waited = fleet.wait(
                Patience::STAGE,
                |counts| counts.done == members || counts.open == 0,
                |counts| progress.at(counts.received, &rate(counts)),
            )?;
            let counts = fleet.counts();
            progress.done(counts.received, &rate(&counts));
            Ok(waited)
        }
        None => {
            let mut progress = Progress::new("echoing", options.duration.as_millis() as u64);
            let at = |began: Instant| began.elapsed().as_millis() as u64;
            let waited = fleet.wait(
                Patience::For(options.duration),
                |counts| counts.open == 0,
                |counts| progress.at(at(began), &rate(counts)),
            )?;
            progress.done(at(began), &rate(&fleet.counts()));
            Ok(waited)
        }
    }
}
