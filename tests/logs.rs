//! `--log.format` and `--log.level`: structured lines, levels, and no line without news.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::http::{get, scrape};
use crate::support::process::{PATIENCE, Running, run};
use crate::support::services::free_address;
use crate::support::{TestDir, example, multiprom, output_of, wait_for};

const DAMAGED: [u8; 64] = [9; 64];

fn serve(dir: &Path, flags: &[&str]) -> Command {
    let mut command = multiprom();
    command.args(["serve", "--compact", "off", "--listen", "127.0.0.1:0"]).args(flags);
    command.arg("--dir").arg(dir);
    command
}

/// The URL in a structured log.
fn url_of(server: &mut Running) -> String {
    let rest = server.line_after("serving http://");
    let end = rest.find('"').unwrap_or(rest.len());
    format!("http://{}", &rest[..end])
}

/// Ends a program; returns the lines that it has logged.
fn lines(program: Running) -> Vec<String> {
    program.signal("TERM");
    let stderr = String::from_utf8(program.end().stderr).unwrap();
    stderr.lines().map(str::to_owned).collect()
}

fn objects(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or_default()
}

#[test]
fn json_and_logfmt_escape_any_file_name() {
    let dir = TestDir::new("log-escapes");
    let bytes = b"counter_\"a\"\n\x1b[31m=\\\xff.db";
    fs::write(dir.path().join(OsStr::from_bytes(bytes)), DAMAGED).unwrap();
    let name = String::from_utf8_lossy(bytes);

    let mut server = Running::start(&mut serve(dir.path(), &["--log.format", "json"]));
    let url = url_of(&mut server);
    (0..3).for_each(|_| drop(scrape(&url)));
    let logged = objects(&lines(server));
    assert_eq!(logged.len(), 2, "{logged:?}");
    assert_eq!(
        (text(&logged[0], "level"), text(&logged[0], "msg")),
        ("INFO", &*format!("serving {url}"))
    );
    assert_eq!((text(&logged[1], "level"), text(&logged[1], "reason")), ("WARN", "name"));
    assert!(text(&logged[1], "path").ends_with(&*format!("/{name}")), "{logged:?}");
    assert!(text(&logged[1], "msg").contains(&*name), "{logged:?}");
    assert_eq!(logged[1]["count"], 1);
    let time = text(&logged[1], "time");
    assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");

    let mut server = Running::start(&mut serve(dir.path(), &["--log.format", "logfmt"]));
    let url = url_of(&mut server);
    scrape(&url);
    let logged = lines(server);
    assert_eq!(logged.len(), 2, "{logged:?}");
    assert!(
        logged[0].starts_with("time=20") && logged[0].contains(" level=INFO msg=\"serving http")
    );
    let escaped = "counter_\\\"a\\\"\\n\\u001b[31m=\\\\\u{fffd}.db\"";
    assert!(logged[1].contains(" level=WARN msg=\"series file `"), "{logged:?}");
    assert!(logged[1].contains(" reason=name count=1 path=\""), "{logged:?}");
    assert!(logged[1].ends_with(escaped), "{logged:?}");
}

#[test]
fn a_file_name_neither_ends_a_line_of_text_nor_controls_a_terminal() {
    let dir = TestDir::new("log-control");
    let bytes = b"counter_\nmultiprom: all is well\r\x1b[31m.db";
    fs::write(dir.path().join(OsStr::from_bytes(bytes)), DAMAGED).unwrap();
    let shown = "/counter_\\nmultiprom: all is well\\r\\u001b[31m.db`: ";
    let outcome = run(multiprom().args(["dump", "--dir"]).arg(dir.path()));
    let mut server = Running::start(&mut serve(dir.path(), &[]));
    let url = server.url();
    scrape(&url);
    let mut logged: Vec<String> = outcome.stderr.lines().map(str::to_owned).collect();
    logged.extend(lines(server));
    assert_eq!(logged.len(), 3, "{logged:?}");
    assert!(logged[0].contains(shown) && logged[2].contains(shown), "{logged:?}");
    for command in ["ls", "check"] {
        let outcome = run(multiprom().args([command, "--dir"]).arg(dir.path()));
        let row = "\\nmultiprom: all is well\\r\\u{1b}[31m";
        assert!(
            outcome.stdout.contains(row) && !outcome.stdout.contains('\r'),
            "{}",
            outcome.stdout
        );
    }
}

