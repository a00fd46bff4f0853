//! Publications as they arrive at many subscribers.

use super::{State, read_stamp_text, unix_clock};
use crate::latency::Latency;
use serde_json::{Value, json};
use tautline::time::Clock;

/// What arrived at the connections of this process.
///
/// A publication begins with the time at which it was due, as the publisher's process says it in Unix time: the one clock that processes
/// share. Nobody may set it during a run.
pub(super) struct Deliveries {
    clock: Clock,
    /// Unix time less the clock's.
    unix: u64,
    /// Publications due earlier are not measured, in Unix time.
    from: u64,
    received: u64,
    measured: u64,
    wrong: u64,
    /// Older than one that came before on the same connection, or the same again.
    disordered: u64,
    latency: Latency,
}

impl Deliveries {
    pub(super) fn new() -> Self {
        let (clock, unix) = unix_clock();
        Self { clock, unix, from: 0, received: 0, measured: 0, wrong: 0, disordered: 0, latency: Latency::new() }
    }

    /// Publications that are due from then on are measured.
    pub(super) fn measure(&mut self, from: u64) {
        self.from = from;
    }

    pub(super) fn arrived(&mut self, message: &[u8], state: &mut State) {
        let now = self.unix + self.clock.now().as_nanos();
        let Some(due) = read_stamp_text(message) else {
            self.wrong += 1;
            return;
        };
        self.received += 1;
        if due <= state.value() {
            self.disordered += 1;
        }
        state.keep(due);
        if due >= self.from {
            self.latency.record(now.saturating_sub(due));
            self.measured += 1;
        }
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn end(&self, end: &mut Value) {
        let fields = json!({
            "measured": self.measured,
            "wrong": self.wrong,
            "disordered": self.disordered,
            "latency": self.latency.to_json(),
        });
        if let (Value::Object(end), Value::Object(fields)) = (end, fields) {
            end.extend(fields);
        }
    }
}
