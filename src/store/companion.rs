//! The companion file of this process in one directory, and the attributes of families that it has: units and types.

use std::path::Path;

use super::series::AttributeKind;
use crate::file::companion::layout::{CompanionKind, encode_entry};
use crate::file::companion::payload::encode_text;
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
    attributes: Vec<FamilyAttribute>,
    /// The last failure. The next attempt is made after a pause.
    refused: Refused,
}

/// The unit of a family, or the type with which it is exported.
struct FamilyAttribute {
    kind: CompanionKind,
    family: Box<str>,
    key: Vec<u8>,
    text: &'static str,
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
    /// Adds the unit or the type of a family, unless the family has one.
    pub(super) fn add(&mut self, attribute: AttributeKind, family: &str, text: &'static str) {
        let kind = match attribute {
            AttributeKind::Unit => CompanionKind::Unit,
            AttributeKind::Type => CompanionKind::Type,
        };
        let is_it = |other: &FamilyAttribute| other.kind == kind && *other.family == *family;
        if !self.attributes.iter().any(is_it) {
            let mut key = Vec::new();
            key::encode(&mut key, family, family, std::iter::empty(), "");
            let family = family.into();
            self.attributes.push(FamilyAttribute { kind, family, key, text, is_written: false });
        }
    }

    /// The entries that are not in a file yet.
    pub(super) fn unwritten(&self) -> Vec<u8> {
        let (mut bytes, mut payload) = (Vec::new(), Vec::new());
        for attribute in self.attributes.iter().filter(|it| !it.is_written) {
            payload.clear();
            encode_text(&mut payload, attribute.text);
            encode_entry(&mut bytes, attribute.kind, &attribute.key, &payload);
        }
        bytes
    }

    /// Whether an attribute is not in a file yet, and no pause after a failure is in progress.
    pub(super) fn is_due(&self) -> bool {
        self.attributes.iter().any(|it| !it.is_written) && self.refused.check().is_ok()
    }

    /// Ends the pause after a failure.
    pub(super) fn end_pause(&mut self) {
        self.refused.clear();
        self.writers.iter_mut().for_each(CompanionWriter::end_pause);
    }

    /// Writes the attributes that are not in a file yet. After a failure they wait for the next call.
    pub(super) fn write(&mut self, mut place: CompanionPlace<'_>) {
        for at in 0..self.attributes.len() {
            if self.attributes[at].is_written {
                continue;
            }
            match self.append(at, &mut place) {
                // OK because a key that is too long cannot be written later either.
                Ok(()) | Err(WriteError::KeyTooLong { .. }) => {
                    self.attributes[at].is_written = true;
                }
                Err(error) => {
                    self.refused.note(error);
                    return;
                }
            }
        }
        self.refused.clear();
    }

    /// Appends an attribute to the current file, or to a new one.
    fn append(&mut self, at: usize, place: &mut CompanionPlace<'_>) -> Result<(), WriteError> {
        let FamilyAttribute { kind, key, text, .. } = &self.attributes[at];
        if let Some(writer) = self.writers.last_mut() {
            match writer.append_text(*kind, key, text) {
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
        let result = writer.append_text(*kind, key, text);
        self.writers.push(writer);
        result
    }

    /// If the directory was replaced by `now`, or a file is not in it any more, closes all files. All attributes are
    /// then written again.
    pub(super) fn forget_if_lost(&mut self, dir: &Path, now: Option<Identity>) {
        let is_moved = now != self.dir;
        if self.writers.iter().any(|writer| is_moved || writer.is_removed_from(dir)) {
            self.writers.drain(..).for_each(CompanionWriter::close);
            self.attributes.iter_mut().for_each(|it| it.is_written = false);
            self.refused.clear();
        }
    }

    /// Closes all files.
    pub(super) fn close(self) {
        self.writers.into_iter().for_each(CompanionWriter::close);
    }
}
