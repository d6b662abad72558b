//! The commands that exit by themselves: `dump`, `ls`, `mark-process-dead`; and wrong usage.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::process::{NOBODY, Outcome, Running, run};
use crate::support::{TestDir, assert_success, example, multiprom, skip, wait_for_death};

const DIR_VARIABLES: [&str; 2] = ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"];

/// A directory with the files of a process that has counted `jobs`.
fn counted(name: &str, jobs: u32) -> TestDir {
    let dir = TestDir::new(name);
    count(dir.path(), jobs);
    dir
}

fn count(dir: &Path, jobs: u32) {
    let mut command = example("test-counting");
    command.arg(dir).arg(jobs.to_string());
    let output = command.output().unwrap();
    assert_success(&command, &output);
}

/// Runs `multiprom` with arguments separated by spaces.
fn multiprom_with(arguments: &str, dir: &Path) -> Outcome {
    run(multiprom().args(arguments.split(' ')).arg("--dir").arg(dir))
}

/// The standard output of a command that must succeed without a message.
fn good(outcome: &Outcome) -> &str {
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    &outcome.stdout
}

fn assert_line(outcome: &Outcome, status: i32, named: &str) {
    assert_eq!(outcome.stdout, "", "{}", outcome.stderr);
    assert_eq!(outcome.status, status, "{}", outcome.stderr);
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{}", outcome.stderr);
    assert!(lines[0].starts_with("multiprom: ") && lines[0].contains(named), "{}", outcome.stderr);
}

fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|known| known == line)
}

fn families(text: &str) -> Vec<&str> {
    let heads = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = heads.map(|head| head.split(' ').next().unwrap());
    names.filter(|name| !name.starts_with("multiprom_")).collect()
}

#[test]
fn dump_prints_the_merged_metrics_in_either_format() {
    let dir = counted("dump", 5);
    count(dir.path(), 7);
    let outcome = multiprom_with("dump", dir.path());
    let text = good(&outcome);
    assert!(has_line(text, "# TYPE jobs_total counter") && has_line(text, "jobs_total 12"));
    assert!(has_line(text, "jobs_by_parity_total{parity=\"even\"} 7"));
    assert!(has_line(text, "job_size_bytes_bucket{le=\"+Inf\"} 12"));
    let outcome = multiprom_with("dump --format openmetrics", dir.path());
    let text = good(&outcome);
    assert!(has_line(text, "# TYPE jobs counter") && text.ends_with("\n# EOF\n"));
}

