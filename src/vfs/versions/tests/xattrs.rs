//! `getxattr` and `listxattr` (N13, H19).

use super::super::fixture::*;
use super::super::*;
use crate::model::id::VersionNumber;
use crate::vfs::error::FsError;

fn draft() -> Draft {
    Draft::default().file("dir/f", "text").file("empty", "").change("dir/f", |entry| {
        for (name, value) in [("user.a", "1"), ("trusted.b", "2"), ("security.capability", "3")] {
            let name = name.as_bytes().into();
            entry.attributes.xattrs.insert(name, value.as_bytes().into());
        }
    })
}

fn get(fixture: &Fixture, path: &str, name: &str) -> Result<String, FsError> {
    let value = fixture.fs.getxattr(fixture.ino(path), name.as_bytes())?;
    Ok(String::from_utf8(value.into_vec()).unwrap())
}

#[test]
fn files_answer_their_hash_without_being_read() {
    let fixture = Fixture::new(&[draft()]);
    let hash = |path| get(&fixture, path, "user.cairn.hash");
    assert_eq!(hash("repo/1/dir/f"), Ok(BlobHash::of(b"text").to_string()));
    assert_eq!(hash("repo/1/empty"), Ok(BlobHash::of(b"").to_string()));
    assert_eq!(hash("repo/1/dir"), Err(FsError::NoData));
    assert_eq!(hash("repo"), Err(FsError::NoData));
}

#[test]
fn versions_answer_what_is_known_of_them() {
    let fixture = Fixture::new(&[Draft::default(), draft()]);
    let repository = fixture.registry.by_id(REPOSITORY).unwrap();
    let hash = repository.versions.get(&VersionNumber(2)).unwrap().hash.to_string();
    let expected = [
        ("hash", Ok(hash.as_str())),
        ("number", Ok("2")),
        ("created", Ok("1700000000.123456789")),
        ("message", Ok("number 2")),
        ("author", Ok("someone")),
        ("base", Ok("1")),
        ("name", Err(FsError::NoData)),
        ("released", Ok("false")),
        ("locked", Ok("true")),
        ("files", Ok("2")),
        ("bytes", Ok("4")),
        ("other", Err(FsError::NoData)),
    ];
    for (key, expected) in expected {
        let value = get(&fixture, "repo/2", &format!("user.cairn.{key}"));
        assert_eq!(value, expected.map(str::to_owned), "{key}");
    }
}

#[test]
fn own_attributes_are_answered_and_listed_and_cairns_are_not_listed() {
    let fixture = Fixture::new(&[draft()]);
    let path = "repo/1/dir/f";
    assert_eq!(get(&fixture, path, "user.a"), Ok("1".to_owned()));
    assert_eq!(get(&fixture, path, "security.capability"), Ok("3".to_owned()));
    assert_eq!(get(&fixture, path, "user.b"), Err(FsError::NoData));
    for name in ["system.posix_acl_access", "security.selinux"] {
        assert_eq!(get(&fixture, path, name), Err(FsError::NotSupported));
    }
    let file = fixture.ino(path);
    let all = b"security.capability\0trusted.b\0user.a\0".to_vec();
    assert_eq!(fixture.fs.listxattr(file, true), Ok(all));
    let unprivileged = b"security.capability\0user.a\0".to_vec();
    assert_eq!(fixture.fs.listxattr(file, false), Ok(unprivileged));
    for path in ["repo", "repo/1", "repo/1/dir", "repo/1/empty"] {
        assert_eq!(fixture.fs.listxattr(fixture.ino(path), true), Ok(Vec::new()));
    }
}

#[test]
fn a_declared_digest_is_there_before_its_content() {
    let draft = Draft::default().with("f", declared(DECLARED)).with("absent", declared(b"absent"));
    let fixture = Fixture::new(&[draft.file("own", "text").file("empty", "")]);
    let get = |path, key| get(&fixture, path, &format!("user.cairn.{key}"));
    assert_eq!(get("repo/1/f", "sha256"), Ok(Sha256::of(DECLARED).to_string()));
    assert_eq!(get("repo/1/f", "hash"), Ok(BlobHash::of(DECLARED).to_string()));
    assert_eq!(get("repo/1/absent", "sha256"), Ok(Sha256::of(b"absent").to_string()));
    assert_eq!(get("repo/1/absent", "hash"), Err(FsError::NoData));
    assert_eq!(get("repo/1/empty", "sha256"), Ok(Sha256::of(b"").to_string()));
    assert_eq!(get("repo/1/own", "sha256"), Err(FsError::NoData), "it was never computed");
}
