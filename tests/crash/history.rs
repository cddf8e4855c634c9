//! A scripted history that remembers what was acknowledged, and the check after the crash.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::common::tree::{self, Tree};
use crate::common::{Cairn, content, wait};

/// Versions that the history publishes.
const VERSIONS: u64 = 3;

/// What the daemon has promised so far.
#[derive(Default)]
pub(crate) struct Promises {
    /// Tags with the tree that was published under them.
    published: Vec<(String, Tree)>,
    /// The commit that was asked for and not answered.
    asked: Option<(String, Tree)>,
    /// The tag whose version is being deleted, and not answered.
    deleting: Option<String>,
    /// Tags whose deletion was answered.
    deleted: Vec<String>,
    /// Files whose fsync was answered, in the area that is still open.
    synced: Vec<(PathBuf, Vec<u8>)>,
}

/// Plays the history until it ends or the daemon fails; returns what was acknowledged.
pub(crate) fn play(cairn: &Cairn) -> Promises {
    let mut promises = Promises::default();
    // The end of the daemon is an error of any of the calls, and the point of this.
    drop(script(cairn, &mut promises));
    promises
}

fn script(cairn: &Cairn, promises: &mut Promises) -> io::Result<()> {
    fs::create_dir(cairn.staging("lib"))?;
    for number in 1..=VERSIONS {
        let name = format!("v{number}");
        let area_name = if number == 1 { name.clone() } else { format!("{name}@latest") };
        let area = cairn.staging("lib").join(area_name);
        fs::create_dir(&area)?;
        fill(&area, number, promises)?;
        let before = tree::try_read(&area)?;
        promises.asked = Some((name.clone(), before.clone()));
        fs::rename(&area, cairn.tags("lib").join(&name))?;
        promises.synced.clear();
        promises.asked = None;
        promises.published.push((name, before));
    }
    std::os::unix::fs::symlink("1", cairn.tags("lib/extra"))?;
    delete(cairn, promises)?;
    let area = cairn.staging("lib/open@latest");
    fs::create_dir(&area)?;
    fill(&area, 99, promises)?;
    fs::create_dir(cairn.staging("lib/discarded"))?;
    fs::write(cairn.staging("lib/discarded/f"), "x")?;
    fs::remove_dir_all(cairn.staging("lib/discarded"))
}

/// Deletes a version in the middle and collects what only it had, without protection.
fn delete(cairn: &Cairn, promises: &mut Promises) -> io::Result<()> {
    let tag = "v2".to_owned();
    promises.deleting = Some(tag.clone());
    succeeded(&cairn.run(&["delete", "lib/2"]))?;
    promises.deleting = None;
    promises.published.retain(|(published, _)| *published != tag);
    promises.deleted.push(tag);
    succeeded(&cairn.run(&["gc", "--full", "--wait", "--protect", "0"]))
}

fn succeeded(output: &std::process::Output) -> io::Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(io::Error::other(said.into_owned())) }
}

/// Every kind of change, with contents that depend on `seed`.
fn fill(area: &Path, seed: u64, promises: &mut Promises) -> io::Result<()> {
    let directory = area.join(format!("d{seed}"));
    fs::create_dir(&directory)?;
    for (index, size) in [10, 5_000, 300_000, 1_500_000].into_iter().enumerate() {
        let path = directory.join(format!("f{index}"));
        let bytes = content::bytes(seed * 10 + index as u64, size);
        let mut file = File::create(&path)?;
        file.write_all(&bytes)?;
        if index % 2 == 0 {
            file.sync_all()?;
            promises.synced.push((path, bytes));
        }
    }
    // The same content in each version, and a file that each version replaces.
    fs::write(area.join("same"), content::bytes(1, 20_000))?;
    fs::write(area.join("new.tmp"), content::bytes(seed, 7_000))?;
    fs::rename(area.join("new.tmp"), area.join("replaced"))?;
    fs::hard_link(directory.join("f1"), area.join(format!("linked{seed}")))?;
    fs::remove_file(area.join(format!("linked{}", seed.wrapping_sub(1)))).or_else(not_found)?;
    File::options().append(true).open(area.join("replaced"))?.write_all(b"more")
}

