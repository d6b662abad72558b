//! `serve` over HTTP, with good clients and bad ones.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use multiprom::{Backend, Counter, Registry};

use multiprom::parse::{OwnedFamily, Parser};

use crate::support::http::{Connection, scrape, sum_of};
use crate::support::process::{PATIENCE, Running, Unread, run, signal};
use crate::support::{TestDir, example, multiprom, output_of, root, skip, wait_for};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,\
    text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// A server of a directory in which 5 jobs were counted.
struct Served {
    dir: TestDir,
    server: Running,
    url: String,
}

impl Served {
    fn start(name: &str, flags: &[&str]) -> Served {
        let dir = TestDir::new(name);
        output_of(example("test-counting").arg(dir.path()).arg("5"));
        let mut command = multiprom();
        command.args(["serve", "--dir"]).arg(dir.path());
        let mut server = Running::start(command.args(["--listen", "127.0.0.1:0"]).args(flags));
        let url = server.url();
        Served { dir, server, url }
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.url).unwrap()
    }

    fn stop(self) {
        stop(self.server);
    }
}

/// Ends a server by SIGTERM, which must be good, quick, and say nothing more.
fn stop(server: Running) {
    let start = Instant::now();
    server.signal("TERM");
    let output = server.end();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(start.elapsed().as_secs_f64() < 2.0, "stopped after {:?}", start.elapsed());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn one_connection_serves_many_requests_of_every_kind() {
    let served = Served::start("requests", &["--compact", "off"]);
    let mut connection = served.connect();
    let answer = connection.request("GET", "/metrics", "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(TEXT)));
    assert!(answer.body.contains("\njobs_total 5\n"));
    // But for the digits of free space.
    let len = answer.body.len();
    let head = connection.request("HEAD", "/metrics", "");
    assert_eq!((head.status, head.header("content-type")), (200, Some(TEXT)));
    let head_len: usize = head.header("content-length").unwrap().parse().unwrap();
    assert!(head_len.abs_diff(len) < 64 && head.body.is_empty(), "{head_len} {len}");
    let healthy = connection.request("GET", "/-/healthy", "");
    assert_eq!((healthy.status, healthy.body.as_str()), (200, "healthy\n"));
    assert_eq!(connection.request("HEAD", "/-/healthy", "").status, 200);
    for path in ["/", "/metrics/", "/Metrics", "/-/ready", "//metrics", "/%6detrics"] {
        assert_eq!(connection.request("GET", path, "").status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        for path in ["/metrics", "/-/healthy"] {
            let answer = connection.request(method, path, "Content-Length: 0\r\n");
            let allow = answer.header("allow");
            assert_eq!((answer.status, allow), (405, Some("GET, HEAD")), "{method} {path}");
        }
    }
    let answer = connection.request("GET", "/metrics?name=x", "");
    assert!(answer.body.contains("\njobs_total 5\n"));
    served.stop();
}

#[test]
fn each_scrape_shows_what_was_recorded_before_it() {
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
fn the_accept_header_picks_the_format() {
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
        let answer = connection.request("GET", "/metrics", &format!("Accept: {accept}\r\n"));
        let content_type = answer.header("content-type");
        assert_eq!((answer.status, content_type), (200, Some(wanted)), "{accept}");
        let is_openmetrics = wanted.contains("openmetrics");
        assert_eq!(answer.body.ends_with("\n# EOF\n"), is_openmetrics, "{accept}");
        let is_bare = is_openmetrics && wanted != openmetrics_2;
        let head = if is_bare { "# TYPE jobs counter" } else { "# TYPE jobs_total counter" };
        assert!(answer.body.lines().any(|line| line == head), "{accept}");
        assert_eq!(answer.header("vary"), Some("Accept, Accept-Encoding"));
    }
    let several = "Accept: text/plain;q=0.1\r\nAccept: application/openmetrics-text\r\n";
    let answer = connection.request("GET", "/metrics", several);
    assert_eq!(answer.header("content-type"), Some(OPENMETRICS));
    served.stop();
}

#[test]
fn protobuf_is_served_to_those_who_ask_for_it() {
    let served = Served::start("protobuf", &[]);
    let mut connection = served.connect();
    let media_type = "application/vnd.google.protobuf";
    let proto = "proto=io.prometheus.client.MetricFamily";
    let accept = format!("Accept: {media_type};{proto};encoding=delimited,*/*;q=0.1\r\n");
    let answer = connection.request("GET", "/metrics", &accept);
    let wanted = format!("{media_type}; {proto}; encoding=delimited");
    assert_eq!(answer.header("content-type"), Some(wanted.as_str()));
    let counter = b"\x0a\x0ajobs_total\x12";
    assert!(answer.bytes.windows(counter.len()).any(|bytes| bytes == counter));
    served.stop();
}

#[test]
fn bodies_are_compressed_as_the_scraper_accepts() {
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
        let answer = connection.request("GET", "/metrics", &header);
        assert_eq!((answer.status, answer.header("content-encoding")), (200, coding), "{accept}");
        assert_eq!(answer.header("content-type"), Some(TEXT));
        assert_eq!(answer.header("vary"), Some("Accept, Accept-Encoding"));
        let head = connection.request("HEAD", "/metrics", &header);
        let len: usize = head.header("content-length").unwrap().parse().unwrap();
        // But for the digits of free space.
        assert!(len.abs_diff(answer.bytes.len()) < 128, "{accept}: {len}");
        let Some(tool) = coding else {
            assert_eq!(merged(&answer.body), merged(&plain.body));
            continue;
        };
        assert!(answer.bytes.len() * 2 < plain.body.len());
        if let Some(body) = unpacked(tool, &answer.bytes) {
            assert_eq!(merged(&body), merged(&plain.body));
        }
    }
    // What is small stays as it is, unless that is refused.
    for (accept, coding) in [("gzip", None), ("gzip, identity;q=0", Some("gzip"))] {
        let header = format!("Accept-Encoding: {accept}\r\n");
        let answer = connection.request("GET", "/metrics?name[]=jobs_total", &header);
        assert_eq!(answer.header("content-encoding"), coding);
    }
    served.stop();
}

/// What the command of a coding makes of a body.
fn unpacked(tool: &str, bytes: &[u8]) -> Option<String> {
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
fn a_query_picks_samples_by_their_names() {
    let served = Served::start("names", &[]);
    let mut connection = served.connect();
    let mut names = |query: &str| {
        let answer = connection.request("GET", &format!("/metrics?{query}"), "");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(TEXT)), "{query}");
        let lines = answer.body.lines().filter(|line| !line.starts_with("# HELP"));
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
    // The names are those of samples, not of families.
    for none in ["name[]=jobs", "name[]=job_size_bytes", "name[]=", "name[]=%00%ff%zz"] {
        assert!(names(none).is_empty(), "{none}");
    }
    for all in ["name=jobs", "", "name%5B=jobs"] {
        assert!(names(all).len() > 20, "{all}");
    }
    served.stop();
}

#[test]
fn a_query_picks_samples_in_every_format_and_coding() {
    let served = Served::start("names-formats", &[]);
    let mut connection = served.connect();
    let query = "/metrics?name[]=jobs_total&name[]=job_size_bytes_bucket";
    let openmetrics = "Accept: application/openmetrics-text;version=1.0.0\r\n";
    let answer = connection.request("GET", query, openmetrics);
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let families = Parser::openmetrics(answer.body.as_bytes()).collect::<Result<Vec<_>, _>>();
    let names = |families: &[OwnedFamily]| -> Vec<String> {
        families.iter().map(|family| family.name.clone()).collect()
    };
    let wanted = ["job_size_bytes", "jobs"];
    let mut found = names(&families.unwrap());
    found.sort();
    assert_eq!(found, wanted, "{}", answer.body);
    let proto = "Accept: application/vnd.google.protobuf;\
                 proto=io.prometheus.client.MetricFamily;encoding=delimited\r\n";
    let answer = connection.request("GET", query, proto);
    let families = Parser::protobuf(&answer.bytes[..]).collect::<Result<Vec<_>, _>>();
    let mut found = names(&families.unwrap());
    found.sort();
    assert_eq!(found, wanted);
    // No family at all is a page too.
    let answer = connection.request("GET", "/metrics?name[]=none", openmetrics);
    assert_eq!((answer.status, answer.body.as_str()), (200, "# EOF\n"));
    let answer = connection.request("GET", "/metrics?name[]=none", proto);
    assert_eq!((answer.status, answer.bytes.len()), (200, 0));
    for coding in ["gzip", "zstd"] {
        let header = format!("{openmetrics}Accept-Encoding: {coding}, identity;q=0\r\n");
        let answer = connection.request("GET", query, &header);
        assert_eq!(answer.header("content-encoding"), Some(coding));
        if let Some(body) = unpacked(coding, &answer.bytes) {
            assert!(body.contains("\njobs_total 5.0\n") && body.ends_with("\n# EOF\n"), "{body}");
            assert!(!body.contains("job_size_bytes_sum"), "{body}");
        }
        let head = connection.request("HEAD", query, &header);
        assert_eq!((head.status, head.bytes.len()), (200, 0));
        assert_eq!(head.header("content-encoding"), Some(coding));
        assert_eq!(head.header("content-length"), answer.header("content-length"));
    }
    served.stop();
}

#[test]
fn broken_requests_cost_their_connection_and_nothing_else() {
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
        // The server may close before all is sent.
        let sent = connection.send(bytes);
        if let (Ok(()), Ok(answer)) = (sent, connection.answer(false)) {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
            assert!((400..600).contains(&answer.status), "{shown} gave {}", answer.status);
        }
    }
    for accept in [&b"\xff\xfe\x80"[..], &b"a".repeat(15 * 1024), &b",;=\"".repeat(3840)] {
        let mut connection = served.connect();
        let request = [b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: ", accept, b"\r\n\r\n"];
        connection.send(&request.concat()).unwrap();
        let answer = connection.answer(false).unwrap();
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(TEXT)));
    }
    let mut connection = served.connect();
    connection.send(b"GET /metrics HTTP/1.1\r\nHo").unwrap();
    drop(connection);
    assert_eq!(sum_of(&scrape(&served.url), "jobs_total"), 5.0);
    served.stop();
}

