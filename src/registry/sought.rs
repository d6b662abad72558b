//! Finds one sample among all families.

use crate::model::{FamilyMetadata, FamilySink, Gatherer, Sample, SampleKind, number};

/// The value of the sample with this name and these labels.
pub(super) fn value(source: &dyn Gatherer, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    let mut sought = Sought { name, labels, family: String::new(), found: None };
    source.gather(&mut sought);
    sought.found
}

struct Sought<'a> {
    name: &'a str,
    /// Sorted.
    labels: Vec<(&'a str, &'a str)>,
    /// The name of the current family, if the name that is sought begins with it.
    family: String,
    found: Option<f64>,
}

impl FamilySink for Sought<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.family.clear();
        if self.name.starts_with(head.name) {
            self.family.push_str(head.name);
        }
    }

    fn wants_created(&self) -> bool {
        self.name.ends_with(SampleKind::Created.suffix())
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        let is_name = !self.family.is_empty()
            && self.name.strip_prefix(&*self.family) == Some(sample.kind.suffix());
        if !is_name || self.found.is_some() {
            return;
        }
        let mut labels: Vec<(&str, &str)> = sample.labels.iter().collect();
        let own = sample.kind.own_label().map(|(name, value)| (name, number::bound_text(value)));
        labels.extend(own.iter().map(|(name, value)| (*name, &**value)));
        labels.sort_unstable();
        if labels == self.labels {
            self.found = Some(sample.value);
        }
    }
}
