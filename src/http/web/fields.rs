//! Typed access to the fields of a map. Fields that are not taken are unknown.

use super::yaml::{Node, Problem, Value};

/// The fields of a map, which are taken by name.
pub(super) struct Fields {
    /// The name of the map in messages, with a dot at its end if it is not the root.
    prefix: String,
    entries: Vec<(String, Node)>,
}

impl Fields {
    /// The fields of a map, or no fields of a null value.
    pub(super) fn new(name: &str, node: Node) -> Result<Fields, Problem> {
        let prefix = if name.is_empty() { String::new() } else { format!("{name}.") };
        match node.value {
            Value::Null => Ok(Fields { prefix, entries: Vec::new() }),
            Value::Map(entries) => Ok(Fields { prefix, entries }),
            value => {
                let what = if name.is_empty() { "the file" } else { name };
                let text = format!("`{what}`: expected a map, found {}", value.kind());
                Err(Problem::new(node.line, text))
            }
        }
    }

    /// Takes a field.
    pub(super) fn take(&mut self, name: &str) -> Option<Node> {
        let at = self.entries.iter().position(|(known, _)| known == name)?;
        Some(self.entries.remove(at).1)
    }

    /// Takes the text of a field, and its line; `None` if it is missing, null or empty.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<(String, usize)>, Problem> {
        let Some(node) = self.take(name) else {
            return Ok(None);
        };
        let text = self.scalar(name, &node)?;
        Ok(text.filter(|text| !text.is_empty()).map(|text| (text, node.line)))
    }

    /// Takes a field that is true or false.
    pub(super) fn bool(&mut self, name: &str, default: bool) -> Result<bool, Problem> {
        let Some(node) = self.take(name) else {
            return Ok(default);
        };
        let Some(text) = self.scalar(name, &node)? else {
            return Ok(false);
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Ok(true),
            "false" | "no" | "off" | "n" => Ok(false),
            _ => Err(self.problem(name, node.line, "true or false", &text)),
        }
    }

    /// Takes a list of texts, each with its line.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<(String, usize)>, Problem> {
        let Some(node) = self.take(name) else {
            return Ok(Vec::new());
        };
        match node.value {
            Value::Null => Ok(Vec::new()),
            Value::List(nodes) => nodes
                .into_iter()
                .map(|node| Ok((self.scalar(name, &node)?.unwrap_or_default(), node.line)))
                .collect(),
            value => Err(self.problem(name, node.line, "a list", value.kind())),
        }
    }

    /// A message about the value of a field.
    pub(super) fn problem(&self, name: &str, line: usize, expected: &str, got: &str) -> Problem {
        let text = format!("`{}{name}`: expected {expected}, got `{got}`", self.prefix);
        Problem::new(line, text)
    }

    /// Fails if a field is left.
    pub(super) fn finish(self, known: &[&str]) -> Result<(), Problem> {
        let Fields { prefix, entries } = self;
        entries.into_iter().next().map_or(Ok(()), |(name, node)| {
            let expected = known.join(", ");
            let text = format!("yaml: unknown field `{prefix}{name}`: expected {expected}");
            Err(Problem::new(node.line, text))
        })
    }

    fn scalar(&self, name: &str, node: &Node) -> Result<Option<String>, Problem> {
        match &node.value {
            Value::Null => Ok(None),
            Value::Scalar(text) => Ok(Some(text.clone())),
            value => Err(self.problem(name, node.line, "text", value.kind())),
        }
    }
}
