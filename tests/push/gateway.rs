//! A real Pushgateway.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use multiprom::exposition::{Exposition, Format};
use multiprom::push::{HttpTransport, Pusher};
use multiprom::{ErrorKind, Gauge, Registry};

use super::{One, merged, record_everything, series_of_job};
use crate::support::http::get;
use crate::support::process::PATIENCE;
use crate::support::services::{listen, pushgateway, read_request, respond, series_of};
use crate::support::{TestDir, wait_for};

#[test]
fn a_merged_directory_arrives_in_each_format_compressed_and_not() {
    let Some((_gateway, address)) = pushgateway(&[]) else { return };
    let dir = TestDir::new("push");
    record_everything(dir.path());
    let registry = merged(dir.path());
    let own = series_of(&Exposition::encode(&registry, Format::Text).to_string());
    // `multiprom_scrape_duration_seconds` and others change with each scrape.
    let of_workers = |name: &String| !name.starts_with("multiprom_");
    let expected: Vec<_> = own.into_iter().filter(|(name, _)| of_workers(name)).collect();
    assert!(expected.len() > 100);
    for format in [Format::Text, Format::Protobuf] {
        for is_compressed in [false, true] {
            let builder = Pusher::builder(&address, "everything").format(format);
            let builder = if is_compressed { builder.gzip() } else { builder };
            let pusher = builder.build().unwrap();
            assert_eq!(pusher.push(&registry).unwrap().status, 200);
            let arrived = series_of_job(&address, "everything");
            let arrived: Vec<_> =
                arrived.into_iter().filter(|(name, _)| of_workers(name)).collect();
            assert_eq!(arrived, expected, "{format:?} {is_compressed}");
            pusher.delete().unwrap();
        }
    }
}

#[test]
fn put_replaces_the_group_post_the_families_and_delete_removes_it() {
    let Some((_gateway, address)) = pushgateway(&[]) else { return };
    let pusher = Pusher::builder(&address, "j").build().unwrap();
    let names = || series_of_job(&address, "j").into_values().collect::<Vec<_>>();
    assert_eq!(names(), [""; 0]);
    pusher.push(&One("a", 1.0)).unwrap();
    pusher.push_add(&One("b", 2.0)).unwrap();
    assert_eq!(names(), ["1", "2"]);
    pusher.push_add(&One("a", 3.0)).unwrap();
    assert_eq!(names(), ["3", "2"]);
    pusher.push(&One("b", 4.0)).unwrap();
    assert_eq!(names(), ["4"]);
    assert_eq!(pusher.delete().unwrap().status, 202);
    // The gateway deletes later than it responds.
    wait_for("deletion", PATIENCE, || names().is_empty().then_some(()));
    assert_eq!(pusher.delete().unwrap().status, 202);
}

#[test]
fn every_grouping_key_arrives_as_it_was_set() {
    let Some((_gateway, address)) = pushgateway(&[]) else { return };
    let values = [
        "",
        "/var/tmp",
        "a b+c",
        "100%",
        "%2F",
        "..",
        ".",
        "\u{3a0}\u{3c1}",
        "\n",
        "say \"hi\"",
        "a\\b",
        "?#&=;:@!$'()*,~",
        "//",
        "=",
    ];
    for (number, value) in values.into_iter().enumerate() {
        let number = number.to_string();
        let job = if value.is_empty() { "j".to_owned() } else { value.to_owned() };
        let pusher = Pusher::builder(&address, &job)
            .grouping("number", &number)
            .grouping("value", value)
            .build()
            .unwrap();
        pusher.push(&One("a", 1.0)).unwrap();
        let groups = get(&format!("http://{address}/api/v1/metrics")).unwrap().body;
        let groups: serde_json::Value = serde_json::from_str(&groups).unwrap();
        let labels = groups["data"].as_array().unwrap().iter().map(|group| &group["labels"]);
        let mut labels = labels.filter(|labels| labels["number"] == *number);
        let labels = labels.next().unwrap_or_else(|| panic!("{value:?} is missing: {groups}"));
        // The interface omits labels without a value.
        assert_eq!(labels["value"].as_str().unwrap_or_default(), value);
        assert_eq!(labels["job"], job);
    }
}

#[test]
fn the_instance_is_the_address_of_this_host_if_that_is_asked_for() {
    let Some((_gateway, address)) = pushgateway(&[]) else { return };
    let pusher = Pusher::builder(&address, "j").instance_ip().build().unwrap();
    assert_eq!(pusher.url(), format!("http://{address}/metrics/job/j/instance/127.0.0.1"));
    pusher.push(&One("a", 1.0)).unwrap();
    let found = series_of_job(&address, "j");
    assert!(found.keys().all(|name| name.contains("(\"instance\", \"127.0.0.1\")")), "{found:?}");
}

