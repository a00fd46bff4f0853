//! What the settings of tautline's permessage-deflate come to: bytes on the wire and time per message, for JSON of several lengths.
//!
//! ```text
//! cargo run --release --bin deflate_settings -- levels         # by level and memory, about two minutes
//! cargo run --release --bin deflate_settings -- thresholds     # short messages at the default level
//! cargo run --release --bin deflate_settings -- windows        # by window
//! cargo run --release --bin deflate_settings -- echo 1 10000   # so many echoes of 1 KiB at this level, with context takeover; for a profiler
//! ```

#[path = "../servers/json.rs"]
mod json;
#[allow(dead_code, reason = "the load of `servers` uses the rest")]
#[path = "../servers/random.rs"]
mod random;

use std::fmt;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use tautline::http::Version;
use tautline::http::upgrade::{Upgrade, UpgradeConfig};
use tautline::ws::{Config, Connection, Deflate, DeflateConfig, Event, Takeover};
use tautline::{Buffers, Input, Instant, Output};

/// In turn, so that none finds its state in the cache, as on a server.
const CONNECTIONS: usize = 64;

/// Each has a share of the messages, which a round sends once. The first round fills windows and is not timed.
const ROUNDS: usize = 6;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["levels"] => levels(),
        ["thresholds"] => thresholds(),
        ["windows"] => windows(),
        ["echo", level, count] => match (level.parse(), count.parse()) {
            (Ok(level), Ok(count)) => echo(level, count),
            _ => return ExitCode::FAILURE,
        },
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

fn levels() {
    const MEMORIES: [u8; 4] = [4, 5, 6, 8];
    println!("| payload | takeover | level | {} |", MEMORIES.map(|memory| format!("memory {memory}")).join(" | "));
    println!("|---|---|---|{}", "---|".repeat(MEMORIES.len()));
    for size in [100, 300, 1024, 4096, 16384] {
        for (takeover, base) in TAKEOVERS {
            for level in [1, 2, 3, 6] {
                let costs = best(size, &MEMORIES.map(|memory| DeflateConfig { level, memory, ..base }));
                let costs: Vec<String> = costs.iter().map(Cost::to_string).collect();
                println!("| {size} B | {takeover} | {level} | {} |", costs.join(" | "));
            }
        }
    }
}

fn thresholds() {
    println!("| payload | with takeover | without |\n|---|---|---|");
    for size in [100, 128, 160, 200, 256, 320, 400, 512] {
        let costs = best(size, &TAKEOVERS.map(|(_, base)| base));
        println!("| {size} B | {} | {} |", costs[0], costs[1]);
    }
}

fn windows() {
    println!("| window | 300 B | 1 KiB | 4 KiB |\n|---|---|---|---|");
    for server_window in 9..=15 {
        let costs = [300, 1024, 4096].map(|size| best(size, &[DeflateConfig { server_window, ..TAKEOVERS[0].1 }])[0]);
        println!("| {server_window} bits | {} | {} | {} |", costs[0], costs[1], costs[2]);
    }
}

const TAKEOVERS: [(&str, DeflateConfig); 2] = [
    ("kept", DeflateConfig { server_takeover: Takeover::Kept, threshold: 0, ..DeflateConfig::DEFAULT }),
    ("none", DeflateConfig { threshold: 0, ..DeflateConfig::DEFAULT }),
];

#[derive(Clone, Copy)]
struct Cost {
    /// Of a message's frame.
    bytes: f64,
    /// Microseconds.
    sending: f64,
    receiving: f64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} B {:.1} + {:.1} us", self.bytes, self.sending, self.receiving)
    }
}

/// What each setting costs, twice in turn: what disturbs the machine for a while is in one of them.
fn best(size: usize, configs: &[DeflateConfig]) -> Vec<Cost> {
    let once = || configs.iter().map(|config| cost(size, config)).collect::<Vec<_>>();
    let better = |(one, other): (Cost, Cost)| Cost {
        sending: one.sending.min(other.sending),
        receiving: one.receiving.min(other.receiving),
        ..one
    };
    once().into_iter().zip(once()).map(better).collect()
}

