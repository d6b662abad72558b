//! Lower bounds for the time of a scrape of a directory.
//!
//! [`Floor`] is the lower bound of a repeated scrape: all files are mapped, and the offset of each value and the text of
//! each line up to its number are prepared. [`Reads`] is the lower bound of a cold merge, which must read the files.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::ptr;

/// Bytes before the first entry of a series file; the first four are `used`.
const HEADER_LEN: usize = 8;
/// Below this, `f64` represents every integer.
const MAX_WHOLE: f64 = (1u64 << 53) as f64;

/// A repeated scrape must at least load every value ([`touch`](Self::touch)) and write every line
/// ([`write`](Self::write)).
pub struct Floor {
    files: Vec<Mapped>,
    sums: Vec<f64>,
    /// All lines of a page, without their numbers.
    prefixes: Vec<u8>,
    lines: Vec<Line>,
    out: Vec<u8>,
}

/// A mapped series file and the positions of its values.
struct Mapped {
    start: *mut libc::c_void,
    len: usize,
    values: Vec<Value>,
}

/// The offset of a value in its file, in bytes, and the index of its sum.
struct Value {
    offset: u32,
    sum: u32,
}

struct Line {
    prefix: Range<usize>,
    sum: usize,
}

impl Floor {
    /// Maps all files of a directory without writers, and copies the lines of its page.
    ///
    /// A line with an integer gets a sum that is an integer, and any other line one that is not, so that writing
    /// numbers costs as much as on the page.
    pub fn new(dir: &Path, page: &str) -> io::Result<Floor> {
        let mut keys = Keys::default();
        let paths = series_files(dir)?;
        let files = paths.iter().map(|path| Mapped::new(path, &mut keys));
        let files = files.collect::<io::Result<Vec<_>>>()?;
        let sums = vec![0.0; keys.count];
        let (prefixes, lines, out) = (Vec::new(), Vec::new(), Vec::new());
        let mut floor = Floor { files, sums, prefixes, lines, out };
        floor.touch();
        floor.take_lines(page);
        Ok(floor)
    }

    fn take_lines(&mut self, page: &str) {
        let (whole, broken): (Vec<usize>, Vec<usize>) =
            (0..self.sums.len()).partition(|at| is_whole(self.sums[*at]));
        let (mut whole, mut broken) = (whole.iter().cycle(), broken.iter().cycle());
        let mut start = 0;
        for line in page.lines() {
            let Some((prefix, number)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))
            else {
                // Comments go before the next line.
                self.prefixes.extend_from_slice(line.as_bytes());
                self.prefixes.push(b'\n');
                continue;
            };
            self.prefixes.extend_from_slice(prefix.as_bytes());
            self.prefixes.push(b' ');
            let is_broken = !number.parse().is_ok_and(is_whole);
            let sum = if is_broken { broken.next() } else { whole.next() };
            let end = self.prefixes.len();
            self.lines.push(Line { prefix: start..end, sum: sum.copied().unwrap_or(0) });
            start = end;
        }
    }

    /// The number of values in all files.
    pub fn values(&self) -> usize {
        self.files.iter().map(|file| file.values.len()).sum()
    }

    /// Adds every value to its sum.
    pub fn touch(&mut self) {
        self.sums.fill(0.0);
        for file in &self.files {
            for value in &file.values {
                self.sums[value.sum as usize] += file.load(value.offset as usize);
            }
        }
    }

    /// Writes every line into the reused buffer; returns the total length.
    pub fn write(&mut self) -> usize {
        self.out.clear();
        for line in &self.lines {
            self.out.extend_from_slice(&self.prefixes[line.prefix.clone()]);
            write_number(&mut self.out, self.sums[line.sum]);
            self.out.push(b'\n');
        }
        self.out.len()
    }
}

fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && (0.0..MAX_WHOLE).contains(&number)
}

