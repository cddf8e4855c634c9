//! What was acknowledged before the crash, and the check after it.
//!
//! A change that was asked for and not answered may have happened or not; an answer settles it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use support::tree::{self, Tree};
use support::{Cairn, content, fsck, wait};

/// A version, by the name that it was published under.
struct Published {
    tree: Tree,
    must_be: bool,
    may_be: bool,
}

/// A setting: what it was acknowledged to be, and what it may be instead.
struct Setting {
    is: Value,
    asked: Option<Value>,
}

/// What the daemon has promised so far.
#[derive(Default)]
pub(crate) struct Promises {
    /// By `REPOSITORY/TAG`.
    versions: BTreeMap<String, Published>,
    /// By a key that [`read_setting`] understands.
    settings: BTreeMap<String, Setting>,
    /// Files whose fsync was answered, in areas that are still open.
    pub(crate) synced: Vec<(PathBuf, Vec<u8>)>,
    /// Answers to what changes more than a file.
    pub(crate) answers: usize,
}

impl Promises {
    /// A version with this content is asked for.
    pub(crate) fn asks_version(&mut self, place: &str, tree: Tree) {
        let version = Published { tree, must_be: false, may_be: true };
        self.versions.insert(place.to_owned(), version);
    }

    /// The version is to go, or to come back.
    pub(crate) fn asks_change(&mut self, place: &str) {
        let version = self.versions.get_mut(place).unwrap();
        (version.must_be, version.may_be) = (false, true);
    }

    /// The version was acknowledged to be there or not.
    pub(crate) fn answered(&mut self, place: &str, is_there: bool) {
        let version = self.versions.get_mut(place).unwrap();
        (version.must_be, version.may_be) = (is_there, is_there);
        self.answers += 1;
    }

    /// A setting is asked to become `value`; it was `before` when nobody had set it.
    pub(crate) fn asks_setting(&mut self, key: &str, before: Value, value: Value) {
        let setting =
            self.settings.entry(key.to_owned()).or_insert(Setting { is: before, asked: None });
        setting.asked = Some(value);
    }

    /// The setting was acknowledged.
    pub(crate) fn setting_answered(&mut self, key: &str) {
        let setting = self.settings.get_mut(key).unwrap();
        setting.is = setting.asked.take().unwrap();
        self.answers += 1;
    }

    /// Asserts on the mounted store that everything promised is there and everything works.
    pub(crate) fn check(&self, cairn: &mut Cairn) {
        cairn.cli(&["status"]);
        for (place, version) in &self.versions {
            check_version(cairn, place, version);
        }
        for (key, Setting { is, asked }) in &self.settings {
            let found = read_setting(cairn, key);
            let right = found == *is || Some(&found) == asked.as_ref();
            assert!(right, "{key} is {found}, acknowledged was {is}, asked for was {asked:?}");
        }
        self.check_areas(cairn);
        work_goes_on(cairn);
        check_pool(cairn);
        check_leftovers(cairn);
        fsck::check_store(&cairn.store());
    }

    fn check_areas(&self, cairn: &Cairn) {
        for repository in fs::read_dir(cairn.staging("")).unwrap() {
            for area in fs::read_dir(repository.unwrap().path()).unwrap() {
                // Whatever of it was journalled is readable, all of it.
                tree::read(&area.unwrap().path());
            }
        }
        let asked = self.versions.values().any(|version| version.may_be && !version.must_be);
        for (path, bytes) in &self.synced {
            // A commit that was not answered may have happened: then the file is in the version.
            if path.exists() || !asked {
                assert!(fs::read(path).unwrap() == *bytes, "{} was fsynced", path.display());
            }
        }
    }
}

#[track_caller]
fn check_version(cairn: &Cairn, place: &str, version: &Published) {
    let tag = cairn.tags(place);
    if fs::symlink_metadata(&tag).is_err() {
        assert!(!version.must_be, "{place} was acknowledged");
        return;
    }
    assert!(version.may_be, "{place} is back");
    let (mut expected, mut found) =
        (version.tree.clone(), tree::read(&tag.canonicalize().unwrap()));
    // An import leaves it open whose directory the top is.
    expected.remove(Path::new(""));
    found.remove(Path::new(""));
    let lines = tree::differences(&expected, &found);
    assert!(lines.is_empty(), "{place} differs:\n{}", lines.join("\n"));
}

/// Asks for a setting, by `policy REPOSITORY`, `quota REPOSITORY`, `tag REPOSITORY/TAG`,
/// `released REPOSITORY/VERSION` or `locked REPOSITORY/VERSION`.
pub(crate) fn read_setting(cairn: &Cairn, key: &str) -> Value {
    let (kind, place) = key.split_once(' ').unwrap();
    match kind {
        "policy" => match cairn.run(&["policy", place, "--show", "--json"]) {
            shown if shown.status.success() => {
                let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
                shown["policy"].clone()
            }
            // The repository may not be there yet.
            _ => Value::Null,
        },
        "quota" => cairn.json(&["quota", place])["quota_bytes"].clone(),
        "tag" => match fs::read_link(cairn.tags(place)) {
            Ok(target) => target.file_name().unwrap().to_str().unwrap().into(),
            Err(_) => Value::Null,
        },
        "released" | "locked" => cairn.json(&["show", place])[kind].clone(),
        other => panic!("{other} is no setting"),
    }
}

const SEEDS: [u64; 8] = [1, 10, 11, 12, 13, 20, 21, 990];
const SIZES: [usize; 4] = [10, 5_000, 20_000, 300_000];

/// A new repository takes a commit, with content that the crash may have left half-stored.
fn work_goes_on(cairn: &Cairn) {
    let area = cairn.area("after", "a");
    for seed in SEEDS {
        for size in SIZES {
            fs::write(area.join(format!("{seed}-{size}")), content::bytes(seed, size)).unwrap();
        }
    }
    cairn.publish("after", "a").unwrap();
    for seed in SEEDS {
        for size in SIZES {
            let found = fs::read(cairn.versions("after/1").join(format!("{seed}-{size}"))).unwrap();
            assert!(found == content::bytes(seed, size), "{seed}-{size} after the crash");
        }
    }
}

/// No blob was ever changed in place: each file of the pool has the content that names it, once those
/// are gone that an import was writing.
fn check_pool(cairn: &Cairn) {
    cairn.cli(&["gc", "--full", "--wait"]);
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
    for repository in fs::read_dir(cairn.staging("")).unwrap() {
        for area in fs::read_dir(repository.unwrap().path()).unwrap() {
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
