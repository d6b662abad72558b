//! Command-line arguments.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::listen_args::ListenArguments;
use super::log_args::LogArguments;
pub(super) use super::merge_args::{
    CompactMode, Keep, KeepDeadArguments, MergeArguments, WorkerArguments,
};
use super::push_args::{PushOptions, parse_duration};
use super::run_args::RunArguments;
use super::values::octal;
use crate::error::{Error, ErrorKind, Result};
use crate::exposition::{Escaping, Format};
use crate::file::environment::{DIR_VARIABLE, multiprocess_dir};
use crate::parse::Syntax;

pub(super) const EXIT_STATUS: &str = "\
Exit status: 0 on success, 1 on a failure, 2 on wrong usage, 3 if lint has found problems; run exits with the status of \
its command.";

/// Prometheus metrics of services that run as many processes.
#[derive(Debug, Parser)]
#[command(name = "multiprom", version, about, max_term_width = 100, after_help = EXIT_STATUS)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start worker processes that serve and record, kill one every 5 s, and serve the merged metrics
    Demo(DemoArguments),
    #[command(hide = true)]
    DemoWorker(DemoWorkerArguments),
    /// Start a command with a multiprocess directory and serve what its processes record
    ///
    /// Sets PROMETHEUS_MULTIPROC_DIR for the command, passes signals on to it, waits for all of its
    /// descendants and exits with its status. The directory is that of --dir, else that of
    /// $PROMETHEUS_MULTIPROC_DIR, else a private one in memory, which is removed at the end.
    Run(Box<RunArguments>),
    /// Serve the merged metrics of multiprocess directories
    Serve(Box<ServeArguments>),
    /// Remove the live gauges of processes that have ended
    #[command(alias = "mark-dead")]
    MarkProcessDead(MarkDeadArguments),
    /// Print the merged metrics once
    Dump(DumpArguments),
    /// Push the merged metrics to a Pushgateway, or to another URL, once or periodically
    Push(Box<PushArguments>),
    /// Write the merged metrics to a file for node_exporter's textfile collector, once or periodically
    Textfile(TextfileArguments),
    /// Send the merged metrics to Graphite, once or periodically
    Graphite(GraphiteArguments),
    /// List the series files, the liveness of their writers, and the archive; or the bytes that each family takes
    Ls(LsArguments),
    /// Verify every entry of the series files and the archive; exits with 1 if something is damaged
    Check(CheckArguments),
    /// Merge the files of processes that have ended into the archive, except files whose writers may live
    Compact(CompactArguments),
    /// Read an exposition in one format and print it in another
    Convert(ConvertArguments),
    /// Read an exposition and report its problems, as promtool check metrics does; exits with 3 if there are any
    Lint(LintArguments),
    /// Print the completion script of a shell
    ///
    /// For bash: multiprom completions bash > /usr/share/bash-completion/completions/multiprom
    Completions(CompletionsArguments),
    /// Print the manual page, or the page of a command
    ///
    /// To read it: multiprom man serve | man -l -
    Man(ManArguments),
}

#[derive(Args, Debug)]
pub(super) struct DemoArguments {
    /// Worker processes, 1 to 64
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) workers: u32,
    #[command(flatten)]
    pub(super) listen: ListenArguments,
    #[command(flatten)]
    pub(super) worker_metrics: WorkerArguments,
    /// Seconds until the demo ends [default: until it is interrupted]
    #[arg(long, value_name = "SECONDS")]
    pub(super) duration: Option<u64>,
    #[command(flatten)]
    pub(super) log: LogArguments,
}

#[derive(Args, Debug)]
pub(super) struct DemoWorkerArguments {
    #[arg(long)]
    pub(super) dir: PathBuf,
}

#[derive(Args, Debug)]
pub(super) struct ServeArguments {
    /// Multiprocess directory, or a glob pattern of several (repeatable); by default
    /// $PROMETHEUS_MULTIPROC_DIR
    #[arg(long)]
    pub(super) dir: Vec<PathBuf>,
    /// Serve a multiprocess directory under an HTTP path of its own (repeatable). Without --dir the path of the metrics
    /// merges the directories of all targets
    #[arg(long = "target", value_name = "PATH=DIR", value_parser = parse_target)]
    pub(super) targets: Vec<(String, PathBuf)>,
    #[command(flatten)]
    pub(super) listen: ListenArguments,
    #[command(flatten)]
    pub(super) merge: MergeArguments,
    #[command(flatten)]
    pub(super) worker_metrics: WorkerArguments,
    /// Which files of ended processes to compact [default: own]
    #[arg(long, value_enum)]
    pub(super) compact: Option<CompactMode>,
    #[command(flatten)]
    pub(super) keep_dead: KeepDeadArguments,
    /// Remove the values of processes that ended before the start; files whose writers may live are kept and
    /// reported
    #[arg(long)]
    pub(super) reset: bool,
    /// Check the arguments and the file of --web.config.file, and exit: with 0 if they are valid, else with 2
    #[arg(long)]
    pub(super) check_config: bool,
    /// Wait until all directories exist before listening
    #[arg(long)]
    pub(super) wait: bool,
    #[command(flatten)]
    pub(super) log: LogArguments,
}

