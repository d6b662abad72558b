//! `compact`, and the compaction that exporters do beside their work.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::args::{self, CompactArguments, CompactMode, KeepDeadArguments, MergeArguments};
use super::{owner, print, say};
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
    compactor.unreported().iter().for_each(|line| say(line));
    let Compaction { files, waiting, damaged, unknown, busy, .. } = done;
    let mut text = format!("{files} files compacted");
    let others = [
        (waiting, "taken up again or still in use"),
        (damaged, "damaged and left"),
        (unknown, "left because their writers may live"),
        (busy, "directories with another compactor"),
    ];
    for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
        // OK because writing to a string does not fail.
        let _ = write!(text, ", {count} {what}");
    }
    text.push('\n');
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What an exporter was told to compact. Where nothing was tried nothing is removed, unless it was told to.
pub(super) fn told(flag: Option<CompactMode>, merge: &MergeArguments) -> Option<CompactMode> {
    flag.or(merge.any_file_system.then_some(CompactMode::Off))
}

/// Forgets what processes that have ended recorded in a directory, and says what stays.
pub(super) fn reset(dir: &Path) -> Result<()> {
    let (done, reasons) = clear_directory_by(dir, owner::prober())?;
    for line in &reasons {
        say(line);
    }
    let (dir, count) = (dir.display(), done.unknown);
    if count > 0 {
        say(&format_args!(
            "directory `{dir}`: {count} files stay after the reset because their writers may live"
        ));
    }
    Ok(())
}

/// What an exporter compacts: what it was told, else `usual`, but nothing where that may be wrong.
pub(super) fn beside_exporter(
    dirs: &[PathBuf],
    flag: Option<CompactMode>,
    usual: CompactMode,
    keep_dead: &KeepDeadArguments,
) -> Result<Option<Compactor>> {
    let mode = flag.unwrap_or(usual);
    let doubtful = dirs.iter().find(|dir| flag.is_none() && Compactor::may_mistake_the_living(dir));
    if let Some(dir) = doubtful {
        let dir = dir.display();
        say(&format_args!(
            "directory `{dir}`: on overlayfs, where a process that closes all descriptors looks dead: nothing \
             is compacted without --compact"
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

/// Logs what [`beside_exporter`] makes of its flags, unless that has done so.
pub(super) fn report(flag: Option<CompactMode>, usual: CompactMode, compactor: Option<&Compactor>) {
    match (flag.unwrap_or(usual), compactor) {
        (CompactMode::All, Some(_)) => say(
            &"compacting files of all ended processes (if the application serves metrics of the Python \
              client itself, use --compact=own)",
        ),
        (CompactMode::Own, Some(_)) => say(
            &"compacting files of ended processes, except those of the Python client (if its own collector \
              does not read the directory, use --compact=all)",
        ),
        (CompactMode::Off, _) => say(&"compacting nothing"),
        (_, None) => {}
    }
}

/// Files of ended processes of the Python client, in one directory, that are worth a hint.
const MANY_FILES: usize = 100;

/// How often they are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// Tells once, in each directory, that files pile up which are not compacted by default.
pub(super) struct PileHint {
    /// Those where nothing has been said yet.
    dirs: Vec<PathBuf>,
    next: Instant,
}

impl PileHint {
    /// For what [`beside_exporter`] was given, and made of it. Whoever sets the flag needs no hint.
    pub(super) fn new(
        dirs: &[PathBuf],
        flag: Option<CompactMode>,
        usual: CompactMode,
        compactor: Option<&Compactor>,
    ) -> PileHint {
        let is_due = flag.is_none() && usual == CompactMode::Own && compactor.is_some();
        PileHint { dirs: if is_due { dirs.to_vec() } else { Vec::new() }, next: Instant::now() }
    }

    /// Counts the files if it is time; returns when it is time again.
    pub(super) fn look(&mut self) -> Duration {
        let now = Instant::now();
        if now >= self.next {
            self.next = now + COUNT_INTERVAL;
            self.dirs.retain(|dir| {
                let is_pile = {
                    let mut prober = owner::prober();
                    count_dead_python_files(dir, MANY_FILES, &mut prober) >= MANY_FILES
                };
                if is_pile {
                    let dir = dir.display();
                    say(&format_args!(
                        "directory `{dir}`: {MANY_FILES} or more files of ended processes of the Python \
                         client, which every scrape reads: if its own collector does not read the \
                         directory, compact them with --compact=all"
                    ));
                }
                !is_pile
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
