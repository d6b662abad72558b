//! The command of `run` and its descendants: signals that are passed on, processes that are reaped, restarts.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::mem;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::compact::UncompactedHint;
use super::log;
use super::restarts::{AfterEnd, Restarts};
use super::signals::{self, Reaped, Sender, Signal, Signals};
use super::terminal::{self, Terminal};
use crate::error::Result;
use crate::file::environment::{DIR_VARIABLE, OLD_DIR_VARIABLE, SOCKET_VARIABLES};
use crate::multiproc::mark_process_dead;
use crate::process::procfs::{Stat, all_pids};

/// Interval at which ended children are reaped if a signal is missed.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// How long processes that a failed command has left may take to end after SIGTERM, before a restart.
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(10);

/// Exit statuses for a command that cannot be started, as in shells.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// The processes that get a signal which is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The command.
    Process,
    /// The process group of the command.
    Group,
}

/// The command line, and how it is started.
pub(super) struct CommandLine<'a> {
    pub(super) words: &'a [OsString],
    pub(super) dir: &'a Path,
    pub(super) delivery: Delivery,
    /// Whether the kernel ends the command when this process is killed.
    pub(super) ends_with_parent: bool,
}

impl CommandLine<'_> {
    /// Starts the command and returns its process id, or an exit status.
    fn start(
        &self,
        signals: &Signals,
        terminal: Option<&Terminal>,
    ) -> std::result::Result<u32, u8> {
        let (program, arguments) = self.words.split_first().ok_or(NOT_FOUND)?;
        let mut command = Command::new(program);
        command.args(arguments).env(DIR_VARIABLE, self.dir).env(OLD_DIR_VARIABLE, self.dir);
        for variable in SOCKET_VARIABLES {
            command.env_remove(variable);
        }
        if self.delivery == Delivery::Group {
            command.process_group(0);
        }
        if let Some(terminal) = terminal {
            terminal.start_in_foreground(&mut command);
        }
        if self.ends_with_parent {
            terminal::end_with_parent(&mut command, Signal::TERM);
        }
        // Last, because a change of the foreground needs a blocked SIGTTOU.
        signals.restore_in(&mut command);
        command.spawn().map(|child| child.id()).map_err(|error| {
            log::error(&format_args!("cannot start `{}`: {error}", program.to_string_lossy()));
            if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
        })
    }
}

pub(super) struct Launcher<'a> {
    command: CommandLine<'a>,
    signals: &'a Signals,
    hint: UncompactedHint,
    restarts: Restarts,
    terminal: Option<Terminal>,
    /// Whether the command is stopped because it is in the background and has used the terminal.
    waits_for_terminal: bool,
    /// The process id of the command until it has ended.
    running: Option<u32>,
    /// Exit status of the command, after it has ended.
    status: Option<u8>,
    /// How long the command has run if it has failed; its descendants may run for longer.
    failed_after: Option<Duration>,
    /// The last signal that was passed on.
    passed_on: Option<Signal>,
    /// Whether a signal has asked this process to end.
    is_ending: bool,
    leftovers: Option<Leftovers>,
}

/// Processes that a failed command has left, which are ended before a restart.
struct Leftovers {
    kill_at: Instant,
    /// Processes that got a SIGTERM.
    asked: BTreeSet<u32>,
}

