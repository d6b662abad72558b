//! Property test: a collector with a cache exports the same as a new one, after any sequence of events in a directory.
//! The exposition is valid whatever the directory holds.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{CompactFiles, Compactor, MultiProcessCollector, MultiProcessCollectorBuilder};
use crate::file::SampleCells;
use crate::file::key;
use crate::file::layout::EntryKind;
use crate::file::name::{FileKind, WriterId};
use crate::file::writer::{FileAccess, NewEntry, Room, SeriesWriter};
use crate::model::{Collector as _, FamilyIndex, FamilyMetadata, FamilySink, GaugeMode, Sample};
use crate::test_dir::TestDir;

/// An event in a directory.
#[derive(Clone, Debug)]
enum Event {
    /// A worker appends entries with these names and values.
    Record {
        worker: usize,
        kind: usize,
        entries: Vec<(usize, f64)>,
    },
    /// A worker stores into an entry.
    Store {
        worker: usize,
        kind: usize,
        entry: usize,
        value: f64,
    },
    /// A worker removes a series, or brings it back.
    Forget {
        worker: usize,
        kind: usize,
        name: usize,
        is_removed: bool,
    },
    /// A worker closes its files.
    End {
        worker: usize,
    },
    /// The Python client writes a file with these names and values. It replaces a file of the same name.
    Python {
        dir: usize,
        pid: usize,
        kind: usize,
        entries: Vec<(usize, f64)>,
    },
    Remove {
        file: usize,
    },
    Truncate {
        file: usize,
        len: u64,
    },
    Damage {
        file: usize,
        at: u64,
    },
    Copy {
        file: usize,
    },
    Compact {
        dir: usize,
        all: bool,
    },
    /// Nothing happens for so long that files count as settled.
    Rest,
}

const KINDS: [FileKind; 7] = [
    FileKind::Counter,
    FileKind::Summary,
    FileKind::Histogram,
    FileKind::Gauge(GaugeMode::All),
    FileKind::Gauge(GaugeMode::LiveSum),
    FileKind::Gauge(GaugeMode::MostRecent),
    FileKind::Gauge(GaugeMode::Sum),
];
const WORKERS: usize = 3;
const DIRS: usize = 2;

fn events() -> impl Strategy<Value = Vec<Event>> {
    let entries = || proptest::collection::vec((0usize..12, -4i32..100), 1..5);
    let entries = move || {
        entries().prop_map(|all| all.into_iter().map(|(name, v)| (name, f64::from(v))).collect())
    };
    let kind = || 0..KINDS.len();
    let event = prop_oneof![
        6 => (0..WORKERS, kind(), entries())
            .prop_map(|(worker, kind, entries)| Event::Record { worker, kind, entries }),
        4 => (0..WORKERS, kind(), 0usize..8, -4i32..100).prop_map(|(worker, kind, entry, value)| {
            Event::Store { worker, kind, entry, value: f64::from(value) }
        }),
        3 => (0..WORKERS, kind(), 0usize..12, any::<bool>()).prop_map(
            |(worker, kind, name, is_removed)| Event::Forget { worker, kind, name, is_removed },
        ),
        1 => (0..WORKERS).prop_map(|worker| Event::End { worker }),
        3 => (0..DIRS, 0usize..3, kind(), entries())
            .prop_map(|(dir, pid, kind, entries)| Event::Python { dir, pid, kind, entries }),
        1 => (0usize..9).prop_map(|file| Event::Remove { file }),
        1 => (0usize..9, 0u64..400).prop_map(|(file, len)| Event::Truncate { file, len }),
        1 => (0usize..9, 0u64..400).prop_map(|(file, at)| Event::Damage { file, at }),
        1 => (0usize..9).prop_map(|file| Event::Copy { file }),
        1 => (0..DIRS, any::<bool>()).prop_map(|(dir, all)| Event::Compact { dir, all }),
        4 => Just(Event::Rest),
    ];
    proptest::collection::vec(event, 1..14)
}

