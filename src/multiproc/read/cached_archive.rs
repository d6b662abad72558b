//! The archive of a directory, kept in memory until it is replaced.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::companions::ParsedCompanion;
use super::stats::ArchiveStats;
use crate::file::archive::{ARCHIVE_NAME, ArchiveError, companion_entries};
use crate::file::layout::{Entries, HEADER_LEN, WORD_LEN};
use crate::file::name::FileName;
use crate::file::place;
use crate::file::sys::Identity;
use crate::multiproc::archive_file::ArchiveFile;
use crate::multiproc::merge::plan::Plan;
use crate::multiproc::merge::source::{FileOrigin, SourceState, StoredIn, WordSource};
use crate::multiproc::merge::state::Merge;
use crate::multiproc::skipped::SkipCause;

/// An archive that was read, and the plans of its sections.
pub(super) struct CachedArchive {
    file: ArchiveFile,
    sources: HashSet<Box<str>>,
    sections: Vec<CachedSection>,
    companion: ParsedCompanion,
    stats: Option<ArchiveStats>,
    error: Option<ArchiveError>,
    /// Names the first section of an unknown kind.
    unknown_section: Option<ArchiveError>,
}

struct CachedSection {
    name: String,
    /// Unix seconds; 0 in a section of many processes.
    ended: f64,
    body: Range<usize>,
    /// Set when the section was added for the first time.
    plan: Option<Arc<Plan>>,
}

/// The entries of a section. Plans count words from the start of a series file, whose header is one word long and
/// which a section does not have.
struct SectionWords<'a>(&'a [u8]);

impl WordSource for SectionWords<'_> {
    fn word(&self, at: u32) -> u64 {
        let word = self.0.get((at as usize).saturating_sub(1) * WORD_LEN..);
        let word = word.and_then(|rest| rest.first_chunk::<WORD_LEN>());
        word.map_or(0, |word| u64::from_le_bytes(*word))
    }
}

impl CachedArchive {
    /// The archive that a directory has now: the cached one if it was not replaced.
    pub(super) fn refresh(
        cached: Option<CachedArchive>,
        dir: &Path,
    ) -> Result<Option<CachedArchive>, SkipCause> {
        if let Some(cached) = cached
            && place::identity(&ArchiveFile::path(dir)) == Some(cached.file.identity())
        {
            return Ok(Some(cached));
        }
        Ok(ArchiveFile::open(dir)?.map(CachedArchive::new))
    }

    fn new(file: ArchiveFile) -> CachedArchive {
        let (mut sources, mut sections) = (HashSet::new(), Vec::new());
        let (mut companion, mut stats) = (ParsedCompanion::default(), None);
        let mut unknown_section = None;
        let decoded = file.decode().and_then(|archive| {
            sources.extend(archive.sources().map(Box::from));
            for section in archive.sections() {
                let section = section?;
                let (ended, body) = (section.ended, section.body);
                let name = section.name.to_string();
                sections.push(CachedSection { name, ended, body, plan: None });
            }
            unknown_section = archive.unknown_sections().next().map(|section| section.error());
            for body in archive.companions() {
                let added = companion.add(companion_entries(body?));
                added.map_err(|error| ArchiveError::EntryMalformed { error })?;
            }
            let (generation, written) = (archive.generation, archive.written);
            stats = Some(ArchiveStats { generation, written, bytes: file.len(), series: 0 });
            Ok(())
        });
        let error = decoded.err();
        CachedArchive { file, sources, sections, companion, stats, error, unknown_section }
    }

    pub(super) fn identity(&self) -> Identity {
        self.file.identity()
    }

    /// The names of the files whose values the archive holds.
    pub(super) fn sources(&self) -> &HashSet<Box<str>> {
        &self.sources
    }

    /// Adds all sections to the merge.
    pub(super) fn add(&mut self, merge: &mut Merge, dir: &Path) -> Option<ArchiveStats> {
        let path = &ArchiveFile::path(dir);
        for error in self.error.into_iter().chain(self.unknown_section) {
            merge.skipped.add(path, SkipCause::Archive(error));
        }
        self.companion.apply(merge, path);
        let mut series = 0;
        for section in &mut self.sections {
            let Some(name) = FileName::parse(&section.name) else {
                continue;
            };
            let state = match name.kind.mode() {
                Some(mode) if section.ended == 0.0 => SourceState::Merged(mode),
                _ => SourceState::Dead,
            };
            let (file, stored_in, identity) = (ARCHIVE_NAME, StoredIn::Archive, None);
            let origin = FileOrigin { dir, file, name, identity, state, stored_in };
            let body = self.file.section(section.body.clone());
            let (plan, result) = match section.plan.take() {
                Some(plan) => merge.apply_plan(plan, &origin, &SectionWords(body), None),
                None => {
                    let entries = Entries::resume(body, HEADER_LEN);
                    merge.parse_and_apply(&origin, None, &SectionWords(body), entries)
                }
            };
            if let Err(error) = result {
                merge.skipped.add(path, SkipCause::Entry(error));
            }
            series += plan.value_count() as u64;
            section.plan = Some(plan);
        }
        self.stats.map(|stats| ArchiveStats { series, ..stats })
    }
}
