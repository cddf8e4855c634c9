//! Archives that must be refused whole, and unusual ones that must not.

use std::io::Write;

use tar::{EntryType, Header};

use super::memory::MemoryStore;
use crate::archive::ArchiveError;
use crate::archive::observer::Unobserved;
use crate::archive::pax;
use crate::archive::tar_import::import_archive;

/// An archive being made, without any of a tar library's checks.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn add(mut self, kind: u8, name: &[u8], link: &[u8], data: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0o640);
        header.set_uid(5);
        header.set_gid(6);
        header.set_mtime(7);
        header.set_size(data.len() as u64);
        if matches!(kind, b'3' | b'4') {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.raw(data)
    }

    fn raw(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &[u8]) -> Self {
        self.add(b'0', name, b"", name)
    }

    fn directory(self, name: &[u8]) -> Self {
        self.add(b'5', name, b"", b"")
    }

    fn hardlink(self, name: &[u8], to: &[u8]) -> Self {
        self.add(b'1', name, to, b"")
    }

    fn pax(self, records: &[(&[u8], &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            pax::push(&mut data, key, value);
        }
        self.add(b'x', b"pax", b"", &data)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 0).unwrap()
}

fn import(archive: &[u8]) -> (MemoryStore, Result<(), ArchiveError>) {
    let mut store = MemoryStore::default();
    let result = import_archive(archive, &mut store, &mut Unobserved).map(drop);
    (store, result)
}

#[test]
fn hostile_archives_are_refused_whole() {
    let new = Archive::default;
    let long = vec![b'n'; 256];
    let value = vec![b'v'; 70_000];
    let noise = super::compare::pattern(5000);
    let cut = zstd(&new().add(b'0', b"a", b"", &noise).end());
    let cut = cut[..cut.len() - 100].to_vec();
    let whole = gzip(&new().add(b'0', b"a", b"", &noise).end());
    let mut wrong = whole.clone();
    let checksum = wrong.len() - 8;
    wrong[checksum] ^= 1;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "absolute",
            new().file(b"ok").file(b"/etc/passwd").end(),
            "`/etc/passwd`: the path is abs",
        ),
        ("parent", new().file(b"a/../../b").end(), "`a/../../b`: the path has a `..`"),
        ("parent by pax", new().pax(&[(b"path", b"../x")]).file(b"x").end(), "`../x`"),
        ("parent by long name", new().add(b'L', b"@", b"", b"../x\0").file(b"x").end(), "`../x`"),
        ("NUL", new().pax(&[(b"path", b"a\0b")]).file(b"x").end(), "NUL"),
        ("long name", new().pax(&[(b"path", &long)]).file(b"x").end(), "more than 255"),
        ("file twice", new().file(b"a").file(b"a").end(), "`a`: it occurs twice"),
        ("twice, spelled otherwise", new().file(b"a/b").file(b"./a//b").end(), "occurs twice"),
        ("directory twice", new().directory(b"a").directory(b"a/").end(), "occurs twice"),
        ("file and directory", new().file(b"a").directory(b"a/").end(), "occurs twice"),
        (
            "below a file",
            new().file(b"a").file(b"a/b").end(),
            "`a/b`: it is below `a`, which is no",
        ),
        ("file above", new().file(b"a/b").file(b"a").end(), "`a`: other entries are below it"),
        (
            "below a symlink",
            new().add(b'2', b"a", b"/etc", b"").file(b"a/passwd").end(),
            "`a/passwd`: it is below `a`",
        ),
        ("top is a file", new().file(b"./").end(), ""),
        ("top is a symlink", new().add(b'2', b".", b"/", b"").end(), "names the top"),
        ("hardlink out", new().hardlink(b"a", b"../x").end(), "`a`: its link target: the path has"),
        ("hardlink absolute", new().hardlink(b"a", b"/etc/shadow").end(), "its link target: the"),
        ("hardlink to nothing", new().hardlink(b"a", b"b").end(), "`b` is not in the archive"),
        ("hardlink to itself", new().hardlink(b"a", b"a").end(), "chain of links"),
        ("hardlinks in a ring", new().hardlink(b"a", b"b").hardlink(b"b", b"a").end(), "chain"),
        (
            "hardlink to a directory",
            new().hardlink(b"a", b"d").directory(b"d").end(),
            "a directory",
        ),
        ("empty symlink", new().add(b'2', b"a", b"", b"").end(), "link target is empty"),
        ("volume label", new().add(b'V', b"label", b"", b"").end(), "`label`: its type `V`"),
        ("multi-volume", new().add(b'M', b"rest", b"", b"").end(), "its type `M`"),
        ("bad pax header", new().add(b'x', b"pax", b"", b"9999 a=b\n").file(b"a").end(), "pax"),
        ("pax at the end", new().pax(&[(b"path", b"a")]).end(), "after an extended header"),
        ("bad size", new().pax(&[(b"size", b"-1")]).file(b"a").end(), "`a`: its size is not valid"),
        ("bad time", new().pax(&[(b"mtime", b"soon")]).file(b"a").end(), "its time is not valid"),
        ("huge owner", new().pax(&[(b"uid", b"4294967296")]).file(b"a").end(), "its owner is not"),
        (
            "sparse map out of order",
            sparse_pax(b"2\n512\n1\n0\n1\n", b"1024", 2),
            "its map of a sparse file is not valid",
        ),
        ("sparse map too long", sparse_pax(b"9999999\n", b"1024", 0), "its map"),
        ("sparse map beyond the end", sparse_pax(b"1\n2000\n1\n", b"1024", 1), "its map"),
        (
            "sparse beyond all files",
            sparse_pax(b"1\n0\n1\n", b"9223372036854775807", 1),
            "`sparse`: it is longer than 16 TiB",
        ),
        ("sparse 0.1", new().pax(&[(b"GNU.sparse.map", b"0,1")]).file(b"a").end(), "sparse format"),
        ("no end", new().file(b"a").0, "without its end marker"),
        ("cut", new().file(b"a").end()[..600].to_vec(), "in the middle of a file"),
        (
            "two archives",
            [new().file(b"a").end(), new().file(b"b").end()].concat(),
            "after its end",
        ),
        ("nothing", Vec::new(), "no tar archive"),
        ("text", b"hello world\n".repeat(100), "no tar archive"),
        ("no zstd", b"\x28\xb5\x2f\xfdxxxx".to_vec(), "cannot be read"),
        (
            "huge attribute",
            new().pax(&[(b"SCHILY.xattr.user.a", &value)]).file(b"a").end(),
            "`a`: its attributes cannot be kept",
        ),
        ("gzip of nothing", gzip(b""), "no tar archive"),
        ("zstd of nothing", zstd(b""), "no tar archive"),
        ("cut zstd", cut, "nothing was imported"),
        ("cut gzip", whole[..whole.len() - 100].to_vec(), "cut off"),
        ("gzip with a wrong checksum", wrong, "decompressed"),
    ];
    for (name, archive, expected) in cases {
        let (store, result) = import(&archive);
        if expected.is_empty() {
            result.unwrap();
            continue;
        }
        let error = result.expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(error.starts_with("nothing was imported"), "{name}: {error}");
        assert!(store.aborted && store.published == 0, "{name}");
    }
}

