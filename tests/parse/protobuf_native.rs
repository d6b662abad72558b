//! Native histograms in protobuf: every encoding is parsed, conversion preserves them, and invalid ones are refused.

use std::io::Write as _;
use std::process::{Output, Stdio};

use multiprom::collector::{BucketSpan, SampleKind};
use multiprom::exposition::{Escaping, Exposition, Format, Negotiated};
use multiprom::parse::{Families, OwnedNativeHistogram, Parser};

use super::protobuf_parser::{Message, family, label, new, read};
use crate::support::{multiprom, zoo};

/// Encodes an integer in zigzag form.
fn zigzag(value: i64) -> i64 {
    (value << 1) ^ (value >> 63)
}

fn span(offset: i64, length: i64) -> Message {
    new().int(1, zigzag(offset)).int(2, length)
}

fn packed(values: &[i64]) -> Vec<u8> {
    // Encodes each value as a field and removes the tag.
    let one = |value: &i64| new().int(0, zigzag(*value)).into_bytes()[1..].to_vec();
    values.iter().flat_map(one).collect()
}

fn histogram(fields: &Message) -> Message {
    family("h", 4, &new().message(1, &label("a", "b")).message(7, fields).int(6, 1500))
}

/// The native histogram of a message, which must have one and no samples.
#[track_caller]
fn native(fields: &Message) -> OwnedNativeHistogram {
    let families = read(&histogram(fields).delimited()).unwrap();
    assert_eq!((families.len(), families[0].samples.len()), (1, 0));
    let [native] = &families[0].native_histograms[..] else { panic!("{families:?}") };
    native.clone()
}

/// A native histogram as the Go client encodes it: integer counts as differences, no classic buckets.
fn go_histogram() -> Message {
    let time = new().int(1, 12).int(2, 500_000_000);
    let exemplar = new().message(1, &label("t", "x")).double(2, 0.5).message(3, &time);
    new()
        .int(1, 10)
        .double(2, 3.5)
        .int(5, zigzag(-1))
        .double(6, 1e-9)
        .int(7, 2)
        .message(9, &span(0, 1))
        .int(10, zigzag(1))
        .message(12, &span(-2, 2))
        .message(12, &span(1, 1))
        .int(13, zigzag(4))
        .int(13, zigzag(-3))
        .int(13, zigzag(1))
        .message(15, &time)
        .message(16, &exemplar)
}

#[test]
fn all_fields_of_a_native_histogram_are_parsed() {
    let native = native(&go_histogram());
    assert_eq!(native.labels, [("a".to_owned(), "b".to_owned())]);
    assert_eq!((native.count, native.sum, native.schema), (10.0, 3.5, -1));
    assert_eq!((native.zero_threshold, native.zero_count), (1e-9, 2.0));
    assert_eq!(native.negative.spans, [BucketSpan::new(0, 1)]);
    assert_eq!(native.negative.counts, [1.0]);
    let spans = [BucketSpan::new(-2, 2), BucketSpan::new(1, 1)];
    assert_eq!(native.positive.spans, spans);
    assert_eq!(native.positive.counts, [4.0, 1.0, 2.0]);
    assert_eq!((native.created, native.timestamp), (Some(12.5), Some(1.5)));
    let exemplar = &native.exemplars[0];
    assert_eq!((exemplar.value, exemplar.timestamp), (0.5, Some(12.5)));
    assert_eq!(exemplar.labels, [("t".to_owned(), "x".to_owned())]);
}

#[test]
fn float_counts_and_packed_fields_are_parsed() {
    let floats = new()
        .double(4, 4.0)
        .double(2, 3.5)
        .double(8, 1.5)
        .message(12, &span(0, 2))
        .double(14, 0.5)
        .double(14, 2.0);
    let native_floats = native(&floats);
    assert_eq!((native_floats.count, native_floats.zero_count), (4.0, 1.5));
    assert_eq!(native_floats.positive.counts, [0.5, 2.0]);

    let doubles: Vec<u8> = [0.5f64, 2.0].iter().flat_map(|count| count.to_le_bytes()).collect();
    let packed_floats = new().double(4, 4.0).double(2, 3.5).double(8, 1.5);
    let packed_floats = packed_floats.message(12, &span(0, 2)).bytes(14, &doubles);
    assert_eq!(native(&packed_floats), native_floats);

    let integers = new().int(1, 5).message(12, &span(0, 2)).bytes(13, &packed(&[200, -197]));
    assert_eq!(native(&integers).positive.counts, [200.0, 3.0]);
}

#[test]
fn a_span_or_a_zero_bucket_makes_a_histogram_native() {
    let is_native = |fields: &Message| {
        let families = read(&histogram(fields).delimited()).unwrap();
        !families[0].native_histograms.is_empty()
    };
    assert!(is_native(&new().message(12, &span(0, 0))));
    assert!(is_native(&new().double(6, 0.5)) && is_native(&new().int(7, 1)));
    assert!(is_native(&new().double(8, 0.5)) && is_native(&new().double(8, f64::NAN)));
    assert!(!is_native(&new().int(5, 2).double(6, 0.0).int(7, 0)));
    // An empty span that only marks the histogram as native is removed.
    assert_eq!(native(&new().message(12, &span(0, 0))).positive.spans, []);
    assert_eq!(native(&new().message(12, &span(0, 0)).double(6, 0.5)).positive.spans.len(), 1);
}

