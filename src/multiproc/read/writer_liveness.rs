//! Decides at a scrape whether the writer of a file lives.
//!
//! The kernel is asked at every scrape if the answer changes an exported gauge or hides a removed series. For any other file
//! only `multiprom_files` depends on it, and a verdict is reused: one that is at most five seconds old, or that of another
//! file of the same writer in this scrape. A writer with a unique id whose lock on one file is held is alive for all files of the
//! scrape, as it holds the locks of all until it ends. A file that is only open for writing does not count for the
//! gauges of the others: a backup or an editor may have opened it.

use std::hash::BuildHasher as _;
use std::time::Instant;

use super::candidate::Candidate;
use super::context::{DeadGauges, ReadContext, WriterVerdicts};
use super::locate::Located;
use crate::file::layout::Header;
use crate::file::name::IdKind;
use crate::file::reader;
use crate::model::GaugeMode;
use crate::multiproc::listing::ListedIn;
use crate::multiproc::liveness::{Proof, Verdict};
use crate::multiproc::prober::{Freshness, VALIDITY};

/// Whether the writer of a file lives.
pub(super) struct WriterLiveness {
    pub(super) verdict: Verdict,
    /// When the verdict was reached.
    pub(super) probed: Instant,
    /// What proves the death of the writer.
    pub(super) proof: Proof,
    /// The header of the file, if it had to be read.
    pub(super) header: Option<Header>,
}

/// Decides whether the writer of a file lives; opens the file if necessary. `None` if it has disappeared.
pub(super) fn decide(
    context: &mut ReadContext<'_>,
    candidate: &Candidate<'_>,
    located: &mut Located,
) -> Option<WriterLiveness> {
    let (proof, header) = match (&located.cached, &located.file) {
        (Some(cached), _) => (cached.proof, None),
        (None, Some(file)) => {
            let (id, header) = reader::id_kind_and_header(candidate.name, file);
            (Proof::of(id, candidate.listed_in), header)
        }
        (None, None) => (Proof::of(IdKind::Chosen, candidate.listed_in), None),
    };
    if let Some((verdict, probed)) = reusable(context, candidate, located, proof) {
        return Some(WriterLiveness { verdict, probed, proof, header });
    }
    let file = match located.file.take() {
        Some(file) => file,
        None => candidate.open(context)?,
    };
    let verdict = context.prober.probe(candidate.text, &file, proof, Freshness::Recent);
    located.file = Some(file);
    if candidate.listed_in == ListedIn::Main {
        let writer = writer_hash(context, candidate, proof);
        context.writer_verdicts.insert(writer, verdict);
    }
    Some(WriterLiveness { verdict, probed: context.now, proof, header })
}

/// A verdict that needs no system call.
fn reusable(
    context: &ReadContext<'_>,
    candidate: &Candidate<'_>,
    located: &Located,
    proof: Proof,
) -> Option<(Verdict, Instant)> {
    let is_recent = |probed: Instant| context.now.duration_since(probed) < VALIDITY;
    let of_writer = || context.writer_verdicts.get(&writer_hash(context, candidate, proof));
    if changes_gauges(context, candidate) {
        return of_writer()
            .filter(|verdict| **verdict == Verdict::Locked)
            .map(|verdict| (*verdict, context.now));
    }
    match &located.cached {
        Some(cached) if is_recent(cached.probed) && context.verdicts == WriterVerdicts::Recent => {
            Some((cached.verdict, cached.probed))
        }
        _ if candidate.listed_in == ListedIn::Main => {
            of_writer().map(|verdict| (*verdict, context.now))
        }
        _ => None,
    }
}

/// Files of one id that need different proofs may have different writers.
fn writer_hash(context: &ReadContext<'_>, candidate: &Candidate<'_>, proof: Proof) -> u64 {
    let is_unique = proof == Proof::LockAndLease;
    context.writer_verdicts.hasher().hash_one((context.merge.dir, is_unique, candidate.name.id))
}

/// Whether the liveness of the writer changes which gauges are exported, or how.
fn changes_gauges(context: &ReadContext<'_>, candidate: &Candidate<'_>) -> bool {
    let mode = candidate.name.kind.mode();
    let has_rule = context.dead_gauges == DeadGauges::Read;
    mode.is_some_and(|mode| has_rule || mode.is_live() || mode.is_per_process())
}

/// Whether nothing of a file is exported because its writer is dead.
pub(super) fn is_left_out(
    context: &ReadContext<'_>,
    candidate: &Candidate<'_>,
    verdict: Verdict,
) -> bool {
    let is_live_gauge = candidate.name.kind.mode().is_some_and(GaugeMode::is_live);
    verdict.has_ended() && is_live_gauge && context.dead_gauges == DeadGauges::Skipped
}

#[cfg(test)]
mod tests {
    use crate::file::key;
    use crate::file::name::{FileKind, WriterId};
    use crate::file::writer::{FileAccess, Room, SeriesWriter};
    use crate::model::GaugeMode;
    use crate::test_dir::TestDir;
    use crate::{MultiProcessCollector, Registry};
    use std::fs;

    #[test]
    fn a_file_of_a_dead_writer_that_is_open_for_writing_does_not_make_its_other_files_live() {
        let dir = TestDir::new();
        let mut id = WriterId::new("7", 0xbeef);
        let modes = [GaugeMode::LiveMax, GaugeMode::LiveMin, GaugeMode::LiveSum];
        for kind in [FileKind::Counter].into_iter().chain(modes.map(FileKind::Gauge)) {
            let mut writer = SeriesWriter::create(&dir, kind, &mut id, FileAccess::Owner).unwrap();
            let (mut text, name) = (Vec::new(), format!("m_{kind}"));
            key::encode(&mut text, &name, &name, std::iter::empty(), "Help.");
            writer.append(&text, 3.0, 1.0, Room::Ordinary).unwrap();
            writer.close();
        }
        // A new collector asks for all files.
        let names = || -> Vec<String> {
            let registry = Registry::new();
            registry.register(MultiProcessCollector::new(&dir).unwrap()).unwrap();
            let text = registry.render(None).to_string();
            let lines = text.lines().filter(|line| line.starts_with("m_"));
            lines.map(|line| line.split([' ', '{']).next().unwrap().to_owned()).collect()
        };
        let open = |kind: FileKind| {
            let mut found = fs::read_dir(&*dir).unwrap().map(|entry| entry.unwrap().path());
            let start = format!("{kind}_");
            let path =
                found.find(|it| it.file_name().unwrap().to_str().unwrap().starts_with(&start));
            fs::OpenOptions::new().append(true).open(path.unwrap()).unwrap()
        };
        let before = names();
        assert_eq!(before.len(), 1, "{before:?}");
        let _counters = open(FileKind::Counter);
        assert_eq!(names(), before);
        // The file that is asked first.
        let gauges = open(FileKind::Gauge(GaugeMode::LiveMax));
        assert!(!names().iter().any(|name| name.contains("min") || name.contains("sum")));
        drop(gauges);
        assert_eq!(names(), before);
    }
}
