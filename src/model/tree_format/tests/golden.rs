//! The encodings that stores hold: a change here is a new format version.

use super::*;

/// A page with a hardlink group of an earlier release.
#[test]
fn golden_page() {
    let of_version = LinkGroup { id: 7, nlink: 2, scope: LinkScope::Version };
    let built = page_with(of_version);
    let [(hash, bytes)] = &built.pages[..] else {
        panic!("one page");
    };
    assert_eq!(hex(bytes), include_str!("../golden/leaf.hex").trim());
    assert_eq!(*hash, TreeHash::of(bytes));
    assert_eq!(built.root, *hash);

    let mut writer = crate::model::tree_format::write::PageWriter::new(1);
    for (first_name, entries) in [(&b"a"[..], 3), (b"d", 4)] {
        let child = ChildRef { first_name, page: *hash, entries, summary: built.summary };
        let mut record = Vec::new();
        crate::model::tree_format::record::encode_child(&mut record, &child).unwrap();
        writer.push(first_name, &record, entries, built.summary).unwrap();
    }
    let (_, bytes) = writer.finish();
    TreePage::parse(bytes.clone()).unwrap();
    assert_eq!(hex(&bytes), include_str!("../golden/index.hex").trim());
}

#[test]
fn golden_page_of_version_2() {
    let scoped = LinkGroup { id: 7 << 64 | 8, nlink: 2, scope: LinkScope::Above(3) };
    let built = page_with(scoped);
    let [(_, bytes)] = &built.pages[..] else {
        panic!("one page");
    };
    assert_eq!(hex(bytes), include_str!("../golden/leaf_2.hex").trim());
}

/// A file that a remote declared, beside one that was written here.
#[test]
fn golden_page_with_a_declared_name() {
    let mut declared = file("b", "x");
    declared.content = Content::File { size: 1, blob: Some(Sha256::of(b"x").into()) };
    let built = build([file("a", "x"), declared.clone()]).unwrap();
    let [(_, bytes)] = &built.pages[..] else {
        panic!("one page");
    };
    assert_eq!(hex(bytes), include_str!("../golden/leaf_declared.hex").trim());
    let page = TreePage::parse(bytes.clone()).unwrap();
    assert_eq!(page.entry(1).unwrap(), declared);
    let own = Reference::Blob(BlobHash::of(b"x").into());
    assert_eq!(page.references(), [own, Reference::Blob(Sha256::of(b"x").into())]);
}

/// Only files have a declared name, and only if they have content.
#[test]
fn a_declared_name_elsewhere_is_refused() {
    use crate::model::tree_format::record::{decode_entry, encode_entry};
    for entry in [file("a", ""), Entry { content: Content::Fifo, ..file("a", "") }] {
        let mut record = Vec::new();
        encode_entry(&mut record, &entry).unwrap();
        decode_entry(&record).unwrap();
        record[1] |= 0x80;
        decode_entry(&record).unwrap_err();
    }
}

/// The version says which kind of groups a page has; each page has one form.
#[test]
fn a_page_of_the_wrong_version_is_refused() {
    let scoped = LinkGroup { id: 7, nlink: 2, scope: LinkScope::Above(3) };
    for (group, wrong) in [(scoped, 1), (LinkGroup { scope: LinkScope::Version, ..scoped }, 2)] {
        let built = page_with(group);
        let mut bytes = built.pages[0].1.clone();
        TreePage::parse(bytes.clone()).unwrap();
        bytes[4] = wrong;
        TreePage::parse(bytes).unwrap_err();
    }
}

fn page_with(group: LinkGroup) -> BuiltTree {
    let mut linked = file("b", "x");
    linked.link_group = Some(group);
    linked.attributes.xattrs.insert(b"user.k"[..].into(), b"v"[..].into());
    let link = Entry {
        content: Content::Symlink { target: b"a"[..].into() },
        attributes: attributes(0o777),
        ..file("c", "")
    };
    build([file("a", ""), linked, link]).unwrap()
}

#[test]
fn golden_root() {
    let mut root = Root {
        attributes: attributes(0o755),
        tree: TreeHash::of(b"tree"),
        summary: Summary { files: 1, bytes: 2, directories: 3, has_links: true },
    };
    root.attributes.xattrs.insert(b"user.k"[..].into(), b"v"[..].into());
    assert_eq!(hex(&encode_root(&root)), include_str!("../golden/root.hex").trim());
    assert_eq!(decode_root(&encode_root(&root)), Ok(root));
}

/// The hash of a large directory covers the rule by which pages are cut.
#[test]
fn golden_large_directory() {
    let built = build(many(3000).into_values()).unwrap();
    assert_eq!(built.root.to_string(), include_str!("../golden/large.hash").trim());
    assert!((6..20).contains(&built.pages.len()), "{}", built.pages.len());
}
