//! Metrics of workers, which the exporter reads from procfs without code in the worker.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use multiprom::parse::Parser;
use multiprom::{MultiProcessCollector, ProcessCollector, Registry};

use crate::support::http::{scrape, sum_of};
use crate::support::mount::is_root;
use crate::support::process::{
    PATIENCE, Running, can_unshare_pids, children, in_pid_namespace, is_asleep, signal,
};
use crate::support::survivor::{ControlledWorker, survivor, value};
use crate::support::{TestDir, example, multiprom, python, root, skip, wait_for};

/// A registry that shows a directory with the metrics of its workers, read from a mount of procfs.
fn registry(dir: &Path, procfs: &Path) -> Registry {
    let collector = MultiProcessCollector::builder().directory(dir).worker_metrics_of(procfs);
    let registry = Registry::new();
    registry.register(collector.build().unwrap()).unwrap();
    registry
}

fn of_proc(dir: &Path) -> Registry {
    registry(dir, Path::new("/proc"))
}

fn page(registry: &Registry) -> String {
    registry.render(None).to_string()
}

/// The processes that were found, are unreadable, and were not found.
fn states(page: &str) -> [f64; 3] {
    let state = |state| value(page, &format!("multiprom_workers{{state=\"{state}\"}}"));
    ["found", "unreadable", "not_found"].map(state)
}

/// The label values of the workers on a page.
fn labels(page: &str) -> Vec<String> {
    let mut labels: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("multiprom_worker_cpu_seconds_total{pid=\""))
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    labels.sort_unstable();
    labels
}

fn of_worker(page: &str, name: &str, label: &str) -> f64 {
    value(page, &format!("multiprom_worker_{name}{{pid=\"{label}\"}}"))
}

/// A worker that has recorded jobs, which takes processor time, and waits.
fn worker(dir: &Path, jobs: u32) -> Running {
    let mut command = example("test-counting");
    let mut worker = Running::start(command.arg(dir).arg(jobs.to_string()).arg("hold"));
    worker.line_after("ready");
    // Before it sleeps, its processor time grows.
    wait_for("an idle worker", PATIENCE, || is_asleep(worker.id()).then_some(()));
    worker
}

fn kill(mut worker: Running) {
    worker.signal("KILL");
    worker.wait();
}

/// The families that have a value for each worker.
const OF_EACH: [&str; 8] = [
    "cpu_seconds_total",
    "max_fds",
    "open_fds",
    "resident_memory_bytes",
    "start_time_seconds",
    "threads",
    "virtual_memory_bytes",
    "virtual_memory_max_bytes",
];

/// The families that have a sum.
const OF_ALL: [&str; 5] =
    ["cpu_seconds_total", "open_fds", "resident_memory_bytes", "threads", "virtual_memory_bytes"];

#[test]
fn each_worker_has_the_values_of_procfs_and_the_sums_are_those_of_all() {
    let dir = TestDir::in_memory("workers");
    let workers = [worker(dir.path(), 20_000), worker(dir.path(), 1), worker(dir.path(), 1)];
    let registry = of_proc(dir.path());
    registry.register(ProcessCollector::current()).unwrap();
    let text = page(&registry);
    assert_eq!(states(&text), [3.0, 0.0, 0.0], "{text}");
    let mut pids: Vec<String> = workers.iter().map(|worker| worker.id().to_string()).collect();
    pids.sort_unstable();
    assert_eq!(labels(&text), pids);
    for pid in &pids {
        let alone = Registry::new();
        alone.register(ProcessCollector::of_pid(pid.parse().unwrap())).unwrap();
        let alone = page(&alone);
        for name in OF_EACH {
            let expected = value(&alone, &format!("process_{name}"));
            let found = of_worker(&text, name, pid);
            // The kernel updates the counts of resident pages late.
            let slack = if name == "resident_memory_bytes" { 1e6 } else { 0.0 };
            assert!((found - expected).abs() <= slack, "{name} of {pid}: {found} {expected}");
        }
        // The gauges of the process have the same label.
        value(&text, &format!("queue_all_ratio{{pid=\"{pid}\"}}"));
    }
    for name in OF_ALL {
        let sum = value(&text, &format!("multiprom_all_workers_{name}"));
        let of_each = sum_of(&text, &format!("multiprom_worker_{name}"));
        assert!((sum - of_each).abs() < 1e-6, "{name}: {sum} {of_each}");
    }
    assert!(value(&text, "multiprom_all_workers_cpu_seconds_total") > 0.0, "{text}");
    // The metrics of the process that exports have other names.
    assert!(value(&text, "process_resident_memory_bytes") > 0.0);
    let openmetrics = registry.render(Some("application/openmetrics-text; version=1.0.0"));
    let families = Parser::openmetrics(openmetrics.body.as_slice()).collect::<Result<Vec<_>, _>>();
    families.unwrap();
    workers.into_iter().for_each(kill);
}

