//! A Django site and its management commands, which run while the site serves.

use std::collections::BTreeSet;
use std::process::Command;

use super::{WORKERS, is_whole_matrix, launcher};
use crate::support::http::{scrape, sum_of};
use crate::support::process::{PATIENCE, Running};
use crate::support::sites::{Requests, directory_of, programs, python_environment};
use crate::support::{output_of, root, wait_for};

#[test]
fn management_commands_are_counted_after_their_end() {
    let Some(programs) = programs("sites") else { return };
    let home = root().join("tests/python/django_site");
    let mut command = launcher(&programs);
    command.args(["gunicorn", "--no-control-socket", "-b", "127.0.0.1:0", "wsgi:application"]);
    let mut site = Running::start(command.args(["-w", &WORKERS.to_string()]).current_dir(&home));
    let metrics = site.url();
    let line = site.line_after("Listening at: ");
    let url = line.split(' ').next().unwrap();
    let mut requests = Requests::default();
    requests.send_until(url, WORKERS, &requests.pids.clone());
    let dir = directory_of(*requests.pids.first().unwrap());
    let commands = if is_whole_matrix() { 20 } else { 2 };
    for number in 1..=commands {
        let mut manage = Command::new(programs.join("python"));
        python_environment(&mut manage, &[&programs]).current_dir(&home);
        manage.args(["manage.py", "work", "5"]).env("PROMETHEUS_MULTIPROC_DIR", &dir);
        output_of(&mut manage);
        requests.send_until(url, WORKERS, &BTreeSet::new());
        let text = scrape(&metrics);
        assert_eq!(sum_of(&text, "site_jobs_total"), f64::from(5 * number), "{text}");
        assert_eq!(
            sum_of(&text, "site_requests_total"),
            f64::from(requests.acknowledged),
            "{text}"
        );
        assert!(sum_of(&text, "site_last_job_timestamp_seconds") > 0.0, "{text}");
        assert_eq!(sum_of(&text, "multiprom_file_errors_total"), 0.0, "{text}");
        wait_for("end of the command's live gauge", PATIENCE, || {
            (sum_of(&scrape(&metrics), "site_alive") == WORKERS as f64).then_some(())
        });
    }
    assert_eq!(requests.failed, 0);
    site.signal("TERM");
    assert_eq!(site.end().status.code(), Some(0));
}
