//! Series of this process, and attributes of families, that are in no file of the directories of a scrape.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLockReadGuard};

use crate::file::companion::layout::CompanionEntries;
use crate::file::layout::{Entries, HEADER_LEN, Layout};
use crate::file::name::FileName;
use crate::file::place;
use crate::file::unwritten::{self, Unwritten};
use crate::file::words::bytes_of;
use crate::multiproc::listing::ListedIn;
use crate::multiproc::merge::attributes::AttributeList;
use crate::multiproc::merge::source::{FileOrigin, SourceState, StoredIn};
use crate::multiproc::merge::state::Merge;
use crate::multiproc::skipped::SkipCause;

/// Refreshes what this process computes for its files in these directories.
///
/// Returns `false` in the thread that refreshes such values: a collector of the program has called a collector of the
/// directory, whose families must not be written to the files that they were read from.
pub(crate) fn refresh_computed(dirs: &[PathBuf]) -> bool {
    if unwritten::has_writers() {
        for (_, dir) in place::distinct(dirs) {
            for writer in place::identity(dir).map(unwritten::writers).into_iter().flatten() {
                if unwritten::is_refreshing() {
                    return false;
                }
                writer.refresh();
            }
        }
    }
    true
}

/// The writers of this process in the directories of a scrape, which write none of their series to files while this lives:
/// a series is either in the files that are read or here.
pub(crate) struct UnwrittenSeries {
    /// With the index of the directory.
    writers: Vec<(usize, &'static dyn Unwritten, RwLockReadGuard<'static, ()>)>,
}

impl UnwrittenSeries {
    pub(crate) fn hold(dirs: &[PathBuf]) -> UnwrittenSeries {
        let mut writers = Vec::new();
        if unwritten::has_writers() {
            for (at, dir) in place::distinct(dirs) {
                let found = place::identity(dir).map(unwritten::writers);
                let found = found.into_iter().flatten();
                writers.extend(found.map(|writer| (at, writer, writer.hold())));
            }
        }
        UnwrittenSeries { writers }
    }

    /// Adds the series of one directory to a merge, after its files.
    pub(crate) fn add(&self, merge: &mut Merge, dir: &Path, at: usize) {
        let writers = self.writers.iter().filter(|(of, ..)| *of == at);
        for attributes in writers.clone().map(|(_, writer, _)| writer.unwritten_attributes()) {
            let mut list = AttributeList::default();
            // OK because the writer made the entries.
            for entry in CompanionEntries::new(&attributes, HEADER_LEN).flatten() {
                _ = list.add(&entry);
            }
            merge.attributes.add(&Arc::new(list));
        }
        for file in writers.flat_map(|(_, writer, _)| writer.unwritten_files()) {
            // OK because the writer made the name.
            let Some(name) = FileName::parse(&file.name) else {
                continue;
            };
            let origin = FileOrigin {
                dir,
                file: &file.name,
                name,
                identity: None,
                state: SourceState::Live,
                stored_in: StoredIn::File(ListedIn::Main),
            };
            let body = &bytes_of(&file.words)[HEADER_LEN..];
            let entries = Entries::assume(Layout::Own, body);
            if let (_, Err(error)) = merge.parse_and_apply(&origin, None, &&file.words[..], entries)
            {
                merge.skipped.add(&origin.path(), SkipCause::Entry(error));
            }
        }
    }
}