/// A member in sparse format 1.0 with this map and so many bytes of data.
fn sparse_pax(map: &[u8], real_size: &[u8], data: usize) -> Vec<u8> {
    let mut stored = map.to_vec();
    stored.resize(512, 0);
    stored.resize(512 + data, b'x');
    Archive::default()
        .pax(&[
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", b"sparse"),
            (b"GNU.sparse.realsize", real_size),
        ])
        .add(b'0', b"GNUSparseFile.0/sparse", b"", &stored)
        .end()
}

#[test]
fn unusual_archives_are_taken() {
    let new = Archive::default;
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("empty", new().end(), &[]),
        ("no directories", new().file(b"a/b/c").end(), &["", "a", "a/b", "a/b/c"]),
        ("directory last", new().file(b"a/b").directory(b"a").end(), &["", "a", "a/b"]),
        ("top", new().directory(b"./").file(b"./a").end(), &["", "a"]),
        ("hardlink first", new().hardlink(b"a", b"z").file(b"z").end(), &["", "a", "z"]),
        (
            "hardlink to a hardlink",
            new().hardlink(b"a", b"b").hardlink(b"b", b"./c").file(b"c").end(),
            &["", "a", "b", "c"],
        ),
        ("old directory", new().add(b'\0', b"d/", b"", b"").end(), &["", "d"]),
        (
            "devices",
            new().add(b'3', b"c", b"", b"").add(b'4', b"b", b"", b"").end(),
            &["", "b", "c"],
        ),
        ("fifo", new().add(b'6', b"f", b"", b"").end(), &["", "f"]),
        ("contiguous", new().add(b'7', b"f", b"", b"x").end(), &["", "f"]),
        (
            "global comment",
            new().add(b'g', b"pax_global_header", b"", b"13 comment=x\n").file(b"a").end(),
            &["", "a"],
        ),
        ("newline in a name", new().pax(&[(b"path", b"a\nb")]).file(b"x").end(), &["", "a\nb"]),
        ("sparse", sparse_pax(b"1\n1000\n2\n", b"2000", 2), &["", "sparse"]),
        ("padded", [new().file(b"a").end(), vec![0; 9000]].concat(), &["", "a"]),
    ];
    for (name, archive, expected) in cases {
        let (store, result) = import(&archive);
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(store.paths(), expected, "{name}");
        assert_eq!(store.published, 1);
    }
}

#[test]
fn a_sparse_file_has_its_pieces_in_place() {
    let (store, result) = import(&sparse_pax(b"2\n0\n1\n1000\n2\n", b"2000", 3));
    result.unwrap();
    let mut expected = vec![0; 2000];
    expected[0] = b'x';
    expected[1000..1002].fill(b'x');
    assert_eq!(store.blobs.into_values().collect::<Vec<_>>(), [expected]);
}
