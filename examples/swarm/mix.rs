//! `swarm fanout --hub`: what a delivery costs the server, by transport and mixed.

use crate::fleet::{Counts, Fleet, Patience, Waited};
use crate::hold::{no_connection, open};
use crate::latency::Latency;
use crate::member::{Transport, stamp_text, unix_clock};
use crate::options::Options;
use crate::process::{Cpu, rest};
use crate::publisher::Publisher;
use crate::report::{Report, number, three, time};
use crate::servers::Servers;
use crate::{Failure, Verdict};
use serde_json::json;
use std::time::Duration;

/// How often all of it is done, with fresh servers: what a machine does besides changes by the minute.
const PASSES: u64 = 2;

/// The first publications to new connections are not measured.
const WARMUPS: u64 = 2;

/// Subscribers that are measured together.
const CASES: [(&str, &str, &[Transport]); 4] = [
    ("websocket", "WebSocket alone", &[Transport::WebSocket]),
    ("stream", "event streams alone", &[Transport::Stream]),
    ("poll", "polls alone", &[Transport::Poll]),
    ("mixed", "a third of each", &Transport::ALL),
];

/// What one kind of subscribers came to.
struct Case {
    /// Processor microseconds of the server for each delivery, of each round.
    delivery: Vec<f64>,
    /// Those and what it took until polls were parked again.
    with_requests: Vec<f64>,
    latency: Latency,
    deliveries: u64,
    missing: u64,
    failed: u64,
    wrong: u64,
}

pub(crate) fn run(options: &Options) -> Result<Verdict, Failure> {
    let mut cases = CASES.map(|_| Case {
        delivery: Vec::new(),
        with_requests: Vec::new(),
        latency: Latency::new(),
        deliveries: 0,
        missing: 0,
        failed: 0,
        wrong: 0,
    });
    for pass in 0..PASSES {
        for ((_, label, transports), case) in CASES.iter().zip(&mut cases) {
            eprintln!("{:>10} {} of {PASSES}: {label}", "pass", pass + 1);
            let rounds = share(options.rounds, pass);
            if rounds > 0 && measure(options, transports, rounds, case)? == Waited::Interrupted {
                return Err("interrupted".into());
            }
        }
    }

    let title = format!("Fan-out of {} B to {} subscribers of a hub", options.size, number(options.connections));
    let mut report = Report::new(title);
    report.field("connections", options.connections);
    report.field("size", options.size);
    let base = [median(&cases[0].delivery), median(&cases[0].with_requests)];
    for ((key, label, _), case) in CASES.iter().zip(&cases) {
        let (delivery, with_requests) = (median(&case.delivery), median(&case.with_requests));
        let ratios = [delivery / base[0], with_requests / base[1]];
        let (least, most) = extremes(&case.delivery);
        report.note(
            label,
            format!(
                "{} µs of processor each ({} to {}), {} times WebSocket; until polls are back {} µs, {} times",
                three(delivery),
                three(least),
                three(most),
                three(ratios[0]),
                three(with_requests),
                three(ratios[1])
            ),
        );
        let (half, last) = (case.latency.quantile(0.5), case.latency.quantile(1.0));
        report.note("", format!("half have it within {}, the last within {}", time(half), time(last)));
        report.field(
            key,
            json!({
                "us_per_delivery": delivery,
                "us_per_delivery_rounds": case.delivery,
                "us_with_requests": with_requests,
                "us_with_requests_rounds": case.with_requests,
                "ratio": ratios[0],
                "ratio_with_requests": ratios[1],
                "latency": case.latency.summary_json(),
                "deliveries": case.deliveries,
                "missing": case.missing,
                "failed": case.failed,
                "wrong": case.wrong,
            }),
        );
    }
    let sum = |of: fn(&Case) -> u64| cases.iter().map(of).sum::<u64>();
    let (missing, failed, wrong) = (sum(|case| case.missing), sum(|case| case.failed), sum(|case| case.wrong));
    report.count("deliveries", "deliveries", sum(|case| case.deliveries));
    report.count("missing", "  missing", missing);
    report.count("wrong", "  not as they should be", wrong);
    report.count("failed", "connections failed or lost", failed);
    let ratio = median(&cases[3].delivery) / base[0];
    report.row("ratio", "mixed to WebSocket", three(ratio), ratio);
    report.print(options)?;
    if let Some(limit) = options.limit.filter(|limit| ratio > *limit) {
        return Err(format!("mixed deliveries cost {ratio:.3} times what WebSocket's do, more than {limit}").into());
    }
    Ok(if missing + failed + wrong > 0 { Verdict::Short } else { Verdict::Whole })
}