#[test]
fn six_hundred_bad_files_are_one_line_and_so_is_their_end() {
    let dir = TestDir::in_memory("log-many");
    let file = |number: usize| dir.path().join(format!("counter_{number}.db"));
    (0..600).for_each(|number| fs::write(file(number), DAMAGED).unwrap());
    let mut server = Running::start(&mut serve(dir.path(), &["--log.format", "json"]));
    let url = url_of(&mut server);
    (0..5).for_each(|_| drop(scrape(&url)));
    (0..600).for_each(|number| fs::remove_file(file(number)).unwrap());
    (0..5).for_each(|_| drop(scrape(&url)));
    let logged = objects(&lines(server));
    let shown: Vec<_> = logged
        .iter()
        .map(|it| (text(it, "level"), text(it, "reason"), it["count"].as_u64()))
        .collect();
    let expected =
        [("INFO", "", None), ("WARN", "header", Some(600)), ("INFO", "header", Some(600))];
    assert_eq!(shown, expected, "{logged:?}");
    let message = text(&logged[1], "msg");
    assert!(message.starts_with("600 problems with the reason `header`: series file `"));
    assert!(message.ends_with(" and 597 more"), "{message}");
    assert!(
        text(&logged[2], "msg").starts_with("600 problems with the reason `header` have ended: `")
    );
}

#[test]
fn a_directory_or_a_file_that_is_good_again_is_logged() {
    let dir = TestDir::in_memory("log-again");
    let inner = dir.path().join("shop");
    fs::create_dir(&inner).unwrap();
    output_of(example("test-counting").arg(&inner).arg("5"));
    let counter = fs::read_dir(&inner).unwrap().map(|entry| entry.unwrap().path());
    let counter =
        counter.filter(|path| path.to_str().unwrap().contains("/counter_")).min().unwrap();
    let bytes = fs::read(&counter).unwrap();
    let mut server = Running::start(&mut serve(&inner, &[]));
    let url = server.url();
    let rewrite = |bytes: &[u8]| {
        fs::remove_file(&counter).unwrap();
        fs::write(&counter, bytes).unwrap();
    };
    rewrite(&DAMAGED);
    (0..2).for_each(|_| drop(scrape(&url)));
    rewrite(&bytes);
    (0..2).for_each(|_| drop(scrape(&url)));
    fs::rename(&inner, dir.path().join("other")).unwrap();
    (0..3).for_each(|_| drop(scrape(&url)));
    fs::rename(dir.path().join("other"), &inner).unwrap();
    (0..2).for_each(|_| drop(scrape(&url)));
    let logged = lines(server);
    let (file, shop) = (counter.display(), inner.display());
    assert_eq!(logged.len(), 5, "{logged:?}");
    assert!(logged[1].starts_with(&format!("multiprom: series file `{file}`: skipped: ")));
    assert_eq!(
        logged[2],
        format!(
            "multiprom: `{file}` has no problem with the reason `header` any more, after 2 scrapes"
        )
    );
    assert!(logged[3].starts_with(&format!("multiprom: directory `{shop}`: cannot be read: ")));
    assert_eq!(logged[4], format!("multiprom: directory `{shop}` is read again after 3 scrapes"));
}

