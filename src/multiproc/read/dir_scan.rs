//! Reads a directory at one moment, while files are written, retired and compacted.
//!
//! The archive is read first; files that it lists are skipped, because it holds their values. The series files follow,
//! then the retired files. A file that is retired in between is seen in one of the two directories, or in both, where
//! it counts once. At the end the archive must still be the one that was read; otherwise files may have moved into its
//! successor, and everything is read again.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;
use std::vec::IntoIter;

use super::add_file::add_file;
use super::cached_archive::CachedArchive;
use super::cached_file::CachedFile;
use super::candidate::Candidate;
use super::companions::{CachedCompanion, add_companions};
use super::context::ReadContext;
use super::locate::{Located, locate};
use super::stats::DirectoryStats;
use crate::file::archive::RETIRED_DIR;
use crate::file::name::{FileName, IdKind, NameError};
use crate::file::place;
use crate::file::sys::Identity;
use crate::multiproc::archive_file::ArchiveFile;
use crate::multiproc::listing::{
    CachedListing, ListedIn, ListedName, retired_names, retired_source,
};
use crate::multiproc::skipped::SkipCause;

/// Whether a read has seen the directory at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consistency {
    Consistent,
    /// A compactor has replaced the archive, or a file was truncated: the directory must be read again.
    Disturbed,
}

/// What earlier scrapes have read of a directory.
#[derive(Default)]
pub(crate) struct CachedDirectory {
    listing: Option<CachedListing>,
    files: CachedFiles,
    retired: CachedFiles,
    companions: Vec<CachedCompanion>,
    archive: Option<CachedArchive>,
}

/// Cache entries in the order of file names.
type CachedFiles = Vec<Box<CachedFile>>;

/// Adds everything in a directory to the merge, in the order of names, the archive last.
pub(crate) fn read_directory(
    context: &mut ReadContext<'_>,
    dir: &Path,
    cached: &mut CachedDirectory,
) -> (Consistency, DirectoryStats) {
    let mut stats = DirectoryStats::default();
    let archive_path = ArchiveFile::path(dir);
    let before = match CachedArchive::refresh(cached.archive.take(), dir) {
        Ok(archive) => {
            cached.archive = archive;
            cached.archive.as_ref().map(CachedArchive::identity)
        }
        Err(cause) => {
            context.merge.skipped.add(&archive_path, cause);
            place::identity(&archive_path)
        }
    };
    let handle = match place::open(dir) {
        Ok(handle) => handle,
        Err(error) => {
            context.merge.skipped.add(dir, SkipCause::Directory(error));
            *cached = CachedDirectory::default();
            return (Consistency::Consistent, stats);
        }
    };
    context.prober.enter(dir, &handle);
    cached.listing = match CachedListing::refresh(cached.listing.take(), dir, &handle) {
        Ok(listing) => Some(listing),
        Err(error) => {
            context.merge.skipped.add(dir, SkipCause::Directory(error));
            None
        }
    };
    let (series, companion_names, is_listing_unchanged) = match &cached.listing {
        Some(listing) => (listing.series(), listing.companions(), listing.is_unchanged()),
        None => (&[][..], &[][..], false),
    };
    let retired_dir = dir.join(RETIRED_DIR);
    let mut scan = DirScan {
        context,
        is_listing_unchanged,
        archived: cached.archive.as_ref().map(CachedArchive::sources),
        stats: &mut stats,
        seen: Vec::new(),
        has_truncated: false,
    };
    let files = std::mem::take(&mut cached.files);
    cached.files = scan.add_files((dir, &handle), series, files);
    cached.retired = match retired_names(&retired_dir) {
        Ok(names) => {
            let names: Vec<ListedName> = names.into_iter().map(ListedName::new).collect();
            scan.add_retired(&retired_dir, &names, std::mem::take(&mut cached.retired))
        }
        Err(error) => {
            scan.context.merge.skipped.add(&retired_dir, SkipCause::Directory(error));
            CachedFiles::default()
        }
    };
    let companions = std::mem::take(&mut cached.companions);
    cached.companions = scan.add_companions((dir, &handle), companion_names, companions);
    let has_truncated = scan.has_truncated;
    if let Some(archive) = &mut cached.archive {
        stats.archive = archive.add(context.merge, dir);
    }
    // OK because an archive whose state cannot be read still exists.
    let now = place::find(&archive_path).unwrap_or(before);
    let is_consistent = now == before && !has_truncated;
    (if is_consistent { Consistency::Consistent } else { Consistency::Disturbed }, stats)
}

