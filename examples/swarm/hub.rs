//! The server of the hub's runs: one worker, and no limit on how fast one connection may publish.

use crate::Failure;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use tautline::http::RequestHead;
use tautline::hub::{HistoryLimits, HubConfig, Policies, RateLimit, TopicPolicy};
use tautline::net::{Config, Context, Endpoint, Handler, HubSettings, ListenConfig, Message, Server};

/// The argument that makes this program a hub.
pub(crate) const ROLE: &str = "as-hub-of-swarm";

struct Site;

impl Handler for Site {
    type State = ();

    fn request(&mut self, head: &RequestHead<'_>, cx: &mut Context<'_, ()>) {
        // What cannot be answered is answered with 500 by the loop.
        let _ = match Endpoint::of(head.path()) {
            Some(endpoint) => cx.hub(head, endpoint, &[]),
            None => cx.reject(404),
        };
    }

    fn message(&mut self, _: Message<'_>, _: &mut Context<'_, ()>) {}
}

/// Runs until the process is ended: `[--history EVENTS] --port PORT`.
pub(crate) fn run() -> Result<(), Failure> {
    let mut history = HistoryLimits::default();
    let mut port = 0;
    let mut args = std::env::args().skip(2);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} without a value"))?;
        match name.as_str() {
            "--port" => port = value.parse()?,
            "--history" => history = HistoryLimits { events: value.parse()?, bytes: 64 << 20, ..history },
            other => return Err(format!("no option {other}").into()),
        }
    }
    let hub = HubConfig {
        policies: Policies::new(TopicPolicy { history, ..TopicPolicy::default() }),
        rate: RateLimit { per_second: NonZeroU32::MAX, burst: NonZeroU32::MAX },
        ..HubConfig::default()
    };
    let config = Config { hub: Some(HubSettings { hub, ..HubSettings::default() }), ..Config::default() };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let server = Server::start(&config, &[ListenConfig::new(address)], Some(NonZeroUsize::MIN), |_| Site)?;
    println!("listening on {}", server.addresses()[0]);
    std::io::stdout().flush()?;
    server.join();
    Ok(())
}
