//! The Python client and multiprom merge the same directory into the same samples.

mod python_reads_rust;
mod rust_reads_python;