/// The key of one of twelve series per kind. Some have help texts of their own.
fn key_of(kind: FileKind, name: usize) -> Vec<u8> {
    // Some gauges and counters have the names of samples of other families.
    let suffix = match kind {
        FileKind::Gauge(_) if name.is_multiple_of(5) => ["", "_total", "_sum"][name / 5],
        FileKind::Counter if name.is_multiple_of(5) => ["", "", "_bucket"][name / 5],
        _ => "",
    };
    let family = format!("family{}{suffix}", name % 3);
    let label = (name / 3).to_string();
    let mut labels = Vec::new();
    if label != "3" {
        labels.push(("label", label.as_str()));
    }
    if matches!(kind, FileKind::Gauge(_)) && name.is_multiple_of(4) {
        labels.push(("pid", "chosen"));
    }
    let sample = match kind {
        FileKind::Counter => format!("{family}_total"),
        FileKind::Summary => format!("{family}_sum"),
        FileKind::Histogram => {
            labels.push(("le", if name.is_multiple_of(2) { "1.0" } else { "+Inf" }));
            format!("{family}_bucket")
        }
        FileKind::Gauge(_) => family.clone(),
    };
    // Families with one name and several types conflict, and so do their help texts.
    let family_name = if name.is_multiple_of(5) { family } else { format!("{kind}_{family}") };
    let sample = sample.replacen(&format!("family{}{suffix}", name % 3), &family_name, 1);
    let help = if name.is_multiple_of(4) { "Some." } else { "Other." };
    let mut text = Vec::new();
    key::encode(&mut text, &family_name, &sample, labels.into_iter(), help);
    text
}

/// The key of the lead sample of a series.
fn lead_key_of(kind: FileKind, name: usize) -> Vec<u8> {
    let key = key_of(kind, name);
    let decoded = key::decode(&key).unwrap();
    if kind != FileKind::Histogram {
        return key;
    }
    let (mut main, labels) = (Vec::new(), decoded.labels.iter().filter(|(name, _)| name != "le"));
    let labels = labels.map(|(name, value)| (&**name, &**value));
    let help = decoded.help.unwrap_or_default();
    key::encode(&mut main, &decoded.family, &format!("{}_sum", decoded.family), labels, &help);
    main
}

/// A file of a worker, with the cells of its entries, and those of its removal records by series.
type WorkerFile = (SeriesWriter, Vec<SampleCells>, HashMap<usize, SampleCells>);

struct World {
    dirs: [PathBuf; DIRS],
    /// By worker and kind.
    writers: Vec<Vec<Option<WorkerFile>>>,
    ids: u32,
}

