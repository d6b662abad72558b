//! Property test: files that have the first keys in common, whose plans and keys are taken from the files before, are merged
//! like one file with all entries.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::MultiProcessCollector;
use crate::file::entries::push_entry;
use crate::file::key;
use crate::file::layout::{EntryKind, HEADER_LEN, Header};
use crate::model::{Collector as _, FamilyMetadata, FamilySink, Sample};
use crate::test_dir::TestDir;

/// A prefix of file names, and samples with a suffix and perhaps a bound. That of the count of a histogram is derived.
const KINDS: [(&str, &[(&str, &str)]); 3] = [
    ("counter", &[("_total", "")]),
    ("gauge_sum", &[("", "")]),
    ("histogram", &[("_sum", ""), ("_bucket", "1"), ("_bucket", "2.5"), ("_count", "")]),
];

/// A label value, the index of a sample among those of the kind, and the value.
type Drawn = (usize, usize, f64);

/// Writes the file of a process.
fn write(dir: &Path, kind: usize, process: usize, entries: &[Drawn]) {
    let mut bytes = vec![0; HEADER_LEN];
    for &(label, sample, value) in entries {
        let samples = KINDS[kind].1;
        let (suffix, bound) = samples[sample % samples.len()];
        let (family, label) = (["m", "n"][label / 4], label.to_string());
        let mut labels = vec![("label", &*label)];
        if !bound.is_empty() {
            labels.insert(1, ("le", bound));
        }
        let (mut text, sample) = (Vec::new(), format!("{family}{suffix}"));
        key::encode(&mut text, family, &sample, labels.into_iter(), "Help.");
        push_entry(&mut bytes, EntryKind::Value, &text, value, 1.0);
    }
    let header = Header::new(bytes.len() as u32).encode();
    bytes[..HEADER_LEN].copy_from_slice(&header);
    fs::write(dir.join(format!("{}_{process}-0000000a.db", KINDS[kind].0)), bytes).unwrap();
}

/// The families and samples of a page.
#[derive(Default)]
struct Lines(Vec<String>);

impl FamilySink for Lines {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.0.push(format!("{head:?}"));
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        self.0.push(format!("{sample:?}"));
    }
}

/// The merged families, without multiprom's own, which follow them.
fn page(dir: &Path) -> Vec<String> {
    let mut lines = Lines::default();
    MultiProcessCollector::new(dir).unwrap().collect(&mut lines);
    let end = lines.0.iter().position(|line| line.contains("\"multiprom_")).unwrap();
    lines.0.truncate(end);
    lines.0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn files_that_begin_alike_are_merged_like_one_file_with_all_entries(
        kind in 0..KINDS.len(),
        common in proptest::collection::vec((0usize..8, 0usize..4), 0..6),
        files in proptest::collection::vec(
            (0usize..7, proptest::collection::vec((0usize..8, 0usize..4), 0..4)),
            1..6,
        ),
    ) {
        let (many, one) = (TestDir::new(), TestDir::new());
        let mut all = Vec::new();
        for (process, (len, own)) in files.iter().enumerate() {
            let drawn = common.iter().take(*len).chain(own).zip(1u32..);
            let entries: Vec<Drawn> =
                drawn.map(|((label, sample), value)| (*label, *sample, f64::from(value))).collect();
            write(&many, kind, process, &entries);
            all.extend(entries);
        }
        write(&one, kind, 0, &all);
        prop_assert_eq!(page(&many), page(&one));
    }
}
