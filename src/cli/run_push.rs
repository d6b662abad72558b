//! The pushes of `run --push`.

use super::log;
use super::patterns::ReportingRegistry;
use super::push_args::PushTarget;
use crate::outgoing::Periodic;

/// Pushes what the processes of a command record: periodically if there is an interval, and when the command has ended.
pub(super) struct RunPush {
    target: PushTarget,
    registry: ReportingRegistry,
    periodic: Option<Periodic>,
}

impl RunPush {
    pub(super) fn new(target: PushTarget, registry: ReportingRegistry) -> RunPush {
        RunPush { target, registry, periodic: None }
    }

    /// Reports the target, and starts periodic pushes. A failure is reported, as the command runs already.
    pub(super) fn start(&mut self) {
        log::info(&format_args!("pushing to {}", self.target.pusher.url()));
        match self.target.start(&self.registry) {
            Ok(periodic) => self.periodic = periodic,
            Err(error) => log::error(&error),
        }
    }

    /// Pushes the last values or deletes the group. A failure is reported and does not change the status of the command.
    pub(super) fn end(mut self) {
        if let Some(periodic) = self.periodic.take() {
            periodic.cancel();
        }
        if let Err(error) = self.target.end(&self.registry) {
            log::error(&error);
        }
    }
}
