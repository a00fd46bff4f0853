//! What is true, and what a client saw of it: every promise is checked as each event is reported.

use std::collections::{BTreeMap, BTreeSet};
use tautline::hub::{Cursor, LogId, Position, SessionId};

/// Something that was published.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) position: Position,
    /// The number that begins its data.
    pub(crate) uid: u64,
    pub(crate) except: Option<SessionId>,
    pub(crate) slot: Box<str>,
    pub(crate) ephemeral: bool,
}

/// Everything that was published, log by log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    logs: Vec<LogId>,
    facts: BTreeMap<(usize, String), Vec<Fact>>,
    ephemeral: BTreeMap<u64, (String, Option<SessionId>)>,
    /// Which numbers are in which log.
    uids: BTreeSet<(usize, u64)>,
    pub(crate) published: u64,
}

impl Ledger {
    pub(crate) fn begin(&mut self, log: LogId) {
        self.logs.push(log);
    }

    pub(crate) fn note(&mut self, topic: &str, fact: Fact) {
        let log = self.logs.len() - 1;
        // Every client sends each of its publications with a key: in one log it takes effect once.
        assert!(
            self.uids.insert((log, fact.uid)),
            "publication {} took effect twice, at last at {:?}",
            fact.uid,
            fact.position
        );
        self.published += 1;
        if fact.ephemeral {
            self.ephemeral.insert(fact.uid, (topic.into(), fact.except));
        } else {
            self.facts.entry((log, topic.into())).or_default().push(fact);
        }
    }

    fn log(&self, id: LogId) -> usize {
        self.logs.iter().position(|log| *log == id).unwrap_or_else(|| panic!("a log that never was: {id:?}"))
    }

    fn of(&self, log: usize, topic: &str) -> &[Fact] {
        self.facts.get(&(log, topic.into())).map_or(&[], |facts| facts)
    }
}

/// A place in the order of all logs.
type Place = (usize, Position);

/// What a client has seen, and what it is owed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness {
    topics: BTreeMap<String, Seen>,
    /// The last place of an event of a topic that does not catch up by itself.
    last: Option<Place>,
    /// Sessions that were this client's.
    pub(crate) sessions: BTreeSet<SessionId>,
    ephemeral: BTreeSet<u64>,
    pub(crate) events: u64,
    pub(crate) gaps: u64,
    pub(crate) missed: u64,
}

#[derive(Clone, Debug)]
struct Seen {
    /// The last event.
    last: Option<Place>,
    /// Everything up to there came, or was told of; `None` while nothing is owed yet.
    complete: Option<Place>,
    /// Of what was told as a gap, or of what there was before the beginning, what is not retained any more may be missing.
    excuse: Excuse,
    /// It catches up by itself.
    own: bool,
    /// It was asked for without a cursor.
    live: bool,
    /// The step in which it was subscribed to.
    since: u64,
    conflates: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excuse {
    None,
    /// A gap was told: it speaks of what was published by then.
    UpTo(Place),
    /// Everything that is retained was asked for, and no answer is complete yet.
    Open,
}

/// What the witness asks the world.
pub(crate) struct Truth<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) head: Position,
    /// Whether an event of the present log is still retained everywhere.
    pub(crate) retained: &'a dyn Fn(&str, &Fact) -> bool,
    /// The client's session of now.
    pub(crate) session: Option<SessionId>,
}

impl Truth<'_> {
    fn now(&self) -> Place {
        (self.ledger.logs.len() - 1, self.head)
    }
}

impl Seen {
    /// What there was has come.
    fn begun(&mut self, truth: &Truth<'_>) {
        if self.excuse == Excuse::Open {
            self.excuse = Excuse::UpTo(truth.now());
        }
    }
}