/// An exposition without what the exporter tells of itself, which changes from one moment to the next.
fn merged(body: &str) -> Vec<&str> {
    body.lines().filter(|line| !line.contains("multiprom_")).collect()
}

#[test]
fn several_scrapes_at_once_all_see_the_same() {
    let served = Served::start("parallel", &[]);
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
fn connections_that_are_open_do_not_hold_up_the_end() {
    let served = Served::start("open", &[]);
    let mut idle = served.connect();
    assert_eq!(idle.request("GET", "/metrics", "").status, 200);
    let mut silent = served.connect();
    let mut half = served.connect();
    half.send(b"GET /metrics HT").unwrap();
    // The server accepts in order: when this is answered, it has accepted the others.
    assert_eq!(served.connect().request("GET", "/-/healthy", "").status, 200);
    served.stop();
    assert!(idle.is_closed() && silent.is_closed() && half.is_closed());
}

#[test]
fn a_unix_socket_serves_and_is_removed() {
    let dir = TestDir::new("unix");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let socket = dir.path().join("metrics.sock");
    let listen = format!("unix:{}", socket.display());
    let start = || {
        let mut command = multiprom();
        command.args(["serve", "--listen", &listen, "--dir"]).arg(dir.path());
        Running::start(&mut command)
    };
    let mut server = start();
    assert_eq!(server.url(), listen);
    let mut connection = Connection::open(&listen).unwrap();
    let body = connection.request("GET", "/metrics", "").body;
    assert_eq!(sum_of(&body, "jobs_total"), 5.0);

    let refused = start().end();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(connection.request("GET", "/-/healthy", "").status, 200);
    stop(server);
    assert!(!socket.exists());

    // A socket that was left behind by a server that was killed is taken over; a file is not.
    let mut killed = start();
    killed.url();
    killed.signal("KILL");
    killed.wait();
    assert!(socket.exists());
    let mut server = start();
    server.url();
    stop(server);
    fs::write(&socket, "a file").unwrap();
    assert_eq!(start().end().status.code(), Some(1));
    assert_eq!(fs::read_to_string(&socket).unwrap(), "a file");
}

#[test]
fn a_server_that_ends_leaves_the_socket_of_its_successor() {
    let dir = TestDir::new("successor");
    let socket = dir.path().join("metrics.sock");
    let listen = format!("unix:{}", socket.display());
    let start = || {
        let mut command = multiprom();
        command.args(["serve", "--listen", &listen, "--dir"]).arg(dir.path());
        let mut server = Running::start(&mut command);
        server.url();
        server
    };
    let first = start();
    fs::remove_file(&socket).unwrap();
    let second = start();
    stop(first);
    assert_eq!(Connection::open(&listen).unwrap().request("GET", "/-/healthy", "").status, 200);
    stop(second);
    assert!(!socket.exists());
}

#[test]
fn a_standard_error_that_nobody_reads_holds_up_no_scrape() {
    let dir = TestDir::new("full");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    for number in 0..3 {
        fs::write(dir.path().join(format!("counter_{number}.db")), "damaged").unwrap();
    }
    let socket = dir.path().join("metrics.sock");
    let listen = format!("unix:{}", socket.display());
    let mut command = multiprom();
    command.args(["serve", "--listen", &listen, "--dir"]).arg(dir.path());
    let mut server = Unread::start(&mut command);
    let mut connection = wait_for("the server", PATIENCE, || Connection::open(&listen).ok());
    for _ in 0..3 {
        let body = connection.request("GET", "/metrics", "").body;
        assert_eq!(sum_of(&body, "jobs_total"), 5.0);
    }
    signal(server.id(), "TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn the_telemetry_path_can_be_another() {
    let served = Served::start("path", &["--web.telemetry-path", "/internal/stats"]);
    assert!(served.url.ends_with("/internal/stats"));
    let mut connection = served.connect();
    assert_eq!(connection.request("GET", "/internal/stats", "").status, 200);
    assert_eq!(connection.request("GET", "/metrics", "").status, 404);
    served.stop();
}

#[test]
fn a_file_that_is_cut_off_again_and_again_ends_no_exporter() {
    let served = Served::start("cut", &["--compact", "off"]);
    let fixture = root().join("multiproc-fixtures/0.26.0/counter_99.db");
    let whole = fs::read(fixture).unwrap();
    let path = served.dir.path().join("counter_99.db");
    let start = Instant::now();
    let mut scrapes = 0;
    while start.elapsed().as_millis() < 1500 {
        fs::write(&path, &whole).unwrap();
        // Files are mapped when they have not been changed for a while.
        let written = Instant::now();
        while written.elapsed().as_millis() < 60 {
            assert_eq!(sum_of(&scrape(&served.url), "jobs_total"), 5.0);
            scrapes += 1;
        }
        std::thread::scope(|scope| {
            let cut = scope.spawn(|| {
                fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
            });
            while !cut.is_finished() {
                assert_eq!(sum_of(&scrape(&served.url), "jobs_total"), 5.0);
                scrapes += 1;
            }
        });
        assert_eq!(sum_of(&scrape(&served.url), "jobs_total"), 5.0);
    }
    assert!(scrapes > 20, "{scrapes} scrapes");
    served.server.signal("TERM");
    assert_eq!(served.server.end().status.code(), Some(0));
}

#[test]
fn a_directory_that_comes_back_is_served_again() {
    let served = Served::start("returns", &["--compact", "off"]);
    fs::remove_dir_all(served.dir.path()).unwrap();
    let body = scrape(&served.url);
    assert_eq!(sum_of(&body, "multiprom_file_errors_total{reason=\"directory\"}"), 1.0);
    assert_eq!(sum_of(&body, "jobs_total"), 0.0);
    fs::create_dir(served.dir.path()).unwrap();
    output_of(example("test-counting").arg(served.dir.path()).arg("3"));
    wait_for("the new directory", std::time::Duration::from_secs(5), || {
        (sum_of(&scrape(&served.url), "jobs_total") == 3.0).then_some(())
    });
    served.server.signal("INT");
    assert_eq!(served.server.end().status.code(), Some(0));
}

#[test]
fn a_server_waits_for_directories_that_do_not_exist_yet() {
    let base = TestDir::new("wait");
    let serve = |dir: &str| {
        let mut command = multiprom();
        command.args(["serve", "--wait", "--listen", "127.0.0.1:0", "--dir"]);
        Running::start(command.arg(base.path().join(dir)))
    };
    let limit = std::time::Duration::from_secs(10);
    let is_waiting = |server: &Running, dir: &str| {
        wait_for("a line", limit, || (!server.stderr().is_empty()).then_some(()));
        let dir = base.path().join(dir).display().to_string();
        let line = format!("multiprom: directory `{dir}` does not exist yet: waiting for it\n");
        assert_eq!(server.stderr(), line);
    };
    // A server that has nothing to wait for says nothing of it.
    fs::create_dir(base.path().join("there")).unwrap();
    let mut server = serve("there");
    server.url();
    stop(server);

    let mut server = serve("later");
    is_waiting(&server, "later");
    fs::create_dir(base.path().join("later")).unwrap();
    let url = server.url();
    output_of(example("test-counting").arg(base.path().join("later")).arg("5"));
    assert_eq!(sum_of(&scrape(&url), "jobs_total"), 5.0);
    server.signal("TERM");
    assert_eq!(server.end().status.code(), Some(0));

    let mut server = serve("app-*");
    is_waiting(&server, "app-*");
    fs::create_dir(base.path().join("app-1")).unwrap();
    output_of(example("test-counting").arg(base.path().join("app-1")).arg("3"));
    assert_eq!(sum_of(&scrape(&server.url()), "jobs_total"), 3.0);

    for signal in ["TERM", "INT"] {
        let server = serve("never");
        is_waiting(&server, "never");
        server.signal(signal);
        assert_eq!(server.end().status.code(), Some(0), "{signal}");
    }
    // What can never be a directory is not waited for.
    fs::write(base.path().join("file"), "").unwrap();
    for dir in ["file", "file/below", "a***"] {
        let said = serve(dir).end();
        assert!(!said.status.success(), "{dir}: {said:?}");
    }
}

/// Files as a process of the Python client leaves them that has recorded nothing.
fn leave_files(dir: &Path, pids: std::ops::Range<u32>) {
    for pid in pids {
        fs::write(dir.join(format!("counter_{pid}.db")), [8, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    }
}

#[test]
fn files_of_the_python_client_that_pile_up_are_reported_once() {
    let dir = TestDir::new("pile");
    let start = |flags: &[&str]| {
        let mut command = multiprom();
        command.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(dir.path());
        let mut server = Running::start(command.args(flags));
        server.url();
        server
    };
    let path = dir.path().display();
    let hint = format!("multiprom: directory `{path}`: every scrape reads 100 or more files of ");
    leave_files(dir.path(), 1..100);
    let server = start(&[]);
    // A file of a living process does not count, nor does one of multiprom.
    leave_files(dir.path(), 100..101);
    let living = fs::OpenOptions::new().append(true).open(dir.path().join("counter_100.db"));
    let living = living.unwrap();
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let seen = Instant::now();
    wait_for("two counts", PATIENCE, || (seen.elapsed().as_secs_f64() > 6.0).then_some(()));
    assert!(!server.stderr().contains("files of"), "{}", server.stderr());
    drop(living);
    wait_for("a hint", PATIENCE, || server.stderr().contains(&hint).then_some(()));
    leave_files(dir.path(), 101..200);
    server.signal("TERM");
    let said = String::from_utf8(server.end().stderr).unwrap();
    assert!(said.lines().count() == 2 && said.contains("--compact=all"), "{said}");

    // Whoever has chosen is told nothing.
    for flags in [["--compact", "own"], ["--compact", "off"], ["--compact", "all"]] {
        stop(start(&flags));
    }
    let mut command = multiprom();
    command.args(["run", "--listen", "127.0.0.1:0", "--", "true"]);
    leave_files(dir.path(), 1..200);
    let said = run(command.env("PROMETHEUS_MULTIPROC_DIR", dir.path())).stderr;
    assert!(said.contains(&hint), "{said}");
}
