//! The series files of this process in one directory.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::fork::PerProcess;
use super::{DirectoryOptions, Rebind, SampleCells, dropped};
use crate::error::{Error, ErrorKind, Result};
use crate::file::forks;
use crate::file::key;
use crate::file::name::{FileKind, WriterId};
use crate::file::place::{self, PlaceError};
use crate::file::sys::Identity;
use crate::file::writer::{Room, SeriesWriter, WriteError, draw_id};
use crate::logging::{self, log_line};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A directory that this process, and each child of it for itself, writes series files into.
pub(crate) struct DirectoryStore {
    path: PathBuf,
    options: DirectoryOptions,
    files: PerProcess<Mutex<Files>>,
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
    /// The cells of every gauge, which has one entry for a key.
    gauges: Map<(FileKind, Box<[u8]>), SampleCells>,
    /// The cells of what we tell about ourselves.
    own: Map<(&'static str, &'static str), SampleCells>,
    /// Series that began while the directory was away, with the cells on the heap that they have.
    waiting: Vec<(FileKind, Box<[u8]>, SampleCells)>,
    /// Every series that has cells here.
    bound: Vec<&'static dyn Rebind>,
}

impl DirectoryStore {
    /// Checks that the directory is there; files are created later, with the first sample of a type.
    pub(crate) fn open(path: &Path, options: DirectoryOptions) -> Result<&'static DirectoryStore> {
        let refuse = |cause: PlaceError| match cause {
            PlaceError::FileSystem(_) => Error::at(ErrorKind::Unsupported, path, cause),
            PlaceError::Open(_) => Error::at(ErrorKind::Directory, path, cause),
        };
        logging::note_standard_error();
        let dir = place::check(path).map_err(refuse)?;
        options.check()?;
        forks::watch_forks();
        if place::is_open_to_others(&dir) {
            let path = path.display();
            log_line(&format_args!("directory `{path}`: other users may create files in it"));
        }
        // Programs may change their working directory.
        let path = fs::canonicalize(path).map_err(|error| refuse(PlaceError::Open(error)))?;
        Ok(Box::leak(Box::new(DirectoryStore { path, options, files: PerProcess::new() })))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn files(&self) -> MutexGuard<'static, Files> {
        let files = self.files.get_or_create(|| Mutex::new(Files::default()));
        files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a series has cells here, or is about to.
    pub(crate) fn bound(&self, series: &'static dyn Rebind) {
        self.files().bound.push(series);
    }

    /// Notices that the directory, or files in it, were lost. Called under the slow path's lock.
    pub(crate) fn refresh(&self) {
        self.files().recreate_if_lost(self);
    }

    /// New cells for a key; of a gauge the ones that it has. Called under the slow path's lock.
    pub(crate) fn open_cells(&self, kind: FileKind, key: &[u8], time: f64) -> SampleCells {
        let mut files = self.files();
        let is_gauge = kind.mode().is_some();
        if is_gauge && let Some(cells) = files.gauges.get(&(kind, key.into())) {
            return *cells;
        }
        let cells = match files.append(self, kind, key, (0.0, time), Room::Ordinary) {
            Ok(cells) => cells,
            Err(error) => {
                files.dropped(self, &error);
                let cells = SampleCells::on_heap(time);
                if matches!(error, WriteError::Directory(_)) {
                    files.waiting.push((kind, key.into(), cells));
                }
                cells
            }
        };
        if is_gauge {
            files.gauges.insert((kind, key.into()), cells);
        }
        cells
    }

    /// Lets go of all files of this process. Called under the slow path's lock.
    pub(crate) fn close(&self) {
        let mut files = self.files();
        files.unbind();
        files.writers.drain(..).for_each(|(_, writer)| writer.close());
        *files = Files::default();
    }
}

impl Files {
    /// Has every series look for its cells again at its next recording.
    fn unbind(&mut self) {
        self.bound.drain(..).for_each(Rebind::unbind);
    }

