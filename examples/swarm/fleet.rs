//! The leader's side of its member processes.

use crate::member::Transport;
use crate::options::{Form, Options, Payload, Sources};
use crate::process::{self, Cpu};
use crate::report::number;
use crate::{Failure, member};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};
use tautline::http::url::Url;

/// Connections of a process at most, where nobody says otherwise: under the common limit of 20,000 files and under the 28,232 ports that a
/// source address has towards one server port.
const MOST_EACH: u64 = 19_000;

/// Connections from one address, where there are addresses enough. Linux looks for a free port from a random one on, among the odd or the
/// even ones first (14,116 of each): with half of them taken that is two or three looks, with all of them a walk of milliseconds.
const MOST_OF_SOURCE: u64 = 7_000;

/// Files that a process has open besides its connections.
const OWN_FILES: u64 = 32;

/// A stage in which nothing moves for so long is over.
const STALLED: Duration = Duration::from_secs(40);

/// Where to connect: for which URL, and at which address.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) url: Url,
    pub(crate) address: SocketAddr,
}

impl Target {
    /// The URL's own.
    pub(crate) fn of(url: &Url) -> Result<Self, Failure> {
        let host = url.host().trim_start_matches('[').trim_end_matches(']');
        let mut addresses =
            (host, url.port()).to_socket_addrs().map_err(|error| format!("cannot resolve {host}: {error}"))?;
        let address = addresses.next().ok_or_else(|| format!("{host} has no address"))?;
        Ok(Self { url: url.clone(), address })
    }

    /// `url`, but at `address`.
    pub(crate) fn at(url: &Url, address: SocketAddr) -> Result<Self, Failure> {
        let text = format!("{}://{address}{}", if url.scheme().is_websocket() { "ws" } else { "http" }, url.target());
        Ok(Self { url: Url::parse(&text)?, address })
    }

    /// Whether anybody is there: better asked once than a thousand times.
    pub(crate) fn probe(&self) -> Result<(), Failure> {
        match TcpStream::connect_timeout(&self.address, Duration::from_secs(5)) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!(
                "nobody answers at {}: {error}. Start a server first, such as\n  cargo run --release --example echo -- --port {} --workers 1\nor let \
                 swarm start one: --servers 1",
                self.address,
                self.address.port()
            )
            .into()),
        }
    }
}

/// What the members have said so far, summed up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) opened: u64,
    pub(crate) open: u64,
    pub(crate) failed: u64,
    pub(crate) lost: u64,
    pub(crate) pings: u64,
    pub(crate) pongs: u64,
    pub(crate) received: u64,
    /// Polls that a hub holds.
    pub(crate) parked: u64,
    /// Connections to a hub that came back.
    pub(crate) returned: u64,
    /// Members whose messages are all through.
    pub(crate) done: u64,
}

impl Counts {
    fn add(&mut self, said: &Value) {
        let of = |name: &str| said[name].as_u64().unwrap_or(0);
        self.opened += of("opened");
        self.open += of("open");
        self.failed += of("failed");
        self.lost += of("lost");
        self.pings += of("pings");
        self.pongs += of("pongs");
        self.received += of("received");
        self.parked += of("parked");
        self.returned += of("returned");
        self.done += u64::from(said["done"].as_bool().unwrap_or(false));
    }

    /// Anything that shows that a stage goes on.
    fn moved(&self) -> u64 {
        self.opened + self.failed + self.lost + self.received + self.parked + self.returned
    }
}

/// What the members said at the end.
pub(crate) struct Ends {
    pub(crate) counts: Counts,
    pub(crate) causes: BTreeMap<String, u64>,
    pub(crate) said: Vec<Value>,
}

impl Ends {
    /// The sum of a field over all members.
    pub(crate) fn sum(&self, field: &str) -> u64 {
        self.said.iter().filter_map(|said| said[field].as_u64()).sum()
    }

    /// Why connections failed or were lost, most frequent first.
    pub(crate) fn reasons(&self) -> Vec<(&str, u64)> {
        let mut reasons: Vec<_> = self.causes.iter().map(|(cause, count)| (cause.as_str(), *count)).collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        reasons
    }
}

/// What becomes of the connections at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// They are closed one by one, with a Close frame.
    Close,
    /// They end with their process.
    Drop,
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    For(Duration),
    /// Until nothing was opened, lost or received for so long.
    WhileMoving(Duration),
}

impl Patience {
    /// For stages that should go on by themselves.
    pub(crate) const STAGE: Self = Self::WhileMoving(STALLED);
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Done,
    Timeout,
    /// Nothing moved for long.
    Stalled,
    /// By Ctrl-C or SIGTERM.
    Interrupted,
}

enum Said {
    Line(Value),
    Gone,
}

struct Member {
    child: Child,
    stdin: Option<ChildStdin>,
    connections: u64,
    last: Value,
}

