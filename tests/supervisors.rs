//! Supervisors with the recipes of `examples/`: a worker's live gauges disappear and its counters stay, with and without
//! the hook.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::http::{get, scrape, sum_of};
use crate::support::process::{PATIENCE, Running, is_alive, is_asleep, run, signal};
use crate::support::prometheus::is_installed;
use crate::support::sites::{packages, recipe};
use crate::support::{TestDir, multiprom, python, root, skip, wait_for};

const WORKERS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    With,
    Without,
}

/// Sets the environment of a supervisor: the directory, and the path on which hooks find the command.
fn prepare<'a>(command: &'a mut Command, dir: &Path, python: &Command) -> &'a mut Command {
    let below = |program: &Command| Path::new(program.get_program()).parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = [below(&multiprom()), below(python)].into_iter().chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(dirs).unwrap());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PROMETHEUS_MULTIPROC_DIR", dir)
}

/// An exporter of a directory, which does not compact files of the Python client.
fn exporter(dir: &Path) -> (Running, String) {
    let mut command = multiprom();
    let mut server =
        Running::start(command.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(dir));
    let url = server.url();
    (server, url)
}

/// Sends requests until all workers have responded; returns their pids and adds the number of requests to `requests`.
fn request_all(url: &str, requests: &mut u32) -> Vec<u32> {
    let mut pids = BTreeSet::new();
    wait_for("responses of all workers", PATIENCE, || {
        let url = format!("{url}/pid");
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| get(&url).unwrap().body)).collect();
            let responses =
                clients.into_iter().map(|it| it.join().unwrap().parse::<u32>().unwrap());
            pids.extend(responses.inspect(|_| *requests += 1));
        });
        (pids.len() == WORKERS).then_some(())
    });
    pids.into_iter().collect()
}

fn live_gauge(dir: &Path, pid: u32) -> PathBuf {
    dir.join(format!("gauge_livesum_{pid}.db"))
}

/// Ends a worker of a site by a signal. Asserts that its live gauges disappear, and that their files are removed only by
/// a hook.
fn assert_live_gauges_disappear(
    site: &str,
    metrics: &str,
    dir: &Path,
    signal_name: &str,
    hook: Hook,
) {
    let mut requests = sum_of(&scrape(metrics), "app_requests_total") as u32;
    let pids = request_all(site, &mut requests);
    let ended = pids[0];
    assert!(live_gauge(dir, ended).exists());
    // NOTE: uWSGI runs no hook in a worker that has sent a response and is not yet idle again.
    wait_for("an idle worker", PATIENCE, || is_asleep(ended).then_some(()));
    signal(ended, signal_name);
    wait_for("end of the worker", PATIENCE, || (!is_alive(ended)).then_some(()));
    let assert_exact = |requests: u32| {
        let text = scrape(metrics);
        assert_eq!(sum_of(&text, "app_requests_total"), f64::from(requests), "{text}");
        assert_eq!(sum_of(&text, "app_alive"), WORKERS as f64, "{text}");
    };
    request_all(site, &mut requests);
    assert_exact(requests);
    match hook {
        Hook::With => wait_for("end of the live gauge", PATIENCE, || {
            (!live_gauge(dir, ended).exists()).then_some(())
        }),
        Hook::Without => assert!(live_gauge(dir, ended).exists()),
    }
    request_all(site, &mut requests);
    assert_exact(requests);
}

#[test]
fn live_gauges_of_gunicorn_workers_disappear_with_and_without_the_hook() {
    let Some(python) = python("newest") else { return };
    for hook in [Hook::With, Hook::Without] {
        let dir = TestDir::new("gunicorn");
        let (_exporter, metrics) = exporter(dir.path());
        let program = Path::new(python.get_program()).with_file_name("gunicorn");
        let mut command = Command::new(program);
        prepare(&mut command, dir.path(), &python).arg("--chdir").arg(root().join("tests/python"));
        command.args(["-w", &WORKERS.to_string(), "-b", "127.0.0.1:0", "app:application"]);
        if hook == Hook::With {
            command.arg("-c").arg(recipe("gunicorn.conf.py"));
        }
        let mut site = Running::start(&mut command);
        let line = site.line_after("Listening at: ");
        let url = line.split(' ').next().unwrap();
        assert_live_gauges_disappear(url, &metrics, dir.path(), "KILL", hook);
        site.signal("TERM");
        site.end();
    }
}

