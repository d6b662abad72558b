//! Cargo features: what each of them brings, and what cargo reports without the one of the command.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::{output_of, root};

/// The most crates that a program gets with the default features, besides multiprom.
const MAX_DEFAULT_CRATES: usize = 8;

/// The cargo that runs the tests, without the network.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root()).args(arguments).arg("--offline");
    command
}

/// The crates that multiprom depends on with these features; build dependencies are included.
fn crates(features: &str) -> BTreeSet<String> {
    let arguments = ["tree", "--edges=normal,build", "--prefix=none", "--features", features];
    let tree = output_of(&mut cargo(&arguments));
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| !matches!(*name, "" | "multiprom")).map(str::to_owned).collect()
}

fn brings(crates: &BTreeSet<String>, names: &[&str]) -> bool {
    names.iter().any(|name| crates.contains(*name))
}

#[test]
fn each_feature_brings_only_the_crates_that_it_names() {
    const RUNTIME: [&str; 2] = ["hyper", "tokio"];
    // ring has C and assembly.
    const C_LIBRARY: [&str; 3] = ["cc", "ring", "zstd-sys"];
    const COMMAND_LINE: [&str; 1] = ["clap"];
    let default = crates("");
    assert!(default.len() <= MAX_DEFAULT_CRATES, "{default:?}");
    for client in ["prometheus", "prometheus-client"] {
        assert!(!brings(&crates("cli"), &[client]) && brings(&crates(client), &[client]));
    }
    for (features, runtime, c_library, command_line) in [
        ("", false, false, false),
        ("protobuf", false, false, false),
        ("log,tracing", false, false, false),
        ("derive", false, false, false),
        ("metrics-facade", false, false, false),
        ("prometheus,prometheus-client", false, false, false),
        ("exporter", true, false, false),
        ("push", true, true, false),
        ("zstd", true, true, false),
        ("tls", true, true, false),
        ("cli", true, true, true),
    ] {
        let crates = crates(features);
        let found = (
            brings(&crates, &RUNTIME),
            brings(&crates, &C_LIBRARY),
            brings(&crates, &COMMAND_LINE),
        );
        assert_eq!(found, (runtime, c_library, command_line), "{features}: {crates:?}");
    }
}

#[test]
fn without_the_feature_of_the_command_cargo_names_it() {
    for arguments in [&["build", "--bin", "multiprom"][..], &["run", "--release"]] {
        let output = cargo(arguments).output().unwrap();
        assert!(!output.status.success(), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("requires the features: `cli`"), "{stderr}");
        assert!(stderr.contains("--features=\"cli\""), "{stderr}");
    }
}

#[test]
fn the_readme_has_a_row_for_each_feature() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, features) = manifest.split_once("\n[features]\n").unwrap();
    let (features, _) = features.split_once("\n[").unwrap();
    let names = features.lines().filter_map(|line| line.split_once(" = ["));
    // `fuzzing` is for the fuzz targets of this repository.
    let names = names.map(|(name, _)| name).filter(|name| *name != "fuzzing");
    for name in names {
        assert!(readme.contains(&format!("\n| `{name}`")), "the README lacks the feature {name}");
    }
    let (_, version) = manifest.split_once("rust-version = \"").unwrap();
    let (version, _) = version.split_once('"').unwrap();
    assert!(readme.contains(&format!("Rust {version} or later")), "the README lacks {version}");
}