#[test]
fn the_cpu_time_of_all_workers_does_not_fall_when_workers_are_killed_and_replaced() {
    let dir = TestDir::in_memory("killed-workers");
    let registry = of_proc(dir.path());
    let total = || {
        let text = page(&registry);
        (value(&text, "multiprom_all_workers_cpu_seconds_total"), text)
    };
    let (mut before, text) = total();
    assert_eq!((before, states(&text)), (0.0, [0.0; 3]));
    for _ in 0..3 {
        let mut killed = worker(dir.path(), 20_000);
        let left = worker(dir.path(), 1);
        let (with_both, text) = total();
        let of_killed = of_worker(&text, "cpu_seconds_total", &killed.id().to_string());
        assert!(of_killed > 0.0 && with_both >= before + of_killed, "{text}");
        killed.signal("KILL");
        wait_for("the end of the worker", PATIENCE, || {
            // The process is a zombie.
            let (now, text) = total();
            assert!(now >= with_both, "{text}");
            (states(&text) == [1.0, 0.0, 0.0]).then_some(())
        });
        killed.wait();
        let (after, text) = total();
        assert!(after >= with_both, "{text}");
        assert_eq!(labels(&text), [left.id().to_string()]);
        kill(left);
        before = total().0;
        assert!(before >= after);
    }
}

#[test]
fn workers_of_another_pid_namespace_are_found_by_their_pid_there() {
    let dir = TestDir::in_memory("other-namespace");
    let mut command = example("test-counting");
    command.arg(dir.path()).args(["2", "hold"]);
    let Some(mut command) = in_pid_namespace(&command) else { return };
    let mut inner = Running::start(&mut command);
    inner.line_after("ready");
    let outer = worker(dir.path(), 2);
    let text = page(&of_proc(dir.path()));
    assert_eq!(states(&text), [2.0, 0.0, 0.0], "{text}");
    // The worker is the first process of its namespace.
    assert_eq!(labels(&text), ["1".to_owned(), outer.id().to_string()]);
    let alone = Registry::new();
    let pid = children(inner.id())[0];
    alone.register(ProcessCollector::of_pid(pid)).unwrap();
    let start = value(&page(&alone), "process_start_time_seconds");
    assert_eq!(of_worker(&text, "start_time_seconds", "1"), start);
    drop((inner, outer));
}

#[test]
fn workers_that_procfs_does_not_show_are_counted() {
    if !can_unshare_pids() {
        return skip("no pid namespace can be created here");
    }
    let dir = TestDir::in_memory("hidden-workers");
    let worker = worker(dir.path(), 2);
    let mut server = multiprom();
    server.args(["serve", "--listen", "127.0.0.1:0", "--worker-metrics", "--dir"]).arg(dir.path());
    let mut server = Running::start(&mut in_pid_namespace(&server).unwrap());
    let text = scrape(&server.url());
    assert_eq!(states(&text), [0.0, 0.0, 1.0], "{text}");
    assert!(labels(&text).is_empty() && text.contains("\njobs_total 2\n"), "{text}");
    drop((server, worker));
}

