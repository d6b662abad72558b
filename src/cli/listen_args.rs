//! Arguments of the commands that serve metrics.

use std::path::PathBuf;

use clap::Args;

use super::discovery::DiscoveryArguments;
use super::values::octal;
use crate::http::ListenAddress;

/// The addresses and the path of an exporter, and what protects it.
#[derive(Args, Clone, Debug)]
pub(super) struct ListenArguments {
    /// Address to listen on: HOST:PORT, PORT for all interfaces, unix:PATH, or systemd (repeatable) [default:
    /// 127.0.0.1:9464, or none in a `run` that pushes]
    #[arg(long = "web.listen-address", visible_alias = "listen", value_name = "ADDRESS")]
    pub(super) listen: Vec<ListenAddress>,
    /// Listen on the sockets that systemd passes, instead of --web.listen-address
    #[arg(long = "web.systemd-socket")]
    pub(super) systemd_socket: bool,
    /// Permissions of the files of Unix sockets, in octal [default: those of the umask]
    #[arg(long = "web.socket-mode", value_name = "MODE", value_parser = parse_socket_mode)]
    pub(super) socket_mode: Option<u32>,
    /// File in the format of the Prometheus exporter toolkit: TLS, client certificates, basic authentication, headers, rate
    /// limit. A changed file takes effect within a second
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub(super) web_config: Option<PathBuf>,
    /// Serve a list of links at / instead of the status page, which shows processes, families and their values
    #[arg(long = "web.no-status-page")]
    pub(super) no_status_page: bool,
    /// HTTP path of the metrics
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics")]
    pub(super) telemetry_path: String,
    #[command(flatten)]
    pub(super) discovery: DiscoveryArguments,
}

impl ListenArguments {
    /// Whether an address is given.
    pub(super) fn has_address(&self) -> bool {
        self.systemd_socket || !self.listen.is_empty()
    }

    /// The addresses to listen on; none for the default of the exporter.
    pub(super) fn addresses(&self) -> Vec<ListenAddress> {
        if self.systemd_socket { vec![ListenAddress::Systemd] } else { self.listen.clone() }
    }
}

fn parse_socket_mode(text: &str) -> Result<u32, String> {
    octal(text, 0o777).ok_or_else(|| "expected three octal digits, such as 660".to_owned())
}
