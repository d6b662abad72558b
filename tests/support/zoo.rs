//! One family of every kind, to check encoders by other parsers.

use std::time::{SystemTime, UNIX_EPOCH};

use multiprom::collector::{BucketSpan, Exemplar, HistogramPoint, NativeBuckets, NativeHistogram};
use multiprom::{Collector, FamilySink, Registry};

/// Families of every type. Families with native histograms only are empty in other formats.
pub struct Zoo {
    /// Whether some names need quotes or escaping.
    has_utf8_names: bool,
    /// The time of exemplars, as scrapers reject old ones.
    now: f64,
}

/// A registry with a [`Zoo`] only.
pub fn registry(has_utf8_names: bool) -> Registry {
    let registry = Registry::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    registry.register(Zoo { has_utf8_names, now }).unwrap();
    registry
}

impl Collector for Zoo {
    fn collect(&self, out: &mut dyn FamilySink) {
        let exemplar =
            |value| Exemplar::new(&[("trace_id", "4bf9")], value).with_timestamp(self.now);
        let text = "a \"quoted\" \\ text\nin two lines \u{1f600}";
        out.with_unit("bytes")
            .counter("zoo_read_bytes_total", text)
            .sample_with_exemplar(&[("path", text), ("q", "")], 300.5, exemplar(12.0))
            .created(&[("path", text), ("q", "")], 1.5e9)
            .sample(&[("path", "/"), ("q", "1")], 1e21);
        let mut gauge = out.gauge("zoo_temperature_celsius", "");
        for (label, value) in [
            ("a", -1.5),
            ("b", f64::NAN),
            ("c", f64::INFINITY),
            ("d", f64::NEG_INFINITY),
            ("e", 1e-9),
        ] {
            gauge.sample(&[("place", label)], value);
        }
        let exemplars = [exemplar(0.05), exemplar(0.7), exemplar(99.0)];
        let point = HistogramPoint::new(&[(0.1, 3.0), (1.0, 5.0), (1e6, 7.0)], 8.0, 1234.5)
            .with_exemplars(&exemplars)
            .with_created(1.5e9);
        out.with_unit("seconds")
            .histogram("zoo_wait_seconds", "Waits.")
            .sample(&[("route", "/")], &point)
            .sample(&[("route", "/b")], &HistogramPoint::default());
        out.gauge_histogram("zoo_queue_age", "Ages.").sample(&[("queue", "mail")], &point);
        out.summary("zoo_size", "Sizes.")
            .sample(&[("kind", "x")], &[(0.5, 1.0), (0.99, 2.5)], 17.0, 20.25)
            .created(&[("kind", "x")], 1.5e9)
            .sample(&[("kind", "y")], &[(0.5, f64::NAN)], 0.0, 0.0);
        out.info("zoo_build", "Build.").sample(&[("version", "1.2.3"), ("commit", "abc")]);
        out.state_set("zoo_mode", "Mode.")
            .sample(&[("part", "x")], &[("on", true), ("off", false), ("a \"b\"", false)]);
        out.unknown("zoo_thing", "").sample(&[], 5.0);
        let spans = [BucketSpan::new(-2, 2), BucketSpan::new(1, 1)];
        let buckets = NativeBuckets::new(&spans, &[4.0, 1.0, 3.0]);
        let native = NativeHistogram::new(1, 10.0, 3.5)
            .with_zero_bucket(1e-9, 2.0)
            .with_positive(buckets)
            .with_exemplars(&exemplars[..1])
            .with_created(1.5e9);
        let mut both_sides = native.with_negative(buckets);
        both_sides.count = 18.0;
        let mut floats = native.with_positive(NativeBuckets::new(&spans, &[0.5, 1.0, 1.5]));
        floats.count = 5.0;
        let mut histogram = out.histogram("zoo_native", "Native.");
        histogram.native(&[("kind", "one")], &native).native(&[("kind", "both")], &both_sides);
        histogram.native(&[("kind", "floats")], &floats);
        histogram.native(&[("kind", "empty")], &NativeHistogram::default());
        let buckets = [(0.5, 6.0), (1.0, 7.0)];
        let classic =
            HistogramPoint::new(&buckets, 10.0, 3.5).with_exemplars(&exemplars).with_created(1.5e9);
        out.histogram("zoo_twofold", "Both.").sample(&[], &classic).native(&[], &native);
        if self.has_utf8_names {
            out.counter("zoo.hits", "Hits.").sample(&[("http.route", "/"), ("zone", "b")], 2.0);
            out.histogram("zoo.\u{65e5}\u{672c} \"x\"", "").sample(&[("a\\b\"", "c")], &point);
            out.gauge("zoo:colon", "").sample(&[("a_b", "1")], 1.0);
        }
    }
}
