//! By what processes are shown in the modes that show each by itself.

use super::{judged, record, samples};
use crate::support::process::run;
use crate::support::{TestDir, multiprom};

#[test]
fn an_id_of_the_python_client_that_looks_like_one_of_multiprom_is_shown_whole() {
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
    assert_eq!(samples(&judged(&[dir.path()], "").stdout), wanted);
    // Also when only one of them is there, and when both have been retired and archived.
    let (alone, other) = (TestDir::in_memory("alone"), "gauge_all_job-deadbeef.db");
    std::fs::copy(dir.path().join(other), alone.path().join(other)).unwrap();
    assert_eq!(samples(&judged(&[alone.path()], "").stdout), [wanted[1]]);
    for _ in 0..2 {
        let mut compact = multiprom();
        let said = run(compact.arg("compact").arg("--dir").arg(dir.path()));
        assert_eq!((said.status, &*said.stderr), (0, ""));
        assert_eq!(samples(&judged(&[dir.path()], "").stdout), wanted);
    }
    assert!(dir.path().join("archive.multiprom").exists());
}

#[test]
fn marking_a_pid_dead_leaves_an_id_alone_that_begins_with_it() {
    let dir = TestDir::in_memory("marked");
    let set = "Gauge('l', 'L.', multiprocess_mode='livesum', registry=None).set(1)";
    let Some(()) = record(dir.path(), &[("7-deadbeef", set), ("7", set)]) else { return };
    let mut mark = multiprom();
    let said = run(mark.args(["mark-process-dead", "7", "--dir"]).arg(dir.path()));
    assert_eq!((said.status, &*said.stderr), (0, ""));
    let names: Vec<_> = dir.path().read_dir().unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["gauge_livesum_7-deadbeef.db"]);
}
