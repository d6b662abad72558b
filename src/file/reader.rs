//! Reads series files, of any writer and in any state: total, bounded, and never through a mapping.
//!
//! `used` is read first, then the entries below it, which never move. Buffers, offsets and lengths
//! are multiples of 8: the kernel then copies each value whole, while its writer goes on.
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

/// Why a file, or the rest of it, cannot be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Open(io::Error),
    Read(io::Error),
    NotRegular,
    /// The file has a second name, which may be in a directory of somebody else.
    Linked,
    Empty,
    Layout(LayoutError),
}

impl ReadError {
    /// Whether the file was removed after its name was listed, which is no error of the file.
    pub(crate) fn is_vanished(&self) -> bool {
        matches!(self, ReadError::Open(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether what has the name is a link, a directory or a device, and no file.
    pub(crate) fn is_no_file(&self) -> bool {
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
            ReadError::Open(error) => write!(f, "cannot open: {error}"),
            ReadError::Read(error) => write!(f, "cannot read: {error}"),
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
            ReadError::Layout(error) => Some(error),
            ReadError::NotRegular | ReadError::Linked | ReadError::Empty => None,
        }
    }
}

const OPEN_FLAGS: libc::c_int =
    libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;

/// Opens a file for reading: follows no link, waits for no FIFO.
pub(crate) fn open(path: &Path) -> Result<File, ReadError> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OPEN_FLAGS).open(path).map_err(ReadError::Open)
}

/// Opens a file of an open directory in the same way.
pub(crate) fn open_at(dir: &File, name: &str) -> Result<File, ReadError> {
    sys::open_at(dir.as_fd(), name, OPEN_FLAGS, 0).map_err(ReadError::Open)
}

/// Opens a file that is open already once more, whatever has its name by now.
#[cfg(feature = "cli")]
pub(crate) fn reopen(file: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new().read(true).custom_flags(OPEN_FLAGS & !libc::O_NOFOLLOW).open(path)
}

/// What a file held when it was read.
pub(crate) struct Snapshot<'r> {
    /// The file up to `used`.
    pub(crate) words: &'r [u64],
    header: Header,
    /// Bytes that are committed, header included; 0 where the writer has just created the file.
    pub(crate) used: u32,
    /// Whether the file has our magic.
    pub(crate) is_own: bool,
}

impl<'r> Snapshot<'r> {
    /// The entries, once it is found out how they are laid out.
    pub(crate) fn entries(&self) -> Result<Entries<'r>, ReadError> {
        Entries::detect(self.header, self.body()).map_err(ReadError::Layout)
    }

    /// The bytes behind the header.
    pub(crate) fn body(&self) -> &'r [u8] {
        bytes_of(self.words).get(HEADER_LEN..).unwrap_or_default()
    }
}

/// Reads files one after the other into one buffer.
#[derive(Default)]
pub(crate) struct Reader {
    lines: Vec<Line>,
}

/// Where the id of a series file is from: a file with the magic of this crate, whatever its version, was named
/// by this crate, if its name has that form.
///
/// A retired file was named by a compactor, whatever is in it.
pub(crate) fn id_kind(name: FileName<'_>, file: &File) -> IdKind {
    let mut header = [0u64];
    let is_own = name.has_unique_form()
        && read_at(file, &mut header, 0).is_ok_and(|len| len == HEADER_LEN)
        && Header::decode(header[0]).is_own();
    if is_own { IdKind::Unique } else { IdKind::Chosen }
}

impl Reader {
    /// Reads the committed bytes of `file`.
    pub(crate) fn read<'r>(&'r mut self, file: &File) -> Result<Snapshot<'r>, ReadError> {
        let stat = sys::stat(file).map_err(ReadError::Read)?;
        self.read_known(file, stat)
    }

    /// The same for those who have just asked for this.
    pub(crate) fn read_known<'r>(
        &'r mut self,
        file: &File,
        stat: Stat,
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
        let mut header = [0u64];
        if read_at(file, &mut header, 0)? < HEADER_LEN {
            return Err(ReadError::Layout(LayoutError::HeaderTruncated { len }));
        }
        let [header] = header;
        let header = Header::decode(header);
        let used = header.check(len).map_err(ReadError::Layout)?.unwrap_or(0);
        // NOTE: every byte is as far from the start of its page here as in the file. A buffer that lies some
        // bytes behind takes the kernel 2.7 times as long: its loads seem to follow its stores (4K aliasing).
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
    /// Grown and never cleared: what an earlier file left is overwritten or not looked at.
    fn buffer(&mut self, words: usize) -> &mut [u64] {
        let lines = words.div_ceil(WORDS_PER_LINE);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line::default());
        }
        let (words, _) = words_of_mut(&mut self.lines).split_at_mut(words);
        words
    }

    /// Gives back the memory of what was read.
    pub(crate) fn release(&mut self) {
        self.lines = Vec::new();
    }

    /// Reads the words of a file from one to another; fewer where it ends before.
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

/// The header of a file, from its first word, for a file of `len` bytes.
pub(crate) fn used(header: u64, len: u64) -> Option<(bool, u32)> {
    let header = Header::decode(header);
    let used = header.check(len).ok()??;
    Some((header.magic == layout::MAGIC, used))
}

/// Fills `words` from `offset`, as far as the file goes; the number of bytes read.
fn read_at(file: &File, words: &mut [u64], offset: u64) -> Result<usize, ReadError> {
    let bytes = bytes_of_mut(words);
    let mut got = 0;
    while let Some(rest) = bytes.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + got as u64) {
            Ok(0) => break,
            // A read that stopped inside a word takes that word again, whole.
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
