//! File names, which contain the type of the metrics and the id of the writer.
//!
//! The names are `counter_<id>.db`, `histogram_<id>.db`, `summary_<id>.db` and `gauge_<mode>_<id>.db`. In the Python
//! client the id is the pid or a text that its user chooses; in this crate it is `<pid>-<8 hex digits>`, which is never
//! used again. A user of the Python client may choose an id of that form too, so the form alone does not show who has
//! written a file. The second file of a kind has `<id>.db_2` in place of the id, and so on: the Python client's collector,
//! which takes the text after the mode up to the next `_` or the end and removes three bytes, finds the same id.
//!
//! The companion file of a writer is `companion_<id>.mpx`, its further ones `companion_<id>.mpx_2` and so on. The Python
//! client's collector reads only names that end in `.db`.

use std::fmt;

use crate::model::{GaugeMode, MetricType};

/// The metric type and the mode of the series in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FileKind {
    Counter,
    Histogram,
    Summary,
    Gauge(GaugeMode),
}

impl FileKind {
    pub(crate) const fn metric_type(self) -> MetricType {
        match self {
            FileKind::Counter => MetricType::Counter,
            FileKind::Histogram => MetricType::Histogram,
            FileKind::Summary => MetricType::Summary,
            FileKind::Gauge(_) => MetricType::Gauge,
        }
    }

    pub(crate) const fn mode(self) -> Option<GaugeMode> {
        match self {
            FileKind::Gauge(mode) => Some(mode),
            _ => None,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileKind::Gauge(mode) => write!(f, "gauge_{mode}"),
            other => f.write_str(other.metric_type().as_str()),
        }
    }
}

/// The parsed name of a series file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileName<'a> {
    pub(crate) kind: FileKind,
    pub(crate) id: &'a str,
}

impl<'a> FileName<'a> {
    /// Parses a name; `None` if it is not that of a series file.
    pub(crate) fn parse(name: &'a str) -> Option<FileName<'a>> {
        let stem = name.strip_suffix(".db")?;
        let (prefix, rest) = stem.split_once('_')?;
        let (kind, id) = match prefix {
            "counter" => (FileKind::Counter, rest),
            "histogram" => (FileKind::Histogram, rest),
            "summary" => (FileKind::Summary, rest),
            "gauge" => {
                let (mode, id) = rest.split_once('_')?;
                (FileKind::Gauge(mode.parse().ok()?), id)
            }
            _ => return None,
        };
        (!id.is_empty()).then_some(FileName { kind, id })
    }

    /// Returns the process part of the id.
    pub(crate) fn process(&self, id: IdKind) -> &'a str {
        process_of(self.id, id)
    }

    /// Returns the part of the id that all files of a writer share: a unique id without the index of the file.
    pub(crate) fn writer(&self, id: IdKind) -> &'a str {
        match id {
            IdKind::Unique => {
                let process = split_unique_id(self.id).map(|(process, _)| process.len());
                process.map_or(self.id, |len| &self.id[..len + "-".len() + SUFFIX_LEN])
            }
            IdKind::Chosen => self.id,
        }
    }

    /// Whether the id has the form of a unique one. Whether it is unique depends on the location and the content of the
    /// file: see [`IdKind`].
    pub(crate) fn has_unique_form(&self) -> bool {
        split_unique_id(self.id).is_some()
    }
}

/// The process part of an id: all of a chosen one, and the part before the random digits of a unique one.
pub(crate) fn process_of(id: &str, kind: IdKind) -> &str {
    match kind {
        IdKind::Chosen => id,
        IdKind::Unique => split_unique_id(id).map_or(id, |(process, _)| process),
    }
}

/// The origin of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdKind {
    /// Chosen by the writer and perhaps used again: files without the magic of this crate.
    Chosen,
    /// Drawn by this crate: files with its magic, retired files, and sections of an archive.
    Unique,
}

impl fmt::Display for FileName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}.db", self.kind, self.id)
    }
}

/// Why a name is not that of a series file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NameError {
    /// Another program has chosen it.
    Foreign,
    /// The metric type is unknown, in a name of the form that multiprom chooses.
    Type(String),
    /// The gauge mode is unknown.
    Mode(String),
    /// The ending is unknown, in a name of the form that multiprom chooses.
    Ending(String),
}

