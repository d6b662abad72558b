//! By which label value a process is shown, in the modes that show each process by itself.
//!
//! A writer is shown by the name of its process (the pid) if no other writer is, else by more of its id. That is decided
//! when a collector first sees the writer, and kept for as long as the writer has a file or an entry in an archive:
//! a series whose labels change is another series. Of writers that are seen for the first time together, the one that
//! lives gets the name, if just one does; if none lives, the only one. An id that was chosen has no more to show than
//! the name, and goes before.
//!
//! A writer with a unique id is recognized by that id. One that has chosen its id is recognized by its id and by the
//! inodes of its files: another process may use the id again, and a compactor renames the files.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::gauge::{Source, SourceState};
use crate::file::sys::Identity;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The label values of all writers that were there at the last scrape.
#[derive(Default)]
pub(crate) struct ProcessLabels {
    /// By id: writers in several directories may have the same one.
    writers: Map<Box<str>, Vec<Writer>>,
    scrape: u64,
}

struct Writer {
    dir: u32,
    has_unique_id: bool,
    label: Arc<str>,
    /// The inodes of its files, where the id is not unique.
    files: Vec<Identity>,
    /// The scrape in which the files were noted.
    noted: u64,
    /// The last scrape in which it was there.
    seen: u64,
    /// Bitmap of the modes whose file was recognized under the unique id that a compactor gave it.
    renamed: u16,
}

/// What becomes of the label values of writers that are not among the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    Forgotten,
    /// The sources may be older than what is known.
    Kept,
}

/// The label values of one scrape.
#[derive(Debug, Default)]
pub(crate) struct Labelling {
    /// All values, each once.
    pub(crate) labels: Vec<Arc<str>>,
    /// The index of its value for each source.
    pub(crate) by_source: Vec<u32>,
}

/// A writer that is seen for the first time.
struct Newcomer<'s> {
    /// One of its sources.
    source: &'s Source,
    is_live: bool,
    /// Bitmap of the modes of its files.
    modes: u16,
    sources: Vec<usize>,
    label: Option<Arc<str>>,
}

impl ProcessLabels {
    /// The label values for the sources of a scrape. `dirs` has the names of all directories, by number.
    pub(crate) fn assign(
        &mut self,
        sources: &[Source],
        dirs: &[String],
        absent: Absent,
    ) -> Labelling {
        self.scrape += 1;
        let mut labels = self.recognize(sources);
        self.inherit(sources, &mut labels);
        if labels.contains(&None) {
            self.name_newcomers(sources, dirs, absent, &mut labels);
        }
        if absent == Absent::Forgotten {
            self.note_files(sources);
            let scrape = self.scrape;
            self.writers.retain(|_, writers| {
                writers.retain(|writer| writer.seen == scrape);
                !writers.is_empty()
            });
        }
        number(labels)
    }

