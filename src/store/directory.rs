//! The series files of this process in one directory.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::fork::{self, PerProcess};
use super::gate::Gate;
use super::naming::Naming;
use super::waiting::{MAX_WAIT, Retry, WaitingSeries};
use super::{DirectoryOptions, Keys, Opened, Rebind, SampleCells, dropped};
use crate::error::{Error, ErrorKind, Result};
use crate::file::forks::{self, ForkWait};
use crate::file::key;
use crate::file::name::{FileKind, WriterId};
use crate::file::place::{self, PlaceError};
use crate::file::sys::Identity;
use crate::file::writer::{NewEntry, Refused, Room, SeriesWriter, WriteError, draw_id};
use crate::logging::{self, log_line};
use crate::model::own_metrics::{
    DROPPED_SERIES, FILES_LOST, IGNORED_RECORDINGS, OwnMetric, RECOVERED_SERIES,
};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A directory that this process, and each child of it for itself, writes series files into.
pub(crate) struct DirectoryStore {
    path: PathBuf,
    options: DirectoryOptions,
    /// Whether a check has found the directory usable.
    is_checked: AtomicBool,
    naming: Naming,
    files: PerProcess<Mutex<Files>>,
    /// How often this process and its ancestors have closed their files. Changed under the slow path's lock.
    closed: AtomicU64,
    retry: Retry,
}

/// What one process has written.
#[derive(Default)]
struct Files {
    /// The directory in which the files were created.
    dir: Option<Identity>,
    /// Drawn with the first file.
    id: Option<WriterId>,
    /// Which of them gets new series.
    current: Map<FileKind, usize>,
    /// Every file that was created, in order; a lost descriptor or a full file makes another one.
    writers: Vec<(FileKind, SeriesWriter)>,
    /// The last failure to create a file, until one is created.
    creation: Refused,
    /// The directory at that time.
    refused_in: Option<Identity>,
    /// The one entry of every gauge.
    gauges: Map<(FileKind, Box<[u8]>), GaugePlace>,
    /// Counters about this library.
    own: Map<(&'static str, &'static str), Told>,
    /// In the order of their first use.
    waiting: Vec<WaitingSeries>,
    /// Every series that has cells here.
    bound: Vec<&'static dyn Rebind>,
}

