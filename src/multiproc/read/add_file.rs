//! Adds one located file to the merge: decides whether its writer lives, then reuses the cache entry or parses the
//! file.

use super::cached_file::{CachedFile, Reused};
use super::candidate::Candidate;
use super::context::ReadContext;
use super::locate::Located;
use super::parse_file::{ParsedFile, parse_file};
use super::writer_liveness::{self, WriterLiveness};
use crate::file::name::IdKind;
use crate::model::GaugeMode;
use crate::multiproc::listing::ListedIn;
use crate::multiproc::liveness::{Proof, Verdict};
use crate::multiproc::merge::source::{FileOrigin, Source, SourceState, StoredIn};

/// The result of adding a file.
pub(super) struct Added {
    /// The cache entry for the next scrape.
    pub(super) cached: Option<Box<CachedFile>>,
    pub(super) verdict: Verdict,
    /// How many entries were read.
    pub(super) entries: u64,
    /// Whether the file was truncated while it was read: the scrape must begin again.
    pub(super) is_truncated: bool,
}

/// Adds a file; `None` if it has disappeared since it was located.
pub(super) fn add_file(
    context: &mut ReadContext<'_>,
    candidate: &Candidate<'_>,
    mut located: Located,
) -> Option<Added> {
    let liveness = writer_liveness::decide(context, candidate, &mut located)?;
    let WriterLiveness { verdict, probed, proof, header } = liveness;
    let Located { stat, mut file, cached } = located;
    let mut added = Added { cached: None, verdict, entries: 0, is_truncated: false };
    if writer_liveness::is_left_out(context, candidate, verdict) {
        return Some(Added { cached, ..added });
    }
    // A process of the Python client has just created the file, and gives it a size next.
    if verdict == Verdict::Alive && proof == Proof::Lease && stat.len == 0 {
        return Some(added);
    }
    if candidate.listed_in == ListedIn::Main
        && !verdict.has_ended()
        && let Some(live_files) = &mut context.live_files
    {
        let id = if proof == Proof::LockAndLease { IdKind::Unique } else { IdKind::Chosen };
        live_files.push(Source {
            dir: context.merge.dir,
            id: candidate.name.writer(id).into(),
            process_len: candidate.name.process(id).len(),
            mode: candidate.name.kind.mode().unwrap_or(GaugeMode::All),
            is_retired: false,
            is_archived: false,
            identity: Some(stat.identity),
            state: SourceState::Live,
        });
    }
    let state = if verdict.has_ended() { SourceState::Dead } else { SourceState::Live };
    let origin = FileOrigin {
        dir: candidate.dir_path,
        file: candidate.text,
        name: candidate.name,
        identity: Some(stat.identity),
        state,
        stored_in: StoredIn::File(candidate.listed_in),
    };
    if let Some(cached) = cached {
        match cached.reuse(context, &origin, file.as_ref()) {
            Reused::Added(mut cached) => {
                cached.file = file.take();
                added.entries = cached.entry_count();
                added.cached = Some(cached);
            }
            Reused::Truncated => return Some(Added { is_truncated: true, ..added }),
            Reused::Changed => {}
        }
    }
    if added.cached.is_none() {
        let file = match file {
            Some(file) => file,
            None => candidate.open(context)?,
        };
        let parsed = parse_file(context.merge, context.reader, &origin, &file, Some(stat), header);
        added.entries = parsed.as_ref().map_or(0, ParsedFile::entry_count);
        added.cached =
            parsed.and_then(|parsed| CachedFile::new(context, candidate, parsed, file, stat));
    }
    if let Some(cached) = &mut added.cached {
        (cached.verdict, cached.probed) = (verdict, probed);
        cached.close_unless_spare(&mut context.spare_descriptors);
    }
    Some(added)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::fault_guard::guard_mappings;
    use crate::file::layout::HEADER_LEN;
    use crate::file::name::FileName;
    use crate::file::reader::Reader;
    use crate::file::sys;
    use crate::multiproc::merge::catalog::ValueId;
    use crate::multiproc::merge::created::EntryTimes;
    use crate::multiproc::merge::gauge::GaugeValues;
    use crate::multiproc::merge::state::{CachedPlans, Merge};
    use crate::multiproc::prober::Prober;
    use crate::multiproc::read::context::{DeadGauges, ReadMethod, WriterVerdicts};
    use crate::multiproc::read::locate::locate;
    use crate::test_dir::TestDir;
    use std::collections::HashMap;
    use std::fs::{self, File};
    use std::path::Path;
    use std::time::Instant;

    /// Writes a file of the Python client with so many entries that it has more than one page.
    fn write(path: &Path) {
        let mut bytes = vec![0; HEADER_LEN];
        for number in 0..200 {
            let key = format!("[\"c_total\", \"c_total\", {{\"n\": \"{number}\"}}, \"Help.\"]");
            bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
            bytes.extend_from_slice(key.as_bytes());
            bytes.resize(bytes.len() + 8 - bytes.len() % 8, b' ');
            bytes.extend_from_slice(&2.0f64.to_bits().to_le_bytes());
            bytes.extend_from_slice(&[0; 8]);
        }
        let used = bytes.len() as u32;
        bytes[..4].copy_from_slice(&used.to_le_bytes());
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_file_that_is_truncated_while_its_values_are_added_is_read_again() {
        guard_mappings().unwrap();
        let dir = TestDir::new();
        let path = dir.join("counter_7.db");
        write(&path);
        while !sys::stat(&File::open(&path).unwrap()).unwrap().is_settled() {
            std::thread::yield_now();
        }

        let (mut merge, mut reader) = (Merge::default(), Reader::default());
        let mut prober = Prober::default();
        assert_eq!(
            merge.begin_scrape(EntryTimes::Skipped, GaugeValues::Reduced),
            CachedPlans::Valid
        );
        let handle = File::open(&dir).unwrap();
        let text = "counter_7.db";
        let mut context = ReadContext {
            merge: &mut merge,
            reader: &mut reader,
            prober: &mut prober,
            method: ReadMethod::Mmap,
            dead_gauges: DeadGauges::Skipped,
            spare_descriptors: 0,
            verdicts: WriterVerdicts::Recent,
            writer_verdicts: HashMap::default(),
            now: Instant::now(),
            live_files: None,
        };
        let candidate = Candidate {
            dir: &handle,
            dir_path: &dir,
            is_listing_unchanged: false,
            text,
            name: FileName::parse(text).unwrap(),
            listed_in: ListedIn::Main,
        };
        let located = locate(&mut context, &candidate, None).unwrap();
        let Added { cached, verdict, .. } = add_file(&mut context, &candidate, located).unwrap();
        let cached = cached.unwrap();
        assert_eq!(verdict, Verdict::Dead);
        context.merge.restart_scrape();
        let origin = FileOrigin {
            dir: &dir,
            file: text,
            name: candidate.name,
            identity: None,
            state: SourceState::Dead,
            stored_in: StoredIn::File(ListedIn::Main),
        };
        let Reused::Added(cached) = cached.reuse(&mut context, &origin, None) else {
            panic!("the cache entry holds");
        };
        assert!(!context.merge.finish_files());
        context.merge.finish_adding();
        assert_eq!(context.merge.sum(ValueId::new(200)), Some(2.0));
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
        let Reused::Added(cached) = cached.reuse(&mut context, &origin, None) else {
            panic!("the header is that of the cache entry");
        };
        assert!(context.merge.finish_files() && cached.has_faulted());
        assert!(!context.merge.finish_files());
        assert!(matches!(cached.reuse(&mut context, &origin, None), Reused::Truncated));
    }
}
