//! `dump`: one merged exposition on standard output.

use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;

use super::args::{self, DumpArguments};
use super::merging::{Merging, configure, report_problem};
use super::output::check_output;
use super::patterns::UnusedPatternReport;
use crate::error::{Error, ErrorKind, Result};
use crate::exposition::{Exposition, Negotiated};
use crate::multiproc::MultiProcessCollector;
use crate::registry::Registry;

pub(super) fn run(arguments: DumpArguments) -> Result<ExitCode> {
    let mut builder = MultiProcessCollector::builder();
    if arguments.files.is_empty() {
        for dir in args::directories(&arguments.dir)? {
            builder = builder.directory(dir);
        }
    }
    for file in args::files(&arguments.files)? {
        // A file that has disappeared from a directory is not an error; a missing file that is named is one.
        fs::symlink_metadata(file)
            .map_err(|error| Error::at(ErrorKind::SeriesFile, file, error))?;
        builder = builder.file(file);
    }
    let registry = Registry::new();
    let Merging { builder, patterns, shows_created } = configure(builder, arguments.merge);
    registry.register(builder.on_problem(report_problem).build()?)?;
    registry.register(UnusedPatternReport(patterns))?;
    let format = Negotiated::from(arguments.format.format());
    let format = if shows_created { format.created() } else { format };
    let mut out = io::stdout().lock();
    check_output(Exposition::write(&registry, format, &mut out).and_then(|()| out.flush()))?;
    Ok(ExitCode::SUCCESS)
}
