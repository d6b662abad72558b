//! Serves metrics from the web server of the application, here plain hyper, beside the application's own paths.
//!
//! With axum the handler of a route is:
//!
//! ```ignore
//! async fn metrics(State(handler): State<Handler>, request: axum::extract::Request) -> axum::response::Response {
//!     hyper::Response::from(handler.respond(&(&request).into()).await).map(axum::body::Body::new)
//! }
//! ```
#![allow(clippy::print_stdout, reason = "an example")]

use std::convert::Infallible;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use multiprom::http::Handler;
use multiprom::{Counter, Registry};
use tokio::net::TcpListener;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new();
    let requests = Counter::builder("requests_total", "Requests served.").register(&registry)?;
    let handler = Handler::builder(registry).build()?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("serving http://{}/metrics", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            let handler = handler.clone();
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let handler = handler.clone();
                async move {
                    requests.inc();
                    let response = handler.respond(&(&request).into()).await;
                    Ok::<_, Infallible>(hyper::Response::from(response))
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}
