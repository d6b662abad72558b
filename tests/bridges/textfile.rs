//! Textfiles, as a real node_exporter reads them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use multiprom::bridge::Textfile;
use multiprom::collector::Gatherer;
use multiprom::{FamilySink, Gauge, Registry};

use crate::support::http::scrape;
use crate::support::process::{PATIENCE, Running, run};
use crate::support::services::{node_exporter, series_of};
use crate::support::{SetOnDrop, TestDir, example, multiprom, output_of, wait_for};

fn textfile(dir: &Path, output: &Path) -> Command {
    let mut command = multiprom();
    command.args(["textfile", "--dir"]).arg(dir).arg("--output").arg(output);
    command
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn node_exporter_exports_what_was_recorded() {
    let (dir, textfiles) = (TestDir::new("textfile"), TestDir::new("node"));
    let Some((_exporter, url)) = node_exporter(textfiles.path()) else { return };
    for index in ["0", "1"] {
        output_of(example("test-worker").arg(dir.path()).arg(index));
    }
    let output = textfiles.path().join("app.prom");
    output_of(textfile(dir.path(), &output).args(["--exclude", "multiprom_.*"]));
    assert_eq!(fs::metadata(&output).unwrap().permissions().mode() & 0o7777, 0o644);
    assert_eq!(names(textfiles.path()), ["app.prom"]);
    let expected = series_of(&fs::read_to_string(&output).unwrap());
    assert!(expected.len() > 100);
    let exported = series_of(&scrape(&url));
    assert_eq!(exported.get("node_textfile_scrape_error[]").map(String::as_str), Some("0"));
    for (name, value) in &expected {
        assert_eq!(exported.get(name), Some(value), "{name}");
    }
}

#[test]
fn the_command_sets_permissions_escaping_and_the_directory_of_the_temporary_file() {
    let (dir, out) = (TestDir::new("textfile"), TestDir::new("out"));
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let output = out.path().join("a.prom");
    let temporary = out.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let mut command = textfile(dir.path(), &output);
    command.args(["--mode", "600", "--escaping", "values", "--created", "--temporary-dir"]);
    output_of(command.arg(&temporary));
    assert_eq!(fs::metadata(&output).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(fs::read_to_string(&output).unwrap().contains("\njobs_total 5\n"));
    assert_eq!(names(&temporary), [""; 0]);

    let missing = out.path().join("missing/a.prom");
    let outcome = run(&mut textfile(dir.path(), &missing));
    assert_eq!(outcome.status, 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("cannot create the temporary file: "), "{}", outcome.stderr);
    for bad in [["--mode", "9"], ["--mode", "1777"], ["--escaping", "x"], ["--interval", "0"]] {
        assert_eq!(run(textfile(dir.path(), &output).args(bad)).status, 2, "{bad:?}");
    }
}

#[test]
fn the_command_replaces_the_file_periodically_and_once_more_at_the_end() {
    let (dir, out) = (TestDir::new("textfile"), TestDir::new("out"));
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let output = out.path().join("a.prom");
    let mut running = Running::start(textfile(dir.path(), &output).args(["--interval", "20ms"]));
    let wait_until = |line: &str| {
        wait_for("line", PATIENCE, || {
            fs::read_to_string(&output).is_ok_and(|text| text.contains(line)).then_some(())
        });
    };
    wait_until(" 5\n");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    wait_until(" 10\n");
    running.signal("TERM");
    assert!(running.wait().success());
    assert_eq!(names(out.path()), ["a.prom"]);
    // The last run fails, because the directory of the file is gone.
    let running_out = out.path().join("gone");
    fs::create_dir(&running_out).unwrap();
    let output = running_out.join("a.prom");
    let mut running = Running::start(textfile(dir.path(), &output).args(["--interval", "20ms"]));
    wait_for("file", PATIENCE, || output.exists().then_some(()));
    fs::rename(&running_out, out.path().join("elsewhere")).unwrap();
    running.line_after("cannot create the temporary file: ");
    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(1));
}

#[test]
fn readers_see_the_file_whole_while_threads_replace_it() {
    /// Samples with one value, which a torn file would mix.
    struct Many(f64);

    impl Gatherer for Many {
        fn gather(&self, out: &mut dyn FamilySink) {
            for number in 0..2000 {
                out.gauge(&format!("g_{number}"), "").sample(&[], self.0);
            }
        }
    }

    let dir = TestDir::in_memory("whole");
    let path = dir.path().join("a.prom");
    let textfile = Textfile::new(&path);
    textfile.write(&Many(0.0)).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = SetOnDrop(&is_done);
        for value in [1.0, 2.0] {
            let (textfile, is_done) = (&textfile, &is_done);
            scope.spawn(move || {
                while !is_done.load(Ordering::Relaxed) {
                    textfile.write(&Many(value)).unwrap();
                }
            });
        }
        for _ in 0..200 {
            let text = fs::read_to_string(&path).unwrap();
            let values = text.lines().filter(|line| !line.starts_with('#'));
            let values: Vec<&str> = values.map(|line| line.split(' ').nth(1).unwrap()).collect();
            assert_eq!(values.len(), 2000);
            assert!(values.iter().all(|value| *value == values[0]));
        }
    });
    assert_eq!(names(dir.path()), ["a.prom"]);
}

#[test]
fn a_periodic_textfile_has_the_last_values() {
    let dir = TestDir::new("periodic");
    let path = dir.path().join("a.prom");
    let registry = Registry::new();
    let gauge = Gauge::builder("g", "").register(&registry).unwrap();
    let textfile = Textfile::new(&path);
    let periodic = textfile.start(registry.clone(), Duration::from_secs(3600)).unwrap();
    wait_for("file", PATIENCE, || path.exists().then_some(()));
    gauge.set(7.0);
    periodic.stop();
    assert_eq!(fs::read_to_string(&path).unwrap(), "# TYPE g gauge\ng 7\n");
}
