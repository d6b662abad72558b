//! The hooks of `examples/` under failures: the site continues as if there were no hook.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::http::{get, sum_of};
use crate::support::process::{PATIENCE, Running, is_alive, processes_with_argument, signal};
use crate::support::prometheus::is_installed;
use crate::support::sites::{
    Requests, multiprom_dir, packages, programs, python_environment, recipe,
};
use crate::support::{TestDir, multiprom, output_of, root, wait_for, write_program};

const WORKERS: usize = 2;

/// The time limit of the hook in each recipe.
const HOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// A program that replaces `multiprom`, and writes its pid and arguments to a log.
struct Stub {
    dir: TestDir,
    log: PathBuf,
}

impl Stub {
    /// `end` is the last line of the script.
    fn new(end: &str) -> Stub {
        let dir = TestDir::new("stub");
        let (program, log) = (dir.path().join("multiprom"), dir.path().join("multiprom.log"));
        let script = format!("#!/bin/sh\ncat >/dev/null\necho $$ \"$@\" >>\"$0.log\"\n{end}\n");
        write_program(&program, &script);
        fs::write(&log, "").unwrap();
        Stub { dir, log }
    }

    /// A directory without the program.
    fn missing() -> Stub {
        let stub = Stub::new("");
        fs::remove_file(stub.dir.path().join("multiprom")).unwrap();
        stub
    }

    /// Waits for the call with this pid; returns the pid of the stub.
    fn call_for(&self, pid: u32) -> u32 {
        wait_for("call of the hook", PATIENCE, || {
            let log = fs::read_to_string(&self.log).unwrap();
            let line = log.lines().find(|line| line.ends_with(&format!(" {pid}")))?;
            Some(line.split(' ').next().unwrap().parse().unwrap())
        })
    }
}

/// gunicorn with the recipe, with or without a multiprocess directory.
struct Site {
    master: Running,
    url: String,
    dir: TestDir,
    requests: Requests,
}

impl Site {
    fn gunicorn(stub: &Stub, variable: Option<&str>) -> Option<Site> {
        let programs = programs("newest")?;
        let dir = TestDir::new("hook");
        let mut command = Command::new(programs.join("gunicorn"));
        python_environment(&mut command, &[stub.dir.path(), &programs]);
        command.arg("--no-control-socket").arg("-c").arg(recipe("gunicorn.conf.py"));
        command.args(["-w", &WORKERS.to_string(), "-b", "127.0.0.1:0", "app:application"]);
        command.arg("--chdir").arg(root().join("tests/python"));
        command.envs(variable.map(|name| (name, dir.path())));
        let mut master = Running::start(&mut command);
        let line = master.line_after("Listening at: ");
        let url = line.split(' ').next().unwrap().to_owned();
        let mut requests = Requests::default();
        requests.send_until(&url, WORKERS, &requests.pids.clone());
        Some(Site { master, url, dir, requests })
    }

    /// Kills a worker and waits for its replacement; returns the pid of the killed worker.
    fn replace_worker(&mut self) -> u32 {
        let before = self.requests.pids.clone();
        let killed = *before.iter().find(|pid| is_alive(**pid)).unwrap();
        signal(killed, "KILL");
        wait_for("end of the worker", PATIENCE, || (!is_alive(killed)).then_some(()));
        self.requests.send_until(&self.url, 1, &before);
        assert!(self.master.is_running(), "{}", self.master.stderr());
        killed
    }

    /// Asserts that each request succeeded and, with a directory, was counted. Returns the log.
    fn end(self) -> String {
        assert_eq!(self.requests.failed, 0);
        let text = output_of(multiprom().arg("dump").arg("--dir").arg(self.dir.path()));
        let is_in_memory = !fs::read_dir(self.dir.path()).unwrap().any(|_| true);
        let counted = if is_in_memory { 0 } else { self.requests.acknowledged };
        assert_eq!(sum_of(&text, "app_requests_total"), f64::from(counted), "{text}");
        self.master.signal("TERM");
        let output = self.master.end();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{log}");
        assert!(!log.contains("Traceback"), "{log}");
        log
    }
}

#[test]
fn gunicorn_continues_when_the_command_of_its_hook_is_missing() {
    let Some(mut site) = Site::gunicorn(&Stub::missing(), Some("PROMETHEUS_MULTIPROC_DIR")) else {
        return;
    };
    for _ in 0..2 {
        let killed = site.replace_worker();
        site.master.line_after(&format!("cannot remove the live gauges of worker {killed}"));
    }
    site.end();
}

