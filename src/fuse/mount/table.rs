//! The kernel's table of mounts, `/proc/self/mountinfo`, and the mounts of ours in it.
//!
//! One line per mount (proc(5)):
//!
//! ```text
//! 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//! id parent major:minor root target options optional-fields… - type source super-options
//! ```
//!
//! Space, tab, newline, backslash (and `#`) are written as `\040`, `\011`, `\012`, `\134`, `\043`.
//! Later lines were mounted later: of several mounts on one path the last one is on top.
//! Reading the table never asks a filesystem anything, so it cannot hang on a dead one.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::error::MountError;

/// Filesystem type of every mount of ours, so that crawlers can be told to skip it (H17).
pub const FILESYSTEM_TYPE: &str = "fuse.cairn";

/// Where the kernel shows this process's mounts.
const MOUNTINFO: &str = "/proc/self/mountinfo";

/// Name of a mount, unique while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MountId(pub u64);

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Its name.
    pub id: MountId,
    /// The mount that it lies on.
    pub parent: MountId,
    /// Major and minor number of its device; FUSE connections are named by the minor one.
    pub device: (u32, u32),
    /// The directory of its filesystem that is shown: `/` but for bind mounts.
    pub root: PathBuf,
    /// Where it is mounted, seen from the root of this process.
    pub target: PathBuf,
    /// Options of the mount, comma-separated.
    pub options: String,
    /// Type of its filesystem, with the subtype: `fuse.cairn`.
    pub kind: String,
    /// What is mounted; for ours the path of the store.
    pub source: PathBuf,
    /// Who mounted it, where its filesystem says so (`user_id=`, which FUSE shows).
    pub user: Option<u32>,
    /// Options of its filesystem, comma-separated; an overlay names its layers there.
    pub super_options: Vec<u8>,
}

impl MountEntry {
    /// Whether it is a mount of cairn, of this process or any other.
    pub fn is_cairn(&self) -> bool {
        self.kind == FILESYSTEM_TYPE
    }
}

/// The mounts that this process sees, in the order in which they were made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountTable {
    entries: Vec<MountEntry>,
}

impl MountTable {
    /// Reads the table of this process.
    ///
    /// # Errors
    ///
    /// Returns [`MountError::Table`] when it cannot be read or has a line of an unknown form.
    pub fn read() -> Result<Self, MountError> {
        let text = std::fs::read(MOUNTINFO).map_err(MountError::Table)?;
        Self::parse(&text)
    }

