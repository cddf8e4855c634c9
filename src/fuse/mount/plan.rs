//! What is decided before anything is mounted: whether the mount point will do, and where the
//! versions go.
//!
//! Normally the read-only filesystem of versions is mounted inside the read-write one. `fusermount3`
//! cannot do that: it runs as root, and the kernel keeps root out of a user's mount unless it was
//! mounted with allow_other (H16). Then versions are mounted beside, and the outer filesystem
//! shows `versions` as a symlink to that place.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use log::{info, warn};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::error::MountError;
use super::options::MountOptions;
use super::table::{MountEntry, MountId, MountTable};
use super::{Force, Method, unmount_entry};

/// How long a mount may take to answer before it counts as hanging.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// The configuration of `fusermount3`.
const FUSE_CONF: &str = "/etc/fuse.conf";

/// Where the read-only filesystem of versions is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionsPlacement {
    /// On the directory `versions` of the outer filesystem.
    Nested,
    /// On a directory of its own, to which the outer filesystem shows `versions` as a symlink.
    Beside(PathBuf),
}

/// A checked mount: what [`crate::daemon::run::serve`] carries out.
#[derive(Debug, Clone)]
pub struct MountPlan {
    /// The mount point, absolute and without symlinks.
    pub target: PathBuf,
    /// The store, absolute and without symlinks.
    pub store: PathBuf,
    /// The options of the outer filesystem; those of versions follow from them.
    pub options: MountOptions,
    /// Where versions are mounted.
    pub versions: VersionsPlacement,
    /// How the mounts are made.
    pub method: Method,
}

impl MountPlan {
    /// Checks the mount point, cleans up dead mounts of an earlier daemon, and decides the rest.
    ///
    /// The caller owns the store's lock: another mount of this store can only be a leftover.
    ///
    /// # Errors
    ///
    /// Returns the [`MountError`] that says why nothing can be mounted there.
    pub fn prepare(
        target: &Path,
        store: &Path,
        options: MountOptions,
        method: Method,
    ) -> Result<Self, MountError> {
        let root = geteuid().is_root();
        check_privileges(&options, root)?;
        let store = store.canonicalize().map_err(|source| examine("find", store, source))?;
        clean_dead_mounts(|entry| entry.source == store)?;
        let target = check_target(target, &store, &options)?;
        let helper = method == Method::Helper || !root;
        let versions = if root || options.allow_other || !helper {
            VersionsPlacement::Nested
        } else {
            VersionsPlacement::Beside(beside(&target))
        };
        Ok(Self { target, store, options, versions, method })
    }

    /// What the kernel lists as the source of the mounts.
    pub fn source(&self) -> &OsStr {
        self.options.source(&self.store)
    }

    /// Where versions are mounted, as a path.
    pub fn versions_target(&self) -> PathBuf {
        match &self.versions {
            VersionsPlacement::Nested => self.target.join("versions"),
            VersionsPlacement::Beside(path) => path.clone(),
        }
    }

    /// The options of the filesystem of versions: as the outer one, but always read-only, which
    /// also keeps the kernel from asking for access times after each page it reads.
    pub fn versions_options(&self) -> MountOptions {
        MountOptions { read_only: true, noatime: false, ..self.options.clone() }
    }
}

/// Makes the checks of [`MountPlan::prepare`] that need no lock and change nothing, so that a
/// command can refuse before it starts a daemon. A dead mount is taken for a good mount point.
///
/// # Errors
///
/// Returns the [`MountError`] that says why nothing can be mounted there.
pub fn preflight(target: &Path, store: &Path, options: &MountOptions) -> Result<(), MountError> {
    check_privileges(options, geteuid().is_root())?;
    let target = resolve(target)?;
    let store = store.canonicalize().map_err(|source| examine("find", store, source))?;
    let table = MountTable::read()?;
    let top = table.at(&target);
    if top.is_some_and(|top| top.is_cairn() && probe(&top.target) == Probe::Dead) {
        return check_apart(&target, &store);
    }
    check_target(&target, &store, options).map(drop)
}

fn check_privileges(options: &MountOptions, root: bool) -> Result<(), MountError> {
    if root {
        return Ok(());
    }
    if options.dev {
        return Err(MountError::RootOnly("dev"));
    }
    if options.suid {
        return Err(MountError::RootOnly("suid"));
    }
    if options.allow_other {
        // Where the file cannot be read, fusermount3 gives the answer.
        let conf = fs::read_to_string(FUSE_CONF).unwrap_or_else(|_| "user_allow_other".into());
        if !permits_allow_other(&conf) {
            return Err(MountError::AllowOther);
        }
    }
    Ok(())
}

