//! The TLS of an exporter, by rustls with its provider `ring`.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as TlsError, NamedGroup,
    RootCertStore, ServerConfig, SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion,
};

use super::config::{ClientAuth, Pem, TlsSettings, TlsVersion};
use super::san::alternative_names;
use super::yaml::Problem;

/// The names of Go for the cipher suites of TLS 1.2 whose names in rustls have the ending `_SHA256`.
const SHORT_NAMES: [&str; 2] =
    ["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"];

/// Cipher suites of the exporter toolkit that rustls does not have.
const MISSING_SUITES: [&str; 4] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// Creates the configuration of a server.
pub(super) fn server_config(settings: &TlsSettings) -> Result<Arc<ServerConfig>, Problem> {
    let fail =
        |error: TlsError| Problem::new(settings.line, format!("`tls_server_config`: {error}"));
    let provider = Arc::new(provider(settings)?);
    let algorithms = provider.signature_verification_algorithms;
    let versions: Vec<&'static SupportedProtocolVersion> = [
        (TlsVersion::Tls12, &rustls::version::TLS12),
        (TlsVersion::Tls13, &rustls::version::TLS13),
    ]
    .into_iter()
    .filter(|(version, _)| (settings.min_version..=settings.max_version).contains(version))
    .map(|(_, version)| version)
    .collect();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(fail)?;
    let builder = match settings.client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        _ => builder.with_client_cert_verifier(client_verifier(settings, &provider, algorithms)?),
    };
    let chain = certificates(&settings.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&settings.key.text)
        .map_err(|_| pem_problem(&settings.key, "expected a private key in the format PEM"))?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        pem_problem(&settings.cert, &format!("the certificate and the key do not match: {error}"))
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ignore_client_order = settings.prefers_server_order;
    Ok(Arc::new(config))
}

fn pem_problem(pem: &Pem, text: &str) -> Problem {
    Problem::new(pem.line, format!("`tls_server_config.{}`: {text}", pem.field))
}

/// The certificates in a text, at least one.
fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(pem_problem(pem, "expected certificates in the format PEM")),
    }
}

/// The cipher suites and curves of the settings.
fn provider(settings: &TlsSettings) -> Result<CryptoProvider, Problem> {
    let mut provider = ring::default_provider();
    if !settings.cipher_suites.is_empty() {
        let (mut suites, known) = (Vec::new(), provider.cipher_suites.clone());
        // As in Go the list selects those of TLS 1.2 only.
        suites.extend(known.iter().filter(|suite| suite.tls13().is_some()));
        for (name, line) in &settings.cipher_suites {
            let suite = known.iter().find(|suite| go_name(suite) == *name).ok_or_else(|| {
                let names: Vec<String> = known.iter().map(go_name).collect();
                let why = if MISSING_SUITES.contains(&name.as_str()) {
                    format!("`{name}` is not in rustls, which has no CBC")
                } else {
                    format!("unknown cipher: {name}")
                };
                let expected = names.join(", ");
                let text = format!("`tls_server_config.cipher_suites`: {why}: expected {expected}");
                Problem::new(*line, text)
            })?;
            if !suites.contains(suite) {
                suites.push(*suite);
            }
        }
        provider.cipher_suites = suites;
    }
    if !settings.curves.is_empty() {
        let known = std::mem::take(&mut provider.kx_groups);
        for (name, line) in &settings.curves {
            let group = match name.as_str() {
                "CurveP256" => Some(NamedGroup::secp256r1),
                "CurveP384" => Some(NamedGroup::secp384r1),
                "X25519" => Some(NamedGroup::X25519),
                _ => None,
            };
            let found = known.iter().find(|known| Some(known.name()) == group).ok_or_else(|| {
                let why = if name == "CurveP521" {
                    "CurveP521 is not in rustls".to_owned()
                } else {
                    format!("unknown curve: {name}")
                };
                let text = format!(
                    "`tls_server_config.curve_preferences`: {why}: expected CurveP256, CurveP384 or X25519"
                );
                Problem::new(*line, text)
            })?;
            provider.kx_groups.push(*found);
        }
    }
    Ok(provider)
}

/// The name of a cipher suite in Go, and so in the file.
fn go_name(suite: &SupportedCipherSuite) -> String {
    let name = format!("{:?}", suite.suite());
    // rustls has TLS13_AES_128_GCM_SHA256 where RFC 8446 and Go have TLS_AES_128_GCM_SHA256.
    let name = name.replacen("TLS13_", "TLS_", 1);
    let short = name.strip_suffix("_SHA256").filter(|short| SHORT_NAMES.contains(short));
    short.map_or_else(|| name.clone(), str::to_owned)
}

fn client_verifier(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
    algorithms: WebPkiSupportedAlgorithms,
) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let verifies = settings.client_auth.verifies();
    let chain = match settings.client_ca.as_ref().filter(|_| verifies) {
        None => None,
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem)? {
                roots.add(certificate).map_err(|error| pem_problem(pem, &error.to_string()))?;
            }
            let built =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
            Some(built.build().map_err(|error| pem_problem(pem, &error.to_string()))?)
        }
    };
    let allowed_sans = settings.allowed_sans.clone();
    // With `client_allowed_sans` a certificate is mandatory in any case, as a client without one has none of the names.
    let is_mandatory =
        matches!(settings.client_auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify)
            || !allowed_sans.is_empty();
    Ok(Arc::new(Verifier { chain, verifies, is_mandatory, allowed_sans, algorithms }))
}

/// Verifies certificates of clients.
#[derive(Debug)]
struct Verifier {
    /// `None` without a client CA: then no certificate is valid.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    /// Whether the chain is verified. The client always proves that it has the key.
    verifies: bool,
    is_mandatory: bool,
    /// The names of which a certificate needs one; all are allowed if it is empty.
    allowed_sans: Vec<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |chain| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        if self.verifies {
            let unknown = TlsError::InvalidCertificate(CertificateError::UnknownIssuer);
            let chain = self.chain.as_ref().ok_or(unknown)?;
            chain.verify_client_cert(certificate, intermediates, now)?;
        }
        if !self.allowed_sans.is_empty() {
            let names = alternative_names(certificate)
                .ok_or(TlsError::InvalidCertificate(CertificateError::BadEncoding))?;
            if !names.iter().any(|name| self.allowed_sans.contains(name)) {
                let refused = CertificateError::ApplicationVerificationFailure;
                return Err(TlsError::InvalidCertificate(refused));
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
