//! Random histories of series in several processes: recordings, removals, limits, forks, kills and compactions. After each
//! step the merge of the directory is what a simple model says, and no total has fallen.
//!
//! A failure prints the seed of its history; `MULTIPROM_HISTORY=<seed>` repeats it. `MULTIPROM_HISTORIES` is the number of
//! histories.

mod model;
mod processes;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use multiprom::Registry;
use multiprom::compact::Compactor;

use self::model::{Command, FAMILIES, Model};
use self::processes::Processes;
use crate::support::TestDir;
use crate::support::random::random;
use crate::support::registries::merged;

/// The most series of a family in a process, of [`LABELS`] squared label sets.
const MAX_SERIES: usize = 4;

const LABELS: [&str; 3] = ["a", "b", "c"];

/// More processes than this are not started.
const MAX_PROCESSES: usize = 5;

const STEPS: usize = 60;

/// The duration of the test if the number of histories is not given.
const SHORT: Duration = Duration::from_secs(3);

/// The numbers of a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        (random(&mut self.0) % end as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

/// What happens next.
enum Step {
    Start,
    Compact,
    /// A command to the process with this index.
    Command(usize, Command),
}

/// Restricts a history to some families and labels, so that several processes use the same series.
struct Bias {
    families: Vec<&'static str>,
    labels: &'static [&'static str],
    /// Of 10 kills that are drawn, how many are carried out.
    deaths: usize,
}

impl Bias {
    fn new(random: &mut Random) -> Bias {
        let first = random.below(FAMILIES.len());
        let families = FAMILIES.iter().copied().cycle().skip(first);
        Bias {
            families: families.take(1 + random.below(FAMILIES.len())).collect(),
            labels: &LABELS[..=random.below(LABELS.len())],
            deaths: 3 + random.below(8),
        }
    }
}

fn next_step(random: &mut Random, bias: &Bias, living: &[usize]) -> Step {
    if living.is_empty() || (living.len() < MAX_PROCESSES && random.below(12) == 0) {
        return Step::Start;
    }
    let process = random.one_of(living);
    let (family, at, kind) =
        (random.one_of(&bias.families), random.one_of(bias.labels), random.one_of(bias.labels));
    let cumulative = random.one_of(&FAMILIES[..3]);
    let command = match random.below(100) {
        0..45 => Command::Record(family, at, kind, 1.0 + random.below(4) as f64),
        45..59 => Command::Remove(family, at, kind),
        59..63 => Command::Clear(family),
        63..67 => Command::Match(family, at),
        67..71 => Command::Where(family, kind),
        71..78 => Command::Idle(cumulative),
        78..82 if living.len() < MAX_PROCESSES => Command::Fork,
        82..92 if random.below(10) < bias.deaths => Command::Die,
        92..100 => return Step::Compact,
        _ => Command::Record(family, at, kind, 1.0),
    };
    Step::Command(process, command)
}

/// The samples of a page that a model determines: those of totals, counts, sums and gauges.
fn samples(registry: &Registry) -> BTreeMap<String, f64> {
    let text = registry.render(None).to_string();
    let of_model = |line: &&str| {
        let is_known = !line.starts_with('#') && !line.contains("_bucket{");
        is_known && (!line.starts_with("multiprom_") || line.starts_with("multiprom_series_"))
    };
    let parse = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.to_owned(), value.parse().unwrap())
    };
    text.lines().filter(of_model).map(parse).collect()
}

/// Compacts until nothing is left to do: a pass buries series, the next one drops them.
fn compact(dir: &TestDir) {
    for _ in 0..3 {
        Compactor::builder().directory(dir.path()).build().unwrap().run().unwrap();
    }
}

/// Asserts that no total of a page is lower than on the page before, unless it was hidden in between.
fn assert_totals(last: &mut BTreeMap<String, f64>, now: BTreeMap<String, f64>, what: &str) {
    for (series, value) in &now {
        let is_gauge = series.starts_with("level{") || series.starts_with("busy{");
        let before = last.get(series).copied().unwrap_or(0.0);
        assert!(is_gauge || *value >= before, "{what}: {series}: {before}, then {value}");
    }
    *last = now;
}

