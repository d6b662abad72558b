//! `--web.config.file`: the examples of the exporter toolkit, TLS, client certificates, users, headers, rate limit, changes.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use multiprom::http::Exporter;
use multiprom::{ErrorKind, Registry};

use super::{Served, stop};
use crate::support::certs::{can_use_tls, curl, self_signed, signed};
use crate::support::http::{Connection, sum_of};
use crate::support::process::{PATIENCE, Running};
use crate::support::prometheus::{is_installed, scraping, value, wait_for_value};
use crate::support::{TestDir, example, multiprom, output_of, root, wait_for};

#[path = "../../fuzz/checks/web_config.rs"]
mod fuzzed;

const CURL: [&str; 2] = ["--cacert", "server.crt"];

/// Certificates of a server and of three clients.
fn certificates(name: &str) -> TestDir {
    let dir = TestDir::new(name);
    self_signed(dir.path(), "server", "DNS:localhost,IP:127.0.0.1");
    self_signed(dir.path(), "ca", "");
    self_signed(dir.path(), "selfsigned", "DNS:test3");
    signed(dir.path(), "client", "ca", "DNS:test3,URI:spiffe://cluster/prometheus");
    dir
}

fn write(dir: &Path, text: &str) -> String {
    let path = dir.join("web.yml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// The error of a configuration; `None` if it is valid.
fn refusal(dir: &Path, text: &str) -> Option<String> {
    let path = write(dir, text);
    let checked = Exporter::builder(Registry::new()).web_config_file(path).check();
    checked.err().map(|error| {
        assert_eq!(error.kind(), ErrorKind::Usage);
        format!("{error:#}")
    })
}

const PAIR: &str = "cert_file: server.crt\n  key_file: server.key\n";
const SUITES: &str = "TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, \
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, \
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305";

/// By the names of the files in `web/testdata` of the toolkit.
#[test]
fn the_examples_of_the_exporter_toolkit_are_accepted_or_refused_with_the_line() {
    if !can_use_tls() {
        return;
    }
    let dir = certificates("toolkit");
    let path = dir.path();
    let tls = |fields: &str| format!("tls_server_config:\n  {fields}");
    let pair = |fields: &str| tls(&format!("{PAIR}  {fields}"));
    let users = "basic_auth_users:\n  alice: $2y$12$1DpfPeqF9HzHJt.EWswy1exHluGfbnnn3yXhR7Xes6m3WJqFg0Wby\n  \
                 bob: $2y$18$4VeFDzXIoPHKnKTU3O3GH.N.vZu06CVqczYZ8WvfzrddFU6tGqjR.\n";
    for (name, text, expected) in [
        ("empty", String::new(), None),
        ("junk", "hic sunt\n  dracones: {\n".to_owned(), Some("yaml: ")),
        ("junk_key", tls("cert_filse: server.crt"), Some("line 2: yaml: unknown field `tls_server_config.cert_filse`")),
        ("noAuth_certPath_empty.bad", tls("cert_file: ''\n  key_file: server.key"), Some("missing one of cert or cert_file")),
        ("noAuth_keyPath_empty.bad", tls("cert_file: server.crt\n  key_file: ''"), Some("missing one of key or key_file")),
        ("noAuth_cert_empty.bad", tls("cert: ''\n  key_file: server.key"), Some("missing one of cert or cert_file")),
        ("noAuth_key_empty.bad", tls("cert_file: server.crt\n  key: ''"), Some("missing one of key or key_file")),
        ("noAuth_certPath_keyPath_empty.bad", tls("cert_file: ''\n  key_file: ''\n  client_auth_type: x"), Some("`tls_server_config.client_auth_type`: expected NoClientCert")),
        ("noAuth_certPath_invalid.bad", tls("cert_file: somefile\n  key_file: server.key"), Some("line 2: `tls_server_config.cert_file`: cannot read")),
        ("noAuth_keyPath_invalid.bad", tls("cert_file: server.crt\n  key_file: somefile"), Some("line 3: `tls_server_config.key_file`: cannot read")),
        ("noAuth.bad", pair("client_ca_file: /dev/null"), Some("without a Client Auth Policy")),
        ("auth_clientCAs_invalid.bad", pair("client_ca_file: somefile\n  client_auth_type: RequireAndVerifyClientCert"), Some("cannot read")),
        ("auth_clientCAs_missing.bad", pair("client_auth_type: RequireAndVerifyClientCert"), None),
        ("auth_user_list_invalid.bad", format!("{}basic_auth_users:\n  john: doe\n", tls(PAIR)), Some("line 5: `basic_auth_users.john`: expected a bcrypt hash")),
        ("noAuth_inventedCiphers.bad", pair("cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA2048]"), Some("line 4: `tls_server_config.cipher_suites`: unknown cipher")),
        ("noAuth_inventedCurves.bad", pair("curve_preferences: [CurveP257]"), Some("unknown curve: CurveP257")),
        ("noAuth_wrongTLSVersion.bad", pair("min_version: TLS111"), Some("unknown TLS version")),
        ("noAuth.good", pair("client_auth_type: VerifyClientCertIfGiven"), None),
        ("noAuth.good.blocking", pair("client_auth_type: RequireAndVerifyClientCert"), None),
        ("noAuth_allCiphers.good", pair(&format!("cipher_suites: [{SUITES}]")), None),
        // What rustls does not have.
        ("noAuth_allCiphers.good, CBC", pair("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]"), Some("is not in rustls, which has no CBC: expected TLS_")),
        ("noAuth_allCurves.good", pair("curve_preferences: [CurveP256, CurveP384, X25519]"), None),
        ("noAuth_someCurves.good", pair("min_version: TLS13\n  curve_preferences: [CurveP521]"), Some("CurveP521 is not in rustls: expected CurveP256")),
        ("noAuth_someCiphers.good", pair("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n  min_version: TLS12\n  max_version: TLS12"), None),
        ("noAuth_noHTTP2.good", format!("{}http_server_config:\n  http2: false\n", pair("max_version: TLS12\n")), None),
        ("headers.good", "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Strict-Transport-Security: max-age=31536000; includeSubDomains\n    X-Content-Type-Options: nosniff\n    X-XSS-Protection: 1\n    Content-Security-Policy: default-src 'self'\n".to_owned(), None),
        ("headers_content_type_options.bad", "http_server_config:\n  headers:\n    X-Content-Type-Options: sniff\n".to_owned(), Some("line 3: `http_server_config.headers.X-Content-Type-Options`: expected nosniff, got `sniff`")),
        ("headers_extra_header.bad", "http_server_config:\n  headers:\n    Content-Type: foo\n".to_owned(), Some("unknown field `http_server_config.headers.Content-Type`")),
        ("requireanyclientcert.good", pair("client_auth_type: RequireAnyClientCert"), None),
        ("requireandverifyclientcert.good", pair("client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt"), None),
        ("auth_client_san.good", pair("client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [one, test3, two]"), None),
        ("rate_limiter_nonblocking", "rate_limit:\n  interval: 0\n  burst: 0\n".to_owned(), None),
        ("rate_limiter_one_second", "rate_limit:\n  interval: \"1s\"\n  burst: 0\n".to_owned(), None),
        ("users_noTLS.good", users.to_owned(), None),
        ("users.good", format!("{}{users}", tls(PAIR)), None),
        ("web-config.yml", format!("{}{users}rate_limit:\n  interval: 1s\n  burst: 20\n", tls(PAIR)), None),
        ("a key of another certificate", tls("cert_file: server.crt\n  key_file: ca.key"), Some("line 2: `tls_server_config.cert_file`: the certificate and the key do not match")),
        ("no certificate", tls("cert_file: server.key\n  key_file: server.key"), Some("expected certificates in the format PEM")),
        ("no key", tls("cert_file: server.crt\n  key_file: server.crt"), Some("expected a private key in the format PEM")),
    ] {
        let refused = refusal(path, &text);
        match (&refused, expected) {
            (None, None) => {}
            (Some(error), Some(part)) => assert!(error.contains(part), "{name}: {error}"),
            _ => panic!("{name}: {refused:?}"),
        }
    }
    let inline = |name: &str| fs::read_to_string(path.join(name)).unwrap().replace('\n', "\n    ");
    let text = tls(&format!(
        "cert: |\n    {}\n  key: |\n    {}\n",
        inline("server.crt"),
        inline("server.key")
    ));
    assert_eq!(refusal(path, &text), None, "noAuth_tlsInline.good");
}

#[test]
fn tls_has_the_configured_versions_and_refuses_plain_http() {
    if !can_use_tls() {
        return;
    }
    let dir = certificates("tls");
    let config = write(dir.path(), &format!("tls_server_config:\n  {PAIR}"));
    let served = Served::start("tls", &["--web.config.file", &config]);
    assert!(served.url.starts_with("https://127.0.0.1:"), "{}", served.url);
    let get = |flags: &[&str]| curl(dir.path(), &served.url, &[&CURL, flags].concat());
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        let page = get(&version).unwrap();
        assert_eq!((page.status, sum_of(&page.body, "jobs_total")), (200, 5.0), "{version:?}");
    }
    assert!(get(&["--tls-max", "1.1"]).is_none());
    let plain = served.url.replace("https:", "http:");
    let page = curl(dir.path(), &plain, &[]).unwrap();
    assert_eq!(
        (page.status, page.body.as_str()),
        (400, "Client sent an HTTP request to an HTTPS server.\n")
    );
    let dropped = "multiprom_http_connections_dropped_total{reason=\"tls\"}";
    wait_for("two failed handshakes", PATIENCE, || {
        let page = get(&[]).unwrap().body;
        assert!(sum_of(&page, dropped) <= 2.0, "{page}");
        (sum_of(&page, dropped) == 2.0).then_some(())
    });
    served.stop();

    let text = format!(
        "tls_server_config:\n  {PAIR}  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n"
    );
    let config = write(dir.path(), &text);
    let served = Served::start("tls12", &["--web.config.file", &config]);
    let get = |flags: &[&str]| curl(dir.path(), &served.url, &[&CURL, flags].concat());
    assert!(get(&["--tlsv1.3"]).is_none());
    assert!(get(&["--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"]).is_none());
    assert_eq!(get(&["--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"]).unwrap().status, 200);
    served.stop();
}

#[test]
fn client_certificates_are_verified_by_chain_and_name() {
    if !can_use_tls() {
        return;
    }
    let dir = certificates("mtls");
    let start = |fields: &str| {
        let config = write(dir.path(), &format!("tls_server_config:\n  {PAIR}{fields}"));
        Served::start("mtls", &["--web.config.file", &config])
    };
    let ca = "  client_ca_file: ca.crt\n  client_auth_type: ";
    for (fields, accepted) in [
        ("  client_auth_type: RequireAnyClientCert\n".to_owned(), [false, true, true]),
        ("  client_auth_type: RequestClientCert\n".to_owned(), [true, true, true]),
        // Without a CA no certificate is valid.
        ("  client_auth_type: VerifyClientCertIfGiven\n".to_owned(), [true, false, false]),
        (format!("{ca}VerifyClientCertIfGiven\n"), [true, false, true]),
        (format!("{ca}RequireAndVerifyClientCert\n"), [false, false, true]),
        (
            format!("{ca}RequireAndVerifyClientCert\n  client_allowed_sans: [one, test3]\n"),
            [false, false, true],
        ),
        (
            format!(
                "{ca}VerifyClientCertIfGiven\n  client_allowed_sans: ['spiffe://cluster/prometheus']\n"
            ),
            [false, false, true],
        ),
        (
            format!("{ca}RequireAndVerifyClientCert\n  client_allowed_sans: [bad]\n"),
            [false, false, false],
        ),
    ] {
        let served = start(&fields);
        let clients = ["", "selfsigned", "client"].map(|name| {
            let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
            let flags = ["--cert", &cert, "--key", &key];
            let flags = if name.is_empty() { &[][..] } else { &flags[..] };
            let page = curl(dir.path(), &served.url, &[&CURL, flags].concat());
            page.is_some_and(|page| page.status == 200)
        });
        assert_eq!(clients, accepted, "{fields}");
        served.stop();
    }
}

#[test]
fn changed_certificates_and_users_take_effect_and_an_invalid_file_does_not() {
    if !can_use_tls() {
        return;
    }
    let dir = certificates("reload");
    let hash = bcrypt::hash("secret", 4).unwrap();
    let valid = format!("tls_server_config:\n  {PAIR}");
    let config = write(dir.path(), &valid);
    let mut served = Served::start("reload", &["--web.config.file", &config]);
    let status = |flags: &[&str]| {
        curl(dir.path(), &served.url, &[&CURL, flags].concat()).map(|page| page.status)
    };
    let wait = |what: &str, flags: &[&str], expected: Option<u16>| {
        wait_for(what, PATIENCE, || (status(flags) == expected).then_some(()));
    };
    assert_eq!(status(&[]), Some(200));
    // Without a signal. The old certificate is not trusted any more, as the file is a new one.
    self_signed(dir.path(), "server", "DNS:localhost,IP:127.0.0.1");
    wait("the new certificate", &[], Some(200));
    write(dir.path(), &format!("{valid}basic_auth_users:\n  alice: {hash}\n"));
    wait("authentication", &[], Some(401));
    assert_eq!(status(&["--user", "alice:secret"]), Some(200));

    let invalid = format!("{valid}basic_auth_users:\n  alice: [\n");
    write(dir.path(), &invalid);
    served.server.signal("HUP");
    served.server.line_after("multiprom: SIGHUP: `");
    assert_eq!(status(&[]), Some(401), "the last valid version stays in use");
    assert_eq!(status(&["--user", "alice:secret"]), Some(200));
    write(dir.path(), "");
    served.server.signal("HUP");
    served.server.line_after("TLS cannot be switched on or off while the exporter runs");
    assert_eq!(status(&["--user", "alice:secret"]), Some(200));
    write(dir.path(), &valid);
    served.server.signal("HUP");
    served.server.line_after("multiprom: SIGHUP: the web configuration is reloaded");
    wait("no authentication", &[], Some(200));
    served.server.signal("TERM");
    assert_eq!(served.server.end().status.code(), Some(0));
}

#[test]
fn users_authenticate_by_password_and_guesses_do_not_delay_known_clients() {
    let dir = TestDir::new("users");
    // One guess takes longer than a scrape.
    let hash = |password: &str| bcrypt::hash(password, 9).unwrap();
    let users =
        format!("basic_auth_users:\n  alice: {}\n  bob: {}\n", hash("alice123"), hash("bob123"));
    let config = write(dir.path(), &users);
    let served = Served::start("users", &["--web.config.file", &config]);
    let login = |text: &str| {
        let header =
            if text.is_empty() { String::new() } else { format!("Authorization: {text}\r\n") };
        served.connect().request("GET", "/metrics", &header)
    };
    // alice:alice123, alice:bob123, carol:alice123, fakeuser:fakepassword.
    let alice = "Basic YWxpY2U6YWxpY2UxMjM=";
    let wrong = [
        "Basic YWxpY2U6Ym9iMTIz",
        "basic Y2Fyb2w6YWxpY2UxMjM=",
        "Basic ZmFrZXVzZXI6ZmFrZXBhc3N3b3Jk",
    ];
    for _ in 0..2 {
        let page = login(alice);
        assert_eq!((page.status, sum_of(&page.body, "jobs_total")), (200, 5.0));
        for header in [&wrong[..], &["", "Bearer x", "Basic ?", "Basic"]].concat() {
            let page = login(header);
            assert_eq!((page.status, page.body.as_str()), (401, "Unauthorized\n"), "{header}");
            assert_eq!(page.header("www-authenticate"), Some("Basic"));
        }
    }
    for path in ["/", "/-/healthy", "/none"] {
        assert_eq!(served.connect().request("GET", path, "").status, 401, "{path}");
    }
    let mut guesses: Vec<Connection> = (0..40).map(|_| served.connect()).collect();
    for (number, guess) in (0_u8..).zip(&mut guesses) {
        // bob: and a number, in base64.
        let digits = colon_and_two_in_base64([b'0' + number / 10, b'0' + number % 10]);
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: test\r\nAuthorization: Basic Ym9i{digits}\r\n\r\n"
        );
        guess.send(request.as_bytes()).unwrap();
    }
    let begin = Instant::now();
    assert_eq!(login(alice).status, 200);
    let time = begin.elapsed();
    let statuses: Vec<u16> =
        guesses.iter_mut().map(|guess| guess.response(false).unwrap().status).collect();
    let guessing = begin.elapsed();
    assert!(time < guessing / 2, "{time:?} of {guessing:?}");
    // Only some wait for bcrypt.
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    assert!(count(401) >= 16 && count(503) > 0 && count(401) + count(503) == 40, "{statuses:?}");
    served.stop();
}

