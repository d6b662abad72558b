//! A scrape. It restarts until the archive was not replaced; the lock after the last attempt is in the model of
//! compaction.

use crate::removal::state::{Broken, Config, Entry, Mistake, State, Steps};
use crate::search::Process;
use crate::state::{Location, MAX_INODES, PID, Set, Total};

/// The next action of a reader.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Phase {
    #[default]
    Idle,
    /// Opens the archive.
    Archive,
    /// Lists the directory.
    List,
    /// Opens and reads the listed files.
    Main,
    ListRetired,
    Retired,
    /// Opens the archive again.
    Check,
}

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Reader {
    phase: Phase,
    /// Whether the path of the archive names another archive than the one that this reader has open.
    pub(crate) moved: bool,
    /// Names that are listed and not yet read.
    names: Set,
    /// Inodes read in the directory.
    read: Set,
    /// Names that the archive lists.
    skipped: Set,
    /// The inodes whose writers were dead when the attempt began.
    dead: Set,
    view: View,
    since: Since,
}

/// What the archive and the files contain.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
struct View {
    total: Total,
    burial: bool,
    /// Whether there is a removal record in state removed.
    record: bool,
    /// Whether a living process exports the series.
    exported: bool,
}

/// What happened since the scrape began; the reader itself does not know it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
struct Since {
    /// The increments that were recorded before.
    recorded: Total,
    /// The last total that a scrape had exported before.
    shown: Total,
    /// Whether the series was hidden at some moment since that scrape.
    hidden: bool,
    /// The living processes that have exported the series all the time.
    exporters: Set,
    /// Whether there was a removal record at some moment.
    record: bool,
    /// Whether the series was gone all the time.
    gone: bool,
}

impl Reader {
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Updates the history of this scrape after a step of any process.
    pub(crate) fn observe(&mut self, record: bool, hidden: bool, gone: bool, exporters: Set) {
        if !self.is_idle() {
            let since = &mut self.since;
            since.record |= record;
            since.hidden |= hidden && !since.shown.is_zero();
            since.gone &= gone;
            since.exporters = since.exporters.intersection(exporters);
        }
    }
}

impl View {
    fn of_archive(state: &State, config: &Config) -> Self {
        let archive = &state.archive;
        Self {
            total: archive.total,
            burial: archive.burial && !config.makes(Mistake::BurialIgnored),
            record: archive.mark && !config.makes(Mistake::RecordsOfLivingOnly),
            exported: false,
        }
    }

    fn add(&mut self, inode: u8, lives: bool, state: &State, config: &Config) {
        let retired = state.location(inode) == Location::Retired;
        let lives = lives && !(retired && config.makes(Mistake::RetiredAreDead));
        let removed = state.entry(inode) == Entry::Removed;
        self.exported |= lives && state.entry(inode) == Entry::Exported;
        self.record |= removed && (lives || !config.makes(Mistake::RecordsOfLivingOnly));
        if !removed || !config.makes(Mistake::RemovedNotAdded) {
            self.total.add(inode, state.values.of(inode));
        }
    }

    /// The rule of the merge.
    fn shows(&self) -> bool {
        let hidden = self.burial || self.record && !self.exported;
        !hidden && !self.total.is_zero()
    }
}

/// Whether a scrape at this moment would export the series.
pub(crate) fn shows(state: &State, config: &Config) -> bool {
    let mut view = View::of_archive(state, config);
    for inode in state.files(config) {
        view.add(inode, state.lives(inode, config), state, config);
    }
    view.shows()
}

pub(crate) fn steps(number: u8, state: &State, config: &Config, steps: &mut Steps<'_>) {
    steps.process = Process::Reader(number);
    let mut scrape = Scrape { number, state: *state, config, steps };
    match scrape.reader().phase {
        Phase::Idle | Phase::Archive => scrape.open_archive(),
        Phase::List | Phase::ListRetired => scrape.list(),
        Phase::Main | Phase::Retired => scrape.read(),
        Phase::Check => scrape.check(),
    }
}

struct Scrape<'a, 'b> {
    number: u8,
    state: State,
    config: &'a Config,
    steps: &'a mut Steps<'b>,
}

impl Scrape<'_, '_> {
    fn reader(&mut self) -> &mut Reader {
        &mut self.state.readers[usize::from(self.number)]
    }

    fn push(&mut self, does: &'static str, name: Option<u8>) {
        self.steps.push(does, name, self.state);
    }

