//! The label value of each process, in the gauge modes that export one series per process.
//!
//! A writer is labeled with the name of its process (the pid), unless another writer has that label; then with more of
//! its id. The label is chosen when a collector first sees the writer, and kept for as long as the writer has a file or
//! an entry in an archive, because a change of labels would make another series. Of writers that are first seen in one
//! scrape, the one that lives gets the name if exactly one does; if none lives, the only one gets it. A writer whose
//! whole id is the name has no other label to choose and takes precedence.
//!
//! A writer with a unique id is recognized by that id. A writer that has chosen its id is recognized by its id and the
//! inodes of its files: another process may use the same id later, and a compactor renames the files.

use std::collections::HashSet;
use std::sync::Arc;

use super::source::{Source, SourceState};
use crate::file::name::IdKind;
use crate::file::sys::Identity;
use crate::multiproc::fast_map::FastMap;

/// The label values of all writers of the last scrape.
#[derive(Default)]
pub(crate) struct ProcessLabels {
    /// By id, which writers in several directories may share.
    writers: FastMap<Box<str>, Vec<LabeledWriter>>,
    scrape: u64,
    /// The label values of the last scrape and the version of its sources, if they have one.
    last: Option<(u64, Arc<SourceLabels>)>,
}

struct LabeledWriter {
    dir: u32,
    id_kind: IdKind,
    label: Arc<str>,
    /// The inodes of its files; empty if the id is unique.
    files: Vec<Identity>,
    /// The scrape in which `files` was updated.
    files_updated: u64,
    /// The last scrape that saw the writer.
    seen: u64,
    /// Bitmap of the modes whose file was recognized under the unique id of a retired file.
    renamed: u16,
}

/// Whether the labels of writers that are not among the sources are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AbsentWriters {
    Removed,
    /// The sources may be older than those of another scrape.
    Kept,
}

/// The label values of one scrape.
#[derive(Debug, Default)]
pub(crate) struct SourceLabels {
    /// All values, without repetitions.
    pub(crate) labels: Vec<Arc<str>>,
    /// The index of its value for each source.
    pub(crate) by_source: Vec<u32>,
}

/// A writer that has no label yet.
struct NewWriter<'s> {
    /// One of its sources.
    source: &'s Source,
    is_live: bool,
    /// Bitmap of the modes of its files.
    modes: u16,
    sources: Vec<usize>,
    label: Option<Arc<str>>,
}

impl ProcessLabels {
    /// The label values for the sources of a scrape. If the last scrape had sources of this version too, its values are returned.
    pub(crate) fn assign_version(
        &mut self,
        version: Option<u64>,
        sources: &[Source],
        dirs: &[String],
        absent: AbsentWriters,
    ) -> Arc<SourceLabels> {
        if let Some((last, labels)) = &self.last
            && Some(*last) == version
        {
            return Arc::clone(labels);
        }
        let labels = Arc::new(self.assign(sources, dirs, absent));
        self.last = version.map(|version| (version, Arc::clone(&labels)));
        labels
    }

    /// The label values for the sources of a scrape. `dirs` has the names of all directories, by index.
    pub(crate) fn assign(
        &mut self,
        sources: &[Source],
        dirs: &[String],
        absent: AbsentWriters,
    ) -> SourceLabels {
        self.scrape += 1;
        let mut labels = self.recognize(sources);
        self.inherit(sources, &mut labels);
        if labels.contains(&None) {
            self.name_new_writers(sources, dirs, absent, &mut labels);
        }
        if absent == AbsentWriters::Removed {
            self.store_files(sources);
            let scrape = self.scrape;
            self.writers.retain(|_, writers| {
                writers.retain(|writer| writer.seen == scrape);
                !writers.is_empty()
            });
        }
        index_labels(labels)
    }

    /// Labels the sources of writers that already have a label.
    fn recognize(&mut self, sources: &[Source]) -> Vec<Option<Arc<str>>> {
        let scrape = self.scrape;
        for source in sources {
            // One file that still exists is enough: a writer creates others later.
            if let Some(writer) = self.writer(source)
                && (writer.id_kind == IdKind::Unique || writer.has(source))
            {
                writer.seen = scrape;
            }
        }
        let label = |source| {
            let writer = self.writer(source).filter(|writer| writer.seen == scrape)?;
            Some(Arc::clone(&writer.label))
        };
        sources.iter().map(label).collect()
    }

