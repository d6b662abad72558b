//! The label `pid` of gauges whose mode exports each process.

use std::path::Path;
use std::time::{Duration, Instant};

use multiprom::compact::{CompactFiles, Compactor};
use multiprom::inspect::{Liveness, list_files};
use multiprom::{Backend, Gauge, GaugeMode, MultiProcessCollector, Registry};

use super::{dump_checked, record, samples};
use crate::support::process::{PATIENCE, run};
use crate::support::{TestDir, multiprom, wait_for};

/// Longer than the grace period of retired files.
const GRACE: Duration = Duration::from_millis(3_100);

#[test]
fn an_id_of_the_python_client_that_looks_like_one_of_multiprom_is_exported_whole() {
    let dir = TestDir::in_memory("looks");
    let set = |value: u32| {
        format!(
            "Gauge('g', 'G.', multiprocess_mode='all', registry=None).set({value});
Gauge('l', 'L.', multiprocess_mode='livesum', registry=None).set({value})"
        )
    };
    let (one, two) = (set(1), set(2));
    let processes = [("job-deadbeef", &*one), ("job-0badcafe", &*two)];
    let Some(()) = record(dir.path(), &processes) else { return };
    let wanted = ["g{pid=\"job-0badcafe\"} 2", "g{pid=\"job-deadbeef\"} 1"];
    assert_eq!(samples(&dump_checked(&[dir.path()], "").stdout), wanted);
    // Also if only one of them exists, and if both have been retired and archived.
    let (alone, other) = (TestDir::in_memory("alone"), "gauge_all_job-deadbeef.db");
    std::fs::copy(dir.path().join(other), alone.path().join(other)).unwrap();
    assert_eq!(samples(&dump_checked(&[alone.path()], "").stdout), [wanted[1]]);
    for _ in 0..2 {
        let mut compact = multiprom();
        let outcome = run(compact.arg("compact").arg("--dir").arg(dir.path()));
        assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
        assert_eq!(samples(&dump_checked(&[dir.path()], "").stdout), wanted);
    }
    assert!(dir.path().join("archive.multiprom").exists());
}

#[test]
fn mark_process_dead_ignores_ids_that_begin_with_the_pid() {
    let dir = TestDir::in_memory("marked");
    let set = "Gauge('l', 'L.', multiprocess_mode='livesum', registry=None).set(1)";
    let Some(()) = record(dir.path(), &[("7-deadbeef", set), ("7", set)]) else { return };
    let mut mark = multiprom();
    let outcome = run(mark.args(["mark-process-dead", "7", "--dir"]).arg(dir.path()));
    assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
    let names: Vec<_> = dir.path().read_dir().unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["gauge_livesum_7-deadbeef.db"]);
}

/// The samples of an exporter that has cached the directory.
fn shown(exporter: &Registry) -> Vec<String> {
    let page = exporter.render(None).to_string();
    let mut samples: Vec<String> = samples(&page).into_iter().map(str::to_owned).collect();
    samples.sort();
    samples
}

fn exporter(dir: &Path) -> Registry {
    let exporter = Registry::new();
    exporter.register(MultiProcessCollector::new(dir).unwrap()).unwrap();
    exporter
}

#[test]
fn a_series_keeps_its_pid_label_when_a_pid_of_the_python_client_is_reused() {
    let dir = TestDir::in_memory("back");
    let set =
        |value| format!("Gauge('g', 'G.', multiprocess_mode='all', registry=None).set({value})");
    let Some(()) = record(dir.path(), &[("2", &set(1))]) else { return };
    let exporter = exporter(dir.path());
    let compactor = Compactor::builder().directory(dir.path()).files(CompactFiles::All);
    let compactor = compactor.build().unwrap();
    assert_eq!(shown(&exporter), ["g{pid=\"2\"} 1"]);
    // The file is retired, and the pid is reused.
    assert_eq!(compactor.run().unwrap().retired, 1);
    assert_eq!(shown(&exporter), ["g{pid=\"2\"} 1"]);
    record(dir.path(), &[("2", &set(5))]).unwrap();
    let wanted = ["g{pid=\"2\"} 1", "g{pid=\"2#2\"} 5"];
    assert_eq!(shown(&exporter), wanted);
    let since = Instant::now();
    wait_for("end of the grace period", PATIENCE, || (since.elapsed() > GRACE).then_some(()));
    // The first is archived, and the second is retired.
    let done = compactor.run().unwrap();
    assert_eq!((done.files, done.retired), (1, 1));
    assert_eq!(shown(&exporter), wanted);
    // The exporter does not read the second file before it is archived and a third process has started.
    compactor.run_to_end().unwrap();
    record(dir.path(), &[("2", &set(9))]).unwrap();
    let wanted = ["g{pid=\"2\"} 1", "g{pid=\"2#2\"} 5", "g{pid=\"2#3\"} 9"];
    assert_eq!(shown(&exporter), wanted);
    dump_checked(&[dir.path()], "");
}

#[test]
fn a_series_keeps_its_pid_label_while_writers_of_one_pid_start_and_end() {
    let dir = TestDir::in_memory("writers");
    let writer = |value| {
        let backend = Backend::directory(dir.path()).unwrap();
        let registry = Registry::builder().backend(backend).build().unwrap();
        Gauge::builder("g", "G.").mode(GaugeMode::All).register(&registry).unwrap().set(value);
        registry
    };
    let ids = || -> Vec<String> {
        list_files(dir.path()).unwrap().into_iter().map(|file| file.id).collect()
    };
    let exporter = exporter(dir.path());
    let first = writer(1.0);
    let pid = std::process::id();
    let of_first = format!("g{{pid=\"{pid}\"}} 1");
    assert_eq!(shown(&exporter), [&*of_first]);
    let former = ids();
    let second = writer(2.0);
    let id = ids().into_iter().find(|id| !former.contains(id)).unwrap();
    let mut wanted = [of_first, format!("g{{pid=\"{id}\"}} 2")];
    wanted.sort();
    assert_eq!(shown(&exporter), wanted);
    for ending in [first, second] {
        let files = ids().len();
        ending.close();
        assert_eq!(shown(&exporter), wanted);
        wait_for("end of the writer", PATIENCE, || {
            let all = list_files(dir.path()).unwrap();
            all.iter().any(|file| file.liveness == Liveness::Dead).then_some(())
        });
        Compactor::builder().directory(dir.path()).build().unwrap().run().unwrap();
        assert_eq!(ids().len(), files - 1);
        assert_eq!(shown(&exporter), wanted);
    }
    dump_checked(&[dir.path()], "");
}
