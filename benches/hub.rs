//! Histories: a publication at steady state, and what a subscriber gets that comes back: `cargo bench --bench hub`.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use tautline::hub::{HistoryLimits, Keeps, Position, Retain, Retained, RetainedLimits};

#[derive(Clone)]
struct Publication(Arc<(Position, String)>);

impl Retain for Publication {
    fn position(&self) -> Position {
        self.0.0
    }

    fn bytes(&self) -> usize {
        200
    }

    fn slot(&self) -> &str {
        &self.0.1
    }
}

/// Publications 10 microseconds apart, of one of 50 slots each.
struct Publisher(u64);

impl Publisher {
    fn next(&mut self) -> Publication {
        self.0 += 1;
        let position = Position { ms: 1 + self.0 / 100, seq: self.0 % 100 };
        Publication(Arc::new((position, format!("slot{}", self.0 * 7919 % 50))))
    }
}

/// So many topics, published on in turn until each has let go.
fn full(names: &[String], limits: &HistoryLimits, hub: RetainedLimits) -> (Retained<Publication>, Publisher) {
    let (mut retained, mut publisher) = (Retained::new(hub, Position::ZERO), Publisher(0));
    for name in names.iter().cycle().take(names.len() * 101) {
        retained.push(name, limits, publisher.next());
    }
    (retained, publisher)
}

fn names(topics: usize) -> Vec<String> {
    (0..topics).map(|topic| format!("room/{}", topic * 7919 % topics)).collect()
}

fn pushing(c: &mut Criterion) {
    let mut group = c.benchmark_group("hub_push");
    group.throughput(Throughput::Elements(1));
    let (plain, roomy) = (HistoryLimits::default(), RetainedLimits::default());
    let latest = HistoryLimits { keeps: Keeps::LatestPerSlot, ..plain };
    let tight = RetainedLimits { bytes: 8 << 20, ..roomy };
    for (name, topics, limits, hub) in [
        ("1 topic", 1, plain, roomy),
        ("1,000 topics", 1_000, plain, roomy),
        ("10,000 topics", 10_000, plain, roomy),
        ("1,000 topics, conflating", 1_000, latest, roomy),
        ("1,000 topics, hub full", 1_000, plain, tight),
    ] {
        let names = names(topics);
        let (mut retained, mut publisher) = full(&names, &limits, hub);
        let mut turn = 0;
        group.bench_function(name, |b| {
            b.iter_batched(
                || publisher.next(),
                |publication| {
                    turn = if turn + 1 == names.len() { 0 } else { turn + 1 };
                    retained.push(&names[turn], &limits, publication);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn resuming(c: &mut Criterion) {
    let (names, limits) = (names(1_000), HistoryLimits::default());
    let (retained, publisher) = full(&names, &limits, RetainedLimits::default());
    let head = 1 + publisher.0 / 100;
    let mut group = c.benchmark_group("hub_after");
    for topics in [1, 16, 128] {
        // Half of what is retained, and nothing but a look.
        for (what, from) in [("half", head / 2), ("nothing", head)] {
            let from = Position { ms: from, seq: u64::MAX };
            let asked = || names[..topics].iter().map(|name| (&name[..], from));
            group.throughput(Throughput::Elements((retained.after(asked()).count() as u64).max(1)));
            group.bench_function(format!("{topics} topics, {what}"), |b| {
                b.iter(|| retained.after(black_box(asked())).map(|p| p.position().seq).fold(0, u64::wrapping_add));
            });
            if topics == 1 {
                group.bench_function(format!("after_one, {what}"), |b| {
                    b.iter(|| {
                        let after = retained.after_one(black_box(&names[0]), from);
                        after.map(|p| p.position().seq).fold(0, u64::wrapping_add)
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, pushing, resuming);
criterion_main!(benches);
