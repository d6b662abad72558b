//! Models of compaction, checked in every state that workers, compactors and readers of one directory can reach.
//!
//! A step is one system call on the directory, or the decision between two calls. The steps of all processes are
//! interleaved in every way (`search.rs`). Each process can be killed after each step, and a compactor or a scrape can
//! start again at any time, any number of times. There are three models:
//!
//! - the files of this directory: compaction of multiprom's and Python files;
//! - `removal`: a series that is removed and exported again, its burial in the archive, and its drop from it;
//! - `companion`: writers with two files.
//!
//! The checked properties of the first model (`Broken` in `state.rs`):
//!
//! - A finished scrape has at least the increments that each file had before the scrape began, and no more than the file
//!   has at the end of the scrape. So totals never decrease: the increments in a scrape were recorded before its end, so
//!   a scrape that begins later, by any reader, has them too.
//! - In every state, the archive and the files that it does not list have each increment once. A crash leaves the
//!   directory in one of these states.
//! - The file of a living worker always has a name.
//! - When all workers have ended, one more compaction moves everything into the archive and leaves no file.
//!
//! In each model `correct.rs` runs the protocol, and `mistakes.rs` runs it with one mistake and asserts which property is
//! violated. Inode numbers represent open files: the number of a file that a reader has read in the current attempt is not
//! reused, as only a commit releases a file, and a commit restarts the attempt.
#![cfg(test)]
#![forbid(unsafe_code)]

mod compactor;
mod companion;
mod correct;
mod mistakes;
mod reader;
mod removal;
mod search;
mod state;
mod worker;
