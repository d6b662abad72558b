//! Listens, and runs the connections.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, oneshot, watch};

use super::address::ListenAddress;
use super::handler::{Gathering, Handler};
use super::listener::{Bound, Listener, SocketFile, poll_accept};
use super::write_timeout::WriteTimeout;
use crate::background::{ClosedInChildren, Thread};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Gatherer;

/// How long a connection may stay idle, or take for the head of a request. Above the usual scrape
/// intervals, so that scrapers keep their connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a client may take nothing of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The most connections at once; more wait.
const MAX_CONNECTIONS: usize = 256;
/// The most of a request's head, in bytes.
const MAX_HEAD_LEN: usize = 16 * 1024;
/// Threads that gather.
const MAX_GATHERING: usize = 8;
/// How long requests that are being answered may take when the exporter stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take to hand over its last answer when the exporter stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An exporter that runs in the background until it is stopped or dropped.
///
/// It is that of the process that started it: a forked child has neither its threads nor its sockets, and a child
/// that drops its copy stops nothing. All signals are blocked in its threads, on which sources are gathered.
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

impl Exporter {
    /// An exporter of one gatherer, usually a [`Registry`](crate::Registry).
    pub fn builder(source: impl Gatherer + Send + Sync + 'static) -> ExporterBuilder {
        ExporterBuilder {
            source: Box::new(source),
            listen: ListenAddress::Tcp("127.0.0.1:9464".to_owned()),
            telemetry_path: "/metrics".to_owned(),
        }
    }

    /// What to scrape, with the port that was picked; `unix:PATH` for a Unix socket.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops accepting, and waits for the requests that are being answered, 5 seconds at most.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if !thread.is_here() {
            // The parent's: the file, and the runtime that a message would wake, whose locks may be held.
            mem::forget((self.socket.take(), self.stop.take()));
            return;
        }
        // While the socket is open, its file is no other one that has the same inode number.
        drop(self.socket.take());
        if let Some(stop) = self.stop.take() {
            // OK because a server that has ended already needs no stopping.
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

/// Sets up an [`Exporter`].
#[must_use = "an exporter begins with `start`"]
pub struct ExporterBuilder {
    source: Box<dyn Gatherer + Send + Sync>,
    listen: ListenAddress,
    telemetry_path: String,
}

impl ExporterBuilder {
    /// Where to listen; `127.0.0.1:9464` by default.
    pub fn listen(mut self, address: ListenAddress) -> ExporterBuilder {
        self.listen = address;
        self
    }

    /// The path of the exposition; `/metrics` by default.
    pub fn telemetry_path(mut self, path: impl Into<String>) -> ExporterBuilder {
        self.telemetry_path = path.into();
        self
    }

    /// Binds the address and serves from a thread of its own.
    ///
    /// # Errors
    ///
    /// Of kind [`Listen`](ErrorKind::Listen) where the address cannot be bound,
    /// [`Usage`](ErrorKind::Usage) for a path without a leading slash, and [`Io`](ErrorKind::Io) where no
    /// thread can be started.
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
            Bound::new(&self.listen, &self.telemetry_path).map_err(refuse)?;
        let failed = |error| Error::new(ErrorKind::Io, error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MAX_GATHERING)
            .thread_name("multiprom-gather")
            .build()
            .map_err(failed)?;
        let handler = Handler { source: self.source, telemetry_path: self.telemetry_path };
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(serve(bound, Arc::new(handler), stopped));
            runtime.shutdown_timeout(STOP_TIMEOUT);
        };
        let thread = Thread::spawn("multiprom-http", serve).map_err(failed)?;
        Ok(Exporter { url, socket, stop: Some(stop), thread: Some(thread) })
    }
}

async fn serve(bound: Bound, handler: Arc<Handler>, stopped: oneshot::Receiver<()>) {
    let connections = Connections {
        handler,
        stopping: watch::Sender::new(()),
        permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    };
    let accepting = async {
        // A listener that the runtime refuses leaves an exporter that answers nothing until it is
        // stopped; both calls fail only without a reactor, and one is running here.
        match bound {
            Bound::Tcp(listener) => {
                if let Ok(listener) = listener.try_map(TcpListener::from_std) {
                    connections.accept_all(&*listener).await;
                }
            }
            Bound::Unix(listener) => {
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

struct Connections {
    handler: Arc<Handler>,
    /// Tells every connection that the exporter stops.
    stopping: watch::Sender<()>,
    permits: Arc<Semaphore>,
}

impl Connections {
    /// Accepts for ever. A connection begins only when there is room for it.
    async fn accept_all<L>(&self, listener: &L)
    where
        L: Listener<Stream: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static>,
    {
        loop {
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                return;
            };
            let Ok(stream) = poll_fn(|context| poll_accept(listener, context)).await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let handler = Arc::clone(&self.handler);
            let stopping = self.stopping.subscribe();
            tokio::spawn(async move {
                run(stream, handler, stopping).await;
                drop(permit);
            });
        }
    }

    /// Ends the connections, and waits for those that are answering.
    async fn stop(&self) {
        self.stopping.send_replace(());
        let all = self.permits.acquire_many(MAX_CONNECTIONS as u32);
        let _ = tokio::time::timeout(STOP_TIMEOUT, all).await;
    }
}

/// Runs one connection until its client ends it or the exporter stops.
async fn run<S>(
    stream: ClosedInChildren<S>,
    handler: Arc<Handler>,
    mut stopping: watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
{
    let (has_begun, gathering) = (AtomicBool::new(false), Gathering::default());
    let service = service_fn(|request| {
        has_begun.store(true, Ordering::Relaxed);
        Arc::clone(&handler).answer(request, Arc::clone(&gathering))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(MAX_HEAD_LEN)
        .serve_connection(TokioIo::new(WriteTimeout::new(stream, WRITE_TIMEOUT)), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // OK because a connection that breaks concerns its client only.
        _ = connection.as_mut() => return,
        _ = stopping.changed() => {}
    }
    // A client that has not sent a whole request may never do so, and is not waited for.
    if !has_begun.load(Ordering::Relaxed) {
        return;
    }
    let is_gathering = Arc::strong_count(&gathering) > 1;
    connection.as_mut().graceful_shutdown();
    let limit = if is_gathering { STOP_TIMEOUT } else { FLUSH_TIMEOUT };
    let _ = tokio::time::timeout(limit, connection).await;
}
