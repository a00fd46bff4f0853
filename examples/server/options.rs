//! The command line.

use lexopt::prelude::*;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;
use tautline::http::origin::{Origin, OriginPolicy};
use tautline::http::upgrade::UpgradeConfig;
use tautline::hub::HistoryLimits;
use tautline::net::{AcceptRate, Config, PerAddressLimit, QueueConfig};
use tautline::ws::DeflateConfig;

const HELP: &str = "\
A hub on WebSocket, event streams and long polls, live chat, and a web page for both.

Usage: cargo run --release --example server -- [options]

Where
  --address ADDRESS       listen on ADDRESS, with or without a port        [127.0.0.1:8080]
  --port PORT             listen on this port; 0 takes any that is free    [8080]
  --workers N             event loops, each on a thread of its own         [one for each core]

Who may come in
  --host NAME             answer to this name in the Host header too; may be repeated
                          [localhost and loopback addresses, and the address that is listened on;
                          any address in digits where that is 0.0.0.0]
  --origin ORIGIN         let pages of this origin in too, such as https://example.com; may be repeated
                          [the server's own pages]
  --token TOKEN           publishing and token streams need \"Authorization: Bearer TOKEN\"
  --token-file FILE       the same, with the token out of a file: a command line is no secret
  --open                  serve an address that is not loopback without a token

Limits
  --max-connections N     connections at a time; each worker takes an even share of them, rounded down
                                                                           [as many as files may be open]
  --max-per-address N     connections of one IP address                    [no limit]
  --accept-rate N         new connections per second, for each worker      [no limit]
  --max-message BYTES     a WebSocket message                              [1048576]
  --max-body BYTES        a request's body                                 [1048576]
  --queue BYTES           what may wait for one connection                 [1048576 and a little]
  --history EVENTS        what a topic keeps for who comes back, for 300 s at most; 0 is nothing
                                                                           [100]

What they may do
  --deflate               compress WebSocket messages for clients that offer permessage-deflate;
                          without context takeover                         [off]

Time
  --heartbeat SECONDS     silence until a WebSocket's ping and a stream's block or comment [25 and 15]
  --drain SECONDS         over how long connections are let go at Ctrl-C   [5; less for fewer than 500]

  --help, -h              this text
  --version, -V           the version";

/// What to do.
pub(crate) enum Command {
    Serve(Box<Options>),
    /// Print this and end.
    Say(String),
}

pub(crate) struct Options {
    pub(crate) address: SocketAddr,
    pub(crate) workers: Option<NonZeroUsize>,
    pub(crate) hosts: Vec<String>,
    pub(crate) origins: OriginPolicy,
    pub(crate) token: Option<String>,
    pub(crate) open: bool,
    pub(crate) drain: Duration,
    /// Events that a topic keeps.
    pub(crate) history: usize,
    pub(crate) config: Config,
}

/// What stands on the command line, before it is known whether it makes sense together.
#[derive(Default)]
struct Given {
    address: Option<String>,
    port: Option<u16>,
    origins: Vec<String>,
    most: Option<u32>,
    message: Option<u64>,
    queue: Option<usize>,
}

impl Options {
    /// Reads the command line.
    pub(crate) fn from_args(mut args: lexopt::Parser) -> Result<Command, String> {
        let mut given = Given::default();
        let mut options = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            workers: None,
            hosts: Vec::new(),
            origins: OriginPolicy::Same,
            token: None,
            open: false,
            drain: Duration::from_secs(5),
            history: HistoryLimits::default().events,
            config: Config::default(),
        };
        let config = &mut options.config;
        while let Some(arg) = args.next().map_err(|e| e.to_string())? {
            let name = match arg {
                Short('h') => "help".to_owned(),
                Short('V') => "version".to_owned(),
                Long(name) => name.to_owned(),
                other => return Err(other.unexpected().to_string()),
            };
            // The value of this option, as what it should be.
            let mut value = || args.value().map_err(|_| format!("--{name} needs a value"));
            match name.as_str() {
                "help" => return Ok(Command::Say(HELP.into())),
                "version" => return Ok(Command::Say(concat!("tautline server ", env!("CARGO_PKG_VERSION")).into())),
                "open" => options.open = true,
                "deflate" => config.ws.deflate = Some(DeflateConfig::DEFAULT),
                "address" => given.address = Some(text(&name, value()?)?),
                "port" => given.port = Some(number(&name, value()?, 0)?),
                "workers" => options.workers = Some(number(&name, value()?, NonZeroUsize::MIN)?),
                "host" => options.hosts.push(host(&text(&name, value()?)?)?),
                "origin" => given.origins.push(text(&name, value()?)?),
                "token" => options.token = Some(token(&text(&name, value()?)?)?),
                "token-file" => {
                    let path = text(&name, value()?)?;
                    let text = std::fs::read_to_string(&path).map_err(|e| format!("--token-file {path}: {e}"))?;
                    options.token = Some(token(text.trim_end())?);
                }
                "max-connections" => given.most = Some(number(&name, value()?, 1)?),
                "max-per-address" => {
                    config.peers.per_address = Some(PerAddressLimit::new(number(&name, value()?, NonZeroU32::MIN)?));
                }
                "accept-rate" => {
                    let per_second = number(&name, value()?, NonZeroU32::MIN)?;
                    config.peers.accept_rate = Some(AcceptRate { per_second, burst: per_second });
                }
                "max-message" => given.message = Some(number(&name, value()?, 1)?),
                "max-body" => config.http.body = number(&name, value()?, 1)?,
                "queue" => given.queue = Some(number(&name, value()?, 1)?),
                "history" => options.history = number(&name, value()?, 0)?,
                "heartbeat" => {
                    let interval = Duration::from_secs(number(&name, value()?, 1)?);
                    config.stream.heartbeat = interval;
                    if let Some(heartbeat) = &mut config.ws.heartbeat {
                        heartbeat.interval = interval;
                    }
                }
                "drain" => options.drain = Duration::from_secs(number::<u32>(&name, value()?, 0)?.into()),
                _ => return Err(format!("there is no option --{name}")),
            }
        }
        options.settle(&given)?;
        Ok(Command::Serve(Box::new(options)))
    }

    /// What follows from several options together.
    fn settle(&mut self, given: &Given) -> Result<(), String> {
        if let Some(address) = &given.address {
            self.address = resolve(address, self.address.port())?;
        }
        if let Some(port) = given.port {
            self.address.set_port(port);
        }
        for origin in &given.origins {
            // `null` is what a page in a sandbox says, wherever it is from.
            if origin == "null" || Origin::parse(origin).is_err() {
                return Err(format!(
                    "--origin {origin}: such as https://example.com, without a path or a slash behind it"
                ));
            }
        }
        self.origins = OriginPolicy::listed(given.origins.iter().map(String::as_str)).map_err(|e| e.to_string())?;
        // The gate has seen to the origin of every request, its own one included, before any becomes a WebSocket.
        self.config.upgrade = UpgradeConfig { origins: OriginPolicy::Any, ..UpgradeConfig::default() };
        if let Some(message) = given.message {
            (self.config.ws.limits.message, self.config.ws.limits.frame) = (message, message);
            // An echo of that size has to fit.
            let room = usize::try_from(message).unwrap_or(usize::MAX).saturating_add(64);
            self.config.queue.limit = self.config.queue.limit.max(room);
        }
        if let Some(queue) = given.queue {
            self.config.queue = QueueConfig { limit: queue, ..self.config.queue };
        }
        if let Some(most) = given.most {
            let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
            let workers = u32::try_from(self.workers.unwrap_or_else(cores).get()).unwrap_or(u32::MAX);
            // The system spreads connections over the workers evenly, by chance; all together never hold more than was asked for.
            let share = most / workers;
            if share == 0 {
                return Err(format!(
                    "--max-connections {most}: one at least for each of the {workers} workers; with fewer workers (--workers) it may be less"
                ));
            }
            self.config.peers.most = Some(share);
        }
        self.config.check().map_err(|e| format!("these options do not go together: {e}"))?;
        if !self.address.ip().to_canonical().is_loopback() && self.token.is_none() && !self.open {
            return Err(format!(
                "{} can be reached from other machines, and whoever reaches it could publish. \
                 Protect it with --token-file FILE (or --token TOKEN), or allow that with --open",
                self.address
            ));
        }
        Ok(())
    }
}

