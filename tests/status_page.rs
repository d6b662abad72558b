//! The status page of `serve`, in a browser and as text, and that of a library.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use multiprom::collector::Gatherer;
use multiprom::http::{Exporter, ExporterBuilder};
use multiprom::{Backend, Counter, FamilySink, Gauge, Histogram, Registry};
use serde_json::json;

use crate::support::browser::Browser;
use crate::support::http::{Connection, Response, scrape, sum_of};
use crate::support::process::{PATIENCE, Running};
use crate::support::{TestDir, example, multiprom, output_of, wait_for};

/// Text that would do harm as HTML.
const HOSTILE: &str = "<img src=x onerror=\"document.title='harm'\"><script>document.title='harm'</script>'&amp;\n\u{202e}";

/// A directory with this process, which lives and records hostile text, and an ended one; and its exporter.
struct Site {
    dir: TestDir,
    jobs: Counter,
    server: Running,
    url: String,
}

impl Site {
    fn start(name: &str, flags: &[&str]) -> Site {
        let dir = TestDir::new(name);
        output_of(example("test-counting").arg(dir.path()).arg("5"));
        let backend = Backend::directory(dir.path()).unwrap();
        let registry = Registry::builder().backend(backend).build().unwrap();
        let jobs = Counter::builder("site_jobs_total", "Jobs done.").register(&registry).unwrap();
        let depth = Gauge::builder("site_depth", format!("Depth of {HOSTILE}"));
        let depth = depth.labels(["queue"]).register(&registry).unwrap();
        depth.with([HOSTILE]).set(3.0);
        let wait = Histogram::builder("site_wait_seconds", "Time in the queue.");
        let wait = wait.register(&registry).unwrap();
        for wait_time in [0.004, 0.03, 0.04, 0.2, 2.0] {
            wait.observe(wait_time);
        }
        let mut command = multiprom();
        command.args(["serve", "--dir"]).arg(dir.path());
        let mut server = Running::start(
            command.args(["--listen", "127.0.0.1:0", "--compact", "off"]).args(flags),
        );
        let url = server.url();
        let url = url.strip_suffix("metrics").unwrap().to_owned();
        Site { dir, jobs, server, url }
    }

    fn get(&self, path: &str) -> Response {
        Connection::open(&self.url).unwrap().request("GET", path, "")
    }
}

#[test]
fn the_page_shows_live_processes_searches_and_refreshes_its_plots_in_a_browser() {
    let Some(mut browser) = Browser::start("status-browser") else {
        return;
    };
    let site = Site::start("status-page", &[]);
    browser.resize(1280, 900);
    browser.open(&site.url);
    let rows = browser.evaluate(
        "[...document.querySelectorAll('#processes tbody tr')].map((row) => row.innerText)",
    );
    let rows: Vec<&str> = rows.as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    let own = std::process::id().to_string();
    assert!(rows[0].starts_with(&own) && rows[0].contains("alive"), "{rows:?}");
    // The command is the test program, without its arguments.
    assert!(rows[0].contains("main-"), "{rows:?}");
    assert!(rows[1].contains("dead"), "{rows:?}");

    // Hostile text stays text.
    let title = browser.evaluate("document.title");
    assert_eq!(title, "multiprom");
    let images = "document.querySelectorAll('main img, main script, [onerror]').length";
    assert_eq!(browser.evaluate(images), 0);
    let find = |name: &str| format!("document.querySelector('details[data-key=\"{name}\"]')");
    let help =
        browser.evaluate(&format!("{}.querySelector('.help').textContent", find("site_depth")));
    assert_eq!(help, format!("Depth of {HOSTILE}"));
    let labels = format!("{}.querySelector('.labels').textContent", find("site_depth"));
    let escaped = HOSTILE.replace('"', "\\\"").replace('\n', "\\n");
    assert_eq!(browser.evaluate(&labels), format!("pid=\"{own}\", queue=\"{escaped}\""));

    // The keyboard opens a family. It stays open and focused when the page is refreshed, which changes its plot.
    let summary = format!("{}.querySelector('summary')", find("site_jobs_total"));
    browser.evaluate(&format!("{summary}.focus()"));
    browser.press("Enter");
    let is_open = format!("{}.open", find("site_jobs_total"));
    assert_eq!(browser.evaluate(&is_open), true);
    let plot = format!("{summary}.querySelector('.line')?.getAttribute('points') ?? ''");
    let mut plots = Vec::new();
    wait_for("another plot", PATIENCE, || {
        site.jobs.inc_by(1000.0);
        let points = browser.evaluate(&plot);
        if points != "" && !plots.contains(&points) {
            plots.push(points);
        }
        (plots.len() >= 2).then_some(())
    });
    assert_eq!(browser.evaluate(&is_open), true);
    assert_eq!(browser.evaluate(&format!("document.activeElement === {summary}")), true);
    let rate = browser.evaluate(&format!("{summary}.querySelector('.value').textContent"));
    assert!(rate.as_str().unwrap().ends_with("k/s"), "{rate}");

    // `/` begins a search, which needs no key after the text.
    browser.press("/");
    browser.type_text("TIME in the");
    let names = "[...document.querySelectorAll('#families .name')].map((it) => it.textContent)";
    wait_for("the found family", PATIENCE, || {
        (browser.evaluate(names) == json!(["site_wait_seconds"])).then_some(())
    });
    assert_eq!(browser.evaluate("document.activeElement.id"), "search");
    let address = browser.evaluate("location.search");
    assert!(address.as_str().unwrap().contains("q=TIME+in+the"), "{address}");
    let mean = browser.evaluate("document.querySelector('.mean').textContent");
    assert_eq!(mean, "5 observations, mean 455 ms");

    assert_eq!(browser.errors, Vec::<String>::new());

    // Without the exporter the page says how old it is.
    site.server.signal("TERM");
    let live = "document.getElementById('live').textContent";
    wait_for("the message", PATIENCE, || {
        let text = browser.evaluate(live);
        text.as_str().unwrap().starts_with("Cannot refresh (").then_some(())
    });
}

