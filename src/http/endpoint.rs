//! Where an exporter listens: its URLs, and its target for service discovery.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

/// An address of an [`Exporter`](super::Exporter), with the URLs of its pages.
///
/// ```
/// use multiprom::{Registry, http::Exporter};
///
/// let exporter = Exporter::builder(Registry::new()).listen("[::1]:0".parse()?).start()?;
/// let endpoint = &exporter.endpoints()[0];
/// let port = endpoint.address().unwrap().port();
/// assert_eq!(endpoint.base_url(), format!("http://[::1]:{port}"));
/// assert_eq!(endpoint.root_url(), format!("http://[::1]:{port}/"));
/// assert_eq!(endpoint.metrics_url(), format!("http://[::1]:{port}/metrics"));
/// assert_eq!(endpoint.target(), Some(format!("[::1]:{port}")));
/// # Ok::<(), multiprom::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) socket: SocketName,
    pub(super) scheme: &'static str,
    pub(super) telemetry_path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SocketName {
    Tcp(SocketAddr),
    /// The path; empty for a socket without a name.
    Unix(PathBuf),
}

impl Endpoint {
    /// Returns the address with the port that was selected; `None` for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.socket {
            SocketName::Tcp(address) => Some(address),
            SocketName::Unix(_) => None,
        }
    }

    /// Returns `http` or, with TLS, `https`.
    pub fn scheme(&self) -> &str {
        self.scheme
    }

    /// Returns the path of the exposition.
    pub fn telemetry_path(&self) -> &str {
        &self.telemetry_path
    }

    /// Returns the URL without a path, such as `http://127.0.0.1:9464` or `https://[::1]:9464`; `unix:PATH` for a Unix
    /// socket.
    ///
    /// An exporter of all interfaces has the unspecified address, `[::]` or `0.0.0.0`, which is valid on its machine only:
    /// see [`target`](Endpoint::target).
    pub fn base_url(&self) -> String {
        match &self.socket {
            SocketName::Tcp(address) => format!("{}://{address}", self.scheme),
            SocketName::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Returns the URL of the landing page; that of the socket for a Unix socket.
    pub fn root_url(&self) -> String {
        self.with_path("/")
    }

    /// Returns the URL to scrape; that of the socket for a Unix socket.
    pub fn metrics_url(&self) -> String {
        self.with_path(&self.telemetry_path)
    }

    fn with_path(&self, path: &str) -> String {
        let base = self.base_url();
        if self.address().is_some() { base + path } else { base }
    }

    /// Returns `HOST:PORT` for service discovery; `None` for a Unix socket.
    ///
    /// The host is the address or, if the exporter listens on all interfaces, the name of this machine. (It is the address
    /// if the name cannot be read.) Whether other machines can resolve the name depends on the network.
    pub fn target(&self) -> Option<String> {
        let address = self.address()?;
        let name = address.ip().is_unspecified().then(host_name).flatten();
        Some(match name {
            Some(name) => format!("{name}:{}", address.port()),
            None => address.to_string(),
        })
    }
}

/// The name of this machine, or of its container.
fn host_name() -> Option<String> {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let names = files.into_iter().filter_map(|file| fs::read_to_string(file).ok());
    let mut names = names.map(|name| name.trim().to_owned());
    names.find(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(socket: SocketName) -> Endpoint {
        Endpoint { socket, scheme: "https", telemetry_path: "/m".to_owned() }
    }

    #[test]
    fn urls_have_brackets_and_the_scheme_and_unix_sockets_have_no_target() {
        let tcp = endpoint(SocketName::Tcp("[::1]:9464".parse().unwrap()));
        assert_eq!(tcp.base_url(), "https://[::1]:9464");
        assert_eq!(tcp.root_url(), "https://[::1]:9464/");
        assert_eq!(tcp.metrics_url(), "https://[::1]:9464/m");
        assert_eq!(tcp.target().unwrap(), "[::1]:9464");
        let unix = endpoint(SocketName::Unix("/run/m.sock".into()));
        assert_eq!(unix.metrics_url(), "unix:/run/m.sock");
        assert_eq!((unix.address(), unix.target()), (None, None));
    }

    #[test]
    fn the_target_of_all_interfaces_is_the_name_of_the_machine() {
        let name = host_name().unwrap();
        for address in ["0.0.0.0:9464", "[::]:9464"] {
            let all = endpoint(SocketName::Tcp(address.parse().unwrap()));
            assert_eq!(all.target().unwrap(), format!("{name}:9464"));
            assert_eq!(all.base_url(), format!("https://{address}"));
        }
    }
}
