//! What all reads of one scrape share.

use std::collections::HashMap;
use std::time::Instant;

use crate::file::reader::Reader;
use crate::multiproc::liveness::Verdict;
use crate::multiproc::merge::source::Source;
use crate::multiproc::merge::state::Merge;
use crate::multiproc::prober::Prober;

/// How the values of cached files are read, if files are cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReadMethod {
    #[default]
    Pread,
    /// Through mappings. A file that is truncated raises SIGBUS, which the guard of the process handles.
    Mmap,
    /// No file is cached: the collector is scraped once.
    Once,
}

/// Whether live gauges of dead processes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeadGauges {
    Skipped,
    /// A rule may merge them by a mode that includes dead processes.
    Read,
}

/// Which verdicts on the writers of totals are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WriterVerdicts {
    /// Those of the last seconds.
    #[default]
    Recent,
    /// Those of this scrape, because they decide which removed series are hidden.
    Fresh,
}

/// What all reads of one scrape share.
pub(crate) struct ReadContext<'a> {
    pub(crate) merge: &'a mut Merge,
    pub(crate) reader: &'a mut Reader,
    pub(crate) prober: &'a mut Prober,
    pub(crate) method: ReadMethod,
    pub(crate) dead_gauges: DeadGauges,
    /// How many more files may stay open after the scrape.
    pub(crate) spare_descriptors: usize,
    pub(crate) verdicts: WriterVerdicts,
    /// The verdicts of this scrape, by the hash of directory, kind of id and writer id.
    pub(crate) writer_verdicts: HashMap<u64, Verdict, foldhash::fast::RandomState>,
    pub(crate) now: Instant,
    /// Receives the files of living writers, if they are asked for.
    pub(crate) live_files: Option<&'a mut Vec<Source>>,
}
