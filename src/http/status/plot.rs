//! Small plots, as SVG.

use std::fmt::Write as _;

use super::text::escape;

const WIDTH: f64 = 160.0;
const HEIGHT: f64 = 32.0;
/// Space for the width of the line.
const MARGIN: f64 = 2.0;
/// The least and the most time that a plot shows, in seconds.
const MIN_WINDOW: f64 = 60.0;
const MAX_WINDOW: f64 = 600.0;

/// The time that the plot of some points shows, in seconds.
pub(super) fn window(points: &[(f64, f64)]) -> f64 {
    points.first().map_or(0.0, |(time, _)| -time).clamp(MIN_WINDOW, MAX_WINDOW)
}

/// A line over the last minutes. The points are seconds before now, which are negative, and values. The vertical axis
/// begins at 0, or at the lowest value if that is negative.
pub(super) fn line(points: &[(f64, f64)], description: &str) -> String {
    let window = window(points);
    let points: Vec<(f64, f64)> = points
        .iter()
        .copied()
        .filter(|(time, value)| *time >= -window && value.is_finite())
        .collect();
    let mut svg = begin(description);
    let low = points.iter().fold(0.0, |low: f64, (_, value)| low.min(*value));
    let high = points.iter().fold(0.0, |high: f64, (_, value)| high.max(*value));
    let span = if high > low { high - low } else { 1.0 };
    let y = |value: f64| MARGIN + (HEIGHT - 2.0 * MARGIN) * (high.max(low + span) - value) / span;
    let at = |(time, value): &(f64, f64)| (WIDTH * (1.0 + time / window), y(*value));
    if let (Some(first), Some(last)) = (points.first(), points.last()) {
        let mut line = String::new();
        for point in &points {
            let (x, y) = at(point);
            let _ = write!(line, "{x:.1},{y:.1} ");
        }
        let ((begin, _), (end, last_y), base) = (at(first), at(last), y(low.max(0.0).min(high)));
        let line = line.trim_end();
        let _ = write!(
            svg,
            "<polygon class=\"area\" points=\"{begin:.1},{base:.1} {line} {end:.1},{base:.1}\"/>\
             <polyline class=\"line\" points=\"{line}\"/>\
             <circle class=\"now\" cx=\"{:.1}\" cy=\"{last_y:.1}\" r=\"2\"/>",
            end.min(WIDTH - MARGIN)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Bars of these heights.
pub(super) fn bars(heights: &[f64], description: &str) -> String {
    let mut svg = begin(description);
    let high = heights.iter().copied().fold(0.0, f64::max);
    let width = WIDTH / heights.len().max(1) as f64;
    for (at, height) in heights.iter().enumerate() {
        let height = if high > 0.0 { (HEIGHT - MARGIN) * height.max(0.0) / high } else { 0.0 };
        // Buckets without observations have a line.
        let height = height.max(0.5);
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            at as f64 * width,
            HEIGHT - height,
            (width - 1.0).max(0.5)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn begin(description: &str) -> String {
    format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{0}\"><title>{0}</title>",
        escape(description)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_within_the_plot() {
        let points = [(-900.0, 1e9), (-600.0, -5.0), (-300.0, f64::NAN), (0.0, 15.0)];
        let svg = line(&points, "rate of \"<b>\"");
        assert!(svg.contains("points=\"0.0,30.0 160.0,2.0\""), "{svg}");
        assert!(svg.contains("&quot;&lt;b&gt;&quot;") && !svg.contains("<b>"), "{svg}");
        assert!(!svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn plots_without_points_and_with_equal_points_are_valid() {
        assert!(line(&[], "none").ends_with("</title></svg>"));
        let svg = line(&[(-10.0, 0.0), (0.0, 0.0)], "zero");
        assert!(svg.contains("133.3,30.0 160.0,30.0") && !svg.contains("NaN"), "{svg}");
        assert!(bars(&[], "none").ends_with("</title></svg>"));
        assert!(!bars(&[0.0, 0.0], "zero").contains("NaN"));
    }
}
