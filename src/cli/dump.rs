//! `dump`: one merged exposition on standard output.

use std::fs;
use std::io::{self, Write as _};
use std::mem;
use std::process::ExitCode;

use super::args::{self, DumpArguments};
use super::gathering::{Reporting, collector_of, registry};
use super::output::check_output;
use crate::error::{Error, ErrorKind, Result};
use crate::exposition::{Exposition, Negotiated};

pub(super) fn run(arguments: DumpArguments) -> Result<ExitCode> {
    let dirs =
        if arguments.files.is_empty() { args::directories(&arguments.dir)? } else { Vec::new() };
    let mut builder = collector_of(dirs);
    for file in args::files(&arguments.files)? {
        // A file that has disappeared from a directory is not an error; a missing file that is named is one.
        fs::symlink_metadata(file)
            .map_err(|error| Error::at(ErrorKind::SeriesFile, file, error))?;
        builder = builder.file(file);
    }
    let shows_created = arguments.merge.created;
    let registry = registry(builder, arguments.merge, Reporting::EachTime)?;
    let format = Negotiated::from(arguments.format.format());
    let format = if shows_created { format.created() } else { format };
    let mut out = io::stdout().lock();
    check_output(Exposition::write(&registry, format, &mut out).and_then(|()| out.flush()))?;
    // The process ends, so the tables of the merge need not be freed piece by piece.
    mem::forget(registry);
    Ok(ExitCode::SUCCESS)
}
