//! The file of `--web.config.file`, in the format of the Prometheus exporter toolkit.
//!
//! See: `docs/web-configuration.md` of prometheus/exporter-toolkit.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS, X_XSS_PROTECTION,
};

use super::fields::Fields;
use super::stamp::{Stamp, Stamped};
use super::yaml::{self, Node, Problem, Value};

/// The content of the file. The files that it names are read too.
#[derive(Debug)]
pub(super) struct WebConfig {
    pub(super) tls: Option<TlsSettings>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Names and bcrypt hashes; without users there is no authentication.
    pub(super) users: Vec<(String, String)>,
    pub(super) rate_limit: Option<RateLimit>,
}

#[derive(Debug)]
pub(super) struct TlsSettings {
    /// The line of the section.
    pub(super) line: usize,
    pub(super) cert: Pem,
    pub(super) key: Pem,
    pub(super) client_ca: Option<Pem>,
    pub(super) client_auth: ClientAuth,
    pub(super) allowed_sans: Vec<String>,
    pub(super) min_version: TlsVersion,
    pub(super) max_version: TlsVersion,
    /// The names of cipher suites, with their lines; all if it is empty.
    pub(super) cipher_suites: Vec<(String, usize)>,
    /// The names of curves, with their lines; all if it is empty.
    pub(super) curves: Vec<(String, usize)>,
    pub(super) prefers_server_order: bool,
}

/// Text in the format PEM, and where it is from.
pub(super) struct Pem {
    pub(super) field: &'static str,
    pub(super) line: usize,
    pub(super) text: Vec<u8>,
}

impl std::fmt::Debug for Pem {
    /// Leaves the text out, as it may be a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pem").field("field", &self.field).finish_non_exhaustive()
    }
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuth {
    None,
    /// Optional, not verified.
    Request,
    /// Mandatory, not verified.
    RequireAny,
    /// Optional, verified; mandatory with `allowed_sans`.
    VerifyIfGiven,
    /// Mandatory, verified.
    RequireAndVerify,
}

