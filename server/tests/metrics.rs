//! The port for metrics, over real sockets.

#[path = "support/served.rs"]
mod served;
#[macro_use]
#[path = "support/mod.rs"]
mod support;

use leasehold::{ClientOptions, Limits, NodeOptions};
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use serde_json::{Value, json};
use served::{Served, command, connect, exchange, info_as, serve, serve_as};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

on_every_runtime!(
    what_clients_do_is_counted_in_the_text_form_of_prometheus,
    hostile_clients_of_the_port_are_refused_and_others_are_served,
    a_node_serves_no_metrics_unless_it_is_asked_to,
);

fn start<R: Runtime>(limits: Limits) -> (Served<R>, SocketAddr) {
    let metrics_listen = Some("127.0.0.1:0".to_owned());
    let served = serve_as(|options| NodeOptions { limits, metrics_listen, ..options });
    let address = served.node.metrics_address().expect("it serves metrics");
    (served, address)
}

/// Requests a path, and returns the head and the body of the response.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let response = exchange(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
    let (head, body) = response.split_once("\r\n\r\n").expect("a complete response");
    (head.to_owned(), body.to_owned())
}

/// Returns each sample with its value, and the families with their types. Checks their form.
fn parse(text: &str) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
    let (mut samples, mut types, mut helps) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a name and a text");
            assert!(help.len() > 3 && helps.insert(name.to_owned()), "{line}");
        } else if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').expect("a name and a type");
            assert!(helps.contains(name) && name.starts_with("leasehold_"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert_eq!(types.insert(name.to_owned(), kind.to_owned()), None, "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a sample and its value");
            let family = name.split('{').next().unwrap_or_default();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| family.strip_suffix(end)).unwrap_or(family);
            assert!(types.contains_key(family) || types.get(base).is_some_and(|kind| kind == "histogram"), "{line}");
            let value = value.replace("+Inf", "inf").parse().unwrap_or_else(|_| panic!("a number: {line}"));
            assert_eq!(samples.insert(name.to_owned(), value), None, "{line}");
        }
    }
    (samples, types)
}

/// Lets promtool check the text, where it is installed.
fn check_with_promtool(text: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = promtool.spawn() else {
        println!("promtool is not installed (Debian: apt-get install prometheus)");
        return;
    };
    promtool.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let checked = promtool.wait_with_output().expect("it ends");
    let found = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{found}");
}

fn what_clients_do_is_counted_in_the_text_form_of_prometheus<R: Runtime>() {
    let (served, address) = start::<R>(Limits::default());
    let requests = [
        command(&[b"SET", b"a", b"1"]),
        command(&[b"GET", b"a"]),
        command(&[b"GET", b"b"]),
        command(&[b"HGET", b"a", b"f"]),
        command(&[b"QUIT"]),
    ]
    .concat();
    assert!(exchange(served.address(), &requests).starts_with("+OK\r\n$1\r\n1\r\n$-1\r\n-WRONGTYPE"));
    let (head, text) = get(address, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{head}");
    check_with_promtool(&text);
    let (samples, types) = parse(&text);
    let value = |name: &str| *samples.get(name).unwrap_or_else(|| panic!("no {name} in {text}"));
    // The reads of the pipeline may be in the entry of the write.
    let reads: f64 =
        ["lease", "quorum", "log"].map(|by| value(&format!("leasehold_reads_total{{by=\"{by}\"}}"))).iter().sum();
    assert!((reads - 3.0).abs() < 0.1, "{reads}");
    for (name, expected) in [
        ("leasehold_writes_total{outcome=\"acknowledged\"}", 1.0),
        ("leasehold_commands_total{command=\"get\"}", 2.0),
        ("leasehold_command_errors_total{code=\"WRONGTYPE\"}", 1.0),
        ("leasehold_command_duration_seconds_count{family=\"string\",kind=\"read\"}", 2.0),
        ("leasehold_command_duration_seconds_bucket{family=\"hash\",kind=\"read\",le=\"+Inf\"}", 1.0),
        ("leasehold_leader", 1.0),
        ("leasehold_leader_node", 1.0),
        ("leasehold_keys", 1.0),
        ("leasehold_members{part=\"voter\"}", 1.0),
        ("leasehold_clock_reading", 1.0),
        ("leasehold_failed_reads_total{reason=\"no_leader\"}", 0.0),
        ("leasehold_build_info{version=\"0.1.0\",runtime=\"RUNTIME\",node=\"1\",cluster=\"test\"}", 1.0),
    ] {
        let name = name.replace("RUNTIME", R::NAME);
        assert!((value(&name) - expected).abs() < 1e-9, "{name} is {}", value(&name));
    }
    for (name, least) in [
        ("leasehold_rounds_opened_total", 1.0),
        ("leasehold_apply_duration_seconds_count", 1.0),
        ("leasehold_disk_commit_duration_seconds_count", 1.0),
        ("leasehold_commit_index", 2.0),
        ("leasehold_lease_duration_seconds", 0.2),
        ("leasehold_uptime_seconds", 0.0),
    ] {
        assert!(value(name) >= least, "{name} is {}", value(name));
    }
    assert_eq!(types["leasehold_apply_duration_seconds"], "histogram");
    assert_eq!(info_as(served.address(), "", "writes_acknowledged"), 1, "INFO counts the same");
    // A counter never falls.
    let (later, _) = parse(&get(address, "/metrics").1);
    let counted = samples.iter().filter(|(name, _)| name.contains("_total") || name.contains("_bucket"));
    counted.for_each(|(name, before)| assert!(later[name] >= *before, "{name}"));
}

fn hostile_clients_of_the_port_are_refused_and_others_are_served<R: Runtime>() {
    let mut limits = Limits::default();
    // A request must arrive within this time.
    limits.client_timeout = Duration::from_secs(2);
    let (served, address) = start::<R>(limits);
    for (request, status) in [
        ("GET /nothing HTTP/1.1\r\n\r\n".to_owned(), "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n".to_owned(), "405"),
        ("*1\r\n$4\r\nPING\r\n".to_owned(), "400"),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(8 << 10)), "431"),
    ] {
        let mut stream = connect(address);
        stream.write_all(request.as_bytes()).expect("it is sent");
        // The rest of what was sent may make the system drop the end of the response.
        let mut response = [0; 12];
        stream.read_exact(&mut response).expect("a response");
        assert_eq!(response, format!("HTTP/1.1 {status}").as_bytes(), "{request}");
    }
    // They send nothing, or the beginning of a request, and take all places.
    let mut silent: Vec<_> = (0..100).map(|_| connect(address)).collect();
    for stream in silent.iter_mut().step_by(2) {
        // It may be closed by now.
        let _ = stream.write_all(b"GET /metrics HT");
    }
    assert_eq!(exchange(served.address(), &[command(&[b"DBSIZE"]), command(&[b"QUIT"])].concat()), ":0\r\n+OK\r\n");
    let closed = silent.into_iter().filter_map(|mut stream| match stream.read_to_end(&mut Vec::new()) {
        Ok(0) => Some(()),
        Ok(_) => None,
        // What it sent was not read.
        Err(error) => (error.kind() == ErrorKind::ConnectionReset).then_some(()),
    });
    assert_eq!(closed.count(), 100, "those without a place at once, and the others after their time");
    let (head, _) = get(address, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "there are places again: {head}");
}

