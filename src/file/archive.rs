//! The archive: the merged values of dead writers, in one file that is never changed.
//!
//! ```text
//!  offset  size  field
//!       0     8  magic       "MPARCH" and the version, two digits
//!       8     8  generation  one more than that of the archive before
//!      16     8  written     f64 bits, unix seconds
//!      24     8  sources_len bytes of the sources, a multiple of 8
//!      32     -  sources     names of the merged files; each ends with a line feed, more line feeds pad the field
//!       -     -  sections, back to back:
//!                  4  name_len    a multiple of 8
//!                  4  body_len    a multiple of 8
//!                  8  ended       f64 bits: when its process was found dead; 0 if merged from several
//!           name_len  name        that of a series file, padded with line feeds
//!           body_len  entries     as in a series file of this crate
//!       -     4  checksum    CRC-32 of everything before
//!       -     4  end         "END" and a line feed
//! ```
//!
//! A section is a series file without a header, and is merged like one. The section `companion_archive.mpx` is a companion
//! file without a header; offsets in it count as if it had one. A section with another name is of a kind that a later release
//! has added: readers skip it, and compactors copy it. Integers and floats are little-endian.
//! Decoding never panics: any bytes yield an archive or a named error, and memory is bounded by the bytes
//! that are read.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::unwrap_used))]

use std::fmt;
use std::ops::Range;

use super::companion::layout::CompanionEntries;
use super::entries::push_entry;
use super::layout::{Entries, EntryKind, HEADER_LEN, Header, LayoutError};
use super::name::{CompanionName, FileName};

/// The name of the archive in its directory.
pub(crate) const ARCHIVE_NAME: &str = "archive.multiprom";

/// The largest archive that is read or written, in bytes.
pub(crate) const MAX_ARCHIVE_LEN: u64 = 1024 * 1024 * 1024;

const MAGIC: [u8; 8] = *b"MPARCH01";
const HEAD_LEN: usize = 32;
const SECTION_HEAD_LEN: usize = 16;
const CHECKSUM_LEN: usize = 4;
const END: [u8; 4] = *b"END\n";
const TAIL_LEN: usize = CHECKSUM_LEN + END.len();

/// The padding of names.
const PADDING: u8 = b'\n';

/// The subdirectory in which files of the Python client wait for compaction.
pub(crate) const RETIRED_DIR: &str = "retired";

/// Whether a name may be a source of an archive: the name of a series file in the directory itself or in the
/// one for retired files, or that of a companion file.
pub(crate) fn is_source(name: &str) -> bool {
    let in_retired = name.strip_prefix(RETIRED_DIR).and_then(|rest| rest.strip_prefix('/'));
    let name = in_retired.unwrap_or(name);
    let is_file = FileName::parse(name).is_some()
        || (in_retired.is_none() && CompanionName::of_file(name).is_some());
    is_file && !name.contains(['/', '\0', char::from(PADDING)])
}

/// Why an archive cannot be decoded. Offsets count from the start of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArchiveError {
    TooShort {
        len: usize,
    },
    TooLong {
        len: u64,
    },
    MagicUnknown,
    /// Another release has written it. It is not damaged, so it is kept, and nothing is merged without it.
    VersionUnknown {
        version: [u8; 2],
    },
    EndMissing,
    ChecksumMismatch,
    SourcesMalformed,
    SectionMalformed {
        offset: usize,
    },
    /// The name of a section is unknown: a later release has added its kind. The other sections are valid.
    SectionUnknown {
        offset: usize,
    },
    /// Offsets in `error` count from the start of the section, as in a series file.
    EntryMalformed {
        error: LayoutError,
    },
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchiveError::TooShort { len } => {
                write!(f, "archive has {len} bytes, an empty one has {}", HEAD_LEN + TAIL_LEN)
            }
            ArchiveError::TooLong { len } => {
                write!(f, "archive has {len} bytes, the limit is {MAX_ARCHIVE_LEN}")
            }
            ArchiveError::MagicUnknown => f.write_str("bytes 0 to 7 are not those of an archive"),
            ArchiveError::VersionUnknown { version } => {
                let version = version.escape_ascii();
                write!(
                    f,
                    "archive version is {version}, this release of multiprom reads 01: serve and compact this \
                     directory with the release that wrote it, or move the archive away to start from zero"
                )
            }
            ArchiveError::EndMissing => f.write_str("archive is truncated"),
            ArchiveError::ChecksumMismatch => f.write_str("archive does not match its checksum"),
            ArchiveError::SourcesMalformed => f.write_str("names of sources are malformed"),
            ArchiveError::SectionMalformed { offset } => {
                write!(f, "section at offset {offset} is malformed")
            }
            ArchiveError::SectionUnknown { offset } => {
                write!(
                    f,
                    "section at offset {offset} is of a kind that this release of multiprom does not know"
                )
            }
            ArchiveError::EntryMalformed { error } => write!(f, "in a section: {error}"),
        }
    }
}

