//! Opens paths that the caller of a command named, and lets no stranger lead the command elsewhere.
//!
//! Root may name a path below a directory that another user can write to. That user can replace any
//! component by a symbolic link, at any time, and the kernel would follow it with root's rights
//! (H24). So a path is walked one component at a time, each relative to the directory that was
//! opened before, and a symbolic link is followed only if
//! - root or the caller owns it, or
//! - what it leads to belongs to the owner of the link, who could have done the same without us.
//!
//! Whoever continues below what was opened here must do so by descriptor, too.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, StatxFlags, fstat, fstatfs, mkdirat, openat,
    readlinkat, statx,
};
use rustix::io::Errno;

/// Symbolic links followed on one path; the kernel's own limit.
const LINKS_MAX: u32 = 40;
/// Why a path is not followed into a filesystem that is avoided.
pub(crate) const OWN_MOUNT: &str = "the path leads into the mount of this store, which its daemon cannot read itself; \
                                    `cairn import` can";
/// `PROC_SUPER_MAGIC`: links there may name open files, which have no path.
const PROC: u64 = 0x9fa0;

/// Opens a directory, whose path may lead through symbolic links as the module says.
///
/// # Errors
/// The kernel's; `PermissionDenied` with words for a link that is not followed.
pub(crate) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let found = open(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(&found, c".", flags, Mode::empty())?)
}

/// Opens whatever is at a path, without reading it (`O_PATH`): a FIFO does not block, and a device
/// does not notice. See [`reopen`].
///
/// # Errors
/// As [`open_directory`].
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    open_outside(path, &[])
}

/// Major and minor number of the device of a filesystem.
pub(crate) type Device = (u32, u32);

/// As [`open`], for a path that must not lead through any of these filesystems. They are not asked anything,
/// so that a daemon does not wait for its own answer (R8).
///
/// # Errors
/// As [`open_directory`]; `PermissionDenied` with words for a path that leads through one of them.
pub(crate) fn open_outside(path: &Path, avoided: &[Device]) -> io::Result<OwnedFd> {
    if path.as_os_str().is_empty() {
        return Err(Errno::NOENT.into());
    }
    let mut walk = Walk::start(avoided)?;
    walk.push(path.as_os_str());
    walk.run()?;
    Ok(walk.at)
}

/// The device of the filesystem on which `name` in `directory` is; where something is mounted there, of what is mounted.
/// The kernel answers without asking that filesystem for anything, so this returns also where it is a mount of ours
/// that nobody answers (R8).
///
/// # Errors
/// The kernel's.
pub(crate) fn device_at(directory: impl AsFd, name: &[u8]) -> Result<Device, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let found = statx(directory, name, flags, StatxFlags::empty())?;
    Ok((found.stx_dev_major, found.stx_dev_minor))
}

/// Opens the directory that holds the last component of a path, and returns that component.
///
/// # Errors
/// As [`open_directory`]; `InvalidInput` for a path that ends in no name.
pub(crate) fn open_parent(path: &Path) -> io::Result<(OwnedFd, CString)> {
    let nameless =
        || io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a name");
    let name = path.file_name().ok_or_else(nameless)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((open_directory(parent.unwrap_or(Path::new(".")))?, CString::new(name.as_bytes())?))
}

