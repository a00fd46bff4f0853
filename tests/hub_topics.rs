//! Topics and subscribers: the same as the naive way to keep them, whatever comes and goes. Ids are those of docs/BAD_INPUTS.md.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tautline::hub::{DEFAULT_TOPIC, Subscribed, TopicError, TopicLimits, Topics, Unsubscribed, check_name};

fn topics() -> Topics {
    Topics::new(TopicLimits::default())
}

#[test]
fn a_topic_begins_with_its_first_subscriber_and_is_gone_with_its_last() {
    let mut topics = topics();
    assert!(topics.is_empty() && topics.subscribers("a").is_empty());
    assert_eq!(topics.subscribe(3, "a"), Ok(Subscribed::New));
    assert_eq!(topics.subscribe(3, "a"), Ok(Subscribed::Already));
    assert_eq!(topics.subscribe(900, "a"), Ok(Subscribed::New));
    assert_eq!((topics.len(), topics.subscribers("a")), (1, &[3, 900][..]));
    assert_eq!(topics.unsubscribe(4, "a"), Unsubscribed::NotSubscribed);
    assert_eq!(topics.unsubscribe(3, "b"), Unsubscribed::NotSubscribed);
    assert_eq!(topics.unsubscribe(3, "no name\n"), Unsubscribed::NotSubscribed);
    assert_eq!(topics.unsubscribe(3, "a"), Unsubscribed::Left);
    assert_eq!(topics.unsubscribe(3, "a"), Unsubscribed::NotSubscribed);
    assert_eq!(topics.subscribers("a"), [900]);
    topics.forget(5_000_000);
    topics.forget(900);
    topics.forget(900);
    assert!(topics.is_empty() && topics.topics_of(900).next().is_none());
}

#[test]
fn names_have_1_to_128_bytes_of_their_characters_and_no_others() {
    assert_eq!(check_name(DEFAULT_TOPIC), Ok(()));
    for b in 0..=127u8 {
        let allowed = b.is_ascii_alphanumeric() || b"_.:/-".contains(&b);
        let name = format!("a{}", b as char);
        assert_eq!(check_name(&name).is_ok(), allowed, "{name:?}");
    }
    for name in ["é", "a\u{200B}", "ａ", "a b", "a%20b", "a@1-0", "a,b"] {
        assert_eq!(check_name(name), Err(TopicError::BadCharacter), "{name:?}");
    }
    assert_eq!(check_name(&"x".repeat(128)), Ok(()));
    assert_eq!(check_name(&"x".repeat(129)), Err(TopicError::LongName));
}

#[test]
fn q2_the_129th_topic_is_refused_by_name_of_the_limit_and_the_others_stay() {
    let mut topics = topics();
    for i in 0..128 {
        assert_eq!(topics.subscribe(7, &format!("t{i}")), Ok(Subscribed::New));
    }
    let refused = topics.subscribe(7, "t128").unwrap_err();
    assert_eq!((refused, refused.status()), (TopicError::TooManyTopics { limit: 128 }, 400));
    assert!(refused.to_string().contains("128"), "{refused}");
    // The refused one did not begin; what is there may be asked for again; others are not touched; and room is room.
    assert_eq!((topics.len(), topics.subscribers("t128").len()), (128, 0));
    assert_eq!(topics.subscribe(7, "t127"), Ok(Subscribed::Already));
    assert_eq!(topics.subscribe(8, "t128"), Ok(Subscribed::New));
    assert_eq!(topics.unsubscribe(7, "t0"), Unsubscribed::Left);
    assert_eq!(topics.subscribe(7, "t128"), Ok(Subscribed::New));
    assert_eq!(topics.topics_of(7).len(), 128);
}

#[test]
fn q2_long_hostile_and_empty_names_are_refused_and_change_nothing() {
    let mut topics = topics();
    assert_eq!(topics.subscribe(0, "a"), Ok(Subscribed::New));
    let long = "x".repeat(10 << 10);
    let many = "\0".repeat(10 << 10);
    for (name, error) in [
        ("", TopicError::EmptyName),
        (&long[..], TopicError::LongName),
        (&many, TopicError::LongName),
        ("a\0", TopicError::BadCharacter),
        ("\0", TopicError::BadCharacter),
        ("a\nb", TopicError::BadCharacter),
        ("a\r", TopicError::BadCharacter),
        ("\n", TopicError::BadCharacter),
        (" a", TopicError::BadCharacter),
    ] {
        assert_eq!(topics.subscribe(0, name), Err(error), "{name:?}");
        assert_eq!(error.status(), 400);
        assert!(!error.to_string().contains(['\0', '\n']));
    }
    assert_eq!((topics.len(), topics.topics_of(0).collect::<Vec<_>>()), (1, vec!["a"]));
}

