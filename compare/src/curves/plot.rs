//! Plots of curves on logarithmic axes, as SVG and as Markdown tables.

use std::error::Error;
use std::ops::Range;

use plotters::coord::combinators::BindKeyPoints as _;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

/// In pixels, like all lengths here.
const SIZE: (u32, u32) = (880, 440);

/// Colours that colour-blind readers can distinguish, and dashes for prints without colour: their length and that of
/// the gaps between them.
const STYLES: [(RGBColor, u32, u32); 4] = [
    // The dash is longer than any curve.
    (RGBColor(0, 114, 178), 4 * SIZE.0, 1),
    (RGBColor(213, 94, 0), 8, 4),
    (RGBColor(0, 158, 115), 3, 3),
    (RGBColor(138, 58, 185), 12, 3),
];

/// A quantity and its unit.
pub struct Axis {
    pub label: &'static str,
    pub unit: &'static str,
}

impl Axis {
    fn text(&self) -> String {
        match self.unit {
            "" => self.label.to_owned(),
            unit => format!("{}, {unit}", self.label),
        }
    }
}

pub struct Curve {
    pub name: &'static str,
    /// Coordinates, both above 0.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    pub fn new(name: &'static str) -> Curve {
        Curve { name, points: Vec::new() }
    }
}

pub struct Plot {
    /// The file name, without extension.
    pub name: &'static str,
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub curves: Vec<Curve>,
}

impl Plot {
    /// Prints all points, a column for each curve.
    pub fn print(&self) {
        println!("{}; {}:\n", self.title, self.y.text());
        print!("| {} |", self.x.text());
        self.curves.iter().for_each(|curve| print!(" {} |", curve.name));
        println!("\n|---:|{}", "---:|".repeat(self.curves.len()));
        for x in self.all_x() {
            print!("| {x} |");
            for curve in &self.curves {
                match curve.points.iter().find(|point| point.0 == x) {
                    Some((_, y)) => print!(" {y:.2} |"),
                    None => print!(" |"),
                }
            }
            println!();
        }
        println!();
    }

    /// An image with a background, so that it can be read on any page.
    pub fn to_svg(&self) -> Result<String, Box<dyn Error>> {
        let mut svg = String::new();
        self.draw(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area())?;
        Ok(svg)
    }

    fn draw(&self, area: &Area<'_>) -> Result<(), Box<dyn Error>> {
        let all_x = self.all_x();
        let y = range(self.curves.iter().flat_map(|curve| &curve.points).map(|point| point.1));
        let y_ticks = ticks(&y);
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(
                range(all_x.iter().copied()).log_scale().with_key_points(all_x),
                y.log_scale().with_key_points(y_ticks),
            )?;
        chart
            .configure_mesh()
            .x_desc(self.x.text())
            .y_desc(self.y.text())
            .x_label_formatter(&|x| number(*x))
            .y_label_formatter(&|y| number(*y))
            .label_style(("sans-serif", 15))
            .draw()?;
        for (curve, (colour, dash, gap)) in self.curves.iter().zip(STYLES.into_iter().cycle()) {
            let style = colour.stroke_width(2);
            chart
                .draw_series(DashedLineSeries::new(curve.points.iter().copied(), dash, gap, style))?
                .label(curve.name)
                .legend(move |(x, y)| {
                    DashedPathElement::new([(x, y), (x + 36, y)], dash, gap, style)
                });
            let marks = curve.points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
            chart.draw_series(marks)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .legend_area_size(44)
            .label_font(("sans-serif", 15))
            .background_style(WHITE)
            .border_style(BLACK.mix(0.2))
            .draw()?;
        area.present()?;
        Ok(())
    }

    /// The x coordinates of all points, sorted and distinct.
    fn all_x(&self) -> Vec<f64> {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        let mut all: Vec<f64> = points.map(|point| point.0).collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        all
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// From below the lowest to above the highest of the values.
fn range(values: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    values.clone().fold(f64::INFINITY, f64::min) / 1.15..values.fold(0.0, f64::max) * 1.15
}

/// 1, 2 and 5 of each decade, or only 1 if there are many decades.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let steps: &[f64] = if range.end / range.start < 5e3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let decades = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
    all.filter(|tick| range.contains(tick)).collect()
}

/// With commas between thousands, and below 1 with as few digits as it takes.
fn number(value: f64) -> String {
    if value < 1.0 {
        let digits = (-value.log10().floor()) as usize;
        return format!("{value:.digits$}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_shows_its_title_axes_ticks_and_curves() {
        let curve = |name, height: f64| Curve {
            name,
            points: [1.0, 32.0, 1_024.0].map(|x| (x, x * height)).to_vec(),
        };
        let plot = Plot {
            name: "plot",
            title: "Time & memory".to_owned(),
            x: Axis { label: "series", unit: "" },
            y: Axis { label: "time", unit: "ms" },
            curves: vec![curve("cold", 0.5), curve("repeated", 0.02)],
        };
        let svg = plot.to_svg().unwrap();
        for text in ["Time &amp; memory", "series", "time, ms", "1,024", "0.1", "cold", "repeated"]
        {
            assert!(svg.lines().any(|line| line.trim() == text), "`{text}` is missing:\n{svg}");
        }
        // Each curve has a mark on each point.
        assert_eq!(svg.matches("<circle").count(), 6, "{svg}");
    }
}