impl World {
    fn new(dirs: [PathBuf; DIRS]) -> World {
        let writers = (0..WORKERS).map(|_| KINDS.iter().map(|_| None).collect()).collect();
        World { dirs, writers, ids: 0 }
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = self.dirs.iter().flat_map(|dir| fs::read_dir(dir).unwrap());
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "db"))
            .collect();
        files.sort();
        files
    }

    fn pick(&self, file: usize) -> Option<PathBuf> {
        self.files().into_iter().nth(file)
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Record { worker, kind, entries } => {
                let slot = &mut self.writers[*worker][*kind];
                if slot.is_none() {
                    self.ids += 1;
                    // The first two workers have equal names, in two directories.
                    let (dir, process) = (&self.dirs[worker % DIRS], worker / DIRS);
                    let mut id = WriterId::new(&process.to_string(), self.ids);
                    let writer =
                        SeriesWriter::create(dir, KINDS[*kind], &mut id, FileAccess::Owner);
                    *slot = Some((writer.unwrap(), Vec::new(), HashMap::new()));
                }
                let (writer, cells, _) = slot.as_mut().unwrap();
                for (name, value) in entries {
                    let key = key_of(KINDS[*kind], *name);
                    let time = 1.0 + *value;
                    cells.push(writer.append(&key, *value, time, Room::Ordinary).unwrap());
                }
            }
            Event::Store { worker, kind, entry, value } => {
                if let Some((_, cells, _)) = &self.writers[*worker][*kind]
                    && let Some(cells) = cells.get(*entry)
                {
                    cells.time.set(value + 2.0);
                    cells.value.set(*value);
                }
            }
            Event::Forget { worker, kind, name, is_removed } => {
                let state = if *is_removed { -5.0 } else { 5.0 };
                let Some((writer, cells, records)) = &mut self.writers[*worker][*kind] else {
                    return;
                };
                if KINDS[*kind].mode().is_some() {
                    cells.get(*name).into_iter().for_each(|cells| cells.time.set(state));
                    return;
                }
                let record = records.entry(*name).or_insert_with(|| {
                    let key = lead_key_of(KINDS[*kind], *name);
                    let entry =
                        NewEntry { kind: EntryKind::Removal, key: &key, value: 0.0, time: state };
                    writer.append_all(&[entry], Room::Ordinary).unwrap()[0]
                });
                record.time.set(state);
            }
            Event::End { worker } => {
                for slot in &mut self.writers[*worker] {
                    slot.take().into_iter().for_each(|(writer, ..)| writer.close());
                }
            }
            Event::Python { dir, pid, kind, entries } => {
                let mut body = Vec::new();
                for (name, value) in entries {
                    let key = key_of(KINDS[*kind], *name);
                    let key = key.trim_ascii_end();
                    body.extend_from_slice(&(key.len() as u32).to_le_bytes());
                    body.extend_from_slice(key);
                    body.resize(body.len() + 8 - body.len() % 8, b' ');
                    body.extend_from_slice(&value.to_bits().to_le_bytes());
                    body.extend_from_slice(&(value + 1.0).to_bits().to_le_bytes());
                }
                let used = (body.len() + 8) as u32;
                let bytes = [&used.to_le_bytes()[..], &[0; 4], &body, &[0; 64]].concat();
                let name = format!("{}_{pid}.db", KINDS[*kind]);
                fs::write(self.dirs[*dir].join(name), bytes).unwrap();
            }
            Event::Remove { file } => {
                self.pick(*file).into_iter().for_each(|path| fs::remove_file(path).unwrap());
            }
            Event::Truncate { file, len } => {
                if let Some(path) = self.python(*file) {
                    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(*len).unwrap();
                }
            }
            Event::Damage { file, at } => {
                if let Some(path) = self.python(*file) {
                    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                    file.write_all_at(&[0xa5; 3], *at).unwrap();
                }
            }
            Event::Copy { file } => {
                self.ids += 1;
                if let Some(path) = self.pick(*file) {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    let (kind, _) = name.rsplit_once('_').unwrap();
                    let copy = format!("{kind}_9{}.db", self.ids);
                    fs::copy(&path, path.with_file_name(copy)).unwrap();
                }
            }
            Event::Compact { dir, all } => {
                let files = if *all { CompactFiles::All } else { CompactFiles::Own };
                let compactor = Compactor::builder().directory(&self.dirs[*dir]).files(files);
                compactor.build().unwrap().run().unwrap();
            }
            Event::Rest => {
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(25) {
                    std::thread::yield_now();
                }
            }
        }
    }

    /// A file that no writer of this test has mapped: a truncation would raise SIGBUS in the writer.
    fn python(&self, file: usize) -> Option<PathBuf> {
        let is_own = |path: &Path| path.to_str().is_some_and(|path| path.contains('-'));
        let path = self.pick(file)?;
        let name = Path::new(path.file_name()?);
        (!is_own(name)).then_some(path)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let writers = self.writers.drain(..).flatten().flatten();
        writers.for_each(|(writer, ..)| writer.close());
    }
}

/// How a collector merges.
#[derive(Clone, Copy, Debug)]
enum Flags {
    None,
    Mapped,
    /// Nothing is cached.
    Once,
    /// Labels are added, one of which some series have.
    Label,
    /// A label of series is that of processes.
    PidLabel,
    /// All gauges are exported by process.
    Mode,
}

/// A collector, and the problems that it reports.
struct Observed {
    collector: MultiProcessCollector,
    problems: Arc<Mutex<Vec<String>>>,
}

impl Observed {
    fn new(dirs: &[PathBuf], flags: Flags) -> Observed {
        let problems = Arc::new(Mutex::new(Vec::new()));
        let reported = Arc::clone(&problems);
        let builder = MultiProcessCollector::builder();
        let builder = dirs.iter().fold(builder, MultiProcessCollectorBuilder::directory);
        let builder =
            builder.on_problem(move |error| reported.lock().unwrap().push(error.to_string()));
        let builder = match flags {
            Flags::None => builder,
            Flags::Mapped => builder.map_files().unwrap(),
            Flags::Once => builder.scraped_once(),
            Flags::Label => builder.label("label", "1").label("other", "1"),
            Flags::PidLabel => builder.pid_label("label"),
            Flags::Mode => builder.gauge_mode(|_| Some(GaugeMode::All)),
        };
        Observed { collector: builder.build().unwrap(), problems }
    }

