//! A WebSocket implementation as a puppet: commands on standard input, what happens on standard output.
//!
//! ```text
//! tautline-interop tautline|tungstenite|fastwebsockets server|client [DEFLATE]
//! tautline-interop stream                  a server of event streams
//! tautline-interop source PORT PATH        a client of one
//! ```
//!
//! The language of puppets is described in `tests/interop/README.md`; those of other implementations speak it, too.

mod fastwebsockets_peer;
mod source;
mod stream;
mod tautline_peer;
mod tungstenite_peer;
mod wire;

use std::process::ExitCode;
use wire::Role;

/// What a puppet takes: all peers are set to it, so that "one byte more" is one byte more for each.
pub const LARGEST_MESSAGE: usize = 1 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match *arguments {
        ["source", port, path] => source::run(port, path),
        ["stream"] => stream::run(),
        [library, role, ref deflate @ ..] if deflate.len() <= 1 => {
            let role = match role {
                "server" => Role::Server,
                "client" => Role::Client,
                _ => return usage(),
            };
            match library {
                "tautline" => tautline_peer::run(role, deflate.first().unwrap_or(&"off")),
                "tungstenite" => tungstenite_peer::run(role),
                "fastwebsockets" => fastwebsockets_peer::run(role),
                _ => return usage(),
            }
        }
        _ => return usage(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "tautline-interop tautline|tungstenite|fastwebsockets server|client [DEFLATE], stream, or source PORT PATH"
    );
    ExitCode::FAILURE
}
