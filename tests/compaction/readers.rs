//! Several readers of a directory, while processes start and end in it and two compactors compete.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use multiprom::MultiProcessCollector;
use multiprom::compact::{CompactFiles, Compactor};

use super::{compact_with, count, counting_in_python, merge, merged, value};
use crate::support::http::sum_of;
use crate::support::process::run;
use crate::support::samples::{Line, samples_of};
use crate::support::{SetOnDrop, TestDir, multiprom, output_of};

/// Long enough for files of the Python client to be retired and then compacted.
const LONG_ENOUGH: Duration = Duration::from_secs(6);
const READERS: usize = 3;

/// Lower and upper bounds of the total: the values of processes that have ended, and of all that were started.
#[derive(Default)]
struct Truth {
    least: AtomicU64,
    most: AtomicU64,
    /// The highest total that any reader has read.
    seen: AtomicU64,
}

impl Truth {
    fn add(&self, jobs: u64, record: impl FnOnce()) {
        self.most.fetch_add(jobs, Ordering::SeqCst);
        record();
        self.least.fetch_add(jobs, Ordering::SeqCst);
    }

    /// Reads a total; asserts that it is within the bounds and not less than a total that was read before this began.
    fn check(&self, who: &str, read: impl FnOnce() -> f64) {
        let least = self.least.load(Ordering::SeqCst).max(self.seen.load(Ordering::SeqCst));
        let total = read() as u64;
        let most = self.most.load(Ordering::SeqCst);
        assert!((least..=most).contains(&total), "{who}: {total} is not in {least}..={most}");
        self.seen.fetch_max(total, Ordering::SeqCst);
    }
}

/// Repeats `what` until the time is over, or another thread panics.
fn repeat(is_over: &AtomicBool, mut what: impl FnMut()) {
    let _ending = SetOnDrop(is_over);
    loop {
        what();
        if is_over.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn total(lines: &[Line], name: &str) -> f64 {
    lines.iter().filter(|line| line.name == name).map(Line::value).sum()
}

fn read_repeatedly(dir: &Path, own: &Truth, python: &Truth, is_over: &AtomicBool) {
    let problems: Arc<Mutex<Vec<String>>> = Arc::default();
    let reported = Arc::clone(&problems);
    let builder = MultiProcessCollector::builder().directory(dir);
    let builder = builder.on_problem(move |error| reported.lock().unwrap().push(error.to_string()));
    let collector = builder.build().unwrap();
    repeat(is_over, || {
        own.check("a collector", || {
            let (lines, _) = samples_of(&collector);
            total(&lines, "jobs_total")
        });
        python.check("a collector, Python counters", || {
            total(&samples_of(&collector).0, "py_jobs_total")
        });
    });
    let problems = problems.lock().unwrap();
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn totals_never_decrease_while_processes_end_and_compactors_compete() {
    let dir = TestDir::new("readers");
    let dir = dir.path();
    let (own, python) = (Truth::default(), Truth::default());
    let is_over = AtomicBool::new(false);
    let compactor = Compactor::builder().directory(dir).files(CompactFiles::All).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| read_repeatedly(dir, &own, &python, &is_over));
        }
        scope.spawn(|| {
            repeat(&is_over, || {
                own.check("dump", || {
                    let outcome = run(multiprom().args(["dump", "--dir"]).arg(dir));
                    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
                    sum_of(&outcome.stdout, "jobs_total")
                });
            });
        });
        scope.spawn(|| {
            repeat(&is_over, || {
                compactor.run().unwrap();
                thread::park_timeout(Duration::from_millis(3));
            });
        });
        scope.spawn(|| {
            repeat(&is_over, || {
                let outcome = compact_with("--own", dir);
                assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
            });
        });
        scope.spawn(|| {
            repeat(&is_over, || {
                if let Some(mut program) = counting_in_python(dir, 3) {
                    python.add(3, || drop(output_of(&mut program)));
                }
            });
        });
        let start = Instant::now();
        repeat(&is_over, || {
            own.add(2, || count(dir, 2));
            if start.elapsed() > LONG_ENOUGH {
                is_over.store(true, Ordering::Relaxed);
            }
        });
    });
    let (lines, problems) = merge(dir);
    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(total(&lines, "jobs_total") as u64, own.least.into_inner());
    assert_eq!(total(&lines, "py_jobs_total") as u64, python.least.into_inner());
    super::compact(dir);
    assert_eq!(value(&merged(dir), "jobs_total"), total(&lines, "jobs_total"));
    assert_eq!(total(&merged(dir), "py_jobs_total"), total(&lines, "py_jobs_total"));
}
