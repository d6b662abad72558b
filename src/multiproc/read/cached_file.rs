//! A file that an earlier scrape has parsed.
//!
//! The cache entry of a file holds for as long as its name, inode, length and time of change are the same: then nothing
//! but stores through its mapping has happened to it. Entries never move, so a scrape reads the values at the cached
//! positions and parses only the entries behind them.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use super::candidate::Candidate;
use super::context::{ReadContext, ReadMethod};
use super::parse_file::ParsedFile;
use crate::file::layout::{Entries, HEADER_LEN, WORD_LEN};
use crate::file::read_map::ReadMap;
use crate::file::reader;
use crate::file::sys::Stat;
use crate::file::words::bytes_of;
use crate::multiproc::liveness::{Proof, Verdict};
use crate::multiproc::merge::batch::CommonValues;
use crate::multiproc::merge::plan::Plan;
use crate::multiproc::merge::source::{FileOrigin, SourceToken};
use crate::multiproc::skipped::SkipCause;
use crate::prefetch::prefetch_all;

/// A parsed file.
pub(super) struct CachedFile {
    pub(super) name: Box<str>,
    pub(super) stat: Stat,
    plan: Arc<Plan>,
    /// Bytes of the file that the plan covers.
    used: u32,
    is_own: bool,
    /// What proves the death of the writer.
    pub(super) proof: Proof,
    /// Identifies the file among the sources of gauges in successive scrapes.
    source: SourceToken,
    map: Option<Arc<ReadMap>>,
    /// What the plan has in common with that of the file before.
    common: Option<CommonValues>,
    /// Kept open if there are descriptors to spare: `fstat` takes a fifth of the time of a lookup by name.
    pub(super) file: Option<File>,
    pub(super) verdict: Verdict,
    /// When the verdict was reached.
    pub(super) probed: Instant,
}

/// The result of reading a cached file.
pub(super) enum Reused {
    Added(Box<CachedFile>),
    /// The cache entry does not hold any more. Nothing was added.
    Changed,
    /// The file was truncated while it was read through its mapping: the scrape must begin again.
    Truncated,
}

impl CachedFile {
    /// How many files ahead of the current one are prefetched.
    pub(super) const PREFETCH_DISTANCE: usize = 4;

    /// The cache entry of a file that was just parsed; `None` if nothing is cached, or if it is empty, or was changed so
    /// recently that a further change would not show in its time of change.
    pub(super) fn new(
        context: &mut ReadContext<'_>,
        candidate: &Candidate<'_>,
        parsed: ParsedFile,
        file: File,
        stat: Stat,
    ) -> Option<Box<CachedFile>> {
        let ParsedFile { plan, used, is_own } = parsed;
        if context.method == ReadMethod::Once || used <= HEADER_LEN as u32 || !stat.is_settled() {
            return None;
        }
        let id = reader::id_kind_of(candidate.name, is_own);
        let is_mapped = context.method == ReadMethod::Mmap;
        let map = is_mapped.then(|| ReadMap::new(&file, stat.len)).flatten().map(Arc::new);
        Some(Box::new(CachedFile {
            name: candidate.text.into(),
            stat,
            plan,
            used,
            is_own,
            proof: Proof::of(id, candidate.listed_in),
            source: context.merge.new_source_token(),
            map,
            common: None,
            file: Some(file),
            verdict: Verdict::Unknown,
            probed: context.now,
        }))
    }

    pub(super) fn entry_count(&self) -> u64 {
        self.plan.value_count() as u64
    }

    pub(super) fn is_mapped(&self) -> bool {
        self.map.is_some()
    }

    /// Whether the file was truncated while it was read through its mapping.
    pub(super) fn has_faulted(&self) -> bool {
        self.map.as_ref().is_some_and(|map| map.has_faulted())
    }

    /// Keeps a mapped file open if there are descriptors to spare, and closes any other.
    pub(super) fn close_unless_spare(&mut self, spare_descriptors: &mut usize) {
        match spare_descriptors.checked_sub(1).filter(|_| self.is_mapped()) {
            Some(spare) if self.file.is_some() => *spare_descriptors = spare,
            _ => self.file = None,
        }
    }

    /// Prefetches a part of what adding this file needs, which is `distance` files ahead of the current one: first the entry, then
    /// the plan and the mapping, the lists of the plan, and the first values. Each step reads what the step before has prefetched.
    pub(super) fn prefetch(&self, distance: usize) {
        match (distance, &self.map) {
            (1, Some(map)) => {
                map.prefetch(0);
                self.plan.prefetch_first(&**map);
            }
            (2, _) => self.plan.prefetch(),
            (3, map) => {
                prefetch_all(&*self.plan);
                if let Some(map) = map {
                    prefetch_all(&**map);
                }
            }
            (4, _) => prefetch_all(self),
            _ => {}
        }
    }

    /// Adds the values at the cached positions, and those of new entries. The values of a mapped file without new entries may be
    /// added with those of the next files: [`Merge::finish_files`] returns whether one was truncated.
    ///
    /// [`Merge::finish_files`]: crate::multiproc::merge::state::Merge::finish_files
    pub(super) fn reuse(
        mut self: Box<Self>,
        context: &mut ReadContext<'_>,
        origin: &FileOrigin<'_>,
        file: Option<&File>,
    ) -> Reused {
        let header = match (&self.map, file) {
            (Some(map), _) => Some(map.header()),
            (None, Some(file)) => {
                let header = context.reader.read_words(file, 0..1).ok();
                header.and_then(|header| header.first().copied())
            }
            (None, None) => None,
        };
        let used = header.and_then(|header| reader::used(header, self.stat.len));
        let Some((is_own, used)) = used else {
            return Reused::Changed;
        };
        if is_own != self.is_own || used < self.used || (used > self.used && !is_own) {
            return Reused::Changed;
        }
        let end = used / WORD_LEN as u32;
        let plan = Arc::clone(&self.plan);
        let (plan, result) = match (&self.map, file) {
            (Some(map), _) if used == self.used => {
                let token = self.source;
                context.merge.apply_plan_in_batch(&plan, origin, map, &mut self.common, token);
                (plan, Ok(()))
            }
            (Some(map), _) => {
                let tail: Vec<u64> =
                    (self.used / WORD_LEN as u32..end).map(|at| map.word(at)).collect();
                self.common = None;
                context.merge.apply_plan(plan, origin, &**map, self.new_entries(bytes_of(&tail)))
            }
            (None, Some(file)) => match context.reader.read_words(file, 0..end) {
                Ok(words) if words.len() == end as usize => {
                    let tail = bytes_of(words).get(self.used as usize..).unwrap_or_default();
                    context.merge.apply_plan(plan, origin, &words, self.new_entries(tail))
                }
                _ => return Reused::Changed,
            },
            (None, None) => return Reused::Changed,
        };
        if self.has_faulted() {
            return Reused::Truncated;
        }
        (self.plan, self.used) = (plan, used);
        if let Err(error) = result {
            context.merge.skipped.add(&origin.path(), SkipCause::Entry(error));
            // Invalidates the cache entry: the next scrape parses the whole file.
            self.stat.changed = i128::MIN;
        }
        Reused::Added(self)
    }

    /// The entries that the plan does not cover, from the bytes behind those that it does.
    fn new_entries<'a>(&self, tail: &'a [u8]) -> Option<Entries<'a>> {
        (!tail.is_empty()).then(|| Entries::resume(tail, self.used as usize))
    }
}
