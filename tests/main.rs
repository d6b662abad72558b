//! Integration tests: real files, real processes, foreign judges.

mod command;
mod corruption;
mod demo;
mod differential;
mod fork;
mod gunicorn;
mod hostile;
mod launcher;
mod layers;
mod prometheus;
mod readme;
mod serve;
mod support;
