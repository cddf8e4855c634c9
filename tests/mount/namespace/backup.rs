//! A backup is mounted like any store (H25)

use std::fs;
use std::os::unix::fs::symlink;

use support::{Cairn, content, fsck, tree};

#[test]
fn a_backup_made_while_the_store_is_mounted_shows_the_same_versions() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "v1");
    fs::create_dir(area.join("d")).unwrap();
    fs::write(area.join("d/large"), content::bytes(1, 3_000_000)).unwrap();
    fs::write(area.join("d/small"), "small").unwrap();
    fs::write(area.join("empty"), "").unwrap();
    fs::hard_link(area.join("d/small"), area.join("linked")).unwrap();
    symlink("d/small", area.join("link")).unwrap();
    cairn.publish("lib", "v1").unwrap();
    let area = cairn.area("lib", "v2@latest");
    fs::write(area.join("d/small"), "other").unwrap();
    cairn.publish("lib", "v2@latest").unwrap();
    symlink("1", cairn.tags("lib/kept")).unwrap();
    let open = cairn.area("lib", "open@latest");
    fs::write(open.join("d/large"), "in work").unwrap();

    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("backup");
    let report = cairn.json(&["backup", target.to_str().unwrap()]);
    assert_eq!((&report["version_count"], &report["left_out_area_count"]), (&2.into(), &1.into()));
    let mut backup = Cairn::over(&target);
    backup.mount();
    for version in ["lib/1", "lib/2"] {
        tree::assert_same_below(&cairn.versions(version), &backup.versions(version));
    }
    for tag in ["lib/kept", "lib/latest", "lib/v1"] {
        assert_eq!(
            fs::read_link(backup.tags(tag)).unwrap(),
            fs::read_link(cairn.tags(tag)).unwrap()
        );
    }
    assert_eq!(fs::read_dir(backup.staging("lib")).unwrap().count(), 0);
    let refused = cairn.cli_fails(&["backup", target.to_str().unwrap()]);
    assert!(refused.contains("the backup is in use by process"), "{refused}");
    backup.stop();
    fsck::check_clean_store(&target);
    cairn.cli(&["backup", target.to_str().unwrap()]);
    fsck::check_clean_store(&target);
    assert_eq!(fs::read(open.join("d/large")).unwrap(), b"in work");
    cairn.stop();
}