impl std::error::Error for ArchiveError {}

/// An archive whose checksum matches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Archive<'a> {
    pub(crate) generation: u64,
    /// When it was written, in Unix seconds.
    pub(crate) written: f64,
    sources: &'a str,
    sections: &'a [u8],
    sections_offset: usize,
}

/// The entries that were merged under one file name.
#[derive(Clone, Debug)]
pub(crate) struct ArchiveSection<'a> {
    pub(crate) name: FileName<'a>,
    /// When the process was found dead, in Unix seconds; 0 if the section is merged from several processes.
    pub(crate) ended: f64,
    pub(crate) entries: Entries<'a>,
    /// The position of the entries in the archive.
    pub(crate) body: Range<usize>,
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<usize> {
    let bytes = bytes.get(offset..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes) as usize)
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*bytes))
}

impl<'a> Archive<'a> {
    /// Checks the bytes of an archive and decodes its head.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Archive<'a>, ArchiveError> {
        let len = bytes.len();
        // Checked first, as another version may have any content after its magic.
        if let Some([name @ .., major, minor]) = bytes.first_chunk::<8>()
            && MAGIC.starts_with(name)
            && !MAGIC.ends_with(&[*major, *minor])
            && [major, minor].iter().all(|digit| digit.is_ascii_digit())
        {
            return Err(ArchiveError::VersionUnknown { version: [*major, *minor] });
        }
        if len < HEAD_LEN + TAIL_LEN {
            return Err(ArchiveError::TooShort { len });
        }
        if !bytes.starts_with(&MAGIC) {
            return Err(ArchiveError::MagicUnknown);
        }
        let (content, end) = bytes.split_at(len - END.len());
        let (content, checksum) = content.split_at(content.len() - CHECKSUM_LEN);
        if end != END {
            return Err(ArchiveError::EndMissing);
        }
        if checksum != crc32fast::hash(content).to_le_bytes() {
            return Err(ArchiveError::ChecksumMismatch);
        }
        let word = |offset| u64_at(content, offset).unwrap_or_default();
        let (generation, written) = (word(8), f64::from_bits(word(16)));
        let sources_len = word(24) as usize;
        let after_head = content.get(HEAD_LEN..).unwrap_or_default();
        let (sources, sections) =
            after_head.split_at_checked(sources_len).ok_or(ArchiveError::SourcesMalformed)?;
        let sources = str::from_utf8(sources).map_err(|_| ArchiveError::SourcesMalformed)?;
        let sections_offset = HEAD_LEN + sources_len;
        let archive = Archive { generation, written, sources, sections, sections_offset };
        // Compactors remove the files with these names.
        if !archive.sources().all(is_source) {
            return Err(ArchiveError::SourcesMalformed);
        }
        Ok(archive)
    }

    /// Returns the names of the files that were merged into it, relative to its directory. Readers ignore those files, if
    /// they still exist.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.sources.split(char::from(PADDING)).filter(|name| !name.is_empty())
    }

    /// Returns the sections with series.
    pub(crate) fn sections(&self) -> Sections<'a> {
        Sections { rest: self.sections, offset: self.sections_offset }
    }

    /// Returns the sections of unknown kinds, up to one that is malformed. They have no meaning for this release, and a compactor copies
    /// them to the next archive.
    pub(crate) fn unknown_sections(&self) -> impl Iterator<Item = UnknownSection<'a>> + use<'a> {
        let mut sections = self.sections();
        std::iter::from_fn(move || sections.next_any()?.ok()).filter_map(|section| match section {
            AnySection::Unknown(section) => Some(section),
            AnySection::Series(_) | AnySection::Companion(_) => None,
        })
    }

    /// The bodies of the sections with companion entries, and an error at the first malformed section.
    pub(crate) fn companions(&self) -> impl Iterator<Item = Result<&'a [u8], ArchiveError>> {
        let mut sections = self.sections();
        std::iter::from_fn(move || {
            loop {
                match sections.next_any()? {
                    Ok(AnySection::Series(_) | AnySection::Unknown(_)) => {}
                    Ok(AnySection::Companion(body)) => return Some(Ok(body)),
                    Err(error) => return Some(Err(error)),
                }
            }
        })
    }
}