/// `:` and two bytes in base64.
fn colon_and_two_in_base64(bytes: [u8; 2]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = u32::from(b':') << 16 | u32::from(bytes[0]) << 8 | u32::from(bytes[1]);
    let digit = |at: u32| char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]);
    (0..4).map(digit).collect()
}

#[test]
fn responses_have_the_configured_headers_and_the_rate_is_limited() {
    let dir = TestDir::new("headers");
    let text = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 1\n\
                rate_limit:\n  interval: 1h\n  burst: 3\n";
    let config = write(dir.path(), text);
    let served = Served::start("headers", &["--web.config.file", &config]);
    for status in [200, 404, 200, 429, 429] {
        let path = if status == 404 { "/none" } else { "/metrics" };
        let page = served.connect().request("GET", path, "");
        assert_eq!(page.status, status, "{}", page.body);
        let is_limited = status == 429;
        assert_eq!(page.header("x-frame-options"), (!is_limited).then_some("deny"));
        assert_eq!(page.header("x-xss-protection"), (!is_limited).then_some("1"));
        assert!(!is_limited || page.body == "Too Many Requests\n");
    }
    served.stop();
}

#[test]
fn an_incomplete_handshake_blocks_no_other_client() {
    if !can_use_tls() {
        return;
    }
    let dir = certificates("handshake");
    let config = write(dir.path(), &format!("tls_server_config:\n  {PAIR}"));
    let served = Served::start("handshake", &["--web.config.file", &config]);
    let address = served.url.strip_prefix("https://").and_then(|it| it.split('/').next()).unwrap();
    let mut silent: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    for stream in &mut silent {
        std::io::Write::write_all(stream, &[0x16, 3, 1]).unwrap();
    }
    assert_eq!(curl(dir.path(), &served.url, &CURL).unwrap().status, 200);
    served.stop();
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(
            !matches!(stream.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        );
    }
}