impl ClientAuth {
    pub(super) fn verifies(self) -> bool {
        matches!(self, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TlsVersion {
    Tls12,
    Tls13,
}

/// A bucket of `burst` requests that gets one more in each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateLimit {
    pub(super) interval: Duration,
    pub(super) burst: u32,
}

/// Headers: the name in the file, the name in responses, the values that are possible, or all if there are none.
const HEADERS: [(&str, HeaderName, &[&str]); 5] = [
    ("Strict-Transport-Security", STRICT_TRANSPORT_SECURITY, &[]),
    ("X-Content-Type-Options", X_CONTENT_TYPE_OPTIONS, &["nosniff"]),
    ("X-Frame-Options", X_FRAME_OPTIONS, &["deny", "sameorigin"]),
    ("X-XSS-Protection", X_XSS_PROTECTION, &[]),
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY, &[]),
];

/// Parses a file. `files` receives the versions of the files that it names.
///
/// Relative paths start at `dir`, the directory of the file.
pub(super) fn parse(text: &str, dir: &Path, files: &mut Stamped) -> Result<WebConfig, Problem> {
    let mut fields = Fields::new("", yaml::read(text)?)?;
    let tls = fields.section("tls_server_config")?;
    let http = fields.section("http_server_config")?;
    let users = fields.take("basic_auth_users");
    let rate = fields.section("rate_limit")?;
    fields.finish()?;
    Ok(WebConfig {
        headers: headers(http)?,
        users: users.map_or_else(|| Ok(Vec::new()), read_users)?,
        rate_limit: rate_limit(rate)?,
        tls: tls_settings(tls, dir, files)?,
    })
}

fn headers(mut http: Fields) -> Result<Vec<(HeaderName, HeaderValue)>, Problem> {
    // Parsed, and without effect: clients negotiate HTTP/1.1.
    http.bool("http2")?;
    let mut configured = http.section("headers")?;
    http.finish()?;
    let mut headers = Vec::new();
    for (name, sent, possible) in HEADERS {
        let Some(node) = configured.take(name) else {
            continue;
        };
        let (line, value) = match node.value {
            Value::Scalar(text) => (node.line, text),
            value => return Err(configured.problem(name, node.line, "text", value.kind())),
        };
        if !possible.is_empty() && !possible.contains(&value.as_str()) {
            return Err(configured.problem(name, line, &possible.join(" or "), &value));
        }
        let Ok(parsed) = HeaderValue::try_from(value.as_str()) else {
            return Err(configured.problem(name, line, "visible characters", &value));
        };
        headers.push((sent, parsed));
    }
    configured.finish()?;
    Ok(headers)
}

fn read_users(node: Node) -> Result<Vec<(String, String)>, Problem> {
    let entries = match node.value {
        Value::Null => return Ok(Vec::new()),
        Value::Map(entries) => entries,
        value => {
            let text = format!("`basic_auth_users`: expected a map, found {}", value.kind());
            return Err(Problem::new(node.line, text));
        }
    };
    let read = |(user, node): (String, Node)| match node.value {
        Value::Scalar(hash) if is_bcrypt_hash(&hash) => Ok((user, hash)),
        // The value may be a password: it is not repeated.
        _ => {
            let text = format!(
                "`basic_auth_users.{user}`: expected a bcrypt hash of 60 characters, such as `htpasswd -nB` prints"
            );
            Err(Problem::new(node.line, text))
        }
    };
    entries.into_iter().map(read).collect()
}

/// Whether a text is `$2a$COST$`, or the same with b, x or y, a salt of 22 and a hash of 31 characters.
fn is_bcrypt_hash(text: &str) -> bool {
    let mut parts = text.strip_prefix('$').unwrap_or_default().split('$');
    let (version, cost, rest) = (parts.next(), parts.next(), parts.next());
    let is_cost = |cost: &str| {
        cost.len() == 2
            && cost.bytes().all(|byte| byte.is_ascii_digit())
            && cost.parse().is_ok_and(|cost: u32| (4..=31).contains(&cost))
    };
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"./".contains(&byte);
    matches!(version, Some("2a" | "2b" | "2x" | "2y"))
        && cost.is_some_and(is_cost)
        && rest.is_some_and(|rest| rest.len() == 53 && rest.bytes().all(is_base64))
        && parts.next().is_none()
}

fn rate_limit(mut fields: Fields) -> Result<Option<RateLimit>, Problem> {
    let interval = match fields.text("interval")? {
        Some((text, line)) => go_duration(&text).ok_or_else(|| {
            fields.problem("interval", line, "a duration such as 1s or 100ms", &text)
        })?,
        None => None,
    };
    let burst = match fields.text("burst")? {
        Some((text, line)) => text
            .parse()
            .map_err(|_| fields.problem("burst", line, "a number of requests", &text))?,
        None => 0,
    };
    fields.finish()?;
    Ok(interval.map(|interval| RateLimit { interval, burst }))
}

/// Parses a duration of Go: `1h30m`, `1.5s`, or an integer of nanoseconds. Returns `Some(None)` for zero and negative ones,
/// which limit nothing, and `None` for anything else.
#[expect(clippy::option_option, reason = "no duration and an invalid one differ")]
fn go_duration(text: &str) -> Option<Option<Duration>> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    // `u64::from_str` accepts a further `+`.
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let duration = match unsigned.parse() {
        Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
        Err(_) => with_units(unsigned)?,
    };
    Some(Some(duration).filter(|duration| !duration.is_zero() && !text.starts_with('-')))
}

