//! Tests of passes over directories with removed series.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use super::compaction::{CompactFiles, Compaction};
use super::pass::{GRACE, Pass, PassState, Purpose};
use crate::file::archive::{ARCHIVE_NAME, Archive};
use crate::file::entries::push_entry;
use crate::file::key;
use crate::file::layout::EntryKind::{self, Burial, Removal, Unknown, Value};
use crate::file::layout::{HEADER_LEN, Header};
use crate::model::{Collector as _, FamilyMetadata, FamilySink, Sample};
use crate::multiproc::MultiProcessCollector;
use crate::test_dir::TestDir;

const REMOVED: f64 = -9.0;
const PRESENT: f64 = 9.0;

/// A directory and a compactor.
struct Scene {
    dir: TestDir,
    files: CompactFiles,
    state: PassState,
}

/// The entries of the counter `c_total`, as kind, value and time.
type Entries<'a> = &'a [(EntryKind, f64, f64)];

impl Scene {
    fn new(files: CompactFiles) -> Scene {
        Scene { dir: TestDir::new(), files, state: PassState::default() }
    }

    /// Creates a file of multiprom, whose writer lives until the result is dropped.
    fn own(&self, name: &str, entries: Entries<'_>) -> Writer {
        let options = OpenOptions::new().create_new(true).write(true).open(self.dir.join(name));
        let writer = Writer(options.unwrap());
        writer.store(entries);
        writer
    }

    /// Creates a file of a process of the Python client, which lives until the result is dropped.
    fn python(&self, name: &str, value: f64) -> File {
        let key = r#"["c", "c_total", {}, "Help."]"#;
        let mut bytes = vec![0; HEADER_LEN];
        bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        bytes.extend_from_slice(key.as_bytes());
        bytes.resize(bytes.len() + 8 - bytes.len() % 8, b' ');
        bytes.extend_from_slice(&value.to_bits().to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let used = bytes.len() as u32;
        bytes[..4].copy_from_slice(&used.to_le_bytes());
        fs::write(self.dir.join(name), bytes).unwrap();
        OpenOptions::new().write(true).open(self.dir.join(name)).unwrap()
    }

    /// Makes a pass.
    fn pass(&mut self) -> Compaction {
        let keep_dead = None;
        let pass = Pass { purpose: Purpose::Compact, dir: &self.dir, files: self.files, keep_dead };
        let outcome = pass.run(&mut self.state).unwrap();
        assert!(outcome.problem.is_none() && !outcome.set_aside, "{outcome:?}");
        outcome.compaction
    }

    /// Makes a pass that does not wait for the interval of checks.
    fn due_pass(&mut self) -> Compaction {
        let interval = std::mem::take(&mut self.state.burials.interval);
        let done = self.pass();
        self.state.burials.interval = interval;
        done
    }

    /// The exported total; `None` if the series is hidden or missing.
    fn total(&self) -> Option<f64> {
        let mut total = TotalOf { name: "c", is_current: false, value: None };
        MultiProcessCollector::new(&self.dir).unwrap().collect(&mut total);
        total.value
    }

    fn generation(&self) -> u64 {
        self.archived().0
    }

    /// The kinds of the entries in the archive.
    fn kinds(&self) -> Vec<EntryKind> {
        self.archived().1
    }

    fn archived(&self) -> (u64, Vec<EntryKind>) {
        let bytes = fs::read(self.dir.join(ARCHIVE_NAME)).unwrap();
        let archive = Archive::decode(&bytes).unwrap();
        let entries = archive.sections().flat_map(|section| section.unwrap().entries);
        (archive.generation, entries.map(|entry| entry.unwrap().kind).collect())
    }
}

/// The living writer of a file of multiprom.
struct Writer(File);

impl Writer {
    /// Writes all entries again.
    fn store(&self, entries: Entries<'_>) {
        let (mut bytes, mut text) = (vec![0; HEADER_LEN], Vec::new());
        key::encode(&mut text, "c", "c_total", std::iter::empty(), "Help.");
        for (kind, value, time) in entries {
            push_entry(&mut bytes, *kind, &text, *value, *time);
        }
        let header = Header::new(bytes.len() as u32).encode();
        bytes[..HEADER_LEN].copy_from_slice(&header);
        self.0.write_all_at(&bytes, 0).unwrap();
    }
}

/// Receives the only sample of a family.
struct TotalOf {
    name: &'static str,
    is_current: bool,
    value: Option<f64>,
}

impl FamilySink for TotalOf {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.is_current = head.name == self.name;
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        if self.is_current {
            assert_eq!(self.value.replace(sample.value), None);
        }
    }
}

