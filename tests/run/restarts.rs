//! `--restart`.

use std::path::Path;

use super::launcher;
use crate::support::http::{scrape, sum_of};
use crate::support::process::{PATIENCE, Running, is_alive, run, signal};
use crate::support::wait_for;

const AT_ONCE: [&str; 2] = ["--restart-delay", "20ms"];

#[test]
fn a_failing_command_is_restarted_up_to_the_limit_and_its_totals_continue() {
    let script = "\"$0\" \"$PROMETHEUS_MULTIPROC_DIR\" 5; exit 3";
    let flags = ["--restart", "on-failure", "--max-restarts", "2", "--linger", "600s"];
    let mut launcher = Running::start(&mut launcher(&[&flags[..], &AT_ONCE].concat(), script));
    let url = launcher.url();
    launcher.line_after("serving until the next scrape");
    let text = scrape(&url);
    assert_eq!(sum_of(&text, "jobs_total"), 15.0, "{text}");
    assert_eq!(sum_of(&text, "queue_livesum_ratio"), 0.0, "{text}");
    let output = launcher.end();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    for line in [
        "the command has ended with status 3: restart 1 in 20ms",
        "the command has ended with status 3: restart 2 in 40ms",
        "the command has ended with status 3, and --max-restarts is reached",
    ] {
        assert_eq!(stderr.matches(line).count(), 1, "{stderr}");
    }
}

#[test]
fn the_policy_decides_whether_an_exit_status_of_0_leads_to_a_restart() {
    for (policy, starts) in [("never", 1), ("on-failure", 1), ("always", 3)] {
        let flags = [&["--restart", policy, "--max-restarts", "2"], &AT_ONCE[..]].concat();
        let outcome = run(&mut launcher(&flags, "echo started"));
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        assert_eq!(outcome.stdout.matches("started").count(), starts, "{policy}");
    }
}

#[test]
fn a_command_that_is_killed_is_restarted() {
    let flags = [&["--restart", "on-failure"], &AT_ONCE[..]].concat();
    let mut launcher = Running::start(&mut launcher(&flags, "echo pid-$$; exec sleep 600"));
    let first: u32 = launcher.line_after("pid-").parse().unwrap();
    signal(first, "KILL");
    let second = format!("pid-{first}\npid-");
    let second = wait_for("the second start", PATIENCE, || {
        let text = launcher.stdout();
        text.split_once(&second)?.1.trim().parse::<u32>().ok()
    });
    launcher.signal("TERM");
    assert_eq!(launcher.end().status.code(), Some(143));
    assert!(!is_alive(second));
}

#[test]
fn a_signal_from_outside_prevents_a_restart() {
    let always = ["--restart", "always"];
    for (name, script, status) in [
        ("TERM", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done", 0),
        ("INT", "trap 'exit 5' INT; echo ready; while :; do sleep 0.1; done", 5),
        // Its default is to end the program.
        ("USR1", "echo ready; exec sleep 600", 138),
    ] {
        let flags = [&always[..], &AT_ONCE].concat();
        let mut launcher = Running::start(&mut launcher(&flags, script));
        launcher.line_after("ready");
        launcher.signal(name);
        let output = launcher.end();
        assert_eq!(output.status.code(), Some(status), "{name}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ready\n", "{name}");
    }
    // A signal during the delay before a restart prevents it as well.
    let flags = [&always[..], &["--restart-delay", "600s"]].concat();
    let mut launcher = Running::start(&mut launcher(&flags, "exit 4"));
    launcher.line_after("restart 1 in 600s");
    launcher.signal("TERM");
    assert_eq!(launcher.end().status.code(), Some(4));
}

#[test]
fn processes_that_a_failed_command_has_left_are_ended_before_its_restart() {
    let flags = [&["--restart", "on-failure", "--max-restarts", "1"], &AT_ONCE[..]].concat();
    let script = "setsid sleep 600 >/dev/null 2>&1 & echo pid-$!; exit 1";
    let mut launcher = Running::start(&mut launcher(&flags, script));
    let left: u32 = launcher.line_after("pid-").parse().unwrap();
    launcher.line_after("ending the processes that it has left");
    wait_for("end of the process", PATIENCE, || (!is_alive(left)).then_some(()));
    // The limit is reached: those of the last start are waited for.
    let last = wait_for("the last start", PATIENCE, || {
        let text = launcher.stdout();
        text.split_once(&format!("pid-{left}\npid-"))?.1.trim().parse::<u32>().ok()
    });
    signal(last, "TERM");
    assert_eq!(launcher.end().status.code(), Some(1));
}

#[test]
fn a_process_whose_name_is_not_utf_8_is_ended_before_a_restart() {
    let flags = [&["--restart", "on-failure", "--max-restarts", "1"], &AT_ONCE[..]].concat();
    let script = r#"
        [ -e "$PROMETHEUS_MULTIPROC_DIR/started" ] && exit 2
        touch "$PROMETHEUS_MULTIPROC_DIR/started"
        setsid sh -c 'printf "\377" >/proc/$$/comm; echo pid-$$; exec >/dev/null 2>&1; while :; do sleep 1; done' &
        until [ "$(cat /proc/$!/comm)" = "$(printf '\377')" ]; do sleep 0.01; done
        exit 1"#;
    let mut launcher = Running::start(&mut launcher(&flags, script));
    let left: u32 = launcher.line_after("pid-").parse().unwrap();
    // The launcher ends after all descendants of the command.
    assert_eq!(launcher.end().status.code(), Some(2));
    assert!(!Path::new(&format!("/proc/{left}")).exists());
}
