//! What the kernel says is mounted.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub path: PathBuf,
    pub options: String,
    pub kind: String,
    pub super_options: String,
}

/// Every mount at or below `path`, outermost first.
pub fn below(path: &Path) -> Vec<Mount> {
    // A test may have given its thread a mount namespace of its own.
    let text = std::fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    text.lines().filter_map(parse).filter(|mount| mount.path.starts_with(path)).collect()
}

fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(4);
    let (path, options) = (fields.next()?, fields.next()?);
    let mut fields = after.split(' ');
    let kind = fields.next()?;
    Some(Mount {
        path: PathBuf::from(path.replace("\\040", " ")),
        options: options.to_owned(),
        kind: kind.to_owned(),
        super_options: fields.nth(1)?.to_owned(),
    })
}

/// Detaches whatever is mounted at or below `path`, innermost first.
pub fn detach(path: &Path) {
    for mount in below(path).iter().rev() {
        let status = Command::new("umount").arg("--lazy").arg(&mount.path).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("could not detach {}", mount.path.display());
        }
    }
}
