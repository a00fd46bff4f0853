//! A latency plot: the percentile distribution with one decade of the horizontal axis for each nine, as an SVG of its own.

use crate::report::time;
use std::fmt::Write;

/// One line of the plot: `1 / (1 - quantile)` and nanoseconds.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, u64)>,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 56.0;

/// Colours that differ for all eyes, on light and on dark.
const COLOURS: [&str; 4] = ["#2b7bba", "#d1731f", "#2a9d6f", "#b1508f"];

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#333}.t{font-size:17px;font-weight:600}.s{font-size:11px;fill:#777}\
.g{stroke:#ddd}.b{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#ddd}.s{fill:#999}.g{stroke:#3a3a3a}.b{fill:#16181c}}";

/// The plot as a file.
pub(crate) fn svg(title: &str, subtitle: &str, series: &[Series]) -> String {
    let frame = Frame::around(series);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"b\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text class=\"t\" x=\"{LEFT}\" y=\"28\">{0}</text>\n<text class=\"s\" x=\"{LEFT}\" y=\"46\">{1}</text>\n",
        escape(title),
        escape(subtitle)
    );
    frame.draw(&mut out);
    let mut legend = LEFT;
    for (Series { name, points }, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let mut path = String::new();
        for (at, (x, nanos)) in points.iter().enumerate() {
            let _ = write!(path, "{}{:.1} {:.1}", if at == 0 { "M" } else { "L" }, frame.x(*x), frame.y(*nanos as f64));
        }
        let _ = writeln!(
            out,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>"
        );
        let _ =
            writeln!(out, "<rect x=\"{legend:.0}\" y=\"60\" width=\"14\" height=\"4\" rx=\"2\" fill=\"{colour}\"/>");
        let _ = writeln!(out, "<text x=\"{:.0}\" y=\"67\">{}</text>", legend + 20.0, escape(name));
        legend += 48.0 + 7.0 * name.chars().count() as f64;
    }
    out.push_str("</svg>\n");
    out
}

/// The plot in a page, above the table.
pub(crate) fn html(title: &str, svg: &str, rows: &[(String, String)]) -> String {
    let mut table = String::new();
    for (label, shown) in rows {
        let _ =
            writeln!(table, "<tr><th>{}</th><td>{}</td></tr>", escape(label).replace("  ", "&emsp;"), escape(shown));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
         <style>:root{{color-scheme:light dark}}body{{font:15px system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
         svg{{width:100%;height:auto}}th{{text-align:left;font-weight:400;padding-right:2rem}}td{{font-variant-numeric:tabular-nums}}</style>\n\
         {svg}<table>\n{table}</table>\n</html>\n",
        escape(title)
    )
}

/// Where the axes end.
struct Frame {
    /// Nines on the horizontal axis.
    decades: f64,
    least: f64,
    most: f64,
    scale: Scale,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scale {
    Linear,
    /// Where the slowest took ten times as long as the fastest, or more.
    Logarithmic,
}

impl Frame {
    fn around(series: &[Series]) -> Self {
        let points = || series.iter().flat_map(|series| &series.points);
        let decades = points().map(|(x, _)| x.log10()).fold(1.0, f64::max).ceil();
        let most = points().map(|(_, nanos)| *nanos as f64).fold(1.0, f64::max);
        let least = points().map(|(_, nanos)| (*nanos as f64).max(1.0)).fold(most, f64::min);
        if most / least >= 10.0 {
            Self { decades, least: step_below(least), most: step_above(most), scale: Scale::Logarithmic }
        } else {
            Self { decades, least: 0.0, most: step_above(most), scale: Scale::Linear }
        }
    }

    fn x(&self, x: f64) -> f64 {
        LEFT + x.max(1.0).log10() / self.decades * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, nanos: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => nanos / self.most,
            Scale::Logarithmic => (nanos.max(self.least) / self.least).ln() / (self.most / self.least).ln(),
        };
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn draw(&self, out: &mut String) {
        for decade in 0..=self.decades as usize {
            let x = self.x(10f64.powi(decade as i32));
            let name = match decade {
                0 => "0 %".into(),
                1 => "90 %".into(),
                2 => "99 %".into(),
                nines => format!("99.{} %", "9".repeat(nines - 2)),
            };
            let _ = writeln!(
                out,
                "<line class=\"g\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>",
                HEIGHT - BOTTOM
            );
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
                HEIGHT - BOTTOM + 20.0
            );
        }
        for nanos in self.ticks() {
            let y = self.y(nanos);
            let _ = writeln!(
                out,
                "<line class=\"g\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                WIDTH - RIGHT
            );
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                tick(nanos)
            );
        }
        let _ = writeln!(
            out,
            "<text class=\"s\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">percentile</text>",
            WIDTH - RIGHT,
            HEIGHT - 12.0
        );
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => (0..=4).map(|at| self.most * f64::from(at) / 4.0).collect(),
            Scale::Logarithmic => {
                let steps = STEPS.len() as i32;
                let range = |unit: i32| (0..).map(move |at| step(unit + at)).take_while(|at| *at <= self.most * 1.001);
                let all: Vec<_> = range(step_index(self.least)).collect();
                // All of 1, 2, 5, or else the powers of ten alone.
                if all.len() <= 10 { all } else { all.into_iter().filter(|at| step_index(*at) % steps == 0).collect() }
            }
        }
    }
}

/// Round numbers: these in every decade.
const STEPS: [f64; 3] = [1.0, 2.0, 5.0];

fn step(index: i32) -> f64 {
    10f64.powi(index.div_euclid(3)) * STEPS[index.rem_euclid(3) as usize]
}

/// The index of the highest round number that is not above `value`.
fn step_index(value: f64) -> i32 {
    let mut index = value.log10().floor() as i32 * 3;
    while step(index + 1) <= value * 1.000_001 {
        index += 1;
    }
    index
}

fn step_below(value: f64) -> f64 {
    step(step_index(value))
}

fn step_above(value: f64) -> f64 {
    let below = step_below(value);
    if below >= value * 0.999_999 { below } else { step(step_index(value) + 1) }
}

fn tick(nanos: f64) -> String {
    let text = time(nanos as u64);
    match text.split_once(' ') {
        Some((value, unit)) if value.contains('.') => {
            format!("{} {unit}", value.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
