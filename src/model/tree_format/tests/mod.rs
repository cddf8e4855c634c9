//! Tests of the parts together, and the values that they share.

mod behaviour;
mod golden;
mod properties;
mod together;

use std::collections::BTreeMap;

use super::*;
use crate::model::name::EntryName;
use crate::model::time::Timestamp;
use crate::model::tree::{Attributes, Content, Entry, LinkGroup, LinkScope, Root, Summary, Xattrs};

fn attributes(mode: u16) -> Attributes {
    Attributes {
        mode,
        uid: 1000,
        gid: 100,
        mtime: Timestamp::new(-2, 500).unwrap(),
        xattrs: Xattrs::new(),
    }
}

fn file(name: &str, content: &str) -> Entry {
    Entry {
        name: EntryName::new(name.as_bytes()).unwrap(),
        attributes: attributes(0o644),
        link_group: None,
        content: Content::File {
            size: content.len() as u64,
            blob: (!content.is_empty()).then(|| BlobHash::of(content.as_bytes()).into()),
        },
    }
}

fn directory(name: &str, built: &BuiltTree) -> Entry {
    Entry {
        content: Content::Directory { tree: built.root, summary: built.summary },
        attributes: attributes(0o755),
        ..file(name, "")
    }
}

/// A directory of `count` files, with names that spread.
fn many(count: usize) -> BTreeMap<EntryName, Entry> {
    (0..count)
        .map(|n| file(&format!("{n:x}-file.c"), &format!("content {n}")))
        .map(|entry| (entry.name.clone(), entry))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn collect(source: &MemoryTrees, tree: &TreeHash, from: u64) -> Vec<Entry> {
    entries(source, tree, from).map(Result::unwrap).collect()
}