/// The cells of a gauge, and the gate while it waits.
type GaugePlace = (SampleCells, Option<&'static Gate>);

/// A counter about this library.
#[derive(Default)]
struct Told {
    help: &'static str,
    /// The amount that is not in a file yet.
    untold: f64,
    cells: Option<SampleCells>,
}

impl DirectoryStore {
    /// Checks that the directory is there; files are created later, with the first sample of a type.
    pub(crate) fn open(path: &Path, options: DirectoryOptions) -> Result<&'static DirectoryStore> {
        let store = DirectoryStore::new(path, options);
        store.check_place(path)?;
        store.options.check()?;
        forks::watch_forks();
        // Programs may change their working directory.
        let path = fs::canonicalize(path).map_err(|error| refuse(path, PlaceError::Open(error)))?;
        Ok(Box::leak(Box::new(DirectoryStore { path, ..store })))
    }

    /// Accepts a directory that cannot be used yet. Series wait until it can.
    pub(crate) fn open_later(path: &Path, options: DirectoryOptions) -> &'static DirectoryStore {
        forks::watch_forks();
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Box::leak(Box::new(DirectoryStore::new(&path, options)))
    }

    fn new(path: &Path, options: DirectoryOptions) -> DirectoryStore {
        logging::note_standard_error();
        DirectoryStore {
            path: path.to_owned(),
            options,
            is_checked: AtomicBool::new(false),
            naming: Naming::new(),
            files: PerProcess::new(),
            closed: AtomicU64::new(0),
            retry: Retry::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks the directory until a check has found it usable.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_place(&self.path)
    }

    fn check_place(&self, path: &Path) -> Result<()> {
        self.find_place(path).map_err(|cause| refuse(path, cause))
    }

    fn find_place(&self, path: &Path) -> Result<(), PlaceError> {
        if self.is_checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let dir = place::check(path)?;
        if place::is_open_to_others(&dir) {
            let path = path.display();
            log_line(&format_args!("directory `{path}`: other users may create files in it"));
        }
        self.is_checked.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn files(&self) -> MutexGuard<'static, Files> {
        let files = self.files.get_or_create(|| Mutex::new(Files::default()));
        files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the function of the program that names this process, if there is one and it was not called. Never called
    /// under a lock.
    pub(crate) fn prepare(&self) {
        if self.options.has_process_id() && self.naming.ask(&self.options) {
            // Series that were recorded meanwhile wait.
            self.retry.schedule_now();
        }
    }

    /// The name of this process; `Unnamed` until the function of the program has returned.
    fn process_name(&self) -> Result<Cow<'static, str>, WriteError> {
        if self.options.has_process_id() {
            return self.naming.get().map(Cow::Borrowed).ok_or(WriteError::Unnamed);
        }
        Ok(Cow::Owned(std::process::id().to_string()))
    }

    fn check_to_write(&self) -> Result<(), WriteError> {
        self.find_place(&self.path).map_err(|cause| {
            WriteError::Directory(match cause {
                PlaceError::Open(error) => error,
                PlaceError::FileSystem(_) => io::Error::new(io::ErrorKind::Unsupported, cause),
            })
        })
    }

    /// See [`Store::generation`](super::Store::generation).
    pub(crate) fn generation(&self) -> u64 {
        fork::epoch() << 32 | self.closed.load(Ordering::Relaxed)
    }

    /// Notes that a series has cells here, or is about to.
    pub(crate) fn bound(&self, series: &'static dyn Rebind) {
        self.files().bound.push(series);
    }

    /// Detects a lost directory or lost files, and retries waiting series if the time has come. Called under the slow
    /// path's lock.
    pub(crate) fn refresh(&self) {
        self.files().refresh(self);
    }

    /// Retries waiting series if the time has come. Called by recordings of waiting series, under no lock.
    pub(crate) fn retry(&self) {
        if self.retry.claim()
            && let Some(_lock) = fork::lock()
        {
            self.retry.schedule_now();
            self.files().refresh(self);
        }
    }

    /// New cells for a series; of a gauge the ones that it has. Called under the slow path's lock, after
    /// [`refresh`](DirectoryStore::refresh).
    pub(crate) fn open_cells(&self, kind: FileKind, keys: &Keys, time: f64) -> Opened {
        let mut files = self.files();
        if kind.mode().is_some()
            && let Some(key) = keys.iter().next()
            && let Some((cells, gate)) = files.gauges.get(&(kind, key.into()))
        {
            return Opened { cells: vec![*cells], gate: *gate };
        }
        let entries: Vec<_> = keys.iter().map(|key| NewEntry { key, value: 0.0, time }).collect();
        files.place(self, kind, &entries)
    }

    /// Lets go of all files of this process. Called under the slow path's lock.
    pub(crate) fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
        let mut files = self.files();
        // Waiting series are tried once more, whatever was refused just now.
        files.creation.clear();
        for (_, writer) in &mut files.writers {
            writer.end_pause();
        }
        files.place_waiting(self);
        files.unbind();
        files.writers.drain(..).for_each(|(_, writer)| writer.close());
        // Gauges begin at 0 in new files. The other waiting series can still be written into those.
        let (gauges, waiting): (Vec<_>, Vec<_>) =
            files.waiting.drain(..).partition(|series| series.kind.mode().is_some());
        for series in gauges {
            series.gate.close();
        }
        *files = Files { waiting, ..Files::default() };
    }
}

fn refuse(path: &Path, cause: PlaceError) -> Error {
    match cause {
        PlaceError::FileSystem(_) => Error::at(ErrorKind::Unsupported, path, cause),
        PlaceError::Open(_) => Error::at(ErrorKind::Directory, path, cause),
    }
}

impl Files {
    /// Has every series look for its cells again at its next recording.
    fn unbind(&mut self) {
        self.bound.drain(..).for_each(Rebind::unbind);
    }

