//! `ls`: the files of a directory, and whether their writers live.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::args::{self, LsArguments};
use super::{print, say};
use crate::error::Result;
use crate::file::key::push_string;
use crate::multiproc::{FileInfo, list_files};

const HEADINGS: [&str; 8] = ["TYPE", "MODE", "ID", "STATE", "LAYOUT", "ENTRIES", "USED", "SIZE"];

pub(super) fn run(arguments: &LsArguments) -> Result<ExitCode> {
    let files = list_files(&args::directory(arguments.dir.as_ref())?)?;
    let text = if arguments.json {
        files.iter().map(json).collect::<Vec<_>>().concat()
    } else {
        files.iter().filter_map(|file| file.error.as_ref()).for_each(|error| say(error));
        table(&files).into_bytes()
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn row(file: &FileInfo) -> [String; 8] {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let id = if file.metric_type.is_some() {
        file.id.clone()
    } else {
        file.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    };
    [
        or_dash(file.metric_type),
        or_dash(file.mode),
        id,
        file.liveness.to_string(),
        or_dash(file.layout),
        file.entries.to_string(),
        file.used.to_string(),
        file.len.to_string(),
    ]
}

fn table(files: &[FileInfo]) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(files.iter().map(row));
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
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

/// One line: an object with the same fields, and what is wrong with the file.
fn json(file: &FileInfo) -> Vec<u8> {
    let mut out = b"{".to_vec();
    let text = |out: &mut Vec<u8>, name: &str, value: Option<&str>| {
        push_string(out, name);
        out.extend_from_slice(b": ");
        match value {
            Some(value) => push_string(out, value),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b", ");
    };
    text(&mut out, "path", Some(&file.path.to_string_lossy()));
    text(&mut out, "type", file.metric_type);
    text(&mut out, "mode", file.mode);
    text(&mut out, "id", Some(&file.id));
    text(&mut out, "state", Some(&file.liveness.to_string()));
    text(&mut out, "layout", file.layout);
    text(&mut out, "error", file.error.as_ref().map(ToString::to_string).as_deref());
    let numbers = format!(
        "\"entries\": {}, \"used\": {}, \"size\": {}}}\n",
        file.entries, file.used, file.len
    );
    out.extend_from_slice(numbers.as_bytes());
    out
}
