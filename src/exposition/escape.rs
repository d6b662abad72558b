//! Escaping schemes: map names to those that a scraper accepts.
//!
//! See: "UTF-8 in Prometheus"; `EscapeName` of prometheus/common, which this module follows where the two differ.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use crate::error::{Error, ErrorKind};
use crate::model::name;

/// How names that do not match `[a-zA-Z_:][a-zA-Z0-9_:]*` (label names: the same without the colon) are written.
/// Names that match are never changed.
///
/// | scheme | `a.b_c` | `1abc` |
/// |---|---|---|
/// | underscores | `a_b_c` | `_abc` |
/// | dots | `a_dot_b__c` | `__abc` |
/// | values | `U__a_2e_b__c` | `U___31_abc` |
/// | allow-utf-8 | `"a.b_c"` | `"1abc"` |
///
/// Only `allow-utf-8` maps all different names to different ones. `values` does so for names that do not begin with
/// `U__`, `dots` for names that consist of letters, digits, underscores, colons and at least one dot. If escaped
/// names collide, encoders write the first family, or the first label name of a family, and omit families or
/// samples with the others.
///
/// See: <https://prometheus.io/docs/instrumenting/escaping_schemes/>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Escaping {
    /// Replaces each invalid character by an underscore.
    #[default]
    Underscores,
    /// Replaces a dot by `_dot_`, an underscore and any other invalid character by two underscores.
    Dots,
    /// Prepends `U__`, replaces each invalid character by its code point, in hexadecimal between underscores, and an
    /// underscore by two.
    Values,
    /// Does not change names; the text formats quote them.
    AllowUtf8,
}

/// The kind of a name: colons are valid only in metric names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Metric,
    Label,
}

impl Escaping {
    /// All schemes.
    pub const ALL: &'static [Escaping] =
        &[Escaping::Underscores, Escaping::Dots, Escaping::Values, Escaping::AllowUtf8];

    /// The value of the parameter `escaping` in `Accept` and `Content-Type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
            Escaping::AllowUtf8 => "allow-utf-8",
        }
    }

    /// The escaped form of a metric name, without quotes.
    ///
    /// ```
    /// use multiprom::exposition::Escaping;
    ///
    /// assert_eq!(Escaping::Underscores.metric_name("http.hits"), "http_hits");
    /// assert_eq!(Escaping::Values.metric_name("http.hits"), "U__http_2e_hits");
    /// assert_eq!(Escaping::Dots.metric_name("my_name"), "my_name");
    /// ```
    pub fn metric_name(self, name: &str) -> Cow<'_, str> {
        self.escape(name, Owner::Metric)
    }

    /// The escaped form of a label name, without quotes.
    pub fn label_name(self, name: &str) -> Cow<'_, str> {
        self.escape(name, Owner::Label)
    }

    fn escape(self, name: &str, owner: Owner) -> Cow<'_, str> {
        let is_plain = match owner {
            Owner::Metric => name::is_metric_name(name),
            Owner::Label => name::is_label_name(name),
        };
        if is_plain || (self == Escaping::AllowUtf8 && !name.is_empty()) {
            return Cow::Borrowed(name);
        }
        if name.is_empty() {
            return Cow::Borrowed("_");
        }
        let mut escaped = String::with_capacity(name.len() + 8);
        if self == Escaping::Values {
            escaped.push_str("U__");
        }
        for (at, char) in name.char_indices() {
            let is_allowed = char.is_ascii_alphabetic()
                || char == '_'
                || (char == ':' && owner == Owner::Metric)
                || (at > 0 && char.is_ascii_digit());
            match self {
                Escaping::Dots | Escaping::Values if char == '_' => escaped.push_str("__"),
                _ if is_allowed => escaped.push(char),
                Escaping::Dots if char == '.' => escaped.push_str("_dot_"),
                Escaping::Dots => escaped.push_str("__"),
                Escaping::Values => {
                    // OK because writing to a string cannot fail.
                    let _ = write!(escaped, "_{:x}_", u32::from(char));
                }
                Escaping::Underscores | Escaping::AllowUtf8 => escaped.push('_'),
            }
        }
        Cow::Owned(escaped)
    }
}

