//! Helpers for the tests of programs: comparison of expositions, and a process for each test.
//!
//! `docs/testing.md` describes how to test a program that uses this crate.

use std::any;
use std::env;
use std::error;
use std::fmt;
use std::process::Command;

use crate::exposition::{Exposition, Format};
use crate::model::{Collector, Gatherer, SampleKind};
use crate::parse::lint::{self, Problem};
use crate::parse::{Families, OwnedFamily, Parser, Syntax};

/// Unchanged lines that are shown before and after a difference.
const CONTEXT: usize = 2;

/// Families with more lines on both sides together are compared without alignment.
const MAX_ALIGNED: usize = 2_000;

/// How an exposition differs from the expected one. `Display` shows the lines of the families that differ: `-` for what is
/// expected and missing, `+` for what was found instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference(String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for Difference {}

/// Compares the families of a registry with an exposition in the text format, or in OpenMetrics if it ends with `# EOF`.
///
/// Families are compared in any order, as are their samples, the labels of a sample and the notations of a number.
/// If `names` is not empty, only the families with these names are compared; the name of a counter may end with `_total`.
/// Timestamps of creation are not compared.
///
/// ```
/// use multiprom::{Backend, Counter, Registry, testing};
///
/// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
/// let jobs = Counter::builder("jobs", "Jobs.").labels(["queue", "tier"]).register(&registry)?;
/// jobs.with(["print", "gold"]).inc();
/// jobs.with(["mail", "gold"]).inc_by(2.0);
///
/// let expected = "
///     ## HELP jobs_total Jobs.
///     ## TYPE jobs_total counter
///     jobs_total{tier=\"gold\",queue=\"mail\"} 2.0
///     jobs_total{tier=\"gold\",queue=\"print\"} 3
/// ";
/// let difference = testing::compare(&registry, expected, &["jobs"]).unwrap_err();
/// assert_eq!(
///     difference.to_string(),
///     "the exposition differs (- expected, + found):\n  \
///        ## HELP jobs_total Jobs.\n  \
///        ## TYPE jobs_total counter\n  \
///        jobs_total{queue=\"mail\",tier=\"gold\"} 2\n\
///      - jobs_total{queue=\"print\",tier=\"gold\"} 3\n\
///      + jobs_total{queue=\"print\",tier=\"gold\"} 1\n"
/// );
/// # Ok::<(), multiprom::Error>(())
/// ```
///
/// # Errors
///
/// The difference; also if the expected text does not parse or a collector reports an error.
pub fn compare(source: &dyn Gatherer, expected: &str, names: &[&str]) -> Result<(), Difference> {
    let found = Families::of_gatherer(source);
    let found = found.map_err(|error| Difference(format!("a collector failed: {error:#}")))?;
    compare_families(&found, expected, names)
}

/// As [`compare`], for one collector, metric or family alone.
///
/// # Errors
///
/// Those of [`compare`].
pub fn compare_collector(
    source: &dyn Collector,
    expected: &str,
    names: &[&str],
) -> Result<(), Difference> {
    let found = Families::of_collector(source);
    let found = found.map_err(|error| Difference(format!("the collector failed: {error:#}")))?;
    compare_families(&found, expected, names)
}

/// Panics with the difference unless the families of a registry are those of the text: see [`compare`].
///
/// # Panics
///
/// If they differ.
#[track_caller]
pub fn assert_exposition(source: &dyn Gatherer, expected: &str) {
    if let Err(difference) = compare(source, expected, &[]) {
        panic!("{difference}");
    }
}

/// The lint problems of the exposition of a registry: those that `promtool check metrics` reports.
///
/// # Panics
///
/// If a collector writes an exposition that does not parse.
pub fn lint(source: &dyn Gatherer) -> Vec<Problem> {
    let page = Exposition::encode(source, Format::Text);
    match lint::check(Syntax::Text, page.body.as_slice()) {
        Ok(problems) => problems,
        Err(error) => panic!("the exposition is invalid: {error}"),
    }
}

/// Runs the body of a test in a process of its own, where no other test uses the statics.
///
/// Starts the test program again, for the test that contains the closure alone, and without the variables that name a
/// multiprocess directory. Call it as the only statement of a `#[test]` function:
///
/// ```no_run
/// # use multiprom::{Counter, Static, testing};
/// static HITS: Static<Counter> = Counter::declare("hits", "Page hits.");
///
/// #[test]
/// fn a_hit_is_counted() {
///     testing::isolated(|| {
///         HITS.inc();
///         assert_eq!(HITS.get(), 1.0);
///     });
/// }
/// ```
///
/// In a process that was started for this test alone, as `cargo nextest` does, the body runs in that process.
///
/// # Panics
///
/// If the body does, or if the test program cannot be started.
pub fn isolated(body: impl FnOnce()) {
    // `crate::module::test::{{closure}}`; the test harness leaves out the name of the crate.
    let path = any::type_name_of_val(&body);
    let path = path.split_once("::").map_or(path, |(_, path)| path);
    let name = path.strip_suffix("::{{closure}}").unwrap_or(path);
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |argument: &str| arguments.iter().any(|given| given == argument);
    if has("--exact") && has(name) {
        return body();
    }
    let program = env::current_exe().expect("the path of the test program is known");
    let mut command = Command::new(program);
    command.args([name, "--exact", "--include-ignored", "--nocapture"]);
    command.env_remove("PROMETHEUS_MULTIPROC_DIR").env_remove("prometheus_multiproc_dir");
    let output = command.output().expect("the test program starts");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed in its own process:\n{stdout}\n{stderr}");
    assert!(
        stdout.contains("1 passed"),
        "`{name}` is not the name of a test: call `isolated` in the test function itself\n{stdout}"
    );
}

