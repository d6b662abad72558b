//! The options of pushes, which `push` and `run` have.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};

use super::patterns::ReportingRegistry;
use super::values::with_unit;
use crate::error::{Error, ErrorKind, Result};
use crate::exposition::{Format, Negotiated};
use crate::model::Gatherer;
use crate::outgoing::Periodic;
use crate::push::{HttpTransport, Pusher};

/// How the group is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PushMethod {
    /// Replace all metrics of the group
    Put,
    /// Replace the families that are pushed, and keep the others
    Post,
    /// Delete the group
    Delete,
}

/// The format of a body.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum PushFormat {
    /// Prometheus text 0.0.4
    Text,
    /// Prometheus text 1.0.0, with any name in quotes
    TextUtf8,
    /// OpenMetrics 1.0.0, for --push-url
    Openmetrics,
    /// Delimited messages io.prometheus.client.MetricFamily
    Protobuf,
}

impl PushFormat {
    fn format(self) -> Format {
        match self {
            PushFormat::Text => Format::Text,
            PushFormat::TextUtf8 => Format::TextUtf8,
            PushFormat::Openmetrics => Format::OpenMetrics,
            PushFormat::Protobuf => Format::Protobuf,
        }
    }
}

/// The target of a push, and how to reach it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Push")]
#[command(group = ArgGroup::new("target").args(["gateway", "push_url"]))]
pub(super) struct PushOptions {
    /// Push to the Pushgateway at http://HOST:PORT, https://HOST:PORT or HOST:PORT; a path is kept
    #[arg(long, visible_alias = "push", value_name = "URL", requires = "job")]
    pub(super) gateway: Option<String>,
    /// Push to a URL that is used as it is, such as http://HOST:8428/api/v1/import/prometheus of VictoriaMetrics
    #[arg(long, value_name = "URL", conflicts_with_all = ["job", "grouping", "instance_ip"])]
    pub(super) push_url: Option<String>,
    /// Job of the group
    #[arg(long, value_name = "NAME", requires = "gateway")]
    pub(super) job: Option<String>,
    /// Add a label to the grouping key (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair, requires = "gateway")]
    pub(super) grouping: Vec<(String, String)>,
    /// Add the label instance to the grouping key, with the IP address by which this host reaches the gateway
    #[arg(long, requires = "gateway")]
    pub(super) instance_ip: bool,
    /// What a push does
    #[arg(long, value_enum, default_value = "put", requires = "target")]
    pub(super) method: PushMethod,
    /// Push every TIME: 500ms, 15s, 5m
    #[arg(long, alias = "interval", value_name = "TIME", value_parser = parse_duration, requires = "target")]
    pub(super) push_interval: Option<Duration>,
    /// Delete the group at the end instead of pushing the last values
    #[arg(long, requires = "target")]
    pub(super) delete_at_end: bool,
    /// Format of pushes; a Pushgateway reads text, text-utf8 and protobuf
    #[arg(long, alias = "format", value_enum, default_value = "text", requires = "target")]
    pub(super) push_format: PushFormat,
    /// Compress pushes
    #[arg(long, requires = "target")]
    pub(super) gzip: bool,
    /// How long a push may take
    #[arg(long, alias = "timeout", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    #[arg(requires = "target")]
    pub(super) push_timeout: Duration,
    /// User of basic authentication
    #[arg(long, value_name = "NAME", requires_all = ["target", "password_file"])]
    pub(super) user: Option<String>,
    /// File with the password of basic authentication
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(super) password_file: Option<PathBuf>,
    /// File with a bearer token
    #[arg(long, value_name = "FILE", conflicts_with = "user", requires = "target")]
    pub(super) bearer_token_file: Option<PathBuf>,
    /// Add a header to each request (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair, requires = "target")]
    pub(super) header: Vec<(String, String)>,
    /// PEM file with the CA certificates to trust instead of those of the system
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(super) ca_file: Option<PathBuf>,
    /// PEM file with the certificate chain of the client
    #[arg(long, value_name = "FILE", requires_all = ["target", "key_file"])]
    pub(super) cert_file: Option<PathBuf>,
    /// PEM file with the key of the client
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub(super) key_file: Option<PathBuf>,
    /// Follow this number of redirects
    #[arg(long, value_name = "COUNT", default_value_t = 0, requires = "target")]
    pub(super) redirects: u32,
}

