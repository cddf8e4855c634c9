//! N2, N6, N7: `mv staging/REPO/NAME tags/REPO/` publishes

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use support::{Cairn, area::hash_of, check, content, errno, wait};

fn mv(from: &Path, to: &Path) -> std::process::Output {
    Command::new("mv").args([from, to]).output().unwrap()
}

fn versions(cairn: &Cairn, repository: &str) -> Vec<String> {
    let entries = fs::read_dir(cairn.versions(repository)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn mv_publishes_the_next_version_under_its_name() {
    let cairn = Cairn::start();
    for number in 1..=3 {
        let name = format!("v{number}");
        let area = cairn.area("lib", &name);
        fs::write(area.join("f"), &name).unwrap();
        let output = mv(&area, &cairn.tags("lib"));
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        let tag = fs::read_link(cairn.tags("lib").join(&name)).unwrap();
        assert_eq!(tag, Path::new(&format!("../../versions/lib/{number}")));
        assert_eq!(fs::read_to_string(cairn.tags("lib").join(&name).join("f")).unwrap(), name);
        let version = cairn.versions(format!("lib/{number}/f"));
        assert_eq!(fs::read_to_string(version).unwrap(), name);
        assert_eq!(errno(fs::metadata(&area)), Errno::NOENT, "the area is gone");
    }
    assert_eq!(versions(&cairn, "lib"), ["1", "2", "3"], "oldest first");
}

/// Changes a closed file of `size` bytes in a way that leaves nobody to close it afterwards, or
/// nothing to seal.
type Touch = fn(&Path, u64);

#[test]
fn a_file_is_published_whatever_changed_it_last() {
    let touches: [(&str, Touch); 5] = [
        ("truncate", |path, size| {
            File::options().write(true).open(path).unwrap().set_len(size).unwrap();
        }),
        ("read-only-truncate", |path, _| {
            let flags = OFlags::RDONLY | OFlags::TRUNC;
            rustix::fs::open(path, flags, Mode::empty()).unwrap();
        }),
        ("fallocate", |path, size| {
            let file = File::options().write(true).open(path).unwrap();
            rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, size).unwrap();
        }),
        ("copy-nothing", |path, _| {
            let file = File::options().read(true).write(true).open(path).unwrap();
            let copied = rustix::fs::copy_file_range(&file, None, &file, Some(&mut 0), 0);
            assert_eq!(copied.unwrap(), 0);
        }),
        ("utimens", |path, _| {
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
    ];
    let cairn = Cairn::start();
    for (name, touch) in touches {
        for size in [5_u32, 3_000_000] {
            let name = format!("{name}-{size}");
            let area = cairn.area("lib", &name);
            let path = area.join("f");
            fs::write(&path, content::bytes(1, size as usize)).unwrap();
            wait::until("it is sealed", || hash_of(&path).is_some());
            touch(&path, size.into());
            let expected = fs::read(&path).unwrap();
            let output = mv(&area, &cairn.tags("lib"));
            assert!(output.status.success(), "{name}: {output:?}");
            let published = fs::read(cairn.tags("lib").join(&name).join("f")).unwrap();
            assert!(published == expected, "{name}");
        }
    }
}

#[test]
fn versions_are_listed_oldest_first_beyond_nine() {
    let cairn = Cairn::start();
    for number in 1..=12 {
        fs::write(cairn.area("lib", "a").join("f"), format!("{number}")).unwrap();
        fs::rename(cairn.staging("lib/a"), cairn.tags(format!("lib/{number}"))).unwrap();
        // Listed before each commit too: the cached listing must not stay.
        assert_eq!(versions(&cairn, "lib").len(), number);
    }
    let expected: Vec<_> = (1..=12).map(|number| number.to_string()).collect();
    assert_eq!(versions(&cairn, "lib"), expected);
}

#[test]
fn a_number_publishes_without_a_tag_and_only_the_next_one() {
    let cairn = Cairn::start();
    cairn.area("lib", "a");
    fs::write(cairn.staging("lib/a/f"), "x").unwrap();
    let publish = |number: &str| fs::rename(cairn.staging("lib/a"), cairn.tags("lib").join(number));
    assert_eq!(errno(publish("2")), Errno::RANGE);
    assert_eq!(errno(publish("13")), Errno::RANGE);
    publish("1").unwrap();
    assert_eq!(versions(&cairn, "lib"), ["1"]);
    assert_eq!(tags(&cairn), ["latest"], "no tag was made");
    fs::create_dir(cairn.staging("lib/a")).unwrap();
    fs::write(cairn.staging("lib/a/f"), "y").unwrap();
    let publish = |number: &str| fs::rename(cairn.staging("lib/a"), cairn.tags("lib").join(number));
    assert_eq!(errno(publish("1")), Errno::EXIST);
    publish("2").unwrap();
    assert_eq!(versions(&cairn, "lib"), ["1", "2"]);
}

fn tags(cairn: &Cairn) -> Vec<String> {
    let entries = fs::read_dir(cairn.tags("lib")).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_destination_names_the_version() {
    let cairn = Cairn::start();
    fs::write(cairn.area("lib", "work").join("f"), "x").unwrap();
    fs::rename(cairn.staging("lib/work"), cairn.tags("lib/release")).unwrap();
    assert_eq!(tags(&cairn), ["latest", "release"]);
}

#[test]
fn the_base_is_no_part_of_the_name() {
    let cairn = Cairn::start();
    fs::write(cairn.area("lib", "one").join("f"), "x").unwrap();
    cairn.publish("lib", "one").unwrap();
    fs::write(cairn.area("lib", "two@latest").join("g"), "y").unwrap();
    let output = mv(&cairn.staging("lib/two@latest"), &cairn.tags("lib"));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(tags(&cairn), ["latest", "one", "two"]);
    assert!(cairn.tags("lib/two/f").exists() && cairn.tags("lib/two/g").exists());
}

#[test]
fn an_existing_tag_is_refused_and_the_area_stays() {
    let cairn = Cairn::start();
    fs::write(cairn.area("lib", "v1").join("f"), "first").unwrap();
    cairn.publish("lib", "v1").unwrap();
    let area = cairn.area("lib", "v1");
    fs::write(area.join("f"), "second").unwrap();
    assert!(!mv(&area, &cairn.tags("lib")).status.success());
    check::one_of(fs::rename(&area, cairn.tags("lib/v1")), &[Errno::EXIST, Errno::NOTDIR]);
    assert_eq!(fs::read(area.join("f")).unwrap(), b"second");
    assert_eq!(versions(&cairn, "lib"), ["1"]);
    assert_eq!(fs::read(cairn.tags("lib/v1/f")).unwrap(), b"first");
    fs::write(area.join("g"), "still writable").unwrap();
    fs::rename(&area, cairn.tags("lib/v2")).unwrap();
    assert_eq!(fs::read(cairn.tags("lib/v2/g")).unwrap(), b"still writable");
}

#[test]
fn reserved_and_ill_formed_names_are_refused_and_the_area_stays() {
    let cairn = Cairn::start();
    fs::write(cairn.area("lib", "a").join("f"), "x").unwrap();
    for name in ["latest", "0", "with\nnewline", "a@b@c"] {
        let refused = fs::rename(cairn.staging("lib/a"), cairn.tags("lib").join(name));
        let found = errno(refused);
        assert!(!matches!(found, Errno::XDEV | Errno::STALE | Errno::IO), "{name:?}: {found:?}");
        assert!(cairn.staging("lib/a/f").exists());
    }
    assert!(versions(&cairn, "lib").is_empty());
}

#[test]
fn it_never_answers_exdev() {
    let cairn = Cairn::start();
    fs::write(cairn.area("lib", "a").join("f"), "x").unwrap();
    fs::create_dir(cairn.staging("other")).unwrap();
    let into_another_repository = fs::rename(cairn.staging("lib/a"), cairn.tags("other/a"));
    assert_ne!(errno(into_another_repository), Errno::XDEV);
    let a_directory_of_the_area = {
        fs::create_dir(cairn.staging("lib/a/d")).unwrap();
        fs::rename(cairn.staging("lib/a/d"), cairn.tags("lib/d"))
    };
    assert_ne!(errno(a_directory_of_the_area), Errno::XDEV);
    assert!(cairn.staging("lib/a/d").is_dir());
    assert!(versions(&cairn, "lib").is_empty() && versions(&cairn, "other").is_empty());
}

#[test]
fn mv_into_versions_fails_and_loses_nothing() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    fs::write(area.join("f"), "x").unwrap();
    assert!(!mv(&area, &cairn.versions("lib")).status.success());
    assert_eq!(fs::read(area.join("f")).unwrap(), b"x");
}

#[test]
fn an_equal_tree_makes_no_version_and_moves_the_name() {
    let cairn = Cairn::start();
    for name in ["one", "two"] {
        let area = cairn.area("lib", name);
        fs::create_dir(area.join("d")).unwrap();
        fs::write(area.join("d/f"), "same").unwrap();
        for path in ["d/f", "d", "."] {
            let stamp = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            File::open(area.join(path)).unwrap().set_modified(stamp).unwrap();
        }
        cairn.publish("lib", name).unwrap();
        assert_eq!(errno(fs::metadata(&area)), Errno::NOENT);
    }
    assert_eq!(versions(&cairn, "lib"), ["1"]);
    for name in ["one", "two", "latest"] {
        let target = fs::read_link(cairn.tags("lib").join(name)).unwrap();
        assert_eq!(target, Path::new("../../versions/lib/1"));
    }
    fs::write(cairn.area("lib", "three").join("f"), "different").unwrap();
    cairn.publish("lib", "three").unwrap();
    assert_eq!(versions(&cairn, "lib"), ["1", "2"], "no number was used up");
}

#[test]
fn an_empty_area_is_a_version_too() {
    let cairn = Cairn::start();
    cairn.area("lib", "empty");
    cairn.publish("lib", "empty").unwrap();
    assert_eq!(fs::read_dir(cairn.versions("lib/1")).unwrap().count(), 0);
}

#[test]
fn the_published_tree_is_at_once_complete() {
    let cairn = Cairn::start();
    for round in 0..5_u64 {
        let area = cairn.area("lib", "a");
        for index in 0..100 {
            fs::write(area.join(format!("f{index}")), content::bytes(round * 1000 + index, 3000))
                .unwrap();
        }
        fs::rename(&area, cairn.tags(format!("lib/r{round}"))).unwrap();
        for index in 0..100 {
            let path = cairn.tags(format!("lib/r{round}/f{index}"));
            assert!(fs::read(path).unwrap() == content::bytes(round * 1000 + index, 3000));
        }
    }
}

#[test]
fn a_reader_sees_no_version_or_all_of_it() {
    let cairn = Cairn::start();
    fs::create_dir(cairn.staging("lib")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut most = 0;
            while !stop.load(Ordering::Relaxed) {
                for version in versions(&cairn, "lib") {
                    let path = cairn.versions("lib").join(&version);
                    assert_eq!(fs::read_dir(&path).unwrap().count(), 50, "version {version}");
                    assert_eq!(fs::read_to_string(path.join("f49")).unwrap(), version);
                    most = most.max(version.parse().unwrap());
                }
            }
            most
        });
        for number in 1..=20 {
            let area = cairn.area("lib", "a");
            for index in 0..50 {
                fs::write(area.join(format!("f{index}")), number.to_string()).unwrap();
            }
            fs::rename(&area, cairn.tags(format!("lib/{number}"))).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        let seen: u32 = reader.join().unwrap();
        assert!(seen > 0, "the reader saw at least one version");
    });
}

#[test]
fn handles_into_a_published_area_still_read_and_do_not_write() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    fs::write(area.join("f"), "content").unwrap();
    let (file, directory) = (File::open(area.join("f")).unwrap(), File::open(&area).unwrap());
    cairn.publish("lib", "a").unwrap();
    let mut buffer = [0; 7];
    file.read_exact_at(&mut buffer, 0).unwrap();
    assert_eq!(&buffer, b"content");
    let made = rustix::fs::mkdirat(&directory, "x", rustix::fs::Mode::RWXU);
    check::one_of(made, &[Errno::ROFS, Errno::NOENT]);
    assert_eq!(errno(fs::metadata(cairn.versions("lib/1/x"))), Errno::NOENT);
}

