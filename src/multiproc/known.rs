//! Files as they were found at the last scrape.
//!
//! A file is as it was if nothing but its mapping was stored to: name, inode, length and time of change say
//! so. Then its entries are where they were, and only what is beyond them is parsed.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::gauge::SourceState;
use super::liveness::Liveness;
use super::merge::{Merge, Origin, Place};
use super::plans::Plan;
use super::problem::Cause;
use super::scan::DeadGauges;
use crate::file::layout::{Entries, HEADER_LEN, WORD_LEN};
use crate::file::map::{ReadMap, bytes_of};
use crate::file::name::FileName;
use crate::file::reader::{self, ReadError, Reader};
use crate::file::sys::{self, Stat};
use crate::model::GaugeMode;

/// A file that was changed a shorter time ago may be changed again at the same time, as clocks of file
/// systems show it.
const TICK: Duration = Duration::from_millis(20);

/// How long it is believed that the writer of a file lives, where nothing but a figure depends on it.
const LIVENESS_VALIDITY: Duration = Duration::from_secs(5);

/// How the values of known files are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Access {
    #[default]
    Read,
    /// By mappings, which a truncation would make fatal but for the guard of the process.
    Map,
}

/// What is known of a file.
pub(super) struct Known {
    stat: Stat,
    plan: Arc<Plan>,
    /// Bytes of the file that the plan covers.
    used: u32,
    is_own: bool,
    map: Option<ReadMap>,
    liveness: Liveness,
    asked: Instant,
}

/// A file to be added.
pub(super) struct Candidate<'a> {
    pub(super) dir: &'a File,
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    pub(super) name: FileName<'a>,
    pub(super) place: Place,
}

/// What became of a file.
pub(super) enum Added {
    /// To be remembered, if anything is known of it.
    Known(Option<Box<Known>>),
    /// It ends before the values that it had: everything is to be read again.
    Truncated,
}

/// What files are read with.
pub(super) struct Tools<'a> {
    pub(super) merge: &'a mut Merge,
    pub(super) reader: &'a mut Reader,
    pub(super) access: Access,
    pub(super) dead_gauges: DeadGauges,
    pub(super) now: Instant,
}

