//! The steps of `docs/containers.md`, with the users, capabilities, volumes and commands that are written there.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::support::http::{get, scrape, sum_of};
use crate::support::pod::{DEFAULT_CAPABILITIES, Pod, User, process_1};
use crate::support::process::{PATIENCE, Running, signal};
use crate::support::sites::{Requests, programs};
use crate::support::{TestDir, output_of, python, root, wait_for};

/// The code blocks of the page in a language.
fn blocks(language: &str) -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/containers.md")).unwrap();
    let begin = format!("\n```{language}\n");
    let blocks = page.split(&begin).skip(1);
    blocks.map(|rest| rest.split("\n```\n").next().unwrap().to_owned()).collect()
}

fn yaml(text: &str) -> Value {
    let dir = TestDir::new("yaml");
    let file = dir.path().join("document");
    fs::write(&file, text).unwrap();
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))";
    let mut python = python("sites").unwrap();
    python.args(["-c", script]).stdin(Stdio::from(fs::File::open(file).unwrap()));
    serde_json::from_str(&output_of(&mut python)).unwrap()
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The description of one container in the page.
struct Container {
    user: User,
    command: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Container {
    fn start(&self, pod: &Pod) -> Running {
        Running::start(&mut pod.container(self.user, &self.command, &self.environment))
    }
}

/// Two containers that share a volume.
struct Sidecar {
    app: Container,
    exporter: Container,
    mount_point: String,
    /// Mount options of the tmpfs.
    volume: String,
    health: Option<String>,
}

fn user(ids: &str) -> User {
    let (uid, gid) = ids.split_once(':').unwrap();
    User { uid: uid.parse().unwrap(), gid: gid.parse().unwrap(), capabilities: "-all" }
}

fn kubernetes() -> Sidecar {
    let pod = yaml(&blocks("yaml")[0]);
    let context = &pod["spec"]["securityContext"];
    let user = user(&format!("{}:{}", context["runAsUser"], context["runAsGroup"]));
    let container = |name: &str| {
        let list = pod["spec"]["containers"].as_array().unwrap();
        list.iter().find(|container| container["name"] == name).unwrap()
    };
    let (app, exporter) = (container("app"), container("exporter"));
    let environment = app["env"].as_array().unwrap().iter().map(|variable| {
        let text = |field: &str| variable[field].as_str().unwrap().to_owned();
        (text("name"), text("value"))
    });
    let mounts = [app, exporter].map(|it| it["volumeMounts"][0]["mountPath"].as_str().unwrap());
    assert_eq!(mounts[0], mounts[1]);
    let volume = &pod["spec"]["volumes"][0]["emptyDir"];
    assert_eq!(volume["medium"], "Memory");
    let size = volume["sizeLimit"].as_str().unwrap().strip_suffix("Mi").unwrap();
    let probe = &exporter["readinessProbe"]["httpGet"];
    Sidecar {
        app: Container {
            user,
            command: words(&app["command"]),
            environment: environment.collect(),
        },
        exporter: Container { user, command: words(&exporter["command"]), environment: Vec::new() },
        mount_point: mounts[0].to_owned(),
        // As the kubelet creates it: writable for all, and new files belong to the group.
        volume: format!("size={size}m,mode=2777,gid={}", context["fsGroup"]),
        health: Some(format!(
            "http://127.0.0.1:{}{}",
            probe["port"],
            probe["path"].as_str().unwrap()
        )),
    }
}

fn compose() -> Sidecar {
    let file = yaml(&blocks("yaml")[1]);
    let container = |name: &str| {
        let service = &file["services"][name];
        assert_eq!(service["volumes"][0], "metrics:/run/metrics");
        let variables = service["environment"].as_object().into_iter().flatten();
        let variables =
            variables.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
        Container {
            user: user(service["user"].as_str().unwrap()),
            command: words(&service["command"]),
            environment: variables.collect(),
        }
    };
    let volume = &file["volumes"]["metrics"]["driver_opts"];
    assert_eq!(volume["type"], "tmpfs");
    Sidecar {
        app: container("app"),
        exporter: container("exporter"),
        mount_point: "/run/metrics".to_owned(),
        volume: volume["o"].as_str().unwrap().to_owned(),
        health: None,
    }
}

/// The number of workers in a command line.
fn workers(command: &[String]) -> usize {
    let at = command.iter().position(|word| word == "--workers").unwrap();
    command[at + 1].parse().unwrap()
}

const SITE: &str = "http://127.0.0.1:8000";
const METRICS: &str = "http://127.0.0.1:9464/metrics";

/// Asserts that each acknowledged request is counted, and that the live gauges show `alive` workers.
fn assert_counted(metrics: &str, requests: &Requests, alive: usize) {
    wait_for("live gauges of the living workers", PATIENCE, || {
        let text = scrape(metrics);
        assert_eq!(sum_of(&text, "app_requests_total"), f64::from(requests.acknowledged), "{text}");
        assert_eq!(sum_of(&text, "app_latency_seconds_count"), f64::from(requests.acknowledged));
        assert_eq!(sum_of(&text, "multiprom_file_errors_total"), 0.0, "{text}");
        (sum_of(&text, "app_alive") == alive as f64).then_some(())
    });
}

/// Kills the worker that handles the request.
fn kill_one() {
    assert!(get(&format!("{SITE}/die")).is_err());
}

/// Waits until all workers have responded, kills one, and waits for the response of its replacement.
fn kill_and_replace(requests: &mut Requests, workers: usize) {
    requests.send_until(SITE, workers, &BTreeSet::new());
    let before = requests.pids.clone();
    kill_one();
    requests.send_until(SITE, 1, &before);
}

fn terminate(container: Running) {
    signal(process_1(&container), "TERM");
    let output = container.end();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn one_container_is_served_by_its_process_1() {
    let Some(programs) = programs("sites") else { return };
    let file = &blocks("dockerfile")[0];
    let value = |name: &str| file.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let command = words(&serde_json::from_str(value("CMD ")).unwrap());
    let workers = workers(&command);
    let container = Container { user: user(value("USER ")), command, environment: Vec::new() };
    let Some(pod) = Pod::start("/run/unused", "size=1m", &programs) else { return };
    let mut running = container.start(&pod);
    running.url();
    running.line_after("Listening at: ");
    pod.inside(|| {
        let mut requests = Requests::default();
        kill_and_replace(&mut requests, workers);
        assert_counted(METRICS, &requests, workers);
    });
    terminate(running);
    let left = fs::read_dir(pod.path("/dev/shm")).unwrap().count();
    assert_eq!(left, 0, "the directory was not removed");
}

/// Runs a pod in which a worker is killed and the application is restarted.
fn run_pod(sidecar: &Sidecar) {
    let Some(programs) = programs("sites") else { return };
    let Some(pod) = Pod::start(&sidecar.mount_point, &sidecar.volume, &programs) else { return };
    let mut exporter = sidecar.exporter.start(&pod);
    exporter.url();
    let workers = workers(&sidecar.app.command);
    let volume = pod.path(&sidecar.mount_point);
    let mut requests = Requests::default();
    for _ in 0..2 {
        // A restarted container reuses the pids.
        requests.pids.clear();
        let mut app = sidecar.app.start(&pod);
        app.line_after("Listening at: ");
        pod.inside(|| {
            kill_and_replace(&mut requests, workers);
            assert_counted(METRICS, &requests, workers);
            if let Some(health) = &sidecar.health {
                assert_eq!(get(health).unwrap().status, 200);
            }
        });
        assert!(*requests.pids.first().unwrap() < 20, "{requests:?}");
        assert_eq!(requests.failed, 0);
        terminate(app);
        pod.inside(|| assert_counted(METRICS, &requests, 0));
    }
    assert_volume_has_room(&volume);
    wait_for("compaction of all files", PATIENCE, || {
        let names = fs::read_dir(&volume).unwrap().map(|entry| entry.unwrap().file_name());
        let is_archive =
            |name: std::ffi::OsString| name == "archive.multiprom" || name == "retired";
        names.into_iter().all(is_archive).then_some(())
    });
    pod.inside(|| assert_counted(METRICS, &requests, 0));
    terminate(exporter);
}

/// Asserts that the files take less than a tenth of the volume.
fn assert_volume_has_room(volume: &Path) {
    let files = fs::read_dir(volume).unwrap().filter_map(|entry| entry.unwrap().metadata().ok());
    let used: u64 = files.filter(fs::Metadata::is_file).map(|file| file.blocks() * 512).sum();
    let size = 64 << 20;
    assert!(used < size / 10, "{used} bytes are used");
}

#[test]
fn the_kubernetes_sidecar_counts_exactly_across_restarts_of_the_application() {
    if programs("sites").is_some() {
        run_pod(&kubernetes());
    }
}

#[test]
fn the_compose_sidecar_counts_exactly_across_restarts_of_the_application() {
    if programs("sites").is_some() {
        run_pod(&compose());
    }
}

/// How an exporter sees a worker that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Detected,
    /// Its live gauges stay, and its files are reported as unknown.
    Unknown,
}

/// The rows of the table in the page: users of the exporter.
const EXPORTERS: [(&str, User, End); 5] = [
    ("the owner", User { uid: 1000, gid: 1000, capabilities: "-all" }, End::Detected),
    (
        "root with CAP_LEASE",
        User { uid: 0, gid: 0, capabilities: "-all,+lease,+dac_override" },
        End::Detected,
    ),
    (
        "root as container runtimes start it",
        User { uid: 0, gid: 0, capabilities: DEFAULT_CAPABILITIES },
        End::Detected,
    ),
    ("root without capabilities", User { uid: 0, gid: 0, capabilities: "-all" }, End::Unknown),
    ("another user", User { uid: 2000, gid: 2000, capabilities: "-all" }, End::Unknown),
];

#[test]
fn exporters_of_every_user_count_exactly_and_report_unknown_files() {
    let Some(programs) = programs("sites") else { return };
    let sidecar = kubernetes();
    let Some(pod) = Pod::start(&sidecar.mount_point, &sidecar.volume, &programs) else { return };
    let mut app = sidecar.app.start(&pod);
    app.line_after("Listening at: ");
    let workers = workers(&sidecar.app.command);
    let mut requests = Requests::default();
    pod.inside(|| {
        requests.send_until(SITE, workers, &BTreeSet::new());
        // Its replacement has not responded, and has no live gauge.
        kill_one();
    });
    let pages = || {
        EXPORTERS.map(|(name, user, end)| {
            let command =
                ["multiprom", "serve", "--listen", "127.0.0.1:0", "--compact", "off", "--dir"];
            let command = [&command[..], &[&sidecar.mount_point]].concat();
            let mut exporter = Running::start(&mut pod.container(user, &command, &[]));
            let url = exporter.url();
            let text = pod.inside(|| scrape(&url));
            terminate(exporter);
            assert_eq!(
                sum_of(&text, "app_requests_total"),
                f64::from(requests.acknowledged),
                "{name}"
            );
            assert_eq!(sum_of(&text, "multiprom_file_errors_total"), 0.0, "{name}: {text}");
            let unknown = "multiprom_files{state=\"unknown\"}";
            (name, end, sum_of(&text, "app_alive"), sum_of_line(&text, unknown))
        })
    };
    for (name, end, alive, unknown) in pages() {
        let is_detected = alive == (workers - 1) as f64;
        let is_unknown = alive == workers as f64 && unknown > 0.0;
        let is_expected = match end {
            End::Detected => is_detected,
            End::Unknown => is_unknown,
        };
        assert!(is_expected, "{name}: {alive} shown as alive, {unknown} files unknown");
    }

    // After the hook has removed the live gauges, all exporters show the same.
    let owner = sidecar.app.user;
    let command = |words: &str| {
        let words: Vec<&str> = words.split(' ').chain([&*sidecar.mount_point]).collect();
        output_of(&mut pod.container(owner, &words, &[]))
    };
    let files = command("multiprom ls --json --dir");
    let mut files = files.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let dead = files.find(|file| file["state"] == "dead").unwrap();
    command(&format!("multiprom mark-process-dead {} --dir", dead["id"].as_str().unwrap()));
    for (name, _, alive, _) in pages() {
        assert_eq!(alive, (workers - 1) as f64, "{name}");
    }
    terminate(app);
}

/// The value of a series, or 0 if it does not exist.
fn sum_of_line(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}