/// All member processes. Dropping it ends them.
pub(crate) struct Fleet {
    members: Vec<Member>,
    said: Receiver<(usize, Said)>,
    interrupted: Arc<AtomicBool>,
}

impl Fleet {
    /// Starts as many processes as `options` want for their connections to `targets`, each of which gets its share.
    pub(crate) fn start(options: &Options, targets: &[Target]) -> Result<Self, Failure> {
        Self::subscribed(options, targets, &[])
    }

    /// As [`start`](Self::start), of subscribers of a hub, by `transports` in turn.
    pub(crate) fn subscribed(options: &Options, targets: &[Target], transports: &[Transport]) -> Result<Self, Failure> {
        let limit = process::file_limit("self")?.saturating_sub(OWN_FILES);
        let total = options.connections;
        let least = total.div_ceil(limit.clamp(1, MOST_EACH));
        // One or more for each server, where there are about as many.
        let servers = targets.len() as u64;
        let paired = if least * 2 >= servers { least.next_multiple_of(servers) } else { least };
        let processes = options.processes.unwrap_or(paired).min(total);
        let each = total.div_ceil(processes);
        if each > limit {
            return Err(format!(
                "{} connections in one process, but it may open {} files: raise the limit (`ulimit -n {}`) or use --processes {}",
                number(each),
                number(limit + OWN_FILES),
                each + OWN_FILES,
                least
            )
            .into());
        }
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, interrupted.clone())?;
        }
        let (says, said) = mpsc::channel();
        let mut fleet = Self { members: Vec::new(), said, interrupted };
        let mut first = 0;
        for number in 0..processes {
            let connections = (total - first).min(total / processes + u64::from(number < total % processes));
            let job = json!({
                "command": options.command.name(),
                "targets": targets.iter().map(|to| json!({"url": url_text(&to.url), "address": to.address.to_string()})).collect::<Vec<_>>(),
                "first": first,
                "connections": connections,
                "sources": sources(options, targets, number, each)?.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
                "open_rate": options.open_rate * connections as f64 / total as f64,
                "heartbeat_ms": options.heartbeat.map(|every| every.as_millis() as u64),
                "size": options.size,
                "text": options.payload == Payload::Text,
                "in_flight": options.in_flight,
                "messages": options.messages.map(|messages| share(messages, number, processes)),
                "rate": options.rate.map(|rate| rate * connections as f64 / total as f64),
                "all": total,
                "headers": options.headers,
                "transports": transports.iter().map(|transport| transport.name()).collect::<Vec<_>>(),
                "sessions": options.sessions,
                "json": options.form == Form::Json,
            });
            fleet.add(&job, connections, number as usize, says.clone())?;
            first += connections;
        }
        Ok(fleet)
    }

    fn add(
        &mut self,
        job: &Value,
        connections: u64,
        number: usize,
        says: mpsc::Sender<(usize, Said)>,
    ) -> Result<(), Failure> {
        let mut child = role(member::ROLE)?;
        let mut stdin = child.stdin.take().ok_or("a child without stdin")?;
        let stdout = child.stdout.take().ok_or("a child without stdout")?;
        writeln!(stdin, "{job}")?;
        self.members.push(Member { child, stdin: Some(stdin), connections, last: Value::Null });
        // Most of these threads sleep most of the time; a small stack is enough for reading lines.
        thread::Builder::new().stack_size(256 << 10).spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(value) = serde_json::from_str(&line) {
                    let _ = says.send((number, Said::Line(value)));
                }
            }
            let _ = says.send((number, Said::Gone));
        })?;
        Ok(())
    }

    pub(crate) fn len(&self) -> u64 {
        self.members.len() as u64
    }

    /// Process ids of the members.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.child.id()).collect()
    }

    /// Lets the members open connections until there are `total` of them, opened or failed.
    pub(crate) fn open(&mut self, total: u64) -> Result<(), Failure> {
        let all: u64 = self.members.iter().map(|member| member.connections).sum();
        let mut left = total;
        for member in &mut self.members {
            // In proportion; the last ones take what rounding left.
            let share = (u128::from(total) * u128::from(member.connections)).div_ceil(u128::from(all.max(1))) as u64;
            let share = share.min(left).min(member.connections);
            left -= share;
            tell(member, &json!({"do": "open", "until": share}))?;
        }
        Ok(())
    }

    pub(crate) fn tell(&mut self, what: &Value) -> Result<(), Failure> {
        self.members.iter_mut().try_for_each(|member| tell(member, what))
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.members.iter().for_each(|member| counts.add(&member.last));
        counts
    }

    /// Follows what the members say until `done`, or patience ends.
    pub(crate) fn wait(
        &mut self,
        patience: Patience,
        done: impl Fn(&Counts) -> bool,
        mut show: impl FnMut(&Counts),
    ) -> Result<Waited, Failure> {
        let began = Instant::now();
        let (mut moved, mut since) = (self.counts().moved(), Instant::now());
        loop {
            let counts = self.counts();
            show(&counts);
            if done(&counts) {
                return Ok(Waited::Done);
            }
            if self.interrupted.load(Ordering::Relaxed) {
                return Ok(Waited::Interrupted);
            }
            if counts.moved() != moved {
                (moved, since) = (counts.moved(), Instant::now());
            }
            let left = match patience {
                Patience::For(time) => time.saturating_sub(began.elapsed()),
                Patience::WhileMoving(quiet) => quiet.saturating_sub(since.elapsed()),
            };
            if left.is_zero() {
                return Ok(match patience {
                    Patience::For(_) => Waited::Timeout,
                    Patience::WhileMoving(_) => Waited::Stalled,
                });
            }
            self.listen(left.min(Duration::from_millis(100)))?;
        }
    }

    /// Asks each member for all that it knows.
    ///
    /// Where the server goes on running the connections are then closed in order, at the end of the fleet.
    pub(crate) fn end(&mut self, after: After) -> Result<Ends, Failure> {
        self.tell(&json!({"do": "end", "polite": after == After::Close}))?;
        let began = Instant::now();
        while self.members.iter().any(|member| member.last["end"].is_null()) {
            if began.elapsed() > STALLED {
                return Err("a client process does not answer".into());
            }
            self.listen(Duration::from_millis(100))?;
        }
        let said: Vec<Value> = self.members.iter().map(|member| member.last["end"].clone()).collect();
        let mut causes = BTreeMap::new();
        for said in &said {
            for (cause, count) in said["causes"].as_object().into_iter().flatten() {
                *causes.entry(cause.clone()).or_insert(0) += count.as_u64().unwrap_or(0);
            }
        }
        Ok(Ends { counts: self.counts(), causes, said })
    }

    /// Processor time of the members.
    pub(crate) fn cpu(&self) -> Result<Cpu, Failure> {
        Cpu::of(&self.pids())
    }

    fn listen(&mut self, at_most: Duration) -> Result<(), Failure> {
        let mut next = self.said.recv_timeout(at_most).ok();
        while let Some((number, said)) = next {
            match said {
                Said::Line(value) if value["error"].is_string() => {
                    return Err(value["error"].as_str().unwrap_or_default().into());
                }
                Said::Line(value) => self.members[number].last = value,
                Said::Gone => return Err(format!("client process {number} ended unexpectedly").into()),
            }
            next = self.said.try_recv().ok();
        }
        Ok(())
    }
}

