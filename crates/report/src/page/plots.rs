//! The plots, as plotly draws them. Colours of texts and grids are the page's, which follow the theme.

use plotly::color::NamedColor;
use plotly::common::{DashType, ErrorData, ErrorType, ExponentFormat, Line, Marker, Mode, Orientation, Title};
use plotly::layout::{Axis, AxisType, BarMode, Layout};
use plotly::{Bar, Plot, Scatter};

/// Okabe and Ito's colours, which most people can tell apart.
pub(super) const COLOURS: [&str; 7] = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442"];

/// Pixels of a row of horizontal bars.
const ROW: usize = 26;

/// A value with the ends of its interval, where they are known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    pub(super) value: f64,
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
}

/// Values of one series by the names of groups; a missing one is no bar.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) values: Vec<Option<Spread>>,
}

fn colour(at: usize) -> &'static str {
    COLOURS[at % COLOURS.len()]
}

fn layout(x: &str, y: &str) -> Layout {
    Layout::new()
        .x_axis(Axis::new().title(Title::with_text(x)).auto_margin(true))
        .y_axis(Axis::new().title(Title::with_text(y)).auto_margin(true).exponent_format(ExponentFormat::None))
}

/// Bars side by side, with intervals.
pub(super) fn grouped(groups: &[String], series: &[Series], y: &str) -> Plot {
    let mut plot = Plot::new();
    for (at, one) in series.iter().enumerate() {
        let known: Vec<(&String, Spread)> =
            groups.iter().zip(&one.values).filter_map(|(group, value)| Some((group, (*value)?))).collect();
        let up = known.iter().map(|(_, it)| it.high.map_or(0.0, |high| (high - it.value).max(0.0))).collect();
        let down = known.iter().map(|(_, it)| it.low.map_or(0.0, |low| (it.value - low).max(0.0))).collect();
        let (names, values) = known.iter().map(|(group, it)| ((*group).clone(), it.value)).unzip();
        let bar = Bar::new(names, values).name(&one.name).marker(Marker::new().color(colour(at)));
        plot.add_trace(bar.error_y(ErrorData::new(ErrorType::Data).symmetric(false).array(up).array_minus(down)));
    }
    plot.set_layout(layout("", y).bar_mode(BarMode::Group).bar_gap(gap(groups.len())));
    plot
}

/// Bars whose parts are on top of each other.
pub(super) fn stacked(groups: &[String], series: &[Series], y: &str) -> Plot {
    let mut plot = Plot::new();
    for (at, one) in series.iter().enumerate() {
        let values: Vec<f64> = one.values.iter().map(|value| value.map_or(0.0, |it| it.value)).collect();
        plot.add_trace(Bar::new(groups.to_vec(), values).name(&one.name).marker(Marker::new().color(colour(at))));
    }
    plot.set_layout(layout("", y).bar_mode(BarMode::Stack).bar_gap(gap(groups.len())));
    plot
}

/// The space between groups, so that few bars are not as wide as walls.
fn gap(groups: usize) -> f64 {
    match groups {
        1 => 0.7,
        2 => 0.5,
        _ => 0.25,
    }
}

/// A line through points.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    /// Whether it goes up in steps, as a share of runs does.
    pub(super) is_stepped: bool,
}

/// Lines over a common axis.
pub(super) fn curves(curves: &[Curve], (x, y): (&str, &str)) -> Plot {
    let mut plot = Plot::new();
    for (at, curve) in curves.iter().enumerate() {
        let (xs, ys): (Vec<f64>, Vec<f64>) = curve.points.iter().copied().unzip();
        let mut line = Line::new().color(colour(at)).width(2.5);
        if curve.is_stepped {
            line = line.shape(plotly::common::LineShape::Hv);
        }
        let mode = if curve.points.len() > 30 || curve.is_stepped { Mode::Lines } else { Mode::LinesMarkers };
        plot.add_trace(Scatter::new(xs, ys).name(&curve.name).mode(mode).line(line));
    }
    plot.set_layout(layout(x, y));
    plot
}

/// Adds a vertical line with a name to a plot of curves.
pub(super) fn upright(plot: &mut Plot, (name, dash): (&str, DashType), x: f64, top: f64) {
    let line = Line::new().color("#888888").dash(dash).width(1.5);
    plot.add_trace(Scatter::new(vec![x, x], vec![0.0, top]).name(name).mode(Mode::Lines).line(line));
}

/// An axis of so many names, the first on top.
fn downwards(names: usize) -> Axis {
    Axis::new().range(vec![names as f64 - 0.5, -0.5]).type_(AxisType::Category).auto_margin(true)
}

/// A row of a waterfall: what comes when, in seconds.
pub(super) struct Fall {
    pub(super) name: String,
    pub(super) start: f64,
    /// Lengths of the parts, by their position in the names.
    pub(super) parts: Vec<f64>,
}