    /// Makes cells for all samples of a series, in a file or else on the heap.
    fn place(
        &mut self,
        store: &DirectoryStore,
        kind: FileKind,
        entries: &[NewEntry<'_>],
    ) -> Opened {
        let opened = match self.append(store, kind, entries, Room::Ordinary) {
            Ok(cells) => Opened { cells, gate: None },
            Err(error) => self.set_aside(store, kind, entries, &error),
        };
        if kind.mode().is_some() {
            for (entry, cells) in entries.iter().zip(&opened.cells) {
                self.gauges.insert((kind, entry.key.into()), (*cells, opened.gate));
            }
        }
        opened
    }

    /// Makes cells on the heap for a series that cannot be written, which waits if the error is transient.
    fn set_aside(
        &mut self,
        store: &DirectoryStore,
        kind: FileKind,
        entries: &[NewEntry<'_>],
        error: &WriteError,
    ) -> Opened {
        let on_heap = |entry: &NewEntry<'_>| {
            let cells = SampleCells::on_heap(entry.time);
            cells.value.set(entry.value);
            cells
        };
        let cells: Vec<_> = entries.iter().map(on_heap).collect();
        // OK because the function of the program returns soon.
        let is_dropped = !matches!(error, WriteError::Unnamed);
        if is_dropped {
            self.dropped(store, error);
        }
        if !error.is_transient() {
            return Opened { cells, gate: None };
        }
        let gate = &*Box::leak(Box::new(Gate::new()));
        let mut keys = Keys::default();
        for entry in entries {
            keys.push(|bytes| bytes.extend_from_slice(entry.key));
        }
        let reason = is_dropped.then(|| error.reason());
        self.waiting.push(WaitingSeries { kind, keys, cells: cells.clone(), gate, reason });
        store.retry.schedule();
        Opened { cells, gate: Some(gate) }
    }

    fn append(
        &mut self,
        store: &DirectoryStore,
        kind: FileKind,
        entries: &[NewEntry<'_>],
        room: Room,
    ) -> Result<Vec<SampleCells>, WriteError> {
        if let Some(&at) = self.current.get(&kind) {
            let (_, writer) = &mut self.writers[at];
            match writer.append_all(entries, room) {
                // The file keeps its series, whose cells stay mapped, and its lock; new ones go to another.
                Err(WriteError::DescriptorLost | WriteError::FileFull) => writer.retire(),
                result => return result,
            }
        }
        let mut writer = self.create(store, kind)?;
        let cells = writer.append_all(entries, room);
        self.current.insert(kind, self.writers.len());
        self.writers.push((kind, writer));
        cells
    }

    /// Creates a file, unless that failed less than a pause ago.
    fn create(
        &mut self,
        store: &DirectoryStore,
        kind: FileKind,
    ) -> Result<SeriesWriter, WriteError> {
        let id = match &mut self.id {
            Some(id) => id,
            none => none.insert(draw_id(&store.process_name()?)?),
        };
        self.creation.check()?;
        // A fork that was waited for in vain is not waited for again.
        let wait = match self.creation.last() {
            Some(WriteError::Forked) => ForkWait::None,
            _ => ForkWait::Long,
        };
        let access = store.options.access();
        let created = store
            .check_to_write()
            .and_then(|()| SeriesWriter::create_beside_forks(&store.path, kind, id, access, wait));
        let place = place::identity(&store.path);
        match created {
            Ok(writer) => {
                self.dir = place;
                self.creation.clear();
                Ok(writer)
            }
            Err(error) => {
                self.refused_in = place;
                Err(self.creation.note(error))
            }
        }
    }

    fn refresh(&mut self, store: &DirectoryStore) {
        let ignored = dropped::take_ignored_recordings();
        if ignored > 0 {
            self.tell(store, &IGNORED_RECORDINGS, "", ignored as f64);
        }
        let is_refused = self.creation.last().is_some();
        if self.writers.is_empty() && self.waiting.is_empty() && !is_refused {
            return;
        }
        let now = place::identity(&store.path);
        if is_refused && now != self.refused_in {
            self.creation.clear();
            store.retry.schedule_now();
        }
        if now.is_none() {
            return;
        }
        self.recreate_if_lost(store, now);
        if !self.waiting.is_empty() && store.retry.claim() {
            self.place_waiting(store);
        }
    }

    /// Where the directory was removed or replaced, or some of its files, writes what was in them into new
    /// files.
    ///
    /// What was recorded so far goes into entries that nobody adds to any more; each series gets new ones
    /// at its next recording. Only gauges go on with their entry.
    fn recreate_if_lost(&mut self, store: &DirectoryStore, now: Option<Identity>) {
        let is_moved = now != self.dir;
        let is_lost = |(_, writer): &(FileKind, SeriesWriter)| {
            is_moved || writer.is_removed_from(&store.path)
        };
        if !self.writers.iter().any(is_lost) {
            return;
        }
        self.unbind();
        // What is in the other files is still seen, and would be counted twice.
        let lost: Vec<_> = self.writers.extract_if(.., |writer| is_lost(writer)).collect();
        self.current.clear();
        let kept = self.writers.iter().enumerate().map(|(at, (kind, _))| (*kind, at));
        self.current.extend(kept);
        for (kind, _) in &lost {
            // A gauge has one entry, which may be in a file of the kind that is not lost.
            let others = self.writers.iter().filter(|(other, _)| other == kind);
            let kept: HashSet<Vec<u8>> =
                others.flat_map(|(_, it)| it.entries()).map(|(key, ..)| key).collect();
            self.gauges.retain(|(other, key), (_, gate)| {
                other != kind || gate.is_some() || kept.contains(&**key)
            });
            if *kind == FileKind::Counter {
                self.own.retain(|_, told| told.cells.is_none());
            }
        }
        let count = lost.len() as u64;
        for (kind, writer) in lost {
            for (key, value, time) in writer.entries() {
                self.place(store, kind, &[NewEntry { key: &key, value, time }]);
            }
            writer.close();
        }
        dropped::count_lost_files(count, &store.path);
        self.tell(store, &FILES_LOST, "", count as f64);
    }

    /// Writes waiting series into files, as many as possible.
    fn place_waiting(&mut self, store: &DirectoryStore) {
        let mut refused: Vec<FileKind> = Vec::new();
        let deadline = Instant::now() + MAX_WAIT;
        for series in std::mem::take(&mut self.waiting) {
            let kind = series.kind;
            if refused.contains(&kind) || !series.close_gate(deadline) {
                self.waiting.push(series);
                continue;
            }
            match self.append(store, kind, &series.entries(), Room::Ordinary) {
                Ok(cells) => self.recovered(store, &series, &cells),
                Err(_) => {
                    series.gate.open();
                    refused.push(kind);
                    self.waiting.push(series);
                }
            }
        }
        if self.waiting.is_empty() {
            store.retry.cancel();
        } else {
            store.retry.schedule();
        }
        self.tell_untold(store);
    }

    /// Counts a waiting series that was written, and keeps the entry of a gauge.
    fn recovered(&mut self, store: &DirectoryStore, series: &WaitingSeries, cells: &[SampleCells]) {
        if series.kind.mode().is_some() {
            for (key, cells) in series.keys.iter().zip(cells) {
                self.gauges.insert((series.kind, key.into()), (*cells, None));
            }
        }
        if let Some(reason) = series.reason {
            dropped::count_recovered(reason);
            self.tell(store, &RECOVERED_SERIES, reason, 1.0);
        }
    }

    /// Counts a series that was not written, also in a file if there is room.
    fn dropped(&mut self, store: &DirectoryStore, error: &WriteError) {
        let named = Error::at(ErrorKind::Directory, &store.path, error.to_string());
        dropped::count(error.reason(), error.is_transient(), &named);
        self.tell(store, &DROPPED_SERIES, error.reason(), 1.0);
    }

    fn tell(
        &mut self,
        store: &DirectoryStore,
        metric: &'static OwnMetric,
        reason: &'static str,
        amount: f64,
    ) {
        let told = self.own.entry((metric.family_name(), reason)).or_default();
        told.help = metric.help();
        match told.cells {
            Some(cells) => cells.value.add(amount),
            None => {
                told.untold += amount;
                self.tell_untold(store);
            }
        }
    }

    /// Writes entries for amounts that are not in a file yet. Those that cannot be written are retried, and exported by
    /// the process itself.
    fn tell_untold(&mut self, store: &DirectoryStore) {
        let untold: Vec<_> = self
            .own
            .iter()
            .filter(|(_, told)| told.cells.is_none())
            .map(|(id, told)| (*id, told.help, told.untold))
            .collect();
        for ((name, reason), help, value) in untold {
            let mut text = Vec::new();
            let sample = [name, "_total"].concat();
            let label = (!reason.is_empty()).then_some(("reason", reason));
            key::encode(&mut text, name, &sample, label.into_iter(), help);
            let entry = NewEntry { key: &text, value, time: 0.0 };
            if let Ok(cells) = self.append(store, FileKind::Counter, &[entry], Room::Last)
                && let Some(told) = self.own.get_mut(&(name, reason))
            {
                told.cells = cells.first().copied();
                told.untold = 0.0;
            }
        }
    }
}
