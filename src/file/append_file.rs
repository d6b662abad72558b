//! A file that this process appends entries to: its creation, its growth and its end. The content of entries is that of
//! `writer` for series files, and that of `companion` for companion files.
//!
//! A file gets its name only when its space is reserved, it has its header and it is locked (see `create`): no reader
//! ever sees an empty or unlocked file. Bytes are reserved before they are accessed, so a full disk is an
//! error here and raises no signal. An entry is first written beyond `used` and then made visible by one store
//! of `used`; a writer that is killed in between leaves nothing that a reader sees.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use super::create::{self, Created, FileAccess, INITIAL_CAPACITY};
use super::forks::{ForkWait, NoFork};
use super::inherited;
use super::layout::{HEADER_LEN, MAX_FILE_LEN};
use super::lock;
use super::name::{FileContent, WriterId};
use super::place;
use super::sys::{self, Identity};
use super::write_error::{Refused, WriteError};
use super::write_map::WriteMap;

/// The capacity doubles up to this size, and then grows by this many bytes at a time.
const GROWTH_STEP: u64 = 1024 * 1024;
/// How many bytes beyond its content a file makes resident at a time. Populating makes pages dirty, so the kernel writes them
/// back to a disk even if they stay unused.
const RESIDENT_STEP: u64 = 64 * 1024;
/// How often a creation is tried if a name is taken or the process forks.
const MAX_TRIES: usize = 64;
/// How often a creation waits for the end of a fork (see `forks` for how long). A fork that itself waits for this
/// thread never ends.
const MAX_WAITS: usize = 8;

/// A file of this process.
pub(crate) struct AppendFile {
    name: String,
    file: File,
    identity: Identity,
    map: WriteMap,
    /// Committed bytes, including the header.
    used: u64,
    /// Reserved bytes.
    capacity: u64,
    /// The bytes before this offset are populated; `u64::MAX` after a failure (the kernel refuses, or the descriptor is lost):
    /// pages then become resident by faults.
    resident: u64,
    is_on_tmpfs: bool,
    /// The last failure to reserve space.
    refused: Refused,
}

