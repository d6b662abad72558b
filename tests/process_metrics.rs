//! Metrics of processes, compared with procfs and with the Python client.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use multiprom::collector::{BuildInfo, PlatformInfo};
use multiprom::{ErrorKind, ProcessCollector};

use crate::support::http::scrape;
use crate::support::process::{PATIENCE, Running};
use crate::support::registries::in_memory;
use crate::support::{
    TestDir, assert_success, copy_program, example, multiprom, output_of, python, wait_for,
};

fn page(collector: ProcessCollector) -> String {
    let registry = in_memory();
    registry.register(collector).unwrap();
    registry.render(None).to_string()
}

/// The names of the samples.
fn names(page: &str) -> Vec<&str> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let mut names: Vec<&str> = samples.filter_map(|line| line.split(' ').next()).collect();
    names.sort_unstable();
    names
}

fn value(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}: {page}")).parse().unwrap()
}

/// A shell that has used processor time, and is stopped, so that its values do not change.
fn stopped_shell(shell: &Path) -> Running {
    let script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; kill -STOP $$";
    let process = Running::start(Command::new(shell).args(["-c", script]));
    let path = format!("/proc/{}/stat", process.id());
    wait_for("a stopped shell", PATIENCE, || {
        let stat = fs::read_to_string(&path).ok()?;
        stat.rsplit_once(") ")?.1.starts_with('T').then_some(())
    });
    process
}

/// Ends a stopped process.
fn end(mut process: Running) {
    process.signal("KILL");
    process.wait();
}

/// The families of the Python client, which stops at a limit that is no number.
const PYTHON: &str = "
import sys
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
registry = CollectorRegistry()
ProcessCollector(namespace=sys.argv[2], pid=lambda: sys.argv[1], registry=registry)
sys.stdout.write(generate_latest(registry).decode())
";

#[test]
fn names_helps_types_and_values_are_those_of_the_python_client() {
    let Some(mut python) = python("newest") else {
        return;
    };
    // The name of the program, which `stat` shows, has blanks and parentheses.
    let dir = TestDir::new("process-name");
    let shell = dir.path().join(") R 1 (a) (");
    copy_program(Path::new("/bin/sh"), &shell);
    let process = stopped_shell(&shell);
    let pid = process.id().to_string();
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(comm.trim_end(), ") R 1 (a) (");
    let theirs = output_of(python.args(["-c", PYTHON, &pid, "shop"]));
    let ours = page(ProcessCollector::of_pid(process.id()).prefix("shop").unwrap());
    assert!(value(&ours, "shop_process_cpu_seconds_total") > 0.0, "{ours}");
    for line in theirs.lines() {
        match line.rsplit_once(' ') {
            // Numbers are formatted in another way, and two times are added in another order.
            Some((name, number)) if !line.starts_with('#') => {
                let (ours, theirs) = (value(&ours, name), number.parse::<f64>().unwrap());
                assert!((ours - theirs).abs() <= 1e-9 * theirs, "{name}: {ours} {theirs}");
            }
            _ => assert!(ours.lines().any(|other| other == line), "{line}: {ours}"),
        }
    }
    assert_eq!(names(&theirs).len(), 6, "{theirs}");
    end(process);
}

#[test]
fn all_values_are_those_of_procfs() {
    let process = stopped_shell(Path::new("/bin/sh"));
    let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", process.id())).unwrap();
    let page = page(ProcessCollector::of_pid(process.id()));
    assert_eq!(
        names(&page),
        [
            "process_cpu_seconds_total",
            "process_max_fds",
            "process_network_receive_bytes_total",
            "process_network_transmit_bytes_total",
            "process_open_fds",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
            "process_threads",
            "process_virtual_memory_bytes",
            "process_virtual_memory_max_bytes",
        ]
    );
    // `status` has some of the values in another form.
    let status = read("status");
    let number = |name: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        rest.split_ascii_whitespace().next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(value(&page, "process_virtual_memory_bytes"), number("VmSize:") * 1024.0);
    assert_eq!(value(&page, "process_threads"), number("Threads:"));
    // The kernel counts resident memory exactly in `status`, and up to some pages per processor in `stat`.
    let resident = value(&page, "process_resident_memory_bytes");
    assert!((resident - number("VmRSS:") * 1024.0).abs() < 4e6, "{resident} {status}");
    let fds = fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap().count();
    assert_eq!(value(&page, "process_open_fds"), fds as f64);
    let limits = read("limits");
    let limit = |name: &str| {
        let rest = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let soft = rest.split_ascii_whitespace().next().unwrap();
        if soft == "unlimited" { 18_446_744_073_709_551_615.0 } else { soft.parse().unwrap() }
    };
    assert_eq!(value(&page, "process_max_fds"), limit("Max open files"));
    assert_eq!(value(&page, "process_virtual_memory_max_bytes"), limit("Max address space"));
    let modified = fs::metadata(format!("/proc/{}", process.id())).unwrap().modified().unwrap();
    let started = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let start = value(&page, "process_start_time_seconds");
    assert!((started - start).abs() < 60.0, "{started} {start}");
    end(process);
}

