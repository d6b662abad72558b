//! `compact`, and the compaction in the background of exporters.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::args::{self, CompactArguments, CompactMode, KeepDeadArguments, MergeArguments};
use super::log;
use super::output::{print, print_message};
use super::owner;
use crate::error::Result;
use crate::multiproc::{
    CompactFiles, Compaction, Compactor, CompactorBuilder, clear_directory_by,
    count_dead_python_files,
};

pub(super) fn run(arguments: &CompactArguments) -> Result<ExitCode> {
    let files = if arguments.own { CompactFiles::Own } else { CompactFiles::All };
    let dirs = args::directories(&arguments.dir)?;
    let compactor = compactor(&dirs, files, &arguments.keep_dead)?;
    let done = compactor.run_to_end()?;
    compactor.unreported().iter().for_each(|line| print_message(line));
    let Compaction { files, waiting, damaged, unknown, busy, .. } = done;
    let mut text = format!("{files} files compacted");
    let others = [
        (waiting, "resumed or still in use"),
        (damaged, "damaged and not changed"),
        (unknown, "left because their writers may live"),
        (busy, "directories locked by another compactor"),
    ];
    for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
        // OK because writing to a string does not fail.
        let _ = write!(text, ", {count} {what}");
    }
    text.push('\n');
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The value of `--compact`. On an untested file system the default is `off`.
pub(super) fn compact_flag(
    flag: Option<CompactMode>,
    merge: &MergeArguments,
) -> Option<CompactMode> {
    flag.or(merge.any_file_system.then_some(CompactMode::Off))
}

/// Removes the values of ended processes from a directory, and reports the files that stay.
pub(super) fn reset(dir: &Path) -> Result<()> {
    let (done, reasons) = clear_directory_by(dir, owner::prober())?;
    for line in &reasons {
        log::warn(line);
    }
    let (dir, count) = (dir.display(), done.unknown);
    if count > 0 {
        log::warn(&format_args!(
            "directory `{dir}`: {count} files stay after the reset because their writers may live"
        ));
    }
    Ok(())
}

/// The compactor of an exporter: by the flag, else by `usual`; none on overlayfs without the flag.
pub(super) fn beside_exporter(
    dirs: &[PathBuf],
    flag: Option<CompactMode>,
    usual: CompactMode,
    keep_dead: &KeepDeadArguments,
) -> Result<Option<Compactor>> {
    let mode = flag.unwrap_or(usual);
    let doubtful = dirs.iter().find(|dir| flag.is_none() && Compactor::is_liveness_unreliable(dir));
    if let Some(dir) = doubtful {
        let dir = dir.display();
        log::warn(&format_args!(
            "directory `{dir}`: nothing is compacted, as it is on overlayfs, where a process that closes all \
             descriptors looks dead: set --compact to compact it"
        ));
        return Ok(None);
    }
    let files = match mode {
        CompactMode::All => CompactFiles::All,
        CompactMode::Own => CompactFiles::Own,
        CompactMode::Off => return Ok(None),
    };
    compactor(dirs, files, keep_dead).map(Some)
}

/// Logs which files are compacted, unless [`beside_exporter`] has logged the reason for none.
pub(super) fn report(flag: Option<CompactMode>, usual: CompactMode, compactor: Option<&Compactor>) {
    match (flag.unwrap_or(usual), compactor) {
        (CompactMode::All, Some(_)) => log::info(
            &"compacting files of all ended processes (if the application serves metrics of the Python \
              client itself, use --compact=own)",
        ),
        (CompactMode::Own, Some(_)) => log::info(
            &"compacting files of ended processes, except those of the Python client (if its own collector \
              does not read the directory, use --compact=all)",
        ),
        (CompactMode::Off, _) => log::info(&"compacting nothing"),
        (_, None) => {}
    }
}

/// The number of files of ended Python processes in one directory that is reported.
const MANY_FILES: usize = 100;

/// The interval at which they are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// Reports once for each directory that files accumulate which are not compacted by default.
pub(super) struct UncompactedHint {
    /// Directories that have not been reported yet.
    dirs: Vec<PathBuf>,
    next: Instant,
}

impl UncompactedHint {
    /// Takes the arguments and the result of [`beside_exporter`]. With the flag there is no report.
    pub(super) fn new(
        dirs: &[PathBuf],
        flag: Option<CompactMode>,
        usual: CompactMode,
        compactor: Option<&Compactor>,
    ) -> UncompactedHint {
        let is_due = flag.is_none() && usual == CompactMode::Own && compactor.is_some();
        UncompactedHint {
            dirs: if is_due { dirs.to_vec() } else { Vec::new() },
            next: Instant::now(),
        }
    }

    /// Counts the files if the interval has passed; returns the time until the next count.
    pub(super) fn check(&mut self) -> Duration {
        let now = Instant::now();
        if now >= self.next {
            self.next = now + COUNT_INTERVAL;
            self.dirs.retain(|dir| {
                let has_many = {
                    let mut prober = owner::prober();
                    count_dead_python_files(dir, MANY_FILES, &mut prober) >= MANY_FILES
                };
                if has_many {
                    let dir = dir.display();
                    log::warn(&format_args!(
                        "directory `{dir}`: every scrape reads {MANY_FILES} or more files of ended processes of the \
                         Python client: if its own collector does not read the directory, compact them \
                         with --compact=all"
                    ));
                }
                !has_many
            });
        }
        self.next.saturating_duration_since(now)
    }
}

fn compactor(
    dirs: &[PathBuf],
    files: CompactFiles,
    keep_dead: &KeepDeadArguments,
) -> Result<Compactor> {
    let builder = Compactor::builder().files(files).keep_dead(keep_dead.keep_dead.0);
    let builder = builder.owner_lease(owner::lease());
    dirs.iter().fold(builder, CompactorBuilder::directory).build()
}
