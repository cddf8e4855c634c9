//! Finds the store that a command means when neither `--store` nor `CAIRN_STORE` names one.
//!
//! Two places are looked at, in this order:
//!
//! 1. the mount that the working directory lies on, if it is one of cairn;
//! 2. the mounts of cairn that belong to this user, if they all show one store.
//!
//! Only mounts that this user made count, and where the working directory lies on one of root's,
//! that one. Whoever mounts a FUSE filesystem chooses the text that the table of mounts shows as
//! its source. So the mount of a stranger could lead a command of root to any store. Nothing here
//! asks a filesystem anything: a dead mount cannot make a command hang.

use std::path::{Path, PathBuf};

use crate::control::protocol::{ControlError, ErrorKind};
use crate::fuse::mount::{MountEntry, MountTable};

/// A store that was found by looking at the mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its directory.
    pub(super) store: PathBuf,
    /// Where it is mounted.
    pub(super) target: PathBuf,
}

/// Finds the store from `table`, the working directory and the user who asks.
///
/// # Errors
/// No store can be told from it, or several.
pub(super) fn find(
    table: &MountTable,
    directory: Option<&Path>,
    user: u32,
) -> Result<Found, ControlError> {
    if let Some(here) = directory.and_then(|directory| outermost(table, directory)) {
        // Root's mounts lead nobody astray.
        if ![Some(user), Some(0)].contains(&here.user) {
            let message = format!("the mount at {} belongs to another user", here.target.display());
            return Err(ControlError::new(ErrorKind::Usage, message)
                .with_hint("name its store: --store PATH, or set CAIRN_STORE"));
        }
        return named(here);
    }
    let mut own: Vec<&MountEntry> = table.of_cairn().filter(|m| m.user == Some(user)).collect();
    own.sort_by_key(|mount| mount.id);
    let Some(first) = own.first() else {
        return Err(ControlError::new(ErrorKind::Usage, "no store was given, and none is mounted")
            .with_hint("say --store PATH, or set CAIRN_STORE"));
    };
    if let Some(other) = own.iter().find(|mount| mount.source != first.source) {
        let message = format!(
            "no store was given, and several are mounted: {} at {}, {} at {}",
            first.source.display(),
            first.target.display(),
            other.source.display(),
            other.target.display()
        );
        return Err(ControlError::new(ErrorKind::Usage, message)
            .with_hint("work inside one of the mounts, say --store PATH, or set CAIRN_STORE"));
    }
    named(first)
}

/// What a path is in the versions of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InVersions {
    /// The store, as its mount names it.
    pub(super) store: PathBuf,
    /// `REPO/VERSION/PATH`
    pub(super) path: PathBuf,
}

/// Finds a path, which is without symbolic links, in the versions of a mounted store. Bind mounts of parts count as well.
pub(super) fn in_versions(table: &MountTable, path: &Path) -> Option<InVersions> {
    let mount = table.containing(path).filter(|mount| mount.is_cairn())?;
    // The mount that the daemon made of this filesystem comes first.
    let made = table.all().find(|made| made.device == mount.device)?;
    let ours = |other: &&MountEntry| other.is_cairn() && other.source == made.source;
    let is_nested = table
        .by_id(made.parent)
        .filter(ours)
        .is_some_and(|outer| made.target == outer.target.join("versions"));
    let is_beside = table.all().filter(ours).any(|outer| {
        let mut beside = outer.target.clone().into_os_string();
        beside.push(".versions");
        made.target.as_os_str() == beside
    });
    let below = mount.root.strip_prefix("/").ok()?.join(path.strip_prefix(&mount.target).ok()?);
    let is_inside = (is_nested || is_beside) && below.components().next().is_some();
    is_inside.then(|| InVersions { store: made.source.clone(), path: below })
}

/// The mount of cairn that `path` lies on; of one nested in another, the outer one.
fn outermost<'a>(table: &'a MountTable, path: &Path) -> Option<&'a MountEntry> {
    let mut mount = table.containing(path).filter(|mount| mount.is_cairn())?;
    while let Some(parent) = table.by_id(mount.parent)
        && parent.is_cairn()
        && parent.source == mount.source
    {
        mount = parent;
    }
    Some(mount)
}

