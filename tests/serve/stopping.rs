//! Several listeners, permissions of sockets, sockets of systemd, and signals that end a server.

use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::Instant;

use multiprom::http::{Exporter, ListenAddress};
use multiprom::{Backend, Counter, ErrorKind, Registry};

use super::{Served, stop};
use crate::support::http::{Connection, scrape, sum_of};
use crate::support::process::{PATIENCE, Running};
use crate::support::{TestDir, example, multiprom, output_of, wait_for};

#[test]
fn one_server_listens_on_several_addresses() {
    let dir = TestDir::new("several");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let socket = dir.path().join("metrics.sock");
    let unix = format!("unix:{}", socket.display());
    let mut command = multiprom();
    command.args(["serve", "--web.socket-mode", "666", "--dir"]).arg(dir.path());
    for address in ["127.0.0.1:0", &unix, "[::1]:0"] {
        command.args(["--web.listen-address", address]);
    }
    let mut server = Running::start(&mut command);
    let urls: Vec<String> = wait_for("three URLs", PATIENCE, || {
        let text = server.stderr();
        let urls = text.lines().filter_map(|line| line.strip_prefix("multiprom: serving "));
        let urls: Vec<String> = urls.map(str::to_owned).collect();
        assert!(server.is_running(), "{text}");
        (urls.len() == 3).then_some(urls)
    });
    assert!(urls[0].starts_with("http://127.0.0.1:") && urls[2].starts_with("http://[::1]:"));
    for url in &urls {
        let body = Connection::open(url).unwrap().request("GET", "/metrics", "").body;
        assert_eq!(sum_of(&body, "jobs_total"), 5.0, "{url}");
    }
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666, "whatever the umask is");
    server.signal("TERM");
    assert_eq!(server.end().status.code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn the_default_address_is_loopback() {
    let output = multiprom().args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = help.split_whitespace().collect();
    assert!(words.join(" ").contains("[default: 127.0.0.1:9464"), "{help}");
}

/// Starts `serve` as systemd does, with one listening socket.
fn activated(dir: &TestDir, socket: OwnedFd, pid: &str) -> Running {
    let mut command = Command::new("sh");
    let script = format!(
        "exec 3<&0 </dev/null; LISTEN_PID={pid}; LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS; exec \"$@\""
    );
    command.args(["-c", &script, "sh"]).arg(multiprom().get_program());
    command.args(["serve", "--web.systemd-socket", "--dir"]).arg(dir.path());
    Running::start_with_stdin(&mut command, Stdio::from(socket))
}

#[test]
fn sockets_of_systemd_are_used_and_stay_open() {
    let dir = TestDir::new("systemd");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = dir.path().join("passed.sock");
    let unix = UnixListener::bind(&path).unwrap();
    for (socket, expected) in [
        (tcp.as_fd(), format!("http://{}/metrics", tcp.local_addr().unwrap())),
        (unix.as_fd(), format!("unix:{}", path.display())),
    ] {
        let mut server = activated(&dir, socket.try_clone_to_owned().unwrap(), "$$");
        assert_eq!(server.url(), expected);
        let body = Connection::open(&expected).unwrap().request("GET", "/metrics", "").body;
        assert_eq!(sum_of(&body, "jobs_total"), 5.0);
        stop(server);
    }
    assert!(path.exists(), "the file belongs to systemd");
    // Sockets for another process, and a descriptor that does not listen.
    let file = OwnedFd::from(fs::File::open("/dev/null").unwrap());
    for (socket, pid, part) in [
        (
            tcp.as_fd().try_clone_to_owned().unwrap(),
            "1",
            "no socket activation file descriptors found",
        ),
        (file, "$$", "cannot listen on systemd: "),
    ] {
        let output = activated(&dir, socket, pid).end();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[test]
fn an_address_that_cannot_be_bound_ends_the_start_and_leaves_no_socket() {
    let dir = TestDir::new("half");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = dir.path().join("metrics.sock");
    let taken = ListenAddress::Tcp(taken.local_addr().unwrap().to_string());
    let builder = Exporter::builder(Registry::new()).listen(ListenAddress::Unix(socket.clone()));
    let error = builder.listen(taken).start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Listen);
    assert!(!socket.exists());
}

#[test]
fn a_second_signal_ends_a_server_that_waits_for_a_response() {
    let dir = TestDir::in_memory("second");
    let backend = Backend::directory(dir.path()).unwrap();
    let registry = Registry::builder().backend(backend).build().unwrap();
    let family = Counter::builder("jobs", "Jobs.").labels(["number"]);
    let family = family.register(&registry).unwrap();
    for number in 0..3000 {
        family.with([&number.to_string()]).inc();
    }
    registry.close();
    let mut command = multiprom();
    command.args(["serve", "--compact", "off", "--listen", "127.0.0.1:0", "--dir"]).arg(dir.path());
    let mut server =
        Running::start(command.args(["--label", &format!("filler={}", "x".repeat(10_000))]));
    let url = server.url();
    assert_eq!(sum_of(&scrape(&url.replace("/metrics", "/-/ready")), "jobs"), 0.0);
    // 30 MB, of which the client reads the beginning only: the response is in progress.
    let mut slow = Connection::open(&url).unwrap();
    slow.send(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    slow.head().unwrap();
    let begin = Instant::now();
    server.signal("TERM");
    // The listener is closed; the server waits for the response.
    wait_for("the end of the listener", PATIENCE, || Connection::open(&url).is_err().then_some(()));
    server.signal("TERM");
    assert_eq!(server.end().status.code(), Some(128 + 15));
    assert!(begin.elapsed().as_secs_f64() < 4.0, "{:?}", begin.elapsed());
}

/// Waits for a push to a server that never responds, then sends SIGTERM until the program ends; returns its status.
pub(super) fn status_after_signals_in_a_push(command: &mut Command, flags: &[&str]) -> Option<i32> {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let url = format!("http://{}/metrics/job/x", silent.local_addr().unwrap());
    let mut pushing = Running::start(command.args(["--push-url", &url]).args(flags));
    let _connection = wait_for("a push", PATIENCE, || silent.accept().ok());
    wait_for("the end", PATIENCE, || {
        let is_running = pushing.is_running();
        if is_running {
            pushing.signal("TERM");
        }
        (!is_running).then_some(())
    });
    pushing.end().status.code()
}

#[test]
fn a_second_signal_ends_a_last_push_without_a_response() {
    let mut run = multiprom();
    let flags = ["--", "sh", "-c", "exit 3"];
    assert_eq!(status_after_signals_in_a_push(run.arg("run"), &flags), Some(3));
    let dir = TestDir::new("pushing");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let mut push = multiprom();
    push.args(["push", "--dir"]).arg(dir.path());
    let status = status_after_signals_in_a_push(&mut push, &["--push-interval", "1h"]);
    assert_eq!(status, Some(128 + 15));
}

#[test]
fn sighup_without_a_web_configuration_ends_nothing() {
    let mut served = Served::start("hup", &[]);
    served.server.signal("HUP");
    served.server.line_after("multiprom: SIGHUP: ");
    assert_eq!(served.connect().request("GET", "/metrics", "").status, 200);
    served.server.signal("TERM");
    assert_eq!(served.server.end().status.code(), Some(0));
}