#[test]
fn two_areas_filled_at_once_commit_independently() {
    let cairn = Cairn::start();
    let areas = [cairn.area("lib", "a"), cairn.area("lib", "b")];
    std::thread::scope(|scope| {
        for (seed, area) in areas.iter().enumerate() {
            scope.spawn(move || {
                for index in 0..200 {
                    let text = format!("{seed} {index}");
                    fs::write(area.join(format!("f{index}")), text).unwrap();
                }
            });
        }
    });
    cairn.publish("lib", "b").unwrap();
    cairn.publish("lib", "a").unwrap();
    assert_eq!(fs::read_to_string(cairn.tags("lib/b/f7")).unwrap(), "1 7");
    assert_eq!(fs::read_to_string(cairn.tags("lib/a/f199")).unwrap(), "0 199");
    assert_eq!(fs::read_link(cairn.tags("lib/latest")).unwrap().file_name().unwrap(), "2");
}

#[test]
fn a_repository_may_have_many_areas_and_names_beside_each_other() {
    let cairn = Cairn::start();
    cairn.area("lib", "a");
    cairn.publish("lib", "a").unwrap();
    for name in ["x", "y", "z@1", "w@latest"] {
        fs::write(cairn.area("lib", name).join("mine"), name).unwrap();
    }
    let mut listed: Vec<_> = fs::read_dir(cairn.staging("lib"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    listed.sort();
    assert_eq!(listed, ["w@latest", "x", "y", "z@1"]);
}

#[test]
fn large_and_small_files_arrive_whole() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    for (name, size) in
        [("empty", 0), ("tiny", 1), ("page", 4096), ("mib", 1 << 20), ("big", 9 << 20)]
    {
        let mut file = File::create(area.join(name)).unwrap();
        file.write_all(&content::bytes(size as u64, size)).unwrap();
    }
    cairn.publish("lib", "a").unwrap();
    for (name, size) in
        [("empty", 0), ("tiny", 1), ("page", 4096), ("mib", 1 << 20), ("big", 9 << 20)]
    {
        let found = fs::read(cairn.versions("lib/1").join(name)).unwrap();
        assert!(found == content::bytes(size as u64, size), "{name}");
    }
}

#[test]
fn a_change_that_fails_keeps_no_area_from_being_published() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    for (name, size) in [("small", 10), ("large", 2_000_000)] {
        let bytes = content::bytes(1, size);
        fs::write(area.join(name), &bytes).unwrap();
        let file = File::options().write(true).open(area.join(name)).unwrap();
        // No file is that large: refused once the file was made ready to be changed.
        let refused = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 1 << 60);
        assert!(refused.is_err());
        drop(file);
        assert!(fs::read(area.join(name)).unwrap() == bytes);
    }
    cairn.publish("lib", "a").unwrap();
    assert!(fs::read(cairn.versions("lib/1/large")).unwrap() == content::bytes(1, 2_000_000));
}
