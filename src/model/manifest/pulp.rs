//! `PULP_MANIFEST`: one file per line, `path,sha256,size`.
//!
//! Pulp's own reader (pulp_file, `manifest.py`) leaves out lines that begin with `#` and empty ones. It trims spaces around
//! the line, so a path cannot begin with one. It splits at every comma; this one takes the last two fields from the
//! right, so a path may have commas.

use super::{DeclaredFile, DeclaredPath, LineError, digest, size};

const FORM: &str = "`path,sha256,size`";

pub(super) fn line(line: &[u8]) -> Result<Option<DeclaredFile>, LineError> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    let mut fields = line.rsplitn(3, |byte| *byte == b',').map(<[u8]>::trim_ascii);
    let (Some(length), Some(sha256), Some(path)) = (fields.next(), fields.next(), fields.next())
    else {
        return Err(LineError::Form(FORM));
    };
    Ok(Some(DeclaredFile {
        path: DeclaredPath::new(path)?,
        sha256: digest(sha256)?,
        size_bytes: Some(size(length)?),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::Sha256;

    #[test]
    fn lines_declare_files() {
        let sha256 = Sha256::of(b"x");
        for (text, path) in [
            (format!("a/b.iso,{sha256},1"), "a/b.iso"),
            (format!("  a , {sha256} , 1  "), "a"),
            (format!("a,b,c,{sha256},1"), "a,b,c"),
        ] {
            let found = line(text.as_bytes()).unwrap().unwrap();
            assert_eq!(found.path.as_bytes(), path.as_bytes());
            assert_eq!((found.sha256, found.size_bytes), (sha256, Some(1)));
        }
        for nothing in ["", "  ", "# a comment", "#a,b,c"] {
            assert_eq!(line(nothing.as_bytes()), Ok(None));
        }
    }

    #[test]
    fn other_lines_are_refused() {
        let sha256 = Sha256::of(b"x");
        for bad in [
            "a".to_owned(),
            format!("a,{sha256}"),
            format!("a,{sha256},"),
            format!("a,{sha256},x"),
            "a,abc,1".to_owned(),
            format!(",{sha256},1"),
            format!("../a,{sha256},1"),
            "<html>,,".to_owned(),
        ] {
            assert!(line(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