#[test]
fn live_gauges_of_uwsgi_workers_disappear_with_and_without_the_hook() {
    let (Some(python), Some(packages)) = (python("newest"), packages("newest")) else { return };
    if !is_installed("uwsgi_python3") {
        return;
    }
    // Only a worker that exits normally runs the hook.
    for (hook, signal) in [(Hook::With, "INT"), (Hook::Without, "INT"), (Hook::Without, "KILL")] {
        let dir = TestDir::new("uwsgi");
        let (_exporter, metrics) = exporter(dir.path());
        let mut command = Command::new("uwsgi_python3");
        prepare(&mut command, dir.path(), &python).arg("--ini").arg(recipe("uwsgi.ini"));
        command.args(["--module", "app:application", "--http-socket", "127.0.0.1:0"]);
        command.args(["--processes", &WORKERS.to_string(), "--pythonpath"]).arg(&packages);
        command.arg("--pythonpath").arg(root().join("tests/python"));
        command.arg("--pythonpath").arg(root().join("examples"));
        if hook == Hook::With {
            command.args(["--import", "uwsgi_hook"]);
        }
        let mut site = Running::start(&mut command);
        let line = site.line_after("bound to TCP address ");
        let url = format!("http://{}", line.split(' ').next().unwrap());
        wait_for("a worker", PATIENCE, || get(&url).ok());
        assert_live_gauges_disappear(&url, &metrics, dir.path(), signal, hook);
        site.signal("TERM");
        site.end();
    }
}

#[test]
fn live_gauges_of_supervisord_processes_disappear_with_and_without_the_listener() {
    let Some(python) = python("supervisor") else { return };
    for hook in [Hook::With, Hook::Without] {
        let (dir, home) = (TestDir::new("supervised"), TestDir::new("supervisord"));
        let (_exporter, metrics) = exporter(dir.path());
        let text = fs::read_to_string(recipe("supervisord.conf")).unwrap();
        let program = format!("python {}", root().join("tests/python/steady.py").display());
        let mut text = text.replace("python app.py", &program);
        if hook == Hook::Without {
            text.truncate(text.find("[eventlistener").unwrap());
        }
        let config = home.path().join("supervisord.conf");
        fs::write(&config, text).unwrap();
        let listener = "supervisord_listener.py";
        fs::copy(recipe(listener), home.path().join(listener)).unwrap();
        let mut command =
            Command::new(Path::new(python.get_program()).with_file_name("supervisord"));
        prepare(&mut command, dir.path(), &python).arg("-c").arg(config);
        let supervisor = Running::start(&mut command);
        let counted = |jobs: f64| {
            wait_for("counts of all processes", PATIENCE, || {
                let text = scrape(&metrics);
                let found = ["steady_jobs_total", "steady_busy"].map(|it| sum_of(&text, it));
                assert!(found[0] <= jobs, "{text}");
                (found == [jobs, WORKERS as f64]).then_some(())
            });
        };
        counted(5.0 * WORKERS as f64);
        let names = fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name());
        let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        let pid = names.iter().find_map(|it| it.strip_prefix("counter_")?.strip_suffix(".db"));
        let pid: u32 = pid.unwrap().parse().unwrap();
        signal(pid, "KILL");
        // Another process replaces it.
        counted(5.0 * (WORKERS + 1) as f64);
        match hook {
            Hook::With => wait_for("end of the live gauge", PATIENCE, || {
                (!live_gauge(dir.path(), pid).exists()).then_some(())
            }),
            Hook::Without => assert!(live_gauge(dir.path(), pid).exists()),
        }
        counted(5.0 * (WORKERS + 1) as f64);
        supervisor.signal("TERM");
        supervisor.end();
    }
}

#[test]
fn systemd_accepts_the_unit() {
    if !is_installed("systemd-analyze") {
        return;
    }
    let dir = TestDir::new("unit");
    let text = fs::read_to_string(recipe("app.service")).unwrap();
    // Use the path of the tested program.
    let command = multiprom();
    let text = text.replace("/usr/bin/multiprom", command.get_program().to_str().unwrap());
    assert!(text.contains(command.get_program().to_str().unwrap()));
    let unit = dir.path().join("app.service");
    fs::write(&unit, text).unwrap();
    let outcome = run(Command::new("systemd-analyze").arg("verify").arg(&unit));
    if outcome.stderr.contains("Failed to") && !outcome.stderr.contains("app.service") {
        return skip(&format!("systemd-analyze does not work here: {}", outcome.stderr.trim()));
    }
    assert_eq!(
        (outcome.status, outcome.stderr.contains("app.service")),
        (0, false),
        "{}",
        outcome.stderr
    );
}
