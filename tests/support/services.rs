//! Real servers that metrics are pushed to, and servers that fail.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use multiprom::collector::SampleKind;
use multiprom::parse::Parser;

use super::http::get;
use super::process::{PATIENCE, Running};
use super::{skip, target, wait_for};

/// A server of a Debian package that is installed, or that `scripts/test` has unpacked into the target directory.
///
/// Returns `None` if it is missing: the test is then counted as skipped.
fn server(name: &str) -> Option<Command> {
    let unpacked = target().join("debian/usr/bin").join(name);
    let program = if unpacked.exists() { unpacked } else { PathBuf::from(name) };
    if Command::new(&program).arg("--version").output().is_err() {
        skip(&format!("{name} is not installed: run scripts/test"));
        return None;
    }
    let mut command = Command::new(program);
    command.arg("--web.listen-address=127.0.0.1:0");
    Some(command)
}

/// Starts a Pushgateway; returns it and its `HOST:PORT`.
pub fn pushgateway(flags: &[&str]) -> Option<(Running, String)> {
    let mut command = server("prometheus-pushgateway")?;
    // Debian's default is a file that all gateways of the machine share.
    let mut running = Running::start(command.arg("--persistence.file=").args(flags));
    let address = running.line_after("msg=\"Listening on\" address=");
    Some((running, address))
}

/// Starts a node_exporter that reads the textfiles of a directory; returns it and the URL of its metrics.
pub fn node_exporter(textfiles: &Path) -> Option<(Running, String)> {
    let mut command = server("prometheus-node-exporter")?;
    command.args(["--collector.disable-defaults", "--collector.textfile"]);
    command.arg(format!("--collector.textfile.directory={}", textfiles.display()));
    let mut running = Running::start(&mut command);
    let address = running.line_after("msg=\"Listening on\" address=");
    let url = format!("http://{address}/metrics");
    wait_for("node_exporter", PATIENCE, || get(&url).ok().filter(|page| page.status == 200));
    Some((running, url))
}

/// Series with their values, by name and sorted labels.
pub type Series = BTreeMap<String, String>;

/// The series of a text exposition. Labels without a value, which servers add or drop, are left out.
pub fn series_of(text: &str) -> Series {
    let mut found = Series::new();
    for family in Parser::text(text.as_bytes()) {
        let family = family.unwrap();
        for sample in &family.samples {
            let mut labels: Vec<(String, String)> = sample.labels.clone();
            match sample.kind {
                SampleKind::Bucket(bound) => labels.push(("le".to_owned(), bound.to_string())),
                SampleKind::Quantile(bound) => {
                    labels.push(("quantile".to_owned(), bound.to_string()));
                }
                _ => {}
            }
            labels.retain(|(_, value)| !value.is_empty());
            labels.sort_unstable();
            // Servers in Go write -0 as 0.
            let value = if sample.value == 0.0 { 0.0 } else { sample.value };
            let name = format!("{}{}{labels:?}", family.name, sample.kind.suffix());
            assert_eq!(found.insert(name, value.to_string()), None, "a repeated series");
        }
    }
    found
}

/// A server on loopback for connections that `serve` handles one after the other; returns its address. The thread ends with
/// the process.
pub fn listen(mut serve: impl FnMut(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().flatten().for_each(&mut serve));
    address
}

/// An address of loopback where nothing listens, as long as this process lives: its port is that of a connected client, so
/// that no other socket gets it.
pub fn refusing() -> String {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let address = client.local_addr().unwrap().to_string();
    // It stays open, and so does its other end.
    std::mem::forget((server.accept().unwrap(), client));
    address
}

/// An address of loopback that only its caller uses: other sockets are bound to 127.0.0.1, so that their ports do not matter.
/// Processes with consecutive pids get addresses of different networks.
pub fn own_host() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [low, high] = NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    Ipv4Addr::new(127, 1 + (std::process::id() % 250) as u8, high, low)
}

/// A free port of an address of its own. It stays free until the caller uses it.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((own_host(), 0)).unwrap().local_addr().unwrap()
}

/// Reads a whole HTTP request; returns its head and its body.
pub fn read_request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut chunk).unwrap_or(0);
        bytes.extend_from_slice(&chunk[..count]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
            let len = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let len: usize = len.map_or(0, |len| len.parse().unwrap());
            if count == 0 || bytes.len() >= end + 4 + len {
                return (head, bytes.split_off(end + 4));
            }
        }
        if count == 0 {
            return (String::new(), bytes);
        }
    }
}

/// Sends a response, and ends the connection.
pub fn respond(mut stream: TcpStream, response: &str) {
    // OK because the client may have ended the connection.
    let _ = stream.write_all(response.as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0; 16]);
}

/// Ends a connection by a reset: the kernel sends one if a socket with unread data is closed.
#[expect(clippy::needless_pass_by_value, reason = "the connection ends here")]
pub fn reset(stream: TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.peek(&mut [0]);
}

/// Keeps a connection open until the client ends it, and sends nothing.
pub fn ignore(mut stream: TcpStream) {
    stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
    let mut chunk = [0; 4096];
    while stream.read(&mut chunk).is_ok_and(|count| count > 0) {}
}
