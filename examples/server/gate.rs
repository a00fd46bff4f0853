//! Who may ask: the Host, Origin and Authorization headers, looked at before anything else of a request, its body included.
//!
//! - **Host**: a page of evil.example may have its own name resolve to 127.0.0.1 and then reach this server as its "own" (DNS rebinding).
//!   What it cannot change is the name that the browser sends along.
//! - **Origin**: any page may send requests to this server, POSTs in `text/plain` without asking first. What it cannot change is the
//!   origin that the browser sends along.
//! - **Authorization**: on an address that others reach publishing takes a token. Whoever has it is the user [`PUBLISHER`]; everybody else
//!   is nobody in particular, and may follow what is not somebody's own.

use super::chat;
use super::options::Options;
use super::stats;
use std::net::IpAddr;
use tautline::http::RequestHead;
use tautline::http::cors::{Cors, CorsHeaders, Credentials};
use tautline::http::credentials::bearer;
use tautline::http::origin::OriginPolicy;
use tautline::http::url::Scheme;
use tautline::hub::{self, Authority, Denied, Identity, USER_TOPICS};

/// The rules. The same for every request.
pub(crate) struct Gate {
    address: IpAddr,
    hosts: Vec<String>,
    /// The server's own pages.
    own: Cors,
    /// Those of other origins, where some are listed.
    listed: Option<Cors>,
    token: Option<String>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Host,
    Origin,
    Token,
}

impl Refusal {
    pub(crate) const fn status(self) -> u16 {
        match self {
            // "the request was directed at a server that is unable or unwilling to produce an authoritative response for the target
            // URI" (RFC 9110 section 15.5.20).
            Self::Host => 421,
            Self::Origin => 403,
            Self::Token => 401,
        }
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Host => {
                "This server does not answer to the name in the Host header. Start it with --host NAME to let it.\n"
            }
            Self::Origin => {
                "Pages of this origin may not talk to this server. Start it with --origin ORIGIN to let them.\n"
            }
            Self::Token => "This takes the server's token: Authorization: Bearer TOKEN.\n",
        }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    Something,
    /// Whether it may ask (a preflight of the Fetch standard's CORS protocol).
    Permission,
}

impl Gate {
    pub(crate) fn new(options: &Options) -> Self {
        // Without credentials no choice of origins is an error.
        let cors = |origins| Cors::new(origins, Credentials::Omit, Scheme::Http).unwrap_or_default();
        let listed = match &options.origins {
            OriginPolicy::Same => None,
            origins => Some(cors(origins.clone())),
        };
        Self {
            address: options.address.ip().to_canonical(),
            hosts: options.hosts.clone(),
            own: cors(OriginPolicy::Same),
            listed,
            token: options.token.clone(),
        }
    }

    /// Lets a request in, with the header lines that its answer needs, or refuses it.
    pub(crate) fn admit<'h>(&self, head: &'h RequestHead<'_>, asking: Asking) -> Result<CorsHeaders<'h>, Refusal> {
        // Only HTTP/1.0 has no Host, and no browser speaks that.
        let host = head.authority().unwrap_or_default();
        if head.authority().is_some() && !self.answers_to(host_of(host)) {
            return Err(Refusal::Host);
        }
        let mut origins = head.headers().all("origin");
        let origin = origins.next();
        // RFC 6454 section 7.3: never more than one.
        if origins.next().is_some() {
            return Err(Refusal::Origin);
        }
        [Some(&self.own), self.listed.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|cors| match asking {
                Asking::Something => cors.simple(origin, host.as_bytes()).ok(),
                Asking::Permission => cors.preflight(origin, host.as_bytes()).ok(),
            })
            .ok_or(Refusal::Origin)
    }

    /// Whether a request has the token, where one is needed. (What is sent to `/send` need not be a publication: there it is seen when it is
    /// read, and [`Authority::may_publish`] says it.)
    pub(crate) fn check_token(&self, head: &RequestHead<'_>) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        match bearer(head) {
            Some(given) if given.is(token) => Ok(()),
            _ => Err(Refusal::Token),
        }
    }

    fn answers_to(&self, host: &str) -> bool {
        if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            let ip = ip.to_canonical();
            // An address in place of a name was looked up by nobody, so nobody can have bent it: on all addresses any will do.
            return ip.is_loopback()
                || ip == self.address
                || self.address.is_unspecified()
                || self.knows(&ip.to_string());
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        // Browsers look up neither (RFC 6761 section 6.3).
        host == "localhost" || host.ends_with(".localhost") || self.knows(&host)
    }

    fn knows(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| known == host)
    }
}

/// Who has the token.
pub(crate) const PUBLISHER: &str = "publisher";

/// The hub's rules. Its endpoints are asked for behind [`Gate::admit`], as everything here.
impl Authority for Gate {
    fn identify(&self, asking: &hub::Asking<'_>) -> Result<Identity, Denied> {
        let Some(token) = &self.token else { return Ok(Identity::default()) };
        // A page cannot set `Authorization` on a WebSocket: it may offer the token as a subprotocol.
        match asking.head.and_then(bearer).as_ref().or(asking.token.as_ref()) {
            Some(given) if given.is(token) => Ok(Identity::user(PUBLISHER)),
            Some(_) => Err(Denied::Unauthorized),
            None => Ok(Identity::default()),
        }
    }

    fn may_subscribe(&self, who: &Identity, topic: &str) -> bool {
        match topic.strip_prefix(USER_TOPICS) {
            Some(user) => who.user.as_deref() == Some(user),
            None => !topic.starts_with(chat::PREFIX),
        }
    }

    fn may_publish(&self, who: &Identity, topic: &str) -> bool {
        let reserved = topic.starts_with(chat::PREFIX) || topic.starts_with(stats::PREFIX);
        match topic.strip_prefix(USER_TOPICS) {
            Some(user) => who.user.as_deref() == Some(user),
            None => !reserved && (self.token.is_none() || who.user.is_some()),
        }
    }
}

/// A Host header without its port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, _)) if !host.contains(':') || host.ends_with(']') => host,
        _ => authority,
    }
}
