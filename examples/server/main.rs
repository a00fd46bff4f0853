//! A server to try everything with: a hub on WebSocket, event streams and long polls; chat in JSON; and a web page for all of it.
//!
//! ```text
//! cargo run --release --example server
//! ```
//!
//! serves <http://127.0.0.1:8080/>; `-- --help` lists the options. What there is:
//!
//! | Path | Method | |
//! |---|---|---|
//! | `/` | GET | the page: rooms, feed, a line that falls back, token stream, connection state, round trip, messages per second |
//! | `/ws` | GET | WebSocket: with the subprotocol `tautline` a line to the hub, else chat in JSON: [`chat`] has its protocol |
//! | `/events?topic=` | GET | an event stream of one topic or several (`topic` may be repeated; none means `default`) |
//! | `/poll?topic=&lastId=` | GET | long and short polling, as blocks or JSON |
//! | `/publish?topic=` | POST | the body becomes an event's data, to every transport, and to the chat room of the topic's name |
//! | `/send` | POST | the way up beside a stream or polls: publications with keys, and who is here |
//! | `/ack?lastId=` | POST | what was received, for acknowledged delivery |
//! | `/tautline.js` | GET | the client for browsers: a line that falls from WebSocket to event stream to polling, and climbs up again |
//! | `/echo` | GET | WebSocket; each message comes back. Of the subprotocols offered the first is chosen |
//! | `/tokens` | POST | a made-up token stream, as language models are served; the body is the prompt |
//! | `/metrics` | GET | counters in the Prometheus text format |
//! | `/healthz` | GET | `ok` |
//!
//! HEAD works where GET does. docs/PROTOCOL.md says what the hub's clients may ask; [`hub`] what topics do here, by prefix. Who may ask for
//! what is [`gate`]'s: a foreign `Origin` gets 403, a foreign `Host` 421, and publishing takes the token where there is one.
//!
//! ```text
//! curl -N 'http://127.0.0.1:8080/events?topic=news' &
//! curl -d hello 'http://127.0.0.1:8080/publish?topic=news'
//! curl 'http://127.0.0.1:8080/poll?topic=news&lastId=0'
//! ```
//!
//! One [`Site`](site::Site) per worker is the [`Handler`](tautline::net::Handler); what they share is in an `Arc`: settings that never
//! change, and the chat's members behind a mutex that is held for microseconds and never while anything waits.

mod chat;
mod gate;
mod hub;
mod metrics;
mod options;
mod pages;
mod rooms;
mod site;
mod stats;
mod tokens;

use gate::Gate;
use options::{Command, Options};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use site::{Shared, Site};
use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tautline::net::{Config, DrainConfig, Handle, ListenAddress, ListenCause, ListenConfig, Server, StartError};

fn main() -> ExitCode {
    match Options::from_args(lexopt::Parser::from_env()) {
        Ok(Command::Serve(options)) => match serve(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, 1),
        },
        Ok(Command::Say(text)) => {
            say(&text);
            ExitCode::SUCCESS
        }
        // 2 is what shells and most tools use for a wrong command line.
        Err(error) => fail(&format!("{error}\nTry --help."), 2),
    }
}

fn fail(error: &str, code: u8) -> ExitCode {
    // Nobody reads it? Then nobody minds.
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(code)
}

/// As `println!`, which panics where the other end of a pipe is closed.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn serve(options: &Options) -> Result<(), String> {
    // Before the first thread, so that no signal is missed.
    let signals = Signals::new([SIGINT, SIGTERM]).map_err(|e| format!("cannot listen for signals: {e}"))?;
    let gate = Arc::new(Gate::new(options));
    let shared = Arc::new(Shared::new(options, gate.clone()));
    let config = Config { hub: Some(hub::settings(options.history, gate)), ..options.config.clone() };
    let listen = ListenConfig::new(options.address);
    let server = Server::start(&config, &[listen], options.workers, move |_| Site::new(shared.clone()))
        .map_err(|error| explain(&error, options.address))?;
    let handle = server.handle();
    for address in server.addresses() {
        let ListenAddress::Tcp(address) = address else { continue };
        say(&format!("tautline serves http://{address}/ with {} workers", handle.workers()));
        if options.token.is_none() && !address.ip().to_canonical().is_loopback() {
            say("Anyone who reaches this address may publish (--open).");
        }
    }
    if options.config.ws.heartbeat.is_some_and(|heartbeat| heartbeat.is_slower_than_proxies()) {
        say("Proxies commonly close what is silent for 60 s: a heartbeat of more than 55 s may come too late.");
    }
    say(&format!(
        "Ctrl-C lets the connections go, over at most {} s; again, and it ends at once.",
        options.drain.as_secs()
    ));
    let drain = options.drain;
    std::thread::spawn(move || obey(signals, &handle, drain));
    server.join();
    Ok(())
}

/// Drains at the first signal and ends at the second.
fn obey(mut signals: Signals, handle: &Handle<Site>, longest: Duration) {
    let mut signals = signals.forever();
    if signals.next().is_none() {
        return;
    }
    let open = handle.totals().open();
    // Time is what a herd of clients needs, so that they do not come back all at once. Two tabs on a developer's machine need none.
    let over = longest.min(PER_CONNECTION.saturating_mul(u32::try_from(open).unwrap_or(u32::MAX)));
    say(&format!("letting go of {open} connections"));
    handle.drain(DrainConfig { over, grace: GRACE, ..DrainConfig::default() });
    if let Some(signal) = signals.next() {
        // What shells report for a process that a signal ended.
        std::process::exit(128 + signal);
    }
}

/// With this, 500 connections take the default drain time of 5 s.
const PER_CONNECTION: Duration = Duration::from_millis(10);

/// How long the last ones may take to answer their Close frames.
const GRACE: Duration = Duration::from_secs(2);

/// What went wrong, and what to do about it.
fn explain(error: &StartError, address: SocketAddr) -> String {
    let cause = match error {
        StartError::Listen(error) => error.cause(),
        StartError::Io(error) if error.raw_os_error() == Some(NO_FILES) => return no_files(error),
        error => return format!("cannot start: {error}"),
    };
    let advice = match cause {
        ListenCause::InUse => {
            let other = address.port().checked_add(1).unwrap_or(0);
            format!(
                "Something listens there already. Stop it, or take another port: --port {other} (0 takes any that is free)"
            )
        }
        ListenCause::NotPermitted => "Ports below 1024 are the administrator's. Take another: --port 8080".into(),
        ListenCause::System(NO_FILES) => return no_files(error),
        ListenCause::NotAvailable => {
            "Take one of this machine's own addresses, 127.0.0.1 or 0.0.0.0 for all of them".into()
        }
        _ => "Take another address: --address 127.0.0.1:8080".into(),
    };
    format!("{error}.\n{advice}.")
}

/// `EMFILE`: this process may open no more files.
const NO_FILES: i32 = 24;

fn no_files(error: &dyn Display) -> String {
    format!(
        "cannot start: {error}.\nEach worker opens several files. Take fewer (--workers), or raise the limit: ulimit -n."
    )
}