#[test]
fn prometheus_scrapes_over_tls_with_a_client_certificate_and_a_password() {
    if !can_use_tls() || !is_installed("prometheus") {
        return;
    }
    let dir = certificates("prometheus-tls");
    let hash = bcrypt::hash("secret", 4).unwrap();
    let text = format!(
        "tls_server_config:\n  {PAIR}  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n  \
         client_allowed_sans: [test3]\nbasic_auth_users:\n  prometheus: {hash}\n"
    );
    let config = write(dir.path(), &text);
    let served = Served::start("prometheus-tls", &["--web.config.file", &config]);
    let target = served.url.strip_prefix("https://").and_then(|it| it.split('/').next()).unwrap();
    let path = dir.path().display();
    let job = |name: &str, password: &str| {
        format!(
            "{{job_name: {name}, scheme: https, static_configs: [{{targets: [\"{target}\"]}}], \
             basic_auth: {{username: prometheus, password: {password}}}, tls_config: {{ca_file: {path}/server.crt, \
             cert_file: {path}/client.crt, key_file: {path}/client.key}}}}"
        )
    };
    let jobs = [job("right", "secret"), job("wrong", "guess")].join(", ");
    let (prometheus, url) = scraping(dir.path(), &jobs, &[]);
    assert_eq!(wait_for_value(&url, "jobs_total{job=\"right\"}"), 5.0);
    wait_for("a scrape", PATIENCE, || {
        (value(&url, "up{job=\"right\"}") == Some(1.0)).then_some(())
    });
    assert_eq!(wait_for_value(&url, "up{job=\"wrong\"}"), 0.0);
    stop_prometheus(prometheus);
    served.stop();
}

