//! Reads companion files by `pread`, and slots by `pread` or through a mapping.

use std::fs::File;

use super::layout::{self, CompanionEntries};
use super::payload::ExemplarSlot;
use super::slot::{self, SlotWords};
use crate::file::layout::{HEADER_LEN, Header, WORD_LEN};
use crate::file::read_map::ReadMap;
use crate::file::reader::{ReadError, Reader, read_at};
use crate::file::sys::Stat;
use crate::file::words::bytes_of;

/// How often a slot is read that is being written.
const SLOT_TRIES: usize = 8;

/// The committed bytes of a companion file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompanionSnapshot<'r> {
    /// Including the header.
    pub(crate) used: u32,
    /// The bytes after the header. A payload that was changed during the read may be torn.
    pub(crate) body: &'r [u8],
}

impl<'r> CompanionSnapshot<'r> {
    pub(crate) fn entries(&self) -> CompanionEntries<'r> {
        CompanionEntries::new(self.body, HEADER_LEN)
    }
}

/// Reads the committed bytes of a file, whose metadata the caller has just read.
pub(crate) fn read<'r>(
    reader: &'r mut Reader,
    file: &File,
    stat: Stat,
) -> Result<CompanionSnapshot<'r>, ReadError> {
    let snapshot = reader.read_committed(file, stat, None, layout::check_header)?;
    Ok(CompanionSnapshot { used: snapshot.used, body: snapshot.body() })
}

/// Decodes `used` from the first word of a companion file of `len` bytes; `None` if the header is invalid.
pub(crate) fn used(header: u64, len: u64) -> Option<u32> {
    layout::check_header(Header::decode(header), len).ok()
}

/// Reads an exemplar and passes it to `take`. `None` if there is none, or if it is being written.
pub(crate) fn exemplar<T>(
    words: &impl SlotWords,
    payload_len: usize,
    take: impl FnOnce(ExemplarSlot<'_>) -> T,
) -> Option<T> {
    let mut payload = vec![0; (payload_len / WORD_LEN).checked_sub(1)?];
    slot::read(words, SLOT_TRIES, &mut payload)?;
    ExemplarSlot::decode(bytes_of(&payload)).map(take)
}

/// A slot in a file.
pub(crate) struct FileSlot<'a> {
    pub(crate) file: &'a File,
    /// The position of the sequence.
    pub(crate) offset: u64,
}

impl FileSlot<'_> {
    fn fill(&self, words: &mut [u64], offset: u64) -> Option<()> {
        let len = size_of_val(words);
        read_at(self.file, words, offset).is_ok_and(|got| got == len).then_some(())
    }
}

impl SlotWords for FileSlot<'_> {
    fn sequence(&self) -> Option<u64> {
        let mut word = [0];
        self.fill(&mut word, self.offset)?;
        let [word] = word;
        Some(word)
    }

    fn payload(&self, out: &mut [u64]) -> Option<()> {
        self.fill(out, self.offset + WORD_LEN as u64)
    }
}

/// A slot in a mapping of a file.
pub(crate) struct MappedSlot<'a> {
    pub(crate) map: &'a ReadMap,
    /// The position of the sequence, in words.
    pub(crate) at: u32,
}

impl SlotWords for MappedSlot<'_> {
    fn sequence(&self) -> Option<u64> {
        Some(self.map.word(self.at))
    }

    fn payload(&self, out: &mut [u64]) -> Option<()> {
        for (at, word) in (self.at + 1..).zip(out) {
            *word = self.map.word(at);
        }
        (!self.map.has_faulted()).then_some(())
    }
}
