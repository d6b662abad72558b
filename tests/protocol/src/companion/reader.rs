//! A scrape of main and companion files. It restarts until the archive was not replaced.

use crate::companion::{
    Broken, Config, State, Steps, WRITERS, companion_of, mains, with_companions,
};
use crate::search::Process;
use crate::state::{Set, Total};

/// The next action of a reader.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
enum Phase {
    #[default]
    Idle,
    /// Opens the archive.
    Archive,
    /// Lists the directory.
    List,
    /// Opens and reads the listed files.
    Files,
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
    /// Names that the archive lists.
    skipped: Set,
    /// The recorded increments when the scrape began.
    before: Total,
    archived: Total,
    total: Total,
}

impl Reader {
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }
}

pub(crate) fn steps(number: u8, state: &State, config: &Config, steps: &mut Steps<'_>) {
    steps.process = Process::Reader(number);
    let mut scrape = Scrape { number, state: *state, config, steps };
    match scrape.reader().phase {
        Phase::Idle | Phase::Archive => scrape.open_archive(),
        Phase::List => scrape.list(),
        Phase::Files => scrape.read(),
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
            self.reader().before = self.state.counted;
        }
        let (archive, before) = (self.state.archive, self.reader().before);
        *self.reader() = Reader {
            phase: Phase::List,
            skipped: archive.sources,
            before,
            archived: archive.total,
            total: archive.total,
            ..Reader::default()
        };
        self.push("opens the archive", None);
    }

    fn list(mut self) {
        let (names, pairs) = (self.state.names(), self.config.pairs);
        let reader = self.reader();
        reader.names = names.without(reader.skipped);
        if pairs {
            let paired = with_companions(mains(reader.names));
            reader.names = reader.names.intersection(paired);
        }
        self.after_read();
        self.push("lists the directory", None);
    }

    fn after_read(&mut self) {
        let reader = self.reader();
        reader.phase = if reader.names.is_empty() { Phase::Check } else { Phase::Files };
    }

    fn read(mut self) {
        let before = self.state;
        for name in before.readers[usize::from(self.number)].names.iter() {
            self.state = before;
            let reader = self.reader();
            reader.names.remove(name);
            if before.exists(name) {
                reader.total.add(name, before.counted.of(name));
            }
            self.after_read();
            self.push(if before.exists(name) { "reads" } else { "cannot find" }, Some(name));
        }
    }

    fn check(mut self) {
        let counted = self.state.counted;
        let reader = *self.reader();
        if reader.moved {
            let before = reader.before;
            *self.reader() = Reader { phase: Phase::Archive, before, ..Reader::default() };
            self.push("sees that the archive was replaced and starts over", None);
            return;
        }
        let unpaired = |main| {
            let companion = companion_of(main);
            reader.archived.of(main) > 0 && reader.total.of(companion) != counted.of(companion)
        };
        let broken = if !counted.covers(reader.total) {
            Some(Broken::Exceeded)
        } else if !reader.total.covers(reader.before) {
            Some(Broken::Missed)
        } else {
            (0..WRITERS).any(unpaired).then_some(Broken::Unpaired)
        };
        *self.reader() = Reader::default();
        self.steps.push_checked("opens the archive again and is done", None, self.state, broken);
    }
}
