//! A small store of every kind of row, in memory, to be written out and damaged.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cairn::control::protocol::Request;
use cairn::control::upkeep::UpkeepRequest;
use cairn::model::policy::{Limit, Policy};
use cairn::store::layout::Layout;

use crate::world::World;

/// Paths within the store with their bytes; `None` for a directory. Parents come first.
type Image = Vec<(PathBuf, Option<Vec<u8>>)>;

/// Writes the store into a directory that is made for it.
pub(crate) fn write(to: &Path) {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    use std::os::unix::fs::DirBuilderExt;
    for (path, bytes) in IMAGE.get_or_init(image) {
        let path = to.join(path);
        match bytes {
            None => std::fs::DirBuilder::new().mode(0o700).create(path).unwrap(),
            Some(bytes) => std::fs::write(path, bytes).unwrap(),
        }
    }
}

fn image() -> Image {
    let closed = sample().close();
    let mut image = Image::new();
    read(&closed.path(), Path::new(""), &mut image);
    image
}

/// Versions with files, directories and links, one of them deleted; tags, a policy, a quota; an
/// area with files that are sealed and files that are not.
fn sample() -> World {
    let world = World::with_repository();
    let area = world.stage("one");
    for (path, bytes) in [("a", &b"one"[..]), ("d/b", b"two"), ("d/e/c", b"three"), ("empty", b"")]
    {
        world.write(area, path, bytes);
    }
    world.link(area, "a", "d/link");
    world.commit("one");
    world.publish("two", &[("a", b"one"), ("new", b"four")]);
    world.publish("three", &[("a", b"changed")]);
    world.delete(&["2"], true).unwrap();
    let repository = || "web".parse().unwrap();
    let (tag, version) = ("v1".parse().unwrap(), "1".parse().unwrap());
    world.ask(Request::SetTag { repository: repository(), tag, version }).unwrap();
    let policy = Policy { keep_unreleased: Some(5), ..Policy::default() };
    let policy = UpkeepRequest::SetPolicy { repository: repository(), policy: Some(policy) };
    world.ask(Request::Upkeep(policy)).unwrap();
    let (bytes, files) = (Limit::Limit(1 << 30), Limit::Limit(1000));
    let quota = UpkeepRequest::SetQuota { repository: repository(), bytes, files };
    world.ask(Request::Upkeep(quota)).unwrap();
    let work = world.stage("work@1");
    world.write(work, "sealed", b"in the area alone");
    world.wait_sealed(work, "sealed");
    world.remove(work, "a");
    world.write(work, "d/large", &vec![7; 2 << 20]);
    world
}

fn read(root: &Path, below: &Path, image: &mut Image) {
    image.push((below.to_owned(), None));
    let layout = Layout::new(root);
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(root.join(below)).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let relative = path.strip_prefix(root).unwrap();
        if path.is_dir() {
            read(root, relative, image);
        } else if path != layout.reserve() {
            image.push((relative.to_owned(), Some(std::fs::read(&path).unwrap())));
        }
    }
}
