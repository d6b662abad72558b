//! Integration tests: real files, real processes, foreign judges.

mod birth;
mod command;
mod corruption;
mod demo;
mod descriptors;
mod differential;
mod expositions;
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
mod parse;
mod prometheus;
mod readme;
mod security;
mod serve;
mod space;
mod support;
mod threads;