#[test]
fn the_page_fits_a_phone_and_has_enough_contrast_in_both_color_schemes() {
    let Some(mut browser) = Browser::start("status-phone") else {
        return;
    };
    let site = Site::start("status-phone-page", &[]);
    browser.resize(360, 740);
    for scheme in ["light", "dark"] {
        browser.prefer_colors(scheme);
        browser.open(&site.url);
        let width = browser.evaluate("document.documentElement.scrollWidth");
        assert!(width.as_u64().unwrap() <= 360, "{scheme}: {width}");
        let colors = browser.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.querySelector('.note')).color, \
             getComputedStyle(document.querySelector('.tile')).backgroundColor]",
        );
        let colors: Vec<f64> =
            colors.as_array().unwrap().iter().map(|it| luminance(it.as_str().unwrap())).collect();
        for text in &colors[..2] {
            let (light, dark) = (text.max(colors[2]), text.min(colors[2]));
            // The least ratio of WCAG 2.2, level AA.
            assert!((light + 0.05) / (dark + 0.05) >= 4.5, "{scheme}: {colors:?}");
        }
    }
}

/// The relative luminance of `rgb(R, G, B)`, by WCAG 2.2.
fn luminance(color: &str) -> f64 {
    let numbers = color.trim_start_matches("rgb(").trim_end_matches(')').split(", ");
    let linear = |value: f64| {
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    let values: Vec<f64> =
        numbers.map(|number| linear(number.parse::<f64>().unwrap() / 255.0)).collect();
    0.2126 * values[0] + 0.7152 * values[1] + 0.0722 * values[2]
}

#[test]
fn the_page_works_without_a_script_and_has_a_strict_policy() {
    let site = Site::start("status-text", &[]);
    let page = site.get("/?q=wait");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert!(page.body.contains("data-key=\"site_wait_seconds\""), "{}", page.body);
    assert!(!page.body.contains("data-key=\"site_depth\""), "{}", page.body);
    assert!(!page.body.contains("style=") && !page.body.contains("http://"), "{}", page.body);
    // Whatever is sought and selected stays text.
    let page = site.get("/?q=%22%3E%3Cscript%3Enone&at=99");
    assert!(page.body.contains("value=\"&quot;&gt;&lt;script&gt;none\""), "{}", page.body);
    assert!(page.body.contains("No family matches."), "{}", page.body);

    let compressed =
        Connection::open(&site.url).unwrap().request("GET", "/", "Accept-Encoding: gzip\r\n");
    assert_eq!(compressed.header("content-encoding"), Some("gzip"));
    assert!(compressed.bytes.starts_with(&[0x1f, 0x8b]));
    for (path, content_type) in [("css", "text/css"), ("js", "text/javascript")] {
        let asset = site.get(&format!("/-/status.{path}?v=1"));
        assert_eq!(asset.status, 200);
        assert!(asset.header("content-type").unwrap().starts_with(content_type));
    }
    std::fs::remove_dir_all(site.dir.path()).unwrap();
    // That the directory is missing is one problem, for the scrape and for the list of processes.
    let one = "<h2>Problems <span class=\"count\">1</span></h2>";
    wait_for("the error", PATIENCE, || {
        let page = site.get("/").body;
        (page.contains("cannot be read") && !page.contains("class=\"cards\"")).then(|| {
            assert!(page.contains(one), "{page}");
        })
    });
}

#[test]
fn the_page_can_be_switched_off() {
    let site = Site::start("status-off", &["--web.no-status-page"]);
    let page = site.get("/");
    assert!(page.body.contains("<a href=\"/metrics\">") && !page.body.contains("site_jobs"));
    assert_eq!(site.get("/-/status.js").status, 404);
}

/// Starts an exporter in this process with a status page.
fn start(builder: ExporterBuilder) -> Exporter {
    builder.status_page().listen("127.0.0.1:0".parse().unwrap()).start().unwrap()
}

fn request(exporter: &Exporter, method: &str, path: &str) -> Response {
    Connection::open(exporter.url()).unwrap().request(method, path, "")
}

/// Sends a request without waiting for its response.
fn send(exporter: &Exporter, path: &str) -> Connection {
    let mut connection = Connection::open(exporter.url()).unwrap();
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
    connection
}

/// 3,000 families, and a gauge whose name ends like that of a counter.
struct Wide;

impl Gatherer for Wide {
    fn gather(&self, out: &mut dyn FamilySink) {
        out.gauge("parts_total", "Parts.").sample(&[], 7.0);
        for number in 1..3000 {
            out.gauge(&format!("wide_{number}"), "One of many.").sample(&[], 1.0);
        }
    }
}

#[test]
fn a_library_serves_the_page_of_a_registry_without_directories() {
    let registry = Registry::new();
    let jobs = Counter::builder("library_jobs_total", "Jobs done.").register(&registry).unwrap();
    jobs.inc_by(3.0);
    let exporter = start(Exporter::builder(registry).target("/jobs:wide", Wide));
    let page = request(&exporter, "GET", "/");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("data-key=\"library_jobs_total\""), "{}", page.body);
    for other in ["Processes alive", "On disk", "class=\"cards\"", "<h2>Problems"] {
        assert!(!page.body.contains(other), "{other}: {}", page.body);
    }
    // Relative to the page, and no URL with the scheme `jobs`.
    for path in ["./metrics", "./jobs:wide"] {
        assert!(page.body.contains(&format!("<a href=\"{path}\">")), "{}", page.body);
    }
    let head = request(&exporter, "HEAD", "/");
    assert_eq!((head.status, head.header("content-encoding")), (200, None));
    assert!(head.header("content-length").unwrap().parse::<usize>().unwrap() > 1000);
    exporter.stop();
}

