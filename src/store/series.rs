//! From a series, as metrics see it, to the key and the file that its samples have.

use super::{SampleCells, Store};
use crate::file::key;
use crate::file::name::FileKind;
use crate::model::{GaugeMode, LabelSet, MetricType, Part, number};

/// Opens the cells of one series, sample by sample.
pub struct SeriesOpener<'a> {
    store: Store,
    kind: FileKind,
    family: &'a str,
    help: &'a str,
    labels: LabelSet,
    key: Vec<u8>,
}

impl<'a> SeriesOpener<'a> {
    /// Called under the slow path's lock.
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
        store.refresh();
        SeriesOpener { store, kind, family, help, labels, key: Vec::new() }
    }

    /// The cells of one sample; `time` is what its time holds until it is set.
    pub(crate) fn cells(&mut self, part: Part, time: f64) -> SampleCells {
        let sample = [self.family, part.suffix()].concat();
        let with_bound;
        let labels = match part {
            Part::Bucket(bound) => {
                with_bound = self.labels.with("le", &number::bound_text(bound));
                &with_bound
            }
            _ => &self.labels,
        };
        self.key.clear();
        key::encode(&mut self.key, self.family, &sample, labels.iter(), self.help);
        self.store.open(self.kind, &self.key, time)
    }
}
