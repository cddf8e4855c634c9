//! Lazy content on a full disk: small content is read all the same, and a large one takes its space once (H37).

use std::fs;

use rustix::io::Errno;
use support::check::errno_of;
use support::http::Site;
use support::{Cairn, content, fsck, wait};

use crate::disk::Disk;

const DISK_BYTES: u64 = 160 << 20;

fn absent(cairn: &Cairn) -> u64 {
    cairn.json(&["status"])["absent_content_count"].as_u64().unwrap()
}

#[test]
fn h37_a_full_disk_keeps_nobody_from_small_content() {
    let disk = Disk::small(DISK_BYTES);
    let mut cairn = Cairn::start_in(&disk.at);
    let bodies: Vec<_> = [100, 200_000, 3 << 20, 5 << 20]
        .iter()
        .map(|size| content::bytes(*size as u64, *size))
        .collect();
    let names = ["tiny", "small", "medium", "large"];
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&bodies).map(|(name, body)| (*name, &body[..])).collect();
    let site = Site::default();
    site.set_manifest(&files);
    let server = site.serve();
    cairn.cli(&["remote", "add", "o", "manifest", &server.url("/"), "--policy", "on_demand"]);
    cairn.cli(&["sync", "lib", "o"]);
    let filler = disk.fill();
    for number in 0..3 {
        assert_eq!(fs::read(cairn.versions("lib/1").join(names[number])).unwrap(), bodies[number]);
    }
    assert_eq!(absent(&cairn), 4, "nothing is kept");
    let requests = server.asked().len();
    assert!(requests <= 3 + 3, "each is fetched once, however many reads it takes: {requests}");
    let large = cairn.versions("lib/1/large");
    assert_eq!(errno_of(&fs::read(&large).unwrap_err()), Errno::IO);
    let message = cairn.cli_fails(&["prefetch", "lib/1/tiny"]);
    assert!(message.contains("no room"), "{message}");
    fs::remove_file(filler).unwrap();
    wait::until("it is tried again", || fs::read(&large).is_ok_and(|read| read == bodies[3]));
    // What was not kept is in memory for a moment.
    wait::until("all is kept", || cairn.run(&["prefetch", "lib"]).status.success());
    assert_eq!(absent(&cairn), 0);
    cairn.stop();
    fsck::check_clean_store(&cairn.store());
}

/// What came in a file is moved into the pool: there would be no room for a copy.
#[test]
fn h37_a_large_content_takes_its_space_once() {
    let disk = Disk::small(DISK_BYTES);
    let mut cairn = Cairn::start_in(&disk.at);
    let big = content::bytes(7, 80 << 20);
    let site = Site::default();
    site.set_manifest(&[("big", &big)]);
    let server = site.serve();
    cairn.cli(&["remote", "add", "o", "manifest", &server.url("/"), "--policy", "on_demand"]);
    cairn.cli(&["sync", "lib", "o"]);
    assert!(fs::read(cairn.versions("lib/1/big")).unwrap() == big);
    assert_eq!(absent(&cairn), 0);
    assert_eq!(cairn.json(&["status"])["partial_file_count"], 0);
    cairn.restart();
    assert!(fs::read(cairn.versions("lib/1/big")).unwrap() == big);
    cairn.stop();
    fsck::check_clean_store(&cairn.store());
}

/// More is read than the disk has room for: what was read before makes room (L15).
#[test]
fn l15_a_full_disk_drops_what_is_cached() {
    let disk = Disk::small(DISK_BYTES);
    let mut cairn = Cairn::start_in(&disk.at);
    let bodies: Vec<_> = (0..30).map(|number| content::bytes(number, 9 << 20)).collect();
    let names: Vec<_> = (0..30).map(|number| format!("f{number}")).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&bodies).map(|(name, body)| (name.as_str(), &body[..])).collect();
    let site = Site::default();
    site.set_manifest(&files);
    let server = site.serve();
    cairn.cli(&["remote", "add", "o", "manifest", &server.url("/"), "--policy", "streamed"]);
    cairn.cli(&["sync", "lib", "o"]);
    for (name, body) in &files {
        assert!(fs::read(cairn.versions("lib/1").join(name)).unwrap() == **body, "{name}");
    }
    assert_eq!(server.asked().len(), 1 + files.len(), "each is fetched once");
    assert!((5..=15).contains(&(30 - absent(&cairn))), "{} are absent", absent(&cairn));
    // A writer finds the floor free.
    let area = cairn.area("own", "v1");
    fs::write(area.join("new"), &bodies[0][..4 << 20]).unwrap();
    cairn.publish("own", "v1").unwrap();
    cairn.stop();
    fsck::check_store(&cairn.store());
}