    /// Gives retired and archived files, which have an id of their own, the label of the writer that had chosen the
    /// former id.
    fn inherit(&mut self, sources: &[Source], labels: &mut [Option<Arc<str>>]) {
        let scrape = self.scrape;
        for (source, label) in sources.iter().zip(labels) {
            if label.is_some() || !(source.is_retired || source.is_archived) {
                continue;
            }
            let Some(former) = self.find(source.process(), source.dir, IdKind::Chosen) else {
                continue;
            };
            let mode = 1 << source.mode as u16;
            let is_it = if source.is_retired {
                former.has(source)
            } else {
                // The file was retired and archived since the last scrape. If several were, the first is the oldest.
                former.seen != scrape && former.renamed & mode == 0
            };
            if is_it {
                former.renamed |= mode;
                *label = Some(Arc::clone(&former.label));
                let label = Arc::clone(&former.label);
                self.insert(source, label);
            }
        }
    }

    /// Labels the sources of all other writers.
    fn name_new_writers(
        &mut self,
        sources: &[Source],
        dirs: &[String],
        absent: AbsentWriters,
        labels: &mut [Option<Arc<str>>],
    ) {
        let scrape = self.scrape;
        let mut new_writers = new_writers(sources, labels);
        // A former writer with the id of a new one has disappeared, or its files have another id.
        for new_writer in &new_writers {
            if let Some(writers) = self.writers.get_mut(&*new_writer.source.id) {
                writers.retain(|writer| !writer.is_of(new_writer.source) || writer.seen == scrape);
            }
        }
        let writers = self.writers.values().flatten();
        let writers = writers.filter(|it| it.seen == scrape || absent == AbsentWriters::Kept);
        let mut taken: HashSet<Arc<str>> = writers.map(|it| Arc::clone(&it.label)).collect();
        for at in elected(&new_writers) {
            let label = Arc::from(new_writers[at].source.process());
            if taken.insert(Arc::clone(&label)) {
                new_writers[at].label = Some(label);
            }
        }
        for new_writer in new_writers {
            let label = new_writer.label.unwrap_or_else(|| {
                let label = free_label(new_writer.source, dirs, |label| taken.contains(label));
                taken.insert(Arc::clone(&label));
                label
            });
            for at in new_writer.sources {
                self.insert(&sources[at], Arc::clone(&label));
                labels[at] = Some(Arc::clone(&label));
            }
        }
    }

    /// Stores the inodes by which the next scrape recognizes writers.
    fn store_files(&mut self, sources: &[Source]) {
        let scrape = self.scrape;
        for source in sources.iter().filter(|source| source.id_kind() == IdKind::Chosen) {
            let Some(writer) = self.writer(source) else { continue };
            if std::mem::replace(&mut writer.files_updated, scrape) != scrape {
                writer.files.clear();
            }
            writer.files.extend(source.identity);
        }
    }

    fn writer(&mut self, source: &Source) -> Option<&mut LabeledWriter> {
        self.find(&source.id, source.dir, source.id_kind())
    }

    fn find(&mut self, id: &str, dir: u32, id_kind: IdKind) -> Option<&mut LabeledWriter> {
        let mut writers = self.writers.get_mut(id)?.iter_mut();
        writers.find(|writer| (writer.dir, writer.id_kind) == (dir, id_kind))
    }

    fn insert(&mut self, source: &Source, label: Arc<str>) {
        if self.writer(source).is_some() {
            return;
        }
        self.writers.entry(source.id.clone()).or_default().push(LabeledWriter {
            dir: source.dir,
            id_kind: source.id_kind(),
            label,
            files: Vec::new(),
            files_updated: 0,
            seen: self.scrape,
            renamed: 0,
        });
    }
}

impl LabeledWriter {
    fn is_of(&self, source: &Source) -> bool {
        (self.dir, self.id_kind) == (source.dir, source.id_kind())
    }

    /// Whether a file is one of its files. A source without an inode is recognized by its id alone.
    fn has(&self, source: &Source) -> bool {
        source.identity.is_none_or(|identity| self.files.contains(&identity))
    }
}

/// The writers of the sources that have no label yet, in the order of their first sources.
fn new_writers<'s>(sources: &'s [Source], labels: &[Option<Arc<str>>]) -> Vec<NewWriter<'s>> {
    let mut new_writers: Vec<NewWriter<'_>> = Vec::new();
    let mut by_id: FastMap<(u32, bool, &str), Vec<usize>> = FastMap::default();
    let new = sources.iter().enumerate().filter(|(at, _)| labels[*at].is_none());
    for (index, source) in new {
        let mode = 1 << source.mode as u16;
        // Each file of a process gets a unique id of its own when it is retired. A process has one file of a mode.
        let id = if source.is_retired { source.process() } else { &*source.id };
        let same = by_id.entry((source.dir, source.is_retired, id)).or_default();
        let is_it = |at: &usize| !source.is_retired || new_writers[*at].modes & mode == 0;
        let at = same.iter().copied().find(is_it).unwrap_or_else(|| {
            let (sources, label) = (Vec::new(), None);
            new_writers.push(NewWriter { source, is_live: false, modes: 0, sources, label });
            same.push(new_writers.len() - 1);
            new_writers.len() - 1
        });
        let new_writer = &mut new_writers[at];
        new_writer.is_live |= source.state == SourceState::Live;
        new_writer.modes |= mode;
        new_writer.sources.push(index);
    }
    new_writers
}

