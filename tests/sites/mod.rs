//! Python sites as operators run them, with unchanged servers and the unchanged Python client.
//!
//! Clients send requests while processes are killed, reloaded and replaced; the merged counters equal the
//! requests that were acknowledged. `scripts/test` plays one scenario of each kind, `scripts/soak` all of them.

mod celery;
mod containers;
mod django;
mod frameworks;
mod gunicorn;
mod recipes;
mod uvicorn;
mod uwsgi;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::http::{scrape, sum_of};
use crate::support::process::{PATIENCE, Running, children, is_alive};
use crate::support::sites::{Asked, Load, python_environment};
use crate::support::{multiprom, root, wait_for};

/// Worker processes of each site.
const WORKERS: usize = 2;

/// Whether all scenarios of a kind are played.
fn is_whole_matrix() -> bool {
    std::env::var_os("MULTIPROM_SITES").is_some_and(|value| value == "all")
}

/// `multiprom run` with a command that follows, in the directory of the applications.
fn launcher(programs: &Path) -> Command {
    let mut command = multiprom();
    python_environment(&mut command, &[programs]).current_dir(root().join("tests/python"));
    command.args(["run", "--listen", "127.0.0.1:0", "--"]);
    command
}

/// A site with the metrics of app.py, under `multiprom run`.
struct Site {
    launcher: Running,
    url: String,
    metrics: String,
    asked: Asked,
}

impl Site {
    /// `mark` is what the server writes before its address.
    fn start(command: &mut Command, mark: &str) -> Site {
        let mut launcher = Running::start(command);
        let metrics = launcher.url();
        let line = launcher.line_after(mark);
        let address = line.split(' ').next().unwrap();
        let url = format!("http://{}", address.trim_start_matches("http://"));
        Site { launcher, url, metrics, asked: Asked::default() }
    }

    /// Runs `event` while clients send requests. It is given the processes that have answered before.
    fn under_load(&mut self, event: impl FnOnce(&mut Site, &Load, &BTreeSet<u32>)) {
        let load = Load::start(&self.url, 4);
        load.wait_for_new(WORKERS, &BTreeSet::new());
        let before = load.seen();
        event(self, &load, &before);
        self.asked.add(load.stop());
    }

    /// The process that `multiprom run` has started.
    fn server(&self) -> u32 {
        children(self.launcher.id())[0]
    }

    /// Asserts that what was acknowledged is counted, and nothing but that: a request whose connection broke
    /// may have been counted, and each request of a quiet site is counted once.
    fn assert_exact(&mut self) {
        let counted = || {
            let text = scrape(&self.metrics);
            assert_eq!(sum_of(&text, "multiprom_file_errors_total"), 0.0, "{text}");
            let counted = sum_of(&text, "app_requests_total") as u32;
            assert_eq!(sum_of(&text, "app_latency_seconds_count") as u32, counted, "{text}");
            counted
        };
        let (before, asked) = (counted(), &mut self.asked);
        let possible = asked.acknowledged..=asked.acknowledged + asked.failed;
        assert!(possible.contains(&before), "{before} are counted of {possible:?}");
        for _ in 0..20 {
            asked.ask(&self.url);
        }
        let possible = asked.acknowledged..=asked.acknowledged + asked.failed;
        let after = counted();
        assert!(after == before + 20 && possible.contains(&after), "{before}, {after}: {asked:?}");
    }

    /// Asserts that live gauges count the processes that live and have answered, and no request as being
    /// handled.
    fn assert_live_gauges(&self) {
        wait_for("live gauges of the living", PATIENCE, || {
            let text = scrape(&self.metrics);
            let living = self.asked.pids.iter().filter(|pid| is_alive(**pid)).count();
            let shown = ["app_alive", "app_inprogress"].map(|name| sum_of(&text, name));
            (shown == [living as f64, 0.0]).then_some(())
        });
    }

    /// Ends the site in order.
    fn end(self, status: i32) {
        let pids = self.asked.pids;
        self.launcher.signal("TERM");
        let output = self.launcher.end();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert!(!stderr.contains("series file"), "{stderr}");
        assert!(!pids.into_iter().any(is_alive), "workers are left");
    }
}

/// Waits for the end of processes.
fn wait_for_end_of(pids: &BTreeSet<u32>) {
    wait_for("end of the processes", PATIENCE, || {
        (!pids.iter().any(|pid| is_alive(*pid))).then_some(())
    });
}
