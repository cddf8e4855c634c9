//! Facts read from a machine that is made of files, and what the checks find in facts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::facts::{Device, Facts, MountFacts, StoreFacts, Updatedb};
use super::{Finding, Severity, examine};
use crate::sys::FsSpace;

const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
40 22 0:41 / /m rw - fuse.cairn /s rw,user_id=0,group_id=0\n\
41 40 0:42 / /m/versions ro - fuse.cairn /s ro,user_id=0,group_id=0\n";

/// A machine on which nothing is wrong, with a store.
fn machine() -> (tempfile::TempDir, tempfile::TempDir) {
    let (root, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (path, text) in [
        ("dev/fuse", ""),
        ("usr/bin/fusermount3", ""),
        ("usr/bin/updatedb", ""),
        ("etc/fuse.conf", "# mount_max = 1000\n  user_allow_other\n"),
        (
            "etc/updatedb.conf",
            "PRUNE_BIND_MOUNTS=\"yes\"\nPRUNEFS=\"nfs Fuse.Cairn\"\nPRUNEPATHS = \"/tmp /var/spool\"\n",
        ),
        ("proc/sys/kernel/osrelease", "6.18.44-custom\n"),
        ("proc/sys/fs/fuse/default_request_timeout", "0\n"),
        ("proc/sys/fs/fuse/max_request_timeout", "0\n"),
        ("proc/sys/vm/overcommit_memory", "0\n"),
        ("proc/cpuinfo", "processor : 0\nflags\t\t: fpu hypervisor sse\n"),
        (
            "proc/self/limits",
            "Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  524288  files\n",
        ),
        ("proc/self/mountinfo", MOUNTS),
        ("sys/module/fuse/parameters/enable_uring", "Y\n"),
        ("sys/module/haltpoll/parameters/guest_halt_poll_ns", "200000\n"),
        ("sys/class/bdi/0:41/read_ahead_kb", "1024\n"),
        ("sys/class/bdi/0:42/read_ahead_kb", "1024\n"),
        ("sys/class/bdi/254:0/read_ahead_kb", "128\n"),
    ] {
        write(root.path(), path, text);
    }
    let helper = root.path().join("usr/bin/fusermount3");
    fs::set_permissions(helper, fs::Permissions::from_mode(0o4755)).unwrap();
    write(store.path(), "catalog.db", "");
    (root, store)
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn found(root: &Path, store: &Path) -> Vec<(&'static str, Severity)> {
    let (findings, _) = examine(&Facts::read(root, Some(store)));
    // How full this machine's disk is does not matter.
    let findings =
        findings.into_iter().filter(|finding| !["space", "inodes"].contains(&finding.check));
    findings.map(|finding| (finding.check, finding.severity)).collect()
}

#[test]
fn o3_a_machine_that_is_set_up_well_has_no_findings() {
    let (root, store) = machine();
    assert_eq!(found(root.path(), store.path()), []);
    let empty = tempfile::tempdir().unwrap();
    let (findings, checks) = examine(&Facts { is_root: true, ..Facts::read(empty.path(), None) });
    let names: Vec<_> = findings.iter().map(|finding| finding.check).collect();
    assert_eq!(names, ["fuse_device", "fusermount"], "what cannot be read is no finding");
    assert!(checks > 15, "{checks}");
}

#[test]
fn o3_each_file_of_the_machine_is_looked_at() {
    use Severity::{Bad, Note, Warning};
    for (path, text, check, severity) in [
        ("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n", "kernel", Note),
        ("proc/sys/fs/fuse/max_request_timeout", "120\n", "request_timeout", Warning),
        ("proc/sys/vm/overcommit_memory", "2\n", "overcommit", Warning),
        ("proc/self/limits", "Max open files  1024  4096  files\n", "open_files", Warning),
        ("sys/module/fuse/parameters/enable_uring", "N\n", "uring", Note),
        ("sys/module/haltpoll/parameters/guest_halt_poll_ns", "0\n", "halt_poll", Warning),
        ("sys/class/bdi/0:42/read_ahead_kb", "128\n", "read_ahead", Warning),
        ("sys/class/bdi/254:0/read_ahead_kb", "16\n", "store_read_ahead", Warning),
        ("etc/updatedb.conf", "PRUNEFS=\"nfs\"\n", "updatedb", Warning),
        ("proc/self/mountinfo", "22 1 0:7 / / rw - tmpfs none rw\n", "file_system", Bad),
        (
            "proc/self/mountinfo",
            "22 1 0:7 / / rw - ext4 /dev/x rw,nobarrier\n",
            "mount_options",
            Bad,
        ),
    ] {
        let (root, store) = machine();
        write(root.path(), path, text);
        assert_eq!(found(root.path(), store.path()), [(check, severity)], "{path}: {text}");
    }
    let (root, store) = machine();
    fs::remove_dir_all(root.path().join("dev")).unwrap();
    rustix::fs::unlink(store.path().join("catalog.db")).unwrap();
    assert_eq!(found(root.path(), store.path()), [("fuse_device", Bad), ("store", Bad)]);
}

/// What the checks find in facts that differ from good ones.
fn findings(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = Facts {
        now: 1_000,
        kernel: Some((6, 18)),
        fusermount: Some(true),
        allow_other: true,
        store: Some(StoreFacts {
            path: "/s".into(),
            exists: true,
            kind: "ext4".to_owned(),
            target: "/".into(),
            latest: Some(1_000),
            ..StoreFacts::default()
        }),
        ..Facts::default()
    };
    change(&mut facts);
    examine(&facts).0
}

fn severities(change: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Severity)> {
    findings(change).into_iter().map(|finding| (finding.check, finding.severity)).collect()
}

fn of_store(change: impl FnOnce(&mut StoreFacts)) -> Vec<(&'static str, Severity)> {
    severities(|facts| change(facts.store.as_mut().unwrap()))
}

#[test]
fn o3_what_only_users_need_is_no_fault_for_root() {
    use Severity::{Bad, Note, Warning};
    for (is_root, severity) in [(true, Note), (false, Bad)] {
        let none = severities(|facts| (facts.is_root, facts.fusermount) = (is_root, None));
        assert_eq!(none, [("fusermount", severity)]);
        let plain = severities(|facts| (facts.is_root, facts.fusermount) = (is_root, Some(false)));
        assert_eq!(plain, [("fusermount", severity)]);
    }
    assert_eq!(severities(|facts| facts.allow_other = false), [("allow_other", Note)]);
    let connections =
        |is_root| severities(|facts| (facts.is_root, facts.connections) = (is_root, Some(false)));
    assert_eq!((connections(true), connections(false)), (vec![], vec![("connections", Warning)]));
    assert_eq!(severities(|facts| (facts.is_root, facts.allow_other) = (true, false)), []);
    assert_eq!(severities(|facts| facts.device = Device::Denied), [("fuse_device", Bad)]);
}

#[test]
fn o3_a_store_on_a_disk_that_loses_or_refuses_content_is_bad() {
    use Severity::{Bad, Warning};
    for (kind, severity) in [
        ("tmpfs", Bad),
        ("nfs4", Bad),
        ("vfat", Bad),
        ("overlay", Warning),
        ("fuse.mergerfs", Warning),
    ] {
        assert_eq!(
            of_store(|store| store.kind = kind.to_owned()),
            [("file_system", severity)],
            "{kind}"
        );
    }
    for (option, severity) in [("barrier=0", Bad), ("ro", Warning), ("dirsync", Warning)] {
        let options = vec![option.to_owned()];
        assert_eq!(
            of_store(|store| store.options = options),
            [("mount_options", severity)],
            "{option}"
        );
    }
}

#[test]
fn o3_room_and_the_clock_are_looked_at() {
    use Severity::{Bad, Warning};
    let space = |free_gib: u64, files_free: u64| FsSpace {
        block_size: 1 << 30,
        blocks: 100,
        blocks_free: free_gib,
        blocks_available: free_gib,
        files: 1000,
        files_free,
    };
    for (free_gib, files_free, expected) in [
        (5, 50, &[][..]),
        (4, 50, &[("space", Warning)]),
        (0, 50, &[("space", Bad)]),
        (5, 49, &[("inodes", Warning)]),
        (5, 0, &[("inodes", Bad)]),
    ] {
        let found = of_store(|store| store.space = Some(space(free_gib, files_free)));
        assert_eq!(found, expected, "{free_gib} {files_free}");
    }
    assert_eq!(of_store(|store| store.latest = Some(1_002)), []);
    assert_eq!(of_store(|store| store.latest = Some(4_600)), [("clock", Warning)]);
}

#[test]
fn o3_updatedb_is_told_of_mounts_by_type_or_by_path() {
    let mount = |target: &str| MountFacts {
        target: target.into(),
        device: (0, 41),
        read_ahead_kib: Some(1024),
    };
    let updatedb = |paths: &[&str]| {
        let pruned_paths = paths.iter().map(Into::into).collect();
        Some(Updatedb { pruned_types: vec!["nfs".to_owned()], pruned_paths })
    };
    let found = |mounts: Vec<MountFacts>, paths: &[&str]| {
        severities(|facts| (facts.mounts, facts.updatedb) = (mounts, updatedb(paths)))
    };
    assert_eq!(found(vec![mount("/m"), mount("/m/versions")], &["/m"]), []);
    assert_eq!(found(vec![mount("/m"), mount("/n")], &["/m"]), [("updatedb", Severity::Warning)]);
    assert_eq!(found(Vec::new(), &["/m"]), [("updatedb", Severity::Note)]);
    assert_eq!(severities(|facts| facts.mounts = vec![mount("/m")]), [], "it is not installed");
}

#[test]
fn o3_findings_say_what_they_cost_and_the_worst_comes_first() {
    let all = findings(|facts| {
        facts.uring = Some(false);
        facts.overcommit = Some(2);
        facts.device = Device::Missing;
    });
    let order: Vec<_> = all.iter().map(|finding| finding.check).collect();
    assert_eq!(order, ["fuse_device", "overcommit", "uring"]);
    for Finding { message, cost, command, .. } in &all {
        assert!(!message.ends_with('.') && !cost.is_empty() && command.is_some(), "{message}");
    }
}
