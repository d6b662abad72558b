//! The hash map of this folder.

use std::collections::HashMap;

/// A hash map with a hash function that is faster than that of the standard library.
pub(super) type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
