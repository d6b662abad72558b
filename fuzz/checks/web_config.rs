//! What must hold of any web configuration file. The fuzz target and a test of its seeds include this file by `#[path]`.

use std::fs;
use std::path::Path;

use multiprom::http::Exporter;
use multiprom::{ErrorKind, Registry};

/// Reads a web configuration file with this content, which is written to `dir`. Returns whether it is valid.
///
/// It is valid, or refused with an error that names the file and a line of it. Nothing panics.
pub fn check(content: &[u8], dir: &Path) -> bool {
    // The files that it names are read, which must be in `dir`: their paths have no separator, also not as an escape. A key
    // that is itself written with escapes is not detected; for that, paths of devices and parents are refused anywhere.
    let has = |part: &[u8]| content.windows(part.len()).any(|it| it == part);
    if has(b"/dev") || has(b"/proc") || has(b"..") || has(b"_file") && (has(b"/") || has(b"\\")) {
        return false;
    }
    let path = dir.join("web.yml");
    fs::write(&path, content).expect("the directory is writable");
    let checked = Exporter::builder(Registry::new()).web_config_file(&path).check();
    let Err(error) = checked else { return true };
    let text = format!("{error:#}");
    assert_eq!(error.kind(), ErrorKind::Usage, "{text}");
    let begin = format!("`{}`: line ", path.display());
    let rest = text.strip_prefix(&begin).unwrap_or_else(|| panic!("no file and line: {text}"));
    let (line, problem) = rest.split_once(": ").unwrap_or_else(|| panic!("no line: {text}"));
    let line: usize = line.parse().unwrap_or_else(|_| panic!("no line: {text}"));
    // A carriage return ends a line of YAML too.
    let ends = content.strip_suffix(b"\n").unwrap_or(content).iter();
    let lines = 1 + ends.filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    assert!((1..=lines).contains(&line), "the file has at most {lines} lines: {text}");
    assert!(!problem.is_empty(), "{text}");
    false
}