fn exists(dir: &Path, name: &str) -> bool {
    dir.join(name).exists()
}

#[test]
fn a_series_that_a_living_process_has_stays_with_its_whole_total() {
    let mut scene = Scene::new(CompactFiles::Own);
    drop(scene.own("counter_7-0000000a.db", &[(Value, 2.0, 1.0), (Removal, 0.0, REMOVED)]));
    let living = scene.own("counter_8-0000000b.db", &[(Value, 3.0, 1.0)]);
    for _ in 0..3 {
        scene.due_pass();
        assert_eq!(scene.kinds(), [Value, Removal]);
        assert_eq!((scene.total(), scene.generation()), (Some(5.0), 1));
    }
    drop(living);
    scene.due_pass();
    assert_eq!((scene.kinds(), scene.total()), (vec![Value, Removal, Burial], None));
    scene.due_pass();
    assert_eq!((scene.kinds(), scene.total(), scene.generation()), (vec![], None, 3));
}

/// The value of the removed entry is in earlier totals. A total without the share of the archive would repeat it.
#[test]
fn a_series_stays_as_long_as_a_living_process_has_a_removed_entry() {
    let mut scene = Scene::new(CompactFiles::Own);
    drop(scene.own("counter_7-0000000a.db", &[(Value, 2.0, 1.0), (Removal, 0.0, REMOVED)]));
    let removed = [(Value, 3.0, 1.0), (Removal, 0.0, REMOVED)];
    let living = scene.own("counter_8-0000000b.db", &removed);
    for _ in 0..3 {
        scene.due_pass();
        assert_eq!((scene.kinds(), scene.total()), (vec![Value, Removal], None));
    }
    living.store(&[(Value, 4.0, 1.0), (Removal, 0.0, PRESENT)]);
    assert_eq!(scene.total(), Some(6.0));
    scene.due_pass();
    assert_eq!((scene.kinds(), scene.total()), (vec![Value, Removal], Some(6.0)));
}

#[test]
fn a_series_that_no_process_has_is_buried_and_then_dropped_by_the_next_pass() {
    let mut scene = Scene::new(CompactFiles::Own);
    drop(scene.own("counter_7-0000000a.db", &[(Value, 2.0, 1.0), (Removal, 0.0, REMOVED)]));
    assert_eq!(scene.total(), None);
    assert_eq!(scene.pass().files, 1);
    assert_eq!((scene.kinds(), scene.total()), (vec![Value, Removal, Burial], None));
    assert_eq!(scene.pass(), Compaction::default());
    assert_eq!((scene.kinds(), scene.total(), scene.generation()), (vec![], None, 2));
    // Nothing is left to do.
    scene.due_pass();
    assert_eq!(scene.generation(), 2);

    let _living = scene.own("counter_8-0000000b.db", &[(Value, 1.0, 1.0)]);
    scene.due_pass();
    assert_eq!(scene.total(), Some(1.0));
}

#[test]
fn a_series_that_comes_back_between_both_commits_continues_its_total() {
    let mut scene = Scene::new(CompactFiles::Own);
    drop(scene.own("counter_7-0000000a.db", &[(Value, 2.0, 1.0), (Removal, 0.0, REMOVED)]));
    scene.pass();
    let living = scene.own("counter_8-0000000b.db", &[(Value, 3.0, 1.0)]);
    assert_eq!(scene.total(), None);
    // Although the interval is not over.
    scene.pass();
    assert_eq!((scene.kinds(), scene.total()), (vec![Value, Removal], Some(5.0)));

    // The process ends with the series, but no other has it: the mark is still there.
    drop(living);
    assert_eq!(scene.total(), None);
    scene.due_pass();
    assert_eq!((scene.kinds(), scene.total()), (vec![Value, Removal, Burial], None));
    scene.pass();
    assert_eq!((scene.kinds(), scene.total()), (vec![], None));
}

#[test]
fn a_compactor_that_starts_between_both_commits_decides_about_buried_series() {
    for comes_back in [false, true] {
        let mut scene = Scene::new(CompactFiles::Own);
        drop(scene.own("counter_7-0000000a.db", &[(Value, 2.0, 1.0), (Removal, 0.0, REMOVED)]));
        scene.pass();
        let living = comes_back.then(|| scene.own("counter_8-0000000b.db", &[(Value, 3.0, 1.0)]));
        scene.state = PassState::default();
        scene.pass();
        assert_eq!(scene.total(), comes_back.then_some(5.0));
        assert_eq!(scene.kinds().len(), if comes_back { 2 } else { 0 });
        drop(living);
    }
}

