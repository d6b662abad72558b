//! Reads series files by `pread`. Files of any writer in any state yield entries or an error, in bounded memory.
//!
//! `used` is read first, then the entries below it, which never move. Buffers, offsets and lengths
//! are multiples of 8, so the kernel copies each value whole while its writer changes it.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::unwrap_used))]

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsFd as _;
#[cfg(feature = "cli")]
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::layout::{self, Entries, HEADER_LEN, Header, LayoutError, WORD_LEN};
use super::name::{FileName, IdKind};
use super::sys::{self, Stat};
use super::words::{Line, WORDS_PER_LINE, bytes_of, bytes_of_mut, words_of_mut};

/// Why a file or a part of it cannot be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Open(io::Error),
    Read(io::Error),
    NotRegular,
    /// The file has another name, which may be in a directory of another user.
    Linked,
    Empty,
    Layout(LayoutError),
}

impl ReadError {
    /// Whether the file was removed after its name was listed, which is not an error.
    pub(crate) fn is_vanished(&self) -> bool {
        matches!(self, ReadError::Open(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the name is that of a link, a directory or a device instead of a file.
    pub(crate) fn is_not_a_file(&self) -> bool {
        match self {
            ReadError::NotRegular => true,
            ReadError::Open(error) => error.raw_os_error() == Some(libc::ELOOP),
            _ => false,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Open(_) => f.write_str("cannot be opened"),
            ReadError::Read(_) => f.write_str("cannot be read"),
            ReadError::NotRegular => f.write_str("not a regular file"),
            ReadError::Linked => f.write_str("file has more than one name"),
            ReadError::Empty => f.write_str("file is empty"),
            ReadError::Layout(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReadError::Open(error) | ReadError::Read(error) => Some(error),
            ReadError::NotRegular | ReadError::Linked | ReadError::Empty | ReadError::Layout(_) => {
                None
            }
        }
    }
}

const OPEN_FLAGS: libc::c_int =
    libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;

/// Opens a file for reading. Does not follow links and does not wait for the writer of a FIFO.
pub(crate) fn open(path: &Path) -> Result<File, ReadError> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OPEN_FLAGS).open(path).map_err(ReadError::Open)
}

/// Opens a file of an open directory, as [`open`] does.
pub(crate) fn open_at(dir: &File, name: &str) -> Result<File, ReadError> {
    sys::open_at(dir.as_fd(), name, OPEN_FLAGS, 0).map_err(ReadError::Open)
}

/// Opens a file again that is already open, even if another file has its name now.
#[cfg(feature = "cli")]
pub(crate) fn reopen(file: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new().read(true).custom_flags(OPEN_FLAGS & !libc::O_NOFOLLOW).open(path)
}

/// The content of a file when it was read.
pub(crate) struct Snapshot<'r> {
    /// The file up to `used`.
    pub(crate) words: &'r [u64],
    header: Header,
    /// Committed bytes, including the header; 0 if the writer has just created the file.
    pub(crate) used: u32,
    /// Whether the file has the magic of this crate.
    pub(crate) is_own: bool,
}

impl<'r> Snapshot<'r> {
    /// Detects the layout and returns the entries.
    pub(crate) fn entries(&self) -> Result<Entries<'r>, ReadError> {
        Entries::detect(self.header, self.body()).map_err(ReadError::Layout)
    }

    /// Returns the bytes after the header.
    pub(crate) fn body(&self) -> &'r [u8] {
        bytes_of(self.words).get(HEADER_LEN..).unwrap_or_default()
    }
}

/// A buffer into which files are read one after the other.
#[derive(Default)]
pub(crate) struct Reader {
    lines: Vec<Line>,
}

/// Returns the origin of the id of a series file that is not retired. The id is unique if it has that form and the file has
/// the magic of this crate, in any version.
pub(crate) fn id_kind(name: FileName<'_>, file: &File) -> IdKind {
    id_kind_and_header(name, file).0
}

/// Also returns the header of the file, which is read only if the id has the form of a unique one.
pub(crate) fn id_kind_and_header(name: FileName<'_>, file: &File) -> (IdKind, Option<Header>) {
    let header = if name.has_unique_form() { read_header(file).ok().flatten() } else { None };
    (id_kind_of(name, header.is_some_and(Header::is_own)), header)
}

/// As [`id_kind`], if the caller has read whether the file has the magic of this crate.
pub(crate) fn id_kind_of(name: FileName<'_>, is_own: bool) -> IdKind {
    if is_own && name.has_unique_form() { IdKind::Unique } else { IdKind::Chosen }
}

/// Reads the header of a file; `None` if it is too short.
fn read_header(file: &File) -> Result<Option<Header>, ReadError> {
    let mut header = [0u64];
    let len = read_at(file, &mut header, 0)?;
    let [header] = header;
    Ok((len == HEADER_LEN).then(|| Header::decode(header)))
}

