//! Recording in the middle of the library: by signal handlers, allocators, and functions of the program that the library
//! calls.

use crate::support::survivor::{log_lines, merged, said, sum};
use crate::support::{TestDir, assert_success, example};

#[test]
fn a_signal_handler_that_records_anywhere_in_the_library_neither_hangs_nor_miscounts() {
    let dir = TestDir::new("signals");
    let mut command = example("test-reentrant");
    let output = command.arg(dir.path()).output().unwrap();
    assert_success(&command, &output);
    assert!(said(&output, "signals") > 1_000.0, "{output:?}");
    assert!(log_lines(&output).is_empty(), "{output:?}");
    let merged = merged(dir.path());
    assert_eq!(sum(dir.path(), "counted_total"), 201.0, "{merged}");
    for name in ["seen_count", "seen_sum", "set"] {
        assert_eq!(sum(dir.path(), name), 200.0, "{merged}");
    }
}
