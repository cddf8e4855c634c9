//! Who and what keeps a mount busy; here the processes.
//!
//! Everything is read from `/proc`, where paths are names that the kernel remembers: the mount
//! itself is never asked, so the search works, and ends, when its daemon hangs. Other users'
//! processes are seen by root only, and a path that another mount namespace uses is not seen at
//! all: the result names what it can.

use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::kernel_users;
use super::table::MountEntry;

/// The most processes that are listed.
const LISTED_MAX: usize = 8;

/// Who or what uses a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// A process.
    Process {
        /// Its process id.
        pid: u32,
        /// The name of its program.
        name: String,
        /// What it uses: its working directory, an open file, a mapped one.
        path: PathBuf,
    },
    /// A loop device.
    Loop {
        /// The device.
        device: PathBuf,
        /// The file that it shows.
        file: PathBuf,
    },
    /// A swap file.
    Swap(PathBuf),
    /// An overlay that has a layer there.
    Overlay {
        /// Where it is mounted.
        target: PathBuf,
        /// The layer.
        layer: PathBuf,
    },
    /// Another mount of the same filesystem.
    Bind {
        /// Where it is mounted.
        target: PathBuf,
    },
    /// A mount inside it.
    Mount {
        /// Where it is mounted.
        target: PathBuf,
        /// Type of its filesystem.
        kind: String,
    },
    /// A directory that other machines see by NFS.
    Export(PathBuf),
}

impl User {
    /// The process id, if it is a process.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Process { pid, .. } => Some(*pid),
            _ => None,
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, name, path } => {
                let name = if name.is_empty() { "process" } else { name };
                write!(f, "{name} (pid {pid}: {})", path.display())
            }
            Self::Loop { device, file } => {
                write!(f, "the loop device {} ({})", device.display(), file.display())
            }
            Self::Swap(file) => write!(f, "the swap file {}", file.display()),
            Self::Overlay { target, layer } => {
                write!(f, "the overlay at {} (layer {})", target.display(), layer.display())
            }
            Self::Bind { target } => write!(f, "the bind mount at {}", target.display()),
            Self::Mount { target, kind } => write!(f, "the mount at {} ({kind})", target.display()),
            Self::Export(path) => write!(f, "the NFS export of {}", path.display()),
        }
    }
}

/// Lists the processes that have a working directory, root, program, open file or mapping at or
/// under `target`, at most [`LISTED_MAX`].
pub(super) fn processes_using(target: &Path) -> Vec<User> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while it is looked at, so what cannot be read is no use of the mount.
        if let Some(path) = use_of(&process.path(), target) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.push(User::Process { pid, name: name.trim_end().to_owned(), path });
            if found.len() == LISTED_MAX {
                break;
            }
        }
    }
    found
}

fn use_of(process: &Path, target: &Path) -> Option<PathBuf> {
    let fixed = ["cwd", "root", "exe"].into_iter().map(|name| process.join(name));
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let mut links = fixed.chain(files.map(|file| file.path()));
    let under = |path: &PathBuf| path.starts_with(target);
    let linked = links.find_map(|link| fs::read_link(link).ok().filter(under));
    linked.or_else(|| mapped(&fs::read(process.join("maps")).ok()?, target))
}

/// Finds a path under `target` in the text of a `maps` file, where paths are the sixth column.
fn mapped(maps: &[u8], target: &Path) -> Option<PathBuf> {
    maps.split(|&byte| byte == b'\n').find_map(|line| {
        let start = line.iter().position(|&byte| byte == b'/')?;
        let path = PathBuf::from(std::ffi::OsString::from_vec(line[start..].to_vec()));
        path.starts_with(target).then_some(path)
    })
}

/// Lists all that uses a mount and can be named; `family` are the mounts of the same daemon.
pub fn users_of(entry: &MountEntry, family: &[MountEntry]) -> Vec<User> {
    let mut users = processes_using(&entry.target);
    users.extend(kernel_users::of(entry, family));
    users
}

/// Writes the users as the end of a sentence; nothing when there are none.
pub fn list(users: &[User]) -> String {
    let mut text = String::new();
    for (index, user) in users.iter().enumerate() {
        let before = if index == 0 { " by " } else { ", " };
        text.push_str(&format!("{before}{user}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_of_this_process_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        assert!(processes_using(&root).is_empty());
        let file = fs::File::create(root.join("open")).unwrap();
        let found = processes_using(&root);
        assert_eq!(found.len(), 1);
        let User::Process { pid, path, .. } = &found[0] else { panic!("{found:?}") };
        assert_eq!((*pid, path), (std::process::id(), &root.join("open")));
        drop(file);
    }

    #[test]
    fn a_mapping_is_found() {
        let maps = b"7f0-7f1 r-xp 00000000 fe:00 1234   /srv/m/versions/a b\n7f2-7f3 rw-p 0 00:00 0 [heap]\n";
        let found = mapped(maps, Path::new("/srv/m"));
        assert_eq!(found.as_deref(), Some(Path::new("/srv/m/versions/a b")));
        assert_eq!(mapped(maps, Path::new("/srv/m2")), None);
    }

    #[test]
    fn the_list_reads_as_a_sentence() {
        let user = |pid, name: &str| User::Process { pid, name: name.into(), path: "/m/f".into() };
        assert_eq!(list(&[]), "");
        assert_eq!(
            list(&[user(1, "sh"), user(2, "")]),
            " by sh (pid 1: /m/f), process (pid 2: /m/f)"
        );
    }
}
