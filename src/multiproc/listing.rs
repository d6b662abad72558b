//! The names of the files of writers in a multiprocess directory.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::file::archive::RETIRED_DIR;
use crate::file::name::{CompanionName, FileKind, FileName, unknown_ending};
use crate::file::sys::{self, Stat};

/// Which directory lists a series file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListedIn {
    /// The multiprocess directory: the file has the name that its writer chose.
    Main,
    /// The directory of retired files: a compactor has renamed the file.
    Retired,
}

const SERIES_ENDING: &str = ".db";

/// The sorted names of the files in a directory.
#[derive(Default)]
pub(super) struct FileNames {
    /// Those that end in `.db` and are not hidden, and those that another release of multiprom may have given to files of an
    /// unknown kind: they are reported, and never changed.
    pub(super) series: Vec<OsString>,
    /// Those of companion files.
    pub(super) companions: Vec<OsString>,
}

/// Lists a directory.
pub(super) fn file_names(dir: &Path) -> io::Result<FileNames> {
    let mut names = FileNames::default();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let bytes = name.as_bytes();
        let is_series = bytes.ends_with(SERIES_ENDING.as_bytes()) && !bytes.starts_with(b".");
        if is_series || name.to_str().and_then(unknown_ending).is_some() {
            names.series.push(name);
        } else if name.to_str().is_some_and(|name| CompanionName::of_file(name).is_some()) {
            names.companions.push(name);
        }
    }
    for names in [&mut names.series, &mut names.companions] {
        names.sort_unstable();
        // A name that is removed and created again during the listing may be in it twice.
        names.dedup();
    }
    Ok(names)
}

/// The sorted names of the series files in a directory.
pub(super) fn series_names(dir: &Path) -> io::Result<Vec<OsString>> {
    file_names(dir).map(|names| names.series)
}

/// The sorted names of the series files in the directory of retired files, which may be missing. A symbolic link is not followed.
pub(super) fn retired_names(retired: &Path) -> io::Result<Vec<OsString>> {
    match fs::symlink_metadata(retired) {
        Ok(metadata) if metadata.is_dir() => match series_names(retired) {
            // A reset has removed the directory in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => names,
        },
        _ => Ok(Vec::new()),
    }
}

/// The name of a retired file in the list of sources of an archive.
pub(super) fn retired_source(name: &str) -> String {
    [RETIRED_DIR, "/", name].concat()
}

/// A name in a listing of series files.
pub(super) enum ListedName {
    /// The name of a series file, and the range of its id.
    Series {
        text: Box<str>,
        kind: FileKind,
        id: Range<usize>,
    },
    Other(OsString),
}

impl ListedName {
    pub(super) fn new(name: OsString) -> ListedName {
        let parsed = name.to_str().and_then(|text| Some((text, FileName::parse(text)?)));
        let Some((text, FileName { kind, id })) = parsed else {
            return ListedName::Other(name);
        };
        // The id is followed by the ending.
        let end = text.len() - SERIES_ENDING.len();
        ListedName::Series { text: text.into(), kind, id: end - id.len()..end }
    }

    /// The name of a series file and its parts; an error for any other name.
    pub(super) fn parsed(&self) -> Result<(&str, FileName<'_>), &OsStr> {
        match self {
            ListedName::Series { text, kind, id } => {
                Ok((text, FileName { kind: *kind, id: &text[id.clone()] }))
            }
            ListedName::Other(name) => Err(name),
        }
    }
}

/// The names in a directory, which stay valid until the directory changes.
pub(super) struct CachedListing {
    is_unchanged: bool,
    stat: Stat,
    /// Whether the time of change was old enough when the directory was listed: file systems keep time in
    /// steps, so a change in the same step leaves it as it is.
    is_settled: bool,
    series: Vec<ListedName>,
    companions: Vec<OsString>,
}

impl CachedListing {
    /// Lists a directory, or returns the cached listing if the directory has not changed since.
    pub(super) fn refresh(
        cached: Option<CachedListing>,
        dir: &Path,
        handle: &File,
    ) -> io::Result<CachedListing> {
        let stat = sys::stat(handle)?;
        match cached {
            Some(cached) if cached.stat == stat && cached.is_settled => {
                Ok(CachedListing { is_unchanged: true, ..cached })
            }
            _ => {
                let is_settled = stat.is_settled();
                let FileNames { series, companions } = file_names(dir)?;
                let series = series.into_iter().map(ListedName::new).collect();
                Ok(CachedListing { is_unchanged: false, stat, is_settled, series, companions })
            }
        }
    }

    /// The names of [`FileNames::series`].
    pub(super) fn series(&self) -> &[ListedName] {
        &self.series
    }

    pub(super) fn companions(&self) -> &[OsString] {
        &self.companions
    }

    /// Whether it is the listing of the scrape before.
    pub(super) fn is_unchanged(&self) -> bool {
        self.is_unchanged
    }
}
