//! Only the runtime crates and the server depend on an asynchronous runtime.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates that must work on any runtime.
const RUNTIME_FREE: [&str; 11] = [
    "leasehold-core",
    "leasehold-clock",
    "leasehold-conformance",
    "leasehold-raft",
    "leasehold-openraft",
    "leasehold-runtime",
    "leasehold-node",
    "leasehold-tls",
    "leasehold-transport-tcp",
    "leasehold-storage",
    "leasehold-trace-picture",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is a folder of the workspace").to_owned()
}

/// Returns the names of a crate and of all its dependencies, its own first.
fn tree(of: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none", "--package", of])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo tree of {of}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are text");
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn is_tokio(name: &str) -> bool {
    name == "tokio" || name == "mio" || name.starts_with("tokio-") || name == "leasehold-runtime-tokio"
}

fn is_smol(name: &str) -> bool {
    ["smol", "async-io", "async-executor", "async-global-executor", "async-net", "leasehold-runtime-smol"]
        .contains(&name)
}

#[test]
fn no_crate_below_the_server_depends_on_a_runtime() {
    for package in RUNTIME_FREE {
        let tree = tree(package);
        assert_eq!(tree[0], package);
        let runtime = tree.iter().find(|name| is_tokio(name) || is_smol(name));
        assert_eq!(runtime, None, "{package} depends on a runtime");
    }
}

#[test]
fn the_core_depends_on_nothing() {
    assert_eq!(tree("leasehold-core"), ["leasehold-core"]);
}

#[test]
fn the_acceptance_kit_knows_no_engine() {
    let tree = tree("leasehold-conformance");
    let engine =
        tree.iter().find(|name| ["raft", "openraft", "leasehold-raft", "leasehold-openraft"].contains(&&***name));
    assert_eq!(engine, None, "leasehold-conformance depends on an engine");
}

#[test]
fn runtimes_do_not_import_each_other() {
    let (tokio, smol) = (tree("leasehold-runtime-tokio"), tree("leasehold-runtime-smol"));
    assert!(tokio.iter().any(|name| is_tokio(name)) && smol.iter().any(|name| is_smol(name)), "the names are known");
    assert_eq!(tokio.iter().find(|name| is_smol(name)), None);
    assert_eq!(smol.iter().find(|name| is_tokio(name)), None);
}

#[test]
fn no_runtime_imports_raft() {
    assert!(tree("leasehold-raft").contains(&"raft".to_owned()), "the name is known");
    for package in ["leasehold-runtime", "leasehold-runtime-tokio", "leasehold-runtime-smol"] {
        let tree = tree(package);
        let raft = tree.iter().find(|name| *name == "raft" || *name == "leasehold-raft");
        assert_eq!(raft, None, "{package} depends on a consensus engine");
    }
}

#[test]
fn a_runtime_is_one_short_file() {
    for runtime in ["runtime-tokio", "runtime-smol"] {
        let source = root().join(runtime).join("src");
        let files: Vec<_> =
            std::fs::read_dir(&source).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
        assert_eq!(files, ["lib.rs"], "{runtime}");
        let lines = std::fs::read_to_string(source.join("lib.rs")).expect("a file").lines().count();
        assert!(lines < 200, "{runtime} has {lines} lines; what every runtime needs belongs in leasehold-runtime");
    }
}
