//! `swarm latency`: how long a hub's deliveries take, how many there can be, and how long it takes to come back.

use crate::fleet::{Ends, Fleet, Patience, Waited};
use crate::hold::{no_connection, open};
use crate::latency::Latency;
use crate::member::{Transport, unix_clock};
use crate::options::Options;
use crate::publisher::Publisher;
use crate::report::{Report, number, time};
use crate::servers::Servers;
use crate::{Failure, Verdict};
use serde_json::json;
use std::thread;
use std::time::Duration;

/// The first rate of those that are tried, each twice the one before.
const FIRST: f64 = 500.0;

/// How long a rate is tried.
const TRIAL: Duration = Duration::from_secs(2);

/// A rate at which more than one in a hundred takes longer is not sustained.
const WORST: Duration = Duration::from_millis(500);

/// So many in a row that are not sustained end the search: one may be the machine's doing.
const FAILURES: u32 = 2;

/// Connections that come back in a second.
const RETURNS: f64 = 100.0;

/// What one rate came to.
struct Run {
    rate: f64,
    latency: Latency,
    /// Why it is not sustained.
    problem: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<Verdict, Failure> {
    let rate = options.rate.unwrap_or(100.0);
    let mut report = Report::new(format!("Delivery of a hub, to {} subscribers of a transport", options.connections));
    report.field("connections", options.connections);
    report.field("size", options.size);
    report.field("rate", rate);
    let mut is_short = false;
    for &transport in &options.transports {
        eprintln!("{:>10} {}", "measuring", transport.name());
        let (moderate, returning) = one(options, transport, rate, options.duration, true)?;
        let mut best: Option<Run> = None;
        let (mut failures, mut rate, mut why) = (0, FIRST, None);
        while failures < FAILURES && rate <= options.most_rate {
            let (run, _) = one(options, transport, rate, TRIAL, false)?;
            match run.problem.clone() {
                Some(problem) => {
                    failures += 1;
                    why = Some(format!("{} a second: {problem}", number(rate as u64)));
                }
                None => (failures, best) = (0, Some(run)),
            }
            rate *= 2.0;
        }
        is_short |= moderate.problem.is_some() || best.is_none();
        let percentiles = |latency: &Latency| {
            let at = |share| time(latency.quantile(share));
            format!("p50 {}, p99 {}, most {}", at(0.5), at(0.99), at(1.0))
        };
        report.note(
            transport.name(),
            format!("{} at {} a second", percentiles(&moderate.latency), number(moderate.rate as u64)),
        );
        if let Some(problem) = &moderate.problem {
            report.note("  not whole", problem.clone());
        }
        if let Some(best) = &best {
            let rate = number(best.rate as u64);
            let deliveries = number(best.rate as u64 * options.connections);
            report.note(
                "  sustained",
                format!("{rate} a second to each, {deliveries} in all: {}", percentiles(&best.latency)),
            );
        }
        if let Some(why) = &why {
            report.note("  not", why.clone());
        }
        report.note("  to come back", percentiles(&returning));
        report.field(
            transport.name(),
            json!({
                "latency": moderate.latency.summary_json(),
                "problem": moderate.problem,
                "sustained_per_s": best.as_ref().map_or(0.0, |best| best.rate),
                "sustained_latency": best.as_ref().map(|best| best.latency.summary_json()),
                "not_sustained": why,
                "returning": returning.summary_json(),
            }),
        );
    }
    report.print(options)?;
    Ok(if is_short { Verdict::Short } else { Verdict::Whole })
}

/// Publishes at one rate to fresh subscribers of, where it is ours, a fresh server; then lets them come back.
fn one(
    options: &Options,
    transport: Transport,
    rate: f64,
    duration: Duration,
    returns: bool,
) -> Result<(Run, Latency), Failure> {
    let (servers, targets) = Servers::of(options)?;
    let mut publisher = Publisher::of_hub(&targets[0], options)?;
    let mut fleet = Fleet::subscribed(options, &targets, &[transport])?;
    open(&mut fleet, options.connections, "opening")?;
    let subscribers = fleet.counts().open;
    if subscribers == 0 {
        return Err(no_connection(&fleet.end(servers.after())?, &targets[0]));
    }
    // What was asked for is held by now.
    thread::sleep(Duration::from_millis(100));
    let (clock, unix) = unix_clock();
    let gap = 1.0 / rate;
    let count = ((duration.as_secs_f64() * rate) as u64).max(2);
    let begun = clock.now() + Duration::from_millis(20);
    let due = |number: u64| begun + Duration::from_secs_f64(gap * number as f64);
    fleet.tell(&json!({"do": "measure", "from_unix_ns": unix + begun.as_nanos()}))?;
    let mut published = 0;
    while published < count {
        thread::sleep(due(published).saturating_duration_since(clock.now()));
        // Those that are due by now go in one message, as a client would send them.
        let mut stamps = Vec::new();
        while published < count && stamps.len() < 64 && (stamps.is_empty() || due(published) <= clock.now()) {
            stamps.push(unix + due(published).as_nanos());
            published += 1;
        }
        publisher.publish_events(&stamps, options.size)?;
    }
    let late = clock.now().saturating_duration_since(due(count));
    let expected = published * subscribers;
    let waited = fleet.wait(
        Patience::WhileMoving(Duration::from_secs(1)),
        |counts| counts.received >= expected || counts.open == 0,
        |_| {},
    )?;
    if returns && waited == Waited::Done {
        fleet.tell(&json!({"do": "return", "rate": RETURNS}))?;
        let patience = Patience::WhileMoving(Duration::from_secs(5));
        fleet.wait(patience, |counts| counts.returned >= subscribers || counts.lost > 0, |_| {})?;
    }
    let ends = fleet.end(servers.after())?;
    drop(servers);
    let (mut latency, mut returning) = (Latency::new(), Latency::new());
    for said in &ends.said {
        latency.add_json(&said["latency"]);
        returning.add_json(&said["returning"]);
    }
    let mut problem = problem(&ends, expected, &latency);
    if problem.is_none() && late > duration / 10 {
        problem = Some(format!("the publisher itself was late by {} ms", late.as_millis()));
    }
    if problem.is_none() && returns && returning.count() < subscribers {
        problem = Some(format!("{} did not come back", subscribers - returning.count()));
    }
    Ok((Run { rate, latency, problem }, returning))
}

/// What is not as it should be.
fn problem(ends: &Ends, expected: u64, latency: &Latency) -> Option<String> {
    let lost = ends.counts.lost + ends.counts.failed;
    let missing = expected.saturating_sub(ends.counts.received);
    let (gaps, wrong) = (ends.sum("gaps"), ends.sum("wrong") + ends.sum("disordered"));
    let worst = Duration::from_nanos(latency.quantile(0.99));
    if lost > 0 {
        let causes: Vec<_> = ends.reasons().into_iter().map(|(cause, _)| cause.to_owned()).collect();
        return Some(format!("{lost} connections lost ({})", causes.join("; ")));
    }
    for (count, what) in [(gaps, "gaps"), (missing, "deliveries missing"), (wrong, "out of order or not as sent")] {
        if count > 0 {
            return Some(format!("{} {what}", number(count)));
        }
    }
    (worst > WORST).then(|| format!("the 99th percentile is {} ms", worst.as_millis()))
}
