//! The file of a running exporter, which is read again when it, or a file that it names, has changed.
//!
//! If a new version is invalid, the last valid one stays in use: certificates and keys are replaced one after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::header::{HeaderName, HeaderValue};
use rustls::ServerConfig;

use super::config::{self, RateLimit, WebConfig};
use super::rate::Bucket;
use super::stamp::{Stamp, Stamped};
use super::tls::server_config;
use super::users::{Authenticator, Verdict};
use super::yaml::{self, Problem};
use crate::error::{Error, ErrorKind, Result};
use crate::logging::{log_info, log_line};
use crate::panics::lock;

/// How often the files are checked for changes, while there are requests.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A valid version of the file.
pub(in crate::http) struct Loaded {
    pub(in crate::http) tls: Option<Arc<ServerConfig>>,
    pub(in crate::http) headers: Vec<(HeaderName, HeaderValue)>,
    users: Vec<(String, String)>,
    rate_limit: Option<RateLimit>,
}

impl Loaded {
    /// Whether requests are authenticated.
    pub(in crate::http) fn has_users(&self) -> bool {
        !self.users.is_empty()
    }
}

/// The file, its last valid version, and the state of the authentication and of the rate limit.
pub(in crate::http) struct WebConfigFile {
    path: PathBuf,
    state: Mutex<State>,
    authenticator: Authenticator,
    bucket: Mutex<Option<Bucket>>,
}

struct State {
    loaded: Arc<Loaded>,
    /// The versions of the files that were read last.
    files: Stamped,
    /// When the files were last checked for changes.
    checked: Instant,
    /// The last logged error, if the last version is invalid.
    error: Option<String>,
}

/// Reads the file. `files` receives the versions of the files that were read, also if they are invalid.
fn load(path: &Path, files: &mut Stamped) -> Result<Loaded> {
    files.push((path.to_owned(), Stamp::of(path)));
    let bytes = fs::read(path).map_err(|error| Error::at(ErrorKind::Usage, path, error))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut read = || -> std::result::Result<Loaded, Problem> {
        let WebConfig { tls, headers, users, rate_limit } =
            config::parse(yaml::decode(&bytes)?, dir, files)?;
        let tls = tls.map(|settings| server_config(&settings)).transpose()?;
        Ok(Loaded { tls, headers, users, rate_limit })
    };
    read().map_err(|Problem { line, text }| {
        Error::at(ErrorKind::Usage, path, format!("line {line}: {text}"))
    })
}

impl WebConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage) with the path, the line and what was expected.
    pub(in crate::http) fn open(path: &Path) -> Result<WebConfigFile> {
        let mut files = Vec::new();
        let loaded = load(path, &mut files)?;
        let authenticator = Authenticator::new()
            .map_err(|_| Error::new(ErrorKind::Io, "the system has no random numbers"))?;
        let state = State { loaded: Arc::new(loaded), files, checked: Instant::now(), error: None };
        Ok(WebConfigFile {
            path: path.to_owned(),
            state: Mutex::new(state),
            authenticator,
            bucket: Mutex::default(),
        })
    }

    /// Reads the file again.
    ///
    /// # Errors
    ///
    /// If the new version is invalid. The last valid one then stays in use.
    pub(in crate::http) fn reload(&self) -> Result<()> {
        self.reload_locked(&mut lock(&self.state))
    }

    fn reload_locked(&self, state: &mut State) -> Result<()> {
        let mut files = Vec::new();
        let loaded = load(&self.path, &mut files);
        state.files = files;
        state.checked = Instant::now();
        let loaded = loaded?;
        if loaded.tls.is_some() != state.loaded.tls.is_some() {
            let text = "TLS cannot be switched on or off while the exporter runs: restart it";
            return Err(Error::at(ErrorKind::Usage, &self.path, text));
        }
        state.loaded = Arc::new(loaded);
        state.error = None;
        Ok(())
    }

    /// The last valid version. Changes take effect within [`CHECK_INTERVAL`].
    pub(in crate::http) fn current(&self) -> Arc<Loaded> {
        let mut state = lock(&self.state);
        if state.checked.elapsed() >= CHECK_INTERVAL {
            state.checked = Instant::now();
            let is_changed = state.files.iter().any(|(path, stamp)| Stamp::of(path) != *stamp);
            if is_changed {
                let had_error = state.error.is_some();
                match self.reload_locked(&mut state) {
                    Ok(()) => {
                        let after = if had_error { ", and valid again" } else { "" };
                        log_info(&format_args!("`{}` is reloaded{after}", self.path.display()));
                    }
                    Err(error) => {
                        let text = format!("{error:#}");
                        if state.error.as_ref() != Some(&text) {
                            log_line(&format_args!("{text}: the last valid version stays in use"));
                            state.error = Some(text);
                        }
                    }
                }
            }
        }
        Arc::clone(&state.loaded)
    }

    /// Takes a token of the rate limit; `false` if there is none.
    pub(in crate::http) fn admits(&self, loaded: &Loaded) -> bool {
        let now = Instant::now();
        let mut bucket = lock(&self.bucket);
        if bucket.as_ref().map(Bucket::limit) != loaded.rate_limit {
            *bucket = loaded.rate_limit.map(|limit| Bucket::new(limit, now));
        }
        bucket.as_mut().is_none_or(|bucket| bucket.take(now))
    }

    /// Verifies the value of the header `Authorization`. Without users everyone is accepted.
    pub(in crate::http) async fn authenticate(
        &self,
        loaded: &Loaded,
        header: Option<&[u8]>,
    ) -> Verdict {
        if loaded.users.is_empty() {
            return Verdict::Accepted;
        }
        self.authenticator.verify(&loaded.users, header).await
    }
}