impl fmt::Display for Escaping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a string that is not the name of an [`Escaping`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEscaping(String);

impl fmt::Display for UnknownEscaping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an escaping scheme", self.0)
    }
}

impl std::error::Error for UnknownEscaping {}

impl From<UnknownEscaping> for Error {
    /// An error of kind [`Usage`](ErrorKind::Usage).
    fn from(error: UnknownEscaping) -> Error {
        Error::new(ErrorKind::Usage, error)
    }
}

impl FromStr for Escaping {
    type Err = UnknownEscaping;

    fn from_str(text: &str) -> Result<Escaping, UnknownEscaping> {
        let found = Escaping::ALL.iter().copied().find(|scheme| scheme.as_str() == text);
        found.ok_or_else(|| UnknownEscaping(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_escaped_as_the_go_library_escapes_them() {
        for (name, underscores, dots, values) in [
            ("my_name", "my_name", "my_name", "my_name"),
            ("a:b", "a:b", "a:b", "a:b"),
            ("a.b_c", "a_b_c", "a_dot_b__c", "U__a_2e_b__c"),
            ("a.b:c", "a_b:c", "a_dot_b:c", "U__a_2e_b:c"),
            ("\u{65e5}\u{672c}", "__", "____", "U___65e5__672c_"),
            ("1abc", "_abc", "__abc", "U___31_abc"),
            ("a-b 9", "a_b_9", "a__b__9", "U__a_2d_b_20_9"),
            ("\u{1f600}", "_", "__", "U___1f600_"),
        ] {
            assert_eq!(Escaping::Underscores.metric_name(name), underscores);
            assert_eq!(Escaping::Dots.metric_name(name), dots);
            assert_eq!(Escaping::Values.metric_name(name), values);
            assert_eq!(Escaping::AllowUtf8.metric_name(name), name);
        }
    }

    #[test]
    fn colons_are_escaped_in_label_names() {
        assert_eq!(Escaping::Underscores.label_name("a:b"), "a_b");
        assert_eq!(Escaping::Dots.label_name("a:b"), "a__b");
        assert_eq!(Escaping::Values.label_name("a:b"), "U__a_3a_b");
        assert_eq!(Escaping::AllowUtf8.label_name("a:b"), "a:b");
    }

    #[test]
    fn every_scheme_is_parsed_from_its_name() {
        for scheme in Escaping::ALL.iter().copied() {
            assert_eq!(scheme.to_string().parse(), Ok(scheme));
        }
        let error = "Values".parse::<Escaping>().unwrap_err();
        assert_eq!(error.to_string(), "`Values` is not an escaping scheme");
    }

    /// Similar names, of few characters.
    fn close_names() -> impl Strategy<Value = String> {
        "[_.a1:U \u{e9}]{1,6}"
    }

    /// Names of letters, digits, underscores, colons and at least one dot.
    fn dotted_names() -> impl Strategy<Value = String> {
        ("[_.a:dot]{0,4}", "[_.a1:dot]{0,4}")
            .prop_map(|(before, after)| format!("{before}.{after}"))
    }

    proptest! {
        #[test]
        fn escaped_names_are_valid(name: String) {
            for scheme in [Escaping::Underscores, Escaping::Dots, Escaping::Values] {
                prop_assert!(name::is_metric_name(&scheme.metric_name(&name)));
                prop_assert!(name::is_label_name(&scheme.label_name(&name)));
            }
        }

        #[test]
        fn the_scheme_values_is_injective(a in close_names(), b in close_names()) {
            prop_assume!(a != b && !a.starts_with("U__") && !b.starts_with("U__"));
            prop_assert_ne!(Escaping::Values.metric_name(&a), Escaping::Values.metric_name(&b));
            prop_assert_ne!(Escaping::Values.label_name(&a), Escaping::Values.label_name(&b));
        }

        #[test]
        fn the_scheme_dots_is_injective_on_dotted_names(a in dotted_names(), b in dotted_names()) {
            prop_assume!(a != b);
            prop_assert_ne!(Escaping::Dots.metric_name(&a), Escaping::Dots.metric_name(&b));
        }
    }
}
