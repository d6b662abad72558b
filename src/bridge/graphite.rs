//! Graphite: samples by the plaintext protocol over TCP.
//!
//! See: <https://graphite.readthedocs.io/en/latest/feeding-carbon.html>

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::model::clock;
use crate::model::number::{Style, bound_text, parse_digits, push_f64, push_u64};
use crate::model::{FamilyMetadata, FamilySink, Gatherer, Sample};
use crate::outgoing::{Periodic, connect, deadline_after, remaining, without_brackets};

/// The port of carbon's plaintext protocol.
const DEFAULT_PORT: u16 = 2003;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends samples to Graphite, one line `PATH VALUE TIME` for each.
///
/// The path is the name of the sample and then name and value of each label, in alphabetical order, separated by dots; or
/// by [tags](Graphite::tags). As in the Python client, each character other than ASCII letters, digits, `_` and `-` is
/// replaced by `_`. Labels without a value and values that are not finite are left out, as Graphite stores neither.
///
/// Each push uses a new connection. It waits until the receiver has closed the connection, which carbon does when it has
/// read everything: a receiver that fails meanwhile is an error.
///
/// ```
/// use std::io::Read as _;
///
/// use multiprom::bridge::Graphite;
/// use multiprom::{Counter, Registry};
///
/// let registry = Registry::new();
/// let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["queue"]).register(&registry)?;
/// jobs.with(["mail"]).inc_by(3.0);
///
/// let receiver = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// let address = receiver.local_addr().unwrap().to_string();
/// let thread = std::thread::spawn(move || {
///     let mut text = String::new();
///     receiver.accept().unwrap().0.read_to_string(&mut text).unwrap();
///     text
/// });
/// Graphite::new(&address)?.prefix("shop.web1").push(&registry)?;
/// assert!(thread.join().unwrap().starts_with("shop.web1.jobs_total.queue.mail 3 "));
/// # Ok::<(), multiprom::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Graphite {
    host: String,
    port: u16,
    prefix: String,
    has_tags: bool,
    timeout: Duration,
}

