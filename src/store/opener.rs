//! Opens the cells of a series, as metrics describe it, by the keys and the file kind of its samples.

use super::dispatch::Store;
use super::keys::Keys;
use super::series::Opened;
use crate::file::key;
use crate::file::name::FileKind;
use crate::model::{GaugeMode, LabelSet, MetricType, SampleKind, Unit, number};

/// Opens the cells of one series.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct SeriesOpener<'a> {
    store: Store,
    kind: FileKind,
    family: &'a str,
    help: &'a str,
    unit: Option<Unit>,
    labels: LabelSet,
}

impl<'a> SeriesOpener<'a> {
    /// Called under the lock of the slow path.
    pub(crate) fn new(
        store: Store,
        family: &'a str,
        help: &'a str,
        metric_type: MetricType,
        mode: Option<GaugeMode>,
        labels: LabelSet,
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

    /// Removes the series from the exposition. `main` is the sample that stands for it.
    pub(crate) fn remove(&self, main: SampleKind) {
        self.store.remove(self.kind, &self.main_key(main));
    }

    /// Exports the series again.
    pub(crate) fn restore(&self, main: SampleKind) {
        self.store.restore(self.kind, &self.main_key(main));
    }

    fn main_key(&self, main: SampleKind) -> Vec<u8> {
        let (sample, mut key) = ([self.family, main.suffix()].concat(), Vec::new());
        key::encode(&mut key, self.family, &sample, self.labels.iter(), self.help);
        key
    }

    /// Opens the cells of these samples. `time` is the value of their times until they are set.
    pub(crate) fn open(&self, parts: impl Iterator<Item = SampleKind>, time: f64) -> Opened {
        let mut keys = Keys::default();
        for kind in parts {
            let sample = [self.family, kind.suffix()].concat();
            let with_bound;
            let labels = match kind {
                SampleKind::Bucket(bound) => {
                    with_bound = self.labels.with("le", &number::bound_text(bound));
                    &with_bound
                }
                _ => &self.labels,
            };
            keys.push(|bytes| key::encode(bytes, self.family, &sample, labels.iter(), self.help));
        }
        let opened = self.store.open(self.kind, &keys, time);
        if let Some(unit) = self.unit {
            self.store.write_unit(self.family, self.help, unit.as_str());
        }
        opened
    }
}
