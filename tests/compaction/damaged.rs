//! A damaged archive is skipped, set aside and kept; everything else is served.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use multiprom::Registry;
use multiprom::compact::Compactor;
use multiprom::inspect::list_files;

use super::{ARCHIVE, compact, compact_with, count, merge, merged, names_in, value};
use crate::support::http::{scrape, sum_of};
use crate::support::mount::is_root;
use crate::support::process::{PATIENCE, Running, run};
use crate::support::survivor;
use crate::support::{TestDir, multiprom, skip, wait_for};

/// A kind of damage: its description, the change, and the reason that the error is counted for.
type Damage = (&'static str, fn(&Path), &'static str);

const DAMAGES: [Damage; 16] = [
    ("magic", |path| flip(path, 0), "archive"),
    ("generation", |path| flip(path, 8), "archive"),
    ("time", |path| flip(path, 16), "archive"),
    ("length of the sources", |path| flip(path, 24), "archive"),
    ("name of a source", |path| flip(path, 33), "archive"),
    ("an entry", |path| flip(path, len(path) / 2), "archive"),
    ("checksum", |path| flip(path, len(path) - 8), "archive"),
    ("end", |path| flip(path, len(path) - 1), "archive"),
    ("half of it", |path| cut(path, len(path) / 2), "archive"),
    ("a byte less", |path| cut(path, len(path) - 1), "archive"),
    ("empty", |path| cut(path, 0), "archive"),
    ("huge length", |path| resealed(path, 24, &u64::MAX.to_le_bytes()), "archive"),
    ("sections that go on", |path| resealed(path, last_section(path), &[0xf8; 4]), "archive"),
    ("a link", link, "open"),
    ("a directory", directory, "not_regular"),
    ("a FIFO", fifo, "not_regular"),
];

fn len(path: &Path) -> usize {
    fs::read(path).unwrap().len()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, len: usize) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..len]).unwrap();
}

