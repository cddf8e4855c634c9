//! Names of content that a manifest declares with its size (H41, L9): the same whoever fetched the bytes, and when.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cairn::model::digest::Sha256;
use cairn::model::hash::BlobHash;
use rustix::fs::getxattr;

use crate::shared::{Synced, files};
use support::http::Site;
use support::{Cairn, fsck};

const FILES: &[(&str, &[u8])] = &[("a", b"first"), ("dir/b", b"second"), ("empty", b"")];

fn put(site: &Site, files: &[(&str, &[u8])]) {
    let mut manifest = String::new();
    for (path, content) in files {
        site.put(path, content);
        manifest.push_str(&format!("{path},{},{}\n", Sha256::of(content), content.len()));
    }
    site.put("PULP_MANIFEST", manifest.as_bytes());
}

/// A repository `lib` with nothing in it yet, and a remote of the kind `manifest`.
fn with_manifest(files: &[(&str, &[u8])]) -> Synced {
    let site = Site::default();
    put(&site, files);
    let server = site.serve();
    let cairn = Cairn::start();
    cairn.cli(&["remote", "add", "origin", "manifest", &server.url("/")]);
    Synced { cairn, site, server }
}

fn attribute(path: &Path, name: &str) -> Option<String> {
    let mut value = [0; 64];
    let length = getxattr(path, format!("user.cairn.{name}"), &mut value[..]).ok()?;
    Some(String::from_utf8(value[..length].to_vec()).unwrap())
}

#[track_caller]
fn clean(synced: Synced) {
    let Synced { mut cairn, .. } = synced;
    cairn.stop();
    fsck::check_clean_store(&cairn.store());
}

#[test]
fn a_declared_digest_can_be_asked_for() {
    let synced = with_manifest(FILES);
    synced.sync(&["--mirror"]);
    let path = synced.cairn.versions("lib/1/dir/b");
    assert_eq!(attribute(&path, "sha256").unwrap(), Sha256::of(b"second").to_string());
    assert_eq!(attribute(&path, "hash").unwrap(), BlobHash::of(b"second").to_string());
    // In an area over it, too, until the file is changed.
    let area = synced.cairn.staging("lib/work@latest");
    fs::create_dir(&area).unwrap();
    assert_eq!(
        attribute(&area.join("dir/b"), "sha256").unwrap(),
        Sha256::of(b"second").to_string()
    );
    fs::write(area.join("dir/b"), "changed").unwrap();
    fs::File::open(area.join("dir/b")).unwrap().sync_all().unwrap();
    assert_eq!(attribute(&area.join("dir/b"), "sha256"), None);
    fs::rename(area.join("a"), area.join("moved")).unwrap();
    synced.cairn.cli(&["commit", "lib/work"]);
    let moved = synced.cairn.versions("lib/2/moved");
    assert_eq!(attribute(&moved, "sha256").unwrap(), Sha256::of(b"first").to_string());
    clean(synced);
}

/// An import of a copy of a mirror changes no content.
#[test]
fn what_is_copied_over_a_mirror_keeps_its_names() {
    let synced = with_manifest(FILES);
    synced.sync(&["--mirror"]);
    let copy = synced.cairn.scratch().join("copy");
    fs::create_dir_all(copy.join("dir")).unwrap();
    for (path, content) in FILES {
        fs::write(copy.join(path), content).unwrap();
        let times = fs::metadata(synced.cairn.versions("lib/1").join(path)).unwrap();
        let times = fs::FileTimes::new().set_modified(times.modified().unwrap());
        fs::File::options().write(true).open(copy.join(path)).unwrap().set_times(times).unwrap();
    }
    let import = ["import", copy.to_str().unwrap(), "lib", "--mirror", "--json"];
    let imported: serde_json::Value = serde_json::from_str(&synced.cairn.cli(&import)).unwrap();
    for (path, content) in FILES.iter().filter(|(_, content)| !content.is_empty()) {
        let newest =
            synced.cairn.versions(format!("lib/{}", imported["version"]["number"])).join(path);
        assert_eq!(attribute(&newest, "sha256").unwrap(), Sha256::of(content).to_string());
    }
    let differences =
        synced.cairn.cli(&["diff", "lib/1", &format!("lib/{}", imported["version"]["number"])]);
    assert!(!differences.lines().any(|line| line.ends_with("dir/b")), "{differences}");
    clean(synced);
}

