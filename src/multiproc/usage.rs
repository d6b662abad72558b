//! Measures the bytes that each family takes in multiprocess directories, for tools.
//!
//! All files are counted, as each of them takes space: also those of ended processes, and those that the archive has absorbed
//! but that are not removed yet.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive_file::ArchiveFile;
use super::listing::{file_names, retired_names};
use super::merge::attributes::{AttributeList, Attributes};
use super::merge::catalog::{Catalog, Destination};
use super::skipped::{KeyProblem, SkipCause, Skipped};
use crate::error::{Error, ErrorKind, Result};
use crate::file::archive::{Archive, ArchiveError, RETIRED_DIR, companion_entries};
use crate::file::companion::layout::CompanionKind;
use crate::file::companion::{payload, reader as companion};
use crate::file::key;
use crate::file::layout::{Entries, LayoutError};
use crate::file::name::{FileKind, FileName, NameError};
use crate::file::place;
use crate::file::reader::{self, ReadError, Reader};
use crate::file::sys::{self, Stat};
use crate::model::MetricType;

/// The bytes that a family takes in multiprocess directories.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FamilyUsage {
    /// The name as in the line `# TYPE` of the text format: that of a counter ends in `_total`.
    pub name: String,
    /// The type; `None` if only companion files have the family.
    pub metric_type: Option<MetricType>,
    /// The number of different label sets, over all files. Series that were removed count for as long as a file has them.
    pub series: usize,
    /// The number of entries in all files. A histogram has several per series, and each process has its own; so may each
    /// thread.
    pub entries: usize,
    /// The bytes of these entries, with their keys.
    pub bytes: u64,
}

/// What the bytes in multiprocess directories are used for.
///
/// `len` is the sum of `reserved`, `other` and the bytes of all families.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DirectoryUsage {
    /// The families, largest first.
    pub families: Vec<FamilyUsage>,
    /// The number of series files, companion files and archives.
    pub files: usize,
    /// Bytes that are reserved at the end of files and not used yet.
    pub reserved: u64,
    /// Bytes of headers, of damaged parts, and of whatever else belongs to no family.
    pub other: u64,
    /// Bytes of all files.
    pub len: u64,
    /// The files, and the parts of files, that cannot be read.
    pub errors: Vec<Error>,
}

/// Measures which families take the space in multiprocess directories: in series files, companion files and archives.
///
/// ```
/// use multiprom::inspect::family_usage;
/// use multiprom::{Backend, Counter, Gauge, Registry};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = std::env::temp_dir().join(format!("multiprom-doc-usage-{}", std::process::id()));
/// # std::fs::create_dir(&dir)?;
/// let registry = Registry::builder().backend(Backend::directory(&dir)?).build()?;
/// let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["queue"]).register(&registry)?;
/// for queue in ["mail", "backup"] {
///     jobs.with([queue]).inc();
/// }
/// Gauge::builder("queue_length", "Jobs that wait.").register(&registry)?.set(3.0);
///
/// let usage = family_usage([&dir])?;
/// let largest = &usage.families[0];
/// assert_eq!((&*largest.name, largest.series, largest.bytes), ("jobs_total", 2, 168));
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Of kind [`Directory`](ErrorKind::Directory) if a directory cannot be listed. A file that cannot be read is among
/// [`DirectoryUsage::errors`].
pub fn family_usage(dirs: impl IntoIterator<Item: AsRef<Path>>) -> Result<DirectoryUsage> {
    let dirs: Vec<PathBuf> = dirs.into_iter().map(|dir| dir.as_ref().to_owned()).collect();
    let (mut counts, mut reader) = (Counts::default(), Reader::default());
    for (_, dir) in place::distinct(&dirs) {
        let failed = |dir: &Path, error| Error::at(ErrorKind::Directory, dir, error);
        let names = file_names(dir).map_err(|error| failed(dir, error))?;
        for name in names.series {
            counts.add_series_file(&dir.join(name), &mut reader);
        }
        for name in names.companions {
            counts.add_companion(&dir.join(name), &mut reader);
        }
        let retired = dir.join(RETIRED_DIR);
        for name in retired_names(&retired).map_err(|error| failed(&retired, error))? {
            counts.add_series_file(&retired.join(name), &mut reader);
        }
        counts.add_archive(dir);
    }
    Ok(counts.finish())
}

/// A number of entries, and their bytes.
#[derive(Clone, Copy, Default)]
struct Share {
    entries: usize,
    bytes: u64,
}

impl Share {
    fn add(&mut self, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes as u64;
    }

    fn add_share(&mut self, other: Share) {
        self.entries += other.entries;
        self.bytes += other.bytes;
    }
}

