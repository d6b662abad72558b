//! Readers that neither own the files nor have CAP_LEASE, so that the kernel grants them no lease.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use multiprom::GaugeMode;
use multiprom::inspect::{Liveness, list_files};

use crate::support::http::{scrape, sum_of};
use crate::support::mount::{is_root, succeeds};
use crate::support::process::{
    Outcome, PATIENCE, Running, can_unshare_pids, is_alive, run, signal, unshare_pids,
};
use crate::support::survivor::{ControlledWorker, merged, sum, survivor, value};
use crate::support::{self, TestDir, multiprom, root, skip, wait_for};

/// The workers' user and group.
const WORKER: u32 = 1000;
/// The user of a reader in the workers' group.
const READER: u32 = 1001;

/// The default capabilities of root in a container. CAP_LEASE is not among them.
const CONTAINER: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
                         +net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

/// The identity of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// Root in a container.
    ContainerRoot,
    /// Root in a container without CAP_SETUID.
    WithoutSetuid,
    /// A user of the workers' group.
    Group,
    /// Root of a user namespace that lacks the workers' user.
    UserNamespace,
}

impl Reader {
    /// `multiprom` with arguments separated by spaces, and a directory.
    fn command(self, arguments: &str, dir: &Path) -> Command {
        let options: Vec<String> = match self {
            Reader::ContainerRoot => confined(CONTAINER),
            Reader::WithoutSetuid => confined(&format!("{CONTAINER},-setuid")),
            Reader::Group => as_user(READER),
            Reader::UserNamespace => {
                ["unshare", "--user", "--map-root-user"].map(str::to_owned).to_vec()
            }
        };
        let mut command = Command::new(&options[0]);
        command.args(&options[1..]).arg(multiprom().get_program());
        command.args(arguments.split(' ')).arg("--dir").arg(dir);
        command.env_remove("PROMETHEUS_MULTIPROC_DIR").env_remove("prometheus_multiproc_dir");
        command
    }

    fn serve(self, arguments: &str, dir: &Path) -> Running {
        let arguments = format!("serve --listen 127.0.0.1:0 {arguments}");
        Running::start(&mut self.command(arguments.trim(), dir))
    }

    fn run(self, arguments: &str, dir: &Path) -> Outcome {
        run(&mut self.command(arguments, dir))
    }
}

/// The command that changes to a user of the workers' group.
fn as_user(user: u32) -> Vec<String> {
    let (user, group) = (format!("--reuid={user}"), format!("--regid={WORKER}"));
    vec!["setpriv".to_owned(), user, group, "--clear-groups".to_owned()]
}

/// The command that restricts root to some capabilities.
fn confined(capabilities: &str) -> Vec<String> {
    let set = |name: &str| format!("--{name}={capabilities}");
    vec!["setpriv".to_owned(), set("bounding-set"), set("inh-caps")]
}

/// A directory of the workers' user that its group can read, or `None` if these tests cannot run here.
fn directory(name: &str) -> Option<TestDir> {
    let dir = TestDir::in_memory(name);
    chown(dir.path(), Some(WORKER), Some(WORKER)).ok()?;
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let as_worker = |command: &mut Command| {
        let command = command.uid(WORKER).gid(WORKER).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok()
    };
    if !is_root() || !as_worker(multiprom().arg("--version")) {
        skip("another user cannot run the command here");
        return None;
    }
    let options = confined(CONTAINER);
    let options: Vec<&str> = options[1..].iter().map(String::as_str).chain(["true"]).collect();
    if !succeeds("setpriv", &options) {
        skip("setpriv cannot drop capabilities here");
        return None;
    }
    Some(dir)
}

/// A worker of another user that has recorded, and whose files the group can read.
fn worker(dir: &Path) -> ControlledWorker {
    let mut command = survivor("commands", dir);
    command.args(["-", "group"]).uid(WORKER).gid(WORKER);
    let mut worker = ControlledWorker::start(&mut command);
    worker.execute("record");
    worker
}

