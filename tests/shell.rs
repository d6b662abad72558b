//! What the command prints for shells, manuals and scripts: completions, manual pages, `check` as table and as JSON.

use std::fs;
use std::process::Command;

use crate::support::process::run;
use crate::support::{TestDir, assert_success, example, multiprom, output_of, skip};

/// The names of the commands in the output of `multiprom --help`.
fn commands() -> Vec<String> {
    let help = output_of(multiprom().arg("--help"));
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let lines = commands.lines().take_while(|line| line.starts_with("  "));
    lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn bash_completes_commands_and_flags() {
    let dir = TestDir::new("completions");
    let script = dir.path().join("multiprom.bash");
    fs::write(&script, output_of(multiprom().args(["completions", "bash"]))).unwrap();
    let complete = |words: &str| -> Vec<String> {
        let last = words.split(' ').count() - 1;
        // Bash passes the word to complete and the word before it.
        let program = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={last}; \
             _multiprom multiprom \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{last}-1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output = output_of(Command::new("bash").args(["--norc", "-c", &program]));
        output.lines().map(str::to_owned).collect()
    };
    assert_eq!(complete("multiprom co"), ["compact", "convert", "completions"]);
    assert_eq!(complete("multiprom demo"), ["demo"]);
    assert_eq!(complete("multiprom serve --web.l"), ["--web.listen-address"]);
    assert_eq!(complete("multiprom serve --compact o"), ["own", "off"]);
}

#[test]
fn every_shell_has_a_completion_script() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = output_of(multiprom().args(["completions", shell]));
        assert!(script.contains("mark-process-dead"), "{shell}");
        assert!(!script.contains("demo-worker"), "{shell}");
    }
}

#[test]
fn each_command_has_a_manual_page_without_errors() {
    let dir = TestDir::new("man");
    let outcome = run(multiprom().args(["man", "--output"]).arg(dir.path()));
    assert_eq!((outcome.status, outcome.stderr.as_str(), outcome.stdout.as_str()), (0, "", ""));
    let commands = commands();
    let mut pages = vec!["multiprom.1".to_owned()];
    let named = commands.iter().filter(|name| *name != "help");
    pages.extend(named.map(|name| format!("multiprom-{name}.1")));
    pages.sort_unstable();
    let written = fs::read_dir(dir.path()).unwrap();
    let mut written: Vec<String> =
        written.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    written.sort_unstable();
    assert_eq!(written, pages);
    assert_eq!(
        output_of(multiprom().args(["man", "serve"])),
        fs::read_to_string(dir.path().join("multiprom-serve.1")).unwrap()
    );
    if Command::new("groff").arg("--version").output().is_err() {
        return skip("groff is not installed: manual pages are not formatted");
    }
    for page in pages {
        let mut groff = Command::new("groff");
        groff.args(["-man", "-ww", "-Tascii"]).arg(dir.path().join(&page));
        let output = groff.output().unwrap();
        assert_success(&groff, &output);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{page}");
    }
}

#[test]
fn a_manual_page_that_does_not_exist_is_an_error() {
    let outcome = run(multiprom().args(["man", "nothing"]));
    assert_eq!((outcome.status, outcome.stdout.as_str()), (2, ""));
    assert_eq!(outcome.stderr, "multiprom: no command `nothing`: see --help\n");
    let outcome = run(multiprom().args(["man", "--output", "/dev/null/pages"]));
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""));
    assert!(outcome.stderr.contains("/dev/null/pages"), "{}", outcome.stderr);
}

#[test]
fn check_prints_a_table_or_json_with_each_file() {
    let dir = TestDir::new("check");
    let mut command = example("test-counting");
    command.arg(dir.path()).arg("3");
    let output = command.output().unwrap();
    assert_success(&command, &output);
    let damaged = dir.path().join("counter_9.db");
    fs::write(&damaged, b"no series file").unwrap();

    let outcome = run(multiprom().args(["check", "--dir"]).arg(dir.path()));
    assert_eq!(outcome.status, 1);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let columns = lines[0].split_whitespace().collect::<Vec<_>>();
    assert_eq!(columns, ["FILE", "ENTRIES", "RESULT"]);
    let damaged_lines = lines.iter().filter(|line| line.ends_with(" damaged"));
    let damaged_lines: Vec<_> = damaged_lines.map(|line| line.split(' ').next()).collect();
    assert_eq!(damaged_lines, [damaged.to_str(), Some(&(lines.len() - 2).to_string())]);
    assert!(lines[1..lines.len() - 1].iter().any(|line| line.ends_with(" ok")), "{lines:?}");
    assert!(outcome.stderr.contains("counter_9.db"), "{}", outcome.stderr);

    let outcome = run(multiprom().args(["check", "--json", "--dir"]).arg(dir.path()));
    assert_eq!((outcome.status, outcome.stderr.as_str()), (1, ""));
    let objects: Vec<serde_json::Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), lines.len() - 2);
    for object in objects {
        let is_damaged = object["path"] == damaged.to_str().unwrap();
        assert_eq!(object["damaged"], is_damaged, "{object}");
        assert_eq!(object["error"].is_string(), is_damaged, "{object}");
    }
}