#[test]
fn the_level_selects_lines_of_the_command_and_of_the_library() {
    let dir = TestDir::in_memory("log-levels");
    let inner = dir.path().join("shop");
    fs::create_dir(&inner).unwrap();
    (0..5)
        .for_each(|number| fs::write(inner.join(format!("counter_{number}.db")), DAMAGED).unwrap());
    let levels = |level: &str| {
        // The address is known without a line about it.
        let socket = dir.path().join("socket");
        let address = format!("unix:{}", socket.display());
        let mut server = multiprom();
        server.args(["serve", "--compact", "off", "--log.format", "json", "--log.level", level]);
        server.args(["--listen", &address]).arg("--dir").arg(&inner);
        let mut server = Running::start(&mut server);
        // The server accepts connections before it logs its address.
        if ["info", "debug"].contains(&level) {
            server.line_after("serving ");
        }
        wait_for("a page", PATIENCE, || get_from(&address).is_some().then_some(()));
        let other = dir.path().join("other");
        fs::rename(&inner, &other).unwrap();
        get_from(&address).unwrap();
        fs::rename(&other, &inner).unwrap();
        get_from(&address).unwrap();
        let logged = objects(&lines(server));
        logged.iter().map(|it| text(it, "level").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(levels("error"), ["ERROR"]);
    assert_eq!(levels("warn"), ["WARN", "ERROR"]);
    assert_eq!(levels("info"), ["INFO", "WARN", "ERROR", "INFO"]);
    assert_eq!(
        levels("debug"),
        ["INFO", "WARN", "DEBUG", "DEBUG", "DEBUG", "DEBUG", "ERROR", "INFO"]
    );
}

fn get_from(address: &str) -> Option<String> {
    let mut client = crate::support::http::Connection::open(address).ok()?;
    Some(client.request("GET", "/metrics", "").body)
}

#[test]
fn a_transfer_and_a_configuration_that_work_again_are_logged_by_the_library_with_their_level() {
    let dir = TestDir::new("log-library");
    // A port at which nobody listens yet.
    let address = free_address();
    let mut graphite = multiprom();
    graphite.args(["graphite", "--log.format", "json", "--interval", "50ms", "--address"]);
    let mut graphite =
        Running::start(graphite.arg(address.to_string()).arg("--dir").arg(dir.path()));
    graphite.line_after("\"level\":\"WARN\"");
    let receiver = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for mut stream in receiver.incoming().flatten() {
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    graphite.line_after("\"level\":\"INFO\",\"msg\":\"succeeded after ");
    let logged = objects(&lines(graphite));
    assert_eq!(logged.len(), 2, "{logged:?}");

    let config = dir.path().join("web.yml");
    let valid = "rate_limit:\n  interval: 1ms\n  burst: 1000\n";
    fs::write(&config, valid).unwrap();
    let flags = ["--log.format", "json", "--web.config.file", config.to_str().unwrap()];
    let mut server = Running::start(&mut serve(dir.path(), &flags));
    let url = url_of(&mut server);
    let logs = |server: &Running, mark: &str| {
        wait_for(mark, PATIENCE, || {
            // The file is checked while there are requests.
            get(&url).unwrap();
            server.stderr().contains(mark).then_some(())
        });
    };
    // In one step: the server may read the file meanwhile, and would log about an empty one.
    let replace = |text: &str| {
        let new = dir.path().join("new.yml");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &config).unwrap();
    };
    replace("rate_limit: [\n");
    logs(&server, "the last valid version stays in use");
    replace(valid);
    logs(&server, "is reloaded, and valid again");
    let logged = objects(&lines(server));
    let levels: Vec<&str> = logged.iter().map(|it| text(it, "level")).collect();
    assert_eq!(levels, ["INFO", "WARN", "INFO"], "{logged:?}");
}

#[test]
fn wrong_usage_is_plain_text_and_a_failure_is_a_structured_line() {
    let dir = TestDir::new("log-usage");
    let outcome = run(multiprom().args(["serve", "--log.format", "json", "--nonsense"]));
    assert_eq!(outcome.status, 2);
    assert!(outcome.stderr.starts_with("multiprom: unexpected argument"), "{}", outcome.stderr);
    let flags = ["--log.format", "json", "--web.telemetry-path", "x"];
    let outcome = run(&mut serve(dir.path(), &flags));
    assert_eq!(outcome.status, 2);
    assert!(outcome.stderr.starts_with("multiprom: telemetry path `x`"), "{}", outcome.stderr);
    let missing = dir.path().join("missing");
    let outcome = run(&mut serve(&missing, &["--log.format", "json"]));
    assert_eq!(outcome.status, 1);
    let logged: Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!(text(&logged, "level"), "ERROR");
    for flags in [["--log.format", "xml"], ["--log.level", "loud"]] {
        let outcome = run(&mut serve(dir.path(), &flags));
        assert_eq!(outcome.status, 2);
        assert!(outcome.stderr.contains("[possible values: "), "{}", outcome.stderr);
    }
}
