//! Topic names and who subscribed to them.

use crate::hub::memberships::{MOST_TOPICS, Membership, Memberships};
use crate::hub::slab::{Slab, give_back};
use crate::hub::topic::{TopicError, check_name};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// How many topics there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicLimits {
    /// Topics with a subscriber. Default 100,000: some 20 MB where every name is as long as it may be.
    pub topics: usize,
    /// Topics of one subscriber. Default 128.
    pub per_subscriber: usize,
}

impl Default for TopicLimits {
    fn default() -> Self {
        Self { topics: 100_000, per_subscriber: 128 }
    }
}

/// Which subscribers each topic has, and which topics each subscriber has.
///
/// A subscriber is a number that the caller chooses. Numbers should be small and dense, as a slab's are: a table takes 8 bytes for
/// each up to the highest that has a topic. A subscriber with one topic takes no more than that and its place in the topic's array.
/// Whoever gives a number to someone else calls [`forget`](Self::forget) first.
///
/// A topic begins with its first subscriber and is gone with its last. The names lie in an ordered map, so no choice of names
/// makes look-ups slow. Calls cost O(log topics) to find a name; what follows does not grow with the number of subscribers.
#[derive(Debug)]
pub struct Topics {
    limits: TopicLimits,
    names: BTreeMap<Arc<str>, u32>,
    topics: Slab<Topic>,
    memberships: Memberships,
}

/// A topic that has subscribers.
#[derive(Debug)]
struct Topic {
    /// Shared with the map of names.
    name: Arc<str>,
    /// Each of them once, in no order; [`Membership::at`] says where.
    subscribers: Vec<u32>,
}

/// What [`Topics::subscribe`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// The subscriber has the topic now.
    New,
    /// It had it before; nothing changed.
    Already,
}

/// What [`Topics::unsubscribe`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsubscribed {
    /// The subscriber does not have the topic any more.
    Left,
    /// It did not have it; nothing changed.
    NotSubscribed,
}

impl Topics {
    /// No topics yet, and nothing on the heap. (More than 2^32 - 2 topics are never allowed.)
    pub const fn new(mut limits: TopicLimits) -> Self {
        if limits.topics > MOST_TOPICS {
            limits.topics = MOST_TOPICS;
        }
        Self { limits, names: BTreeMap::new(), topics: Slab::new(), memberships: Memberships::new() }
    }

    /// Adds a subscriber to a topic, which begins where it is the first.
    ///
    /// # Errors
    ///
    /// A name that is none, or a limit, by its name. Nothing changed. Who already has the topic meets no limit.
    pub fn subscribe(&mut self, subscriber: u32, name: &str) -> Result<Subscribed, TopicError> {
        check_name(name)?;
        let known = self.names.get(name).copied();
        if known.is_some_and(|topic| self.memberships.find(subscriber, topic).is_some()) {
            return Ok(Subscribed::Already);
        }
        let TopicLimits { topics, per_subscriber } = self.limits;
        if self.memberships.of(subscriber).len() >= per_subscriber {
            return Err(TopicError::TooManyTopics { limit: per_subscriber });
        }
        let topic = match known {
            Some(topic) => topic,
            None if self.topics.len() >= topics => return Err(TopicError::HubFull { limit: topics }),
            None => self.begin(name),
        };
        let subscribers = &mut self.topics[topic].subscribers;
        let at = subscribers.len() as u32;
        subscribers.push(subscriber);
        self.memberships.add(subscriber, Membership { topic, at });
        Ok(Subscribed::New)
    }

    /// Removes a subscriber from a topic, which is gone where it was the last.
    pub fn unsubscribe(&mut self, subscriber: u32, name: &str) -> Unsubscribed {
        let topic = self.names.get(name).copied();
        match topic.and_then(|topic| self.memberships.find(subscriber, topic)) {
            Some(membership) => {
                self.leave(subscriber, membership);
                Unsubscribed::Left
            }
            None => Unsubscribed::NotSubscribed,
        }
    }

    /// Removes a subscriber from all its topics. After it, its number may be given to another.
    pub fn forget(&mut self, subscriber: u32) {
        while let Some(&membership) = self.memberships.of(subscriber).last() {
            self.leave(subscriber, membership);
        }
    }

    /// The subscribers of a topic, each once, in no particular order. One array: to publish is to walk it.
    pub fn subscribers(&self, name: &str) -> &[u32] {
        self.names.get(name).map_or(&[], |&topic| &self.topics[topic].subscribers)
    }

    /// The topics of a subscriber, in no particular order. O(1) for each.
    pub fn topics_of(&self, subscriber: u32) -> impl ExactSizeIterator<Item = &str> {
        self.memberships.of(subscriber).iter().map(|membership| &*self.topics[membership.topic].name)
    }

    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether nobody subscribes to anything.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn begin(&mut self, name: &str) -> u32 {
        let name: Arc<str> = name.into();
        let topic = self.topics.insert(Topic { name: name.clone(), subscribers: Vec::new() });
        self.names.insert(name, topic);
        topic
    }

    fn leave(&mut self, subscriber: u32, membership: Membership) {
        self.memberships.remove(subscriber, membership.topic);
        let topic = &mut self.topics[membership.topic];
        topic.subscribers.swap_remove(membership.at as usize);
        if let Some(&moved) = topic.subscribers.get(membership.at as usize) {
            self.memberships.moved(moved, membership);
        }
        give_back(&mut topic.subscribers);
        if topic.subscribers.is_empty() {
            self.names.remove(&topic.name);
            self.topics.remove(membership.topic);
        }
    }
}
