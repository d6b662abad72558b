//! The samples of a family of gauges, as the type with which it is exported.

use crate::model::{FamilySink, Labels, MetricType, Sample, SampleKind};

/// Emits the merged values of one family of gauges.
///
/// The samples of a state set are kept until the end: all states of a metric follow each other, as OpenMetrics requires, while
/// label sets are in the order of their rendered labels, of which the state may be any part.
pub(super) struct GaugeSamples<'a> {
    /// The exported name of the family. In a state set the label with the state has it too.
    name: &'a str,
    kind: SampleKind,
    states: Vec<StateSample>,
}

struct StateSample {
    /// Without the state.
    metric: Vec<(String, String)>,
    /// The index of the label with the state in `metric`.
    at: usize,
    state: String,
    is_active: bool,
}

impl<'a> GaugeSamples<'a> {
    /// The samples of a family that is exported as this type.
    pub(super) fn new(name: &'a str, exported: MetricType) -> GaugeSamples<'a> {
        let kind = match exported {
            MetricType::Counter => SampleKind::Total,
            MetricType::Info => SampleKind::Info,
            MetricType::StateSet => SampleKind::State,
            _ => SampleKind::Value,
        };
        GaugeSamples { name, kind, states: Vec::new() }
    }

    #[inline]
    pub(super) fn emit(&mut self, labels: Labels<'_>, value: f64, out: &mut dyn FamilySink) {
        match self.kind {
            SampleKind::Info => {
                // OK because the value of an info is 0 only until its process has set it to 1.
                if value > 0.0 {
                    out.sample(&Sample::new(self.kind, labels, 1.0));
                }
            }
            SampleKind::State => self.add_state(labels, value > 0.0),
            kind => out.sample(&Sample::new(kind, labels, value)),
        }
    }

    fn add_state(&mut self, labels: Labels<'_>, is_active: bool) {
        let (mut metric, mut state, mut at) = (Vec::new(), String::new(), 0);
        for (name, value) in labels.iter() {
            if name == self.name {
                (state, at) = (value.to_owned(), metric.len());
            } else {
                metric.push((name.to_owned(), value.to_owned()));
            }
        }
        self.states.push(StateSample { metric, at, state, is_active });
    }

    /// Emits the samples of a state set.
    pub(super) fn finish(mut self, out: &mut dyn FamilySink) {
        self.states.sort_by(|one, other| {
            one.metric.cmp(&other.metric).then_with(|| one.state.cmp(&other.state))
        });
        for StateSample { metric, at, state, is_active } in &self.states {
            let pairs = metric.iter().map(|(name, value)| (&**name, &**value));
            let mut pairs: Vec<(&str, &str)> = pairs.collect();
            pairs.insert(*at, (self.name, state));
            out.sample(&Sample::new(SampleKind::State, &pairs, f64::from(*is_active)));
        }
    }
}