#[test]
fn what_the_gateway_refuses_is_an_error_with_its_reason() {
    let Some((_gateway, address)) = pushgateway(&[]) else { return };
    Pusher::builder(&address, "one").build().unwrap().push(&One("a", 1.0)).unwrap();
    // The same name with another type.
    let registry = Registry::new();
    multiprom::Summary::builder("a", "").register(&registry).unwrap().observe(1.0);
    let other = Pusher::builder(&address, "two").build().unwrap();
    let error = other.push_add(&registry).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Push);
    let text = format!("{error:#}");
    let begin = format!(
        "POST http://{address}/metrics/job/two: status 400: pushed metrics are invalid or inconsistent"
    );
    assert!(text.starts_with(&begin), "{text}");
    // A path that the gateway does not know.
    let wrong = Pusher::builder_for_url(&format!("http://{address}/wrong/path")).build().unwrap();
    let text = format!("{:#}", wrong.push(&One("a", 1.0)).unwrap_err());
    assert_eq!(text, format!("PUT http://{address}/wrong/path: status 404: 404 page not found"));
}

#[test]
fn the_path_of_a_gateways_address_is_kept_and_a_url_is_used_as_it_is() {
    let Some((_gateway, address)) = pushgateway(&["--web.route-prefix=/push/gateway"]) else {
        return;
    };
    let pusher = Pusher::builder(&format!("http://{address}/push/gateway/"), "j").build().unwrap();
    pusher.push(&One("a", 1.0)).unwrap();
    let verbatim = format!("http://{address}/push/gateway/metrics/job/v/x/y");
    Pusher::builder_for_url(&verbatim).build().unwrap().push(&One("a", 2.0)).unwrap();
    let page = get(&format!("http://{address}/push/gateway/metrics")).unwrap().body;
    assert!(page.contains("\na{instance=\"\",job=\"j\",kind=\"x\"} 1\n"), "{page}");
    assert!(page.contains("\na{instance=\"\",job=\"v\",kind=\"x\",x=\"y\"} 2\n"), "{page}");
}

#[test]
fn redirects_are_followed_with_method_and_body_if_that_is_allowed() {
    let Some((_gateway, address)) = pushgateway(&[]) else { return };
    for status in [301, 302, 307, 308] {
        let target = address.clone();
        let redirecting = listen(move |mut stream| {
            let (head, _) = read_request(&mut stream);
            assert!(head.contains("\r\nauthorization: basic "), "{head}");
            let path = head.split(' ').nth(1).unwrap();
            let location = format!("http://{target}{path}");
            respond(
                stream,
                &format!(
                    "HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
                ),
            );
        });
        let job = format!("j{status}");
        let pusher = |redirects| {
            let transport = HttpTransport::new().redirects(redirects);
            let builder = Pusher::builder(&redirecting, &job).basic_auth("user", "password");
            builder.transport(transport).build().unwrap()
        };
        pusher(1).push(&One("a", 1.0)).unwrap();
        assert_eq!(series_of_job(&address, &job).len(), 1);
        let error = format!("{:#}", pusher(0).push(&One("a", 1.0)).unwrap_err());
        let shown =
            format!(": status {status}: redirected to `http://{address}/metrics/job/{job}`, ");
        assert!(error.contains(&shown), "{error}");
    }
}

/// Runs a future without a runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn pushes_work_in_any_runtime_and_without_one() {
    let Some((_gateway, address)) = pushgateway(&[]) else { return };
    let pusher = Pusher::builder(&address, "j").build().unwrap();
    let count = || series_of_job(&address, "j").len();
    block_on(pusher.push_async(One("a", 1.0))).unwrap();
    block_on(pusher.push_add_async(One("b", 1.0))).unwrap();
    assert_eq!(count(), 2);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        pusher.push_async(One("a", 1.0)).await.unwrap();
        assert_eq!(count(), 1);
        // The blocking functions block the thread of the runtime, and do not panic.
        pusher.push_add(&One("b", 1.0)).unwrap();
        assert_eq!(count(), 2);
        pusher.delete_async().await.unwrap();
    });
    wait_for("deletion", PATIENCE, || (count() == 0).then_some(()));
    let error = block_on(Pusher::builder("127.0.0.1:1", "j").build().unwrap().delete_async());
    assert!(format!("{:#}", error.unwrap_err()).contains("cannot connect to 127.0.0.1:1: "));
}

#[test]
fn a_periodic_push_pushes_at_the_start_repeatedly_and_at_the_end() {
    let Some((_gateway, address)) = pushgateway(&[]) else { return };
    let registry = Registry::new();
    let gauge = Gauge::builder("progress", "").register(&registry).unwrap();
    let pusher = Pusher::builder(&address, "j").build().unwrap();
    let shown = || series_of_job(&address, "j").into_values().next();
    let wait_until = |value: &str| {
        wait_for("pushed value", PATIENCE, || {
            shown().is_some_and(|shown| shown == value).then_some(())
        });
    };
    gauge.set(1.0);
    let periodic = pusher.start(registry.clone(), Duration::from_millis(20)).unwrap();
    wait_until("1");
    gauge.set(2.0);
    wait_until("2");
    periodic.stop();
    let periodic = pusher.start_add(registry.clone(), Duration::from_secs(3600)).unwrap();
    wait_until("2");
    gauge.set(3.0);
    periodic.stop();
    assert_eq!(shown().unwrap(), "3");
}
