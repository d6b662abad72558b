//! The memory of `serve`, without mapped files.

use std::io;
use std::path::Path;
use std::thread;

use super::{Effort, Measurement};
use crate::http::{BodyLen, Connection};
use crate::programs::Programs;
use crate::served::{Served, TEXT, TEXT_GZIP};
use crate::workload::{self, Order, Shape, TestDir, Types};

/// Scrapes before memory is measured.
const SCRAPES: usize = 5;
/// Concurrent clients.
const CLIENTS: usize = 8;
const MIB: f64 = 1024.0 * 1024.0;

/// Makes the allocator return freed memory to the kernel, so that the measured memory is in use and not left over from
/// an earlier request.
const RETURN_FREED_MEMORY: [(&str, &str); 2] =
    [("MALLOC_TRIM_THRESHOLD_", "65536"), ("MALLOC_MMAP_THRESHOLD_", "65536")];

pub fn compare(programs: &Programs, effort: Effort) -> io::Result<Vec<Measurement>> {
    let scale = effort.pick(1, 40);
    let mut rows = Vec::new();
    println!("Memory of `serve` beyond mapped files, after {SCRAPES} scrapes:\n");
    println!("| directory | MiB |");
    println!("|---|---:|");
    let [few, many] = [20_000, 120_000].map(|series| Shape::mix("one process", 1, series / scale));
    for (what, types) in [("counters", Types::Counters), ("mixed", Types::Mix)] {
        let [few, many] = [few, many].map(|shape| Shape { types, ..shape });
        let bytes = slope(programs, &few, &many, what)?;
        let what = format!("memory of `serve` per distinct series, {what}, bytes");
        rows.push(Measurement::new(what, format_args!("{bytes:.0}")));
    }
    let [few, many] = [64, 256]
        .map(|processes| Shape::mix("same keys", processes / scale.min(16), 2_000 / scale));
    for (what, order) in [("in one order", Order::Same), ("shuffled", Order::Shuffled)] {
        let [few, many] = [few, many].map(|shape| Shape { order, ..shape });
        let bytes = slope(programs, &few, &many, what)?;
        let what = format!("memory of `serve` per entry, {what}, bytes");
        rows.push(Measurement::new(what, format_args!("{bytes:.1}")));
    }
    println!();
    rows.push(compare_bodies(programs, effort)?);
    Ok(rows)
}

/// Bytes per additional entry of the second shape.
fn slope(programs: &Programs, few: &Shape, many: &Shape, what: &str) -> io::Result<f64> {
    let mut bytes = Vec::new();
    for shape in [few, many] {
        let dir = TestDir::in_memory("compare-memory");
        workload::fill(dir.path(), shape)?;
        let memory = anonymous(programs, dir.path())? as f64;
        println!("| {shape}, {what} | {:.1} |", memory / MIB);
        bytes.push(memory);
    }
    Ok((bytes[1] - bytes[0]) / (many.entries() - few.entries()) as f64)
}

/// Anonymous memory of a new server after [`SCRAPES`] scrapes, in bytes.
pub fn anonymous(programs: &Programs, dir: &Path) -> io::Result<u64> {
    let served = Served::start(programs, dir)?;
    let mut connection = served.connect()?;
    for _ in 0..SCRAPES {
        connection.get(TEXT)?;
    }
    Ok(served.memory()?.anonymous)
}

/// Measures how much memory requests need above that of the idle server.
///
/// The peak is the kernel's, reset before each measurement. It includes mapped files, which do not change meanwhile.
fn compare_bodies(programs: &Programs, effort: Effort) -> io::Result<Measurement> {
    let shape = effort.shape(Shape::DISTINCT);
    let dir = TestDir::in_memory("compare-bodies");
    workload::fill(dir.path(), &shape)?;
    let served = Served::start_with(programs, dir.path(), &RETURN_FREED_MEMORY)?;
    let mut connection = served.connect()?;
    let mut len = 0;
    for headers in [TEXT_GZIP, TEXT] {
        for _ in 0..SCRAPES {
            len = connection.get(headers)?.len();
        }
    }
    println!("Memory during requests of {shape}, {:.1} MiB of text:\n", len as f64 / MIB);
    println!("| requests | peak increase, MiB per request |");
    println!("|---|---:|");
    let alone = growth(&served, || connection.get(TEXT_GZIP).map(drop))? / MIB;
    println!("| one with gzip | {alone:.2} |");
    let several = |what: &str, start| {
        let mib = growth(&served, || read_slowly(&served, start))? / MIB / CLIENTS as f64;
        println!("| {CLIENTS} with gzip, by slow clients, {what} | {mib:.2} |");
        Ok::<_, io::Error>(mib)
    };
    let in_turn = several("one after the other", Start::InTurn)?;
    let at_once = several("at once", Start::AtOnce)?;
    let plain = growth(&served, || connection.get(TEXT).map(drop))? / MIB;
    println!("| one without compression | {plain:.2} |\n");
    let result = format!(
        "{alone:.2} for one request; of {CLIENTS} requests, {in_turn:.2} each if they begin one after the other and \
         {at_once:.2} each if they begin at once"
    );
    Ok(Measurement::new(format!("memory per request of {shape} with gzip, MiB"), result))
}

/// How much anonymous memory grows during `work`, in bytes.
fn growth(served: &Served, work: impl FnOnce() -> io::Result<()>) -> io::Result<f64> {
    let before = served.memory()?;
    served.reset_peak()?;
    work()?;
    let after = served.memory()?;
    let mapped = after.mapped.max(before.mapped);
    Ok(after.peak as f64 - mapped as f64 - before.anonymous as f64)
}

/// When several clients send their requests.
#[derive(Clone, Copy)]
enum Start {
    /// Each when the body of the previous response has begun.
    InTurn,
    AtOnce,
}

fn read_slowly(served: &Served, start: Start) -> io::Result<()> {
    let open = |_| Connection::open_slow(&served.address);
    let mut connections = (0..CLIENTS).map(open).collect::<io::Result<Vec<_>>>()?;
    let request = |connection: &mut Connection| connection.request(TEXT_GZIP);
    let begin = |connection: &mut Connection| match start {
        Start::InTurn => request(connection).map(Some),
        Start::AtOnce => Ok(None),
    };
    let lens = connections.iter_mut().map(begin).collect::<io::Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let read = |(connection, len): (&mut Connection, Option<BodyLen>)| {
            let len = len.map_or_else(|| request(connection), Ok)?;
            connection.read(len).map(drop)
        };
        let all = connections.iter_mut().zip(lens);
        let readers: Vec<_> = all.map(|one| scope.spawn(move || read(one))).collect();
        readers.into_iter().try_for_each(|reader| reader.join().expect("reading does not panic"))
    })
}
