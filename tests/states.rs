//! Infos and enums, in memory and in multiprocess directories.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ChildStdin;

use multiprom::{Enum, ErrorKind, Exposition, GaugeMode, Info, Registry, Static};

use crate::support::process::{PATIENCE, Running, run};
use crate::support::registries::{self, in_memory, merged, process};
use crate::support::{
    TestDir, example, multiprom, output_of, python, root, wait_for, wait_for_deaths,
};

/// A program that takes commands: see `tests/programs/states.rs`.
struct Worker {
    process: Running,
    stdin: ChildStdin,
    commands: usize,
}

impl Worker {
    fn start(target: impl AsRef<std::ffi::OsStr>) -> Worker {
        let mut process = Running::start(example("test-states").arg(target));
        let stdin = process.stdin();
        Worker { process, stdin, commands: 0 }
    }

    fn run(&mut self, command: &str) -> &mut Worker {
        writeln!(self.stdin, "{command}").unwrap();
        self.process.line_after(&format!("done {}", self.commands));
        self.commands += 1;
        self
    }

    fn pid(&self) -> String {
        self.process.id().to_string()
    }

    fn kill(mut self) {
        self.process.signal("KILL");
        self.process.wait();
    }
}

fn dump_bytes(dir: &Path, flags: &str) -> Vec<u8> {
    let mut command = multiprom();
    command.args(["dump", "--exclude", "multiprom_.*"]).args(flags.split_whitespace());
    let output = command.arg("--dir").arg(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The samples of families with these names, in the text format.
fn samples(dir: &Path, families: &str) -> Vec<String> {
    let page = dump_bytes(dir, &format!("--include {families}"));
    let page = String::from_utf8(page).unwrap();
    page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn compact(dir: &Path) {
    output_of(multiprom().args(["compact", "--dir"]).arg(dir));
}

const TEXT: &str = "# HELP build_info Info.
# TYPE build_info gauge
build_info{revision=\"c0ffee\",version=\"1.2\"} 1
# HELP config_info Info.
# TYPE config_info gauge
config_info{revision=\"c0ffee\",version=\"1.2\"} 1
# HELP ever State.
# TYPE ever gauge
ever{ever=\"asleep\"} 0
ever{ever=\"busy\"} 1
ever{ever=\"idle\"} 0
# HELP shared State.
# TYPE shared gauge
shared{shared=\"asleep\"} 0
shared{shared=\"busy\"} 1
shared{shared=\"idle\"} 0
";

#[test]
fn three_processes_have_one_target_info() {
    let dir = TestDir::in_memory("states-target");
    let mut workers: Vec<Worker> = (0..3).map(|_| Worker::start(dir.path())).collect();
    for worker in &mut workers {
        worker.run("info version=1.2").run("target env=test").run("target env=prod app=shop");
    }
    let shown = || samples(dir.path(), "target|build");
    let (target, build) =
        ("target_info{app=\"shop\",env=\"prod\"} 1", "build_info{version=\"1.2\"} 1");
    assert_eq!(shown(), [target, build]);
    workers[0].run("target");
    assert_eq!(shown(), [target, build]);
    workers[1].run("target env=new");
    assert_eq!(shown(), [target, "target_info{env=\"new\"} 1", build]);
    workers[1].run("target");
    workers[2].run("target");
    assert_eq!(shown(), [build]);
    workers[2].run("target env=again");
    assert_eq!(shown(), ["target_info{env=\"again\"} 1", build]);
    workers.into_iter().for_each(Worker::kill);
    assert_eq!(shown(), Vec::<String>::new());
}

#[test]
fn three_processes_show_the_page_that_one_shows_in_memory() {
    let (dir, scratch) = (TestDir::in_memory("states"), TestDir::new("pages"));
    let mut workers: Vec<Worker> = (0..3).map(|_| Worker::start(dir.path())).collect();
    let mut alone = Worker::start("memory");
    for worker in workers.iter_mut().chain([&mut alone]) {
        worker.run("info version=1.1 revision=c0ffee").run("enter idle");
        worker.run("info version=1.2 revision=c0ffee").run("enter busy");
    }
    for format in ["text", "openmetrics", "protobuf"] {
        let path = scratch.path().join(format);
        alone.run(&format!("page {format} {}", path.display()));
        let merged = dump_bytes(dir.path(), &format!("--format {format} --exclude state|each"));
        let expected = fs::read(path).unwrap();
        // The registry declares the enums in another order.
        let sorted = |page: &[u8]| {
            let mut lines: Vec<Vec<u8>> =
                page.split(|it| *it == b'\n').map(<[u8]>::to_vec).collect();
            lines.sort();
            lines
        };
        assert_eq!(merged.len(), expected.len(), "{format}");
        match format {
            "protobuf" => assert!(merged.windows(6).any(|it| it == b"c0ffee")),
            _ => assert_eq!(sorted(&merged), sorted(&expected), "{format}"),
        }
    }
    assert_eq!(String::from_utf8(dump_bytes(dir.path(), "--exclude state|each")).unwrap(), TEXT);
    let page = dump_bytes(dir.path(), "--format openmetrics");
    let page = String::from_utf8(page).unwrap();
    for line in ["# TYPE build info", "# TYPE each info", "# TYPE state stateset"] {
        assert!(page.contains(&format!("{line}\n")), "{line}: {page}");
    }
    let path = scratch.path().join("page");
    fs::write(&path, &page).unwrap();
    let strict =
        run(multiprom().args(["convert", "--from", "openmetrics", "--to", "json"]).arg(path));
    assert_eq!(strict.status, 0, "{page}{}", strict.stderr);
}

#[test]
fn a_killed_worker_leaves_the_live_modes_and_its_last_values_stay_in_the_others() {
    let dir = TestDir::in_memory("killed-states");
    let (mut one, mut two) = (Worker::start(dir.path()), Worker::start(dir.path()));
    one.run("info version=1").run("enter busy");
    two.run("info version=2").run("enter idle");
    let state = |pid: &str, states: [u8; 3]| -> Vec<String> {
        let line = |(name, value)| format!("state{{pid=\"{pid}\",state=\"{name}\"}} {value}");
        ["asleep", "busy", "idle"].into_iter().zip(states).map(line).collect()
    };
    let mut each = [state(&one.pid(), [0, 1, 0]), state(&two.pid(), [0, 0, 1])].concat();
    each.sort();
    assert_eq!(samples(dir.path(), "state"), each);
    let shared = |states: [u8; 3]| -> Vec<String> {
        let line = |(name, value)| format!("shared{{shared=\"{name}\"}} {value}");
        ["asleep", "busy", "idle"].into_iter().zip(states).map(line).collect()
    };
    assert_eq!(samples(dir.path(), "shared"), shared([0, 1, 1]));
    let infos = ["build_info{version=\"1\"} 1", "build_info{version=\"2\"} 1"];
    assert_eq!(samples(dir.path(), "build"), infos);
    assert_eq!(samples(dir.path(), "each").len(), 2);

    one.kill();
    let ended = |what: &str| {
        assert_eq!(samples(dir.path(), "build"), infos[1..], "{what}");
        assert_eq!(samples(dir.path(), "state"), state(&two.pid(), [0, 0, 1]), "{what}");
        assert_eq!(samples(dir.path(), "shared"), shared([0, 0, 1]), "{what}");
        assert_eq!(samples(dir.path(), "each").len(), 1, "{what}");
        let config = ["config_info{version=\"1\"} 1", "config_info{version=\"2\"} 1"];
        assert_eq!(samples(dir.path(), "config"), config, "{what}");
        let ever = ["ever{ever=\"asleep\"} 0", "ever{ever=\"busy\"} 1", "ever{ever=\"idle\"} 1"];
        assert_eq!(samples(dir.path(), "ever"), ever, "{what}");
    };
    ended("killed");
    compact(dir.path());
    assert!(dir.path().join("archive.multiprom").exists());
    ended("compacted");
    // In the Python client's collector all of them are gauges.
    if let Some(mut python) = python("newest") {
        let collect = root().join("tests/python/collect.py");
        let page = output_of(python.arg(collect).arg(dir.path()).arg("text"));
        let types = page.lines().filter(|line| line.starts_with("# TYPE "));
        let types: Vec<&str> = types.collect();
        assert!(types.len() == 6 && types.iter().all(|line| line.ends_with(" gauge")), "{page}");
        for sample in ["build_info{version=\"2\"} 1.0", "shared{shared=\"idle\"} 1.0"] {
            assert!(page.lines().any(|line| line == sample), "{sample}: {page}");
        }
    }
    // A worker that replaces it.
    let mut three = Worker::start(dir.path());
    three.run("info version=3");
    assert_eq!(samples(dir.path(), "build"), [infos[1], "build_info{version=\"3\"} 1"]);
    assert_eq!(samples(dir.path(), "shared"), shared([1, 0, 1]));
    // The types of families whose processes have all ended are in the archive.
    two.kill();
    three.kill();
    compact(dir.path());
    let page = String::from_utf8(dump_bytes(dir.path(), "--format openmetrics")).unwrap();
    let types: Vec<&str> = page.lines().filter(|line| line.starts_with("# TYPE")).collect();
    assert_eq!(types, ["# TYPE config info", "# TYPE ever stateset"]);
}

#[test]
fn a_forked_child_shows_its_own_labels_and_state_from_its_first_set_on() {
    let dir = TestDir::in_memory("forked-states");
    let mut worker = Worker::start(dir.path());
    worker.run("info version=1").run("enter busy").run("fork");
    worker.process.line_after("child is ready");
    let infos = ["build_info{version=\"1\"} 1", "build_info{version=\"child\"} 1"];
    assert_eq!(samples(dir.path(), "build"), infos);
    assert_eq!(samples(dir.path(), "state").len(), 6);
    let shared = samples(dir.path(), "shared");
    assert_eq!(shared[1..], ["shared{shared=\"busy\"} 1", "shared{shared=\"idle\"} 1"]);
    worker.run("kill").run("info version=2");
    assert_eq!(samples(dir.path(), "build"), ["build_info{version=\"2\"} 1"]);
    assert_eq!(samples(dir.path(), "state").len(), 3);
}

/// The samples of a page in the text format, sorted, without those of multiprom.
fn lines(registry: &Registry) -> Vec<String> {
    let mut lines = registries::samples(registry);
    lines.sort();
    lines
}

#[test]
fn series_are_removed_and_come_back_in_memory_and_in_a_directory() {
    let dir = TestDir::in_memory("removed-states");
    let (memory, directory) = (in_memory(), process(dir.path()));
    let page = merged(dir.path());
    for (registry, page) in [(&memory, &memory), (&directory, &page)] {
        let info = Info::builder("link", "Link.").labels(["to"]).register(registry).unwrap();
        let state = Enum::builder("door", "Door.", ["shut", "open"]).mode(GaugeMode::LiveMax);
        let state = state.labels(["at"]).register(registry).unwrap();
        assert_eq!(lines(page), [""; 0]);
        let link = info.with(["a"]);
        link.set(&[("speed", "1")]);
        state.with(["x"]).set("open").unwrap();
        let _ = state.with(["y"]).set("shut");
        let [open, shut] = [(0, 1), (1, 0)].map(|(shut, open)| {
            move |at: &str| {
                let line = |state, value| format!("door{{at=\"{at}\",door=\"{state}\"}} {value}");
                [line("open", open), line("shut", shut)]
            }
        });
        let speed = |speed: u8| vec![format!("link_info{{speed=\"{speed}\",to=\"a\"}} 1")];
        assert_eq!(lines(page), [&open("x")[..], &shut("y"), &speed(1)].concat());
        // Of each label set that was set, only the last one is shown, also if it comes back.
        for version in [2, 1, 1] {
            link.set(&[("speed", &version.to_string())]);
            assert_eq!(lines(page)[4..], speed(version));
        }
        assert!(info.remove(["a"]) && state.remove(["x"]));
        assert_eq!(lines(page), shut("y"));
        link.set(&[("speed", "3")]);
        assert_eq!(lines(page), shut("y"), "a handle of a removed series sets nothing");
        info.with(["a"]).set(&[("speed", "1")]);
        let door = state.with(["x"]);
        assert_eq!(door.get(), "shut");
        door.set("shut").unwrap();
        assert_eq!(lines(page), [&shut("x")[..], &shut("y"), &speed(1)].concat());
        state.clear();
        assert_eq!(lines(page), speed(1));
    }
    directory.close();
}

#[test]
fn labels_that_an_info_cannot_have_are_left_out_and_counted() {
    let registry = in_memory();
    let info = Info::builder("build_info", "Build.").const_label("tier", "gold");
    let info = info.mode(GaugeMode::LiveAll).register(&registry).unwrap();
    let counted = |registry: &Registry| {
        registry
            .sample_value("multiprom_ignored_values_total", &[("reason", "label")])
            .unwrap_or(0.0)
    };
    let page = multiprom::default_registry();
    let before = counted(page);
    info.set(&[
        ("version", "1"),
        ("a-b", ""),
        ("__x", ""),
        ("version", "2"),
        ("tier", ""),
        ("pid", ""),
    ]);
    assert_eq!(counted(page) - before, 5.0);
    assert_eq!(info.get(), [("version".to_owned(), "1".to_owned())]);
    assert_eq!(lines(&registry), ["build_info{tier=\"gold\",version=\"1\"} 1"]);
    let labels = [("tier", "gold"), ("version", "1")];
    assert_eq!(registry.sample_value("build_info", &labels), Some(1.0));
    info.set(&[]);
    assert_eq!(lines(&registry), ["build_info{tier=\"gold\"} 1"]);
}

#[test]
fn an_unknown_state_and_an_invalid_enum_are_errors() {
    let registry = in_memory();
    let state = Enum::builder("state", "State.", ["a", "b"]).register(&registry).unwrap();
    state.set("b").unwrap();
    let error = state.set("c").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidLabels);
    assert_eq!(error.to_string(), "enum `state` has no state `c`, but `a`, `b`");
    assert_eq!(state.get(), "b");
    assert_eq!(registry.sample_value("state", &[("state", "b")]), Some(1.0));
    assert_eq!(registry.sample_value("state", &[("state", "a")]), Some(0.0));
    let builder = || Enum::builder("state", "State.", ["a", "b"]);
    assert_eq!(builder().get_or_register(&registry).unwrap().get(), "b");
    let kind = |result: multiprom::Result<Enum>| result.unwrap_err().kind();
    let others = || Enum::builder("state", "State.", ["a", "c"]);
    assert_eq!(kind(others().get_or_register(&registry)), ErrorKind::AlreadyRegistered);
    let new = |states: &[&str]| Enum::builder("new", "New.", states.iter().copied());
    assert_eq!(kind(new(&[]).register(&registry)), ErrorKind::InvalidLabels);
    assert_eq!(kind(new(&["a", "a"]).register(&registry)), ErrorKind::InvalidLabels);
    let counting = new(&["a"]).mode(GaugeMode::Count);
    assert_eq!(kind(counting.register(&registry)), ErrorKind::InvalidLabels);
    let unit = new(&["a"]).unit(multiprom::Unit::Bytes);
    assert_eq!(kind(unit.register(&registry)), ErrorKind::InvalidName);
    // The label with the state has the name of the enum, and `pid` is that of the process.
    for builder in [new(&["a"]).const_label("new", ""), Enum::builder("pid", "P.", ["a"])] {
        assert_eq!(kind(builder.register(&registry)), ErrorKind::InvalidLabels);
    }
    let info = Info::builder("i", "I.").unit(multiprom::Unit::Bytes).register(&registry);
    assert_eq!(info.unwrap_err().kind(), ErrorKind::InvalidName);
}

#[test]
fn statics_of_both_types_are_exported() {
    static LINK: Static<Info> = Info::declare("states_link", "Link.").mode(GaugeMode::Max);
    static DOOR: Static<Enum> =
        Enum::declare("states_door", "Door.", &["shut", "open"]).mode(GaugeMode::LiveMax);
    multiprom::register_statics(&[&LINK, &DOOR]).unwrap();
    let value = |name: &str, label| multiprom::default_registry().sample_value(name, &[label]);
    assert_eq!(value("states_door", ("states_door", "shut")), Some(1.0));
    DOOR.set("open").unwrap();
    LINK.set(&[("to", "a")]);
    assert_eq!(value("states_door", ("states_door", "shut")), Some(0.0));
    assert_eq!(value("states_door", ("states_door", "open")), Some(1.0));
    assert_eq!(value("states_link_info", ("to", "a")), Some(1.0));
}

#[test]
fn types_and_values_are_written_again_when_the_directory_is_lost_or_the_files_are_closed() {
    let dir = TestDir::in_memory("lost-states");
    let path = dir.path().join("app");
    fs::create_dir(&path).unwrap();
    let registry = process(&path);
    let info = Info::builder("link", "Link.").register(&registry).unwrap();
    let state = Enum::builder("door", "Door.", ["open", "shut"]).mode(GaugeMode::LiveMax);
    let state = state.register(&registry).unwrap();
    info.set(&[("to", "a")]);
    state.set("shut").unwrap();
    fs::remove_dir_all(&path).unwrap();
    // The series wait: the page of the same process has them, with their types.
    info.set(&[("to", "b")]);
    fs::create_dir(&path).unwrap();
    let page = |dir: &Path| {
        let page = Exposition::encode(&merged(dir), multiprom::exposition::Format::OpenMetrics);
        let page = page.to_string();
        let lines =
            page.lines().filter(|line| !line.contains("multiprom_") && !line.starts_with("# HELP"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let shown = |to: &str| {
        let info = format!("link_info{{to=\"{to}\"}} 1.0");
        [
            "# TYPE door stateset",
            "door{door=\"open\"} 0.0",
            "door{door=\"shut\"} 1.0",
            "# TYPE link info",
        ]
        .into_iter()
        .map(str::to_owned)
        .chain([info, "# EOF".to_owned()])
        .collect::<Vec<_>>()
    };
    wait_for("values in new files", PATIENCE, || {
        info.set(&[("to", "c")]);
        (page(&path) == shown("c")).then_some(())
    });
    assert_eq!((state.get(), info.get().len()), ("shut", 1));

    registry.close();
    wait_for_deaths(&path);
    assert_eq!(page(&path), ["# EOF"]);
    info.set(&[("to", "d")]);
    state.set("shut").unwrap();
    assert_eq!(page(&path), shown("d"));
    registry.close();
}
