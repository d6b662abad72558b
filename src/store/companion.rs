//! The companion file of this process in one directory, and the units that it has.

use std::path::Path;

use crate::file::companion::writer::CompanionWriter;
use crate::file::forks::ForkWait;
use crate::file::key;
use crate::file::name::WriterId;
use crate::file::place;
use crate::file::sys::Identity;
use crate::file::write_error::{Refused, WriteError};
use crate::file::writer::FileAccess;

/// The companion of a process. It is created with the first entry.
#[derive(Default)]
pub(super) struct Companion {
    /// The current file is the last one. The others are full or have lost their descriptor, and stay locked.
    writers: Vec<CompanionWriter>,
    /// The directory in which they were created.
    dir: Option<Identity>,
    units: Vec<FamilyUnit>,
    /// The last failure. The next attempt is made after a pause.
    refused: Refused,
}

/// The unit of a family.
struct FamilyUnit {
    family: Box<str>,
    key: Vec<u8>,
    unit: &'static str,
    /// Whether it is in a file.
    is_written: bool,
}

/// Where files are created, and for whom.
pub(super) struct CompanionPlace<'a> {
    pub(super) dir: &'a Path,
    pub(super) access: FileAccess,
    pub(super) id: &'a mut WriterId,
}

impl Companion {
    /// Adds the unit of a family, unless the family has one.
    pub(super) fn add_unit(&mut self, family: &str, help: &str, unit: &'static str) {
        if !self.units.iter().any(|other| *other.family == *family) {
            let mut key = Vec::new();
            key::encode(&mut key, family, family, std::iter::empty(), help);
            self.units.push(FamilyUnit { family: family.into(), key, unit, is_written: false });
        }
    }

    /// Whether a unit is not in a file yet, and no pause after a failure is in progress.
    pub(super) fn is_due(&self) -> bool {
        self.units.iter().any(|unit| !unit.is_written) && self.refused.check().is_ok()
    }

    /// Ends the pause after a failure.
    pub(super) fn end_pause(&mut self) {
        self.refused.clear();
        self.writers.iter_mut().for_each(CompanionWriter::end_pause);
    }

    /// Writes the units that are not in a file yet. After a failure they wait for the next call.
    pub(super) fn write(&mut self, mut place: CompanionPlace<'_>) {
        for at in 0..self.units.len() {
            if self.units[at].is_written {
                continue;
            }
            match self.append(at, &mut place) {
                // OK because a key that is too long cannot be written later either.
                Ok(()) | Err(WriteError::KeyTooLong { .. }) => self.units[at].is_written = true,
                Err(error) => {
                    self.refused.note(error);
                    return;
                }
            }
        }
        self.refused.clear();
    }

    /// Appends a unit to the current file, or to a new one.
    fn append(&mut self, at: usize, place: &mut CompanionPlace<'_>) -> Result<(), WriteError> {
        let FamilyUnit { key, unit, .. } = &self.units[at];
        if let Some(writer) = self.writers.last_mut() {
            match writer.append_unit(key, unit) {
                Err(WriteError::DescriptorLost | WriteError::FileFull) => writer.retire(),
                result => return result,
            }
        }
        // After a fork that did not end in time, the next attempt does not wait.
        let wait = match self.refused.last() {
            Some(WriteError::Forked) => ForkWait::None,
            _ => ForkWait::Long,
        };
        let mut writer = CompanionWriter::create(place.dir, place.id, place.access, wait)?;
        self.dir = place::identity(place.dir);
        let result = writer.append_unit(key, unit);
        self.writers.push(writer);
        result
    }

    /// If the directory was replaced by `now`, or a file is not in it any more, closes all files. All units are then
    /// written again.
    pub(super) fn forget_if_lost(&mut self, dir: &Path, now: Option<Identity>) {
        let is_moved = now != self.dir;
        if self.writers.iter().any(|writer| is_moved || writer.is_removed_from(dir)) {
            self.writers.drain(..).for_each(CompanionWriter::close);
            self.units.iter_mut().for_each(|unit| unit.is_written = false);
            self.refused.clear();
        }
    }

    /// Closes all files.
    pub(super) fn close(self) {
        self.writers.into_iter().for_each(CompanionWriter::close);
    }
}
