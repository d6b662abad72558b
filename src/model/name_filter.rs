//! A sink that forwards the families and samples of given names.

use super::{FamilyMetadata, FamilySink, Labels, MetricType, NativeHistogram, Sample};
use crate::error::Error;

/// Forwards the families that have one of some names, and the samples, such as `jobs_total` or `size_bytes_bucket`, before
/// escaping. A native histogram has the name of its family.
pub(crate) struct NameFilter<'a> {
    out: &'a mut dyn FamilySink,
    names: &'a [String],
    /// The suffixes of the requested names that begin with the name of the family.
    suffixes: Vec<&'a str>,
    /// The metadata of the family, if it has requested samples.
    head: Option<OwnedHead>,
    /// Whether the metadata was written.
    is_begun: bool,
}

/// The metadata of a family, which is written before the first requested sample.
struct OwnedHead {
    name: String,
    help: String,
    unit: String,
    metric_type: MetricType,
}

impl<'a> NameFilter<'a> {
    pub(crate) fn new(out: &'a mut dyn FamilySink, names: &'a [String]) -> NameFilter<'a> {
        NameFilter { out, names, suffixes: Vec::new(), head: None, is_begun: false }
    }

    /// Whether samples with this suffix, or the whole family, are requested. Writes the metadata before the first one.
    fn admits(&mut self, suffix: &str) -> bool {
        if !self.suffixes.iter().any(|requested| requested.is_empty() || *requested == suffix) {
            return false;
        }
        if let Some(OwnedHead { name, help, unit, metric_type }) = &self.head
            && !std::mem::replace(&mut self.is_begun, true)
        {
            self.out.family(&FamilyMetadata { name, help, unit, metric_type: *metric_type });
        }
        true
    }
}

impl FamilySink for NameFilter<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        let suffixes = self.names.iter().filter_map(|name| name.strip_prefix(head.name));
        self.suffixes.clear();
        self.suffixes.extend(suffixes);
        self.is_begun = false;
        if !self.suffixes.is_empty() {
            self.head = Some(OwnedHead {
                name: head.name.to_owned(),
                help: head.help.to_owned(),
                unit: head.unit.to_owned(),
                metric_type: head.metric_type,
            });
        }
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        if self.admits(sample.kind.suffix()) {
            self.out.sample(sample);
        }
    }

    fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
        if self.admits("") {
            self.out.native_histogram(labels, histogram);
        }
    }

    fn wants_created(&self) -> bool {
        self.out.wants_created()
    }

    fn fail(&mut self, error: Error) {
        self.out.fail(error);
    }
}
