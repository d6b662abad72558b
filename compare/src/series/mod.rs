//! The cost of many series and of many threads that record in them.

mod bytes;
mod cardinality;
mod child;
mod families;
mod first_use;
mod memory;
mod scraped;

use std::io;

use crate::scrape::Effort;

pub use child::{MEASURE, measure};

/// Measures and prints everything.
pub fn compare(effort: Effort) -> io::Result<()> {
    bytes::compare(effort)?;
    scraped::compare(effort)?;
    first_use::compare(effort)?;
    memory::compare(effort)?;
    cardinality::compare(effort)
}
