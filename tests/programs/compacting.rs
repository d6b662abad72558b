//! Reads directories from standard input, one per line, and runs one pass of a compactor for each line.
//!
//! usage: test-compacting
//!
//! A directory that occurs again is compacted by the same compactor, which remembers when it first saw each retired file.

use std::collections::HashMap;

use multiprom::compact::{CompactFiles, Compactor};

pub fn main() -> multiprom::Result<()> {
    let mut compactors = HashMap::new();
    for dir in std::io::stdin().lines() {
        let dir = dir.expect("a line");
        if !compactors.contains_key(&dir) {
            let builder = Compactor::builder().directory(&dir).files(CompactFiles::All);
            compactors.insert(dir.clone(), builder.build()?);
        }
        compactors[&dir].run()?;
    }
    Ok(())
}
