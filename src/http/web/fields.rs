//! Typed access to the fields of a map. Fields that are not taken are unknown.

use super::yaml::{Node, Problem, Value};

/// The fields of a map, which are taken by name.
pub(super) struct Fields {
    /// The name of the map in messages, with a dot at its end if it is not the root.
    prefix: String,
    line: usize,
    entries: Vec<(String, Node)>,
    /// The names that were taken, which are the known ones.
    taken: Vec<&'static str>,
}

impl Fields {
    /// The fields of a map, or no fields of a null value.
    pub(super) fn new(name: &str, node: Node) -> Result<Fields, Problem> {
        let prefix = if name.is_empty() { String::new() } else { format!("{name}.") };
        let line = node.line;
        let with = |entries| Ok(Fields { prefix, line, entries, taken: Vec::new() });
        match node.value {
            Value::Null => with(Vec::new()),
            Value::Map(entries) => with(entries),
            value => {
                let what = if name.is_empty() { "the file" } else { name };
                let text = format!("`{what}`: expected a map, found {}", value.kind());
                Err(Problem::new(line, text))
            }
        }
    }

    /// The line of the map; 1 if it is missing.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// Takes a field.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Node> {
        self.taken.push(name);
        let at = self.entries.iter().position(|(known, _)| known == name)?;
        Some(self.entries.remove(at).1)
    }

    /// Takes the fields of a map; there are none if it is missing.
    pub(super) fn section(&mut self, name: &'static str) -> Result<Fields, Problem> {
        let node = self.take(name).unwrap_or(Node { line: 1, value: Value::Null });
        Fields::new(&format!("{}{name}", self.prefix), node)
    }

    /// Takes the text of a field, and its line; `None` if it is missing, null or empty.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<(String, usize)>, Problem> {
        let Some(node) = self.take(name) else {
            return Ok(None);
        };
        let text = self.scalar(name, &node)?;
        Ok(text.filter(|text| !text.is_empty()).map(|text| (text, node.line)))
    }

    /// Takes a field that is true or false; null is false, and `None` is returned if it is missing.
    pub(super) fn bool(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        let Some(node) = self.take(name) else {
            return Ok(None);
        };
        let Some(text) = self.scalar(name, &node)? else {
            return Ok(Some(false));
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Ok(Some(true)),
            "false" | "no" | "off" | "n" => Ok(Some(false)),
            _ => Err(self.problem(name, node.line, "true or false", &text)),
        }
    }

    /// Takes a list of texts, each with its line.
    pub(super) fn list(&mut self, name: &'static str) -> Result<Vec<(String, usize)>, Problem> {
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

    /// Fails if a field was not taken. All known fields must have been taken before.
    pub(super) fn finish(self) -> Result<(), Problem> {
        let Fields { prefix, entries, taken, .. } = self;
        entries.into_iter().next().map_or(Ok(()), |(name, node)| {
            let expected = taken.join(", ");
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
