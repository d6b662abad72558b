//! Executes commands: records, removes series, forks.
//!
//! usage: `test-series DIR SOCKET MAX`: the families have at most MAX series. Connects to SOCKET, sends its pid, and reads
//! commands, to each of which it responds with a line:
//!
//! ```text
//! record FAMILY AT KIND VALUE   the value of the series in this process
//! remove FAMILY AT KIND         1 if there was one, else 0
//! clear FAMILY                  0
//! match FAMILY AT               removes all series of AT; how many were exported
//! where FAMILY KIND             removes all series of KIND; how many were exported
//! idle FAMILY                   removes the series that have not changed since the last call; how many were exported
//! fork                          0; a child connects
//! die                           no response: the process kills itself
//! ```

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use multiprom::metrics::{OpenFamily, TypedFamily};
use multiprom::{
    Backend, Counter, Family, Gauge, GaugeMode, Histogram, LabelSet, Registry, Summary,
};

use super::fork::{exit, fork, kill_self, limit_time};

/// No process lives for longer.
const MAX_SECONDS: u32 = 120;

#[derive(LabelSet)]
struct Place<'a> {
    at: &'a str,
    kind: &'a str,
}

struct Families {
    jobs: Family<Counter, 2>,
    size: OpenFamily<Histogram>,
    time: TypedFamily<Summary, Place<'static>>,
    level: Family<Gauge, 2>,
    busy: Family<Gauge, 2>,
}

impl Families {
    fn register(registry: &Registry) -> multiprom::Result<Families> {
        let names = ["at", "kind"];
        let size = Histogram::builder("size", "Size.").buckets([2.0]).open_labels();
        let level = Gauge::builder("level", "Level.").mode(GaugeMode::Sum).labels(names);
        let busy = Gauge::builder("busy", "Busy.").mode(GaugeMode::LiveSum).labels(names);
        Ok(Families {
            jobs: Counter::builder("jobs", "Jobs.").labels(names).register(registry)?,
            size: size.register(registry)?,
            time: Summary::builder("time", "Time.").label_set::<Place>().register(registry)?,
            level: level.register(registry)?,
            busy: busy.register(registry)?,
        })
    }

    fn record(&self, family: &str, at: &str, kind: &str, value: f64) -> f64 {
        let open = [("kind", kind), ("at", at)];
        match family {
            "jobs" => {
                let series = self.jobs.with([at, kind]);
                series.inc_by(value);
                series.get()
            }
            "size" => {
                let series = self.size.with(&open).unwrap();
                series.observe(value);
                series.get_sum()
            }
            "time" => {
                let series = self.time.with(&Place { at, kind });
                series.observe(value);
                series.get_sum()
            }
            family => {
                let series = self.gauges(family).with([at, kind]);
                series.set(value);
                series.get()
            }
        }
    }

    fn gauges(&self, family: &str) -> Family<Gauge, 2> {
        if family == "level" { self.level } else { self.busy }
    }

    fn remove(&self, family: &str, at: &str, kind: &str) -> bool {
        match family {
            "jobs" => self.jobs.remove([at, kind]),
            "size" => self.size.remove(&[("at", at), ("kind", kind)]),
            "time" => self.time.remove(&Place { at, kind }),
            family => self.gauges(family).remove([at, kind]),
        }
    }

    fn clear(&self, family: &str) {
        match family {
            "jobs" => self.jobs.clear(),
            "size" => self.size.clear(),
            "time" => self.time.clear(),
            family => self.gauges(family).clear(),
        }
    }

    fn remove_matching(&self, family: &str, at: &str) -> usize {
        let labels = &[("at", at)];
        match family {
            "jobs" => self.jobs.remove_matching(labels),
            "size" => self.size.remove_matching(labels),
            "time" => self.time.remove_matching(labels),
            family => self.gauges(family).remove_matching(labels),
        }
    }

    fn remove_where(&self, family: &str, kind: &str) -> usize {
        macro_rules! remove {
            ($family:expr) => {
                $family.remove_where(|labels| labels.get("kind") == Some(kind))
            };
        }
        match family {
            "jobs" => remove!(self.jobs),
            "size" => remove!(self.size),
            "time" => remove!(self.time),
            family => remove!(self.gauges(family)),
        }
    }

    fn remove_idle(&self, family: &str) -> usize {
        match family {
            "jobs" => self.jobs.remove_idle(Duration::ZERO),
            "size" => self.size.remove_idle(Duration::ZERO),
            _ => self.time.remove_idle(Duration::ZERO),
        }
    }
}

/// Serves commands until the connection ends.
fn serve(families: &Families, socket: &str) {
    limit_time(MAX_SECONDS);
    let mut stream = UnixStream::connect(socket).unwrap();
    writeln!(stream, "{}", std::process::id()).unwrap();
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let response = match *words {
            ["record", family, at, kind, value] => {
                families.record(family, at, kind, value.parse().unwrap())
            }
            ["remove", family, at, kind] => f64::from(families.remove(family, at, kind)),
            ["clear", family] => {
                families.clear(family);
                0.0
            }
            ["match", family, at] => families.remove_matching(family, at) as f64,
            ["where", family, kind] => families.remove_where(family, kind) as f64,
            ["idle", family] => families.remove_idle(family) as f64,
            ["fork"] => {
                if fork() == 0 {
                    serve(families, socket);
                    exit();
                }
                0.0
            }
            ["die"] => kill_self(),
            _ => panic!("command `{line}`"),
        };
        writeln!(stream, "{response}").unwrap();
    }
}

pub fn main() -> multiprom::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, socket, max] = &*arguments else { panic!("usage: test-series DIR SOCKET MAX") };
    let backend = Backend::directory(dir)?;
    let registry = Registry::builder().backend(backend).max_series(max.parse().unwrap()).build()?;
    serve(&Families::register(&registry)?, socket);
    Ok(())
}
