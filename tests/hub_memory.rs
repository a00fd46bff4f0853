//! What topics and sequences take of memory, and that it comes back. Ids are those of docs/BAD_INPUTS.md.

mod counting;

use counting::counts;
use std::sync::Arc;
use std::time::Duration;
use tautline::hub::{
    Acknowledged, AcknowledgedLimits, Keys, KeysLimits, Owner, Parked, Position, Presence, PresenceLimits, Sequence,
    SequenceLimits, SessionId, Subscribed, TopicLimits, Topics,
};
use tautline::time::Instant;

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

#[test]
fn q3_after_a_million_users_came_and_went_nothing_is_left_of_presence() {
    let mut presence = Presence::new(PresenceLimits::default());
    let (before, mut random, mut now) = (counts().live, Random(3), Instant::ORIGIN);
    let (mut joined, mut came, mut went) = (0, 0, 0);
    while joined < 1_000_000 {
        // A wave of users in rooms of up to ten, each with up to 3 connections of up to 2 sessions; some come back within the grace.
        let wave = 1 + random.below(20_000);
        let mut connections = Vec::new();
        for i in 0..wave {
            for _ in 0..=random.below(3) {
                connections.push((format!("room/{}", i / 10), format!("user {i}"), SessionId(random.below(2).into())));
            }
        }
        for round in 0..2 {
            for (topic, user, session) in &connections {
                came += usize::from(presence.join(topic, user, *session).unwrap().is_some());
                joined += 1;
            }
            assert_eq!(presence.len(), wave as usize);
            for (topic, user, session) in &connections {
                presence.leave(topic, user, *session, now);
            }
            now = now + Duration::from_secs(if round == 0 { 9 } else { 10 });
            while presence.handle_timeout(now).is_some() {
                went += 1;
            }
        }
        assert!(presence.is_empty() && presence.poll_timeout().is_none());
    }
    assert_eq!(came, went);
    let left = counts().live - before;
    // Empty maps keep their roots.
    assert!(left <= 8192, "{left} bytes after {joined} joins");
}

#[test]
fn q3_a_million_joins_and_leaves_beside_those_who_stay_leave_presence_as_it_was() {
    let mut presence = Presence::new(PresenceLimits { users_per_topic: 50_000, ..PresenceLimits::default() });
    let empty = counts().live;
    let mut now = Instant::ORIGIN;
    for stays in 0..10_000 {
        presence.join("everyone", &format!("user {stays:05}"), SessionId(stays)).unwrap();
    }
    let before = counts().live - empty;
    let mut joined = 0;
    while joined < 1_000_000 {
        let wave: Vec<_> = (10_000..30_000).map(|i| (format!("user {i:05}"), SessionId(i))).collect();
        for (user, session) in &wave {
            presence.join("everyone", user, *session).unwrap();
            joined += 1;
        }
        wave.iter().for_each(|(user, session)| presence.leave("everyone", user, *session, now));
        now = now + Duration::from_secs(10);
        while presence.handle_timeout(now).is_some() {}
    }
    assert_eq!(presence.len(), 10_000);
    let after = counts().live - empty;
    assert!(after <= before + before / 100, "{before} bytes before, {after} after {joined} joins");
}

#[test]
fn a_full_presence_takes_what_its_limits_say() {
    // The worst: each user alone in a topic of its own, both names as long as they may be.
    let mut presence = Presence::new(PresenceLimits::default());
    let before = counts().live;
    for i in 0..10_000 {
        presence.join(&format!("{i:0128}"), &format!("{i:0128}"), SessionId(i)).unwrap();
    }
    let worst = counts().live - before;
    assert!(worst <= 10_000 * 800, "{worst} bytes");
    // The usual: one topic, short names.
    let mut presence = Presence::new(PresenceLimits::default());
    let before = counts().live;
    for i in 0..10_000 {
        presence.join("room", &format!("user-{i:05}"), SessionId(i)).unwrap();
    }
    let usual = counts().live - before;
    assert!(usual <= 10_000 * 240, "{usual} bytes");
}

#[test]
fn keys_take_no_more_than_their_limits_and_give_back_what_is_over() {
    let mut keys = Keys::new(KeysLimits::default());
    let (before, mut random, mut now) = (counts().live, Random(4), Instant::ORIGIN);
    let mut most = 0;
    for i in 0..250_000u64 {
        let owner = match random.below(4) {
            0 => Owner::user(1),
            1 => Owner::session(SessionId(random.below(50).into())),
            _ => Owner::session(SessionId(i.into())),
        };
        keys.remember(owner, &format!("{i:064}"), Position { ms: i, seq: 0 }, now).unwrap();
        now = now + Duration::from_millis(random.below(3).into());
        most = most.max(counts().live - before);
    }
    assert_eq!(keys.len(), 65_536);
    assert!(most <= 32 << 20, "{most} bytes");
    keys.handle_timeout(now + Duration::from_secs(300));
    let left = counts().live - before;
    assert!(keys.is_empty() && left <= 8192, "{left} bytes");
}

#[test]
fn parked_polls_and_acknowledgements_are_small_and_leave_nothing() {
    let (mut parked, mut acknowledged) = (Parked::new(), Acknowledged::new(AcknowledgedLimits::default()));
    let (before, mut random, now) = (counts().live, Random(5), Instant::ORIGIN);
    // As random as they are.
    let sessions: Vec<_> = (0..19_000u128).map(|i| SessionId(u128::from(random.below(u32::MAX)) << 96 | i)).collect();
    let own = counts().live - before;
    for session in &sessions {
        assert_eq!(parked.park(*session, 7u64), None);
    }
    let each = (counts().live - before - own) / 19_000;
    assert!(each <= 64, "{each} bytes for a parked poll");
    let with_parked = counts().live;
    for session in &sessions {
        acknowledged.note(*session, Position::ZERO, now);
    }
    let each = (counts().live - with_parked) / 19_000;
    assert!(each <= 160, "{each} bytes for an acknowledgement");
    sessions.iter().for_each(|session| _ = parked.unpark(*session, &7));
    acknowledged.handle_timeout(now + Duration::from_secs(60));
    let left = counts().live - before - own;
    assert!(parked.is_empty() && acknowledged.is_empty() && left <= 4096, "{left} bytes");
}

#[test]
fn acknowledgements_are_bounded() {
    let mut acknowledged = Acknowledged::new(AcknowledgedLimits::default());
    let before = counts().live;
    for i in 0..200_000 {
        acknowledged.note(SessionId(i), Position::ZERO, Instant::from_nanos(i as u64));
    }
    let held = counts().live - before;
    assert!(acknowledged.len() == 65_536 && held <= 10 << 20, "{held} bytes");
}
