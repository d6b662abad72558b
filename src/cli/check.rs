//! `check`: verifies every entry of every file.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use super::args::{self, CheckArguments};
use super::output::{print, print_message};
use super::table::{Object, table};
use crate::error::{Error, Result};
use crate::file::archive::ARCHIVE_NAME;
use crate::file::place;
use crate::multiproc::{FileInfo, inspect_archive, inspect_file, list_files};

const HEADINGS: [&str; 3] = ["FILE", "ENTRIES", "RESULT"];

pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode> {
    let mut checked = Vec::new();
    if arguments.files.is_empty() {
        for (_, dir) in place::distinct(&args::directories(&arguments.dir)?) {
            checked.extend(list_files(dir)?.into_iter().map(Checked::from));
            checked.extend(check_archive(dir)?);
        }
    }
    for file in args::files(&arguments.files)? {
        match (file.file_name() == Some(OsStr::new(ARCHIVE_NAME)), file.parent()) {
            (true, Some(dir)) => checked.extend(check_archive(dir)?),
            _ => checked.push(inspect_file(file)?.into()),
        }
    }
    let damaged = checked.iter().filter(|file| file.error.is_some()).count();
    if arguments.json {
        print(&checked.iter().map(Checked::json).collect::<Vec<_>>().concat())?;
    } else {
        checked
            .iter()
            .filter_map(|file| file.error.as_ref())
            .for_each(|error| print_message(error));
        let entries: usize = checked.iter().map(|file| file.entries).sum();
        let table = table(HEADINGS, checked.iter().map(Checked::row));
        let files = checked.len();
        print(format!("{table}{files} files, {entries} entries, {damaged} damaged\n").as_bytes())?;
    }
    Ok(ExitCode::from(u8::from(damaged > 0)))
}

fn check_archive(dir: &Path) -> Result<Option<Checked>> {
    let archive = inspect_archive(dir)?;
    Ok(archive.map(|archive| Checked {
        path: archive.path.to_string_lossy().into_owned(),
        entries: archive.series,
        error: archive.error,
    }))
}

/// A file whose entries were verified.
struct Checked {
    path: String,
    entries: usize,
    error: Option<Error>,
}

impl From<FileInfo> for Checked {
    fn from(file: FileInfo) -> Checked {
        let path = file.path.to_string_lossy().into_owned();
        Checked { path, entries: file.entries, error: file.error }
    }
}

impl Checked {
    fn row(&self) -> [String; 3] {
        let result = if self.error.is_some() { "damaged" } else { "ok" };
        [self.path.clone(), self.entries.to_string(), result.to_owned()]
    }

    fn json(&self) -> Vec<u8> {
        let mut object = Object::begin();
        object
            .text("path", Some(&self.path))
            .value("entries", self.entries)
            .value("damaged", self.error.is_some())
            .text("error", self.error.as_ref().map(|error| format!("{error:#}")).as_deref());
        object.end()
    }
}