fn permits_allow_other(conf: &str) -> bool {
    conf.lines().any(|line| line.trim() == "user_allow_other")
}

/// Returns the absolute path of a mount point without symlinks, also when a dead mount on it
/// fails whoever asks for it.
///
/// # Errors
///
/// Returns [`MountError::Missing`] or what else the kernel said.
pub fn resolve(target: &Path) -> Result<PathBuf, MountError> {
    match target.canonicalize() {
        Ok(path) => return Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(MountError::Missing(target.to_owned()));
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(MountError::NotDirectory(target.to_owned()));
        }
        Err(error) if is_dead(&error) => {}
        Err(error) => return Err(examine("find", target, error)),
    }
    // The mount point itself cannot be looked at if a dead mount is on it, but its parent can.
    let absolute = std::path::absolute(target).map_err(|error| examine("find", target, error))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Ok(absolute);
    };
    let parent = parent.canonicalize().map_err(|error| examine("find", parent, error))?;
    Ok(parent.join(name))
}

fn check_target(
    target: &Path,
    store: &Path,
    options: &MountOptions,
) -> Result<PathBuf, MountError> {
    let target = resolve(target)?;
    clean_dead_mounts(|entry| entry.target == target)?;
    let metadata = fs::metadata(&target).map_err(|error| examine("examine", &target, error))?;
    if !metadata.is_dir() {
        return Err(MountError::NotDirectory(target));
    }
    check_apart(&target, store)?;
    if let Some(entry) = MountTable::read()?.at(&target)
        && (entry.is_cairn() || !options.nonempty)
    {
        return Err(MountError::AlreadyMounted {
            target,
            kind: entry.kind.clone(),
            origin: entry.source.clone(),
        });
    }
    let mut entries = fs::read_dir(&target).map_err(|error| examine("list", &target, error))?;
    if !options.nonempty && entries.next().is_some() {
        return Err(MountError::NotEmpty(target));
    }
    Ok(target)
}

fn check_apart(target: &Path, store: &Path) -> Result<(), MountError> {
    let (target, store) = (target.to_owned(), store.to_owned());
    if target.starts_with(&store) {
        return Err(MountError::InsideStore { target, store });
    }
    if store.starts_with(&target) {
        return Err(MountError::AroundStore { target, store });
    }
    Ok(())
}

/// The directory for versions that cannot be nested: in the mount point's own directory where we
/// may make one, else in the directory that the system gives each logged-in user.
fn beside(target: &Path) -> PathBuf {
    let mut name = target.file_name().map_or_else(|| OsString::from("cairn"), OsString::from);
    name.push(".versions");
    let near = target.with_file_name(&name);
    let parent = near.parent().unwrap_or(Path::new("/"));
    let writable = rustix::fs::access(parent, rustix::fs::Access::WRITE_OK).is_ok();
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) if !writable && !near.exists() => {
            PathBuf::from(directory).join("cairn").join(name)
        }
        _ => near,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    Alive,
    Dead,
    Silent,
}

/// Asks the filesystem at `target` for its size: the one request that the kernel never answers
/// from a cache, so that a dead mount with long-lived attributes is told from a living one.
fn probe(target: &Path) -> Probe {
    let (sender, answer) = mpsc::sync_channel(1);
    let target = target.to_owned();
    // A thread of its own, since a hanging daemon would hang whoever asks.
    let asker = std::thread::Builder::new().name("mount-probe".into()).spawn(move || {
        let result = rustix::fs::statfs(&target);
        if sender.send(result).is_err() {
            warn!("a mount answered, but too late");
        }
    });
    if asker.is_err() {
        return Probe::Silent;
    }
    match answer.recv_timeout(PROBE_TIMEOUT) {
        Ok(Err(error)) if is_dead(&error.into()) => Probe::Dead,
        // A mount that may not be entered belongs to somebody else, and is not judged.
        Ok(_) => Probe::Alive,
        Err(_) => Probe::Silent,
    }
}

fn is_dead(error: &io::Error) -> bool {
    let dead = [Errno::NOTCONN, Errno::CONNABORTED];
    error.raw_os_error().is_some_and(|code| dead.iter().any(|dead| dead.raw_os_error() == code))
}

