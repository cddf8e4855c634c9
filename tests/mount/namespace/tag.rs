//! N10: `ln -s 7 tags/REPO/NAME`, `ln -sfn`, `rm`

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;

use support::{Cairn, check, errno};

fn with_versions(count: u32) -> Cairn {
    let cairn = Cairn::start();
    for number in 1..=count {
        fs::write(cairn.area("lib", "a").join("f"), number.to_string()).unwrap();
        fs::rename(cairn.staging("lib/a"), cairn.tags(format!("lib/{number}"))).unwrap();
    }
    cairn
}

fn shell(cairn: &Cairn, line: &str) -> bool {
    Command::new("sh").args(["-c", line]).current_dir(cairn.mnt()).status().unwrap().success()
}

#[test]
fn made_moved_and_removed_with_ln_and_rm() {
    let cairn = with_versions(2);
    assert!(shell(&cairn, "ln -s 1 tags/lib/v1.0"));
    assert_eq!(fs::read_to_string(cairn.tags("lib/v1.0/f")).unwrap(), "1");
    let target = fs::read_link(cairn.tags("lib/v1.0")).unwrap();
    assert_eq!(target, Path::new("../../versions/lib/1"));
    assert!(shell(&cairn, "ln -sfn 2 tags/lib/v1.0"));
    assert_eq!(fs::read_to_string(cairn.tags("lib/v1.0/f")).unwrap(), "2");
    assert!(shell(&cairn, "rm tags/lib/v1.0"));
    assert_eq!(errno(fs::symlink_metadata(cairn.tags("lib/v1.0"))), Errno::NOENT);
    assert!(cairn.versions("lib/2/f").exists());
}

#[test]
fn moving_back_and_forth_is_never_stale() {
    let cairn = with_versions(2);
    symlink("1", cairn.tags("lib/current")).unwrap();
    for round in 0..20 {
        let number = if round % 2 == 0 { "2" } else { "1" };
        assert!(shell(&cairn, &format!("ln -sfn {number} tags/lib/current")));
        assert_eq!(fs::read_to_string(cairn.tags("lib/current/f")).unwrap(), number);
    }
}

#[test]
fn the_target_may_be_a_path_to_the_version() {
    let cairn = with_versions(2);
    symlink("../../versions/lib/1", cairn.tags("lib/relative")).unwrap();
    symlink(cairn.versions("lib/2"), cairn.tags("lib/absolute")).unwrap();
    assert_eq!(fs::read_to_string(cairn.tags("lib/relative/f")).unwrap(), "1");
    assert_eq!(fs::read_to_string(cairn.tags("lib/absolute/f")).unwrap(), "2");
}

#[test]
fn a_link_to_anything_else_is_einval() {
    let cairn = with_versions(1);
    cairn.area("other", "a");
    cairn.publish("other", "a").unwrap();
    for target in
        ["2", "0", "nothing", "/etc", "../../versions/other/1", "../../staging/lib", "1/f"]
    {
        let made = symlink(target, cairn.tags("lib/t"));
        assert_eq!(errno(made), Errno::INVAL, "{target}");
    }
    assert_eq!(errno(fs::symlink_metadata(cairn.tags("lib/t"))), Errno::NOENT);
}

#[test]
fn latest_and_numbers_are_reserved() {
    let cairn = with_versions(1);
    for name in ["latest", "1", "7", "007"] {
        check::one_of(symlink("1", cairn.tags("lib").join(name)), &[Errno::INVAL, Errno::EXIST]);
    }
    check::one_of(
        fs::remove_file(cairn.tags("lib/latest")),
        &[Errno::PERM, Errno::INVAL, Errno::ACCESS, Errno::BUSY],
    );
    assert_eq!(fs::read_to_string(cairn.tags("lib/latest/f")).unwrap(), "1");
}

#[test]
fn an_existing_tag_needs_to_be_replaced_on_purpose() {
    let cairn = with_versions(2);
    symlink("1", cairn.tags("lib/t")).unwrap();
    assert_eq!(errno(symlink("2", cairn.tags("lib/t"))), Errno::EXIST);
    assert_eq!(fs::read_to_string(cairn.tags("lib/t/f")).unwrap(), "1");
}

#[test]
fn tags_of_one_name_live_in_their_repositories() {
    let cairn = with_versions(2);
    fs::write(cairn.area("other", "a").join("f"), "other").unwrap();
    cairn.publish("other", "a").unwrap();
    symlink("1", cairn.tags("lib/t")).unwrap();
    symlink("1", cairn.tags("other/t")).unwrap();
    assert_eq!(fs::read_to_string(cairn.tags("lib/t/f")).unwrap(), "1");
    assert_eq!(fs::read_to_string(cairn.tags("other/t/f")).unwrap(), "other");
}

#[test]
fn survive_restart_and_crash() {
    let mut cairn = with_versions(2);
    symlink("1", cairn.tags("lib/t")).unwrap();
    cairn.restart();
    assert_eq!(fs::read_to_string(cairn.tags("lib/t/f")).unwrap(), "1");
    assert!(shell(&cairn, "ln -sfn 2 tags/lib/t"));
    cairn.restart();
    assert_eq!(fs::read_to_string(cairn.tags("lib/t/f")).unwrap(), "2");
}

#[test]
fn nothing_but_links_is_made_in_tags() {
    let cairn = with_versions(1);
    let refused = [Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::ROFS, Errno::OPNOTSUPP];
    check::one_of(fs::create_dir(cairn.tags("lib/d")), &refused);
    check::one_of(fs::write(cairn.tags("lib/f"), "x"), &refused);
    check::one_of(
        rustix::fs::mknodat(
            rustix::fs::CWD,
            cairn.tags("lib/p"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        ),
        &refused,
    );
}

#[test]
fn commands_and_links_show_the_same() {
    let cairn = with_versions(2);
    cairn.cli(&["tag", "lib/released", "2"]);
    assert_eq!(fs::read_to_string(cairn.tags("lib/released/f")).unwrap(), "2");
    symlink("1", cairn.tags("lib/by-link")).unwrap();
    let listed = cairn.json(&["versions", "lib"]).to_string();
    assert!(listed.contains("released") && listed.contains("by-link"), "{listed}");
}
