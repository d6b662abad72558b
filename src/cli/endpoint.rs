//! The endpoint of `run`, which may come up later than the command.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::args::ListenArguments;
use super::{say, serve};
use crate::error::{Error, ErrorKind, Result};
use crate::http::Exporter;
use crate::registry::Registry;

/// How often an address is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// What becomes of a command where its address cannot be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listening {
    Required,
    Optional,
}

pub(super) enum Endpoint {
    Open(Exporter),
    /// Tried again on a thread of its own: looking up a host name may take long.
    Waiting {
        error: Error,
        stop: Sender<()>,
        thread: JoinHandle<Option<Exporter>>,
    },
}

impl Endpoint {
    pub(super) fn open(
        registry: Registry,
        listen: &ListenArguments,
        listening: Listening,
    ) -> Result<Endpoint> {
        let error = match serve::listen(registry.clone(), listen) {
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
                if let Ok(exporter) = serve::listen(registry.clone(), &listen) {
                    say(&format_args!("serving {}", exporter.url()));
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

    /// Logs where the metrics are served, or why they are not.
    pub(super) fn report(&self) {
        match self {
            Endpoint::Open(exporter) => say(&format_args!("serving {}", exporter.url())),
            Endpoint::Waiting { error, .. } => {
                let seconds = RETRY_INTERVAL.as_secs();
                say(&format_args!(
                    "{error}: the command runs without an endpoint, and the address is tried again every \
                     {seconds} s"
                ));
            }
        }
    }

    pub(super) fn stop(self) {
        match self {
            Endpoint::Open(exporter) => exporter.stop(),
            Endpoint::Waiting { stop, thread, .. } => {
                drop(stop);
                // One that still waits ends by itself, and the command is not kept from its end.
                if thread.is_finished()
                    && let Ok(Some(exporter)) = thread.join()
                {
                    exporter.stop();
                }
            }
        }
    }
}