/// Iterates over the entries in the body of a section with companion entries.
pub(crate) fn companion_entries(body: &[u8]) -> CompanionEntries<'_> {
    CompanionEntries::new(body, HEADER_LEN)
}

/// A section of a kind that this release does not know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnknownSection<'a> {
    /// All bytes, including the head.
    pub(crate) bytes: &'a [u8],
    offset: usize,
}

impl UnknownSection<'_> {
    pub(crate) fn error(&self) -> ArchiveError {
        ArchiveError::SectionUnknown { offset: self.offset }
    }
}

enum AnySection<'a> {
    Series(ArchiveSection<'a>),
    Companion(&'a [u8]),
    Unknown(UnknownSection<'a>),
}

/// An iterator over the sections of known kinds of an archive, which ends after an error.
#[derive(Clone, Debug)]
pub(crate) struct Sections<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Sections<'a> {
    fn split(&self) -> Option<(Result<AnySection<'a>, ArchiveError>, &'a [u8])> {
        let (name_len, body_len) = (u32_at(self.rest, 0)?, u32_at(self.rest, 4)?);
        let ended = f64::from_bits(u64_at(self.rest, 8)?);
        let (_, after) = self.rest.split_at_checked(SECTION_HEAD_LEN)?;
        let (name, after) = after.split_at_checked(name_len)?;
        let (body, after) = after.split_at_checked(body_len)?;
        let name = str::from_utf8(name).ok()?.trim_end_matches(char::from(PADDING));
        if CompanionName::parse(name).is_some_and(|name| name.is_section()) {
            return Some((Ok(AnySection::Companion(body)), after));
        }
        let Some(name) = FileName::parse(name) else {
            let (bytes, _) = self.rest.split_at_checked(self.rest.len() - after.len())?;
            let section = UnknownSection { bytes, offset: self.offset };
            return Some((Ok(AnySection::Unknown(section)), after));
        };
        let header = Header::new((HEADER_LEN + body.len()) as u32);
        let start = self.offset + SECTION_HEAD_LEN + name_len;
        let body_range = start..start + body_len;
        let section = Entries::detect(header, body)
            .map(|entries| ArchiveSection { name, ended, entries, body: body_range })
            .map(AnySection::Series)
            .map_err(|error| ArchiveError::EntryMalformed { error });
        Some((section, after))
    }

    fn next_any(&mut self) -> Option<Result<AnySection<'a>, ArchiveError>> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((section, after)) = self.split() else {
            self.rest = &[];
            return Some(Err(ArchiveError::SectionMalformed { offset: self.offset }));
        };
        self.offset += self.rest.len() - after.len();
        self.rest = after;
        Some(section)
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<ArchiveSection<'a>, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_any()? {
                Ok(AnySection::Series(section)) => return Some(Ok(section)),
                Ok(AnySection::Companion(_) | AnySection::Unknown(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Encodes an archive.
pub(crate) struct ArchiveBuilder {
    bytes: Vec<u8>,
}

impl ArchiveBuilder {
    pub(crate) fn new<'s>(
        generation: u64,
        written: f64,
        sources: impl Iterator<Item = &'s str>,
    ) -> ArchiveBuilder {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&written.to_bits().to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        for source in sources {
            bytes.extend_from_slice(source.as_bytes());
            bytes.push(PADDING);
        }
        bytes.resize(bytes.len().next_multiple_of(8), PADDING);
        let sources_len = (bytes.len() - HEAD_LEN) as u64;
        replace(&mut bytes, 24, &sources_len.to_le_bytes());
        ArchiveBuilder { bytes }
    }

    /// Adds a section. The length of each key is a multiple of 8.
    pub(crate) fn section<'k>(
        &mut self,
        name: FileName<'_>,
        ended: f64,
        entries: impl Iterator<Item = (EntryKind, &'k [u8], f64, f64)>,
    ) {
        let start = self.begin_section(&name, ended);
        for (kind, key, value, time) in entries {
            push_entry(&mut self.bytes, kind, key, value, time);
        }
        self.end_section(start);
    }

    /// Adds the section with companion entries.
    pub(crate) fn companion_section(&mut self, body: &[u8]) {
        let start = self.begin_section(&CompanionName::SECTION, 0.0);
        self.bytes.extend_from_slice(body);
        self.end_section(start);
    }

    /// Appends the head of a section and returns its position.
    fn begin_section(&mut self, name: &dyn fmt::Display, ended: f64) -> usize {
        let start = self.bytes.len();
        let name = name.to_string();
        let name_len = name.len().next_multiple_of(8);
        self.bytes.extend_from_slice(&(name_len as u32).to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&ended.to_bits().to_le_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.resize(start + SECTION_HEAD_LEN + name_len, PADDING);
        start
    }

    /// Stores the length of the body of the section at `start`.
    fn end_section(&mut self, start: usize) {
        let name_len = u32_at(&self.bytes, start).unwrap_or_default();
        let body_len = self.bytes.len() - (start + SECTION_HEAD_LEN + name_len);
        replace(&mut self.bytes, start + 4, &(body_len as u32).to_le_bytes());
    }

    /// Adds a section of an unknown kind: all its bytes.
    pub(crate) fn copied_section(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        seal(&mut self.bytes);
        self.bytes
    }
}

/// Appends the checksum and the end marker.
pub(crate) fn seal(bytes: &mut Vec<u8>) {
    let checksum = crc32fast::hash(bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(&END);
}

fn replace(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(target) = bytes.get_mut(at..at + with.len()) {
        target.copy_from_slice(with);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::name::FileKind;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let sources = ["counter_7-0000000a.db", "retired/gauge_all_8-0000000b.db"];
        let mut builder = ArchiveBuilder::new(3, 1.5, sources.into_iter());
        let name = FileName { kind: FileKind::Counter, id: "archive" };
        let keys: [&[u8]; 2] = [b"[\"a\"]   ", b"[\"bcdefghijkl\"] "];
        builder.section(name, 0.0, keys.into_iter().map(|key| (EntryKind::Value, key, 2.0, 4.0)));
        let name = FileName { kind: FileKind::Summary, id: "8-0000000b" };
        builder.section(name, 9.0, std::iter::empty());
        builder.finish()
    }

    #[test]
    fn an_encoded_archive_is_decoded_to_the_same() {
        let bytes = sample();
        let archive = Archive::decode(&bytes).unwrap();
        assert_eq!((archive.generation, archive.written), (3, 1.5));
        let sources: Vec<_> = archive.sources().collect();
        assert_eq!(sources, ["counter_7-0000000a.db", "retired/gauge_all_8-0000000b.db"]);
        let sections: Vec<_> = archive.sections().map(Result::unwrap).collect();
        let heads: Vec<_> =
            sections.iter().map(|each| (each.name.to_string(), each.ended)).collect();
        let names = [("counter_archive.db", 0.0), ("summary_8-0000000b.db", 9.0)];
        assert_eq!(heads, names.map(|(name, ended)| (name.to_owned(), ended)));
        let entries: Vec<_> = sections[0].entries.clone().map(Result::unwrap).collect();
        assert_eq!(entries[1].key, b"[\"bcdefghijkl\"]");
        assert_eq!((entries[1].value, entries[1].time), (2.0, Some(4.0)));
        assert_eq!(sections[1].entries.clone().count(), 0);
    }

    #[test]
    fn sections_of_unknown_kinds_are_skipped_and_can_be_copied() {
        let mut builder = ArchiveBuilder::new(1, 0.0, std::iter::empty());
        let start = builder.bytes.len();
        let mut unknown = [16u32.to_le_bytes(), 8u32.to_le_bytes()].concat();
        unknown.extend([0; 8]);
        unknown.extend(b"enum_archive.db\nany body");
        builder.copied_section(&unknown);
        let name = FileName { kind: FileKind::Summary, id: "8-0000000b" };
        builder.section(name, 9.0, std::iter::empty());
        let bytes = builder.finish();
        let archive = Archive::decode(&bytes).unwrap();
        assert_eq!(
            archive.sections().map(|section| section.unwrap().name).collect::<Vec<_>>(),
            [name]
        );
        let sections: Vec<_> = archive.unknown_sections().collect();
        assert_eq!((sections.len(), sections[0].bytes), (1, &*unknown));
        assert_eq!(sections[0].error(), ArchiveError::SectionUnknown { offset: start });
    }

    #[test]
    fn sources_are_names_of_series_files_in_the_directory() {
        for (name, is_one) in [
            ("counter_7-0000000a.db", true),
            ("retired/gauge_all_7-0000000a.db", true),
            ("", false),
            ("notes", false),
            ("/counter_7.db", false),
            ("../counter_7.db", false),
            ("counter_7/../../counter_7.db", false),
            ("retired/../counter_7.db", false),
            ("retired/retired/counter_7.db", false),
            ("counter_7\n.db", false),
            ("companion_7-0000000a.mpx", true),
            ("companion_7-0000000a.mpx_2", true),
            ("retired/companion_7-0000000a.mpx", false),
            ("../companion_7-0000000a.mpx", false),
            ("companion_archive.mpx", false),
        ] {
            assert_eq!(is_source(name), is_one, "{name:?}");
        }
    }

    #[test]
    fn a_section_with_companion_entries_is_not_among_those_with_series() {
        let mut builder = ArchiveBuilder::new(3, 1.5, std::iter::empty());
        builder.companion_section(&[7; 24]);
        let name = FileName { kind: FileKind::Summary, id: "archive" };
        builder.section(name, 0.0, std::iter::empty());
        let bytes = builder.finish();
        let archive = Archive::decode(&bytes).unwrap();
        assert_eq!(archive.sections().map(|it| it.unwrap().name).collect::<Vec<_>>(), [name]);
        assert_eq!(archive.companions().collect::<Vec<_>>(), [Ok(&[7; 24][..])]);
        let errors = companion_entries(&[7; 24]).filter(Result::is_err).count();
        assert_eq!(errors, 1);
    }

    #[test]
    fn an_archive_may_be_empty() {
        let bytes = ArchiveBuilder::new(1, 0.0, std::iter::empty()).finish();
        let archive = Archive::decode(&bytes).unwrap();
        assert_eq!((archive.sources().count(), archive.sections().count()), (0, 0));
        assert_eq!(bytes.len(), HEAD_LEN + TAIL_LEN);
    }

    #[test]
    fn every_changed_or_missing_byte_is_detected() {
        let bytes = sample();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Archive::decode(&damaged).is_err(), "byte {at}");
            assert!(Archive::decode(&bytes[..at]).is_err(), "{at} bytes");
        }
    }

    proptest! {
        /// The checksum matches, as if a bug or an attacker had written the archive.
        #[test]
        fn any_bytes_yield_sections_or_an_error(
            head in proptest::collection::vec(any::<u8>(), 0..24),
            rest in proptest::collection::vec(any::<u8>(), 0..300),
            cut in 0usize..400,
        ) {
            let mut bytes = sample();
            bytes.truncate(bytes.len().min(cut).max(HEAD_LEN));
            for (at, byte) in head.iter().enumerate() {
                bytes[8 + at] = *byte;
            }
            bytes.extend_from_slice(&rest);
            let checksum = crc32fast::hash(&bytes);
            bytes.extend_from_slice(&checksum.to_le_bytes());
            bytes.extend_from_slice(&END);
            if let Ok(archive) = Archive::decode(&bytes) {
                archive.sources().for_each(drop);
                for section in archive.sections().flatten() {
                    section.entries.take_while(Result::is_ok).for_each(drop);
                }
            }
        }
    }
}
