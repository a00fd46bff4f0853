//! A desk for tests: a log, topics that retain in different ways, and publications.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::sync::Arc;
use std::time::Duration;
use tautline::Instant;
use tautline::hub::{
    Attachment, Cursor, Delivery, Desk, Entry, First, HistoryLimits, HubConfig, Identity, Item, Keeps, LogId, Most,
    Policies, Position, Publication, Pulled, Resume, SessionId, TopicLimits, TopicPolicy, notice,
};
use tautline::sse::Event;

pub const LOG: LogId = LogId(0xbeef);
pub const OTHER: LogId = LogId(0xdead);
pub const ORIGIN: Position = at(1000);
pub const WITHIN: Duration = Duration::from_secs(30);

/// `few` keeps 3 events, `brief` 10 for 50 ms, `latest` the latest of each slot, `none` nothing, `quiet` is never published to.
pub const TOPICS: [&str; 5] = ["few", "brief", "latest", "none", "quiet"];

pub const fn at(ms: u64) -> Position {
    Position { ms, seq: 0 }
}

pub const fn cursor(position: Position) -> Cursor {
    Cursor { position, log: Some(LOG) }
}

pub const ALL: Most = Most { events: usize::MAX, bytes: usize::MAX, first: First::Any };

pub fn config() -> Arc<HubConfig> {
    let policy = |history| TopicPolicy { history, ..TopicPolicy::default() };
    let limits = HistoryLimits::default();
    let policies = Policies::default()
        .with("few", policy(HistoryLimits { events: 3, ..limits }))
        .with("brief", policy(HistoryLimits { events: 10, age: Duration::from_millis(50), ..limits }))
        .with("latest", policy(HistoryLimits { events: 3, keeps: Keeps::LatestPerSlot, ..limits }))
        .with("none", policy(HistoryLimits { events: 0, ..limits }));
    Arc::new(HubConfig { policies, acknowledge_within: WITHIN, ..HubConfig::default() })
}

pub fn desk() -> Desk<Arc<Publication>> {
    Desk::new(config(), TopicLimits::default(), LOG, ORIGIN)
}

pub fn publication(position: Position, topic: &str, slot: &str, except: Option<SessionId>) -> Arc<Publication> {
    let data = format!("{}", position.ms);
    let entry = Entry::in_slot(topic, &Event::new(&data), slot).unwrap();
    Arc::new(Publication::new(cursor(position), entry, except, Default::default()))
}

pub fn who<'a>(topics: &'a [(&'a str, Option<Resume>)], resume: Resume) -> Attachment<'a> {
    Attachment {
        session: SessionId(1),
        identity: Identity::default(),
        topics,
        resume,
        delivery: Delivery::Plain,
        acknowledged: None,
        head: Position::ZERO,
    }
}

pub const NOW: Instant = Instant::from_millis(5000);

/// What a pull gives, as words: an event is its position, a notice its event and data.
pub fn words(items: &[Item<Arc<Publication>>]) -> Vec<String> {
    let word = |item: &Item<Arc<Publication>>| match item {
        Item::Publication(publication) => publication.cursor().position.ms.to_string(),
        Item::Notice(block) => {
            let parts = notice::parts(std::str::from_utf8(block).unwrap());
            let topic = parts.topic.map(|topic| format!("{topic} ")).unwrap_or_default();
            format!("{} {topic}{}", parts.event.strip_prefix("tautline.").unwrap(), parts.data)
        }
    };
    items.iter().map(word).collect()
}

pub fn pull(desk: &mut Desk<Arc<Publication>>, subscriber: u32) -> Vec<String> {
    let mut items = Vec::new();
    assert_ne!(desk.pull(subscriber, ALL, NOW, &mut items), Pulled::More);
    words(&items)
}
