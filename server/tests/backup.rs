//! Backups of running nodes, and new clusters from them: real processes.

#[path = "support/ports.rs"]
mod ports;

use ports::free_port;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_leasehold");

/// Nodes, which end with the test.
struct Cluster {
    nodes: Vec<(Child, BufReader<ChildStdout>)>,
    client_ports: Vec<u16>,
    peers: String,
}

fn peers(ports: &[u16]) -> String {
    (1..).zip(ports).map(|(id, port)| format!("{id}=127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

impl Cluster {
    fn start(name: &str, folder: &Path, size: usize) -> Cluster {
        Cluster::start_with(name, folder, size, &[])
    }

    fn start_with(name: &str, folder: &Path, size: usize, flags: &[&str]) -> Cluster {
        let [client_ports, peer_ports] = [(); 2].map(|()| (0..size).map(|_| free_port()).collect::<Vec<_>>());
        let peers = peers(&peer_ports);
        // The leader of several nodes stays although the machine is busy.
        let hold = if size > 1 { "3000" } else { "1000" };
        let mut cluster = Cluster { nodes: Vec::new(), client_ports, peers };
        for (at, peer_port) in peer_ports.iter().enumerate() {
            let id = (at + 1).to_string();
            let mut node = Command::new(BINARY)
                .args(["serve", "--id", &id, "--peers", &cluster.peers, "--cluster", name, "--hold-ms", hold])
                .args(["--peer-listen", &format!("127.0.0.1:{peer_port}")])
                .args(["--client-listen", &format!("127.0.0.1:{}", cluster.client_ports[at])])
                .arg("--data-dir")
                .arg(folder.join(&id))
                .args(flags)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("the binary runs");
            let mut stdout = BufReader::new(node.stdout.take().expect("piped"));
            let mut banner = String::new();
            stdout.read_line(&mut banner).expect("it starts");
            assert!(banner.contains("serves clients"), "{banner}");
            cluster.nodes.push((node, stdout));
        }
        cluster
    }

    /// Sends inline commands that may be repeated to a node and returns its replies. It waits for a leader.
    fn exchange(&self, node: usize, commands: &str) -> String {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(("127.0.0.1", self.client_ports[node - 1])).expect("it listens");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout is set");
            stream.write_all(format!("{commands}QUIT\r\n").as_bytes()).expect("sent");
            let mut replies = String::new();
            stream.read_to_string(&mut replies).expect("it answers and closes");
            if !replies.contains("TRYAGAIN") {
                return replies;
            }
        }
        panic!("no leader");
    }

    /// Takes a backup of a node, which may lag behind for a while if its disk is slow.
    fn back_up(&self, node: usize, to: &str) -> Output {
        loop {
            let taken = leasehold(&["backup", "--from", &self.address(node), "--to", to]);
            if !String::from_utf8_lossy(&taken.stderr).contains("TRYAGAIN") {
                return taken;
            }
        }
    }

    fn address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.client_ports[node - 1])
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (node, _) in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

fn leasehold(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().expect("the binary runs")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn restore(backup: &Path, id: &str, peers: &str, folder: &Path) -> Output {
    restore_with(backup, id, peers, folder, &[])
}

fn restore_with(backup: &Path, id: &str, peers: &str, folder: &Path, flags: &[&str]) -> Output {
    let own = [
        "restore",
        "--from",
        text(backup),
        "--id",
        id,
        "--peers",
        peers,
        "--cluster",
        "restored",
        "--data-dir",
        text(folder),
    ];
    leasehold(&[&own[..], flags].concat())
}

#[test]
fn a_backup_of_any_node_becomes_a_new_cluster_with_every_acknowledged_write() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = Cluster::start("original", &folder.path().join("original"), 3);
    // More than one chunk.
    let value = "v".repeat(50_000);
    for key in 0..20 {
        assert!(cluster.exchange(1, &format!("SET key:{key} {key}{value}\r\n")).starts_with("+OK"));
    }
    let backup = folder.path().join("backup");
    for node in 1..=3 {
        // Acknowledged by another node just before. There is one record more than keys: that of the log time.
        let other = node % 3 + 1;
        assert!(cluster.exchange(other, &format!("SET last {node}\r\n")).starts_with("+OK"));
        let taken = cluster.back_up(node, text(&backup));
        assert!(taken.status.success(), "{taken:?}");
        assert!(String::from_utf8_lossy(&taken.stderr).contains("22 records of cluster \"original\""), "{taken:?}");
        let piped = cluster.back_up(node, "-");
        assert_eq!(piped.stdout.len() as u64, fs::metadata(&backup).expect("it was written").len());
    }
    for name in fs::read_dir(folder.path()).expect("readable").map(|entry| entry.expect("one").file_name()) {
        assert!(name == "original" || name == "backup", "{name:?}");
    }
    drop(cluster);

    let restored = folder.path().join("restored");
    let addresses = peers(&[1, 2, 3]);
    for id in ["1", "2", "3"] {
        let done = restore(&backup, id, &addresses, &restored.join(id));
        assert!(done.status.success(), "{done:?}");
    }
    let told =
        String::from_utf8_lossy(&restore(&backup, "2", &addresses, &folder.path().join("told")).stdout).into_owned();
    assert!(told.contains("for node 2 of the new cluster \"restored\""), "{told}");
    for bad in ["", &"c".repeat(65)] {
        let to = folder.path().join("bad");
        let named = ["restore", "--from", text(&backup), "--id", "1", "--peers", &addresses, "--cluster", bad];
        let refused = leasehold(&[&named[..], &["--data-dir", text(&to)]].concat());
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("1 to 64 bytes") && !to.exists(), "{refused:?}");
    }
    let again = restore(&backup, "1", &addresses, &restored.join("1"));
    assert!(String::from_utf8_lossy(&again.stderr).contains("has the data of a node"), "{again:?}");
    let cluster = Cluster::start("restored", &restored, 3);
    for node in 1..=3 {
        let replies = cluster.exchange(node, "DBSIZE\r\nGET last\r\nSTRLEN key:7\r\n");
        assert_eq!(replies, ":21\r\n$1\r\n3\r\n:50001\r\n+OK\r\n", "node {node}");
        let replies = cluster.exchange(node, "SET last 3\r\nINCR last\r\nSET last 3\r\n");
        assert_eq!(replies, "+OK\r\n:4\r\n+OK\r\n+OK\r\n", "node {node}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_not_taken_for_a_bad_backup() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = Cluster::start("original", &folder.path().join("original"), 1);
    // More than is buffered.
    assert!(cluster.exchange(1, &format!("SET a {}\r\n", "v".repeat(50_000))).starts_with("+OK"));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full disk");
    let mut backup = Command::new(BINARY);
    let taken = backup.args(["backup", "--from", &cluster.address(1), "--to", "-"]).stdout(full).output();
    let taken = taken.expect("the binary runs");
    assert_eq!(taken.status.code(), Some(1), "{taken:?}");
    assert!(String::from_utf8_lossy(&taken.stderr).contains("cannot write to the standard output"), "{taken:?}");
}

#[test]
fn a_cut_backup_is_refused_and_no_node_starts_on_what_it_leaves() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = Cluster::start("original", &folder.path().join("original"), 1);
    assert!(cluster.exchange(1, "SET a 1\r\n").starts_with("+OK"));
    let backup = folder.path().join("backup");
    assert!(leasehold(&["backup", "--from", &cluster.address(1), "--to", text(&backup)]).status.success());
    let whole = fs::read(&backup).expect("it was written");
    fs::write(&backup, &whole[..whole.len() - 1]).expect("cut");
    let to = folder.path().join("new");
    let refused = restore(&backup, "1", &peers(&[1]), &to);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not complete"), "{refused:?}");
    let serve = leasehold(
        &["serve", "--id", "1", "--peers", "1=127.0.0.1:1", "--peer-listen", "127.0.0.1:0"]
            .into_iter()
            .chain(["--client-listen", "127.0.0.1:0", "--cluster", "restored", "--data-dir", text(&to)])
            .collect::<Vec<_>>(),
    );
    assert_eq!(serve.status.code(), Some(1), "{serve:?}");
    assert!(String::from_utf8_lossy(&serve.stderr).contains("restore.unfinished"), "{serve:?}");
    fs::write(&backup, &whole).expect("whole again");
    // An interrupted attempt leaves its part of the data.
    assert!(to.join("restore.unfinished").join("data").exists());
    let done = restore(&backup, "1", &peers(&[1]), &to);
    assert!(done.status.success(), "{done:?}");
    assert!(to.join("data").exists() && !to.join("restore.unfinished").exists());
}

#[cfg(unix)]
#[test]
fn a_backup_is_restored_into_any_empty_folder_and_stays_inside() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = Cluster::start("original", &folder.path().join("original"), 1);
    assert!(cluster.exchange(1, "SET a 1\r\n").starts_with("+OK"));
    let backup = folder.path().join("backup");
    assert!(leasehold(&["backup", "--from", &cluster.address(1), "--to", text(&backup)]).status.success());
    let mode = fs::metadata(&backup).expect("it was written").permissions().mode();
    assert_eq!(mode & 0o077, 0, "others on the machine cannot read it");
    let above = folder.path().join("above");
    let [new, empty, mounted] = ["new", "empty", "mounted"].map(|name| above.join(name));
    let link = above.join("link");
    fs::create_dir_all(&empty).expect("created");
    fs::create_dir_all(mounted.join("lost+found")).expect("created");
    fs::create_dir(above.join("target")).expect("created");
    std::os::unix::fs::symlink("target", &link).expect("linked");
    assert!(restore(&backup, "1", &peers(&[1]), &new.join("")).status.success(), "a trailing slash");
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(&above).expect("readable").map(|entry| entry.expect("one").path()).collect();
        names.sort();
        names
    };
    let before = names();
    fs::set_permissions(&above, fs::Permissions::from_mode(0o555)).expect("as for a user of a service");
    for to in [empty.join(""), mounted, link.clone()] {
        let done = restore(&backup, "1", &peers(&[1]), &to);
        assert!(done.status.success() && to.join("data").exists(), "{done:?}");
    }
    fs::set_permissions(&above, fs::Permissions::from_mode(0o755)).expect("to be removed");
    assert!(link.is_symlink());
    assert_eq!(names(), before);
}