/// Overwrites bytes and updates the checksum, as a bug or an attacker could.
fn resealed(path: &Path, at: usize, with: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at..at + with.len()].copy_from_slice(with);
    let content = bytes.len() - 8;
    let checksum = crc32fast::hash(&bytes[..content]);
    bytes[content..content + 4].copy_from_slice(&checksum.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

/// The offset of the last section, 16 bytes before its name.
fn last_section(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap();
    let mut at = 32 + u64::from_le_bytes(bytes[24..32].try_into().unwrap()) as usize;
    loop {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let next = at + 16 + word(at) + word(at + 4);
        if next == bytes.len() - 8 {
            return at;
        }
        at = next;
    }
}

/// Replaces the archive by a symbolic link to it.
fn link(path: &Path) {
    let elsewhere = path.with_extension("elsewhere");
    fs::rename(path, &elsewhere).unwrap();
    symlink(elsewhere, path).unwrap();
}

fn directory(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

fn fifo(path: &Path) {
    fs::remove_file(path).unwrap();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A directory with 3 jobs in a damaged archive, and 4 jobs in files.
fn damaged(damage: fn(&Path)) -> TestDir {
    let dir = TestDir::new("damaged");
    count(dir.path(), 3);
    compact(dir.path());
    damage(&dir.path().join(ARCHIVE));
    count(dir.path(), 4);
    dir
}

/// The damaged archives that were set aside.
fn set_aside(dir: &Path) -> Vec<PathBuf> {
    let names = names_in(dir).into_iter().filter(|name| name.starts_with("archive.bad."));
    names.map(|name| dir.join(name)).collect()
}

#[test]
fn a_damaged_archive_is_skipped_and_set_aside_by_the_compactor() {
    for (what, damage, reason) in DAMAGES {
        let dir = damaged(damage);
        let dir = dir.path();
        let named = dir.join(ARCHIVE).display().to_string();

        let outcome = run(multiprom().args(["dump", "--dir"]).arg(dir));
        assert_eq!(
            (outcome.status, outcome.stderr.lines().count()),
            (0, 1),
            "{what}: {}",
            outcome.stderr
        );
        assert!(outcome.stderr.contains(&named), "{what}: {}", outcome.stderr);
        // Complete sections before the damage may be exported.
        assert!(sum_of(&outcome.stdout, "jobs_total") >= 4.0, "{what}");
        let errors = format!("multiprom_file_errors_total{{reason=\"{reason}\"}}");
        assert_eq!(sum_of(&outcome.stdout, &errors), 1.0, "{what}");

        let outcome = run(multiprom().args(["check", "--dir"]).arg(dir));
        assert_eq!(outcome.status, 1, "{what}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(&named), "{what}: {}", outcome.stderr);
        let outcome = run(multiprom().args(["ls", "--dir"]).arg(dir));
        assert_eq!(outcome.status, 0, "{what}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(&named) && outcome.stdout.contains("archive: "), "{what}");

        let outcome = compact_with("", dir);
        assert_eq!(
            (outcome.status, outcome.stderr.lines().count()),
            (0, 1),
            "{what}: {}",
            outcome.stderr
        );
        assert!(outcome.stderr.contains("renamed to `archive.bad."), "{what}: {}", outcome.stderr);
        assert_eq!(set_aside(dir).len(), 1, "{what}: {:?}", names_in(dir));
        assert_eq!(value(&merged(dir), "jobs_total"), 4.0, "{what}");
        compact(dir);
        assert_eq!(value(&merged(dir), "jobs_total"), 4.0, "{what}");
        assert_eq!(run(multiprom().args(["check", "--dir"]).arg(dir)).status, 0, "{what}");
    }
}

#[test]
fn an_archive_that_is_set_aside_is_kept_unchanged_and_counted() {
    let dir = damaged(|path| flip(path, 40));
    let bytes = fs::read(dir.path().join(ARCHIVE)).unwrap();
    let compactor = Compactor::builder().directory(dir.path()).build().unwrap();
    let registry = Registry::new();
    registry.register(compactor.clone()).unwrap();
    for _ in 0..2 {
        compactor.run().unwrap();
        let text = registry.render(None).to_string();
        assert_eq!(survivor::value(&text, "multiprom_archives_set_aside_total"), 1.0);
    }
    let [kept] = &set_aside(dir.path())[..] else { panic!("{:?}", names_in(dir.path())) };
    assert_eq!(fs::read(kept).unwrap(), bytes);
}

#[test]
fn an_exporter_sets_a_damaged_archive_aside_and_logs_it_once() {
    let dir = damaged(|path| cut(path, 100));
    let mut command = multiprom();
    command.args(["serve", "--compact", "own", "--listen", "127.0.0.1:0", "--dir"]).arg(dir.path());
    let mut server = Running::start(&mut command);
    let url = server.url();
    let name = "multiprom_archives_set_aside_total";
    wait_for("set aside", PATIENCE, || (sum_of(&scrape(&url), name) == 1.0).then_some(()));
    assert_eq!(sum_of(&scrape(&url), "jobs_total"), 4.0);
    server.signal("TERM");
    let output = server.end();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.matches("renamed to `archive.bad.").count(), 1, "{stderr}");
}

/// Only series files in the directory are removed.
#[test]
fn sources_that_are_no_series_files_of_the_directory_are_not_removed() {
    let parent = TestDir::new("elsewhere");
    let dir = parent.path().join("dir");
    fs::create_dir(&dir).unwrap();
    count(&dir, 3);
    compact(&dir);
    let victims = [parent.path().join("counter_1.db"), dir.join("notes")];
    fs::create_dir(dir.join("counter_1")).unwrap();
    for source in ["../counter_1.db", "notes", "counter_1/../../counter_1.db"] {
        for victim in &victims {
            fs::write(victim, "mine").unwrap();
        }
        let path = dir.join(ARCHIVE);
        let good = fs::read(&path).unwrap();
        let padded = format!("{source:\n<32}");
        resealed(&path, 32, &padded.as_bytes()[..32]);
        let (_, problems) = merge(&dir);
        assert_eq!(problems.len(), 1, "{source}: {problems:?}");
        assert!(compact_with("", &dir).stderr.contains("renamed to"), "{source}");
        for victim in &victims {
            assert!(victim.exists(), "{source} was removed");
        }
        fs::write(&path, good).unwrap();
    }
}

#[test]
fn files_with_a_line_feed_in_their_name_are_not_compacted() {
    let dir = TestDir::new("newline");
    count(dir.path(), 3);
    let names = names_in(dir.path());
    let counter = names.iter().find(|name| name.starts_with("counter_")).unwrap();
    let odd = "counter_x\ncounter_1.db";
    fs::rename(dir.path().join(counter), dir.path().join(odd)).unwrap();
    fs::write(dir.path().join("counter_1.db"), "no series file, and stays").unwrap();
    for _ in 0..2 {
        compact_with("", dir.path());
        assert!(dir.path().join(odd).exists());
    }
    let (lines, _) = merge(dir.path());
    assert_eq!(value(&lines, "jobs_total"), 3.0);
}

#[test]
fn the_mode_of_an_archive_permits_only_what_all_sources_permit() {
    let dir = TestDir::new("modes");
    let path = dir.path();
    let mode = || fs::metadata(path.join(ARCHIVE)).unwrap().permissions().mode() & 0o7777;
    let set_all = |mode: u32| {
        for file in list_files(path).unwrap() {
            fs::set_permissions(file.path, Permissions::from_mode(mode)).unwrap();
        }
    };
    count(path, 1);
    set_all(0o664);
    compact(path);
    assert_eq!(mode(), 0o664);
    count(path, 1);
    set_all(0o755);
    let narrow = names_in(path).into_iter().find(|name| name.starts_with("summary_")).unwrap();
    fs::set_permissions(path.join(narrow), Permissions::from_mode(0o640)).unwrap();
    compact(path);
    assert_eq!(mode(), 0o640);
    // Later archives do not permit more.
    count(path, 1);
    set_all(0o666);
    compact(path);
    assert_eq!(mode(), 0o640);
    assert_eq!(value(&merged(path), "jobs_total"), 3.0);
}

#[test]
fn an_archive_written_by_root_belongs_to_the_owner_of_the_directory() {
    if !is_root() {
        return skip("only root may give files away");
    }
    let dir = TestDir::new("owner");
    count(dir.path(), 1);
    super::count_in_python(dir.path(), 1);
    chown(dir.path(), Some(65534), Some(65534)).unwrap();
    compact(dir.path());
    let mut owned = vec![dir.path().join(ARCHIVE)];
    owned.extend(Some(dir.path().join("retired")).filter(|path| path.exists()));
    for path in owned {
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (65534, 65534), "{}", path.display());
    }
}
