//! Servers that refuse, reset, delay or cut the exchange: each is an error that names the URL and the cause, in bounded time.

use std::io::Write as _;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use multiprom::ErrorKind;
use multiprom::exposition::Format;
use multiprom::push::{HttpTransport, Pusher};

use super::One;
use crate::support::process::PATIENCE;
use crate::support::services::{ignore, listen, read_request, refusing, reset, respond};

/// For servers that never respond.
const TIMEOUT: Duration = Duration::from_millis(300);

/// The error of a push to a server that ends the exchange itself, however late.
fn error_of(address: &str) -> String {
    error_within(address, PATIENCE)
}

/// The error of a push with this timeout, which it must not exceed by much.
fn error_within(address: &str, timeout: Duration) -> String {
    let pusher = Pusher::builder(address, "j").timeout(timeout).build().unwrap();
    let begin = Instant::now();
    let error = pusher.push(&One("a", 1.0)).unwrap_err();
    assert!(begin.elapsed() < timeout + PATIENCE / 2, "{:?}", begin.elapsed());
    assert_eq!(error.kind(), ErrorKind::Push);
    let text = format!("{error:#}");
    let url = format!("PUT http://{address}/metrics/job/j");
    text.strip_prefix(&url).unwrap_or_else(|| panic!("{text}")).to_owned()
}

/// A server that sends these bytes after the request, and then closes.
fn responding(response: &'static str) -> String {
    listen(move |mut stream| {
        read_request(&mut stream);
        respond(stream, response);
    })
}

#[test]
fn a_refused_connection_and_an_unknown_host_are_errors_that_name_them() {
    let address = refusing();
    let error = error_of(&address);
    assert_eq!(
        error,
        format!(" failed: cannot connect to {address}: Connection refused (os error 111)")
    );
    let error = error_of("gateway.invalid:9091");
    assert!(error.starts_with(" failed: cannot resolve the host `gateway.invalid`"), "{error}");
}

#[test]
fn a_reset_connection_is_an_error() {
    let error = error_of(&listen(reset));
    assert!(error.starts_with(" failed: there is no complete response: "), "{error}");
}

#[test]
fn a_server_that_is_too_slow_is_an_error_after_the_timeout() {
    let expected = " failed: there is no complete response after 300ms";
    assert_eq!(error_within(&listen(ignore), TIMEOUT), expected);
    // Single bytes, each in time.
    let trickling = listen(|mut stream| {
        read_request(&mut stream);
        for byte in "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n".bytes().chain([b'x'; 100]) {
            std::thread::park_timeout(Duration::from_millis(20));
            if stream.write_all(&[byte]).is_err() {
                return;
            }
        }
    });
    assert_eq!(error_within(&trickling, TIMEOUT), expected);
    // The handshake of TLS.
    let address = listen(ignore);
    let builder = Pusher::builder(&format!("https://{address}"), "j").timeout(TIMEOUT);
    let error = format!("{:#}", builder.build().unwrap().delete().unwrap_err());
    let is_expected = error.ends_with("the TLS handshake has not ended after 300ms")
        || error.contains("the system has no CA certificates");
    assert!(is_expected, "{error}");
}

#[test]
fn error_statuses_are_errors_with_the_first_line_of_the_body() {
    let body =
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 19\r\n\r\nwrite queue is full";
    assert_eq!(error_of(&responding(body)), ": status 500: write queue is full");
    let cut = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 100\r\n\r\nbusy\nand";
    assert_eq!(error_of(&responding(cut)), ": status 503: busy");
    let redirect = "HTTP/1.1 301 Moved\r\nLocation: https://other/x\r\nContent-Length: 0\r\n\r\n";
    let error = error_of(&responding(redirect));
    assert!(error.starts_with(": status 301: redirected to `https://other/x`, "), "{error}");
}

#[test]
fn half_a_response_is_an_error() {
    for (response, expected) in [
        ("", " failed: there is no complete response: "),
        ("HTTP/1.1 200 OK\r\nConte", " failed: there is no complete response: "),
        ("SSH-2.0-OpenSSH_9.2\r\n", " failed: there is no complete response: "),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            " failed: the response with status 200 ends early: ",
        ),
    ] {
        let error = error_of(&responding(response));
        assert!(error.starts_with(expected), "{response:?}: {error}");
    }
}

