//! What a commit does when the version that its area started from is not the newest any more.

/// What a stale base means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStale {
    /// Refuse.
    #[default]
    Refuse,
    /// Publish what the area shows.
    Force,
    /// Merge with the newest version, file by file.
    Merge,
}

impl OnStale {
    /// As areas note it, in the catalog and in `user.cairn.on-stale`; empty for [`OnStale::Refuse`].
    pub fn text(self) -> &'static str {
        match self {
            Self::Refuse => "",
            Self::Force => "force",
            Self::Merge => "onto-latest",
        }
    }

    /// The other way round; `None` for any other text.
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Refuse, Self::Force, Self::Merge].into_iter().find(|known| known.text() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_earlier_releases() {
        for (text, known) in
            [("", OnStale::Refuse), ("force", OnStale::Force), ("onto-latest", OnStale::Merge)]
        {
            assert_eq!((OnStale::from_text(text), known.text()), (Some(known), text));
        }
        assert_eq!(OnStale::from_text("merge"), None);
    }
}
