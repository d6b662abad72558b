//! Families and series as collectors.

use super::children::reading;
use super::core::{Child, FamilyCore, Typed};
use crate::model::{
    Collector, FamilyMetadata, FamilySink, LabelPairs as _, Sample, SampleKind, Unit,
};
use crate::registry::Descriptor;

impl<M: Typed> FamilyCore<M> {
    fn begin(&self, out: &mut dyn FamilySink) {
        let Descriptor { name, help, metric_type, unit, .. } = &self.descriptor;
        let unit = unit.map_or("", Unit::as_str);
        out.family(&FamilyMetadata { unit, ..FamilyMetadata::new(name, help, *metric_type) });
    }
}

impl<M: Typed> Child<M> {
    /// Emits the family with this series only, with the values of this process.
    pub(super) fn collect_alone(&self, out: &mut dyn FamilySink) {
        let family = self.family();
        family.functions.refresh(family.store);
        let _reading = reading();
        if let Some(slots) = self.slots_if_bound() {
            family.begin(out);
            self.collect(slots, &mut Vec::new(), out.wants_created(), out);
        }
    }

    /// Emits the samples of this series, with the start timestamp if it is wanted. `pairs` is only a buffer.
    fn collect<'a>(
        &'a self,
        slots: &M::Slots,
        pairs: &mut Vec<(&'a str, &'a str)>,
        wants_created: bool,
        out: &mut dyn FamilySink,
    ) {
        let labels = self.labels.labels(pairs);
        M::emit(slots, self.family().options, labels, out);
        if wants_created && let Some(seconds) = M::created(slots) {
            out.sample(&Sample::new(SampleKind::Created, labels, seconds));
        }
    }
}

impl<M: Typed> Collector for FamilyCore<M> {
    fn describe(&self, out: &mut dyn FamilySink) {
        self.begin(out);
    }

    fn collect(&self, out: &mut dyn FamilySink) {
        self.functions.refresh(self.store);
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        let wants_created = out.wants_created();
        let mut begun = false;
        let _reading = reading();
        for child in self.children.iter(Child::prefetch, Child::prefetch_values) {
            let Some(slots) = child.slots_if_bound() else {
                continue;
            };
            if !begun {
                self.begin(out);
                begun = true;
            }
            child.collect(slots, &mut pairs, wants_created, out);
        }
    }
}
