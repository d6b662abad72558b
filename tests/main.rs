//! Integration tests: real files, real processes, foreign judges.

mod command;
mod corruption;
mod demo;
mod gunicorn;
mod hostile;
mod launcher;
mod prometheus;
mod serve;
mod support;