    /// Labels the sources of writers that are known.
    fn recognize(&mut self, sources: &[Source]) -> Vec<Option<Arc<str>>> {
        let scrape = self.scrape;
        for source in sources {
            // One file that is still there is enough: a writer creates others later.
            if let Some(writer) = self.writer(source)
                && (writer.has_unique_id || writer.has(source))
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

    /// Labels what a compactor has given a unique id as the writer that had chosen its id.
    fn inherit(&mut self, sources: &[Source], labels: &mut [Option<Arc<str>>]) {
        let scrape = self.scrape;
        for (source, label) in sources.iter().zip(labels) {
            if label.is_some() || !(source.is_retired || source.is_archived) {
                continue;
            }
            let Some(former) = self.find(source.process(), source.dir, false) else { continue };
            let mode = 1 << source.mode as u16;
            let is_it = if source.is_retired {
                former.has(source)
            } else {
                // Retired and archived since the last scrape. If several were, the first is the oldest.
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

    /// Labels the sources of all other writers, and notes them.
    fn name_newcomers(
        &mut self,
        sources: &[Source],
        dirs: &[String],
        absent: Absent,
        labels: &mut [Option<Arc<str>>],
    ) {
        let scrape = self.scrape;
        let mut newcomers = newcomers(sources, labels);
        // Whoever had the id of a newcomer before is gone, or has another id.
        for newcomer in &newcomers {
            if let Some(writers) = self.writers.get_mut(&*newcomer.source.id) {
                writers.retain(|writer| !writer.is_of(newcomer.source) || writer.seen == scrape);
            }
        }
        let writers = self.writers.values().flatten();
        let writers = writers.filter(|it| it.seen == scrape || absent == Absent::Kept);
        let mut taken: HashSet<Arc<str>> = writers.map(|it| Arc::clone(&it.label)).collect();
        for at in elected(&newcomers) {
            let label = Arc::from(newcomers[at].source.process());
            if taken.insert(Arc::clone(&label)) {
                newcomers[at].label = Some(label);
            }
        }
        for newcomer in newcomers {
            let label = newcomer.label.unwrap_or_else(|| {
                let label = free_label(newcomer.source, dirs, |label| taken.contains(label));
                taken.insert(Arc::clone(&label));
                label
            });
            for at in newcomer.sources {
                self.insert(&sources[at], Arc::clone(&label));
                labels[at] = Some(Arc::clone(&label));
            }
        }
    }

    /// Notes the inodes by which writers are recognized at the next scrape.
    fn note_files(&mut self, sources: &[Source]) {
        let scrape = self.scrape;
        for source in sources.iter().filter(|source| !source.has_unique_id()) {
            let Some(writer) = self.writer(source) else { continue };
            if std::mem::replace(&mut writer.noted, scrape) != scrape {
                writer.files.clear();
            }
            writer.files.extend(source.identity);
        }
    }

    fn writer(&mut self, source: &Source) -> Option<&mut Writer> {
        self.find(&source.id, source.dir, source.has_unique_id())
    }

    fn find(&mut self, id: &str, dir: u32, has_unique_id: bool) -> Option<&mut Writer> {
        let mut writers = self.writers.get_mut(id)?.iter_mut();
        writers.find(|writer| (writer.dir, writer.has_unique_id) == (dir, has_unique_id))
    }

    fn insert(&mut self, source: &Source, label: Arc<str>) {
        if self.writer(source).is_some() {
            return;
        }
        self.writers.entry(source.id.clone()).or_default().push(Writer {
            dir: source.dir,
            has_unique_id: source.has_unique_id(),
            label,
            files: Vec::new(),
            noted: 0,
            seen: self.scrape,
            renamed: 0,
        });
    }
}

impl Writer {
    fn is_of(&self, source: &Source) -> bool {
        (self.dir, self.has_unique_id) == (source.dir, source.has_unique_id())
    }

    /// Whether a file is one of its files. What has no inode is found by its id.
    fn has(&self, source: &Source) -> bool {
        source.identity.is_none_or(|identity| self.files.contains(&identity))
    }
}

/// The writers of the sources that have no label yet, in the order of their first sources.
fn newcomers<'s>(sources: &'s [Source], labels: &[Option<Arc<str>>]) -> Vec<Newcomer<'s>> {
    let mut newcomers: Vec<Newcomer<'_>> = Vec::new();
    let mut by_id: Map<(u32, bool, &str), Vec<usize>> = Map::default();
    let new = sources.iter().enumerate().filter(|(at, _)| labels[*at].is_none());
    for (number, source) in new {
        let mode = 1 << source.mode as u16;
        // Each file of a process gets a unique id of its own when it is retired. A process has one file of a mode.
        let id = if source.is_retired { source.process() } else { &*source.id };
        let same = by_id.entry((source.dir, source.is_retired, id)).or_default();
        let is_it = |at: &usize| !source.is_retired || newcomers[*at].modes & mode == 0;
        let at = same.iter().copied().find(is_it).unwrap_or_else(|| {
            let (sources, label) = (Vec::new(), None);
            newcomers.push(Newcomer { source, is_live: false, modes: 0, sources, label });
            same.push(newcomers.len() - 1);
            newcomers.len() - 1
        });
        let newcomer = &mut newcomers[at];
        newcomer.is_live |= source.state == SourceState::Live;
        newcomer.modes |= mode;
        newcomer.sources.push(number);
    }
    newcomers
}

/// The newcomers that are shown by the names of their processes, unless these are taken.
fn elected(newcomers: &[Newcomer<'_>]) -> Vec<usize> {
    #[derive(Default)]
    struct Candidates {
        live: Vec<usize>,
        all: Vec<usize>,
        with_chosen_id: Vec<usize>,
    }
    let mut processes: Map<&str, Candidates> = Map::default();
    for (at, newcomer) in newcomers.iter().enumerate() {
        let candidates = processes.entry(newcomer.source.process()).or_default();
        candidates.all.push(at);
        if newcomer.is_live {
            candidates.live.push(at);
        }
        if !newcomer.source.has_unique_id() {
            candidates.with_chosen_id.push(at);
        }
    }
    let elect = |candidates: Candidates| {
        let Candidates { live, all, with_chosen_id } = candidates;
        // The name of the process is all of an id that was chosen.
        match (&*with_chosen_id, &*live, &*all) {
            ([one], ..) | (_, [one], _) | (_, [], [one]) => Some(*one),
            _ => None,
        }
    };
    processes.into_values().filter_map(elect).collect()
}

/// A label value that tells more than the name of the process: the whole id, with its directory where there are
/// several, and with a number where even that is taken.
fn free_label(source: &Source, dirs: &[String], is_taken: impl Fn(&str) -> bool) -> Arc<str> {
    let id = &*source.id;
    if source.has_unique_id() && !is_taken(id) {
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
    let mut number = 2;
    loop {
        let label = format!("{whole}#{number}");
        if !is_taken(&label) {
            return label.into();
        }
        number += 1;
    }
}

/// Gives each label value a number.
fn number(labels: Vec<Option<Arc<str>>>) -> Labelling {
    let (mut labelling, mut numbers) = (Labelling::default(), Map::<Arc<str>, u32>::default());
    labelling.by_source.reserve(labels.len());
    for label in labels {
        let label = label.unwrap_or_default();
        let next = labelling.labels.len() as u32;
        let number = *numbers.entry(label).or_insert_with_key(|label| {
            labelling.labels.push(Arc::clone(label));
            next
        });
        labelling.by_source.push(number);
    }
    labelling
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

    fn shown(known: &mut ProcessLabels, sources: &[Source]) -> Vec<String> {
        let dirs = ["a", "b"].map(str::to_owned);
        let several = sources.iter().any(|source| source.dir > 0);
        let dirs = if several { &dirs[..] } else { &dirs[..1] };
        let labelling = known.assign(sources, dirs, Absent::Forgotten);
        let label = |number: &u32| labelling.labels[*number as usize].to_string();
        labelling.by_source.iter().map(label).collect()
    }

    fn shown_anew(sources: &[Source]) -> Vec<String> {
        shown(&mut ProcessLabels::default(), sources)
    }

    #[test]
    fn a_process_is_shown_by_its_whole_id_only_where_two_would_be_one() {
        use SourceState::{Dead, Live, Merged};
        let sources = [
            ("7-0000000a", "7", Live, "7"),
            ("7-0000000a", "7", Live, "7"),
            ("8-0000000b", "8", Live, "8-0000000b"),
            ("8", "8", Live, "8"),
            ("web-1", "web-1", Live, "web-1"),
            // The living one keeps the name of a dead one.
            ("9-0000000c", "9", Dead, "9-0000000c"),
            ("9-0000000d", "9", Live, "9"),
            ("5-0000000e", "5", Dead, "5"),
            ("6-0000000f", "6", Dead, "6-0000000f"),
            ("6-00000010", "6", Dead, "6-00000010"),
            ("archive", "archive", Merged(GaugeMode::Min), "archive"),
        ];
        let all: Vec<Source> = sources.iter().map(|it| source(it.0, it.1, it.2)).collect();
        assert_eq!(shown_anew(&all), sources.map(|(.., shown)| shown));
    }

    #[test]
    fn equal_ids_in_two_directories_are_shown_with_their_directories() {
        use SourceState::{Dead, Live};
        let in_b = |id, process, state| Source { dir: 1, ..source(id, process, state) };
        let of_b = in_b("7", "7", Live);
        assert_eq!(shown_anew(&[source("7", "7", Live), of_b.clone()]), ["a/7", "b/7"]);
        assert_eq!(shown_anew(&[source("7", "7", Dead), of_b.clone()]), ["a/7", "7"]);
        let own = [source("7-0000000a", "7", Live), in_b("7-0000000b", "7", Live)];
        assert_eq!(shown_anew(&own), ["7-0000000a", "7-0000000b"]);
        let copied = [source("7-0000000a", "7", Dead), in_b("7-0000000a", "7", Dead)];
        assert_eq!(shown_anew(&copied), ["7-0000000a", "b/7-0000000a"]);
        // Who was there first stays as it was.
        let mut known = ProcessLabels::default();
        assert_eq!(shown(&mut known, std::slice::from_ref(&of_b)), ["7"]);
        assert_eq!(shown(&mut known, &[source("7", "7", Live), of_b]), ["a/7", "7"]);
    }

    #[test]
    fn a_process_whose_files_are_being_retired_keeps_its_name() {
        let of_mode = |mode, source| Source { mode, ..source };
        let all = retired("7-0000000a", "7");
        let sum = of_mode(GaugeMode::Sum, retired("7-0000000b", "7"));
        let rest = source("7", "7", SourceState::Dead);
        assert_eq!(shown_anew(&[all.clone(), sum.clone()]), ["7", "7"]);
        let two = [all, retired("7-0000000c", "7"), sum];
        assert_eq!(shown_anew(&two), ["7-0000000a", "7-0000000c", "7-0000000a"]);
        let partly = [rest, two[1].clone()];
        assert_eq!(shown_anew(&partly), ["7", "7-0000000c"]);
    }

    #[test]
    fn an_id_that_is_used_again_does_not_take_the_name_of_a_process_that_has_ended() {
        use SourceState::{Dead, Live};
        let identity = |inode| Some(Identity { device: 1, inode });
        let file = |inode, state| Source { identity: identity(inode), ..source("2", "2", state) };
        let gone = Source { identity: identity(10), ..retired("2-767425dc", "2") };
        let archived =
            Source { is_archived: true, is_retired: false, identity: None, ..gone.clone() };
        let mut known = ProcessLabels::default();
        assert_eq!(shown(&mut known, &[file(10, Live)]), ["2"]);
        assert_eq!(shown(&mut known, &[file(10, Dead)]), ["2"]);
        assert_eq!(shown(&mut known, &[file(20, Live), gone]), ["2#2", "2"]);
        assert_eq!(shown(&mut known, &[file(20, Live), archived.clone()]), ["2#2", "2"]);
        // Retired and archived between two scrapes, and followed by another process.
        let second = Source { id: "2-0000000b".into(), ..archived.clone() };
        let both = [file(30, Live), archived, second.clone()];
        assert_eq!(shown(&mut known, &both), ["2#3", "2", "2#2"]);
        // A name is free when nothing is left of who had it.
        assert_eq!(shown(&mut known, &[second]), ["2#2"]);
        assert_eq!(shown(&mut known, &[file(40, Live)]), ["2"]);
        assert_eq!(known.writers.len(), 1);
        shown(&mut known, &[]);
        assert_eq!(known.writers.len(), 0);
    }

    /// What a process is at, in the life that it has in a directory.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Stage {
        Live,
        Dead,
        Retired,
        Archived,
        Gone,
    }

    #[derive(Clone, Debug)]
    struct Process {
        dir: u32,
        pid: u32,
        /// Of this crate; else of the Python client.
        is_own: bool,
        unique: u64,
        stage: Stage,
        /// Whether it has a second file.
        has_sum: bool,
        label: Option<String>,
    }

    impl Process {
        fn sources(&self) -> Vec<Source> {
            let &Process { dir, pid, is_own, unique, stage, has_sum, .. } = self;
            let process = pid.to_string();
            let state = if stage == Stage::Live { SourceState::Live } else { SourceState::Dead };
            let of_mode = |mode, number: u64| {
                let random = unique * 2 + number;
                let inode = if matches!(stage, Stage::Archived) { None } else { Some(random) };
                let is_unique = is_own || matches!(stage, Stage::Retired | Stage::Archived);
                // An id of its own for each file that is retired.
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
                Stage::Gone => Vec::new(),
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
                Stage::Archived | Stage::Gone => Stage::Gone,
            };
        }
    }

    proptest! {
        #[test]
        fn no_two_processes_have_one_label_and_none_changes_it(
            events in proptest::collection::vec(
                (0u8..6, 0u32..2, 0u32..2, any::<bool>(), 0usize..8, any::<bool>()), 1..60,
            ),
        ) {
            let mut known = ProcessLabels::default();
            let mut processes: Vec<Process> = Vec::new();
            let dirs = ["a", "b"].map(str::to_owned);
            for (at, (event, dir, pid, is_own, which, has_sum)) in events.into_iter().enumerate() {
                // The Python client opens the files of the pid if they are there. Its pids are not those of others.
                let pid = if is_own { pid + 10 } else { pid };
                let is_free = is_own || !processes.iter().any(|it| {
                    (it.dir, it.pid) == (dir, pid) && matches!(it.stage, Stage::Live | Stage::Dead)
                });
                match event {
                    0 if is_free => processes.push(Process {
                        dir, pid, is_own, has_sum,
                        unique: at as u64 + 1,
                        stage: Stage::Live,
                        label: None,
                    }),
                    1..=3 => processes.iter_mut().skip(which).take(1).for_each(Process::step),
                    _ => {}
                }
                if event < 4 {
                    continue;
                }
                // An archive has what was archived first at its start.
                processes.sort_by_key(|it| (it.stage == Stage::Archived, it.unique));
                let all: Vec<Vec<Source>> = processes.iter().map(Process::sources).collect();
                let labelling = known.assign(&all.concat(), &dirs, Absent::Forgotten);
                let mut numbers = labelling.by_source.iter();
                let mut taken = HashSet::new();
                for (process, sources) in processes.iter_mut().zip(&all) {
                    let labels: Vec<&u32> = numbers.by_ref().take(sources.len()).collect();
                    let Some(&number) = labels.first() else { continue };
                    // Of two processes that are retired when they are first seen, nothing tells whose second file is
                    // whose.
                    let is_clear = matches!(process.stage, Stage::Live | Stage::Dead);
                    let is_same = labels.iter().all(|other| **other == *number);
                    prop_assert!(is_same || !is_clear, "{:?}", process);
                    prop_assert!(taken.insert(*number), "{:?} in {:?}", process, labelling.labels);
                    let label = labelling.labels[*number as usize].to_string();
                    let former = process.label.get_or_insert_with(|| label.clone());
                    prop_assert_eq!(&label, &*former, "{:?}", sources);
                }
                processes.retain(|it| it.stage != Stage::Gone);
                let left: usize = known.writers.values().map(Vec::len).sum();
                prop_assert!(left <= all.concat().len());
            }
        }
    }
}