fn measure(options: &Options, transports: &[Transport], rounds: u64, case: &mut Case) -> Result<Waited, Failure> {
    let (servers, targets) = Servers::of(options)?;
    let pids = &servers.pids().to_vec()[..];
    if pids.is_empty() {
        return Err("whose processor time? --pid, or no URL: then a hub is started".into());
    }
    let mut publisher = Publisher::of_hub(&targets[0], options)?;
    let mut fleet = Fleet::subscribed(options, &targets, transports)?;
    fleet.tell(&json!({"do": "hold_back"}))?;
    // None yet.
    fleet.tell(&json!({"do": "measure", "from_unix_ns": u64::MAX}))?;
    open(&mut fleet, options.connections, "opening")?;
    let Counts { open: subscribers, parked: polls, .. } = fleet.counts();
    if subscribers == 0 {
        return Err(no_connection(&fleet.end(servers.after())?, &targets[0]));
    }
    let (clock, unix) = unix_clock();
    let patience = Patience::WhileMoving(Duration::from_secs(10));
    let mut waited = Waited::Done;
    let mut published = 0;
    for at in 0..WARMUPS + rounds {
        if at == WARMUPS {
            // What is stamped from now on counts. Members must have read that before any of it reaches them.
            fleet.tell(&json!({"do": "measure", "from_unix_ns": unix + clock.now().as_nanos()}))?;
            std::thread::sleep(Duration::from_millis(100));
        }
        rest(pids)?;
        let stamp = unix + clock.now().as_nanos();
        let before = fleet.counts().received;
        let idle = Cpu::of(pids)?;
        publisher.publish_event(&stamp_text(stamp), options.size)?;
        published += 1;
        waited = fleet.wait(patience, |counts| counts.received >= before + subscribers || counts.open == 0, |_| {})?;
        rest(pids)?;
        let delivered = Cpu::of(pids)?;
        let deliveries = (fleet.counts().received - before).max(1) as f64;
        fleet.tell(&json!({"do": "poll"}))?;
        let back = fleet.wait(patience, |counts| counts.parked >= polls || counts.open == 0, |_| {})?;
        rest(pids)?;
        let parked = Cpu::of(pids)?;
        if at >= WARMUPS {
            case.delivery.push(1e6 * delivered.seconds_since(&idle) / deliveries);
            case.with_requests.push(1e6 * parked.seconds_since(&idle) / deliveries);
        }
        if [waited, back].contains(&Waited::Interrupted) {
            waited = Waited::Interrupted;
            break;
        }
    }
    let ends = fleet.end(servers.after())?;
    // Servers that are ours end first, so that what stays in TIME_WAIT is their ports and not the clients'.
    drop(servers);
    ends.said.iter().for_each(|said| case.latency.add_json(&said["latency"]));
    case.deliveries += ends.counts.received;
    case.missing += (published * subscribers).saturating_sub(ends.counts.received);
    case.failed += ends.counts.failed + ends.counts.lost;
    case.wrong += ends.sum("wrong") + ends.sum("disordered") + ends.sum("gaps");
    Ok(waited)
}

/// Of the rounds, those of one pass.
fn share(rounds: u64, pass: u64) -> u64 {
    crate::fleet::share(rounds, pass, PASSES)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len => (sorted[(len - 1) / 2] + sorted[len / 2]) / 2.0,
    }
}

fn extremes(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (least, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}