    fn append(
        &mut self,
        store: &DirectoryStore,
        kind: FileKind,
        key: &[u8],
        (value, time): (f64, f64),
        room: Room,
    ) -> Result<SampleCells, WriteError> {
        if let Some(&at) = self.current.get(&kind) {
            let (_, writer) = &mut self.writers[at];
            match writer.append(key, value, time, room) {
                // The file keeps its series, whose cells stay mapped, and its lock; new ones go to another.
                Err(WriteError::DescriptorLost | WriteError::FileFull) => writer.retire(),
                result => return result,
            }
        }
        let id = match &mut self.id {
            Some(id) => id,
            none => none.insert(draw_id(&store.options.process_name())?),
        };
        let mut writer = SeriesWriter::create(&store.path, kind, id, store.options.access())?;
        self.dir = place::identity(&store.path);
        let cells = writer.append(key, value, time, room);
        self.current.insert(kind, self.writers.len());
        self.writers.push((kind, writer));
        cells
    }

    /// Where the directory was removed or replaced, or some of its files, writes what was in them into new
    /// files, and what was recorded while it was away.
    ///
    /// What was recorded so far goes into entries that nobody adds to any more; each series gets new ones
    /// at its next recording. Only gauges go on with their entry.
    fn recreate_if_lost(&mut self, store: &DirectoryStore) {
        if self.writers.is_empty() && self.waiting.is_empty() {
            return;
        }
        let now = place::identity(&store.path);
        if now.is_none() {
            return;
        }
        let is_moved = now != self.dir && !self.writers.is_empty();
        let is_lost = |(_, writer): &(FileKind, SeriesWriter)| {
            is_moved || writer.is_removed_from(&store.path)
        };
        let can_move_in = !self.waiting.is_empty() && place::open(&store.path).is_ok();
        if !can_move_in && !self.writers.iter().any(is_lost) {
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
            self.gauges.retain(|(other, key), _| other != kind || kept.contains(&**key));
            if *kind == FileKind::Counter {
                self.own.clear();
            }
        }
        let count = lost.len() as u64;
        for (kind, writer) in lost {
            for (key, value, time) in writer.entries() {
                self.move_in(store, kind, &key, (value, time));
            }
            writer.close();
        }
        let waiting = if can_move_in { std::mem::take(&mut self.waiting) } else { Vec::new() };
        for (kind, key, cells) in waiting {
            self.move_in(store, kind, &key, (cells.value.get(), cells.time.get()));
        }
        if count > 0 {
            dropped::count_lost_files(count, &store.path);
            let help = "Series files that were removed while their process was recording.";
            self.tell(store, ("multiprom_files_lost", ""), help, count as f64);
        }
    }

    /// Writes a series, with what was recorded for it so far, into a file of now.
    fn move_in(&mut self, store: &DirectoryStore, kind: FileKind, key: &[u8], sample: (f64, f64)) {
        match self.append(store, kind, key, sample, Room::Ordinary) {
            Ok(cells) if kind.mode().is_some() => {
                self.gauges.insert((kind, key.into()), cells);
            }
            Ok(_) => {}
            Err(error) => self.dropped(store, &error),
        }
    }

    /// Counts a series that found no place, where it can be seen as far as there is room for that.
    fn dropped(&mut self, store: &DirectoryStore, error: &WriteError) {
        let named = Error::at(ErrorKind::Directory, &store.path, error.to_string());
        dropped::count(error.reason(), &named);
        let help = "Series of this process that did not get into a series file.";
        self.tell(store, ("multiprom_dropped_series", error.reason()), help, 1.0);
    }

    fn tell(
        &mut self,
        store: &DirectoryStore,
        (name, reason): (&'static str, &'static str),
        help: &str,
        amount: f64,
    ) {
        if let Some(cells) = self.own.get(&(name, reason)) {
            return cells.value.add(amount);
        }
        let mut text = Vec::new();
        let sample = [name, "_total"].concat();
        let label = (!reason.is_empty()).then_some(("reason", reason));
        key::encode(&mut text, name, &sample, label.into_iter(), help);
        // OK because what cannot be told in a file is told by the process itself.
        if let Ok(cells) = self.append(store, FileKind::Counter, &text, (amount, 0.0), Room::Last) {
            self.own.insert((name, reason), cells);
        }
    }
}
