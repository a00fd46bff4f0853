//! The figures as Markdown tables, one per kind of work, and one of the bars; or as JSON lines.

use std::fmt::Write;

use crate::cell::{Cell, OURS, Reference, Standing};
use crate::measure::{Outcome, Row};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Nanoseconds,
    Instructions,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Instructions => "instructions",
        }
    }
}

pub struct Report<'c> {
    unit: Unit,
    outcomes: Vec<(&'c Cell, Outcome)>,
}

impl<'c> Report<'c> {
    pub fn new(unit: Unit) -> Self {
        Report { unit, outcomes: Vec::new() }
    }

    pub fn add(&mut self, cell: &'c Cell, outcome: Outcome) {
        self.outcomes.push((cell, outcome));
    }

    /// Whether tautline ran and is over a bar.
    pub fn misses(&self) -> bool {
        self.outcomes.iter().any(|(cell, outcome)| verdict(cell, outcome).is_some_and(|verdict| !verdict.passes()))
    }

    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let mut tables: Vec<&str> = Vec::new();
        for (cell, _) in &self.outcomes {
            if !tables.contains(&cell.table) {
                tables.push(cell.table);
            }
        }
        for table in tables {
            self.table(table, &mut text);
        }
        self.bars(&mut text);
        text
    }

    fn table(&self, table: &str, text: &mut String) {
        let columns: Vec<_> = self.outcomes.iter().filter(|(cell, _)| cell.table == table).collect();
        let mut names: Vec<&str> = Vec::new();
        for row in columns.iter().flat_map(|(_, outcome)| &outcome.rows) {
            if !names.contains(&row.name) {
                names.push(row.name);
            }
        }
        let rated = columns.iter().any(|(_, outcome)| outcome.bytes_per_operation > 0.0);
        let figures = match self.unit {
            Unit::Nanoseconds if rated => "ns per operation, median (best) · GB/s",
            Unit::Nanoseconds => "ns per operation, median (best)",
            Unit::Instructions => "instructions per operation",
        };
        let heads: Vec<&str> = columns.iter().map(|(cell, _)| cell.column.as_str()).collect();
        let _ = writeln!(text, "**{table}: {figures}**\n\n| | {} |", heads.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(heads.len()));
        for name in names {
            let cells: Vec<String> = columns
                .iter()
                .map(|(_, outcome)| outcome.row(name).map_or(String::new(), |row| self.figure(row, outcome)))
                .collect();
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        }
        let mut faults: Vec<String> = Vec::new();
        for row in columns.iter().flat_map(|(_, outcome)| &outcome.rows) {
            if let Standing::Invalid(reason) = row.standing {
                let fault = format!("{} (invalid): {reason}.", row.name);
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
        }
        if !faults.is_empty() {
            let _ = write!(text, "\n{}\n", faults.join(" "));
        }
        text.push('\n');
    }

    fn figure(&self, row: &Row, outcome: &Outcome) -> String {
        let mut figure = match self.unit {
            Unit::Nanoseconds => format!("{} ({})", short(row.median()), short(row.best())),
            Unit::Instructions => format!("{:.1}", row.median()),
        };
        if self.unit == Unit::Nanoseconds && outcome.bytes_per_operation > 0.0 {
            let _ = write!(figure, " · {:.2}", outcome.bytes_per_operation / row.median());
        }
        if let Standing::Invalid(_) = row.standing {
            figure.push_str(" (invalid)");
        }
        figure
    }

    fn bars(&self, text: &mut String) {
        let ours_ran = self.outcomes.iter().any(|(_, outcome)| outcome.row(OURS).is_some());
        let unit = self.unit.name();
        let _ = writeln!(text, "**Bars: {OURS} at most so many times the reference**\n");
        let _ = write!(text, "| cell | reference | its {unit} | bar | allowed {unit} |");
        text.push_str(if ours_ran {
            " tautline | ratio | verdict |\n|---|---|---|---|---|---|---|---|\n"
        } else {
            "\n|---|---|---|---|---|\n"
        });
        for (cell, outcome) in &self.outcomes {
            let Some(bar) = cell.bar else { continue };
            let Some(reference) = outcome.reference(bar.reference) else {
                continue;
            };
            let theirs = reference.median();
            let rank = if matches!(bar.reference, Reference::FastestPeer) { "fastest: " } else { "" };
            let _ = write!(
                text,
                "| {} | {rank}{} | {} | {:.2} | {} |",
                cell.name,
                reference.name,
                short(theirs),
                bar.max,
                short(bar.max * theirs)
            );
            if let (Some(row), Some(verdict)) = (outcome.row(OURS), verdict(cell, outcome)) {
                let word = if verdict.passes() { "PASS" } else { "MISS" };
                let _ = write!(text, " {} | {:.3} | {word} |", short(row.median()), verdict.ratio);
            }
            text.push('\n');
        }
    }

    /// One object per line, cell and contestant.
    pub fn json(&self) -> String {
        let mut text = String::new();
        for (cell, outcome) in &self.outcomes {
            let reference = cell.bar.and_then(|bar| outcome.reference(bar.reference));
            for row in &outcome.rows {
                let standing = match row.standing {
                    Standing::Counts => "counts",
                    Standing::Floor => "floor",
                    Standing::Invalid(_) => "invalid",
                };
                let _ = write!(
                    text,
                    "{{\"cell\":\"{}\",\"contestant\":\"{}\",\"standing\":\"{standing}\",\"unit\":\"{}\",\"median\":{:.3},\"best\":{:.3},\"bytes\":{:.1}",
                    cell.name,
                    row.name,
                    self.unit.name(),
                    row.median(),
                    row.best(),
                    outcome.bytes_per_operation,
                );
                if let (Some(bar), Some(reference)) = (cell.bar, reference) {
                    let _ = write!(
                        text,
                        ",\"reference\":\"{}\",\"ratio\":{:.4},\"bar\":{:.2}",
                        reference.name,
                        row.ratio_to(reference),
                        bar.max
                    );
                }
                text.push_str("}\n");
            }
        }
        text
    }
}

struct Verdict {
    ratio: f64,
    max: f64,
}

impl Verdict {
    fn passes(&self) -> bool {
        self.ratio <= self.max
    }
}

fn verdict(cell: &Cell, outcome: &Outcome) -> Option<Verdict> {
    let bar = cell.bar?;
    let ratio = outcome.row(OURS)?.ratio_to(outcome.reference(bar.reference)?);
    Some(Verdict { ratio, max: bar.max })
}

/// Three significant digits are more than the noise leaves.
fn short(value: f64) -> String {
    match value {
        0.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