    fn scrape(&self) -> (Vec<String>, Vec<String>) {
        let mut page = CheckedPage::default();
        self.collector.collect(&mut page);
        // The collector's own metrics follow the merged families. They include ages and error counts.
        let end = page.lines.iter().position(|line| line.contains("\"multiprom_")).unwrap();
        page.lines.truncate(end);
        (page.lines, std::mem::take(&mut self.problems.lock().unwrap()))
    }
}

/// The exported lines. Checks that no series is repeated, and that no two families have a name in common.
#[derive(Default)]
struct CheckedPage {
    lines: Vec<String>,
    families: FamilyIndex<()>,
    family: String,
    series: HashSet<String>,
}

/// A label value without the parts that distinguish equal processes, which depend on the order in which they were seen.
fn process_of(value: &str) -> &str {
    let value = value.rsplit('/').next().unwrap_or(value);
    let value = value.split('#').next().unwrap_or(value);
    value.split('-').next().unwrap_or(value)
}

impl FamilySink for CheckedPage {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        let is_free = !self.families.find_colliding(head.name, head.metric_type, |_, _, ()| true);
        assert!(is_free, "{head:?} after {:#?}", self.lines);
        self.families.insert(head.name, head.metric_type, ());
        head.name.clone_into(&mut self.family);
        self.lines.push(format!("{head:?}"));
    }

    fn wants_created(&self) -> bool {
        true
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        assert!(
            sample.labels.iter().is_sorted_by(|(one, _), (other, _)| one < other),
            "{sample:?}"
        );
        let series = format!("{} {:?} {:?}", self.family, sample.kind, sample.labels);
        assert!(self.series.insert(series), "{sample:?} again in {:#?}", self.lines);
        let labels: Vec<(&str, &str)> =
            sample.labels.iter().map(|(name, value)| (name, process_of(value))).collect();
        self.lines.push(format!("{:?}", sample.with_labels(&labels)));
    }
}

proptest! {
    // `scripts/soak` runs more cases.
    #[test]
    fn a_cached_scrape_exports_what_a_new_collector_exports(
        events in events(),
        flags in proptest::sample::select(vec![Flags::Label, Flags::PidLabel, Flags::Mode]),
    ) {
        let root = TestDir::new();
        let dirs = ["a", "b"].map(|name| root.join(name));
        for dir in &dirs {
            fs::create_dir(dir).unwrap();
        }
        let mut world = World::new(dirs.clone());
        let all = [Flags::None, Flags::Mapped, Flags::Once, flags];
        let cached = all.map(|flags| Observed::new(&dirs, flags));
        for event in &events {
            world.apply(event);
            let new = Observed::new(&dirs, Flags::None).scrape();
            for collector in &cached[..3] {
                prop_assert_eq!(collector.scrape(), new.clone(), "after {:?}", event);
            }
            let new = Observed::new(&dirs, flags).scrape();
            prop_assert_eq!(cached[3].scrape(), new, "after {:?} with {:?}", event, flags);
        }
    }

    /// Values of gauges must be added in the order of files, even if a file has several of one gauge: a sum of these
    /// numbers depends on it, and of equal times the first value counts.
    #[test]
    fn files_that_begin_with_the_same_keys_are_added_as_one_after_the_other(
        kind in 0..KINDS.len(),
        common in proptest::collection::vec(0usize..12, 1..9),
        files in proptest::collection::vec(
            (proptest::collection::vec(0usize..12, 0..4), proptest::collection::vec(-2i32..9, 12)), 4..11,
        ),
        is_repeated in any::<bool>(),
    ) {
        let root = TestDir::new();
        let dirs = ["a", "b"].map(|name| root.join(name));
        for dir in &dirs {
            fs::create_dir(dir).unwrap();
        }
        let mut world = World::new(dirs.clone());
        for (pid, (own, values)) in files.iter().enumerate() {
            let mut names: Vec<usize> = common.iter().chain(own).copied().collect();
            if !is_repeated {
                let mut seen = HashSet::new();
                names.retain(|name| seen.insert(*name));
            }
            let values = values.iter().map(|value| f64::from(*value) * 0.1);
            let entries = names.into_iter().zip(values).collect();
            world.apply(&Event::Python { dir: 0, pid, kind, entries });
        }
        world.apply(&Event::Rest);
        let new = Observed::new(&dirs, Flags::None).scrape();
        let mapped = Observed::new(&dirs, Flags::Mapped);
        for _ in 0..3 {
            prop_assert_eq!(mapped.scrape(), new.clone());
        }
    }
}