impl Graphite {
    /// The receiver at `HOST:PORT`, or `HOST` for port 2003.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage) if the address is malformed.
    pub fn new(address: &str) -> Result<Graphite> {
        let refuse = || {
            let message = format!("the address `{address}` is not HOST:PORT or HOST");
            Error::new(ErrorKind::Usage, message)
        };
        let is_bare_ipv6 = address.parse::<std::net::Ipv6Addr>().is_ok();
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !is_bare_ipv6 && !address.ends_with(']') => {
                (host, parse_digits(port).ok_or_else(refuse)?)
            }
            _ => (address, DEFAULT_PORT),
        };
        let host = without_brackets(host);
        if host.is_empty() || host.contains(['/', ' ', '@']) || port == 0 {
            return Err(refuse());
        }
        let (host, timeout) = (host.to_owned(), DEFAULT_TIMEOUT);
        Ok(Graphite { host, port, prefix: String::new(), has_tags: false, timeout })
    }

    /// Sets the beginning of all paths, such as `shop.web1`; none by default. Characters that a path may not contain are
    /// replaced.
    pub fn prefix(mut self, prefix: &str) -> Graphite {
        let cleaned = prefix.chars().map(|char| if char == '.' { '.' } else { cleaned(char) });
        let cleaned: String = cleaned.collect();
        let parts = cleaned.split('.').filter(|part| !part.is_empty());
        self.prefix = parts.flat_map(|part| [part, "."]).collect();
        self
    }

    /// Writes labels as tags, `;NAME=VALUE`, which Graphite supports since 1.1.
    pub fn tags(mut self) -> Graphite {
        self.has_tags = true;
        self
    }

    /// Sets the time that a push may take, the lookup of the host name included; 30 seconds by default.
    pub fn timeout(mut self, timeout: Duration) -> Graphite {
        self.timeout = timeout;
        self
    }

    /// Sends all samples once.
    ///
    /// # Errors
    ///
    /// Of kind [`Push`](ErrorKind::Push) if the receiver cannot be reached or ends the connection early, and the first
    /// error that a collector reports. Some of the samples may have arrived then.
    pub fn push(&self, source: &dyn Gatherer) -> Result<()> {
        let mut lines = LineSink {
            out: Vec::new(),
            graphite: self,
            name: String::new(),
            now: clock::now() as u64,
            failure: None,
        };
        source.gather(&mut lines);
        if let Some(error) = lines.failure {
            return Err(error);
        }
        let deadline = deadline_after(self.timeout);
        self.send(&lines.out, deadline).map_err(|problem| {
            let address = if self.host.contains(':') {
                format!("[{}]:{}", self.host, self.port)
            } else {
                format!("{}:{}", self.host, self.port)
            };
            Error::new(ErrorKind::Push, SendError { address, problem })
        })
    }

    /// Sends all samples now, and then once in each interval, on a thread of its own.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage) if the interval is zero, and of kind [`Io`](ErrorKind::Io) if no thread can be
    /// started. Errors of sending are logged.
    pub fn start(
        &self,
        source: impl Gatherer + Send + 'static,
        interval: Duration,
    ) -> Result<Periodic> {
        let graphite = self.clone();
        Periodic::start("multiprom-graph", interval, move || graphite.push(&source))
    }

    fn send(&self, lines: &[u8], deadline: Instant) -> std::result::Result<(), Problem> {
        let stream = connect(&self.host, self.port, deadline)
            .map_err(|error| Problem::Connect(Box::new(error)))?;
        write_all(&stream, lines, deadline).map_err(|error| self.interrupted(error, "taken"))?;
        // The shutdown also ends the stream if a forked child has a copy of the descriptor.
        let ended = stream.shutdown(Shutdown::Write);
        // If the connection was reset meanwhile, `shutdown` does not say so, but the next read does.
        wait_for_end(&stream, deadline).map_err(|error| self.interrupted(error, "confirmed"))?;
        ended.map_err(Problem::Io)
    }

    fn interrupted(&self, error: io::Error, what: &'static str) -> Problem {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                Problem::Timeout { what, timeout: self.timeout }
            }
            _ => Problem::Io(error),
        }
    }
}

