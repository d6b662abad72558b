//! `multiprom push` and `multiprom run --push`.

use std::fs;
use std::process::Command;

use super::{record_everything, series_of_job};
use crate::support::process::{PATIENCE, Running, run};
use crate::support::services::{Series, free_address, ignore, listen, pushgateway, refusing};
use crate::support::{TestDir, example, multiprom, output_of, wait_for};

/// A directory in which 5 jobs were counted.
fn counted() -> TestDir {
    let dir = TestDir::new("push");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    dir
}

fn push(dir: &TestDir, flags: &[&str]) -> Command {
    let mut command = multiprom();
    command.args(["push", "--dir"]).arg(dir.path()).args(flags);
    command
}

fn jobs(series: &Series) -> Vec<&str> {
    let jobs = series.iter().filter(|(name, _)| name.starts_with("jobs_total["));
    jobs.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn a_directory_is_pushed_once_by_every_option_and_its_group_is_deleted() {
    let Some((_gateway, address)) = pushgateway(&[]) else { return };
    let dir = TestDir::new("push");
    record_everything(dir.path());
    let secrets = TestDir::new("secrets");
    let password = secrets.path().join("password");
    fs::write(&password, "opensesame\n").unwrap();
    let password = password.to_str().unwrap();
    let flags: [&[&str]; 3] = [
        &["--push-timeout", "20s", "--method", "post", "--redirects", "2", "--created"],
        &["--format", "protobuf", "--gzip", "--instance-ip", "--label", "zone=eu"],
        &["--user", "aladdin", "--password-file", password, "--header", "X-Scope-OrgID=shop"],
    ];
    for (number, flags) in flags.into_iter().enumerate() {
        let job = format!("j{number}");
        let target = ["--gateway", &address, "--job", &job, "--grouping", "shard=a b"];
        output_of(push(&dir, &target).args(flags));
        let series = series_of_job(&address, &job);
        assert!(series.len() > 100, "{number}: {}", series.len());
        let shard = "(\"shard\", \"a b\")";
        assert!(series.keys().all(|name| name.contains(shard)), "{series:?}");
        let mut delete = multiprom();
        delete.args(["push", "--method", "delete"]).args(target);
        if number == 1 {
            delete.arg("--instance-ip");
        }
        output_of(&mut delete);
        wait_for("deletion", PATIENCE, || series_of_job(&address, &job).is_empty().then_some(()));
    }
}

#[test]
fn a_directory_is_pushed_periodically_and_once_more_at_the_end() {
    let Some((_gateway, address)) = pushgateway(&[]) else { return };
    for (job, at_end) in [("kept", None), ("deleted", Some("--delete-at-end"))] {
        let dir = counted();
        let target = ["--gateway", &address, "--job", job, "--interval", "50ms"];
        let mut running = Running::start(push(&dir, &target).args(at_end));
        let shown = || jobs(&series_of_job(&address, job)).concat();
        let wait_until = |value: &str| {
            wait_for("pushed value", PATIENCE, || (shown() == value).then_some(()));
        };
        wait_until("5");
        output_of(example("test-counting").arg(dir.path()).arg("5"));
        if at_end.is_some() {
            wait_until("10");
        }
        running.signal("TERM");
        assert!(running.wait().success(), "{}", running.stderr());
        wait_until(if at_end.is_some() { "" } else { "10" });
    }
}

#[test]
fn an_unreachable_gateway_is_reported_once_and_again_when_it_is_reachable() {
    let dir = counted();
    let address = free_address().to_string();
    let target = ["--gateway", &address, "--job", "j", "--interval", "20ms"];
    let mut running = Running::start(&mut push(&dir, &target));
    let line = running.line_after(&format!("multiprom: PUT http://{address}/metrics/job/j "));
    assert!(line.starts_with("failed: cannot connect to "), "{line}");
    let flag = format!("--web.listen-address={address}");
    let Some(_gateway) = pushgateway(&[&flag]) else { return };
    running.line_after("multiprom: succeeded after ");
    assert_eq!(
        running.stderr().matches("failed: cannot connect").count(),
        2,
        "{}",
        running.stderr()
    );
    running.signal("TERM");
    assert!(running.wait().success());
}

#[test]
fn what_a_batch_job_has_recorded_is_pushed_when_it_has_ended() {
    let Some((_gateway, address)) = pushgateway(&[]) else { return };
    let program = example("test-counting");
    let counting = format!("{} $PROMETHEUS_MULTIPROC_DIR 5", program.get_program().display());
    for (job, flags) in [
        ("plain", &[][..]),
        ("periodic", &["--push-interval", "10ms"]),
        ("protobuf", &["--push-format", "protobuf", "--gzip"]),
    ] {
        let mut command = multiprom();
        command.args(["run", "--push", &address, "--job", job]).args(flags);
        let outcome = run(command.args(["--", "sh", "-c", &format!("{counting}; exit 3")]));
        assert_eq!(outcome.status, 3, "{}", outcome.stderr);
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        let pushing = format!("multiprom: pushing to http://{address}/metrics/job/{job}");
        // Nothing is served: several jobs run at the same time.
        assert_eq!((lines.len(), lines[2]), (3, pushing.as_str()), "{}", outcome.stderr);
        assert_eq!(jobs(&series_of_job(&address, job)), ["5"], "{job}");
    }
    let mut command = multiprom();
    command.args(["run", "--push", &address, "--job", "deleted", "--push-interval", "10ms"]);
    command.args(["--delete-at-end", "--listen", "127.0.0.1:0", "--", "sh", "-c"]);
    let mut running = Running::start(command.arg(format!("{counting}; read line")));
    running.url();
    wait_for("push", PATIENCE, || {
        (jobs(&series_of_job(&address, "deleted")) == ["5"]).then_some(())
    });
    drop(running.stdin());
    assert_eq!(running.wait().code(), Some(1));
    wait_for("deletion", PATIENCE, || series_of_job(&address, "deleted").is_empty().then_some(()));
}

#[test]
fn a_gateway_that_cannot_be_reached_changes_neither_the_command_nor_its_status() {
    let (refusing, silent) = (refusing(), listen(ignore));
    for (address, cause) in
        [(refusing, "cannot connect to"), (silent, "no complete response after 200ms")]
    {
        let mut command = multiprom();
        command.args(["run", "--push", &address, "--job", "j", "--push-timeout", "200ms"]);
        let outcome =
            run(command.args(["--push-interval", "10ms", "--", "sh", "-c", "echo done; exit 3"]));
        assert_eq!((outcome.status, outcome.stdout.as_str()), (3, "done\n"), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(cause), "{}", outcome.stderr);
    }
}

#[test]
fn targets_that_cannot_be_used_are_errors_of_usage() {
    let dir = counted();
    let target = ["--gateway", "127.0.0.1:1", "--job", "j"];
    for (flags, message) in [
        (&[][..], "no target: give --gateway and --job, or --push-url"),
        (&["--gateway", "127.0.0.1:1"], "--job <NAME>"),
        (&["--job", "j"], "--gateway <URL>"),
        (&["--gzip"], "--gateway <URL>|--push-url <URL>"),
        (&["--gateway", "http://user:secret@h", "--job", "j"], "contains a user"),
        (&["--gateway", "ftp://h", "--job", "j"], "must begin with http:// or https://"),
        (&["--gateway", "h", "--job", ""], "the job of a push must not be empty"),
        (&["--push-url", "http://h/x", "--job", "j"], "cannot be used with"),
    ] {
        let outcome = run(&mut push(&dir, flags));
        assert_eq!(outcome.status, 2, "{flags:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(message), "{flags:?}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("secret"), "{}", outcome.stderr);
    }
    for (flags, message) in [
        (&["--grouping", "job=x"][..], "grouping key: "),
        (&["--grouping", "a.b=x"], "grouping key: "),
        (&["--push-format", "openmetrics"], "reads the text formats and protobuf only"),
        (&["--push-timeout", "0s"], "greater than 0"),
        (&["--push-interval", "5x"], "expected a number with ms, s, m or h"),
        (&["--cert-file", "c.pem"], "--key-file <FILE>"),
        (&["--method", "delete", "--push-interval", "1s"], "a group is deleted once"),
    ] {
        let outcome = run(push(&dir, &target).args(flags));
        assert_eq!(outcome.status, 2, "{flags:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(message), "{flags:?}: {}", outcome.stderr);
    }
    // A command that is not started because its target cannot be used.
    let outcome =
        run(multiprom().args(["run", "--push", "h", "--job", "", "--", "echo", "started"]));
    assert_eq!((outcome.status, outcome.stdout.as_str()), (2, ""), "{}", outcome.stderr);
}

#[test]
fn labels_of_the_grouping_key_in_samples_are_an_error_before_the_push() {
    let dir = counted();
    let address = refusing();
    let target = ["--gateway", &address, "--job", "j", "--grouping", "zone=a", "--label", "zone=b"];
    let outcome = run(&mut push(&dir, &target));
    assert_eq!(outcome.status, 2, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("have the label `zone`, which is part of"),
        "{}",
        outcome.stderr
    );
}
