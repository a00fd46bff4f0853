//! A client in the test's own thread, and what it said.

use crate::net_support::{Running, WAIT};
use mio::{Events, Poll, Token};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tautline::client::{SessionConfig, SessionEvent, Transport, Transports};
use tautline::http::url::Url;
use tautline::hub::Cursor;
use tautline::net::Subscriber;

/// What a session said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The data of each event of topic `a`, which are numbers.
    pub(crate) numbers: Vec<u64>,
    /// The others, as topic and data.
    pub(crate) others: Vec<String>,
    pub(crate) gaps: Vec<String>,
    pub(crate) attached: Vec<Transport>,
    pub(crate) lost: Vec<(String, Duration)>,
    pub(crate) acknowledged: Vec<String>,
    pub(crate) refused: Vec<String>,
    pub(crate) subscribed: Vec<String>,
    pub(crate) closed: Option<String>,
}

pub(crate) struct Follower {
    pub(crate) subscriber: Subscriber,
    poll: Poll,
    pub(crate) said: Said,
}

/// Settings whose waits are short.
pub(crate) fn quick() -> SessionConfig {
    let mut config = SessionConfig::default();
    config.backoff.base = Duration::from_millis(100);
    config.backoff.cap = Duration::from_millis(400);
    config.ladder.cool_down = Duration::from_secs(1);
    config.probe = Duration::from_secs(2);
    config.poll = Duration::from_secs(2);
    config
}

pub(crate) fn only(transport: Transport) -> SessionConfig {
    SessionConfig { transports: Transports::only(transport), ..quick() }
}

impl Follower {
    /// Follows topic `a` through `address`, from the start of what is retained.
    pub(crate) fn new(config: SessionConfig, address: SocketAddr) -> Self {
        let url = Url::parse(&format!("http://{address}/")).unwrap();
        let endpoint = config.check(&url).unwrap();
        let poll = Poll::new().unwrap();
        let mut subscriber = Subscriber::new(endpoint, vec![address], poll.registry(), Token(0)).unwrap();
        subscriber.session().resume_from(Cursor::START);
        subscriber.session().subscribe("a", None).unwrap();
        Self { subscriber, poll, said: Said::default() }
    }

    /// One that has attached.
    pub(crate) fn attached(config: SessionConfig, server: &Running) -> Self {
        let mut follower = Self::new(config, server.address);
        follower.until("it is attached", |said| !said.attached.is_empty());
        follower
    }

    /// Runs until it is so.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&Said) -> bool) {
        let end = Instant::now() + WAIT;
        while !holds(&self.said) {
            assert!(Instant::now() < end, "in {WAIT:?} it did not come about that {what}: {}", self.summary());
            self.turn(Duration::from_millis(20));
        }
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.turn(Duration::from_millis(10));
        }
    }

    /// Has all numbers up to this one, each once and in order, and was told of no gap.
    #[track_caller]
    pub(crate) fn expect_exactly(&mut self, last: u64) {
        self.until(&format!("{last} is there"), |said| said.numbers.last() >= Some(&last));
        self.run_for(Duration::from_millis(30));
        let numbers = &self.said.numbers;
        assert!(numbers.iter().copied().eq(1..=last), "{}", self.summary());
        assert_eq!(self.said.gaps, Vec::<String>::new());
    }

    fn summary(&self) -> String {
        let Said { numbers, .. } = &self.said;
        let at = numbers.windows(2).position(|two| two[0] + 1 != two[1]);
        let around = at.map(|at| &numbers[at.saturating_sub(2)..(at + 4).min(numbers.len())]);
        format!(
            "{} numbers from {:?} to {:?}, odd at {around:?}; {:?}",
            numbers.len(),
            numbers.first(),
            numbers.last(),
            Said { numbers: vec![], ..Said::default() }.with(&self.said)
        )
    }

    fn turn(&mut self, most: Duration) {
        let said = &mut self.said;
        self.subscriber.turn(|_session, event| said.take(event));
        let mut events = Events::with_capacity(16);
        let wait = self.subscriber.poll_timeout().map_or(most, |wait| wait.min(most));
        match self.poll.poll(&mut events, Some(wait)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
        for event in &events {
            assert!(self.subscriber.handle(event));
        }
    }
}

impl Said {
    fn take(&mut self, event: SessionEvent<'_>) {
        match event {
            SessionEvent::Message(message) if message.topic == "a" => self.numbers.push(message.data.parse().unwrap()),
            SessionEvent::Message(message) => self.others.push(format!("{} {}", message.topic, message.data)),
            SessionEvent::Gap(gaps) => self.gaps.extend(gaps.map(|gap| format!("{} {}", gap.topic, gap.reason))),
            SessionEvent::Attached(transport) => self.attached.push(transport),
            SessionEvent::Lost { cause, wait, .. } => self.lost.push((cause.to_string(), wait)),
            SessionEvent::Acknowledged { key, .. } => self.acknowledged.push(key.to_owned()),
            SessionEvent::Refused(refused) => self.refused.push(format!("{refused:?}")),
            SessionEvent::Subscribed { topic } => self.subscribed.push(topic.to_owned()),
            SessionEvent::Closed(closed) => self.closed = Some(closed.to_string()),
            _ => {}
        }
    }

    /// All but the numbers, to be shown.
    fn with(self, other: &Self) -> Self {
        Self {
            others: other.others.clone(),
            gaps: other.gaps.clone(),
            attached: other.attached.clone(),
            lost: other.lost.clone(),
            acknowledged: other.acknowledged.clone(),
            refused: other.refused.clone(),
            subscribed: other.subscribed.clone(),
            closed: other.closed.clone(),
            ..self
        }
    }
}
