//! Serves many series, and measures the memory of several scrapes that are almost complete.
//!
//! usage: test-streaming SERIES SCRAPES
//!
//! It prints `serving URL`. When SCRAPES scrapes have gathered all but the last series, it prints `bytes N`, the growth
//! of the process's memory. Then the scrapes continue. It exits when its standard input ends.
#![allow(clippy::print_stdout, reason = "a program")]

use std::io::Read as _;
use std::sync::{Arc, Barrier};

use multiprom::FamilySink;
use multiprom::collector::Gatherer;
use multiprom::http::Exporter;

struct Series {
    count: u64,
    /// Passed twice by each scrape and by the main thread, which measures in between.
    nearly_done: Arc<Barrier>,
}

impl Gatherer for Series {
    fn gather(&self, out: &mut dyn FamilySink) {
        let mut family = out.gauge("series", "With labels that compress badly.");
        for number in 0..self.count {
            if number + 1 == self.count {
                self.nearly_done.wait();
                self.nearly_done.wait();
            }
            let label = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            family.sample(&[("number", &label), ("region", "somewhere-far-away")], number as f64);
        }
    }
}

pub fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers = arguments.iter().map(|argument| argument.parse().expect("a number"));
    let [count, scrapes] = numbers.collect::<Vec<u64>>()[..] else {
        panic!("usage: SERIES SCRAPES")
    };
    let nearly_done = Arc::new(Barrier::new(scrapes as usize + 1));
    let source = Series { count, nearly_done: Arc::clone(&nearly_done) };
    let listen = "127.0.0.1:0".parse().expect("an address");
    let exporter = Exporter::builder(source).listen(listen).start().expect("a free port");
    let before = anonymous_memory();
    println!("serving {}", exporter.url());
    nearly_done.wait();
    println!("bytes {}", anonymous_memory().saturating_sub(before));
    nearly_done.wait();
    std::io::stdin().read_to_end(&mut Vec::new()).expect("standard input");
}

/// The anonymous memory of this process, in bytes.
pub(super) fn anonymous_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).expect("RssAnon") * 1024
}