impl Tools<'_> {
    /// Adds a file that has this state in its directory; gives its liveness too.
    pub(super) fn add(
        &mut self,
        it: &Candidate<'_>,
        stat: Stat,
        known: Option<Box<Known>>,
    ) -> (Added, Option<Liveness>) {
        let known = known.filter(|known| known.stat == stat);
        let is_gauge = it.name.kind.mode().is_some();
        let has_lock = it.place == Place::File && it.name.is_own();
        let recent = known
            .as_ref()
            .filter(|known| !is_gauge && self.now.duration_since(known.asked) < LIVENESS_VALIDITY);
        let recent = recent.map(|known| (known.liveness, known.asked));
        let mut file = None;
        if recent.is_none() || known.as_ref().is_none_or(|known| known.map.is_none()) {
            match reader::open_at(it.dir, it.text) {
                Ok(opened) => file = Some(opened),
                Err(error) => {
                    if !error.is_vanished() {
                        self.merge.problems.add(it.path, Cause::Read(error));
                    }
                    return (Added::Known(None), None);
                }
            }
        }
        let (liveness, asked) = match (recent, &file) {
            (Some(recent), _) => recent,
            (None, Some(file)) => (Liveness::of(file, has_lock), self.now),
            (None, None) => (Liveness::Unknown, self.now),
        };
        let is_dead = liveness == Liveness::Dead;
        let is_live_gauge = it.name.kind.mode().is_some_and(GaugeMode::is_live);
        if is_dead && is_live_gauge && self.dead_gauges == DeadGauges::Skipped {
            return (Added::Known(known), Some(liveness));
        }
        // A process of the Python client has just created it.
        if liveness == Liveness::Alive && !has_lock && stat.len == 0 {
            return (Added::Known(None), Some(liveness));
        }
        let state = if is_dead { SourceState::Dead } else { SourceState::Live };
        let origin = Origin { path: it.path, name: it.name, state, place: it.place };
        let mut known = match known {
            Some(known) => match self.follow(&origin, known, file.as_ref()) {
                Followed::Known(known) => Some(known),
                Followed::Truncated => return (Added::Truncated, Some(liveness)),
                Followed::Changed => None,
            },
            None => None,
        };
        if known.is_none() {
            let file = match file {
                Some(file) => Ok(file),
                None => reader::open_at(it.dir, it.text),
            };
            known = match file {
                Ok(file) => self.learn(&origin, &file, stat),
                Err(_) => None,
            };
        }
        if let Some(known) = &mut known {
            (known.liveness, known.asked) = (liveness, asked);
        }
        (Added::Known(known), Some(liveness))
    }

    /// Adds the values of a file by what is known of it. Nothing is added where that does not hold.
    fn follow(
        &mut self,
        origin: &Origin<'_>,
        mut known: Box<Known>,
        file: Option<&File>,
    ) -> Followed {
        let words;
        let header = match (&known.map, file) {
            (Some(map), _) => map.word(0),
            (None, Some(file)) => {
                let end = known.used / WORD_LEN as u32;
                words = match self.reader.read_words(file, 0..end) {
                    Ok(words) if words.len() == end as usize => words,
                    _ => return Followed::Changed,
                };
                words.first().copied().unwrap_or_default()
            }
            (None, None) => return Followed::Changed,
        };
        let Some((is_own, used)) = reader::used(header, known.stat.len) else {
            return Followed::Changed;
        };
        if is_own != known.is_own || used < known.used || (used > known.used && !is_own) {
            return Followed::Changed;
        }
        // What is new is read from the file; the values of before are in the mapping or in the buffer.
        let mut buffer = Reader::default();
        let mut new = None;
        if used > known.used {
            let Some(file) = file else {
                // It is opened and read as a whole: files get new series seldom.
                return Followed::Changed;
            };
            let word = WORD_LEN as u32;
            let tail = match buffer.read_words(file, known.used / word..used / word) {
                Ok(tail) if tail.len() * WORD_LEN == (used - known.used) as usize => tail,
                _ => return Followed::Changed,
            };
            new = Some(Entries::resume(bytes_of(tail), known.used as usize));
        }
        let plan = Arc::clone(&known.plan);
        let (plan, result) = match &known.map {
            Some(map) => self.merge.follow(plan, origin, map, new),
            None => self.merge.follow(plan, origin, &self.reader.words(), new),
        };
        if known.map.as_ref().is_some_and(ReadMap::has_faulted) {
            return Followed::Truncated;
        }
        (known.plan, known.used) = (plan, used);
        if let Err(error) = result {
            self.merge.problems.add(origin.path, Cause::Entry(error));
            // Read anew at the next scrape.
            known.stat.changed = i128::MIN;
        }
        Followed::Known(known)
    }

    /// Reads a file as a whole, and notes what there is to be known of it.
    fn learn(&mut self, origin: &Origin<'_>, file: &File, stat: Stat) -> Option<Box<Known>> {
        let learnt = read_whole(self.merge, self.reader, origin, file)?;
        let Learnt { plan, used, is_own } = learnt;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let age = since_epoch.as_nanos() as i128 - stat.changed;
        if used <= HEADER_LEN as u32 || age <= TICK.as_nanos() as i128 {
            return None;
        }
        let map = (self.access == Access::Map).then(|| ReadMap::new(file, stat.len)).flatten();
        let (liveness, asked) = (Liveness::Unknown, self.now);
        Some(Box::new(Known { stat, plan, used, is_own, map, liveness, asked }))
    }
}

/// What is learnt by reading a file.
struct Learnt {
    plan: Arc<Plan>,
    used: u32,
    is_own: bool,
}

/// Adds a file of which nothing is known.
pub(super) fn learn(merge: &mut Merge, reader: &mut Reader, origin: &Origin<'_>, file: &File) {
    read_whole(merge, reader, origin, file);
}