#[test]
fn a_process_with_the_pid_of_a_writer_is_not_mistaken_for_it() {
    let dir = TestDir::in_memory("pid-of-another");
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    // This test holds a file of the Python client that is named by the pid of another process.
    let path = dir.path().join(format!("counter_{}.db", other.id()));
    let mut bytes = vec![0; 4096];
    bytes[..4].copy_from_slice(&8u32.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let file = OpenOptions::new().read(true).append(true).open(&path).unwrap();
    let text = page(&of_proc(dir.path()));
    assert_eq!(labels(&text), [other.id().to_string()]);
    let alone = Registry::new();
    alone.register(ProcessCollector::current()).unwrap();
    let start = |name: &str, text: &str| value(text, name);
    let own = start("process_start_time_seconds", &page(&alone));
    assert_eq!(of_worker(&text, "start_time_seconds", &other.id().to_string()), own);
    drop(file);
    other.kill().unwrap();
    other.wait().unwrap();
}

/// Adds a process that has a file mapped to a directory that looks like procfs.
fn add_process(procfs: &Path, pid: u32, start: u64, cpu: u64, file: &Path) {
    let process = procfs.join(pid.to_string());
    fs::create_dir_all(process.join("fd")).unwrap();
    let stat = format!("7 (a) S 1 1 1 0 -1 0 0 0 0 0 {cpu} 0 0 0 20 0 3 0 {start} 4096 2 0\n");
    fs::write(process.join("stat"), stat).unwrap();
    let stat = fs::metadata(file).unwrap();
    let device = (libc::major(stat.dev()), libc::minor(stat.dev()));
    let maps = format!("10-20 rw-s 0 {:x}:{:x} {} /a\n", device.0, device.1, stat.ino());
    fs::write(process.join("maps"), maps).unwrap();
    fs::write(procfs.join("stat"), "btime 1000\n").unwrap();
}

#[test]
fn a_reused_pid_is_another_process() {
    let (dir, procfs) = (TestDir::in_memory("reused"), TestDir::new("reused-procfs"));
    let worker = worker(dir.path(), 1);
    let file = |dir: &Path| {
        let mut files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|it| it == "db")).unwrap()
    };
    let add = |start, cpu, file: &Path| add_process(procfs.path(), worker.id(), start, cpu, file);
    let registry = registry(dir.path(), procfs.path());
    add(500, 150, &file(dir.path()));
    let text = page(&registry);
    let label = worker.id().to_string();
    assert_eq!(of_worker(&text, "cpu_seconds_total", &label), 1.5);
    assert_eq!(of_worker(&text, "start_time_seconds", &label), 1005.0);
    // Another process gets the pid, which has another file mapped.
    add(600, 100, &procfs.path().join("stat"));
    let text = page(&registry);
    assert_eq!((labels(&text), states(&text)), (Vec::new(), [0.0; 3]));
    assert_eq!(value(&text, "multiprom_all_workers_cpu_seconds_total"), 1.5);
    // A process that shows the file does not count for the file of another one.
    add(600, 100, &file(dir.path()));
    let text = page(&registry);
    assert_eq!((labels(&text), states(&text)), (Vec::new(), [0.0; 3]));
    kill(worker);
}

/// The workers' user and group, and the user of an exporter in their group.
const WORKER: u32 = 1000;
const READER: u32 = 1001;

#[test]
fn workers_of_another_user_are_counted_as_unreadable_and_reported_once() {
    let dir = TestDir::in_memory("other-user");
    if !is_root() || chown(dir.path(), Some(WORKER), Some(WORKER)).is_err() {
        return skip("other users cannot run programs here");
    }
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let mut command = survivor("commands", dir.path());
    command.args(["-", "group"]).uid(WORKER).gid(WORKER);
    let mut worker = ControlledWorker::start(&mut command);
    worker.execute("record");
    let serve = |user: u32| {
        let mut server = multiprom();
        server.args(["serve", "--listen", "127.0.0.1:0", "--worker-metrics", "--dir"]);
        server.arg(dir.path()).uid(user).gid(WORKER);
        Running::start(&mut server)
    };
    let mut server = serve(READER);
    let url = server.url();
    for _ in 0..3 {
        let text = scrape(&url);
        assert_eq!(states(&text), [0.0, 1.0, 0.0], "{text}");
        assert_eq!(value(&text, "plain_total"), 1.0);
        assert!(labels(&text).is_empty());
    }
    server.signal("TERM");
    let log = String::from_utf8(server.end().stderr).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("cannot be read")).collect();
    let process = format!("`/proc/{}` cannot be read: Permission denied", worker.program.id());
    assert!(lines.len() == 1 && lines[0].contains(&process), "{log}");
    assert!(lines[0].ends_with("this needs the user of the worker or CAP_SYS_PTRACE"), "{log}");

    let mut server = serve(WORKER);
    let text = scrape(&server.url());
    assert_eq!(states(&text), [1.0, 0.0, 0.0], "{text}");
    assert_eq!(labels(&text), [worker.program.id().to_string()]);
    drop((server, worker));
}

