//! TLS, client certificates and basic authentication of a real Pushgateway.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use multiprom::push::{HttpTransport, Pusher};

use super::One;
use crate::support::prometheus::is_installed_as;
use crate::support::services::{listen, pushgateway, respond};
use crate::support::{TestDir, output_of};

/// Certificates of a CA in a directory.
struct Certificates(TestDir);

impl Certificates {
    /// A CA, a certificate `server` for `localhost`, and a certificate `client`.
    fn new() -> Option<Certificates> {
        if !is_installed_as("openssl", "version") {
            return None;
        }
        let certificates = Certificates(TestDir::new("tls"));
        certificates.create_ca("ca");
        certificates.sign("server", "ca", "subjectAltName=DNS:localhost");
        certificates.sign("client", "ca", "extendedKeyUsage=clientAuth");
        Some(certificates)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        output_of(command.current_dir(self.0.path()).args(arguments.split(' ')));
    }

    fn create_ca(&self, name: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -keyout {name}.key \
             -out {name}.pem"
        ));
    }

    fn sign(&self, name: &str, ca: &str, extension: &str) {
        fs::write(self.path(&format!("{name}.ext")), format!("{extension}\n")).unwrap();
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -days 2 -extfile {name}.ext -out {name}.pem"
        ));
    }
}

/// A gateway that needs a client certificate, and the user `aladdin` with the password `opensesame`.
fn config(dir: &Path) -> String {
    let path = dir.join("web.yml");
    let text = "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem, \
                client_auth_type: RequireAndVerifyClientCert}\n\
                basic_auth_users: {aladdin: $2b$04$HSJsOFUIh9DXxxJ02Af3neVcbE1vOp0Q86uV4V.ya06jk84aXDFHe}\n";
    fs::write(&path, text).unwrap();
    format!("--web.config.file={}", path.display())
}

#[test]
fn a_gateway_with_tls_client_certificates_and_a_password_is_pushed_to_and_each_mistake_is_named() {
    let Some(files) = Certificates::new() else { return };
    let Some((_gateway, address)) = pushgateway(&[&config(files.0.path())]) else { return };
    let port = address.rsplit_once(':').unwrap().1;
    let url = format!("https://localhost:{port}");
    let transport = |ca: &str| HttpTransport::new().ca_file(files.path(ca));
    let with_client = |transport: HttpTransport, client: &str| {
        let (chain, key) = (format!("{client}.pem"), format!("{client}.key"));
        transport.client_certificate(files.path(&chain), files.path(&key))
    };
    let push = |url: &str, password: &str, transport: HttpTransport| {
        let builder = Pusher::builder(url, "j").basic_auth("aladdin", password);
        let pusher = builder.transport(transport).build().map_err(|error| format!("{error:#}"))?;
        pusher.push(&One("a", 1.0)).map(drop).map_err(|error| format!("{error:#}"))
    };
    let fails = |result: Result<(), String>, cause: &str| {
        let error = result.unwrap_err();
        assert!(error.contains(cause), "{error}");
    };
    let good = || with_client(transport("ca.pem"), "client");
    push(&url, "opensesame", good()).unwrap();
    fails(push(&url, "wrong", good()), ": status 401: Unauthorized");
    // The certificate is not for this name, by another CA, or there is none for the client.
    let by_ip = format!("https://127.0.0.1:{port}");
    fails(
        push(&by_ip, "opensesame", good()),
        "the TLS handshake has failed: invalid peer certificate",
    );
    files.create_ca("other");
    let other = with_client(transport("other.pem"), "client");
    fails(
        push(&url, "opensesame", other),
        "the TLS handshake has failed: invalid peer certificate: ",
    );
    // In TLS 1.3 the server refuses after the handshake of the client.
    fails(push(&url, "opensesame", transport("ca.pem")), "failed: ");
    // The schemes are confused.
    let plain = format!("http://localhost:{port}");
    fails(
        push(&plain, "opensesame", good()),
        ": status 400: Client sent an HTTP request to an HTTPS server",
    );
    let no_tls = listen(|mut stream| {
        // The first bytes of a handshake, which is no request.
        let _ = stream.read(&mut [0; 64]);
        respond(stream, "HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    fails(
        push(&format!("https://{no_tls}"), "opensesame", good()),
        "the TLS handshake has failed: ",
    );
    // Files that cannot be used are errors before the first push.
    fails(push(&url, "opensesame", transport("missing.pem")), "missing.pem`: ");
    fails(
        push(&url, "opensesame", transport("web.yml")),
        "web.yml` contains no certificate in PEM format",
    );
    let swapped =
        transport("ca.pem").client_certificate(files.path("client.pem"), files.path("server.key"));
    fails(push(&url, "opensesame", swapped), "client.pem` cannot be used: ");
}

#[test]
fn certificates_are_read_again_for_each_push() {
    let Some(files) = Certificates::new() else { return };
    let Some((_gateway, address)) = pushgateway(&[&config(files.0.path())]) else { return };
    let port = address.rsplit_once(':').unwrap().1;
    // The client begins with a certificate that the gateway does not accept.
    files.create_ca("other");
    files.sign("renewed", "other", "extendedKeyUsage=clientAuth");
    let transport = HttpTransport::new()
        .ca_file(files.path("ca.pem"))
        .client_certificate(files.path("renewed.pem"), files.path("renewed.key"));
    let builder = Pusher::builder(&format!("https://localhost:{port}"), "j");
    let builder = builder.basic_auth("aladdin", "opensesame").transport(transport);
    let pusher = builder.build().unwrap();
    assert!(pusher.push(&One("a", 1.0)).is_err());
    for suffix in ["pem", "key"] {
        let (from, to) = (format!("client.{suffix}"), format!("renewed.{suffix}"));
        fs::rename(files.path(&from), files.path(&to)).unwrap();
    }
    pusher.push(&One("a", 1.0)).unwrap();
}
