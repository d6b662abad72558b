//! The sockets of `serve`: Unix sockets, all interfaces, open connections at the end.

use std::fs;

use super::{Served, stop};
use crate::support::http::{Connection, scrape, sum_of};
use crate::support::process::Running;
use crate::support::{
    TestDir, example, in_network_namespace, multiprom, output_of, skip, without_ipv6,
};

#[test]
fn open_connections_do_not_delay_the_end_of_a_server() {
    let served = Served::start("open", &[]);
    let mut idle = served.connect();
    assert_eq!(idle.request("GET", "/metrics", "").status, 200);
    let mut silent = served.connect();
    let mut half = served.connect();
    half.send(b"GET /metrics HT").unwrap();
    // The server accepts in order: when it responds to this one, it has accepted the others.
    assert_eq!(served.connect().request("GET", "/-/healthy", "").status, 200);
    served.stop();
    assert!(idle.is_closed() && silent.is_closed() && half.is_closed());
}

#[test]
fn a_unix_socket_serves_and_is_removed() {
    let dir = TestDir::new("unix");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let socket = dir.path().join("metrics.sock");
    let listen = format!("unix:{}", socket.display());
    let start = || {
        let mut command = multiprom();
        command.args(["serve", "--listen", &listen, "--dir"]).arg(dir.path());
        Running::start(&mut command)
    };
    let mut server = start();
    assert_eq!(server.url(), listen);
    let mut connection = Connection::open(&listen).unwrap();
    let body = connection.request("GET", "/metrics", "").body;
    assert_eq!(sum_of(&body, "jobs_total"), 5.0);

    let refused = start().end();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(connection.request("GET", "/-/healthy", "").status, 200);
    stop(server);
    assert!(!socket.exists());

    // The socket of a killed server is replaced; a regular file is not.
    let mut killed = start();
    killed.url();
    killed.signal("KILL");
    killed.wait();
    assert!(socket.exists());
    let mut server = start();
    server.url();
    stop(server);
    fs::write(&socket, "a file").unwrap();
    assert_eq!(start().end().status.code(), Some(1));
    assert_eq!(fs::read_to_string(&socket).unwrap(), "a file");
}

#[test]
fn a_server_that_ends_does_not_remove_the_socket_of_its_successor() {
    let dir = TestDir::new("successor");
    let socket = dir.path().join("metrics.sock");
    let listen = format!("unix:{}", socket.display());
    let start = || {
        let mut command = multiprom();
        command.args(["serve", "--listen", &listen, "--dir"]).arg(dir.path());
        let mut server = Running::start(&mut command);
        server.url();
        server
    };
    let first = start();
    fs::remove_file(&socket).unwrap();
    let second = start();
    stop(first);
    assert_eq!(Connection::open(&listen).unwrap().request("GET", "/-/healthy", "").status, 200);
    stop(second);
    assert!(!socket.exists());
}

#[test]
fn all_interfaces_are_served_with_and_without_ipv6() {
    let dir = TestDir::new("interfaces");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    for (listen, has_ipv6, host) in [
        (":0", true, "[::]"),
        (":0", false, "0.0.0.0"),
        ("0", false, "0.0.0.0"),
        ("127.0.0.1:0", false, "127.0.0.1"),
    ] {
        let mut command = multiprom();
        command.args(["serve", "--listen", listen, "--dir"]).arg(dir.path());
        if !has_ipv6 {
            without_ipv6(&mut command);
        }
        let mut server = Running::start(&mut command);
        let url = server.url();
        let (scheme, port) = url.split_once(host).unwrap_or_else(|| panic!("{listen}: {url}"));
        let page = scrape(&[scheme, "127.0.0.1", port].concat());
        assert_eq!(sum_of(&page, "jobs_total"), 5.0);
        stop(server);
    }
    // An address that names IPv6 has no fallback.
    let mut command = multiprom();
    command.args(["serve", "--listen", "[::]:0", "--dir"]).arg(dir.path());
    without_ipv6(&mut command);
    let output = Running::start(&mut command).end();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("multiprom: cannot listen on [::]:0: "), "{stderr}");
}

#[test]
fn all_interfaces_are_served_by_both_protocols_if_ipv6_sockets_are_ipv6_only_by_default() {
    let dir = TestDir::new("bindv6only");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    in_network_namespace(|| {
        if let Err(error) = fs::write("/proc/sys/net/ipv6/bindv6only", "1") {
            return skip(&format!("net.ipv6.bindv6only cannot be set here: {error}"));
        }
        let mut command = multiprom();
        command.args(["serve", "--listen", ":0", "--dir"]).arg(dir.path());
        let mut server = Running::start(&mut command);
        let url = server.url();
        let (scheme, port) = url.split_once("[::]").unwrap_or_else(|| panic!("{url}"));
        for host in ["127.0.0.1", "[::1]"] {
            let page = scrape(&[scheme, host, port].concat());
            assert_eq!(sum_of(&page, "jobs_total"), 5.0, "{host}");
        }
        stop(server);
    });
}