/// Number of files of a worker.
const FILES: usize = 8;

/// A process of the Python client that has recorded, and whose files belong to another user. It runs as root, as other
/// users may not have access to the interpreter.
fn python(dir: &Path) -> Option<Running> {
    let mut program = support::python("newest")?;
    program.arg(root().join("tests/python/counting.py")).arg(dir).args(["2", "hold"]);
    let mut program = Running::start(&mut program);
    program.line_after("ready");
    let id = program.id().to_string();
    for file in list_files(dir).unwrap().iter().filter(|file| file.id == id) {
        chown(&file.path, Some(WORKER), Some(WORKER)).unwrap();
    }
    Some(program)
}

fn kill(program: &mut Running) {
    program.signal("KILL");
    program.wait();
}

/// The number of series with a name.
fn series(text: &str, name: &str) -> usize {
    text.lines().filter(|line| line.starts_with(&format!("{name}{{"))).count()
}

fn files(text: &str, state: &str) -> f64 {
    value(text, &format!("multiprom_files{{state=\"{state}\"}}"))
}

/// The log lines about unknown liveness.
fn unknown_lines(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("cannot tell whether")).collect()
}

/// Waits for `text` in the log of a program; returns the log.
fn log_with(program: &Running, text: &str) -> String {
    wait_for(text, PATIENCE, || Some(program.stderr()).filter(|log| log.contains(text)))
}

/// The column STATE in a table of `ls`, for files of multiprom.
fn states(table: &str) -> Vec<&str> {
    let own = table.lines().skip(1).filter(|line| line.contains(" own "));
    own.map(|line| line.split_whitespace().nth(3).unwrap()).collect()
}

#[test]
fn root_of_a_container_detects_dead_workers_of_another_user_and_compacts_their_files() {
    let Some(dir) = directory("container") else { return };
    let dir = dir.path();
    let (mut killed, mut living) = (worker(dir), worker(dir));
    let python = python(dir);
    let mut server = Reader::ContainerRoot.serve("--compact all", dir);
    let url = server.url();
    let text = scrape(&url);
    assert_eq!(series(&text, "level_liveall"), 2, "{text}");
    assert_eq!(files(&text, "alive") as usize, list_files(dir).unwrap().len());
    if let Some(mut python) = python {
        assert_eq!(sum_of(&text, "py_queue_livesum_ratio"), 2.0);
        kill(&mut python);
    }
    kill(&mut killed.program);
    wait_for("live gauges of the dead to disappear", PATIENCE, || {
        let text = scrape(&url);
        assert_eq!(files(&text, "unknown"), 0.0, "{text}");
        let is_gone = series(&text, "level_liveall") == 1 && !text.contains("py_queue_livesum");
        is_gone.then_some(())
    });
    wait_for("compaction", PATIENCE, || (list_files(dir).unwrap().len() == FILES).then_some(()));
    living.execute("record");
    let text = scrape(&url);
    assert_eq!((sum_of(&text, "plain_total"), files(&text, "dead")), (3.0, 0.0));
    assert_eq!(sum_of(&text, "py_jobs_total"), sum(dir, "py_jobs_total"));
    assert_eq!(server.stderr(), format!("multiprom: serving {url}\n"));
    assert_identity_is_restored(server.id());

    kill(&mut living.program);
    server.signal("TERM");
    server.end();
    let mut server = Reader::ContainerRoot.serve("--reset", dir);
    let text = scrape(&server.url());
    assert_eq!(sum_of(&text, "plain_total"), 0.0, "{text}");
    assert!(list_files(dir).unwrap().is_empty());
}

