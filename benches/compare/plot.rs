//! Curves over the number of PDK calls, written as SVG: a grid of panels with a common legend.

use std::fmt::Write;

/// A curve.
pub(crate) struct Series {
    /// Its name in the legend.
    pub(crate) label: &'static str,
    /// Its colour.
    pub(crate) colour: &'static str,
    /// How its line is broken: `stroke-dasharray`, or `none`.
    pub(crate) dashes: &'static str,
    /// Calls and value.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A picture in the grid.
pub(crate) struct Panel {
    /// Its heading.
    pub(crate) title: String,
    /// Its curves.
    pub(crate) series: Vec<Series>,
}

/// How values go up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From 0.
    Linear,
    /// By powers of ten.
    Log,
}

const WIDTH: f64 = 430.0;
const HEIGHT: f64 = 270.0;
const COLUMNS: usize = 2;
const TOP: f64 = 64.0;
/// Of a panel: left, right, top, bottom.
const MARGINS: (f64, f64, f64, f64) = (58.0, 14.0, 30.0, 40.0);
const CALLS_MAX: f64 = 20.0;

/// The panels under a title.
pub(crate) fn svg(title: &str, unit: &str, scale: Scale, panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(COLUMNS);
    let (width, height) = (WIDTH * COLUMNS as f64, TOP + HEIGHT * rows as f64);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{}\" y=\"24\" font-size=\"16\" text-anchor=\"middle\">{title}</text>\n",
        width / 2.0
    );
    legend(&mut out, panels);
    for (i, panel) in panels.iter().enumerate() {
        let (x, y) = ((i % COLUMNS) as f64 * WIDTH, TOP + (i / COLUMNS) as f64 * HEIGHT);
        let _ = writeln!(out, "<g transform=\"translate({x} {y})\">");
        draw(&mut out, panel, unit, scale);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn legend(out: &mut String, panels: &[Panel]) {
    let mut labels: Vec<&str> = Vec::new();
    let mut x = MARGINS.0;
    for series in panels.iter().flat_map(|panel| &panel.series) {
        if labels.contains(&series.label) || series.points.is_empty() {
            continue;
        }
        labels.push(series.label);
        let _ = writeln!(
            out,
            "<path d=\"M{x} 46h28\" stroke=\"{}\" stroke-width=\"2\" stroke-dasharray=\"{}\"/>\
             <text x=\"{}\" y=\"50\">{}</text>",
            series.colour,
            series.dashes,
            x + 34.0,
            series.label
        );
        x += 54.0 + 6.8 * series.label.chars().count() as f64;
    }
}

fn draw(out: &mut String, panel: &Panel, unit: &str, scale: Scale) {
    let (left, right, top, bottom) = MARGINS;
    let (inner_width, inner_height) = (WIDTH - left - right, HEIGHT - top - bottom);
    let values = || panel.series.iter().flat_map(|s| &s.points).map(|(_, value)| *value);
    let marks = marks(scale, values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    let (Some(low), Some(high)) = (marks.first().copied(), marks.last().copied()) else { return };
    let share = |value: f64| match scale {
        Scale::Linear => (value - low) / (high - low),
        Scale::Log => (value / low).log10() / (high / low).log10(),
    };
    let x = |calls: f64| left + calls / CALLS_MAX * inner_width;
    let y = |value: f64| top + (1.0 - share(value)) * inner_height;
    let _ =
        writeln!(out, "<text x=\"{left}\" y=\"18\" font-weight=\"bold\">{}</text>", panel.title);
    for mark in &marks {
        let (height, end) = (y(*mark), WIDTH - right);
        let _ = writeln!(
            out,
            "<path d=\"M{left} {height:.1}H{end}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 6.0,
            height + 4.0,
            short(*mark)
        );
    }
    for calls in [0.0, 1.0, 2.0, 5.0, 10.0, 20.0] {
        let (at, base) = (x(calls), HEIGHT - bottom + 16.0);
        let _ =
            writeln!(out, "<text x=\"{at:.1}\" y=\"{base}\" text-anchor=\"middle\">{calls}</text>");
    }
    let (middle, base) = (left + inner_width / 2.0, HEIGHT - 8.0);
    let _ = writeln!(
        out,
        "<text x=\"{middle}\" y=\"{base}\" text-anchor=\"middle\">PDK calls per request</text>\
         <text transform=\"translate(13 {}) rotate(-90)\" text-anchor=\"middle\">{unit}</text>",
        top + inner_height / 2.0
    );
    for series in panel.series.iter().filter(|series| !series.points.is_empty()) {
        let mut path = String::new();
        for (i, (calls, value)) in series.points.iter().enumerate() {
            let command = if i == 0 { 'M' } else { 'L' };
            let (x, y) = (x(*calls), y(*value));
            let _ = write!(path, "{command}{x:.1} {y:.1}");
            let dot = series.colour;
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{dot}\"/>");
        }
        let _ = writeln!(
            out,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" \
             stroke-dasharray=\"{}\"/>",
            series.colour, series.dashes
        );
    }
}

fn short(mark: f64) -> String {
    if mark >= 10_000.0 { format!("{}k", mark / 1000.0) } else { mark.to_string() }
}

/// Round values that span from the lowest to the highest.
fn marks(scale: Scale, low: f64, high: f64) -> Vec<f64> {
    if high <= 0.0 {
        return Vec::new();
    }
    match scale {
        Scale::Linear => {
            let rough = high / 5.0;
            let power = 10f64.powf(rough.log10().floor());
            let steps = [1.0, 2.0, 5.0, 10.0];
            let step = steps.into_iter().find(|s| s * power >= rough).unwrap_or(10.0) * power;
            (0..=(high / step).ceil() as usize).map(|i| i as f64 * step).collect()
        }
        Scale::Log => {
            let first = low.log10().floor() as i32;
            let last = (high.log10().ceil() as i32).max(first + 1);
            (first..=last).map(|power| 10f64.powi(power)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_span_the_values() {
        assert_eq!(marks(Scale::Linear, 3.0, 93.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(marks(Scale::Log, 297.0, 39_000.0), [100.0, 1e3, 1e4, 1e5]);
        assert!(marks(Scale::Linear, f64::MAX, 0.0).is_empty());
    }

    #[test]
    fn every_value_lies_inside_its_panel() {
        let points = vec![(0.0, 40.0), (20.0, 900.0)];
        let series = Series { label: "a", colour: "#000", dashes: "none", points };
        let panel = Panel { title: "t".into(), series: vec![series] };
        let svg = svg("t", "u", Scale::Linear, &[panel]);
        let heights = svg.match_indices("cy=\"").map(|(at, mark)| {
            svg[at + mark.len()..].split('"').next().unwrap().parse::<f64>().unwrap()
        });
        assert!(heights.into_iter().all(|y| (MARGINS.2..=HEIGHT - MARGINS.3).contains(&y)));
    }
}