#[test]
fn a_histogram_may_have_classic_and_native_buckets() {
    let bucket = new().int(1, 4).double(2, 0.5);
    let families = read(&histogram(&go_histogram().message(3, &bucket)).delimited()).unwrap();
    let parts: Vec<SampleKind> = families[0].samples.iter().map(|sample| sample.kind).collect();
    let infinity = SampleKind::Bucket(f64::INFINITY);
    assert_eq!(
        parts,
        [
            SampleKind::Bucket(0.5),
            infinity,
            SampleKind::Sum,
            SampleKind::Count,
            SampleKind::Created
        ]
    );
    assert_eq!(families[0].native_histograms[0].after, 5);
}

#[test]
fn invalid_native_histograms_are_refused() {
    let refused = |fields: &Message| {
        let error = read(&histogram(fields).delimited()).unwrap_err().to_string();
        error.split_once(": ").unwrap().1.to_owned()
    };
    let invalid = "the native histogram has an invalid schema, zero threshold or spans";
    for fields in [
        new().message(12, &span(0, 2)).int(13, 2),
        new().message(12, &span(0, u32::MAX.into())),
        new().message(12, &span(0, 0)).int(13, 2),
        new().message(12, &span(0, 1)).message(12, &span(-1, 1)).int(13, 2).int(13, 2),
        new().message(9, &span(0, 1)).double(14, 1.5),
        // Differences, which are integers, together with a float count.
        new().double(8, 0.5).message(12, &span(0, 1)).int(13, 2),
        new().int(7, 1).int(5, zigzag(9)),
        new().double(6, f64::NAN),
        new().double(6, -1.0),
    ] {
        assert_eq!(refused(&fields), invalid, "{fields:?}");
    }
    let most = zigzag(i64::MAX);
    let fields = new().message(12, &span(0, 2)).int(13, most).int(13, most);
    assert_eq!(refused(&fields), "a bucket count of the native histogram exceeds 63 bits");
    assert_eq!(refused(&new().bytes(13, b"\x80")), "the message is truncated");
    assert_eq!(refused(&new().bytes(14, b"1234567")), "the message is truncated");
    assert_eq!(
        refused(&new().message(12, &new().text(1, "x")).bytes(9, b"\x08")),
        "the message is truncated"
    );
}

/// Runs `convert` on protobuf.
fn convert(to: &str, input: &[u8]) -> Output {
    let mut command = multiprom();
    command.args(["convert", "--from", "protobuf", "--to", to]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    })
}

fn zoo_bytes() -> Vec<u8> {
    let format = Negotiated::new(Format::Protobuf, Escaping::AllowUtf8);
    Exposition::encode(&zoo::registry(true), format).body
}

#[test]
fn protobuf_of_multiprom_is_converted_to_the_same_bytes() {
    let bytes = zoo_bytes();
    let output = convert("protobuf", &bytes);
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stderr).unwrap()),
        (Some(0), String::new())
    );
    assert!(output.stdout == bytes);
    let read = Parser::protobuf(&bytes[..]).collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(read.iter().map(|family| family.native_histograms.len()).sum::<usize>(), 5);
}

#[test]
fn protobuf_of_other_clients_is_converted_to_the_same_families() {
    let classic = new().int(1, 10).double(2, 3.5).message(3, &new().int(1, 4).double(2, 0.5));
    let pages =
        [histogram(&go_histogram()), histogram(&classic)].map(|message| message.delimited());
    for page in pages {
        let given = read(&page).unwrap();
        let output = convert("protobuf", &page);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(read(&output.stdout).unwrap(), given);
        let again = convert("protobuf", &output.stdout);
        assert!(again.stdout == output.stdout);
    }
}

#[test]
fn convert_fails_if_the_format_has_no_native_histograms() {
    let page = histogram(&go_histogram()).delimited();
    for (to, source) in [
        ("text", "text output"),
        ("text-utf8", "text output"),
        ("openmetrics", "OpenMetrics output"),
    ] {
        let output = convert(to, &page);
        let message = format!("multiprom: `{source}`: 1 of 1 samples do not fit into the format\n");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), message);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    }
    for (to, kind) in [
        ("openmetrics2", "positive_buckets:[4,1,2]"),
        ("protobuf-text", "positive_delta: -3"),
        ("json", "\"counts\":[\"4\",\"1\",\"2\"]"),
    ] {
        let output = convert(to, &page);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains(kind), "{text}");
    }
}

#[test]
fn joining_families_keeps_native_histograms_with_their_metric() {
    let bucket = new().int(1, 4).double(2, 0.5);
    let metric = |value: &str, fields: &Message| {
        let metric = new().message(1, &label("a", value)).message(7, fields);
        family("h", 4, &metric).delimited()
    };
    let both = go_histogram().message(3, &bucket);
    let pages = [metric("1", &both), metric("2", &go_histogram()), metric("3", &both)].concat();
    let joined = Families(read(&pages).unwrap()).joined();
    assert_eq!(joined.0.len(), 1);
    let places: Vec<(usize, &str)> = joined.0[0]
        .native_histograms
        .iter()
        .map(|native| (native.after, native.labels[0].1.as_str()))
        .collect();
    assert_eq!(places, [(5, "1"), (5, "2"), (10, "3")]);
    // A metric that is split into two families.
    let apart =
        [metric("1", &go_histogram()), metric("2", &both), metric("1", &new().message(3, &bucket))];
    let joined = Families(read(&apart.concat()).unwrap()).joined();
    let places: Vec<usize> =
        joined.0[0].native_histograms.iter().map(|native| native.after).collect();
    assert_eq!(places, [0, 7]);
}
