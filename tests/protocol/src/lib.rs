//! Compaction, checked in every state that workers, compactors and readers of one directory can
//! reach.
//!
//! A step of a model is one system call on the directory, or the decision between two of them.
//! Steps of all processes are interleaved in every way (`search.rs`), each process can end after
//! each step, and a compactor or a scrape begins anew at any time and as often as it likes.
//!
//! What is checked (`Broken` in `state.rs`):
//!
//! - A finished scrape has of each file at least what was counted in it before the scrape began,
//!   and no more than at its end. From this follows that totals never go down: what a scrape has
//!   was counted before it ended, so a scrape that begins later, by whomever, has it too.
//! - In every state the archive and the files that it does not list hold each increment once. A
//!   crash leaves the directory in one of these states.
//! - The file of a worker that lives always has a name.
//! - Once all workers have ended, one more compaction puts everything into the archive and leaves
//!   no file.
//!
//! `correct.rs` has the protocol, `mistakes.rs` the same with one step made wrong, where the check
//! must find what breaks. Inode numbers stand for files held open: one that a reader has read in
//! the same attempt is not given to another file, as only a commit lets a file go, and a commit
//! starts the attempt over.
#![cfg(test)]
#![forbid(unsafe_code)]

mod compactor;
mod correct;
mod mistakes;
mod reader;
mod search;
mod state;
mod worker;