/// The store that a mount names as its source. One with the option `fsname` names something else.
fn named(mount: &MountEntry) -> Result<Found, ControlError> {
    if !mount.source.is_absolute() {
        let message = format!(
            "the mount at {} shows the name {} in place of its store",
            mount.target.display(),
            mount.source.display()
        );
        return Err(ControlError::new(ErrorKind::Usage, message)
            .with_hint("say --store PATH, or set CAIRN_STORE"));
    }
    Ok(Found { store: mount.source.clone(), target: mount.target.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw - ext4 /dev/vda rw\n\
40 22 0:41 / /m rw - fuse.cairn /s rw,user_id=0,group_id=0\n\
41 40 0:42 / /m/versions ro - fuse.cairn /s ro,user_id=0,group_id=0\n\
50 22 0:51 / /home/ann/m rw - fuse.cairn /home/ann/s rw,user_id=1000,group_id=1000\n\
51 22 0:52 / /run/user/1000/v ro - fuse.cairn /home/ann/s ro,user_id=1000,group_id=1000\n";

    fn found(more: &str, directory: &str, user: u32) -> Result<String, String> {
        let table = MountTable::parse(format!("{TABLE}{more}").as_bytes()).unwrap();
        find(&table, Some(Path::new(directory)), user)
            .map(|found| format!("{} at {}", found.store.display(), found.target.display()))
            .map_err(|error| error.message)
    }

    #[test]
    fn the_working_directory_comes_first_then_the_only_store() {
        for (directory, user, expected) in [
            ("/m", 0, "/s at /m"),
            ("/m/staging/r", 0, "/s at /m"),
            ("/m/versions/r/1", 0, "/s at /m"),
            ("/home/ann/m/tags", 1000, "/home/ann/s at /home/ann/m"),
            ("/", 0, "/s at /m"),
            ("/tmp", 1000, "/home/ann/s at /home/ann/m"),
            ("/m/staging/r", 1000, "/s at /m"),
        ] {
            assert_eq!(found("", directory, user).unwrap(), expected, "{directory}");
        }
    }

    #[test]
    fn a_path_is_found_in_the_versions_of_its_mount() {
        let more = "70 22 0:42 /web/7 /srv/web ro - fuse.cairn /s ro,user_id=0,group_id=0\n\
                    80 22 0:80 / /n rw - fuse.cairn /t rw,user_id=0,group_id=0\n\
                    81 22 0:81 / /n.versions ro - fuse.cairn /t ro,user_id=0,group_id=0\n";
        let table = MountTable::parse(format!("{TABLE}{more}").as_bytes()).unwrap();
        for (path, expected) in [
            ("/m/versions/web/7/a", Some(("/s", "web/7/a"))),
            ("/m/versions/web", Some(("/s", "web"))),
            ("/srv/web/a/b", Some(("/s", "web/7/a/b"))),
            ("/srv/web", Some(("/s", "web/7"))),
            ("/n.versions/lib/1", Some(("/t", "lib/1"))),
            ("/m/versions", None),
            ("/m/staging/web/x", None),
            ("/n/staging/web/x", None),
            ("/home", None),
        ] {
            let found = in_versions(&table, Path::new(path));
            let expected =
                expected.map(|(store, path)| InVersions { store: store.into(), path: path.into() });
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn nobody_is_led_to_a_store_by_a_mount_of_somebody_else() {
        let error = found("", "/home/ann/m", 0).unwrap_err();
        assert!(error.contains("another user"), "{error}");
        let error = found("", "/tmp", 7).unwrap_err();
        assert!(error.contains("none is mounted"), "{error}");
    }

    #[test]
    fn several_stores_and_a_hidden_one_are_said() {
        let second = "60 22 0:61 / /n rw - fuse.cairn /t rw,user_id=0,group_id=0\n";
        let error = found(second, "/", 0).unwrap_err();
        assert!(error.contains("/s at /m, /t at /n"), "{error}");
        assert_eq!(found(second, "/n", 0).unwrap(), "/t at /n");
        let hidden = "60 22 0:61 / /n rw - fuse.cairn data rw,user_id=0,group_id=0\n";
        let error = found(hidden, "/n", 0).unwrap_err();
        assert!(error.contains("data in place of its store"), "{error}");
    }
}