impl<'a> Launcher<'a> {
    pub(super) fn new(
        command: CommandLine<'a>,
        signals: &'a Signals,
        restarts: Restarts,
        hint: UncompactedHint,
    ) -> Launcher<'a> {
        Launcher {
            command,
            signals,
            hint,
            restarts,
            terminal: Terminal::open(),
            waits_for_terminal: false,
            running: None,
            status: None,
            failed_after: None,
            passed_on: None,
            is_ending: false,
            leftovers: None,
        }
    }

    /// Starts the command, or returns an exit status.
    pub(super) fn start(&mut self) -> std::result::Result<(), u8> {
        let has_foreground = |terminal: &&Terminal| {
            self.command.delivery == Delivery::Group
                && terminal.is_foreground(terminal::own_group())
        };
        let foreground = self.terminal.as_ref().filter(has_foreground);
        self.failed_after = None;
        let started = self.command.start(self.signals, foreground);
        if let (Err(_), Some(terminal)) = (&started, foreground) {
            terminal.set_foreground(terminal::own_group());
        }
        self.running = Some(started?);
        (self.status, self.passed_on) = (None, None);
        Ok(())
    }

    /// Waits until the command, its restarts and all of their descendants have ended. Returns the last status of the
    /// command.
    pub(super) fn run(mut self) -> u8 {
        let mut started = Ok(());
        loop {
            let begin = Instant::now();
            let status = match started {
                Ok(()) => self.follow(begin),
                Err(status) => status,
            };
            if self.is_ending || !self.pause_before_restart(status, self.run_time(begin)) {
                return status;
            }
            started = self.start();
        }
    }

    /// How long the command has run: until its own end if it has failed, else until all of its descendants have ended.
    fn run_time(&self, begin: Instant) -> Duration {
        self.failed_after.unwrap_or_else(|| begin.elapsed())
    }

    /// Logs the end of the command, and waits for the time of its restart. Returns `false` if there is none.
    fn pause_before_restart(&mut self, status: u8, time: Duration) -> bool {
        match self.restarts.after(status, time) {
            AfterEnd::End => false,
            AfterEnd::GiveUp => {
                log::error(&format_args!(
                    "the command has ended with status {status}, and --max-restarts is reached"
                ));
                false
            }
            AfterEnd::Restart { delay, number } => {
                log::warn(&format_args!(
                    "the command has ended with status {status}: restart {number} in {delay:?}"
                ));
                self.pause(delay)
            }
        }
    }

    /// Waits for the given time; `false` if a signal asks this process to end.
    fn pause(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            match self.signals.wait_for(left.min(self.hint.check())) {
                Some((signal, _)) if signal.is_end() => return false,
                Some((Signal::CHLD, _)) => signals::reap_orphans(),
                _ => {}
            }
        }
    }

    /// Passes signals on and reaps children until there are no descendants. Returns the status of the command.
    fn follow(&mut self, begin: Instant) -> u8 {
        loop {
            self.hint.check();
            self.give_terminal();
            match self.signals.wait_for(REAP_INTERVAL) {
                // Children are reaped below.
                None | Some((Signal::CHLD, _)) => {}
                Some((signal, sender)) => {
                    self.note(signal);
                    self.pass_on(signal, sender);
                }
            }
            loop {
                match signals::reap() {
                    Reaped::Child { pid, status } => {
                        if Some(pid) == self.running {
                            self.ended(status, begin.elapsed());
                        }
                        report_error(mark_process_dead(self.command.dir, pid));
                    }
                    Reaped::Stopped { pid, signal } => self.stopped(pid, signal),
                    Reaped::Running => break,
                    Reaped::None => return self.status.unwrap_or(0),
                }
            }
            self.end_leftovers();
        }
    }

    /// Records a signal from outside.
    fn note(&mut self, signal: Signal) {
        self.is_ending |= signal.is_end();
        self.passed_on = Some(signal);
    }

    /// Records the end of the command.
    fn ended(&mut self, status: u8, time: Duration) {
        let had_terminal = self.take_terminal();
        self.running = None;
        self.waits_for_terminal = false;
        self.status = Some(status);
        self.failed_after = (status != 0).then_some(time);
        let is_end_of = |signal: Signal| signal.exit_status() == status;
        // The terminal sends these to the group of the command only.
        let by_terminal = had_terminal && [Signal::INT, Signal::QUIT].into_iter().any(is_end_of);
        self.is_ending |= by_terminal || self.passed_on.is_some_and(is_end_of);
        let is_next = |next| matches!(next, AfterEnd::Restart { .. });
        if !self.is_ending && status != 0 && is_next(self.restarts.clone().after(status, time)) {
            let kill_at = Instant::now() + LEFTOVER_TIMEOUT;
            self.leftovers = Some(Leftovers { kill_at, asked: BTreeSet::new() });
        } else {
            self.leftovers = None;
        }
    }

    /// Asks processes that a failed command has left to end, and kills them after a time.
    fn end_leftovers(&mut self) {
        let Some(leftovers) = &mut self.leftovers else {
            return;
        };
        let is_late = Instant::now() >= leftovers.kill_at;
        for pid in children() {
            if leftovers.asked.insert(pid) {
                if leftovers.asked.len() == 1 {
                    let status = self.status.unwrap_or(0);
                    log::warn(&format_args!(
                        "the command has ended with status {status}: ending the processes that it has left"
                    ));
                }
                signals::send(pid, Signal::TERM);
            }
            if is_late {
                signals::send(pid, Signal::KILL);
            }
        }
    }

    /// Passes a signal on to the command or, after its end, to the orphans.
    ///
    /// The terminal has sent its signals to the group of this process itself. Of those only the ones that ask a program to end are
    /// passed on to processes in other groups.
    fn pass_on(&self, signal: Signal, sender: Sender) {
        if sender == Sender::Terminal && !signal.is_end() {
            return;
        }
        let own = terminal::own_group();
        let mut groups = BTreeSet::new();
        for pid in self.running.map_or_else(children, |pid| vec![pid]) {
            match terminal::group_of(pid).filter(|group| *group != own) {
                Some(group) if self.command.delivery == Delivery::Group => {
                    groups.insert(group);
                }
                None if sender == Sender::Terminal => {}
                _ => signals::send(pid, signal),
            }
        }
        for group in groups {
            terminal::send_to_group(group, signal);
        }
    }

    /// Records that the command waits for the terminal, or stops this process too when the terminal has stopped the command,
    /// so that the shell continues its job. In the latter case the command's group is in the foreground, so the terminal does
    /// not stop this process itself.
    fn stopped(&mut self, pid: u32, signal: Signal) {
        let Some(terminal) = self.terminal.as_ref().filter(|_| Some(pid) == self.running) else {
            return;
        };
        if signal.is_background_stop() {
            self.waits_for_terminal = true;
            return;
        }
        if signal != Signal::TSTP || !terminal.is_foreground(pid) {
            return;
        }
        if terminal::is_session_leader() {
            // Without a shell nothing would continue the command.
            terminal::send_to_group(pid, Signal::CONT);
            return;
        }
        let own = terminal::own_group();
        terminal.set_foreground(own);
        // The shell continues its job by SIGCONT, which is then passed on.
        terminal::send_to_group(own, Signal::STOP);
    }

    /// If this process is in the foreground, moves the command there and continues it if it waits for that. No signal
    /// announces it: a shell continues only jobs that are stopped, and this process is not.
    fn give_terminal(&mut self) {
        let own = terminal::own_group();
        let Some(terminal) = self.terminal.as_ref().filter(|it| it.is_foreground(own)) else {
            return;
        };
        let group = match (self.command.delivery, self.running) {
            (Delivery::Group, Some(pid)) => {
                terminal.set_foreground(pid);
                pid
            }
            _ => own,
        };
        if mem::take(&mut self.waits_for_terminal) {
            terminal::send_to_group(group, Signal::CONT);
        }
    }

    /// Moves this process to the foreground, if the command was there; returns whether it was.
    fn take_terminal(&self) -> bool {
        let own = terminal::own_group();
        match (&self.terminal, self.running) {
            (Some(terminal), Some(pid)) if terminal.is_foreground(pid) => {
                terminal.set_foreground(own);
                true
            }
            _ => false,
        }
    }
}

