//! Sets infos and enums by commands.
//!
//! usage: `test-states DIR` or `test-states memory`. Standard input has a command per line; `done NUMBER` is printed after each:
//!
//! - `info [NAME=VALUE ...]` sets the infos, `enter STATE` the enums, `target [NAME=VALUE ...]` the target info
//! - `fork` forks a child that sets both and stays; `kill` kills it
//! - `page FORMAT` writes the page of this process to the file of the next argument

use std::io::{self, BufRead as _};

use multiprom::exposition::Format;
use multiprom::{Backend, Enum, Exposition, GaugeMode, Info, Registry};

use super::fork::{in_child, kill, limit_time};

const STATES: [&str; 3] = ["asleep", "busy", "idle"];

struct Metrics {
    infos: Vec<Info>,
    enums: Vec<Enum>,
}

impl Metrics {
    /// In memory, only the families whose pages are the same as those of merged processes.
    fn register(registry: &Registry, in_memory: bool) -> multiprom::Result<Metrics> {
        let info = |name: &str| Info::builder(name, "Info.");
        let state = |name: &str| Enum::builder(name, "State.", STATES);
        let shared = state("shared").mode(GaugeMode::LiveMax);
        let ever = state("ever").mode(GaugeMode::Max);
        let config = info("config").mode(GaugeMode::Max);
        let mut metrics = Metrics {
            infos: vec![info("build").register(registry)?, config.register(registry)?],
            enums: vec![shared.register(registry)?, ever.register(registry)?],
        };
        if !in_memory {
            metrics.enums.push(state("state").register(registry)?);
            metrics.infos.push(info("each").mode(GaugeMode::LiveAll).register(registry)?);
        }
        Ok(metrics)
    }

    fn set(&self, labels: &[(&str, &str)]) {
        for info in &self.infos {
            info.set(labels);
            assert_eq!(info.get().len(), labels.len());
        }
    }

    fn enter(&self, state: &str) -> multiprom::Result<()> {
        for each in &self.enums {
            each.set(state)?;
            assert_eq!(each.get(), state);
        }
        Ok(())
    }

    /// In a child of a process with files.
    fn begin(&self) {
        assert!(self.infos.iter().all(|info| info.get().is_empty()), "{:?}", self.infos[0].get());
        assert!(self.enums.iter().all(|each| each.get() == STATES[0]));
        self.set(&[("version", "child")]);
        self.enter("idle").expect("a state");
    }
}

pub fn main() -> multiprom::Result<()> {
    let target = std::env::args().nth(1).expect("usage: test-states DIR|memory");
    limit_time(300);
    let in_memory = target == "memory";
    let backend = if in_memory { Backend::in_memory() } else { Backend::directory(&target)? };
    let registry = Registry::builder().backend(backend).build()?;
    let metrics = Metrics::register(&registry, in_memory)?;
    let mut child = None;
    for (at, line) in io::stdin().lock().lines().enumerate() {
        let line = line.expect("a line");
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["info", ref labels @ ..] => {
                let labels: Vec<_> = labels.iter().filter_map(|it| it.split_once('=')).collect();
                metrics.set(&labels);
            }
            ["target", ref labels @ ..] => {
                let labels: Vec<_> = labels.iter().filter_map(|it| it.split_once('=')).collect();
                registry.set_target_info(&labels)?;
            }
            ["enter", state] => metrics.enter(state)?,
            ["fork"] => {
                child = Some(in_child(|| {
                    limit_time(300);
                    metrics.begin();
                    println!("child is ready");
                    loop {
                        std::thread::park();
                    }
                }));
            }
            ["kill"] => kill(child.take().expect("a child")),
            ["page", format, path] => {
                let format = match format {
                    "openmetrics" => Format::OpenMetrics,
                    "protobuf" => Format::Protobuf,
                    _ => Format::Text,
                };
                let page = Exposition::encode(&registry, format).body;
                std::fs::write(path, page).expect("the file is writable");
            }
            _ => panic!("unknown command {line}"),
        }
        println!("done {at}");
    }
    Ok(())
}