#[derive(Args, Debug)]
pub(super) struct CheckArguments {
    /// Multiprocess directory, or a glob pattern of several (repeatable); by default
    /// $PROMETHEUS_MULTIPROC_DIR
    #[arg(long)]
    pub(super) dir: Vec<PathBuf>,
    /// Series files to verify instead of a directory
    #[arg(value_name = "FILE", conflicts_with = "dir")]
    pub(super) files: Vec<PathBuf>,
    /// Print one JSON object per file
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct CompactArguments {
    /// Multiprocess directory, or a glob pattern of several (repeatable); by default
    /// $PROMETHEUS_MULTIPROC_DIR
    #[arg(long)]
    pub(super) dir: Vec<PathBuf>,
    /// Exclude files of the Python client, whose own collector cannot read the archive
    #[arg(long)]
    pub(super) own: bool,
    #[command(flatten)]
    pub(super) keep_dead: KeepDeadArguments,
}

#[derive(Args, Debug)]
pub(super) struct MarkDeadArguments {
    /// Multiprocess directory; by default $PROMETHEUS_MULTIPROC_DIR
    #[arg(long)]
    pub(super) dir: Option<PathBuf>,
    /// Process ids
    #[arg(required = true, value_name = "PID", value_parser = parse_pid)]
    pub(super) pids: Vec<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum FormatName {
    /// Prometheus text 0.0.4
    Text,
    /// Prometheus text 1.0.0, with any name in quotes
    TextUtf8,
    /// OpenMetrics 1.0.0
    Openmetrics,
    /// OpenMetrics 2.0.0, first release candidate
    Openmetrics2,
    /// Delimited messages io.prometheus.client.MetricFamily
    Protobuf,
    /// The same messages as text
    ProtobufText,
    /// An array of families
    Json,
}

impl FormatName {
    pub(super) fn format(self) -> Format {
        match self {
            FormatName::Text => Format::Text,
            FormatName::TextUtf8 => Format::TextUtf8,
            FormatName::Openmetrics => Format::OpenMetrics,
            FormatName::Openmetrics2 => Format::OpenMetrics2,
            FormatName::Protobuf => Format::Protobuf,
            FormatName::ProtobufText => Format::ProtobufText,
            FormatName::Json => Format::Json,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct DumpArguments {
    /// Multiprocess directory, or a glob pattern of several (repeatable); by default
    /// $PROMETHEUS_MULTIPROC_DIR
    #[arg(long)]
    pub(super) dir: Vec<PathBuf>,
    /// Format of the output
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: FormatName,
    #[command(flatten)]
    pub(super) merge: MergeArguments,
    /// Series files to merge instead of a directory
    #[arg(value_name = "FILE", conflicts_with = "dir")]
    pub(super) files: Vec<PathBuf>,
}

/// The directories of a command, and how they are merged.
#[derive(Args, Debug)]
pub(super) struct SourceArguments {
    /// Multiprocess directory, or a glob pattern of several (repeatable); by default
    /// $PROMETHEUS_MULTIPROC_DIR
    #[arg(long)]
    pub(super) dir: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) merge: MergeArguments,
}

#[derive(Args, Debug)]
pub(super) struct PushArguments {
    #[command(flatten)]
    pub(super) source: SourceArguments,
    #[command(flatten)]
    pub(super) options: PushOptions,
    #[command(flatten)]
    pub(super) log: LogArguments,
}

#[derive(Args, Debug)]
pub(super) struct TextfileArguments {
    #[command(flatten)]
    pub(super) source: SourceArguments,
    /// File to replace; node_exporter reads files whose names end in .prom
    #[arg(long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// Replace the file every TIME: 500ms, 15s, 5m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) interval: Option<Duration>,
    /// Escaping of names: underscores, dots, values, or allow-utf-8 for names in quotes
    #[arg(long, value_name = "SCHEME", default_value = "underscores")]
    pub(super) escaping: Escaping,
    /// Permissions of the file, in octal
    #[arg(long, value_name = "MODE", default_value = "644", value_parser = parse_mode)]
    pub(super) mode: u32,
    /// Directory of the temporary file, on the same file system [default: that of the file]
    #[arg(long, value_name = "DIR")]
    pub(super) temporary_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) log: LogArguments,
}

#[derive(Args, Debug)]
pub(super) struct GraphiteArguments {
    #[command(flatten)]
    pub(super) source: SourceArguments,
    /// Address of the plaintext receiver; the default port is 2003
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(super) address: String,
    /// Send every TIME: 500ms, 15s, 5m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) interval: Option<Duration>,
    /// Beginning of all paths, such as shop.web1
    #[arg(long, value_name = "PATH", default_value = "")]
    pub(super) prefix: String,
    /// Write labels as tags (Graphite 1.1 or later) instead of parts of the path
    #[arg(long)]
    pub(super) tags: bool,
    /// How long sending may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(super) timeout: Duration,
    #[command(flatten)]
    pub(super) log: LogArguments,
}

/// An input format.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SyntaxName {
    Text,
    Openmetrics,
    Protobuf,
}

impl SyntaxName {
    pub(super) fn syntax(self) -> Syntax {
        match self {
            SyntaxName::Text => Syntax::Text,
            SyntaxName::Openmetrics => Syntax::OpenMetrics,
            SyntaxName::Protobuf => Syntax::Protobuf,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct ConvertArguments {
    /// Format of the input; openmetrics is read strictly
    #[arg(long, value_enum)]
    pub(super) from: SyntaxName,
    /// Format of the output
    #[arg(long, value_enum)]
    pub(super) to: FormatName,
    /// Input file; standard input by default and for `-`
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct LintArguments {
    /// Format of the input
    #[arg(long, value_enum, default_value = "text")]
    pub(super) from: SyntaxName,
    /// Input file; standard input by default and for `-`
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    pub(super) shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub(super) struct ManArguments {
    /// The command whose page is printed
    #[arg(value_name = "COMMAND")]
    pub(super) command: Option<String>,
    /// Write all pages to this directory, which must exist, as multiprom.1 and multiprom-COMMAND.1
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub(super) output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct LsArguments {
    /// Multiprocess directory, or a glob pattern of several (repeatable); by default
    /// $PROMETHEUS_MULTIPROC_DIR
    #[arg(long)]
    pub(super) dir: Vec<PathBuf>,
    /// List the metric families in all files of the directories instead of the files, the largest first: label sets,
    /// entries, and bytes of these entries with their keys. A last line has the total, and the bytes that are reserved
    /// and not used
    #[arg(long)]
    pub(super) families: bool,
    /// Print one JSON object per file, or per family
    #[arg(long)]
    pub(super) json: bool,
}

fn parse_mode(text: &str) -> std::result::Result<u32, String> {
    octal(text, 0o777).ok_or_else(|| "expected permissions in octal, such as 640".to_owned())
}

fn parse_pid(text: &str) -> std::result::Result<u32, String> {
    text.parse().map_err(|_| "expected a process id".to_owned())
}

fn parse_target(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((path, dir)) if path.starts_with('/') && !dir.is_empty() => {
            Ok((path.to_owned(), dir.into()))
        }
        _ => Err("expected PATH=DIR, where PATH begins with /".to_owned()),
    }
}

/// The directory of a command: that of the flag, else that of the environment.
pub(super) fn directory(flag: Option<&PathBuf>) -> Result<PathBuf> {
    flag.cloned().or_else(|| multiprocess_dir().map(PathBuf::from)).ok_or_else(|| {
        let message = format!("no directory: give --dir or set {DIR_VARIABLE}");
        Error::new(ErrorKind::Usage, message)
    })
}

/// The first directory that does not exist, or the first pattern without a match.
pub(super) fn missing_directory(flags: &[PathBuf]) -> Result<Option<PathBuf>> {
    let flags = if flags.is_empty() { vec![directory(None)?] } else { flags.to_vec() };
    for flag in flags {
        let is_missing = match directories(std::slice::from_ref(&flag)) {
            Ok(dirs) => dirs.iter().any(|dir| {
                dir.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            }),
            Err(error) if error.kind() == ErrorKind::Directory => true,
            Err(error) => return Err(error),
        };
        if is_missing {
            return Ok(Some(flag));
        }
    }
    Ok(None)
}

/// The directories of a command. Patterns are expanded.
pub(super) fn directories(flags: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if flags.is_empty() {
        return directory(None).map(|dir| vec![dir]);
    }
    let mut dirs = Vec::new();
    for flag in flags {
        let pattern = flag.to_string_lossy();
        if !pattern.contains(['*', '?', '[']) || flag.exists() {
            dirs.push(flag.clone());
            continue;
        }
        let usage = |error| Error::new(ErrorKind::Usage, format!("--dir `{pattern}`: {error}"));
        let matches = glob::glob(&pattern).map_err(|error| usage(error.to_string()))?;
        let before = dirs.len();
        dirs.extend(matches.filter_map(std::result::Result::ok).filter(|path| path.is_dir()));
        if dirs.len() == before {
            return Err(Error::at(ErrorKind::Directory, flag, "the pattern matches no directory"));
        }
    }
    Ok(dirs)
}

/// The files that a command names. A directory among them is an error that says how it is named.
pub(super) fn files(files: &[PathBuf]) -> Result<&[PathBuf]> {
    match files.iter().find(|file| file.is_dir()) {
        Some(dir) => Err(Error::at(ErrorKind::Usage, dir, "is a directory: use --dir")),
        None => Ok(files),
    }
}
