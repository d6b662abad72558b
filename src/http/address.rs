//! Addresses that an exporter listens on.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};
use crate::model::number::parse_digits;

/// The address that an exporter listens on: `HOST:PORT`, `:PORT` or `PORT` for all interfaces, `unix:PATH`, or `systemd` for the
/// sockets of a socket unit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenAddress {
    /// A TCP address: `HOST:PORT`, or `:PORT` for all interfaces, by IPv6 and IPv4, or by IPv4 if the kernel has no IPv6.
    /// Port 0 selects a free port.
    Tcp(String),
    /// The path of a Unix socket, which is created, and removed when the exporter stops.
    Unix(PathBuf),
    /// The listening sockets that systemd has passed to this process, TCP and Unix. At least one is needed.
    Systemd,
}

impl FromStr for ListenAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<ListenAddress, Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(Error::new(ErrorKind::Usage, "`unix:` needs a path")),
                path => Ok(ListenAddress::Unix(path.into())),
            };
        }
        if text == "systemd" {
            return Ok(ListenAddress::Systemd);
        }
        let refuse = || {
            let message = format!("`{text}` is not HOST:PORT, :PORT, PORT, unix:PATH or systemd");
            Error::new(ErrorKind::Usage, message)
        };
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        parse_digits::<u16>(port).ok_or_else(refuse)?;
        Ok(ListenAddress::Tcp(format!("{host}:{port}")))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => f.write_str(address),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            ListenAddress::Systemd => f.write_str("systemd"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_in_their_five_forms() {
        let parsed = |text: &str| text.parse::<ListenAddress>().map(|address| address.to_string());
        assert_eq!(parsed("127.0.0.1:9464").unwrap(), "127.0.0.1:9464");
        assert_eq!(parsed(":0").unwrap(), ":0");
        assert_eq!(parsed("8080").unwrap(), ":8080");
        assert_eq!(parsed("unix:/run/m.sock").unwrap(), "unix:/run/m.sock");
        assert_eq!(parsed("systemd").unwrap(), "systemd");
        for bad in ["", "host", "70000", "+80", "host:", "host:+80", "host:99999", "unix:"] {
            assert_eq!(parsed(bad).unwrap_err().kind(), ErrorKind::Usage, "{bad}");
        }
    }
}
