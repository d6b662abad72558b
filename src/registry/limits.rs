//! What the default registry exports and logs about the limits of families.

use crate::logging::log_line;
use crate::model::own_metrics::SERIES_OVERFLOWS;
use crate::model::{Collector, FamilySink};
use crate::store::fork::AppendList;

/// Families in memory with metrics of multiprom itself, which no registry has.
static OWN: AppendList<&'static dyn Collector> = AppendList::new();

/// Lets the default registry export a family with metrics of multiprom itself. Those in files are in the merge.
pub(crate) fn add_own_family(family: &'static dyn Collector) {
    OWN.push(family);
}

/// Writes these families.
pub(super) fn collect_own_families(out: &mut dyn FamilySink) {
    OWN.iter().for_each(|family| family.collect(out));
}

/// Logs that a family has reached its limit.
pub(crate) fn log_limit_reached(family: &str, max: usize) {
    let counter = SERIES_OVERFLOWS.name();
    log_line(&format_args!(
        "family `{family}` has reached its limit of {max} series: further label sets are recorded into its series `other`, and counted in `{counter}`"
    ));
}
