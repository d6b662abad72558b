//! The examples of cron jobs, Kubernetes jobs and batch jobs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use super::series_of_job;
use crate::support::http::scrape;
use crate::support::process::{Running, run};
use crate::support::services::{listen, pushgateway};
use crate::support::{TestDir, example, multiprom, output_of, root, write_program};

/// Creates programs with these names in a directory, each of which counts 5 jobs, and a link to multiprom.
fn programs(dir: &Path, names: &[&str]) -> String {
    let counting = example("test-counting");
    let counting = counting.get_program().display().to_string();
    for name in names {
        let path = dir.join(name);
        let script = format!("#!/bin/sh\nexec {counting} \"$PROMETHEUS_MULTIPROC_DIR\" 5\n");
        write_program(&path, &script);
    }
    std::os::unix::fs::symlink(multiprom().get_program(), dir.join("multiprom")).unwrap();
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

fn shell(line: &str, path: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("PATH", path).env_remove("PROMETHEUS_MULTIPROC_DIR");
    command
}

fn jobs(address: &str, job: &str) -> Option<String> {
    let series = series_of_job(address, job);
    series.into_iter().find(|(name, _)| name.starts_with("jobs_total[")).map(|(_, value)| value)
}

#[test]
fn the_cron_jobs_push_write_and_send_what_was_recorded() {
    let Some((_gateway, address)) = pushgateway(&[]) else { return };
    let dir = TestDir::new("cron");
    let path = programs(dir.path(), &["backup", "cleanup"]);
    let (sent, received) = mpsc::channel();
    let graphite = listen(move |mut stream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        sent.send(text).unwrap();
    });
    let at = |name: &str| dir.path().join(name).display().to_string();
    let text = fs::read_to_string(root().join("examples/crontab")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut count = 0;
    for line in lines {
        let command = line.split_once(" root ").unwrap().1;
        let command = command
            .replace("gateway:9091", &address)
            .replace("graphite:2003", &graphite)
            .replace("/dev/shm/cleanup", &at("metrics"))
            .replace("/run/app/metrics", &at("metrics"))
            .replace("/var/lib/prometheus/node-exporter", &at(""))
            // The example listens on the usual port.
            .replace("--keep-files", "--keep-files --listen 127.0.0.1:0");
        let outcome = run(&mut shell(&command, &path));
        assert_eq!(outcome.status, 0, "{command}: {}", outcome.stderr);
        count += 1;
    }
    assert_eq!(count, 3);
    assert_eq!(jobs(&address, "backup").as_deref(), Some("5"));
    let page = scrape(&format!("http://{address}/metrics"));
    assert!(page.contains("database=\"orders\""), "{page}");
    assert!(fs::read_to_string(at("cleanup.prom")).unwrap().contains("\njobs_total 5\n"));
    let lines = received.recv().unwrap();
    assert!(lines.contains("servers.web1.jobs_total 5 "), "{lines}");
}

#[test]
fn the_kubernetes_job_pushes_when_it_ends() {
    let Some((_gateway, address)) = pushgateway(&[]) else { return };
    let dir = TestDir::new("job");
    let path = programs(dir.path(), &["backup"]);
    let text = fs::read_to_string(root().join("examples/job.yaml")).unwrap();
    let (_, list) = text.split_once("command: [").unwrap();
    let words = list.split(']').next().unwrap().split(", ").map(|word| word.trim_matches('"'));
    let line = words.collect::<Vec<_>>().join(" ").replace("gateway:9091", &address);
    output_of(&mut shell(&line, &path));
    assert_eq!(jobs(&address, "backup").as_deref(), Some("5"));
}

#[test]
fn the_batch_job_in_rust_pushes_its_rows() {
    let Some((_gateway, address)) = pushgateway(&[]) else { return };
    let mut running = Running::start(example("batch").arg(&address));
    running.stdin().write_all(b"a\nb\nc\n").unwrap();
    assert!(running.wait().success(), "{}", running.stderr());
    let page = scrape(&format!("http://{address}/metrics"));
    let labels = "{database=\"orders\",instance=\"\",job=\"backup\"}";
    assert!(page.contains(&format!("\nbackup_rows_total{labels} 3\n")), "{page}");
    assert!(page.contains(&format!("\nbackup_last_success_timestamp_seconds{labels} ")), "{page}");
}