impl NameError {
    /// Returns the reason for which [`FileName::parse`] rejects a name.
    pub(crate) fn of(name: &str) -> NameError {
        if let Some(ending) = unknown_ending(name) {
            return NameError::Ending(ending.to_owned());
        }
        let stem = name.strip_suffix(".db").and_then(|stem| stem.split_once('_'));
        match stem {
            Some(("gauge", rest)) => match rest.split_once('_') {
                Some((mode, id)) if !id.is_empty() && is_word(mode) => {
                    NameError::Mode(mode.to_owned())
                }
                _ => NameError::Foreign,
            },
            Some((prefix, id)) if is_word(prefix) && split_unique_id(id).is_some() => {
                NameError::Type(prefix.to_owned())
            }
            _ => NameError::Foreign,
        }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, text) = match self {
            NameError::Foreign => return f.write_str("the name is not that of a series file"),
            NameError::Type(text) => ("metric type", text),
            NameError::Mode(text) => ("gauge mode", text),
            NameError::Ending(text) => ("file ending", text),
        };
        write!(f, "the {what} `{text}` is unknown to this release of multiprom")
    }
}

impl std::error::Error for NameError {}

/// Returns the ending of a name that has the form of multiprom's names, `<word>_<id>.<ending>` with a unique id, if the
/// ending is unknown. Another release may have written such a file.
pub(crate) fn unknown_ending(name: &str) -> Option<&str> {
    let (stem, ending) = name.rsplit_once('.')?;
    let (prefix, id) = stem.split_once('_')?;
    // The index of a further file of a kind follows the ending.
    let base = match ending.split_once('_') {
        Some((base, index)) if index.bytes().all(|byte| byte.is_ascii_digit()) => base,
        Some(_) => return None,
        None => ending,
    };
    let is_unknown = ending != "db" && CompanionName::of_file(name).is_none();
    (is_unknown && is_word(prefix) && is_word(base) && split_unique_id(id).is_some())
        .then_some(ending)
}

/// Whether a text is a part of a file name that multiprom may choose: lower-case letters and digits.
fn is_word(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !text.is_empty() && text.bytes().all(is_allowed)
}

/// The parsed name of a companion file, or of the section of an archive with companion entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompanionName<'a> {
    pub(crate) id: &'a str,
    /// Counts the companions of a writer from 1.
    index: u32,
}

impl<'a> CompanionName<'a> {
    /// The name of the section of an archive.
    pub(crate) const SECTION: CompanionName<'static> = CompanionName { id: "archive", index: 1 };

    /// The name of the first companion of a writer.
    pub(crate) fn first(id: &'a str) -> CompanionName<'a> {
        CompanionName { id, index: 1 }
    }

    /// Parses a name; `None` if it is not that of a companion.
    pub(crate) fn parse(name: &'a str) -> Option<CompanionName<'a>> {
        let (id, index) = name.strip_prefix(COMPANION_PREFIX)?.rsplit_once(COMPANION_SUFFIX)?;
        let index = match index.strip_prefix('_') {
            None if index.is_empty() => 1,
            Some(index) => parse_index(index).filter(|index| *index > 1)?,
            None => return None,
        };
        (!id.is_empty()).then_some(CompanionName { id, index })
    }

    /// Parses the name of a companion file. Its id is unique, because only this crate writes such files.
    pub(crate) fn of_file(name: &'a str) -> Option<CompanionName<'a>> {
        CompanionName::parse(name).filter(|name| split_unique_id(name.id).is_some())
    }

    /// Whether this is the name of the section of an archive.
    pub(crate) fn is_section(&self) -> bool {
        *self == CompanionName::SECTION
    }
}

impl fmt::Display for CompanionName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{COMPANION_PREFIX}{}{COMPANION_SUFFIX}", self.id)?;
        if self.index > 1 { write!(f, "_{}", self.index) } else { Ok(()) }
    }
}

const COMPANION_PREFIX: &str = "companion_";
const COMPANION_SUFFIX: &str = ".mpx";

/// The longest process name that a user may choose, in bytes.
const MAX_PROCESS_LEN: usize = 64;

/// Whether a text may be the name of a process in file names: letters, digits, dots and dashes.
///
/// Underscores are not allowed, as the Python client splits file names at them.
pub(crate) fn is_process_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    (1..=MAX_PROCESS_LEN).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Hex digits of the random part of a unique id.
const SUFFIX_LEN: usize = 8;

/// Precedes `_` and the index of a file that is not a writer's first of its kind.
const INDEX_MARK: &str = ".db";

/// Returns an id without the index of the file.
fn without_index(id: &str) -> &str {
    // Searching for one byte is several times as fast as searching for a text. Each scrape does this for the files of other
    // clients and for those with an index.
    match id.rsplit_once('_') {
        Some((marked, index)) if parse_index(index).is_some() => {
            marked.strip_suffix(INDEX_MARK).unwrap_or(id)
        }
        _ => id,
    }
}

/// Parses the index of a file that is not a writer's first of its kind.
fn parse_index(text: &str) -> Option<u32> {
    text.parse().ok().filter(|index: &u32| index.to_string() == text)
}

/// Splits a unique id into the process and the random digits.
///
/// Each scrape does this for every file. Most ids end with the random digits, and are then split without a search.
fn split_unique_id(id: &str) -> Option<(&str, &str)> {
    split_random(id).or_else(|| split_random(without_index(id)))
}

/// Splits an id that ends with random digits.
fn split_random(id: &str) -> Option<(&str, &str)> {
    let (rest, suffix) = id.split_at_checked(id.len().checked_sub(SUFFIX_LEN)?)?;
    let process = rest.strip_suffix('-').filter(|process| !process.is_empty())?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    suffix.bytes().all(is_hex).then_some((process, suffix))
}

/// What a file of a writer contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileContent {
    Series(FileKind),
    Companion,
}

