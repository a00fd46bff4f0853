//! The least server with a hub: topics with history and resume over WebSocket, event streams and long polls.
//!
//! ```text
//! cargo run --release --example hub
//! curl -N 'http://127.0.0.1:8080/events?topic=news' &
//! curl -d hello 'http://127.0.0.1:8080/publish?topic=news'
//! curl 'http://127.0.0.1:8080/poll?topic=news&lastId=0'
//! ```
//!
//! docs/PROTOCOL.md says what clients may ask.

use std::process::ExitCode;
use tautline::http::RequestHead;
use tautline::net::{Config, Context, Endpoint, Handler, HubSettings, ListenConfig, Message, Server};

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

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let Ok(address) = address.parse::<std::net::SocketAddr>() else {
        eprintln!("hub [ADDRESS:PORT]");
        return ExitCode::from(2);
    };
    let config = Config { hub: Some(HubSettings::default()), ..Config::default() };
    match Server::start(&config, &[ListenConfig::new(address)], None, |_| Site) {
        Ok(server) => {
            println!("http://{address}/");
            server.join();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