/// One read of a directory in progress.
struct DirScan<'a, 't> {
    context: &'a mut ReadContext<'t>,
    is_listing_unchanged: bool,
    /// The sources of the archive.
    archived: Option<&'a HashSet<Box<str>>>,
    stats: &'a mut DirectoryStats,
    /// The files that were read under the names that their writers chose.
    seen: Vec<(Identity, &'a str)>,
    has_truncated: bool,
}

impl<'a> DirScan<'a, '_> {
    fn add_files(
        &mut self,
        (dir, handle): (&Path, &File),
        names: &'a [ListedName],
        cached: CachedFiles,
    ) -> CachedFiles {
        let mut cached = cached.into_iter();
        let mut next = CachedFiles::with_capacity(names.len());
        for name in names {
            let Some((text, parsed)) = self.parsed(dir, name) else {
                continue;
            };
            if self.is_archived(text) {
                continue;
            }
            let candidate = Candidate {
                dir: handle,
                dir_path: dir,
                is_listing_unchanged: self.is_listing_unchanged,
                text,
                name: parsed,
                listed_in: ListedIn::Main,
            };
            let entry = take(&mut cached, text);
            prefetch_next(&cached);
            let Some(located) = locate(self.context, &candidate, entry) else {
                continue;
            };
            self.seen.push((located.stat.identity, text));
            next.extend(self.add(&candidate, located));
        }
        self.finish_files(&mut next);
        next
    }

    /// Adds the values of the last files, and removes those from the cache that were truncated while they were read.
    fn finish_files(&mut self, files: &mut CachedFiles) {
        if self.context.merge.finish_files() {
            self.has_truncated = true;
            files.retain(|file| !file.has_faulted());
        }
    }

    fn add_retired(
        &mut self,
        dir: &Path,
        names: &[ListedName],
        cached: CachedFiles,
    ) -> CachedFiles {
        let mut cached = cached.into_iter();
        let mut next = CachedFiles::default();
        let handle = match names {
            [] => return next,
            _ => place::open(dir),
        };
        let Ok(handle) = handle else {
            return next;
        };
        let seen: HashMap<Identity, &str> = self.seen.drain(..).collect();
        for name in names {
            let Some((text, parsed)) = self.parsed(dir, name) else {
                continue;
            };
            if self.is_archived(&retired_source(text)) {
                self.stats.retired += 1;
                continue;
            }
            let candidate = Candidate {
                dir: &handle,
                dir_path: dir,
                is_listing_unchanged: false,
                text,
                name: parsed,
                listed_in: ListedIn::Retired,
            };
            let entry = take(&mut cached, text);
            let Some(located) = locate(self.context, &candidate, entry) else {
                continue;
            };
            let former = FileName { kind: parsed.kind, id: parsed.process(IdKind::Unique) };
            let former = former.to_string();
            // The file was retired after it had been read under its former name.
            if seen.get(&located.stat.identity) == Some(&former.as_str()) {
                continue;
            }
            next.extend(self.add(&candidate, located));
        }
        self.finish_files(&mut next);
        next
    }

    fn add_companions(
        &mut self,
        (dir, handle): (&Path, &File),
        names: &[OsString],
        cached: Vec<CachedCompanion>,
    ) -> Vec<CachedCompanion> {
        let ReadContext { merge, reader, .. } = &mut *self.context;
        let is_archived = |name: &str| self.archived.is_some_and(|it| it.contains(name));
        add_companions((merge, reader), (dir, handle), names, is_archived, cached)
    }

    fn is_archived(&self, name: &str) -> bool {
        self.archived.is_some_and(|archived| archived.contains(name))
    }

    /// The name of a series file and its parts; `None` for any other name, which is reported.
    fn parsed<'n>(&mut self, dir: &Path, name: &'n ListedName) -> Option<(&'n str, FileName<'n>)> {
        name.parsed().map_err(|other| self.report_name(dir, other)).ok()
    }

    /// Reports a name that is not that of a series file.
    fn report_name(&mut self, dir: &Path, name: &OsStr) {
        let error = name.to_str().map_or(NameError::Foreign, NameError::of);
        self.context.merge.skipped.add(&dir.join(name), SkipCause::Name(error));
    }

    fn add(&mut self, candidate: &Candidate<'_>, located: Located) -> Option<Box<CachedFile>> {
        let len = located.stat.len;
        let added = add_file(self.context, candidate, located)?;
        self.stats.count(candidate.listed_in, added.verdict.liveness());
        self.stats.bytes += len;
        self.stats.entries += added.entries;
        self.has_truncated |= added.is_truncated;
        added.cached
    }
}

/// Takes the entry of a file out of a list in the order of names. Names must be asked for in that order.
fn take(cached: &mut IntoIter<Box<CachedFile>>, name: &str) -> Option<Box<CachedFile>> {
    while cached.as_slice().first().is_some_and(|entry| *entry.name < *name) {
        cached.next();
    }
    cached.as_slice().first().is_some_and(|entry| *entry.name == *name).then(|| cached.next())?
}

/// Prefetches what the next files of a list refer to.
fn prefetch_next(cached: &IntoIter<Box<CachedFile>>) {
    for (at, entry) in cached.as_slice().iter().take(CachedFile::PREFETCH_DISTANCE).enumerate() {
        entry.prefetch(at + 1);
    }
}
