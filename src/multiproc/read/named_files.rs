//! Series files that are named one by one, in place of a directory or beside one.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::cached_file;
use crate::file::name::FileName;
use crate::file::place;
use crate::file::reader::{self, Reader};
use crate::file::sys::Identity;
use crate::multiproc::merge::gauge::SourceState;
use crate::multiproc::merge::state::{Merge, Origin, Place};
use crate::multiproc::skipped::Cause;

/// The named files of a scrape. They count whether or not their writers live.
pub(crate) struct NamedFiles {
    /// The directories that are read completely.
    whole: Vec<Identity>,
    /// The directories of the files so far, with their numbers.
    dirs: HashMap<Identity, u32>,
    /// The files so far.
    seen: HashSet<Identity>,
}

/// The directory of a file.
pub(crate) fn parent(file: &Path) -> &Path {
    file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl NamedFiles {
    pub(crate) fn new(dirs: &[PathBuf]) -> NamedFiles {
        let whole = dirs.iter().filter_map(|dir| place::identity(dir)).collect();
        NamedFiles { whole, dirs: HashMap::new(), seen: HashSet::new() }
    }

    /// Adds a file of a directory with this number, unless it was added before under this or another name.
    pub(crate) fn add(&mut self, merge: &mut Merge, reader: &mut Reader, path: &Path, number: u32) {
        let file = path.file_name().and_then(|name| name.to_str());
        let Some((file, name)) = file.and_then(|file| Some((file, FileName::parse(file)?))) else {
            return merge.problems.add(path, Cause::UnknownName);
        };
        let dir = path.parent().unwrap_or(path);
        let found = place::identity(parent(path));
        if found.is_some_and(|found| self.whole.contains(&found)) {
            return;
        }
        merge.dir = found.map_or(number, |found| *self.dirs.entry(found).or_insert(number));
        let (state, place, identity) = (SourceState::Live, Place::File, None);
        let origin = Origin { dir, file, name, identity, state, place };
        match reader::open(path) {
            Ok(file) if place::identity_of(&file).is_ok_and(|it| !self.seen.insert(it)) => {}
            Ok(file) => cached_file::learn(merge, reader, &origin, &file),
            Err(error) => merge.problems.add(path, Cause::Read(error)),
        }
    }
}