fn report_error(result: Result<()>) {
    if let Err(error) = result {
        log::warn(&error);
    }
}

/// The children of this process.
fn children() -> Vec<u32> {
    let (own, procfs) = (std::process::id(), Path::new("/proc"));
    let is_child = |pid: &u32| {
        Stat::read(&procfs.join(pid.to_string())).is_some_and(|stat| stat.parent == own)
    };
    all_pids(procfs).into_iter().filter(is_child).collect()
}

#[cfg(test)]
mod tests {
    use super::super::merge_args::CompactMode;
    use super::super::restarts::{MaxRestarts, RestartPolicy};
    use super::*;

    #[test]
    fn the_run_time_of_a_failed_command_does_not_include_the_time_of_its_descendants() {
        const SECOND: Duration = Duration::from_secs(1);
        let command = CommandLine {
            words: &[],
            dir: Path::new("/"),
            delivery: Delivery::Process,
            ends_with_parent: false,
        };
        let signals = Signals::block(&[]).unwrap();
        let restarts = Restarts::new(RestartPolicy::Always, SECOND, MaxRestarts(None));
        let hint = UncompactedHint::new(&[], None, CompactMode::Own, None);
        let mut launcher = Launcher::new(command, &signals, restarts, hint);
        let begin = Instant::now();
        launcher.ended(1, SECOND);
        assert_eq!(launcher.run_time(begin), SECOND);
        launcher.ended(0, Duration::MAX);
        assert!(launcher.run_time(begin) < Duration::MAX);
    }
}
