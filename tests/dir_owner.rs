//! Servers that are started as root and drop privileges: `run` creates the directory for their user.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::http::{get, scrape, sum_of};
use crate::support::mount::is_root;
use crate::support::process::{NOBODY, PATIENCE, Running, run};
use crate::support::prometheus::is_installed;
use crate::support::sites::packages;
use crate::support::{TestDir, example, multiprom, python, root, skip, wait_for};

/// Whether this process can change owners, and other users can run the built programs.
fn can_change_users() -> bool {
    let can = is_root() && multiprom().arg("--version").uid(NOBODY).output().is_ok();
    if !can {
        skip("only root can become another user, who must be able to run the built programs");
    }
    can
}

fn launcher(flags: &[&str]) -> Command {
    let mut command = multiprom();
    command.args(["run", "--listen", "127.0.0.1:0"]).args(flags).arg("--");
    command
}

/// A script in which a worker of another user counts 5 jobs, and which prints owner and mode of the directory.
fn counting_as_nobody() -> String {
    let worker = example("test-counting").get_program().to_str().unwrap().to_owned();
    format!(
        "setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups '{worker}' \
         \"$PROMETHEUS_MULTIPROC_DIR\" 5; echo status $?; \
         stat -c 'owned %u:%g %a' \"$PROMETHEUS_MULTIPROC_DIR\"; {{ read line; true; }}"
    )
}

/// Runs that script in a launcher; returns owner and mode of the directory.
fn count_as_nobody(flags: &[&str]) -> String {
    let mut running = Running::start(launcher(flags).args(["sh", "-c", &counting_as_nobody()]));
    let url = running.url();
    assert_eq!(running.line_after("status "), "0", "{}", running.stderr());
    let owned = running.line_after("owned ");
    assert_eq!(sum_of(&scrape(&url), "jobs_total"), 5.0);
    drop(running.stdin());
    assert_eq!(running.end().status.code(), Some(0));
    owned
}

#[test]
fn a_private_directory_can_belong_to_another_user() {
    if !can_change_users() {
        return;
    }
    assert_eq!(count_as_nobody(&["--dir-owner", "nobody:0"]), format!("{NOBODY}:0 700"));
    assert_eq!(count_as_nobody(&["--dir-owner", "65534"]), format!("{NOBODY}:0 700"));
    assert_eq!(count_as_nobody(&["--dir-mode", "1777"]), "0:0 1777");
    let flags = ["--dir-owner", "root:65534", "--dir-mode", "770"];
    assert_eq!(count_as_nobody(&flags), format!("0:{NOBODY} 770"));
}

#[test]
fn a_created_directory_can_belong_to_another_user() {
    if !can_change_users() {
        return;
    }
    let base = TestDir::new("given");
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let dir = base.path().join("a/b");
    let path = dir.to_str().unwrap();
    let flags = ["--dir", path, "--dir-owner", "nobody"];
    let count = |flags: &[&str]| {
        let script = counting_as_nobody();
        let mut command = Command::new("sh");
        // The umask removes all permissions of others.
        command.args(["-c", "umask 077; exec \"$@\"", "sh"]);
        command.arg(multiprom().get_program()).args(["run", "--listen", "127.0.0.1:0"]);
        command.args(flags).args(["--", "sh", "-c", &script]);
        command.env_remove("PROMETHEUS_MULTIPROC_DIR").env_remove("prometheus_multiproc_dir");
        run(&mut command)
    };
    for _ in 0..2 {
        let outcome = count(&flags);
        assert!(
            outcome.stdout.starts_with("status 0\nowned 65534:"),
            "{}{}",
            outcome.stdout,
            outcome.stderr
        );
    }
    // An existing directory is never changed.
    let other = base.path().join("other");
    fs::create_dir(&other).unwrap();
    let path = other.to_str().unwrap();
    let wrong = [["--dir-owner", "nobody"], ["--dir-owner", "0:65534"], ["--dir-mode", "1777"]];
    for flags in wrong {
        let outcome = count(&[&["--dir", path], &flags[..]].concat());
        assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains(path) && outcome.stderr.contains(flags[0]),
            "{}",
            outcome.stderr
        );
        assert_eq!(fs::metadata(&other).unwrap().uid(), 0);
    }
}

