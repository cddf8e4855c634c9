//! Pages of trees, and single records in an otherwise right page.

use cairn::model::digest::Sha256;
use cairn::model::hash::{BlobHash, TreeHash};
use cairn::model::name::EntryName;
use cairn::model::time::Timestamp;
use cairn::model::tree::{Attributes, Content, Entry, LinkGroup, LinkScope, Summary, Xattrs};
use cairn::model::tree_format::{TreePage, build, check_entry};

use super::Target;

pub(crate) const TARGET: Target = Target { run, seeds };

const HEADER_BYTES: usize = 44;

pub(crate) fn run(data: &[u8]) {
    check(data.to_vec());
    for level in [0, 1] {
        check(around(data, level));
    }
    // A page of the right form is often refused for its totals alone.
    check(with_totals(data.to_vec()));
}

/// What is accepted has one encoding, and all of it can be read.
fn check(bytes: Vec<u8>) {
    let Ok(page) = TreePage::parse(bytes.clone()) else { return };
    assert_eq!(page.bytes(), bytes);
    assert_eq!(page.name(page.len()), None);
    assert!(page.references().len() <= page.len());
    for index in 0..page.len() {
        let name = page.name(index).unwrap();
        assert_eq!(page.find(name), Ok(index));
        assert_eq!(page.is_leaf(), page.entry(index).is_some());
        assert_ne!(page.is_leaf(), page.child(index).is_some());
    }
    if page.is_leaf() {
        let entries: Vec<Entry> = (0..page.len()).map(|index| page.entry(index).unwrap()).collect();
        for entry in &entries {
            check_entry(entry).unwrap();
        }
        let built = build(entries).unwrap();
        assert_eq!(built.pages, [(TreeHash::of(&bytes), bytes)]);
        assert_eq!(built.summary, page.summary());
    }
}

/// A page with one record and the totals that belong to it.
fn around(record: &[u8], level: u8) -> Vec<u8> {
    let mut page = b"cTRE\x01".to_vec();
    page.extend_from_slice(&[level, 0, 0]);
    page.extend_from_slice(&1_u32.to_le_bytes());
    page.extend_from_slice(&[0; 32]);
    page.extend_from_slice(&48_u32.to_le_bytes());
    page.extend_from_slice(record);
    with_totals(page)
}

/// The page with the totals that its records seem to have. Knows the format only as far as it
/// must: kinds, and where sizes are.
pub(crate) fn with_totals(mut page: Vec<u8>) -> Vec<u8> {
    if page.len() < HEADER_BYTES {
        return page;
    }
    let number = |at: usize| -> u64 {
        let bytes = page.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        u64::from_le_bytes(bytes.unwrap_or_default())
    };
    let at = |index: usize| -> Option<usize> {
        let field = page.get(HEADER_BYTES + 4 * index..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*field)).ok()
    };
    let count = usize::try_from(number(8) & 0xffff_ffff).unwrap().min(page.len() / 4);
    let (mut totals, mut links) = ([0_u64; 4], false);
    for start in (0..count).filter_map(at) {
        let byte = |offset: usize| page.get(start + offset).copied().unwrap_or_default();
        let name = usize::from(byte(0));
        let add: [u64; 4] = if page[5] > 0 {
            links |= byte(1) & 1 != 0;
            let numbers = start + 2 + name + 32;
            [0, 8, 16, 24].map(|offset| number(numbers + offset))
        } else {
            let content = start + 24 + name;
            links |= byte(1) & 0x10 != 0;
            match byte(1) & 0xf {
                1 => [1, 1, number(content), 0],
                2 => {
                    links |= byte(24 + name + 56) & 1 != 0;
                    let below = [32, 40, 48].map(|offset| number(content + offset));
                    [1, below[0], below[1], below[2].wrapping_add(1)]
                }
                _ => [1, 1, 0, 0],
            }
        };
        for (total, add) in totals.iter_mut().zip(add) {
            *total = total.wrapping_add(add);
        }
    }
    page[6] = u8::from(links);
    let bytes = totals.map(u64::to_le_bytes).concat();
    page[12..HEADER_BYTES].copy_from_slice(&bytes);
    page
}

/// Pages of directories small and large, and the records of one.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for count in [0, 1, 8, 40] {
        seeds.extend(build(entries(count)).unwrap().pages.into_iter().map(|(_, page)| page));
    }
    // Of a large directory the index and one leaf are enough.
    let mut large = build(entries(2000)).unwrap().pages;
    seeds.extend(large.pop().map(|(_, index)| index));
    seeds.extend(large.into_iter().map(|(_, page)| page).min_by_key(Vec::len));
    let records: Vec<Vec<u8>> = seeds
        .iter()
        .filter_map(|seed| TreePage::parse(seed.clone()).ok())
        .flat_map(|page| records(&page))
        .collect();
    seeds.extend(records);
    seeds
}

fn records(page: &TreePage) -> Vec<Vec<u8>> {
    let offset = |index: usize| {
        let field = page.bytes()[HEADER_BYTES + 4 * index..].first_chunk::<4>().unwrap();
        usize::try_from(u32::from_le_bytes(*field)).unwrap()
    };
    let count = page.len();
    let end = |index| if index + 1 == count { page.bytes().len() } else { offset(index + 1) };
    (0..count.min(8)).map(|index| page.bytes()[offset(index)..end(index)].to_vec()).collect()
}

/// Entries of all kinds.
pub(crate) fn entries(count: u32) -> Vec<Entry> {
    (0..count)
        .map(|index| {
            let size = u64::from(index) * 1000;
            let content = match index % 8 {
                0 => Content::File {
                    size,
                    blob: (size > 0).then(|| BlobHash::of(&size.to_le_bytes()).into()),
                },
                7 => Content::File { size, blob: Some(Sha256::of(&size.to_le_bytes()).into()) },
                1 => Content::Directory {
                    tree: TreeHash::of(b"tree"),
                    summary: Summary { files: 3, bytes: 5, directories: 7, has_links: index > 9 },
                },
                2 => Content::Symlink { target: b"../to".as_slice().into() },
                3 => Content::Fifo,
                4 => Content::Socket,
                5 => Content::CharDevice { rdev: 0x103 },
                _ => Content::BlockDevice { rdev: 0x800 },
            };
            let mut xattrs = Xattrs::new();
            if index % 3 == 0 {
                xattrs.insert(b"user.one".as_slice().into(), b"1".as_slice().into());
                xattrs.insert(b"user.two".as_slice().into(), b"".as_slice().into());
            }
            Entry {
                name: EntryName::new(format!("{index:06}-name").as_bytes()).unwrap(),
                attributes: Attributes {
                    mode: 0o4755,
                    uid: 1000,
                    gid: 100,
                    mtime: Timestamp::new(-5, 999_999_999).unwrap(),
                    xattrs,
                },
                link_group: (index % 8 == 7).then_some(LinkGroup {
                    id: 9,
                    nlink: 2,
                    scope: LinkScope::Above(1),
                }),
                content,
            }
        })
        .collect()
}
