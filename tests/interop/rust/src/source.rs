//! tautline's `EventSource`, on the loop of `net`: prints what a stream says until it is over.

use crate::wire::{Outcome, hex, say};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tautline::backoff::BackoffConfig;
use tautline::http::RequestHead;
use tautline::http::url::Url;
use tautline::net::{Config, Connect, Context, Control, Ended, Handler, Message, Server};
use tautline::sse::{EventSourceConfig, EventSourceEvent};

pub fn run(port: &str, path: &str) -> Outcome {
    let port: u16 = port.parse()?;
    let url = Url::parse(&format!("http://127.0.0.1:{port}{path}"))?;
    let connect = Connect { url, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), source: None };
    let server = Server::start(&Config::default(), &[], Some(NonZeroUsize::MIN), move |_| Source(connect.clone()))?;
    server.join();
    Ok(())
}

struct Source(Connect);

impl Handler for Source {
    type State = ();

    fn started(&mut self, control: &mut Control<'_, Self>) {
        let backoff = BackoffConfig { base: Duration::from_millis(10), ..BackoffConfig::default() };
        let config = EventSourceConfig { retry: Duration::from_millis(100), backoff, ..EventSourceConfig::default() };
        control.connect_stream(&self.0, Arc::new(config), ());
    }

    fn event(&mut self, event: &EventSourceEvent<'_>, _: &mut Context<'_, ()>) {
        match event {
            EventSourceEvent::Open => say("open", &[]),
            EventSourceEvent::Message(event) => {
                let id = event.id.map_or("none".to_owned(), |id| hex(id.as_bytes()));
                say("event", &[&hex(event.event.as_bytes()), &id, &hex(event.data.as_bytes())]);
            }
            EventSourceEvent::Disconnected { cause, .. } => say("lost", &[&cause.to_string()]),
            EventSourceEvent::Connect | EventSourceEvent::Closed(_) => {}
        }
    }

    fn closed(&mut self, ended: &Ended<'_>, _: &mut Context<'_, ()>) {
        if let Ended::Source(closed) = ended {
            say("over", &[&closed.to_string()]);
            // The puppet has done its work.
            std::process::exit(0);
        }
    }

    fn request(&mut self, _: &RequestHead<'_>, _: &mut Context<'_, ()>) {}

    fn message(&mut self, _: Message<'_>, _: &mut Context<'_, ()>) {}
}
