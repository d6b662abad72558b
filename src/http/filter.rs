//! The query parameter `name[]`, which selects samples by name.

use crate::model::{FamilySink, Gatherer};

/// The values of the parameter `name[]`, sorted; `None` if there are none.
pub(super) fn requested_names(query: Option<&str>) -> Option<Vec<String>> {
    let mut names: Vec<String> = parameters(query, "name[]").collect();
    names.sort();
    names.dedup();
    (!names.is_empty()).then_some(names)
}

/// The value of a parameter of a query.
pub(super) fn query_parameter(query: Option<&str>, name: &str) -> Option<String> {
    parameters(query, name).next()
}

fn parameters(query: Option<&str>, name: &str) -> impl Iterator<Item = String> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(move |(other, _)| decode(other) == name).map(|(_, value)| decode(value))
}

/// Decodes a name or a value of `application/x-www-form-urlencoded`. An invalid escape is literal text.
///
/// See: <https://url.spec.whatwg.org/#application/x-www-form-urlencoded>
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let hex = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
        match (byte, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The families of a gatherer that have one of these names, and the samples.
pub(super) struct Filtered<'a> {
    pub(super) source: &'a dyn Gatherer,
    pub(super) names: &'a [String],
}

impl Gatherer for Filtered<'_> {
    fn gather(&self, out: &mut dyn FamilySink) {
        self.source.gather_names(self.names, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Exposition, Format};
    use crate::model::HistogramPoint;
    use proptest::prelude::*;

    struct Three;

    impl Gatherer for Three {
        fn gather(&self, out: &mut dyn FamilySink) {
            out.counter("a_total", "A.").sample(&[], 1.0);
            let point = HistogramPoint { count: 1.0, ..HistogramPoint::default() };
            out.histogram("a_size", "Size.").sample(&[], &point);
            out.gauge("b", "B.").sample(&[("x", "1")], 2.0).sample(&[("x", "2")], 3.0);
        }
    }

    fn filtered(query: &str) -> String {
        let names = requested_names(Some(query)).unwrap();
        let source = Filtered { source: &Three, names: &names };
        Exposition::encode(&source, Format::Text).to_string()
    }

    #[test]
    fn families_without_requested_samples_are_omitted() {
        assert_eq!(
            filtered("name[]=a_total&name%5b%5D=b&name[]=none"),
            "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n\
             # HELP b B.\n# TYPE b gauge\nb{x=\"1\"} 2\nb{x=\"2\"} 3\n"
        );
        assert_eq!(
            filtered("other=1&name[]=a_size_sum"),
            "# HELP a_size Size.\n# TYPE a_size histogram\na_size_sum 0\n"
        );
        for none in
            ["name[]=a_", "name[]=a_size_", "name[]=", "name[]=A_total", "name[]=a_total%00"]
        {
            assert_eq!(filtered(none), "", "{none}");
        }
    }

    #[test]
    fn the_name_of_a_family_selects_all_its_samples() {
        let counter = "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n";
        assert_eq!(filtered("name[]=a"), counter);
        let histogram = "# HELP a_size Size.\n# TYPE a_size histogram\n\
                         a_size_bucket{le=\"+Inf\"} 1\na_size_sum 0\na_size_count 1\n";
        assert_eq!(filtered("name[]=a_size"), histogram);
        assert_eq!(filtered("name[]=a_size_sum&name[]=a_size"), histogram);
    }

    #[test]
    fn other_queries_filter_nothing() {
        for query in ["", "name=a", "name[]", "name[0]=a", "&&=", "%"] {
            assert_eq!(requested_names(Some(query)), None, "{query}");
        }
        assert_eq!(requested_names(None), None);
    }

    #[test]
    fn escapes_are_decoded_and_invalid_ones_are_literal() {
        for (text, plain) in [
            ("a%2Eb+c", "a.b c"),
            ("%e6%97%a5", "\u{65e5}"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%2", "%zz%2"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(decode(text), plain);
        }
    }

    proptest! {
        #[test]
        fn no_query_makes_the_parser_panic(query: String) {
            requested_names(Some(&query));
        }
    }
}
