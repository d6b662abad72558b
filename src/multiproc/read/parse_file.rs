//! Parses a whole file and adds its values to the merge.

use std::fs::File;
use std::sync::Arc;

use crate::file::layout::Header;
use crate::file::reader::{ReadError, Reader};
use crate::file::sys::Stat;
use crate::multiproc::merge::plan::Plan;
use crate::multiproc::merge::source::FileOrigin;
use crate::multiproc::merge::state::Merge;
use crate::multiproc::skipped::SkipCause;

/// The result of parsing a file.
pub(super) struct ParsedFile {
    pub(super) plan: Arc<Plan>,
    /// Bytes of the file that the plan covers.
    pub(super) used: u32,
    pub(super) is_own: bool,
}

impl ParsedFile {
    pub(super) fn entry_count(&self) -> u64 {
        self.plan.value_count() as u64
    }
}

/// Parses a file and adds its values. One that is truncated or damaged is read a second time, as its writer may have
/// been in the middle of a change. `None` if it is still damaged: the entries before the damage are added, and the
/// damage is reported. `stat` and `header` are those of the file, if the caller has just read them.
pub(super) fn parse_file(
    merge: &mut Merge,
    reader: &mut Reader,
    origin: &FileOrigin<'_>,
    file: &File,
    mut stat: Option<Stat>,
    mut header: Option<Header>,
) -> Option<ParsedFile> {
    let mut partial: Option<Arc<Plan>> = None;
    let mut failure = None;
    for _ in 0..2 {
        let read = match stat.take() {
            Some(stat) => reader.read_with_stat(file, stat, header.take()),
            None => reader.read(file),
        };
        let snapshot = match read {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let is_final = !matches!(error, ReadError::Layout(_));
                failure = Some(SkipCause::Read(error));
                if is_final {
                    break;
                }
                continue;
            }
        };
        let (used, is_own) = (snapshot.used, snapshot.is_own);
        if partial.is_none()
            && let Some(plan) = merge.apply_last_plan(origin, &snapshot)
        {
            return Some(ParsedFile { plan, used, is_own });
        }
        let entries = match snapshot.entries() {
            Ok(entries) => entries,
            Err(error) => {
                failure = Some(SkipCause::Read(error));
                continue;
            }
        };
        match merge.parse_and_apply(origin, partial.as_deref(), &snapshot.words, entries) {
            (plan, Ok(())) => return Some(ParsedFile { plan, used, is_own }),
            (plan, Err(error)) => {
                partial = Some(plan);
                failure = Some(SkipCause::Entry(error));
            }
        }
    }
    if let Some(cause) = failure {
        merge.skipped.add(&origin.path(), cause);
    }
    None
}
