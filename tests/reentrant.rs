//! Recording while the library runs: by signal handlers, and by functions of the program that the library calls.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use multiprom::inspect::list_files;
use multiprom::{Backend, Counter, DirectoryOptions, Family, Registry};

use crate::support::survivor::{log_lines, merged, printed, sum, value};
use crate::support::{TestDir, assert_success, example};

fn registry(dir: &TestDir, options: DirectoryOptions) -> Registry {
    let backend = Backend::directory_with(dir.path(), options).unwrap();
    Registry::builder().backend(backend).build().unwrap()
}

#[test]
fn a_signal_handler_that_records_anywhere_in_the_library_neither_hangs_nor_miscounts() {
    let dir = TestDir::new("signals");
    let mut command = example("test-reentrant");
    let output = command.arg(dir.path()).output().unwrap();
    assert_success(&command, &output);
    assert!(printed(&output, "signals") > 1_000.0, "{output:?}");
    assert!(log_lines(&output).is_empty(), "{output:?}");
    let merged = merged(dir.path());
    assert_eq!(sum(dir.path(), "counted_total"), 201.0, "{merged}");
    for name in ["seen_count", "seen_sum", "set"] {
        assert_eq!(sum(dir.path(), name), 200.0, "{merged}");
    }
    assert_eq!(value(&merged, "multiprom_ignored_recordings_total"), printed(&output, "ignored"));
}

#[test]
fn the_process_id_function_may_record_and_wait_for_threads_that_record() {
    let dir = TestDir::new("naming");
    let family: Arc<OnceLock<Family<Counter>>> = Arc::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let options = DirectoryOptions::new().process_id({
        let (family, calls) = (family.clone(), calls.clone());
        move || {
            calls.fetch_add(1, Ordering::Relaxed);
            if let Some(family) = family.get() {
                family.with(["inside"]).inc();
                let family = *family;
                thread::spawn(move || family.with(["beside"]).inc()).join().unwrap();
            }
            "worker".to_owned()
        }
    });
    let registry = registry(&dir, options);
    let counted = Counter::builder("counted", "By place.").labels(["place"]);
    let counted = family.get_or_init(|| counted.register(&registry).unwrap());
    let before = calls.load(Ordering::Relaxed);
    counted.with(["outside"]).inc();
    counted.with(["inside"]).inc();
    assert_eq!(
        calls.load(Ordering::Relaxed),
        before + 1,
        "the function is called once per process"
    );
    let merged = merged(dir.path());
    for (place, count) in [("outside", 1.0), ("inside", 2.0), ("beside", 1.0)] {
        assert_eq!(value(&merged, &format!("counted_total{{place=\"{place}\"}}")), count);
    }
    assert!(!merged.contains("multiprom_dropped_series"), "{merged}");
    let files = list_files(dir.path()).unwrap();
    assert!(files.len() == 1 && files[0].id.starts_with("worker-"), "{files:#?}");
}

#[test]
fn the_pid_is_used_if_the_process_id_function_panics_later() {
    let dir = TestDir::new("unnamed");
    let calls = AtomicUsize::new(0);
    let options = DirectoryOptions::new().process_id(move || {
        if calls.fetch_add(1, Ordering::Relaxed) > 0 {
            // Not `panic!`, whose message would be in the output of the tests.
            resume_unwind(Box::new(()));
        }
        "worker".to_owned()
    });
    let registry = registry(&dir, options);
    Counter::builder("counted", "Counted.").register(&registry).unwrap().inc();
    assert_eq!(value(&merged(dir.path()), "counted_total"), 1.0);
    let files = list_files(dir.path()).unwrap();
    assert!(files[0].id.starts_with(&format!("{}-", std::process::id())), "{files:#?}");
}
