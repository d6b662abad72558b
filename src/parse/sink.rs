//! The sink that parsers write families to.

use super::scan::{SampleParts, Span};
use crate::model::{FamilyMetadata, FamilySink, Sample};
#[cfg(feature = "protobuf")]
use crate::model::{Labels, NativeHistogram};

/// Whether the exposition may have more to parse.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    More,
    End,
}

/// The sink of a parser, which also records counters whose name lacks `_total` if `lint` needs them.
pub(super) struct Sink<'a> {
    pub(super) families: &'a mut dyn FamilySink,
    pub(super) bare_counters: Option<&'a mut Vec<String>>,
}

impl Sink<'_> {
    pub(super) fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.families.family(head);
    }

    pub(super) fn sample(&mut self, sample: &Sample<'_>) {
        self.families.sample(sample);
    }

    #[cfg(feature = "protobuf")]
    pub(super) fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
        self.families.native_histogram(labels, histogram);
    }

    /// The name of a counter's family without `_total`.
    pub(super) fn counter_name<'n>(&mut self, name: &'n str) -> &'n str {
        match name.strip_suffix("_total") {
            Some(stripped) if !stripped.is_empty() => stripped,
            _ => {
                if let Some(bare) = &mut self.bare_counters {
                    bare.push(name.to_owned());
                }
                name
            }
        }
    }
}

/// Samples with at most this many labels are emitted without an allocation.
const INLINE_LABELS: usize = 16;

/// Calls `emit` with the labels of a sample, without the label at index `skipped`.
pub(super) fn with_labels(
    line: &str,
    parts: &SampleParts,
    labels: &[(Span, Span)],
    skipped: Option<usize>,
    emit: impl FnOnce(&[(&str, &str)]),
) {
    let kept = labels.iter().enumerate().filter(|(index, _)| Some(*index) != skipped);
    let texts = kept.map(|(_, (name, value))| (parts.text(line, *name), parts.text(line, *value)));
    if labels.len() > INLINE_LABELS {
        emit(&texts.collect::<Vec<_>>());
        return;
    }
    let mut inline = [("", ""); INLINE_LABELS];
    let mut len = 0;
    for text in texts {
        inline[len] = text;
        len += 1;
    }
    emit(&inline[..len]);
}
