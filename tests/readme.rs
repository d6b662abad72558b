//! The README: its example, its lists of commands and gauge modes, and the test names in `docs/`.

use std::fs;

use crate::support::{TestDir, example, multiprom, output_of, root};

#[test]
fn the_example_of_the_readme_prints_the_output_that_it_shows() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let source = fs::read_to_string(root().join("examples/quickstart.rs")).unwrap();
    let (_, code) = source.split_once("\n\n").unwrap();
    assert!(readme.contains(&format!("```rust\n{code}```")), "the example is in the README");
    let (_, after) = readme.split_once("```text\n").unwrap();
    let (shown, _) = after.split_once("```").unwrap();

    let dir = TestDir::new("readme");
    let run = || output_of(example("quickstart").env("PROMETHEUS_MULTIPROC_DIR", dir.path()));
    run();
    let second = run();
    assert!(second.contains(shown), "{second}");
}

#[test]
fn the_readme_names_every_command_and_every_gauge_mode() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let help = output_of(multiprom().arg("--help"));
    let (_, commands) = help.split_once("Commands:").unwrap();
    let names = commands.lines().filter_map(|line| line.strip_prefix("  "));
    let names: Vec<&str> = names.filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"serve"), "{help}");
    for name in names.into_iter().filter(|name| !matches!(*name, "" | "help" | "-h," | "-V,")) {
        assert!(readme.contains(&format!("| `{name}")), "the README lacks the command {name}");
    }
    for mode in multiprom::GaugeMode::ALL {
        assert!(readme.contains(&format!("| `{mode}`")), "the README lacks the mode {mode}");
    }
}

#[test]
fn every_test_that_the_feature_list_names_exists() {
    fn walk(dir: &std::path::Path, text: &mut String) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = path.file_stem().unwrap().to_str().unwrap();
                let module = match module {
                    "mod" => path.parent().unwrap().file_name().unwrap().to_str().unwrap(),
                    module => module,
                };
                for line in fs::read_to_string(&path).unwrap().lines() {
                    if let Some(name) = line.trim().strip_prefix("fn ") {
                        let name = name.split('(').next().unwrap();
                        text.extend([module, "::", name, "\n"]);
                    }
                }
            }
        }
    }
    let mut tests = String::new();
    walk(&root().join("tests"), &mut tests);
    walk(&root().join("src"), &mut tests);
    let read = |name: &str| fs::read_to_string(root().join("docs").join(name)).unwrap();
    let lists = ["features.md", "reliability.md", "openmetrics.md", "format.md"].map(read).concat();
    let mut named = 0;
    for name in lists.split('`').filter(|name| name.contains("::") && !name.contains(' ')) {
        // Names of types are not those of tests.
        if name.starts_with(|first: char| first.is_ascii_uppercase()) {
            continue;
        }
        if name == "::" || name == "module::test" {
            continue;
        }
        assert!(tests.lines().any(|test| test == name), "there is no test {name}");
        named += 1;
    }
    assert!(named > 30);
}
