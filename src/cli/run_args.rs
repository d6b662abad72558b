//! Arguments of `run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::listen_args::ListenArguments;
use super::log_args::LogArguments;
use super::merge_args::{CompactMode, KeepDeadArguments, MergeArguments, WorkerArguments};
use super::new_dir::{DirOwner, NewDir, parse_permissions};
use super::push_args::{PushOptions, parse_duration};
use super::restarts::{MaxRestarts, RestartPolicy, parse_max_restarts};

/// Owner and permissions of a directory that is created.
#[derive(Args, Clone, Debug)]
pub(super) struct NewDirArguments {
    /// Owner of a directory that is created, for servers that start as root and change their user
    #[arg(long, value_name = "USER[:GROUP]")]
    pub(super) dir_owner: Option<DirOwner>,
    /// Permissions of a directory that is created, in octal [default: 700]
    #[arg(long, value_name = "MODE", value_parser = parse_permissions)]
    pub(super) dir_mode: Option<u32>,
}

impl NewDirArguments {
    pub(super) fn to_create(&self) -> NewDir {
        NewDir { owner: self.dir_owner.clone(), mode: self.dir_mode }
    }
}

/// The heading of the options about the command.
const LAUNCHER: &str = "Command";

/// How the command is started, and what follows its end.
#[derive(Args, Debug)]
pub(super) struct LaunchArguments {
    /// Start the command again when it and its descendants have ended. A signal that asks `run` to end prevents it
    #[arg(long, value_enum, default_value = "never", value_name = "WHEN", help_heading = LAUNCHER)]
    pub(super) restart: RestartPolicy,
    /// Time between an end and the first restart; each further one waits twice as long, up to 1m. After a run of 1m the
    /// next restart is the first one again
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    #[arg(help_heading = LAUNCHER)]
    pub(super) restart_delay: Duration,
    /// End after this number of restarts in succession, or `unlimited`
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = parse_max_restarts)]
    #[arg(help_heading = LAUNCHER)]
    pub(super) max_restarts: MaxRestarts,
    /// Serve until the first complete scrape after the end of the command, for TIME at most, so that its last values are
    /// scraped
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = LAUNCHER)]
    pub(super) linger: Option<Duration>,
    /// Start the command in a process group of its own, and pass signals on to each process of the group
    #[arg(long, help_heading = LAUNCHER)]
    pub(super) signal_group: bool,
    /// End the command by SIGTERM when `run` is killed
    #[arg(long, help_heading = LAUNCHER)]
    pub(super) die_with_parent: bool,
}

/// What happens to signals and processes.
const PROCESSES: &str = "\
Signals:
  TERM, INT, QUIT           passed on to the command, or after its end to the processes that it
                            has left; no restart follows
  HUP, USR1, USR2, WINCH,   passed on likewise; they do not affect `run` itself
  CONT, TTIN, TTOU
  Ctrl-C, Ctrl-\\            the terminal sends INT and QUIT to the command itself; no restart follows
  Ctrl-Z                    the terminal stops both; with --signal-group `run` stops when the command
                            does
  KILL, STOP                cannot be passed on: see --die-with-parent

After the end of the command, TERM or INT ends --linger, and a further one ends `run` at once, even
during a last push. Signals work in the same way for process 1 of a container.

With --signal-group the command gets the terminal if `run` has it, and `run` takes it back when the
command ends or stops: so the command can read from the terminal. Then `run` does not notice a
Ctrl-C that the command handles: with --restart, press it again during the delay.

Processes that outlive the command: `run` adopts and reaps orphans, serves until the last one has
ended, and exits with the status of the command, which is 128+N after a signal N. So daemons
(gunicorn --daemon) and servers that start their successor (gunicorn: USR2) are followed. Before a
restart after a failure these processes are ended: by TERM, and after 10s by KILL. The directory
stays, so that totals continue; live gauges of processes that have ended disappear.

If `run` is killed, the command continues without an exporter, except with --die-with-parent, or if
`run` is process 1: then the kernel ends all. The next `run` removes a private directory that a
killed one has left, when no process uses it any more.";

#[derive(Args, Debug)]
#[command(after_long_help = PROCESSES)]
pub(super) struct RunArguments {
    /// Multiprocess directory, created if it is missing [default: $PROMETHEUS_MULTIPROC_DIR, else a
    /// private one]
    #[arg(long)]
    pub(super) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) new_dir: NewDirArguments,
    #[command(flatten)]
    pub(super) listen: ListenArguments,
    /// Start the command even if listening on the address fails, and retry until it succeeds
    #[arg(long)]
    pub(super) listen_optional: bool,
    #[command(flatten)]
    pub(super) merge: MergeArguments,
    #[command(flatten)]
    pub(super) worker_metrics: WorkerArguments,
    /// Keep the values of ended processes in the directory of --dir, and share it with other `run` commands
    #[arg(long)]
    pub(super) keep_files: bool,
    /// Remove the values of ended processes at the start, which is the default in the directory of --dir
    #[arg(long, conflicts_with = "keep_files")]
    pub(super) reset: bool,
    /// Which files of ended processes to compact [default: all; own in a directory of the environment]
    #[arg(long, value_enum)]
    pub(super) compact: Option<CompactMode>,
    #[command(flatten)]
    pub(super) keep_dead: KeepDeadArguments,
    #[command(flatten)]
    pub(super) launch: LaunchArguments,
    #[command(flatten)]
    pub(super) log: LogArguments,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
    // Last, because its heading applies to all that follows.
    #[command(flatten)]
    pub(super) push: PushOptions,
}
