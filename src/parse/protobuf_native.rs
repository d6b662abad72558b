//! The fields of a protobuf histogram that make it a native one.
//!
//! Counts are integers, the buckets as differences, or floats; repeated numbers may be packed. The sizes of
//! spans are compared with the counts that are there, and nothing is allocated by them.

use super::lines::At;
use super::native::OwnedNativeBuckets;
use super::wire::{Message, Value};
use crate::model::{BucketSpan, NativeHistogram};

/// What was read so far.
#[derive(Default)]
pub(super) struct NativeFields {
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    negative: Side,
    positive: Side,
}

#[derive(Default)]
struct Side {
    spans: Vec<BucketSpan>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// A number in zigzag form.
fn signed(bits: u64) -> i64 {
    (bits >> 1) as i64 ^ -((bits & 1) as i64)
}

impl NativeFields {
    /// Takes a field of the histogram, if it is one of these.
    pub(super) fn take(&mut self, number: u64, field: Value<'_>) -> Result<(), At> {
        match (number, field.integer(), field.double()) {
            (5, Some(bits), _) => self.schema = signed(bits) as i32,
            (6, _, Some(double)) => self.zero_threshold = double,
            (7, Some(count), _) => self.zero_count = count,
            (8, _, Some(double)) => self.zero_count_float = double,
            (9..=11, ..) => self.negative.take(number - 9, field)?,
            (12..=14, ..) => self.positive.take(number - 12, field)?,
            _ => {}
        }
        Ok(())
    }

    /// Whether there is a native histogram: a schema alone is none.
    pub(super) fn is_native(&self) -> bool {
        let has_spans = !self.negative.spans.is_empty() || !self.positive.spans.is_empty();
        has_spans
            || self.zero_threshold != 0.0
            || self.zero_count != 0
            || self.zero_count_float != 0.0
    }

    /// Calls `give` with the histogram but its count, sum and times.
    pub(super) fn read(
        self,
        message: Message<'_>,
        is_float: bool,
        give: impl FnOnce(NativeHistogram<'_>),
    ) -> Result<(), At> {
        let is_float = is_float
            || self.zero_count_float != 0.0
            || !self.negative.counts.is_empty()
            || !self.positive.counts.is_empty();
        let zero_count = if is_float { self.zero_count_float } else { self.zero_count as f64 };
        let negative = self.negative.read(message, is_float)?;
        let mut positive = self.positive.read(message, is_float)?;
        let is_marked = positive.spans == [BucketSpan::default()] && negative.spans.is_empty();
        if is_marked && self.zero_threshold == 0.0 && zero_count == 0.0 {
            // It says no more than that the histogram is native.
            positive.spans.clear();
        }
        let histogram = NativeHistogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count,
            negative: negative.borrow(),
            positive: positive.borrow(),
            ..NativeHistogram::default()
        };
        if !histogram.is_valid() {
            return message
                .fail("the schema, zero threshold or spans of the native histogram are not valid");
        }
        give(histogram);
        Ok(())
    }
}

impl Side {
    /// Takes a span, a delta or a count, in the order of their fields; of the last two several at once, where
    /// they are packed.
    fn take(&mut self, field: u64, value: Value<'_>) -> Result<(), At> {
        match (field, value) {
            (0, Value::Bytes(message)) => self.spans.push(span(message)?),
            (1, Value::Varint(bits)) => self.deltas.push(signed(bits)),
            (1, Value::Bytes(mut packed)) => {
                while let Some(bits) = packed.packed_varint()? {
                    self.deltas.push(signed(bits));
                }
            }
            (2, Value::Fixed64(bits)) => self.counts.push(f64::from_bits(bits)),
            (2, Value::Bytes(mut packed)) => {
                while let Some(bits) = packed.packed_fixed64()? {
                    self.counts.push(f64::from_bits(bits));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn read(self, message: Message<'_>, is_float: bool) -> Result<OwnedNativeBuckets, At> {
        let Side { spans, deltas, counts } = self;
        if is_float {
            return Ok(OwnedNativeBuckets { spans, counts });
        }
        let mut counts = Vec::with_capacity(deltas.len());
        let mut count = 0i64;
        for delta in deltas {
            match count.checked_add(delta) {
                Some(sum) => count = sum,
                None => return message.fail("a bucket of the native histogram is above 63 bits"),
            }
            counts.push(count as f64);
        }
        Ok(OwnedNativeBuckets { spans, counts })
    }
}

fn span(mut message: Message<'_>) -> Result<BucketSpan, At> {
    let mut span = BucketSpan::default();
    while let Some((number, value)) = message.field()? {
        match (number, value.integer()) {
            (1, Some(bits)) => span.offset = signed(bits) as i32,
            (2, Some(length)) => span.length = length as u32,
            _ => {}
        }
    }
    Ok(span)
}
