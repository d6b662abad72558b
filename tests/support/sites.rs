//! Python servers: their programs, their environment, and clients that count what is acknowledged.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::http::{Answer, get};
use super::process::PATIENCE;
use super::{multiprom, python, root, wait_for};

/// A file of `examples/`.
pub fn recipe(name: &str) -> PathBuf {
    root().join("examples").join(name)
}

/// The directory of the programs of a Python environment; `None` where it is missing.
pub fn programs(environment: &str) -> Option<PathBuf> {
    Some(Path::new(python(environment)?.get_program()).parent().unwrap().to_owned())
}

/// The directory of the `multiprom` command.
pub fn multiprom_dir() -> PathBuf {
    Path::new(multiprom().get_program()).parent().unwrap().to_owned()
}

/// The path of this process behind some directories, without any other `multiprom`.
pub fn path_behind(dirs: &[&Path]) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let rest = std::env::split_paths(&path).filter(|dir| !dir.join("multiprom").exists());
    let dirs = dirs.iter().map(|dir| dir.to_path_buf());
    std::env::join_paths(dirs.chain(rest)).unwrap()
}

/// Makes a command find Python programs and leave no files in the source tree.
pub fn python_environment<'a>(command: &'a mut Command, dirs: &[&Path]) -> &'a mut Command {
    command.env_remove("PROMETHEUS_MULTIPROC_DIR").env_remove("prometheus_multiproc_dir");
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
    command.env("PATH", path_behind(dirs))
}

/// What clients of a site have seen. Each request is for `/pid`.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub acknowledged: u32,
    /// Requests without a response: a worker may have counted them.
    pub failed: u32,
    /// The processes that have answered.
    pub pids: BTreeSet<u32>,
}

impl Asked {
    /// Sends one request.
    pub fn ask(&mut self, url: &str) {
        self.note(&get(&format!("{url}/pid")));
    }

    fn note(&mut self, answer: &std::io::Result<Answer>) {
        match answer {
            Ok(answer) if answer.status == 200 => {
                self.acknowledged += 1;
                self.pids.insert(answer.body.parse().unwrap());
            }
            _ => self.failed += 1,
        }
    }

    /// Sends requests, several at once, until so many processes have answered that were not among `before`.
    pub fn ask_until(&mut self, url: &str, count: usize, before: &BTreeSet<u32>) {
        wait_for("answers of enough processes", PATIENCE, || {
            let url = format!("{url}/pid");
            let answers: Vec<_> = std::thread::scope(|scope| {
                let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| get(&url))).collect();
                clients.into_iter().map(|client| client.join().unwrap()).collect()
            });
            for answer in &answers {
                self.note(answer);
            }
            (self.pids.difference(before).count() >= count).then_some(())
        });
    }

    pub fn add(&mut self, other: Asked) {
        self.acknowledged += other.acknowledged;
        self.failed += other.failed;
        self.pids.extend(other.pids);
    }
}

/// Clients that send requests until they are stopped.
pub struct Load {
    is_over: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeSet<u32>>>,
    clients: Vec<JoinHandle<Asked>>,
}

impl Load {
    pub fn start(url: &str, clients: usize) -> Load {
        let is_over = Arc::<AtomicBool>::default();
        let seen = Arc::<Mutex<BTreeSet<u32>>>::default();
        let client = |_| {
            let (is_over, seen, url) = (Arc::clone(&is_over), Arc::clone(&seen), url.to_owned());
            std::thread::spawn(move || {
                let mut asked = Asked::default();
                while !is_over.load(Ordering::Relaxed) {
                    asked.ask(&url);
                    seen.lock().unwrap().extend(asked.pids.iter().copied());
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                asked
            })
        };
        let clients = (0..clients).map(client).collect();
        Load { is_over, seen, clients }
    }

    /// Waits until so many processes have answered that are not among `before`.
    pub fn wait_for_new(&self, count: usize, before: &BTreeSet<u32>) {
        wait_for("answers of new processes", PATIENCE, || {
            (self.seen().difference(before).count() >= count).then_some(())
        });
    }

    /// The processes that have answered so far.
    pub fn seen(&self) -> BTreeSet<u32> {
        self.seen.lock().unwrap().clone()
    }

    pub fn stop(mut self) -> Asked {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = Asked::default();
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
