//! What the settings of tautline's permessage-deflate come to: bytes on the wire and time per message, for JSON of several lengths.
//!
//! ```text
//! cargo run --release --bin deflate_settings                   # the whole table, about a minute
//! cargo run --release --bin deflate_settings -- echo 1 10000   # so many echoes of 1 KiB at this level, with context takeover; for a profiler
//! ```

#[path = "../servers/json.rs"]
mod json;
#[allow(dead_code, reason = "the load of `servers` uses the rest")]
#[path = "../servers/random.rs"]
mod random;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use tautline::http::Version;
use tautline::http::upgrade::{Upgrade, UpgradeConfig};
use tautline::ws::{Config, Connection, Deflate, DeflateConfig, Event, Takeover};
use tautline::{Buffers, Input, Instant, Output};

const SIZES: [usize; 5] = [100, 300, 1024, 4096, 16384];
const LEVELS: [u8; 4] = [1, 2, 3, 6];
const MEMORIES: [u8; 4] = [4, 5, 6, 8];

/// In turn, so that none finds its state in the cache, as on a server.
const CONNECTIONS: usize = 64;

/// Each has a share of the messages, which a round sends once. The first round fills windows and is not timed.
const ROUNDS: usize = 6;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => table(),
        ["echo", level, count] => match (level.parse(), count.parse()) {
            (Ok(level), Ok(count)) => echo(level, count),
            _ => return ExitCode::FAILURE,
        },
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

fn table() {
    println!("| payload | takeover | level | {} |", MEMORIES.map(|memory| format!("memory {memory}")).join(" | "));
    println!("|---|---|---|{}", "---|".repeat(MEMORIES.len()));
    for size in SIZES {
        for takeover in [Takeover::Kept, Takeover::None] {
            let mut best = [[(0.0, f64::MAX, f64::MAX); MEMORIES.len()]; LEVELS.len()];
            // Twice, one setting after the other: what disturbs the machine for a while is in one of them.
            for _ in 0..2 {
                for (level, row) in LEVELS.iter().zip(&mut best) {
                    for (memory, cell) in MEMORIES.iter().zip(row) {
                        let (bytes, sending, receiving) = cost(size, takeover, *level, *memory);
                        *cell = (bytes, cell.1.min(sending), cell.2.min(receiving));
                    }
                }
            }
            for (level, row) in LEVELS.iter().zip(best) {
                let cells =
                    row.map(|(bytes, sending, receiving)| format!("{bytes:.0} B {sending:.1} + {receiving:.1} us"));
                println!("| {size} | {takeover:?} | {level} | {} |", cells.join(" | "));
            }
        }
    }
}

/// Bytes of a message's frame, and the microseconds that sending and receiving it take: of the best round.
fn cost(size: usize, takeover: Takeover, level: u8, memory: u8) -> (f64, f64, f64) {
    let config = DeflateConfig { level, memory, threshold: 0, server_takeover: takeover, ..DeflateConfig::DEFAULT };
    let agreed = agreed(&config);
    let each = ((64 << 10) / size).clamp(4, 32);
    let mut pairs: Vec<(Connection, Connection)> = (0..CONNECTIONS).map(|_| pair(agreed)).collect();
    let (mut out, mut replies, mut buffers) = (Output::new(), Output::new(), Buffers::new());
    let (mut bytes, mut sending, mut receiving) = (0, f64::MAX, f64::MAX);
    for round in 0..ROUNDS {
        let texts: Vec<String> =
            (0..each * CONNECTIONS).map(|nth| json::message((round * each * CONNECTIONS + nth) as u64, size)).collect();
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
        if round > 0 {
            let count = texts.len() as f64;
            bytes += wire.len();
            sending = sending.min((sent - before) / count);
            receiving = receiving.min((cpu() - sent) / count);
        }
    }
    (bytes as f64 / ((ROUNDS - 1) * each * CONNECTIONS) as f64, sending, receiving)
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
