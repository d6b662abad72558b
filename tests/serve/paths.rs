//! The paths of `serve`, targets, requests with a body, and a full table of descriptors.

use std::io::Read as _;
use std::net::TcpStream;
use std::process::Command;

use multiprom::{Backend, Counter, Registry};

use super::{Served, stop};
use crate::support::http::{Connection, scrape, sum_of};
use crate::support::process::{PATIENCE, Running};
use crate::support::{TestDir, example, multiprom, output_of, wait_for};

#[test]
fn people_probes_and_crawlers_get_their_pages() {
    let served = Served::start("paths", &["--web.no-status-page"]);
    let mut connection = served.connect();
    for (path, content_type, part) in [
        ("/", "text/html; charset=utf-8", "<a href=\"/metrics\">"),
        ("/-/healthy", "text/plain; charset=utf-8", "healthy\n"),
        ("/-/ready", "text/plain; charset=utf-8", "ready\n"),
        ("/robots.txt", "text/plain; charset=utf-8", "Disallow: /\n"),
        ("/favicon.ico", "image/svg+xml", "<svg "),
    ] {
        let page = connection.request("GET", path, "");
        assert_eq!((page.status, page.header("content-type")), (200, Some(content_type)), "{path}");
        assert!(page.body.contains(part), "{path}: {}", page.body);
        assert_eq!(page.header("server"), None);
        let head = connection.request("HEAD", path, "");
        let len = page.body.len().to_string();
        assert_eq!((head.status, head.header("content-length")), (200, Some(len.as_str())));
        let refused = connection.request("DELETE", path, "");
        let allow = Some("GET, HEAD, OPTIONS");
        assert_eq!((refused.status, refused.header("allow")), (405, allow), "{path}");
        let options = connection.request("OPTIONS", path, "");
        assert_eq!((options.status, options.header("allow")), (204, allow), "{path}");
    }
    let page = connection.request("GET", "/", "");
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert_eq!(connection.request("OPTIONS", "*", "").status, 204);
    assert_eq!(connection.request("OPTIONS", "/none", "").status, 404);
    served.stop();
    // Without a landing page.
    let served = Served::start("root", &["--web.telemetry-path", "/"]);
    assert_eq!(sum_of(&served.connect().request("GET", "/", "").body, "jobs_total"), 5.0);
    served.stop();
}

#[test]
fn a_request_with_a_body_is_refused_and_its_connection_closed() {
    let served = Served::start("bodies", &[]);
    for (method, headers, status) in [
        ("GET", "Content-Length: 1000000000\r\n", 413),
        ("GET", "Transfer-Encoding: chunked\r\n", 413),
        ("HEAD", "Content-Length: 1\r\nExpect: 100-continue\r\n", 413),
        ("POST", "Content-Length: 1000000000\r\n", 405),
    ] {
        for path in ["/metrics", "/"] {
            let mut connection = served.connect();
            let response = connection.request(method, path, headers);
            let close = response.header("connection");
            assert_eq!((response.status, close), (status, Some("close")), "{method} {headers}");
            assert!(connection.is_closed(), "{method} {headers}");
        }
    }
    served.stop();
}

#[test]
fn a_pattern_that_matches_only_under_a_target_is_not_reported_as_unused() {
    let dirs = [TestDir::new("patterns-a"), TestDir::new("patterns-b")];
    output_of(example("test-counting").arg(dirs[0].path()).arg("5"));
    let backend = Backend::directory(dirs[1].path()).unwrap();
    let registry = Registry::builder().backend(backend).build().unwrap();
    Counter::builder("errors", "Errors.").register(&registry).unwrap().inc();
    registry.close();
    let target = format!("/b={}", dirs[1].path().display());
    let expected = [("/b", "errors_total", 1.0), ("/metrics", "jobs_total", 5.0)];
    for order in [[0, 1], [1, 0]] {
        let mut command = multiprom();
        command.args(["serve", "--listen", "127.0.0.1:0", "--target", &target, "--dir"]);
        command.arg(dirs[0].path());
        for pattern in ["jobs", "errors", "unused"] {
            command.args(["--include", pattern]);
        }
        let mut server = Running::start(&mut command);
        let url = server.url();
        for (path, name, sum) in order.map(|at| expected[at]) {
            for _ in 0..2 {
                assert_eq!(sum_of(&scrape(&url.replace("/metrics", path)), name), sum);
            }
        }
        server.signal("TERM");
        let stderr = String::from_utf8(server.end().stderr).unwrap();
        let lines: Vec<&str> = stderr.lines().filter(|line| line.contains("no family")).collect();
        assert_eq!(lines, ["multiprom: --include `unused` has matched no family so far"]);
    }
}

