//! Creates and removes series again and again.
//!
//! usage: `test-turnover DIR|- ROUNDS KIND`. `-` is memory. Each round records 1,000 new label sets of a counter and removes
//! them: by `clear`, or with the KIND `oldest` each when 1,000 newer ones exist. With `close`, the process also closes its
//! files after every tenth round, and compacts the directory. Prints by how much the memory of the process grows for each removed
//! series, after the first tenth of the rounds, and the bytes in its files and in the archive.

use std::fs;

use multiprom::compact::Compactor;
use multiprom::{Backend, Counter, Family, Registry};

use super::streaming::anonymous_memory;

/// Label sets of a round.
const ROUND: u32 = 1_000;

/// Compacts until nothing is left to do. A compactor drops series at most once a minute; a new one does so at once.
fn compact(dir: &str) -> multiprom::Result<()> {
    (0..3).try_for_each(|_| Compactor::builder().directory(dir).build()?.run().map(drop))
}

#[expect(clippy::print_stdout, reason = "the measurements")]
pub fn main() -> multiprom::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, rounds, kind] = &*arguments else { panic!("usage: DIR|- ROUNDS KIND") };
    let backend = if dir == "-" { Backend::in_memory() } else { Backend::directory(dir)? };
    let registry = Registry::builder().backend(backend).build()?;
    let jobs: Family<Counter> =
        Counter::builder("jobs", "Jobs done.").labels(["tenant"]).register(&registry)?;
    let rounds: u32 = rounds.parse().unwrap();
    let (mut first, mut next) = (0, 0);
    for round in 0..rounds {
        if round == rounds / 10 {
            first = anonymous_memory();
        }
        for _ in 0..ROUND {
            jobs.with([next]).inc();
            if kind == "oldest" && next >= ROUND {
                assert!(jobs.remove([next - ROUND]));
            }
            next += 1;
        }
        if kind != "oldest" {
            jobs.clear();
        }
        if kind == "close" && round % 10 == 9 {
            registry.close();
            compact(dir)?;
        }
    }
    let removed = u64::from(ROUND) * u64::from(rounds - rounds / 10);
    let grown = anonymous_memory().saturating_sub(first);
    println!("memory: {}", grown as f64 / removed as f64);
    if dir != "-" {
        let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
        println!("files: {}", files.map(|file| file.len()).sum::<u64>());
    }
    Ok(())
}
