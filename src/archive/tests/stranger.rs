//! Somebody who can write to the directory that root exports to, imports from, or passes through
//! (H24). He acts between the steps: after a name was made, after the walk has seen one.

mod import;

use std::ffi::CStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::fs::{CWD, FileType, Mode, RenameFlags, XattrFlags, makedev, mknodat, renameat_with};

use super::compare::{pattern, set_mtime};
use super::memory::MemoryStore;
use crate::archive::error::ArchiveError;
use crate::archive::export::{LinkMode, export_directory_with};
use crate::archive::import::{DirectoryImport, import_directory};
use crate::archive::observer::Unobserved;
use crate::archive::walk::{EntryHandle, Walker};

const STRANGER: u32 = 4321;

/// Directories: what is exported, root's secrets, and the stranger's own.
struct Scene {
    home: tempfile::TempDir,
    store: MemoryStore,
}

impl Scene {
    /// A version of what `fill` makes, and secrets of every kind.
    fn new(fill: impl Fn(&Path)) -> Self {
        assert!(rustix::process::geteuid().is_root(), "only root has what a stranger wants");
        let scene = Self { home: tempfile::tempdir().unwrap(), store: MemoryStore::default() };
        let mut scene = scene;
        fs::set_permissions(scene.home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["from", "secret", "theirs"] {
            fs::create_dir(scene.path(name)).unwrap();
        }
        chown(scene.path("theirs"), Some(STRANGER), Some(STRANGER)).unwrap();
        let secret = scene.path("secret");
        fs::write(secret.join("file"), b"secret").unwrap();
        fs::create_dir(secret.join("directory")).unwrap();
        mknodat(CWD, secret.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        for name in ["file", "directory", "fifo", ""] {
            let mode = if name == "directory" || name.is_empty() { 0o700 } else { 0o600 };
            fs::set_permissions(secret.join(name), fs::Permissions::from_mode(mode)).unwrap();
            set_mtime(&secret.join(name), 1, 0);
        }
        fill(&scene.path("from"));
        let from = scene.path("from");
        import_directory(&from, DirectoryImport::default(), &mut scene.store, &mut Unobserved)
            .unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Exports into a directory of the stranger's, who calls `act` for each name that was made.
    fn export(&mut self, act: &(dyn Fn(&CStr) + Sync)) -> Result<(), ArchiveError> {
        let done = self.export_unchecked(act);
        self.check();
        done
    }

    fn export_unchecked(&mut self, act: &(dyn Fn(&CStr) + Sync)) -> Result<(), ArchiveError> {
        let to = self.path("theirs");
        let stop = AtomicBool::new(false);
        export_directory_with(&mut self.store, &to, LinkMode::Copy, &mut |_| {}, (act, &stop))
            .map(drop)
    }

    /// The secrets are as they were, and have no further name.
    fn check(&self) {
        let secret = self.path("secret");
        for (name, mode) in
            [("", 0o40700), ("directory", 0o40700), ("file", 0o100_600), ("fifo", 0o10600)]
        {
            let path = secret.join(name);
            let found = fs::symlink_metadata(&path).unwrap();
            assert_eq!((found.mode(), found.uid(), found.gid()), (mode, 0, 0), "{name}");
            assert_eq!((found.mtime(), found.is_dir() || found.nlink() == 1), (1, true), "{name}");
            let mark = rustix::fs::lgetxattr(&path, "trusted.mark", &mut [0; 8]);
            assert_eq!(mark, Err(rustix::io::Errno::NODATA), "{name}");
        }
        assert_eq!(fs::read(secret.join("file")).unwrap(), b"secret");
        assert_eq!(fs::read_dir(&secret).unwrap().count(), 3);
        assert_eq!(fs::read_dir(secret.join("directory")).unwrap().count(), 0);
    }
}

/// Attributes that would open a secret to others.
fn open_up(path: &Path) {
    lchown(path, Some(STRANGER), Some(STRANGER)).unwrap();
    rustix::fs::lsetxattr(path, "trusted.mark", b"x", XattrFlags::empty()).unwrap();
    if !path.is_symlink() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
}

/// Makes `name` of a kind, with attributes worth stealing.
fn make(path: &Path, kind: &str) {
    let mode = Mode::RUSR | Mode::WUSR;
    let node = |kind, device| mknodat(CWD, path, kind, mode, device).unwrap();
    match kind {
        "directory" => {
            fs::create_dir(path).unwrap();
            fs::write(path.join("below"), b"below").unwrap();
        }
        "file" => fs::write(path, b"content").unwrap(),
        "symlink" => symlink("target", path).unwrap(),
        "fifo" => node(FileType::Fifo, 0),
        "socket" => node(FileType::Socket, 0),
        "char" => node(FileType::CharacterDevice, makedev(1, 3)),
        _ => node(FileType::BlockDevice, makedev(7, 7)),
    }
    open_up(path);
}

const KINDS: [&str; 7] = ["directory", "file", "symlink", "fifo", "socket", "char", "block"];

/// What the stranger puts in place of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trick {
    LinkToFile,
    LinkToDirectory,
    LinkToFifo,
    HardLinkToFile,
    HardLinkToFifo,
    OwnFifo,
    OwnDirectory,
    /// A file of root's with one name, which lies in the stranger's directory.
    RootsFile,
    Nothing,
}

const TRICKS: [Trick; 9] = [
    Trick::LinkToFile,
    Trick::LinkToDirectory,
    Trick::LinkToFifo,
    Trick::HardLinkToFile,
    Trick::HardLinkToFifo,
    Trick::OwnFifo,
    Trick::OwnDirectory,
    Trick::RootsFile,
    Trick::Nothing,
];

impl Trick {
    fn play(self, secret: &Path, name: &Path) {
        let link = |to: &str| {
            symlink(secret.join(to), name).unwrap();
            lchown(name, Some(STRANGER), Some(STRANGER)).unwrap();
        };
        match self {
            Self::LinkToFile => link("file"),
            Self::LinkToDirectory => link("directory"),
            Self::LinkToFifo => link("fifo"),
            Self::HardLinkToFile => rustix::fs::link(secret.join("file"), name).unwrap(),
            Self::HardLinkToFifo => rustix::fs::link(secret.join("fifo"), name).unwrap(),
            Self::OwnFifo => {
                mknodat(CWD, name, FileType::Fifo, Mode::RUSR, 0).unwrap();
                chown(name, Some(STRANGER), None).unwrap();
            }
            Self::OwnDirectory => {
                fs::create_dir(name).unwrap();
                chown(name, Some(STRANGER), None).unwrap();
            }
            Self::RootsFile => {
                fs::write(name, b"secret").unwrap();
                fs::set_permissions(name, fs::Permissions::from_mode(0o600)).unwrap();
            }
            Self::Nothing => {}
        }
    }
}

#[test]
fn a_name_that_is_replaced_is_not_followed_whatever_it_was() {
    for kind in KINDS {
        for trick in TRICKS {
            let mut scene = Scene::new(|from| make(&from.join("entry"), kind));
            let (secret, theirs) = (scene.path("secret"), scene.path("theirs"));
            let name = theirs.join("entry");
            let done = scene.export_with_hard_links(trick, &|made| {
                if made.to_bytes() == b"entry" {
                    rustix::fs::rename(&name, theirs.join("aside")).unwrap();
                    trick.play(&secret, &name);
                }
            });
            // A file was created and opened in one call: nothing is done to its name afterwards.
            if kind == "file" {
                done.unwrap();
                continue;
            }
            let error = done.unwrap_err().to_string();
            assert!(error.contains("somebody replaced it"), "{kind}, {trick:?}: {error}");
            if trick == Trick::RootsFile {
                let found = fs::metadata(&name).unwrap();
                assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o600), "{kind}");
            }
        }
    }
}