#[test]
fn targets_are_served_under_their_own_paths() {
    let dirs = [TestDir::new("target-a"), TestDir::new("target-b")];
    for (dir, count) in dirs.iter().zip(["5", "7"]) {
        output_of(example("test-counting").arg(dir.path()).arg(count));
    }
    let target = |path: &str, dir: &TestDir| format!("{path}={}", dir.path().display());
    let start = |flags: &[&str]| {
        let mut command = multiprom();
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(flags);
        let mut server = Running::start(&mut command);
        let url = server.url();
        (server, url)
    };
    let (a, b) = (target("/metrics/a", &dirs[0]), target("/b", &dirs[1]));
    let jobs = |url: &str, path: &str| {
        let mut connection = Connection::open(url).unwrap();
        sum_of(&connection.request("GET", path, "").body, "jobs_total")
    };
    let (server, url) = start(&["--target", &a, "--target", &b]);
    assert_eq!(jobs(&url, "/metrics/a"), 5.0);
    assert_eq!(jobs(&url, "/b"), 7.0);
    assert_eq!(jobs(&url, "/metrics"), 12.0);
    let page = Connection::open(&url).unwrap().request("GET", "/", "");
    assert!(
        page.body.contains("<a href=\"./metrics/a\">") && page.body.contains("<a href=\"./b\">")
    );
    stop(server);
    let dir = dirs[0].path().display().to_string();
    let (server, url) = start(&["--dir", &dir, "--target", &b]);
    assert_eq!((jobs(&url, "/metrics"), jobs(&url, "/b")), (5.0, 7.0));
    stop(server);

    for (flag, expected) in [
        ("/metrics=/tmp", "path of a target `/metrics` is already used"),
        ("/-/ready=/tmp", "path of a target `/-/ready` has another meaning"),
        ("metrics=/tmp", "expected PATH=DIR, where PATH begins with /"),
    ] {
        let mut command = multiprom();
        command.args(["serve", "--listen", "127.0.0.1:0", "--dir", &dir, "--target", flag]);
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn a_full_table_of_descriptors_blocks_no_later_scrape() {
    let dir = TestDir::new("descriptors");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$@\"", "sh"]);
    command.arg(multiprom().get_program()).args(["serve", "--listen", "127.0.0.1:0", "--dir"]);
    let mut server = Running::start(command.arg(dir.path()));
    let url = server.url();
    let address = url.strip_prefix("http://").and_then(|it| it.split('/').next()).unwrap();
    // More connections than descriptors: the server can neither accept the last ones nor open files.
    let mut idle: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(address).unwrap()).collect();
    // A connection that is dropped for another returns no response; Prometheus scrapes again, too.
    let body = wait_for("a scrape", PATIENCE, || {
        let mut connection = Connection::open(&url).ok()?;
        connection.send(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").ok()?;
        let response = connection.response(false).ok()?;
        (response.status == 200 && response.body.contains("jobs_total 5")).then_some(response.body)
    });
    assert_eq!(sum_of(&body, "jobs_total"), 5.0);
    let is_closed = |stream: &mut TcpStream| {
        stream.set_nonblocking(true).unwrap();
        matches!(stream.read(&mut [0]), Ok(0))
    };
    let closed = idle.iter_mut().map(is_closed).filter(|is_closed| *is_closed).count();
    assert!(closed >= 20, "the longest idle connections are closed");
    drop(idle);
    assert_eq!(sum_of(&scrape(&url), "jobs_total"), 5.0);
    stop(server);
}

#[test]
fn another_web_server_serves_the_same_responses() {
    let mut server = Running::start(&mut example("handler"));
    let url = server.line_after("serving ");
    let mut connection = Connection::open(&url).unwrap();
    let page = connection.request("GET", "/metrics", "");
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(page.header("vary"), Some("Accept, Accept-Encoding"));
    assert_eq!(sum_of(&page.body, "requests_total"), 1.0);
    let gzip = "Accept-Encoding: gzip, identity;q=0\r\n";
    let page = connection.request("GET", "/metrics?name[]=requests", gzip);
    assert_eq!((page.status, page.header("content-encoding")), (200, Some("gzip")));
    let head = connection.request("HEAD", "/metrics", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(connection.request("GET", "/none", "").status, 404);
    assert_eq!(connection.request("POST", "/metrics", "").status, 405);
    server.signal("KILL");
    server.wait();
}
