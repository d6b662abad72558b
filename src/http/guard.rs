//! What protects an exporter: TLS, the rate limit and the authentication of `--web.config.file`.

use std::path::Path;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::Connection;
use super::counters::{AuthenticationFailure, DropReason, HttpCounters};
use super::response::Refusal;
use super::stream::{ClientStream, Socket};
use super::web::{Loaded, Verdict, WebConfigFile};
use crate::error::Result;

/// The first byte of a connection with TLS: the type of a handshake record. See: RFC 8446, section 5.1.
const HANDSHAKE: u8 = 0x16;
/// What a client gets that speaks HTTP where TLS is expected, as from Go's server.
const HTTP_ON_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// The web configuration; without one every connection and request is accepted.
#[derive(Clone)]
pub(super) struct Guard(Option<Arc<WebConfigFile>>);

/// A connection that is ready for HTTP.
pub(super) enum Accepted<S: Socket> {
    Plain(ClientStream<S>),
    Tls(Box<TlsStream<ClientStream<S>>>),
    /// The handshake has failed.
    Refused,
}

/// The decision about a request.
pub(super) struct Checked {
    loaded: Option<Arc<Loaded>>,
    pub(super) refusal: Option<Refusal>,
}

impl Guard {
    /// Reads the web configuration.
    pub(super) fn open(path: Option<&Path>) -> Result<Guard> {
        let file = path.map(WebConfigFile::open).transpose()?;
        Ok(Guard(file.map(Arc::new)))
    }

    /// Reads the web configuration again.
    pub(super) fn reload(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |file| file.reload())
    }

    pub(super) fn scheme(&self) -> &'static str {
        let is_tls = self.0.as_ref().is_some_and(|file| file.current().tls.is_some());
        if is_tls { "https" } else { "http" }
    }

    /// Performs the handshake of TLS.
    pub(super) async fn accept<S: Socket>(
        &self,
        mut stream: ClientStream<S>,
        connection: &Connection,
    ) -> Accepted<S> {
        let Some(file) = self.0.as_ref().filter(|file| file.current().tls.is_some()) else {
            return Accepted::Plain(stream);
        };
        match stream.first_byte().await {
            Ok(Some(HANDSHAKE)) => {}
            Ok(Some(_)) => {
                connection.counters().count_drop(DropReason::Tls);
                // OK because the client may have closed the connection.
                let _ = stream.write_all(HTTP_ON_TLS).await;
                let _ = stream.shutdown().await;
                return Accepted::Refused;
            }
            _ => return Accepted::Refused,
        }
        // The version when the handshake begins, not when the client connects.
        let Some(tls) = file.current().tls.clone() else {
            return Accepted::Refused;
        };
        match TlsAcceptor::from(tls).accept(stream).await {
            Ok(stream) => {
                connection.ready();
                Accepted::Tls(Box::new(stream))
            }
            Err(_) => {
                connection.counters().count_drop(DropReason::Tls);
                Accepted::Refused
            }
        }
    }

    /// Decides about a request, in the order of the exporter toolkit.
    pub(super) async fn check(&self, headers: &HeaderMap, counters: &HttpCounters) -> Checked {
        let Some(file) = &self.0 else {
            return Checked { loaded: None, refusal: None };
        };
        let loaded = file.current();
        if !file.admits(&loaded) {
            let refusal = Refusal { status: 429, text: "Too Many Requests\n", header: None };
            return Checked { loaded: None, refusal: Some(refusal) };
        }
        let header = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let verdict = file.authenticate(&loaded, header).await;
        if loaded.has_users() {
            counters.count_authentication(match verdict {
                Verdict::Accepted => Ok(()),
                Verdict::Busy => Err(AuthenticationFailure::Busy),
                Verdict::Refused if header.is_none() => Err(AuthenticationFailure::Missing),
                Verdict::Refused => Err(AuthenticationFailure::Invalid),
            });
        }
        let refusal = match verdict {
            Verdict::Accepted => None,
            Verdict::Refused => Some(Refusal {
                status: 401,
                text: "Unauthorized\n",
                header: Some(("www-authenticate", "Basic")),
            }),
            Verdict::Busy => Some(Refusal {
                status: 503,
                text: "too many requests with new passwords at a time\n",
                header: Some(("retry-after", "1")),
            }),
        };
        Checked { loaded: Some(loaded), refusal }
    }
}

impl Checked {
    /// Adds the headers of the web configuration to a response.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in self.loaded.iter().flat_map(|loaded| &loaded.headers) {
            headers.insert(name.clone(), value.clone());
        }
    }
}