/// Asserts that each thread of a process accesses files as root, and that the thread that takes leases blocks signals. That
/// thread may be taking one for the compactor, and is root again afterwards.
fn assert_identity_is_restored(pid: u32) {
    wait_for("the identity of root", PATIENCE, || {
        let (mut lease_threads, mut is_restored) = (0, true);
        for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            // A thread that gathers may have ended.
            let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else {
                continue;
            };
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
            };
            let is_root = field("Uid:") == ["0"; 4];
            if field("Name:") == ["multiprom-lease"] {
                lease_threads += 1;
                is_restored &= is_root;
                // All signals but SIGKILL, SIGSTOP and those that the C library reserves.
                let blocked = u64::from_str_radix(&field("SigBlk:")[0], 16).unwrap();
                assert_eq!(!blocked & !(0b11 << 31), (1 << 8) | (1 << 18), "{status}");
            } else {
                assert!(is_root, "{status}");
            }
        }
        assert_eq!(lease_threads, 1);
        is_restored.then_some(())
    });
}

#[test]
fn leases_taken_as_the_owner_end_at_once_and_keep_the_parent_death_signal() {
    let Some(dir) = directory("parent") else { return };
    let dir = dir.path();
    for _ in 0..3 {
        kill(&mut worker(dir).program);
    }
    let server = Reader::ContainerRoot.command("serve --compact off --listen 127.0.0.1:0", dir);
    let mut shell = Command::new("sh");
    shell.args(["-c", "setpriv --pdeathsig KILL \"$@\" & echo started $!; wait", "sh"]);
    let mut shell = Running::start(shell.arg(server.get_program()).args(server.get_args()));
    let server: u32 = shell.line_after("started ").parse().unwrap();
    let url = shell.url();
    for _ in 0..3 {
        assert_eq!(files(&scrape(&url), "dead") as usize, 3 * FILES);
    }
    assert_identity_is_restored(server);
    for file in list_files(dir).unwrap() {
        // If a lease were still held, this would wait or fail.
        let opened = fs::OpenOptions::new().write(true).open(&file.path);
        assert!(opened.is_ok(), "{opened:?}");
    }
    shell.signal("KILL");
    wait_for("end of the exporter", PATIENCE, || (!is_alive(server)).then_some(()));
}

#[test]
fn root_of_a_container_marks_no_living_process_dead() {
    let Some(dir) = directory("mark") else { return };
    let dir = dir.path();
    let Some(mut python) = python(dir) else { return };
    let pid = python.id();
    let mark = || Reader::ContainerRoot.run(&format!("mark-process-dead {pid}"), dir);
    assert_eq!(mark().status, 0);
    assert_eq!(sum(dir, "py_queue_livesum_ratio"), 2.0);
    kill(&mut python);
    let live_gauges = || {
        let files = list_files(dir).unwrap();
        files.iter().filter(|file| file.mode.is_some_and(GaugeMode::is_live)).count()
    };
    assert_eq!(live_gauges(), 2);
    assert_eq!(mark().status, 0);
    assert_eq!(live_gauges(), 0);
}

