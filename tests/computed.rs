//! Values that a process computes: functions and custom collectors, in its own exposition and in the merged one.

use multiprom::{Backend, Collector, FamilySink, MultiProcessCollector, Registry};

use crate::support::TestDir;

struct Queue;

impl Collector for Queue {
    fn collect(&self, out: &mut dyn FamilySink) {
        out.gauge("queue_depth", "Jobs waiting.").sample(&[("queue", "mail")], 3.0);
        out.counter("queue_jobs_total", "Jobs done.").sample(&[], 7.0);
    }
}

#[test]
fn a_custom_collector_of_a_worker_is_in_the_merged_view_of_every_exporter() {
    let dir = TestDir::new("computed");
    let worker =
        Registry::builder().backend(Backend::directory(dir.path()).unwrap()).build().unwrap();
    worker.register(Queue).unwrap();
    let merged = Registry::builder().backend(Backend::in_memory()).build().unwrap();
    merged.register(MultiProcessCollector::new(dir.path()).unwrap()).unwrap();
    let page = merged.render(None).to_string();
    assert!(page.contains("queue_depth{"), "{page}");
    assert!(page.contains("queue_jobs_total 7\n"), "{page}");
}
