//! Decides when a removed series leaves the archive.
//!
//! A marked series is exported with its whole total if a living writer brings it back. So it may be dropped only if no
//! reader can export it any more, and a compactor cannot see all files at one instant: it is *buried* first. The burial
//! record hides it from every reader. A reader that has exported it has done so from an archive without the record, and
//! thus has read the entry of the living writer before the commit of the record. A check after that commit finds the
//! entry, and takes the record away. Otherwise the check drops the series with the next commit.
//!
//! An entry of any writer, living or dead, removed or not, prevents the burial and the drop: its value is in earlier
//! totals, and would be exported again without the share of the archive.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::fold::{Fold, OpaqueEntry};
use super::folded_section::MarkState;
use super::locked_dir::LockedDir;
use super::series::series_of;
use crate::file::archive::RETIRED_DIR;
use crate::file::layout::{Entries, LayoutError};
use crate::file::name::{FileKind, FileName};
use crate::file::reader::{self, ReadError, Reader};
use crate::multiproc::fast_map::FastMap;
use crate::multiproc::listing::{ListedIn, retired_names, retired_source, series_names};
use crate::multiproc::merge::key_table::KeyTable;

/// How often series are buried at most. A check reads all files of counters, histograms and summaries.
const INTERVAL: Duration = Duration::from_secs(60);

/// What a check may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BurialStep {
    /// Buries series, and decides about buried ones.
    Bury,
    /// Only decides about buried ones.
    Resolve,
}

/// When the next checks of directories are due.
pub(super) struct BurialSchedule {
    /// How often series are buried at most.
    pub(super) interval: Duration,
    checked: HashMap<PathBuf, LastCheck>,
}

struct LastCheck {
    /// When series were buried last, or could have been.
    at: Instant,
    /// Whether series were buried by the pass before. The next pass decides about them, so that a series that comes
    /// back meanwhile is not hidden for long.
    has_buried: bool,
}

impl Default for BurialSchedule {
    fn default() -> BurialSchedule {
        BurialSchedule { interval: INTERVAL, checked: HashMap::new() }
    }
}

impl BurialSchedule {
    /// Whether no check was made.
    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        self.checked.is_empty()
    }

    /// The step that is due; `None` if none is.
    fn due(&self, dir: &Path) -> Option<BurialStep> {
        match self.checked.get(dir) {
            Some(last) if last.at.elapsed() < self.interval => {
                last.has_buried.then_some(BurialStep::Resolve)
            }
            _ => Some(BurialStep::Bury),
        }
    }

    fn note(&mut self, dir: &Path, step: BurialStep, has_buried: bool) {
        match self.checked.get_mut(dir) {
            Some(last) if step == BurialStep::Resolve => last.has_buried = false,
            _ => {
                let last = LastCheck { at: Instant::now(), has_buried };
                self.checked.insert(dir.to_owned(), last);
            }
        }
    }
}

/// The marked series in files of one kind.
struct WatchedKind {
    kind: FileKind,
    /// From ids of series to indices.
    by_series: FastMap<Box<[u8]>, usize>,
    /// From the bytes of keys to indices; `None` for other series.
    keys: KeyTable<Option<usize>>,
    /// Whether a series has an entry in what the next archive does not fold, by its index.
    has_entry: Vec<bool>,
}

/// A check of the marked series of a directory.
pub(super) struct BurialCheck<'a> {
    pub(super) dir: &'a Path,
    pub(super) dirs: &'a LockedDir,
    pub(super) reader: &'a mut Reader,
}