#[test]
fn a_reader_of_the_group_hides_live_gauges_with_free_locks_and_reports_unknown_files() {
    let Some(dir) = directory("group") else { return };
    let dir = dir.path();
    let (mut first, mut second) = (worker(dir), worker(dir));
    let mut server = Reader::Group.serve("--compact off", dir);
    let url = server.url();
    assert_eq!(series(&scrape(&url), "level_liveall"), 2);
    kill(&mut first.program);
    let text = scrape(&url);
    assert_eq!(series(&text, "level_liveall"), 1, "{text}");
    // The locks of other files are checked every five seconds.
    wait_for("death of all files", PATIENCE, || {
        let text = scrape(&url);
        assert_eq!(files(&text, "unknown"), 0.0);
        ([8.0, 8.0] == ["alive", "dead"].map(|state| files(&text, state))).then_some(())
    });
    assert_eq!(sum_of(&text, "plain_total"), 2.0);
    let outcome = Reader::Group.run("ls", dir);
    let mut known = states(&outcome.stdout);
    known.sort_unstable();
    assert_eq!((known, &*outcome.stderr), ([["alive"; FILES], ["dead"; FILES]].concat(), ""));
    kill(&mut second.program);
    let text = scrape(&url);
    assert_eq!((series(&text, "level_liveall"), files(&text, "unknown")), (0, 0.0), "{text}");
    assert_eq!(unknown_lines(&server.stderr()), [""; 0]);

    // This reader has never seen a held lock in the directory.
    let outcome = Reader::Group.run("dump", dir);
    assert_eq!(series(&outcome.stdout, "level_liveall"), 0, "{}", outcome.stdout);
    assert_eq!(files(&outcome.stdout, "unknown"), 16.0);
    assert_eq!(unknown_lines(&outcome.stderr).len(), 1, "{}", outcome.stderr);
    let outcome = Reader::Group.run("ls", dir);
    assert_eq!(states(&outcome.stdout), ["unknown"; 2 * FILES]);
    assert_eq!(unknown_lines(&outcome.stderr).len(), 1, "{}", outcome.stderr);

    // Files without a lock.
    let Some(mut python) = python(dir) else { return };
    kill(&mut python);
    for _ in 0..3 {
        let text = scrape(&url);
        assert_eq!(sum_of(&text, "py_queue_livesum_ratio"), 2.0);
        assert_eq!(files(&text, "unknown") as usize, list_files(dir).unwrap().len() - 16);
    }
    let log = log_with(&server, "cannot tell whether");
    let lines = unknown_lines(&log);
    assert_eq!(lines.len(), 1, "{log}");
    for part in ["uid 1000", "CAP_LEASE", "CAP_SETUID"] {
        assert!(lines[0].contains(part), "{log}");
    }
}

#[test]
fn a_free_lock_permits_compaction_and_reset_only_where_another_lock_is_held() {
    let Some(dir) = directory("lock-alone") else { return };
    let dir = dir.path();
    let reader = Reader::WithoutSetuid;
    let (mut first, mut second) = (worker(dir), worker(dir));
    kill(&mut first.program);
    let outcome = reader.run("compact --own", dir);
    assert_eq!(
        (outcome.status, &*outcome.stdout, &*outcome.stderr),
        (0, "8 files compacted\n", "")
    );
    assert_eq!(list_files(dir).unwrap().len(), FILES);
    second.execute("record");
    assert_eq!(sum(dir, "plain_total"), 3.0);

    kill(&mut worker(dir).program);
    let mut server = reader.serve("--reset", dir);
    // The reset has removed the archive and the files of the ended worker.
    assert_eq!(sum_of(&scrape(&server.url()), "plain_total"), 2.0);
    assert_eq!(unknown_lines(&server.stderr()), [""; 0]);
    drop(server);

    kill(&mut second.program);
    for arguments in ["compact", "compact --own"] {
        let outcome = reader.run(arguments, dir);
        assert_eq!(outcome.status, 0);
        assert_eq!(outcome.stdout, "0 files compacted, 8 left because their writers may live\n");
        assert_eq!(unknown_lines(&outcome.stderr).len(), 1, "{}", outcome.stderr);
    }
    let mut server = reader.serve("--reset", dir);
    let left = server.line_after("files stay after the reset");
    assert_eq!(left, "because their writers may live");
    assert_eq!(sum_of(&scrape(&server.url()), "plain_total"), 2.0);
    log_with(&server, ": 8 files stay");
    drop(server);
    let mut launcher = reader.command("run --listen 127.0.0.1:0", dir);
    let outcome = run(launcher.args(["--", "true"]));
    assert!(outcome.status == 0 && outcome.stderr.contains(": 8 files stay"), "{}", outcome.stderr);
    assert_eq!(sum(dir, "plain_total"), 2.0);
}