impl Scene {
    /// [`Scene::export`], after which a further name that the stranger made goes.
    fn export_with_hard_links(
        &mut self,
        trick: Trick,
        act: &(dyn Fn(&CStr) + Sync),
    ) -> Result<(), ArchiveError> {
        let done = self.export_unchecked(act);
        if matches!(trick, Trick::HardLinkToFile | Trick::HardLinkToFifo) {
            rustix::fs::unlink(self.path("theirs/entry")).unwrap();
        }
        self.check();
        done
    }
}

#[test]
fn the_directory_itself_may_be_swapped_at_any_step() {
    for kind in KINDS {
        let mut scene = Scene::new(|from| {
            make(&from.join("entry"), kind);
            make(&from.join("later"), "directory");
        });
        let (theirs, secret) = (scene.path("theirs"), scene.path("secret/directory"));
        let aside = scene.path("aside");
        scene
            .export(&|made| {
                if made.to_bytes() == b"entry" {
                    rustix::fs::rename(&theirs, &aside).unwrap();
                    symlink(&secret, &theirs).unwrap();
                }
            })
            .unwrap();
        // What was opened at the beginning is what was filled.
        assert_eq!(fs::read(aside.join("later/below")).unwrap(), b"below", "{kind}");
    }
}

#[test]
fn a_new_directory_is_swapped_as_soon_as_it_is_made() {
    let mut scene = Scene::new(|from| make(&from.join("entry"), "file"));
    let (theirs, secret) = (scene.path("theirs"), scene.path("secret/directory"));
    let act = |made: &CStr| {
        let made = theirs.join(std::ffi::OsStr::from_bytes(made.to_bytes()));
        if made.is_dir() {
            fs::remove_dir(&made).unwrap();
            symlink(&secret, &made).unwrap();
        }
    };
    let to = theirs.join("new");
    let error = export_directory_with(
        &mut scene.store,
        &to,
        LinkMode::Copy,
        &mut |_| {},
        (&act, &AtomicBool::new(false)),
    )
    .unwrap_err();
    assert!(error.to_string().contains("somebody replaced it"), "{error}");
    scene.check();
}

