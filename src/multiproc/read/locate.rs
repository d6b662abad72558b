//! Finds out whether a listed file is still the one in the cache.

use std::fs::File;
use std::os::fd::AsFd as _;

use super::cached_file::CachedFile;
use super::candidate::Candidate;
use super::context::ReadContext;
use crate::file::reader::ReadError;
use crate::file::sys::{self, Stat};
use crate::multiproc::skipped::SkipCause;

/// A file that exists.
pub(super) struct Located {
    pub(super) stat: Stat,
    /// Open, unless the cached mapping makes that unnecessary.
    pub(super) file: Option<File>,
    /// The cache entry, if it still holds.
    pub(super) cached: Option<Box<CachedFile>>,
}

/// Asks the kernel for the state of a file and compares it with the cache entry. `None` if there is no file to add.
pub(super) fn locate(
    context: &mut ReadContext<'_>,
    candidate: &Candidate<'_>,
    mut cached: Option<Box<CachedFile>>,
) -> Option<Located> {
    // A mapping stays that of the file, even if another file gets its name in the next moment. A file without a mapping
    // is opened first, for the same reason.
    if let Some(mapped) = cached.as_mut().filter(|cached| cached.is_mapped()) {
        let now = match &mapped.file {
            Some(file) if candidate.is_listing_unchanged => sys::stat(file),
            _ => sys::stat_at(candidate.dir.as_fd(), candidate.text),
        };
        let stat = mapped.stat;
        if now.is_ok_and(|now| now == stat) {
            return Some(Located { stat, file: mapped.file.take(), cached });
        }
    }
    let file = candidate.open(context)?;
    match sys::stat(&file) {
        Ok(stat) => {
            let cached = cached.filter(|cached| cached.stat == stat);
            Some(Located { stat, file: Some(file), cached })
        }
        Err(error) => {
            let cause = SkipCause::Read(ReadError::Read(error));
            context.merge.skipped.add(&candidate.path(), cause);
            None
        }
    }
}