/// Makes the directories of a path that are missing, with `mode`, and opens the last one.
///
/// # Errors
/// As [`open_directory`].
pub(crate) fn make_directories(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    match open_directory(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directories(parent, mode)?;
    }
    let (parent, name) = open_parent(path)?;
    match mkdirat(&parent, &name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    open_directory(path)
}

/// The path by which the kernel knows an open file of this process, for calls that take no
/// descriptor. It leads to the file itself, also where that is a symbolic link.
pub(crate) fn own_path(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// Opens what [`open`] found for reading.
///
/// # Errors
/// The kernel's.
pub(crate) fn reopen(found: impl AsFd) -> io::Result<std::fs::File> {
    std::fs::File::open(own_path(found))
}

/// A path being walked.
struct Walk<'a> {
    at: OwnedFd,
    /// Filesystems that are not entered.
    avoided: &'a [Device],
    /// What is left to do, the next step last.
    steps: Vec<Step>,
    links: u32,
}

enum Step {
    Root,
    Enter(OsString),
    /// The link of `owner` has been followed to its end, which must belong to the same user.
    Check {
        owner: u32,
        link: OsString,
    },
}

impl<'a> Walk<'a> {
    fn start(avoided: &'a [Device]) -> io::Result<Self> {
        let at = openat(CWD, c".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { at, avoided, steps: Vec::new(), links: 0 })
    }

    /// Has `path` walked next.
    fn push(&mut self, path: &OsStr) {
        let steps = Path::new(path).components().rev().filter_map(|component| match component {
            Component::RootDir => Some(Step::Root),
            Component::CurDir | Component::Prefix(_) => None,
            Component::ParentDir => Some(Step::Enter("..".into())),
            Component::Normal(name) => Some(Step::Enter(name.to_owned())),
        });
        self.steps.extend(steps);
    }

    fn run(&mut self) -> io::Result<()> {
        while let Some(step) = self.steps.pop() {
            match step {
                Step::Root => {
                    self.at = openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
                }
                Step::Enter(name) => self.enter(name)?,
                Step::Check { owner, link } => {
                    if fstat(&self.at)?.st_uid != owner {
                        return Err(not_followed(&link, owner));
                    }
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, name: OsString) -> io::Result<()> {
        if !self.avoided.is_empty() && self.avoided.contains(&device_at(&self.at, name.as_bytes())?)
        {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, OWN_MOUNT));
        }
        let found = enter(&self.at, &name)?;
        let stat = fstat(&found)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            self.at = found;
            return Ok(());
        }
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP.into());
        }
        if !is_trusted(&stat) {
            self.steps.push(Step::Check { owner: stat.st_uid, link: name.clone() });
        }
        if u64::try_from(fstatfs(&found)?.f_type).is_ok_and(|kind| kind == PROC) {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            self.at = openat(&self.at, &name, flags, Mode::empty())?;
            return Ok(());
        }
        let target = readlinkat(&found, c"", Vec::new())?;
        self.push(&OsString::from_vec(target.into_bytes()));
        Ok(())
    }
}

/// Opens one component. Directories are opened for reading where that is allowed, since `O_PATH`
/// would not have an automounter mount what belongs there.
fn enter(at: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(at, name, directory, Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(at, name, flags, Mode::empty())
        }
        opened => opened,
    }
}

fn is_trusted(link: &Stat) -> bool {
    link.st_uid == 0 || link.st_uid == rustix::process::geteuid().as_raw()
}

