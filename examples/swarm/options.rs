//! The command line.

use crate::Failure;
use crate::member::Transport;
use lexopt::prelude::*;
use std::fs::OpenOptions;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tautline::http::url::Url;
use tautline::ws::HandshakeConfig;

/// What is to be done.
pub(crate) enum Usage {
    Run(Box<Options>),
    Help(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Hold,
    Echo,
    Fanout,
    /// `fanout --hub`.
    Mix,
    Park,
    Latency,
}

impl Command {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Echo => "echo",
            Self::Fanout => "fanout",
            Self::Mix => "fanout --hub",
            Self::Park => "park",
            Self::Latency => "latency",
        }
    }

    /// Whether its connections subscribe to a hub.
    pub(crate) fn is_of_hub(self) -> bool {
        matches!(self, Self::Mix | Self::Park | Self::Latency)
    }
}

/// What all the commands were told; each looks at its part.
pub(crate) struct Options {
    pub(crate) command: Command,
    /// `ws` for WebSockets, `http` for event streams.
    pub(crate) url: Url,
    pub(crate) connections: u64,
    /// Member processes; `None`: as few as the limit of open files allows.
    pub(crate) processes: Option<u64>,
    /// Connections opened per second, all processes together.
    pub(crate) open_rate: f64,
    pub(crate) sources: Sources,
    pub(crate) pids: Vec<u32>,
    pub(crate) servers: u64,
    pub(crate) server: Option<String>,
    pub(crate) ports: Ports,
    pub(crate) json: bool,
    pub(crate) plot: Option<Plot>,
    /// Further header lines of each handshake and request.
    pub(crate) headers: Vec<(String, String)>,
    /// How long to hold, or to measure.
    pub(crate) duration: Duration,
    /// Pings of the client's own.
    pub(crate) heartbeat: Option<Duration>,
    /// Connections opened first, so that the server has its buffers before its memory is read.
    pub(crate) warm: Option<u64>,
    pub(crate) in_flight: u32,
    pub(crate) size: usize,
    pub(crate) payload: Payload,
    pub(crate) messages: Option<u64>,
    pub(crate) warmup: Duration,
    /// Messages or publications per second.
    pub(crate) rate: Option<f64>,
    pub(crate) publish_path: String,
    /// Whether a hub's polls have a session.
    pub(crate) sessions: bool,
    pub(crate) form: Form,
    /// A hub's transports that are measured, one after the other.
    pub(crate) transports: Vec<Transport>,
    /// How many events of a topic the hub retains, where it is started here.
    pub(crate) history: Option<u64>,
    /// How often what is measured is done.
    pub(crate) rounds: u64,
    /// The highest rate that is tried.
    pub(crate) most_rate: f64,
    /// What the figure that matters may be at most.
    pub(crate) limit: Option<f64>,
}

/// What a hub's polls ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Blocks,
}

/// Where the load comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sources {
    /// Towards this machine each process has a loopback address of its own; towards others the system chooses.
    Automatic,
    System,
    List(Vec<IpAddr>),
}

/// Where servers started by this program listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// A port each.
    Own,
    /// All one port, by SO_REUSEPORT.
    Shared,
}

/// Where the plot goes, and as what.
pub(crate) struct Plot {
    pub(crate) file: PathBuf,
    /// A page, and not the picture alone.
    pub(crate) is_page: bool,
}

impl Plot {
    fn of(file: PathBuf) -> Result<Self, Failure> {
        let has = |wanted: &str| file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted));
        match (has("svg"), has("html")) {
            (false, false) => Err(format!("--plot takes FILE.svg or FILE.html, not {}", file.display()).into()),
            (_, is_page) => Ok(Self { file, is_page }),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Binary,
    Text,
}

/// The longest message that is sent: beyond it the default limits of most servers end the connection.
const MOST_SIZE: usize = 64 << 20;

/// On a schedule what is under way is the server's doing; the bound only keeps a dead server from filling our memory.
const IN_FLIGHT_PACED: u32 = 64;

