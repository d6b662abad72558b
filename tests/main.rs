//! Integration tests: real files, real processes, foreign judges.

mod differential;
mod fork;
mod layers;
mod readme;
mod support;