fn a_node_serves_no_metrics_unless_it_is_asked_to<R: Runtime>() {
    assert_eq!(serve::<R>(Limits::default(), ClientOptions::default()).node.metrics_address(), None);
}

/// Returns a file of the documentation for operators.
fn document(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (path, text)
}

/// Returns the names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = text.split(|character| !is_part(character));
    words.filter(|word| word.starts_with("leasehold_")).map(str::to_owned).collect()
}

/// Returns every query of a dashboard.
fn queries(dashboard: &Value) -> Vec<String> {
    match dashboard {
        Value::Object(fields) => {
            let own = fields.get("expr").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(queries)).collect()
        }
        Value::Array(values) => values.iter().flat_map(queries).collect(),
        _ => Vec::new(),
    }
}

/// Lets promtool check rules, where it is installed.
fn check_rules_with_promtool(path: &Path) {
    match Command::new("promtool").args(["check", "rules"]).arg(path).output() {
        Err(error) => println!("promtool is not installed: {error}"),
        Ok(checked) => {
            let found = [checked.stdout, checked.stderr].concat();
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&found));
        }
    }
}

/// Checks that every metric in a text exists, with the labels that it is asked for there.
fn check_names(text: &str, samples: &BTreeMap<String, f64>, types: &BTreeMap<String, String>) {
    for name in named(text) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        let is_histogram = types.get(base).is_some_and(|kind| kind == "histogram");
        assert!(types.contains_key(&name) || is_histogram, "there is no metric {name}");
        for (at, _) in text.match_indices(&format!("{name}{{")) {
            let labels = text[at..].split(['{', '}']).nth(1).unwrap_or_default();
            for label in labels.split(',').filter(|label| !label.starts_with("job")) {
                // What is counted has this value, or may have: `{reason!="conflict"}`.
                let label = label.replace("!=", "=").replace("\\\"", "\"");
                let has = |sample: &String| sample.starts_with(&format!("{name}{{")) && sample.contains(&label);
                assert!(samples.keys().any(has), "no sample of {name} has {label}");
            }
        }
    }
}

#[test]
fn the_dashboard_the_alerts_and_the_documentation_name_the_metrics_that_exist() {
    let (served, address) = start::<TokioRuntime>(Limits::default());
    exchange(
        served.address(),
        &[command(&[b"SET", b"a", b"1"]), command(&[b"GET", b"a"]), command(&[b"QUIT"])].concat(),
    );
    let (samples, types) = parse(&get(address, "/metrics").1);

    let (alerts, text) = document("monitoring/alerts.yml");
    check_names(&text, &samples, &types);
    check_rules_with_promtool(&alerts);

    let (_, text) = document("monitoring/dashboard.json");
    let queries = queries(&serde_json::from_str(&text).expect("JSON"));
    assert!(queries.len() > 20, "{} queries", queries.len());
    check_names(&queries.join("\n"), &samples, &types);
    // They are checked as rules that record them.
    let rules = queries.iter().enumerate().map(|(number, query)| {
        let query = query.replace("$__rate_interval", "1m").replace("$job", "leasehold");
        json!({ "record": format!("query:{number}"), "expr": query })
    });
    let rules = json!({ "groups": [{ "name": "dashboard", "rules": rules.collect::<Vec<_>>() }] });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dashboard.yml");
    fs::write(&path, rules.to_string()).expect("it is written");
    check_rules_with_promtool(&path);

    let (_, text) = document("operations.md");
    let described = named(&text);
    let missing: Vec<_> = types.keys().filter(|name| !described.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/operations.md lacks {missing:?}");
    let unknown: Vec<_> = described.iter().filter(|name| !types.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "docs/operations.md names {unknown:?}, which do not exist");
}