impl Options {
    pub(crate) fn parse() -> Result<Usage, Failure> {
        let mut args = lexopt::Parser::from_env();
        let command = match args.next()? {
            Some(Value(name)) => match name.to_str() {
                Some("hold") => Command::Hold,
                Some("echo") => Command::Echo,
                Some("fanout") if std::env::args().any(|arg| arg == "--hub") => Command::Mix,
                Some("fanout") => Command::Fanout,
                Some("park") => Command::Park,
                Some("latency") => Command::Latency,
                _ => return Err(format!("no command {name:?}: it is {COMMANDS}; see --help").into()),
            },
            Some(Long("help") | Short('h')) => return Ok(Usage::Help(HELP.into())),
            Some(other) => {
                return Err(format!("{}; a command comes first: {COMMANDS}", other.unexpected()).into());
            }
            None => return Err(format!("what to do? {COMMANDS}; see --help").into()),
        };
        let (mut url, mut in_flight_given) = (None, false);
        let mut options = Self::of(command)?;
        while let Some(arg) = args.next()? {
            let name = match &arg {
                Long(name) => format!("--{name}"),
                Short(letter) => format!("-{letter}"),
                Value(text) if url.is_none() => {
                    url = Some(parse_url(&text.to_string_lossy())?);
                    continue;
                }
                Value(text) => return Err(format!("unexpected {text:?}: one URL is enough").into()),
            };
            let is = |command: Command| options.command == command;
            match name.as_str() {
                "--help" | "-h" => return Ok(Usage::Help(help_of(command))),
                "--connections" | "-c" => options.connections = at_least_one(&name, count(&mut args, &name)?)?,
                "--processes" => options.processes = Some(at_least_one(&name, count(&mut args, &name)?)?),
                "--open-rate" => options.open_rate = positive(&mut args, &name)?,
                "--source" => options.sources = sources(&text(&mut args)?)?,
                "--pid" => {
                    for pid in text(&mut args)?.split(',') {
                        let pid = pid.trim().parse().map_err(|_| format!("--pid takes process ids, not {pid:?}"))?;
                        options.pids.push(pid);
                    }
                }
                "--servers" => options.servers = at_least_one(&name, count(&mut args, &name)?)?,
                "--server" => options.server = Some(text(&mut args)?),
                "--ports" => {
                    options.ports = match text(&mut args)?.as_str() {
                        "own" => Ports::Own,
                        "shared" => Ports::Shared,
                        other => return Err(format!("--ports is own or shared, not {other:?}").into()),
                    }
                }
                "--json" => options.json = true,
                "--plot" => options.plot = Some(Plot::of(args.value()?.into())?),
                "--header" => options.headers.push(header(&text(&mut args)?)?),
                "--duration" | "-d" => match duration(&mut args, &name)? {
                    Duration::ZERO => return Err(format!("{name} must be more than nothing").into()),
                    time => options.duration = time,
                },
                "--heartbeat" if is(Command::Hold) => options.heartbeat = Some(duration(&mut args, &name)?),
                "--warm" if is(Command::Hold) || is(Command::Park) => options.warm = Some(count(&mut args, &name)?),
                "--in-flight" if is(Command::Echo) => {
                    let n = at_least_one(&name, count(&mut args, &name)?)?;
                    in_flight_given = true;
                    options.in_flight = u32::try_from(n).map_err(|_| "--in-flight is too large")?;
                }
                "--hub" if is(Command::Mix) => {}
                "--session" if is(Command::Park) => options.sessions = true,
                "--form" if options.command.is_of_hub() => {
                    options.form = match text(&mut args)?.as_str() {
                        "json" => Form::Json,
                        "blocks" => Form::Blocks,
                        other => return Err(format!("--form is json or blocks, not {other:?}").into()),
                    }
                }
                "--transport" if is(Command::Latency) => {
                    let name = text(&mut args)?;
                    let transport = Transport::named(&name);
                    options.transports = vec![
                        transport.ok_or_else(|| format!("--transport is websocket, stream or poll, not {name:?}"))?,
                    ];
                }
                "--most-rate" if is(Command::Latency) => options.most_rate = positive(&mut args, &name)?,
                "--rounds" if is(Command::Mix) || is(Command::Park) => {
                    options.rounds = at_least_one(&name, count(&mut args, &name)?)?;
                }
                "--limit" if is(Command::Mix) || is(Command::Park) => options.limit = Some(positive(&mut args, &name)?),
                "--size" if !is(Command::Hold) => {
                    options.size = usize::try_from(count(&mut args, &name)?).unwrap_or(usize::MAX);
                }
                "--text" if is(Command::Echo) => options.payload = Payload::Text,
                "--messages" if is(Command::Echo) || is(Command::Fanout) => {
                    options.messages = Some(at_least_one(&name, count(&mut args, &name)?)?);
                }
                "--warmup" if is(Command::Echo) || is(Command::Fanout) => options.warmup = duration(&mut args, &name)?,
                "--rate" if !is(Command::Hold) && !is(Command::Park) && !is(Command::Mix) => {
                    options.rate = Some(positive(&mut args, &name)?)
                }
                "--publish-path" if is(Command::Fanout) => options.publish_path = text(&mut args)?,
                _ => return Err(format!("{}; see `swarm {} --help`", arg.unexpected(), command.name()).into()),
            }
        }
        if url.is_none() && command.is_of_hub() {
            options.servers = options.servers.max(1);
        }
        options.url = url.unwrap_or(options.url);
        if options.rate.is_some() && !in_flight_given {
            options.in_flight = IN_FLIGHT_PACED;
        }
        options.check()?;
        Ok(Usage::Run(Box::new(options)))
    }

