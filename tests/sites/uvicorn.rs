//! uvicorn with several workers, which are spawned and not forked.

use super::{Event, Site, WORKERS, is_whole_matrix, launcher, replace_workers};
use crate::support::sites::programs;

fn run_scenario(event: Event) {
    let Some(programs) = programs("sites") else { return };
    let mut command = launcher(&programs);
    command.args(["uvicorn", "--port", "0", "--workers", &WORKERS.to_string(), "--no-access-log"]);
    if let Event::MaxRequests = event {
        command.args(["--limit-max-requests", "40"]);
    }
    let site = Site::start(command.arg("asgi:application"), "Uvicorn running on ");
    site.check(|site, load, before| {
        replace_workers(event, load, before, || site.launcher.signal("HUP"));
    });
}

#[test]
fn counters_are_exact_when_a_worker_is_killed() {
    run_scenario(Event::Kill);
    if is_whole_matrix() {
        run_scenario(Event::MaxRequests);
        run_scenario(Event::Reload);
    }
}
