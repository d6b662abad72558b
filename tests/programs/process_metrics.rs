//! Exports the metrics of this process in a parent with threads and in a forked child with other descriptors and memory.

use std::fs::File;
use std::sync::Barrier;

use multiprom::{Backend, ProcessCollector, Registry};

use super::fork::{in_child, wait};

const THREADS: usize = 3;
const CHILD_FILES: usize = 20;
const CHILD_BYTES: usize = 64 << 20;

pub fn main() -> multiprom::Result<()> {
    let registry = Registry::builder().backend(Backend::in_memory()).build()?;
    registry.register(ProcessCollector::current())?;
    let value = |name: &str| registry.sample_value(name, &[]).expect("the metric is exported");
    let barrier = Barrier::new(THREADS + 1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| barrier.wait());
        }
        assert_eq!(value("process_threads"), 1.0 + THREADS as f64);
        let (fds, bytes) = (value("process_open_fds"), value("process_resident_memory_bytes"));
        let start = value("process_start_time_seconds");
        wait(in_child(|| {
            let _files: Vec<File> =
                (0..CHILD_FILES).map(|_| File::open("/dev/null").expect("open")).collect();
            let memory = vec![1_u8; CHILD_BYTES];
            std::hint::black_box(&memory);
            assert_eq!(value("process_threads"), 1.0);
            assert_eq!(value("process_open_fds"), fds + CHILD_FILES as f64);
            assert!(value("process_resident_memory_bytes") > bytes + CHILD_BYTES as f64 / 2.0);
            assert!(value("process_start_time_seconds") >= start);
        }));
        assert_eq!(value("process_open_fds"), fds);
        barrier.wait();
    });
    Ok(())
}
