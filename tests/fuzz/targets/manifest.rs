//! Lines of a manifest and of a checksum list: what is taken is a path below the root (H26).

use cairn::model::manifest::{DeclaredFile, LINE_BYTES_MAX, ManifestForm, check_neighbours};
use cairn::model::tree::FILE_BYTES_MAX;

use super::Target;

pub(crate) const TARGET: Target = Target { run, seeds };

pub(crate) fn run(data: &[u8]) {
    for form in [ManifestForm::Pulp, ManifestForm::Sums] {
        let mut files = Vec::new();
        for line in data.split(|byte| *byte == b'\n') {
            match form.line(line) {
                Ok(None) => {}
                Ok(Some(file)) => {
                    assert!(line.len() <= LINE_BYTES_MAX + 1);
                    assert_eq!(file.size_bytes.is_some(), form == ManifestForm::Pulp);
                    check(&file);
                    files.push(file);
                }
                Err(error) => {
                    assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
                }
            }
        }
        check_all(files);
    }
}

/// A declared file may lie below a directory of ours, and has a length that a file can have.
pub(crate) fn check(file: &DeclaredFile) {
    let path = file.path.as_bytes();
    assert!(!path.is_empty() && !path.iter().any(u8::is_ascii_control), "{path:?}");
    for name in path.split(|byte| *byte == b'/') {
        assert!(!matches!(name, b"" | b"." | b".."), "{path:?}");
        assert!(name.len() <= 255);
    }
    assert!(file.size_bytes.is_none_or(|size| size <= FILE_BYTES_MAX));
    assert_eq!(file.content_name().is_some(), file.size_bytes.is_some_and(|size| size > 0));
}

/// Of files that stand the comparison with their neighbours, none is a directory of another.
fn check_all(mut files: Vec<DeclaredFile>) {
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let stand = files.windows(2).all(|two| check_neighbours(&two[0].path, &two[1].path).is_ok());
    let overlap = |one: &DeclaredFile, other: &DeclaredFile| {
        one.path == other.path || other.path.is_below(one.path.as_bytes())
    };
    let all = files.iter().enumerate();
    let overlaps = all.clone().any(|(at, one)| {
        let others = files.iter().enumerate().filter(|(other, _)| *other != at);
        others.into_iter().any(|(_, other)| overlap(one, other))
    });
    assert_eq!(stand, !overlaps, "{files:?}");
}

fn seeds() -> Vec<Vec<u8>> {
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    [
        format!("a,{digest},0\ndir/b,{digest},12\n\"with, comma\",{digest},3\n"),
        format!("\"with \"\"quotes\"\"\",{digest},9223372036854775807\r\na.b,{digest},1\n"),
        format!("{digest}  a\n{digest} *./dir/b\n\n# comment\n"),
        format!("\\{digest}  with\\\\backslash\nSHA256 (dir/c) = {digest}\n"),
    ]
    .map(String::into_bytes)
    .to_vec()
}
