//! `--signal-group`: signals to the whole process group of the command, and the terminal.
#![expect(unsafe_code, reason = "a pseudoterminal")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::ptr;
use std::sync::{Arc, Mutex};

use super::launcher;
use crate::support::process::{PATIENCE, Running, is_alive, signal};
use crate::support::{fresh, multiprom, wait_for};

/// Both processes report the signal; the command only ends when its child has.
const PAIR: &str = "sh -c 'trap \"echo child got it; exit\" USR1; trap \"exit\" TERM; echo ready; \
                    while :; do sleep 0.1; done' & child=$!; \
                    trap 'echo command got it; kill -s TERM $child' USR1; echo waiting; \
                    while kill -s 0 $child 2>&-; do wait; done; exit 9";

#[test]
fn signals_reach_the_command_or_with_signal_group_each_process_of_its_group() {
    for (flags, expected) in [(&[][..], false), (&["--signal-group"], true)] {
        let mut launcher = Running::start(&mut launcher(flags, PAIR));
        launcher.line_after("ready");
        launcher.line_after("waiting");
        launcher.signal("USR1");
        let output = launcher.end();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(9), "{stdout}");
        assert!(stdout.contains("command got it"), "{stdout}");
        assert_eq!(stdout.contains("child got it"), expected, "{stdout}");
    }
}

#[test]
fn with_signal_group_orphans_get_signals_in_their_own_groups() {
    let script = "setsid sh -c 'sleep 600 & echo pid-$!; wait' & exit 6";
    let mut launcher = Running::start(&mut launcher(&["--signal-group"], script));
    let sleeping: u32 = launcher.line_after("pid-").parse().unwrap();
    wait_for("only the orphan", PATIENCE, || {
        let children = crate::support::process::children(launcher.id());
        let is_orphan = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            // The group is the process itself.
            after_name.split(' ').nth(2) == Some(&pid.to_string())
        };
        (children.len() == 1 && is_orphan(children[0]) && launcher.stdout().contains("pid-"))
            .then_some(())
    });
    launcher.signal("TERM");
    assert_eq!(launcher.end().status.code(), Some(6));
    assert!(!is_alive(sleeping));
}

/// A shell with job control on a terminal.
struct Shell {
    child: Child,
    terminal: File,
    output: Arc<Mutex<String>>,
}

impl Shell {
    fn start() -> Shell {
        let (mut master, mut slave) = (-1, -1);
        // SAFETY: both numbers are writable, and the other arguments may be null.
        let result = unsafe {
            libc::openpty(
                &raw mut master,
                &raw mut slave,
                ptr::null_mut(),
                ptr::null(),
                ptr::null(),
            )
        };
        assert_eq!(result, 0);
        // SAFETY: opened by the call, and owned by nothing else.
        let terminal = unsafe { File::from_raw_fd(master) };
        // SAFETY: opened by the call, and owned by nothing else.
        let slave = unsafe { OwnedFd::from_raw_fd(slave) };
        let mut command = fresh(Command::new("bash"));
        command.args(["--norc", "--noprofile", "-i"]).env("PS1", "prompt> ").env("TERM", "dumb");
        command.env("MULTIPROM", multiprom().get_program());
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let lead = || {
            // SAFETY: takes no argument.
            unsafe { libc::setsid() };
            // SAFETY: takes numbers only; descriptor 0 is the terminal.
            unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
            Ok(())
        };
        // SAFETY: between fork and exec it makes two system calls, and allocates nothing.
        unsafe { command.pre_exec(lead) };
        let child = command.spawn().unwrap();
        let output = Arc::<Mutex<String>>::default();
        let (mut from, into) = (terminal.try_clone().unwrap(), Arc::clone(&output));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The last reader gets an error when the terminal is closed.
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Shell { child, terminal, output }
    }

    /// Types text, and waits until the terminal shows `expected` after it. Returns what the terminal shows.
    fn type_and_see(&mut self, text: &str, expected: &str) -> String {
        self.output.lock().unwrap().clear();
        self.terminal.write_all(text.as_bytes()).unwrap();
        wait_for(&format!("`{expected}` after {text:?}"), PATIENCE, || {
            let output = self.output.lock().unwrap().clone();
            output.contains(expected).then_some(output)
        })
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        signal(self.child.id(), "HUP");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads lines from the terminal and reports signals.
const READER: &str = "trap 'echo interrupted; exit 8' INT; echo ready; \
                      while read -r line; do echo \"line: $line.\"; done; exit 7";

#[test]
fn a_command_reads_from_the_terminal_and_can_be_stopped_and_continued_with_and_without_its_own_group()
 {
    for flags in ["", "--signal-group"] {
        let mut shell = Shell::start();
        let run = format!(
            "$MULTIPROM run --listen 127.0.0.1:0 {flags} -- sh -c '{}'\n",
            READER.replace('\'', "'\\''")
        );
        shell.type_and_see(&run, "\nready");
        shell.type_and_see("one\n", "line: one.");
        // Ctrl-Z stops the job, and the shell has the terminal.
        shell.type_and_see("\x1a", "Stopped");
        shell.type_and_see("echo $((40 + 2))\n", "42");
        // In the background it does not get input.
        shell.type_and_see("bg\n", "&");
        shell.type_and_see("fg\n", "MULTIPROM run");
        shell.type_and_see("two\n", "line: two.");
        // Ctrl-C.
        shell.type_and_see("\x03", "interrupted");
        shell.type_and_see("echo status-$?.\n", "status-8.");
    }
}

#[test]
fn a_command_that_is_started_in_the_background_reads_from_the_terminal_in_the_foreground() {
    for flags in ["", "--signal-group --restart always"] {
        let mut shell = Shell::start();
        let run = format!(
            "$MULTIPROM run --listen 127.0.0.1:0 {flags} -- sh -c 'echo ready; exec cat' &\n"
        );
        shell.type_and_see(&run, "\nready");
        shell.type_and_see("fg\n", "MULTIPROM run");
        // Shown twice: as the terminal's echo, and by `cat`.
        shell.type_and_see("once\n", "once\r\nonce");
        // The terminal ends the command by SIGINT, and it is not restarted.
        shell.type_and_see("\x03", "prompt>");
        shell.type_and_see("echo status-$?.\n", "status-130.");
    }
}

#[test]
fn a_key_of_the_terminal_reaches_processes_in_other_groups_while_the_launcher_has_the_terminal() {
    // The command has ended, and its child has a group of its own.
    const ORPHAN: &str = "set -m; bash -c 'trap \"echo orphan got it; exit\" INT; \
                          while kill -s 0 $0 2>&-; do sleep 0.05; done; echo ready; \
                          while :; do sleep 0.05; done' $$ & exit 6";
    for flags in ["", "--signal-group"] {
        let mut shell = Shell::start();
        let script = ORPHAN.replace('\'', "'\\''");
        let run = format!("$MULTIPROM run --listen 127.0.0.1:0 {flags} -- bash -c '{script}'\n");
        shell.type_and_see(&run, "\nready");
        shell.type_and_see("\x03", "orphan got it");
        shell.type_and_see("echo status-$?.\n", "status-6.");
    }
    // The launcher comes to the foreground, and moves the command there a little later.
    let mut shell = Shell::start();
    let run = "$MULTIPROM run --listen 127.0.0.1:0 --signal-group -- \
               sh -c 'echo ready; exec sleep 600' &\n";
    shell.type_and_see(run, "\nready");
    shell.type_and_see("fg\n", "MULTIPROM run");
    shell.type_and_see("\x03", "prompt>");
    shell.type_and_see("echo status-$?.\n", "status-130.");
}
