//! Infos: text that describes a process.

use std::fmt;

use super::Metric;
use super::core::{ChildRef, Ignored, Typed};
use super::gauge_cells::{Change, GaugeCells};
use super::handle::{ignored_handle, impl_handle};
use super::settings::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    FamilySink, GaugeMode, KeptLabels, LabelPairs as _, Labels, MetricType, Sample, SampleKind,
    name,
};
use crate::store::fork::{self, AppendList, Home, SlowPath, StaticRef};
use crate::store::{IgnoredValue, SeriesOpener, recording_ignored};

/// Text about a process, as the labels of one sample with the value 1: a version, a configuration.
///
/// The sample is named with `_info`: an info `build` has the sample `build_info`. The text format shows a gauge, OpenMetrics an
/// info. Nothing is exported until [`set`](Info::set) is called.
///
/// Several processes that have set the same labels are shown once. The [mode](GaugeMode) is
/// [`LiveMax`](GaugeMode::LiveMax): the labels of a process disappear when it ends. In the mode `Max` they stay; in `LiveAll` each
/// process has a series of its own.
///
/// ```
/// use multiprom::{Info, Static};
///
/// static BUILD: Static<Info> = Info::declare("build", "Build of the service.");
///
/// BUILD.set(&[("version", "1.2"), ("revision", "c0ffee")]);
/// // build_info{revision="c0ffee",version="1.2"} 1
/// assert_eq!(BUILD.get()[1], ("version".to_owned(), "1.2".to_owned()));
/// ```
///
/// [`BuildInfo`](crate::collector::BuildInfo) is for what is the same in every process that renders the page and never
/// changes; an info is for what each worker says about itself.
#[derive(Clone, Copy)]
pub struct Info(ChildRef<Info>);

impl Info {
    /// Replaces the labels that this process has set. The former ones disappear; a scrape in between may show both.
    ///
    /// A label whose name is malformed, reserved or given twice, or is that of a label of the family, is left out, counted in
    /// `multiprom_ignored_values_total{reason="label"}`, and logged once. In the modes `all` and `liveall` the name `pid` is
    /// reserved.
    ///
    /// It takes the lock of the slow path, as registration does. In a multiprocess directory, a forked child has no labels
    /// until it sets them; in memory it has a copy of those of its parent. Each label set that a process has ever set takes
    /// memory, and space in its file, until the process ends.
    pub fn set(&self, labels: &[(&str, &str)]) {
        let (child, store) = (self.0, self.0.store());
        if child.is_removed() {
            return;
        }
        store.prepare();
        let Some(lock) = fork::lock() else {
            return recording_ignored();
        };
        // OK because the series may have been removed while this thread waited for the lock.
        if child.is_removed() {
            return;
        }
        let opener = child.opener();
        let (labels, ignored) = self.check(&opener, labels);
        child.bind(&lock).show(&opener, &labels, child.family().options());
        drop(lock);
        for message in ignored {
            store.count_ignored_value(IgnoredValue::Label, &message);
        }
    }

    /// The labels that can be exported, sorted, and messages about the others.
    fn check<'a>(
        self,
        opener: &SeriesOpener<'_>,
        labels: &[(&'a str, &'a str)],
    ) -> (Vec<(&'a str, &'a str)>, Vec<String>) {
        let own = opener.labels_and(&[]);
        let mut taken = Vec::new();
        own.push_pairs(&mut taken);
        let pid = self.0.family().options().is_per_process().then_some("pid");
        let (mut valid, mut ignored) = (Vec::<(&str, &str)>::new(), Vec::new());
        for &(name, value) in labels {
            let names = taken.iter().chain(&valid).map(|(name, _)| *name);
            let checked = match name::check_label_names(&std::iter::once(name), pid) {
                Ok(()) if names.clone().any(|other| other == name) => {
                    Err(name::NameError::RepeatedLabel(name.to_owned()))
                }
                Ok(()) if names.count() == name::MAX_LABELS => {
                    Err(name::NameError::TooManyLabels(name::MAX_LABELS + 1))
                }
                checked => checked,
            };
            match checked {
                Ok(()) => valid.push((name, value)),
                Err(error) => ignored.push(format!(
                    "info `{}` ignores the label `{name}`: {error}; further ones are counted in `multiprom_ignored_values_total`",
                    self.0.family().name()
                )),
            }
        }
        valid.sort_unstable();
        (valid, ignored)
    }

    /// The labels that this process has set, sorted by name; empty if it has set none.
    pub fn get(&self) -> Vec<(String, String)> {
        let shown = self.0.slots_if_bound().and_then(|slots| slots.shown.get());
        let pair = |(name, value): &(Box<str>, Box<str>)| (name.to_string(), value.to_string());
        shown.map_or_else(Vec::new, |series| series.own.iter().map(pair).collect())
    }
}

