//! Files as they were found at the last scrape.
//!
//! A file is as it was if nothing but its mapping was stored to: name, inode, length and time of change say
//! so. Then its entries are where they were, and only what is beyond them is parsed.

use std::collections::HashMap;
use std::fs::File;
use std::hash::BuildHasher as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::dir_scan::DeadGauges;
use crate::file::layout::{Entries, HEADER_LEN, WORD_LEN};
use crate::file::name::{FileName, IdKind};
use crate::file::read_map::ReadMap;
use crate::file::reader::{self, ReadError, Reader};
use crate::file::sys::{self, Stat};
use crate::file::words::bytes_of;
use crate::model::GaugeMode;
use crate::multiproc::liveness::{Proof, Verdict};
use crate::multiproc::merge::gauge::SourceState;
use crate::multiproc::merge::plan::Plan;
use crate::multiproc::merge::state::{Merge, Origin, Place};
use crate::multiproc::prober::{Freshness, Prober, VALIDITY};
use crate::multiproc::skipped::Cause;

/// How the values of known files are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Access {
    #[default]
    Read,
    /// By mappings, which a truncation would make fatal but for the guard of the process.
    Map,
}

/// What is known of a file.
pub(crate) struct Known {
    pub(crate) name: Box<str>,
    stat: Stat,
    plan: Arc<Plan>,
    /// Bytes of the file that the plan covers.
    used: u32,
    is_own: bool,
    map: Option<ReadMap>,
    /// Kept open, where descriptors are to spare: a file is asked for in a third of the time then.
    file: Option<File>,
    verdict: Verdict,
    asked: Instant,
}

impl Known {
    /// The entries that the plan does not cover, in the bytes behind those that it does.
    fn new_entries<'a>(&self, tail: &'a [u8]) -> Option<Entries<'a>> {
        (!tail.is_empty()).then(|| Entries::resume(tail, self.used as usize))
    }
}

/// A file to be added.
pub(crate) struct Candidate<'a> {
    pub(crate) dir: &'a File,
    pub(crate) dir_path: &'a Path,
    /// Whether the names of the directory are those of the scrape before.
    pub(crate) is_same_listing: bool,
    pub(crate) text: &'a str,
    pub(crate) name: FileName<'a>,
    pub(crate) place: Place,
}

impl Candidate<'_> {
    fn path(&self) -> PathBuf {
        self.dir_path.join(self.text)
    }
}

/// A file as it was found.
pub(crate) struct Found {
    pub(crate) stat: Stat,
    /// Where it had to be opened.
    file: Option<File>,
    /// What holds of what was known.
    known: Option<Box<Known>>,
}

/// What became of a file.
pub(crate) struct Added {
    /// To be remembered.
    pub(crate) known: Option<Box<Known>>,
    pub(crate) verdict: Verdict,
    /// It ends before the values that it had: everything is to be read again.
    pub(crate) is_truncated: bool,
}

/// What files are read with.
pub(crate) struct Tools<'a> {
    pub(crate) merge: &'a mut Merge,
    pub(crate) reader: &'a mut Reader,
    pub(crate) prober: &'a mut Prober,
    pub(crate) access: Access,
    pub(crate) dead_gauges: DeadGauges,
    /// How many more files may be kept open.
    pub(crate) spare: usize,
    /// Whether writers live, by the hash of directory and id.
    pub(crate) writers: HashMap<u64, Verdict, foldhash::fast::RandomState>,
    pub(crate) now: Instant,
}

