//! Plots of curves on logarithmic axes, as SVG and as Markdown tables.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// In pixels, like all lengths here.
const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 440.0;
/// The positions of the axes; the legend is to the right of them.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 610.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 380.0;
const LEGEND: f64 = 630.0;

/// Colours that colour-blind readers can distinguish, and dashes for prints without colour.
const STYLES: [(&str, &str); 6] = [
    ("#0072b2", "none"),
    ("#d55e00", "8 3"),
    ("#009e73", "3 3"),
    ("#8a3ab9", "10 3 2 3"),
    ("#b8860b", "5 5"),
    ("#444444", "1 3"),
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

    /// An image with a background of its own, so that it can be read on any page.
    pub fn to_svg(&self) -> String {
        let all_x = self.all_x();
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        let x_scale = Scale::new(LEFT..=RIGHT, all_x.iter().copied());
        let y_scale = Scale::new(BOTTOM..=TOP, points.map(|point| point.1));
        let mut svg = Svg(String::new());
        let title = escape(&self.title);
        svg.line(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" role=\"img\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#222222\">"
        ));
        svg.line(format_args!("<title>{title}</title>"));
        svg.line(format_args!(
            "<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\" stroke=\"#cccccc\"/>"
        ));
        svg.text((LEFT, 28.0), "start", "15", &title);
        for tick in y_scale.ticks() {
            let y = y_scale.position(tick);
            svg.grid((LEFT, y), (RIGHT, y));
            svg.text((LEFT - 8.0, y + 4.0), "end", "12", &number(tick));
        }
        for tick in all_x {
            let x = x_scale.position(tick);
            svg.grid((x, TOP), (x, BOTTOM));
            svg.text((x, BOTTOM + 18.0), "middle", "12", &number(tick));
        }
        svg.line(format_args!(
            "<path d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\" fill=\"none\" stroke=\"#222222\"/>"
        ));
        let middle = f64::midpoint(LEFT, RIGHT);
        svg.text((middle, BOTTOM + 42.0), "middle", "13", &escape(&self.x.text()));
        let (x, y) = (22.0, f64::midpoint(TOP, BOTTOM));
        svg.line(format_args!("<g transform=\"rotate(-90 {x} {y})\">"));
        svg.text((x, y), "middle", "13", &escape(&self.y.text()));
        svg.line(format_args!("</g>"));
        for (at, (curve, style)) in self.curves.iter().zip(STYLES.iter().cycle()).enumerate() {
            let pixels =
                curve.points.iter().map(|(x, y)| (x_scale.position(*x), y_scale.position(*y)));
            svg.curve(&pixels.collect::<Vec<_>>(), *style);
            let y = TOP + 10.0 + at as f64 * 24.0;
            svg.curve(&[(LEGEND, y), (LEGEND + 36.0, y)], *style);
            svg.text((LEGEND + 46.0, y + 4.0), "start", "13", &escape(curve.name));
        }
        svg.line(format_args!("</svg>"));
        svg.0
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

/// A logarithmic axis.
struct Scale {
    lowest: f64,
    highest: f64,
    /// The pixels of both.
    pixels: RangeInclusive<f64>,
}

impl Scale {
    fn new(pixels: RangeInclusive<f64>, values: impl Iterator<Item = f64> + Clone) -> Scale {
        let lowest = values.clone().fold(f64::INFINITY, f64::min) / 1.15;
        let highest = values.fold(0.0, f64::max) * 1.15;
        Scale { lowest, highest, pixels }
    }

    fn position(&self, value: f64) -> f64 {
        let share = (value / self.lowest).ln() / (self.highest / self.lowest).ln();
        let (start, end) = (self.pixels.start(), self.pixels.end());
        // Rounded to tenths of a pixel.
        ((start + share * (end - start)) * 10.0).round() / 10.0
    }

    /// 1, 2 and 5 of each decade, or only 1 if there are many decades.
    fn ticks(&self) -> Vec<f64> {
        let steps: &[f64] =
            if self.highest / self.lowest < 5e3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = self.lowest.log10().floor() as i32..=self.highest.log10().ceil() as i32;
        let all =
            decades.flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
        all.filter(|tick| (self.lowest..=self.highest).contains(tick)).collect()
    }
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

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

struct Svg(String);

impl Svg {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // OK because writing to a string does not fail.
        let _ = writeln!(self.0, "{text}");
    }

    fn text(&mut self, (x, y): (f64, f64), anchor: &str, size: &str, text: &str) {
        self.line(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{text}</text>"
        ));
    }

    fn grid(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.line(format_args!("<path d=\"M{x1} {y1}L{x2} {y2}\" stroke=\"#dddddd\"/>"));
    }

    /// Draws a line through all points, with a mark on each.
    fn curve(&mut self, points: &[(f64, f64)], (colour, dashes): (&str, &str)) {
        let list: Vec<String> = points.iter().map(|(x, y)| format!("{x},{y}")).collect();
        self.line(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dashes}\"/>",
            list.join(" ")
        ));
        for (x, y) in points {
            self.line(format_args!("<circle cx=\"{x}\" cy=\"{y}\" r=\"3\" fill=\"{colour}\"/>"));
        }
    }
}
