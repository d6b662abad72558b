//! `compact`, and the compaction that exporters do beside their work.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::args::{self, CompactArguments, CompactMode, KeepDeadArguments, MergeArguments};
use super::{print, say};
use crate::error::Result;
use crate::multiproc::{CompactFiles, Compaction, Compactor, CompactorBuilder};

pub(super) fn run(arguments: &CompactArguments) -> Result<ExitCode> {
    let files = if arguments.own { CompactFiles::Own } else { CompactFiles::All };
    let dirs = args::directories(&arguments.dir)?;
    let done = compactor(&dirs, files, &arguments.keep_dead)?.run_to_end()?;
    let Compaction { files, waiting, damaged, busy, .. } = done;
    let mut text = format!("{files} files compacted");
    let others = [
        (waiting, "taken up again or still in use"),
        (damaged, "damaged and left"),
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

fn compactor(
    dirs: &[PathBuf],
    files: CompactFiles,
    keep_dead: &KeepDeadArguments,
) -> Result<Compactor> {
    let builder = Compactor::builder().files(files).keep_dead(keep_dead.keep_dead.0);
    dirs.iter().fold(builder, CompactorBuilder::directory).build()
}
