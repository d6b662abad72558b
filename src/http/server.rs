//! The exporter: its threads, its socket, and how it starts and stops.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future as _, pending, poll_fn};
use std::mem;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;

use super::address::ListenAddress;
use super::connections::Connections;
use super::counters::ExporterMetrics;
use super::endpoint::Endpoint;
use super::guard::Guard;
use super::handler::{Handler, HandlerBuilder};
use super::hooks::{Hooks, StopHooks};
use super::listener::{Bound, BoundSocket, Location, SocketFile};
use super::scrapes::{NextScrape, Scrapes};
use super::status::source::StatusSource;
use crate::background::Thread;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Gatherer;

/// The address to listen on if no other is set.
const DEFAULT_ADDRESS: &str = "127.0.0.1:9464";
/// The maximum number of threads that gather.
const MAX_GATHERING: usize = 8;
/// How long the responses in progress, and then the gathering threads, may delay the stop in total.
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
    urls: Vec<String>,
    endpoints: Vec<Endpoint>,
    hooks: StopHooks,
    scrapes: Arc<Scrapes>,
    files: Vec<SocketFile>,
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "used with the web configuration"))]
    guard: Guard,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<Thread>,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl Exporter {
    /// A builder of an exporter of `source`, usually a [`Registry`](crate::Registry).
    pub fn builder(source: impl Gatherer + Send + Sync + 'static) -> ExporterBuilder {
        ExporterBuilder {
            handler: Handler::builder(source),
            listen: Vec::new(),
            hooks: Hooks::default(),
            socket_mode: None,
            web_config: None,
        }
    }

    /// The URL to scrape at the first address, with the port that was selected; `unix:PATH` for a Unix socket.
    pub fn url(&self) -> &str {
        self.urls.first().map_or("", String::as_str)
    }

    /// The URLs to scrape, one for each address.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The addresses, with the URLs of the landing page and of the metrics, and the targets for service discovery.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Waits until a scrape is served completely that begins after this call, for `timeout` at most; returns whether there was
    /// one.
    ///
    /// A program calls it before it ends, so that its last values are scraped. Only whole expositions of the telemetry path
    /// count: no selection by `name[]`, no HEAD, and no response that is aborted.
    pub fn wait_for_scrape(&self, timeout: Duration) -> bool {
        self.next_scrape().wait(timeout)
    }

    pub(crate) fn next_scrape(&self) -> NextScrape {
        self.scrapes.next()
    }

    /// Reads the web configuration again. Changes of it are also detected within a second.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage) with the file, the line and what was expected. The last valid configuration then
    /// stays in use.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn reload(&self) -> Result<()> {
        self.guard.reload()
    }

    /// Stops accepting, and waits for the responses and gatherings that are in progress, for at most 5 seconds.
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
            mem::forget((mem::take(&mut self.files), self.stop.take()));
            return;
        }
        self.hooks.stop(&self.endpoints);
        // The files are removed while the sockets are open, so that their inode numbers cannot have been reused.
        self.files.clear();
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
    handler: HandlerBuilder,
    /// The default if it is empty.
    listen: Vec<ListenAddress>,
    hooks: Hooks,
    socket_mode: Option<u32>,
    /// The path of the web configuration.
    web_config: Option<PathBuf>,
}

impl fmt::Debug for ExporterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExporterBuilder")
            .field("listen", &self.listen)
            .field("handler", &self.handler)
            .finish_non_exhaustive()
    }
}

impl ExporterBuilder {
    /// Adds an address to listen on; `127.0.0.1:9464` if there is none.
    pub fn listen(mut self, address: ListenAddress) -> ExporterBuilder {
        self.listen.push(address);
        self
    }

    /// Sets the permissions of the files of Unix sockets, such as `0o660`; all permissions less the umask by default.
    pub fn socket_mode(mut self, mode: u32) -> ExporterBuilder {
        self.socket_mode = Some(mode);
        self
    }

    /// Sets the path of the exposition; `/metrics` by default.
    pub fn telemetry_path(mut self, path: impl Into<String>) -> ExporterBuilder {
        self.handler = self.handler.telemetry_path(path);
        self
    }

    /// Serves another source under a path of its own.
    pub fn target(
        mut self,
        path: impl Into<String>,
        source: impl Gatherer + Send + Sync + 'static,
    ) -> ExporterBuilder {
        self.handler = self.handler.target(path, source);
        self
    }

    /// Calls a function when the exporter has started, with the addresses that were selected: to register it for service
    /// discovery. An error stops the exporter, and is the result of [`start`](ExporterBuilder::start).
    ///
    /// ```
    /// use multiprom::{Registry, http::Exporter};
    ///
    /// let exporter = Exporter::builder(Registry::new())
    ///     .listen("127.0.0.1:0".parse()?)
    ///     .on_start(|endpoints| match endpoints[0].target() {
    ///         Some(target) => register(&target),
    ///         None => Err("no TCP address".into()),
    ///     })
    ///     .on_stop(|endpoints| deregister(&endpoints[0]))
    ///     .start()?;
    /// # fn register(target: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> { Ok(()) }
    /// # fn deregister(endpoint: &multiprom::http::Endpoint) {}
    /// exporter.stop();
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    pub fn on_start<E: Into<Box<dyn StdError + Send + Sync>>>(
        mut self,
        hook: impl FnOnce(&[Endpoint]) -> Result<(), E> + Send + 'static,
    ) -> ExporterBuilder {
        self.hooks.add_start(hook);
        self
    }

