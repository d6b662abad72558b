//! Daemons, and what is left when the launcher or its command is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::abandoned::{age, wait_for_removal};
use crate::support::http::get;
use crate::support::process::{PATIENCE, Running, children, is_alive, run, signal};
use crate::support::{TestDir, multiprom, python, root, wait_for};

/// A launcher of a gunicorn site; `None` without gunicorn.
fn gunicorn(flags: &[&str], arguments: &[&str]) -> Option<Command> {
    let program = Path::new(python("newest")?.get_program()).with_file_name("gunicorn");
    let mut command = multiprom();
    command.args(["run", "--listen", "127.0.0.1:0"]).args(flags).arg("--").arg(program);
    command.args(["-w", "2", "-b", "127.0.0.1:0", "app:application"]).args(arguments);
    command.arg("--chdir").arg(root().join("tests/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
    Some(command)
}

fn pid_in(path: &Path) -> u32 {
    wait_for("the pid of a server", PATIENCE, || {
        fs::read_to_string(path).ok()?.trim().parse::<u32>().ok()
    })
}

/// Waits until gunicorn has two workers, and returns them.
fn workers(master: u32) -> Vec<u32> {
    wait_for("workers", PATIENCE, || Some(children(master)).filter(|workers| workers.len() == 2))
}

fn wait_for_end(processes: &[u32]) {
    wait_for("end of the processes", PATIENCE, || {
        (!processes.iter().any(|pid| is_alive(*pid))).then_some(())
    });
}

#[test]
fn a_gunicorn_that_daemonizes_and_is_replaced_by_usr2_is_followed_and_not_restarted() {
    let dir = TestDir::new("daemon");
    let (first, second) = (dir.path().join("pid"), dir.path().join("pid.2"));
    let log = dir.path().join("log");
    let arguments =
        ["--daemon", "-p", first.to_str().unwrap(), "--log-file", log.to_str().unwrap()];
    let flags = ["--restart", "always"];
    let Some(mut command) = gunicorn(&flags, &arguments) else { return };
    let mut launcher = Running::start(&mut command);
    let url = launcher.url();
    let master = pid_in(&first);
    workers(master);
    // A new master replaces it.
    signal(master, "USR2");
    let successor = pid_in(&second);
    let workers = workers(successor);
    signal(master, "TERM");
    wait_for_end(&[master]);
    assert!(launcher.is_running() && is_alive(successor), "{}", launcher.stderr());
    assert_eq!(get(&url).unwrap().status, 200);
    launcher.signal("TERM");
    let output = launcher.end();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("restart 1"), "{stderr}");
    wait_for_end(&[workers, vec![successor]].concat());
}

#[test]
fn nothing_is_left_when_the_launcher_and_a_gunicorn_are_killed_in_either_order() {
    let base = TestDir::new("killed-both");
    for order in ["launcher", "command"] {
        let file = base.path().join(order);
        let arguments = ["-p", file.to_str().unwrap()];
        let Some(mut command) = gunicorn(&["--die-with-parent"], &arguments) else { return };
        let mut launcher = Running::start(command.env("TMPDIR", base.path()));
        let master = pid_in(&file);
        let workers = workers(master);
        let environment = fs::read(format!("/proc/{master}/environ")).unwrap();
        let variables = environment.split(|byte| *byte == 0);
        let mut dirs = variables.filter_map(|it| it.strip_prefix(b"PROMETHEUS_MULTIPROC_DIR="));
        let dir = PathBuf::from(String::from_utf8(dirs.next().unwrap().to_vec()).unwrap());
        if order == "command" {
            // The workers of a gunicorn notice its end by themselves.
            signal(master, "KILL");
        }
        // With the flag the master gets SIGTERM.
        launcher.signal("KILL");
        launcher.wait();
        wait_for_end(&[workers, vec![master]].concat());
        assert!(dir.is_dir(), "{} is gone", dir.display());
        age(&dir);
        run(multiprom()
            .args(["run", "--listen", "127.0.0.1:0", "--", "true"])
            .env("TMPDIR", base.path()));
        wait_for_removal(&dir);
    }
}
