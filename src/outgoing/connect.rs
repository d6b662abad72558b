//! Connects to a host by TCP, by a deadline.

use std::error::Error as StdError;
use std::fmt;
use std::io;
#[cfg(feature = "push")]
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::background::Thread;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The host name cannot be resolved.
    Lookup { host: String, cause: io::Error },
    /// The name server has not responded by the deadline.
    LookupTimeout { host: String },
    /// The host name has no address.
    NoAddress { host: String },
    /// The last of the addresses cannot be connected to.
    Connect { address: SocketAddr, cause: io::Error },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Lookup { host, .. } => write!(f, "cannot resolve the host `{host}`"),
            ConnectError::LookupTimeout { host } => {
                write!(
                    f,
                    "cannot resolve the host `{host}`: the name server does not respond in time"
                )
            }
            ConnectError::NoAddress { host } => write!(f, "the host `{host}` has no address"),
            ConnectError::Connect { address, .. } => write!(f, "cannot connect to {address}"),
        }
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            ConnectError::Lookup { cause, .. } | ConnectError::Connect { cause, .. } => Some(cause),
            ConnectError::LookupTimeout { .. } | ConnectError::NoAddress { .. } => None,
        }
    }
}

/// The deadline of what may take this time, or one in the far future.
pub(crate) fn deadline_after(timeout: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + FAR)
}

/// The time until a deadline.
///
/// # Errors
///
/// `TimedOut` if the deadline has passed.
pub(crate) fn remaining(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        time => Ok(time),
    }
}

/// Connects to the first address of a host that accepts a connection. Each address gets an equal share of the time that
/// remains, so that one that does not respond leaves time for the next one.
pub(crate) fn connect(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, ConnectError> {
    let addresses = look_up(host, port, deadline)?;
    let mut result = Err(ConnectError::NoAddress { host: host.to_owned() });
    for (at, address) in addresses.iter().enumerate() {
        let left = (addresses.len() - at) as u32;
        let connected = remaining(deadline)
            .and_then(|time| TcpStream::connect_timeout(address, (time / left).max(MIN_TIMEOUT)));
        match connected {
            Ok(stream) => return Ok(stream),
            Err(cause) => result = Err(ConnectError::Connect { address: *address, cause }),
        }
    }
    result
}

/// A host without the brackets of an IPv6 address.
pub(crate) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The local address from which this host reaches another host. No packet is sent.
#[cfg(feature = "push")]
pub(crate) fn local_ip(host: &str, port: u16, deadline: Instant) -> Result<IpAddr, ConnectError> {
    let mut result = Err(ConnectError::NoAddress { host: host.to_owned() });
    for address in look_up(host, port, deadline)? {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // NOTE: connect(2) of a datagram socket selects the route, and with it the local address.
        let local = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect(address)?;
            socket.local_addr()
        });
        match local {
            Ok(local) => return Ok(local.ip()),
            Err(cause) => result = Err(ConnectError::Connect { address, cause }),
        }
    }
    result
}

/// `connect_timeout` and `set_write_timeout` do not accept zero.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// Resolves a host name on a thread of its own, as a resolver has a timeout of its own.
fn look_up(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let failed = |cause| ConnectError::Lookup { host: host.to_owned(), cause };
    let (done, result) = mpsc::channel();
    let owned = host.to_owned();
    let resolve = move || {
        // OK because sending fails only if the deadline has passed.
        let _ = done.send((owned.as_str(), port).to_socket_addrs().map(Vec::from_iter));
    };
    let _thread = Thread::spawn("multiprom-dns", resolve).map_err(failed)?;
    match result.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(addresses) => addresses.map_err(failed),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(ConnectError::LookupTimeout { host: host.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_error_names_the_address_and_the_cause() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        assert!(connect("localhost", address.port(), deadline).is_ok());
        drop(listener);
        let error = connect("127.0.0.1", address.port(), deadline).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot connect to {address}"));
        let cause = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_host_that_does_not_exist_is_named() {
        // See: RFC 6761, section 6.4: `invalid` is never resolved. Without a name server the lookup may take until the
        // deadline.
        let deadline = Instant::now() + Duration::from_millis(300);
        let error = connect("gateway.invalid", 9091, deadline).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot resolve the host `gateway.invalid`"),
            "{error}"
        );
    }

    #[test]
    fn after_the_deadline_nothing_is_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = connect("127.0.0.1", port, Instant::now()).unwrap_err();
        assert!(
            matches!(error, ConnectError::Connect { cause, .. } if cause.kind() == io::ErrorKind::TimedOut)
        );
    }
}