/// Reads a file as a whole. One that is cut off or damaged is read a second time: its writer may have been in
/// the middle of it. `None` where something is wrong with it still.
fn read_whole(
    merge: &mut Merge,
    reader: &mut Reader,
    origin: &Origin<'_>,
    file: &File,
) -> Option<Learnt> {
    let mut begun: Option<Arc<Plan>> = None;
    let mut failure = None;
    for _ in 0..2 {
        let snapshot = match reader.read(file) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let is_final = !matches!(error, ReadError::Layout(_));
                failure = Some(Cause::Read(error));
                if is_final {
                    break;
                }
                continue;
            }
        };
        let (used, is_own) = (snapshot.used, snapshot.is_own);
        match merge.learn(origin, begun.as_deref(), snapshot.entries) {
            (plan, Ok(())) => return Some(Learnt { plan, used, is_own }),
            (plan, Err(error)) => {
                begun = Some(plan);
                failure = Some(Cause::Entry(error));
            }
        }
    }
    if let Some(cause) = failure {
        merge.problems.add(origin.path, cause);
    }
    None
}

/// What became of what was known.
enum Followed {
    Known(Box<Known>),
    /// It does not hold, and nothing was added.
    Changed,
    Truncated,
}

/// What a name of a directory stands for now; `None` where that is not to be added.
pub(super) fn stat(merge: &mut Merge, dir: &File, path: &Path, name: &str) -> Option<Stat> {
    match sys::stat_at(dir.as_fd(), name) {
        Ok(stat) => Some(stat),
        Err(error) => {
            let error = ReadError::Open(error);
            if !error.is_vanished() {
                merge.problems.add(path, Cause::Read(error));
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::map::guard_mappings;
    use crate::multiproc::tables::Number;
    use std::fs;

    /// A file of the Python client, with as many entries that it has pages behind the first.
    fn write(path: &Path) {
        let mut bytes = vec![0; HEADER_LEN];
        for number in 0..200 {
            let key = format!("[\"c_total\", \"c_total\", {{\"n\": \"{number}\"}}, \"Help.\"]");
            bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
            bytes.extend_from_slice(key.as_bytes());
            bytes.resize(bytes.len() + 8 - bytes.len() % 8, b' ');
            bytes.extend_from_slice(&2.0f64.to_bits().to_le_bytes());
            bytes.extend_from_slice(&[0; 8]);
        }
        let used = bytes.len() as u32;
        bytes[..4].copy_from_slice(&used.to_le_bytes());
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_file_that_is_cut_off_while_its_values_are_added_is_read_anew() {
        guard_mappings().unwrap();
        let dir = std::env::temp_dir().join(format!("multiprom-known-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        let path = dir.join("counter_7.db");
        write(&path);
        let written = Instant::now();
        while written.elapsed() < TICK + Duration::from_millis(10) {
            std::thread::yield_now();
        }

        let (mut merge, mut reader) = (Merge::default(), Reader::default());
        assert!(merge.begin());
        let handle = File::open(&dir).unwrap();
        let text = "counter_7.db";
        let name = FileName::parse(text).unwrap();
        let stat = sys::stat_at(handle.as_fd(), text).unwrap();
        let mut tools = Tools {
            merge: &mut merge,
            reader: &mut reader,
            access: Access::Map,
            dead_gauges: DeadGauges::Skipped,
            now: Instant::now(),
        };
        let place = Place::File;
        let candidate = Candidate { dir: &handle, path: &path, text, name, place };
        let (Added::Known(Some(known)), Some(Liveness::Dead)) = tools.add(&candidate, stat, None)
        else {
            panic!("nothing is known of the file");
        };
        tools.merge.restart();
        let origin = Origin { path: &path, name, state: SourceState::Dead, place };
        let Followed::Known(known) = tools.follow(&origin, known, None) else {
            panic!("it is as it was");
        };
        tools.merge.settle();
        assert_eq!(tools.merge.sum(Number::new(200)), Some(2.0));
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
        assert!(matches!(tools.follow(&origin, known, None), Followed::Truncated));
        fs::remove_dir_all(&dir).unwrap();
    }
}
