//! statvfs(3)

use rustix::fs::statvfs;

use support::Area;

#[test]
fn shows_the_space_of_the_disk_below() {
    let area = Area::new();
    let found = statvfs(area.root()).unwrap();
    assert!(found.f_blocks > 0 && found.f_bavail > 0 && found.f_bsize >= 512);
    assert!(found.f_bavail <= found.f_blocks);
    assert_eq!(found.f_namemax, 255);
    if let Some(cairn) = area.cairn() {
        let disk = statvfs(cairn.store()).unwrap();
        assert_eq!(found.f_blocks * found.f_frsize, disk.f_blocks * disk.f_frsize);
    }
}

#[test]
fn df_prints_it() {
    let area = Area::new();
    let output = std::process::Command::new("df").arg(area.root()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
