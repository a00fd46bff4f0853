//! A server with a hub behind the proxies of tests/proxy: heartbeats as short as a test needs, and who a request is for.
//!
//! `proxy_backend [--listen ADDRESS:PORT|unix:PATH] [--heartbeat MS] [--trust PROXIES] [--per-address N] [--origin ORIGIN] [--workers N]
//! [--drain MS]`
//!
//! `/whoami` answers with the client's address, as the proxies named with `--trust` have it. SIGTERM drains.

use lexopt::prelude::*;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tautline::http::origin::OriginPolicy;
use tautline::http::{RequestHead, Response};
use tautline::net::{
    Config, Context, DrainConfig, Endpoint, Handler, HubSettings, ListenAddress, ListenConfig, Message,
    PerAddressLimit, Server,
};

struct Site;

impl Handler for Site {
    type State = ();

    fn request(&mut self, head: &RequestHead<'_>, cx: &mut Context<'_, ()>) {
        // What cannot be answered is answered with 500 by the loop.
        let _ = match Endpoint::of(head.path()) {
            Some(endpoint) => cx.hub(head, endpoint, &[]),
            None if head.path() == "/whoami" => {
                let client = cx.client_address(head).map_or("nobody".into(), |address| address.to_string());
                cx.respond(&Response::new(200).headers(&[("Content-Type", "text/plain")]), client.as_bytes())
            }
            None => cx.reject(404),
        };
    }

    fn message(&mut self, _: Message<'_>, _: &mut Context<'_, ()>) {}
}

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config { hub: Some(HubSettings::default()), ..Config::default() };
    let mut listen: ListenAddress = SocketAddr::from(([127, 0, 0, 1], 0)).into();
    let (mut workers, mut drain) = (None, Duration::ZERO);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("listen") => {
                let text = args.value()?.string()?;
                listen = match text.strip_prefix("unix:") {
                    Some(path) => PathBuf::from(path).into(),
                    None => text.parse::<SocketAddr>()?.into(),
                };
            }
            Long("heartbeat") => {
                let interval = Duration::from_millis(args.value()?.parse()?);
                config.stream.heartbeat = interval;
                if let Some(heartbeat) = &mut config.ws.heartbeat {
                    heartbeat.interval = interval;
                }
            }
            Long("origin") => config.upgrade.origins = OriginPolicy::listed([&*args.value()?.string()?])?,
            Long("trust") => config.proxies = args.value()?.string()?.parse()?,
            Long("per-address") => {
                config.peers.per_address = Some(PerAddressLimit::new(args.value()?.parse::<NonZeroU32>()?));
            }
            Long("workers") => workers = Some(args.value()?.parse::<NonZeroUsize>()?),
            Long("drain") => drain = Duration::from_millis(args.value()?.parse()?),
            _ => return Err(arg.unexpected().into()),
        }
    }
    // Before the first thread, so that no signal is missed.
    let mut signals = Signals::new([SIGTERM])?;
    let server = Server::start(&config, &[ListenConfig::new(listen)], workers, |_| Site)?;
    for address in server.addresses() {
        println!("listening on {address}");
    }
    let handle = server.handle();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            handle.drain(DrainConfig { over: drain, grace: Duration::from_secs(1), ..DrainConfig::default() });
        }
    });
    server.join();
    Ok(())
}
