//! What a process has in memory, for its own scrapes.

use std::sync::{PoisonError, RwLockReadGuard};

use super::DirectoryStore;
use crate::file::place;
use crate::file::sys::Identity;
use crate::file::unwritten::{Unwritten, UnwrittenFile};
use crate::store::{fork, refresher};

impl Unwritten for DirectoryStore {
    fn directory(&self) -> Option<Identity> {
        place::identity(&self.path)
    }

    fn refresh(&self) {
        refresher::refresh(self.refreshed);
    }

    fn hold(&self) -> RwLockReadGuard<'static, ()> {
        self.moving().read().unwrap_or_else(PoisonError::into_inner)
    }

    fn unwritten_attributes(&self) -> Vec<u8> {
        match fork::lock() {
            Some(_lock) => self.files().companion.unwritten(),
            None => Vec::new(),
        }
    }

    fn unwritten_files(&self) -> Vec<UnwrittenFile> {
        self.prepare();
        // A signal handler that interrupts this thread must not wait for the lock of the files.
        match fork::lock() {
            Some(_lock) => self.files().unwritten(self),
            None => Vec::new(),
        }
    }
}
