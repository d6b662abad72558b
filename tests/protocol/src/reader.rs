//! A scrape, which takes no lock until its attempts are used up.

use crate::search::Process;
use crate::state::{Broken, Config, Location, Mistake, PID, PID_AGAIN, Set, State, Steps, Total};

/// The next action of a reader.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Phase {
    #[default]
    Idle,
    /// Takes the shared lock.
    Lock,
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
    pub(crate) phase: Phase,
    /// Whether the path of the archive names another archive than the one that this reader has open.
    pub(crate) moved: bool,
    attempt: u8,
    /// The lock file that it has locked.
    lock: Option<u8>,
    /// Names that a slow listing has not reached yet.
    unlisted: Set,
    /// Names that are listed and not yet read.
    names: Set,
    /// The inode of the pid when the listing reached it.
    pid_inode: Option<u8>,
    /// Inodes read in the directory.
    read: Set,
    /// Names that the archive lists.
    skipped: Set,
    /// The recorded increments when the scrape began.
    before: Total,
    total: Total,
}

impl Reader {
    pub(crate) fn has_locked(&self, lock: u8) -> bool {
        self.lock == Some(lock)
    }
}

pub(crate) fn steps(number: u8, state: &State, config: &Config, steps: &mut Steps<'_>) {
    steps.process = Process::Reader(number);
    let mut scrape = Scrape { number, state: *state, config, steps };
    match scrape.reader().phase {
        Phase::Idle | Phase::Archive => scrape.open_archive(),
        Phase::Lock => scrape.lock(),
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

    fn makes(&self, mistake: Mistake) -> bool {
        self.config.makes(mistake)
    }

    /// Idle readers have no state, so only the first one starts.
    fn open_archive(mut self) {
        if self.reader().phase == Phase::Idle {
            let before = &self.state.readers[..usize::from(self.number)];
            if before.iter().any(|reader| reader.phase == Phase::Idle) {
                return;
            }
            self.reader().before = self.state.counted;
        }
        let archive = self.state.archive;
        let last = self.makes(Mistake::ArchiveLast);
        let retired_first = self.makes(Mistake::RetiredFirst);
        let reader = self.reader();
        reader.moved = false;
        reader.read = Set::default();
        if !last {
            reader.total = archive.total;
            reader.skipped = archive.sources;
        }
        self.start_list(if retired_first { Phase::ListRetired } else { Phase::List });
        self.push("opens the archive", None);
    }

    fn lock(mut self) {
        let lock = self.state.lock_file;
        if self.state.compactors.iter().all(|compactor| !compactor.holds(lock)) {
            let reader = self.reader();
            reader.lock = Some(lock);
            reader.phase = Phase::Archive;
            self.push("takes the shared lock", None);
        }
    }

    fn start_list(&mut self, phase: Phase) {
        let names = if phase == Phase::List {
            let pid = (self.config.pythons > 0).then_some(PID);
            let again = self.makes(Mistake::NamesTwice).then_some(PID_AGAIN);
            (0..self.config.own).chain(pid).chain(again).collect()
        } else {
            (self.config.own..self.config.own + self.config.pythons).collect()
        };
        let reader = self.reader();
        reader.phase = phase;
        reader.unlisted = names;
        reader.names = Set::default();
        reader.pid_inode = None;
    }

    fn list(mut self) {
        if self.config.slow_listing {
            return self.list_slowly();
        }
        let main = self.reader().phase == Phase::List;
        self.reader().names = self.present();
        self.after_list();
        self.push(if main { "lists the directory" } else { "lists `retired/`" }, None);
    }

    /// The listing reaches each name at some moment, and contains it if it exists at that moment.
    fn list_slowly(mut self) {
        let (before, present) = (self.state, self.present());
        let pid_inode = before.pid_file(self.config);
        for name in self.reader().unlisted.iter() {
            self.state = before;
            let reader = self.reader();
            let listed = if name == PID_AGAIN {
                reader.pid_inode.is_some() && pid_inode.is_some() && reader.pid_inode != pid_inode
            } else {
                present.has(name)
            };
            if name == PID {
                reader.pid_inode = pid_inode;
            }
            if listed {
                reader.names.insert(name);
            }
            reader.unlisted.remove(name);
            if reader.unlisted.is_empty() {
                self.after_list();
            }
            self.push(if listed { "lists" } else { "does not list" }, Some(name));
        }
    }

    /// The names in the directory that is being listed.
    fn present(&mut self) -> Set {
        match self.reader().phase {
            Phase::List => self.state.main_names(self.config),
            _ => self.state.retired_names(),
        }
    }

    fn after_list(&mut self) {
        let reader = self.reader();
        reader.names = reader.names.without(reader.skipped);
        reader.unlisted = Set::default();
        reader.phase = if reader.phase == Phase::List { Phase::Main } else { Phase::Retired };
        self.after_read();
    }

    fn after_read(&mut self) {
        let retired_first = self.makes(Mistake::RetiredFirst);
        let reader = self.reader();
        if !reader.names.is_empty() {
            return;
        }
        match (reader.phase, retired_first) {
            (Phase::Main, false) => self.start_list(Phase::ListRetired),
            (Phase::Retired, true) => self.start_list(Phase::List),
            _ => reader.phase = Phase::Check,
        }
    }

    fn read(mut self) {
        let before = self.state;
        let once = !self.makes(Mistake::NoCountingOnce);
        let main = self.reader().phase == Phase::Main;
        let location = if main { Location::Main } else { Location::Retired };
        for name in self.reader().names.iter() {
            self.state = before;
            let inode = if name >= PID_AGAIN { before.pid_file(self.config) } else { Some(name) };
            let inode = inode.filter(|&inode| before.location(inode) == location);
            let reader = self.reader();
            reader.names.remove(name);
            let does = match inode {
                None => "cannot find",
                Some(inode) if !main && once && reader.read.has(inode) => "has already read",
                Some(inode) => {
                    reader.total.add(inode, before.counted.of(inode));
                    if main {
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
        let (archive, counted) = (self.state.archive, self.state.counted);
        let (config, last) = (self.config, self.makes(Mistake::ArchiveLast));
        let reader = *self.reader();
        let mut accepts = last || self.makes(Mistake::NoSecondLook);
        let used_up = reader.attempt + 1 == config.attempts;
        accepts |= used_up && self.makes(Mistake::NoLockAtLast);
        if reader.moved && !accepts {
            let reader = self.reader();
            let locked = reader.lock.is_some();
            *reader = Reader { before: reader.before, lock: reader.lock, ..Reader::default() };
            reader.phase = if used_up && !locked { Phase::Lock } else { Phase::Archive };
            reader.attempt = if used_up { config.attempts - 1 } else { config.attempts.min(1) };
            self.push("sees that the archive was replaced and starts over", None);
            return;
        }
        let mut total = reader.total;
        if last {
            // The name of a Python file read in the directory is its pid, which is not listed as a source.
            for inode in archive.sources.iter() {
                if inode < config.own || !reader.read.has(inode) {
                    total.clear(inode);
                }
            }
            total = total.plus(archive.total);
        }
        let broken = if !total.covers(reader.before) {
            Some(Broken::Missed)
        } else if !counted.covers(total) {
            Some(Broken::Exceeded)
        } else {
            None
        };
        *self.reader() = Reader::default();
        self.steps.push_checked("opens the archive again and is done", None, self.state, broken);
    }
}