/// Keys of four groups, strings and hashes, some of which die in a quarter of an hour.
const KEYS: usize = 40;

/// Returns commands that read all keys, and the replies that they must get.
fn questions() -> (String, String) {
    let (mut commands, mut replies) = ("DBSIZE\r\n".to_owned(), format!(":{}\r\n", 2 * KEYS));
    for key in 0..KEYS {
        commands += &format!("GET key:{key}\r\nHGET hash:{key} own\r\nHLEN hash:{key}\r\n");
        let length = key.to_string().len();
        replies += &format!("${length}\r\n{key}\r\n${length}\r\n{key}\r\n:2\r\n");
    }
    (commands, replies + "+OK\r\n")
}

fn assert_complete(cluster: &Cluster, node: usize) {
    let (commands, replies) = questions();
    assert_eq!(cluster.exchange(node, &commands), replies, "node {node}");
    for (key, dies) in [("key:0", true), ("key:1", false), ("hash:0", true), ("hash:1", false)] {
        let left = cluster.exchange(node, &format!("TTL {key}\r\n"));
        let left: i64 = left.lines().next().and_then(|line| line.strip_prefix(':')?.parse().ok()).expect("a number");
        assert!(if dies { (1..=900).contains(&left) } else { left == -1 }, "{key} on node {node}: {left}");
    }
}

