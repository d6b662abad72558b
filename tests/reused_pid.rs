//! A worker of the Python client reuses a pid while the old file of that pid is retired and compacted.
//!
//! The compactor is stopped before each of its system calls. There the worker, the unmodified client, takes some of its
//! steps: it opens the file, reads its size, maps it, counts, closes it. It takes the other steps when the pass is over.
//! In every order, each count must be merged once.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use multiprom::{MultiProcessCollector, Registry};

use crate::support::http::sum_of;
use crate::support::process::PATIENCE;
use crate::support::stepped::Stepped;
use crate::support::{TestDir, example, python, root, wait_for};

/// The steps of a worker.
const STEPS: [&str; 6] = ["open", "fstat", "mmap", "inc", "close", "end"];

/// Number of completed steps when the count is in the file, and when the worker has closed the file.
const COUNTED: usize = 4;
const ENDED: usize = 5;

/// Longer than the grace period of retired files.
const GRACE: Duration = Duration::from_millis(3_100);

/// The Python program that runs each worker in a thread of its own.
struct Workers {
    program: Child,
    commands: ChildStdin,
    lines: Receiver<String>,
    begun: usize,
}

struct Worker {
    number: usize,
    thread: String,
    /// Number of steps that have begun.
    taken: usize,
    /// Whether the last step is blocked by the kernel.
    is_blocked: bool,
}