/// From a server to a client, of the best round.
fn cost(size: usize, config: &DeflateConfig) -> Cost {
    let agreed = agreed(config);
    let each = ((64 << 10) / size).clamp(4, 32);
    let mut pairs: Vec<(Connection, Connection)> = (0..CONNECTIONS).map(|_| pair(agreed)).collect();
    let (mut out, mut replies, mut buffers) = (Output::new(), Output::new(), Buffers::new());
    let mut best = Cost { bytes: 0.0, sending: f64::MAX, receiving: f64::MAX };
    for round in 0..ROUNDS {
        let first = round * each * CONNECTIONS;
        let texts: Vec<String> =
            (first..first + each * CONNECTIONS).map(|nth| json::message(nth as u64, size)).collect();
        let mut wire = Vec::new();
        let mut frames = Vec::new();
        let before = cpu();
        for (nth, text) in texts.iter().enumerate() {
            pairs[nth % CONNECTIONS].0.send_text(text, &mut out).expect("room");
            let from = wire.len();
            out.chunks().for_each(|chunk| wire.extend_from_slice(chunk));
            out.clear();
            frames.push(from..wire.len());
        }
        let sent = cpu();
        for (nth, (frame, text)) in frames.iter().zip(&texts).enumerate() {
            let mut input = Input::with_buffers(&mut wire[frame.clone()], &mut buffers);
            match pairs[nth % CONNECTIONS].1.next_event(&mut input, &mut replies, Instant::ORIGIN) {
                Ok(Some(Event::Text(got))) => assert_eq!(got, text),
                other => panic!("{other:?}"),
            }
        }
        let received = cpu();
        if round > 0 {
            let count = texts.len() as f64;
            best.bytes += wire.len() as f64 / count / (ROUNDS - 1) as f64;
            best.sending = best.sending.min((sent - before) / count);
            best.receiving = best.receiving.min((received - sent) / count);
        }
    }
    best
}

/// A server's part of an echo, over and over.
fn echo(level: u8, count: usize) {
    let config = DeflateConfig {
        level,
        server_takeover: Takeover::Kept,
        client_takeover: Takeover::Kept,
        ..DeflateConfig::DEFAULT
    };
    let agreed = agreed(&config);
    let (mut server, mut client) = pair(agreed);
    let (mut out, mut buffers) = (Output::new(), Buffers::new());
    let frames: Vec<Vec<u8>> = (0..256)
        .map(|nth| {
            client.send_text(&json::message(nth, 1024), &mut out).expect("room");
            let frame = out.chunks().collect::<Vec<_>>().concat();
            out.clear();
            frame
        })
        .collect();
    let mut read = vec![0; 2048];
    let before = cpu();
    for frame in frames.iter().cycle().take(count) {
        let bytes = &mut read[..frame.len()];
        bytes.copy_from_slice(frame);
        let mut input = Input::with_buffers(bytes, &mut buffers);
        while let Some(event) = server.next_event(&mut input, &mut out, Instant::ORIGIN).expect("valid") {
            if let Event::Text(text) = event {
                server.send_text(text, &mut out).expect("room");
            }
        }
        black_box(out.chunks().map(<[u8]>::len).sum::<usize>());
        out.clear();
    }
    println!("{:.2} us per message", (cpu() - before) / count as f64);
}

fn pair(agreed: Deflate) -> (Connection, Connection) {
    let config = Arc::new(Config::DEFAULT);
    let server = Connection::server(config.clone(), [1; 16], Instant::ORIGIN).with_deflate(agreed);
    (server, Connection::client(config, [2; 16], Instant::ORIGIN).with_deflate(agreed))
}

/// What both sides agree upon, where both have these settings.
fn agreed(config: &DeflateConfig) -> Deflate {
    let offer = config.offer();
    let head: [(&str, &[u8]); 6] = [
        ("Host", b"a"),
        ("Connection", b"Upgrade"),
        ("Upgrade", b"websocket"),
        ("Sec-WebSocket-Version", b"13"),
        ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Extensions", offer.as_bytes()),
    ];
    let upgrade = Upgrade::check(&UpgradeConfig::default(), "GET", Version::Http11, head).expect("a good request");
    config.accept(upgrade.extensions()).expect("its own offer")
}

/// This thread's CPU time in microseconds.
fn cpu() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
