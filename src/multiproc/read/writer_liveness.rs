//! Decides at a scrape whether the writer of a file lives.
//!
//! The kernel is asked at every scrape if the answer changes an exported gauge or hides a removed series. For any other file
//! only `multiprom_files` depends on it, and a verdict is reused: one that is at most five seconds old, or that of another
//! file of the same writer in this scrape. A writer with a unique id that is found alive by one of its files is alive for all files of
//! the scrape, as it holds the locks of all until it ends.

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
    let mut header = None;
    let proof = match (&located.cached, &located.file) {
        (Some(cached), _) => cached.proof,
        (None, Some(file)) => {
            let is_unique = candidate.name.has_unique_form();
            header = if is_unique { reader::read_header(file) } else { None };
            Proof::of(reader::id_kind_by_header(candidate.name, header), candidate.listed_in)
        }
        (None, None) => Proof::of(IdKind::Chosen, candidate.listed_in),
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
        let is_alive = proof == Proof::LockAndLease && of_writer() == Some(&Verdict::Alive);
        return is_alive.then_some((Verdict::Alive, context.now));
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
