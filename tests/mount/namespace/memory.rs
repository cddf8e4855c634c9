//! What the daemon keeps in memory does not grow with what was published.

use std::fs::{self, File};

use support::{Cairn, wait};

const FILES: usize = 4000;
const ROUNDS: usize = 5;

/// Memory of the daemon's own, in KiB.
fn memory(cairn: &Cairn) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", cairn.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Fills an area, whose names the kernel then knows, and publishes it.
fn publish(cairn: &Cairn, round: usize) {
    let name = format!("v{round}");
    let area = cairn.area("app", &name);
    for number in 0..FILES {
        let directory = area.join(format!("d{}", number % 10));
        if number < 10 {
            fs::create_dir(&directory).unwrap();
        }
        File::create(directory.join(format!("f{number}"))).unwrap();
    }
    cairn.publish("app", &name).unwrap();
}

#[test]
fn what_published_areas_took_is_given_back() {
    let cairn = Cairn::start();
    publish(&cairn, 0);
    let first = memory(&cairn);
    // Somebody stays in one of them, and can go on to read there.
    let kept = cairn.area("app", "kept");
    fs::write(kept.join("f"), "text").unwrap();
    let open = File::open(kept.join("f")).unwrap();
    cairn.publish("app", "kept").unwrap();
    (1..=ROUNDS).for_each(|round| publish(&cairn, round));
    // A node takes about a KiB.
    wait::until("memory is given back", || memory(&cairn) < first + FILES * ROUNDS / 3);
    assert_eq!(std::io::read_to_string(open).unwrap(), "text");
}
