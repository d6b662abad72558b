//! Reads a directory as it is at one moment, while files are written, retired and compacted.
//!
//! The archive is read first: files that it lists are skipped, for it holds what is in them. Then come the
//! series files, then the retired ones: a file that is retired meanwhile is seen in one of the two places, or
//! in both, where it counts once. At the end the archive must still be the one that was read; else files may
//! have gone into the one of now, and everything is read again.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use super::archive::ArchiveFile;
use super::directory::{retired_names, series_names};
use super::gauge::SourceState;
use super::liveness::Liveness;
use super::merge::Merge;
use super::problem::Cause;
use crate::file::archive::Archive;
use crate::file::name::FileName;
use crate::file::place;
use crate::file::reader;
use crate::file::sys::Identity;

/// The directory in which files of the Python client wait for their compaction.
pub(super) const RETIRED_DIR: &str = "retired";

/// What became of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Consistent,
    /// A compactor came in between.
    Moved,
}

/// Whether live gauges of dead processes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeadGauges {
    Skipped,
    /// Another mode than that of their files may count them.
    Read,
}

/// What a directory has besides samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Census {
    pub(super) alive: u64,
    pub(super) dead: u64,
    pub(super) unknown: u64,
    pub(super) archive: Option<ArchiveFigures>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ArchiveFigures {
    pub(super) generation: u64,
    /// Unix seconds.
    pub(super) written: f64,
    pub(super) bytes: u64,
    pub(super) series: u64,
}

impl Census {
    fn count(&mut self, liveness: Liveness) {
        match liveness {
            Liveness::Alive => self.alive += 1,
            Liveness::Dead => self.dead += 1,
            Liveness::Unknown => self.unknown += 1,
        }
    }
}

/// Adds everything in a directory to a merge, in the order of names, the archive last.
pub(super) fn read_directory(
    merge: &mut Merge,
    dir: &Path,
    dead_gauges: DeadGauges,
) -> (Attempt, Census) {
    let mut census = Census::default();
    let archive_path = ArchiveFile::path(dir);
    let (archive, before) = match ArchiveFile::open(dir) {
        Ok(archive) => {
            let before = archive.as_ref().map(ArchiveFile::identity);
            (archive, before)
        }
        Err(cause) => {
            merge.problems.add(&archive_path, cause);
            (None, place::identity(&archive_path))
        }
    };
    let decoded = archive.as_ref().and_then(|archive| match archive.decode() {
        Ok(decoded) => Some(decoded),
        Err(error) => {
            merge.problems.add(&archive_path, Cause::Archive(error));
            None
        }
    });
    let absorbed: HashSet<&str> = decoded.iter().flat_map(Archive::sources).collect();
    let names = series_names(dir).unwrap_or_else(|error| {
        merge.problems.add(dir, Cause::Directory(error));
        Vec::new()
    });
    let mut scan = Scan { merge, dead_gauges, absorbed, census: &mut census, seen: Vec::new() };
    scan.add_files(dir, &names);
    let retired = dir.join(RETIRED_DIR);
    match retired_names(&retired) {
        Ok(names) => scan.add_retired(&retired, &names),
        Err(error) => scan.merge.problems.add(&retired, Cause::Directory(error)),
    }
    let mut series = 0;
    for section in decoded.iter().flat_map(Archive::sections) {
        match section {
            Ok(section) => {
                series += section.entries.clone().count() as u64;
                merge.add_section(&archive_path, section);
            }
            Err(error) => merge.problems.add(&archive_path, Cause::Archive(error)),
        }
    }
    if let (Some(archive), Some(decoded)) = (&archive, decoded) {
        census.archive = Some(ArchiveFigures {
            generation: decoded.generation,
            written: decoded.written,
            bytes: archive.len(),
            series,
        });
    }
    // OK because an archive that cannot be asked for is still there.
    let now = place::find(&archive_path).unwrap_or(before);
    (if now == before { Attempt::Consistent } else { Attempt::Moved }, census)
}

struct Scan<'a> {
    merge: &'a mut Merge,
    dead_gauges: DeadGauges,
    /// What the archive holds.
    absorbed: HashSet<&'a str>,
    census: &'a mut Census,
    /// The files that were read under their first name.
    seen: Vec<(Identity, &'a str)>,
}

impl<'a> Scan<'a> {
    fn add_files(&mut self, dir: &Path, names: &'a [OsString]) {
        for name in names {
            let path = dir.join(name);
            let Some((text, parsed)) = self.parse(&path, name) else {
                continue;
            };
            if self.absorbed.contains(text) {
                continue;
            }
            let Some(file) = self.open(&path) else {
                continue;
            };
            if let Ok(identity) = place::identity_of(&file) {
                self.seen.push((identity, text));
            }
            self.add(&path, &file, parsed, parsed.is_own());
        }
    }

    fn add_retired(&mut self, dir: &Path, names: &[OsString]) {
        let seen: HashMap<Identity, &str> = match names {
            [] => return,
            _ => self.seen.drain(..).collect(),
        };
        for name in names {
            let path = dir.join(name);
            let Some((text, parsed)) = self.parse(&path, name) else {
                continue;
            };
            if self.absorbed.contains(retired_name(text).as_str()) {
                continue;
            }
            let Some(file) = self.open(&path) else {
                continue;
            };
            let former = FileName { kind: parsed.kind, id: parsed.process() }.to_string();
            let identity = place::identity_of(&file).ok();
            // It was retired after it had been read.
            if identity.is_some_and(|identity| seen.get(&identity) == Some(&former.as_str())) {
                continue;
            }
            self.add(&path, &file, parsed, false);
        }
    }

    fn parse<'n>(&mut self, path: &Path, name: &'n OsString) -> Option<(&'n str, FileName<'n>)> {
        let parsed = name.to_str().and_then(|text| Some((text, FileName::parse(text)?)));
        if parsed.is_none() {
            self.merge.problems.add(path, Cause::UnknownName);
        }
        parsed
    }

    fn open(&mut self, path: &Path) -> Option<File> {
        match reader::open(path) {
            Ok(file) => Some(file),
            Err(error) => {
                if !error.is_vanished() {
                    self.merge.problems.add(path, Cause::Read(error));
                }
                None
            }
        }
    }

    fn add(&mut self, path: &Path, file: &File, name: FileName<'_>, has_lock: bool) {
        let liveness = Liveness::of(file, has_lock);
        self.census.count(liveness);
        let is_dead = liveness == Liveness::Dead;
        // A process of the Python client has created it and not yet given it its size.
        if liveness == Liveness::Alive && !has_lock && is_empty(file) {
            return;
        }
        let is_live_gauge = name.kind.mode().is_some_and(crate::model::GaugeMode::is_live);
        if is_dead && is_live_gauge && self.dead_gauges == DeadGauges::Skipped {
            return;
        }
        let state = if is_dead { SourceState::Dead } else { SourceState::Live };
        self.merge.add_file(path, file, name, state);
    }
}

fn is_empty(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
}

/// The name of a retired file among the sources of an archive.
pub(super) fn retired_name(name: &str) -> String {
    [RETIRED_DIR, "/", name].concat()
}