#[test]
fn a_full_hub_refuses_new_topics_and_lets_others_join_the_old() {
    let mut topics = Topics::new(TopicLimits { topics: 2, per_subscriber: 9 });
    assert_eq!(topics.subscribe(0, "a"), Ok(Subscribed::New));
    assert_eq!(topics.subscribe(0, "b"), Ok(Subscribed::New));
    let refused = topics.subscribe(1, "c").unwrap_err();
    assert_eq!((refused, refused.status()), (TopicError::HubFull { limit: 2 }, 503));
    assert!(refused.to_string().contains('2'), "{refused}");
    assert_eq!(topics.subscribe(1, "a"), Ok(Subscribed::New));
    topics.unsubscribe(0, "b");
    assert_eq!(topics.subscribe(1, "c"), Ok(Subscribed::New));
}

#[test]
fn limits_of_nothing_and_of_everything_work() {
    let mut nothing = Topics::new(TopicLimits { topics: 0, per_subscriber: 0 });
    assert_eq!(nothing.subscribe(0, "a"), Err(TopicError::TooManyTopics { limit: 0 }));
    let mut everything = Topics::new(TopicLimits { topics: usize::MAX, per_subscriber: usize::MAX });
    for i in 0..1000 {
        assert_eq!(everything.subscribe(0, &format!("{i}")), Ok(Subscribed::New));
    }
    assert_eq!(everything.topics_of(0).len(), 1000);
}

/// The naive way: a map of sets.
#[derive(Default)]
struct Naive(BTreeMap<String, BTreeSet<u32>>);

impl Naive {
    fn of(&self, subscriber: u32) -> BTreeSet<&str> {
        self.0.iter().filter(|(_, all)| all.contains(&subscriber)).map(|(name, _)| &name[..]).collect()
    }

    fn subscribe(&mut self, limits: TopicLimits, subscriber: u32, name: &str) -> Result<Subscribed, TopicError> {
        check_name(name)?;
        if self.0.get(name).is_some_and(|all| all.contains(&subscriber)) {
            return Ok(Subscribed::Already);
        }
        if self.of(subscriber).len() >= limits.per_subscriber {
            return Err(TopicError::TooManyTopics { limit: limits.per_subscriber });
        }
        if !self.0.contains_key(name) && self.0.len() >= limits.topics {
            return Err(TopicError::HubFull { limit: limits.topics });
        }
        self.0.entry(name.into()).or_default().insert(subscriber);
        Ok(Subscribed::New)
    }

    fn unsubscribe(&mut self, subscriber: u32, name: &str) -> Unsubscribed {
        if !self.0.get_mut(name).is_some_and(|all| all.remove(&subscriber)) {
            return Unsubscribed::NotSubscribed;
        }
        self.0.retain(|_, all| !all.is_empty());
        Unsubscribed::Left
    }

    fn forget(&mut self, subscriber: u32) {
        self.0.values_mut().for_each(|all| _ = all.remove(&subscriber));
        self.0.retain(|_, all| !all.is_empty());
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Subscribe(u32, usize),
    Unsubscribe(u32, usize),
    Forget(u32),
}

const NAMES: [&str; 12] = ["a", "b", "c", "d/1", "d/2", "e", "f", "g", "h", "user:1", "", "no\n"];
const SUBSCRIBERS: u32 = 9;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (who, what) = (0..SUBSCRIBERS, 0..NAMES.len());
    let step = prop_oneof![
        6 => (who.clone(), what.clone()).prop_map(|(who, what)| Step::Subscribe(who, what)),
        3 => (who.clone(), what).prop_map(|(who, what)| Step::Unsubscribe(who, what)),
        1 => who.prop_map(Step::Forget),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn topics_are_the_same_as_a_map_of_sets(steps in steps(), most in 1..13usize, each in 1..13usize) {
        let limits = TopicLimits { topics: most, per_subscriber: each };
        let (mut topics, mut naive) = (Topics::new(limits), Naive::default());
        for step in steps {
            match step {
                Step::Subscribe(who, what) => {
                    prop_assert_eq!(topics.subscribe(who, NAMES[what]), naive.subscribe(limits, who, NAMES[what]));
                }
                Step::Unsubscribe(who, what) => {
                    prop_assert_eq!(topics.unsubscribe(who, NAMES[what]), naive.unsubscribe(who, NAMES[what]));
                }
                Step::Forget(who) => {
                    topics.forget(who);
                    naive.forget(who);
                }
            }
            prop_assert_eq!((topics.len(), topics.is_empty()), (naive.0.len(), naive.0.is_empty()));
            for name in NAMES {
                let all = topics.subscribers(name);
                let set: BTreeSet<u32> = all.iter().copied().collect();
                prop_assert_eq!(set.len(), all.len(), "each once");
                prop_assert_eq!(set, naive.0.get(name).cloned().unwrap_or_default());
            }
            for who in 0..SUBSCRIBERS {
                let all: Vec<&str> = topics.topics_of(who).collect();
                prop_assert_eq!(all.len(), topics.topics_of(who).len());
                let set: BTreeSet<&str> = all.iter().copied().collect();
                prop_assert_eq!(set.len(), all.len(), "each once");
                prop_assert_eq!(set, naive.of(who));
            }
        }
    }
}
