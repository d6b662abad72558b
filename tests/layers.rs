//! The structure of the crate: which module names which, where `unsafe` is, how long files are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root;

/// Longer files are split.
const MAX_FILE_LINES: usize = 600;

const UNSAFE_FILES: [&str; 25] = [
    "cli/signals.rs",
    "file/descriptor.rs",
    "file/fault_guard.rs",
    "file/forks.rs",
    "file/inherited.rs",
    "file/lock.rs",
    "file/process.rs",
    "file/read_map.rs",
    "file/sys/at.rs",
    "file/sys/limits.rs",
    "file/sys/random.rs",
    "file/sys/signals.rs",
    "file/sys/sockets.rs",
    "file/sys/space.rs",
    "file/sys/stat.rs",
    "file/sys/users.rs",
    "file/words.rs",
    "file/write_map.rs",
    "fork_safe/append_list.rs",
    "fork_safe/static_ref.rs",
    "metrics/family.rs",
    "prefetch.rs",
    "store/fork/epoch.rs",
    "store/fork/tagged.rs",
    "store/set_once.rs",
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root().join("src")).unwrap().to_owned(), text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join("src"), &mut found);
    assert!(found.len() > 40);
    found
}

/// The table of `docs/design.md`.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let design = fs::read_to_string(root().join("docs/design.md")).unwrap();
    let (_, rest) = design.split_once("<!-- layers -->").unwrap();
    let (table, _) = rest.split_once("<!-- end -->").unwrap();
    let mut layers = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let names = cells[2].split(", ").filter(|name| *name != "-").map(str::to_owned);
        layers.insert(cells[1].trim_matches('`').to_owned(), names.collect());
    }
    layers
}

/// Modules named as `crate::module` or in `use crate::{...}`, tests and comments left out.
fn named_modules(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let mut named = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        assert!(!rest.starts_with('{'), "write one `use crate::module` for each module");
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        named.insert(rest[..end].to_owned());
    }
    named
}

fn module_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn each_module_names_only_those_that_the_table_allows() {
    let table = table();
    let modules: BTreeSet<String> = sources().iter().map(|(path, _)| module_of(path)).collect();
    let roots = ["lib", "main"].map(str::to_owned);
    let known: BTreeSet<String> = table.keys().cloned().chain(roots.clone()).collect();
    assert_eq!(modules, known, "the table has a row for each module");
    for (path, text) in sources() {
        let module = module_of(&path);
        if roots.contains(&module) {
            continue;
        }
        for named in named_modules(&text) {
            // Names of the crate's root are re-exports, for documentation only.
            let is_allowed = named == module || table[&module].contains(&named);
            let is_module = modules.contains(&named);
            assert!(is_allowed || !is_module, "{}: may not name `{named}`", path.display());
            let root_names = ["Error", "ErrorKind", "Result"];
            let is_root_name = root_names.contains(&named.as_str());
            assert!(is_module || is_root_name, "{}: names crate::{named}", path.display());
        }
    }
}

#[test]
fn the_table_has_no_cycle() {
    let table = table();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while done.len() < table.len() {
        let ready = table.iter().filter(|(_, names)| names.iter().all(|n| done.contains(&**n)));
        let ready: Vec<&str> = ready.map(|(name, _)| &**name).collect();
        let before = done.len();
        done.extend(ready);
        assert!(done.len() > before, "a cycle among {:?}", table.keys());
    }
}

#[test]
fn unsafe_code_is_only_in_its_files() {
    for (path, text) in sources() {
        let is_exempt = UNSAFE_FILES.iter().any(|exempt| path == Path::new(exempt));
        let is_expected = text.contains("#![expect(unsafe_code");
        assert_eq!(is_exempt, is_expected, "{}", path.display());
        assert!(!text.contains("allow(unsafe_code"), "{}", path.display());
    }
}

#[test]
fn the_environment_is_read_in_one_place() {
    for (path, text) in sources() {
        let reads = text.contains("env::var");
        assert_eq!(reads, path == Path::new("file/environment.rs"), "{}", path.display());
    }
}

#[test]
fn no_file_is_too_long_and_every_file_is_ascii() {
    for (path, text) in sources() {
        assert!(text.lines().count() <= MAX_FILE_LINES, "{}", path.display());
        assert!(text.is_ascii(), "{}", path.display());
        assert!(text.starts_with("//!"), "{} says what it is", path.display());
    }
}
