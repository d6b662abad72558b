//! The file that makes an exporter a target of Prometheus: `file_sd_configs` reads it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser as _};

use super::log;
use crate::error::{Error, ErrorKind, Result};
use crate::file::key::push_string;
use crate::http::{Endpoint, ExporterBuilder};
use crate::model::name::is_label_name;
use crate::outgoing::replace_file;

const HEADING: &str = "Service discovery";

/// Prometheus may run as another user.
const MODE: u32 = 0o644;

#[derive(Args, Clone, Debug)]
pub(super) struct DiscoveryArguments {
    /// Write the address to a file for file_sd_configs of Prometheus while the metrics are served; its name ends in .json
    #[arg(id = "discovery.file", long = "discovery.file", value_name = "FILE", value_parser = PathBufValueParser::new().try_map(check_file), help_heading = HEADING)]
    file: Option<PathBuf>,
    /// Add a label to the target, such as job=shop (repeatable)
    #[arg(id = "discovery.label", long = "discovery.label", value_name = "NAME=VALUE", value_parser = parse_target_label)]
    #[arg(requires = "discovery.file", help_heading = HEADING)]
    labels: Vec<(String, String)>,
    /// Name or address by which Prometheus reaches this machine [default: the address that is listened on, or the name of
    /// the machine for all interfaces]
    #[arg(id = "discovery.host", long = "discovery.host", value_name = "HOST", requires = "discovery.file", help_heading = HEADING)]
    host: Option<String>,
}

impl DiscoveryArguments {
    /// Makes an exporter write the file when it has started, and remove it before it stops.
    pub(super) fn apply(&self, builder: ExporterBuilder) -> ExporterBuilder {
        let Some(path) = self.file.clone() else {
            return builder;
        };
        let (arguments, removed) = (self.clone(), path.clone());
        // The name of the machine may change before the stop.
        let written = Arc::new(OnceLock::new());
        let started = Arc::clone(&written);
        builder
            .on_start(move |endpoints| {
                let text = arguments.text(endpoints)?;
                replace_file(&path, None, MODE, |file| file.write_all(&text))?;
                started.get_or_init(|| text);
                Ok::<(), Error>(())
            })
            .on_stop(move |_| {
                // Another exporter may have replaced the file.
                if fs::read(&removed).is_ok_and(|found| Some(&found) == written.get())
                    && let Err(error) = fs::remove_file(&removed)
                {
                    log::warn(&Error::at(ErrorKind::Io, &removed, error));
                }
            })
    }

    /// The content of the file, with one target: several addresses would be several targets with the same series.
    fn text(&self, endpoints: &[Endpoint]) -> Result<Vec<u8>> {
        let tcp = || endpoints.iter().filter_map(|endpoint| Some((endpoint, endpoint.address()?)));
        // The first address that other machines reach, else the first one.
        let remote = tcp().find(|(_, address)| !address.ip().is_loopback());
        let (endpoint, address) = remote.or_else(|| tcp().next()).ok_or_else(|| {
            let message =
                "--discovery.file needs a TCP address: Prometheus cannot scrape Unix sockets";
            Error::new(ErrorKind::Usage, message)
        })?;
        let target = match &self.host {
            None => endpoint.target().unwrap_or_default(),
            Some(host) => match host.parse::<IpAddr>() {
                Ok(IpAddr::V6(ip)) => format!("[{ip}]:{}", address.port()),
                _ => format!("{host}:{}", address.port()),
            },
        };
        let mut labels = BTreeMap::from([
            ("__metrics_path__", endpoint.telemetry_path()),
            ("__scheme__", endpoint.scheme()),
        ]);
        labels.extend(self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut text = b"[\n  {\n    \"targets\": [".to_vec();
        push_string(&mut text, &target);
        text.extend_from_slice(b"],\n    \"labels\": {");
        for (at, (name, value)) in labels.into_iter().enumerate() {
            text.extend_from_slice(if at == 0 { b"\n      " } else { b",\n      " });
            push_string(&mut text, name);
            text.extend_from_slice(b": ");
            push_string(&mut text, value);
        }
        text.extend_from_slice(b"\n    }\n  }\n]\n");
        Ok(text)
    }
}

/// Checks the name of the file. Prometheus reads the format from its end.
fn check_file(path: PathBuf) -> Result<PathBuf, String> {
    match path.extension() {
        Some(extension) if extension == "json" => Ok(path),
        _ => Err("the name must end in .json".to_owned()),
    }
}

/// Parses a label of a target. Prometheus gives a meaning to some names that begin with `__`.
fn parse_target_label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if !is_label_name(name) {
        return Err(format!("`{name}` is not a label name"));
    }
    Ok((name.to_owned(), value.to_owned()))
}
