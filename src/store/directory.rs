//! The series files of this process in one directory.

mod in_memory;
mod lost;
mod removal;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use super::check_pace::CheckPace;
use super::companion::{Companion, CompanionPlace};
use super::contention::Budget;
use super::dropped::{self, Fate};
use super::fork::{self, PerProcess};
use super::gate::Gate;
use super::keys::Keys;
use super::naming::Naming;
use super::options::DirectoryOptions;
use super::own_counters::{OwnCounters, UnwrittenCounter};
use super::place_check::{PlaceCheck, unusable};
use super::refresher::{self, RefreshGroup};
use super::removals::Removals;
use super::series::{AttributeKind, Opened, Rebind};
use super::unwritten::{self, UnwrittenSeries};
use super::waiting::{MAX_WAIT, Retry, WaitingSeries};
use crate::error::{Chain, Result};
use crate::file::forks::{self, ForkWait};
use crate::file::name::{FileKind, WriterId};
use crate::file::place::{self, DirectoryState, PlaceError};
use crate::file::sys::Identity;
use crate::file::unwritten::{UnwrittenFile, add_writer};
use crate::file::write_error::{Refused, WriteError};
use crate::file::writer::{NewEntry, Room, SeriesWriter, draw_id, encoded};
use crate::file::{Entries, SampleCells};
use crate::logging;
use crate::model::own_metrics::{
    DROPPED_SERIES, FAILED_REFRESHES, IGNORED_RECORDINGS, IGNORED_VALUES, OwnMetric,
    RECOVERED_SERIES,
};

type FastHashMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A directory to which this process and its children write series files, each its own.
pub(crate) struct DirectoryStore {
    path: PathBuf,
    options: DirectoryOptions,
    place_check: PlaceCheck,
    naming: Naming,
    files: PerProcess<Mutex<Files>>,
    /// How often this process and its ancestors have closed their files. Changed under the lock of the slow path.
    closed: AtomicU64,
    retry: Retry,
    /// What each process computes for its files.
    refreshed: &'static RefreshGroup,
    /// Locked for reading by scrapes of this process, and for writing while series are moved into files. Only scrapes
    /// wait for it.
    moving: PerProcess<RwLock<()>>,
    budget: PerProcess<Budget>,
}

/// The files and series of one process.
#[derive(Default)]
struct Files {
    /// The directory in which the files were created.
    dir: Option<Identity>,
    /// The directory when the names of the files were looked up last.
    checked: Option<DirectoryState>,
    pace: CheckPace,
    /// The buffer in which the keys of a series are encoded; empty in between.
    keys: Keys,
    /// Drawn with the first file.
    id: Option<WriterId>,
    /// The index in `writers` of the file that new series go to.
    current: FastHashMap<FileKind, usize>,
    /// All files that are in use, in the order of their creation. A kind has several if a descriptor was lost or a file is
    /// full.
    writers: Vec<(FileKind, SeriesWriter)>,
    /// The last failure to create a file; cleared when one is created.
    creation: Refused,
    /// The directory when that failed.
    failed_in: Option<Identity>,
    /// The only entry of every gauge.
    gauges: FastHashMap<(FileKind, Box<[u8]>), GaugeCells>,
    own: OwnCounters,
    removals: Removals,
    companion: Companion,
    /// Series that are not in a file yet, in the order of their first use.
    waiting: Vec<WaitingSeries>,
    /// Series that cannot be in a file.
    unwritable: Vec<UnwrittenSeries>,
    /// Every series that has cells here.
    bound: Vec<&'static dyn Rebind>,
}

