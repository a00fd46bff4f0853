//! What is going on, on stderr: a bar for people, a line now and then for logs.

use crate::report::number;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// Where stderr is no terminal, so long between two lines.
const LINES: Duration = Duration::from_secs(5);

/// The progress of one stage.
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Progress {
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix:>10} [{bar:40}] {percent:>3}% {msg}");
            let bar = ProgressBar::new(total.max(1));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.set_prefix(what);
            bar
        });
        Self { what, total, bar, told: Instant::now() }
    }

    /// So far it is `at` of the total.
    pub(crate) fn at(&mut self, at: u64, message: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(at.min(self.total));
                bar.set_message(message.to_owned());
            }
            None if self.told.elapsed() >= LINES => {
                self.told = Instant::now();
                self.line(at, message);
            }
            None => {}
        }
    }

    /// The stage is over.
    pub(crate) fn done(self, at: u64, message: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(at.min(self.total));
                bar.abandon_with_message(message.to_owned());
            }
            None => self.line(at, message),
        }
    }

    fn line(&self, at: u64, message: &str) {
        let percent = 100 * at.min(self.total) / self.total.max(1);
        eprintln!("{:>10} {percent:>3}% of {}: {message}", self.what, number(self.total));
    }
}
