//! The exposition formats and their content types.

use super::escape::Escaping;

/// An exposition format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// The Prometheus text format, version 0.0.4.
    #[default]
    Text,
    /// The Prometheus text format, version 1.0.0, which allows any UTF-8 name in quotes.
    TextUtf8,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
    /// The same text, labelled as version 0.0.1 for Prometheus before 2.34.
    OpenMetrics001,
    /// OpenMetrics text, version 2.0.0, as of its first release candidate. Negotiated only if `Accept` names the
    /// version.
    OpenMetrics2,
    /// Length-delimited protobuf messages `io.prometheus.client.MetricFamily`.
    #[cfg(feature = "protobuf")]
    Protobuf,
    /// The same messages in the protobuf text format, for humans.
    #[cfg(feature = "protobuf")]
    ProtobufText,
    /// JSON, for programs other than scrapers; never negotiated.
    Json,
}

impl Format {
    /// The value of the HTTP header `Content-Type` with the default escaping of the format.
    pub const fn content_type(self) -> &'static str {
        Negotiated::from_format(self).content_type()
    }

    /// The escaping if none is requested: underscores in the formats of older scrapers, none in the formats that
    /// allow any name.
    const fn default_escaping(self) -> Escaping {
        match self {
            Format::Text | Format::OpenMetrics | Format::OpenMetrics001 => Escaping::Underscores,
            _ => Escaping::AllowUtf8,
        }
    }
}

/// The result of content negotiation: a format, and the escaping of names in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Negotiated {
    format: Format,
    escaping: Escaping,
    /// Whether the content type has the parameter `escaping`.
    has_escaping_parameter: bool,
    shows_created: bool,
}

impl Negotiated {
    /// A format and an escaping, which the content type names.
    ///
    /// [`Format::Json`] ignores the escaping and never changes names.
    pub const fn new(format: Format, escaping: Escaping) -> Negotiated {
        Negotiated { format, escaping, has_escaping_parameter: true, shows_created: false }
    }

    /// The format of a response to a scraper that requested no escaping.
    pub(super) const fn without_escaping(format: Format) -> Negotiated {
        // Readers of these versions support the parameter, which is older than the versions.
        let has_escaping_parameter = matches!(format, Format::TextUtf8 | Format::OpenMetrics2);
        let escaping = Escaping::Underscores;
        Negotiated { format, escaping, has_escaping_parameter, shows_created: false }
    }

    const fn from_format(format: Format) -> Negotiated {
        let escaping = format.default_escaping();
        let has_escaping_parameter = matches!(escaping, Escaping::AllowUtf8);
        Negotiated { format, escaping, has_escaping_parameter, shows_created: false }
    }

    /// The format.
    pub const fn format(self) -> Format {
        self.format
    }

    /// Adds the start timestamps of counters, histograms and summaries to the text formats and OpenMetrics 1.0,
    /// as samples `_created`, which these formats omit by default. The other formats always have start
    /// timestamps.
    pub const fn created(self) -> Negotiated {
        Negotiated { shows_created: true, ..self }
    }

    pub(super) const fn shows_created(self) -> bool {
        self.shows_created
    }

    /// The escaping of names.
    pub const fn escaping(self) -> Escaping {
        self.escaping
    }

    /// The value of the HTTP header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        macro_rules! with_escaping {
            ($type:literal) => {
                match (self.has_escaping_parameter, self.escaping) {
                    (false, _) => $type,
                    (true, Escaping::Underscores) => concat!($type, "; escaping=underscores"),
                    (true, Escaping::Dots) => concat!($type, "; escaping=dots"),
                    (true, Escaping::Values) => concat!($type, "; escaping=values"),
                    (true, Escaping::AllowUtf8) => concat!($type, "; escaping=allow-utf-8"),
                }
            };
        }
        match self.format {
            Format::Text => with_escaping!("text/plain; version=0.0.4; charset=utf-8"),
            Format::TextUtf8 => with_escaping!("text/plain; version=1.0.0; charset=utf-8"),
            Format::OpenMetrics => {
                with_escaping!("application/openmetrics-text; version=1.0.0; charset=utf-8")
            }
            Format::OpenMetrics001 => {
                with_escaping!("application/openmetrics-text; version=0.0.1; charset=utf-8")
            }
            Format::OpenMetrics2 => {
                with_escaping!("application/openmetrics-text; version=2.0.0; charset=utf-8")
            }
            #[cfg(feature = "protobuf")]
            Format::Protobuf => with_escaping!(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            ),
            #[cfg(feature = "protobuf")]
            Format::ProtobufText => with_escaping!(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text"
            ),
            Format::Json => "application/json",
        }
    }
}

impl From<Format> for Negotiated {
    fn from(format: Format) -> Negotiated {
        Negotiated::from_format(format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_those_that_scrapers_expect() {
        for (format, shown) in [
            (Format::Text, "text/plain; version=0.0.4; charset=utf-8"),
            (Format::TextUtf8, "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
            (Format::OpenMetrics, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
            (Format::OpenMetrics001, "application/openmetrics-text; version=0.0.1; charset=utf-8"),
            (
                Format::OpenMetrics2,
                "application/openmetrics-text; version=2.0.0; charset=utf-8; escaping=allow-utf-8",
            ),
            (Format::Json, "application/json"),
        ] {
            assert_eq!(format.content_type(), shown);
        }
        let dots = Negotiated::new(Format::Text, Escaping::Dots);
        assert_eq!(dots.content_type(), "text/plain; version=0.0.4; charset=utf-8; escaping=dots");
    }
}