impl Tools<'_> {
    /// Looks whether a file is as it was; `None` where there is nothing to be added.
    pub(crate) fn find(
        &mut self,
        it: &Candidate<'_>,
        mut known: Option<Box<Known>>,
    ) -> Option<Found> {
        // What is mapped is that file, whatever has its name the next moment; others are opened first.
        if let Some(mapped) = known.as_mut().filter(|known| known.map.is_some()) {
            let now = match &mapped.file {
                Some(file) if it.is_same_listing => sys::stat(file),
                _ => sys::stat_at(it.dir.as_fd(), it.text),
            };
            let stat = mapped.stat;
            if now.is_ok_and(|now| now == stat) {
                return Some(Found { stat, file: mapped.file.take(), known });
            }
        }
        let file = self.open(it)?;
        match sys::stat(&file) {
            Ok(stat) => {
                let known = known.filter(|known| known.stat == stat);
                Some(Found { stat, file: Some(file), known })
            }
            Err(error) => {
                self.merge.problems.add(&it.path(), Cause::Read(ReadError::Read(error)));
                None
            }
        }
    }

    fn open(&mut self, it: &Candidate<'_>) -> Option<File> {
        match reader::open_at(it.dir, it.text) {
            Ok(file) => Some(file),
            Err(error) => {
                if !error.is_vanished() {
                    self.merge.problems.add(&it.path(), Cause::Read(error));
                }
                None
            }
        }
    }

    /// Adds a file that was found; `None` where it has gone since.
    pub(crate) fn add(&mut self, it: &Candidate<'_>, found: Found) -> Option<Added> {
        let Found { stat, mut file, known } = found;
        let id = match (&known, &file) {
            (Some(known), _) if known.is_own && it.name.has_unique_form() => IdKind::Unique,
            (None, Some(file)) => reader::id_kind(it.name, file),
            _ => IdKind::Chosen,
        };
        let proof = Proof::of(id, it.place == Place::Retired);
        let recent = known.as_ref().map(|known| (known.verdict, known.asked));
        let recent = recent.filter(|(_, asked)| {
            !self.depends_on_liveness(it) && self.now.duration_since(*asked) < VALIDITY
        });
        let recent = recent.or_else(|| Some((self.of_writer(it)?, self.now)));
        let (verdict, asked) = match recent {
            Some(recent) => recent,
            None => {
                let opened = match file.take() {
                    Some(file) => file,
                    None => self.open(it)?,
                };
                let verdict = self.prober.ask(it.text, &opened, proof, Freshness::Recent);
                file = Some(opened);
                self.writers.insert(self.writer(it), verdict);
                (verdict, self.now)
            }
        };
        let mut added = Added { known: None, verdict, is_truncated: false };
        let is_dead = verdict.has_ended();
        let is_live_gauge = it.name.kind.mode().is_some_and(GaugeMode::is_live);
        if is_dead && is_live_gauge && self.dead_gauges == DeadGauges::Skipped {
            return Some(Added { known, ..added });
        }
        // A process of the Python client has just created it.
        if verdict == Verdict::Alive && proof == Proof::Lease && stat.len == 0 {
            return Some(added);
        }
        let state = if is_dead { SourceState::Dead } else { SourceState::Live };
        let origin = Origin {
            dir: it.dir_path,
            file: it.text,
            name: it.name,
            identity: Some(stat.identity),
            state,
            place: it.place,
        };
        if let Some(known) = known {
            match self.follow(&origin, known, file.as_ref()) {
                Followed::Known(mut known) => {
                    known.file = file.take();
                    added.known = Some(known);
                }
                Followed::Truncated => return Some(Added { is_truncated: true, ..added }),
                Followed::Changed => {}
            }
        }
        if added.known.is_none() {
            let file = match file {
                Some(file) => file,
                None => self.open(it)?,
            };
            added.known = self.learn(&origin, file, stat);
        }
        if let Some(known) = &mut added.known {
            (known.verdict, known.asked) = (verdict, asked);
            self.spare_or_close(known);
        }
        Some(added)
    }

    /// What another file of the same writer said in this scrape, where nothing but a figure depends on it.
    fn of_writer(&self, it: &Candidate<'_>) -> Option<Verdict> {
        if self.depends_on_liveness(it) || it.place != Place::File {
            return None;
        }
        self.writers.get(&self.writer(it)).copied()
    }

    fn writer(&self, it: &Candidate<'_>) -> u64 {
        self.writers.hasher().hash_one((it.dir_path, it.name.id))
    }

    /// Keeps a file open, if it is mapped and there are descriptors to spare.
    fn spare_or_close(&mut self, known: &mut Known) {
        match self.spare.checked_sub(1).filter(|_| known.map.is_some()) {
            Some(spare) if known.file.is_some() => self.spare = spare,
            _ => known.file = None,
        }
    }

    /// Whether more than a figure depends on whether the writer of a file lives.
    fn depends_on_liveness(&self, it: &Candidate<'_>) -> bool {
        let mode = it.name.kind.mode();
        let may_change = self.dead_gauges == DeadGauges::Read;
        mode.is_some_and(|mode| may_change || mode.is_live() || mode.is_per_process())
    }

    /// Adds the values of a file by what is known of it. Nothing is added where that does not hold.
    fn follow(
        &mut self,
        origin: &Origin<'_>,
        mut known: Box<Known>,
        file: Option<&File>,
    ) -> Followed {
        let header = match (&known.map, file) {
            (Some(map), _) => Some(map.header()),
            (None, Some(file)) => {
                let header = self.reader.read_words(file, 0..1).ok();
                header.and_then(|header| header.first().copied())
            }
            (None, None) => None,
        };
        let used = header.and_then(|header| reader::used(header, known.stat.len));
        let Some((is_own, used)) = used else {
            return Followed::Changed;
        };
        if is_own != known.is_own || used < known.used || (used > known.used && !is_own) {
            return Followed::Changed;
        }
        let end = used / WORD_LEN as u32;
        let plan = Arc::clone(&known.plan);
        let (plan, result) = match (&known.map, file) {
            (Some(map), _) => {
                let tail: Vec<u64> =
                    (known.used / WORD_LEN as u32..end).map(|at| map.word(at)).collect();
                self.merge.follow(plan, origin, map, known.new_entries(bytes_of(&tail)))
            }
            (None, Some(file)) => match self.reader.read_words(file, 0..end) {
                Ok(words) if words.len() == end as usize => {
                    let tail = bytes_of(words).get(known.used as usize..).unwrap_or_default();
                    self.merge.follow(plan, origin, &words, known.new_entries(tail))
                }
                _ => return Followed::Changed,
            },
            (None, None) => return Followed::Changed,
        };
        if known.map.as_ref().is_some_and(ReadMap::has_faulted) {
            return Followed::Truncated;
        }
        (known.plan, known.used) = (plan, used);
        if let Err(error) = result {
            self.merge.problems.add(&origin.path(), Cause::Entry(error));
            // Read anew at the next scrape.
            known.stat.changed = i128::MIN;
        }
        Followed::Known(known)
    }

    /// Reads a file as a whole, and notes what there is to be known of it.
    fn learn(&mut self, origin: &Origin<'_>, file: File, stat: Stat) -> Option<Box<Known>> {
        let learnt = read_whole(self.merge, self.reader, origin, &file, Some(stat))?;
        let Learnt { plan, used, is_own } = learnt;
        if used <= HEADER_LEN as u32 || !stat.is_settled() {
            return None;
        }
        let map = (self.access == Access::Map).then(|| ReadMap::new(&file, stat.len)).flatten();
        let (verdict, asked) = (Verdict::Unknown, self.now);
        let name = origin.file.into();
        Some(Box::new(Known {
            name,
            stat,
            plan,
            used,
            is_own,
            map,
            file: Some(file),
            verdict,
            asked,
        }))
    }
}