#[test]
fn gunicorn_continues_when_the_variable_of_its_hook_is_not_set() {
    let stub = Stub::new("exit 0");
    let Some(mut site) = Site::gunicorn(&stub, None) else { return };
    site.replace_worker();
    site.replace_worker();
    assert_eq!(
        fs::read_to_string(&stub.log).unwrap(),
        "",
        "the hook is called without a directory"
    );
    site.end();
    // Releases of the client before 0.7 read the lower-case variable.
    let Some(mut site) = Site::gunicorn(&stub, Some("prometheus_multiproc_dir")) else { return };
    let killed = site.replace_worker();
    stub.call_for(killed);
    site.end();
}

/// gunicorn shuts down if a worker exits with status 3 or 4.
#[test]
fn gunicorn_continues_whatever_the_exit_status_of_its_hook() {
    let stub =
        Stub::new("case $(wc -l <\"$0.log\") in 1) exit 1 ;; 2) exit 3 ;; *) exit 4 ;; esac");
    let Some(mut site) = Site::gunicorn(&stub, Some("PROMETHEUS_MULTIPROC_DIR")) else { return };
    for _ in 0..3 {
        let killed = site.replace_worker();
        stub.call_for(killed);
    }
    site.end();
}

#[test]
fn gunicorn_does_not_wait_for_its_hook_which_is_ended_after_five_seconds() {
    let stub = Stub::new("exec sleep 600 >/dev/null 2>&1");
    let Some(mut site) = Site::gunicorn(&stub, Some("PROMETHEUS_MULTIPROC_DIR")) else { return };
    let start = Instant::now();
    let killed = site.replace_worker();
    let hook = stub.call_for(killed);
    // If gunicorn waited for its hook, the hook would have ended before the replacement responds.
    assert!(is_alive(hook) || start.elapsed() > HOOK_TIMEOUT, "the hook ended too early");
    wait_for("end of the hook", PATIENCE, || (!is_alive(hook)).then_some(()));
    site.replace_worker();
    site.end();
}

/// A module that replaces the Python client.
fn client_stub(mark_process_dead: &str) -> TestDir {
    let dir = TestDir::new("client");
    let package = dir.path().join("prometheus_client");
    fs::create_dir(&package).unwrap();
    fs::write(package.join("__init__.py"), "").unwrap();
    let function = format!("def mark_process_dead(pid):\n    {mark_process_dead}\n");
    fs::write(package.join("multiprocess.py"), function).unwrap();
    dir
}

/// Terminates workers of uWSGI, one after the other, until `mark` is in the log. Asserts that each is replaced.
///
/// `modules` is the directory of the client's modules, which the hook imports.
fn assert_uwsgi_continues(modules: &Path, dir: Option<&Path>, mark: &str) {
    if !is_installed("uwsgi_python3") {
        return;
    }
    let mut command = Command::new("uwsgi_python3");
    python_environment(&mut command, &[]).arg("--ini").arg(recipe("uwsgi.ini"));
    command.envs(dir.map(|dir| ("PROMETHEUS_MULTIPROC_DIR", dir)));
    command.args(["--module", "plain:application", "--http-socket", "127.0.0.1:0"]);
    command.args(["--processes", &WORKERS.to_string(), "--import", "uwsgi_hook"]);
    for path in [modules, &root().join("tests/python"), &root().join("examples")] {
        command.arg("--pythonpath").arg(path);
    }
    let mut master = Running::start(&mut command);
    let line = master.line_after("bound to TCP address ");
    let url = format!("http://{}", line.split(' ').next().unwrap());
    wait_for("a worker", PATIENCE, || get(&url).ok());
    let mut requests = Requests::default();
    requests.send_until(&url, WORKERS, &requests.pids.clone());
    // NOTE: uWSGI runs no hook in a worker that has sent a response and is not yet idle again.
    wait_for("the hook", PATIENCE, || {
        let before = requests.pids.clone();
        let ended = *before.iter().find(|pid| is_alive(**pid)).unwrap();
        signal(ended, "INT");
        wait_for("end of the worker", PATIENCE, || (!is_alive(ended)).then_some(()));
        requests.send_until(&url, 1, &before);
        assert!(master.is_running(), "{}", master.stderr());
        master.stderr().contains(mark).then_some(())
    });
    assert_eq!(requests.failed, 0);
    master.signal("TERM");
    let log = String::from_utf8(master.end().stderr).unwrap();
    assert!(!log.contains("Traceback"), "{log}");
}

#[test]
fn uwsgi_continues_when_its_hook_cannot_import_the_client() {
    let (none, dir) = (TestDir::new("none"), TestDir::new("uwsgi"));
    assert_uwsgi_continues(none.path(), Some(dir.path()), "No module named 'prometheus_client'");
}