/// The cells of a gauge, and its gate while the series waits.
type GaugeCells = (SampleCells, Option<&'static Gate>);

impl DirectoryStore {
    /// Checks that the directory is usable. Files are created later, with the first sample of a type.
    pub(crate) fn open(path: &Path, options: DirectoryOptions) -> Result<&'static DirectoryStore> {
        let store = DirectoryStore::new(path, options);
        store.place_check.check_writable(path)?;
        store.options.check()?;
        forks::watch_forks();
        // Absolute, as programs may change their working directory.
        let path =
            fs::canonicalize(path).map_err(|error| unusable(path, PlaceError::Open(error)))?;
        Ok(DirectoryStore { path, ..store }.leak())
    }

    /// Accepts a directory that cannot be used yet. Series wait until it can.
    pub(crate) fn open_later(path: &Path, options: DirectoryOptions) -> &'static DirectoryStore {
        forks::watch_forks();
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        DirectoryStore::new(&path, options).leak()
    }

    fn leak(self) -> &'static DirectoryStore {
        let store = Box::leak(Box::new(self));
        add_writer(store);
        store
    }

    fn new(path: &Path, options: DirectoryOptions) -> DirectoryStore {
        logging::note_standard_error();
        let refreshed = RefreshGroup::new(options.chosen_refresh_interval());
        DirectoryStore {
            path: path.to_owned(),
            options,
            place_check: PlaceCheck::default(),
            naming: Naming::new(),
            files: PerProcess::new(),
            closed: AtomicU64::new(0),
            retry: Retry::new(),
            refreshed: Box::leak(Box::new(refreshed)),
            moving: PerProcess::new(),
            budget: PerProcess::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that files can be created in the directory now. Its file system is checked until that succeeds.
    pub(crate) fn check(&self) -> Result<()> {
        self.place_check.check_writable(&self.path)
    }

    fn moving(&self) -> &'static RwLock<()> {
        self.moving.get_or_create(|| RwLock::new(()))
    }

    fn files(&self) -> MutexGuard<'static, Files> {
        let files = self.files.get_or_create(|| Mutex::new(Files::default()));
        files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the function of [`process_id`](DirectoryOptions::process_id), unless this process has done so. Never called
    /// under a lock.
    pub(crate) fn prepare(&self) {
        if self.options.has_process_id() && self.naming.ask(&self.options) {
            // Writes the series that were recorded meanwhile.
            self.retry.schedule_now();
        }
    }

    /// Returns the name of this process; `Unnamed` until the function of `process_id` has returned.
    fn process_name(&self) -> Result<Cow<'static, str>, WriteError> {
        if self.options.has_process_id() {
            return self.naming.get().map(Cow::Borrowed).ok_or(WriteError::Unnamed);
        }
        Ok(Cow::Owned(std::process::id().to_string()))
    }

    fn check_to_write(&self) -> Result<(), WriteError> {
        self.place_check.check_to_write(&self.path)
    }

    /// See [`Store::generation`](super::Store::generation).
    pub(crate) fn generation(&self) -> u64 {
        fork::epoch() << 32 | self.closed.load(Ordering::Relaxed)
    }

    /// Registers a series that has cells here or is about to get them.
    pub(crate) fn bound(&self, series: &'static dyn Rebind) {
        refresher::note_recording(self.refreshed);
        self.files().bound.push(series);
    }

    /// Detects a lost directory or lost files, and retries waiting series if a retry is due. Called under the lock of the
    /// slow path.
    pub(crate) fn refresh(&self) {
        self.files().refresh(self);
    }

    /// Counts ignored recordings and values, and failed refreshes, in a file. Called under the lock of the slow path.
    pub(crate) fn count_ignored(&self) {
        self.files().count_ignored(self);
    }

    /// Retries waiting series if a retry is due. Called by recordings of waiting series, under no lock.
    pub(crate) fn retry(&self) {
        if self.retry.claim()
            && let Some(_lock) = fork::lock()
        {
            self.retry.schedule_now();
            self.files().refresh(self);
        }
    }

    /// Opens new cells for a series; a gauge that has cells keeps them. Called under the lock of the slow path, after
    /// [`refresh`](DirectoryStore::refresh).
    pub(crate) fn open_cells(
        &self,
        kind: FileKind,
        keys: impl FnOnce(&mut Keys),
        time: f64,
    ) -> Opened {
        self.files().with_keys(keys, time, |files, keys| {
            if kind.mode().is_some()
                && let Some(key) = keys.iter().next()
                && let Some((cells, gate)) = files.gauges.get(&(kind, key.into()))
            {
                return Opened { cells: vec![*cells], gate: *gate };
            }
            files.open_new(self, kind, keys.entries())
        })
    }

    /// Opens further cells for a series that has some, in a file only. Called under the lock of the slow path, after
    /// [`refresh`](DirectoryStore::refresh).
    pub(crate) fn open_more(
        &self,
        kind: FileKind,
        keys: impl FnOnce(&mut Keys),
        time: f64,
    ) -> Option<Vec<SampleCells>> {
        self.files().with_keys(keys, time, |files, keys| {
            files.append_entries(self, kind, keys.entries(), Room::Ordinary).ok()
        })
    }

    /// The most sets of cells of a series that threads own.
    pub(crate) fn max_owned(&self) -> usize {
        self.options.max_owned()
    }

    /// See [`Store::budget`](super::Store::budget).
    pub(crate) fn budget(&self) -> &'static Budget {
        self.budget.get_or_create(Budget::new)
    }

    /// Writes the unit or the type of a family to the companion file, once in each process. If that fails, it is tried
    /// again when further series are opened. Called under the lock of the slow path.
    pub(crate) fn write_attribute(
        &self,
        attribute: AttributeKind,
        family: &str,
        text: &'static str,
    ) {
        let mut files = self.files();
        files.companion.add(attribute, family, text);
        files.write_companion(self);
    }

    /// What each process computes for its files.
    pub(crate) fn refreshed(&self) -> &'static RefreshGroup {
        self.refreshed
    }

    /// Closes all files of this process. Called under the lock of the slow path.
    pub(crate) fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
        let mut files = self.files();
        // Waiting series are retried without a pause.
        files.creation.clear();
        for (_, writer) in &mut files.writers {
            writer.end_pause();
        }
        files.companion.end_pause();
        files.write_waiting(self);
        files.write_companion(self);
        files.unbind();
        SeriesWriter::close_all(files.writers.drain(..).map(|(_, writer)| writer));
        std::mem::take(&mut files.companion).close();
        // Gauges start from 0 in new files. The other waiting series can still be written to those.
        let (gauges, waiting): (Vec<_>, Vec<_>) =
            files.waiting.drain(..).partition(|waiting| waiting.series.kind.mode().is_some());
        for gauge in gauges {
            gauge.gate.close();
        }
        let unwritable = std::mem::take(&mut files.unwritable);
        let unwritable = unwritable.into_iter().filter(|series| series.kind.mode().is_none());
        *files = Files { waiting, unwritable: unwritable.collect(), ..Files::default() };
    }
}