/// Parses numbers with units, without a sign.
fn with_units(mut rest: &str) -> Option<Duration> {
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("\u{b5}s", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ];
        let (unit, factor) = units.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        seconds += number * factor;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// Reads the section of TLS; `None` if it has no field that enables TLS.
fn tls_settings(
    mut fields: Fields,
    dir: &Path,
    files: &mut Stamped,
) -> Result<Option<TlsSettings>, Problem> {
    let line = fields.line();
    let mut source = |inline: &'static str, file: &'static str| -> Result<Option<Pem>, Problem> {
        let text = fields.text(inline)?.map(|(text, line)| Pem {
            field: inline,
            line,
            text: text.into_bytes(),
        });
        let path = fields.text(file)?;
        Ok(path.map(|(path, line)| Pem { field: file, line, text: path.into_bytes() }).or(text))
    };
    let sources = [
        source("cert", "cert_file")?,
        source("key", "key_file")?,
        source("client_ca", "client_ca_file")?,
    ];
    let client_auth = fields.text("client_auth_type")?;
    let allowed_sans = fields.list("client_allowed_sans")?;
    let min_version = version(&mut fields, "min_version", TlsVersion::Tls12)?;
    let max_version = version(&mut fields, "max_version", TlsVersion::Tls13)?;
    let cipher_suites = fields.list("cipher_suites")?;
    let curves = fields.list("curve_preferences")?;
    let prefers_server_order = fields.bool("prefer_server_cipher_suites")?.unwrap_or(true);
    let is_enabled = sources.iter().any(Option::is_some) || client_auth.is_some();
    let auth_line = client_auth.as_ref().map_or(line, |(_, line)| *line);
    let client_auth = match client_auth {
        None => ClientAuth::None,
        Some((name, line)) => client_auth_type(&name).ok_or_else(|| {
            let expected = "NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or \
                            RequireAndVerifyClientCert";
            fields.problem("client_auth_type", line, expected, &name)
        })?,
    };
    fields.finish()?;
    let refuse = |line, text: &str| Err(Problem::new(line, format!("`tls_server_config`: {text}")));
    if min_version > max_version {
        return refuse(line, "min_version is higher than max_version");
    }
    if !is_enabled {
        return Ok(None);
    }
    let [cert, key, client_ca] = sources;
    if let (Some(client_ca), ClientAuth::None) = (&client_ca, client_auth) {
        return refuse(
            client_ca.line,
            "client CA's have been configured without a Client Auth Policy: expected a client_auth_type",
        );
    }
    if !client_auth.verifies() && !allowed_sans.is_empty() {
        return refuse(
            auth_line,
            "client_allowed_sans needs the client_auth_type RequireAndVerifyClientCert or VerifyClientCertIfGiven, as \
             anyone can make a certificate with any name",
        );
    }
    let Some(cert) = cert else {
        return refuse(line, "missing one of cert or cert_file");
    };
    let Some(key) = key else {
        return refuse(line, "missing one of key or key_file");
    };
    Ok(Some(TlsSettings {
        line,
        cert: load(cert, dir, files)?,
        key: load(key, dir, files)?,
        client_ca: client_ca.map(|pem| load(pem, dir, files)).transpose()?,
        client_auth,
        allowed_sans: allowed_sans.into_iter().map(|(san, _)| san).collect(),
        min_version,
        max_version,
        cipher_suites,
        curves,
        prefers_server_order,
    }))
}

/// Replaces the path of a file by its content.
fn load(mut pem: Pem, dir: &Path, files: &mut Stamped) -> Result<Pem, Problem> {
    if pem.field.ends_with("_file") {
        let path = dir.join(String::from_utf8_lossy(&pem.text).as_ref());
        files.push((path.clone(), Stamp::of(&path)));
        pem.text = fs::read(&path).map_err(|error| {
            let (field, path) = (pem.field, path.display());
            let text = format!("`tls_server_config.{field}`: cannot read `{path}`: {error}");
            Problem::new(pem.line, text)
        })?;
    }
    Ok(pem)
}

fn client_auth_type(name: &str) -> Option<ClientAuth> {
    Some(match name {
        "NoClientCert" => ClientAuth::None,
        "RequestClientCert" => ClientAuth::Request,
        "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::RequireAny,
        "VerifyClientCertIfGiven" => ClientAuth::VerifyIfGiven,
        "RequireAndVerifyClientCert" => ClientAuth::RequireAndVerify,
        _ => return None,
    })
}

fn version(
    fields: &mut Fields,
    name: &'static str,
    default: TlsVersion,
) -> Result<TlsVersion, Problem> {
    let Some((text, line)) = fields.text(name)? else {
        return Ok(default);
    };
    match text.as_str() {
        "TLS12" => Ok(TlsVersion::Tls12),
        "TLS13" => Ok(TlsVersion::Tls13),
        "TLS10" | "TLS11" => Err(fields.problem(
            name,
            line,
            "TLS12 or TLS13, as rustls has no older version of TLS",
            &text,
        )),
        _ => Err(fields.problem(name, line, "TLS12 or TLS13 (unknown TLS version)", &text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<WebConfig, Problem> {
        parse(text, Path::new("/nonexistent"), &mut Vec::new())
    }

    #[test]
    fn an_empty_file_configures_nothing() {
        for text in
            ["", "# comment\n", "tls_server_config:\n", "tls_server_config: {min_version: TLS13}"]
        {
            let config = parsed(text).unwrap();
            assert!(config.tls.is_none() && config.users.is_empty() && config.rate_limit.is_none());
        }
    }

    #[test]
    fn durations_of_go_are_parsed() {
        for (text, expected) in [
            ("1s", Some(Duration::from_secs(1))),
            ("100ms", Some(Duration::from_millis(100))),
            ("1h1m1.5s", Some(Duration::from_secs_f64(3661.5))),
            ("5", Some(Duration::from_nanos(5))),
            ("0", None),
            ("-1s", None),
            ("-5", None),
            ("+5", Some(Duration::from_nanos(5))),
            ("+1s", Some(Duration::from_secs(1))),
        ] {
            assert_eq!(go_duration(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "1d",
            "s",
            "1.",
            "1s2",
            "x",
            "1e9s",
            "99999999999999999999h",
            "+",
            "-",
            "--1s",
            "-+1s",
            "+-1s",
            "++5",
        ] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }

    #[test]
    fn bcrypt_hashes_are_recognized() {
        let rest = "./".repeat(26) + "A";
        assert!(is_bcrypt_hash(&format!("$2y$10${rest}")));
        assert!(is_bcrypt_hash(&format!("$2a$31${rest}")));
        for bad in ["doe", "", "$2y$10$short", &format!("$2y$32${rest}"), &format!("$3y$10${rest}")]
        {
            assert!(!is_bcrypt_hash(bad), "{bad}");
        }
        assert!(
            !is_bcrypt_hash(&format!("$2y$10${rest}$"))
                && !is_bcrypt_hash(&format!("$2y$+9${rest}"))
        );
    }

    #[test]
    fn a_problem_names_the_line_and_what_was_expected() {
        for (text, line, part) in [
            ("tls:\n  cert_file: x\n", 2, "unknown field `tls`: expected tls_server_config"),
            (
                "tls_server_config:\n  cert_filse: x\n",
                2,
                "unknown field `tls_server_config.cert_filse`",
            ),
            ("basic_auth_users:\n  john: doe\n", 2, "expected a bcrypt hash"),
            (
                "rate_limit:\n  interval: 1s\n  burst: many\n",
                3,
                "expected a number of requests, got `many`",
            ),
            ("rate_limit:\n  interval: 1d\n", 2, "expected a duration"),
            ("http_server_config:\n  http2: maybe\n", 2, "expected true or false, got `maybe`"),
            (
                "http_server_config:\n  headers:\n    X-Frame-Options: foo\n",
                3,
                "expected deny or sameorigin",
            ),
            ("http_server_config:\n  headers:\n    Content-Type: foo\n", 3, "unknown field"),
            ("tls_server_config:\n  min_version: TLS111\n", 2, "unknown TLS version"),
            ("tls_server_config:\n  min_version: TLS10\n", 2, "rustls has no older version"),
            (
                "tls_server_config:\n  min_version: TLS13\n  max_version: TLS12\n",
                2,
                "is higher than",
            ),
            ("tls_server_config:\n  cert_file: x\n", 2, "missing one of key or key_file"),
            (
                "tls_server_config:\n  key_file: x\n  cert: ''\n",
                2,
                "missing one of cert or cert_file",
            ),
            ("tls_server_config:\n  client_auth_type: x\n", 2, "expected NoClientCert, "),
            (
                "tls_server_config: {cert: x, key: y, client_ca: z}\n",
                1,
                "without a Client Auth Policy",
            ),
            (
                "tls_server_config: {cert: x, key: y, client_allowed_sans: [a]}\n",
                1,
                "client_allowed_sans needs",
            ),
            (
                "tls_server_config:\n  cert_file: a.crt\n  key: y\n",
                2,
                "cannot read `/nonexistent/a.crt`: No such file",
            ),
            ("- a\n", 1, "expected a map, found a list"),
        ] {
            let problem = parsed(text).unwrap_err();
            assert!(problem.text.contains(part), "{text}: {problem:?}");
            assert_eq!(problem.line, line, "{text}: {problem:?}");
        }
    }
}
