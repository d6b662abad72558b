//! Makes one pass of a compactor over each directory that standard input names, when it is named.
//!
//! usage: test-compacting
//!
//! Directories that are named again have the same compactor again, which remembers since when files are retired.

use std::collections::HashMap;

use multiprom::{CompactFiles, Compactor};

fn main() -> multiprom::Result<()> {
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
