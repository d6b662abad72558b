//! uvicorn with several workers, which are spawned and not forked.

use super::{Site, WORKERS, is_whole_matrix, launcher, wait_for_end_of};
use crate::support::process::signal;
use crate::support::sites::programs;

#[derive(Clone, Copy, Debug)]
enum Event {
    Kill,
    MaxRequests,
    Reload,
}

fn play(event: Event) {
    let Some(programs) = programs("sites") else { return };
    let mut command = launcher(&programs);
    command.args(["uvicorn", "--port", "0", "--workers", &WORKERS.to_string(), "--no-access-log"]);
    if let Event::MaxRequests = event {
        command.args(["--limit-max-requests", "40"]);
    }
    let mut site = Site::start(command.arg("asgi:application"), "Uvicorn running on ");
    site.under_load(|site, load, before| match event {
        Event::Kill => {
            signal(*before.first().unwrap(), "KILL");
            load.wait_for_new(1, before);
        }
        Event::MaxRequests => load.wait_for_new(2 * WORKERS, before),
        Event::Reload => {
            site.launcher.signal("HUP");
            load.wait_for_new(WORKERS, before);
            wait_for_end_of(before);
        }
    });
    site.assert_exact();
    site.assert_live_gauges();
    site.end(0);
}

#[test]
fn counters_are_exact_when_a_worker_is_killed() {
    play(Event::Kill);
    if is_whole_matrix() {
        play(Event::MaxRequests);
        play(Event::Reload);
    }
}