fn not_found(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

impl Promises {
    /// How many commits were acknowledged.
    pub(crate) fn commits(&self) -> usize {
        self.published.len() + self.deleted.len()
    }

    /// Asserts on the mounted store that everything promised is there and everything works.
    pub(crate) fn check(&self, cairn: &mut Cairn) {
        cairn.cli(&["status"]);
        let versions = fs::read_dir(cairn.versions("lib")).map_or(0, Iterator::count);
        let most = self.published.len() + usize::from(self.asked.is_some());
        let least = self.published.len() - usize::from(self.deleting.is_some());
        assert!(
            (least..=most).contains(&versions),
            "{versions} versions, {} were acknowledged",
            self.published.len()
        );
        for (tag, expected) in &self.published {
            let undecided = self.deleting.as_ref() == Some(tag) && versions == least;
            if !undecided {
                assert_is(cairn, tag, expected);
            }
        }
        for tag in &self.deleted {
            assert!(!cairn.tags("lib").join(tag).exists(), "{tag} is back");
        }
        if let Some((tag, expected)) = &self.asked
            && versions == most
        {
            assert_is(cairn, tag, expected);
        }
        self.check_areas(cairn);
        work_goes_on(cairn);
        check_pool(cairn);
        check_leftovers(cairn);
    }

    fn check_areas(&self, cairn: &Cairn) {
        for repository in fs::read_dir(cairn.staging("")).unwrap() {
            for area in fs::read_dir(repository.unwrap().path()).unwrap() {
                // Whatever of it was journalled is readable, all of it.
                tree::read(&area.unwrap().path());
            }
        }
        for (path, bytes) in &self.synced {
            // A commit that was not answered may have happened: then the file is in the version.
            if path.exists() || self.asked.is_none() {
                assert!(fs::read(path).unwrap() == *bytes, "{} was fsynced", path.display());
            }
        }
    }
}

#[track_caller]
fn assert_is(cairn: &Cairn, tag: &str, expected: &Tree) {
    let version = fs::canonicalize(cairn.tags("lib").join(tag)).unwrap();
    let lines = tree::differences(expected, &tree::read(&version));
    assert!(lines.is_empty(), "{tag} differs:\n{}", lines.join("\n"));
}

/// A new repository takes a commit, with content that the crash may have left half-stored.
fn work_goes_on(cairn: &Cairn) {
    let area = cairn.area("after", "a");
    for seed in [1, 10, 11, 12, 13, 20, 21, 990] {
        for size in [10, 5_000, 20_000, 300_000] {
            fs::write(area.join(format!("{seed}-{size}")), content::bytes(seed, size)).unwrap();
        }
    }
    cairn.publish("after", "a").unwrap();
    for seed in [1, 10, 11, 12, 13, 20, 21, 990] {
        for size in [10, 5_000, 20_000, 300_000] {
            let found = fs::read(cairn.versions("after/1").join(format!("{seed}-{size}"))).unwrap();
            assert!(found == content::bytes(seed, size), "{seed}-{size} after the crash");
        }
    }
}

/// No blob was ever changed in place: each file of the pool has the content that names it.
fn check_pool(cairn: &Cairn) {
    let pool = cairn.store().join("pool");
    for (path, _) in cairn.pool() {
        let name = path.strip_prefix(&pool).unwrap().to_str().unwrap().replace('/', "");
        let Ok(content) = fs::read(&path) else {
            continue;
        }; // removed by the clean-up meanwhile
        assert_eq!(blake3::hash(&content).to_hex().as_str(), name, "content of a blob");
    }
}

/// Once the areas are gone, nothing unfinished stays in the store.
fn check_leftovers(cairn: &mut Cairn) {
    for repository in ["lib", "after"] {
        let Ok(areas) = fs::read_dir(cairn.staging(repository)) else {
            continue;
        };
        for area in areas {
            fs::remove_dir_all(area.unwrap().path()).unwrap();
        }
    }
    let store = cairn.store();
    wait::until("unfinished files are removed", || {
        count_files(&store.join("incoming")) + count_files(&store.join("staging")) == 0
    });
    cairn.stop();
}

fn count_files(directory: &Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    paths.map(|path| if path.is_dir() { count_files(&path) } else { 1 }).sum()
}