fn compare_families(found: &Families, expected: &str, names: &[&str]) -> Result<(), Difference> {
    // Indentation is not part of the format.
    let lines = expected.lines().map(str::trim_start).filter(|line| !line.is_empty());
    let expected: String = lines.flat_map(|line| [line, "\n"]).collect();
    let is_openmetrics = expected.ends_with("# EOF\n");
    let (syntax, format) = if is_openmetrics {
        (Syntax::OpenMetrics, Format::OpenMetrics)
    } else {
        (Syntax::Text, Format::Text)
    };
    let parse = |text: &[u8]| Parser::new(syntax, text).collect::<Result<Vec<OwnedFamily>, _>>();
    let page = Exposition::encode(found, format);
    let invalid = |what, error| Difference(format!("the {what} exposition is invalid: {error}"));
    let found = parse(&page.body).map_err(|error| invalid("found", error))?;
    let expected = parse(expected.as_bytes()).map_err(|error| invalid("expected", error))?;
    let (found, expected) = (sorted(found, names), sorted(expected, names));

    let mut all: Vec<&str> = expected.iter().chain(&found).map(|(name, _)| name.as_str()).collect();
    all.sort_unstable();
    all.dedup();
    let mut shown = String::new();
    for name in all {
        let lines = |families: &[(String, OwnedFamily)]| -> Vec<String> {
            let own = families.iter().filter(|(own, _)| own == name);
            let own = Families(own.map(|(_, family)| family.clone()).collect());
            let text = Exposition::encode(&own, format).to_string();
            text.lines().filter(|line| *line != "# EOF").map(str::to_owned).collect()
        };
        let (expected, found) = (lines(&expected), lines(&found));
        if expected != found {
            show(&expected, &found, &mut shown);
        }
    }
    if shown.is_empty() {
        Ok(())
    } else {
        Err(Difference(format!("the exposition differs (- expected, + found):\n{shown}")))
    }
}

/// The families with these names, by their names in the text format, with samples in the order of their labels.
fn sorted(families: Vec<OwnedFamily>, names: &[&str]) -> Vec<(String, OwnedFamily)> {
    let mut sorted = Vec::new();
    for mut family in Families(families).joined().0 {
        let text_name = family.text_name();
        let is_named = |name: &&str| *name == family.name || *name == text_name;
        if !names.is_empty() && !names.iter().any(is_named) {
            continue;
        }
        family.samples.iter_mut().for_each(|sample| sample.labels.sort_unstable());
        // The order of the buckets and quantiles of a metric is that of their bounds already.
        let place = |kind| match kind {
            SampleKind::Bucket(_) | SampleKind::Quantile(_) => 0,
            SampleKind::Sum | SampleKind::GaugeSum => 1,
            SampleKind::Count | SampleKind::GaugeCount => 2,
            _ => 3,
        };
        family.samples.sort_by(|a, b| {
            a.labels.cmp(&b.labels).then_with(|| place(a.kind).cmp(&place(b.kind)))
        });
        sorted.push((text_name, family));
    }
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    sorted
}

/// Appends the lines of a family that differ, with their surroundings.
fn show(expected: &[String], found: &[String], out: &mut String) {
    let steps = steps(expected, found);
    let is_near = |at: usize| {
        let near = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(steps.len());
        // The metadata of the family is shown always.
        steps[at].1.starts_with('#') || steps[near].iter().any(|(mark, _)| *mark != ' ')
    };
    let mut left_out = 0;
    for (at, (mark, line)) in steps.iter().enumerate() {
        if !is_near(at) {
            left_out += 1;
            continue;
        }
        show_left_out(&mut left_out, out);
        out.extend([*mark, ' ']);
        out.extend([line, "\n"]);
    }
    show_left_out(&mut left_out, out);
}

fn show_left_out(count: &mut usize, out: &mut String) {
    if *count > 0 {
        out.extend(["  (", &count.to_string(), " equal lines)\n"]);
        *count = 0;
    }
}

/// The lines of both, each with its mark, with as many equal ones as possible.
fn steps<'a>(expected: &'a [String], found: &'a [String]) -> Vec<(char, &'a str)> {
    let marked = |mark, lines: &'a [String]| lines.iter().map(move |line| (mark, line.as_str()));
    if expected.len() + found.len() > MAX_ALIGNED {
        let missing =
            marked('-', expected).filter(|(_, line)| !found.iter().any(|own| own == line));
        let others = marked('+', found).filter(|(_, line)| !expected.iter().any(|own| own == line));
        return missing.chain(others).collect();
    }
    // The length of the longest common subsequence of what follows.
    let width = found.len() + 1;
    let mut common = vec![0_usize; (expected.len() + 1) * width];
    for at in (0..expected.len()).rev() {
        for other in (0..found.len()).rev() {
            common[at * width + other] = if expected[at] == found[other] {
                common[(at + 1) * width + other + 1] + 1
            } else {
                common[(at + 1) * width + other].max(common[at * width + other + 1])
            };
        }
    }
    let (mut at, mut other) = (0, 0);
    let mut steps = Vec::new();
    while at < expected.len() && other < found.len() {
        if expected[at] == found[other] {
            steps.push((' ', expected[at].as_str()));
            (at, other) = (at + 1, other + 1);
        } else if common[(at + 1) * width + other] >= common[at * width + other + 1] {
            steps.push(('-', expected[at].as_str()));
            at += 1;
        } else {
            steps.push(('+', found[other].as_str()));
            other += 1;
        }
    }
    steps.extend(marked('-', &expected[at..]));
    steps.extend(marked('+', &found[other..]));
    steps
}
