//! Passwords, tokens and keys: read when they are needed, never shown (H32).

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::{NetError, NetErrorKind};
use crate::model::remote::SecretSource;

/// The longest file of a secret or certificate, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A password or token. It has no form that could be printed or stored.
pub(super) struct Secret(String);

impl Secret {
    /// Reads it from where it is.
    ///
    /// # Errors
    /// When it is not there, or others may read it.
    pub(super) fn read(source: &SecretSource) -> Result<Self, NetError> {
        let text = match source {
            SecretSource::File(path) => {
                let bytes = read_private(path)?;
                String::from_utf8(bytes)
                    .map_err(|_| local(format!("{} is not text", path.display())))?
            }
            SecretSource::Environment(name) => std::env::var(name).map_err(|_| {
                local(format!("the daemon's environment has no variable {name}, or it is not text"))
            })?,
        };
        let line = text.lines().next().unwrap_or_default().to_owned();
        if line.is_empty() {
            return Err(local(format!("{} is empty", describe(source))));
        }
        Ok(Self(line))
    }

    /// The secret itself, to be put into a header and nowhere else.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

fn describe(source: &SecretSource) -> String {
    match source {
        SecretSource::File(path) => path.display().to_string(),
        SecretSource::Environment(name) => format!("the variable {name}"),
    }
}

/// Reads a file that nobody but its owner may read.
pub(super) fn read_private(path: &Path) -> Result<Vec<u8>, NetError> {
    let (bytes, mode) = read(path)?;
    if mode & 0o077 != 0 {
        return Err(local(format!(
            "{} can be read by others (mode {:04o}): chmod 600 it",
            path.display(),
            mode & 0o7777
        )));
    }
    Ok(bytes)
}

/// Reads a file that everybody may read: certificates, keys to check signatures with.
///
/// # Errors
/// When it cannot be read, or is longer than such files are.
pub fn read_public(path: &Path) -> Result<Vec<u8>, NetError> {
    read(path).map(|(bytes, _)| bytes)
}

fn read(path: &Path) -> Result<(Vec<u8>, u32), NetError> {
    let open = || -> io::Result<(Vec<u8>, u32)> {
        let file = std::fs::File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if read as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other("it is too long"));
        }
        Ok((bytes, metadata.mode()))
    };
    open().map_err(|error| local(format!("cannot read {}: {error}", path.display())))
}

fn local(message: String) -> NetError {
    NetError::new(NetErrorKind::Local, message)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_the_first_line_of_a_private_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let source = SecretSource::File(path.clone());
        assert!(Secret::read(&source).is_err(), "it is missing");
        for (content, mode, found) in [
            ("secret\n", 0o600, Some("secret")),
            ("secret", 0o400, Some("secret")),
            ("secret\r\nmore\n", 0o600, Some("secret")),
            ("secret\n", 0o640, None),
            ("secret\n", 0o604, None),
            ("", 0o600, None),
            ("\nsecret\n", 0o600, None),
        ] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let secret = Secret::read(&source);
            assert_eq!(secret.as_ref().ok().map(Secret::reveal), found, "{content:?} {mode:o}");
            if let Err(error) = secret {
                assert!(!error.to_string().contains("secret"), "{error}");
            }
        }
        let directory = SecretSource::File(directory.path().to_owned());
        assert!(Secret::read(&directory).is_err());
        assert!(Secret::read(&SecretSource::Environment("CAIRN_NO_SUCH".to_owned())).is_err());
    }
}