    fn of(command: Command) -> Result<Self, Failure> {
        let publishes = command == Command::Fanout || command.is_of_hub();
        Ok(Self {
            command,
            url: parse_url(if command.is_of_hub() { "http://127.0.0.1:8080/" } else { "ws://127.0.0.1:9001/" })?,
            connections: match command {
                Command::Hold => 10_000,
                Command::Echo => 64,
                Command::Fanout => 1_000,
                Command::Mix => 10_000,
                Command::Park => 19_000,
                Command::Latency => 10,
            },
            processes: None,
            open_rate: 5_000.0,
            sources: Sources::Automatic,
            pids: Vec::new(),
            servers: 0,
            server: None,
            ports: Ports::Own,
            json: false,
            plot: None,
            headers: Vec::new(),
            duration: Duration::from_secs(if command == Command::Hold { 60 } else { 10 }),
            heartbeat: None,
            warm: None,
            in_flight: 1,
            size: if publishes { 64 } else { 20 },
            payload: if publishes { Payload::Text } else { Payload::Binary },
            messages: None,
            warmup: Duration::from_secs(1),
            rate: match command {
                Command::Fanout => Some(10.0),
                Command::Latency => Some(100.0),
                _ => None,
            },
            publish_path: "/broadcast".into(),
            sessions: matches!(command, Command::Mix | Command::Latency),
            form: Form::Json,
            transports: Transport::ALL.to_vec(),
            // At thousands a second the usual hundred would be gone while a poll is on its way.
            history: (command == Command::Latency).then_some(10_000),
            rounds: if command == Command::Park { 3 } else { 10 },
            most_rate: 1_024_000.0,
            limit: None,
        })
    }

    fn check(&self) -> Result<(), Failure> {
        if self.url.scheme().is_secure() {
            return Err("TLS is not part of this program: ws:// or http://".into());
        }
        if self.command == Command::Echo && !self.url.scheme().is_websocket() {
            return Err("an echo needs a WebSocket: ws://".into());
        }
        if self.command.is_of_hub() && self.url.scheme().is_websocket() {
            return Err("a hub has WebSockets, event streams and polls under one URL: http://".into());
        }
        // The time of sending stands in front of each message.
        let least = match self.payload {
            Payload::Binary => 8,
            Payload::Text => 16,
        };
        if self.command != Command::Hold && !(least..=MOST_SIZE).contains(&self.size) {
            return Err(
                format!("--size is between {least} and {MOST_SIZE} bytes here: each message carries its time").into()
            );
        }
        let handshake = HandshakeConfig { headers: self.headers.clone(), ..HandshakeConfig::default() };
        handshake.check().map_err(|error| format!("--header: {error}"))?;
        if let Some(Plot { file, .. }) = &self.plot {
            // Now, and not when the run is over and its figures lost. What is in the file stays until there is something better.
            let is_new = !file.exists();
            let opened = OpenOptions::new().create(true).append(true).open(file);
            opened.map_err(|error| format!("--plot: cannot write {}: {error}", file.display()))?;
            if is_new {
                std::fs::remove_file(file)?;
            }
        }
        if self.command.is_of_hub() && self.servers > 1 {
            return Err("a hub is one process: --servers 1".into());
        }
        if self.server.is_some() && self.servers == 0 {
            return Err("--server says what to start; --servers says how many".into());
        }
        if self.servers > 0 && !self.pids.is_empty() {
            return Err("--pid is for servers that run already; those of --servers are known".into());
        }
        Ok(())
    }

    /// How messages end: by count, or by time.
    pub(crate) fn window(&self) -> Option<Duration> {
        self.messages.is_none().then_some(self.duration)
    }
}

