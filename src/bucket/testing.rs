//! What tests of this room share: values to make events of.

use super::event::Commit;
use super::key::{Nonce, ObjectKey, ObjectKind};
use super::log::Intent;
use crate::model::hash::{ObjectHash, TreeHash};
use crate::model::id::VersionNumber;
use crate::model::time::Timestamp;
use crate::model::tree::{Attributes, Root, Summary};

pub(crate) fn nonce(number: u8) -> Nonce {
    Nonce::from_bytes([number; Nonce::BYTES])
}

pub(crate) fn key(kind: ObjectKind, number: u8) -> ObjectKey {
    ObjectKey { kind, hash: ObjectHash::of(&[number]), nonce: nonce(number) }
}

pub(crate) fn intent(number: u8) -> Intent {
    Intent { nonce: nonce(number), time: Timestamp::default() }
}

/// A version of an empty directory.
pub(crate) fn commit(number: u64, uses: ObjectKey) -> Commit {
    let attributes = Attributes {
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: std::collections::BTreeMap::new(),
    };
    let root = Root { attributes, tree: TreeHash::of(b""), summary: Summary::default() };
    Commit {
        number: VersionNumber(number),
        root,
        uses,
        base: None,
        created: Timestamp::default(),
        name: None,
        tagged: false,
        author: String::new(),
        message: String::new(),
        released: false,
        locked: false,
        draft: None,
    }
}
