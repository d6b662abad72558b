//! Records every metric type and gauge mode, with unusual labels and values.
//!
//! usage: `test-worker DIR INDEX`. The labels and values depend on INDEX, so that processes differ.

use multiprom::{Backend, Counter, Gauge, GaugeMode, Histogram, Registry, Result, Summary};

const ODD_LABELS: [&str; 12] = [
    "",
    "/",
    "say \"hi\"",
    "back\\slash",
    "line\nbreak",
    "h\u{e9}llo w\u{f6}rld",
    "\u{2603} \u{1f600}",
    "del\u{7f}",
    "tab\tand\rreturn",
    " spaces ",
    "{a=\"b\"}",
    "\u{1}\u{1f}",
];

const ODD_VALUES: [(&str, f64); 9] = [
    ("nan", f64::NAN),
    ("inf", f64::INFINITY),
    ("minus_inf", f64::NEG_INFINITY),
    ("minus_zero", -0.0),
    ("smallest", 5e-324),
    ("largest", f64::MAX),
    ("tenth", 0.1),
    ("integer", 9_007_199_254_740_993.0),
    ("negative", -2.5e-7),
];

pub fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, dir, index] = &arguments[..] else { panic!("usage: test-worker DIR INDEX") };
    let index: u32 = index.parse().expect("INDEX is a number");
    let registry = Registry::builder().backend(Backend::directory(dir)?).build()?;
    counters(&registry, index)?;
    observations(&registry, index)?;
    // The Python client has no modes for averages and counts.
    let modes = GaugeMode::ALL.iter().copied();
    let modes = modes.filter(|mode| !mode.as_str().ends_with("avg") && !mode.is_count());
    modes.into_iter().try_for_each(|mode| gauges(&registry, mode, index))
}

fn counters(registry: &Registry, index: u32) -> Result<()> {
    let plain = Counter::builder("requests_total", "Requests served").register(registry)?;
    plain.inc();
    plain.inc_by(f64::from(index) + 0.1);
    // Negative values and NaN are ignored.
    plain.inc_by(-1.0);
    plain.inc_by(f64::NAN);
    Counter::builder("never", "Stays at zero").register(registry)?;
    let odd = Counter::builder("odd_labels", "A \"quoted\" back\\slash,\na second line \u{1f600}")
        .labels(["zulu", "Alpha", "mike"])
        .register(registry)?;
    for (number, value) in ODD_LABELS.into_iter().enumerate() {
        if index == 0 || number as u32 % 3 == index % 3 {
            odd.with([value, "x", &number.to_string()]).inc_by(number as f64 + 1.0);
        }
    }
    Ok(())
}

fn observations(registry: &Registry, index: u32) -> Result<()> {
    let summary = Summary::builder("payload_bytes", "Payload size").register(registry)?;
    for size in [512.0, 0.5, 1e10] {
        summary.observe(size * f64::from(index + 1));
    }
    let plain = Histogram::builder("latency_seconds", "Latency").register(registry)?;
    for seconds in [0.004, 0.005, 0.3, 11.0] {
        plain.observe(seconds);
    }
    plain.observe(f64::NAN);
    let wide = Histogram::builder("size_bytes", "Sizes")
        .buckets([1.0, 1000.5, 1e6, 1e10, f64::INFINITY])
        .labels(["kind", "zone"])
        .register(registry)?;
    wide.with(["a\"b", "z"]).observe(1e6);
    wide.with(["a\"b", "z"]).observe(2e10);
    wide.with([&format!("kind{index}"), ""]).observe(999.0);
    let differing = Histogram::builder("bounds_differ", "Other bounds in other processes")
        .buckets(if index.is_multiple_of(2) {
            vec![1.0, 2.0, 4.0]
        } else {
            vec![1.0, 3.0, 4.0, 8.0]
        })
        .register(registry)?;
    for value in [0.5, 2.0, 3.0, 7.0] {
        differing.observe(value);
    }
    Ok(())
}

fn gauges(registry: &Registry, mode: GaugeMode, index: u32) -> Result<()> {
    let builder = |name: &str| Gauge::builder(format!("{name}_{mode}"), "A gauge").mode(mode);
    let level = builder("level").register(registry)?;
    level.set(f64::from(index + 1) * 1.5);
    level.add(0.25);
    level.dec();
    let odd = builder("odd").labels(["value"]).register(registry)?;
    let is_order_dependent = mode.as_str().ends_with("min") || mode.as_str().ends_with("max");
    for (number, (name, value)) in ODD_VALUES.into_iter().enumerate() {
        let is_nan = is_order_dependent && value.is_nan();
        if !is_nan && (index == 0 || number as u32 % 2 == index % 2) {
            odd.with([name]).set(value);
        }
    }
    Ok(())
}
