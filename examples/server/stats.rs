//! Figures for the page's plot, once a second, to whoever wants them. Each worker counts who looks at its figures; one of them measures for
//! all, while anybody looks.

use super::site::{Shared, Site};
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tautline::Instant;
use tautline::net::{Control, Totals, Transport};
use tautline::sse::Event;

/// Where they are published.
pub(crate) const TOPIC: &str = "server/stats";

/// Topics that only the server publishes to.
pub(crate) const PREFIX: &str = "server/";

/// How often.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// What was counted when last looked.
#[derive(Default)]
pub(crate) struct Meter {
    last: Option<Reading>,
    /// Subscribers of this worker's, as the others know of them.
    watchers: u64,
}

#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    received: u64,
    sent: u64,
    /// How many got the figures since the last reading.
    told: u64,
}

impl Meter {
    /// Counts, and on one worker measures and publishes, if somebody wants to know.
    pub(crate) fn tick(&mut self, shared: &Shared, control: &mut Control<'_, Site>) {
        let before = std::mem::replace(&mut self.watchers, control.subscribers(TOPIC) as u64);
        // Wraps around where there are fewer now, and so does the sum.
        let change = self.watchers.wrapping_sub(before);
        let watchers = shared.watchers.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
        if control.worker() != 0 {
            return;
        }
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
