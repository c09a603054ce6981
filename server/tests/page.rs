//! The status page, over real sockets and in a browser.

#[path = "support/served.rs"]
mod served;
#[macro_use]
#[path = "support/mod.rs"]
mod support;

use leasehold::{ClientOptions, Limits, NodeOptions};
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use served::{Served, command, exchange, info_as, serve, serve_as};
use std::net::SocketAddr;
use std::process::Command;

on_every_runtime!(the_page_and_its_parts_are_served_and_take_nothing_from_elsewhere);

/// The times that a browser on a loaded machine may fail to show the page in its time.
const MAX_ATTEMPTS: usize = 5;

fn start<R: Runtime>() -> (Served<R>, SocketAddr) {
    let metrics_listen = Some("127.0.0.1:0".to_owned());
    let served = serve_as(|options| NodeOptions { metrics_listen, cluster: "<orchard>".to_owned(), ..options });
    let address = served.node.metrics_address().expect("it serves a page");
    (served, address)
}

fn get(address: SocketAddr, path: &str) -> String {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
}

fn the_page_and_its_parts_are_served_and_take_nothing_from_elsewhere<R: Runtime>() {
    let (served, address) = start::<R>();
    let requests = [command(&[b"SET", b"a", b"1"]), command(&[b"GET", b"a"]), command(&[b"QUIT"])].concat();
    exchange(served.address(), &requests);
    let page = get(address, "/");
    for part in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8",
        "Content-Security-Policy: default-src 'none'; style-src 'self'; script-src 'self'",
        "frame-ancestors 'none'",
        "<noscript><meta http-equiv=\"refresh\" content=\"2\"></noscript>",
        "cluster <b>&lt;orchard&gt;</b>",
        "<h1>Node 1</h1>",
        "there is a single voter",
        &format!("<td>{}</td>", served.address()),
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // It names nothing but its own parts, and has no style or script in it that the policy forbids.
    for (part, count) in [("src=", 1), ("href=", 3), ("style=", 0), ("<style", 0), ("onload", 0), ("http://", 0)] {
        assert_eq!(page.matches(part).count(), count, "{part}: {page}");
    }
    assert!(get(address, "/page.css").starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/css"));
    assert!(get(address, "/page.js").starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/javascript"));
    assert_eq!(info_as(served.address(), "", "http_requests"), 0, "this is another port");
    assert!(serve::<R>(Limits::default(), ClientOptions::default()).node.metrics_address().is_none());
}

#[test]
fn a_browser_shows_the_page_and_its_script_keeps_it_up_to_date() {
    let (_served, address) = start::<TokioRuntime>();
    for attempt in 1.. {
        let folder = tempfile::tempdir().expect("a folder");
        let browser = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"])
            .args(["--virtual-time-budget=5000", &format!("--user-data-dir={}", folder.path().display())])
            .arg(format!("http://{address}/"))
            .output();
        let Ok(browser) = browser else {
            println!("chromium is not installed (Debian: apt-get install chromium)");
            return;
        };
        let (shown, logged) = (String::from_utf8_lossy(&browser.stdout), String::from_utf8_lossy(&browser.stderr));
        assert!(!logged.contains("CONSOLE"), "the page has an error: {logged}");
        // The script has replaced the content at least once.
        if shown.contains("<body class=\"is-live\">") && shown.contains("<h1>Node 1</h1>") {
            return;
        }
        assert!(attempt < MAX_ATTEMPTS, "{shown}{logged}");
    }
}
