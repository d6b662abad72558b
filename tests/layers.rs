//! The structure of the crate: which module names which, where `unsafe` is, how long files are.
//!
//! Between folders the table of `docs/design.md` decides. Between the files and subfolders of one folder there is no
//! circle: if A names B, directly or through others, B does not name A.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root;

/// Longer files are split.
const MAX_FILE_LINES: usize = 600;

const UNSAFE_FILES: [&str; 33] = [
    "cli/signals.rs",
    "cli/terminal.rs",
    "file/descriptor.rs",
    "file/fault_guard.rs",
    "file/forks.rs",
    "file/inherited.rs",
    "file/lock.rs",
    "file/process.rs",
    "file/read_map.rs",
    "file/sys/at.rs",
    "file/sys/clock.rs",
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
    "fork_safe/arena.rs",
    "fork_safe/removable.rs",
    "fork_safe/sorted_list.rs",
    "fork_safe/static_ref.rs",
    "fork_safe/transient.rs",
    "metrics/family.rs",
    "metrics/transient.rs",
    "prefetch.rs",
    "store/fork/epoch.rs",
    "store/fork/tagged.rs",
    "store/set_once.rs",
    "store/split.rs",
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
    let (code, _) = without_tests(text);
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
    let mut modules: BTreeSet<String> = sources().iter().map(|(path, _)| module_of(path)).collect();
    let (_, test_modules) = without_tests(&fs::read_to_string(root().join("src/lib.rs")).unwrap());
    modules.retain(|module| !test_modules.contains(module));
    let roots = ["lib", "main"].map(str::to_owned);
    let known: BTreeSet<String> = table.keys().cloned().chain(roots.clone()).collect();
    let mut unused = table.clone();
    assert_eq!(modules, known, "the table has a row for each module");
    for (path, text) in sources() {
        let module = module_of(&path);
        if roots.contains(&module) || test_modules.contains(&module) {
            continue;
        }
        for named in named_modules(&text) {
            unused.get_mut(&module).unwrap().remove(&named);
            // Names of the crate's root are re-exports, for documentation only.
            let is_allowed = named == module || table[&module].contains(&named);
            let is_module = modules.contains(&named);
            assert!(is_allowed || !is_module, "{}: may not name `{named}`", path.display());
            let root_names = ["Error", "ErrorKind", "Result"];
            let is_root_name = root_names.contains(&named.as_str());
            let is_known = is_module || is_root_name || test_modules.contains(&named);
            assert!(is_known, "{}: names crate::{named}", path.display());
        }
    }
    unused.retain(|_, names| !names.is_empty());
    assert!(unused.is_empty(), "the table allows what no file needs: {unused:?}");
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
        let is_rust = path.extension() == Some("rs".as_ref());
        assert!(!is_rust || text.starts_with("//!"), "{} says what it is", path.display());
    }
}

/// The source without comments and unit tests, and the names of its modules that only tests have.
fn without_tests(text: &str) -> (String, BTreeSet<String>) {
    let (mut code, mut test_modules) = (String::new(), BTreeSet::new());
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("//")).peekable();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            let next = lines.peek().copied().unwrap_or_default();
            if let Some(name) = next.strip_prefix("mod ").and_then(|it| it.strip_suffix(';')) {
                test_modules.insert(name.to_owned());
                lines.next();
                continue;
            }
            if next.starts_with("mod ") {
                break;
            }
        }
        code.push_str(line);
        code.push('\n');
    }
    (code, test_modules)
}

/// A module, as the path from the crate root.
type Module = Vec<String>;

fn module_path(path: &Path) -> Module {
    let parts = path.with_extension("").iter().map(|it| it.to_str().unwrap().to_owned()).collect();
    let mut parts: Module = parts;
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// All paths of a tree such as `a::{b, c::{self, d}}`, which begins at the start of `text`.
fn expand(text: &str, prefix: &Module, paths: &mut Vec<Module>) {
    let text = text.trim_start();
    if let Some(list) = text.strip_prefix('{') {
        let (mut depth, mut start) = (0, 0);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    expand(&list[start..at], prefix, paths);
                    start = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                _ => {}
            }
        }
        return;
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let mut path = prefix.clone();
    match name {
        "" => return,
        "super" => drop(path.pop()),
        "self" | "crate" => {}
        _ => path.push(name.to_owned()),
    }
    match rest.strip_prefix("::") {
        Some(rest) if !rest.starts_with('<') => expand(rest, &path, paths),
        _ => paths.push(path),
    }
}

/// The absolute paths that the code of a module names. `children` are the submodules that it declares.
fn named_paths(code: &str, module: &Module, children: &BTreeSet<String>) -> Vec<Module> {
    let mut paths = Vec::new();
    let mut starts =
        vec![("crate", Module::new()), ("super", module.clone()), ("self", module.clone())];
    starts.extend(children.iter().map(|child| (child.as_str(), module.clone())));
    for (start, base) in starts {
        for (at, _) in code.match_indices(&format!("{start}::")) {
            let before = &code[..at];
            let is_word = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if is_word && !before.ends_with("(in ") {
                expand(&code[at..], &base, &mut paths);
            }
        }
    }
    paths
}