impl Drop for Fleet {
    /// A member ends when its standard input does.
    fn drop(&mut self) {
        for member in &mut self.members {
            member.stdin = None;
        }
        let began = Instant::now();
        for member in &mut self.members {
            while matches!(member.child.try_wait(), Ok(None)) && began.elapsed() < Duration::from_secs(10) {
                thread::sleep(Duration::from_millis(5));
            }
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

/// Starts this program again in another role. In a process group of its own, so that Ctrl-C reaches the leader alone, which ends the others
/// in order.
pub(crate) fn role(name: &str) -> Result<Child, Failure> {
    use std::os::unix::process::CommandExt;
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.arg(name).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    command.spawn().map_err(|error| format!("cannot start another process: {error}").into())
}

fn tell(member: &mut Member, what: &Value) -> Result<(), Failure> {
    let stdin = member.stdin.as_mut().ok_or("a member that was ended")?;
    writeln!(stdin, "{what}").map_err(|error| format!("a client process is gone: {error}").into())
}

/// What falls to one of many, as evenly as it goes.
pub(crate) fn share(total: u64, number: u64, of: u64) -> u64 {
    total / of + u64::from(number < total % of)
}

/// Where member `number` connects from, with `each` connections at most.
fn sources(options: &Options, targets: &[Target], number: u64, each: u64) -> Result<Vec<IpAddr>, Failure> {
    let is_local = |target: &Target| matches!(target.address.ip(), IpAddr::V4(ip) if ip.is_loopback());
    match &options.sources {
        Sources::List(list) => Ok(vec![list[number as usize % list.len()]]),
        Sources::Automatic if targets.iter().all(is_local) => {
            let count = each.div_ceil(MOST_OF_SOURCE);
            // A network of 65,536 addresses for each run, of the 250 behind that of 127.0.0.1: what an earlier run left in TIME_WAIT, or
            // another one uses, is not in the way.
            let network = 1 + std::process::id() % 250;
            let first = u32::from(Ipv4Addr::new(127, 0, 0, 1)) + (network << 16) + u32::try_from(number * count)?;
            Ok((0..u32::try_from(count)?).map(|at| IpAddr::V4(Ipv4Addr::from(first + at))).collect())
        }
        Sources::System | Sources::Automatic => Ok(Vec::new()),
    }
}

fn url_text(url: &Url) -> String {
    format!("{}://{}{}", if url.scheme().is_websocket() { "ws" } else { "http" }, url.authority(), url.target())
}