impl Witness {
    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(|topic| &**topic)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.topics.values().all(|seen| !seen.own && seen.complete.is_some())
    }

    /// From where on a topic was asked for: `None` is live.
    pub(crate) fn subscribe(&mut self, truth: &Truth<'_>, topic: &str, from: Option<Cursor>, own: bool, step: u64) {
        let complete = from.map(|cursor| match cursor.log {
            Some(log) => (truth.ledger.log(log), cursor.position),
            None => (truth.ledger.logs.len() - 1, Position::ZERO),
        });
        let excuse = if from == Some(Cursor::START) { Excuse::Open } else { Excuse::None };
        let conflates = topic.starts_with("cat/");
        self.topics.insert(
            topic.into(),
            Seen { last: None, complete, excuse, own, live: from.is_none(), since: step, conflates },
        );
    }

    pub(crate) fn unsubscribe(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    pub(crate) fn message(&mut self, truth: &Truth<'_>, topic: &str, cursor: Option<Cursor>, data: &str) {
        let uid: u64 = data.split(' ').next().unwrap_or_default().parse().expect("data begins with its number");
        self.events += 1;
        assert!(self.topics.contains_key(topic), "event {uid} of {topic}, which was unsubscribed from");
        let Some(cursor) = cursor else {
            let (of, except) =
                truth.ledger.ephemeral.get(&uid).unwrap_or_else(|| panic!("{uid} has a place, but came without"));
            assert_eq!(of, topic);
            assert!(except.is_none() || *except != truth.session, "ephemeral {uid} was kept from its sender");
            assert!(self.ephemeral.insert(uid), "ephemeral {uid} came twice");
            return;
        };
        let log = truth.ledger.log(cursor.log.expect("a cursor has a log"));
        let place = (log, cursor.position);
        let facts = truth.ledger.of(log, topic);
        let at = facts.binary_search_by_key(&cursor.position, |fact| fact.position);
        let fact = &facts[at.unwrap_or_else(|_| panic!("nothing was published on {topic} at {cursor}"))];
        assert_eq!(fact.uid, uid, "another event at {cursor}");
        assert!(fact.except.is_none() || fact.except != truth.session, "{uid} on {topic} was kept from its sender");
        self.account(truth, topic, place, false);
        let seen = self.topics.get_mut(topic).expect("subscribed");
        assert!(seen.last < Some(place), "{uid} on {topic} at {place:?} behind {:?}", seen.last);
        seen.last = Some(place);
        if matches!(seen.excuse, Excuse::UpTo(to) if to <= place) {
            seen.excuse = Excuse::None;
        }
        seen.complete = seen.complete.max(Some(place));
        if !seen.own {
            assert!(self.last < Some(place), "{uid} on {topic} at {place:?}, behind another at {:?}", self.last);
            self.last = Some(place);
        }
    }

    /// Everything of a topic up to a place (itself included or not) has to have come, or to be told of.
    fn account(&mut self, truth: &Truth<'_>, topic: &str, (log, to): Place, included: bool) {
        let sessions = &self.sessions;
        let seen = self.topics.get_mut(topic).expect("subscribed");
        let Some((known, mut from)) = seen.complete else { return };
        if known > log {
            return;
        }
        if known < log {
            assert!(seen.excuse != Excuse::None, "events of {topic} of a new log at {to:?}, and no word of it");
            from = Position::ZERO;
        }
        let facts = truth.ledger.of(log, topic);
        let begin = facts.partition_point(|fact| fact.position <= from);
        for (at, fact) in facts.iter().enumerate().skip(begin) {
            if fact.position > to || fact.position == to && !included {
                break;
            }
            if fact.except.is_some_and(|session| sessions.contains(&session)) {
                continue;
            }
            let newer = || facts[at + 1..].iter().any(|newer| newer.slot == fact.slot);
            if seen.conflates && newer() {
                continue;
            }
            self.missed += 1;
            let excused = match seen.excuse {
                Excuse::None => false,
                Excuse::UpTo(to) => (log, fact.position) <= to,
                Excuse::Open => true,
            };
            assert!(
                excused,
                "{} on {topic} at {:?} is missing, and no gap was told: complete to {from:?}, now {to:?}",
                fact.uid, fact.position
            );
            let present = log == truth.ledger.logs.len() - 1;
            assert!(
                !(present && (truth.retained)(topic, fact)),
                "{} on {topic} at {:?} was told as a gap, and is retained",
                fact.uid,
                fact.position
            );
        }
    }

    /// The client's cursor says that it has everything up to there.
    pub(crate) fn claim(&mut self, truth: &Truth<'_>, cursor: Cursor) {
        let Some(log) = cursor.log else { return };
        let place = (truth.ledger.log(log), cursor.position);
        let topics: Vec<_> = self
            .topics
            .iter()
            .filter(|(_, seen)| !seen.own && seen.complete.is_some_and(|to| to < place))
            .map(|(topic, _)| topic.clone())
            .collect();
        for topic in topics {
            self.account(truth, &topic, place, true);
            let seen = self.topics.get_mut(&topic).expect("subscribed");
            seen.complete = Some(place);
        }
    }

    pub(crate) fn gap(&mut self, truth: &Truth<'_>, topic: &str, reason: &str) {
        self.gaps += 1;
        let now = truth.now();
        // Of what was unsubscribed from meanwhile it says nothing.
        if let Some(seen) = self.topics.get_mut(topic) {
            match (reason, seen.excuse) {
                (_, Excuse::Open) => {}
                ("expired", _) => seen.excuse = Excuse::UpTo(now),
                // The client begins anew: should it be cut off, it asks for everything there is.
                _ => seen.excuse = Excuse::Open,
            }
        }
    }

    /// A connection stands. What has no place may come again on it: from a worker that is behind the one it came from before.
    pub(crate) fn connected(&mut self) {
        self.ephemeral.clear();
    }

    /// A topic has caught up with the others.
    pub(crate) fn caught_up(&mut self, truth: &Truth<'_>, topic: &str) {
        if let Some(seen) = self.topics.get_mut(topic) {
            seen.own = false;
            // What is published from now on is owed.
            seen.complete.get_or_insert(truth.now());
            seen.begun(truth);
        }
    }

    /// Attached, by a request that was sent after `born`: what it named has caught up.
    pub(crate) fn attached(&mut self, truth: &Truth<'_>, cursor: Option<Cursor>, born: u64) {
        let place = cursor.and_then(|cursor| Some((truth.ledger.log(cursor.log?), cursor.position)));
        for seen in self.topics.values_mut().filter(|seen| seen.since < born) {
            if seen.live {
                // It was named without a cursor: it goes with the others.
                seen.own = false;
            }
            seen.complete = seen.complete.or(place);
            if !seen.own {
                seen.begun(truth);
            }
        }
    }

    /// The client goes on from where it saved, in another process.
    pub(crate) fn restart(&mut self, truth: &Truth<'_>, cursor: Cursor, topics: &[String], step: u64) {
        self.topics.clear();
        self.last = None;
        self.sessions.clear();
        self.ephemeral.clear();
        for topic in topics {
            self.subscribe(truth, topic, Some(cursor), false, step);
        }
    }

    /// All is quiet: nothing is owed any more.
    pub(crate) fn settle(&mut self, truth: &Truth<'_>) {
        let head = truth.now();
        for topic in self.topics.keys().cloned().collect::<Vec<_>>() {
            assert!(self.topics[&topic].complete.is_some(), "{topic} never began: {:?}", self.topics[&topic]);
            self.account(truth, &topic, head, true);
        }
    }
}