/// Restores a backup as a cluster of one node with so many groups, checks its keys, and takes a backup of it.
fn restore_and_back_up(backup: &Path, folder: &Path, groups: &str, to: &Path) {
    let done = restore_with(backup, "1", &peers(&[1]), &folder.join("1"), &["--groups", groups]);
    assert!(done.status.success(), "{done:?}");
    let cluster = Cluster::start("restored", folder, 1);
    assert_complete(&cluster, 1);
    // A hash that is made anew is not taken for one that was restored.
    let made = cluster.exchange(1, "HSET new f v\r\nHGETALL new\r\nDEL new\r\n");
    assert_eq!(made, ":1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n:1\r\n+OK\r\n");
    let taken = cluster.back_up(1, text(to));
    assert!(taken.status.success(), "{taken:?}");
}

#[test]
fn a_backup_of_several_groups_becomes_a_cluster_of_as_many_or_of_another_number() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let original = ["--groups", "4", "--keep-leaders"];
    let cluster = Cluster::start_with("original", &folder.path().join("original"), 3, &original);
    for key in 0..KEYS {
        let dies =
            if key % 4 == 0 { format!("EXPIRE key:{key} 900\r\nEXPIRE hash:{key} 900\r\n") } else { String::new() };
        // Repeated from the start if a group had no leader yet.
        let lines = format!("DEL hash:{key}\r\nSET key:{key} {key}\r\nHSET hash:{key} own {key} other x\r\n{dies}");
        let replies = cluster.exchange(1, &lines);
        assert!(replies.contains("+OK\r\n:2\r\n") && !replies.contains('-'), "{replies}");
    }
    let backup = folder.path().join("backup");
    for node in 1..=3 {
        // The write was acknowledged by another node just before.
        let other = node % 3 + 1;
        assert!(cluster.exchange(other, &format!("SET key:3 {node}\r\nSET key:3 3\r\n")).starts_with("+OK\r\n+OK"));
        let taken = cluster.back_up(node, text(&backup));
        assert!(taken.status.success(), "{taken:?}");
        let told = String::from_utf8_lossy(&taken.stderr).into_owned();
        assert!(told.contains("in 4 groups, each as of a moment of its own"), "{told}");
    }
    drop(cluster);

    // As many groups, on three nodes.
    let restored = folder.path().join("restored");
    for id in ["1", "2", "3"] {
        let done = restore(&backup, id, &peers(&[1, 2, 3]), &restored.join(id));
        assert!(done.status.success(), "{done:?}");
        assert!(String::from_utf8_lossy(&done.stdout).contains("\"restored\" with 4 groups"), "{done:?}");
    }
    let cluster = Cluster::start("restored", &restored, 3);
    (1..=3).for_each(|node| assert_complete(&cluster, node));
    drop(cluster);

    // One group, sixteen, and one again.
    let [one, sixteen, again] = ["one", "sixteen", "again"].map(|name| folder.path().join(name));
    let backup_of = |name: &str| folder.path().join(format!("backup of {name}"));
    restore_and_back_up(&backup, &one, "1", &backup_of("one"));
    restore_and_back_up(&backup_of("one"), &sixteen, "16", &backup_of("sixteen"));
    restore_and_back_up(&backup_of("sixteen"), &again, "1", &backup_of("again"));
    let versions = ["one", "sixteen", "again"].map(|name| fs::read(backup_of(name)).expect("it was written")[8]);
    assert_eq!(versions, [2, 3, 2]);

    // A part that is damaged is named, and no node starts on what was written before.
    let mut damaged = fs::read(&backup).expect("it was written");
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    fs::write(&backup, &damaged).expect("damaged");
    let to = folder.path().join("damaged");
    let refused = restore(&backup, "1", &peers(&[1]), &to);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("in the part of group 3, the backup is damaged"),
        "{refused:?}"
    );
    assert!(to.join("restore.unfinished").exists() && !to.join("data").exists());
}
