//! Figures for the page's plot, once a second, to whoever wants them. Only one worker measures, and only while somebody looks.

use super::site::{Shared, Site};
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tautline::Instant;
use tautline::net::{Control, Totals, Transport};
use tautline::sse::Event;

/// Where they are published.
pub(crate) const TOPIC: &str = "server/stats";

/// How often.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// What was counted when last looked.
#[derive(Default)]
pub(crate) struct Meter {
    last: Option<Reading>,
}

#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    received: u64,
    sent: u64,
    /// Streams that got the figures since the last reading.
    told: u64,
}

impl Meter {
    /// Measures, and publishes if somebody wants to know.
    pub(crate) fn tick(&mut self, shared: &Shared, control: &mut Control<'_, Site>) {
        let watchers = shared.watchers.load(Ordering::Relaxed);
        if watchers == 0 {
            self.last = None;
            return;
        }
        let totals = control.handle().totals();
        let now = Reading { at: control.now(), received: totals.messages_in, sent: totals.messages_out, told: 0 };
        let Some(last) = self.last.replace(now) else { return };
        let figures = figures(&last, &now, &totals, shared.rooms.count().1);
        let event = Event::new(&figures).with_event("stats");
        if control.publish(TOPIC, &event).is_ok()
            && let Some(now) = &mut self.last
        {
            now.told = watchers;
        }
    }
}

fn figures(last: &Reading, now: &Reading, totals: &Totals, members: u64) -> String {
    let seconds = now.at.saturating_duration_since(last.at).as_secs_f64().max(0.001);
    let rate = |count: u64| (count as f64 / seconds * 10.0).round() / 10.0;
    let open = |transport| totals.transport(transport).open();
    json!({
        "received": rate(now.received - last.received),
        // The figures themselves are not what anyone wants to see.
        "sent": rate((now.sent - last.sent).saturating_sub(last.told)),
        "websockets": open(Transport::WebSocket),
        "streams": open(Transport::EventStream),
        "members": members,
        "queued": totals.queued,
    })
    .to_string()
}