/// What happened when: rows from top to bottom, parts from left to right.
pub(super) fn waterfall(rows: &[Fall], parts: &[&str]) -> Plot {
    let mut plot = Plot::new();
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    let before = Bar::new(rows.iter().map(|row| row.start).collect(), names.clone());
    plot.add_trace(
        before
            .orientation(Orientation::Horizontal)
            .marker(Marker::new().color(NamedColor::Transparent))
            .hover_info(plotly::common::HoverInfo::Skip)
            .show_legend(false),
    );
    for (at, part) in parts.iter().enumerate() {
        let lengths = rows.iter().map(|row| row.parts.get(at).copied().unwrap_or_default()).collect();
        let bar = Bar::new(lengths, names.clone()).orientation(Orientation::Horizontal).name(*part);
        plot.add_trace(bar.marker(Marker::new().color(colour(at))));
    }
    let upside_down = downwards(rows.len());
    let height = 130 + ROW * rows.len();
    plot.set_layout(layout("seconds since the start", "").y_axis(upside_down).bar_mode(BarMode::Stack).height(height));
    plot
}

/// How far single assumptions move a figure, from its lower to its upper end.
pub(super) fn tornado(rows: &[(String, f64, f64)], middle: f64, x: &str) -> Plot {
    let falls: Vec<Fall> = rows
        .iter()
        .map(|(name, a, b)| Fall { name: name.clone(), start: a.min(*b), parts: vec![(a - b).abs()] })
        .collect();
    let mut plot = waterfall(&falls, &["from one end to the other"]);
    let ends = [rows.first(), rows.last()].map(|row| row.map(|(name, ..)| name.clone()).unwrap_or_default());
    let line = Line::new().color("#888888").dash(DashType::Dash).width(1.5);
    plot.add_trace(
        Scatter::new(vec![middle, middle], ends.to_vec()).name("as it is").mode(Mode::LinesMarkers).line(line),
    );
    let upside_down = downwards(rows.len());
    let height = 130 + ROW * rows.len();
    plot.set_layout(layout(x, "").y_axis(upside_down).bar_mode(BarMode::Stack).height(height));
    plot
}

/// The share of values up to each of them.
pub(super) fn shares(name: &str, mut values: Vec<f64>) -> Curve {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let points = values.into_iter().enumerate().map(|(at, value)| (value, (at + 1) as f64 / count * 100.0)).collect();
    Curve { name: name.to_owned(), points, is_stepped: true }
}

/// A figure between the ends of its range.
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Ranges in equal ratios, one below the other, with a line at 1.
pub(super) fn against_one(marks: &[Mark], x: &str) -> Plot {
    let mut plot = Plot::new();
    let names: Vec<String> = marks.iter().map(|mark| mark.name.clone()).collect();
    for (at, mark) in marks.iter().enumerate() {
        let line = Line::new().color(colour(0)).width(5.0);
        let ends = Scatter::new(vec![mark.low, mark.high], vec![mark.name.clone(); 2]).mode(Mode::Lines).line(line);
        plot.add_trace(ends.name("range").show_legend(at == 0));
    }
    let values = Scatter::new(marks.iter().map(|mark| mark.value).collect(), names.clone());
    plot.add_trace(values.name("figure").mode(Mode::Markers).marker(Marker::new().color(colour(1)).size(11)));
    let ends = [names.first(), names.last()].map(|name| name.cloned().unwrap_or_default());
    let line = Line::new().color("#888888").dash(DashType::Dash).width(1.5);
    plot.add_trace(Scatter::new(vec![1.0, 1.0], ends.to_vec()).name("what is claimed").mode(Mode::Lines).line(line));
    let axis = Axis::new().title(Title::with_text(x)).type_(AxisType::Log).auto_margin(true);
    let layout = Layout::new().x_axis(axis).y_axis(downwards(marks.len()));
    plot.set_layout(layout.height(130 + ROW * marks.len()));
    plot
}

/// A value with the ends of its interval.
pub(super) type Spot = (f64, Option<f64>, Option<f64>);

/// Points of one sort, each with its name, where it lies to the right and how high.
pub(super) struct Cloud {
    pub(super) name: String,
    pub(super) points: Vec<(String, Spot, Spot)>,
}

/// Points with their intervals in both directions.
pub(super) fn cloud(clouds: &[Cloud], (x, y): (&str, &str)) -> Plot {
    let mut plot = Plot::new();
    for (at, one) in clouds.iter().enumerate() {
        let of = |spot: fn(&(String, Spot, Spot)) -> Spot| {
            let spots: Vec<Spot> = one.points.iter().map(spot).collect();
            let up = spots.iter().map(|(value, _, high)| high.map_or(0.0, |high| (high - value).max(0.0))).collect();
            let down = spots.iter().map(|(value, low, _)| low.map_or(0.0, |low| (value - low).max(0.0))).collect();
            let error = ErrorData::new(ErrorType::Data).symmetric(false).array(up).array_minus(down).thickness(1.0);
            (spots.into_iter().map(|(value, ..)| value).collect::<Vec<f64>>(), error)
        };
        let ((xs, x_error), (ys, y_error)) = (of(|point| point.1), of(|point| point.2));
        let names: Vec<String> = one.points.iter().map(|(name, ..)| name.clone()).collect();
        let size = if at == 0 { 14 } else { 10 };
        let points = Scatter::new(xs, ys).name(&one.name).mode(Mode::Markers).hover_text_array(names);
        plot.add_trace(points.marker(Marker::new().color(colour(at)).size(size)).error_x(x_error).error_y(y_error));
    }
    plot.set_layout(layout(x, y));
    plot
}
