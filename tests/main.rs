//! Integration tests: real files, real processes, foreign judges.

mod birth;
mod churn;
mod command;
mod corruption;
mod demo;
mod descriptors;
mod differential;
mod fork;
mod fork_matrix;
mod gunicorn;
mod hostile;
mod identity;
mod kill;
mod launcher;
mod layers;
mod lost;
mod model;
mod prometheus;
mod readme;
mod reused_pid;
mod security;
mod serve;
mod space;
mod supervisors;
mod support;
mod threads;
