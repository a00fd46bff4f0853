//! Latencies: recorded in nanoseconds to three digits, merged over processes, summed up as percentiles.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// An hour: nothing here waits longer.
const MOST: u64 = 3_600_000_000_000;

/// A distribution of durations.
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    /// No values.
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, MOST, 3).expect("the bounds are in order and the digits between 0 and 5"))
    }

    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value under which `share` of all values lie, in nanoseconds.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    /// The values as `[[nanoseconds, count], ..]`, for another process.
    pub(crate) fn to_json(&self) -> Value {
        self.0.iter_recorded().map(|at| json!([at.value_iterated_to(), at.count_at_value()])).collect()
    }

    /// Adds what [`to_json`](Self::to_json) said.
    pub(crate) fn add_json(&mut self, values: &Value) {
        for pair in values.as_array().into_iter().flatten() {
            if let (Some(value), Some(count)) = (pair[0].as_u64(), pair[1].as_u64()) {
                self.0.saturating_record_n(value, count);
            }
        }
    }

    /// Name and value of what a table shows.
    pub(crate) fn summary(&self) -> Vec<(&'static str, u64)> {
        let at = |share| self.quantile(share);
        vec![
            ("min", self.0.min()),
            ("mean", self.0.mean() as u64),
            ("p50", at(0.5)),
            ("p75", at(0.75)),
            ("p90", at(0.9)),
            ("p99", at(0.99)),
            ("p99.9", at(0.999)),
            ("p99.99", at(0.9999)),
            ("max", self.0.max()),
        ]
    }

    /// The summary in microseconds, for machines.
    pub(crate) fn summary_json(&self) -> Value {
        let mut fields = serde_json::Map::new();
        fields.insert("count".into(), self.count().into());
        for (name, nanos) in self.summary() {
            fields.insert(format!("{name}_us"), (nanos as f64 / 1000.0).into());
        }
        fields.into()
    }

    /// The distribution as points: `1 / (1 - quantile)`, so that each decade is one more nine, and nanoseconds. The last one is the maximum,
    /// where as many values as there are can show it.
    pub(crate) fn points(&self) -> Vec<(f64, u64)> {
        if self.count() == 0 {
            return Vec::new();
        }
        let most = self.count() as f64;
        let mut points: Vec<(f64, u64)> = Vec::new();
        for at in self.0.iter_quantiles(20) {
            let quantile = at.quantile_iterated_to();
            let x = 1.0 / (1.0 - quantile);
            if quantile >= 1.0 || x >= most {
                points.push((most, self.0.max()));
                break;
            }
            points.push((x, at.value_iterated_to()));
        }
        points
    }
}