/// Detaches the mounts of cairn that `select` chooses and whose daemon is gone, outermost first:
/// detaching that one takes along what is mounted inside (H17).
///
/// # Errors
///
/// Returns [`MountError::Unresponsive`] for one that does not answer at all, or what the kernel
/// said to the unmount.
pub fn clean_dead_mounts(select: impl Fn(&MountEntry) -> bool) -> Result<(), MountError> {
    let mut judged: Vec<MountId> = Vec::new();
    loop {
        // The table is read again each time, since one detach can remove several mounts.
        let table = MountTable::read()?;
        let candidates = table.of_cairn().filter(|entry| {
            let top = table.at(&entry.target).map(|top| top.id) == Some(entry.id);
            top && !judged.contains(&entry.id) && select(entry)
        });
        let Some(entry) = candidates.min_by_key(|entry| entry.target.components().count()) else {
            return Ok(());
        };
        judged.push(entry.id);
        match probe(&entry.target) {
            Probe::Alive => {}
            Probe::Silent => {
                warn!("{} does not answer", entry.target.display());
                return Err(MountError::Unresponsive(entry.target.clone()));
            }
            Probe::Dead => {
                info!("cleaning up the dead mount at {}", entry.target.display());
                unmount_entry(entry, Force::Detach)?;
            }
        }
    }
}

fn examine(action: &'static str, path: &Path, source: io::Error) -> MountError {
    MountError::Examine { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(target: &Path, store: &Path, options: &str) -> MountError {
        check_target(target, store, &options.parse().unwrap()).unwrap_err()
    }

    #[test]
    fn bad_mount_points_are_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let (store, file, full) = (root.join("store"), root.join("file"), root.join("full"));
        fs::create_dir_all(store.join("inner")).unwrap();
        fs::create_dir_all(full.join("x")).unwrap();
        fs::write(&file, "").unwrap();
        let cases = [
            (root.join("none"), "", "does not exist"),
            (file.clone(), "", "not a directory"),
            (file.join("x"), "", "not a directory"),
            (full.clone(), "", "is not empty"),
            (store.clone(), "", "inside the store"),
            (store.join("inner"), "", "inside the store"),
            (root.clone(), "nonempty", "lies inside mount point"),
            (PathBuf::from("/proc"), "", "is a mount already (proc"),
        ];
        for (target, options, says) in cases {
            let error = refusal(&target, &store, options);
            assert!(error.to_string().contains(says), "{error}");
            assert!(error.hint().is_some() || says == "not a directory", "{error}");
        }
        assert_eq!(check_target(&full, &store, &"nonempty".parse().unwrap()).unwrap(), full);
    }

    #[test]
    fn a_symlink_to_a_mount_point_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let (store, target) = (root.join("store"), root.join("target"));
        fs::create_dir(&store).unwrap();
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink("target", root.join("link")).unwrap();
        let link = root.join("link");
        assert_eq!(check_target(&link, &store, &MountOptions::default()).unwrap(), target);
        std::os::unix::fs::symlink("store", root.join("store-link")).unwrap();
        let error = refusal(&root.join("store-link"), &store, "");
        assert!(matches!(error, MountError::InsideStore { .. }));
    }

    #[test]
    fn users_need_permission_for_allow_other() {
        for (conf, permits) in [
            ("user_allow_other\n", true),
            ("  user_allow_other  \n", true),
            ("#user_allow_other\n", false),
            ("mount_max = 3\nuser_allow_other", true),
            ("", false),
        ] {
            assert_eq!(permits_allow_other(conf), permits, "{conf}");
        }
        for option in ["dev", "suid"] {
            let options = option.parse().unwrap();
            let error = check_privileges(&options, false).unwrap_err();
            assert!(matches!(error, MountError::RootOnly(name) if name == option));
            check_privileges(&options, true).unwrap();
        }
    }

    #[test]
    fn versions_are_always_read_only() {
        let plan = MountPlan {
            target: "/m".into(),
            store: "/s".into(),
            options: "allow_other,noexec".parse().unwrap(),
            versions: VersionsPlacement::Nested,
            method: Method::Auto,
        };
        assert_eq!(plan.versions_options(), "allow_other,noexec,ro".parse().unwrap());
        assert_eq!(plan.versions_target(), Path::new("/m/versions"));
        assert_eq!(beside(Path::new("/tmp/m")), Path::new("/tmp/m.versions"));
    }
}
