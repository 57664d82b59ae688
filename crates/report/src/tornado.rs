//! Tornado charts: how far single assumptions move a figure, the strongest on top, as a self-contained SVG image.

use std::fmt::Write;

use crate::diagram::escape;
use crate::figure;

const WIDTH: f64 = 960.0;
/// Where the bars' scale begins and ends; beside it is room for the words at the bars' ends.
const LEFT: f64 = 420.0;
const RIGHT: f64 = 830.0;
/// Where the words of an assumption begin.
const NAMES: f64 = 20.0;
/// Characters of a line of those words.
const NAME: usize = 44;
const ROW: f64 = 46.0;
const BAR: f64 = 22.0;
/// Title and subtitle above the bars, scale and its name below them.
const HEAD: f64 = 64.0;
const FOOT: f64 = 66.0;

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Tornado {
    /// What it is about.
    pub title: String,
    /// What the scale counts.
    pub scale: String,
    /// The figure while every assumption is as it is.
    pub point: f64,
    /// The strongest first.
    pub bars: Vec<TornadoBar>,
}

/// One assumption.
#[derive(Debug, Clone, PartialEq)]
pub struct TornadoBar {
    /// What is assumed.
    pub what: String,
    /// Its two ends in words, and the figure at each; `None` where there is none, which is beyond every figure.
    pub ends: [(String, Option<f64>); 2],
}

/// Charts below each other.
pub fn tornado_svg(charts: &[Tornado]) -> String {
    let height: f64 = charts.iter().map(height_of).sum();
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" \
         font-family=\"system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\">\n\
         <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escape(&charts.iter().map(|chart| chart.title.as_str()).collect::<Vec<_>>().join("; "))
    );
    let mut top = 0.0;
    for chart in charts {
        draw(&mut text, chart, top);
        top += height_of(chart);
    }
    text.push_str("</svg>\n");
    text
}

fn height_of(chart: &Tornado) -> f64 {
    HEAD + ROW * chart.bars.len() as f64 + FOOT
}

fn draw(text: &mut String, chart: &Tornado, top: f64) {
    let scale = Scale::of(chart);
    let bottom = top + HEAD + ROW * chart.bars.len() as f64;
    let point = scale.x(chart.point);
    write_text(text, (NAMES, top + 30.0), (16, 600, "#0f172a"), "start", &chart.title);
    let label = short(chart.point);
    for tick in scale.ticks() {
        let x = scale.x(tick);
        let _ = writeln!(
            text,
            "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#e2e8f0\" stroke-width=\"1\"/>",
            top + HEAD - 6.0
        );
        write_text(text, (x, bottom + 18.0), (11, 400, "#475569"), "middle", &short(tick));
    }
    for (row, bar) in chart.bars.iter().enumerate() {
        let y = top + HEAD + ROW * row as f64 + (ROW - BAR) / 2.0;
        for end in [0, 1] {
            draw_end(text, bar, end, &scale, (point, y));
        }
        let lines = wrapped(&bar.what);
        let first = y + BAR / 2.0 + 4.0 - 7.0 * (lines.len() as f64 - 1.0);
        for (number, line) in lines.iter().enumerate() {
            write_text(text, (NAMES, first + 14.0 * number as f64), (12, 400, "#0f172a"), "start", line);
        }
    }
    let _ = writeln!(
        text,
        "<line x1=\"{point:.1}\" y1=\"{:.1}\" x2=\"{point:.1}\" y2=\"{bottom:.1}\" stroke=\"#0f172a\" stroke-width=\"1.6\"/>",
        top + HEAD - 6.0
    );
    write_text(text, (point, top + HEAD - 12.0), (12, 600, "#0f172a"), "middle", &label);
    write_text(text, (f64::midpoint(LEFT, RIGHT), bottom + 40.0), (12, 400, "#475569"), "middle", &chart.scale);
}

