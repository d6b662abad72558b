//! `ls --families`: the bytes of each family, compared with a walk over the files by `docs/format.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use multiprom::inspect::family_usage;
use multiprom::{Backend, Counter, Gauge, Histogram, Registry, Unit};
use serde_json::Value;

use crate::support::process::{Outcome, run};
use crate::support::{TestDir, example, multiprom, output_of, root};

/// A family in the files of a directory.
#[derive(Debug, Default, PartialEq, Eq)]
struct Usage {
    label_sets: BTreeSet<String>,
    entries: u64,
    bytes: u64,
}

/// By name and type.
type Families = BTreeMap<(String, String), Usage>;

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Adds the entries of a series file or of a section, with so many bytes after the padding of each key.
fn walk_entries(families: &mut Families, metric_type: &str, body: &[u8], words: usize) {
    let mut at = 0;
    while at < body.len() {
        let key_end = at + 4 + u32_at(body, at);
        let key: Value = serde_json::from_slice(&body[at + 4..key_end]).unwrap();
        let mut name = key[0].as_str().unwrap().to_owned();
        if metric_type == "counter" && !name.ends_with("_total") {
            name.push_str("_total");
        }
        let pairs: Vec<(&str, &str)> = match &key[2] {
            Value::Array(names) => {
                let values = key[3].as_array().unwrap();
                let both = names.iter().zip(values);
                both.map(|(name, value)| (name.as_str().unwrap(), value.as_str().unwrap()))
                    .collect()
            }
            labels => {
                let labels = labels.as_object().unwrap();
                labels.iter().map(|(name, value)| (&**name, value.as_str().unwrap())).collect()
            }
        };
        let labels: BTreeMap<&str, &str> =
            pairs.into_iter().filter(|(name, _)| *name != "le").collect();
        let len = 4 + u32_at(body, at);
        let len = if words == 16 && len % 8 == 4 { len + 4 } else { len + 8 - len % 8 } + words;
        let usage = families.entry((name, metric_type.to_owned())).or_default();
        usage.label_sets.insert(format!("{labels:?}"));
        usage.entries += 1;
        usage.bytes += len as u64;
        at += len;
    }
}

/// Adds the entries of a companion; all of them have a key here. The type is filled in by the caller.
fn walk_companion(families: &mut Families, body: &[u8]) {
    let mut at = 0;
    while at < body.len() {
        let key_len = u32_at(body, at);
        let key: Value = serde_json::from_slice(&body[at + 4..at + 4 + key_len]).unwrap();
        let len = 16 + key_len + u32_at(body, at + 8 + key_len);
        let name = key[0].as_str().unwrap();
        let mut same = families
            .iter_mut()
            .filter(|((other, _), _)| other == name || other.strip_suffix("_total") == Some(name));
        let usage = same.next().unwrap().1;
        usage.entries += 1;
        usage.bytes += len as u64;
        at += len;
    }
}

fn walk_archive(families: &mut Families, bytes: &[u8]) {
    let mut at = 32 + u32_at(bytes, 24);
    let mut companions = Vec::new();
    while at < bytes.len() - 8 {
        let (name_len, body_len) = (u32_at(bytes, at), u32_at(bytes, at + 4));
        let body = at + 16 + name_len;
        let name = str::from_utf8(&bytes[at + 16..body]).unwrap();
        at = body + body_len;
        match name.split_once('_').unwrap().0 {
            "companion" => companions.push(&bytes[body..at]),
            metric_type => walk_entries(families, metric_type, &bytes[body..at], 16),
        }
    }
    for body in companions {
        walk_companion(families, body);
    }
}

/// The families of a directory, the bytes that are reserved, and the lengths of all files. `narrow` names the files without
/// times.
fn walk(dir: &Path, narrow: &[&str]) -> (Families, u64, u64) {
    let (mut families, mut reserved, mut len) = (Families::new(), 0, 0);
    let mut companions = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let bytes = fs::read(entry.path()).unwrap();
        len += bytes.len() as u64;
        if name == "archive.multiprom" {
            walk_archive(&mut families, &bytes);
            continue;
        }
        let used = u32_at(&bytes, 0);
        reserved += (bytes.len() - used) as u64;
        let words = if narrow.contains(&&*name) { 8 } else { 16 };
        match name.split_once('_').unwrap().0 {
            "companion" => companions.push(bytes[8..used].to_vec()),
            metric_type => walk_entries(&mut families, metric_type, &bytes[8..used], words),
        }
    }
    for body in &companions {
        walk_companion(&mut families, body);
    }
    (families, reserved, len)
}

