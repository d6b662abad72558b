//! Bytes, lines, numbers, names and labels.

use multiprom::parse::{ParseErrorKind, Parser};

use super::{accepted, exposition_refused, refused};
use crate::parse::openmetrics;

#[test]
fn an_exposition_ends_with_one_eof() {
    assert_eq!(accepted(""), []);
    assert!(openmetrics("a 1\n# EOF").is_ok());
    exposition_refused("", "line 1, column 1: the exposition ends without `# EOF`");
    exposition_refused("a 1\n", "line 2, column 1: the exposition ends without `# EOF`");
    exposition_refused("a 1", "line 1, column 4: expected a line feed, and `# EOF`");
    exposition_refused("# EOF\n\n", "line 2, column 1: unexpected content after `# EOF`");
    exposition_refused("# EOF\n# EOF\n", "line 2, column 1: unexpected content after `# EOF`");
    exposition_refused("# EOF \n", "line 1, column 3: expected HELP, TYPE, UNIT or EOF after `#`");
    exposition_refused("a 1# EOF\n", "line 1, column 3: expected a number, got `1#`");
}

#[test]
fn lines_end_with_a_line_feed_and_are_neither_empty_nor_comments() {
    refused("a 1\r\n", 1, "column 4: the line ends with a carriage return");
    assert_eq!(accepted("# HELP a b\r\na 1\n")[0].help, "b\r");
    exposition_refused(
        "# HELP a b\r\n# TYPE a gauge\r\n# EOF\r\n",
        "line 2, column 15: the line ends with a carriage return",
    );
    exposition_refused(
        "# HELP a b\r\n# EOF\r\n",
        "line 2, column 6: the line ends with a carriage return",
    );
    refused("\n", 1, "column 1: the line is empty");
    refused(" a 1\n", 1, "column 1: expected a metric name");
    refused("# a comment\n", 1, "column 3: expected HELP, TYPE, UNIT or EOF after `#`");
    refused("#a\n", 1, "column 2: expected a space after `#`");
    accepted("a{b=\"\r\"} 1\n");
}

#[test]
fn bytes_are_utf8_without_byte_order_mark() {
    let families = accepted("a{b=\"\0\u{1f600}\"} 1\n");
    assert_eq!(families[0].samples[0].labels[0].1, "\0\u{1f600}");
    refused("\u{feff}a 1\n", 1, "column 1: the exposition begins with a byte order mark");
    let error = Parser::openmetrics(&b"a{b=\"\xff\"} 1\n# EOF\n"[..]).last().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "line 1, column 6: the bytes are not UTF-8");
}

#[test]
fn numbers_follow_the_grammar() {
    for number in ["0042", "1.", ".5", "+1e3", "1E-3", "nan", "NaN", "inf", "-INF", "Infinity"] {
        accepted(&format!("a {number}\n"));
    }
    for number in ["0x1", "1_0", "1e999", "+nan", "e5", ".", "a", "1d"] {
        refused(&format!("a {number}\n"), 1, &format!("expected a number, got `{number}`"));
    }
}

#[test]
fn timestamps_are_finite_numbers_of_seconds() {
    let families = accepted("a{b=\"1\"} 1 -1.5\na{b=\"2\"} 1 1.5e3\na{b=\"3\"} 1 000\n");
    let times: Vec<_> = families[0].samples.iter().map(|sample| sample.timestamp).collect();
    assert_eq!(times, [Some(-1.5), Some(1500.0), Some(0.0)]);
    for time in ["NaN", "+Inf", "1z", "1.1.1", ""] {
        refused(&format!("a 1 {time}\n"), 1, &format!("timestamp in seconds, got `{time}`"));
    }
}

#[test]
fn only_the_spaces_of_the_grammar_are_accepted() {
    accepted("# HELP a \n# UNIT a \na{} 1\n");
    for (line, column) in [
        ("a  1", 3),
        ("a 1 ", 5),
        ("a 1 2 ", 7),
        ("a\t1", 2),
        ("a {b=\"1\"} 1", 3),
        ("a{b=\"1\"}1", 9),
        ("a{ b=\"1\"} 1", 3),
        ("a{b =\"1\"} 1", 4),
        ("a{b=\"1\" } 1", 8),
        ("a{b=\"1\",} 1", 9),
        ("a{,} 1", 3),
        ("a{b=\"1\",,c=\"2\"} 1", 9),
        ("a{b=\"1\"c=\"2\"} 1", 8),
        ("a{b='1'} 1", 5),
        ("a{b=\"1} 1", 5),
        ("#  TYPE a gauge", 3),
        ("# TYPE  a gauge", 8),
        ("# TYPE a  gauge", 10),
        ("# TYPE a gauge ", 10),
        ("# TYPE a", 9),
        ("# HELP a", 9),
        ("# HELP", 7),
        ("# UNIT a\t", 9),
        ("# UNIT a_s s ", 13),
    ] {
        let error = openmetrics(&format!("{line}\n# EOF\n")).expect_err(line);
        assert_eq!((error.line(), error.column()), (1, column), "{line}: {error}");
        assert_eq!(error.kind(), ParseErrorKind::Syntax);
    }
}

#[test]
fn known_escapes_are_resolved_and_other_backslashes_are_literal() {
    let families = accepted("# HELP a \\\\ \\n \\\" \" \\x\na{b=\"\\\\\\n\\\"\\x{,}#\"} 1\n");
    assert_eq!(families[0].help, "\\ \n \" \" \\x");
    assert_eq!(families[0].samples[0].labels[0].1, "\\\n\"\\x{,}#");
}

#[test]
fn unquoted_names_follow_the_grammar() {
    accepted("a:b_9 1\n");
    for line in ["9a 1", "a-b 1", "a.b 1", "a{9=\"1\"} 1", "a{b:c=\"1\"} 1", "# TYPE 9 gauge"] {
        assert!(openmetrics(&format!("{line}\n# EOF\n")).is_err(), "{line}");
    }
    let families = accepted("# TYPE \"a.b\" counter\n{\"a.b_total\",\"c d\"=\"e\"} 1\n");
    assert_eq!((families[0].name.as_str(), families[0].samples.len()), ("a.b", 1));
    for line in ["{} 1", "{\"\"} 1", "{a} 1", "{b=\"1\",\"a\"} 1", "a{\"b\"} 1"] {
        assert!(openmetrics(&format!("{line}\n# EOF\n")).is_err(), "{line}");
    }
}

#[test]
fn names_that_begin_with_an_underscore_are_reserved() {
    refused("_a 1\n", 1, "names that begin with an underscore are reserved");
    refused("# TYPE _a gauge\n", 1, "names that begin with an underscore are reserved");
    for line in ["a{_b=\"1\"} 1\n", "a{__name__=\"b\"} 1\n", "a{\"_b\"=\"1\"} 1\n"] {
        refused(line, 1, "names that begin with an underscore are reserved");
    }
    let total = "# TYPE a counter\na_total 1 # {_b=\"c\"} 1\n";
    refused(total, 2, "an exemplar's label name begins with an underscore");
}

#[test]
fn label_names_are_unique_within_a_sample() {
    refused("a{b=\"1\",b=\"2\"} 1\n", 1, "label name `b` is given twice");
    let total = "# TYPE a counter\na_total 1 # {b=\"1\",b=\"2\"} 1\n";
    refused(total, 2, "label name `b` is given twice");
}
