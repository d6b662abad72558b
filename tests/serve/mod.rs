//! `serve`: requests over HTTP, sockets and directories.

mod directories;
mod discovery;
mod listening;
mod paths;
mod requests;
mod stopping;
mod web_config;

use std::time::{Duration, Instant};

use crate::support::http::Connection;
use crate::support::process::Running;
use crate::support::{TestDir, example, multiprom, output_of};

/// A server of a directory in which 5 jobs were counted.
struct Served {
    dir: TestDir,
    server: Running,
    url: String,
}

impl Served {
    fn start(name: &str, flags: &[&str]) -> Served {
        let dir = TestDir::new(name);
        output_of(example("test-counting").arg(dir.path()).arg("5"));
        let mut command = multiprom();
        command.args(["serve", "--dir"]).arg(dir.path());
        let mut server = Running::start(command.args(["--listen", "127.0.0.1:0"]).args(flags));
        let url = server.url();
        Served { dir, server, url }
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.url).unwrap()
    }

    fn stop(self) {
        stop(self.server);
    }
}

/// How long a server waits for responses in progress when it ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Ends a server by SIGTERM: it must succeed without waiting for its clients, and log nothing more.
fn stop(server: Running) {
    let start = Instant::now();
    server.signal("TERM");
    let output = server.end();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(start.elapsed() < STOP_TIMEOUT, "stopped after {:?}", start.elapsed());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(output.stdout.is_empty());
}
