//! Label sets by struct, open label sets, and zeros before the first recording: in memory and in three processes.

use multiprom::collector::Gatherer as _;
use multiprom::exposition::{Escaping, TextEncoder};
use multiprom::metrics::{OpenFamily, TypedFamily};
use multiprom::parse::Families;
use multiprom::{
    Counter, ErrorKind, Family, Gauge, GaugeMode, Histogram, LabelSet, LabelValue,
    MultiProcessCollector, Registry, Summary, Unit,
};

use crate::support::registries::{self, in_memory};
use crate::support::{TestDir, assert_success, example};

/// The samples of an exposition, without comments, sorted.
fn samples(registry: &Registry) -> Vec<String> {
    let text = registry.render(None).to_string();
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[derive(Clone, Copy, LabelValue)]
#[label(rename_all = "snake_case")]
enum Outcome {
    Done,
    TimedOut,
    #[label(name = "5xx")]
    Failed,
}

#[derive(LabelValue)]
struct Route<'a>(&'a str);

#[derive(LabelSet)]
struct Call<'a, T: std::fmt::Display + 'static> {
    outcome: Outcome,
    route: Route<'a>,
    r#type: &'a str,
    code: Option<u16>,
    #[label(name = "share", display)]
    part: T,
}

#[test]
fn a_struct_with_borrowed_fields_selects_the_series_of_its_texts() {
    let registry = in_memory();
    let calls = Counter::builder("calls", "Calls.").const_label("app", "x");
    let calls: TypedFamily<Counter, Call<f64>> =
        calls.label_set::<Call<f64>>().register(&registry).unwrap();
    {
        let route = String::from("/a");
        let kind = String::from("b");
        let call = Call {
            outcome: Outcome::TimedOut,
            route: Route(&route),
            r#type: &kind,
            code: Some(200),
            part: 0.5,
        };
        assert!(calls.get(&call).is_none());
        calls.with(&call).inc();
        calls.with(&Call { code: None, outcome: Outcome::Failed, ..call }).inc_by(2.0);
    }
    assert_eq!(
        samples(&registry),
        [
            "calls_total{app=\"x\",code=\"\",outcome=\"5xx\",route=\"/a\",share=\"0.5\",type=\"b\"} 2",
            "calls_total{app=\"x\",code=\"200\",outcome=\"timed_out\",route=\"/a\",share=\"0.5\",type=\"b\"} 1",
        ]
    );
    // A family with the same names by position is the same one.
    let names = ["outcome", "route", "type", "code", "share"];
    let again = Counter::builder("calls", "Calls.").const_label("app", "x").labels(names);
    let again: Family<Counter, 5> = again.get_or_register(&registry).unwrap();
    assert_eq!(again.with(["timed_out", "/a", "b", "200", "0.5"]).get(), 1.0);
    let call = Call {
        outcome: Outcome::TimedOut,
        route: Route("/a"),
        r#type: "b",
        code: Some(200),
        part: 0.5,
    };
    assert!(calls.remove(&call) && !calls.remove(&call));
    calls.clear();
    assert_eq!(samples(&registry), [""; 0]);
}

/// Types with the names that generated code is likely to use.
#[derive(LabelValue)]
struct Borrowed<'label>(&'label str);

#[derive(LabelSet)]
struct Generic<'label, R: LabelValue + 'static> {
    borrowed: Borrowed<'label>,
    other: R,
}

#[test]
fn derived_types_may_have_any_generic_parameters() {
    let registry = in_memory();
    let named = Counter::builder("named", "").label_set::<Generic<u8>>();
    let named = named.register(&registry).unwrap();
    let text = String::from("a");
    named.with(&Generic { borrowed: Borrowed(&text), other: 7_u8 }).inc();
    assert_eq!(samples(&registry), ["named_total{borrowed=\"a\",other=\"7\"} 1"]);
}

#[derive(LabelSet)]
struct Listed {
    outcome: Outcome,
    cached: bool,
}