/// The first sync over what came in some other way gives it the declared names, and fetches nothing of it.
#[test]
fn what_is_there_already_is_named_anew_and_not_fetched() {
    let synced = with_manifest(FILES);
    let area = synced.cairn.staging("lib/work");
    fs::create_dir_all(area.join("dir")).unwrap();
    for (path, content) in FILES {
        fs::write(area.join(path), content).unwrap();
    }
    synced.cairn.cli(&["commit", "lib/work"]);
    let before = fs::metadata(synced.cairn.versions("lib/1/a")).unwrap().modified().unwrap();
    synced.sync(&["--mirror"]);
    assert_eq!(synced.server.asked().len(), 1, "the manifest alone");
    assert_eq!(synced.version(2), files(&synced.cairn.versions("lib/1")));
    let named = synced.cairn.versions("lib/2/a");
    assert_eq!(attribute(&named, "sha256").unwrap(), Sha256::of(b"first").to_string());
    assert_eq!(fs::metadata(named).unwrap().modified().unwrap(), before, "it is as old as it was");
    let differences = synced.cairn.cli(&["diff", "lib/1", "lib/2"]);
    assert_eq!(
        differences.lines().filter(|line| line.starts_with('M')).count(),
        0,
        "{differences}"
    );
    clean(synced);
}

/// Two stores that sync the same manifest have equal trees, whatever each had before.
#[test]
fn equal_manifests_make_equal_trees() {
    let first = with_manifest(FILES);
    first.sync(&["--mirror"]);
    let second = with_manifest(&[("old", b"second"), ("a", b"another")]);
    second.sync(&["--mirror"]);
    put(&second.site, FILES);
    second.sync(&["--mirror", "--max-delete", "100%"]);
    let hash = |synced: &Synced, version| {
        let path = synced.cairn.versions(format!("lib/{version}/dir/b"));
        (attribute(&path, "sha256"), attribute(&path, "hash"))
    };
    assert_eq!(hash(&first, 1), hash(&second, 2));
    assert_eq!(first.version(1), second.version(2));
    clean(second);
}

/// Files that are one stay one.
#[test]
fn a_hardlink_is_not_broken_by_a_declared_name() {
    let synced = with_manifest(&[("f1", b"shared")]);
    let area = synced.cairn.staging("lib/work");
    fs::create_dir_all(&area).unwrap();
    fs::write(area.join("f1"), "shared").unwrap();
    fs::hard_link(area.join("f1"), area.join("x")).unwrap();
    synced.cairn.cli(&["commit", "lib/work"]);
    synced.sync(&[]);
    let newest = synced.cairn.tags("lib/latest");
    let links = |name: &str| fs::metadata(newest.join(name)).unwrap().nlink();
    assert_eq!((links("f1"), links("x")), (2, 2));
    clean(synced);
}

/// What was lost is fetched by the sync that declares it, whether the remote has changed or not.
#[test]
fn r5_a_sync_heals_what_it_declares() {
    let mut synced = with_manifest(FILES);
    synced.sync(&["--mirror"]);
    let hash = BlobHash::of(b"second").to_string();
    let blob = synced.cairn.store().join("pool").join(&hash[..2]).join(&hash[2..]);
    synced.cairn.stop();
    fs::remove_file(&blob).unwrap();
    synced.cairn.mount();
    synced.cairn.run(&["fsck"]);
    fs::read(synced.cairn.versions("lib/1/dir/b")).unwrap_err();
    synced.sync(&["--mirror"]);
    assert_eq!(fs::read(synced.cairn.versions("lib/1/dir/b")).unwrap(), b"second");
    clean(synced);
}