#[test]
fn series_are_buried_once_a_minute_at_most() {
    let mut scene = Scene::new(CompactFiles::Own);
    drop(scene.own("counter_7-0000000a.db", &[(Value, 2.0, 1.0), (Removal, 0.0, REMOVED)]));
    let living = scene.own("counter_8-0000000b.db", &[(Value, 3.0, 1.0)]);
    scene.pass();
    drop(living);
    assert_eq!(scene.state.burials.interval, Duration::from_secs(60));
    scene.pass();
    assert_eq!(scene.kinds(), [Value, Removal]);
    scene.due_pass();
    assert_eq!(scene.kinds(), [Value, Removal, Burial]);
}

#[test]
fn a_series_in_a_retired_file_is_not_buried_before_the_file_is_absorbed() {
    let mut scene = Scene::new(CompactFiles::All);
    drop(scene.own("counter_7-0000000a.db", &[(Value, 2.0, 1.0), (Removal, 0.0, REMOVED)]));
    drop(scene.python("counter_8.db", 7.0));
    assert_eq!(scene.pass().retired, 1);
    assert_eq!((scene.kinds(), scene.total()), (vec![Value, Removal], None));
    for _ in 0..2 {
        assert_eq!(scene.due_pass().waiting, 1);
        assert_eq!((scene.kinds(), scene.total()), (vec![Value, Removal], None));
    }
    // The grace period is over.
    scene.state.retired.values_mut().for_each(|seen| *seen -= GRACE);
    assert_eq!(scene.due_pass().files, 1);
    assert_eq!((scene.kinds(), scene.total()), (vec![Value, Removal, Burial], None));
    scene.pass();
    assert_eq!((scene.kinds(), scene.total()), (vec![], None));
}

#[test]
fn a_series_in_a_file_that_is_not_compacted_is_hidden_until_a_process_resumes_the_file() {
    let mut scene = Scene::new(CompactFiles::Own);
    drop(scene.own("counter_7-0000000a.db", &[(Value, 2.0, 1.0), (Removal, 0.0, REMOVED)]));
    drop(scene.python("counter_8.db", 7.0));
    for _ in 0..3 {
        scene.due_pass();
        assert_eq!((scene.kinds(), scene.total()), (vec![Value, Removal], None));
    }
    let _living = OpenOptions::new().write(true).open(scene.dir.join("counter_8.db")).unwrap();
    assert_eq!(scene.total(), Some(9.0));
}

#[test]
fn a_buried_series_in_a_file_that_appears_before_the_next_check_is_not_dropped() {
    let mut scene = Scene::new(CompactFiles::Own);
    drop(scene.own("counter_7-0000000a.db", &[(Value, 2.0, 1.0), (Removal, 0.0, REMOVED)]));
    scene.pass();
    drop(scene.python("counter_8.db", 7.0));
    scene.pass();
    // The process of the Python client has ended: the series is hidden by its mark.
    assert_eq!((scene.kinds(), scene.total()), (vec![Value, Removal], None));
}

#[test]
fn a_file_with_an_entry_of_an_unknown_kind_stays_and_prevents_burials_of_its_series() {
    let mut scene = Scene::new(CompactFiles::Own);
    drop(scene.own("counter_7-0000000a.db", &[(Value, 2.0, 1.0), (Removal, 0.0, REMOVED)]));
    drop(scene.own("counter_8-0000000b.db", &[(Value, 3.0, 1.0), (Unknown(7), 0.0, 1.0)]));
    for _ in 0..3 {
        assert_eq!(scene.due_pass().damaged, 1);
        assert!(exists(&scene.dir, "counter_8-0000000b.db"));
        assert_eq!((scene.kinds(), scene.total()), (vec![Value, Removal], None));
    }
}

#[test]
fn a_directory_without_removed_series_is_not_read_again() {
    let mut scene = Scene::new(CompactFiles::Own);
    drop(scene.own("counter_7-0000000a.db", &[(Value, 2.0, 1.0), (Removal, 0.0, PRESENT)]));
    let _living = scene.own("counter_8-0000000b.db", &[(Value, 3.0, 1.0)]);
    for _ in 0..2 {
        scene.due_pass();
        assert_eq!((scene.kinds(), scene.total(), scene.generation()), (vec![Value], Some(5.0), 1));
        assert!(scene.state.burials.is_unused());
    }
}
