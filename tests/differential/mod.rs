//! The same directory, merged by the Python client and by us: the same samples.

mod python_reads_rust;
mod rust_reads_python;
