//! Limits of the parsers.

/// Limits of a [`Parser`](super::Parser), which bound its memory. Unless stated otherwise, exceeding one is an error of kind
/// [`ParseErrorKind::Limit`](super::ParseErrorKind::Limit).
///
/// ```
/// use multiprom::parse::{Limits, Parser};
///
/// let mut limits = Limits::default();
/// limits.labels = 2;
/// let page = &b"a{b=\"1\",c=\"2\",d=\"3\"} 1\n"[..];
/// assert!(Parser::text(page).with_limits(limits).next().unwrap().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The maximum length of a line or of a protobuf message, in bytes.
    pub line_len: usize,
    /// The maximum number of labels of a sample, and of an exemplar.
    pub labels: usize,
    /// The maximum length of a family, in bytes: the lines or messages that the iterator collects into one
    /// [`OwnedFamily`](super::OwnedFamily), and in OpenMetrics the lines whose label sets are checked for duplicates.
    pub family_len: usize,
    /// The maximum number of families. An OpenMetrics exposition with more is refused. The text parser
    /// remembers the types of this many families, so that it recognizes their samples after other families.
    pub families: usize,
}

impl Default for Limits {
    /// 16 MiB, 256 labels, 256 MiB, one million families.
    fn default() -> Limits {
        Limits { line_len: 1 << 24, labels: 256, family_len: 1 << 28, families: 1_000_000 }
    }
}
