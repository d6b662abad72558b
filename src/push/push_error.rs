//! Why a push has failed.

use std::error::Error as StdError;
use std::fmt;

use super::transport::{Method, Response};
use crate::error::{Error, ErrorKind};

/// The longest part of a response's body in an error, in characters.
const MAX_SHOWN_CHARS: usize = 300;

/// A push that has failed. It names the method and the URL.
#[derive(Debug)]
pub(super) struct PushError {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) problem: Problem,
}

#[derive(Debug)]
pub(super) enum Problem {
    /// There is no response.
    Transport(Box<dyn StdError + Send + Sync>),
    /// A collector or the transport has panicked.
    Panic,
    /// The status is not 2xx.
    Status(Response),
}

impl From<PushError> for Error {
    fn from(error: PushError) -> Error {
        Error::new(ErrorKind::Push, error)
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)?;
        match &self.problem {
            Problem::Transport(_) => f.write_str(" failed"),
            Problem::Panic => f.write_str(": a collector or the transport has panicked"),
            Problem::Status(response) => write_status(f, response),
        }
    }
}

fn write_status(f: &mut fmt::Formatter<'_>, response: &Response) -> fmt::Result {
    write!(f, ": status {}", response.status)?;
    if let (300..400, Some(location)) = (response.status, &response.location) {
        let location = shown(location);
        return write!(f, ": redirected to `{location}`, set that address or allow redirects");
    }
    let body = String::from_utf8_lossy(&response.body);
    match body.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => write!(f, ": {}", shown(line)),
        None => Ok(()),
    }
}

/// The beginning of a text from a server, without control characters.
fn shown(text: &str) -> String {
    let mut chars = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    let mut shown: String = chars.by_ref().take(MAX_SHOWN_CHARS).collect();
    if chars.next().is_some() {
        shown.push_str("...");
    }
    shown
}

impl StdError for PushError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.problem {
            Problem::Transport(cause) => Some(&**cause),
            Problem::Panic | Problem::Status(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: Response) -> String {
        let url = "http://gateway/metrics/job/j".to_owned();
        PushError { method: Method::Put, url, problem: Problem::Status(response) }.to_string()
    }

    #[test]
    fn a_status_is_shown_with_the_first_line_of_the_body() {
        let refused = "\ntext format parsing error\u{1b}[0m\nmore";
        assert_eq!(
            text(Response::new(400, refused)),
            "PUT http://gateway/metrics/job/j: status 400: text format parsing error [0m"
        );
        assert_eq!(text(Response::new(502, "")), "PUT http://gateway/metrics/job/j: status 502");
        let long = text(Response::new(500, "x".repeat(10_000)));
        assert!(long.ends_with("xxx...") && long.len() < 400, "{long}");
    }

    #[test]
    fn a_redirect_is_shown_with_its_target() {
        let mut response = Response::new(301, "Moved");
        response.location = Some("https://other/".to_owned());
        assert!(text(response).contains(": status 301: redirected to `https://other/`, set"));
    }
}