fn ls(arguments: &str, dirs: &[&Path]) -> Outcome {
    let mut command = multiprom();
    command.arg("ls").args(arguments.split_whitespace());
    for dir in dirs {
        command.arg("--dir").arg(dir);
    }
    run(&mut command)
}

/// The objects of the families, and that of the total.
fn objects(outcome: &Outcome) -> (Vec<Value>, Value) {
    let lines = outcome.stdout.lines();
    let mut objects: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let total = objects.pop().unwrap();
    (objects, total)
}

fn copy_python_file(release: &str, name: &str, to: &Path) {
    fs::copy(root().join("multiproc-fixtures").join(release).join(name), to).unwrap();
}

/// A directory with an archive, with files of two releases of the Python client, and with those of this process, which has
/// removed a series. The registry keeps the files.
fn directory(name: &str) -> (TestDir, Registry) {
    let dir = TestDir::new(name);
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    output_of(multiprom().args(["compact", "--dir"]).arg(dir.path()));
    copy_python_file("0.26.0", "counter_101.db", &dir.path().join("counter_101.db"));
    copy_python_file("0.26.0", "gauge_all_101.db", &dir.path().join("gauge_all_101.db"));
    copy_python_file("0.26.0", "histogram_101.db", &dir.path().join("histogram_101.db"));
    copy_python_file("0.3.1", "counter_101.db", &dir.path().join("counter_102.db"));
    let backend = Backend::directory(dir.path()).unwrap();
    let registry = Registry::builder().backend(backend).build().unwrap();
    let jobs = Counter::builder("jobs_by_parity_total", "Jobs done, by number.").labels(["parity"]);
    let jobs = jobs.register(&registry).unwrap();
    for parity in ["even", "unknown", "removed"] {
        jobs.with([parity]).inc();
    }
    jobs.remove(["removed"]);
    let size = Histogram::builder("wait_seconds", "Waits.").unit(Unit::Seconds);
    size.register(&registry).unwrap().observe(0.5);
    let gauge = Gauge::builder("level", "Level.").register(&registry).unwrap();
    gauge.set(1.0);
    (dir, registry)
}

#[test]
fn ls_shows_the_bytes_of_each_family_in_own_and_python_files_companions_and_the_archive() {
    let (dir, _registry) = directory("families");
    let (expected, reserved, len) = walk(dir.path(), &["counter_102.db"]);
    let parity = &expected[&("jobs_by_parity_total".to_owned(), "counter".to_owned())];
    // Three of this process, a removal record, and two in the archive.
    assert_eq!((parity.label_sets.len(), parity.entries), (4, 3 + 1 + 2));

    let outcome = ls("--families --json", &[dir.path()]);
    assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
    let (families, total) = objects(&outcome);
    let text = |object: &Value, name: &str| object[name].as_str().unwrap().to_owned();
    let number = |object: &Value, name: &str| object[name].as_u64().unwrap();
    let shown: BTreeMap<_, _> = families
        .iter()
        .map(|object| {
            let numbers = ["series", "entries", "bytes"].map(|name| number(object, name));
            ((text(object, "family"), text(object, "type")), numbers)
        })
        .collect();
    let wanted: BTreeMap<_, _> = expected
        .into_iter()
        .map(|(key, it)| (key, [it.label_sets.len() as u64, it.entries, it.bytes]))
        .collect();
    assert_eq!(shown, wanted);
    let bytes: Vec<u64> = families.iter().map(|object| number(object, "bytes")).collect();
    assert!(bytes.is_sorted_by(|one, other| one >= other), "{bytes:?}");

    let sum = |at: usize| wanted.values().map(|numbers| numbers[at]).sum::<u64>();
    for (name, value) in [
        ("families", families.len() as u64),
        ("series", sum(0)),
        ("entries", sum(1)),
        ("bytes", sum(2)),
        ("reserved", reserved),
        ("size", len),
        ("other", len - reserved - sum(2)),
        ("files", fs::read_dir(dir.path()).unwrap().count() as u64),
    ] {
        assert_eq!(number(&total, name), value, "{name} of {total}");
    }

    let outcome = ls("--families", &[dir.path()]);
    assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
    let rows: Vec<Vec<&str>> =
        outcome.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["FAMILY", "TYPE", "SERIES", "ENTRIES", "BYTES"]);
    for (row, object) in rows[1..].iter().zip(&families) {
        let numbers = ["series", "entries", "bytes"].map(|name| number(object, name).to_string());
        let row_of_object =
            [&[text(object, "family"), text(object, "type")], &numbers[..]].concat();
        assert_eq!(*row, row_of_object);
    }
    let last = format!(
        "total: {} families, {} series, {} entries, {} bytes; headers and other data {} bytes, reserved and not used \
         {reserved} bytes; {} files of {len} bytes",
        families.len(),
        sum(0),
        sum(1),
        sum(2),
        len - reserved - sum(2),
        total["files"]
    );
    assert_eq!(outcome.stdout.lines().last().unwrap(), last);
}

