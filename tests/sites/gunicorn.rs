//! gunicorn: classes of workers, preloading, and what ends and replaces workers.

use super::{Site, WORKERS, is_whole_matrix, launcher, wait_for_end_of};
use crate::support::process::signal;
use crate::support::sites::programs;

const CLASSES: [&str; 3] = ["sync", "gthread", "gevent"];

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A worker is killed.
    Kill,
    /// A worker is stopped, and killed by gunicorn after its timeout.
    Timeout,
    /// Workers end after some requests.
    MaxRequests,
    /// HUP: all workers are replaced.
    Reload,
    /// USR2: a new gunicorn is started, and the old one ends.
    Upgrade,
}

fn play(class: &str, is_preloaded: bool, event: Event) {
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
        Event::Timeout => drop(command.args(["--timeout", "2"])),
        Event::MaxRequests => drop(command.args(["--max-requests", "40"])),
        Event::Kill | Event::Reload | Event::Upgrade => {}
    }
    let mut site = Site::start(&mut command, "Listening at: ");
    site.under_load(|site, load, before| {
        let worker = *before.first().unwrap();
        match event {
            Event::Kill => {
                signal(worker, "KILL");
                load.wait_for_new(1, before);
            }
            Event::Timeout => {
                signal(worker, "STOP");
                load.wait_for_new(1, before);
            }
            Event::MaxRequests => load.wait_for_new(2 * WORKERS, before),
            Event::Reload => {
                site.launcher.signal("HUP");
                load.wait_for_new(WORKERS, before);
                wait_for_end_of(before);
            }
            Event::Upgrade => {
                let old = site.server();
                site.launcher.signal("USR2");
                load.wait_for_new(WORKERS, before);
                signal(old, "TERM");
                wait_for_end_of(before);
                wait_for_end_of(&[old].into());
                // The new gunicorn is an orphan by now, which the launcher follows.
                assert!(site.launcher.is_running(), "{}", site.launcher.stderr());
            }
        }
    });
    site.assert_exact();
    site.assert_live_gauges();
    site.end(0);
}

/// One scenario in every run, and in `scripts/soak` those of all classes with and without preloading.
fn play_each(event: Event, class: &str, is_preloaded: bool) {
    play(class, is_preloaded, event);
    if is_whole_matrix() {
        for other in CLASSES {
            for preload in [false, true] {
                if (other, preload) != (class, is_preloaded) {
                    play(other, preload, event);
                }
            }
        }
    }
}

#[test]
fn counters_are_exact_when_a_preloaded_gevent_worker_is_killed() {
    play_each(Event::Kill, "gevent", true);
}

#[test]
fn counters_are_exact_when_a_preloaded_sync_worker_is_ended_by_its_timeout() {
    play_each(Event::Timeout, "sync", true);
}

#[test]
fn counters_are_exact_when_gthread_workers_end_after_some_requests() {
    play_each(Event::MaxRequests, "gthread", false);
}

#[test]
fn counters_are_exact_when_sync_workers_are_reloaded() {
    play_each(Event::Reload, "sync", false);
}

#[test]
fn counters_are_exact_when_a_new_gunicorn_takes_over_from_a_preloaded_one() {
    play_each(Event::Upgrade, "gthread", true);
}
