//! What a registry knows of a family.

use crate::model::{GaugeMode, LabelSet, MetricType, Unit, shared_name};

/// Name, help, type and labels of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// Of a counter without `_total`.
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) metric_type: MetricType,
    pub(crate) unit: Option<Unit>,
    pub(crate) mode: Option<GaugeMode>,
    pub(crate) label_names: Box<[Box<str>]>,
    pub(crate) const_labels: LabelSet,
}

impl Descriptor {
    /// The description of a family that no registry has.
    pub(crate) fn detached(name: &str, metric_type: MetricType) -> Descriptor {
        Descriptor {
            name: name.to_owned(),
            help: String::new(),
            metric_type,
            unit: None,
            mode: None,
            label_names: Box::default(),
            const_labels: LabelSet::default(),
        }
    }

    /// A name that both families have, as their own or as that of a sample.
    pub(crate) fn collision(&self, other: &Descriptor) -> Option<String> {
        shared_name((&self.name, self.metric_type), (&other.name, other.metric_type))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_collide_with_the_samples_of_other_families_too() {
        let histogram = Descriptor::detached("a", MetricType::Histogram);
        let collides = |name, kind| histogram.collision(&Descriptor::detached(name, kind));
        assert_eq!(collides("a_count", MetricType::Gauge), Some("a_count".to_owned()));
        assert_eq!(collides("a", MetricType::Counter), Some("a".to_owned()));
        assert_eq!(collides("a_total", MetricType::Gauge), None);
        assert_eq!(collides("b", MetricType::Histogram), None);
    }
}
