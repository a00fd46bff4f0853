//! A server of event streams on the loop of `net`, with all that a stream can have in it.
//!
//! `GET /script` without `Last-Event-ID` gives the first part, which ends behind the position `after-two`; with that, the second part, whose
//! one event says what the request carried and has the id `last`; with that, 204.

use crate::wire::{Outcome, for_each_command, say};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;
use tautline::http::RequestHead;
use tautline::net::{Config, Context, Handler, ListenConfig, Message, Server, StreamOpened};
use tautline::sse::{Event, Signal};

/// How long a client is asked to stay away behind the first part.
const RETRY: Duration = Duration::from_millis(300);

/// How long the second part lets its client wait: several heartbeats.
const SILENCE: Duration = Duration::from_millis(250);

pub fn run() -> Outcome {
    let mut config = Config::default();
    config.stream.heartbeat = Duration::from_millis(50);
    config.stream.retry = Some(Duration::from_millis(100));
    config.stream.retry_jitter_percent = 0;
    let listen = ListenConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let server = Server::start(&config, &[listen], Some(NonZeroUsize::MIN), |_| Script)?;
    say("listening", &[&crate::tautline_peer::port(&server.addresses()[0])]);
    for_each_command(|_| true);
    server.handle().stop();
    server.join();
    Ok(())
}

struct Script;

impl Handler for Script {
    /// The `Last-Event-ID` of a client that waits for the second part.
    type State = Option<Box<str>>;

    fn request(&mut self, head: &RequestHead<'_>, cx: &mut Context<'_, Self::State>) {
        let id = head.headers().get("last-event-id").map(|id| String::from_utf8_lossy(id).into_owned());
        let done = match (head.path(), id.as_deref()) {
            ("/script", None) => open(head, cx).and_then(|()| first_part(cx)),
            ("/script", Some("last")) => cx.reject(204).map_err(|error| error.to_string()),
            ("/script", Some(id)) => open(head, cx).map(|()| {
                *cx.state() = Some(id.into());
                cx.set_timer(SILENCE);
            }),
            _ => cx.reject(404).map_err(|error| error.to_string()),
        };
        if let Err(error) = done {
            say("failed", &[&error]);
        }
    }

    fn timer(&mut self, cx: &mut Context<'_, Self::State>) {
        let id = cx.state().take().unwrap_or_default();
        let event = Event::new(&id).with_event("resumed").with_id("last");
        if let Err(error) = cx.send_event(&event).and_then(|()| cx.finish_stream(Some(Duration::from_millis(50)))) {
            say("failed", &[&error.to_string()]);
        }
    }

    fn message(&mut self, _: Message<'_>, _: &mut Context<'_, Self::State>) {}
}

fn open(head: &RequestHead<'_>, cx: &mut Context<'_, Option<Box<str>>>) -> Result<(), String> {
    match cx.open_stream(head, &[]) {
        Ok(StreamOpened::Yes) => Ok(()),
        Ok(other) => Err(format!("{other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

fn first_part(cx: &mut Context<'_, Option<Box<str>>>) -> Result<(), String> {
    let long = "0123456789abcdef".repeat(16 << 10);
    let events = [
        Event::new("plain"),
        Event::new("first\nsecond\n\nfourth").with_event("lines"),
        Event::new("one").with_event("greeting").with_id("1"),
        Event::new("  two spaces, a colon: and ß水🌊"),
        Event::new("").with_event("empty"),
        Event::new("with a topic").with_topic("skipped"),
        Event::new("\n").with_event("line ends"),
        Event::new("reset").with_id(""),
        Event::new(&long).with_event("long").with_id("2"),
    ];
    cx.signal(Signal::Comment("a comment")).map_err(|error| error.to_string())?;
    for event in &events {
        cx.send_event(event).map_err(|error| error.to_string())?;
    }
    cx.signal(Signal::Position("after-two")).map_err(|error| error.to_string())?;
    cx.finish_stream(Some(RETRY)).map_err(|error| error.to_string())
}
