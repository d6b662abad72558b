//! Growth of scrape time and memory with processes, series and ended processes.
//!
//! Times are processor times, each the median of [`ROUNDS`]. Plots are written to `docs/plots`.

mod plot;

use std::error::Error;
use std::io;
use std::path::Path;

use crate::programs::Programs;
use crate::rounds::Times;
use crate::scrape::memory;
use crate::served::{Served, TEXT};
use crate::workload::{self, Shape, TestDir, Types};
use plot::{Axis, Curve, Plot};

const ROUNDS: usize = 3;
/// Scrapes before the measured ones, and scrapes per measured time.
const WARM_UP: usize = 3;
const BATCH: usize = 4;

const MIB: f64 = 1024.0 * 1024.0;
const TIME: Axis = Axis { label: "processor time of a scrape", unit: "ms" };

/// Measures everything; prints tables and writes plots.
pub fn measure(programs: &Programs) -> Result<(), Box<dyn Error>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plots");
    std::fs::create_dir_all(&dir)?;
    for plot in [by_processes, by_series, by_distinct, by_ended, memory_by_series] {
        let plot = plot(programs)?;
        plot.print();
        std::fs::write(dir.join(plot.name).with_extension("svg"), plot.to_svg()?)?;
    }
    Ok(())
}

fn by_processes(programs: &Programs) -> io::Result<Plot> {
    let all = (1..=9).map(|power| Shape::mix("processes", 1 << power, 1_000));
    Ok(Plot {
        name: "scrape-processes",
        title: "Scrape of processes with the same 1,000 series".to_owned(),
        x: Axis { label: "processes", unit: "" },
        y: TIME,
        curves: scrapes(programs, all.map(|shape| (shape.processes, shape)))?,
    })
}

fn by_series(programs: &Programs) -> io::Result<Plot> {
    let all = (0..=6).map(|power| Shape::mix("series", 16, 250 << power));
    Ok(Plot {
        name: "scrape-series",
        title: "Scrape of 16 processes with the same series".to_owned(),
        x: Axis { label: "series of each process", unit: "" },
        y: TIME,
        curves: scrapes(programs, all.map(|shape| (shape.shared, shape)))?,
    })
}

fn by_distinct(programs: &Programs) -> io::Result<Plot> {
    let all = [0, 250, 500, 1_000, 2_000, 4_000];
    let all = all.map(|own| Shape { own, ..Shape::mix("distinct", 16, 4_000 - own) });
    let all = all.map(|shape| (shape.shared + shape.processes * shape.own, shape));
    Ok(Plot {
        name: "scrape-distinct",
        title: "Scrape of 16 processes x 4,000 series, more or fewer of them the same".to_owned(),
        x: Axis { label: "distinct series", unit: "" },
        y: TIME,
        curves: scrapes(programs, all.into_iter())?,
    })
}

fn by_ended(programs: &Programs) -> io::Result<Plot> {
    let mut curves = [
        "cold, not compacted",
        "repeated, not compacted",
        "cold, compacted",
        "repeated, compacted",
    ]
    .map(Curve::new);
    let outputs = TestDir::in_memory("curves-outputs");
    for processes in [10, 30, 100, 300, 1_000, 3_000] {
        let shape = Shape::mix("ended", processes, 200);
        let dir = TestDir::in_memory("curves");
        workload::fill(dir.path(), &shape)?;
        let before = [cold(programs, dir.path())?, repeated(programs, dir.path())?];
        programs.compact(dir.path(), &outputs.path().join("text"))?;
        let after = [cold(programs, dir.path())?, repeated(programs, dir.path())?];
        for (curve, ms) in curves.iter_mut().zip(before.into_iter().chain(after)) {
            curve.points.push((processes as f64, ms));
        }
    }
    Ok(Plot {
        name: "scrape-ended",
        title: "Scrape of processes that have ended, with the same 200 series".to_owned(),
        x: Axis { label: "processes that have ended", unit: "" },
        y: TIME,
        curves: curves.into(),
    })
}

fn memory_by_series(programs: &Programs) -> io::Result<Plot> {
    let counters = |shape| Shape { types: Types::Counters, ..shape };
    let mut distinct = Curve::new("all distinct");
    let mut same = Curve::new("2,000 distinct");
    for thousands in [4, 8, 16, 32, 64, 128, 256, 512] {
        let series = thousands * 1_000;
        // OK because the curve is linear: more series in one process would only take longer.
        if thousands <= 256 {
            let shape = counters(Shape::mix("one", 1, series));
            distinct.points.push((series as f64, mib(programs, &shape)?));
        }
        let shape = counters(Shape::mix("many", series / 2_000, 2_000));
        same.points.push((series as f64, mib(programs, &shape)?));
    }
    Ok(Plot {
        name: "memory",
        title: "Memory of serve beyond mapped files: one process, or many with the same series"
            .to_owned(),
        x: Axis { label: "series of all processes", unit: "" },
        y: Axis { label: "memory", unit: "MiB" },
        curves: vec![distinct, same],
    })
}

/// Cold and repeated scrapes of shapes, and scrapes by the Python client. Each shape comes with its x coordinate.
fn scrapes(
    programs: &Programs,
    shapes: impl Iterator<Item = (usize, Shape)>,
) -> io::Result<Vec<Curve>> {
    let mut curves =
        vec![Curve::new("multiprom dump, cold"), Curve::new("multiprom serve, repeated")];
    if programs.python.is_some() {
        curves.push(Curve::new("Python client"));
    }
    let outputs = TestDir::in_memory("curves-outputs");
    let (output, report) = (outputs.path().join("text"), outputs.path().join("seconds"));
    for (x, shape) in shapes {
        let dir = TestDir::in_memory("curves");
        workload::fill(dir.path(), &shape)?;
        let mut ms = vec![cold(programs, dir.path())?, repeated(programs, dir.path())?];
        if let Some(python) = &programs.python {
            let (merge_and_text, _) = python.scrape(dir.path(), &report, &output)?;
            ms.push(merge_and_text * 1e3);
        }
        for (curve, ms) in curves.iter_mut().zip(ms) {
            curve.points.push((x as f64, ms));
        }
    }
    Ok(curves)
}

/// The processor time of a whole `dump` process, in milliseconds.
fn cold(programs: &Programs, dir: &Path) -> io::Result<f64> {
    let outputs = TestDir::in_memory("curves-dump");
    let output = outputs.path().join("text");
    let mut times = Times::new("dump");
    for _ in 0..ROUNDS {
        times.push(programs.dump(dir, &output)?);
    }
    Ok(times.median() * 1e3)
}

/// The processor time of a repeated scrape of a server, in milliseconds.
fn repeated(programs: &Programs, dir: &Path) -> io::Result<f64> {
    let served = Served::start(programs, dir)?;
    let mut connection = served.connect()?;
    for _ in 0..WARM_UP {
        connection.get(TEXT)?;
    }
    let mut times = Times::new("serve");
    for _ in 0..ROUNDS {
        times.push(served.time_of(&mut connection, BATCH)?);
    }
    Ok(times.median() * 1e3)
}

fn mib(programs: &Programs, shape: &Shape) -> io::Result<f64> {
    let dir = TestDir::in_memory("curves");
    workload::fill(dir.path(), shape)?;
    Ok(memory::anonymous(programs, dir.path())? as f64 / MIB)
}