#[test]
fn an_older_directory_of_the_callers_is_closed_to_others_before_it_is_filled() {
    let mut scene = Scene::new(|from| make(&from.join("entry"), "directory"));
    let theirs = scene.path("theirs");
    let (name, older) = (theirs.join("entry"), scene.path("older"));
    fs::create_dir(&older).unwrap();
    fs::set_permissions(&older, fs::Permissions::from_mode(0o777)).unwrap();
    let filled = AtomicBool::new(false);
    scene
        .export(&|made| match made.to_bytes() {
            b"entry" => {
                rustix::fs::rename(&name, theirs.join("aside")).unwrap();
                rustix::fs::rename(&older, &name).unwrap();
            }
            _ => {
                filled.store(true, Ordering::SeqCst);
                let mode = fs::metadata(&name).unwrap().mode();
                assert_eq!(mode & 0o777, 0o700, "others could see what is made in it");
            }
        })
        .unwrap();
    assert!(filled.load(Ordering::SeqCst));
}

#[test]
fn a_link_on_the_way_that_leads_to_a_secret_is_refused() {
    let mut scene = Scene::new(|from| make(&from.join("entry"), "file"));
    let (theirs, secret) = (scene.path("theirs"), scene.path("secret"));
    symlink(&secret, theirs.join("way")).unwrap();
    lchown(theirs.join("way"), Some(STRANGER), Some(STRANGER)).unwrap();
    for to in ["way", "way/directory", "way/new"] {
        let (to, store) = (theirs.join(to), &mut scene.store);
        let error = export_directory_with(
            store,
            &to,
            LinkMode::Copy,
            &mut |_| {},
            (&|_| {}, &AtomicBool::new(false)),
        );
        let error = error.unwrap_err().to_string();
        assert!(error.contains("belongs to user 4321"), "{error}");
        let options = DirectoryImport::default();
        let error = import_directory(&to, options, &mut MemoryStore::default(), &mut Unobserved);
        assert!(error.is_err());
    }
    scene.check();
    assert_eq!(fs::read_dir(scene.path("secret/directory")).unwrap().count(), 0);
}