#[test]
fn a_response_without_end_is_not_read_to_its_end() {
    let endless = listen(|mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let pusher = Pusher::builder(&endless, "j").build().unwrap();
    assert_eq!(pusher.push(&One("a", 1.0)).unwrap().body.len(), 65536);
}

#[test]
fn endless_redirects_end_and_those_to_other_hosts_carry_no_credentials() {
    let looping = listen(|mut stream| {
        let (head, _) = read_request(&mut stream);
        assert!(head.contains("\r\nauthorization: bearer token"), "{head}");
        respond(stream, "HTTP/1.1 307 Again\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n");
    });
    let transport = || HttpTransport::new().redirects(3);
    let builder = |address: &str| {
        Pusher::builder(address, "j").bearer_token("token").header("X-Api-Key", "key")
    };
    let pusher = builder(&looping).transport(transport()).build().unwrap();
    let error = format!("{:#}", pusher.push(&One("a", 1.0)).unwrap_err());
    assert!(error.contains(": status 307: redirected to `/again`, "), "{error}");

    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let taken = Arc::clone(&heads);
    let other = listen(move |mut stream| {
        let (head, body) = read_request(&mut stream);
        taken.lock().unwrap().push(head + &String::from_utf8_lossy(&body));
        respond(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let redirecting = listen(move |mut stream| {
        read_request(&mut stream);
        let location = format!("http://{other}/elsewhere");
        respond(
            stream,
            &format!("HTTP/1.1 307 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"),
        );
    });
    builder(&redirecting).transport(transport()).build().unwrap().push(&One("a", 1.0)).unwrap();
    let heads = heads.lock().unwrap();
    assert!(heads[0].starts_with("put /elsewhere http/1.1\r\n"), "{heads:?}");
    assert!(heads[0].ends_with("a{kind=\"x\"} 1\n"), "{heads:?}");
    assert!(heads[0].contains("\r\ncontent-type: text/plain;"), "{heads:?}");
    assert!(!heads[0].contains("token") && !heads[0].contains("x-api-key"), "{heads:?}");
}

#[test]
fn a_request_has_the_headers_and_the_body_that_were_set() {
    let (taken, requests) = mpsc::channel();
    let address = listen(move |mut stream| {
        taken.send(read_request(&mut stream)).unwrap();
        respond(stream, "HTTP/1.1 204 No Content\r\n\r\n");
    });
    let url = format!("http://{address}/api/v1/import/prometheus?extra_label=zone=eu");
    let pusher = Pusher::builder_for_url(&url)
        .bearer_token("token")
        .header("X-Scope-OrgID", "shop")
        .format(Format::OpenMetrics)
        .build()
        .unwrap();
    assert_eq!(pusher.push_add(&One("a", 1.0)).unwrap().status, 204);
    let (head, body) = requests.recv().unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    assert_eq!(lines.remove(0), "post /api/v1/import/prometheus?extra_label=zone=eu http/1.1");
    lines.sort_unstable();
    let len = format!("content-length: {}", body.len());
    let host = format!("host: {address}");
    assert_eq!(
        lines,
        [
            "authorization: bearer token",
            &len,
            "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8",
            &host,
            concat!("user-agent: multiprom/", env!("CARGO_PKG_VERSION")),
            "x-scope-orgid: shop",
        ]
    );
    assert!(body.ends_with(b"# EOF\n"));
    pusher.delete().unwrap();
    let (head, body) = requests.recv().unwrap();
    assert!(head.starts_with("delete ") && !head.contains("content-") && body.is_empty(), "{head}");
}

#[test]
fn a_target_that_does_not_respond_delays_the_end_by_two_timeouts_at_most() {
    let address = listen(ignore);
    let pusher = Pusher::builder(&address, "j").timeout(TIMEOUT).build().unwrap();
    let periodic = pusher.start(One("a", 1.0), Duration::from_millis(1)).unwrap();
    let begin = Instant::now();
    drop(periodic);
    assert!(begin.elapsed() < 2 * TIMEOUT + PATIENCE / 2, "{:?}", begin.elapsed());
}