fn text(name: &str, value: OsString) -> Result<String, String> {
    value.into_string().map_err(|value| format!("--{name} {}: not UTF-8", value.display()))
}

/// A whole number from `least` on, up to what its type holds.
fn number<T: std::str::FromStr + PartialOrd + std::fmt::Display>(
    name: &str,
    value: OsString,
    least: T,
) -> Result<T, String> {
    let value = text(name, value)?;
    match value.parse() {
        Ok(number) if number >= least => Ok(number),
        Err(_) if value.parse::<u128>().is_ok_and(|number| number > 0) => {
            // Of an unsigned type, so digits that it does not take are too many.
            let most = u64::MAX >> (64 - 8 * size_of::<T>());
            Err(format!("--{name} {value}: must be a whole number from {least} to {most}"))
        }
        _ => Err(format!("--{name} {value}: must be a whole number of at least {least}")),
    }
}

/// An address with or without a port, or a name of this machine's.
fn resolve(address: &str, port: u16) -> Result<SocketAddr, String> {
    if let Ok(address) = address.parse() {
        return Ok(address);
    }
    if let Ok(ip) = address.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let found = match address.contains(':') {
        true => address.to_socket_addrs(),
        false => (address, port).to_socket_addrs(),
    };
    // Of several the IPv4 one: it is what `localhost` means to most programs.
    let mut found: Vec<_> = found.map_err(|e| format!("--address {address}: {e}"))?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| format!("--address {address}: no such address"))
}

/// A host as the Host header has it, without a port.
fn host(name: &str) -> Result<String, String> {
    let sound = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    let port = name.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    if name.is_empty() || !name.bytes().all(sound) || port {
        return Err(format!("--host {name}: a name or an address, without scheme and port"));
    }
    Ok(name.trim_matches(['[', ']']).to_ascii_lowercase())
}

/// A token as it stands behind `Bearer` (RFC 6750 section 2.1).
fn token(token: &str) -> Result<String, String> {
    let sound = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if token.is_empty() || !token.bytes().all(sound) {
        return Err("a token is one or more of A-Z a-z 0-9 - . _ ~ + / =".into());
    }
    Ok(token.into())
}
