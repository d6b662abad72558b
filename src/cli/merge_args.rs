//! Arguments of the merge and of the compaction, which several commands have.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::patterns::Pattern;
use super::values::with_unit;
use crate::model::{GaugeMode, name};

/// Options of the merge.
#[derive(Args, Clone, Debug)]
pub(super) struct MergeArguments {
    /// Merge gauges whose whole name matches REGEX by MODE instead of their own mode (repeatable)
    #[arg(long, value_name = "REGEX=MODE", value_parser = parse_mode_rule)]
    pub(super) gauge_mode: Vec<(Pattern, GaugeMode)>,
    /// Merge gauges of the mode all, the default of client libraries, by MODE; liveall exports living processes only
    #[arg(long, value_name = "MODE", value_parser = parse_gauge_mode)]
    pub(super) default_gauge_mode: Option<GaugeMode>,
    /// Export only families whose whole name, or a whole name of their samples, matches REGEX (repeatable).
    /// multiprom's own metrics are always included
    #[arg(long, value_name = "REGEX", value_parser = Pattern::parse)]
    pub(super) include: Vec<Pattern>,
    /// Omit families whose whole name, or a whole name of their samples, matches REGEX (repeatable).
    /// `multiprom_.*` omits multiprom's own metrics
    #[arg(long, value_name = "REGEX", value_parser = Pattern::parse)]
    pub(super) exclude: Vec<Pattern>,
    /// Add a label to every merged series (repeatable)
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    pub(super) labels: Vec<(String, String)>,
    /// Accept directories on untested file systems, for which the documented guarantees may not hold; exporters then
    /// compact nothing unless --compact is set
    #[arg(long)]
    pub(super) any_file_system: bool,
    /// Write the start timestamps of counters, histograms and summaries in the text formats and OpenMetrics 1.0 too, as
    /// samples _created, each of which Prometheus stores as a series
    #[arg(long)]
    pub(super) created: bool,
    /// Name of the label that distinguishes processes in the modes all and liveall
    #[arg(long, value_name = "NAME", default_value = "pid")]
    #[arg(value_parser = parse_label_name)]
    pub(super) pid_label: String,
}

/// Metrics of the processes that write the files.
#[derive(Args, Clone, Debug)]
pub(super) struct WorkerArguments {
    /// Also export CPU time, memory, threads and descriptors of each living worker, and their sums, as
    /// multiprom_worker_... and multiprom_all_workers_...; those of another user's workers need CAP_SYS_PTRACE
    #[arg(long)]
    pub(super) worker_metrics: bool,
    /// Mount of procfs from which they are read
    #[arg(long = "path.procfs", value_name = "PATH", default_value = "/proc")]
    #[arg(requires = "worker_metrics")]
    pub(super) procfs: PathBuf,
}

/// The files that an exporter compacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CompactMode {
    /// Files of multiprom and of the Python client; the Python client's own collector must then not read the directory
    All,
    /// Files of multiprom only, for applications that serve metrics by the Python client's collector
    Own,
    /// No files
    Off,
}

#[derive(Args, Clone, Debug)]
pub(super) struct KeepDeadArguments {
    /// How long gauges of the mode all are kept after their process has ended: 90s, 30m, 1h, 7d or forever
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_keep)]
    pub(super) keep_dead: Keep,
}

/// A duration; `None` is forever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep(pub(super) Option<Duration>);

fn parse_gauge_mode(text: &str) -> Result<GaugeMode, String> {
    text.parse::<GaugeMode>().map_err(|error| error.to_string())
}

fn parse_mode_rule(text: &str) -> Result<(Pattern, GaugeMode), String> {
    let (pattern, mode) = text.rsplit_once('=').ok_or("expected REGEX=MODE")?;
    Ok((Pattern::parse(pattern)?, parse_gauge_mode(mode)?))
}

fn parse_keep(text: &str) -> Result<Keep, String> {
    if text == "forever" {
        return Ok(Keep(None));
    }
    let units = [("", 1), ("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let seconds = with_unit(text, &units);
    let seconds = seconds.ok_or("expected seconds, a number with s, m, h or d, or `forever`")?;
    Ok(Keep(Some(Duration::from_secs(seconds))))
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((parse_label_name(name)?, value.to_owned()))
}

fn parse_label_name(text: &str) -> Result<String, String> {
    name::check_label_names(&std::iter::once(text), Some("le"))
        .map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}
