//! Decides when a removed series leaves the archive.
//!
//! A marked series is exported with its whole total if a living writer brings it back. So it may be dropped only if no
//! reader can export it any more, and a compactor cannot see all files at one instant: it is *buried* first. The burial
//! record hides it from every reader. A reader that has exported it has done so from an archive without the record,
//! and thus has read the entry of the living writer before the commit of the record. A check after that commit finds the
//! entry too, and takes the record away. Otherwise the check drops the series with the next commit.

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
use crate::file::layout::{Entries, EntryKind, RemovalState};
use crate::file::name::{FileKind, FileName, IdKind};
use crate::file::reader::{self, ReadError, Reader};
use crate::multiproc::fast_map::FastMap;
use crate::multiproc::listing::{ListedIn, retired_names, retired_source, series_names};
use crate::multiproc::liveness::{Liveness, Proof};
use crate::multiproc::merge::key_table::KeyTable;
use crate::multiproc::prober::{Freshness, Prober};

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

/// Which writers have a series without having removed it, in what the next archive does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Holders {
    /// A living writer, or one whose liveness is unknown.
    living: bool,
    /// A dead writer, or a section of the archive that cannot be folded.
    dead: bool,
}

/// What an entry says about a marked series, by its index.
#[derive(Clone, Copy)]
enum Watched {
    Value(usize),
    Removal(usize),
    Other,
}

/// The marked series in files of one kind.
struct WatchedKind {
    kind: FileKind,
    /// From ids of series to indices.
    by_series: FastMap<Box<[u8]>, usize>,
    keys: KeyTable<Watched>,
    series: Vec<WatchedSeries>,
}

#[derive(Default)]
struct WatchedSeries {
    holders: Holders,
    /// Whether the current file has an entry of the series.
    is_in_file: bool,
    is_removed_in_file: bool,
}

