//! uWSGI, with and without applications that are loaded after the fork.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::{Event, Site, WORKERS, is_whole_matrix, launcher, replace_workers};
use crate::support::prometheus::is_installed;
use crate::support::sites::{packages, programs, recipe};
use crate::support::{TestDir, root};

fn run_scenario(event: Event, flags: &[&str]) {
    let (Some(programs), Some(packages)) = (programs("newest"), packages("newest")) else { return };
    if !is_installed("uwsgi_python3") {
        return;
    }
    let mut command: Command = launcher(&programs);
    command.arg("uwsgi_python3").args(flags);
    command.args(["--module", "app:application", "--http-socket", "127.0.0.1:0"]);
    command.args(["--processes", &WORKERS.to_string(), "--pythonpath"]).arg(packages);
    command.arg("--pythonpath").arg(root().join("tests/python")).arg("--disable-logging");
    // HUP would re-execute uWSGI, which searches its inherited sockets by name and does not find 127.0.0.1:0.
    let home = TestDir::new("uwsgi");
    let reload = home.path().join("reload");
    File::create(&reload).unwrap();
    command.arg("--touch-workers-reload").arg(&reload);
    if let Event::MaxRequests = event {
        // The default lifetime of a worker is at least a minute.
        command.args(["--max-requests", "40", "--min-worker-lifetime", "1"]);
    }
    let touch = || {
        // uWSGI compares modification times in whole seconds.
        let later = SystemTime::now() + Duration::from_secs(10);
        File::options().write(true).open(&reload).unwrap().set_modified(later).unwrap();
    };
    let site = Site::start(&mut command, "bound to TCP address ");
    site.check(|_, load, before| replace_workers(event, load, before, touch));
}

#[test]
fn counters_are_exact_when_workers_are_reloaded() {
    let ini = recipe("uwsgi.ini");
    let lazy = ["--ini", ini.to_str().unwrap()];
    run_scenario(Event::Reload, &lazy);
    if is_whole_matrix() {
        let threads = [&lazy[..], &["--enable-threads", "--threads", "2"]].concat();
        // The application is loaded before the fork.
        let preloaded = ["--master", "--die-on-term"];
        for flags in [&lazy[..], &threads, &preloaded] {
            run_scenario(Event::Kill, flags);
        }
        // NOTE: a worker of uWSGI 2.0 with threads does not exit after its last request, but waits for a thread that
        // waits for another request.
        for flags in [&lazy[..], &preloaded] {
            run_scenario(Event::MaxRequests, flags);
        }
    }
}
