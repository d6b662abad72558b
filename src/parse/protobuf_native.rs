//! Parses the native histogram fields of a protobuf `Histogram`.
//!
//! Bucket counts are integers, encoded as differences, or floats; repeated numbers may be packed. Span lengths
//! are validated against the number of counts and never determine an allocation.

use super::lines::FaultAt;
use super::native::OwnedNativeBuckets;
use super::wire::{Value, WireMessage};
use crate::model::{BucketSpan, NativeHistogram};

/// The fields read so far.
#[derive(Default)]
pub(super) struct NativeFields {
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    negative: Side,
    positive: Side,
}

/// How a message encodes the counts of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CountEncoding {
    Integer,
    Float,
}

#[derive(Default)]
struct Side {
    spans: Vec<BucketSpan>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// Decodes a zigzag-encoded integer.
fn signed(bits: u64) -> i64 {
    (bits >> 1) as i64 ^ -((bits & 1) as i64)
}

impl NativeFields {
    /// Stores a field of the `Histogram` message; others than native fields are ignored.
    pub(super) fn take(&mut self, number: u64, field: Value<'_>) -> Result<(), FaultAt> {
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

    /// Whether the message has a native histogram: a span, a zero threshold or a zero count. A schema alone is
    /// not enough.
    pub(super) fn is_native(&self) -> bool {
        let has_spans = !self.negative.spans.is_empty() || !self.positive.spans.is_empty();
        has_spans
            || self.zero_threshold != 0.0
            || self.zero_count != 0
            || self.zero_count_float != 0.0
    }

    /// Calls `emit` with the histogram, in which count, sum, exemplars and times are not set. `total` is the encoding of its
    /// total count.
    pub(super) fn read(
        self,
        message: WireMessage<'_>,
        total: CountEncoding,
        emit: impl FnOnce(NativeHistogram<'_>),
    ) -> Result<(), FaultAt> {
        let is_float = total == CountEncoding::Float
            || self.zero_count_float != 0.0
            || !self.negative.counts.is_empty()
            || !self.positive.counts.is_empty();
        let zero_count = if is_float { self.zero_count_float } else { self.zero_count as f64 };
        let counts = if is_float { CountEncoding::Float } else { CountEncoding::Integer };
        let negative = self.negative.read(message, counts)?;
        let mut positive = self.positive.read(message, counts)?;
        let is_marked = positive.spans == [BucketSpan::default()] && negative.spans.is_empty();
        if is_marked && self.zero_threshold == 0.0 && zero_count == 0.0 {
            // An empty span only marks the histogram as native.
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
                .fail("the native histogram has an invalid schema, zero threshold or spans");
        }
        emit(histogram);
        Ok(())
    }
}

impl Side {
    /// Stores a field: 0 is a span, 1 deltas, 2 float counts; the last two may be packed.
    fn take(&mut self, field: u64, value: Value<'_>) -> Result<(), FaultAt> {
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

    fn read(
        self,
        message: WireMessage<'_>,
        encoding: CountEncoding,
    ) -> Result<OwnedNativeBuckets, FaultAt> {
        let Side { spans, deltas, counts } = self;
        if encoding == CountEncoding::Float {
            return Ok(OwnedNativeBuckets { spans, counts });
        }
        let mut counts = Vec::with_capacity(deltas.len());
        let mut count = 0i64;
        for delta in deltas {
            match count.checked_add(delta) {
                Some(sum) => count = sum,
                None => {
                    return message.fail("a bucket count of the native histogram exceeds 63 bits");
                }
            }
            counts.push(count as f64);
        }
        Ok(OwnedNativeBuckets { spans, counts })
    }
}

fn span(mut message: WireMessage<'_>) -> Result<BucketSpan, FaultAt> {
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
