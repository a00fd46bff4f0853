//! The smallest server on the loop: each message back to its sender, or to everyone. The one that benchmarks use.
//!
//! ```text
//! cargo run --release --example echo -- --port 9001 --workers 1 --mode echo
//! ```
//!
//! Any path and any origin is a WebSocket. `GET /events` streams events, and `POST /broadcast` sends `data: <body>` to all of them.

use lexopt::prelude::*;
use std::net::{Ipv4Addr, SocketAddr};
use std::{io::Write, num::NonZeroU64, process::ExitCode};
use tautline::http::{RequestHead, Response, origin::OriginPolicy};
use tautline::net::{Accept, Audience, Config, Context, Handler, ListenConfig, Message, PortSharing, Server};
use tautline::{sse, ws};

const HELP: &str =
    "echo [--port 9001] [--shared] [--workers N] [--mode echo|broadcast] [--deflate [--takeover] [--level N]] [--max-message BYTES] [--max-fragments N]
--shared: other processes may listen on the port, too. --workers: default one for each core. --takeover: with context takeover. --level: zlib's, 1 to 9";

/// The topics that everyone is subscribed to.
const SOCKETS: &str = "sockets";
const STREAMS: &str = "streams";

#[derive(Clone, Copy)]
enum Mode {
    Echo,
    Broadcast,
}

impl Handler for Mode {
    type State = u64;

    fn request(&mut self, head: &RequestHead<'_>, cx: &mut Context<'_, u64>) {
        match (head.method(), head.path()) {
            ("GET", "/events") => _ = cx.open_stream(head, &[]).is_ok() && cx.subscribe(STREAMS).is_ok(),
            ("POST", "/broadcast") => cx.read_body(),
            // Refused or not, it is answered; what cannot be is answered with 500 by the loop.
            _ => _ = cx.accept(head, &Accept::default()),
        }
    }

    fn body(&mut self, body: &[u8], cx: &mut Context<'_, u64>) {
        let sent = sse::Event::from_utf8(body).is_ok_and(|ev| cx.broadcast_event(STREAMS, &ev, Audience::All).is_ok());
        let _ = cx.respond(&Response::new(if sent { 204 } else { 400 }), &[]);
    }

    fn opened(&mut self, cx: &mut Context<'_, u64>) {
        if let Self::Broadcast = self {
            let _ = cx.subscribe(SOCKETS);
        }
    }

    #[inline]
    fn message(&mut self, message: Message<'_>, cx: &mut Context<'_, u64>) {
        let sent = match self {
            Self::Echo => cx.send(message).is_ok(),
            Self::Broadcast => cx.broadcast(SOCKETS, message, Audience::All).is_ok(),
        };
        if !sent {
            cx.close(ws::CloseCode::TRY_AGAIN, "no room");
        }
    }
}

fn main() -> ExitCode {
    let problem = run().map_err(|error| eprintln!("error: {error}"));
    problem.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (mut args, mut config) = (lexopt::Parser::from_env(), Config::default());
    let (mut port, mut sharing, mut workers, mut mode) = (9001, PortSharing::Exclusive, None, Mode::Echo);
    while let Some(arg) = args.next()? {
        match arg {
            Long("help") | Short('h') => return Ok(writeln!(std::io::stdout(), "{HELP}")?),
            Long("port") => port = args.value()?.parse()?,
            Long("shared") => sharing = PortSharing::Shared,
            Long("workers") => workers = Some(args.value()?.parse()?),
            Long("mode") => match args.value()?.to_str() {
                Some("echo") => mode = Mode::Echo,
                Some("broadcast") => mode = Mode::Broadcast,
                _ => return Err("--mode is echo or broadcast".into()),
            },
            Long("max-message") => {
                config.ws.limits.message = args.value()?.parse::<NonZeroU64>()?.get();
                config.ws.limits.frame = config.ws.limits.message;
                config.queue.limit = usize::try_from(config.ws.limits.message)? * 2 + (64 << 10);
            }
            Long("deflate") => _ = config.ws.deflate.get_or_insert_default(),
            Long("takeover") => {
                let deflate = config.ws.deflate.get_or_insert_default();
                (deflate.server_takeover, deflate.client_takeover) = (ws::Takeover::Kept, ws::Takeover::Kept);
            }
            Long("level") => config.ws.deflate.get_or_insert_default().level = args.value()?.parse()?,
            Long("max-fragments") => config.ws.limits.fragments = args.value()?.parse()?,
            _ => return Err(arg.unexpected().into()),
        }
    }
    config.upgrade.origins = OriginPolicy::Any;
    let listen = ListenConfig { sharing, ..ListenConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) };
    let server = Server::start(&config, &[listen], workers, move |_| mode)?;
    println!("listening on {}", server.addresses()[0]);
    server.join();
    Ok(())
}
