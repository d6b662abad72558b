//! Python servers: their programs, their environment, and clients that count acknowledged requests.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::http::{Response, get};
use super::process::PATIENCE;
use super::{multiprom, output_of, python, root, wait_for};

/// A file of `examples/`.
pub fn recipe(name: &str) -> PathBuf {
    root().join("examples").join(name)
}

/// The directory with the programs of a Python environment, or `None` if it is missing.
pub fn programs(environment: &str) -> Option<PathBuf> {
    Some(Path::new(python(environment)?.get_program()).parent().unwrap().to_owned())
}

/// The directory with the packages of a Python environment, or `None` if it is missing.
pub fn packages(environment: &str) -> Option<PathBuf> {
    let script = "import sysconfig; print(sysconfig.get_path('purelib'))";
    Some(output_of(python(environment)?.args(["-c", script])).trim().into())
}

/// The multiprocess directory in the environment of a process.
pub fn directory_of(pid: u32) -> PathBuf {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let mut dirs = variables
        .filter_map(|each| each.strip_prefix("PROMETHEUS_MULTIPROC_DIR=").map(PathBuf::from));
    dirs.next().unwrap()
}

/// The directory of the `multiprom` command.
pub fn multiprom_dir() -> PathBuf {
    Path::new(multiprom().get_program()).parent().unwrap().to_owned()
}

/// `dirs`, followed by the `PATH` of this process without directories that contain a `multiprom`.
pub fn path_behind(dirs: &[&Path]) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let rest = std::env::split_paths(&path).filter(|dir| !dir.join("multiprom").exists());
    let dirs = dirs.iter().map(|dir| dir.to_path_buf());
    std::env::join_paths(dirs.chain(rest)).unwrap()
}

/// Sets the environment of a command so that it finds Python programs and creates no files in the source tree.
pub fn python_environment<'a>(command: &'a mut Command, dirs: &[&Path]) -> &'a mut Command {
    command.env_remove("PROMETHEUS_MULTIPROC_DIR").env_remove("prometheus_multiproc_dir");
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
    command.env("PATH", path_behind(dirs))
}

/// The results of requests for `/pid`.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    pub acknowledged: u32,
    /// Requests without a response, which a worker may have counted.
    pub failed: u32,
    /// The processes that have responded.
    pub pids: BTreeSet<u32>,
}

impl Requests {
    /// Sends one request.
    pub fn send(&mut self, url: &str) {
        self.note(&get(&format!("{url}/pid")));
    }

    fn note(&mut self, response: &std::io::Result<Response>) {
        match response {
            Ok(response) if response.status == 200 => {
                self.acknowledged += 1;
                self.pids.insert(response.body.parse().unwrap());
            }
            _ => self.failed += 1,
        }
    }

    /// Sends requests, several at once, until `count` processes have responded that are not in `before`.
    pub fn send_until(&mut self, url: &str, count: usize, before: &BTreeSet<u32>) {
        wait_for("responses of enough processes", PATIENCE, || {
            let url = format!("{url}/pid");
            let responses: Vec<_> = std::thread::scope(|scope| {
                let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| get(&url))).collect();
                clients.into_iter().map(|client| client.join().unwrap()).collect()
            });
            for response in &responses {
                self.note(response);
            }
            (self.pids.difference(before).count() >= count).then_some(())
        });
    }

    pub fn add(&mut self, other: Requests) {
        self.acknowledged += other.acknowledged;
        self.failed += other.failed;
        self.pids.extend(other.pids);
    }
}

/// Clients that send requests until they are stopped.
pub struct Load {
    is_over: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeSet<u32>>>,
    clients: Vec<JoinHandle<Requests>>,
}

impl Load {
    pub fn start(url: &str, clients: usize) -> Load {
        let is_over = Arc::<AtomicBool>::default();
        let seen = Arc::<Mutex<BTreeSet<u32>>>::default();
        let client = |_| {
            let (is_over, seen, url) = (Arc::clone(&is_over), Arc::clone(&seen), url.to_owned());
            std::thread::spawn(move || {
                let mut requests = Requests::default();
                while !is_over.load(Ordering::Relaxed) {
                    requests.send(&url);
                    seen.lock().unwrap().extend(requests.pids.iter().copied());
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                requests
            })
        };
        let clients = (0..clients).map(client).collect();
        Load { is_over, seen, clients }
    }

    /// Waits until `count` processes have responded that are not in `before`.
    pub fn wait_for_new(&self, count: usize, before: &BTreeSet<u32>) {
        wait_for("responses of new processes", PATIENCE, || {
            (self.seen().difference(before).count() >= count).then_some(())
        });
    }

    /// The processes that have responded so far.
    pub fn seen(&self) -> BTreeSet<u32> {
        self.seen.lock().unwrap().clone()
    }

    pub fn stop(mut self) -> Requests {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = Requests::default();
        for client in self.clients.drain(..) {
            all.add(client.join().unwrap());
        }
        all
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
