//! `check`: verifies every entry of every file.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use super::args::{self, CheckArguments};
use super::output::{print, print_message};
use crate::error::{Error, Result};
use crate::file::archive::ARCHIVE_NAME;
use crate::file::place;
use crate::multiproc::{FileInfo, inspect_archive, inspect_file, list_files};

/// Counts of the verified files.
#[derive(Default)]
struct Findings {
    files: usize,
    entries: usize,
    damaged: usize,
}

pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode> {
    let mut findings = Findings::default();
    if arguments.files.is_empty() {
        for (_, dir) in place::distinct(&args::directories(&arguments.dir)?) {
            list_files(dir)?.iter().for_each(|file| findings.add_file(file));
            findings.add_archive(dir)?;
        }
    }
    for file in args::files(&arguments.files)? {
        match (file.file_name() == Some(OsStr::new(ARCHIVE_NAME)), file.parent()) {
            (true, Some(dir)) => findings.add_archive(dir)?,
            _ => findings.add_file(&inspect_file(file)?),
        }
    }
    let Findings { files, entries, damaged } = findings;
    print(format!("{files} files, {entries} entries, {damaged} damaged\n").as_bytes())?;
    Ok(ExitCode::from(u8::from(damaged > 0)))
}

impl Findings {
    fn add(&mut self, entries: usize, error: Option<&Error>) {
        self.files += 1;
        self.entries += entries;
        if let Some(error) = error {
            print_message(error);
            self.damaged += 1;
        }
    }

    fn add_file(&mut self, file: &FileInfo) {
        self.add(file.entries, file.error.as_ref());
    }

    fn add_archive(&mut self, dir: &Path) -> Result<()> {
        if let Some(archive) = inspect_archive(dir)? {
            self.add(archive.series, archive.error.as_ref());
        }
        Ok(())
    }
}
