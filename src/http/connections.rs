//! The connections of an exporter. At the limit, the most dispensable one is closed for a new one.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

use super::body::ResponseBody;
use super::connection::Connection;
use super::counters::{DropReason, OpenConnection};
use super::guard::{Accepted, Guard};
use super::handler::{Handler, refuse};
use super::listener::{ListeningSocket, poll_accept};
use super::request::Request;
use super::stream::{ClientStream, Socket, WINDOW};
use crate::background::{ClosedInChildren, descriptor_limit};
use crate::panics::lock;

/// The maximum number of connections, if the process may open twice as many files.
const MAX_CONNECTIONS: usize = 256;
/// The maximum number of connections if the process may open few files.
const MIN_CONNECTIONS: usize = 8;
/// The maximum length of a request's head, in bytes.
const MAX_HEAD_LEN: usize = 16 * 1024;
/// How long responses that are being gathered may still take when the exporter stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a gathered response may still take to be written when the exporter stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Connections {
    handler: Handler,
    guard: Guard,
    /// The maximum number of connections. Gatherings need the other descriptors.
    max: usize,
    open: Arc<OpenConnections>,
    /// Notifies every connection that the exporter stops.
    stopping: watch::Sender<()>,
    /// Each connection holds a clone of the sender; the receiver detects when the last one is dropped.
    running: (mpsc::Sender<()>, mpsc::Receiver<()>),
}

/// The connections that have not been told to close.
#[derive(Default)]
struct OpenConnections(Mutex<Vec<Arc<Connection>>>);

impl OpenConnections {
    /// Adds a connection. At the limit, closes the most dispensable one.
    fn add(&self, connection: Arc<Connection>, max: usize) {
        let mut open = lock(&self.0);
        if open.len() >= max {
            drop_one(&mut open);
        }
        open.push(connection);
    }

    /// Closes the most dispensable connection, as there is no descriptor for a new one.
    fn make_room(&self) {
        drop_one(&mut lock(&self.0));
    }

    fn remove(&self, connection: &Arc<Connection>) {
        let mut open = lock(&self.0);
        if let Some(at) = open.iter().position(|open| Arc::ptr_eq(open, connection)) {
            open.swap_remove(at);
        }
    }
}

/// Closes the most dispensable connection.
fn drop_one(open: &mut Vec<Arc<Connection>>) {
    let now = Instant::now();
    let all = open.iter().enumerate();
    let first = all.max_by_key(|(_, connection)| connection.dispensability(now));
    if let Some((at, _)) = first {
        open.swap_remove(at).drop_for(DropReason::Limit);
    }
}

/// Whether this process or the system has no free descriptor.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

impl Connections {
    pub(super) fn new(handler: Handler, guard: Guard) -> Connections {
        Connections {
            handler,
            guard,
            max: (descriptor_limit() / 2).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS),
            open: Arc::default(),
            stopping: watch::Sender::new(()),
            running: mpsc::channel(1),
        }
    }

    /// Accepts connections; never returns.
    pub(super) async fn accept_all<L: ListeningSocket<Stream: Socket>>(&self, listener: &L) {
        loop {
            let socket = match poll_fn(|context| poll_accept(listener, context)).await {
                Ok(socket) => socket,
                Err(error) => {
                    if is_out_of_descriptors(&error) {
                        self.open.make_room();
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let counters = self.handler.counters();
            let connection = Connection::new(Arc::clone(counters));
            let counted = OpenConnection::count(counters);
            self.open.add(Arc::clone(&connection), self.max);
            let (handler, guard) = (self.handler.clone(), self.guard.clone());
            let open = Arc::clone(&self.open);
            let (stopping, running) = (self.stopping.subscribe(), self.running.0.clone());
            tokio::spawn(async move {
                run(socket, &connection, handler, guard, stopping).await;
                open.remove(&connection);
                drop((counted, running));
            });
        }
    }

    /// Ends the connections, after the responses that are in progress.
    pub(super) async fn stop(self) {
        self.stopping.send_replace(());
        let (running, mut ended) = self.running;
        drop(running);
        let _ = tokio::time::timeout(STOP_TIMEOUT, ended.recv()).await;
    }
}

/// Serves one connection until its client ends it, it is dropped, or the exporter stops.
async fn run<S: Socket>(
    socket: ClosedInChildren<S>,
    connection: &Arc<Connection>,
    handler: Handler,
    guard: Guard,
    mut stopping: watch::Receiver<()>,
) {
    let stream = ClientStream::new(socket, Arc::clone(connection), WINDOW);
    let accepted = tokio::select! {
        accepted = guard.accept(stream, connection) => accepted,
        () = connection.closed() => return,
        _ = stopping.changed() => return,
    };
    match accepted {
        Accepted::Plain(stream) => serve(stream, connection, handler, guard, stopping).await,
        #[cfg(feature = "tls")]
        Accepted::Tls(stream) => serve(stream, connection, handler, guard, stopping).await,
        #[cfg(feature = "tls")]
        Accepted::Refused => {}
    }
}

/// Serves requests of one connection.
async fn serve<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: T,
    connection: &Arc<Connection>,
    handler: Handler,
    guard: Guard,
    mut stopping: watch::Receiver<()>,
) {
    let service = service_fn(|request: hyper::Request<Incoming>| {
        connection.begin_response();
        let (handler, guard) = (handler.clone(), guard.clone());
        async move {
            let response = respond(&request, &handler, &guard, connection).await;
            Ok::<_, Infallible>(response)
        }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        // `Connection::closed` has the timeouts.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_LEN)
        .serve_connection(TokioIo::new(stream), service);
    let mut http = pin!(http);
    tokio::select! {
        // In this order: the first branch may change the phase, on which the timeouts of the second depend.
        biased;
        // OK because a failed connection affects only its client.
        _ = http.as_mut() => return,
        () = connection.closed() => return,
        _ = stopping.changed() => {}
    }
    // A client that has not sent a complete request may never do so.
    if !connection.is_responding() {
        return;
    }
    http.as_mut().graceful_shutdown();
    let limit = if connection.is_gathering() { STOP_TIMEOUT } else { FLUSH_TIMEOUT };
    let _ = tokio::time::timeout(limit, http).await;
}

/// Responds to a request, if the guard does not refuse it.
async fn respond(
    request: &hyper::Request<Incoming>,
    handler: &Handler,
    guard: &Guard,
    connection: &Arc<Connection>,
) -> hyper::Response<ResponseBody> {
    let checked = guard.check(request.headers(), connection.counters()).await;
    let request = Request::from(request);
    let response = match checked.refusal {
        None => handler.respond_on(&request, Arc::clone(connection)).await,
        Some(refusal) => refuse(refusal, &request, connection),
    };
    connection.counters().count_response(response.status);
    let mut response = hyper::Response::from(response);
    checked.add_headers(response.headers_mut());
    response
}