#[test]
fn damaged_parts_are_reported_and_the_families_of_the_rest_are_counted() {
    let (dir, _registry) = directory("families-damaged");
    let bytes_of = |family: &str| {
        let (families, _) = objects(&ls("--families --json", &[dir.path()]));
        families.iter().find(|it| it["family"] == family).map(|it| it["bytes"].as_u64().unwrap())
    };
    let (level, parity) = (bytes_of("level").unwrap(), bytes_of("jobs_by_parity_total").unwrap());
    fs::write(dir.path().join("cache.db"), "no series file").unwrap();
    fs::write(dir.path().join("counter_9.db"), "").unwrap();
    fs::create_dir(dir.path().join("counter_10.db")).unwrap();
    let archive = dir.path().join("archive.multiprom");
    let mut bytes = fs::read(&archive).unwrap();
    bytes[40] ^= 1;
    fs::write(&archive, bytes).unwrap();
    // The second entry of a file does not match its checksum.
    let entry = |family: &str| {
        let key = format!(r#"["{family}", "{family}_total", {{}}, "Help."]"#).into_bytes();
        let key = [key.clone(), vec![b' '; key.len().next_multiple_of(8) - key.len()]].concat();
        let head = [&(key.len() as u32).to_le_bytes(), &key[..]].concat();
        [&head[..], &crc32fast::hash(&head).to_le_bytes(), &[0; 16]].concat()
    };
    let (first, mut second) = (entry("first"), entry("second"));
    second[20] ^= 1;
    let used = (8 + first.len() + second.len()) as u32;
    let file = [&used.to_le_bytes()[..], b"MPR\x01", &first, &second].concat();
    fs::write(dir.path().join("counter_7-0000beef.db"), file).unwrap();

    let outcome = ls("--families", &[dir.path()]);
    assert_eq!(outcome.status, 0);
    assert_eq!(outcome.stderr.lines().count(), 5, "{}", outcome.stderr);
    for part in [
        "cache.db`: skipped: ",
        "counter_9.db`: skipped: file is empty",
        "counter_10.db`: skipped: not a regular file",
        "archive.multiprom`: skipped: archive does not match its checksum",
        "counter_7-0000beef.db`: skipped from there on: entry at offset",
    ] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
    assert_eq!(bytes_of("level"), Some(level));
    assert_eq!(bytes_of("first_total"), Some(first.len() as u64));
    assert_eq!(bytes_of("second_total"), None);
    assert!(bytes_of("jobs_by_parity_total").unwrap() < parity, "the archive does not count");

    let usage = family_usage([dir.path()]).unwrap();
    let bytes: u64 = usage.families.iter().map(|family| family.bytes).sum();
    assert_eq!(usage.len, bytes + usage.reserved + usage.other);
    assert_eq!(usage.errors.len(), 5);
}

#[test]
fn ls_takes_several_directories_and_patterns() {
    let parent = TestDir::new("families-several");
    for (name, jobs) in [("a1", "3"), ("a2", "4")] {
        fs::create_dir(parent.path().join(name)).unwrap();
        output_of(example("test-counting").arg(parent.path().join(name)).arg(jobs));
    }
    let (one, other) = (parent.path().join("a1"), parent.path().join("a2"));
    let counted = |outcome: &Outcome| {
        assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
        let (families, total) = objects(outcome);
        let family = families.iter().find(|it| it["family"] == "jobs_by_parity_total").unwrap();
        let number = |object: &Value, name: &str| object[name].as_u64().unwrap();
        (number(family, "series"), number(family, "entries"), number(&total, "bytes"))
    };
    let (series, entries, bytes) = counted(&ls("--families --json", &[&one]));
    assert_eq!((series, entries), (2, 2));
    // A label set in both directories is one series. A directory that is named twice counts once.
    for dirs in [&[&*one, &*other, &*one][..], &[&*parent.path().join("a*")]] {
        assert_eq!(counted(&ls("--families --json", dirs)), (2, 4, 2 * bytes));
    }

    let outcome = ls("", &[&one, &other]);
    assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
    let headings: Vec<&str> = outcome.stdout.lines().filter(|it| it.ends_with(':')).collect();
    assert_eq!(headings, [&one, &other].map(|dir| format!("{}:", dir.display())));
    let files = outcome.stdout.lines().filter(|line| line.contains(" own ")).count();
    assert_eq!(files, 2 * ls("", &[&one]).stdout.matches(" own ").count());
}
