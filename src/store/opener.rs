//! Opens the cells of a series, as metrics describe it, by the keys and the file kind of its samples.

use super::dispatch::Store;
use super::keys::Keys;
use super::series::Opened;
use crate::file::SampleCells;
use crate::file::key::{self, KeyTemplate};
use crate::file::name::FileKind;
use crate::model::{GaugeMode, KeptLabels, MetricType, SampleKind, Unit, number};

/// Opens the cells of one series.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct SeriesOpener<'a> {
    store: Store,
    kind: FileKind,
    family: &'a str,
    help: &'a str,
    unit: Option<Unit>,
    labels: &'a KeptLabels,
}

impl<'a> SeriesOpener<'a> {
    /// Called under the lock of the slow path.
    pub(crate) fn new(
        store: Store,
        family: &'a str,
        help: &'a str,
        metric_type: MetricType,
        mode: Option<GaugeMode>,
        labels: &'a KeptLabels,
    ) -> SeriesOpener<'a> {
        let kind = match metric_type {
            MetricType::Counter => FileKind::Counter,
            MetricType::Histogram => FileKind::Histogram,
            MetricType::Summary => FileKind::Summary,
            _ => FileKind::Gauge(mode.unwrap_or_default()),
        };
        SeriesOpener { store, kind, family, help, unit: None, labels }
    }

    /// The same for a family with this unit.
    pub(crate) fn with_unit(self, unit: Option<Unit>) -> SeriesOpener<'a> {
        SeriesOpener { unit, ..self }
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
        let sample = [self.family, lead.suffix()].concat();
        key::encode(&mut key, self.family, &sample, pairs.into_iter(), self.help);
        key
    }

    /// Opens the cells of these samples. `time` is the value of their times until they are set.
    pub(crate) fn open(
        &self,
        samples: impl Iterator<Item = SampleKind> + Clone,
        time: f64,
    ) -> Opened {
        let count = samples.clone().count();
        let opened = self.store.open(self.kind, count, || self.keys(samples), time);
        if let Some(unit) = self.unit {
            self.store.write_unit(self.family, unit.as_str());
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
        self.store.open_more(self.kind, count, || self.keys(samples), time)
    }

    fn keys(&self, samples: impl Iterator<Item = SampleKind>) -> Keys {
        let (mut keys, mut pairs) = (Keys::default(), Vec::new());
        self.labels.push_pairs(&mut pairs);
        // The keys of all buckets have most bytes in common.
        let mut buckets = None;
        for kind in samples {
            let sample = || [self.family, kind.suffix()].concat();
            match kind {
                SampleKind::Bucket(bound) => {
                    let template = buckets.get_or_insert_with(|| {
                        KeyTemplate::new(self.family, &sample(), &pairs, "le", self.help)
                    });
                    keys.push(|bytes| template.encode(bytes, &number::bound_text(bound)));
                }
                _ => keys.push(|bytes| {
                    key::encode(bytes, self.family, &sample(), pairs.iter().copied(), self.help);
                }),
            }
        }
        keys
    }
}
