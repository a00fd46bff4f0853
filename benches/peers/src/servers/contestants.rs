//! The servers, how each is built and started, and which loads it takes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cells::{Deflate, FanOut, Transport, Work};
use crate::wire::{self, Dialect};

/// What the bars refer to, but where nothing without a protocol can do the work.
pub const FLOOR: &str = "bare";
/// What the bars are about.
pub const OURS: &str = "tautline";

pub struct Contestant {
    pub name: &'static str,
    pub dialect: Dialect,
    program: PathBuf,
    arguments: fn(Work) -> Option<Vec<String>>,
}

impl Contestant {
    pub fn takes(&self, work: Work) -> bool {
        (self.arguments)(work).is_some()
    }

    /// Without the port, which follows as `--port P`. For work that it [takes](Contestant::takes).
    pub fn command(&self, work: Work) -> Command {
        let mut command = Command::new(&self.program);
        command.args((self.arguments)(work).unwrap_or_default());
        command
    }
}

/// Builds this crate's servers and tautline's example, in the profile that this program was built in. tautline is left out only where the example
/// does not exist; an example that does not build is an error.
pub fn build(tautline: Option<&str>, uwebsockets: Option<&str>, npm: bool) -> Result<Vec<Contestant>, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bare = executable(here, &["--bin", "bare"])?;
    let on_tokio = executable(here, &["--bin", "tokio_peers"])?;
    let root = here.join("../..");
    let tautline = match tautline {
        Some(path) => Some(PathBuf::from(path)),
        None if root.join("examples/echo.rs").exists() || root.join("examples/echo").exists() => {
            Some(executable(&root, &["--example", "echo"])?)
        }
        None => {
            eprintln!("tautline is left out: it has no example `echo`");
            None
        }
    };
    let mut contestants = vec![Contestant {
        name: FLOOR,
        dialect: Dialect::Bare,
        program: bare.clone(),
        arguments: |work| bare_arguments(work, &[]),
    }];
    if let Some(program) = tautline {
        let ours =
            |name, arguments| Contestant { name, dialect: Dialect::WebSocket, program: program.clone(), arguments };
        contestants.push(ours(OURS, |work| match work {
            Work::FanOut(_) => words("--workers 1 --mode broadcast"),
            Work::Deflate(shape) => words(&deflating_tautline(shape)),
            _ => words("--workers 1 --mode echo"),
        }));
        contestants.push(ours("tautline-again", |work| match work {
            Work::Deflate(shape) => words(&deflating_tautline(shape)),
            _ => None,
        }));
    }
    if npm {
        contestants.push(Contestant {
            name: "ws",
            dialect: Dialect::WebSocket,
            program: install_ws(&bare.with_file_name("npm-ws"))?,
            arguments: |work| match work {
                Work::Deflate(Deflate { level, .. }) => words(&format!("--level {level}")),
                _ => None,
            },
        });
    }
    if let Some(source) = uwebsockets {
        contestants.push(Contestant {
            name: "uWebSockets",
            dialect: Dialect::WebSocket,
            program: compile_uwebsockets(Path::new(source), &bare.with_file_name("uwebsockets"))?,
            arguments: |work| match work {
                Work::FanOut(FanOut { transport: Transport::EventStream, .. }) | Work::Deflate(_) => None,
                Work::FanOut(_) => words("--mode broadcast"),
                _ => words("--mode echo"),
            },
        });
    }
    let peer = |name, arguments| Contestant { name, dialect: Dialect::WebSocket, program: on_tokio.clone(), arguments };
    contestants.push(peer("fastwebsockets", |work| match work {
        Work::FanOut(_) | Work::Deflate(_) => None,
        _ => words("fastwebsockets --mode echo"),
    }));
    contestants.push(peer("tokio-websockets", |work| match work {
        Work::FanOut(FanOut { transport: Transport::EventStream, .. }) | Work::Deflate(_) => None,
        Work::FanOut(_) => words("tokio-websockets --mode broadcast"),
        _ => words("tokio-websockets --mode echo"),
    }));
    contestants.push(peer("axum", |work| match work {
        Work::FanOut(FanOut { transport: Transport::EventStream, .. }) => words("axum --mode broadcast"),
        _ => None,
    }));
    contestants.push(peer("yawc", |work| match work {
        Work::Deflate(Deflate { level, .. }) => words(&format!("yawc --level {level}")),
        _ => None,
    }));
    let other = |name, arguments| Contestant { name, dialect: Dialect::Bare, program: bare.clone(), arguments };
    // The same program once more: how far from 1 its ratios are is what the machine's noise leaves of any other's.
    contestants.push(other("bare-again", |work| bare_arguments(work, &[])));
    contestants.push(other("bare-level", |work| match work {
        Work::Echo(_) => bare_arguments(work, &["--level"]),
        _ => None,
    }));
    contestants.push(other("bare-eager", |work| match work {
        Work::Handshakes => bare_arguments(work, &["--eager"]),
        _ => None,
    }));
    contestants.push(other("bare-deferred", |work| match work {
        Work::Handshakes => bare_arguments(work, &["--eager", "--defer-accept"]),
        _ => None,
    }));
    Ok(contestants)
}