    /// Parses the text of a mountinfo file.
    ///
    /// # Errors
    ///
    /// Returns [`MountError::Table`] for a line of an unknown form.
    pub fn parse(text: &[u8]) -> Result<Self, MountError> {
        let mut entries = Vec::new();
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let entry = parse_line(line).ok_or_else(|| {
                let line = String::from_utf8_lossy(line).into_owned();
                MountError::Table(io::Error::new(io::ErrorKind::InvalidData, line))
            })?;
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// The mount named `id`, if it still exists.
    pub fn by_id(&self, id: MountId) -> Option<&MountEntry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// The topmost mount exactly at `target`.
    pub fn at(&self, target: &Path) -> Option<&MountEntry> {
        self.entries.iter().rev().find(|entry| entry.target == target)
    }

    /// The mount that a path lies on: the topmost one of the longest target above it.
    pub fn containing(&self, path: &Path) -> Option<&MountEntry> {
        let above = self.entries.iter().filter(|entry| path.starts_with(&entry.target));
        // max_by_key returns the last of equals, which is the topmost.
        above.max_by_key(|entry| entry.target.components().count())
    }

    /// All mounts of cairn that show the store at `store`, the latest first, which is an order in
    /// which they can be unmounted.
    pub fn of_store(&self, store: &Path) -> Vec<&MountEntry> {
        let ours = self.entries.iter().rev();
        ours.filter(|entry| entry.is_cairn() && entry.source == store).collect()
    }

    /// All mounts, in the order in which they were made.
    pub fn all(&self) -> impl Iterator<Item = &MountEntry> {
        self.entries.iter()
    }

    /// The mounts that a daemon has made for the store at `store`, the latest first: of each
    /// filesystem the first one. What else shows one of them was bound there by somebody.
    pub fn made_for(&self, store: &Path) -> Vec<&MountEntry> {
        let of_store = || self.entries.iter().filter(|e| e.is_cairn() && e.source == store);
        let is_first = |entry: &&MountEntry| {
            let first = of_store().find(|other| other.device == entry.device);
            first.is_some_and(|first| first.id == entry.id) && entry.root == Path::new("/")
        };
        let mut made: Vec<_> = of_store().filter(is_first).collect();
        made.reverse();
        made
    }

    /// All mounts of cairn, the latest first.
    pub fn of_cairn(&self) -> impl Iterator<Item = &MountEntry> {
        self.entries.iter().rev().filter(|entry| entry.is_cairn())
    }
}

fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let id = MountId(number(fields.next()?)?);
    let parent = MountId(number(fields.next()?)?);
    let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let root = path(fields.next()?);
    let target = path(fields.next()?);
    let options = text(fields.next()?);
    // Zero or more optional fields, up to a lone hyphen.
    fields.by_ref().find(|field| *field == b"-")?;
    let kind = text(fields.next()?);
    // An empty source is shown as nothing at all between two spaces.
    let source = path(fields.next()?);
    let super_options = unescape(fields.next().unwrap_or_default());
    let mut own_options = super_options.split(|&byte| byte == b',');
    let user = own_options.find_map(|option| option.strip_prefix(b"user_id="));
    let user = user.and_then(number).and_then(|user| u32::try_from(user).ok());
    Some(MountEntry {
        id,
        parent,
        device,
        root,
        target,
        options,
        kind,
        source,
        user,
        super_options,
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// Replaces `\ooo` by the byte of that octal number; anything else stays as it is.
pub(super) fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        match (first, octal(tail)) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..3)?).ok()?;
    // from_str_radix would take a sign.
    let octal = digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    if octal { u8::from_str_radix(digits, 8).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    const TABLE: &[u8] = b"\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
24 22 0:21 / /proc rw,nosuid shared:5 master:1 - proc proc rw\n\
40 22 0:41 / /srv/a\\040b\\134c\\011\\012\\043 rw,nosuid,nodev shared:9 - fuse.cairn /var/s\\040t rw,user_id=0\n\
41 40 0:42 / /srv/a\\040b\\134c\\011\\012\\043/versions ro - fuse.cairn /var/s\\040t ro\n\
42 22 0:43 / /srv/twice rw - tmpfs tmpfs rw\n\
43 42 0:44 /sub /srv/twice rw - tmpfs  rw\n";

    fn table() -> MountTable {
        MountTable::parse(TABLE).unwrap()
    }

    #[test]
    fn escapes_are_read() {
        let table = table();
        let entry = table.by_id(MountId(40)).unwrap();
        assert_eq!(entry.target.as_os_str().as_bytes(), b"/srv/a b\\c\t\n#");
        assert_eq!(entry.source, Path::new("/var/s t"));
        assert_eq!(entry.device, (0, 41));
        assert_eq!(entry.kind, FILESYSTEM_TYPE);
        assert_eq!(entry.options, "rw,nosuid,nodev");
    }

    #[test]
    fn unescape_keeps_what_is_no_escape() {
        for (from, to) in [
            (&b"a\\"[..], &b"a\\"[..]),
            (b"\\04", b"\\04"),
            (b"\\0408", b" 8"),
            (b"\\999", b"\\999"),
            (b"\\+12", b"\\+12"),
            (b"\\777", b"\\777"),
            (b"\\377", b"\xff"),
            (b"\\134040", b"\\040"),
            (b"", b""),
        ] {
            assert_eq!(unescape(from), to, "{}", String::from_utf8_lossy(from));
        }
    }

    #[test]
    fn the_topmost_mount_wins() {
        let table = table();
        assert_eq!(table.at(Path::new("/srv/twice")).unwrap().id, MountId(43));
        assert_eq!(table.containing(Path::new("/srv/twice/x")).unwrap().id, MountId(43));
        assert_eq!(table.containing(Path::new("/srv/twicex")).unwrap().id, MountId(22));
        assert_eq!(table.at(Path::new("/srv")), None);
    }

    #[test]
    fn mounts_of_a_store_come_inner_first() {
        let table = table();
        let ids: Vec<_> = table.of_store(Path::new("/var/s t")).iter().map(|e| e.id).collect();
        assert_eq!(ids, [MountId(41), MountId(40)]);
        assert!(table.of_store(Path::new("/var/other")).is_empty());
    }

    #[test]
    fn an_unknown_form_is_an_error_that_quotes_it() {
        for line in ["x", "1 2 3 / /", "1 2 0:1 / / rw - ", "1 2 0:1 / / rw shared:1 ext4 /dev rw"]
        {
            let error = MountTable::parse(line.as_bytes());
            // A type without source is the one form that could pass: it must not.
            assert!(error.is_err(), "{line}");
        }
    }

    #[test]
    fn this_machine_can_be_read() {
        let table = MountTable::read().unwrap();
        assert!(table.at(Path::new("/")).is_some());
        assert!(table.at(Path::new("/proc")).is_some());
    }
}
