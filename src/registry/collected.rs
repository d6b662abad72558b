//! What a registry leaves out because a collector of a directory exports it.

use super::limits::collect_own_families;
use super::registration_errors::registration_errors;
use super::scope;
use crate::model::FamilySink;
use crate::model::own_metrics::{
    DROPPED_SERIES, FAILED_REFRESHES, FILES_LOST, IGNORED_RECORDINGS, IGNORED_VALUES,
    RECOVERED_SERIES, REGISTRATION_ERRORS,
};
use crate::store::{
    Store, dropped_series, failed_refreshes, ignored_recordings, ignored_values, lost_files,
    recovered_series,
};

/// Which stores a collector of the gathered registries reads. A store is looked up once.
#[derive(Default)]
pub(super) struct LeftOut {
    known: Vec<(Store, bool)>,
}

impl LeftOut {
    pub(super) fn contains(&mut self, store: Store) -> bool {
        if !scope::reads_any() {
            return false;
        }
        if let Some((_, is_read)) = self.known.iter().find(|(known, _)| known.is_same(store)) {
            return *is_read;
        }
        let is_read = store.directory_id().is_some_and(|directory| scope::reads(&directory));
        self.known.push((store, is_read));
        is_read
    }
}

/// Writes the metrics of multiprom itself about this process that are not 0. Those of a directory that a collector
/// reads are in its files.
pub(super) fn collect_process_metrics(out: &mut dyn FamilySink, is_in_directory: bool) {
    REGISTRATION_ERRORS.write_all_nonzero(out, registration_errors());
    if is_in_directory {
        return;
    }
    DROPPED_SERIES.write_all_nonzero(out, dropped_series());
    RECOVERED_SERIES.write_all_nonzero(out, recovered_series());
    FILES_LOST.write_nonzero(out, lost_files());
    IGNORED_RECORDINGS.write_nonzero(out, ignored_recordings());
    IGNORED_VALUES.write_all_nonzero(out, ignored_values());
    FAILED_REFRESHES.write_all_nonzero(out, failed_refreshes());
    collect_own_families(out);
}