#[test]
fn uwsgi_continues_when_the_variable_of_its_hook_is_not_set() {
    let Some(packages) = packages("newest") else { return };
    // The hook removes and logs nothing, so wait for the log line about a replaced worker.
    assert_uwsgi_continues(&packages, None, "Respawned uWSGI worker");
}

#[test]
fn uwsgi_continues_when_its_hook_fails() {
    let (modules, dir) = (client_stub("raise PermissionError('refused')"), TestDir::new("uwsgi"));
    assert_uwsgi_continues(modules.path(), Some(dir.path()), "refused");
}

#[test]
fn uwsgi_continues_when_its_hook_takes_longer_than_five_seconds() {
    let hang = "import sys, time; print('hangs', file=sys.stderr); time.sleep(600)";
    let (modules, dir) = (client_stub(hang), TestDir::new("uwsgi"));
    assert_uwsgi_continues(modules.path(), Some(dir.path()), "hangs");
}

/// Kills a process of supervisord twice; asserts that one listener handles both events.
///
/// `dir` is the first directory in the path of the listener. Each event writes one line with `mark`.
fn assert_supervisord_continues(dir: &Path, variable: Option<&Path>, mark: &str) {
    let Some(programs) = programs("supervisor") else { return };
    let home = TestDir::new("supervisord");
    let program = format!("python {}", root().join("tests/python/steady.py").display());
    let text = fs::read_to_string(recipe("supervisord.conf")).unwrap();
    let (config, log) = (home.path().join("supervisord.conf"), home.path().join("listener.log"));
    // The section of the listener is the last one.
    let text = text.replace("python app.py", &program).replace("numprocs = 2", "numprocs = 1")
        + &format!("stderr_logfile = {}\n", log.display());
    fs::write(&config, text).unwrap();
    let listener = home.path().join("supervisord_listener.py");
    fs::copy(recipe("supervisord_listener.py"), &listener).unwrap();
    let mut command = Command::new(programs.join("supervisord"));
    python_environment(&mut command, &[dir, &programs]).arg("-c").arg(&config);
    command.envs(variable.map(|dir| ("PROMETHEUS_MULTIPROC_DIR", dir)));
    let mut supervisor = Running::start(&mut command);
    let listeners = || processes_with_argument(listener.to_str().unwrap());
    let listening = wait_for("the listener", PATIENCE, || listeners().first().copied());
    let process = |supervisor: &Running| {
        let spawned = "spawned: 'app_0' with pid ";
        let text = supervisor.stdout();
        let (_, pid) = text.rsplit_once(spawned)?;
        pid.split_once('\n')?.0.parse::<u32>().ok()
    };
    let mut pid = wait_for("a process", PATIENCE, || process(&supervisor));
    for event in 1..=2 {
        signal(pid, "KILL");
        pid = wait_for("another process", PATIENCE, || {
            process(&supervisor).filter(|another| *another != pid)
        });
        wait_for("line of the hook", PATIENCE, || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            (text.matches(mark).count() == event).then_some(())
        });
    }
    assert_eq!(listeners(), [listening], "{}", fs::read_to_string(&log).unwrap());
    assert!(supervisor.is_running() && is_alive(pid));
    supervisor.signal("TERM");
    supervisor.end();
}

#[test]
fn the_listener_of_supervisord_continues_when_its_command_is_missing() {
    let dir = TestDir::new("supervised");
    assert_supervisord_continues(Stub::missing().dir.path(), Some(dir.path()), "cannot remove");
}

#[test]
fn the_listener_of_supervisord_continues_when_the_variable_is_not_set() {
    assert_supervisord_continues(&multiprom_dir(), None, "no directory");
}

#[test]
fn the_listener_of_supervisord_continues_whatever_the_exit_status_of_its_command() {
    let dir = TestDir::new("supervised");
    let stub = Stub::new("echo called >&2; exit 3");
    assert_supervisord_continues(stub.dir.path(), Some(dir.path()), "called");
}

#[test]
fn the_listener_of_supervisord_ends_a_command_that_takes_longer_than_five_seconds() {
    let dir = TestDir::new("supervised");
    // Only the first call hangs; the second one is made when the first was ended.
    let hang = "[ $(wc -l <\"$0.log\") -gt 1 ] || exec sleep 600 >/dev/null 2>&1";
    let stub = Stub::new(&format!("echo called >&2; {hang}"));
    assert_supervisord_continues(stub.dir.path(), Some(dir.path()), "called");
}
