//! Reads a directory as it is at one moment, while files are written, retired and compacted.
//!
//! The archive is read first: files that it lists are skipped, for it holds what is in them. Then come the
//! series files, then the retired ones: a file that is retired meanwhile is seen in one of the two places, or
//! in both, where it counts once. At the end the archive must still be the one that was read; else files may
//! have gone into the one of now, and everything is read again.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::iter::Peekable;
use std::path::Path;

use super::cached_archive::{ArchiveFile, KnownArchive};
use super::cached_file::{Candidate, Found, Known, Tools};
use crate::file::archive::RETIRED_DIR;
use crate::file::name::{FileName, IdKind};
use crate::file::place;
use crate::file::sys::{self, Identity, Stat};
use crate::multiproc::inspect::{retired_names, series_names};
use crate::multiproc::liveness::Liveness;
use crate::multiproc::merge::state::Place;
use crate::multiproc::skipped::Cause;

/// What became of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Consistent,
    /// A compactor came in between.
    Moved,
}

/// Whether live gauges of dead processes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeadGauges {
    Skipped,
    /// Another mode than that of their files may count them.
    Read,
}

/// What a directory has besides samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census {
    pub(crate) alive: u64,
    pub(crate) dead: u64,
    pub(crate) unknown: u64,
    pub(crate) archive: Option<ArchiveFigures>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ArchiveFigures {
    pub(crate) generation: u64,
    /// Unix seconds.
    pub(crate) written: f64,
    pub(crate) bytes: u64,
    pub(crate) series: u64,
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

/// What is known of a directory.
#[derive(Default)]
pub(crate) struct KnownDirectory {
    listing: Option<Listing>,
    files: KnownFiles,
    retired: KnownFiles,
    archive: Option<KnownArchive>,
}

/// What is known of files, in the order of their names.
type KnownFiles = Vec<Box<Known>>;

/// The names of a directory, which are the same until the directory is changed.
struct Listing {
    /// Whether it is the one of the scrape before.
    is_same: bool,
    stat: Stat,
    /// Whether it was then that a later change would be seen.
    is_settled: bool,
    names: Vec<OsString>,
}

impl Listing {
    /// The names that are in a directory now.
    fn look(dir: &Path, handle: &File, known: Option<Listing>) -> io::Result<Listing> {
        let stat = sys::stat(handle)?;
        match known {
            Some(known) if known.stat == stat && known.is_settled => {
                Ok(Listing { is_same: true, ..known })
            }
            _ => {
                let is_settled = stat.is_settled();
                let names = series_names(dir)?;
                Ok(Listing { is_same: false, stat, is_settled, names })
            }
        }
    }
}

/// Adds everything in a directory to a merge, in the order of names, the archive last.
pub(crate) fn read_directory(
    tools: &mut Tools<'_>,
    dir: &Path,
    known: &mut KnownDirectory,
) -> (Attempt, Census) {
    let mut census = Census::default();
    let archive_path = ArchiveFile::path(dir);
    let before = match KnownArchive::look(dir, known.archive.take()) {
        Ok(archive) => {
            known.archive = archive;
            known.archive.as_ref().map(KnownArchive::identity)
        }
        Err(cause) => {
            tools.merge.problems.add(&archive_path, cause);
            place::identity(&archive_path)
        }
    };
    let handle = match place::open(dir) {
        Ok(handle) => handle,
        Err(error) => {
            tools.merge.problems.add(dir, Cause::Directory(error));
            *known = KnownDirectory::default();
            return (Attempt::Consistent, census);
        }
    };
    tools.prober.enter(dir, &handle);
    known.listing = match Listing::look(dir, &handle, known.listing.take()) {
        Ok(listing) => Some(listing),
        Err(error) => {
            tools.merge.problems.add(dir, Cause::Directory(error));
            None
        }
    };
    let (names, is_same_listing) = known
        .listing
        .as_ref()
        .map_or((&[][..], false), |listing| (&listing.names, listing.is_same));
    let retired_dir = dir.join(RETIRED_DIR);
    let absorbed = known.archive.as_ref().map(KnownArchive::sources);
    let census_of = &mut census;
    let (seen, moved) = (Vec::new(), false);
    let mut scan = Scan { tools, is_same_listing, absorbed, census: census_of, seen, moved };
    known.files = scan.add_files((dir, &handle), names, std::mem::take(&mut known.files));
    known.retired = match retired_names(&retired_dir) {
        Ok(names) => scan.add_retired(&retired_dir, &names, std::mem::take(&mut known.retired)),
        Err(error) => {
            scan.tools.merge.problems.add(&retired_dir, Cause::Directory(error));
            KnownFiles::default()
        }
    };
    let has_moved = scan.moved;
    if let Some(archive) = &mut known.archive {
        census.archive = archive.add(tools.merge, dir);
    }
    // OK because an archive that cannot be asked for is still there.
    let now = place::find(&archive_path).unwrap_or(before);
    let is_consistent = now == before && !has_moved;
    (if is_consistent { Attempt::Consistent } else { Attempt::Moved }, census)
}

struct Scan<'a, 't> {
    tools: &'a mut Tools<'t>,
    is_same_listing: bool,
    /// What the archive holds.
    absorbed: Option<&'a HashSet<Box<str>>>,
    census: &'a mut Census,
    /// The files that were read under their first name.
    seen: Vec<(Identity, &'a str)>,
    /// Whether a file ended before what it had held.
    moved: bool,
}

impl<'a> Scan<'a, '_> {
    fn add_files(
        &mut self,
        (dir, handle): (&Path, &File),
        names: &'a [OsString],
        known: KnownFiles,
    ) -> KnownFiles {
        let mut known = known.into_iter().peekable();
        let mut now = KnownFiles::with_capacity(names.len());
        for name in names {
            let Some((text, parsed)) = self.parse(dir, name) else {
                continue;
            };
            if self.is_absorbed(text) {
                continue;
            }
            let candidate = Candidate {
                dir: handle,
                dir_path: dir,
                is_same_listing: self.is_same_listing,
                text,
                name: parsed,
                place: Place::File,
            };
            let Some(found) = self.tools.find(&candidate, take(&mut known, text)) else {
                continue;
            };
            self.seen.push((found.stat.identity, text));
            now.extend(self.add(&candidate, found));
        }
        now
    }

    fn add_retired(&mut self, dir: &Path, names: &[OsString], known: KnownFiles) -> KnownFiles {
        let mut known = known.into_iter().peekable();
        let mut now = KnownFiles::default();
        let handle = match names {
            [] => return now,
            _ => place::open(dir),
        };
        let Ok(handle) = handle else {
            return now;
        };
        let seen: HashMap<Identity, &str> = self.seen.drain(..).collect();
        for name in names {
            let Some((text, parsed)) = self.parse(dir, name) else {
                continue;
            };
            if self.is_absorbed(&retired_name(text)) {
                continue;
            }
            let candidate = Candidate {
                dir: &handle,
                dir_path: dir,
                is_same_listing: false,
                text,
                name: parsed,
                place: Place::Retired,
            };
            let Some(found) = self.tools.find(&candidate, take(&mut known, text)) else {
                continue;
            };
            let former = FileName { kind: parsed.kind, id: parsed.process(IdKind::Unique) };
            let former = former.to_string();
            // It was retired after it had been read.
            if seen.get(&found.stat.identity) == Some(&former.as_str()) {
                continue;
            }
            now.extend(self.add(&candidate, found));
        }
        now
    }

    fn is_absorbed(&self, name: &str) -> bool {
        self.absorbed.is_some_and(|absorbed| absorbed.contains(name))
    }

    fn parse<'n>(&mut self, dir: &Path, name: &'n OsString) -> Option<(&'n str, FileName<'n>)> {
        let parsed = name.to_str().and_then(|text| Some((text, FileName::parse(text)?)));
        if parsed.is_none() {
            self.tools.merge.problems.add(&dir.join(name), Cause::UnknownName);
        }
        parsed
    }

    fn add(&mut self, file: &Candidate<'_>, found: Found) -> Option<Box<Known>> {
        let added = self.tools.add(file, found)?;
        self.census.count(added.verdict.liveness());
        self.moved |= added.is_truncated;
        added.known
    }
}

/// Takes what is known of a file out of a list in the order of names, where names are asked for in that order.
fn take(known: &mut Peekable<impl Iterator<Item = Box<Known>>>, name: &str) -> Option<Box<Known>> {
    while known.next_if(|known| *known.name < *name).is_some() {}
    known.next_if(|known| *known.name == *name)
}

/// The name of a retired file among the sources of an archive.
pub(crate) fn retired_name(name: &str) -> String {
    [RETIRED_DIR, "/", name].concat()
}
