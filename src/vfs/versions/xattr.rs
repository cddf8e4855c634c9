//! `getxattr` and `listxattr`.
//!
//! Besides an entry's own attributes, `user.cairn.*` are answered and never listed (H19): listed,
//! they would make every copy differ from its original.

use std::fmt::Display;

use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::model::id::Ino;
use crate::model::kind::FileKind;
use crate::model::tree::Xattrs;
use crate::model::tree_format::TreeSource;
use crate::model::version::Version;
use crate::vfs::error::FsError;

use super::number::Class;
use super::{Blobs, VersionFs, class};

/// Prefix of the attributes that cairn answers itself.
const CAIRN: &[u8] = b"user.cairn.";

/// Attributes that only the superuser may see.
const TRUSTED: &[u8] = b"trusted.";

/// Attributes with a meaning to the kernel, such as access control lists. None is stored (H23).
const SYSTEM: &[u8] = b"system.";

/// Where an entry has no such label, it is answered as not supported rather than absent: `ls -l`
/// then asks for one file of the mount instead of for each.
const SELINUX: &[u8] = b"security.selinux";

impl<T, B> VersionFs<T, B>
where
    T: TreeSource,
    T::Error: Display,
    B: Blobs,
{
    /// Value of an extended attribute.
    ///
    /// # Errors
    /// [`FsError::NoData`] when there is none of that name, [`FsError::NotSupported`] for access
    /// control lists and security labels.
    pub(crate) fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Box<[u8]>, FsError> {
        if name.starts_with(SYSTEM) {
            return Err(FsError::NotSupported);
        }
        let value = match (class(ino)?, name.strip_prefix(CAIRN)) {
            (Class::Root | Class::Repository(_), _) => None,
            (Class::File, Some(key)) => self.file_property(ino, key)?,
            (Class::File, None) => self.file(ino, |inode| own(inode.xattrs(), name))?,
            (Class::Directory, Some(key)) => self.version_property(ino, key)?,
            (Class::Directory, None) => self
                .directories
                .with(ino.0, |inode| own(inode.xattrs(), name))
                .ok_or(FsError::Stale)?,
        };
        match value {
            Some(value) => Ok(value),
            None if name == SELINUX => Err(FsError::NotSupported),
            None => Err(FsError::NoData),
        }
    }

    /// Names of the entry's own attributes, each ended by NUL. `trusted.` ones are for the
    /// superuser only, as on other filesystems.
    ///
    /// # Errors
    /// [`FsError::Stale`] for an inode that the kernel does not hold.
    pub(crate) fn listxattr(&self, ino: Ino, superuser: bool) -> Result<Vec<u8>, FsError> {
        let names = |xattrs: Option<&Xattrs>| {
            let mut list = Vec::new();
            for name in xattrs.iter().flat_map(|xattrs| xattrs.keys()) {
                if superuser || !name.starts_with(TRUSTED) {
                    list.extend_from_slice(name);
                    list.push(0);
                }
            }
            list
        };
        match class(ino)? {
            Class::Root | Class::Repository(_) => Ok(Vec::new()),
            Class::File => self.file(ino, |inode| names(inode.xattrs())),
            Class::Directory => {
                self.directories.with(ino.0, |inode| names(inode.xattrs())).ok_or(FsError::Stale)
            }
        }
    }

    /// Digests of a file. What is not known of a content that is not stored, or was never computed, is absent.
    fn file_property(&self, ino: Ino, key: &[u8]) -> Result<Option<Box<[u8]>>, FsError> {
        let name =
            self.file(ino, |inode| (inode.kind() == FileKind::File).then(|| inode.blob()))?;
        let Some(name) = name else { return Ok(None) };
        let digest = match (key, name) {
            (b"hash", None) => Some(BlobHash::of(b"").to_string()),
            (b"sha256", None) => Some(Sha256::of(b"").to_string()),
            (b"hash", Some(name)) => self.blobs.resolve(&name).ok().map(|blob| blob.to_string()),
            (b"sha256", Some(name)) => self.blobs.sha256(&name).map(|digest| digest.to_string()),
            _ => None,
        };
        Ok(digest.map(|text| text.into_bytes().into()))
    }

    fn version_property(&self, ino: Ino, key: &[u8]) -> Result<Option<Box<[u8]>>, FsError> {
        let place = self.place(ino)?;
        if !place.is_version() {
            return Ok(None);
        }
        let repository = self.repository(place.repository)?;
        let version = repository.versions.get(&place.version);
        let version = version.ok_or(FsError::NotFound)?;
        Ok(describe(version, key).map(|text| text.into_bytes().into()))
    }
}

fn own(xattrs: Option<&Xattrs>, name: &[u8]) -> Option<Box<[u8]>> {
    xattrs?.get(name).cloned()
}

/// A property of a version as text. Times are seconds since the epoch, as `date -d @…` takes them.
fn describe(version: &Version, key: &[u8]) -> Option<String> {
    match key {
        b"hash" => Some(version.hash.to_string()),
        b"number" => Some(version.number.to_string()),
        b"created" => {
            let created = version.created;
            Some(format!("{}.{:09}", created.seconds, created.nanoseconds))
        }
        b"message" => Some(version.message.clone()),
        b"author" => Some(version.author.clone()),
        b"base" => version.base.map(|base| base.to_string()),
        b"name" => version.name.as_ref().map(ToString::to_string),
        b"released" => Some(version.released.to_string()),
        b"locked" => Some(version.locked.to_string()),
        b"files" => Some(version.root.summary.files.to_string()),
        b"bytes" => Some(version.root.summary.bytes.to_string()),
        _ => None,
    }
}