#[test]
fn label_sets_whose_values_can_be_listed_are_zeros_from_registration_on() {
    let registry = in_memory();
    let jobs = Counter::builder("jobs", "").label_set::<Listed>().register(&registry).unwrap();
    let quiet = Counter::builder("quiet", "").label_set::<Listed>().without_zeros();
    quiet.register(&registry).unwrap();
    jobs.with(&Listed { outcome: Outcome::Done, cached: true }).inc();
    assert_eq!(
        samples(&registry),
        [
            "jobs_total{cached=\"false\",outcome=\"5xx\"} 0",
            "jobs_total{cached=\"false\",outcome=\"done\"} 0",
            "jobs_total{cached=\"false\",outcome=\"timed_out\"} 0",
            "jobs_total{cached=\"true\",outcome=\"5xx\"} 0",
            "jobs_total{cached=\"true\",outcome=\"done\"} 1",
            "jobs_total{cached=\"true\",outcome=\"timed_out\"} 0",
        ]
    );
}

#[derive(LabelSet)]
#[expect(clippy::struct_excessive_bools, reason = "many combinations")]
struct Many {
    a: bool,
    b: bool,
    c: bool,
    d: bool,
    e: bool,
    f: bool,
    g: bool,
    h: bool,
    i: bool,
    j: bool,
}

#[test]
fn more_than_a_thousand_combinations_are_not_exported_before_they_are_used() {
    let registry = in_memory();
    Counter::builder("many", "").label_set::<Many>().register(&registry).unwrap();
    assert_eq!(samples(&registry), [""; 0]);
}

#[test]
fn zeros_made_on_purpose_exist_for_every_type() {
    let registry = in_memory();
    let counters = Counter::builder("counters", "").labels(["a"]).register(&registry).unwrap();
    let gauges = Gauge::builder("gauges", "").labels(["a"]).register(&registry).unwrap();
    let sizes = Histogram::builder("sizes", "").buckets([1.0]).labels(["a"]);
    let sizes = sizes.register(&registry).unwrap();
    let waits = Summary::builder("waits", "").open_labels().register(&registry).unwrap();
    counters.create(["x"]);
    gauges.create(["x"]);
    sizes.create(["x"]);
    waits.create(&[("a", "x")]).unwrap();
    let zeros = [
        "counters_total{a=\"x\"} 0",
        "gauges{a=\"x\"} 0",
        "sizes_bucket{a=\"x\",le=\"+Inf\"} 0",
        "sizes_bucket{a=\"x\",le=\"1.0\"} 0",
        "sizes_count{a=\"x\"} 0",
        "sizes_sum{a=\"x\"} 0",
        "waits_count{a=\"x\"} 0",
        "waits_sum{a=\"x\"} 0",
    ];
    assert_eq!(samples(&registry), zeros);
    // The zero of a series that is recorded into is its value.
    counters.with(["x"]).inc();
    gauges.with(["x"]).set(5.0);
    assert_eq!((counters.create(["x"]).get(), gauges.create(["x"]).get()), (1.0, 5.0));
    // A removed series comes back.
    assert!(sizes.remove(["x"]));
    sizes.create(["x"]);
    assert_eq!(registry.sample_value("sizes_count", &[("a", "x")]), Some(0.0));
}

