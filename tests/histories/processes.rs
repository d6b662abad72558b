//! Processes that execute commands: see `tests/programs/series.rs`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::model::Command;
use crate::support::process::{PATIENCE, Running, is_alive};
use crate::support::{TestDir, example, wait_for};

pub(super) struct Processes {
    /// Where the socket is.
    home: TestDir,
    dir: std::path::PathBuf,
    max: usize,
    listener: UnixListener,
    /// All that were ever started; those that are forked are children of others.
    all: Vec<Process>,
    /// Those that this process has started; they end with it.
    started: Vec<Running>,
}

struct Process {
    pid: u32,
    stream: BufReader<UnixStream>,
}

impl Processes {
    pub(super) fn new(dir: &Path, max: usize) -> Processes {
        let home = TestDir::in_memory("series-socket");
        let listener = UnixListener::bind(home.path().join("socket")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (all, started) = (Vec::new(), Vec::new());
        Processes { home, dir: dir.to_owned(), max, listener, all, started }
    }

    pub(super) fn start(&mut self) {
        let mut command = example("test-series");
        command.arg(&self.dir).arg(self.home.path().join("socket")).arg(self.max.to_string());
        self.started.push(Running::start(&mut command));
        self.accept();
    }

    /// Waits for a process that has been started or forked.
    fn accept(&mut self) {
        let stream = wait_for("connection", PATIENCE, || self.listener.accept().ok()).0;
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut process = Process { pid: 0, stream: BufReader::new(stream) };
        process.pid = process.line().parse().unwrap();
        self.all.push(process);
    }

    /// Sends a command; returns the response.
    pub(super) fn send(&mut self, process: usize, command: &Command) -> f64 {
        let stream = &mut self.all[process];
        writeln!(stream.stream.get_mut(), "{command}").unwrap();
        if matches!(command, Command::Die) {
            let pid = stream.pid;
            wait_for("end of a process", PATIENCE, || (!is_alive(pid)).then_some(()));
            return 0.0;
        }
        let response = stream.line().parse().unwrap();
        if matches!(command, Command::Fork) {
            self.accept();
        }
        response
    }
}

impl Process {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "a process has ended");
        line.trim().to_owned()
    }
}
