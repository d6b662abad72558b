//! Companion files: what a process exports besides the samples that series files can hold.
//!
//! A process has one companion file in each directory, which it creates with the first entry that needs it. Its name does
//! not end in `.db`, so the Python client's collector does not read it. It is created, locked and grown like a series file
//! (see `append_file`). [`layout`] has the bytes of an entry and [`payload`] those of its kinds. A payload may change after
//! its publication: an exemplar through its [`slot`], a native histogram by the publication of another record
//! ([`publish`]). A reader that ignores companions sees all series.

pub(crate) mod layout;
pub(crate) mod payload;
mod publish;
pub(crate) mod reader;
pub(crate) mod slot;
mod sync;
pub(crate) mod writer;
