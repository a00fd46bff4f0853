//! What histories take of memory, that it is what they say, and that it comes back. Ids are those of docs/BAD_INPUTS.md.

mod counting;

use counting::counts;
use std::rc::Rc;
use std::time::Duration;
use tautline::hub::{HistoryLimits, Keeps, Position, Retain, Retained, RetainedLimits};

/// Of no bytes of its own, so that what is counted is places and names. As large as an `Arc`.
#[derive(Clone)]
struct Publication(Rc<(Position, [u8; 8])>);

impl Retain for Publication {
    fn position(&self) -> Position {
        self.0.0
    }

    fn bytes(&self) -> usize {
        // The two counts of the `Rc`, and what it holds.
        16 + size_of::<(Position, [u8; 8])>()
    }

    fn slot(&self) -> &str {
        core::str::from_utf8(&self.0.1).unwrap()
    }
}

fn publication(ms: u64, seq: u64, slot: u32) -> Publication {
    let mut name = [b'0'; 8];
    for (digit, place) in name.iter_mut().enumerate() {
        *place = b'a' + (slot >> (4 * digit) & 15) as u8;
    }
    Publication(Rc::new((Position { ms, seq }, name)))
}

fn retained() -> Retained<Publication> {
    Retained::new(RetainedLimits::default(), Position::ZERO)
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
fn nothing_is_on_the_heap_before_the_first_publication() {
    let before = counts();
    let retained = retained();
    assert_eq!((counts(), retained.bytes()), (before, 0));
}

#[test]
fn a_place_in_a_plain_topic_takes_what_a_publication_does() {
    let (mut retained, limits) = (retained(), HistoryLimits { events: 1 << 16, ..Default::default() });
    let limits = HistoryLimits { bytes: usize::MAX, ..limits };
    let one = publication(1, 0, 0);
    retained.push("a", &limits, publication(1, 0, 0));
    let before = counts().live;
    for seq in 1..1 << 16 {
        retained.push("a", &limits, publication(1, seq, 0));
    }
    let each = (counts().live - before) as f64 / f64::from(1 << 16);
    let own = (one.bytes() + size_of::<Publication>()) as f64;
    assert_eq!(retained.publications(), 1 << 16);
    assert!(each <= own + 0.01, "{each} bytes for one, {own} of them its own");
}

#[test]
fn a_publication_beyond_the_limit_allocates_nothing_but_itself() {
    for keeps in [Keeps::All, Keeps::LatestPerSlot] {
        for events in [1, 2, 100] {
            let (mut retained, limits) = (retained(), HistoryLimits { events, keeps, ..Default::default() });
            for seq in 0..1000 {
                retained.push("a", &limits, publication(1, seq, 0));
            }
            let before = counts();
            for seq in 1000..2000 {
                retained.push("a", &limits, publication(1, seq, 0));
            }
            let (calls, live) = (counts().calls - before.calls, counts().live - before.live);
            // One of one slot leaves two empty maps and fills them again.
            let each = if keeps == Keeps::All { 1 } else { 3 };
            assert!(calls <= 1000 * each && live == 0, "{calls} allocations, {live} bytes more, {events} {keeps:?}");
        }
    }
}

#[test]
fn what_is_counted_covers_what_is_taken_and_not_twice_as_much_again() {
    // Topics with names of so many bytes, each with so many publications.
    for keeps in [Keeps::All, Keeps::LatestPerSlot] {
        for (topics, name, events) in
            [(30_000u32, 6, 1), (30_000, 128, 1), (20_000, 6, 3), (5_000, 20, 100), (1, 6, 100_000)]
        {
            let mut retained = retained();
            let limits = HistoryLimits { events: usize::MAX, bytes: usize::MAX, age: Duration::MAX, keeps };
            let mut random = Random(3);
            let empty = counts().live;
            for seq in 0..topics * events {
                // Names come in no order, as maps like it least.
                let topic = format!("{:0name$}", (seq % topics) * 7_919 % topics);
                retained.push(&topic, &limits, publication(1, u64::from(seq), seq / topics + (random.below(4) << 20)));
            }
            let taken = (counts().live - empty) as usize;
            let counted = retained.bytes();
            assert!(taken <= counted + counted / 20 && counted <= 2 * taken, "{taken} taken, {counted} counted");
            // Half of it gone: it still is.
            retained.shed(counted / 2);
            let (taken, counted) = ((counts().live - empty) as usize, retained.bytes());
            assert!(taken <= counted + counted / 5, "{taken} taken, {counted} counted when half is shed");
        }
    }
}

/// Waves of publications on changing topics, each wave over its age before the next; at most `wave` topics at a time.
fn waves(
    retained: &mut Retained<Publication>,
    ms: &mut u64,
    mut end_of_wave: impl FnMut(&mut Retained<Publication>, u64),
) {
    let mut random = Random(5);
    let mut pushed = 0;
    while pushed < 1_000_000 {
        let wave = 1 + random.below(20_000);
        for seq in 0..wave * (1 + random.below(8)) {
            let topic = format!("room/{}", random.below(wave));
            let keeps = if topic.ends_with('3') { Keeps::LatestPerSlot } else { Keeps::All };
            let limits = HistoryLimits { events: 1 + random.below(40) as usize, keeps, ..Default::default() };
            retained.push(&topic, &limits, publication(*ms, u64::from(seq), random.below(9)));
            pushed += 1;
        }
        *ms += 300_000;
        end_of_wave(retained, *ms);
    }
}

#[test]
fn q3_after_a_million_publications_that_grew_old_nothing_is_left() {
    let mut retained = retained();
    let (before, mut now) = (counts().live, 1);
    waves(&mut retained, &mut now, |retained, ms| {
        retained.let_go(ms);
        assert_eq!((retained.topics(), retained.publications(), retained.bytes()), (0, 0, 0));
        assert_eq!(retained.next_expiry(), None);
    });
    let left = counts().live - before;
    // An empty map keeps its root.
    assert!(left <= 2048, "{left} bytes");
}

#[test]
fn q3_after_a_million_publications_that_were_shed_nothing_is_left() {
    let mut retained = retained();
    let (before, mut now) = (counts().live, 1);
    waves(&mut retained, &mut now, |retained, _| {
        while retained.shed(100_000) > 0 {}
        assert_eq!((retained.topics(), retained.publications(), retained.bytes()), (0, 0, 0));
    });
    let left = counts().live - before;
    assert!(left <= 2048, "{left} bytes");
}

#[test]
fn q3_a_million_publications_beside_those_that_stay_leave_memory_as_it_was() {
    let mut retained = retained();
    let empty = counts().live;
    let mut now = 1;
    let stay = HistoryLimits { age: Duration::MAX, ..Default::default() };
    for user in 0..10_000u64 {
        for seq in 0..3 {
            retained.push(&format!("user:{user:05}"), &stay, publication(now, user * 3 + seq, 0));
        }
    }
    now += 1;
    // Records stay where an age is for ever, until there are too many: one topic for all that come and go.
    let before = counts().live - empty;
    let mut random = Random(6);
    let mut pushed = 0;
    while pushed < 1_000_000 {
        for seq in 0..1 + random.below(20_000) {
            let limits = HistoryLimits { events: usize::MAX, age: Duration::from_secs(1), ..Default::default() };
            retained.push(&format!("everyone{}", seq % 8), &limits, publication(now, u64::from(seq), 0));
            pushed += 1;
        }
        now += 1000;
        retained.let_go(now);
    }
    assert_eq!((retained.topics(), retained.publications()), (10_008, 30_000));
    let after = counts().live - empty;
    assert!(after <= before + before / 100, "{before} bytes before, {after} after");
}

#[test]
fn a_budget_holds_what_is_taken_whatever_is_published() {
    let budget = 4 << 20;
    let mut retained = Retained::new(RetainedLimits { topics: 100_000, bytes: budget }, Position::ZERO);
    let empty = counts().live;
    let mut random = Random(7);
    for i in 0..300_000u64 {
        let topic = format!("{}", random.below(1 << (4 + i / 20_000)));
        let keeps = if topic.ends_with('3') { Keeps::LatestPerSlot } else { Keeps::All };
        let limits = HistoryLimits { keeps, events: random.below(300) as usize, ..Default::default() };
        retained.push(&topic, &limits, publication(i, 0, random.below(50)));
        let taken = counts().live - empty;
        assert!(taken <= budget as i64 + budget as i64 / 4, "{taken} bytes taken at {i}");
        assert!(retained.bytes() <= budget);
    }
    assert!(retained.bytes() > budget - 1024);
}
