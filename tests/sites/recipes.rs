//! The recipes of the README and of `examples/`, with the command lines that are written there. The addresses and
//! directories are those of the test's own network namespace and `/run`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::support::http::{get, scrape, sum_of};
use crate::support::pod::{Pod, User, process_1};
use crate::support::process::{PATIENCE, Running, signal};
use crate::support::prometheus::is_installed;
use crate::support::sites::{Requests, packages, programs, recipe};
use crate::support::{TestDir, output_of, root, wait_for, write_program};

const SITE: &str = "http://127.0.0.1:8000";
const METRICS: &str = "http://127.0.0.1:9464/metrics";
const WORKERS: usize = 4;

/// A working directory with the application and the files of `examples/`.
fn home(application: &str) -> TestDir {
    let home = TestDir::new("home");
    let files = fs::read_dir(recipe("")).unwrap().map(|entry| entry.unwrap().path());
    for path in files.filter(|path| path.is_file()) {
        fs::copy(&path, home.path().join(path.file_name().unwrap())).unwrap();
    }
    let application = root().join("tests/python").join(application);
    fs::copy(application, home.path().join("app.py")).unwrap();
    home
}

fn end(container: Running) {
    signal(process_1(&container), "TERM");
    container.end();
}

/// Sends requests to all workers, kills one, and sends requests until another replaces it; asserts that each request is
/// counted.
fn assert_served() -> String {
    let mut requests = Requests::default();
    wait_for("the site", PATIENCE, || get(SITE).ok());
    let before = sum_of(&scrape(METRICS), "app_requests_total") as u32;
    requests.send_until(SITE, WORKERS, &BTreeSet::new());
    assert!(get(&format!("{SITE}/die")).is_err());
    requests.send_until(SITE, 1, &requests.pids.clone());
    assert_eq!(requests.failed, 0);
    let counted = f64::from(before + requests.acknowledged);
    wait_for("live gauges of the living workers", PATIENCE, || {
        let text = scrape(METRICS);
        assert_eq!(sum_of(&text, "app_requests_total"), counted, "{text}");
        (sum_of(&text, "app_alive") == WORKERS as f64).then_some(text)
    })
}

/// Runs the blocks of a section of the README: `multiprom run` in the background, and the other lines while it serves.
#[test]
fn the_commands_of_the_readme_for_a_python_site_work() {
    let Some(programs) = programs("sites") else { return };
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once("\n## The exporter for a Python site\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks = section.split("\n```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let home = home("app.py");
    let mut shown = Vec::new();
    for block in blocks {
        let Some(pod) = Pod::start("/run/unused", "size=1m", &programs) else { return };
        let mut running = None;
        for line in block.lines() {
            if line == "cargo install multiprom --features cli" {
                // OK because the program under test is on the path.
                continue;
            }
            let mut command = pod.shell(home.path(), line);
            if line.starts_with("multiprom run ") {
                let site: &mut Running = running.insert(Running::start(&mut command));
                site.line_after("Listening at: ");
            } else {
                wait_for("metrics of the workers", PATIENCE, || {
                    let page = output_of(&mut command);
                    page.contains("# TYPE app_latency_seconds histogram").then_some(())
                });
            }
        }
        let text = pod.inside(assert_served);
        let name = "app_last_request_timestamp_seconds{";
        shown.push(text.lines().filter(|line| line.starts_with(name)).count());
        end(running.unwrap());
    }
    // One worker was killed: its series of a gauge without a mode stays, unless there is a default mode.
    assert_eq!(shown[..2], [WORKERS + 1, WORKERS]);
    // With preloaded code, the process that starts the workers may have a series too.
    assert!(shown[2..].iter().all(|count| *count > WORKERS), "{shown:?}");
}

/// The command line in the first comment of a recipe.
fn command_line(name: &str) -> String {
    let text = fs::read_to_string(recipe(name)).unwrap();
    let lines = text.lines().map(|line| line.trim_start_matches(['#', ';', ' ']));
    let mut lines = lines.filter(|line| line.starts_with("PROMETHEUS_MULTIPROC_DIR="));
    lines.next().unwrap().to_owned()
}

/// Runs the command line of a recipe, and an exporter of its directory.
fn run_recipe(
    name: &str,
    environment: &str,
    application: &str,
    adapt: impl FnOnce(&mut Command),
    judge: impl FnOnce() + Send,
) {
    let Some(programs) = programs(environment) else { return };
    let home = home(application);
    let Some(pod) = Pod::start("/run/app", "size=16m", &programs) else { return };
    let line = "multiprom serve --dir /run/app";
    let mut exporter = Running::start(&mut pod.shell(home.path(), line));
    exporter.url();
    let mut command = pod.shell(home.path(), &command_line(name));
    adapt(&mut command);
    let site = Running::start(&mut command);
    pod.inside(judge);
    end(site);
    end(exporter);
}

#[test]
fn the_recipe_for_gunicorn_serves_the_site() {
    // The default number of workers of gunicorn is one.
    let adapt = |command: &mut Command| {
        command.env("WEB_CONCURRENCY", WORKERS.to_string());
    };
    run_recipe("gunicorn.conf.py", "newest", "app.py", adapt, || drop(assert_served()));
}

/// The paths of the programs and the user differ from the unit's.
#[test]
fn the_command_of_the_systemd_unit_serves_the_site() {
    let Some(programs) = programs("newest") else { return };
    let unit = fs::read_to_string(recipe("app.service")).unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    assert!(unit.contains("\nDynamicUser=yes\n") && line.contains("/usr/bin/multiprom run "));
    let words: Vec<&str> =
        line.split(' ').map(|word| word.trim_start_matches("/usr/bin/")).collect();
    let Some(pod) = Pod::start("/run/unused", "size=1m", &programs) else { return };
    let dynamic = User { uid: 61_184, gid: 61_184, capabilities: "-all" };
    let mut site = Running::start(&mut pod.container(dynamic, &words, &[]));
    site.line_after("Listening at: ");
    pod.inside(assert_served);
    end(site);
}

#[test]
fn the_recipe_for_uwsgi_serves_the_site() {
    let Some(packages) = packages("newest") else { return };
    if !is_installed("uwsgi_python3") {
        return;
    }
    // The Debian package names the server with the plugin `uwsgi_python3`.
    let bin = TestDir::new("bin");
    let program = bin.path().join("uwsgi");
    write_program(&program, "#!/bin/sh\nexec uwsgi_python3 \"$@\"\n");
    let adapt = |command: &mut Command| {
        let path = command.get_envs().find_map(|(name, value)| (name == "PATH").then_some(value));
        let path = format!("{}:{}", bin.path().display(), path.unwrap().unwrap().display());
        command.env("PATH", path).env("PYTHONPATH", &packages);
    };
    run_recipe("uwsgi.ini", "newest", "app.py", adapt, || drop(assert_served()));
}

#[test]
fn the_recipe_for_supervisord_serves_its_processes() {
    run_recipe(
        "supervisord.conf",
        "supervisor",
        "steady.py",
        |_| {},
        || {
            wait_for("counts of both processes", PATIENCE, || {
                let text = scrape(METRICS);
                let counts = ["steady_jobs_total", "steady_busy"].map(|name| sum_of(&text, name));
                (counts == [10.0, 2.0]).then_some(())
            });
        },
    );
}