/// What is learnt by reading a file.
struct Learnt {
    plan: Arc<Plan>,
    used: u32,
    is_own: bool,
}

/// Adds a file of which nothing is known.
pub(crate) fn learn(merge: &mut Merge, reader: &mut Reader, origin: &Origin<'_>, file: &File) {
    read_whole(merge, reader, origin, file, None);
}

/// Reads a file as a whole. One that is cut off or damaged is read a second time: its writer may have been in
/// the middle of it. `None` where something is wrong with it still.
fn read_whole(
    merge: &mut Merge,
    reader: &mut Reader,
    origin: &Origin<'_>,
    file: &File,
    mut stat: Option<Stat>,
) -> Option<Learnt> {
    let mut begun: Option<Arc<Plan>> = None;
    let mut failure = None;
    for _ in 0..2 {
        let read = match stat.take() {
            Some(stat) => reader.read_with_stat(file, stat),
            None => reader.read(file),
        };
        let snapshot = match read {
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
        if begun.is_none()
            && let Some(plan) = merge.follow_last(origin, &snapshot)
        {
            return Some(Learnt { plan, used, is_own });
        }
        let entries = match snapshot.entries() {
            Ok(entries) => entries,
            Err(error) => {
                failure = Some(Cause::Read(error));
                continue;
            }
        };
        match merge.learn(origin, begun.as_deref(), &snapshot.words, entries) {
            (plan, Ok(())) => return Some(Learnt { plan, used, is_own }),
            (plan, Err(error)) => {
                begun = Some(plan);
                failure = Some(Cause::Entry(error));
            }
        }
    }
    if let Some(cause) = failure {
        merge.problems.add(&origin.path(), cause);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::fault_guard::guard_mappings;
    use crate::multiproc::merge::catalog::Number;
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
        while !sys::stat(&File::open(&path).unwrap()).unwrap().is_settled() {
            std::thread::yield_now();
        }

        let (mut merge, mut reader) = (Merge::default(), Reader::default());
        let mut prober = Prober::default();
        assert!(merge.begin());
        let handle = File::open(&dir).unwrap();
        let text = "counter_7.db";
        let name = FileName::parse(text).unwrap();
        let mut tools = Tools {
            merge: &mut merge,
            reader: &mut reader,
            prober: &mut prober,
            access: Access::Map,
            dead_gauges: DeadGauges::Skipped,
            spare: 0,
            writers: HashMap::default(),
            now: Instant::now(),
        };
        let place = Place::File;
        let candidate =
            Candidate { dir: &handle, dir_path: &dir, is_same_listing: false, text, name, place };
        let found = tools.find(&candidate, None).unwrap();
        let Added { known, verdict, .. } = tools.add(&candidate, found).unwrap();
        let known = known.unwrap();
        assert_eq!(verdict, Verdict::Dead);
        tools.merge.restart();
        let (state, identity) = (SourceState::Dead, None);
        let origin = Origin { dir: &dir, file: text, name, identity, state, place };
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
