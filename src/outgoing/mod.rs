//! What pushes and bridges have in common: connections by a deadline, files that are replaced atomically, and tasks that run
//! periodically.

mod connect;
mod periodic;
mod replaced_file;

#[cfg(feature = "push")]
pub(crate) use connect::{ConnectError, local_ip};
pub(crate) use connect::{connect, deadline_after, remaining, without_brackets};
pub use periodic::Periodic;
pub(crate) use replaced_file::replace_file;