#[test]
fn a_forked_child_exports_its_own_metrics() {
    let mut program = example("test-process-metrics");
    let output = program.output().unwrap();
    assert_success(&program, &output);
}

#[test]
fn a_process_that_has_ended_exports_nothing() {
    let process = stopped_shell(Path::new("/bin/sh"));
    let pid = process.id();
    assert!(!names(&page(ProcessCollector::of_pid(pid))).is_empty());
    end(process);
    assert_eq!(page(ProcessCollector::of_pid(pid)), "");
}

#[test]
fn scrapes_of_processes_that_end_meanwhile_have_whole_values_or_none() {
    for _ in 0..30 {
        let mut process = Command::new("/bin/true").spawn().unwrap();
        let pid = process.id();
        for _ in 0..20 {
            let page = page(ProcessCollector::of_pid(pid));
            let names = names(&page);
            assert!(names.is_empty() || names.contains(&"process_threads"), "{page}");
        }
        process.wait().unwrap();
        assert_eq!(page(ProcessCollector::of_pid(pid)), "");
    }
}

/// A directory that looks like procfs with one process, whose `stat` has this start time.
fn fake_procfs(name: &str, pid: u32) -> (TestDir, PathBuf) {
    let dir = TestDir::new(name);
    let process = dir.path().join(pid.to_string());
    fs::create_dir_all(process.join("fd")).unwrap();
    fs::create_dir(process.join("net")).unwrap();
    fs::write(dir.path().join("stat"), "cpu 1 2\nbtime 1000\n").unwrap();
    write_stat(&process, 500);
    fs::write(process.join("limits"), limits(1024)).unwrap();
    fs::write(process.join("fd/0"), "").unwrap();
    fs::write(process.join("net/netstat"), "IpExt: InOctets OutOctets\nIpExt: 7 8\n").unwrap();
    (dir, process)
}

fn write_stat(process: &Path, start: u64) {
    let stat = format!("7 (a) S 1 1 1 0 -1 0 0 0 0 0 100 50 0 0 20 0 3 0 {start} 4096 2 0\n");
    fs::write(process.join("stat"), stat).unwrap();
}

fn limits(files: u64) -> String {
    format!(
        "Limit\nMax open files      {files}      4096      files\nMax address space   unlimited  unlimited  bytes\n"
    )
}

#[test]
fn a_file_that_cannot_be_read_omits_only_its_metrics() {
    const STAT: [&str; 5] = [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_threads",
        "process_virtual_memory_bytes",
    ];
    for (file, metrics) in [
        ("stat", &STAT[..]),
        ("limits", &["process_max_fds", "process_virtual_memory_max_bytes"]),
        ("fd", &["process_open_fds"]),
        ("net", &["process_network_receive_bytes_total", "process_network_transmit_bytes_total"]),
        ("../stat", &["process_start_time_seconds"]),
    ] {
        let (dir, process) = fake_procfs("procfs", 7);
        let collector = || ProcessCollector::of_pid(7).procfs(dir.path());
        let whole = page(collector());
        assert_eq!(value(&whole, "process_cpu_seconds_total"), 1.5);
        assert_eq!(value(&whole, "process_start_time_seconds"), 1005.0);
        assert_eq!(value(&whole, "process_network_receive_bytes_total"), 7.0);
        assert_eq!(value(&whole, "process_open_fds"), 1.0);
        let path = process.join(file);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        let part = page(collector());
        let mut expected = names(&whole);
        expected.retain(|name| !metrics.contains(name));
        assert_eq!(names(&part), expected, "{file}");
    }
}

