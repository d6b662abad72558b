//! The attributes of families from the companion files of a scrape: units, and the types of families of gauges.

use std::sync::Arc;

use crate::file::companion::layout::{CompanionEntry, CompanionKind};
use crate::file::companion::payload::decode_text;
use crate::file::key;
use crate::file::layout::LayoutError;
use crate::model::MetricType;
use crate::multiproc::fast_map::FastMap;

/// Types with which a family of gauges can be exported.
const TYPES: [MetricType; 4] =
    [MetricType::Info, MetricType::StateSet, MetricType::Counter, MetricType::Unknown];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Attribute {
    Unit(Box<str>),
    Type(MetricType),
}

impl Attribute {
    /// Parses the text of a unit or a type. `None` if it is ignored: a unit that is not the last part of the name of its
    /// family, or a type that is not among [`TYPES`].
    fn parse(kind: CompanionKind, family: &str, text: &str) -> Option<Attribute> {
        if kind == CompanionKind::Unit {
            let is_suffix = family.strip_suffix(text).is_some_and(|rest| rest.ends_with('_'));
            is_suffix.then(|| Attribute::Unit(text.into()))
        } else {
            TYPES.into_iter().find(|it| it.as_str() == text).map(Attribute::Type)
        }
    }
}

/// The attributes in one file, each with its family. Files of processes that run the same program mostly have equal lists,
/// and share one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AttributeList(Vec<(Box<str>, Attribute)>);

impl AttributeList {
    /// Adds an entry, if it is an attribute that is not ignored.
    pub(crate) fn add(&mut self, entry: &CompanionEntry<'_>) -> Result<(), LayoutError> {
        if !matches!(entry.kind, CompanionKind::Unit | CompanionKind::Type) {
            return Ok(());
        }
        let key = key::decode(entry.key).map_err(|_| entry.payload_invalid())?;
        let text = decode_text(entry.payload).ok_or_else(|| entry.payload_invalid())?;
        let attribute = Attribute::parse(entry.kind, &key.family, text);
        self.0.extend(attribute.map(|attribute| (key.family.into(), attribute)));
        Ok(())
    }
}

/// Whether readers ignore the text of a unit or a type of a family.
pub(in crate::multiproc) fn is_ignored(kind: CompanionKind, family: &str, text: &str) -> bool {
    Attribute::parse(kind, family, text).is_none()
}

/// The attributes of a scrape. The first file that has an attribute of a family decides.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    units: FastMap<Box<str>, Box<str>>,
    types: FastMap<Box<str>, MetricType>,
    /// The list of the file before, which the next file mostly has too.
    last: Option<Arc<AttributeList>>,
}

impl Attributes {
    /// Removes all attributes.
    pub(super) fn clear(&mut self) {
        self.units.clear();
        self.types.clear();
        self.last = None;
    }

    /// Returns the list of the file before if it is equal.
    pub(crate) fn share(&self, list: Arc<AttributeList>) -> Arc<AttributeList> {
        match &self.last {
            Some(last) if *last == list => Arc::clone(last),
            _ => list,
        }
    }

    /// Adds the attributes of a file.
    pub(crate) fn add(&mut self, list: &Arc<AttributeList>) {
        if self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, list)) {
            return;
        }
        for (family, attribute) in &list.0 {
            match attribute {
                Attribute::Unit(unit) => insert_first(&mut self.units, family, unit),
                Attribute::Type(metric_type) => insert_first(&mut self.types, family, metric_type),
            }
        }
        self.last = Some(Arc::clone(list));
    }

    /// The unit of an exported family; empty if it has none.
    pub(super) fn unit_of(&self, family: &str) -> &str {
        self.units.get(family).map_or("", |unit| unit)
    }

    /// The type with which a family of gauges is exported, if its files name one.
    pub(crate) fn type_of(&self, family: &str) -> Option<MetricType> {
        self.types.get(family).copied()
    }

    /// The families with a type.
    pub(super) fn types(&self) -> impl Iterator<Item = (&str, MetricType)> {
        self.types.iter().map(|(family, metric_type)| (&**family, *metric_type))
    }
}

fn insert_first<V: Clone>(map: &mut FastMap<Box<str>, V>, family: &str, value: &V) {
    if !map.contains_key(family) {
        map.insert(family.into(), value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::companion::layout::{CompanionEntries, encode_entry};
    use crate::file::companion::payload::encode_text;

    fn list(kind: CompanionKind, texts: &[(&str, &str)]) -> AttributeList {
        let mut list = AttributeList::default();
        for (family, text) in texts {
            let (mut key, mut payload, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
            key::encode(&mut key, family, family, std::iter::empty(), "Help.");
            encode_text(&mut payload, text);
            encode_entry(&mut bytes, kind, &key, &payload);
            let entry = CompanionEntries::new(&bytes, 8).next().unwrap().unwrap();
            list.add(&entry).unwrap();
        }
        list
    }

    fn attributes(files: impl IntoIterator<Item = AttributeList>) -> Attributes {
        let mut attributes = Attributes::default();
        for file in files {
            let file = attributes.share(Arc::new(file));
            attributes.add(&file);
            attributes.add(&file);
        }
        attributes
    }

    #[test]
    fn the_first_file_decides_and_a_unit_that_is_no_suffix_is_ignored() {
        let list = |units| list(CompanionKind::Unit, units);
        let mut units = attributes([
            list(&[("a_bytes", "seconds"), ("b_seconds", "seconds"), ("xseconds", "seconds")]),
            list(&[("a_bytes", "bytes"), ("b_seconds", "s"), ("c_x_y", "x_y")]),
            list(&[("c_x_y", "z")]),
        ]);
        let found = ["a_bytes", "b_seconds", "xseconds", "c_x_y", "d"].map(|it| units.unit_of(it));
        assert_eq!(found, ["bytes", "seconds", "", "x_y", ""]);
        let again = units.share(Arc::new(list(&[])));
        assert!(Arc::ptr_eq(&again, units.last.as_ref().unwrap()));
        units.clear();
        assert_eq!(units.unit_of("a_bytes"), "");
    }

    #[test]
    fn the_first_file_decides_and_a_type_that_gauges_cannot_have_is_ignored() {
        let list = |types| list(CompanionKind::Type, types);
        let types = attributes([
            list(&[("a_info", "summary"), ("b_total", "counter"), ("c", "Info")]),
            list(&[("a_info", "info"), ("b_total", "unknown"), ("d", "stateset")]),
        ]);
        let found = ["a_info", "b_total", "c", "d"].map(|it| types.type_of(it));
        let [info, counter, states] =
            [MetricType::Info, MetricType::Counter, MetricType::StateSet].map(Some);
        assert_eq!(found, [info, counter, None, states]);
        assert_eq!(types.types().count(), 3);
    }
}