fn not_followed(link: &OsStr, owner: u32) -> io::Error {
    let link = link.display();
    let text = format!(
        "the symbolic link `{link}` belongs to user {owner} and leads to a file of somebody else, so it is not followed"
    );
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// The first directory above `path` in which a user other than root and the caller could replace
/// what `path` leads to, and who owns it; `None` when nobody can.
///
/// Needed by what works with paths and not with descriptors, SQLite above all. Members of the
/// caller's own group count as the caller, as they do for others with a group of their own.
///
/// # Errors
/// As [`open_directory`].
pub(crate) fn changeable_by_others(path: &Path) -> io::Result<Option<(std::path::PathBuf, u32)>> {
    let real = std::fs::canonicalize(path)?;
    let caller = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut below = rustix::fs::statat(CWD, &real, AtFlags::SYMLINK_NOFOLLOW)?;
    for directory in real.ancestors().skip(1) {
        let found = rustix::fs::statat(CWD, directory, AtFlags::SYMLINK_NOFOLLOW)?;
        if lets_others_replace(&found, &below, caller) {
            return Ok(Some((directory.to_owned(), found.st_uid)));
        }
        below = found;
    }
    Ok(None)
}

/// Whether a user other than root and the caller, who is this user in this group, could replace the name `below` in
/// a directory.
fn lets_others_replace(directory: &Stat, below: &Stat, (user, group): (u32, u32)) -> bool {
    let is_ours = |found: &Stat| found.st_uid == 0 || found.st_uid == user;
    let by_group =
        directory.st_mode & 0o020 != 0 && directory.st_gid != 0 && directory.st_gid != group;
    let by_all = directory.st_mode & 0o002 != 0;
    // In a sticky directory only the owner of a name can replace it.
    let is_kept = directory.st_mode & 0o1000 != 0 && is_ours(below);
    !is_ours(directory) || ((by_group || by_all) && !is_kept)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};

    use super::*;

    const STRANGER: u32 = 4321;

    fn inode(file: &OwnedFd) -> u64 {
        fstat(file).unwrap().st_ino
    }

    #[test]
    fn own_links_lead_where_they_say() {
        let home = tempfile::tempdir().unwrap();
        let real = home.path().join("real/deep");
        fs::create_dir_all(&real).unwrap();
        symlink("real", home.path().join("relative")).unwrap();
        symlink(&real, home.path().join("absolute")).unwrap();
        symlink("relative/deep/../deep", home.path().join("chain")).unwrap();
        symlink("loop", home.path().join("loop")).unwrap();
        let wanted = fs::metadata(&real).unwrap().ino();
        for path in
            ["real/deep", "relative/deep", "absolute", "chain", "./real//deep/", "real/deep/."]
        {
            assert_eq!(inode(&open_directory(&home.path().join(path)).unwrap()), wanted, "{path}");
        }
        let looped = open(&home.path().join("loop")).unwrap_err();
        assert_eq!(looped.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        let missing = open(&home.path().join("real/none/x")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let (parent, name) = open_parent(&home.path().join("relative/new")).unwrap();
        assert_eq!(inode(&parent), fs::metadata(home.path().join("real")).unwrap().ino());
        assert_eq!(name.as_c_str(), c"new");
        assert!(open_parent(Path::new("/")).is_err());
    }

    #[test]
    fn a_strangers_link_leads_only_to_what_is_theirs() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        for directory in ["mine/inside", "theirs/inside"] {
            fs::create_dir_all(path(directory)).unwrap();
        }
        for directory in ["theirs", "theirs/inside"] {
            chown(path(directory), Some(STRANGER), Some(STRANGER)).unwrap();
        }
        for (link, target) in [("theirs/out", "../mine"), ("theirs/within", "inside")] {
            symlink(target, path(link)).unwrap();
            lchown(path(link), Some(STRANGER), Some(STRANGER)).unwrap();
        }
        open_directory(&path("theirs/within")).unwrap();
        for refused in ["theirs/out", "theirs/out/inside"] {
            let error = open_directory(&path(refused)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{refused}");
            assert!(error.to_string().contains("belongs to user 4321"), "{error}");
        }
        make_directories(&path("theirs/out/new/a"), 0o700).unwrap_err();
        assert!(!path("mine/new").exists());
        make_directories(&path("theirs/new/a"), 0o700).unwrap();
        assert_eq!(fs::metadata(path("theirs/new/a")).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_is_open_already_has_a_path_too() {
        let file = tempfile::tempfile().unwrap();
        let path = own_path(&file);
        let found = open(Path::new(&path)).unwrap();
        assert_eq!(inode(&found), file.metadata().unwrap().ino());
        assert!(reopen(&found).unwrap().metadata().unwrap().is_file());
        assert!(open(Path::new("/dev/null")).is_ok());
    }

    #[test]
    fn who_else_could_replace_a_path_is_told() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("a/b/target");
        fs::create_dir_all(&target).unwrap();
        assert_eq!(changeable_by_others(&target).unwrap(), None);
        let above = home.path().join("a");
        let set = |mode| fs::set_permissions(&above, fs::Permissions::from_mode(mode)).unwrap();
        let real = above.canonicalize().unwrap();
        set(0o757);
        assert_eq!(changeable_by_others(&target).unwrap(), Some((real.clone(), 0)));
        set(0o1777);
        assert_eq!(changeable_by_others(&target).unwrap(), None);
        chown(above.join("b"), Some(STRANGER), None).unwrap();
        assert_eq!(changeable_by_others(&target).unwrap().unwrap().1, STRANGER);
        chown(above.join("b"), Some(0), None).unwrap();
        set(0o775);
        chown(&above, None, Some(STRANGER)).unwrap();
        assert_eq!(changeable_by_others(&target).unwrap(), Some((real, 0)));
    }

    /// A caller of user 7 in group 8. Members of root's group and of the caller's are no others.
    #[test]
    fn h24_who_may_write_to_a_directory_may_replace_what_is_in_it() {
        let any = rustix::fs::stat("/").unwrap();
        let of = |user, group, mode| {
            let mut found = any;
            (found.st_uid, found.st_gid, found.st_mode) = (user, group, mode);
            found
        };
        for (user, group, mode, below, others_may) in [
            (7, 8, 0o755, 7, false),
            (7, 8, 0o775, 7, false),
            (7, 0, 0o775, 7, false),
            (7, 9, 0o755, 7, false),
            (7, 9, 0o775, 7, true),
            (0, 9, 0o775, 7, true),
            (7, 8, 0o757, 7, true),
            (0, 0, 0o702, 0, true),
            (0, 0, 0o755, 9, false),
            (9, 8, 0o700, 7, true),
            (9, 8, 0o1700, 7, true),
            (0, 9, 0o1775, 7, false),
            (0, 0, 0o1777, 0, false),
            (7, 8, 0o1777, 9, true),
            (0, 9, 0o1775, 9, true),
            (0, 0, 0o1755, 9, false),
        ] {
            let (directory, below) = (of(user, group, mode), of(below, 8, 0o700));
            let case = format!("{user}:{group} {mode:o}, {} in it", below.st_uid);
            assert_eq!(lets_others_replace(&directory, &below, (7, 8)), others_may, "{case}");
        }
    }
}
