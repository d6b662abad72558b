//! Parsing in multiprom and in the Python client.
//!
//! Both parse the same page into owned families, after one warm-up. Times are processor times.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io;
use std::path::Path;

use multiprom::parse::{Parser, Syntax};

use crate::clocks;
use crate::programs::{Programs, Python, read_seconds};
use crate::rounds::Times;
use crate::workload::TestDir;

/// Label sets of each family.
const LABEL_SETS: usize = 1000;

/// Runs of multiprom's parser per measured time, as a single run is short.
const REPEATS: usize = 20;

/// The times of one format.
pub struct Outcome {
    pub format: &'static str,
    pub samples: usize,
    pub own: Times,
    pub python: Times,
}

/// Measures both text formats. Returns `None` if the Python client is not installed.
pub fn outcomes(programs: &Programs, rounds: usize) -> io::Result<Option<Vec<Outcome>>> {
    let Some(python) = &programs.python else { return Ok(None) };
    let dir = TestDir::in_memory("compare-parse");
    let mut outcomes = Vec::new();
    for (format, syntax) in [("text", Syntax::Text), ("openmetrics", Syntax::OpenMetrics)] {
        let page = page(syntax);
        let (file, report) = (dir.path().join("page"), dir.path().join("seconds"));
        std::fs::write(&file, &page)?;
        let mut outcome = Outcome {
            format,
            samples: 0,
            own: Times::new("multiprom"),
            python: Times::new("Python"),
        };
        for _ in 0..rounds {
            let begin = clocks::own()?;
            for _ in 0..REPEATS {
                let families = Parser::new(syntax, page.as_bytes()).collect::<Result<Vec<_>, _>>();
                let families = black_box(families.map_err(io::Error::other)?);
                outcome.samples = families.iter().map(|family| family.samples.len()).sum();
            }
            outcome.own.push((clocks::own()? - begin) / REPEATS as f64);
            outcome.python.push(parse_with_python(python, format, &file, &report)?);
        }
        outcomes.push(outcome);
    }
    Ok(Some(outcomes))
}

fn parse_with_python(python: &Python, format: &str, page: &Path, report: &Path) -> io::Result<f64> {
    let mut command = python.script("python_parse.py");
    let status = command.arg(format).arg(page).arg(report).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("python_parse.py ended with {status}")));
    }
    read_seconds(report)
}

/// A page of counters, gauges and histograms with three labels.
fn page(syntax: Syntax) -> String {
    let (total, end) = if syntax == Syntax::Text { ("_total", "") } else { ("", "# EOF\n") };
    let mut page = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        // OK because writing to a string does not fail.
        let _ = page.write_fmt(format_args!("{text}\n"));
    };
    let labels = |at: usize| format!("method=\"GET\",route=\"/shop/item/{at}\",code=\"200\"");
    line(format_args!("# TYPE requests{total} counter"));
    line(format_args!("# HELP requests{total} Completed requests."));
    for at in 0..LABEL_SETS {
        line(format_args!("requests_total{{{}}} {}", labels(at), at * 37));
    }
    line(format_args!("# TYPE latest_seconds gauge"));
    for at in 0..LABEL_SETS {
        line(format_args!("latest_seconds{{{}}} {}", labels(at), at as f64 * 0.001_7));
    }
    line(format_args!("# TYPE duration_seconds histogram"));
    for at in 0..LABEL_SETS {
        let labels = labels(at);
        for (index, bound) in ["0.005", "0.05", "0.5", "5.0", "+Inf"].into_iter().enumerate() {
            let count = at * index;
            line(format_args!("duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}"));
        }
        line(format_args!("duration_seconds_sum{{{labels}}} {}", at as f64 * 0.37));
        line(format_args!("duration_seconds_count{{{labels}}} {}", at * 4));
    }
    page + end
}