const COMMANDS: &str = "hold, echo or fanout, or of a hub park, fanout --hub or latency";

fn parse_url(text: &str) -> Result<Url, Failure> {
    Url::parse(text).map_err(|error| format!("{text:?}: {error}; a URL looks like ws://127.0.0.1:9001/").into())
}

fn text(args: &mut lexopt::Parser) -> Result<String, Failure> {
    Ok(args.value()?.string()?)
}

/// A number as people write it: `_` or `,` where one likes them, and k or M behind it. Its digits, and what they are to be multiplied by.
fn scaled(text: &str) -> (String, u32) {
    let plain = text.replace(['_', ','], "");
    let (digits, factor) = match plain.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1_000),
        None => plain.strip_suffix('M').map_or((plain.as_str(), 1), |digits| (digits, 1_000_000)),
    };
    (digits.into(), factor)
}

fn count(args: &mut lexopt::Parser, name: &str) -> Result<u64, Failure> {
    let text = text(args)?;
    let (digits, factor) = scaled(&text);
    let n: Option<u64> = digits.parse().ok();
    n.and_then(|n| n.checked_mul(factor.into()))
        .ok_or_else(|| format!("{name} takes a number such as 100, 20k or 1M, not {text:?}").into())
}

fn at_least_one(name: &str, n: u64) -> Result<u64, Failure> {
    if n == 0 { Err(format!("{name} must be at least 1").into()) } else { Ok(n) }
}

fn positive(args: &mut lexopt::Parser, name: &str) -> Result<f64, Failure> {
    let text = text(args)?;
    let (digits, factor) = scaled(&text);
    let rate = digits.parse::<f64>().ok().map(|rate| rate * f64::from(factor));
    let rate = rate.filter(|rate| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| {
        format!("{name} takes a number per second above zero, such as 0.5, 100, 20k or 1M, not {text:?}").into()
    })
}

fn header(text: &str) -> Result<(String, String), Failure> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("--header takes 'Name: value', not {text:?}"))?;
    Ok((name.trim().into(), value.trim().into()))
}

/// Seconds, or with ms, s, m or h behind the number.
fn duration(args: &mut lexopt::Parser, name: &str) -> Result<Duration, Failure> {
    let text = text(args)?;
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("", 1.0)];
    let value = units.iter().find_map(|(unit, seconds)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * seconds));
    let value = value.filter(|seconds| (0.0..1e9).contains(seconds));
    Ok(Duration::from_secs_f64(
        value.ok_or_else(|| format!("{name} takes a time such as 10, 500ms or 5m, not {text:?}"))?,
    ))
}

fn sources(text: &str) -> Result<Sources, Failure> {
    if text == "system" {
        return Ok(Sources::System);
    }
    let list: Result<Vec<IpAddr>, _> = text.split(',').map(|address| address.trim().parse()).collect();
    list.map(Sources::List).map_err(|_| format!("--source takes IP addresses or `system`, not {text:?}").into())
}

const HELP: &str = "\
swarm: a load generator for WebSockets and event streams

usage: swarm COMMAND [URL] [options]

commands
  hold     open many connections and keep them; memory and processor time of an idle server
  echo     messages that come back; throughput and latency
  fanout   publications to many subscribers; deliveries and latency

of a hub's subscribers, which come by WebSocket, event stream and long poll (docs/PROTOCOL.md)
  park     many polls that wait; memory of each
  fanout --hub
           publications to subscribers of each transport, and to a mixture; processor time of each delivery
  latency  of delivery, on each transport; publications per second; time to come back

URL is ws://host:port/path for WebSockets (default ws://127.0.0.1:9001/), http://host:port/path for event streams, and what a hub's paths
begin with for a hub (default: one is started).
`swarm COMMAND --help` lists the options. A server to try it on, in another terminal:

  cargo run --release --example echo -- --port 9001 --workers 1 --mode echo

exit status: 0 all well; 2 connections failed or were lost, or messages did not come; 1 the run could not be made, or a --limit is
exceeded
";

const COMMON: &str = "
load
  -c, --connections N   how many (numbers may be written 20k, 1M)
      --processes N     client processes; default: as few as the limit of open files allows, 19,000 connections each at most
      --open-rate R     connections opened per second, all together; default 5000
      --source LIST     source addresses, one for each process in turn: one address has some 28,000 ports towards one server port.
                        Default towards this machine: addresses of 127.0.0.0/8, one for 7,000 connections; else, and with `system`,
                        the system chooses
      --header LINE     'Name: value' in each handshake and request, publications included; may be repeated

