//! The processes that keep a mount busy.
//!
//! Everything is read from `/proc`, where paths are names that the kernel remembers: the mount
//! itself is never asked, so the search works, and ends, when its daemon hangs. Other users'
//! processes are seen by root only, and a path that another mount namespace uses is not seen at
//! all: the result names what it can.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The most processes that are listed.
const LISTED_MAX: usize = 8;

/// A process that uses a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusyProcess {
    /// Its process id.
    pub pid: u32,
    /// The name of its program.
    pub name: String,
    /// What it uses: its working directory, an open file, a mapped one.
    pub path: PathBuf,
}

/// Lists the processes that have a working directory, root, program, open file or mapping at or
/// under `target`, at most [`LISTED_MAX`].
pub fn processes_using(target: &Path) -> Vec<BusyProcess> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while it is being read: whatever cannot be read is no use.
        if let Some(path) = use_of(&process.path(), target) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.push(BusyProcess { pid, name: name.trim_end().to_owned(), path });
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

/// Finds a path under `target` in the text of a `maps` file, whose sixth column it is.
fn mapped(maps: &[u8], target: &Path) -> Option<PathBuf> {
    maps.split(|&byte| byte == b'\n').find_map(|line| {
        let start = line.iter().position(|&byte| byte == b'/')?;
        let path = PathBuf::from(std::ffi::OsString::from_vec(line[start..].to_vec()));
        path.starts_with(target).then_some(path)
    })
}

/// Writes the processes as the end of a sentence; nothing when there are none.
pub fn list(users: &[BusyProcess]) -> String {
    let mut text = String::new();
    for (index, user) in users.iter().enumerate() {
        let before = if index == 0 { " by " } else { ", " };
        let name =
            if user.name.is_empty() { OsStr::from_bytes(b"process") } else { user.name.as_ref() };
        let (pid, path) = (user.pid, user.path.display());
        text.push_str(&format!("{before}{} (pid {pid}: {path})", name.display()));
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
        assert_eq!(found[0].pid, std::process::id());
        assert_eq!(found[0].path, root.join("open"));
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
        let user = |pid, name: &str| BusyProcess { pid, name: name.into(), path: "/m/f".into() };
        assert_eq!(list(&[]), "");
        assert_eq!(
            list(&[user(1, "sh"), user(2, "")]),
            " by sh (pid 1: /m/f), process (pid 2: /m/f)"
        );
    }
}
