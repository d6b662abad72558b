//! Series that would be repeated, or counted twice.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use multiprom::{CompactFiles, Compactor, MultiProcessCollector};

use super::{assert_no_series_is_repeated, dump, judged, record, samples};
use crate::support::http::scrape;
use crate::support::process::{Running, run};
use crate::support::samples::{Line, given_by};
use crate::support::{TestDir, example, multiprom, output_of};

const JOBS: &str = "Counter('jobs', 'J.', registry=None).inc(5)
Gauge('level', 'L.', multiprocess_mode='sum', registry=None).set(2)";

#[test]
fn a_directory_that_is_given_twice_by_any_names_counts_once() {
    let base = TestDir::in_memory("twice");
    let dir = base.path().join("d1");
    fs::create_dir(&dir).unwrap();
    let Some(()) = record(&dir, &[("7", JOBS)]) else { return };
    let link = base.path().join("link");
    symlink(&dir, &link).unwrap();
    let slash = Path::new(&format!("{}/", dir.display())).to_owned();
    let up = base.path().join("link/../d1/.");
    let (all, some) = (base.path().join("*"), base.path().join("d?"));
    let wanted = ["jobs_total 5", "level 2"];
    let dirs = [&dir, &dir, &slash, &link, &up, &all, &some].map(|dir| &**dir);
    assert_eq!(samples(&judged(&dirs, "").stdout), wanted);
    let checked = |dirs: &[&Path]| {
        let mut check = multiprom();
        check.arg("check");
        for dir in dirs {
            check.arg("--dir").arg(dir);
        }
        output_of(&mut check)
    };
    assert_eq!(checked(&dirs), checked(&[&dir]));

    // An exporter sees where links lead at each scrape.
    let other = TestDir::in_memory("twice");
    record(other.path(), &[("8", "Counter('jobs', 'J.', registry=None).inc(30)")]).unwrap();
    let mut server = multiprom();
    server.args(["serve", "--compact", "off", "--listen", "127.0.0.1:0"]);
    for dir in [&dir, &dir, &link] {
        server.arg("--dir").arg(dir);
    }
    let mut server = Running::start(&mut server);
    let url = server.url();
    let page = scrape(&url);
    assert_no_series_is_repeated(&page);
    assert_eq!(samples(&page), wanted);
    fs::remove_file(&link).unwrap();
    symlink(other.path(), &link).unwrap();
    let page = scrape(&url);
    assert_no_series_is_repeated(&page);
    assert_eq!(samples(&page), ["jobs_total 35", "level 2"]);
}

#[test]
fn a_file_that_is_given_twice_counts_once() {
    let dir = TestDir::in_memory("twice");
    let Some(()) = record(dir.path(), &[("7", JOBS)]) else { return };
    let file = dir.path().join("counter_7.db");
    let here = dir.path().join(".").join("counter_7.db");
    let mut dump = multiprom();
    dump.current_dir(dir.path());
    let said = run(dump.arg("dump").args([&*file, &*here, &*file, Path::new("counter_7.db")]));
    assert_eq!((samples(&said.stdout), &*said.stderr), (vec!["jobs_total 5"], ""));
    let builder = MultiProcessCollector::builder().directory(dir.path()).file(&file).file(&here);
    let (lines, _) = given_by(&builder.build().unwrap());
    assert_eq!(lines.iter().map(Line::value).collect::<Vec<_>>(), [5.0, 2.0]);
}

#[test]
fn a_compactor_that_is_given_a_directory_twice_loses_and_doubles_nothing() {
    let base = TestDir::in_memory("twice");
    let (dir, link) = (base.path().join("d"), base.path().join("link"));
    fs::create_dir(&dir).unwrap();
    symlink(&dir, &link).unwrap();
    output_of(example("test-counting").arg(&dir).arg("3"));
    let Some(()) = record(&dir, &[("7", JOBS)]) else { return };
    let totals = || samples(&dump(&[&dir], "").stdout).join("\n");
    let before = totals();
    let builder = Compactor::builder().files(CompactFiles::All);
    let compactor = builder.directory(&dir).directory(&link).directory(&dir).build().unwrap();
    let done = compactor.run_to_end().unwrap();
    assert_eq!((done.retired, done.waiting, done.busy, done.damaged), (2, 0, 0, 0));
    assert_eq!(totals(), before);
    assert!(dir.join("archive.multiprom").exists());
    assert!(
        !fs::read_dir(&dir).unwrap().any(|it| it
            .unwrap()
            .path()
            .extension()
            .is_some_and(|it| it == "db"))
    );
}
