//! Companion files of workers that are killed at any moment decode, have no torn exemplar and lose no operation; the
//! Python client's collector does not see them; units reach the merged exposition.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use multiprom::compact::Compactor;
use multiprom::exposition::{Exposition, Format};
use multiprom::inspect::{FileInfo, Liveness, inspect_archive, list_files};
use multiprom::unstable::{Contents, Method, read};
use multiprom::{
    Backend, Counter, Gauge, Histogram, MultiProcessCollector, Registry, Summary, Unit,
};

use crate::support::process::PATIENCE;
use crate::support::random::random;
use crate::support::samples::{Line, python_samples};
use crate::support::{
    TestDir, example, multiprom, output_of, python, root, wait_for, wait_for_deaths,
};

const KILLS: usize = 90;
/// A worker is killed before it is this old; of each three workers two after they have recorded for at most this long.
const MAX_LIFE: Duration = Duration::from_millis(30);
const SEED: u64 = 0x6d75_6c74_6970_726f;
const SIGKILL: i32 = 9;

/// Words of the truth file, as in `tests/programs/companions.rs`: families with a unit, exemplars, observations.
const WORDS: usize = 3;
const SLOTS: usize = 3;
const EXEMPLAR_WRITERS: usize = 2;

/// A worker with its directory and its truth file.
struct Worker {
    child: Child,
    dir: PathBuf,
    truth: PathBuf,
}

impl Worker {
    fn start(parent: &Path, name: &str) -> Worker {
        let (dir, truth) = (parent.join(name), parent.join(format!("{name}-truth")));
        fs::create_dir(&dir).unwrap();
        fs::write(&truth, [0; WORDS * size_of::<u64>()]).unwrap();
        let child = example("test-companions").arg(&dir).arg(&truth).spawn().unwrap();
        Worker { child, dir, truth }
    }

    /// The operations so far.
    fn truth(&self) -> [u64; WORDS] {
        let bytes = fs::read(&self.truth).unwrap();
        let mut words = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        [(); WORDS].map(|()| words.next().unwrap())
    }

    fn kill(&mut self) -> [u64; WORDS] {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(SIGKILL), "a worker exited before it was killed");
        self.truth()
    }
}

fn companions(dir: &Path) -> Vec<FileInfo> {
    let files = list_files(dir).unwrap();
    for file in &files {
        assert!(file.error.is_none(), "{file:?}");
    }
    files.into_iter().filter(|file| file.is_companion).collect()
}

/// Reads all companions of a directory. Each exemplar must be one that a thread has written.
fn contents(dir: &Path, method: Method) -> Contents {
    let mut all = Contents::default();
    for file in companions(dir) {
        let contents = read(&file.path, method).unwrap();
        for (value, time, labels) in &contents.exemplars {
            let number = *value as usize;
            let written = format!("{number} ").repeat(1 + number % 10);
            assert_eq!((*time, labels), (2.0 * value, &written), "a torn exemplar");
        }
        all.units.extend(contents.units);
        all.exemplars.extend(contents.exemplars);
        all.natives.extend(contents.natives);
        all.empty_slots += contents.empty_slots;
        all.unknown += contents.unknown;
    }
    all
}

/// The names of families with a unit in the merged exposition of a directory.
fn exported_units(dir: &Path) -> BTreeSet<(String, String)> {
    let registry = Registry::new();
    registry.register(MultiProcessCollector::new(dir).unwrap()).unwrap();
    units_of(&Exposition::encode(&registry, Format::OpenMetrics).to_string())
}

fn units_of(text: &str) -> BTreeSet<(String, String)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# UNIT ")?.split_once(' '));
    lines.map(|(family, unit)| (family.to_owned(), unit.to_owned())).collect()
}

