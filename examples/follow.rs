//! Follows topics of a hub and prints what comes: events, gaps, and the transport in use.
//!
//! `cargo run --example follow -- http://localhost:8080/hub prices news`

use std::env;
use std::error::Error;
use std::ops::ControlFlow;
use tautline::client::{SessionConfig, SessionEvent};
use tautline::http::url::Url;
use tautline::net::Subscriber;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let url = arguments.next().ok_or("usage: follow URL TOPIC...")?;
    let endpoint = SessionConfig::default().check(&Url::parse(&url)?)?;
    let mut subscriber = Subscriber::alone(endpoint)?;
    for topic in arguments {
        subscriber.session().subscribe(&topic, None)?;
    }
    if subscriber.session().topics().next().is_none() {
        subscriber.session().subscribe("default", None)?;
    }
    subscriber.run(|_session, event| {
        match event {
            SessionEvent::Message(message) => println!("{} {}: {}", message.topic, message.event, message.data),
            SessionEvent::Gap(gaps) => gaps.for_each(|gap| println!("-- gap in {}: {}", gap.topic, gap.reason)),
            SessionEvent::Attached(transport) => println!("-- by {transport}"),
            SessionEvent::Lost { cause, wait, next, .. } => println!("-- lost: {cause}; by {next} in {wait:.1?}"),
            SessionEvent::Closed(cause) => println!("-- over: {cause}"),
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}
