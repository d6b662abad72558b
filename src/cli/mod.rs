//! The `multiprom` command: arguments, messages, exit statuses.
//!
//! Results go to standard output and messages to standard error. A message is one line that names the file,
//! the flag or the address. Commands that run for long log their messages with a level, as text, JSON or logfmt: see
//! `log`. The exit status is 0 for success, 1 for a failure, 2 for wrong usage and 3 for
//! problems that `lint` found; `run` exits with the status of its command.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

mod args;
mod check;
mod compact;
mod convert;
mod demo;
mod demo_worker;
mod discovery;
mod dump;
mod exporting;
mod gathering;
mod launcher;
mod linger;
mod listen_args;
mod log;
mod log_args;
mod log_record;
mod ls;
mod mark_dead;
mod merge_args;
mod merging;
mod new_dir;
mod output;
mod owner;
mod patterns;
mod private_dir;
mod push_args;
mod restarts;
mod run;
mod run_args;
mod run_dir;
mod run_endpoint;
mod run_lock;
mod run_push;
mod scrape_log;
mod sending;
mod serve;
mod shell;
mod signals;
mod status;
mod table;
mod terminal;
mod values;

use std::process::ExitCode;

use clap::Parser as _;

use crate::error::ErrorKind;
use args::{Arguments, Command};
use log_args::LogArguments;
use output::{SlowReader, print_message, set_slow_reader};

/// Runs the command that the arguments of this process name.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return print_usage(&error),
    };
    let serves =
        matches!(arguments.command, Command::Demo(_) | Command::Run(_) | Command::Serve(_));
    set_slow_reader(if serves { SlowReader::Drop } else { SlowReader::Wait });
    if let Some(arguments) = log_arguments(&arguments.command) {
        log::configure(arguments);
    }
    let result = match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::DemoWorker(arguments) => demo_worker::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Serve(arguments) => serve::run(*arguments),
        Command::MarkProcessDead(arguments) => mark_dead::run(&arguments),
        Command::Dump(arguments) => dump::run(arguments),
        Command::Push(arguments) => sending::push(*arguments),
        Command::Textfile(arguments) => sending::textfile(arguments),
        Command::Graphite(arguments) => sending::graphite(arguments),
        Command::Ls(arguments) => ls::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Compact(arguments) => compact::run(&arguments),
        Command::Convert(arguments) => convert::convert(&arguments),
        Command::Lint(arguments) => convert::lint(&arguments),
        Command::Completions(arguments) => shell::completions(&arguments),
        Command::Man(arguments) => shell::man(&arguments),
    };
    result.unwrap_or_else(|error| {
        if matches!(error.kind(), ErrorKind::Usage | ErrorKind::InvalidLabels) {
            print_message(&error);
            return ExitCode::from(2);
        }
        log::error(&error);
        ExitCode::FAILURE
    })
}

/// The arguments of the log, of commands that run for long.
fn log_arguments(command: &Command) -> Option<LogArguments> {
    match command {
        Command::Demo(arguments) => Some(arguments.log),
        Command::Run(arguments) => Some(arguments.log),
        Command::Serve(arguments) => Some(arguments.log),
        Command::Push(arguments) => Some(arguments.log),
        Command::Textfile(arguments) => Some(arguments.log),
        Command::Graphite(arguments) => Some(arguments.log),
        _ => None,
    }
}

/// Prints help, or one line about invalid arguments.
fn print_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // OK because a failure to print help has no consequence.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        print_message(&"no command: see --help");
        return ExitCode::from(2);
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let message = text.lines().take_while(|line| !line.is_empty());
    let message: Vec<&str> = message.map(str::trim).collect();
    print_message(&message.join(" "));
    ExitCode::from(2)
}
