//! `cairn serve` and `cairn mount --http`: beginning and end (W1)

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{Cairn, content};

use crate::client::{Site, ask, connect};

/// A daemon without a mount, stopped at the end.
struct Served {
    process: Child,
    address: SocketAddr,
}

impl Served {
    fn start(cairn: &Cairn, arguments: &[&str]) -> Self {
        let mut command = Command::new(support::cairn::binary());
        command.arg("serve").arg(cairn.store()).args(["--http", "0", "--json"]).args(arguments);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(told["store"], cairn.store().to_str().unwrap());
        let url = told["url"].as_str().unwrap();
        let address = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        Self { process, address }
    }

    fn stop(mut self) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Served {
    /// A test that fails leaves no daemon behind.
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn w1_a_store_is_served_without_a_mount_and_commands_publish_meanwhile() {
    let cairn = Cairn::unmounted();
    let served = Served::start(&cairn, &[]);
    let tree = cairn.scratch().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("f"), "f").unwrap();
    cairn.cli(&["create", "r"]);
    cairn.cli(&["import", tree.to_str().unwrap(), "r"]);
    let status = cairn.json(&["status"]);
    assert_eq!(status["daemon_pid"], served.process.id());
    assert_eq!(ask(served.address, "GET", "/r/1/f", &[]).text(), "f");
    served.stop();
    let served = Served::start(&cairn, &["--read-only"]);
    assert_eq!(ask(served.address, "GET", "/r/1/f", &[]).text(), "f");
    assert_eq!(ask(served.address, "GET", "/r/1/PULP_MANIFEST", &[]).status, 200);
    assert!(cairn.cli_fails(&["create", "s"]).contains("read-only"));
    served.stop();
}

#[test]
fn w1_an_address_that_is_taken_is_said_before_anything_is_mounted() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let cairn = Cairn::unmounted();
    let mnt = cairn.mnt();
    let (store, mnt) = (cairn.store(), mnt.to_str().unwrap());
    let store = store.to_str().unwrap();
    let told = cairn.cli_fails(&["mount", store, mnt, "--http", &port]);
    assert!(told.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{told}");
    assert!(told.contains("hint: choose another address"), "{told}");
    let told = cairn.cli_fails(&["serve", store, "--http", &port]);
    assert!(told.contains("cannot listen on"), "{told}");
    let told = cairn.cli_fails(&["serve", mnt]);
    assert!(told.contains("is not a store"), "{told}");
}

#[test]
fn w1_a_stop_ends_downloads_and_idle_connections_within_a_bound() {
    let mut site = Site::start();
    site.publish("r", |top| fs::write(top.join("big"), content::bytes(1, 32 << 20)).unwrap());
    let mut slow = connect(site.address);
    slow.write_all(b"GET /r/1/big HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut archive = connect(site.address);
    archive.write_all(b"GET /r/1/?tar HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut half = connect(site.address);
    half.write_all(b"GET /").unwrap();
    let (mut one, mut two) = ([0; 16], [0; 16]);
    std::io::Read::read_exact(&mut slow, &mut one).unwrap();
    std::io::Read::read_exact(&mut archive, &mut two).unwrap();
    let began = std::time::Instant::now();
    site.cairn.stop();
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
