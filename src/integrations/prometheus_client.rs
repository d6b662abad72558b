//! Registries of the crate `prometheus-client`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;

use super::page::FamilyReader;
use crate::model::{Collector, FamilySink};
use crate::parse::Syntax;

/// Shows a registry of the crate [`prometheus-client`](https://docs.rs/prometheus-client/0.25) (version 0.25).
///
/// ```
/// use multiprom::integrations::PrometheusClientCollector;
/// use multiprom::{Backend, Registry};
/// use prometheus_client::metrics::counter::Counter;
///
/// let mut theirs = prometheus_client::registry::Registry::default();
/// let sent = Counter::<u64>::default();
/// theirs.register("mails_sent", "Mails sent", sent.clone());
/// sent.inc_by(3);
///
/// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
/// registry.register(PrometheusClientCollector::new(theirs))?;
/// assert_eq!(
///     registry.render(None).to_string(),
///     "# HELP mails_sent_total Mails sent.\n\
///      ## TYPE mails_sent_total counter\n\
///      mails_sent_total 3\n"
/// );
/// # Ok::<(), multiprom::Error>(())
/// ```
///
/// All types arrive, with units and exemplars. A family that several sub-registries have, with different labels, becomes one.
#[derive(Clone)]
pub struct PrometheusClientCollector(Arc<Source>);

struct Source {
    encode: Box<Encode>,
    reader: FamilyReader,
}

type Encode = dyn Fn(&mut String) -> fmt::Result + Send + Sync;

impl PrometheusClientCollector {
    /// A collector of the metrics in a registry, to which nothing is registered any more.
    pub fn new(registry: impl Into<Arc<Registry>>) -> PrometheusClientCollector {
        let registry = registry.into();
        PrometheusClientCollector::encoded_by(move |text| encode_registry(text, &registry))
    }

    /// A collector of what a function encodes, for a registry behind a lock:
    ///
    /// ```
    /// # use std::sync::{Arc, Mutex};
    /// # use multiprom::integrations::PrometheusClientCollector;
    /// # use prometheus_client::{encoding::text::encode_registry, registry::Registry};
    /// let registry = Arc::new(Mutex::new(Registry::default()));
    /// PrometheusClientCollector::encoded_by(move |text| {
    ///     encode_registry(text, &registry.lock().expect("the lock is not poisoned"))
    /// });
    /// ```
    ///
    /// The function is called at each scrape. It writes OpenMetrics text without the line `# EOF`.
    pub fn encoded_by(
        encode: impl Fn(&mut String) -> fmt::Result + Send + Sync + 'static,
    ) -> PrometheusClientCollector {
        let reader = FamilyReader::new("prometheus-client", Syntax::OpenMetrics);
        PrometheusClientCollector(Arc::new(Source { encode: Box::new(encode), reader }))
    }
}

impl Collector for PrometheusClientCollector {
    fn collect(&self, out: &mut dyn FamilySink) {
        let Source { encode, reader } = &*self.0;
        let mut text = String::new();
        if let Err(error) = encode(&mut text) {
            reader.report(&error);
            // The last family may be incomplete.
            text.truncate(families(&text).last().map_or(0, |last| text.len() - last.len()));
        }
        let texts: Vec<String> =
            families(&text).map(|family| format!("{}# EOF\n", escaped(family))).collect();
        reader.write(texts.iter().map(String::as_str), out);
    }
}

impl fmt::Debug for PrometheusClientCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusClientCollector").finish_non_exhaustive()
    }
}

/// How the text of a family begins.
const BEGIN: &str = "# HELP ";

/// The texts of the families in a text.
fn families(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.get(1..).filter(|rest| !rest.is_empty())?;
        let next = first.find("\n# HELP ").map_or(rest.len(), |at| at + 2);
        let (family, others) = rest.split_at(next);
        rest = others;
        Some(family)
    })
}

/// The text of a family with its help text escaped, which `prometheus-client` 0.25 does not do. What is escaped already stays.
fn escaped(family: &str) -> Cow<'_, str> {
    let help = family.strip_prefix(BEGIN).and_then(|rest| {
        let (name, rest) = rest.split_once(' ')?;
        let help_end = rest.find(&format!("\n# TYPE {name} "))?;
        Some((BEGIN.len() + name.len() + 1, &rest[..help_end]))
    });
    let Some((begin, help)) = help.filter(|(_, help)| help.contains(['\n', '\\'])) else {
        return Cow::Borrowed(family);
    };
    let mut escaped = family[..begin].to_owned();
    let mut chars = help.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, chars.peek()) {
            ('\n', _) => escaped.push_str("\\n"),
            ('\\', Some(next @ ('n' | '\\' | '"'))) => {
                escaped.extend(['\\', *next]);
                chars.next();
            }
            ('\\', _) => escaped.push_str("\\\\"),
            _ => escaped.push(char),
        }
    }
    escaped.push_str(&family[begin + help.len()..]);
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_at_its_families() {
        let split = |text| families(text).collect::<Vec<_>>();
        assert_eq!(split(""), [""; 0]);
        let (one, two) = ("# HELP a A.\n# TYPE a gauge\na 1\n", "# HELP b B.\n# TYPE b gauge\n");
        assert_eq!(split(one), [one]);
        assert_eq!(split(&[one, two, one].concat()), [one, two, one]);
    }

    #[test]
    fn help_texts_are_escaped_once() {
        let family =
            |help: &str| format!("# HELP a {help}.\n# TYPE a gauge\na{{b=\"\\\\c\\n\"}} 1\n");
        for (raw, expected) in [
            ("plain", "plain"),
            ("two\nlines", "two\\nlines"),
            ("two\\nlines", "two\\nlines"),
            ("C:\\temp", "C:\\\\temp"),
            ("C:\\\\temp", "C:\\\\temp"),
            ("end\\", "end\\\\"),
        ] {
            assert_eq!(escaped(&family(raw)), family(expected));
        }
    }
}
