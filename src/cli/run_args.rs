//! Arguments of `run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::listen_args::ListenArguments;
use super::log_args::LogArguments;
use super::merge_args::{CompactMode, KeepDeadArguments, MergeArguments, WorkerArguments};
use super::new_dir::{DirOwner, NewDir, parse_permissions};
use super::push_args::PushOptions;

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

#[derive(Args, Debug)]
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
    pub(super) push: PushOptions,
    #[command(flatten)]
    pub(super) log: LogArguments,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}
