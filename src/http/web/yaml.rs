//! A strict reader of YAML: one document without aliases and tags, no repeated keys, bounded length and depth.
//!
//! It never panics. Scalars keep their text, as the type of a field decides how it is read. Every value has its line.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle};

/// The maximum length of a file in bytes. Certificates may be inline.
pub(super) const MAX_LEN: usize = 1024 * 1024;
/// The maximum depth of nested lists and maps.
const MAX_DEPTH: usize = 8;

/// A problem at a line of the file, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) line: usize,
    pub(super) text: String,
}

impl Problem {
    pub(super) fn new(line: usize, text: impl Into<String>) -> Problem {
        Problem { line, text: text.into() }
    }
}

/// A value and its line.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Scalar(String),
    List(Vec<Node>),
    /// The keys and values in the order of the file.
    Map(Vec<(String, Node)>),
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Scalar(_) => "a scalar",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// A list or a map that is not complete.
struct Open {
    node: Node,
    /// The key of a map whose value comes next.
    key: Option<String>,
}

/// The text of a file, which must be UTF-8.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, Problem> {
    str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.iter().take(error.valid_up_to());
        let line = 1 + valid.filter(|byte| **byte == b'\n').count();
        Problem::new(line, "yaml: the file is not UTF-8")
    })
}

/// Reads a file. An empty one is [`Value::Null`].
pub(super) fn read(text: &str) -> Result<Node, Problem> {
    if text.len() > MAX_LEN {
        return Err(Problem::new(1, format!("the file has more than {MAX_LEN} bytes")));
    }
    // For the parser, the end of the file is on a further line.
    let last_line = last_line(text);
    let mut parser = Parser::new_from_str(text);
    let (mut stack, mut root) = (Vec::<Open>::new(), None::<Node>);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let line = error.marker().line().clamp(1, last_line);
            Problem::new(line, format!("yaml: {}", error.info()))
        })?;
        let line = span.start.line().clamp(1, last_line);
        let refuse = |what: &str| Err(Problem::new(line, format!("yaml: {what}")));
        let value = match event {
            Event::Alias(_) => return refuse("aliases are not supported"),
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => return refuse("tags are not supported"),
            Event::DocumentStart(_) if root.is_some() => {
                return refuse("expected one document, found another one");
            }
            Event::Scalar(text, style, ..) => scalar(text, style),
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if stack.len() >= MAX_DEPTH {
                    return refuse("lists and maps are nested too deeply");
                }
                let is_list = matches!(event, Event::SequenceStart(..));
                let value = if is_list { Value::List(Vec::new()) } else { Value::Map(Vec::new()) };
                stack.push(Open { node: Node { line, value }, key: None });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                Some(open) => {
                    add(open.node, &mut stack, &mut root)?;
                    continue;
                }
                None => return refuse("unexpected end"),
            },
            _ => continue,
        };
        add(Node { line, value }, &mut stack, &mut root)?;
    }
    Ok(root.unwrap_or(Node { line: 1, value: Value::Null }))
}

/// The number of the last line. A carriage return ends one too.
fn last_line(text: &str) -> usize {
    let text = text.replace("\r\n", "\n");
    let text = text.strip_suffix(['\n', '\r']).unwrap_or(&text);
    1 + text.matches(['\n', '\r']).count()
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Value {
    let is_plain = style == ScalarStyle::Plain;
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" if is_plain => Value::Null,
        _ => Value::Scalar(text.into_owned()),
    }
}

/// Adds a complete value to the innermost open list or map.
fn add(node: Node, stack: &mut [Open], root: &mut Option<Node>) -> Result<(), Problem> {
    let Some(open) = stack.last_mut() else {
        *root = Some(node);
        return Ok(());
    };
    match (&mut open.node.value, open.key.take()) {
        (Value::Map(entries), Some(key)) => entries.push((key, node)),
        (Value::Map(entries), None) => match node.value {
            Value::Scalar(key) if entries.iter().any(|(known, _)| *known == key) => {
                return Err(Problem::new(node.line, format!("yaml: key `{key}` occurs twice")));
            }
            Value::Scalar(key) => open.key = Some(key),
            other => {
                let text = format!("yaml: expected a key, found {}", other.kind());
                return Err(Problem::new(node.line, text));
            }
        },
        (Value::List(nodes), _) => nodes.push(node),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_have_their_lines() {
        let node = read("# comment\na:\n  b: [x, 'y']\n  c:\nd: |\n  one\n  two\n").unwrap();
        let Value::Map(entries) = node.value else { panic!("a map") };
        let Value::Map(inner) = &entries[0].1.value else { panic!("a map") };
        let Value::List(list) = &inner[0].1.value else { panic!("a list") };
        assert_eq!((list.len(), list[1].line), (2, 3));
        assert!(matches!(inner[1].1.value, Value::Null));
        assert_eq!(entries[1].1.line, 6, "the first line of the text");
        assert!(matches!(&entries[1].1.value, Value::Scalar(text) if text == "one\ntwo\n"));
    }

    #[test]
    fn what_a_strict_reader_refuses_is_an_error_with_its_line() {
        for (text, line, part) in [
            ("a: 1\na: 2\n", 2, "key `a` occurs twice"),
            ("a: &x 1\nb: *x\n", 2, "aliases"),
            ("a: !!str 1\n", 1, "tags"),
            ("a: 1\n---\nb: 1\n", 2, "another"),
            ("a: [[[[[[[[[[1]]]]]]]]]]\n", 1, "nested too deeply"),
            ("? [a]\n: 1\n", 1, "expected a key"),
            ("a: 'x\n", 1, "yaml: "),
            ("a:\r\nb: [", 2, "yaml: "),
            ("a:\nb: [\n", 2, "yaml: "),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.text.contains(part), "{text}: {problem:?}");
            assert_eq!(problem.line, line, "{text}: {problem:?}");
        }
        assert!(matches!(read("").unwrap().value, Value::Null));
        assert!(read(&"#".repeat(MAX_LEN + 1)).is_err());
    }

    #[test]
    fn a_file_that_is_not_utf_8_is_an_error_with_its_line() {
        let problem = decode(b"a: 1\nb: \xff\n").unwrap_err();
        assert_eq!(problem, Problem::new(2, "yaml: the file is not UTF-8"));
        assert_eq!(decode("a: \u{e9}".as_bytes()), Ok("a: \u{e9}"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-c:\\-?*&!|>'\"\\[\\]{}, \n#~]{0,60}") {
            let _ = read(&text);
        }
    }
}
