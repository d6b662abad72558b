//! Registries for tests: in memory, in files, and of a merged directory.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use multiprom::collector::Gatherer;
use multiprom::exposition::{Exposition, Format};
use multiprom::{Backend, DirectoryOptions, MultiProcessCollector, Registry};

/// A registry in memory.
pub fn in_memory() -> Registry {
    Registry::builder().backend(Backend::in_memory()).build().unwrap()
}

/// A registry whose files are those of a process of its own, until it is closed.
pub fn process(dir: impl AsRef<Path>) -> Registry {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let options = DirectoryOptions::new().process_id(move || format!("process-{number}"));
    let backend = Backend::directory_with(dir.as_ref(), options).unwrap();
    Registry::builder().backend(backend).build().unwrap()
}

/// A registry in memory with a collector of a directory.
pub fn merged(dir: impl AsRef<Path>) -> Registry {
    let registry = in_memory();
    registry.register(MultiProcessCollector::new(dir.as_ref()).unwrap()).unwrap();
    registry
}

/// The lines of an exposition without comments and without the metrics of multiprom itself.
pub fn samples(source: &dyn Gatherer) -> Vec<String> {
    let text = Exposition::encode(source, Format::Text).to_string();
    let is_sample = |line: &&str| !line.starts_with('#') && !line.starts_with("multiprom_");
    text.lines().filter(is_sample).map(str::to_owned).collect()
}
