//! Requests to `serve`: paths, formats, compression, selection by name, invalid requests.

use std::io::Write as _;
use std::process::{Command, Stdio};

use multiprom::parse::{OwnedFamily, Parser};
use multiprom::{Backend, Counter, Registry};

use super::Served;
use crate::support::http::{scrape, sum_of};
use crate::support::skip;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The header that Prometheus 3 sends.
const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,\
    text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

#[test]
fn one_connection_serves_many_requests_of_every_kind() {
    let served = Served::start("requests", &["--compact", "off"]);
    let mut connection = served.connect();
    let response = connection.request("GET", "/metrics", "");
    assert_eq!((response.status, response.header("content-type")), (200, Some(TEXT)));
    assert!(response.body.contains("\njobs_total 5\n"));
    // The number of digits of the free space may differ.
    let len = response.body.len();
    let head = connection.request("HEAD", "/metrics", "");
    assert_eq!((head.status, head.header("content-type")), (200, Some(TEXT)));
    let head_len: usize = head.header("content-length").unwrap().parse().unwrap();
    assert!(head_len.abs_diff(len) < 64 && head.body.is_empty(), "{head_len} {len}");
    let healthy = connection.request("GET", "/-/healthy", "");
    assert_eq!((healthy.status, healthy.body.as_str()), (200, "healthy\n"));
    assert_eq!(connection.request("HEAD", "/-/healthy", "").status, 200);
    for path in ["/metrics/", "/Metrics", "/-/", "//metrics", "/%6detrics"] {
        assert_eq!(connection.request("GET", path, "").status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "BREW"] {
        for path in ["/metrics", "/-/healthy"] {
            let response = connection.request(method, path, "Content-Length: 0\r\n");
            let allow = response.header("allow");
            assert_eq!(
                (response.status, allow),
                (405, Some("GET, HEAD, OPTIONS")),
                "{method} {path}"
            );
        }
    }
    let response = connection.request("GET", "/metrics?name=x", "");
    assert!(response.body.contains("\njobs_total 5\n"));
    served.stop();
}

#[test]
fn each_scrape_includes_everything_recorded_before_it() {
    let served = Served::start("fresh", &[]);
    let backend = Backend::directory(served.dir.path()).unwrap();
    let registry = Registry::builder().backend(backend).build().unwrap();
    let counter = Counter::builder("jobs_total", "Jobs done.").register(&registry).unwrap();
    let mut connection = served.connect();
    for total in 6..10 {
        counter.inc();
        let body = connection.request("GET", "/metrics", "").body;
        assert_eq!(sum_of(&body, "jobs_total"), f64::from(total));
    }
    served.stop();
}

#[test]
fn the_accept_header_selects_the_format() {
    let served = Served::start("accept", &[]);
    let mut connection = served.connect();
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                      application/openmetrics-text;version=0.0.1;q=0.4,\
                      text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let long = "application/openmetrics-text".to_owned() + &";a=b".repeat(1000);
    let text_utf8 = TEXT.replace("0.0.4", "1.0.0") + "; escaping=underscores";
    let openmetrics_2 = OPENMETRICS.replace("1.0.0", "2.0.0") + "; escaping=underscores";
    let cases = [
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPENMETRICS),
        (prometheus, OPENMETRICS),
        (&long, OPENMETRICS),
        ("text/plain, application/openmetrics-text;q=0.9", TEXT),
        ("text/plain", TEXT),
        ("*/*", TEXT),
        ("", TEXT),
        ("image/png", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=NaN", TEXT),
        ("application/openmetrics-text;version=9", TEXT),
        ("text/plain;version=0.0.4;escaping=dots", &format!("{TEXT}; escaping=dots")),
        ("text/plain;escaping=allow-utf-8", &format!("{TEXT}; escaping=allow-utf-8")),
        (PROMETHEUS_3, &format!("{OPENMETRICS}; escaping=allow-utf-8")),
        ("text/plain;version=1.0.0", &text_utf8),
        ("application/openmetrics-text;version=2.0.0", &openmetrics_2),
        (";;;,,,q=,=;\"", TEXT),
    ];
    for (accept, wanted) in cases {
        let response = connection.request("GET", "/metrics", &format!("Accept: {accept}\r\n"));
        let content_type = response.header("content-type");
        assert_eq!((response.status, content_type), (200, Some(wanted)), "{accept}");
        let is_openmetrics = wanted.contains("openmetrics");
        assert_eq!(response.body.ends_with("\n# EOF\n"), is_openmetrics, "{accept}");
        let is_bare = is_openmetrics && wanted != openmetrics_2;
        let head = if is_bare { "# TYPE jobs counter" } else { "# TYPE jobs_total counter" };
        assert!(response.body.lines().any(|line| line == head), "{accept}");
        assert_eq!(response.header("vary"), Some("Accept, Accept-Encoding"));
    }
    let several = "Accept: text/plain;q=0.1\r\nAccept: application/openmetrics-text\r\n";
    let response = connection.request("GET", "/metrics", several);
    assert_eq!(response.header("content-type"), Some(OPENMETRICS));
    served.stop();
}

#[test]
fn protobuf_is_served_on_request() {
    let served = Served::start("protobuf", &[]);
    let mut connection = served.connect();
    let media_type = "application/vnd.google.protobuf";
    let proto = "proto=io.prometheus.client.MetricFamily";
    let accept = format!("Accept: {media_type};{proto};encoding=delimited,*/*;q=0.1\r\n");
    let response = connection.request("GET", "/metrics", &accept);
    let wanted = format!("{media_type}; {proto}; encoding=delimited");
    assert_eq!(response.header("content-type"), Some(wanted.as_str()));
    let counter = b"\x0a\x0ajobs_total\x12";
    assert!(response.bytes.windows(counter.len()).any(|bytes| bytes == counter));
    served.stop();
}

#[test]
fn the_accept_encoding_header_selects_the_compression() {
    let served = Served::start("compressed", &["--compact", "off"]);
    let mut connection = served.connect();
    let plain = connection.request("GET", "/metrics", "");
    assert_eq!(plain.header("content-encoding"), None);
    for (accept, coding) in [
        ("gzip", Some("gzip")),
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("zstd;q=0.5, gzip", Some("gzip")),
        ("*;q=0.1", Some("zstd")),
        ("br, identity;q=0", None),
        ("gzip;q=0", None),
        (",;q=gzip", None),
    ] {
        let header = format!("Accept-Encoding: {accept}\r\n");
        let response = connection.request("GET", "/metrics", &header);
        assert_eq!(
            (response.status, response.header("content-encoding")),
            (200, coding),
            "{accept}"
        );
        assert_eq!(response.header("content-type"), Some(TEXT));
        assert_eq!(response.header("vary"), Some("Accept, Accept-Encoding"));
        let head = connection.request("HEAD", "/metrics", &header);
        let len: usize = head.header("content-length").unwrap().parse().unwrap();
        // The number of digits of the free space may differ.
        assert!(len.abs_diff(response.bytes.len()) < 128, "{accept}: {len}");
        let Some(tool) = coding else {
            assert_eq!(merged(&response.body), merged(&plain.body));
            continue;
        };
        assert!(response.bytes.len() * 2 < plain.body.len());
        if let Some(body) = decompressed(tool, &response.bytes) {
            assert_eq!(merged(&body), merged(&plain.body));
        }
    }
    // A small body is not compressed, unless the request refuses `identity`.
    for (accept, coding) in [("gzip", None), ("gzip, identity;q=0", Some("gzip"))] {
        let header = format!("Accept-Encoding: {accept}\r\n");
        let response = connection.request("GET", "/metrics?name[]=jobs_total", &header);
        assert_eq!(response.header("content-encoding"), coding);
    }
    served.stop();
}

/// The body, decompressed by the command of its coding.
fn decompressed(tool: &str, bytes: &[u8]) -> Option<String> {
    let mut command = Command::new(tool);
    command.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        skip(&format!("{tool} is not installed"));
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(bytes));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_query_selects_samples_by_name() {
    let served = Served::start("names", &[]);
    let mut connection = served.connect();
    let mut names = |query: &str| {
        let response = connection.request("GET", &format!("/metrics?{query}"), "");
        assert_eq!(
            (response.status, response.header("content-type")),
            (200, Some(TEXT)),
            "{query}"
        );
        let lines = response.body.lines().filter(|line| !line.starts_with("# HELP"));
        let names = lines.map(|line| line.split(['{', ' ']).take(3).collect::<Vec<_>>().join(" "));
        let mut names: Vec<String> = names.collect();
        names.dedup_by(|a, b| a.split(' ').next() == b.split(' ').next() && !a.starts_with('#'));
        names
    };
    assert_eq!(names("name[]=jobs_total"), ["# TYPE jobs_total", "jobs_total 5"]);
    let both = names("x=1&name%5B%5D=jobs%5ftotal&name[]=job_size_bytes_count&name[]=none");
    assert_eq!(both.iter().filter(|name| name.starts_with("# TYPE")).count(), 2, "{both:?}");
    assert!(both.contains(&"job_size_bytes_count 5".to_owned()), "{both:?}");
    assert!(!both.iter().any(|name| name.starts_with("job_size_bytes_bucket")), "{both:?}");
    // The name of a family selects all its samples.
    assert_eq!(names("name[]=jobs"), ["# TYPE jobs_total", "jobs_total 5"]);
    let family = names("name[]=job_size_bytes");
    let starts = |start: &str| family.iter().any(|name| name.starts_with(start));
    assert!(starts("job_size_bytes_bucket") && starts("job_size_bytes_sum"), "{family:?}");
    for none in ["name[]=job", "name[]=job_size_bytes_", "name[]=", "name[]=%00%ff%zz"] {
        assert!(names(none).is_empty(), "{none}");
    }
    for all in ["name=jobs", "", "name%5B=jobs"] {
        assert!(names(all).len() > 20, "{all}");
    }
    served.stop();
}

#[test]
fn a_query_selects_samples_in_every_format_and_coding() {
    let served = Served::start("names-formats", &[]);
    let mut connection = served.connect();
    let query = "/metrics?name[]=jobs_total&name[]=job_size_bytes_bucket";
    let openmetrics = "Accept: application/openmetrics-text;version=1.0.0\r\n";
    let response = connection.request("GET", query, openmetrics);
    assert!(response.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let families = Parser::openmetrics(response.body.as_bytes()).collect::<Result<Vec<_>, _>>();
    let names = |families: &[OwnedFamily]| -> Vec<String> {
        families.iter().map(|family| family.name.clone()).collect()
    };
    let wanted = ["job_size_bytes", "jobs"];
    let mut found = names(&families.unwrap());
    found.sort();
    assert_eq!(found, wanted, "{}", response.body);
    let proto = "Accept: application/vnd.google.protobuf;\
                 proto=io.prometheus.client.MetricFamily;encoding=delimited\r\n";
    let response = connection.request("GET", query, proto);
    let families = Parser::protobuf(&response.bytes[..]).collect::<Result<Vec<_>, _>>();
    let mut found = names(&families.unwrap());
    found.sort();
    assert_eq!(found, wanted);
    // An exposition may have no family.
    let response = connection.request("GET", "/metrics?name[]=none", openmetrics);
    assert_eq!((response.status, response.body.as_str()), (200, "# EOF\n"));
    let response = connection.request("GET", "/metrics?name[]=none", proto);
    assert_eq!((response.status, response.bytes.len()), (200, 0));
    for coding in ["gzip", "zstd"] {
        let header = format!("{openmetrics}Accept-Encoding: {coding}, identity;q=0\r\n");
        let response = connection.request("GET", query, &header);
        assert_eq!(response.header("content-encoding"), Some(coding));
        if let Some(body) = decompressed(coding, &response.bytes) {
            assert!(body.contains("\njobs_total 5.0\n") && body.ends_with("\n# EOF\n"), "{body}");
            assert!(!body.contains("job_size_bytes_sum"), "{body}");
        }
        let head = connection.request("HEAD", query, &header);
        assert_eq!((head.status, head.bytes.len()), (200, 0));
        assert_eq!(head.header("content-encoding"), Some(coding));
        assert_eq!(head.header("content-length"), response.header("content-length"));
    }
    served.stop();
}

#[test]
fn invalid_requests_affect_only_their_connection() {
    let served = Served::start("broken", &[]);
    let huge = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(1000));
    let broken: [&[u8]; 8] = [
        b"\r\n\r\ngarbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /\x00metrics HTTP/1.1\r\n\r\n",
        huge.as_bytes(),
        many.as_bytes(),
    ];
    for bytes in broken {
        let mut connection = served.connect();
        // The server may close the connection before everything is sent.
        let sent = connection.send(bytes);
        if let (Ok(()), Ok(response)) = (sent, connection.response(false)) {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
            assert!((400..600).contains(&response.status), "{shown}: {}", response.status);
        }
    }
    for accept in [&b"\xff\xfe\x80"[..], &b"a".repeat(15 * 1024), &b",;=\"".repeat(3840)] {
        let mut connection = served.connect();
        let request = [b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: ", accept, b"\r\n\r\n"];
        connection.send(&request.concat()).unwrap();
        let response = connection.response(false).unwrap();
        assert_eq!((response.status, response.header("content-type")), (200, Some(TEXT)));
    }
    let mut connection = served.connect();
    connection.send(b"GET /metrics HTTP/1.1\r\nHo").unwrap();
    drop(connection);
    assert_eq!(sum_of(&scrape(&served.url), "jobs_total"), 5.0);
    served.stop();
}

/// The lines of an exposition without the metrics of the exporter and its process, whose values change.
fn merged(body: &str) -> Vec<&str> {
    body.lines().filter(|line| !line.contains("multiprom_") && !line.contains("process_")).collect()
}

#[test]
fn simultaneous_scrapes_return_the_same_metrics() {
    // Compaction would change the order of the lines.
    let served = Served::start("parallel", &["--compact", "off"]);
    let first = scrape(&served.url);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut connection = served.connect();
                for _ in 0..10 {
                    let body = connection.request("GET", "/metrics", "").body;
                    assert!(merged(&body) == merged(&first), "{body}");
                }
            });
        }
    });
    served.stop();
}

#[test]
fn the_telemetry_path_can_be_set() {
    let served = Served::start("path", &["--web.telemetry-path", "/internal/stats"]);
    assert!(served.url.ends_with("/internal/stats"));
    let mut connection = served.connect();
    assert_eq!(connection.request("GET", "/internal/stats", "").status, 200);
    assert_eq!(connection.request("GET", "/metrics", "").status, 404);
    served.stop();
}
