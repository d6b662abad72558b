//! Private directories of killed launchers: a later launcher removes those that no process uses.
#![expect(unsafe_code, reason = "locks a file")]

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::mount::{is_root, succeeds};
use crate::support::process::{NOBODY, PATIENCE, Running, is_alive, run, signal};
use crate::support::{TestDir, example, multiprom, skip, wait_for};

const LOCK_NAME: &str = ".multiprom-run.lock";
/// A launcher as root of a container, which has no CAP_LEASE.
fn container_launcher(base: &Path) -> Command {
    let capabilities = "+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap";
    let set = |name: &str| format!("--{name}=-all,{capabilities}");
    let mut command = Command::new("setpriv");
    command.env_remove("PROMETHEUS_MULTIPROC_DIR").env_remove("prometheus_multiproc_dir");
    command.args([set("bounding-set"), set("inh-caps")]).arg(multiprom().get_program());
    command.args(["run", "--listen", "127.0.0.1:0", "--", "true"]).env("TMPDIR", base);
    command
}

/// A launcher that creates its private directory in memory, and searches abandoned directories there and in `base`.
fn launcher(base: &Path, script: &str) -> Command {
    let mut command = multiprom();
    command.args(["run", "--listen", "127.0.0.1:0", "--compact", "off", "--", "sh", "-c", script]);
    command.env("TMPDIR", base);
    command
}

/// Makes a directory and its mark older than the minimum age of abandoned directories.
pub(crate) fn age(dir: &Path) {
    for path in [dir.join(LOCK_NAME), dir.to_owned()] {
        let path = path.to_str().unwrap();
        assert!(succeeds("touch", &["--no-create", "-h", "-d", "5 minutes ago", path]), "{path}");
    }
}

/// Waits until a directory is removed. A launcher of another test may have begun to remove it.
pub(crate) fn wait_for_removal(dir: &Path) {
    let what = format!("removal of {}", dir.display());
    wait_for(&what, PATIENCE, || (!dir.exists()).then_some(()));
}

/// Kills a launcher whose worker has counted and exited; returns its private directory.
fn abandon(base: &Path) -> PathBuf {
    let worker = example("test-counting").get_program().to_str().unwrap().to_owned();
    let script = format!(
        "'{worker}' $PROMETHEUS_MULTIPROC_DIR 5 && echo dir $PROMETHEUS_MULTIPROC_DIR && \
         echo pid $$ && exec sleep 600"
    );
    abandon_by(&mut launcher(base, &script))
}

/// Kills a launcher and its command, which prints the directory and its pid. Returns the directory.
fn abandon_by(launcher: &mut Command) -> PathBuf {
    let mut killed = Running::start(launcher);
    let dir = PathBuf::from(killed.line_after("dir "));
    let command: u32 = killed.line_after("pid ").parse().unwrap();
    killed.signal("KILL");
    killed.wait();
    assert!(dir.is_dir(), "{} is gone", dir.display());
    signal(command, "KILL");
    wait_for("end of the command", PATIENCE, || (!is_alive(command)).then_some(()));
    dir
}

/// Copies of an abandoned directory in `base`, each with a description of its difference.
struct Copies<'a> {
    base: &'a Path,
    original: PathBuf,
    made: Vec<(&'static str, PathBuf)>,
}

impl Copies<'_> {
    fn new(base: &Path) -> Copies<'_> {
        let (abandoned, original) = (abandon(base), base.join("original"));
        assert!(succeeds("cp", &["-a", abandoned.to_str().unwrap(), original.to_str().unwrap()]));
        fs::remove_dir_all(abandoned).unwrap();
        Copies { base, original, made: Vec::new() }
    }

    fn add(&mut self, what: &'static str, change: impl FnOnce(&Path)) -> PathBuf {
        let name = format!("multiprom-1-{:08x}", self.made.len());
        self.add_as(what, &name, change)
    }

    fn add_as(&mut self, what: &'static str, name: &str, change: impl FnOnce(&Path)) -> PathBuf {
        let dir = self.base.join(name);
        let (from, to) = (self.original.to_str().unwrap(), dir.to_str().unwrap());
        assert!(succeeds("cp", &["-a", from, to]));
        age(&dir);
        change(&dir);
        self.made.push((what, dir.clone()));
        dir
    }

    fn remove(&mut self, names: [&str; 2]) {
        for (_, dir) in self.made.extract_if(.., |(what, _)| names.contains(what)) {
            fs::remove_dir_all(dir).unwrap();
        }
    }
}

