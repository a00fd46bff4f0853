//! Receive, send and mask at four sizes. `cargo bench --bench ws`; figures of one machine compare only within one run.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use tautline::ws::{Config, Connection, Event, Prepared};
use tautline::{Buffers, Input, Instant, Output};

const SIZES: [usize; 4] = [16, 125, 1024, 16 << 10];
const NOW: Instant = Instant::from_millis(1);

/// The thread's read buffer.
const READ: usize = 64 << 10;

fn server() -> Connection {
    Connection::server(Arc::new(Config::DEFAULT), [7; 16], NOW)
}

fn client() -> Connection {
    Connection::client(Arc::new(Config::DEFAULT), [7; 16], NOW)
}

/// A client's frames, as many as fit `bytes` whole, and how many those are.
fn frames(payload: &[u8], text: bool, bytes: usize) -> (Vec<u8>, usize) {
    let mut sender = client();
    let mut out = Output::with_limit(bytes.max(payload.len() + 14));
    let mut count = 0;
    loop {
        let sent = if text {
            sender.send_text(std::str::from_utf8(payload).expect("text"), &mut out)
        } else {
            sender.send_binary(payload, &mut out)
        };
        if sent.is_err() {
            return (out.chunks().collect::<Vec<_>>().concat(), count);
        }
        count += 1;
    }
}

fn payload(kind: &str, size: usize) -> Vec<u8> {
    match kind {
        "multibyte" => {
            let mut text = "é漢😀a".repeat(size / 10 + 1).into_bytes();
            text.truncate(size);
            while std::str::from_utf8(&text).is_err() {
                text.pop();
            }
            text.resize(size, b'.');
            text
        }
        "binary" => (0..size).map(|i| (i * 89) as u8).collect(),
        _ => vec![b'a'; size],
    }
}

/// Reads `stream` in pieces of `read` bytes, from one buffer that is filled anew for each, as `recv` would.
fn receive(
    ws: &mut Connection,
    stream: &[u8],
    read: usize,
    buffer: &mut [u8],
    buffers: &mut Buffers,
    out: &mut Output,
) -> usize {
    let mut events = 0;
    for piece in stream.chunks(read) {
        let buffer = &mut buffer[..piece.len()];
        buffer.copy_from_slice(piece);
        let mut input = Input::with_buffers(buffer, buffers);
        while let Ok(Some(event)) = ws.next_event(&mut input, out, NOW) {
            match event {
                Event::Text(text) => events += usize::from(black_box(text).len() < usize::MAX),
                Event::Binary(bytes) => events += usize::from(black_box(bytes).len() < usize::MAX),
                other => panic!("{other:?}"),
            }
        }
    }
    events
}

/// A server's way in. `bulk`: reads of 64 KiB, which frames straddle. `single`: one frame per read.
fn receiving(c: &mut Criterion) {
    let mut group = c.benchmark_group("receive");
    let (mut buffer, mut buffers, mut out) = (vec![0; READ], Buffers::new(), Output::new());
    for size in SIZES {
        for kind in ["ascii", "multibyte", "binary"] {
            let payload = payload(kind, size);
            let (stream, count) = frames(&payload, kind != "binary", 4 * READ);
            group.throughput(Throughput::Elements(count as u64));
            for (way, read) in [("bulk", READ), ("single", stream.len() / count)] {
                group.bench_function(BenchmarkId::new(format!("{kind}/{way}"), size), |b| {
                    let mut ws = server();
                    b.iter(|| {
                        let events = receive(&mut ws, &stream, read, &mut buffer, &mut buffers, &mut out);
                        assert_eq!(events, count);
                    });
                });
            }
        }
    }
    group.finish();
}

/// Messages into a shared output, which is emptied every 64 KiB.
fn sending(c: &mut Criterion) {
    let mut group = c.benchmark_group("send");
    group.throughput(Throughput::Elements(1));
    for size in SIZES {
        let text = String::from_utf8(payload("ascii", size)).expect("text");
        let shared = bytes::Bytes::from(payload("binary", size));
        let prepared = Prepared::text(&text);
        let mut out = Output::new();
        let mut bench = |name: &str, mut send: Box<dyn FnMut(&mut Output) + '_>| {
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| {
                    send(&mut out);
                    if out.len() >= READ {
                        out.advance(out.len());
                    }
                });
            });
        };
        let mut ws = server();
        bench("server/text", Box::new(|out| ws.send_text(black_box(&text), out).expect("room")));
        let mut ws = server();
        bench("server/shared", Box::new(|out| ws.send_shared_binary(shared.clone(), out).expect("room")));
        let mut ws = server();
        bench("server/prepared", Box::new(|out| ws.send_prepared(&prepared, out).expect("room")));
        let mut ws = client();
        bench("client/text", Box::new(|out| ws.send_text(black_box(&text), out).expect("room")));
    }
    group.finish();
}

/// Unmasking alone, as far as the public API shows it: a binary message is unmasked and not checked.
fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group("unmask");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let (frame, _) = frames(&payload("binary", size), false, 0);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            let (mut ws, mut out, mut buffer) = (server(), Output::new(), frame.clone());
            b.iter(|| {
                // Only the header is needed again; what the payload was does not matter to an XOR.
                buffer[..14].copy_from_slice(&frame[..14]);
                let mut input = Input::new(&mut buffer);
                assert!(matches!(ws.next_event(&mut input, &mut out, NOW), Ok(Some(Event::Binary(_)))));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, receiving, sending, masking);
criterion_main!(benches);
