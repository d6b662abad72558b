//! Tables and JSON objects that commands print.

use std::fmt::{Display, Write as _};

use crate::file::key::push_string;

/// A table whose columns are aligned. Control characters are escaped: names of files may have any characters.
pub(super) fn table<const N: usize>(
    headings: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let mut table = vec![headings.map(str::to_owned)];
    table.extend(rows.map(|row| row.map(|cell| printable(&cell))));
    let widths: Vec<usize> = (0..N)
        .map(|column| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in table {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // OK because writing to a string does not fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn printable(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for char in cell.chars() {
        if char.is_control() {
            text.extend(char.escape_default());
        } else {
            text.push(char);
        }
    }
    text
}

/// A JSON object on one line.
pub(super) struct Object(Vec<u8>);

impl Object {
    pub(super) fn begin() -> Object {
        Object(b"{".to_vec())
    }

    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if self.0.len() > 1 {
            self.0.extend_from_slice(b", ");
        }
        push_string(&mut self.0, name);
        self.0.extend_from_slice(b": ");
        &mut self.0
    }

    pub(super) fn text(&mut self, name: &str, value: Option<&str>) -> &mut Object {
        let out = self.name(name);
        match value {
            Some(value) => push_string(out, value),
            None => out.extend_from_slice(b"null"),
        }
        self
    }

    /// A value whose `Display` is JSON.
    pub(super) fn value(&mut self, name: &str, value: impl Display) -> &mut Object {
        self.name(name).extend_from_slice(value.to_string().as_bytes());
        self
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"}\n");
        self.0
    }
}
