//! A Python site under gunicorn, with the unmodified Python client, started by `multiprom run`.

use std::collections::HashSet;
use std::path::Path;

use crate::support::http::{get, scrape, sum_of};
use crate::support::process::{PATIENCE, Running, is_alive, signal};
use crate::support::sites::directory_of;
use crate::support::{multiprom, python, root, wait_for};

const WORKERS: usize = 4;
const CLIENTS: usize = 8;

/// The site, the number of its responses, and the pids that have responded.
struct Site {
    launcher: Running,
    url: String,
    metrics: String,
    responses: u32,
    pids: HashSet<u32>,
}

impl Site {
    fn start() -> Option<Site> {
        let gunicorn = Path::new(python("newest")?.get_program()).with_file_name("gunicorn");
        let mut command = multiprom();
        command.args(["run", "--listen", "127.0.0.1:0", "--"]).arg(gunicorn);
        command.args(["-w", &WORKERS.to_string(), "-b", "127.0.0.1:0", "app:application"]);
        command.arg("--chdir").arg(root().join("tests/python"));
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
        let mut launcher = Running::start(&mut command);
        let metrics = launcher.url();
        let line = launcher.line_after("Listening at: ");
        let url = line.split(' ').next().unwrap().to_owned();
        Some(Site { launcher, url, metrics, responses: 0, pids: HashSet::new() })
    }

    /// Sends a request, which must succeed; returns the pid of the worker.
    fn request(&mut self) -> u32 {
        let pid = pid(&format!("{}/pid", self.url));
        self.responses += 1;
        self.pids.insert(pid);
        pid
    }

    /// Sends rounds of concurrent requests until `count` different workers have responded.
    fn drive(&mut self, count: usize) {
        wait_for("responses of every worker", PATIENCE, || {
            let url = format!("{}/pid", self.url);
            let client = || (0..10).map(|_| pid(&url)).collect::<Vec<u32>>();
            let responses: Vec<u32> = std::thread::scope(|scope| {
                let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
                clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
            });
            self.responses += responses.len() as u32;
            self.pids.extend(responses);
            (self.pids.len() >= count).then_some(())
        });
    }

    /// Asserts that each response is counted once.
    fn assert_exact(&self) {
        let text = scrape(&self.metrics);
        let responses = f64::from(self.responses);
        assert_eq!(sum_of(&text, "app_requests_total"), responses, "{text}");
        assert_eq!(sum_of(&text, "app_latency_seconds_count"), responses, "{text}");
        assert_eq!(sum_of(&text, "app_inprogress"), 0.0, "{text}");
        assert_eq!(sum_of(&text, "multiprom_file_errors_total"), 0.0, "{text}");
    }
}

/// Sends a request, which must succeed; returns the pid of the worker.
fn pid(url: &str) -> u32 {
    let response = get(url).unwrap();
    assert_eq!(response.status, 200, "{}", response.body);
    response.body.parse().unwrap()
}

#[test]
fn counters_are_exact_when_a_gunicorn_worker_is_killed() {
    let Some(mut site) = Site::start() else {
        return;
    };
    site.drive(WORKERS);
    site.assert_exact();

    let killed = site.request();
    let dir = directory_of(killed);
    let (gauge, counter) = (format!("gauge_livesum_{killed}.db"), format!("counter_{killed}.db"));
    assert!(dir.join(&gauge).exists() && dir.join(&counter).exists());
    signal(killed, "KILL");
    wait_for("end of the worker", PATIENCE, || (!is_alive(killed)).then_some(()));
    wait_for("end of its live gauge", PATIENCE, || (!dir.join(&gauge).exists()).then_some(()));
    site.assert_exact();

    site.drive(WORKERS + 1);
    site.assert_exact();
    let alive: Vec<u32> = site.pids.iter().copied().filter(|pid| is_alive(*pid)).collect();
    assert_eq!((site.pids.len(), alive.len()), (WORKERS + 1, WORKERS), "{:?}", site.pids);

    site.launcher.signal("TERM");
    let output = site.launcher.end();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("series file"), "{stderr}");
    assert!(!alive.into_iter().any(is_alive), "workers are left");
    assert!(!dir.exists(), "{} is left", dir.display());
}
