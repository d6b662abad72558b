//! `dump`: one merged exposition on standard output.

use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;

use super::args::{self, DumpArguments};
use super::patterns::EndOfPage;
use super::serve::Merging;
use super::{serve, told};
use crate::error::{Error, ErrorKind, Result};
use crate::exposition::Exposition;
use crate::multiproc::MultiProcessCollector;
use crate::registry::Registry;

pub(super) fn run(arguments: DumpArguments) -> Result<ExitCode> {
    let mut builder = MultiProcessCollector::builder();
    if arguments.files.is_empty() {
        for dir in args::directories(&arguments.dir)? {
            builder = builder.directory(dir);
        }
    }
    for file in &arguments.files {
        // One that is missing from a directory is no error: it has vanished. One that is named is.
        fs::symlink_metadata(file)
            .map_err(|error| Error::at(ErrorKind::SeriesFile, file, error))?;
        builder = builder.file(file);
    }
    let registry = Registry::new();
    let Merging { builder, patterns } = serve::configure(builder, arguments.merge);
    registry.register(builder.on_problem(serve::tell).build()?)?;
    registry.register(EndOfPage(patterns))?;
    let mut out = io::stdout().lock();
    told(
        Exposition::write(&registry, arguments.format.format(), &mut out)
            .and_then(|()| out.flush()),
    )?;
    Ok(ExitCode::SUCCESS)
}
