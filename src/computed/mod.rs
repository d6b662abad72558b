//! Custom collectors in the files of a process.
//!
//! A collector of a registry in a directory is a *source*: the refresher of the process collects it and writes its
//! families to the files of the process, each sample by its type. Totals of the files grow by what those of the
//! collector grow, so that they never fall. A series that the collector does not return any more is removed.

mod series;
mod snapshot;
mod source;
mod table;

pub(crate) use source::CollectorSource;
