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

pub(super) enum Endpoint {
    Open(Exporter),
    /// A thread retries, as the lookup of a host name may take long.
    Waiting {
        error: Error,
        stop: Sender<()>,
        thread: JoinHandle<Option<Exporter>>,
    },
}

impl Endpoint {
    pub(super) fn open(
        exported: ExportedRegistry,
        listen: &ListenArguments,
        listening: Listening,
    ) -> Result<Endpoint> {
        let error = match exported.listen(listen) {
            Ok(exporter) => return Ok(Endpoint::Open(exporter)),
            Err(error) => error,
        };
        if listening == Listening::Required || error.kind() != ErrorKind::Listen {
            return Err(error);
        }
        let listen = listen.clone();
        let (stop, stopped) = mpsc::channel();
        let retry = move || {
            while stopped.recv_timeout(RETRY_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if let Ok(exporter) = exported.listen(&listen) {
                    exporting::report(&exporter);
                    return Some(exporter);
                }
            }
            None
        };
        let thread = thread::Builder::new()
            .name("multiprom-listen".to_owned())
            .spawn(retry)
            .map_err(|error| Error::new(ErrorKind::Io, error))?;
        Ok(Endpoint::Waiting { error, stop, thread })
    }

    /// Logs the URL of the metrics, or the reason why they are not served.
    pub(super) fn report(&self) {
        match self {
            Endpoint::Open(exporter) => exporting::report(exporter),
            Endpoint::Waiting { error, .. } => {
                let seconds = RETRY_INTERVAL.as_secs();
                log::warn(&format_args!(
                    "{error:#}: the command runs without an endpoint, and listening is retried every {seconds} s"
                ));
            }
        }
    }

    pub(super) fn stop(self) {
        match self {
            Endpoint::Open(exporter) => exporter.stop(),
            Endpoint::Waiting { stop, thread, .. } => {
                drop(stop);
                // A thread that still waits ends by itself; `run` does not wait for it.
                if thread.is_finished()
                    && let Ok(Some(exporter)) = thread.join()
                {
                    exporter.stop();
                }
            }
        }
    }
}
