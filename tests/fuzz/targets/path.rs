//! Paths in archives and over the control socket.

use std::path::{Component, Path};

use cairn::archive::ArchivePath;
use cairn::archive::path::{PATH_BYTES_MAX, printable};
use cairn::model::raw::RawPath;

use super::Target;

pub(crate) const TARGET: Target = Target { run, seeds };

pub(crate) fn run(data: &[u8]) {
    assert!(!printable(data).chars().any(char::is_control));
    if let Ok(path) = ArchivePath::parse(data) {
        assert_safe(path.as_bytes());
        assert_eq!(path.depth(), path.ancestors().count());
        assert_eq!(path.to_raw().components().unwrap().len(), path.depth());
        if !path.is_root() {
            assert_eq!(ArchivePath::parse(path.as_bytes()).as_ref(), Ok(&path));
            let (directory, name) = path.split();
            assert_eq!(
                [directory, name]
                    .join(&b'/')
                    .strip_prefix(b"/")
                    .map_or_else(|| [directory, name].join(&b'/'), <[u8]>::to_vec),
                path.as_bytes()
            );
        }
    }
    if let Ok(names) = RawPath::from(data).components() {
        assert_safe(data);
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        assert_eq!(names.join(&b'/'), data);
    }
    let raw = RawPath::from(data);
    let json = serde_json::to_string(&raw).unwrap();
    assert_eq!(serde_json::from_str::<RawPath>(&json).unwrap(), raw);
}

/// What the operating system would make of it stays below.
pub(crate) fn assert_safe(path: &[u8]) {
    use std::os::unix::ffi::OsStrExt;
    assert!(path.len() <= PATH_BYTES_MAX || path.split(|b| *b == b'/').count() > 1);
    assert!(!path.contains(&0));
    let native = Path::new(std::ffi::OsStr::from_bytes(path));
    assert!(native.components().all(|part| matches!(part, Component::Normal(_))), "{native:?}");
}

fn seeds() -> Vec<Vec<u8>> {
    let deep = "abc/".repeat(1000);
    let texts = ["a", "./a/b", "a//b/", "a/./b", "../a", "/etc/passwd", "...", "a/..b", &deep];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
