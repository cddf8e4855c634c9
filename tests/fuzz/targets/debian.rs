//! `Release`, `Packages` and `Sources` of a Debian archive: what is taken is a path below the root (H26, H27).

use cairn::model::debian::index::{IndexKind, IndexParser};
use cairn::model::debian::release::Release;
use cairn::model::tree::FILE_BYTES_MAX;

use super::Target;
use super::manifest::check;

pub(crate) const TARGET: Target = Target { run, seeds };

pub(crate) fn run(data: &[u8]) {
    match Release::parse(data) {
        Ok(release) => {
            assert!(!release.files.is_empty());
            for (path, listed) in &release.files {
                assert!(listed.size_bytes <= FILE_BYTES_MAX);
                let names = path.as_bytes().split(|byte| *byte == b'/');
                assert!(names.into_iter().all(|name| !matches!(name, b"" | b"." | b"..")));
            }
        }
        Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error:?}"),
    }
    for kind in [IndexKind::Packages, IndexKind::Sources] {
        index(kind, data);
    }
}

/// What an index declares does not depend on what follows the paragraph that declares it.
fn index(kind: IndexKind, data: &[u8]) {
    let mut parser = IndexParser::new(kind);
    let (mut declared, mut paragraphs) = (0, 0);
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut take = |file: cairn::model::manifest::DeclaredFile| {
        assert!(file.size_bytes.is_some());
        check(&file);
        declared += 1;
    };
    let taken = lines.try_for_each(|line| {
        paragraphs += usize::from(line.trim_ascii().is_empty());
        parser.line(line, &mut take)
    });
    let ended = taken.and_then(|()| parser.end(&mut take));
    if let Err(error) = ended {
        assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
    }
    if kind == IndexKind::Packages {
        assert!(declared <= paragraphs + 1, "{declared} files of {paragraphs} paragraphs");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    [
        format!(
            "Suite: stable\nCodename: bookworm\nDate: Sat, 11 Jan 2025 10:00:00 UTC\n\
             Valid-Until: Sat, 18 Jan 2025 10:00:00 UTC\nAcquire-By-Hash: yes\nComponents: main contrib\n\
             Architectures: all amd64\nNo-Support-for-Architecture-all: Packages\n\
             SHA256:\n {digest} 12 main/binary-amd64/Packages\n {digest} 7 main/binary-amd64/Packages.xz\n"
        ),
        format!(
            "Package: hello\nDescription: one\n more\nFilename: pool/h/hello_1.deb\nSize: 12\n\
             SHA256: {digest}\n\nPackage: other\nFilename: ./o.deb\nSize: 0\nSHA256: {digest}\n"
        ),
        format!(
            "Package: hello\nDirectory: pool/h\nChecksums-Sha256:\n {digest} 5 hello_1.dsc\n \
             {digest} 9 hello_1.tar.xz\n\nPackage: flat\nDirectory: .\nChecksums-Sha256:\n {digest} 1 a\n"
        ),
    ]
    .map(String::into_bytes)
    .to_vec()
}