/// A check of the marked series of a directory.
pub(super) struct BurialCheck<'a> {
    pub(super) dir: &'a Path,
    pub(super) dirs: &'a LockedDir,
    pub(super) prober: &'a mut Prober,
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
                watched.end_file(|| Liveness::Dead);
            }
        }
        let is_complete = self.read_files(&mut watched, is_absorbed).is_ok();
        let mut has_buried = false;
        let has_changed = fold.change_marks(|kind, series, state| {
            let holders = watched.get(&kind).map(|it| it.holders(series)).unwrap_or_default();
            let next = next_state(state, holders, is_complete, step);
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
                    result = result.and(self.read_file(watched, &source, listed_in));
                }
            }
        }
        result
    }

    fn read_file(
        &mut self,
        watched: &mut WatchedKind,
        source: &str,
        listed_in: ListedIn,
    ) -> io::Result<()> {
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
        watched.end_file(|| {
            let id = FileName::parse(name).map_or(IdKind::Chosen, |it| reader::id_kind(it, &file));
            let proof = Proof::of(id, listed_in);
            self.prober.probe(name, &file, proof, Freshness::Now).liveness()
        });
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

/// The next state of a marked series. `is_complete` says whether all files could be read.
fn next_state(
    state: MarkState,
    holders: Holders,
    is_complete: bool,
    step: BurialStep,
) -> MarkState {
    match state {
        _ if holders.living => MarkState::Marked,
        MarkState::Marked if is_complete && step == BurialStep::Bury => MarkState::Buried,
        // Without the mark the values of the dead writer would be exported.
        MarkState::Buried if is_complete && !holders.dead => MarkState::Dropped,
        state => state,
    }
}

impl WatchedKind {
    fn new(kind: FileKind) -> WatchedKind {
        let (by_series, keys, series) = Default::default();
        WatchedKind { kind, by_series, keys, series }
    }

    fn add(&mut self, series: &[u8]) {
        self.by_series.entry(series.into()).or_insert_with(|| {
            self.series.push(WatchedSeries::default());
            self.series.len() - 1
        });
    }

    fn holders(&self, series: &[u8]) -> Holders {
        self.by_series.get(series).map(|at| self.series[*at].holders).unwrap_or_default()
    }

    /// Reads the entries of a file. Returns whether it is undamaged.
    fn read(&mut self, mut entries: Entries<'_>) -> bool {
        let mut keys = std::mem::take(&mut self.keys);
        keys.expect_from(0);
        let is_undamaged = loop {
            let (entry, watched) = match keys.next_expected(&mut entries) {
                Some(found) => found,
                None => match entries.next() {
                    None => break true,
                    Some(Err(_)) => break false,
                    Some(Ok(entry)) => {
                        let watched = keys.find(&entry).unwrap_or_else(|| {
                            let watched = self.watched(entry.kind, entry.key);
                            keys.insert(&entry, watched);
                            watched
                        });
                        (entry, watched)
                    }
                },
            };
            self.note(watched, entry.time.unwrap_or(0.0));
        };
        self.keys = keys;
        is_undamaged
    }

    /// Reads the entries of a section that is copied from archive to archive.
    fn read_opaque(&mut self, entries: &[OpaqueEntry]) {
        for entry in entries {
            let watched = self.watched(entry.kind, entry.key.trim_ascii_end());
            self.note(watched, entry.time);
        }
    }

    fn watched(&self, kind: EntryKind, key: &[u8]) -> Watched {
        let at = series_of(self.kind.metric_type(), key).and_then(|series| {
            let at = *self.by_series.get(&series.id)?;
            Some((at, series.is_lead))
        });
        match (kind, at) {
            (EntryKind::Value, Some((at, _))) => Watched::Value(at),
            (EntryKind::Removal, Some((at, true))) => Watched::Removal(at),
            _ => Watched::Other,
        }
    }

    fn note(&mut self, watched: Watched, time: f64) {
        match watched {
            Watched::Value(at) => self.series[at].is_in_file = true,
            Watched::Removal(at) => {
                let is_removed = RemovalState::of(time) != RemovalState::Present;
                self.series[at].is_removed_in_file |= is_removed;
            }
            Watched::Other => {}
        }
    }

    /// Ends the reading of a file. `liveness` finds out whether its writer lives, which is asked at most once.
    fn end_file(&mut self, liveness: impl FnOnce() -> Liveness) {
        let mut liveness = Some(liveness);
        let mut is_dead = false;
        for series in &mut self.series {
            let is_held = series.is_in_file && !series.is_removed_in_file;
            (series.is_in_file, series.is_removed_in_file) = (false, false);
            if !is_held {
                continue;
            }
            if let Some(liveness) = liveness.take() {
                is_dead = liveness() == Liveness::Dead;
            }
            series.holders.dead |= is_dead;
            series.holders.living |= !is_dead;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_whose_liveness_is_unknown_counts_as_living() {
        for (liveness, is_living) in
            [(Liveness::Alive, true), (Liveness::Unknown, true), (Liveness::Dead, false)]
        {
            let mut watched = WatchedKind::new(FileKind::Counter);
            watched.add(b"series");
            watched.note(Watched::Value(0), 1.0);
            watched.end_file(|| liveness);
            let holders = Holders { living: is_living, dead: !is_living };
            assert_eq!(watched.holders(b"series"), holders);
        }
    }

    #[test]
    fn nothing_is_buried_or_dropped_if_a_file_could_not_be_read() {
        let nobody = Holders::default();
        let living = Holders { living: true, dead: false };
        for (state, next) in [
            (MarkState::Marked, [MarkState::Buried, MarkState::Marked, MarkState::Marked]),
            (MarkState::Buried, [MarkState::Dropped, MarkState::Buried, MarkState::Marked]),
        ] {
            let of =
                |holders, is_complete| next_state(state, holders, is_complete, BurialStep::Bury);
            assert_eq!([of(nobody, true), of(nobody, false), of(living, false)], next);
        }
        let resolve = |state| next_state(state, nobody, true, BurialStep::Resolve);
        assert_eq!(resolve(MarkState::Marked), MarkState::Marked);
        assert_eq!(resolve(MarkState::Buried), MarkState::Dropped);
    }
}
