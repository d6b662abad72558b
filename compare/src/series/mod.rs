//! The cost of many series and of many threads that record in them.

mod bytes;
mod families;
mod first_use;

use std::io;

use crate::scrape::Effort;

/// Measures and prints everything.
pub fn compare(effort: Effort) -> io::Result<()> {
    bytes::compare(effort)?;
    first_use::compare(effort)
}
