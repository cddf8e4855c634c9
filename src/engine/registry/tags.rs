//! The tags of a repository, by name and by the version that they point at.

use std::ops::Deref;

use rpds::RedBlackTreeMapSync;

use crate::model::id::VersionNumber;
use crate::model::name::TagName;
use crate::model::time::Timestamp;

/// A name for a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The version it points at.
    pub number: VersionNumber,
    /// Whether it protects the version: made with `ln -s` or `cairn tag`, not at commit (N6, N10).
    pub protects: bool,
    /// When it was made or last moved.
    pub created: Timestamp,
}

/// Tags by name; reads as their map.
#[derive(Debug, Clone, Default)]
pub struct Tags {
    by_name: RedBlackTreeMapSync<TagName, Tag>,
    by_number: RedBlackTreeMapSync<VersionNumber, Vec<TagName>>,
}

impl Deref for Tags {
    type Target = RedBlackTreeMapSync<TagName, Tag>;

    fn deref(&self) -> &Self::Target {
        &self.by_name
    }
}

impl Tags {
    /// The names of one version, in order.
    pub fn of(&self, number: VersionNumber) -> &[TagName] {
        self.by_number.get(&number).map_or(&[], Vec::as_slice)
    }

    /// Makes a tag, or moves it.
    pub fn insert(&mut self, name: TagName, tag: Tag) {
        self.remove(&name);
        let mut names = self.of(tag.number).to_vec();
        if let Err(index) = names.binary_search(&name) {
            names.insert(index, name.clone());
        }
        self.by_number.insert_mut(tag.number, names);
        self.by_name.insert_mut(name, tag);
    }

    /// Removes a tag.
    pub fn remove(&mut self, name: &TagName) -> Option<Tag> {
        let tag = self.by_name.get(name)?.clone();
        self.by_name.remove_mut(name);
        let mut names = self.of(tag.number).to_vec();
        names.retain(|other| other != name);
        if names.is_empty() {
            self.by_number.remove_mut(&tag.number);
        } else {
            self.by_number.insert_mut(tag.number, names);
        }
        Some(tag)
    }
}

impl Extend<(TagName, Tag)> for Tags {
    fn extend<I: IntoIterator<Item = (TagName, Tag)>>(&mut self, tags: I) {
        for (name, tag) in tags {
            self.insert(name, tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_the_version_that_they_point_at() {
        let name = |text: &str| text.parse::<TagName>().unwrap();
        let tag = |number| Tag {
            number: VersionNumber(number),
            protects: false,
            created: Timestamp::default(),
        };
        let mut tags = Tags::default();
        tags.extend([(name("b"), tag(1)), (name("a"), tag(1)), (name("c"), tag(2))]);
        assert_eq!(tags.of(VersionNumber(1)), [name("a"), name("b")]);
        tags.insert(name("a"), tag(2));
        assert_eq!(tags.of(VersionNumber(1)), [name("b")]);
        assert_eq!(tags.of(VersionNumber(2)), [name("a"), name("c")]);
        assert_eq!(tags.remove(&name("b")), Some(tag(1)));
        assert_eq!(tags.remove(&name("b")), None);
        assert_eq!(tags.of(VersionNumber(1)), []);
        assert_eq!((tags.size(), tags.get(&name("a"))), (2, Some(&tag(2))));
    }
}
