//! gunicorn: worker classes, preloading, and the ways in which workers end and are replaced.

use super::{Event, Site, WORKERS, is_whole_matrix, launcher, replace_workers, wait_for_end_of};
use crate::support::process::signal;
use crate::support::sites::programs;

const CLASSES: [&str; 3] = ["sync", "gthread", "gevent"];

#[derive(Clone, Copy, Debug)]
enum GunicornEvent {
    /// An event that other servers have too.
    Common(Event),
    /// A worker is stopped, and gunicorn kills it after its timeout.
    Timeout,
    /// USR2: a new gunicorn starts, and the old one is terminated.
    Upgrade,
}

use GunicornEvent::{Common, Timeout, Upgrade};

fn run_scenario(class: &str, is_preloaded: bool, event: GunicornEvent) {
    let Some(programs) = programs("sites") else { return };
    let mut command = launcher(&programs);
    command.args(["gunicorn", "--no-control-socket", "-b", "127.0.0.1:0", "-k", class]);
    command.args(["-w", &WORKERS.to_string(), "app:application"]);
    if class == "gthread" {
        command.args(["--threads", "2"]);
    }
    if is_preloaded {
        command.arg("--preload");
    }
    match event {
        Timeout => drop(command.args(["--timeout", "2"])),
        Common(Event::MaxRequests) => drop(command.args(["--max-requests", "40"])),
        Common(Event::Kill | Event::Reload) | Upgrade => {}
    }
    let site = Site::start(&mut command, "Listening at: ");
    site.check(|site, load, before| match event {
        Common(event) => {
            replace_workers(event, load, before, || site.launcher.signal("HUP"));
        }
        Timeout => {
            signal(*before.first().unwrap(), "STOP");
            load.wait_for_new(1, before);
        }
        Upgrade => {
            let old = site.server();
            site.launcher.signal("USR2");
            load.wait_for_new(WORKERS, before);
            signal(old, "TERM");
            wait_for_end_of(before);
            wait_for_end_of(&[old].into());
            // The new gunicorn is now an orphan, for which the launcher waits.
            assert!(site.launcher.is_running(), "{}", site.launcher.stderr());
        }
    });
}

/// Runs one scenario in `scripts/test`, and the scenarios of all classes with and without preloading in `scripts/soak`.
fn run_scenarios(event: GunicornEvent, class: &str, is_preloaded: bool) {
    run_scenario(class, is_preloaded, event);
    if is_whole_matrix() {
        for other in CLASSES {
            for preload in [false, true] {
                if (other, preload) != (class, is_preloaded) {
                    run_scenario(other, preload, event);
                }
            }
        }
    }
}

#[test]
fn counters_are_exact_when_a_preloaded_gevent_worker_is_killed() {
    run_scenarios(Common(Event::Kill), "gevent", true);
}

#[test]
fn counters_are_exact_when_a_preloaded_sync_worker_is_killed_after_its_timeout() {
    run_scenarios(Timeout, "sync", true);
}

#[test]
fn counters_are_exact_when_gthread_workers_exit_after_some_requests() {
    run_scenarios(Common(Event::MaxRequests), "gthread", false);
}

#[test]
fn counters_are_exact_when_sync_workers_are_reloaded() {
    run_scenarios(Common(Event::Reload), "sync", false);
}

#[test]
fn counters_are_exact_when_a_new_gunicorn_replaces_a_preloaded_one() {
    run_scenarios(Upgrade, "gthread", true);
}