    /// Idle readers have no state, so only the first one starts.
    fn open_archive(mut self) {
        if self.reader().is_idle() {
            let before = &self.state.readers[..usize::from(self.number)];
            if before.iter().any(Reader::is_idle) {
                return;
            }
            let history = self.state.history;
            let since = Since {
                recorded: history.recorded,
                shown: history.shown,
                hidden: history.hidden,
                exporters: self.state.exporters(self.config),
                record: self.state.has_record(self.config),
                gone: history.gone,
            };
            self.reader().since = since;
        }
        let view = View::of_archive(&self.state, self.config);
        let (skipped, since) = (self.state.archive.sources, self.reader().since);
        let exists = |inode| self.state.location(inode) != Location::Nowhere;
        let dead = |inode| exists(inode) && !self.state.lives(inode, self.config);
        let dead = (0..MAX_INODES).filter(|&inode| self.config.early_liveness && dead(inode));
        let dead = dead.collect();
        let reader = Reader { phase: Phase::List, skipped, dead, view, since, ..Reader::default() };
        *self.reader() = reader;
        self.push("opens the archive", None);
    }

    fn list(mut self) {
        let main = self.reader().phase == Phase::List;
        let names =
            if main { self.state.main_names(self.config) } else { self.state.retired_names() };
        let reader = self.reader();
        reader.names = names.without(reader.skipped);
        reader.phase = if main { Phase::Main } else { Phase::Retired };
        self.after_read();
        self.push(if main { "lists the directory" } else { "lists `retired/`" }, None);
    }

    fn after_read(&mut self) {
        let has_retired = self.config.pythons > 0;
        let reader = self.reader();
        if reader.names.is_empty() {
            let main = reader.phase == Phase::Main;
            reader.phase = if main && has_retired { Phase::ListRetired } else { Phase::Check };
        }
    }

    fn read(mut self) {
        let before = self.state;
        let main = self.reader().phase == Phase::Main;
        let location = if main { Location::Main } else { Location::Retired };
        if let Some(name) = self.reader().names.first() {
            let inode = before.inode(name, self.config);
            let inode = inode.filter(|&inode| before.location(inode) == location);
            let config = self.config;
            let reader = self.reader();
            reader.names.remove(name);
            let does = match inode {
                None => "cannot find",
                Some(inode) if !main && reader.read.has(inode) => "has already read",
                Some(inode) => {
                    let lives = if config.early_liveness {
                        !reader.dead.has(inode)
                    } else {
                        before.lives(inode, config)
                    };
                    reader.view.add(inode, lives, &before, config);
                    // Only a file of the Python client can have a second name.
                    if name == PID {
                        reader.read.insert(inode);
                    }
                    "reads"
                }
            };
            self.after_read();
            self.push(does, Some(name));
        }
    }

    fn check(mut self) {
        let reader = *self.reader();
        if reader.moved {
            let since = reader.since;
            *self.reader() = Reader { phase: Phase::Archive, since, ..Reader::default() };
            self.push("sees that the archive was replaced and starts over", None);
            return;
        }
        *self.reader() = Reader::default();
        let (broken, does) = if reader.view.shows() {
            let broken = self.broken(reader.view.total, &reader.since);
            self.remember(reader.view.total, &reader.since);
            (broken, "opens the archive again and exports the series")
        } else {
            let since = &reader.since;
            let dropped = self.state.history.dropped.covers(since.recorded);
            let expected = !since.exporters.is_empty() || !since.record && !since.gone && !dropped;
            let broken = (expected && !reader.view.burial).then_some(Broken::NotShown);
            (broken, "opens the archive again and does not export the series")
        };
        self.steps.push_checked(does, None, self.state, broken);
    }

    /// The property that an exported total violates.
    fn broken(&self, total: Total, since: &Since) -> Option<Broken> {
        let history = &self.state.history;
        if since.gone {
            Some(Broken::ShownAgain)
        } else if !history.recorded.covers(total) {
            Some(Broken::Exceeded)
        } else if !total.plus(history.dropped).covers(since.recorded) {
            Some(Broken::Fell)
        } else if total.covers(since.shown) {
            None
        } else if !since.hidden {
            Some(Broken::Fell)
        } else {
            let again = |inode| since.shown.of(inode) > 0 && total.of(inode) > 0;
            (0..MAX_INODES).any(again).then_some(Broken::CountedAgain)
        }
    }

    fn remember(&mut self, total: Total, since: &Since) {
        let history = &mut self.state.history;
        history.shown =
            if total.covers(since.shown) { total.maximum(history.shown) } else { total };
        history.hidden = false;
    }
}