/// Returns the id of this process in the names of its files, which the first call draws.
fn drawn_id<'a>(
    id: &'a mut Option<WriterId>,
    store: &DirectoryStore,
) -> Result<&'a mut WriterId, WriteError> {
    match id {
        Some(id) => Ok(id),
        none => Ok(none.insert(draw_id(&store.process_name()?)?)),
    }
}

impl Files {
    /// Calls `use_keys` with the keys that `fill` appends to a buffer.
    fn with_keys<R>(
        &mut self,
        fill: impl FnOnce(&mut Keys),
        time: f64,
        use_keys: impl FnOnce(&mut Files, &Keys) -> R,
    ) -> R {
        let mut keys = std::mem::take(&mut self.keys);
        keys.set_time(time);
        fill(&mut keys);
        let result = use_keys(self, &keys);
        keys.clear();
        self.keys = keys;
        result
    }

    /// Makes every series open new cells at its next recording.
    fn unbind(&mut self) {
        self.bound.drain(..).for_each(Rebind::unbind);
    }

    /// Creates cells for all samples of a series, with the values of these entries, in a file or else on the heap.
    fn open_new(&mut self, store: &DirectoryStore, kind: FileKind, entries: &Entries) -> Opened {
        let opened = match self.append_entries(store, kind, entries, Room::Ordinary) {
            Ok(cells) => Opened { cells, gate: None },
            Err(error) => self.keep_on_heap(store, kind, entries, &error),
        };
        if kind.mode().is_some() {
            for (key, cells) in entries.keys().zip(&opened.cells) {
                self.gauges.insert((kind, key.into()), (*cells, opened.gate));
            }
        }
        opened
    }

