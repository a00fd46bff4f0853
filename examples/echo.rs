//! The smallest server on the loop: each message back to its sender, or to everyone. The one that benchmarks use.
//!
//! ```text
//! cargo run --release --example echo -- --port 9001 --workers 1 --mode echo
//! ```
//!
//! Any path and any origin is a WebSocket. `GET /events` streams events, and `POST /broadcast` sends `data: <body>` to all of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use tautline::http::upgrade::UpgradeConfig;
use tautline::http::{RequestHead, Response, origin::OriginPolicy};
use tautline::net::{Accept, Audience, Config, Context, Handler, ListenConfig, Message};
use tautline::net::{PortSharing, Server, StreamOpened};
use tautline::{sse, ws};

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
            ("GET", "/events") => {
                if let Ok(StreamOpened::Yes) = cx.open_stream(head, &[]) {
                    let _ = cx.subscribe(STREAMS);
                }
            }
            ("POST", "/broadcast") => cx.read_body(),
            // Refused or not, it is answered; what cannot be is answered with 500 by the loop.
            _ => _ = cx.accept(head, &Accept::default()),
        }
    }

    fn body(&mut self, body: &[u8], cx: &mut Context<'_, u64>) {
        let event = sse::Event::from_utf8(body);
        let sent = event.is_ok_and(|event| cx.broadcast_event(STREAMS, &event, Audience::All).is_ok());
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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut port, mut workers, mut mode, mut config) = (9001, None, Mode::Echo, Config::default());
    let mut args = lexopt::Parser::from_env();
    use lexopt::prelude::*;
    while let Some(arg) = args.next()? {
        match arg {
            Long("port") => port = args.value()?.parse()?,
            Long("workers") => workers = NonZeroUsize::new(args.value()?.parse()?),
            Long("mode") => {
                mode = match args.value()?.string()?.as_str() {
                    "echo" => Mode::Echo,
                    "broadcast" => Mode::Broadcast,
                    _ => return Err("--mode is echo or broadcast".into()),
                }
            }
            Long("max-message") => {
                config.ws.limits.message = args.value()?.parse()?;
                config.ws.limits.frame = config.ws.limits.message;
                config.queue.limit = usize::try_from(config.ws.limits.message)? * 2 + (64 << 10);
            }
            Long("max-fragments") => config.ws.limits.fragments = args.value()?.parse()?,
            _ => return Err(arg.unexpected().into()),
        }
    }
    config.upgrade = UpgradeConfig { origins: OriginPolicy::Any, ..UpgradeConfig::default() };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // Shared, so that several processes can serve one port.
    let listen = ListenConfig { sharing: PortSharing::Shared, ..ListenConfig::new(address) };
    let server = Server::start(&config, &[listen], workers, move |_| mode)?;
    println!("listening on {}", server.addresses()[0]);
    server.join();
    Ok(())
}