/// The counts of all files that were read so far.
#[derive(Default)]
struct Counts {
    catalog: Catalog,
    /// The entries of series files and archives, by the index of the family in the catalog.
    shares: Vec<Share>,
    /// The companion entries, whose keys do not say the type of the family, by the name of the family.
    companions: HashMap<String, Share>,
    files: usize,
    reserved: u64,
    len: u64,
    skipped: Skipped,
    attributes: AttributeList,
}

impl Counts {
    /// Opens a file and adds its length. `None` if it was removed in between or cannot be opened.
    fn open(&mut self, path: &Path) -> Option<(File, Stat)> {
        let opened = reader::open(path).and_then(|file| {
            let stat = sys::stat(&file).map_err(ReadError::Read)?;
            Ok((file, stat))
        });
        match opened {
            Ok((file, stat)) => {
                if stat.is_file() {
                    self.add_len(stat.len);
                }
                Some((file, stat))
            }
            Err(error) => {
                if !error.is_vanished() {
                    self.skipped.add(path, SkipCause::Read(error));
                }
                None
            }
        }
    }

    fn add_len(&mut self, len: u64) {
        self.files += 1;
        self.len += len;
    }

    fn add_series_file(&mut self, path: &Path, reader: &mut Reader) {
        let Some((file, stat)) = self.open(path) else { return };
        let name = path.file_name().and_then(OsStr::to_str);
        let Some(parsed) = name.and_then(FileName::parse) else {
            let error = name.map_or(NameError::Foreign, NameError::of);
            self.skipped.add(path, SkipCause::Name(error));
            return;
        };
        let read = reader.read_with_stat(&file, stat, None);
        match read.and_then(|snapshot| Ok((snapshot.used, snapshot.entries()?))) {
            Ok((used, entries)) => {
                self.reserved += stat.len.saturating_sub(used.into());
                if let Err(error) = self.add_entries(path, parsed.kind, entries) {
                    self.skipped.add(path, SkipCause::Entry(error));
                }
            }
            Err(error) => self.skipped.add(path, SkipCause::Read(error)),
        }
    }

    /// Adds the entries of a series file or of a section, up to the first damaged one.
    fn add_entries(
        &mut self,
        path: &Path,
        kind: FileKind,
        mut entries: Entries<'_>,
    ) -> std::result::Result<(), LayoutError> {
        let mut keys = self.catalog.take_keys(kind.metric_type());
        keys.expect_from(0);
        let result = loop {
            let next = keys.next_or_add(&mut entries, |entry| self.catalog.resolve(kind, entry));
            let (entry, resolved) = match next {
                Some(Ok(found)) => found,
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            };
            if let Destination::Unusable(problem) = resolved.destination {
                let problem = self.catalog.key_problems[problem as usize].clone();
                self.skipped.add(path, SkipCause::Key(problem));
                continue;
            }
            let family = resolved.family as usize;
            if self.shares.len() <= family {
                self.shares.resize(family + 1, Share::default());
            }
            self.shares[family].add(entry.byte_len());
        };
        self.catalog.put_keys(kind.metric_type(), keys);
        result
    }

    fn add_companion(&mut self, path: &Path, reader: &mut Reader) {
        let Some((file, stat)) = self.open(path) else { return };
        match companion::read(reader, &file, stat) {
            Ok(snapshot) => {
                self.reserved += stat.len.saturating_sub(snapshot.used.into());
                if let Err(error) = self.add_companion_entries(path, snapshot.body) {
                    self.skipped.add(path, SkipCause::Entry(error));
                }
            }
            Err(error) => self.skipped.add(path, SkipCause::Read(error)),
        }
    }