impl Workers {
    fn start() -> Option<Workers> {
        let mut command = python("newest")?;
        command.arg(root().join("tests/python/opener.py"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = command.spawn().unwrap();
        let output = BufReader::new(program.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().try_for_each(|it| sender.send(it.unwrap())));
        Some(Workers { commands: program.stdin.take().unwrap(), program, lines, begun: 0 })
    }

    fn begin(&mut self, dir: &Path) -> Worker {
        self.begun += 1;
        let (number, thread) = (self.begun, String::new());
        writeln!(self.commands, "begin {number} {}", dir.display()).unwrap();
        let mut worker = Worker { number, thread, taken: 0, is_blocked: true };
        self.listen(&mut worker);
        worker
    }

    /// Waits until a worker has completed its step, or is blocked by a lease.
    fn listen(&self, worker: &mut Worker) {
        let tasks = format!("/proc/{}/task", self.program.id());
        wait_for("step of a worker", PATIENCE, || {
            if let Ok(line) = self.lines.recv_timeout(Duration::from_millis(1)) {
                let words: Vec<&str> = line.split(' ').collect();
                let number = worker.number.to_string();
                assert_eq!(words[..2], [&number, STEPS[worker.taken]], "{line}");
                words[2].clone_into(&mut worker.thread);
                worker.is_blocked = false;
                return Some(());
            }
            let path = format!("{tasks}/{}/wchan", worker.thread);
            let is_waiting = fs::read_to_string(path).is_ok_and(|it| it.contains("break_lease"));
            (is_waiting && worker.is_blocked).then_some(())
        });
    }

    /// Takes steps until `until` steps have begun, or one is blocked.
    fn go(&mut self, worker: &mut Worker, until: usize) {
        while worker.taken < until && !worker.is_blocked {
            writeln!(self.commands, "step {}", worker.number).unwrap();
            worker.taken += 1;
            worker.is_blocked = true;
            self.listen(worker);
        }
    }

    /// Takes all remaining steps, when no lease blocks the worker any more.
    fn finish(&mut self, worker: &mut Worker) {
        if worker.is_blocked {
            wait_for("end of the lease", PATIENCE, || {
                self.listen(worker);
                (!worker.is_blocked).then_some(())
            });
        }
        self.go(worker, ENDED);
        assert_eq!((worker.taken, worker.is_blocked), (ENDED, false));
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// The merged count.
fn count(dir: &Path) -> f64 {
    let merged = Registry::new();
    merged.register(MultiProcessCollector::new(dir).unwrap()).unwrap();
    let text = merged.render(None).to_string();
    assert_eq!(sum_of(&text, "multiprom_file_errors_total"), 0.0, "{text}");
    sum_of(&text, "again_total")
}

/// A directory with the file of an ended process that has counted 1.
fn with_old_file(base: &Path, name: &str, old: &Path) -> std::path::PathBuf {
    let dir = base.join(name);
    fs::create_dir(&dir).unwrap();
    fs::copy(old, dir.join("counter_77.db")).unwrap();
    dir
}

#[track_caller]
fn assert_count(dir: &Path, workers: &[Option<&Worker>], when: &str) {
    let counted =
        |worker: &Worker| worker.taken > COUNTED || (worker.taken == COUNTED && !worker.is_blocked);
    let counted = workers.iter().flatten().filter(|worker| counted(worker)).count();
    let wanted = 1.0 + counted as f64;
    assert_eq!(count(dir), wanted, "{}: {when}", dir.display());
}

#[test]
#[allow(clippy::print_stderr, reason = "prints the number of orders")]
fn totals_are_exact_if_a_pid_is_reused_at_any_step_of_compaction() {
    let Some(mut workers) = Workers::start() else {
        return;
    };
    let (base, template) = (TestDir::in_memory("reused"), TestDir::in_memory("old"));
    let mut first = workers.begin(template.path());
    workers.finish(&mut first);
    let old = template.path().join("counter_77.db");
    let mut compactor = Stepped::start(&mut example("test-compacting"));
    // A child of another test may have a copy of the descriptor that a file was written with, until it executes its
    // program. Then the file does not look dead, and another file is used.
    let mut number = 0;
    let (dry, stops, rename) = wait_for("a retired file", PATIENCE, || {
        number += 1;
        let dry = with_old_file(base.path(), &format!("dry-{number}"), &old);
        let mut rename = None;
        let stops = compactor.command(&dry, |at, call| {
            if [libc::SYS_renameat2, libc::SYS_renameat].contains(&call.number) {
                rename.get_or_insert(at);
            }
        });
        Some((dry, stops, rename?))
    });
    assert!(dry.join("retired").is_dir() && !dry.join("counter_77.db").exists());

    // While the file is retired: some steps before a call, the others after the pass.
    let mut retired = Vec::new();
    let mut blocked = 0;
    for stop in 0..stops {
        for steps in 1..=ENDED {
            let dir = with_old_file(base.path(), &format!("retire-{stop}-{steps}"), &old);
            let mut worker = None;
            compactor.command(&dir, |at, _| {
                if at == stop {
                    let worker = worker.insert(workers.begin(&dir));
                    workers.go(worker, steps);
                    blocked += u32::from(worker.is_blocked);
                    assert_count(&dir, &[Some(worker)], "in the pass");
                }
            });
            let Some(mut worker) = worker else { continue };
            if !worker.is_blocked {
                assert_count(&dir, &[Some(&worker)], "after the pass");
            }
            workers.finish(&mut worker);
            assert_eq!(count(&dir), 2.0, "{} at its end", dir.display());
            retired.push(dir);
        }
    }
    // While the file is absorbed: the worker opened it just before it was retired.
    let mut opened = Vec::new();
    for number in 0.. {
        if opened.len() == 2 * MOST_STOPS {
            break;
        }
        assert!(number < 4 * MOST_STOPS, "files without writers are not retired");
        let dir = with_old_file(base.path(), &format!("absorb-{number}"), &old);
        let mut worker = None;
        compactor.command(&dir, |at, _| {
            if at == rename {
                let begun = workers.begin(&dir);
                workers.go(worker.insert(begun), COUNTED - 1);
            }
        });
        opened.extend(worker.map(|worker| (dir, worker)));
    }
    let since = Instant::now();
    wait_for("end of the grace period", PATIENCE, || (since.elapsed() > GRACE).then_some(()));

    let stops_later = compactor.command(&dry, |_, _| ());
    assert_eq!(count(&dry), 1.0);
    assert!(stops_later <= MOST_STOPS && !dry.join("retired").read_dir().unwrap().any(|_| true));
    for dir in &retired {
        compactor.command(dir, |_, _| ());
        assert_eq!(count(dir), 2.0, "{} compacted", dir.display());
    }
    let mut orders = retired.len();
    for (at, (dir, mut worker)) in opened.into_iter().enumerate() {
        let (stop, steps) = (at / 2, COUNTED + at % 2);
        if stop >= stops_later {
            workers.finish(&mut worker);
            continue;
        }
        orders += 1;
        let mut next = None;
        compactor.command(&dir, |at, _| {
            if at == stop {
                workers.go(&mut worker, steps);
                assert_count(&dir, &[Some(&worker)], "in the later pass");
                // A third worker begins with the name, which is free now.
                let begun = workers.begin(&dir);
                workers.go(next.insert(begun), COUNTED);
                assert_count(&dir, &[Some(&worker), next.as_ref()], "in the later pass");
            }
        });
        assert_count(&dir, &[Some(&worker), next.as_ref()], "after the later pass");
        workers.finish(&mut worker);
        if let Some(next) = &mut next {
            workers.finish(next);
        }
        let all = if next.is_some() { 3.0 } else { 2.0 };
        assert_eq!(count(&dir), all, "{}", dir.display());
        compactor.command(&dir, |_, _| ());
        assert_eq!(count(&dir), all, "{} compacted", dir.display());
    }
    assert!(blocked > 0, "no open was blocked by a lease");
    eprintln!("{orders} orders, in {blocked} of which an open waited for a lease");
}

/// Upper bound for the calls of a pass that absorbs a file.
const MOST_STOPS: usize = 80;
