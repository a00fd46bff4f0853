//! Counters in the Prometheus text format, version 0.0.4.
//!
//! Rates, averages and percentiles are the reader's to compute: `rate(tautline_messages_sent_total[1m])`,
//! `histogram_quantile(0.99, rate(tautline_connection_duration_seconds_bucket[5m]))`.

use std::fmt::{Display, Write};
use std::time::Duration;
use tautline::net::{Distribution, HubTotals, Totals, Transport};

/// The `Content-Type`.
pub(crate) const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds for how long connections last, in milliseconds: from a request to a day.
const LONG: [u64; 10] = [100, 1_000, 5_000, 15_000, 60_000, 300_000, 900_000, 3_600_000, 14_400_000, 86_400_000];

/// Bounds for what should take no time, in microseconds: from a turn of the loop to a dead line.
const SHORT: [u64; 15] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 1_000_000, 10_000_000];

/// All of it. `chat` is rooms and members.
pub(crate) fn write(totals: &Totals, hub: &HubTotals, chat: (usize, u64)) -> String {
    let mut text = Text(String::with_capacity(16 << 10));
    let each = || Transport::ALL.into_iter().map(|transport| (transport.as_str(), totals.transport(transport)));

    let open = |transport| totals.transport(transport).open();
    text.family("tautline_connections_open", "gauge", "Connections open, by what they are at present.");
    for transport in Transport::ALL {
        let open = match transport {
            // Held requests are HTTP, too.
            Transport::Http => open(transport).saturating_sub(open(Transport::LongPoll)),
            other => open(other),
        };
        text.sample("tautline_connections_open", &[("transport", transport.as_str())], open);
    }
    text.family("tautline_opened_total", "counter", "WebSockets, event streams and held requests begun.");
    for (name, line) in each().skip(1) {
        text.sample("tautline_opened_total", &[("transport", name)], line.opened);
    }
    text.family("tautline_reconnects_total", "counter", "Of these, clients that came back with a cursor.");
    for (name, line) in each().skip(1) {
        text.sample("tautline_reconnects_total", &[("transport", name)], line.reconnected);
    }
    text.family(
        "tautline_errors_total",
        "counter",
        "Ended by an error or without a word; of http, requests that broke the protocol or got no answer.",
    );
    for (name, line) in each() {
        text.sample("tautline_errors_total", &[("transport", name)], line.failed);
    }
    text.family(
        "tautline_connection_duration_seconds",
        "histogram",
        "How long WebSockets, event streams and held requests lasted, to a quarter of a second.",
    );
    for (name, line) in each().skip(1) {
        let bounds = LONG.map(Duration::from_millis);
        text.histogram("tautline_connection_duration_seconds", Some(("transport", name)), &line.durations, &bounds);
    }

    for (name, help, count) in [
        ("tautline_connections_accepted_total", "Connections accepted.", totals.accepted),
        ("tautline_connections_refused_total", "Connections closed at once because of a limit.", totals.refused),
        ("tautline_accept_errors_total", "Times that accepting failed.", totals.accept_errors),
        ("tautline_requests_total", "HTTP requests, upgrades included.", totals.requests),
        ("tautline_messages_received_total", "WebSocket messages received.", totals.messages_in),
        ("tautline_messages_sent_total", "Messages and events sent, publications by receiver.", totals.messages_out),
        ("tautline_received_bytes_total", "Bytes received.", totals.bytes_in),
        ("tautline_sent_bytes_total", "Bytes that sockets took.", totals.bytes_out),
        ("tautline_publications_total", "Publications and broadcasts.", totals.publications),
        ("tautline_messages_dropped_total", "Messages of others that did not fit into a queue.", totals.dropped),
        (
            "tautline_slow_closed_total",
            "Connections closed because they did not take what others sent.",
            totals.slow_closed,
        ),
        ("tautline_loop_turns_total", "Turns of the event loops.", totals.turns),
    ] {
        text.family(name, "counter", help);
        text.sample(name, &[], count);
    }

    text.family("tautline_websocket_closes_total", "counter", "WebSockets ended, by close code.");
    for (code, count) in &totals.closes {
        let code = match code {
            3000 => "3000-3999".to_owned(),
            4000 => "4000-4999".to_owned(),
            code => code.to_string(),
        };
        text.sample("tautline_websocket_closes_total", &[("code", &code)], count);
    }
    for (name, help, value) in [
        ("tautline_queued_bytes", "Bytes that wait for sockets.", totals.queued),
        ("tautline_held_bytes", "Bytes of bodies and messages that are not whole yet.", totals.held),
        ("tautline_hub_topics", "Topics of which the hub retains or remembers something.", hub.topics),
        ("tautline_hub_retained_events", "Events retained for who comes back.", hub.events),
        ("tautline_hub_retained_bytes", "What these take of memory.", hub.bytes),
        ("tautline_hub_parked_sessions", "Sessions whose poll is held.", hub.parked),
        ("tautline_chat_rooms", "Rooms with members.", chat.0 as u64),
        ("tautline_chat_members", "Members of all rooms.", chat.1),
    ] {
        text.family(name, "gauge", help);
        text.sample(name, &[], value);
    }
    let bounds = SHORT.map(Duration::from_micros);
    text.family("tautline_ping_round_trip_seconds", "histogram", "Round trips of WebSocket heartbeats.");
    text.histogram("tautline_ping_round_trip_seconds", None, &totals.round_trips, &bounds);
    text.family(
        "tautline_loop_lag_seconds",
        "histogram",
        "How long turns of the event loops took: so late may the next event have been served.",
    );
    text.histogram("tautline_loop_lag_seconds", None, &totals.lag, &bounds);
    text.0
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// Labels come from this file and need no escapes.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    fn histogram(&mut self, name: &str, label: Option<(&str, &str)>, distribution: &Distribution, bounds: &[Duration]) {
        let plain: Vec<_> = label.into_iter().collect();
        let infinite = [("+Inf".to_owned(), distribution.count())];
        let counts = bounds.iter().map(|bound| (bound.as_secs_f64().to_string(), distribution.at_most(*bound)));
        for (le, count) in counts.chain(infinite) {
            self.sample(&format!("{name}_bucket"), &[&plain[..], &[("le", &le)]].concat(), count);
        }
        self.sample(&format!("{name}_sum"), &plain, distribution.sum().as_secs_f64());
        self.sample(&format!("{name}_count"), &plain, distribution.count());
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A `String` takes everything.
        let _ = writeln!(self.0, "{line}");
    }
}
