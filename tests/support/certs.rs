//! Certificates, made by the `openssl` command, and requests over TLS by `curl`.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::http::Response;
use super::output_of;
use super::prometheus::is_installed;

/// Makes a key and a certificate `NAME.key` and `NAME.crt` that is signed by itself. `sans` is empty or a list such as
/// `DNS:localhost,IP:127.0.0.1`.
pub fn self_signed(dir: &Path, name: &str, sans: &str) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    command.args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}"), "-keyout"]);
    command.arg(dir.join(format!("{name}.key"))).arg("-out").arg(dir.join(format!("{name}.crt")));
    if !sans.is_empty() {
        command.args(["-addext", &format!("subjectAltName={sans}")]);
    }
    output_of(&mut command);
}

/// Makes a key and a certificate that is signed by `ca`.
pub fn signed(dir: &Path, name: &str, ca: &str, sans: &str) {
    let (key, request) = (dir.join(format!("{name}.key")), dir.join(format!("{name}.csr")));
    let mut command = Command::new("openssl");
    command.args(["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    command.args(["-subj", &format!("/CN={name}"), "-keyout"]).arg(key).arg("-out").arg(&request);
    output_of(&mut command);
    let extensions = dir.join(format!("{name}.ext"));
    fs::write(&extensions, format!("subjectAltName={sans}\n")).unwrap();
    let mut command = Command::new("openssl");
    command.args(["x509", "-req", "-days", "2", "-CAcreateserial", "-in"]).arg(request);
    command.arg("-CA").arg(dir.join(format!("{ca}.crt")));
    command.arg("-CAkey").arg(dir.join(format!("{ca}.key")));
    command.arg("-extfile").arg(extensions).arg("-out").arg(dir.join(format!("{name}.crt")));
    output_of(&mut command);
}

/// Whether the programs are installed. If one is not, the test is counted as skipped.
pub fn can_use_tls() -> bool {
    ["openssl", "curl"].into_iter().all(is_installed)
}

/// Requests a URL in the directory of the certificates; `None` if there is no response.
pub fn curl(dir: &Path, url: &str, flags: &[&str]) -> Option<Response> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--include", "--max-time", "20", "--http1.1"]).args(flags).arg(url);
    let output = command.current_dir(dir).output().unwrap();
    output.status.success().then(|| Response::parse(&output.stdout))
}
