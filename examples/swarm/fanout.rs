//! `swarm fanout`: publications to many subscribers.

use crate::fleet::{Fleet, Patience, Waited};
use crate::hold::{no_connection, open};
use crate::latency::Latency;
use crate::member::{STAMP_TEXT, stamp_text, unix_clock};
use crate::options::Options;
use crate::process::{Cpu, Sample};
use crate::progress::Progress;
use crate::publisher::Publisher;
use crate::report::{Report, bytes, number, three};
use crate::servers::Servers;
use crate::{Failure, Verdict};
use serde_json::json;
use std::thread;
use std::time::Duration;

/// The last deliveries may come as long as any do, within so long of each other.
const GRACE: Patience = Patience::WhileMoving(Duration::from_secs(2));

pub(crate) fn run(options: &Options) -> Result<Verdict, Failure> {
    let (servers, targets) = Servers::of(options)?;
    if targets.len() > 1 {
        return Err("a fan-out is one server's: --servers 1".into());
    }
    let pids = &servers.pids().to_vec()[..];
    let mut publisher = Publisher::connect(&targets[0], options)?;
    let mut fleet = Fleet::start(options, &targets)?;
    open(&mut fleet, options.connections, "opening")?;
    let subscribers = fleet.counts().open;
    if subscribers == 0 {
        return Err(no_connection(&fleet.end(servers.after())?, &targets[0]));
    }

    let rate = options.rate.unwrap_or(10.0);
    let gap = Duration::from_secs_f64(1.0 / rate);
    let (warmups, publications) = match options.messages {
        Some(messages) => (0, messages),
        None => ((options.warmup.as_secs_f64() * rate) as u64, ((options.duration.as_secs_f64() * rate) as u64).max(1)),
    };
    let (clock, unix) = unix_clock();
    let begun = clock.now() + Duration::from_millis(20);
    let due = |number: u64| begun + gap.mul_f64(number as f64);
    fleet.tell(&json!({"do": "measure", "from_unix_ns": unix + due(warmups).as_nanos()}))?;

    let mut text: String = (0..options.size).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
    let mut progress = Progress::new("publishing", warmups + publications);
    let message = |deliveries: u64| format!("{} deliveries", number(deliveries));
    let mut measured = None;
    let (mut published, mut waited) = (0, Waited::Done);
    let mut problem: Option<String> = None;
    for at in 0..warmups + publications {
        if at == warmups {
            // Between two publications, when the last one has most likely been delivered.
            measured = Some((Cpu::of(pids).ok(), fleet.cpu()?, fleet.counts().received + publisher.heard()));
        }
        // The fleet is listened to while there is time; a publication that is late says so by its stamp.
        let left = due(at).saturating_duration_since(clock.now());
        if left > Duration::from_millis(2) {
            waited = fleet.wait(
                Patience::For(left - Duration::from_millis(1)),
                |counts| counts.open == 0,
                |counts| progress.at(at, &message(counts.received)),
            )?;
            if waited == Waited::Interrupted {
                break;
            }
            if waited == Waited::Done {
                problem = Some("no subscriber is left".into());
                break;
            }
        }
        thread::sleep(due(at).saturating_duration_since(clock.now()));
        let stamp = unix + due(at).as_nanos();
        text.replace_range(..STAMP_TEXT, std::str::from_utf8(&stamp_text(stamp))?);
        if let Err(error) = publisher.publish(&text) {
            problem = Some(error.to_string());
            break;
        }
        published += 1;
    }
    let expected = published * subscribers;
    fleet.wait(
        GRACE,
        |counts| counts.received >= expected || counts.open == 0,
        |counts| progress.at(published, &message(counts.received)),
    )?;
    progress.done(published, &message(fleet.counts().received));
    let (last, own_after) = (Sample::of(pids).ok(), fleet.cpu()?);
    let ends = fleet.end(servers.after())?;
    // Servers that are ours end first, so that what stays in TIME_WAIT is their ports and not the clients'.
    drop(servers);

    let kind = if options.url.scheme().is_websocket() { "WebSockets" } else { "event streams" };
    let title = format!("Fan-out of {} to {} {kind}", bytes(options.size as u64), number(subscribers));
    let mut report = Report::new(title);
    report.count("subscribers", "subscribers", subscribers);
    report.count("failed", "failed to open", ends.counts.failed);
    report.count("lost", "lost", ends.counts.lost);
    for (cause, count) in ends.reasons() {
        report.note(&format!("  {cause}"), number(count));
    }
    report.field("causes", json!(ends.causes));
    if published == 0 && problem.is_none() {
        problem = Some("nothing was published".into());
    }
    if let Some(problem) = &problem {
        report.note("error", format!("{problem}; published: {published} of {}", warmups + publications));
    }
    report.field("error", problem.clone());
    report.field("interrupted", waited == Waited::Interrupted);
    report.field("size", options.size);
    report.count("publications", "publications, warm-up included", published);
    report.row("rate", "  per second", three(rate), rate);
    report.count("deliveries", "deliveries", ends.counts.received);
    let missing = expected.saturating_sub(ends.counts.received);
    report.count("missing", "  missing", missing);
    let (disordered, wrong) = (ends.sum("disordered"), ends.sum("wrong"));
    report.count("disordered", "  out of order, or twice", disordered);
    report.count("wrong", "  not as sent", wrong);
    if let Some((cpu, own, before)) = measured {
        // The sender's own copy is a delivery of the server's like any other.
        let deliveries = (ends.counts.received + publisher.heard()).saturating_sub(before);
        let per_second = ends.sum("measured") as f64 / (published.saturating_sub(warmups).max(1) as f64 / rate);
        report.row("deliveries_per_s", "deliveries per second", number(per_second as u64), per_second);
        report.count("processes", "client processes", fleet.len());
        report.share("client_cpu_share", "client processor", own_after.share_since(&own));
        report.server(pids, (cpu, last), deliveries, "deliveries");
    }
    let mut latency = Latency::new();
    ends.said.iter().for_each(|said| latency.add_json(&said["latency"]));
    report.field("latency_from", "due");
    report.latency("latency", "delivery, from when each was due", &latency);
    report.print(options)?;
    let is_short = ends.counts.failed + ends.counts.lost + missing + disordered + wrong > 0
        || problem.is_some()
        || waited == Waited::Interrupted;
    Ok(if is_short { Verdict::Short } else { Verdict::Whole })
}