#[test]
fn children_of_a_clone_and_of_a_fork_without_handlers_keep_their_parent_alive_by_the_lock_alone() {
    for how in ["clone", "_Fork"] {
        let Some(dir) = directory("children") else { return };
        let dir = dir.path();
        let (mut parent, living) = (worker(dir), worker(dir));
        parent.execute(&format!("clone {how}"));
        let child = parent.program.line_after("cloned ");
        if child == "none" {
            skip("the C library has no _Fork");
            continue;
        }
        let child: u32 = child.parse().unwrap();
        kill(&mut parent.program);
        let outcome = Reader::WithoutSetuid.run("ls", dir);
        let is_seen = states(&outcome.stdout) == ["alive"; 2 * FILES];
        let compacted = Reader::WithoutSetuid.run("compact", dir).stdout;
        signal(child, "KILL");
        assert!(is_seen, "{how}: {}", outcome.stdout);
        assert_eq!(compacted, "0 files compacted\n", "{how}");
        wait_for("end of the child", PATIENCE, || (!is_alive(child)).then_some(()));
        let outcome = Reader::WithoutSetuid.run("compact", dir);
        assert_eq!(outcome.stdout, "8 files compacted\n", "{how}: {}", outcome.stderr);
        assert_eq!(sum(dir, "plain_total"), 2.0, "{how}");
        living.end();
    }
}

/// A worker that writes through an overlay, and the path of its directory in the upper directory.
fn in_overlay(dir: &Path) -> Option<(ControlledWorker, PathBuf)> {
    let [lower, upper, work, point] = ["lower", "upper", "work", "point"].map(|it| dir.join(it));
    for path in [&lower, &upper, &work, &point] {
        fs::create_dir(path).unwrap();
    }
    let app = upper.join("app");
    fs::create_dir(&app).unwrap();
    chown(&app, Some(WORKER), Some(WORKER)).unwrap();
    fs::set_permissions(&app, Permissions::from_mode(0o755)).unwrap();
    let (lower, upper, work) = (lower.display(), upper.display(), work.display());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let mount = format!("mount -t overlay -o {options} overlay {}", point.display());
    let drop = as_user(WORKER).join(" ");
    if !succeeds("unshare", &["-m", "sh", "-c", &mount]) {
        skip("an overlayfs cannot be mounted here");
        return None;
    }
    let program = survivor("commands", &point.join("app"));
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &format!("{mount} && exec {drop} \"$@\""), "sh"]);
    command.arg(program.get_program()).args(program.get_args()).args(["-", "group"]);
    let mut worker = ControlledWorker::start(&mut command);
    worker.execute("record");
    Some((worker, app))
}

#[test]
fn readers_of_the_upper_directory_of_an_overlay_remove_nothing_of_living_workers() {
    let Some(dir) = directory("overlay") else { return };
    let Some((mut worker, app)) = in_overlay(dir.path()) else { return };
    // The locks are on files of the overlay. Leases show that the file in the upper directory is open.
    let state = |reader: Reader| reader.run("ls", &app).stdout;
    assert_eq!(states(&state(Reader::ContainerRoot)), ["alive"; FILES]);
    assert_eq!(states(&state(Reader::WithoutSetuid)), ["unknown"; FILES]);
    for arguments in ["compact", "compact --own"] {
        let outcome = Reader::WithoutSetuid.run(arguments, &app);
        assert_eq!(outcome.stdout, "0 files compacted, 8 left because their writers may live\n");
    }
    let mut server = Reader::WithoutSetuid.serve("--reset --compact all", &app);
    let url = server.url();
    assert_eq!(sum_of(&scrape(&url), "plain_total"), 1.0);
    assert_eq!(files(&scrape(&url), "unknown") as usize, FILES);
    // A file that changes although its lock is free shows that locks are not visible here.
    let mut recorded = 1.0;
    wait_for("live gauges of the living worker", PATIENCE, || {
        worker.execute("record");
        recorded += 1.0;
        let text = scrape(&url);
        assert_eq!(sum_of(&text, "plain_total"), recorded);
        (sum_of(&text, "level_liveall") == recorded).then_some(())
    });
    let log = log_with(&server, "changes although its lock is free");
    assert_eq!(log.matches("changes although its lock is free").count(), 1, "{log}");
    assert_eq!(unknown_lines(&log).len(), 1 + 1, "one of the reset, one of the exporter\n{log}");
    drop(server);
    worker.end();
    assert_eq!(sum(&app, "plain_total"), recorded);
}