#[test]
fn open_label_sets_are_found_in_any_order_and_have_names_of_their_own() {
    let registry = in_memory();
    let open = Gauge::builder("open", "").mode(GaugeMode::Sum).open_labels();
    let open: OpenFamily<Gauge> = open.register(&registry).unwrap();
    open.with(&[("b", "\"2\""), ("a", "1")]).unwrap().set(1.0);
    open.with(&[("a", "1"), ("b", "\"2\"")]).unwrap().add(1.0);
    open.with(&[("a", "1")]).unwrap().set(3.0);
    open.with(&[("a", "1"), ("b", "")]).unwrap().add(1.0);
    open.with(&[]).unwrap().set(5.0);
    let names: Vec<String> = (0..20).map(|at| format!("l{at}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    open.with(&many).unwrap().set(6.0);
    assert_eq!(open.get(&many).unwrap().get(), 6.0);
    assert!(open.get(&many[1..]).is_none());
    assert_eq!(samples(&registry)[..2], ["open 5", "open{a=\"1\",b=\"\\\"2\\\"\"} 2"]);
    assert_eq!(samples(&registry)[2], "open{a=\"1\"} 4");
    assert!(open.remove(&[("a", "1")]) && !open.remove(&[("a", "1")]));
    open.clear();
    assert_eq!(samples(&registry), [""; 0]);
}

#[test]
fn names_that_an_open_set_cannot_have_are_errors_that_name_the_metric() {
    let registry = in_memory();
    let sizes = Histogram::builder("sizes", "").const_label("app", "x").open_labels();
    let sizes = sizes.register(&registry).unwrap();
    let gauges = Gauge::builder("gauges", "").open_labels().register(&registry).unwrap();
    let many: Vec<String> = (0..129).map(|at| format!("l{at}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
    for (labels, message) in [
        (&[("a b", "1")][..], "label name `a b` does not match [a-zA-Z_][a-zA-Z0-9_]*"),
        (&[("__a", "1")], "label name `__a` is reserved"),
        (&[("le", "1")], "label name `le` is reserved"),
        (&[("a", "1"), ("a", "2")], "label name `a` is given twice"),
        (&[("app", "1")], "label name `app` is given twice"),
        (&many, "it has 131 labels, the limit is 128"),
    ] {
        let error = sizes.with(labels).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidLabels);
        assert_eq!(error.to_string(), format!("metric `sizes`: {message}"));
        assert!(sizes.get(labels).is_none());
    }
    assert!(gauges.with(&[("pid", "1")]).unwrap_err().to_string().contains("`pid` is reserved"));
    // An open family and one without labels are different descriptions.
    let error = Gauge::builder("gauges", "").get_or_register(&registry).unwrap_err();
    assert!(error.to_string().contains("with the labels any others"), "{error}");
}

#[test]
fn a_slice_of_the_wrong_length_is_an_error_and_lookups_by_name_create_nothing() {
    let registry = in_memory();
    let calls = Counter::builder("calls", "").labels(["a", "b"]).register(&registry).unwrap();
    let error = calls.with_slice(&["1"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidLabels);
    assert_eq!(error.to_string(), "metric `calls`: 1 values are given for its 2 labels `a`, `b`");
    assert!(calls.get_names(&[("b", "2"), ("a", "1")]).unwrap().is_none());
    calls.with_slice(&["1", "2"]).unwrap().inc();
    let found = calls.get_names(&[("b", "2"), ("a", "1")]).unwrap().unwrap();
    assert_eq!(found.get(), 1.0);
    assert!(calls.get_names(&[("b", "2")]).is_err());
}

#[test]
fn registration_rejects_label_names_that_a_struct_cannot_have() {
    #[derive(LabelSet)]
    struct Reserved {
        le: bool,
    }
    #[derive(LabelSet)]
    struct Malformed {
        #[label(name = "a b")]
        a: bool,
    }
    let (reserved, malformed) = (Reserved { le: true }, Malformed { a: true });
    let sizes = Histogram::builder("sizes", "").label_set::<Reserved>().register(&in_memory());
    assert!(sizes.unwrap_err().to_string().contains("`le` is reserved"));
    let sizes = Histogram::builder("sizes", "").label_set::<Malformed>().register(&in_memory());
    assert!(sizes.unwrap_err().to_string().contains("`a b` does not match"));
    assert!(reserved.le && malformed.a);
}

#[test]
fn registration_rejects_names_and_labels_that_the_data_model_forbids() {
    let counter = |name: &str| Counter::builder(name, "");
    let register = |registry: &Registry, name: &str, label: &str| {
        counter(name).const_label("app", "x").labels([label]).register(registry).map(|_| ())
    };
    let registry = in_memory();
    let gauge =
        |label: &str| Gauge::builder("g", "").labels([label]).register(&registry).map(|_| ());
    for (error, kind, message) in [
        (
            counter("bad name!").register(&registry).map(|_| ()),
            ErrorKind::InvalidName,
            "`bad name!`",
        ),
        (counter("").register(&registry).map(|_| ()), ErrorKind::InvalidName, "``"),
        (register(&registry, "1a", "x"), ErrorKind::InvalidName, "`1a`"),
        (register(&registry, "a", "b c"), ErrorKind::InvalidLabels, "`b c` does not match"),
        (register(&registry, "a", "__b"), ErrorKind::InvalidLabels, "`__b` is reserved"),
        // A constant label is not replaced by a label of the series.
        (register(&registry, "a", "app"), ErrorKind::InvalidLabels, "`app` is given twice"),
        (gauge("pid"), ErrorKind::InvalidLabels, "`pid` is reserved"),
        (
            Gauge::builder("g", "").const_label("pid", "1").register(&registry).map(|_| ()),
            ErrorKind::InvalidLabels,
            "`pid` is reserved",
        ),
        (
            Histogram::builder("h", "").labels(["le"]).register(&registry).map(|_| ()),
            ErrorKind::InvalidLabels,
            "`le` is reserved",
        ),
        (
            Summary::builder("s", "").const_label("quantile", "1").register(&registry).map(|_| ()),
            ErrorKind::InvalidLabels,
            "`quantile` is reserved",
        ),
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
    // `job` is a label like any other, as are `le` and `quantile` where no sample has them.
    counter("jobs").labels(["job", "le", "quantile"]).register(&registry).unwrap();
    assert_eq!(samples(&registry), [""; 0]);
}

#[test]
fn any_text_is_a_name_where_it_is_asked_for() {
    let registry = in_memory();
    let builder = |name: &str| Counter::builder(name, "").const_label("a b", "1");
    let error = builder("x.y").register(&registry).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidName);
    let counter = builder("x.y").utf8_names().namespace("n.s").unit(Unit::Bytes);
    counter.register(&registry).unwrap().inc();
    let open = builder("9").utf8_names().open_labels().register(&registry).unwrap();
    open.with(&[("c.d", "\"2\""), ("\u{e9}", "3")]).unwrap().inc();
    open.with(&[("\u{e9}", "3"), ("c.d", "\"2\"")]).unwrap().inc();
    assert_eq!(open.get(&[("c.d", "\"2\""), ("\u{e9}", "3")]).unwrap().get(), 2.0);
    assert!(open.with(&[("__c.d", "")]).is_ok() && open.with(&[("__c.d", "1")]).is_err());
    let by = builder("by").utf8_names().labels(["z.a", "b c"]).register(&registry).unwrap();
    by.with(["1", "2"]).inc();
    by.with(["1", "2"]).inc();
    assert!(by.get(["2", "1"]).is_none());
    let empty = builder("").utf8_names().register(&registry).unwrap_err();
    assert_eq!(empty.to_string(), "a name is empty");
    let page = |escaping| {
        let mut body = Vec::new();
        let mut encoder = TextEncoder::new(&mut body).escaping(escaping);
        registry.gather(&mut encoder);
        encoder.finish();
        let text = String::from_utf8(body).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        page(Escaping::AllowUtf8),
        [
            "{\"9_total\",\"a b\"=\"1\",\"c.d\"=\"\\\"2\\\"\",\"\u{e9}\"=\"3\"} 2",
            "by_total{\"a b\"=\"1\",\"b c\"=\"2\",\"z.a\"=\"1\"} 2",
            "{\"n.s_x.y_bytes_total\",\"a b\"=\"1\"} 1",
        ]
    );
    assert_eq!(
        page(Escaping::Values),
        [
            "U___39___total{U__a_20_b=\"1\",U__c_2e_d=\"\\\"2\\\"\",U___e9_=\"3\"} 2",
            "by_total{U__a_20_b=\"1\",U__b_20_c=\"2\",U__z_2e_a=\"1\"} 2",
            "U__n_2e_s__x_2e_y__bytes__total{U__a_20_b=\"1\"} 1",
        ]
    );
}

#[test]
fn three_processes_that_record_or_only_register_are_merged_with_their_zeros() {
    let dir = TestDir::new("label-sets");
    for work in ["register", "record", "record"] {
        let mut worker = example("test-label-sets");
        worker.arg(work).env("PROMETHEUS_MULTIPROC_DIR", dir.path());
        let output = worker.output().unwrap();
        assert_success(&worker, &output);
        if work == "register" {
            let merged = merged(&dir);
            assert_eq!(merged.len(), 2 * 2 + 2 * 2 * 4 + 1 + 1 + 2, "{merged:?}");
            assert!(merged.iter().all(|line| line.ends_with(" 0")), "{merged:?}");
        }
    }
    let expected = [
        "by_pid{pid=\"a\"} 4",
        "http_requests___total{__=\"x\",http_route=\"/without \u{e9}\"} 4",
        "listed_total{cached=\"false\",method=\"get\"} 0",
        "listed_total{cached=\"false\",method=\"post\"} 0",
        "listed_total{cached=\"true\",method=\"get\"} 0",
        "listed_total{cached=\"true\",method=\"post\"} 4",
        "shop_http_busy_seconds{tier=\"gold\"} 4",
        "shop_http_requests_bytes_total{code=\"200\",handler=\"/\\\"quoted\\\"\",method=\"get\",share=\"0.5\",tier=\"gold\"} 4",
        "shop_http_requests_bytes_total{code=\"200\",handler=\"/without \u{e9}\",method=\"get\",share=\"0.5\",tier=\"gold\"} 4",
        "sizes_bucket{cached=\"false\",method=\"get\",le=\"+Inf\"} 4",
        "sizes_bucket{cached=\"false\",method=\"get\",le=\"1.0\"} 4",
        "sizes_count{cached=\"false\",method=\"get\"} 4",
        "sizes_sum{cached=\"false\",method=\"get\"} 2",
        "uploads_total{tier=\"gold\",type=\"none\"} 0",
        "uploads_total{tier=\"gold\",type=\"png\",user=\"a\"} 4",
        "uploads_total{tier=\"gold\"} 4",
        "waits_count{kind=\"disk\"} 4",
        "waits_count{kind=\"net\"} 4",
        "waits_sum{kind=\"disk\"} 6",
        "waits_sum{kind=\"net\"} 4",
    ];
    let is_other_size = |line: &String| {
        line.starts_with("sizes_") && !line.contains("cached=\"false\",method=\"get\"")
    };
    let (zeros, others): (Vec<_>, Vec<_>) = merged(&dir).into_iter().partition(is_other_size);
    assert_eq!(others, expected);
    let collector = MultiProcessCollector::new(dir.path()).unwrap();
    let families = Families::of_collector(&collector).unwrap();
    let names = families.0.iter().map(|family| family.name.as_str());
    assert!(
        names.clone().any(|name| name == "http.requests.\u{e9}"),
        "{:?}",
        names.collect::<Vec<_>>()
    );
    let units = families.0.iter().filter(|family| family.name.starts_with("shop_"));
    let units: Vec<_> = units.map(|family| (family.name.as_str(), family.unit.as_str())).collect();
    assert_eq!(
        units,
        [("shop_http_busy_seconds", "seconds"), ("shop_http_requests_bytes", "bytes")]
    );
    assert!(zeros.len() == 3 * 4 && zeros.iter().all(|line| line.ends_with(" 0")), "{zeros:?}");
}

fn merged(dir: &TestDir) -> Vec<String> {
    let mut lines = samples(&registries::merged(dir));
    lines.retain(|line| !line.starts_with("multiprom_"));
    lines
}
