//! `completions` and `man`: what shells and packages need, made from the definition of the command line.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::args::{Arguments, CompletionsArguments, EXIT_STATUS, ManArguments};
use super::output::print;
use crate::error::{Error, ErrorKind, Result};

const NAME: &str = "multiprom";

/// The definition of the command line, without the commands that `--help` does not show.
fn definition() -> clap::Command {
    let command = Arguments::command();
    let shown: Vec<clap::Command> =
        command.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let about = command.get_about().cloned().unwrap_or_default();
    clap::Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about(about)
        .after_help(EXIT_STATUS)
        .subcommands(shown)
}

/// Prints the completion script of a shell.
pub(super) fn completions(arguments: &CompletionsArguments) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut definition(), NAME, &mut script);
    print(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a manual page, or writes all of them to a directory.
pub(super) fn man(arguments: &ManArguments) -> Result<ExitCode> {
    let mut definition = definition();
    if let Some(dir) = &arguments.output {
        clap_mangen::generate_to(definition.disable_help_subcommand(true), dir)
            .map_err(|error| Error::at(ErrorKind::Io, dir, error))?;
        return Ok(ExitCode::SUCCESS);
    }
    definition.build();
    let page = match &arguments.command {
        None => definition,
        Some(name) => definition.find_subcommand(name).cloned().ok_or_else(|| {
            Error::new(ErrorKind::Usage, format!("no command `{name}`: see --help"))
        })?,
    };
    let mut text = Vec::new();
    Man::new(page)
        .render(&mut text)
        .map_err(|error| Error::at(ErrorKind::Io, "standard output", error))?;
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
