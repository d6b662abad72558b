//! The formats, and what a scraper is told of them.

use super::escape::Escaping;

/// An exposition format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// The Prometheus text format, version 0.0.4.
    #[default]
    Text,
    /// The Prometheus text format, version 1.0.0, which can quote names.
    TextUtf8,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
    /// The same text under the version 0.0.1, for Prometheus before 2.34.
    OpenMetrics001,
    /// OpenMetrics text, version 2.0.0, as of its first release candidate; given to nobody who does not
    /// ask for it by version.
    OpenMetrics2,
    /// Messages `io.prometheus.client.MetricFamily`, each behind its length.
    #[cfg(feature = "protobuf")]
    Protobuf,
    /// The same messages in the text form of Protocol Buffers, for people.
    #[cfg(feature = "protobuf")]
    ProtobufText,
    /// JSON, for programs that are no scrapers; never negotiated.
    Json,
}

impl Format {
    /// The value of the HTTP header `Content-Type`, with the default escaping.
    pub const fn content_type(self) -> &'static str {
        Negotiated::from_format(self).content_type()
    }

    /// How names are escaped where nobody says: by underscores in the formats that old scrapers read, not
    /// at all in those that can hold any name.
    const fn default_escaping(self) -> Escaping {
        match self {
            Format::Text | Format::OpenMetrics | Format::OpenMetrics001 => Escaping::Underscores,
            _ => Escaping::AllowUtf8,
        }
    }
}

/// What a scraper is answered with: a format, and how names are escaped in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Negotiated {
    format: Format,
    escaping: Escaping,
    /// Whether the content type tells the escaping.
    tells_escaping: bool,
    shows_created: bool,
}

impl Negotiated {
    /// A format and an escaping, which the content type tells.
    ///
    /// [`Format::Json`] shows names as they are, whatever the escaping.
    pub const fn new(format: Format, escaping: Escaping) -> Negotiated {
        Negotiated { format, escaping, tells_escaping: true, shows_created: false }
    }

    /// A format for a scraper that named no escaping.
    pub(super) const fn without_escaping(format: Format) -> Negotiated {
        // These versions are newer than the parameter, so their readers expect it.
        let tells_escaping = matches!(format, Format::TextUtf8 | Format::OpenMetrics2);
        let escaping = Escaping::Underscores;
        Negotiated { format, escaping, tells_escaping, shows_created: false }
    }

    const fn from_format(format: Format) -> Negotiated {
        let escaping = format.default_escaping();
        let tells_escaping = matches!(escaping, Escaping::AllowUtf8);
        Negotiated { format, escaping, tells_escaping, shows_created: false }
    }

    /// The format.
    pub const fn format(self) -> Format {
        self.format
    }

    /// Shows when counters, histograms and summaries began, also in the text formats and OpenMetrics 1.0,
    /// which need a sample `_created` for each of them and leave it out else.
    pub const fn created(self) -> Negotiated {
        Negotiated { shows_created: true, ..self }
    }

    pub(super) const fn shows_created(self) -> bool {
        self.shows_created
    }

    /// How names are escaped.
    pub const fn escaping(self) -> Escaping {
        self.escaping
    }

    /// The value of the HTTP header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        macro_rules! with_escaping {
            ($type:literal) => {
                match (self.tells_escaping, self.escaping) {
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
    fn content_types_are_what_scrapers_compare() {
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
