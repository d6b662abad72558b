//! The `multiprom` command: arguments, messages, exit statuses.
//!
//! Results go to standard output, everything else to standard error, each line naming the file, the
//! flag or the address that it is about. Exit status 0 is good, 1 a failure, 2 wrong usage, 3 an
//! exposition with which `lint` is not content; `run` leaves with the status of its command.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

mod args;
mod check;
mod compact;
mod convert;
mod demo;
mod demo_worker;
mod dump;
mod endpoint;
mod ls;
mod mark_dead;
mod new_dir;
mod owner;
mod patterns;
mod private_dir;
mod run;
mod run_dir;
mod run_lock;
mod serve;
mod signals;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser as _;

use crate::error::{Error, ErrorKind};
use crate::logging;
use args::{Arguments, Command};

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let serves =
        matches!(arguments.command, Command::Demo(_) | Command::Run(_) | Command::Serve(_));
    IS_PATIENT.store(!serves, Ordering::Relaxed);
    let result = match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::DemoWorker(arguments) => demo_worker::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::MarkProcessDead(arguments) => mark_dead::run(&arguments),
        Command::Dump(arguments) => dump::run(arguments),
        Command::Ls(arguments) => ls::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Compact(arguments) => compact::run(&arguments),
        Command::Convert(arguments) => convert::convert(&arguments),
        Command::Lint(arguments) => convert::lint(&arguments),
    };
    result.unwrap_or_else(|error| {
        say(&error);
        let is_usage = matches!(error.kind(), ErrorKind::Usage | ErrorKind::InvalidLabels);
        ExitCode::from(if is_usage { 2 } else { 1 })
    })
}

/// Prints help, or what is wrong with the arguments in one line.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // OK because help that cannot be printed is nobody's loss.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        say(&"no command is given: see --help");
        return ExitCode::from(2);
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let message = text.lines().take_while(|line| !line.is_empty());
    let message: Vec<&str> = message.map(str::trim).collect();
    say(&message.join(" "));
    ExitCode::from(2)
}

/// Whether a message waits for a reader of standard error that is slow.
static IS_PATIENT: AtomicBool = AtomicBool::new(true);

/// Writes one line to standard error. Commands that serve drop it rather than wait for a reader.
fn say(message: &dyn std::fmt::Display) {
    if IS_PATIENT.load(Ordering::Relaxed) {
        // OK because there is nobody left to tell.
        let _ = io::stderr().write_all(format!("multiprom: {message}\n").as_bytes());
    } else {
        logging::write_line(message);
    }
}

/// Writes to standard output.
fn print(bytes: &[u8]) -> crate::Result<()> {
    let mut out = io::stdout().lock();
    told(out.write_all(bytes).and_then(|()| out.flush()))
}

/// What writing to standard output came to. A reader that has gone away, as `head` does, is no failure; an
/// error of a collector is returned as it is.
fn told(written: io::Result<()>) -> crate::Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let other = |error| Error::at(ErrorKind::Io, "standard output", error);
            Err(error.downcast::<Error>().unwrap_or_else(other))
        }
        _ => Ok(()),
    }
}