/// The id of a writer, `<process>-<8 hex digits>`, which the names of all its files contain.
#[derive(Clone, Debug)]
pub(crate) struct WriterId {
    process: String,
    text: String,
    /// How many files of each kind have been named, including files that were lost since: no name is used again.
    named: Vec<(FileContent, u32)>,
}

impl WriterId {
    pub(crate) fn new(process: &str, random: u32) -> WriterId {
        let text = format!("{process}-{random:08x}");
        WriterId { process: process.to_owned(), text, named: Vec::new() }
    }

    /// Returns the name of the next file with this content.
    pub(crate) fn next_name(&self, content: FileContent) -> String {
        let named =
            self.named.iter().find(|(other, _)| *other == content).map_or(0, |(_, count)| *count);
        let kind = match content {
            FileContent::Series(kind) => kind,
            FileContent::Companion => {
                return CompanionName { id: &self.text, index: named + 1 }.to_string();
            }
        };
        let indexed;
        let id = if named == 0 {
            &self.text
        } else {
            indexed = format!("{}{INDEX_MARK}_{}", self.text, named + 1);
            &indexed
        };
        FileName { kind, id }.to_string()
    }

    /// Records that a file with this content has been created under its next name.
    pub(crate) fn note_named(&mut self, content: FileContent) {
        match self.named.iter_mut().find(|(other, _)| *other == content) {
            Some((_, count)) => *count += 1,
            None => self.named.push((content, 1)),
        }
    }

