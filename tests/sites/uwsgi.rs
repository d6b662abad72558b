//! uWSGI, with and without applications that are loaded after the fork.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::{Site, WORKERS, is_whole_matrix, launcher, wait_for_end_of};
use crate::support::process::{run, signal};
use crate::support::prometheus::is_installed;
use crate::support::sites::{programs, recipe};
use crate::support::{TestDir, python, root};

#[derive(Clone, Copy, Debug)]
enum Event {
    Kill,
    MaxRequests,
    Reload,
}

fn play(event: Event, flags: &[&str]) {
    let (Some(programs), Some(mut python)) = (programs("newest"), python("newest")) else { return };
    if !is_installed("uwsgi_python3") {
        return;
    }
    let script = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let packages = run(python.args(["-c", script])).stdout;
    let mut command: Command = launcher(&programs);
    command.arg("uwsgi_python3").args(flags);
    command.args(["--module", "app:application", "--http-socket", "127.0.0.1:0"]);
    command.args(["--processes", &WORKERS.to_string(), "--pythonpath", packages.trim()]);
    command.arg("--pythonpath").arg(root().join("tests/python")).arg("--disable-logging");
    // HUP would start uWSGI anew, which looks for its socket by the name and finds no 127.0.0.1:0.
    let home = TestDir::new("uwsgi");
    let reload = home.path().join("reload");
    File::create(&reload).unwrap();
    command.arg("--touch-workers-reload").arg(&reload);
    if let Event::MaxRequests = event {
        // Otherwise uWSGI lets each worker live for a minute.
        command.args(["--max-requests", "40", "--min-worker-lifetime", "1"]);
    }
    let mut site = Site::start(&mut command, "bound to TCP address ");
    site.under_load(|_, load, before| match event {
        Event::Kill => {
            signal(*before.first().unwrap(), "KILL");
            load.wait_for_new(1, before);
        }
        Event::MaxRequests => load.wait_for_new(2 * WORKERS, before),
        Event::Reload => {
            // uWSGI compares times in seconds.
            let later = SystemTime::now() + Duration::from_secs(10);
            File::options().write(true).open(&reload).unwrap().set_modified(later).unwrap();
            load.wait_for_new(WORKERS, before);
            wait_for_end_of(before);
        }
    });
    site.assert_exact();
    site.assert_live_gauges();
    site.end(0);
}

#[test]
fn counters_are_exact_when_workers_are_reloaded() {
    let ini = recipe("uwsgi.ini");
    let lazy = ["--ini", ini.to_str().unwrap()];
    play(Event::Reload, &lazy);
    if is_whole_matrix() {
        let threads = [&lazy[..], &["--enable-threads", "--threads", "2"]].concat();
        // The application is loaded before the fork.
        let preloaded = ["--master", "--die-on-term"];
        for flags in [&lazy[..], &threads, &preloaded] {
            play(Event::Kill, flags);
        }
        // NOTE: a worker of uWSGI 2.0 with threads does not end after its last request, but waits for a
        // thread that waits for another request.
        for flags in [&lazy[..], &preloaded] {
            play(Event::MaxRequests, flags);
        }
    }
}