server
      --pid P[,P..]     process ids of the server, to report its memory and its processor time
      --servers N       start N servers and end them afterwards; the URL's scheme and path count then, not its address
      --server COMMAND  what to start, without its --port; default: the example `echo` that lies beside this program
      --ports WHICH     own: a port for each server (the load spreads evenly); shared: one port for all by SO_REUSEPORT, for which
                        the default server is started with --shared, and another has to share by itself; default own

result
      --json            JSON on standard output instead of a table
      --plot FILE       the latency distribution as FILE.svg, or as a page: FILE.html
";

fn help_of(command: Command) -> String {
    let own = match command {
        Command::Hold => "\
usage: swarm hold [URL] [options]

Opens connections at a bounded rate, holds them, and reports: how many opened and were lost, and why; pings answered; the server's resident
memory per connection; its share of a core while they are idle.

  -d, --duration T      how long to hold once all are open (60, 90s, 5m); default 60
      --heartbeat T     pings of the client's own after so much silence; default none: the server's pings keep the line up
      --warm N          open N first and read the server's memory then, too; default a tenth, at most 100 for each server
",
        Command::Echo => "\
usage: swarm echo [URL] [options]

Sends messages and waits for each to come back the same. Reports throughput, latency and the server's processor seconds per million messages.

  -d, --duration T      how long to measure; default 10
      --messages N      measure N messages in all instead, without a warm-up
      --warmup T        run so long before measuring; default 1
      --size BYTES      of a message; default 20
      --text            text messages; default binary
      --in-flight N     messages under way on each connection, at most; default 1, with --rate 64
      --rate R          messages per second, all connections together, sent on schedule. Latency is measured from the time at which each
                        message was due, so a stall of the server counts for every message that waited (no coordinated omission).
                        Default: the next message leaves when one comes back, and latency is measured from when it left
",
        Command::Fanout => "\
usage: swarm fanout [URL] [options]

Subscribes, publishes on schedule, and reports deliveries per second and their latency, measured from the time at which each publication
was due. ws://: each message sent by one more connection is expected at every connection (`echo --mode broadcast`).
http://: events at URL (say http://127.0.0.1:9001/events), published by POST to --publish-path.

      --rate R          publications per second; default 10
  -d, --duration T      how long to publish; default 10
      --messages N      publish N times instead, without a warm-up
      --warmup T        publish so long before measuring; default 1
      --size BYTES      of a publication; default 64
      --publish-path P  where event streams are published; default /broadcast
",
        Command::Mix => "\
usage: swarm fanout --hub [URL] [options]

Publishes to WebSockets alone, to event streams alone, to polls alone, and to a third of each, all subscribed to one topic. Reports the
server's processor time for each delivery, the median of the rounds, and what it is of the WebSockets' one. A round is one publication: it is
over when all have it and the server rests. Only then polls come again; their time is counted apart.

      --rounds N        publications measured, with each kind of subscribers; default 10, in two passes
      --size BYTES      of a publication; default 64
      --form FORM       what polls ask for: json or blocks; default json
      --limit X         exit with 1 where the mixture costs more than X times what WebSockets do
",
        Command::Park => "\
usage: swarm park [URL] [options]

Parks polls and reports the server's resident memory for each, beyond the first ones. Then publishes once, sees that all are answered,
and parks them again, round by round.

      --session         polls of sessions; default: each poll is a stranger's
      --warm N          park N first and take memory from there; default 500, or a tenth where that is less
      --rounds N        how often they are parked; default 3
      --size BYTES      of a publication; default 64
      --form FORM       what polls ask for: json or blocks; default json
      --limit BYTES     exit with 1 where a parked poll takes more
",
        Command::Latency => "\
usage: swarm latency [URL] [options]

Publishes to a few subscribers of one transport after the other, and reports: the latency of delivery at a moderate rate, from when each
publication was due; the highest rate, of 500 and its doubles, at which everything arrives and the 99th percentile stays under half a second;
how long a connection takes that comes back, from its request to the event that it missed. A hub that is started here retains 10,000
events.

      --transport NAME  only websocket, stream or poll
      --rate R          the moderate rate, per second; default 100
  -d, --duration T      how long to publish at it; default 10
      --most-rate R     the highest rate that is tried; default 1024k
      --size BYTES      of a publication; default 64
      --form FORM       what polls ask for: json or blocks; default json
",
    };
    format!("{own}{COMMON}")
}