    pub(crate) fn process(&self) -> &str {
        &self.process
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_python_client_are_parsed() {
        let parse = |name| {
            FileName::parse(name).map(|name| (name.kind, name.id, name.process(IdKind::Unique)))
        };
        let gauge = FileKind::Gauge;
        assert_eq!(parse("counter_17.db"), Some((FileKind::Counter, "17", "17")));
        assert_eq!(parse("gauge_livesum_17.db"), Some((gauge(GaugeMode::LiveSum), "17", "17")));
        assert_eq!(parse("gauge_all_a_b.db"), Some((gauge(GaugeMode::All), "a_b", "a_b")));
        assert_eq!(parse("summary_17-0a1b2c3d.db"), Some((FileKind::Summary, "17-0a1b2c3d", "17")));
        assert_eq!(parse("histogram_web-1.db"), Some((FileKind::Histogram, "web-1", "web-1")));
        for foreign in
            ["counter.db", "counter_.db", "gauge_x.db", "gauge_p99_1.db", "foo_1.db", "cache.db"]
        {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_rejected_name_has_a_reason_that_names_its_unknown_part() {
        let (mode, of_type) =
            (|it: &str| NameError::Mode(it.into()), |it: &str| NameError::Type(it.into()));
        let ending = |it: &str| NameError::Ending(it.into());
        for (name, reason) in [
            ("cache.db", NameError::Foreign),
            ("foo_1.db", NameError::Foreign),
            ("gauge_.db", NameError::Foreign),
            ("gauge_x.db", NameError::Foreign),
            ("My_1-0000beef.db", NameError::Foreign),
            ("gauge_p99_1.db", mode("p99")),
            ("gauge_median_1-0000beef.db_2.db", mode("median")),
            ("enum_1-0000beef.db", of_type("enum")),
            ("enum_1-0000beef.db_2.db", of_type("enum")),
            ("counter_1-0000beef.foo", ending("foo")),
            ("counter_1-0000beef.foo_2", ending("foo_2")),
            ("counter_1-0000beef.db_2", ending("db_2")),
            ("counter_1-0000beef.mpx", ending("mpx")),
            ("companion_1-0000beef.mpx_1", ending("mpx_1")),
            ("gauge_all_1-0000beef.foo", ending("foo")),
        ] {
            assert_eq!(FileName::parse(name), None);
            assert_eq!(NameError::of(name), reason, "{name}");
        }
        for name in [
            "companion_1-0000beef.mpx",
            "companion_1-0000beef.mpx_2",
            "counter_1-0000beef.db_2.db",
            "counter_1-0000beef.db.bak",
            "counter_1-0000beef.foo_x",
            "counter_1-0000beef.FOO",
            "counter_1.foo",
            "counter-0000beef.foo",
            "archive.bad.1-0000beef.5",
        ] {
            assert_eq!(unknown_ending(name), None, "{name}");
        }
    }

    #[test]
    fn a_formatted_name_parses_to_the_same_name() {
        let id = WriterId::new("4711", 0xbeef);
        for mode in GaugeMode::ALL.iter().copied() {
            let name = FileName { kind: FileKind::Gauge(mode), id: id.as_str() }.to_string();
            let back = FileName::parse(&name).unwrap();
            assert_eq!(
                (back.kind.mode(), back.process(IdKind::Unique), back.has_unique_form()),
                (Some(mode), "4711", true)
            );
            assert_eq!(back.process(IdKind::Chosen), id.as_str());
        }
    }

    #[test]
    fn the_files_of_a_writer_have_different_names_and_the_same_id() {
        let content = FileContent::Series(FileKind::Gauge(GaugeMode::All));
        let mut id = WriterId::new("web.db-7", 0xbeef);
        let mut names = Vec::new();
        for _ in 0..12 {
            names.push(id.next_name(content));
            id.note_named(content);
        }
        assert_eq!(names[0], "gauge_all_web.db-7-0000beef.db");
        assert_eq!(names[1], "gauge_all_web.db-7-0000beef.db_2.db");
        assert_eq!(names[11], "gauge_all_web.db-7-0000beef.db_12.db");
        let counter = FileContent::Series(FileKind::Counter);
        assert_eq!(id.next_name(counter), "counter_web.db-7-0000beef.db");
        for name in &names {
            let back = FileName::parse(name).unwrap();
            let unique = IdKind::Unique;
            let parts = (back.writer(unique), back.process(unique));
            assert_eq!(parts, ("web.db-7-0000beef", "web.db-7"));
            assert!(back.has_unique_form() && back.to_string() == *name);
            // The Python client takes `parts[2][:-3]`.
            let part = name.split('_').nth(2).unwrap();
            assert_eq!(&part[..part.len() - 3], id.as_str());
        }
        for (name, writer) in [
            ("counter_7-0000beef.db_02.db", "7-0000beef.db_02"),
            ("counter_7-0000beef.db_.db", "7-0000beef.db_"),
            ("counter_7.db_2.db", "7.db_2"),
            ("counter_7-000\u{e9}beef.db", "7-000\u{e9}beef"),
            ("counter_-0000beef.db", "-0000beef"),
        ] {
            let other = FileName::parse(name).unwrap();
            let parts = (other.writer(IdKind::Unique), other.has_unique_form());
            assert_eq!(parts, (writer, false));
        }
    }

    #[test]
    fn the_companions_of_a_writer_have_names_that_parse_and_are_no_series_files() {
        let mut id = WriterId::new("web.mpx-7", 0xbeef);
        for expected in ["companion_web.mpx-7-0000beef.mpx", "companion_web.mpx-7-0000beef.mpx_2"] {
            let name = id.next_name(FileContent::Companion);
            assert_eq!(name, expected);
            let back = CompanionName::of_file(&name).unwrap();
            assert_eq!((back.id, back.to_string()), (id.as_str(), name.clone()));
            assert_eq!(FileName::parse(&name), None);
            id.note_named(FileContent::Companion);
        }
        let section = CompanionName::SECTION.to_string();
        assert!(CompanionName::parse(&section).unwrap().is_section());
        for other in [
            "companion_archive.mpx",
            "companion_7.mpx",
            "companion_7-0000beef.mpx_1",
            "companion_7-0000beef.mpx_02",
            "companion_7-0000beef.mpx_",
            "companion_7-0000beef.mpx2",
            "companion_7-0000beef.db",
            "companion_.mpx",
            "7-0000beef.mpx",
        ] {
            assert_eq!(CompanionName::of_file(other), None, "{other}");
        }
    }
}