    /// Adds the companion entries in a body, up to the first damaged one. The current record of a native histogram belongs to the family
    /// of the entry that refers to it; a replaced one belongs to none.
    fn add_companion_entries(
        &mut self,
        path: &Path,
        body: &[u8],
    ) -> std::result::Result<(), LayoutError> {
        let mut records: HashMap<u64, usize> = HashMap::new();
        let mut histograms: Vec<(String, u64)> = Vec::new();
        let mut result = Ok(());
        for entry in companion_entries(body) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            if let Err(error) = payload::check(&entry, body) {
                self.skipped.add(path, SkipCause::Entry(error));
            }
            _ = self.attributes.add(&entry);
            match entry.kind {
                CompanionKind::NativeRecord => {
                    records.insert(entry.offset as u64, entry.byte_len());
                    continue;
                }
                CompanionKind::Unknown(kind) => {
                    let problem = KeyProblem::UnknownKind { kind };
                    self.skipped.add(path, SkipCause::Key(problem));
                    continue;
                }
                CompanionKind::Unit
                | CompanionKind::Type
                | CompanionKind::Exemplar
                | CompanionKind::Native => {}
            }
            let family = match key::decode(entry.key) {
                Ok(key) => key.family.into_owned(),
                Err(error) => {
                    self.skipped.add(path, SkipCause::Key(KeyProblem::Malformed(error)));
                    continue;
                }
            };
            if entry.kind == CompanionKind::Native {
                let record = payload::record_offset(&entry);
                histograms.extend(record.ok().map(|offset| (family.clone(), offset)));
            }
            self.companions.entry(family).or_default().add(entry.byte_len());
        }
        for (family, offset) in histograms {
            if let Some(bytes) = records.remove(&offset) {
                self.companions.entry(family).or_default().add(bytes);
            }
        }
        result
    }

    fn add_archive(&mut self, dir: &Path) {
        let path = &ArchiveFile::path(dir);
        match ArchiveFile::open(dir) {
            Ok(None) => {}
            Ok(Some(file)) => {
                self.add_len(file.len());
                let result = file.decode().and_then(|archive| self.add_sections(path, archive));
                if let Err(error) = result {
                    self.skipped.add(path, SkipCause::Archive(error));
                }
            }
            Err(cause) => self.skipped.add(path, cause),
        }
    }

    fn add_sections(
        &mut self,
        path: &Path,
        archive: Archive<'_>,
    ) -> std::result::Result<(), ArchiveError> {
        let malformed = |error| ArchiveError::EntryMalformed { error };
        for section in archive.sections() {
            let section = section?;
            self.add_entries(path, section.name.kind, section.entries).map_err(malformed)?;
        }
        for body in archive.companions() {
            self.add_companion_entries(path, body?).map_err(malformed)?;
        }
        archive.unknown_sections().next().map_or(Ok(()), |section| Err(section.error()))
    }

    /// Adds the companion entries to the families of their names, and sorts.
    fn finish(self) -> DirectoryUsage {
        let Counts { catalog, mut shares, mut companions, files, reserved, len, .. } = self;
        let mut types = Attributes::default();
        types.add(&Arc::new(self.attributes));
        shares.resize(catalog.families.len(), Share::default());
        let mut families = Vec::with_capacity(catalog.families.len());
        for (family, mut share) in catalog.families.iter().zip(shares) {
            if let Some(companion) = companions.remove(&*family.name) {
                share.add_share(companion);
            }
            let of_gauges = types.type_of(&family.name);
            let metric_type = match family.metric_type {
                MetricType::Gauge => of_gauges.unwrap_or(MetricType::Gauge),
                other => other,
            };
            families.push(FamilyUsage {
                name: [&family.name, family.metric_type.own_suffix()].concat(),
                metric_type: Some(metric_type),
                series: family.label_set_count(),
                entries: share.entries,
                bytes: share.bytes,
            });
        }
        families.extend(companions.into_iter().map(|(name, share)| FamilyUsage {
            name,
            metric_type: None,
            series: 0,
            entries: share.entries,
            bytes: share.bytes,
        }));
        families.sort_by(|one, other| {
            other.bytes.cmp(&one.bytes).then_with(|| one.name.cmp(&other.name))
        });
        let bytes: u64 = families.iter().map(|family| family.bytes).sum();
        let other = len.saturating_sub(reserved).saturating_sub(bytes);
        let errors = self.skipped.into_errors().map(|(_, error)| error).collect();
        DirectoryUsage { families, files, reserved, other, len, errors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::companion::layout::{MAGIC, encode_entry};
    use crate::file::layout::{HEADER_LEN, Header};
    use crate::test_dir::TestDir;
    use std::fs;

    #[test]
    fn the_current_record_of_a_native_histogram_counts_for_its_family_and_a_replaced_one_for_none()
    {
        let record = [0; 48];
        let mut body = Vec::new();
        encode_entry(&mut body, CompanionKind::NativeRecord, b"", &record);
        let record_len = body.len();
        let offset = (HEADER_LEN + record_len) as u64;
        encode_entry(&mut body, CompanionKind::NativeRecord, b"", &record);
        let key = br#"["n", "n", {"a": ""}, ""]       "#;
        encode_entry(&mut body, CompanionKind::Native, key, &offset.to_le_bytes());
        let used = HEADER_LEN + body.len();
        let header = Header { used: used as u32, magic: MAGIC }.encode();
        let dir = TestDir::new();
        let reserved = [0; 40];
        let file = [&header[..], &body, &reserved].concat();
        fs::write(dir.join("companion_7-0000beef.mpx"), &file).unwrap();

        let usage = family_usage([&*dir]).unwrap();
        assert!(usage.errors.is_empty(), "{:?}", usage.errors);
        let family = FamilyUsage {
            name: "n".to_owned(),
            metric_type: None,
            series: 0,
            entries: 2,
            bytes: (body.len() - record_len) as u64,
        };
        assert_eq!(usage.families, [family]);
        assert_eq!((usage.files, usage.len), (1, file.len() as u64));
        assert_eq!(usage.reserved, reserved.len() as u64);
        assert_eq!(usage.other, (HEADER_LEN + record_len) as u64);
    }
}