impl PushOptions {
    /// The pusher, if there is a target. `shows_created` adds the samples `_created` to the text formats.
    pub(super) fn target(&self, shows_created: bool) -> Result<Option<PushTarget>> {
        let mut builder = match (&self.gateway, &self.job, &self.push_url) {
            (Some(gateway), Some(job), _) => Pusher::builder(gateway, job),
            (_, _, Some(url)) => Pusher::builder_for_url(url),
            _ => return Ok(None),
        };
        for (name, value) in &self.grouping {
            builder = builder.grouping(name, value);
        }
        if self.instance_ip {
            builder = builder.instance_ip();
        }
        let format = Negotiated::from(self.push_format.format());
        builder = builder.format(if shows_created { format.created() } else { format });
        if self.gzip {
            builder = builder.gzip();
        }
        if let (Some(user), Some(file)) = (&self.user, &self.password_file) {
            builder = builder.basic_auth(user, &secret(file)?);
        }
        if let Some(file) = &self.bearer_token_file {
            builder = builder.bearer_token(&secret(file)?);
        }
        for (name, value) in &self.header {
            builder = builder.header(name, value);
        }
        let mut transport = HttpTransport::new().redirects(self.redirects);
        if let Some(file) = &self.ca_file {
            transport = transport.ca_file(file);
        }
        if let (Some(chain), Some(key)) = (&self.cert_file, &self.key_file) {
            transport = transport.client_certificate(chain, key);
        }
        let pusher = builder.timeout(self.push_timeout).transport(transport).build()?;
        let (method, deletes_at_end) = (self.method, self.delete_at_end);
        Ok(Some(PushTarget { pusher, method, deletes_at_end, interval: self.push_interval }))
    }
}

/// A pusher, and when it does what.
#[derive(Clone)]
pub(super) struct PushTarget {
    pub(super) pusher: Pusher,
    pub(super) method: PushMethod,
    pub(super) deletes_at_end: bool,
    pub(super) interval: Option<Duration>,
}

impl PushTarget {
    pub(super) fn push(&self, source: &dyn Gatherer) -> Result<()> {
        match self.method {
            PushMethod::Put => self.pusher.push(source),
            PushMethod::Post => self.pusher.push_add(source),
            PushMethod::Delete => self.pusher.delete(),
        }
        .map(drop)
    }

    /// Starts the periodic pushes, if there is an interval.
    pub(super) fn start(&self, source: &ReportingRegistry) -> Result<Option<Periodic>> {
        let start = |interval| {
            let (target, source) = (self.clone(), source.clone());
            Periodic::start("multiprom-push", interval, move || target.push(&source))
        };
        self.interval.map(start).transpose()
    }

    /// Pushes the last values, or deletes the group.
    pub(super) fn end(&self, source: &dyn Gatherer) -> Result<()> {
        if self.deletes_at_end { self.pusher.delete().map(drop) } else { self.push(source) }
    }
}

/// The content of a file without the line feed at its end.
fn secret(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file).map_err(|error| Error::at(ErrorKind::Io, file, error))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

fn parse_pair(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Parses a duration longer than zero.
pub(super) fn parse_duration(text: &str) -> std::result::Result<Duration, String> {
    let units = [("ms", 1), ("", 1_000), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let millis = with_unit(text, &units).filter(|millis| *millis > 0);
    let expected = || "expected a number with ms, s, m or h, greater than 0".to_owned();
    millis.map(Duration::from_millis).ok_or_else(expected)
}
