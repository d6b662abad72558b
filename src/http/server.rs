//! The exporter: its threads, its socket, and how it starts and stops.

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;

use super::address::ListenAddress;
use super::connections::Connections;
use super::dropped::{Dropped, ExporterMetrics};
use super::handler::Handler;
use super::listener::{BoundSocket, SocketFile};
use super::queue::Queues;
use crate::background::Thread;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Gatherer;

/// The maximum number of threads that gather.
const MAX_GATHERING: usize = 8;
/// How long gathering threads may still run when the exporter has stopped.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// An exporter that runs in the background until it is stopped or dropped.
///
/// It belongs to the process that started it: a forked child has neither its threads nor its sockets, and dropping the
/// child's copy stops nothing. All signals are blocked in its threads, which gather the sources.
///
/// ```
/// use multiprom::{Registry, http::Exporter};
///
/// let exporter = Exporter::builder(Registry::new()).listen("127.0.0.1:0".parse()?).start()?;
/// assert!(exporter.url().ends_with("/metrics"));
/// exporter.stop();
/// # Ok::<(), multiprom::Error>(())
/// ```
pub struct Exporter {
    url: String,
    socket: Option<SocketFile>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<Thread>,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Exporter {
    /// A builder of an exporter of `source`, usually a [`Registry`](crate::Registry).
    pub fn builder(source: impl Gatherer + Send + Sync + 'static) -> ExporterBuilder {
        ExporterBuilder {
            source: Box::new(source),
            listen: ListenAddress::Tcp("127.0.0.1:9464".to_owned()),
            telemetry_path: "/metrics".to_owned(),
            shows_created: false,
            dropped: Arc::default(),
        }
    }

    /// The URL to scrape, with the port that was selected; `unix:PATH` for a Unix socket.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops accepting, and waits for the responses that are in progress, for at most 5 seconds.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if !thread.is_here() {
            // The socket file belongs to the parent. So does the runtime, whose locks may be held: a message would wake
            // it.
            mem::forget((self.socket.take(), self.stop.take()));
            return;
        }
        // The file is removed while the socket is open, so that its inode number cannot have been reused.
        drop(self.socket.take());
        if let Some(stop) = self.stop.take() {
            // OK because sending fails only if the server has already ended.
            let _ = stop.send(());
        }
        thread.join();
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.end();
    }
}

/// Configures an [`Exporter`].
#[must_use = "an exporter is started by `start`"]
pub struct ExporterBuilder {
    source: Box<dyn Gatherer + Send + Sync>,
    listen: ListenAddress,
    telemetry_path: String,
    shows_created: bool,
    dropped: Arc<Dropped>,
}

impl fmt::Debug for ExporterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExporterBuilder")
            .field("listen", &self.listen)
            .field("telemetry_path", &self.telemetry_path)
            .field("shows_created", &self.shows_created)
            .finish_non_exhaustive()
    }
}

impl ExporterBuilder {
    /// Sets the address to listen on; `127.0.0.1:9464` by default.
    pub fn listen(mut self, address: ListenAddress) -> ExporterBuilder {
        self.listen = address;
        self
    }

    /// Sets the path of the exposition; `/metrics` by default.
    pub fn telemetry_path(mut self, path: impl Into<String>) -> ExporterBuilder {
        self.telemetry_path = path.into();
        self
    }

    /// Adds the start timestamps of counters, histograms and summaries to the text formats and OpenMetrics 1.0, as samples
    /// `_created`, which Prometheus stores as series. The other formats always have start timestamps.
    pub fn created(mut self) -> ExporterBuilder {
        self.shows_created = true;
        self
    }

    /// Counts dropped connections in these metrics, which must be registered to be exported.
    pub fn metrics(mut self, metrics: &ExporterMetrics) -> ExporterBuilder {
        self.dropped = Arc::clone(&metrics.0);
        self
    }

    /// Binds the address and serves from a thread of its own.
    ///
    /// # Errors
    ///
    /// Of kind [`Listen`](ErrorKind::Listen) if the address cannot be bound, [`Usage`](ErrorKind::Usage) if the path has
    /// no leading slash, and [`Io`](ErrorKind::Io) if no thread can be started.
    pub fn start(self) -> Result<Exporter> {
        if !self.telemetry_path.starts_with('/') {
            let message = format!("telemetry path `{}` must begin with /", self.telemetry_path);
            return Err(Error::new(ErrorKind::Usage, message));
        }
        let address = self.listen.to_string();
        let refuse = |error: io::Error| {
            Error::new(ErrorKind::Listen, format!("cannot listen on {address}: {error}"))
        };
        let (bound, url, socket) =
            BoundSocket::new(&self.listen, &self.telemetry_path).map_err(refuse)?;
        let failed = |error| Error::new(ErrorKind::Io, error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MAX_GATHERING)
            .thread_name("multiprom-gather")
            .build()
            .map_err(failed)?;
        let handler = Handler {
            source: self.source,
            telemetry_path: self.telemetry_path,
            shows_created: self.shows_created,
            queues: Arc::new(Queues::default()),
        };
        let connections = Connections::new(Arc::new(handler), self.dropped);
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(serve(bound, connections, stopped));
            runtime.shutdown_timeout(STOP_TIMEOUT);
        };
        let thread = Thread::spawn("multiprom-http", serve).map_err(failed)?;
        Ok(Exporter { url, socket, stop: Some(stop), thread: Some(thread) })
    }
}

async fn serve(bound: BoundSocket, connections: Connections, stopped: oneshot::Receiver<()>) {
    let accepting = async {
        // If `from_std` fails, the exporter accepts nothing until it is stopped. It fails only without a reactor, and one
        // is running here.
        match bound {
            BoundSocket::Tcp(listener) => {
                if let Ok(listener) = listener.try_map(TcpListener::from_std) {
                    connections.accept_all(&*listener).await;
                }
            }
            BoundSocket::Unix(listener) => {
                if let Ok(listener) = listener.try_map(UnixListener::from_std) {
                    connections.accept_all(&*listener).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = stopped => {}
    }
    connections.stop().await;
}
