//! Who may do what: the application's word.

use crate::http::RequestHead;
use crate::http::credentials::Secret;
use alloc::sync::Arc;
use core::fmt;

/// The application's rules: who somebody is, and what they may do.
///
/// Calls come on any worker's thread and must not wait: what takes time belongs before the connection (a signed token) or in a cache.
///
/// # Contract
///
/// - [`identify`](Self::identify) is asked once per request, and once more with the token that a WebSocket's first message brings.
/// - [`may_subscribe`](Self::may_subscribe) is asked for each topic at each attach, so that no replay crosses a permission, and before the topic is looked up, so that a
///   refusal says nothing about whether it exists. What is granted holds for the connection, until it is revoked.
/// - [`may_publish`](Self::may_publish) is asked for each publication.
/// - Nothing that it is given is logged, and a [`Secret`] does not show itself.
///
/// A token in `Authorization`, a cookie or the first message of a WebSocket, and rooms of those who are let in:
///
/// ```
/// use tautline::http::credentials::{bearer, cookie};
/// use tautline::hub::{Asking, Authority, Denied, Identity, OwnTopic, USER_TOPICS};
///
/// struct Rules;
///
/// impl Authority for Rules {
///     fn identify(&self, asking: &Asking<'_>) -> Result<Identity, Denied> {
///         let head = asking.head;
///         let given = head.and_then(bearer).or_else(|| head.and_then(|head| cookie(head, "sid"))).or_else(|| asking.token.clone());
///         match given {
///             // Compared in constant time. A look-up takes `expose`.
///             Some(given) if given.is("alice's") => Ok(Identity { own_topic: OwnTopic::Subscribed, ..Identity::user("alice") }),
///             Some(_) => Err(Denied::Unauthorized),
///             // A WebSocket may still say it; everybody else gets a 401.
///             None => Err(Denied::TokenNeeded),
///         }
///     }
///
///     fn may_subscribe(&self, who: &Identity, topic: &str) -> bool {
///         match topic.strip_prefix(USER_TOPICS) {
///             Some(owner) => who.user.as_deref() == Some(owner),
///             None => topic.starts_with("room/"),
///         }
///     }
///
///     fn may_publish(&self, who: &Identity, topic: &str) -> bool {
///         self.may_subscribe(who, topic)
///     }
/// }
/// # let anybody = Asking { head: None, token: None };
/// # assert_eq!(Rules.identify(&anybody), Err(Denied::TokenNeeded));
/// # let alice = Rules.identify(&Asking { head: None, token: Some(tautline::http::credentials::Secret::new("alice's")) })?;
/// # assert!(Rules.may_subscribe(&alice, "user:alice") && !Rules.may_subscribe(&alice, "user:bob"));
/// # Ok::<(), Denied>(())
/// ```
///
/// It is the server's with `HubSettings { authority: Arc::new(Rules), .. }`; `Handle::revoke` takes back what it granted.
/// Whatever is not said is allowed, but for topics that are another user's own.
pub trait Authority: Send + Sync {
    /// Who asks.
    ///
    /// # Errors
    ///
    /// [`Denied`], which says what the answer is.
    fn identify(&self, asking: &Asking<'_>) -> Result<Identity, Denied>;

    /// Whether they may have a topic's events. Unless it says otherwise: all but other users' [own topics](USER_TOPICS).
    fn may_subscribe(&self, who: &Identity, topic: &str) -> bool {
        who.may_touch(topic)
    }

    /// Whether they may publish to a topic. Unless it says otherwise: to all but other users' [own topics](USER_TOPICS).
    fn may_publish(&self, who: &Identity, topic: &str) -> bool {
        who.may_touch(topic)
    }
}

/// Who asks, as far as they say.
#[derive(Clone)]
pub struct Asking<'a> {
    /// The request, with its cookies and `Authorization`: see [`bearer`](crate::http::credentials::bearer) and [`cookie`](crate::http::credentials::cookie).
    /// `None` where the first message of a WebSocket asks.
    pub head: Option<&'a RequestHead<'a>>,
    /// A token by another way: the first message, or (where they are enabled) the query or a subprotocol.
    pub token: Option<Secret<'a>>,
}

/// Somebody, as the hub knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name; `None` is anybody. Presence shows it, and sessions are bound to it.
    pub user: Option<Arc<str>>,
    /// Whether their connections are put on the topic `user:NAME`.
    pub own_topic: OwnTopic,
}

/// Whether a user's connections get the user's own topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnTopic {
    /// They do not.
    #[default]
    No,
    /// They are subscribed to `user:NAME` besides what they ask for. The name must be one that a topic can have.
    Subscribed,
}

impl Identity {
    /// A user.
    pub fn user(name: &str) -> Self {
        Self { user: Some(name.into()), own_topic: OwnTopic::No }
    }

    /// Whether a topic is nobody else's own.
    fn may_touch(&self, topic: &str) -> bool {
        topic.strip_prefix(USER_TOPICS).is_none_or(|owner| self.user.as_deref() == Some(owner))
    }
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// They did not say who they are, or not credibly: 401, or close 4001.
    Unauthorized,
    /// They may not: 403, or close 4003.
    Forbidden,
    /// They have not said who they are yet. On a WebSocket the first message may bring a token; elsewhere it is 401.
    TokenNeeded,
}

impl Denied {
    /// The status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::Unauthorized | Self::TokenNeeded => 401,
            Self::Forbidden => 403,
        }
    }

    /// The code of the Close frame, where the connection is a WebSocket already.
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Unauthorized | Self::TokenNeeded => 4001,
            Self::Forbidden => 4003,
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthorized | Self::TokenNeeded => "who is asking is not known",
            Self::Forbidden => "not allowed",
        })
    }
}

impl core::error::Error for Denied {}

/// Lets everybody do everything, but for topics `user:`, which are their user's own: nobody is one here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

/// What topics of one user begin with.
pub const USER_TOPICS: &str = "user:";

impl Authority for Open {
    fn identify(&self, _: &Asking<'_>) -> Result<Identity, Denied> {
        Ok(Identity::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows users, and says nothing of topics.
    struct Names;

    impl Authority for Names {
        fn identify(&self, _: &Asking<'_>) -> Result<Identity, Denied> {
            Ok(Identity::user("alice"))
        }
    }

    #[test]
    fn a_user_s_own_topic_is_nobody_else_s_unless_the_application_says_so() {
        let (alice, nobody) = (Identity::user("alice"), Identity::default());
        for (rules, who, topic, may) in [
            (&Names as &dyn Authority, &alice, "news", true),
            (&Names, &alice, "user:alice", true),
            (&Names, &alice, "user:alic", false),
            (&Names, &alice, "user:bob", false),
            (&Names, &nobody, "user:bob", false),
            (&Open, &nobody, "news", true),
            (&Open, &nobody, "user:bob", false),
            (&Open, &nobody, "user:", false),
        ] {
            assert_eq!(rules.may_subscribe(who, topic), may, "{topic}");
            assert_eq!(rules.may_publish(who, topic), may, "{topic}");
        }
    }
}
