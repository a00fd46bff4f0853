//! Event streams: how long the parser takes per event, by shape of the event and size of the reads, and the encoder.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tautline::sse::{Event, Parser};
use tautline::{Buffers, Input, Output};

/// Some 256 KiB of the same event.
fn stream(event: &str) -> Vec<u8> {
    event.repeat((256 << 10) / event.len() + 1).into_bytes()
}

/// Feeds `stream` in reads of `step` bytes, each copied into a read buffer first, and counts the events.
fn parse(parser: &mut Parser, buffers: &mut Buffers, read: &mut [u8], stream: &[u8]) -> usize {
    let mut events = 0;
    for chunk in stream.chunks(read.len()) {
        let read = &mut read[..chunk.len()];
        read.copy_from_slice(chunk);
        let mut input = Input::with_buffers(read, buffers);
        while let Some(event) = parser.next_event(&mut input).expect("no limit is broken") {
            black_box(event);
            events += 1;
        }
    }
    events
}

fn parsing(c: &mut Criterion) {
    let shapes = [
        ("token", String::from("data: {\"i\":10000001,\"t\":\"abcdefghi\"}\n\n")),
        ("multi", format!("id: 1755000001\nevent: update\n{}\n", "data: abcdefghijklmnopqrst\n".repeat(4))),
        ("big16k", format!("data: {}\n\n", "x".repeat(16 << 10))),
    ];
    for (name, event) in &shapes {
        let stream = stream(event);
        let mut group = c.benchmark_group(format!("sse_parse_{name}"));
        group.throughput(Throughput::Elements((stream.len() / event.len()) as u64));
        for step in [1460, 16 << 10, 1] {
            let (mut parser, mut buffers, mut read) = (Parser::new(), Buffers::new(), vec![0; step]);
            group.bench_function(step.to_string(), |b| {
                b.iter(|| parse(&mut parser, &mut buffers, &mut read, black_box(&stream)));
            });
        }
        group.finish();
    }
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("sse_encode");
    let lines = ["abcdefghijklmnopqrst"; 4].join("\n");
    for (name, event) in [
        ("token", Event::new("{\"i\":10000001,\"t\":\"abcdefghi\"}")),
        ("multi", Event::new(&lines).with_event("update").with_id("1755000001")),
    ] {
        let mut out = Output::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                black_box(&event).encode(&mut out).expect("it fits");
                if out.len() > 64 << 10 {
                    out.clear();
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parsing, encoding);
criterion_main!(benches);