#[test]
fn of_many_families_the_page_lists_some_says_how_many_more_there_are_and_finds_each() {
    let exporter = start(Exporter::builder(Wide));
    let page = request(&exporter, "GET", "/");
    assert_eq!(page.body.matches("<details class=\"family\"").count(), 200);
    assert!(page.body.contains("and 2,800 more: search for them"), "{}", page.body);
    let found = request(&exporter, "GET", "/?q=wide_2999");
    assert_eq!(found.body.matches("<details class=\"family\"").count(), 1);
    assert!(found.body.contains("<span class=\"count\">1 of 3,000</span>"), "{}", found.body);
    // The link to all series of a family finds them.
    let link = page.body.split("\"./metrics?").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(link, "name[]=parts_total");
    let selected = request(&exporter, "GET", &format!("/metrics?{link}"));
    assert_eq!(sum_of(&selected.body, "parts_total"), 7.0);
    exporter.stop();
}

/// A source whose gatherings wait or panic.
#[derive(Clone, Default)]
struct Source(Arc<SourceState>);

#[derive(Default)]
struct SourceState {
    begun: AtomicUsize,
    /// How many gatherings wait for the lock.
    waiting: AtomicUsize,
    lock: Mutex<()>,
    panics: AtomicBool,
}

impl Source {
    fn wait_for(&self, gatherings: usize) {
        let begun = || self.0.begun.load(Ordering::Relaxed);
        wait_for("a gathering", PATIENCE, || (begun() >= gatherings).then_some(()));
    }
}