/// Takes a lock that conflicts with that of launchers.
fn lock(file: &File) {
    let lock = libc::flock {
        l_type: libc::F_RDLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the structure is valid, and the kernel only reads it.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    assert_eq!(result, 0);
}

fn counter_in(dir: &Path) -> PathBuf {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut counters = paths.filter(|path| path.to_str().unwrap().contains("/counter_"));
    counters.next().unwrap()
}

/// Counts the directories in `base` that a launcher has logged as removed. It may also have removed directories of
/// other tests.
fn removed_from(base: &Path, stderr: &str) -> usize {
    let start = format!("multiprom: removed `{}/multiprom-", base.display());
    let end = "`, which a killed process had left behind";
    stderr.lines().filter(|line| line.starts_with(&start) && line.ends_with(end)).count()
}

#[test]
fn the_directory_of_a_killed_launcher_is_removed_by_a_later_one() {
    let base = TestDir::new("abandoned");
    let dir = abandon(base.path());
    run(&mut launcher(base.path(), "true"));
    assert!(dir.is_dir(), "{} was removed within a minute", dir.display());
    age(&dir);
    run(&mut container_launcher(base.path()));
    wait_for_removal(&dir);

    // Every launcher removes abandoned directories, whichever directory it uses.
    let mut copies = Copies::new(base.path());
    for flags in [&[][..], &["--dir", base.path().join("own").to_str().unwrap()]] {
        let dir = copies.add("abandoned", |_| {});
        let mut command = multiprom();
        command.args(["run", "--listen", "127.0.0.1:0"]).args(flags).args(["--", "true"]);
        let outcome = run(command.env("TMPDIR", base.path()));
        assert_eq!(removed_from(base.path(), &outcome.stderr), 1, "{}", outcome.stderr);
        assert!(outcome.status == 0 && !dir.exists());
    }
}

#[test]
fn an_abandoned_directory_of_another_user_is_removed() {
    if !is_root() || multiprom().arg("--version").uid(NOBODY).output().is_err() {
        return skip(
            "only root can become another user, who must be able to run the built programs",
        );
    }
    let base = TestDir::new("given-away");
    let worker = example("test-counting").get_program().to_str().unwrap().to_owned();
    let script = format!(
        "setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups '{worker}' \
         $PROMETHEUS_MULTIPROC_DIR 5 && echo dir $PROMETHEUS_MULTIPROC_DIR && echo pid $$ && \
         exec sleep 600"
    );
    let dir = abandon_by(multiprom().args(["run", "--listen", "127.0.0.1:0"]).args([
        "--dir-owner",
        "nobody",
        "--",
        "sh",
        "-c",
        &script,
    ]));
    age(&dir);
    run(&mut container_launcher(base.path()));
    wait_for_removal(&dir);
}

#[test]
fn only_unused_directories_of_launchers_are_removed() {
    let base = TestDir::new("not-abandoned");
    let elsewhere = TestDir::new("elsewhere");
    let mut copies = Copies::new(base.path());
    let mark = |dir: &Path| dir.join(LOCK_NAME);

    copies.add("the mark is from the future", |dir| {
        assert!(succeeds("touch", &["-d", "tomorrow", mark(dir).to_str().unwrap()]));
    });
    // Not the private directory of a launcher.
    copies.add("no mark", |dir| {
        fs::remove_file(mark(dir)).unwrap();
        age(dir);
    });
    copies.add("the lock file of a launcher with --dir", |dir| {
        fs::write(mark(dir), "").unwrap();
        age(dir);
    });
    copies.add("the mark is a link", |dir| {
        fs::rename(mark(dir), elsewhere.path().join("mark")).unwrap();
        symlink(elsewhere.path().join("mark"), mark(dir)).unwrap();
        age(dir);
    });
    copies.add("the mark has two names", |dir| {
        fs::hard_link(mark(dir), elsewhere.path().join("second")).unwrap();
        age(dir);
    });
    for name in ["multiprom-1-0000", "multiprom-x-00000000", "other-1-00000000", "multiprom-1"] {
        copies.add_as("another name", name, |_| {});
    }
    if is_root() {
        copies.add("another user's mark", |dir| chown(mark(dir), Some(NOBODY), None).unwrap());
        copies.add("another user's directory", |dir| chown(dir, Some(NOBODY), None).unwrap());
    } else {
        skip("only root can give files away");
    }
    let target = elsewhere.path().join("multiprom-1-0000abcd");
    assert!(succeeds("cp", &["-a", copies.original.to_str().unwrap(), target.to_str().unwrap()]));
    age(&target);
    let link = base.path().join("multiprom-1-0000abcd");
    symlink(&target, &link).unwrap();
    // In use.
    let mut held = Vec::new();
    copies.add("a process writes to a file", |dir| {
        held.push(File::options().append(true).open(counter_in(dir)).unwrap());
    });
    copies.add("a process writes to a retired file", |dir| {
        fs::create_dir(dir.join("retired")).unwrap();
        let counter = dir.join("retired/counter_1.db");
        fs::copy(counter_in(dir), &counter).unwrap();
        held.push(File::options().append(true).open(counter).unwrap());
        age(dir);
    });
    copies.add("a series file is a link", |dir| {
        symlink(counter_in(dir), dir.join("counter_7.db")).unwrap();
        age(dir);
    });
    copies.add("another launcher holds the lock", |dir| {
        held.push(File::options().read(true).open(mark(dir)).unwrap());
        lock(held.last().unwrap());
    });
    let mut sleeping = Vec::new();
    for variable in ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"] {
        let dir = copies.add("a process was started with it", |_| {});
        let mut command = Command::new("cat");
        sleeping.push(Running::start(command.env(variable, dir)));
    }
    let worker = copies.add("a worker lives", |dir| {
        let mut worker = example("test-counting");
        let mut worker = Running::start(worker.arg(dir).args(["1", "hold"]));
        worker.line_after("ready");
        age(dir);
        sleeping.push(worker);
    });
    // The directory or its mark was changed within the last minute.
    copies.add("a file was just created", |dir| fs::write(dir.join("new"), "").unwrap());
    copies.add("the mark was just written", |dir| {
        let text = fs::read(mark(dir)).unwrap();
        fs::write(mark(dir), text).unwrap();
    });

    let outcome = run(&mut launcher(base.path(), "true"));
    for (what, dir) in &copies.made {
        assert!(dir.is_dir(), "{what}: {}", outcome.stderr);
        assert!(counter_in(dir).exists(), "{what}: {}", outcome.stderr);
    }
    assert!(link.is_symlink() && counter_in(&target).exists());
    assert_eq!(removed_from(base.path(), &outcome.stderr), 0, "{}", outcome.stderr);

    // They are removed when no process uses them any more.
    drop(held);
    for mut program in sleeping {
        drop(program.stdin());
        program.end();
    }
    // In the time that the loop may take these become old.
    copies.remove(["a file was just created", "the mark was just written"]);
    // A child of another test may have a copy of a descriptor until it executes its program.
    let mut removed = 0;
    wait_for("removal of six directories", PATIENCE, || {
        let outcome = run(&mut launcher(base.path(), "true"));
        removed += removed_from(base.path(), &outcome.stderr);
        let left: Vec<&str> =
            copies.made.iter().filter(|(_, dir)| dir.exists()).map(|(it, _)| *it).collect();
        assert!(!worker.exists(), "{}", outcome.stderr);
        assert!(removed <= 6, "{left:?}: {}", outcome.stderr);
        (removed == 6).then_some(())
    });
    assert_eq!(copies.made.iter().filter(|(_, dir)| dir.exists()).count(), copies.made.len() - 6);
}
