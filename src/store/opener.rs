//! Opens the cells of a series, as metrics describe it, by the keys and the file kind of its samples.

use std::borrow::Cow;

use super::dispatch::Store;
use super::fork::Home;
use super::keys::Keys;
use super::series::{AttributeKind, Opened};
use crate::file::SampleCells;
use crate::file::key::{self, SampleName};
use crate::file::name::FileKind;
use crate::model::{GaugeMode, KeptLabels, LabelPairs, MetricType, SampleKind, Unit};

/// Opens the cells of one series.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct SeriesOpener<'a> {
    store: Store,
    kind: FileKind,
    /// The name of the family in keys.
    family: Cow<'a, str>,
    help: &'a str,
    /// The exported name of the family.
    exported: &'a str,
    unit: Option<Unit>,
    /// The type of the family, if its series are gauges and it is exported with another type.
    exported_type: Option<MetricType>,
    labels: &'a dyn LabelPairs,
    /// Where cells in memory are placed.
    home: Home,
}

impl<'a> SeriesOpener<'a> {
    /// `family` is the exported name: of a counter without `_total`, of an info without `_info`.
    ///
    /// Families of these types are gauges in the series files: info, state set, unknown, and a counter with a mode, which is
    /// not added up. They have the name of their samples there, and the companion file has their type. Called under the
    /// lock of the slow path.
    pub(crate) fn new(
        store: Store,
        family: &'a str,
        help: &'a str,
        metric_type: MetricType,
        mode: Option<GaugeMode>,
        labels: &'a dyn LabelPairs,
    ) -> SeriesOpener<'a> {
        let kind = match (metric_type, mode) {
            (MetricType::Counter, None) => FileKind::Counter,
            (MetricType::Histogram, _) => FileKind::Histogram,
            (MetricType::Summary, _) => FileKind::Summary,
            _ => FileKind::Gauge(mode.unwrap_or_default()),
        };
        let is_typed = kind.mode().is_some() && metric_type != MetricType::Gauge;
        let suffix = if is_typed { metric_type.own_suffix() } else { "" };
        let name = if suffix.is_empty() { family.into() } else { [family, suffix].concat().into() };
        let exported_type = is_typed.then_some(metric_type);
        let (unit, exported, home) = (None, family, Home::HEAP);
        SeriesOpener {
            store,
            kind,
            family: name,
            exported,
            help,
            unit,
            exported_type,
            labels,
            home,
        }
    }

    /// The same for a family with this unit.
    pub(crate) fn with_unit(self, unit: Option<Unit>) -> SeriesOpener<'a> {
        SeriesOpener { unit, ..self }
    }

    /// The same with cells in memory that are placed there.
    pub(crate) fn with_home(self, home: Home) -> SeriesOpener<'a> {
        SeriesOpener { home, ..self }
    }

    /// Where cells in memory are placed.
    pub(crate) fn home(&self) -> Home {
        self.home
    }

    /// Opens a series of the same family with other labels.
    pub(crate) fn with_labels<'b>(&'b self, labels: &'b KeptLabels) -> SeriesOpener<'b> {
        let SeriesOpener { store, kind, exported, help, unit, exported_type, home, .. } = *self;
        let family = Cow::Borrowed(&*self.family);
        SeriesOpener { store, kind, family, help, exported, unit, exported_type, labels, home }
    }

    /// The labels of the series, and these.
    pub(crate) fn labels_and<'b>(&'b self, others: &[(&'b str, &'b str)]) -> KeptLabels {
        let mut pairs = Vec::new();
        self.labels.push_pairs(&mut pairs);
        pairs.extend_from_slice(others);
        pairs.sort_unstable();
        KeptLabels::new(pairs.into_iter())
    }

    /// The exported name of the family.
    pub(crate) fn family(&self) -> &str {
        self.exported
    }

    /// See [`Store::generation`].
    pub(crate) fn generation(&self) -> u64 {
        self.store.generation()
    }

    /// Removes the series from the exposition. `lead` is the sample that stands for it.
    pub(crate) fn remove(&self, lead: SampleKind) {
        self.store.remove(self.kind, || self.lead_key(lead));
    }

    /// Exports the series again.
    pub(crate) fn restore(&self, lead: SampleKind) {
        self.store.restore(self.kind, || self.lead_key(lead));
    }

    fn lead_key(&self, lead: SampleKind) -> Vec<u8> {
        let (mut pairs, mut key) = (Vec::new(), Vec::new());
        self.labels.push_pairs(&mut pairs);
        let name = SampleName { family: &self.family, suffix: self.suffix(lead) };
        key::encode_sample(&mut key, name, pairs.into_iter(), self.help);
        key
    }

    /// Opens the cells of these samples. `time` is the value of their times until they are set.
    pub(crate) fn open(
        &self,
        samples: impl Iterator<Item = SampleKind> + Clone,
        time: f64,
    ) -> Opened {
        let count = samples.clone().count();
        // The type comes first, so that no scrape exports the family as gauges in between.
        if let Some(exported) = self.exported_type {
            self.store.write_attribute(AttributeKind::Type, &self.family, exported.as_str());
        }
        let keys = |keys: &mut Keys| self.push_keys(samples, keys);
        let opened = self.store.open(self.kind, count, keys, time, self.home);
        if let Some(unit) = self.unit {
            self.store.write_attribute(AttributeKind::Unit, self.exported, unit.as_str());
        }
        opened
    }

    /// Opens further cells of these samples for a thread that gets cells of its own, unless they cannot be written.
    pub(crate) fn open_more(
        &self,
        samples: impl Iterator<Item = SampleKind> + Clone,
        time: f64,
    ) -> Option<Vec<SampleCells>> {
        let count = samples.clone().count();
        let keys = |keys: &mut Keys| self.push_keys(samples, keys);
        self.store.open_more(self.kind, count, keys, time, self.home)
    }

    /// The suffix of the name of a sample. The name of a gauge is that of its family in keys.
    fn suffix(&self, kind: SampleKind) -> &'static str {
        if self.exported_type.is_some() { "" } else { kind.suffix() }
    }

    fn push_keys(&self, samples: impl Iterator<Item = SampleKind>, keys: &mut Keys) {
        let (family, help) = (&*self.family, self.help);
        let mut pairs = Vec::new();
        let labels = self.labels.labels(&mut pairs);
        let mut has_buckets = false;
        for kind in samples {
            let name = SampleName { family, suffix: self.suffix(kind) };
            match kind {
                SampleKind::Bucket(bound) => {
                    if !has_buckets {
                        keys.set_buckets(name, labels, help);
                        has_buckets = true;
                    }
                    keys.push_bucket(bound);
                }
                _ => keys.push(|bytes| {
                    key::encode_sample(bytes, name, labels.iter(), help);
                }),
            }
        }
    }
}