impl Gatherer for Source {
    fn gather(&self, out: &mut dyn FamilySink) {
        if self.0.begun.fetch_add(1, Ordering::Relaxed) < self.0.waiting.load(Ordering::Relaxed) {
            drop(self.0.lock.lock().unwrap_or_else(PoisonError::into_inner));
        }
        if self.0.panics.load(Ordering::Relaxed) {
            std::panic::resume_unwind(Box::new("a gatherer fails"));
        }
        out.gauge("source_depth", "").sample(&[], 1.0);
    }
}

#[test]
fn a_source_that_panics_is_a_problem_on_the_page_until_it_works_again() {
    let source = Source::default();
    source.0.panics.store(true, Ordering::Relaxed);
    let exporter = start(Exporter::builder(source.clone()));
    let page = request(&exporter, "GET", "/");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("<li>gathering panicked</li>"), "{}", page.body);
    assert_eq!(request(&exporter, "GET", "/metrics").status, 500);
    source.0.panics.store(false, Ordering::Relaxed);
    assert_eq!(sum_of(&scrape(exporter.url()), "source_depth"), 1.0);
    wait_for("the values", PATIENCE, || {
        let page = request(&exporter, "GET", "/").body;
        (page.contains("data-key=\"source_depth\"") && !page.contains("panicked")).then_some(())
    });
    exporter.stop();
}

#[test]
fn pages_show_the_last_values_while_a_gathering_hangs_which_leaves_scrapes_alone() {
    let source = Source::default();
    let exporter = start(Exporter::builder(source.clone()));
    let is_late = |page: &Response| page.body.contains("for this page has run for");
    let has_values = |page: &Response| page.body.contains("data-key=\"source_depth\"");
    let first = request(&exporter, "GET", "/");
    assert!(has_values(&first) && !is_late(&first), "{}", first.body);

    // The next gathering hangs. It is that of a page, which comes once the first values are a second old.
    source.0.waiting.store(2, Ordering::Relaxed);
    let lock = source.0.lock.lock().unwrap();
    let late = wait_for("a page without a gathering", PATIENCE, || {
        Some(request(&exporter, "GET", "/")).filter(is_late)
    });
    assert!(late.status == 200 && has_values(&late), "{}", late.body);
    assert!(late.body.contains(" and goes on: the values were gathered "), "{}", late.body);
    for _ in 0..20 {
        assert_eq!(sum_of(&scrape(exporter.url()), "source_depth"), 1.0);
    }
    let found = request(&exporter, "GET", "/?q=other");
    assert!(is_late(&found) && !has_values(&found), "{}", found.body);
    drop(lock);
    wait_for("the page", PATIENCE, || {
        let page = request(&exporter, "GET", "/");
        (has_values(&page) && !is_late(&page)).then_some(())
    });
    exporter.stop();
}

#[test]
fn a_page_whose_first_gathering_hangs_says_so() {
    let source = Source::default();
    source.0.waiting.store(1, Ordering::Relaxed);
    let lock = source.0.lock.lock().unwrap();
    let exporter = start(Exporter::builder(source.clone()));
    let page = request(&exporter, "GET", "/");
    assert!(page.status == 200 && page.body.contains("there are no values yet"), "{}", page.body);
    drop(lock);
    exporter.stop();
}

#[test]
fn an_exporter_stops_within_five_seconds_although_gatherings_for_a_scrape_and_the_page_hang() {
    let source = Source::default();
    source.0.waiting.store(usize::MAX, Ordering::Relaxed);
    let lock = source.0.lock.lock().unwrap();
    let exporter = start(Exporter::builder(source.clone()));
    let clients = ["/", "/metrics"].map(|path| send(&exporter, path));
    source.wait_for(clients.len());
    let begin = Instant::now();
    exporter.stop();
    // With time for a machine that is busy.
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    drop((clients, lock));
}
