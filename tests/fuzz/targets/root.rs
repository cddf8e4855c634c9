//! Roots of versions.

use cairn::model::hash::TreeHash;
use cairn::model::tree::{Root, Summary};
use cairn::model::tree_format::{check_attributes, decode_root, encode_root, root_hash};

use super::{Target, page};

pub(crate) const TARGET: Target = Target { run, seeds };

pub(crate) fn run(data: &[u8]) {
    let Ok(root) = decode_root(data) else { return };
    assert_eq!(encode_root(&root), data);
    assert_eq!(root_hash(&root), TreeHash::of(data));
    check_attributes(&root.attributes).unwrap();
}

fn seeds() -> Vec<Vec<u8>> {
    let root = |(index, entry): (u64, cairn::model::tree::Entry)| {
        let summary =
            Summary { files: index, bytes: 1 << 40, directories: 2, has_links: index % 2 == 0 };
        let tree = TreeHash::of(b"tree");
        encode_root(&Root { attributes: entry.attributes, tree, summary })
    };
    (0..).zip(page::entries(4)).map(root).collect()
}