#[test]
fn dump_prints_every_format_that_scrapers_know_and_json() {
    let dir = counted("formats", 5);
    let dump = |format: &str| {
        let mut command = multiprom();
        command.args(["dump", "--format", format, "--dir"]).arg(dir.path());
        let output = command.output().unwrap();
        assert_success(&command, &output);
        output.stdout
    };
    let text = |format: &str| String::from_utf8(dump(format)).unwrap();
    let lasting = |format: &str| -> Vec<String> {
        let text = text(format);
        let lines = text.lines().filter(|line| !line.starts_with("multiprom_directory_free"));
        let lines = lines.filter(|line| !line.starts_with("multiprom_scrape_duration"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(lasting("text"), lasting("text-utf8"));
    let openmetrics = text("openmetrics2");
    assert!(openmetrics.contains("\njobs_total 5.0 st@"), "{openmetrics}");
    let histogram = openmetrics.lines().find(|line| line.starts_with("job_size_bytes {count:5,"));
    assert!(histogram.unwrap().contains(",+Inf:5]} st@"), "{openmetrics}");
    let json: serde_json::Value = serde_json::from_slice(&dump("json")).unwrap();
    let jobs = json.as_array().unwrap().iter().find(|family| family["name"] == "jobs").unwrap();
    assert_eq!(jobs["type"], "counter");
    let sample = serde_json::json!({"name": "jobs_total", "labels": {}, "value": "5"});
    assert_eq!(jobs["samples"][0], sample);
    assert_eq!(jobs["samples"][1]["name"], "jobs_created");
    let messages = text("protobuf-text");
    let counter = "type: COUNTER\nmetric {\n  counter {\n    value: 5\n    start_timestamp {\n";
    assert!(
        messages.contains("\nname: \"jobs_total\"\n") && messages.contains(counter),
        "{messages}"
    );
    let bytes = dump("protobuf");
    let name = b"\x0a\x0ajobs_total\x12";
    assert!(bytes.windows(name.len()).any(|part| part == name));
    let outcome = multiprom_with("dump --format yaml", dir.path());
    assert_line(&outcome, 2, "--format");
}

#[test]
fn dump_merges_only_the_named_files() {
    let dir = counted("files", 5);
    count(dir.path(), 7);
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let file = names.into_iter().find(|path| path.to_string_lossy().contains("/counter_"));
    let outcome = run(multiprom().arg("dump").arg(file.unwrap()));
    assert_eq!(families(good(&outcome)), ["jobs_total", "jobs_by_parity_total"]);
    assert!(has_line(&outcome.stdout, "jobs_total 5") || has_line(&outcome.stdout, "jobs_total 7"));
    let missing = dir.path().join("counter_1.db");
    assert_line(&run(multiprom().arg("dump").arg(&missing)), 1, missing.to_str().unwrap());
    for command in ["dump", "check"] {
        assert_line(&run(multiprom().arg(command).arg(dir.path())), 2, "is a directory: use --dir");
    }
}

#[test]
fn both_variables_name_the_directory_and_the_flag_takes_precedence() {
    let (dir, other) = (counted("environment", 5), counted("flag", 7));
    for variable in DIR_VARIABLES {
        let outcome = run(multiprom().arg("dump").env(variable, dir.path()));
        assert!(has_line(good(&outcome), "jobs_total 5"), "{variable}");
        let mut command = multiprom();
        command.env(variable, dir.path()).arg("dump").arg("--dir").arg(other.path());
        assert!(has_line(good(&run(&mut command)), "jobs_total 7"), "{variable}");
        let outcome = run(multiprom().arg("ls").env(variable, dir.path()));
        assert_eq!(good(&outcome).lines().count(), 15, "{variable}");
    }
}

#[test]
fn several_directories_and_patterns_are_merged_as_one() {
    let base = TestDir::new("several");
    for (name, jobs) in [("app-1", 1), ("app-2", 2), ("other", 4)] {
        let dir = base.path().join(name);
        fs::create_dir(&dir).unwrap();
        count(&dir, jobs);
    }
    fs::write(base.path().join("app-3"), "a file").unwrap();
    let dump = |names: &[&str]| {
        let mut command = multiprom();
        command.arg("dump").args(["--include", "jobs"]);
        for name in names {
            command.arg("--dir").arg(base.path().join(name));
        }
        run(&mut command)
    };
    assert!(has_line(good(&dump(&["app-1", "other"])), "jobs_total 5"));
    assert!(has_line(good(&dump(&["app-*"])), "jobs_total 3"));
    assert!(has_line(good(&dump(&["app-?", "oth[e]r"])), "jobs_total 7"));
    assert_line(&dump(&["nothing-*"]), 1, "nothing-*");
}

#[test]
fn families_are_selected_by_patterns_that_match_whole_names() {
    let dir = counted("pick", 3);
    let dump = |flags| multiprom_with(&format!("dump {flags}"), dir.path());
    assert_eq!(families(good(&dump("--include jobs"))), ["jobs_total"]);
    assert_eq!(families(good(&dump("--include job_.*"))).len(), 2);
    let outcome = dump("--include job.* --exclude .*_seconds");
    assert_eq!(families(good(&outcome)), ["job_size_bytes", "jobs_total", "jobs_by_parity_total"]);
    assert_eq!(families(good(&dump("--exclude queue_.*"))).len(), 4);
}

#[test]
fn labels_are_added_and_the_pid_label_is_renamed() {
    let dir = counted("label", 3);
    let flags = "dump --label site=a --label parity=no --pid-label worker";
    let outcome = multiprom_with(flags, dir.path());
    let text = good(&outcome);
    assert!(has_line(text, "jobs_total{parity=\"no\",site=\"a\"} 3"), "{text}");
    assert!(has_line(text, "jobs_by_parity_total{parity=\"even\",site=\"a\"} 2"), "{text}");
    let gauge = text.lines().find(|line| line.starts_with("queue_all_ratio")).unwrap();
    assert!(gauge.contains("worker=\"") && !gauge.contains("pid="), "{gauge}");
}

#[test]
fn gauges_are_merged_by_the_mode_of_the_first_rule_that_matches() {
    let dir = counted("mode", 3);
    count(dir.path(), 4);
    let flags = "dump --gauge-mode queue_min_.*=max --gauge-mode queue_m.*=sum \
                 --gauge-mode queue_livemin.*=min";
    let outcome = multiprom_with(flags, dir.path());
    let text = good(&outcome);
    assert!(has_line(text, "queue_min_ratio 4"), "{text}");
    assert!(has_line(text, "queue_max_ratio 7"), "{text}");
    // Its processes have ended, and are merged only because of the other mode.
    assert!(has_line(text, "queue_livemin_ratio 3"), "{text}");
    assert!(!text.contains("\nqueue_livemax_ratio "), "{text}");
}

#[test]
fn only_gauges_of_the_mode_all_are_merged_by_the_default_mode() {
    let dir = counted("default", 3);
    count(dir.path(), 4);
    let mut worker = Running::start(example("test-counting").arg(dir.path()).args(["2", "hold"]));
    worker.line_after("ready");
    let dump = |flags: &str| multiprom_with(format!("dump {flags}").trim(), dir.path()).stdout;
    let shown = |text: &str, name: &str| {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.map(str::to_owned).collect::<Vec<String>>()
    };
    let plain = dump("");
    assert_eq!(shown(&plain, "queue_all_ratio").len(), 3, "{plain}");
    let live = dump("--default-gauge-mode liveall");
    let only = format!("queue_all_ratio{{pid=\"{}\"}} 2", worker.id());
    assert_eq!(shown(&live, "queue_all_ratio"), [only]);
    let sum = dump("--default-gauge-mode livesum");
    assert_eq!(shown(&sum, "queue_all_ratio"), ["queue_all_ratio 2"]);
    assert_eq!(shown(&dump("--default-gauge-mode max"), "queue_all_ratio"), ["queue_all_ratio 4"]);
    // A rule takes precedence for the gauges that it matches.
    let flags = "--gauge-mode queue_all.*=sum --default-gauge-mode livesum";
    assert_eq!(shown(&dump(flags), "queue_all_ratio"), ["queue_all_ratio 9"]);
    for text in [live, sum] {
        let others = |text: &str| {
            let lines = text.lines().filter(|line| line.starts_with("queue_"));
            let others = lines.filter(|line| !line.starts_with("queue_all_"));
            others.map(str::to_owned).collect::<Vec<String>>()
        };
        assert_eq!(others(&text), others(&plain));
    }
    drop(worker.stdin());
    worker.end();
}

#[test]
fn ls_lists_files_with_their_state_in_a_table_and_as_json() {
    let dir = counted("ls", 3);
    let mut worker = Running::start(example("test-counting").arg(dir.path()).args(["2", "hold"]));
    worker.line_after("ready");
    fs::write(dir.path().join("cache.db"), "no series file").unwrap();
    fs::write(dir.path().join("counter_9.db"), "").unwrap();
    wait_for_death(&dir.path().join("counter_9.db"));

    let outcome = multiprom_with("ls", dir.path());
    assert_eq!(outcome.status, 0);
    let mut lines = outcome.stdout.lines();
    let headings: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(headings, ["TYPE", "MODE", "ID", "STATE", "LAYOUT", "ENTRIES", "USED", "SIZE"]);
    assert_eq!(lines.clone().count(), 30);
    assert_eq!(lines.filter(|line| line.starts_with("companion  ")).count(), 2);
    assert_eq!(outcome.stdout.matches(" alive ").count(), 14, "{}", outcome.stdout);
    assert_eq!(outcome.stdout.matches(" dead ").count(), 14, "{}", outcome.stdout);
    assert!(outcome.stderr.contains("counter_9.db`: file is empty\n"), "{}", outcome.stderr);

    let outcome = multiprom_with("ls --json", dir.path());
    let files: Vec<serde_json::Value> =
        good(&outcome).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(files.len(), 30);
    let prefix = format!("{}-", worker.id());
    let own = |file: &&serde_json::Value| file["id"].as_str().unwrap().starts_with(&prefix);
    let sum = files.iter().filter(own).find(|file| file["mode"] == "livesum").unwrap();
    assert_eq!(
        (&sum["type"], &sum["state"], &sum["layout"]),
        (&"gauge".into(), &"alive".into(), &"own".into())
    );
    assert_eq!((&sum["entries"], &sum["error"]), (&1.into(), &serde_json::Value::Null));
    let companion = files.iter().filter(own).find(|file| file["type"] == "companion").unwrap();
    assert_eq!(
        (&companion["mode"], &companion["layout"], &companion["entries"]),
        (&serde_json::Value::Null, &"companion".into(), &2.into())
    );
    let empty = files.iter().find(|file| file["id"] == "9").unwrap();
    assert!(empty["error"].as_str().unwrap().ends_with("file is empty"));
    drop(worker.stdin());
    assert!(worker.end().status.success());
}

#[test]
fn mark_process_dead_removes_the_live_gauges_of_the_pids() {
    let live = ["livesum", "liveall", "livemin", "livemax", "livemostrecent"];
    let ways: [(&str, Option<&str>); 4] = [
        ("mark-process-dead", None),
        ("mark-dead", None),
        ("mark-process-dead", Some(DIR_VARIABLES[0])),
        ("mark-dead", Some(DIR_VARIABLES[1])),
    ];
    for (name, variable) in ways {
        let dir = TestDir::new("mark");
        for pid in ["41", "42", "413"] {
            for mode in live {
                write_empty(dir.path(), &format!("gauge_{mode}_{pid}.db"));
            }
            write_empty(dir.path(), &format!("gauge_all_{pid}.db"));
            write_empty(dir.path(), &format!("counter_{pid}.db"));
        }
        for _ in 0..2 {
            let mut command = multiprom();
            command.args([name, "41", "42", "4000000000"]);
            match variable {
                Some(variable) => command.env(variable, dir.path()),
                None => command.arg("--dir").arg(dir.path()),
            };
            assert_eq!(good(&run(&mut command)), "");
            let names = fs::read_dir(dir.path()).unwrap();
            let names: Vec<String> =
                names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            assert_eq!(names.len(), 2 + 2 + 7, "{names:?}");
            let of = |pid: &str| names.iter().filter(|name| name.ends_with(pid)).count();
            assert_eq!((of("_41.db"), of("_42.db"), of("_413.db")), (2, 2, 7), "{names:?}");
        }
    }
}

fn write_empty(dir: &Path, name: &str) {
    fs::write(dir.join(name), [8, 0, 0, 0, 0, 0, 0, 0]).unwrap();
}

#[test]
fn wrong_usage_is_reported_in_one_line_that_names_the_flag_with_status_2() {
    let dir = TestDir::new("usage");
    let path = dir.path().to_str().unwrap();
    let wrong: [(&[&str], &str); 20] = [
        (&["dump", "--nope"], "--nope"),
        (&["frobnicate"], "frobnicate"),
        (&[], "--help"),
        (&["dump"], "--dir"),
        (&["serve"], "--dir"),
        (&["ls"], "--dir"),
        (&["mark-dead", "1"], "--dir"),
        (&["mark-dead", "--dir", path], "PID"),
        (&["mark-dead", "--dir", path, "one"], "PID"),
        (&["run"], "COMMAND"),
        (&["dump", "--include", "(", "--dir", path], "--include"),
        (&["dump", "--exclude", "[a", "--dir", path], "--exclude"),
        (&["dump", "--gauge-mode", "x=nope", "--dir", path], "--gauge-mode"),
        (&["dump", "--default-gauge-mode", "nope", "--dir", path], "--default-gauge-mode"),
        (&["dump", "--label", "0a=b", "--dir", path], "--label"),
        (&["dump", "--pid-label", "le", "--dir", path], "--pid-label"),
        (&["dump", "--format", "xml", "--dir", path], "--format"),
        (&["serve", "--listen", "nowhere", "--dir", path], "--web.listen-address"),
        (&["serve", "--listen", "127.0.0.1:70000", "--dir", path], "127.0.0.1:70000"),
        (&["demo", "--workers", "0"], "--workers"),
    ];
    for (arguments, named) in wrong {
        assert_line(&run(multiprom().args(arguments)), 2, named);
    }
}

#[test]
fn an_unusable_directory_is_reported_in_one_line_with_status_1() {
    let dir = TestDir::new("unusable");
    let (missing, file) = (dir.path().join("missing"), dir.path().join("file"));
    fs::write(&file, "").unwrap();
    for path in [&missing, &file] {
        for arguments in ["dump", "ls", "serve --listen 127.0.0.1:0", "mark-dead 1"] {
            assert_line(&multiprom_with(arguments, path), 1, path.to_str().unwrap());
        }
    }
}

#[test]
fn an_unreadable_directory_is_reported_in_one_line() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let dir = TestDir::new("forbidden");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o300)).unwrap();
    // Root can read everything, so the command then runs as another user.
    let is_superuser = fs::read_dir(dir.path()).is_ok();
    for arguments in ["dump", "ls", "serve --listen 127.0.0.1:0"] {
        let mut command = multiprom();
        command.args(arguments.split(' ')).arg("--dir").arg(dir.path());
        if is_superuser {
            command.uid(NOBODY);
            if multiprom().arg("--version").uid(NOBODY).output().is_err() {
                return skip("another user may not run the command where it is built");
            }
        }
        assert_line(&run(&mut command), 1, dir.path().to_str().unwrap());
    }
}

#[test]
fn a_port_in_use_is_reported_in_one_line() {
    let dir = TestDir::new("taken");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = format!("serve --listen {address}");
    assert_line(&multiprom_with(&serve, dir.path()), 1, &address);
    assert_line(&run(multiprom().args(["run", "--listen", &address, "--", "true"])), 1, &address);
    assert_line(&run(multiprom().args(["demo", "--listen", &address])), 1, &address);
}

#[test]
fn help_and_version_succeed() {
    for arguments in [&["--help"][..], &["serve", "--help"], &["run", "--help"], &["--version"]] {
        let outcome = run(multiprom().args(arguments));
        assert!(good(&outcome).contains("multiprom"), "{}", outcome.stdout);
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let dir = counted("head", 3);
    let mut command: Command = multiprom();
    command.args(["dump", "--dir"]).arg(dir.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}