fn write_number(out: &mut Vec<u8>, number: f64) {
    if !is_whole(number) {
        // OK because writing to memory does not fail.
        let _ = write!(out, "{number}");
        return;
    }
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number as u64;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

impl Mapped {
    fn new(path: &Path, keys: &mut Keys) -> io::Result<Mapped> {
        let bytes = std::fs::read(path)?;
        let values = values_of(path, &bytes, keys)?;
        let (file, len) = (File::open(path)?, bytes.len());
        let (protection, flags) = (libc::PROT_READ, libc::MAP_SHARED | libc::MAP_POPULATE);
        // SAFETY: creates a new mapping and changes no existing one.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapped { start, len, values })
    }

    #[inline(always)]
    fn load(&self, offset: usize) -> f64 {
        let value = self.start.wrapping_byte_add(offset).cast::<f64>();
        // SAFETY: `values_of` has checked that 8 bytes at this multiple of 8 are within the file, whose length
        // does not change.
        unsafe { value.read_volatile() }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping, and no reference into it exists.
        unsafe { libc::munmap(self.start, self.len) };
    }
}

/// The index of each key's sum, by the part of the file name before the process.
#[derive(Default)]
struct Keys {
    by_type: HashMap<String, HashMap<Vec<u8>, u32>>,
    count: usize,
}

/// Walks the entries of a file in the layout of multiprom and of the Python client since 0.18.
fn values_of(path: &Path, bytes: &[u8], keys: &mut Keys) -> io::Result<Vec<Value>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (kind, _) = name.rsplit_once('_').unwrap_or_default();
    let sums = keys.by_type.entry(kind.to_owned()).or_default();
    let malformed = || io::Error::other(format!("`{}` is malformed", path.display()));
    let word = |at: usize| {
        let word = bytes.get(at..at + 4).ok_or_else(malformed)?;
        Ok::<usize, io::Error>(
            u32::from_le_bytes(word.try_into().map_err(io::Error::other)?) as usize
        )
    };
    let used = word(0)?;
    let mut values = Vec::new();
    let mut at = HEADER_LEN;
    while at < used {
        let key_end = at + 4 + word(at)?;
        let offset = key_end + 8 - key_end % 8;
        let key = bytes.get(at + 4..key_end).ok_or_else(malformed)?;
        if offset + 16 > bytes.len() {
            return Err(malformed());
        }
        let sum = sums.get(key).copied().unwrap_or_else(|| {
            let sum = keys.count as u32;
            keys.count += 1;
            sums.insert(key.to_vec(), sum);
            sum
        });
        values.push(Value { offset: offset as u32, sum });
        at = offset + 16;
    }
    Ok(values)
}

/// A cold merge must at least open each file, read it up to `used`, and close it.
pub struct Reads {
    files: Vec<PathBuf>,
    buffer: Vec<Page>,
}

/// The buffer is page-aligned and each byte is at its file offset: the kernel copies fastest at this alignment.
#[derive(Clone)]
#[repr(align(4096))]
struct Page {
    _bytes: [u8; 4096],
}

impl Reads {
    pub fn new(dir: &Path) -> io::Result<Reads> {
        let files = series_files(dir)?;
        let mut most = 0;
        for file in &files {
            most = most.max(file.metadata()?.len() as usize);
        }
        let pages = most.div_ceil(size_of::<Page>());
        Ok(Reads { files, buffer: vec![Page { _bytes: [1; 4096] }; pages] })
    }

    /// Reads all files; returns the total length.
    pub fn read(&mut self) -> io::Result<usize> {
        let mut total = 0;
        let buffer = self.buffer.as_mut_ptr().cast::<u8>();
        let len = size_of_val(&*self.buffer);
        // SAFETY: the memory of `self.buffer`, which is borrowed mutably; a `Page` consists of bytes.
        let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, len) };
        for path in &self.files {
            let file = File::open(path)?;
            let mut header = [0; HEADER_LEN];
            file.read_exact_at(&mut header, 0)?;
            let [u0, u1, u2, u3, ..] = header;
            let used = u32::from_le_bytes([u0, u1, u2, u3]) as usize;
            file.read_exact_at(&mut buffer[HEADER_LEN..used], HEADER_LEN as u64)?;
            total += used;
        }
        Ok(total)
    }
}

/// All series files of a directory, sorted by name.
pub fn series_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "db") {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}