impl Metric for Info {}

impl fmt::Debug for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The label sets that this process has set.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct InfoSlots {
    all: AppendList<&'static InfoSeries>,
    shown: StaticRef<InfoSeries>,
}

/// The series of one label set.
struct InfoSeries {
    /// Those of the family and those that were set.
    labels: KeptLabels,
    /// Those that were set, sorted by name.
    own: Box<[(Box<str>, Box<str>)]>,
    cells: &'static GaugeCells,
}

impl InfoSlots {
    fn add(
        &self,
        opener: &SeriesOpener<'_>,
        own: &[(&str, &str)],
        mode: GaugeMode,
    ) -> &'static InfoSeries {
        let labels = opener.labels_and(own);
        let cells = GaugeCells::open(&opener.with_labels(&labels), SampleKind::Info, mode);
        let own = own.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        let series: &InfoSeries = Box::leak(Box::new(InfoSeries { labels, own, cells }));
        self.all.push(series);
        series
    }

    /// Shows the series with these labels only. Called under the lock of the slow path.
    fn show(&self, opener: &SeriesOpener<'_>, own: &[(&str, &str)], mode: GaugeMode) {
        let labels = opener.labels_and(own);
        let usable = self.all.iter().filter(|series| !series.cells.is_moved());
        let found = usable.copied().find(|series| series.labels == labels);
        let series = found.unwrap_or_else(|| self.add(opener, own, mode));
        series.cells.reset_if_removed();
        series.cells.pass_gate(Change::Set(1.0));
        let former = self.shown.get();
        self.shown.set(series);
        if let Some(former) = former.filter(|former| former.labels != labels) {
            opener.with_labels(&former.labels).remove(SampleKind::Info);
        }
    }
}

impl Typed for Info {
    const TYPE: MetricType = MetricType::Info;
    const LEAD_SAMPLE: SampleKind = SampleKind::Info;
    const HAS_MODE: bool = true;
    const DEFAULT_MODE: GaugeMode = GaugeMode::LiveMax;
    type Options = GaugeMode;
    type State = ();
    type Slots = InfoSlots;

    const IS_TRANSIENT: bool = false;

    impl_handle!(Info);

    fn check(settings: &Settings) -> Result<()> {
        match settings.unit {
            Some(_) => Err(Error::new(ErrorKind::InvalidName, "an info has no unit")),
            None => Ok(()),
        }
    }

    fn options(settings: &Settings) -> GaugeMode {
        settings.mode
    }

    fn has_options(mode: GaugeMode, settings: &Settings) -> bool {
        mode == settings.mode
    }

    fn open(
        opener: &SeriesOpener<'_>,
        mode: GaugeMode,
        former: Option<&'static InfoSlots>,
    ) -> &'static InfoSlots {
        let slots = InfoSlots { all: AppendList::new(), shown: StaticRef::empty() };
        let slots: &InfoSlots = Box::leak(Box::new(slots));
        // The series of a lost file is shown until another one is set. That of a closed file is not.
        let shown = former.and_then(|former| former.shown.get());
        if let Some(series) = shown.filter(|it| it.cells.generation == opener.generation()) {
            let own: Vec<(&str, &str)> =
                series.own.iter().map(|(name, value)| (&**name, &**value)).collect();
            slots.shown.set(slots.add(opener, &own, mode));
        }
        slots
    }

    fn remove(opener: &SeriesOpener<'_>, slots: &InfoSlots) {
        if let Some(series) = slots.shown.get() {
            opener.with_labels(&series.labels).remove(SampleKind::Info);
        }
    }

    /// OK because the series of a label set is restored when it is set.
    fn restore(_: &SeriesOpener<'_>) {}

    fn restart(slots: &'static InfoSlots, _: GaugeMode, _: Home, _: &SlowPath) {
        slots.shown.clear();
    }

    fn inherit(slots: &'static InfoSlots) -> &'static InfoSlots {
        slots
    }

    /// An info has no zero: nothing is exported until labels are set.
    fn export_zeros(_: ChildRef<Info>, _: &SlowPath) {}

    fn emit(slots: &InfoSlots, _: GaugeMode, _: Labels<'_>, out: &mut dyn FamilySink) {
        if let Some(series) = slots.shown.get() {
            let mut pairs = Vec::new();
            let labels = series.labels.labels(&mut pairs);
            out.sample(&Sample::new(SampleKind::Info, labels, 1.0));
        }
    }
}
