//! `cairn unmount` beside users that no process shows: loop devices, overlays, bind mounts, files on
//! their way from one process to another; and copies of the mount in other namespaces (H17)

use std::fs::{self, File};
use std::io::IoSlice;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cairn::sys::send_fds;

use support::{Cairn, mounts};

/// Runs a program that must succeed; returns what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Something mounted or attached by a test, undone when it is dropped.
struct Undo(&'static str, Vec<String>);

impl Drop for Undo {
    fn drop(&mut self) {
        Command::new(self.0).args(&self.1).status().ok();
    }
}

/// The command is refused with the exit code for what is busy, and nothing has changed.
#[track_caller]
fn assert_refused(cairn: &Cairn, expected: &str) {
    let before = mounts::below(&cairn.mnt()).len();
    let output = cairn.run(&["unmount", text(&cairn.mnt())]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("is in use") && said.contains(expected), "{said}");
    assert_eq!(mounts::below(&cairn.mnt()).len(), before);
    assert!(cairn.is_usable());
    assert_eq!(fs::read(cairn.versions("lib/1/f")).unwrap(), b"content");
}

/// A store with a version and an area that holds an image.
fn scene() -> (Cairn, PathBuf) {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "first");
    fs::write(area.join("f"), "content").unwrap();
    cairn.publish("lib", "first").unwrap();
    let area = cairn.area("lib", "images");
    let image = area.join("image");
    File::create(&image).unwrap().set_len(1 << 20).unwrap();
    (cairn, image)
}

fn attach(image: &Path) -> (PathBuf, Undo) {
    let device = run("losetup", &["--find", "--show", text(image)]);
    let undo = Undo("losetup", vec!["--detach".to_owned(), device.clone()]);
    (PathBuf::from(device), undo)
}

#[test]
fn a_loop_device_keeps_the_mount() {
    let (mut cairn, image) = scene();
    let (device, attached) = attach(&image);
    assert_refused(&cairn, &format!("the loop device {}", device.display()));
    let disk = File::options().write(true).open(&device).unwrap();
    disk.write_all_at(b"synced", 4096).unwrap();
    disk.sync_data().unwrap();
    drop(disk);
    drop(attached);
    cairn.cli(&["unmount", text(&cairn.mnt())]);
    assert!(cairn.wait_for_exit().success());
    cairn.mount();
    let mut found = [0; 6];
    File::open(&image).unwrap().read_exact_at(&mut found, 4096).unwrap();
    assert_eq!(&found, b"synced");
}

#[test]
fn a_loop_device_does_not_keep_the_daemon_from_sigterm() {
    let (mut cairn, image) = scene();
    let (device, attached) = attach(&image);
    let disk = File::options().write(true).open(&device).unwrap();
    disk.write_all_at(b"synced", 4096).unwrap();
    disk.sync_data().unwrap();
    cairn.stop();
    assert!(cairn.log().contains("the loop device"), "{}", cairn.log());
    drop((disk, attached));
    cairn.mount();
    let mut found = [0; 6];
    File::open(&image).unwrap().read_exact_at(&mut found, 4096).unwrap();
    assert_eq!(&found, b"synced");
}

#[test]
fn an_overlay_keeps_the_mount() {
    let (mut cairn, _) = scene();
    let scratch = cairn.scratch();
    for name in ["upper", "work", "merged"] {
        fs::create_dir(scratch.join(name)).unwrap();
    }
    let (lower, merged) = (cairn.versions("lib/1"), scratch.join("merged"));
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        scratch.join("upper").display(),
        scratch.join("work").display()
    );
    run("mount", &["-t", "overlay", "overlay", "-o", &options, text(&merged)]);
    let laid = Undo("umount", vec![text(&merged).to_owned()]);
    assert_refused(&cairn, &format!("the overlay at {}", merged.display()));
    assert_eq!(fs::read(merged.join("f")).unwrap(), b"content");
    drop(laid);
    cairn.cli(&["unmount", text(&cairn.mnt())]);
    assert!(cairn.wait_for_exit().success());
}

#[test]
fn a_bind_mount_of_a_version_keeps_the_mount() {
    let (mut cairn, _) = scene();
    let place = cairn.scratch().join("bound");
    fs::create_dir(&place).unwrap();
    run("mount", &["--bind", text(&cairn.versions("lib/1")), text(&place)]);
    let bound = Undo("umount", vec!["--lazy".to_owned(), text(&place).to_owned()]);
    assert_refused(&cairn, &format!("the bind mount at {}", place.display()));
    let said = cairn.cli_fails(&["unmount", text(&place)]);
    assert!(said.contains("belongs to the mount"), "{said}");
    drop(bound);
    cairn.cli(&["unmount", text(&cairn.mnt())]);
    assert!(cairn.wait_for_exit().success());
}

#[test]
fn a_lazy_unmount_takes_bind_mounts_along() {
    let (mut cairn, _) = scene();
    let place = cairn.scratch().join("bound");
    fs::create_dir(&place).unwrap();
    run("mount", &["--bind", text(&cairn.versions("lib/1")), text(&place)]);
    let _bound = Undo("umount", vec!["--lazy".to_owned(), text(&place).to_owned()]);
    cairn.cli(&["unmount", "--lazy", text(&cairn.mnt())]);
    assert!(cairn.wait_for_exit().success());
    assert!(mounts::below(&cairn.scratch()).is_empty());
}

#[test]
fn what_only_the_kernel_knows_of_keeps_both_mounts() {
    let (mut cairn, image) = scene();
    // A file that was sent and not received is open in no process.
    for path in [image, cairn.versions("lib/1/f")] {
        let (here, there) = UnixStream::pair().unwrap();
        let file = File::open(path).unwrap();
        send_fds(&here, &[IoSlice::new(b"x")], &[file.as_fd()]).unwrap();
        drop(file);
        for _ in 0..3 {
            assert_refused(&cairn, "");
        }
        drop((here, there));
    }
    // The mount that was put back is the daemon's own again.
    cairn.stop();
    cairn.mount();
    cairn.cli(&["unmount", text(&cairn.mnt())]);
    assert!(cairn.wait_for_exit().success());
}

#[test]
fn a_copy_in_another_namespace_is_not_waited_for() {
    let (mut cairn, _) = scene();
    let mut other = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", "cd /; echo ready; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(other.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    cairn.cli(&["unmount", text(&cairn.mnt())]);
    assert!(cairn.wait_for_exit().success());
    other.stdin.take().unwrap().write_all(b"\n").unwrap();
    other.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
    other.wait().unwrap();
}
