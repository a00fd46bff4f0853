//! What topics and sequences take of memory, and that it comes back. Ids are those of docs/BAD_INPUTS.md.

mod counting;

use counting::counts;
use std::sync::Arc;
use tautline::hub::{Sequence, SequenceLimits, Subscribed, TopicLimits, Topics};

fn topics() -> Topics {
    Topics::new(TopicLimits::default())
}

/// Random numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(n)) as u32
    }
}

#[test]
fn a_subscriber_takes_8_bytes_without_a_topic_and_4_more_with_its_first() {
    let mut topics = topics();
    let before = counts().live;
    assert_eq!(topics.subscribe(99_999, "a"), Ok(Subscribed::New));
    let alone = counts().live - before;
    assert!(alone <= 100_000 * 8 + 1024, "{alone} bytes for 99,999 subscribers without a topic");
    for subscriber in 0..99_999 {
        assert_eq!(topics.subscribe(subscriber, "a"), Ok(Subscribed::New));
    }
    // The array's capacity is the next power of two.
    let all = counts().live - before - alone;
    assert!(all <= 4 * 131_072 + 1024, "{all} bytes for 100,000 subscribers of one topic");
    assert_eq!(topics.subscribers("a").len(), 100_000);
}

#[test]
fn q3_after_a_million_joins_and_leaves_nothing_is_left() {
    let mut topics = topics();
    let (before, mut random) = (counts().live, Random(1));
    let mut joined = 0;
    while joined < 1_000_000 {
        // A wave of up to 20,000 subscribers with up to 4 topics each, then gone in one of three ways.
        let wave = 1 + random.below(20_000);
        for subscriber in 0..wave {
            for _ in 0..=random.below(4) {
                let name = format!("room/{}", random.below(1 + wave / 4));
                joined += u32::from(topics.subscribe(subscriber, &name) == Ok(Subscribed::New));
            }
        }
        for i in 0..wave {
            let subscriber = [i, wave - 1 - i, i ^ 1][wave as usize % 3];
            let names: Vec<String> = topics.topics_of(subscriber).map(str::to_owned).collect();
            names.iter().step_by(2).for_each(|name| _ = topics.unsubscribe(subscriber, name));
            topics.forget(subscriber);
        }
        (0..wave).for_each(|subscriber| topics.forget(subscriber));
        assert!(topics.is_empty());
    }
    let left = counts().live - before;
    // An empty map keeps its root.
    assert!(left <= 512, "{left} bytes after {joined} joins");
}

#[test]
fn q3_a_million_joins_and_leaves_beside_those_who_stay_leave_memory_as_it_was() {
    let mut topics = topics();
    let mut random = Random(2);
    let empty = counts().live;
    for stays in 0..10_000 {
        assert_eq!(topics.subscribe(stays, &format!("user:{stays:05}")), Ok(Subscribed::New));
        assert_eq!(topics.subscribe(stays, "everyone"), Ok(Subscribed::New));
    }
    let before = counts().live - empty;
    let mut joined = 0;
    while joined < 1_000_000 {
        let wave = 1 + random.below(20_000);
        for subscriber in 10_000..10_000 + wave {
            for name in ["everyone", &format!("user:{subscriber:05}"), &format!("user:{:05}", random.below(10_000))] {
                joined += u32::from(topics.subscribe(subscriber, name) == Ok(Subscribed::New));
            }
        }
        (10_000..10_000 + wave).for_each(|subscriber| topics.forget(subscriber));
    }
    assert_eq!((topics.len(), topics.subscribers("everyone").len()), (10_001, 10_000));
    let after = counts().live - empty;
    assert!(after <= before + before / 100, "{before} bytes before, {after} after {joined} joins");
}

#[test]
fn q3_one_who_joins_and_leaves_for_ever_is_not_seen() {
    let mut topics = topics();
    assert_eq!(topics.subscribe(0, "stays"), Ok(Subscribed::New));
    topics.subscribe(1, "goes").unwrap();
    topics.forget(1);
    let before = counts().live;
    for _ in 0..1_000_000 {
        assert_eq!(topics.subscribe(1, "goes"), Ok(Subscribed::New));
        topics.forget(1);
    }
    assert!(counts().live <= before, "{} and {before}", counts().live);
}

#[test]
fn a_burst_through_a_sequence_leaves_no_room_behind() {
    let mut sequence = Sequence::new(SequenceLimits::default());
    let readers = [sequence.add_reader(), sequence.add_reader()];
    let before = counts().live;
    for i in 0..65_536u32 {
        sequence.push(Arc::new(i), 1).unwrap();
    }
    let full = counts().live - before;
    for reader in readers {
        for _ in 0..65_536 / 16 {
            assert_eq!(sequence.read(reader, 16, &mut Vec::with_capacity(16)), 16);
        }
    }
    let after = counts().live - before;
    assert!(sequence.is_empty() && full > 1 << 20 && after <= 1024 * 32, "{full} bytes full, {after} after");
}

#[test]
fn without_readers_pushes_take_nothing() {
    let mut sequence = Sequence::new(SequenceLimits::default());
    let before = counts();
    for _ in 0..1000 {
        sequence.push((), 1 << 20).unwrap();
    }
    assert_eq!((counts().calls, counts().live), (before.calls, before.live));
}
