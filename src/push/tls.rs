//! The TLS configuration of a transport: rustls with the provider ring.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The files of a configuration. They are read for each request, so that certificates can be renewed while the program
/// runs.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsFiles {
    /// `None`: the certificates of the system.
    pub(super) ca: Option<PathBuf>,
    /// The certificate chain and the key of the client.
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

/// Why there is no configuration.
#[derive(Debug)]
pub(super) enum TlsError {
    Read {
        path: PathBuf,
        cause: pem::Error,
    },
    NoCertificate {
        path: PathBuf,
    },
    /// A certificate, or the pair of certificate and key.
    Invalid {
        path: PathBuf,
        cause: rustls::Error,
    },
    NoSystemCertificates {
        cause: Option<rustls_native_certs::Error>,
    },
    Configuration(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Read { path, .. } => write!(f, "cannot read `{}`", path.display()),
            TlsError::NoCertificate { path } => {
                write!(f, "`{}` contains no certificate in PEM format", path.display())
            }
            TlsError::Invalid { path, .. } => {
                write!(f, "the certificate in `{}` cannot be used", path.display())
            }
            TlsError::NoSystemCertificates { .. } => {
                f.write_str("the system has no CA certificates: install them, or set a CA file")
            }
            TlsError::Configuration(_) => f.write_str("TLS cannot be configured"),
        }
    }
}

impl StdError for TlsError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            TlsError::Read { cause, .. } => Some(cause),
            TlsError::Invalid { cause, .. } | TlsError::Configuration(cause) => Some(cause),
            TlsError::NoSystemCertificates { cause } => {
                cause.as_ref().map(|cause| cause as &(dyn StdError + 'static))
            }
            TlsError::NoCertificate { .. } => None,
        }
    }
}

impl TlsFiles {
    pub(super) fn is_default(&self) -> bool {
        self.ca.is_none() && self.client.is_none()
    }

    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Configuration)?
            .with_root_certificates(self.roots()?);
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let read = |cause| TlsError::Read { path: key.clone(), cause };
                let key = PrivateKeyDer::from_pem_file(key).map_err(read)?;
                let invalid = |cause| TlsError::Invalid { path: chain.clone(), cause };
                builder.with_client_auth_cert(certificates(chain)?, key).map_err(invalid)?
            }
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.ca else {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(TlsError::NoSystemCertificates {
                    cause: found.errors.into_iter().next(),
                });
            }
            return Ok(roots);
        };
        for certificate in certificates(path)? {
            let invalid = |cause| TlsError::Invalid { path: path.clone(), cause };
            roots.add(certificate).map_err(invalid)?;
        }
        Ok(roots)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |cause| TlsError::Read { path: path.to_owned(), cause };
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found: Vec<_> = found.map_err(read)?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(found)
}
