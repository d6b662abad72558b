//! Integration tests: real files, real processes, foreign judges.

mod differential;
mod support;
