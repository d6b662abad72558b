//! Child processes: start, output, signals and end.

use std::io::{BufRead as _, BufReader, PipeReader, Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{fresh, skip, wait_for};

/// Limit for whatever must happen in the end, such as the start or the end of a program. On a busy machine a process may
/// wait for seconds before it runs. No test needs this time unless it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Removes the log lines about private directories that are not of this test: each launcher removes those of all launchers
/// that were killed, also in other tests. Tests of these lines use a temporary directory of their own.
fn of_this_test(text: &str) -> String {
    let parents = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    let is_of_another = |line: &&str| {
        let removed = line.split_once("removed `").and_then(|(_, rest)| {
            rest.split_once("`, which a killed process had left behind").map(|(path, _)| path)
        });
        removed.is_some_and(|path| {
            parents.iter().any(|parent| Path::new(path).parent() == Some(parent))
        })
    };
    text.split_inclusive('\n').filter(|line| !is_of_another(line)).collect()
}

/// A running program. Threads collect its output. It is ended on drop.
pub struct Running {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        Running::start_with_stdin(command, Stdio::piped())
    }

    pub fn start_with_stdin(command: &mut Command, stdin: Stdio) -> Running {
        let command = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let readers = vec![
            collect(child.stdout.take().unwrap(), Arc::clone(&stdout)),
            collect(child.stderr.take().unwrap(), Arc::clone(&stderr)),
        ];
        Running { child, stdout, stderr, readers }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// The standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Takes the writing end of its standard input. Dropping it ends the input.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Waits for `mark` in the output; returns the rest of its line.
    pub fn line_after(&mut self, mark: &str) -> String {
        wait_for(&format!("`{mark}` in the output"), PATIENCE, || {
            // The output is complete when it was read to its end, which descendants of the program may delay.
            let is_complete = self.readers.iter().all(JoinHandle::is_finished);
            let text = self.stdout() + &self.stderr();
            let found = text.lines().find_map(|line| line.split_once(mark));
            let found = found.map(|(_, rest)| rest.trim().to_owned());
            assert!(found.is_some() || !is_complete, "no `{mark}` in the whole output:\n{text}");
            found
        })
    }

    /// The URL of the metrics, which `serve` and `run` log.
    pub fn url(&mut self) -> String {
        self.line_after("multiprom: serving ")
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal; `name` has no `SIG`.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits for its end; returns its status and output.
    pub fn end(mut self) -> Output {
        let status = self.wait();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Output { status, stdout: self.stdout().into_bytes(), stderr: self.stderr().into_bytes() }
    }

    pub fn wait(&mut self) -> ExitStatus {
        wait_for("end of the program", PATIENCE, || self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // A launcher ends its descendants when it is terminated.
        signal(self.id(), "TERM");
        for _ in 0..300 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        // If it hangs, its descendants must not disturb other tests.
        for pid in descendants(self.id()) {
            signal(pid, "KILL");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The children of a process, in the order of their creation.
pub fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// The descendants of a process, the deepest first.
fn descendants(pid: u32) -> Vec<u32> {
    let children = children(pid);
    let mut all: Vec<u32> = children.iter().flat_map(|child| descendants(*child)).collect();
    all.extend(children);
    all
}

fn collect(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(from.read_until(b'\n', &mut line), Ok(count) if count > 0) {
            into.lock().unwrap().push_str(&of_this_test(&String::from_utf8_lossy(&line)));
            line.clear();
        }
    })
}

/// A program whose standard error is a full pipe that is not read. It is killed on drop.
pub struct Unread {
    child: Child,
    _reader: PipeReader,
}

impl Unread {
    pub fn start(command: &mut Command) -> Unread {
        let (reader, mut writer) = std::io::pipe().unwrap();
        // SAFETY: takes numbers only.
        let len = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) };
        writer.write_all(&vec![b'x'; len as usize]).unwrap();
        Unread { child: command.stderr(writer).spawn().unwrap(), _reader: reader }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn wait(&mut self) -> ExitStatus {
        wait_for("end of the program", PATIENCE, || self.child.try_wait().unwrap())
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to one process.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("sh").arg("-c").arg(format!("kill -s {name} {pid} 2>&-")).status();
}

/// The status and the output of a command that exits by itself.
pub struct Outcome {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Outcome {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome {
        status: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: of_this_test(&text(output.stderr)),
    }
}

/// The uid and gid of the user `nobody`.
pub const NOBODY: u32 = 65534;

/// `unshare` into a new pid namespace. The caller appends the program.
pub fn unshare_pids() -> Command {
    let mut command = fresh(Command::new("unshare"));
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
}

/// Whether this process can create pid namespaces.
pub fn can_unshare_pids() -> bool {
    let status = unshare_pids().arg("true").stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A program in a new pid namespace. Returns `None` if that cannot be created: the test is then counted as skipped.
pub fn in_pid_namespace(program: &Command) -> Option<Command> {
    if !can_unshare_pids() {
        skip("no pid namespace can be created here");
        return None;
    }
    let mut command = unshare_pids();
    command.arg(program.get_program()).args(program.get_args());
    Some(command)
}

/// Whether a process exists and is not a zombie.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Whether a process sleeps in the kernel.
pub fn is_asleep(pid: u32) -> bool {
    state(pid) == Some('S')
}

/// The state of a process in proc_pid_stat(5). The name before it may be cut within a character.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    String::from_utf8_lossy(&stat).rsplit_once(") ")?.1.chars().next()
}

/// Processes with the argument `text`.
pub fn processes_with_argument(text: &str) -> Vec<u32> {
    let names = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        is_alive(*pid) && line.split(|byte| *byte == 0).any(|word| word == text.as_bytes())
    })
    .collect()
}
