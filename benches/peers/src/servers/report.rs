//! The figures as Markdown tables, or as JSON lines.

use std::fmt::Write;

use crate::Load;
use crate::cells::{Cell, Work};
use crate::contestants::OURS;

#[derive(Default)]
pub struct Report {
    outcomes: Vec<Outcome>,
}

/// One cell's figures.
pub struct Outcome {
    cell: Cell,
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    turns: Vec<Turn>,
}

/// One server in one round.
#[derive(Clone, Copy)]
pub struct Turn {
    /// The server's CPU seconds per so many operations as [`Work::per`] says.
    cost: f64,
    /// Per 1,000 operations.
    sleeps: f64,
    /// Bytes of a reply on the wire, where they are counted.
    reply: f64,
    /// KiB of the server's memory per connection.
    memory: f64,
}

impl Turn {
    /// Of a server that has grown by so many bytes since nobody was connected.
    pub fn new(load: Load, grown: u64, work: Work) -> Self {
        let operations = load.operations as f64;
        Turn {
            cost: load.cpu_ns as f64 / 1e9 * work.per().0 / operations,
            sleeps: load.sleeps as f64 * 1e3 / operations,
            reply: load.replied as f64 / operations,
            memory: grown as f64 / 1024.0 / work.connections().max(1) as f64,
        }
    }
}

impl Outcome {
    pub fn new(cell: &Cell, names: impl Iterator<Item = &'static str>) -> Self {
        Outcome { cell: cell.clone(), rows: names.map(|name| Row { name, turns: Vec::new() }).collect() }
    }

    pub fn add(&mut self, name: &str, turn: Turn) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            row.turns.push(turn);
        }
    }

    fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The ratios to the reference within each round, sorted: what disturbs a round disturbs both sides of it.
    fn ratios(&self, row: &Row) -> Vec<f64> {
        let reference = self.row(self.cell.work.reference()).map_or(&[][..], |row| &row.turns);
        let pairs = row.turns.iter().zip(reference);
        match self.is_about_the_others() {
            true => sorted(pairs.map(|(turn, ours)| ours.cost / turn.cost)),
            false => sorted(pairs.map(|(turn, floor)| turn.cost / floor.cost)),
        }
    }

    /// Whether the bar holds for what the others do per CPU second, and not for what tautline costs.
    fn is_about_the_others(&self) -> bool {
        self.cell.work.reference() == OURS
    }

    /// Whether the bar holds for this row: not for tautline a second time, which is there to show the noise.
    fn has_bar(&self, row: &Row) -> bool {
        if self.is_about_the_others() { !row.name.starts_with(OURS) } else { row.name == OURS }
    }

    fn is_over(&self, row: &Row) -> bool {
        self.has_bar(row) && quantile(&self.ratios(row), 0.5) > self.cell.bar
    }
}

impl Row {
    fn costs(&self) -> Vec<f64> {
        sorted(self.turns.iter().map(|turn| turn.cost))
    }

    fn median(&self, of: impl Fn(&Turn) -> f64) -> f64 {
        quantile(&sorted(self.turns.iter().map(of)), 0.5)
    }
}

impl Report {
    pub fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// Whether tautline ran and misses a bar.
    pub fn misses(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome.rows.iter().any(|row| outcome.is_over(row)))
    }

    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let mut table = "";
        for outcome in &self.outcomes {
            let work = outcome.cell.work;
            if table != work.table() {
                table = work.table();
                let _ = writeln!(text, "\n**{table}: the server's CPU seconds {}, median (best)**\n", work.per().1);
                text.push_str(match outcome.is_about_the_others() {
                    true => {
                        "| cell | server | CPU s | x tautline's messages per CPU s, median (quartiles) | bar | | sleeps per 1,000 | bytes per reply | KiB per connection |\n|---|---|---|---|---|---|---|---|---|\n"
                    }
                    false => {
                        "| cell | server | CPU s | x bare, median (quartiles) | bar | | sleeps per 1,000 |\n|---|---|---|---|---|---|---|\n"
                    }
                });
            }
            for row in &outcome.rows {
                let costs = row.costs();
                let _ = write!(text, "| {} | {} | ", outcome.cell.name, row.name);
                let _ = write!(text, "{:.3} ({:.3}) | ", quantile(&costs, 0.5), quantile(&costs, 0.0));
                if row.name != work.reference() {
                    let ratios = outcome.ratios(row);
                    let [low, middle, high] = [0.25, 0.5, 0.75].map(|at| quantile(&ratios, at));
                    let _ = write!(text, "{middle:.3} ({low:.3} to {high:.3}) ");
                }
                if outcome.has_bar(row) {
                    let word = if outcome.is_over(row) { "over" } else { "ok" };
                    let _ = write!(text, "| {:.2} | {word} |", outcome.cell.bar);
                } else {
                    text.push_str("| | |");
                }
                let _ = write!(text, " {:.2} |", row.median(|turn| turn.sleeps));
                if outcome.is_about_the_others() {
                    let (reply, memory) = (row.median(|turn| turn.reply), row.median(|turn| turn.memory));
                    let _ = write!(text, " {reply:.1} | {memory:.0} |");
                }
                text.push('\n');
            }
        }
        text
    }

    /// One object per line, cell and server.
    pub fn json(&self) -> String {
        let mut text = String::new();
        for outcome in &self.outcomes {
            for row in &outcome.rows {
                let costs = row.costs();
                let _ = writeln!(
                    text,
                    "{{\"cell\":\"{}\",\"server\":\"{}\",\"unit\":\"CPU s {}\",\"median\":{:.4},\"best\":{:.4},\"ratio\":{:.4},\"bar\":{:.2},\"reply\":{:.1},\"KiB\":{:.1},\"rounds\":{}}}",
                    outcome.cell.name,
                    row.name,
                    outcome.cell.work.per().1,
                    quantile(&costs, 0.5),
                    quantile(&costs, 0.0),
                    quantile(&outcome.ratios(row), 0.5),
                    outcome.cell.bar,
                    row.median(|turn| turn.reply),
                    row.median(|turn| turn.memory),
                    costs.len(),
                );
            }
        }
        text
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Of sorted values, interpolated.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = at * last as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0, 8.0], 0.5), 3.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.0), 1.0);
    }
}