/// Whether a file begins with a header that neither this crate nor the Python client writes.
pub(crate) fn has_unknown_magic(file: &File) -> bool {
    let is_unknown = |header: Header| header.check(u64::MAX) == Err(LayoutError::MagicUnknown);
    read_header(file).ok().flatten().is_some_and(is_unknown)
}

impl Reader {
    /// Reads the committed bytes of `file`.
    pub(crate) fn read<'r>(&'r mut self, file: &File) -> Result<Snapshot<'r>, ReadError> {
        let stat = sys::stat(file).map_err(ReadError::Read)?;
        self.read_with_stat(file, stat, None)
    }

    /// Reads the committed bytes of `file`, whose metadata the caller has just read, and perhaps its header.
    pub(crate) fn read_with_stat<'r>(
        &'r mut self,
        file: &File,
        stat: Stat,
        header: Option<Header>,
    ) -> Result<Snapshot<'r>, ReadError> {
        let check = |header: Header, len| Ok(header.check(len)?.unwrap_or(0));
        self.read_committed(file, stat, header, check)
    }

    /// Reads the committed bytes of a file whose header `check` accepts: from the header and the length of the file it
    /// returns `used`. Reads the header first, unless the caller has just done so.
    pub(super) fn read_committed<'r>(
        &'r mut self,
        file: &File,
        stat: Stat,
        header: Option<Header>,
        check: impl FnOnce(Header, u64) -> Result<u32, LayoutError>,
    ) -> Result<Snapshot<'r>, ReadError> {
        if !stat.is_file() {
            return Err(ReadError::NotRegular);
        }
        if stat.is_linked() {
            return Err(ReadError::Linked);
        }
        let len = stat.len;
        if len == 0 {
            return Err(ReadError::Empty);
        }
        let header = match header {
            Some(header) => header,
            None => {
                read_header(file)?.ok_or(ReadError::Layout(LayoutError::HeaderTruncated { len }))?
            }
        };
        let used = check(header, len).map_err(ReadError::Layout)?;
        // NOTE: each byte has the same offset in its page here and in the file. If the buffer is a few bytes off, the
        // kernel takes 2.7 times as long, as its loads seem to depend on its stores (4K aliasing).
        let words = self.buffer(used as usize / WORD_LEN);
        let (_, body) = words.split_at_mut(words.len().min(1));
        let got = read_at(file, body, HEADER_LEN as u64)?;
        if got < size_of_val(body) {
            let len = (HEADER_LEN + got) as u64;
            return Err(ReadError::Layout(LayoutError::UsedPastEnd { used, len }));
        }
        Ok(Snapshot { words, header, used, is_own: header.magic == layout::MAGIC })
    }
}

impl Reader {
    /// Returns a part of the buffer, which grows if necessary. It may contain bytes of earlier files.
    fn buffer(&mut self, words: usize) -> &mut [u64] {
        let lines = words.div_ceil(WORDS_PER_LINE);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line::default());
        }
        let (words, _) = words_of_mut(&mut self.lines).split_at_mut(words);
        words
    }

    /// Releases the memory of the buffer.
    pub(crate) fn release(&mut self) {
        self.lines = Vec::new();
    }

    /// Reads a range of words of a file; fewer if the file ends before.
    pub(crate) fn read_words(
        &mut self,
        file: &File,
        range: Range<u32>,
    ) -> Result<&[u64], ReadError> {
        let words = self.buffer(range.len());
        let got = read_at(file, words, u64::from(range.start) * WORD_LEN as u64)?;
        let (words, _) = words.split_at(got / WORD_LEN);
        Ok(words)
    }
}

/// Decodes the header of a file of `len` bytes from its first word: whether the file has the magic of this crate, and
/// `used`.
pub(crate) fn used(header: u64, len: u64) -> Option<(bool, u32)> {
    let header = Header::decode(header);
    let used = header.check(len).ok()??;
    Some((header.magic == layout::MAGIC, used))
}

/// Fills `words` from `offset` on, up to the end of the file. Returns the number of bytes read.
pub(super) fn read_at(file: &File, words: &mut [u64], offset: u64) -> Result<usize, ReadError> {
    let bytes = bytes_of_mut(words);
    let mut got = 0;
    while let Some(rest) = bytes.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + got as u64) {
            Ok(0) => break,
            // If a read stopped inside a word, that word is read again as a whole.
            Ok(count) if count < rest.len() => {
                let whole = (got + count) & !7;
                if whole == got {
                    return Ok(got + count);
                }
                got = whole;
            }
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ReadError::Read(error)),
        }
    }
    Ok(got)
}