/// Which child of a folder, or `mod` for the folder's own module, names which.
fn edges_in(
    folder: &Module,
    files: &BTreeMap<Module, String>,
) -> BTreeMap<String, BTreeSet<String>> {
    let is_inside = |module: &Module| module.len() > folder.len() && module.starts_with(folder);
    let child = |module: &Module| module.get(folder.len()).cloned();
    let (own_code, test_modules) =
        files.get(folder).map(|it| without_tests(it)).unwrap_or_default();
    let children: BTreeSet<String> =
        files.keys().filter(|it| is_inside(it)).filter_map(child).collect();
    // What the folder's module only re-exports is named in the file that defines it.
    let re_exports = |line: &&str| {
        line.trim_start().starts_with("pub use ")
            || line.trim_start().starts_with("pub(") && line.contains(") use ")
    };
    let mut origins = BTreeMap::new();
    let mut definitions = String::new();
    for statement in own_code.split_inclusive(';') {
        let first =
            statement.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#["));
        match first.filter(re_exports) {
            Some(_) => {
                let (_, tree) = statement.split_once("use ").unwrap();
                let mut paths = Vec::new();
                expand(tree, folder, &mut paths);
                for path in paths {
                    if let (Some(child), Some(name)) = (child(&path), path.last()) {
                        origins.insert(name.clone(), child);
                    }
                }
            }
            None => definitions.push_str(statement),
        }
    }
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, text) in files.iter().filter(|(it, _)| *it == folder || is_inside(it)) {
        let from = child(module).unwrap_or_else(|| "mod".to_owned());
        if test_modules.contains(&from) || module.iter().any(|part| part == "tests") {
            continue;
        }
        let (code, _) = without_tests(text);
        let code = if module == folder { &definitions } else { &code };
        let own_children: BTreeSet<String> = files
            .keys()
            .filter(|it| it.len() == module.len() + 1 && it.starts_with(module))
            .filter_map(|it| it.last().cloned())
            .collect();
        for path in named_paths(code, module, &own_children) {
            if !path.starts_with(folder) || path.len() == folder.len() {
                continue;
            }
            let name = &path[folder.len()];
            let to = if children.contains(name) {
                name
            } else {
                origins.get(name).map_or("mod", |it| it)
            };
            if to != from {
                edges.entry(from.clone()).or_default().insert(to.to_owned());
            }
        }
    }
    edges
}

/// A circle among edges, as the modules on it.
fn circle_in(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        at: &str,
        edges: &BTreeMap<String, BTreeSet<String>>,
        trail: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = trail.iter().position(|it| it == at) {
            return Some(trail[start..].to_vec());
        }
        if !done.insert(at.to_owned()) {
            return None;
        }
        trail.push(at.to_owned());
        let found =
            edges.get(at).into_iter().flatten().find_map(|to| visit(to, edges, trail, done));
        trail.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|at| visit(at, edges, &mut Vec::new(), &mut done))
}

fn circles(files: &BTreeMap<Module, String>) -> BTreeMap<String, Vec<String>> {
    let parents = files.keys().filter(|it| it.len() > 1).map(|it| it[..it.len() - 1].to_vec());
    let folders: BTreeSet<Module> = parents.collect();
    let circle = |folder: Module| Some((folder.join("/"), circle_in(&edges_in(&folder, files))?));
    folders.into_iter().filter_map(circle).collect()
}

#[test]
fn files_of_a_folder_do_not_name_each_other_in_a_circle() {
    let files = sources().into_iter().map(|(path, text)| (module_path(&path), text)).collect();
    let circles = circles(&files);
    assert!(circles.is_empty(), "circles by folder: {circles:#?}");
}

#[test]
fn a_circle_is_found_in_every_form_of_a_path() {
    let found = |texts: &[(&str, &str)]| {
        let files =
            texts.iter().map(|(path, text)| (module_path(Path::new(path)), (*text).to_owned()));
        circles(&files.collect()).contains_key("f")
    };
    let module = ("f/mod.rs", "mod a;\nmod b;\nmod c;\npub use b::B;\n");
    let one = ("f/a.rs", "use super::b::{self, B};\n");
    for (other, is_circle) in [
        ("use super::a::A;\n", true),
        ("use super::{\n    a::A,\n};\n", true),
        ("use crate::f::{c::{C, D}, a};\n", true),
        ("fn f() { crate::f::a::g(); }\n", true),
        ("pub(in crate::f) fn f() {}\nuse super::c::a::A;\n", false),
        ("// See super::a::A.\nuse crate::g::a::A;\n", false),
        ("#[cfg(test)]\nmod tests {\n    use super::super::a::A;\n}\n", false),
    ] {
        assert_eq!(found(&[module, one, ("f/b.rs", other)]), is_circle, "{other}");
    }
    // Through a third file, and through a subfolder.
    let third = ("f/c.rs", "use super::a::A;\n");
    assert!(found(&[module, one, third, ("f/b.rs", "use super::c::C;\n")]));
    assert!(found(&[
        module,
        one,
        ("f/b/mod.rs", "mod d;\n"),
        ("f/b/d.rs", "use super::super::a::A;\n")
    ]));
    // Of a re-export the file that defines it counts, and of a definition in `mod.rs` that.
    assert!(found(&[module, ("f/b.rs", "use super::a::A;\n"), ("f/a.rs", "use super::B;\n")]));
    let defining = ("f/mod.rs", "mod a;\nuse a::A;\npub struct M(A);\n");
    assert!(found(&[defining, ("f/a.rs", "use super::M;\n")]));
    assert!(!found(&[defining, ("f/a.rs", "pub struct A;\n")]));
}