fn stop_prometheus(prometheus: Running) {
    prometheus.signal("TERM");
    prometheus.end();
}

#[test]
fn check_config_reports_the_file_and_the_line_and_starts_nothing() {
    let dir = TestDir::new("check-config");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let run = |text: &str, flags: &[&str]| {
        let config = write(dir.path(), text);
        let mut command = multiprom();
        command.args(["serve", "--web.config.file", &config]).args(flags);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap(), config)
    };
    assert_eq!(run("rate_limit: {interval: 1s, burst: 5}\n", &["--check-config"]).0, Some(0));
    let problem = "line 2: `rate_limit.burst`: expected a number of requests, got `many`";
    // With and without the flag: nothing is served.
    let dir_flag = format!("--dir={}", dir.path().display());
    for flags in [&["--check-config"][..], &[&dir_flag, "--listen", "127.0.0.1:0"]] {
        let (status, stderr, config) = run("rate_limit:\n  burst: many\n", flags);
        assert_eq!((status, stderr), (Some(2), format!("multiprom: `{config}`: {problem}\n")));
    }
    let mut command = multiprom();
    command.args(["run", "--web.config.file", "/nonexistent/web.yml", "--", "echo", "started"]);
    let output = command.output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]));
    assert!(
        String::from_utf8(output.stderr).unwrap().contains("`/nonexistent/web.yml`: No such file")
    );
}