    /// Calls a function before the exporter stops or is dropped, in the process that started it, while it still serves. It is
    /// not called if the exporter has not started.
    pub fn on_stop(mut self, hook: impl FnOnce(&[Endpoint]) + Send + 'static) -> ExporterBuilder {
        self.hooks.add_stop(hook);
        self
    }

    /// Adds the start timestamps of counters, histograms and summaries to the text formats and OpenMetrics 1.0, as samples
    /// `_created`, which Prometheus stores as series. The other formats always have start timestamps.
    pub fn created(mut self) -> ExporterBuilder {
        self.handler = self.handler.created();
        self
    }

    /// Counts requests and connections in these metrics, which must be registered to be exported.
    pub fn metrics(mut self, metrics: &ExporterMetrics) -> ExporterBuilder {
        self.handler = self.handler.metrics(metrics);
        self
    }

    /// Serves a [status page](HandlerBuilder::status_page) at `/`.
    pub fn status_page(mut self) -> ExporterBuilder {
        self.handler = self.handler.status_page();
        self
    }

    /// The same with the state of directories.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "for the command"))]
    pub(crate) fn status_of(mut self, directories: impl StatusSource + 'static) -> ExporterBuilder {
        self.handler = self.handler.status_of(directories);
        self
    }

    /// Sets the web configuration, a file in the format of the Prometheus exporter toolkit: TLS, client certificates, basic
    /// authentication, headers and a rate limit. It is read again when it, or a file that it names, has changed.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn web_config_file(mut self, path: impl Into<PathBuf>) -> ExporterBuilder {
        self.web_config = Some(path.into());
        self
    }

    /// Checks the paths and the web configuration, without listening.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage), as [`start`](ExporterBuilder::start).
    pub fn check(self) -> Result<()> {
        Guard::open(self.web_config.as_deref())?;
        self.handler.build().map(drop)
    }

    /// Binds all addresses and serves from a thread of its own.
    ///
    /// # Errors
    ///
    /// Of kind [`Listen`](ErrorKind::Listen) if an address cannot be bound, [`Usage`](ErrorKind::Usage) if a path has
    /// no leading slash or another meaning or the web configuration is invalid, [`Io`](ErrorKind::Io) if no thread can be started,
    /// and the error of a function of [`on_start`](ExporterBuilder::on_start).
    pub fn start(self) -> Result<Exporter> {
        let telemetry_path = self.handler.telemetry_path.clone();
        let handler = self.handler.build()?;
        let guard = Guard::open(self.web_config.as_deref())?;
        let mut listen = self.listen;
        if listen.is_empty() {
            listen.push(ListenAddress::Tcp(DEFAULT_ADDRESS.to_owned()));
        }
        let location = Location { scheme: guard.scheme(), path: &telemetry_path };
        let (mut bound, mut endpoints, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for address in listen {
            let all = Bound::all(&address, self.socket_mode, location).map_err(|error| {
                Error::new(ErrorKind::Listen, format!("cannot listen on {address}: {error}"))
            })?;
            for Bound { socket, endpoint, file } in all {
                bound.push(socket);
                endpoints.push(endpoint);
                files.extend(file);
            }
        }
        let failed = |error| Error::new(ErrorKind::Io, error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MAX_GATHERING)
            .thread_name("multiprom-gather")
            .build()
            .map_err(failed)?;
        let history = handler.clone();
        let scrapes = Arc::clone(handler.scrapes());
        let connections = Connections::new(handler, guard.clone());
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.spawn(async move { history.keep_history().await });
            let stopped = runtime.block_on(serve(bound, connections, stopped));
            runtime.shutdown_timeout(STOP_TIMEOUT.saturating_sub(stopped.elapsed()));
        };
        let thread = Thread::spawn("multiprom-http", serve).map_err(failed)?;
        let mut exporter = Exporter {
            urls: endpoints.iter().map(Endpoint::metrics_url).collect(),
            endpoints,
            hooks: StopHooks::default(),
            scrapes,
            files,
            guard,
            stop: Some(stop),
            thread: Some(thread),
        };
        exporter.hooks = self.hooks.start(&exporter.endpoints)?;
        Ok(exporter)
    }
}

/// Serves until the exporter is stopped. Returns when that was.
async fn serve(
    bound: Vec<BoundSocket>,
    connections: Connections,
    mut stopped: oneshot::Receiver<()>,
) -> Instant {
    let mut accepting: Vec<_> =
        bound.into_iter().map(|bound| Box::pin(accept(bound, &connections))).collect();
    // None of them ends. A poll makes a system call only if the socket was reported as ready.
    poll_fn(|context| {
        for accepting in &mut accepting {
            let _ = accepting.as_mut().poll(context);
        }
        Pin::new(&mut stopped).poll(context).map(drop)
    })
    .await;
    let stopped = Instant::now();
    drop(accepting);
    connections.stop().await;
    stopped
}

/// Accepts the connections of a socket; never returns.
async fn accept(bound: BoundSocket, connections: &Connections) {
    // If `from_std` fails, nothing is accepted. It fails only without a reactor, and one is running here.
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
    pending::<()>().await;
}
