//! The data model: families, samples, and the traits of their sources and sinks.
//!
//! A *family* has a name, a help text and a type; it has *samples*, each with a label set. A
//! [`Collector`] produces families, a [`FamilySink`] receives them, a [`Gatherer`] runs collectors.

pub(crate) mod clock;
mod collector;
mod directory_id;
mod family;
mod filtered;
mod gatherer;
mod hash_index;
mod labels;
pub(crate) mod lint;
mod merge_rule;
mod merged_by;
mod mode;
pub(crate) mod name;
mod name_filter;
mod native;
pub(crate) mod number;
mod order;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "files need Linux"))]
pub(crate) mod own_metrics;
mod rendered;
mod sample_names;
mod unit;
mod writer;

pub use collector::{Collector, FamilySink};
pub use directory_id::DirectoryId;
pub(crate) use family::MAX_EXEMPLAR_CHARS;
pub use family::{Exemplar, FamilyMetadata, MetricType, Sample, SampleKind};
pub(crate) use filtered::FilteredSink;
pub use gatherer::Gatherer;
pub(crate) use hash_index::HashIndex;
pub use labels::Labels;
pub(crate) use labels::OwnedLabels;
pub use merge_rule::MergeRule;
pub use merged_by::MergedBy;
pub use mode::{GaugeMode, UnknownGaugeMode};
pub(crate) use name_filter::NameFilter;
pub(crate) use native::is_whole_count;
pub use native::{BucketSpan, NativeBuckets, NativeHistogram};
pub(crate) use order::{TARGET, family_order, sort_families};
pub(crate) use rendered::{KeptLabels, LabelPairs};
pub(crate) use sample_names::{FamilyIndex, shared_name};
pub use unit::Unit;
pub use writer::{
    FamilyWriter, HistogramPoint, HistogramWriter, InfoWriter, StateSetWriter, SummaryWriter,
    WithUnit,
};