/// `limits` is a pipe, at which the scrape waits while the test changes the process.
fn scrape_during(change: impl FnOnce(&Path)) -> String {
    let (dir, process) = fake_procfs("reused", 7);
    let pipe = process.join("limits");
    fs::remove_file(&pipe).unwrap();
    output_of(Command::new("mkfifo").arg(&pipe));
    let collector = ProcessCollector::of_pid(7).procfs(dir.path());
    let scrape = std::thread::spawn(move || page(collector));
    // Opens when the scrape does.
    let mut writer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    change(&process);
    writer.write_all(limits(2048).as_bytes()).unwrap();
    drop(writer);
    scrape.join().unwrap()
}

#[test]
fn values_of_another_process_that_gets_the_pid_during_a_scrape_are_not_mixed_in() {
    let same = scrape_during(|_| {});
    assert_eq!(value(&same, "process_max_fds"), 2048.0);
    let reused = scrape_during(|process| write_stat(process, 501));
    let ended = scrape_during(|process| fs::remove_file(process.join("stat")).unwrap());
    for page in [reused, ended] {
        assert_eq!(value(&page, "process_start_time_seconds"), 1005.0);
        assert_eq!(names(&page).len(), 5, "{page}");
    }
}

#[test]
fn a_prefix_that_is_no_metric_name_is_an_error() {
    let error = ProcessCollector::current().prefix("a b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidName);
}

#[test]
fn build_and_platform_are_infos_in_openmetrics_and_gauges_in_text() {
    let registry = in_memory();
    let build = BuildInfo::new("shop").unwrap().label("version", "1.2").unwrap();
    registry.register(build.label("branch", "").unwrap()).unwrap();
    registry.register(PlatformInfo::new()).unwrap();
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    let build = format!("shop_build_info{{arch=\"{arch}\",os=\"{os}\",version=\"1.2\"}} 1");
    let release = output_of(Command::new("uname").arg("-r"));
    let is_platform = |line: &str| {
        line.starts_with(&format!("platform_info{{arch=\"{arch}\""))
            && line.contains(&format!("os=\"{os}\",release=\"{}\"}} 1", release.trim()))
    };
    let text = registry.render(None).to_string();
    let head = "# HELP shop_build_info Build of the program.\n# TYPE shop_build_info gauge\n";
    assert!(text.ends_with(&format!("{head}{build}\n")), "{text}");
    assert!(text.lines().any(is_platform), "{text}");
    let text = registry.render(Some("application/openmetrics-text")).to_string();
    assert!(text.contains("\n# TYPE shop_build info\n# HELP shop_build Build"), "{text}");
    assert!(text.lines().any(|line| line.starts_with(&build)), "{text}");
    assert!(text.lines().any(is_platform), "{text}");
    // Malformed and repeated names.
    let build = || BuildInfo::new("shop").unwrap();
    assert_eq!(BuildInfo::new("a b").unwrap_err().kind(), ErrorKind::InvalidName);
    for label in ["", "a b", "__a", "os"] {
        assert_eq!(build().label(label, "1").unwrap_err().kind(), ErrorKind::InvalidLabels);
    }
}

#[test]
fn the_build_shows_once_on_the_page_of_each_process() {
    let dir = TestDir::new("build");
    for dir in [None, Some(&dir)] {
        let mut command = example("test-values");
        command.arg("build");
        if let Some(dir) = dir {
            command.env("PROMETHEUS_MULTIPROC_DIR", dir.path());
        }
        let text = output_of(&mut command);
        let builds = |who: &str| {
            let prefix = format!("{who}: shop_build_info{{");
            text.lines().filter(|line| line.starts_with(&prefix)).count()
        };
        assert_eq!((builds("parent"), builds("child")), (1, 2), "{text}");
        let merged = text.contains("child: jobs_total 3");
        assert_eq!(merged, dir.is_some(), "{text}");
    }
}

#[test]
fn the_exporter_exports_its_version() {
    let dir = TestDir::new("version");
    let version = format!(",version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"));
    for (flags, is_shown) in [(&[][..], true), (&["--exclude", "multiprom_build_info"], false)] {
        let mut server = multiprom();
        server.args(["serve", "--listen", "127.0.0.1:0"]).args(flags).arg("--dir").arg(dir.path());
        let mut server = Running::start(&mut server);
        let page = scrape(&server.url());
        assert_eq!(page.contains("\nmultiprom_build_info{"), is_shown);
        assert_eq!(page.contains(&version), is_shown, "{page}");
        server.signal("TERM");
        server.end();
    }
}
