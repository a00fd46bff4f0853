//! The end of a run: a table for people, JSON for machines, a plot.

use crate::latency::Latency;
use crate::options::{Options, Plot};
use crate::process::{Cpu, Memory, Sample};
use crate::{Failure, plot};
use serde_json::{Map, Value, json};

/// What a run came to, row by row.
pub(crate) struct Report {
    title: String,
    rows: Vec<(String, String)>,
    json: Map<String, Value>,
    series: Vec<plot::Series>,
}

impl Report {
    pub(crate) fn new(title: String) -> Self {
        Self { title, rows: Vec::new(), json: Map::new(), series: Vec::new() }
    }

    /// A row of the table, which stands in the JSON as `key`.
    pub(crate) fn row(&mut self, key: &str, label: &str, shown: String, value: impl Into<Value>) {
        self.rows.push((label.into(), shown));
        self.json.insert(key.into(), value.into());
    }

    /// A number as it is.
    pub(crate) fn count(&mut self, key: &str, label: &str, value: u64) {
        self.row(key, label, number(value), value);
    }

    /// Processor time per time, as a share of one core.
    pub(crate) fn share(&mut self, key: &str, label: &str, share: f64) {
        self.row(key, label, format!("{:.2} % of a core", 100.0 * share), share);
    }

    /// Resident memory.
    pub(crate) fn memory(&mut self, key: &str, label: &str, Memory { rss, anon }: Memory) {
        let shown = format!("{} resident, {} of it anonymous", bytes(rss), bytes(anon));
        self.row(key, label, shown, json!({"rss": rss, "anon": anon}));
    }

    /// What a server's work took: `n` pieces of it, which are called `what`.
    pub(crate) fn server(&mut self, pids: &[u32], (before, after): (Option<Cpu>, Option<Sample>), n: u64, what: &str) {
        match (before, after) {
            _ if pids.is_empty() => self.note("server", "its processor time with --pid".into()),
            (Some(before), Some(Sample { memory, cpu })) => {
                self.share("server_cpu_share", "server processor", cpu.share_since(&before));
                let per = cpu.seconds_since(&before) / (n.max(1) as f64 / 1e6);
                self.row(
                    "server_cpu_s_per_million",
                    &format!("  per million {what}"),
                    format!("{} s", three(per)),
                    per,
                );
                self.memory("server_memory", "server memory", memory);
            }
            _ => self.note("server", "ended meanwhile".into()),
        }
    }

    /// A row that only people need.
    pub(crate) fn note(&mut self, label: &str, shown: String) {
        self.rows.push((label.into(), shown));
    }

    /// A field that only machines need.
    pub(crate) fn field(&mut self, key: &str, value: impl Into<Value>) {
        self.json.insert(key.into(), value.into());
    }

    /// Percentiles, as rows, an object and a line of the plot.
    pub(crate) fn latency(&mut self, key: &str, label: &str, latency: &Latency) {
        self.json.insert(key.into(), latency.summary_json());
        if latency.count() == 0 {
            return;
        }
        self.rows.push((label.into(), String::new()));
        for (name, nanos) in latency.summary() {
            self.rows.push((format!("  {name}"), time(nanos)));
        }
        self.series.push(plot::Series { name: label.into(), points: latency.points() });
    }

    /// Prints, and writes the plot.
    pub(crate) fn print(mut self, options: &Options) -> Result<(), Failure> {
        if let Some(Plot { file, is_page }) = &options.plot {
            let subtitle: Vec<_> = std::env::args().skip(1).collect();
            let svg = plot::svg(&self.title, &format!("swarm {}", subtitle.join(" ")), &self.series);
            let text = if *is_page { plot::html(&self.title, &svg, &self.rows) } else { svg };
            std::fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
            self.note("plot", file.display().to_string());
        }
        if options.json {
            self.json.insert("command".into(), options.command.name().into());
            println!("{:#}", Value::from(self.json));
            return Ok(());
        }
        println!("\n{}", self.title);
        let width = self.rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        for (label, shown) in &self.rows {
            println!("  {}", format!("{label:<width$}  {shown}").trim_end());
        }
        Ok(())
    }
}

/// With separators: `19,000`.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Nanoseconds in the unit that suits them, to three digits.
pub(crate) fn time(nanos: u64) -> String {
    let (value, unit) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (nanos as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        _ => (nanos as f64 / 1e9, "s"),
    };
    format!("{} {unit}", three(value))
}

/// Bytes in the unit that suits them.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{} B", number(bytes)),
        10_240..1_048_576 => format!("{} KiB", three(bytes as f64 / 1024.0)),
        1_048_576..1_073_741_824 => format!("{} MiB", three(bytes as f64 / 1_048_576.0)),
        _ => format!("{} GiB", three(bytes as f64 / 1_073_741_824.0)),
    }
}

/// Three significant digits, of numbers up to some thousands.
pub(crate) fn three(value: f64) -> String {
    match value.abs() {
        v if v < 9.995 => format!("{value:.2}"),
        v if v < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