impl BurialCheck<'_> {
    /// Changes the states of marked series in the next archive, if that is due. `is_absorbed` says whether the next
    /// archive holds a file, by its name as a source. Returns whether a state has changed.
    pub(super) fn run(
        mut self,
        schedule: &mut BurialSchedule,
        fold: &mut Fold,
        now: f64,
        is_absorbed: impl Fn(&str) -> bool,
    ) -> bool {
        let Some(step) = schedule.due(self.dir) else {
            return false;
        };
        let mut watched: FastMap<FileKind, WatchedKind> = FastMap::default();
        for (kind, series, _) in fold.marks() {
            watched.entry(kind).or_insert_with(|| WatchedKind::new(kind)).add(series);
        }
        for (kind, entries) in fold.opaque() {
            if let Some(watched) = watched.get_mut(&kind) {
                watched.read_opaque(entries);
            }
        }
        let is_complete = self.read_files(&mut watched, is_absorbed).is_ok();
        let mut has_buried = false;
        let has_changed = fold.change_marks(now, |kind, series, state| {
            let has_entry = watched.get(&kind).is_some_and(|it| it.has_entry(series));
            let next = next_state(state, has_entry || !is_complete, step);
            has_buried |= (state, next) == (MarkState::Marked, MarkState::Buried);
            next
        });
        schedule.note(self.dir, step, has_buried);
        has_changed
    }

    /// Reads the files that the next archive does not hold. Fails if one cannot be read that other readers may be able to
    /// read.
    fn read_files(
        &mut self,
        watched: &mut FastMap<FileKind, WatchedKind>,
        is_absorbed: impl Fn(&str) -> bool,
    ) -> io::Result<()> {
        // Listed after the writers of absorbed files were proven dead: a series may pass from a process that ends to one
        // that has just started. The main directory is first, as by readers; only this compactor moves files.
        let main = series_names(self.dir)?;
        let retired = retired_names(&self.dir.join(RETIRED_DIR))?;
        for (names, listed_in) in [(main, ListedIn::Main), (retired, ListedIn::Retired)] {
            for name in names.into_iter().filter_map(|name: OsString| name.into_string().ok()) {
                let Some(parsed) = FileName::parse(&name) else { continue };
                let Some(watched) = watched.get_mut(&parsed.kind) else { continue };
                let source = match listed_in {
                    ListedIn::Main => name,
                    ListedIn::Retired => retired_source(&name),
                };
                if !is_absorbed(&source) {
                    self.read_file(watched, &source)?;
                }
            }
        }
        Ok(())
    }

    fn read_file(&mut self, watched: &mut WatchedKind, source: &str) -> io::Result<()> {
        let (dir, name) = self.dirs.resolve(source)?;
        let file = match reader::open_at(dir, name) {
            Ok(file) => file,
            Err(error) if error.is_vanished() || error.is_not_a_file() => return Ok(()),
            Err(ReadError::Open(error) | ReadError::Read(error)) => return Err(error),
            Err(_) => return Ok(()),
        };
        // A file that cannot be read to its end is read once more, as by readers.
        if !self.read_entries(watched, &file)? {
            self.read_entries(watched, &file)?;
        }
        Ok(())
    }

    /// Reads the entries of a file, or those before the first damaged one. Returns whether it is undamaged.
    fn read_entries(&mut self, watched: &mut WatchedKind, file: &File) -> io::Result<bool> {
        match self.reader.read(file).and_then(|read| read.entries()) {
            Ok(entries) => Ok(watched.read(entries)),
            Err(ReadError::Open(error) | ReadError::Read(error)) => Err(error),
            Err(ReadError::Layout(error @ LayoutError::VersionUnknown { .. })) => {
                Err(io::Error::other(error))
            }
            Err(ReadError::Layout(_)) => Ok(false),
            // Readers ignore it too.
            Err(ReadError::NotRegular | ReadError::Linked | ReadError::Empty) => Ok(true),
        }
    }
}

/// The next state of a marked series. `is_elsewhere` says whether a file that the next archive does not hold has, or may
/// have, an entry of it.
fn next_state(state: MarkState, is_elsewhere: bool, step: BurialStep) -> MarkState {
    match (state, step) {
        _ if is_elsewhere => MarkState::Marked,
        (MarkState::Marked, BurialStep::Bury) => MarkState::Buried,
        (MarkState::Buried, _) => MarkState::Dropped,
        _ => state,
    }
}

impl WatchedKind {
    fn new(kind: FileKind) -> WatchedKind {
        let (by_series, keys, has_entry) = Default::default();
        WatchedKind { kind, by_series, keys, has_entry }
    }

    fn add(&mut self, series: &[u8]) {
        self.by_series.entry(series.into()).or_insert_with(|| {
            self.has_entry.push(false);
            self.has_entry.len() - 1
        });
    }

    fn has_entry(&self, series: &[u8]) -> bool {
        self.by_series.get(series).is_some_and(|at| self.has_entry[*at])
    }

    /// Reads the entries of a file. Returns whether it is undamaged.
    fn read(&mut self, mut entries: Entries<'_>) -> bool {
        let mut keys = std::mem::take(&mut self.keys);
        keys.expect_from(0);
        let is_undamaged = loop {
            match keys.next_or_add(&mut entries, |entry| self.series(entry.key)) {
                Some(Ok((_, series))) => self.note(series),
                Some(Err(_)) => break false,
                None => break true,
            }
        };
        self.keys = keys;
        is_undamaged
    }

    /// Reads the entries of a section that is copied from archive to archive.
    fn read_opaque(&mut self, entries: &[OpaqueEntry]) {
        for entry in entries {
            self.note(self.series(entry.key.trim_ascii_end()));
        }
    }

    /// The index of the series of a sample, if it is marked.
    fn series(&self, key: &[u8]) -> Option<usize> {
        let series = series_of(self.kind.metric_type(), key)?;
        self.by_series.get(&series.id).copied()
    }

    fn note(&mut self, series: Option<usize>) {
        if let Some(series) = series {
            self.has_entry[series] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MarkState::{Buried, Dropped, Marked};

    #[test]
    fn a_series_is_buried_and_then_dropped_unless_it_is_elsewhere() {
        for (state, step, next) in [
            (Marked, BurialStep::Bury, Buried),
            (Marked, BurialStep::Resolve, Marked),
            (Buried, BurialStep::Bury, Dropped),
            (Buried, BurialStep::Resolve, Dropped),
        ] {
            assert_eq!(next_state(state, false, step), next);
            assert_eq!(next_state(state, true, step), Marked);
        }
    }
}
