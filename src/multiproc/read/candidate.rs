//! A listed file, before it is opened.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::context::ReadContext;
use crate::file::name::FileName;
use crate::file::reader;
use crate::multiproc::listing::ListedIn;
use crate::multiproc::skipped::SkipCause;

/// A series file of a listing.
pub(super) struct Candidate<'a> {
    pub(super) dir: &'a File,
    pub(super) dir_path: &'a Path,
    /// Whether the listing is that of the scrape before.
    pub(super) is_listing_unchanged: bool,
    pub(super) text: &'a str,
    pub(super) name: FileName<'a>,
    pub(super) listed_in: ListedIn,
}

impl Candidate<'_> {
    pub(super) fn path(&self) -> PathBuf {
        self.dir_path.join(self.text)
    }

    /// Opens the file; `None` if it has disappeared or cannot be opened, which is reported.
    pub(super) fn open(&self, context: &mut ReadContext<'_>) -> Option<File> {
        match reader::open_at(self.dir, self.text) {
            Ok(file) => Some(file),
            Err(error) => {
                if !error.is_vanished() {
                    context.merge.skipped.add(&self.path(), SkipCause::Read(error));
                }
                None
            }
        }
    }
}
