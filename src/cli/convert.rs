//! `convert` and `lint`: expositions from a file or standard input.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::ExitCode;

use super::args::{ConvertArguments, LintArguments};
use super::output::print;
use crate::error::{Error, ErrorKind, Result};
use crate::exposition::{Exposition, Format, Negotiated};
use crate::model::{
    FamilyMetadata, FamilySink, Gatherer as _, Labels, MetricType, NativeHistogram, Sample,
    SampleKind,
};
use crate::parse::{Families, OwnedFamily, OwnedSample, ParseError, Parser, Syntax, lint};

/// The exit status for a valid exposition with problems, as in promtool.
const LINT_FOUND: u8 = 3;

pub(super) fn convert(arguments: &ConvertArguments) -> Result<ExitCode> {
    let syntax = arguments.from.syntax();
    let families = with_source(arguments.file.as_deref(), |source| {
        Parser::new(syntax, source).collect::<std::result::Result<Vec<_>, _>>()
    })?;
    let format = arguments.to.format();
    let mut families = Families(families).joined();
    if matches!(format, Format::OpenMetrics | Format::OpenMetrics2) {
        families = with_created(families);
    }
    let body = Exposition::encode(&families, Negotiated::from(format).created()).body;
    // One format may allow what another one cannot represent: negative counters, histograms without `+Inf`,
    // names whose escaped forms are equal.
    let (output, syntax) = match format {
        Format::Text | Format::TextUtf8 => ("text output", Some(Syntax::Text)),
        Format::OpenMetrics => ("OpenMetrics output", Some(Syntax::OpenMetrics)),
        Format::Protobuf => ("protobuf output", Some(Syntax::Protobuf)),
        _ => ("output", None),
    };
    if let Some(syntax) = syntax {
        let (mut written, mut kept) = (SampleCount(0), SampleCount(0));
        families.gather(&mut written);
        Parser::new(syntax, &body[..])
            .read_into(&mut kept)
            .map_err(|error| error.in_source(output))?;
        if kept.0 < written.0 {
            let lost = written.0 - kept.0;
            let message = format!("{lost} of {} samples do not fit into the format", written.0);
            return Err(Error::at(ErrorKind::Exposition, output, message));
        }
    }
    print(&body)?;
    Ok(ExitCode::SUCCESS)
}

/// Turns gauges `x_created` of a counter, histogram or summary `x`, which the Python client writes in text, into
/// its start timestamps: OpenMetrics reserves that name for them.
fn with_created(families: Families) -> Families {
    let name = |family: &OwnedFamily| format!("{}{}", family.name, SampleKind::Created.suffix());
    let has_times = |family: &&OwnedFamily| family.metric_type.has(SampleKind::Created);
    let owners: HashSet<String> = families.0.iter().filter(has_times).map(name).collect();
    let is_time = |family: &OwnedFamily| {
        family.metric_type == MetricType::Gauge && owners.contains(&family.name)
    };
    let (times, mut kept): (Vec<_>, Vec<_>) = families.0.into_iter().partition(is_time);
    let mut times: HashMap<String, Vec<OwnedSample>> =
        times.into_iter().map(|family| (family.name, family.samples)).collect();
    for family in kept.iter_mut().filter(|family| family.metric_type.has(SampleKind::Created)) {
        let found = times.remove(&name(family)).unwrap_or_default().into_iter();
        let created = found.map(|sample| OwnedSample { kind: SampleKind::Created, ..sample });
        family.samples.extend(created);
    }
    Families(kept).joined()
}

pub(super) fn lint(arguments: &LintArguments) -> Result<ExitCode> {
    let syntax = arguments.from.syntax();
    let problems = with_source(arguments.file.as_deref(), |source| lint::check(syntax, source))?;
    let mut lines = String::new();
    for problem in &problems {
        lines.push_str(&problem.to_string().replace('\n', "\\n"));
        lines.push('\n');
    }
    print(lines.as_bytes())?;
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(LINT_FOUND) })
}

/// Opens the file, or standard input if there is none or it is `-`. Errors name the source.
fn with_source<T>(
    file: Option<&Path>,
    read: impl FnOnce(&mut dyn BufRead) -> std::result::Result<T, ParseError>,
) -> Result<T> {
    let Some(file) = file.filter(|file| *file != Path::new("-")) else {
        return read(&mut io::stdin().lock()).map_err(|error| error.in_source("standard input"));
    };
    let opened = File::open(file).map_err(|error| Error::at(ErrorKind::Io, file, error))?;
    let result = read(&mut BufReader::with_capacity(1 << 16, opened));
    result.map_err(|error| error.in_source(file))
}

/// Counts samples and native histograms.
struct SampleCount(usize);

impl FamilySink for SampleCount {
    fn family(&mut self, _head: &FamilyMetadata<'_>) {}

    fn sample(&mut self, _sample: &Sample<'_>) {
        self.0 += 1;
    }

    fn native_histogram(&mut self, _labels: Labels<'_>, _histogram: &NativeHistogram<'_>) {
        self.0 += 1;
    }
}
