//! `cairn export` and `cairn import`: whole results or none

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use support::cairn::binary;
use support::{Cairn, content, wait};

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn filled(bytes: usize) -> Cairn {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    let noise = content::bytes(1, bytes);
    fs::write(area.join("f"), noise).unwrap();
    cairn.publish("lib", "a").unwrap();
    cairn
}

#[test]
fn an_interrupted_export_leaves_no_archive_under_its_name() {
    let cairn = filled(64 << 20);
    let home = cairn.scratch();
    for name in ["x.tar", "x.tar.gz", "x.tar.zst"] {
        let path = home.join(name);
        let mut command = Command::new(binary());
        command.args(["export", "lib/1"]).arg(&path).env("CAIRN_STORE", cairn.store());
        let mut export = command.stdout(Stdio::null()).spawn().unwrap();
        // It has begun when it has a file of that directory open, whatever that is called.
        let files = format!("/proc/{}/fd", export.id());
        wait::until("the export writes", || {
            let open = fs::read_dir(&files).into_iter().flatten().flatten();
            let mut open = open.filter_map(|file| fs::read_link(file.path()).ok());
            open.any(|file| file.starts_with(&home)) || export.try_wait().unwrap().is_some()
        });
        assert!(!path.exists() || export.try_wait().unwrap().is_some(), "{name}");
        let pid = rustix::process::Pid::from_child(&export);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).ok();
        if !export.wait().unwrap().success() {
            assert_eq!(names(&home), Vec::<String>::new(), "{name}");
        }
        fs::read(&path).ok();
        rustix::fs::unlink(&path).ok();
    }
}

#[test]
fn an_interrupted_export_to_a_directory_leaves_nothing() {
    use rustix::process::{Pid, Signal, kill_process};
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    for number in 0..24 {
        fs::write(area.join(number.to_string()), content::bytes(number, 4 << 20)).unwrap();
    }
    cairn.publish("lib", "a").unwrap();
    let home = cairn.scratch();
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = Command::new(binary());
        command.args(["export", "lib/1"]).arg(home.join("x")).env("CAIRN_STORE", cairn.store());
        let mut export = command.stdout(Stdio::null()).spawn().unwrap();
        wait::until("the export writes", || {
            !names(&home).is_empty() || export.try_wait().unwrap().is_some()
        });
        kill_process(Pid::from_child(&export), signal).ok();
        // One that was whole before the signal came is there, and one that was not is gone.
        let expected: &[&str] = if export.wait().unwrap().success() { &["x"] } else { &[] };
        assert_eq!(names(&home), expected);
        fs::remove_dir_all(home.join("x")).ok();
    }
}

/// A version that holds the store's versions would be followed by one that holds that one, too.
#[test]
fn what_shows_the_whole_store_is_not_imported_into_it() {
    let cairn = filled(1000);
    let (mnt, link) = (cairn.mnt(), cairn.scratch().join("link"));
    std::os::unix::fs::symlink(&mnt, &link).unwrap();
    let above = mnt.parent().unwrap().to_owned();
    for source in [mnt.clone(), above, link, mnt.join("versions"), mnt.join("staging")] {
        let said = cairn.cli_fails(&["import", source.to_str().unwrap(), "copy"]);
        assert!(said.contains("cannot import itself"), "{}: {said}", source.display());
        assert!(!cairn.staging("copy").exists(), "{}", source.display());
    }
    let version = cairn.versions("lib/1");
    cairn.cli(&["import", version.to_str().unwrap(), "copy"]);
    let copied = fs::read(cairn.versions("copy/1/f")).unwrap();
    assert_eq!(copied, fs::read(version.join("f")).unwrap());
}

#[test]
fn archives_of_every_kind_come_back() {
    let cairn = filled(300_000);
    for (number, name) in ["x.tar", "x.tar.gz", "x.tgz", "x.tar.zst", "x.tzst"].iter().enumerate() {
        let path = cairn.scratch().join(name);
        let path = path.to_str().unwrap();
        cairn.cli(&["export", "lib/1", path]);
        let said = cairn.cli_fails(&["export", "lib/1", path]);
        assert!(said.contains("exists"), "{said}");
        cairn.cli(&["import", path, &format!("copy{number}")]);
        let copy = cairn.versions(format!("copy{number}/1/f"));
        assert_eq!(fs::read(copy).unwrap(), fs::read(cairn.versions("lib/1/f")).unwrap(), "{name}");
    }
    for name in ["x.zip", "x.tar.xz", "x.zst"] {
        let path = cairn.scratch().join(name);
        let output = cairn.run(&["export", "lib/1", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(!path.exists(), "{name}");
    }
}

#[test]
fn a_failed_import_takes_the_repository_that_it_made_along() {
    let cairn = Cairn::start();
    let bad = cairn.scratch().join("bad.tar");
    fs::File::create(&bad).unwrap().write_all(&[b'x'; 4096]).unwrap();
    cairn.cli(&["create", "older"]);
    for repository in ["new", "older"] {
        cairn.cli_fails(&["import", bad.to_str().unwrap(), repository]);
    }
    assert_eq!(names(&cairn.staging("")), ["older"], "only what the import had made");

    // The command is killed while it sends.
    let mut command = Command::new(binary());
    command.args(["import", "-", "killed"]).env("CAIRN_STORE", cairn.store());
    let mut import = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    wait::until("the import has begun", || cairn.staging("killed").exists());
    import.kill().unwrap();
    import.wait().unwrap();
    wait::until("the repository is gone", || !cairn.staging("killed").exists());

    // Somebody else has use for it meanwhile.
    let mut import = Command::new(binary());
    import.args(["import", "-", "shared"]).env("CAIRN_STORE", cairn.store());
    let mut import = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    wait::until("the import has begun", || cairn.staging("shared").exists());
    fs::create_dir(cairn.staging("shared/area")).unwrap();
    import.kill().unwrap();
    import.wait().unwrap();
    cairn.cli(&["areas", "shared"]);
    assert!(cairn.staging("shared/area").exists());
}
