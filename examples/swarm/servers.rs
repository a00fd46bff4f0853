//! Servers that this program starts, and their keeper: a process that ends them when it ends or when the leader does.

use crate::Failure;
use crate::fleet::{After, Target, role};
use crate::options::{Command as Task, Options, Ports};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The argument that makes this program the keeper.
pub(crate) const ROLE: &str = "as-keeper-of-servers";

/// How long a server may take until it says where it listens.
const START: Duration = Duration::from_secs(10);

/// The servers of a run.
pub(crate) enum Servers {
    /// Somebody else's, with the process ids that we were told.
    Running(Vec<u32>),
    Kept(Keeper),
}

/// The leader's side of the keeper. Dropping it ends the servers.
pub(crate) struct Keeper {
    child: Child,
    stdin: Option<ChildStdin>,
    pids: Vec<u32>,
}

impl Servers {
    /// Finds or starts them; says where to connect.
    pub(crate) fn of(options: &Options) -> Result<(Self, Vec<Target>), Failure> {
        if options.servers == 0 {
            let target = Target::of(&options.url)?;
            target.probe()?;
            return Ok((Self::Running(options.pids.clone()), vec![target]));
        }
        let command = match &options.server {
            Some(command) => command.split_whitespace().map(String::from).collect(),
            None if options.command.is_of_hub() => hub(options)?,
            None => echo(options)?,
        };
        let mut child = role(ROLE)?;
        let mut stdin = child.stdin.take().ok_or("a child without stdin")?;
        let stdout = child.stdout.take().ok_or("a child without stdout")?;
        let job = json!({"command": command, "servers": options.servers, "shared": options.ports == Ports::Shared});
        writeln!(stdin, "{job}")?;
        let mut keeper = Keeper { child, stdin: Some(stdin), pids: Vec::new() };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let said: Value = serde_json::from_str(&line).map_err(|_| "the servers could not be started")?;
        let mut targets = Vec::new();
        for server in said["servers"].as_array().ok_or("the servers could not be started")? {
            keeper.pids.push(u32::try_from(server["pid"].as_u64().unwrap_or(0))?);
            let address: SocketAddr = server["address"].as_str().unwrap_or_default().parse()?;
            targets.push(Target::at(&options.url, address)?);
        }
        if options.ports == Ports::Shared {
            targets.truncate(1);
        }
        Ok((Self::Kept(keeper), targets))
    }

    /// What becomes of the connections at the end of a run: a server that ends with it needs no goodbye from a million clients.
    pub(crate) fn after(&self) -> After {
        match self {
            Self::Running(_) => After::Close,
            Self::Kept(_) => After::Drop,
        }
    }

    /// Those whose memory and time can be read.
    pub(crate) fn pids(&self) -> &[u32] {
        match self {
            Self::Running(pids) => pids,
            Self::Kept(keeper) => &keeper.pids,
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// This program in the role of a hub.
fn hub(options: &Options) -> Result<Vec<String>, Failure> {
    let program = std::env::current_exe()?;
    let program = program.to_str().ok_or("this program's path is not UTF-8")?;
    let history = options.history.map(|events| ["--history".into(), events.to_string()]);
    Ok([program, crate::hub::ROLE].into_iter().map(String::from).chain(history.into_iter().flatten()).collect())
}

/// The example `echo` beside this program.
fn echo(options: &Options) -> Result<Vec<String>, Failure> {
    let program = std::env::current_exe()?.with_file_name("echo");
    if !program.exists() {
        return Err(format!(
            "no server at {}: build it (`cargo build --release --example echo`) or name one with --server",
            program.display()
        )
        .into());
    }
    let mode = if options.command == Task::Fanout { "broadcast" } else { "echo" };
    let program = program.to_str().ok_or("this program's path is not UTF-8")?;
    let shared = (options.ports == Ports::Shared).then_some("--shared");
    Ok([program, "--workers", "1", "--mode", mode].into_iter().chain(shared).map(String::from).collect())
}

/// The keeper: starts what its standard input asks for, says where they are, and ends them when standard input ends.
pub(crate) fn run() -> Result<(), Failure> {
    let mut line = String::new();
    stdin().lock().read_line(&mut line)?;
    let job: Value = serde_json::from_str(&line)?;
    let command: Vec<&str> = job["command"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let (program, arguments) = command.split_first().ok_or("--server is empty")?;
    let mut kept = Kept(Vec::new());
    let mut said = Vec::new();
    let mut port = 0;
    for _ in 0..job["servers"].as_u64().unwrap_or(0) {
        let mut server = Command::new(program);
        server.args(arguments).arg("--port").arg(port.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        let child = server.spawn().map_err(|error| format!("cannot start {program}: {error}"))?;
        kept.0.push(child);
        let child = kept.0.last_mut().ok_or("pushed just now")?;
        let address = address(child).ok_or_else(|| {
            format!("{program} did not say where it listens: its first line should end in an address, such as `listening on 127.0.0.1:9001`")
        })?;
        if job["shared"] == true {
            port = address.port();
        }
        said.push(json!({"pid": child.id(), "address": address.to_string()}));
    }
    writeln!(stdout(), "{}", json!({ "servers": said }))?;
    // Until the leader lets go, in whatever way it ends.
    while stdin().lock().read_line(&mut line)? > 0 {}
    Ok(())
}

struct Kept(Vec<Child>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|child| drop(child.kill()));
        self.0.iter_mut().for_each(|child| drop(child.wait()));
    }
}

/// Where a server says that it listens, in its first line. Whatever it says later is read and dropped.
fn address(child: &mut Child) -> Option<SocketAddr> {
    let stdout = child.stdout.take()?;
    let (says, said) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let _ = says.send(lines.next());
        lines.for_each(drop);
    });
    said.recv_timeout(START).ok()??.split_whitespace().last()?.parse().ok()
}
