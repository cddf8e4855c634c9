//! The connection on a real mount. Needs the right to mount.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use fuser::{Config, Notifier, Session, SessionACL};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::*;
use crate::model::hash::BlobHash;
use crate::model::tree::Content;
use crate::model::tree_format::MemoryTrees;
use crate::vfs::versions::fixture::{Draft, Fixture, TemporaryBlobs, repository_directory};

struct Mounted {
    fixture: Fixture,
    directory: tempfile::TempDir,
    notifier: Notifier,
    workers: Option<JoinHandle<io::Result<()>>>,
}

impl Mounted {
    fn new(drafts: &[Draft]) -> Self {
        let fixture = Fixture::new(drafts);
        let directory = tempfile::tempdir().unwrap();
        let device = fs::File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let data = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
            device.as_raw_fd()
        );
        let data = std::ffi::CString::new(data).unwrap();
        rustix::mount::mount(
            "cairn-test",
            directory.path(),
            "fuse.cairn",
            MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV,
            data.as_c_str(),
        )
        .unwrap();
        let mut config = Config::default();
        config.n_threads = Some(2);
        let connection: VersionsConnection<MemoryTrees, TemporaryBlobs> =
            VersionsConnection::new(Arc::clone(&fixture.fs));
        let device = OwnedFd::from(device);
        let session = Session::from_fd(connection, device, SessionACL::All, config).unwrap();
        let notifier = session.notifier();
        let workers = Some(std::thread::spawn(move || session.run()));
        Self { fixture, directory, notifier, workers }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn xattr(&self, path: &str, name: &str) -> Result<String, Errno> {
        let mut value = vec![0; 256];
        let length = rustix::fs::getxattr(self.path(path), name, &mut value[..])?;
        Ok(String::from_utf8(value[..length].to_vec()).unwrap())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(self.directory.path(), UnmountFlags::DETACH).unwrap();
        let workers = self.workers.take().unwrap();
        workers.join().unwrap().unwrap();
    }
}

fn draft() -> Draft {
    Draft::default()
        .file("dir/a", "content of a")
        .file("dir/empty", "")
        .file("b", "content of b")
        .with("link", Content::Symlink { target: b"dir/a".as_slice().into() })
}

fn mounted() -> Mounted {
    let mounted = Mounted::new(&[draft(), draft().file("b", "changed")]);
    for content in ["content of a", "content of b", "changed"] {
        mounted.fixture.store(content);
    }
    mounted
}

fn kind(result: io::Result<()>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn trees_are_listed_and_read() {
    let mounted = mounted();
    assert_eq!(mounted.names(""), ["repo"]);
    assert_eq!(mounted.names("repo"), ["1", "2"]);
    assert_eq!(mounted.names("repo/1"), ["b", "dir", "link"]);
    // Again, from the kernel's cache.
    assert_eq!(mounted.names("repo/1"), ["b", "dir", "link"]);
    let read = |path| fs::read_to_string(mounted.path(path)).unwrap();
    assert_eq!(read("repo/1/link"), "content of a");
    assert_eq!(read("repo/1/dir/empty"), "");
    assert_eq!(read("repo/2/b"), "changed");
    let ino = |path| fs::metadata(mounted.path(path)).unwrap().ino();
    assert_eq!(ino("repo/1/dir/a"), ino("repo/2/dir/a"));
    assert_ne!(ino("repo/1/b"), ino("repo/2/b"));
    let hash = BlobHash::of(b"content of b").to_string();
    assert_eq!(mounted.xattr("repo/1/b", "user.cairn.hash"), Ok(hash));
    assert_eq!(mounted.xattr("repo/2", "user.cairn.number"), Ok("2".into()));
    assert_eq!(mounted.xattr("repo/2", "user.x"), Err(Errno::NODATA));
    let mut list = [0; 64];
    let length = rustix::fs::listxattr(mounted.path("repo/2"), &mut list[..]).unwrap();
    assert_eq!(length, 0);
    assert!(rustix::fs::statvfs(mounted.path("")).is_ok());
}

#[test]
fn every_mutation_is_refused_as_read_only() {
    let mounted = mounted();
    let (file, dir) = (mounted.path("repo/1/b"), mounted.path("repo/1/dir"));
    let new = mounted.path("repo/1/new");
    let read_only = ErrorKind::ReadOnlyFilesystem;
    assert_eq!(kind(fs::write(&file, "x")), read_only);
    assert_eq!(kind(fs::write(&new, "x")), read_only);
    assert_eq!(kind(fs::create_dir(&new)), read_only);
    assert_eq!(kind(symlink("x", &new)), read_only);
    assert_eq!(kind(rustix::fs::link(&file, &new).map_err(io::Error::from)), read_only);
    assert_eq!(kind(fs::remove_dir(&dir)), read_only);
    assert_eq!(kind(fs::remove_dir_all(mounted.path("repo/1"))), read_only);
    let mode = fs::metadata(&file).unwrap().permissions();
    assert_eq!(kind(fs::set_permissions(&file, mode)), read_only);
    assert_eq!(fs::read_to_string(&file).unwrap(), "content of b");
}

#[test]
fn a_deleted_version_goes_and_its_open_file_stays_readable() {
    let mounted = mounted();
    let open = fs::File::open(mounted.path("repo/1/b")).unwrap();
    assert_eq!(mounted.names("repo"), ["1", "2"]);
    assert!(!mounted.path("repo/3").exists());
    mounted.fixture.remove(1);
    let parent = INodeNo(repository_directory().0);
    mounted.notifier.inval_entry(parent, OsStr::new("1")).unwrap();
    mounted.notifier.inval_inode(parent, 0, 0).unwrap();
    assert_eq!(mounted.names("repo"), ["2"]);
    assert!(!mounted.path("repo/1").exists());
    let hash = BlobHash::of(b"content of b");
    assert!(mounted.fixture.pins.is_pinned(&hash.into()));
    let mut buffer = [0; 12];
    open.read_exact_at(&mut buffer, 0).unwrap();
    assert_eq!(&buffer, b"content of b");
}

#[test]
fn a_new_version_is_found_although_its_absence_was_seen() {
    let mounted = mounted();
    let second = mounted.fixture.remove(2);
    let parent = INodeNo(repository_directory().0);
    mounted.notifier.inval_inode(parent, 0, 0).unwrap();
    assert!(!mounted.path("repo/2").exists());
    assert_eq!(mounted.names("repo"), ["1"]);
    mounted.fixture.publish(second);
    mounted.notifier.inval_inode(parent, 0, 0).unwrap();
    assert!(mounted.path("repo/2").exists());
    assert_eq!(mounted.names("repo"), ["1", "2"]);
}
