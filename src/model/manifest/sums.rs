//! Checksum lists, as `sha256sum` writes them: a digest, a space, a space or `*`, and the path; or, with `--tag`,
//! `SHA256 (path) = digest`.
//!
//! A line that begins with `\` has a path in which `\\`, `\n` and `\r` stand for a backslash, a newline and a carriage
//! return (GNU coreutils, "md5 invocation").

use super::{DeclaredFile, DeclaredPath, LineError, digest};

const FORM: &str = "`DIGEST  PATH`, as sha256sum writes it";

const DIGEST_DIGITS: usize = 64;

pub(super) fn line(line: &[u8]) -> Result<Option<DeclaredFile>, LineError> {
    if line.trim_ascii().is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    let (is_escaped, line) = match line.strip_prefix(b"\\") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (sha256, path) = match line.strip_prefix(b"SHA256 (") {
        Some(rest) => tagged(rest)?,
        None => plain(line)?,
    };
    let unescaped = if is_escaped { unescape(path)? } else { path.to_vec() };
    Ok(Some(DeclaredFile {
        path: DeclaredPath::new(&unescaped)?,
        sha256: digest(sha256)?,
        size_bytes: None,
    }))
}

/// Splits `DIGEST  PATH` or `DIGEST *PATH`.
fn plain(line: &[u8]) -> Result<(&[u8], &[u8]), LineError> {
    let (sha256, rest) = line.split_at_checked(DIGEST_DIGITS).ok_or(LineError::Form(FORM))?;
    let path = rest.strip_prefix(b"  ").or_else(|| rest.strip_prefix(b" *"));
    Ok((sha256, path.ok_or(LineError::Form(FORM))?))
}

/// Splits what follows `SHA256 (` in a line of `--tag`.
fn tagged(rest: &[u8]) -> Result<(&[u8], &[u8]), LineError> {
    let (before, sha256) = rest
        .len()
        .checked_sub(DIGEST_DIGITS)
        .map(|middle| rest.split_at(middle))
        .ok_or(LineError::Form(FORM))?;
    let path = before.strip_suffix(b") = ").ok_or(LineError::Form(FORM))?;
    Ok((sha256, path))
}

fn unescape(path: &[u8]) -> Result<Vec<u8>, LineError> {
    let mut bytes = path.iter().copied();
    let mut unescaped = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        unescaped.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'\\') => b'\\',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                _ => return Err(LineError::Form(FORM)),
            },
            other => other,
        });
    }
    Ok(unescaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::Sha256;
    use crate::model::manifest::PathError;

    #[test]
    fn lines_of_sha256sum_declare_files() {
        let sha256 = Sha256::of(b"x");
        for (text, path) in [
            (format!("{sha256}  a b"), "a b"),
            (format!("{sha256} *a"), "a"),
            (format!("{sha256}  ./a/b"), "a/b"),
            (format!("{sha256}   a"), " a"),
            (format!("{}  a", sha256.to_string().to_uppercase()), "a"),
            (format!("SHA256 (a) (b) = {sha256}"), "a) (b"),
            (format!("\\{sha256}  a\\\\b"), "a\\b"),
            (format!("{sha256}  a\\b"), "a\\b"),
        ] {
            let found = line(text.as_bytes()).unwrap().unwrap();
            assert_eq!(found.path.as_bytes(), path.as_bytes(), "{text}");
            assert_eq!((found.sha256, found.size_bytes), (sha256, None));
        }
        for nothing in ["", "   ", "# SHA256SUMS"] {
            assert_eq!(line(nothing.as_bytes()), Ok(None));
        }
    }

    #[test]
    fn other_lines_are_refused() {
        let sha256 = Sha256::of(b"x");
        for bad in [
            sha256.to_string(),
            format!("{sha256} a"),
            format!("{sha256}\ta"),
            "d41d8cd98f00b204e9800998ecf8427e  a".to_owned(),
            format!("MD5 (a) = {sha256}"),
            "SHA256 (a) = abc".to_owned(),
            format!("\\{sha256}  a\\x"),
            format!("\\{sha256}  a\\"),
            "<html><body>not found</body></html>".to_owned(),
        ] {
            assert!(line(bad.as_bytes()).is_err(), "{bad}");
        }
        let newline = format!("\\{sha256}  a\\nb");
        assert_eq!(line(newline.as_bytes()), Err(LineError::Path(PathError::Control)));
    }
}
