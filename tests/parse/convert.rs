//! The commands `convert` and `lint`.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::process::Outcome;
use crate::support::{TestDir, multiprom, output_of, skip};

/// Runs a command with `input` as its standard input.
pub(super) fn run_with_input(command: &mut Command, input: &[u8]) -> Outcome {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Ignores the error if the command ends before it has read all input.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome {
        status: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn convert(from: &str, to: &str, input: &str) -> Outcome {
    run_with_input(multiprom().args(["convert", "--from", from, "--to", to]), input.as_bytes())
}

fn lint(input: &str) -> Outcome {
    run_with_input(multiprom().arg("lint"), input.as_bytes())
}

/// Asserts that a command succeeded, and returns its standard output.
#[track_caller]
fn success(output: Outcome) -> String {
    assert_eq!((output.status, output.stderr.as_str()), (0, ""));
    output.stdout
}

#[test]
fn text_is_converted_to_openmetrics_and_back() {
    let text = "# HELP c_total Count.\n# TYPE c_total counter\nc_total{a=\"b\"} 3 1500\n\
                # TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 4\nh_count 2\n";
    let openmetrics = success(convert("text", "openmetrics", text));
    assert_eq!(
        openmetrics,
        "# TYPE c counter\n# HELP c Count.\nc_total{a=\"b\"} 3.0 1.5\n\
         # TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 4.0\nh_count 2\n# EOF\n"
    );
    assert_eq!(success(convert("openmetrics", "openmetrics", &openmetrics)), openmetrics);
    assert_eq!(success(convert("openmetrics", "text", &openmetrics)), text);
}

#[test]
fn points_with_equal_timestamps_are_preserved_in_openmetrics() {
    let point = |first: u32| {
        format!(
            "h_bucket{{le=\"0.5\"}} {first} 5.0\nh_bucket{{le=\"+Inf\"}} 4 5.0\nh_sum 4.0 5.0\nh_count 4 5.0\n"
        )
    };
    let page = format!(
        "# TYPE h histogram\n{}{}# TYPE g gauge\ng 1.0 0.0\ng 2.0 0.0\ng 2.0 0.0\n# EOF\n",
        point(3),
        point(1)
    );
    assert_eq!(success(convert("openmetrics", "openmetrics", &page)), page);
}

#[test]
fn created_gauges_of_the_text_format_become_created_samples_in_openmetrics() {
    let head =
        "# HELP c_total C.\n# TYPE c_total counter\nc_total{a=\"1\"} 3\nc_total{a=\"2\"} 4\n";
    let times = "# HELP c_created C.\n# TYPE c_created gauge\nc_created{a=\"1\"} 1.5\nc_created{a=\"2\"} 2.5\n";
    let rest = "# TYPE d gauge\nd 1\n# TYPE e_created gauge\ne_created 1\n";
    let text = [head, times, rest].concat();
    let openmetrics = success(convert("text", "openmetrics", &text));
    assert_eq!(
        openmetrics,
        "# TYPE c counter\n# HELP c C.\nc_total{a=\"1\"} 3.0\nc_created{a=\"1\"} 1.5\n\
         c_total{a=\"2\"} 4.0\nc_created{a=\"2\"} 2.5\n\
         # TYPE d gauge\nd 1.0\n# TYPE e_created gauge\ne_created 1.0\n# EOF\n"
    );
    assert_eq!(success(convert("openmetrics", "text", &openmetrics)), text);
    assert!(
        success(convert("text", "openmetrics2", &text)).contains("c_total{a=\"1\"} 3.0 st@1.5\n")
    );
}

#[test]
fn interleaved_samples_of_a_text_exposition_are_grouped() {
    let text = "# HELP a A.\nb{x=\"1\"} 1\n# TYPE a gauge\na 1\nb{x=\"2\"} 2\n\
                # TYPE h histogram\nh_bucket{le=\"+Inf\",x=\"1\"} 1\nh_bucket{le=\"+Inf\",x=\"2\"} 2\n\
                h_bucket{x=\"1\",le=\"1\"} 1\n";
    assert_eq!(
        success(convert("text", "openmetrics", text)),
        "# TYPE b unknown\nb{x=\"1\"} 1.0\nb{x=\"2\"} 2.0\n# TYPE a gauge\n# HELP a A.\na 1.0\n\
         # TYPE h histogram\nh_bucket{x=\"1\",le=\"1.0\"} 1\nh_bucket{x=\"1\",le=\"+Inf\"} 1\n\
         h_bucket{x=\"2\",le=\"+Inf\"} 2\n# EOF\n"
    );
}

#[test]
fn metadata_applies_to_samples_after_other_families() {
    let text = "# HELP a A.\n# HELP b B.\n# TYPE a gauge\n# TYPE b gauge\na 1\nb 2\n";
    assert_eq!(
        success(convert("text", "text", text)),
        "# HELP a A.\n# TYPE a gauge\na 1\n# HELP b B.\n# TYPE b gauge\nb 2\n"
    );
    assert_eq!(success(lint(text)), "");
}

#[test]
fn parse_errors_exit_with_1_and_name_the_position() {
    for (from, input, message) in [
        ("text", "a 1\nb", "`standard input`: line 2, column 2: expected a number, got ``"),
        (
            "openmetrics",
            "a 1\n",
            "`standard input`: line 2, column 1: the exposition ends without `# EOF`",
        ),
    ] {
        let output = convert(from, "text", input);
        assert_eq!((output.status, output.stdout.as_str()), (1, ""));
        assert_eq!(output.stderr, format!("multiprom: {message}\n"));
    }
    let dir = TestDir::new("convert");
    let file = dir.path().join("page");
    fs::write(&file, "a x\n").unwrap();
    let output = run_with_input(multiprom().arg("lint").arg(&file), b"");
    let message = "line 1, column 3: expected a number, got `x`";
    assert_eq!(output.stderr, format!("multiprom: `{}`: {message}\n", file.display()));
    assert_eq!(output.status, 1);
    let output = run_with_input(multiprom().arg("lint").arg(dir.path().join("none")), b"");
    assert_eq!(output.status, 1);
    assert!(output.stderr.contains("none`: No such file"), "{}", output.stderr);
}

#[test]
fn text_that_violates_openmetrics_is_not_converted_to_it() {
    for (text, message) in [
        ("# TYPE a counter\na -1\nb 1\n", "1 of 2 samples do not fit into the format"),
        ("# TYPE a histogram\na_bucket{le=\"1\"} 1\n", "line "),
    ] {
        let output = convert("text", "openmetrics", text);
        assert_eq!((output.status, output.stdout.as_str()), (1, ""));
        let start = format!("multiprom: `OpenMetrics output`: {message}");
        assert!(output.stderr.starts_with(&start), "{}", output.stderr);
    }
}

#[test]
fn label_names_that_collide_when_escaped_are_refused() {
    let output = convert("text", "text", "a{\"l.m\"=\"1\",\"l m\"=\"2\"} 1\n");
    assert_eq!((output.status, output.stdout.as_str()), (1, ""));
    let message = "multiprom: `text output`: 1 of 1 samples do not fit into the format\n";
    assert_eq!(output.stderr, message);
    // Quoted names do not collide.
    let output = convert("text", "text-utf8", "a{\"l.m\"=\"1\",\"l m\"=\"2\"} 1\n");
    assert_eq!(output.status, 0, "{}", output.stderr);
    assert!(super::text(&output.stdout).is_ok(), "{}", output.stdout);
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in ["convert", "convert --from text", "convert --from xml --to text", "lint -x"] {
        let output = run_with_input(multiprom().args(arguments.split(' ')), b"");
        assert_eq!((output.status, output.stdout.as_str()), (2, ""), "{arguments}");
    }
}

/// Expositions for each rule of promtool.
const LINTED: [&str; 24] = [
    "# TYPE a gauge\na 1\n",
    "# HELP a A.\na 1\n",
    "# HELP a_milliseconds A.\n# TYPE a_milliseconds gauge\na_milliseconds 1\n",
    "# HELP a_kilometers_b A.\n# TYPE a_kilometers_b gauge\na_kilometers_b 1\n",
    "# HELP a_weeks A.\n# TYPE a_weeks gauge\na_weeks 1\n",
    "# HELP thermometers A.\n# TYPE thermometers gauge\nthermometers 1\n",
    "# HELP a_seconds A.\n# TYPE a_seconds gauge\na_seconds 1\n",
    "# HELP a A.\n# TYPE a counter\na 1\n",
    "# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n",
    "# HELP a_total A.\na_total 1\n",
    "# HELP a_bucket A.\n# TYPE a_bucket gauge\na_bucket 1\n",
    "# HELP a_count A.\n# TYPE a_count gauge\na_count 1\n",
    "# HELP a_sum_total A.\n# TYPE a_sum_total counter\na_sum_total 1\n",
    "# HELP a_sum A.\n# TYPE a_sum gauge\na_sum 1\n",
    "# HELP a A.\n# TYPE a gauge\na{le=\"1\"} 1\n",
    "# HELP a A.\n# TYPE a gauge\na{quantile=\"1\"} 1\n",
    "# HELP a A.\na{quantile=\"1\",le=\"1\"} 1\n",
    "# HELP a_gauge A.\n# TYPE a_gauge gauge\na_gauge 1\n",
    "# HELP a_counter_b A.\n# TYPE a_counter_b gauge\na_counter_b 1\n",
    "# HELP gauge A.\n# TYPE gauge gauge\ngauge 1\n",
    "# HELP a:b A.\n# TYPE a:b gauge\na:b 1\n",
    "# HELP aB A.\n# TYPE aB gauge\naB{cD=\"1\"} 1\n",
    "# HELP a_ms_b A.\n# TYPE a_ms_b gauge\na_ms_b 1\n",
    "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
];

#[test]
fn lint_reports_the_same_problems_as_promtool() {
    if Command::new("promtool").arg("--version").output().is_err() {
        skip("promtool is not installed");
        return;
    }
    let mut found = 0;
    for page in LINTED {
        let own = lint(page);
        let reference =
            run_with_input(Command::new("promtool").args(["check", "metrics"]), page.as_bytes());
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            // promtool repeats a problem for each abbreviation or label.
            lines.dedup();
            lines
        };
        assert_eq!(sorted(&own.stdout), sorted(&reference.stderr), "{page}");
        assert_eq!(own.status, reference.status, "{page}");
        found += usize::from(own.status == 3);
    }
    assert_eq!(found, 16);
}

#[test]
fn lint_checks_the_consistency_of_histograms() {
    let lint_histogram =
        |samples: &str| lint(&format!("# HELP a A.\n# TYPE a histogram\n{samples}"));
    for (samples, message) in [
        (
            "a_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_count 1\n",
            "a histogram buckets should be cumulative\n",
        ),
        (
            "a_bucket{le=\"+Inf\"} 1\na_count 2\n",
            "a the bucket \"+Inf\" of a histogram should equal its count\n",
        ),
        ("a_bucket{le=\"1\"} 1\na_count 1\n", "a histograms should have a bucket \"+Inf\"\n"),
        ("a_bucket{le=\"+Inf\"} 1\na_bucket{le=\"+Inf\"} 1\na_count 1\n", "a metric not unique\n"),
    ] {
        let output = lint_histogram(samples);
        assert_eq!((output.status, output.stdout.as_str()), (3, message), "{samples}");
    }
}

#[test]
fn lint_applies_the_names_of_the_text_format_to_openmetrics() {
    let page = "# TYPE a counter\n# HELP a A.\na_total 1\n# EOF\n";
    let mut command = multiprom();
    assert_eq!(
        success(run_with_input(
            command.args(["lint", "--from", "openmetrics", "-"]),
            page.as_bytes()
        )),
        ""
    );
}

#[test]
fn dumped_expositions_are_unchanged_by_convert() {
    let dir = TestDir::new("dumped");
    output_of(crate::support::example("test-worker").arg(dir.path()).arg("0"));
    for format in ["text", "openmetrics"] {
        let dumped =
            output_of(multiprom().args(["dump", "--format", format, "--dir"]).arg(dir.path()));
        assert_eq!(success(convert(format, format, &dumped)), dumped);
    }
}