#[test]
fn an_owner_that_cannot_be_set_is_reported_in_one_line_that_names_the_flag() {
    let base = TestDir::new("not-given");
    let dir = base.path().join("new");
    let flags = ["--dir", dir.to_str().unwrap(), "--dir-owner"];
    for (owner, status) in [("no-such-user", 2), ("root:no-such-group", 2), ("root", 1)] {
        let mut command = launcher(&[&flags[..], &[owner]].concat());
        if status == 1 {
            if !can_change_users() {
                return;
            }
            fs::set_permissions(base.path(), fs::Permissions::from_mode(0o777)).unwrap();
            command.uid(NOBODY).gid(NOBODY);
        }
        let outcome = run(command.arg("true"));
        assert_eq!(
            (outcome.status, outcome.stderr.lines().count()),
            (status, 1),
            "{}",
            outcome.stderr
        );
        assert!(
            outcome.stderr.contains("--dir-owner") && outcome.stderr.contains(owner),
            "{}",
            outcome.stderr
        );
        assert!(!dir.exists());
    }
    let outcome = run(launcher(&["--dir-mode", "70"]).arg("true"));
    assert_eq!((outcome.status, outcome.stderr.lines().count()), (2, 1), "{}", outcome.stderr);
}

/// Whether a request succeeds.
fn responds(url: &str) -> bool {
    get(url).is_ok_and(|response| response.status == 200)
}

#[test]
fn a_preloaded_gunicorn_site_that_drops_privileges_records() {
    let Some(python) = python("newest") else { return };
    if !can_change_users() {
        return;
    }
    let gunicorn = Path::new(python.get_program()).with_file_name("gunicorn");
    for flags in [&[][..], &["--dir-owner", "nobody"]] {
        let mut command = launcher(flags);
        command.arg(&gunicorn).args(["--preload", "--user", "65534", "--group", "65534"]);
        command.args(["-w", "2", "-b", "127.0.0.1:0", "app:application", "--chdir"]);
        command.arg(root().join("tests/python")).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut site = Running::start(&mut command);
        let metrics = site.url();
        let line = site.line_after("Listening at: ");
        let url = format!("{}/pid", line.split(' ').next().unwrap());
        if flags.is_empty() {
            // Without the flag, the workers cannot write to the directory.
            wait_for("a response", PATIENCE, || get(&url).ok());
            assert!(!responds(&url), "{}", site.stderr());
        } else {
            assert!((0..20).all(|_| responds(&url)), "{}", site.stderr());
            let text = scrape(&metrics);
            assert_eq!(sum_of(&text, "app_requests_total"), 20.0, "{text}");
            assert!((1.0..=2.0).contains(&sum_of(&text, "app_alive")), "{text}");
        }
        site.signal("TERM");
        assert_eq!(site.end().status.code(), Some(0));
    }
}

#[test]
fn a_uwsgi_site_that_drops_privileges_records() {
    let Some(packages) = packages("newest") else { return };
    if !is_installed("uwsgi_python3") || !can_change_users() {
        return;
    }
    let paths: [PathBuf; 2] = [packages, root().join("tests/python")];
    for flags in [&[][..], &["--dir-owner", "nobody"]] {
        let mut command = launcher(flags);
        command.args(["uwsgi_python3", "--ini"]).arg(root().join("examples/uwsgi.ini"));
        command.args(["--uid", "65534", "--gid", "65534", "--http-socket", "127.0.0.1:0"]);
        command.args(["--module", "app:application", "--processes", "2"]);
        // A worker that is terminated during its start may ignore that.
        command.args(["--reload-mercy", "2", "--worker-reload-mercy", "2"]);
        for path in &paths {
            command.arg("--pythonpath").arg(path);
        }
        let mut site = Running::start(command.env("PYTHONDONTWRITEBYTECODE", "1"));
        let metrics = site.url();
        let line = site.line_after("bound to TCP address ");
        let url = format!("http://{}/pid", line.split(' ').next().unwrap());
        wait_for("a worker", PATIENCE, || get(&url).ok());
        if flags.is_empty() {
            assert!(!responds(&url), "{}", site.stderr());
        } else {
            assert!((0..20).all(|_| responds(&url)), "{}", site.stderr());
            assert_eq!(sum_of(&scrape(&metrics), "app_requests_total"), 21.0);
        }
        site.signal("TERM");
        site.end();
    }
}