#[test]
fn workers_that_have_chosen_their_names_are_found() {
    let dir = TestDir::in_memory("named-workers");
    let start = |name: &str| {
        let mut command = survivor("commands", dir.path());
        let mut worker = ControlledWorker::start(command.arg(name));
        worker.execute("record");
        worker
    };
    // A number that is no pid of the worker, and a name.
    let registry = of_proc(dir.path());
    let workers = [start("1"), start("web-1")];
    let text = page(&registry);
    assert_eq!((labels(&text), states(&text)), (vec!["1".into(), "web-1".into()], [2.0, 0.0, 0.0]));
    for (worker, name) in workers.iter().zip(["1", "web-1"]) {
        let alone = Registry::new();
        alone.register(ProcessCollector::of_pid(worker.program.id())).unwrap();
        let start = value(&page(&alone), "process_start_time_seconds");
        assert_eq!(of_worker(&text, "start_time_seconds", name), start);
    }
    drop(workers);
}

#[test]
fn workers_of_the_python_client_are_exported_without_their_forked_children() {
    let dir = TestDir::in_memory("python-workers");
    let Some(mut command) = python("newest") else { return };
    command.arg(root().join("tests/python/counting.py")).arg(dir.path());
    let mut worker = Running::start(command.args(["2", "fork"]));
    let child = worker.line_after("ready");
    let registry = of_proc(dir.path());
    let text = page(&registry);
    assert_eq!((labels(&text), states(&text)), (vec![worker.id().to_string()], [1.0, 0.0, 0.0]));
    // The child has inherited the files, but has not recorded.
    let (pid, alone) = (worker.id(), Registry::new());
    alone.register(ProcessCollector::of_pid(pid)).unwrap();
    let start = value(&page(&alone), "process_start_time_seconds");
    assert_eq!(of_worker(&text, "start_time_seconds", &pid.to_string()), start);
    signal(child.parse().unwrap(), "KILL");
    kill(worker);
}

#[test]
fn a_server_exports_workers_only_if_asked_and_excludes_them_by_name() {
    let dir = TestDir::in_memory("asked");
    let worker = worker(dir.path(), 1);
    for (flags, has_each, has_sum) in [
        (&[][..], false, false),
        (&["--worker-metrics"][..], true, true),
        (&["--worker-metrics", "--include", "jobs_total"], true, true),
        (&["--worker-metrics", "--exclude", "multiprom_worker_.*"], false, true),
        (&["--worker-metrics", "--pid-label", "process"], true, true),
    ] {
        let mut server = multiprom();
        server.args(["serve", "--listen", "127.0.0.1:0"]).args(flags).arg("--dir").arg(dir.path());
        let mut server = Running::start(&mut server);
        let text = scrape(&server.url());
        let label = if flags.contains(&"--pid-label") { "process" } else { "pid" };
        let series = format!("\nmultiprom_worker_threads{{{label}=\"{}\"}} ", worker.id());
        let has = |name: &str| text.contains(name);
        assert_eq!((has(&series), has("\nmultiprom_all_workers_")), (has_each, has_sum), "{text}");
        server.signal("TERM");
        server.end();
    }
    kill(worker);
}

#[test]
fn the_launcher_exports_the_workers_of_its_command() {
    let mut launcher = multiprom();
    launcher.args(["run", "--listen", "127.0.0.1:0", "--worker-metrics", "--"]);
    launcher.args(["sh", "-c", "\"$0\" \"$PROMETHEUS_MULTIPROC_DIR\" 1 hold"]);
    launcher.arg(example("test-counting").get_program());
    let mut launcher = Running::start(&mut launcher);
    let url = launcher.url();
    launcher.line_after("ready");
    let text = scrape(&url);
    assert_eq!(states(&text), [1.0, 0.0, 0.0], "{text}");
    assert!(text.contains("\njobs_total 1\n"));
    drop(launcher.stdin());
    launcher.wait();
}

#[test]
fn a_writer_without_a_process_is_sought_at_intervals_only() {
    let (dir, procfs) = (TestDir::in_memory("intervals"), TestDir::new("intervals-procfs"));
    let worker = worker(dir.path(), 1);
    let registry = registry(dir.path(), procfs.path());
    let begin = Instant::now();
    assert_eq!(states(&page(&registry)), [0.0, 0.0, 1.0]);
    let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let file = files.filter(|path| path.extension().is_some_and(|it| it == "db")).min().unwrap();
    add_process(procfs.path(), worker.id(), 500, 150, &file);
    let found = states(&page(&registry));
    let is_next_search = begin.elapsed() >= Duration::from_secs(10);
    assert!(found == [0.0, 0.0, 1.0] || is_next_search, "{found:?} before the next search");
    kill(worker);
}
