//! `run`: the launcher.
//!
//! Creates a directory, starts the command with it, serves its metrics, and ends when the last descendant of
//! the command has ended: orphans become children of this process, so daemons and re-executed servers are
//! followed too.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use super::compact::{self, UncompactedHint};
use super::endpoint::{Endpoint, Listening};
use super::exporting::{self, ExportedRegistry};
use super::gathering::{Reporting, registry};
use super::log;
use super::merging::{configure, with_worker_metrics};
use super::run_args::RunArguments;
use super::run_dir::RunDir;
use super::run_push::RunPush;
use super::signals::{self, Reaped, Sender, Signal, Signals};
use crate::error::Result;
use crate::file::environment::{DIR_VARIABLE, OLD_DIR_VARIABLE, SOCKET_VARIABLES};
use crate::multiproc::{MultiProcessCollector, mark_process_dead};

/// Interval at which ended children are reaped if a signal is missed.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// Exit statuses for a command that cannot be started, as in shells.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

pub(super) fn run(arguments: &RunArguments) -> Result<ExitCode> {
    let blocked: Vec<Signal> = Signal::FORWARDED.into_iter().chain([Signal::CHLD]).collect();
    let signals = Signals::block(&blocked)?;
    exporting::check(&arguments.listen, std::iter::empty())?;
    let target = arguments.push.target(arguments.merge.created)?;
    let run_dir = RunDir::open(arguments)?;
    let dir = run_dir.path().to_owned();
    let builder = || MultiProcessCollector::builder().labelled_directory(&dir, run_dir.label());
    let exported = with_worker_metrics(builder(), &arguments.worker_metrics);
    let merging = configure(exported, arguments.merge.clone());
    let dirs = std::slice::from_ref(&dir);
    let flag = compact::compact_flag(arguments.compact, &arguments.merge);
    let usual = run_dir.usual_compaction();
    let compactor = compact::beside_exporter(dirs, flag, usual, &arguments.keep_dead)?;
    let hint = UncompactedHint::new(dirs, flag, usual, compactor.as_ref());
    let exported = ExportedRegistry::new(merging, compactor.as_ref())?;
    let listening =
        if arguments.listen_optional { Listening::Optional } else { Listening::Required };
    // Several commands that push run on one machine, and nothing scrapes them.
    let serves = target.is_none() || arguments.listen.has_address();
    let open = || Endpoint::open(exported, &arguments.listen, listening);
    let endpoint = serves.then(open).transpose()?;
    run_dir.report();
    compact::report(flag, usual, compactor.as_ref());
    endpoint.iter().for_each(Endpoint::report);
    let source = || registry(builder(), arguments.merge.clone(), Reporting::Changes);
    let with_source = |target| source().map(|source| RunPush::new(target, source));
    let mut push = target.map(with_source).transpose()?;
    let compacting = compactor.map(|compactor| compactor.start()).transpose()?;
    signals::adopt_orphans()?;
    let child = match start(&arguments.command, &dir, &signals) {
        Ok(child) => child,
        Err(status) => return Ok(ExitCode::from(status)),
    };
    push.iter_mut().for_each(RunPush::start);
    let status = Launcher { dir, child, status: None, hint }.follow(&signals);
    signals::exit_on_next(Some(status))?;
    drop(compacting);
    if let Some(push) = push {
        push.end();
    }
    if let Some(endpoint) = endpoint {
        endpoint.stop();
    }
    Ok(ExitCode::from(status))
}

/// Starts the command and returns its process id, or an exit status.
fn start(command: &[OsString], dir: &Path, signals: &Signals) -> std::result::Result<u32, u8> {
    let (program, arguments) = command.split_first().ok_or(NOT_FOUND)?;
    let mut command = Command::new(program);
    command.args(arguments).env(DIR_VARIABLE, dir).env(OLD_DIR_VARIABLE, dir);
    for variable in SOCKET_VARIABLES {
        command.env_remove(variable);
    }
    signals.restore_in(&mut command);
    command.spawn().map(|child| child.id()).map_err(|error| {
        log::error(&format_args!("cannot start `{}`: {error}", program.to_string_lossy()));
        if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
    })
}

struct Launcher {
    dir: PathBuf,
    child: u32,
    /// Exit status of the command, after it has ended.
    status: Option<u8>,
    hint: UncompactedHint,
}

impl Launcher {
    /// Forwards signals and reaps children until there are no descendants. Returns the status of the command.
    fn follow(mut self, signals: &Signals) -> u8 {
        loop {
            self.hint.check();
            match signals.wait_for(REAP_INTERVAL) {
                // Children are reaped below; the terminal sends its signals to the command itself.
                None | Some((Signal::CHLD, _) | (_, Sender::Terminal)) => {}
                Some((signal, Sender::Process)) => self.forward(signal),
            }
            loop {
                match signals::reap() {
                    Reaped::Child { pid, status } => {
                        if pid == self.child {
                            self.status = Some(status);
                        }
                        report_error(mark_process_dead(&self.dir, pid));
                    }
                    Reaped::Running => break,
                    Reaped::None => return self.status.unwrap_or(0),
                }
            }
        }
    }

    /// Forwards a signal to the command or, after its end, to the orphans.
    fn forward(&self, signal: Signal) {
        if self.status.is_none() {
            signals::send(self.child, signal);
        } else {
            for pid in children() {
                signals::send(pid, signal);
            }
        }
    }
}

fn report_error(result: Result<()>) {
    if let Err(error) = result {
        log::warn(&error);
    }
}

/// The children of this process.
///
/// See: proc(5), /proc/pid/stat: the parent is the second field after the name, which ends at the last
/// parenthesis.
fn children() -> Vec<u32> {
    let own = std::process::id().to_string();
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = processes.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter_map(|name| name.parse::<u32>().ok())
        .filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            after_name.split_whitespace().nth(1) == Some(&own)
        })
        .collect()
}
