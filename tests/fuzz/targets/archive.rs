//! Tar archives: what is taken has only safe paths, and comes out of an export as it was; what is
//! refused publishes nothing.

use std::io::Write;

use cairn::archive::observer::Unobserved;
use cairn::archive::tar_import::import_archive;
use cairn::archive::tar_write::export_archive;
use tar::{EntryType, Header};

use super::Target;
use super::sink::Sink;

pub(crate) const TARGET: Target = Target { run, seeds };

const BLOCK: usize = 512;

pub(crate) fn run(data: &[u8]) {
    check(data);
    // Without right checksums hardly anything would be looked at.
    check(&with_checksums(data));
}

fn check(archive: &[u8]) {
    let mut sink = Sink::default();
    match import_archive(archive, &mut sink, &mut Unobserved) {
        Err(error) => {
            assert_eq!((sink.published, sink.aborted), (0, 1), "{error}");
            assert!(!error.to_string().chars().any(|c| c.is_control() && c != '\n'), "{error:?}");
        }
        Ok(_) => {
            assert_eq!((sink.published, sink.aborted), (1, 0));
            if !sink.attached {
                come_back(&mut sink);
            }
        }
    }
}

/// An export and an import of it lose nothing.
fn come_back(sink: &mut Sink) {
    let mut archive = Vec::new();
    export_archive(sink, &mut archive, &mut |_| {}).unwrap();
    let mut again = Sink::default();
    import_archive(&archive[..], &mut again, &mut Unobserved).unwrap();
    assert_eq!(sink.root(), again.root());
}

/// Gives each block that can be a header the checksum that belongs to it.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut archive = data.to_vec();
    for block in archive.chunks_exact_mut(BLOCK) {
        let empty = block.iter().all(|byte| *byte == 0);
        let number = |byte: &u8| matches!(byte, b'0'..=b'7' | b' ' | 0);
        if empty || !block[148..156].iter().all(number) {
            continue;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive
}

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
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.raw(data)
    }

    fn raw(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    fn file(self, name: &[u8]) -> Self {
        self.add(b'0', name, b"", name)
    }

    fn pax(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let digits = (1..4).find(|digits| (rest + digits).to_string().len() == *digits);
            data.extend_from_slice((rest + digits.unwrap()).to_string().as_bytes());
            data.extend_from_slice(format!(" {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.add(kind, b"pax", b"", &data)
    }

    fn sparse(self) -> Self {
        let mut stored = b"2\n0\n3\n1000\n3\n".to_vec();
        stored.resize(BLOCK, 0);
        stored.extend_from_slice(b"onetwo");
        self.pax(
            b'x',
            &[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"sparse"),
                ("GNU.sparse.realsize", b"2000"),
            ],
        )
        .add(b'0', b"GNUSparseFile.0/sparse", b"", &stored)
    }

    /// GNU's own form of a sparse file, whose map goes on in another block.
    fn old_sparse(mut self) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..3].copy_from_slice(b"old");
        header.set_entry_type(EntryType::new(b'S'));
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(6);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.realsize[..11].copy_from_slice(b"00000004000");
        gnu.sparse[0].offset[..11].copy_from_slice(b"00000000000");
        gnu.sparse[0].numbytes[..11].copy_from_slice(b"00000000003");
        gnu.isextended[0] = 1;
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        let mut more = tar::GnuExtSparseHeader::new();
        more.sparse[0].offset[..11].copy_from_slice(b"00000001000");
        more.sparse[0].numbytes[..11].copy_from_slice(b"00000000003");
        self.0.extend_from_slice(more.as_bytes());
        self.raw(b"onetwo")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let new = Archive::default;
    let long = [b'n'; 200];
    let plain = new()
        .add(b'5', b"d/", b"", b"")
        .file(b"d/a")
        .add(b'1', b"d/b", b"d/a", b"")
        .add(b'2', b"s", b"d/a", b"")
        .add(b'3', b"c", b"", b"")
        .add(b'6', b"f", b"", b"")
        .end();
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(&plain).unwrap();
    let records: [(&str, &[u8]); 7] = [
        ("path", &long),
        ("mtime", b"-1.000000001"),
        ("uid", b"4000000000"),
        ("gid", b"70000"),
        ("SCHILY.xattr.user.a", b"1=\n%"),
        ("size", b"1"),
        ("linkpath", b"d/a"),
    ];
    let mut huge = vec![0; 200_000];
    huge[150_000] = 1;
    vec![
        zipped.finish().unwrap(),
        plain,
        new().pax(b'x', &records).file(b"x").end(),
        new().pax(b'g', &[("comment", b"c"), ("mtime", b"5")]).file(b"x").file(b"y").end(),
        new().add(b'L', b"@", b"", b"d/long\0").add(b'K', b"@", b"", b"to\0").file(b"x").end(),
        new().sparse().end(),
        new().old_sparse().end(),
        new().file(b"a").add(b'1', b"b", b"a", b"").add(b'1', b"c", b"b", b"").end(),
        new().add(b'0', b"huge", b"", &huge).end(),
        new().end(),
    ]
}
