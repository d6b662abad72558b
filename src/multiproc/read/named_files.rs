//! Series files that are named one by one, in place of a directory or in addition to one.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::companions;
use super::parse_file::parse_file;
use crate::file::name::{CompanionName, FileName, NameError};
use crate::file::place;
use crate::file::reader::{self, Reader};
use crate::file::sys::Identity;
use crate::multiproc::listing::ListedIn;
use crate::multiproc::merge::source::{FileOrigin, SourceState, StoredIn};
use crate::multiproc::merge::state::Merge;
use crate::multiproc::skipped::SkipCause;

/// The named files of a scrape. They count whether or not their writers live.
pub(crate) struct NamedFiles {
    /// The directories that are read as a whole.
    whole_dirs: Vec<Identity>,
    /// The directories of the files so far, with their indices.
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
        let whole_dirs = dirs.iter().filter_map(|dir| place::identity(dir)).collect();
        NamedFiles { whole_dirs, dirs: HashMap::new(), seen: HashSet::new() }
    }

    /// Adds a file in the directory with this index. A file that was added before, by this or another name, is
    /// skipped.
    pub(crate) fn add(
        &mut self,
        merge: &mut Merge,
        reader: &mut Reader,
        path: &Path,
        dir_index: u32,
    ) {
        let file = path.file_name().and_then(|name| name.to_str());
        if file.is_some_and(|file| CompanionName::of_file(file).is_some()) {
            return NamedFiles::add_companion(merge, reader, path);
        }
        let Some((file, name)) = file.and_then(|file| Some((file, FileName::parse(file)?))) else {
            let error = file.map_or(NameError::Foreign, NameError::of);
            return merge.skipped.add(path, SkipCause::Name(error));
        };
        let dir = path.parent().unwrap_or(path);
        let found = place::identity(parent(path));
        if found.is_some_and(|found| self.whole_dirs.contains(&found)) {
            return;
        }
        merge.dir = found.map_or(dir_index, |found| *self.dirs.entry(found).or_insert(dir_index));
        let (state, stored_in) = (SourceState::Live, StoredIn::File(ListedIn::Main));
        let origin = FileOrigin { dir, file, name, identity: None, state, stored_in };
        match reader::open(path) {
            Ok(file) if place::identity_of(&file).is_ok_and(|it| !self.seen.insert(it)) => {}
            Ok(file) => {
                parse_file(merge, reader, &origin, &file, None, None);
            }
            Err(error) => merge.skipped.add(path, SkipCause::Read(error)),
        }
    }

    /// Adds a companion, which may be of a directory that is read as a whole: its units are the same.
    fn add_companion(merge: &mut Merge, reader: &mut Reader, path: &Path) {
        match reader::open(path) {
            Ok(file) => _ = companions::add_companion(merge, reader, path, "", &file, None),
            Err(error) => merge.skipped.add(path, SkipCause::Read(error)),
        }
    }
}