/// The indices of the writers that are labeled with the names of their processes, unless the names are taken.
fn elected(new_writers: &[NewWriter<'_>]) -> Vec<usize> {
    #[derive(Default)]
    struct Candidates {
        live: Vec<usize>,
        all: Vec<usize>,
        with_chosen_id: Vec<usize>,
    }
    let mut processes: FastMap<&str, Candidates> = FastMap::default();
    for (at, new_writer) in new_writers.iter().enumerate() {
        let candidates = processes.entry(new_writer.source.process()).or_default();
        candidates.all.push(at);
        if new_writer.is_live {
            candidates.live.push(at);
        }
        if new_writer.source.id_kind() == IdKind::Chosen {
            candidates.with_chosen_id.push(at);
        }
    }
    let elect = |candidates: Candidates| {
        let Candidates { live, all, with_chosen_id } = candidates;
        // A chosen id is the name of the process as a whole.
        match (&*with_chosen_id, &*live, &*all) {
            ([one], ..) | (_, [one], _) | (_, [], [one]) => Some(*one),
            _ => None,
        }
    };
    processes.into_values().filter_map(elect).collect()
}

/// A label value that is longer than the name of the process: the whole id, with the directory if there are several,
/// and with a number if that is taken too.
fn free_label(source: &Source, dirs: &[String], is_taken: impl Fn(&str) -> bool) -> Arc<str> {
    let id = &*source.id;
    if source.id_kind() == IdKind::Unique && !is_taken(id) {
        return id.into();
    }
    let mut whole = id.to_owned();
    if let [_, _, ..] = dirs {
        let dir = dirs.get(source.dir as usize).map_or("", String::as_str);
        whole = format!("{dir}/{id}");
        if !is_taken(&whole) {
            return whole.into();
        }
    }
    let mut suffix = 2;
    loop {
        let label = format!("{whole}#{suffix}");
        if !is_taken(&label) {
            return label.into();
        }
        suffix += 1;
    }
}

/// Replaces label values by indices into a list without repetitions.
fn index_labels(labels: Vec<Option<Arc<str>>>) -> SourceLabels {
    let (mut source_labels, mut indices) =
        (SourceLabels::default(), FastMap::<Arc<str>, u32>::default());
    source_labels.by_source.reserve(labels.len());
    for label in labels {
        let label = label.unwrap_or_default();
        let next = source_labels.labels.len() as u32;
        let index = *indices.entry(label).or_insert_with_key(|label| {
            source_labels.labels.push(Arc::clone(label));
            next
        });
        source_labels.by_source.push(index);
    }
    source_labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GaugeMode;
    use proptest::prelude::*;

    fn source(id: &str, process: &str, state: SourceState) -> Source {
        Source {
            dir: 0,
            id: id.into(),
            process_len: process.len(),
            mode: GaugeMode::All,
            is_retired: false,
            is_archived: false,
            identity: None,
            state,
        }
    }

    fn retired(id: &str, process: &str) -> Source {
        Source { is_retired: true, ..source(id, process, SourceState::Dead) }
    }

    fn shown(process_labels: &mut ProcessLabels, sources: &[Source]) -> Vec<String> {
        let dirs = ["a", "b"].map(str::to_owned);
        let several = sources.iter().any(|source| source.dir > 0);
        let dirs = if several { &dirs[..] } else { &dirs[..1] };
        let source_labels = process_labels.assign(sources, dirs, AbsentWriters::Removed);
        let label = |index: &u32| source_labels.labels[*index as usize].to_string();
        source_labels.by_source.iter().map(label).collect()
    }

    fn shown_first(sources: &[Source]) -> Vec<String> {
        shown(&mut ProcessLabels::default(), sources)
    }

    #[test]
    fn a_process_is_labeled_with_its_whole_id_only_if_its_name_is_taken() {
        use SourceState::{Dead, Live, Merged};
        let sources = [
            ("7-0000000a", "7", Live, "7"),
            ("7-0000000a", "7", Live, "7"),
            ("8-0000000b", "8", Live, "8-0000000b"),
            ("8", "8", Live, "8"),
            ("web-1", "web-1", Live, "web-1"),
            // The living process gets the name, the dead one does not.
            ("9-0000000c", "9", Dead, "9-0000000c"),
            ("9-0000000d", "9", Live, "9"),
            ("5-0000000e", "5", Dead, "5"),
            ("6-0000000f", "6", Dead, "6-0000000f"),
            ("6-00000010", "6", Dead, "6-00000010"),
            ("archive", "archive", Merged(GaugeMode::Min), "archive"),
        ];
        let all: Vec<Source> = sources.iter().map(|it| source(it.0, it.1, it.2)).collect();
        assert_eq!(shown_first(&all), sources.map(|(.., shown)| shown));
    }

    #[test]
    fn equal_ids_in_two_directories_are_labeled_with_their_directories() {
        use SourceState::{Dead, Live};
        let in_b = |id, process, state| Source { dir: 1, ..source(id, process, state) };
        let of_b = in_b("7", "7", Live);
        assert_eq!(shown_first(&[source("7", "7", Live), of_b.clone()]), ["a/7", "b/7"]);
        assert_eq!(shown_first(&[source("7", "7", Dead), of_b.clone()]), ["a/7", "7"]);
        let own = [source("7-0000000a", "7", Live), in_b("7-0000000b", "7", Live)];
        assert_eq!(shown_first(&own), ["7-0000000a", "7-0000000b"]);
        let copied = [source("7-0000000a", "7", Dead), in_b("7-0000000a", "7", Dead)];
        assert_eq!(shown_first(&copied), ["7-0000000a", "b/7-0000000a"]);
        // The writer that was seen first keeps its label.
        let mut process_labels = ProcessLabels::default();
        assert_eq!(shown(&mut process_labels, std::slice::from_ref(&of_b)), ["7"]);
        assert_eq!(shown(&mut process_labels, &[source("7", "7", Live), of_b]), ["a/7", "7"]);
    }

    #[test]
    fn a_process_whose_files_are_being_retired_keeps_its_name() {
        let of_mode = |mode, source| Source { mode, ..source };
        let all = retired("7-0000000a", "7");
        let sum = of_mode(GaugeMode::Sum, retired("7-0000000b", "7"));
        let rest = source("7", "7", SourceState::Dead);
        assert_eq!(shown_first(&[all.clone(), sum.clone()]), ["7", "7"]);
        let two = [all, retired("7-0000000c", "7"), sum];
        assert_eq!(shown_first(&two), ["7-0000000a", "7-0000000c", "7-0000000a"]);
        let partly = [rest, two[1].clone()];
        assert_eq!(shown_first(&partly), ["7", "7-0000000c"]);
    }

    #[test]
    fn a_reused_id_does_not_take_the_label_of_a_process_that_has_ended() {
        use SourceState::{Dead, Live};
        let identity = |inode| Some(Identity { device: 1, inode });
        let file = |inode, state| Source { identity: identity(inode), ..source("2", "2", state) };
        let retired_file = Source { identity: identity(10), ..retired("2-767425dc", "2") };
        let archived =
            Source { is_archived: true, is_retired: false, identity: None, ..retired_file.clone() };
        let mut process_labels = ProcessLabels::default();
        assert_eq!(shown(&mut process_labels, &[file(10, Live)]), ["2"]);
        assert_eq!(shown(&mut process_labels, &[file(10, Dead)]), ["2"]);
        assert_eq!(shown(&mut process_labels, &[file(20, Live), retired_file]), ["2#2", "2"]);
        assert_eq!(shown(&mut process_labels, &[file(20, Live), archived.clone()]), ["2#2", "2"]);
        // Retired and archived between two scrapes, and replaced by another process.
        let second = Source { id: "2-0000000b".into(), ..archived.clone() };
        let both = [file(30, Live), archived, second.clone()];
        assert_eq!(shown(&mut process_labels, &both), ["2#3", "2", "2#2"]);
        // A label is free when its writer has neither files nor archive entries.
        assert_eq!(shown(&mut process_labels, &[second]), ["2#2"]);
        assert_eq!(shown(&mut process_labels, &[file(40, Live)]), ["2"]);
        assert_eq!(process_labels.writers.len(), 1);
        shown(&mut process_labels, &[]);
        assert_eq!(process_labels.writers.len(), 0);
    }

    /// The state of a process and its files in a directory.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Stage {
        Live,
        Dead,
        Retired,
        Archived,
        Removed,
    }

    #[derive(Clone, Debug)]
    struct TestProcess {
        dir: u32,
        pid: u32,
        /// Whether it uses this crate; else the Python client.
        is_own: bool,
        unique: u64,
        stage: Stage,
        /// Whether it has a second file.
        has_sum: bool,
        label: Option<String>,
    }

    impl TestProcess {
        fn sources(&self) -> Vec<Source> {
            let &TestProcess { dir, pid, is_own, unique, stage, has_sum, .. } = self;
            let process = pid.to_string();
            let state = if stage == Stage::Live { SourceState::Live } else { SourceState::Dead };
            let of_mode = |mode, number: u64| {
                let random = unique * 2 + number;
                let inode = if matches!(stage, Stage::Archived) { None } else { Some(random) };
                let is_unique = is_own || matches!(stage, Stage::Retired | Stage::Archived);
                // Each retired file gets an id of its own.
                let random = if is_own { unique * 2 } else { random };
                let id = if is_unique { format!("{pid}-{random:08x}") } else { process.clone() };
                Source {
                    dir,
                    mode,
                    is_retired: stage == Stage::Retired,
                    is_archived: stage == Stage::Archived,
                    identity: inode.map(|inode| Identity { device: 1, inode }),
                    ..source(&id, &process, state)
                }
            };
            match stage {
                Stage::Removed => Vec::new(),
                Stage::Archived => vec![of_mode(GaugeMode::All, 0)],
                _ if has_sum => vec![of_mode(GaugeMode::All, 0), of_mode(GaugeMode::Sum, 1)],
                _ => vec![of_mode(GaugeMode::All, 0)],
            }
        }

        fn step(&mut self) {
            self.stage = match self.stage {
                Stage::Live => Stage::Dead,
                Stage::Dead if self.is_own => Stage::Archived,
                Stage::Dead => Stage::Retired,
                Stage::Retired => Stage::Archived,
                Stage::Archived | Stage::Removed => Stage::Removed,
            };
        }
    }

    proptest! {
        #[test]
        fn labels_of_processes_are_distinct_and_never_change(
            events in proptest::collection::vec(
                (0u8..6, 0u32..2, 0u32..2, any::<bool>(), 0usize..8, any::<bool>()), 1..60,
            ),
        ) {
            let mut process_labels = ProcessLabels::default();
            let mut processes: Vec<TestProcess> = Vec::new();
            let dirs = ["a", "b"].map(str::to_owned);
            for (at, (event, dir, pid, is_own, which, has_sum)) in events.into_iter().enumerate() {
                // The Python client opens existing files of its pid. Its pids differ from those of this crate's
                // processes.
                let pid = if is_own { pid + 10 } else { pid };
                let is_free = is_own || !processes.iter().any(|it| {
                    (it.dir, it.pid) == (dir, pid) && matches!(it.stage, Stage::Live | Stage::Dead)
                });
                match event {
                    0 if is_free => processes.push(TestProcess {
                        dir, pid, is_own, has_sum,
                        unique: at as u64 + 1,
                        stage: Stage::Live,
                        label: None,
                    }),
                    1..=3 => processes.iter_mut().skip(which).take(1).for_each(TestProcess::step),
                    _ => {}
                }
                if event < 4 {
                    continue;
                }
                // An archive begins with what was archived first.
                processes.sort_by_key(|it| (it.stage == Stage::Archived, it.unique));
                let all: Vec<Vec<Source>> = processes.iter().map(TestProcess::sources).collect();
                let source_labels = process_labels.assign(&all.concat(), &dirs, AbsentWriters::Removed);
                let mut indices = source_labels.by_source.iter();
                let mut taken = HashSet::new();
                for (process, sources) in processes.iter_mut().zip(&all) {
                    let labels: Vec<&u32> = indices.by_ref().take(sources.len()).collect();
                    let Some(&index) = labels.first() else { continue };
                    // If two processes are retired when they are first seen, it is unknown to which of them a second
                    // file belongs.
                    let is_determined = matches!(process.stage, Stage::Live | Stage::Dead);
                    let is_same = labels.iter().all(|other| **other == *index);
                    prop_assert!(is_same || !is_determined, "{:?}", process);
                    prop_assert!(taken.insert(*index), "{:?} in {:?}", process, source_labels.labels);
                    let label = source_labels.labels[*index as usize].to_string();
                    let former = process.label.get_or_insert_with(|| label.clone());
                    prop_assert_eq!(&label, &*former, "{:?}", sources);
                }
                processes.retain(|it| it.stage != Stage::Removed);
                let left: usize = process_labels.writers.values().map(Vec::len).sum();
                prop_assert!(left <= all.concat().len());
            }
        }
    }
}
