//! Content of a bucket that is fetched when it is first read (L1 to L9, L13, H33, H51, H52)

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Cairn, content, fsck, tree, wait};

/// A bucket in a directory, and a store that publishes to it.
pub(crate) struct Published {
    pub(crate) one: Cairn,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Published {
    /// A version `lib/1` with small files, and one of its own object.
    pub(crate) fn new() -> Self {
        let mut files = BTreeMap::new();
        for number in 0..40_u64 {
            let path = format!("d{}/f{number:02}", number % 4);
            let size = usize::try_from(number * number * 37 % 9000 + 1).unwrap();
            files.insert(path, content::bytes(number, size));
        }
        files.insert("text".to_owned(), "the same line\n".repeat(3000).into_bytes());
        files.insert("large".to_owned(), content::bytes(77, (8 << 20) + 5));
        files.insert("empty".to_owned(), Vec::new());
        Self::of(files)
    }

    pub(crate) fn of(files: BTreeMap<String, Vec<u8>>) -> Self {
        let published = Self { one: Cairn::unmounted(), files };
        published.write(&published.files);
        published.one.cli(&["remote", "add", "store", "bucket", &published.url()]);
        published.publish();
        published
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.one.scratch().join("source")
    }

    fn write(&self, files: &BTreeMap<String, Vec<u8>>) {
        for (path, bytes) in files {
            let path = self.source().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// Adds a file, which the next version has.
    pub(crate) fn add(&mut self, path: &str, bytes: &[u8]) {
        let added = BTreeMap::from([(path.to_owned(), bytes.to_vec())]);
        self.write(&added);
        self.files.extend(added);
    }

    pub(crate) fn publish(&self) {
        self.one.cli(&["import", self.source().to_str().unwrap(), "lib", "--mirror"]);
        self.one.cli(&["push", "lib", "store"]);
    }

    pub(crate) fn bucket(&self) -> PathBuf {
        self.one.scratch().join("bucket")
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.bucket().display())
    }

    /// A mounted store that knows the bucket, and has pulled from it.
    pub(crate) fn pulled(&self, policy: &str) -> Cairn {
        self.pull_into(Cairn::start(), policy)
    }

    pub(crate) fn pull_into(&self, cairn: Cairn, policy: &str) -> Cairn {
        cairn.cli(&["remote", "add", "store", "bucket", &self.url(), "--policy", policy]);
        cairn.cli(&["pull", "lib", "store"]);
        cairn
    }

    #[track_caller]
    pub(crate) fn read_all(&self, cairn: &Cairn) {
        for (path, bytes) in &self.files {
            let read = fs::read(cairn.versions("lib/1").join(path)).unwrap();
            assert!(read == *bytes, "{path}");
        }
    }

    /// Objects of a kind in the bucket.
    pub(crate) fn objects(&self, kind: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.bucket().join(kind)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The packs that have contents, not trees.
    pub(crate) fn content_packs(&self) -> Vec<PathBuf> {
        let has_text = |path: &PathBuf| fs::metadata(path).unwrap().len() > 100_000;
        self.objects("packs").into_iter().filter(has_text).collect()
    }
}

pub(crate) fn absent(cairn: &Cairn) -> u64 {
    cairn.json(&["status"])["absent_content_count"].as_u64().unwrap()
}

pub(crate) fn stop_and_check(mut cairn: Cairn) {
    cairn.stop();
    fsck::check_clean_store(&cairn.store());
}

fn run(command: &str, arguments: &[&str], path: &Path) -> String {
    let output = match command {
        "find" => Command::new(command).arg(path).args(arguments).output().unwrap(),
        _ => Command::new(command).args(arguments).arg(path).output().unwrap(),
    };
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn l3_a_pulled_version_is_complete_to_look_at_and_looking_fetches_nothing() {
    let published = Published::new();
    let two = published.pulled("on_demand");
    assert!(two.pool().is_empty(), "nothing came but the tree");
    assert_eq!(absent(&two), published.files.len() as u64 - 1, "all but the empty file");
    let top = two.versions("lib/1");
    for (path, bytes) in &published.files {
        assert_eq!(fs::metadata(top.join(path)).unwrap().len(), bytes.len() as u64, "{path}");
    }
    run("find", &["-ls"], &top);
    run("du", &["-s", "--apparent-size"], &top);
    two.cli(&["du", "lib"]);
    two.cli(&["fsck", "--full"]);
    let backup = two.scratch().join("backup");
    two.cli(&["backup", backup.to_str().unwrap()]);
    fsck::check_store(&backup);
    two.cli(&["gc", "--full"]);
    assert!(two.pool().is_empty());
    assert_eq!(two.json(&["show", "lib/1"]), published.one.json(&["show", "lib/1"]), "L9");
    // A backup knows where it can be had.
    let mut three = Cairn::over(&backup);
    three.mount();
    published.read_all(&three);
    stop_and_check(three);
    stop_and_check(two);
}

#[test]
fn l4_l9_once_everything_was_read_the_stores_are_equal() {
    let published = Published::new();
    let (whole, mut two) = (published.pulled("immediate"), published.pulled("on_demand"));
    assert_eq!(whole.json(&["show", "lib/1"]), two.json(&["show", "lib/1"]));
    published.read_all(&two);
    assert_eq!(absent(&two), 0);
    let named = |cairn: &Cairn| -> Vec<(PathBuf, u64)> {
        let pool = cairn.store().join("pool");
        let below = |(path, size): (PathBuf, u64)| (path.strip_prefix(&pool).unwrap().into(), size);
        let mut files: Vec<_> = cairn.pool().into_iter().map(below).collect();
        files.sort();
        files
    };
    assert_eq!(named(&whole), named(&two));
    tree::assert_same_below(&whole.versions("lib/1"), &two.versions("lib/1"));
    // What is here survives the remote (L6), and a restart.
    two.cli(&["remote", "remove", "store"]);
    two.restart();
    published.read_all(&two);
    stop_and_check(two);
    stop_and_check(whole);
}

#[test]
fn l7_a_bucket_that_alone_has_content_is_not_removed() {
    let published = Published::new();
    let two = published.pulled("on_demand");
    let error = two.cli_fails(&["remote", "remove", "store"]);
    assert!(error.contains("can be had from store alone"), "{error}");
    two.cli(&["remote", "add", "again", "bucket", &published.url(), "--policy", "on_demand"]);
    two.cli(&["remote", "remove", "store", "--force"]);
    let lost = fs::read(two.versions("lib/1/text")).unwrap_err();
    assert_eq!(lost.raw_os_error(), Some(5));
    let output = two.run(&["fsck"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("no remote is known to have it"), "{said}");
}

#[test]
fn l1_after_a_change_to_immediate_the_next_pull_fetches_what_is_absent() {
    let published = Published::new();
    let two = published.pulled("on_demand");
    two.cli(&["remote", "set", "store", "--policy", "immediate"]);
    let text = two.cli(&["pull", "lib", "store"]);
    assert_eq!(absent(&two), 0, "{text}");
    two.cli(&["remote", "remove", "store"]);
    published.read_all(&two);
    stop_and_check(two);
}

/// What comes from a bucket at once is no cache of another one that has it, too, and outlives that (L1, L8).
#[test]
fn l8_what_is_cached_of_one_bucket_can_be_had_from_another_that_is_pulled_later() {
    let published = Published::new();
    let other = published.one.scratch().join("other");
    let url = format!("file://{}", other.display());
    published.one.cli(&["import", published.source().to_str().unwrap(), "again"]);
    published.one.cli(&["remote", "add", "other", "bucket", &url]);
    published.one.cli(&["push", "again", "other"]);
    let two = published.pulled("streamed");
    published.read_all(&two);
    wait::until("it is a cache", || two.json(&["status"])["cached_bytes"].as_u64() > Some(0));
    two.cli(&["remote", "add", "other", "bucket", &url]);
    two.cli(&["pull", "again", "other"]);
    // What was looked at a moment ago stays.
    wait::until("all is absent", || {
        two.cli(&["reclaim"]);
        absent(&two) == published.files.len() as u64 - 1
    });
    fs::rename(published.bucket(), published.one.scratch().join("gone")).unwrap();
    for (path, bytes) in &published.files {
        let read = fs::read(two.versions("again/1").join(path)).unwrap();
        assert!(read == *bytes, "{path}");
    }
    assert_eq!(two.json(&["status"])["cached_bytes"], 0, "it is kept");
    stop_and_check(two);
}

/// What is absent cannot be compared with what a remote declares; it is what that declares from then on.
#[test]
fn l8_a_version_that_was_pulled_lazily_is_synced_over() {
    let published = Published::new();
    let two = published.pulled("on_demand");
    let site = support::http::Site::default();
    let files: Vec<(&str, &[u8])> =
        published.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    site.set_manifest(&files);
    let server = site.serve();
    let url = server.url("/");
    two.cli(&["remote", "add", "list", "manifest", &url, "--policy", "on_demand"]);
    two.cli(&["sync", "lib", "list"]);
    assert!(two.pool().is_empty(), "nothing is fetched for that");
    fs::rename(published.bucket(), published.one.scratch().join("gone")).unwrap();
    for (path, bytes) in &published.files {
        let read = fs::read(two.versions("lib/2").join(path)).unwrap();
        assert!(read == *bytes, "{path}");
    }
    // What both versions have counted twice for the quota, since nobody knew that it was the same. That is no damage.
    stop_and_check(two);
}

#[test]
fn l5_why_tells_what_holds_absent_content() {
    let published = Published::new();
    let two = published.pulled("on_demand");
    let why = two.json(&["why", "lib/1/text"]);
    assert_eq!((&why["absent"], &why["damaged"]), (&true.into(), &false.into()), "{why}");
    assert_eq!(why["holders"][0]["paths"][0], "text", "{why}");
    assert!(two.cli(&["why", "lib/1/text"]).contains("absent"));
    assert!(two.pool().is_empty());
    published.read_all(&two);
    assert_eq!(two.json(&["why", "lib/1/text"])["absent"], false);
    stop_and_check(two);
}

#[test]
fn l13_an_area_over_a_lazy_version_fetches_only_what_is_changed_in_part() {
    let published = Published::new();
    let two = published.pulled("on_demand");
    let area = two.area("lib", "next@latest");
    fs::rename(area.join("d0"), area.join("moved")).unwrap();
    fs::remove_file(area.join("d1/f01")).unwrap();
    fs::hard_link(area.join("d1/f05"), area.join("linked")).unwrap();
    fs::write(area.join("d2/f02"), "new").unwrap();
    run("chmod", &["600"], &area.join("d3/f03"));
    two.publish("lib", "next@latest").unwrap();
    assert_eq!(two.pool().len(), 1, "what was written alone is here");
    let area = two.area("lib", "third@latest");
    let path = "d3/f07";
    let mut expected = published.files[path].clone();
    expected[0] ^= 1;
    let file = fs::OpenOptions::new().write(true).open(area.join(path)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &expected[..1], 0).unwrap();
    drop(file);
    assert_eq!(fs::read(area.join(path)).unwrap(), expected);
    two.publish("lib", "third@latest").unwrap();
    assert_eq!(fs::read(two.versions("lib/3").join(path)).unwrap(), expected);
    assert_eq!(fs::read(two.versions("lib/2/moved/f00")).unwrap(), published.files["d0/f00"]);
    stop_and_check(two);
}

/// What a store gets in another way needs no bucket any more, with the references that the absent blob had.
#[test]
fn h33_content_that_is_written_here_is_absent_no_more() {
    let published = Published::new();
    let two = published.pulled("on_demand");
    let before = absent(&two);
    let area = two.area("lib", "next@latest");
    fs::write(area.join("copy"), &published.files["text"]).unwrap();
    fs::write(area.join("second"), &published.files["large"]).unwrap();
    two.publish("lib", "next@latest").unwrap();
    assert_eq!(absent(&two), before - 2);
    two.cli(&["import", published.source().join("d0").to_str().unwrap(), "other"]);
    assert_eq!(absent(&two), before - 12);
    fs::rename(published.bucket(), published.one.scratch().join("gone")).unwrap();
    for path in ["text", "large", "d0/f04"] {
        assert!(fs::read(two.versions("lib/1").join(path)).unwrap() == published.files[path]);
    }
    assert!(fs::read(two.versions("lib/1/d1/f05")).is_err());
    // Without a version that names it an absent blob goes.
    two.cli(&["delete", "lib/1", "lib/2", "--force"]);
    two.cli(&["gc", "--full", "--wait"]);
    stop_and_check(two);
}

#[test]
fn l5_h51_wrong_bytes_reach_nobody_and_another_bucket_is_asked() {
    let published = Published::new();
    let copy = published.one.scratch().join("copy");
    run("cp", &["-r", published.bucket().to_str().unwrap()], &copy);
    for pack in published.content_packs().into_iter().chain(published.objects("blobs")) {
        let mut bytes = fs::read(&pack).unwrap();
        bytes.iter_mut().skip(8).for_each(|byte| *byte ^= 0x55);
        fs::write(&pack, bytes).unwrap();
    }
    let two = published.pulled("on_demand");
    for path in ["text", "large", "d0/f04"] {
        assert_eq!(fs::read(two.versions("lib/1").join(path)).unwrap_err().raw_os_error(), Some(5));
    }
    assert!(two.pool().is_empty());
    let error = two.cli_fails(&["cat", "lib/1/d0/f08"]);
    assert!(error.contains("does not have what an index says"), "{error}");
    assert!(two.json(&["status"])["failed_content_count"].as_u64().unwrap() >= 3);
    // The same bucket elsewhere: the next pull from there notes what it has, also of a version that is here (L8).
    let url = format!("file://{}", copy.display());
    two.cli(&["remote", "add", "copy", "bucket", &url, "--policy", "on_demand"]);
    two.cli(&["pull", "lib", "copy"]);
    for (path, bytes) in &published.files {
        let path = format!("lib/1/{path}");
        // What failed is tried again after a while.
        wait::until("it can be read", || fs::read(two.versions(&path)).is_ok());
        let read = fs::read(two.versions(&path)).unwrap();
        assert!(read == *bytes, "{path}");
    }
    stop_and_check(two);
}