    /// Creates the cells of a series, which cannot be written, on the heap. It waits if the error is transient.
    fn keep_on_heap(
        &mut self,
        store: &DirectoryStore,
        kind: FileKind,
        entries: &Entries,
        error: &WriteError,
    ) -> Opened {
        // A series that only waits for the function of `process_id` is not counted as dropped.
        let is_dropped = !matches!(error, WriteError::Unnamed);
        if is_dropped {
            self.count_dropped(store, error);
        }
        let cells = entries.words().map(|(value, time)| SampleCells::on_heap(value, time));
        let cells: Vec<SampleCells> = cells.collect();
        let series = UnwrittenSeries { kind, entries: entries.clone(), cells: cells.clone() };
        if !error.is_transient() {
            self.unwritable.push(series);
            return Opened { cells, gate: None };
        }
        let gate = &*Box::leak(Box::new(Gate::new()));
        let reason = is_dropped.then(|| error.reason());
        self.waiting.push(WaitingSeries { series, gate, reason });
        store.retry.schedule();
        Opened { cells, gate: Some(gate) }
    }

    /// Appends entries to the current file of a kind, or to a new one.
    fn append(
        &mut self,
        store: &DirectoryStore,
        kind: FileKind,
        entries: &[NewEntry<'_>],
        room: Room,
    ) -> Result<Vec<SampleCells>, WriteError> {
        self.append_entries(store, kind, &encoded(entries), room)
    }

    /// As [`append`](Files::append) with encoded entries.
    fn append_entries(
        &mut self,
        store: &DirectoryStore,
        kind: FileKind,
        entries: &Entries,
        room: Room,
    ) -> Result<Vec<SampleCells>, WriteError> {
        // A series that waited with such a key would keep those behind it waiting.
        SeriesWriter::check_keys(entries)?;
        if let Some(&at) = self.current.get(&kind) {
            let (_, writer) = &mut self.writers[at];
            match writer.append_entries(entries, room) {
                // The file keeps its series, whose cells stay mapped, and its lock. New series go to another file.
                Err(WriteError::DescriptorLost | WriteError::FileFull) => writer.retire(),
                result => return result,
            }
        }
        let mut writer = self.create(store, kind)?;
        let cells = writer.append_entries(entries, room);
        self.current.insert(kind, self.writers.len());
        self.writers.push((kind, writer));
        cells
    }

    /// Creates a file, unless the pause after a failure is not over yet.
    fn create(
        &mut self,
        store: &DirectoryStore,
        kind: FileKind,
    ) -> Result<SeriesWriter, WriteError> {
        let id = drawn_id(&mut self.id, store)?;
        self.creation.check()?;
        // After a fork that did not end in time, the next attempt does not wait.
        let wait = match self.creation.last() {
            Some(WriteError::Forked) => ForkWait::None,
            _ => ForkWait::Long,
        };
        let access = store.options.access();
        let created = store
            .check_to_write()
            .and_then(|()| SeriesWriter::create_beside_forks(&store.path, kind, id, access, wait));
        let dir = place::identity(&store.path);
        match created {
            Ok(writer) => {
                self.dir = dir;
                self.creation.clear();
                Ok(writer)
            }
            Err(error) => {
                self.failed_in = dir;
                Err(self.creation.note(error))
            }
        }
    }

    /// Writes the attributes that are not in the companion file yet.
    fn write_companion(&mut self, store: &DirectoryStore) {
        if self.companion.is_due()
            && store.check_to_write().is_ok()
            && let Ok(id) = drawn_id(&mut self.id, store)
        {
            let (dir, access) = (&*store.path, store.options.access());
            self.companion.write(CompanionPlace { dir, access, id });
        }
    }

    /// The series and counters that are in no file, as files with the id of this process.
    fn unwritten(&mut self, store: &DirectoryStore) -> Vec<UnwrittenFile> {
        let counters = self.own.unwritten();
        if self.waiting.is_empty() && self.unwritable.is_empty() && counters.is_empty() {
            return Vec::new();
        }
        // Without an id the series are left out of this scrape: another thread is inside the function of `process_id`, or the
        // kernel returned no random number.
        let Ok(id) = drawn_id(&mut self.id, store) else {
            return Vec::new();
        };
        let counters: Vec<_> = counters.into_iter().map(|it| (it.key, it.value)).collect();
        let series = self.waiting.iter().map(|waiting| &waiting.series).chain(&self.unwritable);
        unwritten::files(id.as_str(), series, &counters, &self.removals)
    }

    /// Writes as many waiting series to files as possible.
    fn write_waiting(&mut self, store: &DirectoryStore) {
        let Ok(moving) = store.moving().try_write() else {
            return store.retry.schedule();
        };
        let mut failed: Vec<FileKind> = Vec::new();
        let deadline = Instant::now() + MAX_WAIT;
        for waiting in std::mem::take(&mut self.waiting) {
            let series = &waiting.series;
            let kind = series.kind;
            if failed.contains(&kind) || !waiting.close_gate(deadline) {
                self.waiting.push(waiting);
                continue;
            }
            let entries: Vec<_> = series.current().collect();
            match self.append(store, kind, &entries, Room::Ordinary) {
                Ok(cells) => {
                    self.count_recovered(store, &waiting, &cells);
                    if let Some(removed) = self.removals.removed_of(kind, series.entries.keys()) {
                        self.write_removal(store, &removed);
                    }
                }
                Err(_) => {
                    waiting.gate.open();
                    failed.push(kind);
                    self.waiting.push(waiting);
                }
            }
        }
        for series in self.removals.take_incomplete() {
            self.write_removal(store, &series);
        }
        if self.waiting.is_empty() && !self.removals.may_be_incomplete() {
            store.retry.cancel();
        } else {
            store.retry.schedule();
        }
        drop(moving);
        self.write_own_counters(store);
    }

    /// Counts a waiting series that was written, and stores the new entry of a gauge.
    fn count_recovered(
        &mut self,
        store: &DirectoryStore,
        WaitingSeries { series, reason, .. }: &WaitingSeries,
        cells: &[SampleCells],
    ) {
        if series.kind.mode().is_some() {
            for (key, cells) in series.entries.keys().zip(cells) {
                self.gauges.insert((series.kind, key.into()), (*cells, None));
            }
        }
        if let Some(reason) = *reason {
            dropped::count_recovered(reason);
            self.count_own(store, &RECOVERED_SERIES, reason, 1.0);
        }
    }

    /// Counts a series that was not written, also in a file if it has space.
    fn count_dropped(&mut self, store: &DirectoryStore, error: &WriteError) {
        let (dir, causes) = (store.path.display(), Chain(error));
        let message = format_args!("directory `{dir}`: {causes}");
        let fate = if error.is_transient() { Fate::Waits } else { Fate::StaysInMemory };
        dropped::count(error.reason(), fate, &message);
        self.count_own(store, &DROPPED_SERIES, error.reason(), 1.0);
    }

    /// See [`DirectoryStore::count_ignored`].
    fn count_ignored(&mut self, store: &DirectoryStore) {
        let ignored = dropped::take_ignored_recordings();
        if ignored > 0 {
            self.count_own(store, &IGNORED_RECORDINGS, "", ignored as f64);
        }
        for (reason, count) in dropped::take_ignored_values() {
            self.count_own(store, &IGNORED_VALUES, reason, count as f64);
        }
        for (reason, count) in dropped::take_failed_refreshes() {
            self.count_own(store, &FAILED_REFRESHES, reason, count as f64);
        }
    }

    /// Adds to a counter of multiprom itself.
    fn count_own(
        &mut self,
        store: &DirectoryStore,
        metric: &'static OwnMetric,
        reason: &'static str,
        amount: f64,
    ) {
        if !self.own.add(metric, reason, amount) {
            self.write_own_counters(store);
        }
    }

    /// Writes entries for the amounts that are not in a file yet. If that fails it is retried, and the process itself
    /// exports the counters.
    fn write_own_counters(&mut self, store: &DirectoryStore) {
        let Ok(_moving) = store.moving().try_write() else {
            return;
        };
        for UnwrittenCounter { id, key, value } in self.own.unwritten() {
            let entry = NewEntry::value(&key, value, 0.0);
            if let Ok(cells) = self.append(store, FileKind::Counter, &[entry], Room::Last) {
                self.own.set_written(id, cells.first().copied());
            }
        }
    }
}