impl AppendFile {
    /// Creates the next file with this content for a writer. If the name is taken, `id` becomes a new one.
    pub(crate) fn create(
        dir: &Path,
        content: FileContent,
        magic: [u8; 4],
        id: &mut WriterId,
        access: FileAccess,
        wait: ForkWait,
    ) -> Result<AppendFile, WriteError> {
        let dir = place::open(dir).map_err(WriteError::Directory)?;
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        let mut waits = 0;
        for _ in 0..MAX_TRIES {
            let Some(no_fork) = NoFork::begin(wait) else {
                waits += 1;
                if waits == MAX_WAITS || wait == ForkWait::None {
                    return Err(WriteError::Forked);
                }
                continue;
            };
            let name = id.next_name(content);
            match AppendFile::create_named(&dir, &name, magic, access, &no_fork) {
                Err(WriteError::Create(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                    last = error;
                    *id = draw_id(id.process())?;
                }
                Err(WriteError::Forked) => {}
                Ok(file) => {
                    id.note_named(content);
                    return Ok(file);
                }
                Err(error) => return Err(error),
            }
        }
        Err(WriteError::Create(last))
    }

    fn create_named(
        dir: &File,
        name: &str,
        magic: [u8; 4],
        access: FileAccess,
        no_fork: &NoFork,
    ) -> Result<AppendFile, WriteError> {
        let Created { file, identity, map } = create::create(dir, name, magic, access, no_fork)?;
        Ok(AppendFile {
            name: name.to_owned(),
            is_on_tmpfs: place::is_on_tmpfs(&file),
            file,
            identity,
            map,
            used: HEADER_LEN as u64,
            capacity: INITIAL_CAPACITY,
            resident: 0,
            refused: Refused::default(),
        })
    }

    /// Committed bytes, including the header.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// The mapping, in which entries are written beyond `used`.
    pub(super) fn map(&self) -> &WriteMap {
        &self.map
    }

    /// Makes all entries before `end` visible.
    pub(super) fn publish(&mut self, end: u64) {
        self.map.publish(end as u32);
        self.used = end;
    }

    /// The file, whatever its name is now.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether the file is no longer in its directory. Looks it up by name, as the host may have closed the
    /// descriptor.
    pub(crate) fn is_removed_from(&self, dir: &Path) -> bool {
        match place::find(&dir.join(&self.name)) {
            Ok(found) => found != Some(self.identity),
            // The file may still exist, and its values would be counted twice.
            Err(_) => false,
        }
    }

    /// Ends the pause after a failure: the next entry tries to reserve space again.
    pub(crate) fn end_pause(&mut self) {
        self.refused.clear();
    }

    /// Called when the file gets no more entries, because its descriptor is lost or it is full.
    pub(crate) fn retire(&self) {
        if sys::identity(self.file.as_raw_fd()) != Some(self.identity) {
            inherited::forget(self.file.as_raw_fd(), self.identity);
        }
    }

    /// Closes files: their writer is dead for readers from now on. Cells keep their addresses and values.
    ///
    /// Forks wait for the end of this: a child that is forked meanwhile would keep the files open for writing.
    pub(crate) fn close_all(files: impl IntoIterator<Item = AppendFile>) {
        // A child of a fork that does not end in time may keep the files open.
        let _no_fork = NoFork::begin(ForkWait::Long);
        files.into_iter().for_each(AppendFile::close_one);
    }

    fn close_one(self) {
        let AppendFile { file, identity, map, used, .. } = self;
        // The mapping alone would keep the lock, and the file open for writing.
        let is_detached = map.detach(used);
        let fd = file.as_raw_fd();
        let is_ours = sys::identity(fd) == Some(identity);
        if is_ours && is_detached {
            lock::release(&file);
            drop(file);
        } else {
            // Either the number belongs to another file of the host now, or cells still write to this file, which then stays
            // open and locked.
            std::mem::forget(file);
        }
        if !is_ours || is_detached {
            inherited::forget(fd, identity);
        }
    }

    /// Makes sure that the bytes up to `end` are reserved and mapped.
    pub(super) fn reserve(&mut self, end: u64) -> Result<(), WriteError> {
        if end > self.capacity {
            self.grow(end)?;
        }
        if end > self.resident {
            self.populate(end);
        }
        Ok(())
    }

    #[cold]
    fn grow(&mut self, end: u64) -> Result<(), WriteError> {
        let mut capacity = self.capacity;
        while capacity < end {
            capacity += capacity.min(GROWTH_STEP);
        }
        if capacity > MAX_FILE_LEN {
            return Err(WriteError::FileFull);
        }
        if sys::identity(self.file.as_raw_fd()) != Some(self.identity) {
            return Err(WriteError::DescriptorLost);
        }
        self.refused.check()?;
        sys::reserve(&self.file, self.capacity, capacity)
            .map_err(WriteError::Reserve)
            .and_then(|()| self.map.cover(&self.file, capacity).map_err(WriteError::Map))
            .map_err(|error| self.refused.note(error))?;
        self.capacity = capacity;
        Ok(())
    }

    /// Makes the pages up to `end` resident, and some beyond it.
    #[cold]
    fn populate(&mut self, end: u64) {
        let to = end.next_multiple_of(RESIDENT_STEP).min(self.capacity);
        let is_populated =
            if self.is_on_tmpfs { self.fill(to) } else { self.map.populate(self.resident, to) };
        self.resident = if is_populated { to } else { u64::MAX };
    }

    /// Makes pages resident on tmpfs: gives them content by one system call, after which one read maps up to 16 of them. On other
    /// file systems the kernel write-protects a page until its first store, so a read does not help there.
    fn fill(&self, to: u64) -> bool {
        let from = self.resident.max(self.used);
        let is_filled = sys::identity(self.file.as_raw_fd()) == Some(self.identity)
            && sys::fill(&self.file, from, to).is_ok();
        if is_filled {
            self.map.read_blocks(from, to);
        }
        is_filled
    }
}

/// Draws a new id for a process.
pub(crate) fn draw_id(process: &str) -> Result<WriterId, WriteError> {
    let random = sys::random_u32().map_err(WriteError::Create)?;
    Ok(WriterId::new(process, random))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::entry_kind::EntryKind;
    use crate::file::layout::{MAGIC, entry_len, value_offset};
    use crate::file::name::FileKind;
    use crate::file::reader::{self, Reader};
    use crate::file::writer::{NewEntry, encoded};
    use crate::test_dir::TestDir;

    fn create(dir: &Path) -> AppendFile {
        let (content, mut id) = (FileContent::Series(FileKind::Counter), draw_id("42").unwrap());
        AppendFile::create(dir, content, MAGIC, &mut id, FileAccess::Owner, ForkWait::Long).unwrap()
    }

    /// Whether a page is in the page table of this process. See: `Documentation/admin-guide/mm/pagemap.rst`.
    fn is_mapped(page: usize) -> bool {
        use std::os::unix::fs::FileExt as _;
        const PRESENT: u64 = 1 << 63;
        let mut entry = [0; 8];
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        pagemap.read_exact_at(&mut entry, page as u64 * 8).unwrap();
        u64::from_le_bytes(entry) & PRESENT != 0
    }

    #[test]
    fn entries_on_tmpfs_keep_their_values_while_pages_behind_them_are_filled() {
        let Some(dir) = TestDir::in_memory() else { return };
        let mut file = create(&dir);
        let mut key = Vec::new();
        crate::file::key::encode(&mut key, "m", "m", std::iter::empty(), &"x".repeat(700));
        let entry =
            encoded(&[NewEntry { kind: EntryKind::Value, key: &key, value: 0.0, time: 1.0 }]);
        let mut cells = Vec::new();
        for at in 0..4_000u32 {
            let begin = file.used();
            let end = begin + entry_len(key.len()) as u64;
            file.reserve(end).unwrap();
            file.map().write(begin, entry.bytes());
            cells.push(file.map().cell(begin + value_offset(key.len()) as u64));
            file.publish(end);
            cells.last().unwrap().set(f64::from(at));
        }
        assert!(file.used() > 2 * 1024 * 1024, "the file grows several times");
        assert!(file.is_on_tmpfs && file.resident != u64::MAX, "the pages are filled");
        let path = dir.join(&file.name);
        let mut reader = Reader::default();
        let opened = reader::open(&path).unwrap();
        let values: Vec<f64> =
            reader.read(&opened).unwrap().entries().unwrap().map(|it| it.unwrap().value).collect();
        assert_eq!(values, (0..4_000).map(f64::from).collect::<Vec<_>>());
        assert_eq!(cells.iter().map(|cell| cell.get()).collect::<Vec<_>>(), values);
    }

    #[test]
    fn the_first_pages_of_a_file_on_tmpfs_are_resident_before_they_are_written() {
        let Some(dir) = TestDir::in_memory() else { return };
        let mut file = create(&dir);
        file.reserve(HEADER_LEN as u64 + 8).unwrap();
        assert!(file.is_on_tmpfs && file.resident != u64::MAX, "the pages are filled");
        let first = file.map().address(0, 1).addr() / sys::page_len();
        let pages = INITIAL_CAPACITY as usize / sys::page_len();
        let missing: Vec<usize> = (0..pages).filter(|at| !is_mapped(first + at)).collect();
        assert_eq!(missing, Vec::<usize>::new());
    }
}
