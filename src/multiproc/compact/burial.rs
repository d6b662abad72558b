//! Decides when a removed series leaves the archive.
//!
//! The values of a marked series are dropped when no other file has an entry of it, removed or not: else the process of that
//! file could export it again, and the total would have fallen, or would count what it counted before once more. A
//! compactor cannot see all files at one instant, so the series is *buried* first: the burial record hides it from every
//! reader. A reader that has exported the series together with the entry of another process has done so from an archive
//! without the record, and thus the entry exists before the commit of the record. A check after that commit finds the
//! entry, and takes the record away. Otherwise the check drops the series with the next commit.

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
use crate::file::layout::{Entries, EntryKind};
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
    keys: KeyTable<Option<usize>>,
    /// Whether what the next archive does not hold has an entry of the series.
    is_held: Vec<bool>,
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
        let has_changed = fold.change_marks(|kind, series, state| {
            let is_held = watched.get(&kind).is_none_or(|it| it.is_held(series));
            let next = next_state(state, is_held || !is_complete, step);
            has_buried |= (state, next) == (MarkState::Marked, MarkState::Buried);
            next
        });
        schedule.note(self.dir, step, has_buried);
        has_changed
    }

    /// Reads the files that the next archive does not hold. An error means that a file could not be read which readers may
    /// be able to read.
    fn read_files(
        &mut self,
        watched: &mut FastMap<FileKind, WatchedKind>,
        is_absorbed: impl Fn(&str) -> bool,
    ) -> io::Result<()> {
        let mut result = Ok(());
        // The main directory is listed first, as by readers. Only this compactor moves files.
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
                    // The others are read nevertheless: they may show that a series is in use.
                    result = result.and(self.read_file(watched, &source));
                }
            }
        }
        result
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
            Err(ReadError::Layout(_)) => Ok(false),
            // Readers ignore it too.
            Err(ReadError::NotRegular | ReadError::Linked | ReadError::Empty) => Ok(true),
        }
    }
}

/// The next state of a marked series. `is_held` says whether another file has an entry of it, or could not be read.
fn next_state(state: MarkState, is_held: bool, step: BurialStep) -> MarkState {
    match state {
        // A series that was buried can be exported again.
        _ if is_held => MarkState::Marked,
        MarkState::Marked if step == BurialStep::Bury => MarkState::Buried,
        MarkState::Buried => MarkState::Dropped,
        state => state,
    }
}

impl WatchedKind {
    fn new(kind: FileKind) -> WatchedKind {
        let (by_series, keys, is_held) = Default::default();
        WatchedKind { kind, by_series, keys, is_held }
    }

    fn add(&mut self, series: &[u8]) {
        self.by_series.entry(series.into()).or_insert_with(|| {
            self.is_held.push(false);
            self.is_held.len() - 1
        });
    }

    fn is_held(&self, series: &[u8]) -> bool {
        self.by_series.get(series).is_none_or(|at| self.is_held[*at])
    }

    /// Reads the entries of a file. Returns whether it is undamaged.
    fn read(&mut self, mut entries: Entries<'_>) -> bool {
        let mut keys = std::mem::take(&mut self.keys);
        keys.expect_from(0);
        let is_undamaged = loop {
            let watched = match keys.next_expected(&mut entries) {
                Some((_, watched)) => watched,
                None => match entries.next() {
                    None => break true,
                    Some(Err(_)) => break false,
                    Some(Ok(entry)) => keys.find(&entry).unwrap_or_else(|| {
                        let watched = self.watched(entry.kind, entry.key);
                        keys.insert(&entry, watched);
                        watched
                    }),
                },
            };
            self.note(watched);
        };
        self.keys = keys;
        is_undamaged
    }

    /// Reads the entries of a section that is copied from archive to archive.
    fn read_opaque(&mut self, entries: &[OpaqueEntry]) {
        for entry in entries {
            let watched = self.watched(entry.kind, entry.key.trim_ascii_end());
            self.note(watched);
        }
    }

    /// The index of the marked series that an entry has a value of.
    fn watched(&self, kind: EntryKind, key: &[u8]) -> Option<usize> {
        let series = series_of(self.kind.metric_type(), key)?;
        let at = self.by_series.get(&series.id)?;
        (kind == EntryKind::Value).then_some(*at)
    }

    fn note(&mut self, watched: Option<usize>) {
        if let Some(at) = watched {
            self.is_held[at] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_buried_and_then_dropped_unless_a_file_has_it_or_cannot_be_read() {
        let bury = |state, is_held| next_state(state, is_held, BurialStep::Bury);
        assert_eq!(bury(MarkState::Marked, false), MarkState::Buried);
        assert_eq!(bury(MarkState::Buried, false), MarkState::Dropped);
        for state in [MarkState::Marked, MarkState::Buried] {
            assert_eq!(bury(state, true), MarkState::Marked);
        }
        let resolve = |state| next_state(state, false, BurialStep::Resolve);
        assert_eq!(resolve(MarkState::Marked), MarkState::Marked);
        assert_eq!(resolve(MarkState::Buried), MarkState::Dropped);
    }
}