/// The part of a bar from the point to one end, with the end's words.
fn draw_end(text: &mut String, bar: &TornadoBar, end: usize, scale: &Scale, (point, y): (f64, f64)) {
    let (words, value) = &bar.ends[end];
    let x = value.map_or(RIGHT, |value| scale.x(value));
    let other = bar.ends[1 - end].1.map_or(RIGHT, |value| scale.x(value));
    let is_left = x < other;
    let colour = match value {
        None => "#94a3b8",
        Some(_) if x < point => "#16a34a",
        Some(_) => "#ea580c",
    };
    let _ = writeln!(
        text,
        "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR:.1}\" fill=\"{colour}\" fill-opacity=\"0.8\"/>",
        x.min(point),
        (x - point).abs()
    );
    let figure = value.map_or_else(|| "none".to_owned(), short);
    // Beyond the outermost of the bar's end and the point, so that words never lie on either.
    let (x, anchor) = if is_left { (x.min(point) - 6.0, "end") } else { (x.max(point) + 6.0, "start") };
    write_text(text, (x, y + BAR / 2.0 + 4.0), (11, 400, "#1e293b"), anchor, &format!("{words}: {figure}"));
}

fn write_text(
    text: &mut String,
    (x, y): (f64, f64),
    (size, weight, colour): (u32, u32, &str),
    anchor: &str,
    words: &str,
) {
    let _ = writeln!(
        text,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" font-weight=\"{weight}\" text-anchor=\"{anchor}\" \
         fill=\"{colour}\">{}</text>",
        escape(words)
    );
}

/// Words in lines that fit beside the bars.
fn wrapped(words: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split(' ') {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > NAME {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// From figures to places.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// From zero to a little more than the largest figure: lengths of bars are true.
    fn of(chart: &Tornado) -> Self {
        let ends = chart.bars.iter().flat_map(|bar| &bar.ends).filter_map(|(_, value)| *value);
        let high = ends.chain([chart.point]).filter(|value| value.is_finite()).fold(0.0, f64::max);
        Self { low: 0.0, high: if high > 0.0 { high } else { 1.0 } }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.low) / (self.high - self.low) * (RIGHT - LEFT)
    }

    /// Round figures, at most seven.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let rough = self.high / 6.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        let high = self.high;
        (0..8).map(move |number| f64::from(number) * step).take_while(move |tick| *tick <= high * 1.0001)
    }
}

/// A count with three digits that count: `950`, `12,300`, `9.1 million`.
fn short(number: f64) -> String {
    if number >= 1e6 {
        let millions = number / 1e6;
        let decimals = if millions < 10.0 { 2 } else { usize::from(millions < 100.0) };
        let text = format!("{millions:.decimals$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        return format!("{text} M");
    }
    let digits = 10f64.powf((number.abs().max(1.0).log10().floor() - 2.0).max(0.0));
    figure::count(((number / digits).round() * digits) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Tornado {
        let bar = |what: &str, ends: [(&str, Option<f64>); 2]| TornadoBar {
            what: what.to_owned(),
            ends: ends.map(|(words, value)| (words.to_owned(), value)),
        };
        Tornado {
            title: "Break-even of <own> & bought".to_owned(),
            scale: "runs per month".to_owned(),
            point: 9_070_000.0,
            bars: vec![
                bar(
                    "use of the load that the fleets bear within the SLO (88 % here)",
                    [("100 %", Some(7_970_000.0)), ("44 %", Some(18_100_000.0))],
                ),
                bar("price of the API", [("-30 %", None), ("+30 %", Some(6_700_000.0))]),
                bar("people", [("0 %", Some(9_070_000.0)), ("+50 %", Some(13_600_000.0))]),
            ],
        }
    }

    #[test]
    fn as_svg() {
        insta::assert_snapshot!(tornado_svg(&[chart()]));
    }

    #[test]
    fn bars_are_as_long_as_what_they_say_and_no_figure_is_drawn_outside() {
        let chart = chart();
        let scale = Scale::of(&chart);
        let length = |value: f64| (scale.x(value) - scale.x(chart.point)).abs();
        assert!((length(18_100_000.0) / length(7_970_000.0) - 9.03 / 1.1).abs() < 1e-9);
        assert_eq!((scale.x(0.0), scale.x(18_100_000.0)), (LEFT, RIGHT));
        let flat = Tornado { point: 0.0, bars: Vec::new(), ..chart };
        assert!(!tornado_svg(&[flat]).contains("NaN"));
        assert!(tornado_svg(&[]).ends_with("</svg>\n"));
    }

    #[test]
    fn figures_have_three_digits() {
        let texts: Vec<String> = [0.0, 950.4, 12_345.0, 9_070_000.0, 18_100_000.0, 123_456_789.0].map(short).to_vec();
        assert_eq!(texts, ["0", "950", "12,300", "9.07 M", "18.1 M", "123 M"]);
    }
}
