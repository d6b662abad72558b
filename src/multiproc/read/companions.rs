//! Companion files: a scrape takes the units and types of families from them.
//!
//! As for series files, what earlier scrapes have parsed holds for as long as name, inode, length and time of change of a
//! file are the same: then only entries behind `used` are new. Whether the writer lives does not matter.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::file::companion::layout::{CompanionEntries, CompanionKind};
use crate::file::companion::reader as companion;
use crate::file::layout::{LayoutError, WORD_LEN};
use crate::file::reader::{self, ReadError, Reader};
use crate::file::sys::{self, Stat};
use crate::file::words::bytes_of;
use crate::multiproc::merge::attributes::AttributeList;
use crate::multiproc::merge::state::Merge;
use crate::multiproc::skipped::{KeyProblem, SkipCause};

/// A companion that an earlier scrape has parsed.
pub(super) struct CachedCompanion {
    name: Box<str>,
    stat: Stat,
    parsed: ParsedCompanion,
}

/// What a scrape takes from a companion.
#[derive(Clone, Default)]
pub(super) struct ParsedCompanion {
    /// Bytes of the file that were parsed.
    used: u32,
    attributes: Arc<AttributeList>,
    /// The code of the first kind that this release does not know.
    unknown_kind: Option<u32>,
}

/// Adds the companions with these names, in this order, and returns them for the next scrape.
pub(super) fn add_companions(
    (merge, reader): (&mut Merge, &mut Reader),
    (dir, handle): (&Path, &File),
    names: &[OsString],
    is_archived: impl Fn(&str) -> bool,
    cached: Vec<CachedCompanion>,
) -> Vec<CachedCompanion> {
    let mut cached = cached.into_iter().peekable();
    let mut next = Vec::with_capacity(names.len());
    for name in names.iter().filter_map(|name| name.to_str()).filter(|name| !is_archived(name)) {
        while cached.next_if(|before| *before.name < *name).is_some() {}
        let before = cached.next_if(|before| *before.name == *name);
        match reader::open_at(handle, name) {
            Ok(file) => {
                let path = dir.join(name);
                next.extend(add_companion(merge, reader, &path, name, &file, before));
            }
            Err(error) if error.is_vanished() => {}
            Err(error) => merge.skipped.add(&dir.join(name), SkipCause::Read(error)),
        }
    }
    next
}

/// Adds an open companion. Returns what the next scrape can use; `None` if the file is damaged or has just changed.
pub(super) fn add_companion(
    merge: &mut Merge,
    reader: &mut Reader,
    path: &Path,
    name: &str,
    file: &File,
    before: Option<CachedCompanion>,
) -> Option<CachedCompanion> {
    let stat = match sys::stat(file) {
        Ok(stat) => stat,
        Err(error) => {
            merge.skipped.add(path, SkipCause::Read(ReadError::Read(error)));
            return None;
        }
    };
    let known = before.filter(|before| before.stat == stat).map(|before| before.parsed);
    let refreshed = known.and_then(|parsed| refresh(reader, file, stat, parsed));
    let (mut parsed, result) = match refreshed {
        Some(parsed) => (parsed, Ok(())),
        None => {
            // A file that cannot be read whole is read once more: its writer may be appending.
            let first = parse(reader, file, stat);
            if first.1.is_ok() { first } else { parse(reader, file, stat) }
        }
    };
    parsed.attributes = merge.attributes.share(parsed.attributes);
    parsed.apply(merge, path);
    match result {
        Ok(()) if stat.is_settled() => Some(CachedCompanion { name: name.into(), stat, parsed }),
        Ok(()) => None,
        Err(cause) => {
            merge.skipped.add(path, cause);
            None
        }
    }
}

/// Parses the entries that are new since the last scrape. `None` if the whole file must be parsed.
fn refresh(
    reader: &mut Reader,
    file: &File,
    stat: Stat,
    mut parsed: ParsedCompanion,
) -> Option<ParsedCompanion> {
    let header = *reader.read_words(file, 0..1).ok()?.first()?;
    let used = companion::used(header, stat.len)?;
    if used == parsed.used {
        return Some(parsed);
    }
    let word = |bytes: u32| bytes / WORD_LEN as u32;
    let range = (used > parsed.used).then(|| word(parsed.used)..word(used))?;
    let words = reader.read_words(file, range.clone()).ok().filter(|it| it.len() == range.len())?;
    let entries = CompanionEntries::new(bytes_of(words), parsed.used as usize);
    parsed.add(entries).ok()?;
    parsed.used = used;
    Some(parsed)
}

/// Parses a file, or the entries before the first damaged one.
fn parse(reader: &mut Reader, file: &File, stat: Stat) -> (ParsedCompanion, Result<(), SkipCause>) {
    let mut parsed = ParsedCompanion::default();
    let result = match companion::read(reader, file, stat) {
        Ok(snapshot) => {
            parsed.used = snapshot.used;
            parsed.add(snapshot.entries()).map_err(SkipCause::Entry)
        }
        Err(error) => Err(SkipCause::Read(error)),
    };
    (parsed, result)
}

impl ParsedCompanion {
    /// Adds entries. One whose payload is malformed is left out; the first such error is returned.
    pub(super) fn add(&mut self, entries: CompanionEntries<'_>) -> Result<(), LayoutError> {
        let mut attributes = (*self.attributes).clone();
        let mut result = Ok(());
        for entry in entries {
            let added = entry.and_then(|entry| {
                if let CompanionKind::Unknown(kind) = entry.kind {
                    self.unknown_kind.get_or_insert(kind);
                }
                attributes.add(&entry)
            });
            result = result.and(added);
        }
        self.attributes = Arc::new(attributes);
        result
    }

    /// Adds the attributes to a scrape, and reports an unknown kind.
    pub(super) fn apply(&self, merge: &mut Merge, path: &Path) {
        merge.attributes.add(&self.attributes);
        if let Some(kind) = self.unknown_kind {
            merge.skipped.add(path, SkipCause::Key(KeyProblem::UnknownKind { kind }));
        }
    }
}