fn run(seed: u64) {
    let (mut random, mut model) = (Random(seed), Model::new(MAX_SERIES));
    let (bias, dir) = (Bias::new(&mut random), TestDir::in_memory("series"));
    let mut processes = Processes::new(dir.path(), MAX_SERIES);
    let warm = merged(&dir);
    let (mut last, mut history) = (BTreeMap::new(), Vec::new());
    for step in 0..STEPS {
        let chosen = next_step(&mut random, &bias, &model.living());
        let said = match &chosen {
            Step::Start => "start".to_owned(),
            Step::Compact => "compact".to_owned(),
            Step::Command(process, command) => format!("{process} {command}"),
        };
        history.push(said);
        let what = || format!("MULTIPROM_HISTORY={seed}, step {step}: {}", history.join(", "));
        match chosen {
            Step::Start => {
                processes.start();
                model.start();
            }
            Step::Compact => {
                compact(&dir);
                model.compact();
            }
            Step::Command(process, command) => {
                let expected = model.apply(process, &command);
                let found = processes.send(process, &command);
                assert_eq!(found, expected, "{}", what());
            }
        }
        let expected: BTreeMap<String, f64> = model.merged();
        let found = samples(&merged(&dir));
        assert_eq!(found, expected, "{}", what());
        assert_totals(&mut last, samples(&warm), &what());
    }
    for process in model.living() {
        model.apply(process, &Command::Die);
        processes.send(process, &Command::Die);
    }
    compact(&dir);
    model.compact();
    assert_eq!(samples(&merged(&dir)), model.merged(), "MULTIPROM_HISTORY={seed}, the end");
}

#[test]
#[allow(clippy::print_stderr, reason = "prints the number of histories")]
fn random_histories_of_several_processes_give_what_a_model_gives_and_no_total_falls() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("MULTIPROM_HISTORY") {
        return run(seed);
    }
    let (start, limit) = (Instant::now(), number("MULTIPROM_HISTORIES"));
    let first = u64::from(std::process::id());
    let mut done = 0;
    while limit.map_or(start.elapsed() < SHORT, |limit| done < limit) {
        run(first + done * 1_000_003);
        done += 1;
    }
    eprintln!("{done} histories in {:.1} s, the first one {first}", start.elapsed().as_secs_f64());
}

#[test]
fn a_limit_is_per_process_and_a_forked_child_inherits_it_with_the_label_sets_of_its_parent() {
    let dir = TestDir::in_memory("limit-processes");
    let mut processes = Processes::new(dir.path(), 2);
    let shown = || samples(&merged(&dir));
    let jobs = |at: &str, kind: &str| format!("jobs_total{{at=\"{at}\",kind=\"{kind}\"}}");
    let overflows = "multiprom_series_overflows_total{family=\"jobs\"}".to_owned();
    for (process, labels) in [["a", "b", "c"], ["b", "c", "d"], ["d", "e", "f"]].iter().enumerate()
    {
        processes.start();
        for at in labels {
            processes.send(process, &Command::Record("jobs", at, "x", 1.0));
        }
    }
    let expected = |values: &[(String, f64)]| values.iter().cloned().collect::<BTreeMap<_, _>>();
    let of = |at| (jobs(at, "x"), 1.0);
    let own = [of("a"), (jobs("b", "x"), 2.0), of("c"), of("d"), of("e")];
    let of_all = [(jobs("other", "other"), 3.0), (overflows.clone(), 3.0)];
    assert_eq!(shown(), expected(&[&own[..], &of_all].concat()));
    // The child inherits the limit as reached: new label sets go to the overflow series.
    processes.send(0, &Command::Fork);
    for at in ["a", "c", "d"] {
        processes.send(3, &Command::Record("jobs", at, "x", 1.0));
    }
    let shown = shown();
    assert_eq!((shown[&jobs("a", "x")], shown[&jobs("other", "other")]), (2.0, 5.0));
    assert_eq!((shown[&jobs("c", "x")], shown[&overflows]), (1.0, 5.0));
}
