//! The protobuf parser, with messages that the tests encode themselves.

use multiprom::collector::{MetricType, SampleKind};
use multiprom::parse::{OwnedFamily, ParseError, Parser};

use super::small;

/// A message under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn int(mut self, field: u64, value: i64) -> Message {
        self.varint(field << 3);
        self.varint(value.cast_unsigned());
        self
    }

    pub(super) fn double(mut self, field: u64, value: f64) -> Message {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn bytes(mut self, field: u64, bytes: &[u8]) -> Message {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    pub(super) fn text(self, field: u64, text: &str) -> Message {
        self.bytes(field, text.as_bytes())
    }

    pub(super) fn message(self, field: u64, message: &Message) -> Message {
        self.bytes(field, &message.0)
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The message with a length prefix.
    pub(super) fn delimited(&self) -> Vec<u8> {
        let mut out = Message::default();
        out.varint(self.0.len() as u64);
        out.0.extend(&self.0);
        out.0
    }
}

pub(super) fn new() -> Message {
    Message::default()
}

pub(super) fn label(name: &str, value: &str) -> Message {
    new().text(1, name).text(2, value)
}

pub(super) fn family(name: &str, metric_type: i64, metric: &Message) -> Message {
    new().text(1, name).text(2, "Help.").int(3, metric_type).message(4, metric)
}

pub(super) fn read(bytes: &[u8]) -> Result<Vec<OwnedFamily>, ParseError> {
    Parser::protobuf(bytes).collect()
}

/// The parts and values of the samples of a message, which must have one family.
fn parts(message: &Message) -> Vec<(SampleKind, f64)> {
    let families = read(&message.delimited()).unwrap();
    assert_eq!(families.len(), 1);
    families[0].samples.iter().map(|sample| (sample.kind, sample.value)).collect()
}

#[test]
fn every_type_is_parsed() {
    let time = new().int(1, 12).int(2, 500_000_000);
    let exemplar = new().message(1, &label("t", "x")).double(2, 0.5).message(3, &time);
    let counter = new().double(1, 3.0).message(2, &exemplar).message(3, &time);
    let metric = new().message(1, &label("a", "b")).message(3, &counter).int(6, -1500);
    let message = family("c_total", 0, &metric).text(5, "s");
    let families = read(&message.delimited()).unwrap();
    let counter = &families[0];
    assert_eq!(
        (counter.name.as_str(), counter.help.as_str(), counter.unit.as_str()),
        ("c", "Help.", "s")
    );
    assert_eq!(counter.metric_type, MetricType::Counter);
    let total = &counter.samples[0];
    assert_eq!((total.kind, total.value, total.timestamp), (SampleKind::Total, 3.0, Some(-1.5)));
    assert_eq!(total.labels, [("a".to_owned(), "b".to_owned())]);
    let exemplar = total.exemplar.as_ref().unwrap();
    assert_eq!((exemplar.value, exemplar.timestamp), (0.5, Some(12.5)));
    assert_eq!((counter.samples[1].kind, counter.samples[1].value), (SampleKind::Created, 12.5));

    let value = new().double(1, -0.5);
    assert_eq!(parts(&family("g", 1, &new().message(2, &value))), [(SampleKind::Value, -0.5)]);
    assert_eq!(parts(&family("u", 3, &new().message(5, &value))), [(SampleKind::Value, -0.5)]);

    let quantile = new().double(1, 0.5).double(2, 7.0);
    let summary = new().int(1, 4).double(2, 9.0).message(3, &quantile).message(4, &time);
    assert_eq!(
        parts(&family("s", 2, &new().message(4, &summary))),
        [
            (SampleKind::Quantile(0.5), 7.0),
            (SampleKind::Sum, 9.0),
            (SampleKind::Count, 4.0),
            (SampleKind::Created, 12.5)
        ]
    );

    let bucket = new().int(1, 1).double(2, 0.5);
    let histogram = new().int(1, 3).double(2, 9.0).message(3, &bucket).message(15, &time);
    assert_eq!(
        parts(&family("h", 4, &new().message(7, &histogram))),
        [
            (SampleKind::Bucket(0.5), 1.0),
            (SampleKind::Bucket(f64::INFINITY), 3.0),
            (SampleKind::Sum, 9.0),
            (SampleKind::Count, 3.0),
            (SampleKind::Created, 12.5)
        ]
    );
    let last = new().double(4, 2.5).double(2, f64::INFINITY);
    let gauge_histogram = new().double(4, 2.5).double(2, 9.0).message(3, &last);
    assert_eq!(
        parts(&family("gh", 5, &new().message(7, &gauge_histogram))),
        [
            (SampleKind::Bucket(f64::INFINITY), 2.5),
            (SampleKind::GaugeSum, 9.0),
            (SampleKind::GaugeCount, 2.5)
        ]
    );
}

#[test]
fn messages_are_read_in_sequence_and_unknown_fields_are_skipped() {
    let value = new().double(1, 1.0).int(99, 5).text(98, "x");
    let metric = new().message(2, &value).int(97, 1);
    // The metadata may follow the metrics.
    let message = new().message(4, &metric).text(90, "x").int(3, 1).text(1, "late");
    let bytes = [message.delimited(), family("g", 1, &metric).delimited()].concat();
    let names: Vec<_> = read(&bytes).unwrap().into_iter().map(|family| family.name).collect();
    assert_eq!(names, ["late", "g"]);
    assert_eq!(read(b"").unwrap(), []);
}

#[test]
fn damaged_messages_are_errors_with_their_position() {
    let value = new().double(1, 1.0);
    let good = family("g", 1, &new().message(1, &label("a", "b")).message(2, &value)).delimited();
    let at = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    for len in 1..good.len() {
        let text = at(&good[..len]);
        assert!(text.starts_with("message 1, byte "), "{len}: {text}");
    }
    let second = [&good[..], &[5, 1]].concat();
    assert_eq!(at(&second), "message 2, byte 2: expected the rest of the message");
    assert_eq!(at(&new().int(3, 1).delimited()), "message 1, byte 1: the family has no name");
    assert_eq!(
        at(&new().text(1, "g").int(3, 9).delimited()),
        "message 1, byte 1: unknown family type"
    );
    let without_value = family("g", 1, &new().message(3, &value)).delimited();
    assert!(at(&without_value).ends_with("the metric has no value of its family's type"));
    let bytes = new().bytes(1, b"\xff").int(3, 1).delimited();
    assert_eq!(at(&bytes), "message 1, byte 3: the bytes are not UTF-8");
    let twice = new().message(1, &label("a", "b")).message(1, &label("a", "c")).message(2, &value);
    assert!(at(&family("g", 1, &twice).delimited()).ends_with("label name `a` is given twice"));
    let bound = new().double(2, f64::NAN);
    let histogram = new().message(7, &new().message(3, &bound));
    assert!(at(&family("g", 4, &histogram).delimited()).ends_with("the bound of a bucket is NaN"));
}

#[test]
fn messages_above_the_length_limit_are_not_read() {
    let long = new().text(1, &"x".repeat(80)).delimited();
    let error = Parser::protobuf(&long[..]).with_limits(small()).last().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "message 1, byte 1: the length of a message is above the limit of 60"
    );
    let error = read(&[0xFF; 20]).unwrap_err();
    assert!(error.to_string().contains("above the limit"));
}
