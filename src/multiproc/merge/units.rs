//! The units of families, from the companion files of a scrape.

use std::sync::Arc;

use crate::file::companion::layout::{CompanionEntry, CompanionKind};
use crate::file::companion::payload::decode_unit;
use crate::file::key;
use crate::file::layout::LayoutError;
use crate::multiproc::fast_map::FastMap;

/// The units in one file: family and unit. Files of processes that run the same program mostly have equal lists, and share
/// one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnitList(Vec<(Box<str>, Box<str>)>);

impl UnitList {
    /// Adds an entry, if it is a unit. A unit that is not the suffix of the name of its family is ignored.
    pub(crate) fn add(&mut self, entry: &CompanionEntry<'_>) -> Result<(), LayoutError> {
        if entry.kind != CompanionKind::Unit {
            return Ok(());
        }
        let key = key::decode(entry.key).map_err(|_| entry.payload_invalid())?;
        let unit = decode_unit(entry.payload).ok_or_else(|| entry.payload_invalid())?;
        if key.family.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')) {
            self.0.push((key.family.into(), unit.into()));
        }
        Ok(())
    }
}

/// The units of a scrape. The first file that has the unit of a family decides.
#[derive(Debug, Default)]
pub(crate) struct Units {
    by_family: FastMap<Box<str>, Box<str>>,
    /// The list of the file before, which the next file mostly has too.
    last: Option<Arc<UnitList>>,
}

impl Units {
    /// Removes all units.
    pub(super) fn clear(&mut self) {
        self.by_family.clear();
        self.last = None;
    }

    /// Returns the list of the file before if it is equal.
    pub(crate) fn share(&self, list: Arc<UnitList>) -> Arc<UnitList> {
        match &self.last {
            Some(last) if *last == list => Arc::clone(last),
            _ => list,
        }
    }

    /// Adds the units of a file.
    pub(crate) fn add(&mut self, list: &Arc<UnitList>) {
        if self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, list)) {
            return;
        }
        for (family, unit) in &list.0 {
            if !self.by_family.contains_key(family) {
                self.by_family.insert(family.clone(), unit.clone());
            }
        }
        self.last = Some(Arc::clone(list));
    }

    /// The unit of a family; empty if it has none.
    pub(super) fn of(&self, family: &str) -> &str {
        self.by_family.get(family).map_or("", |unit| unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::companion::layout::{CompanionEntries, encode_entry};
    use crate::file::companion::payload::encode_unit;

    fn list(units: &[(&str, &str)]) -> UnitList {
        let mut list = UnitList::default();
        for (family, unit) in units {
            let (mut key, mut payload, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
            key::encode(&mut key, family, family, std::iter::empty(), "Help.");
            encode_unit(&mut payload, unit);
            encode_entry(&mut bytes, CompanionKind::Unit, &key, &payload);
            let entry = CompanionEntries::new(&bytes, 8).next().unwrap().unwrap();
            list.add(&entry).unwrap();
        }
        list
    }

    #[test]
    fn the_first_file_decides_and_a_unit_that_is_no_suffix_is_ignored() {
        let mut units = Units::default();
        let files = [
            list(&[("a_bytes", "seconds"), ("b_seconds", "seconds"), ("xseconds", "seconds")]),
            list(&[("a_bytes", "bytes"), ("b_seconds", "s"), ("c_x_y", "x_y")]),
            list(&[("c_x_y", "z")]),
        ];
        for file in files {
            let file = units.share(Arc::new(file));
            units.add(&file);
            units.add(&file);
        }
        let found = ["a_bytes", "b_seconds", "xseconds", "c_x_y", "d"].map(|name| units.of(name));
        assert_eq!(found, ["bytes", "seconds", "", "x_y", ""]);
        let again = units.share(Arc::new(list(&[])));
        assert!(Arc::ptr_eq(&again, units.last.as_ref().unwrap()));
        units.clear();
        assert_eq!(units.of("a_bytes"), "");
    }
}
