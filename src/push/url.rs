//! URLs of gateways.

use hyper::Uri;
use hyper::http::uri::{Authority, Scheme};

use crate::error::{Error, ErrorKind, Result};
use crate::model::number::parse_digits;
use crate::outgoing::without_brackets;

/// An absolute URL with the scheme `http` or `https`.
#[derive(Clone, Debug)]
pub(super) struct Url {
    pub(super) is_https: bool,
    /// Host and port as in the URL.
    pub(super) authority: String,
    /// The host, without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// The path and the query, at least `/`.
    pub(super) path: String,
}

impl Url {
    /// Parses a URL; without a scheme it is that of `http`.
    pub(super) fn parse(text: &str) -> Result<Url> {
        // A message does not repeat a password.
        let shown = text
            .rsplit_once('@')
            .map_or_else(|| text.to_owned(), |(_, rest)| format!("...@{rest}"));
        let refuse = |what: &str| Error::new(ErrorKind::Usage, format!("the URL `{shown}` {what}"));
        let with_scheme;
        let full = if text.contains("://") {
            text
        } else {
            with_scheme = format!("http://{text}");
            &with_scheme
        };
        let uri: Uri = full.parse().map_err(|error| refuse(&format!("is malformed: {error}")))?;
        let is_https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(refuse("must begin with http:// or https://")),
        };
        let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
        if authority.contains('@') {
            return Err(refuse("contains a user: set user and password for basic authentication"));
        }
        let host = uri.host().unwrap_or_default();
        let host = without_brackets(host);
        let is_port = |text: &str| parse_digits::<u16>(text).is_some_and(|port| port > 0);
        let port = uri.host().and_then(|host| authority.strip_prefix(host));
        let port = port.unwrap_or(authority);
        if host.is_empty() || !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
            return Err(refuse("must have a host, and a port after a colon"));
        }
        Ok(Url {
            is_https,
            authority: authority.to_owned(),
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    /// The URL of a group of the gateway at this address, whose path is kept.
    pub(super) fn join(mut self, path: &str) -> Result<Url> {
        if self.path.contains('?') {
            let message =
                format!("the address `{}` of a gateway must not have a query", self.text());
            return Err(Error::new(ErrorKind::Usage, message));
        }
        self.path = format!("{}{path}", self.path.trim_end_matches('/'));
        Ok(self)
    }

    /// The URL that a response redirects to.
    pub(super) fn redirect(&self, location: &str) -> Result<Url> {
        if location.starts_with('/') && !location.starts_with("//") {
            let path = location.split('#').next().unwrap_or_default();
            return Ok(Url { path: path.to_owned(), ..self.clone() });
        }
        if !location.contains("://") {
            let message =
                format!("the redirect to `{location}` is neither a URL nor an absolute path");
            return Err(Error::new(ErrorKind::Push, message));
        }
        Url::parse(location)
    }

    pub(super) fn text(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.path)
    }

    /// Whether both URLs have the same scheme, host and port.
    pub(super) fn has_origin_of(&self, other: &Url) -> bool {
        self.is_https == other.is_https
            && self.host.eq_ignore_ascii_case(&other.host)
            && self.port == other.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_gateway_is_kept_and_a_scheme_is_added() {
        let joined = |text: &str| Url::parse(text).unwrap().join("/metrics/job/j").unwrap().text();
        for (text, url) in [
            ("gateway:9091", "http://gateway:9091/metrics/job/j"),
            ("http://gateway:9091/", "http://gateway:9091/metrics/job/j"),
            ("https://proxy/push/gateway//", "https://proxy/push/gateway/metrics/job/j"),
            ("http://[::1]:9091", "http://[::1]:9091/metrics/job/j"),
        ] {
            assert_eq!(joined(text), url);
        }
        let url = Url::parse("https://[::1]/a?b=c").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("::1", 443, "/a?b=c"));
        assert!(url.join("/x").is_err());
    }

    #[test]
    fn urls_that_cannot_be_used_are_errors_without_passwords() {
        for bad in [
            "",
            "ftp://gateway",
            "http://",
            "http://a b",
            "http://gateway:x",
            "http://gateway:+80",
            "gateway:",
            ":9091",
        ] {
            assert_eq!(Url::parse(bad).unwrap_err().kind(), ErrorKind::Usage, "{bad}");
        }
        for bad in ["http://user:secret@gateway", "http://user:secret@a b", "user:secret@gateway"] {
            let error = Url::parse(bad).unwrap_err().to_string();
            assert!(error.contains("...@") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_redirect_is_a_url_or_an_absolute_path() {
        let from = Url::parse("https://gateway:9091/a").unwrap();
        assert_eq!(from.redirect("/b?c#d").unwrap().text(), "https://gateway:9091/b?c");
        let other = from.redirect("http://gateway:9091/b").unwrap();
        assert!(!other.has_origin_of(&from));
        assert!(from.redirect("https://GATEWAY:9091/").unwrap().has_origin_of(&from));
        assert!(from.redirect("//other/b").is_err());
        assert!(from.redirect("b").is_err());
    }
}
