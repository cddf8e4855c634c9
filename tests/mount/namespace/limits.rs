//! R7: limits that keep one user from exhausting the daemon

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::thread;

use rustix::io::Errno;

use support::{Cairn, content, errno, wait};

/// As in `engine::areas`.
const AREAS_MAX: usize = 4096;

/// Larger than what is held in memory.
const LARGE_BYTES: usize = (1 << 20) + 4096;

#[test]
fn areas_of_a_repository_are_limited() {
    let cairn = Cairn::start();
    for number in 0..AREAS_MAX {
        cairn.area("lib", &number.to_string());
    }
    assert_eq!(errno(fs::create_dir(cairn.staging("lib/more"))), Errno::MLINK);
    let message = cairn.cli_fails(&["stage", "lib/more"]);
    assert!(message.contains("4096 staging areas are open already"), "{message}");
    let status = cairn.cli(&["status"]);
    assert!(status.contains("lib has 4096 of at most 4096 areas"), "{status}");
    cairn.area("other", "area");
    fs::remove_dir(cairn.staging("lib/7")).unwrap();
    cairn.area("lib", "more");
}

/// A daemon that may open 256 files: 128 private ones, 64 in one repository.
fn with_few_files() -> Cairn {
    let mut cairn = Cairn::unmounted();
    cairn.set_launcher(&["prlimit", "--nofile=256:256"]);
    cairn.mount();
    cairn
}

#[test]
fn many_large_files_at_once_are_refused_to_one_repository_only() {
    let cairn = with_few_files();
    let area = cairn.area("lib", "v1");
    let bytes = content::bytes(1, LARGE_BYTES);
    let mut files = Vec::new();
    let refused = loop {
        let mut file = File::create(area.join(files.len().to_string())).unwrap();
        if let Err(error) = file.write_all(&bytes) {
            break error;
        }
        files.push(file);
        assert!(files.len() < 200, "no limit");
    };
    assert_eq!(errno(Err::<(), _>(refused)), Errno::NFILE);
    assert!(files.len() >= 60, "{} are few", files.len());
    // Small ones need none, nor does reading; and others have their own.
    fs::write(area.join("small"), "x").unwrap();
    assert_eq!(fs::read(area.join("3")).unwrap(), bytes);
    let other = cairn.area("other", "v1");
    let theirs: Vec<File> = (0..20)
        .map(|number| {
            let mut file = File::create(other.join(number.to_string())).unwrap();
            file.write_all(&bytes).unwrap();
            file
        })
        .collect();
    drop(theirs);
    cairn.publish("other", "v1").unwrap();
    assert!(cairn.json(&["status"])["poisoned"].is_null());
    drop(files);
    cairn.publish("lib", "v1").unwrap();
    assert_eq!(fs::read(cairn.versions("lib/1/3")).unwrap(), bytes);
}

#[test]
fn who_waits_for_a_place_holds_up_nobody_else() {
    let mut cairn = Cairn::unmounted();
    let hold = cairn.scratch().join("hold");
    File::create(&hold).unwrap();
    cairn.set_env("CAIRN_HOLD", Some(&format!("LargeTurn:{}", hold.display())));
    cairn.set_launcher(&["prlimit", "--nofile=256:256"]);
    cairn.mount();
    let area = cairn.area("lib", "v1");
    // Not in order, so that closed files are still to be hashed, and each keeps its place.
    let write = |name: String| {
        let file = File::create(area.join(name))?;
        file.write_all_at(&content::bytes(1, LARGE_BYTES / 2), (LARGE_BYTES / 2) as u64)?;
        file.write_all_at(&content::bytes(2, LARGE_BYTES / 2), 0)
    };
    for number in 0..64 {
        write(number.to_string()).unwrap();
    }
    thread::scope(|scope| {
        // More than the daemon has workers.
        let late: Vec<_> =
            (0..4).map(|number| scope.spawn(move || write(format!("late{number}")))).collect();
        wait::until("all of them are there", || {
            (0..4).all(|number| area.join(format!("late{number}")).exists())
        });
        let other = cairn.area("other", "v1");
        for number in 0..5 {
            fs::write(other.join(number.to_string()), "x").unwrap();
        }
        fs::remove_file(&hold).unwrap();
        for late in late {
            late.join().unwrap().expect("a place came free in time");
        }
    });
    cairn.publish("lib", "v1").unwrap();
    assert_eq!(fs::metadata(cairn.versions("lib/1/late3")).unwrap().len(), LARGE_BYTES as u64);
}

#[test]
fn who_closes_files_is_slowed_down_and_never_refused() {
    let cairn = with_few_files();
    let area = cairn.area("lib", "v1");
    for number in 0..200 {
        fs::write(area.join(number.to_string()), content::bytes(number, LARGE_BYTES)).unwrap();
    }
    cairn.publish("lib", "v1").unwrap();
    for number in [0, 99, 199] {
        let found = fs::read(cairn.versions(format!("lib/1/{number}"))).unwrap();
        assert!(found == content::bytes(number, LARGE_BYTES));
    }
}