#[test]
fn companions_of_killed_workers_are_whole_and_lose_no_operation() {
    let parent = TestDir::new("companions");
    let (mut seed, mut idle, mut odd) = (SEED, 0, 0);
    for number in 0..KILLS {
        let mut worker = Worker::start(parent.path(), &number.to_string());
        if number % 3 > 0 {
            let has_recorded = || worker.truth().iter().all(|count| *count > 0).then_some(());
            wait_for("an operation of each kind", PATIENCE, has_recorded);
        }
        let due =
            Instant::now() + Duration::from_micros(random(&mut seed) % MAX_LIFE.as_micros() as u64);
        while let Some(left) = due.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        let [units, exemplars, observations] = worker.kill();
        let files = companions(&worker.dir);
        assert!(files.iter().all(|file| file.liveness == Liveness::Dead), "{files:?}");
        for method in [Method::Pread, Method::Mmap] {
            let contents = contents(&worker.dir, method);
            let found = contents.units.len() as u64;
            assert!((units..=units + 1).contains(&found), "{found} units, {units} operations");
            let counted: u64 = contents.natives.iter().flat_map(|(_, counts)| counts).sum();
            assert!(
                (observations..=observations + 1).contains(&counted),
                "{counted} observations, {observations} operations"
            );
            assert!(contents.natives.len() <= 1 && contents.unknown == 0);
            if exemplars > 1_000 {
                assert!(contents.exemplars.len() >= SLOTS - EXEMPLAR_WRITERS);
                odd += contents.empty_slots;
            }
            let mut unit = contents.units.into_iter();
            assert!(unit.all(|(family, unit)| family.ends_with("_bytes") && unit == "bytes"));
        }
        idle += usize::from(units == 0 || observations == 0);
        let exported = exported_units(&worker.dir).len() as u64;
        assert!((units..=units + 1).contains(&exported), "{exported} of {units} units");

        let compactor = Compactor::builder().directory(&worker.dir).build().unwrap();
        assert_eq!(compactor.run().unwrap().damaged, 0);
        assert_eq!(list_files(&worker.dir).unwrap().len(), 0);
        assert_eq!(exported_units(&worker.dir).len() as u64, exported, "after compaction");
        if exported > 0 {
            assert!(inspect_archive(&worker.dir).unwrap().unwrap().error.is_none());
        }
        fs::remove_dir_all(&worker.dir).unwrap();
    }
    // If most kills came before the first operation, the test would check nothing.
    assert!(idle * 3 <= KILLS, "{idle} of {KILLS} workers were killed before they recorded");
    println!("{KILLS} kills, {idle} of them early, {odd} slots left without an exemplar");
}

#[test]
fn companions_are_read_while_they_are_written() {
    let parent = TestDir::new("live");
    let mut worker = Worker::start(parent.path(), "dir");
    let (mut reads, mut seen) = (0, 0);
    let deadline = Instant::now() + PATIENCE;
    while worker.truth().iter().any(|count| *count < 200) || reads < 50 {
        assert!(Instant::now() < deadline, "{:?}", worker.truth());
        let method = [Method::Pread, Method::Mmap][reads % 2];
        let [units, ..] = worker.truth();
        let contents = contents(&worker.dir, method);
        assert!(contents.units.len() as u64 >= units);
        seen += contents.exemplars.len();
        reads += 1;
    }
    assert!(seen > 0);
    worker.kill();
}

/// Records a family of each type with a unit.
fn record(dir: &Path) -> Registry {
    let registry = Registry::builder().backend(Backend::directory(dir).unwrap()).build().unwrap();
    let sent = Counter::builder("sent", "Sent.").unit(Unit::Bytes).register(&registry).unwrap();
    sent.inc_by(5.0);
    let age = Gauge::builder("age", "Age.").unit(Unit::Seconds).labels(["of"]);
    let age = age.register(&registry).unwrap();
    age.with(["a"]).set(1.0);
    age.with(["b"]).set(2.0);
    let size = Histogram::builder("size", "Size.").unit(Unit::Bytes).buckets([1.0, 2.0]);
    size.register(&registry).unwrap().observe(1.5);
    let work = Summary::builder("work", "Work.").unit(Unit::Joules).register(&registry).unwrap();
    work.observe(3.0);
    let plain = Counter::builder("plain", "Without a unit.").register(&registry).unwrap();
    plain.inc();
    registry
}

fn expected() -> BTreeSet<(String, String)> {
    let units = [
        ("age_seconds", "seconds"),
        ("sent_bytes", "bytes"),
        ("size_bytes", "bytes"),
        ("work_joules", "joules"),
    ];
    units.map(|(family, unit)| (family.to_owned(), unit.to_owned())).into()
}

