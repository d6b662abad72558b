//! Converts encoded protobuf messages to the protobuf text format.
//!
//! See: <https://protobuf.dev/reference/protobuf/textformat-spec/>

use std::ops::ControlFlow;

use crate::model::number::{Style, push_f64, push_u64};

/// The type of a field.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Double,
    Unsigned,
    Int,
    Sint,
    Type,
    Message(&'static [(u32, &'static str, Kind)]),
}

const LABEL: &[(u32, &str, Kind)] = &[(1, "name", Kind::Text), (2, "value", Kind::Text)];
const TIMESTAMP: &[(u32, &str, Kind)] = &[(1, "seconds", Kind::Int), (2, "nanos", Kind::Int)];
const VALUE: &[(u32, &str, Kind)] = &[(1, "value", Kind::Double)];
const SPAN: &[(u32, &str, Kind)] = &[(1, "offset", Kind::Sint), (2, "length", Kind::Unsigned)];
const QUANTILE: &[(u32, &str, Kind)] = &[(1, "quantile", Kind::Double), (2, "value", Kind::Double)];
const EXEMPLAR: &[(u32, &str, Kind)] = &[
    (1, "label", Kind::Message(LABEL)),
    (2, "value", Kind::Double),
    (3, "timestamp", Kind::Message(TIMESTAMP)),
];
const COUNTER: &[(u32, &str, Kind)] = &[
    (1, "value", Kind::Double),
    (2, "exemplar", Kind::Message(EXEMPLAR)),
    (3, "start_timestamp", Kind::Message(TIMESTAMP)),
];
const SUMMARY: &[(u32, &str, Kind)] = &[
    (1, "sample_count", Kind::Unsigned),
    (2, "sample_sum", Kind::Double),
    (3, "quantile", Kind::Message(QUANTILE)),
    (4, "start_timestamp", Kind::Message(TIMESTAMP)),
];
const BUCKET: &[(u32, &str, Kind)] = &[
    (1, "cumulative_count", Kind::Unsigned),
    (2, "upper_bound", Kind::Double),
    (3, "exemplar", Kind::Message(EXEMPLAR)),
    (4, "cumulative_count_float", Kind::Double),
];
const HISTOGRAM: &[(u32, &str, Kind)] = &[
    (1, "sample_count", Kind::Unsigned),
    (2, "sample_sum", Kind::Double),
    (3, "bucket", Kind::Message(BUCKET)),
    (4, "sample_count_float", Kind::Double),
    (5, "schema", Kind::Sint),
    (6, "zero_threshold", Kind::Double),
    (7, "zero_count", Kind::Unsigned),
    (8, "zero_count_float", Kind::Double),
    (9, "negative_span", Kind::Message(SPAN)),
    (10, "negative_delta", Kind::Sint),
    (11, "negative_count", Kind::Double),
    (12, "positive_span", Kind::Message(SPAN)),
    (13, "positive_delta", Kind::Sint),
    (14, "positive_count", Kind::Double),
    (15, "start_timestamp", Kind::Message(TIMESTAMP)),
    (16, "exemplars", Kind::Message(EXEMPLAR)),
];
const METRIC: &[(u32, &str, Kind)] = &[
    (1, "label", Kind::Message(LABEL)),
    (2, "gauge", Kind::Message(VALUE)),
    (3, "counter", Kind::Message(COUNTER)),
    (4, "summary", Kind::Message(SUMMARY)),
    (5, "untyped", Kind::Message(VALUE)),
    (6, "timestamp_ms", Kind::Int),
    (7, "histogram", Kind::Message(HISTOGRAM)),
];
const FAMILY: &[(u32, &str, Kind)] = &[
    (1, "name", Kind::Text),
    (2, "help", Kind::Text),
    (3, "type", Kind::Type),
    (4, "metric", Kind::Message(METRIC)),
    (5, "unit", Kind::Text),
];

const TYPES: [&str; 6] = ["COUNTER", "GAUGE", "SUMMARY", "UNTYPED", "HISTOGRAM", "GAUGE_HISTOGRAM"];

/// Appends the encoded fields of a `MetricFamily`, one per line.
pub(super) fn push_family_text(out: &mut Vec<u8>, fields: &[u8]) {
    // OK because the fields were encoded by this crate, and the schema has all that it encodes.
    let _ = push_fields(out, fields, FAMILY, 0);
}

fn push_fields(
    out: &mut Vec<u8>,
    mut bytes: &[u8],
    schema: &[(u32, &str, Kind)],
    depth: usize,
) -> ControlFlow<()> {
    while !bytes.is_empty() {
        let tag = take_varint(&mut bytes)?;
        let field = schema.iter().find(|(number, ..)| u64::from(*number) == tag >> 3);
        let Some((_, name, kind)) = field else {
            return ControlFlow::Break(());
        };
        out.resize(out.len() + 2 * depth, b' ');
        out.extend_from_slice(name.as_bytes());
        if let Kind::Message(schema) = kind {
            out.extend_from_slice(b" {\n");
            push_fields(out, take_bytes(&mut bytes)?, schema, depth + 1)?;
            out.resize(out.len() + 2 * depth, b' ');
            out.extend_from_slice(b"}\n");
            continue;
        }
        out.extend_from_slice(b": ");
        match kind {
            Kind::Double => push_double(out, take_double(&mut bytes)?),
            Kind::Text | Kind::Message(_) => push_string(out, take_bytes(&mut bytes)?),
            Kind::Unsigned => push_u64(out, take_varint(&mut bytes)?),
            Kind::Int => push_signed(out, take_varint(&mut bytes)? as i64),
            Kind::Sint => {
                let value = take_varint(&mut bytes)?;
                push_signed(out, (value >> 1) as i64 ^ -((value & 1) as i64));
            }
            Kind::Type => {
                let name = TYPES.get(take_varint(&mut bytes)? as usize).copied();
                out.extend_from_slice(name.unwrap_or_default().as_bytes());
            }
        }
        out.push(b'\n');
    }
    ControlFlow::Continue(())
}

fn take_varint(bytes: &mut &[u8]) -> ControlFlow<(), u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else {
            return ControlFlow::Break(());
        };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return ControlFlow::Continue(value);
        }
    }
    ControlFlow::Break(())
}

fn take_bytes<'b>(bytes: &mut &'b [u8]) -> ControlFlow<(), &'b [u8]> {
    let len = take_varint(bytes)?;
    match bytes.split_at_checked(len as usize) {
        Some((taken, rest)) => {
            *bytes = rest;
            ControlFlow::Continue(taken)
        }
        None => ControlFlow::Break(()),
    }
}

fn take_double(bytes: &mut &[u8]) -> ControlFlow<(), f64> {
    match bytes.split_first_chunk() {
        Some((taken, rest)) => {
            *bytes = rest;
            ControlFlow::Continue(f64::from_le_bytes(*taken))
        }
        None => ControlFlow::Break(()),
    }
}

fn push_double(out: &mut Vec<u8>, value: f64) {
    if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    } else if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else {
        push_f64(out, value, Style::Plain);
    }
}

fn push_signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    push_u64(out, value.unsigned_abs());
}

/// Appends a string in double quotes. Control characters without an escape of their own become three octal digits.
fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0..0x20 | 0x7f => {
                let octal = [byte >> 6, byte >> 3 & 7, byte & 7].map(|digit| b'0' + digit);
                out.push(b'\\');
                out.extend_from_slice(&octal);
            }
            byte => out.push(*byte),
        }
    }
    out.push(b'"');
}