#[test]
fn a_held_lock_of_one_writer_is_no_proof_that_a_writer_without_a_visible_lock_is_dead() {
    let Some(dir) = directory("mixed") else { return };
    let Some((mut hidden, app)) = in_overlay(dir.path()) else { return };
    let seen = worker(&app);
    let mut compactor = Running::start(&mut Reader::WithoutSetuid.command("compact --own", &app));
    // Only one of its files changes, and not the first one.
    let mut recent = 0;
    while compactor.is_running() {
        recent += 1;
        assert!(recent < 1_000, "the command does not exit");
        hidden.execute(&format!("recent {recent}"));
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let output = compactor.end();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout, "0 files compacted, 8 left because their writers may live\n");
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("changes although its lock is free"), "{log}");
    assert_eq!(list_files(&app).unwrap().len(), 2 * FILES);
    seen.end();
    hidden.end();
}

#[test]
fn root_of_a_user_namespace_relies_on_locks_and_reports_unknown_files() {
    let Some(dir) = directory("user-namespace") else { return };
    let dir = dir.path();
    if !succeeds("unshare", &["--user", "--map-root-user", "true"]) {
        return skip("no user namespaces here");
    }
    let (mut killed, living) = (worker(dir), worker(dir));
    kill(&mut killed.program);
    let python = python(dir).map(|mut python| kill(&mut python));
    for file in list_files(dir).unwrap() {
        fs::set_permissions(&file.path, Permissions::from_mode(0o644)).unwrap();
    }
    let outcome = Reader::UserNamespace.run("dump", dir);
    assert_eq!(series(&outcome.stdout, "level_liveall"), 1, "{}", outcome.stdout);
    assert_eq!(files(&outcome.stdout, "dead") as usize, FILES);
    let lines = unknown_lines(&outcome.stderr);
    assert_eq!(lines.len(), usize::from(python.is_some()), "{}", outcome.stderr);
    assert!(lines.iter().all(|line| line.contains("uid 65534")), "{lines:?}");
    assert_eq!(files(&outcome.stdout, "unknown") > 0.0, python.is_some());
    living.end();
}

#[test]
fn root_of_a_container_compacts_files_of_two_pid_namespaces() {
    let Some(dir) = directory("pid-namespaces") else { return };
    let dir = dir.path();
    if !can_unshare_pids() {
        return skip("no pid namespace can be created here");
    }
    let start = || {
        let program = survivor("commands", dir);
        let mut command = unshare_pids();
        command.args(as_user(WORKER));
        command.arg(program.get_program()).args(program.get_args()).args(["-", "group"]);
        let mut worker = ControlledWorker::start(&mut command);
        worker.execute("record");
        worker
    };
    let (first, mut second) = (start(), start());
    let files = list_files(dir).unwrap();
    assert!(files.iter().all(|file| file.id.starts_with("1-")), "{files:#?}");
    let compact = || Reader::ContainerRoot.run("compact", dir).stdout;
    assert_eq!(compact(), "0 files compacted\n");
    assert!(first.end().status.success());
    assert_eq!(compact(), "8 files compacted\n");
    second.execute("record");
    assert_eq!(sum(dir, "plain_total"), 3.0);
    assert_eq!(series(&merged(dir), "level_liveall"), 1);
    assert!(list_files(dir).unwrap().iter().all(|file| file.liveness == Liveness::Alive));
    assert!(second.end().status.success());
    assert_eq!(compact(), "8 files compacted\n");
    assert_eq!(sum(dir, "plain_total"), 3.0);
}