#[test]
fn units_are_exported_from_a_directory_also_after_compaction_and_by_the_command() {
    let dir = TestDir::new("units");
    let registries = [record(dir.path()), record(dir.path())];
    // Each process has one companion, with one entry for each family.
    let files = companions(dir.path());
    assert_eq!(files.iter().map(|file| file.entries).collect::<Vec<_>>(), [4, 4], "{files:?}");
    assert!(files.iter().all(|file| file.liveness == Liveness::Alive), "{files:?}");
    assert_eq!(exported_units(dir.path()), expected());
    let dump = |dir: &Path| {
        let mut command = multiprom();
        units_of(&output_of(command.args(["dump", "--format", "openmetrics", "--dir"]).arg(dir)))
    };
    assert_eq!(dump(dir.path()), expected());
    let mut ls = multiprom();
    let listed = output_of(ls.args(["ls", "--dir"]).arg(dir.path()));
    let rows = listed.lines().filter(|line| line.starts_with("companion ")).count();
    assert_eq!(rows, 2, "{listed}");
    let check = || {
        let mut command = multiprom();
        output_of(command.args(["check", "--dir"]).arg(dir.path()))
    };
    assert!(check().contains(" 0 damaged"));

    for registry in &registries {
        registry.close();
    }
    wait_for_deaths(dir.path());
    assert_eq!(exported_units(dir.path()), expected());
    let compactor = Compactor::builder().directory(dir.path()).build().unwrap();
    let compaction = compactor.run().unwrap();
    assert_eq!((compaction.damaged, compaction.files), (0, 10));
    assert_eq!(exported_units(dir.path()), expected());
    assert_eq!(dump(dir.path()), expected());
    assert!(check().contains(" 0 damaged"));
    // Recording after `close` writes the units again; the archive has them too.
    record(dir.path());
    assert_eq!(exported_units(dir.path()), expected());
}

#[test]
fn a_collector_sees_units_that_are_added_to_a_companion_later() {
    let dir = TestDir::new("later");
    let registry = Registry::builder().backend(Backend::directory(dir.path()).unwrap());
    let registry = registry.build().unwrap();
    let merged = Registry::new();
    merged.register(MultiProcessCollector::new(dir.path()).unwrap()).unwrap();
    let units = || units_of(&Exposition::encode(&merged, Format::OpenMetrics).to_string());
    let mut families = BTreeSet::new();
    for number in 0..40 {
        let name = format!("f{number}_bytes");
        let gauge = Gauge::builder(&*name, "A gauge.").unit(Unit::Bytes);
        gauge.register(&registry).unwrap().set(1.0);
        families.insert((name, "bytes".to_owned()));
        // From here on the file is in the cache, as it has not changed for long enough.
        if number == 20 {
            std::thread::sleep(Duration::from_millis(30));
        }
        assert_eq!(units(), families);
        assert_eq!(units(), families);
    }
}

#[test]
fn units_are_written_again_when_the_directory_or_the_companion_is_lost() {
    let parent = TestDir::new("lost");
    let dir = parent.path().join("dir");
    fs::create_dir(&dir).unwrap();
    let registry = Registry::builder().backend(Backend::directory(&dir).unwrap()).build().unwrap();
    let gauge = Gauge::builder("age", "Age.").unit(Unit::Seconds).labels(["of"]);
    let gauge = gauge.register(&registry).unwrap();
    gauge.with(["a"]).set(1.0);
    let is_exported = || exported_units(&dir).len() == 1;
    assert!(is_exported());
    fs::remove_file(&companions(&dir)[0].path).unwrap();
    assert!(!is_exported(), "the series is exported without its unit");
    gauge.with(["b"]).set(1.0);
    assert!(is_exported());
    fs::remove_dir_all(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    gauge.with(["c"]).set(1.0);
    assert!(is_exported());
    assert_eq!(companions(&dir).len(), 1);
}

#[test]
fn a_forked_child_writes_units_to_a_companion_of_its_own() {
    let dir = TestDir::new("fork");
    output_of(example("test-companions").arg(dir.path()).arg("fork"));
    let files = companions(dir.path());
    assert_eq!(files.iter().map(|file| file.entries).collect::<Vec<_>>(), [1, 1], "{files:?}");
    assert!(files[0].id != files[1].id && exported_units(dir.path()).len() == 1);
}

#[test]
fn the_python_collector_reads_a_directory_with_companions_as_before() {
    let collected = |dir: &Path| {
        let mut collect = python("newest")?;
        let text = output_of(collect.arg(root().join("tests/python/collect.py")).arg(dir));
        let (lines, _): (Vec<Line>, _) = python_samples(&text);
        Some(lines)
    };
    let dir = TestDir::new("python");
    let _registry = record(dir.path());
    let Some(with) = collected(dir.path()) else { return };
    assert!(with.iter().any(|line| line.name == "sent_bytes_total"));
    let files = companions(dir.path());
    assert_eq!(files.len(), 1);
    fs::remove_file(&files[0].path).unwrap();
    assert_eq!(collected(dir.path()).unwrap(), with);
}