#[test]
fn two_directories_are_exchanged_before_they_get_their_modes() {
    let mut scene = Scene::new(|from| {
        for (name, mode) in [("public", 0o755), ("private", 0o700)] {
            fs::create_dir(from.join(name)).unwrap();
            fs::set_permissions(from.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        make(&from.join("z"), "fifo");
    });
    let theirs = scene.path("theirs");
    let error = scene.export(&|made| {
        if made.to_bytes() == b"z" {
            let (one, other) = (theirs.join("public"), theirs.join("private"));
            renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
        }
    });
    assert!(error.unwrap_err().to_string().contains("somebody replaced it"));
    // What was made as the private one has the other name now.
    assert_eq!(fs::metadata(theirs.join("public")).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_further_name_is_one_of_the_file_that_was_written() {
    for trick in [Trick::LinkToFile, Trick::HardLinkToFile, Trick::OwnFifo, Trick::Nothing] {
        for kind in ["file", "fifo", "symlink"] {
            let mut scene = Scene::new(|from| {
                make(&from.join("entry"), kind);
                make(&from.join("f"), "fifo");
                rustix::fs::link(from.join("entry"), from.join("further")).unwrap();
            });
            let (secret, theirs) = (scene.path("secret"), scene.path("theirs"));
            let name = theirs.join("entry");
            let done = scene.export_with_hard_links(trick, &|made| {
                if made.to_bytes() == b"f" {
                    rustix::fs::rename(&name, theirs.join("aside")).unwrap();
                    trick.play(&secret, &name);
                }
            });
            let error = done.unwrap_err().to_string();
            assert!(error.contains("somebody replaced it"), "{kind}, {trick:?}: {error}");
            assert!(!theirs.join("further").exists(), "{kind}, {trick:?}");
        }
    }
}

#[test]
fn exports_are_raced_for_a_while() {
    const ROUNDS: u32 = 60;
    let mut scene = Scene::new(|from| {
        for kind in KINDS {
            make(&from.join(kind), kind);
        }
    });
    let done = AtomicBool::new(false);
    let replaced = AtomicU32::new(0);
    let (theirs, secret) = (scene.path("theirs"), scene.path("secret"));
    let link = scene.path("link");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Not in step with the exports: names are exchanged as soon as they are seen.
            while !done.load(Ordering::Relaxed) {
                for (kind, to) in KINDS.iter().zip(["directory", "file", "fifo"].iter().cycle()) {
                    if symlink(secret.join(to), &link).is_err() {
                        continue;
                    }
                    let name = theirs.join(kind);
                    if renameat_with(CWD, &link, CWD, &name, RenameFlags::EXCHANGE).is_ok() {
                        replaced.fetch_add(1, Ordering::Relaxed);
                    }
                    if rustix::fs::unlink(&link).is_err() {
                        fs::remove_dir_all(&link).ok();
                    }
                }
            }
        });
        for _ in 0..ROUNDS {
            let to = &theirs;
            export_directory_with(
                &mut scene.store,
                to,
                LinkMode::Copy,
                &mut |_| {},
                (&|_| {}, &AtomicBool::new(false)),
            )
            .ok();
            for entry in fs::read_dir(&theirs).unwrap().flatten() {
                if rustix::fs::unlink(entry.path()).is_err() {
                    fs::remove_dir_all(entry.path()).ok();
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    scene.check();
}

#[test]
fn what_failed_leaves_nothing_under_the_final_name() {
    let mut scene = Scene::new(|from| {
        make(&from.join("deep"), "directory");
        fs::create_dir(from.join("deep/er")).unwrap();
        fs::set_permissions(from.join("deep/er"), fs::Permissions::from_mode(0o500)).unwrap();
        fs::write(from.join("large"), pattern(300_000)).unwrap();
    });
    let home = scene.path("home");
    fs::create_dir(&home).unwrap();
    let to = home.join("new");
    let seen = AtomicBool::new(false);
    let act = |_: &CStr| seen.store(seen.load(Ordering::Relaxed) | to.exists(), Ordering::Relaxed);
    export_directory_with(
        &mut scene.store,
        &to,
        LinkMode::Copy,
        &mut |_| {},
        (&act, &AtomicBool::new(false)),
    )
    .unwrap();
    assert!(!seen.load(Ordering::Relaxed), "it was there before it was whole");
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
    let again = home.join("again");
    scene.store.blobs.values_mut().for_each(|bytes| bytes.push(b'!'));
    let failed = export_directory_with(
        &mut scene.store,
        &again,
        LinkMode::Copy,
        &mut |_| {},
        (&|_| {}, &AtomicBool::new(false)),
    );
    failed.unwrap_err();
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "nothing of it is left");
}
