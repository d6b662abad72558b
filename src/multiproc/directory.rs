//! The files of a multiprocess directory.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::liveness::{Liveness, Proof};
use super::prober::{Freshness, Prober};
use super::problem::UNKNOWN_NAME;
use crate::error::{Error, ErrorKind, Result};
use crate::file::archive::RETIRED_DIR;
use crate::file::name::{FileName, IdKind};
use crate::file::place::{self, PlaceError};
use crate::file::reader::{self, Reader};
use crate::model::GaugeMode;

/// The names that may be those of series files, in order: they end in `.db` and are not hidden.
pub(super) fn series_names(dir: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let bytes = name.as_bytes();
        if bytes.ends_with(b".db") && !bytes.starts_with(b".") {
            names.push(name);
        }
    }
    names.sort_unstable();
    // One that goes and comes again while the directory is read may be listed twice.
    names.dedup();
    Ok(names)
}

/// The same of the directory for retired files, which may be missing, and is not followed where it is a link.
pub(super) fn retired_names(retired: &Path) -> io::Result<Vec<OsString>> {
    match fs::symlink_metadata(retired) {
        Ok(metadata) if metadata.is_dir() => match series_names(retired) {
            // A reset has removed it in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => names,
        },
        _ => Ok(Vec::new()),
    }
}

/// What directories are called in labels: by their paths, and no two alike, although paths need not be UTF-8.
pub(super) fn names(dirs: &[PathBuf]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(dirs.len());
    for dir in dirs {
        let path = dir.display().to_string();
        let numbered = (2..).map(|number| format!("{path}#{number}"));
        let mut free = std::iter::once(path.clone()).chain(numbered);
        names.extend(free.find(|name| !names.contains(name)));
    }
    names
}

/// Whether a directory may be on a file system on which nothing was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileSystems {
    Supported,
    Any,
}

/// Checks that a path is a directory that can be listed.
pub(super) fn check(dir: &Path, allowed: FileSystems) -> Result<()> {
    let missing = |error| Error::at(ErrorKind::Directory, dir, error);
    fs::read_dir(dir).map(drop).map_err(missing)?;
    match place::check(dir) {
        Err(cause @ PlaceError::FileSystem(_)) if allowed == FileSystems::Supported => {
            Err(Error::at(ErrorKind::Unsupported, dir, cause))
        }
        _ => Ok(()),
    }
}

/// What is known of one file of a multiprocess directory.
#[derive(Debug)]
#[non_exhaustive]
pub struct FileInfo {
    /// The path.
    pub path: PathBuf,
    /// `counter`, `gauge`, `histogram` or `summary`; `None` where the name is not that of a series
    /// file.
    pub metric_type: Option<&'static str>,
    /// The gauge mode.
    pub mode: Option<&'static str>,
    /// Which process wrote it: the pid, or what the writer uses in its place.
    pub id: String,
    /// Whether it is a file of the Python client that waits for its compaction.
    pub is_retired: bool,
    /// Whether that process lives.
    pub liveness: Liveness,
    /// `own`, `L0` to `L3` for the layouts of the Python client, or `empty`; `None` where it cannot be
    /// read.
    pub layout: Option<&'static str>,
    /// Entries that can be read.
    pub entries: usize,
    /// Bytes in use.
    pub used: u64,
    /// Bytes of the file.
    pub len: u64,
    /// Why the file, or the rest of it, cannot be read.
    pub error: Option<Error>,
}

/// Looks at every series file of a multiprocess directory, in the order of names, retired ones last.
///
/// # Errors
///
/// Of kind [`Directory`](ErrorKind::Directory) where the directory cannot be listed. Files that cannot be
/// read are in the list.
pub fn list_files(dir: &Path) -> Result<Vec<FileInfo>> {
    list_files_by(dir, &mut Prober::default())
}

/// The same, where the prober may have more ways to ask.
pub(crate) fn list_files_by(dir: &Path, prober: &mut Prober) -> Result<Vec<FileInfo>> {
    let failed = |dir: &Path, error| Error::at(ErrorKind::Directory, dir, error);
    let mut reader = Reader::default();
    let mut files = Vec::new();
    let names = series_names(dir).map_err(|error| failed(dir, error))?;
    prober.enter(dir, &place::open(dir).map_err(|error| failed(dir, error))?);
    let mut list = |dir: &Path, names: &[OsString], is_retired| {
        let paths = names.iter().map(|name| dir.join(name));
        files.extend(paths.filter_map(|it| inspect(it, is_retired, &mut reader, prober)));
    };
    list(dir, &names, false);
    let retired = dir.join(RETIRED_DIR);
    let names = retired_names(&retired).map_err(|error| failed(&retired, error))?;
    list(&retired, &names, true);
    Ok(files)
}

/// Looks at one series file, whose name tells what it holds.
///
/// # Errors
///
/// Of kind [`SeriesFile`](ErrorKind::SeriesFile) where there is no such file. What is wrong with a file is
/// told in [`FileInfo::error`].
pub fn inspect_file(path: impl AsRef<Path>) -> Result<FileInfo> {
    let path = path.as_ref();
    let mut prober = Prober::default();
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    if let Ok(handle) = place::open(dir) {
        prober.enter(dir, &handle);
    }
    inspect(path.to_owned(), false, &mut Reader::default(), &mut prober).ok_or_else(|| {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        Error::at(ErrorKind::SeriesFile, path, missing)
    })
}

/// `None` for a file that was removed meanwhile.
fn inspect(
    path: PathBuf,
    is_retired: bool,
    reader: &mut Reader,
    prober: &mut Prober,
) -> Option<FileInfo> {
    let name = path.file_name().and_then(OsStr::to_str).map(str::to_owned);
    let parsed = name.as_deref().and_then(FileName::parse);
    let mut info = FileInfo {
        metric_type: parsed.map(|name| name.kind.metric_type().as_str()),
        mode: parsed.and_then(|name| name.kind.mode()).map(GaugeMode::as_str),
        id: parsed.map_or_else(String::new, |name| name.writer(IdKind::Unique).to_owned()),
        is_retired,
        liveness: Liveness::Unknown,
        layout: None,
        entries: 0,
        used: 0,
        len: 0,
        error: None,
        path,
    };
    let file = match reader::open(&info.path) {
        Ok(file) => file,
        Err(error) if error.is_vanished() => return None,
        Err(error) => {
            info.error = Some(Error::at(ErrorKind::SeriesFile, &info.path, error));
            return Some(info);
        }
    };
    info.len = file.metadata().map_or(0, |metadata| metadata.len());
    let read = reader.read(&file);
    match read.and_then(|snapshot| Ok((snapshot.used, snapshot.entries()?))) {
        Ok((used, entries)) => {
            info.used = u64::from(used);
            info.layout = Some(entries.layout().as_str());
            for entry in entries {
                match entry {
                    Ok(_) => info.entries += 1,
                    Err(error) => {
                        info.error = Some(Error::at(ErrorKind::SeriesFile, &info.path, error));
                    }
                }
            }
            let id = parsed.map_or(IdKind::Chosen, |name| reader::id_kind(name, &file));
            let name = name.as_deref().unwrap_or_default();
            let proof = Proof::of(id, is_retired);
            info.liveness = prober.ask(name, &file, proof, Freshness::Recent).liveness();
        }
        Err(error) => info.error = Some(Error::at(ErrorKind::SeriesFile, &info.path, error)),
    }
    if parsed.is_none() && info.error.is_none() {
        info.error = Some(Error::at(ErrorKind::SeriesFile, &info.path, UNKNOWN_NAME));
    }
    Some(info)
}
