//! Recording costs.
fn main() {}