fn write_all(mut stream: &TcpStream, mut rest: &[u8], deadline: Instant) -> io::Result<()> {
    while !rest.is_empty() {
        stream.set_write_timeout(Some(remaining(deadline)?))?;
        match stream.write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits until the receiver closes the connection. What it sends is ignored.
fn wait_for_end(mut stream: &TcpStream, deadline: Instant) -> io::Result<()> {
    loop {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        match stream.read(&mut [0; 1024]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Why samples were not sent.
#[derive(Debug)]
struct SendError {
    address: String,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Connect(Box<dyn StdError + Send + Sync>),
    Io(io::Error),
    Timeout { what: &'static str, timeout: Duration },
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot send to Graphite at {}", self.address)?;
        match &self.problem {
            Problem::Timeout { what, timeout } => {
                write!(f, ": the receiver has not {what} the samples in {timeout:?}")
            }
            Problem::Connect(_) | Problem::Io(_) => Ok(()),
        }
    }
}

impl StdError for SendError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.problem {
            Problem::Connect(cause) => Some(&**cause),
            Problem::Io(cause) => Some(cause),
            Problem::Timeout { .. } => None,
        }
    }
}

fn cleaned(char: char) -> char {
    if char.is_ascii_alphanumeric() || matches!(char, '_' | '-') { char } else { '_' }
}

fn push_cleaned(out: &mut Vec<u8>, text: &str) {
    // All cleaned characters are ASCII.
    out.extend(text.chars().map(|char| cleaned(char) as u8));
}

/// Writes samples as lines.
struct LineSink<'a> {
    out: Vec<u8>,
    graphite: &'a Graphite,
    /// The name of the current family.
    name: String,
    /// The time of samples without a timestamp, in seconds since the Unix epoch.
    now: u64,
    failure: Option<Error>,
}

impl FamilySink for LineSink<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.name.clear();
        self.name.push_str(head.name);
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        if !sample.value.is_finite() {
            return;
        }
        let bound = sample.kind.own_label().map(|(name, value)| (name, bound_text(value)));
        let bound = bound.as_ref().map(|(name, text)| (*name, text.as_str()));
        let mut labels: Vec<(&str, &str)> = sample.labels.iter().chain(bound).collect();
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort_unstable();
        let out = &mut self.out;
        out.extend_from_slice(self.graphite.prefix.as_bytes());
        push_cleaned(out, &self.name);
        out.extend_from_slice(sample.kind.suffix().as_bytes());
        let (separator, between) = if self.graphite.has_tags { (b';', b'=') } else { (b'.', b'.') };
        for (name, value) in labels {
            out.push(separator);
            push_cleaned(out, name);
            out.push(between);
            push_cleaned(out, value);
        }
        out.push(b' ');
        push_f64(out, sample.value, Style::Plain);
        out.push(b' ');
        push_u64(out, sample.timestamp.map_or(self.now, |seconds| seconds.max(0.0) as u64));
        out.push(b'\n');
    }

    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Samples;

    impl Gatherer for Samples {
        fn gather(&self, out: &mut dyn FamilySink) {
            out.counter("c_total", "")
                .sample(&[("b", "x.y z"), ("a", ""), ("a b", "\u{e9}/")], 3.0);
            out.gauge("g", "").sample(&[], f64::NAN);
            out.gauge("t", "").sample(&[], 1.5);
            out.summary("s", "").sample(&[("z", "1")], &[(0.5, 0.25), (0.9, f64::NAN)], 2.0, 1e9);
        }
    }

    fn lines(graphite: &Graphite, source: &dyn Gatherer) -> String {
        let mut sink =
            LineSink { out: Vec::new(), graphite, name: String::new(), now: 7, failure: None };
        source.gather(&mut sink);
        String::from_utf8(sink.out).unwrap()
    }

    #[test]
    fn labels_are_parts_of_the_path_or_tags_and_names_are_cleaned() {
        let graphite = Graphite::new("localhost").unwrap();
        assert_eq!(
            lines(&graphite, &Samples),
            "c_total.a_b.__.b.x_y_z 3 7\nt 1.5 7\ns.quantile.0_5.z.1 0.25 7\n\
             s_sum.z.1 1e+09 7\ns_count.z.1 2 7\n"
        );
        let tagged = graphite.prefix(".shop.web 1.").tags();
        assert_eq!(
            lines(&tagged, &Samples),
            "shop.web_1.c_total;a_b=__;b=x_y_z 3 7\nshop.web_1.t 1.5 7\n\
             shop.web_1.s;quantile=0_5;z=1 0.25 7\nshop.web_1.s_sum;z=1 1e+09 7\nshop.web_1.s_count;z=1 2 7\n"
        );
    }

    #[test]
    fn a_sample_with_a_timestamp_keeps_it() {
        struct Old;

        impl Gatherer for Old {
            fn gather(&self, out: &mut dyn FamilySink) {
                out.family(&FamilyMetadata::new("g", "", crate::model::MetricType::Gauge));
                let sample = Sample::new(crate::model::SampleKind::Value, &[], 1.0);
                out.sample(&sample.with_timestamp(1000.75));
            }
        }

        assert_eq!(lines(&Graphite::new("localhost").unwrap(), &Old), "g 1 1000\n");
    }

    #[test]
    fn addresses_have_a_host_and_an_optional_port() {
        let parsed = |text| Graphite::new(text).map(|graphite| (graphite.host, graphite.port));
        for (text, host, port) in [
            ("carbon", "carbon", 2003),
            ("carbon:2013", "carbon", 2013),
            ("::1", "::1", 2003),
            ("[::1]", "::1", 2003),
            ("[::1]:1", "::1", 1),
        ] {
            assert_eq!(parsed(text).unwrap(), (host.to_owned(), port), "{text}");
        }
        for bad in [
            "",
            ":2003",
            "carbon:",
            "carbon:0",
            "carbon:99999",
            "carbon:+80",
            "tcp://carbon:1",
            "a b:1",
        ] {
            assert_eq!(parsed(bad).unwrap_err().kind(), ErrorKind::Usage, "{bad}");
        }
    }
}