#[test]
fn unix_sockets_have_tls_too() {
    if !can_use_tls() {
        return;
    }
    let dir = certificates("unix-tls");
    let config = write(dir.path(), &format!("tls_server_config:\n  {PAIR}"));
    let socket = dir.path().join("metrics.sock");
    let data = TestDir::new("unix-tls-data");
    output_of(example("test-counting").arg(data.path()).arg("5"));
    let mut command = multiprom();
    command.args(["serve", "--web.config.file", &config, "--listen"]);
    command.arg(format!("unix:{}", socket.display())).arg("--dir").arg(data.path());
    let mut server = Running::start(&mut command);
    server.url();
    let path = socket.display().to_string();
    let flags = [&CURL[..], &["--unix-socket", &path]].concat();
    let page = curl(dir.path(), "https://localhost/metrics", &flags).unwrap();
    assert_eq!(sum_of(&page.body, "jobs_total"), 5.0);
    stop(server);
}

#[test]
fn the_seeds_of_the_fuzz_target_cut_and_damaged_are_refused_with_the_file_and_the_line() {
    let dir = TestDir::in_memory("fuzzed-config");
    let mut valid = 0;
    for seed in fs::read_dir(root().join("fuzz/seeds/web_config")).unwrap() {
        let seed = fs::read(seed.unwrap().path()).unwrap();
        valid += u32::from(fuzzed::check(&seed, dir.path()));
        for at in (0..seed.len()).step_by(3) {
            fuzzed::check(&seed[..at], dir.path());
            let mut damaged = seed.clone();
            damaged[at] = [b'\n', b':', b' ', b'"', 0xff][at % 5];
            fuzzed::check(&damaged, dir.path());
        }
    }
    assert_eq!(valid, 1, "the others name no files that exist, or are malformed");
}
