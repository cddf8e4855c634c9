//! A copy that goes into a repository instead of an area of it: files are refused, and say why.

use std::fs;
use std::process::Command;

use rustix::io::Errno;

use support::{Cairn, errno};

fn reason(cairn: &Cairn) -> Option<String> {
    let mut value = [0; 1000];
    let path = cairn.staging("lib");
    let length = rustix::fs::getxattr(&path, "user.cairn.error", &mut value[..]).ok()?;
    Some(String::from_utf8(value[..length].to_vec()).unwrap())
}

#[test]
fn a_file_beside_the_areas_is_refused_with_a_reason() {
    let cairn = Cairn::start();
    fs::create_dir(cairn.staging("lib")).unwrap();
    assert_eq!(reason(&cairn), None, "nothing was refused yet");
    fs::create_dir(cairn.staging("lib/area")).unwrap();
    assert_eq!(reason(&cairn), None, "that is how areas are made");

    assert_eq!(errno(fs::write(cairn.staging("lib/file"), "x")), Errno::PERM);
    let said = reason(&cairn).unwrap();
    assert!(said.contains("mkdir staging/lib/NAME"), "{said}");
    let log = cairn.log();
    assert!(log.contains("refused: only staging areas lie directly in staging/lib"), "{log}");
    fs::create_dir(cairn.staging("lib/more")).unwrap();
}

#[test]
fn rsync_and_cp_into_a_repository_fail_and_the_reason_is_logged_once() {
    let cairn = Cairn::start();
    fs::create_dir(cairn.staging("lib")).unwrap();
    let source = cairn.scratch().join("source");
    fs::create_dir_all(source.join("d")).unwrap();
    for number in 0..20 {
        fs::write(source.join(format!("f{number}")), "x").unwrap();
    }
    fs::write(source.join("d/g"), "y").unwrap();
    for (program, options) in [("rsync", "-a"), ("cp", "-r")] {
        let mut command = Command::new(program);
        command.arg(options).arg(format!("{}/.", source.display())).arg(cairn.staging("lib"));
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{program}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("Operation not permitted"), "{program}: {errors}");
    }
    assert_eq!(cairn.log().matches("refused: only staging areas").count(), 1);
    assert!(reason(&cairn).is_some());
}