fn deflating_tautline(shape: Deflate) -> String {
    format!("--workers 1 --mode echo --takeover --level {}", shape.level)
}

fn bare_arguments(work: Work, more: &[&str]) -> Option<Vec<String>> {
    let mut arguments = vec!["--mode".to_owned()];
    match work {
        Work::Deflate(_) => return None,
        Work::Echo(_) => arguments.push("echo".to_owned()),
        Work::Handshakes => arguments.push("handshake".to_owned()),
        Work::FanOut(shape) => {
            let bytes = wire::delivery(shape.transport, &wire::publication());
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            arguments.extend(["fanout".to_owned(), "--deliver".to_owned(), hex]);
        }
    }
    arguments.extend(more.iter().map(|&one| one.to_owned()));
    Some(arguments)
}

fn words(text: &str) -> Option<Vec<String>> {
    Some(text.split(' ').map(str::to_owned).collect())
}

/// Builds one target and asks cargo where it lies.
fn executable(manifest_dir: &Path, target: &[&str]) -> Result<PathBuf, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("build").args(target).arg("--manifest-path").arg(manifest_dir.join("Cargo.toml"));
    cargo.args(["--quiet", "--message-format", "json-render-diagnostics"]);
    // What `cargo run` and `cargo test` tell this program about itself; some build scripts would take it for a change.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| name.starts_with(prefix)) {
            cargo.env_remove(&*name);
        }
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let built = cargo.stderr(Stdio::inherit()).output().map_err(|error| format!("cargo: {error}"))?;
    if !built.status.success() {
        return Err(format!("{} of {} does not build", target.join(" "), manifest_dir.display()));
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    // Other artifacts say `"executable":null`.
    let path = messages.split("\"executable\":\"").nth(1).and_then(|rest| rest.split('"').next());
    path.map(PathBuf::from).ok_or_else(|| format!("cargo names no executable for {}", target.join(" ")))
}

/// Compiles the server beside this file against uWebSockets' own source, without TLS and compression.
fn compile_uwebsockets(source: &Path, into: &Path) -> Result<PathBuf, String> {
    let script = r#"
        set -e
        mkdir -p "$2" && cd "$2"
        cc -O3 -flto -DLIBUS_NO_SSL -I "$1/uSockets/src" -c "$1"/uSockets/src/*.c "$1"/uSockets/src/eventing/*.c
        c++ -std=c++20 -O3 -flto=auto -DLIBUS_NO_SSL -DUWS_NO_ZLIB -I "$1/src" -I "$1/uSockets/src" "$3" ./*.o -o uwebsockets
    "#;
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/servers/uwebsockets.cpp");
    let source = source.canonicalize().map_err(|error| format!("{}: {error}", source.display()))?;
    let status = Command::new("sh").args(["-c", script, "sh"]).args([&source, into, &server]).status();
    match status {
        Ok(status) if status.success() => Ok(into.join("uwebsockets")),
        _ => Err(format!("uWebSockets in {} does not build", source.display())),
    }
}

/// Fetches npm's ws, of the versions in the lock file beside its server, unless it is there. Returns the server.
fn install_ws(into: &Path) -> Result<PathBuf, String> {
    let script = r#"
        set -e
        mkdir -p "$2" && cp "$1/server.js" "$2"
        chmod +x "$2/server.js"
        if [ ! -d "$2/node_modules/ws" ] || ! cmp -s "$1/package-lock.json" "$2/package-lock.json"; then
            cp "$1/package.json" "$1/package-lock.json" "$2"
            cd "$2" && npm ci --silent --no-audit --no-fund >&2
        fi
    "#;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/servers/npm_ws");
    let status = Command::new("sh").args(["-c", script, "sh"]).args([&source, into]).status();
    match status {
        Ok(status) if status.success() => Ok(into.join("server.js")),
        _ => Err(format!("npm's ws cannot be installed in {}: it needs node and npm", into.display())),
    }
}
