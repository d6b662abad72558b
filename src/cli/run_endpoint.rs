//! The endpoint of `run`, which may start later than the command.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::exporting::{self, ExportedRegistry};
use super::listen_args::ListenArguments;
use super::log;
use crate::error::{Error, ErrorKind, Result};
use crate::http::Exporter;

/// Interval between attempts to listen.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Whether a failure to listen prevents the start of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listening {
    Required,
    Optional,
}

pub(super) enum RunEndpoint {
    Open(Exporter),
    /// A thread retries, as the lookup of a host name may take long.
    Waiting {
        error: Error,
        stop: Sender<()>,
        /// `None` after it was joined.
        thread: Option<JoinHandle<Option<Exporter>>>,
    },
}

impl RunEndpoint {
    pub(super) fn open(
        exported: ExportedRegistry,
        listen: &ListenArguments,
        listening: Listening,
    ) -> Result<RunEndpoint> {
        let error = match exported.listen(listen) {
            Ok(exporter) => return Ok(RunEndpoint::Open(exporter)),
            Err(error) => error,
        };
        if listening == Listening::Required || error.kind() != ErrorKind::Listen {
            return Err(error);
        }
        let listen = listen.clone();
        let (stop, stopped) = mpsc::channel();
        let retry = move || {
            let mut has_logged = false;
            while stopped.recv_timeout(RETRY_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                match exported.listen(&listen) {
                    Ok(exporter) => {
                        exporting::report(&exporter);
                        return Some(exporter);
                    }
                    // Such as a file for service discovery that cannot be written.
                    Err(error) if error.kind() != ErrorKind::Listen && !has_logged => {
                        log::warn(&error);
                        has_logged = true;
                    }
                    Err(_) => {}
                }
            }
            None
        };
        let thread = thread::Builder::new()
            .name("multiprom-listen".to_owned())
            .spawn(retry)
            .map_err(|error| Error::new(ErrorKind::Io, error))?;
        Ok(RunEndpoint::Waiting { error, stop, thread: Some(thread) })
    }

    /// Logs the URL of the metrics, or the reason why they are not served.
    pub(super) fn report(&self) {
        match self {
            RunEndpoint::Open(exporter) => exporting::report(exporter),
            RunEndpoint::Waiting { error, .. } => {
                let seconds = RETRY_INTERVAL.as_secs();
                log::warn(&format_args!(
                    "{error:#}: the command runs without an endpoint, and listening is retried every {seconds} s"
                ));
            }
        }
    }

    /// The exporter, if it listens.
    pub(super) fn exporter(&mut self) -> Option<&Exporter> {
        if let RunEndpoint::Waiting { thread, .. } = self
            && let Some(finished) = thread.take_if(|thread| thread.is_finished())
            && let Ok(Some(exporter)) = finished.join()
        {
            *self = RunEndpoint::Open(exporter);
        }
        match self {
            RunEndpoint::Open(exporter) => Some(exporter),
            RunEndpoint::Waiting { .. } => None,
        }
    }

    pub(super) fn stop(mut self) {
        // The thread may have opened it.
        let _ = self.exporter();
        match self {
            RunEndpoint::Open(exporter) => exporter.stop(),
            // A thread that still waits ends by itself; `run` does not wait for it.
            RunEndpoint::Waiting { stop, .. } => drop(stop),
        }
    }
}
